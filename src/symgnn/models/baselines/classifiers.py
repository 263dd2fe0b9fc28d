"""Linear and nearest-neighbour classifiers of whole windows: what a network has to beat on a small data set."""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from symgnn.nn import fill_missing
from symgnn.types import Motion, Output


class ClipClassifier:
    """Logistic regression, or the nearest training clip, on the numbers of a window side by side.

    Each frame is taken relative to the body's root, so that it does not matter where somebody stands. Coordinates are
    standardised for the linear one and left as they are for distances. It predicts no future.

    Args:
        kind: "linear" or "nearest".
        root: joint that frames are taken relative to; None for rotations.
        classes: number of classes.
    """

    def __init__(self, kind: Literal["linear", "nearest"], root: int | None, classes: int):
        self.name, self.root, self.classes = kind, root, classes
        self._pipeline: Pipeline = (
            make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000))
            if kind == "linear"
            else make_pipeline(KNeighborsClassifier(n_neighbors=1))
        )

    def fit(self, windows: Float[Tensor, "clip time joint channel"], labels: Int[Tensor, " clip"]) -> "ClipClassifier":
        """Learn from training windows.

        Args:
            windows: in the units of the data, NaN where a joint is missing.
            labels: class of each.

        Raises:
            ValueError: fewer than two classes.
        """
        self._pipeline.fit(self._numbers(windows), labels.numpy())
        return self

    def __call__(self, observed: Motion, horizon: int) -> Output:
        """Scores (log probabilities) of windows of as many frames as in ``fit``; minus infinity has become a large number."""
        known = self._pipeline.predict_proba(self._numbers(observed))
        scores = np.zeros((len(known), self.classes))
        scores[:, self._pipeline.classes_] = known
        return Output(logits=torch.from_numpy(np.log(np.maximum(scores, 1e-30))).float(), future=None)

    def _numbers(self, windows: Tensor) -> Float[np.ndarray, "clip feature"]:
        filled = fill_missing(windows, torch.zeros_like(windows[0, 0]))
        if self.root is not None:
            filled = filled - filled[:, :, self.root : self.root + 1]
        return filled.flatten(1).double().numpy()
