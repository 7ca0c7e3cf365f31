"""From the tables of a run to the rows that the page filters and draws: one an experiment, with short names."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas

from cnn_constraints import summaries
from cnn_constraints.report.tables import CHAMPIONS, comparisons
from cnn_constraints.statistics import ratio_interval, samples_of_seeds
from cnn_constraints.summaries import CELL, CONDITIONS, DELTA, N_TRAIN, READOUT, SIZES, SWEEPS

RUN = "run"

LEADING = {SWEEPS[cell]: cell for cell in ("conv", "local")}
"""The cell that a delta-sweep begins with."""

ALL_OFFSETS = 10**9
"""Ranks after every delta."""

Rows = list[dict[str, Any]]


def describe(results: pandas.DataFrame, seconds: Mapping[str, float]) -> pandas.DataFrame:
    """A row an experiment of `store.read` tables, with a column `run`.

    Columns: `experiment`, `run`, `cell`, `arm` in words (all but seed and n), `condition` in words (of those that vary),
    `panel` (condition and n), `readout`, `n`, `seed`, `delta` ("all" for none), `error` and `accuracy` in percent (missing
    where an experiment diverged), `training_accuracy`, `learning_rate`, `weight_decay`, `diverged_candidates` if any,
    `parameters`, `multiply_adds`, `seconds`. Of the delta-sweep: `line`, the arm without cell and delta, and `leading`, the
    cell that it begins with. `place` and `delta_place`: n, and the rank of delta, a little moved, so that bars do not hide
    each other.
    """
    table = summaries.prepare(results)
    conditions = [name for name in (RUN, *CONDITIONS) if summaries.varies(table, name)]
    telling = _telling(table)
    condition = _joined(table, conditions)
    images = [f"{n:,} images" for n in table[N_TRAIN]]
    several = summaries.varies(table, N_TRAIN)
    rows = pandas.DataFrame(
        {
            "experiment": table["experiment"],
            "run": table[RUN],
            "cell": table[CELL],
            "arm": _arms(table, telling),
            "line": _lines(table, telling),
            "leading": [LEADING.get(weights_of(cell), cell) for cell in table[CELL].tolist()],
            "condition": condition,
            "panel": [
                ", ".join(filter(None, [words, n if several else ""]))
                for words, n in zip(condition, images, strict=True)
            ],
            "readout": table[READOUT],
            "n": table[N_TRAIN],
            "seed": table["seed"],
            "delta": [summaries.in_words(delta) for delta in table[DELTA]],
            "error": (100 * (1 - table["test_accuracy"])).round(4),
            "accuracy": (100 * table["test_accuracy"]).round(4),
            "training_accuracy": (100 * table["train_accuracy"]).round(4),
            **{name: table[name] for name in ("learning_rate", "weight_decay", "parameters", "multiply_adds")},
            "diverged_candidates": table["diverged_candidates"].replace(0, "")
            if "diverged_candidates" in table
            else "",
            "seconds": [round(seconds.get(experiment, 0.0), 3) for experiment in table["experiment"]],
        }
    )
    runs, cells = list(dict.fromkeys(table[RUN])), table[CELL].map(summaries.cell_rank)
    rows = rows.assign(delta_rank=rows["delta"].map(_delta_rank), run_rank=rows["run"].map(runs.index), cell_rank=cells)
    rows = rows.sort_values(["run_rank", "cell_rank", "n", "delta_rank"], kind="stable", ignore_index=True)
    rows = rows.drop(columns=["run_rank", "cell_rank"])
    return rows.assign(place=_beside_each_other(rows), delta_place=_delta_places(rows))


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
        curves = {str(arm): _curve(of_arm) for arm, of_arm in of_condition.groupby("arm", sort=False)}
        curves = {arm: curve for arm, curve in curves.items() if curve is not None}
        first = min(curves, key=lambda arm: _champion(of_condition, arm), default=None)
        if first is None:
            continue
        for arm, curve in curves.items():
            same = curve.index.equals(curves[first].index) and curve.columns.equals(curves[first].columns)
            if arm != first and same:
                shown = of_condition.loc[of_condition["arm"] == arm].iloc[0]
                own = {"condition": condition, "arm": arm, "against": first}
                own |= {name: shown[name] for name in ("cell", "readout", "run")}
                rows += [own | row for row in _ratios(curve, curves[first])]
    return rows


def differences(results: pandas.DataFrame) -> Rows:
    """`tables.comparisons` of each run, data set and intervention: differences of test accuracy in percentage points, with
    half the width of their interval.
    """
    conditions = [name for name in (RUN, *CONDITIONS) if summaries.varies(results, name)]
    rows: Rows = []
    for shown, part in summaries.groups(results, [RUN, "data.source", "data.intervention"]):
        found = comparisons(part)
        if found is None:
            continue
        for row, own, other in zip(found.pairs.to_dict("records"), found.own, found.others, strict=True):
            known = row["seeds"] > 0
            half = 50 * (row["difference_high"] - row["difference_low"])
            rows.append(
                {
                    "cell": row[CELL],
                    "arm": f"{found.champion} {own}".strip(),
                    "against": ", ".join(filter(None, [row[CELL], other])),
                    "condition": ", ".join(str((shown | row)[name]) for name in conditions),
                    "readout": row[READOUT],
                    "run": shown[RUN],
                    "n": row[N_TRAIN],
                    "difference": round(100 * row["difference"], 3) if known else None,
                    "half": round(float(half), 3) if row["seeds"] > 1 else None,
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
        errors = [
            [None if np.isnan(error) else round(error, 2) for error in 100 * (1 - rows[column].to_numpy(float))]
            for column in ("train_accuracy", "validation_accuracy")
        ]
        curves[str(experiment)] = [rows["update"].tolist(), *errors]
    return curves


def _telling(table: pandas.DataFrame) -> list[str]:
    """Fields but conditions, cell and sizes that tell arms apart."""
    known = [RUN, *CONDITIONS, N_TRAIN, CELL, *SIZES]
    return summaries.telling_fields(table, [*known, "seed"], summaries.config_fields(table))


def _arms(table: pandas.DataFrame, telling: list[str]) -> list[str]:
    """The cell, its sizes where they vary, and other fields that tell arms apart."""
    sizes = [name for name in SIZES if summaries.telling_fields(table, [CELL], [name])]
    return [
        ", ".join([" ".join([row[CELL], *_given(row, sizes)]), *_other(row, telling)])
        for row in table.to_dict("records")
    ]


def _lines(table: pandas.DataFrame, telling: list[str]) -> list[str]:
    """Tied or untied weights, and what tells arms apart but delta."""
    return [
        ", ".join([weights_of(row[CELL]), *_given(row, SIZES[1:]), *_other(row, telling)])
        for row in table.to_dict("records")
    ]


def _given(row: Mapping[Any, Any], sizes: Sequence[str]) -> list[str]:
    # No delta is no feature: dense is just dense.
    return [f"{_short(name)} {row[name]}" for name in sizes if not pandas.isna(row[name])]


def _other(row: Mapping[Any, Any], telling: Sequence[str]) -> list[str]:
    return [f"{_short(name)} {summaries.in_words(row[name])}" for name in telling]


def weights_of(cell: str) -> str:
    """The delta-sweep of a cell; one that has none is its own."""
    return SWEEPS.get(cell, cell)


def _delta_rank(delta: str) -> int:
    return ALL_OFFSETS if delta == "all" else int(delta)


def _delta_places(rows: pandas.DataFrame) -> list[float]:
    """Ranks of the deltas, equally spaced."""
    deltas, leading = sorted(set(rows["delta_rank"])), list(dict.fromkeys(rows["leading"]))
    apart = [0.05 * (leading.index(name) - (len(leading) - 1) / 2) for name in rows["leading"]]
    return [round(deltas.index(rank) + shift, 3) for rank, shift in zip(rows["delta_rank"], apart, strict=True)]


def _beside_each_other(rows: pandas.DataFrame) -> list[float]:
    arms = list(dict.fromkeys(rows["arm"]))
    span = max(rows["n"]) / min(rows["n"])
    apart = min(0.012, 0.06 / len(arms))
    steps = [arms.index(arm) - (len(arms) - 1) / 2 for arm in rows["arm"]]
    return [round(n * span ** (apart * step), 3) for n, step in zip(rows["n"], steps, strict=True)]


def _joined(table: pandas.DataFrame, fields: list[str]) -> list[str]:
    return [", ".join(str(row[name]) for name in fields) for row in table.to_dict("records")]


def _short(name: str) -> str:
    return name.rpartition(".")[2].replace("_", " ")


def _curve(of_arm: pandas.DataFrame) -> pandas.DataFrame | None:
    """Errors as fractions, a row a seed and a column a training-set size; None where some are missing."""
    curve = of_arm.pivot_table(index="seed", columns="n", values="error", dropna=False) / 100
    return curve if curve.shape[1] > 1 and curve.notna().all(axis=None) else None


def _champion(experiments: pandas.DataFrame, arm: str) -> tuple[int, float]:
    """A sorting key: the most constrained cell, and of its arms the one with the least error."""
    of_arm = experiments.loc[experiments["arm"] == arm]
    cell = of_arm["cell"].iloc[0]
    return CHAMPIONS.index(cell) if cell in CHAMPIONS else len(CHAMPIONS), float(of_arm["error"].mean())


def _ratios(curve: pandas.DataFrame, first: pandas.DataFrame) -> Rows:
    sizes = curve.columns.tolist()
    rows: Rows = []
    for n, target in zip(sizes, first.to_numpy().mean(axis=0).tolist(), strict=True):
        if not target > 0:
            continue
        needed, reference = (samples_of_seeds(sizes, table.to_numpy(), target) for table in (curve, first))
        inside = np.isfinite([needed, reference]).all() and (needed > sizes[0]).all()
        if not inside:
            continue
        found = ratio_interval(needed, reference)
        # One seed has no interval.
        known = found.low > 0 and np.isfinite(found.high)
        bounds = [round(found.low, 3), round(found.high, 3)] if known else [None, None]
        told = f"{found.estimate:.2f}" + (f" ({found.low:.2f} to {found.high:.2f})" if known else "")
        row = {"n": n, "target": round(100 * target, 3), "ratio": round(found.estimate, 3), "told": told}
        rows.append(row | {"low": bounds[0], "high": bounds[1], "seeds": len(needed)})
    return rows
