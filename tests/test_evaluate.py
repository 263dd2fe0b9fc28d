import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

import naive_angles
from symgnn.config import load_preset
from symgnn.data import ClipRecord, Store, import_data, split_recordings, write_store
from symgnn.errors import InputError
from symgnn.evaluation import Errors, Result, evaluate, load_protocol, on_held_out, per_cell_minimum
from symgnn.evaluation.protocols import HELD_OUT_WINDOWS
from symgnn.models.baselines import ZeroVelocity
from symgnn.models.checkpoint import Card, TrainedModel, build
from symgnn.skeleton import load_layout
from symgnn.types import Motion, Output

BENCHMARK = Path(__file__).parents[2] / "shared" / "data" / "cmu_mocap"
ACTIONS = (
    "basketball", "basketball_signal", "directing_traffic", "jumping", "running", "soccer", "walking", "washwindow",
)  # fmt: skip

ZERO_VELOCITY = {
    "cmu-long": {
        "basketball": (0.488, 0.821, 1.404, 1.640, 2.048, 2.831),
        "jumping": (0.363, 0.616, 1.484, 1.683, 1.988, 2.027),
        "running": (0.563, 0.995, 1.381, 1.459, 1.573, 1.543),
        "soccer": (0.274, 0.477, 0.922, 1.096, 1.362, 1.839),
        "walking": (0.407, 0.602, 0.832, 0.951, 1.085, 1.338),
        "washwindow": (0.340, 0.567, 0.896, 1.093, 1.301, 1.468),
    },
    "cmu-short": {
        "basketball": (0.488, 0.821, 1.404, 1.640),
        "jumping": (0.363, 0.616, 1.484, 1.683),
        "running": (0.449, 0.832, 1.407, 1.573),
        "soccer": (0.274, 0.477, 0.922, 1.096),
        "walking": (0.404, 0.580, 0.766, 0.891),
        "washwindow": (0.320, 0.526, 0.899, 1.086),
    },
}
"""Zero-velocity on the benchmark's test files, at 80 160 320 400 (560 1000) ms: computed apart from this package."""
FIVE = {80: 0.419, 160: 0.702, 320: 1.205, 400: 1.366, 1000: 1.916}
"""Its mean over the five actions that have training files too, cmu-long."""


class Fixed(nn.Module):
    """Answers what it is told, whatever it sees, and remembers what it saw and in what state it was."""

    observed: int
    stored_mean: torch.Tensor
    class_names: tuple[str, ...]

    def __init__(self, future: torch.Tensor | None = None, logits: torch.Tensor | None = None):
        super().__init__()
        self.future, self.logits = future, logits
        self.inner = nn.ModuleList([nn.Dropout(), nn.BatchNorm1d(3)])
        self.seen: list[torch.Tensor] = []
        self.horizons: set[int] = set()
        self.states: set[tuple[bool, ...]] = set()
        self.given = 0

    def forward(self, observed: Motion, horizon: int) -> Output:
        self.seen.append(observed.clone())
        self.horizons.add(horizon)
        self.states.add((torch.is_inference_mode_enabled(), *(module.training for module in self.modules())))
        rows = slice(self.given, self.given + len(observed))
        self.given += len(observed)
        return Output(
            logits=None if self.logits is None else self.logits[rows],
            future=None if self.future is None else self.future[rows],
        )


def smooth(random: np.random.Generator, frames: int, stored: int, size: float = 0.08) -> np.ndarray:
    return np.cumsum(size * random.normal(size=(frames, stored, 3)), axis=0).astype(np.float32)


@pytest.fixture
def angles(tmp_path: Path) -> Store:
    """Two actions of CMU with a test and a training file each; in the test files every triple moves, in use or not."""
    random = np.random.default_rng(0)
    clips = [
        (ClipRecord(label=ACTIONS.index(action), recording=f"{action}_1", split=split), smooth(random, frames, 39))
        for action, frames in (("running", 200), ("soccer", 333))
        for split in ("train", "test")
    ]
    return write_store(tmp_path / "angles", clips, layout=load_layout("cmu"), space="expmap", fps=120.0, class_names=ACTIONS)


@pytest.fixture
def positions(tmp_path: Path) -> Store:
    """Six test clips of exactly one window, of classes 0 1 2 3 4 0."""
    layout = load_layout("ntu25")
    random = np.random.default_rng(0)
    clips = [
        (ClipRecord(label=label, recording=f"clip {number}", split="test"), smooth(random, 75, 25))
        for number, label in enumerate([0, 1, 2, 3, 4, 0])
    ]
    names = ("bow", "clap", "jump", "kick", "walk", "wave")
    return write_store(tmp_path / "positions", clips, layout=layout, space="xyz", fps=25.0, unit="m", class_names=names)


ONCE = replace(load_protocol("demo"), draw=replace(load_protocol("demo").draw, per_clip=1))
"""The demo protocol with a single window of each clip."""


def rows_of(store: Store, action: str) -> np.ndarray:
    (clip,) = store.select(split="test", label=ACTIONS.index(action))
    return store.clip_frames(clip)[::2]


# --- published figures --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def benchmark_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    if not BENCHMARK.is_dir():
        pytest.skip("CMU Mocap is not there (expected in ../shared/data/cmu_mocap): its zero-velocity table is not checked")
    return import_data(BENCHMARK, tmp_path_factory.mktemp("cmu") / "store", progress=False)


@pytest.mark.parametrize("name", ["cmu-long", "cmu-short"])
def test_zero_velocity_is_the_published_one(benchmark_store: Store, name: str):
    result = evaluate(ZeroVelocity(), load_protocol(name), benchmark_store)
    assert result.errors is not None and result.errors.actions.keys() == ZERO_VELOCITY[name].keys()
    for action, row in ZERO_VELOCITY[name].items():
        found = list(result.errors.actions[action]["angle_mae"].values())
        np.testing.assert_allclose(found, row, rtol=0, atol=5.01e-4, err_msg=action)
    assert result.missing == (
        "basketball_signal: no test/basketball_signal/basketball_signal_1.txt",
        "directing_traffic: no test/directing_traffic/directing_traffic_1.txt",
    )
    assert result.clips == dict.fromkeys(ZERO_VELOCITY[name], 8)


def test_zero_velocity_over_five_actions(benchmark_store: Store):
    result = evaluate(ZeroVelocity(), load_protocol("cmu-long"), benchmark_store)
    assert result.errors is not None
    five = [figures["angle_mae"] for action, figures in result.errors.actions.items() if action != "washwindow"]
    for time, expected in FIVE.items():
        assert abs(sum(figures[time] for figures in five) / 5 - expected) < 5.01e-4


# --- the whole way, against loops ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("own_mean", [False, True])
def test_angle_mae_agrees_with_the_loops(angles: Store, own_mean: bool):
    """Random predictions for the joints in use; every other triple takes the training mean, never the truth."""
    random = np.random.default_rng(1)
    future = random.normal(scale=0.3, size=(16, 25, 26, 3)).astype(np.float32)
    model = Fixed(torch.from_numpy(future))
    mean = np.concatenate([angles.clip_frames(clip) for clip in angles.select(split="train")]).mean(axis=0, dtype=np.float64)
    if own_mean:
        mean = random.normal(size=(39, 3))
        model.stored_mean = torch.from_numpy(mean)
    result = evaluate(model, load_protocol("cmu-long"), angles, batch=5, up_to=True)

    errors = {}
    clip = 0
    for action in ("running", "soccer"):
        rows = rows_of(angles, action)
        errors[action] = []
        for start in naive_angles.cmu_starts(len(rows), 75):
            guess = np.repeat(mean[None], 25, axis=0)
            for node, column in enumerate(angles.layout.nodes):
                guess[:, 1 + column] = future[clip, :, node]
            errors[action].append(naive_angles.angle_error(guess, rows[start + 50 : start + 75]))
            clip += 1
    assert result.errors is not None
    for time, frame in ((80, 2), (160, 4), (320, 8), (400, 10), (560, 14), (1000, 25)):
        at = [np.mean([error[frame - 1] for error in errors[action]]) for action in errors]
        up_to = [np.mean([np.mean(error[:frame]) for error in errors[action]]) for action in errors]
        for metric, expected in (("angle_mae", at), ("angle_mae_up_to", up_to)):
            found = [result.errors.actions[action][metric][time] for action in errors]
            np.testing.assert_allclose(found, expected, rtol=1e-6)
            np.testing.assert_allclose(result.errors.average[metric][time], np.mean(expected), rtol=1e-6)
    assert result.clips == {"running": 8, "soccer": 8}


def test_zero_velocity_stands_beside(angles: Store):
    protocol = load_protocol("cmu-short")
    beside = evaluate(Fixed(torch.zeros(16, 10, 26, 3)), protocol, angles).zero_velocity
    alone = evaluate(ZeroVelocity(), protocol, angles)
    assert beside == alone.errors == alone.zero_velocity and alone.model == "zero-velocity"


def test_a_perfect_prediction_leaves_what_is_not_predicted(positions: Store, angles: Store):
    """Positions count for the joints in use alone; with angles the unpredicted triples still cost."""
    truth = torch.from_numpy(np.stack([positions.clip_frames(clip)[50:] for clip in range(6)]))
    errors = evaluate(Fixed(truth), ONCE, positions).errors
    assert errors is not None
    assert set(errors.average["mpjpe"].values()) == {0.0} and set(errors.average["pck"].values()) == {1.0}

    nodes = [1 + joint for joint in angles.layout.nodes]
    rows = [
        rows_of(angles, action)[start + 50 : start + 75, nodes]
        for action in ("running", "soccer")
        for start in naive_angles.cmu_starts(len(rows_of(angles, action)), 75)
    ]
    errors = evaluate(Fixed(torch.from_numpy(np.stack(rows))), load_protocol("cmu-long"), angles).errors
    assert errors is not None and min(errors.average["angle_mae"].values()) > 0.1


def test_positions_by_hand(positions: Store):
    """Off by 5 everywhere; actions count the same however many clips they have ("bow" has two of the six)."""
    truth = torch.from_numpy(np.stack([positions.clip_frames(clip)[50:] for clip in range(6)]))
    off = torch.tensor([5.0, 1, 2, 3, 4, 7])[:, None, None, None] * torch.tensor([0.6, 0.0, -0.8])
    errors = evaluate(Fixed(truth + off), ONCE, positions).errors
    assert errors is not None
    for time in (80, 160, 320, 400, 560, 1000):
        found = [errors.actions[action]["mpjpe"][time] for action in ("bow", "clap", "jump", "kick", "walk")]
        np.testing.assert_allclose(found, [6, 1, 2, 3, 4], rtol=1e-5)
        np.testing.assert_allclose(errors.average["mpjpe"][time], 16 / 5, rtol=1e-5)


def test_a_frame_is_the_frame_of_its_milliseconds(positions: Store):
    """Off by the number of the future frame: at 80 ms that is 2, at 1000 ms 25."""
    truth = torch.from_numpy(np.stack([positions.clip_frames(clip)[50:] for clip in range(6)]))
    off = torch.arange(1.0, 26)[:, None, None] * torch.tensor([0.0, 1, 0])
    errors = evaluate(Fixed(truth + off), ONCE, positions).errors
    assert errors is not None
    expected = {80: 2, 160: 4, 320: 8, 400: 10, 560: 14, 1000: 25}
    assert errors.average["mpjpe"] == pytest.approx(expected, rel=1e-5)


def test_joints_are_correct_by_the_size_of_the_last_observed_body(tmp_path: Path):
    """1 high until then, 100 in the last observed frame, 1 again in the future: 4.9 off is close enough, 5.1 is not."""
    frames = np.zeros((75, 25, 3), np.float32)
    frames[:, 7, 1] = 1.0
    frames[49, 7, 1] = 100.0
    store = write_store(
        tmp_path / "store",
        [(ClipRecord(label=0, recording="a", split="test"), frames)],
        layout=load_layout("ntu25"),
        space="xyz",
        fps=25.0,
        class_names=("walk",),
    )
    off = torch.zeros(1, 25, 25, 3)
    off[:, :, :10, 2], off[:, :, 10:, 2] = 4.9, 5.1
    errors = evaluate(Fixed(torch.from_numpy(frames[None, 50:]) + off), ONCE, store).errors
    assert errors is not None and set(errors.average["pck"].values()) == {0.4}


def test_missing_joints_are_left_out(tmp_path: Path):
    """Joint 3 is missing in the future, joint 4 in the last observed frames, everything at 160 ms."""
    random = np.random.default_rng(0)
    frames = smooth(random, 75, 25)
    truth = torch.from_numpy(frames[None, 50:].copy())
    frames[50:, 3] = np.nan
    frames[45:50, 4] = np.nan
    frames[53] = np.nan
    clip = ClipRecord(label=0, recording="gaps", split="test")
    store = write_store(
        tmp_path / "gaps", [(clip, frames)], layout=load_layout("ntu25"), space="xyz", fps=25.0, class_names=("walk",)
    )
    off = torch.ones(25, 3)
    off[3] = 1000.0
    model = Fixed(truth + off)
    result = evaluate(model, ONCE, store)
    assert model.seen[0][0, 45:, 4].isnan().all() and model.seen[0].isnan().sum() == 15
    assert result.errors is not None and result.zero_velocity is not None
    assert result.errors.average["mpjpe"][80] == pytest.approx(math.sqrt(3), rel=1e-5)
    assert math.isnan(result.errors.average["mpjpe"][160]) and math.isnan(result.errors.average["pck"][160])
    assert result.to_dict()["average"]["mpjpe"]["160"] is None

    # zero velocity repeats the last frame in which a joint was seen
    last = np.where(np.arange(25)[:, None] == 4, frames[44], frames[49])
    distances = [math.dist(frames[51, joint], last[joint]) for joint in range(25) if joint != 3]
    assert result.zero_velocity.average["mpjpe"][80] == pytest.approx(np.mean(distances), rel=1e-5)


def image_store(path: Path, frames: np.ndarray, unit: str = "px") -> Store:
    """One test clip of 18 joints in an image."""
    clip = ClipRecord(label=0, recording="a", split="test")
    layout = load_layout("openpose18")
    return write_store(path, [(clip, frames)], layout=layout, space="xyc", fps=25.0, unit=unit, class_names=("walk",))


IMAGE = replace(load_protocol("image"), draw=replace(load_protocol("image").draw, per_clip=1))


def test_positions_in_an_image_by_hand(tmp_path: Path):
    """3 and 4 pixels off are 5; how sure the detector was neither counts nor makes the body larger; joint 3 is not there."""
    random = np.random.default_rng(0)
    frames = smooth(random, 75, 18).astype(np.float64)
    frames[..., 2] = random.uniform(0, 1e4, size=(75, 18))
    frames[49, :, :2] = 0.0
    frames[49, 7] = (40.0, 100.0, 1.0)  # 0.05 of 100 is 5
    frames[50:, 3] = np.nan
    store = image_store(tmp_path / "store", frames)
    truth = torch.from_numpy(store.clip_frames(0)[None, 50:].copy()).nan_to_num(1e6)
    off = torch.tensor([3.0, 3.99, -7e4]).expand(18, 3).clone()
    off[10:, 1] = 4.01
    result = evaluate(Fixed(truth + off), IMAGE, store)
    assert result.errors is not None and result.zero_velocity is not None
    expected = (9 * math.hypot(3, 3.99) + 8 * math.hypot(3, 4.01)) / 17
    for time, frame in ((80, 2), (160, 4), (320, 8), (400, 10), (560, 14), (1000, 25)):
        assert result.errors.average["mpjpe"][time] == pytest.approx(expected, rel=1e-5)
        assert result.errors.average["pck"][time] == pytest.approx(9 / 17)
        distances = [math.dist(frames[49 + frame, j, :2], frames[49, j, :2]) for j in range(18) if j != 3]
        assert result.zero_velocity.average["mpjpe"][time] == pytest.approx(np.mean(distances), rel=1e-5)
    assert result.unit == "px" and "(MPJPE, px)" in str(result.error_tables()[0].title)


def test_the_unit_of_shares_of_an_image_is_said(tmp_path: Path):
    store = image_store(tmp_path / "store", smooth(np.random.default_rng(0), 75, 18), unit="image")
    result = evaluate(ZeroVelocity(), IMAGE, store)
    assert "(MPJPE, shares of the image's width and height)" in str(result.error_tables()[0].title)


def test_protocols_of_an_image_and_of_space_are_apart(positions: Store, tmp_path: Path):
    store = image_store(tmp_path / "store", smooth(np.random.default_rng(0), 75, 18))
    with pytest.raises(InputError, match="is in space xyc; protocol demo is for space xyz"):
        evaluate(ZeroVelocity(), load_protocol("demo"), store)
    with pytest.raises(InputError, match="is in space xyz; protocol image is for space xyc"):
        evaluate(ZeroVelocity(), load_protocol("image"), positions)


def test_zero_velocity_of_a_joint_never_seen():
    observed = torch.ones(1, 4, 2, 3)
    observed[0, :, 1] = math.nan
    answer = ZeroVelocity()(observed, 2)
    assert answer.logits is None and answer.future is not None
    assert answer.future.tolist() == [[[[1.0] * 3, [0.0] * 3]] * 2]


# --- what the model is given --------------------------------------------------------------------------------------------


def test_the_model_sees_the_joints_in_use_before_the_target(angles: Store):
    model = Fixed(torch.zeros(16, 25, 26, 3))
    evaluate(model, load_protocol("cmu-long"), angles, batch=7)
    assert [len(rows) for rows in model.seen] == [7, 7, 2] and model.horizons == {25}
    nodes = [1 + joint for joint in angles.layout.nodes]
    expected = [
        rows_of(angles, action)[start : start + 50, nodes]
        for action in ("running", "soccer")
        for start in naive_angles.cmu_starts(len(rows_of(angles, action)), 75)
    ]
    np.testing.assert_array_equal(torch.cat(model.seen).numpy(), np.stack(expected))


def test_a_model_of_a_shorter_window_sees_the_last_frames(angles: Store):
    whole, part = Fixed(torch.zeros(16, 25, 26, 3)), Fixed(torch.zeros(16, 25, 26, 3))
    part.observed = 20
    protocol = load_protocol("cmu-long")
    assert evaluate(whole, protocol, angles).errors == evaluate(part, protocol, angles).errors
    torch.testing.assert_close(torch.cat(part.seen), torch.cat(whole.seen)[:, 30:], rtol=0, atol=0)
    part.observed = 51
    with pytest.raises(InputError, match="observes 51 frames, protocol cmu-long shows 50"):
        evaluate(part, protocol, angles)


def test_the_model_runs_in_evaluation_mode_and_gets_its_own_back(angles: Store):
    model = Fixed(torch.zeros(16, 25, 26, 3))
    model.inner[1].eval()  # frozen batch norm in a model that trains
    before = [module.training for module in model.modules()]
    assert set(before) == {True, False}
    evaluate(model, load_protocol("cmu-long"), angles)
    assert model.states == {(True, False, False, False, False)}
    assert [module.training for module in model.modules()] == before and not torch.is_inference_mode_enabled()

    broken = Fixed(torch.zeros(16, 3, 26, 3))
    with pytest.raises(InputError, match=r"predicted shape \(16, 3, 26, 3\), expected \(16, 25, 26, 3\)"):
        evaluate(broken, load_protocol("cmu-long"), angles)
    assert all(module.training for module in broken.modules())


def test_the_batch_size_changes_nothing(angles: Store):
    future = torch.randn(16, 25, 26, 3, generator=torch.Generator().manual_seed(0))
    one, all_ = (evaluate(Fixed(future), load_protocol("cmu-long"), angles, batch=batch) for batch in (1, 64))
    assert one.errors is not None and all_.errors is not None
    for action in one.errors.actions:
        assert one.errors.actions[action]["angle_mae"] == pytest.approx(all_.errors.actions[action]["angle_mae"], rel=1e-12)


# --- recognition --------------------------------------------------------------------------------------------------------


def scores(*answers: int, classes: int = 6) -> torch.Tensor:
    """Logits whose best class is the answer, the others following in their order."""
    falling = -torch.arange(float(classes)).expand(len(answers), classes).clone()
    falling[torch.arange(len(answers)), list(answers)] = 1.0
    return falling


def test_recognition_by_hand(positions: Store):
    """Labels 0 1 2 3 4 0, answers 0 1 0 3 5 5: three of six; class 4 of the fifth clip is sixth of six, the last is second."""
    found = evaluate(Fixed(logits=scores(0, 1, 0, 3, 5, 5)), ONCE, positions)
    assert found.errors is None and found.zero_velocity is None and found.recognition is not None
    assert found.recognition.top1 == 0.5 and found.recognition.clips == 6
    assert found.recognition.top5 == pytest.approx(5 / 6)
    assert found.recognition.interval == pytest.approx((0.18761, 0.81239), abs=1e-5)
    assert found.recognition.actions == {"bow": 0.5, "clap": 1.0, "jump": 0.0, "kick": 1.0, "walk": 0.0}
    expected = np.zeros((6, 6), int)
    for label, answer in zip([0, 1, 2, 3, 4, 0], [0, 1, 0, 3, 5, 5], strict=True):
        expected[label, answer] += 1
    np.testing.assert_array_equal(found.recognition.confusion, expected)


def test_classes_are_matched_by_name(positions: Store):
    """A model whose classes come in another order, one of them unknown to the data."""
    model = Fixed(logits=scores(6, 5, 4, 3, 2, 6, classes=7))
    model.class_names = ("fly", "wave", "walk", "kick", "jump", "clap", "bow")
    found = evaluate(model, ONCE, positions).recognition
    assert found is not None and found.top1 == 1.0 and found.class_names[6] == "bow" and found.confusion[6, 6] == 2


def test_a_class_the_model_does_not_know_is_left_out_and_named(positions: Store):
    """Without "bow" (two clips); with five classes top-5 says nothing."""
    names = ("clap", "jump", "kick", "walk", "wave")
    result = evaluate(Fixed(logits=scores(0, 0, 1, 2, 0, 0, classes=5)), ONCE, positions, class_names=names, name="five")
    found = result.recognition
    assert found is not None and found.clips == 4 and found.top1 == 0.75 and found.top5 is None
    assert result.missing == ("bow: not a class of five; its 2 windows do not count in the recognition",)
    assert "bow" not in found.actions and result.clips["bow"] == 2


def test_recognition_alone_asks_for_one_frame(positions: Store):
    model = Fixed(logits=scores(0, 1, 2, 3, 4, 0))
    result = evaluate(model, load_protocol("recognition", observed=75), positions)
    assert result.recognition is not None and result.recognition.top1 == 1.0 and model.horizons == {1}
    with pytest.raises(InputError, match="answers nothing that protocol recognition judges: it needs class scores"):
        evaluate(ZeroVelocity(), load_protocol("recognition"), positions)


# --- what does not fit --------------------------------------------------------------------------------------------------


def test_wrong_numbers_of_scores_are_refused(positions: Store):
    with pytest.raises(InputError, match=r"scores of shape \(6, 4\), expected \(6, 6\)"):
        evaluate(Fixed(logits=torch.zeros(6, 4)), ONCE, positions)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_answers_that_are_no_numbers_are_refused(positions: Store, value: float):
    future = torch.zeros(6, 25, 25, 3)
    future[2, 7, 3, 0] = future[4, 0, 0, 0] = value
    with pytest.raises(InputError, match="NaN or infinite future for clip 2, clip 4"):
        evaluate(Fixed(future), ONCE, positions)
    logits = torch.zeros(6, 6)
    logits[5, 1] = value
    with pytest.raises(InputError, match="NaN or infinite class scores for clip 5"):
        evaluate(Fixed(logits=logits), ONCE, positions)


@pytest.fixture(scope="module")
def trained() -> TrainedModel:
    """An untrained, narrow network of cmu-long, as a checkpoint would give it."""
    preset = load_preset("cmu-long")
    preset = replace(preset, model=replace(preset.model, width=0.1, bone=False))
    layout = load_layout("cmu")
    card = Card(
        preset=preset,
        layout=layout,
        class_names=ACTIONS,
        stored_mean=tuple((0.0, 0.0, 0.0) for _ in range(39)),
        fps=120.0,
        package_version="0",
        selection="validation",
    )
    torch.manual_seed(0)
    return TrainedModel(build(preset, layout, len(ACTIONS)), card)


def test_a_trained_model_says_who_it_is(trained: TrainedModel, angles: Store):
    trained.train()
    result = evaluate(trained, load_protocol("cmu-long"), angles)
    assert trained.training
    assert (result.model, result.selection) == ("cmu-long", "validation")
    assert result.errors is not None and result.recognition is not None and result.recognition.class_names == ACTIONS
    assert evaluate(trained, load_protocol("cmu-long"), angles, selection="last").selection == "last"


def test_a_trained_model_must_fit(trained: TrainedModel, positions: Store, angles: Store, tmp_path: Path):
    with pytest.raises(InputError, match="layout ntu25 has 25 joints"):
        evaluate(trained, load_protocol("demo"), positions)
    layout = load_layout("cmu")
    clips = [(ClipRecord(recording="a", split="test"), np.zeros((90, 38, 3), np.float32))]
    body = write_store(tmp_path / "body", clips, layout=layout, space="xyz", fps=25.0)
    with pytest.raises(InputError, match="expected exponential maps"):
        evaluate(trained, load_protocol("demo"), body)
    with pytest.raises(InputError, match=r"trained on every 2\. frame, protocol recognition keeps every 1\."):
        evaluate(trained, load_protocol("recognition"), angles)


# --- the result ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def result(positions: Store) -> Result:
    truth = torch.from_numpy(np.stack([positions.clip_frames(clip)[50:] for clip in range(6)]))
    model = Fixed(truth + torch.tensor([0.125, 0.0, 0.0]), scores(0, 1, 0, 3, 5, 5))
    return evaluate(model, ONCE, positions, name="mine", selection="last")


def test_json(result: Result):
    found = json.loads(result.to_json())
    assert (found["protocol"], found["model"], found["selection"], found["clips"]) == ("demo", "mine", "last", 6)
    assert list(found["actions"]) == ["bow", "clap", "jump", "kick", "walk"]
    assert list(found["actions"]["bow"]["mpjpe"]) == ["80", "160", "320", "400", "560", "1000"]
    assert found["actions"]["bow"]["mpjpe"]["1000"] == pytest.approx(0.125, rel=1e-5)
    assert found["actions"]["bow"]["clips"] == 2 and found["actions"]["bow"]["top1"] == 0.5
    assert found["average"]["mpjpe"]["80"] == pytest.approx(0.125, rel=1e-5)
    assert found["zero_velocity"]["average"]["mpjpe"]["1000"] > found["zero_velocity"]["average"]["mpjpe"]["80"] > 0.1
    assert (found["top1"], found["recognised_clips"]) == (0.5, 6) and found["top5"] == pytest.approx(5 / 6)
    assert found["top1_interval"] == pytest.approx([0.18761, 0.81239], abs=1e-5)
    assert found["classes"][0] == "bow" and found["confusion"][0] == [1, 0, 0, 0, 0, 1]
    assert found["missing"] == [] and found["unit"] == "m" and found["future"] == 25


def test_json_of_a_model_with_one_answer(angles: Store):
    found = json.loads(evaluate(ZeroVelocity(), load_protocol("cmu-long"), angles).to_json())
    assert found["top1"] is None and found["top5"] is None and found["confusion"] is None and found["selection"] is None
    assert set(found["actions"]["running"]) == {"clips", "angle_mae"} and "angle_mae_up_to" not in found["average"]
    assert len(found["missing"]) == 6


def printed(result: Result, width: int = 150) -> str:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(result)
    return capture.get()


def test_the_printed_result(result: Result):
    text = printed(result)
    assert "mine (last weights) under protocol demo: 6 clips of 5 actions" in text
    assert "mean joint position error (MPJPE, m)" in text and "correct joints (PCK@0.05, %)" in text
    assert result.zero_velocity is not None
    zero = result.zero_velocity.actions["jump"]["mpjpe"]
    (row,) = [line for line in text.splitlines() if "jump" in line and f"0.125 ({zero[80]:.3f})" in line]
    assert f"0.125 ({zero[1000]:.3f})" in row
    assert "recognised 50.0% of 6 clips (95 % interval 18.8% to 81.2%); among the best five 83.3%" in text


def test_the_printed_result_of_a_baseline_names_what_is_missing(angles: Store):
    text = printed(evaluate(ZeroVelocity(), load_protocol("cmu-short"), angles))
    assert "not covered: walking: no test/walking/walking_1.txt" in text
    assert "(zero-velocity)" not in text and "recognised" not in text


def test_per_cell_minimum_by_hand(result: Result):
    """The best of each cell, whichever evaluation it is of; more correct joints are better; what is not there stays so."""
    nan = float("nan")
    one = {
        "walk": {"mpjpe": {80: 0.25, 160: 0.5}, "pck": {80: 0.75, 160: 0.5}},
        "jump": {"mpjpe": {80: 1.0, 160: nan}, "pck": {80: 0.25, 160: nan}},
    }
    two = {
        "walk": {"mpjpe": {80: 0.5, 160: 0.25}, "pck": {80: 0.5, 160: 1.0}},
        "jump": {"mpjpe": {80: nan, 160: nan}, "pck": {80: 0.5, 160: nan}},
    }
    average = {"mpjpe": {80: 9.0, 160: 9.0}, "pck": {80: 9.0, 160: 9.0}}
    first, last = (replace(result, clips={"walk": 1, "jump": 1}, errors=Errors(each, average)) for each in (one, two))
    found = per_cell_minimum([first, last])
    assert found.errors is not None
    assert found.errors.actions["walk"] == {"mpjpe": {80: 0.25, 160: 0.25}, "pck": {80: 0.75, 160: 1.0}}
    jump = found.errors.actions["jump"]
    assert (
        (jump["mpjpe"][80], jump["pck"][80]) == (1.0, 0.5) and math.isnan(jump["mpjpe"][160]) and math.isnan(jump["pck"][160])
    )
    assert found.errors.average == {"mpjpe": {80: 0.625, 160: 0.25}, "pck": {80: 0.625, 160: 1.0}}
    assert found.zero_velocity == result.zero_velocity
    assert found.recognition is None and found.missing == result.missing
    assert (found.to_dict()["selection"], found.to_dict()["evaluations"]) == ("per-cell-minimum", 2)
    said = "mine (per-cell minimum of 2 evaluations: chosen on test data) under protocol demo"
    assert said in printed(replace(found, zero_velocity=None))
    with pytest.raises(InputError, match="mine: predicts nothing"):
        per_cell_minimum([last, replace(last, errors=None)])


def test_held_out_recordings_alone_are_judged(motion: Store):
    """The recordings that a training holds out, and nothing of the test people."""
    held = split_recordings(motion, 0.25, 0)[1]
    protocol, view = on_held_out(load_protocol("demo", observed=20, future=5), motion, held)
    windows = protocol.windows(view).windows
    assert {window.clip for window in windows} == set(held)
    assert len(windows) == HELD_OUT_WINDOWS * len(held)
    assert not set(held) & set(motion.select(split="test"))
    assert set(view.select(split="train")) == set(motion.select(split="train")) - set(held)
    frames = [motion.clip_frames(window.clip)[window.start : window.start + 25] for window in windows[:3]]
    assert np.array_equal(protocol.cut(view, windows[:3]), np.stack(frames))
    with pytest.raises(InputError, match="nothing was held out"):
        on_held_out(protocol, motion, ())
