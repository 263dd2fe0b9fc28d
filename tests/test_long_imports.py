"""Imports of many files: stopped anywhere, gone on with, the same to the byte."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ntu_files import write_folder
from symgnn.cli import main
from symgnn.data import importing
from symgnn.data import journal as journal_module
from symgnn.data.importing import ImportOptions, import_recordings
from symgnn.data.journal import JOURNAL, Journal
from symgnn.errors import InputError

FILES = 90
OPTIONS = ImportOptions(layout="coco17", fps=30.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """JSON lines with a class for each frame in two of three files, classes that turn up in no order, two bad files."""
    place = tmp_path_factory.mktemp("long") / "in"
    place.mkdir()
    random = np.random.default_rng(0)
    for number in range(FILES):
        lines = []
        for frame in range(6 + number % 5):
            keypoints = random.normal(size=(17, 3)).round(4).tolist()
            label = {"label": f"class {(97 * number + frame) % 7}"} if number % 3 else {}
            lines.append(json.dumps({"joints": keypoints, **label}))
        (place / f"r{number}.jsonl").write_text("\n".join(lines))
    (place / "r20.jsonl").write_text("rubbish")
    (place / "r70.jsonl").write_text('{"joints": []}')
    return place


def content(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(store.iterdir())}


@pytest.fixture(scope="module")
def whole(folder: Path) -> Path:
    """The store of an import that was never stopped."""
    store = folder.parent / "whole"
    done = import_recordings(folder, store, options=OPTIONS, progress=False)
    assert done.done_before == 0 and [file for file, _ in done.bad] == ["r20.jsonl", "r70.jsonl"]
    assert set(content(store)) == {"clips.csv", "frames.npy", "labels.npy", "store.json"}
    assert not list(folder.parent.glob(".*")), "nothing is left beside it"
    return store


class Killed(BaseException):
    pass


def stopped_after(files: int, folder: Path, store: Path, monkeypatch: pytest.MonkeyPatch, safe: bool = True) -> None:
    """An import that ends without a word behind so many files; ``safe`` tells whether every line was written at once."""
    with monkeypatch.context() as patch:
        patch.setattr(journal_module, "PAUSE", -1.0 if safe else 1e9)
        patch.setattr(importing, "_read_all", counted(importing._read_all, files))
        if not safe:  # a kill: there is no last word
            patch.setattr(importing, "_make_safe", lambda *_: None)
        with pytest.raises(Killed):
            import_recordings(folder, store, options=OPTIONS, progress=False)
    assert not store.exists()


def counted(read, files: int):
    def some(*arguments):
        found = read(*arguments)
        for number, each in enumerate(found):
            if number == files:
                found.close()
                raise Killed
            yield each

    return some


@pytest.mark.parametrize("files", [1, 20, 21, 45, FILES])
def test_what_was_stopped_goes_on(files: int, folder: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = tmp_path / "whole"
    if files == FILES:
        with monkeypatch.context() as patch:
            patch.setattr(importing, "publish", lambda *_: (_ for _ in ()).throw(Killed))
            with pytest.raises(Killed):
                import_recordings(folder, store, options=OPTIONS, progress=False)
    else:
        stopped_after(files, folder, store, monkeypatch)
    done = import_recordings(folder, store, options=OPTIONS, progress=False)
    assert done.done_before == files and [file for file, _ in done.bad] == ["r20.jsonl", "r70.jsonl"]
    assert content(store) == content(whole)
    assert not list(tmp_path.glob(".*"))
    assert (tmp_path / "whole.bad.csv").read_bytes() == (whole.parent / "whole.bad.csv").read_bytes()


@pytest.mark.parametrize("again", [1, 2])
def test_what_was_written_but_not_told_is_written_again(
    again: int, folder: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Frames of twenty files more than the journal knows, and half a line behind it."""
    store = tmp_path / "whole"
    for _ in range(again):
        stopped_after(30, folder, store, monkeypatch)
        stopped_after(20, folder, store, monkeypatch, safe=False)
        journal = tmp_path / ".whole.partial" / JOURNAL
        journal.write_bytes(journal.read_bytes() + b'{"file":"r99')
    done = import_recordings(folder, store, options=OPTIONS, progress=False)
    assert done.done_before == 30 * again and content(store) == content(whole)


@pytest.mark.parametrize("change", ["options", "file", "more files", "journal"])
def test_other_work_is_not_mixed_in(change: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = tmp_path / "in"
    shutil.copytree(folder, source)
    store = tmp_path / "whole"
    stopped_after(50, source, store, monkeypatch)
    options = OPTIONS
    if change == "options":
        options = ImportOptions(layout="coco17", fps=30.0, shortest=8)
    elif change == "file":
        (source / "r3.jsonl").write_text((folder / "r4.jsonl").read_text())
    elif change == "more files":
        shutil.copy(folder / "r4.jsonl", source / "a.jsonl")
    else:
        journal = tmp_path / ".whole.partial" / JOURNAL
        journal.write_bytes(journal.read_bytes().replace(b'"file":"r7.jsonl"', b'"file":"r7.jso'))
    done = import_recordings(source, store, options=options, progress=False)
    assert done.done_before == 0 and any("started anew" in note for note in done.notes)
    expected = import_recordings(source, tmp_path / "expected", options=options, progress=False)
    assert content(done.store.path) == content(expected.store.path)


def test_one_at_a_time(folder: Path, tmp_path: Path):
    key = importing._Import(folder, "jsonl", OPTIONS).key()
    other = Journal(tmp_path / ".whole.partial", key)
    with pytest.raises(InputError, match="another import"):
        import_recordings(folder, tmp_path / "whole", options=OPTIONS, progress=False)
    other.release()
    import_recordings(folder, tmp_path / "whole", options=OPTIONS, progress=False)


def test_nothing_usable_leaves_nothing(tmp_path: Path):
    for number in range(70):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"{number}.jsonl").write_text("rubbish")
    with pytest.raises(InputError, match="none of 70 files"):
        import_recordings(tmp_path / "in", tmp_path / "store", options=OPTIONS, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_for_real(how: signal.Signals, folder: Path, whole: Path, tmp_path: Path):
    """The command, killed again and again at whatever it is doing, until it is done."""
    store = tmp_path / "whole"
    often = "from symgnn.data import journal\njournal.PAUSE = 0.02\n"
    script = f"import sys\n{often}from symgnn.cli import main\nsys.exit(main(sys.argv[1:]))"
    words = ["data", "import", str(folder), str(store), "--layout", "coco17", "--fps", "30"]
    kills, random = 0, np.random.default_rng(int(how))
    journal = tmp_path / ".whole.partial" / JOURNAL
    for _ in range(12):
        before = size_of(journal)
        # Ctrl-C is ignored where the tests run in the background: the command is to have it as in a terminal.
        process = subprocess.Popen(
            [sys.executable, "-c", script, *words],
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        # Not before it is at work: Python itself may be interrupted while it loads.
        until = time.monotonic() + 60
        while process.poll() is None and size_of(journal) == before and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.3))
        if kills < 3 and process.poll() is None:
            os.killpg(process.pid, how)
            kills += 1
        _, said = process.communicate(timeout=60)
        if store.exists():
            break
        assert process.returncode == (130 if how == signal.SIGINT else -signal.SIGKILL), said.decode()
        if how == signal.SIGINT:
            assert b"the same command goes on" in said and b"Traceback" not in said
    assert content(store) == content(whole)
    assert not list(tmp_path.glob(".*"))


# --- what is not read -----------------------------------------------------------------------------------------------------


def test_lists_of_files_to_leave_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    names = [f"S001C001P{subject:03}R001A{action:03}" for subject in (1, 2) for action in (1, 2)] + ["S018C001P001R001A061"]
    write_folder(tmp_path / "in", names, frames=(15, 20))
    listed = tmp_path / "missing.txt"
    listed.write_text(
        "samples with missing skeletons\n\nS001C001P001R001A002\nS001C001P002R001A001.skeleton\nS017C003P020R002A060\n"
    )
    words = ["data", "import", str(tmp_path / "in"), str(tmp_path / "store"), "--as", "ntu", "--split-as", "ntu60-xsub"]
    assert main([*words, "--leave-out", str(listed)]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "left out: 2 files named in" in said and "left out: 1 files of NTU RGB+D 120 alone" in said
    clips = (tmp_path / "store" / "clips.csv").read_text()
    assert all((name in clips) == (name in ("S001C001P001R001A001", "S001C001P002R001A002")) for name in names)


def test_label_files_of_kinetics(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Classes are in the order of the label files, whose word counts; clips without a skeleton are left out."""
    root = tmp_path / "in"
    clips = {"kinetics_train": ("aaaaaaaaaaa", "bbbbbbbbbbb", "ccccccccccc"), "kinetics_val": ("ddddddddddd", "eeeeeeeeeee")}
    random = np.random.default_rng(0)
    for part, names in clips.items():
        (root / part).mkdir(parents=True)
        for name in names:
            pose = {"pose": random.uniform(0.2, 0.8, 36).round(3).tolist(), "score": [0.5] * 18}
            frames = [{"frame_index": frame, "skeleton": [pose]} for frame in range(1, 9)]
            label, index = ("zumba", 0) if name[0] in "ad" else ("abseiling", 1)
            text = json.dumps({"data": frames, "label": label, "label_index": index})
            (root / part / f"{name}.json").write_text(text)
    train = {
        "aaaaaaaaaaa": {"has_skeleton": True, "label": "zumba", "label_index": 0},
        "bbbbbbbbbbb": {"has_skeleton": False, "label": "abseiling", "label_index": 1},
        "ccccccccccc": {"has_skeleton": True, "label": "abseiling", "label_index": 1},
    }
    test = {"ddddddddddd": {"has_skeleton": True, "label": "abseiling", "label_index": 1}}
    (root / "kinetics_train_label.json").write_text(json.dumps(train))
    (root / "kinetics_val_label.json").write_text(json.dumps(test))
    assert main(["data", "import", str(root), str(tmp_path / "store"), "--as", "kinetics"]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "left out: 1 clips without a skeleton" in said
    assert "is in no label file" in said and "says that its class is 'zumba', the label file says 'abseiling'" in said
    about = json.loads((tmp_path / "store" / "store.json").read_text())
    assert about["class_names"] == ["zumba", "abseiling"]
    rows = (tmp_path / "store" / "clips.csv").read_text().splitlines()[1:]
    assert [row.split(",")[2:4] for row in rows] == [["0", "kinetics_train/aaaaaaaaaaa"], ["1", "kinetics_train/ccccccccccc"]]


def test_options_that_would_change_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    place = tmp_path / "train" / "walking"
    place.mkdir(parents=True)
    (place / "walking_1.txt").write_text(",".join(["0"] * 117) + "\n")
    assert main(["data", "import", str(tmp_path), str(tmp_path / "store"), "--fps", "30", "--layout", "cmu"]) == 2
    assert "--layout, --fps: of files of your own" in capsys.readouterr().err
