"""Vector pictures that fit a light and a dark page: lines take their colours from the page's style, by class."""

import re
from dataclasses import dataclass
from html import escape

PALETTE = """
:root { color-scheme: light dark;
  --paper: #ffffff; --card: #f6f7f9; --ink: #1b1f24; --soft: #5b6470; --line: #d5dae1;
  --seen: #4a5563; --truth: #1769c2; --guess: #d9540b; --frozen: #8a94a1; --link: #7a3fc0; --good: #18794e;
  --gold: #8a6a00; --teal: #0b7f8c; --rose: #c2255c; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #14171b; --card: #1d2126; --ink: #e7eaee; --soft: #a3adb9; --line: #363d46;
  --seen: #b4bfcc; --truth: #5cb0ff; --guess: #ff9a52; --frozen: #7d8793; --link: #c59bff; --good: #5fd39b;
  --gold: #e0b93a; --teal: #4fc9d6; --rose: #ff7fa6; } }
"""
"""The colours of every picture and page. Blue and orange stay apart for colour-blind eyes."""

DRAWING = """
svg text { fill: var(--ink); font: 12px system-ui, sans-serif; }
svg .soft { fill: var(--soft); }
svg .heading { font-size: 14px; font-weight: 600; }
svg path, svg line, svg circle { fill: none; stroke-linecap: round; stroke-linejoin: round; }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg .bones { stroke-width: 2.6; }
svg .far { opacity: .5; }
svg .seen { stroke: var(--seen); } svg .truth { stroke: var(--truth); } svg .guess { stroke: var(--guess); }
svg .frozen { stroke: var(--frozen); }
svg .guess.bones { stroke-dasharray: 5 4.2; }
svg .frozen.bones { stroke-width: 1.6; opacity: .55; }
svg .thin.bones { stroke-width: 1.7; stroke-dasharray: none; }
svg .curve { stroke-width: 2.2; }
svg .dashed { stroke-dasharray: 6 4; }
svg .one { color: var(--guess); } svg .two { color: var(--truth); } svg .three { color: var(--good); }
svg .four { color: var(--link); } svg .five { color: var(--gold); } svg .six { color: var(--teal); }
svg .seven { color: var(--rose); } svg .eight { color: var(--seen); }
svg .curve, svg .value { stroke: currentColor; }
svg circle.value { fill: var(--paper); stroke-width: 2; }
svg .mark { fill: currentColor; fill-opacity: .8; stroke: var(--paper); stroke-width: .8; }
svg .limb { stroke: var(--line); stroke-width: 7; }
svg circle.joint { fill: var(--paper); stroke: var(--soft); stroke-width: 1.4; }
svg .link { stroke: var(--link); }
svg .tip { fill: var(--link); stroke: none; }
"""
"""How the classes of the drawings look."""

MARGIN = 10.0
"""Pixels around a picture in a file of its own."""
TITLE = 26.0
"""Pixels for the words above a picture."""


@dataclass(frozen=True)
class Picture:
    """A drawing of a given size in its own pixels, with the words that stand for it where it cannot be seen."""

    width: float
    height: float
    content: str
    """SVG elements."""
    alt: str

    def inline(self, natural: bool = False) -> str:
        """The ``<svg>`` element for a page that has the styles of this file.

        Args:
            natural: at its own size where there is room; by default it fills the place it is given.
        """
        style = f' style="width:{self.width:g}px"' if natural else ""
        return (
            f'<svg viewBox="0 0 {self.width:g} {self.height:g}" role="img" aria-label="{escape(self.alt)}"{style}>'
            f"{self.content}</svg>"
        )

    def standalone(self, printed: bool = False) -> str:
        """A whole ``.svg`` file; it follows the reader's light or dark setting by itself.

        Args:
            printed: in the light colours always, for programs that know no variables in styles (Inkscape, LaTeX's converters).
        """
        width, height = self.width + 2 * MARGIN, self.height + 2 * MARGIN
        paper = f'<rect x="{-MARGIN:g}" y="{-MARGIN:g}" width="{width:g}" height="{height:g}" style="fill: var(--paper)"/>'
        whole = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{-MARGIN:g} {-MARGIN:g} {width:g} {height:g}" '
            f'width="{width:g}" height="{height:g}" role="img" aria-label="{escape(self.alt)}">'
            f"<title>{escape(self.alt)}</title><style>{'' if printed else PALETTE}{DRAWING}</style>"
            f"{paper}{self.content}</svg>\n"
        )
        light = dict(re.findall(r"--(\w+): (#\w+)", PALETTE.partition("@media")[0]))
        return re.sub(r"var\(--(\w+)\)", lambda found: light[found[1]], whole) if printed else whole


def beside(pictures: list[Picture], alt: str, gap: float = 8.0) -> Picture:
    """Pictures in a row, as one."""
    content, x = [], 0.0
    for picture in pictures:
        content.append(f'<g transform="translate({number(x)} 0)">{picture.content}</g>')
        x += picture.width + gap
    return Picture(x - gap, max(picture.height for picture in pictures), "".join(content), alt)


def below(pictures: list[Picture], alt: str, gap: float = 24.0) -> Picture:
    """Pictures under each other, as one."""
    content, y = [], 0.0
    for picture in pictures:
        content.append(f'<g transform="translate(0 {number(y)})">{picture.content}</g>')
        y += picture.height + gap
    return Picture(max(picture.width for picture in pictures), y - gap, "".join(content), alt)


def titled(picture: Picture, words: str) -> Picture:
    """A picture with a line of text above it."""
    heading = text(0.0, 14.0, words, kind="heading")
    content = f'{heading}<g transform="translate(0 {TITLE:g})">{picture.content}</g>'
    # A letter is some 7 pixels wide: what stands beside must not lie over it.
    return Picture(max(picture.width, 7.0 * len(words)), picture.height + TITLE, content, f"{words}: {picture.alt}")


def number(value: float) -> str:
    """A coordinate: a tenth of a pixel is enough."""
    return f"{value:.1f}".removesuffix(".0") if abs(value) >= 0.05 else "0"


def text(x: float, y: float, words: str, *, anchor: str = "start", kind: str = "") -> str:
    """A line of text; ``anchor`` is start, middle or end."""
    name = f' class="{kind}"' if kind else ""
    return f'<text x="{number(x)}" y="{number(y)}" text-anchor="{anchor}"{name}>{escape(words)}</text>'


def polyline(points: list[tuple[float, float]]) -> str:
    """The ``d`` of a path through the points."""
    return "M" + "L".join(f"{number(x)} {number(y)}" for x, y in points)
