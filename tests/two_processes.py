"""Trains with both weightings and writes what came of it: run by test_distributed in one process and, by torchrun, in two.

Batch norm's statistics are those of a process's own share of the batch, so they are frozen here, which no user would do; what
is left must not depend on the number of processes.
"""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn

from symgnn.config import Preset
from symgnn.data import Store
from symgnn.nn.norm import FeatureNorm
from symgnn.training import MotionData, TrainingModule, train
from symgnn.training import module as training_module
from tiny import make_model, make_preset

torch.set_num_threads(1)

MODEL = {"bone": True, "difference_orders": (0, 1)}


def frozen_start(module: TrainingModule) -> None:
    """Every batch norm uses its running statistics, whatever mode the trainer puts it in; and λ is inside (0, 1)."""

    def evaluate(norm: nn.Module, _inputs: tuple[Tensor, ...]) -> None:
        norm.eval()

    for part in module.modules():
        if isinstance(part, FeatureNorm):
            part.register_forward_pre_hook(evaluate)
    # An untrained prediction head has no gradient on the features, and λ would be 0; one that moves much, 1.
    state = make_model(**MODEL).state_dict()
    module.model.load_state_dict({k: 0.1 * v if k.endswith("displace.2.weight") else v for k, v in state.items()})


def main(folder: Path, name: str) -> None:
    store = Store.open(folder / "store")
    weights: list[float] = []
    step = training_module.training_step

    def noting(*given: Any) -> Any:
        found = step(*given)
        weights.append(found.weight.item())
        return found

    def trained(title: str, preset: Preset, prepare: Callable[[TrainingModule], None]) -> dict[str, Any]:
        kept: list[TrainingModule] = []

        def start(module: TrainingModule, _data: MotionData) -> None:
            prepare(module)
            kept.append(module)

        weights.clear()
        train(preset, store, folder / f"{name} {title}", progress=False, accelerator="cpu", on_start=start)
        return {"weights": list(weights), "state": kept[0].state_dict(), "best": kept[0].best}

    common = {"steps": 4, "validate_every": 2, "velocity_weight": 0.5}
    seen = {}
    training_module.training_step = noting
    try:
        for weighting in ("features", "exact"):
            preset = make_preset(folder, MODEL, weighting=weighting, precision="64-true", **common)
            seen[weighting] = trained(weighting, preset, frozen_start)
        seen["as users do"] = trained(
            "as users do", make_preset(folder, {**MODEL, "dropout": 0.1}, **common), lambda _module: None
        )
    finally:
        training_module.training_step = step
    torch.save(seen, folder / f"{name} {distributed.get_rank() if distributed.is_initialized() else 0}.pt")


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    main(Path(sys.argv[1]), sys.argv[2])
