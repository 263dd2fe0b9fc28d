"""The product with all graphs and all weights that graph convolutions share, in the order that is fastest."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

_NARROW = 16
"""Below so many features a product a frame is slower than a product a clip."""
_LARGE = 1 << 24
"""Bytes of gathered features above which training goes clip by clip too: below, 32 small products cost more than they spare."""


def mix(
    x: Float[Tensor, "batch time node inputs"],
    rows: Float[Tensor, "clips rows node"],
    weight: Float[Tensor, "outputs gathered"],
    bias: Float[Tensor, " outputs"],
) -> Float[Tensor, "batch time node outputs"]:
    """Y = [G_1 X | G_2 X | ...] [W_1 | W_2 | ...]ᵀ + bias, frame by frame.

    Args:
        x: features.
        rows: weights of all graphs, node by node: row (i, g) holds those with which graph g gathers for node i. The first axis
            is the batch, or 1 where no graph depends on the clip.
        weight: the graphs' weights, side by side.
    """
    if x.device.type == "cpu" and len(x) > 1 and x.shape[-1] >= _NARROW and not torch.compiler.is_compiling():
        if not (torch.is_grad_enabled() and any(each.requires_grad for each in (x, rows, weight, bias))):
            return _clip_by_clip(x, rows, weight, bias)
        if x.numel() * rows.shape[1] // rows.shape[2] * x.element_size() > _LARGE:
            return _ClipByClip.apply(x.to(weight.dtype), rows, weight, bias.to(weight.dtype))
    return nn.functional.linear(_gather(rows, x), weight, bias)


def _gather(rows: Tensor, x: Tensor) -> Float[Tensor, "batch time node gathered"]:
    """For every node the weighted sums of the others' features, one for each graph, side by side."""
    batch, time, nodes, inputs = x.shape
    if time == 1 or inputs >= _NARROW:
        return (rows[:, None] @ x).view(batch, time, nodes, -1)
    # One product a clip with time beside the features, at the price of two small transposed copies.
    flat = x.transpose(1, 2).reshape(batch, nodes, time * inputs)
    gathered = (rows @ flat).view(batch, nodes, -1, time, inputs).permute(0, 3, 1, 2, 4)
    return gathered.reshape(batch, time, nodes, -1)


def _clip_by_clip(x: Tensor, rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """What is gathered is several times as large as x; that of one clip fits the processor's cache."""
    batch, time, nodes, _ = x.shape
    y = x.new_empty(batch, time * nodes, len(weight))
    for clip in range(batch):
        gathered = torch.bmm(rows[clip % len(rows)].expand(time, -1, -1), x[clip])
        torch.addmm(bias, gathered.view(time * nodes, -1), weight.t(), out=y[clip])
    return y.view(batch, time, nodes, -1)


class _ClipByClip(torch.autograd.Function):
    """The same with gradients; backwards a clip's gathered features are made again rather than kept for the whole batch."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, rows, weight)
        return _clip_by_clip(x, rows, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, rows, weight = ctx.saved_tensors
        batch, time, nodes, inputs = x.shape
        outer = gradients[0].reshape(batch, time * nodes, -1)
        # Sums over the clips, in float32 at least.
        exact = torch.promote_types(x.dtype, torch.float32)
        by_x, by_rows, by_weight = (
            torch.empty_like(x),
            rows.new_zeros(rows.shape, dtype=exact),
            weight.new_zeros(weight.shape, dtype=exact),
        )
        for clip in range(batch):
            graphs = rows[clip % len(rows)].expand(time, -1, -1)
            gathered = torch.bmm(graphs, x[clip]).view(time * nodes, -1)
            if exact == x.dtype:
                by_weight.addmm_(outer[clip].t(), gathered)
            else:
                by_weight += outer[clip].t() @ gathered
            inner = torch.mm(outer[clip], weight).view(time, -1, inputs)
            torch.bmm(graphs.transpose(1, 2), inner, out=by_x[clip])
            by_rows[clip % len(rows)] += torch.bmm(inner, x[clip].transpose(1, 2)).sum(dim=0)
        return by_x, by_rows.to(rows.dtype), by_weight.to(weight.dtype), outer.sum(dim=(0, 1))
