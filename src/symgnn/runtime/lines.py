"""Frames as lines of JSON in, answers as lines of JSON out: what ``symgnn stream`` does.

    {"frame": [[x, y, z], null, ...], "time": 0.033, "track": "anna"}      a frame; time and track may be left out
    [[x, y, z], null, ...]                                                 its joints alone
    [x, y, z, x, y, z, ...]                                                or all their numbers

A reader takes lines as they come, so that whoever writes them never waits for the model: every frame goes into its stream, and
when the model is free it answers the newest window of each track. What it did not come to is counted.
"""

import json
import math
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from threading import Condition, Thread
from time import monotonic, perf_counter
from typing import Any

import numpy as np

from symgnn.data.readers.text import shown
from symgnn.errors import InputError
from symgnn.runtime.answers import shortest
from symgnn.runtime.clips import frame_in_use
from symgnn.runtime.stream import Answer, Stats, Streams, Window

LONGEST_LINE = 1 << 20
"""Bytes of a line at most: a frame of a hundred joints has a few thousand."""
WAITING = 8 << 20
"""Bytes of lines that wait to be looked at; beyond that the reader waits."""
LONGEST_NAME = 200
"""Letters of a track's name at most."""
MOST_SAID = 20
"""Wrong lines that are described; the others are counted."""


@dataclass
class Summary:
    """What came in and what went out."""

    lines: int = 0
    """Lines read that are not blank."""
    bad: int = 0
    """Lines that hold no frame."""
    dropped: int = 0
    """Windows that were not answered because a newer one of their track had come."""
    stats: Stats | None = None
    """Of the streams; None before the end."""

    def __str__(self) -> str:
        assert self.stats is not None
        found = self.stats
        latency = (
            ""
            if found.latency_p50_ms is None
            else f"; from frame to answer {found.latency_p50_ms:.1f} ms (median), {found.latency_p99_ms:.1f} ms (99 of 100)"
        )
        return (
            f"{found.pushed} frames, {found.answered} answers, {self.dropped} dropped, {found.late} late, "
            f"{self.bad} bad lines{latency}"
        )


@dataclass(frozen=True)
class _Line:
    number: int
    content: bytes | None
    """None where it was too long to keep."""
    second: float = field(default_factory=monotonic)
    """When it came, on a clock that is never set."""
    began: float = field(default_factory=perf_counter)


@dataclass(frozen=True)
class _Frame:
    joints: Any
    time: Any
    track: str | int | None


class LineAnswers:
    """Answers lines of frames from ``read`` by lines to ``write``, until there are no more.

    Args:
        streams: where frames go.
        read: gives up to so many bytes, as soon as there are any, and none at the end, as ``os.read``.
        write: takes a line, its end included.
        say: told what is wrong with a line, and what was assumed.
        arrival: the time of a frame is when its line came, in seconds since the beginning.
        every: answer every frame, and let whoever writes them wait.
        future: write predicted poses too.
        strict: stop at a wrong line.
    """

    def __init__(
        self,
        streams: Streams,
        read: Callable[[int], bytes],
        write: Callable[[str], object],
        say: Callable[[str], object],
        *,
        arrival: bool = False,
        every: bool = False,
        future: bool = True,
        strict: bool = False,
    ):
        self._streams, self._write, self._say = streams, write, say
        self._arrival, self._every, self._future, self._strict = arrival, every, future, strict
        self._inbox = _Inbox(read)
        self._start = monotonic()
        self._pending: dict[str | int | None, Window] = {}
        data = streams.model.preset.data
        self._space, self._alone = data.space, data.persons == 1
        self._counted = False
        self.summary = Summary()

    def run(self) -> Summary:
        """Answer all there is.

        Raises:
            InputError: ``strict``, and a line is wrong; the message names it.
        """
        self._inbox.start()
        try:
            while lines := self._inbox.take(1 if self._every else None):
                for line in lines:
                    self._look_at(line)
                # Who else is there at a moment shows only when a line of the next one comes.
                if not self._every or self._alone:
                    self._answer()
            self._answer()
        finally:
            self.summary.stats = self._streams.stats
        return self.summary

    def _look_at(self, line: _Line) -> None:
        self.summary.lines += 1
        try:
            frame = read_line(line.content)
            time = line.second - self._start if self._arrival else frame.time
            if self._every and self._is_next(frame.track, time):
                self._answer()
            window = self._streams.add(frame.track, self._seen(frame.joints), time)
        except InputError as error:
            if self._strict:
                raise InputError(f"line {line.number}: {error}") from None
            self.summary.bad += 1
            if self.summary.bad <= MOST_SAID:
                self._say(f"line {line.number}: {error}")
            if self.summary.bad == MOST_SAID:
                self._say("further wrong lines are only counted")
            return
        if time is None and not self._counted:
            self._counted = True
            self._say(f"lines have no time: they count as {1 / self._streams.frame_seconds:g} frames a second (--fps, --clock)")
        if window is not None:
            self.summary.dropped += frame.track in self._pending
            # Where every line is answered, those that wait do so because their writer is ahead.
            self._pending[frame.track] = window if self._every else replace(window, began=line.began)

    def _is_next(self, track: str | int | None, time: Any) -> bool:
        """Whether a frame is not of the moment that is pending: persons of one are answered together (reading 19)."""
        return track in self._pending or (time is not None and any(window.time != time for window in self._pending.values()))

    def _seen(self, joints: Any) -> Any:
        """Of detectors, a joint without confidence was not seen."""
        if self._space != "xyc":
            return joints
        pose = frame_in_use(joints, self._streams.model, "frame")
        return None if pose is None else np.where(pose[:, 2:] <= 0, np.float32(np.nan), pose)

    def _answer(self) -> None:
        pending, self._pending = self._pending, {}
        for track, answer in self._streams.answer(pending).items():
            self._write(answer_line(answer, track, self.summary.dropped, self._streams.late, future=self._future))


def read_line(content: bytes | None) -> _Frame:
    """A frame of a line.

    Raises:
        InputError: it is too long, no JSON, or no frame; the message does not name the line.
    """
    if content is None:
        raise InputError(f"longer than {LONGEST_LINE:,} bytes, expected the joints of one frame")
    try:
        found = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"no JSON: {error}") from None
    if isinstance(found, list):
        return _Frame(found, None, None)
    if not isinstance(found, dict) or not found.keys() & {"frame", "joints"}:
        what = f"an object with {shown(', '.join(found))}" if isinstance(found, dict) else type(found).__name__
        raise InputError(f'found {what}, expected {{"frame": [[x, y, z], null, ...], "time": seconds}} or a list of joints')
    joints = found.get("frame", found.get("joints"))
    if joints is not None and not isinstance(joints, list):
        raise InputError(f"frame: found {shown(json.dumps(joints))}, expected a list of joints, null where one is missing")
    track = found.get("track", found.get("person"))
    if track is not None and (isinstance(track, bool) or not isinstance(track, str | int) or len(str(track)) > LONGEST_NAME):
        raise InputError(f"track: found {shown(json.dumps(track))}, expected a name or a number")
    return _Frame(joints, found.get("time"), track)


def answer_line(answer: Answer, track: str | int | None, dropped: int, late: int, *, future: bool = True) -> str:
    """An answer as a line of JSON, its end included.

    Args:
        answer: of a stream.
        track: whose; None where frames name nobody.
        dropped, late: windows not answered and frames that came late so far.
        future: with its predicted poses.
    """
    # Of numbers beyond all reason, such as 1e30 m, the network makes no finite ones, and JSON has no others.
    known = answer.future is not None and np.isfinite(answer.future).all()
    poses = {
        "future": shortest(answer.future) if known and answer.future is not None else None,
        "milliseconds": [round(time, 3) for time in answer.milliseconds],
    }
    values = {
        "time": answer.time,
        "track": track,
        "label": answer.label,
        "probabilities": _probabilities(answer.probabilities),
        "smoothed": _probabilities(answer.smoothed),
        **(poses if future else {}),
        "edges": [[edge.source, edge.target, round(edge.weight, 6)] for edge in answer.edges if math.isfinite(edge.weight)],
        "padded": answer.padded,
        "latency_ms": round(answer.latency_ms, 3),
        "dropped": dropped,
        "late": late,
    }
    return json.dumps(values, ensure_ascii=False, allow_nan=False) + "\n"


def _probabilities(found: dict[str, float]) -> dict[str, float | None]:
    return {name: round(value, 6) if math.isfinite(value) else None for name, value in found.items()}


def bounded_lines(read: Callable[[int], bytes], longest: int = LONGEST_LINE) -> Iterator[bytes | None]:
    """Lines of a source without their ends; None for one longer than ``longest``, of which nothing is kept."""
    kept, length = bytearray(), 0
    while chunk := read(1 << 16):
        first, *others = chunk.split(b"\n")
        for place, piece in enumerate((first, *others)):
            if place:  # a line ended before this piece
                yield None if length > longest else bytes(kept)
                kept.clear()
                length = 0
            length += len(piece)
            if length > longest:
                kept.clear()
            else:
                kept += piece
    if length:
        yield None if length > longest else bytes(kept)


class _Inbox:
    """Lines that have come and were not looked at yet; a thread of its own reads them."""

    def __init__(self, read: Callable[[int], bytes]):
        self._read = read
        self._lines: deque[_Line] = deque()
        self._size = 0
        self._ended = False
        self._error: OSError | None = None
        self._changed = Condition()

    def start(self) -> None:
        # Nobody waits for it: at the end it may stand in a read that never returns.
        Thread(target=self._fill, name="lines", daemon=True).start()

    def take(self, most: int | None) -> list[_Line]:
        """Some of the lines, as soon as there are any; none at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._lines or self._ended)
            taken = [self._lines.popleft() for _ in range(min(most or len(self._lines), len(self._lines)))]
            self._size -= sum(map(_size, taken))
            self._changed.notify_all()
            if not taken and self._error is not None:
                raise InputError(f"the lines cannot be read: {self._error.strerror or self._error}") from None
        return taken

    def _fill(self) -> None:
        try:
            for number, content in enumerate(bounded_lines(self._read), start=1):
                if content is None or content.strip():
                    self._put(_Line(number, content))
        except OSError as error:
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _put(self, line: _Line) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._size <= WAITING)
            self._lines.append(line)
            self._size += _size(line)
            self._changed.notify_all()


def _size(line: _Line) -> int:
    # An empty one takes memory too.
    return sys.getsizeof(line.content) + 200
