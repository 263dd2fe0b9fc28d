"""Shapes and records that every room shares.

Axes read ``batch time joint channel`` at every public door. A *joint* is a node in use of the layout
(26 on CMU), a *channel* one coordinate of it (3 for positions and for exponential maps).
"""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

Motion = Float[Tensor, "batch time joint channel"]
"""Poses in the units of the data; NaN marks a missing joint."""


@dataclass(frozen=True)
class Batch:
    """Windows of motion with their answers."""

    observed: Float[Tensor, "batch observed joint channel"]
    """The frames the model sees, the current frame last; NaN where a joint is missing."""
    future: Float[Tensor, "batch future joint channel"]
    """The frames after it; NaN where a joint is missing."""
    label: Int[Tensor, " batch"]
    """Class index, -1 where there is none (or where the first person of the recording has it, see ``together``)."""
    clip: Int[Tensor, " batch"]
    """Row of the store's ``clips.csv`` the window was cut from."""
    together: Int[Tensor, " batch"] | None = None
    """Number of each row's recording within the batch, from 0: the persons of one lie side by side, the main one first, and are
    recognised together (reading 19). None where each row is a recording of its own."""


@dataclass(frozen=True)
class Output:
    """What a model answers; a field is None where the model has no such head."""

    logits: Float[Tensor, "batch classes"] | None
    """Class scores before the softmax; persons seen together have the same."""
    future: Float[Tensor, "batch future joint channel"] | None
    """Predicted poses in the units of the data."""
    actional: Float[Tensor, "batch joint joint"] | None = None
    """Actional graph of the joint network, eq. (2): row i is the softmax over the other end."""
