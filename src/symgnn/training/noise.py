"""Wrong answers to train on: Tables 9 and 10, reading 43."""

import dataclasses

import torch
from jaxtyping import Int
from torch import Tensor

from symgnn.data import Store, group_persons
from symgnn.errors import InputError
from symgnn.types import Batch


def shuffled_labels(
    store: Store, indices: tuple[int, ...], fraction: float, generator: torch.Generator, persons: int = 1
) -> Int[Tensor, " clip"]:
    """The class of every clip of a store, after a share of some recordings have exchanged theirs.

    Each of the chosen recordings gets the class of another one of them, so that every class stays as frequent as it was. By
    chance that may be the class it had. Recordings without a class take no part.

    Args:
        store: the data.
        indices: clips that may change theirs: those of training.
        fraction: of their recordings that are chosen, to the nearest whole number; one alone keeps its class.
        generator: source of the choice.
        persons: of a recording that are one sample and have one class, see [group_persons][symgnn.data.group_persons].

    Raises:
        InputError: the store has a class for each frame.
    """
    if store.labels is not None:
        raise InputError(f"training.noisy_labels: {store.path} has a class for each frame: expected 0, or a class a clip")
    labels = torch.tensor([clip.label for clip in store.clips])
    groups = [group for group in group_persons(store, indices, persons) if store.clips[group[0]].label >= 0]
    takers, givers = _exchange(len(groups), round(fraction * len(groups)), generator)
    found = labels.clone()
    for taker, giver in zip(takers.tolist(), givers.tolist(), strict=True):
        found[list(groups[taker])] = labels[groups[giver][0]]
    return found


def exchanged_futures(batch: Batch, fraction: float, generator: torch.Generator) -> Batch:
    """A batch in which a share of the windows have the future of another one of them, as it is and where it is.

    Where ``fraction`` of the batch is no whole number it is rounded up or down at random, so that it is right on average.

    Args:
        batch: windows; persons seen together are windows of their own here.
        fraction: of windows that are chosen; one alone keeps its future.
        generator: source of the choice, on the CPU.
    """
    size = len(batch.future)
    # Rounding errors of the product must not tip a whole number over.
    wanted = round(fraction * size, 9)
    count = int(wanted + float(torch.rand((), generator=generator, dtype=torch.float64)))
    takers, givers = (rows.to(batch.future.device) for rows in _exchange(size, min(count, size), generator))
    return dataclasses.replace(batch, future=batch.future.index_copy(0, takers, batch.future[givers]))


def _exchange(size: int, count: int, generator: torch.Generator) -> tuple[Int[Tensor, " chosen"], Int[Tensor, " chosen"]]:
    """So many of ``size`` at random, and for each of them another one: in a ring, nobody gets its own."""
    chosen = torch.randperm(size, generator=generator)[:count]
    return chosen, chosen.roll(1)
