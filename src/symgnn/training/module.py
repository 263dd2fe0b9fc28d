"""The training loop's pieces for Lightning: module, data, checkpoints."""

import logging
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from symgnn.config import Preset, TrainingConfig
from symgnn.data import Store, WindowSampler, node_frames, split_recordings, stored_mean
from symgnn.errors import InputError
from symgnn.models import SymGNN
from symgnn.models.checkpoint import Card, build, write_atomically
from symgnn.training.losses import prediction_loss
from symgnn.training.step import accuracy, training_step
from symgnn.types import Batch

_logger = logging.getLogger("symgnn.training")


class MotionData(lightning.LightningDataModule):
    """Windows of a store, cut on the device they are used on: no worker and no copy stands between data and step.

    Training recordings are those of the store's ``train`` split (all of them where it has no splits); a part of them is held
    out whole for validation. Every interval of ``validate_every`` steps starts from seeds derived from its number, so a
    resumed run draws what the uninterrupted one would have drawn.

    Args:
        store: the recordings.
        preset: window and training.
    """

    def __init__(self, store: Store, preset: Preset):
        super().__init__()
        self.store, self.preset = store, preset
        training = preset.training
        self.train_indices, self.validation_indices = split_recordings(store, training.validation, training.seed)
        if preset.training.batch % (world := _world()):
            raise InputError(f"training.batch: {preset.training.batch} windows cannot be shared by {world} processes")

    def _sampler(self, indices: tuple[int, ...], *, augmented: bool) -> WindowSampler:
        data, training = self.preset.data, self.preset.training
        return WindowSampler.from_store(
            self.store,
            indices,
            observed=data.observed,
            future=data.future,
            step=data.step,
            skip=data.skip,
            time_reversal=training.time_reversal if augmented else 0.0,
            mirror=training.mirror if augmented else 0.0,
            device=self._device(),
        )

    def _device(self) -> torch.device:
        trainer = self.trainer
        return trainer.strategy.root_device if trainer is not None else torch.device("cpu")

    def setup(self, stage: str) -> None:
        self.train_windows = self._sampler(self.train_indices, augmented=True)
        self.validation_windows = self._sampler(self.validation_indices, augmented=False) if self.validation_indices else None

    def train_dataloader(self) -> "_Interval":
        return _Interval(self.train_windows, self.preset.training, self.trainer)

    def val_dataloader(self) -> "_Batches | list[_Batches]":
        if self.validation_windows is None:
            return []
        # Up to 64 windows a recording: enough for a steady choice, little beside an interval of training.
        whole = self.validation_windows.spread(64)
        size = self.preset.training.batch
        starts = range(0, len(whole.label), size)
        return _Batches([_rows(whole, slice(start, start + size)) for start in starts])

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        return batch  # it was cut there

    def recordings(self) -> list[Tensor]:
        """Poses of the training recordings at the model's frame rate, for the model's normalisation."""
        data = self.preset.data
        return [torch.from_numpy(node_frames(self.store, (i,))[data.skip :: data.step]) for i in self.train_indices]


class _Interval:
    """The windows of one interval of training; each process takes its share of the same global batch."""

    def __init__(self, windows: WindowSampler, training: TrainingConfig, trainer: lightning.Trainer | None):
        self.windows, self.training, self.trainer = windows, training, trainer

    def __len__(self) -> int:
        return min(self.training.validate_every, self.training.steps)

    def __iter__(self) -> Iterator[Batch]:
        interval = 0 if self.trainer is None else self.trainer.current_epoch
        generator = torch.Generator().manual_seed(_seed(self.training.seed, interval, 0))
        world, rank = _world(), _rank()
        for _ in range(len(self)):
            batch = self.windows.sample(self.training.batch, generator)
            yield _rows(batch, slice(rank, None, world))


class _Batches:
    """A list that Lightning takes for one loader (a plain one is several to it)."""

    def __init__(self, batches: list[Batch]):
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)


def _rows(batch: Batch, rows: slice) -> Batch:
    return Batch(batch.observed[rows], batch.future[rows], batch.label[rows], batch.clip[rows])


class TrainingModule(lightning.LightningModule):
    """Sym-GNN in training: one [training_step][symgnn.training.step.training_step] an optimiser step.

    Args:
        preset: network and training.
        card: what the checkpoints will know of their origin.
        recordings: names by clip number, for the message about a loss that is not a number.
    """

    def __init__(self, preset: Preset, card: Card, recordings: tuple[str, ...]):
        super().__init__()
        self.automatic_optimization = False
        self.preset, self.card, self.recording_names = preset, card, recordings
        self.model = build(preset, card.layout, len(card.class_names))
        decay = preset.training.average
        self.average = (
            AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True) if decay else None
        )
        self.best = math.inf
        """Lowest validation figure so far."""

    @property
    def reported(self) -> SymGNN:
        """The weights that are validated and reported: the moving average where the preset keeps one."""
        network = self.model if self.average is None else self.average.module
        assert isinstance(network, SymGNN)
        return network

    def on_train_epoch_start(self) -> None:
        # Dropout of this interval; ranks differ.
        torch.manual_seed(_seed(self.preset.training.seed, self.current_epoch, 1 + _rank()))
        self._started, self._seen = time.perf_counter(), 0

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        training = self.preset.training
        optimizer = self.optimizers()
        assert not isinstance(optimizer, list)
        with self._autocast():
            step = training_step(self.model, batch, training)
        optimizer.zero_grad()
        self.manual_backward(step.surrogate)
        if training.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), training.clip_norm)
        losses = {"cross_entropy": step.recognition, "l1": step.prediction}
        self._stop_unless_finite({name: loss for name, loss in losses.items() if loss is not None}, batch)
        optimizer.step()
        schedule = self.lr_schedulers()
        assert not isinstance(schedule, list) and schedule is not None
        schedule.step()  # pyright: ignore[reportCallIssue]
        if self.average is not None:
            self.average.update_parameters(self.model)
        self._seen += training.batch
        rate = self._seen / (time.perf_counter() - self._started)
        figures = {**losses, "lambda": step.weight, "accuracy": step.accuracy, "samples_s": rate}
        self.log_dict({name: value for name, value in figures.items() if value is not None}, prog_bar=True)

    def _autocast(self) -> torch.autocast:
        mixed = self.preset.training.precision == "bf16-mixed"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=mixed)

    def _stop_unless_finite(self, losses: dict[str, Tensor], batch: Batch) -> None:
        broken = [name for name, loss in losses.items() if not torch.isfinite(loss)]
        if broken:
            names = sorted({self.recording_names[clip] for clip in batch.clip.tolist()})
            raise InputError(
                f"step {self.global_step}: {' and '.join(broken)} is not a finite number; the batch held {', '.join(names)}. "
                "Check these recordings, or lower training.learning_rate or set training.clip_norm"
            )

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        network = self.reported.eval()
        features = network.encode(batch.observed)
        scores = network.recognise(features)
        logits = network.fuse(scores)
        size = len(batch.label)
        if logits is not None:
            self.log("validation_accuracy", accuracy(logits, batch.label), prog_bar=True, batch_size=size, sync_dist=True)
            loss = torch.nn.functional.cross_entropy(logits, batch.label.clamp(min=0))
            self.log("validation_cross_entropy", loss, batch_size=size, sync_dist=True)
        futures = network.predict(features[:1], logits, batch.future.shape[1])
        if futures:
            loss = prediction_loss(futures[0], network.normalise(batch.future)[0])
            self.log("validation_l1", loss, prog_bar=True, batch_size=size, sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        self.model.train()

    def configure_optimizers(self) -> Any:
        training = self.preset.training
        parameters = self.model.parameters()
        if training.optimizer == "adam":
            optimizer = torch.optim.AdamW(parameters, lr=training.learning_rate, weight_decay=training.weight_decay)
        else:
            optimizer = torch.optim.SGD(
                parameters, lr=training.learning_rate, momentum=0.9, nesterov=True, weight_decay=training.weight_decay
            )
        return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_factor(training, step))]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["symgnn"] = {**self.card.to_dict(), "step": self.global_step}
        checkpoint["best"] = self.best

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.best = checkpoint["best"]


def rate_factor(training: TrainingConfig, step: int) -> float:
    """Factor on the learning rate at a step: warm-up, then the preset's schedule."""
    progress = step / training.steps
    if progress < training.warm_up:
        return (step + 1) / (training.warm_up * training.steps)
    match training.schedule:
        case "constant":
            return 1.0
        case "step":
            return 0.1 ** sum(progress >= milestone for milestone in training.milestones)
        case "cosine":
            done = (progress - training.warm_up) / (1 - training.warm_up)
            return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


class Checkpoints(lightning.Callback):
    """Writes ``last.ckpt`` after every interval, and ``validation.ckpt`` where the validation figure is the best so far.

    The figure is the prediction L1 of held-out windows, or their cross entropy in a model that only recognises.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        assert isinstance(pl_module, TrainingModule)
        figures = trainer.callback_metrics
        figure = figures.get("validation_l1", figures.get("validation_cross_entropy"))
        better = figure is not None and float(figure) < pl_module.best
        if better:
            pl_module.best = float(figure)
        trainer.save_checkpoint(self.folder / "last.ckpt")
        if better:
            pl_module.card = replace(pl_module.card, selection="validation")
            trainer.save_checkpoint(self.folder / "validation.ckpt")
            pl_module.card = replace(pl_module.card, selection="last")


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoints through a temporary name and a rename, and read back with ``weights_only``."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        write_atomically(checkpoint, path)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return torch.load(path, map_location=map_location or "cpu", weights_only=True)


def make_card(store: Store, preset: Preset, indices: tuple[int, ...]) -> Card:
    """The card of a model trained on some clips of a store."""
    return Card(
        preset=preset,
        layout=store.layout,
        class_names=store.class_names,
        stored_mean=tuple(tuple(row) for row in stored_mean(store, indices, preset.data.skip).tolist()),
        fps=float(store.fps),
        package_version=version("symgnn"),
    )


def _seed(*parts: int) -> int:
    """A seed from several numbers, well mixed."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def _world() -> int:
    return torch.distributed.get_world_size() if torch.distributed.is_available() and torch.distributed.is_initialized() else 1


def _rank() -> int:
    return torch.distributed.get_rank() if torch.distributed.is_available() and torch.distributed.is_initialized() else 0
