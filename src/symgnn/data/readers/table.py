"""Tables of a user's own: a frame a line, a column a coordinate or a cell "x y z" a joint.

    Head_x,Head_y,Head_z,Neck_x,...         headings name joint and axis (Head.x, HeadX, x_Head and "Head (x)" do too)
    Head;Neck;...                           headings name joints, cells hold "0.19 0.61 2.95"
    0.19,0.61,2.95,...                      no headings: the layout's joints in its order

Columns are separated by ``;``, tabs, commas or blanks; a comma may be the decimal point where it does not separate. Columns
called label (class, action), time (timestamp), frame or person (body, track) are taken for what they say.
"""

import io
import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from symgnn.data.readers.text import LARGEST, is_image, read_text, required, shortened, shown
from symgnn.data.recording import Recording
from symgnn.errors import InputError
from symgnn.skeleton import Layout

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_NOTHING = {"", "nan", "null", "none", "na", "n/a"}
_ROLES = {
    "label": {"label", "labels", "class", "action", "action id", "activity", "gesture", "exercise"},
    "time": {"time", "timestamp", "timestamps", "t", "seconds", "sec", "time s", "timestamp s"},
    "milliseconds": {"ms", "milliseconds", "time ms", "timestamp ms"},
    "frame": {"frame", "frame id", "frame number", "frame index", "index"},
    "person": {"person", "person id", "body", "body id", "track", "track id", "skeleton id"},
}
_CONFIDENCE = ("confidence", "conf", "score", "visibility", "likelihood", "c")
_AXIS_LAST = re.compile(
    rf"(?P<joint>.*[^\s_.:/(\[-])(?P<mark>[\s_.:/(\[-]*)(?P<axis>{'|'.join(_CONFIDENCE)}|[xyz])[)\]]?", re.IGNORECASE
)
_AXIS_FIRST = re.compile(r"(?P<axis>[xyz])[\s_.:-]+(?P<joint>.+)", re.IGNORECASE)


@dataclass
class _Columns:
    """What each column is, counted from 0."""

    joints: tuple[str, ...] = ()
    places: list[list[int]] = field(default_factory=list)
    """Columns of each joint's channels: x, y and z or the confidence."""
    confidence: bool = False
    """Whether the third channel is one."""
    roles: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table's rows, before anybody says what they are."""

    path: Path
    heading: list[str] | None
    rows: list[tuple[int, list[str]]]
    """Line and cells of each frame."""
    sizes: list[int]
    """Numbers in each cell."""
    comma: bool
    """Whether a comma is the decimal point."""

    @property
    def bare(self) -> bool:
        """Whether cells are single numbers and no heading names a joint's axis."""
        return max(self.sizes) == 1 and not any(map(_joint_and_axis, self.heading or ()))


def open_table(path: Path) -> Table:
    """The rows of a table of any of these shapes.

    Raises:
        InputError: the file cannot be read as text, or holds no row.
    """
    lines = [(number, line) for number, line in enumerate(read_text(path).splitlines(), start=1) if line.strip()]
    if not lines:
        raise InputError(f"{path}: empty; expected a frame a line")
    delimiter, comma = _delimiter([line for _, line in lines[:20]])
    rows = [(number, _cells(line, delimiter)) for number, line in lines]
    heading = rows[0][1] if not any(_is_number(part, comma) for cell in rows[0][1] for part in cell.split()) else None
    rows = rows[1 if heading is not None else 0 :]
    if not rows:
        raise InputError(f"{path}: only headings; expected a frame a line after them")
    # Where cells hold several numbers, each becomes a column of its own.
    return Table(path, heading, rows, _cell_sizes(path, rows[0][1], comma), comma)


def numbers_of(table: Table, widths: Collection[int], wanted: str) -> Float64[np.ndarray, "time column"]:
    """The numbers of a bare table, NaN where a cell says so or is empty.

    Args:
        table: from ``open_table``.
        widths: how many columns it may have.
        wanted: that in words.

    Raises:
        InputError: another number of columns, or a cell is no number; the message names line and column.
    """
    line, cells = table.rows[0]
    if len(cells) not in widths or max(table.sizes) > 1:
        raise InputError(f"{table.path}: line {line}: found {len(cells)} columns, expected {wanted}")
    return _values(table.path, table.rows, table.sizes, set(), None, table.comma)[0]


def read_table(path: Path, layout: Layout | None, label_column: str | None = None) -> list[Recording]:
    """The persons of a table.

    Args:
        path: the file.
        layout: whose joints the columns are where no headings say.
        label_column: heading, or number counted from 1 (from the end where negative), of the column with each frame's class.

    Returns:
        A recording a person.

    Raises:
        InputError: the file is no such table; the message names line and column, what was found and what was expected.
    """
    return recordings_of(open_table(path), layout, label_column)


def recordings_of(opened: Table, layout: Layout | None, label_column: str | None = None) -> list[Recording]:
    """As ``read_table``, of a table that is open."""
    path, heading, rows, sizes, comma = opened.path, opened.heading, opened.rows, opened.sizes, opened.comma
    columns = _columns(path, heading, sizes, layout, label_column)
    text = {columns.roles[name] for name in ("label", "person") if name in columns.roles}
    table, words = _values(path, rows, sizes, text, columns.roles.get("time"), comma)

    frames = table[:, np.array(columns.places)]
    if frames.shape[2] == 2:
        frames = np.concatenate([frames, np.ones((*frames.shape[:2], 1))], axis=2)
        columns.confidence = True
    missing = np.isnan(frames).any(axis=2)
    if columns.confidence:
        missing |= frames[..., 2] <= 0
    frames[missing] = np.nan
    frames = frames.astype(np.float32)

    times = None
    if (time := columns.roles.get("time")) is not None:
        times = table[:, time] * _seconds(table[:, time], columns.roles.get("milliseconds") == time)
    labels = None
    if (label := columns.roles.get("label")) is not None:
        labels = np.array([_label(word) for word in words[label]], dtype=object)
    space = "xyc" if columns.confidence else "xyz"
    persons = words[columns.roles["person"]] if "person" in columns.roles else [""] * len(frames)
    counter = table[:, columns.roles["frame"]] if "frame" in columns.roles else None
    found = []
    for person, name in enumerate(dict.fromkeys(persons)):
        mine = np.array([other == name for other in persons])
        found.append(
            Recording(
                frames=frames[mine],
                space=space,
                joints=columns.joints,
                times=None if times is None else times[mine],
                numbers=None if counter is None else counter[mine],
                frame_labels=None if labels is None else tuple(labels[mine]),
                person=person,
                notes=columns.notes,
            )
        )
    return found


def _delimiter(lines: Sequence[str]) -> tuple[str | None, bool]:
    """What separates cells (None: blanks), and whether a comma is the decimal point."""
    first = lines[-1]
    delimiter = next((mark for mark in (";", "\t", ",") if mark in first), None)
    comma = delimiter != "," and "." not in first and bool(re.search(r"\d,\d", first))
    return delimiter, comma


def _cells(line: str, delimiter: str | None) -> list[str]:
    return [cell.strip().strip('"') for cell in line.split(delimiter)] if delimiter else line.split()


def _is_number(word: str, comma: bool) -> bool:
    return _NUMBER.fullmatch(word.replace(",", ".") if comma else word) is not None


def _cell_sizes(path: Path, cells: Sequence[str], comma: bool) -> list[int]:
    """How many numbers each cell of the first frame holds: 1, or 2 to 4 with blanks between them."""
    parts = [cell.split() for cell in cells]
    sizes = [len(words) if words and all(_is_number(word, comma) for word in words) else 1 for words in parts]
    largest = max(sizes)
    if largest > 4:
        raise InputError(f"{path}: found a cell of {largest} numbers, expected one, or the two to four of a joint")
    # An empty cell among those of several numbers is a missing joint.
    return [largest if not words else size for words, size in zip(parts, sizes, strict=True)]


def _columns(
    path: Path, heading: Sequence[str] | None, sizes: Sequence[int], layout: Layout | None, label: str | None
) -> _Columns:
    """What the columns are, counted after each cell of several numbers has become as many columns."""
    first = [sum(sizes[:cell]) for cell in range(len(sizes))]
    found = _Columns()
    unknown: list[int] = []
    names: dict[str, dict[str, int]] = {}
    label_cell = None if label is None else _cell_of(path, label, heading, len(sizes))
    for cell, size in enumerate(sizes):
        title = heading[cell] if heading is not None and cell < len(heading) else ""
        words = " ".join(re.split(r"[\s_.()\[\]:-]+", title.lower())).strip()
        role = next((role for role, titles in _ROLES.items() if words in titles), None)
        if cell == label_cell:
            found.roles["label"] = first[cell]
        elif size > 1:
            found.places.append([first[cell] + channel for channel in range(size)])
            found.joints += (title,)
        elif role is not None and not (role == "label" and label_cell is not None):
            if role == "milliseconds":
                found.roles["time"] = first[cell]
            found.roles[role] = first[cell]
        elif title and (match := _joint_and_axis(title)):
            axis = match["axis"].lower()
            names.setdefault(match["joint"].strip(), {})["c" if axis in _CONFIDENCE else axis] = first[cell]
        else:
            unknown.append(cell)
    if names and not found.places:
        _by_heading(path, names, found)
    elif found.places:
        found.confidence = _triples(path, found, layout)
    else:
        return _without_headings(path, heading, unknown, found, layout)
    if len(unknown) > (heading is None):
        called = [
            repr(heading[cell]) if heading and cell < len(heading) and heading[cell] else f"{cell + 1}" for cell in unknown
        ]
        found.notes = (f"left out, columns that name no joint's axis: {shortened(called)}",)
    elif unknown:
        raise InputError(
            f"{path}: column {unknown[0] + 1} holds no joint: if it is each frame's class, say --label-column {unknown[0] + 1}"
        )
    return found


def _joint_and_axis(title: str) -> re.Match[str] | None:
    match = _AXIS_LAST.fullmatch(title)
    # Without a mark between them a capital has to tell: HeadX is a joint's axis, battery is none.
    if match and not match["mark"] and not (match["axis"] in "XYZ" and not match["joint"][-1].isupper()):
        match = None
    return match or _AXIS_FIRST.fullmatch(title)


def _cell_of(path: Path, label: str, heading: Sequence[str] | None, cells: int) -> int:
    if heading is not None and label in heading:
        return list(heading).index(label)
    if not re.fullmatch(r"[+-]?[0-9]{1,6}", label):
        there = f"there are: {shortened([repr(title) for title in heading])}" if heading else "the file has no headings"
        raise InputError(f"{path}: found no column {label!r} ({there}); expected a heading or a number")
    number = int(label)
    if number == 0 or abs(number) > cells:
        raise InputError(
            f"{path}: found {cells} columns, expected a column {number} (counted from 1, from the end where negative)"
        )
    return number - 1 if number > 0 else cells + number


def _by_heading(path: Path, names: dict[str, dict[str, int]], found: _Columns) -> None:
    """Joints and axes from headings such as Head_x."""
    kinds = {frozenset(axes) for axes in names.values()}
    if len(kinds) > 1:
        usual = max(kinds, key=lambda kind: sum(set(axes) == kind for axes in names.values()))
        joint, axes = next((joint, axes) for joint, axes in names.items() if set(axes) != usual)
        raise InputError(
            f"{path}: joint {joint!r} has the columns {', '.join(sorted(axes))}, the others {', '.join(sorted(usual))}; "
            "expected the same of each"
        )
    (axes,) = kinds
    if not {"x", "y"} <= axes:
        raise InputError(
            f"{path}: found columns {', '.join(sorted(axes))} of each joint, expected x, y and z, or x, y and a confidence"
        )
    order = ["x", "y", *(["z"] if "z" in axes else []), *(["c"] if "c" in axes and "z" not in axes else [])]
    found.joints = tuple(names)
    found.places = [[places[axis] for axis in order] for places in names.values()]
    found.confidence = order[-1] == "c"
    # With z there too, a confidence of nothing still tells that the joint was not seen.


def _triples(path: Path, found: _Columns, layout: Layout | None) -> bool:
    """Check joints that come as cells of several numbers; whether the third is a confidence."""
    sizes = {len(places) for places in found.places}
    if len(sizes) > 1:
        raise InputError(
            f"{path}: found cells of {' and '.join(map(str, sorted(sizes)))} numbers, expected the same of each joint"
        )
    found.places = [places[:3] for places in found.places]
    if not all(found.joints):
        if any(found.joints):
            place = found.joints.index("")
            raise InputError(f"{path}: the {place + 1}th joint has no heading; expected one for each of {len(found.joints)}")
        found.joints = ()
        layout = required(layout, path)
        if len(found.places) != len(layout.joints):
            raise InputError(
                f"{path}: found {len(found.places)} joints, layout {layout.name} has {len(layout.joints)}: "
                "name the layout of the files by --layout"
            )
    return is_image(layout)


def _without_headings(
    path: Path, heading: Sequence[str] | None, cells: Sequence[int], found: _Columns, layout: Layout | None
) -> _Columns:
    """Columns in the layout's order, a number a cell."""
    layout = required(layout, path)
    joints, count = len(layout.joints), len(cells)
    if count not in (2 * joints, 3 * joints):
        spare = count % joints
        hint = (
            "; is one of them each frame's class? Say which by --label-column"
            if spare == 1 and count // joints in (2, 3)
            else ""
        )
        titles = f" (headings: {shortened([repr(title) for title in heading], 5)})" if heading else ""
        raise InputError(
            f"{path}: found {count} columns of numbers{titles}, expected {3 * joints} or {2 * joints}: "
            f"layout {layout.name} has {joints} joints{hint}"
        )
    channels = count // joints
    found.places = [list(cells[joint * channels : (joint + 1) * channels]) for joint in range(joints)]
    found.confidence = channels == 3 and is_image(layout)
    return found


def _values(
    path: Path, rows: Sequence[tuple[int, list[str]]], sizes: Sequence[int], text: set[int], time: int | None, comma: bool
) -> tuple[np.ndarray, dict[int, list[str]]]:
    """Every number, NaN where there is none, and the words of the columns that hold words."""
    first = [sum(sizes[:cell]) for cell in range(len(sizes))]
    words: dict[int, list[str]] = {column: [] for column in text}
    numeric = [cell for cell, column in enumerate(first) if column not in text]
    table = np.full((len(rows), sum(sizes)), np.nan)
    lines: list[str] = []
    for number, cells in rows:
        if len(cells) != len(sizes):
            raise InputError(f"{path}: line {number}: found {len(cells)} columns, expected {len(sizes)} as in the first frame")
        for column in text:
            words[column].append(cells[first.index(column)])
        lines.append(" ".join(cells[cell] for cell in numeric))
    kept = [
        column + channel for column, size in zip(first, sizes, strict=True) if column not in text for channel in range(size)
    ]
    try:
        # The fast way: where every cell is there and a number, blanks may separate them all.
        fast = np.loadtxt(
            io.StringIO("\n".join(lines).replace(",", ".") if comma else "\n".join(lines)), comments=None, ndmin=2
        )
    except ValueError:
        fast = None
    if fast is not None and fast.shape == (len(rows), len(kept)) and (np.abs(fast) <= LARGEST).all():
        table[:, kept] = fast
        return table, words
    for row, (number, cells) in enumerate(rows):
        for cell in numeric:
            parts = cells[cell].split() or [""]
            if len(parts) == 1 and parts[0].lower() in _NOTHING:
                continue
            if len(parts) != sizes[cell]:
                raise InputError(
                    f"{path}: line {number}, column {cell + 1}: found {shown(cells[cell])}, expected {sizes[cell]} numbers"
                )
            for channel, part in enumerate(parts):
                table[row, first[cell] + channel] = _value(path, number, cell, part, first[cell] == time, comma)
    return table, words


def _value(path: Path, line: int, cell: int, word: str, is_time: bool, comma: bool) -> float:
    plain = word.replace(",", ".") if comma else word
    if word.lower() in _NOTHING:
        return math.nan
    if _NUMBER.fullmatch(plain) and abs(value := float(plain)) <= LARGEST:
        return value
    if is_time:
        try:
            return datetime.fromisoformat(word).timestamp()
        except ValueError:
            pass
    expected = "a time" if is_time else "a finite number, or nothing where it is missing"
    raise InputError(f"{path}: line {line}, column {cell + 1}: found {shown(word)}, expected {expected}")


def _seconds(times: np.ndarray, milliseconds: bool) -> float:
    """Seconds of one unit of a time column: a frame lasts between a millisecond and a second."""
    if milliseconds:
        return 1e-3
    steps = np.diff(times)
    usual = float(np.median(steps[steps > 0])) if (steps > 0).any() else 0.0
    return next(unit for unit in (1.0, 1e-3, 1e-6, 1e-9) if usual * unit <= 1 or unit == 1e-9)


def _label(word: str) -> str:
    return "" if word.lower() in _NOTHING else word
