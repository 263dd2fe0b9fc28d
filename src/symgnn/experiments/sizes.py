"""How large a network is and what a clip costs it, part by part."""

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from symgnn.models import Standardised, SymGNN

PARTS = {
    "backbone.agim": "actional graph inference",
    "backbone.branches": "backbone branches",
    "recognition": "recognition head",
    "prediction": "prediction head",
}


@dataclass(frozen=True)
class Size:
    """One part of one network."""

    network: str
    """joint or bone; a baseline's name."""
    part: str
    parameters: int
    flop: int
    """Of a forward pass of one clip (a multiply-add is two operations, matrix products and convolutions alone are counted)."""


def sizes(model: Standardised, horizon: int) -> list[Size]:
    """Parameters and cost of each part of each network, by torch's own counter on a real forward pass.

    The bone network's prediction head costs nothing here: its future is a training target that inference leaves out
    (readings 15 and 48).

    Args:
        model: a Sym-GNN, or a baseline, which is one part; it is left in the mode it was in.
        horizon: frames to predict.
    """
    training = model.training
    model.eval()
    clip = torch.zeros(1, model.observed, *model.mean.shape, dtype=model.mean.dtype, device=model.mean.device)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(clip, horizon)
    model.train(training)
    flop = {name: sum(operations.values()) for name, operations in counter.get_flop_counts().items()}
    if not isinstance(model, SymGNN):
        weights = sum(weight.numel() for weight in model.parameters())
        return [Size(model.config.network, "all of it", weights, counter.get_total_flops())]
    found = []
    for number, network in enumerate(model.networks):
        for path, part in PARTS.items():
            weights = [weight.numel() for name, weight in network.named_parameters() if name.startswith(f"{path}.")]
            where = f"SymGNN.networks.{number}.{path}"
            # A list of branches has no forward of its own to count.
            cost = flop.get(where, sum(value for name, value in flop.items() if name.rpartition(".")[0] == where))
            if weights:
                found.append(Size(("joint", "bone")[number], part, sum(weights), cost))
    return found
