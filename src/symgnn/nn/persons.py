"""Persons seen together (reading 19)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def mean_of_persons(
    values: Float[Tensor, "batch feature"], together: Int[Tensor, " batch"] | None
) -> Float[Tensor, "batch feature"]:
    """Each person's row becomes the mean over all persons of the same recording.

    Args:
        values: a row a person.
        together: number of each person's recording, from 0 without gaps; None where everybody is alone.
    """
    if together is None:
        return values
    # There are no more recordings than rows: nobody need wait for the device to tell how many.
    sums = torch.zeros_like(values).index_add(0, together, values)
    counts = torch.zeros_like(values[:, :1]).index_add(0, together, torch.ones_like(values[:, :1]))
    return sums[together] / counts[together]


def max_of_persons(
    values: Float[Tensor, "batch feature"], together: Int[Tensor, " batch"] | None
) -> Float[Tensor, "batch feature"]:
    """Each person's row becomes the largest values among all persons of the same recording.

    Args:
        values: a row a person.
        together: number of each person's recording, from 0 without gaps; None where everybody is alone.
    """
    if together is None:
        return values
    least = torch.full_like(values, -torch.inf)
    return least.scatter_reduce(0, together[:, None].expand_as(values), values, "amax")[together]
