"""Dropout whose random numbers cost little on a CPU."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Dropout(nn.Dropout):
    """Dropout: each value is zeroed with probability p, the others are divided by 1 - p; nothing in evaluation.

    On a CPU torch draws a number from the Mersenne twister for each value; that took an eighth of a training step. Here one
    64-bit draw serves four values with 16 bits each, so p is a multiple of 2⁻¹⁶ (0.1 becomes 0.100006).
    """

    def forward(self, input: Float[Tensor, "*axes feature"]) -> Float[Tensor, "*axes feature"]:
        if not self.training or self.p in (0.0, 1.0) or input.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(input)
        count = input.numel()
        draws = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
        dropped = round(self.p * 2**16)
        # As signed numbers the 2¹⁶ patterns start at -2¹⁵: the lowest ``dropped`` of them are zeroed.
        keep = (draws.view(torch.int16)[:count] >= dropped - 2**15).view(input.shape)
        return input * keep.to(input.dtype).mul_(2**16 / (2**16 - dropped))
