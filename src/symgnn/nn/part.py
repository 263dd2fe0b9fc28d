"""The part scale: its graph convolution (PGC) and the ways between the scales. Sections 4.2.1 and 5.1.2."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


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

    def absorb(self, factor: Float[Tensor, " outputs"], shift: Float[Tensor, " outputs"]) -> None:
        """Fold y·factor + shift into the parameters; for inference only."""
        self.weight.data.mul_(factor[:, None])
        self.bias.data.mul_(factor).add_(shift)


def joint2part(
    x: Float[Tensor, "*axes joint feature"], membership: Float[Tensor, "part joint"]
) -> Float[Tensor, "*axes part feature"]:
    """Joint2part pooling (sec. 5.1.2): the average of the features of a part's joints."""
    return (membership / membership.sum(dim=1, keepdim=True)) @ x


def part2joint(
    x: Float[Tensor, "*axes part feature"], membership: Float[Tensor, "part joint"]
) -> Float[Tensor, "*axes joint feature"]:
    """Part2joint matching (sec. 5.1.2): each joint gets a copy of its part's features."""
    return x.index_select(-2, membership.argmax(dim=0))
