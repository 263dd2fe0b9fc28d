"""Both answers for clips of any length and from any file, and clear words where there is nothing to answer."""

import json
import logging
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from symgnn.config import DataConfig, ModelConfig, Preset
from symgnn.data import ClipRecord, Store, open_data, write_store
from symgnn.errors import InputError
from symgnn.models import SymGNN
from symgnn.models.checkpoint import Card, TrainedModel, load, save
from symgnn.runtime import Prediction, predict, prediction_page, read_clips, write_predictions
from symgnn.skeleton import load_layout

OBSERVED, STEP, FUTURE, FPS = 10, 2, 4, 50.0
CLASSES = ("walking", "jumping", "sitting")


def make_model(space: str = "xyz", **config: object) -> TrainedModel:
    """A small network with random weights that answers differently to different clips."""
    torch.manual_seed(3)
    settings: dict[str, object] = {"width": 0.1, **config}
    layout = load_layout("cmu")
    data = DataConfig(layout="cmu", space=space, step=STEP, observed=OBSERVED, future=FUTURE)  # pyright: ignore[reportArgumentType]
    preset = Preset(name="tiny", description="", protocol="demo", data=data, model=ModelConfig(**settings))  # pyright: ignore[reportArgumentType]
    network = SymGNN(preset.model, layout, observed=OBSERVED, channels=3, classes=len(CLASSES))
    with torch.no_grad():
        for weights in network.parameters():
            # An untrained network predicts no movement: its last weights are zero.
            weights.copy_(1.5 * weights if weights.any() else 0.1 * torch.randn_like(weights))
    mean = np.random.default_rng(5).normal(scale=1.0, size=(len(layout.stored(preset.data.space)), 3))
    stored = tuple(tuple(row) for row in mean.tolist())
    return TrainedModel(network, Card(preset, layout, CLASSES, stored, FPS, "0", step=12)).eval()


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    return make_model()


def motion(frames: int, seed: int = 0, joints: int = 26) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(1, joints, 3)) + 0.2 * rng.normal(size=(frames, joints, 3)).cumsum(axis=0)).astype(np.float32)


@pytest.fixture
def warnings_said(caplog: pytest.LogCaptureFixture):
    """Messages of the package's logger, also where the command line has taken it over."""
    logger = logging.getLogger("symgnn.runtime")
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


def same(a: Prediction, b: Prediction, tolerance: float = 1e-5) -> None:
    assert a.label == b.label and a.probabilities.keys() == b.probabilities.keys()
    for name, value in a.probabilities.items():
        assert abs(value - b.probabilities[name]) <= tolerance
    assert a.future is not None and b.future is not None and a.future.shape == b.future.shape
    assert np.abs(a.future - b.future).max() <= tolerance


# --- answers ------------------------------------------------------------------------------------------------------------


def test_an_answer_is_the_networks_on_the_last_frames(model: TrainedModel):
    clip = motion(40)
    (answer,) = predict(model, [clip])
    window = np.stack([clip[39 - STEP * (OBSERVED - 1 - k)] for k in range(OBSERVED)])
    assert np.array_equal(answer.observed, window) and np.array_equal(window[-1], clip[-1])
    with torch.no_grad():
        output = model.network(torch.from_numpy(window)[None], FUTURE)
    assert output.logits is not None and output.future is not None
    powers = np.exp(output.logits[0].double().numpy())
    expected = dict(zip(CLASSES, powers / powers.sum(), strict=True))
    assert answer.probabilities == pytest.approx(expected, abs=1e-6)
    assert sum(answer.probabilities.values()) == pytest.approx(1.0, abs=1e-12)
    assert answer.label == max(expected, key=lambda name: expected[name])
    assert answer.future is not None and np.allclose(answer.future, output.future[0].numpy(), atol=1e-5)
    assert answer.milliseconds == pytest.approx([40.0, 80.0, 120.0, 160.0])
    assert answer.padded == 0


def test_answers_differ_between_clips(model: TrainedModel):
    """Else the comparisons of this file would prove nothing."""
    one, two = predict(model, [motion(30), motion(30, seed=1)])
    assert one.future is not None and two.future is not None
    for answer in (one, two):
        assert answer.future is not None and np.abs(answer.future - answer.observed[-1]).max() > 0.05
    assert np.abs((one.future - one.observed[-1]) - (two.future - two.observed[-1])).max() > 0.01
    assert abs(one.probabilities["walking"] - two.probabilities["walking"]) > 0.01


@pytest.mark.parametrize("batch", [1, 2, 32])
def test_clips_of_different_lengths_are_answered_as_one_by_one(model: TrainedModel, batch: int):
    clips = [motion(length, seed) for seed, length in enumerate((40, 1, 19, 7, 33))]
    together = predict(model, clips, batch=batch)
    for clip, answer in zip(clips, together, strict=True):
        (alone,) = predict(model, [clip])
        same(answer, alone)
        assert answer.padded == alone.padded


@pytest.mark.parametrize(
    ("length", "kept"),
    [(1, [0]), (2, [1]), (3, [0, 2]), (8, [1, 3, 5, 7]), (18, list(range(1, 18, 2))), (19, list(range(0, 19, 2)))],
)
def test_a_short_clip_is_padded_on_the_left_and_says_so(
    model: TrainedModel, length: int, kept: list[int], warnings_said: pytest.LogCaptureFixture
):
    clip = motion(length)
    (answer,) = predict(model, [clip], names=["my clip"])
    missing = OBSERVED - len(kept)
    assert answer.padded == missing
    by_hand = np.concatenate([clip[[kept[0]] * missing], clip[kept]])
    assert np.array_equal(answer.observed, by_hand)
    # The same window written out at the recording's rate needs no padding and gets the same answer.
    (whole,) = predict(model, [np.repeat(by_hand, STEP, axis=0)])
    assert whole.padded == 0
    same(answer, whole)
    said = [record.message for record in warnings_said.records]
    assert (said == []) if missing == 0 else ("my clip" in said[0] and f"{len(kept)} frames" in said[0])


def test_all_stored_joints_or_those_in_use(model: TrainedModel):
    full = motion(30, joints=38)
    nodes = list(load_layout("cmu").nodes)
    ours, theirs = predict(model, [full, full[:, nodes]])
    same(ours, theirs)
    rotations = make_model("expmap")
    rows = 0.2 * motion(30, joints=39)
    ours, theirs = predict(rotations, [rows, rows[:, [node + 1 for node in nodes]]])
    same(ours, theirs)


def test_any_horizon(model: TrainedModel):
    short, long = (predict(model, [motion(30)], horizon=horizon)[0] for horizon in (2, 9))
    assert short.future is not None and long.future is not None
    assert short.future.shape == (2, 26, 3) and long.future.shape == (9, 26, 3)
    assert np.allclose(short.future, long.future[:2], atol=1e-5)
    assert len(long.milliseconds) == 9


def test_missing_joints_are_answered(model: TrainedModel):
    clip = motion(30)
    clip[5:15, 3] = np.nan
    clip[:, 7] = np.nan
    (answer,) = predict(model, [clip])
    assert answer.future is not None and np.isfinite(answer.future).all()
    assert np.isnan(answer.observed[:, 7]).all(), "what was missing stays so in the record"


def test_numbers_of_other_kinds_are_taken(model: TrainedModel):
    clip = np.arange(30 * 26 * 3).reshape(30, 26, 3) % 7
    whole, real = predict(model, [clip, clip.astype(np.float64)])
    same(whole, real)


def test_training_mode_is_left_out_and_left_as_it_was(model: TrainedModel):
    (expected,) = predict(model, [motion(30)])
    model.train()
    try:
        (answer,) = predict(model, [motion(30)])
        assert model.training and model.network.training
    finally:
        model.eval()
    same(answer, expected)


def test_a_model_with_one_head_gives_one_answer():
    (naming,) = predict(make_model(prediction=False), [motion(30)])
    assert naming.future is None and naming.milliseconds == () and naming.label in CLASSES
    (seeing,) = predict(make_model(recognition=False), [motion(30)])
    assert seeing.label is None and seeing.probabilities == {} and seeing.future is not None


def test_no_clips_no_answers(model: TrainedModel):
    assert predict(model, []) == []


def with_value(value: float) -> np.ndarray:
    clip = motion(5)
    clip[3, 14, 1] = value
    return clip


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        (
            motion(5, joints=20),
            r"walk: found shape \(5, 20, 3\).*26 joints in use or the 38 stored of layout cmu \(space xyz\)",
        ),
        (motion(5)[..., :2], r"found shape \(5, 26, 2\)"),
        (motion(5)[0], r"found shape \(26, 3\)"),
        (motion(5)[:0], "holds no frames"),
        (with_value(np.inf), r"frame 3, joint LeftArm, channel 1: found inf, expected a finite number"),
        (with_value(-np.inf).astype(np.float64), r"frame 3, joint LeftArm, channel 1: found -inf"),
        (np.full((4, 26, 3), np.nan), "every value of the joints in use is missing"),
        (np.full((4, 26, 3), 1e39), r"frame 0, joint LeftUpLeg, channel 0: found 1e\+39"),
        (np.full((4, 26, 3), "x"), "found values of type <U1, expected numbers"),
        (motion(5).astype(complex), "found values of type complex"),
    ],
)
def test_bad_clips_are_named(model: TrainedModel, clip: np.ndarray, message: str):
    with pytest.raises(InputError, match=message):
        predict(model, [motion(20), clip], names=["good", "walk"])


def test_bad_numbers_are_refused(model: TrainedModel):
    with pytest.raises(InputError, match="horizon: found 0"):
        predict(model, [motion(20)], horizon=0)
    with pytest.raises(InputError, match="batch: found -1"):
        predict(model, [motion(20)], batch=-1)


def test_a_checkpoint_alone_is_enough(model: TrainedModel, tmp_path: Path):
    save(tmp_path / "model.ckpt", model)
    (again,) = predict(load(tmp_path / "model.ckpt"), [motion(30)])
    (expected,) = predict(model, [motion(30)])
    same(again, expected)


# --- files --------------------------------------------------------------------------------------------------------------


def write_text(path: Path, rows: np.ndarray, separator: str, heading: str = "") -> Path:
    lines = [separator.join(repr(float(value)) for value in row) for row in rows.reshape(len(rows), -1)]
    path.write_text(heading + "\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_the_same_clip_from_every_kind_of_file(model: TrainedModel, tmp_path: Path):
    clip = motion(6)
    np.save(tmp_path / "a.npy", clip)
    np.save(tmp_path / "flat.npy", clip.reshape(6, -1).astype(np.float64))
    np.savez(tmp_path / "b.npz", clip)
    write_text(tmp_path / "c.csv", clip, ",")
    write_text(tmp_path / "d.txt", clip, "  ")
    heading = ",".join(f"{name}.{axis}" for name in load_layout("cmu").node_names for axis in "xyz") + "\n\n"
    write_text(tmp_path / "e.csv", clip, ",", heading)
    (tmp_path / "f.csv").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "c.csv").read_bytes().replace(b"\n", b"\r\n"))
    for name in ("a.npy", "flat.npy", "b.npz", "c.csv", "d.txt", "e.csv", "f.csv"):
        (found,) = read_clips(tmp_path / name, model)
        assert np.array_equal(found.frames, clip), name
        assert name in found.name


def test_an_npz_holds_several_clips(model: TrainedModel, tmp_path: Path):
    np.savez(tmp_path / "many.npz", left=motion(6), right=motion(9, joints=38))
    left, right = read_clips(tmp_path / "many.npz", model)
    assert left.name.endswith("many.npz: left") and np.array_equal(left.frames, motion(6))
    assert np.array_equal(right.frames, motion(9, joints=38)[:, list(load_layout("cmu").nodes)])


def test_missing_values_of_a_table(model: TrainedModel, tmp_path: Path):
    lines = [["1"] * 78, ["2"] * 78, ["3"] * 78]
    lines[1][4], lines[2][0] = "", "NaN"
    (tmp_path / "gaps.csv").write_text("\n".join(",".join(line) for line in lines))
    (clip,) = read_clips(tmp_path / "gaps.csv", model)
    assert np.argwhere(np.isnan(clip.frames)).tolist() == [[1, 1, 1], [2, 0, 0]]
    assert (clip.frames[0] == 1).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"bad\.csv: empty; expected a frame a line"),
        ("\n  \n", "empty"),
        ("a,b\n", "only headings"),
        ("1,2,3\n", r"line 1: found 3 columns, expected 78 or 114 columns \(26 joints in use or the 38 stored of layout cmu"),
        (",".join(["0"] * 78) + "\n\n" + ",".join(["0"] * 77), "line 3: found 77 columns"),
        (",".join(["0"] * 78) + "\n" + ",".join(["0"] * 114), "line 2: found 114 columns, expected 78 as in the first frame"),
        (
            ",".join(["0"] * 40 + ["oops"] + ["0"] * 37),
            r"line 1, column 41: found 'oops', expected a finite number, or nothing where it is missing",
        ),
        (",".join(["0"] * 40 + ["inf"] + ["0"] * 37), r"line 1, column 41: found 'inf'"),
        (",".join(["0"] * 40 + ["1e39"] + ["0"] * 37), r"line 1, column 41: found '1e39'"),
        (",".join(["0"] * 78) + "\n" + ",".join(["walking"] * 78), r"line 2, column 1: found 'walking'"),
        (",".join(["nan"] * 78) + "\n" + ",".join(["nan"] * 78), "every value of the joints in use is missing"),
    ],
)
def test_bad_tables_name_line_and_column(model: TrainedModel, tmp_path: Path, text: str, message: str):
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_clips(tmp_path / "bad.csv", model)


def test_bad_files_are_named(model: TrainedModel, tmp_path: Path):
    (tmp_path / "bytes.txt").write_bytes(b"1 2\n\xff\xfe 3")
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "text.npy").write_text("1,2,3")
    (tmp_path / "text.npz").write_text("1,2,3")
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "none.npz")
    np.save(tmp_path / "cut.npy", motion(6))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "cut.npy").read_bytes()[:-100])
    (tmp_path / "clip.bvh").write_text("HIERARCHY")
    (tmp_path / "film.mp4").write_bytes(b"0")
    (tmp_path / "folder").mkdir()
    for name, message in {
        "bytes.txt": "line 2: found the byte 0xff, expected UTF-8 text",
        "empty.npy": "cannot be read as arrays",
        "text.npy": "cannot be read as arrays",
        "text.npz": "cannot be read as arrays",
        "objects.npy": "cannot be read as arrays",
        "none.npz": "holds no array",
        "cut.npy": "cannot be read as arrays",
        "clip.bvh": r"clip\.bvh: line 1: ",
        "film.mp4": r"found no file of a known kind; expected \.csv",
        "nowhere.csv": "no such file or folder",
        "nowhere:3": "no such file or folder",
        "folder": "found no file of a known kind",
    }.items():
        with pytest.raises(InputError, match=message) as raised:
            read_clips(tmp_path / name, model)
        assert name.split(":")[0] in str(raised.value)


def test_clips_of_a_store(motion: Store):
    model = make_model()
    model.card = replace(model.card, fps=motion.fps)
    nodes = list(motion.layout.columns("xyz"))
    every = read_clips(motion.path, model)
    assert len(every) == len(motion.clips)
    for index in (0, 5):
        (clip,) = read_clips(f"{motion.path}:{index}", model)
        assert np.array_equal(clip.frames, motion.clip_frames(index)[:, nodes])
        assert np.array_equal(every[index].frames, clip.frames)
        assert motion.clips[index].recording in clip.name and every[index].name == clip.name
    with pytest.raises(
        InputError, match=rf":999: the store has {len(motion.clips)} clips, expected 0 to {len(motion.clips) - 1}"
    ):
        read_clips(f"{motion.path}:999", model)
    with pytest.raises(InputError, match=r"space xyz\), expected .*space expmap"):
        read_clips(motion.path, make_model("expmap"))


def test_a_store_of_another_body_or_rate(tmp_path: Path, warnings_said: pytest.LogCaptureFixture):
    model = make_model()
    frames = np.zeros((5, 25, 3), np.float32)
    other = write_store(
        tmp_path / "ntu", [(ClipRecord(recording="a"), frames)], layout=load_layout("ntu25"), space="xyz", fps=FPS
    )
    with pytest.raises(InputError, match=r"layout ntu25 has 25 joints.*expected layout cmu"):
        read_clips(other.path, model)
    slow = write_store(
        tmp_path / "slow", [(ClipRecord(recording="a"), motion(9, joints=38))], layout=model.layout, space="xyz", fps=25.0
    )
    (clip,) = read_clips(slow.path, model)
    assert "25 frames a second, the model was trained on 50: resampled" in warnings_said.text
    stored = motion(9, joints=38)[:, list(model.layout.nodes)]
    assert np.array_equal(clip.frames[::2], stored)
    assert np.allclose(clip.frames[1::2], (stored[1:] + stored[:-1]) / 2, atol=1e-6)


def test_rows_of_the_benchmark(shared_data: Path):
    model = make_model("expmap")
    file = shared_data / "cmu_mocap" / "test" / "walking" / "walking_1.txt"
    (clip,) = read_clips(file, model)
    store = open_data(shared_data / "cmu_mocap", progress=False)
    (index,) = (k for k, record in enumerate(store.clips) if record.source == "test/walking/walking_1.txt")
    assert np.array_equal(clip.frames, store.clip_frames(index)[:, list(store.layout.columns("expmap"))])


# --- results ------------------------------------------------------------------------------------------------------------


def test_predictions_as_json(model: TrainedModel, tmp_path: Path):
    answers = predict(model, [motion(30), motion(4)])
    write_predictions(tmp_path / "out.json", answers, ["long", "short"], model)
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["joints"] == list(model.layout.node_names) and found["milliseconds"] == [40, 80, 120, 160]
    assert found["model"]["preset"] == "tiny" and found["model"]["step"] == 12 and found["frames_a_second"] == 25
    assert [clip["clip"] for clip in found["clips"]] == ["long", "short"]
    assert [clip["padded"] for clip in found["clips"]] == [0, 8]
    for clip, answer in zip(found["clips"], answers, strict=True):
        assert clip["label"] == answer.label and clip["probabilities"] == answer.probabilities
        assert answer.future is not None
        assert np.array_equal(np.array(clip["future"], np.float32), answer.future), "every bit of float32 survives"


def test_predictions_as_arrays(model: TrainedModel, tmp_path: Path):
    answers = predict(model, [motion(30), motion(4)])
    write_predictions(tmp_path / "out.npz", answers, ["long", "short"], model)
    with np.load(tmp_path / "out.npz") as found:
        assert found["clips"].tolist() == ["long", "short"] and found["classes"].tolist() == list(CLASSES)
        assert found["labels"].tolist() == [answer.label for answer in answers]
        assert np.array_equal(found["future"], np.stack([answer.future for answer in answers if answer.future is not None]))
        assert found["probabilities"][1].tolist() == list(answers[1].probabilities.values())
        assert found["padded"].tolist() == [0, 8] and found["milliseconds"].tolist() == [40, 80, 120, 160]


def test_results_of_a_model_with_one_head(tmp_path: Path):
    naming = make_model(prediction=False)
    answers = predict(naming, [motion(30)])
    write_predictions(tmp_path / "out.json", answers, ["a"], naming)
    assert json.loads((tmp_path / "out.json").read_text())["clips"][0]["future"] is None
    write_predictions(tmp_path / "out.npz", answers, ["a"], naming)
    with np.load(tmp_path / "out.npz") as found:
        assert "future" not in found and found["labels"].shape == (1,)


def test_results_are_written_whole_or_not_at_all(model: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    answers = predict(model, [motion(30)])
    with pytest.raises(InputError, match=r"out\.txt: found the suffix '\.txt', expected \.json or \.npz"):
        write_predictions(tmp_path / "out.txt", answers, ["a"], model)
    (tmp_path / "out.json").write_text("before")

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match=r"out\.json: cannot be written: No space left on device"):
        write_predictions(tmp_path / "out.json", answers, ["a"], model)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("out.json", "before")]


@pytest.mark.parametrize("space", ["xyz", "expmap"])
def test_the_page_shows_what_was_answered(space: str):
    model = make_model(space)
    clips = [0.3 * motion(30), 0.3 * motion(4)]
    clips[0][29, 2] = np.nan
    answers = predict(model, clips)
    html = prediction_page(answers, ["first <clip>", "second"], model)
    assert "first &lt;clip&gt;" in html and "its first pose was repeated 8 times" in html
    shown = [json.loads(text) for text in re.findall(r'<script type="application/json">(.*?)</script>', html)]
    assert [(clip["observed"], len(clip["frames"])) for clip in shown] == [(10, 14), (2, 6)]
    assert [len(clip["frames"][0]) for clip in shown] == [26 if space == "xyz" else 38] * 2
    assert (shown[0]["frames"][9][2] is None) == (space == "xyz"), "a missing angle is drawn at its mean"
    for answer in answers:
        assert answer.label is not None and f"{100 * answer.probabilities[answer.label]:.1f} %" in html


def test_rotations_without_offsets_cannot_be_drawn():
    model = make_model("expmap")
    model.card = replace(model.card, layout=replace(model.layout, offsets=None))
    with pytest.raises(InputError, match="no offsets"):
        prediction_page(predict(model, [motion(30)]), ["a"], model)


@pytest.mark.parametrize(("factor", "told"), [(1.0, None), (3.0, None), (1000.0, "times as large"), (0.01, "times as small")])
def test_a_body_in_another_unit_is_told(factor: float, told: str | None, warnings_said: pytest.LogCaptureFixture):
    """Millimetres given to a model of metres are answered, and it is said that the answer is worth little."""
    model = make_model()
    mean = np.array(model.card.stored_mean)
    mean /= np.ptp(mean[list(model.layout.nodes)], axis=0).max()
    model.card = replace(model.card, stored_mean=tuple(tuple(row) for row in mean.tolist()))
    body = mean[list(model.layout.nodes)] + 0.01 * np.random.default_rng(0).normal(size=(30, 26, 3))
    body[4, 3] = np.nan
    predict(model, [(factor * body + 50).astype(np.float32)])
    said = [record.getMessage() for record in warnings_said.records]
    assert any("another unit" in words and told in words for words in said) if told else not said
