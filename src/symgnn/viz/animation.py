"""A clip as an animated GIF: what goes into a message, a slide or a README, where no page can."""

import io
import itertools
import math
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from symgnn.viz.body import Array, Body, View, clearest, project, view_of
from symgnn.viz.skeletons import HEAD

MOST_FRAMES = 300
SHORTEST = 33.0
"""Milliseconds a picture is shown at least: viewers take less than 20 for far more."""
WIDEST, TALLEST = 640, 360
MARGIN, LABEL = 16, 24
"""Pixels around the bodies, and above them for the time."""
NARROWEST = 200
FINE = 3
"""Each pixel is drawn as so many by so many, and averaged: smooth lines."""

PAPER, INK = (255, 255, 255), (74, 85, 99)
"""The pages' paper and observed body; all else is between the two."""
NEAR, FAR, SOFT, GROUND = 255, 128, 150, 50
"""How much ink: limbs on the left and in the middle, on the right (as in the other drawings), the time, the ground."""
BONE = 3


def animate(body: Body, motion: Float[Array, "time point 3"], frame_ms: float, view: View | None = None) -> tuple[bytes, float]:
    """A GIF that repeats forever, in real time.

    Of motion at more than 30 frames a second, or of more than ``MOST_FRAMES`` frames, every n-th frame is shown. Missing points
    are left out with the bones that end in them.

    Args:
        body: what is drawn.
        motion: places of its points, NaN where missing.
        frame_ms: milliseconds from a frame to the next.
        view: where from; by default the front of the clearest pose, turned.

    Returns:
        The file's content, and the milliseconds from a picture to the next.
    """
    step = max(math.ceil(SHORTEST / frame_ms - 1e-6), math.ceil(len(motion) / MOST_FRAMES), 1)
    shown = motion[::step]
    flat = project(shown, view or view_of(body, clearest(motion)))
    seen = flat[np.isfinite(flat).all(axis=2)] if np.isfinite(flat).all(axis=2).any() else np.zeros((1, 2))
    low, high = seen.min(axis=0), seen.max(axis=0)
    span = np.maximum(high - low, 1e-9)
    scale = float(min((WIDEST - 2 * MARGIN) / span[0], (TALLEST - 2 * MARGIN - LABEL) / span[1]))
    width = max(round(span[0] * scale) + 2 * MARGIN, NARROWEST)
    height = round(span[1] * scale) + 2 * MARGIN + LABEL
    pixels = np.stack(
        [width / 2 + (flat[..., 0] - (low[0] + high[0]) / 2) * scale, height - MARGIN - (flat[..., 1] - low[1]) * scale],
        axis=-1,
    )
    tall = max(
        (float(np.ptp(pose[there, 1])) for pose in pixels if (there := np.asarray(np.isfinite(pose).all(axis=1))).any()),
        default=0,
    )
    # The format counts hundredths of a second: what rounding adds to one picture it takes from the next.
    ends = [round(step * frame_ms * (frame + 1) / 10) for frame in range(len(shown))]
    pictures = _pictures(body, pixels, step * frame_ms, (width, height), HEAD * tall)
    content = io.BytesIO()
    next(pictures).save(
        content,
        "GIF",
        save_all=True,
        append_images=pictures,
        duration=[10 * (end - start) for start, end in itertools.pairwise([0, *ends])],
        loop=0,
        optimize=False,
    )
    return content.getvalue(), step * frame_ms


def _pictures(
    body: Body, pixels: Float[Array, "time point 2"], frame_ms: float, size: tuple[int, int], head: float
) -> Iterator[Image.Image]:
    font = ImageFont.load_default(13 * FINE)
    # A few shades of one ink compress far better than 256.
    inks = np.linspace(0, 1, 32)[:, None]
    palette = ((1 - inks) * PAPER + inks * INK).round().astype(np.uint8)
    for frame, pose in enumerate(pixels):
        canvas = Image.new("L", (size[0] * FINE, size[1] * FINE), 0)
        draw = ImageDraw.Draw(canvas)
        ground = (size[1] - MARGIN / 2) * FINE
        draw.line([(0, ground), (size[0] * FINE, ground)], fill=GROUND, width=FINE)
        draw.text((MARGIN * FINE, MARGIN / 2 * FINE), f"{frame * frame_ms / 1000:.2f} s", fill=SOFT, font=font)
        _body(draw, body, pose * FINE, head * FINE)
        shades: UInt8[Array, "row column"] = np.asarray(canvas.reduce(FINE)) >> 3
        picture = Image.fromarray(shades, "P")
        picture.putpalette(palette.tobytes())
        yield picture


def _body(draw: ImageDraw.ImageDraw, body: Body, pose: Float[Array, "point 2"], head: float) -> None:
    there = np.asarray(np.isfinite(pose).all(axis=1))
    width, end = BONE * FINE, BONE * FINE / 2
    # The far side first: what is nearer lies over it.
    for parent, child in sorted(body.bones, key=lambda bone: body.sides[bone[1]] != "right"):
        if there[parent] and there[child]:
            ink = FAR if body.sides[child] == "right" else NEAR
            (x, y), (u, v) = pose[parent].tolist(), pose[child].tolist()
            draw.line([(x, y), (u, v)], fill=ink, width=width)
            for across, down in ((x, y), (u, v)):
                draw.ellipse([across - end, down - end, across + end, down + end], fill=ink)
    for points in body.heads:
        if there[list(points)].all():
            x, y = pose[list(points)].mean(axis=0).tolist()
            outer = head + end
            draw.ellipse([x - outer, y - outer, x + outer, y + outer], outline=NEAR, width=width)
