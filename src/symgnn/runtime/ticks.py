"""A stream of a network that goes on from frame to frame, in place of a window at every frame (reading 42)."""

import math

import numpy as np
import torch
from jaxtyping import Float32

from symgnn.models import ContinualSymGNN
from symgnn.runtime.answering import Answers, as_answers


class Ticks:
    """What the network has computed of a stream, and up to which time.

    Ticks are the model's frames: the first one is that of the stream's first frame, and each comes ``spacing`` seconds after
    the one before, whenever frames come.

    Args:
        network: how the model goes on.
        spacing: seconds from a tick to the next.
    """

    def __init__(self, network: ContinualSymGNN, spacing: float):
        self._network, self._spacing = network, spacing
        self.clear()

    def clear(self) -> None:
        """Forget what was computed."""
        self._state = self._network.start()
        self._first = math.nan
        self._next = 0
        self.padded = 0
        """Ticks that repeated the first pose."""

    @property
    def have(self) -> int:
        """Ticks of a window that are known."""
        return min(self._state.ticks, self._network.network.observed)

    @property
    def time(self) -> float:
        """Of the last tick, seconds."""
        return self._first + (self._next - 1) * self._spacing

    def due(self, time: float, same: float) -> np.ndarray:
        """Seconds of the ticks that a frame of this time completes.

        Args:
            time: of the newest frame.
            same: seconds within which two times are one.
        """
        if math.isnan(self._first):
            self._first = time
        last = math.floor((time - self._first + same) / self._spacing)
        return self._first + self._spacing * np.arange(self._next, last + 1)

    def take(self, poses: Float32[np.ndarray, "tick joint channel"], repeat: int = 0) -> None:
        """Compute the next ticks.

        Args:
            poses: at the seconds of ``due``; NaN where missing.
            repeat: how often the first of them comes before itself (reading 4).
        """
        for pose in [*poses[:1].repeat(repeat, axis=0), *poses]:
            self._network.push(self._state, torch.from_numpy(pose))
        self._next += len(poses)
        self.padded += repeat

    def answer(self, horizon: int) -> Answers:
        """Both answers at the last tick: a batch of one, as the window that ends with it would get."""
        return as_answers(self._network.answer(self._state, horizon))
