"""The fields of an experiment have one dotted name each, and a grid is a product of axes over them."""

import itertools
import json
import re
from typing import Any

import numpy as np
import pytest
from random_experiments import random_experiment

from cnn_constraints.errors import InputError
from cnn_constraints.experiment import DEFAULTS, Experiment, axis, flat, flatten, get, product, replace, to_json

FIELDS = sorted(DEFAULTS)


@pytest.fixture
def experiments(generator: np.random.Generator) -> list[Experiment]:
    return [random_experiment(generator) for _ in range(10)]


def random_changes(generator: np.random.Generator, other: Experiment) -> dict[str, Any]:
    """Some of the fields of another experiment, in any order."""
    return {str(field): get(other, str(field)) for field in generator.permutation(FIELDS) if generator.random() < 0.5}


def random_axes(generator: np.random.Generator) -> list[tuple[str, list[int]]]:
    drawn = generator.permutation(["seed", "data.n_train", "model.delta", "data.n_validation"])
    different = lambda: generator.choice(1000, generator.integers(1, 5), replace=False).tolist()
    return [(str(field), different()) for field in drawn[: generator.integers(1, 5)]]


def test_every_experiment_survives_json(experiments):
    for experiment in [*experiments, replace(Experiment(), {"data.folder": "\ud800 \u00e9\n", "seed": 2**32 - 1})]:
        written = json.loads(json.dumps(to_json(experiment), allow_nan=False))
        assert replace(Experiment(), flatten(written)) == experiment


def test_replacing_changes_the_named_fields_at_once_and_no_other(experiments, generator):
    for experiment, other in itertools.pairwise(experiments):
        before, changes = flat(experiment), random_changes(generator, other)
        at_once = replace(experiment, changes)
        assert flat(at_once) == before | changes and flat(experiment) == before
        assert at_once == replace(experiment, dict(reversed(changes.items())))
        assert replace(experiment, {}) == experiment


@pytest.mark.parametrize("field", FIELDS)
def test_a_misspelt_field_is_told_the_nearest(field):
    typo = field[:-2] + field[:-3:-1]
    for attempt in (
        lambda: get(Experiment(), typo),
        lambda: replace(Experiment(), {typo: 1}),
        lambda: product(Experiment(), axis(typo, [1])),
    ):
        with pytest.raises(InputError, match=rf"{re.escape(repr(typo))}.*did you mean {re.escape(repr(field))}\?"):
            attempt()


def test_a_product_holds_every_combination_its_last_axis_fastest_and_leaves_other_fields_alone(experiments, generator):
    axes = random_axes(generator)
    names = [field for field, _ in axes]
    for base in experiments:
        found = product(base, *(axis(field, values) for field, values in axes))
        combinations = itertools.product(*(values for _, values in axes))
        assert [flat(one) for one in found] == [
            flat(base) | dict(zip(names, each, strict=True)) for each in combinations
        ]
    assert product(Experiment()) == [Experiment()] and product(Experiment(), axis("seed", [])) == []


def test_an_axis_of_several_fields_changes_them_together_and_axes_can_be_chained(generator):
    entries = generator.integers(1, 999, (4, 2)).tolist()
    both, deltas = axis(("seed", "data.n_train"), entries), axis("model.delta", [0, 3])
    assert [[one.seed, one.data.n_train] for one in product(Experiment(), both)] == entries
    chained = product(Experiment(), both + axis("seed", [7]), deltas)
    assert chained == product(Experiment(), both, deltas) + product(Experiment(), axis("seed", [7]), deltas)


@pytest.mark.parametrize("entry", [(1,), (1, 2, 3), ()])
def test_an_entry_that_does_not_fit_its_fields_is_refused(entry):
    with pytest.raises(InputError, match=re.escape(repr(entry))):
        axis(("seed", "data.n_train"), [(1, 2), entry])
