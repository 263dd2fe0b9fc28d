"""Convolutions and blocks as inference needs them: whatever does not depend on the input is computed once."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from symgnn.nn.mixing import mix
from symgnn.nn.temporal import under_centres, whole_kernels


class FoldedGraphConvolution(nn.Module):
    """JGC or PGC with fixed weights; its constants (Ã^γ ⊙ M^γ, λ_act, a batch norm behind it) are folded away.

    Args:
        structural: weights with which graph g gathers for node i, at ``[i, g]``; None for "only J-A".
        has_actional: whether the clip's actional graph comes last.
        weight: one row an output, the graphs one after the other.
        bias: one number an output.
    """

    def __init__(
        self,
        structural: Float[Tensor, "node graph node"] | None,
        has_actional: bool,
        weight: Float[Tensor, "outputs gathered"],
        bias: Float[Tensor, " outputs"],
    ):
        super().__init__()
        self.structural = None if structural is None else _constant(structural)
        self.weight, self.bias = _columns(weight), _constant(bias)
        self.has_actional = has_actional

    def prepare(self, actional: Float[Tensor, "batch joint joint"] | None) -> tuple[Tensor, Tensor]:
        """Rows of all graphs, node by node (first axis the batch, or 1), and the weights."""
        structural = self.structural
        if not self.has_actional:
            assert structural is not None
            return structural.flatten(0, 1)[None], self.weight
        assert actional is not None
        actional = actional.to(self.weight.dtype)
        if structural is None:
            return actional, self.weight
        rows = torch.cat((structural.expand(len(actional), -1, -1, -1), actional[:, :, None]), dim=2)
        return rows.flatten(1, 2), self.weight

    def forward(
        self, x: Float[Tensor, "batch time node inputs"], actional: Float[Tensor, "batch joint joint"] | None = None
    ) -> Float[Tensor, "batch time node outputs"]:
        return mix(x, *self.prepare(actional), self.bias)


class FoldedBlock(nn.Module):
    """A J-GTC or P-GTC block with its batch norms folded into the convolutions before them.

    Args:
        graph: the graph convolution, its batch norm included.
        temporal: weights of the temporal convolution, its batch norm included.
        bias: of the temporal convolution.
        stride: of the block.
        residual: weights and bias of the 1x1 convolution around both; None for the identity.
        padded: whether the temporal convolution pads its input with zeros.
    """

    def __init__(
        self,
        graph: FoldedGraphConvolution,
        temporal: Float[Tensor, "outputs features kernel"],
        bias: Float[Tensor, " outputs"],
        stride: int,
        residual: tuple[Tensor, Tensor] | None,
        *,
        padded: bool = True,
    ):
        super().__init__()
        self.graph, self.stride = graph, stride
        self.kernel, self.padded = temporal.shape[2], padded
        self.temporal = _constant(temporal[..., None].contiguous(memory_format=torch.channels_last))
        self.bias = _constant(bias)
        self.weight, self.shift = (None, None) if residual is None else (_columns(residual[0]), _constant(residual[1]))
        self._packed: Tensor | None = None
        """``temporal`` as oneDNN wants it for one clip, made at the first: otherwise it is rearranged at every call."""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_packed": None}  # it can be neither copied nor written, only made again

    def forward(
        self, x: Float[Tensor, "batch time node inputs"], actional: Float[Tensor, "batch joint joint"] | None = None
    ) -> Float[Tensor, "batch frames node outputs"]:
        covered = x if self.padded else whole_kernels(x, self.kernel, self.stride)
        y = self.graph(covered, actional).relu_().permute(0, 3, 1, 2)
        # A copy, or torch makes a product for every frame of it.
        kept = under_centres(x, self.kernel, self.stride, padded=self.padded).contiguous()
        kept = kept if self.weight is None else nn.functional.linear(kept, self.weight, self.shift)
        stride, padding = (self.stride, 1), (self.kernel // 2 if self.padded else 0, 0)
        if len(x) == 1 and _can_pack(y):
            if self._packed is None:
                weight = self.temporal.contiguous()
                self._packed = torch._C._nn.mkldnn_reorder_conv2d_weight(  # pyright: ignore[reportAttributeAccessIssue]
                    weight.to_mkldnn(), padding, stride, (1, 1), 1, y.shape
                )
            y = torch.ops.mkldnn._convolution_pointwise.binary(
                y, kept.permute(0, 3, 1, 2), self._packed, self.bias, padding, stride, (1, 1), 1, "add", 1.0, "relu", [], None
            )
            return y.permute(0, 2, 3, 1)
        y = nn.functional.conv2d(y, self.temporal, self.bias, stride, padding)
        return y.permute(0, 2, 3, 1).add_(kept).relu_()


_PACKS = (
    torch.backends.mkldnn.is_available()
    and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
    and hasattr(torch._C._nn, "mkldnn_reorder_conv2d_weight")  # pyright: ignore[reportAttributeAccessIssue]
)
"""Whether this torch has the operators behind ``torch.compile``'s packed weights; they are not part of its public face."""


def _can_pack(x: Tensor) -> bool:
    return (
        _PACKS and x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16) and not torch.compiler.is_compiling()
    )


def _columns(weight: Tensor) -> nn.Parameter:
    """A product's weights, laid out in memory as one of few rows reads them fastest."""
    return nn.Parameter(weight.detach().t().contiguous().t(), requires_grad=False)


def _constant(tensor: Tensor) -> nn.Parameter:
    """A tensor that moves with its module and is not trained."""
    return nn.Parameter(tensor.detach(), requires_grad=False)
