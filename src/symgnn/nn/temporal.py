"""Temporal convolution (TC). Section 4.1.4."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


class TemporalConvolution(nn.Module):
    """Temporal convolution (TC) of eqs. (6b) and (8b): a 1D convolution along time, the same for every node.

    Zero padding keeps ceil(time / stride) frames. Nodes and features are the two inner axes in memory, which is the layout
    in which a k x 1 convolution is fastest (``channels_last``); nothing is copied on the way in or out.

    Args:
        inputs, outputs: features a node.
        kernel: frames under the kernel (odd).
        stride: step between output frames.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1):
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"a temporal kernel must be odd to be centred on a frame, not {kernel}")
        self.stride = stride
        # In memory the features are innermost, as the convolution reads them: no copy at each call.
        self.weight = nn.Parameter(torch.empty(outputs, kernel, inputs).transpose(1, 2))
        self.bias = nn.Parameter(torch.zeros(outputs))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def forward(self, x: Float[Tensor, "batch time node inputs"]) -> Float[Tensor, "batch frames node outputs"]:
        kernel = self.weight.shape[2]
        # Strides as a fresh channels_last tensor has them: with those of ``weight[..., None]`` float64 has no backward pass.
        weight = self.weight.transpose(1, 2).unsqueeze(2).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        y = nn.functional.conv2d(x.permute(0, 3, 1, 2), weight, self.bias, stride=(self.stride, 1), padding=(kernel // 2, 0))
        return y.permute(0, 2, 3, 1).contiguous()
