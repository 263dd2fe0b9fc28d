"""Running averages: the means by hand, and the command."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import symgnn
from symgnn.cli import main
from symgnn.data import Store
from symgnn.models.baselines import RunningAverage

STEPS = torch.tensor([0.0, 1.0, 4.0, 10.0])
"""Where a joint is on the x axis in four frames."""


def walking() -> torch.Tensor:
    """One clip of four frames and two joints, the second at ten times the first's places."""
    observed = torch.zeros(1, 4, 2, 3)
    observed[0, :, 0, 0], observed[0, :, 1, 0] = STEPS, 10 * STEPS
    return observed


@pytest.mark.parametrize(("frames", "mean"), [(1, 10.0), (2, 7.0), (4, 3.75), (9, 3.75)])
def test_every_frame_is_the_mean_of_the_last_ones(frames: int, mean: float):
    """(4 + 10) / 2 = 7 and (0 + 1 + 4 + 10) / 4 = 3.75; a window of four has no more than four."""
    answer = RunningAverage(frames)(walking(), 3)
    assert answer.logits is None and answer.future is not None
    assert answer.future[0, :, 0].tolist() == 3 * [[mean, 0.0, 0.0]]
    assert answer.future[0, :, 1].tolist() == 3 * [[10 * mean, 0.0, 0.0]]


def test_a_missing_joint_keeps_its_latest_place():
    """Seen at 0 and 1 and then no more, the joint counts as 1 twice; one that was never seen is at zero."""
    observed = walking()
    observed[0, 2:, 0] = torch.nan
    observed[0, :, 1] = torch.nan
    answer = RunningAverage(4)(observed, 1)
    assert answer.future is not None
    assert answer.future[0, 0].tolist() == [[0.75, 0.0, 0.0], [0.0, 0.0, 0.0]]


@pytest.mark.parametrize("frames", [2, 4])
def test_the_command(motion: Store, tmp_path: Path, frames: int):
    file, name = tmp_path / "result.json", f"running-average-{frames}"
    assert main(["evaluate", name, "--protocol", "demo", "--data", str(motion.path), "--json", str(file)]) == 0
    found = json.loads(file.read_text(encoding="utf-8"))
    errors = []
    for window in symgnn.load_protocol("demo").windows(motion).windows:
        poses = motion.clip_frames(window.clip)[window.start :][:, list(motion.layout.nodes)].astype(np.float64)
        mean = sum(poses[49 - back] for back in range(frames)) / frames
        errors.append((window.action, np.sqrt(((poses[51] - mean) ** 2).sum(axis=1)).mean()))
    by_action = [np.mean([error for action, error in errors if action == each]) for each in motion.class_names]
    assert found["average"]["mpjpe"]["80"] == pytest.approx(np.mean(by_action), abs=1e-6)
    assert found["top1"] is None and found["model"] == name


def test_the_published_order_on_cmu(shared_data: Path, tmp_path: Path):
    """On moving people an average lags behind the last pose at first, the more the longer it is (Martinez et al., Table 2)."""
    folder, errors = shared_data / "cmu_mocap", []
    if not folder.is_dir():
        pytest.skip(f"CMU Mocap is not there (expected in {folder})")
    for name in ("zero-velocity", "running-average-2", "running-average-4"):
        file = tmp_path / f"{name}.json"
        assert main(["evaluate", name, "--protocol", "cmu-long", "--data", str(folder), "--json", str(file)]) == 0
        errors.append(json.loads(file.read_text(encoding="utf-8"))["average"]["angle_mae"]["80"])
    assert errors == sorted(errors) and errors[0] < errors[1]
