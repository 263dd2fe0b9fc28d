"""NTU RGB+D 60 and 120: a ``.skeleton`` text file a clip, as Kinect v2 saw it.

    103                                             frames
    1                                               bodies in the first frame
    72057594037931101 0 1 1 1 1 0 0.0276 0.057 2    bodyID clipedEdges handLeftConfidence handLeftState handRightConfidence
                                                    handRightState isResticted leanX leanY trackingState
    25                                              joints of this body
    0.2181 0.1726 3.7855 277.4 191.8 ... 2          x y z depthX depthY colorX colorY orientationW X Y Z trackingState,
                                                    and 24 lines more

Positions are metres from the camera: x to its left, y up, z away from it. 30 frames a second. Of a body's line its id is used,
of a joint's line the position; of the other values, only that they are there.

The text is searched once for its separators, which counts the words of all lines at once; numpy's C reader parses the
positions. When that fails they are read again, slowly, for the place of the error.

Source: https://github.com/shahroudy/NTURGB-D (Matlab/read_skeleton_file.m and the list of actions); Shahroudy et al., CVPR
2016; Liu et al., TPAMI 2019.
"""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32, Float64, Int

from symgnn.data.readers.text import LARGEST, read_text, shown
from symgnn.data.recording import Recording
from symgnn.errors import InputError
from symgnn.skeleton import load_layout

FPS = 30.0
JOINTS = 25
MOST_BODIES = 6
"""Bodies that the camera follows at once."""
MOST_FRAMES = 1 << 16
"""Frames at most (36 minutes; the data set's clips are shorter than 11 seconds)."""
MOST_BYTES = 1 << 26
"""Bytes of a file at most (the data set's largest are below 2 MB)."""

SHORTEST = 12
"""Frames a body is seen in at least, where there are several."""
WIDEST = 0.8
"""Width of a person, as a share of the height, from which on a frame shows none: furniture, mostly."""
MOST_WIDE = 0.69754
"""Share of such frames from which on a body is none, where there are several (from the usual clean-up of this data set)."""

ACTIONS = (
    *("drink water", "eat meal", "brush teeth", "brush hair", "drop", "pick up", "throw", "sit down", "stand up", "clap"),
    *("read", "write", "tear up paper", "put on jacket", "take off jacket", "put on a shoe", "take off a shoe"),
    *("put on glasses", "take off glasses", "put on a hat", "take off a hat", "cheer up", "hand waving", "kick something"),
    *("reach into pocket", "hop on one foot", "jump up", "phone call", "play with phone or tablet", "type on a keyboard"),
    *("point to something", "take a selfie", "check time on watch", "rub two hands", "nod head or bow", "shake head"),
    *("wipe face", "salute", "put palms together", "cross hands in front", "sneeze or cough", "stagger", "fall down"),
    *("headache", "chest pain", "back pain", "neck pain", "nausea or vomiting", "fan self"),
    *("punch or slap someone", "kick someone", "push someone", "pat someone's back", "point at someone", "hug"),
    *("give something to someone", "touch someone's pocket", "shake hands", "walk towards each other", "walk apart"),
    *("put on headphone", "take off headphone", "shoot at basket", "bounce ball", "tennis bat swing"),
    *("juggle table tennis balls", "hush", "flick hair", "thumb up", "thumb down", "make OK sign", "make victory sign"),
    *("staple book", "count money"),
    *("cut nails", "cut paper", "snap fingers", "open bottle", "sniff", "squat down", "toss a coin", "fold paper"),
    *("ball up paper", "play magic cube", "apply cream on face", "apply cream on hand", "put on bag", "take off bag"),
    *("put something into bag", "take something out of bag", "open a box", "move heavy objects", "shake fist"),
    *("throw up cap or hat", "hands up", "cross arms", "arm circles", "arm swings", "run on the spot", "butt kicks"),
    *("cross toe touch", "side kick", "yawn", "stretch oneself", "blow nose"),
    *("hit someone with something", "wield knife towards someone", "knock someone over", "grab someone's stuff"),
    *("shoot at someone", "step on someone's foot", "high five", "cheers and drink", "carry something together"),
    *("take a photo of someone", "follow someone", "whisper in someone's ear", "exchange things", "support someone"),
    "rock paper scissors",
)
"""What is done in A001 ... A120, shortened from the data set's list; NTU RGB+D 60 has the first 60."""

_SUBJECTS_60 = {1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38}
_SUBJECTS_120 = _SUBJECTS_60 | {
    *(45, 46, 47, 49, 50, 52, 53, 54, 55, 56, 57, 58, 59, 70, 74, 78, 80, 81, 82, 83, 84, 85, 86),
    *(89, 91, 92, 93, 94, 95, 97, 98, 100, 103),
}
_TRAINING = {
    "ntu60-xsub": lambda name: name.subject in _SUBJECTS_60,
    "ntu60-xview": lambda name: name.camera in (2, 3),
    "ntu120-xsub": lambda name: name.subject in _SUBJECTS_120,
    "ntu120-xset": lambda name: name.setup % 2 == 0,
}
PROTOCOLS = tuple(_TRAINING)
"""Cross-subject, cross-view and cross-setup: which clips train."""


@dataclass(frozen=True)
class NtuName:
    """What a file's name says; all counted from 1."""

    setup: int
    """Place and height of the cameras: to 17 in NTU RGB+D 60, to 32 in 120."""
    camera: int
    subject: int
    """Who moves (of two, the one on the list): to 40 in NTU RGB+D 60, to 106 in 120."""
    replication: int
    """First or second time."""
    action: int
    """To 60 in NTU RGB+D 60, to 120 in 120."""

    @property
    def label(self) -> str:
        """The class as the file's name has it, "A001"."""
        return f"A{self.action:03}"

    @property
    def in_ntu60(self) -> bool:
        """Whether NTU RGB+D 60 has the clip (120 has all)."""
        return self.setup <= 17 and self.action <= 60


_NAME = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})", re.ASCII)
_LAST = {"setup": 32, "camera": 3, "subject": 106, "replication": 2, "action": len(ACTIONS)}


def parse_name(name: str) -> NtuName:
    """What ``SsssCcccPpppRrrrAaaa`` says, with or without ``.skeleton``.

    Raises:
        InputError: it is no such name, or a number in it is none of the data set's.
    """
    match = _NAME.fullmatch(name.removesuffix(".skeleton"))
    if match is None:
        raise InputError(f"{name}: found no name of NTU RGB+D, expected one as S001C001P001R001A001.skeleton")
    numbers = [int(number) for number in match.groups()]
    for (what, last), number in zip(_LAST.items(), numbers, strict=True):
        if not 1 <= number <= last:
            raise InputError(f"{name}: found {what} {number}, expected 1 to {last}")
    return NtuName(*numbers)


def is_of_120_only(path: Path) -> bool:
    """Whether a file's name is one that NTU RGB+D 60 does not have."""
    match = _NAME.fullmatch(path.name.removesuffix(".skeleton"))
    return match is not None and not NtuName(*map(int, match.groups())).in_ntu60


def check_protocol(protocol: str) -> None:
    """Raise InputError where there is no such protocol."""
    if protocol not in _TRAINING:
        raise InputError(f"no protocol {protocol!r} of NTU RGB+D (there are: {', '.join(PROTOCOLS)})")


def split_of(name: NtuName, protocol: str) -> Literal["train", "test"]:
    """The split of a clip in one of ``PROTOCOLS``.

    Raises:
        InputError: there is no such protocol, or it is one of NTU RGB+D 60, which does not have the clip.
    """
    check_protocol(protocol)
    if protocol.startswith("ntu60") and not name.in_ntu60:
        raise InputError(
            f"protocol {protocol}: found setup {name.setup} and action {name.action}, expected at most 17 and 60: "
            "the clip is of NTU RGB+D 120 only"
        )
    return "train" if _TRAINING[protocol](name) else "test"


def read_ntu_skeleton(path: Path) -> list[Recording]:
    """The one or two persons of a clip, the one who moves more first; an empty list where the file has no body.

    The usual clean-up of this data set, for files with several bodies (a new id may be a new person, the same one found again,
    or furniture):

    1. Bodies seen in fewer than ``SHORTEST`` frames are dropped; where that is all, the longest stays.
    2. A frame in which the joints spread over more than ``WIDEST`` times as much in x as in y is wide. Bodies wide in a share
       of ``MOST_WIDE`` of their frames or more are dropped, in order of appearance, but never the last one.
    3. A body's motion is the variance of each coordinate of each joint over time, summed; where it has wide frames, no more
       than that of the others. The body of the most motion is the first person.
    4. The others, in order of their motion: one whose frames, from its first to its last, do not overlap the first person's by
       more than one frame is the first person too; else one who does not so overlap the second person's is the second; else it
       is dropped.

    (Code in circulation takes in 3 the variance of all joints of all frames together, so that tall counts as moving.)

    Recordings of a file have the same frames: from the first in which a person was kept to the last. A person who is not there
    in a frame is NaN, and so is a joint at NaN or exactly 0, 0, 0: the camera's own place, written for a joint not found.

    Args:
        path: the file. A name of the data set fills label ("A001"), subject, camera and setup ("1", without zeros); with
            another name they stay empty.

    Raises:
        InputError: the file is not of this format, or its name has a number that is none of the data set's; the message names
            line, what was found and what was expected.
    """
    stem = path.name.removesuffix(".skeleton")
    name = parse_name(stem) if _NAME.fullmatch(stem) else None
    persons = _persons(*_parse(path))
    return [
        Recording(
            frames=frames,
            joints=_joint_names(),
            unit="m",
            fps=FPS,
            label=None if name is None else name.label,
            person=person,
            subject="" if name is None else str(name.subject),
            camera="" if name is None else str(name.camera),
            setup="" if name is None else str(name.setup),
        )
        for person, frames in enumerate(persons)
    ]


@functools.cache
def _joint_names() -> tuple[str, ...]:
    return load_layout("ntu25").joints


# The file


@dataclass(eq=False)
class _Body:
    """One body id."""

    frames: Int[np.ndarray, " seen"]
    """The frames it is seen in, increasing."""
    poses: Float64[np.ndarray, "seen 25 3"]
    motion: float = 0.0


class _Lines:
    """A text as lines of words."""

    def __init__(self, path: Path, text: str):
        self.path = path
        self.text = text.rstrip() + "\n"
        raw = np.frombuffer(self.text.encode("ascii"), np.uint8)
        self.separators = np.flatnonzero(raw <= ord(" "))
        """Place of what ends each word."""
        self.breaks = np.flatnonzero(raw[self.separators] == ord("\n"))
        """Which of them end a line."""
        self.ends = self.separators[self.breaks].tolist()
        self.words = np.diff(self.breaks, prepend=-1).tolist()
        """Number of words of each line."""

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, line: int) -> str:
        return self.text[self.ends[line - 1] + 1 if line else 0 : self.ends[line]]

    @property
    def are_even(self) -> bool:
        """Whether there is exactly one separator after each word, as the words' counting needs."""
        return bool(self.separators[0] and (np.diff(self.separators) > 1).all())

    def wrong(self, line: int, expected: str, found: str | None = None) -> InputError:
        return InputError(f"{self.path}: line {line + 1}: found {found or shown(self[line])}, expected {expected}")

    def count(self, line: int, least: int, most: int, what: str) -> int:
        """The number on a line of its own."""
        text = self[line]
        if not (text.isdigit() and len(text) <= 18 and least <= int(text) <= most):
            raise self.wrong(line, f"the number of {what}, {least if least == most else f'{least} to {most:,}'}")
        return int(text)


def _parse(path: Path) -> tuple[int, list[_Body]]:
    """Number of frames and the bodies, in order of appearance."""
    lines = _read(path)
    frames = lines.count(0, 0, MOST_FRAMES, "frames")
    at = 1
    rows: dict[str, list[tuple[int, int]]] = {}
    """For each body, frames and the lines that its joints begin at."""
    joints_have = [12] * JOINTS
    for frame in range(frames):
        if at >= len(lines):
            raise InputError(f"{path}: line {len(lines)}: found the end of the file after {frame} of {frames} frames")
        bodies = lines.count(at, 0, MOST_BODIES, f"bodies of frame {frame + 1}")
        at += 1
        for body in range(bodies):
            if at + 2 > len(lines):
                raise _cut_short(lines, frame, frames, body, bodies)
            if lines.words[at] != 10:
                raise lines.wrong(at, "the 10 values of a body", f"{lines.words[at]} values")
            identity = lines[at].split(maxsplit=1)[0]
            if not identity.isdigit():
                raise lines.wrong(at, "the number of a body, digits only", shown(identity))
            lines.count(at + 1, JOINTS, JOINTS, "joints")
            at += 2
            if lines.words[at : at + JOINTS] != joints_have:
                for line in range(at, min(at + JOINTS, len(lines))):
                    if lines.words[line] != 12:
                        raise lines.wrong(line, f"the 12 values of joint {line - at}", f"{lines.words[line]} values")
                raise _cut_short(lines, frame, frames, body, bodies)
            seen = rows.setdefault(identity, [])
            if seen and seen[-1][0] == frame:
                raise lines.wrong(at - 2, "each body once a frame", f"body {identity} again in frame {frame + 1}")
            seen.append((frame, at))
            at += JOINTS
    if at < len(lines):
        raise lines.wrong(at, f"the end of the file after {frames} frames")
    return frames, _bodies(lines, rows)


def _read(path: Path) -> _Lines:
    text = read_text(path)
    if len(text) > MOST_BYTES:
        raise InputError(f"{path}: {len(text):,} bytes; expected a clip of at most {MOST_BYTES:,}: cut it")
    if not text.isascii():
        place = next(place for place, letter in enumerate(text) if not letter.isascii())
        line = text.count("\n", 0, place) + 1
        raise InputError(f"{path}: line {line}: found {shown(text[place])}, expected numbers")
    if not text.strip():
        raise InputError(f"{path}: empty; expected the number of frames in line 1")
    lines = _Lines(path, text)
    if not lines.are_even:
        # Line ends of Windows, tabs, blanks to align columns: the words are what counts.
        lines = _Lines(path, "\n".join(" ".join(line.split()) for line in text.split("\n")))
    return lines


def _cut_short(lines: _Lines, frame: int, frames: int, body: int, bodies: int) -> InputError:
    where = f"in frame {frame + 1} of {frames}, body {body + 1} of {bodies}"
    return InputError(f"{lines.path}: line {len(lines)}: found the end of the file {where}, expected a body's 27 lines")


def _bodies(lines: _Lines, rows: dict[str, list[tuple[int, int]]]) -> list[_Body]:
    pieces = [np.array(seen) for seen in rows.values()]
    if not pieces:
        return []
    first = np.concatenate(pieces)[:, 1]
    positions = _positions(lines, (first[:, None] + np.arange(JOINTS)).ravel()).reshape(-1, JOINTS, 3)
    positions[np.isnan(positions).any(axis=2) | (positions == 0).all(axis=2)] = np.nan
    bodies = []
    for seen, poses in zip(pieces, np.split(positions, np.cumsum([len(seen) for seen in pieces])[:-1]), strict=True):
        there = ~np.isnan(poses[..., 0]).all(axis=1)
        if there.any():
            bodies.append(_Body(seen[there, 0], poses[there]))
    return bodies


_NUMBER = re.compile(r"[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|nan)", re.ASCII | re.IGNORECASE)


def _positions(lines: _Lines, which: np.ndarray) -> Float64[np.ndarray, "line 3"]:
    """The first three words of some lines of 12."""
    ends = np.array(lines.ends)
    starts = ends[which - 1] + 1
    thirds = lines.separators[lines.breaks[which] - 9]
    cells = [lines.text[start:end] for start, end in zip(starts.tolist(), thirds.tolist(), strict=True)]
    try:
        values = np.loadtxt(cells, comments=None, ndmin=2)
    except ValueError as error:
        raise _place_of_error(lines, which) or InputError(f"{lines.path}: {error}") from None
    # NaN is in no order with anything.
    if values.shape != (len(which), 3) or (np.abs(values) > LARGEST).any():
        raise _place_of_error(lines, which) or InputError(f"{lines.path}: expected three finite numbers a joint")
    return values


def _place_of_error(lines: _Lines, which: np.ndarray) -> InputError | None:
    for line in sorted(which.tolist()):
        for axis, cell in zip("xyz", lines[line].split(), strict=False):
            if not _NUMBER.fullmatch(cell) or abs(float(cell)) > LARGEST:
                return lines.wrong(line, f"{axis} in metres", shown(cell))
    return None


# The clean-up


def _persons(frames: int, bodies: Sequence[_Body]) -> list[Float32[np.ndarray, "time 25 3"]]:
    """One or two persons, in the frames in which there is somebody; none where there is no body."""
    pieces = _pieces(_real(bodies))
    if not pieces:
        return []
    persons = np.full((len(pieces), frames, JOINTS, 3), np.nan, np.float32)
    for person, parts in zip(persons, pieces, strict=True):
        for body in parts:
            person[body.frames] = body.poses
    seen = [body.frames for parts in pieces for body in parts]
    first, last = min(each[0] for each in seen), max(each[-1] for each in seen)
    return [person[first : last + 1].copy() for person in persons]


def _real(bodies: Sequence[_Body]) -> list[_Body]:
    """Without noise, and the most active first."""
    if len(bodies) < 2:
        return list(bodies)
    kept = [body for body in bodies if len(body.frames) >= SHORTEST]
    kept = kept or [max(bodies, key=lambda body: len(body.frames))]
    for body in list(kept):
        if len(kept) == 1:
            break
        body.motion = _motion(body.poses)
        wide = _wide(body.poses)
        if wide.mean() >= MOST_WIDE:
            kept.remove(body)
        elif wide.any():
            body.motion = min(body.motion, _motion(body.poses[~wide]))
    return sorted(kept, key=lambda body: -body.motion)


def _pieces(bodies: Sequence[_Body]) -> list[list[_Body]]:
    """The bodies that make up each of two persons."""
    persons: list[list[_Body]] = []
    spans: list[tuple[int, int]] = []
    for body in bodies:
        first, last = int(body.frames[0]), int(body.frames[-1])
        for person, (start, end) in enumerate(spans):
            if min(end, last) - max(start, first) <= 0:
                persons[person].append(body)
                spans[person] = min(start, first), max(end, last)
                break
        else:
            if len(persons) < 2:
                persons.append([body])
                spans.append((first, last))
    return persons


def _motion(poses: Float64[np.ndarray, "seen 25 3"]) -> float:
    """Variance over time of each coordinate of each joint where it is known, summed."""
    known = ~np.isnan(poses)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, poses, 0.0).sum(axis=0) / count
    return float((np.where(known, (poses - mean) ** 2, 0.0).sum(axis=0) / count).sum())


def _wide(poses: Float64[np.ndarray, "seen 25 3"]) -> np.ndarray:
    """In which frames the joints spread sideways more than people do."""
    known = ~np.isnan(poses[..., :2])
    spread = np.where(known, poses[..., :2], -np.inf).max(axis=1) - np.where(known, poses[..., :2], np.inf).min(axis=1)
    return spread[:, 0] > WIDEST * spread[:, 1]
