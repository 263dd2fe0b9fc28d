"""Files written whole: whatever happens at whatever moment, there is the old file or the new one."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO

from symgnn.errors import InputError


def is_first_process() -> bool:
    """Whether this is the only process, or the first of those that torchrun started: the one that writes and speaks."""
    return os.environ.get("RANK", "0") == "0"


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
