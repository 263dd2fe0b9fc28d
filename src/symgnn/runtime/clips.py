"""Clips from the user's files: arrays, text, stores."""

import logging
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from symgnn.data import open_data
from symgnn.data.readers.arrays import load_arrays
from symgnn.data.readers.text import LARGEST
from symgnn.errors import InputError
from symgnn.models.checkpoint import CHANNELS, TrainedModel

_logger = logging.getLogger("symgnn.runtime")

SUFFIXES = (".npy", ".npz", ".csv", ".txt")

Frames = Float32[np.ndarray, "time joint channel"]


@dataclass(frozen=True, eq=False)
class Clip:
    """A stretch of motion with a name to show."""

    name: str
    frames: Frames
    """Joints in use, in the units of the data, at the recording's rate; NaN where missing."""


def read_clips(source: str | Path, model: TrainedModel) -> list[Clip]:
    """Clips of one argument of ``symgnn predict``.

        FILE.npy          (frames, joints, channels) or (frames, joints x channels)
        FILE.npz          any number of such arrays, each a clip
        FILE.csv, .txt    a frame a line, numbers separated by commas or blanks (the rows of the CMU and H3.6M benchmarks, for
                          example); an empty cell or ``nan`` is missing; one line of headings may come first
        STORE             a store or a benchmark's folder: all of its clips
        STORE:7           its clip 7, counted from 0

    Joints are those in use, or all that a store of the model's layout keeps.

    Args:
        source: the argument.
        model: who is going to answer; its layout and space say what a frame is.

    Raises:
        InputError: there is no such file, or it does not hold motion of the model's layout; the message names file, line and
            column (or frame and joint), what was found and what was expected.
    """
    text = str(source)
    path = Path(text)
    folder, colon, index = text.rpartition(":")
    if not path.exists() and colon and index.isdigit() and Path(folder).is_dir():
        return [_store_clip(folder, int(index), model)]
    if path.is_dir():
        return list(_store_clips(text, model))
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; expected a clip ({', '.join(SUFFIXES)}), a store, or STORE:clip")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(
            f"{path}: found a file of kind {suffix or 'without a suffix'!r}, expected one of {', '.join(SUFFIXES)}"
        )
    if suffix in (".npy", ".npz"):
        return [Clip(name, frames_in_use(array, model, name)) for name, array in _arrays(path)]
    return [Clip(text, frames_in_use(_table(path, model), model, text))]


def frames_in_use(frames: np.ndarray, model: TrainedModel, where: str) -> Frames:
    """The joints in use of frames that hold them alone, or everything that is stored of the layout.

    Args:
        frames: (frames, joints, channels) or (frames, joints x channels), numbers.
        model: whose layout and space.
        where: what the frames are called in messages.

    Raises:
        InputError: another shape, no frames, infinite values, no value at all, or no numbers.
    """
    layout, space = model.layout, model.preset.data.space
    nodes, stored, channels = layout.num_nodes, len(layout.stored(space)), CHANNELS[space]
    if not (np.issubdtype(frames.dtype, np.floating) or np.issubdtype(frames.dtype, np.integer)):
        raise InputError(f"{where}: found values of type {frames.dtype}, expected numbers")
    sizes = {nodes: "in use", stored: "stored"}
    if frames.ndim == 2 and frames.shape[1] in {size * channels for size in sizes}:
        frames = frames.reshape(len(frames), -1, channels)
    if frames.ndim != 3 or frames.shape[2] != channels or frames.shape[1] not in sizes:
        raise InputError(
            f"{where}: found shape {frames.shape}; expected (frames, joints, {channels}) with {_counts(model)}: "
            f"convert the clip to layout {layout.name}, or use a checkpoint trained on its joints"
        )
    if not len(frames):
        raise InputError(f"{where}: holds no frames; expected at least one")
    names = layout.node_names if frames.shape[1] == nodes else layout.stored(space)
    with np.errstate(over="ignore"):
        values = np.asarray(frames, np.float32)
    if np.isinf(values).any():
        frame, joint, channel = np.argwhere(np.isinf(values))[0]
        raise InputError(
            f"{where}: frame {frame}, joint {names[joint]}, channel {channel}: found {frames[frame, joint, channel]}, expected "
            "a finite number (NaN where a joint is missing)"
        )
    if values.shape[1] != nodes:
        values = values[:, list(layout.columns(space))]
    if np.isnan(values).all():
        raise InputError(f"{where}: every value of the joints in use is missing (NaN); expected some motion")
    return values


def _counts(model: TrainedModel) -> str:
    layout, space = model.layout, model.preset.data.space
    return f"{layout.num_nodes} joints in use or the {len(layout.stored(space))} stored of layout {layout.name} (space {space})"


def _store_clips(folder: str, model: TrainedModel) -> Iterator[Clip]:
    store = _open(folder, model)
    columns = list(model.layout.columns(store.space))
    for index, record in enumerate(store.clips):
        yield Clip(f"{record.recording} ({folder}:{index})", np.array(store.clip_frames(index)[:, columns]))


def _store_clip(folder: str, index: int, model: TrainedModel) -> Clip:
    store = _open(folder, model)
    if index >= len(store.clips):
        raise InputError(f"{folder}:{index}: the store has {len(store.clips)} clips, expected 0 to {len(store.clips) - 1}")
    columns = list(model.layout.columns(store.space))
    return Clip(f"{store.clips[index].recording} ({folder}:{index})", np.array(store.clip_frames(index)[:, columns]))


def _open(folder: str, model: TrainedModel) -> Any:
    store = open_data(folder, model.layout)
    store.require(model.layout, model.preset.data.space)
    if not math.isclose(store.fps, model.fps, rel_tol=0.02):
        _logger.warning(
            "%s: has %g frames a second, the model was trained on %g: it takes the motion for %s than it is; resample the data",
            folder,
            store.fps,
            model.fps,
            "faster" if store.fps < model.fps else "slower",
        )
    return store


def _arrays(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    found = load_arrays(path)
    if not found:
        raise InputError(f"{path}: holds no array; expected at least one of shape (frames, joints, channels)")
    for name, array in found.items():
        yield (f"{path}: {name}" if name else str(path)), array


def _table(path: Path, model: TrainedModel) -> np.ndarray:
    """Rows of numbers; whoever wrote them, the message about a bad one names its line and column."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        lines = raw.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise InputError(f"{path}: line {line}: found the byte 0x{raw[error.start]:02x}, expected text") from None
    space = model.preset.data.space
    widths = {count * CHANNELS[space] for count in (model.layout.num_nodes, len(model.layout.stored(space)))}
    wanted = f"{' or '.join(str(width) for width in sorted(widths))} columns ({_counts(model)}, {CHANNELS[space]} columns each)"
    rows: list[list[float]] = []
    headed = False
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        cells = [cell.strip() for cell in (line.split(",") if "," in line else line.split())]
        if not rows and not headed and not any(_is_number(cell) for cell in cells):
            headed = True
            continue
        if len(cells) not in widths:
            raise InputError(f"{path}: line {number}: found {len(cells)} columns, expected {wanted}")
        if rows and len(cells) != len(rows[0]):
            raise InputError(f"{path}: line {number}: found {len(cells)} columns, the lines before have {len(rows[0])}")
        row = [_value(cell) for cell in cells]
        for column, (cell, value) in enumerate(zip(cells, row, strict=True), start=1):
            if value is None:
                shown = cell if len(cell) <= 40 else f"{cell[:40]}..."
                raise InputError(f"{path}: line {number}, column {column}: found {shown!r}, expected a finite number or nan")
        rows.append([value for value in row if value is not None])
    if not rows:
        raise InputError(f"{path}: {'only headings' if headed else 'empty'}; expected lines of {wanted}")
    return np.array(rows)


_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def _is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(cell) is not None


def _value(cell: str) -> float | None:
    """A finite number, NaN where the cell says so or is empty, None for everything else."""
    if _is_number(cell):
        value = float(cell)
        return value if abs(value) <= LARGEST else None
    return math.nan if cell.lower() in ("", "nan") else None
