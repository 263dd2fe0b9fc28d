"""A recording as its file has it, brought to the joints of a layout and to an even rate."""

import math
import re
from collections.abc import Callable

import numpy as np
from jaxtyping import Float32

from symgnn.data.readers.bvh import bvh_layout
from symgnn.data.readers.text import shortened
from symgnn.data.recording import Recording
from symgnn.data.resampling import resample
from symgnn.errors import InputError
from symgnn.skeleton import Layout, layout_names, load_layout
from symgnn.skeleton.mapping import layout_mapping

Note = Callable[[str], object]
"""Told what was assumed or left out, in words that are the same for all files alike."""


def conform(
    recording: Recording, layout: Layout, fps: float, note: Note, *, files: Layout | None = None
) -> Float32[np.ndarray, "time joint 3"]:
    """The frames of a recording in the joints of a layout, at its rate.

    Joints are matched by name where the file has all the layout's names. Those of another known body are mapped to the layout's
    by their landmarks.

    Args:
        recording: what a reader gave.
        layout: the body wanted.
        fps: frames a second wanted; a recording that tells neither rate nor times is taken to have them.
        note: told what was left out.
        files: body of the files; by default the one whose joints they name, else the layout.

    Raises:
        InputError: the joints are not those of the body, or the times cannot be used; the message names no file.
    """
    own = files or body_named_by(recording) or layout
    named = {plain_name(name) for name in recording.joints}
    if own.joints == layout.joints or {plain_name(name) for name in layout.joints} <= named:
        frames = in_order(recording, layout, note)
    else:
        mapping = layout_mapping(own, layout)
        frames = mapping(in_order(recording, own, note), image=recording.space == "xyc")
        what = (("put between others", mapping.between), ("missing", mapping.missing), ("lost", mapping.lost))
        told = "; ".join(f"{title}: {', '.join(names)}" for title, names in what if names)
        note(f"joints of layout {own.name} mapped to those of {layout.name}{f'; {told}' if told else ''}")
    return at_rate(recording, frames, fps, note)[0]


def in_order(recording: Recording, layout: Layout, note: Note) -> Float32[np.ndarray, "time joint 3"]:
    """The joints in the order of a layout, by name where the file has names; NaN for those it does not have.

    Raises:
        InputError: these are not the layout's joints.
    """
    joints = recording.joints
    if not joints:
        if recording.frames.shape[1] != len(layout.joints):
            raise InputError(
                f"found {recording.frames.shape[1]} joints, layout {layout.name} has {len(layout.joints)}: "
                "name the layout of the files by --layout"
            )
        return recording.frames
    place = {plain_name(name): index for index, name in enumerate(joints)}
    absent = [name for name in layout.joints if plain_name(name) not in place]
    if len(absent) > len(layout.joints) // 2:
        raise InputError(
            f"its joints ({shortened(joints, 4)}) are not those of layout {layout.name} ({shortened(layout.joints, 4)}): "
            "name the layout of the files by --layout"
        )
    if absent:
        note(f"joints that the files do not have, missing throughout: {', '.join(absent)}")
    known = {plain_name(name) for name in layout.joints}
    if extra := [name for name in joints if plain_name(name) not in known]:
        note(f"joints that layout {layout.name} does not have, left out: {', '.join(extra)}")
    frames = np.full((len(recording.frames), len(layout.joints), 3), np.nan, np.float32)
    for joint, name in enumerate(layout.joints):
        if (column := place.get(plain_name(name))) is not None:
            frames[:, joint] = recording.frames[:, column]
    return frames


def at_rate(
    recording: Recording, frames: Float32[np.ndarray, "time joint 3"], fps: float, note: Note
) -> tuple[Float32[np.ndarray, "even joint 3"], np.ndarray | None]:
    """Frames of a recording at an even rate, and the one nearest to each where they were resampled.

    Raises:
        InputError: a frame has no time, time runs backwards, or hardly a frame is left in a long time.
    """
    own = recording.fps
    times = recording.times
    if times is None and recording.numbers is not None:
        times = recording.numbers / (own or fps)
    if times is None and own is not None and abs(own / fps - 1) > 0.005:
        times = np.arange(len(frames)) / own
    if times is None or len(frames) < 2:
        return frames, None
    if not np.isfinite(times).all():
        raise InputError(f"frame {int(np.flatnonzero(~np.isfinite(times))[0])}: has no time")
    steps = np.diff(times)
    if (steps < 0).any():
        frame = int(np.flatnonzero(steps < 0)[0])
        raise InputError(f"time runs backwards after frame {frame} ({times[frame]:g} s, then {times[frame + 1]:g} s)")
    kept = np.concatenate([[True], steps > 0])
    if not kept.all():
        note("frames that repeat the time of the one before are left out")
    if np.ptp(times) * fps > 100 * len(frames) + 1000:
        raise InputError(f"{len(frames)} frames over {np.ptp(times):,.0f} s: cut the recording where nobody was seen for long")
    poses, nearest = resample(frames[kept], times[kept], fps)
    return poses, np.flatnonzero(kept)[nearest]


def layout_of(recording: Recording, name: str) -> Layout:
    """The built-in layout whose joints a recording names, or the body that its file holds.

    Raises:
        InputError: it is no known body.
    """
    if (layout := body_named_by(recording, name)) is not None:
        return layout
    what = (
        f"its joints ({shortened(recording.joints, 4)}) are those of no built-in layout"
        if recording.joints
        else "does not name its joints"
    )
    raise InputError(f"{what}: say by --layout which body it is ({', '.join(layout_names())}, or a YAML file of your own)")


def body_named_by(recording: Recording, name: str = "bvh") -> Layout | None:
    """As ``layout_of``, None where it is no known body."""
    if recording.parents:
        return bvh_layout(recording, name)
    names = {plain_name(joint) for joint in recording.joints}
    for layout in map(load_layout, layout_names()) if names else ():
        if {plain_name(joint) for joint in layout.joints} == names:
            return layout
    return None


def rate_of(recording: Recording) -> float | None:
    """Frames a second as the file says or as its times have them, to a whole number where that is near."""
    if recording.fps is not None or recording.times is None or len(recording.times) < 2:
        return recording.fps
    steps = np.diff(recording.times)
    rate = 1 / float(np.median(steps[steps > 0])) if (steps > 0).any() else math.nan
    if not math.isfinite(rate):
        return None
    return float(round(rate)) if abs(rate - round(rate)) < 0.02 * rate and rate >= 5 else rate


def plain_name(name: str) -> str:
    """A joint's name without what people write differently."""
    return re.sub(r"[^a-z0-9]", "", name.lower())
