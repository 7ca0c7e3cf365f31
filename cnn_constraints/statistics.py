"""From values measured with several seeds to estimates with 95% intervals: means, ratios, samples to an error, exponents.

Every seed is an independent replicate, so a quantity that needs a whole learning curve (the samples to reach an error,
an exponent) is computed for each seed by itself, and the interval is that of a mean over seeds.
"""

import bisect
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import nctdtr, stdtr, stdtrit

from cnn_constraints.errors import InputError

CONFIDENCE = 0.95

POWER = 0.8
"""With which a difference is to be found."""

MOST_SEEDS = 1000
"""Beyond as many, no number of seeds is named."""

RESAMPLES = 2000
"""Of a bootstrap: the error of its ends is then far below their distance."""


class Interval(NamedTuple):
    """An estimate over seeds and its 95% interval, in the unit of the values."""

    estimate: float
    low: float
    high: float
    seeds: int


class PowerLaw(NamedTuple):
    """The exponent of y = prefactor * x ** -exponent: of each seed, and their mean."""

    exponents: Float[np.ndarray, " seeds"]
    exponent: Interval

    @property
    def growth(self) -> Interval:
        """The exponent with its sign turned: that of y = prefactor * x ** growth."""
        estimate, low, high, seeds = self.exponent
        return Interval(-estimate, -high, -low, seeds)


def exact(value: float | int) -> Interval:
    """A number that no seed changes."""
    return Interval(float(value), float(value), float(value), 1)


def mean_interval(values: Iterable[float]) -> Interval:
    """Student's t interval of a mean: mean +- t(0.975, n - 1) s / sqrt(n), with s^2 over n - 1.

    It is exact for normally distributed values, and not cut to their range: the upper bound of an accuracy may lie
    above 1. One value has no spread, so its bounds are NaN; no value at all has a mean of NaN too.

    Raises InputError for a value that is not finite.
    """
    sample = np.asarray(list(values), dtype=float)
    if not np.isfinite(sample).all():
        raise InputError("A mean needs finite values: leave out the experiments that diverged, and count them.")
    if len(sample) < 2:
        return Interval(float(sample[0]) if len(sample) else np.nan, np.nan, np.nan, len(sample))
    quantile = stdtrit(len(sample) - 1, (1 + CONFIDENCE) / 2)
    half = float(quantile * sample.std(ddof=1) / np.sqrt(len(sample)))
    mean = float(sample.mean())
    return Interval(mean, mean - half, mean + half, len(sample))


def geometric_mean_interval(values: Iterable[float]) -> Interval:
    """exp of `mean_interval` of the logarithms: for ratios and sample sizes, which vary by factors.

    A value of infinity (an error that a seed never reaches) makes the estimate and the upper end infinite, and a value
    of 0 makes the estimate and the lower end 0; the other end is then the extreme value, which the median passes with
    probability 1 - 2^-n only.

    Raises InputError for a negative value or NaN.
    """
    sample = np.asarray(list(values), dtype=float)
    if not (sample >= 0).all():
        raise InputError("A geometric mean needs values of at least 0.")
    never, none = np.isinf(sample).any(), (sample == 0).any()
    if never or none:
        estimate = np.nan if never and none else (np.inf if never else 0.0)
        low, high = 0.0 if none else float(sample.min()), np.inf if never else float(sample.max())
        return Interval(estimate, low, high, len(sample))
    estimate, low, high, seeds = mean_interval(np.log(sample))
    return Interval(float(np.exp(estimate)), float(np.exp(low)), float(np.exp(high)), seeds)


def ratio_interval(numerator: Float[np.ndarray, " seeds"], denominator: Float[np.ndarray, " seeds"]) -> Interval:
    """The geometric mean over seeds of a ratio of sample sizes, paired by seed.

    A seed in which neither error is ever reached has no ratio: the interval is then from 0 to infinity.
    """
    if (np.isinf(numerator) & np.isinf(denominator)).any():
        return Interval(np.nan, 0.0, np.inf, len(numerator))
    return geometric_mean_interval(numerator / denominator)


def bootstrap_interval(
    values: Float[np.ndarray, "seeds *rest"], statistic: Callable[[np.ndarray], float], generator: np.random.Generator
) -> Interval:
    """Bias-corrected and accelerated bootstrap over seeds (Efron 1987) of any statistic of the rows of `values`.

    For what is no mean over seeds, the median or the minimum of a mean curve say. With fewer than ten seeds it is
    narrower than it says: prefer a mean.

    Raises InputError for fewer than two seeds, and for a value that is not finite.
    """
    if len(values) < 2 or not np.isfinite(values).all():
        raise InputError("A bootstrap needs two or more seeds and finite values.")
    from scipy import stats  # half a second, for which no sweep should wait

    rows, of_rows = np.arange(len(values)), lambda rows: float(statistic(values[rows]))
    options = {"n_resamples": RESAMPLES, "confidence_level": CONFIDENCE, "rng": generator}
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        found = stats.bootstrap((rows,), of_rows, vectorized=False, **options)
    low, high = map(float, found.confidence_interval)
    if np.isnan(low) or np.isnan(high):
        # Where most resamples give one number there is nothing to correct: their quantiles are the interval then.
        ends = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
        low, high = np.quantile(found.bootstrap_distribution, ends).tolist()
    return Interval(of_rows(rows), low, high, len(values))


def samples_to_error(
    samples: Sequence[int], errors: Sequence[float] | Float[np.ndarray, " sizes"], target: float
) -> float:
    """The training-set size at which a learning curve falls to an error of `target`.

    The curve is the nearest one that never rises (isotonic regression), straight between its points in log samples and
    log error, as a power law is. A curve that starts at or below the target gives its first size, an upper bound; one
    that never gets there gives infinity.

    Raises InputError where samples do not increase, or an error or the target is not a positive finite number.
    """
    from scipy.optimize import isotonic_regression  # as slow to import

    sizes, measured = np.asarray(samples, float), np.asarray(errors, float)
    if not (len(sizes) == len(measured) > 0 and (sizes > 0).all() and (np.diff(sizes) > 0).all()):
        raise InputError("A learning curve needs one error a training-set size, and sizes that increase.")
    if not (np.isfinite(measured).all() and (measured >= 0).all() and 0 < target < np.inf):
        raise InputError("A learning curve needs finite errors of at least 0, and a target above 0.")
    # A mean over equal errors may lie a rounding above them.
    curve = isotonic_regression(measured, increasing=False).x * (1 - 1e-12)
    if curve[0] <= target:
        return float(sizes[0])
    if curve[-1] > target:
        return np.inf
    first = int((curve <= target).argmax())
    ends = slice(first - 1, first + 1)
    # An error of 0 has no logarithm; any number far below the target leads to the same place but for that.
    before, after = np.log(np.maximum(curve[ends], target * 1e-6))
    share = (before - np.log(target)) / (before - after)
    place = np.exp((1 - share) * np.log(sizes[first - 1]) + share * np.log(sizes[first]))
    return float(np.clip(place, *sizes[ends]))


def samples_of_seeds(
    samples: Sequence[int], errors: Float[np.ndarray, "seeds sizes"], target: float
) -> Float[np.ndarray, " seeds"]:
    """`samples_to_error` of each seed's curve."""
    return np.array([samples_to_error(samples, curve, target) for curve in errors])


def power_law(samples: Sequence[int], errors: Float[np.ndarray, "seeds sizes"]) -> PowerLaw:
    """Least squares of log error on log samples, one line a seed; the exponent is the mean over seeds of minus the slope.

    An error of 0, or an infinite number of samples where the law is that of samples, has no logarithm: the exponent is then
    unknown, from -infinity to infinity.

    Raises InputError for fewer than three sizes, and for an error that is negative or NaN.
    """
    sizes, measured = np.log(np.asarray(samples, float)), np.asarray(errors, float)
    if len(sizes) < 3 or measured.shape[1:] != sizes.shape:
        raise InputError("A power law needs three or more training-set sizes, and one error a seed and size.")
    if not (measured >= 0).all():
        raise InputError("A power law needs errors of at least 0.")
    if not (np.isfinite(measured).all() and (measured > 0).all()):
        return PowerLaw(np.full(len(measured), np.nan), Interval(np.nan, -np.inf, np.inf, len(measured)))
    slopes, _ = np.polyfit(sizes, np.log(measured).T, 1)
    return PowerLaw(-slopes, mean_interval(-slopes))


def p_value(differences: Iterable[float]) -> float:
    """The two-sided p of the paired t-test: that of a mean difference of 0, from one difference a pair.

    Differences that are all alike have no spread: p is 0, or 1 where they are 0. One alone has no p: NaN.
    """
    sample = np.asarray(list(differences), float)
    if len(sample) < 2 or not sample.any():
        return np.nan if len(sample) < 2 else 1.0
    with np.errstate(divide="ignore"):
        t = sample.mean() / (sample.std(ddof=1) / np.sqrt(len(sample)))
    return float(2 * stdtr(len(sample) - 1, -abs(t)))


def holm(p_values: Sequence[float] | Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """The p-values of several tests adjusted for their number: who calls those below 0.05 decided errs in any of them with
    at most that probability, however they depend on each other (Holm 1979).

    The i-th smallest of m becomes the largest of (m - j + 1) p_j for j <= i, and at most 1. NaN is no test.
    """
    adjusted = np.array(p_values, float)
    tests = np.flatnonzero(~np.isnan(adjusted))
    order = tests[np.argsort(adjusted[tests])]
    adjusted[order] = np.minimum(np.maximum.accumulate(adjusted[order] * np.arange(len(order), 0, -1)), 1)
    return adjusted


def seeds_needed(differences: Iterable[float], level: float = 1 - CONFIDENCE) -> int | None:
    """How many fresh pairs give a two-sided paired t-test at this level a power of 80%, if the true mean difference and
    spread are those of the pairs at hand: the least n at which the noncentral t distribution with n - 1 degrees of freedom
    and noncentrality sqrt(n) mean / s exceeds its critical value with that probability (Cohen 1988, chapter 2).

    None for fewer than two pairs, which have no spread; MOST_SEEDS + 1 where MOST_SEEDS are too few.
    """
    sample = np.asarray(list(differences), float)
    if len(sample) < 2:
        return None
    spread = sample.std(ddof=1)
    return seeds_for(abs(sample.mean()) / spread if spread else np.inf if sample.any() else 0.0, level)


def seeds_to_decide(found: Interval, bound: float) -> int | None:
    """`seeds_needed` for a mean to be found on the side of a bound where it is, from its interval.

    The spread is half the width of the interval times sqrt(n) / t(0.975, n - 1); where the interval is that of a geometric
    mean, all this is of logarithms. None where the interval is of neither (a bootstrap, the cases that occur) or has an
    end that is not finite.
    """
    for scale in (np.asarray, np.log):
        with np.errstate(divide="ignore", invalid="ignore"):
            estimate, low, high, limit = map(float, scale([*found[:3], bound]))
        half = (high - low) / 2
        if found.seeds > 1 and half > 0 and abs(estimate - low - half) <= 1e-6 * half:
            quantile = stdtrit(found.seeds - 1, (1 + CONFIDENCE) / 2)
            return seeds_for(abs(estimate - limit) * float(quantile) / (half * found.seeds**0.5))
    return None


def seeds_for(effect: float, level: float = 1 - CONFIDENCE) -> int:
    """`seeds_needed` for a true mean of so many standard deviations."""
    # For effects of thousands nctdtr does not end.
    effect = min(effect, 100.0)

    def suffices(seeds: int) -> bool:
        critical = stdtrit(seeds - 1, 1 - level / 2)
        # Of a probability that is all but 0, nctdtr may say NaN.
        return bool(1 - np.nan_to_num(nctdtr(seeds - 1, np.sqrt(seeds) * effect, critical)) >= POWER)

    if not effect > 0 or not suffices(MOST_SEEDS):
        return MOST_SEEDS + 1
    return 2 + bisect.bisect_left(range(2, MOST_SEEDS), True, key=suffices)


def verdict(difference: float, p: float) -> str:
    """better or worse where the adjusted p is below 0.05, else undecided, as with a single seed."""
    if not p < 1 - CONFIDENCE:
        return "undecided"
    return "better" if difference > 0 else "worse"
