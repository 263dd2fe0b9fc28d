"""Section 4 of the paper: operators on ``(batch, time, node, channel)``; graphs come in as tensors, never as a skeleton."""

from symgnn.nn.actional import ActionalGraphConvolution, ActionalGraphInference
from symgnn.nn.blocks import GraphTemporalBlock
from symgnn.nn.difference import difference
from symgnn.nn.dropout import Dropout
from symgnn.nn.joint import JointGraphConvolution
from symgnn.nn.missing import fill_missing
from symgnn.nn.norm import FeatureNorm
from symgnn.nn.part import PartGraphConvolution, joint2part, part2joint
from symgnn.nn.structural import StructuralGraphConvolution
from symgnn.nn.temporal import TemporalConvolution

__all__ = [
    "ActionalGraphConvolution",
    "ActionalGraphInference",
    "Dropout",
    "FeatureNorm",
    "GraphTemporalBlock",
    "JointGraphConvolution",
    "PartGraphConvolution",
    "StructuralGraphConvolution",
    "TemporalConvolution",
    "difference",
    "fill_missing",
    "joint2part",
    "part2joint",
]
