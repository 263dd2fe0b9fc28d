"""What every reader of a user's files gives back: the motion of one person, as the file has it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32, Float64


@dataclass(frozen=True, eq=False, kw_only=True)
class Recording:
    """One person in one recording. What a file does not say stays empty; importing fills it in or asks for it."""

    frames: Float32[np.ndarray, "time joint channel"]
    """Three channels a joint; NaN (in every channel) where a joint is missing."""
    space: Literal["xyz", "xyc"] = "xyz"
    """Positions, or image positions with the detector's confidence (1 where a file has none, NaN for a missing joint)."""
    joints: tuple[str, ...] = ()
    """Name of each joint, where the file names them."""
    parents: tuple[int, ...] = ()
    """Joint each joint hangs on, -1 at the root, where the file holds a body (BVH)."""
    unit: str = ""
    """Unit of positions, where the file says."""
    fps: float | None = None
    """Frames a second, where the file says."""
    times: Float64[np.ndarray, " time"] | None = None
    """Second of each frame, where the file says."""
    numbers: Float64[np.ndarray, " time"] | None = None
    """Number of each frame, where the file counts them: a gap is a dropped frame."""
    frame_labels: tuple[str, ...] | None = None
    """Class of each frame as written, "" for none."""
    label: str | None = None
    """Class of the whole recording as written."""
    name: str = ""
    """Tells apart the recordings of one file; empty where it holds one."""
    person: int = 0
    """Number of the person within the recording, from 0."""
    subject: str = ""
    """Who moves."""
    camera: str = ""
    """Which camera saw it."""
    setup: str = ""
    """Camera setup (NTU-120 splits by it)."""
    notes: tuple[str, ...] = ()
    """What the reader left out or assumed, in words that are the same for all files alike."""
    split: str = ""
    """"train" or "test", where the file says."""
