"""Motion-prediction head, eq. (10)."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.fft import dct
from torch import Tensor

import oracles
from fitting import (
    array,
    close,
    directed_graphs,
    gradients_agree,
    joint_convolution,
    linears,
    mlp,
    noise,
    permutation,
    randomise,
    relabel,
)
from fitting import tree_powers as make_powers
from symgnn.config import load_preset
from symgnn.models import Network, PredictionHead, SymGNN
from symgnn.nn import JointGraphConvolution
from symgnn.skeleton import load_layout

NODES, INPUTS, HIDDEN, CHANNELS, CLASSES = 4, 7, 5, 3, 6


def module(
    *, hop: int | None = 2, actional_weight: float | None = 0.5, classes: int = CLASSES, graphs: Tensor | None = None
) -> PredictionHead:
    graphs = make_powers(NODES, hop) if graphs is None and hop is not None else graphs
    convolution = JointGraphConvolution(HIDDEN, HIDDEN, graphs, actional_weight)
    return randomise(PredictionHead(INPUTS, HIDDEN, CHANNELS, classes, convolution, 0.1))


def gru(head: PredictionHead) -> oracles.Gru:
    cell = head.cell
    return oracles.Gru(array(cell.weight_ih), array(cell.weight_hh), array(cell.bias_ih), array(cell.bias_hh))


def labels_for(batch: int, classes: int = CLASSES) -> Tensor:
    return noise(batch, classes, seed=7).softmax(dim=1)


def test_gru_oracle_is_a_textbook_cell():
    """One unit, by hand, and a torch cell at random weights: the oracle's gates are what the framework's documents say."""
    ones, zeros = np.ones((3, 1)), np.zeros(3)
    reset = update = 1 / (1 + np.exp(-3.0))  # s(1 + 2)
    candidate = np.tanh(1 + reset * 2)
    expected = (1 - update) * candidate + update * 2
    np.testing.assert_allclose(
        oracles.gru_cell(np.array([1.0]), np.array([2.0]), oracles.Gru(ones, ones, zeros, zeros)), [expected]
    )

    cell = randomise(torch.nn.GRUCell(4, 3))
    weights = oracles.Gru(array(cell.weight_ih), array(cell.weight_hh), array(cell.bias_ih), array(cell.bias_hh))
    x, state = noise(1, 4), noise(1, 3, seed=8)
    close(cell(x, state)[0], oracles.gru_cell(array(x[0]), array(state[0]), weights))


@pytest.mark.parametrize(
    ("hop", "actional_weight", "classes"),
    [(2, 0.5, CLASSES), (3, None, CLASSES), (None, 1.0, CLASSES), (2, 0.5, 0)],
    ids=["both graphs", "only J-S", "only J-A", "no recognition"],
)
@pytest.mark.parametrize("horizon", [1, 4])
def test_agrees_with_the_oracle(hop, actional_weight, classes, horizon):
    """(10a) JGC, (10b) GRU with [X, D1 X, D2 X, y], (10c) the displacement; each frame goes back in."""
    head = module(hop=hop, actional_weight=actional_weight, classes=classes)
    hidden, recent = noise(2, NODES, INPUTS), noise(2, 3, NODES, CHANNELS, seed=9)
    actional = None if actional_weight is None else directed_graphs(2, NODES)
    labels = labels_for(2) if classes else None
    first, last = linears(head.displace)
    expected = oracles.prediction(
        array(hidden),
        array(recent),
        None if labels is None else array(labels),
        horizon,
        fuse=mlp(head.fuse),
        graph=joint_convolution(head.convolution, actional),
        gru=gru(head),
        output=(first, last),
    )
    close(head(hidden, actional, recent, labels, horizon), expected)


@pytest.mark.parametrize("look_back", [2, 6])
def test_the_path_to_the_current_pose_is_read_as_cosine_coefficients(look_back: int):
    """H0's MLP gets, after the features, scipy's orthonormal DCT of each coordinate's last frames less the current one."""
    convolution = JointGraphConvolution(HIDDEN, HIDDEN, make_powers(NODES, 2), 0.5)
    torch.set_default_dtype(torch.float64)  # the transform's numbers are exact from the start
    try:
        head = randomise(PredictionHead(INPUTS, HIDDEN, CHANNELS, CLASSES, convolution, 0.1, look_back))
    finally:
        torch.set_default_dtype(torch.float32)
    hidden, recent, actional = noise(2, NODES, INPUTS), noise(2, 6, NODES, CHANNELS, seed=9), directed_graphs(2, NODES)
    labels = labels_for(2)
    beside = np.zeros((2, NODES, look_back * CHANNELS))
    for clip, node, channel in np.ndindex(2, NODES, CHANNELS):
        path = array(recent)[clip, 6 - look_back :, node, channel] - array(recent)[clip, -1, node, channel]
        beside[clip, node, channel::CHANNELS] = dct(path, norm="ortho")
    expected = oracles.prediction(
        np.concatenate((array(hidden), beside), axis=-1),
        array(recent)[:, -3:],
        array(labels),
        3,
        fuse=mlp(head.fuse),
        graph=joint_convolution(head.convolution, actional),
        gru=gru(head),
        output=linears(head.displace),
    )
    close(head(hidden, actional, recent, labels, 3), expected)


def test_rates_are_a_change_of_variables():
    """Reading 24: differences over their size go in, the size of a velocity comes out; (10) itself has no such numbers."""
    head, (first, second) = module(), (0.25, 0.0625)
    head.rates.copy_(torch.tensor([first, second]))
    hidden, recent, actional = noise(2, NODES, INPUTS), noise(2, 3, NODES, CHANNELS, seed=9), directed_graphs(2, NODES)
    labels = labels_for(2)
    inner, last = linears(head.displace)
    cell = gru(head)
    columns = cell.weight_input.copy()
    columns[:, CHANNELS : 2 * CHANNELS] /= first
    columns[:, 2 * CHANNELS : 3 * CHANNELS] /= second
    expected = oracles.prediction(
        array(hidden),
        array(recent),
        array(labels),
        4,
        fuse=mlp(head.fuse),
        graph=joint_convolution(head.convolution, actional),
        gru=replace(cell, weight_input=columns),
        output=(inner, oracles.Linear(first * last.weight, first * last.bias)),
    )
    close(head(hidden, actional, recent, labels, 4), expected)


def test_horizon_is_free():
    """A long prediction begins with the short one."""
    head, hidden, recent = module(), noise(2, NODES, INPUTS), noise(2, 3, NODES, CHANNELS)
    actional, labels = directed_graphs(2, NODES), labels_for(2)
    long = head(hidden, actional, recent, labels, 9)
    assert long.shape == (2, 9, NODES, CHANNELS)
    for horizon in (1, 3):
        close(head(hidden, actional, recent, labels, horizon), array(long[:, :horizon]))


def test_every_term_of_10b_is_heard():
    """Each of the three observed poses (through D1 and D2) and each class probability moves the second predicted frame."""
    head, hidden = module(), noise(1, NODES, INPUTS)
    recent, labels = noise(1, 3, NODES, CHANNELS).requires_grad_(), labels_for(1).requires_grad_()
    head(hidden, directed_graphs(1, NODES), recent, labels, 2)[0, 1].sum().backward()
    assert recent.grad is not None and bool((recent.grad != 0).all())
    assert labels.grad is not None and bool((labels.grad != 0).all())


def test_untrained_head_stands_still():
    """(10c) is a displacement: where f_pred is zero, as it starts, every frame is the current pose."""
    convolution = JointGraphConvolution(HIDDEN, HIDDEN, make_powers(NODES, 2), 0.5)
    head = PredictionHead(INPUTS, HIDDEN, CHANNELS, CLASSES, convolution, 0.0).double()
    recent = noise(2, 3, NODES, CHANNELS)
    future = head(noise(2, NODES, INPUTS), directed_graphs(2, NODES), recent, labels_for(2), 5)
    close(future, array(recent[:, -1:].expand(-1, 5, -1, -1)))


def test_only_differences_and_pose_reach_the_gates():
    """With the GRU deaf to the pose itself, a body moved as a whole is predicted moved by as much."""
    head = module()
    with torch.no_grad():
        head.cell.weight_ih[:, :CHANNELS] = 0
    hidden, recent, actional, labels = (
        noise(2, NODES, INPUTS),
        noise(2, 3, NODES, CHANNELS),
        directed_graphs(2, NODES),
        labels_for(2),
    )
    moved = head(hidden, actional, recent + 2.5, labels, 4)
    close(moved, array(head(hidden, actional, recent, labels, 4) + 2.5))


def test_moves_with_the_joints():
    head, order = module(), permutation(NODES)
    relabelled = module(graphs=relabel(make_powers(NODES, 2), order))
    state = head.state_dict()
    state["convolution.edges"] = relabel(state["convolution.edges"], order)
    relabelled.load_state_dict(state)
    hidden, recent, actional, labels = (
        noise(2, NODES, INPUTS),
        noise(2, 3, NODES, CHANNELS),
        directed_graphs(2, NODES),
        labels_for(2),
    )
    moved = relabelled(hidden[:, order], relabel(actional, order), recent[:, :, order], labels, 4)
    close(moved, array(head(hidden, actional, recent, labels, 4)[:, :, order]))


def test_gradients():
    convolution = JointGraphConvolution(2, 2, make_powers(3, 2), 0.5)
    head = randomise(PredictionHead(3, 2, 2, 2, convolution, 0.0))

    class TwoFrames(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head = head

        def forward(self, hidden: Tensor, actional: Tensor, recent: Tensor, labels: Tensor) -> Tensor:
            return self.head(hidden, actional, recent, labels, 2)

    assert gradients_agree(TwoFrames(), noise(2, 3, 3), directed_graphs(2, 3), noise(2, 3, 3, 2), labels_for(2, 2))


def test_labels_are_the_fused_ones_and_carry_no_gradient():
    """Reading 14: y is the softmax of the two networks' fused scores; the prediction loss never reaches a recognition head."""
    config = replace(load_preset("light").model, width=0.05, agim_iterations=1)
    model = randomise(SymGNN(config, load_layout("cmu"), observed=4, channels=3, classes=CLASSES))
    seen = []
    for network in model.networks:
        assert isinstance(network, Network) and network.prediction is not None
        network.prediction.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[3]))
    features = model.encode(noise(2, 4, 26, 3))
    scores = model.recognise(features)
    joints, bones = model.predict(features, model.fuse(scores), 2)
    (joints.square().sum() + bones.square().sum()).backward()
    fused = oracles.softmax(array(scores[0] + config.bone_weight * scores[1])[0])
    assert len(seen) == 2
    for labels in seen:
        assert not labels.requires_grad
        close(labels[0], fused)
    for network in model.networks:
        assert isinstance(network, Network) and network.recognition is not None and network.prediction is not None
        assert all(parameter.grad is None for parameter in network.recognition.parameters())
        assert all(parameter.grad is not None for parameter in network.prediction.parameters())
