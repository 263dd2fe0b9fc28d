"""Predictions to look at: a page with each clip's answer and an animation of what was seen and what should come."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
from jaxtyping import Float

from symgnn.viz.body import Array, Body, clearest, view_of
from symgnn.viz.page import HERE, page, percent, plain, probability_bars


@dataclass(frozen=True)
class ClipView:
    """One clip and its answers, in places ready to draw."""

    name: str
    observed: Float[Array, "time point 3"]
    """Places of the body's points in the frames the model saw, without the padding; NaN where missing."""
    predicted: Float[Array, "horizon point 3"] | None
    """Places in the frames after it; None where the model does not predict."""
    frame_ms: float
    """Milliseconds from a frame to the next."""
    padded: int = 0
    """Frames that were missing at the start of the window and filled with the first pose."""
    probabilities: Mapping[str, float] = field(default_factory=dict)
    """By class; empty where the model does not recognise."""
    whole: bool = False
    """Whether what was seen is the whole clip, whose time counts from its first frame, and not the stretch before now."""


RESOLUTION = 1000
"""Places are rounded to this part of the body's height."""


def clip_page(body: Body, clips: Sequence[ClipView], title: str = "What the model answers") -> str:
    """A page of clips: class probabilities and an animation each; play, pause, scrub, turn, by hand or keyboard."""
    whole = any(clip.whole for clip in clips)
    seconds = clips[0].observed.shape[0] * clips[0].frame_ms / 1000 if clips else 0.0
    ahead = len(clips[0].predicted) * clips[0].frame_ms / 1000 if clips and clips[0].predicted is not None else 0.0
    asked = any(clip.probabilities or clip.predicted is not None for clip in clips)
    intro = f"<h1>{escape(title)}</h1>" + (
        f'<p class="lead">For each clip the model looked at {_looked_at(clips[0], seconds)} {_purpose(clips, ahead)}</p>'
        f"<p>In each animation the grey body with whole lines is what was observed{_coming(clips, whole)}. Limbs on the body's "
        "right are drawn fainter. "
        if asked
        else "<p>Limbs on the body's right are drawn fainter. "
    )
    intro += (
        "Press Play, drag the slider, or drag the picture sideways to walk around the body. With the picture in "
        "focus, <kbd>Space</kbd> plays and pauses, <kbd>←</kbd> <kbd>→</kbd> step, <kbd>Home</kbd> and <kbd>End</kbd> jump, "
        "<kbd>[</kbd> <kbd>]</kbd> turn.</p>"
    )
    sections = "".join(_section(body, clip, number) for number, clip in enumerate(clips))
    return page(title, intro + sections, (HERE / "player.js").read_text(encoding="utf-8"))


def player_data(body: Body, clip: ClipView) -> dict[str, Any]:
    """What the page's script draws from: places as (right, up, towards the eye) in whole thousandths of the body's height.

    The middle of all frames is at 0 across, the lowest point at height 0. A missing point is null.
    """
    frames = clip.observed if clip.predicted is None else np.concatenate([clip.observed, clip.predicted])
    view = view_of(body, clearest(clip.observed))
    turned = frames.astype(np.float64) @ np.array([view.right, view.up, view.towards]).T
    present = np.asarray(np.isfinite(turned).all(axis=2))
    seen = turned[present] if present.any() else np.zeros((1, 3))
    low, high = seen.min(axis=0), seen.max(axis=0)
    height = max((float(np.ptp(pose[there, 1])) for pose, there in zip(turned, present, strict=True) if there.any()), default=0)
    scale = RESOLUTION / (height or 1.0)
    centre = np.array([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2])
    whole = np.where(present[..., None], (turned - centre) * scale, 0.0).round().astype(int)
    return {
        "frames": [
            [point if there else None for point, there in zip(pose, row, strict=True)]
            for pose, row in zip(whole.tolist(), present.tolist(), strict=True)
        ],
        "observed": len(clip.observed),
        "frame_ms": round(clip.frame_ms, 3),
        "whole": clip.whole,
        "bones": [list(bone) for bone in body.bones],
        "far": [int(body.sides[child] == "right") for _, child in body.bones],
        "heads": [list(head) for head in body.heads],
        "height": RESOLUTION,
        "top": int(np.ceil(1.04 * (high[1] - low[1]) * scale)) or 1,
        # A reader may turn the body, so that depth becomes width.
        "reach": int(np.ceil(np.hypot(whole[..., 0], whole[..., 2]).max())) + 40,
    }


def _looked_at(clip: ClipView, seconds: float) -> str:
    if clip.whole:
        return f"all of it, from its first frame to its last, in {len(clip.observed)} poses"
    return f"the last stretch of motion ({seconds:.2g} s in the first clip)"


def _coming(clips: Sequence[ClipView], whole: bool) -> str:
    if all(clip.predicted is None for clip in clips):
        return ""
    since = "After the end of the clip" if whole else "From <b>now</b> on"
    return f". {since} the orange body with dashed lines is what the model expects, and the faint grey one the last pose it saw"


def _purpose(clips: Sequence[ClipView], ahead: float) -> str:
    questions = []
    if clips and clips[0].probabilities:
        questions.append("What is this person doing?")
    if ahead:
        when = "right after the clip" if clips[0].whole else f"in the next {ahead:.2g} s"
        questions.append(f"Where will every joint be {when}?")
    return f"to answer {'two questions' if len(questions) == 2 else 'one question'}. {' '.join(questions)}"


def _section(body: Body, clip: ClipView, number: int) -> str:
    answer = ""
    if clip.probabilities:
        best, value = max(clip.probabilities.items(), key=lambda item: item[1])
        answer = (
            f"<p>The model says <b>{plain(best)}</b> ({percent(value)}). The bars show how sure it is of each class.</p>"
            f"{probability_bars(clip.probabilities)}"
        )
    padded = (
        f'<p class="note">This clip is shorter than the model\'s window: its first pose was repeated {clip.padded} times in '
        "front of it. Trust the answer less.</p>"
        if clip.padded
        else ""
    )
    data = player_data(body, clip)
    total = len(data["frames"])
    split = 100 * (data["observed"] - 0.5) / max(total - 1, 1)
    # "</" would end the script element, whatever stands in it.
    packed = json.dumps(data, separators=(",", ":")).replace("</", "<\\/")
    coming = f", then {total - data['observed']} predicted ones" if clip.predicted is not None else ""
    return (
        f'<section class="player" aria-labelledby="clip{number}"><h2 id="clip{number}">{escape(clip.name)}</h2>{answer}{padded}'
        f'<figure><canvas tabindex="0" role="img" aria-label="Animation of a body: {data["observed"]} observed frames{coming}">'
        "</canvas>"
        '<div class="controls"><button type="button">Play</button>'
        f'<span class="track"><input type="range" min="0" max="{total - 1}" value="0" aria-label="Frame of clip {number + 1}">'
        f'<span class="halves" style="--split:{split:.1f}%"></span></span><output></output></div>'
        f"<figcaption>Observed motion (grey){' and predicted future (orange, dashed)' if coming else ''} of "
        f"{escape(clip.name)}.</figcaption></figure>"
        f'<script type="application/json">{packed}</script></section>'
    )
