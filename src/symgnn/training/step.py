"""One training step: both losses, λ, and the gradients of all parameters."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, distributed

from symgnn.config import TrainingConfig
from symgnn.models import Features, SymGNN
from symgnn.training.losses import prediction_loss, recognition_loss, velocity_loss
from symgnn.training.mgda import inner_products, minimum_norm_weight
from symgnn.types import Batch


@dataclass(frozen=True)
class Step:
    """What one step found; scalars without gradient, except the surrogate."""

    surrogate: Float[Tensor, ""]
    """Its one ``backward`` leaves λ∇L_recg + (1-λ)∇L_pred on the backbone and each head's own gradient on the head.
    Its value means nothing."""
    recognition: Float[Tensor, ""] | None
    """Cross entropy, eq. (11), summed over the networks."""
    prediction: Float[Tensor, ""] | None
    """L1, eq. (12), summed over the networks."""
    weight: Float[Tensor, ""]
    """λ."""
    accuracy: Float[Tensor, ""] | None
    """Fraction of the labelled clips whose fused score is highest for the true class."""


def training_step(model: SymGNN, batch: Batch, config: TrainingConfig) -> Step:
    """Losses and gradients of one batch (sec. 5.4, Appendix B, readings 14 to 18).

    The heads run on detached features, so each is trained by its own loss only. Their gradients on the features are the two
    task gradients that "features" weighting compares; weighted by λ they seed a single pass back through the backbone.
    The pass is packed into one scalar, Σ ⟨z, λ g_r + (1-λ) g_p⟩ + Σ ⟨θ_head, g_head⟩, because wrappers for several processes expect
    exactly one ``backward``, and running the heads backwards a second time would cost as much as the first.

    Args:
        model: in training mode.
        batch: windows in the units of the data.
        config: the preset's training.
    """
    features = model.encode(batch.observed)
    leaves = [_leaf(each) for each in features]
    scores = model.recognise(leaves)
    logits = model.fuse(scores)
    futures = model.predict(leaves, logits, batch.future.shape[1])

    losses: dict[str, Tensor] = {}
    prediction = None
    if scores:
        losses["recognition"] = torch.stack([recognition_loss(each, batch.label) for each in scores]).sum()
    if futures:
        targets = model.normalise(batch.future)
        pairs = list(zip(futures, targets, strict=True))
        prediction = torch.stack([prediction_loss(each, true) for each, true in pairs]).sum()
        losses["prediction"] = prediction
        if config.velocity_weight:
            extra = [velocity_loss(each, true, leaf.recent[:, -1]) for (each, true), leaf in zip(pairs, leaves, strict=True)]
            losses["prediction"] = prediction + config.velocity_weight * torch.stack(extra).sum()

    shared = [tensor for leaf in leaves for tensor in _shared(leaf)]
    heads = [parameter for parameter in model.head_parameters() if parameter.requires_grad]
    gradients = {
        name: torch.autograd.grad(loss, [*shared, *heads], retain_graph=True, allow_unused=True) for name, loss in losses.items()
    }
    on_shared = {name: _dense(found[: len(shared)], shared) for name, found in gradients.items()}
    backbone_outputs = [tensor for each in features for tensor in _shared(each)]
    weight = _weight(model, config, on_shared, backbone_outputs)

    task_weights = {"recognition": weight, "prediction": 1 - weight}
    surrogate = torch.zeros((), device=batch.observed.device, dtype=torch.float32)
    for index, output in enumerate(backbone_outputs):
        seed = sum(task_weights[name].to(output.dtype) * found[index] for name, found in on_shared.items())
        surrogate = surrogate + (output * seed).sum()
    for index, parameter in enumerate(heads):
        own = [found[len(shared) + index] for found in gradients.values() if found[len(shared) + index] is not None]
        if own:
            surrogate = surrogate + (parameter * torch.stack(own).sum(dim=0)).sum()
    return Step(
        surrogate=surrogate,
        recognition=losses["recognition"].detach() if scores else None,
        prediction=None if prediction is None else prediction.detach(),
        weight=weight,
        accuracy=None if logits is None else accuracy(logits, batch.label),
    )


def accuracy(logits: Float[Tensor, "batch classes"], label: Tensor) -> Float[Tensor, ""]:
    """Fraction of the clips with a label whose highest score is the true class (NaN without any)."""
    known = label >= 0
    return (logits.argmax(dim=1) == label)[known].float().mean()


def _weight(
    model: SymGNN, config: TrainingConfig, on_shared: dict[str, list[Tensor]], outputs: Sequence[Tensor]
) -> Float[Tensor, ""]:
    """λ by the way the preset names; 1 or 0 where only one task is there (reading 16)."""
    device = outputs[0].device
    if len(on_shared) == 1:
        return torch.tensor(1.0 if "recognition" in on_shared else 0.0, device=device)
    if config.weighting == "fixed":
        return torch.tensor(config.recognition_weight, device=device)
    if config.weighting == "features":
        products = inner_products(on_shared["recognition"], on_shared["prediction"], reduce=True)
    else:
        backbone = [parameter for parameter in model.backbone_parameters() if parameter.requires_grad]
        found = {
            name: _dense(torch.autograd.grad(outputs, backbone, seeds, retain_graph=True, allow_unused=True), backbone)
            for name, seeds in on_shared.items()
        }
        for gradients in found.values():
            _average_over_processes(gradients)
        products = inner_products(found["recognition"], found["prediction"], reduce=False)
    return minimum_norm_weight(products).float()


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


def _average_over_processes(gradients: list[Tensor]) -> None:
    if distributed.is_available() and distributed.is_initialized():
        for gradient in gradients:
            distributed.all_reduce(gradient)
            gradient /= distributed.get_world_size()
