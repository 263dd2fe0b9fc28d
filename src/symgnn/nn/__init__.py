"""Section 4 of the paper: operators on ``(batch, time, node, channel)``; graphs come in as tensors, never as a skeleton."""

from symgnn.nn.actional import ActionalGraphConvolution, ActionalGraphInference
from symgnn.nn.blocks import GraphTemporalBlock
from symgnn.nn.continual import ContinualBlock, Recent
from symgnn.nn.cosines import cosines
from symgnn.nn.difference import difference
from symgnn.nn.dropout import Dropout
from symgnn.nn.folded import FoldedBlock, FoldedGraphConvolution
from symgnn.nn.joint import JointGraphConvolution
from symgnn.nn.missing import fill_missing
from symgnn.nn.norm import FeatureNorm
from symgnn.nn.part import PartGraphConvolution, Scales
from symgnn.nn.persons import max_of_persons, mean_of_persons
from symgnn.nn.structural import StructuralGraphConvolution
from symgnn.nn.temporal import TemporalConvolution

__all__ = [
    "ActionalGraphConvolution",
    "ActionalGraphInference",
    "ContinualBlock",
    "Dropout",
    "FeatureNorm",
    "FoldedBlock",
    "FoldedGraphConvolution",
    "GraphTemporalBlock",
    "JointGraphConvolution",
    "PartGraphConvolution",
    "Recent",
    "Scales",
    "StructuralGraphConvolution",
    "TemporalConvolution",
    "cosines",
    "difference",
    "fill_missing",
    "max_of_persons",
    "mean_of_persons",
]
