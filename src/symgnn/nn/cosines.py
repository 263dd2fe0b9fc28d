"""The discrete cosine transform over time, as a product."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def cosines(frames: int) -> Float[Tensor, "frequency time"]:
    """The orthonormal cosine transform (DCT-II) of so many frames: C x has the coefficients of x, Cᵀ goes back.

        C_kt = √((1 + [k > 0]) / T) cos(π k (t + ½) / T)

    Args:
        frames: T.
    """
    number = torch.arange(frames, dtype=torch.float64)
    waves = torch.cos(math.pi / frames * torch.outer(number, number + 0.5)) * math.sqrt(2 / frames)
    waves[0] /= math.sqrt(2)
    return waves.to(torch.get_default_dtype())
