"""Human 3.6M in space: the benchmark's rows as places in millimetres, and MPJPE as the field counts it.

The loops here are written from the protocol's text, with scipy's rotations, and share nothing with the package but the body's
constants, which tests/test_layout.py compares with the reference file.
"""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

import naive_angles
import symgnn
from symgnn.cli import main
from symgnn.data import ClipRecord, Store, import_data, open_data, write_store
from symgnn.data.readers import expmap_text
from symgnn.errors import InputError
from symgnn.evaluation import evaluate, load_protocol
from symgnn.models.baselines import ZeroVelocity
from symgnn.skeleton import load_layout
from symgnn.types import Motion, Output

BODY = load_layout("h36m")
COPIES = {16: 13, 20: 19, 23: 22, 24: 13, 28: 27, 31: 30}
STILL = (0, 1, 6, 11)
NODES = [joint for joint in range(32) if joint not in COPIES and joint not in STILL]
TIMES = {80: 2, 160: 4, 320: 8, 400: 10, 560: 14, 720: 18, 880: 22, 1000: 25}
"""Frame after the current one of each reported time."""

FRAMES = {
    **{f"S5/{action}_{number}": 340 + 10 * number for action in ("walking", "eating") for number in (1, 2)},
    **{f"S{subject}/{action}_1": 160 for action in ("walking", "eating") for subject in (1, 6)},
}
"""Rows of each file of a small benchmark."""

TINY = """
extends: h36m-3d-short
description: A network of next to nothing.
model: {width: 0.05, agim_iterations: 1}
training: {steps: 4, validate_every: 2, batch: 4}
"""


def written(folder: Path, frames: dict[str, int]) -> Path:
    """Files of the benchmark's form, a smooth walk through all 99 columns; the root moves and turns as well."""
    for seed, (name, length) in enumerate(frames.items()):
        path = folder / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng(seed)
        rows = random.normal(scale=0.4, size=99) + np.cumsum(random.normal(scale=0.02, size=(length, 99)), axis=0)
        np.savetxt(path, rows, fmt="%.8f", delimiter=",")
    return folder


def naive_places(path: Path) -> np.ndarray:
    """(rows, 32, 3) of a benchmark's file: columns 0-5 to zero, x_j = offset_j R_parent + x_parent with row vectors."""
    assert BODY.offsets is not None
    rows = np.array([[float(cell) for cell in line.split(",")] for line in path.read_text().splitlines()])
    found = np.zeros((len(rows), 32, 3))
    for row, places in zip(rows, found, strict=True):
        row[:6] = 0
        turns: list[np.ndarray] = []
        for joint in range(32):
            turn = Rotation.from_rotvec(row[3 * (joint + 1) : 3 * (joint + 2)]).as_matrix()
            parent = BODY.parents[joint]
            if parent < 0:
                turns.append(turn)
                places[joint] = 0
            else:
                turns.append(turn @ turns[parent])
                places[joint] = np.array(BODY.offsets[joint]) @ turns[parent] + places[parent]
    return found


def windows(folder: Path, rounds: int, actions: tuple[str, ...] = ("walking", "eating")) -> list[tuple[str, np.ndarray]]:
    """(action, 75 thinned frames of places) of each clip of the protocol, in its order."""
    found = []
    for action in actions:
        files = [naive_places(folder / "S5" / f"{action}_{number}.txt")[::2] for number in (1, 2)]
        for number, start in naive_angles.h36m_starts([len(places) for places in files], rounds):
            found.append((action, files[number - 1][start : start + 75]))
    return found


def naive_errors(guess: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """Mean distance over all 32 joints and over the 22 of a predicted pose (22, 3) against a true one (32, 3).

    A copy is as far off as what it copies, and what never moves is not off at all.
    """
    off = {joint: math.dist(guess[node], true[joint]) for node, joint in enumerate(NODES)}
    whole = sum(off[COPIES.get(joint, joint)] if joint not in STILL else 0.0 for joint in range(32)) / 32
    return whole, sum(off.values()) / 22


class Guess:
    """Predicts what it was given, window after window."""

    def __init__(self, future: np.ndarray):
        self.future, self.given = torch.from_numpy(future.astype(np.float32)), 0

    def __call__(self, observed: Motion, horizon: int) -> Output:
        rows = slice(self.given, self.given + len(observed))
        self.given = rows.stop
        return Output(logits=None, future=self.future[rows, :horizon])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("h36m") / "dataset", FRAMES)


@pytest.fixture(scope="module")
def store(folder: Path) -> Store:
    return open_data(folder, load_layout("h36m-3d"), progress=False)


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run trained by the command line on the benchmark's own folder."""
    place = tmp_path_factory.mktemp("runs")
    (place / "tiny.yaml").write_text(TINY, encoding="utf-8")
    assert main(["train", str(place / "tiny.yaml"), "--data", str(folder), "--out", str(place / "run")]) == 0
    return place / "run"


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The last line that a refused command leaves, after exit code 2."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    return capsys.readouterr().err.splitlines()[-1]


# --- places ---------------------------------------------------------------------------------------------------------------


def test_places_agree_with_the_loops(folder: Path, store: Store):
    assert (store.space, store.unit, store.fps, store.layout) == ("xyz", "mm", 50.0, load_layout("h36m-3d"))
    assert {clip.source.removesuffix(".txt"): clip.length for clip in store.clips} == FRAMES
    for index, clip in enumerate(store.clips):
        np.testing.assert_allclose(store.clip_frames(index), naive_places(folder / clip.source), rtol=0, atol=1e-3)


def test_places_are_found_a_block_at_a_time(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """However many frames there are, few are held as matrices: 7 here, the last block being shorter."""
    sizes = []

    def counted(rows, layout):
        sizes.append(len(rows))
        return symgnn.skeleton.forward_kinematics(rows, layout)

    monkeypatch.setattr(expmap_text, "_BLOCK", 7)
    monkeypatch.setattr(expmap_text, "forward_kinematics", counted)
    path = folder / "S1" / "walking_1.txt"
    rows = expmap_text.read_table(path, 99).reshape(-1, 33, 3)
    before = rows.copy()
    found = expmap_text.places(rows, BODY)
    np.testing.assert_array_equal(rows, before)  # the caller's rows keep their root
    assert sizes == [7] * 22 + [6] and found.dtype == np.float32
    np.testing.assert_allclose(found, naive_places(path), rtol=0, atol=1e-3)


def test_which_joints_copy_others_and_which_stand_still():
    """Of random rows, to the last bit of what a store keeps: these and no others."""
    rows = np.random.default_rng(0).normal(size=(200, 33, 3))
    places = expmap_text.places(rows, BODY)
    same = {(one, other) for one in range(32) for other in range(one) if np.array_equal(places[:, one], places[:, other])}
    groups = ((13, 16, 24), (19, 20), (22, 23), (27, 28), (30, 31))
    assert same == {(one, other) for group in groups for one in group for other in group if other < one}
    assert tuple(joint for joint in range(32) if (places[:, joint] == places[0, joint]).all()) == STILL


def test_translation_and_rotation_of_the_root_do_not_count():
    rows = np.random.default_rng(0).normal(size=(5, 33, 3))
    moved = rows.copy()
    moved[:, :2] += 1
    np.testing.assert_array_equal(expmap_text.places(rows, BODY), expmap_text.places(moved, BODY))


def test_bones_between_nodes_of_one_limb_keep_their_lengths(store: Store):
    """All but the two that lead across the hips, from the spine to the knees."""
    layout = store.layout
    places = np.asarray(store.clip_frames(0), np.float64)[:, list(layout.nodes)]
    loose = {
        layout.node_names[child]
        for parent, child in layout.edges
        if np.ptp(np.linalg.norm(places[:, child] - places[:, parent], axis=1)) > 0.01
    }
    assert loose == {"LeftLeg", "RightLeg"}


# --- stores and folders -----------------------------------------------------------------------------------------------------


def test_the_folder_has_two_forms(folder: Path, store: Store):
    """As angles unless places are asked for; both are kept, each under its own name."""
    angles = open_data(folder, progress=False)
    assert (angles.space, angles.layout.name) == ("expmap", "h36m") and angles.path != store.path
    assert open_data(folder, load_layout("h36m"), progress=False).path == angles.path
    assert open_data(folder, load_layout("h36m-3d"), progress=False).path == store.path
    assert open_data(folder, kind="h36m-3d", progress=False).path == store.path
    assert open_data(store.path, load_layout("h36m-3d")).path == store.path


def test_import(folder: Path, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    target = tmp_path / "places"
    assert main(["data", "import", str(folder), str(target), "--as", "h36m-3d"]) == 0
    made = Store.open(target)
    made.verify()
    assert made.about["origin"] == "h36m-3d" and made.missing == store.missing
    np.testing.assert_array_equal(made.frames, store.frames)
    assert [(clip.source, clip.split) for clip in made.clips] == [(clip.source, clip.split) for clip in store.clips]
    capsys.readouterr()
    assert main(["data", "info", str(target)]) == main(["data", "info", str(folder), "--as", "h36m-3d"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("layout h36m-3d: 32 joints, 22 in use") == printed.count("space xyz, unit mm") == 2


def test_copies_of_test_files_do_not_train(tmp_path: Path):
    copied = written(tmp_path / "leaky", {"S5/walking_1": 20, "S1/walking_1": 20})
    (copied / "S6").mkdir()
    (copied / "S6" / "walking_1.txt").write_bytes((copied / "S5" / "walking_1.txt").read_bytes())
    assert import_data(copied, tmp_path / "store", kind="h36m-3d", progress=False).leaked == ("S6/walking_1.txt",)


# --- the figures ------------------------------------------------------------------------------------------------------------


def test_errors_agree_with_the_loops(folder: Path, store: Store):
    random = np.random.default_rng(5)
    clips = windows(folder, rounds=4)
    future = np.stack([clip[50:, NODES] for _, clip in clips]) + random.normal(scale=60, size=(16, 25, 22, 3))
    errors = evaluate(Guess(future), load_protocol("h36m-3d-8"), store, batch=5).errors
    assert errors is not None and set(errors.average) == {"mpjpe", "mpjpe_in_use", "pck"}
    for time, frame in TIMES.items():
        expected = []
        for action in ("walking", "eating"):
            rows = [row for row, clip in enumerate(clips) if clip[0] == action]
            pairs = [naive_errors(future[row, frame - 1], clips[row][1][49 + frame]) for row in rows]
            correct = []
            for row in rows:
                body = clips[row][1][49, NODES]
                near = 0.05 * max(body[:, axis].max() - body[:, axis].min() for axis in range(3))
                true = clips[row][1][49 + frame, NODES]
                correct += [math.dist(a, b) <= near for a, b in zip(future[row, frame - 1], true, strict=True)]
            expected.append((*np.mean(pairs, axis=0), np.mean(correct)))
            found = errors.actions[action]
            figures = [found[metric][time] for metric in ("mpjpe", "mpjpe_in_use", "pck")]
            np.testing.assert_allclose(figures, expected[-1], rtol=1e-4)
        figures = [errors.average[metric][time] for metric in ("mpjpe", "mpjpe_in_use", "pck")]
        np.testing.assert_allclose(figures, np.mean(expected, axis=0), rtol=1e-4)


def test_a_joint_off_by_hand(store: Store):
    """Neck 32 mm off counts three times among 32 joints, once among 22; the head once in both."""
    protocol = load_protocol("h36m-3d-8")
    rows = protocol.cut(store, protocol.windows(store).windows)
    for joint, whole, used in ((13, 3.0, 32 / 22), (14, 1.0, 32 / 22), (27, 2.0, 32 / 22), (2, 1.0, 32 / 22)):
        future = rows[:, 50:, NODES].copy()
        future[:, :, NODES.index(joint), 1] += 32.0
        errors = evaluate(Guess(future), protocol, store).errors
        assert errors is not None
        for time in TIMES:
            assert errors.average["mpjpe"][time] == pytest.approx(whole, rel=1e-5)
            assert errors.average["mpjpe_in_use"][time] == pytest.approx(used, rel=1e-5)


def test_what_is_not_predicted_never_takes_the_truth(tmp_path: Path):
    """In data of another making the hips may move: then a prediction without hips is off by that."""
    layout = load_layout("h36m-3d")
    frames = np.zeros((400, 32, 3))
    frames[:, :, 0] = np.arange(400)[:, None]
    clips = [
        (ClipRecord(label=0, recording=f"S5_walking_{number}", split="test", source=f"S5/walking_{number}.txt"), frames)
        for number in (1, 2)
    ]
    store = write_store(tmp_path / "store", clips, layout=layout, space="xyz", fps=50.0, class_names=("walking",))
    protocol = load_protocol("h36m-3d-8")
    truth = protocol.cut(store, protocol.windows(store).windows)[:, 50:, NODES]
    errors = evaluate(Guess(truth), protocol, store).errors
    assert errors is not None
    # 80 ms are two kept frames, four of the recording's
    assert errors.average["mpjpe"][80] == pytest.approx(4 * 4 / 32) and errors.average["mpjpe_in_use"][80] == 0


def test_the_clips_are_those_of_the_angle_protocol(folder: Path, store: Store):
    angles = open_data(folder, progress=False)
    for rounds in ("8", "256"):
        places, turns = load_protocol(f"h36m-3d-{rounds}"), load_protocol(f"h36m-{rounds}")
        assert places.windows(store).windows == turns.windows(angles).windows
        assert (places.observed, places.future, places.step) == (turns.observed, turns.future, turns.step) == (50, 25, 2)
    assert {time: frame + 1 for time, frame in load_protocol("h36m-3d-256").frames.items()} == TIMES
    assert load_protocol("h36m-3d-256", future=10).milliseconds == (80, 160, 320, 400)


def test_zero_velocity_by_the_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """On the benchmark's own folder, which is opened in space for a protocol in space."""
    file = tmp_path / "result.json"
    words = ["evaluate", "zero-velocity", "--protocol", "h36m-3d-8", "--data", str(folder), "--json", str(file)]
    assert main(words) == 0
    printed = capsys.readouterr()
    found = json.loads(file.read_text(encoding="utf-8"))
    clips = windows(folder, rounds=4)
    for time, frame in TIMES.items():
        pairs = [naive_errors(clip[49, NODES], clip[49 + frame]) for _, clip in clips]
        expected = np.mean(pairs, axis=0)  # both actions have eight clips
        assert found["average"]["mpjpe"][str(time)] == pytest.approx(expected[0], rel=1e-4)
        assert found["average"]["mpjpe_in_use"][str(time)] == pytest.approx(expected[1], rel=1e-4)
        assert f"{expected[0]:.1f}" in printed.out and f"{expected[1]:.1f}" in printed.out
    assert found["unit"] == "mm" and found["clips"] == 16
    assert "(MPJPE, mm)" in printed.out and "joints in use alone" in printed.out
    assert "missing files of the benchmark" in printed.err


# --- from a folder to a judged model ----------------------------------------------------------------------------------------


def test_a_model_from_the_folder_to_its_report(run: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    model = symgnn.load(run / "last.ckpt")
    assert model.layout == load_layout("h36m-3d") and model.preset.data.space == "xyz" and model.card.fps == 50.0
    capsys.readouterr()
    file, page = tmp_path / "result.json", tmp_path / "report.html"
    words = ["evaluate", str(run), "--data", str(folder), "--json", str(file), "--html", str(page)]
    assert main([*words, "--protocol", "h36m-3d-8"]) == 0
    printed = capsys.readouterr().out
    found = json.loads(file.read_text(encoding="utf-8"))
    assert list(found["average"]["mpjpe"]) == list(found["average"]["mpjpe_in_use"]) == ["80", "160", "320", "400"]
    text = page.read_text(encoding="utf-8")
    assert "mm after ms" in text and "Without the joints that copy others or never move" in text
    # Both means, of the model and of zero-velocity, are in the table and in the report.
    for metric in ("mpjpe", "mpjpe_in_use"):
        for figures in (found["average"], found["zero_velocity"]["average"]):
            assert f"{figures[metric]['400']:.1f}" in printed
            assert f"{figures[metric]['400']:.1f}" in text

    store = open_data(folder, model.layout, progress=False)
    again = evaluate(model, load_protocol("h36m-3d-8", future=10), store).to_dict()
    assert again == found


def test_a_folder_is_predicted_from(run: Path, folder: Path, store: Store, tmp_path: Path):
    answers = tmp_path / "answers.npz"
    assert main(["predict", str(run), f"{folder}:0", "--out", str(answers)]) == 0
    (expected,) = symgnn.predict(symgnn.load(run / "last.ckpt"), [store.clip_frames(0)])
    assert expected.future is not None and expected.future.shape == (10, 22, 3)
    with np.load(answers) as content:
        futures = [content[name] for name in content.files if content[name].shape[-3:] == (10, 22, 3)]
    np.testing.assert_allclose(np.squeeze(futures[0]), expected.future, rtol=1e-5, atol=1e-3)


def test_presets():
    long, short = (symgnn.config.load_preset(f"h36m-3d-{horizon}") for horizon in ("long", "short"))
    angles = symgnn.config.load_preset("h36m-long")
    assert (long.model, long.training) == (angles.model, angles.training)
    assert long.data == replace(angles.data, layout="h36m-3d", space="xyz") and long.protocol == "h36m-3d-256"
    assert short.data == replace(long.data, future=10) and short.protocol == long.protocol


# --- what does not fit ------------------------------------------------------------------------------------------------------


def test_angles_where_places_are_wanted(run: Path, folder: Path, store: Store, tmp_path: Path, capsys):
    angles = import_data(folder, tmp_path / "angles", progress=False).path
    line = refused(capsys, "evaluate", "zero-velocity", "--protocol", "h36m-3d-8", "--data", angles)
    assert "has layout h36m; protocol h36m-3d-8 is for layout h36m-3d" in line
    line = refused(capsys, "evaluate", run, "--data", angles)
    assert "layout h36m" in line and "(21 in use)" in line and "layout h36m-3d" in line and "(22 in use)" in line
    line = refused(capsys, "evaluate", run, "--data", folder, "--protocol", "h36m-256")
    assert "has layout h36m-3d; protocol h36m-256 is for layout h36m" in line
    line = refused(capsys, "train", "h36m-long", "--data", store.path, "--out", tmp_path / "run")
    assert "layout h36m-3d" in line and "expected layout h36m " in line
    clip = ClipRecord(label=0, recording="S5_walking_1", split="test"), np.zeros((400, 33, 3))
    other = write_store(tmp_path / "o", [clip], layout=store.layout, space="expmap", fps=50.0, class_names=("walking",))
    with pytest.raises(InputError, match="is in space expmap; protocol h36m-3d-8 is for space xyz"):
        evaluate(ZeroVelocity(), load_protocol("h36m-3d-8"), other)


def test_folders_that_are_none(folder: Path, motion: Store, tmp_path: Path, capsys):
    assert "no such format; did you mean h36m-3d?" in refused(
        capsys, "data", "import", folder, tmp_path / "s", "--as", "h36m3d"
    )
    (tmp_path / "empty").mkdir()
    line = refused(capsys, "data", "import", tmp_path / "empty", tmp_path / "s", "--as", "h36m-3d")
    assert "no file of the h36m benchmark" in line
    assert "no file of the h36m benchmark" in refused(capsys, "data", "info", motion.path, "--as", "h36m-3d")
    broken = written(tmp_path / "broken", {"S1/walking_1": 5})
    path = broken / "S1" / "walking_1.txt"
    path.write_text(path.read_text().replace(",", ",x", 1))
    line = refused(capsys, "data", "import", broken, tmp_path / "s", "--as", "h36m-3d")
    assert f"{path}: line 1, column 2: found 'x" in line and not (tmp_path / "s").exists()


def test_a_rotation_as_long_as_a_number_can_be(tmp_path: Path):
    """Finite numbers of any size are turns, and turns keep every bone's length: no NaN gets into a store."""
    folder = written(tmp_path / "large", {"S1/walking_1": 4})
    path = folder / "S1" / "walking_1.txt"
    rows = np.loadtxt(path, delimiter=",")
    rows[1, 6:] = 1e30
    rows[2, 6:] = -3e38
    rows[3, 6:] = 1e-30
    np.savetxt(path, rows, delimiter=",")
    places = import_data(folder, tmp_path / "store", kind="h36m-3d", progress=False).frames
    assert BODY.offsets is not None
    for joint, parent in enumerate(BODY.parents):
        if parent >= 0:
            lengths = np.linalg.norm(places[:, joint] - places[:, parent], axis=1)
            np.testing.assert_allclose(lengths, np.linalg.norm(BODY.offsets[joint]), rtol=1e-4, atol=1e-2)
