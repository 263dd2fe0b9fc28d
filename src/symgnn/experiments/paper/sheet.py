"""The numbers of one table: the paper's, ours, and what lies between them."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from scipy.stats import t as student

from symgnn.experiments.paper.numbers import Tick
from symgnn.experiments.paper.perturbing import perturbation_ratio, sigma_for
from symgnn.experiments.paper.records import PICTURES, Record
from symgnn.experiments.paper.runner import Job, Plan
from symgnn.experiments.paper.runs import NOISE_SEED, Absent, machine
from symgnn.experiments.paper.speed import frames_in

Column = tuple[str, Tick]
"""Group and tick, as in the records of the paper's numbers."""

MEAN = "mean"
"""The group of the means over the actions that compare."""
RELATIVE: Column = ("average", "/ ZeroV")
"""Errors over zero velocity's."""
TIMES = (80, 160, 320, 400, 1000)
"""Milliseconds that their mean is over."""
SHORT = 400
"""Milliseconds up to which "mean-error" averages (sec. 6.3)."""
FRAME_PERIOD = 20.0
"""Milliseconds in which Fig. 8 counts frames."""
FRAMES: Column = ("frames in 20 ms", "")
"""Of these more is better."""


@dataclass(frozen=True)
class Cell:
    """One number."""

    mean: float
    """Over the seeds."""
    half: float | None
    """Half of the 95 % interval of that mean (Student's t); None with one seed."""
    paper: float | None
    """The paper's, where it has one to compare with."""
    wilson: tuple[float, float] | None = None
    """Of a single seed's top-1 accuracy: Wilson's 95 % interval, in per cent."""

    @property
    def gap(self) -> float | None:
        """Ours less the paper's."""
        return None if self.paper is None else self.mean - self.paper


@dataclass(frozen=True)
class Line:
    """One row of the table."""

    name: str
    cells: Mapping[Column, Cell]
    """Empty where nothing is known yet."""
    seeds: int
    """How many have been run."""
    steps: int | None
    """Trained; None for what is not trained."""
    seconds: float
    """Of training, over all seeds."""
    parameters: int | None
    machine: str | None


@dataclass(frozen=True)
class Sheet:
    """A table or figure, with all that has to be said beside it."""

    record: Record
    name: str
    """The plan's: a table may be run in several ways."""
    title: str
    scale: str
    """The first line."""
    selection: str
    quantity: str
    """What a number is."""
    digits: int
    better: str
    """"lower" or "higher"; see ``better_in`` for a column."""
    columns: tuple[Column, ...]
    means: tuple[Tick, ...]
    """Ticks of the mean over the actions that compare, empty where there is none."""
    covered: tuple[str, ...]
    """Those actions."""
    lines: tuple[Line, ...]
    compared: tuple[str, ...]
    """The row of reference beside the others, a sentence each."""
    notes: tuple[str, ...]
    missing: tuple[str, ...]

    def better_in(self, column: Column) -> str:
        """Which way is better in a column."""
        return "higher" if column == FRAMES else self.better


def sheet(made: Plan) -> Sheet:
    """Judge what is trained, and gather it beside the paper's numbers; nothing is trained."""
    record = made.record
    carried = made.options.on is not None
    by_row: dict[str, list[Job]] = {}
    for job in made.jobs:
        by_row.setdefault(job.row, []).append(job)
    covered = _covered(made)
    lines, values, missing = [], {}, list(made.missing)
    gaps: dict[str, None] = {}
    standing = _zero_velocity(record, made)
    for name, jobs in by_row.items():
        done = [job for job in jobs if job.trained.finished]
        if not done:
            missing.append(f"{name}: not trained yet")
        found: dict[int, dict[Column, float]] = {}
        wilson: dict[Column, tuple[float, float]] = {}
        for job in done:
            try:
                result, figures = _found(made, job, covered)
            except Absent as error:
                missing.append(f"{name}: {error}")
                continue
            if (zero := standing.get((job.seed, job.setting.preset))) is not None and result is not None:
                relative = relative_error(result, zero, covered)
                figures |= {} if relative is None else {RELATIVE: relative}
            found.setdefault(job.seed, {}).update(figures)
            if result is not None:
                gaps |= dict.fromkeys(result["missing"])
                if (top1 := _top1(record, job)) in figures and result["top1_interval"] is not None:
                    wilson.setdefault(top1, (100 * result["top1_interval"][0], 100 * result["top1_interval"][1]))
        values[name] = found
        trained = [job for job in done if job.trained.baseline is None]
        lines.append(
            Line(
                name,
                {column: _cell(record, name, column, found, wilson, carried, covered) for column in _columns(found)},
                len(found),
                trained[0].trained.preset.training.steps if trained else None,
                math.fsum(job.trained.seconds for job in trained),
                trained[0].trained.parameters if trained else None,
                trained[0].trained.machine if trained else None,
            )
        )
    columns = [column for line in lines for column in line.cells]
    numbers = record.numbers
    notes = [] if record.note is None else [record.note]
    others = {} if numbers is None or carried else numbers.others
    notes += [
        f"{line.name} is not in the paper: the number beside ours is that of {others[row].source}."
        for line in lines
        if (row := record.paper_row(line.name) or "") in others and any(cell.paper is not None for cell in line.cells.values())
    ]
    if made.options.selection == "per-cell-minimum":
        notes.append(
            "Of a trained row each action's error at each time is the smallest of all evaluations during its training, chosen "
            "on test data; means are over these. No one network has them: they compare with printed tables that are made so, "
            "not with figures of the final weights."
        )
    if len(made.options.seeds) == 1 and record.shows not in PICTURES:
        notes.append("One seed: no interval is known, and small differences may be chance.")
    computed: dict[str, list[str]] = {}
    for line in lines:
        if line.machine is not None:
            computed.setdefault(line.machine, []).append(line.name)
    for where, names in computed.items():
        notes.append(f"Trained on {where}{'' if len(computed) == 1 else ': ' + ', '.join(names)}.")
    if covered:
        held_out = any(record.rows[job.row].judge.held_out for job in made.jobs)
        others = "others that are held out" if held_out else "to test on"
        notes.append(f"Means are over {', '.join(covered)}: the actions that have recordings to train on and {others}.")
    if FRAMES in columns:
        notes.append(f"Speed is that of {'; '.join(dict.fromkeys(_speed_machines(made)))}.")
    if RELATIVE in columns:
        times = ", ".join(map(str, TIMES))
        notes.append(f"/ ZeroV is the mean over these actions and {times} ms of the error over zero velocity's.")
    return Sheet(
        record=record,
        name=made.name,
        title=made.title,
        scale=made.scale,
        selection=made.options.selection,
        quantity=_quantity(record),
        digits=_digits(record),
        better="higher" if record.shows.startswith("accurac") or (numbers is not None and numbers.metric == "pck") else "lower",
        columns=tuple(dict.fromkeys(column for column in columns if column[0] != MEAN)),
        means=tuple(dict.fromkeys(tick for group, tick in columns if group == MEAN)),
        covered=covered,
        lines=tuple(lines),
        compared=tuple(_compared(record.reference, values, columns)),
        notes=tuple(notes),
        missing=tuple(dict.fromkeys((*missing, *gaps))),
    )


def known(made: Plan, job: Job) -> bool:
    """Whether a run's figures are kept, so that it needs no weights."""
    if made.record.shows in PICTURES:
        return False
    try:
        _found(made, job, _covered(made))
    except Absent:
        return False
    return True


def interval(values: Sequence[float]) -> float | None:
    """Half of the 95 % interval of a mean, by Student's t; None for a single value."""
    if len(values) < 2:
        return None
    return float(student.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))


def _judged(record: Record) -> bool:
    return record.shows not in (*PICTURES, "ratio")


def relative_error(result: Mapping[str, Any], zero: Mapping[str, Any], covered: Sequence[str]) -> float | None:
    """The mean over actions and ``TIMES`` of the angle error over zero velocity's: no action counts more for moving more.

    Args:
        result: a judged network, as plain values.
        zero: zero velocity on the same clips.
        covered: the actions.

    Returns:
        The mean; None where an action or a time is missing.
    """
    shares = []
    for action in covered:
        mine, theirs = (each["actions"].get(action, {}).get("angle_mae", {}) for each in (result, zero))
        for time in map(str, TIMES):
            if mine.get(time) is None or not theirs.get(time):
                return None
            shares.append(mine[time] / theirs[time])
    return statistics.fmean(shares) if shares else None


def _zero_velocity(record: Record, made: Plan) -> dict[tuple[int, str], Mapping[str, Any]]:
    """Results of zero velocity in a table of mean errors, by seed and setting: recordings held out go by the seed."""
    if record.shows != "mean-errors":
        return {}
    found: dict[tuple[int, str], Mapping[str, Any]] = {}
    for job in made.jobs:
        if record.rows[job.row].baseline == "zero-velocity":
            with suppress(Absent):
                judged = job.trained.judged(record.rows[job.row].judge, made.options.selection)
                found[job.seed, job.setting.preset] = judged
    return found


def _covered(made: Plan) -> tuple[str, ...]:
    """Actions that compare: those of the plan, and of the paper's table where it is its own."""
    numbers = made.record.numbers
    if made.record.shows == "errors" and made.options.on is None and numbers is not None:
        return tuple(name for name in made.covered if name in numbers.groups)
    return made.covered


def _found(made: Plan, job: Job, covered: Sequence[str]) -> tuple[Mapping[str, Any] | None, dict[Column, float]]:
    """A judged run, and what a table shows of it.

    Raises:
        Absent: figures came without weights or data, and these are not among them.
    """
    record, selection = made.record, made.options.selection
    result = job.trained.judged(record.rows[job.row].judge, selection) if _judged(record) else None
    return result, _figures(record, job, result, covered, selection)


def _figures(
    record: Record, job: Job, result: Mapping[str, Any] | None, covered: Sequence[str], selection: str
) -> dict[Column, float]:
    """What a table shows of one run."""
    group = _group(job)
    if record.shows == "ratio":
        return {(group, ""): _ratio(job, selection)}
    if result is None:
        return {}
    if record.shows.startswith("accurac"):
        if result["top1"] is None:
            return {}
        if record.shows == "accuracy":
            return {(group, ""): 100 * result["top1"]}
        pairs = {_top1(record, job): result["top1"], _top1(record, job, "Top-5"): result["top5"]}
        return {column: 100 * value for column, value in pairs.items() if value is not None}
    numbers = record.numbers
    metric = "pck" if numbers is not None and numbers.metric == "pck" else "angle_mae"
    if metric not in result["average"]:
        return {}
    if metric == "pck":
        # Frames 1 to 10, and their mean.
        per_frame = [100 * value for value in result["average"][metric].values()]
        found: dict[Column, float] = {(group, frame): value for frame, value in enumerate(per_frame, start=1)}
        return {**found, (group, "average"): math.fsum(per_frame) / len(per_frame)}
    actions = {name: figures[metric] for name, figures in result["actions"].items()}
    average = {
        int(time): math.fsum(actions[name][time] for name in covered) / len(covered) for time in result["average"][metric]
    }
    short = [value for time, value in average.items() if time <= SHORT]
    match record.shows:
        case "mean-errors":
            return {("average", time): value for time, value in average.items()}
        case "mean-error":
            return {(group, ""): math.fsum(short) / len(short)}
        case "speed":
            return {("error at 400 ms", ""): average[SHORT], FRAMES: _speed(job, selection)["frames"]}
    wanted = None if numbers is None else set(numbers.ticks)
    found = {(name, int(time)): value for name, times in actions.items() for time, value in times.items()}
    if numbers is not None and "average" in numbers.groups:
        found |= {("average", int(time)): value for time, value in result["average"][metric].items()}
    found |= {(MEAN, time): value for time, value in average.items()}
    return {column: value for column, value in found.items() if wanted is None or column[1] in wanted}


def _group(job: Job) -> str:
    # A row of the paper's table by column stands in one column here: the numbers of ablations are read below each other.
    return job.setting.group or "ours"


def _top1(record: Record, job: Job, tick: str = "Top-1") -> Column:
    """Column of the top-1 accuracy, or the top-5: Table 2 names its columns so, Table 3 has them below each data set."""
    group = _group(job)
    if record.shows == "accuracy":
        return group, ""
    return (tick, "") if group == "ours" else (group, tick)


def _speed(job: Job, selection: str) -> Mapping[str, Any]:
    """Of this machine: a time of another one says nothing here. Without weights or data, what another one had."""
    here = {"speed": FRAME_PERIOD, "machine": machine("auto")}
    try:
        return job.trained.kept(
            here, lambda: {**frames_in(FRAME_PERIOD, job.trained.model(selection)), "machine": machine("auto")}
        )
    except Absent:
        elsewhere = [each for each in job.trained.known("speed") if "machine" in each]
        if not elsewhere:
            raise
        return elsewhere[0]


def _speed_machines(made: Plan) -> Iterator[str]:
    for job in made.jobs:
        if job.trained.finished:
            with suppress(Absent):
                yield _speed(job, made.options.selection)["machine"]


def _ratio(job: Job, selection: str) -> float:
    noise = job.trained

    def find() -> dict[str, float]:
        protocol = noise.protocol()
        store = noise.store
        rows = torch.from_numpy(protocol.cut(store, protocol.windows(store).windows))
        observed = rows[:, : protocol.observed, list(store.layout.columns(store.space))]
        sigma = sigma_for(store, _noise(job))
        generator = torch.Generator().manual_seed(NOISE_SEED)
        return {"ratio": perturbation_ratio(noise.model(selection), observed, sigma, generator)}

    return noise.kept({"ratio": _noise(job), "selection": selection}, find)["ratio"]


def _noise(job: Job) -> float:
    return float(job.row)


def _columns(found: Mapping[int, Mapping[Column, float]]) -> list[Column]:
    return list(dict.fromkeys(column for figures in found.values() for column in figures))


def _cell(
    record: Record,
    name: str,
    column: Column,
    found: Mapping[int, Mapping[Column, float]],
    wilson: Mapping[Column, tuple[float, float]],
    carried: bool,
    covered: Sequence[str],
) -> Cell:
    values = [figures[column] for figures in found.values() if column in figures]
    paper = None if carried else _paper(record, name, column, covered)
    return Cell(statistics.fmean(values), interval(values), paper, wilson.get(column) if len(values) == 1 else None)


def _paper(record: Record, name: str, column: Column, covered: Sequence[str]) -> float | None:
    numbers, row = record.numbers, record.paper_row(name)
    if numbers is None or row is None:
        return None
    group, tick = column
    if group == MEAN:
        parts = [numbers.value(row, action, tick) for action in covered] if tick in numbers.ticks else []
        known = [part for part in parts if part is not None]
        return math.fsum(known) / len(known) if known and len(known) == len(parts) else None
    group = record.rows[name].group or group
    if group not in numbers.groups or tick not in numbers.ticks:
        return None
    return numbers.value(row, group, tick)


def _compared(
    reference: str, values: Mapping[str, Mapping[int, Mapping[Column, float]]], columns: Sequence[Column]
) -> list[str]:
    """One row less each other on the same seeds, with the interval of that difference; inside the noise is said."""
    mine = values.get(reference)
    if not mine or len(mine) < 2:
        return []
    shown = [column for column in dict.fromkeys(columns) if column[0] in (MEAN, "average")] or list(dict.fromkeys(columns))[:2]
    sentences = []
    for name, other in values.items():
        seeds = sorted(set(mine) & set(other))
        if name == reference or len(seeds) < 2:
            continue
        parts = []
        for column in shown:
            pairs = [(mine[seed].get(column), other[seed].get(column)) for seed in seeds]
            differences = [one - two for one, two in pairs if one is not None and two is not None]
            half = interval(differences)
            if half is None:
                continue
            mean = statistics.fmean(differences)
            noise = " (inside the noise)" if abs(mean) <= half else ""
            parts.append(f"{_label(column)} {mean:+.3f} ± {half:.3f}{noise}")
        if parts:
            sentences.append(f"{reference} less {name}, {len(seeds)} seeds: {'; '.join(parts)}")
    return sentences


def _label(column: Column) -> str:
    return " ".join(str(part) for part in column if part != "")


def _quantity(record: Record) -> str:
    numbers = record.numbers
    match record.shows:
        case "accuracy" | "accuracies":
            return "recognised, %"
        case "mean-error":
            return "angle error (MAE), the mean over 80 to 400 ms"
        case "speed":
            return "speed of one clip at a time, more is better, and angle error (MAE)"
        case "ratio":
            return "perturbation of the response over that of the input"
        case "graphs" | "map" | "strips":
            return "a picture"
    return "correct joints (PCK@0.05), %" if numbers is not None and numbers.metric == "pck" else "angle error (MAE)"


def _digits(record: Record) -> int:
    if record.shows.startswith("accurac"):
        return 1
    return 2 if record.numbers is not None and record.numbers.metric == "pck" else 3
