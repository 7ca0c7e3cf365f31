"""What the numbers of a sweep say stands in sentences."""

import re

import pytest
from made_up_results import DELTA_SWEEP, LADDER, experiments_of, make_results, noisy

from cnn_constraints import summaries
from cnn_constraints.experiment import axis
from cnn_constraints.report.answer import answer, headlines
from cnn_constraints.report.marks import describe

CELLS = experiments_of(axis("model.constraint", ["dense", "conv"]), axis("seed", range(5)))


def said(results) -> list[str]:
    return answer(results, describe(results), summaries.untold_comparisons(results))


def test_who_beats_whom_is_said_with_the_interval(seed):
    for sign, winner, loser in ((1, "conv (delta 2)", "dense"), (-1, "dense", "conv (delta 2)")):
        results = make_results(CELLS, noisy(seed, 0.02, {"dense": 0.5 - 0.2 * sign, "conv": 0.5 + 0.2 * sign}))
        [pair] = summaries.comparisons(results).to_dict("records")
        low, high = sorted(100 * sign * pair[f"difference_{end}"] for end in ("low", "high"))
        told = (
            f"{winner} beats {loser} by {100 * abs(pair['difference']):.1f} [{low:.1f}, {high:.1f}] points (5 seeds)."
        )
        question, verdict, _ = said(results)
        assert question.endswith("?") and verdict == told[0].upper() + told[1:]


def test_what_is_undecided_is_called_so():
    _, verdict, best = said(make_results(CELLS, lambda one: 0.5))
    assert verdict == "Conv (delta 2) against dense is undecided (5 seeds)."
    assert best == "Fewest errors: dense and 1 more with 50.0 [50.0, 50.0]%."


@pytest.mark.parametrize("experiments", [LADDER, DELTA_SWEEP], ids=["ladder", "deltas"])
def test_every_comparison_is_counted(experiments, seed):
    results = make_results(experiments, noisy(seed))
    pairs, told = summaries.comparisons(results), said(results)
    counts = [[int(word) for word in re.findall(r"(\d+) (?:better|worse|undecided)", sentence)] for sentence in told]
    totals = [re.search(r"of (\d+) comparison", sentence) for sentence in told]
    assert all(total is None or int(total[1]) == sum(count) for total, count in zip(totals, counts, strict=True))
    alone = sum(
        not total and (" beats " in one or " undecided " in one) for total, one in zip(totals, told, strict=True)
    )
    assert alone + sum(int(total[1]) for total in totals if total) == len(pairs)


def test_the_headline_is_the_clearest_verdict_on_the_most_and_the_least_constrained(seed):
    results = make_results([one for one in LADDER if one.model.readout == "flatten"], noisy(seed))
    pairs = summaries.comparisons(results)
    pairs = pairs[(pairs["field"] == "model.constraint") & (pairs["second"] == "dense")]
    [headline] = headlines(summaries.untold_comparisons(results))
    decided = pairs[pairs["verdict"] != "undecided"]
    largest = 100 * decided["difference"].abs().max()
    assert f" by {largest:.1f} " in headline if len(decided) else "undecided" in headline


def test_a_sweep_of_one_arm_has_a_question_too():
    question, error = said(make_results([one for one in CELLS if one.model.constraint == "conv"]))
    assert question == "How good is conv (delta 2) on digits, readout flatten?"
    assert error == "Test error: conv (delta 2) with 10.0 [10.0, 10.0]%."
