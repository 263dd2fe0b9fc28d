"""C3D, the biomechanics laboratories' binary: markers in space, with analog channels between the frames.

    block 1                 header: where parameters and data begin, points a frame, first and last frame, scale, rate
    from the header's       parameters in groups: the byte order, then POINT:LABELS, :UNITS, :RATE, :SCALE, ...
    from the data's         each frame: x, y, z and a residual of every point, then the analog samples

Blocks have 512 bytes. Numbers are those of Intel, MIPS or DEC (VAX) machines; data are int16 times POINT:SCALE or, where that
is negative, float32. A negative residual marks a point that was not seen.

Source: The C3D File Format, A Technical User Guide, Motion Lab Systems, https://www.c3d.org/docs/C3D_User_Guide.pdf.

The file is read here, not through a library: a damaged file must not end the interpreter, as it can in ezc3d.
"""

import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from symgnn.data.readers.text import read_bytes, shortened, shown
from symgnn.data.recording import Recording
from symgnn.errors import InputError

_logger = logging.getLogger("symgnn.data")

BLOCK = 512
_KEY = 0x50
"""Second byte of every C3D file."""
_DEC = 85
_PROCESSORS = {84: "<", _DEC: "<", 86: ">"}
"""Byte order of Intel, DEC and MIPS machines, by the fourth byte of the parameters."""
_SIZES = {-1: 1, 1: 1, 2: 2, 4: 4}
"""Bytes of a parameter's entry, by its type: letters, bytes, int16, float32."""
_MODELLED = ("ANGLES", "FORCES", "MOMENTS", "POWERS", "SCALARS")
"""Parameters of POINT with the labels of points that hold something else than places."""
_MANY_FRAMES = 0xFFFF
"""The header counts no further."""
_PARAMETER_BYTES = 1 << 24
"""Bytes of parameters that are read at most: the format has room for 255 blocks, 128 KiB."""


@dataclass(frozen=True)
class _Parameter:
    kind: int
    """-1 for letters, otherwise the bytes of a number."""
    sizes: tuple[int, ...]
    """Its dimensions, the first varies fastest; none for a single value."""
    data: bytes


@dataclass(frozen=True)
class _File:
    """A file's bytes and how its numbers are written."""

    path: Path
    raw: bytes
    order: str
    """``<`` or ``>``."""
    dec: bool

    def words(self, place: int, count: int = 1) -> list[int]:
        """Unsigned 16-bit numbers."""
        return np.frombuffer(self.raw, f"{self.order}u2", count, place).tolist()

    def floats(self, data: bytes | memoryview) -> np.ndarray:
        """32-bit numbers, DEC's as float64: some lie beyond float32."""
        if not self.dec:
            return np.frombuffer(data, f"{self.order}f4")
        # A VAX float is two words, the upper one first; its value is 0.1mmm... (base two) times 2 ** (exponent - 128).
        pairs = np.frombuffer(data, "<u2").reshape(-1, 2).astype(np.uint32)
        bits = pairs[:, 0] << 16 | pairs[:, 1]
        exponent = (bits >> 23 & 0xFF).astype(np.int32)
        value = np.ldexp((bits & 0x7FFFFF | 0x800000).astype(np.float64), exponent - 128 - 24)
        value[exponent == 0] = 0
        return np.where(bits >> 31, -value, value)


def read_c3d(path: Path) -> list[Recording]:
    """The markers of a C3D file, in the file's unit.

    A point is missing where its residual is negative or a coordinate is no number. Labels lose the subject before the colon
    ("Anna:LFHD"); where labels of several subjects then are the same, each subject is a person. Points that POINT:ANGLES,
    FORCES, MOMENTS, POWERS or SCALARS name hold no places and are left out.

    Args:
        path: the file.

    Returns:
        A recording a person.

    Raises:
        InputError: the file cannot be read, is no C3D file, is cut short, contradicts itself, or has no points; the message
            names the byte or the parameter.
    """
    raw = read_bytes(path)
    if not raw:
        raise InputError(f"{path}: empty; expected a C3D file")
    if len(raw) < BLOCK or raw[1] != _KEY:
        found = f"{len(raw)} bytes" if len(raw) < BLOCK else f"0x{raw[1]:02x} at byte 1"
        raise InputError(f"{path}: found {found}, expected a C3D file: a header of {BLOCK} bytes with 0x50 at byte 1")
    start = (raw[0] - 1) * BLOCK
    if start < BLOCK or start + 4 > len(raw):
        raise InputError(
            f"{path}: byte 0: found parameters in block {raw[0]}, expected one of 2 to {math.ceil(len(raw) / BLOCK)}: "
            "the file is damaged or cut short"
        )
    processor = raw[start + 3]
    if processor not in _PROCESSORS:
        raise InputError(f"{path}: byte {start + 3}: found processor {processor}, expected 84 (Intel), 85 (DEC) or 86 (MIPS)")
    file = _File(path, raw, _PROCESSORS[processor], processor == _DEC)
    parameters = _parameters(file, start + 4, _end_of_parameters(file, start))
    frames = _frames(file, parameters)
    labels = _labels(file, parameters, frames.shape[1])
    modelled = {label for name in _MODELLED for label in _texts(file, parameters, f"POINT:{name}")}
    kept = [point for point, label in enumerate(labels) if not label or label not in modelled]
    if len(kept) < len(labels):
        left = [label for label in labels if label in modelled]
        _logger.warning("%s: left out, modelled values that are no places: %s", path, shortened(left))
    if not kept:
        raise InputError(f"{path}: found modelled values (angles, forces) only, expected points in space")
    units = _texts(file, parameters, "POINT:UNITS")
    rate = _rate(file, parameters)
    return [
        Recording(
            frames=frames[:, points],
            joints=names,
            unit=units[0] if units else "",
            fps=rate,
            person=person,
            subject=subject,
        )
        for person, (subject, points, names) in enumerate(_persons(path, labels, kept))
    ]


# The data


def _frames(file: _File, parameters: Mapping[str, _Parameter]) -> Float32[np.ndarray, "time point 3"]:
    """Places of all points, NaN where missing."""
    path = file.path
    _, points, samples, first, last = file.words(0, 5)
    used = _whole(file, parameters, "POINT:USED")
    if used is not None and used != points:
        raise InputError(f"{path}: found {points} points in the header and {used} in POINT:USED, expected the same")
    if not points:
        raise InputError(f"{path}: found no points, expected some: the file holds analog channels only")
    of_header = float(file.floats(file.raw[12:16])[0])
    scale = _number(file, parameters, "POINT:SCALE")
    if scale is None:
        scale = of_header
    if not math.isfinite(scale) or not scale:
        raise InputError(f"{path}: POINT:SCALE: found {scale}, expected a number other than zero")
    if (scale < 0) != (of_header < 0):
        raise InputError(
            f"{path}: found scale {of_header} in the header and {scale} in POINT:SCALE, expected the same sign: "
            "below zero data are float32, above int16"
        )
    block = file.words(16)[0] or _whole(file, parameters, "POINT:DATA_START") or 0
    start = (block - 1) * BLOCK
    if start < BLOCK or start >= len(file.raw):
        raise InputError(
            f"{path}: byte 16: found data in block {block}, expected one of 2 to {math.ceil(len(file.raw) / BLOCK)}: "
            "the file is damaged or cut short"
        )
    size = 4 if scale < 0 else 2
    width = 4 * points + samples
    count = _count(file, parameters, first, last, (len(file.raw) - start) // (size * width))
    end = start + count * size * width
    if end > len(file.raw):
        raise InputError(
            f"{path}: found {len(file.raw):,} bytes, expected {end:,} for {count:,} frames of {points} points and "
            f"{samples} samples: the file is cut short"
        )
    data = memoryview(file.raw)[start:end]
    values = file.floats(data) if scale < 0 else np.frombuffer(data, f"{file.order}i2")
    values = values.reshape(count, width)[:, : 4 * points].reshape(count, points, 4)
    with np.errstate(over="ignore", invalid="ignore"):
        places = values[..., :3].astype(np.float32)
        if scale > 0:
            places *= np.float32(scale)
        places[(values[..., 3] < 0) | np.isnan(places).any(axis=2)] = np.nan
    if np.isinf(places).any():
        frame, point, _ = np.argwhere(np.isinf(places))[0]
        raise InputError(f"{path}: frame {frame + 1}, point {point + 1}: found an infinite coordinate, expected a number")
    return places


def _count(file: _File, parameters: Mapping[str, _Parameter], first: int, last: int, room: int) -> int:
    """How many frames there are: the header's word, or beyond what it can say the parameters'.

    Args:
        file: the file.
        parameters: its parameters.
        first: the header's first frame.
        last: the header's last frame.
        room: frames there are bytes for.
    """
    if first <= last < _MANY_FRAMES:
        return last - first + 1
    ends = [_words(file, parameters, f"TRIAL:ACTUAL_{end}_FIELD") for end in ("START", "END")]
    if all(len(end) == 2 for end in ends):
        begin, end = (low | high << 16 for low, high in ends)
        if begin <= end:
            return end - begin + 1
    for name in ("POINT:LONG_FRAMES", "POINT:FRAMES"):
        claimed = _whole(file, parameters, name)
        if claimed and claimed != _MANY_FRAMES:
            return claimed
    if last == _MANY_FRAMES and room >= last - first + 1:
        # Nothing says how many there are beyond what the header can count; the last block may be filled up.
        return last - first + 1
    raise InputError(f"{file.path}: byte 6: found frames {first} to {last}, expected the last one not before the first")


def _rate(file: _File, parameters: Mapping[str, _Parameter]) -> float | None:
    """Frames a second, None where neither parameters nor header say."""
    for rate in (_number(file, parameters, "POINT:RATE"), float(file.floats(file.raw[20:24])[0])):
        if rate is not None and math.isfinite(rate) and rate > 0:
            return rate
    return None


# The labels


def _labels(file: _File, parameters: Mapping[str, _Parameter], points: int) -> list[str]:
    """Label of each point as written, "" where there is none; 255 in each of POINT:LABELS, LABELS2, ..."""
    labels: list[str] = []
    number = 1
    while len(labels) < points and (
        more := _texts(file, parameters, f"POINT:LABELS{number if number > 1 else ''}", every=True)
    ):
        labels.extend(more)
        number += 1
    return [*labels, *[""] * points][:points]


def _persons(path: Path, labels: Sequence[str], kept: Sequence[int]) -> list[tuple[str, list[int], tuple[str, ...]]]:
    """Subject, points and the points' names of each person."""
    if not any(labels):
        return [("", list(kept), ())]
    split = {point: labels[point].rpartition(":") for point in kept}
    subjects = list(dict.fromkeys(subject.strip() for subject, _, _ in split.values() if subject.strip()))
    names = {point: name.strip() or f"point{point + 1}" for point, (_, _, name) in split.items()}
    named = [names[point] for point in kept if split[point][0].strip()]
    if len(subjects) < 2 or len(set(named)) == len(named):
        subject = subjects[0] if len(subjects) == 1 else ""
        return [(subject, list(kept), _unique([names[point] for point in kept]))]
    of_none = [labels[point] or names[point] for point in kept if not split[point][0].strip()]
    if of_none:
        _logger.warning("%s: left out, points of none of %s: %s", path, shortened(subjects), shortened(of_none))
    points: dict[str, list[int]] = {subject: [] for subject in subjects}
    for point in kept:
        if subject := split[point][0].strip():
            points[subject].append(point)
    return [(subject, own, _unique([names[point] for point in own])) for subject, own in points.items()]


def _unique(names: Sequence[str]) -> tuple[str, ...]:
    """Names, ``_2``, ``_3``, ... after those that occurred before."""
    found: list[str] = []
    seen, last = set(names), dict.fromkeys(names, 1)
    used: set[str] = set()
    for name in names:
        fresh = name
        while fresh in used or (fresh in seen and fresh != name):
            last[name] += 1
            fresh = f"{name}_{last[name]}"
        used.add(fresh)
        found.append(fresh)
    return tuple(found)


# The parameters


def _end_of_parameters(file: _File, start: int) -> int:
    """Where parameters have to end: where the data begins or the file ends."""
    data = (file.words(16)[0] - 1) * BLOCK
    return min(len(file.raw), data if data > start else len(file.raw), start + _PARAMETER_BYTES)


def _parameters(file: _File, place: int, limit: int) -> dict[str, _Parameter]:
    """The parameters of the groups POINT and TRIAL, as GROUP:NAME.

    Records follow each other, each saying how far away the next one is.
    """
    groups: dict[int, str] = {}
    found: list[tuple[int, str, tuple[int, int, int]]] = []
    raw = file.raw
    while place + 2 <= limit:
        # A negative length locks the record against changes.
        length, group = abs(_signed(raw[place])), _signed(raw[place + 1])
        if not length:
            break
        after = place + 2 + length
        if after + 2 > limit:
            raise _cut(file, place)
        name = _letters(raw[place + 2 : after]).upper()
        step = file.words(after)[0]
        end = after + step if step else limit
        if step == 1 or end > limit:
            raise _cut(file, place)
        if group < 0:
            groups.setdefault(-group, name)
        elif group > 0:
            found.append((group, name, (place, after + 2, end)))
        if not step:
            break
        place = end
    # Groups may come after their parameters; the first of a name counts.
    parameters: dict[str, _Parameter] = {}
    for group, name, places in found:
        full = f"{groups.get(group)}:{name}"
        if groups.get(group) in ("POINT", "TRIAL") and full not in parameters:
            parameters[full] = _parameter(file, *places)
    return parameters


def _parameter(file: _File, record: int, place: int, end: int) -> _Parameter:
    if place + 2 > end:
        raise _cut(file, record)
    kind, dimensions = _signed(file.raw[place]), file.raw[place + 1]
    data = place + 2 + dimensions
    if kind not in _SIZES or dimensions > 7 or data > end:
        raise InputError(
            f"{file.path}: byte {place}: found a parameter of type {kind} and {dimensions} dimensions, "
            "expected type -1, 1, 2 or 4 and at most 7: the file is damaged"
        )
    sizes = tuple(file.raw[place + 2 : data])
    size = _SIZES[kind] * math.prod(sizes)
    if data + size > end:
        raise _cut(file, record)
    return _Parameter(kind, sizes, file.raw[data : data + size])


def _cut(file: _File, place: int) -> InputError:
    return InputError(
        f"{file.path}: byte {place}: found a parameter that reaches beyond its end, expected it whole: "
        "the file is damaged or cut short"
    )


def _signed(byte: int) -> int:
    return byte - 256 if byte > 127 else byte


def _letters(data: bytes) -> str:
    """Text as the many programs write it; the guide knows ASCII only."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return re.sub(r"[\x00-\x1f\x7f]", " ", text).strip()


def _texts(file: _File, parameters: Mapping[str, _Parameter], name: str, every: bool = False) -> list[str]:
    """The words of a parameter, none where it is not there; with ``every`` empty ones too."""
    parameter = parameters.get(name)
    if parameter is None:
        return []
    if parameter.kind != -1:
        raise InputError(f"{file.path}: {name}: found numbers, expected letters")
    length = parameter.sizes[0] if parameter.sizes else 1
    words = [_letters(parameter.data[place : place + length]) for place in range(0, len(parameter.data), length or 1)]
    return [word for word in words if word or every]


def _words(file: _File, parameters: Mapping[str, _Parameter], name: str) -> list[int]:
    """The unsigned 16-bit numbers of a parameter, none where it is of another type or not there."""
    parameter = parameters.get(name)
    if parameter is None or parameter.kind != 2:
        return []
    return np.frombuffer(parameter.data, f"{file.order}u2").tolist()


def _number(file: _File, parameters: Mapping[str, _Parameter], name: str) -> float | None:
    """The first number of a parameter, None where it is not there."""
    parameter = parameters.get(name)
    if parameter is None or not parameter.data:
        return None
    if parameter.kind == -1:
        raise InputError(f"{file.path}: {name}: found the letters {shown(_letters(parameter.data))}, expected a number")
    if parameter.kind == 4:
        return float(file.floats(parameter.data)[0])
    order = "little" if file.order == "<" else "big"
    return float(int.from_bytes(parameter.data[: parameter.kind], order, signed=True))


def _whole(file: _File, parameters: Mapping[str, _Parameter], name: str) -> int | None:
    """A count, None where it is not there."""
    number = _number(file, parameters, name)
    if number is None:
        return None
    if number < 0 and parameters[name].kind == 2:
        # Counts beyond 32767 are written where the format has room for a signed number only.
        number += 1 << 16
    if not (math.isfinite(number) and 0 <= number < 2**32 and number == int(number)):
        raise InputError(f"{file.path}: {name}: found {number}, expected a whole number")
    return int(number)
