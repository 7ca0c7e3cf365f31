"""Intervals on values whose answers are known, against SciPy's own tests, and their coverage by simulation."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

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
    verdict,
)

SIZES = (100, 300, 1000, 3000, 10000)


def test_interval_of_three_known_values() -> None:
    # t(0.975, 2) = 4.302653 and s = 1.
    half = 4.302653 / np.sqrt(3)
    assert mean_interval([1.0, 2.0, 3.0]) == pytest.approx((2, 2 - half, 2 + half, 3), rel=1e-6)


def test_interval_is_that_of_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for confidence in (0.5, 0.95, 0.99):
        values = rng.normal(rng.normal(), 3, rng.integers(2, 9))
        expected = scipy.stats.ttest_1samp(values, 0).confidence_interval(confidence)
        found = mean_interval(values, confidence)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-9)


@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_interval_covers_the_mean_as_often_as_it_says(seed: int, confidence: float) -> None:
    rng = np.random.default_rng(seed)
    repetitions = 3000
    intervals = [mean_interval(values, confidence) for values in rng.normal(0.9, 0.02, (repetitions, 4))]
    covered = np.mean([interval.low <= 0.9 <= interval.high for interval in intervals])
    # Five standard deviations of a binomial: wrong once in a million runs. The normal quantile would cover 85%.
    assert covered == pytest.approx(confidence, abs=5 * np.sqrt(confidence * (1 - confidence) / repetitions))


def test_one_value_has_no_interval_and_no_value_no_mean() -> None:
    assert mean_interval([0.5]) == pytest.approx((0.5, np.nan, np.nan, 1), nan_ok=True)
    assert mean_interval([]) == pytest.approx((np.nan, np.nan, np.nan, 0), nan_ok=True)


@pytest.mark.parametrize(
    ("values", "confidence"), [([0.5, np.nan], 0.95), ([np.inf], 0.95), ([1.0, 2.0], 1.0), ([1.0, 2.0], 0.0)]
)
def test_interval_refuses(values: list[float], confidence: float) -> None:
    with pytest.raises(InputError):
        mean_interval(values, confidence)


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (0.1, 0.3, "better"),
        (-0.3, -0.1, "worse"),
        (-0.1, 0.1, "undecided"),
        (0, 0, "undecided"),
        (np.nan,) * 2 + ("undecided",),
    ],
)
def test_verdict_is_whether_the_interval_excludes_zero(low: float, high: float, word: str) -> None:
    assert verdict(Interval((low + high) / 2, low, high, 3)) == word


def test_an_exact_number_is_its_own_interval() -> None:
    assert exact(3.0) == Interval(3.0, 3.0, 3.0, 1)


def test_geometric_mean_is_the_exponential_of_the_mean_of_logarithms(seed: int) -> None:
    values = np.random.default_rng(seed).lognormal(2, 1, 6)
    expected = np.exp(mean_interval(np.log(values))[:3])
    assert geometric_mean_interval(values)[:3] == pytest.approx(tuple(expected))


def test_a_ratio_of_geometric_means_turns_with_its_ends(seed: int) -> None:
    values = np.random.default_rng(seed).lognormal(0, 1, 5)
    there, back = geometric_mean_interval(values), geometric_mean_interval(1 / values)
    assert (back.estimate, back.low, back.high) == pytest.approx((1 / there.estimate, 1 / there.high, 1 / there.low))


def test_a_seed_that_never_arrives_makes_the_mean_infinite() -> None:
    assert geometric_mean_interval([100.0, np.inf, 300.0]) == Interval(np.inf, 100.0, np.inf, 3)
    assert geometric_mean_interval([0.0, 2.0]) == Interval(0.0, 0.0, 2.0, 2)
    both = geometric_mean_interval([0.0, np.inf])
    assert math.isnan(both.estimate) and (both.low, both.high) == (0.0, np.inf)


def test_a_ratio_of_sizes_is_the_geometric_mean_of_the_ratios(seed: int) -> None:
    numerator, denominator = np.random.default_rng(seed).lognormal(5, 1, (2, 6))
    assert ratio_interval(numerator, denominator) == geometric_mean_interval(numerator / denominator)
    assert ratio_interval(np.array([np.inf, 6.0]), np.array([2.0, 3.0])) == Interval(np.inf, 2.0, np.inf, 2)


def test_where_neither_arrives_the_ratio_is_unknown() -> None:
    found = ratio_interval(np.array([np.inf, 300.0]), np.array([np.inf, 100.0]))
    assert math.isnan(found.estimate) and found[1:] == (0.0, np.inf, 2)


@pytest.mark.parametrize("values", [[-1.0, 2.0], [np.nan, 1.0]])
def test_geometric_mean_refuses(values: list[float]) -> None:
    with pytest.raises(InputError):
        geometric_mean_interval(values)


def test_bootstrap_of_a_mean_is_near_the_exact_interval(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(5, 2, 200)
    found, expected = bootstrap_interval(values, np.mean, rng), mean_interval(values)
    assert found.estimate == pytest.approx(expected.estimate)
    width = expected.high - expected.low
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.15 * width)


def test_bootstrap_covers_the_median_as_often_as_it_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    repetitions = 150
    # The median of a skewed distribution: Student's t would be about another number.
    samples = rng.lognormal(0, 1, (repetitions, 20))
    intervals = [bootstrap_interval(values, np.median, rng, 0.9) for values in samples]
    covered = np.mean([interval.low <= 1 <= interval.high for interval in intervals])
    assert covered == pytest.approx(0.9, abs=5 * np.sqrt(0.9 * 0.1 / repetitions))


def test_bootstrap_of_equal_values_is_a_point(seed: int) -> None:
    assert bootstrap_interval(np.full(5, 2.0), np.mean, np.random.default_rng(seed)) == Interval(2.0, 2.0, 2.0, 5)


def test_bootstrap_refuses(seed: int) -> None:
    for values in (np.array([1.0]), np.array([1.0, np.nan])):
        with pytest.raises(InputError):
            bootstrap_interval(values, np.mean, np.random.default_rng(seed))


@given(exponent=st.floats(0.1, 3), place=st.floats(0.01, 0.99))
def test_samples_to_an_error_of_a_power_law_are_exact(exponent: float, place: float) -> None:
    wanted = SIZES[0] * (SIZES[-1] / SIZES[0]) ** place
    errors = [(n / 1000) ** -exponent for n in SIZES]
    assert samples_to_error(SIZES, errors, (wanted / 1000) ** -exponent) == pytest.approx(wanted, rel=1e-6)


@given(errors=st.lists(st.floats(0, 1), min_size=5, max_size=5), targets=st.tuples(*[st.floats(0.01, 1)] * 2))
def test_a_lower_error_never_takes_fewer_samples(errors: list[float], targets: tuple[float, float]) -> None:
    lower, higher = sorted(targets)
    assert samples_to_error(SIZES, errors, lower) >= samples_to_error(SIZES, errors, higher)


@given(errors=st.lists(st.floats(0, 1), min_size=5, max_size=5), target=st.floats(0.01, 1))
def test_samples_lie_on_the_curve_or_beyond_it(errors: list[float], target: float) -> None:
    found = samples_to_error(SIZES, errors, target)
    assert SIZES[0] <= found <= SIZES[-1] or (found == np.inf and errors[-1] > target)


def test_a_bump_in_the_curve_is_levelled() -> None:
    level = samples_to_error(SIZES, [0.5, 0.3, 0.3, 0.1, 0.05], 0.2)
    assert samples_to_error(SIZES, [0.5, 0.28, 0.32, 0.1, 0.05], 0.2) == pytest.approx(level)


@pytest.mark.parametrize(
    ("samples", "errors", "target"),
    [((100, 100), (0.2, 0.1), 0.1), ((100, 300), (0.2,), 0.1), ((100, 300), (0.2, np.nan), 0.1), ((100,), (0.2,), 0.0)],
)
def test_samples_to_an_error_refuse(samples: tuple, errors: tuple, target: float) -> None:
    with pytest.raises(InputError):
        samples_to_error(samples, errors, target)


def noisy_power_law(rng: np.random.Generator, seeds: int, exponent: float) -> np.ndarray:
    """Axes: seed, size. Every seed has a level of its own, and every error noise of its own."""
    law = (np.array(SIZES) / SIZES[0]) ** -exponent
    return law * np.exp(0.1 * rng.standard_normal((seeds, 1)) + 0.1 * rng.standard_normal((seeds, len(SIZES))))


def test_samples_interval_covers_the_truth_as_often_as_it_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    repetitions = 400
    # Steep enough that levelling hardly ever acts.
    curves = [noisy_power_law(rng, 5, 1.0) for _ in range(repetitions)]
    found = [geometric_mean_interval(samples_of_seeds(SIZES, errors, 0.07)) for errors in curves]
    truth = SIZES[0] / 0.07
    covered = np.mean([interval.low <= truth <= interval.high for interval in found])
    assert covered == pytest.approx(0.95, abs=5 * np.sqrt(0.95 * 0.05 / repetitions))


def test_exponent_of_a_power_law_is_exact() -> None:
    errors = np.stack([2 * (np.array(SIZES) / 7.0) ** -0.4] * 3)
    law = power_law(SIZES, errors)
    assert law.exponent == pytest.approx((0.4, 0.4, 0.4, 3))
    assert law.prefactor == pytest.approx(2 * 7**0.4)
    assert law.r_squared == pytest.approx(1)


def test_exponent_covers_the_truth_as_often_as_it_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    repetitions = 400
    found = [power_law(SIZES, noisy_power_law(rng, 5, 0.3)).exponent for _ in range(repetitions)]
    covered = np.mean([interval.low <= 0.3 <= interval.high for interval in found])
    assert covered == pytest.approx(0.95, abs=5 * np.sqrt(0.95 * 0.05 / repetitions))


def test_what_is_no_power_law_fits_badly() -> None:
    bent = np.stack([np.array([1.0, 0.99, 0.97, 0.9, 0.05])] * 2)
    assert power_law(SIZES, bent).r_squared < 0.8


@pytest.mark.parametrize("level", [0.0, np.inf])
def test_what_has_no_logarithm_leaves_the_exponent_unknown(level: float) -> None:
    errors = np.ones((2, 5))
    errors[1, 3] = level
    found = power_law(SIZES, errors).exponent
    assert math.isnan(found.estimate) and found[1:] == (-np.inf, np.inf, 2)


@pytest.mark.parametrize("errors", [np.ones((2, 2)), np.full((2, 5), -1.0), np.full((2, 5), np.nan)])
def test_power_law_refuses(errors: np.ndarray) -> None:
    with pytest.raises(InputError):
        power_law(SIZES[: errors.shape[1]], errors)
