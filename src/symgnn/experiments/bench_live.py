"""Speed of streams on this machine: from a frame to both answers in every form a model has, clients of a service, memory."""

import asyncio
import contextlib
import json as json_format
import logging
import multiprocessing
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from symgnn.config import Preset, load_preset
from symgnn.errors import InputError
from symgnn.experiments.bench import machine, matrix_product_rate
from symgnn.files import write_whole
from symgnn.models import Standardised
from symgnn.models.checkpoint import Card, Described, TrainedModel, build, load
from symgnn.runtime.answering import Answers, Windows
from symgnn.runtime.exporting import export
from symgnn.runtime.onnx_model import load_model, open_onnx
from symgnn.runtime.stream import Stream
from symgnn.skeleton import load_layout

FORMS = ("eager", "folded", "bf16", "compiled", "onnx", "int8", "tick")
"""As trained; batch norms folded; that with blocks in 16 bits; that compiled; exported; exported in 8 bits; a frame a tick."""

PARTS = ("latency", "clients", "memory")

WIDTHS = {"full": 1.0, "quarter": 0.25}
"""Of the light network of cmu-long: the paper's, and that of cmu-long-cpu and cmu-live."""

CLASSES = 8
RESTING = 0.1
"""Seconds between two forms: the threads of onnxruntime go on spinning for a while, on the cores of whoever comes next."""
PERIOD = 1 / 30
"""Seconds from a frame of a client to the next."""
SERVED = ("cmu", "cmu-live")
"""Shipped models that are served, the first one also exported; the last one is streamed for long."""


@dataclass(frozen=True)
class Case:
    """One network at one setting; all its forms are measured in turns, in one process."""

    width: str
    """One of ``WIDTHS``."""
    bone: bool
    horizon: int
    threads: int
    """Threads, on as many cores."""
    forms: tuple[str, ...]
    rounds: int
    pushes: int
    """Frames a form gets in each round."""

    @property
    def name(self) -> str:
        """What the table calls it."""
        return f"{self.width} width, {'joints + bones' if self.bone else 'joints'}, {self.horizon} ahead"


@dataclass(frozen=True)
class Latency:
    """From a frame to its answer; seconds."""

    form: str
    median: float
    worst: float
    """99th percentile."""
    flop: float
    """Of one answer."""
    floor: float
    """FLOP over the rate of float32 matrix products with as many threads, measured between the rounds."""
    difference: float | None
    """Of the futures from those of the network as it was trained, relative to the largest motion; None for a network of its
    own."""

    @property
    def ratio(self) -> float:
        return self.median / self.floor


@dataclass(frozen=True)
class Served:
    """Clients of one service, each sending 30 frames a second."""

    model: str
    clients: int
    answered: float
    """Part of the frames that got an answer."""
    median: float
    """Seconds from sending a frame to having its answer."""
    worst: float
    """99th percentile."""

    @property
    def holds(self) -> bool:
        """Whether the 99th percentile is below the time from a frame to the next, and hardly a frame goes unanswered."""
        return self.worst < PERIOD and self.answered > 0.99


@dataclass(frozen=True)
class Memory:
    """A long stream, pushed as fast as it is answered."""

    model: str
    frames: int
    seconds: float
    """That the stream lasts, at 30 frames a second."""
    early: int
    """Resident bytes after a twentieth of it."""
    late: int
    """Resident bytes at its end."""
    most: int
    """Largest in between."""


def bench_live(
    *,
    forms: Sequence[str] = FORMS,
    parts: Sequence[str] = PARTS,
    json: str | Path | None = None,
    quick: bool = False,
    minutes: float = 60.0,
    console: Console | None = None,
) -> int:
    """Measure streams and print tables: latency of each form beside its floor, clients of a service, memory of a long stream.

    Networks have random weights. What is measured is a push into a stream whose window is full: taking the frame in,
    resampling, both answers. The forms of a network take turns in one process, which is kept on as many cores as it has
    threads.

    Args:
        forms: which to measure, of ``FORMS``; "eager" and "folded" always are.
        parts: what to measure, of ``PARTS``.
        json: also write every figure to this file.
        quick: a small part of it all, to see that it works.
        minutes: of motion in the long stream.
        console: where to print; a new one by default.

    Raises:
        InputError: no such form or part.
    """
    if unknown := [part for part in parts if part not in PARTS]:
        raise InputError(f"--only: found {unknown[0]!r}, expected some of {', '.join(PARTS)}")
    if unknown := [form for form in forms if form not in FORMS]:
        raise InputError(f"--forms: found {unknown[0]!r}, expected some of {', '.join(FORMS)}")
    console = console or Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    wanted = tuple(form for form in FORMS if form in {"eager", "folded", *forms})
    if "compiled" in wanted and shutil.which(os.environ.get("CXX", "g++")) is None:
        console.print("no C++ compiler (g++, or what CXX names): compiled networks are left out")
        wanted = tuple(form for form in wanted if form != "compiled")
    cases = _cases(wanted, quick) if "latency" in parts else []
    found: list[tuple[Case, float, list[Latency]]] = []
    with console.status("") as status:
        for number, case in enumerate(cases, start=1):
            status.update(f"measuring {case.name}, {case.threads} threads ({number} of {len(cases)})")
            found.append((case, *_apart(measure_case, case)))
        served = []
        if "clients" in parts:
            with tempfile.TemporaryDirectory(prefix="symgnn-bench-") as place:
                file = Path(place) / "cmu.onnx"
                export(load("cmu"), file)
                for model in (str(file), *SERVED)[: 1 if quick else None]:
                    status.update(f"serving {Path(model).name}")
                    served += measure_clients(model, seconds=2.0 if quick else 10.0, most=2 if quick else 64)
        status.update("streaming for long")
        lasting = SERVED[-1:] if "memory" in parts else ()
        memory = [_apart(measure_memory, model, minutes / (60 if quick else 1)) for model in lasting]
    _print(console, found, served, memory)
    if json is not None:
        plain = {
            **machine(),
            "latency": [
                {
                    **asdict(case),
                    "matrix_product_flops": rate,
                    "forms": [{**asdict(one), "ratio": one.ratio} for one in latencies],
                }
                for case, rate, latencies in found
            ],
            "served": [asdict(one) for one in served],
            "memory": [asdict(one) for one in memory],
        }
        write_whole(json, json_format.dumps(plain, indent=2).encode() + b"\n")
    return 0


def _cases(forms: tuple[str, ...], quick: bool) -> list[Case]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    rounds, pushes = (2, 3) if quick else (15, 12)
    few = tuple(form for form in forms if form != "compiled")
    return [
        Case(width, bone, horizon, threads, forms if width == "full" and not quick else few, rounds, pushes)
        for width, horizons in ((("quarter", (25,)),) if quick else (("full", (10, 25)), ("quarter", (25,))))
        for bone in (False, True)
        for horizon in horizons
        for threads in ((1,) if cores == 1 else (2, 1))
    ]


def _apart(work: Any, *values: Any) -> Any:
    """The result of a fresh interpreter; torch's thread pool does not survive a fork."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, values)


# --- latency ----------------------------------------------------------------------------------------------------------------


def measure_case(case: Case) -> tuple[float, list[Latency]]:
    """Every form of one network; meant for a process of its own.

    Returns:
        The rate of matrix products, FLOP a second, and a latency a form.
    """
    torch.set_num_threads(case.threads)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: case.threads])
    logging.getLogger("symgnn").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="symgnn-bench-") as place:
        models = dict(_models(case, Path(place)))
        eager = models["eager"]
        assert isinstance(eager, TrainedModel)
        filled = eager.preset.data.observed + 4
        # A slow walk at random: frames differ, and nothing is missing.
        steps = np.random.default_rng(0).normal(0, 0.05, (filled + case.rounds * case.pushes, *eager.network.mean.shape))
        clip = steps.cumsum(axis=0).astype(np.float32)
        rate = eager.fps / eager.preset.data.step
        streams = {form: Stream(model, horizon=case.horizon, fps=rate) for form, model in models.items()}
        last = {form: [stream.push(frame) for frame in clip[:filled]][-1] for form, stream in streams.items()}
        seconds: dict[str, list[float]] = {form: [] for form in streams}
        rates = [matrix_product_rate(quick=True)]
        for first in range(filled, len(clip), case.pushes):
            for form, stream in streams.items():
                time.sleep(RESTING)
                for frame in clip[first : first + case.pushes]:
                    began = time.perf_counter()
                    stream.push(frame)
                    seconds[form].append(time.perf_counter() - began)
            rates.append(matrix_product_rate(quick=True))
        futures = {form: answer.future for form, answer in last.items() if answer is not None}
        whole, tick = _flop(Stream(eager, horizon=case.horizon, fps=rate), clip), 0.0
        if "tick" in streams:
            tick = _flop(streams["tick"], clip[:1])
    rate = statistics.median(rates)
    truth = futures["eager"]
    assert truth is not None
    moved = np.abs(truth - clip[filled - 1]).max()
    return rate, [
        Latency(
            form=form,
            median=statistics.median(taken),
            worst=float(np.quantile(taken, 0.99)),
            flop=tick if form == "tick" else whole,
            floor=(tick if form == "tick" else whole) / rate,
            difference=None if form == "tick" else float(np.abs(futures[form] - truth).max() / moved),
        )
        for form, taken in seconds.items()
    ]


def _models(case: Case, folder: Path) -> Iterator[tuple[str, Described]]:
    torch.manual_seed(0)
    preset = load_preset("cmu-long")
    preset = replace(preset, model=replace(preset.model, width=WIDTHS[case.width], bone=case.bone))
    eager = _untrained(preset)
    folded = TrainedModel(eager.network, eager.card, folded=True)
    live = load_preset("cmu-live").model
    unpadded = {name: getattr(live, name) for name in ("kernels", "padding", "actional_in")}
    for form in case.forms:
        if form == "eager":
            yield form, eager
        elif form == "folded":
            yield form, folded
        elif form == "bf16":
            yield form, TrainedModel(eager.network, eager.card, folded=True, precision="bf16")
        elif form == "compiled":
            yield form, _Compiled(folded, case.horizon)
        elif form in ("onnx", "int8"):
            path = folder / f"{form}.onnx"
            export(eager, path, int8=form == "int8")
            yield form, open_onnx(path, case.threads)
        else:
            ticking = _untrained(replace(preset, model=replace(preset.model, **unpadded)))
            yield form, TrainedModel(ticking.network, ticking.card, folded=True)


def _untrained(preset: Preset) -> TrainedModel:
    layout = load_layout(preset.data.layout)
    network = build(preset, layout, CLASSES).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if ".displace.2." in name:
                parameter.normal_(0, 0.01)  # an untrained head predicts no motion at all, exactly in any precision
    mean = tuple((0.0, 0.0, 0.0) for _ in layout.stored(preset.data.space))
    names = tuple(f"class {number}" for number in range(CLASSES))
    return TrainedModel(network, Card(preset, layout, names, mean, 120.0, "bench")).eval()


class _Compiled(Described):
    """A folded network compiled for one window and one horizon."""

    def __init__(self, model: TrainedModel, horizon: int):
        from torch._inductor import config

        # Weights become constants of the program, and are laid out once as its products read them.
        config.freezing = True  # pyright: ignore[reportAttributeAccessIssue]
        config.compile_threads = 1  # pyright: ignore[reportAttributeAccessIssue]
        logging.getLogger("torch").setLevel(logging.ERROR)
        self.card = model.card
        self._run = torch.compile(lambda x: _tensors(model.network, x, horizon), dynamic=False)

    @torch.no_grad()
    def answer(self, windows: Windows, horizon: int, together: np.ndarray | None = None) -> Answers:
        logits, future, actional = self._run(torch.from_numpy(windows))
        return Answers(logits.double().softmax(dim=-1).numpy(), future.numpy(), actional.numpy())


def _tensors(network: Standardised, observed: torch.Tensor, horizon: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    output = network(observed, horizon)
    assert output.logits is not None and output.future is not None and output.actional is not None
    return output.logits, output.future, output.actional


def _flop(stream: Stream, frames: np.ndarray) -> float:
    """Of the last of these pushes."""
    for frame in frames[:-1]:
        stream.add(frame)
    with FlopCounterMode(display=False) as counter:
        stream.push(frames[-1])
    return float(counter.get_total_flops())


# --- clients ----------------------------------------------------------------------------------------------------------------


def measure_clients(model: str, *, seconds: float, most: int) -> Iterator[Served]:
    """Serve a model and send it the frames of more and more clients, until they are too many.

    The service is a process of its own, the clients are this one's: both share the machine's cores.
    """
    count = 1
    with service(model) as port:
        while count <= most:
            found = asyncio.run(_clients(model, port, count, seconds))
            yield found
            if not found.holds:
                return
            count = count + 1 if count < 4 else count + 2 if count < 12 else count + 4


@contextlib.contextmanager
def service(model: str) -> Iterator[int]:
    """``symgnn serve`` in a process of its own; its port."""
    command = [sys.executable, "-m", "symgnn", "serve", model, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            told = []
            for line in process.stdout:
                told.append(line)
                if address := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                    yield int(address[1])
                    return
            raise InputError(f"symgnn serve {model} does not start: {' '.join(told)[-500:]}")
        finally:
            process.terminate()


async def _clients(model: str, port: int, count: int, seconds: float) -> Served:
    from websockets.asyncio.client import connect

    described = load_model(model)
    clip = described.stored_mean.numpy()[list(described.layout.columns(described.preset.data.space))]
    frames = int((seconds + 3.0) / PERIOD)
    walk = 0.02 * np.random.default_rng(0).normal(size=(frames, *clip.shape)).cumsum(axis=0)
    texts = [
        json_format.dumps({"frame": pose.round(5).tolist(), "time": PERIOD * number}) for number, pose in enumerate(clip + walk)
    ]
    counted = 3.0  # seconds until the windows are full

    async def client(place: int) -> tuple[int, list[float]]:
        sent: dict[int, float] = {}
        taken: dict[int, float] = {}
        async with connect(f"ws://127.0.0.1:{port}/v1/stream", max_size=2**24) as socket:
            begin = time.perf_counter() + PERIOD * place / count

            async def read() -> None:
                async for text in socket:
                    came = time.perf_counter()
                    message = json_format.loads(text)
                    if message["type"] == "answer":
                        number = round(message["time"] / PERIOD)
                        taken[number] = came - sent.get(number, came)

            reading = asyncio.create_task(read())
            for number, text in enumerate(texts):
                await asyncio.sleep(max(0.0, begin + number * PERIOD - time.perf_counter()))
                sent[number] = time.perf_counter()
                await socket.send(text)
            await asyncio.sleep(0.5)
            reading.cancel()
        late = [value for number, value in taken.items() if number * PERIOD > counted]
        return sum(number * PERIOD > counted for number in sent), late

    found = await asyncio.gather(*(client(place) for place in range(count)))
    times = [value for _, values in found for value in values] or [float("inf")]
    asked = sum(number for number, _ in found)
    return Served(Path(model).name, count, len(times) / asked, float(np.median(times)), float(np.quantile(times, 0.99)))


# --- memory -----------------------------------------------------------------------------------------------------------------


def measure_memory(model: str, minutes: float) -> Memory:
    """A stream of so many minutes at 30 frames a second, pushed as fast as it is answered; meant for a process of its own."""
    logging.getLogger("symgnn").setLevel(logging.ERROR)
    trained = load(model)
    pose = trained.stored_mean.numpy()[list(trained.layout.columns(trained.preset.data.space))]
    random = np.random.default_rng(0)
    stream, frames = Stream(trained), max(200, round(60 * minutes / PERIOD))
    sizes = []
    for number in range(frames):
        swing = 0.1 * np.sin(number * PERIOD * np.arange(1, 4)) + random.normal(0, 0.01, pose.shape)
        stream.push((pose + swing).astype(np.float32), number * PERIOD)
        if number % (frames // 100) == 0:
            sizes.append(_resident())
    early = sizes[len(sizes) // 20 :]
    return Memory(model, frames, frames * PERIOD, early[0], sizes[-1], max(early))


def _resident() -> int:
    """Bytes of this process in memory."""
    status = Path("/proc/self/statm")
    if status.is_file():
        return int(status.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


# --- tables -----------------------------------------------------------------------------------------------------------------


def _print(
    console: Console,
    found: Sequence[tuple[Case, float, list[Latency]]],
    served: Sequence[Served],
    memory: Sequence[Memory],
) -> None:
    if found:
        _print_latency(console, found)
    for one in served:
        console.print(
            f"{one.model}, {one.clients} clients at 30 frames a second: {one.answered:.1%} answered, "
            f"{one.median * 1e3:.1f} ms, 99th percentile {one.worst * 1e3:.1f} ms"
        )
    for long in memory:
        console.print(
            f"{long.model}, {long.frames:,} frames, {long.seconds / 60:.0f} minutes: {long.early / 2**20:.1f} MB after a "
            f"twentieth, {long.late / 2**20:.1f} MB at the end, {long.most / 2**20:.1f} MB at most"
        )


def _print_latency(console: Console, found: Sequence[tuple[Case, float, list[Latency]]]) -> None:
    threads = sorted({case.threads for case, _, _ in found}, reverse=True)
    rates = [statistics.median(rate for case, rate, _ in found if case.threads == count) / 1e9 for count in threads]
    table = Table(
        title="from a frame to both answers, batch 1: median ms (99th percentile) and x, the ratio to the floor, FLOP over "
        + " and ".join(f"{rate:.0f} GFLOP/s on {count}" for rate, count in zip(rates, threads, strict=True)),
        box=box.SIMPLE,
        padding=(0, 1),
    )
    for heading in ("network", "form"):
        table.add_column(heading, no_wrap=True)
    for heading in ("GFLOP", *(f"threads: {count}" for count in threads), "differs by"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name in dict.fromkeys(case.name for case, _, _ in found):
        rows = {case.threads: {one.form: one for one in latencies} for case, _, latencies in found if case.name == name}
        for place, (form, first) in enumerate(rows[threads[0]].items()):
            latencies = [rows[count][form] for count in threads]
            cells = [f"{one.median * 1e3:.1f} ({one.worst * 1e3:.1f}) {one.ratio:.2f}x" for one in latencies]
            differs = "" if first.difference is None else f"{first.difference:.0e}"
            table.add_row("" if place else name, form, f"{first.flop / 1e9:.2f}", *cells, differs)
        table.add_section()
    console.print(table, width=max(console.width, 120), crop=False)
