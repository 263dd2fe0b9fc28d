"""Whole clips in a window: resampled, repeated (reading 4), and their beginnings alone (reading 21)."""

import io
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from symgnn.data import Changes, ClipRecord, Store, WindowSampler, write_store
from symgnn.data.resampling import at_rows, clip_rows
from symgnn.errors import InputError
from symgnn.evaluation import evaluate, load_protocol
from symgnn.evaluation.baselines import fitted_classifier
from symgnn.models.checkpoint import Card, TrainedModel
from symgnn.runtime import predict
from symgnn.types import Output
from tiny import CLASSES, FUTURE, OBSERVED, layout, make_model, make_preset

NAN = math.nan


@pytest.mark.parametrize(
    ("length", "settings", "expected"),
    [
        # The clip again and again, from its first frame.
        (3, {"sampling": "repeat", "observed": 5, "future": 3}, [0, 1, 2, 0, 1, 2, 0, 1]),
        (1, {"sampling": "repeat", "observed": 2, "future": 1}, [0, 0, 0]),
        (20, {"sampling": "repeat", "observed": 3, "future": 2}, [0, 1, 2, 3, 4]),
        # Every second frame of seven are four.
        (7, {"sampling": "repeat", "observed": 5, "future": 2, "step": 2}, [0, 2, 4, 6, 0, 2, 4]),
        # Half of ten frames, repeated so that the fifth is the current one; then what really follows, and then nothing.
        (10, {"sampling": "repeat", "observed": 7, "future": 6, "ratio": 0.5}, [3, 4, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, NAN]),
        # More than a window holds: the last of what may be seen.
        (10, {"sampling": "repeat", "observed": 3, "future": 2, "ratio": 0.8}, [5, 6, 7, 8, 9]),
        (10, {"sampling": "repeat", "observed": 3, "future": 1, "ratio": 1.0}, [7, 8, 9, NAN]),
        # There is always a frame to see.
        (10, {"sampling": "repeat", "observed": 3, "future": 2, "ratio": 0.01}, [0, 0, 0, 1, 2]),
        (9, {"sampling": "repeat", "observed": 4, "future": 2, "step": 2, "ratio": 0.6}, [4, 0, 2, 4, 6, 8]),
        # Evenly from the first to the last.
        (9, {"sampling": "whole", "observed": 3, "future": 2}, [0, 2, 4, 6, 8]),
        (4, {"sampling": "whole", "observed": 5, "future": 2}, [0, 0.5, 1, 1.5, 2, 2.5, 3]),
        (1, {"sampling": "whole", "observed": 2, "future": 1}, [0, 0, 0]),
        # Frames 0 to 4 of ten in three; then at that pace.
        (10, {"sampling": "whole", "observed": 3, "future": 4, "ratio": 0.5}, [0, 2, 4, 6, 8, NAN, NAN]),
        (5, {"sampling": "whole", "observed": 5, "future": 3, "ratio": 0.6}, [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5]),
        (5, {"sampling": "whole", "observed": 3, "future": 2, "ratio": 0.1}, [0, 0, 0, 1, 2]),
        (5, {"sampling": "whole", "observed": 3, "future": 1, "ratio": 1.0}, [0, 2, 4, NAN]),
    ],
)
def test_rows_by_hand(length: int, settings: dict, expected: list[float]):
    (found,) = clip_rows(torch.tensor([length]), **settings).tolist()
    assert found == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_poses_between_two_frames():
    frames = np.arange(4, dtype=np.float32)[:, None, None] ** 2 * np.ones((1, 2, 3), np.float32)
    frames[2, 0] = np.nan
    found = at_rows(frames, np.array([0.0, 0.25, 1.0, 1.5, 3.0, NAN]))
    assert found[:, 1, 0] == pytest.approx([0, 0.25, 1, 2.5, 9, NAN], nan_ok=True)
    # Beside a missing frame there is nothing to say; the frame itself stays.
    assert found[:, 0, 0] == pytest.approx([0, 0.25, 1, NAN, 9, NAN], nan_ok=True)


LENGTHS = (3, 40, 12)


def store_of(folder: Path, split: str = "train") -> Store:
    """Each frame's numbers tell which it is."""
    clips = []
    for number, length in enumerate(LENGTHS):
        frames = 1000.0 * number + np.arange(length)[:, None, None] + np.arange(5)[None, :, None] / 8 + np.zeros((1, 1, 3))
        clips.append((ClipRecord(recording=f"{number}", label=number % 3, split=split), frames))
    return write_store(folder / split, clips, layout=layout(), space="xyz", fps=25.0, class_names=CLASSES)


def rows_of(motion: torch.Tensor, clips: torch.Tensor) -> list[list[float]]:
    return (motion[:, :, 0, 0] - 1000 * clips[:, None]).tolist()


def test_short_clips_are_repeated_and_long_ones_started_anywhere(tmp_path: Path):
    windows = WindowSampler.from_store(store_of(tmp_path), range(3), observed=7, future=4, step=2, sampling="repeat")
    assert len(windows) == 1 + (40 - 20) + 1 and windows.recordings == 3 and not windows.left_out
    batch = windows.sample(2000, torch.Generator().manual_seed(0))
    drawn = rows_of(torch.cat([batch.observed, batch.future], dim=1), batch.clip)
    seen = {clip: {tuple(rows) for rows, of in zip(drawn, batch.clip.tolist(), strict=True) if of == clip} for clip in range(3)}
    assert seen[0] == {(0, 2, 0, 2, 0, 2, 0, 2, 0, 2, 0)}
    assert seen[2] == {(0, 2, 4, 6, 8, 10, 0, 2, 4, 6, 8)}
    # 20 places for the 21 rows that a window reaches over, at either phase of the step.
    assert seen[1] == {tuple(float(start + 2 * frame) for frame in range(11)) for start in range(20)}
    back = WindowSampler.from_store(
        store_of(tmp_path / "other"), range(3), observed=7, future=4, sampling="repeat", changes=Changes(time_reversal=1.0)
    ).sample(50, torch.Generator().manual_seed(0))
    rows = rows_of(torch.cat([back.observed, back.future], dim=1), back.clip)
    assert [1, 0, 2, 1, 0, 2, 1, 0, 2, 1, 0] in rows


@pytest.mark.parametrize("sampling", ["whole", "repeat"])
@pytest.mark.parametrize("backwards", [0.0, 1.0])
def test_beginnings(tmp_path: Path, sampling: str, backwards: float):
    """What follows is predicted; after the end of the clip nothing is."""
    windows = WindowSampler.from_store(
        store_of(tmp_path),
        range(3),
        observed=5,
        future=9,
        sampling=sampling,
        ratio=0.5,
        changes=Changes(time_reversal=backwards),
    )
    batch = windows.sample(60, torch.Generator().manual_seed(0))
    drawn = rows_of(torch.cat([batch.observed, batch.future], dim=1), batch.clip)
    for rows, clip in zip(drawn, batch.clip.tolist(), strict=True):
        (expected,) = clip_rows(torch.tensor([LENGTHS[clip]]), sampling, 5, 9, ratio=0.5).tolist()
        if backwards:
            expected = [LENGTHS[clip] - 1 - row for row in expected]
        assert rows == pytest.approx(expected, abs=1e-4, nan_ok=True)
        assert not np.isnan(rows[:5]).any()
    assert bool(batch.future[batch.clip == 2].isnan().any()) and not bool(batch.future[batch.clip == 1][:, 0].isnan().any())


class Kept:
    """Remembers what it was shown."""

    name = "kept"

    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []

    def __call__(self, observed: torch.Tensor, horizon: int) -> Output:
        self.seen.append(observed)
        return Output(logits=torch.eye(3)[observed[:, 0, 0, 0].div(1000).long() % 3], future=None)


@pytest.mark.parametrize(
    ("name", "settings", "sampling", "ratio"),
    [
        ("clips", {}, "whole", None),
        ("clips", {"sampling": "repeat"}, "repeat", None),
        ("early", {}, "whole", 0.1),
        ("early", {"ratio": 0.5}, "whole", 0.5),
        ("early", {"ratio": 0.3, "sampling": "repeat"}, "repeat", 0.3),
    ],
)
def test_protocols_of_whole_clips(tmp_path: Path, name: str, settings: dict, sampling: str, ratio: float | None):
    store = store_of(tmp_path, "test")
    rules = load_protocol(name, observed=6, future=4, step=1, **settings)
    model = Kept()
    result = evaluate(model, rules, store)
    assert result.recognition is not None and result.recognition.top1 == 1 and result.errors is None
    (seen,) = model.seen
    expected = [clip_rows(torch.tensor([length]), sampling, 6, 0, ratio=ratio)[0].tolist() for length in LENGTHS]
    assert rows_of(seen, torch.arange(3)) == [pytest.approx(rows, abs=1e-4) for rows in expected]


@pytest.mark.parametrize("ratio", [0.0, -0.1, 2.0, float("nan")])
def test_a_ratio_is_a_part(ratio: float):
    with pytest.raises(InputError, match="above 0 and up to 1"):
        load_protocol("early", ratio=ratio)


def test_a_ratio_is_for_early_alone():
    with pytest.raises(InputError, match="early shows a part"):
        load_protocol("clips", ratio=0.5)


def test_baselines_see_the_beginning_alone(tmp_path: Path):
    """Two classes whose clips differ at their ends only: nothing is to be known of them from their first half."""
    random = np.random.default_rng(0)
    clips = []
    for number in range(40):
        frames = random.normal(0, 0.1, (20, 5, 3))
        frames[10:] += 3.0 * (number % 2) * np.array([0, 1, 0, 0, 0])[None, :, None]
        split = "test" if number >= 20 else "train"
        clips.append((ClipRecord(recording=f"{number}", label=number % 2, split=split), frames))
    store = write_store(tmp_path / "store", clips, layout=layout(), space="xyz", fps=25.0, class_names=("still", "nod"))
    for name, ratio, least, most in (("clips", None, 1.0, 1.0), ("early", 0.5, 0.1, 0.9)):
        classifier, rules = fitted_classifier("nearest", load_protocol(name, ratio=ratio), store)
        found = evaluate(classifier, rules, store).recognition
        assert found is not None and least <= found.top1 <= most


def test_ntu_judges_the_last_ten_of_a_repeated_clip(tmp_path: Path):
    """Tables 1 and 4: recognition of each recording once, PCK of frames 1 to 10 behind the observed ones, per person."""
    from symgnn.skeleton import load_layout

    body = load_layout("ntu25")
    random = np.random.default_rng(0)
    rest = random.normal(0, 0.5, (25, 3))
    clips = []
    for name, persons, frames in (("a", 2, 50), ("b", 1, 320)):
        for person in range(persons):
            moving = rest + random.normal(0, 0.02, (frames, 25, 3)).cumsum(axis=0) + 3 * person
            clips.append((ClipRecord(recording=name, person=person, label=0, split="test"), moving))
    store = write_store(tmp_path / "ntu", clips, layout=body, space="xyz", unit="m", fps=30.0, class_names=("A001 drink",))
    rules = load_protocol("ntu", observed=290, future=10, step=1, sampling="repeat", persons=2)
    assert rules.milliseconds == (33, 67, 100, 133, 167, 200, 233, 267, 300, 333)
    assert list(rules.frames.values()) == list(range(10))

    def still(observed: torch.Tensor, horizon: int) -> Output:
        return Output(logits=torch.ones(len(observed), 1), future=observed[:, -1:].expand(-1, horizon, -1, -1))

    result = evaluate(still, rules, store)
    assert result.recognition is not None and result.recognition.clips == 2
    assert result.errors is not None
    right = []
    for index, (_, frames) in enumerate(((0, 50), (1, 50), (2, 320))):
        rows = [row % frames if frames < 300 else row for row in range(300)]
        poses = store.clip_frames(index)[rows].astype(np.float64)
        size = (poses[289].max(axis=0) - poses[289].min(axis=0)).max()
        right.append([(np.linalg.norm(poses[289 + k] - poses[289], axis=1) <= 0.05 * size).mean() for k in range(1, 11)])
    by_hand = np.mean(right, axis=0)
    assert list(result.errors.average["pck"].values()) == pytest.approx(by_hand.tolist(), abs=1e-8)


def test_predict_sees_a_short_clip_again_and_again_up_to_its_end(tmp_path: Path):
    preset = make_preset(tmp_path)
    preset = replace(preset, data=replace(preset.data, sampling="repeat"))
    network = make_model(bone=False).float().eval()
    model = TrainedModel(network, Card(preset, layout(), CLASSES, tuple((0.0,) * 3 for _ in range(5)), 25.0, "0")).eval()
    clip = np.random.default_rng(0).normal(size=(3, 5, 3)).astype(np.float32)
    (found,) = predict(model, [clip])
    assert found.padded == 0 and np.array_equal(found.observed, clip[[1, 2, 0, 1, 2, 0, 1, 2]])
    expected = network(torch.from_numpy(found.observed[None]), FUTURE)
    assert expected.future is not None and found.future is not None
    assert np.allclose(found.future, expected.future[0].numpy(force=True), atol=1e-5)
    long = np.random.default_rng(1).normal(size=(30, 5, 3)).astype(np.float32)
    (found,) = predict(model, [long])
    assert np.array_equal(found.observed, long[-OBSERVED:])


def test_many_classes_print_the_commonest_mistakes(tmp_path: Path):
    """Of 40 classes no matrix is printed: class 3 is taken for 7 twice, 5 for 6 once; of the errors the average alone."""
    names = tuple(f"class {number}" for number in range(40))
    truth = [*range(40), 3, 3]
    answers = [*(6 if label == 5 else label for label in range(40)), 7, 7]
    clips = []
    for number, (label, answer) in enumerate(zip(truth, answers, strict=True)):
        frames = np.full((12, 5, 3), 1000.0 * answer) + np.arange(12)[:, None, None]
        clips.append((ClipRecord(recording=f"{number}", label=label, split="test"), frames))
    store = write_store(tmp_path / "store", clips, layout=layout(), space="xyz", fps=25.0, class_names=names)

    def tells(observed: torch.Tensor, horizon: int) -> Output:
        logits = torch.eye(40)[observed[:, 0, 0, 0].div(1000).long()]
        return Output(logits=logits, future=observed[:, -1:].expand(-1, horizon, -1, -1))

    rules = replace(load_protocol("demo", observed=8, future=4), milliseconds=(160,))
    console = Console(width=100, record=True, file=io.StringIO())
    result = evaluate(tells, rules, store)
    console.print(result)
    text = console.export_text()
    assert "commonest mistakes among 9" in " ".join(text.split())
    rows = [line.split() for line in text.splitlines() if line.count("class") == 2 and "answered" not in line]
    found = [[word for word in row if word not in ("│", "class")] for row in rows]
    assert found == [["3", "7", "6", "9"], ["5", "6", "3", "3"]]
    assert "average" in text and "class 12" not in text
    assert result.to_dict()["actions"]["class 12"]["mpjpe"]["160"] is not None
