"""Two processes on halves of a batch do what one does on the whole: losses, λ, gradients, clipping, averages, checkpoints.

Some joints and labels are missing, and not equally often in the two halves, so each mean has to be over the whole batch.
"""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed

import two_processes
from symgnn.data import write_store
from symgnn.errors import InputError
from symgnn.models.checkpoint import load
from symgnn.training import train
from tiny import CLASSES, layout, make_preset, make_store, same, state_of

torch.set_num_threads(1)

pytestmark = pytest.mark.skipif(not distributed.is_gloo_available(), reason="PyTorch was built without gloo")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with gaps and labels missing, and the results of one process and of two."""
    path = tmp_path_factory.mktemp("distributed")
    make_store(path / "whole", gaps=0.1)
    known = make_store(path / "known", gaps=0.1)
    clips = [
        (replace(clip, label=-1 if k % 4 == 0 else clip.label), known.clip_frames(k)) for k, clip in enumerate(known.clips)
    ]
    write_store(path / "store", clips, layout=layout(), space="xyz", unit="m", fps=25.0, class_names=CLASSES)
    two_processes.main(path, "one")
    places = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*torchrun, str(Path(__file__).with_name("two_processes.py")), str(path), "two"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(places), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(scope="module")
def results(folder: Path) -> dict[str, dict[str, Any]]:
    return {name: torch.load(folder / f"{name}.pt", weights_only=True) for name in ("one 0", "two 0", "two 1")}


@pytest.mark.parametrize("weighting", ["features", "exact"])
def test_one_and_two_processes_agree(weighting, results):
    one, first, second = (results[name][weighting] for name in ("one 0", "two 0", "two 1"))
    assert len(one["weights"]) == 4
    assert first["weights"] == second["weights"], "both processes weigh the tasks alike, to the bit"
    assert first["weights"] == pytest.approx(one["weights"], abs=1e-9)
    moved = 0.0
    for name, value in one["state"].items():
        for other in (first, second):
            torch.testing.assert_close(
                other["state"][name], value, rtol=1e-9, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}"
            )
        if name.startswith("average.") and value.is_floating_point():
            moved = max(moved, float((value - one["state"][name.replace("average.module", "model")]).abs().max()))
    assert moved > 1e-4, "the weights moved on from their average"
    assert first["best"] == second["best"] == pytest.approx(one["best"], rel=1e-9)


def test_both_weightings_are_at_work(results):
    """λ at its border would agree whatever the gradients are."""
    features, exact = (results["one 0"][weighting]["weights"] for weighting in ("features", "exact"))
    assert features != exact
    for weights in (features, exact):
        assert sum(0.01 < weight < 0.99 for weight in weights) >= 2


def test_processes_stay_together(results):
    """As users train, with live batch norms and dropout of their own: the parameters are the same in both, to the bit."""
    first, second = (results[name]["as users do"] for name in ("two 0", "two 1"))
    assert first["weights"] == second["weights"] and first["best"] == second["best"]
    for name, value in first["state"].items():
        if value.is_floating_point() and "running" not in name:
            assert bool(value.isfinite().all()) and torch.equal(value, second["state"][name]), name


@pytest.mark.parametrize("weighting", ["features", "exact"])
def test_one_of_the_processes_writes(weighting, folder: Path, results):
    """Checkpoints and figures are there once, and what is in them is the same."""
    one, two = folder / f"one {weighting}", folder / f"two {weighting}"
    assert sorted(path.name for path in two.iterdir()) == sorted(path.name for path in one.iterdir())
    assert load(two / "last.ckpt").card == load(one / "last.ckpt").card
    state = state_of(two / "last.ckpt")
    assert same(state["state_dict"], results["two 0"][weighting]["state"])
    rows = [(path / "logs" / "metrics.csv").read_text().splitlines() for path in (one, two)]
    assert len(rows[0]) == len(rows[1]) == 5
    for mine, others in zip(*rows, strict=True):
        for figure, other in zip(mine.split(",")[:-1], others.split(",")[:-1], strict=True):
            assert figure == other or float(figure) == pytest.approx(float(other), rel=1e-6)


def test_a_batch_that_cannot_be_shared(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(two_processes.training_module, "_world", lambda: 3)
    with pytest.raises(InputError, match="8 windows cannot be shared equally by 3 processes"):
        train(make_preset(folder), make_store(folder / "more"), folder / "three", progress=False, accelerator="cpu")


@pytest.mark.parametrize(("rank", "files"), [("0", ["preset.json"]), ("1", [])])
def test_one_of_the_processes_writes_the_settings(rank, files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Two that wrote at one moment would take each other's temporary file away."""

    def stop(_module: Any, _data: Any) -> None:
        raise InterruptedError

    monkeypatch.setenv("RANK", rank)
    with pytest.raises(InterruptedError):
        train(
            make_preset(tmp_path),
            make_store(tmp_path / "store"),
            tmp_path / "run",
            progress=False,
            accelerator="cpu",
            on_start=stop,
        )
    assert [path.name for path in (tmp_path / "run").iterdir()] == files
