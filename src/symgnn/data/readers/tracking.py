"""Who is who over the frames of a video, where a detector lists people anew in each."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

_logger = logging.getLogger("symgnn.data")

MOST_PERSONS = 256
"""Persons in one frame at most."""
LONGEST_ABSENCE = 30
"""Frames after which someone who comes back is a new person (a second of video; nobody knows what happened in between)."""
REACH = 0.5
"""Body sizes that a person moves at most from one frame to the next, beside going on as before; after an absence twice that."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Seen:
    """The persons seen in one frame."""

    number: float
    """Number of the frame."""
    poses: Sequence[Float64[np.ndarray, "joint channel"]]
    """A pose a person, NaN where a joint is missing: what is kept."""
    places: Sequence[Float64[np.ndarray, "joint axis"]]
    """Where each person's joints are (without the confidence): what tells who is who."""
    ids: Sequence[str | None]
    """What the tracker calls each person; None where it says nothing."""


Track = list[tuple[int, int]]
"""One person: where they were seen, as (index of the frame, index of the person in it)."""


def motion_of(track: Track, frames: Sequence[Seen]) -> Float32[np.ndarray, "time joint channel"]:
    """The frames from a track's first to its last, NaN where its person was not seen."""
    first, last = track[0][0], track[-1][0]
    motion = np.full((last - first + 1, *frames[first].poses[track[0][1]].shape), np.nan, np.float32)
    for frame, person in track:
        motion[frame - first] = frames[frame].poses[person]
    return motion


def tracks(frames: Sequence[Seen], where: str) -> list[Track]:
    """Who is who over the frames of a video, see [Tracker][symgnn.data.readers.tracking.Tracker].

    Args:
        frames: in order of their numbers.
        where: the file, for the warning where an id occurs twice in a frame and says nothing therefore.

    Returns:
        Tracks in order of their beginnings; each person seen is in exactly one.
    """
    trust = all(len(set(ids)) == len(ids) for ids in ([name for name in frame.ids if name] for frame in frames))
    if not trust:
        _logger.warning("%s: one id for two persons in a frame: persons are told apart by their place", where)
    tracker = Tracker(_usual_step(frames), trust=trust)
    found: dict[int, Track] = {}
    for index, frame in enumerate(frames):
        for which, person in enumerate(tracker.see(frame)):
            found.setdefault(person, []).append((index, which))
    return [found[person] for person in sorted(found)]


class Tracker:
    """Who is who, frame by frame: by a tracker's ids where there are any, else by place.

    By place: where each person goes on as before, the joints are expected at ``place + gap * velocity``. The distance of an
    expected and a seen person is the mean over the joints known of both, in body sizes (diagonal of the box around them),
    so that neither the image's size nor the camera's distance matters. Of all ways to pair them, up to ``REACH``, the one
    of the smallest sum is taken (Hungarian method). Whoever was away for more than ``LONGEST_ABSENCE`` frames is a new
    person, whatever their id.
    """

    def __init__(self, step: float = 1.0, *, trust: bool = True):
        """
        Args:
            step: numbers from a frame to the next.
            trust: whether ids say who is who.
        """
        self._step, self._trust = step, trust
        self._here: list[_Person] = []
        self._named: dict[str, _Person] = {}
        self._count = 0

    def see(self, frame: Seen) -> list[int]:
        """Look at the next frame.

        Returns:
            A number for each person in it: persons are counted from 0 in order of their appearance.
        """
        step, longest = self._step, LONGEST_ABSENCE * self._step
        self._here = [person for person in self._here if frame.number - person.number <= longest]
        self._named = {name: person for name, person in self._named.items() if frame.number - person.number <= longest}
        found = [-1] * len(frame.places)
        unknown = []
        for which, place in enumerate(frame.places):
            name = frame.ids[which] if self._trust else None
            if name is None:
                unknown.append(which)
                continue
            person = self._named.get(name)
            if person is None:
                person = self._named[name] = self._new(place, frame.number)
            person.number = frame.number
            found[which] = person.index
        nearest = _nearest(self._here, frame, unknown, step)
        for which in unknown:
            person = nearest.get(which)
            if person is None:
                person = self._new(frame.places[which], frame.number)
                self._here.append(person)
            else:
                person.follow(frame.places[which], frame.number, step)
            found[which] = person.index
        return found

    def _new(self, place: np.ndarray, number: float) -> "_Person":
        self._count += 1
        return _Person(self._count - 1, place, number)


def _usual_step(frames: Sequence[Seen]) -> float:
    """Numbers from one frame to the next: 1, or more in a video of which every so many frames were looked at."""
    steps = np.diff([frame.number for frame in frames])
    return float(np.median(steps[steps > 0])) if (steps > 0).any() else 1.0


class _Person:
    """Someone who is being followed."""

    def __init__(self, index: int, place: np.ndarray, number: float):
        self.index = index
        """How many persons were there before."""
        self.place = place.copy()
        """Where each joint is; where it was last seen, moved along with the others, while it is hidden."""
        self.velocity = np.zeros(place.shape[1])
        """Mean movement of the joints a frame."""
        self.number = number

    def expected(self, gap: float) -> np.ndarray:
        # Nobody goes on as before for long.
        return self.place + min(gap, _LONGEST_COURSE) * self.velocity

    def follow(self, place: np.ndarray, number: float, step: float) -> None:
        gap = (number - self.number) / step
        moved = np.nanmean(place - self.place, axis=0)
        self.velocity += _SMOOTHING * (moved / gap - self.velocity)
        self.place = np.where(np.isnan(place), self.place + moved, place)
        self.number = number


_LONGEST_COURSE = 5
_SMOOTHING = 0.5


def _nearest(persons: Sequence[_Person], frame: Seen, unknown: Sequence[int], step: float) -> dict[int, _Person]:
    """The person each of some poses of a frame belongs to, where there is one near."""
    if not persons or not unknown:
        return {}
    seen = np.stack([frame.places[which] for which in unknown])
    sizes = _sizes(seen)
    # A column a person, and one a pose for "somebody new", which costs more than any person within reach.
    costs = np.full((len(unknown), len(persons) + len(unknown)), _NEW)
    for column, person in enumerate(persons):
        gap = (frame.number - person.number) / step
        size = np.maximum(np.maximum(sizes, _sizes(person.place[None])), _TINY)
        distance = _distances(person.expected(gap), seen) / size
        costs[:, column] = np.where(distance <= REACH * min(max(gap, 1.0), 2.0), distance, _NEVER)
    columns = assignment(costs)
    return {which: persons[column] for which, column in zip(unknown, columns, strict=True) if column < len(persons)}


_NEW, _NEVER = 4.0 * REACH, 1e6
_TINY = float(np.finfo(np.float32).tiny)
"""Size of a person of whom one joint was seen."""


def assignment(costs: Float64[np.ndarray, "row column"]) -> list[int]:
    """A column for each row, no column twice, of the smallest sum of costs; there are at least as many columns as rows.

    Hungarian method by shortest augmenting paths: rows come in one by one; each finds, under prices u and v that keep every
    ``cost - u - v`` at 0 or above, the cheapest chain of rows that move on to another column until a free one is found.
    """
    rows, columns = costs.shape
    u, v = np.zeros(rows), np.zeros(columns + 1)
    # Column 0 is where the row that is coming in stands.
    owner = np.full(columns + 1, -1)
    for row in range(rows):
        owner[0], column = row, 0
        least, before = np.full(columns + 1, np.inf), np.zeros(columns + 1, int)
        done = np.zeros(columns + 1, bool)
        while owner[column] >= 0:
            done[column] = True
            reduced = np.concatenate([[np.inf], costs[owner[column]] - u[owner[column]] - v[1:]])
            better = ~done & (reduced < least)
            least[better], before[better] = reduced[better], column
            following = int(np.argmin(np.where(done, np.inf, least)))
            step = least[following]
            u[owner[done]] += step
            v[done] -= step
            least[~done] -= step
            column = following
        while column:
            owner[column] = owner[before[column]]
            column = before[column]
    found = [0] * rows
    for column, row in enumerate(owner[1:]):
        if row >= 0:
            found[row] = column
    return found


def _sizes(places: np.ndarray) -> np.ndarray:
    """Diagonal of the box around each person."""
    known = ~np.isnan(places)
    highest = np.where(known, places, -np.inf).max(axis=1)
    lowest = np.where(known, places, np.inf).min(axis=1)
    return np.linalg.norm(highest - lowest, axis=1)


def _distances(place: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Mean distance of the joints known of both, infinite where there is none."""
    apart = np.linalg.norm(seen - place, axis=2)
    both = ~np.isnan(apart)
    count = both.sum(axis=1)
    return np.where(count > 0, np.where(both, apart, 0.0).sum(axis=1) / np.maximum(count, 1), np.inf)
