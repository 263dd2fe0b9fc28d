"""Kinetics-Skeleton: a JSON file a clip, with what OpenPose saw in each frame (the release of ST-GCN, 18 joints).

    kinetics_train/BGpcy4xZKdQ.json
        {"data": [{"frame_index": 1, "skeleton": [{"pose": [0.565, 0.867, 0.534, ...], "score": [0.430, 0.631, ...]}, ...]},
                  {"frame_index": 2, "skeleton": []}, ...],
         "label": "cooking chicken", "label_index": 67}
    kinetics_train_label.json
        {"BGpcy4xZKdQ": {"has_skeleton": true, "label": "cooking chicken", "label_index": 67}, ...}

``pose`` has x and y of each joint as shares of the image's width and height (the images were 340 by 256, so that a share is
shorter in y than in x), from the upper left; ``score`` is the detector's confidence. A joint of score 0 was not found. Clips
were brought to 30 frames a second; a number that is not there is a dropped frame. Bodies are listed in any order, and nobody
says who is who.

Source: https://github.com/open-mmlab/mmskeleton (doc/SKELETON_DATA.md and the readers there); Yan et al., AAAI 2018. Releases
with 17 joints (found by HRNet) are another benchmark.
"""

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from jaxtyping import Float32, Float64, Int

from symgnn.data.readers.text import LARGEST, read_text, shown
from symgnn.data.readers.tracking import MOST_PERSONS, Seen, tracks
from symgnn.data.recording import Recording
from symgnn.errors import InputError
from symgnn.skeleton import load_layout

FPS = 30.0
JOINTS = 18
MOST_BYTES = 1 << 25
"""Bytes of a clip at most (a crowd over 300 frames has less than 5 MB)."""
MOST_LABEL_BYTES = 1 << 28
"""Bytes of a label file at most (that of the 240,000 training clips has about 25 MB)."""
LAST_FRAME = 1 << 20
"""Number of a frame at most (the release's clips have 300)."""

SPLITS = {"kinetics_train": "train", "kinetics_val": "test"}
"""The release's folders: as everybody does, tests are made on the validation clips."""


@dataclass(frozen=True)
class KineticsLabel:
    """A clip in a label file."""

    has_skeleton: bool
    """Whether anybody was found in it; clips without are left out."""
    label: str
    """The class, "cooking chicken"."""
    label_index: int
    """Number of the class, from 0 to 399."""


def read_kinetics(path: Path, *, follow: bool = False) -> list[Recording]:
    """The one person of a clip, as image positions with confidence; an empty list where nobody was found.

    Taken is the body with the highest mean confidence over its 18 joints, a joint not found counting 0. As in the usual readers
    it is chosen anew in each frame: where two are seen equally well, the motion may leap from one to the other. (Those readers
    look at the first five bodies of a frame only.)

    Args:
        path: the clip. In a folder called ``kinetics_train`` or ``kinetics_val`` it is of the split train or test.
        follow: first find out who is who by place, as [tracks][symgnn.data.readers.openpose.tracks] does, and take the one
            person with the highest mean over all frames, those without them counting 0. Takes some ten times as long, and is
            not what published figures were made with; but what is to be predicted is then somebody's motion.

    Returns:
        A recording from the first frame with somebody to the last, with the frames' numbers (gaps are dropped frames) and the
        class by name. Where nobody was found in a frame between, all joints are missing (NaN).

    Raises:
        InputError: the file is no such JSON; the message names frame, body, what was found and what was expected.
    """
    content = _json(path, MOST_BYTES, "a clip")
    if not isinstance(content, dict) or not isinstance(content.get("data"), list):
        raise InputError(f"{path}: found no list of frames called data, expected a clip of Kinetics-Skeleton")
    label = content.get("label")
    if label is not None and not _is_text(label):
        raise InputError(f"{path}: label: found {_seen(label)}, expected the name of a class")
    numbers, owners, bodies = _frames(path, content["data"])
    rows = _followed(numbers, owners, bodies, str(path)) if follow else _best_of_each_frame(owners, bodies)
    motion = np.full((len(numbers), JOINTS, 3), np.nan, np.float32)
    motion[owners[rows]] = bodies[rows]
    seen = np.flatnonzero(~np.isnan(motion[..., 0]).all(axis=1))
    if not len(seen):
        return []
    span = slice(int(seen[0]), int(seen[-1]) + 1)
    return [
        Recording(
            frames=motion[span].copy(),
            space="xyc",
            joints=_joint_names(),
            unit="image",
            fps=FPS,
            numbers=numbers[span].astype(np.float64),
            label=label or None,
            split=SPLITS.get(path.absolute().parent.name, ""),
        )
    ]


def read_kinetics_labels(path: Path) -> dict[str, KineticsLabel]:
    """The clips of ``kinetics_train_label.json`` or ``kinetics_val_label.json``, by name.

    Raises:
        InputError: the file is no such JSON; the message names clip and field.
    """
    content = _json(path, MOST_LABEL_BYTES, "a list of labels")
    if not isinstance(content, dict):
        raise InputError(f"{path}: found {_kind(content)}, expected an object with a label for each clip")
    labels = {}
    for clip, entry in content.items():
        where = f"{path}: {shown(clip)}"
        if not isinstance(entry, dict):
            raise InputError(f"{where}: found {_kind(entry)}, expected has_skeleton, label and label_index")
        found, label, index = (entry.get(field) for field in ("has_skeleton", "label", "label_index"))
        if not isinstance(found, bool):
            raise InputError(f"{where}: has_skeleton: found {_seen(found)}, expected true or false")
        if not _is_text(label):
            raise InputError(f"{where}: label: found {_seen(label)}, expected the name of a class")
        if isinstance(index, bool) or not isinstance(index, int) or index < 0:
            raise InputError(f"{where}: label_index: found {_seen(index)}, expected the number of a class")
        labels[clip] = KineticsLabel(found, label, index)
    return labels


@functools.cache
def _joint_names() -> tuple[str, ...]:
    return load_layout("openpose18").joints


def _json(path: Path, most: int, what: str) -> Any:
    text = read_text(path)
    if len(text) > most:
        raise InputError(f"{path}: {len(text):,} letters; expected {what}, at most {most:,}")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: no JSON: {error}") from None


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _seen(value: Any) -> str:
    return _kind(value) if isinstance(value, dict | list) else shown(json.dumps(value))


def _is_text(value: Any) -> TypeGuard[str]:
    """Text that a file can hold: JSON may write half a letter."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _frames(
    path: Path, data: Sequence[Any]
) -> tuple[Int[np.ndarray, " time"], Int[np.ndarray, " body"], Float32[np.ndarray, "body 18 3"]]:
    """Numbers of the frames in their order, and for each body found in any of them: the frame's index and the joints."""
    listed: dict[int, tuple[int, list[Any]]] = {}
    for place, frame in enumerate(data):
        where = f"{path}: data[{place}]"
        if not isinstance(frame, dict):
            raise InputError(f"{where}: found {_kind(frame)}, expected frame_index and skeleton")
        number, bodies = frame.get("frame_index"), frame.get("skeleton")
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= LAST_FRAME:
            raise InputError(f"{where}.frame_index: found {_seen(number)}, expected 0 to {LAST_FRAME:,}")
        if number in listed:
            raise InputError(f"{where}.frame_index: found {number} as in data[{listed[number][0]}], expected each frame once")
        if not isinstance(bodies, list) or not all(isinstance(body, dict) for body in bodies):
            raise InputError(f"{where}.skeleton: found {_seen(bodies)}, expected a list of bodies")
        if len(bodies) > MOST_PERSONS:
            raise InputError(f"{where}.skeleton: found {len(bodies)} bodies, expected at most {MOST_PERSONS}")
        listed[number] = place, bodies
    numbers = sorted(listed)
    owners, names, poses, scores = [], [], [], []
    for index, number in enumerate(numbers):
        place, bodies = listed[number]
        for body, values in enumerate(bodies):
            owners.append(index)
            names.append(f"{path}: data[{place}].skeleton[{body}]")
            poses.append(values.get("pose"))
            scores.append(values.get("score"))
    positions = _table(names, "pose", poses, 2 * JOINTS).reshape(-1, JOINTS, 2)
    confidence = _table(names, "score", scores, JOINTS)
    joints = np.concatenate([positions, confidence[..., None]], axis=2)
    joints[np.isnan(joints).any(axis=2) | (joints[..., 2] <= 0)] = np.nan
    return np.array(numbers, np.int64), np.array(owners, np.int64), joints.astype(np.float32)


def _table(names: Sequence[str], field: str, rows: Sequence[Any], columns: int) -> Float64[np.ndarray, "row {columns}"]:
    """Rows of numbers; all at once, and one by one where something is wrong."""
    if not rows:
        return np.zeros((0, columns))
    try:
        table = np.array(rows)
    except ValueError:
        table = np.zeros(0)
    # NaN is in no order with anything.
    if table.shape == (len(rows), columns) and table.dtype.kind in "if" and not (np.abs(table) > LARGEST).any():
        return table.astype(np.float64)
    return np.stack([_row(f"{name}.{field}", row, columns) for name, row in zip(names, rows, strict=True)])


def _row(where: str, row: Any, columns: int) -> Float64[np.ndarray, " column"]:
    if not isinstance(row, list):
        raise InputError(f"{where}: found {_kind(row)}, expected a list of {columns} numbers")
    if len(row) != columns:
        raise InputError(f"{where}: found {len(row)} numbers, expected {columns} (OpenPose's 18 joints)")
    for place, value in enumerate(row):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > LARGEST):
            raise InputError(f"{where}[{place}]: found {_seen(value)}, expected a finite number")
    return np.array(row, dtype=np.float64)


def _confidence(bodies: Float32[np.ndarray, "body 18 3"]) -> Float64[np.ndarray, " body"]:
    """Mean over the joints, those not found counting 0."""
    return np.nan_to_num(bodies[..., 2].astype(np.float64), nan=0.0).mean(axis=1)


def _best_of_each_frame(
    owners: Int[np.ndarray, " body"], bodies: Float32[np.ndarray, "body 18 3"]
) -> Int[np.ndarray, " chosen"]:
    """Which bodies: the one of most confidence in each frame, the first of equal ones."""
    order = np.lexsort((-_confidence(bodies), owners))
    return order[np.diff(owners[order], prepend=-1) > 0]


def _followed(
    numbers: Int[np.ndarray, " time"], owners: Int[np.ndarray, " body"], bodies: Float32[np.ndarray, "body 18 3"], where: str
) -> Int[np.ndarray, " chosen"]:
    """Which bodies: those of the person of most confidence."""
    confidence = _confidence(bodies)
    first = np.searchsorted(owners, np.arange(len(numbers) + 1))
    there = [start + np.flatnonzero(confidence[start:end] > 0) for start, end in pairwise(first)]
    frames = []
    for number, found in zip(numbers.tolist(), there, strict=True):
        poses = list(bodies[found].astype(np.float64))
        places = [pose[:, :2] for pose in poses]
        frames.append(Seen(number=float(number), poses=poses, places=places, ids=[None] * len(poses)))
    persons = [[int(there[index][which]) for index, which in track] for track in tracks(frames, where)]
    return np.array(max(persons, key=lambda rows: confidence[rows].sum(), default=[]), np.int64)
