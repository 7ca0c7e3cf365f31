"""From the tables of a run to the rows that the page filters and draws: one an experiment, with short names."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas

from cnn_constraints import summaries
from cnn_constraints.statistics import ratio_interval, samples_of_seeds
from cnn_constraints.summaries import CELL, CONDITIONS, DELTA, N_TRAIN, READOUT, SIZES, SWEEPS

RUN = "run"

LEADING = {SWEEPS[cell]: cell for cell in ("conv", "local")}
"""The cell that a delta-sweep begins with."""

ALL_OFFSETS = 10**9
"""Ranks after every delta."""

Rows = list[dict[str, Any]]


def describe(results: pandas.DataFrame, seconds: Mapping[str, float]) -> pandas.DataFrame:
    """A row an experiment of a table of `store.read` with a column `run`.

    Columns: `experiment`, `run`, `cell`, `arm` in words (all but seed and n), `condition` in words (of those that vary),
    `panel` (condition and n), `readout`, `n`, `seed`, `delta` ("all" for none), `error` and `accuracy` in percent (missing
    where an experiment diverged), `training_accuracy`, `learning_rate`, `weight_decay`, `diverged_candidates` if any,
    `parameters`, `multiply_adds`, `seconds`. Of the delta-sweep: `line`, the arm without cell and delta, and `leading`, the
    cell that it begins with. `place` and `delta_place`: n, and the rank of delta, a little moved, so that bars do not hide
    each other.
    """
    table = summaries.prepare(results)
    known = [RUN, *CONDITIONS, N_TRAIN, CELL, *SIZES, "seed"]
    telling = summaries.telling_fields(table, known, summaries.config_fields(table))
    sizes = [name for name in SIZES if summaries.telling_fields(table, [CELL], [name])]
    conditions = [name for name in (RUN, *CONDITIONS) if summaries.varies(table, name)]
    several_sizes = summaries.varies(table, N_TRAIN)
    rows = []
    for row in table.to_dict("records"):
        # No delta is no feature: dense is just dense.
        given = {name: f"{_short(name)} {row[name]}" for name in SIZES if not pandas.isna(row[name])}
        other = [f"{_short(name)} {summaries.in_words(row[name])}" for name in telling]
        condition, weights = ", ".join(str(row[name]) for name in conditions), summaries.sweep_of(row[CELL])
        images = f"{row[N_TRAIN]:,} images" if several_sizes else ""
        rows.append(
            {
                "experiment": row["experiment"],
                "run": row[RUN],
                "cell": row[CELL],
                "arm": ", ".join([" ".join([row[CELL], *(given[name] for name in sizes if name in given)]), *other]),
                "line": ", ".join([weights, *(words for name, words in given.items() if name != DELTA), *other]),
                "leading": LEADING.get(weights, row[CELL]),
                "condition": condition,
                "panel": ", ".join(filter(None, [condition, images])),
                "readout": row[READOUT],
                "n": row[N_TRAIN],
                "seed": row["seed"],
                "delta": summaries.in_words(row[DELTA]),
                "error": round(100 * (1 - row["test_accuracy"]), 4),
                "accuracy": round(100 * row["test_accuracy"], 4),
                "training_accuracy": round(100 * row["train_accuracy"], 4),
                **{name: row[name] for name in ("learning_rate", "weight_decay", "parameters", "multiply_adds")},
                "diverged_candidates": row["diverged_candidates"] or "",
                "seconds": round(seconds.get(row["experiment"], 0.0), 3),
                "delta_rank": ALL_OFFSETS if pandas.isna(row[DELTA]) else row[DELTA],
            }
        )
    runs = list(dict.fromkeys(table[RUN]))
    rows.sort(key=lambda row: (runs.index(row["run"]), summaries.cell_rank(row["cell"]), row["n"], row["delta_rank"]))
    found = pandas.DataFrame(rows)
    span, apart = max(found["n"]) / min(found["n"]), min(0.012, 0.06 / found["arm"].nunique())
    place = found["n"] * span ** (apart * _steps(found["arm"].tolist()))
    delta_place = found["delta_rank"].rank(method="dense") - 1 + 0.05 * _steps(found["leading"].tolist())
    return found.assign(place=place.round(3), delta_place=delta_place.round(3))


def _steps(names: Sequence[str]) -> np.ndarray:
    """To both sides of the middle, one for each name, in order of appearance."""
    different = list(dict.fromkeys(names))
    return np.array([different.index(name) for name in names]) - (len(different) - 1) / 2


def is_delta_sweep(rows: pandas.DataFrame) -> bool:
    """Whether a cell has several deltas."""
    return any(len(set(of_cell["delta"])) > 1 for _, of_cell in rows.groupby("cell"))


def deltas(rows: pandas.DataFrame) -> list[str]:
    """The deltas, from the least to all offsets."""
    return list(dict.fromkeys(rows.sort_values("delta_rank")["delta"]))


def sample_ratios(experiments: pandas.DataFrame) -> Rows:
    """How many times as many images an arm needs to reach the mean error that the most constrained arm has with n: the mean
    ratio over seeds with its 95% interval, `statistics.ratio_interval`. An arm that does not get there, at one seed or
    more, has no ratio there; neither has one whose first size is enough.
    """
    rows: Rows = []
    for condition, of_condition in experiments.groupby("condition", sort=False):
        arms = {str(arm): of_arm for arm, of_arm in of_condition.groupby("arm", sort=False)}
        curves = {arm: curve for arm, of_arm in arms.items() if (curve := _curve(of_arm)) is not None}
        first = min(curves, key=lambda arm: _constraint_rank(arms[arm]), default="")
        for arm, curve in curves.items() if first else ():
            same = curve.index.equals(curves[first].index) and curve.columns.equals(curves[first].columns)
            if arm != first and same:
                own = {"condition": condition, "arm": arm, "against": first}
                own |= {name: arms[arm][name].iloc[0] for name in ("cell", "readout", "run")}
                rows += [own | row for row in _ratios(curve, curves[first])]
    return rows


def differences(results: pandas.DataFrame) -> Rows:
    """`summaries.comparisons` of each run, in percentage points, with half of their interval."""
    conditions = [name for name in (RUN, *CONDITIONS) if summaries.varies(results, name)]
    rows: Rows = []
    for shown, part in summaries.groups(results, [RUN]):
        for row in summaries.plain_rows(summaries.comparisons(part)):
            known, equal = row["seeds"] > 0, shown | row
            half = 50 * (row["difference_high"] - row["difference_low"]) if row["seeds"] > 1 else None
            rows.append(
                {
                    "cell": row["second"].split(",")[0],
                    "arm": row["first"],
                    "against": row["second"],
                    "condition": ", ".join(str(equal[name]) for name in conditions if equal.get(name) is not None),
                    "readout": equal.get(READOUT, part[READOUT].iloc[0]),
                    "run": shown[RUN],
                    "n": int(equal.get(N_TRAIN, part[N_TRAIN].iloc[0])),
                    "difference": round(100 * row["difference"], 3) if known else None,
                    "half": None if half is None else round(float(half), 3),
                    "seeds": row["seeds"],
                    "verdict": row["verdict"] if known else "diverged",
                }
            )
    return rows


def training_curves(evaluations: pandas.DataFrame, results: pandas.DataFrame) -> dict[str, list[Any]]:
    """By experiment: updates, and errors in percent on training and validation images, of the chosen candidate."""
    chosen = evaluations.merge(results[["experiment", "candidate"]], on=["experiment", "candidate"])
    curves = {}
    for experiment, rows in chosen.groupby("experiment", sort=False):
        errors = (100 * (1 - rows[["train_accuracy", "validation_accuracy"]].astype(float))).round(2)
        told = errors.astype(object).where(errors.notna(), None)
        curves[str(experiment)] = [rows["update"].tolist(), *(told[name].tolist() for name in told)]
    return curves


def _short(name: str) -> str:
    return name.rpartition(".")[2].replace("_", " ")


def _curve(of_arm: pandas.DataFrame) -> pandas.DataFrame | None:
    """Errors as fractions, a row a seed and a column a training-set size; None where some are missing."""
    curve = of_arm.pivot_table(index="seed", columns="n", values="error", dropna=False) / 100
    return curve if curve.shape[1] > 1 and curve.notna().all(axis=None) else None


def _constraint_rank(of_arm: pandas.DataFrame) -> tuple[float, float]:
    """A sorting key: the most constrained cell, and of its arms the one with the least error."""
    return summaries.free_weights(of_arm["cell"].iloc[0]), float(np.mean(of_arm["error"]))


def _ratios(curve: pandas.DataFrame, first: pandas.DataFrame) -> Rows:
    sizes = curve.columns.tolist()
    rows: Rows = []
    for n, target in zip(sizes, first.to_numpy().mean(axis=0).tolist(), strict=True):
        if not target > 0:
            continue
        needed, reference = (samples_of_seeds(sizes, table.to_numpy(), target) for table in (curve, first))
        if not np.isfinite([needed, reference]).all() or (needed <= sizes[0]).any():
            continue
        found = ratio_interval(needed, reference)
        # One seed has no interval.
        known = found.low > 0 and np.isfinite(found.high)
        bounds = [round(found.low, 3), round(found.high, 3)] if known else [None, None]
        told = f"{found.estimate:.2f}" + (f" ({found.low:.2f} to {found.high:.2f})" if known else "")
        row = {"n": n, "target": round(100 * target, 3), "ratio": round(found.estimate, 3), "told": told}
        rows.append(row | {"low": bounds[0], "high": bounds[1], "seeds": len(needed)})
    return rows
