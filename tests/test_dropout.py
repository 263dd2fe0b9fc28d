"""Dropout against its definition."""

import math

import pytest
import torch

from symgnn.nn import Dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16])
def test_zeroes_a_fraction_and_keeps_the_mean(p: float, kind: torch.dtype) -> None:
    torch.manual_seed(0)
    count = 400_003  # no multiple of four
    found = Dropout(p)(torch.ones(count, dtype=kind)).double()
    expected = torch.tensor(1 / (1 - p), dtype=kind).double()
    kept = found[found != 0]
    torch.testing.assert_close(kept, expected.expand_as(kept), rtol=1e-2 if kind is torch.bfloat16 else 2e-4, atol=0.0)
    assert abs(float((found == 0).double().mean()) - p) < 5 * math.sqrt(p * (1 - p) / count)


def test_every_place_is_drawn_alike_and_on_its_own() -> None:
    """The four values that share a draw differ, and none of the four is favoured."""
    torch.manual_seed(1)
    gone = (Dropout(0.5)(torch.ones(250_000, 4)) == 0).double()
    deviation = 0.5 / math.sqrt(len(gone))
    assert bool(((gone.mean(dim=0) - 0.5).abs() < 5 * deviation).all())
    together = (gone.T @ gone) / len(gone) - 0.25
    assert bool((together.fill_diagonal_(0.0).abs() < 5 * 0.25 / math.sqrt(len(gone)) * 2).all())


def test_gradient_passes_where_the_value_does() -> None:
    torch.manual_seed(2)
    x = torch.randn(50, 7, requires_grad=True)
    y = Dropout(0.3)(x)
    y.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad * x.detach(), y.detach())


def test_does_nothing_in_evaluation() -> None:
    x = torch.randn(5, 7)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)
