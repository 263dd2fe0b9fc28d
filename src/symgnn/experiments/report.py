"""From a judged model to the page that shows it, ``viz.report`` filled with what ``evaluate`` and a run's folder hold."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from symgnn.data import Store
from symgnn.evaluation import Protocol, Result, Window
from symgnn.evaluation.metrics import wilson_interval
from symgnn.evaluation.result import Recognition
from symgnn.models.checkpoint import TrainedModel
from symgnn.types import Output
from symgnn.viz import (
    Chart,
    Example,
    Forecast,
    Picture,
    ReportData,
    beside,
    body_of,
    observed_panels,
    positions,
    prediction_panels,
    read_metrics,
)
from symgnn.viz import Recognition as Answers

EXAMPLES = 4
"""Clips shown, the first of as many classes."""


@dataclass
class Answered:
    """What a model answered, window after window, as ``evaluate`` asked it."""

    logits: list[Tensor] = field(default_factory=list)
    futures: list[Tensor] = field(default_factory=list)
    actional: list[Tensor] = field(default_factory=list)

    def add(self, output: Output) -> None:
        for part, kept in ((output.logits, self.logits), (output.future, self.futures), (output.actional, self.actional)):
            if part is not None:
                kept.append(part.float().cpu())


@contextmanager
def answers(model: TrainedModel) -> Iterator[Answered]:
    """Keep every output of a model while the block runs."""
    kept = Answered()
    hook = model.register_forward_hook(lambda _module, _inputs, output: kept.add(cast(Output, output)))
    try:
        yield kept
    finally:
        hook.remove()


def report_data(
    model: TrainedModel,
    protocol: Protocol,
    store: Store,
    result: Result,
    answered: Answered,
    *,
    title: str,
    run: Path | None = None,
    notes: tuple[str, ...] = (),
    facts: Mapping[str, str] | None = None,
) -> ReportData:
    """Gather everything a report shows.

    Args:
        model: the judged model.
        protocol: how.
        store: on what.
        result: with which result.
        answered: what the model said about the protocol's windows, in their order.
        title: of the page.
        run: folder of the training, for its curves; left out where it has none.
        notes: plain sentences at the top.
        facts: further rows of the table at the end.
    """
    windows = tuple(person for window in protocol.windows(store).windows for person in window.persons)
    found = result.recognition
    whole = protocol.sampling == "whole"
    about = {
        "model": f"preset {model.preset.name}: {sum(weight.numel() for weight in model.parameters()):,} parameters",
        "training": f"{model.card.step} steps of {model.preset.training.batch} clips; weights: {model.card.selection}",
        "test": f"protocol {protocol.name}: {protocol.description}",
        "symgnn": model.card.package_version,
    }
    return ReportData(
        title=title,
        layout=model.layout,
        space=store.space,
        class_names=model.class_names,
        frame_ms=1000 / store.fps * (1 if whole else protocol.step),
        whole=whole,
        observed=model.preset.data.observed,
        moments={time: frame + 1 for time, frame in protocol.frames.items()},
        recognition=None if found is None else Answers(found.confusion, found.interval, _intervals(found), found.top5),
        forecast=_forecast(result),
        examples=_examples(model, protocol, store, windows, answered),
        actional=_actional(windows, answered),
        charts=_charts(run),
        stored_mean=model.stored_mean.numpy(),
        notes=(*notes, *result.missing),
        facts=about | dict(facts or {}),
    )


def picture(data: ReportData, moments: tuple[int, ...] = (160, 400, 1000)) -> Picture:
    """The first example in a strip: observed poses, then the predicted ones over the true ones."""
    example = data.examples[0]
    if example.predicted is None:
        raise ValueError("a picture of a prediction needs a model that predicts")
    body = body_of(data.layout, data.space)
    observed, true, predicted = (
        positions(part, data.layout, data.space, data.stored_mean)
        for part in (example.observed, example.true, example.predicted)
    )
    chosen = {time: frame for time, frame in data.moments.items() if time in moments} or data.moments
    panels = [
        *observed_panels(body, observed, data.frame_ms, count=3),
        *prediction_panels(body, observed[-1], predicted, chosen, true=true),
    ]
    alt = f"{example.name}: observed poses (grey), then the predicted ones (orange, dashed) over the true ones (blue)"
    return beside(panels, alt)


def _intervals(found: Recognition) -> list[tuple[float, float] | None]:
    """Of each class, how sure its share of right answers is."""
    clips, hits = found.confusion.sum(axis=1).tolist(), found.confusion.diagonal().tolist()
    return [wilson_interval(right, all_) if all_ else None for right, all_ in zip(hits, clips, strict=True)]


def _forecast(result: Result) -> Forecast | None:
    if result.errors is None or result.zero_velocity is None:
        return None
    metric = next((name for name in ("mpjpe", "angle_mae") if name in result.errors.average), None)
    if metric is None:
        return None
    factor, unit = (1.0, "rad") if metric == "angle_mae" else (100.0, "cm") if result.unit == "m" else (1.0, result.unit)

    def scaled(figures: Mapping[int, float]) -> dict[int, float]:
        return {time: factor * value for time, value in figures.items() if not math.isnan(value)}

    zero = result.zero_velocity
    return Forecast(
        measure="angle" if metric == "angle_mae" else "distance",
        unit=unit,
        model=scaled(result.errors.average[metric]),
        zero_velocity=scaled(zero.average[metric]),
        clips=sum(result.clips.values()),
        actions={
            action: (scaled(figures[metric]), scaled(zero.actions[action][metric]))
            for action, figures in result.errors.actions.items()
        },
        in_use=(scaled(result.errors.average["mpjpe_in_use"]), scaled(zero.average["mpjpe_in_use"]))
        if "mpjpe_in_use" in result.errors.average
        else None,
    )


def _examples(
    model: TrainedModel, protocol: Protocol, store: Store, windows: tuple[Window, ...], answered: Answered
) -> tuple[Example, ...]:
    """The first window of each of some classes, whatever came of it."""
    first = {window.action: row for row, window in reversed(list(enumerate(windows)))}
    chosen = [first[action] for action in dict.fromkeys(window.action for window in windows)]
    rows = chosen[:: max(len(chosen) // EXAMPLES, 1)][:EXAMPLES]
    nodes = list(store.layout.columns(store.space))
    probabilities = torch.cat(answered.logits).softmax(dim=1) if answered.logits else None
    futures = torch.cat(answered.futures) if answered.futures and protocol.future else None
    examples = []
    whole = protocol.sampling == "whole"
    for row in rows:
        window, clip = windows[row], store.clips[windows[row].clip]
        shown = clip.length if protocol.ratio is None else max(round(protocol.ratio * clip.length), 1)
        frames = protocol.cut(store, [window])[0][:, nodes]
        observed = frames[protocol.observed - model.preset.data.observed : protocol.observed]
        examples.append(
            Example(
                name=clip.recording if whole else f"{clip.recording}, from frame {window.start * protocol.step}",
                observed=observed,
                true=frames[protocol.observed :],
                predicted=None if futures is None else futures[row].numpy(),
                label=window.action if window.action in model.class_names else None,
                probabilities={}
                if probabilities is None
                else dict(zip(model.class_names, probabilities[row].tolist(), strict=True)),
                frame_ms=1000 * (shown - 1) / store.fps / max(protocol.observed - 1, 1) if whole else None,
            )
        )
    return tuple(examples)


def _actional(windows: tuple[Window, ...], answered: Answered) -> dict[str, np.ndarray]:
    """A_act averaged over all windows, and over those of two classes that lie far apart."""
    if not answered.actional:
        return {}
    whole = torch.cat(answered.actional)
    classes = {
        action: whole[[row for row, window in enumerate(windows) if window.action == action]].mean(dim=0)
        for action in dict.fromkeys(window.action for window in windows)
    }
    names = list(classes)
    pairs = [(a, b) for place, a in enumerate(names) for b in names[place + 1 :]]
    far = max(pairs, key=lambda pair: float((classes[pair[0]] - classes[pair[1]]).abs().sum()), default=())
    return {"all clips": whole.mean(dim=0).numpy()} | {name: classes[name].numpy() for name in far}


def _charts(run: Path | None) -> tuple[Chart, ...]:
    path = None if run is None else run / "logs" / "metrics.csv"
    if path is None or not path.is_file():
        return ()
    lines = read_metrics(path)
    wanted = (
        ("Prediction loss", "l1", "How far predicted joints are off, in the model's own units."),
        ("Recognition loss", "cross_entropy", "How surprised the model is by the right answer: 0 is certain and right."),
        ("Accuracy", "accuracy", "Share of clips named correctly."),
        (
            "Balance λ",
            "lambda",
            "Share of the recognition loss in what drives the common part of the network; the rest is prediction.",
        ),
    )
    charts = []
    for title, name, caption in wanted:
        held_out = f"validation_{name}"
        curves = {"training": lines[name]} if name in lines else {}
        curves |= {"held-out recordings": lines[held_out]} if held_out in lines else {}
        if curves:
            more = " “Held-out recordings” took no part in training." if held_out in lines else ""
            charts.append(Chart(title, caption + more, "steps", curves))
    return tuple(charts)
