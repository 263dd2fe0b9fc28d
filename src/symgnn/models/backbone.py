"""The backbone of section 5.1: AGIM and one multi-scale branch for each order of difference."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from symgnn.config import ModelConfig
from symgnn.nn import (
    ActionalGraphInference,
    GraphTemporalBlock,
    JointGraphConvolution,
    PartGraphConvolution,
    Scales,
    difference,
)
from symgnn.skeleton import Graph, normalise, powers


def scaled(features: int, config: ModelConfig) -> int:
    """A number of features under the preset's ``width`` factor."""
    return max(1, round(features * config.width))


def joint_convolution(
    inputs: int, outputs: int, config: ModelConfig, graph: Graph, *, decoder: bool = False
) -> JointGraphConvolution:
    """JGC with the terms of eq. (5) that the preset asks for, in a block or in the prediction head.

    A network of the part scale alone infers no actional graph, so its decoder keeps the structural term (reading 16).
    """
    actional = infers_actional(config) and (decoder or config.actional_in == "everywhere")
    structural = config.graphs != "actional" or not actional
    return JointGraphConvolution(
        inputs,
        outputs,
        powers(normalise(graph.adjacency), config.hop) if structural else None,
        config.actional_weight if actional else None,
    )


def infers_actional(config: ModelConfig) -> bool:
    """Whether there is an AGIM: not for the structural graphs or the part scale alone."""
    return config.graphs != "structural" and config.scales != "part"


def temporal_plan(config: ModelConfig) -> list[tuple[int, int, int]]:
    """Number, kernel and stride of the blocks that a feature goes through; the part scale alone starts with the second."""
    plan = list(zip(range(1, 1 + len(config.kernels)), config.kernels, config.strides, strict=True))
    return plan[1:] if config.scales == "part" else plan


def frames_left(config: ModelConfig, observed: int) -> int:
    """Frames of the last block's output, over which a branch averages; below 1 where unpadded kernels do not fit the window."""
    for _, kernel, stride in temporal_plan(config):
        observed = -(-observed // stride) if config.padding == "same" else (observed - kernel) // stride + 1
    return observed


class Branch(nn.Module):
    """Multi-scale GCN of section 5.1.2: J-GTC and P-GTC blocks side by side, exchanging features (Tables 17 and 18).

    The first J-GTC block runs alone and joint2part pooling of its output starts the part scale. After the blocks named in
    ``fuse_after`` each scale is concatenated with the other one, mapped to its nodes. At the end the parts' features are
    added to their joints' and the time axis is averaged away.
    """

    def __init__(self, config: ModelConfig, graph: Graph, channels: int):
        super().__init__()
        lengths = {len(config.graph_channels), len(config.channels), len(config.strides), len(config.kernels)}
        if len(lengths) != 1:
            raise ValueError("graph_channels, channels, strides and kernels of a preset must have one entry a block each")
        self.fuse_after = config.fuse_after if config.scales == "both" else ()
        self.scales = Scales(graph.parts)
        part_graph = normalise(graph.part_adjacency)
        self.joint_blocks = nn.ModuleDict()
        self.part_blocks = nn.ModuleDict()
        inputs = channels
        plan = zip(config.graph_channels, config.channels, config.strides, config.kernels, strict=True)
        for number, (features, outputs, stride, kernel) in enumerate(plan, start=1):
            features, outputs = scaled(features, config), scaled(outputs, config)
            shape = {"kernel": kernel, "stride": stride, "dropout": config.dropout, "padded": config.padding == "same"}
            if config.scales != "part":
                convolution = joint_convolution(inputs, features, config, graph)
                self.joint_blocks[str(number)] = GraphTemporalBlock(convolution, inputs, features, outputs, **shape)
            if config.scales != "joint" and number > 1:
                pooled = channels if config.scales == "part" and number == 2 else inputs
                part_convolution = PartGraphConvolution(pooled, features, part_graph)
                self.part_blocks[str(number)] = GraphTemporalBlock(part_convolution, pooled, features, outputs, **shape)
            inputs = 2 * outputs if number in self.fuse_after else outputs
        self.outputs = inputs

    def forward(
        self, x: Float[Tensor, "batch time joint channel"], actional: Float[Tensor, "batch joint joint"] | None
    ) -> Float[Tensor, "batch joint feature"]:
        # Blocks may compute in another precision than what is around them (``SymGNN.folded``).
        given, precision = x.dtype, self.scales.pooling.dtype
        x = x.to(precision)
        joints = parts = None
        if self.joint_blocks:
            joints = self.joint_blocks["1"](x, actional)
        if self.part_blocks:
            parts = self.scales.joint2part(x if joints is None else joints)
        for number in list(self.joint_blocks or self.part_blocks)[1 if self.joint_blocks else 0 :]:
            if joints is not None:
                joints = self.joint_blocks[number](joints, actional)
            if parts is not None:
                parts = self.part_blocks[number](parts)
            if int(number) in self.fuse_after:
                assert joints is not None and parts is not None
                joints, parts = (
                    torch.cat((joints, self.scales.part2joint(parts)), dim=-1),
                    torch.cat((parts, self.scales.joint2part(joints)), dim=-1),
                )
        # Averaging over time first gives the same sum with fewer numbers to copy.
        pooled = [] if joints is None else [joints.mean(dim=1)]
        if parts is not None:
            pooled.append(self.scales.part2joint(parts.mean(dim=1)))
        features = pooled[0] if len(pooled) == 1 else pooled[0] + pooled[1]
        return features if precision == given else features.to(given)


class Backbone(nn.Module):
    """Multi-branch multi-scale GCN, Fig. 6: AGIM on the positions and one branch for each order of difference.

    Args:
        config: the preset's network.
        graph: the body, or its bones.
        observed: frames of the window (AGIM's first layer has ``observed x channels`` inputs; reading 1).
        channels: coordinates a node.
    """

    def __init__(self, config: ModelConfig, graph: Graph, observed: int, channels: int):
        super().__init__()
        self.orders = config.difference_orders
        self.agim = (
            ActionalGraphInference(
                observed * channels, scaled(config.agim_hidden, config), config.agim_iterations, config.dropout
            )
            if infers_actional(config)
            else None
        )
        self.branches = nn.ModuleList(Branch(config, graph, channels) for _ in self.orders)
        self.outputs = sum(branch.outputs for branch in self.branches)  # pyright: ignore[reportArgumentType, reportCallIssue]

    def forward(
        self, motion: Float[Tensor, "batch time joint channel"]
    ) -> tuple[Float[Tensor, "batch joint feature"], Float[Tensor, "batch joint joint"] | None]:
        """Features [H0, H1, H2] of every joint, and the actional graph (None where the preset has none).

        Args:
            motion: the observed window in normalised units, without gaps.
        """
        actional = None if self.agim is None else self.agim(motion)
        hidden = [branch(difference(motion, order), actional) for order, branch in zip(self.orders, self.branches, strict=True)]
        return torch.cat(hidden, dim=-1), actional
