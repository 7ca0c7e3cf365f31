"""What figures and the page draw: arms with their intervals, experiments, looks while training, ratios of sample sizes."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas

from cnn_constraints import summaries
from cnn_constraints.statistics import MOST_SEEDS, Interval, mean_interval, ratio_interval, samples_of_seeds
from cnn_constraints.summaries import CELL, CONDITIONS, DELTA, N_TRAIN, RUN, SIZES, plain_rows, words

UNKNOWN_STEP = 0.1
"""Percent: that of test errors of which all are 0."""

COSTS: dict[str, Any] = {"seconds": 0.0, "at_edge": "", RUN: ""}
"""What `with_costs` adds, and where it has not."""

OF_EXPERIMENT = (*("seed", "learning_rate", "weight_decay", "update"), *("diverged_candidates", "experiment"), *COSTS)

Rows = list[dict[str, Any]]


def axes(table: pandas.DataFrame) -> list[str]:
    """The config fields that tell arms apart, each of them arms that agree in those before it; the folder, last of all,
    tells apart only what nothing else does.
    """
    names = dict.fromkeys((*CONDITIONS, N_TRAIN, CELL, *SIZES, *summaries.config_fields(table)))
    return summaries.telling_fields(table, [], [name for name in names if name in table])


def arm_fields(fields: Iterable[str]) -> list[str]:
    """Of the `axes`, those by which arms are named, as `summaries.comparisons` does: the cell, and its sizes."""
    return list(dict.fromkeys([CELL, *SIZES, *(name for name in fields if name not in (RUN, *CONDITIONS, N_TRAIN))]))


def interval_in_words(found: Interval, digits: int = 1) -> str:
    """The estimate, and its interval if it has one."""
    known = np.isfinite([found.low, found.high]).all()
    return f"{found.estimate:.{digits}f}" + (f" [{found.low:.{digits}f}, {found.high:.{digits}f}]" if known else "")


def with_costs(
    name: str, results: pandas.DataFrame, looks: pandas.DataFrame, times: pandas.DataFrame
) -> pandas.DataFrame:
    """The table of a run with its name as RUN, `seconds`, and in words what was chosen `at_edge` of what was tried."""
    edges = summaries.at_edge(results, looks).fillna(False).to_dict("records")
    in_words = lambda edge: words.field_in_words(str(edge).removesuffix("_at_edge"))
    told = [", ".join(in_words(one) for one in edge if edge[one]) for edge in edges]
    own = dict(zip(times["experiment"], times["seconds"], strict=True))
    seconds = [own.get(experiment, 0.0) for experiment in results["experiment"]]
    return results.assign(at_edge=told, seconds=seconds, **{RUN: name})


def describe(results: pandas.DataFrame) -> pandas.DataFrame:
    """A row an arm and a row an experiment, as `kind` says, of a table of `store.read`, or one of `with_costs`.

    Columns: the `axes` in words; `arm`; its condition, as `panel` and, with n, `panel_n`; `line`, with its delta-sweep for
    cell and delta; `cell`, `n`, `delta` in words; errors and accuracies in percent, with the interval of a mean; what
    training came to. `place`, `delta_place`: n and the rank of delta, a little moved, so that no bar hides another.
    """
    known = results.assign(**{name: value for name, value in COSTS.items() if name not in results})
    table = summaries.in_order(summaries.prepare(known))
    fields = axes(table)
    panel, sizes = [name for name in fields if name in (RUN, *CONDITIONS)], [name for name in fields if name == N_TRAIN]
    deltas, own = words.values_in_words(DELTA, table), arm_fields(fields)
    rows: Rows = []
    for _, of_arm in summaries.groups(table, fields):
        members = plain_rows(of_arm)
        first, line = members[0], members[0] | {CELL: summaries.sweep_of(members[0][CELL])}
        shared = {name: words.value_in_words(name, first[name]) for name in fields}
        shared |= {"run": first[RUN], "cell": first[CELL], "n": first[N_TRAIN]}
        shared |= {"delta": words.value_in_words(DELTA, first[DELTA]), "arm": words.arm_in_words(first, own)}
        shared |= {"line": words.arm_in_words(line, [name for name in own if name != DELTA])}
        shared |= {"panel": words.settings_in_words(first, panel)}
        shared |= {"panel_n": words.settings_in_words(first, [*panel, *sizes])}
        shared |= {name: first[name] for name in ("parameters", "multiply_adds") if name in first}
        experiments: Rows = [
            {name: one[name] for name in OF_EXPERIMENT if name in one} | _percent(one) for one in members
        ]
        done = [one for one in experiments if one["error"] is not None]
        found = mean_interval(one["error"] for one in done)
        mean = {"error": found.estimate, "low": found.low, "high": found.high, "told": interval_in_words(found, 2)}
        mean |= {"accuracy": 100 - found.estimate, "accuracy_low": 100 - found.high, "accuracy_high": 100 - found.low}
        mean |= {"seeds": found.seeds, "diverged": len(experiments) - len(done) or None}
        if done:
            mean["training_accuracy"] = np.mean([one["training_accuracy"] for one in done])
            mean["learning_rate"] = np.median([one["learning_rate"] for one in done])
        mean["seconds"] = sum(one["seconds"] for one in experiments)
        mean["at_edge"] = sum(1 for one in experiments if one["at_edge"]) or None
        rows.append({"kind": "arm"} | shared | mean)
        rows += [{"kind": "experiment"} | shared | one for one in experiments]
    marks = pandas.DataFrame(rows)
    span, apart = marks["n"].max() / marks["n"].min(), min(0.012, 0.06 / marks["arm"].nunique())
    place = marks["n"] * span ** (apart * _steps(marks["arm"]))
    return marks.assign(place=place, delta_place=marks["delta"].map(deltas.index) + 0.05 * _steps(marks["line"]))


def _percent(row: Mapping[str, Any]) -> dict[str, Any]:
    names = {"test_accuracy": "accuracy", "train_accuracy": "training_accuracy"}
    found = {to: None if row[name] is None else 100 * row[name] for name, to in names.items()}
    return found | {"error": None if found["accuracy"] is None else 100 - found["accuracy"]}


def _steps(names: Any) -> np.ndarray:
    """To both sides of the middle, one for each name, in order of appearance."""
    places, different = pandas.factorize(names)
    return places - (len(different) - 1) / 2


def kinds(arms: pandas.DataFrame) -> list[str]:
    """Which charts these arms allow: none where every experiment diverged."""
    if not any(arms["seeds"] > 0):
        return []
    several = any(len(set(of_cell["delta"])) > 1 for _, of_cell in arms.groupby("cell"))
    return ["learning_curves" if len(set(arms["n"])) > 1 else "cells", *(["delta_curve"] if several else [])]


def deltas(marks: pandas.DataFrame) -> list[str]:
    """Those of the places of a delta curve. The last may be all offsets: there conv is shared, and local dense."""
    return marks.sort_values("delta_place")["delta"].drop_duplicates().tolist()


def floor(marks: pandas.DataFrame) -> tuple[float, bool]:
    """Where a logarithmic axis of errors ends, in percent, and whether an error is 0, which stands there.

    It is half of the lowest error; where one is 0, half of one test image: of the smallest step between the errors on the
    images of one source.
    """
    found = marks.loc[(marks["kind"] == "experiment") & marks["error"].notna()]
    errors = found["error"].astype(float).round(9)
    if errors.empty or min(errors) > 0:
        return min(errors, default=UNKNOWN_STEP) / 2, False
    sources = found["data.source"] if "data.source" in found else np.zeros(len(found))
    steps = [np.diff(np.unique([0.0, *one])) for _, one in errors.groupby(sources)]
    return min(np.concatenate(steps), default=UNKNOWN_STEP) / 2, True


def looks(evaluations: pandas.DataFrame, results: pandas.DataFrame, marks: pandas.DataFrame) -> pandas.DataFrame:
    """A row an arm, update and kind of `images`: the mean error over seeds of the chosen candidate, in percent."""
    keys, splits = [RUN, "experiment", "candidate"], {"train_accuracy": "training", "validation_accuracy": "validation"}
    chosen: Any = evaluations.merge(results[keys], on=keys).rename(columns=splits | {RUN: "run"})
    experiments = marks.loc[marks["kind"] == "experiment", ["run", "experiment", "arm", "panel_n"]]
    chosen = chosen.merge(experiments, on=["run", "experiment"])
    chosen = chosen.melt(["arm", "panel_n", "update"], [*splits.values()], "images", "accuracy").dropna()
    grouped = chosen.groupby(["arm", "panel_n", "images", "update"], sort=False)["accuracy"]
    means = grouped.agg(mean="mean", seeds="size").reset_index()
    arms = marks.loc[marks["kind"] == "arm", ["arm", "panel_n", "cell", "n", *axes(results)]]
    return arms.merge(means.assign(error=100 * (1 - means["mean"])).drop(columns="mean"), on=["arm", "panel_n"])


def ratios(marks: pandas.DataFrame, comparisons: pandas.DataFrame) -> pandas.DataFrame:
    """How many times as many images an arm needs to reach the mean error that the most constrained one has with n: the mean
    ratio over seeds with its 95% interval, `statistics.ratio_interval`.

    An arm that does not get there with any seed has no ratio, and `told` says so. There is no row for one that gets there
    with some seeds, or with its smallest size.
    """
    constrained = {arm[CELL] for arm in comparisons.loc[comparisons["field"] == CELL, "first_arm"]}
    rows: Rows = []
    for _, of_panel in marks.groupby("panel", sort=False):
        arms = {str(arm): of_arm for arm, of_arm in of_panel.groupby("arm", sort=False)}
        curves = {arm: curve for arm, of_arm in arms.items() if (curve := _curve(of_arm)) is not None}
        rank = lambda arm, arms=arms: tuple(arms[arm][["cell", "parameters"]].iloc[0])
        first, *others = sorted(curves, key=lambda arm: (rank(arm)[0] not in constrained, rank(arm)[1])) or [""]
        for arm in others:
            own = arms[arm].iloc[0].drop(["n", N_TRAIN], errors="ignore").to_dict() | {"against": first}
            if curves[arm].index.equals(curves[first].index) and curves[arm].columns.equals(curves[first].columns):
                rows += [own | row for row in _ratios(curves[arm], curves[first])]
    return pandas.DataFrame(rows)


def _curve(of_arm: pandas.DataFrame) -> pandas.DataFrame | None:
    """Errors as fractions, a row a seed and a column a training-set size; None where some are missing."""
    experiments = of_arm.loc[of_arm["kind"] == "experiment"]
    curve = experiments.pivot_table(index="seed", columns="n", values="error", dropna=False) / 100
    return curve if curve.shape[1] > 1 and curve.notna().all(axis=None) else None


def _ratios(curve: pandas.DataFrame, first: pandas.DataFrame) -> Rows:
    sizes = curve.columns.tolist()
    rows: Rows = []
    for n, target in zip(sizes, first.to_numpy().mean(axis=0).tolist(), strict=True):
        if not target > 0:
            continue
        needed, reference = (samples_of_seeds(sizes, table.to_numpy(), target) for table in (curve, first))
        row = {"n": n, "target": 100 * target, "seeds": len(needed), "ratio": np.nan, "largest": sizes[-1]}
        if np.isinf(needed).all():
            rows.append(row | {"told": f"not with {sizes[-1]:,} images"})
        elif np.isfinite([needed, reference]).all() and (needed > sizes[0]).all():
            found = ratio_interval(needed, reference)
            ends = {"ratio": found.estimate, "low": found.low, "high": found.high}
            rows.append(row | ends | {"told": interval_in_words(found)})
    return rows


def in_points(comparisons: pandas.DataFrame) -> pandas.DataFrame:
    """With what a pair has in common in words, as `where`, and differences in percentage points."""
    rows: Rows = []
    for row in plain_rows(comparisons):
        common = {name: value for name, value in row.pop("equal").items() if words.is_heeded(name, value)}
        told = {name: words.value_in_words(name, value) for name, value in common.items()}
        points = {name: 100 * row[name] for name in row if name.startswith("difference") and row[name] is not None}
        needed = f"more than {MOST_SEEDS:,}" if (row["seeds_needed"] or 0) > MOST_SEEDS else row["seeds_needed"]
        more = {"where": words.settings_in_words(common, common), "seeds_needed": needed}
        rows.append(row | told | points | more | {"diverged": row["diverged"] or None})
    untold = [name for name in summaries.UNTOLD if name != "equal"]
    return pandas.DataFrame(rows, columns=[*comparisons.drop(columns="equal"), "where"]).drop(columns=untold)
