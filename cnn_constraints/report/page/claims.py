"""The page of a folder of claims, in the order of the text: what was claimed, the curves, what was measured, and whether it
holds.
"""

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas

from cnn_constraints import summaries
from cnn_constraints.claims import records
from cnn_constraints.claims.claim import Picture
from cnn_constraints.claims.registry import CLAIMS
from cnn_constraints.report.claims import HEADINGS, UNDECIDED, as_told, bars_of, criterion_row, is_categorical, means_of
from cnn_constraints.report.page import charts
from cnn_constraints.report.page.build import assemble, section

PLAIN = "format(datum.value, datum.value != 0 && (abs(datum.value) < 1e-3 || abs(datum.value) >= 1e5) ? '~e' : '~g')"
"""A number of an axis, with an exponent where it would be long."""


def claims_page(folder: Path) -> str:
    """Raises InputError where claims.json or the curves of a claim cannot be read."""
    content = records.read(folder)
    found, environment = as_told(content["claims"]), content["environment"]
    curves = {name: records.read_curves(folder, name, record) for name, record in found.items() if name in CLAIMS}
    verdicts = [record["verdict"] for record in found.values()]
    counts = {verdict: verdicts.count(verdict) for verdict in dict.fromkeys(verdicts)}
    facts = " · ".join([f"{len(found)} claims", *(f"{count} {verdict}" for verdict, count in counts.items())])
    means = {name: means_of(rows, CLAIMS[name].picture) for name, rows in curves.items()}
    means = {name: rows.replace([np.inf, -np.inf], np.nan) for name, rows in means.items()}
    data = {
        "rows": {name: summaries.plain_rows(rows) for name, rows in means.items()},
        "charts": {name: claim_curves(name, CLAIMS[name].picture, rows).to_dict() for name, rows in means.items()},
        "names": list(dict.fromkeys(line for rows in means.values() for line in rows["line"])),
        "filters": [("verdict", "verdict", list(counts))] if len(counts) > 1 else [],
    }
    body = "".join(_section(name, record, name in curves) for name, record in found.items())
    made = f"tier {content['tier']}, seed {content['entropy']}, {environment.get('started', '')}, commit "
    details = f"<p>{html.escape(UNDECIDED)}</p>" if "undecided" in counts else ""
    details += f"<p>{html.escape(made + str(environment.get('commit'))[:12])}</p>"
    return assemble(str(folder), facts, "", body, details, data)


def claim_curves(name: str, picture: Picture, means: pandas.DataFrame) -> alt.FacetChart:
    """What a claim was judged by."""
    color, shape = charts.nominal("line", {line: line for line in means["line"]})
    scale = lambda is_logarithmic, **other: charts.logarithmic(10) if is_logarithmic else alt.Scale(zero=False, **other)
    y = alt.Y(
        "mean:Q", title=picture.y, scale=scale(picture.y_logarithmic), axis=alt.Axis(labelExpr=PLAIN, tickCount=6)
    )
    x = alt.X("x:O", title=picture.x, sort=None, axis=alt.Axis(labelAngle=-20))
    base = alt.Chart().encode(color=color)
    if categorical := is_categorical(means):
        base = base.encode(x=x, xOffset=alt.XOffset("line:N", sort=None))
    else:
        axis = alt.Axis(labelExpr=PLAIN, tickCount=6)
        base = base.encode(x=alt.X("x:Q", title=picture.x, scale=scale(picture.x_logarithmic, padding=8), axis=axis))
    told = ("line", "x", "mean", "low", "high", "seeds")
    chart = charts.in_panels(charts.means(base, y, shape, told, line=not categorical), means, "panel", 240, name)
    return chart.resolve_scale(x="independent", y="independent", xOffset="independent")


def _section(name: str, record: Mapping[str, Any], drawn: bool) -> str:
    verdict = record["verdict"]
    heading = f'{html.escape(name.replace("_", " "))}: <span class="verdict {verdict}">{verdict}</span>'
    content = f"<p>{html.escape(record['statement'])} <em>{html.escape(record['source'])}</em></p>"
    content += f'<div class="chart"></div><p>{html.escape(bars_of(record))}.</p>' if drawn else ""
    content += f'<p>{html.escape(record["protocol"])}</p><div class="rows">{_table(record)}</div>'
    kind, saved = ("figure claim", ("svg", "png")) if drawn else ("claim", ())
    return section(f'class="{kind}" id="{html.escape(name)}" data-verdict="{verdict}"', heading, saved, content)


def _table(record: Mapping[str, Any]) -> str:
    head = "".join(f"<th>{heading}</th>" for heading in HEADINGS)
    body = ""
    for row in record["criteria"]:
        *words, verdict = map(html.escape, criterion_row(row))
        cells = "".join(f"<td>{word}</td>" for word in words)
        body += f'<tr>{cells}<td class="verdict {row["verdict"]}">{verdict}</td></tr>'
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
