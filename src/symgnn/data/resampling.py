"""Motion at an even frame rate, from frames that came when they came."""

import numpy as np
from jaxtyping import Float32, Float64, Int

LONGEST_GAP = 0.25
"""Seconds: over a shorter gap poses are interpolated (a few dropped frames), in a longer one nobody knows (missing)."""


def resample(
    frames: Float32[np.ndarray, "time joint channel"], times: Float64[np.ndarray, " time"], fps: float
) -> tuple[Float32[np.ndarray, "even joint channel"], Int[np.ndarray, " even"]]:
    """Linear interpolation of each joint at ``times[0], times[0] + 1 / fps, ...`` up to the last time.

    A joint is missing (NaN) where one of the two frames around lacks it, unless the other one is at that very time, and
    where the two are more than ``LONGEST_GAP`` apart.

    Args:
        frames: poses, NaN where a joint is missing.
        times: second of each, strictly increasing.
        fps: frames a second.

    Returns:
        The poses and, for each, the index of the frame nearest in time (for its label).
    """
    even = times[0] + np.arange(int((times[-1] - times[0]) * fps + 1 + 1e-6)) / fps
    after = np.clip(np.searchsorted(times, even), 1 if len(times) > 1 else 0, len(times) - 1)
    before = np.maximum(after - 1, 0)
    gap = times[after] - times[before]
    share = np.clip((even - times[before]) / np.where(gap > 0, gap, 1.0), 0.0, 1.0)
    # A time that is a frame's own up to rounding takes that frame, whatever is beside it.
    share = np.where(share < 1e-4, 0.0, np.where(share > 1 - 1e-4, 1.0, share))
    weight = share.astype(np.float32)[:, None, None]
    poses = frames[before] + weight * (frames[after] - frames[before])
    poses = np.where(weight == 0, frames[before], np.where(weight == 1, frames[after], poses))
    between = (gap > LONGEST_GAP) & (share > 0) & (share < 1)
    poses[between] = np.nan
    return poses, np.where(share < 0.5, before, after)


def evenly(frames: Float32[np.ndarray, "time joint channel"], count: int) -> Float32[np.ndarray, "count joint channel"]:
    """A clip of any length in ``count`` frames: linear between the two around, the first and last one kept."""
    places = np.linspace(0, len(frames) - 1, count)
    before = np.floor(places).astype(int)
    after = np.minimum(before + 1, len(frames) - 1)
    share = (places - before).astype(np.float32)[:, None, None]
    return np.where(share == 0, frames[before], frames[before] + share * (frames[after] - frames[before]))
