"""Commands for a trained model at work."""

import logging
import os
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

from symgnn.cli.shared import Switch, check_place, checkpoint_file, say
from symgnn.errors import InputError

_NEEDED = {"fastapi", "prometheus_client", "starlette", "uvicorn", "websockets"}


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
        threads: of the model; by default as many as PyTorch takes.
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
        model,
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
