"""Rotations: exponential maps, matrices, and the Euler angles of the angle benchmarks."""

import roma
import torch
from jaxtyping import Float
from torch import Tensor


def expmap_to_matrix(expmap: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrix of an exponential map, Rodrigues' formula.

    R = I + sin θ K + (1 - cos θ) K², θ = ‖v‖, K the cross-product matrix of v / θ. R turns column vectors; the
    benchmarks multiply row vectors, see [forward_kinematics][symgnn.skeleton.kinematics.forward_kinematics].

    Args:
        expmap: axis times angle, radians; any length, zero included.
    """
    return roma.rotvec_to_rotmat(expmap)


def matrix_to_euler(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """Euler angles of the angle benchmarks, sec. 6.1.1 of the paper and the evaluation code of H3.6M it follows.

    e₂ = -asin R₀₂, e₁ = atan2(R₁₂ / cos e₂, R₂₂ / cos e₂), e₃ = atan2(R₀₁ / cos e₂, R₀₀ / cos e₂).
    Where R₀₂ is exactly ±1 the first and last axis coincide: e₃ = 0, e₂ = ∓π/2, e₁ = atan2(R₀₁, R₀₂).

    Away from that, R = Rₓ(-e₁) R_y(-e₂) R_z(-e₃). There, R₀₁ is zero and the turn about the common axis is lost; the
    published figures were computed so.

    Returns:
        (e₁, e₂, e₃) in radians, e₂ in [-π/2, π/2], the others in [-π, π]. Near R₀₂ = ±1 they are ill-conditioned: give
        float64 where figures are to be compared.
    """
    # Rounding may leave |R₀₂| a few ulp above one, where asin has no value.
    sine = matrix[..., 0, 2].clamp(-1.0, 1.0)
    second = -torch.asin(sine)
    cosine = torch.cos(second)
    first = torch.atan2(matrix[..., 1, 2] / cosine, matrix[..., 2, 2] / cosine)
    third = torch.atan2(matrix[..., 0, 1] / cosine, matrix[..., 0, 0] / cosine)
    locked = sine.abs() == 1.0
    first = torch.where(locked, torch.atan2(matrix[..., 0, 1], sine), first)
    third = torch.where(locked, torch.zeros_like(third), third)
    return torch.stack((first, second, third), dim=-1)


def expmap_to_euler(expmap: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Euler angles of exponential maps: [matrix_to_euler][symgnn.skeleton.rotations.matrix_to_euler] of their matrices."""
    return matrix_to_euler(expmap_to_matrix(expmap))
