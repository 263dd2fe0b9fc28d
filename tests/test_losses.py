"""The losses, eqs. (11) and (12) and reading 17, against loops over single numbers."""

import math

import pytest
import torch

from fitting import noise
from symgnn.training import prediction_loss, recognition_loss, velocity_loss


def naive_recognition(logits: torch.Tensor, labels: list[int]) -> float:
    """Minus the log probability of the true class, the mean over the clips that have one."""
    terms = []
    for row, label in zip(logits.tolist(), labels, strict=True):
        if label >= 0:
            terms.append(-math.log(math.exp(row[label]) / math.fsum(math.exp(score) for score in row)))
    return math.fsum(terms) / len(terms)


def naive_prediction(predicted: torch.Tensor, true: torch.Tensor) -> float:
    """Mean distance over the coordinates that are there."""
    pairs = zip(predicted.flatten().tolist(), true.flatten().tolist(), strict=True)
    distances = [abs(a - b) for a, b in pairs if not math.isnan(b)]
    return math.fsum(distances) / len(distances)


def with_gaps(motion: torch.Tensor, fraction: float = 0.3) -> torch.Tensor:
    gaps = torch.rand(motion.shape, generator=torch.Generator().manual_seed(7)) < fraction
    assert 0 < gaps.sum() < gaps.numel()
    return motion.masked_fill(gaps, math.nan)


def naive_frames(predicted: torch.Tensor, true: torch.Tensor) -> float:
    """Mean over the frames that show anything of the root of the mean square over the coordinates that are there."""
    found = []
    for one, other in zip(predicted.flatten(0, 1), true.flatten(0, 1), strict=True):
        squares = [(a - b) ** 2 for a, b in zip(one.flatten().tolist(), other.flatten().tolist(), strict=True) if b == b]
        if squares:
            found.append(math.sqrt(math.fsum(squares) / len(squares)))
    return math.fsum(found) / len(found)


def test_frame_distance():
    predicted, true = noise(3, 4, 5, 3), with_gaps(noise(3, 4, 5, 3, seed=8), 0.5)
    true[1, 2] = math.nan  # a frame that shows nothing
    assert prediction_loss(predicted, true, "frame").item() == pytest.approx(naive_frames(predicted, true), abs=1e-12)
    last = noise(3, 5, 3, seed=9)
    steps, true_steps = (torch.cat((last[:, None], motion), dim=1).diff(dim=1) for motion in (predicted, true))
    loss = velocity_loss(predicted, true, last, "frame")
    assert loss.item() == pytest.approx(naive_frames(steps, true_steps), abs=1e-12)


def test_a_frame_that_is_right_has_a_gradient_of_zero():
    """The norm has a corner there; and a frame of which nothing is known pulls nowhere."""
    true = noise(2, 3, 4, 3)
    predicted = true.clone()
    predicted[0, 0] += 1.0
    true[1, 1] = math.nan
    predicted.requires_grad_()
    loss = prediction_loss(predicted, true, "frame")
    loss.backward()
    assert loss.item() == pytest.approx(1 / 5, abs=1e-12) and predicted.grad is not None
    assert predicted.grad[0, 0].gt(0).all() and predicted.grad[0, 1:].eq(0).all() and predicted.grad[1].eq(0).all()


@pytest.mark.parametrize("labels", [[0, 2, 1, 1], [0, -1, 3, -1], [-1, -1, -1, 2]])
def test_recognition_loss(labels):
    logits = noise(4, 5) * 3
    loss = recognition_loss(logits, torch.tensor(labels))
    assert loss.item() == pytest.approx(naive_recognition(logits, labels), abs=1e-12)


def test_clips_without_a_label_get_no_gradient():
    logits = noise(4, 5).requires_grad_()
    recognition_loss(logits, torch.tensor([1, -1, 0, -1])).backward()
    assert logits.grad is not None
    assert logits.grad[[1, 3]].eq(0).all() and logits.grad[[0, 2]].ne(0).all()
    # a step along a row's scores all together changes no probability
    torch.testing.assert_close(logits.grad.sum(dim=1), torch.zeros(4, dtype=torch.float64), atol=1e-15, rtol=0)


def test_no_label_at_all_is_no_loss():
    logits = noise(3, 5).requires_grad_()
    loss = recognition_loss(logits, torch.full((3,), -1))
    loss.backward()
    assert loss.item() == 0 and logits.grad is not None and logits.grad.eq(0).all()


def test_half_precision_scores_are_compared_in_float32():
    """Under mixed precision the head's scores are bfloat16, whose logarithms would be good to two digits."""
    logits = (noise(64, 5) * 3).bfloat16()
    labels = [number % 5 for number in range(64)]
    loss = recognition_loss(logits, torch.tensor(labels))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(naive_recognition(logits, labels), rel=1e-6)


@pytest.mark.parametrize("gaps", [False, True])
def test_prediction_loss(gaps):
    predicted, true = noise(3, 4, 5, 3), noise(3, 4, 5, 3, seed=2)
    true = with_gaps(true) if gaps else true
    assert prediction_loss(predicted, true).item() == pytest.approx(naive_prediction(predicted, true), abs=1e-12)


def test_missing_targets_have_no_gradient():
    """(12) is a mean over what is present: the gradient there is a sign over the count, and exactly zero elsewhere."""
    predicted, true = noise(2, 3, 4, 3).requires_grad_(), with_gaps(noise(2, 3, 4, 3, seed=2))
    prediction_loss(predicted, true).backward()
    assert predicted.grad is not None
    present = ~true.isnan()
    expected = torch.where(present, (predicted.detach() - true.nan_to_num()).sign() / present.sum(), 0.0)
    torch.testing.assert_close(predicted.grad, expected, atol=1e-15, rtol=0)
    assert predicted.grad[~present].eq(0).all()


def test_nothing_present_is_no_loss():
    predicted = noise(2, 3, 4, 3).requires_grad_()
    loss = prediction_loss(predicted, torch.full((2, 3, 4, 3), math.nan, dtype=torch.float64))
    loss.backward()
    assert loss.item() == 0 and predicted.grad is not None and predicted.grad.eq(0).all()


def test_a_prediction_that_is_no_number_is_not_masked():
    predicted = noise(1, 2, 3, 3)
    predicted[0, 1, 2, 0] = math.nan
    assert math.isnan(prediction_loss(predicted, noise(1, 2, 3, 3, seed=2)))


@pytest.mark.parametrize("gaps", [False, True])
def test_velocity_loss(gaps):
    """Differences of neighbouring frames, the first from the last observed one; one is missing where either frame is."""
    predicted, true, last = noise(2, 4, 3, 3), noise(2, 4, 3, 3, seed=2), noise(2, 3, 3, seed=3)
    true = with_gaps(true, 0.2) if gaps else true
    steps, wanted = torch.empty_like(true), torch.empty_like(true)
    for frame in range(4):
        steps[:, frame] = predicted[:, frame] - (predicted[:, frame - 1] if frame else last)
        wanted[:, frame] = true[:, frame] - (true[:, frame - 1] if frame else last)
    assert velocity_loss(predicted, true, last).item() == pytest.approx(naive_prediction(steps, wanted), abs=1e-12)


def test_losses_keep_their_precision():
    """The agreement of one and two processes is tested in float64."""
    label = torch.tensor([0, 1])
    for dtype in (torch.float32, torch.float64):
        assert recognition_loss(noise(2, 3).to(dtype), label).dtype == dtype
        assert prediction_loss(noise(2, 3, 4, 3).to(dtype), noise(2, 3, 4, 3).to(dtype)).dtype == dtype


@pytest.mark.parametrize("distance", ["l1", "frame"])
def test_nearness_by_hand(distance):
    """Of two frames the second counts (1/2)ᵖ as much, and both weights are 1 in the mean (reading 47)."""
    true = torch.zeros(1, 2, 1, 2, dtype=torch.float64)
    predicted = torch.tensor([[[[3.0, 3.0]], [[5.0, 5.0]]]], dtype=torch.float64)
    for power in (0.5, 1.0):
        later = 0.5**power
        mean = (1 + later) / 2
        expected = (3.0 * 1 / mean + 5.0 * later / mean) / 2
        assert float(prediction_loss(predicted, true, distance, power)) == pytest.approx(expected, rel=1e-12)
    assert float(prediction_loss(predicted, true, distance)) == pytest.approx(4.0)
