"""Networks of equal size are as equal as whole channels allow."""

import pytest

from cnn_constraints.data.sources import load
from cnn_constraints.errors import InputError
from cnn_constraints.experiment import Experiment, replace
from cnn_constraints.matching import match_width
from cnn_constraints.plan import cost_of


@pytest.fixture(scope="module")
def dataset():
    return load("digits")


@pytest.mark.parametrize("cell", ["dense", "shared", "local", "conv"])
@pytest.mark.parametrize("quantity", ["parameters", "multiply_adds"])
def test_no_other_width_is_nearer(cell, quantity, dataset, draw):
    experiment = replace(Experiment(), {"model.constraint": cell, "model.channels": (1, 2)})
    experiment = replace(experiment, {"model.delta": 1})
    target = draw.integer(20_000, 400_000)
    matched = match_width(experiment, dataset, quantity, target)

    def distance(first: int) -> int:
        widened = replace(experiment, {"model.channels": (first, 2 * first)})
        return abs(getattr(cost_of(widened, dataset), quantity) - target)

    first = matched.model.channels[0]
    assert matched.model.channels == (first, 2 * first)
    assert distance(first) == min(distance(other) for other in range(1, first + 20))


def test_a_network_matches_itself(dataset):
    experiment = replace(Experiment(), {"model.delta": 1, "model.channels": (6, 9)})
    size = cost_of(experiment, dataset).parameters
    assert match_width(experiment, dataset, "parameters", size) == experiment


def test_what_cannot_be_made_so_small_is_refused(dataset):
    experiment = replace(Experiment(), {"model.constraint": "dense"})
    with pytest.raises(InputError, match="cannot be matched to 100"):
        match_width(experiment, dataset, "parameters", 100)
