"""Pickles of unknown origin, and the recognition toolkits' pickles and arrays."""

import math
import os
import pickle
import pickletools
import struct
import tracemalloc
import zipfile
from collections import Counter, OrderedDict, defaultdict
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from symgnn.data.readers.safe_pickle import DEEPEST, LONGEST_KEY, load_pickle
from symgnn.data.readers.toolkit_pickle import read_toolkit_arrays, read_toolkit_pickle
from symgnn.data.recording import Recording
from symgnn.errors import InputError
from symgnn.skeleton import load_layout

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def load(tmp_path: Path, content: bytes) -> Any:
    return load_pickle(put(tmp_path / "file.pkl", content))


def refused(tmp_path: Path, content: bytes) -> str:
    with pytest.raises(InputError) as caught:
        load(tmp_path, content)
    assert str(caught.value).startswith(f"{tmp_path / 'file.pkl'}: ")
    return str(caught.value)


def same(found: Any, expected: Any) -> None:
    """Equal in value and type, all the way down; NaN equals NaN."""
    assert type(found) is type(expected)
    if isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype and found.shape == expected.shape
        assert found.tobytes() == expected.tobytes()
    elif isinstance(expected, dict):
        same(list(found.items()), list(expected.items()))
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            same(one, other)
    elif isinstance(expected, float | np.generic):
        np.testing.assert_equal(found, expected)
    else:
        assert found == expected


# What Python's own pickle writes and reads


keys = st.one_of(st.text(max_size=5), st.integers(-(2**62), 2**62), st.booleans(), st.none(), st.binary(max_size=4))
arrays = npst.arrays(
    st.one_of(
        npst.boolean_dtypes(),
        npst.integer_dtypes(endianness="?"),
        npst.unsigned_integer_dtypes(endianness="?"),
        npst.floating_dtypes(endianness="?"),
        npst.complex_number_dtypes(endianness="?", sizes=(64, 128)),
        npst.unicode_string_dtypes(max_len=4),
        npst.byte_string_dtypes(max_len=4),
    ),
    npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)
leaves = st.one_of(
    *(st.none(), st.booleans(), st.integers(-(2**200), 2**200), st.floats(), st.text(max_size=9), st.binary(max_size=300)),
    *(
        st.sets(keys, max_size=4),
        st.frozensets(keys, max_size=4),
        arrays,
        arrays.map(np.asfortranarray),
        arrays.map(np.transpose),
    ),
    *(arrays.filter(lambda array: array.size).map(lambda array: array.flat[0]), st.binary(max_size=9).map(bytearray)),
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        *(st.lists(inner, max_size=4), st.lists(inner, max_size=4).map(tuple), st.dictionaries(keys, inner, max_size=4)),
        # One object in several places, as the memo has it.
        inner.map(lambda value: [value, (value, value)]),
    ),
    max_leaves=8,
)


@settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(trees, st.sampled_from(PROTOCOLS))
def test_whatever_pickle_writes_is_read(tmp_path: Path, tree: Any, protocol: int):
    content = pickle.dumps(tree, protocol)
    same(load(tmp_path, content), pickle.loads(content))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_dicts_of_other_kinds_become_dicts(tmp_path: Path, protocol: int):
    tree = {"b": OrderedDict(z=1, a=[2]), "a": defaultdict(list, {"q": [1.5]}), "c": defaultdict(None, {1: 2})}
    same(load(tmp_path, pickle.dumps(tree, protocol)), {"b": {"z": 1, "a": [2]}, "a": {"q": [1.5]}, "c": {1: 2}})


def test_numpy_1_names(tmp_path: Path):
    content = pickle.dumps([np.arange(6.0).reshape(2, 3), np.float32(0.5)], 2)
    assert b"numpy._core.multiarray" in content
    same(load(tmp_path, content.replace(b"numpy._core", b"numpy.core")), [np.arange(6.0).reshape(2, 3), np.float32(0.5)])


def test_python_2(tmp_path: Path):
    """As cPickle of Python 2.7 with numpy 1.16 writes an array, a long and a string that is no ASCII."""
    state = "(I1\n(I2\ntcnumpy\ndtype\n(S'i2'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\nS'\\x01\\x00\\xfe\\xff'\ntb"
    array = f"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR{state}"
    text = f"(dS'a'\n{array}sVn\nL7L\nsS's'\nS'caf\\xe9'\ns."
    same(load(tmp_path, text.encode()), {"a": np.array([1, -2], np.int16), "n": 7, "s": "café"})
    # Protocol 2: strings are bytes with their length.
    binary = (
        b"\x80\x02}U\x01acnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02\x85cnumpy\ndtype\n"
        b"U\x02i2K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x04\x01\x00\xfe\xfftbs."
    )
    same(load(tmp_path, binary), {"a": np.array([1, -2], np.int16)})


def test_types_shared_with_numpy_stay_as_they_are(tmp_path: Path):
    load(tmp_path, pickle.dumps([np.zeros(2, ">i4"), np.zeros(2, ">f8"), np.array(["a"], ">U3")]))
    assert np.dtype("i4").str == np.dtype(np.int32).str and np.dtype(np.float64).isnative and np.array(["abc"]).dtype.isnative


# What is refused


class Evil:
    def __init__(self, call: Any, *arguments: Any):
        self.reduced = call, arguments

    def __reduce__(self):
        return self.reduced


class Plain:
    """An object of a class."""


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("call", "arguments", "name"),
    [
        (os.system, ("touch {}",), "posix.system"),
        (eval, ("open('{}', 'w')",), "eval"),
        (exec, ("open('{}', 'w')",), "exec"),
        (getattr, ("x", "upper"), "getattr"),
        (__import__, ("os",), "__import__"),
        (np.load, ("{}",), "numpy.load"),
        (np.fromfile, ("{}",), "fromfile"),
        (pickle.loads, (b"N.",), "pickle.loads"),
        (date, (2000, 1, 1), "datetime.date"),
        (Counter, ((1, 2),), "collections.Counter"),
        (Path, ("x",), "pathlib"),
    ],
)
def test_no_function_is_called(tmp_path: Path, protocol: int, call: Any, arguments: tuple, name: str):
    mark = tmp_path / "was here"
    arguments = tuple(argument.format(mark) if isinstance(argument, str) else argument for argument in arguments)
    message = refused(tmp_path, pickle.dumps({"x": [Evil(call, *arguments)]}, protocol))
    assert name in message and "numpy arrays and plain containers only" in message
    assert not mark.exists()


def name_of(text: str) -> bytes:
    module, name = text.split()
    return f"c{module}\n{name}\n".encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"(S'touch x'\nios\nsystem\n.", "byte 12: found 'os.system'"),  # INST
        (b"(cos\nsystem\nS'touch x'\no.", "found 'os.system'"),  # OBJ
        (b"\x8c\x02os\x8c\x06system\x93.", "found 'os.system'"),  # STACK_GLOBAL
        (b"K\x01K\x02\x93.", "a class whose name is no text"),
        (b"\x8c\x08builtins\x8c\x0e__class__.eval\x93.", "found 'builtins.__class__.eval'"),
        (name_of("collections OrderedDict") + b")\x81.", "found the opcode NEWOBJ"),
        (name_of("collections OrderedDict") + b")}\x92.", "found the opcode NEWOBJ_EX"),
        (b"Pid\n.", "found the opcode PERSID"),
        (b"Nq\x00Q.", "found the opcode BINPERSID"),
        (b"\x82\x01.", "found the opcode EXT1"),
        (b"\x83\x01\x00.", "found the opcode EXT2"),
        (b"\x84\x01\x00\x00\x00.", "found the opcode EXT4"),
        (b"\x97.", "found the opcode NEXT_BUFFER"),
        (b"N\x98.", "found the opcode READONLY_BUFFER"),
        (name_of("numpy ndarray") + b"(K\x09tR.", "found a call of numpy.ndarray"),
        (name_of("builtins list") + b")R.", "found a call of list"),
        (name_of("builtins list") + b".", "found list by itself"),
        (b"(" + name_of("numpy ndarray") + b"l.", "found numpy.ndarray by itself"),
        (b"(K\x01" + name_of("builtins set") + b"d.", "found set by itself"),
        (b"}" + name_of("builtins set") + b"K\x01s.", "found a _Named as a key"),
        (name_of("numpy dtype") + b"(S'f4'\nI0\nI1\ntR.", "an array without contents"),
        (name_of("_codecs encode") + b"(Vx\nVrot13\ntR.", "found bytes with other arguments"),
        (b"N)R.", "found a call of NoneType"),
        (b"}}b.", "found a state for dict"),
        (b"K\x01]b.", "found a state for int"),
    ],
)
def test_every_way_to_name_a_class(tmp_path: Path, content: bytes, message: str):
    assert message in refused(tmp_path, content)


def test_an_object_of_a_class(tmp_path: Path):
    assert "Plain" in refused(tmp_path, pickle.dumps(Plain()))
    assert "numpy.float32" in refused(tmp_path, pickle.dumps({"dtype": np.float32}))
    assert "slice" in refused(tmp_path, pickle.dumps(slice(1)))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array([1, "x", None], dtype=object), "found an array of 'O8', expected numbers or text"),
        (np.zeros(2, dtype=[("a", "f4")]), "found an array of 'V4'"),
        (np.array(["2000-01-01"], dtype="M8[D]"), "found an array of 'M8'"),
        (np.zeros(1, dtype="S5000"), "found an array of elements of 5,000 bytes"),
        (np.ma.masked_array([1.0]), "numpy.ma"),
        (np.rec.array([1.0]), "found"),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, protocol: int, value: np.ndarray, message: str):
    assert message in refused(tmp_path, pickle.dumps(value, protocol))


# What is not a pickle


WHOLE = pickle.dumps(
    {"a": np.arange(6.0).reshape(2, 3), "b": [np.int64(3), ("x", 1.5)], "c": {1}, "d": OrderedDict(a=b"xy")}, 4
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty; expected a pickle"),
        (b"\x80\x06N.", "found a pickle of protocol 6, expected 0 to 5"),
        (b"\xfehello", "found the byte 0xfe, expected an opcode"),
        (b"N", "byte 1: found its end, expected an opcode"),
        (WHOLE + b"N.", "found 2 bytes after its end"),
        (b".", "found 0 objects at its end, expected one"),
        (b"NN.", "found 2 objects at its end"),
        (b"(N.", "found 1 objects at its end"),
        (b"t.", "found TUPLE without what it works on"),
        (b"\x85.", "found TUPLE1 without what it works on"),
        (b"g7\n.", "found GET without what it works on"),
        (b"a.", "found APPEND without what it works on"),
        (b"NNa.", "found NoneType filled as a list"),
        (b"](Ne.", ""),
        (b"}(Nu.", "found a key without a value"),
        (b"X\xff\xff\xff\x7fabc.", "BINUNICODE: expected 2147483647 bytes in a unicodestring4, but only 4 remain"),
        (b"\x8e" + b"\xff" * 8 + b".", "BINBYTES8: "),
        (b"\x96" + b"\xff" * 7 + b"\x00.", "BYTEARRAY8: "),
        (b"\x8b\xff\xff\xff\xff.", "LONG4: "),
        (b"L" + b"9" * 5000 + b"L\n.", "LONG: Exceeds the limit"),
        (b"\x8b\x64\x00\x00\x00" + b"\x7f" * 100 + b".", "found a number of 799 bits"),
        (b"S'a\n.", "STRING: found a line that is no string between quotes"),
        (b"S'\\q'\n.", "STRING: found the escape"),
        (b"I1x\n.", "INT: invalid literal"),
        (b"Fx\n.", "FLOAT: could not convert"),
        (b"V\\ud800\n.", "UNICODE: 'utf-8' codec can't encode"),
        (b"X\x01\x00\x00\x00\xff.", "BINUNICODE: 'utf-8' codec can't decode"),
        (b"\x95" + b"\xff" * 8 + b"N.", ""),
    ],
)
def test_no_whole_pickle(tmp_path: Path, content: bytes, message: str):
    if message:
        assert message in refused(tmp_path, content)
    else:
        same(load(tmp_path, content), pickle.loads(content) if content[:1] != b"\x95" else None)


def test_files_that_cannot_be_read(tmp_path: Path):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        load_pickle(tmp_path / "nowhere")
    with pytest.raises(InputError, match="not a file; expected a pickle"):
        load_pickle(tmp_path)


def bomb(levels: int, step: bytes) -> bytes:
    return b"".join([b"N", *(step for _ in range(levels)), b"."])


def array_bytes(shape: bytes, raw: bytes = b"C\x04\0\0\0\0", dtype: bytes = b"f4") -> bytes:
    """An array of float32 (or of another type), in protocol 3."""
    made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
    typed = (
        b"cnumpy\ndtype\nX"
        + struct.pack("<I", len(dtype))
        + dtype
        + b"K\x00K\x01\x87R(K\x03X\x01\0\0\0<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    )
    return made + b"(K\x01" + shape + typed + b"\x89" + raw + b"tb"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        # A claim of a billion elements, as shape, as first shape, by size of an element.
        (array_bytes(b"J\x00\xca\x9a\x3b\x85") + b".", "found 4 bytes for an array, expected 4,000,000,000 by its shape"),
        (array_bytes(b"(" + b"J\xff\xff\xff\x7f" * 20 + b"t") + b".", "found 4 bytes for an array"),
        (array_bytes(b"(" + b"K\x01" * 40 + b"t") + b".", "whose shape is no tuple of numbers"),
        (array_bytes(b"J\xff\xff\xff\xff\x85") + b".", "whose shape is no tuple of numbers"),
        (array_bytes(b"G" + b"\0" * 8 + b"\x85") + b".", "whose shape is no tuple of numbers"),
        (array_bytes(b"K\x00\x85", b"C\x00", b"S999999") + b".", "found an array of elements of 999,999 bytes"),
        (array_bytes(b"K\x00\x85", b"C\x00", b"U999999999") + b".", "found an array of 'U999999999'"),
        (array_bytes(b"J\x00\xca\x9a\x3b\x85", b"C\x00", b"S0") + b".", "found an array of elements of 0 bytes"),
        (array_bytes(b"K\x01\x85", b"]") + b".", "found a list as the contents of an array"),
        (array_bytes(b"K\x01\x85", b"C\x03\0\0\0") + b".", "found 3 bytes for an array, expected 4"),
        # An array shares one string of bytes many times over.
        (
            b"(C\x04\0\0\0\0q\x00"
            + b"".join(array_bytes(b"K\x01\x85", b"h\x00", b">f4").replace(b"C\x01b", b"N") for _ in range(9))
            + b"t.",
            "",
        ),
        # Tuples of the tuple before, twice: quick to write, forever to hash or print.
        (b"}" + bomb(50, b"2\x86")[:-1] + b"Ns.", "found a tuple as a key"),
        (b"\x8f(" + bomb(50, b"2\x86")[:-1] + b"\x90.", "found a tuple as a key"),
        (b"}X" + struct.pack("<I", LONGEST_KEY + 1) + b"x" * (LONGEST_KEY + 1) + b"Ns.", "found a key of 4,097 letters"),
        (b"}(" + b"N" * 17 + b"tNs.", "found a key of 17 values"),
        (b"}\x8a\x0a" + b"\x7f" * 10 + b"Ns.", "found a key of 79 bits"),
        # Deep.
        (bomb(DEEPEST + 1, b"\x85"), "found more than 64 containers within each other"),
        (bomb(10_000, b"\x85"), "found more than 64 containers within each other"),
        (b"]" * 10_000 + b"a" * 9_999 + b".", "found more than 64 containers within each other"),
        (b"}" + b"N}" * 10_000 + b"s" * 10_000 + b".", "found more than 64 containers within each other"),
        (b"(" * 10_000 + b"t" * 10_000 + b".", "found more than 64 containers within each other"),
        # Within itself.
        (b"]q\x00h\x00a.", "found a list that holds itself"),
        (b"]q\x00(h\x00tq\x01a.", "that holds itself"),
        (b"}q\x00Nh\x00s.", "found a dict that holds itself"),
    ],
)
def test_bombs(tmp_path: Path, content: bytes, message: str):
    if message:
        assert message in refused(tmp_path, content)
    else:
        load(tmp_path, content)


def test_shared_tuples_are_no_bomb(tmp_path: Path):
    """2^60 paths lead through 60 tuples; each is looked at once."""
    found = load(tmp_path, bomb(60, b"2\x86"))
    assert len(found) == 2 and found[0] is found[1]


def peak(action: Any) -> int:
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_stays_in_proportion(tmp_path: Path):
    """Claims, memo indices and copies of shared bytes cost what the file costs."""
    claims = [
        b"X\xff\xff\xff\x7fabc.",
        b"\x8e" + struct.pack("<Q", 1 << 40) + b".",
        b"\x96" + struct.pack("<Q", 1 << 40) + b".",
        b"Nr\xff\xff\xff\xff0N.",
        array_bytes(b"J\x00\xca\x9a\x3b\x85") + b".",
        array_bytes(b"K\x00\x85", b"C\x00", b"S999999") + b".",
    ]
    for content in claims:
        with suppress(InputError):
            assert peak(lambda content=content: suppressed(tmp_path, content)) < 1 << 20
    # 20 kB of bytes in a hundred arrays of the other byte order, which numpy copies.
    shared = b"C\xc8" + b"\0" * 200
    shared = b"B" + struct.pack("<I", 20_000) + b"\0" * 20_000
    many = (
        b"("
        + shared
        + b"q\x00"
        + array_bytes(b"M\x88\x13\x85", b"h\x00").replace(b"X\x01\0\0\0<", b"X\x01\0\0\0>") * 100
        + b"t."
    )
    assert "found arrays that take more than the file" in refused(tmp_path, many)
    assert peak(lambda: suppressed(tmp_path, many)) < 1 << 20


def suppressed(tmp_path: Path, content: bytes) -> None:
    with suppress(InputError):
        load(tmp_path, content)


def test_many_small_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("symgnn.data.readers.safe_pickle.LARGEST_OBJECTS", 1_000_000)
    assert "found more than 1,000,000 bytes of small objects" in refused(tmp_path, b"(" + b"\x8f" * 10_000 + b"l.")
    assert "found more than 1,000,000 bytes of small objects" in refused(tmp_path, b"N" + b"\x94" * 20_000 + b".")
    assert len(load(tmp_path, b"(" + b"\x8f" * 4_000 + b"l.")) == 4_000


plain = (dict, list, tuple, set, frozenset, str, bytes, bytearray, int, float, type(None), np.ndarray, np.generic)


def only_plain(value: Any) -> None:
    assert (isinstance(value, plain) and not isinstance(value, np.ndarray | np.generic)) or value.dtype.kind in "biufcSU"
    if isinstance(value, dict | list | tuple | set | frozenset):
        for inner in [*value, *(value.values() if isinstance(value, dict) else ())]:
            only_plain(inner)


@settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_damaged_pickles(tmp_path: Path, data: st.DataObject):
    content = bytearray(pickle.dumps(pickle.loads(WHOLE), data.draw(st.sampled_from(PROTOCOLS))))
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content
    with suppress(InputError):
        only_plain(load(tmp_path, bytes(content)))


opcode = st.sampled_from([item.code.encode("latin-1") for item in pickletools.opcodes])
fragment = st.one_of(
    opcode,
    st.binary(max_size=3),
    st.sampled_from(
        [b"K\x01", b"X\x01\0\0\0a", b"C\x02ab", b"h\x00", b"q\x00", b"cnumpy\ndtype\n", b"cnumpy\nndarray\n", b"X\x02\0\0\0f4"]
    ),
    st.sampled_from(
        [b"cbuiltins\nset\n", b"ccollections\ndefaultdict\n", b"cnumpy.core.multiarray\nscalar\n", array_bytes(b"K\x01\x85")]
    ),
)


@settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(fragment, max_size=30))
def test_any_opcodes(tmp_path: Path, parts: list[bytes]):
    with suppress(InputError):
        only_plain(load(tmp_path, b"".join(parts) + b"."))


# Toolkits' pickles


def save(path: Path, content: object, protocol: int = 4) -> Path:
    return put(path, pickle.dumps(content, protocol))


def clip(
    name: str, label: Any = 0, persons: int = 2, frames: int = 4, joints: int = 17, channels: int = 2, **changes: Any
) -> dict:
    """As PySKL's ntu60_hrnet.pkl has them: half precision."""
    random = np.random.default_rng(persons + frames + joints)
    annotation = {
        "frame_dir": name,
        "label": label,
        "img_shape": (1080, 1920),
        "original_shape": (1080, 1920),
        "total_frames": frames,
        "keypoint": random.uniform(1, 1000, (persons, frames, joints, channels)).astype(np.float16),
    }
    if channels == 2:
        annotation["keypoint_score"] = random.uniform(0.1, 1, (persons, frames, joints)).astype(np.float16)
    return {**annotation, **changes}


def test_image_annotations(tmp_path: Path):
    a, b = clip("S001C002P003R001A013", 12), clip("other", 3, persons=1, frames=6)
    a["keypoint_score"][1, 2, 5] = 0
    b["keypoint"][0, 3, 4] = np.nan
    found = read_toolkit_pickle(save(tmp_path / "a.pkl", {"split": {}, "annotations": [a, b]}))
    assert [(each.name, each.person, each.label, each.split) for each in found] == [
        ("S001C002P003R001A013", 0, "12", ""),
        ("S001C002P003R001A013", 1, "12", ""),
        ("other", 0, "3", ""),
    ]
    for each, (annotation, person) in zip(found, ((a, 0), (a, 1), (b, 0)), strict=True):
        for time in range(annotation["total_frames"]):
            for joint in range(17):
                x, y = annotation["keypoint"][person, time, joint].tolist()
                score = float(annotation["keypoint_score"][person, time, joint])
                row = [math.nan] * 3 if score == 0 or math.isnan(x) else [x, y, score]
                np.testing.assert_array_equal(each.frames[time, joint], row)
        assert each.space == "xyc" and each.joints == load_layout("coco17").joints
    assert (found[0].setup, found[0].camera, found[0].subject) == ("1", "2", "3")
    assert (found[2].setup, found[2].camera, found[2].subject) == ("", "", "")


def test_image_annotations_without_scores(tmp_path: Path):
    annotation = clip("x", persons=1, joints=18, keypoint_score=None)
    annotation["keypoint"][0, 1, 7] = 0
    (found,) = read_toolkit_pickle(save(tmp_path / "a.pkl", [annotation]))
    third = np.ones((4, 18))
    third[1, 7] = np.nan
    np.testing.assert_array_equal(found.frames[..., 2], third)
    assert found.joints == load_layout("openpose18").joints


def test_space_annotations(tmp_path: Path):
    """NTU in space: whoever is not there, and joints that are lost, are zeros."""
    annotation = clip("x", 59, joints=25, channels=3)
    annotation["keypoint"][1, :2] = 0
    annotation["keypoint"][0, 3, [4, 9]] = 0
    other = clip("y", np.int64(7), joints=25, channels=3)
    other["keypoint"][0] = 0
    found = read_toolkit_pickle(save(tmp_path / "a.pkl", {"annotations": [annotation, other]}))
    expected = annotation["keypoint"].astype(np.float32)
    expected[1, :2] = np.nan
    expected[0, 3, 4] = expected[0, 3, 9] = np.nan
    np.testing.assert_array_equal(found[0].frames, expected[0])
    np.testing.assert_array_equal(found[1].frames, expected[1])
    np.testing.assert_array_equal(found[2].frames, other["keypoint"][1].astype(np.float32))
    assert [(each.name, each.person, each.label) for each in found] == [("x", 0, "59"), ("x", 1, "59"), ("y", 0, "7")]
    assert found[0].space == "xyz" and found[0].joints == load_layout("ntu25").joints


def test_the_joint_a_clip_is_centred_on_is_there(tmp_path: Path):
    """CTR-GCN moves the first frame's spine to 0, 2s-AGCN that of every frame."""
    annotation = clip("x", joints=25, channels=3)
    annotation["keypoint"][0, :2, 1] = 0
    annotation["keypoint"][1, 2] = 0
    annotation["keypoint"][1, 3, 8] = 0
    first, second = read_toolkit_pickle(save(tmp_path / "a.pkl", [annotation]))
    assert (first.frames[:2, 1] == 0).all() and not np.isnan(first.frames).any()
    lost = np.isnan(second.frames).all(axis=2)
    assert lost[2].all() and np.argwhere(lost[[0, 1, 3]]).tolist() == [[2, 8]]


def test_frames_after_the_last_are_left_out(tmp_path: Path):
    annotation = clip("x", persons=1, frames=9, total_frames=5)
    (found,) = read_toolkit_pickle(save(tmp_path / "a.pkl", [annotation]))
    np.testing.assert_array_equal(found.frames[..., :2], annotation["keypoint"][0, :5].astype(np.float32))


def test_nobody_there(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    nobody = clip("x", channels=3, keypoint=np.zeros((2, 4, 25, 3), np.float16))
    empty = clip("y", channels=3, keypoint=np.zeros((0, 4, 25, 3), np.float16))
    # Of nothing any number can be claimed.
    many = clip("z", channels=3, keypoint=np.zeros((10**9, 0, 25, 3), np.float16), total_frames=0)
    path = save(tmp_path / "a.pkl", [nobody, empty, many, clip("w", persons=1)])
    assert peak(lambda: read_toolkit_pickle(path)) < 1 << 20
    found = read_toolkit_pickle(path)
    assert [each.name for each in found] == ["w"] and "3 of 4 clips show nobody" in caplog.text


NAMES = list("abcdef")


@pytest.mark.parametrize(
    ("splits", "chosen", "expected"),
    [
        (
            {"xsub_train": "abc", "xsub_val": "de", "xview_train": "f", "xview_val": "a"},
            "xsub",
            "train train train test test -",
        ),
        ({"xsub_train": "abc", "xsub_val": "de", "xview_train": "f", "xview_val": "a"}, "xview", "test - - - - train"),
        ({"xsub_train": "abc", "xsub_val": "de", "xview_train": "f", "xview_val": "a"}, None, "- - - - - -"),
        ({"train": "abc", "val": "de"}, None, "train train train test test -"),
        ({"train": "abc", "test": "de"}, None, "train train train test test -"),
        ({"train": "ab", "val": "c", "test": "de"}, None, "train train train test test -"),
        ({"train1": "a", "test1": "b", "train2": "b", "test2": "a"}, "2", "test train - - - -"),
        ({"sub_training": "a", "sub_validation": "b"}, "sub", "train test - - - -"),
        ({"xset_train": "abc", "xset_val": "cde"}, None, "train train test test test -"),
        ({}, None, "- - - - - -"),
    ],
)
def test_splits(tmp_path: Path, splits: dict, chosen: str | None, expected: str):
    content = {
        "split": {name: list(clips) for name, clips in splits.items()},
        "annotations": [clip(name, persons=1) for name in NAMES],
    }
    found = read_toolkit_pickle(save(tmp_path / "ntu_train.pkl", content), chosen)
    assert " ".join(each.split or "-" for each in found) == expected


def test_splits_that_do_not_fit(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    content = {
        "split": {"xsub_train": ["a", "gone"], "xsub_val": np.array(["a", "b"]), "all": ["a"]},
        "annotations": [clip("a"), clip("b")],
    }
    path = save(tmp_path / "a.pkl", content)
    assert {each.name: each.split for each in read_toolkit_pickle(path)} == {"a": "test", "b": "test"}
    assert (
        "in training and test, kept for test only: a" in caplog.text and "in the split but not in the file: gone" in caplog.text
    )
    assert "split 'all' is neither" in caplog.text
    with pytest.raises(InputError, match=r"a\.pkl: found no split 'xview' \(there are: 'xsub'\)"):
        read_toolkit_pickle(path, "xview")


@pytest.mark.parametrize(("name", "split"), [("train", "train"), ("ntu60_xsub_val", "test"), ("gym_test", "test"), ("all", "")])
def test_a_plain_list_is_named_by_its_file(tmp_path: Path, name: str, split: str):
    assert [each.split for each in read_toolkit_pickle(save(tmp_path / f"{name}.pkl", [clip("a", persons=1)], 2))] == [split]


def test_one_annotation_and_one_person(tmp_path: Path):
    """As MMAction2's extraction writes a file a video; an axis for the only person may be absent."""
    annotation = clip("a", persons=1)
    annotation["keypoint"], annotation["keypoint_score"] = annotation["keypoint"][0], annotation["keypoint_score"][0]
    (found,) = read_toolkit_pickle(save(tmp_path / "a.pkl", annotation))
    np.testing.assert_array_equal(found.frames[..., :2], annotation["keypoint"].astype(np.float32))
    np.testing.assert_array_equal(found.frames[..., 2], annotation["keypoint_score"].astype(np.float32))


def test_a_layout_that_is_named(tmp_path: Path):
    """17 joints of three numbers are a body in space, or one in the image with its scores."""
    path = save(tmp_path / "a.pkl", [clip("a", persons=1, joints=17, channels=3)])
    (plain,) = read_toolkit_pickle(path)
    assert plain.space == "xyz" and plain.joints == ()
    (flat,) = read_toolkit_pickle(path, layout=load_layout("coco17"))
    assert flat.space == "xyc" and flat.joints == load_layout("coco17").joints
    np.testing.assert_array_equal(flat.frames, plain.frames)
    with pytest.raises(InputError, match="found 17 joints, layout ntu25 has 25"):
        read_toolkit_pickle(path, layout=load_layout("ntu25"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (3, "found no list of annotations"),
        ([3], "found no list of annotations"),
        ({"split": [], "annotations": []}, "split: expected a dict of lists"),
        ({"split": {"train": 3}, "annotations": []}, "split: 'train': found a int, expected a list of frame_dir"),
        ({"split": {"train": [[]]}, "annotations": []}, "split: 'train': found a list, expected a name"),
        ([{"frame_dir": "a"}], "annotations[0] ('a'): keypoint: found a NoneType, expected an array of numbers"),
        ([{"frame_dir": "a", "raw_file": "k400/a.pkl"}], "its keypoints are in 'k400/a.pkl', expected them here"),
        ([clip("a", frame_dir=2.5)], "annotations[0]: frame_dir: found a float, expected a name"),
        ([clip("a"), clip("b", keypoint=np.array(["x"]))], "annotations[1] ('b'): keypoint: found an array of <U1"),
        ([clip("a", keypoint=np.zeros((4, 17)))], "keypoint: found shape (4, 17), expected (persons, frames, joints, 2 or 3)"),
        ([clip("a", keypoint=np.zeros((1, 4, 17, 4)))], "keypoint: found shape (1, 4, 17, 4)"),
        ([clip("a", keypoint_score=np.zeros((2, 4, 16)))], "keypoint_score: found shape (2, 4, 16), expected (2, 4, 17)"),
        ([clip("a", total_frames=5)], "total_frames: found '5', keypoint has 4 frames"),
        ([clip("a", total_frames=-1)], "total_frames: found '-1'"),
        ([clip("a", total_frames="4")], "total_frames: found \"'4'\""),
        ([clip("a", label=[1, 2])], "label: found '[1, 2]', expected the number of one class"),
        ([clip("a", label=1.5)], "label: found '1.5'"),
        ([clip("a", keypoint=np.full((2, 4, 17, 2), np.inf))], "person 0, frame 0, joint 0: found an infinite number"),
        ([clip("a", keypoint=np.full((2, 4, 17, 2), 1e300))], "person 0, frame 0, joint 0: found an infinite number"),
    ],
)
def test_bad_annotations(tmp_path: Path, content: object, message: str):
    path = save(tmp_path / "a.pkl", content)
    with pytest.raises(InputError) as caught:
        read_toolkit_pickle(path)
    assert message in str(caught.value) and str(path) in str(caught.value)


def whole(recording: Recording) -> None:
    frames = recording.frames
    missing = np.isnan(frames)
    assert frames.dtype == np.float32 and frames.shape[2] == 3 and not np.isinf(frames).any()
    assert (missing.any(axis=2) == missing.all(axis=2)).all() and not missing.all()


def test_unknown_escapes_are_refused_quietly(tmp_path: Path):
    """Python's own reading of texts warns of them, which the tests make an error."""
    raw = pickle.dumps([np.arange(3)], 0).replace(b"cnumpy", b"cnum\\?py", 1)
    with pytest.raises(InputError):
        load_pickle(put(tmp_path / "a.pkl", raw))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_damaged_toolkit_pickles(tmp_path: Path, data: st.DataObject):
    content = {"split": {"a_train": ["x"]}, "annotations": [clip("x", 3, frames=2), clip("y", joints=25, channels=3, frames=2)]}
    raw = bytearray(pickle.dumps(content, data.draw(st.sampled_from(PROTOCOLS))))
    for _ in range(data.draw(st.integers(0, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with suppress(InputError):
        for recording in read_toolkit_pickle(put(tmp_path / "a.pkl", bytes(raw))):
            whole(recording)


# Toolkits' arrays


def gcn_array(clips: int = 3, channels: int = 3, frames: int = 7, joints: int = 25, persons: int = 2) -> np.ndarray:
    """(N, C, T, V, M), the last two frames padded with zeros, the last person absent from the first clip."""
    array = np.random.default_rng(clips).uniform(0.1, 0.9, (clips, channels, frames, joints, persons)).astype(np.float32)
    array[:, :, -2:] = 0
    array[0, ..., -1] = 0
    return array


def gcn_files(folder: Path, array: np.ndarray, name: str = "train_data_joint", beside: str = "train_label") -> Path:
    folder.mkdir(exist_ok=True)
    np.save(folder / f"{name}.npy", array)
    names = [f"S001C001P00{k + 1}R001A00{k + 1}.skeleton" for k in range(len(array))]
    save(folder / f"{beside}.pkl", (names, list(range(len(array)))), 2)
    return folder / f"{name}.npy"


@pytest.mark.parametrize(
    ("name", "beside", "split"),
    [
        ("train_data_joint", "train_label", "train"),
        ("val_data_joint", "val_label", "test"),
        ("train_data", "train_label", "train"),
        ("test_data", "test_label", "test"),
        ("data", "label", ""),
    ],
)
def test_st_gcn_arrays(tmp_path: Path, name: str, beside: str, split: str):
    array = gcn_array()
    found = list(read_toolkit_arrays(gcn_files(tmp_path / "ntu", array, name, beside)))
    assert [(each.name, each.person, each.label) for each in found] == [
        ("S001C001P001R001A001", 0, "0"),
        ("S001C001P002R001A002", 0, "1"),
        ("S001C001P002R001A002", 1, "1"),
        ("S001C001P003R001A003", 0, "2"),
        ("S001C001P003R001A003", 1, "2"),
    ]
    for each, (index, person) in zip(found, ((0, 0), (1, 0), (1, 1), (2, 0), (2, 1)), strict=True):
        expected = [[[array[index, c, t, v, person] for c in range(3)] for v in range(25)] for t in range(5)]
        np.testing.assert_array_equal(each.frames, expected)
        assert each.split == split and each.space == "xyz" and each.joints == load_layout("ntu25").joints
    assert [each.subject for each in found] == ["1", "2", "2", "3", "3"]


def test_kinetics_arrays(tmp_path: Path):
    """ST-GCN centres the image and turns y up; here y grows downwards, as in all images."""
    array = gcn_array(joints=18)
    array[1, 2, 0, 3, 0] = 0
    found = list(read_toolkit_arrays(gcn_files(tmp_path / "kinetics", array)))
    expected = array[1, :, :5, :, 0].transpose(1, 2, 0) * [1, -1, 1]
    expected[0, 3] = np.nan
    np.testing.assert_array_equal(found[1].frames, expected.astype(np.float32))
    assert found[1].space == "xyc" and found[1].joints == load_layout("openpose18").joints


def test_arrays_of_two_channels(tmp_path: Path):
    (found, *_) = read_toolkit_arrays(gcn_files(tmp_path / "a", gcn_array(channels=2, joints=17)))
    assert found.space == "xyc" and (found.frames[..., 2] == 1).all() and found.joints == load_layout("coco17").joints


def ctr_arrays(clips: int = 4, frames: int = 6) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", clips), ("test", 2)):
        x = random.uniform(0.1, 3, (count, frames, 150)).astype(np.float32)
        x[:, -1] = 0
        x[0, :, 75:] = 0
        arrays |= {f"x_{part}": x, f"y_{part}": np.eye(60)[np.arange(count) * 7]}
    return arrays


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_ctr_gcn_arrays(tmp_path: Path, write: Any):
    arrays = ctr_arrays()
    write(tmp_path / "NTU60_CS.npz", **arrays)
    found = list(read_toolkit_arrays(tmp_path / "NTU60_CS.npz"))
    expected = [
        (part, k, m) for part, count in (("train", 4), ("test", 2)) for k in range(count) for m in range(2) if (k, m) != (0, 1)
    ]
    assert [(each.split, each.name, each.person) for each in found] == [(p, f"{p}_{k}", m) for p, k, m in expected]
    for each, (part, k, m) in zip(found, expected, strict=True):
        rows = arrays[f"x_{part}"]
        # The first 75 numbers of a frame are the first person's: x, y, z of each joint.
        motion = [[[rows[k, t, 75 * m + 3 * v + c] for c in range(3)] for v in range(25)] for t in range(5)]
        np.testing.assert_array_equal(each.frames, motion)
        assert each.label == str(7 * k) and each.space == "xyz"


def test_labels_that_are_numbers(tmp_path: Path):
    arrays = ctr_arrays()
    np.savez(tmp_path / "a.npz", x_train=arrays["x_train"], y_train=np.array([3, 1, 2, 0]))
    assert [each.label for each in read_toolkit_arrays(tmp_path / "a.npz")] == ["3", "1", "1", "2", "2", "0", "0"]


@pytest.mark.parametrize("write", ["npy", "npz"])
def test_memory_is_flat(tmp_path: Path, write: str):
    """36 MB go by, a clip at a time."""
    if write == "npy":
        path = gcn_files(tmp_path / "big", np.ones((200, 3, 300, 25, 2), np.float32))
    else:
        path = tmp_path / "a.npz"
        np.savez(path, x_train=np.ones((200, 300, 150), np.float32), y_train=np.eye(200))
    assert peak(lambda: sum(len(each.frames) for each in read_toolkit_arrays(path))) < 4 << 20


def header(shape: str, descr: str = "'<f4'", fortran: bool = False, version: bytes = b"\x01\x00") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}".encode()
    text += b" " * (63 - (10 + len(text)) % 64) + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no array of numbers"),
        (b"\x93NUMPY", "no array of numbers"),
        (header("(1000000000, 3, 300, 25, 2)"), "found 128 bytes, expected 180,000,000,000,128 for its shape"),
        (header("(3, 3, 7, 25, 2)") + b"\0" * 12599, "found 12,727 bytes, expected 12,728"),
        (header("(1, 1000000000, 0)"), "expected clips of at most"),
        (header("()") + b"\0" * 4, "expected rows of numbers"),
        (header("(3, 2)", "'|O'") + b"\0" * 48, "expected rows of numbers"),
        (header("(3, 2)", fortran=True) + b"\0" * 24, "in columns, expected rows of numbers"),
        (header("(3, 2)", version=b"\x02\x00"), "no array of numbers: header of version (2, 0)"),
        (header("(3, 2)" + "(" * 500), "no array of numbers"),
        (header("__import__('os')"), "no array of numbers"),
        (header("(2, 1)") + b"\0" * 8, "found 2 clips, train_label.pkl has 3"),
        (header("(3, 1)") + b"\0" * 12, "clip 0: found shape (1,), expected (channels, frames, joints, persons)"),
        (header("(3, 4, 2, 25, 1)") + b"\0" * 2400, "clip 0: found shape (4, 2, 25, 1)"),
        (header("(3, 2, 100)") + b"\0" * 2400, "clip 0: found shape (2, 100)"),
    ],
)
def test_bad_arrays(tmp_path: Path, content: bytes, message: str):
    path = gcn_files(tmp_path / "a", gcn_array())
    with pytest.raises(InputError) as caught:
        list(read_toolkit_arrays(put(path, content)))
    assert message in str(caught.value) and str(path) in str(caught.value)


def test_arrays_with_bad_company(tmp_path: Path):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        list(read_toolkit_arrays(tmp_path / "nowhere.npy"))
    path = gcn_files(tmp_path / "a", gcn_array())
    bones = path.rename(path.with_name("train_data_bone.npy"))
    with pytest.raises(InputError, match="bones and motions are no positions"):
        list(read_toolkit_arrays(bones))
    bones.rename(path)
    labels = path.with_name("train_label.pkl")
    with pytest.raises(InputError, match=r"holds names and labels of an array: read the array \(train_data_joint\.npy\)"):
        read_toolkit_pickle(labels)
    for content, message in (
        (3, "found a int, expected a tuple"),
        ((["a"], [1, 2]), "as many names as labels"),
        ((3, 4), "as many"),
    ):
        save(labels, content)
        with pytest.raises(InputError, match=message):
            list(read_toolkit_arrays(path))
    labels.unlink()
    with pytest.raises(InputError, match=r"train_label\.pkl: cannot be read"):
        list(read_toolkit_arrays(path))


def test_bad_archives(tmp_path: Path):
    path, arrays = tmp_path / "a.npz", ctr_arrays()

    def message(**changes: np.ndarray) -> str:
        np.savez(path, **{name: array for name, array in {**arrays, **changes}.items() if array.size})
        with pytest.raises(InputError) as caught:
            list(read_toolkit_arrays(path))
        assert str(path) in str(caught.value)
        return str(caught.value)

    none = np.zeros(0)
    assert "found y_train, y_test, expected x_train" in message(x_train=none, x_test=none)
    assert "y_test: not there" in message(y_test=none)
    assert "y_train: found shape (3, 60), expected 4 labels" in message(y_train=np.eye(60)[:3])
    assert "y_train: clip 0: found 0 classes, expected one" in message(y_train=np.zeros((4, 60)))
    assert "x_train: clip 0: found shape (6, 149)" in message(x_train=arrays["x_train"][..., 1:])
    # An archive in which one byte of the numbers is another.
    np.savez(path, **arrays)
    raw = bytearray(path.read_bytes())
    raw[1000] ^= 1
    path.write_bytes(bytes(raw))
    with pytest.raises(InputError, match="x_train: clip 3: damaged: Bad CRC-32"):
        list(read_toolkit_arrays(path))


def test_an_archive_that_claims_much(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x_train.npy", header("(1, 100000000)") + bytes(10_000_000))
        archive.writestr("y_train.npy", header("(1,)") + bytes(4))
    with pytest.raises(InputError, match="found 10,000,128 bytes, expected 400,000,128"):
        list(read_toolkit_arrays(tmp_path / "a.npz"))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_damaged_arrays(tmp_path: Path, data: st.DataObject):
    form = data.draw(st.sampled_from(["npy", "stored", "deflated"]))
    if form == "npy":
        path = gcn_files(tmp_path / "a", gcn_array(frames=3))
    else:
        path = tmp_path / "a.npz"
        (np.savez if form == "stored" else np.savez_compressed)(path, **ctr_arrays(2, 2))
    raw = bytearray(path.read_bytes())
    places = st.one_of(
        st.integers(0, min(len(raw), 300) - 1), st.integers(len(raw) - 300, len(raw) - 1), st.integers(0, len(raw) - 1)
    )
    for _ in range(data.draw(st.integers(0, 4))):
        raw[data.draw(places)] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        raw = raw[: data.draw(st.integers(0, len(raw)))]
    with suppress(InputError), np.errstate(all="raise"):
        for recording in read_toolkit_arrays(put(path, bytes(raw))):
            whole(recording)
