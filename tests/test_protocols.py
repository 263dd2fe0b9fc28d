from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

import naive_angles
from symgnn.data import Clip, ClipRecord, Store, write_store
from symgnn.errors import InputError
from symgnn.evaluation import Protocol, load_protocol, protocol_names
from symgnn.skeleton import load_layout

CMU = (
    "basketball", "basketball_signal", "directing_traffic", "jumping", "running", "soccer", "walking", "washwindow",
)  # fmt: skip
H36M = (
    "walking", "eating", "smoking", "discussion", "directions", "greeting", "phoning", "posing", "purchases", "sitting",
    "sittingdown", "takingphoto", "waiting", "walkingdog", "walkingtogether",
)  # fmt: skip


def numbered(frames: int, stored: int, first: float = 0.0) -> np.ndarray:
    """Every value of row t is first + t."""
    return np.broadcast_to(first + np.arange(frames, dtype=np.float32)[:, None, None], (frames, stored, 3))


def cmu_store(path: Path, test: Mapping[str, int], classes: tuple[str, ...] = CMU) -> Store:
    """A store with a test file of so many rows for each action, its values 10000 x action + row, and a training file each."""
    clips = []
    for action, frames in test.items():
        label = classes.index(action)
        for split in ("test", "train"):
            source = f"{split}/{action}/{action}_1.txt"
            record = ClipRecord(label=label, recording=f"{action}_1", source=source, split=split)
            clips.append((record, numbered(frames, 39, 10000.0 * label)))
    return write_store(path, clips, layout=load_layout("cmu"), space="expmap", fps=120.0, class_names=classes)


def h36m_store(path: Path, test: Mapping[tuple[str, int], int]) -> Store:
    clips = []
    for (action, number), frames in test.items():
        for subject, split in (("5", "test"), ("1", "train")):
            source = f"S{subject}/{action}_{number}.txt"
            record = ClipRecord(label=H36M.index(action), recording=f"S{subject}_{action}_{number}", source=source, split=split)
            clips.append((record, numbered(frames, 33)))
    return write_store(path, clips, layout=load_layout("h36m"), space="expmap", fps=50.0, class_names=H36M)


def motion_store(path: Path, lengths: Mapping[str, int], fps: float = 25.0, labels: np.ndarray | None = None) -> Store:
    layout = load_layout("cmu")
    clips = [
        Clip(
            ClipRecord(label=index % 2, recording=name, split="train" if name.startswith("train") else "test"),
            numbered(frames, len(layout.joints)),
            None if labels is None else labels[:frames],
        )
        for index, (name, frames) in enumerate(lengths.items())
    ]
    return write_store(path, clips, layout=layout, space="xyz", fps=fps, class_names=("walk", "wave"))


def starts_of(protocol: Protocol, store: Store, action: str) -> list[tuple[str, int]]:
    windows = protocol.windows(store).windows
    return [(store.clips[window.clip].source, window.start) for window in windows if window.action == action]


# --- the draws ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "reach"), [("cmu-long", 75), ("cmu-short", 60)])
def test_cmu_draws(tmp_path: Path, name: str, reach: int):
    rows: dict[str, int] = dict(zip(CMU, (301, 578, 164, 2085, 597, 360, 2754, 400), strict=True))
    store = cmu_store(tmp_path / "store", rows)
    drawn = load_protocol(name).windows(store)
    assert drawn.missing == () and len(drawn.windows) == 64
    for action, frames in rows.items():
        expected = naive_angles.cmu_starts(len(range(0, frames, 2)), reach)
        assert starts_of(load_protocol(name), store, action) == [(f"test/{action}/{action}_1.txt", start) for start in expected]
    assert {window.label for window in drawn.windows} == set(range(8))


@pytest.mark.parametrize(("name", "rounds"), [("h36m-8", 4), ("h36m-256", 128)])
def test_h36m_draws(tmp_path: Path, name: str, rounds: int):
    random = np.random.default_rng(0)
    rows = {(action, number): int(random.integers(400, 900)) for action in H36M for number in (1, 2)}
    store = h36m_store(tmp_path / "store", rows)
    drawn = load_protocol(name).windows(store)
    assert drawn.missing == () and len(drawn.windows) == 15 * 2 * rounds
    for action in H36M:
        halved = [len(range(0, rows[action, number], 2)) for number in (1, 2)]
        expected = [(f"S5/{action}_{number}.txt", start) for number, start in naive_angles.h36m_starts(halved, rounds)]
        assert starts_of(load_protocol(name), store, action) == expected


def test_the_seed_is_the_benchmarks(tmp_path: Path):
    """The starts themselves, for 1043 frames after halving (the benchmark's jumping_1)."""
    store = cmu_store(tmp_path / "store", {"jumping": 2085})
    starts = [start for _, start in starts_of(load_protocol("cmu-long"), store, "jumping")]
    assert starts == [386, 358, 47, 140, 819, 289, 939, 105]


def test_a_cut_holds_every_second_row(tmp_path: Path):
    store = cmu_store(tmp_path / "store", {"soccer": 599, "walking": 360})
    protocol = load_protocol("cmu-long")
    windows = protocol.windows(store).windows
    cut = protocol.cut(store, windows)
    assert cut.shape == (16, 75, 39, 3)
    for window, rows in zip(windows, cut, strict=True):
        expected = 10000.0 * CMU.index(window.action) + 2 * (window.start + np.arange(75))
        np.testing.assert_array_equal(rows, np.broadcast_to(expected[:, None, None], rows.shape))


def test_a_shorter_horizon_keeps_the_clips(tmp_path: Path):
    store = h36m_store(tmp_path / "store", {("eating", 1): 1000, ("eating", 2): 800})
    long, short = load_protocol("h36m-8"), load_protocol("h36m-8", observed=50, future=10, step=2)
    assert short.windows(store) == long.windows(store)
    assert (long.future, long.milliseconds) == (25, (80, 160, 320, 400, 560, 1000))
    assert (short.future, short.milliseconds) == (10, (80, 160, 320, 400))
    windows = long.windows(store).windows
    np.testing.assert_array_equal(short.cut(store, windows), long.cut(store, windows)[:, :60])


def test_a_frame_counts_forty_milliseconds():
    """Reported frames by their place in the future: 80 ms is the second frame, 1000 ms the 25th."""
    assert load_protocol("h36m-256").frames == {80: 1, 160: 3, 320: 7, 400: 9, 560: 13, 1000: 24}
    assert load_protocol("cmu-short").frames == {80: 1, 160: 3, 320: 7, 400: 9}


def test_demo_draws_every_test_clip(tmp_path: Path):
    store = motion_store(tmp_path / "store", {"a": 75, "train": 200, "b": 100, "c": 160})
    protocol = load_protocol("demo")
    drawn = protocol.windows(store)
    assert drawn == protocol.windows(store) and drawn.missing == ()
    assert [window.clip for window in drawn.windows] == [0, 0, 0, 2, 2, 2, 3, 3, 3]
    assert [window.action for window in drawn.windows] == ["walk"] * 6 + ["wave"] * 3
    assert [window.start for window in drawn.windows[:3]] == [0, 0, 0]
    assert all(0 <= window.start <= store.clips[window.clip].length - 75 for window in drawn.windows)
    assert len({window.start for window in drawn.windows[3:]}) > 2
    assert protocol.cut(store, drawn.windows).shape == (9, 75, 38, 3)


def test_demo_reaches_the_last_frame(tmp_path: Path):
    store = motion_store(tmp_path / "store", {f"clip {number}": 77 for number in range(30)})
    assert {window.start for window in load_protocol("demo").windows(store).windows} == {0, 1, 2}


def test_demo_takes_a_presets_window(tmp_path: Path):
    store = motion_store(tmp_path / "store", {"a": 100}, fps=50.0)
    protocol = load_protocol("demo", observed=20, future=14, step=2)
    assert protocol.milliseconds == (80, 160, 320, 400, 560)
    rows = protocol.cut(store, protocol.windows(store).windows)
    assert rows.shape == (3, 34, 38, 3)
    assert (np.diff(rows[:, :, 0, 0], axis=1) == 2).all()


def test_frame_labels_count_at_the_current_frame(tmp_path: Path):
    """Frames 0 to 49 are of class 0, then of none, from 100 of class 1; the current frame is the last observed one."""
    labels = np.repeat([0, -1, 1], [50, 50, 50])
    store = motion_store(tmp_path / "store", {f"clip {number}": 150 for number in range(12)}, labels=labels)
    windows = load_protocol("recognition", observed=10, step=2).windows(store).windows
    for window in windows:
        assert window.label == labels[2 * (window.start + 9)]
        assert window.action == {0: "walk", -1: "unlabelled", 1: "wave"}[window.label]
    assert {window.label for window in windows} == {0, 1, -1}


def test_recognition_takes_any_data_and_no_future(tmp_path: Path):
    store = cmu_store(tmp_path / "store", {"soccer": 60, "walking": 50})
    protocol = load_protocol("recognition", observed=50, future=25)
    assert protocol.future == 0 and protocol.metrics == ()
    assert protocol.cut(store, protocol.windows(store).windows).shape == (2, 50, 39, 3)


# --- what is not there --------------------------------------------------------------------------------------------------


def test_a_missing_action_is_named_and_changes_no_other(tmp_path: Path):
    whole = cmu_store(tmp_path / "whole", dict.fromkeys(CMU, 400))
    part = cmu_store(tmp_path / "part", {action: 400 for action in CMU if action not in ("jumping", "washwindow")})
    protocol = load_protocol("cmu-long")
    assert protocol.windows(part).missing == (
        "jumping: no test/jumping/jumping_1.txt",
        "washwindow: no test/washwindow/washwindow_1.txt",
    )
    assert starts_of(protocol, part, "walking") == starts_of(protocol, whole, "walking")
    assert len(protocol.windows(part).windows) == 48


def test_a_class_the_store_does_not_know_is_missing(tmp_path: Path):
    store = cmu_store(tmp_path / "store", {"walking": 400}, classes=("soccer", "walking"))
    drawn = load_protocol("cmu-long").windows(store)
    assert len(drawn.missing) == 7 and {window.label for window in drawn.windows} == {1}


def test_a_clip_that_is_too_short_is_named(tmp_path: Path):
    """151 rows are 76 frames, enough for one start; 150 rows are 75 frames."""
    store = cmu_store(tmp_path / "store", {"running": 151, "walking": 150})
    drawn = load_protocol("cmu-long").windows(store)
    assert starts_of(load_protocol("cmu-long"), store, "running") == [("test/running/running_1.txt", 0)] * 8
    assert "walking: test/walking/walking_1.txt has 75 frames, one in 2 kept; protocol cmu-long needs 76" in drawn.missing


def test_an_action_needs_both_sub_sequences(tmp_path: Path):
    store = h36m_store(
        tmp_path / "store",
        {
            ("walking", 1): 400,
            ("eating", 2): 400,
            ("smoking", 1): 400,
            ("smoking", 2): 333,
            ("posing", 1): 400,
            ("posing", 2): 332,
        },
    )
    drawn = load_protocol("h36m-8").windows(store)
    assert {window.action for window in drawn.windows} == {"smoking"}
    assert "walking: no S5/walking_2.txt" in drawn.missing
    assert "eating: no S5/eating_1.txt" in drawn.missing
    assert "waiting: no S5/waiting_1.txt; no S5/waiting_2.txt" in drawn.missing
    assert "posing: S5/posing_2.txt has 166 frames, one in 2 kept; protocol h36m-8 needs 167" in drawn.missing
    assert len(drawn.missing) == 14


def test_short_test_clips_are_named(tmp_path: Path):
    store = motion_store(tmp_path / "store", {"a": 74, "b": 75, "c": 3})
    drawn = load_protocol("demo").windows(store)
    assert {store.clips[window.clip].recording for window in drawn.windows} == {"b"}
    assert drawn.missing == ("2 of 3 clips have fewer than 75 frames: a (74), c (3)",)


def test_no_clip_at_all_is_an_error(tmp_path: Path):
    short = cmu_store(tmp_path / "short", {"walking": 100})
    with pytest.raises(InputError, match=r"no clip for protocol cmu-long.*walking_1.txt has 50 frames"):
        load_protocol("cmu-long").windows(short)
    training = motion_store(tmp_path / "training", {"train": 100})
    with pytest.raises(InputError, match="no clip has the split test"):
        load_protocol("demo").windows(training)


def test_data_of_another_kind_is_an_error(tmp_path: Path):
    angles = cmu_store(tmp_path / "angles", {"walking": 400})
    with pytest.raises(InputError, match="has layout cmu; protocol h36m-8 is for layout h36m"):
        load_protocol("h36m-8").windows(angles)
    with pytest.raises(InputError, match="is in space expmap; protocol demo is for space xyz"):
        load_protocol("demo").windows(angles)
    positions = motion_store(tmp_path / "positions", {"a": 100}, fps=30.0)
    with pytest.raises(InputError, match="is in space xyz; protocol cmu-long is for space expmap"):
        load_protocol("cmu-long").windows(positions)
    with pytest.raises(InputError, match="has 30 frames a second, one in 1 kept; protocol demo reports at 25"):
        load_protocol("demo").windows(positions)


def test_an_unknown_protocol_names_the_nearest():
    with pytest.raises(InputError, match="no protocol 'cmu_long'; did you mean cmu-long"):
        load_protocol("cmu_long")
    assert all(load_protocol(name).name == name for name in protocol_names())


def test_a_benchmark_keeps_its_window():
    assert load_protocol("cmu-short", future=25).future == 10
    assert load_protocol("cmu-long", observed=20).observed == 50
    with pytest.raises(InputError, match="step 1 and 50 frames"):
        load_protocol("cmu-long", step=1)
    with pytest.raises(InputError, match=r"shows 50 of them.*step 2 and 60 frames"):
        load_protocol("cmu-long", observed=60)


def test_whole_clips_once_each(tmp_path: Path):
    """Every test clip with a class, whatever its length, in as many frames as the model sees, its first and last kept."""
    layout = load_layout("kinect20")
    lengths, labels, splits = (3, 40, 9, 1, 12), (0, 1, -1, 1, 0), ("test", "test", "test", "test", "train")
    clips = [
        (ClipRecord(recording=f"r{k}", label=label, split=split), np.arange(length)[:, None, None] * np.ones((1, 20, 3)))
        for k, (length, label, split) in enumerate(zip(lengths, labels, splits, strict=True))
    ]
    store = write_store(tmp_path / "s", clips, layout=layout, space="xyz", fps=30.0, class_names=("a", "b"))
    protocol = load_protocol("clips", observed=7, future=3, step=1)
    windows = protocol.windows(store).windows
    assert [(window.clip, window.label, window.action) for window in windows] == [(0, 0, "a"), (1, 1, "b"), (3, 1, "b")]
    found = protocol.cut(store, windows)
    assert protocol.future == 0 and found.shape == (3, 7, 20, 3)
    np.testing.assert_allclose(found[:, :, 5, 1], [np.linspace(0, 2, 7), np.linspace(0, 39, 7), np.zeros(7)], atol=1e-5)
