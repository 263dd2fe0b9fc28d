"""Recorded training steps against launched ones; needs a GPU."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

import tiny
from symgnn.config import TrainingConfig
from symgnn.training.recorded import WARM_UP, RecordedStep, recordable
from symgnn.training.step import Step, training_step
from symgnn.types import Batch


def batches(count: int, device: str) -> list[Batch]:
    generator = torch.Generator().manual_seed(0)
    shape = 4, tiny.OBSERVED + tiny.FUTURE, 5, 3
    found = []
    for _ in range(count):
        past, future = torch.randn(shape, generator=generator).to(device).split([tiny.OBSERVED, tiny.FUTURE], dim=1)
        found.append(Batch(past, future, torch.arange(4, device=device) % 3, torch.arange(4, device=device)))
    return found


def test_what_can_be_recorded() -> None:
    """Not on a CPU; test_losses_and_weights_of_recorded_steps has the other side."""
    assert not recordable(batches(1, "cpu")[0])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_losses_and_weights_of_recorded_steps() -> None:
    training = TrainingConfig(weighting="fixed", precision="64-true")
    given = batches(WARM_UP + 5, "cuda")
    assert recordable(given[0]) and not recordable(replace(given[0], together=torch.zeros(4, dtype=torch.long, device="cuda")))
    ends: list[Tensor] = []
    for recorded in (False, True):
        torch.manual_seed(0)
        model = tiny.make_model(dropout=0.0).double().cuda().train()
        weights = list(model.parameters())
        optimizer = torch.optim.SGD(weights, lr=0.1)

        def gradients(batch: Batch, model=model) -> Step:
            step = training_step(model, batch, training)
            step.surrogate.backward()
            return step

        take = RecordedStep(gradients, weights)
        losses = []
        for batch in given:
            optimizer.zero_grad()  # sets them to None, as validations do
            found = take(batch) if recorded else gradients(batch)
            assert found.prediction is not None
            losses.append(float(found.prediction))
            optimizer.step()
        ends.append(torch.cat([torch.tensor(losses), *(weight.detach().flatten().cpu() for weight in weights)]))
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-9, atol=1e-9)
