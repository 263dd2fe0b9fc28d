"""Where the data sets are obtained, under which terms, and what to do with them: the records of ``sources.yaml``."""

import difflib
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import yaml
from pydantic import TypeAdapter

from symgnn.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Files:
    """Files that a data set consists of."""

    what: str
    """What they are."""
    patterns: tuple[str, ...]
    """The ends of their paths fit one of these (``*`` and ``?`` as in a shell)."""
    count: int | None = None
    """How many there are; None where nothing says."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A data set, in words."""

    title: str
    """What it is."""
    page: str
    """The official place."""
    terms: str
    """Under which terms."""
    cite: str
    """What to cite."""
    download: tuple[str, ...]
    """Which files."""
    folder: str
    """What the folder looks like after unpacking."""
    files: tuple[Files, ...]
    """What ``found_files`` counts."""
    commands: tuple[str, ...]
    """From the folder to a judged model."""
    store: str
    """How large the store becomes."""
    clips: str
    """How many clips are expected."""
    unverified: tuple[str, ...]
    """What of all this could not be checked."""


@functools.cache
def sources() -> Mapping[str, Source]:
    """Every record by its name."""
    content = yaml.safe_load(Path(__file__).with_name("sources.yaml").read_text(encoding="utf-8"))
    return TypeAdapter(dict[str, Source]).validate_python(content)


def find_source(name: str) -> tuple[str, Source]:
    """The record of a data set, by its name or that of a preset made for it (``ntu60-xview``).

    Raises:
        InputError: there is none; the nearest name is given.
    """
    known = sources()
    for each in (name, name.partition("-")[0]):
        if each in known:
            return each, known[each]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise InputError(f"no data set {name!r}{hint} (there are: {', '.join(known)})")


def found_files(source: Source, folder: Path) -> list[tuple[Files, int]]:
    """How many of a data set's files a folder holds, searched to the bottom.

    Raises:
        InputError: there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: {'not a folder' if folder.exists() else 'no such folder'}")
    counts = [0] * len(source.files)
    for path in folder.rglob("*"):
        name = f"/{path.relative_to(folder).as_posix()}"
        for place, files in enumerate(source.files):
            if any(fnmatchcase(name, f"*/{pattern}") for pattern in files.patterns) and path.is_file():
                counts[place] += 1
                break
    return list(zip(source.files, counts, strict=True))
