"""Readers of the two angle benchmarks: a frame a line, exponential maps separated by commas (protocols of section 6.1).

    CMU Mocap   {train,test}/<action>/<action>_<n>.txt    117 columns: root translation, then 38 triples
    H3.6M       S<subject>/<action>_<1|2>.txt              99 columns: root translation, then 32 triples

The text is parsed by numpy's C reader; only when that fails is the file read again, slowly, for the place of the error.

Human3.6M has a second form, ``h36m-3d``: the same files as places of joints, by forward kinematics.
"""

import hashlib
import io
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Float64

from symgnn.data.readers.text import LARGEST, shortened
from symgnn.data.store import CHANNELS, Clip, ClipRecord
from symgnn.errors import InputError
from symgnn.skeleton import Layout, Space, forward_kinematics, load_layout

_logger = logging.getLogger("symgnn.data")

CMU_ACTIONS = ("basketball", "basketball_signal", "directing_traffic", "jumping", "running", "soccer", "walking", "washwindow")
CMU_FPS = 120.0
"""The rows are the frames of the BVH release one to one, and its header says 120 Hz."""
_CMU_TRAINING = dict.fromkeys(CMU_ACTIONS, 5) | {"directing_traffic": 4, "washwindow": 1}
"""Training files each action is known to have at least; the release gives no list."""

H36M_ACTIONS = (
    "walking",
    "eating",
    "smoking",
    "discussion",
    "directions",
    "greeting",
    "phoning",
    "posing",
    "purchases",
    "sitting",
    "sittingdown",
    "takingphoto",
    "waiting",
    "walkingdog",
    "walkingtogether",
)
H36M_FPS = 50.0
H36M_TRAINING, H36M_TEST = (1, 6, 7, 8, 9, 11), 5


@dataclass(frozen=True)
class Benchmark:
    """A benchmark's folder: what is there, before the frames are read."""

    name: str
    folder: Path
    layout: Layout
    fps: float
    class_names: tuple[str, ...]
    records: tuple[ClipRecord, ...]
    """A record a file, ``source`` being its path below the folder."""
    missing: tuple[str, ...]
    """Files of the benchmark that are not there."""
    leaked: tuple[str, ...]
    """Training files that are byte for byte one of the test files; their split is ``leak``."""
    space: Space = "expmap"
    """What the clips are made: the files' exponential maps as they are, or (``xyz``) places of joints."""

    @property
    def files(self) -> tuple[Path, ...]:
        """The files, in the order of the records."""
        return tuple(self.folder / record.source for record in self.records)

    def clips(self) -> Iterator[Clip]:
        """Read the files one after the other."""
        columns = CHANNELS * len(self.layout.stored("expmap"))
        for record, file in zip(self.records, self.files, strict=True):
            rows = read_table(file, columns).reshape(-1, columns // CHANNELS, CHANNELS)
            yield Clip(record, rows if self.space == "expmap" else places(rows, self.layout))


def read_cmu(folder: str | Path) -> Benchmark:
    """Find the files of the CMU Mocap benchmark; other files and folders are left alone, by name.

    Raises:
        InputError: the folder is not there, or holds no file of the benchmark.
    """
    folder = Path(folder)
    pattern = re.compile(r"(train|test)/([a-z_]+)/\2_(\d+)\.txt")
    expected = [
        f"{split}/{action}/{action}_{number}.txt"
        for split in ("train", "test")
        for action in CMU_ACTIONS
        for number in range(1, (_CMU_TRAINING[action] if split == "train" else 1) + 1)
    ]
    records = []
    for source, match in _matching(folder, ("train/*/*.txt", "test/*/*.txt"), pattern, CMU_ACTIONS, 2):
        split, action, _ = match.groups()
        records.append(ClipRecord(label=CMU_ACTIONS.index(action), recording=Path(source).stem, source=source, split=split))
    return _benchmark("cmu", folder, CMU_FPS, CMU_ACTIONS, records, expected, "{train,test}/<action>/<action>_<n>.txt")


def read_h36m(folder: str | Path) -> Benchmark:
    """Find the files of the Human 3.6M benchmark; other files and folders are left alone, by name.

    Raises:
        InputError: the folder is not there, or holds no file of the benchmark.
    """
    folder = Path(folder)
    subjects = sorted((*H36M_TRAINING, H36M_TEST))
    pattern = re.compile(rf"S({'|'.join(map(str, subjects))})/([a-z]+)_([12])\.txt")
    expected = [f"S{subject}/{action}_{number}.txt" for subject in subjects for action in H36M_ACTIONS for number in (1, 2)]
    records = []
    for source, match in _matching(folder, ("S*/*.txt",), pattern, H36M_ACTIONS, 2):
        subject, action, _ = match.groups()
        split = "test" if int(subject) == H36M_TEST else "train"
        name = f"S{subject}_{Path(source).stem}"
        label = H36M_ACTIONS.index(action)
        records.append(ClipRecord(label=label, recording=name, subject=subject, source=source, split=split))
    return _benchmark("h36m", folder, H36M_FPS, H36M_ACTIONS, records, expected, "S<subject>/<action>_<1|2>.txt")


def read_h36m_3d(folder: str | Path) -> Benchmark:
    """The Human 3.6M benchmark in space: its files as places of the 32 joints, in millimetres, see ``places``.

    Raises:
        InputError: as for ``read_h36m``.
    """
    return replace(read_h36m(folder), name="h36m-3d", layout=load_layout("h36m-3d"), space="xyz")


def places(rows: Float64[np.ndarray, "time stored 3"], layout: Layout) -> Float32[np.ndarray, "time joint 3"]:
    """Where the joints of a body are that stands at the origin and faces one way, as the 3D protocol has it.

    The first two triples, translation and rotation of the root, are taken as zero; then forward kinematics in float64, some
    frames at a time.

    Args:
        rows: exponential maps, the root's translation first.
        layout: a body with offsets; its unit is that of the places.
    """
    found = np.empty((len(rows), len(layout.joints), 3), np.float32)
    for first in range(0, len(rows), _BLOCK):
        block = torch.tensor(rows[first : first + _BLOCK], dtype=torch.float64)
        block[:, :2] = 0
        found[first : first + _BLOCK] = forward_kinematics(block, layout).numpy()
    return found


_BLOCK = 1024
"""Frames of which all rotation matrices are held at a time: some 10 MB."""


def read_table(path: Path, columns: int) -> Float64[np.ndarray, "rows {columns}"]:
    """Numbers separated by commas, a row a line; empty lines do not count.

    Args:
        path: the file.
        columns: how many numbers a row has.

    Raises:
        InputError: the file cannot be read, is empty, is not text, or has a row of another length or a value that is not
            a finite number (as float32); the message names line and column.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        text = raw.decode("utf-8-sig").rstrip()
    except UnicodeDecodeError as error:
        before, byte = raw[: error.start], raw[error.start]
        line, column = before.count(b"\n") + 1, before.rpartition(b"\n")[2].count(b",") + 1
        raise InputError(f"{path}: line {line}, column {column}: found the byte 0x{byte:02x}, expected UTF-8 text") from None
    if not text:
        raise InputError(f"{path}: empty; expected rows of {columns} numbers separated by commas")
    try:
        table = np.loadtxt(io.StringIO(text, newline=None), delimiter=",", comments=None, ndmin=2)
    except ValueError as error:
        raise _place_of_error(path, text, columns) or InputError(f"{path}: {error}") from None
    # A store keeps float32: what overflows there is no number either. (NaN fails the comparison too.)
    if table.shape[1] != columns or not (np.abs(table) <= LARGEST).all():
        raise _place_of_error(path, text, columns) or InputError(f"{path}: expected rows of {columns} finite numbers")
    return table


_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def _place_of_error(path: Path, text: str, columns: int) -> InputError | None:
    """The first thing wrong with a table that the fast reader has refused."""
    for number, line in enumerate(io.StringIO(text, newline=None), start=1):
        if line == "\n":
            continue
        cells = [cell.strip() for cell in line.split(",")]
        for column, cell in enumerate(cells, start=1):
            if not _NUMBER.fullmatch(cell):
                what = "nothing" if not cell else repr(cell if len(cell) <= 40 else f"{cell[:40]}...")
                return InputError(f"{path}: line {number}, column {column}: found {what}, expected a finite number")
            if abs(float(cell)) > LARGEST:
                return InputError(f"{path}: line {number}, column {column}: found {cell}, expected a number that fits float32")
        if len(cells) != columns:
            hint = {99: "; 99 columns are Human 3.6M's", 117: "; 117 columns are CMU Mocap's"}.get(len(cells), "")
            return InputError(f"{path}: line {number}: found {len(cells)} columns, expected {columns}{hint}")
    return None


def _matching(
    folder: Path, globs: Sequence[str], pattern: re.Pattern[str], actions: Sequence[str], action: int
) -> list[tuple[str, re.Match[str]]]:
    """Files whose path below the folder fits, sorted as a person would; the rest is named in one message."""
    if not folder.is_dir():
        raise InputError(f"{folder}: {'not a folder' if folder.exists() else 'no such folder'}")
    found, other = [], []
    for path in sorted(path for glob in globs for path in folder.glob(glob)):
        source = path.relative_to(folder).as_posix()
        match = pattern.fullmatch(source)
        if match and match.group(action) in actions and path.is_file():
            found.append((source, match))
        else:
            other.append(source)
    if found and other:
        _logger.warning("%s: no part of the benchmark, left out: %s", folder, shortened(other))
    return sorted(found, key=lambda pair: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", pair[0])])


def _benchmark(
    name: str,
    folder: Path,
    fps: float,
    actions: tuple[str, ...],
    records: list[ClipRecord],
    expected: list[str],
    form: str,
) -> Benchmark:
    if not records:
        raise InputError(f"{folder}: found no file of the {name} benchmark, expected {form} (actions: {', '.join(actions)})")
    there = {record.source for record in records}
    missing = tuple(source for source in expected if source not in there)
    leaked = _copies_of_test_files(folder, records)
    records = [replace(record, split="leak") if record.source in leaked else record for record in records]
    return Benchmark(name, folder, load_layout(name), fps, actions, tuple(records), missing, leaked)


def _copies_of_test_files(folder: Path, records: Sequence[ClipRecord]) -> tuple[str, ...]:
    """Training files with the bytes of a test file.

    A copy of H3.6M in circulation has eight; whoever trains on them has seen the test set.
    """
    sizes = {record.source: (folder / record.source).stat().st_size for record in records}
    test = {record.source for record in records if record.split == "test"}
    test_sizes = {sizes[source] for source in test}
    # Equal bytes have equal sizes: most files need not be read.
    suspects = [record.source for record in records if record.source not in test and sizes[record.source] in test_sizes]
    if not suspects:
        return ()
    suspect_sizes = {sizes[source] for source in suspects}
    prints = {_fingerprint(folder / source) for source in test if sizes[source] in suspect_sizes}
    return tuple(source for source in suspects if _fingerprint(folder / source) in prints)


def _fingerprint(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
