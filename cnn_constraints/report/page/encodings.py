"""How charts look: scales, colours and marks of arms and cells, tooltips, and the means that Vega-Lite computes.

https://vega.github.io/vega-lite/docs/
"""

from collections.abc import Sequence
from typing import Any

import pandas
from matplotlib.colors import to_hex
from scipy.special import stdtrit

from cnn_constraints.report.claims import line_style
from cnn_constraints.report.figures import lighter
from cnn_constraints.summaries import cell_rank

Spec = dict[str, Any]

SHAPES = {"s": "square", "D": "diamond", "^": "triangle-up", "o": "circle"}
"""Matplotlib's markers in the words of Vega."""

MOST_SEEDS = 500

QUANTILES = [None, None, *stdtrit(range(1, MOST_SEEDS), 0.975).round(6).tolist()]
"""Of Student's t for the two-sided 95% interval of so many seeds as is the place in the list."""

ERROR = "test error, %"

MOST_ARMS = 30
"""Of a legend that can be read; beyond, one points at them."""

ENDS = {"mean": "datum.m", "low": "datum.m - datum.half", "high": "datum.m + datum.half"}

DOT = {"type": "point", "filled": True, "size": 22, "opacity": 0.35}
"""The mark of one experiment."""


def interval(field: str, keys: Sequence[str], geometric: bool = False, also: Sequence[Spec] = ()) -> list[Spec]:
    """The ENDS of `statistics.mean_interval`, or `geometric_mean_interval`, over seeds; missing values are left out."""
    into, back = (f"log(datum.{field})", "exp({})") if geometric else (f"datum.{field}", "{}")
    operations = [{"op": op, "field": "value", "as": name} for op, name in (("mean", "m"), ("stdev", "s"))]
    return [
        {"filter": f"isValid(datum.{field})"},
        {"calculate": into, "as": "value"},
        {"aggregate": [*operations, {"op": "count", "as": "seeds"}, *also], "groupby": list(keys)},
        {"calculate": "datum.seeds > 1 ? quantiles[datum.seeds] * datum.s / sqrt(datum.seeds) : 0", "as": "half"},
        *({"calculate": back.format(value), "as": name} for name, value in ENDS.items()),
    ]


def mean_error(experiments: pandas.DataFrame, keys: Sequence[str]) -> list[Spec]:
    """The `interval` of the test error, and in words. What a logarithmic axis cannot show stands at its lower edge."""
    edge = 0.5 * min((error for error in experiments["error"].tolist() if error > 0), default=0.02)
    told = "format(datum.mean, '.2f') + (datum.seeds > 1 ? ' ± ' + format(datum.half, '.2f') : '')"
    return [
        *interval("error", keys, also=[{"op": "median", "field": "learning_rate", "as": "learning_rate"}]),
        {"calculate": told, "as": "told"},
        *({"calculate": f"max(datum.{name}, {edge})", "as": name} for name in ("low", "mean")),
    ]


def quantity(field: str, title: str | None, scale: Spec, **axis: Any) -> Spec:
    """A number along an axis."""
    return {"field": field, "type": "quantitative", "title": title, "scale": scale, "axis": axis}


def logarithmic(padding: int = 12) -> Spec:
    """A scale that ends so many pixels beyond what it shows."""
    return {"type": "log", "nice": False, "padding": padding}


def errors(field: str = "mean", title: str = ERROR) -> Spec:
    """A logarithmic y."""
    return quantity(field, title, logarithmic(8), format="~g", tickCount=6)


def means(y: Spec, markers: Spec, tooltip: Sequence[Spec], line: Spec | None = None) -> list[Spec]:
    """Marks of means and their intervals. line: the encoding of a line through them; none is drawn without."""
    point = {"type": "point", "filled": True, "size": 70}
    return [
        *([{"mark": "line", "encoding": {"y": y} | line}] if line is not None else []),
        {"mark": "rule", "encoding": {"y": y | {"field": "low"}, "y2": {"field": "high"}}},
        {"mark": point, "encoding": {"y": y, "shape": markers, "tooltip": list(tooltip)}},
    ]


def nominal(field: str, names: Sequence[str], values: Sequence[str]) -> Spec:
    """A colour or shape for each name."""
    legend = {"labelLimit": 320} if len(names) <= MOST_ARMS else None
    scale = {"domain": list(names), "range": list(values)}
    return {"field": field, "type": "nominal", "title": None, "scale": scale, "legend": legend}


def shape(experiments: pandas.DataFrame, by: str = "arm") -> Spec:
    """The marker of the cell. Of points alone: lines and rules that have one get points of their own from Vega-Lite."""
    styles = _styles(experiments, by)
    return nominal(by, list(styles), [SHAPES.get(marker, "cross") for _, marker in styles.values()])


def colour(experiments: pandas.DataFrame, by: str = "arm", field: str | None = None) -> Spec:
    """The colour of the cell; of its arms each is lighter than the one before. field: the names' field, if not `by`."""
    styles = _styles(experiments, by)
    return nominal(field or by, list(styles), [colour for colour, _ in styles.values()])


def _styles(experiments: pandas.DataFrame, by: str) -> dict[str, tuple[str, str]]:
    """The colour and marker of each arm or cell."""
    found = sorted(set(experiments["cell"]), key=cell_rank)
    cells = {cell: line_style(cell, found) for cell in found}
    if by == "cell":
        return cells
    arms: dict[str, tuple[str, str]] = {}
    for cell, (colour, marker) in cells.items():
        of_cell = dict.fromkeys(experiments.loc[experiments["cell"] == cell, "arm"])
        arms |= {arm: (to_hex(lighter(colour, variant)), marker) for variant, arm in enumerate(of_cell)}
    return arms


def fields(*names: str) -> list[Spec]:
    """What a tooltip shows, in words."""
    numbers = dict.fromkeys(("error", "accuracy", "mean", "target"), ".2f") | {"total": ".1f", "cost": ",", "n": ","}
    words = {"told": ERROR, "n": "training images", "total": "seconds", "learning_rate": "learning rate"}
    words |= {"mean": "error, %", "target": "error to reach, %", "bar": "arm"}
    return [
        {"field": name, "title": words.get(name, name), **({"format": numbers[name]} if name in numbers else {})}
        for name in names
    ]


ARM_TOOLTIP = fields("arm", "told", "seeds", "learning_rate")
"""What one sees who points at a mean."""

EXPERIMENT_TOOLTIP = fields("arm", "n", "seed", "readout", "error", "accuracy", "learning_rate", "experiment")
