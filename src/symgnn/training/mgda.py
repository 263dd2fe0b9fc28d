"""The multiple-gradient descent algorithm for two tasks, eq. (15)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, distributed


def inner_products(recognition: Sequence[Tensor], prediction: Sequence[Tensor], *, reduce: bool) -> Float[Tensor, "3"]:
    """(g_r·g_r, g_r·g_p, g_p·g_p) of two gradients given as lists of tensors of the same shapes, in float64.

    Args:
        recognition, prediction: the gradients of the two losses.
        reduce: sum over processes. Right for gradients on features, which are per sample: the global vector is the
            processes' vectors one after the other. Gradients of shared parameters are averaged *before* the products.
    """
    pairs = [(r.flatten().double(), p.flatten().double()) for r, p in zip(recognition, prediction, strict=True)]
    products = torch.stack([torch.stack((r @ r, r @ p, p @ p)) for r, p in pairs]).sum(dim=0)
    if reduce and distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(products)
    return products


def minimum_norm_weight(products: Float[Tensor, "3"]) -> Float[Tensor, ""]:
    """Weight of recognition, eq. (15): λ* = argmin over [0, 1] of ‖λ g_r + (1 - λ) g_p‖².

    In closed form (reading 18):

        λ* = clip(((g_p - g_r)·g_p) / ‖g_r - g_p‖², 0, 1),    1/2 where the denominator vanishes.

    Args:
        products: (g_r·g_r, g_r·g_p, g_p·g_p).
    """
    rr, rp, pp = products.unbind()
    denominator = rr - 2 * rp + pp
    # The subtraction cancels: below rounding of its terms the two gradients are equal and every λ gives the same.
    vanishes = denominator <= 8 * torch.finfo(products.dtype).eps * (rr + pp)
    return torch.where(vanishes, 0.5, ((pp - rp) / denominator.where(~vanishes, torch.ones_like(denominator))).clamp(0.0, 1.0))
