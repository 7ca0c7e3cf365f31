"""Figures show the numbers of the analysis, all of them and inside of the axes."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from made_up_results import CELLS, experiments_of, make_results, noisy
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from cnn_constraints import summaries
from cnn_constraints.experiment import axis
from cnn_constraints.report import figures
from cnn_constraints.resolve import Resolved

READOUTS = axis("model.readout", ["flatten", "global_average"])
ALL_CELLS = axis("model.constraint", CELLS)
SEEDS = axis("seed", range(3))
NUMBERS = axis("data.n_train", [100, 300, 1000])
DELTAS = axis("model.delta", [0, 1, 3, None])
TWO_SWEEPS = axis("model.constraint", ["local", "conv"])


def line_of(axes: Axes, label: str) -> tuple[np.ndarray, np.ndarray]:
    """The points that an entry of the legend stands for: the markers of its colour and shape."""
    entry = next(line for line in axes.get_lines() if line.get_label() == label)
    style = (entry.get_marker(), to_hex(entry.get_color()))
    markers = [line for line in axes.get_lines() if (line.get_marker(), to_hex(line.get_color())) == style]
    (points,) = [line for line in markers if len(line.get_xdata()) and line is not entry]
    return np.asarray(points.get_xdata()), np.asarray(points.get_ydata())


def labels_of(figure: Figure) -> list[str]:
    """Of the four cells, each in its own colour and with its own marker."""
    styles = {(to_hex(line.get_color()), line.get_marker()) for line in figure.legends[0].get_lines()}
    assert styles == {(to_hex(colour), marker) for colour, marker in figures.STYLES.values()}
    return [text.get_text() for text in figure.legends[0].get_texts()]


def ticks_of(axes: Axes, name: str) -> list[str]:
    return [label.get_text() for label in getattr(axes, f"{name}axis").get_ticklabels() if label.get_text()]


@pytest.mark.parametrize(
    ("axes", "names"),
    [
        ([ALL_CELLS, NUMBERS], {"learning_curves"}),
        ([ALL_CELLS, SEEDS], {"cells"}),
        ([], {"cells"}),
        ([TWO_SWEEPS, DELTAS], {"cells", "delta_curve"}),
        ([TWO_SWEEPS, DELTAS, NUMBERS], {"learning_curves", "delta_curve"}),
        # Local cells with one delta each are corners and no sweep.
        ([axis(("model.constraint", "model.delta"), [("conv", 1), ("local", 2), ("dense", None)])], {"cells"}),
    ],
)
def test_figures_are_those_that_the_varying_fields_allow(axes: list, names: set) -> None:
    results = make_results(experiments_of(*axes))
    assert set(figures.figures_for(results)) == names
    assert figures.figures_for(results.assign(test_accuracy=np.nan)) == {}


def test_learning_curves_show_the_summary(seed: int) -> None:
    results = make_results(experiments_of(READOUTS, ALL_CELLS, NUMBERS, SEEDS), noisy(seed))
    figure = figures.plot_learning_curves(results)
    assert [axes.get_title() for axes in figure.axes] == ["readout flatten", "readout global_average"]
    assert labels_of(figure) == ["dense", "shared", "local (delta 2)", "conv (delta 2)"]
    summary = summaries.learning_curves(results).set_index(["model.readout", "model.constraint"])
    for axes, readout in zip(figure.axes, ["flatten", "global_average"], strict=True):
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        assert ticks_of(axes, "x") == ["100", "300", "1,000"]
        for cell, label in zip(CELLS, labels_of(figure), strict=True):
            x, y = line_of(axes, label)
            assert x == pytest.approx([100, 300, 1000], rel=0.06)
            assert y == pytest.approx(100 * summary.loc[(readout, cell), "error"])
        bars = np.concatenate([bar.lines[2][0].get_segments() for bar in axes.containers])
        ends = 100 * summary.loc[readout, ["error_low", "error_high"]].to_numpy()
        # Bars are drawn cell by cell, the summary goes on n_train by n_train.
        ends = ends.reshape(3, 4, 2).swapaxes(0, 1).reshape(12, 2)
        assert bars[:, :, 1] == pytest.approx(ends.clip(*axes.get_ylim()))
    title, floor = figure.get_suptitle(), figure.axes[0].get_ylim()[0]
    assert "digits" in title and "95%" in title and "3 seeds" in title
    assert ("at the edge go on" in title) == bool((100 * summary["error_low"] < floor).any())


def test_delta_curves_end_in_the_unconstrained_cells() -> None:
    error = {"dense": 40, "shared": 30, "local": 20, "conv": 10}
    accuracy = lambda one: 1 - (error[one.model.constraint] + (one.model.delta or 0)) / 100
    results = make_results(experiments_of(TWO_SWEEPS, DELTAS, SEEDS), accuracy)
    (axes,) = (figure := figures.plot_delta_curve(results)).axes
    assert labels_of(figure)[0] == "local, untied weights"
    assert ticks_of(axes, "x") == ["0", "1", "3", "all"]
    places = list(axes.get_xticks())
    for cell, weights in summaries.SWEEPS.items():
        x, y = line_of(axes, f"{cell}, {weights}")
        local = cell in ("local", "conv")
        assert list(x) == pytest.approx(places[:3] if local else places[3:], abs=0.1)
        assert list(y) == pytest.approx([error[cell] + delta for delta in ((0, 1, 3) if local else (0,))])


def test_dots_show_every_seed_and_rows_are_told_apart(seed: int) -> None:
    results = make_results(experiments_of(ALL_CELLS, SEEDS), noisy(seed))
    (axes,) = figures.plot_cells(results).axes
    assert ticks_of(axes, "y") == ["dense", "shared", "local (delta 2)", "conv (delta 2)"]
    drawn = np.sort(np.concatenate([line.get_xdata() for line in axes.get_lines() if len(line.get_xdata()) == 3]))
    assert drawn == pytest.approx(np.sort(100 * results["test_accuracy"].to_numpy()))
    ways = axis(("model.constraint", "model.tile"), [("tiled", 4), ("tiled", 2), ("conv", 3)])
    (axes,) = figures.plot_cells(make_results(experiments_of(ways, SEEDS))).axes
    assert ticks_of(axes, "y") == ["conv (delta 2)", "tiled (delta 2, tile 2)", "tiled (delta 2, tile 4)"]


EXTREMES: dict[str, Callable[[Resolved], float | None]] = {
    "no error": lambda one: 1.0,
    "all errors": lambda one: 0.0,
    "wide": lambda one: 1.0 if one.model.constraint == "conv" else 0.5 + 0.2 * one.seed,
    "a cell diverged": lambda one: None if one.model.constraint == "conv" else 0.9,
    "seeds diverged": lambda one: None if one.seed > 0 else 0.9,
}


@pytest.mark.parametrize("accuracy", EXTREMES.values(), ids=EXTREMES)
def test_extremes_are_drawn_inside_the_axes(accuracy: Callable[[Resolved], float | None]) -> None:
    figures.plot_cells(make_results(experiments_of(ALL_CELLS, SEEDS), accuracy)).savefig(io.BytesIO(), dpi=30)
    results = make_results(experiments_of(TWO_SWEEPS, DELTAS, NUMBERS, SEEDS), accuracy)
    for figure in figures.figures_for(results).values():
        for axes in figure.axes:
            low, high = axes.get_ylim()
            points = np.concatenate([np.asarray(line.get_ydata(), float) for line in axes.get_lines()[:-1]])
            assert 0 < low < high <= 100
            assert ((points >= low) & (points <= high) | ~np.isfinite(points)).all()
