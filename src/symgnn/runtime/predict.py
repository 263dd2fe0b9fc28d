"""Both answers for clips of any length."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32

from symgnn.data.resampling import evenly
from symgnn.errors import InputError
from symgnn.models.checkpoint import TrainedModel
from symgnn.runtime.clips import Frames, frames_in_use

_logger = logging.getLogger("symgnn.runtime")


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model answers about one clip."""

    probabilities: dict[str, float]
    """By class, adding up to 1; empty where the model does not recognise."""
    label: str | None
    """The most probable class."""
    future: Float32[np.ndarray, "horizon joint channel"] | None
    """Poses after the clip's last frame, at the model's rate, in the units of the data; None where it does not predict."""
    milliseconds: tuple[float, ...]
    """Time of each future pose, counted from the clip's last frame."""
    observed: Float32[np.ndarray, "observed joint channel"]
    """The window the model saw, padding included; NaN where a joint is missing."""
    padded: int
    """Frames at its start that repeat the clip's first one."""


def predict(
    model: TrainedModel,
    clips: Sequence[np.ndarray],
    horizon: int | None = None,
    batch: int = 32,
    *,
    names: Sequence[str] | None = None,
) -> list[Prediction]:
    """What is each person doing, and where will every joint be?

    The model looks at the end of a clip: the last frame and, going back from it, every ``preset.data.step``-th one, until its
    window is full. Where the clip is too short, the window is filled on the left with the earliest frame found (reading 4); a
    warning of the logger ``symgnn.runtime`` and the field ``padded`` say so. A model trained on whole clips looks at all of a
    clip, in as many frames as its window has.

    Args:
        model: see [load][symgnn.models.checkpoint.load].
        clips: (frames, joints, channels) each, at the rate of the recordings the model was trained on (``model.fps``), in the
            units of its data; the joints in use or all that are stored; NaN where a joint is missing.
        horizon: frames to predict at the model's rate, any number; by default the preset's.
        batch: clips at a time; changes no answer.
        names: of the clips, for messages.

    Returns:
        One prediction a clip, in order.

    Raises:
        InputError: a clip does not fit the model's layout, holds no or infinite values, or the horizon is no positive number.
    """
    data = model.preset.data
    horizon = data.future if horizon is None else horizon
    if horizon < 1:
        raise InputError(f"horizon: found {horizon}, expected a number of frames of at least 1")
    if batch < 1:
        raise InputError(f"batch: found {batch}, expected a number of clips of at least 1")
    called = [f"clip {index}" for index in range(len(clips))] if names is None else names
    read = [frames_in_use(np.asarray(clip), model, name) for clip, name in zip(clips, called, strict=True)]
    whole = data.sampling == "whole"
    found = [(evenly(frames, data.observed), 0) if whole else _window(frames, data.observed, data.step) for frames in read]
    for (_, padded), name in zip(found, called, strict=True):
        if padded:
            _logger.warning(
                "%s: %d frames at the model's rate, its window has %d: filled on the left with the first one",
                name,
                data.observed - padded,
                data.observed,
            )
    answers: list[tuple[np.ndarray | None, np.ndarray | None]] = []
    for start in range(0, len(found), batch):
        answers += _answer(model, np.stack([window for window, _ in found[start : start + batch]]), horizon)
    # Frames of a window from one to the next, in milliseconds: a whole clip's depend on how long it is.
    spacings = [1000 / model.fps * ((len(frames) - 1) / max(data.observed - 1, 1) if whole else data.step) for frames in read]
    return [
        Prediction(
            probabilities={} if scores is None else dict(zip(model.class_names, scores.tolist(), strict=True)),
            label=None if scores is None else model.class_names[int(scores.argmax())],
            future=future,
            milliseconds=() if future is None else tuple(spacing * (frame + 1) for frame in range(horizon)),
            observed=window,
            padded=padded,
        )
        for (scores, future), (window, padded), spacing in zip(answers, found, spacings, strict=True)
    ]


def _window(frames: Frames, observed: int, step: int) -> tuple[Float32[np.ndarray, "observed joint channel"], int]:
    """The model's window at the end of a clip, and how many of its frames are padding."""
    kept = frames[::-step][:observed][::-1]
    padded = observed - len(kept)
    return np.concatenate([np.repeat(kept[:1], padded, axis=0), kept]), padded


@torch.inference_mode()
def _answer(
    model: TrainedModel, windows: Float[np.ndarray, "batch time joint channel"], horizon: int
) -> list[tuple[np.ndarray | None, np.ndarray | None]]:
    """Probabilities and future of each window."""
    like = model.network.mean
    training = model.training
    model.eval()
    try:
        output = model(torch.from_numpy(windows).to(like), horizon)
    finally:
        model.train(training)
    none = [None] * len(windows)
    # The softmax in double precision adds up to 1 for everyone who checks.
    scores = none if output.logits is None else list(output.logits.double().softmax(dim=-1).cpu().numpy())
    futures = none if output.future is None else list(output.future.float().cpu().numpy())
    return list(zip(scores, futures, strict=True))
