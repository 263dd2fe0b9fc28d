from collections import deque

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from symgnn.nn import Scales
from symgnn.skeleton import (
    Layout,
    adjacency,
    bone_adjacency,
    bone_graph,
    bone_parts,
    bones,
    joint_graph,
    layout_from_dict,
    load_layout,
    normalise,
    part_adjacency,
    part_membership,
    powers,
)

# Shoulder - Elbow - Hand, the shoulder a part of its own.
ARM = layout_from_dict(
    {
        "name": "arm",
        "joints": ["Shoulder", "Elbow", "Hand"],
        "bones": [["Shoulder", "Elbow", "Hand"]],
        "parts": {"upper": ["Shoulder"], "lower": ["Elbow", "Hand"]},
    }
)


def body(hangs_on: list[int], owner: list[int], order: list[int] | None = None) -> Layout:
    """A body whose joint i + 1 hangs on ``hangs_on[i]``, its nodes listed in the order given."""
    names = [f"j{index}" for index in range(len(owner))]
    return layout_from_dict(
        {
            "name": "tree",
            "joints": names,
            "root": "j0",
            "bones": [[names[parent], names[child]] for child, parent in enumerate(hangs_on, start=1)],
            "edges": [[names[parent], names[child]] for child, parent in enumerate(hangs_on, start=1)],
            "nodes": [names[node] for node in order or range(len(names))],
            "parts": {f"p{part}": [names[joint] for joint in range(len(names)) if owner[joint] == part] for part in range(4)},
        }
    )


@st.composite
def trees(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    size = draw(st.integers(2, 14))
    return [draw(st.integers(0, child - 1)) for child in range(1, size)], [draw(st.integers(0, 3)) for _ in range(size)]


def hops(layout: Layout, start: int) -> list[int]:
    """Bones between a joint and each other one, by walking."""
    near: dict[int, set[int]] = {node: set() for node in range(layout.num_nodes)}
    for a, b in layout.edges:
        near[a].add(b)
        near[b].add(a)
    found, queue = {start: 0}, deque([start])
    while queue:
        node = queue.popleft()
        for other in near[node] - found.keys():
            found[other] = found[node] + 1
            queue.append(other)
    return [found[node] for node in range(layout.num_nodes)]


def check(matrix: torch.Tensor, expected: object) -> None:
    assert matrix.dtype == torch.float32
    np.testing.assert_allclose(matrix.numpy(), np.asarray(expected), rtol=0, atol=1e-6)


def test_three_joints_by_hand():
    graph = adjacency(ARM)
    check(graph, [[1, 1, 0], [1, 1, 1], [0, 1, 1]])
    step = normalise(graph)
    check(step, [[1 / 2, 1 / 2, 0], [1 / 3, 1 / 3, 1 / 3], [0, 1 / 2, 1 / 2]])
    first, second = powers(step, 2)
    check(first, step)
    check(second, [[5 / 12, 5 / 12, 1 / 6], [5 / 18, 4 / 9, 5 / 18], [1 / 6, 5 / 12, 5 / 12]])
    check(part_membership(ARM), [[1, 0, 0], [0, 1, 1]])
    check(part_adjacency(ARM), [[1, 1], [1, 1]])
    check(bones(ARM), [[-1, 1, 0], [0, -1, 1]])
    check(bone_adjacency(ARM), [[1, 1], [1, 1]])
    assert bone_parts(ARM) == {"lower": (0, 1)}  # the shoulder is nobody's child


def test_the_graph_of_a_network_gathers_them():
    graph = joint_graph(ARM)
    assert torch.equal(graph.adjacency, adjacency(ARM))
    assert torch.equal(graph.parts, part_membership(ARM))
    assert torch.equal(graph.part_adjacency, part_adjacency(ARM))
    dual = bone_graph(ARM)
    check(dual.adjacency, [[1, 1], [1, 1]])
    check(dual.parts, [[1, 1]])
    check(dual.part_adjacency, [[1]])


@given(trees())
def test_powers_reach_exactly_as_far_as_their_hops(tree):
    layout = body(*tree)
    reached = powers(normalise(adjacency(layout)), 4)
    distance = np.array([hops(layout, node) for node in range(layout.num_nodes)])
    for order, matrix in enumerate(reached, start=1):
        np.testing.assert_array_equal(matrix.numpy() != 0, distance <= order)
        np.testing.assert_allclose(matrix.sum(dim=1).numpy(), 1, atol=1e-6)


@given(trees())
def test_powers_are_a_random_walk(tree):
    """Row i of Ãᵞ is where a walker from i is after γ steps, each to a neighbour or on the spot, all equally likely."""
    layout = body(*tree)
    size = layout.num_nodes
    near = [[j for j in range(size) if hops(layout, i)[j] <= 1] for i in range(size)]
    for start in range(size):
        where = [float(node == start) for node in range(size)]
        for matrix in powers(normalise(adjacency(layout)), 3):
            moved = [0.0] * size
            for node in range(size):
                for other in near[node]:
                    moved[other] += where[node] / len(near[node])
            where = moved
            check(matrix[start], where)


@given(trees(), st.data())
def test_listing_the_nodes_in_another_order_permutes_the_graphs(tree, data):
    layout = body(*tree)
    order = data.draw(st.permutations(range(layout.num_nodes)))
    other = body(*tree, order=order)
    assert torch.equal(adjacency(other), adjacency(layout)[order][:, order])
    assert torch.equal(part_membership(other), part_membership(layout)[:, order])
    assert torch.equal(part_adjacency(other), part_adjacency(layout))
    assert torch.equal(bones(other), bones(layout)[:, order])
    assert torch.equal(bone_adjacency(other), bone_adjacency(layout))
    assert bone_parts(other) == bone_parts(layout)


@given(trees())
def test_bones_against_loops(tree):
    layout = body(*tree)
    positions = torch.randn(layout.num_nodes, 3, generator=torch.Generator().manual_seed(0))
    found = bones(layout) @ positions
    linked = bone_adjacency(layout)
    for bone, (parent, child) in enumerate(layout.edges):
        torch.testing.assert_close(found[bone], positions[child] - positions[parent])
        for other, ends in enumerate(layout.edges):
            assert linked[bone, other] == float(bool({parent, child} & set(ends)))


@given(trees())
def test_parts_of_joints_and_bones_against_loops(tree):
    layout = body(*tree)
    features = torch.randn(layout.num_nodes, 2, generator=torch.Generator().manual_seed(0))
    pooled = Scales(part_membership(layout)).joint2part(features)
    part_of = {}
    for part, members in enumerate(layout.parts.values()):
        torch.testing.assert_close(pooled[part], torch.stack([features[node] for node in members]).mean(dim=0))
        part_of.update(dict.fromkeys(members, part))
    copied = Scales(part_membership(layout)).part2joint(pooled)
    for node in range(layout.num_nodes):
        torch.testing.assert_close(copied[node], pooled[part_of[node]])
    linked = torch.eye(len(layout.parts))
    for a, b in layout.edges:
        linked[part_of[a], part_of[b]] = linked[part_of[b], part_of[a]] = 1
    assert torch.equal(part_adjacency(layout), linked)

    owned = bone_parts(layout)
    for bone, (_, child) in enumerate(layout.edges):
        (holder,) = (name for name, members in owned.items() if bone in members)
        assert holder == layout.part_names[part_of[child]]
    assert all(owned.values())


@given(trees())
def test_bone_graphs_cover_every_bone_once_and_hang_together(tree):
    graph = bone_graph(body(*tree))
    assert torch.equal(graph.parts.sum(dim=0), torch.ones(graph.adjacency.shape[0]))
    assert (graph.parts.sum(dim=1) > 0).all()
    for matrix in (graph.adjacency, graph.part_adjacency):
        assert torch.equal(matrix, matrix.T) and (matrix.diagonal() == 1).all() and set(matrix.unique().tolist()) <= {0.0, 1.0}
        assert (torch.matrix_power(matrix, len(matrix)) > 0).all()  # connected


def test_parts_that_met_in_a_part_without_bones_are_linked():
    """A torso that is the root alone has no bone; without the rule the limbs would not know of each other."""
    layout = layout_from_dict(
        {
            "name": "star",
            "joints": ["Hips", "Head", "LeftKnee", "LeftFoot"],
            "bones": [["Hips", "Head"], ["Hips", "LeftKnee", "LeftFoot"]],
            "parts": {"head": ["Head"], "torso": ["Hips"], "thigh": ["LeftKnee"], "crus": ["LeftFoot"]},
            "mirror": [],
        }
    )
    check(part_adjacency(layout), [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 1]])
    graph = bone_graph(layout)
    check(graph.parts, [[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    check(graph.part_adjacency, [[1, 1, 0], [1, 1, 1], [0, 1, 1]])


@pytest.mark.parametrize("name", ["cmu", "h36m", "ntu25"])
def test_the_built_in_bodies_keep_their_ten_parts_in_both_networks(name):
    layout = load_layout(name)
    graph, dual = joint_graph(layout), bone_graph(layout)
    assert torch.equal(graph.part_adjacency, dual.part_adjacency)
    assert graph.part_adjacency.sum() == 10 + 2 * 9  # ten parts in a tree
    assert dual.parts.sum() == layout.num_nodes - 1
    # the root's part is the one that has a bone less than joints
    assert int((graph.parts.sum(dim=1) - dual.parts.sum(dim=1)).argmax()) == layout.part_names.index("torso")


def test_cmu_elbow_by_hand():
    layout = load_layout("cmu")
    row = adjacency(layout)[layout.node_names.index("LeftHand")]
    assert {layout.node_names[node] for node in row.nonzero().flatten().tolist()} == {
        "LeftForeArm",
        "LeftHand",
        "LeftFingerBase",
        "LThumb",
    }
