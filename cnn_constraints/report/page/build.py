"""Builds the page: one HTML file that holds its data, its charts and the library that draws them, and asks for nothing."""

import html
import importlib.util
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import pandas

from cnn_constraints import store, summaries
from cnn_constraints.errors import InputError
from cnn_constraints.report.page import charts, encodings, experiments
from cnn_constraints.report.page.experiments import RUN

EXTRA = "The page needs the extra `report`: pip install -e '.[report]'"

MEANS = (
    "Means over seeds with 95% intervals of Student's t; a small dot is one experiment. An interval that goes beyond the "
    "lower edge is cut there."
)

HEADINGS = {
    "learning_curves": ("Test error against training images", MEANS),
    "delta_curve": (
        "Test error against delta",
        f"conv (tied weights) ends in shared, and local (untied weights) in dense, where every offset is allowed. {MEANS}",
    ),
    "cells": ("Test error", MEANS),
    "samples": (
        "How many times as many images",
        "That another cell needs to reach the mean test error of the most constrained one; above 1: more. Mean ratios "
        "paired by seed with 95% intervals, of all seeds: the filters for images and seeds do not act here. Where a cell "
        "does not get there with any of its sizes, or has got there with its smallest, there is no ratio.",
    ),
    "training": (
        "While training",
        "Error on training and validation images at the learning rate that was chosen, means over seeds; what is below "
        "0.1% stands at 0.1%.",
    ),
    "cost": (
        "What it costs",
        "Test error against the parameters of the whole network, and against its multiply-adds for one image. Means over "
        "seeds with 95% intervals; a larger mark has had more training images.",
    ),
    "time": (
        "Where the time went",
        "Seconds of training and evaluation of all experiments of an arm together, a piece a training-set size; compiling "
        "is not in it.",
    ),
}

TABLES = {
    "differences": (
        "Which cell beats which",
        "Differences of test accuracy in percentage points, of experiments with the same seed and so the same training "
        "images, with half of their 95% interval; of all seeds. Undecided: the interval contains 0. Not corrected for the "
        "number of comparisons.",
    ),
    "arms": ("Every arm", "Means over seeds, with half of the 95% interval."),
    "experiments": ("Every experiment", "Of the learning rate and weight decay that were chosen on validation images."),
}


class Run(NamedTuple):
    """Tables of `store.read`, and the attempts that made them, the last one last. planned: the experiments of all its
    sweeps.
    """

    name: str
    results: pandas.DataFrame
    evaluations: pandas.DataFrame
    seconds: pandas.DataFrame
    attempts: Sequence[Mapping[str, Any]]
    planned: int


def read_run(folder: Path) -> Run:
    """Raises InputError where there is no run that can be read, or no experiment is finished."""
    results = store.read(folder)
    if results.empty:
        raise InputError(f"{folder} has no finished experiment yet: run `python -m experiments.sweep` first.")
    return Run(
        str(folder),
        results,
        store.read(folder, "evaluation"),
        store.read(folder, "time"),
        store.read_attempts(folder),
        len(store.read_config(folder)["experiments"]),
    )


def page(runs: Sequence[Run], names: Sequence[str] | None = None) -> str:
    """The page of one run or of several side by side. names: of the experiments that count, if not all do.

    Raises InputError without the extra `report`.
    """
    tables = [run.results.assign(**{RUN: run.name}) for run in runs]
    results = pandas.concat([table for table in tables if len(table)], ignore_index=True)
    if names is not None:
        results = results.loc[results["experiment"].isin(list(names))]
    seconds = {key: value for run in runs for key, value in _seconds(run)}
    rows = experiments.describe(results, seconds)
    curves: dict[str, list[Any]] = {}
    for run in runs:
        curves |= experiments.training_curves(run.evaluations, run.results)
    ratios = experiments.sample_ratios(rows)
    specifications = charts.specifications(rows, ratios, bool(curves))
    differences = experiments.differences(results)
    data = {
        "experiments": rows.astype(object).where(rows.notna(), None).to_dict("records"),
        "curves": {name: curves[name] for name in rows["experiment"] if name in curves},
        "ratios": ratios,
        "differences": differences,
        "charts": specifications,
        "filters": _filters(rows),
        "quantiles": encodings.QUANTILES,
    }
    title = ", ".join(dict.fromkeys(run.name for run in runs))
    shown = [name for name in TABLES if name != "differences" or differences]
    body = "".join(_figure(name, *HEADINGS[name]) for name in specifications) + "".join(map(_table, shown))
    return assemble(title, _facts(results, runs), _details(results, runs), body, data)


def _seconds(run: Run) -> Iterable[tuple[str, float]]:
    return zip(run.seconds["experiment"], run.seconds["seconds"], strict=True) if len(run.seconds) else ()


def assemble(title: str, facts: str, details: str, body: str, data: Mapping[str, Any]) -> str:
    """The HTML file. facts: plain text; details and body: HTML. Raises InputError without the extra `report`."""
    # Within a script nothing may look like its end.
    content = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    parts = {"title": html.escape(title), "facts": html.escape(facts), "details": details, "body": body}
    parts |= {"style": _asset("page.css"), "data": content, "library": _library(), "script": _asset("page.js")}
    pieces = _asset("page.html").split("{{")
    return pieces[0] + "".join(parts[name] + rest for name, rest in (piece.split("}}", 1) for piece in pieces[1:]))


def _figure(name: str, heading: str, caption: str) -> str:
    return (
        f'<section class="figure" id="{name}"><header><h2>{html.escape(heading)}</h2>'
        f'<div class="save"><button data-save="svg">SVG</button><button data-save="png">PNG</button></div></header>'
        f'<p>{html.escape(caption)}</p><div class="chart"></div></section>'
    )


def _table(name: str) -> str:
    heading, caption = TABLES[name]
    return (
        f'<section class="table" id="{name}"><header><h2>{heading}</h2>'
        f'<div class="save"><button data-save="csv">CSV</button></div></header>'
        f'<p>{html.escape(caption)}</p><div class="rows"></div></section>'
    )


def _filters(rows: pandas.DataFrame) -> dict[str, list[Any]]:
    """The values of what can be filtered by, where there are several."""
    filters = {name: list(dict.fromkeys(rows[name])) for name in ("run", "cell", "delta", "readout", "n", "seed")}
    # Where each cell has one delta, to choose cells is enough.
    filters["delta"] = experiments.deltas(rows) if experiments.is_delta_sweep(rows) else []
    numbers = {name: sorted(int(value) for value in filters[name]) for name in ("n", "seed")}
    return {name: values for name, values in (filters | numbers).items() if len(values) > 1}


def _facts(results: pandas.DataFrame, runs: Sequence[Run]) -> str:
    sources = " and ".join(dict.fromkeys(results["data.source"]))
    seeds = len(set(results["seed"]))
    finished, planned = (sum(counts) for counts in ([len(run.results) for run in runs], [run.planned for run in runs]))
    facts = [sources, f"{len(results):,} experiments", "1 seed, so no intervals" if seeds == 1 else f"{seeds} seeds"]
    if diverged := sum(summaries.prepare(results)["diverged"].tolist()):
        facts.append(f"{diverged:,} experiments diverged at every learning rate and have no error: try lower ones")
    if finished < planned:
        facts.append(f"{finished:,} of {planned:,} experiments were finished when this page was made")
    return " · ".join(facts)


def _details(results: pandas.DataFrame, runs: Sequence[Run]) -> str:
    """What all experiments have in common, and where they were made."""
    fields = [*summaries.config_fields(results), summaries.PLACE]
    words = {name: list(dict.fromkeys(map(str, results[name]))) for name in fields}
    common = {name: values[0] for name, values in words.items() if len(values) == 1}
    shown = {name: value for name, value in common.items() if value not in ("None", "nan", "[]")}
    made = {}
    for run in runs:
        last = run.attempts[-1] if run.attempts else {}
        packages = {name: version for name, version in last.get("packages", {}).items() if version}
        made[run.name] = ", ".join(
            [
                f"{last.get('started', 'unknown')}, commit {str(last.get('commit'))[:12]}",
                ", ".join(sorted(set(last.get("devices", [])))),
                f"Python {last.get('python')}",
                *(f"{name} {version}" for name, version in packages.items() if name in ("jax", "flax", "optax")),
            ]
        )
    return _list("In common", shown) + _list("Made", made)


def _list(heading: str, entries: Mapping[str, str]) -> str:
    rows = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(str(value))}</dd>" for name, value in entries.items())
    return f"<h3>{html.escape(heading)}</h3><dl>{rows}</dl>"


def _asset(name: str) -> str:
    return resources.files("cnn_constraints.report.page").joinpath(name).read_text(encoding="utf-8")


def can_build() -> bool:
    """Whether the extra `report` is installed."""
    return importlib.util.find_spec("vl_convert") is not None


@cache
def _library() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script."""
    try:
        import vl_convert
    except ImportError:
        raise InputError(f"{EXTRA}.") from None
    return vl_convert.javascript_bundle().replace("</script", "<\\/script")  # pyright: ignore[reportCallIssue]
