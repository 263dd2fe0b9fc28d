"""Two-stream adaptive graph convolutional network, "2s-agcn"."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from symgnn.config import ModelConfig
from symgnn.models.baselines.network import Baseline, WindowShape
from symgnn.models.baselines.st_gcn import KERNEL, Stream, partition
from symgnn.nn import Dropout, FeatureNorm, TemporalConvolution
from symgnn.nn.mixing import mix
from symgnn.nn.precision import as_products_take
from symgnn.skeleton import Layout

EMBEDDING = 4
"""A block embeds joints in a fourth of its features, as the authors' published network does."""


class TwoStreamAgcn(Baseline):
    """Graph convolutions whose graphs are learnt and follow the motion, on joints and on bones.

    L. Shi, Y. Zhang, J. Cheng, H. Lu, "Two-Stream Adaptive Graph Convolutional Networks for Skeleton-Based Action Recognition",
    CVPR 2019.

    Two networks of the form of "st-gcn" share nothing: one sees joints, the other bones, and their scores are added. A bone is
    the difference of its two joints in the units of the data, child minus parent, of angles the difference of two exponential
    maps (reading 15). It stands in the place of its child; the root's is zero.
    """

    recognises = True

    parents: Tensor

    def __init__(self, config: ModelConfig, layout: Layout, shape: WindowShape):
        super().__init__(config, layout, shape)
        parents = torch.arange(layout.num_nodes)
        for parent, child in layout.edges:
            parents[child] = parent
        self.register_buffer("parents", parents, persistent=False)
        graphs = partition(layout)

        def block(inputs: int, outputs: int, stride: int) -> nn.Module:
            return AdaptiveBlock(inputs, outputs, stride, graphs, config.dropout)

        self.joint_stream = Stream(block, config, layout.num_nodes, shape.channels, shape.classes)
        self.bone_stream = Stream(block, config, layout.num_nodes, shape.channels, shape.classes)

    def bones(self, motion: Float[Tensor, "batch time joint channel"]) -> Float[Tensor, "batch time joint channel"]:
        """From joints in normalised units, bones in the units of the data."""
        joints = self.denormalise(motion)
        return joints - joints[:, :, self.parents]

    def scores(
        self, motion: Float[Tensor, "batch time joint channel"], together: Int[Tensor, " batch"] | None
    ) -> list[Float[Tensor, "batch classes"]]:
        return [self.joint_stream(motion, together), self.bone_stream(self.bones(motion), together)]


class AdaptiveGraphConvolution(nn.Module):
    """Adaptive graph convolution, eq. (3): Y = Σ_k (A_k + B_k + C_k) X W_k, with a bias.

    A_k are the graphs of ``partition``, B_k are learnt from zero, and C_k follows the motion, eqs. (4) and (5):

        C_k = softmax_j((X_i θ_k) · (X_j φ_k))

    over features and frames at once. The product is divided by how many those are, as in the authors' published network:
    otherwise the softmax of a long window is always at one end.

    Args:
        inputs, outputs: features a joint.
        graphs: A_k.
    """

    graphs: Tensor

    def __init__(self, inputs: int, outputs: int, graphs: Float[Tensor, "part joint joint"]):
        super().__init__()
        self.register_buffer("graphs", graphs.clone(), persistent=False)
        self.learnt = nn.Parameter(torch.zeros_like(graphs))
        embedded = len(graphs) * max(1, outputs // EMBEDDING)
        self.theta = nn.Linear(inputs, embedded)
        # A bias here would add the same to every j: the softmax does not see it.
        self.phi = nn.Linear(inputs, embedded, bias=False)
        self.weight = nn.Parameter(torch.empty(outputs, len(graphs) * inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def similar(self, x: Float[Tensor, "batch time joint inputs"]) -> Float[Tensor, "batch part joint joint"]:
        """C: how much each joint's motion is like each other one's; rows sum to one."""
        theta, phi = (
            each(x).unflatten(3, (len(self.graphs), -1)).permute(0, 3, 2, 1, 4).flatten(3) for each in (self.theta, self.phi)
        )
        return (theta @ phi.transpose(2, 3) / theta.shape[3]).softmax(dim=3)

    def forward(self, x: Float[Tensor, "batch time joint inputs"]) -> Float[Tensor, "batch time joint outputs"]:
        graphs = self.graphs + self.learnt + self.similar(x)
        # Joint by joint the rows of all three graphs, as the product over the features takes them.
        rows, weight = as_products_take(graphs.transpose(1, 2).flatten(1, 2), self.weight)
        return mix(x, rows, weight, self.bias)


class AdaptiveBlock(nn.Module):
    """Block of Fig. 3: adaptive graph convolution, batch norm, ReLU, dropout, convolution along time, batch norm, ReLU.

    A residual goes round the whole and another round the graph convolution (Fig. 2); where shapes change it is a product with
    the block's stride and batch norm.

    Args:
        inputs, outputs: features a joint.
        stride: of the convolution along time.
        graphs: A_k.
        dropout: probability, between the two convolutions.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, graphs: Float[Tensor, "part joint joint"], dropout: float):
        super().__init__()
        self.stride = stride
        self.graph = AdaptiveGraphConvolution(inputs, outputs, graphs)
        self.graph_norm = FeatureNorm(outputs)
        self.graph_residual = _residual(inputs, outputs)
        self.dropout = Dropout(dropout)
        self.temporal = TemporalConvolution(outputs, outputs, KERNEL, stride)
        self.temporal_norm = FeatureNorm(outputs)
        self.residual = _residual(inputs, outputs, stride)

    def forward(self, x: Float[Tensor, "batch time joint inputs"]) -> Float[Tensor, "batch frames joint outputs"]:
        y = (self.graph_norm(self.graph(x)) + self.graph_residual(x)).relu()
        y = self.temporal_norm(self.temporal(self.dropout(y)))
        return (y + self.residual(x[:, :: self.stride])).relu()


def _residual(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
    if inputs == outputs and stride == 1:
        return nn.Identity()
    return nn.Sequential(nn.Linear(inputs, outputs, bias=False), FeatureNorm(outputs))
