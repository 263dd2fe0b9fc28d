"""Detectors' JSON in one file: COCO keypoints (results, annotations, AlphaPose) and MediaPipe's landmarks.

    [{"image_id": 12, "category_id": 1, "keypoints": [x, y, c, ...], "score": 0.9, "track_id": 3}, ...]     results
    [{"image_id": "walk_12.jpg", "keypoints": [...], "idx": 3}, ...]                                        AlphaPose
    {"images": [{"id": 7, "file_name": "walk/12.jpg"}], "annotations": [{"image_id": 7, "keypoints": [x, y, v, ...]}],
     "categories": [{"keypoints": ["nose", ...]}]}                                                          annotations
    {"fps": 30, "frames": [{"timestamp_ms": 33, "pose_world_landmarks": [{"x": .1, "y": .2, "z": .3, "visibility": 1}, ...]}]}

MediaPipe's frames may also be a plain list, or lines of JSON. Where nothing tells persons apart, their place does, see
[tracks][symgnn.data.readers.openpose.tracks].

Source: https://cocodataset.org/#format-data and #format-results; AlphaPose, docs/output.md; MediaPipe's PoseLandmarkerResult.
"""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64

from symgnn.data.readers.openpose import joints_of, numbers_of
from symgnn.data.readers.text import read_text, shown
from symgnn.data.readers.tracking import MOST_PERSONS, Seen, motion_of, tracks
from symgnn.data.recording import Recording
from symgnn.errors import InputError

_logger = logging.getLogger("symgnn.data")

_IMAGE = re.compile(r"(?P<video>.*?)(?P<number>[0-9]{1,18})(\.[A-Za-z0-9]+)?", re.DOTALL)
_COCO = 17
_LARGER = (26, 133, 136)
"""Points of Halpe and whole bodies, whose first 17 are COCO's."""
_LANDMARKS = 33


def read_keypoint_json(path: Path) -> list[Recording]:
    """The persons of a file of keypoints, a recording each.

    COCO: three numbers a point are its place in the image and the confidence; 0 is missing. In annotations the third is the
    visibility v; v = 1, annotated though hidden, counts as a confidence of 0.5 where the file also has v = 2, seen. A file
    of which every confidence is 0 states none: 1. A frame's number is in its image's name or id; one that does not occur is
    a dropped frame; names that differ before the number, or ``video_id``, are several videos. Of bodies of 26, 133 or 136
    points the 17 of COCO are kept.

    MediaPipe: world landmarks (metres from the middle of the hips, all kept, however visible) where each frame that
    sees someone has them, otherwise image landmarks with the visibility as the confidence, in pixels where the file states
    ``width`` and ``height``. Where no frame has two persons, all frames are one person's.

    Raises:
        InputError: the file is no such JSON; the message names entry or frame, what was found and what was expected.
    """
    content = _content(path)
    if isinstance(content, dict) and "annotations" in content:
        return _annotations(path, content)
    about: Mapping[str, Any] = {}
    if isinstance(content, dict):
        about, content = content, content.get("frames", [content])
    if not isinstance(content, list):
        raise InputError(f"{path}: found frames that are no list, expected a list of objects, one a frame")
    if all(isinstance(entry, dict) and "keypoints" in entry for entry in content):
        return _results(path, content)
    return _mediapipe(path, content, about)


def _content(path: Path) -> Any:
    """All of a JSON file, or a list of its lines where each is JSON by itself."""
    text = read_text(path)
    try:
        return json.loads(text)
    except RecursionError as error:
        raise InputError(f"{path}: no JSON: {error}") from None
    except ValueError as error:
        if not text.strip():
            raise InputError(f"{path}: empty; expected keypoints as JSON") from None
        whole = error
    lines = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            lines.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            # Where not even the first line is JSON, the file was never meant as lines.
            raise InputError(f"{path}: no JSON: {whole}" if not lines else f"{path}: line {number}: no JSON: {error}") from None
    return lines


# COCO


class _Body(NamedTuple):
    """Someone in one image."""

    points: Float64[np.ndarray, "joint 3"]
    id: str | None


Videos = dict[str, dict[int, list[_Body]]]
"""Who is in each frame (by its number) of each video (by its name)."""


def _results(path: Path, entries: Sequence[Mapping[str, Any]]) -> list[Recording]:
    videos: Videos = {}
    cut = 0
    for index, entry in enumerate(entries):
        where = f"{path}: entry {index}"
        video, number = _frame_of(entry.get("image_id"), f"{where}: image_id")
        points = _points(entry["keypoints"], f"{where}: keypoints")
        if len(points) not in (_COCO, *_LARGER):
            raise InputError(f"{where}: keypoints: found {len(points)} points, expected the {_COCO} of COCO")
        cut = max(cut, len(points))
        videos.setdefault(video, {}).setdefault(number, []).append(_Body(points[:_COCO], _track_id(entry, where)))
    if cut > _COCO:
        _logger.warning("%s: of %d points a person the %d of COCO are read", path, cut, _COCO)
    return _recordings(path, videos, joints_of("coco17"))


def _annotations(path: Path, content: Mapping[str, Any]) -> list[Recording]:
    images, annotations, categories, listed = (
        _objects(path, content, name) for name in ("images", "annotations", "categories", "videos")
    )
    names = [category["keypoints"] for category in categories if category.get("keypoints")]
    if any(not isinstance(each, list) or not all(isinstance(name, str) for name in each) for each in names):
        raise InputError(f"{path}: categories: found keypoints that are no list of names")
    if any(each != names[0] for each in names):
        raise InputError(f"{path}: categories: found {len(names)} kinds of bodies, expected one: cut the file")
    joints = tuple(_clean(name, f"{path}: categories") for name in names[0]) if names else joints_of("coco17")

    called = {str(video.get("id")): str(video.get("name", video.get("file_name", video.get("id")))) for video in listed}
    videos: Videos = {}
    place: dict[str, tuple[str, int]] = {}
    for index, image in enumerate(images):
        where = f"{path}: images[{index}]"
        if not isinstance(key := image.get("id"), int | str):
            raise InputError(f"{where}: id: found {shown(json.dumps(key))}, expected a number or a name")
        video, number = _frame_of(image.get("file_name", key), f"{where}: file_name")
        of_video = image.get("video_id", image.get("vid_id"))
        if of_video is not None:
            video = _clean(called.get(str(of_video), str(of_video)), f"{where}: video_id")
        if (frame := image.get("frame_id")) is not None:
            number = _whole(frame, f"{where}: frame_id")
        if str(key) in place or number in videos.get(video, {}):
            raise InputError(f"{where}: found a second image of id {key} or frame {number}, expected one a frame")
        place[str(key)] = video, number
        videos.setdefault(video, {})[number] = []
    for index, entry in enumerate(annotations):
        where = f"{path}: annotations[{index}]"
        # Boxes without a body.
        if not entry.get("keypoints") or entry.get("num_keypoints") == 0:
            continue
        points = _points(entry["keypoints"], f"{where}: keypoints")
        if len(points) != len(joints):
            raise InputError(f"{where}: keypoints: found {len(points)} points, expected {len(joints)} as in categories")
        if str(entry.get("image_id")) not in place:
            raise InputError(f"{where}: image_id: found {shown(str(entry.get('image_id')))}, which is not in images")
        video, number = place[str(entry["image_id"])]
        videos[video][number].append(_Body(points, _track_id(entry, where)))
    third = np.concatenate(
        [body.points[:, 2] for frames in videos.values() for bodies in frames.values() for body in bodies] or [[]]
    )
    if third.size and np.isin(third, (0, 1, 2)).all() and third.max() > 1:
        for frames in videos.values():
            for bodies in frames.values():
                for body in bodies:
                    body.points[:, 2] /= 2
    return _recordings(path, videos, joints)


def _recordings(path: Path, videos: Videos, joints: tuple[str, ...]) -> list[Recording]:
    bodies = [body for frames in videos.values() for bodies in frames.values() for body in bodies]
    if bodies and not any((body.points[:, 2] > 0).any() for body in bodies):
        for body in bodies:
            body.points[:, 2] = (body.points[:, :2] != 0).any(axis=1)
    recordings = []
    for name, frames in videos.items():
        seen = []
        for number, here in sorted(frames.items()):
            for body in here:
                body.points[~(body.points[:, 2] > 0) | np.isnan(body.points).any(axis=1)] = np.nan
            there = [body for body in here if not np.isnan(body.points).all()]
            if len(there) > MOST_PERSONS:
                raise InputError(f"{path}: frame {number}: found {len(there)} persons, expected at most {MOST_PERSONS}")
            poses = [body.points for body in there]
            places = [pose[:, :2] for pose in poses]
            seen.append(Seen(number=float(number), poses=poses, places=places, ids=[body.id for body in there]))
        numbers = np.array([frame.number for frame in seen])
        recordings += [
            Recording(
                frames=motion_of(track, seen),
                space="xyc",
                joints=joints,
                unit="px",
                numbers=numbers[track[0][0] : track[-1][0] + 1],
                name=name if len(videos) > 1 else "",
                person=person,
            )
            for person, track in enumerate(tracks(seen, str(path)))
        ]
    return recordings


def _objects(path: Path, content: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = content.get(name, [])
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise InputError(f"{path}: {name}: expected a list of objects")
    return found


def _frame_of(image: Any, where: str) -> tuple[str, int]:
    """Video and number of a frame, from the number or the file name of its image."""
    if isinstance(image, int) and not isinstance(image, bool):
        return "", _whole(image, where)
    if not isinstance(image, str):
        raise InputError(f"{where}: found {shown(json.dumps(image))}, expected a number or the name of an image")
    name = _clean(image, where)
    match = _IMAGE.fullmatch(name)
    return (match["video"].rstrip("_.- /\\"), int(match["number"])) if match else (name, 0)


def _whole(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 10**18:
        raise InputError(f"{where}: found {shown(json.dumps(value))}, expected a whole number")
    return value


def _clean(name: str, where: str) -> str:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f"{where}: found {shown(ascii(name))}, expected text") from None
    return name


def _points(values: Any, where: str) -> Float64[np.ndarray, "joint 3"]:
    flat = numbers_of(values, where)
    if len(flat) % 3 or not len(flat):
        raise InputError(f"{where}: found {len(flat)} numbers, expected three a point")
    return flat.reshape(-1, 3)


def _track_id(entry: Mapping[str, Any], where: str) -> str | None:
    """``track_id``, or AlphaPose's ``idx`` (a number, or a list of one)."""
    key = "track_id" if entry.get("track_id") is not None else "idx"
    found = entry.get(key)
    value = found[0] if isinstance(found, list) and len(found) == 1 else found
    if value is None or value == []:
        return None
    if not isinstance(value, int | float | str):
        raise InputError(f"{where}: {key}: found {shown(json.dumps(found))}, expected a number or a name")
    if isinstance(value, int | float):
        return None if value < 0 else f"{value:g}" if isinstance(value, float) else str(value)
    return value


# MediaPipe


_WORLD = ("poseworldlandmarks", "worldlandmarks")
_FLAT = ("poselandmarks", "landmarks")
_NUMBER = ("frame", "framenumber", "frameindex", "frameid", "index")
_TIMES = {"timestampms": 1e-3, "timems": 1e-3, "timestampus": 1e-6, "time": 1.0, "seconds": 1.0, "timestamp": None}
"""Seconds of one unit of each; of ``timestamp`` the steps tell."""


def _mediapipe(path: Path, entries: Sequence[Any], about: Mapping[str, Any]) -> list[Recording]:
    frames = [_plain_keys(entry, f"{path}: frame {index}") for index, entry in enumerate(entries)]
    if frames and not any(key in frame for frame in frames for key in (*_WORLD, *_FLAT)):
        keys = ", ".join(sorted(frames[0])[:8])
        raise InputError(
            f"{path}: found neither keypoints nor landmarks (the first entry has {shown(keys, 120)}), expected COCO's "
            "keypoints or MediaPipe's pose_landmarks or pose_world_landmarks"
        )
    numbers = _numbers(path, frames)
    order = range(len(frames)) if numbers is None else sorted(range(len(frames)), key=lambda index: numbers[index])
    world, flat = ([_bodies(frames[index], keys, f"{path}: frame {index}") for index in order] for keys in (_WORLD, _FLAT))
    if not any(world) and not any(flat):
        return []
    in_space = all(there or not others for there, others in zip(world, flat, strict=True))
    if not in_space and any(there and not others for there, others in zip(world, flat, strict=True)):
        raise InputError(
            f"{path}: found world landmarks in some frames and image landmarks in others, expected one kind throughout"
        )
    for index, there, others in zip(order, world, flat, strict=True):
        if there and others and len(there) != len(others):
            raise InputError(f"{path}: frame {index}: found {len(there)} persons in space and {len(others)} in the image")
        if max(len(there), len(others)) > MOST_PERSONS:
            raise InputError(f"{path}: frame {index}: found more than {MOST_PERSONS} persons")
    outline = _plain_keys(about, str(path))
    scale = _image_size(path, outline)
    kept = [[_where(pose, 3) for pose in poses] for poses in world] if in_space else _image_poses(flat, scale)
    # World landmarks do not know where in the room the hips are; the image does, where it is there throughout.
    image = [[_where(pose, 2) for pose in poses] for poses in flat]
    placed = [len(places) for places in image] == [len(poses) for poses in kept]
    placed &= not any(np.isnan(place).all() for places in image for place in places)
    video = []
    for index, poses, places in zip(order, kept, image if placed else kept, strict=True):
        there = [which for which, pose in enumerate(poses) if not np.isnan(pose).all()]
        video.append(
            Seen(
                number=float(index if numbers is None else numbers[index]),
                poses=[poses[which] for which in there],
                places=[places[which] for which in there],
                ids=[None] * len(there),
            )
        )
    times = _seconds(path, frames)
    times = None if times is None else times[list(order)]
    counted = None if numbers is None else np.array([frame.number for frame in video])
    alone = all(len(frame.poses) <= 1 for frame in video)
    found = [[(index, 0) for index, frame in enumerate(video) if frame.poses]] if alone else tracks(video, str(path))
    recordings = []
    for person, track in enumerate(track for track in found if track):
        span = slice(track[0][0], track[-1][0] + 1)
        recordings.append(
            Recording(
                frames=motion_of(track, video),
                space="xyz" if in_space else "xyc",
                joints=joints_of("mediapipe33"),
                unit="m" if in_space else "" if scale is None else "px",
                fps=_rate(path, outline),
                times=None if times is None else times[span],
                numbers=None if counted is None else counted[span],
                person=person,
            )
        )
    return recordings


def _plain_keys(entry: Any, where: str) -> dict[str, Any]:
    """A frame whose keys are spelt one way; a bare list is a frame's landmarks, null one that sees nobody."""
    if entry is None or isinstance(entry, list):
        return {"landmarks": entry}
    if not isinstance(entry, dict):
        raise InputError(f"{where}: found {shown(json.dumps(entry))}, expected an object with landmarks")
    return {key.replace("_", "").lower(): value for key, value in entry.items()}


def _bodies(frame: Mapping[str, Any], keys: Sequence[str], where: str) -> list[Float64[np.ndarray, "33 4"]]:
    """The persons under the first of some keys: x, y, z and visibility, NaN where there is none."""
    key = next((key for key in keys if frame.get(key)), None)
    if key is None:
        return []
    where = f"{where}: {key}"
    found = _unwrapped(frame[key])
    if not isinstance(found, list):
        raise InputError(f"{where}: expected a list of points")
    # A list a person, or the points of the only one.
    persons = [_unwrapped(each) for each in found]
    if not all(isinstance(person, list) for person in persons) or _is_point(persons[0] if persons else None):
        persons = [found]
    return [_body(person, f"{where}[{index}]") for index, person in enumerate(persons) if person]


def _unwrapped(found: Any) -> Any:
    """The JSON of protobuf has each list in an object."""
    if isinstance(found, dict) and len(found) == 1 and (inner := next(iter(found.values()))) is not None:
        return inner if isinstance(inner, list) else found
    return found


def _is_point(found: Any) -> bool:
    return isinstance(found, list) and bool(found) and not isinstance(found[0], list | dict)


def _body(points: Sequence[Any], where: str) -> Float64[np.ndarray, "33 4"]:
    if len(points) != _LANDMARKS:
        raise InputError(f"{where}: found {len(points)} points, expected the {_LANDMARKS} of MediaPipe's pose")
    flat: list[Any] = []
    for index, point in enumerate(points):
        if isinstance(point, dict) and "x" in point and "y" in point:
            flat += (point["x"], point["y"], point.get("z"), point.get("visibility"))
        elif isinstance(point, list) and 2 <= len(point) <= 5:
            flat += [*point, None, None][:4]
        elif point is None:
            flat += (None, None, None, None)
        else:
            raise InputError(f"{where}: point {index}: found {shown(json.dumps(point))}, expected x, y, z and visibility")
    return numbers_of(flat, where).reshape(_LANDMARKS, 4)


def _where(pose: Float64[np.ndarray, "33 4"], axes: int) -> Float64[np.ndarray, "33 {axes}"]:
    place = pose[:, :axes].copy()
    place[np.isnan(place).any(axis=1)] = np.nan
    return place


def _image_poses(frames: Sequence[Sequence[np.ndarray]], scale: np.ndarray | None) -> list[list[np.ndarray]]:
    """Place and confidence of each joint; where all are 0 or not there, the file states no visibility."""
    stated = any((pose[:, 3] > 0).any() for poses in frames for pose in poses)
    made = []
    for poses in frames:
        flat = [pose[:, [0, 1, 3]] for pose in poses]
        for pose in flat:
            if not stated:
                pose[:, 2] = 1.0
            if scale is not None:
                pose[:, :2] *= scale
            pose[~(pose[:, 2] > 0) | np.isnan(pose).any(axis=1)] = np.nan
        made.append(flat)
    return made


def _image_size(path: Path, about: Mapping[str, Any]) -> np.ndarray | None:
    size = [about.get(f"image{name}", about.get(name)) for name in ("width", "height")]
    if None in size:
        return None
    pixels = numbers_of(size, f"{path}: width, height")
    if not (pixels > 0).all():
        raise InputError(f"{path}: width, height: found {shown(json.dumps(size))}, expected pixels")
    return pixels


def _rate(path: Path, about: Mapping[str, Any]) -> float | None:
    found = about.get("fps", about.get("framerate"))
    if found is None:
        return None
    (rate,) = numbers_of([found], f"{path}: fps")
    if not rate > 0:
        raise InputError(f"{path}: fps: found {found}, expected a positive number")
    return float(rate)


def _numbers(path: Path, frames: Sequence[Mapping[str, Any]]) -> list[int] | None:
    key = next((key for key in _NUMBER if frames and frames[0].get(key) is not None), None)
    if key is None:
        return None
    numbers = [_whole(frame.get(key), f"{path}: frame {index}: {key}") for index, frame in enumerate(frames)]
    if len(set(numbers)) < len(numbers):
        twice = next(number for number in numbers if numbers.count(number) > 1)
        raise InputError(f"{path}: found frame {twice} twice, expected each once")
    return numbers


def _seconds(path: Path, frames: Sequence[Mapping[str, Any]]) -> Float64[np.ndarray, " time"] | None:
    key = next((key for key in _TIMES if frames and frames[0].get(key) is not None), None)
    if key is None:
        return None
    times = numbers_of([frame.get(key) for frame in frames], f"{path}: {key}")
    if np.isnan(times).any():
        raise InputError(f"{path}: {int(np.isnan(times).sum())} of {len(times)} frames have no {key}; expected all or none")
    if (unit := _TIMES[key]) is None:
        steps = np.diff(times)
        usual = float(np.median(steps[steps > 0])) if (steps > 0).any() else 0.0
        # A frame lasts between a millisecond and a second.
        unit = next(unit for unit in (1.0, 1e-3, 1e-6, 1e-9) if usual * unit <= 1 or unit == 1e-9)
    return times * unit
