"""How charts look: scales, colours and shapes of arms and cells, tooltips, and the means that Vega-Lite computes."""

from collections.abc import Sequence
from typing import Any

import pandas
from matplotlib.colors import to_hex
from scipy import stats

from cnn_constraints.report.claims import line_style
from cnn_constraints.report.figures import lighter
from cnn_constraints.summaries import cell_rank

Spec = dict[str, Any]

SHAPES = {"s": "square", "D": "diamond", "^": "triangle-up", "o": "circle"}
"""Matplotlib's markers in the words of Vega."""

MOST_SEEDS = 500

QUANTILES = [None, None, *(round(float(stats.t.ppf(0.975, seeds - 1)), 6) for seeds in range(2, MOST_SEEDS + 1))]
"""Of Student's t for the two-sided 95% interval of so many seeds as is the place in the list."""

ERROR = "test error, %"

MOST_ARMS = 30
"""Of a legend."""


def mean_and_interval(experiments: pandas.DataFrame, keys: Sequence[str]) -> list[Spec]:
    """The mean over seeds and the 95% Student-t interval, of experiments that have not diverged:
    `statistics.mean_interval`.

    An end that a logarithmic axis cannot show stands at its lower edge.
    """
    operations = [("mean", "mean"), ("stdev", "stdev"), ("valid", "seeds"), ("median", "learning_rate")]
    fields = {"learning_rate": "learning_rate"}
    edge = 0.5 * min((error for error in experiments["error"].tolist() if error > 0), default=0.02)
    return [
        {"filter": "isValid(datum.error)"},
        {
            "aggregate": [{"op": op, "field": fields.get(name, "error"), "as": name} for op, name in operations],
            "groupby": list(keys),
        },
        {"calculate": "datum.seeds > 1 ? quantiles[datum.seeds] * datum.stdev / sqrt(datum.seeds) : 0", "as": "half"},
        {"calculate": "datum.mean + datum.half", "as": "high"},
        {"calculate": f"max(datum.mean - datum.half, {edge})", "as": "low"},
        {
            "calculate": "format(datum.mean, '.2f') + (datum.seeds > 1 ? ' ± ' + format(datum.half, '.2f') : '')",
            "as": "told",
        },
        {"calculate": f"max(datum.mean, {edge})", "as": "mean"},
    ]


def logarithmic(field: str, title: str) -> Spec:
    """A logarithmic y."""
    ticks = {"format": "~g", "tickCount": 6}
    scale = {"type": "log", "nice": False, "padding": 8}
    return {"field": field, "type": "quantitative", "title": title, "scale": scale, "axis": ticks}


def with_field(channel: Spec, field: str) -> Spec:
    """The same channel of another field."""
    return channel | {"field": field}


def plain(encoding: Spec) -> Spec:
    """Without the colours, shapes and places of the whole chart."""
    return {"x": None, "color": {"value": "#8a8a8a"}, "shape": None, "detail": None, **encoding}


def shape(experiments: pandas.DataFrame, by: str = "arm") -> Spec:
    """The marker of the cell. Of points alone: lines and rules that have one get points of their own from Vega-Lite."""
    names, styles = _names(experiments, by)
    scale = {"domain": names, "range": [SHAPES.get(marker, "cross") for _, marker in styles]}
    return {"field": by, "type": "nominal", "title": None, "scale": scale, "legend": _legend(names)}


def colour(experiments: pandas.DataFrame, by: str = "arm", field: str | None = None) -> Spec:
    """The colour of the cell; of its arms each is lighter than the one before. field: the names' field, if not `by`."""
    names, styles = _names(experiments, by)
    scale = {"domain": names, "range": [colour for colour, _ in styles]}
    return {"field": field or by, "type": "nominal", "title": None, "scale": scale, "legend": _legend(names)}


def _legend(names: Sequence[str]) -> Spec | None:
    """None where there are too many to be read: one points at them."""
    return {"labelLimit": 320} if len(names) <= MOST_ARMS else None


def _names(experiments: pandas.DataFrame, by: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Arms or cells, and the colour and marker of each."""
    found = sorted(set(experiments["cell"]), key=cell_rank)
    if by == "cell":
        return found, [line_style(cell, found) for cell in found]
    arms: dict[str, tuple[str, str]] = {}
    for cell in found:
        colour, marker = line_style(cell, found)
        of_cell = dict.fromkeys(experiments.loc[experiments["cell"] == cell, "arm"])
        arms |= {arm: (to_hex(lighter(colour, variant)), marker) for variant, arm in enumerate(of_cell)}
    return list(arms), list(arms.values())


def dot() -> Spec:
    """The mark of one experiment."""
    return {"type": "point", "filled": True, "size": 22, "opacity": 0.35}


def fields(names: Sequence[str]) -> list[Spec]:
    """What a tooltip shows, in words."""
    numbers = {"error": ".2f", "accuracy": ".2f", "mean": ".2f", "total": ".1f", "target": ".2f", "cost": ",", "n": ","}
    words = {
        "told": ERROR,
        "n": "training images",
        "total": "seconds",
        "learning_rate": "learning rate",
        "mean": "error, %",
    }
    words |= {"panel": "", "condition": "", "target": "error to reach, %", "bar": "arm"}
    return [
        {"field": name, "title": words.get(name, name), **({"format": numbers[name]} if name in numbers else {})}
        for name in names
        if words.get(name, name)
    ]


def arm_tooltip() -> list[Spec]:
    """What one sees who points at a mean."""
    return fields(["arm", "told", "seeds", "learning_rate"])


EXPERIMENT_TOOLTIP = fields(["arm", "n", "seed", "readout", "error", "accuracy", "learning_rate", "experiment"])
