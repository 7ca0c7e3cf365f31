"""The results of a run as tables for a terminal: one of all arms, one that says which cell beats which."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cnn_constraints import summaries
from cnn_constraints.summaries import CELL, CONDITIONS, DELTA, N_TRAIN, SIZES

CHAMPIONS = ("conv", "tiled", "low_rank_local", "local", "shared", "dense")
"""The cell that the others are compared with is the first of these in a run: the more constrained, the earlier."""

NUMBERS = ("delta", "tile", "rank", "n_train", "parameters", "seeds")
"""Headings of the columns that are aligned to the right."""

UNLIMITED = 10_000
"""Characters: wider than any table."""

Column = tuple[str, list[str]]
"""A heading and the text of every row."""


def summary_table(summary: pandas.DataFrame, plus_minus: str = "±") -> Table:
    """Every arm of `summaries.summarise`: test accuracy in percent, with half the width of its interval."""
    shown = _shown(summary)
    fields = summaries.config_fields(summary)
    telling = summaries.telling_fields(summary, [CELL, DELTA, N_TRAIN, *shown], fields)
    columns: list[Column] = [
        ("cell", summary[CELL].tolist()),
        ("delta", _words(summary, DELTA)),
        *((_heading(name), _words(summary, name)) for name in [*shown, *telling]),
        ("n_train", _words(summary, N_TRAIN)),
        ("parameters", [f"{count:,}" for count in summary["parameters"]]),
        ("accuracy, %", [_accuracy(row, plus_minus) for row in summary.to_dict("records")]),
        ("seeds", _seeds(summary)),
    ]
    title = f"Test accuracy on {summaries.conditions_in_words(summary)}"
    return _table(title, columns, _breaks(summary, shown), _caption(summary, plus_minus))


class Comparisons(NamedTuple):
    """The most constrained cell against the others. pairs: rows of `summaries.compare`, with the other's cell; own, others:
    what tells the arm on each side from other arms of its cell, in words.
    """

    champion: str
    pairs: pandas.DataFrame
    own: list[str]
    others: list[str]


def comparisons(results: pandas.DataFrame) -> Comparisons | None:
    """None where a run has a single cell, or no two cells under equal conditions."""
    present = summaries.cells(results)
    champion = next((cell for cell in CHAMPIONS if cell in present), present[-1])
    parts = [summaries.compare(results, champion, cell).assign(**{CELL: cell}) for cell in present if cell != champion]
    parts = [part for part in parts if len(part)]
    if not parts:
        return None
    pairs = summaries.in_order(pandas.concat(parts, ignore_index=True))
    shown = _shown(pairs)
    return Comparisons(champion, pairs, _side(pairs, "first", shown), _side(pairs, "second", shown))


def comparison_table(results: pandas.DataFrame, plus_minus: str = "±") -> Table | None:
    """Whether the most constrained cell beats the others, by paired differences in percentage points. None where
    `comparisons` has none.
    """
    found = comparisons(results)
    if found is None:
        return None
    champion, pairs, own, others = found
    shown = _shown(pairs)
    columns: list[Column] = [
        *((_heading(name), _words(pairs, name)) for name in shown),
        ("n_train", _words(pairs, N_TRAIN)),
        *([(champion, own)] if any(own) else []),
        ("against", [", ".join(filter(None, arm)) for arm in zip(pairs[CELL], others, strict=True)]),
        ("difference", [_difference(row, plus_minus) for row in pairs.to_dict("records")]),
        ("seeds", _seeds(pairs)),
        (f"{champion} is", pairs["verdict"].tolist()),
    ]
    title = f"Does {champion} beat the others on {summaries.conditions_in_words(pairs)}? Points of test accuracy"
    caption = f"Paired by seed. {_caption(pairs, plus_minus)} Not corrected for the number of comparisons."
    return _table(title, columns, _breaks(pairs, shown), caption)


def print_tables(results: pandas.DataFrame, console: Console | None = None) -> None:
    """Both tables for each data set and intervention, on standard output; nothing is cut off.

    Where that is no terminal, they are as wide as they need to be.
    """
    console = Console(highlight=False) if console is None else console
    plus_minus = "+/-" if console.options.ascii_only else "±"
    for _, part in summaries.groups(results, ["data.source", "data.intervention"]):
        for table in (summary_table(summaries.summarise(part), plus_minus), comparison_table(part, plus_minus)):
            if table is None:
                continue
            if not console.is_terminal:
                unlimited = console.options.update_width(UNLIMITED)
                console.width = max(80, console.measure(table, options=unlimited).maximum)
            console.print(table)
            console.print()


def _table(title: str, columns: Sequence[Column], breaks: Sequence[bool], caption: str) -> Table:
    # One space left of a column and one, the box's, between columns: with a readout, still within 80 characters.
    table = Table(title=title, caption=caption, box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False)
    table.title_justify = table.caption_justify = "left"
    table.title_style, table.caption_style = "bold", "dim"
    for heading, _ in columns:
        # Folded where the terminal is too narrow: two rows may differ in the letters that would be cut off.
        table.add_column(heading, justify="right" if heading in NUMBERS else "left", overflow="fold")
    for row, is_last in zip(zip(*(texts for _, texts in columns), strict=True), breaks, strict=True):
        table.add_row(*map(Text, row), end_section=is_last)
    return table


def _caption(table: pandas.DataFrame, plus_minus: str) -> str:
    sentences = []
    if max(table["seeds"]) > 1:
        sentences.append(f"{plus_minus}: half of the 95% Student-t interval over seeds.")
    if 1 in set(table["seeds"]):
        sentences.append("One seed has no interval.")
    if max(table["diverged"]) > 0:
        sentences.append("a of b seeds: the others diverged and are left out.")
    return " ".join(sentences)


def _shown(table: pandas.DataFrame) -> list[str]:
    return [name for name in CONDITIONS if summaries.varies(table, name)]


def _breaks(table: pandas.DataFrame, shown: Sequence[str]) -> list[bool]:
    """Whether the next row has another condition or n_train."""
    keys = table[[*shown, N_TRAIN]].apply(tuple, axis=1).tolist()
    return [here != there for here, there in itertools.pairwise(keys)] + [True]


def _side(pairs: pandas.DataFrame, side: str, shown: Sequence[str]) -> list[str]:
    """What tells the arm on one side of each pair from other arms of its cell; empty where nothing needs to."""
    names = [name.removesuffix("_first") for name in pairs.columns if name.endswith("_first")]
    telling = summaries.telling_fields(pairs, [*shown, N_TRAIN, CELL], [f"{name}_{side}" for name in names])
    headings = {name: _heading(name.removesuffix(f"_{side}")) for name in telling}
    return [
        # No delta is no feature: dense is just dense.
        ", ".join(f"{headings[name]} {summaries.in_words(row[name])}" for name in telling if row[name] is not None)
        for row in pairs.to_dict("records")
    ]


def _accuracy(row: dict[Any, Any], plus_minus: str) -> str:
    if not row["seeds"]:
        return "diverged"
    return f"{100 * row['test_accuracy']:5.1f}" + _half(row, "test_accuracy", plus_minus)


def _difference(row: dict[Any, Any], plus_minus: str) -> str:
    if not row["seeds"]:
        return "diverged"
    return f"{100 * row['difference']:+6.1f}" + _half(row, "difference", plus_minus)


def _half(row: dict[Any, Any], name: str, plus_minus: str) -> str:
    """What follows a mean: half the width of its interval, if it has one."""
    half = 100 * (row[f"{name}_high"] - row[f"{name}_low"]) / 2
    return "" if row["seeds"] == 1 else f" {plus_minus} {half:.1f}"


def _seeds(table: pandas.DataFrame) -> list[str]:
    """How many seeds are in the mean, of how many."""
    counts = zip(table["seeds"], table["diverged"], strict=True)
    return [f"{done} of {done + diverged}" if diverged else str(done) for done, diverged in counts]


def _words(table: pandas.DataFrame, name: str) -> list[str]:
    # No tile is no feature either; no delta is all offsets.
    few = name in SIZES and name != DELTA
    return ["" if few and pandas.isna(value) else summaries.in_words(value) for value in table[name]]


def _heading(name: str) -> str:
    return name.rpartition(".")[2]
