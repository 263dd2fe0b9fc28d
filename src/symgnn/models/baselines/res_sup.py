"""A recurrent network of velocities, "res-sup" (Res-sup.)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from symgnn.config import ModelConfig
from symgnn.models.backbone import scaled
from symgnn.models.baselines.network import Baseline, WindowShape
from symgnn.skeleton import Layout

UNITS = 1024


class ResSup(Baseline):
    """One gated recurrent unit reads the window and goes on from its own poses.

    J. Martinez, M. J. Black, J. Romero, "On human motion prediction using recurrent neural networks", CVPR 2017, sec. 3:
    encoder and decoder share their weights, the output is a velocity (residual connection), and in training as in use the
    decoder is fed with its own predictions (sampling-based loss).

        h_t = GRU(x_t, h_{t-1}),   x_{t+1} = x_t + W h_t + b from the last observed pose on

    The one-hot label that the paper's "sup." feeds beside each pose is not there: here no network is told the action.
    """

    predicts = True

    def __init__(self, config: ModelConfig, layout: Layout, shape: WindowShape):
        super().__init__(config, layout, shape)
        coordinates, units = layout.num_nodes * shape.channels, scaled(UNITS, config)
        self.recurrent = nn.GRU(coordinates, units, batch_first=True)
        self.velocity = nn.Linear(units, coordinates)

    def predict(
        self, motion: Float[Tensor, "batch time joint channel"], horizon: int
    ) -> Float[Tensor, "batch horizon joint channel"]:
        """As many frames after a window as are asked for."""
        window = motion.flatten(2)
        _, state = self.recurrent(window[:, :-1])
        pose, frames = window[:, -1:], []
        for _ in range(horizon):
            output, state = self.recurrent(pose, state)
            pose = pose + self.velocity(output)
            frames.append(pose)
        return torch.cat(frames, dim=1).unflatten(2, motion.shape[2:])
