"""The angle protocol once more, as slow loops over clips, frames and triples, written from the protocol's text with scipy."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.spatial.transform import Rotation


def euler_row(row: np.ndarray) -> np.ndarray:
    """Steps 2 and 3 for one stored row (triples, 3): all angles in one line, the first six columns zero."""
    angles = np.zeros(3 * len(row))
    for triple in range(2, len(row)):
        if np.isnan(row[triple]).any():
            angles[3 * triple : 3 * triple + 3] = np.nan
        else:
            angles[3 * triple : 3 * triple + 3] = -Rotation.from_rotvec(row[triple]).as_euler("XYZ")
    return angles


def angle_error(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Steps 2 to 5 for one clip (frames, triples, 3): the error of each frame. A missing angle is left out."""
    guesses = np.array([euler_row(row) for row in predicted.astype(np.float64)])
    truths = np.array([euler_row(row) for row in true.astype(np.float64)])
    kept = []
    for column in range(truths.shape[1]):
        there = [value for value in truths[:, column] if not math.isnan(value)]
        if there and np.std(there) > 1e-4:
            kept.append(column)
    errors = []
    for guess, truth in zip(guesses, truths, strict=True):
        square = 0.0
        for column in kept:
            if not math.isnan(truth[column]):
                square += (guess[column] - truth[column]) ** 2
        errors.append(math.sqrt(square))
    return np.array(errors)


def cmu_starts(frames: int, reach: int) -> list[int]:
    """The eight starts of a CMU test file of so many frames (after halving); reach 75 is the long horizon, 60 the short."""
    random = np.random.RandomState(1234567890)
    return [random.randint(0, frames - reach) for _ in range(8)]


def h36m_starts(frames: Sequence[int], rounds: int) -> list[tuple[int, int]]:
    """(sub-sequence, start) of each clip of an H3.6M action, in the order of the draws."""
    random = np.random.RandomState(1234567890)
    starts = []
    for _ in range(rounds):
        starts.append((1, random.randint(16, frames[0] - 150)))
        starts.append((2, random.randint(16, frames[1] - 150)))
    return starts
