"""The frames of the recent past, looked at whenever one likes: what a stream keeps."""

import math

import numpy as np
from jaxtyping import Float32, Float64

Pose = Float32[np.ndarray, "joint channel"]


class Recent:
    """Frames in order of their times, no more than can matter.

    Frames are kept for ``span`` seconds, and one before that. Of frames that come faster than two in ``closest`` seconds some
    are left out, so that memory is bounded however fast they come.
    """

    def __init__(self, joints: int, channels: int, *, span: float, closest: float, same: float, turning: bool = False):
        """
        Args:
            joints, channels: of a frame.
            span: seconds that are looked back.
            closest: a frame is left out where its neighbours are less than so many seconds apart.
            same: seconds within which two times are one.
            turning: frames are exponential maps, where one rotation may be written in several ways.
        """
        self._span, self._closest, self._same, self._turning = span, closest, same, turning
        # Of any three frames the first and last are ``closest`` apart; one is before the span, and one comes in.
        self._most = 2 * math.ceil(span / closest) + 4
        # Twice as many rows: frames move to the front only once in so many times.
        self._times = np.empty(2 * self._most)
        self._frames = np.empty((2 * self._most, joints, channels), np.float32)
        self._start = self._end = 0

    def __len__(self) -> int:
        return self._end - self._start

    @property
    def times(self) -> Float64[np.ndarray, " time"]:
        """Second of each frame kept, ascending."""
        return self._times[self._start : self._end]

    @property
    def frames(self) -> Float32[np.ndarray, "time joint channel"]:
        """The frames kept."""
        return self._frames[self._start : self._end]

    def clear(self) -> None:
        """Keep nothing."""
        self._start = self._end = 0

    def put(self, time: float, frame: Pose) -> bool:
        """Take a frame in at its place; one of a time already there takes the other's place.

        Returns:
            Whether it is the newest.
        """
        times = self.times
        place = int(np.searchsorted(times, time))
        for there in (place - 1, place):
            if 0 <= there < len(times) and abs(times[there] - time) <= self._same:
                self.frames[there] = frame
                return False
        newest = place == len(times)
        if newest:
            if len(times) > 1 and time - times[-2] < self._closest:
                # Never the newest: the one before it, whose neighbours are near enough to tell where it was.
                self._end -= 1
                place -= 1
        elif place == 0 and times[0] <= times[-1] - self._span:
            return False  # of a time nobody looks at
        else:
            around = [*times[max(place - 2, 0) : place], time, *times[place : place + 2]]
            if any(later - earlier < self._closest for earlier, later in zip(around, around[2:], strict=False)):
                return False
        self._insert(place, time, frame)
        self._forget()
        return newest

    def at(self, moments: Float64[np.ndarray, " moment"]) -> Float32[np.ndarray, "moment joint channel"]:
        """Poses at any moments from the first frame's to the last one's: linear between the two frames around.

        Missing (NaN) where one of the two lacks the coordinate, unless the other is of that very moment. Of exponential maps
        more than π apart, where a rotation goes on written in another way, the one nearer in time is taken.
        """
        times, frames = self.times, self.frames
        after = np.minimum(np.searchsorted(times, moments), len(times) - 1)
        before = np.maximum(after - 1, 0)
        gap = times[after] - times[before]
        share = np.clip((moments - times[before]) / np.where(gap > 0, gap, 1.0), 0.0, 1.0)
        # Rounding of times must not make two frames of one; seconds since 1970 are rounded to a quarter of a microsecond.
        rounding = max(_ROUNDING * self._same, 2 * float(np.spacing(abs(times[-1]))))
        share[share * gap <= rounding] = 0.0
        share[(1 - share) * gap <= rounding] = 1.0
        share[gap == 0] = 0.0
        poses = frames[np.where(share == 1, after, before)]
        (rows,) = np.nonzero((share > 0) & (share < 1))
        if len(rows):
            poses[rows] = self._between(frames[before[rows]], frames[after[rows]], share[rows], gap[rows])
        return poses

    def _between(self, one: np.ndarray, other: np.ndarray, share: np.ndarray, gap: np.ndarray) -> np.ndarray:
        found = one + share.astype(np.float32)[:, None, None] * (other - one)
        if self._turning:
            nearer = np.where((share < 0.5)[:, None, None], one, other)
            apart = np.linalg.norm(other - one, axis=2, keepdims=True) > math.pi
            found = np.where(apart, nearer, found)
        if np.isnan(found).any():
            found = np.where(np.isnan(found) & (share * gap <= self._same)[:, None, None], one, found)
            found = np.where(np.isnan(found) & ((1 - share) * gap <= self._same)[:, None, None], other, found)
        return found

    def _insert(self, place: int, time: float, frame: Pose) -> None:
        if self._end == len(self._times):
            count = len(self)
            self._times[:count], self._frames[:count] = self.times, self.frames
            self._start, self._end = 0, count
        there = self._start + place
        if there < self._end:
            self._times[there + 1 : self._end + 1] = self._times[there : self._end].copy()
            self._frames[there + 1 : self._end + 1] = self._frames[there : self._end].copy()
        self._times[there], self._frames[there] = time, frame
        self._end += 1

    def _forget(self) -> None:
        """Leave out what is before the last frame at or before the span."""
        times = self.times
        self._start += max(int(np.searchsorted(times, times[-1] - self._span, side="right")) - 1, 0)


_ROUNDING = 1e-3
"""Part of ``same`` that sums of times may be off."""
