"""Messages of the service, version 1: what clients send, checked, and what they are sent.

Whatever a client sends ends in a value of the right shape or in a
[RefusedError][symgnn.runtime.server.limits.RefusedError] with a sentence that says what was found and what is expected.
"""

import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal, NoReturn

import numpy as np
from jaxtyping import Float32

from symgnn.models.checkpoint import CHANNELS, Described
from symgnn.runtime.answering import Engine
from symgnn.runtime.predict import Prediction
from symgnn.runtime.server.limits import GARBAGE, POLICY, RefusedError
from symgnn.runtime.stream import Answer
from symgnn.viz.body import body_of

TRACK_NAME = 64
"""Letters of a track's name at most."""

LATEST = 1e12
"""Seconds; a later time is no time (milliseconds since 1970 still are one)."""

FARTHEST = 1e12
"""A coordinate beyond it is none, in any unit, and its square might be more than a float32 holds."""


@dataclass(frozen=True)
class Shape:
    """What a frame of a model holds."""

    joints: tuple[str, ...]
    """Names of the joints in use."""
    stored: int
    """Joints where everything that is stored is sent."""
    channels: int

    @classmethod
    def of(cls, model: Described) -> "Shape":
        space = model.preset.data.space
        return cls(model.layout.node_names, len(model.layout.stored(space)), CHANNELS[space])

    @property
    def counts(self) -> str:
        """The sizes a frame may have, in words."""
        in_use = f"{len(self.joints)} joints of {self.channels} numbers"
        return in_use if self.stored == len(self.joints) else f"{in_use} (or the {self.stored} that are stored)"

    def fits(self, joints: int) -> bool:
        return joints in (len(self.joints), self.stored)


@dataclass(frozen=True, eq=False)
class Frame:
    """A pose of a client."""

    values: Float32[np.ndarray, "joint channel"]
    time: float | None
    track: str | None


@dataclass(frozen=True)
class Opening:
    """What a client asks of its session."""

    horizon: int | None = None
    fps: float | None = None
    warm_up: Literal["wait", "repeat"] = "wait"
    reject: float | None = None
    format: Literal["json", "binary"] = "json"


@dataclass(frozen=True, eq=False)
class Question:
    """A request for predictions."""

    clips: list[np.ndarray]
    """(frames, joints, channels) each, in float32; NaN where missing."""
    horizon: int | None


def read_json(text: str | bytes, code: int = GARBAGE) -> Any:
    """A JSON text; NaN and Infinity, which Python would take, are none.

    Raises:
        RefusedError: it is none, or nested beyond any use.
    """

    def refuse(name: str) -> NoReturn:
        raise RefusedError(code, f"found {name}, which JSON does not have; expected null where a number is missing")

    try:
        return json.loads(text, parse_constant=refuse)
    except UnicodeDecodeError:
        raise RefusedError(code, "found bytes that are no UTF-8, expected JSON") from None
    except RecursionError:
        raise RefusedError(code, "found brackets nested beyond any use, expected JSON as the documentation has it") from None
    except json.JSONDecodeError as error:
        raise RefusedError(code, f"found no JSON: {error.msg} at character {error.pos}") from None
    except ValueError:
        # Python reads whole numbers of up to some thousand digits.
        raise RefusedError(code, "found a number of thousands of digits, expected one that a float holds") from None


def read_message(text: str, shape: Shape) -> Frame | Opening | int:
    """What a text message says: a frame, an opening, or a viewer's wish of so many ghosts.

    Raises:
        RefusedError: it is none of these.
    """
    message = read_json(text)
    if not isinstance(message, dict):
        raise RefusedError(GARBAGE, f'found {_kind(message)}, expected an object such as {{"frame": [[x, y, z], ...]}}')
    if "frame" in message:
        _only(message, ("frame", "time", "track", "type"))
        values = np.array([read_pose(message["frame"], shape, "frame")], np.float32)[0]
        return Frame(values, read_time(message.get("time")), _track(message.get("track")))
    match message.get("type"):
        case "open":
            return _opening(message)
        case "horizon":
            return _whole(message.get("frames"), "frames", least=0)
        case other:
            raise RefusedError(
                GARBAGE, f'found a message of type {_short(other)}, expected "frame", or the type "open" or "horizon"'
            )


def read_binary(message: bytes, shape: Shape) -> Frame:
    """A binary frame: float64 time, then joints x channels of float32, little-endian.

    Raises:
        RefusedError: another length, or a number that is infinite.
    """
    joints, rest = divmod(len(message) - 8, 4 * shape.channels)
    if rest or not shape.fits(joints):
        size = 8 + 4 * shape.channels * len(shape.joints)
        raise RefusedError(POLICY, f"found a binary frame of {len(message)} bytes, expected {size} (time, then {shape.counts})")
    (time,) = struct.unpack_from("<d", message)
    values = np.frombuffer(message, "<f4", offset=8).reshape(joints, shape.channels).astype(np.float32)
    if (beyond := np.abs(values) > FARTHEST).any():
        joint, channel = np.argwhere(beyond)[0]
        found = f"joint {joint}, channel {channel}: found {values[joint, channel]:g}"
        raise RefusedError(POLICY, f"frame: {found}, expected a number up to {FARTHEST:g}, or NaN")
    return Frame(values, None if math.isnan(time) else read_time(time), None)


def read_pose(value: Any, shape: Shape, where: str) -> list[list[float]]:
    """Joints of a frame, each null or a list of numbers and nulls; NaN stands for what is null.

    Raises:
        RefusedError: it is something else.
    """
    if not isinstance(value, list):
        raise RefusedError(POLICY, f"{where}: found {_kind(value)}, expected a list of {shape.counts}")
    if not shape.fits(len(value)):
        raise RefusedError(POLICY, f"{where}: found {len(value)} joints, expected {shape.counts}")
    missing = [math.nan] * shape.channels
    pose = []
    for number, joint in enumerate(value):
        if joint is None:
            pose.append(missing)
            continue
        if not isinstance(joint, list) or len(joint) != shape.channels:
            raise RefusedError(
                POLICY,
                f"{where}: joint {number}: found {_kind(joint)}, expected {shape.channels} numbers, or null for a missing one",
            )
        pose.append([math.nan if one is None else _coordinate(one, where, number) for one in joint])
    return pose


def _coordinate(value: Any, where: str, joint: int) -> float:
    if type(value) in (float, int) and -FARTHEST <= value <= FARTHEST:
        return float(value)
    raise RefusedError(POLICY, f"{where}: joint {joint}: found {_short(value)}, expected a number up to {FARTHEST:g}, or null")


def read_time(value: Any) -> float | None:
    """Seconds of a frame, None where its sender leaves it to its coming.

    Raises:
        RefusedError: it is no number of seconds.
    """
    if value is None:
        return None
    if type(value) not in (int, float) or not -LATEST <= value <= LATEST:
        raise RefusedError(POLICY, f"time: found {_short(value)}, expected seconds")
    return float(value)


def read_question(body: bytes, shape: Shape, *, clips: int, frames: int, horizon: int) -> Question:
    """The body of a request for predictions.

    Args:
        body: JSON.
        shape: of a frame.
        clips, frames, horizon: how much may be asked.

    Raises:
        RefusedError: it is something else, or too much.
    """
    question = read_json(body)
    if not isinstance(question, dict):
        raise RefusedError(POLICY, f'found {_kind(question)}, expected an object such as {{"clips": [...], "horizon": 25}}')
    _only(question, ("clips", "horizon"))
    asked = question.get("clips")
    if not isinstance(asked, list) or not asked:
        raise RefusedError(POLICY, f"clips: found {_kind(asked)}, expected a list of clips, each a list of frames")
    if len(asked) > clips:
        raise RefusedError(POLICY, f"clips: found {len(asked)}, expected at most {clips} in one request")
    wanted = question.get("horizon")
    if wanted is not None:
        wanted = _whole(wanted, "horizon", most=horizon)
    read = []
    for number, clip in enumerate(asked):
        if not isinstance(clip, list) or not clip:
            raise RefusedError(POLICY, f"clip {number}: found {_kind(clip)}, expected a list of frames")
        if len(clip) > frames:
            raise RefusedError(POLICY, f"clip {number}: found {len(clip)} frames, expected at most {frames}: send its end")
        poses = [read_pose(pose, shape, f"clip {number}, frame {frame}") for frame, pose in enumerate(clip)]
        if uneven := {len(pose) for pose in poses} - {len(poses[0])}:
            raise RefusedError(
                POLICY, f"clip {number}: found frames of {len(poses[0])} and of {uneven.pop()} joints, expected one number"
            )
        read.append(np.array(poses, np.float32))
    return Question(read, wanted)


def model_to_dict(model: Described, horizon: int, max_horizon: int) -> dict[str, Any]:
    """The card of a model as ``/v1/model`` and every greeting have it.

    Args:
        model: whose card.
        horizon: frames that are predicted where a client does not say.
        max_horizon: frames that it may ask for.
    """
    data, layout = model.preset.data, model.layout
    body = body_of(layout, data.space)
    return {
        "preset": model.preset.name,
        "layout": layout.name,
        "space": data.space,
        "classes": list(model.class_names),
        "joints": list(layout.node_names),
        "channels": CHANNELS[data.space],
        "observed": data.observed,
        "frames_a_second": model.fps / data.step,
        "horizon": horizon,
        "max_horizon": max_horizon,
        "recognises": model.preset.model.recognition,
        "predicts": model.preset.model.predicts,
        "symgnn": version("symgnn"),
        "engine": "onnx" if isinstance(model, Engine) else "torch",
        "drawing": {
            "points": list(body.names),
            "bones": [list(bone) for bone in body.bones],
            "sides": list(body.sides),
            "up": body.up,
            "flat": body.flat,
            "nodes": list(body.nodes),
        },
    }


def answer_to_text(answer: Answer, track: str | None, dropped: int, late: int) -> str:
    """An answer as JSON."""
    return dumps(
        {
            "type": "answer",
            "track": track,
            "time": answer.time,
            "label": answer.label,
            "probabilities": answer.probabilities,
            "smoothed": answer.smoothed,
            "future": None if answer.future is None else numbers(answer.future),
            "milliseconds": [round(time, 3) for time in answer.milliseconds],
            "edges": [[edge.source, edge.target, round(edge.weight, 5)] for edge in answer.edges],
            "latency_ms": round(answer.latency_ms, 3),
            "dropped": dropped,
            "late": late,
        }
    )


def answer_to_bytes(answer: Answer, dropped: int, shape: Shape) -> bytes:
    """An answer in little-endian numbers.

    float64 time; float32 latency_ms; uint32 classes, horizon, joints, channels, dropped; float32 probabilities,
    smoothed, future.
    """
    future = np.empty((0, len(shape.joints), shape.channels)) if answer.future is None else answer.future
    head = struct.pack("<df5I", answer.time, answer.latency_ms, len(answer.probabilities), *future.shape, dropped)
    scores = [*answer.probabilities.values(), *answer.smoothed.values()]
    return head + np.array(scores, "<f4").tobytes() + future.astype("<f4").tobytes()


def prediction_to_dict(prediction: Prediction) -> dict[str, Any]:
    """A prediction as ``/v1/predict`` answers it."""
    return {
        "label": prediction.label,
        "probabilities": prediction.probabilities,
        "future": None if prediction.future is None else numbers(prediction.future),
        "milliseconds": [round(time, 3) for time in prediction.milliseconds],
        "padded": prediction.padded,
    }


def numbers(array: np.ndarray) -> Any:
    """Nested lists of an array, in as many digits as float32 has for the largest of them; null in place of NaN."""
    values = array.astype(np.float64)
    finite = np.isfinite(values)
    most = float(np.abs(values[finite]).max()) if finite.any() else 0.0
    rounded = np.round(values, 7 - math.ceil(math.log10(most))) if most > 0 else values
    if finite.all():
        return rounded.tolist()
    some = rounded.astype(object)
    some[~finite] = None
    return some.tolist()


def points(array: np.ndarray) -> Any:
    """As ``numbers``, for points in space: null in place of a point of which a coordinate is missing."""
    found = numbers(array)

    def whole(part: Any) -> Any:
        if isinstance(part[0], list):
            return [whole(one) for one in part]
        return None if None in part else part

    return whole(found) if array.size else found


def dumps(message: Mapping[str, Any]) -> str:
    """A message as JSON, without spaces."""
    return json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _opening(message: Mapping[str, Any]) -> Opening:
    _only(message, ("type", "horizon", "fps", "warm_up", "reject", "format"))
    found: dict[str, Any] = {name: value for name, value in message.items() if name != "type" and value is not None}
    for name, words in (("warm_up", ("wait", "repeat")), ("format", ("json", "binary"))):
        if name in found and found[name] not in words:
            raise RefusedError(POLICY, f"{name}: found {_short(found[name])}, expected {' or '.join(words)}")
    if "horizon" in found:
        found["horizon"] = _whole(found["horizon"], "horizon")
    for name, least, most, what in (("fps", 0.1, 1000, "frames a second"), ("reject", 0, 1, "a probability")):
        if name in found:
            if type(found[name]) not in (int, float) or not least <= found[name] <= most:
                raise RefusedError(POLICY, f"{name}: found {_short(found[name])}, expected {what}, {least} to {most}")
            found[name] = float(found[name])
    return Opening(**found)


def _whole(value: Any, name: str, least: int = 1, most: int = 10**6) -> int:
    if type(value) is not int or not least <= value <= most:
        raise RefusedError(POLICY, f"{name}: found {_short(value)}, expected a number of frames, {least} to {most}")
    return value


def _track(value: Any) -> str | None:
    if value is not None and (not isinstance(value, str) or not 0 < len(value) <= TRACK_NAME):
        raise RefusedError(POLICY, f"track: found {_short(value)}, expected a name of up to {TRACK_NAME} letters")
    return value


def _only(message: Mapping[str, Any], known: Sequence[str]) -> None:
    if unknown := [name for name in message if name not in known]:
        raise RefusedError(POLICY, f"found a field {_short(unknown[0])}, expected some of {', '.join(known)}")


def _kind(value: Any) -> str:
    """What a value is, in words."""
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return "an object" if isinstance(value, dict) else _short(value)


def _short(value: Any) -> str:
    if isinstance(value, int) and value.bit_length() > 200:
        return "a number of many digits"
    if isinstance(value, (list, dict)):
        return _kind(value)
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= 40 else f"{text[:36]}... ({len(text)} letters)"
