"""What a training shows while it runs and what it leaves to be drawn: a line on the terminal, and a table of figures."""

import csv
import sys
import time
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers.logger import Logger
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

FIGURES = {
    "l1": ("L1", ".4f"),
    "cross_entropy": ("CE", ".3f"),
    "lambda": ("λ", ".2f"),
    "accuracy": ("acc", ".0%"),
    "validation_l1": ("| held out L1", ".4f"),
    "validation_cross_entropy": ("CE", ".3f"),
    "validation_accuracy": ("acc", ".0%"),
    "samples_s": ("|", ".0f"),
}
"""What is shown, in this order: the word before the figure and its format; the last is windows a second."""


class ProgressLine(lightning.Callback):
    """Steps, time left, losses, λ, accuracy and windows a second in one line.

    Where nobody watches a terminal it prints a line now and then.

    Args:
        every: seconds between two lines where stderr is no terminal.
    """

    def __init__(self, every: float = 15.0):
        self.every = every
        self._bar: Progress | None = None
        self._shown = 0.0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        self._shown = time.monotonic()
        if sys.stderr.isatty():
            columns = (BarColumn(20), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[figures]}"))
            self._bar = Progress(*columns, console=Console(stderr=True), refresh_per_second=4)
            self._task = self._bar.add_task("train", total=trainer.max_steps, completed=trainer.global_step, figures="")
            self._bar.start()

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        now = time.monotonic()
        last = trainer.global_step == trainer.max_steps
        if not trainer.is_global_zero or (now - self._shown < (0.25 if self._bar else self.every) and not last):
            return
        self._shown = now
        figures = line_of({name: float(value) for name, value in trainer.callback_metrics.items()})
        if self._bar is not None:
            self._bar.update(self._task, completed=trainer.global_step, figures=figures)
        else:
            print(f"step {trainer.global_step}/{trainer.max_steps}  {figures}", file=sys.stderr, flush=True)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._stop()

    def on_exception(self, trainer: lightning.Trainer, pl_module: Any, exception: BaseException) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def line_of(figures: Mapping[str, float]) -> str:
    """The figures that are there, as a person reads them."""
    shown = [f"{word} {figures[name]:{form}}" for name, (word, form) in FIGURES.items() if name in figures]
    return " ".join(shown) + ("/s" if "samples_s" in figures else "")


class Curves(Logger):
    """Figures over the steps as a table, ``metrics.csv``: a row for each logged step, empty cells where there is no figure.

    A resumed run keeps the rows up to the step it goes on from.

    Args:
        path: the file.
        first_step: the step the run goes on from; rows after it are dropped, for these steps are done again.
    """

    def __init__(self, path: Path, first_step: int = 0):
        super().__init__()
        self.path = path
        kept: list[dict[str, str]] = []
        if first_step and path.is_file():
            with path.open(encoding="utf-8", newline="") as file:
                kept = [row for row in csv.DictReader(file) if int(row["step"]) <= first_step]
        self._columns = ["step", *FIGURES]
        if rank_zero_only.rank == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, self._columns, extrasaction="ignore")
                writer.writeheader()
                writer.writerows(kept)

    @property
    def name(self) -> str:
        return "metrics"

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        row = {name: float(value) for name, value in metrics.items() if name in self._columns} | {"step": step or 0}
        with self.path.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, self._columns).writerow(row)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Settings are in ``preset.json`` and in the checkpoints."""
