"""Published networks of recognition against oracles written apart from them, in float64."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

import tiny
from fitting import array, awaken, gradients_agree, noise, randomise
from symgnn.config import ModelConfig, TrainingConfig, load_preset
from symgnn.errors import InputError
from symgnn.models.baselines import NETWORKS, Baseline, WindowShape
from symgnn.models.baselines.ctr_gcn import CtrGcn, MultiScaleConvolution, RefinedBlock, RefinedGraphConvolution
from symgnn.models.baselines.hcn import CoOccurrenceNetwork, resized
from symgnn.models.baselines.st_gcn import Stream, partition
from symgnn.models.baselines.two_stream_agcn import AdaptiveBlock, AdaptiveGraphConvolution, TwoStreamAgcn
from symgnn.models.checkpoint import build
from symgnn.skeleton import layout_from_dict, load_layout
from symgnn.training.step import training_step

GRAPHS = ("st-gcn", "2s-agcn", "ctr-gcn")
NAMES = (*GRAPHS, "hcn")
STREAMS = {"st-gcn": 1, "2s-agcn": 2, "ctr-gcn": 1, "hcn": 1}
PUBLISHED = {
    "st-gcn": ("sgd", 0.1, 0.5),
    "2s-agcn": ("sgd", 0.1, 0.5),
    "ctr-gcn": ("sgd", 0.1, 0.0),
    "hcn": ("adam", 1e-3, 0.5),
}
"""Optimiser, rate, dropout."""
HIPS, SPINE, HEAD, LEFT, RIGHT = range(5)


def small(name: str, width: float = 0.06, **settings: Any) -> Baseline:
    """A small network on the body of five joints in float64, untrained, with the statistics of its motion."""
    torch.manual_seed(0)
    config = ModelConfig(
        network=name, width=width, prediction=False, bone=False, **{"dropout": 0.0, "scaling": "body", **settings}
    )
    torch.set_default_dtype(torch.float64)
    try:
        network = NETWORKS[name](
            config, tiny.layout(), WindowShape(observed=tiny.OBSERVED, future=tiny.FUTURE, channels=3, classes=3)
        )
    finally:
        torch.set_default_dtype(torch.float32)
    network.fit_normalisation([torch.from_numpy(tiny.motion(label, 0.3)) for label in range(3)])
    return network.eval()


def drawn(name: str, **settings: Any) -> Baseline:
    """The same with every parameter and running statistic drawn anew, statistics of the data as they are."""
    network = small(name, **settings)
    mean, scale = network.mean.clone(), network.scale.clone()
    randomise(network)
    network.mean.copy_(mean)
    network.scale.copy_(scale)
    return network


def windows(batch: int = 4, seed: int = 1) -> Tensor:
    return tiny.make_batch(batch, seed).observed


def logits(network: Baseline, observed: Tensor, together: Tensor | None = None) -> Tensor:
    found = network(observed, 1, together).logits
    assert found is not None
    return found


def parameters(name: str) -> int:
    """Of the network as its own preset has it, on NTU RGB+D's 25 joints, three coordinates and 60 classes."""
    preset = load_preset("ntu60-xsub", name)
    network = build(preset, load_layout(preset.data.layout), 60)
    return sum(weight.numel() for weight in network.parameters())


# --- what holds for each of them ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_with_the_network_in_its_place(name: str):
    preset, plain = load_preset("cmu-long-cpu", name), load_preset("cmu-long-cpu")
    assert preset.name == f"cmu-long-cpu-{name}" and preset.model.network == name
    assert preset.model.width == 1.0
    assert (preset.training.optimizer, preset.training.learning_rate, preset.model.dropout) == PUBLISHED[name]
    assert preset.data == plain.data
    kept = ("steps", "batch", "schedule", "warm_up", "time_reversal", "mirror", "tempo", "average", "validation", "seed")
    assert all(getattr(preset.training, field) == getattr(plain.training, field) for field in kept)
    short = replace(preset, data=replace(preset.data, observed=3), model=replace(preset.model, width=0.02))
    network = build(short, load_layout("cmu"), 8).eval()
    assert isinstance(network, NETWORKS[name]) and network.recognises and not network.predicts
    # The shortest window there is, of the 26 rotations in use; no future is answered.
    answer = network(noise(2, 3, 26, 3).float(), 5)
    assert answer.future is None and answer.logits is not None
    assert answer.logits.shape == (2, 8) and answer.logits.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_a_prediction_head_is_refused(name: str):
    with pytest.raises(InputError, match=f"prediction: found True, but {name} has no prediction head"):
        NETWORKS[name](ModelConfig(network=name), tiny.layout(), WindowShape(observed=8, future=4, channels=3, classes=3))


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_every_parameter(name: str):
    network = drawn(name).train()
    training_step(network, tiny.make_batch(), TrainingConfig()).surrogate.backward()
    for path, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, path


@pytest.mark.parametrize("name", NAMES)
def test_persons_of_a_recording_share_their_scores_in_any_order(name: str):
    network, observed, together = drawn(name), windows(5), torch.tensor([0, 0, 0, 1, 2])
    found = logits(network, observed, together)
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(found[0], found[2])
    order = torch.tensor([2, 0, 1, 3, 4])
    torch.testing.assert_close(logits(network, observed[order], together), found)
    alone = logits(network, observed)
    torch.testing.assert_close(alone[3:], found[3:])
    assert (alone[0] - alone[1]).abs().max() > 1e-3


@pytest.mark.parametrize("name", GRAPHS)
def test_the_mean_of_persons(name: str):
    """The last layer is linear: the mean of persons' features has the mean of their scores."""
    network, observed = drawn(name), windows(4)
    found = logits(network, observed, torch.tensor([0, 0, 0, 1]))
    torch.testing.assert_close(found[0], logits(network, observed[:3]).mean(dim=0))


@pytest.mark.parametrize("name", NAMES)
def test_missing_joints_give_finite_scores_of_their_own(name: str):
    network, observed = drawn(name), windows(3)
    whole = logits(network, observed)
    observed[0, 2:5, 1] = torch.nan
    observed[1, :, 3] = torch.nan
    observed[2, -1] = torch.nan
    found = logits(network, observed)
    assert found.isfinite().all() and (found - whole).abs().amax(dim=1).min() > 0


@pytest.mark.parametrize("name", NAMES)
def test_each_stream_has_a_cross_entropy_of_its_own(name: str):
    network, batch = drawn(name), tiny.make_batch()
    scores = network.scores(network.filled(batch.observed), None)
    assert len(scores) == STREAMS[name]
    labelled = batch.label >= 0
    rows, true = torch.arange(int(labelled.sum())), batch.label[labelled]
    expected = sum(float(-each.detach()[labelled].log_softmax(dim=1)[rows, true].mean()) for each in scores)
    step = training_step(network, batch, TrainingConfig())
    assert step.recognition is not None and step.prediction is None
    assert float(step.recognition) == pytest.approx(expected)
    torch.testing.assert_close(logits(network, batch.observed), sum(scores[1:], scores[0]))


@pytest.mark.parametrize("name", NAMES)
def test_learns_one_batch_by_heart(name: str):
    network, batch = small(name, width=0.1).train(), tiny.make_batch(12)
    optimizer = (
        torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, nesterov=True)
        if PUBLISHED[name][0] == "sgd"
        else torch.optim.Adam(network.parameters(), lr=0.01)
    )
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        step = training_step(network, batch, TrainingConfig())
        step.surrogate.backward()
        optimizer.step()
        losses.append(float(step.surrogate.detach()))
    assert step.accuracy is not None and float(step.accuracy) == 1.0
    assert losses[0] > 0.7 * STREAMS[name] and losses[-1] < 0.05 * STREAMS[name], losses[::8]


@pytest.mark.parametrize("name", NAMES)
def test_scores_ask_the_device_for_nothing(name: str):
    """Nor do their gradients: tensors without values cannot answer. A step can be recorded then."""
    network = small(name, dropout=0.5).train()
    motion = network.filled(windows(5))
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        together = mode.from_tensor(torch.tensor([0, 0, 0, 1, 2]))
        scores = network.scores(mode.from_tensor(motion), together)
        torch.stack(scores).logsumexp(dim=2).sum().backward()
    assert all(each.shape == (5, 3) for each in scores)


@pytest.mark.parametrize("name", NAMES)
def test_dropout_is_the_presets(name: str):
    for rate, same in ((0.0, True), (0.5, False)):
        network = drawn(name, dropout=rate).train()
        motion = network.filled(windows())
        assert torch.equal(network.scores(motion, None)[0], network.scores(motion, None)[0]) == same


@pytest.mark.parametrize(("name", "published"), [("st-gcn", 3.10e6), ("2s-agcn", 6.94e6)])
def test_published_number_of_parameters(name: str, published: float):
    """On NTU RGB+D: Y.-F. Song, Z. Zhang, C. Shan, L. Wang, "Constructing Stronger and Faster Baselines for Skeleton-based
    Action Recognition", the table of comparisons (3.10 M and 6.94 M).
    """
    assert parameters(name) == pytest.approx(published, rel=0.01)


def test_published_number_of_parameters_of_ctr_gcn():
    """1.46 M in the paper, whose comparisons of networks are on the 120 classes of NTU RGB+D 120."""
    assert parameters("ctr-gcn") == pytest.approx(1.46e6, rel=0.02)
    assert parameters("ctr-gcn") + 60 * 257 == pytest.approx(1.46e6, rel=0.003)


def test_published_cost_of_ctr_gcn():
    """1.97 GFLOP in the paper, for 64 frames of two persons: a multiplication and an addition are one. ψ and φ of the mean
    frame, in place of the means of ψ and φ of each frame, spare almost a tenth.
    """
    preset = load_preset("ntu60-xsub", "ctr-gcn")
    network = build(preset, load_layout("ntu25"), 60).eval()
    assert isinstance(network, CtrGcn)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.scores(torch.zeros(2, 64, 25, 3), torch.zeros(2, dtype=torch.long))
    spared = 0
    for block, frames in zip(network.blocks, (64,) * 5 + (32,) * 3 + (16,) * 2, strict=True):
        assert isinstance(block, RefinedBlock)
        spared += 2 * block.graph.psi.numel() * 2 * 25 * (frames - 1)
    assert counter.get_total_flops() / 2 + spared == pytest.approx(1.97e9, rel=0.02)
    assert 0.08 * 1.97e9 < spared < 0.1 * 1.97e9


# --- st-gcn -----------------------------------------------------------------------------------------------------------------


def test_partition_of_five_joints_by_hand():
    """Hips - Spine - Head, and two legs on the hips, which are the centre."""
    expected = np.zeros((3, 5, 5))
    for joint in range(5):
        expected[0, joint, joint] = 1
    expected[1, SPINE, HIPS] = expected[1, HEAD, SPINE] = expected[1, LEFT, HIPS] = expected[1, RIGHT, HIPS] = 1
    expected[2, HIPS, SPINE] = expected[2, HIPS, LEFT] = expected[2, HIPS, RIGHT] = 1 / 3
    expected[2, SPINE, HEAD] = 1
    np.testing.assert_allclose(array(partition(tiny.layout())), expected, atol=1e-7)


def test_the_layouts_root_is_the_centre():
    """Seen from the head the same body's spine is nearer than the hips."""
    graphs = array(partition(layout_from_dict({**tiny.BODY, "root": "Head"})))
    assert graphs[1, HIPS, SPINE] == graphs[1, SPINE, HEAD] == 1 and graphs[1, HEAD].sum() == 0
    np.testing.assert_allclose(graphs[2, HIPS, [LEFT, RIGHT]], 0.5)
    assert graphs[2, SPINE, HIPS] == graphs[2, HEAD, SPINE] == 1


@pytest.mark.parametrize("name", ["cmu", "ntu25"])
def test_partition_by_distances(name: str):
    """Eqs. (4) and (8) over any pairs of neighbours, distances by powers of the adjacency."""
    layout = load_layout(name)
    nodes = layout.num_nodes
    linked = np.eye(nodes)
    for a, b in layout.edges:
        linked[a, b] = linked[b, a] = 1
    reached, distance = np.eye(nodes)[layout.root_node], np.where(np.arange(nodes) == layout.root_node, 0, -1)
    for hops in range(1, nodes):
        reached = linked @ reached
        distance[(distance < 0) & (reached > 0)] = hops
    found = array(partition(layout))
    for i in range(nodes):
        label = {j: 0 if i == j else 1 if distance[j] < distance[i] else 2 for j in range(nodes) if linked[i, j]}
        for j in range(nodes):
            for part in range(3):
                together = list(label.values()).count(part)
                assert found[part, i, j] == pytest.approx(1 / together if label.get(j) == part else 0)


def normed(values: np.ndarray, weights: dict[str, np.ndarray], at: str) -> np.ndarray:
    """Batch norm of the last axis at inference."""
    spread = np.sqrt(weights[f"{at}.running_var"] + 1e-5)
    return (values - weights[f"{at}.running_mean"]) / spread * weights[f"{at}.weight"] + weights[f"{at}.bias"]


def along_time(values: np.ndarray, weight: np.ndarray, bias: np.ndarray | float, stride: int, dilation: int = 1) -> np.ndarray:
    """A convolution along time by loops, (time, joint, feature), zeros beyond the window; weight (output, input, kernel)."""
    time, nodes, _ = values.shape
    kernel = weight.shape[2]
    found = np.zeros((-(-time // stride), nodes, len(weight)))
    for frame in range(len(found)):
        for node in range(nodes):
            for tap in range(kernel):
                if 0 <= (at := frame * stride + (tap - kernel // 2) * dilation) < time:
                    found[frame, node] += weight[:, :, tap] @ values[at, node]
    return found + bias


def st_gcn_oracle(network: Baseline, motion: np.ndarray) -> np.ndarray:
    """The paper's network for one window (time, joint, channel) of the five joints."""
    weights = {name.removeprefix("stream."): array(value.double()) for name, value in network.state_dict().items()}
    neighbours = {HIPS: [[HIPS], [], [SPINE, LEFT, RIGHT]], SPINE: [[SPINE], [HIPS], [HEAD]], HEAD: [[HEAD], [SPINE], []],
                  LEFT: [[LEFT], [HIPS], []], RIGHT: [[RIGHT], [HIPS], []]}  # fmt: skip
    hidden = normed(motion.reshape(len(motion), -1), weights, "norm").reshape(motion.shape)
    for block, stride in enumerate((1, 1, 1, 1, 2, 1, 1, 2, 1, 1)):
        at = f"blocks.{block}"
        weight, importance, bias = (weights[f"{at}.graph.{part}"] for part in ("weight", "edges", "bias"))
        mixed = np.zeros((*hidden.shape[:2], weight.shape[1]))
        for frame in range(len(hidden)):
            for node, parts in neighbours.items():
                for part, members in enumerate(parts):
                    for other in members:
                        mixed[frame, node] += (
                            importance[part, node, other] / len(members) * (weight[part] @ hidden[frame, other])
                        )
        mixed = np.maximum(normed(mixed + bias, weights, f"{at}.graph_norm"), 0)
        mixed = along_time(mixed, weights[f"{at}.temporal.weight"], weights[f"{at}.temporal.bias"], stride)
        mixed = normed(mixed, weights, f"{at}.temporal_norm")
        kept = hidden[::stride]
        if f"{at}.residual.0.weight" in weights:
            kept = normed(kept @ weights[f"{at}.residual.0.weight"].T, weights, f"{at}.residual.1")
        hidden = np.maximum(mixed + kept, 0)
    return weights["classify.weight"] @ hidden.mean(axis=(0, 1)) + weights["classify.bias"]


def test_st_gcn_is_the_papers_network():
    network = drawn("st-gcn")
    motion = network.filled(windows(3))
    with torch.no_grad():
        (found,) = network.scores(motion, None)
    expected = np.stack([st_gcn_oracle(network, array(each)) for each in motion])
    assert np.ptp(expected, axis=0).min() > 1e-3 * np.abs(expected).max()
    np.testing.assert_allclose(array(found), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["st-gcn", "2s-agcn"])
def test_blocks_have_the_papers_features_and_strides(name: str):
    config = ModelConfig(network=name, prediction=False, bone=False)
    network = NETWORKS[name](config, tiny.layout(), WindowShape(observed=16, future=1, channels=3, classes=3))
    streams = [part for part in network.modules() if isinstance(part, Stream)]
    assert len(streams) == STREAMS[name]
    for stream in streams:
        hidden, shapes = torch.zeros(1, 16, 5, 3), []
        for block in stream.blocks:
            hidden = block(hidden)
            shapes.append((hidden.shape[1], hidden.shape[3]))
        assert shapes == [(16, 64)] * 4 + [(8, 128)] * 3 + [(4, 256)] * 3


# --- 2s-agcn ----------------------------------------------------------------------------------------------------------------


def adaptive(inputs: int = 3, outputs: int = 8) -> AdaptiveGraphConvolution:
    """Drawn, with embeddings large enough for C to be far from uniform."""
    layer = randomise(AdaptiveGraphConvolution(inputs, outputs, partition(tiny.layout())))
    with torch.no_grad():
        layer.theta.weight.mul_(2)
        layer.phi.weight.mul_(2)
    return layer


def similarity(weights: dict[str, np.ndarray], motion: np.ndarray) -> np.ndarray:
    """C of one clip (time, joint, feature), number by number; embeddings of the three graphs one after the other."""
    time, nodes, _ = motion.shape
    size = len(weights["theta.weight"]) // 3
    found = np.zeros((3, nodes, nodes))
    for part in range(3):
        of_part = slice(part * size, (part + 1) * size)
        for i in range(nodes):
            likeness = np.zeros(nodes)
            for j in range(nodes):
                for frame in range(time):
                    one = weights["theta.weight"][of_part] @ motion[frame, i] + weights["theta.bias"][of_part]
                    other = weights["phi.weight"][of_part] @ motion[frame, j]
                    likeness[j] += sum(one[feature] * other[feature] for feature in range(size)) / (size * time)
            found[part, i] = np.exp(likeness) / np.exp(likeness).sum()
    return found


def adaptive_oracle(weights: dict[str, np.ndarray], motion: np.ndarray) -> np.ndarray:
    """Eq. (3) for one clip by loops: what joint i gathers from joint j with each of the three graphs."""
    time, nodes, inputs = motion.shape
    graphs = array(partition(tiny.layout())) + weights["learnt"] + similarity(weights, motion)
    found = np.zeros((time, nodes, len(weights["weight"]))) + weights["bias"]
    for frame in range(time):
        for i in range(nodes):
            for part in range(3):
                for j in range(nodes):
                    matrix = weights["weight"][:, part * inputs : (part + 1) * inputs]
                    found[frame, i] += graphs[part, i, j] * (matrix @ motion[frame, j])
    return found


def of(module: torch.nn.Module) -> dict[str, np.ndarray]:
    return {name: array(value.double()) for name, value in module.state_dict().items()}


def test_the_graph_that_follows_the_motion():
    layer, motion = adaptive(), noise(2, 6, 5, 3)
    found = layer.similar(motion)
    expected = np.stack([similarity(of(layer), array(each)) for each in motion])
    np.testing.assert_allclose(array(found), expected, rtol=1e-10)
    # Of each clip and each part its own, and far from uniform.
    assert (
        np.ptp(expected, axis=0).max() > 0.05 and np.ptp(expected, axis=1).max() > 0.05 and np.ptp(expected, axis=3).max() > 0.3
    )


def test_two_joints_alike_by_hand():
    """One feature a graph, one frame, motion 1 at the hips and 0 elsewhere: hips look at hips e to 1, others at all alike."""
    layer = AdaptiveGraphConvolution(1, 4, partition(tiny.layout())).double()
    with torch.no_grad():
        layer.theta.weight.fill_(1.0)
        layer.theta.bias.zero_()
        layer.phi.weight.fill_(1.0)
    motion = torch.zeros(1, 1, 5, 1, dtype=torch.float64)
    motion[0, 0, HIPS] = 1.0
    for graph in array(layer.similar(motion)[0]):
        np.testing.assert_allclose(graph[HIPS], np.array([np.e, 1, 1, 1, 1]) / (np.e + 4))
        np.testing.assert_allclose(graph[1:], 0.2)


def test_an_adaptive_graph_convolution():
    layer, motion = adaptive(), noise(2, 4, 5, 3)
    expected = np.stack([adaptive_oracle(of(layer), array(each)) for each in motion])
    np.testing.assert_allclose(array(layer(motion)), expected, rtol=1e-9, atol=1e-9)


def test_gradients_of_an_adaptive_graph_convolution():
    assert gradients_agree(adaptive(2, 4), noise(2, 2, 5, 2), fast=True)


def test_learnt_graphs_start_from_nothing():
    for name, parameter in small("2s-agcn").named_parameters():
        if name.endswith("learnt"):
            assert parameter.shape == (3, 5, 5) and not parameter.any()


@pytest.mark.parametrize(("inputs", "outputs", "stride"), [(3, 8, 1), (8, 8, 1), (4, 8, 2)])
def test_an_adaptive_block(inputs: int, outputs: int, stride: int):
    block = randomise(AdaptiveBlock(inputs, outputs, stride, partition(tiny.layout()), 0.5))
    motion = 0.2 * noise(2, 5, 5, inputs)
    weights = of(block)

    def round_about(values: np.ndarray, at: str) -> np.ndarray:
        if f"{at}.0.weight" not in weights:
            return values
        return normed(values @ weights[f"{at}.0.weight"].T, weights, f"{at}.1")

    for clip, found in zip(motion, array(block(motion)), strict=True):
        x = array(clip)
        y = normed(adaptive_oracle(of(block.graph), x), weights, "graph_norm") + round_about(x, "graph_residual")
        y = along_time(np.maximum(y, 0), weights["temporal.weight"], weights["temporal.bias"], stride)
        expected = np.maximum(normed(y, weights, "temporal_norm") + round_about(x[::stride], "residual"), 0)
        assert (expected > 0).mean() > 0.1
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def two_streams(**settings: Any) -> TwoStreamAgcn:
    network = drawn("2s-agcn", **settings)
    assert isinstance(network, TwoStreamAgcn)
    return network


@pytest.mark.parametrize("scaling", ["body", "coordinate"])
def test_bones_are_in_the_units_of_the_data(scaling: str):
    network, observed = two_streams(scaling=scaling), windows()
    found = array(network.bones(network.filled(observed)))
    joints = array(observed)
    assert not found[:, :, HIPS].any()
    for child, parent in ((SPINE, HIPS), (HEAD, SPINE), (LEFT, HIPS), (RIGHT, HIPS)):
        np.testing.assert_allclose(found[:, :, child], joints[:, :, child] - joints[:, :, parent], atol=1e-12)


def test_streams_are_independent():
    """Each is trained by its own loss alone, and the answer is the sum of both."""
    network, batch = two_streams().train(), tiny.make_batch()
    streams = (network.joint_stream, network.bone_stream)
    for own, other in ((0, 1), (1, 0)):
        network.zero_grad()
        network.scores(network.filled(batch.observed), None)[own].square().sum().backward()
        assert all(parameter.grad is not None for parameter in streams[own].parameters())
        assert all(parameter.grad is None for parameter in streams[other].parameters())
    assert not {*map(id, streams[0].parameters())} & {*map(id, streams[1].parameters())}
    assert len([*network.parameters()]) == sum(len([*stream.parameters()]) for stream in streams)


def test_where_somebody_stands_is_nothing_to_bones():
    network = two_streams()
    motion = network.filled(windows())
    there = network.filled(windows() + torch.tensor([3.0, 0.0, -1.0], dtype=torch.float64))
    (joints, bones), (moved_joints, moved_bones) = network.scores(motion, None), network.scores(there, None)
    torch.testing.assert_close(moved_bones, bones)
    assert (moved_joints - joints).abs().min() > 1e-3


# --- ctr-gcn ----------------------------------------------------------------------------------------------------------------


def refining(inputs: int = 3, outputs: int = 4, relation: int = 2) -> RefinedGraphConvolution:
    return randomise(RefinedGraphConvolution(inputs, outputs, relation, partition(tiny.layout())))


def refined_oracle(weights: dict[str, np.ndarray], motion: np.ndarray) -> np.ndarray:
    """R of one clip (time, joint, feature): weight of joint j for joint i, graph by graph and feature by feature."""
    parts, outputs, _ = weights["xi"].shape
    nodes = motion.shape[1]
    mean = sum(motion) / len(motion)
    found = np.zeros((parts, outputs, nodes, nodes))
    for part in range(parts):
        for i in range(nodes):
            for j in range(nodes):
                one = weights["psi"][part].T @ mean[i] + weights["psi_bias"][part]
                other = weights["phi"][part].T @ mean[j]
                for feature in range(outputs):
                    related = weights["xi"][part, feature] @ np.tanh(one - other) + weights["xi_bias"][part, feature]
                    found[part, feature, i, j] = weights["graphs"][part, i, j] + weights["alpha"] * related
    return found


def refined_convolution_oracle(weights: dict[str, np.ndarray], motion: np.ndarray) -> np.ndarray:
    """CTR-GC of one clip: every feature gathers over its own graphs."""
    time, nodes, _ = motion.shape
    graphs = refined_oracle(weights, motion)
    parts, outputs = graphs.shape[:2]
    found = np.zeros((time, nodes, outputs))
    for frame in range(time):
        for part in range(parts):
            features = [weights["weight"][part] @ motion[frame, j] + weights["bias"][part] for j in range(nodes)]
            for i in range(nodes):
                for feature in range(outputs):
                    found[frame, i, feature] += sum(graphs[part, feature, i, j] * features[j][feature] for j in range(nodes))
    return found


def multi_scale_oracle(weights: dict[str, np.ndarray], values: np.ndarray, stride: int) -> np.ndarray:
    """Kernel 5, kernel 5 over 9 frames, the largest of 3 frames, and a product, side by side."""
    reduced = np.maximum(normed(values @ weights["reduce.weight"].T, weights, "reduce_norm"), 0)
    branch = reduced.shape[2] // 3
    parts = [
        along_time(reduced[:, :, :branch], weights["convolutions.0.weight"][..., 0], 0.0, stride),
        along_time(reduced[:, :, branch : 2 * branch], weights["convolutions.1.weight"][..., 0], 0.0, stride, dilation=2),
        np.stack([reduced[max(at - 1, 0) : at + 2, :, 2 * branch :].max(axis=0) for at in range(0, len(values), stride)]),
        values[::stride] @ weights["direct.weight"].T,
    ]
    return normed(np.concatenate(parts, axis=2), weights, "norm")


def within(weights: dict[str, np.ndarray], at: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(f"{at}."): each for name, each in weights.items() if name.startswith(f"{at}.")}


def refined_block_oracle(weights: dict[str, np.ndarray], x: np.ndarray, stride: int, *, residual: bool) -> np.ndarray:
    def round_about(values: np.ndarray, at: str) -> np.ndarray:
        if f"{at}.0.weight" not in weights:
            return values
        return normed(values @ weights[f"{at}.0.weight"].T, weights, f"{at}.1")

    y = refined_convolution_oracle(within(weights, "graph"), x)
    y = np.maximum(normed(y, weights, "graph_norm") + round_about(x, "graph_residual"), 0)
    y = multi_scale_oracle(within(weights, "temporal"), y, stride)
    return np.maximum(y + round_about(x[::stride], "residual") if residual else y, 0)


def test_graphs_refined_for_every_feature():
    layer, motion = refining(), noise(2, 6, 5, 3)
    found = array(layer.refined(motion)).swapaxes(0, 1)
    expected = np.stack([refined_oracle(of(layer), array(each)) for each in motion])
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
    # Every clip, graph and feature has its own, and it has a direction.
    for axis in range(3):
        assert np.ptp(expected, axis=axis).max() > 0.3
    assert np.abs(expected - expected.swapaxes(3, 4)).max() > 0.3


def test_a_relation_of_two_joints_by_hand():
    """One feature, motion 1 at the hips and 0 elsewhere: tanh(1) from the hips to others, -tanh(1) back, 0 among others."""
    layer = RefinedGraphConvolution(1, 1, 1, torch.zeros(1, 5, 5)).double()
    with torch.no_grad():
        for weight, value in ((layer.psi, 1.0), (layer.phi, 1.0), (layer.xi, 2.0), (layer.alpha, 3.0)):
            weight.fill_(value)
    motion = torch.zeros(1, 2, 5, 1, dtype=torch.float64)
    motion[0, :, HIPS] = torch.tensor([0.5, 1.5])[:, None]
    expected = np.zeros((5, 5))
    expected[HIPS, 1:], expected[1:, HIPS] = 6 * np.tanh(1), -6 * np.tanh(1)
    np.testing.assert_allclose(array(layer.refined(motion)[0, 0, 0]), expected)


def test_a_refined_graph_convolution():
    layer, motion = refining(), noise(2, 4, 5, 3)
    expected = np.stack([refined_convolution_oracle(of(layer), array(each)) for each in motion])
    np.testing.assert_allclose(array(layer(motion)), expected, rtol=1e-9, atol=1e-9)


def test_gradients_of_a_refined_graph_convolution():
    assert gradients_agree(refining(2, 3, 2), noise(2, 2, 5, 2), fast=True)


def test_graphs_do_not_depend_on_the_order_of_frames():
    layer, motion = refining(), noise(2, 6, 5, 3)
    torch.testing.assert_close(layer.refined(motion), layer.refined(motion.flip(1)))
    torch.testing.assert_close(layer(motion.flip(1)), layer(motion).flip(1))


def test_names_of_joints_mean_nothing():
    """But in A, which is learnt joint by joint."""
    layer, motion, order = refining(), noise(2, 4, 5, 3), torch.tensor([3, 0, 4, 1, 2])
    before = layer(motion)[:, :, order]
    with torch.no_grad():
        layer.graphs.copy_(layer.graphs[:, order][:, :, order])
    torch.testing.assert_close(layer(motion[:, :, order]), before)


def test_refinement_starts_from_the_body():
    """All features share the partition's graphs at first, and nothing of the motion is in them."""
    network = small("ctr-gcn")
    assert isinstance(network, CtrGcn)
    for block in network.blocks:
        assert isinstance(block, RefinedBlock)
        given = noise(2, 4, 5, block.graph.weight.shape[2])
        graphs = array(block.graph.refined(given))
        expected = array(partition(tiny.layout()))[:, None, None]
        np.testing.assert_allclose(graphs, np.broadcast_to(expected, graphs.shape), atol=1e-7)


@pytest.mark.parametrize(("time", "stride"), [(1, 1), (7, 1), (7, 2), (8, 2)])
def test_a_multi_scale_convolution(time: int, stride: int):
    layer, motion = randomise(MultiScaleConvolution(8, stride)), noise(2, time, 5, 8)
    expected = np.stack([multi_scale_oracle(of(layer), array(each), stride) for each in motion])
    np.testing.assert_allclose(array(layer(motion)), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("inputs", "outputs", "stride", "residual"), [(3, 8, 1, False), (8, 8, 1, True), (4, 8, 2, True)])
def test_a_refined_block(inputs: int, outputs: int, stride: int, residual: bool):
    block = randomise(RefinedBlock(inputs, outputs, 2, stride, partition(tiny.layout()), residual=residual))
    motion = 0.2 * noise(2, 5, 5, inputs)
    for clip, found in zip(motion, array(block(motion)), strict=True):
        expected = refined_block_oracle(of(block), array(clip), stride, residual=residual)
        assert (expected > 0).mean() > 0.1
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_ctr_gcn_is_the_papers_network():
    network = drawn("ctr-gcn")
    awaken(network, windows(8), 1)
    motion = network.filled(windows(3))
    with torch.no_grad():
        (found,) = network.scores(motion, None)
    weights, scores = of(network), []
    for clip in array(motion):
        hidden = normed(clip.reshape(len(clip), -1), weights, "norm").reshape(clip.shape)
        for number, stride in enumerate((1, 1, 1, 1, 2, 1, 1, 2, 1, 1)):
            hidden = refined_block_oracle(within(weights, f"blocks.{number}"), hidden, stride, residual=number > 0)
        scores.append(weights["classify.weight"] @ hidden.mean(axis=(0, 1)) + weights["classify.bias"])
    expected = np.stack(scores)
    assert np.ptp(expected, axis=0).min() > 1e-3 * np.abs(expected).max()
    np.testing.assert_allclose(array(found), expected, rtol=1e-9, atol=1e-9)


def test_blocks_of_ctr_gcn():
    config = ModelConfig(network="ctr-gcn", prediction=False, bone=False)
    network = CtrGcn(config, tiny.layout(), WindowShape(observed=16, future=1, channels=3, classes=3))
    hidden, shapes = torch.zeros(1, 16, 5, 3), []
    for block in network.blocks:
        hidden = block(hidden)
        shapes.append((hidden.shape[1], hidden.shape[3]))
    assert shapes == [(16, 64)] * 4 + [(8, 128)] * 3 + [(4, 256)] * 3
    relations = [block.graph.psi.shape[2] for block in network.blocks if isinstance(block, RefinedBlock)]
    assert relations == [8] + [8] * 4 + [16] * 3 + [32] * 2


# --- hcn --------------------------------------------------------------------------------------------------------------------


def stretched(motion: np.ndarray, frames: int) -> np.ndarray:
    """Frames (time, ...) at the middles of equal shares of the window, on straight lines between those of the old ones."""
    time = len(motion)
    found = np.zeros((frames, *motion.shape[1:]))
    for frame in range(frames):
        at = min(max((frame + 0.5) * time / frames - 0.5, 0.0), time - 1.0)
        before = min(int(at), time - 1)
        after = min(before + 1, time - 1)
        found[frame] = (before + 1 - at) * motion[before] + (at - before) * motion[after]
    return found


def three_by_three(values: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """A convolution by loops, (feature, row, column), zeros round the map; weight (output, input, 3, 3)."""
    _, rows, columns = values.shape
    found = np.zeros((len(weight), rows, columns)) + bias[:, None, None]
    for row in range(rows):
        for column in range(columns):
            for down in (-1, 0, 1):
                for right in (-1, 0, 1):
                    if 0 <= row + down < rows and 0 <= column + right < columns:
                        found[:, row, column] += weight[:, :, 1 + down, 1 + right] @ values[:, row + down, column + right]
    return found


def largest_of_four(values: np.ndarray) -> np.ndarray:
    """The maximum of 2 x 2; a last odd line by itself."""
    _, rows, columns = values.shape
    found = np.zeros((len(values), (rows + 1) // 2, (columns + 1) // 2))
    for row in range(found.shape[1]):
        for column in range(found.shape[2]):
            found[:, row, column] = values[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].max(axis=(1, 2))
    return found


def hcn_features(weights: dict[str, np.ndarray], motion: np.ndarray, frames: int) -> np.ndarray:
    """Up to the maximum over persons, of one person (time, joint, channel)."""
    positions = stretched(motion, frames)
    motions = stretched(positions[1:] - positions[:-1], frames)
    halves = []
    for at, values in (("positions", positions), ("motions", motions)):
        hidden = np.maximum(values @ weights[f"{at}.conv1.weight"].T + weights[f"{at}.conv1.bias"], 0)
        hidden = along_time(hidden, weights[f"{at}.conv2.weight"], weights[f"{at}.conv2.bias"], 1)
        hidden = hidden.transpose(1, 0, 2)
        for layer in ("conv3", "conv4"):
            hidden = largest_of_four(three_by_three(hidden, weights[f"{at}.{layer}.weight"], weights[f"{at}.{layer}.bias"]))
        halves.append(hidden)
    hidden = np.concatenate(halves)
    for layer in ("conv5", "conv6"):
        hidden = largest_of_four(np.maximum(three_by_three(hidden, weights[f"{layer}.weight"], weights[f"{layer}.bias"]), 0))
    return hidden.reshape(-1)


def hcn_scores(weights: dict[str, np.ndarray], features: np.ndarray) -> np.ndarray:
    hidden = np.maximum(weights["fc7.weight"] @ features + weights["fc7.bias"], 0)
    return weights["fc8.weight"] @ hidden + weights["fc8.bias"]


def test_hcn_is_the_papers_network():
    network = drawn("hcn")
    motion, weights = network.filled(windows(4)), {name.removeprefix("network."): each for name, each in of(network).items()}
    with torch.no_grad():
        (found,) = network.scores(motion, torch.tensor([0, 0, 1, 2]))
    persons = [hcn_features(weights, array(each), 32) for each in motion]
    pair = np.maximum(persons[0], persons[1])
    assert not (pair == persons[0]).all() and not (pair == persons[1]).all()
    expected = np.stack([hcn_scores(weights, each) for each in (pair, pair, persons[2], persons[3])])
    assert np.ptp(expected, axis=0).min() > 1e-3 * np.abs(expected).max()
    np.testing.assert_allclose(array(found), expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


def test_two_frames_stretched_by_hand():
    motion = torch.tensor([0.0, 1.0]).view(1, 2, 1, 1)
    assert resized(motion, 4).flatten().tolist() == [0, 0.25, 0.75, 1]
    assert resized(resized(motion, 4), 2).flatten().tolist() == [0.125, 0.875]


@pytest.mark.parametrize("time", [3, 31, 32, 50, 290])
def test_windows_of_any_length_have_the_papers_frames(time: int):
    motion = noise(2, time, 3, 2)
    found = resized(motion, 32)
    np.testing.assert_allclose(array(found), np.stack([stretched(array(each), 32) for each in motion]), atol=1e-12)
    # What moves evenly still does, away from the ends.
    steps = array(resized(torch.arange(float(time)).view(1, time, 1, 1), 32)).ravel()
    inner = steps[(steps > 0) & (steps < time - 1)]
    np.testing.assert_allclose(np.diff(inner), time / 32, rtol=1e-4)


def test_the_second_person_twice_is_no_third():
    """A maximum, not a mean."""
    network, observed = drawn("hcn"), windows(2)
    pair = logits(network, observed, torch.tensor([0, 0]))
    torch.testing.assert_close(logits(network, observed[[0, 1, 1]], torch.tensor([0, 0, 0]))[:2], pair)
    assert (pair - logits(network, observed)).abs().max() > 1e-3


def test_standing_still_has_no_motion():
    """The second stream sees the same wherever somebody stands still."""
    network = drawn("hcn").network
    assert isinstance(network, CoOccurrenceNetwork)
    seen = []
    network.motions.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    network(noise(1, 1, 5, 3).expand(2, 8, 5, 3), None)
    assert not seen[0].any() and seen[0].shape == (2, 32, 5, 3)


def test_joints_are_channels_of_the_co_occurrence_layers():
    """Their order does not matter to the layers before, and is nothing but the order of conv3's weights."""
    network = drawn("hcn").network
    assert isinstance(network, CoOccurrenceNetwork)
    motion, order = noise(2, 8, 5, 3), torch.tensor([3, 0, 4, 1, 2])
    before = network(motion, None)
    assert (network(motion[:, :, order], None) - before).abs().max() > 1e-3
    with torch.no_grad():
        for stream in (network.positions, network.motions):
            stream.conv3.weight.copy_(stream.conv3.weight[:, order])
    torch.testing.assert_close(network(motion[:, :, order], None), before)


def test_parameters_of_hcn():
    """The paper's layers add up to 785 thousand on NTU RGB+D, whatever a preset observes. Tables of later papers print 2.64 M:
    the network of https://github.com/huguyuehuhu/HCN-pytorch, with 64 frames, 64 features after conv2 and 512 after fc7.
    """

    def count(network: torch.nn.Module) -> int:
        return sum(weight.numel() for weight in network.parameters())

    streams = 2 * ((3 * 64 + 64) + (3 * 64 * 32 + 32) + (9 * 25 * 32 + 32) + (9 * 32 * 64 + 64))
    whole = (9 * 128 * 128 + 128) + (9 * 128 * 256 + 256) + (2 * 2 * 256 * 256 + 256) + (256 * 60 + 60)
    assert parameters("hcn") == count(CoOccurrenceNetwork(25, 3, 60)) == streams + whole == 784_892
    assert count(CoOccurrenceNetwork(25, 3, 60, features=(64, 64, 32, 64, 128, 256), hidden=512, frames=64)) == pytest.approx(
        2.64e6, rel=0.005
    )


@pytest.mark.parametrize("preset", ["kinetics", "cmu-long", "h36m-short"])
def test_hcn_with_other_bodies_and_windows(preset: str):
    found = load_preset(preset, "hcn")
    layout = load_layout(found.data.layout)
    network = build(found, layout, 7).eval()
    observed = noise(2, found.data.observed, layout.num_nodes, 3).float()
    assert logits(network, observed).isfinite().all()
    of_conv3 = 2 * 9 * 32 * layout.num_nodes
    assert sum(each.numel() for each in network.parameters()) - of_conv3 == 784_892 - 2 * 9 * 32 * 25 - 53 * 257
