"""Files exactly as NTU RGB+D has them: made-up people in the published text format, seven digits a number."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FIRST_ID = 72057594037931101
"""Ids as Kinect gives them: neighbours are the same number as float64."""

STANDING = np.array(
    [
        *([0.00, 0.00, 0.00], [0.00, 0.30, 0.02], [0.00, 0.58, 0.03], [0.00, 0.70, 0.00]),  # spine, neck, head
        *([-0.17, 0.47, 0.02], [-0.25, 0.22, 0.04], [-0.27, 0.00, 0.00], [-0.27, -0.07, -0.02]),  # left arm
        *([0.17, 0.47, 0.02], [0.25, 0.22, 0.04], [0.27, 0.00, 0.00], [0.27, -0.07, -0.02]),  # right arm
        *([-0.08, -0.02, 0.00], [-0.10, -0.42, 0.01], [-0.11, -0.80, 0.05], [-0.12, -0.86, -0.07]),  # left leg
        *([0.08, -0.02, 0.00], [0.10, -0.42, 0.01], [0.11, -0.80, 0.05], [0.12, -0.86, -0.07]),  # right leg
        *([0.00, 0.51, 0.03], [-0.27, -0.14, -0.03], [-0.24, -0.06, -0.04], [0.27, -0.14, -0.03], [0.24, -0.06, -0.04]),
    ]
)
"""Somebody upright, in metres from SpineBase: taller than wide. (x is the camera's, whose image is a mirror's.)"""
FURNITURE = STANDING[:, [1, 0, 2]]
"""Wider than tall."""


@dataclass(frozen=True)
class Body:
    """One body id in a file."""

    poses: np.ndarray
    """(frames it is seen in, 25, 3), metres from the camera."""
    first: int = 0
    """The frame it appears in; it is there in all frames from that on, but for those left out."""
    number: int = FIRST_ID
    absent: tuple[int, ...] = ()
    """Frames of the file in which it is not found though it is there before and after (no pose is in ``poses`` for them)."""

    @property
    def frames(self) -> list[int]:
        found, frame = [], self.first
        while len(found) < len(self.poses):
            if frame not in self.absent:
                found.append(frame)
            frame += 1
        return found


def moving(
    frames: int,
    seed: int,
    amount: float = 0.1,
    shape: np.ndarray = STANDING,
    place: tuple[float, float, float] = (0.1, -0.2, 3.2),
    action: int = 0,
) -> np.ndarray:
    """Somebody who swings arms and legs on the spot, by ``amount`` metres, in a way that tells the action."""
    random = np.random.default_rng(seed)
    direction = np.random.default_rng(1000 + action).normal(size=(25, 3))
    direction[[0, 1, 20]] = 0
    phase = 2 * np.pi * ((1 + action % 5) * np.arange(frames) / 30 + random.uniform())
    noise = random.normal(scale=0.002, size=(frames, 25, 3))
    return np.array(place) + shape + amount * np.sin(phase)[:, None, None] * direction + noise


def skeleton_text(bodies: Sequence[Body], frames: int, seed: int = 0, end: str = "\n") -> str:
    """The text of a file; bodies come in the order given in every frame."""
    random = np.random.default_rng(seed)
    there = [dict(zip(body.frames, body.poses, strict=True)) for body in bodies]
    lines = [str(frames)]
    for frame in range(frames):
        seen = [(body, poses[frame]) for body, poses in zip(bodies, there, strict=True) if frame in poses]
        lines.append(str(len(seen)))
        for body, pose in seen:
            lean = " ".join(f"{value:.7g}" for value in random.uniform(-0.5, 0.5, 2))
            lines += [f"{body.number} {random.integers(4)} 0 {random.integers(2)} 1 0 0 {lean} 2", "25"]
            depth = 256 + 366 * pose[:, 0] / pose[:, 2], 212 - 366 * pose[:, 1] / pose[:, 2]
            colour = 960 + 1060 * pose[:, 0] / pose[:, 2], 540 - 1060 * pose[:, 1] / pose[:, 2]
            turns = random.normal(size=(25, 4))
            turns /= np.linalg.norm(turns, axis=1, keepdims=True)
            turns[[3, 15, 19, 21, 22, 23, 24]] = 0  # ends of limbs have no orientation
            for values in np.column_stack([pose, *depth, *colour, turns]):
                lines.append(" ".join(f"{value:.7g}" for value in values) + f" {random.integers(1, 3)}")
    return end.join(lines) + end


def write_clip(folder: Path, name: str, bodies: Sequence[Body], frames: int, seed: int = 0) -> Path:
    """``name`` is without ``.skeleton``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.skeleton"
    path.write_bytes(skeleton_text(bodies, frames, seed).encode())
    return path


def write_folder(folder: Path, names: Sequence[str], frames: tuple[int, int] = (40, 60)) -> list[Path]:
    """A data set: one person a clip, two from A050 to A060 and from A106 on; how they move depends on the action.

    Args:
        folder: where to, made where it is not there.
        names: of clips, ``SsssCcccPpppRrrrAaaa``; the same names give the same files.
        frames: shortest and longest clip.
    """
    paths = []
    for name in names:
        seed, action = int(name.translate(str.maketrans("", "", "SCPRA"))), int(name[-3:])
        count = int(np.random.default_rng(seed).integers(frames[0], frames[1] + 1))
        bodies = [Body(moving(count, seed, 0.15, action=action))]
        if 50 <= action <= 60 or action >= 106:
            other = moving(count, seed + 1, 0.1, place=(-0.8, -0.2, 3.3), action=action)
            bodies.append(Body(other, number=FIRST_ID + 1))
        paths.append(write_clip(folder, name, bodies, count, seed))
    return paths
