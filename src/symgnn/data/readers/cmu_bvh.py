"""The CMU Mocap benchmark from its public source, the BVH release of the CMU motion capture database.

The benchmark's rows are the frames of chosen trials, one to one. Which trials is said by a list of the user's, a CSV file:

    trial,split,action,number
    14_12,test,washwindow,1
    14_24,train,directing_traffic,4
    30_07,train,basketball_signal,4

is what is known: test/washwindow/washwindow_1 is trial 14_12, and so on. No published list names the others.
"""

import csv
import io
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from symgnn.data.readers.bvh import Bvh, parse_bvh
from symgnn.data.readers.expmap_text import CMU_ACTIONS, CMU_FPS, Benchmark
from symgnn.data.readers.text import read_text, shortened, shown
from symgnn.data.store import Clip, ClipRecord
from symgnn.errors import InputError
from symgnn.skeleton import Layout, load_layout

_logger = logging.getLogger("symgnn.data")

FIELDS = ("trial", "split", "action", "number")
_POSITIONS = ("Xposition", "Yposition", "Zposition")
_TURNS = ("Zrotation", "Yrotation", "Xrotation")


@dataclass(frozen=True)
class BvhBenchmark(Benchmark):
    """The benchmark of [read_cmu][symgnn.data.readers.expmap_text.read_cmu], its clips turned from BVH trials."""

    def clips(self) -> Iterator[Clip]:
        """Read the trials one after the other.

        Raises:
            InputError: a trial is no BVH file, or its body is not that of the release.
        """
        for record, file in zip(self.records, self.files, strict=True):
            bvh = parse_bvh(file)
            _require_body(file, bvh, self.layout)
            if bvh.fps != self.fps:
                _logger.warning("%s: found %g frames a second, taken for %g as the others", file, bvh.fps, self.fps)
            yield Clip(record, benchmark_rows(bvh))


@dataclass(frozen=True)
class _Trial:
    """A line of the list."""

    trial: str
    split: str
    action: str
    number: int

    @property
    def recording(self) -> str:
        return f"{self.action}_{self.number}"

    @property
    def place(self) -> str:
        """The file of the benchmark that it makes."""
        return f"{self.split}/{self.action}/{self.recording}.txt"


def read_cmu_bvh(folder: str | Path, trials: Path) -> BvhBenchmark:
    """Find the listed trials in a folder of the BVH release.

    Args:
        folder: searched to the bottom for ``<trial>.bvh``, ``14_12.bvh`` or ``cmu-02-14/14/14_12.bvh``.
        trials: CSV file with a line ``trial,split,action,number`` for each file of the benchmark; a first line with these
            names, empty lines and lines that begin with ``#`` are skipped.

    Returns:
        The benchmark, the missing trials in ``missing``; training files of a trial that is a test file too are ``leaked``.

    Raises:
        InputError: the list cannot be used (the message names the line), there is no such folder, it holds none of
            the trials, or one twice.
    """
    folder = Path(folder)
    listed = _listed(trials)
    if not folder.is_dir():
        raise InputError(f"{folder}: {'not a folder' if folder.exists() else 'no such folder'}; expected the BVH release")
    files: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() == ".bvh" and path.is_file():
            files.setdefault(path.stem, []).append(path.relative_to(folder).as_posix())
    tested = {each.trial for each in listed if each.split == "test"}
    records, missing, leaked = [], [], []
    for each in listed:
        found = files.get(each.trial, [])
        if len(found) > 1:
            raise InputError(f"{folder}: found trial {each.trial} {len(found)} times ({shortened(found)}), expected it once")
        if not found:
            missing.append(f"{each.trial} ({each.place})")
            continue
        split = each.split
        if split == "train" and each.trial in tested:
            leaked.append(each.place)
            split = "leak"
        label = CMU_ACTIONS.index(each.action)
        subject = each.trial.partition("_")[0]
        records.append(ClipRecord(label=label, recording=each.recording, subject=subject, source=found[0], split=split))
    if not records:
        raise InputError(
            f"{folder}: found none of the {len(listed)} trials of {trials}, expected files such as {listed[0].trial}.bvh"
        )
    return BvhBenchmark(
        "cmu-bvh", folder, load_layout("cmu"), CMU_FPS, CMU_ACTIONS, tuple(records), tuple(missing), tuple(leaked)
    )


def benchmark_rows(bvh: Bvh) -> Float64[np.ndarray, "time 39 3"]:
    """Rows of the benchmark from the channels of a trial.

    The first triple is the root's position as it is, in the file's unit; then, for each joint, minus the rotation vector of
    R = R_z R_y R_x, in radians, the root's of R_z R_x R_y though its channels too are Z, Y, X (the published rows have it so);
    zero for end sites.

    Args:
        bvh: a trial with the body of the layout ``cmu``.
    """
    rows = np.zeros((len(bvh.motion), len(bvh.names) + 1, 3))
    for joint, (channels, columns) in enumerate(zip(bvh.channels, bvh.columns, strict=True)):
        if not channels:
            continue
        turns = bvh.motion[:, columns[-3:]]
        z, y, x = (_quaternion(axis, turns[:, column]) for axis, column in ((2, 0), (1, 1), (0, 2)))
        last = (x, y) if bvh.parents[joint] < 0 else (y, x)
        rows[:, joint + 1] = -_rotation_vector(_product(_product(z, last[0]), last[1]))
    rows[:, 0] = bvh.motion[:, bvh.columns[0][:3]]
    return rows


_Quaternions = Float64[np.ndarray, "time 4"]


def _quaternion(axis: int, degrees: Float64[np.ndarray, " time"]) -> _Quaternions:
    """Turns about one axis, the real part first."""
    half = np.radians(degrees) / 2
    found = np.zeros((len(half), 4))
    found[:, 0], found[:, 1 + axis] = np.cos(half), np.sin(half)
    return found


def _product(a: _Quaternions, b: _Quaternions) -> _Quaternions:
    """First b, then a."""
    real = a[:, :1] * b[:, :1] - (a[:, 1:] * b[:, 1:]).sum(axis=1, keepdims=True)
    imaginary = a[:, :1] * b[:, 1:] + b[:, :1] * a[:, 1:] + np.cross(a[:, 1:], b[:, 1:])
    return np.concatenate([real, imaginary], axis=1)


def _rotation_vector(turn: _Quaternions) -> Float64[np.ndarray, "time 3"]:
    """Axis times angle, the angle at most π."""
    turn = np.where(turn[:, :1] < 0, -turn, turn)
    sine = np.linalg.norm(turn[:, 1:], axis=1, keepdims=True)
    angle = 2 * np.arctan2(sine, turn[:, :1])
    return turn[:, 1:] * np.divide(angle, sine, out=np.full_like(sine, 2.0), where=sine > 0)


def _require_body(path: Path, bvh: Bvh, layout: Layout) -> None:
    """See that a trial has the joints and channels that the rule is about."""
    where = f"{path}: not the body of the CMU trials in BVH"
    if bvh.names != layout.joints:
        if len(bvh.names) != len(layout.joints):
            raise InputError(f"{where}: found {len(bvh.names)} joints and end sites, expected {len(layout.joints)}")
        found, expected = next(pair for pair in zip(bvh.names, layout.joints, strict=True) if pair[0] != pair[1])
        raise InputError(f"{where}: found joint {shown(found)}, expected {expected}")
    for joint, (name, parent, channels) in enumerate(zip(bvh.names, bvh.parents, bvh.channels, strict=True)):
        if parent != layout.parents[joint]:
            above = bvh.names[parent] if parent >= 0 else "nothing"
            raise InputError(f"{where}: joint {name} hangs on {above}, expected {layout.joints[layout.parents[joint]]}")
        # An end site is told from a joint by its name: no joint of this body is called so.
        end = name.endswith("End")
        expected = () if end else (*_POSITIONS, *_TURNS) if parent < 0 else _TURNS
        if channels != expected:
            found, wanted = (" ".join(each) or "none" for each in (channels, expected))
            raise InputError(f"{where}: joint {name} has the channels {found}, expected {wanted}")


def _listed(path: Path) -> list[_Trial]:
    """The lines of a list of trials."""
    found: list[_Trial] = []
    made: dict[str, int] = {}
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if not any(cells) or cells[0].startswith("#") or (not found and tuple(map(str.lower, cells)) == FIELDS):
                continue
            trial = _trial(f"{path}: line {reader.line_num}", cells)
            if trial.place in made:
                where = f"{path}: line {reader.line_num}"
                raise InputError(f"{where}: found {trial.place} again, line {made[trial.place]} has it; expected it once")
            made[trial.place] = reader.line_num
            found.append(trial)
    except csv.Error as error:
        raise InputError(
            f"{path}: line {reader.line_num}: found a line that is no CSV ({error}), expected {','.join(FIELDS)}"
        ) from None
    if not found:
        raise InputError(f"{path}: lists no trial; expected lines {','.join(FIELDS)}, such as 14_12,test,washwindow,1")
    return found


def _trial(where: str, cells: list[str]) -> _Trial:
    if len(cells) != len(FIELDS):
        raise InputError(f"{where}: found {len(cells)} columns, expected {len(FIELDS)}: {','.join(FIELDS)}")
    trial, split, action, number = cells
    if not re.fullmatch(r"[0-9]{2,3}_[0-9]{2}", trial):
        raise InputError(f"{where}: trial: found {shown(trial)}, expected subject and trial such as 14_12")
    if split not in ("train", "test"):
        raise InputError(f"{where}: split: found {shown(split)}, expected train or test")
    if action not in CMU_ACTIONS:
        raise InputError(f"{where}: action: found {shown(action)}, expected one of {', '.join(CMU_ACTIONS)}")
    if not re.fullmatch(r"[1-9][0-9]{0,3}", number):
        raise InputError(f"{where}: number: found {shown(number)}, expected a whole number from 1 on")
    return _Trial(trial, split, action, int(number))
