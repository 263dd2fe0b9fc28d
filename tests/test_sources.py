"""What is said of the data sets: complete, and true as far as files made here can tell."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

import ntu_files
from symgnn.cli import main
from symgnn.config import preset_names
from symgnn.data import Store
from symgnn.data.readers.expmap_text import H36M_ACTIONS
from symgnn.data.sources import find_source, sources
from symgnn.errors import InputError

NETWORKS = ("light", "deep")
"""Presets that others extend; ``demo`` is on the built-in motion."""


def rows(path: Path, columns: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, np.random.default_rng(len(str(path))).normal(size=(5, columns)), delimiter=",", fmt="%.7g")


def make_files(name: str, folder: Path) -> None:
    """A folder as the record of a data set describes it, with few files."""
    if name.startswith("ntu"):
        clips = ["S001C001P001R001A001", "S002C002P003R001A002"]
        ntu_files.write_folder(folder / "nturgb+d_skeletons", clips + ["S018C001P003R001A120"] * (name == "ntu120"))
    elif name == "kinetics":
        random = np.random.default_rng(0)
        for split, clip in (("train", "BGpcy4xZKdQ"), ("val", "0zN4jxvJ8Zw")):
            (folder / f"kinetics_{split}").mkdir(parents=True)
            (folder / f"kinetics_{split}_label.json").write_text("{}")
            poses, scores = random.random((4, 36)).round(3).tolist(), random.uniform(0.1, 1, (4, 18)).round(3).tolist()
            bodies = [{"pose": pose, "score": score} for pose, score in zip(poses, scores, strict=True)]
            data = [{"frame_index": frame, "skeleton": [body]} for frame, body in enumerate(bodies, start=1)]
            content = {"data": data, "label": "abseiling", "label_index": 0}
            (folder / f"kinetics_{split}" / f"{clip}.json").write_text(json.dumps(content))
    elif name == "h36m":
        for subject in (1, 5):
            rows(folder / f"S{subject}" / f"{H36M_ACTIONS[subject]}_1.txt", 99)
    elif name == "cmu":
        rows(folder / "train" / "walking" / "walking_1.txt", 117)
        rows(folder / "test" / "walking" / "walking_1.txt", 117)
    else:
        (folder / "wave").mkdir(parents=True)
        np.savetxt(folder / "wave" / "anna_1.csv", np.random.default_rng(0).normal(size=(5, 60)), delimiter=",", fmt="%.4f")


def test_every_data_set_of_a_preset_has_a_record():
    for preset in preset_names():
        if preset not in (*NETWORKS, "demo"):
            name, _ = find_source(preset)
            assert preset.startswith(name)


@pytest.mark.parametrize("name", sources())
def test_the_commands_work_on_such_a_folder(name: str, tmp_path: Path):
    """Import and check, word for word; what is trained is a preset for this data set; a frame has as many bytes as is said."""
    source = sources()[name]
    folder, store = tmp_path / "FOLDER", tmp_path / "STORE"
    make_files(name, folder)
    imported, *others = source.commands
    assert imported.startswith("symgnn data import FOLDER STORE")
    assert all(f"--{side}" in " ".join(others) for side in ("data", "out")) and others[-1].startswith("symgnn evaluate RUN")
    for command in source.commands:
        words = [{"FOLDER": str(folder), "STORE": str(store)}.get(word, word) for word in command.split()]
        if words[1] == "data":
            assert main(words[1:]) == 0, command
        if words[1] == "train":
            assert find_source(words[2])[0] == name and Path(words[4]) in (folder, store)
    frames = Store.open(store).frames
    said = re.search(r"(\d+) bytes a (joint|frame)", source.store)
    assert said and int(said[1]) == frames[0].nbytes // (frames.shape[1] if said[2] == "joint" else 1)


def test_files_are_counted_by_setup(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for setup in range(1, 33):
        path = tmp_path / f"part{setup > 17:d}" / f"S{setup:03d}C001P001R001A001.skeleton"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "S001C001P001R001A001_rgb.avi").touch()
    assert main(["data", "how", "ntu120", "--check", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "17 of 56,880" in printed and "15 of 57,600" in printed
    assert sum(files.count or 0 for files in sources()["ntu120"].files) == 114_480
    assert sources()["h36m"].files[0].count == 7 * len(H36M_ACTIONS) * 2


def test_a_whole_folder_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for subject in (1, 5, 6, 7, 8, 9, 11):
        for action in H36M_ACTIONS:
            for number in (1, 2):
                path = tmp_path / f"S{subject}" / f"{action}_{number}.txt"
                path.parent.mkdir(exist_ok=True)
                path.touch()
    monkeypatch.chdir(tmp_path)
    assert main(["data", "how", "h36m", "--check", "."]) == 0
    (tmp_path / "S11" / "walking_2.txt").unlink()
    assert main(["data", "how", "h36m", "--check", "."]) == 1


def test_what_is_printed(capsys: pytest.CaptureFixture[str]):
    assert main(["data", "how"]) == 0
    listed = capsys.readouterr().out
    assert all(re.search(rf"^{name} +{re.escape(source.title)}", listed, re.MULTILINE) for name, source in sources().items())
    for name, source in sources().items():
        assert main(["data", "how", name]) == 0
        printed = capsys.readouterr().out
        assert "\x1b" not in printed
        words = " ".join(printed.split())
        for part in (source.page, source.terms, *source.download, *source.commands, source.clips, *source.unverified):
            assert " ".join(part.split()) in words
    assert main(["data", "how", "cmu-long-cpu"]) == 0
    assert "cmu-short" in capsys.readouterr().out


def test_unknown_names(tmp_path: Path):
    with pytest.raises(InputError, match="'ntu6'; did you mean ntu60"):
        find_source("ntu6")
    with pytest.raises(InputError, match=r"there are: ntu60, .*own"):
        find_source("xxxx")
    assert main(["data", "how", "--check", str(tmp_path)]) == 2
    assert main(["data", "how", "cmu", "--check", str(tmp_path / "nothing")]) == 2
