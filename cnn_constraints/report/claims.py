"""The claims as a table for a terminal and as figures: what was claimed, what was measured, and whether it holds."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cnn_constraints.claims.claim import Picture
from cnn_constraints.report.figures import OTHER_STYLES, RULES, STYLES
from cnn_constraints.statistics import Interval, geometric_mean_interval, mean_interval

COLOURS = {"holds": "green", "fails": "red", "undecided": "yellow"}

WIDTH = 160
"""Characters: of the tables where standard output is no terminal."""


def print_claim(name: str, record: Mapping[str, Any], console: Console) -> None:
    """The statement, its source and verdict, and a row a criterion."""
    verdict = Text(record["verdict"], style=f"bold {COLOURS[record['verdict']]}")
    console.print(Text.assemble((name, "bold"), ": ", verdict, f"   ({record['source']})"))
    console.print(Padding(record["statement"], (0, 0, 0, 2)))
    for data_set, images in record["data_sets"].items():
        if images != data_set:
            console.print(Padding(Text(f"Images in place of {data_set}: {images}."), (0, 0, 0, 2)))
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("measured quantity", "published", "criterion", "measured", "seeds", "verdict"):
        table.add_column(heading, justify="right" if heading == "seeds" else "left", overflow="fold")
    for row in record["criteria"]:
        told = Text(row["verdict"], style=COLOURS[row["verdict"]])
        words = (row["quantity"], row["published"] or "-", criterion_in_words(row), measured_in_words(row))
        table.add_row(*map(Text, words), Text(str(row["seeds"])), told)
    console.print(Padding(table, (0, 0, 1, 2)))


def print_summary(records: Mapping[str, Mapping[str, Any]], unmeasured: Iterable[str], console: Console) -> None:
    """A row a claim, with those that could not be measured, and how many hold."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("claim", "verdict", "criteria", "seconds"):
        table.add_column(heading, justify="left" if heading in ("claim", "verdict") else "right")
    for name, record in records.items():
        held = sum(row["verdict"] == "holds" for row in record["criteria"])
        criteria = f"{held} of {len(record['criteria'])} {_agreeing('holds', held)}"
        told = Text(record["verdict"], style=COLOURS[record["verdict"]])
        table.add_row(Text(name), told, criteria, f"{record['seconds']:.0f}")
    missing = list(unmeasured)
    for name in missing:
        table.add_row(Text(name), "not measured")
    console.print(table)
    counts = {word: sum(record["verdict"] == word for record in records.values()) for word in COLOURS}
    words = [f"{count} {_agreeing(word, count)}" for word, count in counts.items()]
    console.print(", ".join([*words, f"{len(missing)} not measured"] if missing else words) + ".")


def _agreeing(verb: str, count: int) -> str:
    """One holds, two hold."""
    return verb if count == 1 else verb.removesuffix("s")


def title_of(name: str, record: Mapping[str, Any]) -> str:
    """Of the picture of a claim: the verdict, and what points and bars are."""
    seeds = len(record["seeds"])
    shown = f"Mean and 95% interval over {seeds} seeds" if seeds > 1 else "1 seed, no intervals"
    return f"{name}: {record['verdict']}. {'Exact' if all(map(_is_exact, record['criteria'])) else shown}"


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
    estimate, low, high = (_number(row[entry], _digits(row)) for entry in ("measured", "low", "high"))
    return estimate if _is_exact(row) else f"{estimate} [{low}, {high}]"


def _is_exact(row: Mapping[str, Any]) -> bool:
    return row["measured"] is not None and row["measured"] == row["low"] == row["high"]


def _digits(row: Mapping[str, Any]) -> int:
    """The fewest significant digits, from four on, with which no end of the interval reads like a bound that it is not."""
    bounds = row["lowest_allowed"], row["highest_allowed"]
    pairs = [(end, bound) for end in (row["low"], row["high"]) for bound in bounds if end != bound]
    # Nineteen digits tell any two numbers apart.
    numbers = range(4, 20)
    return next(digits for digits in numbers if all(_number(e, digits) != _number(b, digits) for e, b in pairs))


def _number(value: float | int | str | None, digits: int) -> str:
    """Rounded to so many significant digits, but a whole number as it is; an exponent below 0.001 and from 10^15 on."""
    if value is None:
        return "unknown"
    if isinstance(value, str):
        return value
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if not 1e-3 <= abs(value) < 1e15:
        return f"{value:.{digits}g}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if decimals else text


def draw_curves(title: str, picture: Picture, curves: pandas.DataFrame) -> Figure:
    """A panel for each `panel`, a line for each `line`: the mean over seeds and its 95% interval against x.

    On a logarithmic axis the mean is the geometric one; a cell has the colour and marker it has everywhere.
    """
    panels, lines = (list(dict.fromkeys(curves[name])) for name in ("panel", "line"))
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    with matplotlib.rc_context(RULES):
        width = 6.4 if is_categorical(curves) else 3.9
        size = (width * columns + 2.4, 3.5 * rows + 0.7)
        figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(h_pad=0.09, w_pad=0.07))
        grid = figure.subplots(rows, columns, squeeze=False)
        heights: dict[Axes, np.ndarray] = {}
        for axes, panel in zip(grid.flat, panels, strict=False):
            of_panel = curves.loc[curves["panel"] == panel]
            for place, line in enumerate(lines):
                if line in set(of_panel["line"]):
                    shift = 0.12 * (place - (len(lines) - 1) / 2)
                    _draw_line(
                        axes, of_panel.loc[of_panel["line"] == line], picture, line, line_style(line, lines), shift
                    )
            _share_height(axes, of_panel["y"].dropna().to_numpy(float), heights)
            axes.set_title(panel)
            axes.set_xlabel(picture.x)
            if not is_categorical(curves):
                axes.set_xscale("log" if picture.x_logarithmic else "linear")
                if picture.x_logarithmic:
                    _plain_numbers(axes.xaxis, of_panel["x"].to_numpy(float))
            if picture.y_logarithmic:
                axes.set_yscale("log")
                _plain_numbers(axes.yaxis, heights[axes])
        for axes in list(grid.flat)[len(panels) :]:
            axes.remove()
        for axes in grid[:, 0]:
            axes.set_ylabel(picture.y)
        entries = {label: h for axes in figure.axes for h, label in zip(*axes.get_legend_handles_labels(), strict=True)}
        figure.legend(entries.values(), list(entries), loc="outside right center")
        figure.suptitle(title, fontsize=11.5)
    return figure


def _draw_line(
    axes: Axes, rows: pandas.DataFrame, picture: Picture, label: str, style: tuple[str, str], shift: float
) -> None:
    mean = geometric_mean_interval if picture.y_logarithmic else mean_interval
    # An experiment that diverged has no y: it is in no mean.
    found: dict[Any, Interval] = {x: mean(values.dropna()) for x, values in rows.groupby("x", sort=False)["y"]}
    estimate, low, high, seeds = np.array(list(found.values()), float).T
    bars = np.where(seeds > 1, np.stack([estimate - low, high - estimate]), 0)
    color, marker = style
    if is_categorical(rows):
        # Beside each other, so that no point hides another.
        axes.errorbar(np.arange(len(found)) + shift, estimate, bars, fmt=marker, color=color, capsize=3, label=label)
        axes.set_xticks(range(len(found)), list(found), fontsize=9)
        return
    order = np.argsort(list(found))
    x = np.array(list(found), float)[order]
    axes.errorbar(x, estimate[order], bars[:, order], color=color, marker=marker, capsize=3, label=label)


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


def _plain_numbers(axis: Axis, values: np.ndarray) -> None:
    """Within two decades: 1, 2, 5, 10, ... instead of powers of ten, and round steps where even those are too far."""
    if len(values) and values.max() < 300 * values.min():
        near = values.max() < 3 * values.min()
        axis.set_major_locator(MaxNLocator(4) if near else LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())


def line_style(line: str, lines: Sequence[str]) -> tuple[str, str]:
    """A cell's own, for a line that is named after one alone; other lines take none of those, and each another one."""
    if line in STYLES:
        return STYLES[line]
    place, colours = [other for other in lines if other not in STYLES].index(line), len(OTHER_STYLES)
    # Where the colours begin anew, the markers are moved by one.
    return OTHER_STYLES[place % colours][0], OTHER_STYLES[(place + place // colours) % colours][1]
