"""Both answers while frames come in: one person's stream, and one of each of several persons."""

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from numbers import Real
from time import perf_counter
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32

from symgnn.data.readers.text import shown
from symgnn.errors import InputError
from symgnn.models.checkpoint import CHANNELS, Described, TrainedModel
from symgnn.runtime.answering import Answers, answer
from symgnn.runtime.clips import frame_in_use
from symgnn.runtime.predict import filled, look_at_size
from symgnn.runtime.recent import Recent
from symgnn.runtime.ticks import Ticks

SAME = 1e-3
"""Part of the model's frame within which two times are one."""
LONGEST = 600.0
"""Seconds that a model of whole clips looks back at most."""
KEPT = 1000
"""Answers whose latency is kept."""


@dataclass(frozen=True, eq=False)
class Edge:
    """An actional relation: the target gathers from the source, eq. (2)."""

    source: str
    """Name of the joint that is read."""
    target: str
    """Name of the joint that reads it."""
    weight: float
    """A_act[target, source], up to 1."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What a model says of the latest window of a stream."""

    time: float
    """Of the newest frame it rests on: seconds on the clock of whoever pushes."""
    label: str | None
    """The most probable class of ``smoothed``; None where the model does not recognise or ``reject`` was not reached."""
    probabilities: dict[str, float]
    """Of this window alone, by class, as [predict][symgnn.runtime.predict.predict] gives them; empty where it does not
    recognise."""
    smoothed: dict[str, float]
    """The same, smoothed over the stream's ``smoothing`` seconds."""
    future: Float32[np.ndarray, "horizon joint channel"] | None
    """Poses after the newest frame, at the model's rate, in the units of the input; None where the model does not predict."""
    milliseconds: tuple[float, ...]
    """Time of each future pose, counted from ``time``."""
    edges: tuple[Edge, ...]
    """The strongest actional relations between different joints, the strongest first."""
    latency_ms: float
    """From the call that took the frame in to this answer, everything in between included."""
    padded: int
    """Frames of the window that repeat its first pose (reading 4)."""


@dataclass(frozen=True, eq=False)
class Window:
    """A window of a stream that is to be answered."""

    frames: Float32[np.ndarray, "observed joint channel"]
    """What the model sees; NaN where a joint is missing."""
    time: float
    """Of its last frame, on the caller's clock."""
    padded: int
    """Frames at its start that repeat the first pose."""
    frame_ms: float
    """Milliseconds from a frame to the next."""
    began: float
    """``perf_counter`` when its newest frame came."""
    beginning: int
    """How often the stream had begun anew."""


@dataclass(frozen=True)
class Stats:
    """What came into a stream, and how fast it was answered."""

    pushed: int
    """Frames that came, those counted below included."""
    answered: int
    """Answers given."""
    late: int
    """Frames older than the newest one."""
    duplicates: int
    """Frames of the newest one's time."""
    unseen: int
    """Frames that saw nobody."""
    restarts: int
    """How often the stream began anew, after a gap or because the clock was set back."""
    latency_p50_ms: float | None
    """Median of the latency of the last ``KEPT`` answers; None before the first one."""
    latency_p99_ms: float | None
    """Its 99th percentile."""
    latency_max_ms: float | None
    """The longest of them."""


class _Counts:
    """What ``Stats`` tells, as it grows."""

    def __init__(self):
        self.pushed = self.answered = self.late = self.duplicates = self.unseen = self.restarts = 0
        self.sized = False
        """Whether somebody's size has been looked at."""
        self._latencies = np.empty(KEPT)

    def answer(self, latency: float) -> None:
        self._latencies[self.answered % KEPT] = latency
        self.answered += 1

    def stats(self) -> Stats:
        kept = self._latencies[: min(self.answered, KEPT)]
        middle, high, longest = map(float, np.percentile(kept, (50, 99, 100))) if len(kept) else (None, None, None)
        counts = (self.pushed, self.answered, self.late, self.duplicates, self.unseen, self.restarts)
        return Stats(*counts, middle, high, longest)


class Stream:
    """One person's frames, as they come, to answers: at every frame, from the window that ends with it.

        stream = symgnn.Stream(symgnn.load("cmu"))
        answer = stream.push(frame, time=t)        # None until the window is full

    The window is sampled at the newest frame's time and back from it at the model's rate (``fps / step``): linear between the
    two frames around, missing where one of them lacks the joint, unless the other is of that very time. Exponential maps more
    than π apart are not mixed: the one nearer in time is taken. So frames at the rate of the model or of its recordings come
    through as they are, and a clip fed frame by frame gets the answers of [predict][symgnn.runtime.predict.predict].

    - A frame that sees nobody (all NaN) is a dropped one: over a few that are missing the motion is interpolated.
    - A *late* frame, older than the newest, is put in its place where the window still needs its time; it gets no answer.
    - A *duplicate*, of the newest frame's time, takes its place; it gets no answer either.
    - After a gap of more than ``max_gap`` seconds the stream begins anew; so it does where time jumps back by more than the
      window and ``max_gap``, as when a clock is set back.
    - Memory is bounded: frames that the window needs no more are dropped, and those that come more than twice as fast as the
      recordings of the model are thinned out.

    Models trained on repeated clips look at the last window too; while it is not full, ``warm_up="repeat"`` repeats the clip so
    far as predict does. Models trained on whole clips look at the last ``seconds`` in as many frames as they observe.

    A network that goes on from frame to frame (reading 42; preset ``cmu-live``) computes one frame a tick. Ticks come at the
    model's rate from the first frame on: an answer rests on the last tick at or before the newest frame, as its ``time`` says,
    and a frame that completes no tick has none. What was computed stays as it is, also where a late frame comes.

    One stream is for one thread. A service that answers many at once uses [add][symgnn.runtime.stream.Stream.add] and
    [settle][symgnn.runtime.stream.Stream.settle] with [answer][symgnn.runtime.answering.answer] between them.
    """

    def __init__(
        self,
        model: Described,
        *,
        horizon: int | None = None,
        fps: float | int | None = None,
        warm_up: Literal["wait", "repeat"] = "wait",
        smoothing: float | int = 0.2,
        reject: float | int | None = None,
        edges: int = 5,
        max_gap: float | int = 0.5,
        seconds: float | int | None = None,
    ):
        """
        Args:
            model: of [load][symgnn.models.checkpoint.load], or another that answers.
            horizon: frames to predict at the model's rate; by default the preset's.
            fps: frames a second, where they come without times; by default those of the recordings the model was trained on.
            warm_up: "wait": no answer until the window is full; "repeat": from the first frame on, the window filled on the
                left with the first pose (reading 4).
            smoothing: seconds over which probabilities are smoothed (time constant of an exponential average); 0: not at all.
            reject: no label below this smoothed probability.
            edges: how many actional relations an answer tells.
            max_gap: seconds without a frame after which the stream begins anew, and two frames of the model at least.
            seconds: of a model trained on whole clips: how far it looks back. About as long as its clips were.

        Raises:
            InputError: a number is out of its range, or ``seconds`` is missing, or given for another kind of model.
        """
        data = model.preset.data
        self.model = model
        self.horizon = data.future if horizon is None else horizon
        if self.horizon < 1:
            raise InputError(f"horizon: found {horizon}, expected a number of frames of at least 1")
        if fps is not None and not 0 < fps < math.inf:
            raise InputError(f"fps: found {fps:g}, expected a positive number of frames a second")
        if warm_up not in ("wait", "repeat"):
            raise InputError(f"warm_up: found {warm_up!r}, expected 'wait' or 'repeat'")
        if not 0 <= smoothing < math.inf:
            raise InputError(f"smoothing: found {smoothing:g}, expected a number of seconds from 0 on")
        if reject is not None and not 0 <= reject <= 1:
            raise InputError(f"reject: found {reject:g}, expected a probability from 0 to 1")
        if edges < 0:
            raise InputError(f"edges: found {edges}, expected a number from 0 on")
        if not 0 < max_gap < math.inf:
            raise InputError(f"max_gap: found {max_gap:g}, expected a positive number of seconds")
        self._spacing = _spacing(model, seconds)
        self._span = (data.observed - 1) * self._spacing
        self._max_gap = max(max_gap, 2 * data.step / model.fps)
        self._frame = 1 / (model.fps if fps is None else fps)
        if self._frame > self._max_gap:
            raise InputError(f"fps: found {fps:g}, frames further apart than max_gap ({max_gap:g} s): give a larger max_gap")
        self._warm_up, self._smoothing, self._reject = warm_up, smoothing, reject or 0.0
        nodes = model.layout.num_nodes
        self._edges = edges
        self._pairs = np.flatnonzero(~np.eye(nodes, dtype=bool))
        network = model.continual if isinstance(model, TrainedModel) and data.persons == 1 else None
        self._ticks = None if network is None else Ticks(network, self._spacing)
        self._recent = Recent(
            nodes,
            CHANNELS[data.space],
            # The last tick may be up to a frame before the newest frame.
            span=self._span + (0 if self._ticks is None else self._spacing),
            closest=0.9 * min(self._spacing / 2, 1 / model.fps),
            same=SAME * self._spacing,
            turning=data.space == "expmap",
        )
        self._counts = _Counts()
        self._beginning = 0
        self.reset()

    def reset(self) -> None:
        """Forget every frame, and whether they have times; ``stats`` goes on counting."""
        self._timed: bool | None = None
        self._counted = 0
        self._begin()

    def _begin(self) -> None:
        self._recent.clear()
        if self._ticks is not None:
            self._ticks.clear()
        self._beginning += 1
        self._smooth: np.ndarray | None = None
        self._smooth_time = -math.inf

    @property
    def need(self) -> int:
        """Frames of a full window."""
        return self.model.preset.data.observed

    @property
    def have(self) -> int:
        """Frames of the window that are known so far, ``need`` where it is full."""
        times = self._recent.times
        return min(int((times[-1] - times[0]) / self._spacing + SAME) + 1, self.need) if len(times) else 0

    @property
    def late(self) -> int:
        """Frames older than the newest one so far: what ``stats`` tells, without the rest."""
        return self._counts.late

    @property
    def ticking(self) -> bool:
        """Whether the network goes on from frame to frame, in place of a window at every frame."""
        return self._ticks is not None

    @property
    def stats(self) -> Stats:
        """What has come in and gone out so far."""
        return self._counts.stats()

    def push(self, frame: Any, time: Any = None) -> Answer | None:
        """Take a frame in and answer.

        Args:
            frame: (joints, channels) or flat, the joints in use or all stored ones, in the units of the model's data; NaN or
                None where missing. All missing is nobody seen.
            time: second of the frame on any clock. Without it frames count at ``fps``. Either all frames have one or none.

        Returns:
            The answer; None where the window is not full yet, or the frame is late, a duplicate, or sees nobody.

        Raises:
            InputError: a frame of another shape, infinite values, no finite time, or times that come and go; the stream is as
                it was before.
        """
        window = self.add(frame, time)
        if window is not None:
            return self.answer(window)
        if self._ticks is not None:
            self._ticks.compute()  # not all of the first window's at once, when it is full
        return None

    def answer(self, window: Window) -> Answer:
        """Answer the latest window of ``add``."""
        if self._ticks is not None and window.beginning == self._beginning:
            return self.settle(window, self._ticks.answer(self.horizon), 0)
        return self.settle(window, answer(self.model, window.frames[None], self.horizon), 0)

    def add(self, frame: Any, time: Any = None) -> Window | None:
        """Take a frame in, as [push][symgnn.runtime.stream.Stream.push] does, and hand out the window to be answered."""
        began = perf_counter()
        pose = frame_in_use(frame, self.model, "frame")
        timed = _same_clock(self._timed, time)
        moment = second_of(time, self._spacing) if timed else self._counted * self._frame
        self._timed = timed
        self._counted += 1
        return self._take(pose, moment, began)

    def _take(self, pose: np.ndarray | None, time: float, began: float) -> Window | None:
        counts, recent, data = self._counts, self._recent, self.model.preset.data
        counts.pushed += 1
        if pose is None:
            counts.unseen += 1
            return None
        if len(recent):
            after = time - recent.times[-1]
            if after > self._max_gap or after < -self._span - self._max_gap:
                counts.restarts += 1
                self._begin()
            elif abs(after) <= SAME * self._spacing:
                counts.duplicates += 1
            elif after < 0:
                counts.late += 1
        if not recent.put(time, pose):
            return None
        have, observed, last = self.have, self.need, time
        if self._ticks is not None:
            moments = self._ticks.due(time, SAME * self._spacing)
            if not len(moments):
                return None
            last = float(moments[-1])
            repeat = observed - 1 if self._warm_up == "repeat" and len(recent) == 1 else 0
            self._ticks.add(recent.at(moments), repeat)
        if have < observed and self._warm_up == "wait":
            return None
        spacing = self._spacing
        if data.sampling == "whole":
            # What there is so far in as many frames, as predict looks at a short clip.
            spacing = min(spacing, (time - recent.times[0]) / (observed - 1))
            have = observed
        frames, padded = filled(recent.at(last - spacing * np.arange(have - 1, -1, -1)), data)
        if not counts.sized:
            counts.sized = True
            look_at_size(frames, self.model, "stream")
        return Window(frames, last, padded, 1000 * spacing, began, self._beginning)

    def settle(self, window: Window, answers: Answers, row: int) -> Answer:
        """The answer to a window of this stream.

        Args:
            window: of ``add``.
            answers: of a batch of windows, see [answer][symgnn.runtime.answering.answer].
            row: which of them is this window's.
        """
        names = self.model.class_names
        label, alone, smooth = None, {}, {}
        if answers.probabilities is not None:
            found = answers.probabilities[row]
            smoothed = self._smoothed(found, window)
            best = int(smoothed.argmax())
            if smoothed[best] >= self._reject:  # NaN is not
                label = names[best]
            alone, smooth = (dict(zip(names, values.tolist(), strict=True)) for values in (found, smoothed))
        future = None if answers.futures is None else answers.futures[row].copy()
        steps = 0 if future is None else len(future)
        edges = () if answers.actional is None else self._strongest(answers.actional[row])
        latency = 1000 * (perf_counter() - window.began)
        self._counts.answer(latency)
        return Answer(
            time=window.time,
            label=label,
            probabilities=alone,
            smoothed=smooth,
            future=future,
            milliseconds=tuple(window.frame_ms * (step + 1) for step in range(steps)),
            edges=edges,
            latency_ms=latency,
            padded=window.padded,
        )

    def _smoothed(self, found: np.ndarray, window: Window) -> np.ndarray:
        """Exponential average: s += (1 - exp(-Δt / τ)) (p - s), Δt being the time since the answer before."""
        if window.beginning != self._beginning or not np.isfinite(found).all():
            return found  # of a motion that has been forgotten since, or of numbers beyond all reason
        if self._smooth is None or self._smoothing == 0:
            self._smooth = found
        else:
            passed = max(window.time - self._smooth_time, 0.0)
            self._smooth = self._smooth - math.expm1(-passed / self._smoothing) * (found - self._smooth)
        self._smooth_time = max(window.time, self._smooth_time)
        return self._smooth

    def _strongest(self, actional: Float32[np.ndarray, "joint joint"]) -> tuple[Edge, ...]:
        weights = actional.ravel()[self._pairs]
        names = self.model.layout.node_names
        strongest = self._pairs[np.argsort(-weights, kind="stable")[: self._edges]]
        return tuple(
            Edge(names[source], names[target], float(actional[target, source]))
            for target, source in (divmod(int(pair), len(names)) for pair in strongest)
        )


class _Track:
    def __init__(self, stream: Stream):
        self.stream = stream
        self.seen = -math.inf
        """Time of the newest frame that saw them."""
        self.counted = -1
        """Number of the newest frame, where frames have no times."""


class Streams:
    """A stream for each of several persons, who come and go; all are on one clock.

        streams = symgnn.Streams(model)
        answers = streams.push_all({"anna": frame, "ben": other}, time=t)      # one call of the model for all of them

    Whoever is not seen for ``forget`` seconds is forgotten; of more than ``max_tracks`` the one unseen for longest is. Where
    the model recognises persons together (``preset.data.persons``), those of one ``push_all`` are, so many at a time in the
    order given (reading 19); ``push`` answers for one alone.
    """

    def __init__(self, model: Described, *, max_tracks: int = 16, forget: float | int = 2.0, **options: Any):
        """
        Args:
            model: see [Stream][symgnn.runtime.stream.Stream].
            max_tracks: persons at a time at most.
            forget: seconds.
            options: of each [Stream][symgnn.runtime.stream.Stream].

        Raises:
            InputError: a number is out of its range.
        """
        if max_tracks < 1:
            raise InputError(f"max_tracks: found {max_tracks}, expected a number of at least 1")
        if not 0 < forget < math.inf:
            raise InputError(f"forget: found {forget:g}, expected a positive number of seconds")
        self.model, self._max_tracks, self._forget, self._options = model, max_tracks, forget, options
        # It answers nothing, but knows what the options mean, and refuses wrong ones before anybody comes.
        self._pattern = Stream(model, **options)
        self._counts = _Counts()
        self.reset()

    def reset(self) -> None:
        """Forget everybody, and whether frames have times; ``stats`` goes on counting."""
        self._tracks: dict[Hashable, _Track] = {}
        self._timed: bool | None = None
        self._now = -math.inf
        self._moment = -1

    @property
    def tracks(self) -> tuple[Hashable, ...]:
        """Who is being followed."""
        return tuple(self._tracks)

    @property
    def stats(self) -> Stats:
        """What has come in and gone out so far, of everybody."""
        return self._counts.stats()

    @property
    def late(self) -> int:
        """Frames that came late so far, of everybody."""
        return self._counts.late

    @property
    def frame_seconds(self) -> float:
        """Seconds from a frame to the next, where they have no times."""
        return self._pattern._frame

    def push(self, track: Hashable, frame: Any, time: Any = None) -> Answer | None:
        """Take a frame of one person in and answer, see [push][symgnn.runtime.stream.Stream.push].

        Without times, a person's frames count at ``fps``, and whoever is new begins at the newest frame of the others.
        """
        window = self.add(track, frame, time)
        return None if window is None else self.answer({track: window})[track]

    def push_all(self, frames: Mapping[Any, Any], time: Any = None) -> dict[Any, Answer]:
        """Take the frames of one moment in and answer all of them at once.

        Args:
            frames: of each person; of those who are not in it nothing was seen.
            time: of all of them; without it each call is a frame at ``fps``.

        Returns:
            Answers of those who have one.

        Raises:
            InputError: as for ``push``, the message names the person, or more persons than ``max_tracks``; all streams are as
                they were before.
        """
        if len(frames) > self._max_tracks:
            raise InputError(
                f"frames: found {len(frames)} persons, expected at most {self._max_tracks}: give a larger max_tracks"
            )
        began = perf_counter()
        poses = {track: frame_in_use(frame, self.model, f"frame of {shown(str(track))}") for track, frame in frames.items()}
        timed = _same_clock(self._timed, time)
        moment = second_of(time, self._pattern._spacing) if timed else (self._moment + 1) * self._pattern._frame
        self._timed = timed
        self._moment += 1
        # Those who are known first, so that nobody of this moment makes place for another of it.
        order = sorted(poses, key=lambda track: track not in self._tracks)
        windows = {track: self._take(track, poses[track], moment, began) for track in order}
        return self.answer({track: window for track in frames if (window := windows[track]) is not None})

    def add(self, track: Hashable, frame: Any, time: Any = None) -> Window | None:
        """Take a frame of one person in, and hand out the window to be answered, as a stream's ``add`` does."""
        began = perf_counter()
        pose = frame_in_use(frame, self.model, "frame")
        timed = _same_clock(self._timed, time)
        if timed:
            moment = second_of(time, self._pattern._spacing)
        else:
            counted = self._tracks[track].counted if track in self._tracks else -1
            self._moment = max(self._moment, counted + 1)
            moment = self._moment * self._pattern._frame
        self._timed = timed
        return self._take(track, pose, moment, began)

    def answer(self, windows: Mapping[Any, Window]) -> dict[Any, Answer]:
        """Answer windows of ``add`` by one call of the model; those of one time are of persons seen together."""
        if not windows:
            return {}
        if self._pattern.ticking:
            return {track: self._known(track).answer(window) for track, window in windows.items()}
        rows = sorted(windows, key=lambda track: windows[track].time)
        together = self._together([windows[track].time for track in rows])
        answers = answer(self.model, np.stack([windows[track].frames for track in rows]), self._pattern.horizon, together)
        found = {track: self._known(track).settle(windows[track], answers, row) for row, track in enumerate(rows)}
        return {track: found[track] for track in windows}

    def _known(self, track: Hashable) -> Stream:
        # Who has been forgotten in between is answered all the same, by what that window alone says.
        return self._tracks[track].stream if track in self._tracks else self._stream()

    def _together(self, times: list[float]) -> np.ndarray | None:
        """A number for so many at a time as are recognised together; None where everybody is alone."""
        persons = self.model.preset.data.persons
        if persons == 1:
            return None
        numbers, first = [0], 0
        for place in range(1, len(times)):
            joins = times[place] == times[first] and place - first < persons
            first = first if joins else place
            numbers.append(numbers[-1] + (not joins))
        return np.array(numbers)

    def _take(self, track: Hashable, pose: np.ndarray | None, time: float, began: float) -> Window | None:
        back = max(self._forget, self._pattern._span + self._pattern._max_gap)
        self._now = time if time > self._now or self._now - time > back else self._now
        for other in [other for other, known in self._tracks.items() if abs(self._now - known.seen) > self._forget]:
            del self._tracks[other]
        if pose is None and track not in self._tracks:
            self._counts.pushed += 1
            self._counts.unseen += 1
            return None
        if track not in self._tracks:
            while len(self._tracks) >= self._max_tracks:
                del self._tracks[min(self._tracks, key=lambda known: self._tracks[known].seen)]
            self._tracks[track] = _Track(self._stream())
        known = self._tracks[track]
        known.counted = self._moment
        if pose is not None:
            known.seen = time if abs(time - known.seen) > back else max(time, known.seen)
        return known.stream._take(pose, time, began)

    def _stream(self) -> Stream:
        stream = Stream(self.model, **self._options)
        stream._counts = self._counts
        return stream


def _spacing(model: Described, seconds: float | int | None) -> float:
    """Seconds from a frame of the window to the next."""
    data = model.preset.data
    if data.sampling != "whole":
        if seconds is not None:
            raise InputError(
                f"seconds: found {seconds:g}, but this model looks at {data.observed} frames at its own rate: leave it out"
            )
        return data.step / model.fps
    if seconds is None:
        raise InputError(
            "seconds: found none; this model was trained on whole clips of any length and does not say how much of a stream to "
            "look at: expected seconds, about as many as its clips were long"
        )
    if not 0 < seconds <= LONGEST:
        raise InputError(f"seconds: found {seconds:g}, expected more than 0 and at most {LONGEST:g}")
    return seconds / (data.observed - 1)


def _same_clock(before: bool | None, time: Any) -> bool:
    """Whether frames have times, as those before."""
    timed = time is not None
    if before is not None and timed != before:
        found, expected = ("a time", "none") if timed else ("no time", "one")
        raise InputError(f"time: found {found}, expected {expected} as for the frames before: give all frames a time or none")
    return timed


def second_of(time: Any, spacing: float) -> float:
    """A time that a user gave, in seconds.

    Args:
        time: any real number.
        spacing: seconds between frames of the model; times must tell a small part of that apart.

    Raises:
        InputError: it is no finite number, or so large that frames cannot be told apart.
    """
    if isinstance(time, bool | np.bool_) or not isinstance(time, Real):
        raise InputError(f"time: found {shown(repr(time))}, expected seconds, a number")
    try:
        second = float(time)
    except OverflowError:
        second = math.inf
    if not math.isfinite(second):
        raise InputError(f"time: found {second:g}, expected a finite number of seconds")
    if np.spacing(abs(second)) > SAME * spacing:
        raise InputError(
            f"time: found {second:g}, expected seconds: so large a number cannot tell frames apart; is it in milliseconds?"
        )
    return second
