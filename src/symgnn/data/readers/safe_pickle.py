"""Pickles of unknown origin: numpy arrays and plain containers, and nothing else.

A pickle is a program for a stack machine, and Python's own machine calls whatever function the program names. This one
calls none: it knows the opcodes that build data (protocols 0 to 5, of Python 2 and 3), and what numpy and Python write for
arrays, their scalars, sets, bytes, OrderedDict and defaultdict (both come back as a dict) is put together here, by hand,
after a look at every number. Any other class or function is refused by name, whether or not it is called.

Bounded, so that a small file cannot fill the memory or take forever: what arrays take (in proportion to the file), what all
other objects take, the depth of nesting, the length of keys. A list that holds itself is refused too: no data does.

Source: Lib/pickletools.py of CPython for the opcodes, ``ndarray.__reduce__`` and ``__setstate__`` of numpy for the arrays.
"""

import math
import mmap
import pickletools
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from symgnn.data.readers.text import shown
from symgnn.errors import InputError

LARGEST_FILE = 1 << 34
"""Bytes of a pickle that is read at most: a data set of 100,000 clips takes a few GiB."""
LARGEST_OBJECTS = 1 << 30
"""Bytes that everything but the arrays may take, by the estimates in ``_COSTS``."""
DEEPEST = 64
"""Containers within each other."""
LONGEST_KEY = 4096
"""Letters of a dict's key, or of a word in a set."""
LARGEST_ITEM = 4096
"""Bytes of one element of an array: numpy allocates one even for an array without elements."""

_PLAIN = "numpy arrays and plain containers only"
_LONGEST_INT = 32
_LONGEST_TUPLE_KEY = 16
_ITEM = re.compile(r"[<>=|]?([biufc?]\d{0,2}|[SU]\d{1,6})", re.ASCII)
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|.)", re.DOTALL)
_LETTERS = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"\\": b"\\", b"'": b"'", b'"': b'"'}
_COSTS = {"EMPTY_SET": 216, "FROZENSET": 216, "EMPTY_DICT": 64, "DICT": 64, "REDUCE": 216, "MEMOIZE": 100, "PUT": 100}
_COSTS |= {"BINPUT": 100, "LONG_BINPUT": 100}
_USUAL_COST = 56


def load_pickle(path: Path) -> object:
    """What a pickle holds, without running anything it names.

    Args:
        path: a file with one pickled object.

    Returns:
        dict, list, tuple, set, frozenset, str, bytes, bytearray, int, float, bool, None and numpy arrays and scalars of
        numbers or strings, in each other. Arrays may be read only. Strings of Python 2 are taken for latin-1, as numpy
        needs.

    Raises:
        InputError: the file cannot be read, is no whole pickle, names any other class or function, or would not fit the bounds
            above; the message names the byte.
    """
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise InputError(f"{path}: {size:,} bytes; expected a pickle of at most {LARGEST_FILE:,}: cut it")
        if size == 0 or not path.is_file():
            raise InputError(f"{path}: {'empty' if path.is_file() else 'not a file'}; expected a pickle")
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
            # Python warns of unknown escapes in a text, numpy of old codes of types: damaged files are full of both.
            warnings.catch_warnings(action="ignore", category=DeprecationWarning),
        ):
            return _Machine(path, mapped, size).run()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


@dataclass(frozen=True)
class _Named:
    """A function or class that a pickle names and may name."""

    name: str
    call: Callable[["_Machine", tuple], object] | None
    """What stands in for it; None for a class that is only handed over."""


class _Machine:
    """The stack machine. Its methods are called as the opcodes are."""

    def __init__(self, path: Path, file: mmap.mmap, size: int):
        self._path, self._file, self._size = path, file, size
        self._place = 0
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []
        """What lies under each mark."""
        self._memo: dict[int, Any] = {}
        self._unfilled: dict[int, Any] = {}
        """Arrays and dtypes whose contents (BUILD) are still to come, by id."""
        self._array_bytes = 0

    def run(self) -> object:
        """The object that the program leaves on the stack."""
        file, cost = self._file, 0
        while True:
            self._place = file.tell()
            code = file.read(1)
            if code not in _OPCODES:
                self._refuse(f"found {f'the byte 0x{code[0]:02x}' if code else 'its end'}, expected an opcode: no whole pickle")
            name, reader, action, price = _OPCODES[code]
            cost += price
            if cost > LARGEST_OBJECTS:
                self._refuse(f"found more than {LARGEST_OBJECTS:,} bytes of small objects, expected arrays")
            if action is None:
                if name == "STOP":
                    return self._result()
                self._refuse(f"found the opcode {name}, expected {_PLAIN}")
            try:
                if reader is None:
                    action(self)
                else:
                    action(self, reader(file))
            except InputError:
                raise
            except (IndexError, KeyError):
                self._refuse(f"found {name} without what it works on: no whole pickle")
            except (ValueError, OverflowError) as error:
                self._refuse(f"{name}: {str(error)[:120]}")

    def _refuse(self, what: str) -> NoReturn:
        raise InputError(f"{self._path}: byte {self._place}: {what}")

    def _result(self) -> object:
        if len(self._stack) != 1 or self._below:
            self._refuse(f"found {len(self._stack)} objects at its end, expected one")
        if after := self._size - self._file.tell():
            self._refuse(f"found {after} bytes after its end, expected one pickled object")
        if self._unfilled:
            self._refuse("found an array without contents: no whole pickle")
        self._check_depth(self._stack[0])
        return self._stack[0]

    def _check_depth(self, result: object) -> None:
        """Refuse what holds itself, is nested too deep, or holds a class. Objects seen twice are looked at once."""
        height: dict[int, int] = {}
        if not isinstance(result, _CONTAINERS):
            self._check_leaf(result)
            return
        work = [result]
        while work:
            holder = work[-1]
            if height.get(id(holder)):
                work.pop()
                continue
            inner = [value for value in _inside(holder) if isinstance(value, _CONTAINERS)]
            if id(holder) in height:
                height[id(holder)] = 1 + max((height[id(value)] for value in inner), default=0)
                if height[id(holder)] > DEEPEST:
                    self._refuse(f"found more than {DEEPEST} containers within each other")
                work.pop()
                continue
            height[id(holder)] = 0
            for value in inner:
                if id(value) not in height:
                    work.append(value)
                elif height[id(value)] == 0:
                    self._refuse(f"found a {type(value).__name__} that holds itself")
            for value in _inside(holder):
                self._check_leaf(value)

    def _check_leaf(self, value: object) -> None:
        if isinstance(value, _Named | np.dtype):
            self._refuse(f"found {value.name if isinstance(value, _Named) else 'a dtype'} by itself, expected {_PLAIN}")

    # What opcodes do. A value:

    def _push(self, value: object) -> None:
        self._stack.append(value)

    def _text(self, value: str) -> None:
        value.encode("utf-8")  # half a surrogate pair is no text
        self._stack.append(value)

    def _long(self, value: int) -> None:
        if value.bit_length() > 8 * _LONGEST_INT:
            self._refuse(f"found a number of {value.bit_length()} bits, expected at most {8 * _LONGEST_INT}")
        self._stack.append(value)

    # The stack and the memo:

    def _mark(self) -> None:
        self._below.append(self._stack)
        self._stack = []

    def _to_mark(self) -> list[Any]:
        items = self._stack
        self._stack = self._below.pop()
        return items

    def _pop(self) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._to_mark()

    def _pop_mark(self) -> None:
        self._to_mark()

    def _dup(self) -> None:
        self._stack.append(self._stack[-1])

    def _get(self, key: int) -> None:
        self._stack.append(self._memo[key])

    def _put(self, key: int) -> None:
        self._memo[key] = self._stack[-1]

    def _memoize(self) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _nothing(self, value: int) -> None:
        """FRAME: how many bytes may be read ahead."""

    def _proto(self, version: int) -> None:
        if version > 5:
            self._refuse(f"found a pickle of protocol {version}, expected 0 to 5")

    # Containers:

    def _list(self) -> None:
        self._push(self._to_mark())

    def _tuple(self) -> None:
        self._push(tuple(self._to_mark()))

    def _tuple1(self) -> None:
        self._some(1)

    def _tuple2(self) -> None:
        self._some(2)

    def _tuple3(self) -> None:
        self._some(3)

    def _some(self, count: int) -> None:
        if len(self._stack) < count:
            raise IndexError
        self._stack[-count:] = [tuple(self._stack[-count:])]

    def _top(self, kind: type) -> Any:
        if not isinstance(top := self._stack[-1], kind):
            self._refuse(f"found {type(top).__name__} filled as a {kind.__name__}")
        return top

    def _append(self) -> None:
        value = self._stack.pop()
        self._top(list).append(value)

    def _appends(self) -> None:
        values = self._to_mark()
        self._top(list).extend(values)

    def _dict(self) -> None:
        items = self._to_mark()
        self._push({})
        self._set(items)

    def _setitem(self) -> None:
        value = self._stack.pop()
        key = self._stack.pop()
        self._set([key, value])

    def _setitems(self) -> None:
        items = self._to_mark()
        self._set(items)

    def _set(self, items: list[Any]) -> None:
        target = self._top(dict)
        if len(items) % 2:
            self._refuse("found a key without a value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[self._key(key)] = value

    def _additems(self) -> None:
        values = self._to_mark()
        self._top(set).update(map(self._key, values))

    def _frozenset(self) -> None:
        self._push(frozenset(map(self._key, self._to_mark())))

    def _key(self, value: Any) -> Any:
        """A key, if it is a short plain one: tuples of tuples can take forever to hash."""
        parts = value if isinstance(value, tuple) else (value,)
        if len(parts) > _LONGEST_TUPLE_KEY:
            self._refuse(f"found a key of {len(parts)} values, expected at most {_LONGEST_TUPLE_KEY}")
        for part in parts:
            if isinstance(part, str | bytes):
                if len(part) > LONGEST_KEY:
                    self._refuse(f"found a key of {len(part):,} letters, expected at most {LONGEST_KEY:,}")
            elif isinstance(part, int) and part.bit_length() > 64:
                self._refuse(f"found a key of {part.bit_length()} bits, expected at most 64")
            elif part is not None and not isinstance(part, int | float | np.integer | np.floating):
                self._refuse(f"found a {type(part).__name__} as a key, expected a name or a number")
        return value

    # Functions, of which none is called:

    def _global(self, both: str) -> None:
        module, _, name = both.partition(" ")
        self._push(self._named(module, name))

    def _stack_global(self) -> None:
        name = self._stack.pop()
        module = self._stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            self._refuse("found a class whose name is no text")
        self._push(self._named(module, name))

    def _named(self, module: str, name: str) -> _Named:
        if (module, name) not in _NAMED:
            self._refuse(f"found {shown(f'{module}.{name}', 120)}, expected {_PLAIN}")
        return _NAMED[module, name]

    def _inst(self, both: str) -> None:
        self._refuse(f"found {shown(both.replace(' ', '.', 1), 120)}, expected {_PLAIN}")

    def _reduce(self) -> None:
        arguments = self._stack.pop()
        function = self._stack.pop()
        if not isinstance(function, _Named) or function.call is None or not isinstance(arguments, tuple):
            what = function.name if isinstance(function, _Named) else type(function).__name__
            self._refuse(f"found a call of {what}, expected {_PLAIN}")
        self._push(function.call(self, arguments))

    def _build(self) -> None:
        state = self._stack.pop()
        target = self._stack[-1]
        if self._unfilled.pop(id(target), None) is None:
            self._refuse(f"found a state for {type(target).__name__}, expected one for a new array")
        if isinstance(target, np.dtype):
            self._fill_dtype(target, state)
        else:
            self._fill_array(target, state)

    def _argument_error(self, name: str) -> NoReturn:
        self._refuse(f"found {name} with other arguments than numpy and Python write")

    def _charge(self, count: int) -> None:
        """Count what an array takes.

        Bytes may be shared in the file and copied by arrays: all copies have to be in the file. Twice, as text of Python 2 and
        of protocol 2 becomes bytes first.
        """
        self._array_bytes += count
        if self._array_bytes > 2 * self._size + LARGEST_ITEM:
            self._refuse(f"found arrays that take more than the file, {self._size:,} bytes")

    def _contents(self, content: object, shape: tuple[int, ...], dtype: np.dtype) -> bytes:
        """The bytes of an array, as many as its shape and type say."""
        if dtype.itemsize == 0:
            self._refuse("found an array of elements of 0 bytes, of which there could be any number")
        return self._raw(content, math.prod(shape) * dtype.itemsize)

    def _raw(self, content: object, length: int) -> bytes:
        if not isinstance(content, bytes | bytearray | str):
            self._refuse(f"found a {type(content).__name__} as the contents of an array, expected bytes")
        if len(content) != length:
            self._refuse(f"found {len(content):,} bytes for an array, expected {length:,} by its shape and type")
        self._charge(length)
        return content.encode("latin-1") if isinstance(content, str) else bytes(content)

    def _shape(self, shape: object) -> tuple[int, ...]:
        if not isinstance(shape, tuple) or len(shape) > 32 or not all(type(n) is int and 0 <= n < 1 << 62 for n in shape):
            self._refuse("found an array whose shape is no tuple of numbers")
        return shape

    def _dtype(self, dtype: object) -> np.dtype:
        if not isinstance(dtype, np.dtype) or id(dtype) in self._unfilled:
            self._refuse(f"found a {type(dtype).__name__} as the type of an array")
        return dtype

    def _make_dtype(self, arguments: tuple) -> np.dtype:
        code = arguments[0] if arguments else None
        if isinstance(code, bytes):
            code = code.decode("ascii")
        if not 1 <= len(arguments) <= 3 or not isinstance(code, str):
            self._argument_error("numpy.dtype")
        if not _ITEM.fullmatch(code):
            self._refuse(f"found an array of {shown(code)}, expected numbers or text (objects may be anything)")
        try:
            # A copy: its byte order is set in place.
            dtype = np.dtype(code, copy=True)
        except TypeError:
            self._refuse(f"found an array of {shown(code)}, expected numbers or text")
        if dtype.itemsize > LARGEST_ITEM:
            self._refuse(f"found an array of elements of {dtype.itemsize:,} bytes, expected at most {LARGEST_ITEM:,}")
        self._unfilled[id(dtype)] = dtype
        return dtype

    def _fill_dtype(self, dtype: Any, state: object) -> None:
        if not isinstance(state, tuple) or not 8 <= len(state) <= 9 or any(part is not None for part in state[2:5]):
            self._refuse("found a dtype with fields, expected numbers or text")
        order = state[1].decode("latin-1") if isinstance(state[1], bytes) else state[1]
        if order not in ("<", ">", "=", "|"):
            self._refuse("found a dtype without a byte order")
        # Of the file's state the order only: the rest follows from the type.
        sizes = (dtype.itemsize, dtype.alignment) if dtype.kind in "SU" else (-1, -1)
        dtype.__setstate__((3, order, None, None, None, *sizes, 0))

    def _make_array(self, arguments: tuple) -> np.ndarray:
        # The shape and type here are placeholders: a file that puts others says nothing by them.
        if len(arguments) != 3 or arguments[0] is not _NDARRAY:
            self._argument_error("numpy's _reconstruct")
        array = np.empty(0, np.int8)
        self._unfilled[id(array)] = array
        return array

    def _fill_array(self, array: Any, state: object) -> None:
        # The oldest form has no version in front.
        if isinstance(state, tuple) and len(state) == 5:
            state = state[1:]
        if not isinstance(state, tuple) or len(state) != 4:
            self._argument_error("an array")
        shape, dtype, fortran, content = state
        shape, dtype = self._shape(shape), self._dtype(dtype)
        raw = self._contents(content, shape, dtype)
        array.__setstate__((1, shape, dtype, bool(fortran), raw))

    def _make_scalar(self, arguments: tuple) -> np.generic:
        if len(arguments) != 2:
            self._argument_error("numpy's scalar")
        dtype = self._dtype(arguments[0])
        raw = self._raw(arguments[1], dtype.itemsize)
        # An empty text has no bytes.
        return np.frombuffer(raw, dtype)[0] if raw else dtype.type()

    def _make_from_buffer(self, arguments: tuple) -> np.ndarray:
        if len(arguments) != 4 or arguments[3] not in ("C", "F"):
            self._argument_error("numpy's _frombuffer")
        content, dtype, shape, order = arguments
        dtype, shape = self._dtype(dtype), self._shape(shape)
        raw = self._contents(content, shape, dtype)
        return np.frombuffer(raw, dtype).reshape(shape, order=order)

    def _make_bytes(self, arguments: tuple) -> bytes:
        """Protocols 0 to 2 of Python 3 write bytes as ``_codecs.encode(text, "latin1")``."""
        if not arguments:
            return b""
        if len(arguments) != 2 or not isinstance(arguments[0], str) or arguments[1] not in ("latin1", "latin-1"):
            self._argument_error("bytes")
        self._charge(len(arguments[0]))
        return arguments[0].encode("latin-1")

    def _make_bytearray(self, arguments: tuple) -> bytearray:
        if len(arguments) == 1 and isinstance(arguments[0], bytes):
            self._charge(len(arguments[0]))
            return bytearray(arguments[0])
        return bytearray(self._make_bytes(arguments))

    def _make_set(self, arguments: tuple) -> set:
        if len(arguments) > 1 or not all(isinstance(items, list | tuple) for items in arguments):
            self._argument_error("set")
        self._charge_items(arguments)
        return {self._key(item) for items in arguments for item in items}

    def _make_frozenset(self, arguments: tuple) -> frozenset:
        return frozenset(self._make_set(arguments))

    def _make_ordered(self, arguments: tuple) -> dict:
        if len(arguments) > 1 or not all(isinstance(pairs, list) for pairs in arguments):
            self._argument_error("OrderedDict")
        self._charge_items(arguments)
        made = {}
        for pair in arguments[0] if arguments else ():
            if not isinstance(pair, list | tuple) or len(pair) != 2:
                self._argument_error("OrderedDict")
            made[self._key(pair[0])] = pair[1]
        return made

    def _charge_items(self, arguments: tuple) -> None:
        # One list, by the memo, could become a set at every few bytes.
        self._charge(sum(len(items) for items in arguments))

    def _make_default(self, arguments: tuple) -> dict:
        if len(arguments) > 1 or not all(factory is None or isinstance(factory, _Named) for factory in arguments):
            self._argument_error("defaultdict")
        return {}


_CONTAINERS = (list, tuple, dict, set, frozenset)


def _inside(holder: Any) -> Iterator[object]:
    return iter(holder.values() if isinstance(holder, dict) else holder)


_NDARRAY = _Named("numpy.ndarray", None)


def _named() -> dict[tuple[str, str], _Named]:
    """Every function and class that a pickle may name, by the modules of numpy 1 and 2, Python 2 and 3."""
    machine = _Machine
    found: dict[tuple[str, str], _Named] = {
        ("numpy", "ndarray"): _NDARRAY,
        ("numpy", "dtype"): _Named("numpy.dtype", machine._make_dtype),
        ("_codecs", "encode"): _Named("_codecs.encode", machine._make_bytes),
        ("collections", "OrderedDict"): _Named("OrderedDict", machine._make_ordered),
        ("collections", "defaultdict"): _Named("defaultdict", machine._make_default),
    }
    for core in ("numpy.core", "numpy._core"):
        found[f"{core}.multiarray", "_reconstruct"] = _Named("numpy's _reconstruct", machine._make_array)
        found[f"{core}.multiarray", "scalar"] = _Named("numpy's scalar", machine._make_scalar)
        found[f"{core}.numeric", "_frombuffer"] = _Named("numpy's _frombuffer", machine._make_from_buffer)
    calls = {
        "bytes": machine._make_bytes,
        "bytearray": machine._make_bytearray,
        "set": machine._make_set,
        "frozenset": machine._make_frozenset,
    }
    for builtins in ("builtins", "__builtin__"):
        # What a defaultdict begins its values with.
        factories = {name: _Named(name, None) for name in ("list", "dict", "int", "float", "str", "tuple", "bool", "unicode")}
        called = {name: _Named(name, call) for name, call in calls.items()}
        found |= {(builtins, name): named for name, named in (factories | called).items()}
    return found


_NAMED = _named()


def _read_python2_string(file: mmap.mmap) -> str:
    """STRING: the repr of bytes, a line; pickletools' own reader refuses all above 127, of which arrays are full."""
    line = file.readline()
    if not line.endswith(b"\n") or len(line) < 3 or line[:1] not in (b"'", b'"') or line[-2:-1] != line[:1]:
        raise ValueError("found a line that is no string between quotes")

    def unescaped(match: re.Match[bytes]) -> bytes:
        found = match[1]
        if len(found) == 3:
            return bytes([int(found[1:], 16)])
        if found not in _LETTERS:
            raise ValueError(f"found the escape {match[0]!r} in a string")
        return _LETTERS[found]

    return _ESCAPE.sub(unescaped, line[1:-2]).decode("latin-1")


def _opcodes() -> dict[bytes, tuple[str, Callable[[Any], Any] | None, Callable[..., None] | None, int]]:
    """Name, reader of the argument, action (None: refused) and cost of each opcode."""
    machine = _Machine
    actions: dict[str, Callable[..., None]] = {
        **dict.fromkeys(("INT", "LONG", "LONG1", "LONG4"), machine._long),
        **dict.fromkeys(("BININT", "BININT1", "BININT2", "FLOAT", "BINFLOAT"), machine._push),
        **dict.fromkeys(("STRING", "BINSTRING", "SHORT_BINSTRING"), machine._push),
        **dict.fromkeys(("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"), machine._push),
        **dict.fromkeys(("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"), machine._text),
        "NONE": lambda self: self._push(None),
        "NEWTRUE": lambda self: self._push(True),
        "NEWFALSE": lambda self: self._push(False),
        "EMPTY_LIST": lambda self: self._push([]),
        "EMPTY_TUPLE": lambda self: self._push(()),
        "EMPTY_DICT": lambda self: self._push({}),
        "EMPTY_SET": lambda self: self._push(set()),
        "LIST": machine._list,
        "TUPLE": machine._tuple,
        "TUPLE1": machine._tuple1,
        "TUPLE2": machine._tuple2,
        "TUPLE3": machine._tuple3,
        "DICT": machine._dict,
        "FROZENSET": machine._frozenset,
        "APPEND": machine._append,
        "APPENDS": machine._appends,
        "SETITEM": machine._setitem,
        "SETITEMS": machine._setitems,
        "ADDITEMS": machine._additems,
        "MARK": machine._mark,
        "POP": machine._pop,
        "POP_MARK": machine._pop_mark,
        "DUP": machine._dup,
        **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), machine._get),
        **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), machine._put),
        "MEMOIZE": machine._memoize,
        "PROTO": machine._proto,
        "FRAME": machine._nothing,
        "GLOBAL": machine._global,
        "STACK_GLOBAL": machine._stack_global,
        "INST": machine._inst,
        "REDUCE": machine._reduce,
        "BUILD": machine._build,
    }
    return {
        opcode.code.encode("latin-1"): (
            opcode.name,
            _read_python2_string if opcode.name == "STRING" else None if opcode.arg is None else opcode.arg.reader,
            actions.get(opcode.name),
            _COSTS.get(opcode.name, _USUAL_COST),
        )
        for opcode in pickletools.opcodes
    }


_OPCODES = _opcodes()
