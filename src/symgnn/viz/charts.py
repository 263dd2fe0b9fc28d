"""Curves over an axis: errors over time ahead, and how training went."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from symgnn.errors import InputError
from symgnn.viz.body import Array
from symgnn.viz.svg import Picture, number, polyline, text

Line = tuple[Sequence[float], Sequence[float]]
"""Values of the horizontal axis, ascending, and of the vertical one."""

COLOURS = ("one", "two", "three", "four", "five", "six", "seven", "eight")
MOST_POINTS = 160


@dataclass(frozen=True)
class Chart:
    """Some lines over one pair of axes."""

    title: str
    caption: str
    """What a reader sees in it, in plain words."""
    x_label: str
    lines: Mapping[str, Line]
    """By name; at most eight."""
    dots: bool = False
    """Mark the values themselves (few, exact) and not only the line between them (many, noisy)."""
    least_span: float = 0.0
    """What the vertical axis spans at least: smaller differences are not to look large."""


def read_metrics(path: str | Path) -> dict[str, Line]:
    """The columns of a training run's ``metrics.csv`` over its column ``step``; empty cells are left out.

    Raises:
        InputError: the file is missing, has no column ``step``, or a cell is not a number; the message names line and column.
    """
    path = Path(path)
    lines: dict[str, tuple[list[float], list[float]]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, restkey="", restval="")
            if "step" not in (reader.fieldnames or ()):
                raise InputError(
                    f"{path}: line 1: expected a column named step, found {', '.join(reader.fieldnames or ['nothing'])}"
                )
            for row in reader:
                cells = {name: cell for name, cell in row.items() if name not in ("", "step", "epoch") and cell}
                if cells:
                    step = _read(path, reader.line_num, "step", row["step"])
                for name, cell in cells.items():
                    steps, values = lines.setdefault(name, ([], []))
                    steps.append(step)
                    values.append(_read(path, reader.line_num, name, cell))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    return dict(lines)


def chart_picture(chart: Chart, width: float = 360.0, height: float = 220.0) -> Picture:
    """A chart with labelled axes; many noisy values are averaged to some 160 points a line.

    Values that are not finite are left out.

    Raises:
        ValueError: more lines than there are colours.
    """
    if len(chart.lines) > len(COLOURS):
        raise ValueError(f"{chart.title}: {len(chart.lines)} lines, and {len(COLOURS)} colours to tell them apart")
    lines = {name: _thinned(*line) for name, line in chart.lines.items()}
    every_x = np.concatenate([x for x, _ in lines.values()]) if lines else np.zeros(0)
    every_y = np.concatenate([y for _, y in lines.values()]) if lines else np.zeros(0)
    if not len(every_x):
        return Picture(width, height, text(width / 2, height / 2, "no values", anchor="middle", kind="soft"), chart.title)

    lacking = max(0.0, chart.least_span - float(np.ptp(every_y))) / 2
    x_ticks = nice_ticks(float(every_x.min()), float(every_x.max()))
    y_ticks = nice_ticks(float(every_y.min()) - lacking, float(every_y.max()) + lacking)
    right, top, bottom = 22.0, 12.0, 38.0
    left = max(46.0, 12.0 + 7.0 * max(len(f"{tick:g}") for tick in y_ticks))
    x_low, x_high = float(every_x.min()), float(max(every_x.max(), every_x.min() + 1e-9))
    y_low, y_high = y_ticks[0], y_ticks[-1]

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            left + (x - x_low) / (x_high - x_low) * (width - left - right),
            height - bottom - (y - y_low) / (y_high - y_low) * (height - top - bottom),
        )

    content = []
    for tick in y_ticks:
        _, y = place(x_low, tick)
        content.append(
            f'<line class="grid" x1="{number(left)}" x2="{number(width - right)}" y1="{number(y)}" y2="{number(y)}"/>'
        )
        content.append(text(left - 6, y + 4, f"{tick:g}", anchor="end", kind="soft"))
    for tick in x_ticks:
        if x_low <= tick <= x_high:
            x, _ = place(tick, y_low)
            content.append(text(x, height - bottom + 16, f"{tick:g}", anchor="middle", kind="soft"))
    content.append(text((left + width - right) / 2, height - 6, chart.x_label, anchor="middle", kind="soft"))
    told = {}
    for colour, (name, (xs, ys)) in zip(COLOURS, lines.items(), strict=False):
        points = [place(x, y) for x, y in zip(xs.tolist(), ys.tolist(), strict=True)]
        if not points:
            continue
        content.append(f'<path class="curve {colour}" d="{polyline(points)}"/>')
        if chart.dots or len(points) == 1:
            content += [f'<circle class="value {colour}" cx="{number(x)}" cy="{number(y)}" r="3"/>' for x, y in points]
        told[name] = f"from {ys[0]:.3g} to {ys[-1]:.3g}"
    alone = list(told) == [chart.title]
    alt = "; ".join(words if alone else f"{name} {words}" for name, words in told.items())
    return Picture(width, height, "".join(content), f"{chart.title} over {chart.x_label}: {alt}")


def nice_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from at or below ``low`` to at or above ``high``, at steps of 1, 2 or 5 times a power of ten."""
    if high - low < 1e-12 * max(abs(high), 1.0):
        low, high = low - 0.5 * (abs(low) or 1.0), high + 0.5 * (abs(high) or 1.0)
    step = 10.0 ** math.floor(math.log10((high - low) / most))
    while (math.ceil(high / step - 1e-9) - math.floor(low / step + 1e-9)) > most:
        # 1 -> 2 -> 5 -> 10
        step *= 2.5 if f"{step:e}".startswith("2") else 2.0
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def _thinned(x: Sequence[float], y: Sequence[float]) -> tuple[Float[Array, " point"], Float[Array, " point"]]:
    xs, ys = np.asarray(x, np.float64), np.asarray(y, np.float64)
    finite = np.isfinite(xs) & np.isfinite(ys)
    xs, ys = xs[finite], ys[finite]
    if len(xs) <= MOST_POINTS:
        return xs, ys
    group = np.arange(len(xs)) * MOST_POINTS // len(xs)
    size = np.bincount(group)
    return np.bincount(group, xs) / size, np.bincount(group, ys) / size


def _read(path: Path, line: int, name: str, cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise InputError(f"{path}: line {line}: {name}: found {cell!r}, expected a number") from None
