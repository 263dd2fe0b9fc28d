"""The store: one on-disk form for every data set, a folder.

    frames.npy   float32 (total, stored, 3), every clip's frames one after the other; NaN marks a missing joint
    clips.csv    a row per clip and person, see ClipRecord
    labels.npy   optional, int32 (total,), the class of each frame, -1 for none
    times.npy    optional, float64 (total,), seconds
    store.json   format version, layout, space, unit, frames a second, class names, sha256 of the other files

The arrays are memory-mapped: opening a store of any size reads only its headers.
"""

import csv
import dataclasses
import hashlib
import io
import json
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
from jaxtyping import Float32, Float64, Int32

from symgnn.errors import InputError
from symgnn.skeleton import Layout, Space, layout_from_dict

FORMAT = "symgnn-store"
VERSION = 1
CHANNELS = 3
"""Every space has three channels: x y z, a rotation vector, or x y and the detector's confidence."""

FRAMES, CLIPS, LABELS, TIMES, ABOUT = "frames.npy", "clips.csv", "labels.npy", "times.npy", "store.json"

Frames = Float32[np.ndarray, "time stored 3"]


@dataclass(frozen=True, kw_only=True)
class ClipRecord:
    """A row of ``clips.csv``: one person in one recording."""

    start: int = 0
    """First row of ``frames.npy``; found when the store is written."""
    length: int = 0
    """Number of frames; found when the store is written."""
    label: int = -1
    """Index into the class names, -1 for none."""
    recording: str
    """Name of the recording; the persons seen together in one share it."""
    person: int = 0
    """Number of the person within the recording."""
    subject: str = ""
    """Who moves; empty where unknown."""
    camera: str = ""
    """Camera of a recording seen from several."""
    setup: str = ""
    """Camera setup (NTU-120 splits by it)."""
    source: str = ""
    """File the clip was read from, relative to its data set."""
    split: str = ""
    """``train``, ``test``, ``leak`` (a copy of a test file among the training files), or empty where nothing says."""


class Clip(NamedTuple):
    """What ``write_store`` is given for each clip; a plain pair (record, frames) will do."""

    record: ClipRecord
    frames: Float32[np.ndarray, "time stored 3"] | Float64[np.ndarray, "time stored 3"]
    labels: np.ndarray | None = None
    """Class of each frame, -1 for none."""
    times: np.ndarray | None = None
    """Second of each frame."""


@dataclass(frozen=True, eq=False)
class Store:
    """An open store."""

    path: Path
    layout: Layout
    space: Space
    unit: str
    """Unit of positions (``expmap``: of the root's translation; rotations are in radians)."""
    fps: float
    class_names: tuple[str, ...]
    frames: Float32[np.ndarray, "total stored 3"]
    """Memory-mapped, read only."""
    clips: tuple[ClipRecord, ...]
    labels: Int32[np.ndarray, " total"] | None
    times: Float64[np.ndarray, " total"] | None
    about: Mapping[str, Any]
    """All of ``store.json``."""

    @classmethod
    def open(cls, path: str | Path) -> "Store":
        """Open a store without reading its frames.

        Headers, sizes and the table of clips are checked against each other; ``verify`` compares the contents with their
        checksums too.

        Raises:
            InputError: a file is missing, damaged, foreign, or of a newer version.
        """
        path = Path(path)
        about = _read_about(path)
        where = path / ABOUT
        layout = layout_from_dict(_field(about, "layout", dict, where), where=f"{where}: layout")
        space = _field(about, "space", str, where)
        if space not in get_args(Space):
            raise InputError(f"{where}: space: found {space!r}, expected one of {', '.join(get_args(Space))}")
        fps = _field(about, "fps", (int, float), where)
        if not (math.isfinite(fps) and fps > 0):
            raise InputError(f"{where}: fps: found {fps}, expected a positive number")
        class_names = _field(about, "class_names", list, where)
        if not all(isinstance(name, str) for name in class_names):
            raise InputError(f"{where}: class_names: expected a list of names")

        frames = _map_array(path / FRAMES, np.dtype("<f4"), (None, len(layout.stored(space)), CHANNELS))
        total = (len(frames),)
        labels = _map_array(path / LABELS, np.dtype("<i4"), total) if (path / LABELS).exists() else None
        times = _map_array(path / TIMES, np.dtype("<f8"), total) if (path / TIMES).exists() else None
        clips = _read_clips(path / CLIPS, len(frames), len(class_names))
        present = {name for name in (FRAMES, CLIPS, LABELS, TIMES) if (path / name).exists()}
        listed = _field(about, "sha256", dict, where)
        if present != listed.keys():
            raise InputError(
                f"{where}: sha256: found {', '.join(listed) or 'nothing'}, expected {', '.join(sorted(present))}, the files in "
                "the folder; the store is not whole, convert the data again"
            )
        unit = _field(about, "unit", str, where)
        return cls(path, layout, space, unit, float(fps), tuple(class_names), frames, clips, labels, times, about)

    @property
    def missing(self) -> tuple[str, ...]:
        """Files of the benchmark that were not there when the store was made."""
        return tuple(self.about.get("missing", ()))

    @property
    def leaked(self) -> tuple[str, ...]:
        """Training files that are byte for byte a test file; their split is ``leak``."""
        return tuple(self.about.get("leaked", ()))

    def clip_frames(self, index: int) -> Frames:
        """The frames of one clip, a view of the mapped file."""
        clip = self.clips[index]
        return self.frames[clip.start : clip.start + clip.length]

    def select(self, **fields: object) -> tuple[int, ...]:
        """Indices of the clips whose fields have the given value, or one of the given values.

        ``store.select(split="train", label=(0, 3))``
        """
        unknown = fields.keys() - {field.name for field in dataclasses.fields(ClipRecord)}
        if unknown:
            raise TypeError(f"clips have no field {', '.join(sorted(unknown))}")

        def fits(value: object, wanted: object) -> bool:
            return value in wanted if isinstance(wanted, Collection) and not isinstance(wanted, str) else value == wanted

        return tuple(
            index
            for index, clip in enumerate(self.clips)
            if all(fits(getattr(clip, name), wanted) for name, wanted in fields.items())
        )

    def class_mapping(self, class_names: Sequence[str]) -> tuple[int, ...]:
        """Index in ``class_names`` of each class of the store, -1 where it is not among them."""
        place = {name: index for index, name in enumerate(class_names)}
        return tuple(place.get(name, -1) for name in self.class_names)

    def require(self, layout: Layout, space: Space | None = None) -> None:
        """Check that the store's bodies are those a model or a preset was made for.

        Raises:
            InputError: joints, joints in use or space differ.
        """
        mine = self.layout
        if (mine.joints, mine.nodes) != (layout.joints, layout.nodes):
            raise InputError(
                f"{self.path}: layout {mine.name} has {len(mine.joints)} joints ({mine.num_nodes} in use); "
                f"expected layout {layout.name} with {len(layout.joints)} joints ({layout.num_nodes} in use): "
                "convert the data to that layout, or use a preset made for this one"
            )
        if space is not None and space != self.space:
            raise InputError(
                f"{self.path}: holds {_SPACES[self.space]} (space {self.space}), expected {_SPACES[space]} (space {space}): "
                "use data or a preset of the same space"
            )

    def verify(self) -> None:
        """Compare every file with its checksum; this reads the whole store.

        Raises:
            InputError: a file is not what was written.
        """
        for name, expected in self.about["sha256"].items():
            found = sha256_of(self.path / name)
            if found != expected:
                raise InputError(
                    f"{self.path / name}: damaged: found sha256 {found[:12]}..., expected {str(expected)[:12]}... ({ABOUT}); "
                    "convert the data again"
                )


class Classes:
    """Names of classes as they turn up, put in order when all are known: numbers by size, then words by the alphabet.

    Args:
        order: place of those that somebody else has put in order; they come first.
    """

    def __init__(self, order: Mapping[str, int] | None = None) -> None:
        self._index: dict[str, int] = {}
        self._order = order or {}

    def __len__(self) -> int:
        return len(self._index)

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def index(self, name: str) -> int:
        """Number of a class until they are put in order."""
        return self._index.setdefault(name, len(self._index))

    def ordered(self) -> tuple[list[str], Int32[np.ndarray, " numbers"]]:
        """The names in order, and the final number of each number given so far (the last entry: -1 stays -1)."""
        names = sorted(self._index, key=lambda name: (self._order.get(name, math.inf), natural(name)))
        place = {name: number for number, name in enumerate(names)}
        return names, np.array([*(place[name] for name in self._index), -1], np.int32)


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key: digits count as numbers, so that walk_2 comes before walk_10."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]


_SPACES = {"xyz": "positions", "expmap": "exponential maps", "xyc": "image positions with confidence"}


def is_store(path: Path) -> bool:
    """Whether a folder says of itself that it is a store (of whatever version, whole or not)."""
    return (path / ABOUT).is_file()


def clips_table(records: Iterable[ClipRecord]) -> bytes:
    """The content of ``clips.csv``."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in dataclasses.fields(ClipRecord)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(dataclasses.asdict(record) for record in records)
    return text.getvalue().encode()


def check_label(label: int, classes: int, where: str) -> None:
    """Raise InputError where a label is no class (-1 is none)."""
    if not -1 <= label < classes:
        raise InputError(f"{where}: label {label}: expected -1 (none) to {classes - 1}, for there are {classes} class names")


def sha256_of(path: Path) -> str:
    """Checksum of a file, as ``store.json`` has it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_about(path: Path) -> dict[str, Any]:
    where = path / ABOUT
    if not path.exists():
        raise InputError(f"{path}: no such folder")
    if not where.is_file():
        raise InputError(f"{path}: not a store: it has no {ABOUT}; symgnn data import makes a store of a data set's folder")
    try:
        about = json.loads(where.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: damaged: not JSON: {error}") from None
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise InputError(f'{where}: not a symgnn store: expected "format": "{FORMAT}"')
    version = _field(about, "version", int, where)
    if version > VERSION:
        raise InputError(f"{where}: version {version}, made by a newer symgnn; this one reads up to {VERSION}: upgrade symgnn")
    if version < 1:
        raise InputError(f"{where}: version: found {version}, expected 1 to {VERSION}")
    return about


def _field(about: Mapping[str, Any], name: str, kind: type | tuple[type, ...], where: Path) -> Any:
    if name not in about:
        raise InputError(f"{where}: field {name!r} is missing; the store is damaged, convert the data again")
    value = about[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        wanted = "number" if isinstance(kind, tuple) else kind.__name__
        raise InputError(f"{where}: {name}: found {type(value).__name__}, expected {wanted}")
    return value


def _map_array(path: Path, dtype: np.dtype, shape: tuple[int | None, ...]) -> np.ndarray:
    """Map an array after its header and size were found to agree, so that nothing is allocated on a header's word."""
    if not path.is_file():
        raise InputError(f"{path}: missing; the store is not whole, convert the data again")
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            if version != (1, 0):
                raise ValueError(f"npy version {version[0]}.{version[1]}, expected 1.0")
            found, fortran, kind = np.lib.format.read_array_header_1_0(file)
            offset = file.tell()
    except ValueError as error:
        raise InputError(f"{path}: damaged: {error}") from None
    fits = len(found) == len(shape) and all(want in (None, have) for want, have in zip(shape, found, strict=True))
    if kind != dtype or fortran or not fits:
        wanted = ", ".join("frames" if size is None else str(size) for size in shape)
        raise InputError(f"{path}: found {kind} of shape {found}, expected {dtype} of shape ({wanted})")
    size, expected = path.stat().st_size, offset + math.prod(found) * dtype.itemsize
    if size != expected or min(found) < 1:
        raise InputError(f"{path}: damaged: {size} bytes, expected {expected} for the shape {found} in its header")
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _read_clips(path: Path, total: int, classes: int) -> tuple[ClipRecord, ...]:
    if not path.is_file():
        raise InputError(f"{path}: missing; the store is not whole, convert the data again")
    fields = dataclasses.fields(ClipRecord)
    names = [field.name for field in fields]
    records: list[ClipRecord] = []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            if header != names:
                raise InputError(f"{path}: line 1: found the columns {','.join(header)!r}, expected {','.join(names)!r}")
            for row in reader:
                line = f"{path}: line {reader.line_num}"
                if len(row) != len(names):
                    raise InputError(f"{line}: found {len(row)} columns, expected {len(names)}")
                values: dict[str, Any] = dict(zip(names, row, strict=True))
                for field in fields:
                    text = values[field.name]
                    if field.type is int:
                        try:
                            values[field.name] = int(text)
                        except ValueError:
                            raise InputError(f"{line}: {field.name}: found {text!r}, expected a whole number") from None
                record = ClipRecord(**values)
                if record.start < 0 or record.length < 1 or record.start + record.length > total:
                    raise InputError(
                        f"{line}: start {record.start}, length {record.length}: expected a stretch of {FRAMES}'s {total} frames"
                    )
                check_label(record.label, classes, line)
                records.append(record)
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: damaged: {error}") from None
    if not records:
        raise InputError(f"{path}: no clips; expected at least one")
    return tuple(records)
