"""Baselines without a training by gradient: three of prediction, and two classifiers fitted to a store's training clips."""

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from symgnn.config import CLASSIFIERS, PREDICTORS
from symgnn.data import Store, WindowSampler
from symgnn.errors import InputError
from symgnn.evaluation.evaluate import Model
from symgnn.evaluation.protocols import Protocol
from symgnn.models.baselines import RunningAverage, ZeroVelocity

if TYPE_CHECKING:
    from symgnn.models.baselines.classifiers import ClipClassifier

FRAMES = 16
"""Frames a whole clip is shown in."""
PER_CLIP = 16
"""Windows of each training clip, where a protocol cuts windows."""


def fitted_baseline(name: str, protocol: Protocol, store: Store) -> tuple[Model, Protocol]:
    """A baseline by its name, fitted to the store's training clips where it learns, and the protocol it is to be judged by.

    Args:
        name: one of ``config.PREDICTORS``, which repeat a pose, or of ``config.CLASSIFIERS``.
        protocol: what is asked for; classifiers see whole clips in fewer frames.
        store: the data.

    Raises:
        InputError: no such baseline, or as for ``fitted_classifier``.
    """
    if name == "zero-velocity":
        return ZeroVelocity(), protocol
    if name in PREDICTORS:
        return RunningAverage(int(name.rpartition("-")[2])), protocol
    if name not in CLASSIFIERS:
        raise InputError(f"no baseline {name!r} (there are: {', '.join((*PREDICTORS, *CLASSIFIERS))})")
    return fitted_classifier("linear" if name == "linear" else "nearest", protocol, store)


def fitted_classifier(
    kind: Literal["linear", "nearest"], protocol: Protocol, store: Store
) -> "tuple[ClipClassifier, Protocol]":
    """A baseline that has learnt from the training clips with a class, and the protocol as it is to be judged by.

    Raises:
        InputError: the protocol recognises nothing, or fewer than two classes have training clips.
    """
    from symgnn.models.baselines.classifiers import ClipClassifier  # it loads scikit-learn

    if protocol.sampling != "window":
        protocol = replace(protocol, sampling="whole", observed=FRAMES, future=0, milliseconds=(), metrics=())
        chosen = [index for index in store.select(split="train") if store.clips[index].label >= 0]
        columns = list(store.layout.columns(store.space))
        clips = [protocol.shown(store.clip_frames(index)[:, columns], "whole") for index in chosen]
        windows = torch.from_numpy(np.stack(clips)) if clips else torch.zeros(0)
        labels = torch.tensor([store.clips[index].label for index in chosen], dtype=torch.long)
    else:
        sampler = WindowSampler.from_store(
            store, store.select(split="train"), observed=protocol.observed, future=0, step=protocol.step
        )
        spread = sampler.spread(PER_CLIP)
        known = spread.label >= 0
        windows, labels = spread.observed[known], spread.label[known]
    if len(labels.unique()) < 2:
        raise InputError(
            f"{store.path}: {len(labels.unique())} classes have training clips, expected two or more (symgnn data split says "
            "which clips train)"
        )
    root = None if store.space == "expmap" else store.layout.root_node
    classifier = ClipClassifier(kind, root, len(store.class_names))
    return classifier.fit(windows, labels), protocol
