"""Pictures of the idea of D2L 7.1: what each cell may learn, what it did learn, and how far it sees."""

import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cnn_constraints import store, summaries
from cnn_constraints.claims.reach import felt
from cnn_constraints.data.datasets import build_dataset
from cnn_constraints.lattice.constraints import CONSTRAINTS, ties
from cnn_constraints.lattice.counts import count
from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.report.figures import RULES, STYLES, error_bars
from cnn_constraints.report.mistakes import plot_mistakes
from cnn_constraints.report.trained_cells import CHANNELS, DELTA, STRONGER, Learned, TrainedCells, field, layers_of_run
from cnn_constraints.settings import own_settings
from cnn_constraints.statistics import mean_interval

CELLS = tuple(STRONGER)
SHOWN_CHANNELS, DEPTHS = 2, (1, 2, 3, 4)

PLACES = (0.0, 0.5, 0.75)
"""Sites whose receptive fields are drawn, as shares of the diagonal: the first is a corner."""

OWN_SCALE = "blue is negative, white 0, red positive"


def receptive_fields(learned: TrainedCells) -> Figure:
    """See `fields_of`; a row a cell."""
    return fields_of(learned.layers, f"trained on {learned.source}, delta {DELTA}")


def fields_of(layers: Mapping[str, Learned], trained: str) -> Figure:
    """W[i, j, :, :] of D2L 7.1.1 at three sites (i, j) on the diagonal, a row a layer. trained: how, in words."""
    note = f"{OWN_SCALE}, each channel of a row on its own scale; the frame is the site"
    title = f"With which weights a site (i, j) looks at the image: W[i, j, :, :], {trained}"
    figure = _figure(9.2, 1.5 * len(layers) + 0.9, title, note)
    channels = min(SHOWN_CHANNELS, *(layer.out_channels for layer, _ in layers.values()))
    grid = figure.subplots(len(layers), channels * len(PLACES), squeeze=False)
    for number, (row, (name, learned)) in enumerate(zip(grid, layers.items(), strict=True)):
        seen = np.stack([field(learned, place) for place in PLACES])
        columns = itertools.product(range(channels), range(len(PLACES)))
        for axes, (channel, site) in zip(row, columns, strict=True):
            _image(axes, seen[site, channel], float(np.abs(seen[:, channel]).max()))
            i, j = (int(PLACES[site] * size) for size in seen.shape[-2:])
            axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, linewidth=1))
            if number == 0:
                axes.set_title(f"channel {channel + 1}, site ({i}, {j})", fontsize=9)
        color, _ = STYLES.get(name, ("black", None))
        row[0].set_ylabel(name, color=color, fontsize=12 if len(name) < 8 else 8)
    return figure


def kernels(learned: TrainedCells) -> Figure:
    """V[a, b] of D2L (7.1.2) and (7.1.3): of shared with all offsets that an image has, of conv with |a|, |b| <= delta."""
    title = f"The kernels V[a, b]: one set of weights for every site, trained on {learned.source}, delta {DELTA}"
    note = f"[0, 0] stands in the middle; {OWN_SCALE}, each kernel on its own scale"
    figure = _figure(1.15 * CHANNELS, 1.15 * 2 + 0.7, title, note)
    for row, cell in zip(figure.subplots(2, CHANNELS), ("shared", "conv"), strict=True):
        found = np.moveaxis(learned.layers[cell][1], -1, 0)
        for axes, values in zip(row, found, strict=True):
            _image(axes, values, float(np.abs(values).max()))
        rows, columns = found.shape[1:]
        row[0].set_ylabel(f"{cell}\n{rows} x {columns}", color=STYLES[cell][0], fontsize=11)
    return figure


def tie_tables(side: int = 4, delta: int = 1) -> Figure:
    """ties[p, q] for output site p and input site q: one colour a free weight, white where there is none. D2L 7.1.2."""
    geometry = Geometry(side, side)
    names = [*CELLS, *(name for name in CONSTRAINTS if name not in CELLS)]
    title = f"Which pairs of sites share a weight, on {side} x {side} pixels, delta {delta}, tiles of 2 x 2"
    figure = _figure(2.6 * len(names), 3.4, title, "a colour is a weight, white is none")
    for axes, name in zip(figure.subplots(1, len(names)), names, strict=True):
        table = ties(name, geometry, delta, tile=2)
        axes.imshow(colours(table), interpolation="nearest")
        axes.set_title(f"{name}: {table.max() + 1} weights", fontsize=10)
        axes.set(xlabel="input site (k, l), row by row", xticks=[], yticks=[])
        axes.grid(False)
    figure.axes[0].set_ylabel("output site (i, j), row by row")
    return figure


def colours(table: np.ndarray) -> Float[np.ndarray, "outputs inputs 3"]:
    """A colour of its own for each name of a tie table, white for -1."""
    names = np.arange(table.max() + 1)
    # Steps of the golden ratio around the circle of hues never meet again.
    hues = np.stack([names * 0.618034 % 1, 0.45 + 0.5 * (names * 0.379 % 1), 0.6 + 0.35 * (names * 0.731 % 1)], axis=-1)
    palette = np.vstack([hsv_to_rgb(hues), [[1.0, 1.0, 1.0]]])
    return palette[table]


def megapixel_ladder(side: int = 1000, delta: int = 10) -> Figure:
    """Free weights of one layer on an image of a million pixels, D2L 7.1.1 to 7.1.3, exactly."""
    geometry = Geometry(side, side)
    numbers = {cell: count(cell, geometry, delta).weights for cell in CELLS}
    title = f"Weights of one layer on {side:,} x {side:,} pixels, delta {delta}"
    figure = _figure(8, 3.3, title, "from one channel to one, counted exactly")
    axes = figure.subplots()
    axes.barh(list(numbers), list(numbers.values()), color=[STYLES[cell][0] for cell in numbers])
    powers = int(math.log10(max(numbers.values())))
    for place, number in enumerate(numbers.values()):
        axes.annotate(f" {number:,}", (number, place), va="center")
    axes.set(xlabel="weights, logarithmic", xscale="log", xlim=(1, 10 ** (1.35 * powers)))
    axes.set_xticks([10.0**power for power in range(0, powers + 1, 2)])
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    return figure


def drift(learned: TrainedCells) -> Figure:
    """How far layers are from a stronger constraint while they train, and how far is what training has added to them, as
    shares of their norm: 0 obeys it. Means over seeds with 95% intervals.
    """
    distances, seeds = learned.distances, learned.distances["seed"].nunique()
    note = f"{learned.source}, delta {DELTA}: means over {seeds} seeds, 95% intervals; dotted: initial weights"
    figure = _figure(11, 6.4, "Does what free layers learn come near a stronger constraint?", note)
    pairs = list(summaries.groups(distances, ["cell", "stronger"]))
    grid = figure.subplots(2, math.ceil(len(pairs) / 2), squeeze=False)
    for axes, (pair, rows) in zip(grid.flat, pairs, strict=True):
        color, _ = STYLES[pair["cell"]]
        for of, line, marker in (("weights", "-", "o"), ("added by training", "--", "s")):
            of_update = rows[rows["of"] == of].groupby("update")["distance"]
            found = {update: mean_interval(values) for update, values in of_update}
            error_bars(axes, list(found), found.values(), label=of, color=color, linestyle=line, marker=marker)
        initial = rows.loc[rows["update"] == 0, "distance"].mean()
        axes.axhline(initial, color="#555555", linestyle=":", linewidth=1.3)
        axes.set(xlabel="updates", ylabel="distance, share of the norm")
        axes.set_title(f"{pair['cell']}, from {pair['stronger']}", color=color)
        axes.legend(fontsize=9)
    return figure


def effective_receptive_field(side: int = 21, seeds: int = 20) -> Figure:
    """The derivative of the middle unit of layer L by each pixel, conv at delta 1, root mean square over seeds; the frame
    is what it can see, 2 L + 1 pixels. D2L 7.1.1, point 3; Luo et al. 2016.
    """
    note = f"size of the derivative by each pixel, initial weights, {seeds} seeds; white 0, each layer on its own scale"
    figure = _figure(10, 3.4, "How far a unit of a convolution can see (frame), and where it looks", note)
    for axes, depth in zip(figure.subplots(1, len(DEPTHS)), DEPTHS, strict=True):
        _image(axes, field := felt(side, depth, seeds), float(field.max()), "Greys", least=0.0)
        reach = depth + 0.5
        corner = (side // 2 - reach, side // 2 - reach)
        axes.add_patch(Rectangle(corner, 2 * reach, 2 * reach, fill=False, color="#D55E00"))
        axes.set_title(f"layer {depth}: {2 * depth + 1} x {2 * depth + 1}", fontsize=10)
    return figure


LEARNED = {picture.__name__: picture for picture in (receptive_fields, kernels, drift)}
"""Pictures for which networks are trained, by name."""

EXACT = {picture.__name__: picture for picture in (tie_tables, megapixel_ladder, effective_receptive_field)}
"""The others."""


@own_settings()
def of_run(name: str, folder: Path) -> Figure:
    """A picture of networks that a run has kept: receptive_fields, or the mistakes of the one that is best on validation
    data. Raises InputError as `store.load`.
    """
    if name == "mistakes":
        results = store.read(folder)
        best = results.loc[results["validation_accuracy"].fillna(-1).idxmax(), "experiment"]
        trained = store.load(folder, str(best))
        return plot_mistakes(trained, build_dataset(trained.experiment.data).test)
    with matplotlib.rc_context(RULES):
        return fields_of(layers_of_run(folder), f"first layers of {folder}")


OF_RUN = ("receptive_fields", "mistakes")
"""Pictures of the networks of a run."""


@own_settings()
def draw(name: str, learned: TrainedCells | None) -> Figure:
    """The picture of that name. learned: not needed for what is EXACT."""
    with matplotlib.rc_context(RULES):
        return EXACT[name]() if learned is None or name in EXACT else LEARNED[name](learned)


def _figure(width: int | float, height: int | float, title: str, note: str) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(f"{title}\n{note}", fontsize=11.5, linespacing=1.4)
    return figure


def _image(axes: Axes, values: Any, largest: float, colormap: str = "RdBu_r", least: float | None = None) -> None:
    axes.imshow(values, cmap=colormap, vmin=-largest if least is None else least, vmax=largest, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    axes.spines[:].set_visible(False)
