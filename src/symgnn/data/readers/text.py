"""What readers share: bounded files, text, messages."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from symgnn.errors import InputError
from symgnn.skeleton import Layout, layout_names

LARGEST = float(np.finfo(np.float32).max)
"""A store keeps float32: what is larger is no number."""
BOUND = 1 << 31
"""Bytes of a file that are read at most: a recording is far below."""


def read_bytes(path: Path) -> bytes:
    """The content of a file of a reasonable size.

    Raises:
        InputError: it cannot be read, or is larger than 2 GiB.
    """
    try:
        size = path.stat().st_size
        if size > BOUND:
            raise InputError(f"{path}: {size:,} bytes; expected a recording of at most {BOUND:,}: cut it")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


def read_text(path: Path) -> str:
    """The text of a file in UTF-8 (a byte order mark is left out) or, where it begins with its mark, UTF-16.

    Raises:
        InputError: it cannot be read or is no such text; the message names line and byte.
    """
    raw = read_bytes(path)
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        found = f"the byte 0x{raw[error.start]:02x}" if error.start < len(raw) else "half a letter"
        raise InputError(f"{path}: line {line}: found {found}, expected UTF-8 text") from None
    if (place := text.find("\0")) >= 0:
        raise InputError(f"{path}: line {text[:place].count(chr(10)) + 1}: found a zero byte, expected text")
    return text


def shortened(names: Sequence[str], most: int = 20) -> str:
    """Names for a message: all of them, or the first and how many more."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"


def shown(cell: str, most: int = 40) -> str:
    """What was found, quoted, for a message."""
    return repr(cell if len(cell) <= most else f"{cell[:most]}...")


def required(layout: Layout | None, where: str | Path) -> Layout:
    """The layout a user named, for files that do not name their joints.

    Raises:
        InputError: none was named.
    """
    if layout is None:
        names = ", ".join(layout_names())
        raise InputError(
            f"{where}: does not name its joints: say by --layout which body it is ({names}, or a YAML file of your own)"
        )
    return layout


def is_image(layout: Layout | None) -> bool:
    """Whether a layout's three numbers are a place in an image and a confidence."""
    return layout is not None and layout.unit == "px"
