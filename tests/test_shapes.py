"""The shapes in signatures are promises that the tests check: a wrong one raises, and names itself."""

import subprocess
import sys
import textwrap

import pytest
import torch
from jaxtyping import TypeCheckError

from symgnn.nn import difference, fill_missing
from symgnn.types import Batch


def test_a_wrong_number_of_axes_raises():
    with pytest.raises(TypeCheckError, match="batch time joint channel"):
        difference(torch.zeros(5, 4, 3), order=1)


def test_an_axis_of_two_sizes_raises():
    with pytest.raises(TypeCheckError, match="joint channel"):
        fill_missing(torch.zeros(2, 7, 5, 3), otherwise=torch.ones(6, 3))


def test_a_wrong_kind_of_number_raises():
    with pytest.raises(TypeCheckError, match="Float"):
        difference(torch.zeros(2, 5, 4, 3, dtype=torch.int64), order=1)


def test_a_record_whose_fields_disagree_raises():
    observed, future = torch.zeros(2, 5, 4, 3), torch.zeros(2, 3, 4, 3)
    label, clip = torch.zeros(2, dtype=torch.int64), torch.zeros(2, dtype=torch.int64)
    assert Batch(observed, future, label, clip).future is future
    with pytest.raises(TypeCheckError):
        Batch(observed, future, label[:1], clip)
    with pytest.raises(TypeCheckError):
        Batch(observed, future[:, :, :3], label, clip)


def test_nothing_is_checked_or_wrapped_outside_the_tests():
    """Wrapped functions would slow every layer down and break torch.compile."""
    program = """
        import torch
        from symgnn.nn import difference
        assert not hasattr(difference, "__wrapped__")
        assert difference(torch.ones(5, 4, 3), order=1).abs().sum() == 0
    """
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
