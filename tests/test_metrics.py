import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix as sklearn_confusion
from sklearn.metrics import top_k_accuracy_score

import naive_angles
from symgnn.evaluation import angle_error, confusion_matrix, mpjpe, pck, top_k_hits, wilson_interval


def rows(*angles_about_x: float) -> torch.Tensor:
    """One clip: translation, root and a joint turned about x, whose exponential map (v, 0, 0) has e = (-v, 0, 0)."""
    clip = torch.zeros(1, len(angles_about_x), 3, 3, dtype=torch.float64)
    clip[0, :, 2, 0] = torch.tensor(angles_about_x, dtype=torch.float64)
    return clip


# --- the angle error ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stored", "frames"), [(33, 25), (39, 10)])
def test_angle_error_agrees_with_the_loops(stored: int, frames: int):
    random = np.random.default_rng(stored)
    true = random.normal(scale=0.9, size=(4, frames, stored, 3))
    true[:, :, 5:9] = true[:, :1, 5:9]  # joints that do not move
    true[:, :, 9] = true[:, :1, 9] + 3e-5 * random.normal(size=(4, frames, 3))  # nor count as moving
    true[:, :, 10] = true[:, :1, 10] + 4e-4 * random.normal(size=(4, frames, 3))
    true[1, :, 12:20] = 0.0
    predicted = true + 0.3 * random.normal(size=true.shape)
    found = angle_error(torch.from_numpy(predicted), torch.from_numpy(true))
    expected = [naive_angles.angle_error(*clip) for clip in zip(predicted, true, strict=True)]
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)


def test_angle_error_leaves_missing_joints_out():
    random = np.random.default_rng(3)
    true = random.normal(size=(3, 12, 8, 3))
    predicted = true + random.normal(size=true.shape)
    true[random.random(size=(3, 12, 8)) < 0.3] = np.nan
    found = angle_error(torch.from_numpy(predicted), torch.from_numpy(true))
    expected = [naive_angles.angle_error(*clip) for clip in zip(predicted, true, strict=True)]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)


def test_angle_error_of_a_frame_without_any_joint_does_not_exist():
    true = rows(0.1, 0.2, 0.4)
    true[0, 1] = math.nan
    found = angle_error(rows(0.1, 0.2, 0.3), true)
    np.testing.assert_allclose(found.numpy(), [[0.0, np.nan, 0.1]], atol=1e-12)


def test_a_missing_prediction_is_not_forgiven():
    predicted = rows(0.1, 0.2, 0.4)
    predicted[0, 1, 2] = math.nan
    found = angle_error(predicted, rows(0.1, 0.2, 0.4))
    np.testing.assert_allclose(found.numpy(), [[0.0, np.nan, 0.0]], atol=1e-12)


def test_root_translation_and_orientation_do_not_count():
    random = torch.Generator().manual_seed(0)
    true, predicted = torch.randn(2, 2, 6, 5, 3, generator=random, dtype=torch.float64)
    before = angle_error(predicted, true)
    torch.testing.assert_close(angle_error(torch.cat((predicted[:, :, :2] + 1, predicted[:, :, 2:]), dim=2), true), before)
    torch.testing.assert_close(angle_error(predicted, torch.cat((true[:, :, :2] - 1, true[:, :, 2:]), dim=2)), before)
    assert before.min() > 0.1


def test_angles_are_not_wrapped():
    """3.1 against -3.1 is 6.2, though the two poses are .08 apart."""
    found = angle_error(rows(3.1, 0.0), rows(-3.1, 0.0))
    np.testing.assert_allclose(found.numpy(), [[6.2, 0.0]], atol=1e-12)


def test_the_truth_alone_says_what_moves():
    np.testing.assert_allclose(angle_error(rows(0.5, -0.5), rows(0.2, 0.2)).numpy(), [[0.0, 0.0]], atol=0)
    np.testing.assert_allclose(angle_error(rows(0.2, 0.2), rows(0.5, -0.5)).numpy(), [[0.3, 0.7]], atol=1e-12)


@pytest.mark.parametrize(("deviation", "counts"), [(0.9e-4, False), (1.1e-4, True)])
def test_moving_is_a_standard_deviation_over_the_number_of_frames(deviation: float, counts: bool):
    """Two frames at ±a deviate by a when divided by two frames, by 1.41 a when divided by one."""
    found = angle_error(rows(1.0, 1.0), rows(deviation, -deviation))
    np.testing.assert_allclose(found.numpy(), [[1.0 - deviation, 1.0 + deviation]] if counts else [[0.0, 0.0]], atol=1e-12)


@pytest.mark.parametrize(("turn", "error"), [(math.pi / 2, math.pi / 2), (-math.pi / 2, math.hypot(math.pi, math.pi / 2))])
def test_gimbal_lock_by_hand(turn: float, error: float):
    """A quarter turn about y is where R[0,2] = ±1: e = (0, -π/2, 0) for +1, (±π, π/2, 0) for -1."""
    true = torch.zeros(1, 2, 3, 3, dtype=torch.float64)
    true[0, 1, 2, 1] = turn
    still = torch.zeros_like(true)
    np.testing.assert_allclose(angle_error(still, true).numpy(), [[0.0, error]], atol=1e-12)


def test_single_precision_is_judged_in_double():
    true = torch.randn(1, 10, 4, 3, generator=torch.Generator().manual_seed(1))
    predicted = true + 0.1
    found = angle_error(predicted, true)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found[0].numpy(), naive_angles.angle_error(predicted[0].numpy(), true[0].numpy()), rtol=1e-12)


# --- positions ----------------------------------------------------------------------------------------------------------


def test_mpjpe_by_hand():
    """Distances 5, 13 and 1; without the second joint the mean is 3; a NaN coordinate is enough to be missing."""
    predicted = torch.zeros(1, 3, 3, 3)
    true = torch.tensor([[3.0, 4, 0], [0, 5, 12], [0, 0, 1]]).expand(1, 3, 3, 3).clone()
    true[0, 1, 1, 2] = math.nan
    true[0, 2] = math.nan
    np.testing.assert_allclose(mpjpe(predicted, true).numpy(), [[19 / 3, 3.0, np.nan]], rtol=1e-15)


def test_mpjpe_agrees_with_the_loops():
    random = np.random.default_rng(0)
    predicted, true = random.normal(size=(2, 3, 4, 5, 3))
    expected = [
        [
            sum(math.dist(predicted[clip, frame, joint], true[clip, frame, joint]) for joint in range(5)) / 5
            for frame in range(4)
        ]
        for clip in range(3)
    ]
    np.testing.assert_allclose(mpjpe(torch.from_numpy(predicted), torch.from_numpy(true)).numpy(), expected, rtol=1e-12)


def test_pck_by_hand():
    """The box is 20 high and 8 wide, so that 1.0 is close enough and 1.25 is not."""
    body = torch.tensor([[[0.0, 0, 0], [8, 20, 0], [4, 10, 0], [4, 12, 0]]])
    predicted = body[:, None].clone()
    predicted[0, 0, 0, 0] -= 1.0
    predicted[0, 0, 1, 1] += 1.25
    predicted[0, 0, 2, 2] += 0.75
    np.testing.assert_allclose(pck(predicted, body[:, None], body).numpy(), [[0.75]])
    np.testing.assert_allclose(pck(predicted, body[:, None], body, threshold=0.0625).numpy(), [[1.0]])
    np.testing.assert_allclose(pck(predicted, body[:, None], body, threshold=0.0375).numpy(), [[0.5]])


def test_pck_measures_by_the_last_observed_body():
    """However much the future body grows or shrinks."""
    body = torch.tensor([[[0.0, 0, 0], [0, 20, 0]]])
    true = torch.tensor([[[[0.0, 0, 0], [0, 200, 0]], [[0.0, 0, 0], [0, 2, 0]]]])
    predicted = true + torch.tensor([[[[2.0]], [[0.5]]]]) * torch.tensor([1.0, 0, 0])
    np.testing.assert_allclose(pck(predicted, true, body).numpy(), [[0.0, 1.0]])


def test_pck_leaves_missing_joints_out():
    body = torch.tensor([[[0.0, 0, 0], [0, 20, 0], [math.nan, 900, 0]]])
    true = torch.zeros(1, 2, 3, 3)
    true[0, 0, 0] = math.nan
    true[0, 1] = math.nan
    predicted = torch.tensor([[0.0, 0, 0], [1.5, 0, 0], [0.5, 0, 0]]).expand(1, 2, 3, 3)
    np.testing.assert_allclose(pck(predicted, true, body).numpy(), [[0.5, np.nan]])
    assert pck(predicted, true, torch.full((1, 3, 3), math.nan)).isnan().all()


# --- recognition --------------------------------------------------------------------------------------------------------


def test_hits_by_hand():
    logits = torch.tensor([[3.0, 2, 1, 0], [0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1]])
    label = torch.tensor([0, 1, 3, 2])  # first, third, second, last in its row
    assert [top_k_hits(logits, label, k) for k in (1, 2, 3, 4, 5)] == [1, 2, 3, 4, 4]


@pytest.mark.parametrize("k", [1, 3, 5])
def test_hits_agree_with_scikit_learn(k: int):
    random = np.random.default_rng(k)
    logits, label = random.normal(size=(60, 7)), random.integers(0, 7, size=60)
    expected = top_k_accuracy_score(label, logits, k=k, normalize=False, labels=range(7))
    assert top_k_hits(torch.from_numpy(logits), torch.from_numpy(label), k) == expected


@given(st.integers(1, 500).flatmap(lambda clips: st.tuples(st.integers(0, clips), st.just(clips))))
def test_wilson_interval_agrees_with_scipy(counts: tuple[int, int]):
    expected = binomtest(*counts).proportion_ci(confidence_level=0.95, method="wilson")
    np.testing.assert_allclose(wilson_interval(*counts), (expected.low, expected.high), rtol=1e-9, atol=1e-12)


def test_wilson_interval_by_hand():
    """With z = 2 and one hit in four: (1/4 + 1/2 ± 2 sqrt(3/64 + 1/16)) / 2."""
    reach = math.sqrt(7) / 8
    np.testing.assert_allclose(wilson_interval(1, 4, z=2.0), (0.375 - reach, 0.375 + reach), rtol=1e-12)


def test_a_rate_of_nothing_has_no_interval():
    with pytest.raises(ValueError, match="0 of 0"):
        wilson_interval(0, 0)


def test_confusion_by_hand():
    found = confusion_matrix(torch.tensor([0, 2, 2, 0, 2]), torch.tensor([0, 0, 2, 1, 0]), classes=3)
    assert found.tolist() == [[1, 0, 2], [1, 0, 0], [0, 0, 1]]


def test_confusion_agrees_with_scikit_learn():
    answer, label = np.random.default_rng(0).integers(0, 6, size=(2, 200))
    expected = sklearn_confusion(label, answer, labels=range(6))
    np.testing.assert_array_equal(confusion_matrix(torch.from_numpy(answer), torch.from_numpy(label), 6).numpy(), expected)
