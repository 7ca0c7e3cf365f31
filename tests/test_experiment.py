"""The fields of an experiment have one dotted name each, and a grid is a product of axes over them."""

import dataclasses
import itertools
import json
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_experiments import random_experiment

import cnn_constraints as cc
from cnn_constraints.errors import InputError
from cnn_constraints.experiment import (
    DEFAULTS,
    Data,
    Experiment,
    Model,
    Training,
    axis,
    flat,
    get,
    hints,
    product,
    replace,
    to_json,
)

FIELDS = sorted(DEFAULTS)

CASES = 10
"""Random experiments a test."""


@pytest.fixture
def generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture
def experiments(generator: np.random.Generator) -> list[Experiment]:
    return [random_experiment(generator) for _ in range(CASES)]


def from_json(nested: dict[str, Any]) -> Experiment:
    """The experiment of which `nested` is the JSON."""

    def section(record: type, values: dict[str, Any]) -> Any:
        return record(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})

    return Experiment(
        data=section(Data, nested["data"]),
        model=section(Model, nested["model"]),
        training=section(Training, nested["training"]),
        seed=nested["seed"],
    )


def random_changes(generator: np.random.Generator, other: Experiment) -> dict[str, Any]:
    """Some of the fields of another experiment, in any order."""
    values = flat(other)
    return {str(field): values[field] for field in generator.permutation(FIELDS) if generator.random() < 0.5}


def different(generator: np.random.Generator, at_least: int = 1) -> list[int]:
    return generator.choice(1000, generator.integers(at_least, 5), replace=False).tolist()


def random_axes(generator: np.random.Generator) -> list[tuple[str, list[int]]]:
    fields = generator.permutation(["seed", "data.n_train", "model.delta", "data.n_validation"])
    return [(str(field), different(generator)) for field in fields[: generator.integers(1, 5)]]


def test_the_fields_are_those_of_the_sections_and_the_seed():
    sections = {"data": Data, "model": Model, "training": Training}
    leaves = {f"{name}.{leaf.name}" for name, section in sections.items() for leaf in dataclasses.fields(section)}
    assert set(FIELDS) == set(hints()) == {*leaves, "seed"}
    assert {field: get(Experiment(), field) for field in FIELDS} == DEFAULTS


def test_every_experiment_survives_json(experiments):
    for experiment in experiments:
        assert from_json(json.loads(json.dumps(to_json(experiment), allow_nan=False))) == experiment


@settings(max_examples=50, deadline=None, database=None, derandomize=False, print_blob=True)
@given(st.text(), st.floats(0, exclude_min=True, allow_infinity=False))
def test_every_text_and_number_survives_json(text, number):
    changes = {"data.folder": text, "training.learning_rates": (number,)}
    experiment = replace(Experiment(), changes)
    assert from_json(json.loads(json.dumps(to_json(experiment)))) == experiment


def test_replacing_changes_the_named_fields_and_no_other(experiments, generator):
    for experiment, other in itertools.pairwise(experiments):
        before, changes = flat(experiment), random_changes(generator, other)
        assert flat(replace(experiment, changes)) == before | changes
        assert flat(experiment) == before


def test_replacing_several_fields_of_a_section_is_one_change(experiments, generator, monkeypatch):
    """However they are ordered: no state between two of them is ever there to be refused."""
    made: list[str] = []
    whole = dataclasses.replace

    def counted(record: Any, **values: Any) -> Any:
        made.append(type(record).__name__.lower())
        return whole(record, **values)

    monkeypatch.setattr(dataclasses, "replace", counted)
    for experiment, other in itertools.pairwise(experiments):
        changes = random_changes(generator, other)
        made.clear()
        at_once = cc.replace(experiment, changes)
        assert sorted(made) == sorted({field.partition(".")[0] for field in changes} - {"seed"})
        one_by_one = experiment
        for field, value in changes.items():
            one_by_one = cc.replace(one_by_one, {field: value})
        assert one_by_one == at_once == cc.replace(experiment, dict(reversed(changes.items())))


def test_replacing_nothing_gives_the_same(experiments):
    assert [replace(experiment, {}) for experiment in experiments] == experiments


@pytest.mark.parametrize("field", FIELDS)
def test_a_misspelt_field_is_told_the_nearest(field):
    typo = field[:-2] + field[:-3:-1]
    assert typo not in FIELDS
    for attempt in (
        lambda: get(Experiment(), typo),
        lambda: replace(Experiment(), {typo: 1}),
        lambda: product(Experiment(), axis(typo, [1])),
    ):
        with pytest.raises(InputError, match=rf"{re.escape(repr(typo))}.*did you mean {re.escape(repr(field))}\?"):
            attempt()


@pytest.mark.parametrize("section", ["data", "model", "training"])
def test_a_section_is_not_a_field(section):
    with pytest.raises(InputError, match=f"'{section}'"):
        get(Experiment(), section)
    with pytest.raises(InputError, match=f"'{section}'"):
        replace(Experiment(), {section: Data()})


def test_a_product_holds_every_combination_and_its_last_axis_is_fastest(generator):
    axes = random_axes(generator)
    experiments = product(Experiment(), *(axis(field, values) for field, values in axes))
    combinations = itertools.product(*(values for _, values in axes))
    assert [tuple(get(experiment, field) for field, _ in axes) for experiment in experiments] == list(combinations)


def test_a_product_leaves_all_other_fields_alone(experiments, generator):
    axes = random_axes(generator)
    for base in experiments:
        before = flat(base)
        for experiment in product(base, *(axis(field, values) for field, values in axes)):
            assert flat(experiment) == before | {field: get(experiment, field) for field, _ in axes}


def test_no_axes_give_the_base_and_an_empty_axis_nothing(generator):
    assert product(Experiment()) == [Experiment()]
    assert product(Experiment(), axis("seed", different(generator)), axis("data.n_train", [])) == []


def test_an_axis_of_several_fields_changes_them_together(generator):
    entries = list(zip(different(generator, 4), different(generator, 4), strict=True))
    experiments = product(Experiment(), axis(("seed", "data.n_train"), entries))
    assert [(experiment.seed, experiment.data.n_train) for experiment in experiments] == entries


@pytest.mark.parametrize("entry", [(1,), (1, 2, 3), ()])
def test_an_entry_that_does_not_fit_its_fields_is_refused(entry):
    with pytest.raises(InputError) as error:
        axis(("seed", "data.n_train"), [(1, 2), entry])
    assert repr(entry) in str(error.value) and "seed, data.n_train" in str(error.value)


def test_chaining_axes_chains_their_products(generator):
    base = Experiment()
    one, two, other = (axis(field, different(generator)) for field in ("seed", "model.delta", "data.n_train"))
    assert product(base, one + two, other) == product(base, one, other) + product(base, two, other)
