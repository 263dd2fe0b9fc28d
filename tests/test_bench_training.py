"""``symgnn bench training``: what is counted, how it is timed, and that what is printed is what was measured."""

import io
import json
import re
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch.utils.flop_counter import FlopCounterMode

from symgnn.cli import main
from symgnn.config import load_preset
from symgnn.experiments import bench, bench_training
from symgnn.experiments.bench import matrix_product_rate
from symgnn.experiments.bench_training import STEPS, Form, StepFigures, measure_step, steps_table
from symgnn.experiments.sizes import sizes
from symgnn.models import SymGNN
from symgnn.models.checkpoint import build
from symgnn.skeleton import load_layout

torch.set_num_threads(1)


@pytest.fixture
def tiny_preset(tmp_path: Path) -> str:
    path = tmp_path / "tiny.yaml"
    path.write_text(
        "extends: demo\ndescription: tiny\n"
        "data: {observed: 12, future: 4}\nmodel: {width: 0.05}\ntraining: {batch: 4, clip_norm: 1.0}\n"
    )
    return str(path)


def test_the_floor_counts_a_step(tiny_preset: str, monkeypatch: pytest.MonkeyPatch):
    """Three forward passes of 32 windows: by the sizes that ``symgnn info`` prints, and about what a step does."""
    monkeypatch.setattr(bench_training, "matrix_product_rate", lambda *_: 2e9)
    figures = measure_step(tiny_preset, "cpu", quick=True)
    preset = load_preset(tiny_preset)
    model = build(preset, load_layout("cmu"), bench.CLASSES)
    assert isinstance(model, SymGNN)
    assert figures.batch == 32 and figures.precision == preset.training.precision
    assert 1e9 * figures.gflop == 3 * 32 * sum(size.flop for size in sizes(model, 4))
    assert figures.floor == pytest.approx(figures.gflop / 2)
    body = model.mean.shape
    with FlopCounterMode(display=False) as counter:
        features = model.train().encode(torch.randn(4, 12, *body))
        scores = model.recognise(features)
        answers = (*scores, *model.predict(features, model.fuse(scores), 4))
        torch.stack([answer.sum() for answer in answers]).sum().backward()
    # A backward pass costs two forward ones, but for the gradients of the window, which nobody wants.
    assert 0.75 < counter.get_total_flops() / (1e9 * figures.gflop / 8) < 1
    assert figures.recorded is None and "not on a CPU" in (figures.why_not or "")
    assert 0 < figures.launched.median <= figures.launched.worst


def test_a_rate_is_of_the_asked_precision(monkeypatch: pytest.MonkeyPatch):
    seen = []

    def repeat(work, runs: int) -> list[float]:
        with FlopCounterMode(display=False) as counter:
            work()
        seen.append((counter.get_total_flops(), runs))
        return [0.5, 0.25, 7.0]

    monkeypatch.setattr(bench, "repeat", repeat)
    assert matrix_product_rate(True, "cpu", torch.bfloat16, size=64) == 2 * 64**3 / 0.5
    assert matrix_product_rate(size=32) == 2 * 32**3 / 0.5
    assert seen == [(2 * 64**3, 10), (2 * 32**3, 40)]


def test_steps_between_two_looks_at_the_clock(monkeypatch: pytest.MonkeyPatch):
    """A GPU is waited for once a round, and before the first: with a clock that every step moves on by one second."""
    clock, waits = [0.0], []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: waits.append(clock[0]))
    monkeypatch.setattr(bench_training.time, "perf_counter", lambda: clock[0])

    def step() -> None:
        clock[0] += 1 if clock[0] < 5 + 2 * STEPS else 3

    form = bench_training._timed(step, "cuda", 3, ahead=5)
    assert waits == [5, 5 + STEPS, 5 + 2 * STEPS, 5 + 5 * STEPS]
    assert (form.median, form.worst) == (1.0, 3.0)
    clock[0], waits[:] = 0.0, []
    assert bench_training._timed(step, "cpu", 4).median == 1.0 and clock[0] == 2 + 4 and not waits


def test_a_recorded_step_stands_beside_the_launched_one():
    launched, recorded = Form(0.030, 0.033), Form(0.012, 0.013)
    figures = StepFigures("light", "32-true", 64, 500.0, 5e13, launched, recorded, None, 10**9)
    other = StepFigures("pairs", "32-true", 64, 500.0, 5e13, launched, None, "not here", 10**9)
    found = figures.to_dict()
    assert found["floor"] == pytest.approx(0.010)
    assert found["ratios"] == pytest.approx({"launched": 3.0, "recorded": 1.2, "launched_to_recorded": 2.5})
    assert other.to_dict()["ratios"] == pytest.approx({"launched": 3.0}) and other.to_dict()["recorded"] is None
    console = Console(file=io.StringIO(), width=160)
    console.print(steps_table([figures, other]))
    printed = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    assert re.search(r"light +32-true +64 +0\.500 +50\.00 +10\.00 +30\.0 +33\.0 +3\.00 +12\.0 +13\.0 +1\.20 +2\.50", printed)
    assert re.search(r"pairs +32-true +64 .* 3\.00 *$", printed, re.MULTILINE) and "launched ms" in printed


def test_persons_together_are_not_recorded():
    reason = bench_training._why_not_recorded(load_preset("ntu60-xsub"), "cuda")
    assert reason is not None and "persons" in reason
    assert bench_training._why_not_recorded(load_preset("cmu-long"), "cuda") is None


def test_the_command(tiny_preset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "figures.json"
    words = ["bench", "training", "--presets", tiny_preset, "--device", "cpu", "--quick", "--json", str(file)]
    assert main(words) == 0
    printed, content = capsys.readouterr().out, json.loads(file.read_text())
    (step,) = content["steps"]
    assert content["torch"] == torch.__version__ and "gpu" not in content
    assert step["floor"] == pytest.approx(1e9 * step["gflop"] / step["rate"])
    assert step["ratios"] == {"launched": pytest.approx(step["launched"]["median"] / step["floor"])}
    assert f"{1e3 * step['launched']['median']:.1f}" in printed and f"{step['ratios']['launched']:.2f}" in printed
    assert step["preset"] == "tiny" and "recorded: not on a CPU" in printed


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu(capsys: pytest.CaptureFixture[str]):
    assert main(["bench", "training", "--device", "gpu"]) == 2
    assert "PyTorch finds none here" in capsys.readouterr().err


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu(tiny_preset: str):
    figures = measure_step(tiny_preset, "cuda", quick=True)
    assert figures.batch == 4 and figures.recorded is not None and figures.recorded.median > 0
    assert figures.peak_memory is not None and figures.peak_memory > 0
