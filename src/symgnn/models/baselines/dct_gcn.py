"""A graph network on cosine coefficients, "dct-gcn" (known as LTD)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from symgnn.config import ModelConfig
from symgnn.models.backbone import scaled
from symgnn.models.baselines.network import Baseline, WindowShape
from symgnn.nn import Dropout
from symgnn.nn.cosines import cosines
from symgnn.skeleton import Layout

FEATURES = 256
BLOCKS = 12


class DctGcn(Baseline):
    """Graph convolutions on the cosine coefficients of trajectories.

    W. Mao, M. Liu, M. Salzmann, H. Li, "Learning Trajectory Dependencies for Human Motion Prediction", ICCV 2019.

    The window x, with its last pose repeated to its end, goes to coefficients, one row a coordinate, and the network adds what
    it has learnt to them:

        X̂ = Cᵀ(H + G(H)),   H = C [x_1, ..., x_N, x_N, ..., x_N]

    (sec. 3.1). G is a graph convolution, twelve residual blocks of two, and one back to coefficients (sec. 3.2). Nodes are
    single coordinates, and each convolution learns a graph of all of them. Every frequency is kept. The network answers
    ``future`` frames at once.

    Cᵀ H are the frames themselves, so the answer is computed as x_N + Cᵀ G(H), which is the same and loses nothing by rounding.
    """

    predicts = True

    analysis: Tensor
    synthesis: Tensor

    def __init__(self, config: ModelConfig, layout: Layout, shape: WindowShape):
        super().__init__(config, layout, shape)
        nodes, features, length = layout.num_nodes * shape.channels, scaled(FEATURES, config), shape.observed + shape.future
        waves = cosines(length)
        # The last pose stands for all frames to come: their columns add up.
        analysis = torch.cat((waves[:, : shape.observed - 1], waves[:, shape.observed - 1 :].sum(dim=1, keepdim=True)), dim=1)
        self.register_buffer("analysis", analysis, persistent=False)
        self.register_buffer("synthesis", waves[:, shape.observed :].T.contiguous(), persistent=False)
        self.first = Layer(length, features, nodes, config.dropout)
        self.blocks = nn.ModuleList(
            nn.Sequential(Layer(features, features, nodes, config.dropout), Layer(features, features, nodes, config.dropout))
            for _ in range(BLOCKS)
        )
        self.last = GraphConvolution(features, length, nodes)

    def predict(
        self, motion: Float[Tensor, "batch time joint channel"], horizon: int
    ) -> Float[Tensor, "batch future joint channel"]:
        """The frames after a window: always ``future`` of them."""
        del horizon
        trajectories = motion.flatten(2).transpose(1, 2)
        # Coefficients of whole trajectories are large: outside the network they stay in the precision of the motion.
        with torch.autocast(motion.device.type, enabled=False):
            coefficients = trajectories @ self.analysis.T
        hidden = self.first(coefficients)
        for block in self.blocks:
            hidden = hidden + block(hidden)
        learnt = self.last(hidden)
        with torch.autocast(motion.device.type, enabled=False):
            moved = self.synthesis @ learnt.to(motion.dtype).transpose(1, 2)
        return motion[:, -1:] + moved.unflatten(2, motion.shape[2:])


class GraphConvolution(nn.Module):
    """Graph convolution with a graph of its own, eq. (3) without its σ: A H W + b.

    Every entry starts uniform within ±1/√outputs, the graph's too, as in the authors' published settings.

    Args:
        inputs, outputs: features.
        nodes: size of the graph.
    """

    def __init__(self, inputs: int, outputs: int, nodes: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs))
        self.graph = nn.Parameter(torch.empty(nodes, nodes))
        self.bias = nn.Parameter(torch.empty(outputs))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(outputs**-0.5), outputs**-0.5)

    def forward(self, hidden: Float[Tensor, "batch node feature"]) -> Float[Tensor, "batch node output"]:
        return self.graph @ (hidden @ self.weight) + self.bias


class Layer(nn.Module):
    """Graph convolution, batch norm of every feature of every node, tanh, dropout."""

    def __init__(self, inputs: int, outputs: int, nodes: int, dropout: float):
        super().__init__()
        self.convolution = GraphConvolution(inputs, outputs, nodes)
        self.norm = nn.BatchNorm1d(nodes * outputs)
        self.dropout = Dropout(dropout)

    def forward(self, hidden: Float[Tensor, "batch node feature"]) -> Float[Tensor, "batch node output"]:
        mixed = self.convolution(hidden)
        return self.dropout(self.norm(mixed.flatten(1)).view_as(mixed).tanh())
