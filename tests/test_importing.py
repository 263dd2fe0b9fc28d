"""From a user's files to a store: rates, classes, bodies, pieces; what cannot be used is listed and the rest goes on."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from symgnn.cli import main
from symgnn.data import Store
from symgnn.data.importing import ImportOptions, import_recordings
from symgnn.data.resampling import evenly, resample
from symgnn.errors import InputError
from symgnn.skeleton import load_layout

JOINTS = load_layout("kinect20").joints
HEAD = ",".join(f"{joint}_{axis}" for joint in JOINTS for axis in "xyz")


def motion(frames: int, seed: int = 0) -> np.ndarray:
    return np.round(np.random.default_rng(seed).normal(size=(frames, len(JOINTS), 3)), 3)


def table(path: Path, frames: np.ndarray, head: str = HEAD, before: list[str] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lead = [""] * len(frames) if before is None else before
    path.write_text(
        "\n".join([head, *(start + ",".join(map(str, row.ravel())) for start, row in zip(lead, frames, strict=True))])
    )
    return path


# Rates


def naive_resample(frames: list, times: list[float], fps: float) -> list:
    """Frame by frame: the two around, how far apart, how much of each."""
    found, count = [], 0
    while times[0] + count / fps <= times[-1] + 1e-9:
        now = times[0] + count / fps
        count += 1
        exact = [k for k, time in enumerate(times) if abs(time - now) < 1e-6]
        if exact:
            found.append(frames[exact[0]])
            continue
        k = max(k for k, time in enumerate(times) if time < now)
        if times[k + 1] - times[k] > 0.25:
            found.append(np.full_like(frames[k], np.nan))
        else:
            share = (now - times[k]) / (times[k + 1] - times[k])
            found.append((1 - share) * frames[k] + share * frames[k + 1])
    return found


@pytest.mark.parametrize("fps", [10.0, 25.0, 30.0])
def test_resampling_agrees_with_the_oracle(fps: float):
    random = np.random.default_rng(3)
    times = np.cumsum(random.choice([0.02, 0.04, 0.1, 0.4], size=60)) + 100
    frames = random.normal(size=(60, 4, 3)).astype(np.float32)
    frames[random.random((60, 4)) < 0.1] = np.nan
    poses, nearest = resample(frames, times, fps)
    expected = np.stack(naive_resample(list(frames.astype(np.float64)), times.tolist(), fps))
    np.testing.assert_allclose(poses, expected, atol=1e-4)
    even = times[0] + np.arange(len(poses)) / fps
    assert (np.abs(times[nearest] - even) <= np.abs(times[:, None] - even).min(axis=0) + 1e-6).all()


def test_resampling_by_hand():
    """0, 1 and 3 tenths of a second to twenty a second; the joint missing at the second frame takes both neighbours along."""
    frames = np.array([[[0, 0, 0], [0, 0, 0]], [[2, 0, 0], [np.nan] * 3], [[6, 0, 0], [6, 0, 0]]], np.float32)
    poses, nearest = resample(frames, np.array([0, 0.1, 0.3]), 20.0)
    assert poses[:, 0, 0].tolist() == pytest.approx([0, 1, 2, 3, 4, 5, 6])
    assert np.isnan(poses[:, 1, 0]).tolist() == [False, True, True, True, True, True, False]
    assert nearest.tolist() in ([0, 0, 1, 1, 1, 2, 2], [0, 1, 1, 1, 1, 2, 2], [0, 0, 1, 1, 2, 2, 2], [0, 1, 1, 1, 2, 2, 2])


def test_evenly():
    line = np.arange(5, dtype=np.float32).reshape(5, 1, 1).repeat(3, axis=2)
    assert evenly(line, 9)[:, 0, 0].tolist() == [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4]
    assert evenly(line, 3)[:, 0, 0].tolist() == [0, 2, 4]
    assert evenly(line[:1], 4)[:, 0, 0].tolist() == [0, 0, 0, 0]
    gap = line.copy()
    gap[2] = np.nan
    assert np.isnan(evenly(gap, 9)[:, 0, 0]).tolist() == [False, False, False, True, True, True, False, False, False]


def test_files_of_several_rates_become_one(tmp_path: Path):
    """60 a second by timestamps and 30 by the option: both at 30."""
    frames = motion(61)
    table(tmp_path / "in" / "a.csv", frames, "time," + HEAD, [f"{k / 60:.6f}," for k in range(61)])
    table(tmp_path / "in" / "b.csv", frames)
    done = import_recordings(tmp_path / "in", tmp_path / "store", options=ImportOptions(fps=30.0), progress=False)
    assert [clip.length for clip in done.store.clips] == [31, 61] and done.store.fps == 30
    np.testing.assert_allclose(done.store.clip_frames(0), frames[::2], atol=1e-4)
    np.testing.assert_array_equal(done.store.clip_frames(1), frames.astype(np.float32))


def test_dropped_frames_are_interpolated(tmp_path: Path):
    frames = motion(6)
    kept = [0, 1, 3, 4, 5]
    table(tmp_path / "in" / "a.csv", frames[kept], "frame," + HEAD, [f"{k}," for k in kept])
    store = import_recordings(tmp_path / "in", tmp_path / "store", options=ImportOptions(fps=25.0), progress=False).store
    assert store.clips[0].length == 6
    np.testing.assert_allclose(store.clip_frames(0)[2], (frames[1] + frames[3]) / 2, atol=1e-5)
    np.testing.assert_allclose(store.clip_frames(0)[kept], frames[kept], atol=1e-5)


# Bodies


def test_joints_are_put_in_the_layouts_order(tmp_path: Path):
    """The layout is found from the names, however they are spelt and ordered."""
    order = np.random.default_rng(5).permutation(len(JOINTS))
    head = ",".join(f"{JOINTS[joint].lower()}_{axis}" for joint in order for axis in "xyz")
    frames = motion(4)
    table(tmp_path / "in" / "a.csv", frames[:, order], head)
    done = import_recordings(tmp_path / "in", tmp_path / "store", options=ImportOptions(fps=30.0), progress=False)
    assert done.store.layout == load_layout("kinect20") and any("kinect20" in note for note in done.notes)
    np.testing.assert_array_equal(done.store.clip_frames(0), frames.astype(np.float32))


def test_some_joints_missing_and_some_more(tmp_path: Path):
    head = HEAD.replace("FootLeft_", "Tail_")
    frames = motion(4)
    table(tmp_path / "in" / "a.csv", frames, head)
    done = import_recordings(
        tmp_path / "in", tmp_path / "s", options=ImportOptions(layout="kinect20", fps=30.0), progress=False
    )
    stored, foot = done.store.clip_frames(0), JOINTS.index("FootLeft")
    assert np.isnan(stored[:, foot]).all() and not np.isnan(np.delete(stored, foot, axis=1)).any()
    assert any("FootLeft" in note for note in done.notes) and any("Tail" in note for note in done.notes)


def test_zero_is_missing(tmp_path: Path):
    frames = motion(3)
    frames[1, 4] = 0
    frames[2, 5, 0] = 0  # one coordinate may well be zero
    table(tmp_path / "in" / "a.csv", frames)
    options = ImportOptions(fps=30.0, zero_is_missing=True)
    stored = import_recordings(tmp_path / "in", tmp_path / "s", options=options, progress=False).store.clip_frames(0)
    assert np.argwhere(np.isnan(stored)).tolist() == [[1, 4, 0], [1, 4, 1], [1, 4, 2]]


# Classes


def test_class_names_are_in_order(tmp_path: Path):
    """Numbers by size, and every clip keeps its own, whatever turned up first."""
    for name, label in (("a", "10"), ("b", "9"), ("c", "sit"), ("d", "-1"), ("e", "10")):
        table(tmp_path / "in" / f"{name}_{label}.csv", motion(3))
    options = ImportOptions(fps=30.0, label_from_name=r"_(.+)\.csv")
    store = import_recordings(tmp_path / "in", tmp_path / "store", options=options, progress=False).store
    assert store.class_names == ("9", "10", "sit")
    assert [clip.label for clip in store.clips] == [1, 0, 2, -1, 1]


def test_classes_from_folders_and_subjects_from_names(tmp_path: Path):
    table(tmp_path / "in" / "run" / "s01_a.csv", motion(3))
    table(tmp_path / "in" / "sit" / "s02_a.csv", motion(3))
    options = ImportOptions(fps=30.0, label_from_folder=True, subject_from_name=r"s(\d+)")
    store = import_recordings(tmp_path / "in", tmp_path / "store", options=options, progress=False).store
    assert [(store.class_names[clip.label], clip.subject, clip.recording) for clip in store.clips] == [
        ("run", "01", "run/s01_a"),
        ("sit", "02", "sit/s02_a"),
    ]


def test_classes_from_a_list(tmp_path: Path):
    for name in ("a", "b", "c"):
        table(tmp_path / "in" / f"{name}.csv", motion(3))
    labels = tmp_path / "labels.csv"
    labels.write_text("file,label,split,subject\na.csv,walk,train,Ann\nb,run,test,Bob\n")
    done = import_recordings(
        tmp_path / "in", tmp_path / "store", options=ImportOptions(fps=30.0, labels=labels), progress=False
    )
    assert [(clip.label, clip.split, clip.subject) for clip in done.store.clips] == [(1, "train", "Ann"), (0, "test", "Bob")]
    assert done.bad[0][0] == "c.csv" and "is not in" in done.bad[0][1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,label\n", "line 1: found name, label"),
        ("file,label\na.csv,x\na.csv,y\n", "line 3: 'a.csv' is listed twice"),
        ("file,label\na.csv\n", "line 2: expected 2 cells"),
        ("file,label,split\na.csv,x,dev\n", "line 2: split: found 'dev'"),
    ],
)
def test_bad_lists(text: str, message: str, tmp_path: Path):
    table(tmp_path / "in" / "a.csv", motion(3))
    labels = tmp_path / "labels.csv"
    labels.write_text(text)
    with pytest.raises(InputError, match=message):
        import_recordings(tmp_path / "in", tmp_path / "store", options=ImportOptions(fps=30.0, labels=labels), progress=False)
    assert not (tmp_path / "store").exists()


def labelled(tmp_path: Path) -> np.ndarray:
    frames = motion(9)
    classes = ["0", "0", "1", "1", "1", "0", "2", "1", "1"]
    table(tmp_path / "in" / "a.csv", frames, "label," + HEAD, [f"{each}," for each in classes])
    return frames.astype(np.float32)


def test_a_class_for_each_frame(tmp_path: Path):
    frames = labelled(tmp_path)
    options = ImportOptions(fps=30.0, no_class=("", "0"))
    store = import_recordings(tmp_path / "in", tmp_path / "store", options=options, progress=False).store
    assert store.labels is not None and store.labels.tolist() == [-1, -1, 0, 0, 0, -1, 1, 0, 0]
    assert store.class_names == ("1", "2") and len(store.clips) == 1
    np.testing.assert_array_equal(store.clip_frames(0), frames)


def test_cut_into_clips(tmp_path: Path):
    """A clip a run, those without a class too; short ones are left out, and counted."""
    frames = labelled(tmp_path)
    options = ImportOptions(fps=30.0, no_class=("", "0"), cut=True, shortest=2)
    done = import_recordings(tmp_path / "in", tmp_path / "store", options=options, progress=False)
    assert [(clip.label, clip.length) for clip in done.store.clips] == [(-1, 2), (0, 3), (0, 2)]
    assert done.store.labels is None and any("2 clips of fewer than 2 frames" in note for note in done.notes)
    np.testing.assert_array_equal(done.store.clip_frames(2), frames[7:])


def test_looking_at_a_clip(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A picture and an animation of the clip that is named, by its number or its recording's name."""
    for name, seed in (("wave", 0), ("sit", 1)):
        table(tmp_path / "in" / name / "a.csv", motion(12, seed))
    store = str(tmp_path / "store")
    assert main(["data", "import", str(tmp_path / "in"), store, "--fps", "30", "--label-from-folder"]) == 0
    assert main(["data", "view", store, "wave/a", "--out", str(tmp_path / "a.svg"), "--poses", "4"]) == 0
    assert main(["data", "view", store, "1", "--out", str(tmp_path / "a.html")]) == 0
    assert "wave/a: wave, 12 frames (0.4 s)" in capsys.readouterr().err
    picture = (tmp_path / "a.svg").read_text()
    assert picture.startswith("<svg") and "4 poses of wave/a" in picture and picture.count("<g transform") == 4
    page = (tmp_path / "a.html").read_text()
    data = json.loads(page.split('<script type="application/json">')[1].split("</script>")[0])
    assert len(data["frames"]) == data["observed"] == 12 and "the model" not in page
    assert main(["data", "view", store, "wav/a"]) == 2
    assert "did you mean wave/a?" in capsys.readouterr().err


# What cannot be used


def test_bad_files_are_listed_and_the_rest_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    table(tmp_path / "in" / "a.csv", motion(3))
    table(tmp_path / "in" / "deep" / "b.csv", motion(3)).write_text("rubbish")
    table(tmp_path / "in" / "c.csv", motion(4))
    code = main(["data", "import", str(tmp_path / "in"), str(tmp_path / "store"), "--fps", "30"])
    assert code == 1
    store = Store.open(tmp_path / "store")
    assert [clip.recording for clip in store.clips] == ["a", "c"]
    with (tmp_path / "store.bad.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert row["file"] == "deep/b.csv" and row["reason"]
    assert "1 of 3 files could not be used" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ImportOptions(), "frames a second"),
        (ImportOptions(fps=30.0, layout="coco17"), "are not those of layout coco17"),
        (ImportOptions(fps=30.0, label_from_name="("), "not a regular expression"),
        (ImportOptions(fps=30.0, label_from_name="x(y)"), "finds nothing"),
        (ImportOptions(fps=30.0, label_from_folder=True), "in no folder"),
        (ImportOptions(fps=30.0, shortest=9), "hold no clip"),
    ],
)
def test_nothing_that_can_be_used(options: ImportOptions, message: str, tmp_path: Path):
    table(tmp_path / "in" / "a.csv", motion(3))
    with pytest.raises(InputError, match=message):
        import_recordings(tmp_path / "in", tmp_path / "store", options=options, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_one_reason_is_said_once(tmp_path: Path):
    """Of files that all fail alike the first is named; what is left out of all is noted once."""
    for name in "abc":
        table(tmp_path / "in" / f"{name}.csv", motion(3))
    with pytest.raises(InputError) as caught:
        import_recordings(tmp_path / "in", tmp_path / "store", options=ImportOptions(layout="coco17", fps=30.0), progress=False)
    assert "none of 3 files can be used: a.csv: its joints" in str(caught.value) and "b.csv" not in str(caught.value)
    for name in "abc":
        table(tmp_path / "more" / f"{name}.csv", motion(3), HEAD + ",battery")
        path = tmp_path / "more" / f"{name}.csv"
        head, *rows = path.read_text().splitlines()
        path.write_text("\n".join([head, *(f"{row},88" for row in rows)]))
    done = import_recordings(tmp_path / "more", tmp_path / "store", options=ImportOptions(fps=30.0), progress=False)
    assert sum("battery" in note for note in done.notes) == 1
    with pytest.raises(InputError, match="did you mean bvh"):
        import_recordings(tmp_path / "more", tmp_path / "other", "bhv", progress=False)


def test_time_that_runs_backwards(tmp_path: Path):
    table(tmp_path / "in" / "a.csv", motion(3), "time," + HEAD, ["0,", "0.04,", "0.02,"])
    with pytest.raises(InputError, match=r"time runs backwards after frame 1 \(0.04 s, then 0.02 s\)"):
        import_recordings(tmp_path / "in", tmp_path / "store", progress=False)


def test_a_clock_that_jumps_allocates_nothing(tmp_path: Path):
    table(tmp_path / "in" / "a.csv", motion(4), "time," + HEAD, ["0,", "0.04,", "0.08,", "1e15,"])
    with pytest.raises(InputError, match="cut the recording"):
        import_recordings(tmp_path / "in", tmp_path / "store", progress=False)


# JSON lines, arrays, many files


def test_json_lines(tmp_path: Path):
    frames = motion(4)
    lines = [
        {"time": 10 + k / 25, "joints": dict(zip(JOINTS, frame.tolist(), strict=True)), "label": "wave"}
        for k, frame in enumerate(frames)
    ]
    lines[2]["joints"]["Head"] = None  # pyright: ignore[reportArgumentType, reportIndexIssue]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    store = import_recordings(tmp_path / "in", tmp_path / "store", progress=False).store
    assert store.fps == 25 and store.class_names == ("wave",) and store.labels is not None and not store.labels.any()
    head = JOINTS.index("Head")
    assert np.isnan(store.clip_frames(0)[2, head]).all()
    rest = np.delete(np.arange(len(JOINTS)), head)
    np.testing.assert_allclose(store.clip_frames(0)[:, rest], frames[:, rest], atol=1e-5)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: no JSON"),
        ("[1]", "line 2: found list"),
        ('{"pose": []}', "line 2: found no list or object called joints"),
        ('{"joints": [[1, 2]]}', "line 2: found 1 joints, the first line has 2"),
        ('{"joints": [[1, 2, 3], [1, 2, "x"]]}', "line 2: joint 1: found 'x'"),
        ('{"joints": [[1, 2, 3], [1, 2, 1e99]]}', "line 2: joint 1: found '1e[+]99'"),
        ('{"joints": [[1, 2, 3], 7]}', "line 2: joint 1: found '7'"),
        ('{"joints": {"a": [1, 2, 3], "b": null}}', "other joints"),
        ('{"joints": [[1, 2, 3], null], "time": "now"}', "time: found 'now'"),
        ('{"joints": [[1, 2, 3], null], "time": 3}', "1 of 2 frames have no time"),
    ],
)
def test_bad_json_lines(line: str, message: str, tmp_path: Path):
    from symgnn.data.readers.json_lines import read_json_lines

    path = tmp_path / "a.jsonl"
    path.write_text('{"joints": [[1, 2, 3], [4, 5, 6]]}\n' + line)
    with pytest.raises(InputError, match=message):
        read_json_lines(path, None)


def test_arrays(tmp_path: Path):
    (tmp_path / "in").mkdir()
    frames = motion(6)
    np.save(tmp_path / "in" / "a.npy", frames)
    np.save(tmp_path / "in" / "b.npy", frames.reshape(6, -1))
    np.savez(tmp_path / "in" / "c.npz", frames=frames, labels=np.array([0, 0, 0, 1, 1, 1]), fps=np.array(50.0))
    np.savez(tmp_path / "in" / "d.npz", one=frames[:2], two=frames[2:])
    options = ImportOptions(layout="kinect20", fps=50.0)
    done = import_recordings(tmp_path / "in", tmp_path / "store", options=options, progress=False)
    assert not done.bad
    names = [clip.recording for clip in done.store.clips]
    assert names == ["a", "b", "c", "d:one", "d:two"]
    for index, part in enumerate((frames, frames, frames, frames[:2], frames[2:])):
        np.testing.assert_array_equal(done.store.clip_frames(index), part.astype(np.float32))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04rubbish",
        b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 20, 3), }\n",
    ],
)
def test_damaged_arrays(content: bytes, tmp_path: Path):
    from symgnn.data.readers.arrays import read_arrays

    path = tmp_path / "a.npy"
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as arrays"):
        read_arrays(path, load_layout("kinect20"))


def test_pickles_in_arrays_are_refused(tmp_path: Path):
    from symgnn.data.readers.arrays import read_arrays

    path = tmp_path / "a.npy"
    np.save(path, np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="cannot be read as arrays"):
        read_arrays(path, load_layout("kinect20"))


def test_many_files_are_read_by_several_processes(tmp_path: Path):
    """In the order of their names, whoever was first; the bad one is listed."""
    for number in range(70):
        table(tmp_path / "in" / f"r{number}.csv", motion(2, seed=number))
    (tmp_path / "in" / "r33.csv").write_text("rubbish")
    done = import_recordings(tmp_path / "in", tmp_path / "store", options=ImportOptions(fps=30.0), progress=False)
    assert [clip.recording for clip in done.store.clips] == [f"r{number}" for number in range(70) if number != 33]
    assert [file for file, _ in done.bad] == ["r33.csv"]
    np.testing.assert_array_equal(done.store.clip_frames(-1), motion(2, seed=69).astype(np.float32))


def test_what_is_not_there_is_said_before_files_are_read(tmp_path: Path):
    (tmp_path / "S001C001P001R001A001.skeleton").write_text("no clip at all")
    with pytest.raises(InputError, match=r"^gone: no such file or folder$"):
        import_recordings("gone", tmp_path / "store", "ntu")
    with pytest.raises(InputError, match="no protocol 'ntu61-xsub'"):
        import_recordings(tmp_path, tmp_path / "store", "ntu", ImportOptions(split_as="ntu61-xsub"))
