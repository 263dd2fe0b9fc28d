"""Structural graph convolution (SGC). Section 4.1.2."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


class StructuralGraphConvolution(nn.Module):
    """Structural graph convolution (SGC), eq. (4): Y = Σ_γ (Ãᵞ ⊙ M^γ) X W^γᵀ, γ = 1..Γ, frame by frame.

    Args:
        inputs, outputs: features a joint.
        powers: Ã¹ ... Ã^Γ of the normalised skeleton graph. Where a power is zero its edge weight M^γ has no effect.
    """

    powers: Tensor

    def __init__(self, inputs: int, outputs: int, powers: Float[Tensor, "hop joint joint"]):
        super().__init__()
        self.register_buffer("powers", powers.clone(), persistent=False)
        self.edges = nn.Parameter(torch.ones_like(powers))
        self.weight = nn.Parameter(torch.empty(len(powers), outputs, inputs))
        bound = 1 / math.sqrt(inputs * len(powers))
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, x: Float[Tensor, "batch time joint inputs"]) -> Float[Tensor, "batch time joint outputs"]:
        mixed = (self.powers * self.edges)[:, None, None] @ x  # one product a hop: (hop batch time joint inputs)
        return torch.einsum("hbtji,hoi->btjo", mixed, self.weight)
