"""Figures of runs as one file of a few KB each, without weights and data: plans, settings, times and judgements."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import filelock
from pydantic import ConfigDict, StringConstraints, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from symgnn.config import Selection
from symgnn.errors import InputError
from symgnn.experiments.paper.records import find_record
from symgnn.experiments.paper.runner import Plan
from symgnn.experiments.paper.runs import Trained, read_json, write_json
from symgnn.files import write_whole

MOST = 64 * 2**20
"""Bytes of a file that is taken in."""
DEPTH = 4
"""Levels of the file that have a line for each entry; what is deeper is in one line."""

_EXACT = ConfigDict(extra="forbid", strict=True)
Name = Annotated[str, StringConstraints(pattern=r"^\w[\w.-]{0,200}$")]
"""Of a plan's file, without its ending: it cannot lead elsewhere."""
Address = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}$")]


@dataclass(frozen=True, config=_EXACT, kw_only=True)
class Data:
    """What a plan was made of."""

    sha256: dict[str, str]
    covered: list[str]


@dataclass(frozen=True, config=_EXACT, kw_only=True)
class KeptPlan:
    """A plan's file, without the place of the data."""

    record: str
    asked: str | None
    on: str | None
    budget: float | None
    limit: int | None
    selection: Selection
    preset: dict[str, str]
    steps: dict[str, int]
    planned: list[str]
    seeds: list[int]
    rows: list[str]
    data: dict[str, Data]
    machine: str


@dataclass(frozen=True, config=_EXACT, kw_only=True)
class Time:
    """A run's ``time.json``."""

    step: int
    seconds: float
    machine: str
    parameters: int


@dataclass(frozen=True, config=_EXACT, kw_only=True)
class Judgement:
    """One of a run's ``results``."""

    what: dict[str, Any]
    step: int
    figures: dict[str, Any]


@dataclass(frozen=True, config=_EXACT, kw_only=True)
class KeptRun:
    """A run without its weights."""

    results: dict[Address, Judgement]
    preset: dict[str, Any] | None = None
    """None for what is not trained."""
    time: Time | None = None


@dataclass(frozen=True, config=_EXACT, kw_only=True)
class Figures:
    """The whole file."""

    format: Literal[1] = 1
    plans: dict[Name, KeptPlan] = field(default_factory=dict)
    runs: dict[Address, KeptRun] = field(default_factory=dict)


_FIGURES = TypeAdapter(Figures)


def save_figures(path: Path, plans: Iterable[Plan]) -> int:
    """Write what is known of some plans; the same figures make the same bytes.

    Args:
        path: the file.
        plans: those that a report shows.

    Returns:
        Number of runs that are in it.
    """
    kept: dict[str, Any] = {}
    runs: dict[str, Any] = {}
    for made in plans:
        kept[made.name] = _part(KeptPlan, read_json(made.options.out / "tables" / f"{made.name}.json"))
        for job in made.jobs:
            if job.trained.finished and job.trained.address not in runs and (run := _run(job.trained)) is not None:
                runs[job.trained.address] = run
    values = asdict(_FIGURES.validate_json(json.dumps({"plans": kept, "runs": runs})))
    write_whole(path, (_lines(values, DEPTH) + "\n").encode())
    return len(runs)


def take_figures(path: Path, out: Path, say: Callable[[str], None]) -> None:
    """Add what a file knows to a folder of runs, and change nothing that is there.

    A run that has a checkpoint stays what it is, and so does one with as many steps: judgements that it lacks are added where
    they are of the same step. Of plans, rows and seeds are added up; what is planned already stays.

    Args:
        path: a file of ``save_figures``.
        out: folder of all runs.
        say: told what was left out.

    Raises:
        InputError: it is no such file.
    """
    figures = _read(path)
    for name, plan in figures.plans.items():
        if not _take_plan(out / "tables" / f"{name}.json", plan):
            say(f"{path}: {name} is planned otherwise in {out}; what differs is left out")
    for address, run in figures.runs.items():
        if not _take_run(out / "runs" / address, run):
            say(f"{path}: run {address} stays as it is in {out}, at another step")


def _read(path: Path) -> Figures:
    try:
        if path.stat().st_size > MOST:
            raise InputError(f"{path}: has more than {MOST:,} bytes; expected a file of symgnn paper report --save-figures")
        figures = _FIGURES.validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise InputError(
            f"{path}: no file of symgnn paper report --save-figures of this version: {where}: {first['msg']}"
        ) from None
    for plan in figures.plans.values():
        find_record(plan.record)
    return figures


def _run(trained: Trained) -> dict[str, Any] | None:
    """What is kept of a finished run; None where it has not been judged."""
    results = {path.stem: read_json(path) for path in sorted((trained.folder / "results").glob("*.json"))}
    results = {key: each for key, each in results.items() if each is not None and each["step"] == trained.step}
    if not results:
        return None
    run: dict[str, Any] = {"results": {key: _part(Judgement, each) for key, each in results.items()}}
    if trained.baseline is None:
        run["preset"] = read_json(trained.folder / "preset.json")
        run["time"] = _part(Time, read_json(trained.folder / "time.json"))
    return run


def _part(kind: type, values: Mapping[str, Any] | None) -> dict[str, Any]:
    """What of a file is kept."""
    return {each.name: values[each.name] for each in fields(kind) if values is not None and each.name in values}


def _take_plan(path: Path, plan: KeptPlan) -> bool:
    """Add a plan to the one that is there; False where both say different things of the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    theirs = asdict(plan)
    with filelock.FileLock(path.with_suffix(".lock")):
        mine = read_json(path)
        if mine is None:
            write_json(path, {**theirs, "folders": []})
            return True
        keys = mine.get("planned", [*theirs["planned"], *theirs["steps"]])
        alike = (
            all(mine["preset"].get(name, each) == each for name, each in theirs["preset"].items())
            and all(mine["steps"].get(key) == theirs["steps"].get(key) for key in theirs["planned"] if key in keys)
            and all(mine.get("data", {}).get(name, each)["sha256"] == each["sha256"] for name, each in theirs["data"].items())
        )
        rows = {*mine["rows"], *theirs["rows"]}
        added = {key: value for key, value in theirs["steps"].items() if key not in keys}
        merged = {
            **mine,
            "preset": {**theirs["preset"], **mine["preset"]},
            "steps": {**added, **mine["steps"]},
            "planned": list(dict.fromkeys([*keys, *theirs["planned"]])),
            "seeds": sorted({*mine["seeds"], *theirs["seeds"]}),
            "rows": [name for name in find_record(plan.record).rows if name in rows],
            "data": {**theirs["data"], **mine.get("data", {})},
        }
        write_json(path, merged)
    return alike


def _take_run(folder: Path, run: KeptRun) -> bool:
    """Add a run's figures to a folder; False where it has other steps behind it."""
    step = 0 if run.time is None else run.time.step
    about = read_json(folder / "time.json")
    mine = -1 if about is None else int(about["step"])
    if run.time is not None and mine != step:
        # Weights without a note of their step are somebody's training.
        if mine > step or any(folder.glob("*.ckpt")):
            return False
        folder.mkdir(parents=True, exist_ok=True)
        if run.preset is not None:
            write_json(folder / "preset.json", run.preset)
        write_json(folder / "time.json", asdict(run.time))
    (folder / "results").mkdir(parents=True, exist_ok=True)
    for key, judgement in run.results.items():
        path = folder / "results" / f"{key}.json"
        known = read_json(path)
        if known is None or known["step"] != step:
            write_json(path, asdict(judgement))
    return True


def _lines(value: Any, depth: int, indent: str = "") -> str:
    """JSON whose first levels are sorted and have a line for each entry, so that little differs where little changed.

    What is deeper keeps its order, which is that of a table's columns.
    """
    if not depth or not isinstance(value, dict) or not value:
        return json.dumps(value, ensure_ascii=False)
    inner = indent + " "
    entries = (
        f"{inner}{json.dumps(name, ensure_ascii=False)}: {_lines(value[name], depth - 1, inner)}" for name in sorted(value)
    )
    return "{\n" + ",\n".join(entries) + f"\n{indent}}}"
