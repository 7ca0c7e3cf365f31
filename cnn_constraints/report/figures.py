"""The results of a run as figures for a paper: functions from the table of `store.read` to Matplotlib figures.

A point is the mean over the seeds of an arm, its bar the 95% Student-t interval; colour and marker belong to the cell.
"""

import math
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from cnn_constraints import summaries
from cnn_constraints.errors import InputError
from cnn_constraints.report.logarithmic_axes import Limits, error_axis, error_limits, labelled, plain_ticks
from cnn_constraints.summaries import CELL, CONDITIONS, DELTA, N_TRAIN, SIZES, SWEEPS

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


class Line(NamedTuple):
    """Arms that are joined, in all panels of a figure. The label lacks the cell; variants of a cell count from 0."""

    label: str
    variant: int
    arms: pandas.DataFrame


Draw = Callable[[Axes, Sequence[Line]], None]


def figures_for(results: pandas.DataFrame) -> dict[str, Figure]:
    """The figures that a run's results allow, by name; none where every experiment diverged.

    `learning_curves` where n_train varies, else `cells`; `delta_curve` where one cell has several deltas.
    """
    if all(summaries.prepare(results)["diverged"]):
        return {}
    functions = (
        {"learning_curves": plot_learning_curves} if summaries.varies(results, N_TRAIN) else {"cells": plot_cells}
    )
    if summaries.telling_fields(results, [*CONDITIONS, N_TRAIN, CELL], [DELTA]):
        functions["delta_curve"] = plot_delta_curve
    return {name: function(results) for name, function in functions.items()}


def plot_learning_curves(results: pandas.DataFrame) -> Figure:
    """Test error in percent against n_train, both logarithmic: a line a cell, a panel a condition.

    What a logarithmic axis cannot show, an error or the end of an interval near 0% or below, stands at its lower edge.

    >>> figure = plot_learning_curves(store.read("runs/quickstart"))
    >>> figure.savefig("learning_curves.pdf")
    >>> figure.axes[0].get_xscale(), figure.axes[0].get_yscale()
    ('log', 'log')
    """
    arms = _arms(results)
    numbers = sorted(set(arms[N_TRAIN]))
    limits = error_limits(arms)

    def draw(axes: Axes, lines: Sequence[Line]) -> None:
        span = numbers[-1] / numbers[0]
        for place, line in enumerate(lines):
            # A little apart, so that bars do not hide each other.
            shift = span ** (min(0.012, 0.06 / len(lines)) * (place - (len(lines) - 1) / 2))
            _draw_line(axes, line, line.arms[N_TRAIN].to_numpy(float) * shift, limits)
        margin = 1.05 * span**0.07
        axes.set_xscale("log")
        axes.set_xlim(numbers[0] / margin, numbers[-1] * margin)
        plain_ticks(axes.xaxis, numbers, labelled(numbers))
        error_axis(axes, limits)
        axes.set_xlabel("training images")

    lines = _lines(arms, [CELL, DELTA])
    return _figure(arms, lines, "Test error against training images", CONDITIONS, draw, note=_cut(arms, limits))


def plot_delta_curve(results: pandas.DataFrame) -> Figure:
    """Test error in percent, logarithmic, against delta: tied and untied weights, a panel a condition and n_train.

    The rightmost place is that of all offsets, where conv has become shared, and local dense.

    >>> [axes] = plot_delta_curve(store.read("runs/quickstart").query("`data.n_train` == 600")).axes
    >>> [label.get_text() for label in axes.get_xticklabels()]
    ['1', 'all']
    """
    arms = _arms(results)
    arms["weights"] = [SWEEPS.get(cell, cell) for cell in arms[CELL]]
    deltas = [int(delta) for delta in sorted(arms[DELTA].dropna().unique())]
    limits = error_limits(arms)
    everywhere = len(deltas) + 0.3

    def draw(axes: Axes, lines: Sequence[Line]) -> None:
        for line in lines:
            places = [everywhere if pandas.isna(delta) else deltas.index(delta) for delta in line.arms[DELTA]]
            # A little apart, so that bars do not hide each other.
            shift = 0.06 * (labels.index(line.label) - (len(labels) - 1) / 2)
            _draw_line(axes, line, np.array(places, dtype=float) + shift, limits)
        axes.axvline(everywhere - 0.65, color="#aaaaaa", linewidth=1, linestyle=(0, (2, 3)))
        axes.set_xlim(-0.4, everywhere + 0.4)
        axes.set_xticks([*range(len(deltas)), everywhere], [*map(str, deltas), "all"])
        error_axis(axes, limits)
        axes.set_xlabel("delta, pixels to each side of a site")

    lines = _lines(arms, ["weights"])
    labels = list(dict.fromkeys(line.label for line in lines))
    return _figure(arms, lines, "Test error against delta", (*CONDITIONS, N_TRAIN), draw, note=_cut(arms, limits))


def plot_cells(results: pandas.DataFrame) -> Figure:
    """Test accuracy in percent, a row an arm and a panel a condition, the seeds as small open dots below.

    >>> [axes] = plot_cells(store.read("runs/quickstart").query("`data.n_train` == 600")).axes
    >>> [label.get_text() for label in axes.get_yticklabels()]
    ['dense', 'shared', 'local, delta 1', 'conv, delta 1']
    """
    arms, experiments = _arms(results), summaries.prepare(results)
    fields = summaries.arm_fields(experiments)
    lines = _lines(arms, [CELL, DELTA])
    rows = [_full_label(line, line.arms[CELL].iloc[0]) for line in lines]

    def draw(axes: Axes, lines: Sequence[Line]) -> None:
        for line in lines:
            arm = line.arms.iloc[0]
            row = rows.index(_full_label(line, arm[CELL]))
            color, marker = _style(arm[CELL])
            seeds = 100 * experiments.merge(line.arms[fields])["test_accuracy"]
            axes.plot(seeds, np.full(len(seeds), row + 0.25), "o", markersize=4, color=color, fillstyle="none")
            mean, low, high = (100 * arm[f"test_accuracy{end}"] for end in ("", "_low", "_high"))
            bar = np.nan_to_num([[mean - max(low, 0)], [min(high, 100) - mean]])
            axes.errorbar([mean], [row], xerr=bar, color=color, marker=marker, markersize=8, capsize=4)
            if not arm["seeds"]:
                axes.annotate("diverged", (0.02, row), xycoords=("axes fraction", "data"), va="center")
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_yticks(range(len(rows)), rows)
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("test accuracy (%)")

    title = f"Test accuracy with {arms[N_TRAIN].iloc[0]} training images"
    beyond = any(arms["test_accuracy_low"] < 0) or any(arms["test_accuracy_high"] > 1)
    note = "; intervals are cut at 0 and 100%" if beyond else ""
    return _figure(arms, lines, title, CONDITIONS, draw, height=1.0 + 0.5 * len(rows), legend=False, note=note)


def _cut(arms: pandas.DataFrame, limits: Limits) -> str:
    """A sentence on intervals that the axis does not show whole."""
    return "; bars at the lower edge go on" if any(arms["error_low"] < limits[0]) else ""


def _arms(results: pandas.DataFrame) -> pandas.DataFrame:
    """`summaries.learning_curves`, the errors in percent. Raises InputError for a table without rows."""
    if results.empty:
        raise InputError("There is nothing to draw: the table has no rows.")
    arms = summaries.learning_curves(results)
    return arms.assign(**{name: 100 * arms[name] for name in ("error", "error_low", "error_high")})


def _lines(arms: pandas.DataFrame, key: list[str]) -> list[Line]:
    """Arms grouped by `key`, and by whatever else tells apart arms of the same condition, n_train, cell and delta."""
    fields = summaries.config_fields(arms)
    key = [*key, *summaries.telling_fields(arms, [*CONDITIONS, N_TRAIN, CELL, DELTA], fields)]
    lines: list[Line] = []
    drawn: dict[str, int] = {}
    for given, members in summaries.groups(arms, key):
        first = given[key[0]]
        cell = members[CELL].iloc[0]
        words = [given["weights"]] if cell in SWEEPS and "weights" in given else []
        words += [
            f"{name.rpartition('.')[2]} {summaries.in_words(value)}"
            for name, value in given.items()
            if name not in (CELL, "weights") and not (name in SIZES and pandas.isna(value))
        ]
        lines.append(Line(", ".join(words), drawn.get(first, 0), members))
        drawn[first] = drawn.get(first, 0) + 1
    return sorted(lines, key=lambda line: (summaries.cell_rank(line.arms[CELL].iloc[0]), line.variant))


def _full_label(line: Line, cell: str) -> str:
    return f"{cell}, {line.label}" if line.label else cell


def _draw_line(axes: Axes, line: Line, x: np.ndarray, limits: Limits) -> None:
    """The line in the colour of its leftmost cell; along it, markers, bars and entries of the legend cell by cell."""
    order = np.argsort(x)
    arms, x = line.arms.iloc[order], x[order]
    error, low, high = (arms[name].clip(*limits).to_numpy(float) for name in ("error", "error_low", "error_high"))
    color, _ = _style(arms[CELL].iloc[0], line.variant)
    dashes = DASHES[line.variant % len(DASHES)]
    axes.plot(x, error, color=color, linestyle=dashes)
    for cell in dict.fromkeys(arms[CELL]):
        mine = (arms[CELL] == cell).to_numpy()
        color, marker = _style(cell, line.variant)
        bars = np.nan_to_num(np.stack([error - low, high - error])[:, mine])
        axes.errorbar(x[mine], error[mine], bars, fmt=marker, color=color, elinewidth=1.3, capsize=3, clip_on=False)
        # The entry of the legend; the cell at the end of a delta-sweep has no line of its own.
        own = dashes if cell == arms[CELL].iloc[0] else "none"
        axes.plot([], [], color=color, marker=marker, linestyle=own, label=_full_label(line, cell))


def _style(cell: str, variant: int = 0) -> tuple[tuple[float, float, float], str]:
    """Colour, the lighter the higher the variant, and marker."""
    place, _ = summaries.cell_rank(cell)
    color, marker = STYLES.get(cell, OTHER_STYLES[(place - len(STYLES)) % len(OTHER_STYLES)])
    return lighter(color, variant), marker


def lighter(color: str, variant: int) -> tuple[float, float, float]:
    """The colour of a variant, the lighter the higher."""
    white = min(1 - 0.75**variant, 0.6)
    red, green, blue = (part + white * (1 - part) for part in to_rgb(color))
    return red, green, blue


def _figure(
    arms: pandas.DataFrame,
    lines: Sequence[Line],
    title: str,
    panel_fields: Iterable[str],
    draw: Draw,
    height: float = 3.6,
    legend: bool = True,
    note: str = "",
) -> Figure:
    """One panel, `height` inches high, for every combination of those panel fields that vary. note: ends the title."""
    fields = [name for name in panel_fields if summaries.varies(arms, name)]
    panels = list(summaries.groups(arms, fields))
    columns = min(4, len(set(arms[fields[-1]])) if fields else 1)
    rows = math.ceil(len(panels) / columns)
    with matplotlib.rc_context(RULES):
        # A tenth of an inch holds a letter.
        beside = 0.8 + 0.1 * max(len(_full_label(line, line.arms[CELL].iloc[0])) for line in lines)
        titles = 0.6 + 0.2 * len(fields)
        size = (max(3.7 * columns, 4.5) + beside, height * rows + titles)
        figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(h_pad=0.09, w_pad=0.07))
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes, (shown, panel) in zip(grid.flat, panels, strict=False):
            inside = [line._replace(arms=line.arms[line.arms.index.isin(panel.index)]) for line in lines]
            draw(axes, [line for line in inside if len(line.arms)])
            axes.tick_params(labelbottom=True)
            axes.set_title("\n".join(_panel_title(name, value) for name, value in shown.items()))
        for axes in list(grid.flat)[len(panels) :]:
            axes.remove()
        if legend:
            entries = {str(line.get_label()): line for axes in figure.axes for line in axes.get_lines()}
            named = {label: line for label, line in entries.items() if not label.startswith("_")}
            figure.legend(named.values(), list(named), loc="outside right center", handlelength=2.6)
            for axes in grid[:, 0]:
                axes.set_ylabel("test error (%)")
        about = textwrap.fill(f"{title}: {summaries.conditions_in_words(arms)}", width=int(11 * size[0]))
        means = textwrap.fill(_seeds_in_words(arms) + note, width=int(11 * size[0]))
        figure.suptitle(f"{about}\n{means}", fontsize=11.5, linespacing=1.3)
    return figure


def _panel_title(name: str, value: object) -> str:
    words = {N_TRAIN: "{} training images", "data.intervention": "intervention: {}", "model.readout": "readout: {}"}
    return words.get(name, "{}").format(value)


def _seeds_in_words(arms: pandas.DataFrame) -> str:
    counts = set(arms["seeds"]) - {0}
    least, most = min(counts), max(counts)
    over = f"{most} seeds" if least == most else f"{least} to {most} seeds"
    words = "one seed, so no intervals" if most == 1 else f"mean and 95% Student-t interval over {over}"
    diverged = sum(arms["diverged"])
    return words + (f"; diverged and left out: {diverged}" if diverged else "")
