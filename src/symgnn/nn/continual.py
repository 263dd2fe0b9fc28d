"""A block that computes one frame a tick and remembers the frames before it, in place of a window at a time (reading 42)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from symgnn.nn.folded import FoldedBlock


class Recent(nn.Module):
    """The latest values of a feature that is computed once a tick; where there were none yet they are zero.

    They stand in a ring: a tick writes one place and moves nothing.

    Args:
        taps: how many are read at a time.
        spacing: ticks between two that are read.
    """

    places: Tensor

    def __init__(self, taps: int, spacing: int):
        super().__init__()
        self.length = taps * spacing
        back = spacing * torch.arange(taps - 1, -1, -1)
        self.register_buffer("places", (torch.arange(self.length)[:, None] - back) % self.length, persistent=False)

    def empty(self, like: Float[Tensor, "branch node feature"]) -> Float[Tensor, "branch node length feature"]:
        """The memory of a stream that has not begun."""
        branches, nodes, features = like.shape
        return like.new_zeros(branches, nodes, self.length, features)

    def forward(
        self, memory: Float[Tensor, "branch node length feature"], value: Float[Tensor, "branch node feature"], tick: int
    ) -> Float[Tensor, "branch node taps feature"]:
        """Take in the value of this tick (``memory`` is changed); what is read ends with it, the oldest first."""
        place = tick % self.length
        memory[:, :, place] = value
        places: Int[Tensor, " taps"] = self.places[place]
        return memory.index_select(2, places)


class ContinualBlock(nn.Module):
    """The same J-GTC or P-GTC block of several branches, one frame a tick: eqs. (6) and (8) without padding.

    A stride of 2 means that of two successive windows, a frame apart, a block's outputs are different ones. Both kinds are
    frames that the block has put out at some tick, though: those of a window are a fixed number of ticks apart, ``spacing``
    for what comes in and ``spacing * stride`` for what goes out. So each tick computes one frame of each block, which every
    window it belongs to shares.

    Args:
        blocks: the branches' blocks, without padding and with structural graphs alone.
        spacing: ticks between two frames of a window of the input.
    """

    def __init__(self, blocks: Sequence[FoldedBlock], spacing: int):
        super().__init__()
        first = blocks[0]
        if first.padded or any(block.graph.has_actional for block in blocks):
            raise ValueError(
                "a block that pads its window, or has the window's actional graph, cannot go on from frame to frame"
            )
        structural = [block.graph.structural for block in blocks]
        self.rows = _stack([each.flatten(0, 1) for each in structural if each is not None])
        self.weight = _stack([block.graph.weight.t() for block in blocks])
        self.bias = _stack([block.graph.bias[None] for block in blocks])
        # From (outputs, features, kernel, 1) to taps and features side by side, as they are read.
        self.temporal = _stack([block.temporal[..., 0].permute(2, 1, 0).flatten(0, 1) for block in blocks])
        shifts = [block.bias if block.shift is None else block.bias + block.shift for block in blocks]
        self.shift = _stack([each[None] for each in shifts])
        self.residual = None if first.weight is None else _stack([b.weight.t() for b in blocks if b.weight is not None])
        self.inner = Recent(first.kernel, spacing)
        # The residual takes the frame under the kernel's centre.
        self.outer = Recent(2, spacing * (first.kernel // 2)) if first.kernel > 1 else None
        self.features, self.inputs = self.weight.shape[2], self.weight.shape[1] * self.rows.shape[2] // self.rows.shape[1]

    def start(self) -> list[Tensor]:
        """The memory of a stream that has not begun."""
        branches, _, nodes = self.rows.shape
        memory = [self.inner.empty(self.bias.expand(branches, nodes, self.features))]
        if self.outer is not None:
            memory.append(self.outer.empty(self.rows.new_empty(branches, nodes, self.inputs)))
        return memory

    def forward(
        self, x: Float[Tensor, "branch node inputs"], memory: list[Tensor], tick: int
    ) -> Float[Tensor, "branch node outputs"]:
        branches, nodes, _ = x.shape
        gathered = torch.bmm(self.rows, x).view(branches, nodes, -1)
        y = torch.baddbmm(self.bias, gathered, self.weight).relu_()
        taps = self.inner(memory[0], y, tick).view(branches, nodes, -1)
        kept = x if self.outer is None else self.outer(memory[1], x, tick)[:, :, 0]
        kept = self.shift + kept if self.residual is None else torch.baddbmm(self.shift, kept, self.residual)
        return kept.baddbmm_(taps, self.temporal).relu_()


def _stack(tensors: Sequence[Tensor]) -> nn.Parameter:
    return nn.Parameter(torch.stack([tensor.detach() for tensor in tensors]).contiguous(), requires_grad=False)
