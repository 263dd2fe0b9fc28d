"""The part scale: its graph convolution (PGC) and the ways between the scales. Sections 4.2.1 and 5.1.2."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from symgnn.nn.folded import FoldedGraphConvolution


class PartGraphConvolution(nn.Module):
    """Part-scale graph convolution (PGC), eq. (7): Y = (D_p⁻¹A_p ⊙ M_p) X Wᵀ, frame by frame, with a bias.

    Args:
        inputs, outputs: features a part.
        adjacency: D_p⁻¹A_p, the normalised part graph with self-loops.
    """

    adjacency: Tensor

    def __init__(self, inputs: int, outputs: int, adjacency: Float[Tensor, "part part"]):
        super().__init__()
        self.register_buffer("adjacency", adjacency.clone(), persistent=False)
        self.edges = nn.Parameter(torch.ones_like(adjacency))
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def forward(
        self, x: Float[Tensor, "batch time part inputs"], actional: Float[Tensor, "batch joint joint"] | None = None
    ) -> Float[Tensor, "batch time part outputs"]:
        """``actional`` is not used: parts need no actional graph (sec. 4.2.1); blocks of both scales are called alike."""
        return nn.functional.linear((self.adjacency * self.edges) @ x, self.weight, self.bias)

    def folded(self, factor: Float[Tensor, " outputs"], shift: Float[Tensor, " outputs"]) -> FoldedGraphConvolution:
        """For inference: this convolution, then y·factor + shift."""
        rows = (self.adjacency * self.edges)[:, None]
        return FoldedGraphConvolution(rows, False, self.weight * factor[:, None], self.bias * factor + shift)


class Scales(nn.Module):
    """The ways between the joint scale and the part scale (sec. 5.1.2).

    Args:
        membership: 1 where a joint is in a part; each joint is in one.
    """

    pooling: Tensor
    part: Tensor
    copies: Tensor

    def __init__(self, membership: Float[Tensor, "part joint"]):
        super().__init__()
        self.register_buffer("pooling", membership / membership.sum(dim=1, keepdim=True), persistent=False)
        self.register_buffer("part", membership.argmax(dim=0), persistent=False)
        self.register_buffer("copies", membership.t().contiguous(), persistent=False)

    def joint2part(self, x: Float[Tensor, "*axes joint feature"]) -> Float[Tensor, "*axes part feature"]:
        """Joint2part pooling: the average of the features of a part's joints."""
        return self.pooling @ x

    def part2joint(self, x: Float[Tensor, "*axes part feature"]) -> Float[Tensor, "*axes joint feature"]:
        """Part2joint matching: each joint gets a copy of its part's features."""
        if torch.is_grad_enabled() and x.requires_grad:
            return self.copies @ x  # twice as fast as index_select, whose backward adds row by row
        return x.index_select(-2, self.part)
