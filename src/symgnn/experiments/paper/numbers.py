"""What the paper printed, and others of what it leaves out: the records of ``numbers.yaml``."""

import difflib
import functools
from collections.abc import Iterable, Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass

from symgnn.errors import InputError

_RECORD = ConfigDict(extra="forbid")

Tick = int | str
"""Name of a column below its group: milliseconds, a frame's number, a word; "" where a group has one column."""


def _one_a_group(row: Any) -> Any:
    """A number that stands without a list is its group's only one."""
    return [group if isinstance(group, list) else [group] for group in row] if isinstance(row, list) else row


Row = Annotated[tuple[tuple[float | None, ...], ...], BeforeValidator(_one_a_group)]


@dataclass(frozen=True, config=_RECORD, kw_only=True)
class Misprint:
    """A number that is certainly not what was meant."""

    row: str
    group: str
    tick: Tick
    printed: float
    meant: float
    why: str


@dataclass(frozen=True, config=_RECORD, kw_only=True)
class OtherPaper:
    """What another paper printed of a method that this one does not have."""

    source: str
    """That paper, and what is to be known of its numbers."""
    row: Row
    """As in ``PaperTable.rows``."""


@dataclass(frozen=True, config=_RECORD, kw_only=True)
class PaperTable:
    """One table as it was printed."""

    title: str
    """What it shows."""
    metric: Literal["accuracy", "pck", "angle_mae"]
    """What was measured."""
    unit: str
    """"%" where the numbers are percentages."""
    better: Literal["lower", "higher"]
    """Which way is better."""
    digits: int
    """Decimals printed."""
    groups: tuple[str, ...]
    """First level of columns: benchmarks, or actions by their names in a store."""
    ticks: tuple[Tick, ...]
    """Second level of columns, the same below every group."""
    tick_unit: str
    """Of ticks that are numbers: "ms", "frame"."""
    rows: Mapping[str, Row]
    """Of each method a tuple a group, in it a number a tick; None where nothing was reported."""
    others: Mapping[str, OtherPaper] = field(default_factory=dict)
    """The same of methods that only other papers report."""
    misprints: tuple[Misprint, ...] = ()
    """What is certainly wrong."""
    notes: tuple[str, ...] = ()
    """Where the paper disagrees with itself, and nothing says which number is right."""

    @property
    def everywhere(self) -> Mapping[str, Row]:
        """The rows of this paper, then those of others."""
        return {**self.rows, **{name: each.row for name, each in self.others.items()}}

    def value(self, row: str, group: str, tick: Tick = "", *, mended: bool = True) -> float | None:
        """One number; None where the paper has none.

        Args:
            row: name of the method, or whatever the rows are.
            group: first level of columns.
            tick: second level; may be left out where a group has one column.
            mended: what was meant in place of a misprint.

        Raises:
            InputError: no such row, group or tick (the nearest name is given).
        """
        place = _place(group, self.groups, "group"), _place(tick, self.ticks, "column")
        rows = tuple(self.everywhere.values())
        printed = rows[_place(row, self.everywhere, "row")][place[0]][place[1]]
        for misprint in self.misprints if mended else ():
            if (misprint.row, misprint.group, misprint.tick) == (row, group, tick):
                return misprint.meant
        return printed


@dataclass(frozen=True, config=_RECORD, kw_only=True)
class PaperFigure:
    """One figure, as far as words say what it shows."""

    title: str
    """What it shows."""
    said: str
    """What the caption and the text say of it, in short."""
    named: Mapping[str, float]
    """Numbers that they name."""
    notes: tuple[str, ...] = ()
    """Where they disagree with other parts of the paper, or leave something open."""


@dataclass(frozen=True, config=_RECORD, kw_only=True)
class _Paper:
    tables: Mapping[str, PaperTable]
    figures: Mapping[str, PaperFigure]


@functools.cache
def _paper() -> _Paper:
    content = yaml.safe_load(Path(__file__).with_name("numbers.yaml").read_text(encoding="utf-8"))
    return TypeAdapter(_Paper).validate_python(content)


def paper_tables() -> Mapping[str, PaperTable]:
    """Tables 1 to 15 by name, ``table1`` to ``table15``."""
    return _paper().tables


def paper_figures() -> Mapping[str, PaperFigure]:
    """Figures 8 to 15 by name, ``fig8`` to ``fig15``."""
    return _paper().figures


def paper_table(name: str) -> PaperTable:
    """A table by name.

    Raises:
        InputError: there is none of that name (the nearest is given).
    """
    tables = paper_tables()
    return tables[tuple(tables)[_place(name, tables, "table")]]


def paper_figure(name: str) -> PaperFigure:
    """A figure by name.

    Raises:
        InputError: there is none of that name (the nearest is given).
    """
    figures = paper_figures()
    return figures[tuple(figures)[_place(name, figures, "figure")]]


def _place(name: Tick, known: Iterable[Tick], what: str) -> int:
    known = tuple(known)
    if name in known:
        return known.index(name)
    near = difflib.get_close_matches(str(name), map(str, known), n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise InputError(f"the paper has no {what} {name!r} here{hint} (there are: {', '.join(map(str, known))})")
