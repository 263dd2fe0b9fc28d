"""The weighting of the two tasks, eq. (15), Appendix B and reading 18.

The closed form is compared with a search (`oracles.two_task_weight`) and with TorchJD's MGDA; a whole training step with
plain backward passes through the network, in which nothing is detached but ŷ.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchjd.aggregation import MGDAWeighting

import oracles
from fitting import array, noise
from symgnn.config import TrainingConfig
from symgnn.models import Branch, SymGNN
from symgnn.training import inner_products, minimum_norm_weight, prediction_loss, recognition_loss, training_step, velocity_loss
from symgnn.types import Batch
from tiny import FUTURE, heads_of, make_batch, make_model, networks_of

torch.set_num_threads(1)


def weight_of(recognition: Tensor, prediction: Tensor) -> float:
    return minimum_norm_weight(inner_products([recognition], [prediction], reduce=False)).item()


def torchjd_weight(recognition: Tensor, prediction: Tensor) -> float:
    gradients = torch.stack((recognition, prediction))
    return MGDAWeighting(epsilon=1e-12, max_iters=1000)(gradients @ gradients.T)[0].item()  # pyright: ignore[reportArgumentType]


def pairs() -> list:
    """Pairs of gradients at every angle, and of every ratio of lengths: the optimum inside and at either end."""
    random = np.random.default_rng(0)
    found = []
    for cosine in (-1.0, -0.8, 0.0, 0.3, 0.95):
        for ratio in (0.01, 0.5, 1.0, 1.7, 50.0):
            one, two = np.linalg.qr(random.normal(size=(7, 2)))[0].T
            other = ratio * (cosine * one + math.sqrt(1 - cosine**2) * two)
            found.append(pytest.param(torch.from_numpy(one), torch.from_numpy(other), id=f"cos {cosine}, ratio {ratio}"))
    return found


@pytest.mark.parametrize(("recognition", "prediction"), pairs())
def test_closed_form(recognition, prediction):
    found = weight_of(recognition, prediction)
    assert found == pytest.approx(oracles.two_task_weight(array(recognition), array(prediction)), abs=1e-10)
    assert found == pytest.approx(torchjd_weight(recognition, prediction), abs=1e-9)
    assert weight_of(prediction, recognition) == pytest.approx(1 - found, abs=1e-12), "the tasks' names do not matter"
    assert weight_of(1e-6 * recognition, 1e-6 * prediction) == pytest.approx(found, abs=1e-9), "nor does the unit of the losses"


@pytest.mark.parametrize(("recognition", "prediction"), pairs())
def test_conditions_of_an_optimum(recognition, prediction):
    """KKT: the combined vector d is orthogonal to g_r - g_p inside, leans to the nearer end at the border; along -d both fall.

    d is the shortest vector between the two, so d·g >= d·d for both tasks.
    """
    weight = weight_of(recognition, prediction)
    combined = weight * recognition + (1 - weight) * prediction
    slope = float(combined @ (recognition - prediction))
    if weight == 0:
        assert slope >= 0
    elif weight == 1:
        assert slope <= 0
    else:
        assert slope == pytest.approx(0, abs=1e-12 * float(recognition @ recognition + prediction @ prediction))
    for gradient in (recognition, prediction):
        assert float(combined @ gradient) >= float(combined @ combined) - 1e-12


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e-20, 1e10])
def test_equal_gradients_weigh_the_same(scale):
    gradient = noise(1000).float() * scale
    assert weight_of(gradient, gradient) == 0.5
    parts, others = [gradient[:300], gradient[300:]], [gradient[:300].clone(), gradient[300:].clone()]
    assert minimum_norm_weight(inner_products(parts, others, reduce=False)).item() == 0.5


def test_inner_products_of_several_tensors():
    shapes = ((2, 3, 4), (5,), (1, 7))
    one = [noise(*shape, seed=number) for number, shape in enumerate(shapes)]
    two = [noise(*shape, seed=10 + number) for number, shape in enumerate(shapes)]
    naive = []
    for left, right in ((one, one), (one, two), (two, two)):
        numbers = [torch.cat([tensor.flatten() for tensor in side]).tolist() for side in (left, right)]
        naive.append(math.fsum(a * b for a, b in zip(*numbers, strict=True)))
    assert inner_products(one, two, reduce=False).tolist() == pytest.approx(naive, rel=1e-12)


def test_products_do_not_lose_what_the_gradients_hold():
    """Two float32 gradients that differ little: in float32 arithmetic ‖g_r - g_p‖² would be noise, and λ with it."""
    common, apart = noise(10_000), noise(10_000, seed=2)
    one, two = (common + 1e-3 * apart).float(), (common - 2e-3 * apart).float()
    expected = oracles.two_task_weight(array(one), array(two))
    assert weight_of(one, two) == pytest.approx(expected, abs=1e-6)
    assert weight_of(one.bfloat16(), two.bfloat16()) == pytest.approx(
        oracles.two_task_weight(array(one.bfloat16()), array(two.bfloat16())), abs=1e-6
    )


# --- a training step ------------------------------------------------------------------------------------------------------


def losses_of(model: SymGNN, batch: Batch, velocity: float = 0.0) -> dict[str, Tensor]:
    """Both losses of the whole model, straight through: nothing is detached but ŷ (by the model itself)."""
    features = model.encode(batch.observed)
    scores = model.recognise(features)
    futures = model.predict(features, model.fuse(scores), FUTURE)
    found: dict[str, Tensor] = {}
    if scores:
        found["recognition"] = sum((recognition_loss(each, batch.label) for each in scores), torch.zeros(()))
    if futures:
        total = torch.zeros(())
        for future, true, each in zip(futures, model.normalise(batch.future), features, strict=True):
            total = total + prediction_loss(future, true) + velocity * velocity_loss(future, true, each.recent[:, -1])
        found["prediction"] = total
    return found


def plain_gradients(model: SymGNN, batch: Batch, velocity: float = 0.0) -> dict[str, dict[str, Tensor]]:
    """Of each loss by every parameter, one plain backward pass each; zero where it does not depend on one."""
    names, parameters = zip(*model.named_parameters(), strict=True)
    found = {}
    for task in losses_of(model, batch):
        gradients = torch.autograd.grad(losses_of(model, batch, velocity)[task], parameters, allow_unused=True)
        found[task] = {
            name: torch.zeros_like(parameter) if gradient is None else gradient
            for name, parameter, gradient in zip(names, parameters, gradients, strict=True)
        }
    return found


def feature_gradients(model: SymGNN, batch: Batch) -> dict[str, Tensor]:
    """Of each loss by Z = (H, A_act) of both networks, laid end to end: through the heads alone, network by network."""
    with torch.no_grad():
        features = model.encode(batch.observed)
        fused = model.fuse(model.recognise(features))
    assert fused is not None
    labels = fused.softmax(dim=1)
    found: dict[str, list[Tensor]] = {"recognition": [], "prediction": []}
    for network, each, true in zip(networks_of(model), features, model.normalise(batch.future), strict=True):
        recognition, prediction = heads_of(network)
        hidden, actional = each.hidden.clone().requires_grad_(), each.actional
        z = [hidden] if actional is None else [hidden, actional := actional.clone().requires_grad_()]
        losses = {
            "recognition": recognition_loss(recognition(hidden), batch.label),
            "prediction": prediction_loss(prediction(hidden, actional, each.recent, labels, FUTURE), true),
        }
        for task, loss in losses.items():
            loss.backward()
            for tensor in z:
                found[task].append((torch.zeros_like(tensor) if tensor.grad is None else tensor.grad).flatten())
                tensor.grad = None
    return {task: torch.cat(parts) for task, parts in found.items()}


def flat(gradients: dict[str, Tensor], names: Sequence[str]) -> Tensor:
    return torch.cat([gradients[name].flatten() for name in names])


def place_of(name: str) -> str:
    """Which of backbone, recognition and prediction a parameter belongs to (networks.0.backbone...)."""
    return name.split(".")[2]


def step_gradients(model: SymGNN, batch: Batch, config: TrainingConfig) -> tuple[float, dict[str, Tensor]]:
    """λ and what one ``backward`` of the surrogate leaves on the parameters."""
    model.zero_grad()
    step = training_step(model, batch, config)
    step.surrogate.backward()
    found = {}
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, f"{name} has no gradient: several processes would wait for it"
        found[name] = parameter.grad
    return step.weight.item(), found


VARIANTS = {
    "whole": {},
    "no bone": {"bone": False},
    "structural": {"graphs": "structural"},
    "part": {"scales": "part", "bone": False},
}


@pytest.mark.parametrize("weighting", ["features", "exact", "fixed"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_of_a_step(variant, weighting):
    """λ∇L_r + (1-λ)∇L_p on the backbone, ∇L_r on the recognition heads, ∇L_p on the prediction heads (Appendix B)."""
    model, batch = make_model(**VARIANTS[variant]), make_batch()
    plain = plain_gradients(model, batch)
    weight, found = step_gradients(model, batch, TrainingConfig(weighting=weighting, recognition_weight=0.3))
    for name, gradient in found.items():
        share = {"backbone": weight, "recognition": 1.0, "prediction": 0.0}[place_of(name)]
        expected = share * plain["recognition"][name] + (1 - share) * plain["prediction"][name]
        torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}")
    kinds = {place_of(name) for name in found}
    assert kinds == {"backbone", "recognition", "prediction"}
    assert all(any(found[name].ne(0).any() for name in found if place_of(name) == kind) for kind in kinds)


def test_weight_on_features():
    model, batch = make_model(), make_batch()
    on_features = feature_gradients(model, batch)
    weight, _ = step_gradients(model, batch, TrainingConfig(weighting="features"))
    assert 0 < weight < 1
    assert weight == pytest.approx(oracles.two_task_weight(*map(array, on_features.values())), abs=1e-10)
    assert weight == pytest.approx(torchjd_weight(on_features["recognition"], on_features["prediction"]), abs=1e-9)


@pytest.mark.parametrize(("seed", "inside"), [(0, True), (1, True), (2, True)])
def test_weight_over_the_backbones_parameters(seed, inside):
    """The exact form against the plain passes; inside (0, 1) the backbone's gradient is orthogonal to g_r - g_p."""
    model, batch = make_model(seed), make_batch(seed=seed)
    plain = plain_gradients(model, batch)
    backbone = [name for name in plain["recognition"] if place_of(name) == "backbone"]
    recognition, prediction = flat(plain["recognition"], backbone), flat(plain["prediction"], backbone)
    weight, found = step_gradients(model, batch, TrainingConfig(weighting="exact"))
    assert (0 < weight < 1) == inside
    assert weight == pytest.approx(oracles.two_task_weight(array(recognition), array(prediction)), abs=1e-10)
    assert weight == pytest.approx(torchjd_weight(recognition, prediction), abs=1e-9)
    combined = flat(found, backbone)
    slope = float(combined @ (recognition - prediction))
    rounding = 1e-10 * float(recognition @ recognition + prediction @ prediction)
    assert abs(slope) < rounding if inside else slope * (0.5 - weight) > 0
    for gradient in (recognition, prediction):
        assert float(combined @ gradient) >= float(combined @ combined) - rounding, "along -d both losses fall"


def test_the_two_forms_differ():
    """The features' form bounds the exact one from above (reference [58]) and need not agree with it."""
    one, other = (
        step_gradients(make_model(1), make_batch(), TrainingConfig(weighting=form))[0] for form in ("features", "exact")
    )
    assert abs(one - other) > 0.01


def test_fixed_weight():
    for weight in (0.0, 0.25, 1.0):
        config = TrainingConfig(weighting="fixed", recognition_weight=weight)
        assert step_gradients(make_model(), make_batch(), config)[0] == weight


def test_prediction_reads_the_soft_labels_and_does_not_train_them():
    """Reading 14: ŷ moves the future; L_pred leaves nothing on the recognition heads."""
    model, batch = make_model().eval(), make_batch()
    features = model.encode(batch.observed)
    one, other = (model.predict(features, torch.eye(3).double()[[k] * 6] * 9, FUTURE)[0] for k in (0, 1))
    assert float((one - other).detach().abs().max()) > 1e-3
    gradients = plain_gradients(model.train(), batch)["prediction"]
    heads = [name for name in gradients if place_of(name) == "recognition"]
    assert heads and all(gradients[name].eq(0).all() for name in heads)


@pytest.mark.parametrize(("absent", "kept", "weight"), [("recognition", "prediction", 0.0), ("prediction", "recognition", 1.0)])
@pytest.mark.parametrize("weighting", ["features", "exact", "fixed"])
def test_a_single_task(absent, kept, weight, weighting):
    """Reading 16: no recognition, no prediction; the other task is all there is."""
    model, batch = make_model(**{absent: False}), make_batch()
    step = training_step(model, batch, TrainingConfig(weighting=weighting))
    assert getattr(step, absent) is None and step.weight.item() == weight
    assert (step.accuracy is None) == (absent == "recognition")
    plain = plain_gradients(model, batch)
    assert set(plain) == {kept}
    model.zero_grad()
    step.surrogate.backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, plain[kept][name], rtol=1e-9, atol=1e-12)


def test_velocity_term():
    """It is added to the loss that trains, and left out of the L1 that is reported."""
    model, batch = make_model(), make_batch()
    config = TrainingConfig(weighting="fixed", recognition_weight=0.0, velocity_weight=0.7)
    plain = plain_gradients(model, batch, velocity=0.7)["prediction"]
    _, found = step_gradients(model, batch, config)
    for name, gradient in found.items():
        if place_of(name) != "recognition":
            torch.testing.assert_close(gradient, plain[name], rtol=1e-9, atol=1e-12)
    step = training_step(model, batch, config)
    assert step.prediction is not None
    assert step.prediction.item() == pytest.approx(losses_of(model, batch)["prediction"].item(), rel=1e-12)


def test_reported_figures():
    """Losses are the networks' sums; accuracy is that of the fused scores over the clips with a label."""
    model, batch = make_model(), make_batch(12)
    step = training_step(model, batch, TrainingConfig())
    losses = losses_of(model, batch)
    assert step.recognition is not None and step.prediction is not None and step.accuracy is not None
    assert step.recognition.item() == pytest.approx(losses["recognition"].item(), rel=1e-12)
    assert step.prediction.item() == pytest.approx(losses["prediction"].item(), rel=1e-12)
    fused = model.fuse(model.recognise(model.encode(batch.observed)))
    assert fused is not None
    right = [fused[k].argmax().item() == label for k, label in enumerate(batch.label.tolist()) if label >= 0]
    assert len(right) == 11 and step.accuracy.item() == pytest.approx(sum(right) / 11)
    unlabelled = training_step(model, replace(batch, label=torch.full((12,), -1)), TrainingConfig())
    assert unlabelled.recognition is not None and unlabelled.recognition.item() == 0
    assert unlabelled.accuracy is not None and math.isnan(unlabelled.accuracy)


@pytest.mark.parametrize(("weighting", "passes"), [("features", 1), ("exact", 2), ("fixed", 1)])
def test_each_part_runs_backwards_no_more_than_it_must(weighting, passes):
    """Heads once; the backbone once, or twice where both of its gradients are compared."""
    model, batch = make_model(bone=False), make_batch()
    counts = {"recognition": 0, "prediction": 0, "backbone": 0}

    def watch(place: str, module: nn.Module) -> None:
        def count(_gradient: Tensor) -> None:
            counts[place] += 1

        def hook(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            output.register_hook(count)

        module.register_forward_hook(hook)

    (network,) = networks_of(model)
    recognition, prediction = heads_of(network)
    branch = network.backbone.branches[0]
    assert isinstance(branch, Branch)
    watch("recognition", recognition.fuse[0])
    watch("prediction", prediction.fuse[0])
    watch("backbone", branch.joint_blocks["1"])
    training_step(model, batch, TrainingConfig(weighting=weighting)).surrogate.backward()
    assert counts == {"recognition": 1, "prediction": 1, "backbone": passes}


def test_frozen_backbone():
    """Fine-tuning of the heads alone: the backbone gets nothing and nothing fails."""
    model, batch = make_model(), make_batch()
    plain = plain_gradients(model, batch)
    for parameter in model.backbone_parameters():
        parameter.requires_grad_(False)
    training_step(model, batch, TrainingConfig()).surrogate.backward()
    for name, parameter in model.named_parameters():
        if place_of(name) == "backbone":
            assert parameter.grad is None
        else:
            torch.testing.assert_close(parameter.grad, plain[place_of(name)][name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("weighting", ["features", "exact"])
def test_mixed_precision_finds_the_same_direction(weighting):
    """bfloat16 has two to three digits and λ is a quotient of differences: it agrees roughly, the direction well."""
    model, batch = make_model().float(), make_batch(32)
    batch = Batch(batch.observed.float(), batch.future.float(), batch.label, batch.clip)
    weight, exact = step_gradients(model, batch, TrainingConfig(weighting=weighting))
    rough_weight, rough = step_gradients(model, batch, TrainingConfig(weighting=weighting, precision="bf16-mixed"))
    assert rough_weight == pytest.approx(weight, abs=0.1) and rough_weight != weight
    names = list(exact)
    assert all(gradient.dtype == torch.float32 for gradient in rough.values())
    assert float(torch.cosine_similarity(flat(exact, names), flat(rough, names), dim=0)) > 0.97
