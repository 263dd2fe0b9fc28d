"""Difference operator, eq. (9)."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import oracles
from fitting import array, close, noise
from symgnn.nn import difference


def track(*positions: float) -> torch.Tensor:
    """One joint with one coordinate over time."""
    return torch.tensor(positions, dtype=torch.float64).reshape(1, -1, 1, 1)


@pytest.mark.parametrize(
    ("order", "expected"),
    [(0, (3, 5, 9, 8)), (1, (0, 2, 4, -1)), (2, (0, 2, 2, -5)), (3, (0, 2, 0, -7))],
)
def test_four_frames_by_hand(order, expected):
    """Reading 2: the first frame of every order is zero, so the second velocity is also the second acceleration."""
    assert torch.equal(difference(track(3, 5, 9, 8), order), track(*expected))


@pytest.mark.parametrize("order", [0, 1, 2, 3])
@pytest.mark.parametrize("frames", [1, 2, 3, 7])
def test_agrees_with_the_oracle(order, frames):
    motion = noise(2, frames, 4, 3)
    close(difference(motion, order), oracles.difference(array(motion), order))


@settings(deadline=None)
@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(-3, 3))
def test_constant_acceleration(start, speed, acceleration):
    """Of start + speed t + acceleration t^2 / 2 the second difference is the acceleration, from the third frame on."""
    time = np.arange(6.0)
    result = difference(track(*(start + speed * time + acceleration * time**2 / 2)), 2)
    np.testing.assert_allclose(array(result[0, 2:, 0, 0]), acceleration, atol=1e-10)


def test_body_at_rest_has_no_velocity_anywhere():
    """The other reading of "zero paddings" (X = 0 before the window) would give the pose itself at the first frame."""
    resting = noise(1, 1, 5, 3).expand(2, 6, 5, 3)
    for order in (1, 2):
        assert not difference(resting, order).any()


@pytest.mark.parametrize("order", [0, 1, 2])
def test_looks_back_only_and_no_further_than_its_order(order):
    motion = noise(1, 8, 2, 3)
    changed = motion.clone()
    changed[:, 4] += 1
    moved = (difference(motion, order) != difference(changed, order)).any(dim=(0, 2, 3))
    assert moved.nonzero().flatten().tolist() == list(range(4, 5 + order))


@pytest.mark.parametrize("order", [1, 2])
def test_is_linear_and_keeps_joints_apart(order):
    first, second = noise(2, 5, 3, 2, seed=1), noise(2, 5, 3, 2, seed=2)
    torch.testing.assert_close(
        difference(2 * first - 3 * second, order), 2 * difference(first, order) - 3 * difference(second, order)
    )
    torch.testing.assert_close(difference(first[:, :, [2, 0, 1]], order), difference(first, order)[:, :, [2, 0, 1]])


@pytest.mark.parametrize("order", [0, 1, 2])
def test_gradients(order):
    assert torch.autograd.gradcheck(lambda motion: difference(motion, order), noise(1, 4, 2, 2).requires_grad_())


def test_negative_order_is_refused():
    with pytest.raises(ValueError, match="-1"):
        difference(track(1, 2), -1)
