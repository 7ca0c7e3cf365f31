"""Networks of equal size are as equal as whole channels allow."""

import pytest

from cnn_constraints.data.sources import load
from cnn_constraints.errors import InputError
from cnn_constraints.experiment import Experiment, replace
from cnn_constraints.matching import match_width
from cnn_constraints.plan import cost_of


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.mark.parametrize("cell", ["dense", "shared", "local", "conv"])
@pytest.mark.parametrize("quantity", ["parameters", "multiply_adds"])
def test_no_other_width_is_nearer(cell, quantity, digits, draw):
    experiment = replace(Experiment(), {"model.constraint": cell, "model.channels": (1, 2), "model.delta": 1})
    target = draw.integer(20_000, 400_000)

    def distance(first: int) -> int:
        widened = replace(experiment, {"model.channels": (first, 2 * first)})
        return abs(getattr(cost_of(widened, digits), quantity) - target)

    first, second = match_width(experiment, digits, quantity, target).model.channels
    assert second == 2 * first
    assert distance(first) == min(map(distance, range(1, first + 20)))


def test_a_network_matches_itself_and_none_that_is_far_smaller(digits):
    experiment = replace(Experiment(), {"model.delta": 1, "model.channels": (6, 9)})
    assert match_width(experiment, digits, "parameters", cost_of(experiment, digits).parameters) == experiment
    with pytest.raises(InputError, match="cannot be matched to 100"):
        match_width(replace(experiment, {"model.constraint": "dense"}), digits, "parameters", 100)
