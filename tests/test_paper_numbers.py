"""The typed numbers against the paper's own text, and against each other."""

import re
from pathlib import Path

import pytest

from symgnn.errors import InputError
from symgnn.evaluation.protocols import CMU_ACTIONS, H36M_ACTIONS
from symgnn.experiments.paper.numbers import PaperTable, paper_figure, paper_figures, paper_table, paper_tables

PAPER = Path(__file__).parents[2] / "shared" / "paper.txt"

NUMBER = r"(?:\d+\.\d+%?|100%|/)"

BLOCKS: dict[int, tuple[tuple[str, int], ...]] = {
    1: (("Sym-GNN 90.1", 2),),
    2: (("Sym-GNN 37.2", 2),),
    3: (("Sym-GNN 56.5", 4),),
    4: (("Sym-GNN 99.00", 11), ("Sym-GNN 99.25", 11)),
    5: (("Sym-GNN 0.17", 16),),
    6: (("Sym-GNN 0.23", 24), ("Sym-GNN 0.28", 24)),
    7: (("Sym-GNN 0.32", 20), ("Sym-GNN 0.21", 20)),
    8: (("Sym-GNN 0.75", 8),),
    9: (("No pred", 2),),
    10: (("No recg", 4),),
    13: (("β = 0, 1, 2", 2),),
    14: (("β = 0, 1, 2", 4),),
    15: (("Joint & Bone", 2),),
}
"""Of each table the stacked blocks of rows: how the last row begins, and how many numbers a row has."""


@pytest.fixture(scope="module")
def lines() -> list[str]:
    if not PAPER.is_file():
        pytest.skip("the paper's text is not there (expected in ../shared/paper.txt): typed numbers are not checked against it")
    return [line.strip() for line in PAPER.read_text(encoding="utf-8").replace("\f", "").splitlines()]


def read_rows(lines: list[str], number: int) -> dict[str, list[str]]:
    """Rows of a table in the text: the printed numbers of its blocks, one after the other."""
    rest = iter(lines[lines.index(f"TABLE {number}") :])
    found: dict[str, list[str]] = {}
    for end, count in BLOCKS[number]:
        pattern = re.compile(rf"(.+?)((?:\s+{NUMBER}){{{count}}})")
        for line in rest:
            bare = re.sub(r"\s*\[\d+\]", "", line)
            match = pattern.fullmatch(bare)
            if match:
                found.setdefault(match[1].strip().removesuffix("."), []).extend(match[2].split())
            if bare.startswith(end):
                break
        else:
            raise AssertionError(f"no row {end} in Table {number}")
    return found


def typed(number: int) -> PaperTable:
    return paper_table(f"table{number}")


@pytest.mark.parametrize("number", BLOCKS)
def test_numbers_are_the_printed_ones(lines: list[str], number: int):
    table = typed(number)
    printed = read_rows(lines, number)
    assert list(table.rows) == list(printed)
    for name, texts in printed.items():
        expected = [None if text == "/" else float(text.removesuffix("%")) for text in texts]
        assert [value for group in table.rows[name] for value in group] == expected, name
        for text in texts:
            assert ("%" in text) == (table.metric == "accuracy" and text != "/")
            assert text in ("/", "100%") or len(text.removesuffix("%").partition(".")[2]) == table.digits


@pytest.mark.parametrize("number", [11, 12])
def test_tables_of_hops_are_the_printed_ones(lines: list[str], number: int):
    """Γ, Only J-S, full; the two numbers that stand once for all Γ come after the first Only J-S."""
    table = typed(number)
    start = next(place for place in range(lines.index(f"TABLE {number}"), len(lines)) if lines[place].startswith("JS-Hop"))
    printed = " ".join(lines[start + 1 : start + 10]).replace("%", "").split()
    expected: list[object] = []
    for hop in "1234":
        expected += [int(hop), table.value(hop, "Only J-S")]
        expected += [table.value("any", "Only J-A"), table.value("any", "Only P")] if hop == "1" else []
        expected += [table.value(hop, "full")]
        assert table.value(hop, "Only J-A") is None and table.value(hop, "Only P") is None
    assert [float(text) for text in printed[: len(expected)]] == expected
    assert list(table.rows) == ["1", "2", "3", "4", "any"]
    assert table.value("any", "Only J-S") is None and table.value("any", "full") is None


def test_every_table_and_figure_is_there():
    assert list(paper_tables()) == [f"table{number}" for number in range(1, 16)]
    assert list(paper_figures()) == [f"fig{number}" for number in range(8, 16)]
    for name, table in paper_tables().items():
        assert (table.unit, table.better) == (("", "lower") if table.metric == "angle_mae" else ("%", "higher"))
        for row, groups in table.rows.items():
            assert [len(group) for group in groups] == [len(table.ticks)] * len(table.groups), (name, row)
        for misprint in table.misprints:
            place = (misprint.row, misprint.group, misprint.tick)
            assert table.value(*place, mended=False) == misprint.printed != misprint.meant == table.value(*place)


def test_columns_are_named_as_in_the_stores():
    assert typed(7).groups == CMU_ACTIONS
    assert typed(5).groups + typed(6).groups[:-1] == H36M_ACTIONS and typed(6).groups[-1] == "average"
    assert typed(8).groups == typed(5).groups
    assert typed(7).ticks == (80, 160, 320, 400, 1000) and typed(8).ticks == (560, 1000)


def test_a_number_by_name():
    assert typed(7).value("Sym-GNN", "basketball_signal", 320) == 0.38
    assert typed(1).value("Sym-GNN", "CV") == 96.4
    assert typed(5).value("DropAE", "walking", 400) is None
    assert typed(6).value("ZeroV", "sitting", 160) == 0.63
    assert typed(6).value("ZeroV", "sitting", 160, mended=False) == 1.63
    with pytest.raises(InputError, match=r"no table 'tabel7'.*did you mean table7"):
        paper_table("tabel7")
    with pytest.raises(InputError, match=r"no row 'Zerov'.*did you mean ZeroV"):
        typed(5).value("Zerov", "walking", 80)
    with pytest.raises(InputError, match=r"no group 'wolking'.*did you mean walking"):
        typed(7).value("Sym-GNN", "wolking", 80)
    with pytest.raises(InputError, match=r"no column 560 here.*80, 160, 320, 400, 1000"):
        typed(7).value("Sym-GNN", "walking", 560)
    assert paper_figure("fig15").named["ratio"] == 0.33
    with pytest.raises(InputError, match="no figure 'fig7'"):
        paper_figure("fig7")


def mean(values: list[float | None]) -> float:
    numbers = [value for value in values if value is not None]
    assert len(numbers) == len(values)
    return sum(numbers) / len(numbers)


def test_averages_of_table_4_but_for_four():
    """Of ten numbers with two decimals the mean is known to 0.005, the printed average to as much."""
    table = typed(4)
    off = {
        (row, group): (round(mean(list(values[:-1])), 2), values[-1])
        for row, groups in table.rows.items()
        for group, values in zip(table.groups, groups, strict=True)
        if abs(mean(list(values[:-1])) - mean([values[-1]])) > 0.0101
    }
    assert off == {
        ("CSM", "CV"): (42.42, 42.62),
        ("Skel-TNet", "CV"): (70.96, 70.66),
        ("Sym-GNN (No recg)", "CS"): (92.38, 92.34),
        ("Sym-GNN (No recg)", "CV"): (92.80, 92.79),
    }


def test_averages_of_table_6_but_for_those_named():
    """The average row is over all 15 actions, those of Table 5 too."""
    four, eleven = typed(5), typed(6)

    def off(*, mended: bool) -> dict[tuple[str, object], tuple[float, float | None]]:
        found = {}
        for row in eleven.rows:
            for tick in eleven.ticks:
                cells = [four.value(row, action, tick) for action in four.groups]
                cells += [eleven.value(row, action, tick, mended=mended) for action in eleven.groups[:-1]]
                average = eleven.value(row, "average", tick, mended=mended)
                if abs(mean(cells) - mean([average])) > 0.0101:
                    found[row, tick] = (round(mean(cells), 3), average)
        return found

    unexplained = {
        ("Res-sup", 320): (1.055, 1.04),
        ("AGED", 320): (0.895, 0.94),
        ("Skel-TNet", 160): (0.653, 0.64),
        ("Skel-TNet", 400): (1.113, 1.02),
    }
    assert off(mended=True) == unexplained
    # With sitting's 1.63 the mean is 0.776: the printed 0.77 is that, cut.
    assert off(mended=False) == {("ZeroV", 80): (0.401, 0.39), ("ZeroV", 320): (1.073, 1.05), **unexplained}


def test_means_of_table_7():
    """The figures that results on part of the data are compared with."""
    table = typed(7)
    five = ("basketball", "jumping", "running", "soccer", "walking")
    means = [round(mean([table.value("Sym-GNN", action, tick) for action in five]), 3) for tick in table.ticks]
    assert means == [0.260, 0.400, 0.770, 0.878, 1.156]
    eight = [round(mean([table.value("Sym-GNN", action, tick) for action in table.groups]), 3) for tick in table.ticks]
    assert eight == [0.230, 0.369, 0.691, 0.810, 1.201]


def test_rows_of_other_papers():
    """DCT-GCN's numbers have its paper's averages over the eight actions; they are found by name as the paper's own are."""
    table = typed(7)
    assert "DCT-GCN" not in table.rows and table.value("DCT-GCN", "walking", 400) == 0.53
    averages = [
        round(mean([table.value("DCT-GCN", action, tick) for action in table.groups]) + 1e-9, 2) for tick in table.ticks
    ]
    assert averages == [0.25, 0.39, 0.68, 0.79, 1.33]
    assert typed(1).value("CTR-GCN", "CV") == 96.8
    with pytest.raises(InputError, match=r"no row 'DCT'.*did you mean DCT-GCN"):
        table.value("DCT", "walking", 400)


def test_one_model_has_one_number():
    """Sym-GNN in one table is Sym-GNN in another, but for those that the notes name."""
    full = typed(1).rows["Sym-GNN"]
    assert full == typed(9).rows["0%"] == typed(13).rows["β = 0, 1"] == typed(15).rows["Joint & Bone"]
    assert typed(1).rows["Sym-GNN (No pred)"] == typed(9).rows["No pred"]
    assert typed(1).rows["Sym-GNN (No bone)"] == typed(15).rows["Only Joint"]
    assert typed(11).value("4", "full") == typed(1).value("Sym-GNN", "CS")
    assert typed(11).value("4", "Only J-S") == typed(1).value("Sym-GNN (Only J-S)", "CS")
    assert typed(11).value("any", "Only J-A") == typed(1).value("Sym-GNN (Only J-A)", "CS")
    assert typed(10).rows["0%"][0] == typed(6).rows["Sym-GNN"][-1]
    assert typed(10).rows["No recg"][0] == typed(6).rows["Sym-GNN (No recg)"][-1]

    assert typed(11).value("any", "Only P") == typed(1).value("Sym-GNN (Only P)", "CV") == 87.3
    assert typed(1).value("Sym-GNN (Only P)", "CS") == 86.5
    assert typed(14).rows["β = 0, 1, 2"][0] == (0.26, 0.49, 0.79, 0.82)
    assert typed(6).rows["Sym-GNN"][-1] == (0.26, 0.49, 0.79, 0.92)
    assert round(mean(list(typed(6).rows["Sym-GNN"][-1])), 4) == 0.615
    assert typed(12).value("3", "full") == 0.611


def test_zero_velocity_is_that_of_the_data():
    """Computed anew on the clips of Human 3.6M, apart from this package."""
    computed = {
        "walking": (0.394, 0.678, 0.986, 1.152, 1.351, 1.315),
        "eating": (0.271, 0.479, 0.727, 0.863, 1.038, 1.375),
        "smoking": (0.258, 0.483, 0.970, 0.949, 1.023, 1.694),
    }
    for action, figures in computed.items():
        for place, tick in enumerate((80, 160, 320, 400, 560, 1000)):
            printed = typed(5 if tick <= 400 else 8).value("ZeroV", action, tick)
            assert printed is not None and abs(printed - figures[place]) < 0.0051, (action, tick)
