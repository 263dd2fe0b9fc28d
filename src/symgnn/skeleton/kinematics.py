"""Kinematics: from the rotations of a body's joints to their places."""

import torch
from jaxtyping import Float
from torch import Tensor

from symgnn.errors import InputError
from symgnn.skeleton.layout import Layout
from symgnn.skeleton.rotations import expmap_to_matrix


def forward_kinematics(rows: Float[Tensor, "*batch stored 3"], layout: Layout) -> Float[Tensor, "*batch joint 3"]:
    """Positions of all joints from a row of exponential maps.

    As row vectors, from the root outwards: x_j = offset_j G_parent + x_parent and G_j = R_j G_parent, R_j being Rodrigues'
    matrix of joint j's triple. The root stands at the row's translation plus its own offset, G_root = R_root.

    One rule serves both benchmarks: H3.6M's rows are read with row vectors, and CMU's triples are minus the rotation vector
    of the BVH file's column-vector rotation, which is its transpose. For a body standing at the origin and facing
    forwards (y up, z ahead, x to its left), as the 3D protocol asks, set the first two triples (translation, root rotation)
    to zero. For drawing do the same: CMU's rows multiply the root's three turns in another order than the BVH files say,
    which tilts a body that turns around, and H3.6M's root rotation leads into a room with another axis up.

    Args:
        rows: the triples of ``layout.stored("expmap")``: translation, then one a joint.
        layout: a body with offsets.

    Returns:
        Positions in the layout's unit, in the order of ``layout.joints``; those of the nodes are
        ``positions[..., layout.nodes, :]``.

    Raises:
        InputError: the layout has no offsets, or the rows have another number of triples.
    """
    if layout.offsets is None:
        raise InputError(f"layout {layout.name} has no offsets: joints cannot be placed from rotations; add the field offsets")
    stored = len(layout.stored("expmap"))
    if rows.shape[-2] != stored:
        raise InputError(f"layout {layout.name} stores {stored} triples (translation and joints), found {rows.shape[-2]}")
    rotations = expmap_to_matrix(rows[..., 1:, :])
    offsets = rows.new_tensor(layout.offsets)

    turns: dict[int, Tensor] = {}
    places: dict[int, Tensor] = {}
    for joint in _from_root(layout.parents):
        parent = layout.parents[joint]
        if parent < 0:
            turns[joint] = rotations[..., joint, :, :]
            places[joint] = rows[..., 0, :] + offsets[joint]
        else:
            turns[joint] = rotations[..., joint, :, :] @ turns[parent]
            places[joint] = offsets[joint] @ turns[parent] + places[parent]
    return torch.stack([places[joint] for joint in range(len(layout.joints))], dim=-2)


def _from_root(parents: tuple[int, ...]) -> list[int]:
    """Joints in an order that meets every parent before its children; a file need not list them so."""
    order = [parents.index(-1)]
    for joint in order:
        order.extend(child for child, parent in enumerate(parents) if parent == joint)
    return order
