"""A trial is written in one way and has one name, and whatever is wrong with it is told in one sentence."""

import dataclasses
import hashlib
import json
import re
import typing
from collections.abc import Iterable, Iterator
from typing import Any

import jaxtyping
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_constraints import config
from cnn_constraints.config import Data, Experiment, Model, Training
from cnn_constraints.constraints import low_rank, ties
from cnn_constraints.constraints.geometry import BOUNDARIES
from cnn_constraints.data.interventions import INTERVENTIONS
from cnn_constraints.data.sources import names
from cnn_constraints.data.tasks import TASKS
from cnn_constraints.errors import InputError
from cnn_constraints.model import ACTIVATIONS, BIASES, POOLINGS, PRECISIONS, READOUTS
from cnn_constraints.training.optimizer import OPTIMIZERS, SCHEDULES
from cnn_constraints.training.soft_constraints import BETA_LASSO

REGISTRIES: dict[str, Iterable[str]] = {
    "data.source": names(),
    "data.intervention": INTERVENTIONS,
    "model.constraint": low_rank.names(),
    "model.pooling": POOLINGS,
    "model.activation": ACTIVATIONS,
    "model.readout": READOUTS,
    "model.bias": BIASES,
    "model.boundary": BOUNDARIES,
    "model.precision": PRECISIONS,
    "training.optimizer": OPTIMIZERS,
    "training.schedule": SCHEDULES,
    "training.switch_from": ties.CONSTRAINTS,
    "training.penalty": [BETA_LASSO, *ties.CONSTRAINTS],
}
FIELDS = sorted(config.flat(Experiment()))
LOCAL = sorted(name for name in low_rank.names() if ties.find(low_rank.constraint_of(name)).local)
LOCAL_SET = set(LOCAL)
GLOBAL = sorted(set(low_rank.names()) - LOCAL_SET)
SIZES = {"model.tile": "tiled", "model.rank": "low_rank_local"}
"""Fields that mean something to one constraint alone."""
VERIFIED = sorted(set(names()) - {"folder"})

WRONG_FOR_TYPE: dict[Any, list[Any]] = {
    str: [None, 3, 1.5, ("none",), ["none"]],
    str | None: [3, 1.5, ("none",), ["none"]],
    int: [None, "3", 1.5, 3.0, (3,), [3]],
    int | None: ["3", 1.5, 3.0, (3,), [3]],
    float | None: ["3", (0.5,), [0.5]],
    tuple[int, ...]: [None, 3, "33", [3, 3], ("3", 3), (3, "3"), (3, 3.5), (3, None)],
    tuple[str, ...]: [None, "conv", 3, ["conv"], ("conv", 3), (None,)],
    tuple[float, ...]: [None, 0.1, "0.1", [0.1], ("0.1",), (0.1, "0.2"), (0.1, None)],
}

CASES = 10
"""Random experiments a test."""


def random_experiment(generator: np.random.Generator) -> Experiment:
    """Any experiment that is in order."""

    def whole(lowest: int, highest: int) -> int:
        return int(generator.integers(lowest, highest + 1))

    def name(field: str) -> str:
        return str(generator.choice(sorted(REGISTRIES[field])))

    def side(highest: int) -> tuple[int, ...]:
        return tuple(generator.integers(1, highest + 1, layers).tolist())

    def numbers() -> tuple[float, ...]:
        return tuple((10 ** generator.uniform(-9, 9, whole(1, 3))).tolist())

    def soft_constraints(updates: int) -> dict[str, Any]:
        beta = [None, generator.random()][whole(0, 1)]
        return [
            {},
            {"switch_from": name("training.switch_from"), "switch_at": whole(0, updates)},
            {"penalty": name("training.switch_from"), "penalty_strengths": (*numbers(), 0.0)},
            {"penalty": BETA_LASSO, "penalty_strengths": numbers(), "penalty_threshold": beta},
            {"violations": tuple(generator.permutation(sorted(ties.CONSTRAINTS))[: whole(1, 3)].tolist())},
        ][whole(0, 4)]

    layers, n_train, evaluate_every = whole(1, 3), whole(1, 999), whole(1, 50)
    source, intervention = name("data.source"), name("data.intervention")
    updates = evaluate_every * whole(1, 9)
    has_strength = INTERVENTIONS[intervention].strength is not None
    return Experiment(
        data=Data(
            source=source,
            size=[None, whole(1, 30)][whole(0, 1)] if source in TASKS else None,
            reduce=whole(1, 4),
            strength=[None, generator.random()][whole(0, 1)] if has_strength else None,
            folder=[None, "here", "/some where/\u00e9"][whole(0, 2)],
            intervention=intervention,
            n_train=n_train,
            n_validation=whole(1, 999),
        ),
        model=Model(
            constraint=name("model.constraint"),
            delta=None if generator.random() < 0.3 else whole(0, 40),
            tile=[None, whole(1, 9)][whole(0, 1)],
            rank=[None, whole(1, 9)][whole(0, 1)],
            channels=side(64),
            pool_sizes=side(4),
            strides=side(4),
            pooling=name("model.pooling"),
            activation=name("model.activation"),
            readout=name("model.readout"),
            bias=name("model.bias"),
            boundary=name("model.boundary"),
            precision=name("model.precision"),
        ),
        training=Training(
            optimizer=name("training.optimizer"),
            learning_rates=numbers(),
            weight_decays=(*numbers(), 0.0)[whole(0, 1) :],
            schedule=name("training.schedule"),
            batch_size=whole(1, n_train),
            updates=updates,
            evaluate_every=evaluate_every,
            **soft_constraints(updates),
        ),
        seed=whole(0, 2**32 - 1),
    )


@pytest.fixture
def generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Values come as from a user: no check that is switched on for tests alone stands before the package's own."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def experiments(generator: np.random.Generator) -> list[Experiment]:
    return [random_experiment(generator) for _ in range(CASES)]


def refusal(experiment: Experiment) -> str:
    with pytest.raises(InputError) as error:
        config.resolve(experiment)
    message = str(error.value)
    assert "\n" not in message and message[-1] in ".?"
    return message


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


def without_soft_constraints(experiment: Experiment) -> Experiment:
    plain = config.flat(Experiment())
    soft = ("switch_from", "switch_at", "penalty", "penalty_strengths", "penalty_threshold", "violations")
    return config.replace(experiment, {f"training.{name}": plain[f"training.{name}"] for name in soft})


def types_of_fields() -> dict[str, Any]:
    hints = typing.get_type_hints(Experiment)
    sections = {name: hint for name, hint in hints.items() if dataclasses.is_dataclass(hint)}
    leaves = {name: hint for name, hint in hints.items() if name not in sections}
    for section, record in sections.items():
        leaves |= {f"{section}.{leaf}": hint for leaf, hint in typing.get_type_hints(record).items()}
    return leaves


WRONG_TYPES = [(field, value) for field, hint in types_of_fields().items() for value in WRONG_FOR_TYPE[hint]]


def test_resolving_twice_is_resolving_once(experiments):
    for experiment in experiments:
        once = config.resolve(experiment)
        assert config.resolve(once) == once


def test_resolving_changes_only_what_can_be_said_in_two_ways(experiments):
    two_ways = {"model.constraint", "model.delta", *SIZES, "data.size", "data.strength", "training.penalty_threshold"}
    for experiment in experiments:
        before, after = config.flat(experiment), config.flat(config.resolve(experiment))
        assert {name for name in before if before[name] != after[name]} <= two_ways


@pytest.mark.parametrize(("field", "value"), [("data.size", 16), ("data.strength", 0.2)])
def test_what_is_not_given_is_what_it_stands_for(field, value):
    told = config.replace(Experiment(), {"data.source": "signal_patches", "data.intervention": "translate"})
    assert config.resolve(told) == config.resolve(config.replace(told, {field: value}))


@pytest.mark.parametrize(("local", "whole"), [("conv", "shared"), ("local", "dense")])
def test_a_local_cell_that_sees_all_offsets_is_its_corner(local, whole, experiments):
    for experiment in experiments:
        unlimited = config.replace(experiment, {"model.constraint": local, "model.delta": None})
        corner = config.replace(experiment, {"model.constraint": whole, "model.delta": None})
        assert config.resolve(unlimited) == config.resolve(corner)


@pytest.mark.parametrize("constraint", GLOBAL)
def test_delta_is_lost_where_every_constraint_sees_all_offsets(constraint, experiments):
    for experiment in experiments:
        model = config.resolve(config.replace(experiment, {"model.constraint": constraint})).model
        heeded = not LOCAL_SET.isdisjoint(config.soft_constraints(experiment.training).stronger)
        assert (model.constraint, model.delta) == (constraint, experiment.model.delta if heeded else None)


@pytest.mark.parametrize("constraint", LOCAL)
def test_a_local_constraint_keeps_its_delta(constraint, experiments, draw):
    for experiment in experiments:
        changed = config.replace(experiment, {"model.constraint": constraint, "model.delta": draw.integer(0, 99)})
        assert config.resolve(changed).model.delta == changed.model.delta


@pytest.mark.parametrize("field", SIZES)
def test_a_size_is_two_where_it_means_something_and_none_elsewhere(field, experiments, draw):
    for experiment in map(without_soft_constraints, experiments):
        own, two = (config.replace(experiment, {"model.constraint": SIZES[field], field: size}) for size in (None, 2))
        assert config.resolve(own) == config.resolve(two)
        other = config.replace(own, {"model.constraint": draw.rng.choice(sorted({*LOCAL, *GLOBAL} - {SIZES[field]}))})
        resolved = config.resolve(config.replace(other, {field: draw.integer(2, 99)}))
        assert resolved == config.resolve(other) and config.get(resolved, field) is None


def test_tiles_of_one_site_are_a_convolution(experiments):
    for experiment in map(without_soft_constraints, experiments):
        ways = ({"model.constraint": "tiled", "model.tile": 1}, {"model.constraint": "conv"})
        tiles, conv = (config.resolve(config.replace(experiment, way)) for way in ways)
        assert tiles == conv


def test_an_empty_field_is_not_in_the_name(experiments):
    for experiment in experiments:
        told = {field: value for field, value in config.flat(experiment).items() if value not in (None, ())}
        if experiment.data.source != "folder":
            told.pop("data.folder", None)
        assert config.name(experiment) == hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]


@pytest.mark.parametrize("source", VERIFIED)
def test_where_verified_archives_lie_is_not_in_the_name(source, experiments):
    for experiment in experiments:
        places = [
            config.replace(experiment, {"data.source": source, "data.folder": place}) for place in (None, "a", "b")
        ]
        assert len({config.name(place) for place in places}) == 1


@pytest.mark.parametrize("field", FIELDS)
def test_every_other_field_is_in_the_name(field, experiments):
    if field == "data.folder":
        experiments = [config.replace(experiment, {"data.source": "folder"}) for experiment in experiments]
    values = {config.get(experiment, field) for experiment in experiments}
    changed = [config.replace(experiments[0], {field: value}) for value in values]
    assert len({config.name(experiment) for experiment in changed}) == len(values)


@pytest.mark.parametrize(
    ("field", "whole"),
    [("training.weight_decays", (0,)), ("training.learning_rates", (1, 2)), ("training.learning_rates", (1, 0.5))],
    ids=str,
)
@pytest.mark.usefixtures("unchecked")
def test_equal_experiments_have_one_name(field, whole):
    point = tuple(float(number) for number in whole)
    one, two = (config.resolve(config.replace(Experiment(), {field: value})) for value in (whole, point))
    assert one == two
    assert config.name(one) == config.name(two)


def test_a_name_is_twelve_hexadecimal_digits(experiments):
    assert all(re.fullmatch(r"[0-9a-f]{12}", config.name(experiment)) for experiment in experiments)


def test_every_experiment_survives_json(experiments):
    for experiment in experiments:
        restored = from_json(json.loads(json.dumps(config.to_json(experiment), allow_nan=False)))
        assert restored == experiment
        assert config.name(restored) == config.name(experiment)


@settings(max_examples=50, deadline=None, database=None, derandomize=False, print_blob=True)
@given(st.text(), st.floats(0, exclude_min=True, allow_infinity=False))
def test_every_text_and_number_survives_json(text, number):
    changes = {"data.folder": text, "training.learning_rates": (number,)}
    experiment = config.replace(Experiment(), changes)
    assert from_json(json.loads(json.dumps(config.to_json(experiment)))) == experiment


def test_replacing_changes_the_named_fields_and_no_other(experiments, generator):
    for experiment, other in zip(experiments, experiments[1:], strict=False):
        before, values = config.flat(experiment), config.flat(other)
        changes = {field: values[field] for field in FIELDS if generator.random() < 0.5}
        assert config.flat(config.replace(experiment, changes)) == before | changes
        assert config.flat(experiment) == before


@pytest.mark.parametrize("field", FIELDS)
def test_a_misspelt_field_is_told_the_nearest(field):
    typo = field[:-2] + field[:-3:-1]
    assert typo not in FIELDS
    for attempt in (lambda: config.get(Experiment(), typo), lambda: config.replace(Experiment(), {typo: 1})):
        with pytest.raises(InputError, match=rf"{re.escape(repr(typo))}.*did you mean {re.escape(repr(field))}\?"):
            attempt()


@pytest.mark.parametrize("section", ["data", "model", "training"])
def test_a_section_is_not_a_field(section):
    with pytest.raises(InputError, match=f"'{section}'"):
        config.get(Experiment(), section)


@pytest.mark.parametrize(("field", "value"), WRONG_TYPES, ids=str)
@pytest.mark.usefixtures("unchecked")
def test_a_value_of_the_wrong_type_is_refused_with_its_field(field, value):
    message = refusal(config.replace(Experiment(), {field: value}))
    assert message.startswith(f"{field} is {value!r}: ")


@pytest.mark.parametrize("section", ["data", "model", "training"])
@pytest.mark.parametrize("value", [None, {"n_train": 3}, "conv"], ids=str)
@pytest.mark.usefixtures("unchecked")
def test_a_section_of_the_wrong_type_is_refused(section, value):
    assert refusal(dataclasses.replace(Experiment(), **{section: value})).startswith(f"{section} is {value!r}: ")


@pytest.mark.parametrize(
    ("field", "name"), [(field, name) for field, names in REGISTRIES.items() for name in sorted(names)]
)
def test_a_misspelt_name_is_told_the_nearest(field, name):
    typo = name[:-1] + "q"
    message = refusal(config.replace(Experiment(), {field: typo}))
    assert repr(typo) in message and message.endswith(f"did you mean {name!r}?")


@pytest.mark.parametrize("field", REGISTRIES)
def test_a_name_like_no_other_is_told_all_that_are_allowed(field):
    message = refusal(config.replace(Experiment(), {field: "@@@@"}))
    assert field in message and "'@@@@'" in message
    assert all(name in message for name in REGISTRIES[field])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((field, value) for field in ("data.n_train", "data.n_validation") for value in (0, -1)),
        *((f"training.{leaf}", value) for leaf in ("batch_size", "updates", "evaluate_every") for value in (0, -32)),
        ("seed", -1),
        ("seed", 2**32),
        ("model.delta", -1),
        ("model.tile", 0),
        ("model.rank", 0),
        ("data.reduce", 0),
        ("data.size", 3),
        ("data.strength", 0.5),
        *(
            (f"model.{leaf}", value)
            for leaf in ("channels", "pool_sizes", "strides")
            for value in ((), (0, 1), (1, -1))
        ),
        *(
            (f"training.{leaf}", value)
            for leaf in ("learning_rates", "weight_decays")
            for value in ((), (-0.1,), (0.1, float("inf")), (float("nan"), 0.1), (0.1, 0.2, 0.1))
        ),
        ("training.learning_rates", (0.1, 0.0)),
        ("training.updates", 399),
        ("training.batch_size", 301),
    ],
    ids=str,
)
def test_a_value_out_of_range_is_refused_with_its_field(field, value):
    assert refusal(config.replace(Experiment(), {field: value})).startswith(f"{field} is {value}: ")


@pytest.mark.parametrize("field", ["model.pool_sizes", "model.strides"])
@pytest.mark.parametrize(("layers", "entries"), [(1, 2), (2, 1), (3, 4), (4, 2)])
def test_lists_of_different_lengths_are_refused(field, layers, entries):
    lists = {f"model.{leaf}": (1,) * layers for leaf in ("channels", "pool_sizes", "strides")}
    message = refusal(config.replace(Experiment(), lists | {field: (1,) * entries}))
    assert message.startswith(f"{field} has {entries} ") and f"model.channels has {layers}" in message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", 0),
        ("seed", 2**32 - 1),
        ("model.delta", 0),
        ("data.n_train", 32),
        ("data.n_validation", 1),
        ("training.batch_size", 300),
        ("training.batch_size", 1),
        ("training.updates", 40),
        ("training.evaluate_every", 400),
        ("training.weight_decays", (0.0, 5.0)),
    ],
    ids=str,
)
def test_the_ends_of_a_range_belong_to_it(field, value):
    edge = config.replace(Experiment(), {field: value})
    assert config.resolve(edge) == edge
