"""Running average, the other baseline without parameters."""

from symgnn.nn import fill_missing
from symgnn.types import Motion, Output


class RunningAverage:
    """Running average: every predicted pose is the mean of the last few observed ones.

    J. Martinez, M. J. Black, J. Romero, "On human motion prediction using recurrent neural networks", CVPR 2017, sec. 4 and
    Table 2, with 2 and with 4 frames. Coordinates are averaged as they are, rotation vectors too. It recognises nothing.

    Args:
        frames: how many; in a shorter window all there are.
    """

    def __init__(self, frames: int):
        self.frames = frames
        self.name = f"running-average-{frames}"

    def __call__(self, observed: Motion, horizon: int) -> Output:
        """Repeat the mean of the last frames; a missing joint is filled as for zero velocity.

        Args:
            observed: poses in the units of the data, the current frame last; NaN where a joint is missing.
            horizon: number of frames to predict.
        """
        filled = fill_missing(observed, observed.new_zeros(observed.shape[2:]))
        mean = filled[:, -self.frames :].mean(dim=1, keepdim=True)
        return Output(logits=None, future=mean.expand(-1, horizon, -1, -1))
