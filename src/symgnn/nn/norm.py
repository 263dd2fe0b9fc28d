"""Batch normalisation of the last axis."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


class FeatureNorm(nn.BatchNorm1d):
    """Batch normalisation per feature: the last axis of ``(..., feature)``, over all the others.

    In evaluation it is the affine map x·a + b; ``as_affine()`` gives (a, b), for folding into the layer before.
    """

    def forward(self, input: Float[Tensor, "*axes feature"]) -> Float[Tensor, "*axes feature"]:
        rows = input.reshape(-1, input.shape[-1])
        if self.training and rows.requires_grad and rows.shape[1] < _NARROW and rows.device.type == "cpu":
            assert self.num_batches_tracked is not None
            self.num_batches_tracked.add_(1)
            rows = _NarrowNorm.apply(rows, self.weight, self.bias, self.running_mean, self.running_var, self.momentum, self.eps)
        else:
            rows = super().forward(rows)
        return rows.view(input.shape)

    def as_affine(self) -> tuple[Float[Tensor, " feature"], Float[Tensor, " feature"]]:
        assert self.running_mean is not None and self.running_var is not None
        factor = self.weight / (self.running_var + self.eps).sqrt()
        return factor, self.bias - self.running_mean * factor


_NARROW = 16
"""Below so many features, one vector register, torch's backward pass on a CPU goes number by number."""


class _NarrowNorm(torch.autograd.Function):
    """Batch norm in training whose backward pass keeps the processor's vectors full where a row has few features.

    Several rows are taken as one, so that every step is an elementwise one on long rows: at 8 features three times as fast.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, momentum: float, eps: float
    ) -> Tensor:
        y, centre, inverse = torch.native_batch_norm(x, weight, bias, mean, variance, True, momentum, eps)
        ctx.save_for_backward(x, weight, centre, inverse)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, centre, inverse = ctx.saved_tensors
        count, features = x.shape
        together = max(1, 64 // features)
        while count % together:
            together -= 1
        # In float32 at least: under mixed precision rows come in 16 bits, and these are sums over all of them.
        gradient, rows = (each.to(centre.dtype).reshape(count // together, together * features) for each in (gradients[0], x))
        rows = rows - centre.repeat(together)
        by_bias = gradient.sum(dim=0).view(together, features).sum(dim=0)
        by_weight = (gradient * rows).sum(dim=0).view(together, features).sum(dim=0) * inverse
        factor = weight * inverse
        constant = (-factor * by_bias / count).repeat(together)
        slope = (-factor * inverse * by_weight / count).repeat(together)
        by_x = torch.addcmul(constant, rows, slope).addcmul_(gradient, factor.repeat(together))
        return by_x.view(count, features).to(x.dtype), by_weight, by_bias, None, None, None, None
