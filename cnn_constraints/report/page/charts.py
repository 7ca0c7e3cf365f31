"""The charts of the page, by Altair (https://altair-viz.github.io/): each has panels side by side, and rows that the page
gives it; page.js chooses columns and widths.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas

from cnn_constraints.report import marks as marked
from cnn_constraints.report.figures import styles

SHAPES = {"s": "square", "D": "diamond", "^": "triangle-up", "o": "circle"}
"""Matplotlib's markers in the words of Vega."""

ERROR = "test error, %"

MOST_NAMES = 30
"""Of a legend that can be read: beyond, colours are those of cells, and one points at a mark to know its arm."""

WORDS = {"where": "with", "first": "this", "second": "against", "verdict": "this is", "p_adjusted": "p"}
WORDS |= {"difference": "points", "difference_low": "from", "difference_high": "to", "panel": "condition"}
WORDS |= {"accuracy": "test accuracy, %", "accuracy_low": "from", "accuracy_high": "to", "told": "test error, %"}
WORDS |= {"training_accuracy": "training accuracy, %", "error": "error, %", "target": "error to reach, %"}
WORDS |= {"multiply_adds": "multiply-adds of an image", "at_edge": "chosen at an end", "n": "training images"}
"""Headings of columns."""

FORMATS: dict[str, str] = {**dict.fromkeys(("mean", "low", "high"), ".4~g"), **dict.fromkeys(("n", "value"), ",")}
FORMATS |= dict.fromkeys(("error", "accuracy", "target"), ".2f")

ARM = ("arm", "panel", "n", "told", "seeds", "learning_rate", "at_edge")
EXPERIMENT = ("arm", "panel", "n", "seed", "accuracy", "learning_rate", "at_edge", "experiment")

IS_ARM = "datum.kind == 'arm'"


def charts(marks: pandas.DataFrame, looks: pandas.DataFrame, ratios: pandas.DataFrame) -> dict[str, alt.FacetChart]:
    """All that the rows allow, by name, in the order of the page. None where every experiment diverged."""
    arms = marks.loc[marks["kind"] == "arm"]
    x = alt.X("place:Q", title="training images", scale=logarithmic(12), axis=_sizes(arms))
    drawn = {
        "learning_curves": lambda: _errors(arms, x, "arm", "panel"),
        "delta_curve": lambda: _errors(arms, _delta(arms), "line", "panel_n"),
        "cells": lambda: _cells(arms),
    }
    found = {kind: drawn[kind]() for kind in marked.kinds(arms)}
    if not found:
        return {}
    known = ratios.dropna(subset=[name for name in ratios if name == "ratio"])
    if len(known):
        found["samples"] = _samples(known, arms)
    if len(looks):
        found["training"] = _training(looks)
    return found | {"cost": _cost(arms)}


def _errors(arms: pandas.DataFrame, x: alt.X, name: str, panel: str) -> alt.FacetChart:
    """Means with intervals and a line through them, and every experiment as a small dot."""
    colour, shape = _styles(arms, name)
    base, y = alt.Chart().encode(x=x, color=colour, detail=f"{name}:N"), _error()
    dots = _dots(base).encode(y=y, shape=shape)
    return in_panels([dots, *means(base.transform_filter(IS_ARM), y, shape, ARM)], arms, panel, 280)


def _cells(arms: pandas.DataFrame) -> alt.FacetChart:
    colour, shape = _styles(arms, "cell")
    names = alt.Y("arm:N", title=None, sort=list(dict.fromkeys(arms["arm"])), axis=alt.Axis(labelLimit=0))
    base = alt.Chart().encode(y=names, color=colour)
    x, low = (alt.X(f"{name}:Q", title=ERROR, scale=alt.Scale(zero=False)) for name in ("error", "low"))
    whole = base.transform_filter(IS_ARM)
    bars = whole.mark_rule().encode(x=low, x2="high:Q")
    points = whole.mark_point(filled=True, size=90).encode(x=x, shape=shape, tooltip=tooltip(*ARM))
    return in_panels([_dots(base).encode(x=x, shape=shape), bars, points], arms, "panel", alt.Step(26))


def _samples(ratios: pandas.DataFrame, arms: pandas.DataFrame) -> alt.FacetChart:
    """How many times the images of another arm each needs; the value 1 has a line and a label."""
    colour, shape = _styles(arms.loc[arms["arm"].isin(ratios["arm"])], "arm")
    ends = [*ratios["low"], *ratios["high"], *ratios["ratio"], 1]
    decades = 10.0 ** np.arange(np.floor(np.log10(np.nanmin(ends))), np.log10(np.nanmax(ends)) + 1)
    steps = (1, 2, 5) if len(decades) < 4 else (1,)
    ticks = [step * decade for decade in decades.tolist() for step in steps]
    axis = alt.Axis(values=ticks, format="~g", labelOverlap=False)
    domain = [min(arms["n"]), max(arms["n"])]
    x = alt.X(
        "n:Q", title="training images of the most constrained", scale=logarithmic(12, domain=domain), axis=_sizes(arms)
    )
    y = alt.Y("ratio:Q", title="times as many images", scale=logarithmic(8), axis=axis)
    base = alt.Chart().encode(x=x, color=colour)
    once = alt.Chart().mark_rule(strokeDash=[3, 3], color="#8a8a8a").encode(y=alt.datum(1))
    told = ("arm", "panel", "against", "n", "target", "told", "seeds")
    return in_panels([once, *means(base, y, shape, told)], ratios, "panel", 240, "ratios")


def _training(looks: pandas.DataFrame) -> alt.FacetChart:
    colour, _ = _styles(looks, "arm")
    dashes = alt.Scale(domain=["validation", "training"], range=[[1, 0], [4, 3]])
    dash = alt.StrokeDash("images:N", title=None, scale=dashes, legend=alt.Legend(symbolType="stroke"))
    x = alt.X("update:Q", title="updates", axis=alt.Axis(tickCount=6))
    told = tooltip("arm", "panel_n", "update", "images", "error", "seeds")
    lines = alt.Chart().mark_line(strokeWidth=1.6, tooltip=True)
    lines = lines.encode(x=x, y=_error("error, %"), color=colour, strokeDash=dash, detail="arm:N", tooltip=told)
    return in_panels([lines], looks, "panel_n", 220, "looks")


def _cost(arms: pandas.DataFrame) -> alt.FacetChart:
    """A larger mark has had more training images."""
    colour, shape = _styles(arms, "arm")
    x = alt.X("value:Q", title=None, scale=logarithmic(15), axis=alt.Axis(format="~s", tickCount=5))
    base = alt.Chart().transform_filter(IS_ARM).encode(x=x, color=colour)
    *bars, points = means(base, _error(), shape, (*ARM, "value"), line=False)
    if len(set(arms["n"])) > 1:
        legend = alt.Legend(format=",", symbolType="circle")
        points = points.encode(
            size=alt.Size("n:O", title="training images", scale=alt.Scale(range=[30, 170]), legend=legend)
        )
    words, order = ("parameters", "multiply_adds"), arms["panel"].unique()
    told = lambda panel, word: f"{panel}: {word}".replace("_", "-").removeprefix(": ")
    panels = pandas.DataFrame({"of": [told(panel, word) for panel in order for word in words]})
    chart = in_panels([*bars, points], panels, "of", 240)
    of = "(datum.panel ? datum.panel + ': ' : '') + replace(datum.quantity, '_', '-')"
    folded = chart.transform_fold(list(words), as_=["quantity", "value"]).transform_calculate(of=of)
    return folded.resolve_scale(x="independent")


def means(base: alt.Chart, y: alt.Y, shape: alt.Shape, told: Sequence[str], line: bool = True) -> list[alt.Chart]:
    """Marks of means and of their intervals, and a line through them. y: of the mean."""
    low = y.copy()
    low.shorthand = "low:Q"
    points = base.mark_point(filled=True, size=70).encode(y=y, shape=shape, tooltip=tooltip(*told))
    bars = base.mark_rule().encode(y=low, y2="high:Q")
    return [*([base.mark_line().encode(y=y)] if line else []), bars, points]


def in_panels(
    layers: Sequence[alt.Chart], rows: pandas.DataFrame, field: str, height: Any, data: str = "marks"
) -> alt.FacetChart:
    """In the order of the rows. height: of a panel in pixels, or a step. data: the name of the rows."""
    names = list(dict.fromkeys(rows[field]))
    facet = alt.Facet(f"{field}:N", title=None, sort=names, header=alt.Header(labels=names != [""]))
    return alt.layer(*layers, data=alt.NamedData(data), height=height).facet(facet, columns=2)


def _styles(rows: pandas.DataFrame, field: str) -> tuple[alt.Color, alt.Shape]:
    """Those of `figures.styles`, of an `arm` or `line`."""
    field = field if len(set(rows[field])) <= MOST_NAMES else "cell"
    # Of a delta-sweep the last cell, which is not the one at its end.
    return nominal(field, dict(zip(rows[field], rows["cell"], strict=True)))


def nominal(field: str, cells: Mapping[str, str]) -> tuple[alt.Color, alt.Shape]:
    """cells: by name; see `figures.styles`."""
    found = styles(cells)
    legend = alt.Legend(labelLimit=0)
    # Black is the colour of the page's text, which may be white.
    colours = [style.color.replace("#000000", "currentColor") for style in found.values()]
    shapes = [SHAPES.get(style.marker, "cross") for style in found.values()]
    return (
        alt.Color(f"{field}:N", title=None, legend=legend, scale=alt.Scale(domain=list(found), range=colours)),
        alt.Shape(f"{field}:N", title=None, legend=legend, scale=alt.Scale(domain=list(found), range=shapes)),
    )


def logarithmic(padding: int, **more: Any) -> alt.Scale:
    """A scale that ends so many pixels beyond what it shows."""
    return alt.Scale(type="log", nice=False, padding=padding, **more)


def heading(column: str) -> str:
    """Of a column in a table, or of a field in a tooltip."""
    return WORDS.get(column, column.replace("_", " "))


def tooltip(*fields: str) -> list[alt.Tooltip]:
    """Numbers by their format."""
    named = {f"{name}:{'Q' if name in FORMATS else 'N'}": name for name in fields}
    return [alt.Tooltip(code, title=heading(name), format=FORMATS.get(name, "")) for code, name in named.items()]


def _error(title: str = ERROR) -> alt.Y:
    return alt.Y("error:Q", title=title, scale=logarithmic(8), axis=alt.Axis(format="~g", tickCount=6))


def _dots(base: alt.Chart) -> alt.Chart:
    dots = base.transform_filter("datum.kind == 'experiment'").mark_point(filled=True, size=22, opacity=0.35)
    return dots.encode(tooltip=tooltip(*EXPERIMENT))


def _sizes(arms: pandas.DataFrame) -> alt.Axis:
    return alt.Axis(values=sorted(set(arms["n"].tolist())), format=",", labelOverlap=True)


def _delta(arms: pandas.DataFrame) -> alt.X:
    """The last place is that of all offsets, where conv has become shared, and local dense."""
    names = marked.deltas(arms)
    axis = alt.Axis(values=list(range(len(names))), labelExpr=f"{names}[datum.value]", labelOverlap=True)
    scale = alt.Scale(zero=False, nice=False, padding=14)
    return alt.X("delta_place:Q", title="delta, pixels to each side of a site", scale=scale, axis=axis)
