"""A user's own files to a store: which readers there are, and what is made of what they read."""

import contextlib
import csv
import dataclasses
import difflib
import hashlib
import io
import itertools
import logging
import multiprocessing
import os
import re
import shutil
import signal
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from symgnn.data.conforming import at_rate, in_order, layout_of, rate_of
from symgnn.data.journal import Journal
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
from symgnn.data.store import FRAMES, Classes, Clip, ClipRecord, Store, natural
from symgnn.data.writing import StoreWriter, disk_errors, publish, require_free
from symgnn.errors import InputError
from symgnn.files import write_whole
from symgnn.skeleton import Layout, layout_from_dict, layout_to_dict, load_layout

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
    leave_out: Path | None = None
    """Text file that names, a line each, files not to be read: with or without suffix (NTU's list of missing skeletons)."""


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
    done_before: int
    """Files that an earlier run, which was stopped, had done."""
    seconds: float
    """This run took."""


def import_recordings(
    source: str | Path,
    target: str | Path,
    kind: str | None = None,
    options: ImportOptions | None = None,
    *,
    progress: bool = True,
) -> Imported:
    """Make a store of a folder of recordings (or of one file).

    Files that cannot be used do not stop the work: they are listed in ``TARGET.bad.csv``, with the reason. From ``MANY`` files
    on, an import that was stopped in whatever way goes on, when it is called again, behind the last file it had made safe; the
    store is the same to the byte. What there is of it lies in ``.TARGET.partial`` beside the target.

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
    require_free(target)
    kind, files = find_files(source, kind)
    work = _Import(source, kind, options)
    files = work.wanted(files)
    began = time.monotonic()
    journal, done = None, 0
    if len(files) >= MANY:
        with disk_errors(target, "nothing was kept"):
            journal = Journal(target.with_name(f".{target.name}.partial"), work.key())
    folder = target.with_name(f".{target.name}.{uuid.uuid4().hex[:12]}.partial") if journal is None else journal.folder
    kept = "nothing was kept" if journal is None else f"the same command goes on from what is in {folder}"
    writer: StoreWriter | None = None
    worth_keeping = reading = False
    try:
        with disk_errors(target, kept):
            require_free(target)  # another import may have made it before this one had its turn
            if journal is None:
                folder.mkdir(parents=True)
            else:
                done = work.go_on(journal, files)
                writer = work.writer(folder) if work.records else None
            worth_keeping = reading = journal is not None
            with _progress(progress) as bar:
                task = bar.add_task(f"Reading {source.name}", total=len(files), completed=done)
                for path, found, said in _read_all(files[done:], kind, work.given_layout, options):
                    line = work.begin(path)
                    for clip in work.clips(path, found):
                        writer = writer or work.writer(folder)
                        line["clips"].append(dataclasses.asdict(writer.add(clip)))
                        line["labelled"] += clip.labels is not None
                    work.end(line, said)
                    if journal is not None:
                        journal.add(line)
                        if journal.is_due:
                            _make_safe(writer, journal)
                    bar.advance(task)
            if writer is None:
                worth_keeping = reading = False
                if journal is not None:
                    journal.remove(folder)
                raise InputError(f"{source}: none of {len(files)} files can be used: {work.reasons() or 'they hold no clip'}")
            if journal is not None:
                _make_safe(writer, journal)
            reading = False
            writer.finish(fps=work.fps, unit=work.unit or work.layout.unit, notes=work.about())
            publish(folder, target)
            if journal is not None:
                journal.remove(target)
    except BrokenProcessPool:
        raise InputError(f"{source}: a process that reads was killed (is there enough memory?); {kept}") from None
    except BaseException:
        if reading and journal is not None:
            with contextlib.suppress(OSError):  # a full disk: what was made safe before is there
                _make_safe(writer, journal)
        raise
    finally:
        if writer is not None:
            writer.close()
        if not worth_keeping:
            shutil.rmtree(folder, ignore_errors=True)
        if journal is not None:
            journal.release()
    report = None
    if work.bad:
        report = target.with_name(f"{target.name}.bad.csv")
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([("file", "reason"), *work.bad])
        write_whole(report, text.getvalue().encode())
    notes, seconds = work.told(len(files)), time.monotonic() - began
    return Imported(Store.open(target), len(files), tuple(work.bad), report, notes, done, seconds)


def _make_safe(writer: "StoreWriter | None", journal: Journal) -> None:
    if writer is not None:
        writer.sync()
    journal.flush()


class _Rate(ProgressColumn):
    """Files a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} files/s")


def _progress(shown: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("files"), _Rate())
    return Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), disable=not shown)


def find_files(source: Path, kind: str | None = None) -> tuple[str, list[Path]]:
    """The format of a folder's files (or of one file), and the files, sorted as a person would.

    Args:
        source: the folder, searched to the bottom, or a file.
        kind: one of ``FORMATS``; by default what the files' names say.

    Raises:
        InputError: there is no such folder or format, or no file of the format.
    """
    if not source.exists():
        raise InputError(f"{source}: no such file or folder")
    kind = kind or recognise_files(source)
    if kind not in FORMATS:
        near = difflib.get_close_matches(kind, ("cmu", "h36m", "h36m-3d", "cmu-bvh", *FORMATS), n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InputError(f"--as {kind}: no such format{hint} (of your own files: {', '.join(FORMATS)})")
    return kind, _sources(source, FORMATS[kind])


def recognise_files(source: Path) -> str:
    """The format that most files below a folder have the suffix of.

    Raises:
        InputError: no file of a known kind is in it.
    """
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
) -> Iterator[tuple[Path, Iterable[Recording] | InputError, list[str]]]:
    """What each file holds, or why it cannot be used, and what its reader said, in order.

    Many files are read by as many processes as there are cores.
    """
    if len(files) < MANY:
        for path in files:
            with _heard() as said:
                yield path, read_recordings(path, kind, layout, options), said
        return
    workers = os.cpu_count() or 1
    _start_server()
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("forkserver"), initializer=_leave_interrupts)
    try:
        # A bounded number ahead of whoever writes: memory stays flat however many files there are.
        ahead: deque[tuple[Path, Future[tuple[list[Recording] | InputError, list[str]]]]] = deque()
        for path in files:
            with _uninterrupted():
                future = pool.submit(_read_one, path, kind, layout, options)
            ahead.append((path, future))
            if len(ahead) >= 8 * workers:
                done, future = ahead.popleft()
                yield done, *future.result()
        for done, future in ahead:
            yield done, *future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _start_server() -> None:
    """Start what readers are forked from, with Ctrl-C blocked: a reader that still imports cannot ignore it by itself."""
    resource_tracker.ensure_running()  # before: it ends with Ctrl-C unblocked
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C comes when it is over: a pool would not know of a reader that it was just starting, and leave it behind."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is None:
        yield
        return
    pressed: list[tuple[int, FrameType | None]] = []
    before = signal.signal(signal.SIGINT, lambda *pressing: pressed.append(pressing))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed and callable(before):
        before(*pressed[0])


def _leave_interrupts() -> None:
    """Ctrl-C is for the process that writes; also where the server was there before."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def read_recordings(path: Path, kind: str, layout: Layout | None, options: ImportOptions) -> Iterator[Recording]:
    """What one file holds, read when asked for, so that whoever asks meets the error."""
    yield from FORMATS[kind].read(path, layout, options)


def _read_one(
    path: Path, kind: str, layout: Layout | None, options: ImportOptions
) -> tuple[list[Recording] | InputError, list[str]]:
    with _heard() as said:
        try:
            return list(FORMATS[kind].read(path, layout, options)), said
        except InputError as error:
            return error, said


@contextlib.contextmanager
def _heard() -> Iterator[list[str]]:
    """Warnings of readers, to be told once for all files that they hold for."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logger = logging.getLogger("symgnn.data")
    before = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield said
    finally:
        logger.removeHandler(handler)
        logger.propagate = before


class _Import:
    """Recordings to clips: what the first one settles (body, space, rate) the others have to fit."""

    def __init__(self, source: Path, kind: str, options: ImportOptions):
        self.root = source if source.is_dir() else source.parent
        self.kind, self.options = kind, options
        self.given_layout = None if options.layout is None else load_layout(options.layout)
        self.bad: list[tuple[str, str]] = []
        self.records: list[ClipRecord] = []
        """Clips of an earlier run."""
        self._labelled = 0
        self._before: list[str] = []
        """What is to be told of files that were not read."""
        self._notes: dict[str, int] = {}
        """What is to be told, and of how many files."""
        self._of_this_file: dict[str, None] = {}
        self._short = 0
        self._settled: dict[str, Any] | None = None
        self._layout, self._fps, self.unit = self.given_layout, options.fps, ""
        self._space: Literal["xyz", "xyc"] | None = None
        of_kinetics = kind == "kinetics" and (options.labels is None or options.labels.suffix.lower() == ".json")
        self._kinetics = _kinetics_labels(self.root, options.labels) if of_kinetics else None
        self._listed = None if options.labels is None or of_kinetics else _label_file(options.labels)
        self._label = None if options.label_from_name is None else _pattern("--label-from-name", options.label_from_name)
        self._subject = (
            None if options.subject_from_name is None else _pattern("--subject-from-name", options.subject_from_name)
        )
        self.classes = Classes({entry.label: entry.label_index for entry in (self._kinetics or {}).values()})

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

    def writer(self, folder: Path) -> StoreWriter:
        """Of a store in a folder, behind what an earlier run wrote there."""
        return StoreWriter(
            folder, self.layout, self.space, self.classes, records=self.records, labelled=self._labelled, timed=0
        )

    def about(self) -> dict[str, Any]:
        """Entries of ``store.json``."""
        return {"origin": self.kind, **({} if self.options.split_as is None else {"split_as": self.options.split_as})}

    def wanted(self, files: Sequence[Path]) -> list[Path]:
        """The files without those that are not to be read.

        Raises:
            InputError: none is left.
        """
        left = list(files)

        def leave(out: Callable[[Path], bool], why: str) -> None:
            count = len(left)
            left[:] = [path for path in left if not out(path)]
            if len(left) < count:
                self._before.append(f"left out: {count - len(left)} {why}")

        if self.options.leave_out is not None:
            names = {line.split()[0] for line in read_text(self.options.leave_out).splitlines() if line.strip()}
            leave(lambda path: path.stem in names or path.name in names, f"files named in {self.options.leave_out}")
        if self.kind == "ntu" and self.options.split_as is not None:
            ntu.check_protocol(self.options.split_as)
        if self.kind == "ntu" and (self.options.split_as or "").startswith("ntu60"):
            leave(ntu.is_of_120_only, "files of NTU RGB+D 120 alone")
        if self._kinetics is not None:
            absent = {name for name, entry in self._kinetics.items() if not entry.has_skeleton}
            leave(lambda path: path.stem in absent, "clips without a skeleton, as the label files say")
        if not left:
            raise InputError(f"{self.root}: no file is left to read: {'; '.join(self._before)}")
        return left

    # -- a long import ---------------------------------------------------------------------------------------------------

    def key(self) -> dict[str, Any]:
        """All that an import depends on but the files."""
        options = dataclasses.asdict(self.options)
        for name in ("labels", "leave_out"):
            path = getattr(self.options, name)
            options[name] = None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()
        options["layout"] = None if self.given_layout is None else layout_to_dict(self.given_layout)
        listed = sorted((name, *vars(entry).values()) for name, entry in (self._kinetics or {}).items())
        return {
            "symgnn": version("symgnn"),
            "root": str(self.root.resolve()),
            "kind": self.kind,
            "options": options,
            "kinetics": hashlib.sha256(repr(listed).encode()).hexdigest(),
        }

    def go_on(self, journal: Journal, files: Sequence[Path]) -> int:
        """Take over what an earlier run did; the number of files that were done."""
        past = journal.past
        if past is not None and all(
            _same_file(line, path, self.root) for line, path in itertools.zip_longest(past, files[: len(past)])
        ):
            for line in past:
                self._take(line)
            return len(past)
        if (journal.folder / FRAMES).exists():
            self._before.append("an import that had been stopped was of other files, options or another version: started anew")
        journal.start()
        return 0

    def begin(self, path: Path) -> dict[str, Any]:
        """The journal's line of a file, to be filled."""
        try:
            size, mtime = (about := path.stat()).st_size, about.st_mtime_ns
        except OSError:
            size, mtime = -1, -1  # it has gone since: whoever reads it will tell
        self._mark = len(self.classes), len(self.bad), self._short
        self._of_this_file = {}
        self._settled = None
        source = path.relative_to(self.root).as_posix()
        return {"file": source, "size": size, "mtime": mtime, "clips": [], "labelled": 0}

    def end(self, line: dict[str, Any], said: Iterable[str]) -> None:
        """Fill in what the file changed, and what its reader said."""
        for note in said:
            self._note(note.removeprefix(f"{self.root / line['file']}: "))
        classes, bad, short = self._mark
        line["classes"] = list(itertools.islice(self.classes, classes, None))
        line["bad"] = [reason for _, reason in self.bad[bad:]]
        line["short"] = self._short - short
        line["notes"] = list(self._of_this_file)
        line["settled"] = self._settled
        self._count_notes(line["notes"])

    def _take(self, line: Mapping[str, Any]) -> None:
        self.records += [ClipRecord(**values) for values in line["clips"]]
        self._labelled += line["labelled"]
        for name in line["classes"]:
            self.classes.index(name)
        self.bad += [(line["file"], reason) for reason in line["bad"]]
        self._short += line["short"]
        self._count_notes(line["notes"])
        if (settled := line["settled"]) is not None:
            self._layout = layout_from_dict(settled["layout"], where="the journal's layout")
            self._space, self.unit, self._fps = settled["space"], settled["unit"], settled["fps"]

    def _count_notes(self, notes: Iterable[str]) -> None:
        for note in notes:
            self._notes[note] = self._notes.get(note, 0) + 1

    def told(self, files: int) -> tuple[str, ...]:
        """What was assumed or left out."""
        counted = (
            note if count in (1, files) else f"{note} ({count:,} of {files:,} files)" for note, count in self._notes.items()
        )
        short = [f"left out: {self._short} clips of fewer than {self.options.shortest} frames"] if self._short else []
        return (*self._before, *counted, *short)

    def reasons(self) -> str:
        """Why files cannot be used: three reasons, a file of each. Mostly one holds for all."""
        first_of = {message: file for file, message in reversed(self.bad)}
        return "; ".join(f"{file}: {message}" for message, file in list(first_of.items())[::-1][:3])

    # -- a file ----------------------------------------------------------------------------------------------------------

    def clips(self, path: Path, found: Iterable[Recording] | InputError) -> Iterator[Clip]:
        """The clips of a file; one that cannot be used goes to ``bad``."""
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
            self._short += 1

    def _settle(self, source: str, recording: Recording) -> None:
        unsettled = self._space is None or self._fps is None
        if self._layout is None:
            self._layout = layout_of(recording, Path(source).stem)
            self._note(f"layout {self._layout.name}, from the names of the joints in {source}")
        if self._space is None:
            self._space, self.unit = recording.space, recording.unit
        if recording.space != self._space:
            raise InputError(f"holds {_SPACES[recording.space]}, the files before hold {_SPACES[self._space]}")
        if self._fps is None:
            self._fps = rate_of(recording)
            if self._fps is None:
                raise InputError("does not say how many frames a second it has: say it by --fps")
            self._note(f"{self._fps:g} frames a second, as in {source}")
        if unsettled:
            layout = layout_to_dict(self.layout)
            self._settled = {"layout": layout, "space": self.space, "unit": self.unit, "fps": self.fps}

    def _record(self, source: str, recording: Recording) -> ClipRecord:
        listed = None if self._listed is None else self._listed.get(source, self._listed.get(Path(source).stem))
        if self._listed is not None and listed is None:
            raise InputError(f"is not in {self.options.labels}")
        label = recording.label
        if self._kinetics is not None:
            entry = self._kinetics.get(Path(source).stem)
            if entry is None:
                raise InputError("is in no label file")
            if label not in (None, entry.label):
                raise InputError(f"says that its class is {label!r}, the label file says {entry.label!r}")
            label = entry.label
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
        self._of_this_file[text] = None


_SPACES = {"xyz": "positions", "xyc": "image positions"}


def _same_file(line: Mapping[str, Any] | None, path: Path | None, root: Path) -> bool:
    """Whether a file is still the one that a line of the journal is about."""
    if line is None or path is None:
        return False
    about = path.stat()
    now = (path.relative_to(root).as_posix(), about.st_size, about.st_mtime_ns)
    return now == (line["file"], line["size"], line["mtime"])


def _kinetics_labels(root: Path, given: Path | None) -> dict[str, kinetics.KineticsLabel] | None:
    """The label files of Kinetics-Skeleton, which lie beside the folders of clips; None where there is none."""
    beside = (sorted(place.glob("kinetics_*_label.json")) for place in (root, root.parent))
    files = [given] if given else next(filter(None, beside), [])
    labels: dict[str, kinetics.KineticsLabel] = {}
    for file in files:
        labels |= kinetics.read_kinetics_labels(file)
    return labels or None


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
