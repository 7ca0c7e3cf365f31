"""The charts of the page as Vega-Lite specifications. Their data come and change on the page, as trials are filtered: means
over seeds and their intervals are computed there, from what is left.

https://vega.github.io/vega-lite/docs/
"""

from collections.abc import Sequence
from typing import Any

import pandas
from scipy import stats

from cnn_constraints.analysis import cells
from cnn_constraints.report.figures import OTHER_STYLES, STYLES

Spec = dict[str, Any]

SHAPES = {"s": "square", "D": "diamond", "^": "triangle-up", "o": "circle"}
"""Matplotlib's markers in the words of Vega."""

MOST_SEEDS = 500

QUANTILES = [None, None, *(round(float(stats.t.ppf(0.975, seeds - 1)), 6) for seeds in range(2, MOST_SEEDS + 1))]
"""Of Student's t for the two-sided 95% interval of so many seeds as is the place in the list."""

ERROR = "test error, %"


def specifications(trials: pandas.DataFrame, ratios: bool, curves: bool) -> dict[str, Spec]:
    """All charts that the rows of `trials.describe` allow, by name, in the order of the page."""
    charts: dict[str, Spec] = {}
    if len(set(trials["n"])) > 1:
        charts["learning_curves"] = learning_curves(trials)
    if any(len(set(of_cell["delta"])) > 1 for _, of_cell in trials.groupby("cell")):
        charts["delta_curve"] = delta_curve(trials)
    if not charts:
        charts["cells"] = cell_dots(trials)
    if ratios:
        charts["samples"] = samples(trials)
    if curves:
        charts["training"] = training(trials)
    return charts | {"cost": cost(trials), "time": time_spent(trials)}


def learning_curves(trials: pandas.DataFrame) -> Spec:
    """Test error against training images, both logarithmic: a line an arm, a panel a condition."""
    scale = {"type": "log", "nice": False, "padding": 12}
    x = {"field": "place", "type": "quantitative", "title": "training images", "scale": scale}
    x |= {"axis": {"values": sorted(set(trials["n"].tolist())), "format": ",", "labelOverlap": True}}
    return _panels(trials, x, ["cell", "arm", "n", "place", "condition"])


def delta_curve(trials: pandas.DataFrame) -> Spec:
    """Test error against delta: tied and untied weights. The last place is that of all offsets."""
    deltas = sorted({delta for delta in trials["delta"] if delta != "all"}, key=int)
    x = {"field": "delta", "type": "ordinal", "title": "delta: how far a layer sees", "sort": [*deltas, "all"]}
    spec = _panels(
        trials, x | {"axis": {"labelAngle": 0}}, ["cell", "arm", "n", "delta", "weights", "panel"], panel="panel"
    )
    # A line goes on into its limit, where conv has become shared, and local dense.
    spec["spec"]["layer"][1]["layer"][0]["encoding"] |= {"color": {"value": "#8a8a8a"}, "detail": {"field": "weights"}}
    return spec


def cell_dots(trials: pandas.DataFrame) -> Spec:
    """Test error of every arm and seed."""
    y = {"field": "arm", "type": "nominal", "title": None, "sort": None}
    x = {"field": "mean", "type": "quantitative", "title": ERROR, "scale": {"zero": False}}
    marks = [
        {"mark": {"type": "rule", "strokeWidth": 2}, "encoding": {"x": _of(x, "low"), "x2": {"field": "high"}}},
        {"mark": {"type": "point", "filled": True, "size": 90}, "encoding": {"x": x, "tooltip": _arm_tooltip()}},
    ]
    means = {"transform": _mean_and_interval(trials, ["cell", "arm", "condition"]), "layer": marks}
    dots = {"mark": _dot(), "encoding": {"x": _of(x, "error"), "tooltip": TRIAL_TOOLTIP}}
    spec = {"encoding": {"y": y, "color": _colour(trials), "shape": _shape(trials)}, "layer": [means, dots]}
    return facet("condition", {"height": {"step": 26}, **spec})


def samples(trials: pandas.DataFrame) -> Spec:
    """How many times the images of the most constrained cell another needs to reach its error."""
    scale = {"type": "log", "nice": False, "padding": 12}
    sizes = sorted(set(trials["n"].tolist()))
    x = {"field": "n", "type": "quantitative", "scale": scale | {"domain": [sizes[0], sizes[-1]]}}
    x |= {"axis": {"values": sizes, "format": ",", "labelOverlap": True}, "title": "training images of the first"}
    y = {"field": "ratio", "type": "quantitative", "title": "times as many images", "scale": scale}
    shown = ["arm", "against", "n", "target", "told", "seeds"]
    spec = {
        "height": 240,
        "encoding": {"x": x, "color": _colour(trials), "shape": _shape(trials), "detail": {"field": "arm"}},
        "layer": [
            {"mark": {"type": "rule", "strokeDash": [3, 3]}, "encoding": _plain({"y": {"datum": 1}})},
            {"mark": "rule", "encoding": {"y": _of(y, "low"), "y2": {"field": "high"}}},
            {"mark": {"type": "line"}, "encoding": {"y": y}},
            {"mark": {"type": "point", "filled": True, "size": 70}, "encoding": {"y": y, "tooltip": _fields(shown)}},
        ],
    }
    return facet("condition", spec, data="ratios")


def training(trials: pandas.DataFrame) -> Spec:
    """Error on training (dashed) and validation images against updates, of the chosen lane: means over seeds."""
    mean = [{"op": "mean", "field": "error", "as": "mean"}, {"op": "count", "as": "seeds"}]
    keys = ["cell", "arm", "n", "panel", "kind", "update"]
    spec = {
        "height": 220,
        "transform": [{"aggregate": mean, "groupby": keys}],
        "mark": {"type": "line", "strokeWidth": 1.6, "tooltip": True},
        "encoding": {
            "x": {"field": "update", "type": "quantitative", "title": "updates"},
            "y": _logarithmic("mean", "error, %"),
            "color": _colour(trials),
            "detail": {"field": "arm"},
            "strokeDash": {
                "field": "kind",
                "type": "nominal",
                "title": None,
                "scale": {"domain": ["validation", "training"], "range": [[1, 0], [4, 3]]},
                "legend": {"symbolType": "stroke"},
            },
            "tooltip": _fields(["arm", "n", "update", "kind", "mean", "seeds"]),
        },
    }
    return facet("panel", spec, data="curves")


def cost(trials: pandas.DataFrame) -> Spec:
    """Test error against parameters, and against multiply-adds of one image."""
    keys = ["cell", "arm", "n", "quantity", "cost", "condition"]
    x = {"field": "cost", "type": "quantitative", "title": None, "axis": {"format": "~s", "tickCount": 5}}
    x["scale"] = {"type": "log", "nice": False, "padding": 15}
    y = _logarithmic("mean", ERROR)
    marks = [
        {"mark": "rule", "encoding": {"y": _of(y, "low"), "y2": {"field": "high"}}},
        {
            "mark": {"type": "point", "filled": True, "size": 80},
            "encoding": {"y": y, "tooltip": [*_arm_tooltip(), *_fields(["quantity", "cost"])]},
        },
    ]
    spec = {"height": 240, "encoding": {"x": x, "color": _colour(trials), "shape": _shape(trials)}, "layer": marks}
    spec |= {"transform": _mean_and_interval(trials, keys)}
    return facet("quantity", spec, data="costs") | {"resolve": {"scale": {"x": "independent"}}}


def time_spent(trials: pandas.DataFrame) -> Spec:
    """Seconds of all trials of an arm, together."""
    keys = ["cell", "arm", "n"]
    spec = {
        "height": {"step": 22},
        "transform": [
            {
                "aggregate": [{"op": "sum", "field": "seconds", "as": "total"}, {"op": "count", "as": "trials"}],
                "groupby": keys,
            }
        ],
        "mark": {"type": "bar", "stroke": "#ffffff", "strokeWidth": 0.5},
        "encoding": {
            "x": {"field": "total", "type": "quantitative", "title": "seconds, of all its trials", "stack": "zero"},
            "y": {"field": "arm", "type": "nominal", "title": None, "sort": None},
            "color": _colour(trials),
            "order": {"field": "n"},
            "tooltip": _fields([*keys, "trials", "total"]),
        },
    }
    return facet("condition", spec, alone=True)


def _panels(trials: pandas.DataFrame, x: Spec, keys: list[str], panel: str = "condition") -> Spec:
    """Means with intervals against x, every trial as a small dot, a panel a condition."""
    y = _logarithmic("mean", ERROR)
    marks = [
        {"mark": {"type": "line", "strokeWidth": 2}, "encoding": {"y": y, "detail": {"field": "arm"}}},
        {"mark": {"type": "rule"}, "encoding": {"y": _of(y, "low"), "y2": {"field": "high"}}},
        {
            "mark": {"type": "point", "filled": True, "size": 70},
            "encoding": {"y": y, "tooltip": [*_arm_tooltip(), *_fields(["n"])]},
        },
    ]
    dots = {"mark": _dot(), "encoding": {"y": _of(y, "error"), "tooltip": TRIAL_TOOLTIP}}
    layers = [dots, {"transform": _mean_and_interval(trials, keys), "layer": marks}]
    encoding = {"x": x, "color": _colour(trials), "shape": _shape(trials)}
    return facet(panel, {"height": 280, "encoding": encoding, "layer": layers})


def facet(panel: str, spec: Spec, data: str = "trials", alone: bool = False) -> Spec:
    """Panels side by side, as many as the page has room for: see page.js, which sets `columns` and `width`."""
    if alone:
        return {"data": {"name": data}, **spec}
    header = {"field": panel, "type": "nominal", "title": None, "sort": None, "header": {"labelFontWeight": "bold"}}
    # page.js gives the value, which all charts share.
    shared = {"params": [{"name": "quantiles", "value": []}]}
    return {"data": {"name": data}, **shared, "facet": header, "columns": 2, "spec": {"width": 300, **spec}}


def _mean_and_interval(trials: pandas.DataFrame, keys: Sequence[str]) -> list[Spec]:
    """The mean over seeds and the 95% Student-t interval, of trials that have not diverged: `estimates.mean_interval`.

    An end that a logarithmic axis cannot show stands at its lower edge.
    """
    operations = [("mean", "mean"), ("stdev", "stdev"), ("valid", "seeds"), ("median", "learning_rate")]
    fields = {"learning_rate": "learning_rate"}
    edge = 0.5 * min((error for error in trials["error"].tolist() if error > 0), default=0.02)
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


def _logarithmic(field: str, title: str) -> Spec:
    ticks = {"format": "~g", "tickCount": 6}
    scale = {"type": "log", "nice": False, "padding": 8}
    return {"field": field, "type": "quantitative", "title": title, "scale": scale, "axis": ticks}


def _of(channel: Spec, field: str) -> Spec:
    return channel | {"field": field}


def _plain(encoding: Spec) -> Spec:
    """Without the colours, shapes and places of the whole chart."""
    return {"x": None, "color": {"value": "#8a8a8a"}, "shape": None, "detail": None, **encoding}


def _colour(trials: pandas.DataFrame) -> Spec:
    names = _cells(trials)
    scale = {"domain": names, "range": [style(name, names)[0] for name in names]}
    return {"field": "cell", "type": "nominal", "title": None, "scale": scale}


def _shape(trials: pandas.DataFrame) -> Spec:
    names = _cells(trials)
    scale = {"domain": names, "range": [SHAPES.get(style(name, names)[1], "cross") for name in names]}
    return {"field": "cell", "type": "nominal", "title": None, "scale": scale}


def _cells(trials: pandas.DataFrame) -> list[str]:
    return cells(trials.rename(columns={"cell": "model.constraint"}))


def style(name: str, names: Sequence[str]) -> tuple[str, str]:
    others = [other for other in names if other not in STYLES]
    return STYLES[name] if name in STYLES else OTHER_STYLES[others.index(name) % len(OTHER_STYLES)]


def _dot() -> Spec:
    return {"type": "point", "filled": True, "size": 22, "opacity": 0.35}


def _fields(names: Sequence[str]) -> list[Spec]:
    """What a tooltip shows, in words."""
    numbers = {"error": ".2f", "accuracy": ".2f", "mean": ".2f", "total": ".1f", "target": ".2f", "cost": ",", "n": ","}
    words = {"told": ERROR, "n": "images", "total": "seconds", "learning_rate": "learning rate", "mean": "error, %"}
    words |= {"panel": "", "condition": "", "target": "error to reach, %"}
    return [
        {"field": name, "title": words.get(name, name), **({"format": numbers[name]} if name in numbers else {})}
        for name in names
        if words.get(name, name)
    ]


def _arm_tooltip() -> list[Spec]:
    return _fields(["arm", "told", "seeds", "learning_rate"])


TRIAL_TOOLTIP = _fields(["arm", "n", "seed", "readout", "error", "accuracy", "learning_rate", "trial"])
