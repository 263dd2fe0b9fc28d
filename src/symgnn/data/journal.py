"""How far a long import has come: a line a file, so that the same command goes on after a kill."""

import json
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from symgnn.errors import InputError

JOURNAL = "journal.jsonl"
PAUSE = 5.0
"""Seconds between two times that the work is made safe: what a kill can cost."""


class Journal:
    """Lines about files that are done, in a folder with what came of them.

    What a line tells is on the disk before the line is: whoever adds one calls ``is_due`` then, and where it is, makes the
    work safe and calls ``flush``.

    Args:
        folder: made where it is not there. One process at a time holds it; that of a dead one is free.
        key: what the work depends on: lines written under another key are not gone on from.

    Raises:
        InputError: another process is at work there.
    """

    def __init__(self, folder: Path, key: Mapping[str, Any]):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        # Beside the folder, not in it: no system renames a folder with an open file in it but Unix.
        self._lock = FileLock(folder.with_name(f"{folder.name}.lock"))
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise InputError(
                f"{folder}: another import is writing there at this moment; wait for it, or choose another name"
            ) from None
        self._key = json.loads(_line({"key": key}))
        self.past = self._read()
        """Lines of earlier runs, in order; None where there is nothing to go on from."""
        self._waiting: list[bytes] = []
        self._since = time.monotonic()

    def start(self) -> None:
        """Begin anew: everything that is in the folder goes."""
        for entry in self.folder.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        self.past = None
        self._append(_line(self._key))

    def add(self, line: Mapping[str, Any]) -> None:
        """Tell of one more file."""
        self._waiting.append(_line(line))

    @property
    def is_due(self) -> bool:
        """Whether it is time to make the work safe."""
        return time.monotonic() - self._since > PAUSE

    def flush(self) -> None:
        """Write the lines that wait: what they tell is on the disk."""
        self._append(b"".join(self._waiting))
        self._waiting.clear()
        self._since = time.monotonic()

    def release(self) -> None:
        """Let others at the folder."""
        self._lock.release()

    def remove(self, folder: Path) -> None:
        """Take the journal out of the folder, whatever it is called by now: there is nothing more to go on with."""
        (folder / JOURNAL).unlink(missing_ok=True)
        Path(self._lock.lock_file).unlink(missing_ok=True)
        self.release()

    def _append(self, lines: bytes) -> None:
        with (self.folder / JOURNAL).open("ab") as file:
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())

    def _read(self) -> list[dict[str, Any]] | None:
        path = self.folder / JOURNAL
        if not path.exists():
            return None
        whole, _, torn = path.read_bytes().rpartition(b"\n")
        lines: list[dict[str, Any]] = []
        for line in whole.split(b"\n"):
            try:
                lines.append(json.loads(line))
            except ValueError:
                return None
        if not lines or lines[0] != self._key:
            return None
        if torn:
            os.truncate(path, len(whole) + 1)
        return lines[1:]


def _line(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
