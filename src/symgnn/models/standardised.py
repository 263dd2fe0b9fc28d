"""What every trained network shares: a body, its coordinates' statistics, and the way from the units of the data and back."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from symgnn.config import ModelConfig
from symgnn.models.placement import Placed, Placement
from symgnn.nn import fill_missing
from symgnn.skeleton import Layout, Space
from symgnn.types import Output

LEAST_DEVIATION = 1e-4
"""Coordinates that vary less get scale 1, as the published preprocessing has it."""


class Standardised(nn.Module):
    """A network that owns its preprocessing: training, streaming and export share it.

    Each coordinate is normalised by the training data's mean and scale (buffers). Subclasses say what they answer.

    Args:
        config: the preset's network.
        layout: the body.
        observed: frames of the window.
        channels: coordinates a joint (3 for positions and for exponential maps).
        classes: number of classes.
        space: what the coordinates are, for ``config.placement``.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, config: ModelConfig, layout: Layout, observed: int, channels: int, classes: int, space: Space):
        super().__init__()
        self.config = config
        self.layout = layout
        self.observed = observed
        self.classes = classes
        self.placement = Placement(config.placement, layout, space)
        self.register_buffer("mean", torch.zeros(layout.num_nodes, channels))
        self.register_buffer("scale", torch.ones(layout.num_nodes, channels))

    def fit_normalisation(self, recordings: Sequence[Float[Tensor, "_ joint channel"]]) -> None:
        """Set mean and scale of every coordinate from training data.

        Args:
            recordings: poses at the model's frame rate, placed as the model sees them; NaN is left out.
        """
        self.set_statistics(self.mean, self.scale, torch.cat(list(recordings)).double())

    @torch.no_grad()
    def set_statistics(self, mean: Tensor, scale: Tensor, poses: Float[Tensor, "time node channel"]) -> None:
        """Mean and scale of some poses, into two buffers."""
        centre = poses.nanmean(dim=0)
        deviation = (poses - centre).square().nanmean(dim=0).sqrt()
        mean.copy_(centre.nan_to_num(0.0))
        scale.copy_(torch.where(deviation < LEAST_DEVIATION, 1.0, deviation.nan_to_num(1.0)))
        if self.config.scaling == "body":
            # Over the coordinates that vary: the others' 1 is no size of anything.
            varying = scale[deviation >= LEAST_DEVIATION]
            scale.fill_(varying.mean() if len(varying) else 1.0)

    def normalise(self, motion: Float[Tensor, "batch time joint channel"]) -> list[Float[Tensor, "batch time node channel"]]:
        """The motion in normalised units and the precision of the weights, as each part that predicts sees it: the joints.

        NaN where a joint is missing.
        """
        return [(motion.to(self.mean.dtype) - self.mean) / self.scale]

    def denormalise(self, motion: Float[Tensor, "batch time joint channel"]) -> Float[Tensor, "batch time joint channel"]:
        """Joints from normalised units back to the units of the data."""
        return motion * self.scale + self.mean

    def place(
        self, observed: Float[Tensor, "batch time joint channel"], together: Int[Tensor, " batch"] | None = None
    ) -> tuple[Float[Tensor, "batch time joint channel"], Placed]:
        """Windows in their bodies' own coordinates (as the preset's placement has it), and the way back.

        Persons seen together are placed by the first of them, so that how they stand to each other stays.
        """
        if self.config.placement == "none":
            return observed, Placed(None, None)
        placed = self.placement(self._filled_by_neighbours(observed))
        if together is not None:
            # Rows of a recording lie side by side: the first of them is where its number would be put in.
            placed = placed.of(torch.searchsorted(together, together))
        return placed.apply(observed), placed

    def _filled_by_neighbours(self, observed: Tensor) -> Tensor:
        """Missing joints filled without knowing where bodies usually are: one that is never seen lies in the body's middle."""
        middle = observed.nanmean(dim=(1, 2), keepdim=True).nan_to_num(0.0)
        return fill_missing(observed - middle, torch.zeros_like(observed[0, 0])) + middle

    def check_window(self, observed: Float[Tensor, "batch time joint channel"]) -> None:
        """Raise ValueError where a window has another number of frames than the model was made for."""
        if observed.shape[1] != self.observed:
            raise ValueError(f"the model observes {self.observed} frames, the window has {observed.shape[1]}")

    def answer(
        self, observed: Float[Tensor, "batch time joint channel"], horizon: int, together: Int[Tensor, " batch"] | None = None
    ) -> Output:
        """Both answers for windows in their bodies' own coordinates (see ``place``), the future in normalised units.

        Args:
            observed: the last ``observed`` frames, NaN where a joint is missing.
            horizon: frames to predict, any number.
            together: which rows are persons of one recording, as in [Batch][symgnn.types.Batch]; None: each is alone.
        """
        raise NotImplementedError

    def folded(self, precision: torch.dtype | None = None) -> "Standardised":
        """A copy for inference, with what does not depend on the input computed once; it can neither be trained nor saved.

        Args:
            precision: of the products, such as ``torch.bfloat16``; by default the weights' own.
        """
        raise NotImplementedError

    def forward(
        self, observed: Float[Tensor, "batch time joint channel"], horizon: int, together: Int[Tensor, " batch"] | None = None
    ) -> Output:
        """Both answers for windows in the units of the data; arguments as for ``answer``."""
        observed, placed = self.place(observed, together)
        answer = self.answer(observed, horizon, together)
        future = None if answer.future is None else placed.undo(self.denormalise(answer.future))
        return Output(answer.logits, future, answer.actional)
