"""Speed of the data path on this machine: files to a store, a store to windows, windows to a training step."""

import json as json_format
import math
import multiprocessing
import os
import platform
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich import box
from rich.console import Console
from rich.table import Table

from symgnn.config import DataConfig, Preset, load_preset
from symgnn.data import ClipRecord, Store, WindowSampler, make_motion, write_store
from symgnn.data.importing import ImportOptions, import_recordings
from symgnn.data.splitting import replace_clips
from symgnn.experiments.bench import machine
from symgnn.experiments.bench_files import SAMPLES, Sample
from symgnn.files import write_whole
from symgnn.models.checkpoint import build
from symgnn.skeleton import load_layout
from symgnn.training import MotionData, training_step

ROWS = (57_000, 114_480)
"""Clips of the tables that are opened: a little more than NTU RGB+D has, and NTU RGB+D 120."""
CLASSES = 60
FRAMES = (75, 300)
"""Shortest and longest clip of those tables; the shortest holds one window."""
WINDOW = DataConfig(layout="ntu25", space="xyz", step=1, observed=50, future=25)
TRAINED = ("light", "own")
"""Presets that are trained a few steps, with their batches: the paper's light network, and one of a quarter of its width."""


@dataclass(frozen=True)
class Reading:
    """One format's reader, in seconds of one core."""

    format: str
    frames: int
    """Of a file, all persons together."""
    bytes: int
    """Of a file (of all files in a folder, for OpenPose)."""
    seconds: float
    """A file."""
    floor: float
    """Seconds that the bare parser (numpy's, json's, pickle's) takes for the same bytes, in the same run."""


@dataclass(frozen=True)
class Importing:
    """Files to a store, by all cores."""

    files: int
    bytes: int
    seconds: float
    memory: int | None
    """Largest memory of all processes together, bytes; None where the system does not tell."""


@dataclass(frozen=True)
class Opening:
    """Opening a store."""

    clips: int
    seconds: float


@dataclass(frozen=True)
class Sampling:
    """Batches from a store."""

    kind: str
    """Windows, or whole clips."""
    windows_a_second: float
    loading: float
    """Seconds until the first batch can be drawn."""
    memory: int | None
    """Bytes that loading and drawing take, pages of mapped files left out."""


@dataclass(frozen=True)
class Training:
    """A few steps of training."""

    preset: str
    batch: int
    waiting: float
    """Seconds a step until its batch is there."""
    step: float
    """Seconds a step computes."""
    preparing: float
    """Seconds before the first step: the split, the windows, the network's normalisation."""
    memory: int | None

    @property
    def share(self) -> float:
        """Part of the time that is spent waiting for data."""
        return self.waiting / (self.waiting + self.step)


def bench_data(
    *, json: str | Path | None = None, quick: bool = False, scale: float = 0.05, console: Console | None = None
) -> int:
    """Measure readers, an import, opening a store, sampling from it, and how long a training step waits for its batch.

    All files are made of the built-in motion, in a temporary folder. The store has the table of clips of a large data set:
    57,000 clips of 25 joints and 75 to 300 frames. Below a scale of 1 clips share frames: the table is whole, and so is every
    clip, but ``frames.npy`` has that part of their frames.

    Args:
        json: also write all figures to this file.
        quick: fewer files, clips and repetitions, and all in this process.
        scale: part of the frames that the store really has.
        console: where to print; a new one by default.
    """
    console = console or Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    alone = _here if quick else apart
    rows = tuple(count // 200 for count in ROWS) if quick else ROWS
    with tempfile.TemporaryDirectory(prefix="symgnn-bench-") as place, console.status("") as status:
        folder = Path(place)
        motion = make_motion(folder / "motion", clips_per_class=4, persons=4, test_persons=1, seconds=(5.0, 8.0))
        readings = []
        for sample in SAMPLES:
            status.update(f"reading {sample.name}")
            readings.append(measure_reader(sample, motion, folder / sample.name, 2 if quick else 6, 1 if quick else 5))
        status.update("importing")
        imported = alone(measure_import, motion.path, folder / "import", 70 if quick else 600)
        openings = []
        for clips in rows:
            status.update(f"opening a store of {clips:,} clips")
            openings.append(measure_opening(make_large(folder / f"store{clips}", motion, clips, scale).path, 1 if quick else 5))
        store = folder / f"store{rows[0]}"
        size = sum(file.stat().st_size for file in store.iterdir())
        status.update("drawing windows")
        samplings = [alone(measure_sampling, store, kind, 0.2 if quick else 3.0) for kind in ("windows", "whole clips")]
        trainings = []
        for preset in TRAINED:
            status.update(f"training steps of {preset}")
            trainings.append(alone(measure_training, store, preset, 2 if quick else None, 1 if quick else 3))
    lengths = f"{FRAMES[0]} to {FRAMES[1]} frames, 25 joints"
    console.print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}"
    )
    for table in _tables(readings, imported, openings, samplings, trainings):
        console.print(table, crop=False)
    console.print(f"the store: {rows[0]:,} clips of {lengths}; its frames at {scale:g} of that: {size / 1e6:,.0f} MB")
    if json is not None:
        content = {
            **machine(),
            "scale": scale,
            "store_bytes": size,
            "readers": [asdict(each) for each in readings],
            "import": asdict(imported),
            "opening": [asdict(each) for each in openings],
            "sampling": [asdict(each) for each in samplings],
            "training": [{**asdict(each), "share_of_wait": each.share} for each in trainings],
        }
        write_whole(json, json_format.dumps(content, indent=2).encode() + b"\n")
    return 0


# --- what is measured ----------------------------------------------------------------------------------------------------


def measure_reader(sample: Sample, motion: Store, folder: Path, files: int, passes: int) -> Reading:
    """Read files that are made first; reader and floor take turns, and each is the median of its passes."""
    folder.mkdir()
    paths = [sample.write(folder / f"file{number}", sample.motions(motion, number)) for number in range(files)]
    read = sample.reader()
    frames = sum(len(each if isinstance(each, np.ndarray) else each.frames) for each in read(paths[0]))
    sample.floor(paths[0])
    took: dict[str, list[float]] = {"reader": [], "floor": []}
    for _ in range(passes):
        for name, work in (("reader", read), ("floor", sample.floor)):
            # A core's own time: other work on the machine does not count.
            began = time.process_time()
            for path in paths:
                work(path)
            took[name].append((time.process_time() - began) / files)
    reader, floor = (statistics.median(each) for each in took.values())
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) // files
    return Reading(sample.name, frames, size, reader, floor)


def measure_import(motion: Path, folder: Path, files: int) -> Importing:
    """NTU RGB+D's files to a store, as ``symgnn data import`` does it."""
    sample = next(sample for sample in SAMPLES if sample.name == "ntu")
    folder.mkdir()
    made = sample.write(folder / "file", sample.motions(Store.open(motion), 0)).read_bytes()
    for number in range(files):
        name = (
            f"S{number % 17 + 1:03d}C{number % 3 + 1:03d}P{number % 40 + 1:03d}R{number // 1200 + 1:03d}A{number % 60 + 1:03d}"
        )
        (folder / f"{name}.skeleton").write_bytes(made)
    (folder / "file.skeleton").unlink()
    files = len(list(folder.iterdir()))
    with Memory() as memory:
        began = time.perf_counter()
        options = ImportOptions(split_as="ntu60-xsub")
        done = import_recordings(folder, folder.with_name("imported"), "ntu", options, progress=False)
        took = time.perf_counter() - began
    assert len(done.store.clips) == files
    return Importing(files, files * len(made), took, memory.peak)


def measure_opening(store: Path, runs: int) -> Opening:
    """Open a store several times."""
    took = []
    for _ in range(runs):
        began = time.perf_counter()
        clips = len(Store.open(store).clips)
        took.append(time.perf_counter() - began)
    return Opening(clips, statistics.median(took))


def measure_sampling(store: Path, kind: str, least: float) -> Sampling:
    """Batches of 64 windows of 75 frames, or of whole clips in as many."""
    opened = Store.open(store)
    with Memory() as memory:
        began = time.perf_counter()
        windows = WindowSampler.from_store(
            opened,
            opened.select(split="train"),
            observed=WINDOW.observed,
            future=WINDOW.future,
            sampling="whole" if kind == "whole clips" else "window",
        )
        generator = torch.Generator().manual_seed(0)
        windows.sample(64, generator)
        loading = time.perf_counter() - began
        drawn, began = 0, time.perf_counter()
        while (took := time.perf_counter() - began) < least:
            windows.sample(64, generator)
            drawn += 64
    return Sampling(kind, drawn / took, loading, memory.peak)


def measure_training(store: Path, name: str, batch: int | None, steps: int) -> Training:
    """Steps as training takes them: its data module, its windows, its step and optimiser; batches of the preset's size."""
    torch.manual_seed(0)
    preset = load_preset(name)
    batch = batch or preset.training.batch
    training = replace(preset.training, batch=batch, steps=steps + 1, validate_every=steps + 1)
    preset = replace(preset, data=replace(preset.data, **_fields(WINDOW)), training=training)
    opened = Store.open(store)
    with Memory() as memory:
        began = time.perf_counter()
        data, model = _prepared(opened, preset)
        preparing = time.perf_counter() - began
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
        batches = iter(data.train_dataloader())
        waiting, computing = [], []
        for _ in range(steps + 1):
            began = time.perf_counter()
            windows = next(batches)
            there = time.perf_counter()
            optimizer.zero_grad()
            training_step(model, windows, preset.training).surrogate.backward()
            optimizer.step()
            waiting.append(there - began)
            computing.append(time.perf_counter() - there)
    # The first step warms up.
    return Training(name, batch, statistics.mean(waiting[1:]), statistics.mean(computing[1:]), preparing, memory.peak)


def _fields(config: DataConfig) -> dict[str, Any]:
    return {field: getattr(config, field) for field in ("layout", "space", "step", "observed", "future")}


def _prepared(store: Store, preset: Preset) -> tuple[MotionData, Any]:
    data = MotionData(store, preset)
    data.setup("fit")
    model = build(preset, store.layout, len(store.class_names)).train()
    model.fit_normalisation(data.recordings(model))
    return data, model


def make_large(path: Path, motion: Store, clips: int, scale: float) -> Store:
    """A store with a large table: NTU RGB+D's names, splits and sides, clips of 75 to 300 frames.

    Where the scale is below 1, clips lie anywhere in ``frames.npy``, which has that part of their frames.
    """
    random = np.random.default_rng(0)
    lengths = random.integers(FRAMES[0], FRAMES[1] + 1, clips)
    total = max(FRAMES[1], math.ceil(scale * lengths.sum()))
    ends = np.cumsum(lengths)
    starts = ends - lengths if ends[-1] <= total else random.integers(0, total - lengths + 1)
    sample = replace(next(sample for sample in SAMPLES if sample.name == "ntu"), frames=4096)
    piece = sample.motions(motion, 0)[0].astype(np.float32)

    def frames() -> Iterator[tuple[ClipRecord, np.ndarray]]:
        for number, first in enumerate(range(0, total, len(piece))):
            yield ClipRecord(recording=str(number)), piece[: total - first] + np.float32(0.01 * (number % 100))

    names = [f"A{label + 1:03d}" for label in range(CLASSES)]
    store = write_store(path, frames(), layout=load_layout("ntu25"), space="xyz", fps=30.0, class_names=names)
    records = []
    for number, (start, length) in enumerate(zip(starts.tolist(), lengths.tolist(), strict=True)):
        label, camera, subject, setup = number % CLASSES, number % 3 + 1, number % 106 + 1, number % 32 + 1
        name = f"nturgb+d_skeletons/S{setup:03d}C{camera:03d}P{subject:03d}R{number % 2 + 1:03d}{names[label]}:{number}"
        records.append(
            ClipRecord(
                start=start,
                length=length,
                label=label,
                recording=name,
                subject=str(subject),
                camera=str(camera),
                setup=str(setup),
                source=f"{name}.skeleton",
                split="train" if subject % 2 else "test",
            )
        )
    return replace_clips(store, records)


# --- how -----------------------------------------------------------------------------------------------------------------


def _here(work: Callable[..., Any], *arguments: Any) -> Any:
    return work(*arguments)


def apart(work: Callable[..., Any], *arguments: Any) -> Any:
    """Do something in a fresh process, so that its memory is its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


class Memory:
    """The memory of this process and those it starts, looked at all the while; what was there before does not count.

    Pages of mapped files, which the system takes back when it needs them, do not count either. Linux tells, other systems
    do not.
    """

    def __init__(self) -> None:
        self.peak: int | None = None
        self._done = threading.Event()

    def __enter__(self) -> "Memory":
        self._before = _memory()
        self._watch = threading.Thread(target=self._look)
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._watch.join()

    def _look(self) -> None:
        last = False
        while not last:
            last = self._done.wait(0.02)
            now = _memory()
            if now is not None and self._before is not None:
                self.peak = max(self.peak or 0, now - self._before)


def _memory() -> int | None:
    """Bytes of this process and all below it that are in no file."""
    if not Path("/proc/self/smaps_rollup").exists():
        return None
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue  # it has ended meanwhile
    family = {os.getpid()}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    total = 0
    for member in family:
        try:
            lines = Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += next((1024 * int(line.split()[1]) for line in lines if line.startswith("Anonymous:")), 0)
    return total


# --- how it is shown -----------------------------------------------------------------------------------------------------


def _tables(
    readings: Sequence[Reading],
    imported: Importing,
    openings: Sequence[Opening],
    samplings: Sequence[Sampling],
    trainings: Sequence[Training],
) -> Iterator[Table]:
    yield _table(
        "readers, one core; x: ratio to the bare parser of the same bytes",
        ("format", "frames a file", "MB a file", "files/s", "MB/s", "frames/s", "x"),
        [
            (
                each.format,
                f"{each.frames:,}",
                f"{each.bytes / 1e6:.2f}",
                f"{1 / each.seconds:,.1f}",
                f"{each.bytes / each.seconds / 1e6:,.1f}",
                f"{each.frames / each.seconds:,.0f}",
                f"{each.seconds / each.floor:.2f}",
            )
            for each in readings
        ],
    )
    yield _table(
        "import of NTU RGB+D files, all cores",
        ("files", "MB", "seconds", "files/s", "memory MB"),
        [
            (
                f"{imported.files:,}",
                f"{imported.bytes / 1e6:,.0f}",
                f"{imported.seconds:.1f}",
                f"{imported.files / imported.seconds:,.0f}",
                _megabytes(imported.memory),
            )
        ],
    )
    yield _table(
        "opening a store",
        ("clips", "seconds"),
        [(f"{each.clips:,}", f"{each.seconds:.2f}") for each in openings],
    )
    yield _table(
        f"batches of 64, {WINDOW.observed + WINDOW.future} frames each",
        ("", "windows/s", "loading s", "memory MB"),
        [(each.kind, f"{each.windows_a_second:,.0f}", f"{each.loading:.1f}", _megabytes(each.memory)) for each in samplings],
    )
    yield _table(
        "training from that store",
        ("network of", "windows a step", "waiting ms", "step ms", "share of wait", "before the first step s", "memory MB"),
        [
            (
                each.preset,
                f"{each.batch}",
                f"{each.waiting * 1e3:.2f}",
                f"{each.step * 1e3:,.0f}",
                f"{each.share:.3%}",
                f"{each.preparing:.1f}",
                _megabytes(each.memory),
            )
            for each in trainings
        ],
    )


def _table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=title, box=box.SIMPLE, title_justify="left")
    for place, cells in enumerate(zip(headings, *rows, strict=True)):
        table.add_column(cells[0], justify="right" if place else "left", no_wrap=True, min_width=max(map(len, cells)))
    for row in rows:
        table.add_row(*row)
    return table


def _megabytes(memory: int | None) -> str:
    return "·" if memory is None else f"{memory / 1e6:,.0f}"
