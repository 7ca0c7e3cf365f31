"""Networks of equal size: channels solved for, so that a cell has as many parameters, or multiply-adds, as another."""

from bisect import bisect_left
from typing import Literal

from cnn_constraints.arrays import Dataset
from cnn_constraints.errors import InputError
from cnn_constraints.experiment import Experiment, replace
from cnn_constraints.plan import cost_of

Quantity = Literal["parameters", "multiply_adds"]

WIDEST = 2**16


def match_width(experiment: Experiment, dataset: Dataset, quantity: Quantity, target: int) -> Experiment:
    """The experiment with all channels multiplied by the factor with which its network's cost is nearest to the target.

    Raises InputError where even one channel a layer costs more than twice the target, and for multiply-adds that are not
    known.
    """

    def widened(first: int) -> Experiment:
        """All channels, in proportion, for so many in the first layer."""
        factor = first / experiment.model.channels[0]
        channels = tuple(max(1, round(factor * channel)) for channel in experiment.model.channels)
        return replace(experiment, {"model.channels": channels})

    def cost(first: int) -> int:
        found = getattr(cost_of(widened(first), dataset), quantity)
        if found is None:
            raise InputError(f"The {quantity} of a network of your own are not known: match its parameters.")
        return found

    enough = 1 + bisect_left(range(1, WIDEST), target, key=cost)
    best = min((max(1, enough - 1), enough), key=lambda first: abs(cost(first) - target))
    if cost(best) > 2 * target:
        raise InputError(
            f"{experiment.model.constraint} has at least {cost(best):,} {quantity} on these images: it cannot be matched "
            f"to {target:,}."
        )
    return widened(best)
