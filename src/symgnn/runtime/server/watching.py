"""Onlookers: what a session's person does and will do, drawn, for pages that show it."""

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any, Literal

import numpy as np
from fastapi import WebSocket
from jaxtyping import Float32

from symgnn.models.checkpoint import Described
from symgnn.runtime.server.limits import GARBAGE, GOING_AWAY, POLICY, Bucket, RefusedError
from symgnn.runtime.server.outbox import Message, Outbox, converse
from symgnn.runtime.server.wire import Shape, dumps, points, read_message
from symgnn.runtime.stream import Answer
from symgnn.viz.body import body_of, positions

_QUIET = 3.0
"""Seconds without a frame after which onlookers of nobody in particular turn to another session."""


@dataclass(frozen=True, eq=False)
class Shown:
    """One answer to be drawn."""

    track: str | None
    answer: Answer
    pose: Float32[np.ndarray, "joint channel"]
    futures: Float32[np.ndarray, "1 horizon joint channel"] | None
    dropped: int
    truth: str | None = None


@dataclass(frozen=True)
class Source:
    """What an onlooker sees."""

    source: Literal["stream", "playback", "none"]
    name: str | None
    session: str | None = None


NOTHING = Source("none", None)
PLAYBACK = "playback"
"""The key of what is played where no session is seen."""


@dataclass(eq=False)
class Viewer:
    """A page that looks on."""

    outbox: Outbox
    wanted: str | None
    """Session it asked for; None for whichever there is."""
    ghosts: int
    wishes: Bucket = field(default_factory=lambda: Bucket(5.0, 30.0))


class Hub:
    """Brings answers to those who look on.

    Args:
        model: of the answers.
        card: of the model, for the greeting.
        playable: whether something can be played where no session is seen.
    """

    def __init__(self, model: Described, card: dict[str, Any], *, playable: bool):
        self.viewers: set[Viewer] = set()
        self.playing = asyncio.Event()
        """Set while somebody looks at what is played."""
        self._model = model
        self._card = card
        self._shape = Shape.of(model)
        self._playback = Source("playback", None) if playable else NOTHING
        self._moved: dict[str, float] = {}
        self._followed: str | None = None
        self._ticks: dict[tuple[str, str | None], deque[float]] = {}
        body = body_of(model.layout, model.preset.data.space)
        self._point = dict(zip(model.layout.node_names, body.nodes, strict=True))
        self._mean = model.stored_mean.cpu().numpy()

    # --- what happens elsewhere

    def moved(self, session: str) -> None:
        """A session sent a frame."""
        new = session not in self._moved
        self._moved[session] = time.monotonic()
        if self._followed is None or new:
            self.choose()

    def gone(self, session: str) -> None:
        """A session ended."""
        self._moved.pop(session, None)
        for key in [key for key in self._ticks if key[0] == session]:
            del self._ticks[key]
        for viewer in [viewer for viewer in self.viewers if viewer.wanted == session]:
            viewer.outbox.end(GOING_AWAY, f"session {session} has ended: connect without a session, or to another")
        self.choose()

    def played(self, name: str) -> None:
        """Another clip is played."""
        self._playback = replace(self._playback, name=name)
        if self._followed is None:
            self._announce()

    def ghosts(self, key: str) -> int:
        """Poses ahead that onlookers of a session (or of what is played) want, none where nobody looks."""
        return max((viewer.ghosts for viewer in self.viewers if self._key(viewer) == key), default=0)

    def show(self, key: str, shown: Shown) -> None:
        """Let those who look at a session (or at what is played) see an answer."""
        now = time.monotonic()
        ticks = self._ticks.setdefault((key, shown.track), deque(maxlen=32))
        ticks.append(now)
        looking = [viewer for viewer in self.viewers if self._key(viewer) == key]
        if not looking:
            return
        rate = (len(ticks) - 1) / (now - ticks[0]) if len(ticks) > 1 and now > ticks[0] else 0.0
        # Made when the first of them is sent it, and once for all.
        message = cache(partial(self._tick, shown, rate))
        for viewer in looking:
            viewer.outbox.put(("tick", shown.track), message)

    def choose(self) -> None:
        """Whom those see who asked for nobody in particular: one session as long as it moves, then the one that moved last."""
        now = time.monotonic()
        lively = {session: moved for session, moved in self._moved.items() if now - moved < _QUIET}
        if self._followed not in lively:
            before, self._followed = self._followed, max(lively, key=lively.__getitem__, default=None)
            if self._followed != before:
                self._announce()
        self._note_playing()

    # --- onlookers

    async def watch(self, websocket: WebSocket, outbox: Outbox, session: str | None) -> tuple[int, str] | None:
        """Serve an onlooker until it goes (None) or is sent away (close code and sentence).

        Args:
            websocket: accepted.
            outbox: of it.
            session: whom it wants to see; None for whichever there is.
        """
        viewer = Viewer(outbox, session, self._card["horizon"])

        def take(message: Message) -> float:
            if not viewer.wishes.take():
                raise RefusedError(POLICY, "found many messages a second, expected a few: a viewer only says its horizon")
            wish = read_message(message, self._shape) if isinstance(message, str) else None
            if not isinstance(wish, int):
                raise RefusedError(GARBAGE, 'found another message, expected {"type": "horizon", "frames": 10}')
            viewer.ghosts = min(wish, self._card["max_horizon"])
            return 0.0

        if session is not None and session not in self._moved:
            there = ", ".join(sorted(self._moved)) or "none yet"
            outbox.end(POLICY, f"session: found {session[:64]!r}, expected one that has sent a frame ({there})")
        else:
            self.viewers.add(viewer)
            self.choose()
            source = self._source(viewer)
            hello = {
                "type": "hello",
                "model": self._card,
                "source": source.source,
                "name": source.name,
                "session": source.session,
            }
            outbox.put("hello", partial(dumps, hello))
        try:
            return await converse(websocket, outbox, take, None)
        finally:
            self.viewers.discard(viewer)
            self._note_playing()

    async def run(self) -> None:
        """Notice sessions that fall silent, until cancelled."""
        while True:
            await asyncio.sleep(1.0)
            self.choose()

    def _key(self, viewer: Viewer) -> str:
        return viewer.wanted or self._followed or PLAYBACK

    def _source(self, viewer: Viewer) -> Source:
        session = viewer.wanted or self._followed
        return self._playback if session is None else Source("stream", session, session)

    def _announce(self) -> None:
        for viewer in self.viewers:
            if viewer.wanted is None:
                source = self._source(viewer)
                message = {"type": "source", "source": source.source, "name": source.name, "session": source.session}
                viewer.outbox.put("source", partial(dumps, message))

    def _note_playing(self) -> None:
        if self._playback is not NOTHING and any(self._key(viewer) == PLAYBACK for viewer in self.viewers):
            self.playing.set()
        else:
            self.playing.clear()

    def _tick(self, shown: Shown, rate: float) -> str:
        answer, futures = shown.answer, shown.futures
        poses = shown.pose[None] if futures is None else np.concatenate([shown.pose[None], futures[0]])
        drawn = points(positions(poses, self._model.layout, self._model.preset.data.space, self._mean))
        frame = 1000 * self._model.preset.data.step / self._model.fps
        return dumps(
            {
                "type": "tick",
                "time": answer.time,
                "track": shown.track,
                "pose": drawn[0],
                "ghosts": drawn[1:],
                "milliseconds": [round(frame * ahead, 3) for ahead in range(1, len(drawn))],
                "label": answer.label,
                "probabilities": answer.smoothed,
                "edges": [[self._point[edge.source], self._point[edge.target], round(edge.weight, 5)] for edge in answer.edges],
                "latency_ms": round(answer.latency_ms, 3),
                "rate": round(rate, 1),
                "dropped": shown.dropped,
                "truth": shown.truth,
            }
        )
