"""A convolutional sequence-to-sequence network, "csm" (ConvSeq2Seq)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from symgnn.config import ModelConfig
from symgnn.models.backbone import scaled
from symgnn.models.baselines.network import Baseline, WindowShape
from symgnn.nn import Dropout
from symgnn.skeleton import Layout

RECENT = 20
CHANNELS = (64, 128, 128)
KERNEL = (2, 7)
HIDDEN = 512
SLOPE = 0.2
SHARES = (0.4, 0.4, 1.0)
"""Of the dropout rate, after each convolution: 0.2, 0.2 and 0.5 in the authors' published settings."""


class Csm(Baseline):
    """Convolutions over time and coordinates encode the window and its last frames, two layers add a pose.

    C. Li, Z. Zhang, W. S. Lee, G. H. Lee, "Convolutional Sequence to Sequence Model for Human Dynamics", CVPR 2018, sec. 3. One
    encoder sees all of the window but its last frame, once; another sees the last C = 20 frames, which move on with each pose
    that is predicted:

        x_{t+1} = x_t + D([E_long(x_1, ..., x_{N-1}), E_short(x_{t-C+1}, ..., x_t)])

    from x_N on, in training as in use. There is no adversary (sec. 3.5): the loss is the preset's, as for every network here.
    """

    predicts = True

    def __init__(self, config: ModelConfig, layout: Layout, shape: WindowShape):
        super().__init__(config, layout, shape)
        coordinates, hidden = layout.num_nodes * shape.channels, scaled(HIDDEN, config)
        self.recent = min(RECENT, shape.observed)
        self.long_term = Encoder(shape.observed - 1, coordinates, config)
        self.short_term = Encoder(self.recent, coordinates, config)
        self.decoder = nn.Sequential(
            nn.Linear(2 * hidden, hidden), nn.LeakyReLU(SLOPE), Dropout(config.dropout), nn.Linear(hidden, coordinates)
        )

    def predict(
        self, motion: Float[Tensor, "batch time joint channel"], horizon: int
    ) -> Float[Tensor, "batch horizon joint channel"]:
        """As many frames after a window as are asked for."""
        window = motion.flatten(2)
        whole = self.long_term(window[:, :-1])
        frames = list(window[:, -self.recent :].unbind(dim=1))
        for _ in range(horizon):
            last = self.short_term(torch.stack(frames[-self.recent :], dim=1))
            frames.append(frames[-1] + self.decoder(torch.cat((whole, last), dim=1)))
        return torch.stack(frames[self.recent :], dim=1).unflatten(2, motion.shape[2:])


class Encoder(nn.Module):
    """Convolutional encoding module: three convolutions that halve time and coordinates, and a layer over what is left.

    A kernel spans two frames and seven coordinates, in the order in which the layout has joints. Zeros are put around, one more
    behind than before where their number is odd, so that half of each axis is left, rounded up.

    Args:
        frames, coordinates: of what it sees.
        config: for width and dropout.
    """

    def __init__(self, frames: int, coordinates: int, config: ModelConfig):
        super().__init__()
        sizes = [(frames, coordinates)]
        layers: list[nn.Module] = []
        before = 1
        for channels, share in zip(CHANNELS, SHARES, strict=True):
            after = scaled(channels, config)
            layers += [
                nn.ZeroPad2d((*padding(sizes[-1][1], KERNEL[1]), *padding(sizes[-1][0], KERNEL[0]))),
                nn.Conv2d(before, after, KERNEL, stride=2, bias=False),
                nn.LeakyReLU(SLOPE),
                Dropout(share * config.dropout),
            ]
            sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
            before = after
        left = before * sizes[-1][0] * sizes[-1][1]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(left, scaled(HIDDEN, config)))

    def forward(self, frames: Float[Tensor, "batch time coordinate"]) -> Float[Tensor, "batch feature"]:
        return self.layers(frames[:, None])


def padding(length: int, kernel: int) -> tuple[int, int]:
    """Zeros before and behind an axis, so that a kernel of stride two gives half its length, rounded up."""
    zeros = max(0, 2 * (-(-length // 2) - 1) + kernel - length)
    return zeros // 2, zeros - zeros // 2
