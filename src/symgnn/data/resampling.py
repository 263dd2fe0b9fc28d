"""Motion at an even frame rate, from frames that came when they came."""

import math
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int
from torch import Tensor

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
    return at_rows(frames, clip_rows(torch.tensor([len(frames)]), "whole", count, 0)[0].numpy())


def at_rows(
    frames: Float32[np.ndarray, "time joint channel"], rows: Float64[np.ndarray, " row"]
) -> Float32[np.ndarray, "row joint channel"]:
    """Poses at fractional rows: linear between the two around; missing where the row is NaN."""
    outside = np.isnan(rows)
    places = np.where(outside, 0.0, rows)
    before = np.floor(places).astype(int)
    after = np.minimum(before + 1, len(frames) - 1)
    share = (places - before).astype(np.float32)[:, None, None]
    poses = np.where(share == 0, frames[before], frames[before] + share * (frames[after] - frames[before]))
    poses[outside] = np.nan
    return poses


def clip_rows(
    lengths: Int[Tensor, " clip"],
    sampling: Literal["whole", "repeat"],
    observed: int,
    future: int,
    *,
    step: int = 1,
    ratio: float | None = None,
) -> Float64[Tensor, "clip time"]:
    """Which frames of whole clips a window shows, whatever their length.

    - "whole": the clip evenly from its first to its last frame.
    - "repeat" (reading 4): every ``step``-th frame, from the first one on, the clip once more where it ends.

    With a ratio (reading 21, Fig. 9) the observed frames show that part of the clip's beginning alone, and the future is what
    really follows, at the same pace. "repeat" then repeats what is shown so that it ends with the last frame shown.

    Args:
        lengths: frames of each clip, one at least.
        sampling: one of the two.
        observed, future: frames of a window.
        step: keep every n-th frame ("repeat").
        ratio: part of the clip that is observed, above 0 and up to 1.

    Returns:
        Rows counted from each clip's first; between two frames where not whole; NaN after the clip's end.
    """
    count = lengths[:, None].double()
    seen = torch.arange(observed, dtype=torch.float64, device=lengths.device)
    ahead = torch.arange(1, future + 1, dtype=torch.float64, device=lengths.device)
    every = torch.cat((seen, ahead + (observed - 1)))
    if sampling == "repeat":
        count = torch.ceil(count / step)
        if ratio is None:
            return torch.remainder(every, count) * step
        shown = (ratio * count).round().clamp(min=1)
        after = shown - 1 + ahead
        after = torch.where(after < count, after, math.nan)
        return torch.cat((torch.remainder(shown - observed + seen, shown), after), dim=1) * step
    last = count - 1
    if ratio is None:
        rows = every * (last / max(observed + future - 1, 1))
    else:
        shown = (ratio * count).round().clamp(min=1) - 1
        # Of one frame that is shown there is no pace: the next ones are then as they come.
        pace = torch.where(shown > 0, shown / max(observed - 1, 1), 1.0)
        rows = torch.cat((seen * (shown / max(observed - 1, 1)), shown + ahead * pace), dim=1)
        rows = torch.where(rows < last + 1e-9, rows, math.nan)
    # A row that is a frame's own up to rounding is that frame, whatever is beside it.
    return torch.where((rows - rows.round()).abs() < 1e-9, rows.round(), rows)
