"""The preset for recordings of a user's own: what the store decides, and why."""

from dataclasses import replace

import numpy as np

from symgnn.config import OWN, Preset
from symgnn.data import Store, group_persons
from symgnn.errors import InputError
from symgnn.models.checkpoint import Card

RATE = 25.0
"""Frames a second of the model, as nearly as keeping every n-th frame allows (reading 23)."""
OBSERVED, FUTURE = 50, 25
"""Frames of a window (reading 23)."""
WHOLE_OBSERVED, WHOLE_FUTURE = 32, 4
"""Frames of a whole clip."""
SPARE = 1000
"""Clips from which on some can be spared for validation."""
PASSES = 120
"""How often training sees each clip (or stretch of a window's length)."""


def fitted(preset: Preset, store: Store, start: Card | None = None) -> tuple[Preset, list[str]]:
    """A preset with window, space, heads and length of training chosen from the training clips of a store.

    Args:
        preset: what the store does not decide.
        store: the recordings.
        start: of the model that training is to start from: network, window and frame rate are its own, the learning rate is a
            quarter.

    Returns:
        The preset, and what was chosen with the reason, a line each.

    Raises:
        InputError: there is nothing to train on.
    """
    train = store.select(split=("train", ""))
    if not train:
        raise InputError(f"{store.path}: no clip has the split train; symgnn data split says which clips train")
    reasons = [f"{store.path}: {len(train)} clips to train on, layout {store.layout.name}, space {store.space}"]
    data = replace(preset.data, layout=OWN, space=store.space)
    model, training = preset.model, preset.training
    if store.space == "expmap":
        model = replace(model, placement="none")
        training = replace(training, rotation=0.0, scale=0.0)

    step = max(1, round(store.fps / RATE))
    lengths = np.array([-(-store.clips[index].length // step) for index in train])
    labelled = [index for index in train if store.clips[index].label >= 0]
    classes = {store.clips[index].label for index in labelled}
    if store.labels is not None:
        classes = {int(label) for index in train for label in np.unique(_labels(store, index)) if label >= 0}
    window = OBSERVED + FUTURE
    short = float(np.median(lengths)) < window
    if short and labelled and store.labels is None:
        data = replace(data, sampling="whole", step=1, observed=WHOLE_OBSERVED, future=WHOLE_FUTURE)
        protocol, units = "clips", len(train)
        training = replace(training, crop=0.2)
        reasons.append(
            f"whole clips in {WHOLE_OBSERVED} + {WHOLE_FUTURE} frames: half of the clips have fewer than the {window} frames "
            f"of a window ({OBSERVED} observed, {FUTURE} predicted)"
        )
    else:
        # As long a window as four of five recordings have, two thirds of it observed.
        fits = int(min(window, np.quantile(lengths, 0.2)))
        observed = max(3, fits * OBSERVED // window)
        future = max(1, fits - observed)
        data = replace(data, sampling="window", step=step, observed=observed, future=future)
        protocol, units = "recognition", max(len(train), int(lengths.sum()) // fits)
        reasons.append(
            f"windows of {observed} frames, {future} predicted, one in {step} kept: {store.fps / step:g} frames a second, "
            f"{1000 * future * step / store.fps:.0f} ms ahead"
        )
    if start is not None:
        learnt = start.preset.data
        if learnt.space != store.space:
            raise InputError(f"{store.path}: is in space {store.space}, the model to start from in {learnt.space}")
        # What the weights were learnt for: the frames a window has, and the network.
        step = 1 if learnt.sampling == "whole" else max(1, round(store.fps * learnt.step / start.fps))
        data = replace(
            data, sampling=learnt.sampling, step=step, observed=learnt.observed, future=learnt.future, ratio=learnt.ratio
        )
        model = replace(start.preset.model, recognition=model.recognition)
        training = replace(training, learning_rate=training.learning_rate / 4)
        protocol = "recognition" if data.sampling == "window" else "clips"
        reasons[1:] = [f"network, and windows of {data.observed} + {data.future} frames, of the model to start from"]
    persons = max(map(len, group_persons(store, train, len(train))))
    if persons > 1:
        data = replace(data, persons=persons)
        reasons.append(f"up to {persons} persons of a recording, of one class over the same frames, are recognised together")
    if len(classes) < 2:
        model = replace(model, recognition=False)
        reasons.append(f"prediction alone: found {len(classes)} classes among the training clips")
    else:
        names = [store.class_names[label] for label in sorted(classes)]
        reasons.append(f"{len(names)} classes: {', '.join(names[:12])}{' ...' if len(names) > 12 else ''}")
    if len(train) < SPARE:
        training = replace(training, validation=0.0)
        reasons.append(
            f"none held out for validation: fewer than {SPARE} clips, each is needed (--training.validation 0.1 does)"
        )
    interval = training.validate_every
    steps = int(np.clip(PASSES * units // training.batch, 4 * interval, 200 * interval)) // interval * interval
    reasons.append(f"{steps} steps of {training.batch}: each clip or stretch about {steps * training.batch // units} times")
    return replace(preset, protocol=protocol, data=data, model=model, training=replace(training, steps=steps)), reasons


def _labels(store: Store, index: int) -> np.ndarray:
    clip = store.clips[index]
    assert store.labels is not None
    return store.labels[clip.start : clip.start + clip.length]
