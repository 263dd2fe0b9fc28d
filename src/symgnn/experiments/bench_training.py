"""A training step on this machine: launched, recorded, and the floor that its matrix products set."""

import json as json_format
import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich import box
from rich.console import Console
from rich.table import Table

from symgnn.config import Preset, load_preset
from symgnn.errors import InputError
from symgnn.experiments.bench import (
    CLASSES,
    count_flop,
    forward_of_training,
    machine,
    matrix_product_rate,
    training_batch,
)
from symgnn.files import write_whole
from symgnn.models.checkpoint import build
from symgnn.skeleton import load_layout
from symgnn.training import Step, training_step
from symgnn.training.recorded import WARM_UP, RecordedStep
from symgnn.types import Batch

PRESETS = ("cmu-long", "cmu-short", "cmu-long-cpu", "demo")
DTYPES = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16, "64-true": torch.float64}
"""In which a step's products are computed, by its preset's precision."""
STEPS = 10
"""That a GPU does between two looks at the clock: in training nothing waits for each of them either."""


@dataclass(frozen=True)
class Form:
    """One way to take a step; seconds a step."""

    median: float
    worst: float
    """Of all that were timed."""


@dataclass(frozen=True)
class StepFigures:
    """A preset's training step, in a process of its own."""

    preset: str
    precision: str
    batch: int
    """Windows."""
    gflop: float
    """Three forward passes of everything that is trained, of all windows."""
    rate: float
    """Matrix products in that precision, FLOP a second, measured before and after."""
    launched: Form
    recorded: Form | None
    """None where it was not measured: ``why_not`` says why."""
    why_not: str | None
    peak_memory: int | None
    """Bytes of the GPU's memory that tensors had at most; None on a CPU."""

    @property
    def floor(self) -> float:
        """Seconds of a step that were all matrix products."""
        return 1e9 * self.gflop / self.rate

    def to_dict(self) -> dict[str, object]:
        """Plain values, ratios among them."""
        ratios = {"launched": self.launched.median / self.floor}
        if self.recorded is not None:
            ratios |= {
                "recorded": self.recorded.median / self.floor,
                "launched_to_recorded": self.launched.median / self.recorded.median,
            }
        return {**asdict(self), "floor": self.floor, "ratios": ratios}


def bench_training(
    *,
    presets: Sequence[str] = PRESETS,
    device: str = "auto",
    json: str | Path | None = None,
    quick: bool = False,
    console: Console | None = None,
) -> int:
    """Time a training step of each preset: losses, gradients, clipping and optimiser, on random motion.

    On a GPU with the preset's batch, launched and recorded (``training.recorded``); on a CPU with 32 windows, or as many as
    fit an ordinary machine's memory, launched. The floor is FLOP over the rate of matrix products in the step's precision,
    measured in the same process just before and after.

    Args:
        presets: names of presets.
        device: "cpu", "gpu", or "auto": the second where there is one.
        json: also write all figures to this file.
        quick: a fifth of the repetitions.
        console: where to print; a new one by default.

    Raises:
        InputError: there is no GPU where one is asked for.
    """
    if device == "gpu" and not torch.cuda.is_available():
        raise InputError('device "gpu": PyTorch finds none here; expected "cpu", or "auto" to take what there is')
    place = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    console = console or Console()
    found = []
    with console.status("") as status:
        for number, name in enumerate(presets, start=1):
            status.update(f"measuring {name} ({number} of {len(presets)})")
            # A fresh interpreter, as for the other figures of speed.
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                found.append(pool.apply(measure_step, (name, place, quick)))
    about = machine() if place == "cpu" else {**machine(), "gpu": torch.cuda.get_device_name()}
    where = f"{torch.get_num_threads()} CPU threads" if place == "cpu" else str(about["gpu"])
    console.print(f"{where}, torch {torch.__version__}")
    console.print(steps_table(found), width=max(console.width, 112), crop=False)
    for line in dict.fromkeys(figures.why_not for figures in found if figures.why_not):
        console.print(f"recorded: {line}", style="dim")
    if json is not None:
        content = {**about, "steps": [figures.to_dict() for figures in found]}
        write_whole(json, json_format.dumps(content, indent=2).encode() + b"\n")
    return 0


def measure_step(name: str, place: str, quick: bool) -> StepFigures:
    """All figures of one preset; meant for a process of its own."""
    preset = load_preset(name)
    training, window = preset.training, preset.data
    size = training.batch if place == "cuda" else training_batch(window.observed)
    dtype = DTYPES[training.precision]
    kept = dtype if training.precision == "64-true" else torch.float32
    torch.manual_seed(0)
    model = build(preset, load_layout(window.layout), CLASSES).to(place, kept)
    body = model.mean.shape
    observed = torch.randn(size, window.observed, *body, device=place, dtype=kept)
    future = torch.randn(size, window.future, *body, device=place, dtype=kept)
    labels = torch.arange(size, device=place) % CLASSES
    batch = Batch(observed, future, labels, torch.zeros(size, dtype=torch.long, device=place))
    flop = 3 * size * count_flop(lambda: forward_of_training(model.eval(), observed[:1], window.future))
    model.train()
    weights = list(model.parameters())
    optimizer = torch.optim.AdamW(weights, lr=1e-4, fused=True)  # as in training

    def gradients(given: Batch) -> Step:
        step = training_step(model, given, training)
        step.surrogate.backward()
        if training.clip_norm:
            torch.nn.utils.clip_grad_norm_(weights, training.clip_norm)
        return step

    def launched() -> None:
        optimizer.zero_grad()
        gradients(batch)
        optimizer.step()

    before = matrix_product_rate(quick, place, dtype)
    rounds = 4 if quick else 20
    first = _timed(launched, place, rounds)
    why_not = _why_not_recorded(preset, place)
    second = None
    if why_not is None:
        take = RecordedStep(gradients, weights)

        def recorded() -> None:
            take(batch)
            optimizer.step()

        second = _timed(recorded, place, rounds, ahead=WARM_UP + 1)
    rate = statistics.median((before, matrix_product_rate(quick, place, dtype)))
    peak = torch.cuda.max_memory_allocated() if place == "cuda" else None
    return StepFigures(preset.name, training.precision, size, flop / 1e9, rate, first, second, why_not, peak)


def _why_not_recorded(preset: Preset, place: str) -> str | None:
    if place != "cuda":
        return "not on a CPU, which has no launches to save"
    if preset.data.persons > 1:
        return "not where persons are seen together, whose number differs from batch to batch"
    return None


def _timed(work: Callable[[], None], place: str, rounds: int, ahead: int = 2) -> Form:
    """Time rounds of steps; the first ones do not count.

    Args:
        work: one step.
        place: cpu or cuda, whose rounds are of ``STEPS`` steps.
        rounds: to time.
        ahead: steps that do not count.
    """
    steps = STEPS if place == "cuda" else 1

    def wait() -> None:
        if place == "cuda":
            torch.cuda.synchronize()

    for _ in range(ahead):
        work()
    wait()
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(steps):
            work()
        wait()
        seconds.append((time.perf_counter() - began) / steps)
    return Form(statistics.median(seconds), max(seconds))


def steps_table(found: Sequence[StepFigures]) -> Table:
    """A line a preset; a recorded step beside the launched one where there is one."""
    table = Table(
        title="one training step; x: ratio to the floor, FLOP / matrix-product rate in the same precision",
        box=box.SIMPLE,
        padding=(0, 1),
    )
    # Least widths: a narrow console gets longer lines, not shorter words.
    for heading, width in (("preset", 14), ("precision", 10)):
        table.add_column(heading, no_wrap=True, min_width=width)
    heads = ["windows", "TFLOP", "TFLOP/s", "floor ms", "launched ms", "worst", "x"]
    if any(figures.recorded is not None for figures in found):
        heads += ["recorded ms", "worst", "x", "faster by"]
    for heading in heads:
        table.add_column(heading, justify="right", no_wrap=True, min_width=max(7, len(heading)))
    for figures in found:
        line = [figures.preset, figures.precision, f"{figures.batch}"]
        line += [f"{figures.gflop / 1e3:.3f}", f"{figures.rate / 1e12:.2f}", f"{1e3 * figures.floor:.2f}"]
        line += _form(figures.launched, figures.floor)
        if figures.recorded is not None:
            line += [*_form(figures.recorded, figures.floor), f"{figures.launched.median / figures.recorded.median:.2f}"]
        table.add_row(*line)
    return table


def _form(form: Form, floor: float) -> list[str]:
    return [f"{1e3 * form.median:.1f}", f"{1e3 * form.worst:.1f}", f"{form.median / floor:.2f}"]
