"""Hierarchical co-occurrence network, "hcn"."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from symgnn.config import ModelConfig
from symgnn.models.backbone import scaled
from symgnn.models.baselines.network import Baseline, WindowShape
from symgnn.nn import Dropout, TemporalConvolution, max_of_persons
from symgnn.skeleton import Layout

FEATURES = (64, 32, 32, 64, 128, 256)
"""Features after conv1 to conv6."""
HIDDEN = 256
"""Features after fc7."""
FRAMES = 32
"""Frames a window is resized to, as the paper does on NTU RGB+D."""
HALVINGS = 4
"""Max pools of 2 x 2, after conv3 to conv6."""


class Hcn(Baseline):
    """Convolutions that see a joint at a time, then all joints at once, of positions and of their differences.

    C. Li, Q. Zhong, D. Xie, S. Pu, "Co-occurrence Feature Learning from Skeleton Data for Action Recognition and Detection with
    Hierarchical Aggregation", IJCAI 2018.

    A window of any length is resized to 32 frames, so that the network has the paper's size whatever the preset observes.
    """

    recognises = True

    def __init__(self, config: ModelConfig, layout: Layout, shape: WindowShape):
        super().__init__(config, layout, shape)
        self.network = CoOccurrenceNetwork(
            layout.num_nodes,
            shape.channels,
            shape.classes,
            features=[scaled(each, config) for each in FEATURES],
            hidden=scaled(HIDDEN, config),
            frames=FRAMES,
            dropout=config.dropout,
        )

    def scores(
        self, motion: Float[Tensor, "batch time joint channel"], together: Int[Tensor, " batch"] | None
    ) -> list[Float[Tensor, "batch classes"]]:
        return [self.network(motion, together)]


class CoOccurrenceNetwork(nn.Module):
    """Two streams, of positions P and of their differences from frame to frame M, and what follows them.

        Y = [stream(P), stream(M)],  Z = conv6(conv5(Y)),  scores = fc8(fc7(max over persons of Z))

    conv5 and conv6 are 3 x 3 with ReLU and a max pool of 2 x 2; fc7 has a ReLU. Dropout is after conv4, conv5, the maximum and
    fc7. Where a side of the map is odd (it is not in the paper) its last line is a pool of its own.

    Args:
        joints, channels: of the body.
        classes: number of classes.
        features: after conv1 to conv6.
        hidden: features after fc7.
        frames: that a window is resized to.
        dropout: probability.
    """

    def __init__(
        self,
        joints: int,
        channels: int,
        classes: int,
        *,
        features: Sequence[int] = FEATURES,
        hidden: int = HIDDEN,
        frames: int = FRAMES,
        dropout: float = 0.5,
    ):
        super().__init__()
        self.frames = frames
        self.positions = CoOccurrenceStream(joints, channels, features[:4])
        self.motions = CoOccurrenceStream(joints, channels, features[:4])
        self.conv5 = nn.Conv2d(2 * features[3], features[4], 3, padding=1)
        self.conv6 = nn.Conv2d(features[4], features[5], 3, padding=1)
        size = features[5] * _halved(frames) * _halved(features[1])
        self.fc7 = nn.Linear(size, hidden)
        self.fc8 = nn.Linear(hidden, classes)
        self.dropout = Dropout(dropout)
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.xavier_uniform_(part.weight)
                nn.init.zeros_(_bias(part))
        for part in (self.fc7, self.fc8):
            nn.init.normal_(part.weight, std=0.01)
            nn.init.zeros_(part.bias)

    def forward(
        self, motion: Float[Tensor, "batch time joint channel"], together: Int[Tensor, " batch"] | None
    ) -> Float[Tensor, "batch classes"]:
        positions = resized(motion, self.frames)
        motions = resized(positions.diff(dim=1), self.frames)
        y = torch.cat((self.positions(positions), self.motions(motions)), dim=1)
        y = self.dropout(_pooled(self.conv5(self.dropout(y)).relu()))
        y = max_of_persons(_pooled(self.conv6(y).relu()).flatten(1), together)
        return self.fc8(self.dropout(self.fc7(self.dropout(y)).relu()))


class CoOccurrenceStream(nn.Module):
    """Joint by joint conv1 (1 x 1, ReLU) and conv2 (3 x 1, along time), then conv3 and conv4 of all joints at once.

    For these two joints take the place of channels, and the features that of a second axis beside time, along which the kernels
    of 3 x 3 go. A max pool of 2 x 2 follows each.

    Args:
        joints, channels: of the body.
        features: after each of the four.
    """

    def __init__(self, joints: int, channels: int, features: Sequence[int]):
        super().__init__()
        point, local, global_, outputs = features
        self.conv1 = nn.Linear(channels, point)
        self.conv2 = TemporalConvolution(point, local, kernel=3)
        self.conv3 = nn.Conv2d(joints, global_, 3, padding=1)
        self.conv4 = nn.Conv2d(global_, outputs, 3, padding=1)
        for part in (self.conv1, self.conv2):
            nn.init.xavier_uniform_(part.weight)
            nn.init.zeros_(_bias(part))

    def forward(self, x: Float[Tensor, "batch time joint channel"]) -> Float[Tensor, "batch outputs fewer_frames fewer_local"]:
        y = self.conv2(self.conv1(x).relu())
        return _pooled(self.conv4(_pooled(self.conv3(y.transpose(1, 2)))))


def resized(motion: Float[Tensor, "batch time joint channel"], frames: int) -> Float[Tensor, "batch frames joint channel"]:
    """So many frames, each from the two nearest by linear interpolation; a frame is in the middle of its share of it."""
    flat = motion.flatten(2).transpose(1, 2)
    resized = nn.functional.interpolate(flat, size=frames, mode="linear", align_corners=False)
    return resized.transpose(1, 2).unflatten(2, motion.shape[2:])


def _pooled(y: Float[Tensor, "batch feature rows columns"]) -> Float[Tensor, "batch feature fewer_rows fewer_columns"]:
    return nn.functional.max_pool2d(y, 2, ceil_mode=True)


def _halved(size: int) -> int:
    """A side of the map after all pools."""
    return -(-size // 2**HALVINGS)


def _bias(part: nn.Module) -> Tensor:
    assert isinstance(part.bias, Tensor)
    return part.bias
