"""Bodies in a row: what was seen, what came, and what was expected to come."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float

from symgnn.viz.body import Array, Body, View, clearest, project, view_of
from symgnn.viz.svg import Picture, number, text

Kind = Literal["seen", "truth", "guess", "frozen"]
"""Observed, what really came, what was predicted, the last observed pose kept."""


HEIGHT = 190.0
"""Pixels of a panel; its width is what its bodies need."""
NARROWEST = 90.0
MARGIN = 12.0
LABEL = 18.0
"""Pixels above the bodies for the label."""
HEAD = 0.055
"""Radius of a head, against the body's height."""


def observed_panels(
    body: Body,
    observed: Float[Array, "time point 3"],
    frame_ms: float,
    *,
    count: int = 5,
    view: View | None = None,
    whole: bool = False,
) -> list[Picture]:
    """Some of the observed poses, evenly over the window, the current one last.

    Args:
        body: what is drawn.
        observed: places of its points.
        frame_ms: milliseconds from a frame to the next.
        count: number of panels.
        view: where from; by default the front of the clearest pose, turned.
        whole: they are a whole clip, and its time counts from its first frame; else from the current one backwards.
    """
    chosen = np.unique(np.linspace(0, len(observed) - 1, count).round().astype(int)).tolist()
    rows: list[tuple[str, dict[Kind, Array]]] = [
        (
            f"{frame * frame_ms / 1000:.1f} s" if whole else _ago((len(observed) - 1 - frame) * frame_ms),
            {"seen": observed[frame]},
        )
        for frame in chosen
    ]
    return _panels(body, rows, view or view_of(body, clearest(observed)))


def prediction_panels(
    body: Body,
    last: Float[Array, "point 3"],
    predicted: Float[Array, "time point 3"],
    moments: Mapping[int, int],
    *,
    true: Float[Array, "time point 3"] | None = None,
    view: View | None = None,
) -> list[Picture]:
    """The predicted body at chosen times, over the true one where it is known and over the last observed pose.

    Args:
        body: what is drawn.
        last: the last observed pose.
        predicted: predicted places of its points, the first frame after ``last`` first.
        moments: for each label in milliseconds the number of frames after ``last``; those beyond the prediction are left out.
        true: what really came.
        view: where from; by default the front of the last pose, turned.
    """
    rows: list[tuple[str, dict[Kind, Array]]] = []
    for milliseconds, frames in moments.items():
        if not 1 <= frames <= len(predicted):
            continue
        poses: dict[Kind, Array] = {"frozen": last}
        if true is not None and frames <= len(true):
            poses["truth"] = true[frames - 1]
        poses["guess"] = predicted[frames - 1]
        rows.append((f"{milliseconds} ms", poses))
    return _panels(body, rows, view or view_of(body, last))


def body_paths(body: Body, points: Float[Array, "point 2"], kind: str, scale: float) -> str:
    """A body's bones and head as SVG: one path a depth, so that the side away from the eye is fainter.

    Args:
        body: what is drawn.
        points: pixels; a bone with a missing end (NaN) is left out.
        kind: class of the paths.
        scale: pixels of a body's whole height, for the head's size.
    """
    near, far = [], []
    for parent, child in body.bones:
        if np.isfinite(points[[parent, child]]).all():
            ends = "L".join(f"{number(x)} {number(y)}" for x, y in points[[parent, child]])
            (far if body.sides[child] == "right" else near).append(f"M{ends}")
    paths = "".join(
        f'<path class="{name}" d="{"".join(bones)}"/>'
        for name, bones in ((f"{kind} bones far", far), (f"{kind} bones", near))
        if bones
    )
    for head in (points[list(head)] for head in body.heads):
        if np.isfinite(head).all():
            x, y = head.mean(axis=0)
            paths += f'<circle class="{kind} bones" cx="{number(x)}" cy="{number(y)}" r="{number(HEAD * scale)}"/>'
    return paths


def _panels(body: Body, rows: Sequence[tuple[str, dict[Kind, Array]]], view: View) -> list[Picture]:
    """One panel a row, as wide as its bodies need; all have one scale and one height of the ground."""
    flat: list[tuple[str, dict[Kind, Array]]] = []
    for label, poses in rows:
        shown: dict[Kind, Array] = {
            kind: project(pose, view) for kind, pose in poses.items() if np.isfinite(pose).all(axis=1).any()
        }
        if shown:
            flat.append((label, shown))
    if not flat:
        return []
    every = np.concatenate([pose for _, poses in flat for pose in poses.values()])
    low, high = float(np.nanmin(every[:, 1])), float(np.nanmax(every[:, 1]))
    scale = (HEIGHT - LABEL - 2 * MARGIN) / ((high - low) or 1.0)
    return [_panel(body, label, poses, scale, low) for label, poses in flat]


def _panel(body: Body, label: str, poses: Mapping[Kind, Float[Array, "point 2"]], scale: float, bottom: float) -> Picture:
    places = np.concatenate(list(poses.values()))
    left, right = float(np.nanmin(places[:, 0])), float(np.nanmax(places[:, 0]))
    width = max((right - left) * scale + 2 * MARGIN, NARROWEST)
    ground = HEIGHT - MARGIN / 2
    content = f'<line class="grid" x1="4" x2="{number(width - 4)}" y1="{number(ground)}" y2="{number(ground)}"/>'
    for kind, pose in poses.items():
        pixels = np.stack(
            [width / 2 + (pose[:, 0] - (left + right) / 2) * scale, HEIGHT - MARGIN - (pose[:, 1] - bottom) * scale], axis=1
        )
        content += body_paths(body, pixels, kind, float(np.nanmax(pixels[:, 1]) - np.nanmin(pixels[:, 1])))
    content += text(width / 2, LABEL - 5.0, label, anchor="middle")
    return Picture(round(width, 1), HEIGHT, content, _alt(label, poses))


def _ago(milliseconds: float) -> str:
    return "now" if milliseconds == 0 else f"{milliseconds / 1000:.1f} s ago"


_WORDS = {
    "seen": "the observed body",
    "truth": "the true body",
    "guess": "the predicted body",
    "frozen": "the last observed pose",
}


def _alt(label: str, poses: Mapping[Kind, Float[Array, "point 2"]]) -> str:
    """What the panel shows and, where truth is known, how far apart the bodies are drawn."""
    words = f"{label}: {', '.join(_WORDS[kind] for kind in poses)}"
    if "guess" in poses and "truth" in poses:
        apart = np.nanmean(np.linalg.norm(poses["guess"] - poses["truth"], axis=1))
        height = np.nanmax(poses["truth"][:, 1]) - np.nanmin(poses["truth"][:, 1])
        words += f"; predicted and true joints lie {100 * apart / height:.1f} % of the body's height apart in this view"
    return words
