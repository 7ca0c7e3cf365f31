"""The charts of the page as Vega-Lite specifications. Their data come and change on the page, as experiments are
filtered: means over seeds and their intervals are computed there, from what is left.
"""

from collections.abc import Sequence

import pandas

from cnn_constraints.report.page.encodings import (
    ARM_TOOLTIP,
    DOT,
    ERROR,
    EXPERIMENT_TOOLTIP,
    Spec,
    colour,
    errors,
    fields,
    logarithmic,
    mean_error,
    means,
    quantity,
    shape,
)
from cnn_constraints.report.page.experiments import deltas, is_delta_sweep


def specifications(experiments: pandas.DataFrame, ratios: Sequence[Spec], curves: bool) -> dict[str, Spec]:
    """All charts that the rows allow, by name, in the order of the page. None where every experiment diverged."""
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
    x = quantity("place", "training images", logarithmic(), **_sizes(experiments))
    return _panels(experiments, x, ["cell", "arm", "n", "place", "condition"])


def delta_curve(experiments: pandas.DataFrame) -> Spec:
    """Test error against delta. The last place is that of all offsets, where conv has become shared, and local dense."""
    names, lines = deltas(experiments), list(dict.fromkeys(experiments["line"]))
    ticks = {"values": list(range(len(names))), "labelExpr": f"{names}[datum.value]", "labelOverlap": True}
    scale = {"zero": False, "nice": False, "padding": 14}
    x = quantity("delta_place", "delta, pixels to each side of a site", scale, **ticks)
    line: Spec = {"detail": {"field": "line"}, "color": colour(experiments, "cell", "leading")}
    if len(lines) > len(set(experiments["leading"])):
        dashes = {"field": "line", "type": "nominal", "title": None, "sort": lines, "legend": {"symbolType": "stroke"}}
        line["strokeDash"] = dashes
    keys = ["cell", "arm", "n", "delta", "delta_place", "line", "leading", "panel"]
    return _panels(experiments, x, keys, "panel", "cell", line)


def cell_dots(experiments: pandas.DataFrame) -> Spec:
    """Test error of every arm and seed."""
    y = {"field": "arm", "type": "nominal", "title": None, "sort": None}
    x = {"field": "mean", "type": "quantitative", "title": ERROR, "scale": {"zero": False}}
    markers, point = shape(experiments, "cell"), {"type": "point", "filled": True, "size": 90}
    marks = [
        {"mark": {"type": "rule", "strokeWidth": 2}, "encoding": {"x": x | {"field": "low"}, "x2": {"field": "high"}}},
        {"mark": point, "encoding": {"x": x, "shape": markers, "tooltip": ARM_TOOLTIP}},
    ]
    whole = {"transform": mean_error(experiments, ["cell", "arm", "condition"]), "layer": marks}
    dots = {"mark": DOT, "encoding": {"x": x | {"field": "error"}, "shape": markers, "tooltip": EXPERIMENT_TOOLTIP}}
    encoding = {"y": y, "color": colour(experiments, "cell")}
    return facet("condition", {"height": {"step": 26}, "encoding": encoding, "layer": [whole, dots]})


def samples(experiments: pandas.DataFrame, ratios: Sequence[Spec]) -> Spec:
    """How many times the images of the most constrained cell another needs to reach its error."""
    drawn = experiments.loc[experiments["arm"].isin([row["arm"] for row in ratios])]
    firsts, ticks = " or ".join(dict.fromkeys(row["against"] for row in ratios)), _sizes(experiments)
    domain = {"domain": [ticks["values"][0], ticks["values"][-1]]}
    x = quantity("n", f"training images of {firsts}", logarithmic() | domain, **ticks)
    y = {"field": "ratio", "type": "quantitative", "title": "times as many images", "scale": logarithmic()}
    plain = {"x": None, "color": {"value": "#8a8a8a"}, "shape": None, "detail": None}
    once = {"mark": {"type": "rule", "strokeDash": [3, 3]}, "encoding": plain | {"y": {"datum": 1}}}
    marks = means(y, shape(drawn), fields("arm", "against", "n", "target", "told", "seeds"), line={})
    spec = {"height": 240, "encoding": {"x": x, "color": colour(drawn)}, "layer": [once, *marks]}
    return facet("condition", spec, data="ratios")


def training(experiments: pandas.DataFrame) -> Spec:
    """Error on training (dashed) and validation images against updates, of the chosen candidate: means over seeds."""
    mean = [{"op": "mean", "field": "error", "as": "mean"}, {"op": "count", "as": "seeds"}]
    dashes = {"domain": ["validation", "training"], "range": [[1, 0], [4, 3]]}
    kind = {"field": "kind", "type": "nominal", "title": None, "scale": dashes, "legend": {"symbolType": "stroke"}}
    encoding = {
        "x": {"field": "update", "type": "quantitative", "title": "updates", "axis": {"tickCount": 8}},
        "y": errors(title="error, %"),
        "color": colour(experiments),
        "strokeDash": kind,
        "tooltip": fields("arm", "n", "update", "kind", "mean", "seeds"),
    }
    transform = [{"aggregate": mean, "groupby": ["cell", "arm", "n", "panel", "kind", "update"]}]
    mark = {"type": "line", "strokeWidth": 1.6, "tooltip": True}
    return facet("panel", {"height": 220, "transform": transform, "mark": mark, "encoding": encoding}, data="curves")


def cost(experiments: pandas.DataFrame) -> Spec:
    """Test error against parameters, and against multiply-adds of one image; a larger mark has had more training images."""
    x = quantity("cost", None, logarithmic(15), format="~s", tickCount=5)
    marks = means(errors(), shape(experiments), [*ARM_TOOLTIP, *fields("n", "quantity", "cost")])
    if len(set(experiments["n"])) > 1:
        size = {"field": "n", "type": "ordinal", "scale": {"range": [30, 170]}, "title": "training images"}
        marks[-1]["encoding"]["size"] = size | {"legend": {"format": ",", "symbolType": "circle"}}
    keys = ["cell", "arm", "n", "quantity", "cost", "condition", "of_condition"]
    spec = {"height": 240, "encoding": {"x": x, "color": colour(experiments)}, "layer": marks}
    spec |= {"transform": mean_error(experiments, keys)}
    return facet("of_condition", spec, data="costs") | {"resolve": {"scale": {"x": "independent"}}}


def time_spent(experiments: pandas.DataFrame) -> Spec:
    """Seconds of all experiments of an arm, together."""
    keys = ["cell", "bar", "n"]
    total = [{"op": "sum", "field": "seconds", "as": "total"}, {"op": "count", "as": "experiments"}]
    words = "datum.condition ? datum.arm + ', ' + datum.condition : datum.arm"
    seconds = {"field": "total", "type": "quantitative", "title": "seconds, of all its experiments", "stack": "zero"}
    encoding = {
        "x": seconds,
        "y": {"field": "bar", "type": "nominal", "title": None, "sort": None, "axis": {"labelLimit": 320}},
        "color": colour(experiments, "cell"),
        "order": {"field": "n"},
        "tooltip": fields(*keys, "experiments", "total"),
    }
    return {
        "data": {"name": "experiments"},
        "height": {"step": 22},
        "transform": [{"calculate": words, "as": "bar"}, {"aggregate": total, "groupby": keys}],
        "mark": {"type": "bar", "stroke": "#ffffff", "strokeWidth": 0.5},
        "encoding": encoding,
    }


def _sizes(experiments: pandas.DataFrame) -> Spec:
    """An axis of training-set sizes."""
    return {"values": sorted(set(experiments["n"].tolist())), "format": ",", "labelOverlap": True}


def _panels(
    experiments: pandas.DataFrame,
    x: Spec,
    keys: list[str],
    panel: str = "condition",
    by: str = "arm",
    line: Spec | None = None,
) -> Spec:
    """Means with intervals against x, every experiment as a small dot, a panel a condition, a colour an arm or a cell."""
    y, markers = errors(), shape(experiments, by)
    marks = means(y, markers, [*ARM_TOOLTIP, *fields("n")], line or {})
    dots = {"mark": DOT, "encoding": {"y": y | {"field": "error"}, "shape": markers, "tooltip": EXPERIMENT_TOOLTIP}}
    layers = [dots, {"transform": mean_error(experiments, keys), "layer": marks}]
    return facet(panel, {"height": 280, "encoding": {"x": x, "color": colour(experiments, by)}, "layer": layers})


def facet(panel: str, spec: Spec, data: str = "experiments") -> Spec:
    """Panels side by side, as many as the page has room for: see page.js, which sets `columns` and `width`."""
    header = {"field": panel, "type": "nominal", "title": None, "sort": None, "header": {"labelFontWeight": "bold"}}
    # page.js gives the value, which all charts share.
    shared = {"params": [{"name": "quantiles", "value": []}]}
    return {"data": {"name": data}, **shared, "facet": header, "columns": 2, "spec": {"width": 300, **spec}}
