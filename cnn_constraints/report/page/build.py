"""Builds the page: one HTML file that holds its data, its charts and the library that draws them, and asks for nothing."""

import html
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import pandas

from cnn_constraints import settings, store, summaries
from cnn_constraints.errors import InputError
from cnn_constraints.experiment import PLACES
from cnn_constraints.files import as_text, atomic_write
from cnn_constraints.report import marks as marked
from cnn_constraints.report.answer import answer
from cnn_constraints.summaries import RUN, words
from cnn_constraints.summaries.tuning import tuning_in_words

MEANS = "Means over seeds with 95% intervals of Student's t; a small dot is one experiment. {cut}"
CUT = "What is below half of the lowest test error stands there, and intervals are cut there."
ZERO = "Errors of 0% stand at {floor:.2g}%, half of one test image, where intervals are cut too."

CHARTS = {
    "learning_curves": ("Test error against training images", MEANS),
    "delta_curve": ("Test error against delta", f"With all offsets conv has become shared, and local dense. {MEANS}"),
    "cells": ("Test error", MEANS),
    "samples": (
        "How many times as many images",
        "How many another arm needs to reach the mean error of {first}, the most constrained. Mean ratios paired "
        "by seed with 95% intervals. Where an arm does not get there, or does with its smallest size, there is none.",
    ),
    "training": ("While training", "Mean errors on training and validation images, of what was chosen. {cut}"),
    "cost": (
        "What it costs",
        "Parameters of the network, multiply-adds of an image; larger: more training images. {cut}",
    ),
}
TABLES = {
    "comparisons": (
        "Which beats which",
        "Differences of test accuracy, of experiments with the same seed and so the same training images, with 95% "
        "intervals. The verdict goes by p, of the paired t-test, adjusted by Holm for all rows; what is undecided, so many "
        "fresh seeds would probably decide. Filters hide rows and change no number.",
        "where first second verdict difference difference_low difference_high p_adjusted seeds diverged seeds_needed",
    ),
    "arms": (
        "Every arm",
        "Means over seeds with 95% intervals.",
        "arm panel n accuracy accuracy_low accuracy_high seeds diverged training_accuracy learning_rate at_edge seconds "
        "parameters multiply_adds",
    ),
    "experiments": (
        "Every experiment",
        "Of the learning rate and weight decay that were chosen on validation images.",
        "arm panel n seed accuracy training_accuracy update learning_rate weight_decay at_edge "
        "diverged_candidates seconds experiment",
    ),
}
"""Heading, caption, and columns."""


@dataclass(frozen=True)
class Run:
    """Tables of `store.read`, and the attempts that made them. planned, finished: how many of all its sweeps."""

    folder: Path
    results: pandas.DataFrame
    evaluations: pandas.DataFrame
    seconds: pandas.DataFrame
    attempts: Sequence[Mapping[str, Any]]
    planned: int
    finished: int

    @property
    def name(self) -> str:
        return as_text(str(self.folder))

    @cached_property
    def comparisons(self) -> pandas.DataFrame:
        """Those of the sweep, with what they are told from."""
        return summaries.untold_comparisons(self.results)


def read_run(folder: Path, experiments: Collection[str] | None = None) -> Run:
    """experiments: those that count, if not all do. Raises InputError where no run, or no finished experiment, is there."""
    whole = store.read(folder)
    results = whole if experiments is None else whole.loc[whole["experiment"].isin(list(experiments))]
    if results.empty:
        raise InputError(f"{folder} has no finished experiment yet: run `python -m experiments.sweep` first.")
    tables = (results, store.read(folder, "evaluation"), store.read(folder, "time"))
    planned = len(store.read_config(folder)["experiments"])
    return Run(folder, *tables, store.read_attempts(folder), planned, len(whole))


def page(runs: Sequence[Run]) -> str:
    """The page of one run or of several side by side, with the extra `report`."""
    from cnn_constraints.report.page.charts import charts, heading

    found = [marked.with_costs(run.name, run.results, run.evaluations, run.seconds) for run in runs]
    results = summaries.prepare(pandas.concat(found, ignore_index=True))
    evaluations = pandas.concat([run.evaluations.assign(**{RUN: run.name}) for run in runs], ignore_index=True)
    fields, marks = marked.axes(results), marked.describe(results)
    # Runs are compared with each other only where one experiment lies in several.
    compared = results if RUN in fields else results.drop(columns=RUN)
    comparisons = runs[0].comparisons if len(runs) == 1 else summaries.untold_comparisons(compared)
    ratios, looks = marked.ratios(marks, comparisons), marked.looks(evaluations, results, marks)
    watched = [sentence for run in runs for sentence in tuning_in_words(run.results, run.evaluations)]
    question, *said = map(html.escape, answer(results, marks, comparisons, ratios))
    floor, has_zero = marked.floor(marks)
    marks, looks = (table.assign(**_above(floor, table)) for table in (marks, looks))
    drawn = {name: chart.to_dict() for name, chart in charts(marks, looks, ratios).items()}
    first = " or ".join(ratios["against"].unique()) if "samples" in drawn else ""
    caption = {"cut": ZERO.format(floor=floor) if has_zero else CUT, "first": first}
    figures = [_part("figure", name, *CHARTS[name], "chart", caption) for name in drawn]
    verdicts, *others = [_part("table", name, *TABLES[name][:2], "rows", caption) for name in TABLES]
    tables = {"marks": marks, "comparisons": marked.in_points(comparisons), "ratios": ratios, "looks": looks}
    data = {
        "rows": {name: summaries.plain_rows(table.round(4)) for name, table in tables.items()},
        "charts": drawn,
        "tables": {name: [(field, heading(field)) for field in TABLES[name][2].split()] for name in TABLES},
        "filters": [(name, words.field_in_words(name), words.values_in_words(name, results)) for name in fields],
        "names": list(dict.fromkeys(marks["arm"])),
    }
    told = f'<div id="answer"><p>{question}</p><ul>{"".join(f"<li>{sentence}</li>" for sentence in said)}</ul>'
    told += f"<small>{html.escape(' '.join(watched))}</small></div>"
    title, body = ", ".join(dict.fromkeys(run.name for run in runs)), "".join([verdicts, *figures, *others])
    return assemble(title, _facts(results, runs), told, body, _details(results, runs), data)


def _above(floor: float, table: pandas.DataFrame) -> dict[str, Any]:
    return {name: table[name].clip(lower=floor) for name in ("error", "low", "high") if name in table}


def _part(kind: str, name: str, heading: str, caption: str, place: str, words: Mapping[str, str]) -> str:
    content = f'<p>{html.escape(caption.format(**words))}</p><div class="{place}"></div>'
    return section(f'class="{kind}" id="{name}"', heading, ("csv",) if kind == "table" else ("svg", "png"), content)


def assemble(title: str, facts: str, answer: str, body: str, details: str, data: Mapping[str, Any]) -> str:
    """The HTML file. title and facts: plain text; the others: HTML."""
    # Within a script nothing may look like its end.
    content = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    parts = {"title": html.escape(title), "facts": html.escape(facts), "answer": answer, "body": body, "data": content}
    parts |= {"details": details, "style": _asset("page.css"), "library": _library(), "script": _asset("page.js")}
    return re.sub(r"{{(\w+)}}", lambda place: parts[place[1]], _asset("page.html"))


def section(attributes: str, heading: str, saved: Iterable[str], content: str) -> str:
    """A part of the page, of HTML. saved: the kinds of files as which the reader can have it."""
    buttons = "".join(f'<button data-save="{kind}">{kind.upper()}</button>' for kind in saved)
    header = f'<header><h2>{heading}</h2><div class="save">{buttons}</div></header>'
    return f"<section {attributes}>{header}{content}</section>"


def _facts(results: pandas.DataFrame, runs: Sequence[Run]) -> str:
    seeds, diverged = len(set(results["seed"])), sum(results["diverged"].tolist())
    finished, planned = sum(run.finished for run in runs), sum(run.planned for run in runs)
    facts = {
        " and ".join(results["data.source"].unique()): True,
        f"{len(results):,} experiments": True,
        "1 seed, so no intervals" if seeds == 1 else f"{seeds} seeds": True,
        f"{diverged:,} experiments diverged at every learning rate and have no error: try lower ones": diverged > 0,
        f"{finished:,} of {planned:,} experiments were finished when this page was made": finished < planned,
    }
    return " · ".join(fact for fact, is_true in facts.items() if is_true)


def _details(results: pandas.DataFrame, runs: Sequence[Run]) -> str:
    """What all experiments have in common, and where they were made."""
    words = {name: results[name].map(str).unique() for name in [*summaries.config_fields(results), *PLACES]}
    unsaid = ("None", "nan", "<NA>", "()", "[]")
    common = {name: values[0] for name, values in words.items() if len(values) == 1 and values[0] not in unsaid}
    made = {}
    for run in runs:
        last = run.attempts[-1] if run.attempts else {}
        packages = last.get("packages", {})
        versions = [f"{name} {packages[name]}" for name in ("python", "jax", "flax", "optax") if name in packages]
        devices, commit = sorted(set(last.get("devices", []))), f"commit {str(last.get('commit'))[:12]}"
        made[run.name] = ", ".join([last.get("started", "unknown"), commit, *devices, *versions])
    return _list("In common", common) + _list("Made", made)


def _list(heading: str, entries: Mapping[str, str]) -> str:
    lines = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in entries.items())
    return f"<h3>{heading}</h3><dl>{lines}</dl>"


def _asset(name: str) -> str:
    return resources.files("cnn_constraints.report.page").joinpath(name).read_text(encoding="utf-8")


def _library() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, which takes seconds to make and is kept in the cache folder."""
    import vl_convert

    path = settings.cache_folder() / f"vega_{metadata.version('vl-convert-python')}.js"
    if not path.exists():
        settings.make_cache_folder(path.parent)
        script = vl_convert.javascript_bundle().replace("</script", "<\\/script")  # pyright: ignore[reportCallIssue]
        with atomic_write(path) as temporary:
            temporary.write_text(script, encoding="utf-8")
    return path.read_text(encoding="utf-8")
