"""Answers frame by frame: those of the whole window at once, whatever the frames' times, gaps and order."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import symgnn
import tiny
from live import FPS, make_model, motion
from symgnn.errors import InputError
from symgnn.models.checkpoint import TrainedModel
from symgnn.runtime import Answer, Stream, Streams, predict, stream
from symgnn.runtime.answering import Answers
from symgnn.runtime.recent import Recent


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    return make_model()


def assert_same(answer: Answer | None, clip: np.ndarray, model: TrainedModel, horizon: int | None = None) -> None:
    """What a stream answers is what predict says of the clip so far."""
    (expected,) = predict(model, [clip], horizon)
    assert answer is not None and answer.future is not None and expected.future is not None
    assert answer.probabilities == pytest.approx(expected.probabilities, abs=1e-5)
    assert np.abs(answer.future - expected.future).max() <= 1e-5
    assert answer.milliseconds == pytest.approx(expected.milliseconds) and answer.padded == expected.padded


def windows_of(stream: Stream, frames: Sequence[np.ndarray], times: Sequence[float]) -> list[np.ndarray | None]:
    """The window at each frame."""
    found = [stream.add(frame, time) for frame, time in zip(frames, times, strict=True)]
    return [None if window is None else window.frames for window in found]


def naive(frames: np.ndarray, times: np.ndarray, moments: np.ndarray, near: float) -> np.ndarray:
    """A window in float64, a coordinate and a moment at a time."""
    found = np.full((len(moments), *frames.shape[1:]), np.nan)
    for index in np.ndindex(*frames.shape[1:]):
        values = frames[(slice(None), *index)].astype(np.float64)
        for row, moment in enumerate(moments):
            after = min(int(np.searchsorted(times, moment)), len(times) - 1)
            around = values[[max(after - 1, 0), after]]
            nearest = int(np.abs(times - moment).argmin())
            if not np.isnan(around).any():
                found[(row, *index)] = np.interp(moment, times, np.nan_to_num(values))
            elif abs(times[nearest] - moment) < near:
                found[(row, *index)] = values[nearest]
    return found


# --- the answers of the whole window ------------------------------------------------------------------------------------


@pytest.mark.parametrize("clock", ["times", "counted", "epoch"])
def test_the_shipped_model_answers_frame_by_frame_as_predict_does(clock: str):
    model = symgnn.load("cmu")
    clip = 0.3 * motion(110, joints=39)
    clip[60:70, 20] = np.nan
    stream = Stream(model)
    assert stream.need == 50 and stream.have == 0
    for index, frame in enumerate(clip):
        time = {"times": index / 120, "counted": None, "epoch": 1.7e9 + index / 120}[clock]
        answer = stream.push(frame, time)
        if index < 98:  # 50 frames at 60 a second, of recordings of 120
            assert answer is None and stream.have == index // 2 + 1
            continue
        assert stream.have == 50
        assert_same(answer, clip[: index + 1], model)
        assert answer is not None and answer.time == pytest.approx((index / 120) if time is None else time)


@pytest.mark.parametrize("step", [1, 2, 3, 7])
def test_any_step_and_missing_joints(step: int):
    model = make_model(step)
    clip = motion(9 * step + 9)
    clip[np.random.default_rng(1).random(clip.shape[:2]) < 0.2] = np.nan
    clip[:, 0] = motion(len(clip), 5)[:, 0]  # somebody is always seen
    stream, answered = Stream(model, horizon=6), 0
    for index, frame in enumerate(clip):
        if (answer := stream.push(frame, index / FPS)) is not None:
            assert_same(answer, clip[: index + 1], model, 6)
            answered += 1
    assert answered == len(clip) - 7 * step


@pytest.mark.parametrize(("sampling", "step"), [("window", 1), ("window", 3), ("repeat", 2), ("whole", 1)])
def test_from_the_first_frame_on(sampling: str, step: int):
    """A window that is not full is what predict makes of a short clip."""
    model = make_model(step, sampling=sampling)
    clip = motion(24)
    stream = Stream(model, warm_up="repeat", seconds=23 / FPS if sampling == "whole" else None)
    for index, frame in enumerate(clip):
        assert_same(stream.push(frame), clip[: index + 1], model)
    assert stream.have == stream.need == 8


def test_whole_clips_are_the_last_seconds():
    model = make_model(sampling="whole")
    clip = motion(40)
    stream = Stream(model, seconds=0.4)
    answers = [stream.push(frame, index / FPS) for index, frame in enumerate(clip)]
    assert [answer is None for answer in answers] == [index < 20 for index in range(40)]
    assert_same(answers[-1], clip[-21:], model)
    with pytest.raises(InputError, match=r"seconds: found none; .*trained on whole clips"):
        Stream(model)
    with pytest.raises(InputError, match=r"seconds: found 3, but this model looks at 8 frames"):
        Stream(make_model(), seconds=3)


def test_a_frame_may_be_written_in_many_ways(model: TrainedModel):
    frame = motion(1)[0]
    frame[2] = np.nan
    listed = [[float(value) for value in joint] for joint in frame]
    missing = [None if index == 2 else joint for index, joint in enumerate(listed)]
    numbers = [[None if math.isnan(value) else value for value in joint] for joint in listed]
    flat = [value for joint in numbers for value in joint]
    # The tiny layout uses all of its joints; CMU does not.
    for given in (
        frame,
        frame.astype(np.float64),
        frame.ravel(),
        listed,
        missing,
        tuple(missing),
        numbers,
        flat,
        torch.tensor(frame),
    ):
        window = Stream(model, warm_up="repeat").add(given)
        assert window is not None and np.array_equal(window.frames[-1], frame, equal_nan=True)
    stored = motion(1, joints=39)[0]
    window = Stream(symgnn.load("cmu"), warm_up="repeat").add(stored)
    assert window is not None and np.array_equal(window.frames[-1], stored[list(symgnn.load_layout("cmu").columns("expmap"))])
    whole = Stream(model, warm_up="repeat").add([[0, 1, 2]] * 5)
    assert whole is not None and np.array_equal(whole.frames[-1], [[0, 1, 2]] * 5)


# --- times --------------------------------------------------------------------------------------------------------------


def test_an_even_motion_is_the_same_whenever_it_was_looked_at(model: TrainedModel):
    rng = np.random.default_rng(2)
    speed, start = rng.normal(size=(2, 5, 3))
    times = np.cumsum(rng.uniform(0.002, 0.07, size=80))
    stream, full = Stream(model), 0
    for time in times:
        if (window := stream.add(start + speed * time, time)) is not None:
            moments = time - np.arange(7, -1, -1) / FPS
            assert np.allclose(window.frames, start + speed * moments[:, None, None], atol=3e-6)
            assert window.time == time and window.frame_ms == pytest.approx(20) and window.padded == 0
            full += 1
    assert full > 60


@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize("rate", [24.0, 30.0, 47.0, 50.0, 79.0])
def test_resampling_is_interpolation_by_the_book(rate: float, step: int):
    model = make_model(step)
    rng = np.random.default_rng(int(rate))
    clip = motion(int(0.6 * rate) + 9 * step)
    clip[rng.random(clip.shape[:2]) < 0.1] = np.nan
    clip[:, 0] = 0
    times = 3.0 + np.arange(len(clip)) / rate
    if rate != FPS:
        times += rng.uniform(-0.2, 0.2, len(clip)) / rate
    found = windows_of(Stream(model), clip, times)
    assert any(window is not None for window in found)
    for index, window in enumerate(found):
        moments = times[index] - np.arange(7, -1, -1) * step / FPS
        if window is None:
            assert moments[0] < times[0] - 1e-6
        else:
            expected = naive(clip[: index + 1], times[: index + 1], moments, 1e-3 * step / FPS)
            assert np.allclose(window, expected, atol=1e-6, equal_nan=True)


def test_two_writings_of_one_rotation_are_not_mixed():
    """An exponential map that grows beyond π goes on from the other side; halfway between the two is another rotation."""
    model = make_model(space="expmap", step=2)
    one, other = np.zeros((2, 5, 3), np.float32)
    one[1, 0], other[1, 0] = 3.1, -3.1
    one[2, 1], other[2, 1] = 1.0, -1.0
    early = Stream(model, warm_up="repeat")
    early.add(one, 0.0)
    window = early.add(other, 0.05)  # the model's frame before is at 0.01, a fifth of the way
    assert window is not None and window.frames[-2, 1, 0] == np.float32(3.1)
    assert window.frames[-2, 2, 1] == pytest.approx(1 - 2 * 0.2)
    near = Stream(model, warm_up="repeat")
    near.add(one, 0.0)
    near.add(other, 0.05)
    window = near.add(other, 0.07)  # 0.03 is past the middle of 0 and 0.05
    assert window is not None and window.frames[-2, 1, 0] == np.float32(-3.1)
    assert window.frames[-2, 2, 1] == pytest.approx(1 - 2 * 0.6)
    positions = Stream(make_model(step=2), warm_up="repeat")
    positions.add(one, 0.0)
    window = positions.add(other, 0.05)
    assert window is not None and window.frames[-2, 1, 0] == pytest.approx(3.1 - 0.2 * 6.2)


def test_a_frame_that_sees_nobody_is_a_dropped_one(model: TrainedModel):
    clip, nobody = motion(14), np.full((5, 3), np.nan)
    gone = {4, 9, 10}
    stream, without = Stream(model), Stream(model)
    for index, frame in enumerate(clip):
        if index in gone:
            assert stream.push(nobody if index != 10 else None, index / FPS) is None
            continue
        one, other = stream.add(frame, index / FPS), without.add(frame, index / FPS)
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert np.array_equal(one.frames, other.frames)
            if index <= 11:  # frame 4 is in the window
                assert np.allclose(one.frames[7 - (index - 4)], (clip[3] + clip[5]) / 2, atol=1e-6)
    assert stream.stats.unseen == 3 and stream.stats.pushed == 14
    counted = Stream(model, warm_up="repeat")
    times = [window.time for frame in (clip[0], nobody, clip[1]) if (window := counted.add(frame)) is not None]
    assert times == pytest.approx([0.0, 0.04]), "a dropped frame takes its time"


def test_late_frames_take_their_place(model: TrainedModel):
    clip = motion(30)
    in_order, mixed = Stream(model), Stream(model)
    order = list(range(30))
    for early, late in ((3, 5), (10, 14), (20, 21)):
        order.remove(early)
        order.insert(order.index(late) + 1, early)
    expected = windows_of(in_order, list(clip), [index / FPS for index in range(30)])
    seen: set[int] = set()
    for index in order:
        window = mixed.add(clip[index], index / FPS)
        assert window is None or index == max({index, *seen})
        seen.add(index)
        if seen == set(range(index + 1)) and expected[index] is not None:
            assert window is not None and np.array_equal(window.frames, expected[index])
    assert mixed.stats.late == 3 and in_order.stats.late == 0 and mixed.stats.restarts == 0
    # 0.5 s back is out of the window of 0.14 s, and no clock that was set back yet.
    before = mixed._recent.times.copy()
    assert mixed.add(clip[0], 29 / FPS - 0.5) is None and mixed.stats.late == 4
    assert np.array_equal(mixed._recent.times, before)


def test_late_frames_that_fill_the_window(model: TrainedModel):
    clip = motion(9)
    stream = Stream(model)
    for index in (4, 5, 6, 7, 3, 2, 1, 0):
        assert stream.add(clip[index], index / FPS) is None
    assert stream.have == 8
    window = stream.add(clip[8], 8 / FPS)
    assert window is not None and np.array_equal(window.frames, clip[1:])


def test_a_duplicate_takes_the_place_of_the_newest(model: TrainedModel):
    clip = motion(12)
    stream = Stream(model)
    windows_of(stream, list(clip[:10]), [index / FPS for index in range(10)])
    assert stream.push(clip[11], 9 / FPS) is None and stream.stats.duplicates == 1
    window = stream.add(clip[10], 10 / FPS)
    assert window is not None and np.array_equal(window.frames, clip[[3, 4, 5, 6, 7, 8, 11, 10]])


@pytest.mark.parametrize("jump", [0.6, 100.0, -0.7, -3.0])
def test_after_a_gap_or_a_new_clock_it_begins_anew(model: TrainedModel, jump: float):
    clip = motion(24)
    stream, fresh = Stream(model, smoothing=1.0), Stream(model, smoothing=1.0)
    for index in range(12):
        stream.push(clip[index], 5 + index / FPS)
    for index in range(12, 24):
        time = 5 + 11 / FPS + jump + (index - 12) / FPS
        one, other = stream.push(clip[index], time), fresh.push(clip[index], time)
        assert (one is None) == (other is None) == (index < 19)
        assert one is None or (other is not None and one.smoothed == other.smoothed)
    assert stream.stats.restarts == 1 and fresh.stats.restarts == 0


@pytest.mark.parametrize("jump", [0.45, -0.5])
def test_a_shorter_gap_is_bridged(model: TrainedModel, jump: float):
    stream = Stream(model)
    windows_of(stream, list(motion(12)), [index / FPS for index in range(12)])
    window = stream.add(motion(1)[0], 11 / FPS + jump)
    assert (window is not None) == (jump > 0) and stream.stats.restarts == 0


def test_memory_is_bounded_however_fast_frames_come(model: TrainedModel):
    stream, rng = Stream(model), np.random.default_rng(0)
    speed = rng.normal(size=(5, 3))
    for index in range(6000):
        time = index / 20000
        window = stream.add(speed * time, time)
        assert len(stream._recent) <= 4.5 * stream.need
    assert window is not None
    moments = time - np.arange(7, -1, -1) / FPS
    assert np.allclose(window.frames, speed * moments[:, None, None], atol=1e-6), "what was left out is between its neighbours"
    # Late frames in any number and order do not make it grow either; two within 20 μs are one.
    for late in rng.uniform(time - 0.2, time, 2000):
        stream.add(speed * late, late)
        assert len(stream._recent) <= 4.5 * stream.need
    window = stream.add(speed * (time + 0.02), time + 0.02)
    assert window is not None and np.allclose(window.frames, speed * (moments + 0.02)[:, None, None], atol=1e-4)


def test_late_frames_from_before_the_first_are_bounded():
    recent = Recent(1, 1, span=1.0, closest=0.05, same=1e-5)
    frame = np.zeros((1, 1), np.float32)
    for index in range(5000):
        recent.put(10 - index * 1e-3, frame)
    times = recent.times
    assert len(times) <= 42 and (np.diff(times) > 0).all() and times[0] <= 9.05 and times[-1] == 10


# --- answers ------------------------------------------------------------------------------------------------------------


def answers_of(rows: Sequence[Sequence[float]], joints: int = 5) -> Answers:
    actional = np.random.default_rng(4).random((len(rows), joints, joints)).astype(np.float32)
    return Answers(np.array(rows, np.float64), np.zeros((len(rows), 4, joints, 3), np.float32), actional)


def test_smoothing_by_hand(model: TrainedModel):
    """τ = 0.1 s; frames after 0.02, 0.04 and 0.02 s, one of them never answered."""
    stream = Stream(model, smoothing=0.1, warm_up="repeat", reject=0.55)
    first, second, third = (0.7, 0.2, 0.1), (0.1, 0.1, 0.8), (0.0, 0.1, 0.9)
    rows = iter((first, None, second, third))
    expected = np.array(first)
    passed = 0.0
    for index, time in enumerate((1.0, 1.02, 1.06, 1.08)):
        window = stream.add(motion(4)[index], time)
        assert window is not None
        passed += 0.0 if index == 0 else (0.02, 0.04, 0.02)[index - 1]
        if (row := next(rows)) is None:
            continue
        answer = stream.settle(window, answers_of([row]), 0)
        kept = math.exp(-passed / 0.1) if index else 0.0
        expected = kept * expected + (1 - kept) * np.array(row)
        passed = 0.0
        assert list(answer.smoothed.values()) == pytest.approx(expected.tolist(), abs=1e-12)
        assert tuple(answer.probabilities.values()) == row
        assert sum(answer.smoothed.values()) == pytest.approx(1)
        assert answer.label == (tiny.CLASSES[int(expected.argmax())] if expected.max() >= 0.55 else None)
    assert expected.max() < 0.55 or answer.label == "stepping"
    unsmoothed = Stream(model, smoothing=0, warm_up="repeat")
    for time, row in ((0.0, first), (0.02, second)):
        window = unsmoothed.add(motion(1)[0], time)
        assert window is not None
        answer = unsmoothed.settle(window, answers_of([row]), 0)
        assert answer.smoothed == answer.probabilities


def test_reject(model: TrainedModel):
    for reject, label in ((None, "swaying"), (0.5, "swaying"), (0.51, None)):
        stream = Stream(model, reject=reject, warm_up="repeat")
        window = stream.add(motion(1)[0])
        assert window is not None
        assert stream.settle(window, answers_of([(0.5, 0.3, 0.2)]), 0).label == label


def test_edges_are_the_strongest_relations(model: TrainedModel):
    answers = answers_of([(1.0, 0.0, 0.0), (0.0, 1.0, 0.0)])
    assert answers.actional is not None
    names = tiny.layout().node_names
    found = [
        (float(answers.actional[1, target, source]), names[source], names[target])
        for target in range(5)
        for source in range(5)
        if target != source
    ]
    stream = Stream(model, edges=7, warm_up="repeat")
    window = stream.add(motion(1)[0])
    assert window is not None
    edges = stream.settle(window, answers, 1).edges
    assert [(edge.weight, edge.source, edge.target) for edge in edges] == sorted(found, reverse=True)[:7]
    none = Stream(model, edges=0, warm_up="repeat").push(motion(1)[0])
    every = Stream(model, edges=1000, warm_up="repeat").push(motion(1)[0])
    assert none is not None and none.edges == () and every is not None and len(every.edges) == 20


def test_edges_are_those_of_the_model(model: TrainedModel):
    clip = motion(1)
    answer = Stream(model, warm_up="repeat").push(clip[0])
    with torch.no_grad():
        actional = model(torch.from_numpy(np.repeat(clip[None], 8, axis=1)), 1).actional
    assert actional is not None and answer is not None
    names = list(tiny.layout().node_names)
    for edge in answer.edges:
        assert edge.weight == pytest.approx(float(actional[0, names.index(edge.target), names.index(edge.source)]), abs=1e-6)


def test_latency_is_counted_from_the_push(model: TrainedModel, monkeypatch: pytest.MonkeyPatch):
    clock = iter([10.0, 10.25, 20.0, 20.5, 30.0, 31.0])
    monkeypatch.setattr(stream, "perf_counter", lambda: next(clock))
    one = Stream(model, warm_up="repeat")
    assert one.stats.latency_p50_ms is None
    found = [one.push(frame) for frame in motion(3)]
    assert [answer.latency_ms for answer in found if answer is not None] == pytest.approx([250, 500, 1000])
    stats = one.stats
    assert (stats.pushed, stats.answered) == (3, 3)
    assert (stats.latency_p50_ms, stats.latency_max_ms) == pytest.approx((500, 1000))
    assert stats.latency_p99_ms == pytest.approx(990)


def test_models_of_one_task():
    for network, label, future in (
        (tiny.make_model(prediction=False), True, False),
        (tiny.make_model(recognition=False), False, True),
    ):
        both = make_model()
        model = TrainedModel(network.float(), both.card).eval()
        answer = Stream(model, warm_up="repeat", reject=0.0).push(motion(1)[0])
        assert answer is not None
        assert (answer.label is not None) == label == (answer.probabilities != {}) == (answer.smoothed != {})
        assert (answer.future is not None) == future == (answer.milliseconds != ())


def test_windows_of_several_streams_are_answered_together(model: TrainedModel):
    """As a service does: add, one call of the model, settle."""
    one, two = (Stream(model, warm_up="repeat") for _ in range(2))
    windows = [one.add(motion(1)[0]), two.add(motion(1, 1)[0])]
    assert windows[0] is not None and windows[1] is not None
    found = stream.answer(model, np.stack([window.frames for window in windows if window is not None]), 4)
    for each, window, row in ((one, windows[0], 0), (two, windows[1], 1)):
        assert_same(each.settle(window, found, row), motion(1, row), model)


def test_an_answer_to_what_was_forgotten_leaves_no_trace(model: TrainedModel):
    one = Stream(model, warm_up="repeat", smoothing=1.0)
    old = one.add(motion(1)[0], 0.0)
    new = one.add(motion(1)[0], 10.0)
    assert old is not None and new is not None and one.stats.restarts == 1
    assert one.settle(new, answers_of([(0.8, 0.1, 0.1)]), 0).smoothed["swaying"] == 0.8
    stale = one.settle(old, answers_of([(0.0, 0.0, 1.0)]), 0)
    assert stale.smoothed == stale.probabilities
    after = one.add(motion(1)[0], 10.1)
    assert after is not None
    answer = one.settle(after, answers_of([(0.8, 0.1, 0.1)]), 0)
    assert list(answer.smoothed.values()) == pytest.approx([0.8, 0.1, 0.1])


def test_reset(model: TrainedModel):
    clip = motion(20)
    one = Stream(model, smoothing=1.0)
    for index, frame in enumerate(clip):
        one.push(frame, index / FPS)
    one.reset()
    assert one.have == 0 and one.stats.answered == 13
    fresh = Stream(model, smoothing=1.0)
    for frame in clip:  # without times now
        again, expected = one.push(frame), fresh.push(frame)
        assert (again is None) == (expected is None)
        assert again is None or (expected is not None and again.smoothed == expected.smoothed and again.time == expected.time)


# --- what is refused ----------------------------------------------------------------------------------------------------

GOOD = motion(1)[0]
WITH_INF = np.where(np.arange(15).reshape(5, 3) == 7, np.inf, GOOD)


@pytest.mark.parametrize(
    ("frame", "time", "message"),
    [
        (
            motion(1, joints=4)[0],
            1.0,
            r"frame: found shape \(4, 3\); expected \(joints, 3\) with 5 joints in use or the 5 stored",
        ),
        (motion(2), 1.0, r"frame: found shape \(2, 5, 3\)"),
        ([], 1.0, r"frame: found shape \(0,\)"),
        ([[1, 2]] * 5, 1.0, r"frame: found shape \(5, 2\)"),
        ([1.0] * 14, 1.0, r"frame: found shape \(14,\)"),
        (WITH_INF, 1.0, r"frame: joint Head, channel 1: found inf, expected a finite number"),
        ([[1e39, 0, 0]] * 5, 1.0, r"frame: joint Hips, channel 0: found 1e\+39"),
        ([[10**400, 0, 0], *[None] * 4], 1.0, r"frame: found a number beyond"),
        ([["1", "2", "3"]] * 5, 1.0, r"frame: found values of type <U1, expected numbers"),
        ([[1, 2, "3"], *[None] * 4], 1.0, r"frame: joint 0: found \"'3'\", expected a number"),
        ([[1, 2, 3], [1, 2], *[None] * 3], 1.0, r"frame: joint 1: found 2 numbers, expected 3"),
        ([[1, 2, 3], 5, *[None] * 3], 1.0, r"frame: joint 1: found '5', expected 3 numbers"),
        ([[True] * 3] * 5, 1.0, r"frame: found values of type bool"),
        ({"a": 1}, 1.0, r"frame: found dict, expected the joints"),
        ("walking", 1.0, r"frame: found values of type <U7"),
        (GOOD, math.nan, r"time: found nan, expected a finite number"),
        (GOOD, math.inf, r"time: found inf"),
        (GOOD, 10**400, r"time: found inf"),
        (GOOD, "now", r"time: found \"'now'\", expected seconds, a number"),
        (GOOD, True, r"time: found 'True'"),
        (GOOD, 1.7e12, r"time: found 1.7e\+12, expected seconds: .*milliseconds\?"),
        (GOOD, None, r"time: found no time, expected one as for the frames before"),
    ],
)
def test_bad_frames_are_refused_and_change_nothing(model: TrainedModel, frame: Any, time: Any, message: str):
    clip = motion(12)
    one, clean = Stream(model), Stream(model)
    for index in range(11):
        one.push(clip[index], index / FPS)
        clean.push(clip[index], index / FPS)
    with pytest.raises(InputError, match=message):
        one.push(frame, time)
    last, expected = one.push(clip[11], 11 / FPS), clean.push(clip[11], 11 / FPS)
    assert last is not None and expected is not None and last.smoothed == expected.smoothed
    assert replace(one.stats, latency_p50_ms=None, latency_p99_ms=None, latency_max_ms=None) == replace(
        clean.stats, latency_p50_ms=None, latency_p99_ms=None, latency_max_ms=None
    )


def test_times_do_not_come_later(model: TrainedModel):
    one = Stream(model, warm_up="repeat")
    with pytest.raises(InputError, match="expected a finite"):
        one.push(GOOD, math.nan)
    assert one.push(GOOD) is not None, "a refused frame settles nothing"
    with pytest.raises(InputError, match=r"time: found a time, expected none as for the frames before"):
        one.push(GOOD, 1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": 0}, "horizon: found 0"),
        ({"fps": 0}, "fps: found 0"),
        ({"fps": math.inf}, "fps: found inf"),
        ({"fps": 1}, r"fps: found 1, frames further apart than max_gap \(0.5 s\)"),
        ({"smoothing": -1}, "smoothing: found -1"),
        ({"reject": 1.5}, "reject: found 1.5, expected a probability"),
        ({"edges": -1}, "edges: found -1"),
        ({"max_gap": 0}, "max_gap: found 0"),
        ({"max_tracks": 0}, "max_tracks: found 0"),
        ({"forget": -1}, "forget: found -1"),
    ],
)
def test_bad_options_are_refused(model: TrainedModel, options: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        Streams(model, **options) if {"max_tracks", "forget"} & options.keys() else Stream(model, **options)


def test_a_body_in_another_unit_is_told_once(caplog: pytest.LogCaptureFixture):
    model = make_model()
    mean = tuple(map(tuple, motion(1)[0].tolist()))
    model.card = replace(model.card, stored_mean=mean)
    streams = Streams(model, warm_up="repeat")
    for index in range(3):
        streams.push_all({"a": 1000 * motion(3)[index], "b": 1000 * motion(3)[index]})
    assert sum("another unit" in record.getMessage() for record in caplog.records) == 1


# --- several persons ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("timed", [True, False])
def test_streams_of_several_are_streams_of_each(model: TrainedModel, timed: bool, monkeypatch: pytest.MonkeyPatch):
    clips = {"anna": motion(20), 7: motion(20, 1), "ben": motion(20, 2)}
    alone = {track: Stream(model) for track in clips}
    streams, calls = Streams(model), []
    answer = stream.answer
    expected = {
        track: [each.push(frame, index / FPS) for index, frame in enumerate(clips[track])] for track, each in alone.items()
    }
    monkeypatch.setattr(stream, "answer", lambda *given: calls.append(len(given[1])) or answer(*given))
    for index in range(20):
        found = streams.push_all({track: clip[index] for track, clip in clips.items()}, index / FPS if timed else None)
        assert list(found) == ([] if index < 7 else list(clips))
        for track, one in found.items():
            other = expected[track][index]
            assert other is not None and one.future is not None and other.future is not None
            assert one.smoothed == pytest.approx(other.smoothed, abs=1e-6) and np.allclose(one.future, other.future, atol=1e-5)
            assert one.time == pytest.approx(index / FPS)
    assert calls == [3] * 13, "one call of the model a moment"
    assert streams.tracks == ("anna", 7, "ben") and streams.stats.answered == 39


def test_tracks_without_times_share_a_clock(model: TrainedModel):
    streams = Streams(model, warm_up="repeat")
    times = []
    for track in ("a", "b", "a", "b", "a", "c", "b", "a"):
        answer = streams.push(track, motion(1)[0])
        assert answer is not None
        times.append(round(answer.time * FPS))
    assert times == [0, 0, 1, 1, 2, 2, 2, 3]


def test_who_is_not_seen_is_forgotten(model: TrainedModel):
    streams = Streams(model, forget=0.305, warm_up="repeat", max_gap=5.0)
    frame, nobody = motion(1)[0], np.full((5, 3), np.nan)
    assert streams.push("early", nobody, 0.0) is None and streams.tracks == ()
    for index in range(40):
        streams.push("stays", frame, index / 100)
        if index < 5:
            streams.push("leaves", frame, index / 100)
        else:
            assert streams.push("leaves", nobody, index / 100) is None
        assert ("leaves" in streams.tracks) == (index <= 34)
    assert streams.stats.restarts == 0 and streams.stats.unseen == 36
    streams.push("stays", frame, -50.0)
    assert streams.tracks == ("stays",)


def test_the_one_unseen_for_longest_makes_place(model: TrainedModel):
    streams = Streams(model, max_tracks=3, warm_up="repeat")
    frame = motion(1)[0]
    for time, track in enumerate(("a", "b", "c", "a", "d")):
        streams.push(track, frame, time / 10)
    assert sorted(streams.tracks) == ["a", "c", "d"]
    # Of one moment nobody makes place for another.
    answers = streams.push_all({"e": frame, "f": frame, "c": frame}, 0.5)
    assert list(answers) == ["e", "f", "c"] and sorted(streams.tracks) == ["c", "e", "f"]
    before = streams.stats.pushed
    with pytest.raises(InputError, match=r"found 4 persons, expected at most 3: give a larger max_tracks"):
        streams.push_all(dict.fromkeys("abcd", frame), 0.6)
    for frames, time, message in (
        ({"c": frame, "bad": frame[:2]}, 0.6, r"frame of 'bad': found shape \(2, 3\)"),
        ({"c": frame}, math.nan, "expected a finite"),
        ({"c": frame}, None, "found no time"),
    ):
        with pytest.raises(InputError, match=message):
            streams.push_all(frames, time)
    assert streams.stats.pushed == before and sorted(streams.tracks) == ["c", "e", "f"]


def test_persons_of_one_moment_are_recognised_together():
    model = make_model(persons=2)
    clips = {name: motion(12, seed) for seed, name in enumerate("abc")}
    streams, counted = Streams(model, smoothing=0), []
    for index in range(12):
        answers = streams.push_all({name: clip[index] for name, clip in clips.items()}, index / FPS)
        if not answers:
            continue
        expected = predict(model, [clip[: index + 1] for clip in clips.values()], together=[0, 0, 1])
        for answer, other in zip(answers.values(), expected, strict=True):
            assert answer.probabilities == pytest.approx(other.probabilities, abs=1e-5)
        counted.append(abs(answers["a"].probabilities["nodding"] - answers["c"].probabilities["nodding"]))
        assert answers["a"].probabilities == answers["b"].probabilities
    assert len(counted) == 5 and max(counted) > 1e-3
    alone = Streams(model, smoothing=0)
    for index in range(12):
        answer = alone.push("a", clips["a"][index], index / FPS)
    assert answer is not None
    assert answer.probabilities == pytest.approx(predict(model, [clips["a"]])[0].probabilities, abs=1e-5)
