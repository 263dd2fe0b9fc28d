"""Noise on the input: as much as said, seeded, and what the ratio of Fig. 15 is for graphs known by hand."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from symgnn.data import ClipRecord, Store, write_store
from symgnn.errors import InputError
from symgnn.evaluation import evaluate, load_protocol
from symgnn.experiments.paper import perturbing
from symgnn.experiments.paper.perturbing import add_noise, perturbation_ratio, perturbed, sigma_for
from symgnn.models import SymGNN
from symgnn.models.baselines import ZeroVelocity
from symgnn.models.checkpoint import Card, TrainedModel
from symgnn.skeleton import load_layout
from symgnn.types import Motion, Output
from tiny import CLASSES, OBSERVED, layout, make_batch, make_model, make_preset, motion, networks_of

torch.set_num_threads(1)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- the noise --------------------------------------------------------------------------------------------------------------


def test_noise_has_its_deviation_and_no_more():
    still = torch.zeros(40, 50, 20, 3)
    noise = add_noise(still, 0.05, generator())
    count = noise.numel()
    assert abs(float(noise.mean())) < 5 * 0.05 / count**0.5
    assert abs(float(noise.std()) / 0.05 - 1) < 5 / (2 * count) ** 0.5
    flat = noise.numpy().ravel()
    assert abs(np.corrcoef(flat[:-1], flat[1:])[0, 1]) < 5 / count**0.5
    assert torch.equal(noise, add_noise(still, 0.05, generator())) and not torch.equal(
        noise, add_noise(still, 0.05, generator(1))
    )
    torch.testing.assert_close(add_noise(still, 0.1, generator()), 2 * noise)


def test_noise_leaves_missing_joints_and_confidences():
    seen = torch.ones(2, 4, 5, 3)
    seen[0, 1, 2] = torch.nan
    found = add_noise(seen, 0.3, generator(), channels=2)
    assert torch.equal(found.isnan(), seen.isnan())
    assert torch.equal(found[..., 2].nan_to_num(7), seen[..., 2].nan_to_num(7))
    assert (found[..., :2] != seen[..., :2]).all()
    with pytest.raises(ValueError, match="0 or more"):
        add_noise(seen, -0.1, generator())


# --- evaluation under it ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Test clips of the tiny body, one window each."""
    clips = [
        (ClipRecord(label=number % 3, recording=f"clip {number}", split="test"), motion(number % 3, float(number), 26))
        for number in range(6)
    ]
    folder = tmp_path_factory.mktemp("perturbing") / "store"
    return write_store(folder, clips, layout=layout(), space="xyz", unit="m", fps=25.0, class_names=CLASSES)


PROTOCOL = load_protocol("demo", observed=OBSERVED + 4, future=4, step=1)


def trained(folder: Path, store: Store) -> TrainedModel:
    """A network with random weights that observes fewer frames than the protocol shows, and its card."""
    mean = tuple((0.0, 0.0, 0.0) for _ in range(5))
    card = Card(make_preset(folder), layout(), store.class_names, mean, 25.0, "test", selection="validation")
    return TrainedModel(make_model(bone=False, difference_orders=(0, 1)).float().eval(), card)


class Recorder:
    """Predicts zeros, remembers what it saw."""

    name, observed, class_names = "recorder", 6, CLASSES

    def __init__(self):
        self.seen: list[Tensor] = []

    def __call__(self, observed: Motion, horizon: int) -> Output:
        self.seen.append(observed.clone())
        return Output(logits=observed.new_zeros(len(observed), 3), future=observed.new_zeros(len(observed), horizon, 5, 3))


def test_no_noise_changes_nothing(store: Store, tmp_path: Path):
    for model in (ZeroVelocity(), trained(tmp_path, store)):
        plain = evaluate(model, PROTOCOL, store, batch=3)
        quiet = evaluate(perturbed(model, 0.0, generator()), PROTOCOL, store, batch=3)
        assert quiet.errors == plain.errors and quiet.selection == plain.selection and quiet.model == plain.model
        assert (quiet.recognition is None) == (plain.recognition is None)
        if plain.recognition is not None and quiet.recognition is not None:
            assert np.array_equal(quiet.recognition.confusion, plain.recognition.confusion)


def test_the_model_sees_the_noise_and_the_judge_does_not(store: Store):
    clean, noisy = Recorder(), Recorder()
    one = evaluate(clean, PROTOCOL, store, batch=4)
    other = evaluate(perturbed(noisy, 0.02, generator(3)), PROTOCOL, store, batch=4)
    assert one.errors == other.errors and one.zero_velocity == other.zero_velocity
    draws = generator(3)
    for before, after in zip(clean.seen, noisy.seen, strict=True):
        assert before.shape[1] == 6
        expected = before.double() + 0.02 * torch.randn(before.shape, generator=draws, dtype=torch.float64)
        torch.testing.assert_close(after.double(), expected, rtol=0, atol=1e-6)


def test_noise_costs_zero_velocity_what_it_must(store: Store):
    """The mean distance of (x, y, z) ~ N(0, σ²) from the origin is σ √(8/π); σ here far above the motion itself."""
    sigma = 100.0
    result = evaluate(perturbed(ZeroVelocity(), sigma, generator()), replace(PROTOCOL, milliseconds=(40,)), store)
    assert result.errors is not None
    found = result.errors.average["mpjpe"][40]
    expected = sigma * (8 / np.pi) ** 0.5
    spread = sigma * (3 - 8 / np.pi) ** 0.5 / (18 * 5) ** 0.5
    assert abs(found - expected) < 5 * spread


def test_a_trained_model_is_worse_under_noise(store: Store, tmp_path: Path):
    model = trained(tmp_path, store)
    plain = evaluate(model, PROTOCOL, store).errors
    noisy = evaluate(perturbed(model, 0.3, generator()), PROTOCOL, store).errors
    again = evaluate(perturbed(model, 0.3, generator()), PROTOCOL, store).errors
    assert plain is not None and noisy is not None
    assert noisy == again != plain


def test_units(store: Store, tmp_path: Path):
    assert sigma_for(store, 0.03) == 0.03
    body = [(ClipRecord(label=0, recording="a"), 1000 * motion(0, 0.0))]
    millimetres = write_store(tmp_path / "mm", body, layout=layout(), space="xyz", unit="mm", fps=25.0, class_names=("a",))
    assert sigma_for(millimetres, 0.03) == pytest.approx(30.0)
    angles = [(ClipRecord(label=0, recording="a"), np.zeros((60, 39, 3), np.float32))]
    radians = write_store(tmp_path / "rad", angles, layout=load_layout("cmu"), space="expmap", fps=25.0, class_names=("a",))
    assert sigma_for(radians, 0.03) == 0.03


# --- the ratio ----------------------------------------------------------------------------------------------------------------


def with_constant_graph(model: SymGNN) -> SymGNN:
    """Embeddings of zero make every row of (2) the softmax of equal numbers: 1/5 everywhere, whatever the window."""
    for part in networks_of(model):
        agim = part.backbone.agim
        assert agim is not None
        for parameter in agim.outgoing.parameters():
            parameter.data.zero_()
    return model


def test_ratio_of_a_constant_graph_by_hand():
    """A X is the mean over the joints for each of them, so that ‖A N‖² = 5 ‖mean of N's rows‖²."""
    model = with_constant_graph(make_model())
    windows, sigma = make_batch(7).observed, 0.04
    assert torch.allclose(model.eval()(windows, 1).actional, torch.full((7, 5, 5), 0.2, dtype=torch.float64))
    noise = sigma * torch.randn(windows.shape, generator=generator(5), dtype=torch.float64) / model.scale
    ratios = [
        (5 * sum(float(channel) ** 2 for channel in part.mean(dim=1).flatten())) ** 0.5
        / sum(float(channel) ** 2 for channel in part.flatten()) ** 0.5
        for part in noise
    ]
    assert perturbation_ratio(model, windows, sigma, generator(5)) == pytest.approx(sum(ratios) / 7, rel=1e-9)


def test_ratio_against_loops():
    model = make_model().eval()
    windows, sigma = make_batch(4).observed, 0.05
    noisy = windows + sigma * torch.randn(windows.shape, generator=generator(2), dtype=torch.float64)
    ratios = []
    with torch.no_grad():
        graphs, other_graphs = (model(part, 1).actional.numpy() for part in (windows, noisy))
    mean, scale = model.mean.numpy(), model.scale.numpy()
    for before, after, graph, other in zip(windows.numpy(), noisy.numpy(), graphs, other_graphs, strict=True):
        above = below = 0.0
        for time in range(OBSERVED):
            for channel in range(3):
                x = (before[time, :, channel] - mean[:, channel]) / scale[:, channel]
                y = (after[time, :, channel] - mean[:, channel]) / scale[:, channel]
                for joint in range(5):
                    above += sum(other[joint, k] * y[k] - graph[joint, k] * x[k] for k in range(5)) ** 2
                    below += (y[joint] - x[joint]) ** 2
        ratios.append((above / below) ** 0.5)
    assert perturbation_ratio(model, windows, sigma, generator(2)) == pytest.approx(np.mean(ratios), rel=1e-9)


def test_ratio_leaves_the_model_as_it_was():
    model = make_model()
    assert model.training
    before = copy.deepcopy(model.state_dict())
    perturbation_ratio(model, make_batch(3).observed, 0.1, generator())
    assert model.training and all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_ratio_needs_noise_and_a_graph():
    with pytest.raises(InputError, match="expected more than 0"):
        perturbation_ratio(make_model(), make_batch(3).observed, 0.0, generator())
    with pytest.raises(InputError, match="no actional graph"):
        perturbation_ratio(make_model(graphs="structural"), make_batch(3).observed, 0.1, generator())


def test_windows_go_to_where_the_network_is(monkeypatch: pytest.MonkeyPatch):
    network = make_model(bone=False).float()
    network.mean = network.mean.to("meta")
    seen = []

    def ratios(_: SymGNN, clean: Tensor, noisy: Tensor) -> Tensor:
        seen.extend((clean.device.type, noisy.device.type))
        return torch.ones(len(clean))

    monkeypatch.setattr(perturbing, "_ratios", ratios)
    assert perturbation_ratio(network, make_batch().observed.float(), 0.1, generator()) == 1.0
    assert set(seen) == {"meta"}
