"""From one body to another: which joints two layouts share, which can be put between others, and which are lost."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from symgnn.errors import InputError
from symgnn.skeleton.layout import Layout

BETWEEN = {
    "neck": ("left shoulder", "right shoulder"),
    "pelvis": ("left hip", "right hip"),
    "head": ("left ear", "right ear"),
    "spine": ("neck", "pelvis"),
    "left hand": ("left wrist", "left fingertip"),
    "right hand": ("right wrist", "right fingertip"),
}
"""Landmarks that lie halfway between two others, nearly enough, where a layout has no joint of their own for them."""


@dataclass(frozen=True)
class LayoutMapping:
    """How each joint of a layout is had from the joints of another."""

    source: Layout
    target: Layout
    joints: tuple[tuple[int, ...], ...]
    """For each joint of the target the joints of the source it is the mean of; empty where there is none."""

    @property
    def missing(self) -> tuple[str, ...]:
        """Joints of the target that the source does not have."""
        return tuple(name for name, found in zip(self.target.joints, self.joints, strict=True) if not found)

    @property
    def between(self) -> tuple[str, ...]:
        """Joints of the target that are put between others of the source."""
        return tuple(name for name, found in zip(self.target.joints, self.joints, strict=True) if len(found) > 1)

    @property
    def lost(self) -> tuple[str, ...]:
        """Joints of the source that nothing is made of."""
        used = {joint for found in self.joints for joint in found}
        return tuple(name for joint, name in enumerate(self.source.joints) if joint not in used)

    def __call__(
        self, frames: Float32[np.ndarray, "time source channel"], *, image: bool = False
    ) -> Float32[np.ndarray, "time target channel"]:
        """Frames of the target's joints; NaN where a joint is missing or one of those it is put between is.

        Args:
            frames: positions.
            image: whether the third channel is a confidence, of which the lower counts.
        """
        found = np.full((len(frames), len(self.joints), frames.shape[2]), np.nan, np.float32)
        for joint, of in enumerate(self.joints):
            if of:
                found[:, joint] = frames[:, list(of)].mean(axis=1)
                if image:
                    found[:, joint, 2] = frames[:, list(of), 2].min(axis=1)
        return found


def layout_mapping(source: Layout, target: Layout) -> LayoutMapping:
    """Match two layouts by their landmarks, and joints without one by their names.

    Raises:
        InputError: they share fewer than three joints.
    """
    named = {name: joint for joint, name in enumerate(source.joints)}
    mark_of = {joint: mark for mark, joint in target.landmarks.items()}

    def from_landmark(mark: str) -> tuple[int, ...]:
        if mark in source.landmarks:
            return (source.landmarks[mark],)
        parts = [from_landmark(part) for part in BETWEEN.get(mark, ())]
        return tuple(joint for part in parts for joint in part) if parts and all(parts) else ()

    joints = tuple(
        from_landmark(mark_of[joint]) if joint in mark_of else ((named[name],) if name in named else ())
        for joint, name in enumerate(target.joints)
    )
    if sum(map(bool, joints)) < 3:
        raise InputError(
            f"layouts {source.name} and {target.name} share {sum(map(bool, joints))} joints, expected three or more: name "
            "their landmarks in the layout's file (symgnn data layouts NAME shows how)"
        )
    return LayoutMapping(source, target, joints)
