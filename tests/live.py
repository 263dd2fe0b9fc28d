"""The tiny model as a trained one, and motion for it: what the tests of live motion share."""

from dataclasses import replace
from typing import Any

import numpy as np

import tiny
from symgnn.config import DataConfig, Preset
from symgnn.models.checkpoint import Card, TrainedModel

FPS = 50.0


def make_model(step: int = 1, **data: Any) -> TrainedModel:
    """The tiny network with drawn weights and a card: recordings of 50 frames a second."""
    config = DataConfig(**{"layout": "own", "space": "xyz", "step": step, "observed": 8, "future": 4, **data})
    model = tiny.MODEL if config.space == "xyz" else replace(tiny.MODEL, placement="none")
    preset = Preset(name="tiny", description="", protocol="demo", data=config, model=replace(model, bone=True))
    network = tiny.make_model(bone=True).float().eval()
    stored = 6 if config.space == "expmap" else 5
    return TrainedModel(network, Card(preset, tiny.layout(), tiny.CLASSES, ((0.0, 0.0, 0.0),) * stored, FPS, "0")).eval()


def motion(frames: int, seed: int = 0, joints: int = 5) -> np.ndarray:
    """Of the tiny body where it has its joints: what the tiny network is not quite sure about."""
    rng = np.random.default_rng(seed)
    noise = 0.02 * rng.normal(size=(frames, joints, 3)).cumsum(axis=0)
    base = tiny.motion(seed % 3, seed + 0.5, frames) if joints == 5 else 5 * noise + rng.normal(size=(1, joints, 3))
    return (base + noise).astype(np.float32)
