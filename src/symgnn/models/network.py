"""One network of the dual pair: backbone and both heads on one graph."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from symgnn.config import ModelConfig
from symgnn.models.backbone import Backbone, joint_convolution, scaled
from symgnn.models.prediction import PredictionHead
from symgnn.models.recognition import RecognitionHead
from symgnn.skeleton import Graph

RECENT = 3
"""Frames from which the decoder's differences continue (reading 14)."""


@dataclass(frozen=True)
class Features:
    """Everything the heads of one network read: the shared representation Z of reading 18, and the current pose."""

    hidden: Float[Tensor, "batch joint feature"]
    """[H0, H1, H2]."""
    actional: Float[Tensor, "batch joint joint"] | None
    """A_act of eq. (2)."""
    recent: Float[Tensor, "batch recent joint channel"]
    """Last observed frames in normalised units, three or as many as the prediction head looks back; not trained through."""


class Network(nn.Module):
    """Backbone, recognition head and prediction head on joints, or on bones (sec. 5.5: "everything else follows").

    Args:
        config: the preset's network.
        graph: joints or bones.
        observed: frames of the window.
        channels: coordinates a node.
        classes: number of classes.
    """

    def __init__(self, config: ModelConfig, graph: Graph, observed: int, channels: int, classes: int):
        super().__init__()
        hidden = scaled(config.hidden, config)
        self.look_back = config.look_back
        self.backbone = Backbone(config, graph, observed, channels)
        features = self.backbone.outputs
        self.recognition = RecognitionHead(features, hidden, classes, config.dropout) if config.recognition else None
        self.prediction = (
            PredictionHead(
                features,
                hidden,
                channels,
                classes if config.recognition else 0,
                joint_convolution(hidden, hidden, config, graph, decoder=True),
                config.dropout,
                config.look_back,
            )
            if config.prediction
            else None
        )

    def encode(self, motion: Float[Tensor, "batch time joint channel"]) -> Features:
        """Run the backbone on a window in normalised units, without gaps."""
        hidden, actional = self.backbone(motion)
        return Features(hidden, actional, motion[:, -max(RECENT, self.look_back) :])
