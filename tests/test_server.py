"""The service: answers over the wire, bounds, and what clients that break the rules are told."""

import asyncio
import json
import math
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import websockets
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import symgnn.runtime.server.app as server_app
from serving import FPS, JOINTS, Local, client_of, make_model, nulls, poses, said
from symgnn.errors import InputError
from symgnn.models.checkpoint import TrainedModel
from symgnn.runtime import Stream, predict
from symgnn.runtime.answering import answer
from symgnn.runtime.server import batching, running
from symgnn.runtime.server.app import Service, create_app
from symgnn.runtime.server.batching import Batcher, Waiting
from symgnn.runtime.server.limits import Bucket, Limits
from symgnn.runtime.server.metrics import Metrics
from symgnn.runtime.server.playback import programme
from symgnn.runtime.server.security import Access
from symgnn.skeleton import load_layout
from test_predict import make_model as make_cmu_model
from tiny import CLASSES, FUTURE, OBSERVED


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    return make_model()


@pytest.fixture(scope="module")
def client(model: TrainedModel) -> Iterator[Local]:
    with client_of(model) as client:
        yield client


# --- answers ---------------------------------------------------------------------------------------------------------------


def test_the_card_of_the_model(client: Local):
    card = client.get("/v1/model").json()
    assert card["classes"] == list(CLASSES) and card["joints"] == ["Hips", "Spine", "Head", "LeftLeg", "RightLeg"]
    assert (card["observed"], card["horizon"], card["frames_a_second"], card["channels"]) == (OBSERVED, FUTURE, FPS, 3)
    assert card["recognises"] and card["predicts"] and card["engine"] == "torch" and card["max_horizon"] >= 100
    assert card["drawing"]["sides"] == ["middle", "middle", "middle", "left", "right"] and card["drawing"]["up"] == "y"


@pytest.mark.parametrize("horizon", [None, 2, 9])
def test_predictions_over_http_are_those_of_predict(client: Local, model: TrainedModel, horizon: int | None):
    clips = [poses(length, seed) for seed, length in enumerate((20, 3, 8, 40, 8, 8, 9, 10, 11, 12, 13))]
    clips[0][15:, 2] = np.nan
    clips[3][39, 1, 2] = np.nan
    body: dict[str, Any] = {"clips": [[nulls(pose) for pose in clip] for clip in clips]}
    answered = client.post("/v1/predict", json=body if horizon is None else {**body, "horizon": horizon})
    assert answered.status_code == 200
    found = answered.json()["clips"]
    # Eleven clips go through in two chunks.
    for one, expected in zip(found, predict(model, clips, horizon), strict=True):
        assert one["label"] == expected.label and one["padded"] == expected.padded
        np.testing.assert_allclose(list(one["probabilities"].values()), list(expected.probabilities.values()), atol=1e-5)
        np.testing.assert_allclose(one["future"], expected.future, atol=1e-5)
        np.testing.assert_allclose(one["milliseconds"], expected.milliseconds, atol=1e-3)


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("warm_up", ["wait", "repeat"])
def test_answers_over_a_stream_are_those_of_stream(client: Local, model: TrainedModel, binary: bool, warm_up: Any):
    clip = poses(20, 1)
    clip[12, 3] = np.nan
    stream = Stream(model, horizon=6, warm_up=warm_up)
    with client.connect("/v1/stream") as connection:
        connection.send_json({"type": "open", "horizon": 6, "warm_up": warm_up, "format": "binary" if binary else "json"})
        hello = connection.receive_json()
        assert hello["type"] == "hello" and hello["model"] == client.get("/v1/model").json()
        for number, pose in enumerate(clip):
            if binary:
                connection.send_bytes(struct.pack("<d", number / FPS) + pose.astype("<f4").tobytes())
            else:
                connection.send_json({"frame": nulls(pose), "time": number / FPS})
            expected = stream.push(pose, number / FPS)
            if expected is None:
                waiting = connection.receive_json()
                assert waiting["type"] == "waiting" and (waiting["have"], waiting["need"]) == (number + 1, OBSERVED)
                continue
            assert expected.future is not None
            if binary:
                message = connection.receive_bytes()
                time, latency, classes, horizon, joints, channels, dropped = struct.unpack_from("<df5I", message)
                assert (classes, horizon, joints, channels, dropped) == (3, 6, JOINTS, 3, 0) and latency > 0
                values = np.frombuffer(message, "<f4", offset=struct.calcsize("<df5I"))
                probabilities, smoothed, future = values[:3], values[3:6], values[6:].reshape(6, JOINTS, 3)
            else:
                message = connection.receive_json()
                assert message["label"] == expected.label and message["track"] is None and message["latency_ms"] > 0
                assert [edge[:2] for edge in message["edges"]] == [[edge.source, edge.target] for edge in expected.edges]
                np.testing.assert_allclose(message["milliseconds"], expected.milliseconds, atol=1e-3)
                time, future = message["time"], message["future"]
                probabilities, smoothed = (list(message[name].values()) for name in ("probabilities", "smoothed"))
            assert time == pytest.approx(number / FPS)
            np.testing.assert_allclose(probabilities, list(expected.probabilities.values()), atol=1e-5)
            np.testing.assert_allclose(smoothed, list(expected.smoothed.values()), atol=1e-5)
            np.testing.assert_allclose(future, expected.future, atol=1e-5)


def test_several_persons_of_a_session_do_not_mix(client: Local, model: TrainedModel):
    clips = {"anna": poses(12, 1), "ben": poses(12, 2), None: poses(12, 3)}
    streams = {name: Stream(model, warm_up="repeat") for name in clips}
    with client.connect("/v1/stream") as connection:
        connection.send_json({"type": "open", "warm_up": "repeat"})
        connection.receive_json()
        for number in range(12):
            for name, clip in clips.items():
                connection.send_json({"frame": nulls(clip[number]), "track": name})
                answered, expected = connection.receive_json(), streams[name].push(clip[number])
                assert answered["track"] == name and expected is not None
                np.testing.assert_allclose(answered["future"], expected.future, atol=1e-5)


def test_a_label_below_reject_is_none(client: Local):
    with client.connect("/v1/stream") as connection:
        connection.send_json({"type": "open", "warm_up": "repeat", "reject": 1.0})
        connection.receive_json()
        connection.send_json({"frame": nulls(poses(1)[0])})
        assert connection.receive_json()["label"] is None


def test_heads_that_a_model_lacks():
    with client_of(make_model(prediction=False)) as client:
        card = client.get("/v1/model").json()
        assert card["recognises"] and not card["predicts"]
        with client.connect("/v1/stream") as connection:
            connection.send_json({"type": "open", "warm_up": "repeat"})
            connection.receive_json()
            connection.send_json({"frame": nulls(poses(1)[0])})
            message = connection.receive_json()
            assert message["future"] is None and message["label"] in CLASSES and message["milliseconds"] == []


# --- batches -----------------------------------------------------------------------------------------------------------------


def run_batcher(model: TrainedModel, most: int, work: Any) -> Any:
    async def main() -> Any:
        batcher = Batcher(model, most, Metrics(model))
        task = asyncio.create_task(batcher.run())
        try:
            return await asyncio.wait_for(work(batcher), 20)
        finally:
            task.cancel()

    return asyncio.run(main())


def test_a_batch_computes_the_longest_horizon_and_each_gets_its_part(model: TrainedModel):
    windows = [poses(OBSERVED, seed) for seed in range(5)]
    horizons = [3, 12, 1, 7, 12]
    found: dict[int, Any] = {}

    async def work(batcher: Batcher) -> None:
        for number, (window, horizon) in enumerate(zip(windows, horizons, strict=True)):
            batcher.submit(number, None, Waiting(window, horizon, lambda got, number=number: found.update({number: got})))
        await batcher.finish()

    run_batcher(model, 32, work)
    for number, (window, horizon) in enumerate(zip(windows, horizons, strict=True)):
        alone = answer(model, window[None], horizon)
        assert found[number].futures.shape == (1, horizon, JOINTS, 3)
        np.testing.assert_allclose(found[number].futures, alone.futures, atol=1e-6)
        np.testing.assert_allclose(found[number].probabilities, alone.probabilities, atol=1e-6)
        np.testing.assert_allclose(found[number].actional, alone.actional, atol=1e-6)


def test_a_shorter_horizon_is_exactly_the_beginning_of_a_longer_one(model: TrainedModel):
    windows = np.stack([poses(OBSERVED, seed) for seed in range(3)])
    long, short = answer(model, windows, 12).futures, answer(model, windows, 5).futures
    assert long is not None
    np.testing.assert_array_equal(long[:, :5], short)


def test_clients_take_turns_and_newer_windows_replace_older_ones(model: TrainedModel, monkeypatch: pytest.MonkeyPatch):
    batches: list[list[float]] = []

    def spy(model: TrainedModel, windows: np.ndarray, horizon: int) -> Any:
        batches.append(windows[:, 0, 0, 0].tolist())
        return answer(model, windows, horizon)

    monkeypatch.setattr(batching, "answer", spy)

    def marked(mark: float) -> Waiting:
        window = poses(OBSERVED)
        window[0, 0, 0] = mark
        return Waiting(window, 1, lambda _: None)

    async def work(batcher: Batcher) -> list[bool]:
        # One client with eight persons, two with one each, who came later; two windows a batch.
        replaced = [batcher.submit("many", person, marked(person)) for person in range(8)]
        replaced += [batcher.submit("one", None, marked(100)), batcher.submit("two", None, marked(200))]
        replaced += [batcher.submit("one", None, marked(101)), batcher.submit("many", 0, marked(50))]
        await batcher.finish()
        return replaced

    assert run_batcher(model, 2, work) == [False] * 10 + [True] * 2
    assert batches == [[50, 101], [200, 1], [2, 3], [4, 5], [6, 7]]


def test_other_work_has_its_turn_between_batches_and_its_errors_reach_who_asked(model: TrainedModel):
    order: list[str] = []

    async def work(batcher: Batcher) -> None:
        def again(_: Any) -> None:
            order.append("window")
            if len(order) < 40:
                batcher.submit(1, None, Waiting(poses(OBSERVED), 1, again))

        batcher.submit(1, None, Waiting(poses(OBSERVED), 1, again))
        works = [asyncio.create_task(batcher.work(lambda: order.append("work"))) for _ in range(3)]
        failing = asyncio.create_task(batcher.work(lambda: 1 // 0))
        await asyncio.gather(*works)
        with pytest.raises(ZeroDivisionError):
            await failing
        await batcher.finish()

    run_batcher(model, 4, work)
    # However many windows come, each piece of work waits for one batch alone, and they for it.
    assert order[:6] == ["window", "work"] * 3


@pytest.mark.parametrize(
    "window",
    [
        np.zeros((OBSERVED, JOINTS + 1, 3), np.float32),
        np.zeros((OBSERVED, JOINTS, 3)),
        np.full((OBSERVED, JOINTS, 3), np.inf, np.float32),
    ],
)
def test_a_window_that_would_fail_the_others_is_refused_before(model: TrainedModel, window: np.ndarray):
    async def work(batcher: Batcher) -> None:
        with pytest.raises(InputError, match="expected"):
            batcher.submit(1, None, unchecked(window))

    run_batcher(model, 4, work)


def unchecked(window: np.ndarray) -> Waiting:
    """A waiting window past the check of shapes that tests add."""
    waiting = object.__new__(Waiting)
    for name, value in (("window", window), ("horizon", 1), ("done", lambda _: None)):
        object.__setattr__(waiting, name, value)
    return waiting


def test_a_model_that_raises_ends_the_session_concerned_alone(model: TrainedModel, monkeypatch: pytest.MonkeyPatch):
    def fail(model: TrainedModel, windows: np.ndarray, horizon: int) -> Any:
        if (windows[:, -1, 0, 0] == 7.0).any():
            raise RuntimeError("no such thing")
        return answer(model, windows, horizon)

    monkeypatch.setattr(batching, "answer", fail)
    bad = poses(1)[0]
    bad[0, 0] = 7.0
    with client_of(model) as client, client.connect("/v1/stream") as good:
        good.send_json({"type": "open", "warm_up": "repeat"})
        good.receive_json()
        with client.connect("/v1/stream") as other:
            other.send_json({"type": "open", "warm_up": "repeat"})
            other.receive_json()
            other.send_json({"frame": nulls(bad)})
            sentence, code = said(other)
            assert code == 1011 and "the model failed" in sentence and "no such thing" not in sentence
        good.send_json({"frame": nulls(poses(1)[0])})
        assert good.receive_json()["type"] == "answer"


def test_of_a_batch_that_fails_the_innocent_are_answered(model: TrainedModel, monkeypatch: pytest.MonkeyPatch):
    def fail(model: TrainedModel, windows: np.ndarray, horizon: int) -> Any:
        if (windows[:, -1, 0, 0] == 7.0).any():
            raise RuntimeError("no such thing")
        return answer(model, windows, horizon)

    monkeypatch.setattr(batching, "answer", fail)
    found: dict[int, Any] = {}

    async def work(batcher: Batcher) -> None:
        for number in range(3):
            window = poses(OBSERVED, number)
            window[-1, 0, 0] = 7.0 if number == 1 else 0.0
            batcher.submit(number, None, Waiting(window, 2, lambda got, number=number: found.update({number: got})))
        await batcher.finish()

    run_batcher(model, 8, work)
    assert isinstance(found[1], RuntimeError) and found[0].futures.shape == found[2].futures.shape == (1, 2, JOINTS, 3)


def test_an_answer_without_numbers_is_an_error_and_no_broken_json(model: TrainedModel, monkeypatch: pytest.MonkeyPatch):
    def lose(model: TrainedModel, windows: np.ndarray, horizon: int) -> Any:
        found = answer(model, windows, horizon)
        assert found.futures is not None
        found.futures[windows[:, -1, 0, 0] == 7.0] = np.nan
        return found

    monkeypatch.setattr(batching, "answer", lose)
    pose = poses(1)[0]
    pose[0, 0] = 7.0
    with client_of(model) as client, client.connect("/v1/stream") as connection:
        connection.send_json({"type": "open", "warm_up": "repeat"})
        connection.send_json({"frame": nulls(pose)})
        sentence, code = said(connection)
        assert code == 1008 and "no numbers" in sentence


@pytest.mark.parametrize("size", [1e-30, 1e12])
def test_the_smallest_and_the_largest_poses_get_an_answer_or_a_sentence(client: Local, size: float):
    clip = (size * poses(9) / np.abs(poses(9)).max()).tolist()
    answered = client.post("/v1/predict", json={"clips": [clip]})
    assert answered.status_code in (200, 422) and "NaN" not in answered.text
    with client.connect("/v1/stream") as connection:
        connection.send_json({"type": "open", "warm_up": "repeat"})
        connection.receive_json()
        for pose in clip:
            connection.send_json({"frame": pose})
            message = connection.receive_json()
            assert message["type"] == "answer" or "no numbers" in message["message"]


# --- what is wrong is told --------------------------------------------------------------------------------------------------

POSE = nulls(poses(1)[0])
HUGE = "9" * 5000
WRONG = [
    ("hello", 1003, "no JSON"),
    ("", 1003, "no JSON"),
    ("[1, 2]", 1003, "a list of 2"),
    ("null", 1003, "null"),
    ("[" * 50_000, 1003, "nested"),
    (f'{{"frame": [{"[" * 50_000}', 1003, "nested"),
    ('{"frame": NaN}', 1003, "null where a number is missing"),
    ('{"frame": [[Infinity, 0, 0]]}', 1003, "Infinity"),
    (f'{{"frame": [[{HUGE}, 0, 0]]}}', 1003, "thousands of digits"),
    ('{"type": "dance"}', 1003, "dance"),
    ('{"type": "horizon", "frames": 3}', 1003, "/v1/watch"),
    ('{"frame": 3}', 1008, "expected a list of 5 joints of 3 numbers"),
    ('{"frame": []}', 1008, "found 0 joints, expected 5"),
    (json.dumps({"frame": [*POSE, [0, 0, 0]]}), 1008, "found 6 joints, expected 5"),
    (json.dumps({"frame": [*POSE[:4], [0, 0]]}), 1008, "joint 4: found a list of 2, expected 3 numbers"),
    (json.dumps({"frame": [*POSE[:4], ["1", 0, 0]]}), 1008, 'found "1", expected a number'),
    (json.dumps({"frame": [*POSE[:4], [True, 0, 0]]}), 1008, "found true"),
    (json.dumps({"frame": [*POSE[:4], [{}, 0, 0]]}), 1008, "found an object"),
    (json.dumps({"frame": [*POSE[:4], [10**300, 0, 0]]}), 1008, "many digits"),
    (json.dumps({"frame": [*POSE[:4], [1e39, 0, 0]]}), 1008, "1e+39"),
    ('{"frame": [[1e999, 0, 0], null, null, null, null]}', 1008, "Infinity"),
    (json.dumps({"frame": POSE, "time": "now"}), 1008, 'time: found "now", expected seconds'),
    (json.dumps({"frame": POSE, "time": 1e30}), 1008, "expected seconds"),
    (json.dumps({"frame": POSE, "track": 3}), 1008, "track: found 3, expected a name"),
    (json.dumps({"frame": POSE, "track": "x" * 65}), 1008, "up to 64"),
    (json.dumps({"frame": POSE, "extra": 1}), 1008, 'found a field "extra"'),
    ('{"type": "open", "horizon": 0}', 1008, "horizon: found 0"),
    ('{"type": "open", "horizon": 101}', 1008, "1 to 100"),
    ('{"type": "open", "horizon": 2.5}', 1008, "horizon: found 2.5"),
    ('{"type": "open", "fps": -1}', 1008, "fps: found -1"),
    ('{"type": "open", "fps": 0.5}', 1008, "max_gap"),
    ('{"type": "open", "reject": 2}', 1008, "reject: found 2"),
    ('{"type": "open", "warm_up": "hot"}', 1008, 'warm_up: found "hot", expected wait or repeat'),
    ('{"type": "open", "format": ["json"]}', 1008, "format: found a list of 1"),
    (b"", 1008, "found a binary frame of 0 bytes, expected 68"),
    (b"\0" * 67, 1008, "67 bytes, expected 68"),
    (struct.pack("<16f", *[math.inf] * 16) + b"\0" * 4, 1008, "found inf, expected a number up to"),
    (struct.pack("<d", math.inf) + b"\0" * 60, 1008, "expected seconds"),
]


@pytest.mark.parametrize(("message", "code", "sentence"), WRONG, ids=[str(number) for number in range(len(WRONG))])
def test_a_wrong_message_closes_the_stream_with_a_sentence(client: Local, message: str | bytes, code: int, sentence: str):
    with client.connect("/v1/stream") as connection:
        if isinstance(message, str):
            connection.send_text(message)
        else:
            connection.send_bytes(message)
        told, closed = said(connection)
        assert closed == code and sentence in told


def test_an_opening_comes_first_or_not_at_all(client: Local):
    with client.connect("/v1/stream") as connection:
        connection.send_json({"frame": POSE})
        connection.send_json({"type": "open"})
        sentence, code = said(connection)
        assert code == 1008 and "expected it as the first one" in sentence


def test_times_that_come_and_go_are_refused(client: Local):
    with client.connect("/v1/stream") as connection:
        connection.send_json({"frame": POSE, "time": 1.0})
        connection.send_json({"frame": POSE})
        assert said(connection)[1] == 1008


WRONG_BODIES = [
    (b"", "no JSON"),
    (b"{", "no JSON"),
    (b"\xff\xfe\xfa", "no UTF-8"),
    (b"[" * 100_000, "nested"),
    (b"[]", "found a list of 0, expected an object"),
    (b"{}", "clips: found null"),
    (b'{"clips": []}', "expected a list of clips"),
    (b'{"clips": [[]]}', "clip 0: found a list of 0, expected a list of frames"),
    (b'{"clips": [3]}', "clip 0: found 3"),
    (json.dumps({"clips": [[POSE]] * 65}).encode(), "found 65, expected at most 64"),
    (json.dumps({"clips": [[[None] * 5] * 4097]}).encode(), "found 4097 frames"),
    (json.dumps({"clips": [[POSE, POSE[:4]]]}).encode(), "clip 0, frame 1: found 4 joints"),
    (json.dumps({"clips": [[POSE], [[None] * 5]]}).encode(), "clip 1"),
    (json.dumps({"clips": [[POSE]], "horizon": 101}).encode(), "horizon: found 101"),
    (json.dumps({"clips": [[POSE]], "horizon": "10"}).encode(), "horizon"),
    (json.dumps({"clips": [[POSE]], "more": 1}).encode(), "found a field"),
    (b'{"clips": [[[[NaN, 0, 0], null, null, null, null]]]}', "NaN"),
    (json.dumps({"clips": [[[[1e300, 0, 0], *POSE[1:]]]]}).encode(), "a number up to 1e+12"),
]


@pytest.mark.parametrize(("body", "sentence"), WRONG_BODIES, ids=[str(number) for number in range(len(WRONG_BODIES))])
def test_a_wrong_body_is_refused_with_a_sentence(client: Local, body: bytes, sentence: str):
    answered = client.post("/v1/predict", content=body)
    assert answered.status_code == 422 and sentence in answered.json()["detail"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("x" * 300),
    lambda inner: (
        st.lists(inner, max_size=6)
        | st.dictionaries(st.text(max_size=5) | st.sampled_from(["clips", "frame", "time", "type"]), inner, max_size=4)
    ),
    max_leaves=30,
)
NEARLY = st.fixed_dictionaries(
    {
        "frame": st.lists(
            st.none() | st.lists(st.none() | st.floats() | st.integers() | JSON, min_size=2, max_size=4), min_size=4, max_size=6
        )
    },
    optional={"time": st.floats() | st.integers() | JSON, "track": st.text() | JSON},
)
FUZZ = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@FUZZ
@given(
    st.binary(max_size=200)
    | JSON.map(lambda value: json.dumps(value).encode())
    | NEARLY.map(lambda value: json.dumps({"clips": [[value["frame"]]], "horizon": value.get("time")}).encode())
)
def test_no_body_is_answered_with_a_500(client: Local, body: bytes):
    answered = client.post("/v1/predict", content=body)
    assert answered.status_code in (200, 422)
    assert answered.status_code == 200 or len(answered.json()["detail"]) > 10


@FUZZ
@given(
    st.lists(
        st.binary(max_size=100) | st.text(max_size=100) | JSON.map(json.dumps) | NEARLY.map(json.dumps), min_size=1, max_size=5
    )
)
def test_no_message_breaks_a_stream(client: Local, messages: list[str | bytes]):
    with client.connect("/v1/stream") as connection:
        assert connection.receive_json()["type"] == "hello"
        with suppress(websockets.ConnectionClosed):
            for message in messages:
                connection.socket.send(message if isinstance(message, bytes) else message.encode(errors="replace").decode())
            # Whatever came before: this one is refused at the latest.
            connection.send_text("over")
        sentence, code = said(connection)
        assert code in (1003, 1008) and len(sentence) > 10
    client.rest()


# --- limits -----------------------------------------------------------------------------------------------------------------


def test_a_bucket_fills_with_time():
    now = [0.0]
    bucket = Bucket(10.0, 3.0, lambda: now[0])
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
    now[0] = 0.25
    assert [bucket.take() for _ in range(3)] == [True, True, False]
    now[0] = 100.0
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]


def test_more_streams_than_may_be_are_sent_away(model: TrainedModel):
    with client_of(model, sessions=2) as client, client.connect("/v1/stream") as one:
        with client.connect("/v1/stream") as two, client.connect("/v1/stream") as three:
            assert one.receive_json()["session"] != two.receive_json()["session"]
            sentence, code = said(three)
            assert code == 1013 and sentence.startswith("2 streams are open")
            assert client.number("symgnn_sessions") == 2
        with client.connect("/v1/stream") as again:
            assert again.receive_json()["type"] == "hello"


def test_frames_above_the_rate_are_dropped_and_counted_and_far_above_it_the_stream_is_closed(model: TrainedModel):
    with client_of(model, rate=5.0) as client, client.connect("/v1/stream") as connection:
        connection.send_json({"type": "open", "warm_up": "repeat"})
        for _ in range(40):
            connection.send_json({"frame": POSE})
        connection.receive_json()
        connection.send_json({"frame": POSE})
        with suppress(websockets.ConnectionClosed):
            for _ in range(400):
                connection.send_json({"frame": POSE})
        sentence, code = said(connection)
        assert code == 1008 and "far more frames than 5 a second" in sentence
        # All but the burst and what the seconds of this test allow.
        assert client.number('symgnn_dropped_total{reason="rate"}') > 50


def test_a_silent_stream_is_closed(model: TrainedModel):
    with client_of(model, idle=0.1) as client, client.connect("/v1/stream") as connection:
        sentence, code = said(connection)
        assert code == 1008 and sentence.startswith("no message for 0.1 s")


def test_persons_are_bounded_and_who_is_not_seen_makes_room(model: TrainedModel):
    def answered(client: Local, names: list[str]) -> Any:
        with client.connect("/v1/stream") as connection:
            connection.send_json({"type": "open", "warm_up": "repeat"})
            connection.receive_json()
            for name in names:
                connection.send_json({"frame": POSE, "track": name})
                message = connection.receive_json()
                if message["type"] == "error":
                    return message["message"]
                assert message["track"] == name
        return None

    with client_of(model, tracks=2) as client:
        assert "more than 2 tracks" in answered(client, ["a", "b", "a", "c"])
    with client_of(model, tracks=2, quiet=0.0) as client:
        assert answered(client, ["a", "b", "c", "a", "d"]) is None


def test_a_body_that_is_too_big_is_refused_before_it_is_read(model: TrainedModel):
    with client_of(model, body=1000) as client:
        answered = client.post("/v1/predict", content=b" " * 1001)
        assert answered.status_code == 413 and "1000 bytes" in answered.json()["detail"]
        # Without a length, as it comes.
        assert client.post("/v1/predict", content=iter([b" " * 600, b" " * 600])).status_code == 413
        assert client.post("/v1/predict", content=b" " * 1000).status_code == 422


def test_a_body_that_never_ends_is_given_up(model: TrainedModel):
    async def main() -> int:
        service = Service(model, Limits(receive=0.05))
        app = create_app(service, Access.of("127.0.0.1", None, ()))
        statuses: list[int] = []

        async def receive() -> Any:
            await asyncio.sleep(30)

        async def send(message: Any) -> None:
            statuses.append(message.get("status", 0))

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/predict",
            "headers": [(b"host", b"localhost")],
            "query_string": b"",
        }
        await app(scope, receive, send)
        return statuses[0]

    assert asyncio.run(main()) == 408


def test_requests_at_a_time_are_bounded(model: TrainedModel):
    with client_of(model, requests=0) as client:
        answered = client.post("/v1/predict", json={"clips": [[POSE]]})
        assert answered.status_code == 503 and "again later" in answered.json()["detail"]


@pytest.mark.parametrize("option", ["sessions", "rate", "idle", "batch"])
def test_limits_are_numbers_above_zero(option: str):
    with pytest.raises(InputError, match=f"--(max-)?{option}: found 0"):
        Limits(**{option: type(getattr(Limits, option))()})


# --- who is let in ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "localhost:8000"}, 200),
        ({"host": "[::1]:8000"}, 200),
        ({"host": "evil.example"}, 403),
        ({"host": "127.0.0.1.evil.example:8000"}, 403),
        ({"host": "evil.example:8000@127.0.0.1"}, 403),
        ({"host": ""}, 403),
        ({"host": "[::1"}, 403),
        ({"origin": "http://127.0.0.1:8000"}, 200),
        ({"origin": "http://127.0.0.1:9000"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "https://page.example"}, 200),
    ],
)
def test_pages_elsewhere_cannot_drive_a_local_service(model: TrainedModel, headers: dict[str, str], status: int):
    upgrade = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-key": "A" * 22 + "==",
        "sec-websocket-version": "13",
    }
    with client_of(model, origins=("https://page.example",)) as client:
        # The address of this service has a port of its own.
        headers = {name: value.replace(":8000", client.address[9:]) for name, value in headers.items()}
        answered = client.get("/v1/model", headers=headers)
        assert answered.status_code == status
        assert status == 200 or "expected" in answered.json()["detail"]
        with client.stream("GET", "/v1/stream", headers={**headers, **upgrade}) as shaken:
            assert shaken.status_code == (101 if status == 200 else 403)
        client.rest()


def test_a_token_is_asked_for(model: TrainedModel):
    with client_of(model, token="geheim-ü", host="0.0.0.0") as client:
        for path in ("/v1/model", "/metrics"):
            refused = client.get(path)
            assert refused.status_code == 401 and refused.headers["www-authenticate"] == "Bearer"
            assert client.get(path, headers={"Authorization": "Bearer wrong"}).status_code == 401
            assert client.get(path, headers={"Authorization": "Basic geheim"}).status_code == 401
            # In the address of a request it would stand in logs.
            assert client.get(f"{path}?token=geheim-%C3%BC").status_code == 401
        assert client.post("/v1/predict", json={"clips": [[POSE]]}).status_code == 401
        for path in ("/healthz", "/", "/docs", "/docs.css", "/openapi.json"):
            assert client.get(path).status_code == 200
        for address in ("/v1/stream", "/v1/watch?token=wrong", "/v1/watch"):
            with client.connect(address) as connection:
                sentence, code = said(connection)
                assert code == 4401 and "token" in sentence
        for address in ("/v1/stream?token=geheim-%C3%BC", "/v1/watch?token=geheim-%C3%BC"):
            with client.connect(address) as connection:
                assert connection.receive_json()["type"] == "hello"
    with client_of(model, token="plain", host="0.0.0.0") as client:
        assert client.get("/v1/model", headers={"Authorization": "Bearer plain", "host": "any.example"}).status_code == 200
        with client.connect("/v1/stream", headers={"Authorization": "bearer plain"}) as connection:
            assert connection.receive_json()["type"] == "hello"


def test_headers_and_pages(client: Local):
    for path in ("/", "/docs", "/v1/model", "/nothing", "/../pyproject.toml"):
        answered = client.get(path)
        assert "default-src 'self'" in answered.headers["content-security-policy"]
        assert answered.headers["x-content-type-options"] == "nosniff" and answered.headers["referrer-policy"] == "no-referrer"
    assert client.get("/nothing").status_code == 404
    page = client.get("/docs").text
    # Nothing is asked of anybody else, and nothing runs.
    assert "http://" not in page and "https://" not in page and "<script" not in page and "style=" not in page
    assert "/v1/predict" in page and "/v1/stream" in page
    schema = client.get("/openapi.json").json()
    assert set(schema["paths"]) == {"/v1/model", "/v1/predict", "/healthz", "/metrics"}
    example = schema["paths"]["/v1/predict"]["post"]["requestBody"]["content"]["application/json"]["example"]
    assert "3 numbers" in client.post("/v1/predict", json=example).json()["detail"]  # of a body of three joints, this has five


def test_the_files_of_the_page(model: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server_app, "WEB", tmp_path)
    with client_of(model) as client:
        assert client.get("/").status_code == 200 and "not built" in client.get("/").text
        (tmp_path / "index.html").write_text("<!doctype html><p>page")
        (tmp_path / "app.js").write_text("export {}")
        start, script = client.get("/"), client.get("/app.js")
        assert start.headers["content-type"].startswith("text/html") and "javascript" in script.headers["content-type"]
        unchanged = client.get("/app.js", headers={"if-none-match": script.headers["etag"]})
        assert unchanged.status_code == 304 and script.headers["cache-control"] == "no-cache"


def test_metrics_count(model: TrainedModel):
    with client_of(model) as client:
        with client.connect("/v1/stream") as connection:
            connection.send_json({"type": "open", "warm_up": "repeat"})
            connection.receive_json()
            for pose in poses(6):
                connection.send_json({"frame": nulls(pose)})
                connection.receive_json()
            connection.send_text("?")
            said(connection)
        client.post("/v1/predict", json={"clips": [[POSE]] * 3})
        client.post("/v1/predict", content=b"?")
        for name, value in {
            "symgnn_frames_total": 6,
            "symgnn_answers_total": 6,
            "symgnn_sessions": 0,
            "symgnn_predictions_total": 3,
            'symgnn_errors_total{code="1003"}': 1,
            'symgnn_errors_total{code="422"}': 1,
            "symgnn_batch_windows_count": 6,
            "symgnn_batch_windows_sum": 6,
            "symgnn_inference_seconds_count": 6,
            "symgnn_latency_seconds_count": 6,
            'symgnn_model_info{layout="tiny",preset="tiny",space="xyz"}': 1,
        }.items():
            assert client.number(name) == value, name


@pytest.mark.parametrize("start", [b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Never-Ends: ", b"", b"x"])
def test_connections_that_ask_for_nothing_are_cut(client: Local, monkeypatch: pytest.MonkeyPatch, start: bytes):
    monkeypatch.setattr(running, "_SILENT", 0.5)
    host, port = client.address.split(":")
    with socket.create_connection((host, int(port)), timeout=20) as silent:
        silent.sendall(start)
        with suppress(ConnectionResetError):
            assert silent.recv(1000) == b""


def test_a_client_that_never_reads_is_cut(model: TrainedModel, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(running, "_CLOSING", 0.5)
    with client_of(model, send=0.3, rate=1e4) as client, client.connect("/v1/stream") as connection:
        connection.send_json({"type": "open", "warm_up": "repeat", "horizon": 100})
        connection.receive_json()
        # From here on nothing is taken in: what is sent fills the buffers of both sides, and then no more goes.
        connection.socket.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        deadline = time.monotonic() + 20
        with suppress(websockets.ConnectionClosed, OSError):
            while client.number("symgnn_sessions") and time.monotonic() < deadline:
                connection.send_json({"frame": POSE})
        client.rest()
        assert client.number('symgnn_errors_total{code="1008"}') == 1


# --- onlookers ----------------------------------------------------------------------------------------------------------------


def ticks(connection: Any, count: int) -> list[dict[str, Any]]:
    found = []
    while len(found) < count:
        message = connection.receive_json()
        if message["type"] == "tick":
            found.append(message)
    return found


def test_an_onlooker_sees_what_a_session_does(client: Local, model: TrainedModel):
    clip = poses(3)
    clip[1, 2] = np.nan
    with client.connect("/v1/watch") as viewer:
        hello = viewer.receive_json()
        assert (hello["source"], hello["name"]) == ("none", None) and hello["model"]["preset"] == "tiny"
        with client.connect("/v1/stream") as connection:
            connection.send_json({"type": "open", "warm_up": "repeat", "horizon": 2})
            session = connection.receive_json()["session"]
            stream = Stream(model, warm_up="repeat", horizon=FUTURE)
            for number, pose in enumerate(clip):
                connection.send_json({"frame": nulls(pose), "time": number / FPS, "track": "anna"})
                answered, expected = connection.receive_json(), stream.push(pose, number / FPS)
                assert expected is not None and expected.future is not None
                if number == 0:
                    source = viewer.receive_json()
                    assert source == {"type": "source", "source": "stream", "name": session, "session": session}
                tick = viewer.receive_json()
                assert (tick["type"], tick["track"], tick["label"]) == ("tick", "anna", answered["label"])
                assert tick["truth"] is None and tick["dropped"] == 0 and tick["probabilities"] == answered["smoothed"]
                if number == 1:
                    assert tick["pose"][2] is None
                else:
                    np.testing.assert_allclose(tick["pose"], pose, atol=1e-5)
                # The client asked for 2 poses ahead, the onlooker for none in particular.
                assert len(answered["future"]) == 2
                np.testing.assert_allclose(tick["ghosts"], expected.future, atol=1e-5)
                np.testing.assert_allclose(tick["milliseconds"], expected.milliseconds, atol=1e-3)
                names = hello["model"]["joints"]
                assert [[names[a], names[b]] for a, b, _ in tick["edges"]] == [edge[:2] for edge in answered["edges"]]
            viewer.send_json({"type": "horizon", "frames": 9})
            deadline = time.monotonic() + 10
            while client.service.hub.ghosts(session) != 9 and time.monotonic() < deadline:
                client.get("/healthz")
            connection.send_json({"frame": nulls(clip[0]), "time": 5 / FPS, "track": "anna"})
            assert len(viewer.receive_json()["ghosts"]) == 9
            with client.connect(f"/v1/watch?session={session}") as other:
                assert other.receive_json()["name"] == session
                connection.close()
                assert said(other)[1] == 1001
        assert viewer.receive_json() == {"type": "source", "source": "none", "name": None, "session": None}


def test_an_onlooker_stays_with_a_session_while_others_move_too(client: Local):
    with client.connect("/v1/watch") as viewer, client.connect("/v1/stream") as one:
        viewer.receive_json()
        first = one.receive_json()["session"]
        one.send_json({"frame": POSE})
        one.receive_json()
        assert viewer.receive_json()["session"] == first
        with client.connect("/v1/stream") as two:
            second = two.receive_json()["session"]
            for _ in range(3):
                two.send_json({"frame": POSE})
                two.receive_json()
                one.send_json({"frame": POSE})
                one.receive_json()
            one.close()
            assert viewer.receive_json()["session"] == second


@pytest.mark.parametrize(
    "message", ["{}", "?", '{"type": "horizon"}', '{"type": "horizon", "frames": -1}', json.dumps({"frame": POSE}), b"12"]
)
def test_an_onlooker_says_its_horizon_alone(client: Local, message: str | bytes):
    with client.connect("/v1/watch") as viewer:
        if isinstance(message, bytes):
            viewer.send_bytes(message)
        else:
            viewer.send_text(message)
        assert said(viewer)[1] in (1003, 1008)


def test_onlookers_are_bounded_and_ask_for_sessions_that_are(model: TrainedModel):
    with client_of(model, viewers=1) as client, client.connect("/v1/watch") as viewer:
        viewer.receive_json()
        with client.connect("/v1/watch") as other:
            assert said(other)[1] == 1013
    with client_of(model) as client, client.connect("/v1/watch?session=s9") as viewer:
        sentence, code = said(viewer)
        assert code == 1008 and "'s9'" in sentence


def test_what_is_played_goes_through_the_model_while_somebody_looks():
    model = make_cmu_model("expmap")
    clips = programme(None, model)
    with client_of(model, clips=clips) as client:
        assert client.number("symgnn_batch_windows_count") == 0
        with client.connect("/v1/watch") as viewer:
            assert viewer.receive_json()["source"] == "playback"
            source = viewer.receive_json()
            assert (source["source"], source["name"]) == ("playback", "walking")
            seen = ticks(viewer, 12)
        assert all(tick["truth"] == "walking" and len(tick["pose"]) == 38 and len(tick["ghosts"]) == 4 for tick in seen)
        times = [tick["time"] for tick in seen]
        assert times == sorted(times) and len(set(times)) == 12
        client.rest()
        assert not client.service.hub.playing.is_set()


def test_the_clips_of_a_store_are_played(motion: Any):
    model = make_cmu_model("xyz")
    played = programme(f"{motion.path}:9", model)
    assert len(played) == 1
    clip = played[0]()
    assert clip.truth == motion.class_names[motion.clips[9].label] and clip.name == motion.clips[9].recording
    assert clip.frames.shape[1:] == (26, 3) and len(programme(str(motion.path), model)) == len(motion.clips)
    for wrong in (f"{motion.path}:9999", "/nowhere", f"{motion.path}/clips.csv"):
        with pytest.raises(InputError):
            programme(wrong, model)


@pytest.mark.parametrize("layout", ["cmu", "h36m-3d", "ntu25", "mediapipe33"])
def test_the_built_in_motion_on_other_bodies_stands_on_its_feet(layout: str):
    body = load_layout(layout)
    model = make_cmu_model("xyz")
    # The mean pose of the model: a body of some size, somewhere, upright in the layout's own way.
    axis, sign = "xyz".index(body.up[-1]), -1.0 if body.up.startswith("-") else 1.0
    size = {"mm": 1700.0, "m": 1.7}.get(body.unit, 1.7)
    mean = np.zeros((len(body.joints), 3))
    mean[:, axis] = sign * size * np.linspace(0, 1, len(body.joints))
    mean += 3.0 * size
    model.card = replace(model.card, layout=body, stored_mean=tuple(map(tuple, mean.tolist())))
    clip = programme(None, model)[0]()
    mark = {name: body.nodes.index(joint) for name, joint in body.landmarks.items() if joint in body.nodes}
    height = sign * (clip.frames[:, mark["left shoulder"]] - clip.frames[:, mark["left ankle"]])[:, axis]
    assert (height > 0.3 * size).all() and (height < 1.6 * size).all()
    known = np.isfinite(clip.frames).all(axis=(0, 2))
    assert known.sum() >= 12
    assert np.abs(clip.frames[:, known].mean(axis=(0, 1)) - mean[list(body.nodes)][known].mean(axis=0)).max() < 1e-2 * size


def test_nothing_is_played_on_a_body_that_it_does_not_fit():
    assert len(programme(None, make_cmu_model("xyc"))) == 0
    # Three of five joints are called as CMU's, which is little; none is none.
    model = make_model()
    assert len(programme(None, model)) == 8
    joints = tuple(f"joint {number}" for number in range(5))
    model.card = replace(model.card, layout=replace(model.layout, joints=joints))
    assert len(programme(None, model)) == 0
