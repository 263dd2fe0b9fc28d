"""Training steps that a GPU replays without being told each kernel anew."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from symgnn.training.step import Step
from symgnn.types import Batch

WARM_UP = 3
"""Steps that are launched kernel by kernel before one is recorded: libraries choose their algorithms in the first ones."""


class RecordedStep:
    """A training step recorded once as a CUDA graph, then replayed.

    A step of the light network is some thousands of kernels, most of which take less time than their launch. Replayed, they
    follow each other without the processor. Every step is a true one, those before the recording too, and dropout draws anew in
    each. What is found lies in the same memory after each step.

    Args:
        compute: losses of a batch, with the gradients left on ``weights``; it must not wait for the device.
        weights: whose gradients are wanted.
    """

    def __init__(self, compute: Callable[[Batch], Step], weights: list[nn.Parameter]):
        self._compute, self._weights = compute, weights
        self._stream = torch.cuda.Stream()
        self._graph: torch.cuda.CUDAGraph | None = None
        self._gradients: list[Tensor | None] = []
        self._launched = 0

    def __call__(self, batch: Batch) -> Step:
        """Losses of a batch of always the same shape, without persons seen together."""
        if self._launched < WARM_UP:
            self._launched += 1
            # On the stream that records later: what is kept from these steps must not belong to another.
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                self._clear()
                found = self._compute(batch)
            torch.cuda.current_stream().wait_stream(self._stream)
            return found
        if self._graph is None:
            self._batch = replace(batch, **{name: value.clone() for name, value in _tensors(batch).items()})
            self._clear()
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph, stream=self._stream):
                self._found = self._compute(self._batch)
            self._gradients = [weight.grad for weight in self._weights]
        for name, value in _tensors(batch).items():
            getattr(self._batch, name).copy_(value)
        self._graph.replay()
        # Lightning takes them off the weights before each validation, and an optimiser skips weights without.
        for weight, gradient in zip(self._weights, self._gradients, strict=True):
            weight.grad = gradient
        return self._found

    def _clear(self) -> None:
        for weight in self._weights:
            weight.grad = None


def recordable(batch: Batch) -> bool:
    """Whether steps like this one's can be recorded: on a GPU, without persons seen together, whose number differs by batch."""
    return batch.observed.is_cuda and batch.together is None


def _tensors(batch: Batch) -> dict[str, Tensor]:
    return {name: value for name, value in vars(batch).items() if isinstance(value, Tensor)}
