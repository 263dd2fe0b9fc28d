"""A stream of a network that goes on from frame to frame, in place of a window at every frame (reading 42)."""

import math
from collections import deque

import numpy as np
import torch
from jaxtyping import Float32, Float64

from symgnn.models import ContinualSymGNN
from symgnn.runtime.answering import Answers, as_answers


class Ticks:
    """What the network has computed of a stream, and the frames it has not come to yet.

    Ticks are the model's frames: the first one is that of the stream's first frame, and each comes ``spacing`` seconds after
    the one before, whenever frames come. Frames that nobody asks an answer of wait, no more of them than a window has: after
    those the network begins anew.

    Args:
        network: how the model goes on.
        spacing: seconds from a tick to the next.
    """

    def __init__(self, network: ContinualSymGNN, spacing: float):
        self._network, self._spacing = network, spacing
        self._waiting: deque[tuple[int, Float32[np.ndarray, "joint channel"]]] = deque(maxlen=network.network.observed)
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._waiting.clear()
        self._state = self._network.start()
        self._done = self._number = self._came = 0
        self._first = math.nan

    def due(self, time: float, same: float) -> Float64[np.ndarray, " tick"]:
        """Seconds of the ticks that a frame completes, no more than a window has.

        Args:
            time: of the newest frame.
            same: seconds within which two times are one.
        """
        if math.isnan(self._first):
            self._first = time
        come = math.floor((time - self._first + same) / self._spacing) + 1
        new = min(come - self._came, self._network.network.observed)
        self._came = come
        return self._first + self._spacing * np.arange(come - new, come)

    def add(self, poses: Float32[np.ndarray, "tick joint channel"], repeat: int = 0) -> None:
        """Let the next ticks wait.

        Args:
            poses: at the seconds of ``due``; NaN where missing.
            repeat: how often the first of them comes before itself (reading 4).
        """
        for pose in [*poses[:1].repeat(repeat, axis=0), *poses]:
            self._waiting.append((self._number, pose))
            self._number += 1

    def compute(self) -> None:
        """Take in all that waits."""
        if self._waiting and self._waiting[0][0] > self._done:
            self._state = self._network.start()  # some were left out: what waits is a whole window
        while self._waiting:
            number, pose = self._waiting.popleft()
            self._network.push(self._state, torch.from_numpy(pose))
            self._done = number + 1

    def answer(self, horizon: int) -> Answers:
        """Both answers at the last tick: a batch of one, as the window that ends with it would get."""
        self.compute()
        return as_answers(self._network.answer(self._state, horizon))
