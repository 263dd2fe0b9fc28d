"""Joint-scale graph convolution (JGC). Section 4.1.3."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from symgnn.nn.folded import FoldedGraphConvolution
from symgnn.nn.mixing import mix
from symgnn.nn.precision import as_products_take


class JointGraphConvolution(nn.Module):
    """Joint-scale graph convolution (JGC), eq. (5): Y = λ_act AGC(X) + SGC(X), with a bias.

    All Γ + 1 graphs share one product over the joints and one over the features: their rows are interleaved joint by joint,
    so the first product's result already lies in memory as the second one reads it,

        Y = [Ã¹⊙M¹ X | ... | Ã^Γ⊙M^Γ X | λ_act A_act X] [W¹ | ... | W^Γ | W_act]ᵀ.

    Args:
        inputs, outputs: features a joint.
        powers: Ã¹ ... Ã^Γ, or None for "only J-A".
        actional_weight: λ_act, or None for "only J-S".
    """

    powers: Tensor | None

    def __init__(
        self, inputs: int, outputs: int, powers: Float[Tensor, "hop joint joint"] | None, actional_weight: float | None
    ):
        super().__init__()
        if powers is None and actional_weight is None:
            raise ValueError("a joint-scale graph convolution needs structural graphs, an actional one, or both")
        self.actional_weight = actional_weight
        self.register_buffer("powers", None if powers is None else powers.clone(), persistent=False)
        self.edges = None if powers is None else nn.Parameter(torch.ones_like(powers))
        graphs = (0 if powers is None else len(powers)) + (actional_weight is not None)
        # In memory the graphs are between outputs and inputs, as the product over the features reads them.
        self.weight = nn.Parameter(torch.empty(outputs, graphs, inputs).transpose(0, 1))
        self.bias = nn.Parameter(torch.zeros(outputs))
        bound = 1 / math.sqrt(inputs * graphs)
        nn.init.uniform_(self.weight, -bound, bound)

    def prepare(
        self, actional: Float[Tensor, "batch joint joint"] | None
    ) -> tuple[Float[Tensor, "clips rows joint"], Float[Tensor, "outputs gathered"]]:
        """What does not change from frame to frame: rows of all graphs, joint by joint, and the weights side by side.

        Row (i, g) holds the weights with which graph g gathers for joint i. The first axis is the batch, or 1 where no graph
        depends on the clip.
        """
        parts = []
        if self.powers is not None:
            assert self.edges is not None
            parts.append((self.powers * self.edges).transpose(0, 1)[None])
        if self.actional_weight is not None:
            if actional is None:
                raise ValueError("this graph convolution needs the actional graph of the clip")
            parts.append((self.actional_weight * actional)[:, :, None])
        if len(parts) == 2:
            parts[0] = parts[0].expand(len(parts[1]), -1, -1, -1)
        # Here once, or every frame of the decoder does it.
        rows, weight = as_products_take(torch.cat(parts, dim=2).flatten(1, 2), self.weight.transpose(0, 1).flatten(1))
        return rows, weight

    def forward(
        self, x: Float[Tensor, "batch time joint inputs"], actional: Float[Tensor, "batch joint joint"] | None = None
    ) -> Float[Tensor, "batch time joint outputs"]:
        return mix(x, *self.prepare(actional), self.bias)

    def folded(
        self, factor: Float[Tensor, " outputs"] | float = 1.0, shift: Float[Tensor, " outputs"] | float = 0.0
    ) -> FoldedGraphConvolution:
        """For inference: this convolution, then y·factor + shift."""
        weight = self.weight.detach().clone()
        if self.actional_weight is not None:
            weight[-1] *= self.actional_weight
        structural = None if self.powers is None or self.edges is None else (self.powers * self.edges).transpose(0, 1)
        weight = weight.transpose(0, 1).flatten(1)
        return FoldedGraphConvolution(
            structural, self.actional_weight is not None, (weight.t() * factor).t(), self.bias * factor + shift
        )
