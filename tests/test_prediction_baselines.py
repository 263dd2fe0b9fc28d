"""Published networks of prediction against oracles written apart from them, in float64."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.fft
import torch
from torch import Tensor

import tiny
from fitting import array, noise, randomise
from symgnn.cli import main
from symgnn.config import ModelConfig, TrainingConfig, load_preset
from symgnn.data import Store
from symgnn.errors import InputError
from symgnn.models.baselines import NETWORKS, Baseline, WindowShape
from symgnn.models.baselines.csm import Csm
from symgnn.models.baselines.dct_gcn import GraphConvolution
from symgnn.models.checkpoint import build
from symgnn.nn.cosines import cosines
from symgnn.skeleton import Layout, layout_from_dict
from symgnn.training.step import training_step
from tiny import FUTURE, OBSERVED

NAMES = ("dct-gcn", "simlpe", "res-sup", "csm")
WIDTHS = {"dct-gcn": 0.02, "simlpe": 0.8, "res-sup": 0.01, "csm": 0.03}
STEPS = {"dct-gcn": 100, "simlpe": 100, "res-sup": 100, "csm": 150}
"""Within which a batch of six windows is learnt."""
AT_ONCE = {"dct-gcn": FUTURE, "simlpe": FUTURE}
"""Frames that a network answers at once, before it goes on from its own; those that are not here answer any number."""


def small(name: str, seed: int = 0, **settings: Any) -> Baseline:
    """A small network on the body of five joints in float64, untrained, with the statistics of its motion."""
    torch.manual_seed(seed)
    config = ModelConfig(
        network=name, width=WIDTHS[name], recognition=False, bone=False, **{"dropout": 0.0, "scaling": "body", **settings}
    )
    torch.set_default_dtype(torch.float64)
    try:
        network = NETWORKS[name](config, tiny.layout(), WindowShape(observed=OBSERVED, future=FUTURE, channels=3, classes=3))
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


def windows(batch: int = 3, seed: int = 1) -> Tensor:
    return tiny.make_batch(batch, seed).observed


def chain(joints: int) -> Layout:
    """A body of so many joints in a row."""
    names = [f"j{number}" for number in range(joints)]
    return layout_from_dict({"name": "chain", "joints": names, "bones": [names], "parts": {"all": names}})


def parameters(name: str, joints: int, observed: int, future: int) -> int:
    """Of the network as its own preset has it, on a body of so many joints of three coordinates."""
    preset = load_preset("h36m-3d-short", name)
    layout = chain(joints)
    network = NETWORKS[name](preset.model, layout, WindowShape(observed=observed, future=future, channels=3, classes=15))
    return sum(weight.numel() for weight in network.parameters())


# --- what holds for each of them ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_with_the_network_in_its_place(name: str):
    preset = load_preset("cmu-long-cpu", name)
    plain = load_preset("cmu-long-cpu")
    assert preset.name == f"cmu-long-cpu-{name}" and preset.model.network == name
    assert preset.model.width == 1.0 and preset.model.scaling == "body"
    assert preset.data == plain.data
    same = ("steps", "batch", "schedule", "weighting", "velocity_weight", "time_reversal", "mirror", "tempo", "average", "seed")
    assert all(getattr(preset.training, field) == getattr(plain.training, field) for field in same)
    network = build(replace(preset, data=replace(preset.data, observed=OBSERVED, future=FUTURE)), tiny.layout(), 3)
    assert isinstance(network, NETWORKS[name]) and network.predicts and not network.recognises


@pytest.mark.parametrize("name", NAMES)
def test_a_recognition_head_is_refused(name: str):
    with pytest.raises(InputError, match=f"recognition: found True, but {name} has no recognition head"):
        NETWORKS[name](ModelConfig(network=name), tiny.layout(), WindowShape(observed=8, future=4, channels=3, classes=3))


@pytest.mark.parametrize("name", AT_ONCE)
def test_a_longer_future_goes_on_from_its_own_frames(name: str):
    network, motion = drawn(name), small(name).filled(windows())
    at_once, horizon = AT_ONCE[name], 2 * FUTURE + 3
    frames = motion
    while frames.shape[1] < OBSERVED + horizon:
        found = network.predict(frames[:, -OBSERVED:], at_once)
        assert found is not None and found.shape[1] == at_once
        frames = torch.cat((frames, found), dim=1)
    answer = network.ahead(motion, horizon)
    assert answer is not None and answer.shape[1] == horizon
    torch.testing.assert_close(answer, frames[:, OBSERVED : OBSERVED + horizon])


@pytest.mark.parametrize("name", NAMES)
def test_a_shorter_future_is_the_beginning_of_a_longer_one(name: str):
    network = drawn(name)
    longer = network(windows(), 2 * FUTURE + 1).future
    for horizon in (1, FUTURE - 1, FUTURE, FUTURE + 1):
        torch.testing.assert_close(network(windows(), horizon).future, longer[:, :horizon])


@pytest.mark.parametrize("name", NAMES)
def test_missing_joints_give_finite_answers(name: str):
    network = drawn(name)
    observed = windows()
    observed[0, 2:5, 1] = torch.nan
    observed[1, :, 3] = torch.nan
    observed[2, -1] = torch.nan
    answer = network(observed, FUTURE)
    assert answer.logits is None and answer.future.isfinite().all()
    whole = network(windows(), FUTURE).future
    assert (answer.future - whole).abs().amax(dim=(1, 2, 3)).min() > 0


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_every_parameter(name: str):
    network = drawn(name).train()
    training_step(network, tiny.make_batch(), TrainingConfig()).surrogate.backward()
    for path, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, path


@pytest.mark.parametrize("name", NAMES)
def test_learns_one_batch_by_heart(name: str):
    """Its loss falls to less than half of what standing still has, from wherever it starts."""
    network, batch = small(name).train(), tiny.make_batch()
    target = network.normalise(batch.future)[0]
    still = float((target - network.filled(batch.observed)[:, -1:]).abs().mean())
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0.0)
    losses = []
    for _ in range(STEPS[name]):
        optimizer.zero_grad()
        step = training_step(network, batch, TrainingConfig())
        step.surrogate.backward()
        optimizer.step()
        assert step.prediction is not None
        losses.append(float(step.prediction))
    assert losses[-1] < 0.5 * still, (still, losses[:: len(losses) // 6])


@pytest.mark.parametrize("name", ["dct-gcn", "csm"])
def test_dropout_is_the_presets(name: str):
    batch = tiny.make_batch()
    for rate, same in ((0.0, True), (0.5, False)):
        network = drawn(name, dropout=rate).train()
        one, other = (network.ahead(network.filled(batch.observed), FUTURE) for _ in range(2))
        assert one is not None and other is not None
        assert torch.equal(one, other) == same


@pytest.mark.parametrize("name", NAMES)
def test_mixed_precision_rounds_displacements_and_not_poses(name: str):
    network, far = small(name).float(), windows().float() + 1000
    network.mean += 1000
    motion = network.filled(far) + 100  # where 16 bits are half a unit apart
    with torch.no_grad():
        exact = network.ahead(motion, FUTURE)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = network.ahead(motion, FUTURE)
    assert exact is not None and mixed is not None and mixed.dtype == torch.float32
    moved = (exact - motion[:, -1:]).abs().max()
    assert (mixed - exact).abs().max() < 0.1 * moved + 1e-5


def test_the_commands(motion: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run, data = tmp_path / "run", str(motion.path)
    words = ["--training.steps", "2", "--training.batch", "4", "--training.validate-every", "2"]
    assert main(["train", "demo", "--model", "simlpe", "--data", data, "--out", str(run), *words]) == 0
    assert "demo-simlpe" in capsys.readouterr().err
    assert main(["evaluate", str(run), "--data", data, "--json", str(tmp_path / "result.json")]) == 0
    found = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert found["top1"] is None and found["average"]["mpjpe"]["80"] > 0
    assert main(["predict", str(run), f"{data}:0", "--out", str(tmp_path / "answer.json"), "--horizon", "60"]) == 0
    (answer,) = json.loads((tmp_path / "answer.json").read_text(encoding="utf-8"))["clips"]
    assert np.array(answer["future"]).shape[0] == 60
    capsys.readouterr()
    assert main(["export", str(run), "--to", str(tmp_path / "model.onnx")]) == 2
    assert "a model of network simlpe, expected sym-gnn" in capsys.readouterr().err


# --- dct-gcn ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [1, 2, 35, 75])
def test_cosines_are_the_orthonormal_transform(frames: int):
    signal = array(noise(frames, 4))
    expected = scipy.fft.dct(signal, axis=0, norm="ortho")
    np.testing.assert_allclose(array(cosines(frames)) @ signal, expected, atol=1e-5)
    torch.testing.assert_close(cosines(frames).T @ cosines(frames), torch.eye(frames), atol=1e-6, rtol=0)


def test_a_graph_convolution_by_hand():
    """Two nodes with two features: the second node sends twice its features to the first, which sends nothing."""
    layer = GraphConvolution(2, 1, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0], [10.0]]))
        layer.graph.copy_(torch.tensor([[1.0, 2.0], [0.0, -1.0]]))
        layer.bias.copy_(torch.tensor([100.0]))
    # Node 0 has (1, 2) . (1, 10) = 21, node 1 has (3, 4) . (1, 10) = 43.
    found = layer(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]))
    assert found.tolist() == [[[21.0 + 2 * 43.0 + 100.0], [-43.0 + 100.0]]]


def dct_gcn_oracle(network: Baseline, motion: np.ndarray) -> np.ndarray:
    """The paper's steps for one window (time, joint, channel): pad, transform, twelve residual blocks, transform back."""
    weights = {name: array(value.double()) for name, value in network.state_dict().items()}
    length, nodes = OBSERVED + FUTURE, motion[0].size
    padded = np.concatenate([motion, np.repeat(motion[-1:], FUTURE, axis=0)]).reshape(length, nodes)
    coefficients = scipy.fft.dct(padded, axis=0, norm="ortho").T

    def convolve(hidden: np.ndarray, at: str) -> np.ndarray:
        weight, graph, bias = weights[f"{at}.weight"], weights[f"{at}.graph"], weights[f"{at}.bias"]
        found = np.zeros((nodes, weight.shape[1]))
        for node in range(nodes):
            for other in range(nodes):
                found[node] += graph[node, other] * (weight.T @ hidden[other])
        return found + bias

    def layer(hidden: np.ndarray, at: str) -> np.ndarray:
        found = convolve(hidden, f"{at}.convolution")
        centre, spread, gain, shift = (
            weights[f"{at}.norm.{part}"].reshape(found.shape) for part in ("running_mean", "running_var", "weight", "bias")
        )
        return np.tanh((found - centre) / np.sqrt(spread + 1e-5) * gain + shift)

    hidden = layer(coefficients, "first")
    for block in range(12):
        hidden = hidden + layer(layer(hidden, f"blocks.{block}.0"), f"blocks.{block}.1")
    frames = scipy.fft.idct((coefficients + convolve(hidden, "last")).T, axis=0, norm="ortho")
    return frames[OBSERVED:].reshape(FUTURE, *motion.shape[1:])


def test_dct_gcn_is_the_papers_network():
    network = drawn("dct-gcn")
    motion = network.filled(windows())
    with torch.no_grad():
        found = network.predict(motion, FUTURE)
    expected = np.stack([dct_gcn_oracle(network, array(each)) for each in motion])
    assert found is not None and np.abs(expected - array(motion[:, -1:])).max() > 0.1
    np.testing.assert_allclose(array(found), expected, rtol=1e-9, atol=1e-9)


def test_dct_gcn_has_the_published_number_of_parameters():
    """2.56 M in the tables of later papers, for Human 3.6M's 66 coordinates, 10 frames observed and 25 predicted."""
    assert parameters("dct-gcn", 22, 10, 25) == pytest.approx(2.56e6, rel=0.005)


# --- simlpe -----------------------------------------------------------------------------------------------------------------


def simlpe_oracle(network: Baseline, motion: np.ndarray) -> np.ndarray:
    """The paper's steps for one window (time, joint, channel), number by number."""
    weights = {name: array(value.double()) for name, value in network.state_dict().items()}
    flat = motion.reshape(len(motion), -1)

    def across(hidden: np.ndarray, at: str) -> np.ndarray:
        return np.stack([weights[f"{at}.weight"] @ frame + weights[f"{at}.bias"] for frame in hidden])

    hidden = across(scipy.fft.dct(flat, axis=0, norm="ortho"), "inwards")
    frames, features = hidden.shape
    for block in range(48):
        weight, bias, gain, shift = (
            weights[f"blocks.{block}.{part}"] for part in ("over_time.weight", "over_time.bias", "norm.weight", "norm.bias")
        )
        mixed = np.zeros_like(hidden)
        for feature in range(features):
            for frame in range(frames):
                mixed[frame, feature] = bias[frame] + sum(weight[frame, t] * hidden[t, feature] for t in range(frames))
        for frame in range(frames):
            middle = mixed[frame].mean()
            spread = np.sqrt(((mixed[frame] - middle) ** 2).mean() + 1e-5)
            mixed[frame] = gain * (mixed[frame] - middle) / spread + shift
        hidden = hidden + mixed
    moved = scipy.fft.idct(across(hidden, "outwards"), axis=0, norm="ortho")
    return (flat[-1] + moved).reshape(motion.shape)


def test_simlpe_is_the_papers_network():
    network = drawn("simlpe")
    motion = network.filled(windows())
    with torch.no_grad():
        found = network.predict(motion, FUTURE)
    expected = np.stack([simlpe_oracle(network, array(each))[:FUTURE] for each in motion])
    assert found is not None and np.abs(expected - array(motion[:, -1:])).max() > 0.1
    np.testing.assert_allclose(array(found), expected, rtol=1e-9, atol=1e-9)


def test_simlpe_stands_still_untrained():
    network = small("simlpe")
    found = network(windows(), 2 * FUTURE).future
    np.testing.assert_allclose(array(found), array(windows()[:, -1:].expand_as(found)), atol=1e-6)


def test_simlpe_answers_no_more_frames_than_it_observes():
    """The rest goes on from its own frames."""
    config = ModelConfig(network="simlpe", recognition=False, bone=False)
    network = randomise(NETWORKS["simlpe"](config, tiny.layout(), WindowShape(observed=4, future=6, channels=3, classes=3)))
    motion = noise(2, 4, 5, 3)
    first = network.predict(motion, 6)
    assert first is not None and first.shape[1] == 4
    second = network.predict(first, 2)
    whole = network.ahead(motion, 6)
    assert second is not None and whole is not None
    torch.testing.assert_close(whole, torch.cat((first, second[:, :2]), dim=1))


def test_simlpe_has_the_published_number_of_parameters():
    """0.138 M for 66 coordinates and 50 frames ("0.14 million" in the paper's abstract)."""
    assert parameters("simlpe", 22, 50, 10) == 2 * (66 * 66 + 66) + 48 * (50 * 50 + 50 + 2 * 66)
    assert parameters("simlpe", 22, 50, 10) == pytest.approx(0.138e6, rel=0.005)


# --- res-sup ----------------------------------------------------------------------------------------------------------------


def res_sup_oracle(network: Baseline, motion: np.ndarray, horizon: int) -> np.ndarray:
    """One window (time, joint, channel): the gates written out, the same cell before and after the last observed pose."""
    weights = {name: array(value) for name, value in network.state_dict().items()}
    inputs, states = weights["recurrent.weight_ih_l0"], weights["recurrent.weight_hh_l0"]
    bias, other = weights["recurrent.bias_ih_l0"], weights["recurrent.bias_hh_l0"]
    units = states.shape[1]
    reset, update, new = (slice(gate * units, (gate + 1) * units) for gate in range(3))
    frames = list(motion.reshape(len(motion), -1))
    state = np.zeros(units)
    for number in range(len(motion) + horizon - 1):
        fed, kept = inputs @ frames[number] + bias, states @ state + other
        r, z = 1 / (1 + np.exp(-fed[reset] - kept[reset])), 1 / (1 + np.exp(-fed[update] - kept[update]))
        state = (1 - z) * np.tanh(fed[new] + r * kept[new]) + z * state
        if number >= len(motion) - 1:
            frames.append(frames[number] + weights["velocity.weight"] @ state + weights["velocity.bias"])
    return np.stack(frames[len(motion) :]).reshape(horizon, *motion.shape[1:])


def test_res_sup_is_the_papers_network():
    network = drawn("res-sup")
    motion = network.filled(windows())
    with torch.no_grad():
        found = network.predict(motion, FUTURE + 2)
    expected = np.stack([res_sup_oracle(network, array(each), FUTURE + 2) for each in motion])
    assert found is not None and np.abs(expected - array(motion[:, -1:])).max() > 0.1
    np.testing.assert_allclose(array(found), expected, rtol=1e-9, atol=1e-9)


def test_res_sup_has_the_published_number_of_parameters():
    """3.44 M in the tables of later papers; the authors feed 54 coordinates and 15 one-hot labels, as many as 23 joints."""
    assert parameters("res-sup", 23, 50, 25) == pytest.approx(3.44e6, rel=0.005)
    assert parameters("res-sup", 22, 50, 25) == pytest.approx(3.44e6, rel=0.01)


# --- csm --------------------------------------------------------------------------------------------------------------------

ZEROS = {7: (0, 1), 8: (0, 0), 4: (0, 0), 2: (0, 0)}, {15: (3, 3), 8: (2, 3), 4: (2, 3)}
"""Around frames (kernel 2) and coordinates (kernel 7) so many zeros leave half, rounded up: 7 and 8 frames go to 4, 2 and 1,
the 15 coordinates to 8, 4 and 2."""


def csm_oracle(network: Baseline, motion: np.ndarray, horizon: int) -> np.ndarray:
    """One window (time, joint, channel), every kernel at every place."""
    weights = {name: array(value) for name, value in network.state_dict().items()}

    def leaky(values: np.ndarray) -> np.ndarray:
        return np.where(values > 0, values, 0.2 * values)

    def encode(frames: np.ndarray, at: str) -> np.ndarray:
        maps = frames[None]
        for layer in (1, 5, 9):
            kernels = weights[f"{at}.layers.{layer}.weight"]
            padded = np.pad(maps, [(0, 0), ZEROS[0][maps.shape[1]], ZEROS[1][maps.shape[2]]])
            found = np.zeros((len(kernels), -(-maps.shape[1] // 2), -(-maps.shape[2] // 2)))
            for out, time, place in np.ndindex(*found.shape):
                patch = padded[:, 2 * time : 2 * time + 2, 2 * place : 2 * place + 7]
                found[out, time, place] = (kernels[out] * patch).sum()
            maps = leaky(found)
        assert maps.shape[1:] == (1, 2)
        return weights[f"{at}.layers.13.weight"] @ maps.reshape(-1) + weights[f"{at}.layers.13.bias"]

    frames = list(motion.reshape(len(motion), -1))
    whole = encode(np.stack(frames[:-1]), "long_term")
    for _ in range(horizon):
        last = encode(np.stack(frames[-8:]), "short_term")
        hidden = leaky(weights["decoder.0.weight"] @ np.concatenate([whole, last]) + weights["decoder.0.bias"])
        frames.append(frames[-1] + weights["decoder.3.weight"] @ hidden + weights["decoder.3.bias"])
    return np.stack(frames[len(motion) :]).reshape(horizon, *motion.shape[1:])


def test_csm_is_the_papers_network():
    network = drawn("csm")
    motion = network.filled(windows())
    with torch.no_grad():
        found = network.predict(motion, FUTURE + 2)
    expected = np.stack([csm_oracle(network, array(each), FUTURE + 2) for each in motion])
    assert found is not None and np.abs(expected - array(motion[:, -1:])).max() > 0.1
    np.testing.assert_allclose(array(found), expected, rtol=1e-9, atol=1e-9)


def test_csm_reads_the_last_twenty_frames_anew_and_the_others_once():
    """Of 24 frames: a change in the first four reaches the answer through the long-term encoder alone."""
    config = ModelConfig(network="csm", width=0.03, recognition=False, bone=False)
    network = randomise(NETWORKS["csm"](config, tiny.layout(), WindowShape(observed=24, future=4, channels=3, classes=3)))
    assert isinstance(network, Csm)
    motion = noise(1, 24, 5, 3)
    other = motion.clone()
    other[:, :4] += 1
    seen: list[Tensor] = []
    network.short_term.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    one, two = network.predict(motion, 3), network.predict(other, 3)
    assert [len(each[0]) for each in seen] == 6 * [20]
    torch.testing.assert_close(seen[1][0, :19], motion[0, 5:].flatten(1))
    torch.testing.assert_close(seen[2][0, 18:], one[0, :2].flatten(1))
    torch.testing.assert_close(seen[3], seen[0])
    assert (one - two).abs().min() > 0


def test_csm_has_the_layers_of_the_paper_for_its_input():
    """Human 3.6M's 54 coordinates: 49 frames are left as 7 and 20 as 3, the coordinates as 7.

    The 15.58 M in the tables of later papers are not these layers alone: the authors' adversary, which is not here, would
    have 10.7 M more.
    """
    convolutions = 2 * 7 * (64 + 64 * 128 + 128 * 128)
    long_term = convolutions + (7 * 7 * 128 + 1) * 512
    short_term = convolutions + (3 * 7 * 128 + 1) * 512
    decoder = (1024 + 1) * 512 + (512 + 1) * 54
    assert parameters("csm", 18, 50, 25) == long_term + short_term + decoder
