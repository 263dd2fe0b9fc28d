"""Tables of a user's own: the same motion written in every usual shape is read back as it was."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from symgnn.data.readers.table import read_table
from symgnn.errors import InputError
from symgnn.skeleton import layout_from_dict

LAYOUT = layout_from_dict(
    {
        "name": "three",
        "joints": ["Hips", "LeftHand", "RightHand"],
        "bones": [["LeftHand", "Hips", "RightHand"]],
        "parts": {"body": ["Hips", "LeftHand", "RightHand"]},
    }
)
MOTION = np.round(np.random.default_rng(0).normal(size=(5, 3, 3)), 3)
LABELS = ["wave", "wave", "", "sit", "sit"]


def put(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def flat(rows: np.ndarray, separator: str = ",") -> list[str]:
    return [separator.join(str(value) for value in row.ravel()) for row in rows]


def check(path: Path, **arguments) -> None:
    (recording,) = read_table(path, LAYOUT, **arguments)
    np.testing.assert_array_equal(recording.frames, MOTION.astype(np.float32))
    assert recording.space == "xyz" and recording.person == 0


@pytest.mark.parametrize(
    "head",
    [
        "Hips_x,Hips_y,Hips_z,LeftHand_x,LeftHand_y,LeftHand_z,RightHand_x,RightHand_y,RightHand_z",
        "Hips.X,Hips.Y,Hips.Z,LeftHand.X,LeftHand.Y,LeftHand.Z,RightHand.X,RightHand.Y,RightHand.Z",
        "Hips (x),Hips (y),Hips (z),LeftHand (x),LeftHand (y),LeftHand (z),RightHand (x),RightHand (y),RightHand (z)",
        "HipsX,HipsY,HipsZ,LeftHandX,LeftHandY,LeftHandZ,RightHandX,RightHandY,RightHandZ",
        "x_Hips,y_Hips,z_Hips,x_LeftHand,y_LeftHand,z_LeftHand,x_RightHand,y_RightHand,z_RightHand",
    ],
)
def test_headings_of_joint_and_axis(head: str, tmp_path: Path):
    path = put(tmp_path / "a.csv", "\n".join([head, *flat(MOTION)]))
    check(path)
    assert read_table(path, None)[0].joints == ("Hips", "LeftHand", "RightHand")


def test_columns_in_any_order(tmp_path: Path):
    """A heading says what a column is, wherever it stands."""
    heads = [f"{joint}_{axis}" for joint in ("Hips", "LeftHand", "RightHand") for axis in "xyz"]
    order = np.random.default_rng(1).permutation(9)
    lines = [",".join(heads[i] for i in order), *(",".join(str(row.ravel()[i]) for i in order) for row in MOTION)]
    (recording,) = read_table(put(tmp_path / "a.csv", "\n".join(lines)), None)
    place = [recording.joints.index(name) for name in ("Hips", "LeftHand", "RightHand")]
    np.testing.assert_array_equal(recording.frames[:, place], MOTION.astype(np.float32))


@pytest.mark.parametrize("separator", [",", ";", "\t", " ", ", ", " ; "])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_no_headings(separator: str, end: str, tmp_path: Path):
    check(put(tmp_path / "a.csv", end.join(flat(MOTION, separator)) + end))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings(encoding: str, tmp_path: Path):
    check(put(tmp_path / "a.csv", "\n".join(flat(MOTION, ";")), encoding))


def test_decimal_commas(tmp_path: Path):
    check(put(tmp_path / "a.csv", "\n".join(line.replace(".", ",") for line in flat(MOTION, ";"))))


@pytest.mark.parametrize("separator", [";", ",", "\t"])
def test_cells_of_three_numbers(separator: str, tmp_path: Path):
    rows = [separator.join(" ".join(map(str, joint)) for joint in frame) for frame in MOTION]
    check(put(tmp_path / "a.csv", "\n".join(rows)))
    head = separator.join(("Hips", "LeftHand", "RightHand"))
    check(put(tmp_path / "b.csv", "\n".join([head, *rows])))


@pytest.mark.parametrize("column", ["-1", "4"])
def test_class_of_each_frame_after_cells(column: str, tmp_path: Path):
    """The last column has no heading, as in PRECOG's files."""
    rows = [
        ";".join([*(" ".join(map(str, joint)) for joint in frame), label]) for frame, label in zip(MOTION, "01102", strict=True)
    ]
    (recording,) = read_table(put(tmp_path / "a.csv", "\n".join(["Hips; LeftHand; RightHand", *rows])), LAYOUT, column)
    assert recording.frame_labels == ("0", "1", "1", "0", "2")
    np.testing.assert_array_equal(recording.frames, MOTION.astype(np.float32))


def test_columns_that_are_no_joint(tmp_path: Path):
    head = "frame,timestamp_ms,label,battery," + ",".join(f"{joint}_{axis}" for joint in ("a", "b") for axis in "xyz")
    rows = [f"{7 + 2 * k},{40 * k},{label},88," + ",".join(map(str, MOTION[k, :2].ravel())) for k, label in enumerate(LABELS)]
    (recording,) = read_table(put(tmp_path / "a.csv", "\n".join([head, *rows])), None)
    assert recording.joints == ("a", "b") and recording.frame_labels == tuple(LABELS)
    assert recording.times is not None and recording.numbers is not None
    np.testing.assert_allclose(recording.times, [0, 0.04, 0.08, 0.12, 0.16])
    np.testing.assert_array_equal(recording.numbers, [7, 9, 11, 13, 15])
    np.testing.assert_array_equal(recording.frames, MOTION[:, :2].astype(np.float32))
    assert recording.notes == ("left out, columns that name no joint's axis: 'battery'",)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (["0.5", "0.54", "0.58"], [0.5, 0.54, 0.58]),
        (["1000", "1033", "1066"], [1.0, 1.033, 1.066]),
        (["33333", "66666", "99999"], [0.033333, 0.066666, 0.099999]),
        (["2026-01-02T03:04:05.000", "2026-01-02T03:04:05.040", "2026-01-02T03:04:05.080"], None),
    ],
)
def test_units_of_time(times: list[str], expected: list[float] | None, tmp_path: Path):
    rows = [f"{time},{','.join(map(str, frame.ravel()))}" for time, frame in zip(times, MOTION, strict=False)]
    head = "time," + ",".join(f"{joint}{axis}" for joint in "abc" for axis in "XYZ")
    (recording,) = read_table(put(tmp_path / "a.csv", "\n".join([head, *rows])), None)
    assert recording.times is not None
    if expected is None:
        np.testing.assert_allclose(np.diff(recording.times), 0.04, atol=1e-6)
    else:
        np.testing.assert_allclose(recording.times, expected)


def test_persons(tmp_path: Path):
    """A line a person and frame: each person is a recording with frames of their own."""
    head = "frame,person," + ",".join(f"{joint}_{axis}" for joint in ("a", "b", "c") for axis in "xyz")
    rows = [f"{k},{who}," + ",".join(map(str, MOTION[k].ravel())) for k, who in enumerate(["Ann", "Bob", "Ann", "Ann", "Bob"])]
    ann, bob = read_table(put(tmp_path / "a.csv", "\n".join([head, *rows])), None)
    assert (ann.person, bob.person) == (0, 1)
    np.testing.assert_array_equal(ann.frames, MOTION[[0, 2, 3]].astype(np.float32))
    assert bob.numbers is not None and bob.numbers.tolist() == [1, 4]


def test_missing_values(tmp_path: Path):
    rows = [["1", "2", "3", "", "5", "6", "nan", "NaN", "null"], [*"123456789"]]
    (recording,) = read_table(put(tmp_path / "a.csv", "\n".join(",".join(row) for row in rows)), LAYOUT)
    assert np.isnan(recording.frames[0]).tolist() == [[False] * 3, [True] * 3, [True] * 3]
    assert recording.frames[1].ravel().tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    empty = put(tmp_path / "b.csv", "1 2 3;;7 8 9\n1 2 3;4 5 6;7 8 9")
    (recording,) = read_table(empty, LAYOUT)
    assert np.isnan(recording.frames[0, 1]).all() and recording.frames[1, 1].tolist() == [4, 5, 6]


def test_images(tmp_path: Path):
    """x, y and confidence; a joint of confidence 0 was not seen; without a confidence it is 1."""
    head = ",".join(f"{joint}_{axis}" for joint in ("a", "b", "c") for axis in ("x", "y", "confidence"))
    (recording,) = read_table(put(tmp_path / "a.csv", f"{head}\n10,20,0.9,30,40,0,50,60,1"), None)
    assert recording.space == "xyc"
    np.testing.assert_array_equal(recording.frames[0], np.array([[10, 20, 0.9], [np.nan] * 3, [50, 60, 1]], np.float32))
    (recording,) = read_table(put(tmp_path / "b.csv", "10,20,30,40,50,60"), LAYOUT)
    assert recording.space == "xyc" and recording.frames[0].tolist() == [[10, 20, 1], [30, 40, 1], [50, 60, 1]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("a_x,a_y,a_z\n", "only headings"),
        ("1,2,3,4,5,6,7,8", r"found 8 columns of numbers, expected 9 or 6: layout three has 3 joints"),
        ("1,2,3,4,5,6,7,8,9,0", "say by --label-column|Say which by --label-column"),
        ("1,2,3,4,5,6,7,8,9\n1,2,3,4,5,6,7,8", "line 2: found 8 columns, expected 9"),
        ("1,2,3,4,5,6,7,8,9\n1,2,3,4,x,6,7,8,9", "line 2, column 5: found 'x', expected a finite number"),
        ("1,2,3,4,5,6,7,8,9\n1,2,3,4,inf,6,7,8,9", "line 2, column 5: found 'inf'"),
        ("1,2,3,4,5,6,7,8,9\n1,2,3,4,1e39,6,7,8,9", "line 2, column 5: found '1e39'"),
        ("1 2 3;4 5;7 8 9", "found cells of 2 and 3 numbers"),
        ("1 2 3;4 5 6;7 8 9\n1 2 3;4 5;7 8 9", "line 2, column 2: found '4 5', expected 3 numbers"),
        ("1 2 3;4 5 6", "found 2 joints, layout three has 3"),
        ("a_x,a_y,b_x,b_y,b_z,c_x,c_y,c_z\n1,2,3,4,5,6,7,8", "joint 'a' has the columns x, y, the others x, y, z"),
        ("a_y,b_y\n1,2", "found columns y of each joint"),
    ],
)
def test_what_is_wrong_is_said(text: str, message: str, tmp_path: Path):
    path = put(tmp_path / "bad.csv", text)
    with pytest.raises(InputError, match=message) as caught:
        read_table(path, LAYOUT)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("column", ["0", "11", "-11", "mood"])
def test_no_such_label_column(column: str, tmp_path: Path):
    with pytest.raises(InputError, match="column"):
        read_table(put(tmp_path / "a.csv", "1,2,3,4,5,6,7,8,9,2"), LAYOUT, column)


def test_not_text(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"1,2,3\n4,\xff5,6\n")
    with pytest.raises(InputError, match="line 2: found the byte 0xff"):
        read_table(path, LAYOUT)
    path.write_bytes(b"1,2,3\n4,\0005,6\n")
    with pytest.raises(InputError, match="line 2: found a zero byte"):
        read_table(path, LAYOUT)


GOOD = ("time;Hips;LeftHand;RightHand\n" + "\n".join(f"{k};1 2 {k};4 5 6;7 8 9" for k in range(4))).encode()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_tables_are_read_or_refused(tmp_path: Path, data: st.DataObject):
    raw = bytearray(GOOD)
    for _ in range(data.draw(st.integers(0, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    raw = raw[: data.draw(st.integers(0, len(raw)))]
    path = tmp_path / "a.csv"
    path.write_bytes(raw)
    try:
        recordings = read_table(path, LAYOUT)
    except InputError:
        return  # what the message says is the other tests' matter
    assert all(np.isfinite(each.frames[~np.isnan(each.frames)]).all() for each in recordings)
