"""Arrays of numpy: a recording an array.

FILE.npy    (frames, joints, channels), (frames, joints x channels) or (persons, frames, joints, channels)
FILE.npz    any number of such arrays, each a recording of that name; or one of them called frames, with, as far as they are
there, times (seconds), fps, labels (a class a frame), label (a class), joints (names)
"""

import io
import math
import pickle
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from symgnn.data.readers.text import BOUND, is_image, read_bytes, required
from symgnn.data.recording import Recording
from symgnn.errors import InputError
from symgnn.skeleton import Layout

_DAMAGED = (
    *(OSError, ValueError, TypeError, EOFError, KeyError, MemoryError, OverflowError, SyntaxError, RuntimeError),
    *(NotImplementedError, pickle.UnpicklingError, zipfile.BadZipFile, zlib.error, tokenize.TokenError),
)
"""What numpy and zipfile say of files that are not what they claim."""


def read_arrays(path: Path, layout: Layout | None) -> list[Recording]:
    """The recordings of a ``.npy`` or ``.npz`` file. Pickled objects in it are refused.

    Args:
        path: the file.
        layout: whose joints the arrays hold.

    Raises:
        InputError: the file is empty, damaged or of another kind, or an array does not hold the layout's joints.
    """
    arrays = load_arrays(path)
    if not arrays:
        raise InputError(f"{path}: holds no array; expected at least one of shape (frames, joints, channels)")
    if "frames" not in arrays:
        return [
            recording
            for name, array in arrays.items()
            for recording in _recordings(array, f"{path}: {name}" if name else str(path), name, layout)
        ]
    recordings = _recordings(arrays["frames"], f"{path}: frames", "", layout)
    frames, joints = recordings[0].frames.shape[:2]
    times = _listed(path, arrays, "times", frames, np.number)
    labels = _listed(path, arrays, "labels", frames, None)
    names = _listed(path, arrays, "joints", joints, np.str_)
    fps = arrays.get("fps")
    if fps is not None and not (fps.ndim == 0 and np.issubdtype(fps.dtype, np.number) and 0 < float(fps) < math.inf):
        raise InputError(f"{path}: fps: expected one positive number")
    label = arrays.get("label")
    if label is not None and label.ndim:
        raise InputError(f"{path}: label: found shape {label.shape}, expected one class (labels is for one a frame)")
    return [
        replace(
            recording,
            times=None if times is None else times.astype(np.float64),
            frame_labels=None if labels is None else tuple(map(str, labels.tolist())),
            joints=() if names is None else tuple(names.tolist()),
            fps=None if fps is None else float(fps),
            label=None if label is None else str(label),
        )
        for recording in recordings
    ]


def _listed(path: Path, arrays: Mapping[str, np.ndarray], name: str, length: int, kind: type | None) -> np.ndarray | None:
    array = arrays.get(name)
    if array is None:
        return None
    if array.shape != (length,) or (kind is not None and not np.issubdtype(array.dtype, kind)):
        raise InputError(f"{path}: {name}: found {array.dtype} of shape {array.shape}, expected {length} entries")
    return array


def load_arrays(path: Path) -> Mapping[str, np.ndarray]:
    """The arrays of a ``.npy`` (called "") or ``.npz`` file, whole in memory, pickles refused.

    Raises:
        InputError: the file is empty, damaged, of another kind, or claims to hold more than 2 GiB.
    """
    raw = read_bytes(path)
    try:
        if raw[:4] == b"PK\x03\x04":
            with zipfile.ZipFile(io.BytesIO(raw)) as archive:
                claimed = sum(entry.file_size for entry in archive.infolist())
            if claimed > BOUND:
                raise ValueError(f"claims to hold {claimed:,} bytes, at most {BOUND:,} are read")
        content = np.load(io.BytesIO(raw), allow_pickle=False)
        if isinstance(content, np.ndarray):
            return {"": content}
        return {name: content[name] for name in content.files}
    except _DAMAGED as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"{path}: cannot be read as arrays of numbers: it is empty, damaged or of another kind ({reason[:120]})"
        ) from None


def _recordings(array: np.ndarray, where: str, name: str, layout: Layout | None) -> list[Recording]:
    if not (np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)):
        raise InputError(f"{where}: found values of type {array.dtype}, expected numbers")
    layout = required(layout, where)
    joints = len(layout.joints)
    if array.ndim == 2 and array.shape[1] in (2 * joints, 3 * joints):
        array = array.reshape(len(array), joints, -1)
    if array.ndim == 3:
        array = array[None]
    if array.ndim != 4 or array.shape[3] not in (2, 3) or not array.size:
        raise InputError(
            f"{where}: found shape {array.shape[1:] if array.ndim == 4 else array.shape}, expected (frames, joints, 2 or 3), "
            f"(frames, joints x 2 or 3) or (persons, frames, joints, 2 or 3); layout {layout.name} has {joints} joints"
        )
    with np.errstate(over="ignore"):
        frames = array.astype(np.float32)
    if np.isinf(frames).any():
        person, frame, joint, channel = np.argwhere(np.isinf(frames))[0]
        raise InputError(
            f"{where}: frame {frame}, joint {joint}, channel {channel}: found {array[person, frame, joint, channel]}, "
            "expected a finite number (NaN where a joint is missing)"
        )
    flat = frames.shape[3] == 2
    confidence = flat or is_image(layout)
    if flat:
        frames = np.concatenate([frames, np.ones((*frames.shape[:3], 1), np.float32)], axis=3)
    frames[np.isnan(frames).any(axis=3) | (confidence & (frames[..., 2] <= 0))] = np.nan
    return [
        Recording(frames=each, space="xyc" if confidence else "xyz", name=name, person=person)
        for person, each in enumerate(frames)
    ]
