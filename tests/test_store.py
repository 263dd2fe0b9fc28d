import csv
import hashlib
import json
import resource
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from symgnn.data import Clip, ClipRecord, Store, is_store, write_store
from symgnn.errors import InputError
from symgnn.skeleton import layout_from_dict, load_layout

LAYOUT = layout_from_dict(
    {
        "name": "stick",
        "joints": ["hip", "knee", "foot"],
        "bones": [["hip", "knee", "foot"]],
        "parts": {"leg": ["hip", "knee", "foot"]},
    }
)


def some_clips(lengths: tuple[int, ...] = (4, 7, 3), columns: bool = True) -> list[Clip]:
    random = np.random.default_rng(0)
    clips = []
    for number, length in enumerate(lengths):
        frames = random.normal(size=(length, 3, 3)).astype(np.float32)
        frames[0, 1] = np.nan
        record = ClipRecord(
            label=number % 2,
            recording=f'the "{number}", first',
            person=number,
            subject=f"S{number // 2}",
            source=f"a/ä_{number}.txt",
            split="train" if number else "test",
        )
        labels = random.integers(-1, 2, length) if columns else None
        times = np.arange(length) / 7 if columns else None
        clips.append(Clip(record, frames, labels, times))
    return clips


def write(path: Path, clips=None, **changes) -> Store:
    settings = {"layout": LAYOUT, "space": "xyz", "fps": 25.0, "class_names": ("sit", "stand"), **changes}
    return write_store(path, some_clips() if clips is None else clips, **settings)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return write(tmp_path / "store")


def test_clips_with_and_without_a_class_for_each_frame(tmp_path: Path):
    """The frames of a clip without are of the clip's class."""
    mixed = [clip._replace(times=None) for clip in (*some_clips(), *some_clips(columns=False))]
    labels = write(tmp_path / "mixed", mixed).labels
    assert labels is not None
    assert labels[:14].tolist() == [label for clip in mixed[:3] for label in clip.labels.tolist()]  # pyright: ignore[reportOptionalMemberAccess]
    assert labels[14:].tolist() == [0] * 4 + [1] * 7 + [0] * 3


def test_files_are_what_the_design_says(store: Store):
    """Read back with nothing of the package."""
    clips = some_clips()
    frames = np.load(store.path / "frames.npy")
    assert frames.dtype == np.float32
    np.testing.assert_array_equal(frames, np.concatenate([clip.frames for clip in clips]))
    with (store.path / "clips.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["start"], row["length"]) for row in rows] == [("0", "4"), ("4", "7"), ("11", "3")]
    assert [row["recording"] for row in rows] == ['the "0", first', 'the "1", first', 'the "2", first']
    assert [(row["subject"], row["split"], row["person"]) for row in rows] == [
        ("S0", "test", "0"),
        ("S0", "train", "1"),
        ("S1", "train", "2"),
    ]
    labels = [label for clip in clips if clip.labels is not None for label in clip.labels]
    times = [second for clip in clips if clip.times is not None for second in clip.times]
    assert np.load(store.path / "labels.npy").tolist() == labels and len(labels) == 14
    assert np.load(store.path / "times.npy").tolist() == times and len(times) == 14
    about = json.loads((store.path / "store.json").read_text())
    assert about["class_names"] == ["sit", "stand"] and about["space"] == "xyz" and about["fps"] == 25 and about["unit"] == "m"
    for name in ("frames.npy", "clips.csv", "labels.npy", "times.npy"):
        assert about["sha256"][name] == hashlib.sha256((store.path / name).read_bytes()).hexdigest()


def test_opening_gives_back_what_was_written(store: Store):
    again = Store.open(store.path)
    clips = some_clips()
    assert again.layout == LAYOUT and again.fps == 25.0 and again.class_names == ("sit", "stand")
    assert isinstance(again.frames, np.memmap) and not again.frames.flags.writeable
    for index, clip in enumerate(clips):
        np.testing.assert_array_equal(again.clip_frames(index), clip.frames)
        assert again.clips[index].source == clip.record.source and again.clips[index].label == clip.record.label
    assert again.labels is not None and again.times is not None and len(again.labels) == len(again.times) == 14
    again.verify()


def test_optional_arrays_are_optional(tmp_path: Path):
    store = write(tmp_path / "store", ((clip.record, clip.frames) for clip in some_clips()))
    assert store.labels is None and store.times is None
    assert sorted(path.name for path in store.path.iterdir()) == ["clips.csv", "frames.npy", "store.json"]


def test_long_stores_fit_the_header_that_was_written_first(tmp_path: Path):
    """The header is rewritten once the number of frames is known."""
    frames = np.arange(123_457 * 9, dtype=np.float32).reshape(-1, 3, 3)
    store = write(tmp_path / "store", [(ClipRecord(recording="long"), frames), (ClipRecord(recording="short"), frames[:1])])
    assert store.frames.shape == (123_458, 3, 3)
    np.testing.assert_array_equal(store.frames[-2:], frames[[-1, 0]])


def test_select(store: Store):
    assert store.select() == (0, 1, 2)
    assert store.select(split="train") == (1, 2)
    assert store.select(split=("train", "test"), label=0) == (0, 2)
    assert store.select(split="") == ()
    with pytest.raises(TypeError, match="colour"):
        store.select(colour="red")


def test_class_mapping(store: Store):
    assert store.class_mapping(("lie", "stand", "sit")) == (2, 1)
    assert store.class_mapping(("stand",)) == (-1, 0)


def test_require_names_both_sides(store: Store):
    store.require(LAYOUT, "xyz")
    with pytest.raises(InputError, match=r"layout stick has 3 joints.*expected layout cmu with 38 joints \(26 in use\)"):
        store.require(load_layout("cmu"))
    with pytest.raises(InputError, match=r"holds positions.*expected exponential maps"):
        store.require(LAYOUT, "expmap")


def test_opening_reads_no_frames(tmp_path: Path):
    """Two gigabytes of (sparse) frames are opened without allocating them."""
    store = write(tmp_path / "store", some_clips(columns=False))
    total = 2 * 1024**3 // 36
    with (store.path / "frames.npy").open("r+b") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (total, 3, 3)})
        file.truncate(file.tell() + total * 36)
    tracemalloc.start()
    try:
        opened = Store.open(store.path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert opened.frames.shape == (total, 3, 3)
    assert peak < 2**20


def test_a_header_is_not_believed(store: Store):
    for total in (10**6, 10**17, 2**62):
        with (store.path / "frames.npy").open("r+b") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (total, 3, 3)})
        with pytest.raises(InputError, match=r"frames.npy: damaged: \d+ bytes, expected"):
            Store.open(store.path)


def rewrite(store: Store, **changes) -> None:
    about = json.loads((store.path / "store.json").read_text())
    about.update(changes)
    (store.path / "store.json").write_text(json.dumps({name: value for name, value in about.items() if value is not None}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "version 2, made by a newer symgnn; this one reads up to 1"),
        ({"version": 0}, "version: found 0"),
        ({"version": "1"}, "version: found str, expected int"),
        ({"version": True}, "version: found bool"),
        ({"format": "other"}, "not a symgnn store"),
        ({"space": "quaternion"}, "space: found 'quaternion', expected one of xyz, expmap, xyc"),
        ({"space": "expmap"}, r"frames.npy: found float32 of shape \(14, 3, 3\), expected float32 of shape \(frames, 4, 3\)"),
        ({"fps": -1}, "fps: found -1"),
        ({"fps": "fast"}, "fps: found str, expected number"),
        ({"fps": None}, "field 'fps' is missing"),
        ({"class_names": [1, 2]}, "class_names"),
        ({"class_names": ["sit"]}, "line 3: label 1: expected -1 .none. to 0"),
        ({"layout": {"joints": ["hip"]}}, "store.json: layout: .*needed"),
        ({"sha256": {"frames.npy": "0"}}, "sha256: found frames.npy, expected clips.csv, frames.npy, labels.npy, times.npy"),
    ],
)
def test_store_json_is_checked(store: Store, changes, message: str):
    rewrite(store, **changes)
    with pytest.raises(InputError, match=message):
        Store.open(store.path)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\xfe", b"null", b"[" * 100_000])
def test_foreign_store_json(store: Store, text: bytes):
    (store.path / "store.json").write_bytes(text)
    with pytest.raises(InputError, match=r"store\.json: (damaged|not a symgnn store)"):
        Store.open(store.path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("start,length", "begin,length", "line 1: found the columns"),
        ("4,7,", "4,seven,", "line 3: length: found 'seven', expected a whole number"),
        ("4,7,", "4,70,", "line 3: start 4, length 70: expected a stretch of frames.npy's 14 frames"),
        ("4,7,", "-4,7,", "line 3: start -4"),
        ("4,7,", "7,", "line 3: found 9 columns, expected 10"),
        ("0,4,0", "0,4,5", "line 2: label 5: expected -1 .none. to 1, for there are 2 class names"),
        ("S0", '"S0', "damaged"),
    ],
)
def test_clips_csv_is_checked(store: Store, old: str, new: str, message: str):
    path = store.path / "clips.csv"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        Store.open(store.path)


def test_an_empty_table_of_clips(store: Store):
    path = store.path / "clips.csv"
    path.write_text(path.read_text(encoding="utf-8").splitlines()[0] + "\n", encoding="utf-8")
    with pytest.raises(InputError, match="no clips"):
        Store.open(store.path)


def test_frames_of_another_kind(store: Store):
    path = store.path / "frames.npy"
    for array in (
        np.zeros((14, 3, 3)),
        np.zeros((14, 2, 3), np.float32),
        np.zeros((14, 9), np.float32),
        np.asfortranarray(np.zeros((14, 3, 3), np.float32)),
        np.zeros((0, 3, 3), np.float32),
    ):
        np.save(path, array)
        with pytest.raises(InputError, match=r"frames\.npy: (found|damaged)"):
            Store.open(store.path)
    for raw in (b"", b"\x93NUMPY", b"not numpy at all, but long enough to read", np.array([{}], dtype=object).dumps()):
        path.write_bytes(raw)
        with pytest.raises(InputError, match=r"frames\.npy: damaged"):
            Store.open(store.path)


def test_objects_are_not_unpickled(store: Store):
    np.save(store.path / "frames.npy", np.array([[["x"] * 3] * 3] * 14, dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"frames\.npy: found object"):
        Store.open(store.path)


@pytest.mark.parametrize("name", ["frames.npy", "clips.csv", "labels.npy", "times.npy", "store.json"])
def test_missing_files(store: Store, name: str):
    (store.path / name).unlink()
    with pytest.raises(InputError, match=r"missing|not a store|not whole"):
        Store.open(store.path)


def test_missing_folder(tmp_path: Path):
    with pytest.raises(InputError, match="no such folder"):
        Store.open(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["frames.npy", "labels.npy"])
def test_verify_finds_a_changed_byte(store: Store, name: str):
    path = store.path / name
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    opened = Store.open(store.path)
    with pytest.raises(InputError, match=f"{name}: damaged: found sha256"):
        opened.verify()


# Writing


def nothing_is_left(folder: Path) -> bool:
    return list(folder.iterdir()) == []


def test_an_error_on_the_way_leaves_nothing(tmp_path: Path):
    def clips(error: BaseException) -> Iterator[Clip]:
        yield from some_clips()
        raise error

    for error in (RuntimeError("reader"), KeyboardInterrupt(), InputError("file")):
        with pytest.raises(type(error)):
            write(tmp_path / "store", clips(error))
        assert nothing_is_left(tmp_path)


def test_a_full_disk_is_the_users_error_and_leaves_nothing(tmp_path: Path):
    """A limit on the size of files stands for the disk; the system refuses the write either way."""
    big = [(ClipRecord(recording="big"), np.zeros((10_000, 3, 3), np.float32))]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(InputError, match=r"store: cannot be written: .*nothing was kept; free some space"):
            write(tmp_path / "store", big)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert nothing_is_left(tmp_path)


def test_parent_that_is_a_file(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot be written"):
        write(tmp_path / "file" / "store")


def test_an_existing_folder_is_not_touched(tmp_path: Path):
    store = write(tmp_path / "store")
    before = (store.path / "store.json").read_bytes()
    with pytest.raises(InputError, match="exists already"):
        write(tmp_path / "store", some_clips((5,)))
    assert (store.path / "store.json").read_bytes() == before
    (tmp_path / "empty").mkdir()
    assert is_store(write(tmp_path / "empty").path)


def test_someone_else_is_faster(tmp_path: Path):
    """A store of that name appears while this one is written: theirs stays, whole."""

    def clips() -> Iterator[Clip]:
        write(tmp_path / "store", some_clips((2,)))
        yield from some_clips()

    with pytest.raises(InputError, match="cannot be written"):
        write(tmp_path / "store", clips())
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
    assert len(Store.open(tmp_path / "store").frames) == 2


def with_value(value: float) -> np.ndarray:
    frames = np.zeros((4, 3, 3))
    frames[2, 1, 0] = value
    return frames


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        ([], "no clip to write"),
        (
            [(ClipRecord(recording="a"), np.zeros((4, 2, 3)))],
            r"clip 'a': found frames of shape \(4, 2, 3\), expected \(frames, 3, 3\)",
        ),
        ([(ClipRecord(recording="a"), np.zeros((0, 3, 3)))], r"clip 'a': found frames of shape \(0, 3, 3\)"),
        ([(ClipRecord(recording="a"), with_value(np.inf))], "clip 'a': frame 2, knee, channel 0: infinite"),
        ([(ClipRecord(recording="a"), with_value(1e39))], "clip 'a': frame 2, knee, channel 0: infinite"),
        ([(ClipRecord(recording="a", label=2), np.zeros((4, 3, 3)))], "clip 'a': label 2: expected -1"),
        ([Clip(ClipRecord(recording="a"), np.zeros((4, 3, 3)), labels=np.array([0, 1, 2, 0]))], "clip 'a': label 2"),
        ([Clip(ClipRecord(recording="a"), np.zeros((4, 3, 3)), times=np.zeros(3))], r"clip 'a': times.npy: found shape \(3,\)"),
        (some_clips() + some_clips(columns=False), "times.npy: 3 of 6 clips have it"),
    ],
)
def test_clips_that_do_not_fit(tmp_path: Path, clips, message: str):
    with pytest.raises(InputError, match=message):
        write(tmp_path / "store", clips)
    assert nothing_is_left(tmp_path)


def test_impossible_rate(tmp_path: Path):
    with pytest.raises(InputError, match="fps: found 0"):
        write(tmp_path / "store", fps=0.0)
    assert nothing_is_left(tmp_path)
