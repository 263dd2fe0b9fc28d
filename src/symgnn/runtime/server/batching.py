"""Windows of many clients through one model: those that wait when a batch starts go together."""

import asyncio
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from jaxtyping import Float32

from symgnn.errors import InputError
from symgnn.models.checkpoint import CHANNELS, Described
from symgnn.runtime.answering import Answers, answer
from symgnn.runtime.server.metrics import Metrics

_logger = logging.getLogger("symgnn.server")

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Waiting:
    """A window that is to be answered."""

    window: Float32[np.ndarray, "observed joint channel"]
    horizon: int
    done: Callable[[Answers | Exception], None]
    """Told the answers, a batch of this one window, or why there are none."""


@dataclass(frozen=True, eq=False)
class _Work(Generic[T]):
    """Something else that has to have the model to itself."""

    task: Callable[[], T]
    result: "asyncio.Future[T]"


class Batcher:
    """The one door to the model.

    Inference runs in one thread; PyTorch leaves the interpreter to the event loop meanwhile. Each person of each client has at
    most one window waiting, the newest; clients take turns, so that one with many persons or frames has no more than its share.
    Between two batches one piece of other work is done.

    Args:
        model: who answers.
        most: windows of a batch.
        metrics: where to count.
    """

    def __init__(self, model: Described, most: int, metrics: Metrics):
        self.model = model
        self._most = most
        self._metrics = metrics
        self._shape = (model.preset.data.observed, model.layout.num_nodes, CHANNELS[model.preset.data.space])
        self._clients: OrderedDict[Hashable, OrderedDict[Hashable, Waiting]] = OrderedDict()
        self._works: deque[_Work[Any]] = deque()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="symgnn-inference")

    def submit(self, client: Hashable, person: Hashable, waiting: Waiting) -> bool:
        """Let a window wait for the next batch, in place of an older one of the same person.

        Returns:
            Whether an older one was replaced: it gets no answer.

        Raises:
            InputError: the window is not one of the model's: it would fail all the others of its batch.
        """
        window = waiting.window
        if window.shape != self._shape or window.dtype != np.float32:
            raise InputError(f"window: found {window.dtype} of shape {window.shape}, expected float32 of {self._shape}")
        if np.isinf(window).any():
            raise InputError("window: found an infinite value, expected numbers, NaN where one is missing")
        persons = self._clients.setdefault(client, OrderedDict())
        replaced = person in persons
        # Assigning to a key that is there keeps its place in the line.
        persons[person] = waiting
        self._rouse()
        return replaced

    def forget(self, client: Hashable) -> None:
        """Leave out what a client still has waiting."""
        self._clients.pop(client, None)

    async def work(self, task: Callable[[], T]) -> T:
        """Run something in the thread of inference, when it has its turn."""
        result: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._works.append(_Work(task, result))
        self._rouse()
        return await result

    async def run(self) -> None:
        """Answer until cancelled."""
        try:
            while True:
                await self._wake.wait()
                if batch := self._take():
                    await self._answer(batch)
                if self._works:
                    await self._do(self._works.popleft())
                if not self._clients and not self._works:
                    self._wake.clear()
                    self._idle.set()
        finally:
            self._thread.shutdown(wait=False)

    async def finish(self) -> None:
        """Wait until nothing waits."""
        await self._idle.wait()

    def _rouse(self) -> None:
        self._idle.clear()
        self._wake.set()

    def _take(self) -> list[Waiting]:
        """The next batch: one window of each client in turn, and again, until it is full."""
        batch: list[Waiting] = []
        while self._clients and len(batch) < self._most:
            client, persons = self._clients.popitem(last=False)
            batch.append(persons.popitem(last=False)[1])
            if persons:
                # To the end of the line: whoever did not come into this batch is first in the next.
                self._clients[client] = persons
        return batch

    async def _answer(self, batch: list[Waiting]) -> None:
        self._metrics.batch.observe(len(batch))
        began = time.perf_counter()
        try:
            answers = await asyncio.get_running_loop().run_in_executor(self._thread, _together, self.model, batch)
        except Exception as error:
            if len(batch) > 1:
                # One of them may be the reason: the others get their answers.
                _logger.warning("a batch of %d windows failed (%s); each is tried alone", len(batch), error)
                for waiting in batch:
                    await self._answer([waiting])
                return
            _logger.exception("the model failed on a window")
            _tell(batch[0], error)
            return
        self._metrics.inference.observe(time.perf_counter() - began)
        for row, waiting in enumerate(batch):
            _tell(waiting, _row(answers, row, waiting.horizon))

    async def _do(self, work: _Work[Any]) -> None:
        if work.result.cancelled():
            return
        running = asyncio.get_running_loop().run_in_executor(self._thread, work.task)
        await asyncio.wait([running])
        if work.result.cancelled():
            return
        if (error := running.exception()) is not None:
            work.result.set_exception(error)
        else:
            work.result.set_result(running.result())


def _tell(waiting: Waiting, outcome: Answers | Exception) -> None:
    try:
        waiting.done(outcome)
    except Exception:
        # It concerns one client; the others still wait for their answers.
        _logger.exception("an answer could not be handed over")


def _together(model: Described, batch: list[Waiting]) -> Answers:
    # Of a longer horizon a shorter one is the beginning: the decoder goes on from frame to frame.
    return answer(model, np.stack([waiting.window for waiting in batch]), max(waiting.horizon for waiting in batch))


def _row(answers: Answers, row: int, horizon: int) -> Answers | Exception:
    """The part of one window, a batch of one; an error where the model gave no numbers for it."""
    one = slice(row, row + 1)
    found = Answers(
        probabilities=None if answers.probabilities is None else answers.probabilities[one],
        futures=None if answers.futures is None else answers.futures[one, :horizon],
        actional=None if answers.actional is None else answers.actional[one],
    )
    for part in (found.probabilities, found.futures):
        if part is not None and not np.isfinite(part).all():
            return InputError("the model gave no numbers for it: are its coordinates in the units of the training data?")
    return found
