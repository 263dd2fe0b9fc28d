"""Missing joints in the input (reading 6)."""

import torch
from jaxtyping import Float
from torch import Tensor


def fill_missing(
    motion: Float[Tensor, "batch time joint channel"], otherwise: Float[Tensor, "joint channel"], *, hold: bool = False
) -> Float[Tensor, "batch time joint channel"]:
    """Replace NaN by what the network is fed: linear interpolation over time, at the ends the nearest frame.

    Args:
        motion: poses; NaN where a coordinate is missing.
        otherwise: value of a coordinate that is missing in the whole window (the training mean).
        hold: keep the last value known in place of interpolating, as a network has to that does not look back at a frame.
    """
    present = ~motion.isnan()
    # To ask a GPU whether nothing is missing takes longer than to fill nothing.
    if not motion.is_cuda and bool(present.all()):
        return motion
    time = torch.arange(motion.shape[1], device=motion.device)[:, None, None]
    last = len(time)
    # Index of the nearest present frame at or before, and at or after, each frame; -1 and ``last`` where there is none.
    before = torch.where(present, time, -1).cummax(dim=1).values
    after = torch.where(present, time, last).flip(1).cummin(dim=1).values.flip(1)
    known = motion.nan_to_num(0.0)
    left = known.gather(1, torch.where(before < 0, after, before).clamp(0, last - 1))
    right = known.gather(1, torch.where(after == last, before, after).clamp(0, last - 1))
    inside = (before >= 0) & (after < last) & (after > before) & (not hold)
    share = torch.where(inside, (time - before).to(motion.dtype) / (after - before).clamp(min=1), 0.0)
    return torch.where(present.any(dim=1, keepdim=True), left + (right - left) * share, otherwise)
