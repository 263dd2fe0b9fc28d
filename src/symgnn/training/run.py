"""From a preset and a store to a folder with checkpoints and logs."""

import json
import logging
import os
import signal
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import lightning
import torch
from lightning.pytorch.loggers import TensorBoardLogger

from symgnn.config import OWN, Preset, preset_to_dict
from symgnn.data import Store
from symgnn.errors import InputError
from symgnn.files import is_first_process, write_whole
from symgnn.models.checkpoint import Card, TrainedModel, read_checkpoint, snapshot_files
from symgnn.skeleton import load_layout
from symgnn.training.module import LOG_EVERY, AtomicCheckpointIO, Checkpoints, MotionData, TrainingModule, make_card
from symgnn.training.progress import Curves, ProgressLine
from symgnn.training.reuse import reuse

SETTINGS = "preset.json"
"""The resolved preset in a run's folder, for people to read."""


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
    start: TrainedModel | None = None,
    on_start: Callable[[TrainingModule, MotionData], None] | None = None,
    on_checkpoint: Callable[[int], None] | None = None,
) -> Run:
    """Train a preset on a store.

    Writes ``last.ckpt`` and ``validation.ckpt`` after every ``validate_every`` steps (and where the preset asks for it the
    weights alone into ``snapshots``, where all are kept), ``logs/metrics.csv`` and TensorBoard events beside it. A resumed run
    ends with the same weights, bit for bit on a CPU, as one that was never stopped: whole intervals are repeated from the last
    checkpoint, with the same windows and dropout. Under ``torchrun`` the global batch is shared by the processes.

    Args:
        preset: what to train.
        store: motion of the preset's layout and space.
        folder: where to write; it must not hold another run unless ``resume`` is set.
        resume: go on from ``folder/last.ckpt``; from the start where the run was stopped before there was one.
        progress: show a line with losses, λ, accuracy and windows a second.
        accelerator: "cpu", "gpu" (an NVIDIA or AMD device), or "auto": the second where there is one.
        start: a model whose weights are taken over as far as they fit (not folded); ``module.reused`` says which did.
        on_start: called with module and data before the first step, to print what will be done.
        on_checkpoint: called with the step after ``last.ckpt`` was written.

    Raises:
        InputError: the store does not fit the preset, the folder is taken, there is nothing to resume, or a loss is not finite.
    """
    folder = Path(folder)
    last = folder / "last.ckpt"
    store.require(store.layout if preset.data.layout == OWN else load_layout(preset.data.layout), preset.data.space)
    if preset.training.steps % (interval := min(preset.training.validate_every, preset.training.steps)):
        raise InputError(
            f"training.steps: {preset.training.steps} is no multiple of training.validate_every ({interval}): "
            "checkpoints are written after whole intervals"
        )
    first_step = 0
    if resume and last.exists():
        first_step = _check_resumable(last, preset, store)
    elif resume and not (folder / SETTINGS).exists():
        raise InputError(f"{folder}: holds no run to go on with ({last.name}, {SETTINGS}): start one without --resume")
    elif last.exists():
        raise InputError(f"{folder}: holds a run already; go on with it by --resume, or choose another --out")
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise InputError('device "gpu": PyTorch finds none here; expected "cpu", or "auto" to take what there is')
    if accelerator == "auto":
        accelerator = "gpu" if torch.cuda.is_available() else "cpu"
    _prepare(folder, preset, afresh=not first_step)

    # Weights follow the seed alone, whatever was drawn in this process before.
    torch.manual_seed(preset.training.seed)
    data = MotionData(store, preset)
    names = tuple(clip.recording for clip in store.clips)
    module = TrainingModule(preset, make_card(store, preset, data.train_indices), names)
    module.model.fit_normalisation(data.recordings(module.model))
    if start is not None:
        module.reused = reuse(module.model, start, store.layout, store.class_names)
    if module.average is not None:
        module.average.follow(module.model)
    if preset.training.precision == "64-true":
        module.double()
    if on_start is not None:
        on_start(module, data)

    processes, here = (int(os.environ.get(name, "1")) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))  # torchrun's
    with warnings.catch_warnings():
        # Windows are cut on the device: there is nothing for loader workers to do.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        # Lightning 2.6 asks torch 2.13 for a type by its old name; nothing to do for whoever trains.
        warnings.filterwarnings("ignore", message=".*treespec, LeafSpec.*", category=FutureWarning)
        trainer = lightning.Trainer(
            accelerator=accelerator,
            devices=here,
            num_nodes=processes // here,
            strategy="ddp" if processes > 1 else "auto",
            max_steps=preset.training.steps,
            max_epochs=-1,
            logger=[
                Curves(folder / "logs" / "metrics.csv", first_step),
                TensorBoardLogger(folder, name="", version="logs"),
            ],
            callbacks=[Checkpoints(folder, on_checkpoint), *([ProgressLine()] if progress else [])],
            plugins=[AtomicCheckpointIO()],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            log_every_n_steps=min(LOG_EVERY, interval),
            num_sanity_val_steps=0,
            limit_val_batches=None if data.validation_indices else 0,
            use_distributed_sampler=False,
        )
        on_interrupt = signal.getsignal(signal.SIGINT)
        try:
            trainer.fit(module, datamodule=data, ckpt_path=str(last) if first_step else None)
        except SystemExit:
            # Lightning's answer to Ctrl-C, after which it leaves the signal ignored.
            if not trainer.interrupted:
                raise
            signal.signal(signal.SIGINT, on_interrupt)
    return Run(folder, last, interrupted=trainer.interrupted)


def _check_resumable(last: Path, preset: Preset, store: Store) -> int:
    """The step a run goes on from, after checking that it is this preset's, on this data."""
    content = read_checkpoint(last)
    card = Card.from_dict(content["symgnn"], str(last))
    if "optimizer_states" not in content:
        raise InputError(f"{last}: holds weights only, no state of a training to go on from")
    if (card.class_names, card.layout) != (store.class_names, store.layout):
        raise InputError(f"{last}: was trained on other classes or another layout than those of {store.path}")
    trained, wanted = preset_to_dict(card.preset), preset_to_dict(preset)
    for part in ("data", "model", "training"):
        for name, value in wanted[part].items():
            if trained[part][name] != value:
                raise InputError(
                    f"{last}: was trained with another {part}.{name} ({trained[part][name]!r}, now {value!r}): "
                    "resume with the same settings"
                )
    return card.step


def _prepare(folder: Path, preset: Preset, *, afresh: bool) -> None:
    """Make the folder and write the resolved preset into it, for people to read; of several processes the first writes.

    Snapshots of another training that was there would be taken for this one's, and go.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror or error}") from None
    if is_first_process():
        for path in snapshot_files(folder) if afresh else ():
            path.unlink()
        write_whole(folder / SETTINGS, json.dumps(preset_to_dict(preset), indent=2).encode() + b"\n")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)  # device tables and tips; our own lines say what matters
