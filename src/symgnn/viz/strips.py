"""Predicted motions under each other: a row a model, a column a moment."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from symgnn.viz.body import Array, Body, View, project, view_of
from symgnn.viz.skeletons import body_paths
from symgnn.viz.svg import Picture, number, text

BODY = 96.0
"""Pixels of a body's height."""
GAP, HEAD, LABEL = 10.0, 26.0, 112.0
"""Pixels between two bodies, for the line of times, and for the names of the rows."""


def strip_picture(
    body: Body,
    true: Float[Array, "time point 3"],
    predicted: Mapping[str, Float[Array, "time point 3"]],
    moments: Mapping[int, int],
    *,
    view: View | None = None,
) -> Picture:
    """What came, in the first row, and what each model expected, over a faint image of what came (Fig. 13).

    Args:
        body: what is drawn.
        true: places of its points, the first frame after the last observed one first.
        predicted: the same by model.
        moments: for each label in milliseconds the number of frames after the last observed one, from 1 on.
        view: where from; by default the front of the first true pose, turned.
    """
    view = view or view_of(body, true[0])
    flat = {name: project(motion, view) for name, motion in {"truth": true, **predicted}.items()}
    frames = [frame - 1 for frame in moments.values()]
    shown = {name: motion[frames] for name, motion in flat.items()}
    every = np.concatenate(list(shown.values()))
    bottom = float(np.nanmin(every[..., 1]))
    scale = BODY / ((float(np.nanmax(every[..., 1])) - bottom) or 1.0)
    # A column is as wide as its widest pair of bodies, of whichever row, around the middle of the true one.
    centres = (np.nanmin(shown["truth"][..., 0], axis=1) + np.nanmax(shown["truth"][..., 0], axis=1)) / 2
    reach = np.nanmax([np.nanmax(np.abs(motion[..., 0] - centres[:, None]), axis=1) for motion in shown.values()], axis=0)
    widths = 2 * reach * scale + GAP
    middles = LABEL + np.cumsum(widths) - widths / 2
    total = LABEL + float(widths.sum())

    content = [
        text(x, 15.0, f"{milliseconds}", anchor="middle", kind="soft")
        for x, milliseconds in zip(middles.tolist(), moments, strict=True)
    ]
    content.append(text(0.0, 15.0, "milliseconds", kind="soft"))
    for row, (name, motion) in enumerate(shown.items()):
        ground = HEAD + (row + 1) * (BODY + 2 * GAP) - GAP
        content.append(text(0.0, ground - BODY / 2, "what came" if row == 0 else name))
        content.append(f'<line class="grid" x1="{LABEL:g}" x2="{number(total)}" y1="{number(ground)}" y2="{number(ground)}"/>')
        for place, pose in enumerate(motion):
            layers = {"truth": pose} if row == 0 else {"frozen": shown["truth"][place], "guess": pose}
            for kind, one in layers.items():
                pixels = np.stack(
                    [middles[place] + (one[:, 0] - centres[place]) * scale, ground - 2 - (one[:, 1] - bottom) * scale], axis=1
                )
                content.append(body_paths(body, pixels, f"{kind} thin", BODY))
    height = HEAD + len(shown) * (BODY + 2 * GAP)
    last = list(moments)[-1]
    alt = f"The true motion and that predicted by {', '.join(predicted) or 'nobody'}, up to {last} ms ahead"
    return Picture(round(total, 1), height, "".join(content), alt)
