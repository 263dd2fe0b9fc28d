"""Skeleton files of NTU RGB+D: what is in them, who stays after the clean-up, and every way a file may be wrong."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ntu_files import FIRST_ID, FURNITURE, STANDING, Body, moving, skeleton_text, write_clip, write_folder
from symgnn.data.readers import ntu
from symgnn.data.readers.ntu import ACTIONS, PROTOCOLS, NtuName, parse_name, read_ntu_skeleton, split_of
from symgnn.data.recording import Recording
from symgnn.errors import InputError
from symgnn.skeleton import load_layout

NAME = "S001C002P003R002A013"


def naive(text: str) -> tuple[int, dict[str, dict[int, np.ndarray]]]:
    """Line by line, as the data set's own code reads: number of frames, then poses by body and frame."""
    lines = iter(text.splitlines())
    frames = int(next(lines))
    bodies: dict[str, dict[int, np.ndarray]] = {}
    for frame in range(frames):
        for _ in range(int(next(lines))):
            body = next(lines).split()[0]
            joints = [[float(value) for value in next(lines).split()] for _ in range(int(next(lines)))]
            bodies.setdefault(body, {})[frame] = np.array(joints)[:, :3]
    return frames, bodies


def put(folder: Path, text: str | bytes, name: str = NAME) -> Path:
    path = folder / f"{name}.skeleton"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def as_written(poses: np.ndarray) -> np.ndarray:
    """Positions with the seven digits of a file."""
    return np.array([float(f"{value:.7g}") for value in poses.ravel()]).reshape(poses.shape).astype(np.float32)


def whole(body: Body, frames: int) -> np.ndarray:
    """A body's poses on the file's frames."""
    found = np.full((frames, 25, 3), np.nan, np.float32)
    found[body.frames] = as_written(body.poses)
    return found


def read(folder: Path, bodies: list[Body], frames: int) -> list[np.ndarray]:
    return [recording.frames for recording in read_ntu_skeleton(write_clip(folder, NAME, bodies, frames))]


# One file


def test_one_person(tmp_path: Path):
    body = Body(moving(40, 0))
    (recording,) = read_ntu_skeleton(write_clip(tmp_path, NAME, [body], 40))
    np.testing.assert_array_equal(recording.frames, as_written(body.poses))
    assert recording.joints == load_layout("ntu25").joints and recording.joints[8] == "ShoulderRight"
    assert (recording.unit, recording.fps, recording.space, recording.person) == ("m", 30.0, "xyz", 0)
    assert (recording.label, recording.subject, recording.camera, recording.setup) == ("A013", "3", "2", "1")
    assert recording.split == "" and recording.name == ""


def test_published_lines(tmp_path: Path):
    """Two joints as the data set has them, the others at 0: not found."""
    joints = [
        "0.2410551 -0.171228 4.294691 283.0309 224.2974 1027.245 581.2726 -0.2574076 0.123495 0.9539005 -0.09254229 2",
        "-3.051758E-05 0.1012649 4.225985 288.0122 200.99 1041.686 513.5756 -0.2665294 0.1243754 0.9513921 -0.09135558 1",
        *["0 0 0 0 0 0 0 0 0 0 0 0"] * 23,
    ]
    text = "\n".join(["1", "1", "72057594037932358 0 0 0 0 0 0 0.33916 -0.5899565 2", "25", *joints]) + "\n"
    (recording,) = read_ntu_skeleton(put(tmp_path, text))
    expected = np.array([[0.2410551, -0.171228, 4.294691], [-3.051758e-05, 0.1012649, 4.225985]], np.float32)
    np.testing.assert_array_equal(recording.frames[0, :2], expected)
    assert np.isnan(recording.frames[0, 2:]).all()


def test_against_line_by_line_reading(tmp_path: Path):
    """Several people who come and go, read by the naive parser."""
    bodies = [Body(moving(30, 1, 0.3), 5), Body(moving(25, 2, 0.1), 20, FIRST_ID + 1, absent=(25, 26, 27))]
    path = write_clip(tmp_path, NAME, bodies, 60)
    frames, found = naive(path.read_text())
    assert frames == 60 and {body: min(poses) for body, poses in found.items()} == {str(FIRST_ID): 5, str(FIRST_ID + 1): 20}
    first, second = (recording.frames for recording in read_ntu_skeleton(path))
    for motion, body in ((first, str(FIRST_ID)), (second, str(FIRST_ID + 1))):
        expected = np.full((60, 25, 3), np.nan, np.float32)
        for frame, pose in found[body].items():
            expected[frame] = pose
        # From the first frame with somebody to the last.
        np.testing.assert_array_equal(motion, expected[5:48])
    assert np.isnan(second[:15]).all() and np.isnan(second[20:23]).all() and not np.isnan(second[23:]).any()


def test_neighbouring_ids_are_two_bodies(tmp_path: Path):
    """As float64 they would be one."""
    assert float(FIRST_ID) == float(FIRST_ID + 1)
    bodies = [Body(moving(20, 1, 0.2)), Body(moving(20, 2, 0.1), number=FIRST_ID + 1)]
    first, second = read(tmp_path, bodies, 20)
    np.testing.assert_array_equal(first, as_written(bodies[0].poses))
    np.testing.assert_array_equal(second, as_written(bodies[1].poses))


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace(" ", "\t"),
        lambda text: text.replace(" ", "   "),
        lambda text: text.replace("\n", " \n"),
        lambda text: "\ufeff" + text,
        lambda text: text.rstrip("\n"),
        lambda text: text + "\n\n",
    ],
    ids=["crlf", "tabs", "columns", "trailing", "mark", "no end", "blank lines"],
)
def test_blanks_and_line_ends(tmp_path: Path, change):
    bodies = [Body(moving(15, 0, 0.2)), Body(moving(13, 1), 1, FIRST_ID + 1)]
    plain = read(tmp_path, bodies, 15)
    changed = read_ntu_skeleton(put(tmp_path, change(skeleton_text(bodies, 15))))
    assert len(plain) == len(changed) == 2
    for one, other in zip(plain, changed, strict=True):
        np.testing.assert_array_equal(one, other.frames)


def test_joints_not_found(tmp_path: Path):
    """NaN (the data set has some) and the camera's own place."""
    text = skeleton_text([Body(moving(3, 0))], 3)
    lines = text.splitlines()
    lines[4 + 7] = "NaN NaN NaN 1 1 1 1 0 0 0 0 0"
    lines[4 + 28 + 9] = "0 0 0 1 1 1 1 0 0 0 0 0"
    lines[4 + 56 + 0] = "0 0 3.5 -inf NaN inf 1 0 0 0 0 0"  # in the middle of the image, and seen
    (recording,) = read_ntu_skeleton(put(tmp_path, "\n".join(lines)))
    missing = np.isnan(recording.frames)
    assert missing[0, 7].all() and missing[1, 9].all() and missing.sum() == 6
    np.testing.assert_array_equal(recording.frames[2, 0], [0, 0, 3.5])


def test_nobody(tmp_path: Path):
    """A few hundred files of the data set are so: an empty list, no error."""
    assert read(tmp_path, [], 3) == []
    assert read_ntu_skeleton(put(tmp_path, "0\n")) == []
    # A body of which no joint was found is nobody.
    lines = skeleton_text([Body(moving(1, 0))], 1).splitlines()
    assert read_ntu_skeleton(put(tmp_path, "\n".join(lines[:4] + [" ".join("0" * 12)] * 25))) == []


def test_empty_frames_inside_stay(tmp_path: Path):
    body = Body(moving(20, 0), 4, absent=tuple(range(10, 16)))
    (motion,) = read(tmp_path, [body], 40)
    np.testing.assert_array_equal(motion, whole(body, 40)[4:30])
    assert np.isnan(motion[6:12]).all()


def test_name_of_another_file(tmp_path: Path):
    (recording,) = read_ntu_skeleton(write_clip(tmp_path, "my recording", [Body(moving(3, 0))], 3))
    assert recording.label is None and (recording.subject, recording.camera, recording.setup) == ("", "", "")


def test_goes_through_a_process_pool(tmp_path: Path):
    found = read_ntu_skeleton(write_clip(tmp_path, NAME, [Body(moving(5, 0))], 5))
    (back,) = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(back.frames, found[0].frames)
    assert replace(back, frames=found[0].frames).__dict__ == found[0].__dict__
    # Nothing but the frames: not the text, no memory of dropped bodies.
    assert len(pickle.dumps(found)) < 5 * 25 * 3 * 4 + 3000 and found[0].frames.base is None


def test_made_up_folder_keeps_its_people(tmp_path: Path):
    """What other tests train on: two persons in every file of two."""
    names = [f"S001C001P001R00{r}A{action:03}" for r in (1, 2) for action in (1, 13, 49, 50, 55, 60, 61, 105, 106, 120)]
    for path in write_folder(tmp_path, names):
        action = parse_name(path.name).action
        assert len(read_ntu_skeleton(path)) == (2 if 50 <= action <= 60 or action >= 106 else 1)


# The clean-up


def motion_of(poses: np.ndarray) -> float:
    return sum(float(np.var(poses[:, joint, axis])) for joint in range(25) for axis in range(3))


def test_more_active_first(tmp_path: Path):
    calm, lively = Body(moving(30, 0, 0.05)), Body(moving(30, 1, 0.2), number=FIRST_ID + 1)
    assert motion_of(calm.poses) < motion_of(lively.poses)
    for bodies in ([calm, lively], [lively, calm]):
        first, second = read(tmp_path, bodies, 30)
        np.testing.assert_array_equal(first, as_written(lively.poses))
        np.testing.assert_array_equal(second, as_written(calm.poses))


def test_size_is_no_motion(tmp_path: Path):
    """Somebody tall who stands still is not active."""
    tall, child = Body(moving(30, 0, 0.01, 1.3 * STANDING)), Body(moving(30, 1, 0.1, 0.6 * STANDING), number=FIRST_ID + 1)
    assert np.var(tall.poses, axis=(0, 1)).sum() > np.var(child.poses, axis=(0, 1)).sum()
    first, _ = read(tmp_path, [tall, child], 30)
    np.testing.assert_array_equal(first, as_written(child.poses))


def test_third_person_is_left_out(tmp_path: Path):
    bodies = [Body(moving(30, n, amount), number=FIRST_ID + n) for n, amount in enumerate((0.1, 0.02, 0.2))]
    first, second = read(tmp_path, bodies, 30)
    np.testing.assert_array_equal(first, as_written(bodies[2].poses))
    np.testing.assert_array_equal(second, as_written(bodies[0].poses))


@pytest.mark.parametrize(("length", "persons"), [(11, 1), (12, 2)])
def test_short_bodies_are_noise(tmp_path: Path, length: int, persons: int):
    bodies = [Body(moving(30, 0)), Body(moving(length, 1), 3, FIRST_ID + 1)]
    found = read(tmp_path, bodies, 30)
    assert sorted(int((~np.isnan(motion[:, 0, 0])).sum()) for motion in found) == ([30] if persons == 1 else [12, 30])


def test_only_body_may_be_short_and_wide(tmp_path: Path):
    body = Body(moving(4, 0, shape=FURNITURE))
    (motion,) = read(tmp_path, [body], 4)
    np.testing.assert_array_equal(motion, as_written(body.poses))


def test_longest_of_short_bodies_stays(tmp_path: Path):
    bodies = [Body(moving(n, n), number=FIRST_ID + n) for n in (5, 9, 7)]
    (motion,) = read(tmp_path, bodies, 10)
    np.testing.assert_array_equal(motion, as_written(bodies[1].poses))


def test_furniture_is_noise(tmp_path: Path):
    """However much it jumps about, and even where it lasts longer."""
    person = Body(moving(20, 0, 0.02), 5)
    table = Body(moving(40, 1, 0.1, 2 * FURNITURE), number=FIRST_ID + 1)
    for bodies in ([person, table], [table, person]):
        (motion,) = read(tmp_path, bodies, 40)
        np.testing.assert_array_equal(motion, as_written(person.poses))


@pytest.mark.parametrize(("wide", "persons"), [(27, 2), (28, 1)])
def test_share_of_wide_frames(tmp_path: Path, wide: int, persons: int):
    """27 of 40 are 0.675, 28 are 0.7; the limit is between."""
    doubtful = moving(40, 1, 0.0)
    doubtful[:wide] = moving(wide, 2, 0.0, FURNITURE)
    found = read(tmp_path, [Body(moving(40, 0, 0.1)), Body(doubtful, number=FIRST_ID + 1)], 40)
    assert len(found) == persons


@pytest.mark.parametrize(("width", "persons"), [(0.79, 2), (0.81, 1)])
def test_how_wide_is_wide(tmp_path: Path, width: float, persons: int):
    shape = STANDING * [width * np.ptp(STANDING[:, 1]) / np.ptp(STANDING[:, 0]), 1, 1]
    doubtful = np.repeat(shape[None] + [0, 0, 3], 20, axis=0)
    found = read(tmp_path, [Body(moving(20, 0)), Body(doubtful, number=FIRST_ID + 1)], 20)
    assert len(found) == persons


def test_wide_frames_do_not_count_as_motion(tmp_path: Path):
    """Somebody still who is mistaken for a table now and then does not outdo somebody who moves."""
    still = moving(40, 1, 0.01)
    still[::4] = moving(10, 2, 0.0, FURNITURE)
    lively = moving(40, 0, 0.05)
    upright = np.arange(40) % 4 != 0
    assert motion_of(still) > motion_of(lively) > motion_of(still[upright])
    first, second = read(tmp_path, [Body(still), Body(lively, number=FIRST_ID + 1)], 40)
    np.testing.assert_array_equal(first, as_written(lively))
    np.testing.assert_array_equal(second, as_written(still))


def test_last_of_several_tables_stays(tmp_path: Path):
    tables = [Body(moving(20, n, shape=FURNITURE), number=FIRST_ID + n) for n in range(3)]
    (motion,) = read(tmp_path, tables, 20)
    np.testing.assert_array_equal(motion, as_written(tables[2].poses))


def test_a_person_found_again_under_another_id(tmp_path: Path):
    """Three ids one after the other are one person."""
    bodies = [Body(moving(20, n, 0.1 + n / 20), 20 * n + 2, FIRST_ID + n) for n in range(3)]
    (motion,) = read(tmp_path, bodies, 70)
    np.testing.assert_array_equal(motion, np.concatenate([as_written(body.poses) for body in bodies]))


def test_one_shared_frame_is_no_overlap(tmp_path: Path):
    """The piece that comes in later has it; two shared frames make two persons."""
    lively, calm = Body(moving(20, 0, 0.2)), Body(moving(20, 1, 0.05), 19, FIRST_ID + 1)
    (motion,) = read(tmp_path, [lively, calm], 39)
    np.testing.assert_array_equal(motion[:19], as_written(lively.poses[:19]))
    np.testing.assert_array_equal(motion[19:], as_written(calm.poses))
    assert len(read(tmp_path, [lively, replace(calm, first=18)], 39)) == 2


def test_pieces_of_two_persons(tmp_path: Path):
    """Both lose their ids halfway, at different times."""
    a = [Body(moving(30, 0, 0.3)), Body(moving(30, 1, 0.1), 30, FIRST_ID + 1)]
    b = [Body(moving(20, 2, 0.2), 0, FIRST_ID + 2), Body(moving(35, 3, 0.15), 22, FIRST_ID + 3)]
    by_motion = sorted((*a, *b), key=lambda body: -motion_of(body.poses))
    assert [body.number - FIRST_ID for body in by_motion] == [0, 2, 3, 1]
    first, second = read(tmp_path, [*a, *b], 60)
    expected = np.concatenate([as_written(body.poses) for body in a])
    np.testing.assert_array_equal(first, expected)
    np.testing.assert_array_equal(second[:20], as_written(b[0].poses))
    np.testing.assert_array_equal(second[22:57], as_written(b[1].poses))
    assert np.isnan(second[20:22]).all() and np.isnan(second[57:]).all()


def test_a_piece_counts_as_overlapping_what_was_joined(tmp_path: Path):
    """The third id overlaps the second, which is the first person by then."""
    spans = [(0, 20), (20, 20), (30, 20)]
    bodies = [Body(moving(length, n, 0.3 - n / 10), first, FIRST_ID + n) for n, (first, length) in enumerate(spans)]
    first, second = read(tmp_path, bodies, 50)
    np.testing.assert_array_equal(first[:40], np.concatenate([as_written(body.poses) for body in bodies[:2]]))
    np.testing.assert_array_equal(second[30:], as_written(bodies[2].poses))
    assert np.isnan(first[40:]).all() and np.isnan(second[:30]).all()


# Names and splits


def test_name():
    assert parse_name("S032C003P106R002A120.skeleton") == NtuName(setup=32, camera=3, subject=106, replication=2, action=120)
    assert parse_name(NAME).label == "A013" and parse_name(NAME).in_ntu60
    assert not parse_name("S018C001P001R001A001").in_ntu60 and not parse_name("S001C001P001R001A061").in_ntu60


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "found no name of NTU RGB"),
        ("S001C001P001R001A01", "found no name of NTU RGB"),
        ("S001C001P001R001A001.txt", "found no name"),
        ("S001C001P001R001A00\u0661", "found no name"),
        ("S001C001P001R001A121", "found action 121, expected 1 to 120"),
        ("S033C001P001R001A001", "found setup 33, expected 1 to 32"),
        ("S001C004P001R001A001", "found camera 4"),
        ("S001C001P000R001A001", "found subject 0"),
        ("S001C001P001R003A001", "found replication 3"),
    ],
)
def test_bad_names(name: str, message: str, tmp_path: Path):
    with pytest.raises(InputError, match=message):
        parse_name(name)
    if message.startswith("found no name"):
        return
    with pytest.raises(InputError, match=message):
        read_ntu_skeleton(write_clip(tmp_path, name, [Body(moving(2, 0))], 2))


def test_actions():
    """Some of the published list, by number."""
    assert len(ACTIONS) == len(set(ACTIONS)) == 120
    known = {1: "drink water", 10: "clap", 23: "hand waving", 27: "jump up", 38: "salute", 43: "fall down", 55: "hug"}
    known |= {
        58: "shake hands",
        60: "walk apart",
        61: "put on headphone",
        69: "thumb up",
        80: "squat down",
        84: "play magic cube",
    }
    known |= {96: "cross arms", 103: "yawn", 105: "blow nose", 112: "high five", 113: "cheers and drink", 116: "follow someone"}
    known |= {120: "rock paper scissors", 33: "check time on watch", 50: "punch or slap someone", 72: "make victory sign"}
    assert {number: ACTIONS[number - 1] for number in known} == known


def split(protocol: str, **numbers: int) -> str:
    return split_of(NtuName(**({"setup": 1, "camera": 1, "subject": 1, "replication": 1, "action": 1} | numbers)), protocol)


def test_splits():
    """Counts and members as published."""
    assert PROTOCOLS == ("ntu60-xsub", "ntu60-xview", "ntu120-xsub", "ntu120-xset")
    sixty = [subject for subject in range(1, 41) if split("ntu60-xsub", subject=subject) == "train"]
    assert sixty == [1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38]
    more = [subject for subject in range(1, 107) if split("ntu120-xsub", subject=subject) == "train"]
    assert len(more) == 53 and more[:20] == sixty and more[20:24] == [45, 46, 47, 49] and more[-3:] == [98, 100, 103]
    assert [split("ntu60-xview", camera=camera) for camera in (1, 2, 3)] == ["test", "train", "train"]
    assert [split("ntu120-xset", setup=setup) for setup in (1, 2, 31, 32)] == ["test", "train", "test", "train"]


def test_splits_of_clips_that_are_not_there():
    with pytest.raises(InputError, match=r"ntu60-xsub: found setup 18 and action 1, expected at most 17 and 60"):
        split("ntu60-xsub", setup=18)
    with pytest.raises(InputError, match="found setup 1 and action 61"):
        split("ntu60-xview", action=61)
    with pytest.raises(InputError, match=r"no protocol 'xsub'.*ntu60-xsub, ntu60-xview, ntu120-xsub, ntu120-xset"):
        split("xsub")


# Bad files


def lines_of(frames: int = 3) -> list[str]:
    return skeleton_text([Body(moving(frames, 0)), Body(moving(frames, 1), number=FIRST_ID + 1)], frames).splitlines()


def changed(line: int, text: str) -> str:
    lines = lines_of()
    lines[line - 1] = text
    return "\n".join(lines)


def without(line: int, count: int = 1) -> str:
    lines = lines_of()
    del lines[line - 1 : line - 1 + count]
    return "\n".join(lines)


def cell(line: int, column: int, text: str) -> str:
    lines = lines_of()
    cells = lines[line - 1].split(" ")
    cells[column - 1] = text
    lines[line - 1] = " ".join(cells)
    return "\n".join(lines)


# A frame has 1 + 2 x 27 = 55 lines; the first body is in lines 3 to 29.
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty; expected the number of frames"),
        (" \r\n ", "empty"),
        (changed(1, "1000000000"), "line 1: found '1000000000', expected the number of frames, 0 to 65,536"),
        (changed(1, "9" * 5000), "line 1: found '9999999999"),
        (changed(1, "-3"), "line 1: found '-3'"),
        (changed(1, "3.0"), "line 1: found '3.0'"),
        (changed(1, "three"), "line 1: found 'three'"),
        (changed(1, "4"), "line 166: found the end of the file after 3 of 4 frames"),
        (changed(1, "65536"), "line 166: found the end of the file after 3 of 65536 frames"),
        (changed(1, "2"), "line 112: found '2', expected the end of the file after 2 frames"),
        (changed(2, "1000000000"), "line 2: found '1000000000', expected the number of bodies of frame 1, 0 to 6"),
        (changed(2, "1"), f"line 30: found '{FIRST_ID + 1} "),
        (changed(112, "3"), "line 166: found the end of the file in frame 3 of 3, body 3 of 3"),
        (changed(4, "20"), "line 4: found '20', expected the number of joints, 25"),
        (changed(4, "1000000000"), "line 4: found '1000000000', expected the number of joints, 25"),
        (changed(4, ""), "line 4: found ''"),
        (without(7), "line 29: found 10 values, expected the 12 values of joint 24"),
        (without(3), "line 3: found 1 values, expected the 10 values of a body"),
        (without(4), "line 4: found '"),
        (without(2), "line 2: found '"),
        (without(166), "line 165: found the end of the file in frame 3 of 3, body 2 of 2"),
        (without(140, 27), "line 139: found the end of the file in frame 3 of 3, body 2 of 2"),
        (without(113, 54), "line 112: found the end of the file in frame 3 of 3, body 1 of 2"),
        ("\n".join(lines_of())[:-40], "line 166: found"),
        (cell(8, 4, ""), "line 8: found 11 values, expected the 12 values of joint 3"),
        (cell(8, 12, "2 2"), "line 8: found 13 values"),
        (cell(8, 2, "word"), "line 8: found 'word', expected y in metres"),
        (cell(8, 1, "0x1F"), "line 8: found '0x1F', expected x"),
        (cell(8, 3, "1_0"), "line 8: found '1_0', expected z"),
        (cell(8, 3, "1,5"), "line 8: found '1,5', expected z"),
        (cell(60, 3, "inf"), "line 60: found 'inf', expected z"),
        (cell(60, 1, "-1e39"), "line 60: found '-1e39', expected x"),
        (cell(60, 1, "1e999"), "line 60: found '1e999', expected x"),
        (cell(8, 2, "\u0661"), "line 8: found '\u0661', expected numbers"),
        (cell(8, 2, "\x01"), "line 8: found"),
        (cell(3, 1, "body"), "line 3: found 'body', expected the number of a body"),
        (cell(30, 1, str(FIRST_ID)), f"line 30: found body {FIRST_ID} again in frame 1, expected each body once a frame"),
        (cell(3, 10, "2 2"), "line 3: found 11 values, expected the 10 values of a body"),
        ("\n".join(lines_of()) + "\n1\n", "line 167: found '1', expected the end of the file after 3 frames"),
        (b"\x00" * 100, "line 1: found a zero byte"),
        ("3\n1\n".encode("utf-16-le"), "line 1: found a zero byte"),
        ("3\n1\ncaf\xe9".encode("latin-1"), "line 3: found the byte 0xe9"),
    ],
)
def test_bad_files(text: str | bytes, message: str, tmp_path: Path):
    path = put(tmp_path, text)
    with pytest.raises(InputError) as caught:
        read_ntu_skeleton(path)
    assert message in str(caught.value) and str(caught.value).startswith(str(path))


def test_files_that_cannot_be_read(tmp_path: Path):
    with pytest.raises(InputError, match="cannot be read"):
        read_ntu_skeleton(tmp_path / f"{NAME}.skeleton")
    (tmp_path / "folder.skeleton").mkdir()
    with pytest.raises(InputError, match="cannot be read"):
        read_ntu_skeleton(tmp_path / "folder.skeleton")


def test_files_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ntu, "MOST_BYTES", 1000)
    with pytest.raises(InputError, match="bytes; expected a clip of at most 1,000: cut it"):
        read_ntu_skeleton(put(tmp_path, "\n".join(lines_of())))


def sound(found: list[Recording]) -> None:
    assert len(found) <= 2
    for recording in found:
        assert recording.frames.shape[1:] == (25, 3) and len(recording.frames) <= 65536
        missing = np.isnan(recording.frames)
        assert (missing.any(axis=2) == missing.all(axis=2)).all() and not np.isinf(recording.frames).any()


SMALL = skeleton_text([Body(moving(2, 0)), Body(moving(1, 1), number=FIRST_ID + 1)], 2).encode()
FUZZ = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def tried(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        found = read_ntu_skeleton(path)
    except InputError as error:
        place = str(error)
    else:
        sound(found)
        place = str(path)
    assert place.startswith(str(path))


@FUZZ
@given(length=st.integers(0, len(SMALL)))
def test_fuzz_truncated(length: int, tmp_path: Path):
    path = put(tmp_path, SMALL[:length])
    if length < len(SMALL) - 1:
        with pytest.raises(InputError):
            read_ntu_skeleton(path)
    else:
        sound(read_ntu_skeleton(path))


@FUZZ
@given(flips=st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 7)), min_size=1, max_size=20))
def test_fuzz_flipped(flips: list[tuple[int, int]], tmp_path: Path):
    content = bytearray(SMALL)
    for place, bit in flips:
        content[place] ^= 1 << bit
    tried(tmp_path / f"{NAME}.skeleton", bytes(content))


@FUZZ
@given(data=st.data())
def test_fuzz_lines(data: st.DataObject, tmp_path: Path):
    """Lines left out, doubled, replaced by huge counts or anything."""
    lines = SMALL.decode().splitlines()
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(lines) - 1))
        other = data.draw(
            st.one_of(
                st.just([]),
                st.just([lines[place]] * 2),
                st.integers(-10, 10**12).map(lambda number: [str(number)]),
                st.text(max_size=30).map(lambda text: [text]),
                st.sampled_from(["nan " * 12, "1e38 " * 12, "0 " * 12, "inf " * 12]).map(lambda text: [text]),
            )
        )
        lines[place : place + 1] = other
        lines = lines or [""]
    tried(tmp_path / f"{NAME}.skeleton", "\n".join(lines).encode(errors="surrogatepass"))


@FUZZ
@given(content=st.binary(max_size=300), encoding=st.sampled_from(["", "utf-16", "utf-16-le", "utf-32", "cp037"]))
def test_fuzz_encodings_and_noise(content: bytes, encoding: str, tmp_path: Path):
    tried(tmp_path / f"{NAME}.skeleton", SMALL.decode().encode(encoding) + content if encoding else content)


def test_largest_numbers(tmp_path: Path):
    """Of two bodies, so that their variance and spread are taken."""
    poses = np.sign(moving(13, 0)) * 3.4e38 * np.where(np.arange(13) % 2, 1, -1)[:, None, None]
    poses[..., 0] = 0.1  # not wide
    lines = skeleton_text([Body(moving(13, 0)), Body(moving(13, 1), number=FIRST_ID + 1)], 13).splitlines()
    for frame, pose in enumerate(poses):
        for joint, position in enumerate(pose):
            line = 1 + 55 * frame + 3 + joint
            lines[line] = " ".join([*map(str, position), *lines[line].split()[3:]])
    found = read_ntu_skeleton(put(tmp_path, "\n".join(lines)))
    sound(found)
    np.testing.assert_array_equal(found[0].frames, poses.astype(np.float32))
