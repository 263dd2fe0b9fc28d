"""The difference operator, eq. (9)."""

import torch
from jaxtyping import Float
from torch import Tensor


def difference(motion: Float[Tensor, "batch time joint channel"], order: int) -> Float[Tensor, "batch time joint channel"]:
    """Difference operator, eq. (9): Δ⁰X = X and (Δᵝ⁺¹X)(t) = (ΔᵝX)(t) - (ΔᵝX)(t-1).

    The frame before the first is missing and "zero padding" is read as a zero *difference* there (reading 2): a body at rest
    has no velocity anywhere, also in the first frame.

    Args:
        motion: poses, the current frame last.
        order: β; 0 gives positions, 1 velocities, 2 accelerations, in units of the input per frame, per frame squared.
    """
    if order < 0:
        raise ValueError(f"order of a difference must be 0 or more, not {order}")
    for _ in range(order):
        motion = torch.diff(motion, dim=1, prepend=motion[:, :1])
    return motion
