"""The results of a run as tables of texts: one of all arms, and one for each question that a sweep answers; for a terminal,
as Markdown and as LaTeX.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cnn_constraints import summaries
from cnn_constraints.statistics import MOST_SEEDS
from cnn_constraints.summaries import CELL, CONDITIONS, DELTA, N_TRAIN, SIZES
from cnn_constraints.summaries.tuning import TUNED
from cnn_constraints.summaries.words import field_in_words, is_heeded, value_in_words

NUMBERS = ("delta", "tile", "rank", "n_train", "parameters", "seeds", "edge", "p")
"""Headings of the columns that are aligned to the right."""

EDGE = "edge: so many seeds chose a learning rate, weight decay or penalty strength that is an end of what was tried."

FRESH = "In brackets: fresh seeds that would decide it with a probability of 80%, if what was seen is true."

UNLIMITED = 10_000
"""Characters: wider than any table."""


class TextTable(NamedTuple):
    """columns: texts by heading. right: headings of what is aligned to the right. sections: headings of columns where a
    change of texts draws a line. sentences: headings of columns that a paper breaks into lines, and the table over pages.
    """

    title: str
    columns: Mapping[str, Sequence[str]]
    right: Collection[str] = NUMBERS
    sections: Sequence[str] = ()
    caption: str | None = None
    sentences: Collection[str] = ()

    def rows(self) -> list[tuple[str, ...]]:
        return list(zip(*self.columns.values(), strict=True))


def tables_of(
    results: pandas.DataFrame, evaluations: pandas.DataFrame | None, pairs: pandas.DataFrame, plus_minus: str = "±"
) -> list[TextTable]:
    """The arms of each data set and intervention; then what `summaries.untold_comparisons` has of each field."""
    parts = summaries.groups(results, ["data.source", "data.intervention"])
    tables = [summary_table(summaries.summarise(part, evaluations), plus_minus) for _, part in parts]
    where, tests = summaries.conditions_in_words(results), sum(pairs["p"].notna())
    return tables + [_comparison(part, where, tests, plus_minus) for _, part in summaries.groups(pairs, ["field"])]


def summary_table(summary: pandas.DataFrame, plus_minus: str = "±") -> TextTable:
    """Every arm of `summaries.summarise`: test accuracy in percent, with half the width of its interval."""
    shown = [name for name in CONDITIONS if summaries.varies(summary, name)]
    telling = summaries.telling_fields(summary, [CELL, DELTA, N_TRAIN, *shown], summaries.config_fields(summary))
    columns = {heading(name): words(summary, name) for name in [CELL, DELTA, *shown, *telling, N_TRAIN]}
    columns["parameters"] = [f"{count:,}" for count in summary["parameters"]]
    columns["accuracy, %"] = _percent(summary, "test_accuracy", "5.1f", plus_minus)
    columns["seeds"] = _seeds(summary)
    edges = summary[[f"{name}_at_edge" for name in TUNED]].max(axis=1).fillna(0) * (summary["seeds"])
    if any(edges):
        columns["edge"] = [f"{round(edge)}/{seeds}" for edge, seeds in zip(edges, summary["seeds"], strict=True)]
    title, sections = f"Test accuracy on {summaries.conditions_in_words(summary)}", [*shown, N_TRAIN]
    caption = _sentences({_caption(summary, plus_minus): True, EDGE: any(edges)})
    return TextTable(title, columns, sections=list(map(heading, sections)), caption=caption)


def _comparison(pairs: pandas.DataFrame, where: str, tests: int, plus_minus: str) -> TextTable:
    """Rows of `summaries.comparisons` of one field, in percentage points. tests: how many Holm has adjusted p for."""
    equal = [str(name) for name in pairs.columns[: pairs.columns.get_loc("field")] if any(pairs[name].notna())]
    # A cell's only delta tells nothing.
    known, sizes = ([name for name in equal if (name in SIZES) == is_size] for is_size in (False, True))
    shown = known + summaries.telling_fields(pairs, [*known, "first", "second"], sizes)
    # What is not equal in a pair is told of its arms.
    columns = {
        heading(name): [_word(name, equal[name]) if name in equal else "" for equal in pairs["equal"]] for name in shown
    }
    firsts, seconds = ([*dict.fromkeys(pairs[side])] for side in ("first", "second"))
    if len(firsts) == 1:
        field = field_in_words(pairs["field"].iloc[0])
        what = "" if pairs["field"].iloc[0] == CELL or field in firsts[0] else f"{field} "
        title = f"Does {what}{firsts[0]} beat {seconds[0] if len(seconds) == 1 else 'the others'} on {where}?"
    else:
        title = f"Which {heading(pairs['field'].iloc[0])} is better on {where}?"
        columns["first"] = pairs["first"].tolist()
    columns["against"] = pairs["second"].tolist()
    columns["difference"] = _percent(pairs, "difference", "+6.1f", plus_minus)
    columns["seeds"] = _seeds(pairs)
    in_words = lambda p: "" if np.isnan(p) else "<0.001" if p < 0.001 else f"{p:.3f}"
    columns["p"] = list(map(in_words, pairs["p_adjusted"]))
    fresh = lambda seeds: "" if seeds is None else f" ({seeds})" if seeds <= MOST_SEEDS else f" (>{MOST_SEEDS})"
    needed = [fresh(pair["seeds_needed"]) for pair in summaries.plain_rows(pairs)]
    columns["verdict"] = list(map("".join, zip(pairs["verdict"], needed, strict=True)))
    told = {
        "Points of test accuracy, paired by seed.": True,
        _caption(pairs, plus_minus): True,
        f"p: of the paired t-test, adjusted by Holm for {tests} comparison{'s' * (tests != 1)}.": tests > 0,
        FRESH: any(needed),
    }
    sections = [heading(name) for name in shown if name in (*CONDITIONS, N_TRAIN)]
    return TextTable(title, columns, sections=sections, caption=_sentences(told))


def print_tables(
    results: pandas.DataFrame,
    evaluations: pandas.DataFrame | None,
    pairs: pandas.DataFrame,
    console: Console | None = None,
) -> None:
    """All tables on standard output; nothing is cut off."""
    console = console or Console(highlight=False)
    for table in tables_of(results, evaluations, pairs, "+/-" if console.options.ascii_only else "±"):
        print_whole(table, console)
        console.print()


def print_whole(text: TextTable, console: Console) -> None:
    """As wide as the terminal, or where there is none as the table needs."""
    # One space left of a column and one, the box's, between columns: with a readout, still within 80 characters.
    table = Table(title=text.title, caption=text.caption, box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False)
    table.title_justify = table.caption_justify = "left"
    table.title_style, table.caption_style = "bold", "dim"
    for column in text.columns:
        # Folded where the terminal is too narrow: two rows may differ in the letters that would be cut off.
        table.add_column(column, justify="right" if column in text.right else "left", overflow="fold")
    for row, ends_section in _rows_of_sections(text):
        table.add_row(*map(Text, row), end_section=ends_section)
    if not console.is_terminal:
        console.width = max(80, console.measure(table, options=console.options.update_width(UNLIMITED)).maximum)
    console.print(table)


def as_markdown(text: TextTable) -> str:
    """A table of GitHub's Markdown, its title before it and its caption below."""
    line = lambda entries: f"| {' | '.join(entry.strip().replace('|', chr(92) + '|') for entry in entries)} |"
    rules = ["---:" if column in text.right else "---" for column in text.columns]
    body = [line(row) for row in (text.columns, rules, *text.rows())]
    return "\n".join([f"**{text.title}**", "", *body, *(["", text.caption] if text.caption else [])])


def as_latex(text: TextTable) -> str:
    """A table of LaTeX, for a document that loads the packages booktabs and, for one with sentences, longtable."""
    line = lambda entries: f"{' & '.join(latex(entry.strip()) for entry in entries)} \\\\"
    body = [f"{line(row)}{chr(10) + chr(92) + 'addlinespace' if ends else ''}" for row, ends in _rows_of_sections(text)]
    title = text.title if text.title.endswith("?") else f"{text.title}."
    caption = f"\\caption{{{latex(' '.join(filter(None, (title, text.caption))))}}}"
    head = ["\\toprule", line(text.columns), "\\midrule"]
    paragraph = f"p{{{0.6 / max(1, len(text.sentences)):.2g}\\linewidth}}"
    kinds = [paragraph if name in text.sentences else "r" if name in text.right else "l" for name in text.columns]
    if text.sentences:
        head = [f"\\begin{{longtable}}{{{''.join(kinds)}}}", f"{caption} \\\\", *head, "\\endhead"]
        return "\n".join([*head, *body, "\\bottomrule", "\\end{longtable}"])
    head = ["\\begin{table}", "\\centering", caption, f"\\begin{{tabular}}{{{''.join(kinds)}}}", *head]
    return "\n".join([*head, *body, "\\bottomrule", "\\end{tabular}", "\\end{table}"])


def latex(text: str) -> str:
    """A text in which nothing has a meaning to LaTeX."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$"}
    special |= {"<": "$<$", ">": "$>$", **{mark: f"\\{mark}" for mark in "&%$#_{}"}}
    return "".join(special.get(letter, letter) for letter in text)


FORMS: dict[str, Callable[[pandas.DataFrame, pandas.DataFrame, pandas.DataFrame], str]] = {
    "csv": lambda results, looks, pairs: "\n".join(
        table.to_csv(index=False)
        for table in (summaries.summarise(results, looks), pairs.drop(columns=[*summaries.UNTOLD]))
    ),
    "markdown": lambda *tables: "\n\n".join(map(as_markdown, tables_of(*tables))) + "\n",
    "latex": lambda *tables: "\n\n".join(map(as_latex, tables_of(*tables))) + "\n",
}
"""Tables as text: all digits as CSV, arms first and then comparisons after an empty line; rounded for people else."""


def _rows_of_sections(text: TextTable) -> list[tuple[tuple[str, ...], bool]]:
    """The rows, each with whether it is the last of a section that another follows."""
    keys = [tuple(text.columns[name][row] for name in text.sections) for row in range(len(text.rows()))]
    return [
        (row, key != next_key) for row, key, next_key in zip(text.rows(), keys, [*keys[1:], *keys[-1:]], strict=True)
    ]


def _caption(table: pandas.DataFrame, plus_minus: str) -> str:
    return _sentences(
        {
            f"{plus_minus}: half of the 95% Student-t interval over seeds.": max(table["seeds"]) > 1,
            "One seed has no interval.": 1 in set(table["seeds"]),
            "a of b seeds: the others diverged and are left out.": max(table["diverged"]) > 0,
        }
    )


def _sentences(told: Mapping[str, bool]) -> str:
    return " ".join(sentence for sentence, is_true in told.items() if is_true)


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
    """A column of a field as the tables show it."""
    return [_word(name, value) for value in table[name]]


def _word(name: str, value: Any) -> str:
    """No delta is all offsets; of what means nothing where it is missing there is no word."""
    return value_in_words(name, value) if name == DELTA or is_heeded(name, value) else ""


def heading(name: str) -> str:
    """Of a column, from the dotted name of a field."""
    return "cell" if name == CELL else name.rpartition(".")[2]
