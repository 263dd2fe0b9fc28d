"""Published networks behind the same door as Sym-GNN: same windows, same normalisation, same losses, same protocols."""

from copy import deepcopy
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from symgnn.config import ModelConfig
from symgnn.errors import InputError
from symgnn.models.standardised import Standardised
from symgnn.nn import fill_missing
from symgnn.skeleton import Layout, Space
from symgnn.types import Output


@dataclass(frozen=True)
class WindowShape:
    """What goes into a baseline and what comes out."""

    observed: int
    """Frames of the window."""
    future: int
    """Frames the preset predicts, for networks that answer so many at once."""
    channels: int
    """Coordinates a joint."""
    classes: int
    space: Space = "xyz"
    """What the coordinates are."""


class Baseline(Standardised):
    """A network from somebody else's paper that recognises or predicts.

    A subclass fills in ``scores`` or ``predict``. It reads ``width`` (factor on its numbers of features), ``dropout``,
    ``scaling`` and ``placement`` of the preset's network; all else is as its paper has it. Missing joints are filled as for
    Sym-GNN.

    Args:
        config: the preset's network.
        layout: the body.
        shape: what goes in and what comes out.
    """

    recognises = False
    predicts = False

    def __init__(self, config: ModelConfig, layout: Layout, shape: WindowShape):
        super().__init__(config, layout, shape.observed, shape.channels, shape.classes, shape.space)
        for what, has, wanted in (
            ("recognition", self.recognises, config.recognition),
            ("prediction", self.predicts, config.prediction),
        ):
            if has != wanted:
                raise InputError(
                    f"model.{what}: found {wanted}, but {config.network} {'always has' if has else 'has no'} {what} head"
                )
        self.future = shape.future

    def scores(
        self, motion: Float[Tensor, "batch time joint channel"], together: Int[Tensor, " batch"] | None
    ) -> list[Float[Tensor, "batch classes"]]:
        """Class scores of each stream, which are trained each by its own cross entropy and add up to the answer.

        Args:
            motion: the window in normalised units, without gaps.
            together: which rows are persons of one recording (reading 19): they get the same scores.
        """
        del motion, together
        return []

    def predict(
        self, motion: Float[Tensor, "batch time joint channel"], horizon: int
    ) -> Float[Tensor, "batch predicted joint channel"] | None:
        """The frames after a window in normalised units, without gaps; fewer than ``horizon`` where the network has a fixed
        number: the answer then goes on from its own frames.
        """
        del motion, horizon
        return None

    def filled(self, observed: Float[Tensor, "batch time joint channel"]) -> Float[Tensor, "batch time joint channel"]:
        """A window as the network sees it: in normalised units, without gaps."""
        self.check_window(observed)
        return self.normalise(fill_missing(observed, self.mean))[0]

    def ahead(
        self, motion: Float[Tensor, "batch time joint channel"], horizon: int
    ) -> Float[Tensor, "batch horizon joint channel"] | None:
        """Exactly ``horizon`` frames after a window in normalised units; None for a network that predicts nothing."""
        found = self.predict(motion, horizon)
        while found is not None and found.shape[1] < horizon:
            window = torch.cat((motion, found), dim=1)[:, -self.observed :]
            more = self.predict(window, horizon - found.shape[1])
            assert more is not None
            found = torch.cat((found, more), dim=1)
        return None if found is None else found[:, :horizon]

    def answer(
        self, observed: Float[Tensor, "batch time joint channel"], horizon: int, together: Int[Tensor, " batch"] | None = None
    ) -> Output:
        motion = self.filled(observed)
        scores = self.scores(motion, together)
        return Output(torch.stack(scores).sum(dim=0) if scores else None, self.ahead(motion, horizon))

    def folded(self, precision: torch.dtype | None = None) -> "Baseline":
        if precision is not None:
            raise InputError(f"precision: found {precision}, but {self.config.network} computes in float32 alone")
        return deepcopy(self).eval().requires_grad_(False)
