"""The two losses, eqs. (11) and (12), as means (reading 17)."""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, distributed


def recognition_loss(
    logits: Float[Tensor, "batch classes"], label: Int[Tensor, " batch"], smoothing: float = 0.0
) -> Float[Tensor, ""]:
    """Cross entropy, eq. (11): the mean over the clips that have a label (-1 has none); 0 where no clip has.

    Args:
        smoothing: share of the target that is spread evenly over all classes (not in the paper).
    """
    exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
    total = torch.nn.functional.cross_entropy(exact, label, ignore_index=-1, reduction="sum", label_smoothing=smoothing)
    return _mean(total, label >= 0)


Distance = Literal["l1", "frame"]


def prediction_loss(
    predicted: Float[Tensor, "batch time joint channel"],
    true: Float[Tensor, "batch time joint channel"],
    distance: Distance = "l1",
    nearness: float = 0.0,
) -> Float[Tensor, ""]:
    """Distance of two futures over what is present (NaN in ``true`` is not).

    - "l1", eq. (12): the mean of |x̂ - x| over batch, frames, joints and coordinates.
    - "frame" (reading 46): the mean over batch and frames of ‖x̂ - x‖₂ / √n, n the coordinates present in the frame. It is of
      the size of an L1 distance, and never smaller.

    Args:
        predicted, true: poses in normalised units.
        distance: which.
        nearness: p of the weight t⁻ᵖ of frame t, divided by the weights' mean (reading 47).
    """
    present = ~true.isnan()
    difference = torch.where(present, predicted - true.nan_to_num(0.0), 0.0)
    if distance == "l1":
        return _mean(_weighted(difference.abs().sum(dim=(2, 3)), nearness), present)
    exact = difference.to(torch.promote_types(difference.dtype, torch.float32))
    count = present.sum(dim=(2, 3)).to(exact.dtype)
    each = torch.linalg.vector_norm(exact, dim=(2, 3)) / count.clamp(min=1).sqrt()
    return _mean(_weighted(each, nearness), count > 0)


def velocity_loss(
    predicted: Float[Tensor, "batch time joint channel"],
    true: Float[Tensor, "batch time joint channel"],
    last: Float[Tensor, "batch joint channel"],
    distance: Distance = "l1",
    nearness: float = 0.0,
) -> Float[Tensor, ""]:
    """Distance of the frame-to-frame differences, the first one from the last observed frame (not in the paper).

    Args:
        predicted, true: poses in normalised units, NaN in ``true`` where missing.
        last: the last observed pose, as the model was fed.
        distance, nearness: as for ``prediction_loss``.
    """
    steps, true_steps = (torch.diff(motion, dim=1, prepend=last[:, None]) for motion in (predicted, true))
    return prediction_loss(steps, true_steps, distance, nearness)


def number_present(present: Bool[Tensor, "..."]) -> Float[Tensor, ""]:
    """The number of true entries on this process, or the mean number a process where there are several.

    Where a sum is divided by it, the mean of the processes' results (and gradients) is that of the global batch, also where the
    numbers differ.
    """
    count = present.sum().double()
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(count)
        count = count / distributed.get_world_size()
    return count


def _weighted(each: Float[Tensor, "batch time"], nearness: float) -> Float[Tensor, ""]:
    """Σ over batch and frames, frame t times t⁻ᵖ over the mean of these weights."""
    if not nearness:
        return each.sum()
    weight = torch.arange(1, each.shape[1] + 1, device=each.device, dtype=each.dtype) ** -nearness
    return (each * (weight / weight.mean())).sum()


def _mean(total: Tensor, present: Tensor) -> Tensor:
    """``total`` over the number present; 0 where nothing is."""
    count = number_present(present)
    return total / torch.where(count > 0, count, 1.0).to(total.dtype)
