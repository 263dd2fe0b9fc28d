"""OpenPose's output: a folder with a JSON file a frame.

    walk_000000000012_keypoints.json    {"people": [{"person_id": [-1], "pose_keypoints_2d": [x, y, c, x, y, c, ...]}]}

The number in the name is the frame's; one that is not there is a dropped frame. Names that differ before the number are several
videos. The body is told by the number of points: 25 (BODY_25), 18 (COCO with a neck) or 17 (COCO). Where people have
``pose_keypoints_3d`` (x, y, z, c), those are read instead. A joint of confidence 0 is missing.

OpenPose finds people anew in each frame and lists them in any order: [tracks][symgnn.data.readers.tracking.tracks] says who
is who.

Source: https://github.com/CMU-Perceptual-Computing-Lab/openpose, doc/02_output.md.
"""

import functools
import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from symgnn.data.readers.text import LARGEST, read_text, shown
from symgnn.data.readers.tracking import MOST_PERSONS, Seen, motion_of, tracks
from symgnn.data.recording import Recording
from symgnn.errors import InputError
from symgnn.skeleton import load_layout

_logger = logging.getLogger("symgnn.data")

_LAYOUTS = {25: "openpose25", 18: "openpose18", 17: "coco17"}
_NAME = re.compile(r"(?P<video>.*?)(?P<number>[0-9]*)_keypoints\.json", re.DOTALL)


def read_openpose(folder: Path) -> list[Recording]:
    """The persons of each video in a folder, a recording a person.

    A recording begins with the frame a person is first seen in and ends with the last; in frames between where the person
    was not found, all joints are missing.

    Raises:
        InputError: the folder holds no such file, a file is no such JSON, or not all have the same number of points; the
            message names file and person.
    """
    videos: dict[str, dict[int, Path]] = {}
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder}: cannot be read: {error.strerror or error}") from None
    for path in paths:
        if not (match := _NAME.fullmatch(path.name)):
            continue
        frames = videos.setdefault(match["video"].rstrip("_.- "), {})
        number = int(match["number"] or 0)
        if number in frames:
            raise InputError(f"{path}: found frame {number} in {frames[number].name} too, expected one file a frame")
        frames[number] = path
    if not videos:
        raise InputError(f"{folder}: found no file called ..._keypoints.json, expected OpenPose's one a frame")
    recordings = []
    for name, files in videos.items():
        recordings += _video(name if len(videos) > 1 else "", dict(sorted(files.items())))
    return recordings


def read_openpose_frame(path: Path) -> Seen:
    """The persons of one file, as while a camera runs: not known yet who is who.

    Raises:
        InputError: it is no such JSON, or its name has no number.
    """
    match = _NAME.fullmatch(path.name)
    if not match or not match["number"]:
        raise InputError(f"{path}: found no frame's number in the name, expected ..._000000000012_keypoints.json")
    people = _people(path)
    return _seen(int(match["number"]), path, people, is_3d=_is_3d(people))


def _video(name: str, files: Mapping[int, Path]) -> list[Recording]:
    frames = [(number, path, _people(path)) for number, path in files.items()]
    is_3d = any(_is_3d(people) for _, _, people in frames)
    points: int | None = None
    seen = []
    for number, path, people in frames:
        frame = _seen(number, path, people, is_3d=is_3d, points=points)
        points = next((len(pose) for pose in frame.poses), points)
        seen.append(frame)
    if points is None:
        return []
    numbers = np.array([frame.number for frame in seen])
    return [
        Recording(
            frames=motion_of(track, seen),
            space="xyz" if is_3d else "xyc",
            joints=joints_of(_LAYOUTS[points]),
            unit="" if is_3d else "px",
            numbers=numbers[track[0][0] : track[-1][0] + 1],
            name=name,
            person=person,
        )
        for person, track in enumerate(tracks(seen, str(next(iter(files.values())).parent)))
    ]


def _is_3d(people: Sequence[Mapping[str, Any]]) -> bool:
    return any(person.get("pose_keypoints_3d") for person in people)


def _seen(number: int, path: Path, people: Sequence[Mapping[str, Any]], *, is_3d: bool, points: int | None = None) -> Seen:
    """The persons of a frame; ``points`` of those in frames before."""
    poses, ids = [], []
    for index, person in enumerate(people):
        key = "pose_keypoints_3d" if is_3d else "pose_keypoints_2d"
        # The first versions called it pose_keypoints.
        values = person.get(key, [] if is_3d else person.get("pose_keypoints", []))
        where = f"{path}: people[{index}].{key}"
        # Someone of whom only the hands or the face were looked for.
        if values == []:
            continue
        pose = _pose(values, 4 if is_3d else 3, where)
        if points is not None and len(pose) != points:
            raise InputError(f"{where}: found {len(pose)} points, the persons before have {points}")
        points = len(pose)
        if not np.isnan(pose).all():
            poses.append(pose)
            ids.append(_person_id(person.get("person_id"), f"{path}: people[{index}].person_id"))
    if len(poses) > MOST_PERSONS:
        raise InputError(f"{path}: found {len(poses)} persons, expected at most {MOST_PERSONS}")
    places = poses if is_3d else [pose[:, :2] for pose in poses]
    return Seen(number=float(number), poses=poses, places=places, ids=ids)


def _people(path: Path) -> list[dict[str, Any]]:
    try:
        content = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: no JSON: {error}") from None
    people = content.get("people") if isinstance(content, dict) else None
    if not isinstance(people, list) or not all(isinstance(person, dict) for person in people):
        raise InputError(f"{path}: found no list of persons called people, expected OpenPose's output")
    return people


def _pose(values: Any, channels: int, where: str) -> Float64[np.ndarray, "joint 3"]:
    """Joints of a flat list, the confidence last."""
    flat = numbers_of(values, where)
    points = len(flat) // channels
    if len(flat) % channels or points not in _LAYOUTS:
        known = ", ".join(f"{channels * count}" for count in _LAYOUTS)
        raise InputError(f"{where}: found {len(flat)} numbers, expected {known} ({channels} a joint)")
    rows = flat.reshape(points, channels)
    pose = rows[:, :3].copy()
    pose[~(rows[:, -1] > 0) | np.isnan(rows).any(axis=1)] = np.nan
    return pose


def _person_id(found: Any, where: str) -> str | None:
    """``[-1]`` where OpenPose does not track; the first version wrote no list."""
    value = found[0] if isinstance(found, list) and len(found) == 1 else found
    if value is None or value == []:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{where}: found {shown(json.dumps(found))}, expected a number")
    return None if value < 0 else str(value)


def numbers_of(values: Any, where: str) -> Float64[np.ndarray, " count"]:
    """A JSON list of numbers, NaN among them where a value is missing (null).

    Raises:
        InputError: it is no such list, or a number does not fit float32.
    """
    if not isinstance(values, list):
        raise InputError(f"{where}: found {shown(json.dumps(values))}, expected a list of numbers")
    for place, value in enumerate(values):
        # NaN is in no order with anything.
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > LARGEST):
            raise InputError(f"{where}[{place}]: found {shown(json.dumps(value))}, expected a finite number")
    return np.array(values, dtype=np.float64)


@functools.cache
def joints_of(layout: str) -> tuple[str, ...]:
    """Names of a built-in layout's joints."""
    return load_layout(layout).joints
