"""Theorem 1: how far a disturbance of the input can move the output of a joint-scale graph convolution and ReLU."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import oracles
from fitting import array, randomise
from symgnn.nn import JointGraphConvolution
from symgnn.skeleton import normalise, powers

CHANNELS = 3


def distance(first: Tensor, second: Tensor) -> float:
    """Frobenius norm of the difference."""
    return float((first - second).norm())


def both_sides(
    convolution: JointGraphConvolution, adjacency: Tensor, x: Tensor, disturbed: Tensor, graph: Tensor, disturbed_graph: Tensor
) -> tuple[float, float]:
    """|Y* - Y|_F, and the theorem's bound with eps = |X* - X|_F and C eps^q = |A*X* - A X|_F, the least the theorem allows."""
    with torch.no_grad():
        y = convolution(x[None, None], graph[None]).relu()
        disturbed_y = convolution(disturbed[None, None], disturbed_graph[None]).relu()
    assert convolution.edges is not None and convolution.actional_weight is not None
    hop = len(convolution.edges)
    bound = oracles.stability_bound(
        distance=distance(disturbed, x),
        actional_distance=distance(disturbed_graph @ disturbed, graph @ x),
        actional_weight=convolution.actional_weight,
        weight_act=array(convolution.weight[hop]),
        adjacency=array(adjacency),
        edges=array(convolution.edges),
        weight_str=array(convolution.weight[:hop]),
    )
    return distance(disturbed_y, y), bound


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    joints=st.integers(1, 8),
    bones=st.floats(0, 1),
    hop=st.integers(1, 4),
    outputs=st.integers(1, 6),
    actional_weight=st.floats(0, 2),
    size=st.floats(1e-6, 1e3),
    sharpness=st.floats(0, 30),
)
def test_bound_holds(seed, joints, bones, hop, outputs, actional_weight, size, sharpness):
    """Any graph, any weights, any disturbance; the actional graph is inferred from the input and moves with it."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    linked = torch.rand(joints, joints, generator=generator) < bones
    adjacency = (linked | linked.T | torch.eye(joints, dtype=torch.bool)).double()
    convolution = randomise(
        JointGraphConvolution(CHANNELS, outputs, powers(normalise(adjacency), hop), actional_weight), seed % 1000
    )
    x, pairing, direction = draw(joints, CHANNELS), sharpness * draw(CHANNELS, CHANNELS), draw(joints, CHANNELS)
    disturbed = x + size * direction / direction.norm()
    graph, disturbed_graph = ((each @ pairing @ each.T).softmax(dim=1) for each in (x, disturbed))
    moved, bound = both_sides(convolution, adjacency, x, disturbed, graph, disturbed_graph)
    assert moved <= bound * (1 + 1e-9) + 1e-12


def worst_case(joints: int, hop: int, outputs: int, adjacency: Tensor, *, actional: float, structural: float) -> float:
    """How much of the bound is reached where everything pulls one way: equal weights, open ReLUs.

    The disturbance is along (1, 1, 1) at every joint. Every inequality of the proof is then an equality, but two for graphs:
    |(A~^o . M)(X* - X)|_F against |A~^o . M|_F |X* - X|_F in (b), and in (c) entries of A~^o below 1.
    """
    convolution = JointGraphConvolution(CHANNELS, outputs, powers(normalise(adjacency), hop), 0.5).double()
    with torch.no_grad():
        convolution.weight[:hop] = structural
        convolution.weight[hop] = actional
        convolution.bias.fill_(100.0)
    x = torch.ones(joints, CHANNELS, dtype=torch.float64)
    disturbed = x + 1e-2
    graph = torch.full((joints, joints), 1 / joints, dtype=torch.float64)
    moved, bound = both_sides(convolution, adjacency, x, disturbed, graph, graph)
    return moved / bound


@pytest.mark.parametrize("hop", [1, 4])
@pytest.mark.parametrize("outputs", [1, 7])
def test_bound_is_reached_by_one_joint(hop, outputs):
    """A~ = A_act = 1: nothing is lost anywhere, so no smaller bound of this form is true."""
    reached = worst_case(1, hop, outputs, torch.ones(1, 1, dtype=torch.float64), actional=2.0, structural=3.0)
    np.testing.assert_allclose(reached, 1, rtol=1e-9)


@pytest.mark.parametrize("joints", [2, 5])
def test_actional_term_is_reached_by_any_body(joints):
    """The actional distance is measured after the graph, so its term loses nothing whatever the number of joints."""
    chain = torch.eye(joints, dtype=torch.float64) + torch.diag(torch.ones(joints - 1, dtype=torch.float64), 1)
    reached = worst_case(joints, 2, 4, torch.maximum(chain, chain.T), actional=2.0, structural=0.0)
    np.testing.assert_allclose(reached, 1, rtol=1e-9)


@pytest.mark.parametrize(
    ("adjacency", "share"),
    [(np.ones((2, 2)), 1 / 2), (np.ones((5, 5)), 1 / 5), (np.eye(4), 1 / 2)],
    ids=["2 linked", "5 linked", "4 apart"],
)
def test_structural_term_is_loose_for_more_joints(adjacency, share):
    """M linked joints: |A~|_F = 1 against sqrt(|A|_0) = M. M joints apart: I stretches by 1, its Frobenius norm is sqrt(M)."""
    reached = worst_case(len(adjacency), 2, 4, torch.from_numpy(adjacency), actional=0.0, structural=3.0)
    np.testing.assert_allclose(reached, share, rtol=1e-9)


def test_relu_is_contractive():
    """(14), and no batch norm in the theorem: a shut ReLU moves nothing at all."""
    convolution = JointGraphConvolution(CHANNELS, 2, torch.ones(1, 1, 1, dtype=torch.float64), 0.5).double()
    with torch.no_grad():
        convolution.bias.fill_(-1e6)
    x, one = torch.ones(1, CHANNELS, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    moved, bound = both_sides(convolution, one, x, x + 0.1, one, one)
    assert moved == 0 < bound
