import math
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from symgnn.data import (
    Changes,
    Clip,
    ClipRecord,
    Mirror,
    Store,
    WindowSampler,
    node_frames,
    open_data,
    split_recordings,
    stored_mean,
    write_store,
)
from symgnn.data import windows as windows_module
from symgnn.errors import InputError
from symgnn.skeleton import forward_kinematics, layout_from_dict, load_layout

# Left, middle, right, and one that is stored but not in use.
LAYOUT = layout_from_dict(
    {
        "name": "arms",
        "joints": ["LeftHand", "Chest", "RightHand", "Hat"],
        "bones": [["Chest", "LeftHand"], ["Chest", "RightHand"], ["Chest", "Hat"]],
        "nodes": ["LeftHand", "Chest", "RightHand"],
        "parts": {"body": ["LeftHand", "Chest", "RightHand"]},
    }
)
LENGTHS = (30, 9, 21)
CHANGES = {field.name for field in fields(Changes)}


def value(recording: int, row: int, node: int, channel: int) -> float:
    """A number that says where it comes from."""
    return 10_000.0 * (recording + 1) + 100 * row + 10 * node + channel + 1


def recording(number: int, length: int) -> torch.Tensor:
    return torch.tensor([[[value(number, row, node, c) for c in range(3)] for node in range(3)] for row in range(length)])


def sampler(lengths: tuple[int, ...] = LENGTHS, **settings) -> WindowSampler:
    frames = torch.cat([recording(number, length) for number, length in enumerate(lengths)])
    starts = torch.tensor([sum(lengths[:number]) for number in range(len(lengths))])
    changes = {name: settings.pop(name) for name in CHANGES & settings.keys()}
    settings = {"observed": 3, "future": 2, "changes": Changes(**changes), **settings}
    return WindowSampler(frames, starts, torch.tensor(lengths), torch.arange(len(lengths)) + 5, **settings)


def naive_windows(lengths: tuple[int, ...], observed: int, future: int, step: int, skip: int) -> dict[tuple[int, ...], list]:
    """Every allowed window as (recording, rows...), by trying all starts."""
    found = {}
    for number, length in enumerate(lengths):
        for start in range(skip, length):
            rows = [start + step * k for k in range(observed + future)]
            if rows[-1] < length:
                found[(number, *rows)] = [[[value(number, row, n, c) for c in range(3)] for n in range(3)] for row in rows]
    return found


def rows_of(motion: torch.Tensor) -> list[tuple[int, ...]]:
    """Recording and rows that each window's first joint and channel tell."""
    told = (motion[:, :, 0, 0].long() - 1).tolist()
    return [(window[0] // 10_000 - 1, *(number % 10_000 // 100 for number in window)) for window in told]


@pytest.mark.parametrize(("step", "skip"), [(1, 0), (1, 1), (2, 0), (2, 1), (3, 2)])
def test_every_allowed_window_is_drawn_and_no_other(step: int, skip: int):
    expected = naive_windows(LENGTHS, 3, 2, step, skip)
    windows = sampler(step=step, skip=skip)
    batch = windows.sample(3000, torch.Generator().manual_seed(0))
    motion = torch.cat([batch.observed, batch.future], dim=1)
    drawn = rows_of(motion)
    assert set(drawn) == set(expected) and len(windows) == len(expected)
    for window, key in zip(motion, drawn, strict=True):
        assert window.tolist() == expected[key]
    # The start takes every phase of the step.
    assert {key[1] % step for key in drawn} == set(range(step))
    assert batch.clip.tolist() == [key[0] for key in drawn]
    assert batch.label.tolist() == [key[0] + 5 for key in drawn]
    assert batch.observed.shape == (3000, 3, 3, 3) and batch.future.shape == (3000, 2, 3, 3)


def test_a_recording_uniformly_then_a_start_uniformly():
    """Reading 5: a long recording is drawn as often as a short one."""
    draws = 40_000
    batch = sampler((99, 8)).sample(draws, torch.Generator().manual_seed(1))
    drawn = Counter(rows_of(torch.cat([batch.observed, batch.future], dim=1)))
    of_short = [count for key, count in drawn.items() if key[0] == 1]
    of_long = [count for key, count in drawn.items() if key[0] == 0]
    # Standard deviations of the counts: binomial, and Pearson's statistic over the equally likely starts.
    assert abs(sum(of_short) - draws / 2) < 4 * math.sqrt(draws / 4)
    for counts, starts in ((of_short, 4), (of_long, 95)):
        assert len(counts) == starts
        mean = sum(counts) / starts
        statistic = sum((count - mean) ** 2 / mean for count in counts)
        assert abs(statistic - (starts - 1)) < 4 * math.sqrt(2 * (starts - 1))


def test_the_generator_decides():
    a, b = (sampler().sample(50, torch.Generator().manual_seed(3)).observed for _ in range(2))
    assert torch.equal(a, b)
    generator = torch.Generator().manual_seed(3)
    assert not torch.equal(sampler().sample(50, generator).observed, sampler().sample(50, generator).observed)


def test_augmentation_changes_no_other_draw():
    """The same recordings and starts whether or not windows are reversed or mirrored."""
    plain = sampler().sample(200, torch.Generator().manual_seed(4))
    reflection = Mirror.of(LAYOUT, "xyz")
    for windows in (sampler(time_reversal=0.5), sampler(mirror=0.5, reflection=reflection)):
        changed = windows.sample(200, torch.Generator().manual_seed(4))
        assert torch.equal(plain.clip, changed.clip)
        # The middle frame of a window is that of its reverse; the middle joint keeps its height in the mirror.
        assert torch.equal(plain.observed[:, 2, 1, 1], changed.observed[:, 2, 1, 1])


def test_time_reversal_flips_the_whole_window():
    plain = sampler().sample(400, torch.Generator().manual_seed(5))
    always = sampler(time_reversal=1.0).sample(400, torch.Generator().manual_seed(5))
    forwards = torch.cat([plain.observed, plain.future], dim=1)
    backwards = torch.cat([always.observed, always.future], dim=1)
    assert torch.equal(backwards, forwards.flip(1))
    half = sampler(time_reversal=0.25).sample(4000, torch.Generator().manual_seed(5))
    reversed_ones = (half.observed[:, 1, 0, 0] < half.observed[:, 0, 0, 0]).sum().item()
    assert abs(reversed_ones - 1000) < 4 * math.sqrt(4000 * 0.25 * 0.75)


def test_mirror_swaps_sides_and_signs():
    plain = sampler().sample(400, torch.Generator().manual_seed(6))
    always = sampler(mirror=1.0, reflection=Mirror.of(LAYOUT, "xyz")).sample(400, torch.Generator().manual_seed(6))
    for before, after in ((plain.observed, always.observed), (plain.future, always.future)):
        expected = before[:, :, [2, 1, 0]].clone()
        expected[..., 0] *= -1
        assert torch.equal(after, expected)
    half = sampler(mirror=0.25, reflection=Mirror.of(LAYOUT, "xyz")).sample(4000, torch.Generator().manual_seed(6))
    mirrored = half.observed[:, 0, 1, 0] < 0
    assert abs(mirrored.sum().item() - 1000) < 4 * math.sqrt(4000 * 0.25 * 0.75)
    # A window is mirrored whole: its future too.
    assert torch.equal(mirrored, half.future[:, -1, 1, 0] < 0)


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_mirror_of_rotations_is_the_mirror_of_positions(axis: str):
    """Kinematics of mirrored exponential maps = mirrored kinematics, on a body that is its own mirror image."""
    layout = load_layout("cmu")
    assert layout.offsets is not None
    number = "xyz".index(axis)
    flip = np.ones(3)
    flip[number] = -1
    offsets = np.array(layout.offsets)
    symmetric = (offsets + flip * offsets[list(layout.mirror)]) / 2
    everything = tuple(range(len(layout.joints)))
    body = replace(layout, offsets=tuple(map(tuple, symmetric.tolist())), nodes=everything, mirror_axis=number)
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(5, 39, 3, generator=generator, dtype=torch.float64)
    rows[:, 0] = 0
    mirrored = torch.cat([rows[:, :1], Mirror.of(body, "expmap")(rows[:, 1:].float()).double()], dim=1)
    expected = forward_kinematics(rows, body)[:, list(layout.mirror)] * torch.from_numpy(flip)
    torch.testing.assert_close(forward_kinematics(mirrored, body), expected, atol=1e-4, rtol=0)


def test_mirror_of_image_positions_keeps_the_confidence():
    assert Mirror.of(LAYOUT, "xyc").signs.tolist() == [-1, 1, 1]


def test_tempo_is_even_by_ratio_and_stays_inside():
    """The values are linear in the row, so interpolated poses tell their fractional rows."""
    windows = sampler((90, 12, 21), tempo=1.0, step=2, skip=1)
    batch = windows.sample(4000, torch.Generator().manual_seed(0))
    told = torch.cat([batch.observed, batch.future], dim=1)[:, :, 0, 0].double() - 1
    recordings = (told[:, 0] // 10_000).long() - 1
    assert torch.equal(batch.label, recordings + 5)
    rows = (told - 10_000 * (recordings[:, None] + 1)) / 100
    speed = (rows[:, 1] - rows[:, 0]) / 2
    torch.testing.assert_close(rows.diff(dim=1), (2 * speed[:, None]).expand(-1, 4), rtol=0, atol=1e-4)
    for number, length in enumerate((90, 12, 21)):
        mine = recordings == number
        assert rows[mine].min() >= 1 - 1e-4 and rows[mine].max() <= length - 1 + 1e-4
        # As fast as the frames allow: 8 rows at speed 1.
        assert speed[mine].max() <= min(2.0, (length - 2) / 8) + 1e-4
        assert speed[mine].min() >= 0.5 - 1e-4
    free = speed[recordings == 0].log2()
    counts = torch.histc(free, 4, -1, 1)  # evenly between half and twice as fast
    assert float(counts.min() / counts.max()) > 0.75
    assert rows[recordings == 0].max() > 85 and rows[recordings == 0].min() < 5


def test_tempo_with_reversal_ends_at_the_first_row():
    batch = sampler((5,), tempo=0.5, time_reversal=1.0).sample(50, torch.Generator().manual_seed(1))
    rows = torch.cat([batch.observed, batch.future], dim=1)[:, :, 0, 0]
    assert bool((rows.diff(dim=1) < 0).all())


@pytest.mark.parametrize("wraps", [True, False], ids=["rotations", "positions"])
def test_tempo_does_not_interpolate_across_whole_turns(wraps: bool):
    """Rotation vectors of 0.9π and -0.9π about one axis are a fifth of a turn apart; half way between them is neither."""
    turns = torch.tensor([0.9, -0.9]).repeat(10) * math.pi
    frames = torch.zeros(20, 1, 3)
    frames[:, 0, 0] = turns
    zero = torch.zeros(1, dtype=torch.long)
    windows = WindowSampler(
        frames, zero, zero + 20, zero, observed=3, future=2, step=2, changes=Changes(tempo=0.5), wraps=wraps
    )
    found = windows.sample(200, torch.Generator().manual_seed(0)).observed[..., 0, 0].abs()
    assert bool((found > 0.899 * math.pi).all()) is wraps


def test_tempo_beside_missing_joints():
    """A pose that falls on a frame is that frame's, whatever is missing beside it; between two, both are needed."""
    frames = torch.arange(9.0).view(9, 1, 1).repeat(1, 1, 3)
    frames[3] = math.nan
    zero = torch.zeros(1, dtype=torch.long)
    windows = WindowSampler(frames, zero, zero + 9, zero, observed=3, future=2, step=2, changes=Changes(tempo=0.5))
    cut = windows._between(zero[:, None], torch.tensor([[2.0, 2.5, 3.0, 3.5, 4.0, 4.25]], dtype=torch.float64))[0, :, 0, 0]
    np.testing.assert_array_equal(cut, [2, math.nan, math.nan, math.nan, 4, 4.25])


def test_missing_joints_stay_missing():
    windows = sampler()
    windows._frames[4, 2, 1] = math.nan
    batch = windows.sample(500, torch.Generator().manual_seed(7))
    motion = torch.cat([batch.observed, batch.future], dim=1)
    has_row_four = [key[0] == 0 and 4 in key[1:] for key in rows_of(motion)]
    assert motion.isnan().flatten(1).sum(1).tolist() == [int(has) for has in has_row_four]
    assert any(has_row_four)


def test_short_recordings_are_left_out_by_name(caplog: pytest.LogCaptureFixture):
    windows = sampler((30, 4, 5), names=["long", "short", "just"])
    assert windows.left_out == ("short",) and windows.recordings == 2
    assert "left out, shorter than a window (3 + 2 frames, one in 1, after 0 skipped: 5 rows): short" in caplog.text
    assert set(windows.sample(200, torch.Generator().manual_seed(0)).clip.tolist()) == {0, 2}


def test_nothing_is_long_enough():
    with pytest.raises(InputError, match=r"every recording is shorter .* 11 rows; the longest has 10"):
        sampler((10, 4), observed=3, future=2, step=2, skip=2)


def test_impossible_settings():
    with pytest.raises(ValueError, match="observed"):
        sampler(step=0)
    with pytest.raises(ValueError, match="reflection"):
        sampler(mirror=0.5)


def test_spread_is_even_and_plain():
    windows = sampler((30, 5, 21), time_reversal=1.0, mirror=1.0, reflection=Mirror.of(LAYOUT, "xyz"))
    batch = windows.spread(3)
    # 26 starts, 1 start and 17 starts: first, middle (halves to even) and last of each.
    assert [key[:2] for key in rows_of(batch.observed)] == [(0, 0), (0, 12), (0, 25), (1, 0), (2, 0), (2, 8), (2, 16)]
    assert torch.equal(batch.observed, windows.spread(3).observed)
    assert (batch.observed > 0).all()


# From a store


def store_of(path: Path, clips: list[tuple[ClipRecord, np.ndarray]] | list[Clip], classes: int = 4) -> Store:
    return write_store(path, clips, layout=LAYOUT, space="xyz", fps=25.0, class_names=[f"class {n}" for n in range(classes)])


def test_windows_of_a_store(tmp_path: Path):
    random = np.random.default_rng(0)
    frames = [random.normal(size=(length, 4, 3)).astype(np.float32) for length in (12, 9, 15)]
    clips = [(ClipRecord(recording=f"r{n}", label=n), data) for n, data in enumerate(frames)]
    store = store_of(tmp_path / "store", clips)
    np.testing.assert_array_equal(node_frames(store, (2, 0)), np.concatenate([frames[2][:, :3], frames[0][:, :3]]))
    windows = WindowSampler.from_store(store, (2, 0), observed=4, future=1, step=2, skip=1)
    batch = windows.sample(300, torch.Generator().manual_seed(0))
    assert set(batch.clip.tolist()) == {0, 2} and torch.equal(batch.label, batch.clip)
    seen = set()
    for observed, future, clip in zip(batch.observed.numpy(), batch.future.numpy(), batch.clip.tolist(), strict=True):
        whole = np.concatenate([observed, future])
        fits = [s for s in range(1, len(frames[clip]) - 8) if np.array_equal(frames[clip][s : s + 9 : 2, :3], whole)]
        assert len(fits) == 1
        seen.add((clip, fits[0]))
    assert seen == {(clip, start) for clip, length in ((0, 12), (2, 15)) for start in range(1, length - 8)}
    with pytest.raises(InputError, match="no clip"):
        WindowSampler.from_store(store, (), observed=4, future=1)


def test_a_window_has_the_class_of_its_current_frame(tmp_path: Path):
    frames = np.zeros((40, 4, 3), np.float32)
    frames[:, :, 0] = np.arange(40)[:, None]
    labels = np.repeat([0, 3, -1, 1], 10)
    store = store_of(tmp_path / "store", [Clip(ClipRecord(recording="long", label=2), frames, labels)] * 2)
    for reversal in (0.0, 1.0):
        windows = WindowSampler.from_store(store, (1,), observed=4, future=2, changes=Changes(time_reversal=reversal))
        batch = windows.sample(400, torch.Generator().manual_seed(0))
        current = batch.observed[:, -1, 0, 0].long()
        assert torch.equal(batch.label, torch.from_numpy(labels)[current])
        assert set(batch.label.tolist()) == {0, 3, -1, 1}


def people(tmp_path: Path) -> Store:
    """Classes with 1, 2, 6 and 11 recordings, two persons in each."""
    clips = []
    for label, count in enumerate((1, 2, 6, 11)):
        for number in range(count):
            for person in range(2):
                record = ClipRecord(label=label, recording=f"{label}_{number}", person=person, split="train")
                clips.append((record, np.zeros((3, 4, 3))))
    clips.append((ClipRecord(label=0, recording="0_0", split="test", source="test"), np.zeros((3, 4, 3))))
    clips.append((ClipRecord(label=0, recording="0_9", split="leak", source="leak"), np.zeros((3, 4, 3))))
    return store_of(tmp_path / "store", clips)


def test_split_holds_out_whole_recordings(tmp_path: Path):
    store = people(tmp_path)
    for fraction, held in ((0.0, 0), (0.01, 1), (0.1, 2), (0.25, 5), (0.5, 10), (1.0, 16)):
        for seed in range(5):
            train, validation = split_recordings(store, fraction, seed)
            assert sorted(train + validation) == list(range(40))
            names = {store.clips[index].recording for index in train}, {store.clips[index].recording for index in validation}
            assert not names[0] & names[1] and len(names[1]) == held
            assert {store.clips[index].label for index in train} == {0, 1, 2, 3}
    assert len({split_recordings(store, 0.25, seed) for seed in range(20)}) > 10
    assert split_recordings(store, 0.25, 3) == split_recordings(store, 0.25, 3)


def test_split_takes_from_the_classes_in_turn(tmp_path: Path):
    store = people(tmp_path)
    for seed in range(5):
        _, validation = split_recordings(store, 0.15, seed)
        assert {store.clips[index].label for index in validation} == {1, 2, 3}


def test_split_of_chosen_clips(tmp_path: Path):
    store = people(tmp_path)
    train, validation = split_recordings(store, 0.5, 0, indices=range(6, 18))
    assert sorted(train + validation) == list(range(6, 18)) and len(validation) == 6
    with pytest.raises(InputError, match="no recording to train on"):
        split_recordings(store, 0.5, 0, indices=())


# Means


def test_stored_mean_against_a_naive_loop(tmp_path: Path):
    random = np.random.default_rng(0)
    clips = []
    for number in range(4):
        frames = random.normal(50.0, 3.0, size=(20 + number, 4, 3))
        frames[random.random(frames.shape) < 0.2] = np.nan
        frames[:, 1] = np.nan  # never there
        frames[0] = 1e6  # left out
        clips.append((ClipRecord(recording=f"r{number}"), frames))
    store = store_of(tmp_path / "store", clips)
    means = stored_mean(store, (0, 2, 3), skip=1)
    assert means.shape == (4, 3)
    for joint in (0, 2, 3):
        for channel in range(3):
            values = [
                float(row[joint, channel])
                for index in (0, 2, 3)
                for row in clips[index][1].astype(np.float32)[1:]
                if not math.isnan(row[joint, channel])
            ]
            assert means[joint, channel].item() == pytest.approx(math.fsum(values) / len(values), rel=1e-6)
    assert means[1].tolist() == [0, 0, 0]


def test_stored_mean_of_exponential_maps(shared_data: Path):
    """On the real data, of every column of the files, root and unused joints as well."""
    store = open_data(shared_data / "cmu_mocap", progress=False)
    train = store.select(split="train")
    rows = np.concatenate([store.clip_frames(index)[1:].reshape(-1, 117) for index in train]).astype(np.float64)
    np.testing.assert_allclose(stored_mean(store, train, 1).flatten(), rows.mean(axis=0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("settings", [{}, {"sampling": "whole", "changes": Changes(crop=0.3)}, {"changes": Changes(tempo=0.5)}])
def test_windows_of_a_large_store_on_a_cpu_stay_in_its_file(tmp_path: Path, settings: dict, monkeypatch: pytest.MonkeyPatch):
    """Chosen clips in another order, joints not in use, a class a frame: what is drawn is what a copy in memory gives."""
    random = np.random.default_rng(0)
    clips = [
        Clip(
            ClipRecord(recording=f"r{number}", label=number),
            random.normal(size=(length, 4, 3)).astype(np.float32),
            np.full(length, number, np.int32) - (np.arange(length) % 2),
        )
        for number, length in enumerate(LENGTHS, start=1)
    ]
    store = write_store(tmp_path / "s", clips, layout=LAYOUT, space="xyz", fps=25, class_names=["a", "b", "c", "d"])
    chosen = (2, 0)
    kinds = {"observed": 3, "future": 2, "skip": 1, **settings}
    loaded = WindowSampler.from_store(store, chosen, **kinds)
    assert not np.shares_memory(loaded._frames.numpy(), store.frames)
    monkeypatch.setattr(windows_module, "LOADED", 0)
    mapped = WindowSampler.from_store(store, chosen, **kinds)
    assert np.shares_memory(mapped._frames.numpy(), store.frames), "nothing was loaded"
    frames = [clips[index].frames[:, :3] for index in chosen]
    lengths = torch.tensor([len(each) for each in frames])
    in_memory = WindowSampler(
        torch.from_numpy(np.concatenate(frames)),
        torch.tensor([0, len(frames[0])]),
        lengths,
        torch.tensor([3, 1]),
        clips=torch.tensor(chosen),
        frame_labels=torch.from_numpy(np.concatenate([clips[index].labels for index in chosen])),
        **kinds,
    )
    for found, expected in (
        (mapped.sample(50, torch.Generator().manual_seed(1)), in_memory.sample(50, torch.Generator().manual_seed(1))),
        (mapped.spread(4), in_memory.spread(4)),
    ):
        for field in fields(found):
            here, there = getattr(found, field.name), getattr(expected, field.name)
            assert here is there is None or torch.equal(here.nan_to_num(9.0), there.nan_to_num(9.0))
    np.testing.assert_array_equal(node_frames(store, chosen), np.concatenate(frames))
    assert not store.frames.flags.writeable and node_frames(store, ()).shape == (0, 3, 3)


def test_many_short_recordings_make_a_short_message(caplog: pytest.LogCaptureFixture):
    made = sampler((4,) * 500 + (9,))
    assert len(made.left_out) == 500 and len(caplog.text) < 1000 and "480 more" in caplog.text
