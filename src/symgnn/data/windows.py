"""Windows of motion for training, cut on the device the frames are on."""

import dataclasses
import functools
import logging
import math
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from symgnn.config import Sampling
from symgnn.data.readers.text import shortened
from symgnn.data.resampling import clip_rows
from symgnn.data.store import Store
from symgnn.errors import InputError
from symgnn.skeleton import Layout, Space
from symgnn.types import Batch

_logger = logging.getLogger("symgnn.data")

LOADED = 1 << 28
"""Bytes of frames up to which they are loaded for a CPU too: drawn from a mapped file, joints that are not in use are read
and dropped, which makes a window of CMU's body four times as slow."""


@dataclass(frozen=True, eq=False)
class Mirror:
    """Exchange of left and right: node i takes the pose of ``nodes[i]``, each channel times its sign."""

    nodes: Int[Tensor, " joint"]
    signs: Float[Tensor, " channel"]

    @classmethod
    def of(cls, layout: Layout, space: Space, device: torch.device | str = "cpu") -> "Mirror":
        """The reflection of a layout's bodies in the plane across ``layout.mirror_axis``.

        A position (also in an image) changes the sign of that coordinate. The rotation R about an axis becomes S R S with the
        reflection S, so its rotation vector keeps that coordinate and changes the sign of the other two.
        """
        axis = layout.mirror_axis
        signs = [-1.0 if (channel == axis) != (space == "expmap") else 1.0 for channel in range(3)]
        return cls(torch.tensor(layout.node_mirror, device=device), torch.tensor(signs, device=device))

    def __call__(self, motion: Float[Tensor, "*lead joint channel"]) -> Float[Tensor, "*lead joint channel"]:
        return motion.index_select(-2, self.nodes) * self.signs


@dataclass(frozen=True, kw_only=True)
class Changes:
    """How training windows are changed at random; the fields of that name in [TrainingConfig][symgnn.config.TrainingConfig]."""

    time_reversal: float = 0.0
    """Probability that a window is played backwards, its last future frame first."""
    mirror: float = 0.0
    """Probability that a window is mirrored."""
    tempo: float = 0.0
    """Windows are played up to 1 + tempo times as fast or as slow, as far as the recording goes; evenly by ratio. Poses between
    two frames are interpolated."""
    crop: float = 0.0
    """A whole clip loses up to this part of its frames, at its ends."""
    rotation: float = 0.0
    """Windows are turned by up to so many degrees, evenly: about the layout's vertical, or within the image."""
    scale: float = 0.0
    """Windows are made larger or smaller by up to this part, evenly."""
    joint_dropping: float = 0.0
    """Probability that a joint is missing from all observed frames of a window."""
    jitter: float = 0.0
    """Observed frames get noise of N(0, σ²), drawn for each frame, joint and coordinate; σ for each window, evenly from 0 to
    this."""

    @classmethod
    def of(cls, settings: object) -> "Changes":
        """Those that a record (the preset's training) names."""
        return cls(**{field.name: getattr(settings, field.name) for field in dataclasses.fields(cls)})


class WindowSampler:
    """Random windows: a recording uniformly, then a start uniformly (reading 5).

    All frames lie in one tensor and a batch is one gather on its device; only the random numbers are drawn where the generator
    lives. NaN stays NaN. In an image the confidence of future frames is NaN, for it is not predicted.

    What a window is depends on ``sampling``:

    - "window": the frames start, start + step, ..., so every phase of the step is drawn.
    - "whole": all of a recording in as many frames as a window has, evenly.
    - "repeat": every ``step``-th frame from the first one on, the recording again where it ends (reading 4); a start is drawn
      where it is longer than a window.

    See [clip_rows][symgnn.data.resampling.clip_rows] for the last two and for ``ratio``.

    Args:
        frames: the joints in use of all recordings, one after the other, in the units of the data.
        starts: first frame of each recording (of each person in it).
        lengths: frames of each recording.
        labels: class of each recording, -1 for none.
        observed: frames the model sees.
        future: frames after them.
        step: keep every n-th frame.
        skip: leading frames of each recording that are left out (1 on CMU: the release's T-pose).
        sampling: how a window is cut.
        ratio: part of a recording that is observed, for "whole" and "repeat"; None for as much as the window has.
        groups: recordings that are persons seen together, the main one first, of equal length: they are drawn as one and share
            start and changes (reading 19). By default each is alone.
        changes: made at random to what ``sample`` draws.
        reflection: how to mirror; needed where ``changes.mirror`` is positive.
        up: axis that rotations are about; the third channel is a confidence where it is None.
        clips: what ``Batch.clip`` calls each recording; by default its position here.
        names: what messages call each recording.
        frame_labels: class of each frame; a window then has that of its current (last observed) frame.
        wraps: whether poses are rotations, which may jump by whole turns (``tempo`` does not interpolate across).
        nodes: the joints in use where ``frames`` has others beside them; windows have these alone.

    Raises:
        InputError: no recording is as long as a window. Shorter ones among others are left out, with a warning, and
            listed in ``left_out``.
    """

    def __init__(
        self,
        frames: Float[Tensor, "total joint channel"],
        starts: Int[Tensor, " recording"],
        lengths: Int[Tensor, " recording"],
        labels: Int[Tensor, " recording"],
        *,
        observed: int,
        future: int,
        step: int = 1,
        skip: int = 0,
        sampling: Sampling = "window",
        ratio: float | None = None,
        groups: Sequence[Sequence[int]] | None = None,
        changes: Changes | None = None,
        reflection: Mirror | None = None,
        up: int | None = 1,
        clips: Int[Tensor, " recording"] | None = None,
        names: Sequence[str] | None = None,
        frame_labels: Int[Tensor, " total"] | None = None,
        wraps: bool = False,
        nodes: Int[Tensor, " node"] | None = None,
    ):
        changes = Changes() if changes is None else changes
        if min(observed, step) < 1 or min(future, skip, changes.tempo) < 0:
            raise ValueError("expected observed >= 1, step >= 1, future >= 0, skip >= 0, tempo >= 0")
        if changes.mirror > 0 and reflection is None:
            raise ValueError("mirror > 0 needs a reflection")
        device = frames.device
        self.observed, self.future, self.step = observed, future, step
        self.sampling: Sampling = sampling
        self.ratio = ratio
        self.changes, self._reflection, self._up = changes, reflection, up
        span = (observed + future - 1) * step + 1
        counts = lengths.cpu() - skip - (span if sampling == "window" else 1) + 1
        fits = counts > 0
        names = [f"recording {index}" for index in range(len(starts))] if names is None else names
        self.left_out = tuple(name for name, long_enough in zip(names, fits.tolist(), strict=True) if not long_enough)
        needed = f"{observed} + {future} frames, one in {step}, after {skip} skipped: {span + skip} rows"
        if not fits.any():
            longest = max(lengths.tolist(), default=0)
            raise InputError(
                f"every recording is shorter than a window ({needed}; the longest has {longest}): "
                "give longer recordings or observe and predict fewer frames"
            )
        if self.left_out:
            _logger.warning("left out, shorter than a window (%s): %s", needed, shortened(self.left_out))
        if sampling != "window":
            # Places to start at: of a clip that is shown from its beginning to its end there is one.
            counts = torch.ones_like(counts) if sampling == "whole" or ratio is not None else (counts - span + 1).clamp(min=1)
        together = [(index,) for index in range(len(starts))] if groups is None else groups
        together = [group for group in together if bool(fits[group[0]])]
        most = max(map(len, together))
        # A row a group, filled up with -1.
        members = torch.tensor([[*group, *[-1] * (most - len(group))] for group in together])
        self._groups = members.to(device)
        self._frames, self._wraps = frames, wraps
        # Choosing from a batch copies it: not where all are in use.
        self._nodes = None if nodes is None or nodes.tolist() == list(range(frames.shape[1])) else nodes
        self._starts = starts.to(device).long() + skip
        self._lengths = lengths.to(device).long() - skip
        self._counts = counts.to(device)
        self._labels = labels.to(device).long()
        self._clips = (torch.arange(len(starts)) if clips is None else clips).to(device).long()
        self._frame_labels = None if frame_labels is None else frame_labels.to(device).long()
        self._offsets = torch.arange(observed + future, device=device) * step

    @classmethod
    def from_store(
        cls,
        store: Store,
        indices: Sequence[int],
        *,
        observed: int,
        future: int,
        step: int = 1,
        skip: int = 0,
        sampling: Sampling = "window",
        ratio: float | None = None,
        persons: int = 1,
        changes: Changes | None = None,
        device: torch.device | str = "cpu",
    ) -> "WindowSampler":
        """Windows of some clips of a store; the arguments are those of the class.

        On a CPU the frames of a large store stay in the mapped file; else they are loaded, joints in use only.

        Args:
            persons: of a recording that are one sample, see [group_persons][symgnn.data.windows.group_persons].
        """
        if not len(indices):
            raise InputError(f"{store.path}: no clip to cut windows from")
        if store.space == "expmap" and changes is not None and (changes.rotation or changes.scale):
            raise InputError(f"{store.path}: holds rotations (space expmap): training.rotation and training.scale must be 0")
        clips = [store.clips[index] for index in indices]
        lengths = torch.tensor([clip.length for clip in clips])
        position = {index: place for place, index in enumerate(indices)}
        groups = [[position[index] for index in group] for group in group_persons(store, indices, persons)]
        columns = store.layout.columns(store.space)
        size = int(lengths.sum()) * len(columns) * store.frames.shape[2] * store.frames.itemsize
        mapped = torch.device(device).type == "cpu" and size > LOADED
        starts = torch.tensor([clip.start for clip in clips]) if mapped else lengths.cumsum(0) - lengths
        return cls(
            _mapped(store.frames) if mapped else torch.from_numpy(node_frames(store, indices)).to(device),
            starts,
            lengths,
            torch.tensor([clip.label for clip in clips]),
            observed=observed,
            future=future,
            step=step,
            skip=skip,
            sampling=sampling,
            ratio=ratio,
            groups=groups,
            changes=changes,
            reflection=Mirror.of(store.layout, store.space, device),
            up=None if store.space == "xyc" else "xyz".index(store.layout.up[-1]),
            clips=torch.tensor(list(indices)),
            names=[clip.recording for clip in clips],
            frame_labels=None
            if store.labels is None
            else torch.tensor(store.labels)
            if mapped
            else torch.cat([torch.tensor(store.labels[clip.start : clip.start + clip.length]) for clip in clips]),
            wraps=store.space == "expmap",
            nodes=torch.tensor(columns) if mapped else None,
        )

    def __len__(self) -> int:
        """Number of different windows, leaving changes aside."""
        return int(self._counts[self._groups[:, 0]].sum())

    @property
    def recordings(self) -> int:
        """Number of recordings that are long enough; persons seen together count once."""
        return len(self._groups)

    def sample(self, batch: int, generator: torch.Generator | None = None) -> Batch:
        """Draw windows at random.

        Args:
            batch: number of recordings: with several persons there are more rows.
            generator: source of all randomness, on whichever device; the same numbers are drawn whatever the probabilities.
        """
        device = torch.device("cpu") if generator is None else generator.device
        # A row only where it is used, so that trainings without it see the windows they always saw.
        changes = self.changes
        rows = 4 + (changes.tempo > 0 or changes.crop > 0)
        draws = torch.rand(rows, batch, generator=generator, device=device, dtype=torch.float64).to(self._frames.device)
        group = (draws[0] * len(self._groups)).long()
        clip = self._groups[group, 0]
        counts, last = self._counts[clip], (self._lengths[clip] - 1).double()
        if self.sampling == "whole":
            kept = 1 - changes.crop * draws[4] if changes.crop > 0 else torch.ones_like(last)
            start = draws[1] * (1 - kept) * last
            places = (start[:, None] + kept[:, None] * self._whole(clip)).minimum(last[:, None])
        elif self.sampling == "repeat":
            places = (draws[1] * counts).long()[:, None] + self._whole(clip)
        elif changes.tempo == 0:
            places = (draws[1] * counts).long()[:, None] + self._offsets
        else:
            reach = self._offsets[-1].double()
            speed = torch.minimum((1 + changes.tempo) ** (2 * draws[4] - 1), last / reach)
            start = draws[1] * (last - reach * speed)
            # Rounding must not reach for the frame after a recording's last.
            places = (start[:, None] + self._offsets * speed[:, None]).minimum(last[:, None])
        if changes.time_reversal > 0:
            # Of a clip's beginning: the clip is played backwards, then its beginning is shown.
            reverse = places.flip(1) if self.ratio is None else last[:, None] - places
            places = torch.where((draws[2] < changes.time_reversal)[:, None], reverse, places)
        return self._moved(self._cut(group, places, draws[3] < changes.mirror), batch, generator, device)

    def spread(self, windows: int) -> Batch:
        """The same windows at every call: up to ``windows`` of each recording, evenly spaced, as they are."""
        return self._plain(*self._spread(windows))

    def spread_batches(self, windows: int, size: int) -> list[Callable[[], Batch]]:
        """What ``spread`` gives, in batches of ``size`` recordings that are cut when they are called for."""
        group, start = self._spread(windows)
        return [functools.partial(self._plain, *part) for part in zip(group.split(size), start.split(size), strict=True)]

    def _spread(self, windows: int) -> tuple[Tensor, Tensor]:
        groups, starts = [], []
        for group, count in enumerate(self._counts[self._groups[:, 0]].tolist()):
            chosen = torch.linspace(0, count - 1, min(windows, count), dtype=torch.float64).round().long()
            starts.append(chosen)
            groups.append(torch.full_like(chosen, group))
        return torch.cat(groups).to(self._frames.device), torch.cat(starts).to(self._frames.device)

    def _plain(self, group: Tensor, start: Tensor) -> Batch:
        places = start[:, None] + self._offsets
        if self.sampling != "window":
            places = start[:, None] + self._whole(self._groups[group, 0])
        return self._cut(group, places, torch.zeros_like(group, dtype=torch.bool))

    def _whole(self, clip: Int[Tensor, " batch"]) -> Shaped[Tensor, "batch time"]:
        assert self.sampling != "window"
        rows = clip_rows(self._lengths[clip], self.sampling, self.observed, self.future, step=self.step, ratio=self.ratio)
        # Whole numbers are looked up, with nothing between them to be computed.
        return rows.long() if self.sampling == "repeat" and self.ratio is None else rows

    def _cut(
        self, group: Int[Tensor, " recording"], places: Shaped[Tensor, "recording time"], mirrored: Bool[Tensor, " recording"]
    ) -> Batch:
        """Windows of some groups at rows counted from their first frame; those of several persons are cut alike."""
        together = first_person = None
        clip = self._groups[group, 0]
        if self._groups.shape[1] > 1:
            members = self._groups[group]
            there = members >= 0
            together = torch.arange(len(group), device=group.device)[:, None].expand_as(members)[there]
            clip, places, mirrored = members[there], places[together], mirrored[together]
            first_person = (torch.arange(members.shape[1], device=group.device) == 0).expand_as(members)[there]
        first = self._starts[clip][:, None]
        motion = self._between(first, places) if places.is_floating_point() else self._poses(first + places)
        if self.changes.mirror > 0 and self._reflection is not None:
            motion = torch.where(mirrored[:, None, None, None], self._reflection(motion), motion)
        label = self._labels[clip]
        if self._frame_labels is not None:
            label = self._frame_labels[first[:, 0] + places[:, self.observed - 1].round().long()]
        if first_person is not None:
            # The class of a recording is told once.
            label = label.where(first_person, -1)
        past, future = motion.split((self.observed, self.future), dim=1)
        if self._up is None:
            future = torch.cat((future[..., :2], torch.full_like(future[..., 2:], math.nan)), dim=-1)
        return Batch(observed=past, future=future, label=label, clip=self._clips[clip], together=together)

    def _moved(self, window: Batch, recordings: int, generator: torch.Generator | None, device: torch.device) -> Batch:
        """Turned, scaled, noisy and with joints missing, as ``changes`` has it.

        Persons seen together are turned and scaled alike.
        """
        changes = self.changes
        past, future = window.observed, window.future
        if changes.rotation or changes.scale:
            draws = torch.rand(2, recordings, generator=generator, device=device, dtype=torch.float64).to(past) * 2 - 1
            angle, factor = draws[0] * math.radians(changes.rotation), 1 + changes.scale * draws[1]
            matrix = self._turns(angle) * factor[:, None, None]
            if self._up is None:
                matrix[:, 2, 2] = 1  # a confidence stays
            if window.together is not None:
                matrix = matrix[window.together]
            past, future = (
                torch.einsum("bij,btmj->btmi", matrix, motion.nan_to_num(0.0)) + 0 * motion for motion in (past, future)
            )
        if changes.joint_dropping:
            size = len(window.label)
            dropped = torch.rand(size, past.shape[2], generator=generator, device=device) < changes.joint_dropping
            past = past.masked_fill(dropped.to(past.device)[:, None, :, None], math.nan)
        if changes.jitter:
            sigma = changes.jitter * torch.rand(len(past), 1, 1, 1, generator=generator, device=device)
            noise = sigma * torch.randn(past.shape, generator=generator, device=device)
            if self._up is None:
                noise[..., 2] = 0  # a confidence stays
            past = past + noise.to(past)
        return dataclasses.replace(window, observed=past, future=future)

    def _turns(self, angle: Float[Tensor, " batch"]) -> Float[Tensor, "batch 3 3"]:
        """Rotations about the vertical; in an image about the axis of the eye."""
        axis = 2 if self._up is None else self._up
        first, second = (axis + 1) % 3, (axis + 2) % 3
        turns = torch.zeros(len(angle), 3, 3, dtype=angle.dtype, device=angle.device)
        turns[:, axis, axis] = 1
        turns[:, first, first] = turns[:, second, second] = angle.cos()
        turns[:, second, first] = angle.sin()
        turns[:, first, second] = -angle.sin()
        return turns

    def _poses(self, rows: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time joint channel"]:
        # One index_select of whole poses is two to three times as fast as indexing with a matrix of rows.
        poses = self._frames.index_select(0, rows.flatten()).unflatten(0, rows.shape)
        return poses if self._nodes is None else poses.index_select(2, self._nodes)

    def _between(
        self, first: Int[Tensor, "batch 1"], rows: Float[Tensor, "batch time"]
    ) -> Float[Tensor, "batch time joint channel"]:
        """Poses at fractional rows, counted from ``first``: linear between two frames; missing at a row that is NaN.

        A coordinate that moves further between two frames than half a turn is taken from the nearer frame: exponential maps
        jump by 2π now and then, and what lies between means nothing.
        """
        outside = rows.isnan()
        rows = rows.nan_to_num(0.0)
        below = rows.floor()
        share = (rows - below).to(self._frames.dtype)[..., None, None]
        before, after = self._poses(first + below.long()), self._poses(first + rows.ceil().long())
        blend = share
        if self._wraps:
            jumps = (after - before).abs().amax(dim=-1, keepdim=True) > torch.pi
            blend = torch.where(jumps, share.round(), share)
        # Not torch.lerp: a frame with a missing joint beside it would be lost with it.
        poses = torch.where(blend == 0, before, torch.where(blend == 1, after, before + blend * (after - before)))
        return poses.masked_fill(outside[..., None, None], math.nan)


def group_persons(store: Store, indices: Sequence[int], persons: int) -> list[tuple[int, ...]]:
    """The clips that are one sample each: persons of one recording with the same class over the same frames (reading 19).

    Where there are more persons than asked for, those of the lowest numbers are taken. In a store with a class for each frame
    everybody is alone, for two need not do the same.

    Args:
        store: the data.
        indices: some of its clips.
        persons: at most so many together; with 1 each clip is a sample.

    Returns:
        Clips of each sample, the first person first; samples in the order of their first clip.
    """
    if persons == 1 or store.labels is not None:
        return [(index,) for index in indices]
    groups: dict[tuple[object, ...], list[int]] = {}
    known: Counter[tuple[object, ...]] = Counter()
    for index in indices:
        clip = store.clips[index]
        scene = (clip.recording, clip.source, clip.length, clip.label, clip.split)
        # Two clips of one person are two samples.
        known[*scene, clip.person] += 1
        groups.setdefault((*scene, known[*scene, clip.person]), []).append(index)
    return [tuple(sorted(group, key=lambda index: store.clips[index].person)[:persons]) for group in groups.values()]


def node_frames(store: Store, indices: Sequence[int]) -> Float[np.ndarray, "total joint channel"]:
    """The joints in use of some clips, one after the other, in memory."""
    columns = list(store.layout.columns(store.space))
    ends = np.cumsum([store.clips[index].length for index in indices])
    frames = np.empty((ends[-1] if len(ends) else 0, len(columns), store.frames.shape[2]), store.frames.dtype)
    for index, end in zip(indices, ends, strict=True):
        # Written to its place at once: a list of pieces would need the memory twice.
        frames[end - store.clips[index].length : end] = store.clip_frames(index)[:, columns]
    return frames


def _mapped(frames: Float[np.ndarray, "total stored channel"]) -> Float[Tensor, "total stored channel"]:
    """A mapped file as a tensor, which nothing must write to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(frames)


def split_recordings(
    store: Store, fraction: float, seed: int, indices: Sequence[int] | None = None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Hold out whole recordings for validation.

    The persons of a recording stay together, the classes take turns in giving one up, and none gives up its last.

    Args:
        store: the data.
        fraction: part of the recordings held out; at least one where it is positive and a class can spare one.
        seed: decides which.
        indices: the clips to split; by default those whose split is ``train`` or empty.

    Returns:
        Indices of the clips to train on, and of those held out.
    """
    if indices is None:
        indices = store.select(split=("train", ""))
    groups: dict[tuple[str, str], list[int]] = {}
    for index in indices:
        clip = store.clips[index]
        # Two classes may use the same name for a recording where a data set sorts its files into folders.
        groups.setdefault((clip.recording, clip.source), []).append(index)
    if not groups:
        raise InputError(f"{store.path}: no recording to train on; expected clips whose split is train or empty")
    by_class: dict[int, list[list[int]]] = {}
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(groups))
    members = list(groups.values())
    for position in order:
        group = members[position]
        by_class.setdefault(store.clips[group[0]].label, []).append(group)
    # Classes take turns; the last group of each class is never offered.
    turns = [(turn, groups_of[turn]) for groups_of in by_class.values() for turn in range(len(groups_of) - 1)]
    turns.sort(key=lambda pair: pair[0])
    wanted = max(round(fraction * len(groups)), 1) if fraction > 0 else 0
    held = {index for _, group in turns[:wanted] for index in group}
    return tuple(index for index in indices if index not in held), tuple(index for index in indices if index in held)


def stored_mean(store: Store, indices: Sequence[int], skip: int = 0) -> Float[Tensor, "stored channel"]:
    """Mean of every stored triple, in use or not: what an angle protocol puts where a model predicts nothing.

    Over the frames where it is present, in float64, a clip at a time; 0 for a triple that never is.

    Args:
        store: the data.
        indices: clips to learn from: training recordings only.
        skip: leading frames of each that are left out.
    """
    count, total = np.zeros(store.frames.shape[1:]), np.zeros(store.frames.shape[1:])
    for index in indices:
        frames = store.clip_frames(index)[skip:]
        count += (~np.isnan(frames)).sum(axis=0)
        total += np.nansum(frames, axis=0, dtype=np.float64)
    return torch.from_numpy(total / np.maximum(count, 1)).float()
