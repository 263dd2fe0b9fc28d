"""Opening data: a store as it is, a benchmark's folder by way of a store that is made once and kept."""

import hashlib
import logging
import os
import shutil
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from symgnn.data.readers import Benchmark, read_cmu, read_h36m, read_h36m_3d
from symgnn.data.readers.cmu_bvh import read_cmu_bvh
from symgnn.data.readers.text import shortened
from symgnn.data.store import VERSION, Store, is_store
from symgnn.data.writing import write_store
from symgnn.errors import InputError
from symgnn.skeleton import Layout

_logger = logging.getLogger("symgnn.data")

Kind = Literal["cmu", "h36m", "h36m-3d"]
_READERS = {"cmu": read_cmu, "h36m": read_h36m, "h36m-3d": read_h36m_3d}
_CONVERSION = 1
"""Raise it when a reader gives other clips for the same files: stores made before are then not used again."""


def recognise(path: str | Path, layout: str | None = None) -> Literal["store"] | Kind:
    """What a folder holds, from the names in it.

    Args:
        path: the folder.
        layout: name of the layout the data is wanted in. It decides for Human 3.6M, whose files are angles (``h36m``) or
            places (``h36m-3d``).

    Raises:
        InputError: there is no such folder, or it is neither a store nor a known benchmark.
    """
    path = Path(path)
    if not path.is_dir():
        raise InputError(
            f"{path}: {'not a folder' if path.exists() else 'no such folder'}; expected a store or a data set's folder"
        )
    if is_store(path):
        return "store"
    if (benchmark := recognise_benchmark(path)) is not None:
        return "h36m-3d" if (benchmark, layout) == ("h36m", "h36m-3d") else benchmark
    found = sorted(entry.name for entry in path.iterdir())
    raise InputError(
        f"{path}: not recognised: found {shortened(found, 8) or 'an empty folder'}; expected store.json (a store), "
        "train/<action>/<action>_<n>.txt (CMU Mocap) or S<subject>/<action>_<n>.txt (Human 3.6M); "
        "symgnn data import makes a store of recordings of your own"
    )


def recognise_benchmark(path: Path) -> Literal["cmu", "h36m"] | None:
    """The benchmark whose names the files of a folder have, if any."""
    if next(path.glob("S[0-9]*/*_[12].txt"), None):
        return "h36m"
    if next(path.glob("train/*/*_*.txt"), None) or next(path.glob("test/*/*_*.txt"), None):
        return "cmu"
    return None


def open_data(
    path: str | Path,
    layout: Layout | None = None,
    *,
    kind: Literal["store"] | Kind | None = None,
    progress: bool = True,
) -> Store:
    """Open a store, or a benchmark's folder: that is converted to a store once, and opened at once from then on.

    The converted store lies in ``$SYMGNN_CACHE`` (``~/.cache/symgnn`` by default) under a name made of the folder's path and
    the names, sizes and times of its files: when one changes, the folder is converted again. Missing files of the benchmark
    and training files that copy the test set are reported by name.

    Args:
        path: the folder.
        layout: the body a model or preset was made for; the data must have it. Human 3.6M's own folder is opened in space
            for ``h36m-3d``, else as angles.
        kind: what the folder holds (as ``recognise`` says), where that should not be found from its names.
        progress: show a progress bar while converting.

    Raises:
        InputError: the folder or a file in it cannot be used, or the layout is another.
    """
    path = Path(path)
    found = recognise(path, layout and layout.name) if kind is None else kind
    store = Store.open(path) if found == "store" else _cached(_read(path, found), progress)
    _report(store, path)
    if layout is not None:
        store.require(layout)
    return store


def import_data(source: str | Path, target: str | Path, *, kind: Kind | None = None, progress: bool = True) -> Store:
    """Convert a benchmark's folder to a store at a place of the user's choice.

    Raises:
        InputError: as for ``open_data``, or ``target`` exists.
    """
    source = Path(source)
    found = recognise(source) if kind is None else kind
    if found == "store":
        raise InputError(f"{source}: is a store already; use it as it is")
    store = _convert(_read(source, found), Path(target), progress)
    _report(store, source)
    return store


def import_trials(folder: str | Path, trials: Path, target: str | Path, *, progress: bool = True) -> Store:
    """Make the CMU benchmark from the public BVH release: the rows of the listed trials.

    Raises:
        InputError: as for ``read_cmu_bvh``, a trial cannot be read, or ``target`` exists.
    """
    store = _convert(read_cmu_bvh(folder, trials), Path(target), progress)
    _report(store, Path(folder))
    return store


def cache_folder() -> Path:
    """Where converted stores are kept: ``$SYMGNN_CACHE``, by default ``~/.cache/symgnn``."""
    return Path(os.environ.get("SYMGNN_CACHE") or Path.home() / ".cache" / "symgnn")


def _read(path: Path, kind: Kind) -> Benchmark:
    try:
        return _READERS[kind](path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error}") from error


def _cached(benchmark: Benchmark, progress: bool) -> Store:
    target = cache_folder() / _cache_name(benchmark)
    if is_store(target):
        try:
            return Store.open(target)
        except InputError as error:
            _logger.warning("converting %s again, for its cached store cannot be used: %s", benchmark.folder, error)
            shutil.rmtree(target, ignore_errors=True)
    try:
        return _convert(benchmark, target, progress)
    except InputError as error:
        # Another process may have converted the same folder meanwhile.
        if is_store(target):
            return Store.open(target)
        if isinstance(error.__cause__, OSError):
            raise InputError(f"{error} (the variable SYMGNN_CACHE names the place for converted data)") from error
        raise


def _cache_name(benchmark: Benchmark) -> str:
    key = hashlib.sha256(f"{VERSION} {_CONVERSION} {benchmark.name} {benchmark.folder.resolve()}".encode())
    for record, file in zip(benchmark.records, benchmark.files, strict=True):
        about = file.stat()
        key.update(f"\n{record.source} {about.st_size} {about.st_mtime_ns}".encode())
    return f"{benchmark.name}-{key.hexdigest()[:20]}"


def _convert(benchmark: Benchmark, target: Path, progress: bool) -> Store:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("files"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not progress) as bar:
        return write_store(
            target,
            bar.track(benchmark.clips(), total=len(benchmark.records), description=f"Reading {benchmark.name}"),
            layout=benchmark.layout,
            space=benchmark.space,
            fps=benchmark.fps,
            class_names=benchmark.class_names,
            notes={"origin": benchmark.name, "missing": list(benchmark.missing), "leaked": list(benchmark.leaked)},
        )


def _report(store: Store, path: Path) -> None:
    if store.missing:
        _logger.warning("%s: missing files of the benchmark, work goes on without: %s", path, shortened(store.missing))
    if store.leaked:
        _logger.warning(
            "%s: training files that are copies of test files, left out of training: %s", path, shortened(store.leaked)
        )
