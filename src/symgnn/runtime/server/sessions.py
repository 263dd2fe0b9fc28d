"""Streams of clients: frames in, answers out, each client within its bounds."""

import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol, runtime_checkable

from fastapi import WebSocket

from symgnn.errors import InputError
from symgnn.models.checkpoint import Described
from symgnn.runtime.answering import Answers
from symgnn.runtime.server.batching import Batcher, Waiting
from symgnn.runtime.server.limits import BROKEN, GARBAGE, POLICY, Bucket, Limits, RefusedError
from symgnn.runtime.server.metrics import Metrics
from symgnn.runtime.server.outbox import Message, Outbox, converse
from symgnn.runtime.server.watching import Hub, Shown
from symgnn.runtime.server.wire import (
    Frame,
    Opening,
    Shape,
    answer_to_bytes,
    answer_to_text,
    dumps,
    read_binary,
    read_message,
)
from symgnn.runtime.stream import Stream, Window

FAR = 4
"""Times the rate of which more is not even read, and about the seconds after which who still sends more is closed."""

PAUSE = 0.05
"""Seconds without reading where more is sent."""


@runtime_checkable
class Room(Protocol):
    """What a session needs of the service around it."""

    model: Described
    shape: Shape
    card: dict[str, Any]
    limits: Limits
    metrics: Metrics
    batcher: Batcher
    hub: Hub


@dataclass(eq=False)
class Track:
    """One person of a session."""

    stream: Stream
    bucket: Bucket
    dropped: int = 0
    seen: float = field(default_factory=time.monotonic)


class Session:
    """A WebSocket of ``/v1/stream``.

    Args:
        room: the service.
        websocket: accepted.
        outbox: of it.
        name: what the client and onlookers call it.
    """

    def __init__(self, room: Room, websocket: WebSocket, outbox: Outbox, name: str):
        self.name = name
        self._room = room
        self._websocket = websocket
        self._outbox = outbox
        self._opening = Opening()
        self._tracks: dict[str | None, Track] = {}
        self._far = Bucket(FAR * room.limits.rate, FAR * room.limits.rate)
        self._patience = Bucket(1.0, FAR / PAUSE)
        self._first = True
        self._frames = 0

    async def run(self) -> tuple[int, str] | None:
        """Serve the client until it goes (None) or is sent away (close code and sentence)."""
        hello = {"type": "hello", "session": self.name, "model": self._room.card}
        self._outbox.put("hello", partial(dumps, hello))
        try:
            ended = await converse(self._websocket, self._outbox, self._take, self._room.limits.idle)
        finally:
            self._room.batcher.forget(self)
            self._room.hub.gone(self.name)
            # An answer that is still under way finds nobody.
            self._tracks.clear()
        return ended

    def __str__(self) -> str:
        return f"session {self.name}: {self._frames} frames"

    def _take(self, message: Message) -> float:
        room, first = self._room, self._first
        self._first = False
        match read_message(message, room.shape) if isinstance(message, str) else read_binary(message, room.shape):
            case Frame() as frame:
                self._frame(frame)
            case Opening() as opening if first:
                self._open(opening)
            case Opening():
                raise RefusedError(POLICY, 'found a message of type "open" after others, expected it as the first one')
            case _:
                raise RefusedError(GARBAGE, 'found a message of type "horizon", which is for /v1/watch; expected a "frame"')
        if self._far.take():
            return 0.0
        if not self._patience.take():
            rate = room.limits.rate
            raise RefusedError(POLICY, f"found far more frames than {rate:g} a second for long: send at the rate of the camera")
        return PAUSE

    def _open(self, opening: Opening) -> None:
        most = self._room.card["max_horizon"]
        if opening.horizon is not None and opening.horizon > most:  # pyright: ignore[reportOperatorIssue]
            raise RefusedError(POLICY, f"horizon: found {opening.horizon}, expected a number of frames, 1 to {most}")
        self._opening = opening
        # What the model cannot do of it is said now, not at the first frame.
        self._stream()

    def _stream(self) -> Stream:
        asked = self._opening
        default = self._room.card["horizon"]
        assert isinstance(default, int)
        return Stream(
            self._room.model, horizon=asked.horizon or default, fps=asked.fps, warm_up=asked.warm_up, reject=asked.reject
        )

    def _track(self, name: str | None) -> Track:
        if (track := self._tracks.get(name)) is None:
            limits = self._room.limits
            if len(self._tracks) >= limits.tracks:
                longest = min(self._tracks, key=lambda other: self._tracks[other].seen)
                if time.monotonic() - self._tracks[longest].seen < limits.quiet:
                    raise RefusedError(POLICY, f"found more than {limits.tracks} tracks at a time, expected at most so many")
                del self._tracks[longest]
            track = self._tracks[name] = Track(self._stream(), Bucket(limits.rate, limits.rate))
            self._far.rate = self._far.burst = FAR * limits.rate * len(self._tracks)
        track.seen = time.monotonic()
        return track

    def _frame(self, frame: Frame) -> None:
        room = self._room
        room.metrics.frames.inc()
        self._frames += 1
        track = self._track(frame.track)
        if not track.bucket.take():
            self._drop(track, "rate")
            return
        stream = track.stream
        window = stream.add(frame.values, frame.time)
        room.hub.moved(self.name)
        if window is None:
            if stream.have < stream.need:
                state = {"type": "waiting", "track": frame.track, "time": frame.time, "have": stream.have, "need": stream.need}
                self._outbox.put(("waiting", frame.track), partial(dumps, state))
            return
        horizon = max(stream.horizon, room.hub.ghosts(self.name))
        done = partial(self._answered, frame.track, track, window)
        if room.batcher.submit(self, frame.track, Waiting(window.frames, horizon, done)):
            self._drop(track, "newer")

    def _answered(self, name: str | None, track: Track, window: Window, outcome: Answers | Exception) -> None:
        if self._tracks.get(name) is not track:
            return
        if isinstance(outcome, Exception):
            sentence = (
                str(outcome)
                if isinstance(outcome, InputError)
                else "the model failed on this frame; the log of the service says why"
            )
            self._outbox.end(POLICY if isinstance(outcome, InputError) else BROKEN, sentence)
            return
        room = self._room
        # Onlookers may have asked for more poses ahead than the client.
        futures = None if outcome.futures is None else outcome.futures[:, : track.stream.horizon]
        answer = track.stream.settle(window, replace(outcome, futures=futures), 0)
        room.metrics.answers.inc()
        room.metrics.latency.observe(answer.latency_ms / 1000)

        def message() -> Message:
            # The counts are those of the moment it is sent.
            if self._opening.format == "binary":
                return answer_to_bytes(answer, track.dropped, room.shape)
            return answer_to_text(answer, name, track.dropped, track.stream.late)

        if self._outbox.put(("answer", name), message):
            self._drop(track, "unread")
        room.hub.show(self.name, Shown(name, answer, window.frames[-1], outcome.futures, track.dropped))

    def _drop(self, track: Track, reason: str) -> None:
        track.dropped += 1
        self._room.metrics.dropped.labels(reason).inc()
