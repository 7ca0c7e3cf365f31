"""The fields of an experiment have one dotted name each, and a grid is a product of axes over them."""

import itertools
import json
import re

import numpy as np
import pytest
from any_input import MANY
from hypothesis import example, given, settings
from hypothesis import strategies as st
from random_experiments import experiments_in_order

from cnn_constraints.errors import InputError
from cnn_constraints.experiment import (
    DEFAULTS,
    Experiment,
    axis,
    fields_of,
    flat,
    flatten,
    get,
    product,
    replace,
    replace_axes,
    to_json,
)

pytestmark = pytest.mark.usefixtures("world")

FIELDS = sorted(DEFAULTS)


def random_axes(generator: np.random.Generator) -> list[tuple[str, list[int]]]:
    drawn = generator.permutation(["seed", "data.n_train", "model.delta", "data.n_validation"])
    different = lambda: generator.choice(1000, generator.integers(1, 5), replace=False).tolist()
    return [(str(field), different()) for field in drawn[: generator.integers(1, 5)]]


@settings(max_examples=MANY // 4)
@example(replace(Experiment(), {"data.folder": "\ud800 \u00e9\n", "seed": 2**32 - 1}))
@given(experiments_in_order())
def test_every_experiment_survives_json(experiment):
    written = json.loads(json.dumps(to_json(experiment), allow_nan=False))
    assert replace(Experiment(), flatten(written)) == experiment


@settings(max_examples=MANY // 4)
@given(experiments_in_order(), experiments_in_order(), st.lists(st.sampled_from(FIELDS), unique=True))
def test_replacing_changes_the_named_fields_at_once_and_no_other(experiment, other, names):
    before, changes = flat(experiment), {name: get(other, name) for name in names}
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


def test_a_product_holds_every_combination_its_last_axis_fastest_and_leaves_other_fields_alone(generator):
    axes, base = random_axes(generator), replace(Experiment(), {"model.constraint": "tiled", "training.updates": 7})
    found = product(base, *(axis(field, values) for field, values in axes))
    combinations = itertools.product(*(values for _, values in axes))
    changes = [dict(zip([field for field, _ in axes], each, strict=True)) for each in combinations]
    assert [flat(one) for one in found] == [flat(base) | changed for changed in changes]
    assert product(base) == [base]


def test_an_axis_of_several_fields_changes_them_together_and_axes_can_be_chained(generator):
    entries = generator.integers(1, 999, (4, 2)).tolist()
    both, deltas = axis(("seed", "data.n_train"), entries), axis("model.delta", [0, 3])
    assert [[one.seed, one.data.n_train] for one in product(Experiment(), both)] == entries
    chained = product(Experiment(), both + axis("seed", [7]), deltas)
    assert chained == product(Experiment(), both, deltas) + product(Experiment(), axis("seed", [7]), deltas)


@pytest.mark.parametrize("entry", [(1,), (1, 2, 3), (), 3, "ab"])
def test_an_entry_that_does_not_fit_its_fields_is_refused(entry):
    with pytest.raises(InputError, match=re.escape(repr(entry))):
        axis(("seed", "data.n_train"), [(1, 2), entry])


def test_others_take_the_places_of_the_axes_over_their_fields_and_leave_the_rest_alone(generator):
    axes = [axis(field, values) for field, values in random_axes(generator)]
    which = int(generator.integers(len(axes)))
    (field,) = fields_of(axes[which])
    other, added = axis(field, generator.integers(1000, 2000, 3).tolist()), axis("model.tile", [2, 3])
    replaced = [*axes[:which], other, *axes[which + 1 :]]
    assert replace_axes(axes, other) == replaced and replace_axes(axes) == axes
    assert replace_axes(axes, added, other) == [added, *replaced]
    assert replace_axes(axes, *axes[::-1]) == axes


def test_axes_that_change_several_fields_are_replaced_whole_or_refused(generator):
    together, seeds = (
        axis(("model.delta", "data.n_train"), generator.integers(1, 99, (3, 2)).tolist()),
        axis("seed", [4]),
    )
    deltas, sizes = axis("model.delta", [1, None]), axis("data.n_train", [100, 300])
    assert replace_axes([together, seeds], sizes, deltas) == [sizes, deltas, seeds]
    assert replace_axes([sizes, seeds, deltas], together) == [together, seeds]
    with pytest.raises(InputError, match=r"model\.delta, data\.n_train together"):
        replace_axes([seeds, together], deltas)
