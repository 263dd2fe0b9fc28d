"""What a careful colleague would notice in a store before training on it."""

import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float
from rich.console import Console
from rich.progress import track
from sklearn.neighbors import NearestNeighbors

from symgnn.data.importing import ImportOptions, import_recordings
from symgnn.data.readers.text import shortened
from symgnn.data.store import Store, natural

TELEPORT = 0.5
"""Part of the body's size that a joint may move from one frame to the next (at 25 frames a second)."""
DRIFT = 0.25
"""Relative spread of a bone's length within a clip above which it is reported."""
OFTEN_MISSING = 0.5
SAME = 1e-3
"""Two clips are one sequence where they differ by less, in deviations of the clip."""

Level = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One thing that was noticed."""

    level: Level
    what: str
    """A sentence."""
    clips: tuple[str, ...] = ()
    """Recordings (or files) it is about."""


@dataclass(frozen=True)
class Checked:
    """All that was noticed, errors first."""

    findings: tuple[Finding, ...]
    classes: dict[str, dict[str, int]] = field(default_factory=dict)
    """Clips by class and split."""

    @property
    def errors(self) -> int:
        """Number of findings that have to be mended before training."""
        return sum(finding.level == "error" for finding in self.findings)


def check_store(store: Store, *, progress: bool = False) -> Checked:
    """Look through every clip once.

    Errors are what makes a result wrong or a training impossible: the same sequence in training and test, nothing to train on,
    no motion at all. Warnings are what probably is a mistake in the data; notes are good to know.

    Args:
        store: the store.
        progress: show a progress bar.
    """
    work = _Look(store)
    numbers = range(len(store.clips))
    for index in track(numbers, "Looking", console=Console(stderr=True), transient=True, disable=not progress):
        work.clip(index)
    order = {"error": 0, "warning": 1, "note": 2}
    findings = sorted(work.findings(), key=lambda finding: order[finding.level])
    return Checked(tuple(findings), _counts(store))


def check_files(
    source: str | Path, kind: str | None = None, options: ImportOptions | None = None, *, progress: bool = False
) -> Checked:
    """Look through files that are no store yet, as ``import_recordings`` would read them.

    Files that cannot be used are errors, a finding for each reason; what the import assumed or left out are notes. The store
    in between is temporary (below ``$TMPDIR``) and takes as much room as an import would.

    Raises:
        InputError: as for ``import_recordings``: no file is there, or none can be used.
    """
    with tempfile.TemporaryDirectory(prefix="symgnn-check-") as folder:
        done = import_recordings(source, Path(folder) / "store", kind, options, progress=progress)
        found = check_store(done.store, progress=progress)
    files: dict[str, list[str]] = defaultdict(list)
    for file, reason in done.bad:
        files[reason].append(file)
    bad = [Finding("error", f"cannot be used: {reason}", tuple(those)) for reason, those in files.items()]
    notes = [Finding("note", note) for note in done.notes]
    return Checked((*bad, *found.findings, *notes), found.classes)


def _counts(store: Store) -> dict[str, dict[str, int]]:
    table: dict[str, dict[str, int]] = {name: {} for name in store.class_names}
    for clip in store.clips:
        row = table.setdefault("(no class)", {}) if clip.label < 0 else table[store.class_names[clip.label]]
        row[clip.split or "(no split)"] = row.get(clip.split or "(no split)", 0) + 1
    return table


class _Look:
    """What is gathered clip by clip, and said at the end."""

    def __init__(self, store: Store):
        self.store, self.layout = store, store.layout
        self.columns = list(self.layout.columns(store.space))
        self.flat = store.space == "xyc"
        self.angles = store.space == "expmap"
        nodes = self.layout.nodes
        self.marks = {mark: nodes.index(joint) for mark, joint in self.layout.landmarks.items() if joint in nodes}
        self.missing = np.zeros(len(nodes), np.int64)
        self.frames = 0
        self.empty: list[int] = []
        self.still: list[int] = []
        self.jumps: list[tuple[int, int, int]] = []
        self.drifts: list[tuple[int, int, float]] = []
        self.sizes: list[float] = []
        self.upright: list[bool] = []
        self.handed: list[bool] = []
        self.zeros: dict[int, list[int]] = defaultdict(list)
        self.uneven: list[int] = []
        self.prints: list[Float[np.ndarray, " number"]] = []
        self.backwards: list[Float[np.ndarray, " number"]] = []

    def clip(self, index: int) -> None:
        store = self.store
        record = store.clips[index]
        motion = np.array(store.clip_frames(index)[:, self.columns], np.float64)
        absent = np.isnan(motion).any(axis=2)
        self.missing += absent.sum(axis=0)
        self.frames += len(motion)
        forwards, backwards = _print_of(motion)
        self.prints.append(forwards)
        self.backwards.append(backwards)
        if absent.all():
            self.empty.append(index)
            return
        if len(motion) > 1 and np.nanmax(np.nanmax(motion, axis=0) - np.nanmin(motion, axis=0)) < 1e-6:
            self.still.append(index)
        if store.times is not None:
            steps = np.diff(store.times[record.start : record.start + record.length])
            if len(steps) and (steps.min() <= 0 or steps.max() > 3 * np.median(steps)):
                self.uneven.append(index)
        if not self.angles:
            self._bodies(index, motion[..., :2] if self.flat else motion)

    def _bodies(self, index: int, motion: Float[np.ndarray, "time joint axis"]) -> None:
        there = ~np.isnan(motion).any(axis=2)
        for joint in np.flatnonzero((there & (motion == 0).all(axis=2)).mean(axis=0) > 0.01).tolist():
            self.zeros[joint].append(index)
        seen = motion[there.sum(axis=1) >= max(2, self.layout.num_nodes // 2)]
        if not len(seen):
            return
        size = float(np.median(np.nanmax(np.nanmax(seen, axis=1) - np.nanmin(seen, axis=1), axis=1)))
        self.sizes.append(size)
        limit = TELEPORT * size * max(1.0, 25 / self.store.fps)
        steps = np.linalg.norm(np.diff(motion, axis=0), axis=2)
        if (steps > limit).any():
            frame, joint = np.argwhere(steps > limit)[0].tolist()
            self.jumps.append((index, frame, joint))
        if not self.flat:
            parents, children = map(list, zip(*self.layout.edges, strict=True))
            lengths = np.linalg.norm(motion[:, children] - motion[:, parents], axis=2)
            known = ~np.isnan(lengths)
            mean = np.where(known, lengths, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
            spread = np.sqrt(np.where(known, (lengths - mean) ** 2, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1))
            drift = spread / np.maximum(mean, max(0.1 * size, 1e-12))
            if drift.max() > DRIFT:
                self.drifts.append((index, int(drift.argmax()), float(drift.max())))
        self._posture(seen)

    def _posture(self, motion: Float[np.ndarray, "time joint axis"]) -> None:
        """Whether head and feet, left and right are where they belong, in most frames."""
        sign = -1 if self.layout.up.startswith("-") else 1
        up = "xyz".index(self.layout.up[-1])
        mark = self.marks
        head = next((mark[name] for name in ("head", "nose", "throat", "neck") if name in mark), None)
        feet = [mark[name] for name in ("left ankle", "right ankle", "left knee", "right knee") if name in mark]
        if head is not None and feet and up < motion.shape[2]:
            above = sign * (motion[:, head, up] - motion[:, feet[:2], up].mean(axis=1))
            above = above[~np.isnan(above)]
            if len(above):
                self.upright.append(bool(np.median(above) > 0))
        needed = ("left hip", "right hip", "left ankle", "left toe", "right ankle", "right toe")
        if not self.flat and all(name in mark for name in needed):
            places = {name: motion[:, mark[name]] for name in needed}
            toes = places["left toe"] - places["left ankle"] + places["right toe"] - places["right ankle"]
            vertical = np.zeros(3)
            vertical[up] = sign
            # Facing is up x (right to left) turned a quarter; toes point there.
            ahead = np.cross(places["left hip"] - places["right hip"], vertical)
            agree = (ahead * toes).sum(axis=1)
            agree = agree[~np.isnan(agree)]
            if len(agree):
                self.handed.append(bool(np.median(agree) > 0))

    def findings(self) -> Iterator[Finding]:
        store = self.store
        yield from self._sides()
        lengths = np.array([clip.length for clip in store.clips])
        low, middle, high = np.quantile(lengths, (0, 0.5, 1)).astype(int)
        yield Finding(
            "note",
            f"{len(store.clips)} clips of {low} to {high} frames, half of them over {middle} ({middle / store.fps:.1f} s), at "
            f"{store.fps:g} a second",
        )
        if self.empty:
            yield Finding("error", "clips in which no joint is ever seen", self._names(self.empty))
        if self.still:
            yield Finding("error", "clips in which nothing moves: the same pose in every frame", self._names(self.still))
        if self.uneven:
            yield Finding(
                "warning", "times that stand still or leave gaps: resample (import with --fps)", self._names(self.uneven)
            )
        names = self.layout.node_names
        for joint in np.argsort(-self.missing):
            part = self.missing[joint] / max(self.frames, 1)
            if part > 0.01:
                level: Level = "warning" if part > OFTEN_MISSING else "note"
                yield Finding(level, f"joint {names[joint]} is missing in {part:.1%} of the frames")
        by_clips: dict[tuple[int, ...], list[str]] = {}
        for joint, clips in self.zeros.items():
            by_clips.setdefault(tuple(clips), []).append(names[joint])
        for clips, joints in by_clips.items():
            which = "every joint" if len(joints) == len(names) else shortened(joints, 8)
            yield Finding(
                "warning",
                f"{which} at exactly 0 0 0 in {len(clips)} clips: if that means it was not seen, import with --zero-is-missing",
                self._names(clips),
            )
        if self.jumps:
            index, frame, joint = self.jumps[0]
            yield Finding(
                "warning",
                f"joints that jump by more than half a body between two frames, first {names[joint]} after frame {frame} of "
                f"{store.clips[index].recording}",
                self._names([jump[0] for jump in self.jumps]),
            )
        if self.drifts:
            index, bone, drift = max(self.drifts, key=lambda each: each[2])
            parent, child = self.layout.edges[bone]
            yield Finding(
                "warning",
                f"bones that change their length by a quarter or more within a clip, most {names[parent]} - {names[child]} of "
                f"{store.clips[index].recording} (by {drift:.0%})",
                self._names([each[0] for each in self.drifts]),
            )
        yield from self._units()
        if self.upright and np.mean(self.upright) < 0.5:
            yield Finding(
                "warning",
                f"bodies are upside down: the head is below the feet in {1 - np.mean(self.upright):.0%} of the clips (up is "
                f"{self.layout.up} in layout {self.layout.name})",
            )
        if self.handed and np.mean(self.handed) < 0.5:
            yield Finding(
                "warning",
                f"bodies look mirrored: the toes point backwards, left and right being as they are, in "
                f"{1 - np.mean(self.handed):.0%} of the clips: left and right may be exchanged, or an axis turned round",
            )
        yield from self._twins()

    def _sides(self) -> Iterator[Finding]:
        store = self.store
        splits = Counter(clip.split for clip in store.clips)
        if not store.select(split=("train", "")):
            yield Finding("error", "no clip to train on (symgnn data split)")
        if not splits["test"]:
            yield Finding("note", "no clip has the split test: a result needs some (symgnn data split)")
        for label, name in enumerate(store.class_names):
            train, test = (len(store.select(label=label, split=side)) for side in (("train", ""), "test"))
            if store.labels is None and test and not train:
                yield Finding("warning", f"class {name} is tested ({test}) but never trained: it is never answered rightly")
            elif store.labels is None and 0 < train < 5:
                yield Finding("warning", f"class {name} has {train} clips to train on")
        if splits["test"]:
            by_split: dict[str, set[str]] = defaultdict(set)
            for clip in store.clips:
                by_split[clip.split].add(clip.subject)
            both = sorted((by_split["train"] & by_split["test"]) - {""})
            if both:
                yield Finding("note", f"the same subjects train and test: {shortened(sorted(both, key=natural), 12)}")

    def _units(self) -> Iterator[Finding]:
        unit, length = self.store.unit, {"m": 1.0, "cm": 0.01, "mm": 0.001}
        if self.flat or not self.sizes or unit not in length:
            return
        size = float(np.median(self.sizes))
        # Bodies measure from half a metre (sitting, a child) to two and a half (arms up).
        fitting = [name for name, factor in length.items() if 0.5 <= size * factor <= 2.5]
        if unit not in fitting:
            guess = f"it looks like {fitting[0]}" if fitting else "no usual unit fits"
            yield Finding("warning", f"bodies measure {size:g} {unit} from end to end: {guess}")

    def _twins(self) -> Iterator[Finding]:
        """Clips that are one sequence: exactly, or after rounding, normalisation or reversal of the rows."""
        store = self.store
        split = [clip.split for clip in store.clips]
        leaks: dict[int, int] = {}
        copies: dict[int, int] = {}
        for first, second in _pairs(self.prints, self.backwards):
            if {split[first], split[second]} == {"train", "test"}:
                test, train = (first, second) if split[first] == "test" else (second, first)
                leaks.setdefault(test, train)
            elif "leak" not in (split[first], split[second]):
                copies.setdefault(second, first)
        for title, level, found in (
            ("the same sequence in training and test", "error", leaks),
            ("the same sequence twice", "warning", copies),
        ):
            if found:
                one, other = next(iter(found.items()))
                yield Finding(
                    level,  # pyright: ignore[reportArgumentType]
                    f"{title} ({len(found)} clips), first {store.clips[one].recording} and {store.clips[other].recording}",
                    self._names(found),
                )

    def _names(self, indices: Iterable[int]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.store.clips[index].recording for index in indices))


def _print_of(motion: Float[np.ndarray, "time joint channel"]) -> tuple[np.ndarray, np.ndarray]:
    """Numbers that tell a sequence from others whatever its place, scale and rounding: forwards, and with its rows reversed.

    The sequence, less its mean and over its deviation, projected by fixed random weights onto few numbers; a sequence without
    motion or joints gives NaN.
    """
    known = np.nan_to_num(motion - np.nanmean(motion, axis=(0, 1)) if not np.isnan(motion).all() else motion)
    deviation = known.std()
    if not deviation > 1e-9 or len(motion) < 3:
        nothing = np.full(_NUMBERS + 1, np.nan)
        return nothing, nothing
    random = np.random.Generator(np.random.PCG64(len(motion)))
    flat = (known / deviation).reshape(len(motion), -1)
    over_time = random.normal(size=(_NUMBERS, len(motion))) / np.sqrt(len(motion))
    over_joints = random.normal(size=(flat.shape[1], _NUMBERS)) / np.sqrt(flat.shape[1])
    mixed = flat @ over_joints
    # Clips of different lengths are no copies of each other: the length keeps them apart.
    return tuple(  # pyright: ignore[reportReturnType]
        np.append((over_time * rows.T).sum(axis=1), 10.0 * len(motion)) for rows in (mixed, mixed[::-1])
    )


_NUMBERS = 12


def _pairs(prints: Sequence[np.ndarray], backwards: Sequence[np.ndarray]) -> Iterator[tuple[int, int]]:
    """Pairs of clips (the first before the second) that are one sequence, in either direction."""
    known = [index for index, numbers in enumerate(prints) if not np.isnan(numbers).any()]
    if len(known) < 2:
        return
    table = np.stack([prints[index] for index in known])
    search = NearestNeighbors(radius=SAME * np.sqrt(_NUMBERS), algorithm="kd_tree").fit(table)
    found: set[tuple[int, int]] = set()
    for other in (table, np.stack([backwards[index] for index in known])):
        for one, near in enumerate(search.radius_neighbors(other, return_distance=False)):
            found |= {(known[min(one, two)], known[max(one, two)]) for two in near.tolist() if one != two}
    yield from sorted(found)
