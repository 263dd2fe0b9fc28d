"""The one place where test data meets a model."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from symgnn.data import Store, stored_mean
from symgnn.errors import InputError
from symgnn.evaluation.metrics import angle_error, confusion_matrix, mpjpe, pck, top_k_hits, wilson_interval
from symgnn.evaluation.protocols import UNLABELLED, Metric, Protocol, Window
from symgnn.evaluation.result import Errors, Recognition, Result
from symgnn.models.baselines import ZeroVelocity
from symgnn.models.checkpoint import Described
from symgnn.nn import mean_of_persons
from symgnn.types import Motion, Output

Model = Callable[[Motion, int], Output]
"""Anything that answers windows: (observed frames of the joints in use in the units of the data, horizon) -> Output."""


def evaluate(
    model: Model,
    protocol: Protocol,
    store: Store,
    *,
    name: str | None = None,
    selection: str | None = None,
    class_names: Sequence[str] | None = None,
    batch: int = 64,
    device: torch.device | str | None = None,
    up_to: bool = False,
    progress: bool = False,
) -> Result:
    """Judge a model on the clips of a protocol, with zero-velocity on the same clips beside it.

    The model runs without gradients and in evaluation mode; every module's mode is put back afterwards. It gets the joints in
    use in the units of the data, NaN where one is missing. Where it predicts no future or gives no scores, that half of the
    result is None. Figures are averaged over the clips of an action, and their average row over the actions. Persons seen
    together are recognised together and predicted one by one (reading 19). Distances in an image are between places: the
    detector's confidence is no coordinate.

    In angle space the stored triples that the model does not predict take the training mean: the model's ``stored_mean``
    if it has one, else that of the store's training clips (zero, the rest pose, if there are none).

    Args:
        model: a trained model, a baseline, any function. The attributes it has of these are used: ``name``, ``observed``
            (frames it wants, if fewer than the protocol shows), ``layout``, ``class_names``, ``stored_mean``.
        protocol: from [load_protocol][symgnn.evaluation.load_protocol].
        store: the data.
        name: what the result calls the model.
        selection: which checkpoint it is; a trained model knows.
        class_names: classes in the order of the model's scores; by default the model's, else the store's.
        batch: windows at a time.
        device: where the model is; by default that of its parameters.
        up_to: add ``angle_mae_up_to``, the error averaged over the frames up to the reported one. Some papers print that
            figure, which is lower; it is not the benchmark's.
        progress: show a progress bar.

    Raises:
        InputError: model, protocol and store do not fit each other, the store has nothing the protocol asks for, or the
            model answers with NaN or infinite values.
    """
    name = name or _name(model)
    if isinstance(model, Described):
        selection = selection or model.card.selection
    _check_fit(model, protocol, store, name)
    class_names = tuple(class_names or getattr(model, "class_names", store.class_names))
    if device is None:
        device = device_of(model)
    drawn = protocol.windows(store)
    windows = drawn.windows
    judge = _Judge(protocol, store, _mean(model, protocol, store))
    seen = min(_observed(model, protocol), protocol.observed)
    nodes = list(store.layout.columns(store.space))

    people = [person for window in windows for person in window.persons]
    errors: list[dict[str, Tensor]] = []
    baseline: list[dict[str, Tensor]] = []
    scores: list[Tensor] = []
    zero_velocity = None if isinstance(model, ZeroVelocity) else ZeroVelocity()
    chunks = [windows[first : first + batch] for first in range(0, len(windows), batch)]
    with _evaluation_mode(model), torch.inference_mode():
        for chunk in track(chunks, protocol.name, console=Console(stderr=True), transient=True, disable=not progress):
            seen_here = [person for window in chunk for person in window.persons]
            together = torch.tensor([number for number, window in enumerate(chunk) for _ in window.persons])
            rows = torch.from_numpy(protocol.cut(store, seen_here))
            past, true = rows.split([protocol.observed, protocol.future], dim=1)
            observed = past[:, :, nodes]
            # A model's horizon is a frame at least; a protocol without a future does not look at it.
            output = _answer(model, observed[:, -seen:].to(device), max(protocol.future, 1), together.to(device))
            _check_answer(output, observed, protocol, len(class_names), name, store, seen_here)
            if output.logits is not None:
                # Persons seen together have the same scores: those of the first count.
                scores.append(output.logits.float().cpu()[torch.searchsorted(together, torch.arange(len(chunk)))])
            if output.future is not None and protocol.metrics and protocol.milliseconds:
                errors.append(judge(output.future.cpu(), past, true))
                if zero_velocity is not None:
                    still = zero_velocity(observed, protocol.future).future
                    assert still is not None
                    baseline.append(judge(still, past, true))

    if not (errors or scores):
        raise InputError(f"{name}: answers nothing that protocol {protocol.name} judges: {_offer(protocol)}")
    rows_of, people_of = _rows_of(windows), _rows_of(people)
    recognition, left_out = _recognition(scores, windows, rows_of, store, class_names, name)
    averages = _average(errors, people_of, protocol, up_to)
    return Result(
        protocol=protocol.name,
        model=name,
        selection=selection,
        future=protocol.future,
        clips={action: len(rows) for action, rows in rows_of.items()},
        unit=store.unit,
        errors=averages,
        zero_velocity=averages if zero_velocity is None else _average(baseline, people_of, protocol, up_to),
        recognition=recognition,
        missing=(*drawn.missing, *left_out),
        ratio=protocol.ratio,
    )


def per_cell_minimum(results: Sequence[Result]) -> Result:
    """The best figure of each action at each time over several evaluations of one training, and the mean of these over actions.

    Published tables of motion prediction are often made so: each cell is of the weights that did best in it *on test data*, and
    no single network has them all. Such a figure may stand beside a printed one, never beside one of ``last``. Recognition is
    left out.

    Args:
        results: one or more of one model after different numbers of steps, under one protocol, the final weights at the end.

    Raises:
        InputError: the results are without errors.
    """
    last = results[-1]
    found = [result.errors for result in results if result.errors is not None]
    if len(found) < len(results):
        raise InputError(f"{last.model}: predicts nothing under protocol {last.protocol}: a per-cell minimum is of errors")
    actions = {
        action: {
            metric: {time: _best(metric, [each.actions[action][metric][time] for each in found]) for time in times}
            for metric, times in figures.items()
        }
        for action, figures in found[-1].actions.items()
    }
    average = {
        metric: {time: _mean_of([of[metric][time] for of in actions.values()]) for time in times}
        for metric, times in found[-1].average.items()
    }
    return replace(
        last,
        selection="per-cell-minimum",
        errors=Errors(actions, average),
        recognition=None,
        evaluations=len(results),
    )


def _best(metric: str, values: Sequence[float]) -> float:
    there = [value for value in values if not math.isnan(value)]
    return (max if metric == "pck" else min)(there) if there else math.nan


def _rows_of(windows: Sequence[Window]) -> dict[str, Tensor]:
    """Places of each action's windows."""
    rows: dict[str, list[int]] = {}
    for row, window in enumerate(windows):
        rows.setdefault(window.action, []).append(row)
    return {action: torch.tensor(found) for action, found in rows.items()}


def _answer(model: Model, observed: Motion, horizon: int, together: Int[Tensor, " batch"]) -> Output:
    """Persons seen together are told to a network; of any other function the mean of their scores is taken."""
    alone = bool((together == torch.arange(len(together), device=together.device)).all())
    if alone:
        return model(observed, horizon)
    if isinstance(model, Described):
        return model(observed, horizon, together)
    output = model(observed, horizon)
    return output if output.logits is None else replace(output, logits=mean_of_persons(output.logits, together))


class _Judge:
    """The protocol's metrics of predicted joints in use against whole stored rows: a figure for each clip and frame."""

    def __init__(self, protocol: Protocol, store: Store, mean: Float[Tensor, "stored channel"] | None):
        self.metrics, self.copies = protocol.metrics, protocol.copies
        # In an image the third channel is the detector's confidence, no coordinate.
        self.axes = 2 if store.space == "xyc" else 3
        self.nodes = list(store.layout.columns(store.space))
        self.mean = mean

    def __call__(
        self,
        predicted: Float[Tensor, "clip future joint channel"],
        past: Float[Tensor, "clip observed stored channel"],
        true: Float[Tensor, "clip future stored channel"],
    ) -> dict[str, Float[Tensor, "clip future"]]:
        return {metric: self._figure(metric, predicted.double(), past, true) for metric in self.metrics}

    def _figure(self, metric: Metric, predicted: Tensor, past: Tensor, true: Tensor) -> Tensor:
        if metric == "angle_mae":
            return self._angle_mae(predicted, true)
        past, predicted, true = (part[..., : self.axes].double() for part in (past, predicted, true))
        if metric == "mpjpe" and self.copies is not None:
            return mpjpe(self._whole_body(predicted, past), true)
        if metric == "pck":
            return pck(predicted, true[:, :, self.nodes], past[:, -1, self.nodes])
        return mpjpe(predicted, true[:, :, self.nodes])

    def _whole_body(self, predicted: Tensor, past: Tensor) -> Tensor:
        """All stored joints: those in use as predicted, their copies with them, the rest where they were."""
        still = ZeroVelocity()(past, predicted.shape[1]).future
        assert still is not None and self.copies is not None
        body = still.clone()
        body[:, :, self.nodes] = predicted
        for joint, other in self.copies:
            body[:, :, joint] = body[:, :, other]
        return body

    def _angle_mae(self, predicted: Tensor, true: Tensor) -> Tensor:
        assert self.mean is not None
        rows = self.mean.double().expand(true.shape).clone()
        rows[:, :, self.nodes] = predicted
        return angle_error(rows, true.double())


def _average(
    figures: Sequence[dict[str, Tensor]], rows_of: dict[str, Tensor], protocol: Protocol, up_to: bool
) -> Errors | None:
    """Over the clips of each action, then over actions; NaN (nothing there to judge) is left out of both."""
    if not figures:
        return None
    whole = {metric: torch.cat([part[metric] for part in figures]) for metric in figures[0]}
    if up_to and "angle_mae" in whole:
        errors = whole["angle_mae"]
        whole["angle_mae_up_to"] = errors.nan_to_num(0.0).cumsum(dim=1) / (~errors.isnan()).cumsum(dim=1)
    actions = {
        action: {
            metric: {time: float(values[rows, frame].nanmean()) for time, frame in protocol.frames.items()}
            for metric, values in whole.items()
        }
        for action, rows in rows_of.items()
    }
    average = {
        metric: {time: _mean_of([of[metric][time] for of in actions.values()]) for time in protocol.milliseconds}
        for metric in whole
    }
    return Errors(actions, average)


def _mean_of(values: Sequence[float]) -> float:
    there = [value for value in values if not math.isnan(value)]
    return math.fsum(there) / len(there) if there else math.nan


def _recognition(
    scores: Sequence[Tensor],
    windows: Sequence[Window],
    rows_of: dict[str, Tensor],
    store: Store,
    class_names: tuple[str, ...],
    name: str,
) -> tuple[Recognition | None, list[str]]:
    if not scores:
        return None, []
    place = torch.tensor([*store.class_mapping(class_names), -1])  # a label of -1 finds the last
    label = place[torch.tensor([window.label for window in windows])]
    known = label >= 0
    left_out = [
        f"{action}: {'clips without a class' if action == UNLABELLED else f'not a class of {name}'}; "
        f"its {len(rows)} windows do not count in the recognition"
        for action, rows in rows_of.items()
        if not known[rows].any()
    ]
    if not known.any():
        return None, left_out
    logits = torch.cat(list(scores))
    best = logits.argmax(dim=1)
    clips, hits = int(known.sum()), top_k_hits(logits[known], label[known], 1)
    by_action = {
        action: top_k_hits(logits[judged], label[judged], 1) / len(judged)
        for action, rows in rows_of.items()
        if len(judged := rows[known[rows]])
    }
    top5 = top_k_hits(logits[known], label[known], 5) / clips if len(class_names) > 5 else None
    confusion = confusion_matrix(best[known], label[known], len(class_names)).numpy()
    found = Recognition(clips, hits / clips, wilson_interval(hits, clips), top5, by_action, class_names, confusion)
    return found, left_out


def device_of(model: Model) -> torch.device:
    """Where a model wants its windows: where its weights are, or its buffers; on the CPU where it has neither."""
    held = itertools.chain(model.parameters(), model.buffers()) if isinstance(model, nn.Module) else ()
    return next((tensor.device for tensor in held), torch.device("cpu"))


def _name(model: Model) -> str:
    return model.preset.name if isinstance(model, Described) else str(getattr(model, "name", type(model).__name__))


def _mean(model: Model, protocol: Protocol, store: Store) -> Tensor | None:
    if "angle_mae" not in protocol.metrics:
        return None
    mean = getattr(model, "stored_mean", None)
    return stored_mean(store, store.select(split="train")) if mean is None else torch.as_tensor(mean).cpu()


def _observed(model: Model, protocol: Protocol) -> int:
    if isinstance(model, Described):
        return model.preset.data.observed
    return getattr(model, "observed", protocol.observed)


def _check_fit(model: Model, protocol: Protocol, store: Store, name: str) -> None:
    layout = getattr(model, "layout", None)
    if layout is not None:
        store.require(layout)
    if isinstance(model, Described):
        data = model.preset.data
        store.require(model.layout, data.space)
        if data.step != protocol.step:
            raise InputError(
                f"{name}: was trained on every {data.step}. frame, protocol {protocol.name} keeps every {protocol.step}.: "
                "choose the protocol of its preset, or train with the protocol's step"
            )
    if _observed(model, protocol) > protocol.observed:
        raise InputError(
            f"{name}: observes {_observed(model, protocol)} frames, protocol {protocol.name} shows {protocol.observed}: "
            "choose another protocol, or train with fewer observed frames"
        )


def _check_answer(
    output: Output, observed: Tensor, protocol: Protocol, classes: int, name: str, store: Store, windows: Sequence[Window]
) -> None:
    wanted = (len(observed), max(protocol.future, 1), *observed.shape[2:])
    if output.future is not None and output.future.shape != wanted:
        raise InputError(f"{name}: predicted shape {tuple(output.future.shape)}, expected {wanted} (batch time joint channel)")
    if output.logits is not None and output.logits.shape != (len(observed), classes):
        raise InputError(
            f"{name}: gives scores of shape {tuple(output.logits.shape)}, expected {(len(observed), classes)} (batch classes): "
            "pass class_names in the order of the scores"
        )
    for answer, what in ((output.future, "future"), (output.logits, "class scores")):
        if answer is not None:
            whole = answer.isfinite().flatten(1).all(dim=1).cpu()
            bad = [window for window, good in zip(windows, whole.tolist(), strict=True) if not good]
            if bad:
                clips = ", ".join(dict.fromkeys(store.clips[window.clip].recording for window in bad))
                raise InputError(f"{name}: NaN or infinite {what} for {clips}: take another checkpoint")


def _offer(protocol: Protocol) -> str:
    return "it needs class scores" if not protocol.metrics else "it needs class scores or a future"


@contextmanager
def _evaluation_mode(model: Model) -> Iterator[None]:
    """Evaluation mode, and afterwards each module's own mode again (a frozen part may differ from the whole)."""
    modes = [(module, module.training) for module in model.modules()] if isinstance(model, nn.Module) else []
    try:
        if isinstance(model, nn.Module):
            model.eval()
        yield
    finally:
        for module, training in modes:
            module.training = training
