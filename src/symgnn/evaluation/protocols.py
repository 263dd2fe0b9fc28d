"""Protocols: which clips are judged, cut where, and by what figure.

A protocol owns its randomness: the seeds and the order of the draws below are part of the benchmarks, so a result names a
protocol and not a seed.
"""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float32

from symgnn.config import Sampling
from symgnn.data import ClipRecord, Store, group_persons
from symgnn.data.readers.expmap_text import CMU_ACTIONS, H36M_ACTIONS
from symgnn.data.resampling import at_rows, clip_rows
from symgnn.errors import InputError
from symgnn.skeleton import Space

Metric = Literal["angle_mae", "mpjpe", "mpjpe_in_use", "pck"]

FRAME = 40.0
"""Milliseconds a frame counts as in every table (25 frames a second; CMU's recordings are really 120 Hz, so that there
the labels 80 ... 1000 ms stand for 33 ... 417 ms: the published labels are kept)."""

SHORT = (80, 160, 320, 400)
LONG = (80, 160, 320, 400, 560, 1000)
LATER = (80, 160, 320, 400, 560, 720, 880, 1000)
"""Frames that papers on Human 3.6M in space report."""

H36M_COPIES = ((16, 13), (20, 19), (23, 22), (24, 13), (28, 27), (31, 30))
"""Stored joints of Human 3.6M that stand where another one does, whatever the pose."""

SEED = 1234567890
"""Seed of the H3.6M and CMU benchmarks."""

HELD_OUT_WINDOWS = 64
"""Of each recording that was held out."""

UNLABELLED = "unlabelled"
"""Action of a clip without a class."""


@dataclass(frozen=True)
class Window:
    """A stretch of a clip that is judged."""

    clip: int
    """Row of the store's ``clips.csv``."""
    start: int
    """First observed frame, counted after thinning by the protocol's step."""
    label: int
    """Class in the store's numbering, -1 for none: the clip's, or the current frame's where frames have labels."""
    action: str
    """Row of the result it is averaged in."""
    others: tuple[int, ...] = ()
    """Rows of the persons seen together with this one, who are recognised with it (reading 19)."""

    @property
    def persons(self) -> "tuple[Window, ...]":
        """The window of each person, this one's first."""
        return (replace(self, others=()), *(replace(self, clip=clip, others=()) for clip in self.others))


@dataclass(frozen=True)
class Drawn:
    """What a protocol found in a store."""

    windows: tuple[Window, ...]
    missing: tuple[str, ...]
    """What the protocol asks for and the store does not have, a sentence each."""


@dataclass(frozen=True)
class Protocol:
    """How a model is judged."""

    name: str
    description: str
    """One line for ``--help`` and reports."""
    layout: str | None
    """Layout the data must have; None for any."""
    space: Space | None
    """Space the data must be in; None for any."""
    fps: float | None
    """Frames a second the data must have after thinning; None where the benchmark sets its labels itself."""
    step: int
    """Keep every n-th frame, from the first on."""
    observed: int
    """Frames the model is given, the current one last."""
    future: int
    """Frames it is to predict; which angles count as moving is judged over all of them."""
    milliseconds: tuple[int, ...]
    """Frames reported, by their distance from the current one."""
    metrics: tuple[Metric, ...]
    """``mpjpe`` is over the joints in use, or over all that are stored where ``copies`` says so; ``mpjpe_in_use`` is then the
    mean over those in use."""
    draw: "Benchmark | TestClips | WholeClips"
    """Which clips and where."""
    sampling: Sampling = "window"
    """Whether a window is cut from a clip, or is a whole clip of any length, see [DataConfig][symgnn.config.DataConfig]."""
    ratio: float | None = None
    """Part of a whole clip that is shown, its beginning; None for as much as ``observed`` frames hold."""
    persons: int = 1
    """Persons of a recording that are judged together, at most."""
    frame: float = FRAME
    """Milliseconds from one frame to the next in the tables."""
    copies: tuple[tuple[int, int], ...] | None = None
    """Where ``mpjpe`` is over all stored joints: (joint, the one in use that is predicted in its place). Joints not in use and
    not listed are predicted to stay."""

    @property
    def frames(self) -> dict[int, int]:
        """Index into the future of each reported frame, by milliseconds: {80: 1, ...}."""
        return {time: round(time / self.frame) - 1 for time in self.milliseconds}

    def windows(self, store: Store) -> Drawn:
        """The windows to judge and what is missing for the rest.

        Raises:
            InputError: the store is of another kind than the protocol's, or has nothing of what it asks for.
        """
        if self.layout is not None and store.layout.name != self.layout:
            raise InputError(
                f"{store.path}: has layout {store.layout.name}; protocol {self.name} is for layout {self.layout}: "
                f"choose another protocol ({', '.join(protocol_names())})"
            )
        if self.space is not None and store.space != self.space:
            raise InputError(f"{store.path}: is in space {store.space}; protocol {self.name} is for space {self.space}")
        if self.fps is not None and not np.isclose(store.fps / self.step, self.fps):
            raise InputError(
                f"{store.path}: has {store.fps:g} frames a second, one in {self.step} kept; protocol {self.name} reports at "
                f"{self.fps:g} a second"
            )
        drawn = self.draw(self, store)
        if not drawn.windows:
            raise InputError(f"{store.path}: has no clip for protocol {self.name}: {'; '.join(drawn.missing)}")
        return drawn

    def cut(self, store: Store, windows: Sequence[Window]) -> Float32[np.ndarray, "clip time stored 3"]:
        """Whole stored rows of some windows: ``observed`` frames, then ``future`` ones."""
        if self.sampling != "window":
            return np.stack([self.shown(store.clip_frames(window.clip), self.sampling) for window in windows])
        frames = slice(None, self.observed + self.future)
        return np.stack([store.clip_frames(window.clip)[:: self.step][window.start :][frames] for window in windows])

    def shown(
        self, frames: Float32[np.ndarray, "time joint channel"], sampling: Literal["whole", "repeat"]
    ) -> Float32[np.ndarray, "window joint channel"]:
        """A whole clip in ``observed`` and ``future`` frames."""
        lengths = torch.tensor([len(frames)])
        rows = clip_rows(lengths, sampling, self.observed, self.future, step=self.step, ratio=self.ratio)
        return at_rows(frames, rows[0].numpy())

    def length(self, clip: ClipRecord) -> int:
        """Frames of a clip after thinning."""
        return -(-clip.length // self.step)


@dataclass(frozen=True)
class Benchmark:
    """The draws of H3.6M and CMU.

    For each action anew, from ``RandomState(1234567890)``, ``rounds`` times, for each of the action's files in turn:

        start = randint(first, frames - reach)

    Files with too few frames and files that are not there leave their action out: a later draw depends on the earlier ones,
    so what remained would be other clips than the benchmark's.
    """

    actions: tuple[str, ...]
    file: str
    """Name of a test file, with places for the action and its number."""
    files: int
    """Test files an action, numbered from 1; draws take turns."""
    rounds: int
    first: int
    reach: int

    def __call__(self, protocol: Protocol, store: Store) -> Drawn:
        windows: list[Window] = []
        missing: list[str] = []
        for action in self.actions:
            found = self._test_clips(store, action)
            lacks = self._lacks(action, found, protocol, store)
            if lacks:
                missing.append(f"{action}: {'; '.join(lacks)}")
                continue
            random = np.random.RandomState(SEED)
            for _ in range(self.rounds):
                for number in self._numbers:
                    clip = store.clips[found[number]]
                    start = int(random.randint(self.first, protocol.length(clip) - self.reach))
                    windows.append(Window(found[number], start, clip.label, action))
        return Drawn(tuple(windows), tuple(missing))

    @property
    def _numbers(self) -> range:
        return range(1, self.files + 1)

    @staticmethod
    def _test_clips(store: Store, action: str) -> dict[int, int]:
        """The action's test clips by the number at the end of their file's name."""
        if action not in store.class_names:
            return {}
        found = {}
        for index in store.select(split="test", label=store.class_names.index(action)):
            number = re.search(r"\d+$", PurePosixPath(store.clips[index].recording).stem)
            if number is not None:
                found[int(number[0])] = index
        return found

    def _lacks(self, action: str, found: dict[int, int], protocol: Protocol, store: Store) -> list[str]:
        """Why an action cannot be judged: files that are not there or are too short; empty where it can."""
        lacks = []
        least = self.first + self.reach + 1
        for number in self._numbers:
            if number not in found:
                lacks.append(f"no {self.file.format(action=action, number=number)}")
                continue
            clip = store.clips[found[number]]
            length = protocol.length(clip)
            if length < least:
                kept = f"{length} frames, one in {protocol.step} kept"
                lacks.append(f"{clip.source or clip.recording} has {kept}; protocol {protocol.name} needs {least}")
        return lacks


@dataclass(frozen=True)
class TestClips:
    """Every clip of the test split, each with ``per_clip`` windows at starts drawn uniformly."""

    __test__ = False  # not for pytest to collect

    per_clip: int
    seed: int

    def __call__(self, protocol: Protocol, store: Store) -> Drawn:
        windows: list[Window] = []
        short: list[str] = []
        random = np.random.RandomState(self.seed)
        span = protocol.observed + protocol.future
        clips = group_persons(store, store.select(split="test"), protocol.persons)
        for index, *others in clips:
            clip = store.clips[index]
            length = protocol.length(clip)
            if length < span:
                short.append(f"{clip.recording} ({length})")
                continue
            for start in random.randint(0, length - span + 1, size=self.per_clip):
                label = clip.label
                if store.labels is not None:
                    label = int(store.labels[clip.start + (start + protocol.observed - 1) * protocol.step])
                action = UNLABELLED if label < 0 else store.class_names[label]
                windows.append(Window(index, int(start), label, action, tuple(others)))
        missing = [] if clips else ["no clip has the split test"]
        if short:
            missing.append(f"{len(short)} of {len(clips)} clips have fewer than {span} frames: {', '.join(short)}")
        return Drawn(tuple(windows), tuple(missing))


@dataclass(frozen=True)
class WholeClips:
    """Every clip of the test split with a class, once."""

    def __call__(self, protocol: Protocol, store: Store) -> Drawn:
        known = [index for index in store.select(split="test") if store.clips[index].label >= 0]
        windows = tuple(
            Window(index, 0, (label := store.clips[index].label), store.class_names[label], tuple(others))
            for index, *others in group_persons(store, known, protocol.persons)
        )
        return Drawn(windows, () if windows else ("no clip with a class has the split test",))


def _cmu(name: str, future: int, times: tuple[int, ...], reach: int) -> Protocol:
    return Protocol(
        name=name,
        description=f"CMU Mocap, angles, {future} frames ahead, 8 clips an action (Table 7)",
        layout="cmu",
        space="expmap",
        fps=None,
        step=2,
        observed=50,
        future=future,
        milliseconds=times,
        metrics=("angle_mae",),
        draw=Benchmark(CMU_ACTIONS, "test/{action}/{action}_{number}.txt", files=1, rounds=8, first=0, reach=reach),
    )


def _h36m(name: str, rounds: int, whose: str) -> Protocol:
    return Protocol(
        name=name,
        description=f"Human 3.6M, angles, 25 frames ahead, {2 * rounds} clips an action ({whose})",
        layout="h36m",
        space="expmap",
        fps=None,
        step=2,
        observed=50,
        future=25,
        milliseconds=LONG,
        metrics=("angle_mae",),
        draw=Benchmark(H36M_ACTIONS, "S5/{action}_{number}.txt", files=2, rounds=rounds, first=16, reach=150),
    )


def _h36m_3d(name: str, angles: Protocol) -> Protocol:
    return replace(
        angles,
        name=name,
        description=f"Human 3.6M, positions in mm, 25 frames ahead, the clips of {angles.name}; MPJPE over all 32 joints",
        layout="h36m-3d",
        space="xyz",
        milliseconds=LATER,
        metrics=("mpjpe", "mpjpe_in_use", "pck"),
        copies=H36M_COPIES,
    )


_H36M_8 = _h36m("h36m-8", 4, "the paper's; Tables 5, 6 and 8")
_H36M_256 = _h36m("h36m-256", 128, "later work's")

_DEMO = Protocol(
    name="demo",
    description="Positions at 25 frames a second, such as the built-in motion: 3 windows of each test clip",
    layout=None,
    space="xyz",
    fps=25.0,
    step=1,
    observed=50,
    future=25,
    milliseconds=LONG,
    metrics=("mpjpe", "pck"),
    draw=TestClips(per_clip=3, seed=0),
)

_IMAGE = replace(
    _DEMO,
    name="image",
    description="Positions in an image at 25 frames a second, of any data: 3 windows of each test clip",
    space="xyc",
)

_RECOGNITION = replace(
    _DEMO,
    name="recognition",
    description="Recognition alone, of any data: one window of each test clip",
    space=None,
    fps=None,
    future=0,
    milliseconds=(),
    metrics=(),
    draw=TestClips(per_clip=1, seed=0),
)

_CLIPS = replace(
    _RECOGNITION,
    name="clips",
    description="Recognition of whole clips, however long, of any data: each test clip with a class once",
    draw=WholeClips(),
    sampling="whole",
)

_EARLY = replace(
    _CLIPS,
    name="early",
    description="Early recognition of any data: the beginning of each test clip with a class (Fig. 9)",
    ratio=0.1,
)

_NTU = Protocol(
    name="ntu",
    description="NTU RGB+D: each test recording, repeated to the model's window, two persons together (Tables 1 and 4)",
    layout="ntu25",
    space="xyz",
    fps=30.0,
    step=1,
    observed=290,
    future=10,
    milliseconds=tuple(round(frame * 1000 / 30) for frame in range(1, 11)),
    metrics=("pck", "mpjpe"),
    draw=WholeClips(),
    sampling="repeat",
    persons=2,
    frame=1000 / 30,
)

_KINETICS = replace(
    _NTU,
    name="kinetics",
    description="Kinetics-Skeleton: recognition of each validation clip, its most certain body (Table 2)",
    layout="openpose18",
    space="xyc",
    future=0,
    milliseconds=(),
    metrics=(),
    persons=1,
)

_PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        _cmu("cmu-short", 10, SHORT, reach=60),
        _cmu("cmu-long", 25, LONG, reach=75),
        _H36M_8,
        _H36M_256,
        _h36m_3d("h36m-3d-8", _H36M_8),
        _h36m_3d("h36m-3d-256", _H36M_256),
        _DEMO,
        _IMAGE,
        _RECOGNITION,
        _CLIPS,
        _EARLY,
        _NTU,
        _KINETICS,
    )
}


def protocol_names() -> list[str]:
    """Names of the protocols."""
    return list(_PROTOCOLS)


def load_protocol(
    name: str,
    *,
    observed: int | None = None,
    future: int | None = None,
    step: int | None = None,
    sampling: Sampling | None = None,
    ratio: float | None = None,
    persons: int | None = None,
) -> Protocol:
    """A protocol by name, fitted to a preset's window.

    ``demo``, ``image`` and the protocols of recognition take the numbers given. A benchmark's clips and targets are fixed:
    ``future`` only shortens the horizon (h36m-8 with 10 frames is the paper's short-term table; the clips stay those of the
    long one), it must have the step, and a model that observes fewer frames sees the last of them.

    Args:
        name: one of ``protocol_names()``.
        observed: frames the model sees.
        future: frames it is to predict.
        step: keep every n-th frame.
        sampling: how the preset cuts whole clips; ``clips`` and ``early`` take it.
        ratio: part of each clip that is shown; for ``early``.
        persons: of a recording that are judged together, at most.

    Raises:
        InputError: no such protocol (the nearest name is given), or a benchmark that does not have such a window.
    """
    if name not in _PROTOCOLS:
        near = difflib.get_close_matches(name, protocol_names(), n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InputError(f"no protocol {name!r}{hint} (there are: {', '.join(protocol_names())})")
    protocol = _PROTOCOLS[name]
    observed = protocol.observed if observed is None else observed
    step = protocol.step if step is None else step
    future = protocol.future if future is None else future
    if isinstance(protocol.draw, Benchmark):
        if step != protocol.step or observed > protocol.observed:
            raise InputError(
                f"protocol {name} keeps every {_ordinal(protocol.step)} frame and shows {protocol.observed} of them; "
                f"expected a model of that step and of at most so many frames, found step {step} and {observed} frames"
            )
        observed, future = protocol.observed, min(future, protocol.future)
    elif not protocol.metrics:
        future = 0
    times = tuple(time for time, frame in protocol.frames.items() if frame < future)
    if name in ("clips", "early"):
        protocol = replace(protocol, sampling="repeat" if sampling == "repeat" else "whole")
    if name == "early":
        if ratio is not None and not 0 < ratio <= 1:
            raise InputError(f"--ratio: found {ratio:g}, expected a part of each clip, above 0 and up to 1")
        protocol = replace(protocol, ratio=protocol.ratio if ratio is None else ratio)
    elif ratio is not None:
        raise InputError(f"protocol {name} shows all of its clips; early shows a part of them")
    persons = protocol.persons if persons is None else persons
    return replace(protocol, observed=observed, future=future, step=step, milliseconds=times, persons=persons)


def on_held_out(protocol: Protocol, store: Store, held: Sequence[int]) -> tuple[Protocol, Store]:
    """A protocol for the training recordings that were held out, where settings may be chosen; and the store to judge.

    The test clips are out of reach in it. Where the protocol cuts windows, each recording gives ``HELD_OUT_WINDOWS``, at starts
    drawn uniformly; whole clips are judged once each.

    Args:
        protocol: what is asked for.
        store: the data.
        held: rows of ``clips.csv`` that were held out.

    Raises:
        InputError: nothing was held out.
    """
    if not held:
        raise InputError("nothing was held out for validation: train with training.validation above 0")
    out = frozenset(held)
    splits = ["test" if index in out else "" if clip.split == "test" else clip.split for index, clip in enumerate(store.clips)]
    clips = tuple(replace(clip, split=split) for clip, split in zip(store.clips, splits, strict=True))
    draw = protocol.draw if isinstance(protocol.draw, WholeClips) else TestClips(per_clip=HELD_OUT_WINDOWS, seed=0)
    return replace(protocol, name=f"{protocol.name}, held out", draw=draw), replace(store, clips=clips)


def _ordinal(number: int) -> str:
    return {1: "single", 2: "second", 3: "third"}.get(number, f"{number}th")
