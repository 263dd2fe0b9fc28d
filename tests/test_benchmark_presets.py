"""The presets for NTU RGB+D and Kinetics-Skeleton, from files in the published formats to a judged model, by the commands."""

import json
from pathlib import Path

import numpy as np
import pytest

from ntu_files import write_folder
from symgnn.cli import main
from symgnn.config import load_preset
from symgnn.data import Store, group_persons
from symgnn.models.checkpoint import load

SUBJECTS, CAMERAS = (1, 3), (1, 2)
SMALL = [
    *("--model.width", "0.08", "--model.hidden", "16", "--model.agim-hidden", "16"),
    *("--training.steps", "2", "--training.validate-every", "2", "--training.batch", "2", "--device", "cpu"),
]
"""A twelfth of the width, two steps of two clips: the window, the data and everything else are the preset's."""


@pytest.fixture(scope="module")
def ntu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of NTU RGB+D: a train and a test clip in each of the four splits, an action alone and one of two persons."""
    folder = tmp_path_factory.mktemp("ntu")
    names = [
        f"S{setup:03}C{camera:03}P{subject:03}R001A{action:03}"
        for setup in (1, 2)
        for camera in CAMERAS
        for subject in SUBJECTS
        for action in (1, 55)
    ]
    write_folder(folder, names, frames=(20, 40))
    return folder


@pytest.fixture(scope="module")
def kinetics(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kinetics")
    random = np.random.default_rng(0)
    for part, clips in (("kinetics_train", 4), ("kinetics_val", 2)):
        (folder / part).mkdir()
        for number in range(clips):
            body = random.uniform(0.3, 0.7, (18, 2))
            frames = []
            for frame in range(1, 61):
                body = body + random.normal(0, 0.004, body.shape)
                score = random.uniform(0.2, 0.9, 18)
                score[random.random(18) < 0.1] = 0  # a joint of score 0 was not found
                pose = np.where(score[:, None] > 0, body, 0.0)
                skeleton = [{"pose": pose.round(3).ravel().tolist(), "score": score.round(3).tolist()}] if frame != 7 else []
                frames.append({"frame_index": frame, "skeleton": skeleton})
            label = ("abseiling", "zumba")[number % 2]
            content = {"data": frames, "label": label, "label_index": (0, 399)[number % 2]}
            (folder / part / f"clip{part[-1]}{number:07}.json").write_text(json.dumps(content))
    return folder


def run(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """What a command printed; it must succeed."""
    status = main([str(word) for word in words])
    said = capsys.readouterr()
    assert status == 0, said.err
    return said.out + said.err


@pytest.mark.parametrize("preset", ["ntu60-xsub", "ntu60-xview", "ntu120-xsub", "ntu120-xset"])
def test_ntu(preset: str, ntu: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    store = tmp_path / "store"
    run(capsys, "data", "import", ntu, store, "--as", "ntu", "--split-as", preset)
    opened = Store.open(store)
    test = group_persons(opened, opened.select(split="test"), 2)
    assert len(test) == 8 and sum(map(len, test)) == 12  # half of the recordings are of two persons
    for name in (preset, f"{preset}-modern"):
        folder = tmp_path / name
        run(capsys, "train", name, "--data", store, "--out", folder, *SMALL)
        model = load(folder / "last.ckpt")
        asked = load_preset(name).data
        assert model.preset.data == asked and asked.persons == 2 and model.network.observed == asked.observed
        run(capsys, "evaluate", folder, "--data", store, "--json", tmp_path / "result.json")
        result = json.loads((tmp_path / "result.json").read_text())
        assert result["clips"] == 8 and 0 <= result["top1"] <= 1
        if name == preset:
            assert (asked.observed, asked.future, asked.sampling) == (290, 10, "repeat")
            average = result["average"]
            assert list(average["pck"]) == ["33", "67", "100", "133", "167", "200", "233", "267", "300", "333"]
            assert all(0 <= share <= 1 for share in average["pck"].values()) and average["mpjpe"]["333"] > 0


def test_a_store_of_another_split_is_refused(ntu: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run(capsys, "data", "import", ntu, tmp_path / "store", "--as", "ntu", "--split-as", "ntu60-xview")
    assert main(["train", "ntu60-xsub-modern", "--data", str(tmp_path / "store"), "--out", str(tmp_path / "run"), *SMALL]) == 2
    assert "is split into training and test as ntu60-xview" in capsys.readouterr().err


def test_kinetics(kinetics: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    store = tmp_path / "store"
    run(capsys, "data", "import", kinetics, store, "--as", "kinetics")
    for name in ("kinetics", "kinetics-modern"):
        folder = tmp_path / name
        run(capsys, "train", name, "--data", store, "--out", folder, *SMALL)
        run(capsys, "evaluate", folder, "--data", store, "--json", tmp_path / "result.json")
        assert json.loads((tmp_path / "result.json").read_text())["clips"] == 2
        # Confidence is seen and not predicted.
        assert load(folder / "last.ckpt").preset.data.space == "xyc"


@pytest.mark.parametrize(
    "strategy",
    [["--data.future", "10"], ["--data.future", "45"], ["--model.no-prediction"]],
    ids=["10 frames", "all the rest", "none"],
)
def test_early_recognition(strategy: list[str], ntu: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The three models of Fig. 9, at half of each clip."""
    store = tmp_path / "store"
    run(capsys, "data", "import", ntu, store, "--as", "ntu", "--split-as", "ntu60-xsub")
    window = ["--data.ratio", "0.5", "--data.observed", "45"]
    run(capsys, "train", "ntu60-xsub-modern", "--data", store, "--out", tmp_path / "run", *SMALL, *window, *strategy)
    found = {}
    for ratio in ([], ["--ratio", "0.1"], ["--ratio", "1"]):
        said = run(capsys, "evaluate", tmp_path / "run", "--data", store, "--json", tmp_path / "result.json", *ratio)
        shown = float(ratio[1]) if ratio else 0.5
        assert f"the first {shown:.0%} of each" in said
        found[tuple(ratio)] = json.loads((tmp_path / "result.json").read_text())
    assert all(result["clips"] == 8 and not result["average"] for result in found.values())
