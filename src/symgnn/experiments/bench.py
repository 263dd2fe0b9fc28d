"""Speed on this machine, beside the floor that its matrix products set."""

import json as json_format
import multiprocessing
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from symgnn.config import ModelConfig, Preset, load_preset
from symgnn.files import write_whole
from symgnn.models import SymGNN
from symgnn.models.baselines import Baseline
from symgnn.models.checkpoint import build
from symgnn.skeleton import load_layout
from symgnn.training import training_step
from symgnn.types import Batch

PRESETS = ("cmu-short", "cmu-long", "h36m-short", "h36m-long", "light", "deep", "cmu-long-cpu", "demo")
CLASSES = 8
BATCH = 32
FRAMES = 2048
"""Most observed frames in the batch of a training step: 32 windows of 50, or 4 of the deep network's 290."""


@dataclass(frozen=True)
class Case:
    """One network to measure."""

    name: str
    preset: Preset
    horizon: int


@dataclass(frozen=True)
class Timing:
    """One measurement and its floor; seconds."""

    median: float
    worst: float
    """99th percentile."""
    floor: float
    """FLOP over the matrix-product rate measured in the same process just before and after."""

    @property
    def ratio(self) -> float:
        return self.median / self.floor


@dataclass(frozen=True)
class Figures:
    """What was measured of one network, in a process of its own."""

    case: str
    parameters: int
    gflop: float
    """Forward pass of one clip."""
    rate: float
    """Matrix products, FLOP a second (the median of all measurements around this network's)."""
    single: Timing
    """Inference, batch 1."""
    batch: Timing
    """Inference, batch 32."""
    training: Timing
    """One optimiser step; the floor is three forward passes of everything that is trained."""
    training_batch: int
    """Windows of that step."""
    peak_memory: int
    """Largest resident size of the process in bytes."""

    @property
    def throughput(self) -> float:
        """Clips a second at batch 32."""
        return BATCH / self.batch.median


def bench(
    *, presets: Sequence[str] = PRESETS, json: str | Path | None = None, quick: bool = False, console: Console | None = None
) -> int:
    """Measure presets and print a table: latency, throughput and training step, each beside its floor.

    A preset with a bone network is measured twice, joints only first. Inference uses folded weights
    ([SymGNN.folded][symgnn.models.SymGNN.folded]) without compilation. Every network runs in a fresh process, so that the peak
    memory is its own, with as many threads as torch takes by default.

    Args:
        presets: names of presets.
        json: also write all figures to this file.
        quick: a tenth of the repetitions.
        console: where to print; a new one by default.
    """
    console = console or Console()
    cases = [case for name in presets for case in _cases(name)]
    found = []
    with console.status("") as status:
        for number, case in enumerate(cases, start=1):
            status.update(f"measuring {case.name} ({number} of {len(cases)})")
            # A fresh interpreter, not a fork: torch's thread pool does not survive one.
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                found.append(pool.apply(measure, (case, quick)))
    rate = statistics.median(figures.rate for figures in found)
    console.print(
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}; "
        f"matrix products at {rate / 1e9:.0f} GFLOP/s (float32, 1024 x 1024)"
    )
    console.print(_table(found), width=max(console.width, 112), crop=False)
    if json is not None:
        content = {
            **machine(),
            "matrix_product_flops": rate,
            "networks": [_plain(figures) for figures in found],
        }
        write_whole(json, json_format.dumps(content, indent=2).encode() + b"\n")
    return 0


def machine() -> dict[str, object]:
    """What figures of speed depend on."""
    return {
        "machine": platform.platform(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def measure(case: Case, quick: bool) -> Figures:
    """All figures of one network; meant for a process of its own."""
    torch.manual_seed(0)
    window = case.preset.data
    model = build(case.preset, load_layout(window.layout), CLASSES)
    shape = (BATCH, window.observed, *model.mean.shape)
    observed = torch.randn(shape)
    size = training_batch(window.observed)
    future = torch.randn(size, case.horizon, *model.mean.shape)
    batch = Batch(observed[:size], future, torch.arange(size) % CLASSES, torch.zeros(size, dtype=torch.long))
    rates: list[float] = []

    def timed(work: Callable[[], object], flop: float, runs: int) -> Timing:
        before = matrix_product_rate(quick)
        seconds = repeat(work, max(5, runs // 10) if quick else runs)
        rate = statistics.median((before, matrix_product_rate(quick)))
        rates.append(rate)
        worst = sorted(seconds)[min(len(seconds) - 1, int(0.99 * len(seconds)))]
        return Timing(statistics.median(seconds), worst, flop / rate)

    forward = count_flop(lambda: model.eval()(observed[:1], case.horizon))
    everything = count_flop(lambda: forward_of_training(model.eval(), observed[:1], case.horizon))
    small = forward < 1e10
    folded = model.folded()
    with torch.inference_mode():
        single = timed(lambda: folded(observed[:1], case.horizon), forward, 200 if small else 20)
        several = timed(lambda: folded(observed, case.horizon), forward * BATCH, 20 if small else 5)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)  # as in training

    def step() -> None:
        found = training_step(model, batch, case.preset.training)
        optimizer.zero_grad()
        found.surrogate.backward()
        optimizer.step()

    training = timed(step, 3 * everything * size, 10 if small else 5)
    return Figures(
        case=case.name,
        parameters=sum(weight.numel() for weight in model.parameters()),
        gflop=forward / 1e9,
        rate=statistics.median(rates),
        single=single,
        batch=several,
        training=training,
        training_batch=size,
        peak_memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )


def training_batch(observed: int) -> int:
    """Windows of a training step: 32, or the largest power of two whose frames fit the memory of an ordinary machine."""
    size = BATCH
    while size > 1 and size * observed > FRAMES:
        size //= 2
    return size


def matrix_product_rate(
    quick: bool = False, device: str = "cpu", dtype: torch.dtype = torch.float32, size: int | None = None
) -> float:
    """FLOP a second of a product of two square matrices, the median of several.

    Args:
        quick: fewer of them.
        device: cpu or cuda.
        dtype: of the matrices.
        size: rows; by default 1024, and 8192 on a GPU, which smaller ones do not fill.
    """
    size = size or (1024 if device == "cpu" else 8192)
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))

    def product() -> None:
        left.matmul(right)
        if device != "cpu":
            torch.cuda.synchronize()

    return 2 * size**3 / statistics.median(repeat(product, 10 if quick else 40))


def repeat(work: Callable[[], object], runs: int) -> list[float]:
    """Seconds of each run, after two that do not count."""
    seconds = []
    for number in range(runs + 2):
        began = time.perf_counter()
        work()
        if number >= 2:
            seconds.append(time.perf_counter() - began)
    return seconds


def forward_of_training(model: SymGNN | Baseline, observed: torch.Tensor, horizon: int) -> None:
    """Everything a training step computes forwards, the bones' future included."""
    if isinstance(model, Baseline):
        model(observed, horizon)
        return
    features = model.encode(observed)
    model.predict(features, model.fuse(model.recognise(features)), horizon)


def count_flop(work: Callable[[], object]) -> float:
    """FLOP of some work, by torch's own counter: matrix products and convolutions alone."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        work()
    return float(counter.get_total_flops())


def _cases(name: str) -> list[Case]:
    preset = load_preset(name)
    horizon = preset.data.future

    def case(label: str, model: ModelConfig) -> Case:
        return Case(f"{name}, {label}", replace(preset, model=model), horizon)

    if not preset.model.joint:
        return [case("bones", preset.model)]
    joints = case("joints", replace(preset.model, bone=False))
    return [joints, case("joints + bones", preset.model)] if preset.model.bone else [joints]


def _table(found: Sequence[Figures]) -> Table:
    table = Table(
        title=f"latency at batch 1, clips/s at batch {BATCH}; x: ratio to the floor, FLOP / matrix-product rate",
        box=box.SIMPLE,
        padding=0,
    )
    table.add_column("network ", no_wrap=True, min_width=26)
    for heading in ("M par ", "GFLOP ", "latency ms", "p99 ", "x  ", "clips/s", "x  ", "step ms", "of ", "x  ", "peak MB"):
        table.add_column(heading, justify="right", no_wrap=True, min_width=7)
    for figures in found:
        table.add_row(
            figures.case,
            f"{figures.parameters / 1e6:.2f}",
            f"{figures.gflop:.2f}",
            f"{figures.single.median * 1e3:.1f}",
            f"{figures.single.worst * 1e3:.1f}",
            f"{figures.single.ratio:.2f}",
            f"{figures.throughput:.0f}",
            f"{figures.batch.ratio:.2f}",
            f"{figures.training.median * 1e3:.0f}",
            f"{figures.training_batch}",
            f"{figures.training.ratio:.2f}",
            f"{figures.peak_memory / 2**20:.0f}",
        )
    return table


def _plain(figures: Figures) -> dict[str, object]:
    plain = asdict(figures)
    for name in ("single", "batch", "training"):
        plain[name]["ratio"] = getattr(figures, name).ratio
    return {**plain, "throughput": figures.throughput}
