"""A multi-layer perceptron over time, "simlpe" (siMLPe)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from symgnn.config import ModelConfig
from symgnn.models.backbone import scaled
from symgnn.models.baselines.network import Baseline, WindowShape
from symgnn.nn.cosines import cosines
from symgnn.skeleton import Layout

BLOCKS = 48


class SiMLPe(Baseline):
    """Fully connected layers, one frame's coordinates or one coordinate's time at once, on cosine coefficients.

    W. Guo, Y. Du, X. Shen, V. Lepetit, X. Alameda-Pineda, F. Moreno-Noguer, "Back to MLP: A Simple Baseline for Human Motion
    Prediction", WACV 2023. On a window x of N frames (sec. 3)

        z⁰ = C x W_in + b_in
        zⁱ = zⁱ⁻¹ + LN(W_i zⁱ⁻¹ + b_i)        48 blocks; W_i over time, LN over a frame's features
        X̂ = x_N + Cᵀ(z⁴⁸ W_out + b_out)

    The output has N frames, of which the first are the future. The paper takes as many as it trains for, 25 on AMASS and 10 on
    Human 3.6M: here ``future``, in one pass (N at most). The blocks and the last layer start at almost zero, as in the authors'
    published settings: an untrained network stands still.
    """

    predicts = True

    waves: Tensor

    def __init__(self, config: ModelConfig, layout: Layout, shape: WindowShape):
        super().__init__(config, layout, shape)
        coordinates = layout.num_nodes * shape.channels
        features = scaled(coordinates, config)
        self.register_buffer("waves", cosines(shape.observed), persistent=False)
        self.inwards = nn.Linear(coordinates, features)
        self.blocks = nn.Sequential(*(Block(shape.observed, features) for _ in range(BLOCKS)))
        self.outwards = nn.Linear(features, coordinates)
        start_near_zero(self.outwards)

    def predict(
        self, motion: Float[Tensor, "batch time joint channel"], horizon: int
    ) -> Float[Tensor, "batch predicted joint channel"]:
        """The frames after a window: ``future`` of them, or as many as the window has if that is less."""
        del horizon
        # Time first from here on: a layer over time is then one product for the whole batch.
        window = motion.flatten(2).transpose(0, 1)
        with torch.autocast(motion.device.type, enabled=False):
            coefficients = torch.einsum("kt,tbc->kbc", self.waves, window)
        moved = self.outwards(self.blocks(self.inwards(coefficients)))
        with torch.autocast(motion.device.type, enabled=False):
            moved = torch.einsum("kt,kbc->tbc", self.waves[:, : self.future], moved.to(motion.dtype))
        return (window[-1] + moved).transpose(0, 1).unflatten(2, motion.shape[2:])


class Block(nn.Module):
    """z + LN(W z + b), W over time.

    Args:
        frames: of the window.
        features: of a frame.
    """

    def __init__(self, frames: int, features: int):
        super().__init__()
        self.over_time = nn.Linear(frames, frames)
        self.norm = nn.LayerNorm(features)
        start_near_zero(self.over_time)

    def forward(self, hidden: Float[Tensor, "time batch feature"]) -> Float[Tensor, "time batch feature"]:
        mixed = torch.addmm(self.over_time.bias[:, None], self.over_time.weight, hidden.flatten(1))
        return hidden + self.norm(mixed.view_as(hidden))


def start_near_zero(layer: nn.Linear) -> None:
    """Weights of 1e-8 times their usual size, no bias: not zero, so that layers differ from one another."""
    nn.init.xavier_uniform_(layer.weight, gain=1e-8)
    nn.init.zeros_(layer.bias)
