"""Windows of motion for training, cut on the device the frames are on."""

import dataclasses
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from symgnn.data.store import Store
from symgnn.errors import InputError
from symgnn.skeleton import Layout, Space
from symgnn.types import Batch

_logger = logging.getLogger("symgnn.data")


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

    @classmethod
    def of(cls, settings: object) -> "Changes":
        """Those that a record (the preset's training) names."""
        return cls(**{field.name: getattr(settings, field.name) for field in dataclasses.fields(cls)})


class WindowSampler:
    """Random windows: a recording uniformly, then a start uniformly (reading 5).

    A window is the frames start, start + step, ..., so every phase of the step is drawn; or, with ``whole``, all of a recording
    in as many frames as a window has, evenly. All frames lie in one tensor and a batch is one gather on its device; only the
    random numbers are drawn where the generator lives. NaN stays NaN. In an image the confidence of future frames is NaN, for
    it is not predicted.

    Args:
        frames: the joints in use of all recordings, one after the other, in the units of the data.
        starts: first frame of each recording.
        lengths: frames of each recording.
        labels: class of each recording, -1 for none.
        observed: frames the model sees.
        future: frames after them.
        step: keep every n-th frame.
        skip: leading frames of each recording that are left out (1 on CMU: the release's T-pose).
        whole: a window is a whole recording.
        changes: made at random to what ``sample`` draws.
        reflection: how to mirror; needed where ``changes.mirror`` is positive.
        up: axis that rotations are about; the third channel is a confidence where it is None.
        clips: what ``Batch.clip`` calls each recording; by default its position here.
        names: what messages call each recording.
        frame_labels: class of each frame; a window then has that of its current (last observed) frame.
        wraps: whether poses are rotations, which may jump by whole turns (``tempo`` does not interpolate across).

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
        whole: bool = False,
        changes: Changes | None = None,
        reflection: Mirror | None = None,
        up: int | None = 1,
        clips: Int[Tensor, " recording"] | None = None,
        names: Sequence[str] | None = None,
        frame_labels: Int[Tensor, " total"] | None = None,
        wraps: bool = False,
    ):
        changes = Changes() if changes is None else changes
        if min(observed, step) < 1 or min(future, skip, changes.tempo) < 0:
            raise ValueError("expected observed >= 1, step >= 1, future >= 0, skip >= 0, tempo >= 0")
        if changes.mirror > 0 and reflection is None:
            raise ValueError("mirror > 0 needs a reflection")
        device = frames.device
        self.observed, self.future, self.step = observed, future, step
        self.whole, self.changes, self._reflection, self._up = whole, changes, reflection, up
        span = 1 if whole else (observed + future - 1) * step + 1
        counts = lengths.cpu() - skip - span + 1
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
            _logger.warning("left out, shorter than a window (%s): %s", needed, ", ".join(self.left_out))
        keep = fits.to(device)
        self._frames, self._wraps = frames, wraps
        self._starts = starts.to(device).long()[keep] + skip
        self._counts = counts.to(device)[keep]
        self._labels = labels.to(device).long()[keep]
        self._clips = (torch.arange(len(starts)) if clips is None else clips).to(device).long()[keep]
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
        whole: bool = False,
        changes: Changes | None = None,
        device: torch.device | str = "cpu",
    ) -> "WindowSampler":
        """Load some clips of a store, joints in use only, onto a device; the arguments are those of the class."""
        if not len(indices):
            raise InputError(f"{store.path}: no clip to cut windows from")
        if store.space == "expmap" and changes is not None and (changes.rotation or changes.scale):
            raise InputError(f"{store.path}: holds rotations (space expmap): training.rotation and training.scale must be 0")
        clips = [store.clips[index] for index in indices]
        lengths = torch.tensor([clip.length for clip in clips])
        return cls(
            torch.from_numpy(node_frames(store, indices)).to(device),
            lengths.cumsum(0) - lengths,
            lengths,
            torch.tensor([clip.label for clip in clips]),
            observed=observed,
            future=future,
            step=step,
            skip=skip,
            whole=whole,
            changes=changes,
            reflection=Mirror.of(store.layout, store.space, device),
            up=None if store.space == "xyc" else "xyz".index(store.layout.up[-1]),
            clips=torch.tensor(list(indices)),
            names=[clip.recording for clip in clips],
            frame_labels=None
            if store.labels is None
            else torch.cat([torch.tensor(store.labels[clip.start : clip.start + clip.length]) for clip in clips]),
            wraps=store.space == "expmap",
        )

    def __len__(self) -> int:
        """Number of different windows, leaving reversal and mirror aside."""
        return int(self._counts.sum())

    @property
    def recordings(self) -> int:
        """Number of recordings that are long enough."""
        return len(self._counts)

    def sample(self, batch: int, generator: torch.Generator | None = None) -> Batch:
        """Draw windows at random.

        Args:
            batch: number of windows.
            generator: source of all randomness, on whichever device; the same numbers are drawn whatever the probabilities.
        """
        device = torch.device("cpu") if generator is None else generator.device
        # A row only where it is used, so that trainings without it see the windows they always saw.
        changes = self.changes
        rows = 4 + (changes.tempo > 0 or changes.crop > 0)
        draws = torch.rand(rows, batch, generator=generator, device=device, dtype=torch.float64).to(self._frames.device)
        recording = (draws[0] * len(self._counts)).long()
        backwards, mirrored = draws[2] < changes.time_reversal, draws[3] < changes.mirror
        if self.whole:
            kept = 1 - changes.crop * draws[4] if changes.crop > 0 else torch.ones_like(draws[0])
            spare = (1 - kept) * (self._counts[recording] - 1)
            window = self._cut(recording, draws[1] * spare, backwards, mirrored, kept)
        elif changes.tempo == 0:
            start = (draws[1] * self._counts[recording]).long()
            window = self._cut(recording, start, backwards, mirrored)
        else:
            steps = self.observed + self.future - 1
            last = (self._counts[recording] - 1 + steps * self.step).double()
            speed = torch.minimum((1 + changes.tempo) ** (2 * draws[4] - 1), last / (steps * self.step))
            start = draws[1] * (last - steps * self.step * speed)
            window = self._cut(recording, start, backwards, mirrored, speed)
        return self._moved(window, generator, device)

    def spread(self, windows: int) -> Batch:
        """The same windows at every call, for validation: up to ``windows`` of each recording, evenly spaced, as they are."""
        recordings, starts = [], []
        for recording, count in enumerate(self._counts.tolist()):
            count = 1 if self.whole else count
            chosen = torch.linspace(0, count - 1, min(windows, count), dtype=torch.float64).round().long()
            starts.append(chosen)
            recordings.append(torch.full_like(chosen, recording))
        recording, start = (torch.cat(parts).to(self._frames.device) for parts in (recordings, starts))
        no = torch.zeros_like(recording, dtype=torch.bool)
        if self.whole:
            return self._cut(recording, start.double(), no, no, torch.ones_like(start, dtype=torch.float64))
        return self._cut(recording, start, no, no)

    def _cut(self, recording: Tensor, start: Tensor, backwards: Tensor, mirrored: Tensor, speed: Tensor | None = None) -> Batch:
        last = (self._counts[recording] - 1)[:, None]
        offsets = self._offsets if speed is None else self._offsets * speed[:, None]
        if self.whole:
            offsets = offsets * (last / self._offsets[-1].clamp(min=1))
        elif speed is not None:
            last = last + self._offsets[-1]
        rows = start[:, None] + offsets
        if speed is not None:
            # Rounding must not reach for the frame after a recording's last.
            rows = rows.minimum(last.double())
        if self.changes.time_reversal > 0:
            rows = torch.where(backwards[:, None], rows.flip(1), rows)
        first = self._starts[recording][:, None]
        motion = self._poses(first + rows) if speed is None else self._between(first, rows)
        if self.changes.mirror > 0 and self._reflection is not None:
            motion = torch.where(mirrored[:, None, None, None], self._reflection(motion), motion)
        label = self._labels[recording]
        if self._frame_labels is not None:
            label = self._frame_labels[first[:, 0] + rows[:, self.observed - 1].round().long()]
        past, future = motion.split((self.observed, self.future), dim=1)
        if self._up is None:
            future = torch.cat((future[..., :2], torch.full_like(future[..., 2:], math.nan)), dim=-1)
        return Batch(observed=past, future=future, label=label, clip=self._clips[recording])

    def _moved(self, window: Batch, generator: torch.Generator | None, device: torch.device) -> Batch:
        """Turned, scaled and with joints missing, as ``changes`` has it."""
        changes, size = self.changes, len(window.label)
        past, future = window.observed, window.future
        if changes.rotation or changes.scale:
            draws = torch.rand(2, size, generator=generator, device=device, dtype=torch.float64).to(past) * 2 - 1
            angle, factor = draws[0] * math.radians(changes.rotation), 1 + changes.scale * draws[1]
            matrix = self._turns(angle) * factor[:, None, None]
            if self._up is None:
                matrix[:, 2, 2] = 1  # a confidence stays
            past, future = (
                torch.einsum("bij,btmj->btmi", matrix, motion.nan_to_num(0.0)) + 0 * motion for motion in (past, future)
            )
        if changes.joint_dropping:
            dropped = torch.rand(size, past.shape[2], generator=generator, device=device) < changes.joint_dropping
            past = past.masked_fill(dropped.to(past.device)[:, None, :, None], math.nan)
        return Batch(observed=past, future=future, label=window.label, clip=window.clip)

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
        return self._frames.index_select(0, rows.flatten()).unflatten(0, rows.shape)

    def _between(
        self, first: Int[Tensor, "batch 1"], rows: Float[Tensor, "batch time"]
    ) -> Float[Tensor, "batch time joint channel"]:
        """Poses at fractional rows, counted from ``first``: linear between two frames.

        A coordinate that moves further between two frames than half a turn is taken from the nearer frame: exponential maps
        jump by 2π now and then, and what lies between means nothing.
        """
        below = rows.floor()
        share = (rows - below).to(self._frames.dtype)[..., None, None]
        before, after = self._poses(first + below.long()), self._poses(first + rows.ceil().long())
        jumps = self._wraps & ((after - before).abs().amax(dim=-1, keepdim=True) > torch.pi)
        blend = torch.where(jumps, share.round(), share)
        # Not torch.lerp: a frame with a missing joint beside it would be lost with it.
        return torch.where(blend == 0, before, torch.where(blend == 1, after, before + blend * (after - before)))


def node_frames(store: Store, indices: Sequence[int]) -> Float[np.ndarray, "total joint channel"]:
    """The joints in use of some clips, one after the other, in memory."""
    columns = list(store.layout.columns(store.space))
    return np.concatenate([store.clip_frames(index)[:, columns] for index in indices])


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
