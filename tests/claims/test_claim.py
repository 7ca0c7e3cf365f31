"""Verdicts follow from intervals and criteria alone; every registered claim is complete."""

import datetime
import math

import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnn_constraints.claims.claim import (
    FIRST_FRESH_SEED,
    TIERS,
    Claim,
    Criterion,
    Laboratory,
    Measurement,
    Picture,
    draw_seeds,
    judge,
    overall,
)
from cnn_constraints.claims.registry import CLAIMS
from cnn_constraints.errors import InputError
from cnn_constraints.statistics import Interval, exact

numbers = st.floats(-10, 10)


def measure_nothing(laboratory: Laboratory) -> Measurement:
    return Measurement({}, pandas.DataFrame())


def claim_of(*criteria: Criterion) -> Claim:
    picture = Picture("x", "y")
    return Claim("s", "source", "p", criteria, datetime.date(2026, 1, 1), {"cpu": 3}, measure_nothing, picture)


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (1.0, 2.0, "holds"),
        (1.2, 1.8, "holds"),
        (0.9, 1.5, "undecided"),
        (1.5, 2.1, "undecided"),
        (0.5, 2.5, "undecided"),
        (2.1, 3.0, "fails"),
        (0.0, 0.9, "fails"),
        (math.nan, math.nan, "undecided"),
        (1.5, math.inf, "undecided"),
    ],
)
def test_a_criterion_holds_where_the_whole_interval_lies_within(low, high, word):
    assert Criterion("q", 1.0, 2.0).verdict(Interval((low + high) / 2, low, high, 5)) == word


@given(ends=st.tuples(numbers, numbers), bounds=st.tuples(numbers, numbers))
def test_a_wider_interval_never_decides_what_a_narrower_one_does_not(ends, bounds):
    criterion = Criterion("q", *sorted(bounds))
    low, high = sorted(ends)
    narrow, wide = Interval(low, low, high, 5), Interval(low, low - 1, high + 1, 5)
    assert criterion.verdict(wide) in ("undecided", criterion.verdict(narrow))


def test_one_failure_fails_a_claim_and_one_doubt_leaves_it_undecided():
    criteria = [Criterion("a", low=0), Criterion("b", low=0)]

    def verdict_of(a: Interval, b: Interval) -> str:
        return overall(judge(claim_of(*criteria), Measurement({"a": a, "b": b}, pandas.DataFrame())))

    good, bad, unclear = exact(1.0), exact(-1.0), Interval(0.0, -1.0, 1.0, 3)
    assert verdict_of(good, good) == "holds"
    assert verdict_of(good, unclear) == "undecided"
    assert verdict_of(bad, unclear) == "fails"


@pytest.mark.parametrize("values", [{}, {"a": exact(1.0), "b": exact(1.0)}])
def test_a_measurement_gives_exactly_what_is_asked(values):
    with pytest.raises(InputError, match="must give"):
        judge(claim_of(Criterion("a")), Measurement(values, pandas.DataFrame()))


@given(entropy=st.integers(0, 2**40))
def test_fresh_seeds_are_as_many_as_asked_and_none_that_tuning_used(entropy):
    seeds = draw_seeds(claim_of(), "cpu", entropy)
    assert len(set(seeds)) == 3 and min(seeds) >= FIRST_FRESH_SEED and max(seeds) < 2**31
    assert seeds == draw_seeds(claim_of(), "cpu", entropy)


@given(entropy=st.integers(0, 2**40), step=st.sampled_from([1, 2, 2**31 - FIRST_FRESH_SEED, 2**32]))
def test_commands_of_different_entropies_share_no_seed(entropy, step):
    first, second = (draw_seeds(claim_of(), "cpu", n) for n in (entropy, entropy + step))
    assert not set(first) & set(second)


@pytest.mark.parametrize("name", CLAIMS)
def test_a_registered_claim_is_complete(name):
    claim = CLAIMS[name]
    assert claim.statement.endswith(".") and claim.source and claim.protocol.endswith(".")
    assert claim.criteria and set(claim.seeds) <= set(TIERS) and claim.seeds
    quantities = [criterion.quantity for criterion in claim.criteria]
    assert len(set(quantities)) == len(quantities)
    assert all(c.low <= c.high and (c.low > -math.inf or c.high < math.inf) for c in claim.criteria)
    assert claim.frozen <= datetime.date.today()


def train_nothing(experiments):
    raise AssertionError("this claim needs no training")


@pytest.mark.parametrize("name", ["parameter_ladder", "constraints_make_convolution"])
def test_exact_claims_hold(name, seed):
    claim = CLAIMS[name]
    findings = judge(claim, claim.measure(Laboratory("cpu", draw_seeds(claim, "cpu", seed), {}, train_nothing)))
    assert {finding.criterion.quantity: finding.verdict for finding in findings} == {
        criterion.quantity: "holds" for criterion in claim.criteria
    }
