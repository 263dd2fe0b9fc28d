"""Writing a store: clips one after the other, front to back, whole or not at all."""

import dataclasses
import json
import math
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from symgnn.data.store import (
    ABOUT,
    CHANNELS,
    CLIPS,
    FORMAT,
    FRAMES,
    LABELS,
    TIMES,
    VERSION,
    Classes,
    Clip,
    ClipRecord,
    Store,
    check_label,
    clips_table,
    sha256_of,
)
from symgnn.errors import InputError
from symgnn.skeleton import Layout, Space, layout_to_dict

FOUND_LABELS = "labels.found.npy"
"""Classes of frames by the numbers they had when they turned up. Kept until the store has its name: an import that is killed
while it renumbers them can do so again."""
BLOCK = 1 << 20
"""Frames whose classes are put in order at a time."""


def write_store(
    path: str | Path,
    clips: Iterable[Clip | tuple[ClipRecord, np.ndarray]],
    *,
    layout: Layout,
    space: Space,
    fps: float | int,
    class_names: Sequence[str] | Classes = (),
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
    require_free(path)
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex[:12]}.partial"
    try:
        with disk_errors(path, "nothing was kept"):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.mkdir()
            writer = StoreWriter(temporary, layout, space, class_names)
            try:
                for clip in clips:
                    writer.add(clip if isinstance(clip, Clip) else Clip(*clip))
                writer.finish(fps=fps, unit=unit, notes=notes)
            finally:
                writer.close()
            publish(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Store.open(path)


def require_free(path: Path) -> None:
    """Refuse a place where something is already.

    Raises:
        InputError: it is not an empty folder, and there.
    """
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise InputError(f"{path}: exists already; remove it or choose another name")


def publish(folder: Path, path: Path) -> None:
    """Give a whole store its name."""
    # On every system this fails, rather than merging, where somebody else has made a store of that name meanwhile.
    folder.rename(path)
    (path / FOUND_LABELS).unlink(missing_ok=True)


@contextmanager
def disk_errors(path: Path, left: str) -> Iterator[None]:
    """Errors of the disk as the user's to mend; ``left`` says what is left of the work."""
    try:
        yield
    except OSError as error:
        way_out = f"{left}; free some space or choose another place"
        raise InputError(f"{path}: cannot be written: {error}; {way_out}") from error


class StoreWriter:
    """A store in the making, in a folder of its own; of what is added only the records stay in memory.

    Classes may turn up on the way: labels are written with the numbers they have then, and renumbered at the end. Whatever
    happens then, another writer can go on from the folder.

    Args:
        folder: where; empty, or what another writer left there, with ``records`` what that one had added.
        layout: the body.
        space: what a triple is.
        classes: names that labels count in.
        records: clips that are already in the folder's files; what is behind them there is cut off.
        labelled: how many of them have a class for each frame.
        timed: how many of them have times.
    """

    def __init__(
        self,
        folder: Path,
        layout: Layout,
        space: Space,
        classes: Sequence[str] | Classes,
        *,
        records: Iterable[ClipRecord] = (),
        labelled: int = 0,
        timed: int = 0,
    ):
        self.folder, self.layout, self.classes = folder, layout, classes
        self.space: Space = space
        self.records = list(records)
        self.labelled, self.timed = labelled, timed
        self.total = sum(record.length for record in self.records)
        self._stored = len(layout.stored(space))
        self._frames = _Array(folder / FRAMES, np.dtype("<f4"), (self._stored, CHANNELS), self.total)
        self._labels = _Array(folder / FOUND_LABELS, np.dtype("<i4"), (), self.total)
        self._times = _Array(folder / TIMES, np.dtype("<f8"), (), self.total if timed else 0)

    def add(self, clip: Clip) -> ClipRecord:
        """Write a clip behind the others.

        Returns:
            Its record, with ``start`` and ``length``.

        Raises:
            InputError: it does not fit.
        """
        where = f"clip {clip.record.recording!r}"
        frames = _checked(clip.frames, self._stored, self.layout, self.space, where)
        length = len(frames)
        check_label(clip.record.label, len(self.classes), where)
        for name, column in ((LABELS, clip.labels), (TIMES, clip.times)):
            if column is not None and np.shape(column) != (length,):
                raise InputError(
                    f"{where}: {name}: found shape {np.shape(column)}, expected one value for each of {length} frames"
                )
        labels = clip.labels
        if labels is not None:
            check_label(int(np.min(labels)), len(self.classes), where)
            check_label(int(np.max(labels)), len(self.classes), where)
            self.labelled += 1
        self._frames.append(frames)
        # Where only some clips have a class for each frame, the others' is that of the clip.
        self._labels.append(np.full(length, clip.record.label) if labels is None else np.asarray(labels))
        if clip.times is not None:
            self._times.append(np.asarray(clip.times))
            self.timed += 1
        record = dataclasses.replace(clip.record, start=self.total, length=length)
        self.records.append(record)
        self.total += length
        return record

    def sync(self) -> None:
        """Wait until everything added is on the disk."""
        for array in (self._frames, self._labels, self._times):
            array.sync()

    def close(self) -> None:
        """Let go of the files."""
        for array in (self._frames, self._labels, self._times):
            array.close()

    def finish(self, *, fps: float | int, unit: str | None, notes: Mapping[str, Any] | None) -> None:
        """Make the folder a whole store.

        Raises:
            InputError: there is no clip, or some have times and some not.
        """
        if not self.records:
            raise InputError("no clip to write: expected at least one")
        if self.timed not in (0, len(self.records)):
            raise InputError(f"{TIMES}: {self.timed} of {len(self.records)} clips have it; expected all or none")
        names = list(self.classes)
        final = np.array([*range(len(names)), -1], np.int32)
        if isinstance(self.classes, Classes):
            names, final = self.classes.ordered()
        records = [dataclasses.replace(record, label=int(final[record.label])) for record in self.records]
        if self.labelled:
            (self.folder / LABELS).unlink(missing_ok=True)
            labels = _Array(self.folder / LABELS, np.dtype("<i4"), (), 0)
            for found in self._labels.blocks():
                labels.append(final[found])
            labels.finish()
        self._labels.close()
        self._frames.finish()
        if self.timed:
            self._times.finish()
        else:
            self._times.remove()
        with (self.folder / CLIPS).open("wb") as file:
            file.write(clips_table(records))
            _flush(file)
        about = {
            "format": FORMAT,
            "version": VERSION,
            "layout": layout_to_dict(self.layout),
            "space": self.space,
            "unit": self.layout.unit if unit is None else unit,
            "fps": float(fps),
            "class_names": names,
            **(notes or {}),
            "sha256": {
                file.name: sha256_of(file)
                for file in sorted(self.folder / name for name in (FRAMES, CLIPS, LABELS, TIMES))
                if file.exists()
            },
        }
        with (self.folder / ABOUT).open("w", encoding="utf-8") as file:
            json.dump(about, file, indent=2, ensure_ascii=False)
            _flush(file)


class _Array:
    """An ``.npy`` file that grows along its first axis; the header says how far when all is there."""

    def __init__(self, path: Path, dtype: np.dtype, shape: tuple[int, ...], rows: int):
        self.path, self.dtype, self.shape, self.rows = path, dtype, shape, rows
        self._file: IO[bytes] = path.open("r+b" if path.exists() else "x+b")
        self._header(0)
        self._start = self._file.tell()
        end = self._start + rows * dtype.itemsize * math.prod(shape)
        if path.stat().st_size < end and rows:
            self._file.close()
            raise InputError(f"{path}: is shorter than what was written to it: remove {path.parent} and start again")
        self._file.truncate(end)
        self._file.seek(end)

    def _header(self, rows: int) -> None:
        # The number of rows is known at the end; numpy leaves room in the header for a longer first axis.
        self._file.seek(0)
        shape = (rows, *self.shape)
        np.lib.format.write_array_header_1_0(self._file, {"descr": self.dtype.str, "fortran_order": False, "shape": shape})

    def append(self, values: np.ndarray) -> None:
        self._file.write(np.ascontiguousarray(values, self.dtype).tobytes())
        self.rows += len(values)

    def blocks(self) -> Iterator[np.ndarray]:
        """The values, some at a time."""
        self._file.seek(self._start)
        for first in range(0, self.rows, BLOCK):
            count = min(BLOCK, self.rows - first) * math.prod(self.shape)
            yield np.frombuffer(self._file.read(count * self.dtype.itemsize), self.dtype)

    def sync(self) -> None:
        _flush(self._file)

    def finish(self) -> None:
        self._header(self.rows)
        assert self._file.tell() == self._start, "the header grew over the rows"
        _flush(self._file)
        self._file.close()

    def close(self) -> None:
        self._file.close()

    def remove(self) -> None:
        self._file.close()
        self.path.unlink()


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


def _flush(file: IO[Any]) -> None:
    # The rename must not reach the disk before the contents do.
    file.flush()
    os.fsync(file.fileno())
