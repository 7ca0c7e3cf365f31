"""Verdicts follow from intervals and criteria alone; every registered claim is complete, and reads what it has trained."""

import math
import sys
import zlib
from collections.abc import Iterable
from pkgutil import resolve_name
from typing import get_args

import numpy as np
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutants import MUTANTS, SMALLER, failing

from cnn_constraints.claims import Name, Tier
from cnn_constraints.claims.claim import (
    CURVE_COLUMNS,
    FIRST_FRESH_SEED,
    VERDICTS,
    Criterion,
    Laboratory,
    draw_seeds,
    extreme,
)
from cnn_constraints.claims.records import judge, terms
from cnn_constraints.claims.registry import CLAIMS
from cnn_constraints.experiment import Data, Experiment, flat
from cnn_constraints.report.claims import draw_curves
from cnn_constraints.resolve import resolve
from cnn_constraints.statistics import Interval

SEEDS = (7, 5, 11)
EXACT = ("parameter_ladder", "constraints_make_convolution")
TRAINED = [name for name in CLAIMS if hasattr(sys.modules[f"cnn_constraints.claims.{name}"], "train_arms")]
assert TRAINED
numbers = st.floats(-10, 10)


def test_a_criterion_holds_where_the_whole_interval_lies_within():
    unclear = [(0.9, 1.5), (0.5, 2.5), (math.nan, math.nan), (1.5, math.inf)]
    for word, intervals in {"holds": [(1, 2)], "fails": [(2.1, 3), (0, 0.9)], "undecided": unclear}.items():
        for low, high in intervals:
            assert Criterion("q", 1.0, 2.0).verdict(Interval((low + high) / 2, low, high, 5)) == word


def test_what_must_hold_in_every_case_is_refuted_by_one(generator):
    cases, one = generator.uniform(0, 1, 9), generator.integers(9)
    at_most, at_least = Criterion("q", high=1.0), Criterion("q", low=0.0)
    for worst, verdict in ((cases[one], "holds"), (np.nan, "undecided")):
        cases[one] = worst
        assert at_most.verdict(extreme(cases, 3)) == at_least.verdict(extreme(cases, 3, largest=False)) == verdict
    cases[one] = 1.1
    assert at_most.verdict(extreme(cases, 3)) == at_least.verdict(extreme(-cases, 3, largest=False)) == "fails"


@given(ends=st.tuples(numbers, numbers), bounds=st.tuples(numbers, numbers))
def test_a_wider_interval_never_decides_what_a_narrower_one_does_not(ends, bounds):
    criterion = Criterion("q", *sorted(bounds))
    low, high = sorted(ends)
    narrow, wide = Interval(low, low, high, 5), Interval(low, low - 1, high + 1, 5)
    assert criterion.verdict(wide) in ("undecided", criterion.verdict(narrow))


@given(entropy=st.integers(0, 2**40), step=st.sampled_from([1, 2, 2**31 - FIRST_FRESH_SEED, 2**32]))
def test_seeds_are_fresh_and_commands_of_different_entropies_share_none(entropy, step):
    claim = CLAIMS["reach"]
    seeds, others = (draw_seeds(claim, "cpu", number) for number in (entropy, entropy + step))
    assert len(set(seeds)) == claim.seeds["cpu"] and min(seeds) >= FIRST_FRESH_SEED and max(seeds) < 2**31
    assert not set(seeds) & set(others) and seeds == draw_seeds(claim, "cpu", entropy)


@pytest.mark.parametrize("name", get_args(Name))
def test_a_registered_claim_is_complete(name):
    claim = CLAIMS[name]
    assert claim.statement.endswith(".") and claim.source and claim.protocol.endswith(".") and claim.criteria
    quantities = [criterion.quantity for criterion in claim.criteria]
    assert len(set(quantities)) == len(quantities) and {"cpu", "gpu"} <= set(claim.seeds) <= set(get_args(Tier))
    assert "quick" not in claim.seeds or claim.of_tier("quick").criteria
    assert all(c.low <= c.high and (c.low > -math.inf or c.high < math.inf) for c in claim.criteria)


def test_what_mutants_change_is_there():
    for name, constants in SMALLER.items():
        assert constants.keys() <= vars(sys.modules[f"cnn_constraints.claims.{name}"]).keys()
    for mutant in MUTANTS:
        place, _, key = mutant.place.partition("/")
        there = resolve_name(f"cnn_constraints.{place}")
        assert not key or key in there


@pytest.mark.slow
@pytest.mark.parametrize("mutant", [one for one in MUTANTS if one.claim in EXACT], ids=lambda mutant: mutant.words)
def test_a_claim_fails_where_the_system_is_broken(mutant):
    """The cheap ones; `python tests/claims/mutants.py` has more."""
    assert failing(mutant.claim, mutant)


@pytest.mark.slow
def test_a_dense_layer_under_both_constraints_is_a_convolution(seed):
    """As the claim measures it; `parameter_ladder` is measured by the test of the command."""
    claim = CLAIMS["constraints_make_convolution"]
    values = claim.measure(Laboratory("cpu", draw_seeds(claim, "cpu", seed), {}, lambda _: pandas.DataFrame())).values
    assert judge(terms(claim, SEEDS, {}), values, 1.0)["verdict"] == "holds"


@pytest.mark.parametrize("tier", ["cpu", "gpu"])
@pytest.mark.parametrize("name", TRAINED)
def test_a_claim_reads_what_it_has_trained_and_measures_what_it_judges(name, tier, seed):
    """The engine of this test trains nothing: every experiment gets random results by its name."""
    # What quick measures is what cpu does, but for sizes: every other run of this test looks at it.
    tier = "quick" if tier == "cpu" and "quick" in CLAIMS[name].seeds and seed % 2 else tier
    claim, trained = CLAIMS[name].of_tier(tier), []
    images = {data_set: Data(source="digits", frame=28) for data_set in claim.data_sets}

    def train(experiments: Iterable[Experiment]) -> pandas.DataFrame:
        rows = []
        for one in resolve(experiments):
            columns = ["test_accuracy", "train_accuracy", *(f"violation_{name}" for name in one.training.violations)]
            values = np.random.default_rng((seed, zlib.crc32(one.name.encode()))).uniform(0.1, 0.9, len(columns))
            rows.append({"experiment": one.name, **flat(one), **dict(zip(columns, values.tolist(), strict=True))})
            trained.append(one.seed)
        return pandas.DataFrame(rows)

    values, curves = claim.measure(Laboratory(tier, SEEDS, images, train))
    assert set(values) == {criterion.quantity for criterion in claim.criteria}
    assert judge(terms(claim, SEEDS, {}), values, 1.0)["verdict"] in VERDICTS
    assert set(trained) == set(SEEDS)
    assert list(curves.columns) == CURVE_COLUMNS and set(curves["seed"]) == set(SEEDS)
    draw_curves(name, claim.picture, curves)
