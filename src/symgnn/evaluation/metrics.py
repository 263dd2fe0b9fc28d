"""What a prediction and a recognition are worth, clip by clip and frame by frame; averages are the caller's."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from symgnn.skeleton.rotations import expmap_to_euler

MOVES = 1e-4
"""Standard deviation over a clip's future, in radians, above which an angle counts (protocols of H3.6M and CMU, step 4)."""

GLOBAL = 2
"""Leading triples of a stored row that do not count: root translation and root orientation (step 3)."""


def angle_error(
    predicted: Float[Tensor, "clip frame stored 3"], true: Float[Tensor, "clip frame stored 3"]
) -> Float[Tensor, "clip frame"]:
    """Error in angle space, the figure of Tables 5 to 8: the Euclidean norm over the Euler angles that move.

    The exponential map of every triple becomes a rotation matrix and that becomes Euler angles e; then

        error(t) = sqrt( Σ_k (ê_k(t) - e_k(t))² )

    over those angles k of the triples after the first two whose standard deviation (dividing by the number of frames) over
    the true frames given exceeds 1e-4. Differences are not wrapped at ±π. The field calls this figure "MAE". What counts as
    moving depends on how many frames are given: pass the future of the protocol, whole.

    Args:
        predicted: whole stored rows, in radians: translation, root orientation, then the other joints. A triple that the model
            does not predict holds the training mean.
        true: the same rows of the recording; NaN where a joint is missing, which is then left out of that frame.

    Returns:
        Error at each frame in radians, float64; NaN at a frame of which everything is missing.
    """
    angles = expmap_to_euler(predicted[:, :, GLOBAL:].double()).flatten(2)
    truth = expmap_to_euler(true[:, :, GLOBAL:].double()).flatten(2)
    present = ~truth.isnan()
    count = present.sum(dim=1, keepdim=True).clamp(min=1)
    deviation = torch.where(present, truth - truth.nansum(dim=1, keepdim=True) / count, 0.0)
    moving = ((deviation**2).sum(dim=1, keepdim=True) / count).sqrt() > MOVES
    squares = torch.where(present & moving, (angles - truth) ** 2, 0.0).sum(dim=2)
    return torch.where(present.any(dim=2), squares.sqrt(), math.nan)


def mpjpe(
    predicted: Float[Tensor, "clip frame joint dim"], true: Float[Tensor, "clip frame joint dim"]
) -> Float[Tensor, "clip frame"]:
    """Mean per joint position error: the mean over joints of the distance ‖x̂_j - x_j‖, in the unit of the positions.

    Args:
        predicted: positions.
        true: positions of the recording; a joint with a NaN coordinate is missing and left out of that frame's mean.

    Returns:
        Error at each frame, float64; NaN at a frame of which every joint is missing.
    """
    distance, present = _distances(predicted, true)
    return torch.where(present, distance, 0.0).sum(dim=2) / present.sum(dim=2)


def pck(
    predicted: Float[Tensor, "clip frame joint dim"],
    true: Float[Tensor, "clip frame joint dim"],
    observed_last: Float[Tensor, "clip joint dim"],
    threshold: float = 0.05,
) -> Float[Tensor, "clip frame"]:
    """Percentage of correct keypoints (PCK@0.05, Table 4), as a fraction of 1.

    A joint is correct when its distance to the truth is at most ``threshold`` times the longer side of the true body's bounding
    box in the last observed frame (reading 20; of three sides the longest).

    Args:
        predicted: positions.
        true: positions of the recording; a joint with a NaN coordinate is missing and left out.
        observed_last: the true body in the last observed frame; missing joints do not stretch the box.
        threshold: fraction of the longer side.

    Returns:
        Fraction at each frame, float64; NaN where every joint is missing, in that frame or in the last observed one.
    """
    distance, present = _distances(predicted, true)
    body = observed_last.double()
    seen = ~body.isnan().any(dim=2)
    highest = torch.where(seen[..., None], body, -math.inf).amax(dim=1)
    lowest = torch.where(seen[..., None], body, math.inf).amin(dim=1)
    side = (highest - lowest).amax(dim=1)
    correct = present & (distance <= threshold * side[:, None, None])
    fraction = correct.sum(dim=2).double() / present.sum(dim=2)
    return torch.where(seen.any(dim=1)[:, None], fraction, math.nan)


def top_k_hits(logits: Float[Tensor, "clip classes"], label: Int[Tensor, " clip"], k: int) -> int:
    """Number of clips whose true class is among the k classes of the highest scores (all of them where k is larger)."""
    best = logits.topk(min(k, logits.shape[1]), dim=1).indices
    return int((best == label[:, None]).any(dim=1).sum())


def wilson_interval(hits: int, clips: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Wilson's score interval of a success rate, 95 % by default.

    With p = hits / n, n the number of clips,

        ( p + z²/2n ± z sqrt( p(1-p)/n + z²/4n² ) ) / ( 1 + z²/n )

    It takes the clips as independent. Clips cut from one recording are not, so with few recordings the truth is less
    certain than this says.

    Args:
        hits: clips that were right.
        clips: clips in all; at least 1.
        z: quantile of the normal distribution.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    if not 0 <= hits <= clips or clips == 0:
        raise ValueError(f"a success rate needs 0 <= hits <= clips and a clip at least, not {hits} of {clips}")
    rate = hits / clips
    middle = rate + z**2 / (2 * clips)
    reach = z * math.sqrt(rate * (1 - rate) / clips + z**2 / (4 * clips**2))
    scale = 1 + z**2 / clips
    # The bounds are 0 and 1 there by algebra; rounding may miss them.
    low = 0.0 if hits == 0 else (middle - reach) / scale
    high = 1.0 if hits == clips else (middle + reach) / scale
    return low, high


def confusion_matrix(answer: Int[Tensor, " clip"], label: Int[Tensor, " clip"], classes: int) -> Int[Tensor, "classes classes"]:
    """Number of clips of the class of the row that were answered with the class of the column."""
    return torch.bincount(label * classes + answer, minlength=classes**2).view(classes, classes)


def _distances(predicted: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    distance = torch.linalg.vector_norm(predicted.double() - true.double(), dim=-1)
    return distance, ~true.isnan().any(dim=-1)
