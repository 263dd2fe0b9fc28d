"""The examples, on recorded input in the form that MediaPipe and OpenPose publish."""

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from live import FPS, make_model
from symgnn.models.checkpoint import TrainedModel, build, save
from symgnn.runtime import Stream, Streams, predict
from symgnn.skeleton import load_layout

EXAMPLES = Path(__file__).parents[1] / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def model_of(layout: str, space: str) -> TrainedModel:
    """A small network with drawn weights on a detector's body."""
    tiny = make_model(space=space)
    body = load_layout(layout)
    card = replace(tiny.card, layout=body, stored_mean=((0.0, 0.0, 0.0),) * len(body.joints))
    network = build(card.preset, body, len(card.class_names))
    rng = np.random.default_rng(0)
    for weights in network.parameters():
        weights.data += 0.05 * weights.new_tensor(rng.normal(size=weights.shape))
    return TrainedModel(network.eval(), card).eval()


def walk(frames: int, joints: int, x: float, speed: float, seed: int) -> np.ndarray:
    """A body 200 pixels high that crosses the picture."""
    rng = np.random.default_rng(seed)
    body = rng.uniform((0, 0), (80, 200), size=(joints, 2))
    swing = 5 * np.sin(np.arange(frames)[:, None, None] / 3 + rng.uniform(0, 6, size=(1, joints, 2)))
    along = np.stack([x + speed * np.arange(frames), np.full(frames, 100.0)], axis=-1)
    confidence = rng.uniform(0.5, 1, size=(frames, joints, 1))
    return np.concatenate([body + swing + along[:, None], confidence], axis=2).round(3)


# --- webcam.py ------------------------------------------------------------------------------------------------------------


def test_the_webcam_answers_as_predict_does():
    webcam, model = example("webcam"), model_of("mediapipe33", "xyz")
    clip = np.random.default_rng(1).normal(size=(1, 33, 3)) + 0.1 * np.random.default_rng(2).normal(size=(14, 33, 3)).cumsum(0)
    recorded = [
        (index / FPS, [SimpleNamespace(x=x, y=y, z=z, visibility=0.9) for x, y, z in frame]) for index, frame in enumerate(clip)
    ]
    recorded.insert(10, (9.5 / FPS, []))  # nobody found
    found = list(webcam.answers(recorded, Stream(model)))
    assert [answer.time for answer in found] == [index / FPS for index in range(7, 14)]
    for index, answer in enumerate(found, start=8):
        (expected,) = predict(model, [clip[:index]])
        assert answer.probabilities == pytest.approx(expected.probabilities, abs=1e-5)
        assert np.abs(answer.future - expected.future).max() < 1e-5
    assert len({tuple(answer.probabilities.values()) for answer in found}) == len(found)


def test_the_webcam_speaks_of_what_it_needs():
    done = subprocess.run([sys.executable, EXAMPLES / "webcam.py", "--help"], capture_output=True, text=True, check=True)
    assert "pose_landmarker" in done.stdout and "mediapipe33" in done.stdout


# --- openpose_folder.py ---------------------------------------------------------------------------------------------------


def write_frame(folder: Path, number: int, people: list[np.ndarray]) -> Path:
    """A file as OpenPose writes it (output format, doc/02_output.md)."""
    empty = ("face", "hand_left", "hand_right")
    content = {
        "version": 1.3,
        "people": [
            {
                "person_id": [-1],
                "pose_keypoints_2d": pose.ravel().tolist(),
                **{f"{part}_keypoints_{axes}": [] for part in empty for axes in ("2d", "3d")},
                "pose_keypoints_3d": [],
            }
            for pose in people
        ],
    }
    path = folder / f"camera_{number:012}_keypoints.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_the_folder_is_watched_while_files_appear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Two persons who cross, listed in any order; files come three at a time, one of them half written, one broken."""
    watcher, model = example("openpose_folder"), model_of("openpose25", "xyc")
    left, right = walk(30, 25, 0, 12, 0), walk(30, 25, 600, -12, 1)
    now, next_frame, said = [0.0], [0], []

    def sleep(seconds: float) -> None:
        now[0] += seconds
        half = tmp_path / "camera_000000000011_keypoints.json"
        if half.exists() and half.stat().st_size < 100:
            write_frame(tmp_path, 11, [right[11], left[11]])
        for number in range(next_frame[0], min(next_frame[0] + 3, 30)):
            people = [left[number], right[number]]
            path = write_frame(tmp_path, number, people[:: 1 if number % 3 else -1])
            if number == 11:
                path.write_text('{"version": 1.3, "peo')
            if number == 18:
                path.write_text("broken")
        next_frame[0] += 3

    monkeypatch.setattr(watcher.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(watcher.time, "sleep", sleep)
    streams = Streams(model, smoothing=0, warm_up="repeat")
    found = list(watcher.answers(watcher.appearing(tmp_path, idle=1.0, say=said.append), streams, FPS))
    assert len(said) == 1 and "camera_000000000018" in said[0] and "no JSON" in said[0]
    # Whoever is listed first in the first file is person 0: there the two are the other way round.
    alone = {0: Stream(model, smoothing=0, warm_up="repeat"), 1: Stream(model, smoothing=0, warm_up="repeat")}
    expected = {
        (person, number): alone[person].push(clip[number], number / FPS)
        for person, clip in ((0, right), (1, left))
        for number in range(30)
        if number != 18
    }
    assert len(found) == len(expected) == 58
    for person, answer in found:
        other = expected[person, round(answer.time * FPS)]
        assert other is not None and answer.probabilities == pytest.approx(other.probabilities, abs=1e-5)
        assert answer.future is not None and other.future is not None
        assert np.allclose(answer.future, other.future, rtol=1e-5, atol=1e-2), "of pixels"
    ends = [np.array(list(answer.probabilities.values())) for _, answer in found[-2:]]
    assert np.abs(ends[0] - ends[1]).max() > 1e-4, "the two differ, so a mistaken identity would show"


def test_the_folder_from_the_command_line(tmp_path: Path):
    model = model_of("openpose25", "xyc")
    save(tmp_path / "model.ckpt", model)
    folder = tmp_path / "keypoints"
    folder.mkdir()
    clip = walk(12, 25, 0, 5, 0)
    for number, pose in enumerate(clip):
        write_frame(folder, number, [pose])
    words = [sys.executable, EXAMPLES / "openpose_folder.py", tmp_path / "model.ckpt", folder, "--fps", "50", "--idle", "0.5"]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 12 and all("person 0" in line for line in lines) and lines[-1].split()[:2] == ["0.22", "s"]
