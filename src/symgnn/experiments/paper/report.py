"""Tables and pages of what has been run."""

from collections.abc import Callable, Sequence
from html import escape

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from symgnn.experiments.paper.records import PICTURES
from symgnn.experiments.paper.sheet import MEAN, Cell, Column, Line, Sheet
from symgnn.viz import Chart, Picture, chart_picture
from symgnn.viz.page import page

Pictures = Callable[[Sheet], str]
"""HTML of the pictures of a figure that is drawn."""


def sheet_text(sheet: Sheet) -> RenderableType:
    """A sheet for the terminal: ours, in brackets the paper's number and the gap."""
    parts: list[RenderableType] = [Text(sheet.title, style="bold"), Text(f"{sheet.scale}; weights: {sheet.selection}")]
    if sheet.columns or sheet.means:
        parts.append(_summary(sheet))
    if sheet.means:
        parts.extend(_table(sheet, _of(sheet, group), group.replace("_", " ")) for group in _groups(sheet))
    parts += [Text(f"· {line}") for line in (*sheet.compared, *sheet.notes)]
    parts += [Text(f"not covered: {line}", style="yellow") for line in sheet.missing]
    return Group(*parts, Text(""))


def sheet_html(sheet: Sheet, command: str, picture: str = "") -> str:
    """A sheet as a section of a page.

    Args:
        sheet: the numbers.
        command: that prints them again.
        picture: HTML of what is drawn.
    """
    parts = [
        f'<h2 id="{escape(sheet.name)}">{escape(sheet.title)}</h2>',
        f"<p><b>{escape(sheet.scale)}</b>; weights: {escape(sheet.selection)}"
        f"{_measured(sheet)}.</p><p><code>{escape(command)}</code></p>",
        picture or _curve(sheet),
    ]
    if sheet.means:
        parts.append(_html_table(sheet, [(MEAN, tick) for tick in sheet.means], facts=True))
        for group in _groups(sheet):
            name = escape(group.replace("_", " "))
            table = _html_table(sheet, _of(sheet, group), facts=False)
            parts.append(f"<details><summary>{name}</summary>{table}</details>")
    elif sheet.columns:
        parts.append(_html_table(sheet, sheet.columns, facts=True))
    lines = [*sheet.compared, *sheet.notes, *(f"not covered: {line}" for line in sheet.missing)]
    if lines:
        parts.append(f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>")
    return f"<section>{''.join(parts)}</section>"


def trouble_html(name: str, trouble: str) -> str:
    """A section in place of a table that cannot be shown."""
    return f'<section><h2 id="{escape(name)}">{escape(name)}</h2><p>cannot be shown: {escape(trouble)}</p></section>'


def report_html(sections: Sequence[str], opening: str) -> str:
    """The page over all that has been run."""
    return page(
        "Sym-GNN: the paper's tables and figures", f"<h1>The paper's tables and figures</h1>{opening}{''.join(sections)}"
    )


def _measured(sheet: Sheet) -> str:
    return "" if sheet.record.shows in PICTURES else f"; {escape(sheet.quantity)}, {sheet.better} is better"


def _groups(sheet: Sheet) -> list[str]:
    return list(dict.fromkeys(group for group, _ in sheet.columns))


def _of(sheet: Sheet, group: str) -> list[Column]:
    return [column for column in sheet.columns if column[0] == group]


def _summary(sheet: Sheet) -> Table:
    """Means over the actions, or all columns of a sheet without actions; and what it took."""
    columns = [(MEAN, tick) for tick in sheet.means] if sheet.means else list(sheet.columns)
    return _table(sheet, columns, f"{sheet.quantity}, {sheet.better} is better", facts=True)


def _table(sheet: Sheet, columns: Sequence[Column], title: str, *, facts: bool = False) -> Table:
    table = Table(title=title, caption="(the paper's number, gap)" if _any_paper(sheet, columns) else None)
    table.add_column(sheet.record.axis or "")
    for column in columns:
        table.add_column(_heading(sheet, column, columns), justify="right")
    for name in ("steps", "minutes", "parameters") if facts else ():
        table.add_column(name, justify="right")
    for line in sheet.lines:
        cells = [_words(sheet, line.cells.get(column)) for column in columns]
        table.add_row(Text(line.name), *cells, *(_facts(line) if facts else ()))
    return table


def _html_table(sheet: Sheet, columns: Sequence[Column], *, facts: bool) -> str:
    heads = [sheet.record.axis or "", *(_heading(sheet, column, columns) for column in columns)]
    heads += ["steps", "minutes", "parameters"] if facts else []
    best = {column: _best(sheet, column) for column in columns}
    rows = []
    for line in sheet.lines:
        cells = [f"<td>{escape(line.name)}</td>"]
        for column in columns:
            cell = line.cells.get(column)
            ours = "" if cell is None else escape(_ours(sheet, cell))
            ours = f"<b>{ours}</b>" if cell is not None and cell.mean == best[column] else ours
            beside = "" if cell is None or cell.paper is None else f"<br><small>{escape(_beside(sheet, cell))}</small>"
            cells.append(f"<td class=number>{ours}{beside}</td>")
        cells += [f"<td class=number>{escape(fact)}</td>" for fact in (_facts(line) if facts else ())]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    caption = "<caption>below a number: the paper's, and ours less the paper's</caption>" if _any_paper(sheet, columns) else ""
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    return f'<div class="scroll"><table>{caption}<thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _best(sheet: Sheet, column: Column) -> float | None:
    values = [line.cells[column].mean for line in sheet.lines if column in line.cells]
    if len(values) < 2:
        return None
    return max(values) if sheet.better_in(column) == "higher" else min(values)


def _heading(sheet: Sheet, column: Column, columns: Sequence[Column]) -> str:
    group, tick = column
    unit = sheet.record.numbers.tick_unit if sheet.record.numbers is not None and isinstance(tick, int) else ""
    one_group = len({each for each, _ in columns}) == 1 and len(columns) > 1
    place = f"{tick} {unit}".strip()
    return place if one_group else f"{group.replace('_', ' ')} {place}".strip()


def _words(sheet: Sheet, cell: Cell | None) -> str:
    if cell is None:
        return ""
    return _ours(sheet, cell) + ("" if cell.paper is None else f" ({_beside(sheet, cell)})")


def _ours(sheet: Sheet, cell: Cell) -> str:
    words = f"{cell.mean:.{sheet.digits}f}"
    if cell.half is not None:
        words += f" ± {cell.half:.{sheet.digits}f}"
    elif cell.wilson is not None:
        words += f" [{cell.wilson[0]:.1f}, {cell.wilson[1]:.1f}]"
    return words


def _beside(sheet: Sheet, cell: Cell) -> str:
    assert cell.paper is not None and cell.gap is not None
    return f"{cell.paper:.{sheet.digits}f}, {cell.gap:+.{sheet.digits}f}"


def _facts(line: Line) -> tuple[str, str, str]:
    if line.steps is None:
        return ("", "", "")
    minutes = line.seconds / 60
    return (
        f"{line.steps:,}",
        f"{minutes:.0f}" if minutes >= 10 else f"{minutes:.2g}",
        "" if line.parameters is None else f"{line.parameters:,}",
    )


def _any_paper(sheet: Sheet, columns: Sequence[Column]) -> bool:
    return any(line.cells[column].paper is not None for line in sheet.lines for column in columns if column in line.cells)


def _curve(sheet: Sheet) -> str:
    """A figure's curve, where the rows are values of an axis."""
    if sheet.record.axis is None or not sheet.columns:
        return ""
    curves: dict[str, tuple[list[float], list[float]]] = {}
    for line in sheet.lines:
        value, _, kind = line.name.partition(", ")
        for column, cell in line.cells.items():
            name = ", ".join(filter(None, (kind, "" if column[0] == "ours" else column[0]))) or sheet.quantity
            curves.setdefault(name, ([], []))
            curves[name][0].append(float(value))
            curves[name][1].append(cell.mean)
    # The table does not show a difference of less than a digit: twenty of them are the least that an axis spans.
    least = 20 * 0.1**sheet.digits
    pictures: list[Picture] = [
        chart_picture(Chart(name, "", sheet.record.axis, {name: line}, dots=True, least_span=least))
        for name, line in curves.items()
    ]
    return "".join(
        f'<figure class="chart">{each.inline()}<figcaption>{escape(each.alt)}</figcaption></figure>' for each in pictures
    )
