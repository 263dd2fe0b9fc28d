"""Joint-scale graph convolution (JGC). Section 4.1.3."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

_NARROW = 16
"""Below so many features a product a frame is slower than a product a clip (5x at 8 features, even at 32, on busy cores)."""


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

    def absorb(self, factor: Float[Tensor, " outputs"], shift: Float[Tensor, " outputs"]) -> None:
        """Fold y·factor + shift into the parameters; for inference only."""
        self.weight.data.mul_(factor[:, None])
        self.bias.data.mul_(factor).add_(shift)

    def graphs(self, actional: Float[Tensor, "batch joint joint"] | None) -> Float[Tensor, "clips rows joint"]:
        """Rows of all graphs, joint by joint: row (i, g) holds the weights with which graph g gathers for joint i.

        The first axis is the batch, or 1 where no graph depends on the clip.
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
        return torch.cat(parts, dim=2).flatten(1, 2)

    def mix(
        self, x: Float[Tensor, "batch time joint inputs"], graphs: Float[Tensor, "clips rows joint"]
    ) -> Float[Tensor, "batch time joint outputs"]:
        """The convolution with the rows that ``graphs`` gave; a caller that keeps the clip may keep them too."""
        weight = self.weight.transpose(0, 1).flatten(1)
        batch, time, joints, inputs = x.shape
        if batch > 1 and time > 1 and inputs >= _NARROW and x.device.type == "cpu" and not torch.is_grad_enabled():
            # Clip by clip what is gathered, Γ + 1 times as large as x, fits the cache (twice as fast in one trial of two).
            return torch.stack([nn.functional.linear(self._gather(x[i], graphs[i % len(graphs)]), weight, self.bias)
                                for i in range(batch)])  # fmt: skip
        if time > 1 and inputs < _NARROW:
            # One product a clip with time beside the features, at the price of two small transposed copies.
            flat = x.transpose(1, 2).reshape(batch, joints, time * inputs)
            gathered = (graphs @ flat).view(batch, joints, -1, time, inputs).permute(0, 3, 1, 2, 4)
            return nn.functional.linear(gathered.reshape(batch, time, joints, -1), weight, self.bias)
        return nn.functional.linear(self._gather(x, graphs[:, None]), weight, self.bias)

    @staticmethod
    def _gather(x: Float[Tensor, "*axes joint inputs"], graphs: Tensor) -> Float[Tensor, "*axes joint gathered"]:
        return (graphs @ x).view(*x.shape[:-1], -1)

    def forward(
        self, x: Float[Tensor, "batch time joint inputs"], actional: Float[Tensor, "batch joint joint"] | None = None
    ) -> Float[Tensor, "batch time joint outputs"]:
        return self.mix(x, self.graphs(actional))
