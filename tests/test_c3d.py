"""C3D files, against files that are written here byte by byte, and one that another library wrote."""

import base64
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from symgnn.data.readers import c3d
from symgnn.data.readers.c3d import read_c3d
from symgnn.errors import InputError

fuzz = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

EZC3D = (
    b"c-rk$!EVz)5S?AGohC%RapDs30a1ZN1sA-"
    b"r*NG+9Ypu5kdPyTxiAtnJQ4j5j9{G%Z0RPY&Ir0g71qT`kZ*50S=?7Fo8ENgAc{4k2XUFD+M}in}>JZW8wSY$SZ9p6OM_%sykEdb<xBjxwX>L8"
    b"D1=}xG+`<gN2v{ZuDl4DTlD9p1ax!_9C8M}f%u0!Ndp+v1Se21U3!Cb^Y#|=`H>`|grrH=UH(2De{XDhh7A+Z{PEpE8+n^Y?pDdPEj!P?zb@k!"
    b"?#S$a;ROw6%W$;JlGSfpxldotxKd)&%LRrp}^W=iM{2m`pZ9Y`_c%9R0@_A)%lVH4ZxD{}nB&D();?4{4c}2b1Xu)rpk0OL8+U!YNp+tfY5E>w"
    b"tX!|#yNR5k3S{DTB!dp>yv7UWbs5(}72g>NGCUaQJi?qp=!Bzr}z|$rjrg?1v9LYRaS)JSQaEdWFnDlKOu(dGSN_Tu$Q>@kOh`WvU9e(F30#P@"
    b"#IZ#*JYbHA4Qc~UQ>EEb>=tYcDE&mNDBM`U2{Ac~${&V;uom&~%C-6P~G?^Wr9nEG(;fK?+>E!rh|NZH7^LKeTxttSSg+zz4v9Ixf{-"
    b"v=A*bek7xt0^wUyIA@A^$tx=M6spe7l?+0viGQy0+gOE5!N{Zu<YQ@)u<Hm2&"
)
"""A file of ezc3d 1.7.2: three markers of Anna, a gap, two frames at 100 Hz, two analog channels at 200 Hz."""

INTEL, DEC, MIPS = 84, 85, 86


def put(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


# A writer


def word(machine: int, number: int) -> bytes:
    return struct.pack(">H" if machine == MIPS else "<H", number & 0xFFFF)


def real(machine: int, number: float) -> bytes:
    """A 32-bit float: a VAX has a bias of two more than IEEE 754, and the upper word first."""
    if machine != DEC:
        return struct.pack(">f" if machine == MIPS else "<f", number)
    upper, lower = struct.unpack(">HH", struct.pack(">f", 4 * number))
    return struct.pack("<HH", upper, lower)


def parameter(machine: int, name: str, group: int, kind: int, sizes: Sequence[int], data: bytes, last: bool = False) -> bytes:
    about = b"why"
    body = struct.pack("bB", kind, len(sizes)) + bytes(sizes) + data + bytes([len(about)]) + about
    step = word(machine, 0 if last else len(body) + 2)
    return struct.pack("bb", -len(name) if group % 2 else len(name), group) + name.encode() + step + body


def group(machine: int, name: str, number: int) -> bytes:
    return struct.pack("bb", len(name), -number) + name.encode() + word(machine, 3) + b"\0"


def letters(machine: int, name: str, words: Sequence[str], number: int = 1, **more: bool) -> bytes:
    cells = [each.encode() for each in words]
    length = max([1, *map(len, cells)])
    sizes = [length, len(cells)]
    return parameter(machine, name, number, -1, sizes, b"".join(cell.ljust(length) for cell in cells), **more)


def file_of(
    places: np.ndarray,
    *,
    machine: int = INTEL,
    scale: float = -1.0,
    residuals: np.ndarray | None = None,
    labels: Sequence[str] | None = None,
    samples: int = 0,
    unit: str = "mm",
    rate: float | None = 100.0,
    header: Mapping[int, bytes] | None = None,
    more: bytes = b"",
    groups_last: bool = False,
) -> bytes:
    """A C3D file of points (time, point, 3), int16 where the scale is positive; ``header`` overwrites bytes of block 1."""
    frames, points, _ = places.shape
    residuals = np.zeros((frames, points)) if residuals is None else residuals
    point = group(machine, "POINT", 1)
    parameters = b"" if groups_last else point
    parameters += parameter(machine, "USED", 1, 2, [], word(machine, points))
    parameters += parameter(machine, "SCALE", 1, 4, [], real(machine, scale))
    if rate is not None:
        parameters += parameter(machine, "RATE", 1, 4, [], real(machine, rate))
    parameters += letters(machine, "UNITS", [unit])
    for first in range(0, len(labels or ()), 255):
        name = f"LABELS{first // 255 + 1}" if first else "LABELS"
        parameters += letters(machine, name, (labels or ())[first : first + 255])
    parameters += more
    if groups_last:
        parameters += point
    parameters = bytes([1, 0x50, 0, machine]) + parameters + b"\0\0"
    blocks = -(-len(parameters) // 512)
    parameters = parameters.ljust(512 * blocks, b"\0")
    parameters = parameters[:2] + bytes([min(blocks, 255)]) + parameters[3:]

    start = bytearray(512)
    start[:2] = [2, 0x50]
    for number, value in enumerate((points, samples, 1, frames, 10), start=1):
        start[2 * number : 2 * number + 2] = word(machine, value)
    start[12:16] = real(machine, scale)
    start[16:18] = word(machine, 2 + blocks)
    start[20:24] = real(machine, rate or 0)
    for place, data in (header or {}).items():
        start[place : place + len(data)] = data
    data = bytearray()
    for frame in range(frames):
        for joint in range(points):
            values = [*places[frame, joint].tolist(), float(residuals[frame, joint])]
            if scale > 0:
                data += b"".join(word(machine, round(value / scale)) for value in values[:3]) + word(machine, round(values[3]))
            else:
                data += b"".join(real(machine, value) for value in values)
        data += (word(machine, 77) if scale > 0 else real(machine, 77)) * samples
    return bytes(start) + parameters + bytes(data) + bytes(-len(data) % 512)


def places_of(frames: int = 4, points: int = 3, seed: int = 0, scale: float = -1) -> np.ndarray:
    """Coordinates that the file can say exactly."""
    random = np.random.default_rng(seed)
    if scale > 0:
        return random.integers(-32768, 32768, size=(frames, points, 3)) * np.float64(scale)
    return random.normal(scale=500, size=(frames, points, 3)).astype(np.float32).astype(np.float64)


# What files say


def test_a_file_of_another_library(tmp_path: Path):
    (found,) = read_c3d(put(tmp_path / "a.c3d", zlib.decompress(base64.b85decode(EZC3D))))
    nan = [np.nan] * 3
    expected = [[[-4, 5, 14], [-1, 8, 17], [2, 11, 20]], [[-2.5, 6.5, 15.5], nan, [3.5, 12.5, 21.5]]]
    np.testing.assert_array_equal(found.frames, expected)
    assert found.frames.dtype == np.float32 and found.space == "xyz" and not found.parents
    assert (found.joints, found.subject, found.unit, found.fps) == (("LFHD", "RFHD", "C7"), "Anna", "mm", 100.0)


@pytest.mark.parametrize("machine", [INTEL, DEC, MIPS])
@pytest.mark.parametrize("scale", [-1.0, -0.1, 0.5, 0.0625])
@pytest.mark.parametrize("samples", [0, 7])
def test_every_machine_and_kind_of_numbers(tmp_path: Path, machine: int, scale: float, samples: int):
    places = places_of(frames=5, scale=scale)
    residuals = np.zeros((5, 3))
    residuals[0, 1], residuals[2, 2], residuals[3] = -1, 3, (-1, 0x1F05, -256)
    content = file_of(
        places, machine=machine, scale=scale, residuals=residuals, samples=samples, labels=["A", "B", "C"], rate=119.88
    )
    (found,) = read_c3d(put(tmp_path / "a.c3d", content))
    expected = places.astype(np.float32)
    for frame, point in ((0, 1), (3, 0), (3, 2)):
        expected[frame, point] = np.nan
    np.testing.assert_array_equal(found.frames, expected)
    assert found.joints == ("A", "B", "C") and found.fps == pytest.approx(119.88, rel=1e-6) and found.unit == "mm"


@pytest.mark.parametrize(
    ("pattern", "value"),
    [
        ("80400000", 1.0),
        ("80c00000", -1.0),
        ("60410000", 3.5),
        ("60c10000", -3.5),
        ("4941d00f", 3.14159),
        ("49c1d00f", -3.14159),
        ("f07dc2bd", 1e37),
        ("ea1c0803", 1e-37),
        ("00000000", 0.0),
        ("9e405206", 1.23456789),
        ("ff7fffff", 1.70141173e38),  # beyond IEEE's exponents by the same bits
    ],
)
def test_dec_numbers(tmp_path: Path, pattern: str, value: float):
    """Bit patterns of F_floating as VAX manuals print them."""
    content = bytearray(file_of(np.ones((1, 1, 3)), machine=DEC))
    place = content.index(real(DEC, 1.0) * 3, 1024)
    content[place : place + 4] = bytes.fromhex(pattern)
    (found,) = read_c3d(put(tmp_path / "a.c3d", bytes(content)))
    assert found.frames[0, 0].tolist() == pytest.approx([value, 1, 1], rel=3e-6)


def test_missing_coordinates(tmp_path: Path):
    places = places_of()
    places[1, 2, 0] = np.nan
    (found,) = read_c3d(put(tmp_path / "a.c3d", file_of(places)))
    assert np.isnan(found.frames[1, 2]).all() and np.isnan(found.frames).sum() == 3
    assert found.joints == ()  # the file names none


def test_groups_after_their_parameters(tmp_path: Path):
    (found,) = read_c3d(put(tmp_path / "a.c3d", file_of(places_of(), labels=["A", "B", "C"], groups_last=True)))
    assert found.joints == ("A", "B", "C") and found.fps == 100.0


def test_more_points_than_a_parameter_holds(tmp_path: Path):
    labels = [f"M{number}" for number in range(600)]
    places = places_of(frames=2, points=600)
    (found,) = read_c3d(put(tmp_path / "a.c3d", file_of(places, labels=labels)))
    assert found.joints == tuple(labels)
    np.testing.assert_array_equal(found.frames, places.astype(np.float32))


def test_rate_of_the_header_or_none(tmp_path: Path):
    header = {20: real(INTEL, 250)}
    assert read_c3d(put(tmp_path / "a.c3d", file_of(places_of(), rate=None, header=header)))[0].fps == 250
    assert read_c3d(put(tmp_path / "b.c3d", file_of(places_of(), rate=None)))[0].fps is None
    whole = parameter(INTEL, "RATE", 1, 2, [], word(INTEL, 60))
    assert read_c3d(put(tmp_path / "c.c3d", file_of(places_of(), rate=None, more=whole)))[0].fps == 60


# Labels


def labelled(tmp_path: Path, *labels: str, more: bytes = b"") -> list:
    places = places_of(frames=2, points=len(labels))
    found = read_c3d(put(tmp_path / "a.c3d", file_of(places, labels=labels, more=more)))
    return [
        (each.person, each.subject, each.joints, [int(np.argmin(abs(places[0, :, 0] - x))) for x in each.frames[0, :, 0]])
        for each in found
    ]


def test_subjects_before_the_colon(tmp_path: Path):
    assert labelled(tmp_path, "Anna:LFHD", "Anna:RFHD", "*2") == [(0, "Anna", ("LFHD", "RFHD", "*2"), [0, 1, 2])]
    assert labelled(tmp_path, "Lab: Anna:LFHD ", "C7") == [(0, "Lab: Anna", ("LFHD", "C7"), [0, 1])]
    # A ball has other markers than a person: one body, of nobody.
    assert labelled(tmp_path, "Anna:LFHD", "Ball:1") == [(0, "", ("LFHD", "1"), [0, 1])]


def test_two_persons(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    found = labelled(tmp_path, "Anna:LFHD", "Ben:LFHD", "*3", "Ben:C7", "Anna:C7")
    assert found == [(0, "Anna", ("LFHD", "C7"), [0, 4]), (1, "Ben", ("LFHD", "C7"), [1, 3])]
    assert "left out, points of none of Anna, Ben: *3" in caplog.text


def test_labels_that_are_missing_or_occur_twice(tmp_path: Path):
    assert labelled(tmp_path, "A", "", "A", "A_2", "A") == [(0, "", ("A", "point2", "A_3", "A_2", "A_4"), [0, 1, 2, 3, 4])]
    few = file_of(places_of(points=4), labels=["A", "B"])
    assert read_c3d(put(tmp_path / "few.c3d", few))[0].joints == ("A", "B", "point3", "point4")
    many = file_of(places_of(points=1), labels=["A", "B"])
    assert read_c3d(put(tmp_path / "many.c3d", many))[0].joints == ("A",)
    foreign = file_of(places_of(points=1), labels=["Zeh"]).replace(b"Zeh", b"Z\xe9h")
    assert read_c3d(put(tmp_path / "foreign.c3d", foreign))[0].joints == ("Z\u00e9h",)


def test_modelled_values_are_no_places(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    more = letters(INTEL, "ANGLES", ["Anna:LHip"]) + letters(INTEL, "POWERS", ["Anna:LPow"])
    assert labelled(tmp_path, "Anna:C7", "Anna:LHip", "Anna:T10", "Anna:LPow", more=more) == [
        (0, "Anna", ("C7", "T10"), [0, 2])
    ]
    assert "left out, modelled values that are no places: Anna:LHip, Anna:LPow" in caplog.text
    with pytest.raises(InputError, match=r"found modelled values \(angles, forces\) only, expected points in space"):
        labelled(tmp_path, "Anna:LHip", more=more)


# Long recordings


def test_more_frames_than_the_header_counts(tmp_path: Path):
    """TRIAL's two words a number count beyond 65,535; POINT:LONG_FRAMES and POINT:FRAMES do where it is not there."""
    places = np.zeros((70_000, 1, 3), np.float32)
    places[:, 0, 1] = np.arange(70_000)
    data = np.zeros((70_000, 4), "<f4")
    data[:, :3] = places[:, 0]
    header = {6: word(INTEL, 1), 8: word(INTEL, 0xFFFF)}

    def written(more: bytes, header: Mapping[int, bytes] = header) -> Path:
        head = file_of(np.zeros((1, 1, 3)), header=header, more=more)[:-512]
        return put(tmp_path / "long.c3d", head + data.tobytes())

    trial = group(INTEL, "TRIAL", 2)
    for name, frame in (("START", 11), ("END", 70_010)):
        trial += parameter(INTEL, f"ACTUAL_{name}_FIELD", 2, 2, [2], word(INTEL, frame) + word(INTEL, frame >> 16))
    for more in (trial, parameter(INTEL, "LONG_FRAMES", 1, 4, [], real(INTEL, 70_000))):
        np.testing.assert_array_equal(read_c3d(written(more))[0].frames, places)
    # Short of these the header counts as far as it can.
    np.testing.assert_array_equal(read_c3d(written(b""))[0].frames, places[:65_535])
    wrapped = {6: word(INTEL, 65_530), 8: word(INTEL, 5)}
    frames = parameter(INTEL, "FRAMES", 1, 2, [], word(INTEL, 40_000))
    np.testing.assert_array_equal(read_c3d(written(frames, wrapped))[0].frames, places[:40_000])
    with pytest.raises(InputError, match="found frames 65530 to 5, expected the last one not before the first"):
        read_c3d(written(b"", wrapped))


def test_a_header_that_claims_everything_allocates_nothing(tmp_path: Path):
    header = {2: b"\xff\xff\xff\xff\x01\0\xfe\xff"}
    used = parameter(INTEL, "USED", 1, 2, [], word(INTEL, 65_535))
    content = file_of(places_of(), header=header).replace(parameter(INTEL, "USED", 1, 2, [], word(INTEL, 3)), used)
    claimed = 65_534 * 4 * (4 * 65_535 + 65_535) + 1024
    with pytest.raises(InputError, match=f"found 1,536 bytes, expected {claimed:,} for 65,534 frames of 65535 points"):
        read_c3d(put(tmp_path / "a.c3d", content))
    long = {6: word(INTEL, 1), 8: word(INTEL, 0xFFFF)}
    billion = parameter(INTEL, "LONG_FRAMES", 1, 4, [], real(INTEL, 1e9))
    with pytest.raises(InputError, match="for 1,000,000,000 frames of 3 points and 0 samples: the file is cut short"):
        read_c3d(put(tmp_path / "b.c3d", file_of(places_of(), header=long, more=billion)))


# Bad files


GOOD = file_of(places_of(), labels=["A", "B", "C"])


def altered(**changes: object) -> bytes:
    return file_of(places_of(), labels=["A", "B", "C"], **changes)


def patched(place: int, data: bytes) -> bytes:
    return GOOD[:place] + data + GOOD[place + len(data) :]


LABELS_AT = GOOD.index(b"LABELS") - 2
UNITS_AT = GOOD.index(b"UNITS") - 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty; expected a C3D file"),
        (GOOD[:511], "found 511 bytes, expected a C3D file: a header of 512 bytes with 0x50 at byte 1"),
        (b"Head_x,Head_y\n" * 50, "found 0x65 at byte 1, expected a C3D file"),
        (patched(0, b"\x00"), "byte 0: found parameters in block 0, expected one of 2 to 3"),
        (patched(0, b"\x09"), "byte 0: found parameters in block 9, expected one of 2 to 3"),
        (GOOD[:512], "byte 0: found parameters in block 2, expected one of 2 to 1"),
        (patched(515, b"\x07"), "byte 515: found processor 7, expected 84 (Intel), 85 (DEC) or 86 (MIPS)"),
        (patched(2, word(INTEL, 4)), "found 4 points in the header and 3 in POINT:USED, expected the same"),
        (file_of(np.zeros((3, 0, 3)), samples=4), "found no points, expected some: the file holds analog channels only"),
        (patched(16, word(INTEL, 0)), "byte 16: found data in block 0, expected one of 2 to 3"),
        (patched(16, word(INTEL, 99)), "byte 16: found data in block 99, expected one of 2 to 3"),
        (patched(8, word(INTEL, 0)), "byte 6: found frames 1 to 0, expected the last one not before the first"),
        (
            patched(8, word(INTEL, 40)),
            "found 1,536 bytes, expected 2,944 for 40 frames of 3 points and 0 samples: the file is cut",
        ),
        (patched(12, real(INTEL, 1)), "found scale 1.0 in the header and -1.0 in POINT:SCALE, expected the same sign"),
        (altered(scale=0.0), "POINT:SCALE: found 0.0, expected a number other than zero"),
        (altered(scale=float("nan")), "POINT:SCALE: found nan, expected a number other than zero"),
        (
            patched(LABELS_AT, b"\x7f"),
            "found a parameter of type 0 and 0 dimensions, expected type -1, 1, 2 or 4 and at most 7",
        ),
        (patched(UNITS_AT + 7, word(INTEL, 5000)), f"byte {UNITS_AT}: found a parameter that reaches beyond its end"),
        (patched(UNITS_AT + 7, word(INTEL, 1)), f"byte {UNITS_AT}: found a parameter that reaches beyond its end"),
        (patched(UNITS_AT + 9, b"\x03"), "found a parameter of type 3 and 2 dimensions, expected type -1, 1, 2 or 4"),
        (patched(UNITS_AT + 10, b"\x08"), "found a parameter of type -1 and 8 dimensions"),
        (patched(UNITS_AT + 11, b"\xff\xff"), f"byte {UNITS_AT}: found a parameter that reaches beyond its end"),
        (patched(LABELS_AT + 10, b"\x01"), "POINT:LABELS: found numbers, expected letters"),
        (altered(rate=None, more=letters(INTEL, "RATE", ["fast"])), "POINT:RATE: found the letters 'fast', expected a number"),
        (patched(GOOD.index(b"USED") + 6, b"\x04\x00" + real(INTEL, 2.5)), "POINT:USED: found 2.5, expected a whole number"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, content: bytes, message: str):
    path = put(tmp_path / "bad.c3d", content)
    with pytest.raises(InputError) as caught:
        read_c3d(path)
    assert message in str(caught.value) and str(path) in str(caught.value)


def test_coordinates_that_are_infinite(tmp_path: Path):
    places = places_of()
    places[2, 1, 0] = np.inf
    with pytest.raises(InputError, match="frame 3, point 2: found an infinite coordinate, expected a number"):
        read_c3d(put(tmp_path / "a.c3d", file_of(places)))
    content = bytearray(file_of(np.full((1, 1, 3), 100.0), scale=1.0))
    content[12:16] = huge = real(INTEL, 3e38)
    content = content.replace(
        b"SCALE" + word(INTEL, 12) + b"\x04\x00" + real(INTEL, 1), b"SCALE" + word(INTEL, 12) + b"\x04\x00" + huge
    )
    with pytest.raises(InputError, match="frame 1, point 1: found an infinite coordinate"):
        read_c3d(put(tmp_path / "b.c3d", bytes(content)))


def test_groups_of_others_may_be_as_they_like(tmp_path: Path):
    """What is not read is not judged: a maker's own group with a type that does not exist."""
    more = group(INTEL, "MAKER", 3) + parameter(INTEL, "OWN", 3, 9, [200, 200], b"")
    (found,) = read_c3d(put(tmp_path / "a.c3d", altered(more=more)))
    assert found.joints == ("A", "B", "C")


def test_endless_parameters_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Parameters behind the data could fill the file; they are read up to a bound."""
    monkeypatch.setattr(c3d, "_PARAMETER_BYTES", 100)
    with pytest.raises(InputError, match="found a parameter that reaches beyond its end"):
        read_c3d(put(tmp_path / "a.c3d", GOOD))


def test_persons_without_number(tmp_path: Path):
    """Every point a subject of its own, all with the same marker."""
    points = 3000
    labels = [f"{number}:x" for number in range(points)]
    places = np.zeros((1, points, 3), np.float32)
    found = read_c3d(put(tmp_path / "a.c3d", file_of(places, labels=labels)))
    assert len(found) == points and found[-1].joints == ("x",) and found[-1].person == points - 1


SAMPLES = [
    GOOD,
    zlib.decompress(base64.b85decode(EZC3D)),
    file_of(places_of(scale=0.5), scale=0.5, machine=DEC, labels=["S:A", "T:A", "T:B"], samples=2),
    file_of(places_of(), machine=MIPS, labels=["A", "B", "C"], samples=1, groups_last=True),
]


@settings(fuzz, max_examples=250)
@given(st.sampled_from(SAMPLES), st.data())
def test_damaged_files_give_an_error_or_recordings(tmp_path: Path, sample: bytes, data: st.DataObject):
    raw = bytearray(sample)
    used = len(sample.rstrip(b"\0"))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.one_of(st.integers(0, 23), st.integers(512, 900), st.integers(0, used)))
        match data.draw(st.sampled_from(["cut", "flip", "set", "word", "drop", "put"])):
            case "cut":
                del raw[place:]
            case "flip" if place < len(raw):
                raw[place] ^= 1 << data.draw(st.integers(0, 7))
            case "set" if place < len(raw):
                raw[place] = data.draw(st.integers(0, 255))
            case "word" if place + 2 <= len(raw):
                raw[place : place + 2] = data.draw(st.sampled_from([b"\0\0", b"\xff\xff", b"\xff\x7f", b"\0\x80", b"\1\0"]))
            case "drop":
                del raw[place : place + data.draw(st.integers(1, 9))]
            case _:
                raw[place:place] = data.draw(st.binary(min_size=1, max_size=9))
    path = put(tmp_path / "damaged.c3d", bytes(raw))
    try:
        found = read_c3d(path)
    except InputError as error:
        named = str(path) in str(error)
    else:
        named = bool(found)
        for each in found:
            assert not np.isinf(each.frames).any() and len(each.frames) and each.frames.shape[1]
            assert (np.isnan(each.frames).all(axis=2) == np.isnan(each.frames).any(axis=2)).all()
            assert len(each.joints) in (0, each.frames.shape[1]) and len(set(each.joints)) == len(each.joints)
            assert each.fps is None or 0 < each.fps < np.inf
    assert named
