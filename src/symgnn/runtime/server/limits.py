"""What a client may ask of the service, and the sentence that refuses more."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from symgnn.errors import InputError

GARBAGE, POLICY, BROKEN, GOING_AWAY, TRY_LATER, TOKEN = 1003, 1008, 1011, 1001, 1013, 4401
"""Close codes of WebSockets (RFC 6455 and its registry; from 4000 on they are an application's own)."""


class RefusedError(Exception):
    """What a client sent cannot be served: the code its WebSocket is closed with, and why."""

    def __init__(self, code: int, sentence: str):
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


@dataclass(frozen=True)
class Limits:
    """Bounds of everything that a client could make grow."""

    sessions: int = 64
    """Streams at a time."""
    rate: float = 120.0
    """Frames a second of a person; what comes faster is dropped and counted."""
    idle: float = 60.0
    """Seconds without a message after which a stream is closed."""
    batch: int = 32
    """Windows that go through the model together."""
    tracks: int = 8
    """Persons of one stream."""
    quiet: float = 2.0
    """Seconds after which a person without frames makes room for another."""
    viewers: int = 16
    """Pages that look on."""
    clips: int = 64
    """Clips of one request for a prediction."""
    frames: int = 4096
    """Frames of such a clip."""
    body: int = 8 * 2**20
    """Bytes of such a request."""
    receive: float = 30.0
    """Seconds that its sending may take."""
    requests: int = 8
    """Such requests at a time."""
    chunk: int = 8
    """Clips of such a request that go through the model together: streams wait for no more than these."""
    message: int = 2**16
    """Bytes of a message of a WebSocket; more where a frame of the model is large."""
    send: float = 5.0
    """Seconds that a client may leave what it was sent unread."""
    drain: float = 3.0
    """Seconds that a stop waits for answers on their way."""

    def __post_init__(self) -> None:
        for name in ("sessions", "rate", "idle", "batch"):
            value = getattr(self, name)
            if not 0 < value < float("inf"):
                option = {"sessions": "max-sessions", "rate": "max-rate"}.get(name, name)
                raise InputError(f"--{option}: found {value:g}, expected a number above 0")


class Bucket:
    """A token bucket: so many a second on average, some at once.

    Args:
        rate: tokens a second.
        burst: tokens at most, and at the start.
        clock: seconds.
    """

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic):
        self.rate = rate
        self.burst = burst
        self._clock = clock
        self._tokens = burst
        self._filled = clock()

    def take(self) -> bool:
        """Take a token, if there is one."""
        now = self._clock()
        self._tokens = min(self.burst, self._tokens + (now - self._filled) * self.rate)
        self._filled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
