"""Figs. 11 to 13 from one command: what is drawn, from which rows, and when it is drawn anew."""

import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from symgnn.cli import main
from symgnn.data import Store
from symgnn.data.readers.expmap_text import CMU_ACTIONS, H36M_ACTIONS
from symgnn.evaluation import fitted_baseline
from symgnn.experiments.paper.drawn import draw
from symgnn.experiments.paper.figures import actional_map, predicted_strips, untrained
from symgnn.experiments.paper.records import PICTURES, Record, Row, Setting, Shows, records
from symgnn.experiments.paper.runner import Options, Plan, of_all_rows, plan
from symgnn.experiments.paper.runs import Absent
from test_report import Page, check_self_contained

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def tiny_preset(tmp_path: Path) -> str:
    """Large steps: a graph that has learned nothing is the same in every window."""
    path = tmp_path / "tiny.yaml"
    path.write_text(
        "extends: demo\ndescription: tiny\n"
        "data: {observed: 12, future: 4}\nmodel: {width: 0.1}\n"
        "training: {steps: 20, batch: 4, validate_every: 10, validation: 0, learning_rate: 0.02, warm_up: 0.0}\n"
    )
    return str(path)


def _plan(motion: Store, out: Path, preset: str, shows: Shows, actions: tuple[str, ...] = (), **options) -> Plan:
    rows = {"ZeroV": Row(baseline="zero-velocity"), "siMLPe": Row(network="simlpe"), "Sym-GNN": Row()}
    record = Record(
        name="recipe",
        about="a trial",
        settings=(Setting(preset="demo", actions=actions),),
        shows=shows,
        rows=rows if shows == "strips" else {"Sym-GNN": Row(set=options.pop("set", {}))},
    )
    return plan(record, Options(out=out, stores=(motion,), folders=(), preset=preset, steps=10, **options), print)


def _train(made: Plan, row: str, seed: int = 0) -> None:
    (job,) = [job for job in made.jobs if (job.row, job.seed) == (row, seed)]
    job.trained.train("cpu", progress=False)


def _words(path: Path) -> list[str]:
    return [element.text or "" for element in ElementTree.parse(path).iter(f"{SVG}text")]


def test_the_papers_classes_are_named_as_in_a_store():
    for record in records().values():
        named = {action for setting in record.settings for action in setting.actions}
        assert bool(named) == (record.shows in PICTURES)
        assert named <= {*H36M_ACTIONS, *CMU_ACTIONS}
    assert len(records()["fig12"].settings[0].actions) == 8


def test_strips_of_the_rows_that_are_trained(motion: Store, tmp_path: Path, tiny_preset: str):
    made = _plan(motion, tmp_path, tiny_preset, "strips", ("running",))
    assert draw(made) is None and not (tmp_path / "pictures").exists(), "zero-velocity alone is no figure"
    _train(made, "Sym-GNN")
    drawn = draw(made)
    assert drawn is not None and drawn.pictures == (tmp_path / "pictures" / f"{made.name}.svg",)
    words = _words(drawn.pictures[0])
    assert [each for each in words if not each.isdigit()] == ["running", "milliseconds", "what came", "ZeroV", "Sym-GNN"]
    html = drawn.page.read_text(encoding="utf-8")
    check_self_contained(html)
    assert Page(html).texts["li"] == ["not covered: siMLPe: not trained yet"]
    assert (
        Page(html).texts["h1"] == ["recipe: a trial"]
        and "not a reproduction" in html
        and drawn.words[0].startswith("running: What came")
    )

    # As the same models are drawn without this command.
    job = made.jobs[-1]
    protocol = job.trained.protocol()
    models = {"ZeroV": fitted_baseline("zero-velocity", protocol, motion)[0], "Sym-GNN": job.trained.model("last")}
    by_hand = predicted_strips(models, protocol, motion, actions=["running"])
    assert (drawn.html, drawn.words) == (by_hand.html, by_hand.words)
    assert by_hand.whole.content in drawn.pictures[0].read_text(encoding="utf-8")

    # Kept, until another row is trained or a file is gone.
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in drawn.page.parent.iterdir()}
    assert draw(made) == drawn
    assert {path.name: path.stat().st_mtime_ns for path in drawn.page.parent.iterdir()} == {
        name: time for name, (time, _) in before.items()
    }
    drawn.pictures[0].unlink()
    assert draw(made) == drawn
    assert {path.name: path.read_bytes() for path in drawn.page.parent.iterdir()} == {
        name: content for name, (_, content) in before.items()
    }
    _train(made, "siMLPe")
    whole = draw(made)
    assert whole is not None and "siMLPe" in _words(whole.pictures[0])
    assert "li" not in Page(whole.page.read_text(encoding="utf-8")).texts


def test_a_row_alone_leaves_the_others_in_the_picture(motion: Store, tmp_path: Path, tiny_preset: str):
    for row in ("Sym-GNN", "siMLPe"):
        made = _plan(motion, tmp_path, tiny_preset, "strips", ("running",), only=(row,))
        _train(made, row)
    assert [job.row for job in made.jobs] == ["siMLPe"]
    drawn = draw(of_all_rows(made, print))
    assert drawn is not None and {"siMLPe", "Sym-GNN"} <= set(_words(drawn.pictures[0]))


def test_the_map_is_that_of_the_first_seed_that_is_trained(motion: Store, tmp_path: Path, tiny_preset: str):
    made = _plan(motion, tmp_path, tiny_preset, "map", seeds=(0, 1))
    _train(made, "Sym-GNN", seed=1)
    drawn = draw(made)
    assert drawn is not None and drawn.words[1] == "Drawn of seed 1."
    model = made.jobs[1].trained.model("last")
    by_hand = actional_map(model, motion, beside=untrained(model))
    assert drawn.html == by_hand.html and drawn.words[0] == by_hand.words[0]
    about = json.loads((tmp_path / "pictures" / f"{made.name}.json").read_text())
    assert about["numbers"]["demo"]["points"] == by_hand.numbers["points"]
    found = re.search(r"(\d+) % have their nearest graph .* before training (\d+) %", drawn.words[0].partition(").")[0])
    before = actional_map(untrained(model), motion).numbers["apart"]
    assert by_hand.numbers["before_training"]["apart"] == before and untrained(model).network.mean.abs().sum() > 0
    assert found is not None
    assert [int(each) for each in found.groups()] == [round(100 * each["share"]) for each in (by_hand.numbers["apart"], before)]


def test_classes_that_are_not_there_are_named(motion: Store, tmp_path: Path, tiny_preset: str):
    made = _plan(motion, tmp_path, tiny_preset, "graphs", ("walking", "phoning", "running"))
    _train(made, "Sym-GNN")
    drawn = draw(made)
    assert drawn is not None and drawn.missing == ("demo: no test clip of phoning",)
    titles = [each for each in _words(drawn.pictures[0]) if each]
    assert len(titles) == 3 and titles[0].startswith("walking, ") and titles[2] == "running"
    assert "no test clip of phoning" in drawn.page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("fields", "actions", "said"),
    [({"model.graphs": "structural"}, (), "no actional graph"), ({}, ("phoning",), "no test clip of phoning")],
)
def test_what_cannot_be_drawn_is_said(
    motion: Store, tmp_path: Path, tiny_preset: str, fields: dict[str, str], actions: tuple[str, ...], said: str
):
    made = _plan(motion, tmp_path, tiny_preset, "graphs", actions, set=fields)
    _train(made, "Sym-GNN")
    drawn = draw(made)
    assert drawn is not None and not drawn.pictures and not drawn.html
    assert len(drawn.missing) == 1 and said in drawn.missing[0] and said in drawn.page.read_text(encoding="utf-8")


def test_figures_from_the_command_line(shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """One training, two figures and the strip; then all of them on the report's page."""
    preset, out = tmp_path / "tiny.yaml", tmp_path / "paper"
    preset.write_text(
        "extends: cmu-long-cpu\ndescription: tiny\ndata: {observed: 20, future: 10}\n"
        "model: {width: 0.05}\ntraining: {steps: 10, batch: 4, validate_every: 10}\n"
    )
    words = ["--data", str(shared_data / "cmu_mocap"), "--preset", str(preset), "--out", str(out)]
    assert main(["paper", "run", "fig13", *words, "--only", "Sym-GNN", "--only", "ZeroV"]) == 0
    assert main(["paper", "run", "fig11", *words, "--on", "cmu"]) == 0
    assert main(["paper", "run", "fig12", *words, "--on", "cmu"]) == 0
    printed = capsys.readouterr()
    files = sorted(path.name for path in (out / "pictures").iterdir() if path.suffix in {".svg", ".html"})
    assert len(files) == 6 and all(str(out / "pictures" / name) in printed.err for name in files)
    assert "have their nearest graph that shares no frame" in " ".join(printed.out.split())
    assert len(list((out / "runs").glob("*/last.ckpt"))) == 1

    target = tmp_path / "report.html"
    assert main(["paper", "report", "--out", str(out), "--html", str(target)]) == 0
    html = target.read_text(encoding="utf-8")
    check_self_contained(html)
    labels = [attrs.get("aria-label") or "" for attrs in Page(html).all("svg")]
    assert sum(label.startswith("Body with the 15 strongest links") for label in labels) == 5
    assert sum(label.startswith("t-SNE of actional graphs") for label in labels) == 1
    assert sum(label.startswith("The true motion and that predicted by ZeroV, Sym-GNN") for label in labels) == 1


def test_what_is_drawn_stays_where_weights_and_data_have_gone(motion: Store, tmp_path: Path, tiny_preset: str):
    """It is shown again without them, and what was never drawn is not kept as a figure of nothing."""
    made = _plan(motion, tmp_path, tiny_preset, "strips", ("running",))
    _train(made, "Sym-GNN")
    drawn = draw(made)
    without = plan(made.record, replace(made.options, stores=()), print, remember=True)
    assert drawn is not None and draw(without) == drawn
    (tmp_path / "pictures" / f"{made.name}.json").unlink()
    with pytest.raises(Absent, match="not at hand"):
        draw(without)
    assert draw(made) == drawn
    (tmp_path / "pictures" / f"{made.name}.json").unlink()
    next(job for job in made.jobs if job.row == "Sym-GNN").trained.folder.joinpath("last.ckpt").unlink()
    with pytest.raises(Absent, match="not at hand"):
        draw(made)
