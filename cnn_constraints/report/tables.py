"""The results of a run as tables for a terminal: one of all arms, one that says which cell beats which."""

from collections.abc import Mapping, Sequence

import pandas
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cnn_constraints import summaries
from cnn_constraints.summaries import CELL, CONDITIONS, DELTA, N_TRAIN

CHAMPIONS = ("conv", "tiled", "low_rank_local", "local", "shared", "dense")
"""The cell that the others are compared with is the first of these in a run: the more constrained, the earlier."""

NUMBERS = ("delta", "tile", "rank", "n_train", "parameters", "seeds")
"""Headings of the columns that are aligned to the right."""

UNLIMITED = 10_000
"""Characters: wider than any table."""


def summary_table(summary: pandas.DataFrame, plus_minus: str = "±") -> Table:
    """Every arm of `summaries.summarise`: test accuracy in percent, with half the width of its interval."""
    shown = _shown(summary)
    telling = summaries.telling_fields(summary, [CELL, DELTA, N_TRAIN, *shown], summaries.config_fields(summary))
    columns = {"cell": summary[CELL].tolist()}
    columns |= {_heading(name): words(summary, name) for name in [DELTA, *shown, *telling, N_TRAIN]}
    columns["parameters"] = [f"{count:,}" for count in summary["parameters"]]
    columns["accuracy, %"] = _percent(summary, "test_accuracy", "5.1f", plus_minus)
    columns["seeds"] = _seeds(summary)
    title = f"Test accuracy on {summaries.conditions_in_words(summary)}"
    return table_of(title, columns, NUMBERS, [*shown, N_TRAIN], _caption(summary, plus_minus))


def comparisons(results: pandas.DataFrame) -> tuple[str, pandas.DataFrame] | None:
    """The most constrained cell, and rows of `summaries.compare` of it and each other cell, with that cell; `own`, `other`:
    what tells the arm on each side from other arms of its cell, in words. None where no two cells have equal conditions.
    """
    present = sorted(set(results[CELL]), key=summaries.cell_rank)
    champion = next((cell for cell in CHAMPIONS if cell in present), present[-1])
    parts = [summaries.compare(results, champion, cell).assign(**{CELL: cell}) for cell in present if cell != champion]
    parts = [part for part in parts if len(part)]
    if not parts:
        return None
    pairs = summaries.in_order(pandas.concat(parts, ignore_index=True))
    return champion, pairs.assign(own=_side(pairs, "first"), other=_side(pairs, "second"))


def comparison_table(results: pandas.DataFrame, plus_minus: str = "±") -> Table | None:
    """Whether the most constrained cell beats the others, in percentage points. None where `comparisons` has none."""
    found = comparisons(results)
    if found is None:
        return None
    champion, pairs = found
    shown = _shown(pairs)
    columns = {_heading(name): words(pairs, name) for name in [*shown, N_TRAIN]}
    columns |= {champion: pairs["own"].tolist()} if any(pairs["own"]) else {}
    columns["against"] = [", ".join(filter(None, arm)) for arm in zip(pairs[CELL], pairs["other"], strict=True)]
    columns["difference"] = _percent(pairs, "difference", "+6.1f", plus_minus)
    columns["seeds"] = _seeds(pairs)
    columns[f"{champion} is"] = pairs["verdict"].tolist()
    title = f"Does {champion} beat the others on {summaries.conditions_in_words(pairs)}? Points of test accuracy"
    caption = f"Paired by seed. {_caption(pairs, plus_minus)} Not corrected for the number of comparisons."
    return table_of(title, columns, NUMBERS, [*shown, N_TRAIN], caption)


def print_tables(results: pandas.DataFrame, console: Console | None = None) -> None:
    """Both tables for each data set and intervention, on standard output; nothing is cut off."""
    console = console or Console(highlight=False)
    plus_minus = "+/-" if console.options.ascii_only else "±"
    for _, part in summaries.groups(results, ["data.source", "data.intervention"]):
        for table in (summary_table(summaries.summarise(part), plus_minus), comparison_table(part, plus_minus)):
            if table is not None:
                print_whole(table, console)
                console.print()


def print_whole(table: Table, console: Console) -> None:
    """As wide as the terminal, or where there is none as the table needs."""
    if not console.is_terminal:
        console.width = max(80, console.measure(table, options=console.options.update_width(UNLIMITED)).maximum)
    console.print(table)


def table_of(
    title: str,
    columns: Mapping[str, Sequence[str]],
    right: Sequence[str],
    sections: Sequence[str] = (),
    caption: str | None = None,
) -> Table:
    """columns: texts by heading. right: aligned to the right. sections: fields where a change of texts draws a line."""
    # One space left of a column and one, the box's, between columns: with a readout, still within 80 characters.
    table = Table(title=title, caption=caption, box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False)
    table.title_justify = table.caption_justify = "left"
    table.title_style, table.caption_style = "bold", "dim"
    for heading in columns:
        # Folded where the terminal is too narrow: two rows may differ in the letters that would be cut off.
        table.add_column(heading, justify="right" if heading in right else "left", overflow="fold")
    rows = list(zip(*columns.values(), strict=True))
    keys = [tuple(columns[_heading(name)][number] for name in sections) for number in range(len(rows))]
    for row, key, following in zip(rows, keys, [*keys[1:], None], strict=True):
        table.add_row(*map(Text, row), end_section=key != following)
    return table


def _caption(table: pandas.DataFrame, plus_minus: str) -> str:
    sentences = {
        f"{plus_minus}: half of the 95% Student-t interval over seeds.": max(table["seeds"]) > 1,
        "One seed has no interval.": 1 in set(table["seeds"]),
        "a of b seeds: the others diverged and are left out.": max(table["diverged"]) > 0,
    }
    return " ".join(sentence for sentence, is_true in sentences.items() if is_true)


def _shown(table: pandas.DataFrame) -> list[str]:
    return [name for name in CONDITIONS if summaries.varies(table, name)]


def _side(pairs: pandas.DataFrame, side: str) -> list[str]:
    """What tells the arm on one side of each pair from other arms of its cell; empty where nothing needs to."""
    names = [str(name) for name in pairs if str(name).endswith(f"_{side}")]
    telling = summaries.telling_fields(pairs, [*_shown(pairs), N_TRAIN, CELL], names)
    # No delta is no feature: dense is just dense.
    told = lambda row: [
        f"{_heading(name.removesuffix(f'_{side}'))} {summaries.in_words(row[name])}"
        for name in telling
        if row[name] is not None
    ]
    return [", ".join(told(row)) for row in pairs.to_dict("records")]


def _percent(table: pandas.DataFrame, name: str, form: str, plus_minus: str) -> list[str]:
    """A mean, and half the width of its interval if it has one."""
    rows = zip(table["seeds"], 100 * table[name], 50 * (table[f"{name}_high"] - table[f"{name}_low"]), strict=True)
    bar = lambda seeds, half: "" if seeds == 1 else f" {plus_minus} {half:.1f}"
    return [f"{mean:{form}}{bar(seeds, half)}" if seeds else "diverged" for seeds, mean, half in rows]


def _seeds(table: pandas.DataFrame) -> list[str]:
    """How many seeds are in the mean, of how many."""
    counts = zip(table["seeds"], table["diverged"], strict=True)
    return [f"{done} of {done + diverged}" if diverged else str(done) for done, diverged in counts]


def words(table: pandas.DataFrame, name: str) -> list[str]:
    """Config values as they stand in a table: no delta is all offsets, nothing else is no feature."""
    few = lambda value: name != DELTA and (value is None or value is pandas.NA)
    return ["" if few(value) else summaries.in_words(value) for value in table[name]]


def _heading(name: str) -> str:
    return name.rpartition(".")[2]
