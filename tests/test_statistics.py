"""Estimates on values whose answers are known, against SciPy's own tests, and how often intervals hold the truth."""

from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from cnn_constraints import statistics
from cnn_constraints.errors import InputError
from cnn_constraints.statistics import (
    Interval,
    bootstrap_interval,
    exact,
    geometric_mean_interval,
    mean_interval,
    power_law,
    ratio_interval,
    samples_of_seeds,
    samples_to_error,
)

SIZES = (100, 300, 1000, 3000, 10000)
NAN, INFINITY = np.nan, np.inf
NEITHER = np.array([[INFINITY, 300.0], [INFINITY, 100.0]])
NO_LOGARITHM = np.array([[1.0, 1.0, 1.0], [1.0, INFINITY, 0.0]])


@pytest.mark.parametrize("count", [2, 3, 8])
def test_intervals_are_those_of_scipy(seed: int, count: int) -> None:
    values = np.random.default_rng(seed).lognormal(2, 1, count)
    for found, sample in ((mean_interval(values), values), (geometric_mean_interval(values), np.log(values))):
        test = scipy.stats.ttest_1samp(sample, 0)
        expected = [sample.mean(), *test.confidence_interval(0.95)]
        assert found[:3] == pytest.approx(expected if sample is values else np.exp(expected), rel=1e-9)
        assert found.seeds == count


def noisy_power_law(rng: np.random.Generator, exponent: float) -> np.ndarray:
    """Five seeds, each with a level of its own, and noise of its own at every size."""
    law = (np.array(SIZES) / SIZES[0]) ** -exponent
    return law * np.exp(0.1 * rng.standard_normal((5, 1)) + 0.1 * rng.standard_normal((5, len(SIZES))))


@pytest.mark.parametrize(
    ("interval", "truth"),
    [
        (lambda rng: mean_interval(rng.normal(0.9, 0.02, 4)), 0.9),
        # Steep enough that levelling hardly ever acts.
        (lambda rng: geometric_mean_interval(samples_of_seeds(SIZES, noisy_power_law(rng, 1), 0.1)), SIZES[0] / 0.1),
        (lambda rng: power_law(SIZES, noisy_power_law(rng, 0.3)).exponent, 0.3),
    ],
    ids=["mean", "samples", "exponent"],
)
def test_intervals_cover_the_truth_as_often_as_they_say(seed: int, interval: Callable, truth: float) -> None:
    rng, repetitions = np.random.default_rng(seed), 1000
    found = [interval(rng) for _ in range(repetitions)]
    covered = np.mean([one.low <= truth <= one.high for one in found])
    # Seven standard deviations, and nearly six for the samples, which levelling keeps at 94.3%. The normal quantile would
    # cover 86 to 88%.
    assert covered == pytest.approx(0.95, abs=0.05)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (mean_interval([0.5]), (0.5, NAN, NAN, 1)),
        (mean_interval([]), (NAN, NAN, NAN, 0)),
        (statistics.exact(3), (3, 3, 3, 1)),
        (geometric_mean_interval([100.0, INFINITY, 300.0]), (INFINITY, 100, INFINITY, 3)),
        (geometric_mean_interval([0.0, 2.0]), (0, 0, 2, 2)),
        (geometric_mean_interval([0.0, INFINITY]), (NAN, 0, INFINITY, 2)),
        (ratio_interval(np.array([INFINITY, 6.0]), np.array([2.0, 3.0])), (INFINITY, 2, INFINITY, 2)),
        (ratio_interval(*NEITHER), (NAN, 0, INFINITY, 2)),
        (power_law(SIZES[:3], NO_LOGARITHM).exponent, (NAN, -INFINITY, INFINITY, 2)),
        (bootstrap_interval(np.full(5, 2.0), np.mean, np.random.default_rng()), (2, 2, 2, 5)),
    ],
)
def test_what_has_no_interval_says_so(found: Interval, expected: tuple) -> None:
    assert found == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    "refused",
    [
        *(lambda values=values: mean_interval(values) for values in ([0.5, NAN], [INFINITY])),
        *(lambda values=values: geometric_mean_interval(values) for values in ([-1.0, 2.0], [NAN, 1.0])),
        *(lambda v=v: bootstrap_interval(np.array(v), np.mean, np.random.default_rng()) for v in ([1.0], [1.0, NAN])),
        lambda: samples_to_error((100, 100), (0.2, 0.1), 0.1),
        lambda: samples_to_error((100, 300), (0.2,), 0.1),
        lambda: samples_to_error((100, 300), (0.2, NAN), 0.1),
        lambda: samples_to_error((100,), (0.2,), 0.0),
        lambda: power_law(SIZES[:2], np.ones((2, 2))),
        *(lambda level=level: power_law(SIZES, np.full((2, 5), level)) for level in (-1.0, NAN)),
    ],
)
def test_what_has_no_estimate_is_refused(refused: Callable) -> None:
    with pytest.raises(InputError):
        refused()


def test_verdict_is_whether_the_adjusted_p_is_below_5_percent() -> None:
    words = {(0.2, 0.04): "better", (-0.2, 0.04): "worse", (0.2, 0.06): "undecided", (0.0, 1.0): "undecided"}
    for (difference, p), word in {**words, (0.1, NAN): "undecided"}.items():
        assert statistics.verdict(difference, p) == word


def test_p_is_that_of_scipy(seed: int) -> None:
    values = np.random.default_rng(seed).normal(0.5, 1, 5)
    assert statistics.p_value(values) == pytest.approx(scipy.stats.ttest_1samp(values, 0).pvalue)
    assert [statistics.p_value(given) for given in ([0.0, 0.0], [0.25, 0.25])] == [1, 0]
    assert np.isnan([statistics.p_value(given) for given in ([], [0.3])]).all()


@given(p_values=st.lists(st.floats(0, 1), min_size=1, max_size=8), level=st.floats(0.001, 0.999))
def test_holm_decides_what_his_procedure_decides_step_by_step(p_values: list[float], level: float) -> None:
    """Holm 1979: from the smallest on, each against the level divided by how many are left, until one is above."""
    adjusted, decided = statistics.holm(p_values), set()
    for left, test in zip(range(len(p_values), 0, -1), np.argsort(p_values, kind="stable"), strict=True):
        if p_values[test] * left > level:
            break
        decided.add(int(test))
    assert set(np.flatnonzero(adjusted <= level)) == decided
    assert (adjusted >= p_values).all() and (adjusted <= 1).all()
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(adjusted[order]) >= 0).all()
    # What is no test costs the others nothing.
    np.testing.assert_array_equal(statistics.holm([*p_values, NAN]), [*adjusted, NAN])


@pytest.mark.parametrize(("effect", "level"), [(3.0, 0.05), (0.8, 0.05), (0.8, 0.005), (0.3, 0.05)])
def test_as_many_fresh_seeds_as_needed_decide_it_in_four_of_five_cases(effect: float, level: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    seen = np.array([-1, 1, -1, 1]) * np.sqrt(3 / 4) + effect
    power = []
    for seeds in (needed := statistics.seeds_needed(seen, level), needed - 1):
        fresh = generator.normal(effect, 1, (4000, seeds))
        power.append(np.mean([statistics.p_value(values) < level for values in fresh]) if seeds > 1 else 0)
    # Five standard deviations of a share of 4,000.
    assert power[0] > 0.8 - 0.032 and power[1] < 0.8 + 0.032


def test_seeds_that_no_one_has_are_not_named() -> None:
    assert statistics.seeds_needed([0.1]) is None
    for nothing in ([0.0, 0.0], [-0.1, 0.1], [1e-9, 1.0, -1.0]):
        assert statistics.seeds_needed(nothing) == statistics.MOST_SEEDS + 1
    assert statistics.seeds_needed([1.0, 1.0 + 1e-12], 1e-9) >= 2


def test_what_would_decide_a_mean_is_told_from_its_interval_as_from_its_values(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, bound = rng.lognormal(0, 0.5, rng.integers(2, 9)), rng.lognormal(0, 0.5)
    to_decide = statistics.seeds_to_decide
    assert to_decide(mean_interval(values), bound) == statistics.seeds_needed(values - bound)
    assert to_decide(geometric_mean_interval(values), bound) == statistics.seeds_needed(np.log(values / bound))
    for unknown in (Interval(1, 0, 5, 3), Interval(1, np.nan, np.nan, 1), Interval(np.inf, 2, np.inf, 3), exact(2)):
        assert to_decide(unknown, bound) is None


def test_ratios_are_paired_and_turn_with_their_ends(seed: int) -> None:
    numerator, denominator = np.random.default_rng(seed).lognormal(5, 1, (2, 6))
    there, back = ratio_interval(numerator, denominator), ratio_interval(denominator, numerator)
    assert there == geometric_mean_interval(numerator / denominator)
    assert back[:3] == pytest.approx((1 / there.estimate, 1 / there.high, 1 / there.low))


def test_bootstrap_of_a_mean_is_near_the_exact_interval(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(5, 2, 200)
    found, expected = bootstrap_interval(values, np.mean, rng), mean_interval(values)
    width = expected.high - expected.low
    assert found == pytest.approx(expected, abs=0.15 * width)


@given(exponent=st.floats(0.1, 3), place=st.floats(0.01, 0.99), factor=st.floats(0.01, 100))
def test_power_laws_are_exact(exponent: float, place: float, factor: float) -> None:
    law = lambda n: factor * (n / 1000) ** -exponent
    errors = np.array([law(n) for n in SIZES])
    wanted = SIZES[0] * (SIZES[-1] / SIZES[0]) ** place
    assert samples_to_error(SIZES, errors, law(wanted)) == pytest.approx(wanted, rel=1e-6)
    found = power_law(SIZES, np.stack([errors] * 3))
    assert found.exponent == pytest.approx((exponent, exponent, exponent, 3))
    assert found.growth == pytest.approx((-exponent, -exponent, -exponent, 3))


@given(errors=st.lists(st.floats(0, 1), min_size=5, max_size=5), targets=st.tuples(*[st.floats(0.01, 1)] * 2))
def test_samples_lie_on_the_curve_and_a_lower_error_never_takes_fewer(errors: list, targets: tuple) -> None:
    lower, higher = (samples_to_error(SIZES, errors, target) for target in sorted(targets))
    assert lower >= higher * (1 - 1e-12)
    assert SIZES[0] <= lower <= SIZES[-1] or (lower == INFINITY and errors[-1] > min(targets))


def test_a_bump_in_the_curve_is_levelled() -> None:
    level = samples_to_error(SIZES, [0.5, 0.3, 0.3, 0.1, 0.05], 0.2)
    assert samples_to_error(SIZES, [0.5, 0.28, 0.32, 0.1, 0.05], 0.2) == pytest.approx(level)
