"""The oracle of eq. (15) by hand: an oracle that searches may itself be wrong."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import oracles


@pytest.mark.parametrize(
    ("recognition", "prediction", "expected"),
    [
        ((1, 0), (0, 1), 1 / 2),
        ((2, 0), (0, 1), 1 / 5),
        ((1, 0), (-3, 0), 3 / 4),
        ((3, 0), (1, 0), 0),
        ((1, 1), (4, 4), 1),
        ((2, 5), (2, 5), 1 / 2),
        ((0, 0), (1, 2), 1),
    ],
    ids=["square", "recognition longer", "against each other", "prediction shorter", "recognition shorter", "equal", "solved"],
)
def test_two_task_weight_by_hand(recognition, prediction, expected):
    """The point nearest the origin on the segment between the gradients, as a share of the recognition's."""
    found = oracles.two_task_weight(np.array(recognition, dtype=float), np.array(prediction, dtype=float))
    np.testing.assert_allclose(found, expected, atol=1e-12)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=1, max_size=6))
def test_two_task_weight_is_the_least(pairs):
    """No point of a fine grid on [0, 1] has a smaller norm."""
    first, second = np.array(pairs).T
    found = oracles.two_task_weight(first, second)

    def norm(weight: float) -> float:
        return float(np.linalg.norm(weight * first + (1 - weight) * second))

    assert 0 <= found <= 1
    assert norm(found) <= min(norm(weight) for weight in np.linspace(0, 1, 101)) + 1e-9
