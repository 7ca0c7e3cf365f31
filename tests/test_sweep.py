"""A sweep is a product of axes, and its plan puts together exactly the trials that one program can run."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest

from cnn_constraints import config, sweep
from cnn_constraints.config import Data, Experiment, Model, Training
from cnn_constraints.errors import InputError
from cnn_constraints.sweep import axis, product

BASE = Experiment(
    data=Data(source="folder", folder="here", intervention="translate"),
    model=Model(constraint="local", delta=2),
    training=Training(learning_rates=(0.1, 0.2), weight_decays=(0.0,)),
)

ARRAYS = {
    "seed": 7,
    "data.n_train": 200,
    "data.intervention": "edge_noise",
    "data.strength": 0.5,
    "training.learning_rates": (0.3, 0.4),
    "training.weight_decays": (0.5,),
}
"""Fields that are arrays to a program, and another value for each."""

SHAPES = {
    "data.source": "digits",
    "data.folder": "there",
    "data.size": 5,
    "data.reduce": 2,
    "data.n_validation": 299,
    "model.constraint": "conv",
    "model.delta": 1,
    "model.tile": 3,
    "model.rank": 3,
    "model.channels": (8, 17),
    "model.pool_sizes": (1, 2),
    "model.strides": (1, 2),
    "model.pooling": "max",
    "model.activation": "tanh",
    "model.readout": "global_average",
    "model.bias": "none",
    "model.boundary": "circular",
    "model.precision": "bfloat16",
    "training.optimizer": "sgd",
    "training.schedule": "cosine",
    "training.batch_size": 16,
    "training.updates": 800,
    "training.evaluate_every": 80,
    "training.switch_from": "conv",
    "training.switch_at": 3,
    "training.penalty": "beta_lasso",
    "training.penalty_strengths": (0.5,),
    "training.penalty_threshold": 3.0,
    "training.violations": ("conv",),
}
"""All other fields, and another value for each."""


SOFT = [
    f"training.{name}" for name in ("switch_from", "switch_at", "penalty", "penalty_strengths", "penalty_threshold")
]
"""Fields that mean something together only."""


def different(generator: np.random.Generator, at_least: int = 1) -> list[int]:
    return generator.choice(1000, generator.integers(at_least, 5), replace=False).tolist()


def random_axes(generator: np.random.Generator) -> list[tuple[str, list[int]]]:
    fields = generator.permutation(["seed", "data.n_train", "model.delta", "data.n_validation"])
    return [(str(field), different(generator)) for field in fields[: generator.integers(1, 5)]]


def random_trials(generator: np.random.Generator) -> list[Experiment]:
    """Trials of several shapes, each with several arrays, in any order."""
    # A folder of images has no size to choose.
    changes = [
        (field, value) for field, value in (ARRAYS | SHAPES).items() if field != "data.size" and field not in SOFT
    ]
    chosen = [changes[i] for i in generator.choice(len(changes), 5, replace=False)]
    trials = [
        config.replace(BASE, {field: value for (field, value), taken in zip(chosen, choice, strict=True) if taken})
        for choice in itertools.product([False, True], repeat=len(chosen))
    ]
    return sweep.resolve(trials[i] for i in generator.permutation(len(trials)))


def groups_of(*trials: Experiment) -> int:
    return len(sweep.plan(trials))


@pytest.fixture
def generator(seed: int) -> Iterator[np.random.Generator]:
    yield np.random.default_rng(seed)


def test_a_product_holds_every_combination_and_its_last_axis_is_fastest(generator):
    axes = random_axes(generator)
    trials = product(BASE, *(axis(field, values) for field, values in axes))
    combinations = itertools.product(*(values for _, values in axes))
    assert [tuple(config.get(trial, field) for field, _ in axes) for trial in trials] == list(combinations)


def test_a_product_leaves_all_other_fields_alone(generator):
    axes = random_axes(generator)
    original = config.flat(BASE)
    for trial in product(BASE, *(axis(field, values) for field, values in axes)):
        assert config.flat(trial) == original | {field: config.get(trial, field) for field, _ in axes}


def test_no_axes_give_the_base_and_an_empty_axis_nothing(generator):
    assert product(BASE) == [BASE]
    assert product(BASE, axis("seed", different(generator)), axis("data.n_train", [])) == []


def test_an_axis_of_several_fields_changes_them_together(generator):
    entries = list(zip(different(generator, 4), different(generator, 4), strict=True))
    trials = product(BASE, axis(("seed", "data.n_train"), entries))
    assert [(trial.seed, trial.data.n_train) for trial in trials] == entries


@pytest.mark.parametrize("entry", [(1,), (1, 2, 3), ()])
def test_an_entry_that_does_not_fit_its_fields_is_refused(entry):
    with pytest.raises(InputError) as error:
        axis(("seed", "data.n_train"), [(1, 2), entry])
    assert repr(entry) in str(error.value) and "seed, data.n_train" in str(error.value)


def test_chaining_axes_chains_their_products(generator):
    one, two, other = (axis(field, different(generator)) for field in ("seed", "model.delta", "data.n_train"))
    assert product(BASE, one + two, other) == product(BASE, one, other) + product(BASE, two, other)


@pytest.mark.parametrize("field", [*ARRAYS, *SHAPES])
def test_a_misspelt_axis_is_told_the_nearest_field(field):
    with pytest.raises(InputError, match=f"'{field}s'.*did you mean '{field}'"):
        product(BASE, axis(field + "s", [1]))


def test_resolving_keeps_the_first_of_equal_trials_in_order(generator):
    trials = random_trials(generator)
    repeated = trials + [trials[i] for i in generator.integers(len(trials), size=20)]
    assert sweep.resolve(repeated) == trials


def test_a_sweep_to_all_offsets_and_the_cell_it_ends_in_are_one_trial(generator):
    seeds = axis("seed", different(generator))
    ways = axis(("model.constraint", "model.delta"), [("conv", None), ("shared", None), ("shared", 3)])
    assert len(sweep.resolve(product(BASE, ways, seeds))) == len(seeds)


def test_trials_that_differ_only_in_where_archives_lie_are_one():
    trials = product(config.replace(BASE, {"data.source": "mnist"}), axis("data.folder", [None, "here", "there"]))
    assert len(sweep.resolve(trials)) == 1


def test_an_empty_sweep_is_refused():
    with pytest.raises(InputError, match="empty"):
        sweep.resolve([])


def test_a_trial_that_is_wrong_is_refused_by_the_sweep():
    with pytest.raises(InputError, match="did you mean 'local'"):
        sweep.resolve(product(BASE, axis("model.constraint", ["conv", "locale"])))


def test_every_field_is_an_array_or_a_shape():
    assert {*ARRAYS, *SHAPES} == set(config.flat(BASE))
    assert not set(ARRAYS) & set(SHAPES)


@pytest.mark.parametrize("field", ARRAYS)
def test_what_is_an_array_shares_a_program(field):
    assert groups_of(BASE, config.replace(BASE, {field: ARRAYS[field]})) == 1


@pytest.mark.parametrize("field", SHAPES)
def test_what_is_no_array_needs_a_program_of_its_own(field):
    assert groups_of(BASE, config.replace(BASE, {field: SHAPES[field]})) == 2


def test_arrays_may_differ_all_at_once(generator):
    fields = [field for field in ARRAYS if generator.random() < 0.7]
    assert groups_of(BASE, config.replace(BASE, {field: ARRAYS[field] for field in fields})) == 1


def test_strengths_of_a_penalty_are_arrays():
    weak, strong = (
        config.replace(BASE, {"training.penalty": "beta_lasso", "training.penalty_strengths": (strength,)})
        for strength in (0.1, 0.2)
    )
    assert groups_of(weak, strong) == 1


def test_lanes_share_a_program_when_their_number_agrees(generator):
    def lanes(rates: int, decays: int) -> Experiment:
        values = {"training.learning_rates": rates, "training.weight_decays": decays}
        return config.replace(
            BASE, {field: tuple(generator.random(number).tolist()) for field, number in values.items()}
        )

    one, two = generator.integers(1, 5, 2).tolist(), generator.integers(1, 5, 2).tolist()
    assert groups_of(lanes(*one), lanes(*two)) == (1 if np.prod(one) == np.prod(two) else 2)


def test_a_plan_holds_every_trial_once_and_in_order(generator):
    trials = random_trials(generator)
    groups = sweep.plan(trials)
    planned = [trial for group in groups for trial in group.trials]
    assert sorted(map(trials.index, planned)) == list(range(len(trials)))
    for group in groups:
        assert list(group.trials) == [trial for trial in trials if trial in group.trials]


def test_a_plan_separates_trials_exactly_where_a_shape_differs(generator):
    groups = sweep.plan(random_trials(generator))
    shapes = [{tuple(config.get(trial, field) for field in SHAPES) for trial in group.trials} for group in groups]
    assert all(len(shape) == 1 for shape in shapes)
    assert len(set.union(*shapes)) == len(groups) == len({group.name for group in groups})


def test_a_group_keeps_its_name_when_it_loses_trials(generator):
    """Or a run that is taken up again would compile, and file, another program."""
    for group in sweep.plan(random_trials(generator)):
        assert [left.name for left in sweep.plan(group.trials[-1:])] == [group.name]
