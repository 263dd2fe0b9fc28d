"""Published graph networks of recognition against oracles written apart from them, in float64."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import tiny
from fitting import array, noise, randomise
from symgnn.config import ModelConfig, TrainingConfig, load_preset
from symgnn.errors import InputError
from symgnn.models.baselines import NETWORKS, Baseline
from symgnn.models.baselines.st_gcn import partition
from symgnn.models.checkpoint import build
from symgnn.skeleton import layout_from_dict, load_layout
from symgnn.training.step import training_step

NAMES = ("st-gcn",)
STREAMS = {"st-gcn": 1}
HIPS, SPINE, HEAD, LEFT, RIGHT = range(5)


def small(name: str, width: float = 0.06, **settings: Any) -> Baseline:
    """A small network on the body of five joints in float64, untrained, with the statistics of its motion."""
    torch.manual_seed(0)
    config = ModelConfig(
        network=name, width=width, prediction=False, bone=False, **{"dropout": 0.0, "scaling": "body", **settings}
    )
    torch.set_default_dtype(torch.float64)
    try:
        network = NETWORKS[name](config, tiny.layout(), observed=tiny.OBSERVED, future=tiny.FUTURE, channels=3, classes=3)
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
    assert preset.model.width == 1.0 and preset.model.dropout == 0.5 and preset.training.optimizer == "sgd"
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
        NETWORKS[name](ModelConfig(network=name), tiny.layout(), observed=8, future=4, channels=3, classes=3)


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
    # The last layer is linear: the mean of persons' features has the mean of their scores.
    torch.testing.assert_close(found[0], alone[:3].mean(dim=0))
    assert (alone[0] - alone[1]).abs().max() > 1e-3


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
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, nesterov=True)
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
def test_dropout_is_the_presets(name: str):
    for rate, same in ((0.0, True), (0.5, False)):
        network = drawn(name, dropout=rate).train()
        motion = network.filled(windows())
        assert torch.equal(network.scores(motion, None)[0], network.scores(motion, None)[0]) == same


@pytest.mark.parametrize(("name", "published"), [("st-gcn", 3.10e6)])
def test_published_number_of_parameters(name: str, published: float):
    """On NTU RGB+D: Y.-F. Song, Z. Zhang, C. Shan, L. Wang, "Constructing Stronger and Faster Baselines for Skeleton-based
    Action Recognition", the table of comparisons (3.10 M and 6.94 M).
    """
    assert parameters(name) == pytest.approx(published, rel=0.02)


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


def along_time(values: np.ndarray, weight: np.ndarray, bias: np.ndarray, stride: int) -> np.ndarray:
    """A convolution along time by loops, (time, joint, feature), zeros beyond the window; weight (output, input, kernel)."""
    time, nodes, _ = values.shape
    kernel = weight.shape[2]
    found = np.zeros((-(-time // stride), nodes, len(weight)))
    for frame in range(len(found)):
        for node in range(nodes):
            for tap in range(kernel):
                if 0 <= (at := frame * stride + tap - kernel // 2) < time:
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


def test_st_gcn_blocks_have_the_papers_features_and_strides():
    network = NETWORKS["st-gcn"](
        ModelConfig(network="st-gcn", prediction=False, bone=False),
        tiny.layout(), observed=16, future=1, channels=3, classes=3,
    )  # fmt: skip
    hidden, shapes = torch.zeros(1, 16, 5, 3), []
    for block in network.stream.blocks:  # type: ignore[union-attr]
        hidden = block(hidden)
        shapes.append((hidden.shape[1], hidden.shape[3]))
    assert shapes == [(16, 64)] * 4 + [(8, 128)] * 3 + [(4, 256)] * 3
