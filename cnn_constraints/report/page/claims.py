"""The page of a folder of claims: what was claimed, what was measured, whether it holds, and the curves it comes from."""

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas

from cnn_constraints import summaries
from cnn_constraints.claims import records
from cnn_constraints.claims.claim import Picture
from cnn_constraints.claims.registry import CLAIMS
from cnn_constraints.report.claims import criterion_in_words, is_categorical, line_style, measured_in_words
from cnn_constraints.report.page import encodings
from cnn_constraints.report.page.build import assemble, section
from cnn_constraints.report.page.charts import facet

BARS = "Means over seeds with 95% intervals."

PLAIN = "format(datum.value, datum.value != 0 && (abs(datum.value) < 1e-3 || abs(datum.value) >= 1e5) ? '~e' : '~g')"
"""A number of an axis, with an exponent where it would be long."""

HEADINGS = ("measured quantity", "published", "criterion", "measured", "seeds", "verdict")


def claims_page(folder: Path) -> str:
    """Raises InputError where claims.json or the curves of a claim cannot be read."""
    content = records.read(folder)
    found, environment = content["claims"], content["environment"]
    curves = {name: records.read_curves(folder, name) for name in found if name in CLAIMS}
    verdicts = [record["verdict"] for record in found.values()]
    counts = {verdict: verdicts.count(verdict) for verdict in dict.fromkeys(verdicts)}
    facts = " · ".join([f"{len(found)} claims", *(f"{count} {verdict}" for verdict, count in counts.items())])
    data = {
        "filters": {"verdict": list(counts)} if len(counts) > 1 else {},
        "experiments": [],
        "charts": {name: claim_curves(name, CLAIMS[name].picture, rows) for name, rows in curves.items()},
        "datasets": {name: summaries.plain_rows(rows) for name, rows in curves.items()},
        "quantiles": encodings.QUANTILES,
    }
    body = "".join(_section(name, record, name in curves) for name, record in found.items())
    made = f"tier {content['tier']}, seed {content['entropy']}, {environment.get('started', '')}, commit "
    details = f"<p>{html.escape(made + str(environment.get('commit'))[:12])}</p>"
    return assemble(str(folder), facts, details, body, data)


def claim_curves(name: str, picture: Picture, curves: pandas.DataFrame) -> encodings.Spec:
    """What a claim was judged by: means over seeds with 95% intervals, geometric ones where y is logarithmic."""
    lines = list(dict.fromkeys(curves["line"]))
    styles = [line_style(line, lines) for line in lines]
    shape = encodings.nominal("line", lines, [encodings.SHAPES.get(marker, "cross") for _, marker in styles])
    logarithmic, categorical = encodings.logarithmic(10), is_categorical(curves)
    scale = logarithmic if picture.y_logarithmic else {"zero": False}
    y = encodings.quantity("mean", picture.y, scale, labelExpr=PLAIN, tickCount=6)
    encoding: encodings.Spec = {"color": encodings.nominal("line", lines, [colour for colour, _ in styles])}
    if categorical:
        encoding["x"] = {"field": "x", "type": "ordinal", "title": picture.x, "sort": None, "axis": {"labelAngle": -20}}
        encoding["xOffset"] = {"field": "line", "sort": None}
    else:
        scale = logarithmic if picture.x_logarithmic else {"zero": False, "padding": 8}
        encoding["x"] = encodings.quantity("x", picture.x, scale, format="~s", tickCount=6)
    numbers = [{"field": name, "format": ".4~g"} for name in encodings.ENDS]
    tooltip = [{"field": "line"}, {"field": "x"}, *numbers, {"field": "seeds"}]
    spec = {
        "height": 240,
        "transform": encodings.interval("y", ["panel", "line", "x"], picture.y_logarithmic),
        "encoding": encoding,
        "layer": encodings.means(y, shape, tooltip, line=None if categorical else {}),
    }
    return facet("panel", spec, data=name) | {"resolve": {"scale": {"x": "independent", "y": "independent"}}}


def _section(name: str, record: Mapping[str, Any], drawn: bool) -> str:
    verdict = record["verdict"]
    heading = f'{html.escape(name.replace("_", " "))}: <span class="verdict {verdict}">{verdict}</span>'
    content = (
        f"<p>{html.escape(record['statement'])} <em>{html.escape(record['source'])}</em></p>"
        f'<p>{html.escape(record["protocol"])}</p><div class="rows">{_table(record)}</div>'
    )
    content += f'<p>{BARS}</p><div class="chart"></div>' if drawn else ""
    kind, saved = ("figure claim", ("svg", "png")) if drawn else ("claim", ())
    return section(f'class="{kind}" id="{html.escape(name)}" data-verdict="{verdict}"', heading, saved, content)


def _table(record: Mapping[str, Any]) -> str:
    head = "".join(f"<th>{heading}</th>" for heading in HEADINGS)
    body = ""
    for row in record["criteria"]:
        words = (row["quantity"], row["published"], criterion_in_words(row), measured_in_words(row), str(row["seeds"]))
        cells = "".join(f"<td>{html.escape(word)}</td>" for word in words)
        body += f'<tr>{cells}<td class="verdict {row["verdict"]}">{row["verdict"]}</td></tr>'
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
