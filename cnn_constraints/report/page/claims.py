"""The page of a folder of claims: what was claimed, what was measured, whether it holds, and the curves it comes from."""

import html
from collections.abc import Mapping
from pathlib import Path

import pandas

from cnn_constraints.claims import records
from cnn_constraints.claims.claim import Picture
from cnn_constraints.claims.records import Content, Record
from cnn_constraints.claims.registry import CLAIMS
from cnn_constraints.report.claims import criterion_in_words, is_categorical, line_style, measured_in_words
from cnn_constraints.report.page import charts, encodings
from cnn_constraints.report.page.build import assemble

BARS = "Means over seeds with 95% intervals."

ENDS = {"mean": "datum.m", "low": "datum.m - datum.half", "high": "datum.m + datum.half"}

PLAIN = "format(datum.value, datum.value != 0 && (abs(datum.value) < 1e-3 || abs(datum.value) >= 1e5) ? '~e' : '~g')"
"""A number of an axis, with an exponent where it would be long."""

HEADINGS = ("measured quantity", "published", "criterion", "measured", "seeds", "verdict")


def claims_page(folder: Path) -> str:
    """Raises InputError where claims.json or the curves of a claim cannot be read, and without the extra `report`."""
    content = records.read(folder)
    found = content["claims"]
    curves = {name: records.read_curves(folder, name) for name in found if name in CLAIMS}
    return build(str(folder), content, curves)


def build(title: str, content: Content, curves: Mapping[str, pandas.DataFrame]) -> str:
    """curves: of the claims that are drawn. Raises InputError without the extra `report`."""
    found = content["claims"]
    verdicts = [record["verdict"] for record in found.values()]
    counts = {verdict: verdicts.count(verdict) for verdict in dict.fromkeys(verdicts)}
    facts = " · ".join([f"{len(found)} claims", *(f"{count} {verdict}" for verdict, count in counts.items())])
    data = {
        "filters": {"verdict": list(counts)} if len(counts) > 1 else {},
        "experiments": [],
        "charts": {
            name: claim_curves(name, CLAIMS[name].picture, rows, is_categorical(rows)) for name, rows in curves.items()
        },
        "datasets": {
            name: rows.astype(object).where(rows.notna(), None).to_dict("records") for name, rows in curves.items()
        },
        "quantiles": encodings.QUANTILES,
    }
    body = "".join(_section(name, record, name in curves) for name, record in found.items())
    environment = content["environment"]
    made = f"tier {content['tier']}, seed {content['entropy']}, {environment.get('started', '')}, commit "
    details = f"<p>{html.escape(made + str(environment.get('commit'))[:12])}</p>"
    return assemble(title, facts, details, body, data)


def claim_curves(name: str, picture: Picture, curves: pandas.DataFrame, categorical: bool) -> encodings.Spec:
    """What a claim was judged by: means over seeds with 95% intervals, geometric ones where y is logarithmic."""
    lines = list(dict.fromkeys(curves["line"]))
    styles = {line: line_style(line, lines) for line in lines}
    colour = {"domain": lines, "range": [colour for colour, _ in styles.values()]}
    shape = {"domain": lines, "range": [encodings.SHAPES.get(marker, "cross") for _, marker in styles.values()]}
    logarithmic = {"type": "log", "nice": False, "padding": 10}
    y = {"field": "mean", "type": "quantitative", "title": picture.y, "axis": {"labelExpr": PLAIN, "tickCount": 6}}
    y["scale"] = logarithmic if picture.y_logarithmic else {"zero": False}
    x = {"field": "x", "type": "ordinal" if categorical else "quantitative", "title": picture.x, "sort": None}
    x |= {"axis": {"labelAngle": -20}} if categorical else {"axis": {"format": "~s", "tickCount": 6}}
    x |= {} if categorical else {"scale": logarithmic if picture.x_logarithmic else {"zero": False, "padding": 8}}
    into, back = ("log(datum.y)", "exp({})") if picture.y_logarithmic else ("datum.y", "{}")
    operations = (("mean", "m"), ("stdev", "s"), ("count", "seeds"))
    interval = [
        {"filter": "isValid(datum.y)"},
        {"calculate": into, "as": "value"},
        {
            "aggregate": [{"op": op, "field": "value", "as": field} for op, field in operations],
            "groupby": ["panel", "line", "x"],
        },
        {"calculate": "datum.seeds > 1 ? quantiles[datum.seeds] * datum.s / sqrt(datum.seeds) : 0", "as": "half"},
        *({"calculate": back.format(value), "as": field} for field, value in ENDS.items()),
    ]
    markers = {"field": "line", "type": "nominal", "title": None, "scale": shape}
    marks = [
        *([] if categorical else [{"mark": "line", "encoding": {"y": y}}]),
        {"mark": "rule", "encoding": {"y": y | {"field": "low"}, "y2": {"field": "high"}}},
        {
            "mark": {"type": "point", "filled": True, "size": 70},
            "encoding": {"y": y, "shape": markers, "tooltip": _tooltip()},
        },
    ]
    encoding = {"x": x, "color": {"field": "line", "type": "nominal", "title": None, "scale": colour}}
    encoding |= {"xOffset": {"field": "line", "sort": None}} if categorical else {}
    facet = charts.facet(
        "panel", {"height": 240, "transform": interval, "encoding": encoding, "layer": marks}, data=name
    )
    return facet | {"resolve": {"scale": {"x": "independent", "y": "independent"}}}


def _tooltip() -> list[encodings.Spec]:
    numbers = [{"field": name, "format": ".4~g"} for name in ENDS]
    return [{"field": "line"}, {"field": "x"}, *numbers, {"field": "seeds"}]


def _section(name: str, record: Record, drawn: bool) -> str:
    verdict = record["verdict"]
    save = '<button data-save="svg">SVG</button><button data-save="png">PNG</button>' if drawn else ""
    return (
        f'<section class="{"figure " if drawn else ""}claim" id="{html.escape(name)}" data-verdict="{verdict}"><header>'
        f'<h2>{html.escape(name.replace("_", " "))}: <span class="verdict {verdict}">{verdict}</span></h2>'
        f'<div class="save">{save}</div></header>'
        f"<p>{html.escape(record['statement'])} <em>{html.escape(record['source'])}</em></p>"
        f'<p>{html.escape(record["protocol"])}</p><div class="rows">{_table(record)}</div>'
        + (f'<p>{BARS}</p><div class="chart"></div>' if drawn else "")
        + "</section>"
    )


def _table(record: Record) -> str:
    head = "".join(f"<th>{heading}</th>" for heading in HEADINGS)
    body = ""
    for row in record["criteria"]:
        words = (row["quantity"], row["published"], criterion_in_words(row), measured_in_words(row), str(row["seeds"]))
        cells = "".join(f"<td>{html.escape(word)}</td>" for word in words)
        body += f'<tr>{cells}<td class="verdict {row["verdict"]}">{row["verdict"]}</td></tr>'
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
