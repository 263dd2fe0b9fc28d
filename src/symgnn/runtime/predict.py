"""Both answers for clips of any length."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from symgnn.config import DataConfig
from symgnn.data.resampling import evenly
from symgnn.errors import InputError
from symgnn.models.checkpoint import Described
from symgnn.runtime.answering import answer
from symgnn.runtime.clips import Frames, frames_in_use

_logger = logging.getLogger("symgnn.runtime")

OTHER_UNIT = 6.0
"""Times that a body is larger or smaller than usual from which on it must be in another unit (these are ten times apart)."""


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
    frame_ms: float
    """Milliseconds from a frame of the window to the next; of a whole clip they depend on how long it is."""
    padded: int
    """Frames at its start that repeat the clip's first one."""


def predict(
    model: Described,
    clips: Sequence[np.ndarray],
    horizon: int | None = None,
    batch: int = 32,
    *,
    names: Sequence[str] | None = None,
    together: Sequence[int] | None = None,
) -> list[Prediction]:
    """What is each person doing, and where will every joint be?

    The model looks at the end of a clip: the last frame and, going back from it, every ``preset.data.step``-th one, until its
    window is full. Where the clip is too short, the window is filled on the left with the earliest frame found (reading 4); a
    warning of the logger ``symgnn.runtime`` and the field ``padded`` say so. A model trained on whole clips looks at all of a
    clip, in as many frames as its window has; one trained on repeated clips sees a short one again and again, up to its end.

    Args:
        model: see [load][symgnn.models.checkpoint.load].
        clips: (frames, joints, channels) each, at the rate of the recordings the model was trained on (``model.fps``), in the
            units of its data; the joints in use or all that are stored; NaN where a joint is missing.
        horizon: frames to predict at the model's rate, any number; by default the preset's.
        batch: clips at a time; changes no answer.
        names: of the clips, for messages.
        together: a number a clip; clips of one number are persons seen together, the main one first, side by side: they are
            recognised together (reading 19).

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
    for frames, name in zip(read, called, strict=True):
        look_at_size(frames, model, name)
    found = [_window(frames, data) for frames in read]
    for (_, padded), name in zip(found, called, strict=True):
        if padded:
            _logger.warning(
                "%s: %d frames at the model's rate, its window has %d: filled on the left with the first one",
                name,
                data.observed - padded,
                data.observed,
            )
    answers: list[tuple[np.ndarray | None, np.ndarray | None]] = []
    for rows in _batches(range(len(found)) if together is None else together, len(found), batch):
        windows = np.stack([window for window, _ in found[rows]])
        scene = None if together is None else np.cumsum(np.diff(together[rows], prepend=together[rows.start]) != 0)
        output = answer(model, windows, horizon, scene)
        none = [None] * len(windows)
        answers += zip(
            none if output.probabilities is None else output.probabilities,
            none if output.futures is None else output.futures,
            strict=True,
        )
    # Frames of a window from one to the next, in milliseconds: a whole clip's depend on how long it is.
    spacings = [1000 / model.fps * ((len(frames) - 1) / max(data.observed - 1, 1) if whole else data.step) for frames in read]
    return [
        Prediction(
            probabilities={} if scores is None else dict(zip(model.class_names, scores.tolist(), strict=True)),
            label=None if scores is None else model.class_names[int(scores.argmax())],
            future=future,
            milliseconds=() if future is None else tuple(spacing * (frame + 1) for frame in range(horizon)),
            observed=window,
            frame_ms=spacing,
            padded=padded,
        )
        for (scores, future), (window, padded), spacing in zip(answers, found, spacings, strict=True)
    ]


def look_at_size(frames: Frames, model: Described, name: str) -> None:
    """Warn of a body in another unit: what a model says of millimetres taken for metres is worth nothing."""
    if model.preset.data.space != "xyz":
        return
    # How far the joints of the mean pose are apart: turning people blur it in width, not in height.
    usual = np.ptp(model.stored_mean.numpy()[list(model.layout.columns("xyz"))], axis=0).max()
    seen = frames[~np.isnan(frames).any(axis=(1, 2))]
    if usual > 0 and len(seen):
        times = float(np.median(np.ptp(seen, axis=1).max(axis=1)) / usual)
        if not 1 / OTHER_UNIT < times < OTHER_UNIT:
            what = f"{times:,.0f} times as large" if times > 1 else f"{1 / times:,.0f} times as small"
            _logger.warning("%s: the body is %s as those the model was trained on: is it in another unit?", name, what)


def _batches(scenes: Sequence[int], clips: int, size: int) -> Iterator[slice]:
    """About so many clips at a time, those of one scene in one batch.

    Raises:
        InputError: not a number a clip, or the clips of a scene do not lie side by side.
    """
    if len(scenes) != clips:
        raise InputError(f"together: found {len(scenes)} numbers, expected one for each of {clips} clips")
    changes = [place for place in range(clips) if not place or scenes[place] != scenes[place - 1]]
    if len(changes) != len(set(scenes)):
        raise InputError("together: found a number again after another one, expected the persons of a scene side by side")
    start = 0
    for change in changes:
        if change - start >= size:
            yield slice(start, change)
            start = change
    if clips:
        yield slice(start, clips)


def _window(frames: Frames, data: DataConfig) -> tuple[Float32[np.ndarray, "observed joint channel"], int]:
    """The model's window at the end of a clip, and how many of its frames are padding."""
    observed = data.observed
    if data.sampling == "whole":
        return evenly(frames, observed), 0
    return filled(frames[:: -data.step][:observed][::-1], data)


def filled(
    kept: Float32[np.ndarray, "time joint channel"], data: DataConfig
) -> tuple[Float32[np.ndarray, "observed joint channel"], int]:
    """The window that so many frames at the model's rate or fewer make, and how many of its frames are padding (reading 4)."""
    observed = data.observed
    padded = observed - len(kept)
    if not padded:
        return kept, 0
    if data.sampling == "repeat":
        return np.resize(kept[::-1], (observed, *kept.shape[1:]))[::-1].copy(), 0
    return np.concatenate([np.repeat(kept[:1], padded, axis=0), kept]), padded
