"""Whether tuning has looked far enough: what was chosen lies inside of what was tried, and before the last look."""

from collections.abc import Mapping
from typing import Any

import pandas

TUNED = {
    "learning_rate": "training.learning_rates",
    "weight_decay": "training.weight_decays",
    "penalty_strength": "training.penalty_strengths",
}
"""What is chosen, and the grid that it is chosen from."""

LAST_LOOK = "last_look"


def at_edge(results: pandas.DataFrame, evaluations: pandas.DataFrame | None = None) -> pandas.DataFrame:
    """For each row of a table of `store.read` whether what was chosen is an end of what was tried: `learning_rate_at_edge`,
    `weight_decay_at_edge`, `penalty_strength_at_edge`; and whether the best moment is the `last_look`.

    evaluations: those of the run, which say what was tried where grids were extended. A value is missing where there was
    no choice, where every candidate diverged, and for a grid that was extended without evaluations. Nothing lies beyond 0.
    """
    edges = {f"{name}_at_edge": column.abs().astype("boolean") for name, column in _ends(results, evaluations).items()}
    return pandas.DataFrame({**edges, LAST_LOOK: _is_last_look(results)}, index=results.index)


def shares_at_edge(results: pandas.DataFrame, evaluations: pandas.DataFrame | None = None) -> dict[str, float]:
    """The share of experiments for which each column of `at_edge` is true; NaN where all of it is missing."""
    edges = at_edge(results, evaluations)
    return {str(name): float(column.dropna().astype(float).mean()) for name, column in edges.items()}


def tuning_in_words(results: pandas.DataFrame, evaluations: pandas.DataFrame | None = None) -> list[str]:
    """A sentence for each end at which something was chosen, and one for the last look; none where all is well."""
    sentences = []
    for name, column in _ends(results, evaluations).items():
        chosen, what = column.dropna().tolist(), str(name).replace("_", " ")
        for end, which, more in ((1, "largest", "larger"), (-1, "smallest", "smaller")):
            if end in chosen:
                sentences.append(
                    f"In {chosen.count(end):,} of {len(chosen):,} experiments the chosen {what} is the {which} "
                    f"that was tried: add {more} ones to {TUNED[str(name)]}, or say --training.extend-grid 3."
                )
    last = _is_last_look(results).dropna().tolist()
    if any(last):
        sentences.append(
            f"In {sum(last):,} of {len(last):,} experiments the best moment is the last look: raise training.updates."
        )
    return sentences


def _is_last_look(results: pandas.DataFrame) -> Any:
    return (results["update"].astype("Int64") == results["training.updates"]).astype("boolean")


def _ends(results: pandas.DataFrame, evaluations: pandas.DataFrame | None) -> pandas.DataFrame:
    """For each row and what is chosen: 1 at the largest that was tried, -1 at the smallest, 0 inside, else missing."""
    tried: dict[Any, pandas.DataFrame] = {}
    if evaluations is not None:
        tried = {name: looks for name, looks in evaluations.groupby("experiment")}
    rows = [
        {name: _end(row, name, tried.get(row["experiment"])) for name in TUNED} for row in results.to_dict("records")
    ]
    return pandas.DataFrame(rows, index=results.index, columns=[*TUNED], dtype="Int64")


def _end(row: Mapping[Any, Any], name: str, tried: pandas.DataFrame | None) -> int | None:
    chosen = row[name]
    values = set(row[TUNED[name]] if tried is None else tried[name])
    if len(values) < 2 or chosen not in values:
        return None
    if tried is None and row.get("training.extend_grid") and chosen in (min(values), max(values)):
        return None
    return int(chosen == max(values)) - int(chosen == min(values) > 0)
