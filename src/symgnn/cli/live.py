"""Commands for a trained model at work."""

import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from symgnn.cli.shared import Switch, check_place, checkpoint_file, load_model, say
from symgnn.errors import InputError

_NEEDED = {"fastapi", "prometheus_client", "starlette", "uvicorn", "websockets"}


def stream(
    checkpoint: Annotated[Positional[str], arg(metavar="RUN|CHECKPOINT|MODEL.onnx")],
    /,
    horizon: Annotated[int | None, arg(metavar="FRAMES", help_behavior_hint="")] = None,
    fps: Annotated[float | None, arg(help_behavior_hint="")] = None,
    clock: Switch = False,
    every: Switch = False,
    warm_up: Literal["wait", "repeat"] = "wait",
    smoothing: float = 0.2,
    reject: Annotated[float | None, arg(metavar="PROBABILITY", help_behavior_hint="")] = None,
    edges: int = 5,
    future: bool = True,
    seconds: Annotated[float | None, arg(metavar="SECONDS", help_behavior_hint="")] = None,
    max_tracks: int = 16,
    strict: Switch = False,
    threads: Annotated[int | None, arg(metavar="N", help_behavior_hint="")] = None,
) -> int:
    """Answer frames as they come: lines of JSON in, lines of JSON out.

    A line in is {"frame": [[x, y, z], null, ...], "time": seconds, "track": "name"}, where null is a joint that was not seen
    and time and track may be left out, or the list of joints alone, or all their numbers in one list. A line out has the label,
    probabilities, future poses and strongest relations between joints. Where frames come faster than the model answers, the
    newest wins and the others are counted as dropped; --every answers them all. To see it work:

        symgnn demo
        symgnn data play runs/demo/motion:0 | symgnn stream runs/demo/run --no-future

    Args:
        checkpoint: of symgnn train, the folder of a run, or a shipped model (cmu).
        horizon: frames to predict; by default as many as in training.
        fps: frames a second, where lines have no time; by default those of the recordings the model was trained on.
        clock: the time of a frame is when its line comes, whatever it says.
        every: answer every frame, and let whoever writes them wait.
        warm_up: before the window is full: wait, or repeat the first pose.
        smoothing: seconds over which probabilities are smoothed.
        reject: no label below this smoothed probability.
        edges: how many relations between joints are told.
        future: write predicted poses.
        seconds: how far a model trained on whole clips looks back.
        max_tracks: persons at a time.
        strict: stop at the first wrong line, with exit code 2; otherwise it is said, and the exit code is 1 at the end.
        threads: of the model; by default as many as PyTorch takes.
    """
    model = load_model(checkpoint, threads=threads)
    from symgnn.runtime.lines import LineAnswers
    from symgnn.runtime.stream import Streams

    streams = Streams(
        model,
        max_tracks=max_tracks,
        horizon=horizon,
        fps=fps,
        warm_up=warm_up,
        smoothing=smoothing,
        reject=reject,
        edges=edges,
        seconds=seconds,
    )
    if sys.stdin is None:
        raise InputError("stdin: is closed; expected lines of frames, as from: symgnn data play STORE:0 | symgnn stream ...")
    if sys.stdin.isatty():
        say("frames are read from the keyboard, a line of JSON each; Ctrl-D ends")

    def write(line: str) -> None:
        sys.stdout.write(line)
        sys.stdout.flush()

    place = sys.stdin.fileno()
    # Not by sys.stdin itself: its lock would be held by a reader that waits, and nobody could leave.
    answers = LineAnswers(
        streams,
        lambda most: os.read(place, most),
        write,
        lambda told: say(f"symgnn: {told}"),
        arrival=clock,
        every=every,
        future=future,
        strict=strict,
    )
    try:
        answers.run()
    finally:
        say(f"{answers.summary}")
    return 1 if answers.summary.bad else 0


def export(
    checkpoint: Annotated[Positional[str], arg(metavar="RUN|CHECKPOINT")],
    /,
    to: Annotated[Path, arg(metavar="FILE.onnx")],
    int8: Switch = False,
) -> int:
    """Write a model as one ONNX file: any batch, any horizon, no PyTorch needed to run it.

    Everything is in the file: units, missing joints, both networks, both answers, and what the model knows of its data. It is
    run at once under onnxruntime beside the model in PyTorch, and written only if they agree. predict and evaluate take it in
    place of a checkpoint.

    Args:
        checkpoint: of symgnn train, or the name of a model that comes with the package.
        to: file to write.
        int8: compute the backbone's wide products in 8-bit integers: faster and less exact; symgnn evaluate tells how exact.
    """
    if to.suffix.lower() != ".onnx":
        raise InputError(f"--to {to}: found the suffix {to.suffix!r}, expected .onnx")
    check_place(to)
    from symgnn.models.checkpoint import load
    from symgnn.runtime import export as write

    done = write(load(checkpoint_file(checkpoint, "last")), to, int8=int8)
    differences = ", ".join(f"{name} {difference:.1e}" for name, difference in done.differences.items())
    say(f"largest difference from PyTorch on {done.windows} random windows, of the largest value: {differences}")
    if int8:
        say(f"8-bit integers: compare symgnn evaluate {to} with that of the checkpoint before you use it")
    say(f"wrote {to}: {done.size:,} bytes")
    return 0


def serve(
    model: Annotated[Positional[str], arg(metavar="CHECKPOINT|MODEL.onnx")],
    /,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: Annotated[str | None, arg(metavar="TOKEN", help_behavior_hint="")] = None,
    allow_origin: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="ORIGIN", help_behavior_hint="")] = (),
    play: Annotated[str | None, arg(metavar="STORE[:7]", help_behavior_hint="")] = None,
    horizon: Annotated[int | None, arg(metavar="FRAMES", help_behavior_hint="")] = None,
    max_sessions: int = 64,
    max_rate: float = 120.0,
    idle: float = 60.0,
    batch: int = 32,
    threads: Annotated[int | None, arg(metavar="N", help_behavior_hint="")] = None,
    verbose: Switch = False,
) -> int:
    """Serve a model: a page to look at, a WebSocket for frames, requests for whole clips.

    Only this machine reaches it, unless --host says otherwise; then clients need a token. What it speaks stands at /docs.
    Ctrl-C or SIGTERM ends it after what is under way.

    Args:
        model: checkpoint, folder of a run, name of a shipped model (cmu), or file of symgnn export.
        host: address to listen at; 0.0.0.0 for every one of this machine.
        port: port to listen at; 0 for any that is free.
        token: what clients bring. By default that of the environment, SYMGNN_TOKEN; beyond this machine one is made and said.
        allow_origin: page of another place that may speak to the service, such as https://example.org; may be repeated.
        play: what the page shows while nobody streams: clips of a store; by default the built-in motion.
        horizon: frames to predict where a client does not say; by default as many as in training.
        max_sessions: streams at a time.
        max_rate: frames a second of a person; faster ones are dropped.
        idle: seconds without a frame after which a stream is closed.
        batch: windows of several clients that go through the model together.
        threads: of the model; by default one less than the machine has cores.
        verbose: a line for each client that goes.
    """
    try:
        from symgnn.runtime.server import Limits
        from symgnn.runtime.server import serve as run
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in _NEEDED:
            raise
        raise InputError(f"the service needs {error.name}, which is not installed: pip install 'symgnn[serve]'") from None
    # Of each clip that a client sends: not for whoever runs the service.
    logging.getLogger("symgnn.runtime").setLevel(logging.NOTSET if verbose else logging.ERROR)
    logging.getLogger("symgnn.server").setLevel(logging.INFO if verbose else logging.WARNING)
    run(
        checkpoint_file(model, "last"),
        host=host,
        port=port,
        token=token or os.environ.get("SYMGNN_TOKEN") or None,
        origins=allow_origin,
        play=play,
        horizon=horizon,
        threads=threads,
        limits=Limits(sessions=max_sessions, rate=max_rate, idle=idle, batch=batch),
        say=say,
    )
    return 0
