"""Axes of the figures: logarithmic ones with plain numbers on them."""

import math
from collections.abc import Sequence

import numpy as np
import pandas
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

Limits = tuple[float, float]


def error_limits(arms: pandas.DataFrame) -> Limits:
    """Where the error axis begins and ends: all means above 0, and the intervals down to half the lowest mean."""
    positive = arms.loc[arms["error"] > 0, "error"]
    floor = positive.min() / 2 if len(positive) else 0.01
    lowest = arms[["error", "error_low"]].min(axis=None)
    highest = arms[["error", "error_high"]].max(axis=None)
    return max(floor, lowest / 1.15), min(100.0, max(highest, 2 * floor) * 1.15)


def error_axis(axes: Axes, limits: Limits) -> None:
    """Logarithmic, with at least four plain numbers wherever numbers of two digits allow it."""
    low, high = limits
    ticks: list[float] = []
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 5, 7), tuple(range(1, 10)), tuple(np.arange(10, 100) / 10)):
        numbers = [step * 10.0**power for power in range(-3, 3) for step in steps]
        ticks = [number for number in numbers if low <= number <= high]
        if len(ticks) >= 4:
            break
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    plain_ticks(axes.yaxis, ticks, ticks)


def plain_ticks(axis: Axis, ticks: Sequence[int | float], labelled: Sequence[int | float]) -> None:
    """Ticks at these places and no others, with plain numbers on some of them."""
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FixedFormatter([f"{tick:.9g}" if tick in labelled else "" for tick in ticks]))
    axis.set_minor_locator(NullLocator())


def labelled(numbers: Sequence[int]) -> list[int]:
    """Those that a logarithmic axis has room for: the first, and each far enough from the one before."""
    kept = [numbers[0]]
    for number in numbers[1:]:
        if math.log(number / kept[-1]) >= 0.14 * math.log(numbers[-1] / numbers[0]):
            kept.append(number)
    return kept
