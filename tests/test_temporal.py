"""Temporal convolution of eqs. (6b) and (8b)."""

import numpy as np
import pytest
import torch

import oracles
from fitting import array, close, gradients_agree, noise, permutation, randomise
from symgnn.nn import TemporalConvolution
from symgnn.nn.temporal import under_centres


@pytest.mark.parametrize(("stride", "sums"), [(1, (210, 321, 432, 543, 54)), (2, (210, 432, 54)), (3, (210, 543))])
def test_five_frames_by_hand(stride, sums):
    """Frames 1..5; the kernel weighs the frame before with 1, the frame itself with 10, the one after with 100; bias -200.

    Output frame t stands on input frame stride * t; outside the window is zero; the kernel is not flipped.
    """
    convolution = TemporalConvolution(1, 1, 3, stride).double()
    with torch.no_grad():
        convolution.weight.copy_(torch.tensor([1.0, 10.0, 100.0]).reshape(1, 1, 3))
        convolution.bias.fill_(-200.0)
    x = torch.arange(1.0, 6.0, dtype=torch.float64).reshape(1, 5, 1, 1)
    close(convolution(x), np.array(sums, dtype=float).reshape(1, -1, 1, 1) - 200)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 3, 7, 9])
@pytest.mark.parametrize("frames", [1, 2, 7, 8, 13])
def test_agrees_with_the_oracle(frames, kernel, stride):
    convolution = randomise(TemporalConvolution(3, 4, kernel, stride))
    x = noise(2, frames, 3, 3)
    close(convolution(x), oracles.temporal(array(x), array(convolution.weight), array(convolution.bias), stride))


@pytest.mark.parametrize("stride", [1, 2])
def test_agrees_with_the_oracle_at_a_real_width(stride):
    """Another layout or algorithm may be chosen there."""
    convolution = randomise(TemporalConvolution(64, 32, 9, stride))
    x = noise(1, 5, 2, 64)
    close(convolution(x), oracles.temporal(array(x), array(convolution.weight), array(convolution.bias), stride))


@pytest.mark.parametrize(
    ("frames", "lengths"),
    [(50, (25, 13, 7)), (300, (150, 75)), (290, (145, 73))],
    ids=["Table 18", "Table 17", "Table 17 less 10"],
)
def test_halves_the_frames_as_the_tables_print_them(frames, lengths):
    for kernel in (7, 9):
        convolution, x = TemporalConvolution(1, 1, kernel, 2), torch.zeros(1, frames, 2, 1)
        for length in lengths:
            x = convolution(x)
            assert x.shape[1] == length


def test_keeps_nodes_and_clips_apart():
    convolution, order = randomise(TemporalConvolution(3, 4, 9, 2)), permutation(5)
    x = noise(2, 8, 5, 3)
    whole = convolution(x)
    close(convolution(x[:, :, order]), array(whole[:, :, order]))
    close(convolution(x[1:, :, 2:3]), array(whole[1:, :, 2:3]))


def test_moves_with_time():
    """A window one step later gives the same frames one step later, away from its ends."""
    convolution, x = randomise(TemporalConvolution(2, 3, 5, 1)), noise(1, 20, 2, 2)
    close(convolution(x[:, 1:])[:, 2:-2], array(convolution(x)[:, 3:-2]))


@pytest.mark.parametrize("stride", [1, 2])
def test_gradients(stride):
    assert gradients_agree(randomise(TemporalConvolution(2, 2, 3, stride)), noise(2, 4, 2, 2))


def test_even_kernel_is_refused():
    with pytest.raises(ValueError, match="odd"):
        TemporalConvolution(1, 1, 4)


def whole_kernels_by_hand(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, stride: int) -> np.ndarray:
    """Unpadded: the kernel ends on the last frame, on ``stride`` frames before it, and so on while it is inside."""
    kernel, frames = weight.shape[2], []
    end = x.shape[1] - 1
    while end - kernel + 1 >= 0:
        frames.append(sum(np.einsum("bnc,oc->bno", x[:, end - kernel + 1 + k], weight[:, :, k]) for k in range(kernel)) + bias)
        end -= stride
    return np.stack(frames[::-1], axis=1)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 3, 7])
@pytest.mark.parametrize("frames", [7, 8, 13])
def test_without_padding_whole_kernels_end_on_the_last_frame(frames, kernel, stride):
    convolution = randomise(TemporalConvolution(3, 4, kernel, stride, padded=False))
    x = noise(2, frames, 3, 3)
    expected = whole_kernels_by_hand(array(x), array(convolution.weight), array(convolution.bias), stride)
    close(convolution(x), expected)
    # The residual takes what the kernel's middle stands on: what a kernel of zeros around a one would give.
    centres = np.zeros((3, 3, kernel))
    centres[:, :, kernel // 2] = np.eye(3)
    close(under_centres(x, kernel, stride, padded=False), whole_kernels_by_hand(array(x), centres, np.zeros(3), stride))
