"""J-GTC and P-GTC blocks, eqs. (6) and (8), Fig. 4; a branch and the backbone made of them, Fig. 6."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import oracles
from fitting import agim as agim_weights
from fitting import (
    array,
    awaken,
    block,
    blocks,
    close,
    directed_graphs,
    gradients_agree,
    noise,
    permutation,
    randomise,
    relabel,
    tree,
)
from symgnn.config import ModelConfig
from symgnn.models import Backbone, Branch
from symgnn.nn import GraphTemporalBlock, JointGraphConvolution, PartGraphConvolution
from symgnn.skeleton import Graph, normalise, powers

# Inputs, features between the two convolutions, outputs, kernel, stride.
SHAPES = pytest.mark.parametrize(
    ("inputs", "features", "outputs", "kernel", "stride"),
    [(4, 4, 4, 9, 1), (3, 4, 5, 9, 1), (4, 4, 4, 7, 2), (6, 3, 3, 3, 2), (4, 2, 4, 3, 1)],
    ids=["same", "wider", "same, half the frames", "narrower, half the frames", "same, narrow inside"],
)


def joint_block(
    inputs: int, features: int, outputs: int, kernel: int, stride: int, *, body: Tensor | None = None, dropout: float = 0.1
) -> GraphTemporalBlock:
    body = tree(5) if body is None else body
    graph = JointGraphConvolution(inputs, features, powers(normalise(body), 2), 0.5)
    return GraphTemporalBlock(graph, inputs, features, outputs, kernel=kernel, stride=stride, dropout=dropout)


def part_block(inputs: int, features: int, outputs: int, kernel: int, stride: int) -> GraphTemporalBlock:
    graph = PartGraphConvolution(inputs, features, normalise(tree(5)))
    return GraphTemporalBlock(graph, inputs, features, outputs, kernel=kernel, stride=stride, dropout=0.1)


@SHAPES
def test_joint_block_agrees_with_the_oracle(inputs, features, outputs, kernel, stride):
    module, x, actional = (
        randomise(joint_block(inputs, features, outputs, kernel, stride)),
        noise(2, 7, 5, inputs),
        directed_graphs(2, 5),
    )
    close(module(x, actional), oracles.block(array(x), block(module, actional)))


@SHAPES
def test_part_block_agrees_with_the_oracle(inputs, features, outputs, kernel, stride):
    module, x = randomise(part_block(inputs, features, outputs, kernel, stride)), noise(2, 7, 5, inputs)
    close(module(x), oracles.block(array(x), block(module)))


@SHAPES
def test_residual_is_the_identity_only_where_shapes_agree(inputs, features, outputs, kernel, stride):
    """Reading 12. With the second batch norm silenced the block answers ReLU of its residual."""
    module, x = randomise(joint_block(inputs, features, outputs, kernel, stride)), noise(2, 7, 5, inputs)
    with torch.no_grad():
        module.temporal_norm.weight.zero_()
        module.temporal_norm.bias.zero_()
    result = module(x, directed_graphs(2, 5))
    if inputs == outputs and stride == 1:
        assert block(module).shortcut is None
        close(result, array(x.relu()))
    else:
        shortcut = block(module).shortcut
        assert shortcut is not None
        matrix, bias, norm = shortcut
        expected = [[[norm(matrix @ node + bias) for node in frame] for frame in clip[::stride]] for clip in array(x)]
        close(result, oracles.relu(np.array(expected)))


def test_dropout_sits_after_the_second_batch_norm():
    """Fig. 4 and Table 17, "bn-dropout-relu": with everything dropped only the residual is left."""
    module, x = randomise(joint_block(4, 4, 4, 3, 1)), noise(2, 7, 5, 4)
    module.dropout.p = 1.0
    module.dropout.train()
    close(module(x, directed_graphs(2, 5)), array(x.relu()))


def test_batch_norm_in_training_counts_clips_frames_and_nodes():
    """One mean and variance a feature, over everything else, of what the oracle has before each norm."""
    module, x, actional = randomise(joint_block(3, 4, 5, 3, 2, dropout=0.0)), noise(2, 6, 5, 3), directed_graphs(2, 5)
    weights = block(module, actional)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d):
            part.momentum = 1.0
    module.train()(x, actional)
    before = weights.graph(array(x))
    for norm, values in ((module.graph_norm, before), (module.temporal_norm, None)):
        if values is None:
            own = replace(weights.graph_norm, mean=before.mean(axis=(0, 1, 2)), variance=before.var(axis=(0, 1, 2)))
            values = oracles.temporal(oracles.relu(own(before)), weights.weight, weights.bias, weights.stride)
        assert norm.running_mean is not None and norm.running_var is not None
        close(norm.running_mean, values.mean(axis=(0, 1, 2)))
        close(norm.running_var, values.reshape(-1, values.shape[-1]).var(axis=0, ddof=1))


@pytest.mark.parametrize("stride", [1, 2])
def test_block_moves_with_the_joints(stride):
    body, order = tree(5), permutation(5)
    module, relabelled = randomise(joint_block(3, 4, 5, 3, stride)), joint_block(3, 4, 5, 3, stride, body=relabel(body, order))
    state = module.state_dict()
    state["graph.edges"] = relabel(state["graph.edges"], order)
    relabelled.double().eval().load_state_dict(state)
    x, actional = noise(2, 7, 5, 3), directed_graphs(2, 5)
    close(relabelled(x[:, :, order], relabel(actional, order)), array(module(x, actional)[:, :, order]))


@pytest.mark.parametrize(("outputs", "stride"), [(2, 1), (3, 2)])
def test_block_gradients(outputs, stride):
    body = tree(3)
    module = randomise(joint_block(2, 2, outputs, 3, stride, body=body))
    assert gradients_agree(module, noise(2, 4, 3, 2), directed_graphs(2, 3))


def test_part_block_gradients():
    assert gradients_agree(randomise(part_block(2, 2, 3, 3, 2)), noise(2, 4, 5, 2))


# --- the blocks together ------------------------------------------------------------------------------------------------

MEMBERSHIP = torch.tensor([[1, 0, 0, 1, 0], [0, 0, 1, 0, 0], [0, 1, 0, 0, 1]], dtype=torch.float64)
CONFIG = ModelConfig(
    graph_channels=(3, 3, 4, 5),
    channels=(3, 4, 4, 5),
    strides=(1, 2, 2, 2),
    kernels=(3, 3, 3, 1),
    fuse_after=(2, 3),
    hop=2,
    agim_iterations=1,
    agim_hidden=6,
    actional_weight=0.5,
)
DEEP = replace(
    CONFIG, graph_channels=(2, 2, 2, 3, 3), channels=(2, 2, 3, 3, 3), strides=(1, 1, 2, 1, 1), kernels=(3,) * 5, fuse_after=(3,)
)


def body(order: Tensor | None = None) -> Graph:
    """Five joints and three parts, relabelled if asked."""
    joints, members = tree(5), MEMBERSHIP
    if order is not None:
        joints, members = relabel(joints, order), members[:, order]
    return Graph(joints, members, tree(3))


def branch(config: ModelConfig, x: Tensor, actional: Tensor | None) -> Branch:
    return awaken(randomise(Branch(config, body(), x.shape[-1])), x, actional)


@pytest.mark.parametrize("config", [CONFIG, DEEP, replace(CONFIG, fuse_after=())], ids=["light", "deep", "no fusion"])
def test_branch_agrees_with_the_oracle(config):
    """Fig. 6 and reading 13: who is pooled, copied and concatenated when, in which order, and the sum and mean at the end."""
    x, actional = noise(2, 9, 5, 3), directed_graphs(2, 5)
    module = branch(config, x, actional)
    expected = oracles.branch(
        array(x),
        blocks(list(module.joint_blocks.values()), actional),
        blocks(list(module.part_blocks.values())),
        config.fuse_after,
        array(MEMBERSHIP),
    )
    assert (expected > 0).mean() > 0.3
    close(module(x, actional), expected)


def test_joint_scale_alone_agrees_with_the_oracle():
    """Reading 16, "Only J": the J-GTC blocks one after the other, averaged over time."""
    x, actional = noise(2, 9, 5, 3), directed_graphs(2, 5)
    module = branch(replace(CONFIG, scales="joint"), x, actional)
    expected = array(x)
    for weights in blocks(list(module.joint_blocks.values()), actional):
        expected = oracles.block(expected, weights)
    close(module(x, actional), expected.mean(axis=1))


def test_part_scale_alone_agrees_with_the_oracle():
    """Reading 16, "Only P": the P-GTC blocks on the pooled input, features copied to joints."""
    x = noise(2, 9, 5, 3)
    module = branch(replace(CONFIG, scales="part"), x, None)
    expected = oracles.joint2part(array(x), array(MEMBERSHIP))
    weights = blocks(list(module.part_blocks.values()))
    assert len(weights) == 3
    for each in weights:
        expected = oracles.block(expected, each)
    close(module(x, None), oracles.part2joint(expected, array(MEMBERSHIP)).mean(axis=1))


@pytest.mark.parametrize("orders", [(0, 1, 2), (0, 1), (2,)])
@pytest.mark.parametrize("graphs", ["both", "structural"])
def test_backbone_is_one_branch_an_order_on_one_actional_graph(orders, graphs):
    """Reading 7: AGIM reads the positions of the whole window once; section 5.1.1: branch b reads the difference of order b."""
    motion = noise(2, 6, 5, 3)
    config = replace(CONFIG, difference_orders=orders, graphs=graphs)
    module = awaken(randomise(Backbone(config, body(), 6, 3)), motion)
    actional = None if module.agim is None else torch.from_numpy(oracles.agim(array(motion), agim_weights(module.agim)))
    expected = []
    for order, each in zip(orders, module.branches, strict=True):
        assert isinstance(each, Branch)
        joints, parts = blocks(list(each.joint_blocks.values()), actional), blocks(list(each.part_blocks.values()))
        expected.append(oracles.branch(oracles.difference(array(motion), order), joints, parts, (2, 3), array(MEMBERSHIP)))
    hidden, graph = module(motion)
    close(hidden, np.concatenate(expected, axis=-1))
    if actional is None:
        assert graph is None
    else:
        close(graph, array(actional))


def test_backbone_moves_with_the_joints():
    motion, order = noise(2, 6, 5, 3), permutation(5)
    module = awaken(randomise(Backbone(CONFIG, body(), 6, 3)), motion)
    relabelled = Backbone(CONFIG, body(order), 6, 3).double().eval()
    state = {
        name: relabel(value, order) if name.endswith("graph.edges") and ".joint_blocks." in name else value
        for name, value in module.state_dict().items()
    }
    relabelled.load_state_dict(state)
    hidden, graph = module(motion)
    moved_hidden, moved_graph = relabelled(motion[:, :, order])
    close(moved_hidden, array(hidden[:, order]))
    close(moved_graph, array(relabel(graph, order)))


def test_backbone_gradients():
    sizes = {"graph_channels": (2,) * 3, "channels": (2,) * 3, "strides": (1, 2, 1), "kernels": (3,) * 3}
    small = replace(CONFIG, **sizes, fuse_after=(2,), agim_hidden=2)
    motion = noise(2, 3, 5, 2)
    module = awaken(randomise(Backbone(small, body(), 3, 2)), motion)
    assert gradients_agree(module, motion, fast=True)
