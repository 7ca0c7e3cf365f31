"""The claims as a table for a terminal and as figures: what was claimed, what was measured, and whether it holds."""

import math
from collections.abc import Collection, Mapping
from typing import Any, get_args

import numpy as np
import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cnn_constraints.claims import Name
from cnn_constraints.claims.claim import Picture
from cnn_constraints.claims.records import ENDS, interval_of
from cnn_constraints.report.figures import error_bars, logarithmic_x, panels, styles
from cnn_constraints.report.tables import TextTable, as_latex, as_markdown
from cnn_constraints.statistics import MOST_SEEDS, geometric_mean_interval, mean_interval, seeds_to_decide

COLOURS = {"holds": "green", "fails": "red", "undecided": "yellow"}

HEADINGS = ("measured quantity", "published", "criterion", "measured", "seeds", "verdict")

MEAN = ("mean", "low", "high", "seeds")
"""Columns of a point of a picture."""

UNDECIDED = (
    "So many fresh seeds put the interval on one side of the bound nearest to the estimate with a probability of 80%, if "
    "mean and spread are those seen (noncentral t, Cohen 1988, chapter 2; `statistics.seeds_to_decide`)."
)

WIDTH = 160
"""Characters: of the tables where standard output is no terminal."""


def print_claim(name: str, record: Mapping[str, Any], console: Console) -> None:
    """The statement, its source and verdict, and a row a criterion."""
    console.print(Text.assemble((name, "bold"), ": ", _coloured(record, "bold "), f"   ({record['source']})"))
    replaced = {name: images for name, images in record["data_sets"].items() if images != name}
    for sentence in [record["statement"], *(f"Images in place of {name}: {replaced[name]}." for name in replaced)]:
        console.print(Padding(Text(sentence), (0, 0, 0, 2)))
    table = _table(*HEADINGS, right=("seeds",))
    for row in record["criteria"]:
        *words, verdict = criterion_row(row)
        table.add_row(*map(Text, words), Text(verdict, style=COLOURS[row["verdict"]]))
    console.print(Padding(table, (0, 0, 1, 2)))


def print_summary(records: Mapping[str, Mapping[str, Any]], unmeasured: Collection[str], console: Console) -> None:
    """A row a claim, with those that could not be measured, and how many hold."""
    table = _table("claim", "verdict", "criteria", "seconds", right=("criteria", "seconds"))
    for name, record in as_told(records).items():
        held = sum(row["verdict"] == "holds" for row in record["criteria"])
        criteria = f"{held} of {len(record['criteria'])} {_agreeing('holds', held)}"
        table.add_row(name, _coloured(record), criteria, f"{record['seconds']:.0f}")
    for name in unmeasured:
        table.add_row(name, "not measured")
    console.print(table)
    verdicts = [record["verdict"] for record in records.values()]
    words = [f"{verdicts.count(word)} {_agreeing(word, verdicts.count(word))}" for word in COLOURS]
    console.print(", ".join([*words, f"{len(unmeasured)} not measured"] if unmeasured else words) + ".")


def _table(*headings: str, right: Collection[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="right" if heading in right else "left", overflow="fold")
    return table


def _coloured(judged: Mapping[str, Any], style: str = "") -> Text:
    return Text(judged["verdict"], style=style + COLOURS[judged["verdict"]])


def _agreeing(verb: str, count: int) -> str:
    """One holds, two hold."""
    return verb if count == 1 else verb.removesuffix("s")


def as_told(records: Mapping[str, Any]) -> dict[str, Any]:
    """The records in the order in which claims are told, whatever the order in which they were measured."""
    known = [name for name in get_args(Name) if name in records]
    return {name: records[name] for name in [*known, *(name for name in records if name not in known)]}


def summary_table(records: Mapping[str, Any]) -> TextTable:
    """A row a claim: what it says, and whether it holds."""
    told = as_told(records)
    held = [[row["verdict"] == "holds" for row in record["criteria"]] for record in told.values()]
    columns = {
        "claim": list(told),
        "what it says": [record["statement"] for record in told.values()],
        "criteria that hold": [f"{sum(of_claim)} of {len(of_claim)}" for of_claim in held],
        "verdict": [record["verdict"] for record in told.values()],
    }
    return TextTable("The claims", columns, sentences=("what it says",))


def criteria_table(records: Mapping[str, Any]) -> TextTable:
    """A row a criterion, what the source has beside what was measured."""
    rows = [(name, *criterion_row(row)) for name, record in as_told(records).items() for row in record["criteria"]]
    columns = {heading: [row[place] for row in rows] for place, heading in enumerate(("claim", *HEADINGS))}
    caption = UNDECIDED if any("would decide it" in words for words in columns["verdict"]) else None
    return TextTable(
        "The criteria of the claims", columns, sections=("claim",), caption=caption, sentences=HEADINGS[:4]
    )


def criterion_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The words under HEADINGS."""
    found = (criterion_in_words(row), measured_in_words(row), str(row["seeds"]), verdict_in_words(row))
    return row["quantity"], row["published"] or "-", *found


def as_text(form: str, records: Mapping[str, Any]) -> str:
    """Both tables as markdown or latex; as csv a row a criterion with all digits, of which bounds may be missing."""
    if form == "csv":
        rows = [{"claim": name, **row} for name, record in as_told(records).items() for row in record["criteria"]]
        return pandas.DataFrame(rows).to_csv(index=False)
    written = {"markdown": as_markdown, "latex": as_latex}[form]
    return "\n\n".join(map(written, (summary_table(records), criteria_table(records)))) + "\n"


def title_of(name: str, record: Mapping[str, Any]) -> str:
    """Of the picture of a claim: the verdict, and what points and bars are."""
    return f"{name}: {record['verdict']}. {bars_of(record)}"


def bars_of(record: Mapping[str, Any]) -> str:
    """What points and bars of a claim's picture are."""
    seeds = len(record["seeds"])
    alone = "Exact" if all(map(_is_exact, record["criteria"])) else "1 seed, no intervals"
    return f"Mean and 95% interval over {seeds} seeds" if seeds > 1 else alone


def criterion_in_words(row: Mapping[str, Any]) -> str:
    """`0.44 to 0.56`, `at least 1`, `at most 0.05`, `exactly 0`."""
    low, high = (_number(row[bound], _digits(row)) for bound in ("lowest_allowed", "highest_allowed"))
    if row["lowest_allowed"] is None:
        return f"at most {high}"
    if row["highest_allowed"] is None:
        return f"at least {low}"
    return f"exactly {low}" if low == high else f"{low} to {high}"


def measured_in_words(row: Mapping[str, Any]) -> str:
    """The estimate and its interval."""
    estimate, low, high = (_number(row[entry], _digits(row)) for entry in ENDS)
    return estimate if _is_exact(row) else f"{estimate} [{low}, {high}]"


def verdict_in_words(row: Mapping[str, Any]) -> str:
    """The verdict; of what is undecided also on which side of its nearest bound the estimate is, and about how many fresh
    seeds would decide it (`UNDECIDED`).
    """
    if row["verdict"] != "undecided":
        return row["verdict"]
    found = interval_of(row)
    estimate = found.estimate
    lowest, highest = (row[bound] for bound in ("lowest_allowed", "highest_allowed"))
    if math.isnan(estimate):
        return "undecided: there is no estimate"
    within = (lowest is None or lowest <= estimate) and (highest is None or estimate <= highest)
    nearest = min((bound for bound in (lowest, highest) if bound is not None), key=lambda x: abs(estimate - x))
    seeds = seeds_to_decide(found, float(nearest))
    if found.seeds < 2:
        needed = "one seed has no interval"
    elif not all(map(math.isfinite, (estimate, found.low, found.high))):
        needed = "the interval has no end, which more seeds do not give it"
    elif seeds is None:
        needed = "how many seeds would decide it is unknown"
    else:
        needed = (
            f"{seeds} seeds would decide it" if seeds <= MOST_SEEDS else f"not even {MOST_SEEDS} seeds would decide it"
        )
    return f"undecided: the estimate {'holds' if within else 'fails'}; {needed}"


def _is_exact(row: Mapping[str, Any]) -> bool:
    return row["measured"] is not None and row["measured"] == row["low"] == row["high"]


def _digits(row: Mapping[str, Any]) -> int:
    """The fewest significant digits, from four on, with which no end of the interval reads like a bound that it is not."""
    bounds = row["lowest_allowed"], row["highest_allowed"]
    pairs = [(end, bound) for end in (row["low"], row["high"]) for bound in bounds if end != bound]
    # Seventeen digits tell any two numbers apart.
    return next(n for n in range(4, 18) if n == 17 or all(_number(e, n) != _number(b, n) for e, b in pairs))


def _number(value: float | int | str | None, digits: int) -> str:
    """Rounded to so many significant digits, but no digit before the point is lost."""
    if value is None or isinstance(value, str):
        return value or "unknown"
    digits = max(digits, len(f"{abs(value):.0f}"))
    return f"{float(f'{value:.{digits}g}'):,}".removesuffix(".0")


def draw_curves(title: str, picture: Picture, curves: pandas.DataFrame) -> Figure:
    """A panel for each `panel`, a line for each `line`: the mean over seeds and its 95% interval against x.

    On a logarithmic axis the mean is the geometric one; a cell has the colour and marker it has everywhere.
    """
    names, lines = (list(dict.fromkeys(curves[name])) for name in ("panel", "line"))
    known, means = styles({line: line for line in lines}), means_of(curves, picture)
    categorical, columns = is_categorical(curves), min(3, len(names))
    size = ((6.4 if categorical else 3.9) * columns + 2.4, 3.5 * math.ceil(len(names) / columns) + 0.7)
    heights: dict[Axes, np.ndarray] = {}
    with panels(len(names), columns, size, picture.y) as (figure, grid):
        for axes, panel in zip(grid, names, strict=True):
            of_panel = curves.loc[curves["panel"] == panel]
            # Categories stand side by side, and the lines beside each other in each, so that no point hides another.
            places = {x: place for place, x in enumerate(dict.fromkeys(of_panel["x"]))} if categorical else {}
            for line, of_line in means.loc[means["panel"] == panel].groupby("line", sort=False):
                shift = 0.12 * (lines.index(line) - (len(lines) - 1) / 2)
                of_line, (color, marker, _) = of_line.sort_values("x"), known[str(line)]
                x = (of_line["x"].map(places) + shift if categorical else of_line["x"]).to_numpy()
                style = {"color": color, "marker": marker, "linestyle": "none" if categorical else "-"}
                error_bars(axes, x, of_line[[*MEAN]].to_numpy(float), label=str(line), **style)
            if categorical:
                axes.set_xticks(list(places.values()), list(places), fontsize=9)
            _share_height(axes, of_panel["y"].dropna().to_numpy(float), heights)
            axes.set(title=panel, xlabel=picture.x)
            if picture.x_logarithmic and not categorical:
                logarithmic_x(axes, sorted(set(of_panel["x"])))
            if picture.y_logarithmic and (heights[axes] > 0).any():
                axes.set_yscale("log")
                _plain_heights(axes, heights[axes])
        figure.suptitle(title, fontsize=11.5)
    return figure


def means_of(curves: pandas.DataFrame, picture: Picture) -> pandas.DataFrame:
    """A row a panel, line and x, and in the columns `MEAN` the mean over seeds with its 95% interval, geometric where y is
    logarithmic; an experiment that diverged is in none.
    """
    mean = geometric_mean_interval if picture.y_logarithmic else mean_interval
    keys = ["panel", "line", "x"]
    grouped: Any = curves.groupby(keys, sort=False)["y"]
    rows = [(*key, *mean(values.dropna())) for key, values in grouped]
    return pandas.DataFrame(rows, columns=[*keys, *MEAN])


def is_categorical(curves: pandas.DataFrame) -> bool:
    """Whether x is a text and not a number."""
    return not pandas.api.types.is_numeric_dtype(curves["x"])


def _share_height(axes: Axes, values: np.ndarray, heights: dict[Axes, np.ndarray]) -> None:
    """One scale for panels whose values overlap, which are to be compared; another panel would be pressed flat by it."""
    for other, theirs in heights.items():
        if len(values) and len(theirs) and values.min() <= theirs.max() and theirs.min() <= values.max():
            axes.sharey(other)
            break
    heights[axes] = values


def _plain_heights(axes: Axes, values: np.ndarray) -> None:
    """Within two decades: 1, 2, 5, 10, ... instead of powers of ten, and round steps where even those are too far."""
    if len(values) and values.max() < 300 * values.min():
        near = values.max() < 3 * values.min()
        axes.yaxis.set_major_locator(MaxNLocator(4) if near else LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
