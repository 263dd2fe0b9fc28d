"""A body of five joints, motion for it and presets that train in seconds: what the tests of training share."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from symgnn.config import DataConfig, ModelConfig, Preset, TrainingConfig
from symgnn.data import ClipRecord, Store, write_store
from symgnn.models import Network, PredictionHead, RecognitionHead, SymGNN
from symgnn.skeleton import Layout, layout_from_dict, load_layout
from symgnn.types import Batch

BODY = {
    "name": "tiny",
    "joints": ["Hips", "Spine", "Head", "LeftLeg", "RightLeg"],
    "bones": [["Hips", "Spine", "Head"], ["LeftLeg", "Hips", "RightLeg"]],
    "parts": {"body": ["Hips", "Spine", "Head"], "left leg": ["LeftLeg"], "right leg": ["RightLeg"]},
}
CLASSES = ("swaying", "nodding", "stepping")
OBSERVED, FUTURE = 8, 4

MODEL = ModelConfig(
    graph_channels=(4, 8, 8),
    channels=(4, 8, 8),
    strides=(1, 2, 2),
    kernels=(3, 3, 3),
    fuse_after=(2,),
    hop=2,
    agim_iterations=1,
    agim_hidden=8,
    hidden=8,
    dropout=0.0,
)
TRAINING = TrainingConfig(
    steps=12,
    batch=8,
    learning_rate=3e-3,
    average=0.9,
    clip_norm=1.0,
    time_reversal=0.5,
    mirror=0.5,
    validation=0.3,
    validate_every=4,
)


def layout() -> Layout:
    return layout_from_dict(BODY)


def motion(label: int, phase: float, frames: int = 26) -> np.ndarray:
    """Joints (frames, 5, 3) around a standing pose, each class with a joint and a tempo of its own."""
    rest = np.array([[0, 1, 0], [0, 1.5, 0], [0, 2, 0], [-0.3, 0, 0], [0.3, 0, 0]])
    time = np.arange(frames)[:, None]
    wave = 0.3 * np.sin(2 * math.pi * time / (9 + 6 * label) + phase + np.arange(3))
    found = np.repeat(rest[None], frames, axis=0) + 0.05 * np.sin(time / 7 + phase)[:, None]
    found[:, (1, 2, 3)[label]] += wave
    return found


def make_store(folder: Path, *, gaps: float = 0.0, recordings: int = 4) -> Store:
    """Recordings of each class; of a fraction ``gaps`` of the joints and frames every coordinate is missing."""
    random = np.random.default_rng(0)
    clips = []
    for label, name in enumerate(CLASSES):
        for number in range(recordings):
            frames = motion(label, 2 * math.pi * number / recordings)
            frames[random.random(frames.shape[:2]) < gaps] = np.nan
            clips.append((ClipRecord(label=label, recording=f"{name}_{number}", split="train"), frames))
    folder.mkdir(exist_ok=True)
    return write_store(folder / "store", clips, layout=layout(), space="xyz", unit="m", fps=25.0, class_names=CLASSES)


def make_preset(folder: Path, model: dict[str, Any] | None = None, **training: Any) -> Preset:
    """The tiny preset, joints only, with some fields changed; the layout's file is written beside the store."""
    path = folder / "tiny.yaml"
    if not path.exists():
        path.write_text(yaml.safe_dump(BODY), encoding="utf-8")
    assert load_layout(path) == layout()
    return Preset(
        name="tiny",
        description="",
        protocol="recognition",
        data=DataConfig(layout=str(path), space="xyz", step=1, observed=OBSERVED, future=FUTURE),
        model=replace(MODEL, **{"bone": False, "difference_orders": (0, 1), **(model or {})}),
        training=replace(TRAINING, **training),
    )


def make_model(seed: int = 0, **model: Any) -> SymGNN:
    """The tiny network in float64 and training mode, every parameter drawn here: none at zero, none by the package's own hand.

    The displacements are large enough for the two tasks' gradients to be of one size: λ is well inside (0, 1).
    """
    network = SymGNN(replace(MODEL, **model), layout(), observed=OBSERVED, channels=3, classes=len(CLASSES)).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            draw = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            if name.endswith("edges") or ("norm" in name and name.endswith("weight")):
                parameter.copy_(1 + 0.1 * draw)
            elif name.endswith("displace.2.weight"):
                parameter.copy_(3 * draw)
            else:
                parameter.copy_(0.1 * draw if parameter.ndim == 1 else draw / parameter.shape[-1] ** 0.5)
    frames = [torch.from_numpy(motion(label, phase)) for label in range(3) for phase in (0.0, 1.0)]
    network.fit_normalisation(frames)
    return network.train()


def networks_of(model: SymGNN) -> list[Network]:
    """The joint network, and the bone network where there is one."""
    networks = [part for part in model.networks if isinstance(part, Network)]
    assert len(networks) == len(model.networks)
    return networks


def heads_of(network: Network) -> tuple[RecognitionHead, PredictionHead]:
    """Both heads of a network that has both."""
    assert network.recognition is not None and network.prediction is not None
    return network.recognition, network.prediction


def make_batch(size: int = 6, seed: int = 1) -> Batch:
    """Windows in float64, one clip without a label."""
    random = np.random.default_rng(seed)
    labels = [number % 3 for number in range(size)]
    windows = [motion(label, random.uniform(0, 6), OBSERVED + FUTURE) + random.normal(0, 0.02, (12, 5, 3)) for label in labels]
    whole = torch.from_numpy(np.stack(windows))
    label = torch.tensor(labels)
    label[1] = -1
    return Batch(whole[:, :OBSERVED], whole[:, OBSERVED:], label, torch.arange(size))


def state_of(checkpoint: Path) -> dict[str, Any]:
    """Everything a training goes on from: weights, moving average, optimiser, rate."""
    content = torch.load(checkpoint, weights_only=True)
    return {name: content[name] for name in ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "best")}


def same(one: Any, other: Any) -> bool:
    """Bit for bit."""
    if isinstance(one, Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other
