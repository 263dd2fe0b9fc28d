"""The training loop's pieces for Lightning: module, data, checkpoints."""

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import get_ema_multi_avg_fn

from symgnn.config import Preset, TrainingConfig
from symgnn.data import Changes, Store, WindowSampler, node_frames, split_recordings, stored_mean
from symgnn.errors import InputError
from symgnn.models import Standardised
from symgnn.models.checkpoint import Card, TrainedModel, build, save, snapshot_file, write_checkpoint
from symgnn.training.losses import prediction_loss, recognition_loss
from symgnn.training.noise import exchanged_futures, shuffled_labels
from symgnn.training.recorded import RecordedStep, recordable
from symgnn.training.reuse import Reused
from symgnn.training.step import Step, accuracy, training_step
from symgnn.types import Batch

LOG_EVERY = 10
"""Steps between two rows of figures, each the mean of the steps since the last one."""
MOST_FRAMES = 1 << 18
"""Frames that the network's normalisation is found from: Human 3.6M's all count, of ten millions these tell as much."""
MOST_WINDOWS = 1 << 14
"""Windows that a validation looks at, where there are fewer recordings."""


class MotionData(lightning.LightningDataModule):
    """Windows of a store, cut on the device they are used on: no worker and no copy stands between data and step.

    Training recordings are those of the store's ``train`` split (all of them where it has no splits); a part of them is held
    out whole for validation. Every interval of ``validate_every`` steps starts from seeds derived from its number, so a
    resumed run draws what the uninterrupted one would have drawn. Several processes draw the same windows and take turns.

    Args:
        store: the recordings.
        preset: window and training.
    """

    def __init__(self, store: Store, preset: Preset):
        super().__init__()
        self.store, self.preset = store, preset
        training = preset.training
        self.train_indices, self.validation_indices = split_recordings(store, training.validation, training.seed)

    def _sampler(self, indices: tuple[int, ...], *, augmented: bool) -> WindowSampler:
        data, training = self.preset.data, self.preset.training
        return WindowSampler.from_store(
            self.store,
            indices,
            observed=data.observed,
            future=data.future,
            step=data.step,
            skip=data.skip,
            sampling=data.sampling,
            ratio=data.ratio,
            persons=data.persons,
            changes=Changes.of(training) if augmented else Changes(),
            device=self._device(),
        )

    def _device(self) -> torch.device:
        trainer = self.trainer
        return trainer.strategy.root_device if trainer is not None else torch.device("cpu")

    def setup(self, stage: str) -> None:
        if (batch := self.preset.training.batch) % (world := _world()):
            raise InputError(f"training.batch: {batch} windows cannot be shared equally by {world} processes")
        self.train_windows = self._sampler(self.train_indices, augmented=True)
        self.train_labels = self._noisy_labels()
        self.validation_windows = self._sampler(self.validation_indices, augmented=False) if self.validation_indices else None

    def _noisy_labels(self) -> Tensor | None:
        """The class of every clip of the store where some of the training's are wrong; None where none is."""
        training = self.preset.training
        if not training.noisy_labels:
            return None
        generator = torch.Generator().manual_seed(training.seed)
        persons = self.preset.data.persons
        return shuffled_labels(self.store, self.train_indices, training.noisy_labels, generator, persons).to(self._device())

    def train_dataloader(self) -> "_Interval":
        return _Interval(self.train_windows, self.preset.training, self.trainer, self.train_labels)

    def val_dataloader(self) -> "_Batches | list[_Batches]":
        if self.validation_windows is None:
            return []
        # Up to 64 windows a recording: enough for a steady choice, little beside an interval of training.
        windows = max(1, min(64, MOST_WINDOWS // len(self.validation_indices)))
        return _Batches(self.validation_windows.spread_batches(windows, self.preset.training.batch))

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        return batch  # it was cut there

    def recordings(self, model: Standardised) -> list[Tensor]:
        """Poses of the training recordings as the model sees them (rate, placement), for its normalisation.

        Of a data set of more than ``MOST_FRAMES`` frames, recordings drawn by the seed.
        """
        data = self.preset.data
        if data.sampling != "window" or self.preset.model.placement != "none":
            length = data.observed + data.future
            each = max(1, min(16, MOST_FRAMES // (length * len(self.train_indices))))
            chosen = self._some(length * (each if data.sampling == "window" else 1) * len(self.train_indices))
            windows = self._sampler(chosen, augmented=False).spread(each)
            placed = model.place(windows.observed, windows.together)[1]
            return list(placed.apply(torch.cat((windows.observed, windows.future), dim=1)).cpu())
        chosen = self._some(sum(self.store.clips[index].length for index in self.train_indices) // data.step)
        return [torch.from_numpy(node_frames(self.store, (i,))[data.skip :: data.step]) for i in chosen]

    def _some(self, frames: int) -> tuple[int, ...]:
        """Training recordings, so many that of their frames in all about ``MOST_FRAMES`` are left."""
        count = math.ceil(len(self.train_indices) * min(1.0, MOST_FRAMES / frames))
        order = np.random.Generator(np.random.PCG64(self.preset.training.seed)).permutation(len(self.train_indices))
        return tuple(self.train_indices[place] for place in sorted(order[:count].tolist()))


class _Interval:
    """The windows of one interval of training; each process takes its share of the same global batch.

    Args:
        windows: to draw from.
        training: how many, and with how many wrong futures.
        trainer: knows how far the training is.
        labels: class of each clip of the store, where it is not that of its windows.
    """

    def __init__(
        self,
        windows: WindowSampler,
        training: TrainingConfig,
        trainer: lightning.Trainer | None,
        labels: Tensor | None = None,
    ):
        self.windows, self.training, self.trainer, self.labels = windows, training, trainer, labels

    def __len__(self) -> int:
        return _interval(self.training)

    def __iter__(self) -> Iterator[Batch]:
        done = 0 if self.trainer is None else self.trainer.global_step
        seeds = self.training.seed, done // len(self), 0
        generator = torch.Generator().manual_seed(_seed(*seeds))
        # Another one, so that trainings with and without noise see the same windows.
        noise = torch.Generator().manual_seed(_seed(*seeds, 1))
        world, rank = _world(), _rank()
        for _ in range(len(self)):
            batch = self.windows.sample(self.training.batch, generator)
            if self.labels is not None:
                # Of persons seen together the first alone has a label.
                batch = replace(batch, label=torch.where(batch.label < 0, batch.label, self.labels[batch.clip]))
            if self.training.noisy_targets:
                batch = exchanged_futures(batch, self.training.noisy_targets, noise)
            yield batch if world == 1 else _share(batch, rank, world)


class _Batches:
    """Batches that are cut when their turn comes: all of a large data set at once would not fit."""

    def __init__(self, batches: list[Callable[[], Batch]]):
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        return (cut() for cut in self.batches)


def _share(batch: Batch, rank: int, world: int) -> Batch:
    """Every ``world``-th recording of a batch, with all its persons."""
    if batch.together is None:
        rows = torch.arange(rank, len(batch.label), world, device=batch.label.device)
        together = None
    else:
        rows = (batch.together % world == rank).nonzero().flatten()
        together = batch.together[rows] // world
    return Batch(batch.observed[rows], batch.future[rows], batch.label[rows], batch.clip[rows], together)


class MovingAverage(nn.Module):
    """Exponential moving average of a network's weights and running statistics.

    The decay rises with the number of steps t as (1 + t) / (10 + t) up to the given one, so that a short training forgets
    where it began.
    """

    def __init__(self, network: Standardised, decay: float):
        super().__init__()
        self.decay = decay
        self.module = copy.deepcopy(network).requires_grad_(False)
        self._pairs: tuple[list[Tensor], list[Tensor]] | None = None

    def follow(self, network: Standardised) -> None:
        """Start from the network's present state."""
        self.module.load_state_dict(network.state_dict())

    def update(self, network: Standardised, step: int) -> None:
        """Move towards the network after its step number ``step``, counted from 0."""
        if self._pairs is None:
            # Once: finding several hundred tensors takes longer than moving them.
            self._pairs = _floats(self.module), _floats(network)
        decay = min(self.decay, (1 + step) / (10 + step))
        get_ema_multi_avg_fn(decay)(*self._pairs, step)


class TrainingModule(lightning.LightningModule):
    """A network in training: one [training_step][symgnn.training.step.training_step] an optimiser step.

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
        self.average = MovingAverage(self.model, preset.training.average) if preset.training.average else None
        self.reused: Reused | None = None
        """What was taken over from a trained model, where training started from one."""
        self.best = math.inf
        """Lowest validation figure so far."""
        self._unread: list[tuple[Tensor, Tensor]] = []
        """Figures and clips of the steps since the last look at them."""
        self._recorded: RecordedStep | None = None

    @property
    def reported(self) -> Standardised:
        """The weights that are validated and reported: the moving average where the preset keeps one."""
        return self.model if self.average is None else self.average.module

    def on_train_start(self) -> None:
        self._weights = list(self.model.parameters())
        self._recorded = None

    def on_train_epoch_start(self) -> None:
        # Dropout of this interval; ranks differ.
        training = self.preset.training
        torch.manual_seed(_seed(training.seed, self.global_step // _interval(training), 1 + _rank()))
        self._since = time.perf_counter()

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        training = self.preset.training
        optimizer, schedule = self.optimizers(), self.lr_schedulers()
        assert not isinstance(optimizer, list) and isinstance(schedule, LambdaLR)
        if training.recorded and _world() == 1 and recordable(batch):
            if self._recorded is None:
                self._recorded = RecordedStep(self._gradients, self._weights)
            step = self._recorded(batch)
        else:
            optimizer.zero_grad()
            step = self._gradients(batch)
        optimizer.step()
        schedule.step()
        if self.average is not None:
            self.average.update(self.model, self.global_step - 1)
        self._unread.append((_figures(step), batch.clip))
        if self.global_step % LOG_EVERY == 0 or self.global_step % _interval(training) == 0:
            self._read()

    def _gradients(self, batch: Batch) -> Step:
        """Losses of a batch, its gradients left on the weights."""
        step = training_step(self.model, batch, self.preset.training)
        self.manual_backward(step.surrogate)
        if self.preset.training.clip_norm:
            torch.nn.utils.clip_grad_norm_(self._weights, self.preset.training.clip_norm)
        return step

    def _read(self) -> None:
        """Log the mean of the last steps' figures, and stop where one is not finite; before any checkpoint holds the damage.

        Looking at every step would make it wait for the device, and cost a small model as much as its step.
        """
        unread, self._unread = self._unread, []
        every_rank = _gather(torch.stack([figures for figures, _ in unread]))
        seconds, self._since = time.perf_counter() - self._since, time.perf_counter()
        broken = torch.isinf(every_rank) | torch.isnan(every_rank) & ~_allowed_nan(self.preset, every_rank.device)
        if bool(broken.any()):
            first = int(broken.any(dim=2).any(dim=0).nonzero()[0])
            names = [FIGURES[column] for column in broken.any(dim=0)[first].nonzero().flatten().tolist()]
            self._stop(self.global_step - len(unread) + first + 1, names, unread[first][1])
        means = dict(zip(FIGURES, every_rank.nanmean(dim=(0, 1)).tolist(), strict=True))
        rate = self.preset.training.batch * len(unread) / seconds
        shown = {name: value for name, value in means.items() if not math.isnan(value)}
        self._record({**shown, "samples_s": rate})

    def _record(self, figures: dict[str, float]) -> None:
        """Hand figures to the progress line and the logs, with the optimiser's own count of steps.

        Lightning's own count for the logs is off by one after a resume, and then misses the steps that have figures.
        """
        self.log_dict(figures, prog_bar=True, logger=False)
        for logger in self.loggers:
            logger.log_metrics(figures, step=self.global_step)

    def _stop(self, step: int, names: list[str], clips: Tensor) -> None:
        held = sorted({self.recording_names[clip] for clip in _gather(clips).flatten().tolist()})
        raise InputError(
            f"step {step}: not a finite number: {', '.join(names)}; the batch held {', '.join(held)}. "
            "Check these recordings, or lower training.learning_rate or set training.clip_norm"
        )

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        network = self.reported
        observed, placed = network.place(batch.observed, batch.together)
        answer = network.answer(observed, batch.future.shape[1], batch.together)
        logits, future = answer.logits, answer.future
        labelled = int((batch.label >= 0).sum())
        if logits is not None and labelled:
            figures = {
                "validation_accuracy": accuracy(logits, batch.label),
                "validation_cross_entropy": recognition_loss(logits, batch.label),
            }
            self.log_dict(figures, prog_bar=True, logger=False, batch_size=labelled, sync_dist=True)
        if future is not None:
            loss = prediction_loss(future, network.normalise(placed.apply(batch.future))[0])
            size = len(batch.label)
            self.log("validation_l1", loss, prog_bar=True, logger=False, batch_size=size, sync_dist=True)

    def configure_optimizers(self) -> Any:
        training = self.preset.training
        parameters = self.model.parameters()
        # "fused" is one call for all parameters in place of a dozen for each of several hundred.
        common = {"lr": training.learning_rate, "weight_decay": training.weight_decay, "fused": True}
        if training.optimizer == "adam":
            optimizer = torch.optim.AdamW(parameters, **common)
        else:
            optimizer = torch.optim.SGD(parameters, momentum=0.9, nesterov=True, **common)
        return [optimizer], [LambdaLR(optimizer, lambda step: rate_factor(training, step))]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["symgnn"] = {**self.card.to_dict(), "step": self.global_step}
        checkpoint["best"] = self.best

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.best = checkpoint["best"]


def rate_factor(training: TrainingConfig, step: int) -> float:
    """Factor on the learning rate at a step: warm-up, then the preset's schedule."""
    progress = step / training.steps
    if progress < training.warm_up:
        return min(1.0, (step + 1) / (training.warm_up * training.steps))
    match training.schedule:
        case "constant":
            return 1.0
        case "step":
            return 0.1 ** sum(progress >= milestone for milestone in training.milestones)
        case "cosine":
            done = 1.0 if progress >= 1 else (progress - training.warm_up) / (1 - training.warm_up)
            return 0.5 * (1 + math.cos(math.pi * done))


class Checkpoints(lightning.Callback):
    """Writes ``last.ckpt`` after every interval, and ``validation.ckpt`` where the validation figure is the best so far.

    The figure is the prediction L1 of held-out windows, or their cross entropy in a model that only recognises. The preset may
    ask for the weights of each interval beside them.
    """

    def __init__(self, folder: Path, written: Callable[[int], None] | None = None):
        self.folder, self.written = folder, written

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        assert isinstance(pl_module, TrainingModule)
        if not all(bool(weight.isfinite().all()) for weight in _floats(pl_module)):
            raise InputError(
                f"step {pl_module.global_step}: the weights are not finite numbers any more; the checkpoint of the interval "
                "before is kept. Lower training.learning_rate or set training.clip_norm"
            )
        figures = trainer.callback_metrics
        held_out = {name: float(value) for name, value in figures.items() if name.startswith("validation_")}
        if held_out:
            for logger in trainer.loggers:
                logger.log_metrics(held_out, step=pl_module.global_step)
        figure = figures.get("validation_l1", figures.get("validation_cross_entropy"))
        if figure is not None and float(figure) < pl_module.best:
            # First the one, then the other: a run killed between them finds the same best again.
            pl_module.best = float(figure)
            self._save(trainer, pl_module, "validation")
        if pl_module.preset.training.snapshots and trainer.is_global_zero:
            card = replace(pl_module.card, step=pl_module.global_step, selection="snapshot")
            save(snapshot_file(self.folder, card.step), TrainedModel(pl_module.reported, card))
        self._save(trainer, pl_module, "last")
        if self.written is not None:
            self.written(pl_module.global_step)

    def _save(self, trainer: lightning.Trainer, module: TrainingModule, selection: str) -> None:
        module.card = replace(module.card, selection=selection)
        trainer.save_checkpoint(self.folder / f"{selection}.ckpt")


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoints through a temporary name and a rename, and read back with ``weights_only``."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        write_checkpoint(checkpoint, path)

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


FIGURES = ("cross_entropy", "l1", "lambda", "accuracy")
"""What a step tells, in the order of ``_figures``."""


def _figures(step: Step) -> Tensor:
    """NaN where the model has no such head."""
    values = (step.recognition, step.prediction, step.weight, step.accuracy)
    absent = torch.full_like(step.weight, math.nan)
    return torch.stack([absent if value is None else value.to(absent) for value in values])


def _allowed_nan(preset: Preset, device: torch.device) -> Tensor:
    """Figures of heads that are not there; and the accuracy, where no clip of a batch has a label."""
    return torch.tensor([not preset.model.recognition, not preset.model.prediction, False, True], device=device)


def _floats(module: nn.Module) -> list[Tensor]:
    """Weights and running statistics."""
    return [tensor for tensor in module.state_dict().values() if tensor.is_floating_point()]


def _interval(training: TrainingConfig) -> int:
    """Steps between two validations and two checkpoints."""
    return min(training.validate_every, training.steps)


def _seed(*parts: int) -> int:
    """A seed from several numbers, well mixed."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def _world() -> int:
    return torch.distributed.get_world_size() if torch.distributed.is_available() and torch.distributed.is_initialized() else 1


def _gather(values: Tensor) -> Tensor:
    """The values of every process, one after the other along a new first axis."""
    if _world() == 1:
        return values[None]
    parts = [torch.empty_like(values) for _ in range(_world())]
    torch.distributed.all_gather(parts, values)
    return torch.stack(parts)


def _rank() -> int:
    return torch.distributed.get_rank() if torch.distributed.is_available() and torch.distributed.is_initialized() else 0
