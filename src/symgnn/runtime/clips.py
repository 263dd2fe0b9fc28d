"""Clips from the user's files: whatever ``symgnn data import`` reads, and stores."""

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from symgnn.data import Store, is_store, open_data, recognise_benchmark
from symgnn.data.conforming import Note, at_rate, conform
from symgnn.data.importing import ImportOptions, find_files, read_recordings
from symgnn.data.readers.arrays import load_arrays
from symgnn.data.readers.table import numbers_of, open_table
from symgnn.data.readers.text import shown
from symgnn.data.recording import Recording
from symgnn.errors import InputError
from symgnn.models.checkpoint import CHANNELS, Described
from symgnn.skeleton import load_layout

_logger = logging.getLogger("symgnn.runtime")

Frames = Float32[np.ndarray, "time joint channel"]

_SPACES = {"xyz": "positions", "xyc": "image positions", "expmap": "rotations (exponential maps)"}


@dataclass(frozen=True, eq=False)
class Clip:
    """A stretch of motion with a name to show."""

    name: str
    frames: Frames
    """Joints in use, in the units of the data, at the rate of the recordings the model was trained on; NaN where missing."""
    recording: str = ""
    """What the persons seen together share."""


def scenes(clips: Sequence[Clip], persons: int) -> list[int] | None:
    """Which clips are persons seen together, for ``predict``: neighbours of one recording over the same frames (reading 19).

    Args:
        clips: as ``read_clips`` gives them.
        persons: at most so many together, the model's ``preset.data.persons``.

    Returns:
        A number a clip, the same for those that are together; None where everybody is alone.
    """
    numbers: list[int] = []
    for place, clip in enumerate(clips):
        before = clips[place - 1] if place else None
        same = before is not None and clip.recording == before.recording != "" and len(clip.frames) == len(before.frames)
        numbers.append(numbers[-1] if same and place - numbers[-1] < persons else place)
    return numbers if len(set(numbers)) < len(numbers) else None


def read_clips(
    source: str | Path,
    model: Described,
    kind: str | None = None,
    options: ImportOptions | None = None,
    *,
    note: Note = _logger.warning,
) -> list[Clip]:
    """Clips of one argument of ``symgnn predict``.

        FILE          of any format of ``symgnn data import``; each person in it is a clip
        FOLDER        all such files in it, or, of formats with a file a frame, the recording
        STORE         a store or a benchmark's folder: all of its clips
        STORE:7       its clip 7, counted from 0

    Joints are found by name, or mapped from the body of the file to the model's, and motion is resampled to the model's rate,
    where the file tells its rate or times. Arrays and tables without names may also hold the joints in use alone; for models of
    rotations they hold what the benchmarks' rows do, an exponential map a joint.

    Args:
        source: the argument.
        model: who is going to answer; its layout, space and rate say what a frame is.
        kind: format of the files, as for ``symgnn data import``; by default what their names say.
        options: what files do not say themselves: ``layout`` (by default the model's), ``fps`` (the model's), ``label_column``,
            ``zero_is_missing``, ``split_as``.
        note: told what was mapped, left out or resampled, each once, in words that are the same for all files alike.

    Raises:
        InputError: there is no such file, or it does not hold motion of the model's layout; the message names file, line and
            column (or frame and joint), what was found and what was expected.
    """
    text = str(source)
    path = Path(text)
    options = options or ImportOptions()
    if options.fps is not None and not 0 < options.fps < math.inf:
        raise InputError(f"--fps: found {options.fps:g}, expected a positive number of frames a second")
    said: set[str] = set()

    def once(told: str) -> None:
        if told not in said:
            said.add(told)
            note(told)

    folder, colon, index = text.rpartition(":")
    if not path.exists() and colon and index.isdigit() and Path(folder).is_dir():
        return [_store_clip(_open(folder, model), folder, int(index), model, once)]
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; expected a clip, a folder of clips, a store, or STORE:clip")
    if kind is None and path.is_dir() and (is_store(path) or recognise_benchmark(path)):
        store = _open(text, model)
        return [_store_clip(store, text, index, model, once) for index in range(len(store.clips))]
    kind, files = find_files(path, kind)
    return [clip for file in files for clip in _file_clips(file, kind, model, options, once)]


def _file_clips(path: Path, kind: str, model: Described, options: ImportOptions, note: Note) -> Iterator[Clip]:
    if (plain := _plain(path, kind, model, options)) is not None:
        for name, frames in plain.items():
            yield Clip(name, _at_model_rate(frames_in_use(frames, model, name), options.fps, model, name, note))
        return
    space = model.preset.data.space
    files = None if options.layout is None else load_layout(options.layout)
    if space == "expmap":
        raise InputError(f"{path}: format {kind} holds positions, the model was trained on {_SPACES[space]}: expected those")
    found = list(read_recordings(path, kind, files or model.layout, options))
    if not found:
        raise InputError(f"{path}: nobody in it; expected some motion")
    for recording in found:
        several = sum(other.name == recording.name for other in found) > 1
        name = f"{path}{f': {recording.name}' if recording.name else ''}{f', person {recording.person}' if several else ''}"
        for told in recording.notes:
            note(told)
        if recording.space != space:
            raise InputError(f"{name}: holds {_SPACES[recording.space]}, the model was trained on {_SPACES[space]}")
        frames = recording.frames
        if options.zero_is_missing:
            frames = np.where((frames == 0).all(axis=2, keepdims=True), np.float32(np.nan), frames)
        recording = replace(recording, frames=frames, fps=recording.fps or options.fps)
        try:
            frames = conform(recording, model.layout, model.fps, note, files=files)
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
        yield Clip(name, frames_in_use(frames, model, name), f"{path}: {recording.name}")


def _plain(path: Path, kind: str, model: Described, options: ImportOptions) -> dict[str, np.ndarray] | None:
    """Frames by the name of the clip, where a file is numbers alone and they can be taken as the model's; else None."""
    if kind not in ("table", "arrays"):
        return None
    layout, space = model.layout, model.preset.data.space
    widths = {count * CHANNELS[space] for count in (layout.num_nodes, len(layout.stored(space)))}
    own = options.layout is None and options.label_column is None
    if kind == "table":
        table = open_table(path)
        columns = len(table.sizes)
        # Headings may mean a time or a class, and two numbers a joint a place in an image: the reader of tables knows.
        fits = columns in widths or (table.heading is None and columns != 2 * len(layout.joints))
        if space != "expmap" and not (own and table.bare and fits):
            return None
        wanted = " or ".join(map(str, sorted(widths)))
        frames = numbers_of(table, widths, f"{wanted} columns ({_counts(model)}, {CHANNELS[space]} columns each)")
        return {str(path): _seen(frames.reshape(len(frames), -1, CHANNELS[space]), model, options)}
    arrays = load_arrays(path)
    if not arrays and space == "expmap":
        raise InputError(f"{path}: holds no array; expected at least one of shape (frames, joints, channels)")
    fit = all(array.ndim > 1 and math.prod(array.shape[1:]) in widths and array.ndim < 4 for array in arrays.values())
    if space != "expmap" and not (own and arrays and fit):
        return None
    return {f"{path}: {name}" if name else str(path): _seen(array, model, options) for name, array in arrays.items()}


def _seen(frames: np.ndarray, model: Described, options: ImportOptions) -> np.ndarray:
    """Frames less the joints that nobody saw."""
    space = model.preset.data.space
    if frames.dtype.kind not in "fiu" or space == "expmap" or not (options.zero_is_missing or space == "xyc"):
        return frames
    joints = frames.reshape(len(frames), -1, CHANNELS[space]).astype(np.float64)
    missing = joints[..., 2] <= 0 if space == "xyc" else np.zeros(joints.shape[:2], bool)
    if options.zero_is_missing:
        missing |= (joints == 0).all(axis=2)
    return np.where(missing[..., None], np.nan, joints)


def _at_model_rate(
    frames: Frames, fps: float | None, model: Described, where: str, note: Note
) -> Float32[np.ndarray, "even joint channel"]:
    """Positions at the model's rate; rotations are given as they are, or refused."""
    if fps is None or math.isclose(fps, model.fps, rel_tol=0.005):
        return frames
    if model.preset.data.space == "expmap":
        raise InputError(
            f"{where}: rotations (exponential maps) are not resampled from {fps:g} frames a second: expected them at the "
            f"model's {model.fps:g}"
        )
    return at_rate(Recording(frames=frames, fps=fps), frames, model.fps, note)[0]


def frames_in_use(frames: np.ndarray, model: Described, where: str) -> Frames:
    """The joints in use of frames that hold them alone, or everything that is stored of the layout.

    Args:
        frames: (frames, joints, channels) or (frames, joints x channels), numbers.
        model: whose layout and space.
        where: what the frames are called in messages.

    Raises:
        InputError: another shape, no frames, infinite values, no value at all, or no numbers.
    """
    values = _joints_in_use(frames, model, where)
    if np.isnan(values).all():
        raise InputError(f"{where}: every value of the joints in use is missing (NaN); expected some motion")
    return values


def frame_in_use(frame: Any, model: Described, where: str) -> Float32[np.ndarray, "joint channel"] | None:
    """The joints in use of one frame, as of a detector or a line of JSON; None where it sees nobody.

    Args:
        frame: (joints, channels) or (joints x channels), whatever ``np.asarray`` takes; NaN or None where a value is missing,
            None also in place of a joint, or of all of them.
        model: whose layout and space.
        where: what the frame is called in messages.

    Raises:
        InputError: another shape, infinite values, or no numbers.
    """
    if frame is None or (isinstance(frame, list | tuple) and frame and all(joint is None for joint in frame)):
        return None
    values = _joints_in_use(_numbers(frame, CHANNELS[model.preset.data.space], where)[None], model, where, alone=True)[0]
    return None if np.isnan(values).all() else values


def _numbers(frame: Any, channels: int, where: str) -> np.ndarray:
    """An array of what a user gave as a frame, None being NaN."""
    try:
        array = np.asarray(frame)
        if array.dtype != object:
            return array
    except ValueError:
        pass  # rows of different lengths: joints that are None among them
    if not isinstance(frame, list | tuple | np.ndarray):
        raise InputError(f"{where}: found {type(frame).__name__}, expected the joints of one frame, a list of numbers each")
    flat = not any(isinstance(row, list | tuple | np.ndarray) for row in frame)
    rows: list[Any] = [[row] for row in frame] if flat else [[None] * channels if row is None else row for row in frame]
    width = len(rows[0]) if isinstance(rows[0], list | tuple | np.ndarray) else channels
    for joint, row in enumerate(rows):
        if not isinstance(row, list | tuple | np.ndarray):
            raise InputError(
                f"{where}: joint {joint}: found {shown(repr(row))}, expected {channels} numbers, or None where missing"
            )
        for value in row:
            if value is not None and (isinstance(value, bool) or not isinstance(value, Real)):
                raise InputError(
                    f"{where}: joint {joint}: found {shown(repr(value))}, expected a number, or None where missing"
                )
        if len(row) != width:
            raise InputError(f"{where}: joint {joint}: found {len(row)} numbers, expected {width} as in the first one")
    try:
        values = np.array([[np.nan if value is None else float(value) for value in row] for row in rows])
    except OverflowError:
        raise InputError(f"{where}: found a number beyond all floating point, expected a finite one") from None
    return values[:, 0] if flat else values


def _joints_in_use(frames: np.ndarray, model: Described, where: str, *, alone: bool = False) -> Frames:
    """As ``frames_in_use``, whether or not anybody is seen; ``alone`` is one frame, and messages speak of that."""
    layout, space = model.layout, model.preset.data.space
    nodes, stored, channels = layout.num_nodes, len(layout.stored(space)), CHANNELS[space]
    if not (np.issubdtype(frames.dtype, np.floating) or np.issubdtype(frames.dtype, np.integer)):
        raise InputError(f"{where}: found values of type {frames.dtype}, expected numbers")
    sizes = {nodes: "in use", stored: "stored"}
    if frames.ndim == 2 and frames.shape[1] in {size * channels for size in sizes}:
        frames = frames.reshape(len(frames), -1, channels)
    if frames.ndim != 3 or frames.shape[2] != channels or frames.shape[1] not in sizes:
        shape, form = (frames.shape[1:], "(") if alone else (frames.shape, "(frames, ")
        raise InputError(
            f"{where}: found shape {shape}; expected {form}joints, {channels}) with {_counts(model)}: "
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
            f"{where}: {'' if alone else f'frame {frame}, '}joint {names[joint]}, channel {channel}: found "
            f"{frames[frame, joint, channel]}, expected a finite number (NaN where a joint is missing)"
        )
    return values if values.shape[1] == nodes else values[:, list(layout.columns(space))]


def _counts(model: Described) -> str:
    layout, space = model.layout, model.preset.data.space
    return f"{layout.num_nodes} joints in use or the {len(layout.stored(space))} stored of layout {layout.name} (space {space})"


def _store_clip(store: Store, folder: str, index: int, model: Described, note: Note) -> Clip:
    if index >= len(store.clips):
        raise InputError(f"{folder}:{index}: the store has {len(store.clips)} clips, expected 0 to {len(store.clips) - 1}")
    frames = np.array(store.clip_frames(index)[:, list(model.layout.columns(store.space))])
    if not math.isclose(store.fps, model.fps, rel_tol=0.02):
        rates = f"{folder}: has {store.fps:g} frames a second, the model was trained on {model.fps:g}"
        if store.space == "expmap":
            note(f"{rates}: it takes the motion for {'faster' if store.fps < model.fps else 'slower'} than it is")
        else:
            note(f"{rates}: resampled")
            frames = _at_model_rate(frames, store.fps, model, folder, note)
    record = store.clips[index]
    return Clip(f"{record.recording} ({folder}:{index})", frames, f"{folder}: {record.recording}: {record.source}")


def _open(folder: str, model: Described) -> Store:
    store = open_data(folder, model.layout)
    store.require(model.layout, model.preset.data.space)
    return store
