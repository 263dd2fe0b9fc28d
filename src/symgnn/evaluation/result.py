"""What an evaluation found, as numbers, JSON and tables."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

UNITS = {"image": "shares of the image's width and height"}
"""Units of positions whose name does not say what they are."""

Figures = Mapping[str, Mapping[int, float]]
"""Metric, then milliseconds from the current frame, to the figure at that frame; NaN where there was nothing to judge."""

TITLES = {
    "angle_mae": "angle error (MAE), lower is better",
    "angle_mae_up_to": "angle error averaged up to the frame, lower is better; not the benchmark's figure",
    "mpjpe": "mean joint position error (MPJPE, {unit}), lower is better",
    "mpjpe_in_use": "the same ({unit}) over the joints in use alone, without those that copy others or never move",
    "pck": "correct joints (PCK@0.05, %), higher is better",
}

MOST_COLUMNS, MOST_ROWS = 16, 32
"""Classes whose confusion, and actions whose errors, are printed in full; the JSON has all."""


@dataclass(frozen=True)
class Errors:
    """Prediction errors of one model."""

    actions: Mapping[str, Figures]
    """Average over the clips of each action."""
    average: Figures
    """Average over the actions, each counting the same."""


@dataclass(frozen=True, eq=False)
class Recognition:
    """Recognition of one model."""

    clips: int
    """Clips judged: those whose class the model knows."""
    top1: float
    """Fraction of the clips whose class scored highest."""
    interval: tuple[float, float]
    """Wilson's 95 % interval of ``top1``."""
    top5: float | None
    """Fraction whose class was among the best five; None with five classes or fewer, where it would be 1."""
    actions: Mapping[str, float]
    """``top1`` of each action."""
    class_names: tuple[str, ...]
    confusion: Int[np.ndarray, "classes classes"]
    """Number of clips of the class of the row that were answered with the class of the column."""


@dataclass(frozen=True)
class Result:
    """A model under a protocol."""

    protocol: str
    model: str
    selection: str | None
    """Which checkpoint it is: "last", "validation", or None for a model that was not trained; "per-cell-minimum" of several."""
    future: int
    """Frames that were predicted; which angles count as moving was judged over all of them."""
    clips: Mapping[str, int]
    """Clips judged of each action: what the result covers."""
    unit: str
    """Unit of position errors."""
    errors: Errors | None
    """None where the model or the protocol does not predict."""
    zero_velocity: Errors | None
    """The same figures of the zero-velocity baseline on the same clips (``errors`` itself where that is the model)."""
    recognition: Recognition | None
    """None where the model does not recognise."""
    missing: tuple[str, ...]
    """What the protocol asks for and could not be judged, a sentence each."""
    ratio: float | None = None
    """Part of each clip that was shown, its beginning; None for all."""
    evaluations: int | None = None
    """Of one training, on these clips, of which each figure is the best; None for figures of one evaluation."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values; a figure that does not exist is None."""
        errors, recognition = self.errors, self.recognition
        actions: dict[str, dict[str, Any]] = {action: {"clips": clips} for action, clips in self.clips.items()}
        for action, figures in actions.items():
            figures |= {} if errors is None else _plain(errors.actions[action])
            if recognition is not None:
                figures["top1"] = recognition.actions.get(action)
        return {
            "protocol": self.protocol,
            "model": self.model,
            "selection": self.selection,
            "evaluations": self.evaluations,
            "future": self.future,
            "ratio": self.ratio,
            "clips": sum(self.clips.values()),
            "unit": self.unit,
            "actions": actions,
            "average": {} if errors is None else _plain(errors.average),
            "zero_velocity": None
            if self.zero_velocity is None
            else {
                "actions": {action: _plain(figures) for action, figures in self.zero_velocity.actions.items()},
                "average": _plain(self.zero_velocity.average),
            },
            "top1": None if recognition is None else recognition.top1,
            "top1_interval": None if recognition is None else list(recognition.interval),
            "top5": None if recognition is None else recognition.top5,
            "recognised_clips": None if recognition is None else recognition.clips,
            "classes": None if recognition is None else list(recognition.class_names),
            "confusion": None if recognition is None else recognition.confusion.tolist(),
            "missing": list(self.missing),
        }

    def to_json(self) -> str:
        """``to_dict`` as JSON text."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)

    def error_tables(self) -> list[Table]:
        """A table for each metric: a row an action, a column a frame, zero-velocity's figure in brackets beside the model's."""
        if self.errors is None:
            return []
        return [self._error_table(metric) for metric in self.errors.average]

    def confusion_table(self) -> Table | None:
        """The confusion matrix: a row for each true class that occurs, a column for each answer that occurs.

        Of more than ``MOST_COLUMNS`` classes the commonest mistakes.
        """
        if self.recognition is None:
            return None
        counts, names = self.recognition.confusion, self.recognition.class_names
        columns = np.flatnonzero(counts.any(axis=0) | counts.any(axis=1))
        if len(columns) > MOST_COLUMNS:
            return _commonest_mistakes(counts, names)
        table = Table(title="recognition: clips of the class of the row, answered with the class of the column")
        table.add_column("class")
        for column in columns:
            table.add_column(names[column], justify="right")
        for row in np.flatnonzero(counts.any(axis=1)):
            cells = [
                Text(str(counts[row, column]) if counts[row, column] else "·", style="bold" if row == column else "")
                for column in columns
            ]
            table.add_row(names[row], *cells)
        return table

    def __rich__(self) -> RenderableType:
        weights = "" if self.selection is None else f" ({self.selection} weights)"
        if self.evaluations is not None:
            weights = f" (per-cell minimum of {self.evaluations} evaluations: chosen on test data)"
        total = sum(self.clips.values())
        parts: list[RenderableType] = [
            Text(
                f"{self.model}{weights} under protocol {self.protocol}: {total} clips of {len(self.clips)} actions"
                + ("" if self.ratio is None else f", the first {self.ratio:.0%} of each"),
                style="bold",
            )
        ]
        parts += self.error_tables()
        if self.recognition is not None:
            found = self.recognition
            low, high = found.interval
            line = f"recognised {found.top1:.1%} of {found.clips} clips (95 % interval {low:.1%} to {high:.1%})"
            parts.append(Text(line + ("" if found.top5 is None else f"; among the best five {found.top5:.1%}"), style="bold"))
            confusion = self.confusion_table()
            assert confusion is not None
            parts.append(confusion)
        parts += [Text(f"not covered: {sentence}", style="yellow") for sentence in self.missing]
        return Group(*parts)

    def _error_table(self, metric: str) -> Table:
        errors = self.errors
        assert errors is not None
        zero = None if self.zero_velocity is errors else self.zero_velocity
        table = Table(
            title=TITLES[metric].format(unit=UNITS.get(self.unit, self.unit)),
            caption=None if zero is None else "(zero-velocity)",
        )
        table.add_column("ms")
        times = list(errors.average[metric])
        for time in times:
            table.add_column(str(time), justify="right")
        largest = max((abs(value) for value in errors.average[metric].values()), default=0.0)
        digits = 1 if metric == "pck" or largest >= 10 else 3
        factor = 100 if metric == "pck" else 1

        def cells(mine: Figures, baseline: Figures | None) -> list[str]:
            return [
                f"{factor * mine[metric][time]:.{digits}f}"
                + ("" if baseline is None else f" ({factor * baseline[metric][time]:.{digits}f})")
                for time in times
            ]

        if len(errors.actions) <= MOST_ROWS:
            for action, figures in errors.actions.items():
                table.add_row(action, *cells(figures, None if zero is None else zero.actions[action]))
            table.add_section()
        table.add_row("average", *cells(errors.average, None if zero is None else zero.average), style="bold")
        return table


def _commonest_mistakes(counts: np.ndarray, names: Sequence[str]) -> Table:
    wrong = np.where(np.eye(len(counts), dtype=bool), 0, counts)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_COLUMNS]
    table = Table(title=f"recognition: the commonest mistakes among {int(wrong.sum())}")
    for heading, justify in (("class", "left"), ("answered with", "left"), ("clips", "right"), ("of", "right")):
        table.add_column(heading, justify=justify)  # pyright: ignore[reportArgumentType]
    for place in order:
        true, answer = divmod(int(place), len(counts))
        if wrong[true, answer]:
            table.add_row(names[true], names[answer], str(wrong[true, answer]), str(counts[true].sum()))
    return table


def _plain(figures: Figures) -> dict[str, dict[str, float | None]]:
    return {
        metric: {str(time): None if math.isnan(value) else value for time, value in values.items()}
        for metric, values in figures.items()
    }
