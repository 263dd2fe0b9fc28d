"""Actional graphs: AGIM, eqs. (1) and (2) and Table 16; AGC, eq. (3)."""

import numpy as np
import pytest
import torch
from torch import nn

import oracles
from fitting import (
    agim,
    array,
    awaken,
    close,
    directed_graphs,
    gradients_agree,
    linears,
    noise,
    permutation,
    randomise,
    relabel,
)
from symgnn.nn import ActionalGraphConvolution, ActionalGraphInference


def module(
    iterations: int = 2, *, frames: int = 4, joints: int = 6, channels: int = 3, hidden: int = 8
) -> ActionalGraphInference:
    inference = randomise(ActionalGraphInference(frames * channels, hidden, iterations))
    with torch.no_grad():
        for embedding in (inference.outgoing, inference.incoming):
            for parameter in embedding[-1].parameters():
                parameter *= 0.3  # scores of about one: the softmax is neither uniform nor saturated
    return awaken(inference, noise(8, frames, joints, channels, seed=6))


@pytest.mark.parametrize("iterations", [0, 1, 2, 4])
@pytest.mark.parametrize("joints", [2, 3, 6])
def test_agim_agrees_with_the_oracle(iterations, joints):
    """Table 16 read as `oracles.Agim` says: f_v<0>; K times f_e<k>, mean over the other joints, f_v<k>; embeddings; (2).

    K = 0 (Fig. 8) leaves the embeddings of p<0>.
    """
    inference = module(iterations, joints=joints)
    motion = noise(2, 4, joints, 3)
    expected = oracles.agim(array(motion), agim(inference))
    assert expected.std(axis=1).max() > 1e-5, "a graph whose rows are all alike would agree with anything"
    close(inference(motion), expected)


def test_agim_rows_are_softmax():
    """(2): entries in [0, 1], rows sum to one over the other end j, and the graph is directed."""
    graph = module()(noise(3, 4, 6, 3)).detach()
    assert bool((graph >= 0).all()) and bool((graph <= 1).all())
    torch.testing.assert_close(graph.sum(dim=2), torch.ones(3, 6, dtype=torch.float64), rtol=0, atol=1e-12)
    assert float((graph.sum(dim=1) - 1).abs().max()) > 1e-3
    assert float((graph - graph.transpose(1, 2)).abs().max()) > 1e-3


@pytest.mark.parametrize("iterations", [0, 1, 2])
def test_agim_moves_with_the_joints(iterations):
    inference, order = module(iterations), permutation(6)
    motion = noise(2, 4, 6, 3)
    close(inference(motion[:, :, order]), array(relabel(inference(motion), order)))


def test_agim_reads_each_clip_alone():
    inference, motion = module(), noise(3, 4, 5, 3)
    close(inference(motion)[1:2], array(inference(motion[1:2])))


def test_agim_reads_every_frame_and_channel():
    """x_i is the whole window (time outer, channel inner): every number of it moves the graph."""
    inference, motion = module(), noise(1, 4, 3, 3).requires_grad_()
    inference(motion)[0, 0, 1].backward()
    assert motion.grad is not None and bool((motion.grad != 0).all())


def test_pair_collects_at_its_first_end():
    """(1a) puts p_i first and (1b) gives q_ij to p_i: edge MLPs blind to their second half never carry news between joints."""
    inference = module(2)
    with torch.no_grad():
        for edge in inference.edges:
            next(part for part in edge.modules() if isinstance(part, nn.Linear)).weight[:, 8:] = 0
    seen = []
    inference.nodes[-1].register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    motion = noise(1, 4, 4, 3)
    changed = motion.clone()
    changed[:, :, 2] += 1
    inference(motion)
    inference(changed)
    moved = (seen[0] != seen[1]).any(dim=(0, 2))
    assert moved.tolist() == [False, False, True, False]


@pytest.mark.parametrize("joints", [2, 5])
def test_batch_norm_of_edges_sees_each_ordered_pair_once(joints):
    """Table 16: "M joints to (M^2 - M) links". Training statistics are of the links with i != j and of no others."""
    inference = ActionalGraphInference(12, 5, 1, dropout=0.0).double().train()
    motion = noise(2, 4, joints, 3)
    (edge,) = inference.edges
    (norm,) = [part for part in edge.modules() if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d)]
    norm.momentum = 1.0
    seen = []
    edge.register_forward_pre_hook(lambda _module, inputs: seen.append(array(inputs[0])))
    inference(motion)
    first, second = linears(edge)
    raw = oracles.Mlp(first, second)
    (p,) = seen
    links = [raw(np.concatenate([p[b, i], p[b, j]])) for b in range(2) for i in range(joints) for j in range(joints) if i != j]
    assert norm.running_mean is not None and norm.running_var is not None
    close(norm.running_mean, np.mean(links, axis=0))
    close(norm.running_var, np.var(links, axis=0, ddof=1))


def test_dropout_sits_between_the_two_layers():
    """Table 16: Linear-relu-dropout-Linear-relu-bn. With everything dropped an MLP answers bn(relu(second bias)) for all."""
    inference = module(1)
    dropouts = [part for part in inference.modules() if isinstance(part, nn.Dropout)]
    assert len(dropouts) == 5, "f_v<0>, f_e<1>, f_v<1>, f_emb, g_emb"
    for part in dropouts:
        part.p = 1.0
        part.train()
    seen = []
    for part in (inference.embed, *inference.edges, *inference.nodes):
        part.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    inference(noise(1, 4, 3, 3))
    weights = agim(inference)
    for output, mlp in zip(seen, (weights.first, *weights.edges, *weights.nodes), strict=True):
        assert mlp.norm is not None
        close(output, np.broadcast_to(mlp.norm(oracles.relu(mlp.second.bias)), (1, 3, 8)))


@pytest.mark.parametrize("iterations", [0, 1])
def test_agim_gradients(iterations):
    inference = module(iterations, frames=2, channels=2, hidden=3)
    assert gradients_agree(inference, noise(2, 2, 3, 2))


def test_agim_refuses_another_window():
    with pytest.raises(ValueError, match="12"):
        module()(noise(1, 5, 3, 3))


def test_agc_by_hand():
    """Two joints, one feature in, two out: A X = [3, 2.5], W = [[2], [-1]]."""
    convolution = randomise(ActionalGraphConvolution(1, 2))
    with torch.no_grad():
        convolution.weight.copy_(torch.tensor([[2.0], [-1.0]]))
    actional = torch.tensor([[[0.0, 1.0], [0.25, 0.75]]], dtype=torch.float64)
    x = torch.tensor([1.0, 3.0], dtype=torch.float64).reshape(1, 1, 2, 1)
    close(convolution(x, actional), np.array([[[[6.0, -3.0], [5.0, -2.5]]]]))


def test_agc_agrees_with_the_oracle():
    """One graph a clip, the same at all its frames; no bias."""
    convolution = randomise(ActionalGraphConvolution(3, 4))
    x, actional = noise(2, 5, 6, 3), directed_graphs(2, 6)
    close(convolution(x, actional), oracles.agc(array(x), array(actional), array(convolution.weight)))


def test_agc_moves_with_the_joints():
    convolution, order = randomise(ActionalGraphConvolution(3, 4)), permutation(6)
    x, actional = noise(2, 5, 6, 3), directed_graphs(2, 6)
    close(convolution(x[:, :, order], relabel(actional, order)), array(convolution(x, actional)[:, :, order]))


def test_agc_gradients():
    assert gradients_agree(randomise(ActionalGraphConvolution(2, 3)), noise(2, 2, 3, 2), directed_graphs(2, 3))
