"""What was chosen at an end of what was tried is found, whatever was tried."""

from collections.abc import Sequence

import numpy as np
import pandas
import pytest
from made_up_results import experiments_of, make_results

from cnn_constraints.experiment import axis
from cnn_constraints.summaries import at_edge, shares_at_edge, summarise, tuning_in_words

RATES = (0.001, 0.01, 0.1)


def results_of(chosen: Sequence[float], grid: tuple[float, ...] = RATES, **measured: list[float]) -> pandas.DataFrame:
    """An experiment for each learning rate that was chosen."""
    seeds = axis("seed", range(len(chosen)))
    results = make_results(experiments_of(axis("training.learning_rates", [grid]), seeds))
    return results.assign(learning_rate=chosen, **measured)


def missing(column: pandas.Series) -> list[bool | None]:
    return [None if value is pandas.NA else bool(value) for value in column]


def test_an_end_of_the_grid_is_an_edge_in_whatever_order_it_was_given(seed: int) -> None:
    grid = tuple(np.random.default_rng(seed).permutation(RATES))
    results = results_of([0.1, 0.01, 0.001, np.nan], grid)
    edges = at_edge(results)
    assert missing(edges["learning_rate_at_edge"]) == [True, False, True, None]
    # One weight decay is no choice, and what has no penalty no strength.
    assert edges[["weight_decay_at_edge", "penalty_strength_at_edge"]].isna().all(axis=None)
    assert shares_at_edge(results)["learning_rate_at_edge"] == pytest.approx(2 / 3)
    first, second, *others = tuning_in_words(results)
    assert first.startswith("In 1 of 3 experiments the chosen learning rate is the largest that was tried: add larger")
    assert "smallest that was tried: add smaller ones to training.learning_rates" in second
    assert len(others) == 1 and "best moment is the last look" in others[0]


def test_nothing_lies_beyond_no_decay_at_all() -> None:
    decays = axis("training.weight_decays", [(0.0, 0.1)])
    results = make_results(experiments_of(decays, axis("seed", range(2)))).assign(weight_decay=[0.0, 0.1])
    assert missing(at_edge(results)["weight_decay_at_edge"]) == [False, True]


def test_the_last_look_is_the_last_update() -> None:
    results = results_of([0.01, 0.01, np.nan]).assign(update=pandas.array([400, 360, None], dtype="Int64"))
    assert missing(at_edge(results)["last_look"]) == [True, False, None]
    assert tuning_in_words(results) == [
        "In 1 of 2 experiments the best moment is the last look: raise training.updates."
    ]


def test_where_a_grid_was_extended_the_evaluations_say_what_was_tried() -> None:
    """0.1 is inside for the first, whose grid went on to 1, and the end for the second; 1 is the end of what was tried."""
    results = results_of([0.1, 0.1, 1.0]).assign(**{"training.extend_grid": 3})
    tried = [[*RATES, 1.0], RATES, [*RATES, 1.0]]
    looks = pandas.concat(
        pandas.DataFrame({"experiment": name, "learning_rate": rates, "weight_decay": 0.0, "penalty_strength": 0.0})
        for name, rates in zip(results["experiment"], tried, strict=True)
    )
    assert missing(at_edge(results, looks)["learning_rate_at_edge"]) == [False, True, True]
    assert missing(at_edge(results)["learning_rate_at_edge"]) == [None, None, None]
    assert summarise(results, looks)["learning_rate_at_edge"].tolist() == pytest.approx([2 / 3])
