"""Builds the page: one HTML file that holds its data, its charts and the library that draws them, and asks for nothing."""

import html
import json
import re
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import pandas

from cnn_constraints import store, summaries
from cnn_constraints.errors import InputError
from cnn_constraints.report.page import charts, encodings, experiments
from cnn_constraints.report.page.experiments import RUN

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
    """Tables of `store.read`, and the attempts that made them. planned, finished: how many of all its sweeps."""

    name: str
    results: pandas.DataFrame
    evaluations: pandas.DataFrame
    seconds: pandas.DataFrame
    attempts: Sequence[Mapping[str, Any]]
    planned: int
    finished: int


def read_run(folder: Path, experiments: Collection[str] | None = None) -> Run:
    """experiments: those that count, if not all do. Raises InputError where no run, or no finished experiment, is there."""
    whole = store.read(folder)
    results = whole if experiments is None else whole.loc[whole["experiment"].isin(list(experiments))]
    if results.empty:
        raise InputError(f"{folder} has no finished experiment yet: run `python -m experiments.sweep` first.")
    tables = (results, store.read(folder, "evaluation"), store.read(folder, "time"))
    planned = len(store.read_config(folder)["experiments"])
    return Run(str(folder), *tables, store.read_attempts(folder), planned, len(whole))


def page(runs: Sequence[Run]) -> str:
    """The page of one run or of several side by side, with the extra `report`."""
    results = pandas.concat([run.results.assign(**{RUN: run.name}) for run in runs], ignore_index=True)
    seconds: dict[str, float] = {}
    curves: dict[str, list[Any]] = {}
    for run in runs:
        seconds |= dict(zip(run.seconds["experiment"], run.seconds["seconds"], strict=True))
        curves |= experiments.training_curves(run.evaluations, run.results)
    rows = experiments.describe(results, seconds)
    ratios = experiments.sample_ratios(rows)
    differences = experiments.differences(results)
    data = {
        "experiments": summaries.plain_rows(rows),
        "curves": {name: curves[name] for name in rows["experiment"] if name in curves},
        "ratios": ratios,
        "differences": differences,
        "charts": charts.specifications(rows, ratios, bool(curves)),
        "filters": _filters(rows),
        "quantiles": encodings.QUANTILES,
    }
    title = ", ".join(dict.fromkeys(run.name for run in runs))
    parts = [("figure", name, HEADINGS[name], ("svg", "png"), "chart") for name in data["charts"]]
    shown = [name for name in TABLES if name != "differences" or differences]
    parts += [("table", name, TABLES[name], ("csv",), "rows") for name in shown]
    body = ""
    for kind, name, (heading, caption), saved, place in parts:
        content = f'<p>{html.escape(caption)}</p><div class="{place}"></div>'
        body += section(f'class="{kind}" id="{name}"', html.escape(heading), saved, content)
    return assemble(title, _facts(results, runs), _details(results, runs), body, data)


def assemble(title: str, facts: str, details: str, body: str, data: Mapping[str, Any]) -> str:
    """The HTML file. facts: plain text; details and body: HTML."""
    # Within a script nothing may look like its end.
    content = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    parts = {"title": html.escape(title), "facts": html.escape(facts), "details": details, "body": body}
    parts |= {"style": _asset("page.css"), "data": content, "library": _library(), "script": _asset("page.js")}
    return re.sub(r"{{(\w+)}}", lambda place: parts[place[1]], _asset("page.html"))


def section(attributes: str, heading: str, saved: Sequence[str], content: str) -> str:
    """A part of the page, of HTML. saved: the kinds of files as which the reader can have it."""
    buttons = "".join(f'<button data-save="{kind}">{kind.upper()}</button>' for kind in saved)
    header = f'<header><h2>{heading}</h2><div class="save">{buttons}</div></header>'
    return f"<section {attributes}>{header}{content}</section>"


def _filters(rows: pandas.DataFrame) -> dict[str, list[Any]]:
    """The values of what can be filtered by, where there are several."""
    filters = {name: rows[name].drop_duplicates().tolist() for name in ("run", "cell", "delta", "readout", "n", "seed")}
    # Where each cell has one delta, to choose cells is enough.
    filters["delta"] = experiments.deltas(rows) if experiments.is_delta_sweep(rows) else []
    filters |= {name: sorted(filters[name]) for name in ("n", "seed")}
    return {name: values for name, values in filters.items() if len(values) > 1}


def _facts(results: pandas.DataFrame, runs: Sequence[Run]) -> str:
    seeds, diverged = len(set(results["seed"])), sum(summaries.prepare(results)["diverged"].tolist())
    finished, planned = sum(run.finished for run in runs), sum(run.planned for run in runs)
    facts = {
        " and ".join(dict.fromkeys(results["data.source"])): True,
        f"{len(results):,} experiments": True,
        "1 seed, so no intervals" if seeds == 1 else f"{seeds} seeds": True,
        f"{diverged:,} experiments diverged at every learning rate and have no error: try lower ones": diverged > 0,
        f"{finished:,} of {planned:,} experiments were finished when this page was made": finished < planned,
    }
    return " · ".join(fact for fact, is_true in facts.items() if is_true)


def _details(results: pandas.DataFrame, runs: Sequence[Run]) -> str:
    """What all experiments have in common, and where they were made."""
    words = {name: set(map(str, results[name])) for name in [*summaries.config_fields(results), summaries.PLACE]}
    common = {name: values.pop() for name, values in words.items() if len(values) == 1}
    shown = {name: value for name, value in common.items() if value not in ("None", "nan", "[]")}
    made = {}
    for run in runs:
        last = run.attempts[-1] if run.attempts else {}
        packages = last.get("packages", {})
        versions = [
            f"{name} {packages[name]}" for name in packages if name in ("jax", "flax", "optax") and packages[name]
        ]
        when = f"{last.get('started', 'unknown')}, commit {str(last.get('commit'))[:12]}"
        devices = ", ".join(sorted(set(last.get("devices", []))))
        made[run.name] = ", ".join([when, devices, f"Python {last.get('python')}", *versions])
    return _list("In common", shown) + _list("Made", made)


def _list(heading: str, entries: Mapping[str, str]) -> str:
    rows = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in entries.items())
    return f"<h3>{heading}</h3><dl>{rows}</dl>"


def _asset(name: str) -> str:
    return resources.files("cnn_constraints.report.page").joinpath(name).read_text(encoding="utf-8")


@cache
def _library() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script."""
    import vl_convert

    return vl_convert.javascript_bundle().replace("</script", "<\\/script")  # pyright: ignore[reportCallIssue]
