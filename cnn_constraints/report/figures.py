"""The results of a run as figures for a paper: functions from the table of `store.read` to Matplotlib figures.

A point is the mean over the seeds of an arm, its bar the 95% Student-t interval; colour and marker belong to the cell.
"""

import contextlib
import math
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogLocator, MaxNLocator

from cnn_constraints import summaries
from cnn_constraints.report import marks as marked
from cnn_constraints.report.answer import headlines
from cnn_constraints.statistics import Interval
from cnn_constraints.summaries import CONDITIONS, N_TRAIN, SWEEPS

STYLES = {"dense": ("#D55E00", "s"), "shared": ("#CC79A7", "D"), "local": ("#009E73", "^"), "conv": ("#0072B2", "o")}
"""Colour and marker of each cell: Okabe and Ito's colours, which are told apart with any colour vision."""

OTHER_COLOURS = ("#E69F00", "#56B4E9", "#000000", "#999999", "#882255", "#332288", "#8C564B", "#B8A000")
OTHER_STYLES = tuple(zip(OTHER_COLOURS, "vPX*<>hp", strict=True))
"""The same for constraints that are none of the four, in the order of their registry, and for lines that are no cell."""

DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
"""Of the lines of one cell that differ in delta or in another field; their colours grow lighter too."""

RULES: dict[Any, Any] = {
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "lines.linewidth": 1.8,
    "lines.markersize": 7,
    "legend.frameon": False,
}

LIGHTEST = 3.2
"""Of the variants of a colour, the last that still is that colour."""


class Style(NamedTuple):
    """Colour, Matplotlib's marker, and the dashes of a line."""

    color: str
    marker: str
    dashes: Any


def figures_for(results: pandas.DataFrame, comparisons: pandas.DataFrame | None = None) -> dict[str, Figure]:
    """The figures that the varying fields of a run's results allow, by name; none where every experiment diverged.

    comparisons: `summaries.untold_comparisons` of the results, where they are known already.
    """
    draw = {"learning_curves": plot_learning_curves, "cells": plot_cells, "delta_curve": plot_delta_curve}
    return {kind: draw[kind](results, comparisons) for kind in marked.kinds(_arms(marked.describe(results)))}


def plot_learning_curves(results: pandas.DataFrame, comparisons: pandas.DataFrame | None = None) -> Figure:
    """Test error in percent against n_train, both logarithmic: a line a cell, a panel a condition.

    What a logarithmic axis cannot show, an error or the end of an interval near 0% or below, stands at its lower edge.

    >>> figure = plot_learning_curves(store.read("runs/quickstart"))
    >>> figure.savefig("learning_curves.pdf")
    >>> figure.axes[0].get_xscale(), figure.axes[0].get_yscale()
    ('log', 'log')
    """

    def dress(axes: Axes, marks: pandas.DataFrame) -> None:
        numbers = sorted(set(marks["n"]))
        margin = 1.05 * (numbers[-1] / numbers[0]) ** 0.07
        axes.set(xlim=(numbers[0] / margin, numbers[-1] * margin), xlabel="training images")
        logarithmic_x(axes, numbers)

    title = "Test error against training images"
    return _curves(results, comparisons, title, "panel", "arm", "place", dress)


def plot_delta_curve(results: pandas.DataFrame, comparisons: pandas.DataFrame | None = None) -> Figure:
    """Test error in percent, logarithmic, against delta: tied and untied weights, a panel a condition and n_train.

    The rightmost place is that of all offsets, where conv has become shared, and local dense.

    >>> *_, axes = plot_delta_curve(store.read("runs/quickstart")).axes
    >>> [label.get_text() for label in axes.get_xticklabels()]
    ['2', 'all']
    """

    def dress(axes: Axes, marks: pandas.DataFrame) -> None:
        deltas = marked.deltas(marks)
        if deltas[-1] == "all":
            axes.axvline(len(deltas) - 1.5, color="#aaaaaa", linewidth=1, linestyle=(0, (2, 3)))
        axes.set(xlim=(-0.4, len(deltas) - 0.6), xlabel="delta, pixels to each side of a site")
        axes.set_xticks(range(len(deltas)), deltas)

    return _curves(results, comparisons, "Test error against delta", "panel_n", "line", "delta_place", dress)


def plot_cells(results: pandas.DataFrame, comparisons: pandas.DataFrame | None = None) -> Figure:
    """Test accuracy in percent, a row an arm and a panel a condition, the seeds as small open dots below.

    >>> axes, _ = plot_cells(store.read("runs/quickstart").query("`data.n_train` == 100")).axes
    >>> [label.get_text() for label in axes.get_yticklabels()]
    ['dense', 'shared', 'local (delta 2)', 'conv (delta 2)']
    """
    marks = marked.describe(results)
    known, arms = styles(dict(zip(marks["arm"], marks["cell"], strict=True))), _arms(marks)
    rows = list(known)

    def draw(axes: Axes, panel: pandas.DataFrame) -> None:
        for name, of_arm in panel.groupby("arm", sort=False):
            arm, row, (color, marker, _) = of_arm.iloc[0], rows.index(str(name)), known[str(name)]
            mean, low, high = (arm[f"accuracy{end}"] for end in ("", "_low", "_high"))
            seeds = of_arm["accuracy"].iloc[1:].to_numpy(float)
            axes.plot(seeds, np.full(len(seeds), row + 0.25), "o", markersize=4, color=color, fillstyle="none")
            bar = np.nan_to_num([[mean - max(low, 0)], [min(high, 100) - mean]])
            axes.errorbar([mean], [row], xerr=bar, color=color, marker=marker, markersize=8, capsize=4)
            if not arm["seeds"]:
                axes.annotate("diverged", (0.02, row), xycoords=("axes fraction", "data"), va="center")
        axes.set(ylim=(len(rows) - 0.4, -0.6), xlabel="test accuracy (%)")
        axes.set_yticks(range(len(rows)), rows)
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axes.grid(visible=False, axis="y")

    title = f"Test accuracy with {' or '.join(f'{n:,}' for n in sorted(set(arms['n'])))} training images"
    note = "; intervals are cut at 0 and 100%" if any(arms["low"] < 0) or any(arms["high"] > 100) else ""
    height = 1.0 + 0.5 * len(rows)
    return _figure(results, marks, comparisons, title, "panel", rows, draw, height=height, note=note)


def _arms(marks: pandas.DataFrame) -> pandas.DataFrame:
    return marks.loc[marks["kind"] == "arm"]


def _curves(
    results: pandas.DataFrame,
    comparisons: pandas.DataFrame | None,
    title: str,
    panel: str,
    line: str,
    x: str,
    dress: Callable[[Axes, pandas.DataFrame], None],
) -> Figure:
    """Errors against the column x: lines in the colour of their leftmost arm, and along them markers, bars and entries of
    the legend cell by cell.
    """
    marks = marked.describe(results)
    cells = zip(marks["cell"], marks[line], strict=True)
    marks["label"] = [f"{cell}, {name}" if line == "line" and cell in SWEEPS else name for cell, name in cells]
    known, (floor, _) = styles(dict(zip(marks["label"], marks["cell"], strict=True))), marked.floor(marks)
    low, high = marks[["error", "low"]].min(axis=None) / 1.15, marks[["error", "high"]].max(axis=None) * 1.15
    limits = max(floor, low), min(100.0, max(high, 2.3 * floor))
    span = limits[1] / limits[0]
    subs = (1, 3) if span > 100 else (1, 2, 5) if span > 20 else (1, 2, 3, 5, 7)

    def draw(axes: Axes, of_panel: pandas.DataFrame) -> None:
        for _, arms in _arms(of_panel).sort_values(x).groupby(line, sort=False):
            arms = arms.assign(**{name: arms[name].astype(float).clip(*limits) for name in ("error", "low", "high")})
            labels = arms["label"].unique()
            color, _, dashes = known[labels[0]]
            axes.plot(arms[x], arms["error"], color=color, linestyle=dashes)
            for label in labels:
                mine, (color, marker, _) = arms.loc[arms["label"] == label], known[label]
                bars = np.nan_to_num([mine["error"] - mine["low"], mine["high"] - mine["error"]])
                style: dict[str, Any] = {"color": color, "marker": marker, "linestyle": "none"}
                axes.errorbar(mine[x], mine["error"], bars, elinewidth=1.3, capsize=3, clip_on=False, **style)
                # The entry of the legend; the cell at the end of a delta-sweep has no line of its own.
                axes.plot([], [], label=label, **style | ({"linestyle": dashes} if label == labels[0] else {}))
        dress(axes, marks)
        axes.set(yscale="log", ylim=limits)
        axes.yaxis.set_major_locator(MaxNLocator(6) if span < 6 else LogLocator(subs=subs))
        axes.yaxis.set_major_formatter("{x:.9g}")
        axes.minorticks_off()

    note = "; bars at the edge go on" if any(marks["low"] < limits[0]) else ""
    return _figure(results, marks, comparisons, title, panel, list(known), draw, note=note)


def styles(cells: Mapping[str, str]) -> dict[str, Style]:
    """Of each name, by its cell: the colour and marker of that, the colour the lighter the later the name comes; what has
    no cell's, or shares one with all others, has its own.
    """
    alone = len(set(cells.values())) == 1 < len(cells)
    own, count = [name for name, cell in cells.items() if alone or cell not in STYLES], len(OTHER_STYLES)
    found: dict[str, Style] = {}
    for name, cell in cells.items():
        if name in own:
            place = own.index(name)
            # Where the colours begin anew, the markers are moved by one.
            color, marker = OTHER_STYLES[place % count][0], OTHER_STYLES[(place + place // count) % count][1]
            found[name] = Style(color, marker, DASHES[place // count % len(DASHES)])
        else:
            variants = [other for other, of in cells.items() if of == cell]
            step, variant = min(1, LIGHTEST / max(len(variants) - 1, 1)), variants.index(name)
            white = 1 - 0.75 ** (step * variant)
            red, green, blue = (channel + white * (1 - channel) for channel in to_rgb(STYLES[cell][0]))
            found[name] = Style(to_hex((red, green, blue)).upper(), STYLES[cell][1], DASHES[variant % len(DASHES)])
    return found


def error_bars(axes: Axes, x: Sequence[Any] | np.ndarray, found: Iterable[Interval] | np.ndarray, **style: Any) -> None:
    """Estimates with their intervals, a row or an `Interval` a point; one seed has none."""
    estimate, low, high, seeds = np.array(list(found), float).T
    axes.errorbar(x, estimate, np.where(seeds > 1, np.stack([estimate - low, high - estimate]), 0), capsize=3, **style)


def logarithmic_x(axes: Axes, numbers: Sequence[int | float]) -> None:
    """With a tick at each of these rising numbers, and its name where there is room."""
    axes.set_xscale("log")
    names = {number: f"{number:,.3g}" if number < 1000 else f"{number:,.0f}" for number in _labelled(numbers)}
    axes.set_xticks(numbers, [names.get(number, "") for number in numbers])
    axes.minorticks_off()


def _labelled(numbers: Sequence[int | float]) -> list[int | float]:
    """Those that a logarithmic axis has room for: the first, and each far enough from the one before."""
    kept = [numbers[0]]
    for number in numbers[1:]:
        if math.log(number / kept[-1]) >= 0.14 * math.log(numbers[-1] / numbers[0]):
            kept.append(number)
    return kept


@contextlib.contextmanager
def panels(
    count: int, columns: int, size: tuple[float, float], ylabel: str, handlelength: float = 2.0, **shared: Any
) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure and its axes, so many and so many side by side, to be drawn in; at the end one legend for all."""
    with matplotlib.rc_context(RULES):
        figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(h_pad=0.09, w_pad=0.07))
        grid = figure.subplots(math.ceil(count / columns), columns, squeeze=False, **shared)
        yield figure, list(grid.flat[:count])
        for axes in grid.flat[count:]:
            axes.remove()
        entries = {label: h for axes in figure.axes for h, label in zip(*axes.get_legend_handles_labels(), strict=True)}
        if entries:
            figure.legend(entries.values(), list(entries), loc="outside right center", handlelength=handlelength)
            for axes in grid[:, 0]:
                axes.set_ylabel(ylabel)


def _figure(
    results: pandas.DataFrame,
    marks: pandas.DataFrame,
    comparisons: pandas.DataFrame | None,
    title: str,
    panel: str,
    legend: Sequence[str],
    draw: Callable[[Axes, pandas.DataFrame], None],
    height: float = 3.6,
    note: str = "",
) -> Figure:
    """One panel, `height` inches high, for every `panel` of the marks. The title begins with what came out, and ends in the
    note.
    """
    arms, conditions = _arms(marks), [name for name in (*CONDITIONS, N_TRAIN) if name in marks]
    inner = next((name for name in reversed(conditions) if panel == "panel_n" or name != N_TRAIN), panel)
    columns = min(4, len(set(arms[inner])))
    # A tenth of an inch holds a letter.
    width = max(3.7 * columns, 4.5) + 0.8 + 0.1 * max(map(len, legend))
    comparisons = summaries.untold_comparisons(results) if comparisons is None else comparisons
    said = [f"{one[0].upper()}{one[1:]}." for one in headlines(comparisons)]
    sentences = (*said, f"{title}: {summaries.conditions_in_words(results)}", _seeds_in_words(arms) + note)
    words = [line for sentence in sentences for line in textwrap.wrap(sentence, width=int(11 * width))]
    panels_of = {str(name): of_panel for name, of_panel in marks.groupby(panel, sort=False)}
    names = {name: textwrap.fill(name, 36) for name in panels_of}
    lines = max(name.count("\n") for name in names.values()) + any(names)
    size = (width, height * math.ceil(len(names) / columns) + 0.2 * (1 + len(words) + lines))
    options: Any = {"handlelength": 2.6, "sharex": True, "sharey": True}
    with panels(len(names), columns, size, "test error (%)", **options) as (figure, grid):
        for axes, (name, of_panel) in zip(grid, panels_of.items(), strict=True):
            draw(axes, of_panel)
            axes.tick_params(labelbottom=True)
            axes.set_title(names[name])
        figure.suptitle("\n".join(words), fontsize=11.5, linespacing=1.3)
    return figure


def _seeds_in_words(arms: pandas.DataFrame) -> str:
    counts, diverged = sorted({*arms["seeds"].astype(int)} - {0}), sum(arms["diverged"].dropna().astype(int))
    over = " to ".join(map(str, dict.fromkeys([counts[0], counts[-1]])))
    words = "one seed, so no intervals" if counts == [1] else f"mean and 95% Student-t interval over {over} seeds"
    return words + (f"; diverged and left out: {diverged}" if diverged else "")
