"""Structural graph convolution, eq. (4)."""

import numpy as np
import pytest
import torch

import oracles
from fitting import array, close, gradients_agree, noise, permutation, randomise, relabel, tree, tree_powers
from symgnn.nn import StructuralGraphConvolution
from symgnn.skeleton import normalise, powers

# Three joints in a row. First power: each joint's own neighbourhood; second power: by hand, rows still sum to one.
CHAIN = torch.tensor([[1, 1, 0], [1, 1, 1], [0, 1, 1]], dtype=torch.float64)
FIRST = torch.tensor([[1 / 2, 1 / 2, 0], [1 / 3, 1 / 3, 1 / 3], [0, 1 / 2, 1 / 2]], dtype=torch.float64)
SECOND = torch.tensor(
    [[5 / 12, 5 / 12, 1 / 6], [5 / 18, 4 / 9, 5 / 18], [1 / 6, 5 / 12, 5 / 12]],
    dtype=torch.float64,
)


def test_powers_of_three_joints_by_hand():
    close(powers(normalise(CHAIN), 2), array(torch.stack((FIRST, SECOND))), 1e-15)


@pytest.mark.parametrize("nodes", [1, 2, 5, 9])
def test_powers_agree_with_the_oracle_and_reach_their_hops(nodes):
    """The power of order o is positive within o bones and exactly zero beyond."""
    body = tree(nodes)
    found = powers(normalise(body), 4)
    close(found, oracles.powers(array(body), 4), 1e-14)
    apart = oracles.hops(array(body))
    for order, power in enumerate(array(found), start=1):
        assert ((power > 0) == (apart <= order)).all()


def test_three_joints_by_hand():
    """X = [1, 2, 4], W1 = 2, W2 = -3: first power gives [3/2, 7/3, 3], second [23/12, 41/18, 8/3]."""
    convolution = StructuralGraphConvolution(1, 1, torch.stack((FIRST, SECOND))).double()
    with torch.no_grad():
        convolution.weight.copy_(torch.tensor([2.0, -3.0]).reshape(2, 1, 1))
    x = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64).reshape(1, 1, 3, 1)
    close(convolution(x), np.array([-11 / 4, -13 / 6, -2]).reshape(1, 1, 3, 1))


def test_edge_weights_by_hand():
    """M1 = 4 on the way from joint 1 to joint 0 only: that joint reads 1/2 * 1 + 4/2 * 2 = 9/2 of order 1."""
    convolution = StructuralGraphConvolution(1, 1, FIRST[None]).double()
    with torch.no_grad():
        convolution.weight.fill_(2.0)
        convolution.edges[0, 0, 1] = 4.0
    x = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64).reshape(1, 1, 3, 1)
    close(convolution(x), np.array([9, 14 / 3, 6]).reshape(1, 1, 3, 1))


def test_edge_weights_start_at_one():
    """Reading 9: at the start the graphs are the powers themselves."""
    assert bool((StructuralGraphConvolution(2, 3, tree_powers(5, 3)).edges == 1).all())


@pytest.mark.parametrize("hop", [1, 2, 4])
@pytest.mark.parametrize(("inputs", "outputs"), [(3, 4), (4, 1), (1, 3)])
def test_agrees_with_the_oracle(hop, inputs, outputs):
    graphs = tree_powers(6, hop)
    convolution = randomise(StructuralGraphConvolution(inputs, outputs, graphs))
    x = noise(2, 3, 6, inputs)
    close(convolution(x), oracles.sgc(array(x), array(graphs), array(convolution.edges), array(convolution.weight)))


def test_moves_with_the_joints():
    """Relabelling joints, powers and edge weights together relabels the answer."""
    graphs, order = tree_powers(6, 3), permutation(6)
    convolution = randomise(StructuralGraphConvolution(3, 4, graphs))
    relabelled = randomise(StructuralGraphConvolution(3, 4, relabel(graphs, order)))
    with torch.no_grad():
        relabelled.weight.copy_(convolution.weight)
        relabelled.edges.copy_(relabel(convolution.edges, order))
    x = noise(2, 3, 6, 3)
    close(relabelled(x[:, :, order]), array(convolution(x)[:, :, order]))


def test_edges_beyond_the_hop_have_no_effect():
    """Outside the reach of a power M has neither effect nor gradient, however large it is."""
    graphs = tree_powers(8, 3)
    convolution = randomise(StructuralGraphConvolution(3, 4, graphs))
    outside = graphs == 0
    assert bool(outside[0].any()) and bool(outside[2].any())
    x = noise(2, 3, 8, 3)
    before = convolution(x)
    with torch.no_grad():
        convolution.edges[outside] = 1e9
    assert torch.equal(convolution(x), before)
    convolution(x).square().sum().backward()
    assert convolution.edges.grad is not None
    assert not convolution.edges.grad[outside].any()
    assert bool((convolution.edges.grad[~outside] != 0).all())


def test_gradients():
    assert gradients_agree(randomise(StructuralGraphConvolution(2, 2, tree_powers(3, 2))), noise(1, 2, 3, 2))
