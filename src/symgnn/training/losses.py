"""The two losses, eqs. (11) and (12), as means (reading 17)."""

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


def prediction_loss(
    predicted: Float[Tensor, "batch time joint channel"], true: Float[Tensor, "batch time joint channel"]
) -> Float[Tensor, ""]:
    """L1 distance, eq. (12): the mean over batch, frames, joints and coordinates that are present (NaN in ``true`` is not).

    Args:
        predicted, true: poses in normalised units.
    """
    present = ~true.isnan()
    distance = torch.where(present, predicted - true.nan_to_num(0.0), 0.0).abs().sum()
    return _mean(distance, present)


def velocity_loss(
    predicted: Float[Tensor, "batch time joint channel"],
    true: Float[Tensor, "batch time joint channel"],
    last: Float[Tensor, "batch joint channel"],
) -> Float[Tensor, ""]:
    """L1 distance of the frame-to-frame differences, the first one from the last observed frame (not in the paper).

    Args:
        predicted, true: poses in normalised units, NaN in ``true`` where missing.
        last: the last observed pose, as the model was fed.
    """
    return prediction_loss(torch.diff(predicted, dim=1, prepend=last[:, None]), torch.diff(true, dim=1, prepend=last[:, None]))


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


def _mean(total: Tensor, present: Tensor) -> Tensor:
    """``total`` over the number present; 0 where nothing is."""
    count = number_present(present)
    return total / torch.where(count > 0, count, 1.0).to(total.dtype)
