"""The paper's experiments as data: the records of ``records.yaml``."""

import difflib
import functools
from collections.abc import Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass

from symgnn.config import Preset, load_preset, preset_from_dict, preset_to_dict
from symgnn.errors import InputError
from symgnn.experiments.paper.numbers import PaperTable, paper_figures, paper_tables

_RECORD = ConfigDict(extra="forbid")

Shows = Literal["errors", "mean-errors", "mean-error", "accuracy", "accuracies", "speed", "ratio", "graphs", "map", "strips"]

PICTURES = ("graphs", "map", "strips")
"""What is drawn and not tabled."""


@dataclass(frozen=True, config=_RECORD, kw_only=True)
class Setting:
    """Data, and how it is trained and judged."""

    preset: str
    """The faithful one."""
    small: str | None = None
    """What is trained in its place where the time given is far too short."""
    protocol: str | None = None
    """The preset's by default."""
    group: str | None = None
    """The paper's column that this setting fills; None where its columns are actions."""
    actions: tuple[str, ...] = ()
    """Classes that a picture shows, the most important first; empty for those at hand."""
    set: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the preset, such as ``data.future``."""


@dataclass(frozen=True, config=_RECORD, kw_only=True)
class Judge:
    """How a trained model is judged, beside the protocol."""

    noise: float = 0.0
    """Standard deviation of Gaussian noise on the input (Figs. 14 and 15), in radians or metres (reading 44)."""
    held_out: bool = False
    """On the training recordings held out for validation: settings are chosen there, and no test data is looked at."""


@dataclass(frozen=True, config=_RECORD, kw_only=True)
class Row:
    """One line of a table, or one point of a curve."""

    network: str = "sym-gnn"
    """What is trained."""
    baseline: str | None = None
    """What needs no training, in place of a network."""
    set: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the preset."""
    judge: Judge = field(default_factory=Judge)
    """How it is judged."""
    paper: str | None = None
    """The paper's row, where it has another name; one that has no row at all is not in the paper."""
    group: str | None = None
    """The paper's column, where the number of this row is to be found in one."""
    blocked: str | None = None
    """Why it cannot be run."""


@dataclass(frozen=True, config=_RECORD, kw_only=True)
class Record:
    """One table or figure."""

    name: str
    """``table7``, ``fig14``."""
    settings: tuple[Setting, ...]
    """The paper's own."""
    shows: Shows
    """What of a result."""
    rows: Mapping[str, Row]
    """By name, in order."""
    elsewhere: Mapping[str, Setting] = field(default_factory=dict)
    """Other data that the experiment is carried to, by name."""
    axis: str | None = None
    """What the rows' names are values of, where they are points of a curve."""
    reference: str = "Sym-GNN"
    """The row that the others are compared with over the seeds; where there is no such row, none is."""
    note: str | None = None
    """What a reader has to know."""
    about: str | None = None
    """What it shows, where it is not in the paper."""

    @property
    def title(self) -> str:
        """What it shows; of a table or figure in the words of the records of the paper's numbers."""
        if self.about is not None:
            return self.about
        return (paper_figures() | paper_tables())[self.name].title  # pyright: ignore[reportOperatorIssue]

    @property
    def label(self) -> str:
        """Table 7, Fig. 14."""
        return self.name.replace("table", "Table ").replace("fig", "Fig. ") if self.about is None else self.name

    @property
    def numbers(self) -> PaperTable | None:
        """The paper's numbers; None for a figure."""
        return paper_tables().get(self.name)

    def paper_row(self, name: str) -> str | None:
        """The paper's row beside one of ours, or another paper's; None where there is none."""
        wanted = self.rows[name].paper
        if self.numbers is None:
            return None
        return wanted or (name if name in self.numbers.everywhere else None)

    def carried(self, on: str | None) -> tuple[Setting, ...]:
        """The settings it runs on.

        Raises:
            InputError: the experiment is not carried to such data.
        """
        if on is None:
            return self.settings
        if on not in self.elsewhere:
            there = f"it is carried to {', '.join(self.elsewhere)}" if self.elsewhere else "it is not carried to other data"
            raise InputError(f"--on {on}: {self.name} has no such setting: {there}")
        return (self.elsewhere[on],)


@functools.cache
def records() -> Mapping[str, Record]:
    """All of them by name: tables, figures, then what is not in the paper."""
    content = yaml.safe_load(Path(__file__).with_name("records.yaml").read_text(encoding="utf-8"))
    made = {name: TypeAdapter(Record).validate_python({"name": name, **values}) for name, values in content["records"].items()}
    kinds = ("table", "fig", "")

    def place(name: str) -> tuple[int, int]:
        kind = next(index for index, kind in enumerate(kinds) if name.startswith(kind))
        return kind, int(name.removeprefix(kinds[kind]) or 0) if kinds[kind] else 0

    return {name: made[name] for name in sorted(made, key=place)}


def find_record(name: str) -> Record:
    """A record by name (``table7``; "Table 7" and "fig. 8" do as well).

    Raises:
        InputError: there is none; the nearest name is given.
    """
    plain = name.lower().replace("figure", "fig").replace(".", "").replace(" ", "")
    if plain not in records():
        near = difflib.get_close_matches(plain, records(), n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InputError(f"no table or figure {name!r}{hint} (there are: {', '.join(records())})")
    return records()[plain]


def resolve(
    record: Record, row: str, setting: Setting, preset: str, seed: int | None = None, base: Preset | None = None
) -> Preset:
    """The preset that a row trains.

    Args:
        record: of the table.
        row: its name.
        setting: one of the record's.
        preset: name of the preset that is trained: the setting's, its small one, or another.
        seed: in place of the preset's.
        base: what that name stands for here, where the store decides it.
    """
    chosen = load_preset(preset, record.rows[row].network) if base is None else base
    values = preset_to_dict(chosen)
    sides = [setting.set, record.rows[row].set]
    if record.rows[row].network != "sym-gnn":
        # What only Sym-GNN has is not asked of a baseline.
        sides = [{name: value for name, value in side.items() if not name.startswith("model.")} for side in sides]
    for name, value in (pair for side in sides for pair in side.items()):
        section, _, key = name.partition(".")
        if key not in values.get(section, {}):
            raise InputError(f"{record.name}, {row}: a preset has no field {name}")
        values[section][key] = value
    values["protocol"] = setting.protocol or chosen.protocol
    if seed is not None:
        values["training"]["seed"] = seed
    made = preset_from_dict(values, f"{record.name}, {row}")
    return replace(made, name=f"{record.name}: {row}")


def check(record: Record) -> None:
    """Raise where a row's paper row, or a setting's group, is not in the paper's numbers, or the reference is no row."""
    if record.reference not in record.rows and record.reference != "Sym-GNN":
        raise InputError(f"{record.name}: there is no row {record.reference!r} to compare with")
    numbers = record.numbers
    if numbers is None:
        return
    for name in record.rows:
        wanted = record.paper_row(name)
        if wanted is not None and wanted not in numbers.everywhere:
            raise InputError(f"{record.name}: the paper has no row {wanted!r}")
    for group in [setting.group for setting in record.settings] + [row.group for row in record.rows.values()]:
        if group is not None and group not in numbers.groups:
            raise InputError(f"{record.name}: the paper has no column {group!r}")
