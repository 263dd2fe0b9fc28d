"""Graph and temporal convolution blocks (J-GTC, P-GTC). Sections 4.1.4 and 4.2.2, Fig. 4."""

from jaxtyping import Float
from torch import Tensor, nn

from symgnn.nn.dropout import Dropout
from symgnn.nn.folded import FoldedBlock
from symgnn.nn.joint import JointGraphConvolution
from symgnn.nn.norm import FeatureNorm
from symgnn.nn.part import PartGraphConvolution
from symgnn.nn.temporal import TemporalConvolution, under_centres


class GraphTemporalBlock(nn.Module):
    """J-GTC block, eq. (6), or P-GTC block, eq. (8): X' = ρ(bn(GC(X))), Y = ρ(dropout(bn(TC(X'))) + residual(X)).

    Which of the two it is depends on the graph convolution passed in. The residual is the identity where shapes agree, else
    a 1x1 convolution with the block's stride and batch norm (reading 12).

    Args:
        inputs: features a node coming in.
        graph: JGC or PGC, from ``inputs`` to ``features``.
        features: features between the two convolutions.
        outputs: features a node going out.
        kernel, stride: of the temporal convolution.
        dropout: probability, after the second batch norm (Tables 17 and 18).
        padded: whether the temporal convolution pads its input with zeros.
    """

    def __init__(
        self,
        graph: JointGraphConvolution | PartGraphConvolution,
        inputs: int,
        features: int,
        outputs: int,
        *,
        kernel: int,
        stride: int,
        dropout: float,
        padded: bool = True,
    ):
        super().__init__()
        self.graph = graph
        self.graph_norm = FeatureNorm(features)
        self.temporal = TemporalConvolution(features, outputs, kernel, stride, padded=padded)
        self.temporal_norm = FeatureNorm(outputs)
        self.dropout = Dropout(dropout)
        self.kernel, self.stride, self.padded = kernel, stride, padded
        self.residual: nn.Module = (
            nn.Identity()
            if inputs == outputs and stride == 1
            else nn.Sequential(nn.Linear(inputs, outputs, bias=False), FeatureNorm(outputs))
        )

    def forward(
        self, x: Float[Tensor, "batch time node inputs"], actional: Float[Tensor, "batch joint joint"] | None = None
    ) -> Float[Tensor, "batch frames node outputs"]:
        # What comes before each ReLU does not need its own output for the gradient: overwriting it spares a pass over memory.
        y = self.graph_norm(self.graph(x, actional)).relu_()
        y = self.dropout(self.temporal_norm(self.temporal(y)))
        return (y + self.residual(under_centres(x, self.kernel, self.stride, padded=self.padded))).relu_()

    def folded(self) -> FoldedBlock:
        """For inference: this block with its batch norms folded into the convolutions before them."""
        factor, shift = self.temporal_norm.as_affine()
        residual = None
        if isinstance(self.residual, nn.Sequential):
            product, norm = self.residual
            assert isinstance(product, nn.Linear) and isinstance(norm, FeatureNorm)
            scale, offset = norm.as_affine()
            residual = product.weight * scale[:, None], offset
        return FoldedBlock(
            self.graph.folded(*self.graph_norm.as_affine()),
            self.temporal.weight * factor[:, None, None],
            self.temporal.bias * factor + shift,
            self.stride,
            residual,
            padded=self.padded,
        )
