"""The command line, end to end on the built-in motion, and what a user can get wrong with it."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import symgnn
from symgnn.cli import main
from symgnn.data import Store

PROJECT = Path(__file__).parents[1]
SYMGNN = [sys.executable, "-c", "import sys; from symgnn.cli import main; sys.exit(main())"]

TINY = """
extends: demo
description: A network of next to nothing.
model: {width: 0.05, agim_iterations: 1}
training: {steps: 4, validate_every: 2, batch: 4}
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("preset") / "tiny.yaml"
    path.write_text(TINY, encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny: str, motion: Store) -> Path:
    """A trained run, made by the command line."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    assert main(["train", tiny, "--data", str(motion.path), "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def cmu_text(tmp_path: Path) -> Path:
    """A CMU folder with one file of the right form."""
    folder = tmp_path / "cmu"
    file = folder / "train" / "walking" / "walking_1.txt"
    file.parent.mkdir(parents=True)
    file.write_text("\n".join(",".join(["0.25"] * 117) for _ in range(3)) + "\n", encoding="utf-8")
    return folder


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line that a refused command leaves, after exit code 2."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert lines[-1].startswith("symgnn: ") and "Traceback" not in "".join(lines)
    return lines[-1]


# --- what works ------------------------------------------------------------------------------------------


def test_train_leaves_a_run(run: Path):
    assert {"last.ckpt", "validation.ckpt", "preset.json", "logs"} <= {entry.name for entry in run.iterdir()}
    assert not list(run.glob(".*"))  # no temporary file stays behind
    content = json.loads((run / "preset.json").read_text(encoding="utf-8"))
    assert content["training"]["steps"] == 4 and content["data"]["layout"] == "cmu"
    model = symgnn.load(run / "last.ckpt")
    assert model.card.step == 4 and model.class_names[0] == "walking"


def test_overrides_reach_the_model(tmp_path: Path, tiny: str, motion: Store):
    words = ["train", tiny, "--data", str(motion.path), "--out", str(tmp_path / "run"), "--model.bone", "--data.future", "3"]
    assert main([*words, "--training.steps", "1", "--model.difference-orders", "0", "1"]) == 0
    preset = symgnn.load(tmp_path / "run" / "last.ckpt").preset
    assert preset.model.bone and preset.data.future == 3 and preset.training.steps == 1
    assert preset.model.difference_orders == (0, 1) and preset.model.width == 0.05  # the rest is the preset's


def test_bones_alone_through_every_command(tmp_path: Path, tiny: str, motion: Store, capsys: pytest.CaptureFixture[str]):
    """They recognise; whoever asks for a future is told that there is none, or gets none."""
    folder, file, answers = tmp_path / "run", tmp_path / "result.json", tmp_path / "answers.json"
    words = ["train", tiny, "--data", str(motion.path), "--out", str(folder), "--model.bone", "--model.no-joint"]
    assert main([*words, "--training.steps", "2", "--training.validate-every", "2"]) == 0
    assert main(["evaluate", str(folder), "--data", str(motion.path), "--json", str(file)]) == 0
    found = json.loads(file.read_text(encoding="utf-8"))
    assert 0 <= found["top1"] <= 1 and not found["average"]
    assert main(["predict", str(folder), f"{motion.path}:3", "--out", str(answers), "--html", str(tmp_path / "a.html")]) == 0
    (clip,) = json.loads(answers.read_text(encoding="utf-8"))["clips"]
    assert clip["future"] is None and sum(clip["probabilities"].values()) == pytest.approx(1)
    assert main(["export", str(folder), "--to", str(tmp_path / "model.onnx")]) == 0
    again = tmp_path / "again.json"
    assert main(["evaluate", str(tmp_path / "model.onnx"), "--data", str(motion.path), "--json", str(again)]) == 0
    assert json.loads(again.read_text(encoding="utf-8"))["top1"] == found["top1"]
    capsys.readouterr()
    assert main(["info", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "bone" in printed and not re.search(r"^ *joint +(actional|backbone)", printed, re.MULTILINE)
    with pytest.raises(SystemExit) as left:
        main(["train", tiny, "--data", str(motion.path), "--model.no-joint"])
    assert left.value.code == 2 and "expected bone true" in capsys.readouterr().err


def test_evaluate_prints_and_writes_what_evaluate_finds(
    run: Path, motion: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "result.json"
    assert main(["evaluate", str(run), "--data", str(motion.path), "--json", str(file), "--selection", "validation"]) == 0
    found = json.loads(file.read_text(encoding="utf-8"))
    model = symgnn.load(run / "validation.ckpt")
    expected = symgnn.evaluate(model, symgnn.load_protocol("demo"), motion).to_dict()
    assert found == expected
    assert found["selection"] == "validation" and found["protocol"] == "demo" and 0 <= found["top1"] <= 1
    printed = capsys.readouterr().out
    assert "average" in printed and "zero-velocity" in printed and f"{found['average']['mpjpe']['80']:.3f}" in printed


def test_evaluate_takes_the_smallest_error_of_all_snapshots(
    motion: Store, tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder, file = tmp_path / "run", tmp_path / "result.json"
    assert main(["train", tiny, "--data", str(motion.path), "--out", str(folder), "--training.snapshots"]) == 0
    words = ["evaluate", str(folder), "--data", str(motion.path), "--selection", "per-cell-minimum"]
    assert main([*words, "--json", str(file)]) == 0
    found = json.loads(file.read_text(encoding="utf-8"))
    each = [
        symgnn.evaluate(symgnn.load(path), symgnn.load_protocol("demo"), motion).to_dict()["actions"]
        for path in (folder / "snapshots").glob("*.ckpt")
    ]
    assert found["evaluations"] == len(each) > 1 and found["top1"] is None
    for action, figures in found["actions"].items():
        for moment, value in figures["mpjpe"].items():
            assert value == min(actions[action]["mpjpe"][moment] for actions in each)
    capsys.readouterr()
    for more in (["--held-out"], ["--html", str(tmp_path / "a.html")]):
        assert main([*words, *more]) == 2 and "--selection per-cell-minimum" in capsys.readouterr().err
    assert main([words[0], str(folder / "last.ckpt"), *words[2:]]) == 2
    assert "last.ckpt: is no folder; --selection per-cell-minimum needs that of a run" in capsys.readouterr().err


def test_evaluate_zero_velocity(motion: Store, tmp_path: Path):
    file = tmp_path / "result.json"
    words = ["evaluate", "zero-velocity", "--protocol", "demo", "--data", str(motion.path), "--json", str(file)]
    assert main(words) == 0
    found = json.loads(file.read_text(encoding="utf-8"))
    # By hand, from the frames themselves: the mean distance between the pose at 80 ms and the current one.
    errors = []
    for window in symgnn.load_protocol("demo").windows(motion).windows:
        frames = motion.clip_frames(window.clip)[window.start :][:, list(motion.layout.nodes)].astype(np.float64)
        errors.append((window.action, np.sqrt(((frames[51] - frames[49]) ** 2).sum(axis=1)).mean()))
    by_action = [np.mean([error for action, error in errors if action == name]) for name in motion.class_names]
    assert found["average"]["mpjpe"]["80"] == pytest.approx(np.mean(by_action), abs=1e-6)
    assert found["top1"] is None and found["model"] == "zero-velocity"


def test_evaluate_writes_a_report(run: Path, motion: Store, tmp_path: Path):
    page = tmp_path / "report.html"
    assert main(["evaluate", str(run), "--data", str(motion.path), "--html", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "<svg" in text and "Where will every joint be?" in text and "How training went" in text
    assert not re.search(r'(?:src|href)="(?!#)', text)  # self-contained


def test_predict_writes_what_predict_finds(run: Path, motion: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A whole clip of a store, and a text file shorter than the window, which is padded and said."""
    nodes = list(motion.layout.nodes)
    short = motion.clip_frames(1)[:20][:, nodes]
    np.savetxt(tmp_path / "short.csv", short.reshape(20, -1), delimiter=",", fmt="%.9g")
    out, page = tmp_path / "answers.json", tmp_path / "answers.html"
    words = ["predict", str(run / "last.ckpt"), f"{motion.path}:3", str(tmp_path / "short.csv")]
    assert main([*words, "--out", str(out), "--html", str(page), "--horizon", "7"]) == 0
    said = capsys.readouterr()
    assert "short.csv" in said.err and "20 frames" in said.err and "short.csv" in said.out
    found = json.loads(out.read_text(encoding="utf-8"))["clips"]
    model = symgnn.load(run / "last.ckpt")
    whole = torch.from_numpy(np.array(motion.clip_frames(3)[-50:][:, nodes]))
    padded = torch.from_numpy(np.concatenate([np.repeat(short[:1], 30, axis=0), short]))
    with torch.inference_mode():
        expected = model(torch.stack([whole, padded]), 7)
    assert expected.logits is not None and expected.future is not None
    for clip, logits, future in zip(found, expected.logits, expected.future, strict=True):
        assert list(clip["probabilities"]) == list(motion.class_names)
        np.testing.assert_allclose(list(clip["probabilities"].values()), logits.softmax(0), atol=1e-5)
        np.testing.assert_allclose(clip["future"], future, atol=1e-5)
    assert [clip["padded"] for clip in found] == [0, 30]
    assert "<canvas" in page.read_text(encoding="utf-8")
    assert main([*words, "--out", str(tmp_path / "answers.npz")]) == 0
    with np.load(tmp_path / "answers.npz") as arrays:
        assert arrays["future"].shape == (2, 25, 26, 3)


def test_info_counts_parameters(run: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["info", str(run)]) == 0
    printed = capsys.readouterr().out
    parameters = sum(weight.numel() for weight in symgnn.load(run / "last.ckpt", folded=False).parameters())
    assert f"{parameters:,}" in printed
    assert "left crus: LeftFoot, LeftToeBase" in printed
    assert "training.learning_rate" in printed and "sec. 6.1.2" in printed


def test_info_of_a_preset_takes_overrides(capsys: pytest.CaptureFixture[str]):
    assert main(["info", "demo", "--model.hop", "1"]) == 0
    printed = capsys.readouterr().out
    # 26 joints joined to themselves and, both ways, along 25 bones.
    assert "to the power 1: 76 of 676" in printed and "to the power 2" not in printed


def test_the_parts_of_a_network_cost_what_the_whole_costs():
    from torch.utils.flop_counter import FlopCounterMode

    from symgnn.config import preset_from_dict, preset_to_dict
    from symgnn.experiments.sizes import sizes
    from symgnn.models.checkpoint import build

    values = preset_to_dict(symgnn.load_preset("demo"))
    values["model"]["bone"] = True
    preset = preset_from_dict(values, "demo")
    network = build(preset, symgnn.load_layout("cmu"), 8).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 50, 26, 3), 25)
    found = sizes(network, 25)
    assert sum(size.flop for size in found) == counter.get_total_flops()
    assert sum(size.parameters for size in found) == sum(weight.numel() for weight in network.parameters())


def test_data_import_and_info(cmu_text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    target = tmp_path / "store"
    assert main(["data", "import", str(cmu_text), str(target)]) == 0
    assert np.all(Store.open(target).frames == 0.25)
    capsys.readouterr()
    assert main(["data", "info", str(target), "--verify"]) == 0
    printed = capsys.readouterr().out
    assert "1 clips, 3 frames" in printed and "38 joints, 26 in use" in printed and "test/walking/walking_1.txt" in printed


def test_data_make(tmp_path: Path, motion: Store):
    assert main(["data", "make", str(tmp_path / "store"), "--clips-per-class", "16"]) == 0
    made = Store.open(tmp_path / "store")
    assert len(made.clips) == 16 * 8 and made.class_names == motion.class_names


def test_demo_can_be_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    import symgnn.cli

    tiny = tmp_path / "tiny.yaml"
    tiny.write_text(TINY, encoding="utf-8")
    preset = symgnn.load_preset(str(tiny))
    monkeypatch.setattr(symgnn.cli, "load_preset", lambda _name: preset)
    folder = tmp_path / "demo"
    for _ in range(2):
        assert main(["demo", "--out", str(folder), "--steps", "2"]) == 0
    printed = capsys.readouterr().out
    assert str(folder / "report.html") in printed and "recognised" in printed and "zero-velocity" in printed
    assert "<svg" in (folder / "picture.svg").read_text(encoding="utf-8")
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "made up" in page and "frozen body" in page and "The strongest" not in page.split("<h2>")[0]


def test_a_run_is_resumed_to_the_same_end(tmp_path: Path, tiny: str, motion: Store):
    """Interrupted by Ctrl-C, then gone on with: the table of figures has every row once."""
    folder = tmp_path / "run"
    words = ["train", tiny, "--data", str(motion.path), "--out", str(folder), "--training.steps", "16"]
    process = subprocess.Popen([*SYMGNN, *words], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (folder / "last.ckpt").is_file():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert f"kept {folder / 'last.ckpt'}" in said and said.rstrip().endswith("--resume") and "Traceback" not in said
    done = symgnn.load(folder / "last.ckpt").card.step
    assert 2 <= done < 16
    assert main([*words, "--resume"]) == 0
    assert symgnn.load(folder / "last.ckpt").card.step == 16
    with (folder / "logs" / "metrics.csv").open(encoding="utf-8", newline="") as file:
        trained = [int(row["step"]) for row in csv.DictReader(file) if row["l1"]]
    assert trained == list(range(2, 17, 2))


# --- help ------------------------------------------------------------------------------------------------

COMMANDS = (
    "train",
    "evaluate",
    "predict",
    "stream",
    "info",
    "bench",
    "bench data",
    "bench training",
    "data how",
    "data import",
    "data make",
    "data play",
    "data info",
    "demo",
)


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]):
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(f"  {command}" in printed for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command(command: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as leaving:
        main([*command.split(), "--help"])
    assert leaving.value.code == 0
    printed = capsys.readouterr().out
    assert f"usage: symgnn {command}" in printed


def test_help_shows_the_values_of_the_preset_with_their_source(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["train", "h36m-short", "--help"])
    printed = " ".join(re.sub(r"[│╭╮╰╯─]", " ", capsys.readouterr().out).split())
    assert "(default: h36m)" in printed and "Table 12: 3 on H3.6M and CMU" in printed


def test_help_loads_no_torch():
    program = "import sys\nfrom symgnn.cli import main\ntry:\n    main(['train', '--help'])\nexcept SystemExit:\n    pass\n"
    program += "main(['--help'])\nassert 'torch' not in sys.modules, 'torch'\nassert 'lightning' not in sys.modules\n"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_public_names_are_all_there():
    for name in symgnn.__all__:
        assert getattr(symgnn, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = symgnn.nonsense


# --- what the user can get wrong -------------------------------------------------------------------------


def test_missing_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    line = refused(capsys, "train", "cmu-long", "--data", tmp_path / "nothing", "--out", tmp_path / "run")
    assert f"{tmp_path / 'nothing'}: no such folder" in line
    assert not (tmp_path / "run").exists()


def test_missing_store(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    assert "no such folder" in refused(capsys, "data", "info", tmp_path / "nothing")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["empty"]),
        ("0.5,1\n", ["line 1", "2 ", "117"]),
        ("\n".join([",".join(["1"] * 117), ",".join(["1"] * 116)]), ["line 2", "116", "117"]),
        (",".join(["1"] * 50 + ["left"] + ["1"] * 66), ["line 1", "column 51", "left"]),
        (",".join(["1"] * 116 + ["nan"]), ["line 1", "column 117", "nan"]),
        (",".join(["inf"] + ["1"] * 116), ["line 1", "column 1", "inf"]),
    ],
    ids=["empty", "one line of two columns", "a column missing", "text", "nan", "infinite"],
)
def test_bad_text(capsys: pytest.CaptureFixture[str], cmu_text: Path, tmp_path: Path, text: str, words: list[str]):
    file = cmu_text / "train" / "walking" / "walking_1.txt"
    file.write_text(text, encoding="utf-8")
    line = refused(capsys, "data", "import", cmu_text, tmp_path / "store").lower()
    assert str(file).lower() in line and all(word in line for word in words), line
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["cmu"]


def test_layout_mismatch(capsys: pytest.CaptureFixture[str], motion: Store, tmp_path: Path):
    line = refused(capsys, "train", "h36m-long", "--data", motion.path, "--out", tmp_path / "run")
    assert "layout cmu" in line and "layout h36m" in line and "26" in line and "21" in line
    assert not (tmp_path / "run").exists()


def test_space_mismatch(capsys: pytest.CaptureFixture[str], motion: Store, tmp_path: Path):
    assert "space xyz" in refused(capsys, "train", "cmu-long", "--data", motion.path, "--out", tmp_path / "run")


def test_unknown_names_get_the_nearest(capsys: pytest.CaptureFixture[str], motion: Store, run: Path):
    assert "did you mean cmu-long?" in refused(capsys, "train", "cmu-lnog", "--data", motion.path)
    assert "did you mean demo?" in refused(capsys, "info", "dmo")
    assert "did you mean evaluate?" in refused(capsys, "evalute", run)
    assert "did you mean cmu-long?" in refused(capsys, "evaluate", run, "--data", motion.path, "--protocol", "cmu-log")
    assert "data import" in refused(capsys, "data", "export")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (("--model.wdth", "3"), "--model.width"),
        (("--model.width", "wide"), "float"),
        (("--model.width", "-1"), "greater than 0"),
        (("--training.optimizer", "magic"), "adam"),
        (("--training.milestones", "1.5"), "less than or equal to 1"),
    ],
)
def test_bad_override(override: tuple[str, str], expected: str, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    with pytest.raises(SystemExit) as leaving:
        main(["train", "cmu-long", "--data", str(tmp_path), *override])
    assert leaving.value.code == 2
    printed = capsys.readouterr().err
    assert expected in printed and "Traceback" not in printed and "pydantic" not in printed


def test_steps_that_are_no_whole_intervals(capsys: pytest.CaptureFixture[str], tiny: str, motion: Store, tmp_path: Path):
    line = refused(capsys, "train", tiny, "--data", motion.path, "--out", tmp_path / "run", "--training.steps", 5)
    assert "training.steps: 5" in line and not (tmp_path / "run").exists()


def test_a_taken_run(capsys: pytest.CaptureFixture[str], tiny: str, motion: Store, run: Path):
    before = (run / "last.ckpt").read_bytes()
    line = refused(capsys, "train", tiny, "--data", motion.path, "--out", run)
    assert "--resume" in line and (run / "last.ckpt").read_bytes() == before


def test_resume_with_other_settings(capsys: pytest.CaptureFixture[str], tiny: str, motion: Store, run: Path):
    line = refused(capsys, "train", tiny, "--data", motion.path, "--out", run, "--resume", "--model.hop", 2)
    assert "model.hop" in line and "3" in line


def test_nothing_to_resume(capsys: pytest.CaptureFixture[str], tiny: str, motion: Store, tmp_path: Path):
    assert "last.ckpt" in refused(capsys, "train", tiny, "--data", motion.path, "--out", tmp_path / "run", "--resume")


def test_missing_checkpoint(capsys: pytest.CaptureFixture[str], motion: Store, tmp_path: Path):
    assert "no such file" in refused(capsys, "evaluate", tmp_path / "best.ckpt", "--data", motion.path)
    assert "has no last.ckpt" in refused(capsys, "evaluate", tmp_path, "--data", motion.path)


def test_corrupt_and_foreign_checkpoints(capsys: pytest.CaptureFixture[str], run: Path, motion: Store, tmp_path: Path):
    file = tmp_path / "bad.ckpt"
    whole = (run / "last.ckpt").read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    assert "damaged" in refused(capsys, "evaluate", file, "--data", motion.path)
    file.write_text("hello", encoding="utf-8")
    assert str(file) in refused(capsys, "info", file)
    torch.save({"state_dict": {}}, file)
    assert "not a checkpoint of symgnn" in refused(capsys, "evaluate", file, "--data", motion.path)
    content = torch.load(run / "last.ckpt", weights_only=True)
    content["symgnn"]["format"] += 1
    torch.save(content, file)
    assert "newer" in refused(capsys, "evaluate", file, "--data", motion.path)


def test_store_of_a_newer_version(capsys: pytest.CaptureFixture[str], motion: Store, tmp_path: Path, tiny: str):
    store = tmp_path / "store"
    shutil.copytree(motion.path, store)
    about = json.loads((store / "store.json").read_text(encoding="utf-8"))
    (store / "store.json").write_text(json.dumps(about | {"version": about["version"] + 1}), encoding="utf-8")
    for words in (("data", "info", store), ("train", tiny, "--data", store, "--out", tmp_path / "run")):
        assert "newer symgnn" in refused(capsys, *words)
    assert not (tmp_path / "run").exists()


def test_predict_refuses(capsys: pytest.CaptureFixture[str], run: Path, motion: Store, tmp_path: Path):
    out = tmp_path / "answers.json"
    assert "no such file" in refused(capsys, "predict", run, tmp_path / "gone.npy", "--out", out)
    np.save(tmp_path / "other.npy", np.zeros((60, 20, 3)))
    line = refused(capsys, "predict", run, tmp_path / "other.npy", "--out", out)
    assert "other.npy: found 20 joints, layout cmu has 38: name the layout of the files by --layout" in line
    bad = motion.clip_frames(0).copy()
    bad[5, 0, 1] = np.inf
    np.save(tmp_path / "bad.npy", bad)
    assert "frame 5" in refused(capsys, "predict", run, tmp_path / "bad.npy", "--out", out)
    (tmp_path / "empty.csv").write_text("", encoding="utf-8")
    assert "empty.csv" in refused(capsys, "predict", run, tmp_path / "empty.csv", "--out", out)
    assert ".json or .npz" in refused(capsys, "predict", run, f"{motion.path}:0", "--out", tmp_path / "answers.txt")
    assert "no folder" in refused(capsys, "predict", run, f"{motion.path}:0", "--out", tmp_path / "no" / "answers.json")
    assert not out.exists()


def test_zero_velocity_needs_a_protocol(capsys: pytest.CaptureFixture[str], motion: Store):
    assert "--protocol" in refused(capsys, "evaluate", "zero-velocity", "--data", motion.path)


def test_protocol_of_another_space(capsys: pytest.CaptureFixture[str], run: Path, motion: Store):
    line = refused(capsys, "evaluate", run, "--data", motion.path, "--protocol", "h36m-8")
    assert "h36m-8" in line


def test_a_place_that_cannot_be_written(capsys: pytest.CaptureFixture[str], run: Path, motion: Store, tmp_path: Path):
    words = ("evaluate", run, "--data", motion.path, "--json")
    assert "no folder" in refused(capsys, *words, tmp_path / "nowhere" / "result.json")
    assert "is a folder" in refused(capsys, *words, tmp_path)
    assert "exists already" in refused(capsys, "data", "make", motion.path)


def test_demo_leaves_foreign_folders_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    (tmp_path / "mine.txt").write_text("keep", encoding="utf-8")
    assert "no demo" in refused(capsys, "demo", "--out", tmp_path)
    assert (tmp_path / "mine.txt").read_text(encoding="utf-8") == "keep"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, the full disk of Linux")
def test_full_disk(capsys: pytest.CaptureFixture[str], run: Path, motion: Store):
    line = refused(capsys, "evaluate", run, "--data", motion.path, "--json", "/dev/full")
    assert "/dev/full" in line and "No space left" in line
    assert Path("/dev/full").is_char_device()


@pytest.mark.skipif(os.name != "posix", reason="needs a limit on the size of files, which POSIX has")
@pytest.mark.parametrize("what", ["store", "run"])
def test_full_disk_half_way(what: str, tmp_path: Path, tiny: str, motion: Store):
    """Files of more than 64 KiB cannot be written: no store and no checkpoint fits."""
    words = {
        "store": ["data", "make", str(tmp_path / "store"), "--clips-per-class", "16"],
        "run": ["train", tiny, "--data", str(motion.path), "--out", str(tmp_path / "run")],
    }
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536)); {SYMGNN[2]}"
    done = subprocess.run([*SYMGNN[:2], limited, *words[what]], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("symgnn: ") and "Traceback" not in done.stderr
    left = {entry.name for entry in tmp_path.rglob("*")}
    assert not {name for name in left if "ckpt" in name or "store" in name or "frames" in name}, left


def test_a_broken_pipe_is_quiet():
    command = " ".join(f"'{word}'" for word in SYMGNN)
    done = subprocess.run(
        ["bash", "-c", f"{command} info demo | head -n 1 >/dev/null"], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""


# --- the README ------------------------------------------------------------------------------------------


def blocks(text: str, language: str) -> list[str]:
    """Code blocks of a language, without those marked as not run in tests."""
    found = re.findall(rf"(<!-- not run: [^>]* -->\n)?```{language}\n(.*?)```", text, flags=re.DOTALL)
    return [code for marker, code in found if not marker]


def test_readme_commands(tmp_path: Path, run: Path, motion: Store):
    """Every block runs as it stands, in a folder where `symgnn demo` has been: here a tiny one."""
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    demo = tmp_path / "runs" / "demo"
    shutil.copytree(run, demo / "run")
    shutil.copytree(motion.path, demo / "motion")
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    script = bin_folder / "symgnn"
    script.write_text(f"#!{sys.executable}\n{SYMGNN[2].replace('; ', chr(10))}\n", encoding="utf-8")
    script.chmod(0o755)
    environment = os.environ | {"PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"}
    shell, programs = blocks(readme, "bash"), blocks(readme, "python")
    assert shell and programs
    for command in [
        *([["bash", "-e", "-c", block] for block in shell]),
        *([[sys.executable, "-c", code] for code in programs]),
    ]:
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command[-1]}\n{done.stdout}{done.stderr}"


def test_readme_names_every_command():
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    assert all(f"symgnn {command}" in readme for command in COMMANDS)
