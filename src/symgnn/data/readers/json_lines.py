"""JSON lines: an object a frame.

    {"time": 0.033, "joints": [[0.19, 0.61, 2.95], null, ...], "person": 1, "label": "waving"}
    {"joints": {"Head": [0.19, 0.61, 2.95], ...}}

``joints`` may be called keypoints, a missing joint is null; all else may be left out.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from symgnn.data.readers.text import LARGEST, is_image, read_text, shown
from symgnn.data.recording import Recording
from symgnn.errors import InputError
from symgnn.skeleton import Layout


def read_json_lines(path: Path, layout: Layout | None) -> list[Recording]:
    """The persons of a file of JSON lines, a recording each.

    Args:
        path: the file.
        layout: says whether three numbers are a position, or one in an image (unit px) with a confidence.

    Raises:
        InputError: a line is no such object; the message names line and joint, what was found and what was expected.
    """
    persons: dict[str, list[tuple[np.ndarray, float, str]]] = {}
    names: tuple[str, ...] | None = None
    shape: tuple[int, ...] | None = None
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path}: line {number}"
        content = _object(line, where)
        joints = content.get("joints", content.get("keypoints"))
        if isinstance(joints, Mapping):
            found, rows = tuple(joints), list(joints.values())
        elif isinstance(joints, list):
            found, rows = (), joints
        else:
            raise InputError(f"{where}: found no list or object called joints (or keypoints)")
        if names is not None and set(found) != set(names):
            raise InputError(f"{where}: found other joints than in the first line")
        first = found if names is None else names
        if found != first:
            rows = [row for _, row in sorted(zip(found, rows, strict=True), key=lambda pair: first.index(pair[0]))]
        names = first
        frame = _frame(rows, names, where)
        if shape is not None and frame.shape[0] != shape[0]:
            raise InputError(f"{where}: found {frame.shape[0]} joints, the first line has {shape[0]}")
        shape = frame.shape
        time = content.get("time", content.get("timestamp", math.nan))
        label, person = content.get("label"), content.get("person", "")
        if isinstance(time, bool) or not isinstance(time, int | float):
            raise InputError(f"{where}: time: found {shown(str(time))}, expected seconds")
        if isinstance(label, dict | list) or isinstance(person, dict | list):
            raise InputError(f"{where}: label and person: expected a name or a number")
        persons.setdefault(str(person), []).append((frame, float(time), "" if label is None else str(label)))
    if not persons or names is None:
        raise InputError(f"{path}: empty; expected a JSON object a line, one a frame")
    recordings = []
    for person, frames in enumerate(persons.values()):
        times = np.array([time for _, time, _ in frames])
        if np.isnan(times).any() and not np.isnan(times).all():
            raise InputError(f"{path}: {int(np.isnan(times).sum())} of {len(times)} frames have no time; expected all or none")
        motion = np.stack([frame for frame, _, _ in frames])
        # Image positions need no third number.
        flat = bool(np.isnan(motion[..., 2]).all())
        confidence = flat or is_image(layout)
        if flat:
            motion[..., 2] = np.where(np.isnan(motion[..., 0]), np.nan, 1.0)
        if confidence:
            motion[motion[..., 2] <= 0] = np.nan
        labels = tuple(label for _, _, label in frames)
        recordings.append(
            Recording(
                frames=motion.astype(np.float32),
                space="xyc" if confidence else "xyz",
                joints=names,
                times=None if np.isnan(times).all() else times,
                frame_labels=labels if any(labels) else None,
                person=person,
            )
        )
    return recordings


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: no JSON: {error}") from None
    if not isinstance(content, dict):
        raise InputError(f"{where}: found {type(content).__name__}, expected an object with joints")
    return content


def _frame(rows: Sequence[Any], names: Sequence[str], where: str) -> np.ndarray:
    frame = np.full((len(rows), 3), np.nan)
    for joint, row in enumerate(rows):
        name = names[joint] if names else f"joint {joint}"
        if row is None:
            continue
        if not isinstance(row, list) or not 2 <= len(row) <= 4:
            raise InputError(f"{where}: {name}: found {shown(json.dumps(row))}, expected two or three numbers, or null")
        for channel, value in enumerate(row[:3]):
            if value is None:
                break
            if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
                if isinstance(value, float) and math.isnan(value):
                    break
                raise InputError(f"{where}: {name}: found {shown(str(value))}, expected a finite number")
            frame[joint, channel] = value
        else:
            continue
        frame[joint] = np.nan
    return frame
