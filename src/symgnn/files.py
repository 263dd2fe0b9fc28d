"""Files: written whole, so that at whatever moment there is the old one or the new one; and YAML files that extend others."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import yaml

from symgnn.errors import InputError


def is_first_process() -> bool:
    """Whether this is the only process, or the first of those that torchrun started: the one that writes and speaks."""
    return os.environ.get("RANK", "0") == "0"


def read_extending(
    name: str,
    find: Callable[[str, tuple[str, ...]], Path],
    overlay: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]],
    expected: str,
    chain: tuple[str, ...] = (),
) -> dict[str, Any]:
    """The fields of a YAML file over those of the file it ``extends``, if it does: presets and layouts are such files.

    Args:
        name: of the file, or its path.
        find: where a file of a name is; told who asked for it.
        overlay: the fields below, and those above, in one.
        expected: what the file should hold, for messages.
        chain: names of the files that extend this one.

    Raises:
        InputError: there is no such file (``find`` says so), it is no YAML file of fields, or it extends itself.
    """
    path = find(name, chain)
    if name in chain:
        raise InputError(f"{path}: extends itself by way of {' -> '.join((*chain, name))}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a YAML file: {error}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected {expected}, found {type(values).__name__}")
    values.setdefault("name", path.stem)
    below = values.pop("extends", None)
    return values if below is None else overlay(read_extending(str(below), find, overlay, expected, (*chain, name)), values)


def write_whole(path: str | Path, content: bytes | Callable[[IO[bytes]], object]) -> None:
    """Write a file to a temporary name beside ``path``, then rename it.

    The temporary name is the same each time, so that the next write clears away what a kill left. A pipe or a terminal is
    written to as it is.

    Args:
        path: the file, in a folder that is there.
        content: bytes, or a function that writes them to the open file.

    Raises:
        InputError: the folder is not there or cannot be written, or the disk is full; an old file of that name is still there.
    """
    path = Path(path)

    def fill(file: IO[bytes]) -> None:
        if isinstance(content, bytes):
            file.write(content)
        else:
            content(file)

    try:
        if path.exists() and not path.is_file():
            with path.open("wb") as file:
                fill(file)
            return
        temporary = path.with_name(f".{path.name}.partial")
        temporary.unlink(missing_ok=True)
        try:
            with temporary.open("xb") as file:  # never through a link that someone else put there
                fill(file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}; nothing was kept of it") from None
