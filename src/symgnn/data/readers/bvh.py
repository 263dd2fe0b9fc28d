"""BVH, Biovision's motion capture text: a body's tree with its rest offsets, then the channels of every frame.

    HIERARCHY
    ROOT Hips
    {
        OFFSET 0 0 0
        CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
        JOINT LeftUpLeg { OFFSET 3.9 0 0  CHANNELS 3 Zrotation Xrotation Yrotation  End Site { OFFSET 0 -18 0 } }
    }
    MOTION
    Frames: 2
    Frame Time: 0.0333333
    8.03 35.01 88.36 -3.41 14.78 -164.35 13.09 40.30 -24.60
    ...

Blanks, line breaks and the case of keywords are free, a joint's name ends with its line. The file states no unit.

Source: M. Meredith and S. Maddock, Motion Capture File Formats Explained, University of Sheffield, 2001; J. Lander, Working
with Motion Capture File Formats, Game Developer, 1998. Where they are silent: see ``world_positions``.
"""

import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from jaxtyping import Float32, Float64

from symgnn.data.readers.text import BOUND, LARGEST, read_text, shown
from symgnn.data.recording import Recording
from symgnn.errors import InputError
from symgnn.skeleton import Layout, layout_from_dict

MOST_JOINTS = 1024
"""Joints and end sites of a body that is read: hands, face and clothes stay below."""
UNIT = "BVH units"
"""Unit of a layout taken from a file: none is stated, and centimetres, inches and metres all occur."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_AXES = {"X": 0, "Y": 1, "Z": 2}
_CHANNEL = re.compile(r"(?P<axis>[XYZ])(?P<kind>position|rotation)", re.IGNORECASE)
_MOTION = re.compile(r"(?:^|(?<=\}))[ \t]*MOTION\b", re.MULTILINE | re.IGNORECASE)
_FRAMES = re.compile(r"\s*Frames\s*:\s*(\S+)", re.IGNORECASE)
_FRAME_TIME = re.compile(r"\s*Frame\s+Time\s*:\s*(\S+)", re.IGNORECASE)
_NO_NUMBERS = re.compile(r"[^0-9eE+.\s-]")
_BLOCK = 1 << 20
"""Letters of the motion that are turned to numbers at a time."""
_FRAMES_AT_ONCE = 4096


@dataclass(frozen=True, eq=False, kw_only=True)
class Bvh:
    """What a BVH file says, in its order: a joint comes before those that hang on it."""

    names: tuple[str, ...]
    """Name of each joint; an end site is called as its joint and ``End``. What occurs twice gets ``_2``, ``_3``, ..."""
    parents: tuple[int, ...]
    """Joint each joint hangs on, -1 at the root."""
    offsets: Float64[np.ndarray, "joint 3"]
    """Place of each joint in its parent's frame at rest."""
    channels: tuple[tuple[str, ...], ...]
    """Channels of each joint in the order of the file (``Xposition``, ``Zrotation``, ...); none at end sites."""
    motion: Float64[np.ndarray, "time channel"]
    """Values of all channels, the joints' one after the other: the file's unit and degrees."""
    frame_time: float
    """Seconds a frame lasts, as written."""
    fps: float
    """Frames a second: a whole number where the frame time is one's inverse but for its last digit."""

    @property
    def columns(self) -> tuple[range, ...]:
        """Columns of ``motion`` of each joint."""
        starts = np.cumsum([0, *map(len, self.channels)]).tolist()
        return tuple(range(start, start + len(own)) for start, own in zip(starts, self.channels, strict=False))


def read_bvh(path: Path) -> list[Recording]:
    """The motion of a BVH file as places of joints, end sites included, in the file's unit.

    Args:
        path: the file.

    Returns:
        One recording, with joints, parents and frames a second.

    Raises:
        InputError: the file cannot be read or is no BVH file of one body; the message names the line.
    """
    bvh = parse_bvh(path)
    size = 12 * len(bvh.motion) * len(bvh.names)
    if size > BOUND:
        raise InputError(
            f"{path}: {len(bvh.motion):,} frames of {len(bvh.names)} joints are {size:,} bytes of positions; "
            f"expected at most {BOUND:,}: cut it"
        )
    frames = world_positions(bvh)
    if not np.isfinite(frames).all():
        frame, joint, _ = np.argwhere(~np.isfinite(frames))[0]
        raise InputError(
            f"{path}: frame {frame + 1}, joint {bvh.names[joint]!r}: found a place beyond {LARGEST:.2g}, "
            "expected positions that fit float32"
        )
    return [Recording(frames=frames, joints=bvh.names, parents=bvh.parents, fps=bvh.fps)]


def parse_bvh(path: Path) -> Bvh:
    """The body and the channels of a BVH file, as they are written.

    Args:
        path: the file.

    Raises:
        InputError: as for ``read_bvh``.
    """
    text = read_text(path).replace("\r\n", "\n").replace("\r", "\n")
    motion = _MOTION.search(text)
    if motion is None and not text.strip():
        raise InputError(f"{path}: empty; expected HIERARCHY and MOTION")
    names, parents, offsets, channels = _hierarchy(path, text[: motion.start()] if motion else text)
    if motion is None:
        raise InputError(f"{path}: line {text.rstrip().count(chr(10)) + 1}: the file ends, expected MOTION")
    width = sum(map(len, channels))
    frames, place = _entry(path, text, motion.end(), _FRAMES, "Frames: and their number")
    if not re.fullmatch(r"[0-9]{1,18}", frames) or not int(frames):
        _fail(path, text, place, f"Frames: {shown(frames)}", "the number of frames, at least one")
    seconds, place = _entry(path, text, place, _FRAME_TIME, "Frame Time: and the seconds a frame lasts")
    if not (
        len(seconds) <= 40 and _NUMBER.fullmatch(seconds) and 0 < float(seconds) < math.inf and 1 / float(seconds) < math.inf
    ):
        _fail(path, text, place, f"Frame Time: {shown(seconds)}", "a positive number of seconds")
    if not width:
        raise InputError(f"{path}: found a body without channels, expected at least one that moves")
    values = _numbers(path, text, place, int(frames), width)
    return Bvh(
        names=names,
        parents=parents,
        offsets=offsets,
        channels=channels,
        motion=values,
        frame_time=float(seconds),
        fps=_frames_a_second(seconds),
    )


def world_positions(bvh: Bvh) -> Float32[np.ndarray, "time joint 3"]:
    """Places of all joints by forward kinematics, in float64 until the end.

    With column vectors, from the root outwards: x_j = x_parent + G_parent t_j and G_j = G_parent R_j, R_j being the product of
    the joint's rotations in the order of its channels ("Zrotation Xrotation Yrotation": R = R_z R_x R_y), t_j its offset.

    Position channels: the root's take the place of its offset, axis by axis. Of other joints' some programs write all of
    t_j, some what is added to the offset; as bones keep their lengths, what changes t_j less over the whole file is taken.
    """
    found = np.empty((len(bvh.motion), len(bvh.names), 3), np.float32)
    # What overflows float64 or float32 becomes infinite or NaN, which the caller reports.
    with np.errstate(over="ignore", invalid="ignore"):
        added = _added(bvh)
        for start in range(0, len(found), _FRAMES_AT_ONCE):
            part = slice(start, start + _FRAMES_AT_ONCE)
            _place(bvh, bvh.motion[part], added, found[part])
    return found


def _place(bvh: Bvh, motion: np.ndarray, added: bool, found: np.ndarray) -> None:
    """Positions of some frames, written to ``found``."""
    places: list[np.ndarray] = []
    # The columns of each G: the images of the joint's x, y and z.
    turns: list[list[np.ndarray]] = []
    still = [np.broadcast_to(axis, (len(motion), 3)) for axis in np.eye(3)]
    for joint, (parent, channels, columns) in enumerate(zip(bvh.parents, bvh.channels, bvh.columns, strict=True)):
        shift: list[np.ndarray | float] = bvh.offsets[joint].tolist()
        turn = list(still if parent < 0 else turns[parent])
        above = list(turn)
        for channel, column in zip(channels, columns, strict=True):
            axis = _AXES[channel[0]]
            values = motion[:, column]
            if channel.endswith("position"):
                shift[axis] = values + shift[axis] if added and parent >= 0 else values
                continue
            angle = np.radians(values)[:, None]
            cosine, sine = np.cos(angle), np.sin(angle)
            second, third = (axis + 1) % 3, (axis + 2) % 3
            # G R_x keeps the image of x and turns those of y and z into each other; y and z alike.
            a, b = turn[second], turn[third]
            turn[second], turn[third] = cosine * a + sine * b, cosine * b - sine * a
        place = np.zeros((len(motion), 3)) if parent < 0 else places[parent].copy()
        for image, amount in zip(above, shift, strict=True):
            place += image * (amount[:, None] if isinstance(amount, np.ndarray) else amount)
        places.append(place)
        turns.append(turn)
        found[:, joint] = place


def _added(bvh: Bvh) -> bool:
    """Whether the position channels of joints below the root are added to their offsets."""
    whole, on_top = 0.0, 0.0
    for joint, (channels, columns) in enumerate(zip(bvh.channels, bvh.columns, strict=True)):
        for channel, column in zip(channels, columns, strict=True):
            if bvh.parents[joint] >= 0 and channel.endswith("position"):
                values = bvh.motion[:, column]
                whole += float(np.abs(values - bvh.offsets[joint, _AXES[channel[0]]]).mean())
                on_top += float(np.abs(values).mean())
    return on_top < whole


# The layout


def bvh_layout(recording: Recording, name: str) -> Layout:
    """The body of a file as a layout: all joints, the bones of its tree, parts and mirror as far as names tell.

    Parts are the ten of section 4.2.1 (head, torso, and on either side upper arm, forearm, thigh and crus; hand and foot begin
    forearm and crus, as in the layout cmu) where names show a head and, left and right, an arm with a hand and a leg with a
    foot; such a body has landmarks too. Otherwise each limb is a part, named as its first joint, and what the limbs hang on,
    ``trunk``, is another. Left and right are read from words such as Left, l or R, where the other side's joint is there
    too. ``up`` is y, as BVH bodies stand.

    Args:
        recording: of a reader that gives joints and parents.
        name: what the layout shall be called.

    Raises:
        InputError: the recording does not say its joints and parents, or has fewer than two joints.
    """
    joints, parents = recording.joints, recording.parents
    if not joints or len(parents) != len(joints):
        raise InputError(
            f"layout {name}: the recording names {len(joints)} joints and {len(parents)} parents; "
            "expected the body that a BVH file holds"
        )
    ten = _ten_parts(joints, parents)
    others = _counterparts(joints)
    return layout_from_dict(
        {
            "name": name,
            "unit": recording.unit or UNIT,
            "joints": list(joints),
            "root": joints[parents.index(-1)],
            "bones": [[joints[parent], joint] for joint, parent in zip(joints, parents, strict=True) if parent >= 0],
            "parts": {
                part: [joints[member] for member in members] for part, members in (ten or _limbs(joints, parents)).items()
            },
            "landmarks": {} if ten is None else {place: joints[joint] for place, joint in _landmarks(joints, parents, ten)},
            "mirror": [[joints[joint], joints[other]] for joint, other in others.items() if joint < other],
        },
        where=f"layout {name}",
    )


# "LHipJoint" -> L, Hip, Joint; "Bip01 L UpperArm" -> Bip, L, Upper, Arm; "hand_l" -> hand, l; "lefthand" -> left, hand.
_WORD = re.compile(r"[Ll]eft|[Rr]ight|LEFT|RIGHT|[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_OPPOSITE = {"left": "right", "right": "left", "l": "r", "r": "l"}
_HAND = ("hand", "wrist", "palm", "finger", "thumb")
_FOOT = ("foot", "ankle", "toe")
_ARM = ("arm", "elbow", "shoulder", "clav", "collar", *_HAND)
_LEG = ("leg", "hip", "thigh", "knee", "shin", "calf", "crus", "femur", "tibia", *_FOOT)
_HEAD = ("neck", "head")


def _words_of(joint: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(joint)]


def _says(joint: str, keys: Sequence[str]) -> bool:
    return any(key in word for word in _words_of(joint) for key in keys)


def _counterparts(joints: Sequence[str]) -> dict[int, int]:
    """The joint on the other side of each that has one."""

    def exchange(match: re.Match[str]) -> str:
        word = match[0]
        if (other := _OPPOSITE.get(word.lower())) is None:
            return word
        return other.upper() if word.isupper() else other.capitalize() if word[0].isupper() else other

    rank = {joint: index for index, joint in enumerate(joints)}
    swapped = [rank.get(_WORD.sub(exchange, joint)) for joint in joints]
    return {
        joint: other for joint, other in enumerate(swapped) if other is not None and other != joint and swapped[other] == joint
    }


def _side(joint: str) -> str | None:
    """The side that a joint with a counterpart is on: that of the first word that is one."""
    side = next((word for word in _words_of(joint) if word in _OPPOSITE), None)
    return side and ("left" if side[0] == "l" else "right")


def _ten_parts(joints: Sequence[str], parents: Sequence[int]) -> dict[str, list[int]] | None:
    """The ten body-parts of a human body, None where names do not show them all."""
    others = _counterparts(joints)
    children = _children(parents)
    order = _outwards(parents)
    # Part of each joint; hands and feet reach to the end of their limb, as a head does.
    part: dict[int, str] = {}
    for joint in order:
        above = part.get(parents[joint], "torso")
        part[joint] = above
        side = _side(joints[joint]) if joint in others else None
        if above in ("torso", "head") and side:
            # The first joint on a side tells by its own name or, as a hip joint or a clavicle may not, by those below.
            below = _subtree(joint, children)
            limb = next((kind for member in below if (kind := _kind(joints[member]))), None)
            if limb:
                above = part[joint] = f"{side} {'upper arm' if limb == 'arm' else 'thigh'}"
        if above.endswith("upper arm") and _says(joints[joint], _HAND):
            part[joint] = above.replace("upper arm", "forearm")
        elif above.endswith("thigh") and _says(joints[joint], _FOOT):
            part[joint] = above.replace("thigh", "crus")
        elif above == "torso" and not side and _says(joints[joint], _HEAD):
            part[joint] = "head"
    pairs = (("upper arm", "forearm"), ("thigh", "crus"))
    sides = [f"{side} {limb}" for limbs in pairs for side in ("left", "right") for limb in limbs]
    members = {name: [joint for joint in range(len(joints)) if part[joint] == name] for name in ("head", "torso", *sides)}
    return members if all(members.values()) else None


def _kind(joint: str) -> str | None:
    # A forearm is an arm first, a "Leg" inside "LeftUpLeg" a leg; no word of one list holds one of the other.
    return "arm" if _says(joint, _ARM) else "leg" if _says(joint, _LEG) else None


def _landmarks(joints: Sequence[str], parents: Sequence[int], parts: Mapping[str, Sequence[int]]) -> Iterator[tuple[str, int]]:
    """Landmarks of a body with ten parts: a wrist is where the hand begins, the elbow above it, the shoulder above that."""
    place = {joint: index for index, joint in enumerate(_outwards(parents))}
    hips = []
    for side in ("left", "right"):
        for limb, end, names in (
            ("upper arm", "forearm", ("wrist", "elbow", "shoulder")),
            ("thigh", "crus", ("ankle", "knee", "hip")),
        ):
            joint = min(parts[f"{side} {end}"], key=lambda joint: place[joint])
            yield f"{side} {names[0]}", joint
            if end == "crus":
                toe = next((each for each in parts[f"{side} {end}"] if each != joint and _says(joints[each], ("toe",))), None)
                if toe is not None:
                    yield f"{side} toe", toe
            for name in names[1:]:
                joint = parents[joint]
                # Joints that only share out a limb's turn about its axis are none of the body's.
                while joint in parts[f"{side} {limb}"] and _says(joints[joint], ("roll", "twist")):
                    joint = parents[joint]
                if joint not in parts[f"{side} {limb}"]:
                    break
                yield f"{side} {name}", joint
                if name == "hip":
                    hips.append(joint)
    if len(hips) == 2:
        above = [_above(joint, parents) for joint in hips]
        yield "pelvis", next(joint for joint in above[0] if joint in above[1])
    for name in ("neck", "head"):
        if (joint := next((each for each in parts["head"] if _says(joints[each], (name,))), None)) is not None:
            yield name, joint


def _limbs(joints: Sequence[str], parents: Sequence[int]) -> dict[str, list[int]]:
    """Trunk and limbs by the tree alone.

    The trunk is every joint where two branches of some size meet (a tenth of the body: hands with fingers are none) and all
    above it; each branch of two or more joints that hangs on it is a limb.
    """
    children = _children(parents)
    size = [1] * len(joints)
    order = _outwards(parents)
    for joint in reversed(order):
        if parents[joint] >= 0:
            size[parents[joint]] += size[joint]
    large = max(2, math.ceil(len(joints) / 10))
    trunk = {order[0]}
    for joint in reversed(order):
        if joint in trunk or sum(size[child] >= large for child in children[joint]) >= 2:
            trunk.update({joint, parents[joint]} - {-1})
    name = "trunk"
    while name in joints:
        name = f"the {name}"
    parts: dict[str, list[int]] = {name: sorted(trunk)}
    for joint in order:
        if joint in trunk or parents[joint] not in trunk:
            continue
        if size[joint] < 2:
            parts[name].append(joint)
        else:
            parts[joints[joint]] = sorted(_subtree(joint, children))
    return parts


def _children(parents: Sequence[int]) -> list[list[int]]:
    children: list[list[int]] = [[] for _ in parents]
    for joint, parent in enumerate(parents):
        if parent >= 0:
            children[parent].append(joint)
    return children


def _outwards(parents: Sequence[int]) -> list[int]:
    """Joints, every one after its parent."""
    return _subtree(parents.index(-1), _children(parents))


def _above(joint: int, parents: Sequence[int]) -> list[int]:
    """The joints between a joint and the root, the nearest first."""
    found = []
    while (joint := parents[joint]) >= 0:
        found.append(joint)
    return found


def _subtree(joint: int, children: Sequence[Sequence[int]]) -> list[int]:
    """A joint and all below it, the nearer first."""
    found = [joint]
    for each in found:
        found.extend(children[each])
    return found


# The hierarchy


class _Words:
    """The words and braces of a text with their lines, read one after the other."""

    def __init__(self, path: Path, text: str):
        self._path = path
        self._words = self._split(text)
        self._next = next(self._words, None)
        self._line = 1

    def _split(self, text: str) -> Iterator[tuple[int, str]]:
        for number, line in enumerate(io.StringIO(text), start=1):
            for word in re.findall(r"[{}]|[^\s{}]+", line):
                yield number, word

    @property
    def word(self) -> str:
        """The next word, "" at the end."""
        return self._next[1] if self._next else ""

    def take(self) -> str:
        """The next word, which is then behind."""
        word = self.word
        if self._next:
            self._line = self._next[0]
        self._next = next(self._words, None)
        return word

    def rest_of_line(self) -> str:
        """Words up to a brace or the end of the line of the last one taken."""
        words = []
        while self._next and self._next[0] == self._line and self.word not in "{}":
            words.append(self.take())
        return " ".join(words)

    def expect(self, keyword: str) -> None:
        """Take a word that has to come now."""
        if self.word.lower() != keyword.lower():
            self.fail(keyword)
        self.take()

    def numbers(self, what: str) -> list[float]:
        """Take three finite numbers."""
        found = []
        for _ in range(3):
            if not _NUMBER.fullmatch(self.word) or not math.isfinite(float(self.word)):
                self.fail(f"three numbers after {what}")
            found.append(float(self.take()))
        return found

    def fail(self, expected: str, found: str | None = None) -> NoReturn:
        """Say what is wrong with the next word, or with what has been taken last."""
        line = self._line if found or not self._next else self._next[0]
        what = f"found {found or shown(self.word)}" if found or self._next else "the hierarchy ends"
        raise InputError(f"{self._path}: line {line}: {what}, expected {expected}")


_Hierarchy = tuple[tuple[str, ...], tuple[int, ...], Float64[np.ndarray, "joint 3"], tuple[tuple[str, ...], ...]]


def _hierarchy(path: Path, text: str) -> _Hierarchy:
    """Names, parents, offsets and channels of the joints and end sites, in the order of the file."""
    words = _Words(path, text)
    words.expect("HIERARCHY")
    names: list[str | None] = []
    parents: list[int] = []
    offsets: list[list[float]] = []
    channels: list[tuple[str, ...]] = []
    # Joints whose braces are open, the innermost last: a body may be as deep as it is large.
    inside: list[int] = []
    while inside or not names:
        keyword = words.word.lower()
        if keyword == "}" and inside:
            words.take()
            inside.pop()
            continue
        if keyword not in (("joint", "end") if inside else ("root",)):
            words.fail("JOINT, End Site or }" if inside else "ROOT")
        words.take()
        if len(names) == MOST_JOINTS:
            words.fail(f"at most {MOST_JOINTS}", f"more than {MOST_JOINTS} joints")
        if keyword == "end":
            words.expect("Site")
            # Some programs name end sites; others cannot know the name.
            words.rest_of_line()
            name = None
        elif not (name := words.rest_of_line()):
            words.fail(f"a name after {keyword.upper()}")
        names.append(name)
        parents.append(inside[-1] if inside else -1)
        words.expect("{")
        words.expect("OFFSET")
        offsets.append(words.numbers("OFFSET"))
        if name is None:
            channels.append(())
            words.expect("}")
        else:
            channels.append(_channels(words))
            inside.append(len(names) - 1)
    if words.word.lower() == "root":
        words.take()
        words.fail("MOTION: split it, a body a file", "a second ROOT")
    if words.word:
        words.fail("MOTION")
    return _unique(names, parents), tuple(parents), np.array(offsets, np.float64), tuple(channels)


def _channels(words: _Words) -> tuple[str, ...]:
    words.expect("CHANNELS")
    if not re.fullmatch("[0-6]", words.word):
        words.fail("the number of channels, 0 to 6")
    channels: list[str] = []
    for _ in range(int(words.take())):
        match = _CHANNEL.fullmatch(words.word)
        if not match:
            words.fail("a channel (Xposition, Yposition, Zposition, Xrotation, Yrotation or Zrotation)")
        channel = match["axis"].upper() + match["kind"].lower()
        # Rotations about one axis, another, and the first again are a usual triple; a position twice says nothing.
        if channel in channels and channel.endswith("position"):
            words.fail("another channel; this joint has it already")
        channels.append(channel)
        words.take()
    return tuple(channels)


def _unique(names: Sequence[str | None], parents: Sequence[int]) -> tuple[str, ...]:
    """Names, those of end sites made of their joints', none of them twice."""
    taken = {name for name in names if name is not None}
    seen: set[str] = set()
    last: dict[str, int] = {}
    found: list[str] = []
    for name, parent in zip(names, parents, strict=True):
        wanted = name
        if wanted is None:
            wanted = f"{found[parent]}End"
        fresh = wanted
        # A joint keeps the name it is given; what is made up gives way to it.
        while fresh in seen or (fresh in taken and (name is None or fresh != wanted)):
            last[wanted] = last.get(wanted, 1) + 1
            fresh = f"{wanted}_{last[wanted]}"
        seen.add(fresh)
        found.append(fresh)
    return tuple(found)


# The motion


def _entry(path: Path, text: str, place: int, pattern: re.Pattern[str], expected: str) -> tuple[str, int]:
    """The value of a line of the form "name: value", and where it ends."""
    match = pattern.match(text, place)
    if match is None:
        word = re.compile(r"\S+").search(text, place)
        _fail(path, text, word.end() if word else len(text), shown(word[0]) if word else "the end of the file", expected)
    return match[1], match.end()


def _fail(path: Path, text: str, end: int, found: str, expected: str) -> NoReturn:
    line = text.rstrip().count("\n", 0, end) + 1
    raise InputError(f"{path}: line {line}: found {found}, expected {expected}")


def _numbers(path: Path, text: str, place: int, frames: int, width: int) -> Float64[np.ndarray, "time channel"]:
    """All numbers from a place on, as many as there have to be, wherever lines end."""
    blocks: list[np.ndarray] = []
    count = 0
    blank = re.compile(r"\s")
    while place < len(text):
        end = blank.search(text, min(place + _BLOCK, len(text)))
        stop = end.start() if end else len(text)
        block = text[place:stop]
        values = None
        if not _NO_NUMBERS.search(block):
            try:
                values = np.array(block.split(), np.float64)
            except ValueError:
                values = None
        if values is None or not np.isfinite(values).all():
            _no_number(path, text, place, stop)
        blocks.append(values)
        count += len(values)
        if count > frames * width:
            last = list(re.finditer(r"\S+", block))[len(values) - (count - frames * width)]
            _fail(path, text, place + last.end(), "more numbers", f"{frames:,} frames of {width} channels: no more than those")
        place = stop
    if count < frames * width:
        whole, more = divmod(count, width)
        rest = f" and {more} of {width} channels" if more else ""
        _fail(path, text, len(text), f"the end after {whole:,} frames{rest}", f"{frames:,} frames of {width} channels")
    return np.concatenate(blocks).reshape(frames, width)


def _no_number(path: Path, text: str, start: int, stop: int) -> NoReturn:
    for word in re.compile(r"\S+").finditer(text, start, stop):
        if not (_NUMBER.fullmatch(word[0]) and math.isfinite(float(word[0]))):
            _fail(path, text, word.end(), shown(word[0]), "a finite number")
    raise InputError(f"{path}: expected finite numbers after Frame Time")


def _frames_a_second(seconds: str) -> float:
    """1 / 0.0083333 is 120.0005; what was meant is 120."""
    value = float(seconds)
    mantissa, _, exponent = seconds.lower().partition("e")
    unit = 10.0 ** max(-300, min(300, int(exponent or 0) - len(mantissa.partition(".")[2])))
    whole = round(1 / value)
    # The last digit was rounded or cut off; a coarser frame time than one in 500 says no more than it does.
    if whole and -0.5001 * unit <= 1 / whole - value < unit and abs(1 / whole - value) <= value / 500:
        return float(whole)
    return 1 / value
