"""From a preset and a store to a folder with checkpoints and logs."""

import json
import logging
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from symgnn.config import Preset, preset_to_dict
from symgnn.data import Store
from symgnn.errors import InputError
from symgnn.models.checkpoint import read_checkpoint
from symgnn.skeleton import load_layout
from symgnn.training.module import AtomicCheckpointIO, Checkpoints, MotionData, TrainingModule, make_card


@dataclass(frozen=True)
class Run:
    """What a training left behind."""

    folder: Path
    """Checkpoints, ``preset.json`` and the logs."""
    last: Path
    """The final weights."""
    interrupted: bool
    """Stopped by Ctrl-C before its last step; ``resume=True`` goes on from the last checkpoint."""


def train(
    preset: Preset,
    store: Store,
    folder: str | Path,
    *,
    resume: bool = False,
    progress: bool = True,
    accelerator: str = "auto",
    on_start: Callable[[TrainingModule, MotionData], None] | None = None,
) -> Run:
    """Train a preset on a store.

    Writes ``last.ckpt`` and ``validation.ckpt`` after every ``validate_every`` steps, ``metrics.csv`` and TensorBoard events. A
    resumed run ends with the same weights, bit for bit on a CPU, as one that was never stopped: whole intervals are
    repeated from the last checkpoint, with the same windows and dropout. Under ``torchrun`` the global batch is shared by the
    processes.

    Args:
        preset: what to train.
        store: motion of the preset's layout and space.
        folder: where to write; it must not hold another run unless ``resume`` is set.
        resume: go on from ``folder/last.ckpt``.
        progress: show a progress bar.
        accelerator: Lightning's name of the device kind ("auto", "cpu", "gpu").
        on_start: called with module and data before the first step, to print what will be done.

    Raises:
        InputError: the store does not fit the preset, the folder is taken, there is nothing to resume, or a loss is not finite.
    """
    folder = Path(folder)
    last = folder / "last.ckpt"
    store.require(load_layout(preset.data.layout), preset.data.space)
    if preset.training.steps % (interval := min(preset.training.validate_every, preset.training.steps)):
        raise InputError(
            f"training.steps: {preset.training.steps} is no multiple of training.validate_every ({interval}): "
            "checkpoints are written after whole intervals"
        )
    if resume:
        _check_resumable(last, preset)
    elif last.exists():
        raise InputError(f"{folder}: holds a run already; go on with it by --resume, or choose another --out")
    _prepare(folder, preset)

    # Weights follow the seed alone, whatever was drawn in this process before.
    torch.manual_seed(preset.training.seed)
    data = MotionData(store, preset)
    names = tuple(clip.recording for clip in store.clips)
    module = TrainingModule(preset, make_card(store, preset, data.train_indices), names)
    module.model.fit_normalisation(data.recordings())
    if module.average is not None:
        module.average.module.load_state_dict(module.model.state_dict())
    if preset.training.precision == "64-true":
        module.double()
    if on_start is not None:
        on_start(module, data)

    processes = int(os.environ.get("WORLD_SIZE", "1"))
    with warnings.catch_warnings():
        # Windows are cut on the device: there is nothing for loader workers to do.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        trainer = lightning.Trainer(
            accelerator=accelerator,
            devices=processes,
            strategy="ddp" if processes > 1 else "auto",
            max_steps=preset.training.steps,
            max_epochs=-1,
            logger=[CSVLogger(folder, name="", version="logs"), TensorBoardLogger(folder, name="", version="logs")],
            callbacks=[Checkpoints(folder), *([TQDMProgressBar(refresh_rate=10)] if progress else [])],
            plugins=[AtomicCheckpointIO()],
            enable_checkpointing=False,
            enable_progress_bar=progress,
            enable_model_summary=False,
            log_every_n_steps=10,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
        )
        trainer.fit(module, datamodule=data, ckpt_path=str(last) if resume else None)
    return Run(folder, last, interrupted=trainer.interrupted)


def _check_resumable(last: Path, preset: Preset) -> None:
    content = read_checkpoint(last)
    if "optimizer_states" not in content:
        raise InputError(f"{last}: holds weights only, no state of a training to go on from")
    trained = content["symgnn"]["preset"]
    wanted = preset_to_dict(preset)
    for part in ("data", "model", "training"):
        different = [name for name, value in wanted[part].items() if _plain(trained[part].get(name)) != _plain(value)]
        if different:
            raise InputError(
                f"{last}: was trained with another {part}.{different[0]} "
                f"({trained[part].get(different[0])!r}, now {wanted[part][different[0]]!r}): resume with the same settings"
            )


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _prepare(folder: Path, preset: Preset) -> None:
    """Make the folder and write the resolved preset into it, for people to read."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "preset.json").write_text(json.dumps(preset_to_dict(preset), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror or error}") from None
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)  # device tables and tips; our own lines say what matters
