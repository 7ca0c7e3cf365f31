"""The charts of the page as Vega-Lite specifications. Their data come and change on the page, as experiments are
filtered: means over seeds and their intervals are computed there, from what is left.

https://vega.github.io/vega-lite/docs/
"""

from collections.abc import Sequence

import pandas

from cnn_constraints.report.page.encodings import (
    ERROR,
    EXPERIMENT_TOOLTIP,
    Spec,
    arm_tooltip,
    colour,
    dot,
    fields,
    logarithmic,
    mean_and_interval,
    plain,
    shape,
    with_field,
)
from cnn_constraints.report.page.experiments import deltas, is_delta_sweep


def specifications(experiments: pandas.DataFrame, ratios: Sequence[Spec], curves: bool) -> dict[str, Spec]:
    """All charts that the rows of `experiments.describe` and `experiments.sample_ratios` allow, by name, in the order
    of the page. None where every experiment diverged.
    """
    charts: dict[str, Spec] = {}
    if not experiments["error"].notna().to_numpy().any():
        return charts
    if len(set(experiments["n"])) > 1:
        charts["learning_curves"] = learning_curves(experiments)
    if is_delta_sweep(experiments):
        charts["delta_curve"] = delta_curve(experiments)
    if not charts:
        charts["cells"] = cell_dots(experiments)
    if ratios:
        charts["samples"] = samples(experiments, ratios)
    if curves:
        charts["training"] = training(experiments)
    return charts | {"cost": cost(experiments), "time": time_spent(experiments)}


def learning_curves(experiments: pandas.DataFrame) -> Spec:
    """Test error against training images, both logarithmic: a line an arm, a panel a condition."""
    scale = {"type": "log", "nice": False, "padding": 12}
    x = {"field": "place", "type": "quantitative", "title": "training images", "scale": scale}
    x |= {"axis": {"values": sorted(set(experiments["n"].tolist())), "format": ",", "labelOverlap": True}}
    return _panels(experiments, x, ["cell", "arm", "n", "place", "condition"])


def delta_curve(experiments: pandas.DataFrame) -> Spec:
    """Test error against delta: tied and untied weights, with what else tells arms apart. The last place is that of all
    offsets, where conv has become shared, and local dense: a line goes on into its limit.
    """
    names = deltas(experiments)
    axis = {"values": list(range(len(names))), "labelExpr": f"{names}[datum.value]", "labelOverlap": True}
    x = {"field": "delta_place", "type": "quantitative", "title": "delta, pixels to each side of a site", "axis": axis}
    x["scale"] = {"zero": False, "nice": False, "padding": 14}
    keys = ["cell", "arm", "n", "delta", "delta_place", "line", "leading", "panel"]
    spec = _panels(experiments, x, keys, "panel", "cell")
    line: Spec = {"detail": {"field": "line"}, "color": colour(experiments, "cell", "leading")}
    lines = list(dict.fromkeys(experiments["line"]))
    if len(lines) > len(set(experiments["leading"])):
        line["strokeDash"] = {"field": "line", "type": "nominal", "title": None, "sort": lines}
        line["strokeDash"]["legend"] = {"symbolType": "stroke"}
    spec["spec"]["layer"][1]["layer"][0]["encoding"] |= line
    return spec


def cell_dots(experiments: pandas.DataFrame) -> Spec:
    """Test error of every arm and seed."""
    y = {"field": "arm", "type": "nominal", "title": None, "sort": None}
    x = {"field": "mean", "type": "quantitative", "title": ERROR, "scale": {"zero": False}}
    markers = shape(experiments, "cell")
    point = {"type": "point", "filled": True, "size": 90}
    marks = [
        {
            "mark": {"type": "rule", "strokeWidth": 2},
            "encoding": {"x": with_field(x, "low"), "x2": {"field": "high"}},
        },
        {"mark": point, "encoding": {"x": x, "shape": markers, "tooltip": arm_tooltip()}},
    ]
    means = {"transform": mean_and_interval(experiments, ["cell", "arm", "condition"]), "layer": marks}
    dots = {
        "mark": dot(),
        "encoding": {"x": with_field(x, "error"), "shape": markers, "tooltip": EXPERIMENT_TOOLTIP},
    }
    spec = {"encoding": {"y": y, "color": colour(experiments, "cell")}, "layer": [means, dots]}
    return facet("condition", {"height": {"step": 26}, **spec})


def samples(experiments: pandas.DataFrame, ratios: Sequence[Spec]) -> Spec:
    """How many times the images of the most constrained cell another needs to reach its error."""
    drawn = experiments.loc[experiments["arm"].isin([row["arm"] for row in ratios])]
    firsts = " or ".join(dict.fromkeys(row["against"] for row in ratios))
    scale = {"type": "log", "nice": False, "padding": 12}
    sizes = sorted(set(experiments["n"].tolist()))
    x = {"field": "n", "type": "quantitative", "scale": scale | {"domain": [sizes[0], sizes[-1]]}}
    x |= {"axis": {"values": sizes, "format": ",", "labelOverlap": True}, "title": f"training images of {firsts}"}
    y = {"field": "ratio", "type": "quantitative", "title": "times as many images", "scale": scale}
    shown = ["arm", "against", "n", "target", "told", "seeds"]
    spec = {
        "height": 240,
        "encoding": {"x": x, "color": colour(drawn)},
        "layer": [
            {"mark": {"type": "rule", "strokeDash": [3, 3]}, "encoding": plain({"y": {"datum": 1}})},
            {"mark": "rule", "encoding": {"y": with_field(y, "low"), "y2": {"field": "high"}}},
            {"mark": "line", "encoding": {"y": y}},
            {
                "mark": {"type": "point", "filled": True, "size": 70},
                "encoding": {"y": y, "shape": shape(drawn), "tooltip": fields(shown)},
            },
        ],
    }
    return facet("condition", spec, data="ratios")


def training(experiments: pandas.DataFrame) -> Spec:
    """Error on training (dashed) and validation images against updates, of the chosen candidate: means over seeds."""
    mean = [{"op": "mean", "field": "error", "as": "mean"}, {"op": "count", "as": "seeds"}]
    keys = ["cell", "arm", "n", "panel", "kind", "update"]
    spec = {
        "height": 220,
        "transform": [{"aggregate": mean, "groupby": keys}],
        "mark": {"type": "line", "strokeWidth": 1.6, "tooltip": True},
        "encoding": {
            "x": {"field": "update", "type": "quantitative", "title": "updates", "axis": {"tickCount": 8}},
            "y": logarithmic("mean", "error, %"),
            "color": colour(experiments, "arm"),
            "strokeDash": {
                "field": "kind",
                "type": "nominal",
                "title": None,
                "scale": {"domain": ["validation", "training"], "range": [[1, 0], [4, 3]]},
                "legend": {"symbolType": "stroke"},
            },
            "tooltip": fields(["arm", "n", "update", "kind", "mean", "seeds"]),
        },
    }
    return facet("panel", spec, data="curves")


def cost(experiments: pandas.DataFrame) -> Spec:
    """Test error against parameters, and against multiply-adds of one image; a larger mark has had more training images."""
    keys = ["cell", "arm", "n", "quantity", "cost", "condition", "of_condition"]
    x = {"field": "cost", "type": "quantitative", "title": None, "axis": {"format": "~s", "tickCount": 5}}
    x["scale"] = {"type": "log", "nice": False, "padding": 15}
    y = logarithmic("mean", ERROR)
    marks = [
        {"mark": "rule", "encoding": {"y": with_field(y, "low"), "y2": {"field": "high"}}},
        {
            "mark": {"type": "point", "filled": True, "size": 80},
            "encoding": {
                "y": y,
                "shape": shape(experiments),
                "tooltip": [*arm_tooltip(), *fields(["n", "quantity", "cost"])],
            },
        },
    ]
    if len(set(experiments["n"])) > 1:
        marks[1]["encoding"]["size"] = {"field": "n", "type": "ordinal", "scale": {"range": [30, 170]}}
        marks[1]["encoding"]["size"] |= {"title": "training images", "legend": {"format": ",", "symbolType": "circle"}}
    spec = {"height": 240, "encoding": {"x": x, "color": colour(experiments)}, "layer": marks}
    spec |= {"transform": mean_and_interval(experiments, keys)}
    return facet("of_condition", spec, data="costs") | {"resolve": {"scale": {"x": "independent"}}}


def time_spent(experiments: pandas.DataFrame) -> Spec:
    """Seconds of all experiments of an arm, together."""
    keys = ["cell", "bar", "n"]
    spec = {
        "height": {"step": 22},
        "transform": [
            {"calculate": "datum.condition ? datum.arm + ', ' + datum.condition : datum.arm", "as": "bar"},
            {
                "aggregate": [{"op": "sum", "field": "seconds", "as": "total"}, {"op": "count", "as": "experiments"}],
                "groupby": keys,
            },
        ],
        "mark": {"type": "bar", "stroke": "#ffffff", "strokeWidth": 0.5},
        "encoding": {
            "x": {
                "field": "total",
                "type": "quantitative",
                "title": "seconds, of all its experiments",
                "stack": "zero",
            },
            "y": {"field": "bar", "type": "nominal", "title": None, "sort": None, "axis": {"labelLimit": 320}},
            "color": colour(experiments, "cell"),
            "order": {"field": "n"},
            "tooltip": fields([*keys, "experiments", "total"]),
        },
    }
    return facet("condition", spec, alone=True)


def _panels(experiments: pandas.DataFrame, x: Spec, keys: list[str], panel: str = "condition", by: str = "arm") -> Spec:
    """Means with intervals against x, every experiment as a small dot, a panel a condition, a colour an arm or a cell."""
    y = logarithmic("mean", ERROR)
    marks = [
        {"mark": {"type": "line", "strokeWidth": 2}, "encoding": {"y": y}},
        {"mark": "rule", "encoding": {"y": with_field(y, "low"), "y2": {"field": "high"}}},
        {
            "mark": {"type": "point", "filled": True, "size": 70},
            "encoding": {"y": y, "shape": shape(experiments, by), "tooltip": [*arm_tooltip(), *fields(["n"])]},
        },
    ]
    dots = {
        "mark": dot(),
        "encoding": {"y": with_field(y, "error"), "shape": shape(experiments, by), "tooltip": EXPERIMENT_TOOLTIP},
    }
    layers = [dots, {"transform": mean_and_interval(experiments, keys), "layer": marks}]
    encoding = {"x": x, "color": colour(experiments, by)}
    return facet(panel, {"height": 280, "encoding": encoding, "layer": layers})


def facet(panel: str, spec: Spec, data: str = "experiments", alone: bool = False) -> Spec:
    """Panels side by side, as many as the page has room for: see page.js, which sets `columns` and `width`."""
    if alone:
        return {"data": {"name": data}, **spec}
    header = {"field": panel, "type": "nominal", "title": None, "sort": None, "header": {"labelFontWeight": "bold"}}
    # page.js gives the value, which all charts share.
    shared = {"params": [{"name": "quantiles", "value": []}]}
    return {"data": {"name": data}, **shared, "facet": header, "columns": 2, "spec": {"width": 300, **spec}}
