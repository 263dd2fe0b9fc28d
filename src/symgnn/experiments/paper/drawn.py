"""Figs. 11 to 13 on disk: drawn from what is trained, and kept until something else is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any

import filelock

from symgnn.errors import InputError
from symgnn.evaluation import Model, fitted_baseline
from symgnn.experiments.paper.figures import Drawing, actional_links, actional_map, predicted_strips, untrained
from symgnn.experiments.paper.records import PICTURES, Setting
from symgnn.experiments.paper.runner import Job, Plan
from symgnn.experiments.paper.runs import Absent, Remembered, read_json, write_json
from symgnn.viz import write_page
from symgnn.viz.page import page

Chosen = Mapping[str, tuple[Setting, Mapping[str, Job]]]
"""By the preset of a setting: the setting, and of each row that is trained there the job that is drawn."""


@dataclass(frozen=True)
class Drawn:
    """A figure's files, and what they say."""

    page: Path
    """Opens by itself, with what was measured and what is missing."""
    pictures: tuple[Path, ...]
    """An SVG file for each data set; empty where nothing could be drawn."""
    html: str
    """Fragment for ``viz.page.page``."""
    words: tuple[str, ...]
    """What was measured, plain text, a paragraph each."""
    missing: tuple[str, ...]
    """What could not be drawn though it is trained, a sentence each."""


def draw(made: Plan) -> Drawn | None:
    """Draw a figure from the rows that are trained, of each the first seed that is; nothing is trained.

    In ``pictures`` below the folder of all runs are then a page, an SVG file for each data set, and in JSON the numbers behind
    them. They are drawn anew where other weights, or another version of symgnn, would draw something else.

    Args:
        made: with every row that is to be seen.

    Returns:
        None of a table, and where no network is trained.

    Raises:
        Absent: it is not drawn yet, and weights or data are not at hand.
    """
    chosen = _chosen(made) if made.record.shows in PICTURES else {}
    if all(job.trained.baseline is not None for _, rows in chosen.values() for job in rows.values()):
        return None
    absent = (*made.missing, *_waiting(made, chosen))
    # As JSON gives it back.
    of = {
        "symgnn": version("symgnn"),
        "scale": made.scale,
        "selection": made.options.selection,
        "absent": list(absent),
        "runs": {
            preset: {
                "actions": list(setting.actions),
                **{row: [job.trained.address, job.seed, job.trained.step] for row, job in rows.items()},
            }
            for preset, (setting, rows) in chosen.items()
        },
    }
    folder = made.options.out / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    whole, about = folder / f"{made.name}.html", folder / f"{made.name}.json"
    # Tasks of an array end together.
    with filelock.FileLock(folder / f"{made.name}.lock"):
        known = read_json(about)
        if (
            known is None
            or known["of"] != of
            or not all((folder / name).is_file() for name in (whole.name, *known["pictures"]))
        ):
            jobs = [job.trained for _, rows in chosen.values() for job in rows.values()]
            if not all(trained.here and not isinstance(trained.store, Remembered) for trained in jobs):
                raise Absent("its weights or its data are not at hand")
            about.unlink(missing_ok=True)
            known = {"of": of, **_draw(made, chosen, absent, whole)}
            # Last: it says that the others are there.
            write_json(about, known)
    pictures = tuple(folder / name for name in known["pictures"])
    return Drawn(whole, pictures, known["html"], tuple(known["words"]), tuple(known["missing"]))


def _chosen(made: Plan) -> Chosen:
    found: dict[str, tuple[Setting, dict[str, Job]]] = {}
    for job in made.jobs:
        if job.trained.finished:
            found.setdefault(job.setting.preset, (job.setting, {}))[1].setdefault(job.row, job)
    return found


def _waiting(made: Plan, chosen: Chosen) -> list[str]:
    several = len({job.setting.preset for job in made.jobs}) > 1
    waiting = dict.fromkeys(
        (job.setting.preset, job.row)
        for job in made.jobs
        if job.setting.preset not in chosen or job.row not in chosen[job.setting.preset][1]
    )
    return [f"{row}{f' on {preset}' if several else ''}: not trained yet" for preset, row in waiting]


def _draw(made: Plan, chosen: Chosen, absent: Sequence[str], whole: Path) -> dict[str, Any]:
    """Write the page and the pictures, and tell of them in plain values."""
    html, words, missing, pictures, numbers = "", [], [], [], {}
    for preset, (setting, rows) in chosen.items():
        try:
            drawing, left_out = _drawing(made, setting, rows)
        except InputError as error:
            missing.append(f"{preset}: {error}")
            continue
        path = whole.with_suffix(".svg") if len(chosen) == 1 else whole.with_suffix(f".{preset}.svg")
        write_page(path, drawing.whole.standalone(printed=True))
        html += drawing.html
        words += drawing.words
        missing += left_out
        pictures.append(path.name)
        numbers[preset] = drawing.numbers
        if len(made.options.seeds) > 1:
            seeds = {job.seed for job in rows.values() if job.trained.baseline is None}
            words.append(f"Drawn of seed {', '.join(map(str, sorted(seeds)))}.")
    gaps = "".join(f"<li>{escape(line)}</li>" for line in (*(f"not covered: {line}" for line in absent), *missing))
    content = (
        f"<h1>{escape(made.title)}</h1><p><b>{escape(made.scale)}</b>; weights: {escape(made.options.selection)}.</p>"
        f"{html}{f'<ul>{gaps}</ul>' if gaps else ''}"
    )
    write_page(whole, page(made.title, content))
    return {"pictures": pictures, "html": html, "words": words, "missing": missing, "numbers": numbers}


def _drawing(made: Plan, setting: Setting, rows: Mapping[str, Job]) -> tuple[Drawing, list[str]]:
    """One data set's, and the classes that are not there to be drawn."""
    first = next(job for job in rows.values() if job.trained.baseline is None).trained
    store = first.store
    tested = {
        store.class_names[clip.label]
        for clip in (store.clips[index] for index in store.select(split="test"))
        if clip.label >= 0
    }
    actions = [action for action in setting.actions if action in tested]
    left_out = [f"{setting.preset}: no test clip of {action}" for action in setting.actions if action not in tested]
    if setting.actions and not actions:
        raise InputError(f"no test clip of {' or '.join(setting.actions)}")
    match made.record.shows:
        case "graphs":
            return actional_links(first.model(made.options.selection), store, actions=actions), left_out
        case "map":
            model = first.model(made.options.selection)
            return actional_map(model, store, actions=actions, beside=untrained(model)), left_out
    protocol = first.protocol()
    models: dict[str, Model] = {}
    for row, job in rows.items():
        if job.trained.baseline is None:
            models[row] = job.trained.model(made.options.selection)
        else:
            models[row], _ = fitted_baseline(job.trained.baseline, protocol, store)
    return predicted_strips(models, protocol, store, actions=actions), left_out
