"""Where a body stands and which way it faces, taken out of the input and put back into the predictions."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from symgnn.errors import InputError
from symgnn.skeleton import Layout, Space


@dataclass(frozen=True)
class Placed:
    """A rigid motion a window: what ``Placement`` found, to be applied and undone."""

    origin: Float[Tensor, "batch 1 1 channel"] | None
    turn: Float[Tensor, "batch channel channel"] | None
    """Rows are the body's own axes."""

    def apply(self, motion: Float[Tensor, "batch time joint channel"]) -> Float[Tensor, "batch time joint channel"]:
        """From the coordinates of the data to the body's."""
        if self.origin is not None:
            motion = motion - self.origin.to(motion.dtype)
        if self.turn is not None:
            # Not a product of matrices, in which one missing coordinate would be missed in all; a joint is missing as a whole.
            motion = torch.einsum("bij,btmj->btmi", self.turn.to(motion.dtype), motion)
        return motion

    def of(self, rows: Int[Tensor, " batch"]) -> "Placed":
        """The motion of other rows in place of each row's own."""
        return Placed(None if self.origin is None else self.origin[rows], None if self.turn is None else self.turn[rows])

    def undo(self, motion: Float[Tensor, "batch time joint channel"]) -> Float[Tensor, "batch time joint channel"]:
        """Back to the coordinates of the data."""
        if self.turn is not None:
            motion = torch.einsum("bji,btmj->btmi", self.turn.to(motion.dtype), motion)
        return motion if self.origin is None else motion + self.origin.to(motion.dtype)


class Placement(nn.Module):
    """Coordinates of a window's body, by its first frame.

    - "none": as the data has them.
    - "centre": relative to the root of the skeleton graph; in an image the confidence is left alone.
    - "body": that, and turned so that the back (pelvis to spine, or to neck) is z and the shoulders (right to left), made
      square to it, are x: the usual preprocessing of NTU RGB+D. Only for positions in space.

    Args:
        kind: one of the three.
        layout: the body; "body" needs its landmarks pelvis, spine or neck, and both shoulders.
        space: what a joint's channels are; rotations need no placing.

    Raises:
        InputError: the kind does not fit the space or the layout.
    """

    def __init__(self, kind: Literal["none", "centre", "body"], layout: Layout, space: Space):
        super().__init__()
        if kind != "none" and space == "expmap":
            raise InputError(f"model.placement: found {kind!r}, expected none: rotations (space expmap) have no place")
        if kind == "body" and space != "xyz":
            raise InputError(f"model.placement: found 'body', expected none or centre: space {space} cannot be turned")
        self.kind = kind
        self.root = layout.root_node
        self.flat = space == "xyc"
        self.ends: tuple[int, int, int, int] | None = None
        if kind == "body":
            place = {name: layout.nodes.index(joint) for name, joint in layout.landmarks.items() if joint in layout.nodes}
            back = next((name for name in ("spine", "neck", "throat", "head") if name in place), "spine")
            wanted = ("pelvis", back, "right shoulder", "left shoulder")
            if lacks := [name for name in wanted if name not in place]:
                raise InputError(
                    f"model.placement: 'body' needs the landmarks {', '.join(wanted)}; layout {layout.name} has no {lacks[0]}: "
                    "use centre, or name them under landmarks in the layout's file"
                )
            pelvis, top, right, left = (place[name] for name in wanted)
            self.root, self.ends = top if back == "spine" else pelvis, (pelvis, top, right, left)

    def forward(self, observed: Float[Tensor, "batch time joint channel"]) -> Placed:
        """Find the body in the first frame of windows without missing joints."""
        if self.kind == "none":
            return Placed(None, None)
        first = observed[:, 0]
        origin = first[:, self.root].clone()
        if self.flat:
            origin[:, 2] = 0
        return Placed(origin[:, None, None], None if self.ends is None else self._axes(first))

    def _axes(self, first: Float[Tensor, "batch joint 3"]) -> Float[Tensor, "batch 3 3"]:
        assert self.ends is not None
        pelvis, top, right, left = (first[:, joint] for joint in self.ends)
        up, across = top - pelvis, left - right
        z = nn.functional.normalize(up, dim=1)
        x = across - (across * z).sum(dim=1, keepdim=True) * z
        size = up.norm(dim=1)
        # A body folded into a point or a line has no axes: it stays as it is.
        good = (size > 0) & (x.norm(dim=1) > 1e-3 * across.norm(dim=1))
        x = nn.functional.normalize(x, dim=1)
        turn = torch.stack((x, torch.linalg.cross(z, x), z), dim=1)
        return torch.where(good[:, None, None], turn, torch.eye(3, dtype=first.dtype, device=first.device))
