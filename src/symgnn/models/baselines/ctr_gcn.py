"""Channel-wise topology refinement graph convolutional network, "ctr-gcn"."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from symgnn.config import ModelConfig
from symgnn.models.backbone import scaled
from symgnn.models.baselines.network import Baseline, WindowShape
from symgnn.models.baselines.st_gcn import CHANNELS, STRIDES, partition
from symgnn.nn import Dropout, FeatureNorm, mean_of_persons
from symgnn.skeleton import Layout

REDUCTION = 8
"""Relations of two joints have an eighth of a block's input features,"""
FIRST_RELATION = 8
"""and in the first block, whose input is coordinates, so many."""
KERNEL = 5
"""Temporal kernel."""
DILATIONS = (1, 2)
"""Of the two branches that have a temporal kernel."""
BRANCHES = len(DILATIONS) + 2
"""Branches of a temporal convolution: those, a max pool and a product."""


class CtrGcn(Baseline):
    """Graph convolutions whose graph every feature refines for itself, by the motion.

    Y. Chen, Z. Zhang, C. Yuan, B. Li, Y. Deng, W. Hu, "Channel-wise Topology Refinement Graph Convolution for Skeleton-Based
    Action Recognition", ICCV 2021.

    Ten blocks, the mean over frames, joints and persons, one linear layer. This is the paper's network of joints: its best
    numbers add the scores of four such networks, of joints, bones and the motions of both.
    """

    recognises = True

    def __init__(self, config: ModelConfig, layout: Layout, shape: WindowShape):
        super().__init__(config, layout, shape)
        graphs = partition(layout)
        # Multiples of the number of branches.
        features = [shape.channels, *(BRANCHES * scaled(each // BRANCHES, config) for each in CHANNELS)]
        relations = [scaled(FIRST_RELATION, config), *(max(1, each // REDUCTION) for each in features[1:-1])]
        self.norm = FeatureNorm(layout.num_nodes * shape.channels)
        self.blocks = nn.Sequential(
            *(
                RefinedBlock(inputs, outputs, relation, stride, graphs, residual=number > 0)
                for number, (inputs, outputs, relation, stride) in enumerate(
                    zip(features, features[1:], relations, STRIDES, strict=False)
                )
            )
        )
        self.dropout = Dropout(config.dropout)
        self.classify = nn.Linear(features[-1], shape.classes)
        nn.init.normal_(self.classify.weight, std=math.sqrt(2 / shape.classes))

    def scores(
        self, motion: Float[Tensor, "batch time joint channel"], together: Int[Tensor, " batch"] | None
    ) -> list[Float[Tensor, "batch classes"]]:
        hidden = self.blocks(self.norm(motion.flatten(2)).view_as(motion))
        return [self.classify(self.dropout(mean_of_persons(hidden.mean(dim=(1, 2)), together)))]


class RefinedGraphConvolution(nn.Module):
    """Channel-wise topology refinement graph convolution (CTR-GC), sec. 3.2: Y_c = Σ_k R_kc (X W_k)_c for every feature c.

        R_kc = A_k + α Q_kc,    Q_kij = ξ_k(tanh(ψ_k(x_i) - φ_k(x_j)))

    A_k are learnt from the graphs of ``partition``, α from zero. x_i is the mean of joint i's features over time; ψ and φ (to
    ``relation`` features), ξ (to ``outputs``) and W are linear, with biases.

    Args:
        inputs, outputs: features a joint.
        relation: features of the relation of two joints.
        graphs: where A_k begin.
    """

    def __init__(self, inputs: int, outputs: int, relation: int, graphs: Float[Tensor, "part joint joint"]):
        super().__init__()
        parts = len(graphs)
        self.graphs = nn.Parameter(graphs.clone())
        self.alpha = nn.Parameter(torch.zeros(()))
        self.psi = nn.Parameter(torch.empty(parts, inputs, relation))
        # A bias of φ would do nothing that ψ's does not.
        self.psi_bias = nn.Parameter(torch.zeros(parts, relation))
        self.phi = nn.Parameter(torch.empty(parts, inputs, relation))
        self.xi = nn.Parameter(torch.empty(parts, outputs, relation))
        self.xi_bias = nn.Parameter(torch.zeros(parts, outputs))
        self.weight = nn.Parameter(torch.empty(parts, outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(parts, outputs))
        for weight, width in ((self.psi, relation), (self.phi, relation), (self.xi, outputs), (self.weight, outputs)):
            nn.init.normal_(weight, std=math.sqrt(2 / width))

    def refined(self, x: Float[Tensor, "batch time joint inputs"]) -> Float[Tensor, "part batch outputs joint joint"]:
        """R: with which weight a feature of joint i reads that of joint j."""
        # The mean of linear functions is that of the mean.
        mean = x.mean(dim=1)
        psi, phi = ((mean @ each[:, None]).transpose(2, 3) for each in (self.psi, self.phi))
        psi = psi + self.psi_bias[:, None, :, None]
        relation = (psi[..., None] - phi[..., None, :]).tanh()
        # A and ξ's bias are two relations more, so that R is one product and no sum of large tensors.
        given = self.graphs[:, None, None].expand(-1, len(x), -1, -1, -1).to(relation.dtype)
        known = torch.cat((relation, given, torch.ones_like(relation[:, :, :1])), dim=2)
        weight = torch.cat(
            (self.alpha * self.xi, torch.ones_like(self.xi[:, :, :1]), self.alpha * self.xi_bias[:, :, None]), dim=2
        )
        return (weight[:, None] @ known.flatten(3)).unflatten(3, known.shape[3:])

    def forward(self, x: Float[Tensor, "batch time joint inputs"]) -> Float[Tensor, "batch time joint outputs"]:
        batch, time, joints, _ = x.shape
        # Every feature of a clip has graphs of its own: it is a matrix (time, joint), side by side in memory.
        inputs = x.flatten(1, 2).transpose(1, 2)
        y = None
        for rows, weight, bias in zip(self.refined(x).unbind(0), self.weight, self.bias, strict=True):
            columns = torch.baddbmm(bias[None, :, None], weight.expand(batch, -1, -1), inputs).view(-1, time, joints)
            rows = rows.flatten(0, 1).transpose(1, 2)
            y = columns @ rows if y is None else torch.baddbmm(y, columns, rows)
        assert y is not None
        return y.view(batch, -1, time, joints).permute(0, 2, 3, 1)


class MultiScaleConvolution(nn.Module):
    """Multi-scale temporal convolution (sec. 3.4): four branches with a fourth of the features each, side by side, batch norm.

        Y = bn([conv(u_1), dilated(u_2), max(u_3), x W_4]),    u_n = ρ(bn(x W_n))

    with kernels of 5 frames, of 5 out of 9, and the maximum of 3. Zeros round the window keep ceil(time / stride) frames.

    Args:
        features: a joint.
        stride: step between output frames.
    """

    def __init__(self, features: int, stride: int):
        super().__init__()
        branch = features // BRANCHES
        self.stride = stride
        self.reduce = nn.Linear(features, (BRANCHES - 1) * branch, bias=False)
        self.reduce_norm = FeatureNorm((BRANCHES - 1) * branch)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(branch, branch, (KERNEL, 1), (stride, 1), (KERNEL // 2 * dilation, 0), dilation=(dilation, 1), bias=False)
            for dilation in DILATIONS
        )
        self.direct = nn.Linear(features, branch, bias=False)
        self.norm = FeatureNorm(BRANCHES * branch)
        for weight in (self.reduce.weight, self.direct.weight):
            nn.init.normal_(weight, std=math.sqrt(2 / branch))
        for part in self.convolutions:
            assert isinstance(part, nn.Conv2d)
            nn.init.kaiming_normal_(part.weight, mode="fan_out")

    def forward(self, x: Float[Tensor, "batch time joint features"]) -> Float[Tensor, "batch frames joint features"]:
        branches = self.reduce_norm(self.reduce(x)).relu().permute(0, 3, 1, 2).chunk(BRANCHES - 1, dim=1)
        found = [convolution(each) for convolution, each in zip(self.convolutions, branches, strict=False)]
        found.append(nn.functional.max_pool2d(branches[-1], (3, 1), (self.stride, 1), (1, 0)))
        found = [each.permute(0, 2, 3, 1) for each in found]
        return self.norm(torch.cat((*found, self.direct(x[:, :: self.stride])), dim=3))


class RefinedBlock(nn.Module):
    """Block of sec. 3.4: graph convolution, batch norm, ReLU, temporal convolution, ReLU.

    A residual goes round the whole, except in the first block, and another round the graph convolution; where shapes change it
    is a product with the block's stride and batch norm. The graph convolution's batch norm begins near zero, as in the authors'
    published network.

    Args:
        inputs, outputs: features a joint.
        relation: features of the relation of two joints.
        stride: of the temporal convolution.
        graphs: where A_k begin.
        residual: whether there is one round the whole.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        relation: int,
        stride: int,
        graphs: Float[Tensor, "part joint joint"],
        *,
        residual: bool = True,
    ):
        super().__init__()
        self.stride = stride
        self.graph = RefinedGraphConvolution(inputs, outputs, relation, graphs)
        self.graph_norm = FeatureNorm(outputs)
        nn.init.constant_(self.graph_norm.weight, 1e-6)
        self.graph_residual = _residual(inputs, outputs)
        self.temporal = MultiScaleConvolution(outputs, stride)
        self.residual = _residual(inputs, outputs, stride) if residual else None

    def forward(self, x: Float[Tensor, "batch time joint inputs"]) -> Float[Tensor, "batch frames joint outputs"]:
        y = (self.graph_norm(self.graph(x)) + self.graph_residual(x)).relu()
        y = self.temporal(y)
        if self.residual is not None:
            y = y + self.residual(x[:, :: self.stride])
        return y.relu()


def _residual(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
    if inputs == outputs and stride == 1:
        return nn.Identity()
    product = nn.Linear(inputs, outputs, bias=False)
    nn.init.kaiming_normal_(product.weight, mode="fan_out")
    return nn.Sequential(product, FeatureNorm(outputs))
