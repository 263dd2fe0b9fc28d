"""Points in a plane, told apart by their class."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from symgnn.viz.body import Array
from symgnn.viz.charts import COLOURS
from symgnn.viz.svg import Picture, number, text

SHAPES = (
    "M{l} {y}A{s} {s} 0 1 1 {r} {y}A{s} {s} 0 1 1 {l} {y}Z",
    "M{l} {t}L{r} {t}L{r} {b}L{l} {b}Z",
    "M{x} {t}L{r} {b}L{l} {b}Z",
    "M{x} {t}L{r} {y}L{x} {b}L{l} {y}Z",
    "M{x} {b}L{r} {t}L{l} {t}Z",
)
"""Circle, square, triangle, diamond, triangle upside down: colours alone do not tell everybody enough."""
MOST_CLASSES = len(COLOURS) * len(SHAPES)
LEGEND = 150.0
"""Pixels for the names, to the right of the points."""


def scatter_picture(
    groups: Mapping[str, Float[Array, "point 2"]], title: str, width: float = 640.0, height: float = 420.0
) -> Picture:
    """Points of each class in a colour and shape of its own, with their names beside them. The axes have no unit.

    Args:
        groups: places by class, in the order of the legend; one scale for both axes.
        title: what it shows, for the text that stands for the picture.
        width: pixels, the legend's included.
        height: pixels at most; less where the points need less, more where the legend does.

    Raises:
        ValueError: more classes than there are marks, or no point.
    """
    if len(groups) > MOST_CLASSES:
        raise ValueError(f"{title}: {len(groups)} classes, and {MOST_CLASSES} marks to tell them apart")
    every = np.concatenate(list(groups.values())) if groups else np.zeros((0, 2))
    if not len(every):
        raise ValueError(f"{title}: no point")
    low, high = every.min(axis=0), every.max(axis=0)
    margin = 14.0
    room = np.array([width - LEGEND, height]) - 2 * margin
    scale = float((room / np.maximum(high - low, 1e-9)).min())
    height = max(float(high[1] - low[1]) * scale + 2 * margin, 24.0 * len(groups) + 10.0)
    middle, centre = (low + high) / 2, np.array([(width - LEGEND) / 2, height / 2])
    box = f'width="{number(width - LEGEND - 2)}" height="{number(height - 2)}" rx="6"'
    content = [f'<rect class="grid" x="1" y="1" fill="none" {box}/>']
    for place, (name, points) in enumerate(groups.items()):
        pixels = centre + (points - middle) * scale * np.array([1.0, -1.0])
        content += [_mark(place, float(x), float(y), 4.2) for x, y in pixels]
        line = margin + 10.0 + 24.0 * place
        content.append(_mark(place, width - LEGEND + 18.0, line, 5.0))
        content.append(text(width - LEGEND + 32.0, line + 4.0, name))
    counts = ", ".join(f"{name} ({len(points)})" for name, points in groups.items())
    return Picture(width, height, "".join(content), f"{title}: points of {counts}")


def _mark(place: int, x: float, y: float, size: float) -> str:
    # Both indices move at each class, so that neighbours in the legend differ in both.
    shape = SHAPES[place % len(SHAPES)]
    edges = {"x": x, "y": y, "l": x - size, "r": x + size, "t": y - size, "b": y + size, "s": size}
    path = shape.format(**{name: number(value) for name, value in edges.items()})
    return f'<path class="mark {COLOURS[place % len(COLOURS)]}" d="{path}"/>'
