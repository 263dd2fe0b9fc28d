"""The demo: train on the built-in motion, judge, and write a report to look at."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from symgnn.config import Preset
from symgnn.data import make_motion
from symgnn.errors import InputError
from symgnn.evaluation import Result, evaluate, load_protocol
from symgnn.experiments.report import answers, picture, report_data
from symgnn.models.checkpoint import load
from symgnn.training import Run, train
from symgnn.viz import report_page, write_page

MARK = "demo.txt"
"""Says that a folder is a demo's, to be replaced by the next one."""

_ABOUT = """This folder was written by `symgnn demo`; the next demo replaces it.

report.html   what the model learned, to look at
picture.svg   one prediction in a strip
motion/       the built-in motion, a store
run/          checkpoints and logs of the training
"""


@dataclass(frozen=True)
class Demo:
    """What a demo left behind."""

    run: Run
    result: Result | None
    """None where the training was interrupted."""
    report: Path
    seconds: float


def demo(folder: Path, preset: Preset, *, say: Callable[[str], None] = print, progress: bool = True) -> Demo:
    """Make motion, train, evaluate beside zero-velocity, write ``report.html``.

    Args:
        folder: where to; an earlier demo there is replaced, anything else is left alone.
        preset: ``demo``, or one like it.
        say: told about each stage.
        progress: show progress bars.

    Raises:
        InputError: the folder holds something else, or cannot be written.
    """
    began = time.perf_counter()
    if folder.exists() and not (folder.is_dir() and ((folder / MARK).is_file() or not any(folder.iterdir()))):
        raise InputError(f"{folder}: holds something that is no demo; choose another --out")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / MARK).write_text(_ABOUT, encoding="utf-8")

    say("1/4  making motion: 32 clips of each of 8 movements by 16 made-up people")
    store = make_motion(folder / "motion", in_place=True)
    training = preset.training
    say(f"2/4  training on 12 of the people: {training.steps} steps of {training.batch} windows")
    run = train(preset, store, folder / "run", progress=progress)
    report = folder / "report.html"
    if run.interrupted:
        return Demo(run, None, report, time.perf_counter() - began)

    say("3/4  evaluating on the other 4 people")
    model = load(run.last)
    data = preset.data
    protocol = load_protocol(preset.protocol, observed=data.observed, future=data.future, step=data.step)
    with answers(model) as answered:
        result = evaluate(model, protocol, store, progress=progress)
    say("4/4  writing the report")
    seconds = time.perf_counter() - began
    figures = report_data(
        model,
        protocol,
        store,
        result,
        answered,
        title="Sym-GNN on the built-in motion",
        run=run.folder,
        notes=(
            "The people here are made up: a program moves a skeleton by formulas, with a build, a tempo and habits of its own "
            "for each of 16 people, all of them on one spot as on a treadmill. The model learned from 12 of them and is judged "
            "on the 4 it never saw. The figures show that it works; they say nothing about real recordings.",
        ),
        facts={
            "time": f"{seconds:.0f} s for everything, on {torch.get_num_threads()} CPU threads"
            if not torch.cuda.is_available()
            else f"{seconds:.0f} s for everything, with {torch.cuda.get_device_name()}",
            "checkpoint": str(run.last),
            "command": f"symgnn demo --out {folder}",
        },
    )
    write_page(report, report_page(figures))
    if result.errors is not None:
        write_page(folder / "picture.svg", picture(figures).standalone())
    return Demo(run, result, report, seconds)
