"""The grid of candidates of an experiment, and what lies beyond the end of it where the best candidate stands."""

import itertools
import operator
from collections.abc import Sequence

from cnn_constraints.experiment import fields
from cnn_constraints.training.loop import Hyperparameters
from cnn_constraints.training.records import Evaluation, choose

Grid = tuple[Hyperparameters, ...]
"""Candidates that are trained at once: every combination of an axis's values with those of the others."""

FIELDS = dict(zip(Hyperparameters._fields, ("learning_rates", "weight_decays", "penalty_strengths"), strict=True))
"""Where the values of an axis stand in `Training`."""

STEP = 10.0
"""From one value to the next, where a grid has one positive value and says no ratio."""


def tried(looks: Sequence[Evaluation], size: int) -> list[Grid]:
    """The grids, of so many candidates each, that an experiment was trained with so far."""
    each = {one.candidate: Hyperparameters(one.learning_rate, one.weight_decay, one.penalty_strength) for one in looks}
    everything = [each[number] for number in range(len(each))]
    return [tuple(everything[first : first + size]) for first in range(0, len(everything), size)]


def beyond(first: Grid, looks: Sequence[Evaluation]) -> Grid | None:
    """The grid that an experiment tries next; None where the best of all candidates so far stands inside on every axis.

    An axis goes on beyond its end with as many values as it had first, each the axis's ratio from the one before: the mean
    ratio of its first positive values, or STEP for one. The other axes stay those of the best candidate's grid; learning
    rates come first. An axis of one value is no grid and stays; nothing lies below a value of 0, nor beyond what a config
    may hold. Where every candidate diverged, the learning rates go down.
    """
    grids, best = tried(looks, len(first)), choose(looks)
    own = grids[best.candidate // len(first)] if best else grids[-1]
    for axis, field in FIELDS.items():
        values = sorted({getattr(one, axis) for one in first})
        everywhere = {getattr(one, axis) for grid in grids for one in grid}
        lowest, highest = min(everywhere), max(everywhere)
        chosen = getattr(best, axis) if best else lowest
        if len(values) == 1 or lowest < chosen < highest:
            continue
        positive = [value for value in values if value > 0]
        step = (positive[-1] / positive[0]) ** (1 / (len(positive) - 1)) if len(positive) > 1 else STEP
        factors = itertools.repeat(step if chosen == highest else 1 / step, len(values))
        new = sorted(list(itertools.accumulate(factors, operator.mul, initial=chosen))[1:])
        bounds = fields()[f"training.{field}"][1]
        if chosen > 0 and all(bounds["least"] <= value <= bounds["most"] for value in new):
            rank = dict(zip(sorted({getattr(one, axis) for one in own}), new, strict=True))
            return tuple(one._replace(**{axis: rank[getattr(one, axis)]}) for one in own)
    return None
