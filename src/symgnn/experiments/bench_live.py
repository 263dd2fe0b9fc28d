"""Speed of streams on this machine: from a frame to both answers, in every form a model has, beside the floor."""

import json as json_format
import logging
import multiprocessing
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
from symgnn.experiments.bench import machine, matrix_product_rate
from symgnn.files import write_whole
from symgnn.models import SymGNN
from symgnn.models.checkpoint import Card, Described, TrainedModel, build
from symgnn.runtime.answering import Answers, Windows
from symgnn.runtime.stream import Stream
from symgnn.skeleton import load_layout

CLASSES = 8
NETWORK = {"light": "full width (cmu-long)", "cmu-live": "quarter width (cmu-long-cpu)"}
HORIZONS = (10, 25)


@dataclass(frozen=True)
class Case:
    """One network at one setting; all its forms are measured in turns, in one process."""

    width: str
    """A preset: light, or cmu-live for its quarter width."""
    bone: bool
    horizon: int
    threads: int
    forms: tuple[str, ...]
    rounds: int
    pushes: int
    """A form a round."""


@dataclass(frozen=True)
class Latency:
    """From a frame to its answer; seconds."""

    form: str
    median: float
    worst: float
    """99th percentile."""
    gflop: float
    """Of one answer."""
    floor: float
    """FLOP over the rate of float32 matrix products, measured between the rounds with as many threads."""
    difference: float | None
    """Largest difference of a future coordinate from that of the network as it was trained, beside the largest motion; None for
    a network of its own."""

    @property
    def ratio(self) -> float:
        return self.median / self.floor


FORMS = ("eager", "folded", "bf16", "compiled", "onnx", "tick")
"""As trained; batch norms folded; that with blocks in 16 bits; that compiled; exported to ONNX; one frame a tick."""


class _Compiled(Described):
    """A folded network compiled for one window and one horizon."""

    def __init__(self, model: TrainedModel, horizon: int):
        # Compiling copies constants into the program, which it does not do by itself.
        from torch._inductor import config  # pyright: ignore[reportMissingImports]

        config.freezing = True
        self.card = model.card
        self._run = torch.compile(lambda x: _tensors(model.network, x, horizon), dynamic=False)

    @torch.no_grad()
    def answer(self, windows: Windows, horizon: int, together: np.ndarray | None = None) -> Answers:
        logits, future, actional = self._run(torch.from_numpy(windows))
        return Answers(logits.double().softmax(dim=-1).numpy(), future.numpy(), actional.numpy())


def _tensors(network: SymGNN, observed: torch.Tensor, horizon: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    output = network(observed, horizon)
    assert output.logits is not None and output.future is not None and output.actional is not None
    return output.logits, output.future, output.actional


def forms_of(case: Case, folder: Path) -> Iterator[tuple[str, Described]]:
    """The models of a case, the one as it was trained first.

    Args:
        case: which.
        folder: where exported files may be written.
    """
    torch.manual_seed(0)
    preset = load_preset(case.width)
    window = load_preset("cmu-long")
    preset = replace(window, model=replace(window.model, width=preset.model.width, bone=case.bone))
    eager = _model(preset, folded=False)
    yield "eager", eager
    for form in case.forms:
        if form == "folded":
            yield form, TrainedModel(eager.network, eager.card, folded=True)
        elif form == "bf16":
            yield form, TrainedModel(eager.network, eager.card, folded=True, precision="bf16")
        elif form == "compiled":
            yield form, _Compiled(TrainedModel(eager.network, eager.card, folded=True), case.horizon)
        elif form == "onnx":
            yield form, exported(eager, folder / "model.onnx", case.threads)
        elif form == "tick":
            live = load_preset("cmu-live").model
            fields = {name: getattr(live, name) for name in ("kernels", "padding", "actional_in")}
            yield form, _model(replace(preset, model=replace(preset.model, **fields)), folded=True)


def _model(preset: Preset, *, folded: bool) -> TrainedModel:
    layout = load_layout(preset.data.layout)
    network = build(preset, layout, CLASSES).eval()
    mean = tuple((0.0, 0.0, 0.0) for _ in layout.stored(preset.data.space))
    names = tuple(f"class {number}" for number in range(CLASSES))
    return TrainedModel(network, Card(preset, layout, names, mean, 120.0, "bench"), folded=folded)


def measure_case(case: Case) -> tuple[float, list[Latency]]:
    """Every form of one network, in turns; meant for a process of its own.

    Each push is one frame at the model's rate into a [Stream][symgnn.runtime.Stream] whose window is full, so the time is that
    from a frame to both answers, with all there is in between.

    Returns:
        The rate of matrix products, and a latency a form.
    """
    torch.set_num_threads(case.threads)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: case.threads])
    logging.getLogger("symgnn").setLevel(logging.ERROR)
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(prefix="symgnn-bench-") as place:
        models = dict(forms_of(case, Path(place)))
        observed = case_window(models["eager"]).observed
        # A slow walk at random: frames differ, and nothing is missing.
        joints = models["eager"].layout.num_nodes
        clip = random.normal(0, 0.05, (observed + case.rounds * case.pushes + 8, joints, 3)).cumsum(axis=0).astype(np.float32)
        streams = {form: Stream(model, horizon=case.horizon, fps=_rate(model)) for form, model in models.items()}
        last = {}
        for form, stream in streams.items():
            for frame in clip[: observed + 4]:  # the first answers pack weights, and compile
                last[form] = stream.push(frame)
        seconds: dict[str, list[float]] = {form: [] for form in streams}
        rates = [matrix_product_rate(quick=True)]
        for number in range(case.rounds):
            first = observed + 4 + number * case.pushes
            for form, stream in streams.items():
                for frame in clip[first : first + case.pushes]:
                    began = time.perf_counter()
                    answer = stream.push(frame)
                    seconds[form].append(time.perf_counter() - began)
                    assert answer is not None
            rates.append(matrix_product_rate(quick=True))
        rate = statistics.median(rates)
        truth = last["eager"].future
        moved = float(np.abs(truth - clip[observed + 3]).max())
        found = [
            Latency(
                form=form,
                median=statistics.median(seconds[form]),
                worst=float(np.quantile(seconds[form], 0.99)),
                gflop=_flop(streams[form], clip[-1], models, form) / 1e9,
                floor=_flop(streams[form], clip[-1], models, form) / rate,
                difference=None if form == "tick" else float(np.abs(last[form].future - truth).max()) / max(moved, 1e-6),
            )
            for form in streams
        ]
    return rate, found
