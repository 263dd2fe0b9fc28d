"""What ``data check`` notices, each fault put into sound data by itself; and the sides that ``data split`` makes."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from symgnn.cli import main
from symgnn.data import Clip, ClipRecord, Store, make_motion, write_store
from symgnn.data.checking import check_store
from symgnn.data.splitting import split_store
from symgnn.errors import InputError
from symgnn.skeleton import load_layout

SIDES = [("train", "A"), ("train", "A"), ("train", "B"), ("train", "B"), ("test", "C"), ("test", "C")]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    """Six clips of made-up people in metres, y up."""
    store = make_motion(tmp_path_factory.mktemp("motion") / "store", clips_per_class=16)
    chosen = [store.select(label=index % 2)[index] for index in range(6)]
    return [
        Clip(
            ClipRecord(recording=f"r{index}", label=index % 2, split=split, subject=subject), np.array(store.clip_frames(clip))
        )
        for index, (clip, (split, subject)) in enumerate(zip(chosen, SIDES, strict=True))
    ]


def stored(path: Path, clips: list[Clip], **changes) -> Store:
    settings = {
        "layout": load_layout("cmu"),
        "space": "xyz",
        "fps": 25.0,
        "class_names": ("one", "two"),
        "unit": "m",
        **changes,
    }
    return write_store(path, clips, **settings)


def noticed(path: Path, clips: list[Clip], level: str = "", **changes) -> list[str]:
    found = check_store(stored(path, clips, **changes)).findings
    return [f"{each.what} {' '.join(each.clips)}" for each in found if each.level == level or not level]


def with_frames(clips: list[Clip], index: int, frames: np.ndarray) -> list[Clip]:
    return [clip._replace(frames=frames) if place == index else clip for place, clip in enumerate(clips)]


def test_sound_data(sound: list[Clip], tmp_path: Path):
    """Nothing but that each class has few clips."""
    assert noticed(tmp_path / "s", sound, "error") == []
    assert all("clips to train on" in warning for warning in noticed(tmp_path / "t", sound, "warning"))
    assert check_store(Store.open(tmp_path / "s")).classes == {"one": {"train": 2, "test": 1}, "two": {"train": 2, "test": 1}}


CHANGES = {
    "exactly": lambda frames: frames,
    "rounded": lambda frames: np.round(frames, 3),
    "moved and scaled": lambda frames: 0.5 * frames + np.array([3.0, -1.0, 2.0]),
    "reversed": lambda frames: frames[::-1],
}


@pytest.mark.parametrize("change", ["exactly", "rounded", "moved and scaled", "reversed"])
def test_the_same_sequence_in_training_and_test(change: str, sound: list[Clip], tmp_path: Path):
    copied = with_frames(sound, 5, np.ascontiguousarray(CHANGES[change](sound[1].frames)))
    (error,) = noticed(tmp_path / "s", copied, "error")
    assert "the same sequence in training and test (1 clips), first r5 and r1" in error
    twice = with_frames(sound, 3, np.ascontiguousarray(CHANGES[change](sound[1].frames)))
    assert any(
        "the same sequence twice (1 clips), first r3 and r1" in warning for warning in noticed(tmp_path / "t", twice, "warning")
    )


def test_an_excerpt_or_another_take_is_no_copy(sound: list[Clip], tmp_path: Path):
    other = sound[1].frames + np.random.default_rng(0).normal(size=sound[1].frames.shape) * 0.02
    assert noticed(tmp_path / "s", with_frames(sound, 5, other.astype(np.float32)), "error") == []


def test_no_motion_and_nobody(sound: list[Clip], tmp_path: Path):
    still = with_frames(sound, 2, np.repeat(sound[2].frames[:1], 30, axis=0))
    assert noticed(tmp_path / "s", still, "error") == ["clips in which nothing moves: the same pose in every frame r2"]
    nobody = with_frames(sound, 2, np.full_like(sound[2].frames, np.nan))
    assert noticed(tmp_path / "t", nobody, "error") == ["clips in which no joint is ever seen r2"]


def test_missing_joints(sound: list[Clip], tmp_path: Path):
    hand = load_layout("cmu").joints.index("LeftHand")
    clips = []
    for clip in sound:
        frames = clip.frames.copy()
        frames[: (3 * len(frames)) // 4, hand] = np.nan
        clips.append(clip._replace(frames=frames))
    assert any("joint LeftHand is missing in 7" in warning for warning in noticed(tmp_path / "s", clips, "warning"))
    for clip in clips:
        clip.frames[:, hand] = 0
    assert any("LeftHand at exactly 0 0 0 in 6 clips" in warning for warning in noticed(tmp_path / "t", clips, "warning"))


def test_a_joint_that_jumps(sound: list[Clip], tmp_path: Path):
    frames = sound[4].frames.copy()
    foot = load_layout("cmu").joints.index("RightFoot")
    frames[20:, foot] += 1.5
    warnings = noticed(tmp_path / "s", with_frames(sound, 4, frames), "warning")
    assert any("first RightFoot after frame 19 of r4 r4" in warning for warning in warnings)
    assert any("RightLeg - RightFoot of r4" in warning or "RightFoot - RightToeBase of r4" in warning for warning in warnings)


@pytest.mark.parametrize(("factor", "unit", "guess"), [(100.0, "m", "cm"), (1000.0, "m", "mm"), (1.0, "mm", "m")])
def test_units(factor: float, unit: str, guess: str, sound: list[Clip], tmp_path: Path):
    scaled = [clip._replace(frames=factor * clip.frames) for clip in sound]
    assert any(f"it looks like {guess}" in warning for warning in noticed(tmp_path / "s", scaled, "warning", unit=unit))


@pytest.mark.parametrize(
    ("signs", "message"), [((1, -1, 1), "upside down"), ((-1, 1, 1), "look mirrored"), ((1, 1, -1), "look mirrored")]
)
def test_bodies_the_wrong_way_round(signs: tuple[int, int, int], message: str, tmp_path: Path):
    """The rest pose of H3.6M, whose toes point ahead, left to the left; with one axis turned round it is another body."""
    layout = load_layout("h36m")
    rest = rest_pose()
    random = np.random.default_rng(0)
    clips = [
        Clip(ClipRecord(recording=f"r{k}"), (rest + random.normal(size=(20, 32, 3)) * 5) * np.array(signs)) for k in range(4)
    ]
    sound = [clip._replace(frames=clip.frames * np.array(signs)) for clip in clips]
    for name, motion, expected in (("s", clips, True), ("t", sound, False)):
        warnings = noticed(tmp_path / name, motion, "warning", layout=layout, unit="mm", class_names=())
        assert any(message in warning for warning in warnings) is expected


def rest_pose() -> np.ndarray:
    """Every joint at its parent's place plus its offset, by hand, but with the toes of the offsets' z as they are."""
    layout = load_layout("h36m")
    assert layout.offsets is not None
    places = np.zeros((32, 3))
    for joint, parent in enumerate(layout.parents):
        if parent >= 0:
            places[joint] = places[parent] + layout.offsets[joint]
    return places


def test_classes_and_sides(sound: list[Clip], tmp_path: Path):
    relabelled = [clip._replace(record=replace(clip.record, label=1 if clip.record.split == "test" else 0)) for clip in sound]
    assert any(
        "class two is tested (2) but never trained" in warning for warning in noticed(tmp_path / "s", relabelled, "warning")
    )
    alone = [clip._replace(record=replace(clip.record, split="test")) for clip in sound]
    assert any("no clip to train on" in error for error in noticed(tmp_path / "t", alone, "error"))
    shared = [clip._replace(record=replace(clip.record, subject="A")) for clip in sound]
    assert any("the same subjects train and test: A" in note for note in noticed(tmp_path / "u", shared, "note"))


def test_the_command(sound: list[Clip], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    stored(tmp_path / "good", sound)
    assert main(["data", "check", str(tmp_path / "good")]) == 0
    stored(tmp_path / "bad", with_frames(sound, 5, sound[1].frames))
    assert main(["data", "check", str(tmp_path / "bad"), "--json", str(tmp_path / "found.json")]) == 1
    assert "the same sequence in training and test" in capsys.readouterr().out
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["errors"] == 1 and found["findings"][0]["clips"] == ["r5"]


# Splitting


def test_a_folder_of_files(sound: list[Clip], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch):
    """What is said of the files is what is said of their store; bad ones are errors by their reason, and nothing is kept."""
    folder, room = tmp_path / "in", tmp_path / "room"
    room.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(room))
    for clip in sound:
        (folder / f"c{clip.record.label}").mkdir(parents=True, exist_ok=True)
        np.save(folder / f"c{clip.record.label}" / f"{clip.record.recording}.npy", clip.frames)
    np.save(folder / "c0" / "twin.npy", sound[0].frames)
    options = ["--layout", "cmu", "--fps", "25", "--label-from-folder"]
    store = str(tmp_path / "store")
    assert main(["data", "import", str(folder), store, *options]) == 0
    kept = sorted(tmp_path.rglob("*"))
    found = {}
    for name, words in (("files", [str(folder), *options]), ("store", [store])):
        assert main(["data", "check", *words, "--json", str(tmp_path / f"{name}.json")]) == 0
        found[name] = json.loads((tmp_path / f"{name}.json").read_text())
        (tmp_path / f"{name}.json").unlink()
    assert found["files"]["clips"] == found["store"]["clips"] == {"c0": {"(no split)": 4}, "c1": {"(no split)": 3}}
    assert found["files"]["findings"] == found["store"]["findings"]
    assert any("the same sequence twice" in each["what"] for each in found["files"]["findings"])
    assert sorted(tmp_path.rglob("*")) == kept, "no store, no report, nothing is left"

    (folder / "c1" / "cut.npy").write_bytes(b"\x93NUMPY")
    for name in ("a", "b"):
        np.save(folder / "c1" / f"{name}.npy", np.zeros((4, 20, 3)))
    capsys.readouterr()
    assert main(["data", "check", str(folder), *options]) == 1
    said = capsys.readouterr().out
    assert said.count("error:") == 2 and "error: cannot be used: cannot be read as arrays" in said and "[c1/cut.npy]" in said
    assert "found 20 joints, layout cmu has 38" in said and "[c1/a.npy, c1/b.npy]" in said and not list(room.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gone"], "gone: no such file or folder"),
        (["in", "--as", "cmu-bvh"], "symgnn data import first"),
        (["store", "--fps", "30"], "store is read as it is"),
        (["in", "--labels", "l.csv", "--label-from-folder"], "expected one of them at most"),
        (["in", "--layout", "coco17"], "none of 1 files can be used: a.npy: "),
    ],
)
def test_what_cannot_be_checked(
    words: list[str], message: str, sound: list[Clip], tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    stored(tmp_path / "store", sound)
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "a.npy", sound[0].frames)
    assert main(["data", "check", *words]) == 2
    assert message in capsys.readouterr().err


def sides(store: Store) -> dict[str, str]:
    return {clip.recording: clip.split for clip in store.clips}


def test_split_by_subject(sound: list[Clip], tmp_path: Path):
    store = split_store(stored(tmp_path / "s", sound), "subject", ["A"])
    assert sides(store) == {"r0": "test", "r1": "test", "r2": "train", "r3": "train", "r4": "train", "r5": "train"}
    store.verify()
    for index, clip in enumerate(sound):
        np.testing.assert_array_equal(store.clip_frames(index), clip.frames)


@pytest.mark.parametrize("seed", range(5))
def test_split_at_random_keeps_recordings_together(seed: int, tmp_path: Path):
    """Twenty files of two pieces each, two classes: a fifth of each class's files is test, whole."""
    frames = np.zeros((2, 38, 3))
    clips = [
        Clip(ClipRecord(recording=f"f{file}:{piece}", source=f"f{file}.csv", label=file % 2), frames + file)
        for file in range(20)
        for piece in range(2)
    ]
    store = split_store(stored(tmp_path / "s", clips), "random", ["0.2"], seed)
    by_file: dict[str, set[str]] = {}
    for clip in store.clips:
        by_file.setdefault(clip.source, set()).add(clip.split)
    assert all(len(found) == 1 for found in by_file.values())
    test = [int(name[1:-4]) for name, found in by_file.items() if found == {"test"}]
    assert sorted(file % 2 for file in test) == [0, 0, 1, 1]
    again = split_store(Store.open(tmp_path / "s"), "random", ["0.2"], seed)
    assert sides(again) == sides(store)


@pytest.mark.parametrize(
    ("by", "holdout", "message"),
    [
        ("subject", ["D"], r"--holdout D: no clip has that subject \(there are: A, B, C\)"),
        ("camera", ["1"], "6 clips have no camera"),
        ("subject", ["A", "B", "C"], "6 of 6 clips would be test"),
        ("random", ["2"], "between 0 and 1"),
        ("random", ["A"], "between 0 and 1"),
    ],
)
def test_splits_that_cannot_be(by, holdout: list[str], message: str, sound: list[Clip], tmp_path: Path):
    store = stored(tmp_path / "s", sound)
    with pytest.raises(InputError, match=message):
        split_store(store, by, holdout)
    assert sides(Store.open(tmp_path / "s")) == sides(store)
