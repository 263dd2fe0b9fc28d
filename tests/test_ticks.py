"""Streams of a network that goes on from frame to frame: the answers of the window, at the times of its ticks."""

from dataclasses import replace

import numpy as np
import pytest

import symgnn
import tiny
from symgnn.config import DataConfig, Preset
from symgnn.models.checkpoint import Card, TrainedModel
from symgnn.runtime import Answer, Stream, Streams, predict

FPS = 50.0
ROUNDING = 5e-5
"""Of float32 on poses of the size of 2: two ways round otherwise, and so do processors (1.4e-5 was seen)."""


def make_model(*, folded: bool = True, step: int = 1) -> TrainedModel:
    """The tiny network without padding; not folded, it is asked for the whole window at every frame."""
    fields = {"kernels": (3, 3, 1), "padding": "none", "actional_in": "decoder", "bone": True}
    data = DataConfig(layout="own", space="xyz", step=step, observed=tiny.OBSERVED, future=tiny.FUTURE)
    preset = Preset(name="tiny", description="", protocol="demo", data=data, model=replace(tiny.MODEL, **fields))
    network = tiny.make_model(**fields).float().eval()
    mean = ((0.0, 0.0, 0.0),) * 5
    return TrainedModel(network, Card(preset, tiny.layout(), tiny.CLASSES, mean, FPS, "0"), folded=folded).eval()


def motion(frames: int, seed: int = 0) -> np.ndarray:
    noise = 0.02 * np.random.default_rng(seed).normal(size=(frames, 5, 3)).cumsum(axis=0)
    return (tiny.motion(seed % 3, seed + 0.5, frames) + noise).astype(np.float32)


def assert_same(one: Answer | None, other: Answer | None) -> None:
    assert (one is None) == (other is None)
    if one is None or other is None:
        return
    assert one.time == pytest.approx(other.time, abs=1e-9) and one.label == other.label and one.padded == other.padded
    assert one.probabilities == pytest.approx(other.probabilities, abs=ROUNDING)
    assert one.smoothed == pytest.approx(other.smoothed, abs=ROUNDING)
    assert one.future is not None and other.future is not None
    assert np.abs(one.future - other.future).max() <= ROUNDING
    assert [edge.weight for edge in one.edges] == pytest.approx([edge.weight for edge in other.edges], abs=ROUNDING)


def test_which_streams_tick() -> None:
    assert Stream(make_model()).ticking
    assert not Stream(make_model(folded=False)).ticking
    assert not Stream(symgnn.load("cmu")).ticking and Stream(symgnn.load("cmu-live")).ticking


def test_the_shipped_model_agrees_with_predict() -> None:
    """At 120 frames a second every second one is a tick, and gets what predict says of the clip so far."""
    model = symgnn.load("cmu-live")
    clip = model.stored_mean.numpy()[list(model.layout.columns("expmap"))]
    clip = (clip + 0.02 * np.random.default_rng(1).normal(size=(130, 26, 3)).cumsum(axis=0)).astype(np.float32)
    stream = Stream(model)
    for count, frame in enumerate(clip, start=1):
        answer = stream.push(frame)
        assert (answer is None) == (count < 99 or count % 2 == 0), count
        if answer is not None and answer.future is not None:
            (expected,) = predict(model, [clip[:count]])
            assert expected.future is not None
            assert answer.probabilities == pytest.approx(expected.probabilities, abs=1e-5)
            assert np.abs(answer.future - expected.future).max() <= 1e-5
            assert answer.time == pytest.approx((count - 1) / 120)


@pytest.mark.parametrize("warm_up", ["wait", "repeat"])
def test_agrees_with_whole_windows(warm_up) -> None:
    one, other = (Stream(make_model(folded=folded), warm_up=warm_up) for folded in (True, False))
    for frame in motion(60):
        assert_same(one.push(frame), other.push(frame))
    assert one.stats.answered == 60 - (0 if warm_up == "repeat" else tiny.OBSERVED - 1)


def test_frames_at_any_times_are_those_of_the_grid() -> None:
    """Joints that move in straight lines are where interpolation puts them: ticks come at 0.02 s, whenever frames come."""
    model = make_model()
    random = np.random.default_rng(3)
    times = np.r_[0.0, np.sort(random.uniform(0.001, 1.0, 60))]
    start, speed = random.normal(size=(2, 5, 3))
    stream, found = Stream(model), []
    for time in times:
        if (answer := stream.push(start + speed * time, time)) is not None:
            found.append(answer)
            assert answer.time <= time < answer.time + 0.02 + 1e-9
    grid = np.arange(round(found[-1].time / 0.02) + 1) * 0.02
    assert found[-1].time == pytest.approx(grid[-1])
    (expected,) = predict(model, [(start + speed * grid[:, None, None]).astype(np.float32)])
    assert found[-1].probabilities == pytest.approx(expected.probabilities, abs=1e-4)
    assert expected.future is not None and found[-1].future is not None
    assert np.abs(found[-1].future - expected.future).max() < 1e-4


def test_frames_nobody_asks_an_answer_of_are_taken_in_all_the_same() -> None:
    """A few that wait are computed with the next answer; more than a window of them, and the network begins anew with it."""
    model, clip = make_model(), motion(80)
    for left in (3, tiny.OBSERVED - 1, tiny.OBSERVED, 40):
        stream, every = Stream(model, smoothing=0), Stream(make_model(folded=False), smoothing=0)
        for place, frame in enumerate(clip[: 20 + left]):
            expected = every.push(frame)
            if place < 20:
                stream.push(frame)
            else:
                window = stream.add(frame)
        assert window is not None
        assert_same(stream.answer(window), expected)


def test_gaps_of_joints_hold() -> None:
    """A joint that is not seen keeps its place; in a window it is interpolated only up to where frames are known."""
    clip = motion(30)
    gaps, held = clip.copy(), clip.copy()
    gaps[20:24, 3], held[20:24, 3] = np.nan, clip[19, 3]
    one, other = Stream(make_model()), Stream(make_model(folded=False))
    for gap, hold in zip(gaps, held, strict=True):
        assert_same(one.push(gap), other.push(hold))


def test_begins_anew_after_a_gap_and_on_a_clock_set_back() -> None:
    model, clip = make_model(), motion(60)
    times = np.r_[np.arange(20), 60 + np.arange(20), np.arange(20)] / FPS
    one, other = Stream(model), Stream(make_model(folded=False))
    answers = []
    for frame, time in zip(clip, times, strict=True):
        answers.append(one.push(frame, float(time)))
        assert_same(answers[-1], other.push(frame, float(time)))
    need = tiny.OBSERVED - 1
    assert [answer is None for answer in answers] == ([True] * need + [False] * (20 - need)) * 3
    assert one.stats.restarts == 2


def test_several_persons_tick_apart() -> None:
    model = make_model()
    streams, alone = Streams(model), {name: Stream(model) for name in "ab"}
    for one, other in zip(motion(20), motion(20, seed=1), strict=True):
        found = streams.push_all({"a": one, "b": other})
        for name, frame in (("a", one), ("b", other)):
            assert_same(found.get(name), alone[name].push(frame))
