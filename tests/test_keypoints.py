"""Detectors' JSON: OpenPose folders, COCO keypoints, AlphaPose, MediaPipe."""

import itertools
import json
import math
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from symgnn.data.readers.keypoint_json import read_keypoint_json
from symgnn.data.readers.openpose import read_openpose
from symgnn.data.readers.tracking import LONGEST_ABSENCE, MOST_PERSONS, Seen, assignment, tracks
from symgnn.data.recording import Recording
from symgnn.errors import InputError
from symgnn.skeleton import load_layout

NAN = float("nan")


def put(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def body(points: int, x: float, y: float = 300.0, size: float = 100.0) -> list[list[float]]:
    """A person at x, y: joints on a circle, all seen with a confidence of a quarter to one."""
    around = 2 * math.pi / points
    return [[x + size * math.cos(around * k), y + size * math.sin(around * k), 0.25 + 0.75 * k / points] for k in range(points)]


def flat(pose: list[list[float]]) -> list[float]:
    return [value for joint in pose for value in joint]


def openpose(folder: Path, frames: dict[str, list[dict]]) -> Path:
    for name, people in frames.items():
        put(folder / f"{name}_keypoints.json", {"version": 1.3, "people": people})
    return folder


def person(pose: list[list[float]], track: int = -1) -> dict:
    """As OpenPose 1.7 writes it."""
    return {
        "person_id": [track],
        "pose_keypoints_2d": flat(pose),
        "face_keypoints_2d": [],
        "hand_left_keypoints_2d": [],
        "hand_right_keypoints_2d": [],
        "pose_keypoints_3d": [],
        "face_keypoints_3d": [],
        "hand_left_keypoints_3d": [],
        "hand_right_keypoints_3d": [],
    }


def counted(recording: Recording) -> list[float]:
    assert recording.numbers is not None
    return recording.numbers.tolist()


# OpenPose


@pytest.mark.parametrize(("points", "layout"), [(25, "openpose25"), (18, "openpose18"), (17, "coco17")])
def test_openpose_frames_and_dropped_frames(tmp_path: Path, points: int, layout: str):
    folder = openpose(tmp_path, {f"walk_{number:012}": [person(body(points, 5.0 * number))] for number in (7, 8, 11, 12)})
    put(tmp_path / "notes.txt", "not read")
    (recording,) = read_openpose(folder)
    expected = np.array([body(points, 5.0 * number) for number in (7, 8, 11, 12)])
    np.testing.assert_array_equal(recording.frames, expected.astype(np.float32))
    assert counted(recording) == [7, 8, 11, 12]
    assert recording.joints == load_layout(layout).joints
    assert (recording.space, recording.unit, recording.name, recording.person) == ("xyc", "px", "", 0)


def test_openpose_confidence_of_nothing(tmp_path: Path):
    pose = body(18, 50.0)
    pose[3] = [0.0, 0.0, 0.0]
    pose[5] = [81.0, 2.0, 0.0]
    (recording,) = read_openpose(openpose(tmp_path, {"0": [person(pose)]}))
    missing = np.isnan(recording.frames[0])
    assert np.flatnonzero(missing.all(axis=1)).tolist() == [3, 5] and missing.sum() == 6


def test_openpose_frame_numbers_are_sorted_as_numbers(tmp_path: Path):
    folder = openpose(tmp_path, {f"clip{number}": [person(body(25, 3.0 * number))] for number in (8, 9, 10, 11)})
    (recording,) = read_openpose(folder)
    assert counted(recording) == [8, 9, 10, 11]
    np.testing.assert_allclose(recording.frames[:, 0, 0], [124, 127, 130, 133])


def test_openpose_several_videos(tmp_path: Path):
    names = {"a_001": 0.0, "a_002": 1.0, "b_001": 50.0, "still": 9.0}
    found = read_openpose(openpose(tmp_path, {name: [person(body(25, x))] for name, x in names.items()}))
    assert [(recording.name, len(recording.frames), float(recording.frames[0, 0, 0])) for recording in found] == [
        ("a", 2, 100.0),
        ("b", 1, 150.0),
        ("still", 1, 109.0),
    ]


def test_openpose_in_space(tmp_path: Path):
    pose = [[0.1 * k, 1.0 - k, 2.0 + k, 1.0] for k in range(25)]
    pose[4] = [0.0, 0.0, 0.0, 0.0]
    people = [{"pose_keypoints_2d": flat(body(25, 5.0)), "pose_keypoints_3d": flat(pose)}]
    (recording,) = read_openpose(openpose(tmp_path, {"v_0": people}))
    expected = np.array([joint[:3] for joint in pose], dtype=np.float32)
    expected[4] = np.nan
    np.testing.assert_array_equal(recording.frames[0], expected)
    assert recording.space == "xyz" and recording.unit == ""


def test_openpose_of_the_first_version(tmp_path: Path):
    folder = openpose(tmp_path, {"v_0": [{"pose_keypoints": flat(body(18, 5.0))}]})
    np.testing.assert_allclose(read_openpose(folder)[0].frames[0], body(18, 5.0), rtol=1e-6)


def test_openpose_nobody_and_hands_only(tmp_path: Path):
    assert read_openpose(openpose(tmp_path / "a", {"v_0": [], "v_1": []})) == []
    hands = {"pose_keypoints_2d": [], "hand_left_keypoints_2d": [1.0] * 63}
    assert read_openpose(openpose(tmp_path / "b", {"v_0": [hands]})) == []
    unseen = person([[0.0, 0.0, 0.0]] * 25)
    assert read_openpose(openpose(tmp_path / "c", {"v_0": [unseen]})) == []


def test_persons_are_listed_in_any_order(tmp_path: Path):
    """Two persons walk through each other; the list is shuffled in every frame."""
    random = np.random.default_rng(3)
    frames, truth = {}, ([], [])
    for number in range(60):
        poses = body(25, 100 + 8.0 * number, 300, 60), body(25, 580 - 8.0 * number, 310, 75)
        for kept, pose in zip(truth, poses, strict=True):
            kept.append(pose)
        frames[f"v_{number:012}"] = [person(poses[k]) for k in random.permutation(2)]
    found = read_openpose(openpose(tmp_path, frames))
    assert [recording.person for recording in found] == [0, 1]
    for recording in found:
        mine = truth[int(np.abs(recording.frames[0, 0, 0] - truth[0][0][0][0]) > 1)]
        np.testing.assert_array_equal(recording.frames, np.array(mine, dtype=np.float32))


def test_three_in_a_line_step_to_each_others_place(tmp_path: Path):
    """Everybody moves on to where the next one was: the nearest place is wrong, going on as before is right."""
    frames = {f"v_{k:03}": [person(body(25, 100.0 * (j + 0.9 * k), size=60)) for j in (2, 0, 1)] for k in range(8)}
    # The first step is short, so that it is known in which direction they go.
    frames["v_000"] = [person(body(25, 100.0 * (j + 0.6), size=60)) for j in (0, 1, 2)]
    found = read_openpose(openpose(tmp_path, frames))
    assert [len(recording.frames) for recording in found] == [8, 8, 8]
    for j, recording in enumerate(found):
        np.testing.assert_allclose(recording.frames[1:, 0, 0], [100 * (j + 0.9 * k) + 60 for k in range(1, 8)], rtol=1e-6)


@pytest.mark.parametrize(("away", "persons"), [(LONGEST_ABSENCE - 1, 1), (LONGEST_ABSENCE, 2)])
@pytest.mark.parametrize("track", [-1, 4])
def test_leaving_and_coming_back(tmp_path: Path, away: int, persons: int, track: int):
    """Someone else stays, so that there are frames in between."""
    frames = {}
    for number in range(50):
        here = [person(body(25, 900.0), 1 if track >= 0 else -1)]
        if number < 5 or number >= 5 + away:
            here.insert(0, person(body(25, 100.0), track))
        frames[f"v_{number}"] = here
    found = [recording for recording in read_openpose(openpose(tmp_path, frames)) if recording.frames[0, 0, 0] < 500]
    assert len(found) == persons
    if persons == 1:
        gone = np.isnan(found[0].frames).all(axis=(1, 2))
        assert np.flatnonzero(gone).tolist() == list(range(5, 5 + away)) and len(gone) == 50
    else:
        assert [counted(recording) for recording in found] == [list(range(5)), list(range(5 + away, 50))]


def test_absence_counts_in_the_videos_own_step(tmp_path: Path):
    """Every tenth frame of a video was looked at: that is no absence."""
    folder = openpose(tmp_path, {f"v_{number}": [person(body(25, 100.0))] for number in range(0, 600, 100)})
    (recording,) = read_openpose(folder)
    assert counted(recording) == [0, 100, 200, 300, 400, 500]


def test_track_ids_count_more_than_places(tmp_path: Path):
    frames = {
        f"v_{k}": [person(body(25, (100.0, 700.0)[k % 2]), 5), person(body(25, (700.0, 100.0)[k % 2]), 2)] for k in range(6)
    }
    found = read_openpose(openpose(tmp_path, frames))
    np.testing.assert_allclose([recording.frames[:, 0, 0] for recording in found], [[200, 800] * 3, [800, 200] * 3])


def test_an_id_of_two_persons_says_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    frames = {f"v_{k}": [person(body(25, (100.0, 700.0)[(k + j) % 2]), 0) for j in range(2)] for k in range(4)}
    found = read_openpose(openpose(tmp_path, frames))
    np.testing.assert_allclose([recording.frames[:, 0, 0] for recording in found], [[200] * 4, [800] * 4])
    assert "one id for two persons" in caplog.text


def test_hidden_joints_move_along(tmp_path: Path):
    """Of somebody who walks, one half is seen, then the other: it is where it was when last seen, and as far on as the rest."""
    frames = {}
    for k in range(30):
        pose = body(24, 20.0 * k, size=60)
        for joint in range(24):
            if k > 0 and (joint % 2 == 0) == (k < 20):
                pose[joint] = [0.0, 0.0, 0.0]
        frames[f"v_{k:03}"] = [person([*pose, [0.0, 0.0, 0.0]])]
    assert [len(recording.frames) for recording in read_openpose(openpose(tmp_path, frames))] == [30]


def test_a_jump_is_somebody_else(tmp_path: Path):
    frames = {f"v_{k}": [person(body(25, 100.0 if k < 3 else 900.0))] for k in range(6)}
    assert [len(recording.frames) for recording in read_openpose(openpose(tmp_path, frames))] == [3, 3]


@given(st.data())
def test_everybody_seen_is_in_one_track(data: st.DataObject):
    """Whatever is seen: nobody twice, nobody lost, no track with two persons of one frame."""
    numbers = sorted(data.draw(st.sets(st.integers(0, 200), min_size=1, max_size=8)))
    coordinate = st.one_of(st.just(NAN), st.floats(-1e3, 1e3))
    frames = []
    for number in numbers:
        poses = []
        for _ in range(data.draw(st.integers(0, 4))):
            pose = np.array([[data.draw(coordinate)] * 2 for _ in range(3)])
            if not np.isnan(pose).all():
                poses.append(pose)
        ids = [data.draw(st.sampled_from([None, "a", "b"])) for _ in poses]
        frames.append(Seen(number=float(number), poses=poses, places=poses, ids=ids))
    found = tracks(frames, "here")
    seen = [place for track in found for place in track]
    assert sorted(seen) == [(index, which) for index, frame in enumerate(frames) for which in range(len(frame.poses))]
    assert all(a < b for track in found for (a, _), (b, _) in itertools.pairwise(track))


@given(st.integers(1, 6), st.integers(0, 4), st.integers(0, 10**6))
def test_assignment_is_the_cheapest(rows: int, more: int, seed: int):
    random = np.random.default_rng(seed)
    costs = random.choice([random.uniform(-1, 1, (rows, rows + more)), random.integers(0, 3, (rows, rows + more))])
    costs = np.where(random.random(costs.shape) < 0.2, 1e6, costs).astype(np.float64)
    columns = assignment(costs)
    assert len(set(columns)) == rows
    row, column = linear_sum_assignment(costs)
    assert sum(costs[k, c] for k, c in enumerate(columns)) == pytest.approx(costs[row, column].sum())


def last_value(text: str) -> str:
    return '{"people": [{"pose_keypoints_2d": [' + "1," * 74 + text + "]}]}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "v_1_keypoints.json: no JSON"),
        ('{"people": [', "v_1_keypoints.json: no JSON"),
        (b"\xff\xfe", "v_1_keypoints.json: no JSON"),
        (b'{"people": "\xe9"}', "found the byte 0xe9, expected UTF-8"),
        ("[" * 100000, "no JSON"),
        ("[]", "found no list of persons called people"),
        ({"people": {}}, "found no list of persons called people"),
        ({"people": [3]}, "found no list of persons called people"),
        ({"people": [{"pose_keypoints_2d": "x"}]}, "people[0].pose_keypoints_2d: found '\"x\"', expected a list of numbers"),
        ({"people": [person(body(18, 0.0))]}, "people[0].pose_keypoints_2d: found 18 points, the persons before have 25"),
        ({"people": [{"pose_keypoints_2d": [1.0] * 74}]}, "found 74 numbers, expected 75, 54, 51 (3 a joint)"),
        ({"people": [{"pose_keypoints_2d": [1.0] * 45}]}, "found 45 numbers"),
        ({"people": [{"pose_keypoints_2d": [1.0] * 8 + ["1"] + [1.0] * 66}]}, "pose_keypoints_2d[8]: found '\"1\"'"),
        ({"people": [{"pose_keypoints_2d": [True] * 75}]}, "pose_keypoints_2d[0]: found 'true', expected a finite number"),
        ({"people": [{"pose_keypoints_2d": [[1, 2, 3]] * 25}]}, "pose_keypoints_2d[0]: found '[1, 2, 3]'"),
        (last_value("1e39"), "pose_keypoints_2d[74]: found '1e+39'"),
        (last_value("Infinity"), "pose_keypoints_2d[74]: found 'Infinity'"),
        (last_value("9" * 400), "pose_keypoints_2d[74]: found '9999"),
        (last_value("9" * 5000), "no JSON: Exceeds the limit"),
        ({"people": [{**person(body(25, 0.0)), "person_id": ["a"]}]}, "people[0].person_id: found"),
        ({"people": [person(body(25, 0.0))] * (MOST_PERSONS + 1)}, f"found 257 persons, expected at most {MOST_PERSONS}"),
    ],
)
def test_openpose_bad_file(tmp_path: Path, content: object, message: str):
    openpose(tmp_path, {"v_0": [person(body(25, 0.0))]})
    path = put(tmp_path / "v_1_keypoints.json", content)
    with pytest.raises(InputError) as caught:
        read_openpose(tmp_path)
    assert message in str(caught.value) and str(path) in str(caught.value)


def test_openpose_bad_folder(tmp_path: Path):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_openpose(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"found no file called \.\.\._keypoints\.json"):
        read_openpose(tmp_path)
    openpose(tmp_path, {"v_1": [], "v_01": []})
    with pytest.raises(InputError, match=r"found frame 1 in v_01_keypoints\.json too"):
        read_openpose(tmp_path)


# COCO and AlphaPose


def read(tmp_path: Path, content: object) -> list[Recording]:
    return read_keypoint_json(put(tmp_path / "file.json", content))


def test_coco_results(tmp_path: Path):
    content = [
        {"image_id": number, "category_id": 1, "keypoints": flat(body(17, x)), "score": 0.9, "track_id": track}
        for number in (3, 4, 7)
        for x, track in ((100.0 + number, 12), (100.0 - number, 5))
    ]
    found = read(tmp_path, content)
    assert [recording.person for recording in found] == [0, 1]
    for recording, sign in zip(found, (1, -1), strict=True):
        expected = np.array([body(17, 100.0 + sign * number) for number in (3, 4, 7)], dtype=np.float32)
        np.testing.assert_array_equal(recording.frames, expected)
        assert counted(recording) == [3, 4, 7]
        assert recording.joints == load_layout("coco17").joints and recording.space == "xyc" and recording.unit == "px"


@pytest.mark.parametrize("idx", [lambda k: k, lambda k: [float(k)], lambda _: [0.0]])
def test_alphapose_results(tmp_path: Path, idx):
    """With tracking idx is a number or a list of one; without, everybody's is 0."""
    content = [
        {
            "image_id": f"{number}.jpg",
            "category_id": 1,
            "keypoints": flat(body(17, x)),
            "score": 2.9,
            "box": [1, 2, 3, 4],
            "idx": idx(k),
        }
        for number in (9, 10, 11)
        for k, x in ((1, 100.0), (2, 900.0))
    ]
    found = read(tmp_path, content)
    np.testing.assert_allclose([recording.frames[:, 0, 0] for recording in found], [[200] * 3, [1000] * 3])
    assert all(counted(recording) == [9, 10, 11] and recording.name == "" for recording in found)


@pytest.mark.parametrize("points", [26, 133, 136])
def test_of_larger_bodies_coco_is_read(tmp_path: Path, points: int, caplog: pytest.LogCaptureFixture):
    (recording,) = read(tmp_path, [{"image_id": "0.png", "keypoints": flat(body(points, 100.0)), "score": 1}])
    np.testing.assert_array_equal(recording.frames[0], np.array(body(points, 100.0)[:17], dtype=np.float32))
    assert f"of {points} points" in caplog.text


def test_results_of_several_videos(tmp_path: Path):
    names = ["walk/000001.jpg", "walk/000002.jpg", "run_7.jpg", "portrait.jpg"]
    content = [{"image_id": name, "keypoints": flat(body(17, 100.0))} for name in names]
    assert {recording.name: counted(recording) for recording in read(tmp_path, content)} == {
        "walk": [1, 2],
        "run": [7],
        "portrait.jpg": [0],
    }


def test_results_without_confidences(tmp_path: Path):
    keypoints = flat([[x, y, 0] for x, y, _ in body(17, 100.0)])
    keypoints[6:8] = [0, 0]
    (recording,) = read(tmp_path, [{"image_id": 1, "keypoints": keypoints}])
    assert np.isnan(recording.frames[0, 2]).all()
    assert (np.delete(recording.frames[0, :, 2], 2) == 1).all()


def annotated(**changes: object) -> dict:
    names = ["head", "hand", "foot"]
    content = {
        "images": [{"id": 50 + k, "file_name": f"walk/{k:06}.jpg", "width": 640, "height": 480} for k in (2, 3, 5)],
        "annotations": [
            {"id": 1, "image_id": 55, "category_id": 1, "num_keypoints": 2, "keypoints": [7, 8, 2, 0, 0, 0, 3, 4, 1]},
            {"id": 2, "image_id": 52, "category_id": 1, "num_keypoints": 3, "keypoints": [5, 6, 2, 1, 2, 2, 3, 4, 2]},
            {"id": 3, "image_id": 52, "category_id": 1, "num_keypoints": 0, "keypoints": [0] * 9},
            {"id": 4, "image_id": 53, "category_id": 2, "bbox": [1, 2, 3, 4]},
        ],
        "categories": [{"id": 1, "name": "person", "keypoints": names, "skeleton": [[1, 2]]}, {"id": 2, "name": "dog"}],
    }
    return {**content, **changes}


def test_coco_annotations(tmp_path: Path):
    (recording,) = read(tmp_path, annotated())
    expected = [[[5, 6, 1], [1, 2, 1], [3, 4, 1]], [[NAN] * 3] * 3, [[7, 8, 1], [NAN] * 3, [3, 4, 0.5]]]
    np.testing.assert_array_equal(recording.frames, np.array(expected, dtype=np.float32))
    assert recording.joints == ("head", "hand", "foot")
    assert counted(recording) == [2, 3, 5]


def test_annotations_that_are_only_seen_or_not(tmp_path: Path):
    """PoseTrack has v of 0 and 1; detectors write their confidence there."""
    content = annotated()
    content["annotations"] = [{"image_id": 52, "keypoints": [7, 8, 1, 0, 0, 0, 3, 4, 1]}]
    assert read(tmp_path, content)[0].frames[0, :, 2].tolist()[::2] == [1, 1]
    content["annotations"] = [{"image_id": 52, "keypoints": [7, 8, 1, 0, 0, 0, 3, 4, 0.25]}]
    assert read(tmp_path, content)[0].frames[0, :, 2].tolist()[::2] == [1, 0.25]


def test_annotations_of_videos(tmp_path: Path):
    keypoints = [7, 8, 2, 1, 1, 2, 3, 4, 1]
    content = annotated(
        videos=[{"id": 1, "name": "walk"}],
        images=[{"id": k, "file_name": "x.jpg", "video_id": k // 10, "frame_id": k % 10} for k in (10, 11, 20)],
        annotations=[{"image_id": k, "keypoints": keypoints, "track_id": 3} for k in (11, 20, 10)],
    )
    assert {recording.name: counted(recording) for recording in read(tmp_path, content)} == {"walk": [0, 1], "2": [0]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty; expected keypoints as JSON"),
        ("nonsense", "no JSON"),
        ("[" * 100000, "no JSON"),
        ("3", "found frames that are no list"),
        ({"frames": 3}, "found frames that are no list"),
        ([3], "frame 0: found '3', expected an object with landmarks"),
        ([{"a": 1}], "found neither keypoints nor landmarks (the first entry has 'a')"),
        ([{"image_id": None, "keypoints": []}], "entry 0: image_id: found 'null'"),
        ([{"image_id": 10**30, "keypoints": []}], "entry 0: image_id: found '1000"),
        ([{"image_id": "\ud800", "keypoints": []}], "entry 0: image_id: found"),
        ([{"image_id": 1, "keypoints": [1, 2, 3]}], "entry 0: keypoints: found 1 points, expected the 17 of COCO"),
        ([{"image_id": 1, "keypoints": [1, 2]}], "entry 0: keypoints: found 2 numbers, expected three a point"),
        ([{"image_id": 1, "keypoints": [1] * 51, "track_id": {}}], "entry 0: track_id: found '{}'"),
        ([{"image_id": 1, "keypoints": [1] * 51}] * 257, "frame 1: found 257 persons"),
        (annotated(images=3), "images: expected a list of objects"),
        (annotated(images=[{"id": None}]), "images[0]: id: found 'null'"),
        (annotated(images=[{"id": 1, "file_name": "a1"}] * 2), "images[1]: found a second image of id 1"),
        (annotated(images=[]), "annotations[0]: image_id: found '55', which is not in images"),
        (annotated(categories=[{"keypoints": "x"}]), "categories: found keypoints that are no list of names"),
        (annotated(categories=[{"keypoints": ["a"]}, {"keypoints": ["b"]}]), "categories: found 2 kinds of bodies"),
        (annotated(categories=[]), "annotations[0]: keypoints: found 3 points, expected 17 as in categories"),
    ],
)
def test_coco_bad_file(tmp_path: Path, content: object, message: str):
    with pytest.raises(InputError) as caught:
        read(tmp_path, content)
    assert message in str(caught.value) and str(tmp_path / "file.json") in str(caught.value)


def test_nobody(tmp_path: Path):
    assert read(tmp_path, []) == [] and read(tmp_path, annotated(annotations=[])) == []
    assert read(tmp_path, {"frames": [{"pose_landmarks": []}, {"pose_landmarks": None}]}) == []


# MediaPipe


def landmarks(x: float = 0.0, visibility: float | None = 0.75, z: float = 0.5) -> list[dict]:
    points = [{"x": x + 0.01 * k, "y": 0.02 * k, "z": z} for k in range(33)]
    return points if visibility is None else [{**point, "visibility": visibility, "presence": 1.0} for point in points]


def xyz(x: float, z: float = 0.5) -> np.ndarray:
    return np.array([[x + 0.01 * k, 0.02 * k, z] for k in range(33)], dtype=np.float32)


@pytest.mark.parametrize("key", ["pose_world_landmarks", "poseWorldLandmarks", "worldLandmarks", "world_landmarks"])
@pytest.mark.parametrize("form", ["list", "frames", "lines"])
@pytest.mark.parametrize("wrapped", [lambda points: points, lambda points: [points], lambda points: {"landmark": points}])
def test_world_landmarks(tmp_path: Path, key: str, form: str, wrapped):
    frames = [{"timestamp_ms": 40 * k, key: wrapped(landmarks(0.1 * k)) if k != 1 else []} for k in range(4)]
    content = {"list": frames, "frames": {"fps": 25, "frames": frames}, "lines": "\n".join(map(json.dumps, frames))}[form]
    (recording,) = read(tmp_path, content)
    expected = np.stack([xyz(0.1 * k) for k in range(4)])
    expected[1] = np.nan
    np.testing.assert_array_equal(recording.frames, expected)
    assert (recording.space, recording.unit, recording.person) == ("xyz", "m", 0)
    assert recording.joints == load_layout("mediapipe33").joints
    np.testing.assert_allclose(recording.times, [0, 0.04, 0.08, 0.12])
    assert recording.numbers is None and recording.fps == (25 if form == "frames" else None)


def test_image_landmarks(tmp_path: Path):
    points = landmarks(0.25)
    points[4]["visibility"] = 0.0
    points[5] = None
    content = {
        "width": 1000,
        "height": 500,
        "frames": [{"frame": 6, "poseLandmarks": points}, {"frame": 4, "poseLandmarks": points}],
    }
    (recording,) = read(tmp_path, content)
    expected = np.array([[250 + 10 * k, 10 * k, 0.75] for k in range(33)], dtype=np.float32)
    expected[4:6] = np.nan
    np.testing.assert_allclose(recording.frames, [expected, expected], rtol=1e-6)
    assert (recording.space, recording.unit) == ("xyc", "px")
    assert counted(recording) == [4, 6]


def test_image_landmarks_without_visibility(tmp_path: Path):
    (recording,) = read(tmp_path, [{"landmarks": landmarks(0.25, None)}])
    assert (recording.frames[0, :, 2] == 1).all() and recording.unit == ""
    (other,) = read(tmp_path, [[[point["x"], point["y"], point["z"]] for point in landmarks(0.25)]])
    np.testing.assert_array_equal(other.frames, recording.frames)


def test_both_kinds_of_landmarks_and_two_persons(tmp_path: Path):
    """World landmarks are kept; the image tells who is who, as around their own hips all are in one place."""
    frames = []
    for k in range(6):
        people = [(0.1, 0.3), (0.7, 0.8)][:: 1 if k % 2 else -1]
        frames.append(
            {
                "pose_landmarks": [landmarks(x) for x, _ in people],
                "pose_world_landmarks": [landmarks(0.0, 0.9, z) for _, z in people],
            }
        )
    found = read(tmp_path, frames)
    assert [recording.space for recording in found] == ["xyz", "xyz"]
    for recording, z in zip(found, (0.8, 0.3), strict=True):
        np.testing.assert_array_equal(recording.frames, np.stack([xyz(0.0, z)] * 6))


def test_one_person_alone_stays_one(tmp_path: Path):
    """A model of one person does not change over to another, however far the place or long the absence."""
    frames = [{"landmarks": landmarks(0.1)}, *[{"landmarks": []}] * 50, {"landmarks": landmarks(5.0)}]
    (recording,) = read(tmp_path, frames)
    assert len(recording.frames) == 52 and np.isnan(recording.frames[1:-1]).all()


@pytest.mark.parametrize(
    ("key", "values", "seconds"),
    [
        ("timestampMs", [0, 33, 66], [0, 0.033, 0.066]),
        ("time", [0.5, 1.0, 1.5], [0.5, 1.0, 1.5]),
        ("timestamp", [0.5, 1.0, 1.5], [0.5, 1.0, 1.5]),
        ("timestamp", [0, 33, 66], [0, 0.033, 0.066]),
        ("timestamp", [0, 33000, 66000], [0, 0.033, 0.066]),
        ("timestamp_us", [0, 33000, 66000], [0, 0.033, 0.066]),
    ],
)
def test_times(tmp_path: Path, key: str, values: list, seconds: list):
    (recording,) = read(tmp_path, [{key: value, "landmarks": landmarks()} for value in values])
    np.testing.assert_allclose(recording.times, seconds)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([{"landmarks": landmarks()[:21]}], "frame 0: landmarks[0]: found 21 points, expected the 33"),
        ([{"landmarks": 3}], "frame 0: landmarks: expected a list of points"),
        ([{"landmarks": [3] * 33}], "frame 0: landmarks[0]: point 0: found '3', expected x, y, z"),
        ([{"landmarks": [{"x": 1}] * 33}], "frame 0: landmarks[0]: point 0: found"),
        ([{"landmarks": [{"x": 1, "y": "2"}] * 33}], "frame 0: landmarks[0][1]: found '\"2\"', expected a finite number"),
        ([{"landmarks": landmarks()}, {"world_landmarks": landmarks()}], "found world landmarks in some frames"),
        (
            [{"landmarks": [landmarks()] * 2, "world_landmarks": [landmarks()]}],
            "frame 0: found 1 persons in space and 2 in the image",
        ),
        ([{"landmarks": [landmarks()] * 257}], "frame 0: found more than 256 persons"),
        ([{"frame": 1, "landmarks": landmarks()}] * 2, "found frame 1 twice"),
        ([{"frame": 1.5, "landmarks": landmarks()}], "frame 0: frame: found '1.5', expected a whole number"),
        ([{"time": 1, "landmarks": landmarks()}, {"landmarks": landmarks()}], "1 of 2 frames have no time"),
        ({"fps": -1, "frames": [{"landmarks": landmarks()}]}, "fps: found -1, expected a positive number"),
        ({"width": 0, "height": 5, "frames": [{"landmarks": landmarks()}]}, "width, height: found '[0, 5]', expected pixels"),
        (json.dumps({"landmarks": []}) + "\n{broken\n", "line 2: no JSON"),
    ],
)
def test_mediapipe_bad_file(tmp_path: Path, content: object, message: str):
    with pytest.raises(InputError) as caught:
        read(tmp_path, content)
    assert message in str(caught.value) and str(tmp_path / "file.json") in str(caught.value)


# Damaged files


def whole(recording: Recording) -> None:
    """What a reader may give back, whatever it was given."""
    frames = recording.frames
    assert frames.dtype == np.float32 and frames.shape[2] == 3 and not np.isinf(frames).any()
    missing = np.isnan(frames)
    assert (missing.any(axis=2) == missing.all(axis=2)).all()
    assert not missing[[0, -1]].all(axis=(1, 2)).any()
    for each in (recording.numbers, recording.times):
        assert each is None or each.shape == (len(frames),)
    assert len(recording.joints) == frames.shape[1]


def all_whole(read: Callable[[], list[Recording]]) -> None:
    """An error that a user can read, or recordings; nothing else gets out."""
    with suppress(InputError):
        for recording in read():
            whole(recording)


SAMPLES = [
    json.dumps([{"image_id": f"a{k}.jpg", "keypoints": flat(body(17, 10.0 * k)), "idx": k % 2} for k in range(4)]),
    json.dumps(annotated()),
    json.dumps({"fps": 30, "frames": [{"timestamp_ms": 33 * k, "poseWorldLandmarks": [landmarks(0.1 * k)]} for k in range(3)]}),
    "\n".join(json.dumps({"frame": k, "pose_landmarks": landmarks(0.1 * k)}) for k in range(3)),
]

damage = st.one_of(
    st.tuples(st.just("cut"), st.floats(0, 1), st.just(b"")),
    st.tuples(st.just("flip"), st.floats(0, 1), st.binary(min_size=1, max_size=3)),
    st.tuples(
        st.just("insert"),
        st.floats(0, 1),
        st.sampled_from(
            [b"null", b"[]", b"{}", b"1e999", b"NaN", b"-Infinity", b'"', b"9" * 5000, b"\x00", b"\xff", b",", b"[" * 3000]
        ),
    ),
)


def damaged(content: bytes, changes: list[tuple[str, float, bytes]]) -> bytes:
    for kind, share, extra in changes:
        place = int(share * len(content))
        if kind == "cut":
            content = content[:place]
        elif kind == "flip":
            content = content[:place] + extra + content[place + len(extra) :]
        else:
            content = content[:place] + extra + content[place:]
    return content


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.sampled_from(SAMPLES), st.lists(damage, min_size=1, max_size=3))
def test_damaged_json(tmp_path: Path, sample: str, changes: list):
    path = put(tmp_path / "file.json", damaged(sample.encode(), changes))
    all_whole(lambda: read_keypoint_json(path))


values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.just([1.0] * 51), st.just(landmarks())
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                (
                    *("image_id", "keypoints", "track_id", "idx", "images", "annotations", "categories", "id", "file_name"),
                    *("frames", "landmarks", "pose_world_landmarks", "x", "y", "frame", "timestamp", "fps", "width", "height"),
                )
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(values)
def test_any_json(tmp_path: Path, content: object):
    path = put(tmp_path / "file.json", content)
    all_whole(lambda: read_keypoint_json(path))


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(damage, min_size=1, max_size=3), st.text(alphabet="ab_0123456789é", max_size=12))
def test_damaged_openpose(tmp_path: Path, changes: list, name: str):
    folder = tmp_path / "folder"
    shutil.rmtree(folder, ignore_errors=True)
    openpose(folder, {"v_0": [person(body(25, 0.0))], "v_2": [person(body(25, 9.0), 3)]})
    content = json.dumps({"people": [person(body(25, 0.0)), person(body(25, 10.0), 3)]}).encode()
    put(folder / f"{name}_keypoints.json", damaged(content, changes))
    all_whole(lambda: read_openpose(folder))
