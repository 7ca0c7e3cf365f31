"""The results of a run as figures for a paper: functions from the table of `store.read` to Matplotlib figures.

A point is the mean over the seeds of an arm, its bar the 95% Student-t interval; colour and marker belong to the cell.
"""

import contextlib
import math
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from cnn_constraints.report.answer import headlines
from cnn_constraints.statistics import Interval
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

PANELS = {N_TRAIN: "{} training images", "data.intervention": "intervention: {}", "model.readout": "readout: {}"}
"""What a panel shows, in words."""

Limits = tuple[float, float]


class Line(NamedTuple):
    """Arms that are joined, in all panels of a figure. The label lacks the cell; variants of a cell count from 0."""

    label: str
    variant: int
    arms: pandas.DataFrame


def figures_for(results: pandas.DataFrame) -> dict[str, Figure]:
    """The figures that the varying fields of a run's results allow, by name; none where every experiment diverged."""
    if all(summaries.prepare(results)["diverged"]):
        return {}
    curves = summaries.varies(results, N_TRAIN)
    figures = {"learning_curves": plot_learning_curves(results)} if curves else {"cells": plot_cells(results)}
    several = any(isinstance(delta, tuple) for delta in results[DELTA])
    if not several and summaries.telling_fields(results, [*CONDITIONS, N_TRAIN, CELL], [DELTA]):
        figures["delta_curve"] = plot_delta_curve(results)
    return figures


def plot_learning_curves(results: pandas.DataFrame) -> Figure:
    """Test error in percent against n_train, both logarithmic: a line a cell, a panel a condition.

    What a logarithmic axis cannot show, an error or the end of an interval near 0% or below, stands at its lower edge.

    >>> figure = plot_learning_curves(store.read("runs/quickstart"))
    >>> figure.savefig("learning_curves.pdf")
    >>> figure.axes[0].get_xscale(), figure.axes[0].get_yscale()
    ('log', 'log')
    """
    arms = _arms(results)
    limits, numbers = _error_limits(arms), sorted(set(arms[N_TRAIN]))
    span = numbers[-1] / numbers[0]

    def draw(axes: Axes, lines: Sequence[Line]) -> None:
        for place, line in enumerate(lines):
            # A little apart, so that bars do not hide each other.
            shift = span ** (min(0.012, 0.06 / len(lines)) * (place - (len(lines) - 1) / 2))
            _draw_line(axes, line, line.arms[N_TRAIN].to_numpy(float) * shift, limits)
        margin = 1.05 * span**0.07
        axes.set(xscale="log", xlim=(numbers[0] / margin, numbers[-1] * margin), xlabel="training images")
        axes.set_xticks(numbers, [str(number) if number in _labelled(numbers) else "" for number in numbers])
        _error_axis(axes, limits)

    lines = _lines(arms, [CELL, DELTA])
    return _figure(
        results, arms, lines, "Test error against training images", CONDITIONS, draw, note=_cut(arms, limits)
    )


def plot_delta_curve(results: pandas.DataFrame) -> Figure:
    """Test error in percent, logarithmic, against delta: tied and untied weights, a panel a condition and n_train.

    The rightmost place is that of all offsets, where conv has become shared, and local dense.

    >>> *_, axes = plot_delta_curve(store.read("runs/quickstart")).axes
    >>> [label.get_text() for label in axes.get_xticklabels()]
    ['2', 'all']
    """
    arms = _arms(results)
    arms["weights"] = arms[CELL].map(summaries.sweep_of)
    limits, deltas = _error_limits(arms), [int(delta) for delta in sorted(arms[DELTA].dropna().unique())]
    everywhere = len(deltas) + 0.3
    lines = _lines(arms, ["weights"])
    labels = list(dict.fromkeys(line.label for line in lines))

    def draw(axes: Axes, lines: Sequence[Line]) -> None:
        for line in lines:
            places = [everywhere if pandas.isna(delta) else deltas.index(delta) for delta in line.arms[DELTA]]
            # A little apart, so that bars do not hide each other.
            shift = 0.06 * (labels.index(line.label) - (len(labels) - 1) / 2)
            _draw_line(axes, line, np.array(places, dtype=float) + shift, limits)
        axes.axvline(everywhere - 0.65, color="#aaaaaa", linewidth=1, linestyle=(0, (2, 3)))
        axes.set(xlim=(-0.4, everywhere + 0.4), xlabel="delta, pixels to each side of a site")
        axes.set_xticks([*range(len(deltas)), everywhere], [*map(str, deltas), "all"])
        _error_axis(axes, limits)

    return _figure(
        results, arms, lines, "Test error against delta", (*CONDITIONS, N_TRAIN), draw, note=_cut(arms, limits)
    )


def plot_cells(results: pandas.DataFrame) -> Figure:
    """Test accuracy in percent, a row an arm and a panel a condition, the seeds as small open dots below.

    >>> axes, _ = plot_cells(store.read("runs/quickstart").query("`data.n_train` == 100")).axes
    >>> [label.get_text() for label in axes.get_yticklabels()]
    ['dense', 'shared', 'local, delta 2', 'conv, delta 2']
    """
    arms, experiments = _arms(results), summaries.prepare(results)
    fields, lines = summaries.arm_fields(experiments), _lines(arms, [CELL, DELTA])
    rows = [_full_label(line) for line in lines]

    def draw(axes: Axes, lines: Sequence[Line]) -> None:
        for line in lines:
            arm, row = line.arms.iloc[0], rows.index(_full_label(line))
            color, marker = _style(arm[CELL])
            seeds = 100 * experiments.merge(line.arms[fields])["test_accuracy"]
            axes.plot(seeds, np.full(len(seeds), row + 0.25), "o", markersize=4, color=color, fillstyle="none")
            mean, low, high = (100 * arm[f"test_accuracy{end}"] for end in ("", "_low", "_high"))
            bar = np.nan_to_num([[mean - max(low, 0)], [min(high, 100) - mean]])
            axes.errorbar([mean], [row], xerr=bar, color=color, marker=marker, markersize=8, capsize=4)
            if not arm["seeds"]:
                axes.annotate("diverged", (0.02, row), xycoords=("axes fraction", "data"), va="center")
        axes.set(ylim=(len(rows) - 0.4, -0.6), xlabel="test accuracy (%)")
        axes.set_yticks(range(len(rows)), rows)
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axes.grid(visible=False, axis="y")

    title = f"Test accuracy with {arms[N_TRAIN].iloc[0]} training images"
    beyond = any(arms["test_accuracy_low"] < 0) or any(arms["test_accuracy_high"] > 1)
    note = "; intervals are cut at 0 and 100%" if beyond else ""
    return _figure(results, arms, lines, title, CONDITIONS, draw, height=1.0 + 0.5 * len(rows), note=note)


def _arms(results: pandas.DataFrame) -> pandas.DataFrame:
    """`summaries.learning_curves`, the errors in percent."""
    arms = summaries.learning_curves(results)
    return arms.assign(**{name: 100 * arms[name] for name in ("error", "error_low", "error_high")})


def _lines(arms: pandas.DataFrame, key: list[str]) -> list[Line]:
    """Arms grouped by `key`, and by whatever else tells apart arms of the same condition, n_train, cell and delta."""
    known = [*CONDITIONS, N_TRAIN, CELL, DELTA]
    key = [*key, *summaries.telling_fields(arms, known, summaries.config_fields(arms))]
    lines: list[Line] = []
    drawn: Counter[str] = Counter()
    for given, members in summaries.groups(arms, key):
        first = given.pop(key[0])
        told = {name: value for name, value in given.items() if not (name in SIZES and pandas.isna(value))}
        words = [f"{name.rpartition('.')[2]} {summaries.in_words(value)}" for name, value in told.items()]
        words = [first, *words] if first in SWEEPS.values() else words
        lines.append(Line(", ".join(words), drawn[first], members))
        drawn[first] += 1
    return sorted(lines, key=lambda line: (summaries.cell_rank(line.arms[CELL].iloc[0]), line.variant))


def _full_label(line: Line, cell: str | None = None) -> str:
    return ", ".join(filter(None, [cell or line.arms[CELL].iloc[0], line.label]))


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


def lighter(color: str, variant: int | float) -> tuple[float, float, float]:
    """The colour of a variant, the lighter the higher."""
    white = min(1 - 0.75**variant, 0.6)
    red, green, blue = (channel + white * (1 - channel) for channel in to_rgb(color))
    return red, green, blue


def error_bars(axes: Axes, x: Sequence[Any] | np.ndarray, found: Iterable[Interval], **style: Any) -> None:
    """Estimates with their intervals; one seed has none."""
    estimate, low, high, seeds = np.array(list(found), float).T
    axes.errorbar(x, estimate, np.where(seeds > 1, np.stack([estimate - low, high - estimate]), 0), capsize=3, **style)


def _error_limits(arms: pandas.DataFrame) -> Limits:
    """Where the error axis begins and ends: all means above 0, and the intervals down to half the lowest mean."""
    positive = arms.loc[arms["error"] > 0, "error"]
    floor = positive.min() / 2 if len(positive) else 0.01
    lowest = arms[["error", "error_low"]].min(axis=None)
    highest = arms[["error", "error_high"]].max(axis=None)
    return max(floor, lowest / 1.15), min(100.0, max(highest, 2 * floor) * 1.15)


def _cut(arms: pandas.DataFrame, limits: Limits) -> str:
    """A sentence on intervals that the axis does not show whole."""
    return "; bars at the edge go on" if any(arms["error_low"] < limits[0]) else ""


def _error_axis(axes: Axes, limits: Limits) -> None:
    """Logarithmic, with at least four plain numbers wherever numbers of two digits allow it."""
    ticks: list[float] = []
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 5, 7), tuple(range(1, 10)), tuple(np.arange(10, 100) / 10)):
        numbers = [step * 10.0**power for power in range(-3, 3) for step in steps]
        ticks = [number for number in numbers if limits[0] <= number <= limits[1]]
        if len(ticks) >= 4:
            break
    axes.set(yscale="log", ylim=limits)
    axes.set_yticks(ticks, [f"{tick:.9g}" for tick in ticks])
    axes.minorticks_off()


def _labelled(numbers: Sequence[int]) -> list[int]:
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
    arms: pandas.DataFrame,
    lines: Sequence[Line],
    title: str,
    panel_fields: Sequence[str],
    draw: Callable[[Axes, Sequence[Line]], None],
    height: float = 3.6,
    note: str = "",
) -> Figure:
    """One panel, `height` inches high, for every combination of those panel fields that vary. The title begins with what
    came out, and ends in the note.
    """
    fields = [name for name in panel_fields if summaries.varies(arms, name)]
    conditions = list(summaries.groups(arms, fields))
    columns = min(4, len(set(arms[fields[-1]])) if fields else 1)
    # A tenth of an inch holds a letter.
    width = max(3.7 * columns, 4.5) + 0.8 + 0.1 * max(len(_full_label(line)) for line in lines)
    said = [f"{one[0].upper()}{one[1:]}." for one in headlines(summaries.comparisons(results))]
    sentences = (*said, f"{title}: {summaries.conditions_in_words(arms)}", _seeds_in_words(arms) + note)
    words = [line for sentence in sentences for line in textwrap.wrap(sentence, width=int(11 * width))]
    size = (width, height * math.ceil(len(conditions) / columns) + 0.2 * (1 + len(words) + len(fields)))
    options: Any = {"handlelength": 2.6, "sharex": True, "sharey": True}
    with panels(len(conditions), columns, size, "test error (%)", **options) as (figure, grid):
        for axes, (shown, panel) in zip(grid, conditions, strict=True):
            inside = [line._replace(arms=line.arms[line.arms.index.isin(panel.index)]) for line in lines]
            draw(axes, [line for line in inside if len(line.arms)])
            axes.tick_params(labelbottom=True)
            axes.set_title("\n".join(PANELS.get(name, "{}").format(value) for name, value in shown.items()))
        figure.suptitle("\n".join(words), fontsize=11.5, linespacing=1.3)
    return figure


def _seeds_in_words(arms: pandas.DataFrame) -> str:
    counts, diverged = sorted(set(arms["seeds"]) - {0}), sum(arms["diverged"])
    over = " to ".join(map(str, dict.fromkeys([counts[0], counts[-1]])))
    words = "one seed, so no intervals" if counts == [1] else f"mean and 95% Student-t interval over {over} seeds"
    return words + (f"; diverged and left out: {diverged}" if diverged else "")
