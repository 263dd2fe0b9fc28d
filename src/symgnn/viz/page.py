"""A self-contained HTML page: everything inside one file, no request to anywhere, light or dark as the reader has it."""

import os
import tempfile
from collections.abc import Mapping
from html import escape
from pathlib import Path

from symgnn.errors import InputError
from symgnn.viz.svg import DRAWING, PALETTE

HERE = Path(__file__).parent

# The browser itself refuses whatever is not in the file.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def page(title: str, content: str, script: str = "") -> str:
    """A whole HTML page.

    Args:
        title: plain text.
        content: HTML of the page's ``<main>``.
        script: JavaScript, run after the content is there.
    """
    css = (HERE / "page.css").read_text(encoding="utf-8")
    code = f"<script>{script}</script>" if script else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{PALETTE}{DRAWING}{css}</style></head>\n"
        f"<body><main>{content}</main>{code}</body></html>\n"
    )


def write_page(path: str | Path, html: str) -> None:
    """Write a page whole or not at all, see [write_whole][symgnn.viz.page.write_whole]."""
    write_whole(path, html.encode())


def write_whole(path: str | Path, content: bytes) -> None:
    """Write a file whole or not at all: to a temporary name beside ``path``, then renamed.

    Raises:
        InputError: the folder is not there or cannot be written, or the disk is full; an old file of that name is still there.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(content)  # a pipe or a terminal: nothing to put in its place
            return
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            # mkstemp makes a file for its owner alone; this one is for whomever the user's other files are for.
            mask = os.umask(0)
            os.umask(mask)
            temporary.chmod(0o666 & ~mask)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}; nothing was kept") from None


def plain(name: str) -> str:
    """A class's or joint's name as a person would write it, escaped for HTML: ``walk_slow`` becomes "walk slow"."""
    return escape(name.replace("_", " "))


def probability_bars(probabilities: Mapping[str, float], most: int = 5) -> str:
    """Bars of the most probable classes, the best first; the rest is summed up."""
    ranked = sorted(probabilities.items(), key=lambda item: -item[1])
    rows = []
    for place, (name, value) in enumerate(ranked[:most]):
        best = " best" if place == 0 else ""
        rows.append(_bar(plain(name), value, best))
    if len(ranked) > most:
        rows.append(_bar(f"{len(ranked) - most} others", sum(value for _, value in ranked[most:]), ""))
    return f'<div class="bars">{"".join(rows)}</div>'


def percent(fraction: float) -> str:
    """A fraction of 1 as a percentage with one decimal."""
    return f"{100 * fraction:.1f} %"


def _bar(name: str, value: float, best: str) -> str:
    return (
        f'<span class="name{best}">{name}</span><span class="bar{best}"><i style="width:{100 * value:.1f}%"></i></span>'
        f'<span class="value{best}">{percent(value)}</span>'
    )
