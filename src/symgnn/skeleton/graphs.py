"""Graphs: the fixed adjacency matrices that a network is built on, from a layout."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from symgnn.skeleton.layout import Layout


@dataclass(frozen=True)
class Graph:
    """Everything a network needs to know of a body; a node is a joint, or a bone in the dual network."""

    adjacency: Float[Tensor, "node node"]
    """1 where two nodes are linked, and on the diagonal."""
    parts: Float[Tensor, "part node"]
    """1 where a node is in a part; every node is in exactly one, no part is empty."""
    part_adjacency: Float[Tensor, "part part"]
    """1 where two parts are linked, and on the diagonal."""


def adjacency(layout: Layout) -> Float[Tensor, "joint joint"]:
    """Skeleton graph, sec. 3: A with self-loops, (A)_ij = 1 if joints i and j are linked by a bone or i = j."""
    return _symmetric(layout.num_nodes, layout.edges)


def normalise(adjacency: Float[Tensor, "node node"]) -> Float[Tensor, "node node"]:
    """Normalised adjacency, sec. 4.1.2: Ã = D⁻¹ A with (D)_ii = Σ_j (A)_ij, so that every row sums to one."""
    return adjacency / adjacency.sum(dim=1, keepdim=True)


def powers(normalised: Float[Tensor, "node node"], hop: int) -> Float[Tensor, "hop node node"]:
    """Powers Ã¹ … Ãᵞ, sec. 4.1.2: slice γ - 1 reaches the γ-hop neighbours and is exactly zero beyond them.

    Args:
        normalised: Ã, with self-loops.
        hop: the highest power, the paper's Γ, at least 1.
    """
    found = [normalised]
    for _ in range(hop - 1):
        found.append(found[-1] @ normalised)
    return torch.stack(found)


def part_adjacency(layout: Layout) -> Float[Tensor, "part part"]:
    """Part graph, sec. 4.2.1: A_p with self-loops, 1 where a bone joins the two parts."""
    return _symmetric(len(layout.parts), layout.part_edges)


def part_membership(layout: Layout) -> Float[Tensor, "part joint"]:
    """Membership: 1 where the joint is in the part; its transpose copies parts to their joints (part2joint, sec. 5.1)."""
    return _membership(layout.parts.values(), layout.num_nodes)


def bones(layout: Layout) -> Float[Tensor, "bone joint"]:
    """Bones from joints, sec. 5.5: row b is +1 at the bone's child and -1 at its parent (child minus parent; reading 15).

    Bones stand in the order of ``layout.edges``; there are M - 1 of them.
    """
    matrix = torch.zeros(len(layout.edges), layout.num_nodes)
    for bone, (parent, child) in enumerate(layout.edges):
        matrix[bone, child], matrix[bone, parent] = 1.0, -1.0
    return matrix


def bone_adjacency(layout: Layout) -> Float[Tensor, "bone bone"]:
    """Bone graph, sec. 5.5: the dual with self-loops, 1 where two bones share a joint."""
    # Column j of |B| marks the bones that meet in joint j, so an entry of |B| |B|ᵀ counts the joints two bones share.
    touches = bones(layout).abs()
    return (touches @ touches.T > 0).float()


def bone_parts(layout: Layout) -> dict[str, tuple[int, ...]]:
    """Bones of each part: a bone belongs to the part of its child (reading 15); parts left without a bone are dropped."""
    found = {
        part: tuple(bone for bone, (_, child) in enumerate(layout.edges) if child in members)
        for part, members in layout.parts.items()
    }
    return {part: members for part, members in found.items() if members}


def joint_graph(layout: Layout) -> Graph:
    """The graph of the joint network: nodes are the joints in use."""
    return Graph(adjacency(layout), part_membership(layout), part_adjacency(layout))


def bone_graph(layout: Layout) -> Graph:
    """The graph of the dual network, sec. 5.5: nodes are the bones, parts those of the body.

    Where a part has no bone of its own (a torso that is the root alone), the parts that met in it are linked to each
    other, as their bones are.
    """
    owned = bone_parts(layout)
    links = part_adjacency(layout)
    for part, name in enumerate(layout.parts):
        if name not in owned:
            meeting = links[part]
            links = torch.maximum(links, torch.outer(meeting, meeting))
    kept = [part for part, name in enumerate(layout.parts) if name in owned]
    return Graph(bone_adjacency(layout), _membership(owned.values(), len(layout.edges)), links[kept][:, kept])


def _symmetric(size: int, pairs: Iterable[tuple[int, int]]) -> Tensor:
    matrix = torch.eye(size)
    for a, b in pairs:
        matrix[a, b] = matrix[b, a] = 1.0
    return matrix


def _membership(groups: Iterable[Sequence[int]], size: int) -> Tensor:
    rows = []
    for members in groups:
        row = torch.zeros(size)
        row[list(members)] = 1.0
        rows.append(row)
    return torch.stack(rows)
