"""Clips and labels of Kinetics-Skeleton: who is taken, what is missing, and every way a file may be wrong."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from symgnn.data.readers import kinetics
from symgnn.data.readers.kinetics import KineticsLabel, read_kinetics, read_kinetics_labels
from symgnn.errors import InputError
from symgnn.skeleton import load_layout

CLASS = "cooking chicken"


def body(seed: int, score: float = 0.5, place: tuple[float, float] = (0.3, 0.3), spread: float = 0.1) -> np.ndarray:
    """(18, 3): shares of the image and scores around ``score``, with the three digits of the release."""
    random = np.random.default_rng(seed)
    shape = np.random.default_rng(99).uniform(-spread, spread, (18, 2))
    positions = np.array(place) + shape + random.normal(scale=0.002, size=(18, 2))
    return np.round(np.column_stack([positions, score + random.uniform(-0.02, 0.02, 18)]), 3)


def written(joints: np.ndarray) -> dict[str, list[float]]:
    return {"pose": [float(value) for pair in joints for value in pair[:2]], "score": [float(value) for value in joints[:, 2]]}


def clip(frames: dict[int, list[np.ndarray]]) -> dict[str, Any]:
    data = [{"frame_index": number, "skeleton": [written(one) for one in bodies]} for number, bodies in frames.items()]
    return {"data": data, "label": CLASS, "label_index": 67}


def put(folder: Path, content: Any, name: str = "BGpcy4xZKdQ.json") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    text = content if isinstance(content, str | bytes) else json.dumps(content)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def naive(content: dict[str, Any]) -> tuple[list[int], list[list[list[float]] | None]]:
    """The frames' numbers, and the joints of the body with the largest sum of scores (None where there is nobody)."""
    chosen: dict[int, list[list[float]] | None] = {}
    for frame in content["data"]:
        best, most = None, 0.0
        for found in frame["skeleton"]:
            total = sum(score for score in found["score"])
            if total > most:
                most = total
                best = [[found["pose"][2 * j], found["pose"][2 * j + 1], found["score"][j]] for j in range(18)]
        chosen[frame["frame_index"]] = best
    numbers = sorted(chosen)
    return numbers, [chosen[number] for number in numbers]


# One clip


def test_published_lines(tmp_path: Path):
    """The first frame of a clip of the release: two joints were not found."""
    pose = (
        "0.565, 0.867, 0.534, 0.796, 0.532, 0.783, 0.485, 0.810, 0.483, 0.910, 0.550, 0.812, 0.567, 0.870, 0.581, 0.886, "
        "0.387, 0.829, 0.334, 0.812, 0.286, 0.796, 0.413, 0.859, 0.336, 0.815, 0.315, 0.810, 0.569, 0.859, 0.000, 0.000, "
        "0.565, 0.818, 0.000, 0.000"
    )
    score = (
        "0.430, 0.631, 0.647, 0.883, 0.765, 0.429, 0.290, 0.447, 0.453, 0.477, 0.587, 0.288, 0.195, 0.153, 0.415, 0.000, "
        "0.637, 0.000"
    )
    frame = f'{{"frame_index": 1, "skeleton": [{{"pose": [{pose}], "score": [{score}]}}]}}'
    text = f'{{"data": [{frame}], "label": "a", "label_index": 1}}'
    (recording,) = read_kinetics(put(tmp_path, text))
    frame = recording.frames[0]
    assert recording.frames.shape == (1, 18, 3) and np.isnan(frame[[15, 17]]).all() and np.isnan(frame).sum() == 6
    np.testing.assert_array_equal(frame[[0, 16]], np.array([[0.565, 0.867, 0.430], [0.565, 0.818, 0.637]], np.float32))
    assert (recording.space, recording.fps, recording.label, recording.person) == ("xyc", 30.0, "a", 0)
    assert recording.joints == load_layout("openpose18").joints and recording.joints[16] == "REar"
    np.testing.assert_array_equal(recording.numbers, [1.0])


def test_best_of_each_frame(tmp_path: Path):
    """Up to four bodies in any order, frames without any, dropped frames, missing joints: as the naive loop chooses."""
    random = np.random.default_rng(0)
    frames = {}
    for number in range(1, 60):
        if number in (7, 8, 30):
            continue
        bodies = [body(int(random.integers(1 << 30)), random.uniform(0.2, 0.9), random.uniform(0.2, 0.8, 2)) for _ in range(4)]
        for one in bodies:
            one[random.uniform(size=18) < 0.3] = 0
        frames[number] = bodies[: int(random.integers(1, 5))] if number not in (1, 2, 20, 59) else []
    content = clip(frames)
    (recording,) = read_kinetics(put(tmp_path, content))
    numbers, chosen = naive(content)
    assert recording.numbers is not None and recording.numbers.tolist() == numbers[2:-1]
    assert not {7, 8, 30} & set(recording.numbers)
    expected = np.full((len(numbers), 18, 3), np.nan)
    for index, joints in enumerate(chosen):
        for joint, values in enumerate(joints or []):
            if values[2] > 0:
                expected[index, joint] = values
    np.testing.assert_array_equal(recording.frames, expected[2:-1].astype(np.float32))
    assert np.isnan(recording.frames[recording.numbers == 20]).all()


def test_few_sure_joints_do_not_outdo_a_whole_body(tmp_path: Path):
    """The mean is over all 18 joints."""
    whole, part = body(0, 0.5), body(1, 0.95)
    part[3:] = 0
    (recording,) = read_kinetics(put(tmp_path, clip({1: [part, whole]})))
    np.testing.assert_array_equal(recording.frames[0], whole.astype(np.float32))


def test_first_of_equals(tmp_path: Path):
    one = body(0)
    other = one + np.array([0.1, 0.1, 0])
    (recording,) = read_kinetics(put(tmp_path, clip({1: [one, other], 2: [other, one]})))
    np.testing.assert_array_equal(recording.frames, np.stack([one, other]).astype(np.float32))


def test_frames_in_any_order(tmp_path: Path):
    frames = {number: [body(number)] for number in (3, 1, 2)}
    (recording,) = read_kinetics(put(tmp_path, clip(frames)))
    np.testing.assert_array_equal(recording.frames, np.stack([frames[n][0] for n in (1, 2, 3)]).astype(np.float32))
    assert recording.numbers is not None and recording.numbers.tolist() == [1, 2, 3]


def test_a_body_that_appears_late(tmp_path: Path):
    frames = {number: [body(number)] if 10 <= number < 15 else [] for number in range(300)}
    (recording,) = read_kinetics(put(tmp_path, clip(frames)))
    assert recording.numbers is not None and recording.numbers.tolist() == [10, 11, 12, 13, 14]
    np.testing.assert_array_equal(recording.frames, np.stack([frames[n][0] for n in range(10, 15)]).astype(np.float32))


@pytest.mark.parametrize("follow", [False, True])
@pytest.mark.parametrize("frames", [{}, {1: []}, {1: [np.zeros((18, 3))], 2: []}], ids=["no frame", "no body", "no joint"])
def test_nobody(tmp_path: Path, frames: dict[int, list[np.ndarray]], follow: bool):
    assert read_kinetics(put(tmp_path, clip(frames)), follow=follow) == []


def test_missing_values(tmp_path: Path):
    """Null and NaN, and a score below 0, are missing joints."""
    content = clip({1: [body(0)]})
    found = content["data"][0]["skeleton"][0]
    found["pose"][2 * 3] = None
    found["score"][4] = float("nan")
    found["score"][5] = -0.1
    (recording,) = read_kinetics(put(tmp_path, content))
    assert np.flatnonzero(np.isnan(recording.frames[0]).all(axis=1)).tolist() == [3, 4, 5]
    assert np.isnan(recording.frames).sum() == 9


def test_whole_numbers(tmp_path: Path):
    """0 and 1 without a point."""
    content = clip({1: [np.ones((18, 3))]})
    content["data"][0]["skeleton"][0] = {"pose": [1] * 36, "score": [1] * 18}
    np.testing.assert_array_equal(read_kinetics(put(tmp_path, content))[0].frames, np.ones((1, 18, 3)))


@pytest.mark.parametrize(("folder", "split"), [("kinetics_train", "train"), ("kinetics_val", "test"), ("mine", "")])
def test_split_by_folder(tmp_path: Path, folder: str, split: str, monkeypatch: pytest.MonkeyPatch):
    path = put(tmp_path / folder, clip({1: [body(0)]}))
    assert read_kinetics(path)[0].split == split
    monkeypatch.chdir(path.parent)
    assert read_kinetics(Path(path.name))[0].split == split


def test_clip_without_label(tmp_path: Path):
    content = clip({1: [body(0)]})
    for label in ("", None):
        assert read_kinetics(put(tmp_path, content | {"label": label}))[0].label is None
    del content["label"]
    assert read_kinetics(put(tmp_path, content))[0].label is None


@pytest.mark.parametrize("change", [lambda t: "\ufeff" + t, lambda t: t.replace(", ", ",\r\n")], ids=["mark", "crlf"])
def test_marks_and_line_ends(tmp_path: Path, change):
    content = clip({1: [body(0)], 2: [body(1)]})
    (plain,) = read_kinetics(put(tmp_path, content))
    (changed,) = read_kinetics(put(tmp_path, change(json.dumps(content))))
    np.testing.assert_array_equal(plain.frames, changed.frames)


def test_goes_through_a_process_pool(tmp_path: Path):
    found = read_kinetics(put(tmp_path, clip({n: [body(n), body(n + 1, 0.2, (0.8, 0.8))] for n in range(50)})))
    (back,) = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(back.frames, found[0].frames)
    assert found[0].frames.base is None and len(pickle.dumps(found)) < 50 * 18 * 3 * 4 + 50 * 8 + 3000


# One person over the clip


def test_followed_person(tmp_path: Path):
    """Two whose scores take turns, in changing order: in each frame the best one leaps, the followed one stays."""
    a = [body(n, 0.8 if n % 2 else 0.4, (0.2 + n / 400, 0.4)) for n in range(40)]
    b = [body(n + 100, 0.5, (0.8 - n / 400, 0.6)) for n in range(40)]
    content = clip({n: [b[n], a[n]] if n % 3 else [a[n], b[n]] for n in range(40)})
    path = put(tmp_path, content)
    (leaping,), (followed,) = read_kinetics(path), read_kinetics(path, follow=True)
    np.testing.assert_array_equal(leaping.frames, np.stack([(b[n], a[n])[n % 2] for n in range(40)]).astype(np.float32))
    np.testing.assert_array_equal(followed.frames, np.stack(a).astype(np.float32))


def test_followed_person_counts_over_all_frames(tmp_path: Path):
    """Somebody seen well for a moment does not outdo somebody seen throughout."""
    a = [body(n, 0.4, (0.2, 0.4)) for n in range(40)]
    moment = [body(n + 100, 0.9, (0.8, 0.6)) for n in range(10)]
    frames = {n: [a[n], moment[n - 20]] if 20 <= n < 30 else [a[n]] for n in range(2, 40)} | {0: [], 1: [], 40: []}
    frames[35] = []
    (followed,) = read_kinetics(put(tmp_path, clip(frames)), follow=True)
    expected = np.stack(a[2:])
    expected[33] = np.nan
    np.testing.assert_array_equal(followed.frames, expected.astype(np.float32))
    assert followed.numbers is not None and followed.numbers.tolist() == list(range(2, 40))


# Labels


def test_labels(tmp_path: Path):
    content = {
        "BGpcy4xZKdQ": {"has_skeleton": True, "label": CLASS, "label_index": 67},
        "-2PdsUBmYpY": {"has_skeleton": False, "label": "abseiling", "label_index": 0},
    }
    labels = read_kinetics_labels(put(tmp_path, content, "kinetics_train_label.json"))
    assert labels == {
        "BGpcy4xZKdQ": KineticsLabel(has_skeleton=True, label=CLASS, label_index=67),
        "-2PdsUBmYpY": KineticsLabel(has_skeleton=False, label="abseiling", label_index=0),
    }
    assert read_kinetics_labels(put(tmp_path, {})) == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "found a list, expected an object with a label for each clip"),
        ({"x": []}, "'x': found a list, expected has_skeleton, label and label_index"),
        ({"x": {}}, "'x': has_skeleton: found 'null', expected true or false"),
        ({"x": {"has_skeleton": 1}}, "'x': has_skeleton: found '1', expected true or false"),
        ({"x": {"has_skeleton": True, "label": 3}}, "'x': label: found '3', expected the name of a class"),
        ({"x": {"has_skeleton": True, "label": "\ud800"}}, "'x': label: found"),
        (
            {"x": {"has_skeleton": True, "label": "a", "label_index": True}},
            "'x': label_index: found 'true', expected the number",
        ),
        ({"x": {"has_skeleton": True, "label": "a", "label_index": -1}}, "'x': label_index: found '-1'"),
        ({"x": {"has_skeleton": True, "label": "a", "label_index": 1.0}}, "'x': label_index: found '1.0'"),
        ("", "no JSON"),
        ('{"x": {"has_skeleton": tr', "no JSON"),
        (b"\xff\xfe{", "found"),
    ],
)
def test_bad_labels(content: Any, message: str, tmp_path: Path):
    path = put(tmp_path, content)
    with pytest.raises(InputError) as caught:
        read_kinetics_labels(path)
    assert message in str(caught.value) and str(caught.value).startswith(str(path))


# Bad files


def with_body(**fields: Any) -> dict[str, Any]:
    content = clip({1: [body(0)], 2: [body(1), body(2)]})
    content["data"][1]["skeleton"][1].update(fields)
    return content


def with_frame(**fields: Any) -> dict[str, Any]:
    content = clip({1: [body(0)], 2: [body(1)]})
    content["data"][1].update(fields)
    return content


SECOND = "data[1].skeleton[1]"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no JSON"),
        ("null", "found no list of frames called data"),
        ("[]", "found no list of frames called data"),
        ('{"data": {}}', "found no list of frames called data"),
        ('{"data": 1000000000}', "found no list of frames called data"),
        (json.dumps(clip({1: [body(0)]}))[:-30], "no JSON"),
        ("[" * 100000, "no JSON"),
        ('{"data": ' + "[" * 900 + "]" * 900 + "}", "data[0]: found a list, expected frame_index and skeleton"),
        ({"data": [3]}, "data[0]: found a number, expected frame_index and skeleton"),
        ({"data": [], "label": 3}, "label: found '3', expected the name of a class"),
        ({"data": [], "label": "\udfff"}, "label: found"),
        (with_frame(frame_index=None), "data[1].frame_index: found 'null', expected 0 to 1,048,576"),
        (with_frame(frame_index=1.5), "data[1].frame_index: found '1.5'"),
        (with_frame(frame_index=True), "data[1].frame_index: found 'true'"),
        (with_frame(frame_index=-1), "data[1].frame_index: found '-1'"),
        (with_frame(frame_index=10**9), "data[1].frame_index: found '1000000000', expected 0 to 1,048,576"),
        (with_frame(frame_index=1), "data[1].frame_index: found 1 as in data[0], expected each frame once"),
        (with_frame(skeleton=None), "data[1].skeleton: found 'null', expected a list of bodies"),
        (with_frame(skeleton=[[]]), "data[1].skeleton: found a list, expected a list of bodies"),
        (with_frame(skeleton=[{}] * 257), "data[1].skeleton: found 257 bodies, expected at most 256"),
        (with_body(pose=None), f"{SECOND}.pose: found null, expected a list of 36 numbers"),
        (with_body(pose=[0.5] * 35), f"{SECOND}.pose: found 35 numbers, expected 36"),
        (with_body(pose=[0.5] * 34, score=[0.5] * 17), f"{SECOND}.pose: found 34 numbers, expected 36 (OpenPose's 18 joints)"),
        (with_body(score=[0.5] * 25), f"{SECOND}.score: found 25 numbers, expected 18"),
        (with_body(score=0.5), f"{SECOND}.score: found a number, expected a list of 18"),
        (with_body(pose=[0.5] * 35 + ["0.5"]), f"{SECOND}.pose[35]: found '\"0.5\"', expected a finite number"),
        (with_body(pose=[[0.5]] * 36), f"{SECOND}.pose[0]: found a list, expected a finite number"),
        (with_body(pose=[True] * 36, score=["x"] * 18), f"{SECOND}.score[0]: found '\"x\"'"),
        (with_body(score=[0.5] * 17 + [float("inf")]), f"{SECOND}.score[17]: found 'Infinity', expected a finite number"),
        (with_body(pose=[1e39] + [0.5] * 35), f"{SECOND}.pose[0]: found '1e+39'"),
        (with_body(pose=[10**400] + [0.5] * 35), f"{SECOND}.pose[0]: found '1000"),
        (json.dumps(with_body(pose=[1, 2])).replace("[1, 2]", f"[{'9' * 5000}]"), "no JSON"),
        ("caf\xe9".encode("latin-1"), "line 1: found the byte 0xe9"),
        (json.dumps(clip({1: [body(0)]})).encode("utf-16-le"), "line 1: found a zero byte"),
        (b"\x00" * 100, "line 1: found a zero byte"),
    ],
)
def test_bad_files(content: Any, message: str, tmp_path: Path):
    path = put(tmp_path, content)
    with pytest.raises(InputError) as caught:
        read_kinetics(path)
    assert message in str(caught.value) and str(caught.value).startswith(str(path))


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for read in (read_kinetics, read_kinetics_labels):
        with pytest.raises(InputError, match="cannot be read"):
            read(tmp_path / "gone.json")
    monkeypatch.setattr(kinetics, "MOST_BYTES", 100)
    with pytest.raises(InputError, match="expected a clip, at most 100"):
        read_kinetics(put(tmp_path, clip({1: [body(0)]})))


SMALL = json.dumps(clip({1: [body(0), body(1, 0.7)], 3: [body(2)]})).encode()
LABELS = json.dumps({"x": {"has_skeleton": True, "label": CLASS, "label_index": 67}}).encode()
FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def tried(path: Path, content: bytes, follow: bool = False) -> None:
    path.write_bytes(content)
    try:
        found = read_kinetics(path, follow=follow)
    except InputError as error:
        place = str(error)
    else:
        place = str(path)
        for recording in found:
            missing = np.isnan(recording.frames)
            assert recording.frames.shape[1:] == (18, 3) and (missing.any(axis=2) == missing.all(axis=2)).all()
            assert not np.isinf(recording.frames).any() and not missing[[0, -1]].all(axis=(1, 2)).any()
    assert place.startswith(str(path))


@FUZZ
@given(length=st.integers(0, len(SMALL) - 1))
def test_fuzz_truncated(length: int, tmp_path: Path):
    with pytest.raises(InputError):
        read_kinetics(put(tmp_path, SMALL[:length]))
    with pytest.raises(InputError):
        read_kinetics_labels(put(tmp_path, LABELS[: length % len(LABELS)]))


@FUZZ
@given(
    flips=st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 7)), min_size=1, max_size=8), follow=st.booleans()
)
def test_fuzz_flipped(flips: list[tuple[int, int]], follow: bool, tmp_path: Path):
    content = bytearray(SMALL)
    for place, bit in flips:
        content[place] ^= 1 << bit
    tried(tmp_path / "a.json", bytes(content), follow)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["pose", "score", "x"]), inner, max_size=3),
    max_leaves=6,
)


@FUZZ
@given(data=st.data())
def test_fuzz_fields(data: st.DataObject, tmp_path: Path):
    """Anything in the place of any value."""
    content = json.loads(SMALL)
    at: Any = content
    while True:
        key = data.draw(st.sampled_from(sorted(at)) if isinstance(at, dict) else st.integers(0, len(at) - 1))
        if isinstance(at[key], dict | list) and at[key] and data.draw(st.integers(0, 4)):
            at = at[key]
            continue
        at[key] = data.draw(VALUES | st.floats(-1e39, 1e39) | st.integers(-(10**12), 10**12))
        break
    tried(tmp_path / "a.json", json.dumps(content).encode(), data.draw(st.booleans()))


@FUZZ
@given(content=VALUES)
def test_fuzz_labels(content: Any, tmp_path: Path):
    for value in (content, {"x": content}, {"x": {"has_skeleton": True, "label": CLASS, "label_index": content}}):
        path = put(tmp_path, json.dumps(value))
        try:
            labels = read_kinetics_labels(path)
        except InputError as error:
            place = str(error)
        else:
            place = str(path)
            assert all(isinstance(label.label, str) for label in labels.values())
        assert place.startswith(str(path))


@FUZZ
@given(content=st.binary(max_size=300), encoding=st.sampled_from(["", "utf-16", "utf-16-le", "utf-32", "cp037"]))
def test_fuzz_encodings_and_noise(content: bytes, encoding: str, tmp_path: Path):
    tried(tmp_path / "a.json", SMALL.decode().encode(encoding) + content if encoding else content)
