"""One training step: both losses, λ, and the gradients of all parameters."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, distributed

from symgnn.config import TrainingConfig
from symgnn.models import Features, SymGNN
from symgnn.models.baselines import Baseline
from symgnn.training.losses import Distance, number_present, prediction_loss, recognition_loss, velocity_loss
from symgnn.training.mgda import inner_products, minimum_norm_weight
from symgnn.types import Batch


@dataclass(frozen=True)
class Step:
    """What one step found; scalars without gradient, except the surrogate."""

    surrogate: Float[Tensor, ""]
    """Its one ``backward`` leaves λ∇L_recg + (1-λ)∇L_pred on the backbone and each head's own gradient on the head; a
    baseline's loss itself. Its value means nothing."""
    recognition: Float[Tensor, ""] | None
    """Cross entropy, eq. (11), summed over the networks."""
    prediction: Float[Tensor, ""] | None
    """Eq. (12), or the distance the preset names, summed over the networks."""
    weight: Float[Tensor, ""]
    """λ."""
    accuracy: Float[Tensor, ""] | None
    """Fraction of the labelled clips whose fused score is highest for the true class."""


def training_step(model: SymGNN | Baseline, batch: Batch, config: TrainingConfig) -> Step:
    """Losses and gradients of one batch, by the way of its network.

    Args:
        model: in training mode.
        batch: windows in the units of the data.
        config: the preset's training.
    """
    return symbiotic_step(model, batch, config) if isinstance(model, SymGNN) else baseline_step(model, batch, config)


def symbiotic_step(model: SymGNN, batch: Batch, config: TrainingConfig) -> Step:
    """Losses and gradients of Sym-GNN on one batch (sec. 5.4, Appendix B, readings 14 to 18).

    The heads run on detached features, so each is trained by its own loss only. Their gradients on the features are the two
    task gradients that "features" weighting compares; weighted by λ they seed a single pass back through the backbone. "exact"
    weighting takes both through the backbone, one by one, and their weighted sum is already what the backbone gets.
    Everything is packed into one scalar, because wrappers for several processes expect exactly one ``backward``, and running
    the heads backwards a second time would cost as much as the first.

    Args:
        model: in training mode.
        batch: windows in the units of the data.
        config: the preset's training.
    """
    mixed = config.precision == "bf16-mixed"
    with torch.autocast(batch.observed.device.type, dtype=torch.bfloat16, enabled=mixed):
        observed, placed = model.place(batch.observed, batch.together)
        features = model.encode(observed)
        leaves = [_leaf(each) for each in features]
        scores = model.recognise(leaves, batch.together)
        logits = model.fuse(scores)
        futures = model.predict(leaves, logits, batch.future.shape[1])

        losses: dict[str, Tensor] = {}
        prediction = None
        if scores:
            losses["recognition"] = torch.stack(
                [recognition_loss(each, batch.label, config.label_smoothing) for each in scores]
            ).sum()
        if futures:
            targets = model.normalise(placed.apply(batch.future))
            pairs = list(zip(futures, targets, strict=True))
            how: tuple[Distance, float] = (config.distance, config.nearness)
            prediction = torch.stack([prediction_loss(*pair, *how) for pair in pairs]).sum()
            losses["prediction"] = prediction
            if config.velocity_weight:
                lasts = [leaf.recent[:, -1] for leaf in leaves]
                extra = [velocity_loss(*pair, last, *how) for pair, last in zip(pairs, lasts, strict=True)]
                losses["prediction"] = prediction + config.velocity_weight * torch.stack(extra).sum()

    shared = [tensor for leaf in leaves for tensor in _shared(leaf)]
    heads = [parameter for parameter in model.head_parameters() if parameter.requires_grad]
    found = {name: torch.autograd.grad(loss, [*shared, *heads], allow_unused=True) for name, loss in losses.items()}
    # No head's parameter is in both losses: the heads share features alone, and ŷ is detached.
    of_heads = {
        parameter: own
        for each in found.values()
        for parameter, own in zip(heads, each[len(shared) :], strict=True)
        if own is not None
    }

    receivers = [tensor for each in features for tensor in _shared(each)]
    tasks = {name: _dense(each[: len(shared)], shared) for name, each in found.items()}
    if config.weighting == "exact" and len(tasks) == 2:
        outputs, receivers = receivers, [parameter for parameter in model.backbone_parameters() if parameter.requires_grad]
        tasks = {
            name: _dense(torch.autograd.grad(outputs, receivers, seeds, retain_graph=True, allow_unused=True), receivers)
            for name, seeds in tasks.items()
        }
        tasks = {name: _average_over_processes(gradients) for name, gradients in tasks.items()}
    weight = _weight(config, tasks, receivers[0].device)
    if len(tasks) == 2:
        pairs = zip(tasks["recognition"], tasks["prediction"], strict=True)
        combined = [_combine(weight, recognition, prediction) for recognition, prediction in pairs]
    else:
        (combined,) = tasks.values()
    return Step(
        surrogate=_Seeded.apply((*combined, *of_heads.values()), *receivers, *of_heads),
        recognition=losses["recognition"].detach() if scores else None,
        prediction=None if prediction is None else prediction.detach(),
        weight=weight,
        accuracy=None if logits is None else accuracy(logits, batch.label),
    )


def baseline_step(model: Baseline, batch: Batch, config: TrainingConfig) -> Step:
    """Loss of one batch for a network with one task: the same L1 and cross entropy that Sym-GNN is trained by.

    Args:
        model: in training mode.
        batch: windows in the units of the data.
        config: the preset's training.
    """
    mixed = config.precision == "bf16-mixed"
    with torch.autocast(batch.observed.device.type, dtype=torch.bfloat16, enabled=mixed):
        observed, placed = model.place(batch.observed, batch.together)
        motion = model.filled(observed)
        scores, future = model.scores(motion, batch.together), model.ahead(motion, batch.future.shape[1])
    recognition = prediction = logits = None
    losses = []
    if scores:
        recognition = torch.stack([recognition_loss(each, batch.label, config.label_smoothing) for each in scores]).sum()
        losses.append(recognition)
        logits = torch.stack(scores).sum(dim=0)
    if future is not None:
        target = model.normalise(placed.apply(batch.future))[0]
        prediction = prediction_loss(future, target, config.distance, config.nearness)
        losses.append(prediction)
        if config.velocity_weight:
            losses.append(
                config.velocity_weight * velocity_loss(future, target, motion[:, -1], config.distance, config.nearness)
            )
    return Step(
        surrogate=torch.stack(losses).sum(),
        recognition=None if recognition is None else recognition.detach(),
        prediction=None if prediction is None else prediction.detach(),
        weight=torch.full((), 0.0 if recognition is None else 1.0, device=batch.observed.device),
        accuracy=None if logits is None else accuracy(logits, batch.label),
    )


def accuracy(logits: Float[Tensor, "batch classes"], label: Tensor) -> Float[Tensor, ""]:
    """Fraction of the clips with a label whose highest score is the true class (NaN without any).

    Of a process's share of a batch it is a share too: the mean over the processes is the fraction.
    """
    return ((logits.argmax(dim=1) == label).sum() / number_present(label >= 0)).float()


class _Seeded(torch.autograd.Function):
    """A scalar whose gradient by each of some tensors is a given one: Σ ⟨tensor, gradient⟩ without doing the sums."""

    @staticmethod
    def forward(ctx: Any, gradients: tuple[Tensor, ...], *tensors: Tensor) -> Tensor:
        ctx.gradients = gradients
        return torch.zeros((), device=tensors[0].device)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        return None, *(gradient * outer[0].to(gradient.dtype) for gradient in ctx.gradients)


def _combine(weight: Tensor, recognition: Tensor, prediction: Tensor) -> Tensor:
    """λ g_r + (1-λ) g_p, in float32 at least."""
    exact = torch.promote_types(recognition.dtype, torch.float32)
    return (weight * recognition.to(exact) + (1 - weight) * prediction.to(exact)).to(recognition.dtype)


def _weight(config: TrainingConfig, tasks: dict[str, list[Tensor]], device: torch.device) -> Float[Tensor, ""]:
    """λ by the way the preset names; 1 or 0 where only one task is there (reading 16)."""
    if len(tasks) == 1:
        return torch.full((), 1.0 if "recognition" in tasks else 0.0, device=device)
    if config.weighting == "fixed":
        return torch.full((), config.recognition_weight, device=device)
    per_sample = config.weighting == "features"
    return minimum_norm_weight(inner_products(tasks["recognition"], tasks["prediction"], reduce=per_sample))


def _leaf(features: Features) -> Features:
    actional = features.actional
    return replace(
        features,
        hidden=features.hidden.detach().requires_grad_(),
        actional=None if actional is None else actional.detach().requires_grad_(),
    )


def _shared(features: Features) -> list[Tensor]:
    """Z of reading 18: everything the heads read from the backbone."""
    return [features.hidden] if features.actional is None else [features.hidden, features.actional]


def _dense(gradients: Sequence[Tensor | None], like: Sequence[Tensor]) -> list[Tensor]:
    """Zeros where a loss does not depend on a tensor (the recognition loss on A_act, reached by the prediction head alone)."""
    return [torch.zeros_like(tensor) if found is None else found for found, tensor in zip(gradients, like, strict=True)]


def _average_over_processes(gradients: list[Tensor]) -> list[Tensor]:
    if not (distributed.is_available() and distributed.is_initialized()):
        return gradients
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    parts = flat.split([gradient.numel() for gradient in gradients])
    return [part.view_as(gradient) for part, gradient in zip(parts, gradients, strict=True)]
