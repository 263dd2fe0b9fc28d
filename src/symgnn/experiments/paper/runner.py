"""One table or figure: what is to be trained for it, in which time, and in which order."""

import re
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import filelock
import torch

from symgnn.config import OWN, load_preset
from symgnn.data import Store, split_recordings
from symgnn.errors import InputError
from symgnn.experiments.paper.records import Record, Setting, find_record, resolve
from symgnn.experiments.paper.runs import Busy, Remembered, Trained, machine, of_first_process, read_json, write_json
from symgnn.models.checkpoint import build
from symgnn.training import MotionData, training_step
from symgnn.training.own import fitted

LEAST = 0.05
"""Part of the faithful preset's steps below which the small preset is trained in its place."""
LEAST_STEPS = 10
"""Steps a run has at least, whatever the time."""
PROBE = 3.0
"""Seconds after which a step's time is known well enough."""


@dataclass(frozen=True)
class Options:
    """What a command asks for, beside the table."""

    out: Path
    """Where runs, plans and results lie."""
    stores: tuple[Store, ...]
    """The data at hand."""
    folders: tuple[str, ...]
    """As the user named it."""
    on: str | None = None
    """Other data that the experiment is carried to."""
    preset: str | None = None
    """Trained in place of the setting's."""
    budget: float | None = None
    """Seconds for all trainings; None for as long as they take."""
    steps: int | None = None
    """Of every training, at most."""
    seeds: tuple[int, ...] = (0,)
    only: tuple[str, ...] = ()
    """Rows; empty for all."""
    selection: str = "last"
    device: str = "auto"


@dataclass(frozen=True)
class Job:
    """One row of a table under one seed, on one of its settings."""

    row: str
    setting: Setting
    seed: int
    trained: Trained
    full: int
    """Steps of the preset before any scaling."""


@dataclass(frozen=True)
class Plan:
    """All of a table's jobs, and how they are scaled."""

    record: Record
    options: Options
    jobs: tuple[Job, ...]
    preset: str
    """That was trained."""
    faithful: bool
    """It is the paper's, with all its steps, on the paper's data."""
    missing: tuple[str, ...]
    """Rows and settings that cannot be run, a sentence each."""
    covered: tuple[str, ...] = ()
    """Actions with recordings to train on and to be judged on, where they are what a table is of."""

    @property
    def name(self) -> str:
        """Of its files: the table's, and what of the command decides how it is scaled."""
        return _plan_name(self.record, self.options)

    @property
    def title(self) -> str:
        """What it shows, and of other data that it is of them."""
        experiment = "" if self.options.on is None else f"'s experiment on {self.options.on}"
        return f"{self.record.label}{experiment}: {self.record.title}"

    @property
    def scale(self) -> str:
        """The first line of whatever is reported: what this is, and what it is not."""
        if not any(job.trained.baseline is None for job in self.jobs):
            return "nothing here is trained"
        trained = [job for job in self.jobs if job.trained.baseline is None]
        mine = next((job for job in trained if job.trained.preset.model.network == "sym-gnn"), trained[0])
        training = mine.trained.preset.training
        if self.faithful:
            return f"the faithful preset {self.preset}, all {training.steps:,} steps"
        steps = sorted({job.trained.preset.training.steps for job in self.jobs if job.trained.baseline is None})
        whole = load_preset(mine.setting.preset)
        span = f"{steps[0]:,}" if len(steps) == 1 else f"{steps[0]:,} to {steps[-1]:,}"
        width = mine.trained.preset.model.width
        return (
            f"not a reproduction: preset {self.preset}, {span} steps of {training.batch} windows at width {width:g} "
            f"({whole.name}: {whole.training.steps:,} steps of {whole.training.batch} at width {whole.model.width:g})"
        )


def find_store(setting: Setting, stores: Sequence[Store]) -> Store | None:
    """The first store that is of a setting's kind."""
    preset = load_preset(setting.preset)
    for store in stores:
        if preset.name == "own":
            return store
        split = store.about.get("split_as")
        if (store.layout.name, store.space) == (preset.data.layout, preset.data.space) and split in (None, preset.name):
            return store
    return None


def plan(record: Record, options: Options, say: Callable[[str], None], *, remember: bool = False) -> Plan:
    """Everything a table needs, with the steps that the time allows; the same command plans the same again.

    Args:
        record: the table.
        options: what is asked for.
        say: tells what is measured.
        remember: go by the data that the plan was made of, where it is not at hand or has changed: to show, not to train.

    Raises:
        InputError: the data is not at hand, a row or preset does not exist.
    """
    settings = record.carried(options.on)
    unknown = [row for row in options.only if row not in record.rows]
    if unknown:
        raise InputError(f"--only {unknown[0]}: {record.name} has no such row (there are: {', '.join(record.rows)})")
    numbers = record.numbers
    if options.selection == "per-cell-minimum" and (
        record.shows != "errors" or numbers is None or numbers.metric != "angle_mae"
    ):
        raise InputError(
            f"--selection per-cell-minimum: {record.name} shows no errors of each action at each time (tables 5 to 8 do)"
        )
    path = options.out / "tables" / f"{_plan_name(record, options)}.json"
    settings, unfit = _fitting(record, settings, options.preset)
    found = [(setting, find_store(setting, options.stores)) for setting in settings]
    if remember:
        found = _remembered(found, (read_json(path) or {}).get("data", {}))
    missing = [*unfit, *(f"{setting.preset}: {_wanted(setting)} is not at hand" for setting, store in found if store is None)]
    there = [(setting, store) for setting, store in found if store is not None]
    if not there:
        given = "; ".join(f"{store.path} has layout {store.layout.name}, space {store.space}" for store in options.stores)
        raise InputError(
            f"{record.name} needs {_wanted(settings[0])}: give its folder with --data (symgnn data how says where from)"
            + (f"; {given}" if given else "")
        )
    missing += [f"{name}: {row.blocked}" for name, row in record.rows.items() if row.blocked]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"--out {options.out}: is a file, or lies below one; expected a folder for runs and results") from None

    def agreed() -> dict[str, Any]:
        # Tasks of an array begin together, each with a row and a seed of its own to add.
        with filelock.FileLock(path.with_suffix(".lock")):
            known = read_json(path) or _same_steps(record, options)
            known = _recalled(record, options, there, known) if remember else _scaled(record, options, there, known, say)
            known["seeds"] = sorted({*known.get("seeds", ()), *options.seeds})
            # A report shows the rows that were asked for, now or before.
            asked = {*known.get("rows", ()), *(options.only or record.rows)}
            known["rows"] = [name for name in record.rows if name in asked]
            jobs = _jobs(record, options, there, known)
            if not remember:
                _check_selection(jobs, options.selection)
            known["data"] = {**known.get("data", {}), **_data(record, jobs, known.get("data", {}))}
            write_json(path, {**known, **_about(record, options)})
        return known

    known = of_first_process(agreed)
    jobs = _jobs(record, options, there, known)
    whole = all(job.trained.baseline is not None or job.trained.preset.training.steps == job.full for job in jobs)
    presets = {known["preset"][setting.preset] for setting, _ in there}
    faithful = whole and options.on is None and presets == {setting.preset for setting, _ in there}
    each = [known["data"][setting.preset]["covered"] for setting, _ in there if setting.preset in known["data"]]
    covered = tuple(name for name in (each[0] if each else ()) if all(name in others for others in each))
    return Plan(record, options, jobs, ", ".join(sorted(presets)), faithful, tuple(missing), covered)


def _fitting(record: Record, settings: Sequence[Setting], preset: str | None) -> tuple[Sequence[Setting], list[str]]:
    """The settings on whose data a preset can be trained, and a sentence about each of the others."""

    def body(name: str) -> tuple[str, str] | None:
        data = load_preset(name).data
        # What the store decides fits every store.
        return None if load_preset(name).name == "own" else (data.layout, data.space)

    if preset is None or body(preset) is None:
        return settings, []
    fitting = [setting for setting in settings if body(setting.preset) in (None, body(preset))]
    if not fitting:
        raise InputError(f"--preset {preset}: is of another body than {record.name}'s data: it needs {_wanted(settings[0])}")
    return fitting, [
        f"{setting.preset}: --preset {preset} is of another body than its data"
        for setting in settings
        if setting not in fitting
    ]


def reopen(out: Path, path: Path, find: Callable[[tuple[str, ...]], tuple[Store, ...]]) -> tuple[str, dict[str, Any]]:
    """What a plan's file says: the table's name and the options to plan it again by.

    Args:
        out: folder of all runs.
        path: of the plan.
        find: opens data by the folders' names.

    Raises:
        InputError: the file is no plan.
    """
    about = read_json(path) or {}
    if lost := {"record", "asked", "on", "budget", "limit", "selection", "folders", "rows", "seeds", "preset"} - about.keys():
        raise InputError(f"{path}: is no plan: it lacks {', '.join(sorted(lost))}; delete it, and run the table again")
    folders = tuple(about["folders"])
    options = {"preset": about["asked"], **{name: about[name] for name in ("on", "budget", "selection")}}
    options |= {
        "steps": about["limit"],
        "only": tuple(about["rows"]),
        "out": out,
        "folders": folders,
        "seeds": tuple(about["seeds"]),
    }
    if path.stem != _plan_name(find_record(about["record"]), Options(**options, stores=())):
        raise InputError(f"{path}: was planned by an older version; delete it, and run the table again")
    return about["record"], {**options, "stores": find(folders)}


def of_all_rows(made: Plan, say: Callable[[str], None]) -> Plan:
    """A plan with every row and seed that was ever asked for under its name."""
    about = read_json(made.options.out / "tables" / f"{made.name}.json") or {}
    known = {"only": tuple(about["rows"]), "seeds": tuple(about["seeds"])}
    return plan(made.record, replace(made.options, **known), say)


def run(made: Plan, say: Callable[[str], None], progress: bool = True, *, known: Callable[[Job], bool] = bool) -> None:
    """Train what is not trained yet, row after row.

    Args:
        made: what is to be done.
        say: tells what is trained.
        progress: show how a training goes.
        known: whether the figures of a job are known that were trained elsewhere; by default they do.

    Raises:
        Interrupted: Ctrl-C; everything up to the last checkpoint is kept.
    """
    # Another command may finish one of them meanwhile: of several processes the first says what there is to do.
    waiting = [made.jobs[place] for place in of_first_process(lambda: _to_train(made, known))]
    for number, job in enumerate(waiting, start=1):
        training = job.trained.preset.training
        begun = f", from step {job.trained.step:,}" if job.trained.step and job.trained.here else ""
        seed = f", seed {job.seed}" if len(made.options.seeds) > 1 else ""
        say(f"{made.record.label}, training {number} of {len(waiting)}: {job.row}{seed}, {training.steps:,} steps{begun}")
        try:
            job.trained.train(made.options.device, progress)
        except Busy:
            say(f"{job.row}: another process trains it ({job.trained.folder}); left to it")


def parse_duration(text: str) -> float:
    """Seconds of ``30m``, ``2h``, ``90s``, ``1h30m``.

    Raises:
        InputError: it is none.
    """
    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", text.strip().lower())
    seconds = sum(float(part) * unit for part, unit in zip(match.groups(), (3600, 60, 1), strict=True) if part) if match else 0
    if not seconds:
        raise InputError(f"--budget {text}: expected a time such as 30m, 2h, 90s or 1h30m")
    return seconds


def seconds_a_step(trained: Trained, device: str) -> float:
    """Time of a training step of a network on this machine, from a few real ones."""
    preset, store = trained.preset, trained.store
    data = MotionData(store, preset)
    data.setup("fit")
    place = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build(preset, store.layout, len(store.class_names)).to(place).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)
        generator = torch.Generator().manual_seed(0)
        times: list[float] = []
        while len(times) < 3 or (sum(times) < PROBE and len(times) < 30):
            began = time.perf_counter()
            batch = data.train_windows.sample(preset.training.batch, generator)
            moved = {name: value.to(place) for name, value in vars(batch).items() if isinstance(value, torch.Tensor)}
            step = training_step(model, replace(batch, **moved), preset.training)
            optimizer.zero_grad()
            step.surrogate.backward()
            optimizer.step()
            float(step.weight)  # waits for the device
            times.append(time.perf_counter() - began)
    later = sorted(times[1:])
    return later[len(later) // 2]


def slurm_script(made: Plan, words: Sequence[str], *, known: Callable[[Job], bool] = bool) -> str:
    """An array job, a task for each row and seed that has a network that is not trained yet.

    What only judges another row's network in another way has no task: the same command does it after the array.

    Args:
        made: what is to be done.
        words: the command without rows and seeds, quoted for a shell.
        known: as for ``run``.
    """
    tasks: dict[str, None] = {}
    for job in (made.jobs[place] for place in _to_train(made, known)):
        tasks[f"{' '.join(words)} --only {shlex.quote(job.row)} --seed {job.seed}"] = None
    if not tasks:
        raise InputError(f"{made.record.name}: everything is trained; there is nothing to submit")
    listed = "\n".join(f"  {shlex.quote(task)}" for task in tasks)
    return (
        "#!/bin/bash\n"
        f"# {made.record.label}: trainings: {len(tasks)}, one a task. Submit with: sbatch FILE\n"
        "# Partition, memory and accelerators are your cluster's: add #SBATCH lines for them.\n"
        f"#SBATCH --job-name=symgnn-{made.record.name}\n"
        f"#SBATCH --array=0-{len(tasks) - 1}\n"
        "#SBATCH --cpus-per-task=4\n"
        "#SBATCH --output=%x-%a.log\n"
        "set -eu\n"
        f"tasks=(\n{listed}\n)\n"
        'eval "${tasks[$SLURM_ARRAY_TASK_ID]}"\n'
    )


def _jobs(
    record: Record, options: Options, there: Sequence[tuple[Setting, Store]], known: Mapping[str, Any]
) -> tuple[Job, ...]:
    jobs = []
    for setting, store in there:
        for name, row in record.rows.items():
            if row.blocked or (options.only and name not in options.only):
                continue
            for seed in options.seeds:
                trained = _made(record, name, setting, store, options, known["preset"][setting.preset], seed)
                full = trained.preset.training.steps
                steps = known["steps"].get(f"{setting.preset} {name}")
                jobs.append(Job(name, setting, seed, trained if steps is None else trained.shortened(steps), full))
    return tuple(jobs)


def _check_selection(jobs: Sequence[Job], selection: str) -> None:
    """Raise where there will be no weights of the best validation."""
    for job in jobs if selection == "validation" else ():
        training = job.trained.preset.training
        if job.trained.baseline is None and not split_recordings(job.trained.store, training.validation, training.seed)[1]:
            raise InputError(
                f"--selection validation: {job.row} holds no recording out for validation (training.validation "
                f"{training.validation:g}): take --selection last, or a --preset that holds some out"
            )


def _to_train(made: Plan, known: Callable[[Job], bool]) -> list[int]:
    """Where among the jobs those are that wait, one for each network: rows may judge one in several ways."""
    first: dict[str, int] = {}
    for place, job in enumerate(made.jobs):
        if _waits(job, known):
            first.setdefault(job.trained.address, place)
    return list(first.values())


def _waits(job: Job, known: Callable[[Job], bool]) -> bool:
    """Whether a job has something to train: figures that came without weights are enough where they are those asked for."""
    return not (job.trained.finished and (job.trained.here or known(job)))


def _remembered(found: Sequence[tuple[Setting, Store | None]], known: Mapping[str, Any]) -> list[tuple[Setting, Store | None]]:
    """The same settings, with a stand-in for data that is not at hand, or not what it was."""
    settings = []
    for setting, store in found:
        about, preset = known.get(setting.preset), load_preset(setting.preset)
        if about is not None and preset.name != OWN and (store is None or store.about["sha256"] != about["sha256"]):
            store = Remembered.of(about["sha256"], preset.data.layout, preset.data.space)
        settings.append((setting, store))
    return settings


def _data(record: Record, jobs: Sequence[Job], known: Mapping[str, Any]) -> dict[str, Any]:
    """What a plan keeps of the data of each setting: its hash, and the actions that compare."""
    found: dict[str, Any] = {}
    seen: set[object] = set()
    for job in jobs:
        store, judge, training = job.trained.store, record.rows[job.row].judge, job.trained.preset.training
        key = (job.setting.preset, (training.validation, training.seed) if judge.held_out else None)
        if isinstance(store, Remembered) or key in seen:
            continue
        seen.add(key)
        sha256 = store.about["sha256"]
        about = found.get(job.setting.preset) or known.get(job.setting.preset)
        actions = list(job.trained.actions(judge)) if record.shows.startswith(("errors", "mean-error", "speed")) else []
        if about is not None and about["sha256"] == sha256:
            # Recordings held out go by the seed.
            actions = [name for name in about["covered"] if name in actions]
        found[job.setting.preset] = {"sha256": sha256, "covered": actions}
    return found


def _made(record: Record, row: str, setting: Setting, store: Store, options: Options, preset: str, seed: int) -> Trained:
    chosen = resolve(record, row, setting, preset, seed)
    if preset == "own":
        # What the store decides is decided before the row's own fields are laid over.
        fields, _ = fitted(load_preset("own", record.rows[row].network), store)
        chosen = resolve(record, row, setting, preset, seed, base=fields)
    if options.selection == "per-cell-minimum":
        chosen = replace(chosen, training=replace(chosen.training, snapshots=True))
    return Trained(chosen, record.rows[row].baseline, store, options.out)


def _trainable(record: Record) -> list[str]:
    return [name for name, row in record.rows.items() if row.baseline is None and not row.blocked]


def _scaled(
    record: Record,
    options: Options,
    there: Sequence[tuple[Setting, Store]],
    known: dict[str, Any],
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Which preset is trained on each setting, and the steps of each row where the time does not allow all.

    Args:
        record: the table.
        options: what is asked for; a time is for the rows that are asked for and not planned yet.
        there: the settings that have data.
        known: the plan so far, which stays as it is; empty where there is none.
        say: tells what is measured.
    """
    presets = {setting.preset: options.preset or setting.preset for setting, _ in there} | known.get("preset", {})
    steps = dict(known.get("steps", {}))
    keys = {f"{setting.preset} {name}": (setting, store, name) for setting, store in there for name in _trainable(record)}

    def made(key: str) -> Trained:
        setting, store, name = keys[key]
        return _made(record, name, setting, store, options, presets[setting.preset], 0)

    if options.steps is not None:
        full = {key: made(key).preset.training.steps for key in keys}
        steps |= {key: options.steps for key, each in full.items() if options.steps < each}
        planned = list(keys)
    else:
        # A plan that says nothing of it is of all rows.
        planned = known.get("planned", list(keys) if known else [])
        fresh = [key for key in keys if key not in planned and (not options.only or keys[key][2] in options.only)]
        if options.budget is not None and fresh:
            rows = {key: made(key) for key in fresh}
            trainings = len({each.address for each in rows.values()}) * len(options.seeds)
            share = options.budget / trainings
            for setting, _ in there:
                mine = [key for key in fresh if keys[key][0] is setting]
                if options.preset is not None or setting.small is None or setting.preset in known.get("preset", {}) or not mine:
                    continue
                # Sym-GNN decides where it is among them.
                ours = next((rows[key] for key in mine if rows[key].preset.model.network == "sym-gnn"), rows[mine[0]])
                say(f"how long a step of {setting.preset} takes here ...")
                possible = share / seconds_a_step(ours, options.device)
                if possible < LEAST * ours.preset.training.steps:
                    presets[setting.preset] = setting.small
                    say(
                        f"{possible:,.0f} of {ours.preset.training.steps:,} steps fit into {share:,.0f} s: "
                        f"{setting.small} is trained in its place"
                    )
                    rows |= {key: made(key) for key in mine}
            steps |= _within(options.budget / len(options.seeds), rows, options.device, say)
        planned = [*planned, *fresh]
    return {"machine": machine(options.device), **known, "preset": presets, "steps": steps, "planned": planned}


def _same_steps(record: Record, options: Options) -> dict[str, Any]:
    """How the trainings are scaled whose final weights were asked for: others of the same table have as many steps."""
    path = options.out / "tables" / f"{_plan_name(record, replace(options, selection='last'))}.json"
    about = read_json(path) or {}
    return {name: about[name] for name in ("machine", "preset", "steps", "planned") if name in about}


def _recalled(
    record: Record, options: Options, there: Sequence[tuple[Setting, Store]], known: Mapping[str, Any]
) -> dict[str, Any]:
    """A plan as it is, to show it: nothing is measured, and rows that came to the table since are not planned."""
    presets = {setting.preset: options.preset or setting.preset for setting, _ in there}
    rows = [f"{name} {row}" for name in presets for row in _trainable(record)]
    return {"planned": rows, **known, "preset": {**presets, **known["preset"]}}


def _within(seconds: float, rows: Mapping[str, Trained], device: str, say: Callable[[str], None]) -> dict[str, int]:
    """Steps of the rows that cannot have all of theirs in a time."""
    # Rows that vary only in how they are judged are one training.
    first = {each.address: key for key, each in reversed([*rows.items()])}
    cost = {}
    for key in first.values():
        say(f"how long a step of {key.partition(' ')[2]} takes here ...")
        cost[key] = seconds_a_step(rows[key], device)
    steps: dict[str, int] = {}
    left = seconds
    # The cheapest first: what they do not need is the others'.
    for place, key in enumerate(sorted(cost, key=lambda key: cost[key] * rows[key].preset.training.steps)):
        all_steps = rows[key].preset.training.steps
        possible = int(left / (len(cost) - place) / cost[key])
        steps[key] = max(LEAST_STEPS, min(all_steps, possible))
        left -= steps[key] * cost[key]
    found = {key: steps[first[each.address]] for key, each in rows.items()}
    return {key: value for key, value in found.items() if value < rows[key].preset.training.steps}


def _plan_name(record: Record, options: Options) -> str:
    parts = [record.name]
    parts += [] if options.on is None else [f"on-{options.on}"]
    parts += [] if options.preset is None else [re.sub(r"[^\w.-]+", "-", options.preset)]
    parts += [] if options.budget is None else [f"{options.budget:.0f}s"]
    parts += [] if options.steps is None else [f"{options.steps}-steps"]
    parts += [] if options.selection == "last" else [options.selection]
    return ".".join(parts)


def _about(record: Record, options: Options) -> dict[str, Any]:
    values = asdict(replace(options, stores=()))
    kept = {name: values[name] for name in ("on", "budget", "steps", "selection", "folders")}
    kept["limit"] = kept.pop("steps")
    return {"record": record.name, "asked": options.preset, **kept}


def _wanted(setting: Setting) -> str:
    preset = load_preset(setting.preset)
    return f"data of layout {preset.data.layout}, space {preset.data.space} (preset {setting.preset})"
