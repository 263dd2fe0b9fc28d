"""The paper's tables and figures: list, run, report."""

import functools
import shlex
import sys
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from rich.table import Table
from rich.text import Text
from tyro.conf import Positional, UseAppendAction, arg

from symgnn.cli.shared import File, check_place, duration, say, show
from symgnn.config import Selection
from symgnn.errors import InputError
from symgnn.files import is_first_process

if TYPE_CHECKING:
    from symgnn.data import Store
    from symgnn.experiments.paper.runner import Plan

Folders = Annotated[tuple[str, ...], arg(metavar="DIR...", help_behavior_hint="")]
Out = Annotated[Path, arg(metavar="DIR")]


def paper_list(
    data: Folders = (),
    out: Out = Path("runs/paper"),
) -> int:
    """List every table and figure: what it needs, what of it is at hand, what it costs here.

    Args:
        data: folders to look at: stores, or a benchmark's own.
        out: where runs lie; what they took tells what others will.
    """
    from symgnn.config import load_preset
    from symgnn.experiments.paper.records import records, resolve
    from symgnn.experiments.paper.runner import Options, find_store
    from symgnn.experiments.paper.runs import Trained

    stores = _stores(data)
    options = Options(out=out, stores=stores, folders=data)
    table = Table(title="symgnn paper run NAME")
    for name in ("name", "what", "data", "at hand", "trained", "trainings", "steps", "elsewhere"):
        table.add_column(name)
    for name, record in records().items():
        there = [(setting, find_store(setting, stores)) for setting in record.settings]
        rows = [row for row, each in record.rows.items() if each.baseline is None and not each.blocked]
        runs = [
            Trained(resolve(record, row, setting, setting.preset, 0), None, store, options.out)
            for setting, store in there
            if store is not None
            for row in rows
        ]
        distinct = {run.address: run for run in runs}
        steps = load_preset(record.settings[0].preset).training.steps
        needs = ", ".join(dict.fromkeys(setting.preset.partition("-")[0] for setting in record.settings))
        table.add_row(
            name,
            Text(record.title),
            needs,
            "yes" if all(store is not None for _, store in there) else "no",
            f"{sum(run.finished for run in distinct.values())}" if distinct else "",
            f"{len(distinct) or len(record.settings) * len(rows)}",
            f"{steps:,} each",
            ", ".join(f"--on {each}" for each in record.elsewhere),
        )
    show(table)
    for line in _costs(out):
        show(Text(line))
    if not data:
        show(Text("symgnn data how NAME says where data is obtained; --data DIR looks whether it is at hand"))
    return 0


def paper_run(
    table: Annotated[Positional[str], arg(metavar="TABLE")],
    /,
    data: Folders = (),
    budget: Annotated[str | None, arg(metavar="TIME", help_behavior_hint="")] = None,
    steps: Annotated[int | None, arg(metavar="N", help_behavior_hint="")] = None,
    preset: Annotated[str | None, arg(metavar="PRESET", help_behavior_hint="")] = None,
    on: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")] = None,
    only: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="ROW", help_behavior_hint="")] = (),
    seeds: Annotated[int, arg(metavar="N")] = 1,
    seed: Annotated[int | None, arg(metavar="K", help_behavior_hint="")] = None,
    selection: Selection = "last",
    out: Out = Path("runs/paper"),
    device: Literal["auto", "cpu", "gpu"] = "auto",
    slurm: File = None,
) -> int:
    """Run a table or figure of the paper: train what is not trained yet, judge it, print it beside the paper's numbers.

    What is drawn (fig11, fig12, fig13) is written to pictures in the folder of all runs: a page and SVG files.
    Nothing is trained twice: a run is known by its settings and its data. After Ctrl-C or a crash the same command goes on
    from the last checkpoints.

    Args:
        table: table1 to table15, fig8 to fig15.
        data: folders of the data it needs: stores, or a benchmark's own.
        budget: time for all trainings, such as 30m or 2h: they are shortened to fit, and a small preset takes the paper's
            place where that could not do a twentieth of its steps. The first line then says so.
        steps: steps of each training, at most, in place of a time: where several share a machine, a time says little.
        preset: train this one in place of the paper's; cmu-long-cpu is for two CPU cores.
        on: carry the experiment to other data, such as cmu; symgnn paper list says where that goes.
        only: a row, by name; may be given several times.
        seeds: train each row under seeds 0 to N-1, and print means with their intervals.
        seed: this seed alone.
        selection: final weights, or those that did best on held-out training data. per-cell-minimum (tables 5 to 8) takes, for
            every action and time by itself, the smallest error of all evaluations of a training, chosen on test data: so the
            tables of many papers are made, and with printed numbers alone it compares. It needs trainings of its own, whose
            snapshots are kept.
        out: where runs, plans and results lie.
        device: where to compute.
        slurm: write an array script for a cluster to this file, and train nothing.
    """
    if seeds < 1:
        raise InputError(f"--seeds: found {seeds}, expected 1 or more")
    if seed is not None and seed < 0:
        raise InputError(f"--seed: found {seed}, expected 0 or more")
    if steps is not None and (steps < 1 or budget is not None):
        raise InputError(f"--steps: found {steps}, expected 1 or more, and no --budget beside it")
    if slurm is not None:
        check_place(slurm)
    from symgnn.experiments.paper.records import PICTURES, find_record

    record = find_record(table)
    if preset is not None:
        from symgnn.config import load_preset

        load_preset(preset)
    record.carried(on)
    from symgnn.experiments.paper.report import sheet_text
    from symgnn.experiments.paper.runner import Options, of_all_rows, parse_duration, plan, run, slurm_script
    from symgnn.experiments.paper.runs import Interrupted
    from symgnn.experiments.paper.sheet import known, sheet

    options = Options(
        out=out,
        stores=_stores(data),
        folders=data,
        on=on,
        preset=preset,
        budget=None if budget is None else parse_duration(budget),
        steps=steps,
        seeds=tuple(range(seeds)) if seed is None else (seed,),
        only=tuple(only),
        selection=selection,
        device=device,
    )
    made = plan(record, options, say)
    judged = functools.partial(known, made)
    say(f"{record.label}: {made.scale}")
    if slurm is not None:
        from symgnn.files import write_whole

        words = [
            "symgnn",
            "paper",
            "run",
            record.name,
            *_words(
                {
                    "data": data,
                    "budget": budget,
                    "steps": steps,
                    "preset": preset,
                    "on": on,
                    "selection": selection,
                    "out": str(out),
                    "device": device,
                }
            ),
        ]
        write_whole(slurm, slurm_script(made, [shlex.quote(word) for word in words], known=judged).encode())
        say(f"wrote {slurm}; submit it with sbatch, afterwards this command without --slurm prints the whole")
        return 0
    try:
        run(made, say, known=judged)
    except Interrupted:
        print(
            f"symgnn: interrupted; the last checkpoint is kept; go on with: {shlex.join(['symgnn', *sys.argv[1:]])}",
            file=sys.stderr,
        )
        return 130
    if is_first_process():
        show(sheet_text(sheet(made)))
        if record.shows in PICTURES:
            _drawn(of_all_rows(made, say))
    return 0


def paper_report(
    html: File = None,
    out: Out = Path("runs/paper"),
    figures: File = None,
    save_figures: File = None,
) -> int:
    """One page over all that has been run.

    Args:
        html: also write it to this file.
        out: where runs, plans and results lie.
        figures: first take in what this file of --save-figures knows; nothing that is there is changed. What was judged
            elsewhere needs neither its weights nor the data, and symgnn paper run does not train it again.
        save_figures: write the figures shown to this JSON file: plans, settings, times and judgements, a few KB a run, no
            weights.
    """
    for file in (html, save_figures):
        if file is not None:
            check_place(file)
    from symgnn.experiments.paper import exchange
    from symgnn.experiments.paper.report import report_html, sheet_html, sheet_text, trouble_html
    from symgnn.experiments.paper.sheet import sheet
    from symgnn.viz import write_page

    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: is a file; expected the folder of runs of symgnn paper run")
    if figures is not None:
        exchange.take_figures(figures, out, say)
    sections, shown = [], []
    opened: dict[tuple[str, ...], tuple[Store, ...]] = {}
    for path in _plans(out):
        try:
            made, command = _reopened(out, path, opened)
            found = sheet(made)
        except InputError as error:
            # Data that is not where it was is no reason to show nothing of the others.
            show(Text(f"{path.stem} cannot be shown: {error}\n", style="yellow"))
            sections.append(trouble_html(path.stem, str(error)))
            continue
        show(sheet_text(found))
        shown.append(made)
        sections.append(sheet_html(found, command, _drawn(made)))
    if html is not None:
        write_page(html, report_html(sections, _OPENING))
        say(f"wrote {html}")
    if save_figures is not None:
        say(f"wrote {save_figures}: {exchange.save_figures(save_figures, shown)} runs")
    return 0


def _drawn(made: "Plan") -> str:
    """Draw what is drawn and not tabled, say where it lies, and give its HTML; empty of a table."""
    from symgnn.experiments.paper.drawn import draw
    from symgnn.experiments.paper.runs import Absent

    try:
        drawn = draw(made)
    except Absent as error:
        show(Text(f"not drawn: {error}\n", style="yellow"))
        return f"<p>not drawn: {escape(str(error))}</p>"
    if drawn is None:
        return ""
    for line in drawn.words:
        show(Text(f"· {line}"))
    for line in drawn.missing:
        show(Text(f"not drawn: {line}", style="yellow"))
    show(Text(""))
    for path in (drawn.page, *drawn.pictures):
        say(f"wrote {path}")
    return drawn.html


_OPENING = (
    "<p>Each section begins with what it is: a reproduction is only what trained the paper's preset with all its steps on the "
    "paper's data. A number is the final weights' unless it says otherwise; nothing was chosen on test data but per-cell "
    "minima, which say so.</p>"
)


def _plans(out: Path) -> list[Path]:
    """Files of the plans, in the order of the records."""
    found = sorted((out / "tables").glob("*.json"))
    if not found:
        raise InputError(f"{out}: nothing has been run there: symgnn paper run TABLE, or another --out")
    order = {name: place for place, name in enumerate(_order())}
    return sorted(found, key=lambda path: order.get(path.name.partition(".")[0], len(order)))


def _reopened(out: Path, path: Path, opened: "dict[tuple[str, ...], tuple[Store, ...]]") -> "tuple[Plan, str]":
    """A plan from its file, and the command that makes it.

    Args:
        out: folder of all runs.
        path: of the plan.
        opened: data that is open, which grows.
    """
    from symgnn.experiments.paper.records import find_record
    from symgnn.experiments.paper.runner import Options, plan, reopen

    trouble: list[InputError] = []

    def stores(folders: tuple[str, ...]) -> "tuple[Store, ...]":
        if folders not in opened:
            try:
                opened[folders] = _stores(folders)
            except InputError as error:
                trouble.append(error)
                return ()
        return opened[folders]

    name, values = reopen(out, path, stores)
    options = Options(**values)
    try:
        made = plan(find_record(name), options, say, remember=True)
    except InputError as error:
        raise (trouble or [error])[0] from None
    command = ["symgnn", "paper", "run", name, *_words({**values, "data": options.folders or ("DIR",), "out": str(out)})]
    if set(options.only) != set(find_record(name).rows):
        command += [word for row in options.only for word in ("--only", row)]
    commands = [shlex.join([*command, *each]) for each in _seeds(options.seeds)]
    return made, "; ".join(commands)


def _order() -> list[str]:
    from symgnn.experiments.paper.records import records

    return list(records())


def _seeds(seeds: tuple[int, ...]) -> list[list[str]]:
    """Words for seeds: those from 0 on are one command's, others are one each."""
    if seeds == tuple(range(len(seeds))):
        return [["--seeds", str(len(seeds))] if len(seeds) > 1 else []]
    return [["--seed", str(seed)] for seed in seeds]


def _words(options: dict[str, Any]) -> list[str]:
    """Options of ``paper run`` as they are typed."""
    words = []
    if data := options.get("data") or options.get("folders"):
        words += ["--data", *data]
    for name in ("on", "preset"):
        words += [f"--{name}", options[name]] if options.get(name) else []
    if budget := options.get("budget"):
        words += ["--budget", budget if isinstance(budget, str) else f"{budget:.0f}s"]
    words += ["--steps", str(options["steps"])] if options.get("steps") else []
    words += ["--selection", options["selection"]] if options["selection"] != "last" else []
    words += ["--out", options["out"]] if options["out"] != "runs/paper" else []
    words += ["--device", options["device"]] if options.get("device", "auto") != "auto" else []
    return words


def _stores(folders: tuple[str, ...]) -> "tuple[Store, ...]":
    from symgnn.data import open_data

    return tuple(open_data(folder) for folder in folders)


def _costs(out: Path) -> list[str]:
    """What finished runs took on this machine, a step."""
    from symgnn.config import preset_from_dict
    from symgnn.experiments.paper.runs import read_json

    rates: dict[tuple[str, float], list[float]] = {}
    for path in sorted((out / "runs").glob("*/time.json")):
        about, values = read_json(path), read_json(path.with_name("preset.json"))
        if about is None or values is None or not about["step"] or not path.with_name("last.ckpt").is_file():
            continue  # figures of another machine come without weights
        model = preset_from_dict(values, str(path)).model
        rates.setdefault((model.network, model.width), []).append(about["seconds"] / about["step"])
    return [
        f"measured here: {network} at width {width:g} took {1000 * sum(each) / len(each):,.0f} ms a step, "
        f"{duration(1000 * sum(each) / len(each))} for 1,000 steps"
        for (network, width), each in sorted(rates.items())
    ]
