"""Wrong labels and wrong futures in training: exactly as many as asked for, the same by the seed, nowhere else."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from symgnn.config import Preset
from symgnn.data import Clip, ClipRecord, Store, write_store
from symgnn.errors import InputError
from symgnn.training import MotionData, train
from symgnn.training.noise import exchanged_futures, shuffled_labels
from symgnn.types import Batch
from tiny import FUTURE, OBSERVED, layout, make_preset, make_store, motion, same, state_of

torch.set_num_threads(1)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def write(folder: Path, clips: list[ClipRecord], *, by_frame: bool = False) -> Store:
    names = tuple(f"class {number}" for number in range(1 + max(clip.label for clip in clips)))
    found = []
    for place, clip in enumerate(clips):
        frames = motion(clip.label % 3, float(place)).astype(np.float32)
        found.append(Clip(clip, frames, np.full(len(frames), clip.label, np.int32) if by_frame else None))
    return write_store(folder, found, layout=layout(), space="xyz", unit="m", fps=25.0, class_names=names)


@pytest.fixture
def distinct(tmp_path: Path) -> Store:
    """20 training recordings of a class each, so that whoever gets another's class differs; 4 without one, 5 for testing."""
    clips = [ClipRecord(label=number, recording=f"train {number}", split="train") for number in range(20)]
    clips += [ClipRecord(label=-1, recording=f"unknown {number}", split="train") for number in range(4)]
    clips += [ClipRecord(label=number, recording=f"test {number}", split="test") for number in range(5)]
    return write(tmp_path / "distinct", clips)


@pytest.mark.parametrize(("fraction", "changed"), [(0.0, 0), (0.05, 0), (0.1, 2), (0.26, 5), (0.5, 10), (1.0, 20)])
def test_labels_against_a_count(distinct: Store, fraction: float, changed: int):
    before = [clip.label for clip in distinct.clips]
    train = distinct.select(split="train")
    after = shuffled_labels(distinct, train, fraction, generator()).tolist()
    assert sum(old != new for old, new in zip(before, after, strict=True)) == changed
    assert Counter(after[index] for index in train) == Counter(before[index] for index in train)
    assert after[20:] == before[20:]  # those without a class, and the test's
    assert after == shuffled_labels(distinct, train, fraction, generator()).tolist()
    if changed > 2:
        assert after != shuffled_labels(distinct, train, fraction, generator(1)).tolist()


def test_labels_leave_held_out_recordings_alone(distinct: Store):
    after = shuffled_labels(distinct, tuple(range(10)), 1.0, generator()).tolist()
    assert sorted(after[:10]) == list(range(10)) and all(after[k] != k for k in range(10))
    assert after[10:] == [clip.label for clip in distinct.clips][10:]


def test_persons_of_a_recording_keep_one_class(tmp_path: Path):
    clips = [
        ClipRecord(label=number, recording=f"pair {number}", split="train", person=person)
        for number in range(8)
        for person in range(2)
    ]
    store = write(tmp_path / "pairs", clips)
    after = shuffled_labels(store, tuple(range(16)), 1.0, generator(), persons=2).tolist()
    assert after[0::2] == after[1::2] and sorted(after[0::2]) == list(range(8))
    assert all(after[2 * k] != k for k in range(8))
    alone = shuffled_labels(store, tuple(range(16)), 1.0, generator(), persons=1).tolist()
    assert alone[0::2] != alone[1::2]


def test_labels_of_frames_are_refused(tmp_path: Path):
    clips = [ClipRecord(label=0, recording="one", split="train"), ClipRecord(label=1, recording="two", split="train")]
    store = write(tmp_path / "frames", clips, by_frame=True)
    with pytest.raises(InputError, match=r"noisy_labels.*a class for each frame: expected 0, or a class a clip"):
        shuffled_labels(store, (0, 1), 0.5, generator())


def numbered(size: int) -> Batch:
    """Windows whose every number is that of their row; of the third the future is missing in part."""
    rows = torch.arange(size, dtype=torch.float64)[:, None, None, None]
    future = rows.expand(size, FUTURE, 5, 3).clone()
    future[2, 1, 3] = torch.nan
    return Batch(rows.expand(size, OBSERVED, 5, 3).clone(), future, torch.arange(size), torch.arange(size))


@pytest.mark.parametrize(("fraction", "changed"), [(0.0, 0), (0.1, 2), (0.35, 7), (0.5, 10), (0.7, 14), (1.0, 20)])
def test_futures_against_the_windows_they_came_from(fraction: float, changed: int):
    batch = numbered(20)
    for seed in range(5):
        found = exchanged_futures(batch, fraction, generator(seed))
        origin = found.future[:, 0, 0, 0].long().tolist()
        assert sorted(origin) == list(range(20))
        assert sum(row != place for place, row in enumerate(origin)) == changed
        for place, row in enumerate(origin):
            assert torch.equal(found.future[place].nan_to_num(-1), batch.future[row].nan_to_num(-1))
        assert torch.equal(found.observed, batch.observed) and torch.equal(found.label, batch.label)
        assert found.future.shape == batch.future.shape
    again = exchanged_futures(batch, fraction, generator(4)).future
    assert torch.equal(again.nan_to_num(-1), found.future.nan_to_num(-1))
    assert torch.equal(batch.future.nan_to_num(-1), numbered(20).future.nan_to_num(-1))


def test_a_share_that_is_no_whole_number_is_right_on_average():
    batch, draw = numbered(8), generator()
    counts = [
        sum(row != place for place, row in enumerate(exchanged_futures(batch, 0.3, draw).future[:, 0, 0, 0].long().tolist()))
        for _ in range(2000)
    ]
    assert set(counts) == {2, 3}
    assert abs(np.mean(counts) - 2.4) < 5 * (0.24 / 2000) ** 0.5


# --- in a training ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(tmp_path_factory.mktemp("noise"), recordings=6)


def batches(preset: Preset, store: Store) -> tuple[list[Batch], list[Batch]]:
    """What a training without Lightning's trainer sees in its first interval, and its validation."""
    data = MotionData(store, preset)
    data.setup("fit")
    held_out = data.val_dataloader()
    assert not isinstance(held_out, list)
    return list(data.train_dataloader()), list(held_out)


def test_a_training_sees_its_windows_with_other_answers(store: Store, tmp_path: Path):
    clean, clean_held_out = batches(make_preset(tmp_path), store)
    for field, value in (("noisy_labels", 0.5), ("noisy_targets", 0.5)):
        preset = make_preset(tmp_path, **{field: value})
        noisy, held_out = batches(preset, store)
        wrong_clips, clips = set(), set()
        for one, other in zip(clean, noisy, strict=True):
            assert torch.equal(one.observed, other.observed) and torch.equal(one.clip, other.clip)
            wrong = one.label != other.label
            if field == "noisy_labels":
                assert torch.equal(one.future, other.future)
                wrong_clips |= set(one.clip[wrong].tolist())
                clips |= {(clip, label) for clip, label in zip(other.clip.tolist(), other.label.tolist(), strict=True)}
            else:
                assert not wrong.any()
                assert (one.future != other.future).flatten(1).any(dim=1).sum() == 4  # of 8 windows
        if field == "noisy_labels":
            # A clip has one class for good, and of the half that is chosen some have another than they had.
            assert len({clip for clip, _ in clips}) == len(clips)
            trained = MotionData(store, preset).train_indices
            assert 0 < len(wrong_clips) <= round(len(trained) / 2) and wrong_clips <= set(trained)
        for one, other in zip(clean_held_out, held_out, strict=True):
            assert torch.equal(one.observed, other.observed)
            assert torch.equal(one.future, other.future) and torch.equal(one.label, other.label)


def test_without_noise_the_windows_are_those_of_ever(store: Store, tmp_path: Path):
    preset = make_preset(tmp_path)
    data = MotionData(store, preset)
    data.setup("fit")
    seed = int(np.random.SeedSequence((preset.training.seed, 0, 0)).generate_state(1)[0])
    draws = generator(seed)
    for batch in data.train_dataloader():
        expected = data.train_windows.sample(preset.training.batch, draws)
        assert same(vars(batch), vars(expected))


def test_a_training_with_noise_is_the_same_by_its_seed(store: Store, tmp_path: Path):
    found = {}
    for name, fields in {
        "clean": {},
        "one": {"noisy_labels": 0.5, "noisy_targets": 0.25},
        "again": {"noisy_labels": 0.5, "noisy_targets": 0.25},
    }.items():
        preset = make_preset(tmp_path, steps=4, **fields)
        run = train(preset, store, tmp_path / name, progress=False, accelerator="cpu")
        found[name] = state_of(run.last)
    assert same(found["one"], found["again"])
    assert not same(found["clean"]["state_dict"], found["one"]["state_dict"])
