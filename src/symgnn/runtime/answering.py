"""One batch of windows through a model, whatever runs it: what prediction, streams and the service share."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int

from symgnn.models.checkpoint import Described, TrainedModel
from symgnn.types import Output

Windows = Float32[np.ndarray, "batch observed joint channel"]


@dataclass(frozen=True, eq=False)
class Answers:
    """Both answers of a batch of windows, as arrays."""

    probabilities: Float64[np.ndarray, "batch classes"] | None
    """Adding up to 1; None where the model does not recognise."""
    futures: Float32[np.ndarray, "batch horizon joint channel"] | None
    """In the units of the data; None where it does not predict."""
    actional: Float32[np.ndarray, "batch joint joint"] | None
    """A_act of eq. (2): row i says from which joints joint i gathers; None where it infers no actional graph."""


@runtime_checkable
class Engine(Protocol):
    """What runs a model outside of PyTorch, an exported file say: it has the card of a model, and answers windows itself."""

    def answer(self, windows: Windows, horizon: int, together: Int[np.ndarray, " batch"] | None = None) -> Answers:
        """As [answer][symgnn.runtime.answering.answer] does."""
        ...


@torch.inference_mode()
def answer(model: Described, windows: Windows, horizon: int, together: Int[np.ndarray, " batch"] | None = None) -> Answers:
    """Probabilities, futures and actional graphs of a batch of windows.

    Args:
        model: of [load][symgnn.models.checkpoint.load], or another [Engine][symgnn.runtime.answering.Engine].
        windows: the last ``observed`` frames of each clip at the model's rate, in the units of the data; NaN where missing.
        horizon: frames to predict, at least 1.
        together: number of each person's recording, from 0 without gaps; None where everybody is alone (reading 19).
    """
    if isinstance(model, Engine):
        return model.answer(windows, horizon, together)
    assert isinstance(model, TrainedModel)
    like = model.network.mean
    training = model.training
    model.eval()
    try:
        output = model(
            torch.from_numpy(windows).to(like),
            horizon,
            None if together is None else torch.from_numpy(together).to(like.device),
        )
    finally:
        model.train(training)
    return as_answers(output)


def as_answers(output: Output) -> Answers:
    """What a network put out, as arrays."""
    return Answers(
        # The softmax in double precision adds up to 1 for everyone who checks.
        probabilities=None if output.logits is None else output.logits.double().softmax(dim=-1).cpu().numpy(),
        futures=None if output.future is None else output.future.float().cpu().numpy(),
        actional=None if output.actional is None else output.actional.float().cpu().numpy(),
    )
