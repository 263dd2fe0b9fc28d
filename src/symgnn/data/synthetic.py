"""The built-in motion: bodies that move like people, made from formulas.

No data set may be shipped, so ``demo`` and the tests learn from this one. Each clip is a person of some build doing one of
eight things on the CMU skeleton, at a tempo, an extent, with habits and towards a side of their own, with pauses, turns and
sensor noise. Several kinds share their poses on purpose (a wave and an arm merely held up, a squat and the start of a jump, a
march and a kick): what somebody does shows in how the body moves, hardly in how it stands. Figures on it are never results.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import roma
import torch
from jaxtyping import Float, Float32
from numpy.random import PCG64, Generator, SeedSequence
from torch import Tensor

from symgnn.data.store import Clip, ClipRecord, Store
from symgnn.data.writing import write_store
from symgnn.skeleton import Layout, forward_kinematics, load_layout

Curve = Float[np.ndarray, " time"]

FPS = 25.0
MOVEMENTS = ("walking", "running", "marching", "jumping", "squatting", "waving", "boxing", "kicking")

METRES_A_UNIT = 0.0254 / 0.45
"""The BVH release's unit of length."""
_SIDES = ("Left", "Right")


def make_motion(
    path: str | Path,
    *,
    seed: int = 0,
    clips_per_class: int = 32,
    persons: int = 16,
    test_persons: int = 4,
    seconds: tuple[float, float] = (5.0, 8.0),
    in_place: bool = False,
) -> Store:
    """Make the built-in motion and write it to a store: layout cmu, positions of its 38 joints in metres, 25 frames a second.

    The same arguments give the same store, on any machine. The last ``test_persons`` persons are the test split: nobody is
    in both.

    Args:
        path: the store to write.
        seed: decides everything random.
        clips_per_class: clips of each of the eight movements; the persons take turns.
        persons: number of people.
        test_persons: how many of them are kept for testing.
        seconds: shortest and longest clip.
        in_place: keep the hips above one spot, as on a treadmill: what is left to predict is how the body moves.

    Raises:
        InputError: as for ``write_store``.
    """
    if not 0 < test_persons < persons <= clips_per_class:
        raise ValueError("expected 0 < test_persons < persons <= clips_per_class: every person does everything")
    if not 3.0 <= seconds[0] <= seconds[1] <= 60.0:
        raise ValueError("expected 3 <= shortest <= longest <= 60 seconds")
    layout = load_layout("cmu")
    people = [_person(layout, _stream(seed, 0, number)) for number in range(persons)]

    def clips() -> Iterator[Clip]:
        for label, movement in enumerate(MOVEMENTS):
            for number in range(clips_per_class):
                who = number % persons
                record = ClipRecord(
                    label=label,
                    recording=f"{movement}_{number + 1}",
                    subject=str(who + 1),
                    split="test" if who >= persons - test_persons else "train",
                )
                random = _stream(seed, 1 + label, number)
                frames = round(random.uniform(*seconds) * FPS)
                yield Clip(record, _perform(movement, people[who], frames, random, in_place))

    return write_store(
        path,
        clips(),
        layout=layout,
        space="xyz",
        fps=FPS,
        class_names=MOVEMENTS,
        unit="m",
        notes={"origin": "built-in motion", "seed": seed},
    )


def perform(movement: str, *, seconds: float = 10.0, seed: int = 0) -> Float32[np.ndarray, "time joint 3"]:
    """Somebody doing one of [MOVEMENTS][symgnn.data.synthetic.MOVEMENTS] above one spot, with no store in between.

    Args:
        movement: which.
        seconds: how long, from standing into it; at least 3.
        seed: decides everything random.

    Returns:
        Positions of the 38 joints of layout cmu in metres, y upwards, 25 frames a second.
    """
    random = _stream(seed, 100 + MOVEMENTS.index(movement))
    person = _person(load_layout("cmu"), random)
    return _perform(movement, person, round(seconds * FPS), random, in_place=True).astype(np.float32)


def perform_rotations(movement: str, *, seconds: float = 10.0, seed: int = 0) -> Float32[np.ndarray, "time stored 3"]:
    """As [perform][symgnn.data.synthetic.perform], in the rotations of the CMU benchmark and without a sensor's noise.

    Returns:
        Rows of layout cmu: translation and root at zero (the body is upright and faces forwards), then an exponential map a
        joint, in the convention of ``forward_kinematics``; 25 frames a second.
    """
    random = _stream(seed, 100 + MOVEMENTS.index(movement))
    layout = load_layout("cmu")
    person = _person(layout, random)
    pose, _ = _act(movement, round(seconds * FPS), random)
    rows = _rows(pose, person).numpy().astype(np.float32)
    rows[:, :2] = 0.0
    return rows


def _stream(*key: int) -> Generator:
    """A clip has a generator of its own, so that one more clip changes none of the others."""
    return Generator(PCG64(SeedSequence(key)))


def _person(layout: Layout, random: Generator) -> Layout:
    """The skeleton of one person, in metres: height, and the proportions of legs, trunk, arms and shoulders."""
    assert layout.offsets is not None
    height = random.uniform(0.85, 1.12) * METRES_A_UNIT
    legs, trunk, arms, breadth = random.normal(1.0, 0.06, size=4).clip(0.85, 1.15)
    factor = {"Leg": legs, "Foot": legs, "Arm": arms, "Hand": arms, "Finger": arms, "Thumb": arms}
    offsets = np.array(layout.offsets)
    for joint, name in enumerate(layout.joints):
        if name.endswith(("UpLeg", "Shoulder")) or name in ("LeftArm", "RightArm"):
            scale = np.array([breadth, trunk, trunk])
        else:
            scale = next((value for part, value in factor.items() if part in name), trunk)
        offsets[joint] *= height * scale
    return replace(layout, offsets=tuple((x, y, z) for x, y, z in offsets.tolist()), unit="m")


@dataclass
class _Pose:
    """Angles of each joint over a clip, in degrees, from standing upright with straight legs and hanging arms."""

    time: Curve
    angles: dict[str, Float[np.ndarray, "time 3"]] = field(default_factory=dict)
    """Forward (the spine bends, the thigh and arm rise before the body, the knee and elbow close, the toes rise),
    outward (away from the midline; the spine to the left), and turned outward (the spine to the left)."""
    flight: Curve | float = 0.0
    """Height of the lower foot above the ground, metres."""

    def add(self, joint: str, forward: Curve | float = 0.0, outward: Curve | float = 0.0, turned: Curve | float = 0.0) -> None:
        track = self.angles.setdefault(joint, np.zeros((len(self.time), 3)))
        for channel, value in enumerate((forward, outward, turned)):
            track[:, channel] += value

    def bend(self, forward: Curve | float = 0.0, outward: Curve | float = 0.0, turned: Curve | float = 0.0) -> None:
        """Bend the spine, a third at each of its joints."""
        for joint in ("LowerBack", "Spine", "Spine1"):
            self.add(joint, forward / 3, outward / 3, turned / 3)

    def leg(self, side: str, thigh: Curve | float, knee: Curve | float, toes: Curve | float = 0.0) -> None:
        """Place a leg in the body's plane of walking; the foot stays level but for ``toes``."""
        self.add(f"{side}UpLeg", forward=thigh)
        self.add(f"{side}Leg", forward=knee)
        self.add(f"{side}Foot", forward=knee - thigh + toes)

    def crouch(self, depth: Curve | float) -> None:
        """Bend hips and knees of both legs; 1 is a deep squat, the feet stay below the body."""
        for side in _SIDES:
            self.leg(side, 85.0 * depth, 115.0 * depth)


@dataclass(frozen=True)
class _Manner:
    """What one performance has to itself."""

    random: Generator
    time: Curve
    side: str
    """The side that waves, kicks or leads."""
    other: str
    extent: Curve
    """Size of the movement: about 1, slowly changing, 0 in the pauses."""
    active: Curve
    """1 while moving, 0 in the pauses."""

    def phase(self, low: float, high: float) -> Curve:
        """Angle of a cycle whose tempo, drawn between the bounds (cycles a second), drifts."""
        tempo = self.random.uniform(low, high) * np.exp(_wander(self.random, self.time, 0.08))
        return self.random.uniform(0, 2 * math.pi) + 2 * math.pi * np.cumsum(tempo) / FPS

    def vary(self, value: float, spread: float = 0.15) -> float:
        """A number near the given one."""
        return value * self.random.uniform(1 - spread, 1 + spread)


def _act(movement: str, frames: int, random: Generator) -> tuple[_Pose, Curve]:
    """The angles of a performance, and when it moves."""
    time = np.arange(frames) / FPS
    active = _bouts(random, time)
    side, other = _SIDES if random.random() < 0.5 else reversed(_SIDES)
    extent = active * random.uniform(0.8, 1.15) * np.exp(_wander(random, time, 0.08))
    manner = _Manner(random, time, side, other, extent, active)
    pose = _Pose(time)
    _stand(pose, manner)
    arms_are_free = _MOVEMENTS[movement](pose, manner)
    _carry_arms(pose, manner, arms_are_free)
    return pose, active


def _perform(
    movement: str, person: Layout, frames: int, random: Generator, in_place: bool
) -> Float[np.ndarray, "time joint 3"]:
    pose, active = _act(movement, frames, random)
    time = pose.time
    turning = random.normal(0.0, 12.0) * active if movement in ("walking", "running") else 0.0
    heading = random.uniform(0, 360) + np.cumsum(np.broadcast_to(turning, time.shape)) / FPS + _wander(random, time, 6.0)
    body = _place(pose, person, heading)
    body = _travel(body, person, pose.flight, random)
    if in_place:
        body[..., [0, 2]] -= body[:, :1, [0, 2]]  # joint 0, the hips
    return _sense(body, random)


def _stand(pose: _Pose, manner: _Manner) -> None:
    """Standing is never still: posture, breath, weight on one leg and the other, a look around."""
    random, time = manner.random, manner.time
    pose.crouch(abs(random.normal(0.0, 0.1)) + np.abs(_wander(random, time, 0.02)))
    sway = _wander(random, time, 1.5)
    pose.bend(random.normal(4.0, 5.0) + 0.6 * np.sin(1.6 * time) + _wander(random, time, 2.0), sway, _wander(random, time, 4.0))
    for side, sign in zip(_SIDES, (1, -1), strict=True):
        stance = random.uniform(0.0, 7.0)
        pose.add(f"{side}UpLeg", outward=stance + sign * sway, turned=random.uniform(0.0, 12.0))
        pose.add(f"{side}Foot", outward=-stance)
    for joint in ("Neck", "Neck1"):
        pose.add(joint, forward=random.normal(3.0, 4.0) + _wander(random, time, 2.0), turned=_wander(random, time, 8.0))


def _carry_arms(pose: _Pose, manner: _Manner, free: set[str]) -> None:
    """What the arms do besides: hang, hold something, or one is held up as if on the telephone or about to wave."""
    random, time = manner.random, manner.time
    raised = random.choice(_SIDES) if random.random() < 0.35 else None
    held = random.random() < 0.35
    for side in _SIDES:
        restless = _wander(random, time, 4.0)
        if side not in free:
            continue
        if side == raised:
            _raise_arm(
                pose, side, random.uniform(70, 115) + restless, random.uniform(60, 110) + _wander(random, time, 6.0), 1.0
            )
        elif held:
            pose.add(f"{side}Arm", forward=random.uniform(5, 45) + restless, outward=random.uniform(5, 20))
            pose.add(f"{side}ForeArm", forward=random.uniform(70, 120) + restless)
        else:
            pose.add(f"{side}Arm", forward=restless, outward=random.uniform(4, 14))
            pose.add(f"{side}ForeArm", forward=random.uniform(8, 35) + restless)


def _raise_arm(pose: _Pose, side: str, height: Curve, elbow: Curve, up: Curve | float) -> None:
    """Lift an arm sideways, the forearm upright; ``up`` from 0 (hanging) to 1."""
    pose.add(f"{side}Arm", outward=8 + (height - 8) * up, turned=80.0 * up, forward=15.0 * up)
    pose.add(f"{side}ForeArm", forward=15 + (elbow - 15) * up)


def _swing_arms(pose: _Pose, manner: _Manner, phase: Curve, swing: float, elbow: float) -> set[str]:
    """Swing the arms against the legs; in one of four performances only one does, the other carries something."""
    occupied = {manner.other} if manner.random.random() < 0.25 else set()
    for side, shift in zip(_SIDES, (math.pi, 0.0), strict=True):
        if side not in occupied:
            forward = swing * manner.extent * np.cos(phase + shift)
            pose.add(f"{side}Arm", forward=forward, outward=manner.random.uniform(4, 14))
            pose.add(f"{side}ForeArm", forward=elbow * (0.3 + 0.7 * manner.active) + 0.35 * forward)
    return occupied


def _walk(pose: _Pose, manner: _Manner) -> set[str]:
    phase = manner.phase(0.7, 1.05)
    thigh, knee = manner.vary(25.0), manner.vary(55.0)
    for side, shift in zip(_SIDES, (0.0, math.pi), strict=True):
        own = phase + shift
        pose.leg(
            side,
            manner.extent * (4 + thigh * np.cos(own)),
            manner.extent * (knee * _bump(own, 1.42 * math.pi, 2.5) + 8 * _bump(own, 0.35 * math.pi, 3.0)),
            manner.extent * (12 * _bump(own, 1.95 * math.pi, 4.0) - 22 * _bump(own, 1.08 * math.pi, 5.0)),
        )
    pose.bend(forward=3.0 * manner.active, turned=-manner.vary(9.0) * manner.extent * np.cos(phase))
    pose.add("Hips", turned=4.0 * manner.extent * np.cos(phase))
    return _swing_arms(pose, manner, phase, manner.vary(22.0, 0.4), manner.random.uniform(15, 60))


def _run(pose: _Pose, manner: _Manner) -> set[str]:
    phase = manner.phase(1.15, 1.5)
    thigh, knee = manner.vary(36.0), manner.vary(85.0)
    for side, shift in zip(_SIDES, (0.0, math.pi), strict=True):
        own = phase + shift
        pose.leg(
            side,
            manner.extent * (14 + thigh * np.cos(own)),
            manner.extent * (14 + knee * _bump(own, 1.4 * math.pi, 2.0)),
            manner.extent * (-30 * _bump(own, 1.1 * math.pi, 4.0)),
        )
    pose.flight = manner.vary(0.07) * manner.extent * np.maximum(np.sin(2 * phase + 0.3), 0.0)
    pose.bend(forward=9.0 * manner.active, turned=-manner.vary(12.0) * manner.extent * np.cos(phase))
    return _swing_arms(pose, manner, phase, manner.vary(32.0, 0.3), manner.random.uniform(40, 95))


def _march(pose: _Pose, manner: _Manner) -> set[str]:
    phase = manner.phase(0.65, 1.0)
    height = manner.vary(62.0, 0.25)
    for side, shift in zip(_SIDES, (0.0, math.pi), strict=True):
        lift = manner.extent * _bump(phase + shift, 0.0, 2.2)
        pose.leg(side, height * lift, 1.25 * height * lift, -18 * lift)
    pose.bend(turned=-5.0 * manner.extent * np.cos(phase))
    return _swing_arms(pose, manner, phase, manner.vary(25.0, 0.4), manner.random.uniform(15, 80))


def _jump(pose: _Pose, manner: _Manner) -> set[str]:
    # Gather, take off at 0.42 of the cycle, fly until 0.68, give way on landing, rise.
    cycle = (manner.phase(0.5, 0.75) / (2 * math.pi)) % 1.0
    angle = 2 * math.pi * cycle
    depth = manner.extent * (manner.vary(0.55) * _bump(angle, 0.56 * math.pi, 6.0) + 0.4 * _bump(angle, 1.46 * math.pi, 10.0))
    pose.crouch(depth)
    air = np.clip((cycle - 0.42) / 0.26, 0.0, 1.0)
    pose.flight = manner.vary(0.28, 0.3) * manner.extent * 4 * air * (1 - air)
    point = manner.extent * np.sin(math.pi * air)
    for side in _SIDES:
        pose.add(f"{side}Foot", forward=-35 * point)
    pose.bend(forward=45 * depth - 6 * point)
    throw = manner.vary(75.0, 0.4) * _bump(angle, 1.0 * math.pi, 2.0) - manner.vary(40.0) * _bump(angle, 0.5 * math.pi, 3.0)
    for side in _SIDES:
        pose.add(f"{side}Arm", forward=manner.extent * throw, outward=10.0)
        pose.add(f"{side}ForeArm", forward=20 + 15 * manner.extent * _bump(angle, 1.2 * math.pi, 1.5))
    return set()


def _squat(pose: _Pose, manner: _Manner) -> set[str]:
    phase = manner.phase(0.3, 0.6)
    depth = manner.extent * manner.vary(0.75, 0.3) * ((1 - np.cos(phase)) / 2) ** 1.3
    pose.crouch(depth)
    pose.bend(forward=manner.vary(38.0, 0.3) * depth)
    if manner.random.random() < 0.4:
        return set(_SIDES)
    reach = manner.vary(80.0, 0.5) * depth
    for side in _SIDES:
        pose.add(f"{side}Arm", forward=reach, outward=10.0)
        pose.add(f"{side}ForeArm", forward=manner.random.uniform(8, 30))
    return set()


def _wave(pose: _Pose, manner: _Manner) -> set[str]:
    phase = manner.phase(0.9, 1.8)
    beat = manner.extent * np.sin(phase)
    height = manner.random.uniform(70, 115) + manner.vary(6.0, 0.5) * beat
    # The arm stays half up between two bouts.
    up = np.maximum(manner.active, manner.random.uniform(0.3, 0.9))
    _raise_arm(pose, manner.side, height, manner.random.uniform(60, 100) + manner.vary(26.0, 0.3) * beat, up)
    pose.bend(outward=(2.0 if manner.side == "Left" else -2.0) * beat)
    return {manner.other}


def _box(pose: _Pose, manner: _Manner) -> set[str]:
    phase = manner.phase(0.7, 1.2)
    pose.crouch(0.06 * manner.extent * (1 + np.cos(2 * phase)))
    guard, height = manner.random.uniform(95, 125), manner.vary(80.0, 0.2)
    sign = {"Left": 1.0, "Right": -1.0}
    for side, shift in ((manner.side, 0.0), (manner.other, math.pi)):
        jab = manner.extent * _bump(phase + shift, 0.0, 5.0)
        pose.add(f"{side}Arm", forward=22 + (height - 22) * jab, outward=12 * (1 - jab))
        pose.add(f"{side}ForeArm", forward=guard * (1 - 0.9 * jab))
        # The shoulder follows the fist.
        pose.bend(turned=-sign[side] * 22 * jab)
    return set()


def _kick(pose: _Pose, manner: _Manner) -> set[str]:
    phase = manner.phase(0.55, 0.85)
    angle = phase % (4 * math.pi)
    # Half of the people kick with both legs in turn.
    both = manner.random.random() < 0.5
    height = manner.vary(70.0, 0.25)
    for side, turn in ((manner.side, angle < 2 * math.pi), (manner.other, angle >= 2 * math.pi)):
        mine = manner.extent * (turn if both else float(side == manner.side))
        thigh = height * _bump(angle, math.pi, 3.0) - 16 * _bump(angle, 0.4 * math.pi, 6.0)
        knee = 80 * _bump(angle, 0.68 * math.pi, 4.0) + 35 * _bump(angle, 1.5 * math.pi, 5.0)
        # Cycles begin and end on the ground, where the turn passes from leg to leg.
        ground = np.sin(angle / 2) ** 2
        pose.leg(side, mine * ground * thigh, mine * ground * knee, -25 * mine * ground * _bump(angle, math.pi, 5.0))
    pose.bend(forward=-10 * manner.extent * _bump(angle, math.pi, 3.0))
    return set(_SIDES)


_MOVEMENTS: dict[str, Callable[[_Pose, _Manner], set[str]]] = {
    "walking": _walk,
    "running": _run,
    "marching": _march,
    "jumping": _jump,
    "squatting": _squat,
    "waving": _wave,
    "boxing": _box,
    "kicking": _kick,
}
"""Each adds its movement to a pose and says which arms it leaves free."""


def _bump(angle: Curve, centre: float, sharpness: float) -> Curve:
    """One smooth rise from 0 to 1 a cycle."""
    return np.exp(sharpness * (np.cos(angle - centre) - 1))


def _wander(random: Generator, time: Curve, size: float) -> Curve:
    """A smooth random curve around zero with this standard deviation, slower than half a hertz."""
    tempo = random.uniform(0.05, 0.5, size=4)
    weight = random.normal(0.0, size / math.sqrt(2), size=4)
    shift = random.uniform(0, 2 * math.pi, size=4)
    return (weight * np.sin(2 * math.pi * tempo * time[:, None] + shift)).sum(axis=1)


def _bouts(random: Generator, time: Curve) -> Curve:
    """When somebody moves: from standing into it at the start, sometimes a short pause later."""
    active = _rise(time, random.uniform(-0.6, 0.5), random.uniform(0.3, 0.6))
    if random.random() < 0.6:
        pause = random.uniform(1.5, time[-1] - 0.5)
        stop, go = random.uniform(0.25, 0.5, size=2)
        active *= 1 - _rise(time, pause, stop) * (1 - _rise(time, pause + stop + random.uniform(0.1, 0.5), go))
    return active


def _rise(time: Curve, start: float, duration: float) -> Curve:
    x = np.clip((time - start) / duration, 0.0, 1.0)
    return x * x * (3 - 2 * x)


def _place(pose: _Pose, person: Layout, heading: Curve) -> Float[np.ndarray, "time joint 3"]:
    """Joints around the root at the origin: forward kinematics of the pose, turned to the heading."""
    pose.add("Hips", turned=heading)
    return forward_kinematics(_rows(pose, person), person).numpy()


def _rows(pose: _Pose, person: Layout) -> Float[Tensor, "time stored 3"]:
    """The exponential maps of a pose, the root at the origin."""
    rest = _rest(person)
    above = rest[list(person.parents)]
    above[person.parents.index(-1)] = np.eye(3)
    moving = [person.joints.index(name) for name in pose.angles]
    turns = np.stack([_rotation(angles, name) for name, angles in pose.angles.items()], axis=1)
    rows = torch.zeros(len(pose.time), 1 + len(person.joints), 3, dtype=torch.float64)
    rows[:, 1:] = _triples(above.swapaxes(-1, -2) @ rest)
    rows[:, [1 + joint for joint in moving]] = _triples(above[moving].swapaxes(-1, -2) @ turns @ rest[moving])
    return rows


def _triples(rotations: Float[np.ndarray, "*lead 3 3"]) -> Float[Tensor, "*lead 3"]:
    """The layout's triples are minus the rotation vector: that of the transpose."""
    return roma.rotmat_to_rotvec(torch.from_numpy(rotations).transpose(-1, -2))


def _rest(person: Layout) -> Float[np.ndarray, "joint 3 3"]:
    """Turn of each joint from the skeleton's T with spread legs to standing with straight legs and hanging arms."""
    assert person.offsets is not None
    rest = np.zeros((len(person.joints), 3, 3))
    for joint, parent in enumerate(person.parents):
        name = person.joints[joint]
        if name in ("LeftUpLeg", "RightUpLeg", "LeftArm", "RightArm"):
            x, y, _ = person.offsets[joint + 1]
            rest[joint] = _about(2, np.array(-math.pi / 2 - math.atan2(y, x)))
        else:
            rest[joint] = rest[parent] if parent >= 0 and not name.endswith("Foot") else np.eye(3)
    return rest


def _rotation(angles: Float[np.ndarray, "time 3"], name: str) -> Float[np.ndarray, "time 3 3"]:
    """Rotation of column vectors: turned first, then outward, then forward. The body faces +z, its left is +x, +y is up."""
    forward, outward, turned = np.radians(angles).T
    knee_or_spine = name in ("LeftLeg", "RightLeg", "LowerBack", "Spine", "Spine1", "Neck", "Neck1")
    if name.startswith("Right"):
        outward, turned = -outward, -turned
    elif not name.startswith("Left"):
        outward = -outward
    return _about(0, forward if knee_or_spine else -forward) @ _about(2, outward) @ _about(1, turned)


def _about(axis: int, angle: np.ndarray) -> np.ndarray:
    one, two = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.zeros((*angle.shape, 3, 3))
    matrix[..., axis, axis] = 1.0
    matrix[..., one, one] = matrix[..., two, two] = np.cos(angle)
    matrix[..., two, one] = np.sin(angle)
    matrix[..., one, two] = -np.sin(angle)
    return matrix


def _travel(
    body: Float[np.ndarray, "time joint 3"], person: Layout, flight: Curve | float, random: Generator
) -> Float[np.ndarray, "time joint 3"]:
    """Put the body on the ground: the lower foot touches it (but for ``flight``) and does not slide."""
    feet = np.stack(
        [body[:, [person.joints.index(f"{side}{joint}") for joint in ("Foot", "ToeBase", "ToeBaseEnd")]] for side in _SIDES],
        axis=1,
    )
    root = np.zeros((len(body), 3))
    root[:, 1] = flight - feet[..., 1].min(axis=(1, 2))
    low = feet[..., 1].min(axis=2)
    weight = np.exp((low.min(axis=1, keepdims=True) - low) / 0.015)
    weight /= weight.sum(axis=1, keepdims=True)
    ground = feet[:, :, 1, [0, 2]]
    step = -(0.5 * (weight[1:] + weight[:-1])[..., None] * np.diff(ground, axis=0)).sum(axis=1)
    root[1:, [0, 2]] = np.cumsum(_smooth(step), axis=0)
    root[:, [0, 2]] += random.uniform(-1.5, 1.5, size=2)
    return body + root[:, None]


def _smooth(curves: Float[np.ndarray, "time axis"]) -> Float[np.ndarray, "time axis"]:
    """Average over about a fifth of a second: a body's mass does not follow every jolt of a foot."""
    kernel = np.array([1.0, 2.0, 3.0, 2.0, 1.0]) / 9
    padded = np.pad(curves, ((2, 2), (0, 0)), mode="edge")
    return np.stack([padded[lag : lag + len(curves)] for lag in range(len(kernel))], axis=-1) @ kernel


def _sense(body: Float[np.ndarray, "time joint 3"], random: Generator) -> Float[np.ndarray, "time joint 3"]:
    """What a sensor makes of it: jitter of some millimetres, and an error of each joint that drifts."""
    jitter = random.normal(0.0, random.uniform(0.002, 0.006), size=body.shape)
    memory = (0.97 ** np.arange(len(body)))[:, None, None]
    drift = memory * np.cumsum(random.normal(0.0, 0.0015, size=body.shape) / memory, axis=0)
    # Two machines' sines may differ in the last digit; to a tenth of a millimetre they agree.
    return np.round(body + jitter + drift, 4)
