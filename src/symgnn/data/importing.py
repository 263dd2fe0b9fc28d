"""A user's own files to a store: which readers there are, and what is made of what they read."""

import csv
import dataclasses
import difflib
import io
import itertools
import logging
import multiprocessing
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from symgnn.data.conforming import at_rate, in_order, layout_of, rate_of
from symgnn.data.readers import kinetics, ntu
from symgnn.data.readers.arrays import read_arrays
from symgnn.data.readers.bvh import read_bvh
from symgnn.data.readers.c3d import read_c3d
from symgnn.data.readers.json_lines import read_json_lines
from symgnn.data.readers.keypoint_json import read_keypoint_json
from symgnn.data.readers.openpose import read_openpose
from symgnn.data.readers.table import read_table
from symgnn.data.readers.text import read_text
from symgnn.data.readers.toolkit_pickle import iterate_toolkit_pickle, read_toolkit_arrays
from symgnn.data.recording import Recording
from symgnn.data.store import Classes, Clip, ClipRecord, Store, natural
from symgnn.data.writing import write_store
from symgnn.errors import InputError
from symgnn.files import write_whole
from symgnn.skeleton import Layout, load_layout

_logger = logging.getLogger("symgnn.data")

MANY = 64
"""Files from which on several processes read."""


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """What a user says of files that do not say it themselves."""

    layout: str | None = None
    """Name or YAML file of the body's layout."""
    labels: Path | None = None
    """CSV file with a class for each file: ``file,label`` and, as far as they are there, ``subject,camera,setup,split``."""
    label_column: str | None = None
    """Column of a table with the class of each frame: a heading, or a number from 1 on (from the end where negative)."""
    label_from_name: str | None = None
    """Regular expression; its first group (or all it matches), searched in each file's path, is the class."""
    label_from_folder: bool = False
    """The name of a file's folder is its class."""
    no_class: tuple[str, ...] = ("", "-1")
    """What frames without a class are labelled with."""
    cut: bool = False
    """Make a clip of each run of frames of one class (and of each run without)."""
    shortest: int = 1
    """Clips of fewer frames are left out."""
    fps: float | None = None
    """Frames a second: of files that do not say, and that others are resampled to."""
    subject_from_name: str | None = None
    """Regular expression for who moves, as ``label_from_name``."""
    zero_is_missing: bool = False
    """Whether a joint at exactly 0, 0, 0 was not seen."""
    split_as: str | None = None
    """Which published split into training and test: one of NTU's (``ntu60-xsub``), or of those a pickle holds (``xsub``)."""


@dataclass(frozen=True)
class Format:
    """A kind of files."""

    description: str
    """One line for ``--help``."""
    suffixes: tuple[str, ...]
    """How the files' names end."""
    read: Callable[[Path, Layout | None, ImportOptions], Iterable[Recording]]
    """The recordings of one file (or folder, for formats that keep a file a frame)."""
    folders: bool = False
    """Whether a recording is a folder of files."""
    other: tuple[str, ...] = ()
    """Names that end like these are not of the format."""


def _ntu(path: Path, _layout: Layout | None, options: ImportOptions) -> Iterator[Recording]:
    for recording in ntu.read_ntu_skeleton(path):
        if recording.label is None:
            yield recording
            continue
        name = ntu.parse_name(path.name.removesuffix(".skeleton"))
        split = "" if options.split_as is None else ntu.split_of(name, options.split_as)
        yield dataclasses.replace(recording, label=f"{recording.label} {ntu.ACTIONS[name.action - 1]}", split=split)


def _kinetics(path: Path, _layout: Layout | None, _options: ImportOptions) -> Iterator[Recording]:
    for recording in kinetics.read_kinetics(path):
        yield dataclasses.replace(recording, split=kinetics.SPLITS.get(path.parent.name, ""))


FORMATS: dict[str, Format] = {
    "table": Format(
        "a frame a line, columns of coordinates or cells 'x y z'",
        (".csv", ".tsv", ".txt"),
        lambda path, layout, options: read_table(path, layout, options.label_column),
    ),
    "jsonl": Format(
        "JSON lines, an object a frame", (".jsonl", ".ndjson"), lambda path, layout, _: read_json_lines(path, layout)
    ),
    "arrays": Format(
        "numpy arrays (frames, joints, 2 or 3)", (".npy", ".npz"), lambda path, layout, _: read_arrays(path, layout)
    ),
    "bvh": Format("BVH motion capture", (".bvh",), lambda path, _layout, _options: read_bvh(path)),
    "c3d": Format("C3D marker data", (".c3d",), lambda path, _layout, _options: read_c3d(path)),
    "openpose": Format(
        "OpenPose, a JSON file a frame", ("_keypoints.json",), lambda path, _layout, _options: read_openpose(path), folders=True
    ),
    "keypoints": Format(
        "COCO, AlphaPose or MediaPipe keypoints",
        (".json",),
        lambda path, _layout, _options: read_keypoint_json(path),
        other=("_keypoints.json", "_label.json"),
    ),
    "pickle": Format(
        "the recognition toolkits' annotations",
        (".pkl", ".pickle"),
        lambda path, layout, options: iterate_toolkit_pickle(path, options.split_as, layout),
    ),
    "toolkit-arrays": Format(
        "the recognition toolkits' arrays with labels",
        (".npy", ".npz"),
        lambda path, layout, _: read_toolkit_arrays(path, layout),
    ),
    "ntu": Format("NTU RGB+D, 60 or 120", (".skeleton",), _ntu),
    "kinetics": Format("Kinetics-Skeleton", (".json",), _kinetics, other=("_keypoints.json", "_label.json")),
}


@dataclass(frozen=True)
class Imported:
    """What came of an import."""

    store: Store
    files: int
    """Files read."""
    bad: tuple[tuple[str, str], ...]
    """File and message of each that could not be used."""
    report: Path | None
    """The file that lists them."""
    notes: tuple[str, ...]
    """What was assumed or left out."""


def import_recordings(
    source: str | Path,
    target: str | Path,
    kind: str | None = None,
    options: ImportOptions | None = None,
    *,
    progress: bool = True,
) -> Imported:
    """Make a store of a folder of recordings (or of one file).

    Files that cannot be used do not stop the work: they are listed in ``TARGET.bad.csv``, with the reason.

    Args:
        source: the folder, searched to the bottom, or a file.
        target: the store to make; must not exist.
        kind: one of ``FORMATS``; by default what the files' names say.
        options: what the files do not say themselves.
        progress: show a progress bar.

    Raises:
        InputError: there is no such folder, no file of the kind in it, none that can be used, or an option does not fit.
    """
    source, target, options = Path(source), Path(target), options or ImportOptions()
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise InputError(f"{target}: exists already; remove it or choose another name")
    kind, files = find_files(source, kind)
    layout = None if options.layout is None else load_layout(options.layout)
    root = source if source.is_dir() else source.parent
    work = _Import(root, layout, options)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("files"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not progress) as bar:
        read = bar.track(_read_all(files, kind, layout, options), total=len(files), description=f"Reading {source.name}")
        clips = work.clips(read)
        try:
            first = next(clips)
        except StopIteration:
            # A file a reason: mostly one reason holds for all.
            first_of = {message: file for file, message in reversed(work.bad)}
            reasons = "; ".join(f"{file}: {message}" for message, file in list(first_of.items())[::-1][:3])
            raise InputError(f"{source}: none of {len(files)} files can be used: {reasons or 'they hold no clip'}") from None
        store = write_store(
            target,
            itertools.chain([first], clips),
            layout=work.layout,
            space=work.space,
            fps=work.fps,
            class_names=work.classes,
            unit=work.unit or work.layout.unit,
            notes={"origin": kind},
        )
    if work.short:
        work.notes.append(f"left out: {work.short} clips of fewer than {options.shortest} frames")
    report = None
    if work.bad:
        report = target.with_name(f"{target.name}.bad.csv")
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([("file", "reason"), *work.bad])
        write_whole(report, text.getvalue().encode())
    return Imported(store, len(files), tuple(work.bad), report, tuple(work.notes))


def find_files(source: Path, kind: str | None = None) -> tuple[str, list[Path]]:
    """The format of a folder's files (or of one file), and the files, sorted as a person would.

    Args:
        source: the folder, searched to the bottom, or a file.
        kind: one of ``FORMATS``; by default what the files' names say.

    Raises:
        InputError: there is no such folder or format, or no file of the format.
    """
    kind = kind or recognise_files(source)
    if kind not in FORMATS:
        near = difflib.get_close_matches(kind, ("cmu", "h36m", "h36m-3d", "cmu-bvh", *FORMATS), n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InputError(f"--as {kind}: no such format{hint} (of your own files: {', '.join(FORMATS)})")
    return kind, _sources(source, FORMATS[kind])


def recognise_files(source: Path) -> str:
    """The format that most files below a folder have the suffix of.

    Raises:
        InputError: there is no such folder, or no file of a known kind in it.
    """
    if not source.exists():
        raise InputError(f"{source}: no such file or folder")
    counts = {kind: sum(1 for _ in _candidates(source, form)) for kind, form in FORMATS.items()}
    # Of formats with one suffix, the first that is listed: what the others are has to be said.
    kind, count = max(counts.items(), key=lambda pair: pair[1])
    if not count:
        suffixes = ", ".join(suffix for form in FORMATS.values() for suffix in form.suffixes)
        raise InputError(f"{source}: found no file of a known kind; expected {suffixes}: say which format it is by --as")
    return kind


def _sources(source: Path, form: Format) -> list[Path]:
    files = sorted(_candidates(source, form), key=lambda path: natural(path.as_posix()))
    if form.folders:
        files = list(dict.fromkeys(file.parent for file in files))
    if not files:
        raise InputError(f"{source}: found no {', '.join(form.suffixes)} file in it")
    return files


def _candidates(source: Path, form: Format) -> Iterator[Path]:
    if source.is_file():
        return iter([source] if source.name.lower().endswith(form.suffixes) else [])
    return (
        path
        for path in source.rglob("*")
        if (name := path.name.lower()).endswith(form.suffixes) and not name.endswith(form.other or ("\0",)) and path.is_file()
    )


def _read_all(
    files: Sequence[Path], kind: str, layout: Layout | None, options: ImportOptions
) -> Iterator[tuple[Path, Iterable[Recording] | InputError]]:
    """What each file holds, or why it cannot be used, in order; many files are read by as many processes as there are cores."""
    if len(files) < MANY:
        for path in files:
            yield path, read_recordings(path, kind, layout, options)
        return
    workers = os.cpu_count() or 1
    with ProcessPoolExecutor(workers, multiprocessing.get_context("forkserver")) as pool:
        # A bounded number ahead of whoever writes: memory stays flat however many files there are.
        ahead: deque[tuple[Path, Future[list[Recording] | InputError]]] = deque()
        for path in files:
            ahead.append((path, pool.submit(_read_one, path, kind, layout, options)))
            if len(ahead) >= 8 * workers:
                done, future = ahead.popleft()
                yield done, future.result()
        for done, future in ahead:
            yield done, future.result()


def read_recordings(path: Path, kind: str, layout: Layout | None, options: ImportOptions) -> Iterator[Recording]:
    """What one file holds, read when asked for, so that whoever asks meets the error."""
    yield from FORMATS[kind].read(path, layout, options)


def _read_one(path: Path, kind: str, layout: Layout | None, options: ImportOptions) -> list[Recording] | InputError:
    try:
        return list(FORMATS[kind].read(path, layout, options))
    except InputError as error:
        return error


class _Import:
    """Recordings to clips: what the first one settles (body, space, rate) the others have to fit."""

    def __init__(self, root: Path, layout: Layout | None, options: ImportOptions):
        self.root, self.options = root, options
        self.classes = Classes()
        self.bad: list[tuple[str, str]] = []
        self.notes: list[str] = []
        self.short = 0
        self._layout, self._fps, self.unit = layout, options.fps, ""
        self._space: Literal["xyz", "xyc"] | None = None
        self._listed = None if options.labels is None else _label_file(options.labels)
        self._label = None if options.label_from_name is None else _pattern("--label-from-name", options.label_from_name)
        self._subject = (
            None if options.subject_from_name is None else _pattern("--subject-from-name", options.subject_from_name)
        )

    @property
    def layout(self) -> Layout:
        assert self._layout is not None
        return self._layout

    @property
    def space(self) -> Literal["xyz", "xyc"]:
        assert self._space is not None
        return self._space

    @property
    def fps(self) -> float:
        assert self._fps is not None
        return self._fps

    def clips(self, read: Iterable[tuple[Path, Iterable[Recording] | InputError]]) -> Iterator[Clip]:
        """The clips of all files that can be used; the others go to ``bad``."""
        for path, found in read:
            source = path.relative_to(self.root).as_posix()
            try:
                if isinstance(found, InputError):
                    raise found
                somebody = False
                for recording in found:
                    somebody = True
                    yield from self._clips(source, recording)
                if not somebody:
                    raise InputError("nobody in it")
            except InputError as error:
                self.bad.append((source, str(error).removeprefix(f"{path}: ")))

    def _clips(self, source: str, recording: Recording) -> Iterator[Clip]:
        for note in recording.notes:
            self._note(note)
        self._settle(source, recording)
        frames = in_order(recording, self.layout, self._note)
        if self.options.zero_is_missing:
            frames = np.where((frames == 0).all(axis=2, keepdims=True), np.nan, frames)
        labels = None if recording.frame_labels is None else np.array(recording.frame_labels, dtype=object)
        frames, nearest = at_rate(recording, frames, self.fps, self._note)
        if labels is not None and nearest is not None:
            labels = labels[nearest]
        record = self._record(source, recording)
        if labels is None:
            yield from self._long_enough(Clip(record, frames))
            return
        numbers = np.array([-1 if label in self.options.no_class else self.classes.index(label) for label in labels], np.int32)
        if not self.options.cut:
            yield from self._long_enough(Clip(record, frames, labels=numbers))
            return
        edges = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)]
        for start, end in itertools.pairwise(edges):
            piece = dataclasses.replace(record, recording=f"{record.recording}:{start}", label=int(numbers[start]))
            yield from self._long_enough(Clip(piece, frames[start:end]))

    def _long_enough(self, clip: Clip) -> Iterator[Clip]:
        if len(clip.frames) >= self.options.shortest:
            yield clip
        else:
            self.short += 1

    def _settle(self, source: str, recording: Recording) -> None:
        if self._layout is None:
            self._layout = layout_of(recording, Path(source).stem)
            self.notes.append(f"layout {self._layout.name}, from the names of the joints in {source}")
        if self._space is None:
            self._space, self.unit = recording.space, recording.unit
        if recording.space != self._space:
            raise InputError(f"holds {_SPACES[recording.space]}, the files before hold {_SPACES[self._space]}")
        if self._fps is None:
            self._fps = rate_of(recording)
            if self._fps is None:
                raise InputError("does not say how many frames a second it has: say it by --fps")
            self.notes.append(f"{self._fps:g} frames a second, as in {source}")

    def _record(self, source: str, recording: Recording) -> ClipRecord:
        listed = None if self._listed is None else self._listed.get(source, self._listed.get(Path(source).stem))
        if self._listed is not None and listed is None:
            raise InputError(f"is not in {self.options.labels}")
        label = recording.label
        if listed is not None:
            label = listed["label"]
        elif self._label is not None:
            label = _found(self._label, source, "--label-from-name")
        elif self.options.label_from_folder:
            label = Path(source).parent.name
            if not label:
                raise InputError("is in no folder that could name its class (--label-from-folder)")
        subject = recording.subject
        if self._subject is not None:
            subject = _found(self._subject, source, "--subject-from-name")
        listed = listed or {}
        name = f"{Path(source).with_suffix('').as_posix()}{f':{recording.name}' if recording.name else ''}"
        return ClipRecord(
            label=-1 if label is None or label in self.options.no_class else self.classes.index(label),
            recording=name,
            person=recording.person,
            source=source,
            subject=listed.get("subject") or subject,
            camera=listed.get("camera") or recording.camera,
            setup=listed.get("setup") or recording.setup,
            split=listed.get("split") or recording.split,
        )

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


_SPACES = {"xyz": "positions", "xyc": "image positions"}


def _pattern(option: str, text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise InputError(f"{option} {text!r}: not a regular expression: {error}") from None


def _found(pattern: re.Pattern[str], source: str, option: str) -> str:
    match = pattern.search(source)
    if match is None:
        raise InputError(f"{option} {pattern.pattern!r} finds nothing in its name")
    return match[1] if pattern.groups else match[0]


def _label_file(path: Path) -> Mapping[str, Mapping[str, str]]:
    """Rows of a CSV file with a class for each file."""
    rows = csv.DictReader(io.StringIO(read_text(path)), skipinitialspace=True)
    needed, known = {"file", "label"}, {"file", "label", "subject", "camera", "setup", "split"}
    heads = set(rows.fieldnames or ())
    if not needed <= heads or heads - known:
        there = ", ".join(rows.fieldnames or ()) or "nothing"
        raise InputError(f"{path}: line 1: found {there}, expected file, label and, if you like, subject, camera, setup, split")
    found: dict[str, Mapping[str, str]] = {}
    for row in rows:
        where = f"{path}: line {rows.line_num}"
        if None in row or None in row.values():
            raise InputError(f"{where}: expected {len(heads)} cells")
        if row["file"] in found:
            raise InputError(f"{where}: {row['file']!r} is listed twice")
        if row.get("split", "") not in ("", "train", "test"):
            raise InputError(f"{where}: split: found {row['split']!r}, expected train, test or nothing")
        found[row["file"]] = row
    return found
