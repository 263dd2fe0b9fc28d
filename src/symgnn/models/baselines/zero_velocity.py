"""Zero velocity, the baseline that any prediction has to beat."""

from symgnn.nn import fill_missing
from symgnn.types import Motion, Output


class ZeroVelocity:
    """Zero velocity (ZeroV, the rows of that name in Tables 4 to 8): X̂(t) = X(0) for every t > 0.

    A joint that is missing in the current frame keeps its latest observed value; one that was never seen predicts zero.
    It recognises nothing.
    """

    name = "zero-velocity"

    def __call__(self, observed: Motion, horizon: int) -> Output:
        """Repeat the current frame.

        Args:
            observed: poses in the units of the data, the current frame last; NaN where a joint is missing.
            horizon: number of frames to predict.
        """
        current = fill_missing(observed, observed.new_zeros(observed.shape[2:]))[:, -1:]
        return Output(logits=None, future=current.expand(-1, horizon, -1, -1))
