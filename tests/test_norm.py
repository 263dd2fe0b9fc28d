"""Batch norm of the last axis: its own backward pass for few features."""

import numpy as np
import pytest
import torch
from torch import nn

from fitting import array, close, noise
from symgnn.nn import FeatureNorm

FEW, MANY = 8, 24


def by_loops(x: np.ndarray, outer: np.ndarray, weight: np.ndarray, eps: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradients by x, weight and bias of sum(outer * batchnorm(x)), feature by feature, from the definition's Jacobian."""
    count, features = x.shape
    by_x, by_weight, by_bias = np.zeros_like(x), np.zeros(features), np.zeros(features)
    for f in range(features):
        centred = x[:, f] - x[:, f].mean()
        deviation = np.sqrt((centred**2).mean() + eps)
        by_weight[f] = (outer[:, f] * centred / deviation).sum()
        by_bias[f] = outer[:, f].sum()
        # d y_i / d x_j = w ((i = j) - 1/n) / s - w c_i c_j / (n s^3)
        jacobian = (np.eye(count) - 1 / count) / deviation - np.outer(centred, centred) / (count * deviation**3)
        by_x[:, f] = weight[f] * (jacobian.T @ outer[:, f])
    return by_x, by_weight, by_bias


@pytest.mark.parametrize("rows", [(3, 4, 5), (7, 1, 1), (2, 2, 16)], ids=str)
@pytest.mark.parametrize("features", [1, FEW, 15, 16, MANY])
def test_gradients_agree_with_the_definition(features, rows):
    norm = FeatureNorm(features).double()
    x, outer = noise(*rows, features).mul(3).add(5).requires_grad_(), noise(*rows, features, seed=2)
    with torch.no_grad():
        norm.weight.copy_(noise(features, seed=3))
    (norm(x) * outer).sum().backward()
    expected = by_loops(array(x).reshape(-1, features), array(outer).reshape(-1, features), array(norm.weight), norm.eps)
    assert x.grad is not None and norm.weight.grad is not None and norm.bias.grad is not None
    close(x.grad.reshape(-1, features), expected[0])
    close(norm.weight.grad, expected[1])
    close(norm.bias.grad, expected[2])


@pytest.mark.parametrize("features", [FEW, MANY])
def test_values_and_statistics_are_those_of_the_library(features):
    norm, library = FeatureNorm(features), nn.BatchNorm1d(features)
    for seed in range(3):
        x = noise(2, 3, 4, features, seed=seed).float().requires_grad_()
        torch.testing.assert_close(norm(x).view(-1, features), library(x.view(-1, features)))
    assert norm.num_batches_tracked is not None and int(norm.num_batches_tracked) == 3
    torch.testing.assert_close(norm.running_mean, library.running_mean)
    torch.testing.assert_close(norm.running_var, library.running_var)


def test_rows_in_16_bits():
    """Under mixed precision rows come in 16 bits; the sums over them do not."""
    norm = FeatureNorm(FEW)
    x = noise(2000, FEW).add(3).bfloat16().requires_grad_()
    outer = noise(2000, FEW, seed=2).bfloat16()
    norm(x).backward(outer)
    expected = by_loops(array(x.double()), array(outer.double()), np.ones(FEW), norm.eps)
    assert x.grad is not None and x.grad.dtype == torch.bfloat16
    assert norm.weight.grad is not None and norm.bias.grad is not None
    np.testing.assert_allclose(array(x.grad.double()), expected[0], atol=0.02)
    np.testing.assert_allclose(array(norm.weight.grad), expected[1], rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(array(norm.bias.grad), expected[2], rtol=1e-3, atol=1e-2)
