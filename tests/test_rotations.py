import math

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from symgnn.skeleton import expmap_to_euler, expmap_to_matrix, matrix_to_euler

# Half turns, full turns and more, nothing at all, and angles on both sides of any small-angle switch.
LENGTHS = (0.0, 1e-12, 1e-9, 1e-7, 9e-7, 1.1e-6, 1e-4, 0.1, 1.0, math.pi - 1e-9, math.pi, 4.0, 2 * math.pi, 9.0)


def vectors() -> np.ndarray:
    axes = np.random.default_rng(0).normal(size=(40, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    return np.concatenate([length * axes for length in LENGTHS] + [np.eye(3), -2 * np.eye(3)])


def naive_euler(matrix: np.ndarray) -> list[float]:
    """The rule of the benchmark, one scalar at a time."""
    if matrix[0, 2] in (1.0, -1.0):
        return [math.atan2(matrix[0, 1], matrix[0, 2]), -math.copysign(math.pi / 2, matrix[0, 2]), 0.0]
    second = -math.asin(matrix[0, 2])
    return [
        math.atan2(matrix[1, 2] / math.cos(second), matrix[2, 2] / math.cos(second)),
        second,
        math.atan2(matrix[0, 1] / math.cos(second), matrix[0, 0] / math.cos(second)),
    ]


def test_a_quarter_turn_by_hand():
    """About z: x goes to y, y to -x."""
    matrix = expmap_to_matrix(torch.tensor([0.0, 0.0, math.pi / 2], dtype=torch.float64))
    expected = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(matrix, expected, rtol=0, atol=1e-15)


def test_matrices_are_matrix_exponentials():
    for vector in vectors():
        x, y, z = vector
        expected = scipy.linalg.expm(np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]))
        np.testing.assert_allclose(expmap_to_matrix(torch.from_numpy(vector)).numpy(), expected, rtol=0, atol=1e-12)


def test_matrices_agree_with_scipy():
    expected = Rotation.from_rotvec(vectors()).as_matrix()
    np.testing.assert_allclose(expmap_to_matrix(torch.from_numpy(vectors())).numpy(), expected, rtol=0, atol=1e-12)


def test_single_precision_is_single_precision():
    given32 = torch.from_numpy(vectors()).float()
    assert expmap_to_matrix(given32).dtype == expmap_to_euler(given32).dtype == torch.float32
    expected = Rotation.from_rotvec(given32.double().numpy()).as_matrix()
    np.testing.assert_allclose(expmap_to_matrix(given32).numpy(), expected, rtol=0, atol=3e-6)


def test_euler_angles_agree_with_scipy():
    """Away from the poles they are minus the intrinsic X-Y-Z angles."""
    random = np.random.default_rng(1).normal(scale=1.5, size=(2000, 3))
    rotations = Rotation.from_rotvec(random)
    random = random[np.abs(rotations.as_matrix()[:, 0, 2]) < 0.999]
    assert len(random) > 1900
    expected = -Rotation.from_rotvec(random).as_euler("XYZ")
    np.testing.assert_allclose(expmap_to_euler(torch.from_numpy(random)).numpy(), expected, rtol=0, atol=1e-10)


@given(st.tuples(*[st.floats(-7, 7)] * 3))
def test_euler_angles_follow_the_scalar_rule(vector):
    matrix = expmap_to_matrix(torch.tensor(vector, dtype=torch.float64))
    np.testing.assert_allclose(matrix_to_euler(matrix).numpy(), naive_euler(matrix.numpy()), rtol=0, atol=1e-12)


@given(st.floats(-math.pi, math.pi), st.floats(-1.57, 1.57), st.floats(-math.pi, math.pi))
def test_euler_angles_give_the_rotation_back(first, second, third):
    matrix = Rotation.from_euler("XYZ", [first, second, third]).as_matrix()
    angles = matrix_to_euler(torch.from_numpy(matrix)).numpy()
    again = Rotation.from_euler("XYZ", -angles).as_matrix()
    np.testing.assert_allclose(again, matrix, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("matrix", "angles"),
    [
        # R₀₂ = 1: e₁ = atan2(0, 1), e₂ = -π/2; the turn about the common axis (none, 0.3) does not matter
        ([[0, 0, 1], [0, 1, 0], [-1, 0, 0]], [0, -math.pi / 2, 0]),
        ([[0, 0, 1], [math.sin(0.3), math.cos(0.3), 0], [-math.cos(0.3), math.sin(0.3), 0]], [0, -math.pi / 2, 0]),
        # R₀₂ = -1: e₁ = atan2(0, -1) = π, e₂ = π/2
        ([[0, 0, -1], [0, 1, 0], [1, 0, 0]], [math.pi, math.pi / 2, 0]),
        # a value in R₀₁ (no rotation has one there) shows the two arguments in their order
        ([[0, 1, 1], [0, 1, 0], [-1, 0, 0]], [math.pi / 4, -math.pi / 2, 0]),
        ([[0, 1, -1], [0, 1, 0], [1, 0, 0]], [3 * math.pi / 4, math.pi / 2, 0]),
    ],
)
def test_poles_by_hand(matrix, angles):
    found = matrix_to_euler(torch.tensor(matrix, dtype=torch.float64))
    np.testing.assert_allclose(found.numpy(), angles, rtol=0, atol=1e-15)


def test_rounding_past_a_pole_gives_numbers():
    matrix = torch.tensor([[0.0, 0.0, 1.0 + 1e-15], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]], dtype=torch.float64)
    assert matrix[0, 2] > 1
    np.testing.assert_allclose(matrix_to_euler(matrix).numpy(), [0, -math.pi / 2, 0], rtol=0, atol=1e-15)


def test_no_rotation_has_no_angles():
    assert torch.equal(expmap_to_euler(torch.zeros(4, 3)), torch.zeros(4, 3))


def test_any_batch_shape():
    single = torch.from_numpy(vectors()[:120])
    batch = single.reshape(2, 3, 20, 3)
    for function in (expmap_to_matrix, expmap_to_euler):
        found = function(batch)
        assert found.shape[:3] == (2, 3, 20)
        torch.testing.assert_close(found.flatten(0, 2), torch.stack([function(vector) for vector in single]), rtol=0, atol=0)
    assert expmap_to_euler(torch.zeros(0, 5, 3)).shape == (0, 5, 3)
