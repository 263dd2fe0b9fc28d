import logging
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from symgnn.data import Store, import_data, open_data, opening, recognise
from symgnn.data.readers import expmap_text, read_cmu, read_h36m
from symgnn.errors import InputError
from symgnn.skeleton import load_layout

CMU, H36M = 117, 99


def text_of(rows: list[list[str | int]]) -> str:
    return "".join(",".join(str(value) for value in row) + "\n" for row in rows)


def some_rows(columns: int, rows: int = 3, seed: int = 0) -> list[list[str | int]]:
    """Numbers in every form the benchmarks use: -0, whole numbers, decimals, exponents."""
    random = np.random.default_rng(seed)
    values = 9 * random.normal(size=(rows, columns))
    return [
        [("-0", "0", int(v), f"{v:.9g}", f"{v / 1e7:.9g}")[(row + column) % 5] for column, v in enumerate(values[row])]
        for row in range(rows)
    ]


def put(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.fixture
def cmu(tmp_path: Path) -> Path:
    folder = tmp_path / "cmu"
    for seed, name in enumerate(
        ("train/walking/walking_1", "train/walking/walking_2", "train/washwindow/washwindow_10", "test/walking/walking_1")
    ):
        put(folder / f"{name}.txt", text_of(some_rows(CMU, 3 + seed, seed)))
    return folder


@pytest.fixture
def h36m(tmp_path: Path) -> Path:
    folder = tmp_path / "h36m"
    names = [
        f"S{subject}/{action}_{number}" for subject in (1, 5, 11) for action in ("walking", "walkingdog") for number in (1, 2)
    ]
    for seed, name in enumerate(names):
        put(folder / f"{name}.txt", text_of(some_rows(H36M, 2, seed)))
    return folder


# One file


def test_every_form_of_number(tmp_path: Path):
    rows = some_rows(CMU, 7)
    table = expmap_text.read_table(put(tmp_path / "a.txt", text_of(rows)), CMU)
    np.testing.assert_array_equal(table, [[float(value) for value in row] for row in rows])
    assert np.signbit(table[0, 0])  # the first is -0


@pytest.mark.parametrize(
    "change", [str.strip, lambda t: t.replace("\n", "\r\n"), lambda t: f"\ufeff{t}\n \n", lambda t: t.replace(",", ", ")]
)
def test_line_ends_marks_and_blanks(tmp_path: Path, change):
    rows = some_rows(H36M)
    table = expmap_text.read_table(put(tmp_path / "a.txt", change(text_of(rows))), H36M)
    np.testing.assert_array_equal(table, [[float(value) for value in row] for row in rows])


def with_cell(line: int, column: int, value: str) -> str:
    rows = some_rows(CMU, 4)
    rows[line - 1][column - 1] = value
    return text_of(rows)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "a.txt: empty; expected rows of 117 numbers"),
        (" \n\n", "a.txt: empty"),
        (with_cell(1, 1, "word"), "line 1, column 1: found 'word', expected a finite number"),
        (with_cell(3, 117, "1.5x"), "line 3, column 117: found '1.5x', expected a finite number"),
        (with_cell(2, 40, "nan"), "line 2, column 40: found 'nan', expected a finite number"),
        (with_cell(4, 5, "-inf"), "line 4, column 5: found '-inf', expected a finite number"),
        (with_cell(4, 5, "1e400"), "line 4, column 5: found 1e400, expected a number that fits float32"),
        (with_cell(4, 5, "-1e39"), "line 4, column 5: found -1e39, expected a number that fits float32"),
        (with_cell(2, 3, ""), "line 2, column 3: found nothing, expected a finite number"),
        (with_cell(2, 3, "1_0"), "line 2, column 3: found '1_0'"),
        (with_cell(2, 3, "#"), "line 2, column 3: found '#'"),
        (with_cell(2, 3, "x" * 99), f"line 2, column 3: found '{'x' * 40}...'"),
        (with_cell(2, 3, "1,2"), "line 2: found 118 columns, expected 117"),
        (text_of([*some_rows(CMU, 2), *some_rows(CMU - 1, 1)]), "line 3: found 116 columns, expected 117"),
        (text_of(some_rows(H36M)), "line 1: found 99 columns, expected 117; 99 columns are Human 3.6M's"),
        ("\n\n" + with_cell(2, 3, "word"), "line 4, column 3: found 'word'"),
        (with_cell(2, 3, "word").replace("\n", "\r\n"), "line 2, column 3: found 'word'"),
        (with_cell(1, 1, "word").replace(",", ";"), "line 1, column 1: found 'word;"),
        (with_cell(3, 2, "caf\xe9").encode("latin-1"), "line 3, column 2: found the byte 0xe9, expected UTF-8 text"),
        (b"\x00" * 1000, "line 1, column 1: found"),
        (bytes(range(256)) * 20, "found the byte 0x80"),
    ],
)
def test_bad_text_is_named_by_line_and_column(tmp_path: Path, content: str | bytes, message: str):
    path = put(tmp_path / "a.txt", content)
    with pytest.raises(InputError) as caught:
        expmap_text.read_table(path, CMU)
    assert message in str(caught.value) and str(path) in str(caught.value)


def test_file_that_cannot_be_read(tmp_path: Path):
    with pytest.raises(InputError, match=r"gone\.txt: cannot be read"):
        expmap_text.read_table(tmp_path / "gone.txt", CMU)


# Folders


def test_cmu_folder(cmu: Path):
    found = read_cmu(cmu)
    assert [record.source for record in found.records] == [
        "test/walking/walking_1.txt",
        "train/walking/walking_1.txt",
        "train/walking/walking_2.txt",
        "train/washwindow/washwindow_10.txt",
    ]
    assert [record.split for record in found.records] == ["test", "train", "train", "train"]
    assert [found.class_names[record.label] for record in found.records] == ["walking", "walking", "walking", "washwindow"]
    assert found.fps == 120.0 and found.layout.name == "cmu"
    clips = list(found.clips())
    np.testing.assert_array_equal(clips[0].frames.reshape(-1, CMU), np.array(some_rows(CMU, 6, 3)).astype(float))
    # The first triple of a row is the root's translation, the second the root's turn.
    assert clips[0].frames.shape == (6, 39, 3)
    assert "train/walking/walking_3.txt" in found.missing and "train/walking/walking_2.txt" not in found.missing
    assert "test/washwindow/washwindow_1.txt" in found.missing
    assert found.leaked == ()


def test_h36m_folder(h36m: Path):
    found = read_h36m(h36m)
    assert len(found.records) == 12 and len(found.missing) == 7 * 15 * 2 - 12 and "S6/walking_1.txt" in found.missing
    assert {(record.subject, record.split) for record in found.records} == {("1", "train"), ("5", "test"), ("11", "train")}
    assert found.class_names[:2] == ("walking", "eating") and len(found.class_names) == 15
    assert len({record.recording for record in found.records}) == 12
    assert {record.label for record in found.records} == {0, found.class_names.index("walkingdog")}
    assert found.fps == 50.0
    assert next(found.clips()).frames.shape == (2, 33, 3)


def test_other_files_are_left_out_by_name(cmu: Path, caplog: pytest.LogCaptureFixture):
    """The release has a folder of further walks that is not part of the benchmark."""
    put(cmu / "train" / "walking_extra" / "walking_13.txt", "not read")
    put(cmu / "train" / "walking" / "notes.txt", "not read")
    found = read_cmu(cmu)
    assert len(found.records) == 4
    assert "train/walking_extra/walking_13.txt" in caplog.text and "train/walking/notes.txt" in caplog.text


def test_training_files_that_are_test_files(h36m: Path, caplog: pytest.LogCaptureFixture):
    shutil.copy(h36m / "S5" / "walking_1.txt", h36m / "S11" / "walkingdog_2.txt")
    # As long as a test file but different: no leak.
    put(h36m / "S1" / "walking_1.txt", (h36m / "S5" / "walking_2.txt").read_bytes()[:-2] + b"7\n")
    found = read_h36m(h36m)
    assert found.leaked == ("S11/walkingdog_2.txt",)
    assert [record.source for record in found.records if record.split == "leak"] == ["S11/walkingdog_2.txt"]
    store = open_data(h36m, progress=False)
    assert store.leaked == ("S11/walkingdog_2.txt",) and len(store.select(split="train")) == 7
    assert "copies of test files, left out of training: S11/walkingdog_2.txt" in caplog.text


@pytest.mark.parametrize(("read", "form"), [(read_cmu, "{train,test}/<action>/"), (read_h36m, "S<subject>/<action>_")])
def test_folders_without_the_benchmark(tmp_path: Path, read, form: str):
    with pytest.raises(InputError, match="no such folder"):
        read(tmp_path / "nowhere")
    with pytest.raises(InputError, match="not a folder"):
        read(put(tmp_path / "file", "x"))
    with pytest.raises(InputError) as caught:
        read(tmp_path)
    assert form in str(caught.value) and "walking" in str(caught.value)


def test_recognise(cmu: Path, h36m: Path, motion: Store, tmp_path: Path):
    assert (recognise(cmu), recognise(h36m), recognise(motion.path)) == ("cmu", "h36m", "store")
    with pytest.raises(InputError, match="no such folder; expected a store or a data set's folder"):
        recognise(tmp_path / "nowhere")
    with pytest.raises(InputError, match="not a folder"):
        recognise(put(tmp_path / "file", "x"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="not recognised: found an empty folder"):
        recognise(tmp_path / "empty")
    put(tmp_path / "other" / "clip.bvh", "x")
    with pytest.raises(InputError, match=r"not recognised: found clip\.bvh; expected store\.json"):
        recognise(tmp_path / "other")


# Opening


def test_a_folder_is_converted_once(cmu: Path, cache: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch):
    store = open_data(cmu, progress=False)
    assert store.path.parent == cache and store.space == "expmap" and store.fps == 120.0
    np.testing.assert_array_equal(store.clip_frames(1), np.array(some_rows(CMU, 3, 0)).astype(np.float32).reshape(3, 39, 3))
    assert "train/soccer/soccer_1.txt" in store.missing
    assert "missing files of the benchmark, work goes on without: train/basketball/basketball_1.txt" in caplog.text

    # Nothing reads the text again: there is no reader any more.
    monkeypatch.delattr(expmap_text, "read_table")
    caplog.clear()
    assert open_data(cmu, load_layout("cmu"), progress=False).path == store.path
    assert "missing files" in caplog.text


def test_a_changed_file_is_read_again(cmu: Path):
    first = open_data(cmu, progress=False)
    path = cmu / "train" / "walking" / "walking_1.txt"
    before = path.stat()
    # Of the same size, one nanosecond later.
    put(path, path.read_text().replace("0", "1", 1))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    second = open_data(cmu, progress=False)
    assert second.path != first.path
    assert not np.array_equal(first.clip_frames(1), second.clip_frames(1))


def test_a_damaged_cached_store_is_made_again(cmu: Path, caplog: pytest.LogCaptureFixture):
    path = open_data(cmu, progress=False).path
    (path / "frames.npy").write_bytes(b"")
    assert len(open_data(cmu, progress=False).frames) == 3 + 4 + 5 + 6
    assert "converting" in caplog.text and "again" in caplog.text


def test_two_processes_convert_at_once(cmu: Path, monkeypatch: pytest.MonkeyPatch):
    """Whoever comes second opens the store of the first."""
    convert = opening._convert

    def slow(benchmark, target, progress):
        convert(benchmark, target, progress)
        return convert(benchmark, target, progress)

    monkeypatch.setattr(opening, "_convert", slow)
    assert len(open_data(cmu, progress=False).frames) == 18


def test_nothing_is_kept_of_bad_text(cmu: Path, cache: Path):
    put(cmu / "train" / "walking" / "walking_2.txt", "1,2\n")
    before = set(cache.iterdir())
    with pytest.raises(InputError, match=r"walking_2\.txt: line 1: found 2 columns, expected 117"):
        open_data(cmu, progress=False)
    assert set(cache.iterdir()) == before


def test_a_cache_that_cannot_be_written(cmu: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SYMGNN_CACHE", str(put(tmp_path / "file", "x") / "below"))
    with pytest.raises(InputError, match=r"cannot be written.*SYMGNN_CACHE"):
        open_data(cmu, progress=False)


def test_layouts_that_differ(cmu: Path, motion: Store):
    with pytest.raises(InputError, match=r"layout cmu has 38 joints.*expected layout h36m with 32"):
        open_data(cmu, load_layout("h36m"), progress=False)
    assert open_data(motion.path, load_layout("cmu")).path == motion.path


def test_kind_that_is_not_there(cmu: Path):
    with pytest.raises(InputError, match="no file of the h36m benchmark"):
        open_data(cmu, kind="h36m")


def test_import(cmu: Path, tmp_path: Path):
    store = import_data(cmu, tmp_path / "stores" / "mine", kind="cmu", progress=False)
    assert store.path == tmp_path / "stores" / "mine" and store.about["origin"] == "cmu"
    Store.open(store.path).verify()
    with pytest.raises(InputError, match="exists already"):
        import_data(cmu, store.path, progress=False)
    with pytest.raises(InputError, match="is a store already"):
        import_data(store.path, tmp_path / "copy")


def test_progress_is_shown(cmu: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    import_data(cmu, tmp_path / "store")
    shown = capsys.readouterr()
    assert "Reading cmu" in shown.err and "4/4 files" in shown.err and shown.out == ""


# The real files


def test_the_real_benchmark(shared_data: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.WARNING)
    start = time.process_time()
    store = open_data(shared_data / "cmu_mocap", progress=False)
    # About 0.6 s; the bound only says that nobody has made it slow.
    assert time.process_time() - start < 10
    assert store.missing == (
        "train/directing_traffic/directing_traffic_2.txt",
        "train/directing_traffic/directing_traffic_3.txt",
        "train/washwindow/washwindow_1.txt",
        "test/basketball_signal/basketball_signal_1.txt",
        "test/directing_traffic/directing_traffic_1.txt",
    )
    assert store.leaked == () and len(store.select(split="train")) == 32 and len(store.select(split="test")) == 6
    for index in store.select(label=store.class_names.index("running")):
        clip = store.clips[index]
        lines = (shared_data / "cmu_mocap" / clip.source).read_text().splitlines()
        expected = np.array([[float(cell) for cell in line.split(",")] for line in lines])
        np.testing.assert_array_equal(store.clip_frames(index).reshape(clip.length, -1), expected.astype(np.float32))
