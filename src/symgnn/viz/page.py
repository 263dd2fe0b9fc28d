"""A self-contained HTML page: everything inside one file, no request to anywhere, light or dark as the reader has it."""

from collections.abc import Mapping
from html import escape
from pathlib import Path

from symgnn.files import write_whole
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
    """Write a page whole or not at all, see [write_whole][symgnn.files.write_whole]."""
    write_whole(path, html.encode())


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
