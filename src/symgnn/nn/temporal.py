"""Temporal convolution (TC). Section 4.1.4."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


def whole_kernels(x: Float[Tensor, "batch time *rest"], kernel: int, stride: int) -> Float[Tensor, "batch covered *rest"]:
    """The end of ``x`` that kernels of an unpadded convolution cover, counted from its last frame."""
    return x[:, (x.shape[1] - kernel) % stride :]


def under_centres(
    x: Float[Tensor, "batch time *rest"], kernel: int, stride: int, *, padded: bool
) -> Float[Tensor, "batch frames *rest"]:
    """The frames under the middle of the kernels: what a temporal convolution's residual takes (reading 12)."""
    if padded:
        return x[:, ::stride]
    return x[:, (x.shape[1] - kernel) % stride + kernel // 2 : x.shape[1] - kernel // 2 : stride]


class TemporalConvolution(nn.Module):
    """Temporal convolution (TC) of eqs. (6b) and (8b): a 1D convolution along time, the same for every node.

    Zero padding keeps ceil(time / stride) frames. Without it only whole kernels count, the last one ending with the last
    frame: floor((time - kernel) / stride) + 1 frames are left (reading 42). Nodes and features are the two inner axes in
    memory, which is the layout in which a k x 1 convolution is fastest (``channels_last``); nothing is copied on the way in or
    out.

    Args:
        inputs, outputs: features a node.
        kernel: frames under the kernel (odd).
        stride: step between output frames.
        padded: whether the window is padded with zeros.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, *, padded: bool = True):
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"a temporal kernel must be odd to be centred on a frame, not {kernel}")
        self.stride = stride
        self.padded = padded
        # In memory the features are innermost, as the convolution reads them: no copy at each call.
        self.weight = nn.Parameter(torch.empty(outputs, kernel, inputs).transpose(1, 2))
        self.bias = nn.Parameter(torch.zeros(outputs))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def forward(self, x: Float[Tensor, "batch time node inputs"]) -> Float[Tensor, "batch frames node outputs"]:
        kernel = self.weight.shape[2]
        padding = (kernel // 2, 0) if self.padded else (0, 0)
        x = x if self.padded else whole_kernels(x, kernel, self.stride)
        # Strides as a fresh channels_last tensor has them: with those of ``weight[..., None]`` float64 has no backward pass.
        weight = self.weight.transpose(1, 2).unsqueeze(2).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        y = nn.functional.conv2d(x.permute(0, 3, 1, 2), weight, self.bias, (self.stride, 1), padding)
        return y.permute(0, 2, 3, 1).contiguous()
