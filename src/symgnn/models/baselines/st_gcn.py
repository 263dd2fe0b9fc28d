"""Spatial temporal graph convolutional network, "st-gcn"."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from symgnn.config import ModelConfig
from symgnn.models.backbone import scaled
from symgnn.models.baselines.network import Baseline, WindowShape
from symgnn.nn import FeatureNorm, GraphTemporalBlock, JointGraphConvolution, mean_of_persons
from symgnn.skeleton import Layout

CHANNELS = (64, 64, 64, 64, 128, 128, 128, 256, 256, 256)
"""Features of each block. The paper counts nine, the authors' published network has a first one more."""
STRIDES = (1, 1, 1, 1, 2, 1, 1, 2, 1, 1)
KERNEL = 9
"""Temporal kernel."""


class StGcn(Baseline):
    """Graph convolutions over the body's parts of a neighbourhood, alternating with convolutions along time.

    S. Yan, Y. Xiong, D. Lin, "Spatial Temporal Graph Convolutional Networks for Skeleton-Based Action Recognition", AAAI 2018.

    A block is Sym-GNN's own, eq. (6), with the graph convolution

        Y = Σ_j (A_j ⊙ M_j) X W_j

    where A_j are the three graphs of ``partition`` and M_j learnt importances of their edges, from 1 in each block.
    """

    recognises = True

    def __init__(self, config: ModelConfig, layout: Layout, shape: WindowShape):
        super().__init__(config, layout, shape)
        graphs = partition(layout)

        def block(inputs: int, outputs: int, stride: int) -> nn.Module:
            graph = JointGraphConvolution(inputs, outputs, graphs, None)
            return GraphTemporalBlock(graph, inputs, outputs, outputs, kernel=KERNEL, stride=stride, dropout=config.dropout)

        self.stream = Stream(block, config, layout.num_nodes, shape.channels, shape.classes)

    def scores(
        self, motion: Float[Tensor, "batch time joint channel"], together: Int[Tensor, " batch"] | None
    ) -> list[Float[Tensor, "batch classes"]]:
        return [self.stream(motion, together)]


class Stream(nn.Module):
    """Batch norm of every coordinate, ten blocks, the mean over frames, joints and persons, one linear layer.

    Args:
        block: makes a block of input features, output features and temporal stride.
        config: the preset's network, for its width.
        nodes: joints.
        channels: coordinates a joint.
        classes: number of classes.
    """

    def __init__(
        self, block: Callable[[int, int, int], nn.Module], config: ModelConfig, nodes: int, channels: int, classes: int
    ):
        super().__init__()
        features = [channels, *(scaled(each, config) for each in CHANNELS)]
        self.norm = FeatureNorm(nodes * channels)
        self.blocks = nn.Sequential(*map(block, features, features[1:], STRIDES))
        self.classify = nn.Linear(features[-1], classes)

    def forward(
        self, motion: Float[Tensor, "batch time node channel"], together: Int[Tensor, " batch"] | None
    ) -> Float[Tensor, "batch classes"]:
        hidden = self.blocks(self.norm(motion.flatten(2)).view_as(motion))
        return self.classify(mean_of_persons(hidden.mean(dim=(1, 2)), together))


def partition(layout: Layout) -> Float[Tensor, "part joint joint"]:
    """The skeleton graph in three: a joint itself, its neighbour nearer to the body's centre, its neighbours farther from it.

    "Spatial configuration partitioning", eq. (8). The centre is the layout's root, and how far a joint is from it is counted in
    edges: of a tree's neighbours the parent is nearer, children are farther. Entry [i, j] is the weight with which joint i
    reads joint j: 1 by the number of joints in the same part of i's neighbourhood, the Z of eq. (4). (The paper's
    matrix form divides by the root of both joints' counts, of which j's may well be none.)
    """
    graphs = torch.zeros(3, layout.num_nodes, layout.num_nodes)
    graphs[0] = torch.eye(layout.num_nodes)
    for parent, child in layout.edges:
        graphs[1, child, parent] = graphs[2, parent, child] = 1.0
    return graphs / graphs.sum(dim=2, keepdim=True).clamp(min=1.0)
