"""Batch normalisation of the last axis."""

from jaxtyping import Float
from torch import Tensor, nn


class FeatureNorm(nn.BatchNorm1d):
    """Batch normalisation per feature: the last axis of ``(..., feature)``, over all the others.

    In evaluation it is the affine map x·a + b; ``as_affine()`` gives (a, b), for folding into the layer before.
    """

    def forward(self, input: Float[Tensor, "*axes feature"]) -> Float[Tensor, "*axes feature"]:
        return super().forward(input.reshape(-1, input.shape[-1])).view(input.shape)

    def as_affine(self) -> tuple[Float[Tensor, " feature"], Float[Tensor, " feature"]]:
        assert self.running_mean is not None and self.running_var is not None
        factor = self.weight / (self.running_var + self.eps).sqrt()
        return factor, self.bias - self.running_mean * factor
