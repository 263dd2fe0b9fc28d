"""The paper's tables from one command: records, plans, addresses, and what is printed."""

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from torch import distributed

from symgnn.cli import main
from symgnn.config import Preset, load_preset, preset_names
from symgnn.data import Store, open_data
from symgnn.errors import InputError
from symgnn.experiments.paper import exchange, report, runner, runs
from symgnn.experiments.paper import sheet as sheets
from symgnn.experiments.paper.numbers import paper_table
from symgnn.experiments.paper.records import Judge, Record, Row, Setting, check, find_record, records, resolve
from symgnn.experiments.paper.report import sheet_html, sheet_text
from symgnn.experiments.paper.runner import Options, Plan, parse_duration, plan, run
from symgnn.experiments.paper.runs import Trained, machine
from symgnn.experiments.paper.sheet import RELATIVE, interval, sheet
from symgnn.files import write_whole
from symgnn.models.checkpoint import snapshot_files

ACTIONS = ("basketball", "jumping", "running", "soccer", "walking")


@pytest.fixture
def tiny_preset(tmp_path: Path) -> str:
    path = tmp_path / "tiny.yaml"
    path.write_text(
        "extends: demo\ndescription: tiny\n"
        "data: {observed: 12, future: 4}\nmodel: {width: 0.05}\n"
        "training: {steps: 20, batch: 4, validate_every: 10}\n"
    )
    return str(path)


@pytest.mark.parametrize("name", list(records()))
def test_every_row_is_a_preset_and_has_its_paper_row(name: str):
    record = records()[name]
    check(record)
    for row, each in record.rows.items():
        if each.blocked:
            continue
        for setting in (*record.settings, *record.elsewhere.values()):
            preset = resolve(record, row, setting, setting.preset)
            for field, value in each.set.items() if each.network == "sym-gnn" else ():
                section, _, key = field.partition(".")
                found = getattr(getattr(preset, section), key)
                assert (list(found) if isinstance(value, list) else found) == value, (row, field)


def test_tables_and_figures_are_all_there():
    wanted = [f"table{number}" for number in range(1, 16)] + [f"fig{number}" for number in range(8, 16)]
    assert list(records()) == [*wanted, "recipe"]
    assert find_record("Table 7") is find_record("table7") and find_record("Fig. 8").name == "fig8"
    with pytest.raises(InputError, match="did you mean table7"):
        find_record("tabel7")


def test_mean_of_the_five_actions_of_table_7():
    """As ``protocols`` of the benchmark give it: .260 .400 .770 .878 1.156."""
    table = paper_table("table7")
    means = [sum(table.value("Sym-GNN", action, time) for action in ACTIONS) / 5 for time in (80, 160, 320, 400, 1000)]
    assert means == pytest.approx([0.260, 0.400, 0.770, 0.878, 1.156], abs=6e-4)


@pytest.mark.parametrize(("text", "seconds"), [("30m", 1800), ("2h", 7200), ("90s", 90), ("1h30m", 5400), ("1.5h", 5400)])
def test_durations(text: str, seconds: float):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "m", "0s", "1h x"])
def test_no_durations(text: str):
    with pytest.raises(InputError, match="--budget"):
        parse_duration(text)


def test_interval_of_a_mean_by_hand():
    """Of 1, 2, 3: s = 1, and Student's t with two degrees of freedom is 4.3027."""
    assert interval([1.0, 2.0, 3.0]) == pytest.approx(4.302653 / 3**0.5, rel=1e-6)
    assert interval([1.0]) is None


def test_addresses_follow_settings_and_data(motion: Store, tmp_path: Path):
    preset = load_preset("demo")
    one = Trained(preset, None, motion, tmp_path)
    assert one.address == Trained(replace(preset, name="other", description="other"), None, motion, tmp_path / "x").address
    seeded = replace(preset, training=replace(preset.training, seed=1))
    wider = replace(preset, model=replace(preset.model, width=0.2))
    other = replace(motion, about={**motion.about, "sha256": {"frames.npy": "0"}})
    addresses = {one.address, *(Trained(each, None, motion, tmp_path).address for each in (seeded, wider))}
    addresses |= {Trained(preset, None, other, tmp_path).address, Trained(preset, "zero-velocity", motion, tmp_path).address}
    assert len(addresses) == 5


def test_fields_that_came_later_leave_old_runs_where_they_are(motion: Store, tmp_path: Path):
    """The address as it was before presets had ``model.joint``."""
    old = replace(motion, about={**motion.about, "sha256": {"frames.npy": "0"}})
    preset = Preset(name="a", description="", protocol="demo")
    assert Trained(preset, None, old, tmp_path).address == "65f0b8d76c41"
    alone = replace(preset, model=replace(preset.model, joint=False))
    assert Trained(alone, None, old, tmp_path).address != "65f0b8d76c41"


def _record() -> Record:
    rows = {"Sym-GNN": Row(), "no mirroring": Row(set={"training.mirror": 0.0}), "ZeroV": Row(baseline="zero-velocity")}
    return Record(name="recipe", about="a trial", settings=(Setting(preset="demo"),), shows="mean-errors", rows=rows)


def _plan(motion: Store, out: Path, preset: str, **options) -> Plan:
    return plan(_record(), Options(out=out, stores=(motion,), folders=(str(motion.path),), preset=preset, **options), print)


def test_steps_are_the_least_of_what_is_asked_for(motion: Store, tmp_path: Path, tiny_preset: str):
    whole, short = _plan(motion, tmp_path, tiny_preset), _plan(motion, tmp_path, tiny_preset, steps=10)
    steps = [(job.trained.preset.training.steps, job.trained.baseline) for job in short.jobs]
    assert [job.trained.preset.training.steps for job in whole.jobs] == [20, 20, 20]
    assert steps[:2] == [(10, None), (10, None)] and steps[2][1] == "zero-velocity"
    assert {job.trained.address for job in short.jobs[:2]}.isdisjoint(job.trained.address for job in whole.jobs[:2])
    assert [job.trained.preset.training.steps for job in _plan(motion, tmp_path, tiny_preset, steps=99).jobs] == [20, 20, 20]
    assert short.scale.startswith("not a reproduction") and not whole.faithful
    # Whole intervals alone are trained, and the same plan is found again.
    assert all(job.trained.preset.training.steps % job.trained.preset.training.validate_every == 0 for job in short.jobs)
    assert [job.trained.address for job in _plan(motion, tmp_path, tiny_preset, steps=10).jobs] == [
        job.trained.address for job in short.jobs
    ]


def test_a_row_is_trained_once_and_its_figures_kept(motion: Store, tmp_path: Path, tiny_preset: str):
    made = _plan(motion, tmp_path, tiny_preset, steps=10, only=("Sym-GNN",))
    (job,) = made.jobs
    job.trained.train("cpu", progress=False)
    assert job.trained.finished and job.trained.step == 10
    before = (job.trained.folder / "last.ckpt").stat().st_mtime_ns
    judged = job.trained.judged(_record().rows["Sym-GNN"].judge, "last")
    _plan(motion, tmp_path, tiny_preset, steps=10, only=("Sym-GNN",)).jobs[0].trained.train("cpu", progress=False)
    assert (job.trained.folder / "last.ckpt").stat().st_mtime_ns == before
    (job.trained.folder / "last.ckpt").unlink()  # figures that are kept need no weights
    assert job.trained.judged(_record().rows["Sym-GNN"].judge, "last") == judged
    lines = {line.name: line for line in sheet(made).lines}
    assert lines["Sym-GNN"].steps == 10 and lines["Sym-GNN"].seeds == 1


def test_zero_velocity_of_table_7(shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The mean over the five actions, computed apart from this package: .419 .702 1.205 1.366 1.916."""
    out = tmp_path / "paper"
    folder = str(shared_data / "cmu_mocap")
    assert main(["paper", "run", "table7", "--data", folder, "--only", "ZeroV", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert all(figure in printed for figure in ("0.419", "0.702", "1.205", "1.366", "1.916"))
    page = tmp_path / "page.html"
    assert main(["paper", "report", "--out", str(out), "--html", str(page)]) == 0
    assert "Table 7" in page.read_text(encoding="utf-8") and "1.916" in page.read_text(encoding="utf-8")


def test_tasks_of_an_array_are_commands(shared_data: Path, tmp_path: Path):
    """Run in bash with a command of that name that says what it was given."""
    script, out, folder = tmp_path / "job.sh", str(tmp_path / "o"), str(shared_data / "cmu_mocap")
    words = ["paper", "run", "table14", "--on", "cmu", "--steps", "10", "--data", folder, "--out", out, "--slurm", str(script)]
    assert main([*words, "--selection", "validation", "--device", "cpu", "--seed", "3"]) == 0
    fake = tmp_path / "bin" / "symgnn"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\nfor word in "$@"; do echo "$word"; done\n')
    fake.chmod(0o755)
    environment = {**os.environ, "PATH": f"{fake.parent}:{os.environ['PATH']}", "SLURM_ARRAY_TASK_ID": "1"}
    done = subprocess.run(["bash", script], env=environment, capture_output=True, text=True, check=True)
    given = done.stdout.splitlines()
    assert given[:3] == ["paper", "run", "table14"]
    assert given[given.index("--only") + 1] == "β = 0, 1" and given[given.index("--steps") + 1] == "10"
    assert given[given.index("--selection") + 1] == "validation" and given[given.index("--device") + 1] == "cpu"
    assert given[given.index("--seed") + 1] == "3"
    assert "#SBATCH --array=0-2" in script.read_text()


def test_rows_of_one_network_are_one_task(shared_data: Path, tmp_path: Path):
    """Fig. 14 judges one network in eleven ways; tasks beside the one that trains it would find it taken."""
    script, folder = tmp_path / "job.sh", str(shared_data / "cmu_mocap")
    words = ["paper", "run", "fig14", "--on", "cmu", "--steps", "10", "--data", folder, "--out", str(tmp_path / "o")]
    assert main([*words, "--slurm", str(script)]) == 0
    text = script.read_text()
    assert "#SBATCH --array=0-0\n" in text and text.count("--only") == 1 and "trainings: 1, one a task" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["table99"], "no table or figure"),
        (["table7", "--steps", "0"], "--steps"),
        (["table7", "--steps", "5", "--budget", "3m"], "--steps"),
        (["table7", "--budget", "soon"], "--budget"),
        (["table7", "--seeds", "0"], "--seeds"),
        (["table7", "--on", "cmu"], "not carried"),
        (["table7"], "--data"),
    ],
)
def test_wrong_words_get_a_line_and_code_2(words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["paper", "run", *words, "--out", str(tmp_path)]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and said in lines[0]


def test_list_names_everything(capsys: pytest.CaptureFixture[str]):
    assert main(["paper", "list"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in records())


def test_a_table_with_rows_that_cannot_be_run_is_planned_all_the_same(motion: Store, tmp_path: Path, tiny_preset: str):
    record = find_record("table3")
    rows = {name: record.rows[name] for name in ("HCN", "linear", "nearest neighbour", "Sym-GNN")}
    rows["HCN"] = replace(rows["HCN"], blocked="for a reason")
    trial = Record(name="recipe", about="a trial", settings=(Setting(preset="demo"),), shows="accuracy", rows=rows)
    made = plan(trial, Options(out=tmp_path, stores=(motion,), folders=(), preset=tiny_preset, steps=10), print)
    assert [job.row for job in made.jobs] == ["linear", "nearest neighbour", "Sym-GNN"]
    assert made.missing == ("HCN: for a reason",)
    assert "at width 0.05" in made.scale


def test_a_preset_is_trained_on_its_own_body_alone(motion: Store, tmp_path: Path, tiny_preset: str):
    """Of a table with two data sets, --preset leaves out the one it cannot be trained on, and says so."""
    options = Options(out=tmp_path, stores=(motion,), folders=(), preset=tiny_preset)
    two = replace(_record(), settings=(Setting(preset="h36m-long"), Setting(preset="demo")))
    made = plan(two, options, print)
    assert {job.setting.preset for job in made.jobs} == {"demo"}
    assert made.missing == (f"h36m-long: --preset {tiny_preset} is of another body than its data",)
    with pytest.raises(
        InputError, match=rf"needs data of layout h36m, .* {motion.path} has layout {motion.layout.name}, space xyz"
    ):
        plan(replace(_record(), settings=(Setting(preset="h36m-long"),)), replace(options, preset=None), print)
    with pytest.raises(InputError, match="another body"):
        plan(replace(_record(), settings=(Setting(preset="h36m-long"),)), options, print)


def test_a_report_shows_what_was_asked_for(shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = ["paper", "run", "table7", "--data", str(shared_data / "cmu_mocap"), "--out", str(tmp_path), "--only"]
    assert main([*words, "ZeroV"]) == main([*words, "Running average of 2"]) == 0
    capsys.readouterr()
    page = tmp_path / "page.html"
    assert main(["paper", "report", "--out", str(tmp_path), "--html", str(page)]) == 0
    printed = capsys.readouterr().out
    assert "ZeroV" in printed and "Running average of 2" in printed
    assert "Running average of 4" not in printed and "siMLPe" not in printed
    assert "--only ZeroV --only" in page.read_text(encoding="utf-8")


def test_plans_made_at_once_lose_nothing(motion: Store, tmp_path: Path, tiny_preset: str):
    """As tasks of an array do: every seed is in the plan that a report reads."""
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda seed: _plan(motion, tmp_path, tiny_preset, steps=10, seeds=(seed,)), range(6)))
    (path,) = (tmp_path / "tables").glob("*.json")
    assert json.loads(path.read_text())["seeds"] == [0, 1, 2, 3, 4, 5]


def _judged_as(patch: pytest.MonkeyPatch, found: Callable[[Trained], dict[str, Any]]) -> None:
    """Results that need no training."""
    nothing = {"missing": [], "average": {}, "actions": {}, "top1": None, "top1_interval": None, "top5": None}
    patch.setattr(Trained, "finished", True)
    patch.setattr(Trained, "judged", lambda self, *_: {**nothing, **found(self)})


def _errors(errors: dict[str, dict[int, float]]) -> dict[str, Any]:
    """A result's errors of each action and time."""
    times = [str(time) for time in next(iter(errors.values()))]
    actions = {name: {"angle_mae": {str(time): value for time, value in each.items()}} for name, each in errors.items()}
    average = {time: sum(each["angle_mae"][time] for each in actions.values()) / len(actions) for time in times}
    return {"actions": actions, "average": {"angle_mae": average}}


def _printed(made: Plan) -> str:
    console = Console(width=200, file=io.StringIO())
    console.print(sheet_text(sheet(made)))
    return console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


def test_an_interval_stands_beside_the_accuracy_it_is_of(motion: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Two benchmarks whose numbers lie in each other's intervals, and a top-5 that does too."""
    results = {
        4: {"top1": 0.50, "top1_interval": [0.41, 0.61], "top5": 0.55},
        5: {"top1": 0.45, "top1_interval": [0.32, 0.62], "top5": 0.58},
    }
    _judged_as(monkeypatch, lambda run: results[run.preset.data.future])
    settings = tuple(Setting(preset="demo", group=name, set={"data.future": future}) for name, future in (("A", 4), ("B", 5)))
    record = Record(name="recipe", about="a trial", settings=settings, shows="accuracies", rows={"Sym-GNN": Row()})
    made = plan(record, Options(out=tmp_path, stores=(motion,), folders=()), print)
    (line,) = sheet(made).lines
    assert {column: cell.wilson for column, cell in line.cells.items()} == {
        ("A", "Top-1"): pytest.approx((41, 61)),
        ("A", "Top-5"): None,
        ("B", "Top-1"): pytest.approx((32, 62)),
        ("B", "Top-5"): None,
    }
    printed = _printed(made)
    assert "50.0 [41.0, 61.0]" in printed and "45.0 [32.0, 62.0]" in printed and printed.count("[") == 2


def test_the_row_of_reference_is_the_network_of_the_paper():
    for name, record in records().items():
        if record.reference not in record.rows:
            assert name in ("fig9", "fig15")  # pairs at each ratio; and a quantity of one network
            continue
        for setting in record.settings:
            made = resolve(record, record.reference, setting, setting.preset)
            plain = resolve(replace(record, rows={record.reference: Row()}), record.reference, setting, setting.preset)
            assert (made.model, made.training) == (plain.model, plain.training), name
    with pytest.raises(InputError, match="no row '5%'"):
        check(replace(records()["table9"], reference="5%"))


def test_rows_are_compared_with_the_row_of_reference(motion: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """By hand: differences of 10 and 12 points have the mean 11 and an interval of 12.706 · 1.414 / 1.414 = 12.706."""
    top1 = {(0, 0.0): 0.70, (1, 0.0): 0.72, (0, 0.1): 0.60, (1, 0.1): 0.60}
    _judged_as(monkeypatch, lambda run: {"top1": top1[run.preset.training.seed, run.preset.training.noisy_targets]})
    rows = {"0%": Row(), "10%": Row(set={"training.noisy_targets": 0.1})}
    record = Record(name="recipe", about="", settings=(Setting(preset="demo"),), shows="accuracy", rows=rows, reference="0%")
    made = plan(record, Options(out=tmp_path, stores=(motion,), folders=(), seeds=(0, 1)), print)
    assert sheet(made).compared == ("0% less 10%, 2 seeds: ours +11.000 ± 12.706 (inside the noise)",)


def test_errors_stand_beside_their_ratio_to_zero_velocity(motion: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Two actions and five times by hand: halves of one, three quarters of the other; 560 ms does not count."""
    times = (80, 160, 320, 400, 560, 1000)
    walk, run = motion.class_names[:2]
    zero = {walk: {time: time / 100 for time in times}, run: {time: time / 10 for time in times}}
    mine = {walk: {time: time / 200 for time in times}, run: {time: 0.75 * time / 10 for time in times}}
    mine[walk][560] = 99.0
    short = {name: {time: value for time, value in each.items() if time < 1000} for name, each in mine.items()}

    def found(run: Trained) -> dict[str, Any]:
        return _errors(zero if run.baseline else short if run.preset.data.future == 4 else mine)

    _judged_as(monkeypatch, found)
    monkeypatch.setattr(Trained, "actions", lambda *_: (walk, run))
    rows = {"Sym-GNN": Row(), "short": Row(set={"data.future": 4}), "ZeroV": Row(baseline="zero-velocity")}
    record = replace(_record(), rows=rows)
    made = plan(record, Options(out=tmp_path, stores=(motion,), folders=()), print)
    shares = {line.name: line.cells[RELATIVE].mean for line in sheet(made).lines if RELATIVE in line.cells}
    assert shares == {"Sym-GNN": pytest.approx(0.625), "ZeroV": pytest.approx(1.0)}
    assert "/ ZeroV" in _printed(made)
    alone = plan(record, replace(made.options, only=("Sym-GNN",)), print)
    assert RELATIVE not in sheet(alone).columns


def test_actions_of_held_out_recordings_are_no_test_data(motion: Store, tmp_path: Path):
    """Without a single test clip of a class, it is covered where a training recording of it was held out."""
    clips = tuple(replace(clip, split="other") if clip.label == 0 and clip.split == "test" else clip for clip in motion.clips)
    preset = load_preset("demo")
    preset = replace(preset, training=replace(preset.training, validation=0.3))
    run = Trained(preset, None, replace(motion, clips=clips), tmp_path)
    first = motion.class_names[0]
    assert first not in run.actions(Judge()) and len(run.actions(Judge())) == len(motion.class_names) - 1
    assert first in run.actions(Judge(held_out=True))


def test_graphs_and_hops_stand_in_one_column(motion: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Of Table 12 the paper has 0.622 for Only J-S, Γ = 1, 0.618 for Only J-A and 0.616 for full, Γ = 1."""
    action = motion.class_names[0]
    _judged_as(monkeypatch, lambda _: _errors({action: {80: 0.5, 400: 0.7}}))
    monkeypatch.setattr(Trained, "actions", lambda *_: (action,))
    record = replace(records()["table12"], settings=(Setting(preset="demo"),))
    made = plan(record, Options(out=tmp_path, stores=(motion,), folders=()), print)
    found = sheet(made)
    assert len(found.columns) == 1 and all(len(line.cells) == 1 for line in found.lines)
    paper = {line.name: cell.paper for line in found.lines for cell in line.cells.values()}
    wanted = {"Only J-S, Γ = 1": 0.622, "Only J-S, Γ = 4": 0.618, "Only J-A": 0.618, "Only P": 0.615, "full, Γ = 1": 0.616}
    assert {name: paper[name] for name in wanted} == wanted
    assert "0.600 (0.616, -0.016)" in _printed(made)


def test_what_a_note_tells_to_type_is_there():
    """Fig. 10's other half is of other data than its record: no option of paper run brings it."""
    note = records()["fig10"].note
    assert note is not None and "--preset" not in note and "train ntu60-xsub --model.actional-weight" in note
    assert records()["fig10"].settings[0].preset == "h36m-short" and "ntu60-xsub" in preset_names()


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (["--seed", "3"], ["--seed 3"]),
        (["--seeds", "2", "--selection", "validation"], ["--selection validation", "--seeds 2"]),
        (["--seed", "0"], ["table7 --data"]),
    ],
)
def test_a_report_tells_the_command_of_its_plan(
    asked: list[str], told: list[str], shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words = ["paper", "run", "table7", "--data", str(shared_data / "cmu_mocap"), "--out", str(tmp_path), "--only", "ZeroV"]
    assert main([*words, *asked]) == 0
    page = tmp_path / "page.html"
    assert main(["paper", "report", "--out", str(tmp_path), "--html", str(page)]) == 0
    (command,) = re.findall(r"<code>(symgnn paper run .*?)</code>", page.read_text(encoding="utf-8"))
    assert all(part in command for part in told)
    assert command.count("--seed") == len([word for word in asked if word.startswith("--seed") and asked != ["--seed", "0"]])
    capsys.readouterr()


def test_a_time_is_for_the_trainings_that_are_asked_for(
    motion: Store, tmp_path: Path, tiny_preset: str, monkeypatch: pytest.MonkeyPatch
):
    """A step takes a second: 20 s are 10 steps of each of two rows, or all 20 of one."""
    monkeypatch.setattr(runner, "seconds_a_step", lambda *_: 1.0)

    def steps(made: Plan) -> dict[str, int]:
        return {job.row: job.trained.preset.training.steps for job in made.jobs if job.trained.baseline is None}

    assert steps(_plan(motion, tmp_path / "both", tiny_preset, budget=20.0)) == {"Sym-GNN": 10, "no mirroring": 10}
    one = _plan(motion, tmp_path / "one", tiny_preset, budget=20.0, only=("Sym-GNN",))
    assert steps(one) == {"Sym-GNN": 20}
    # A row that is asked for later has that command's time, and what was planned stays.
    monkeypatch.setattr(runner, "seconds_a_step", lambda *_: 2.0)
    assert steps(_plan(motion, tmp_path / "one", tiny_preset, budget=20.0)) == {"Sym-GNN": 20, "no mirroring": 10}
    assert steps(_plan(motion, tmp_path / "one", tiny_preset, budget=20.0, only=("no mirroring",))) == {"no mirroring": 10}


def test_rows_of_one_training_share_no_time(motion: Store, tmp_path: Path, tiny_preset: str, monkeypatch: pytest.MonkeyPatch):
    """The small preset is for where not one of 20 steps fits: two do into 2 s, as five rows are one training."""
    monkeypatch.setattr(runner, "seconds_a_step", lambda *_: 1.0)
    rows = {str(noise): Row(judge=Judge(noise=noise)) for noise in (0.0, 0.1, 0.2, 0.3, 0.4)}
    settings = (Setting(preset=tiny_preset, small="demo"),)
    record = Record(name="recipe", about="a trial", settings=settings, shows="mean-error", rows=rows)
    options = Options(out=tmp_path, stores=(motion,), folders=(), budget=2.0)
    made = plan(record, options, print)
    assert made.preset == tiny_preset and len({job.trained.address for job in made.jobs}) == 1


def test_a_file_is_no_folder_of_runs(motion: Store, tmp_path: Path, tiny_preset: str, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "taken").write_text("")
    for out in (tmp_path / "taken", tmp_path / "taken" / "below"):
        with pytest.raises(InputError, match=r"--out .*is a file"):
            _plan(motion, out, tiny_preset)
    assert main(["paper", "report", "--out", str(tmp_path / "taken")]) == 2
    assert "is a file" in capsys.readouterr().err


def test_validation_weights_need_recordings_that_are_held_out(motion: Store, tmp_path: Path, tiny_preset: str):
    """Said before anything is trained, and no plan is left behind."""
    held = _plan(motion, tmp_path, tiny_preset, selection="validation")
    assert len(held.jobs) == 3
    nothing = tmp_path / "nothing.yaml"
    nothing.write_text(f"extends: {tiny_preset}\ndescription: none\ntraining: {{validation: 0.0}}\n")
    with pytest.raises(InputError, match="--selection validation: Sym-GNN holds no recording out"):
        _plan(motion, tmp_path / "o", str(nothing), selection="validation")
    assert not list((tmp_path / "o" / "tables").glob("*.json"))
    assert _plan(motion, tmp_path / "o", str(nothing), selection="validation", only=("ZeroV",)).jobs


def test_numbers_of_another_paper_are_called_that(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    actions = {action: dict.fromkeys((80, 160, 320, 400, 1000), 0.5) for action in ACTIONS}
    _judged_as(monkeypatch, lambda _: _errors(actions))
    store = open_data(shared_data / "cmu_mocap")
    options = Options(out=tmp_path, stores=(store,), folders=("DIR",), preset="cmu-long-cpu")
    source = 'W. Mao, M. Liu, M. Salzmann, H. Li, "Learning Trajectory Dependencies'
    for row, theirs, said in (("DCT-GCN", 0.296, source), ("Res-sup", 0.404, None), ("siMLPe", None, None)):
        found = sheet(plan(records()["table7"], replace(options, only=(row,)), print))
        (line,) = found.lines
        paper = line.cells["mean", 80].paper
        assert paper == (None if theirs is None else pytest.approx(theirs, abs=5e-4))
        notes = [note for note in found.notes if "not in the paper" in note]
        assert not notes if said is None else len(notes) == 1 and f"{row} is not in the paper" in notes[0] and said in notes[0]
    monkeypatch.setattr(Trained, "finished", False)
    waiting = sheet(plan(records()["table7"], replace(options, only=("DCT-GCN",)), print))
    assert not any("not in the paper" in note for note in waiting.notes)


def test_per_cell_minima_are_of_trainings_and_a_table_of_their_own(shared_data: Path, tmp_path: Path):
    """Weights of the same steps end the same, and no cell is above theirs; zero-velocity has nothing to choose from."""
    store = open_data(shared_data / "cmu_mocap")
    options = Options(
        out=tmp_path, stores=(store,), folders=("DIR",), preset="cmu-long-cpu", steps=10, only=("ZeroV", "siMLPe")
    )
    record = records()["table7"]
    final = plan(record, options, print)
    least = plan(record, replace(options, selection="per-cell-minimum"), print)
    assert (final.name, least.name) == ("table7.cmu-long-cpu.10-steps", "table7.cmu-long-cpu.10-steps.per-cell-minimum")
    cells = {}
    for made in (final, least):
        run(made, print, progress=False)
        cells[made.name] = {line.name: line.cells for line in sheet(made).lines}
    of_final, of_least = cells.values()
    assert {job.trained.address for job in final.jobs} != {job.trained.address for job in least.jobs}
    pairs = [(of_final["siMLPe"][column].mean, cell.mean) for column, cell in of_least["siMLPe"].items()]
    assert all(mine <= theirs for theirs, mine in pairs) and any(mine < theirs for theirs, mine in pairs)
    assert {column: cell.mean for column, cell in of_least["ZeroV"].items()} == {
        column: cell.mean for column, cell in of_final["ZeroV"].items()
    }
    assert "test data; means are over these" in " ".join(sheet(least).notes)
    assert "test data; means are over these" not in " ".join(sheet(final).notes)
    # Its snapshots gone, it says how to get them back, and figures that are kept need none.
    (trained,) = (job.trained for job in least.jobs if job.row == "siMLPe")
    for path in snapshot_files(trained.folder):
        path.unlink()
    assert {line.name: line.cells for line in sheet(least).lines} == cells[least.name]
    with pytest.raises(InputError, match="its snapshots are gone; delete the folder"):
        next(trained.snapshots())


@pytest.mark.parametrize(("table", "on"), [("table15", "cmu"), ("table4", None), ("table14", "cmu")])
def test_per_cell_minima_are_of_errors_of_actions(table: str, on: str | None, motion: Store, tmp_path: Path):
    """Said before anything is measured."""
    options = Options(out=tmp_path, stores=(motion,), folders=("DIR",), on=on, selection="per-cell-minimum", budget=60.0)
    with pytest.raises(InputError, match=rf"{table} shows no errors of each action at each time \(tables 5 to 8 do\)"):
        plan(records()[table], options, print)


def test_other_weights_have_as_many_steps(motion: Store, tmp_path: Path, tiny_preset: str, monkeypatch: pytest.MonkeyPatch):
    """Under a time: what is judged by its best validation is the training that is there, not one that is measured anew."""
    monkeypatch.setattr(runner, "seconds_a_step", lambda *_: 0.5)
    final = _plan(motion, tmp_path, tiny_preset, budget=14.0)
    monkeypatch.setattr(runner, "seconds_a_step", lambda *_: 0.1)
    best = _plan(motion, tmp_path, tiny_preset, budget=14.0, selection="validation")
    assert best.name == f"{final.name}.validation"
    assert [job.trained.address for job in best.jobs] == [job.trained.address for job in final.jobs]
    assert 0 < final.jobs[0].trained.preset.training.steps < 20


def test_a_plan_under_an_old_name_is_not_the_end_of_a_report(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words = ["--data", str(shared_data / "cmu_mocap"), "--out", str(tmp_path), "--only", "ZeroV"]
    assert main(["paper", "run", "table7", *words, "--selection", "validation"]) == 0
    tables = tmp_path / "tables"
    (tables / "table7.validation.json").rename(tables / "table7.json")
    assert main(["paper", "run", "table7", *words, "--preset", "cmu-long-cpu"]) == 0
    capsys.readouterr()
    assert main(["paper", "report", "--out", str(tmp_path)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "was planned by an older version; delete it" in shown and "1.916" in shown


@pytest.mark.parametrize("place", ["symgnn.experiments.paper.runner.plan", "symgnn.experiments.paper.sheet.sheet"])
def test_after_ctrl_c_the_same_command_goes_on(
    place: str, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(place, stop)
    words = ["paper", "run", "table7", "--data", str(shared_data / "cmu_mocap"), "--only", "ZeroV", "--out", str(tmp_path)]
    assert main(words) == 130
    assert f"interrupted; go on with: symgnn {' '.join(words)}" in capsys.readouterr().err


@pytest.mark.skipif(not distributed.is_gloo_available(), reason="PyTorch was built without gloo")
def test_torchrun_plans_once(motion: Store, tmp_path: Path, tiny_preset: str):
    """Each of two processes would measure another time of a step: 10 steps of the first, 20 of the second."""
    program = tmp_path / "program.py"
    program.write_text(
        "import os, sys\n"
        "from pathlib import Path\n"
        "import test_paper_command as here\n"
        "from symgnn.data import Store\n"
        "from symgnn.experiments.paper import runner\n"
        "rank = int(os.environ['RANK'])\n"
        "runner.seconds_a_step = lambda *_: 2.0 - rank\n"
        "made = here._plan(Store.open(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], budget=20.0, only=('Sym-GNN',))\n"
        "Path(sys.argv[2], f'{rank}.txt').write_text(str(made.jobs[0].trained.preset.training.steps))\n"
    )
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(program)]
    places = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [*torchrun, str(motion.path), str(tmp_path), tiny_preset],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(places), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [(tmp_path / f"{rank}.txt").read_text() for rank in (0, 1)] == ["10", "10"]


def test_more_frames_are_better_and_are_those_of_this_machine(motion: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Two networks with 30 and 50 frames, errors 0.2 and 0.1: bold are 50 and 0.1. On another machine it is measured anew."""
    action = motion.class_names[0]
    _judged_as(monkeypatch, lambda run: _errors({action: {400: 0.2 if run.preset.model.agim_iterations == 0 else 0.1}}))
    monkeypatch.setattr(Trained, "actions", lambda *_: (action,))
    monkeypatch.setattr(Trained, "model", lambda run, _: run)
    factor = 1.0

    def frames_in(_: float, run: Trained) -> dict[str, float]:
        return {"frames": factor * (30.0 if run.preset.model.agim_iterations == 0 else 50.0)}

    monkeypatch.setattr(sheets, "frames_in", frames_in)
    rows = {"0": Row(set={"model.agim_iterations": 0}), "1": Row(set={"model.agim_iterations": 1})}
    record = replace(records()["fig8"], settings=(Setting(preset="demo"),), rows=rows)
    made = plan(record, Options(out=tmp_path, stores=(motion,), folders=()), print)
    page = sheet_html(sheet(made), "")
    assert "<b>50.000</b>" in page and "<b>0.100</b>" in page and page.count("<b>") == 3
    assert f"Means are over {action}: " in page and f"Speed is that of {machine('auto')}" in page
    factor = 2.0
    assert "<b>50.000</b>" in sheet_html(sheet(made), "")
    monkeypatch.setattr(sheets, "machine", lambda _: "another")
    assert "<b>100.000</b>" in sheet_html(sheet(made), "") and "Speed is that of another" in sheet_html(sheet(made), "")


def test_held_out_tables_say_which_actions_they_are_of(motion: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    action = motion.class_names[0]
    _judged_as(monkeypatch, lambda _: _errors({action: {400: 0.2}}))
    monkeypatch.setattr(Trained, "actions", lambda *_: (action,))
    record = replace(_record(), rows={"Sym-GNN": Row(judge=Judge(held_out=True))})
    made = plan(record, Options(out=tmp_path, stores=(motion,), folders=()), print)
    assert f"Means are over {action}: the actions that have recordings to train on and others that are held out" in _printed(
        made
    )


def test_time_is_noted_with_each_checkpoint(motion: Store, tmp_path: Path, tiny_preset: str, monkeypatch: pytest.MonkeyPatch):
    """What a kill leaves says its step and its minutes; a run that goes on adds to them."""
    noted: list[dict[str, Any]] = []

    def write(path: Path, content: bytes) -> None:
        if path.name == "time.json":
            noted.append(json.loads(content))
        write_whole(path, content)

    monkeypatch.setattr(runs, "write_whole", write)
    (job,) = _plan(motion, tmp_path, tiny_preset, only=("Sym-GNN",)).jobs
    job.trained.train("cpu", progress=False)
    assert [each["step"] for each in noted] == [10, 20, 20]
    seconds = [each["seconds"] for each in noted]
    assert 0 < seconds[0] < seconds[1] < seconds[2] and len({each["parameters"] for each in noted}) == 1
    (line,) = sheet(_plan(motion, tmp_path, tiny_preset, only=("Sym-GNN",))).lines
    assert line.seconds == seconds[2]
    minutes = {5400.0: "90", 150.0: "2.5", 30.0: "0.5", 2.0: "0.033"}
    assert [report._facts(replace(line, seconds=each))[1] for each in minutes] == list(minutes.values())
    assert f"Trained on {machine('cpu')}." in _printed(_plan(motion, tmp_path, tiny_preset, only=("Sym-GNN",)))


def test_a_report_goes_on_without_what_cannot_be_shown(shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Three plans of one table: one of recordings that are not there any more, one that says nothing of its data besides."""
    out, moved = tmp_path / "o", tmp_path / "moved"
    cmu = str(shared_data / "cmu_mocap")
    moved.symlink_to(cmu)
    assert main(["paper", "run", "table7", "--data", cmu, "--only", "ZeroV", "--out", str(out)]) == 0
    words = ["--preset", "cmu-long-cpu", "--only", "ZeroV", "--out", str(out)]
    assert main(["paper", "run", "table7", "--data", str(moved), *words]) == 0
    assert main(["paper", "run", "table7", "--data", str(moved), "--steps", "10", *words]) == 0
    old = out / "tables" / "table7.cmu-long-cpu.10-steps.json"
    old.write_text(json.dumps({name: each for name, each in json.loads(old.read_text()).items() if name != "data"}))
    moved.unlink()
    page = tmp_path / "page.html"
    capsys.readouterr()
    (out / "tables" / "table1.json").write_text("{}")
    assert main(["paper", "report", "--out", str(out), "--html", str(page)]) == 0
    printed = capsys.readouterr()
    assert "table1 cannot be shown" in printed.out
    assert "table7.cmu-long-cpu.10-steps cannot be shown" in printed.out and printed.out.count("1.916") == 2
    assert printed.err.count("missing files of the benchmark") == 1
    identities = re.findall(r'<h2 id="(.*?)">', page.read_text(encoding="utf-8"))
    assert identities == ["table1", "table7.cmu-long-cpu.10-steps", "table7.cmu-long-cpu", "table7"]


def _nothing_is_trained(*_: object, **__: object) -> None:
    raise AssertionError("trained again")


def test_figures_travel_without_weights_and_data(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """From one folder to another by a file: the same page without data, and no training where there is data again."""
    one, two, cmu = tmp_path / "one", tmp_path / "two", tmp_path / "cmu"
    cmu.symlink_to(shared_data / "cmu_mocap")
    words = ["paper", "run", "table7", "--data", str(cmu), "--preset", "cmu-long-cpu", "--steps", "10"]
    words += ["--only", "ZeroV", "--only", "siMLPe"]
    assert main([*words, "--out", str(one)]) == 0
    figures, again = tmp_path / "figures.json", tmp_path / "again.json"
    assert main(["paper", "report", "--out", str(one), "--save-figures", str(figures)]) == 0
    shown = capsys.readouterr().out.partition("Table 7")[2]
    assert figures.stat().st_size < 20_000 and str(tmp_path) not in figures.read_text()

    cmu.unlink()
    page = tmp_path / "page.html"
    report = ["paper", "report", "--out", str(two), "--figures", str(figures)]
    assert main([*report, "--save-figures", str(again), "--html", str(page)]) == 0
    assert capsys.readouterr().out.partition("Table 7")[2] in shown
    assert "1.916" in page.read_text(encoding="utf-8") and "--data DIR" in page.read_text(encoding="utf-8")
    assert again.read_bytes() == figures.read_bytes() and not list(two.glob("runs/*/*.ckpt"))

    assert main(["paper", "list", "--out", str(one)]) == main(["paper", "list", "--out", str(two)]) == 0
    assert capsys.readouterr().out.count("measured here") == 1  # where it was trained

    cmu.symlink_to(shared_data / "cmu_mocap")
    monkeypatch.setattr(runs, "train", _nothing_is_trained)
    assert main([*words, "--out", str(two)]) == 0
    assert "siMLPe" in capsys.readouterr().out
    # What is not among the figures needs weights: they are trained.
    with pytest.raises(AssertionError, match="trained again"):
        main([*words, "--out", str(two), "--selection", "validation"])
    # And a report says so where there are none.
    assert (
        main([*words, "--out", str(two), "--selection", "validation", "--only", "ZeroV", "--slurm", str(tmp_path / "s")]) == 0
    )
    capsys.readouterr()
    assert main(["paper", "report", "--out", str(two)]) == 0
    assert "came without its weights" in " ".join(capsys.readouterr().out.split())


def _time(step: int) -> dict[str, Any]:
    return {"step": step, "seconds": 1.0, "machine": "there", "parameters": 1}


def _judgement(step: int, figures: str) -> dict[str, Any]:
    return {"what": {"protocol": "demo"}, "step": step, "figures": {"from": figures}}


def test_the_committed_page_shows_the_committed_figures(tmp_path: Path):
    """Without data or weights; what is drawn does not travel, so that tables alone are compared."""
    docs, page = Path(__file__).parents[1] / "docs", tmp_path / "page.html"
    words = ["--figures", str(docs / "paper-figures.json"), "--out", str(tmp_path / "out"), "--html", str(page)]
    assert main(["paper", "report", *words]) == 0
    committed, made = (
        re.findall(r"<td class=number>(?:<b>)?([^<]+)", path.read_text(encoding="utf-8"))
        for path in (docs / "paper-report.html", page)
    )
    assert made == committed and len(made) > 300
    # In place of Figs. 11 to 13 the page says why they are not there.
    assert page.read_text(encoding="utf-8").count("not drawn: its weights or its data are not at hand") == 3
    # Sym-GNN under cmu-long-best, the first of the figures in docs/results.md.
    assert ("0.278", "0.426", "0.730", "0.828", "1.229") in zip(*(made[place:] for place in range(5)), strict=False)


@pytest.mark.parametrize(
    ("mine", "weights", "taken"),
    [(None, False, True), (5, False, True), (5, True, False), (10, True, True), (20, False, False), (None, True, False)],
)
def test_figures_that_are_taken_in_replace_nothing(mine: int | None, weights: bool, taken: bool, tmp_path: Path):
    """A run of ten steps beside one of other steps, with its weights or without."""
    address, one, two = "0123456789ab", "aaaaaaaaaaaa", "bbbbbbbbbbbb"
    folder = tmp_path / "o" / "runs" / address
    (folder / "results").mkdir(parents=True)
    if mine is not None:
        (folder / "time.json").write_text(json.dumps({**_time(mine), "machine": "here"}))
        (folder / "results" / f"{one}.json").write_text(json.dumps(_judgement(mine, "here")))
    if weights:
        (folder / "last.ckpt").write_text("")
    file = tmp_path / "figures.json"
    run = {"time": _time(10), "preset": {}, "results": {one: _judgement(10, "there"), two: _judgement(10, "there")}}
    file.write_text(json.dumps({"format": 1, "plans": {}, "runs": {address: run}}))
    said: list[str] = []
    exchange.take_figures(file, tmp_path / "o", said.append)
    known = {path.stem: json.loads(path.read_text())["figures"]["from"] for path in (folder / "results").glob("*.json")}
    if not taken:
        assert len(said) == 1 and known == ({} if mine is None else {one: "here"})
        return
    assert not said and known == {one: "here" if mine == 10 else "there", two: "there"}
    assert json.loads((folder / "time.json").read_text())["machine"] == ("here" if mine == 10 else "there")


def test_plans_that_are_taken_in_add_rows_and_seeds(tmp_path: Path):
    mine = {
        "record": "table7",
        "asked": "cmu-long-cpu",
        "on": None,
        "budget": None,
        "limit": 10,
        "selection": "last",
        "preset": {"cmu-long": "cmu-long-cpu"},
        "steps": {"cmu-long siMLPe": 10},
        "planned": ["cmu-long siMLPe"],
        "seeds": [0],
        "rows": ["siMLPe"],
        "data": {"cmu-long": {"sha256": {"frames.npy": "1"}, "covered": ["running"]}},
        "machine": "here",
    }
    theirs = {**mine, "rows": ["ZeroV", "CSM"], "seeds": [3], "planned": ["cmu-long CSM"], "steps": {"cmu-long CSM": 7}}
    out, file = tmp_path / "o", tmp_path / "figures.json"
    said: list[str] = []

    def take(plan: dict[str, Any]) -> dict[str, Any]:
        file.write_text(json.dumps({"format": 1, "plans": {"table7.x": plan}, "runs": {}}))
        exchange.take_figures(file, out, said.append)
        return json.loads((out / "tables" / "table7.x.json").read_text())

    assert take(mine) == {**mine, "folders": []}
    both = take(theirs)
    assert both["rows"] == ["ZeroV", "CSM", "siMLPe"] and both["seeds"] == [0, 3] and not said
    assert both["steps"] == {"cmu-long siMLPe": 10, "cmu-long CSM": 7} == take(mine)["steps"]
    assert take({**theirs, "steps": {"cmu-long CSM": 8}})["steps"]["cmu-long CSM"] == 7
    assert take({**mine, "data": {"cmu-long": {"sha256": {"frames.npy": "2"}, "covered": []}}})["data"] == mine["data"]
    assert len(said) == 2 and all("planned otherwise" in line for line in said)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "no file of"),
        ("[]", "no file of"),
        ('{"format": 2}', "format"),
        ('{"format": 1, "runs": {"../../../x": {"results": {}}}}', "pattern"),
        ('{"format": 1, "plans": {"../x": {}}}', "pattern"),
        ('{"format": 1, "runs": {"0123456789ab": {"results": {}, "last.ckpt": "x"}}}', "last.ckpt"),
        ("[" * 100_000, "no file of"),
    ],
)
def test_a_file_of_figures_is_looked_through_first(content: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "figures.json"
    file.write_text(content)
    assert main(["paper", "report", "--figures", str(file), "--out", str(tmp_path / "o")]) == 2
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1 and said in error and not (tmp_path / "o").exists()
