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
import os
import re
import shutil
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, get_args

import numpy as np
from jaxtyping import Float32, Float64, Int32

from symgnn.errors import InputError
from symgnn.skeleton import Layout, Space, layout_from_dict, layout_to_dict

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
    """First row of ``frames.npy``; found by ``write_store``."""
    length: int = 0
    """Number of frames; found by ``write_store``."""
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
    """Names of classes as they turn up, put in order when all are known: numbers by size, then words by the alphabet."""

    def __init__(self) -> None:
        self._index: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._index)

    def index(self, name: str) -> int:
        """Number of a class until they are put in order."""
        return self._index.setdefault(name, len(self._index))

    def ordered(self) -> tuple[list[str], Int32[np.ndarray, " numbers"]]:
        """The names in order, and the final number of each number given so far (the last entry: -1 stays -1)."""
        names = sorted(self._index, key=natural)
        place = {name: number for number, name in enumerate(names)}
        return names, np.array([*(place[name] for name in self._index), -1], np.int32)


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key: digits count as numbers, so that walk_2 comes before walk_10."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]


_SPACES = {"xyz": "positions", "expmap": "exponential maps", "xyc": "image positions with confidence"}


def is_store(path: Path) -> bool:
    """Whether a folder says of itself that it is a store (of whatever version, whole or not)."""
    return (path / ABOUT).is_file()


def write_store(
    path: str | Path,
    clips: Iterable[Clip | tuple[ClipRecord, np.ndarray]],
    *,
    layout: Layout,
    space: Space,
    fps: float | int,
    class_names: "Sequence[str] | Classes" = (),
    unit: str | None = None,
    notes: Mapping[str, Any] | None = None,
) -> Store:
    """Write clips to a new store, whole or not at all.

    Everything goes to a temporary folder beside ``path`` that is renamed at the end, and removed on any failure. Clips are
    taken one at a time: the data need not fit in memory.

    Args:
        path: the folder to make; must not exist (or be empty).
        clips: records (``start`` and ``length`` are filled in) with their frames, shape (time, stored, 3) in the order of
            ``layout.stored(space)``. Either every clip has times or none; where some have frame labels, the frames of the
            others are labelled as the clip is.
        layout: the body.
        space: what a triple is.
        fps: frames a second.
        class_names: what the labels mean; or the classes found on the way, which are put in order at the end.
        unit: unit of positions, the layout's by default.
        notes: further entries of ``store.json`` (``missing``, ``leaked``, ``origin``).

    Raises:
        InputError: ``path`` exists, the disk is full or read-only, there is no clip, or a clip does not fit (shape,
            infinite values, unknown label).
    """
    path = Path(path)
    if not (math.isfinite(fps) and fps > 0):
        raise InputError(f"{path}: fps: found {fps}, expected a positive number")
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise InputError(f"{path}: exists already; remove it or choose another name")
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex[:12]}.partial"
    with _disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
    try:
        with _disk_errors(path):
            _write_files(temporary, clips, layout, space, class_names)
            names = class_names.ordered()[0] if isinstance(class_names, Classes) else list(class_names)
            about = {
                "format": FORMAT,
                "version": VERSION,
                "layout": layout_to_dict(layout),
                "space": space,
                "unit": layout.unit if unit is None else unit,
                "fps": float(fps),
                "class_names": names,
                **(notes or {}),
                "sha256": {file.name: sha256_of(file) for file in sorted(temporary.iterdir())},
            }
            with (temporary / ABOUT).open("w", encoding="utf-8") as file:
                json.dump(about, file, indent=2, ensure_ascii=False)
                _flush(file)
            # On every system this fails, rather than merging, where somebody else has made a store of that name meanwhile.
            temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Store.open(path)


@contextmanager
def _disk_errors(path: Path):
    try:
        yield
    except OSError as error:
        way_out = "nothing was kept; free some space or choose another place"
        raise InputError(f"{path}: cannot be written: {error}; {way_out}") from error


def _write_files(folder: Path, clips: Iterable[Any], layout: Layout, space: Space, classes: "Sequence[str] | Classes") -> None:
    stored = len(layout.stored(space))
    records: list[ClipRecord] = []
    columns: dict[str, list[np.ndarray]] = {LABELS: [], TIMES: []}
    has_labels: list[bool] = []
    total = 0
    with (folder / FRAMES).open("wb") as file:
        # The number of frames is known at the end; numpy leaves room in the header for a longer first axis.
        _write_header(file, (0, stored, CHANNELS))
        offset = file.tell()
        for clip in map(_as_clip, clips):
            where = f"clip {clip.record.recording!r}"
            frames = _checked(clip.frames, stored, layout, space, where)
            length = len(frames)
            _check_label(clip.record.label, len(classes), where)
            file.write(frames.tobytes())
            for name, column, kind in ((LABELS, clip.labels, np.int32), (TIMES, clip.times, np.float64)):
                if column is not None:
                    if np.shape(column) != (length,):
                        raise InputError(
                            f"{where}: {name}: found shape {np.shape(column)}, expected one value for each of {length} frames"
                        )
                    columns[name].append(np.asarray(column, kind))
            if clip.labels is not None:
                _check_label(int(np.min(clip.labels)), len(classes), where)
                _check_label(int(np.max(clip.labels)), len(classes), where)
            has_labels.append(clip.labels is not None)
            records.append(dataclasses.replace(clip.record, start=total, length=length))
            total += length
        if not records:
            raise InputError("no clip to write: expected at least one")
        file.seek(0)
        _write_header(file, (total, stored, CHANNELS))
        assert file.tell() == offset, "the header grew over the frames"
        _flush(file)
    if 0 < len(columns[LABELS]) < len(records):
        # Where only some clips have a class for each frame, the others' is that of the clip.
        parts = iter(columns[LABELS])
        columns[LABELS] = [
            next(parts) if own else np.full(record.length, record.label, np.int32)
            for own, record in zip(has_labels, records, strict=True)
        ]
    if isinstance(classes, Classes):
        _, final = classes.ordered()
        records = [dataclasses.replace(record, label=int(final[record.label])) for record in records]
        columns[LABELS] = [final[labels] for labels in columns[LABELS]]
    for name, parts in columns.items():
        if parts and len(parts) != len(records):
            raise InputError(f"{name}: {len(parts)} of {len(records)} clips have it; expected all or none")
        if parts:
            with (folder / name).open("wb") as file:
                np.save(file, np.concatenate(parts), allow_pickle=False)
                _flush(file)
    with (folder / CLIPS).open("wb") as file:
        file.write(clips_table(records))
        _flush(file)


def clips_table(records: Iterable[ClipRecord]) -> bytes:
    """The content of ``clips.csv``."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in dataclasses.fields(ClipRecord)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(dataclasses.asdict(record) for record in records)
    return text.getvalue().encode()


def _as_clip(item: Clip | tuple[ClipRecord, np.ndarray]) -> Clip:
    return item if isinstance(item, Clip) else Clip(*item)


def _checked(frames: np.ndarray, stored: int, layout: Layout, space: Space, where: str) -> np.ndarray:
    if frames.ndim != 3 or frames.shape[1:] != (stored, CHANNELS) or not len(frames):
        raise InputError(
            f"{where}: found frames of shape {frames.shape}, expected (frames, {stored}, {CHANNELS}): "
            f"layout {layout.name} in space {space} keeps {stored} triples a frame"
        )
    with np.errstate(over="ignore"):
        frames = np.ascontiguousarray(frames, "<f4")
    if np.isinf(frames).any():
        row, joint, channel = np.argwhere(np.isinf(frames))[0]
        name = layout.stored(space)[joint]
        raise InputError(f"{where}: frame {row}, {name}, channel {channel}: infinite; expected a number (NaN where missing)")
    return frames


def _check_label(label: int, classes: int, where: str) -> None:
    if not -1 <= label < classes:
        raise InputError(f"{where}: label {label}: expected -1 (none) to {classes - 1}, for there are {classes} class names")


def _write_header(file: IO[bytes], shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})


def _flush(file: IO[Any]) -> None:
    # The rename must not reach the disk before the contents do.
    file.flush()
    os.fsync(file.fileno())


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
                _check_label(record.label, classes, line)
                records.append(record)
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: damaged: {error}") from None
    if not records:
        raise InputError(f"{path}: no clips; expected at least one")
    return tuple(records)
