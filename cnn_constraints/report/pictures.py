"""Pictures of the idea of D2L 7.1: what each cell may learn, what it did learn, and how far it sees."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cnn_constraints import config, sweep
from cnn_constraints.claims.reach import felt
from cnn_constraints.config import Data, Experiment, Model, Training
from cnn_constraints.constraints import ties
from cnn_constraints.constraints.counts import count
from cnn_constraints.constraints.geometry import Geometry
from cnn_constraints.estimates import mean_interval
from cnn_constraints.executors.checks import check_before_running
from cnn_constraints.executors.fields import PLACES, Fields
from cnn_constraints.executors.local import LocalExecutor, Progress
from cnn_constraints.report.figures import RULES, STYLES

CELLS = ("dense", "shared", "local", "conv")
CONSTRAINTS = ("local", "conv")
SEEDS, DELTA, SHOWN_CHANNELS, SMALL, DEPTHS = range(5), 2, 2, 4, (1, 2, 3, 4)


class Learned(NamedTuple):
    """What trials of the four cells have learned: by cell, the fields of the first layer at one seed; and of all seeds, the
    distances from constraints while training, with columns `cell`, `seed`, `update`, `violation_local`, `violation_conv`.
    """

    fields: Mapping[str, Fields]
    violations: pandas.DataFrame


def learn(source: str, progress: Progress, seeds: Sequence[int] = SEEDS, updates: int = 300) -> Learned:
    """Train the four cells on 1,000 images of a source, one layer each. Raises InputError where they cannot be read."""
    base = Experiment(
        data=Data(source=source, n_train=1000, n_validation=300),
        model=Model(delta=DELTA, channels=(8,), pool_sizes=(2,), strides=(1,)),
        training=Training(
            updates=updates,
            evaluate_every=max(1, updates // 10),
            batch_size=64,
            learning_rates=(3e-3,),
            violations=CONSTRAINTS,
        ),
    )
    trials = []
    for cell in CELLS:
        # A distance is measured from what is stronger than the cell.
        stronger = {"dense": CONSTRAINTS, "shared": ("conv",), "local": ("conv",), "conv": ()}[cell]
        arm = config.replace(base, {"model.constraint": cell, "training.violations": stronger})
        trials += [config.replace(arm, {"seed": seed}) for seed in seeds]
    groups = sweep.plan(resolved := sweep.resolve(trials))
    executor = LocalExecutor(progress, look=True)
    check_before_running(executor.dataset, groups)
    found = list(executor.run(groups))
    by_name = {config.name(trial): trial for trial in resolved}
    fields = {name: value for part in found for name, value in part.fields.items()}
    rows = [
        {"cell": by_name[row["trial"]].model.constraint, "seed": by_name[row["trial"]].seed, **row}
        for part in found
        for row in part.rows
        if row["event"] == "evaluation"
    ]
    first = {trial.model.constraint: fields[name] for name, trial in by_name.items() if trial.seed == seeds[0]}
    return Learned({cell: first[cell] for cell in CELLS}, pandas.DataFrame(rows))


def receptive_fields(fields: Mapping[str, Fields]) -> Figure:
    """W[i, j, :, :] of D2L 7.1.2 at three sites (i, j) on the diagonal: dense and local learn another one at each site,
    shared and conv the same, which moves along; local and conv look no further than delta.
    """
    figure = _figure(9.2, 1.65 * len(fields) + 0.9, "With which weights a site looks at the image: W[i, j, :, :]")
    grid = figure.subplots(len(fields), SHOWN_CHANNELS * len(PLACES), squeeze=False)
    for row, (cell, field) in zip(grid, fields.items(), strict=True):
        for number, axes in enumerate(row):
            channel, site = divmod(number, len(PLACES))
            _image(axes, field[site, channel], float(np.abs(field[:, channel]).max()))
            if cell == next(iter(fields)):
                axes.set_title(f"channel {channel + 1}, {PLACES[site]:.0%} down", fontsize=9)
        row[0].set_ylabel(cell, color=STYLES[cell][0], fontsize=12)
    return figure


def kernels(fields: Mapping[str, Fields], delta: int = DELTA) -> Figure:
    """V[a, b] of D2L (7.1.3) and (7.1.4): the one kernel of each channel of conv, |a|, |b| <= delta, and of shared."""
    names = [cell for cell in ("shared", "conv") if cell in fields]
    channels = fields[names[0]].shape[1]
    figure = _figure(1.15 * channels, 1.35 * len(names) + 0.9, "The kernels: one set of weights for every site")
    for row, cell in zip(figure.subplots(len(names), channels, squeeze=False), names, strict=True):
        middle = fields[cell][PLACES.index(0.5)]
        i, j = (int(0.5 * size) for size in middle.shape[1:])
        shown = middle[:, i - delta : i + delta + 1, j - delta : j + delta + 1] if cell == "conv" else middle
        for axes, kernel in zip(row, shown, strict=True):
            _image(axes, kernel, float(np.abs(kernel).max()))
        row[0].set_ylabel(cell, color=STYLES[cell][0], fontsize=12)
    return figure


def tie_tables(side: int = SMALL, delta: int = 1) -> Figure:
    """ties[p, q] for output site p and input site q: one colour a free weight, white where there is none. D2L 7.1.2."""
    geometry = Geometry(side, side, tile=2)
    names = [*CELLS, *(name for name in ties.CONSTRAINTS if name not in CELLS)]
    figure = _figure(2.6 * len(names), 3.2, f"Which pairs of sites share a weight, on {side} x {side} pixels")
    for axes, name in zip(figure.subplots(1, len(names)), names, strict=True):
        table = ties.tie_table(name, geometry, delta if ties.find(name).local else None)
        axes.imshow(colours(table), interpolation="nearest")
        axes.set_title(f"{name}: {table.max() + 1} weights", fontsize=10)
        axes.set(xlabel="input site q", xticks=[], yticks=[])
    figure.axes[0].set_ylabel("output site p")
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
    numbers = {cell: ladder_weights(cell, geometry, delta) for cell in CELLS}
    figure = _figure(8, 2.9, f"Weights of one layer on {side:,} x {side:,} pixels, delta {delta}")
    axes = figure.subplots()
    axes.barh(list(numbers), list(numbers.values()), color=[STYLES[cell][0] for cell in numbers])
    for place, number in enumerate(numbers.values()):
        axes.annotate(f" {number:,}", (number, place), va="center")
    axes.set(xscale="log", xlim=(1, max(numbers.values()) * 10 ** (math.log10(max(numbers.values())) / 2.5)))
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    return figure


def ladder_weights(cell: str, geometry: Geometry, delta: int) -> int:
    """Free weights of a pair of channels."""
    return count(cell, geometry, delta if ties.find(cell).local else None).weights


def drift(violations: pandas.DataFrame) -> Figure:
    """How far layers are from a stronger constraint while they train, as a share of their norm: 0 obeys it, 1 is all of it.
    Means over seeds with 95% intervals.
    """
    columns = [f"violation_{name}" for name in CONSTRAINTS]
    figure = _figure(9, 3.8, "Do free layers become local, or convolutions, by themselves?")
    for axes, column in zip(figure.subplots(1, 2, sharey=True), columns, strict=True):
        for cell, rows in violations.dropna(subset=[column]).groupby("cell", sort=False):
            found = {update: mean_interval(values) for update, values in rows.groupby("update")[column]}
            estimate, low, high, _ = np.array(list(found.values()), float).T
            color, marker = STYLES[str(cell)]
            axes.errorbar(
                list(found), estimate, [estimate - low, high - estimate], label=cell, color=color, marker=marker
            )
        axes.set(xlabel="updates", title=f"distance from {column.removeprefix('violation_')}")
        axes.legend()
    figure.axes[0].set_ylabel("share of the norm")
    return figure


def effective_receptive_field(side: int = 21, seeds: int = 20) -> Figure:
    """The derivative of the middle unit of layer L by each pixel, conv at delta 1 and initial weights, root mean square
    over seeds; the frame is what it can see, 2 L + 1 pixels. D2L 7.1.1, point 3; Luo et al. 2016.
    """
    figure = _figure(10, 3.1, "How far a unit can see (frame), and where it looks")
    for axes, depth in zip(figure.subplots(1, len(DEPTHS)), DEPTHS, strict=True):
        _image(axes, field := felt(side, depth, seeds), float(field.max()), "Greys", least=0.0)
        reach = depth + 0.5
        corner = (side // 2 - reach, side // 2 - reach)
        axes.add_patch(Rectangle(corner, 2 * reach, 2 * reach, fill=False, color="#D55E00"))
        axes.set_title(f"layer {depth}", fontsize=10)
    return figure


PICTURES: dict[str, Callable[[Learned], Figure]] = {
    "receptive_fields": lambda learned: receptive_fields(learned.fields),
    "kernels": lambda learned: kernels(learned.fields),
    "tie_tables": lambda _: tie_tables(),
    "megapixel_ladder": lambda _: megapixel_ladder(),
    "drift": lambda learned: drift(learned.violations),
    "effective_receptive_field": lambda _: effective_receptive_field(),
}

LEARNED = ("receptive_fields", "kernels", "drift")
"""Pictures for which networks are trained."""


def _figure(width: int | float, height: int | float, title: str) -> Figure:
    with matplotlib.rc_context(RULES):
        figure = Figure(figsize=(width, height), layout="constrained")
        figure.suptitle(title, fontsize=12)
    return figure


def _image(axes: Axes, values: Any, largest: float, colormap: str = "RdBu_r", least: float | None = None) -> None:
    axes.imshow(values, cmap=colormap, vmin=-largest if least is None else least, vmax=largest, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
