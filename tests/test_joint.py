"""Joint-scale graph convolution, eq. (5), with both terms and with either alone (reading 16)."""

import numpy as np
import pytest
import torch
from torch import Tensor

from fitting import (
    array,
    close,
    directed_graphs,
    gradients_agree,
    joint_convolution,
    noise,
    permutation,
    randomise,
    relabel,
    tree_powers,
)
from symgnn.nn import ActionalGraphConvolution, JointGraphConvolution, StructuralGraphConvolution

TERMS = pytest.mark.parametrize(
    ("hop", "actional_weight"),
    [(1, 0.5), (3, 1.0), (4, 0.5), (3, None), (None, 0.5), (2, 0.0)],
    ids=["hop 1", "hop 3", "hop 4", "only J-S", "only J-A", "no weight on J-A"],
)


def module(
    hop: int | None, actional_weight: float | None, *, inputs: int = 3, outputs: int = 4, nodes: int = 6
) -> JointGraphConvolution:
    graphs = None if hop is None else tree_powers(nodes, hop)
    return randomise(JointGraphConvolution(inputs, outputs, graphs, actional_weight))


def graphs_for(convolution: JointGraphConvolution, batch: int, nodes: int = 6) -> Tensor | None:
    return None if convolution.actional_weight is None else directed_graphs(batch, nodes)


def test_three_joints_by_hand():
    """SGC is [-11/4, -13/6, -2] (test_structural); A_act X = [4, 3/2, 4], lambda 1/2, W_act = 10: [20, 15/2, 20]; bias 1."""
    first = torch.tensor([[1 / 2, 1 / 2, 0], [1 / 3, 1 / 3, 1 / 3], [0, 1 / 2, 1 / 2]], dtype=torch.float64)
    second = torch.tensor([[5 / 12, 5 / 12, 1 / 6], [5 / 18, 4 / 9, 5 / 18], [1 / 6, 5 / 12, 5 / 12]], dtype=torch.float64)
    convolution = JointGraphConvolution(1, 1, torch.stack((first, second)), 0.5).double()
    with torch.no_grad():
        convolution.weight.copy_(torch.tensor([2.0, -3.0, 10.0]).reshape(3, 1, 1))
        convolution.bias.fill_(1.0)
    x = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64).reshape(1, 1, 3, 1)
    actional = torch.tensor([[[0, 0, 1], [1 / 2, 1 / 2, 0], [0, 0, 1]]], dtype=torch.float64)
    close(convolution(x, actional), np.array([20 - 11 / 4 + 1, 15 / 2 - 13 / 6 + 1, 20 - 2 + 1]).reshape(1, 1, 3, 1))


@TERMS
@pytest.mark.parametrize(("inputs", "outputs"), [(3, 4), (5, 2), (160, 2)], ids=["widening", "narrowing", "wide"])
def test_agrees_with_the_oracle(hop, actional_weight, inputs, outputs):
    """Also at a width of the real network: a product may be laid out otherwise there."""
    convolution = module(hop, actional_weight, inputs=inputs, outputs=outputs)
    actional = graphs_for(convolution, 2)
    x = noise(2, 3, 6, inputs)
    close(convolution(x, actional), joint_convolution(convolution, actional)(array(x)))


def test_is_the_weighted_sum_of_its_two_terms():
    """(5) literally: lambda_act AGC(X) + SGC(X) of the package's own two operators, and the bias."""
    convolution = module(3, 0.7)
    assert convolution.powers is not None and convolution.edges is not None
    structural, actional = (
        StructuralGraphConvolution(3, 4, convolution.powers).double(),
        ActionalGraphConvolution(3, 4).double(),
    )
    with torch.no_grad():
        structural.weight.copy_(convolution.weight[:3])
        structural.edges.copy_(convolution.edges)
        actional.weight.copy_(convolution.weight[3])
    x, graph = noise(2, 3, 6, 3), directed_graphs(2, 6)
    close(convolution(x, graph), array(0.7 * actional(x, graph) + structural(x) + convolution.bias))


@TERMS
def test_moves_with_the_joints(hop, actional_weight):
    convolution, order = module(hop, actional_weight), permutation(6)
    graphs = None if convolution.powers is None else relabel(convolution.powers, order)
    relabelled = JointGraphConvolution(3, 4, graphs, actional_weight).double()
    with torch.no_grad():
        relabelled.weight.copy_(convolution.weight)
        relabelled.bias.copy_(convolution.bias)
        if relabelled.edges is not None and convolution.edges is not None:
            relabelled.edges.copy_(relabel(convolution.edges, order))
    x, actional = noise(2, 3, 6, 3), graphs_for(convolution, 2)
    moved = None if actional is None else relabel(actional, order)
    close(relabelled(x[:, :, order], moved), array(convolution(x, actional)[:, :, order]))


def test_edges_beyond_the_hop_have_no_effect():
    convolution = module(3, 0.5, nodes=8)
    assert convolution.powers is not None and convolution.edges is not None
    x, actional = noise(2, 3, 8, 3), directed_graphs(2, 8)
    outside = convolution.powers == 0
    before = convolution(x, actional)
    with torch.no_grad():
        convolution.edges[outside] = -1e9
    assert torch.equal(convolution(x, actional), before)
    convolution(x, actional).square().sum().backward()
    assert convolution.edges.grad is not None
    assert not convolution.edges.grad[outside].any()
    assert bool((convolution.edges.grad[~outside] != 0).all())


def test_each_frame_and_each_clip_alone():
    convolution, x, actional = module(3, 0.5), noise(3, 4, 6, 3), directed_graphs(3, 6)
    whole = convolution(x, actional)
    close(convolution(x[1:2, 2:3], actional[1:2]), array(whole[1:2, 2:3]))


@pytest.mark.parametrize(("hop", "actional_weight"), [(2, 0.5), (2, None), (None, 0.5)], ids=["both", "only J-S", "only J-A"])
def test_gradients(hop, actional_weight):
    convolution = module(hop, actional_weight, inputs=2, outputs=2, nodes=3)
    actional = graphs_for(convolution, 2, 3)
    inputs = (noise(2, 2, 3, 2),) if actional is None else (noise(2, 2, 3, 2), actional)
    assert gradients_agree(convolution, *inputs)


def test_no_term_at_all_is_refused():
    with pytest.raises(ValueError, match="structural"):
        JointGraphConvolution(3, 4, None, None)


def test_missing_actional_graph_is_refused():
    with pytest.raises(ValueError, match="actional"):
        module(3, 0.5)(noise(2, 3, 6, 3))
