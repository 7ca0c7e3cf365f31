"""A trial as data: its fields by dotted name, checked against the registries, written as JSON and named by their hash."""

import dataclasses
import json
import math
import types
import typing
from collections.abc import Iterable
from typing import Any

import numpy as np
import typeguard
from typeguard import CollectionCheckStrategy

from cnn_constraints.constraints import low_rank, ties
from cnn_constraints.constraints.geometry import BOUNDARIES
from cnn_constraints.data import sources, subsets
from cnn_constraints.data.interventions import INTERVENTIONS, check_strength, strength_of
from cnn_constraints.errors import InputError, unknown_name
from cnn_constraints.experiment import Data as Data
from cnn_constraints.experiment import Experiment
from cnn_constraints.experiment import Model as Model
from cnn_constraints.experiment import Training as Training
from cnn_constraints.files import digest
from cnn_constraints.model import ACTIVATIONS, BIASES, POOLINGS, PRECISIONS, READOUTS
from cnn_constraints.training.optimizer import OPTIMIZERS, SCHEDULES
from cnn_constraints.training.soft_constraints import BETA_LASSO, SoftConstraints

DEFAULT_BETA = 50.0
"""Of beta-LASSO, the best of Neyshabur 2020."""

LARGEST_STRENGTH = 1e12
"""Of a penalty: beyond, the square of its gradient may not fit 32 bits, and Adam would stand still."""

SMALLEST, LARGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
"""Positive numbers that training knows: it is done in 32 bits."""

LARGEST_WHOLE = 2**31 - 1
"""Sizes and positions have 32 bits too."""

MOST_LANES = 1000
"""Of a trial. All are written into one program, which takes ever longer to compile."""

SHOWN = 200
"""Characters of a value that a sentence repeats."""


def resolve(experiment: Experiment) -> Experiment:
    """The one way to write a trial: delta, tile and rank are missing where nothing in it heeds them, a constraint that sees
    all offsets or ties all sites is named so, a size or strength that is not given is the one it stands for, and 1 and
    1.0 are one learning rate.

    Raises InputError for what `check` refuses.
    """
    check(experiment)
    model = experiment.model
    constraint = "conv" if (model.constraint, model.tile) == ("tiled", 1) else model.constraint
    if model.delta is None:
        constraint = {"conv": "shared", "local": "dense"}.get(constraint, constraint)
    data, training = experiment.data, experiment.training
    named = {low_rank.constraint_of(constraint)} | soft_constraints(training).stronger
    beta = DEFAULT_BETA if training.penalty_threshold is None else float(training.penalty_threshold)
    return replace(
        experiment,
        {
            "model.constraint": constraint,
            "model.delta": model.delta if any(ties.find(name).local for name in named) else None,
            "model.tile": ties.tile_of("tiled", model.tile) if "tiled" in named else None,
            "model.rank": low_rank.rank_of(constraint, model.rank),
            "data.size": sources.size_of(data.source, data.size),
            "data.strength": strength_of(data.intervention, data.strength),
            "training.learning_rates": tuple(map(float, training.learning_rates)),
            "training.weight_decays": tuple(map(float, training.weight_decays)),
            "training.penalty_strengths": tuple(map(float, training.penalty_strengths)),
            "training.penalty_threshold": beta if training.penalty == BETA_LASSO else None,
        },
    )


def soft_constraints(training: Training) -> SoftConstraints:
    """What a training asks of the layers beyond the constraint that they are built with."""
    threshold = training.penalty_threshold or 0.0
    return SoftConstraints(
        training.switch_from, training.switch_at or 0, training.penalty, threshold, training.violations
    )


def check(experiment: Experiment) -> None:
    """Raises InputError, in one sentence, for a value of the wrong type, out of range, or not in its registry."""
    for name, (value, hint) in _leaves(experiment).items():
        _check_type(name, value, hint)
    for name, allowed in registries().items():
        value = get(experiment, name)
        # Several fields may be left empty, and some hold several names.
        for entry in value if isinstance(value, tuple) else (value,):
            if entry is not None and entry not in allowed:
                raise unknown_name(name, entry, allowed)
    _check_ranges(experiment)


def _check_type(name: str, value: Any, hint: Any) -> None:
    """And that whole numbers fit the 32 bits of what they become."""
    entries = value if isinstance(value, tuple) else (value,)
    try:
        typeguard.check_type(value, hint, collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS)
        fits = not any(isinstance(entry, bool) for entry in entries)
    except typeguard.TypeCheckError:
        fits = False
    if not fits:
        raise InputError(f"{name} is {_shown(value)}: it must be {_type_in_words(hint)}.")
    largest = LARGEST if "float" in str(hint) else LARGEST_WHOLE
    if name != "seed" and any(isinstance(entry, int) and abs(entry) > largest for entry in entries):
        raise InputError(f"{name} is {_shown(value)}: no number in it may exceed {largest:,.10g}.")


def _shown(value: object) -> str:
    """As Python writes it, but in few words."""
    try:
        written = repr(value)
    except ValueError:
        # Python refuses to write out whole numbers of thousands of digits.
        return "a number of thousands of digits"
    return written if len(written) <= SHOWN else f"{written[:SHOWN]}..."


def registries() -> dict[str, Iterable[str]]:
    """The names that a field may hold, by the field's dotted name."""
    return {
        "data.source": sources.names(),
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
        "training.violations": ties.CONSTRAINTS,
    }


def _check_ranges(experiment: Experiment) -> None:
    positive = (
        "data.n_train",
        "data.n_validation",
        "data.reduce",
        "model.tile",
        "model.rank",
        "training.batch_size",
        "training.updates",
        "training.evaluate_every",
    )
    for name in positive:
        value = get(experiment, name)
        if value is not None and value < 1:
            raise InputError(f"{name} is {value}: it must be at least 1.")
    if not 0 <= experiment.seed < 2**32:
        raise InputError(f"seed is {_shown(experiment.seed)}: it must lie between 0 and {2**32 - 1}.")
    if experiment.model.delta is not None and experiment.model.delta < 0:
        raise InputError(f"model.delta is {experiment.model.delta}: it must be at least 0, or None for all offsets.")
    check_strength(experiment.data.intervention, experiment.data.strength)
    sources.check_size(experiment.data.source, experiment.data.size)
    _check_lists(experiment)
    _check_soft_constraints(experiment.training)
    training = experiment.training
    if training.updates % training.evaluate_every:
        raise InputError(
            f"training.updates is {training.updates}: it must be a multiple of training.evaluate_every, "
            f"{training.evaluate_every}."
        )
    if training.batch_size > experiment.data.n_train:
        raise InputError(
            f"training.batch_size is {training.batch_size}: it must not exceed data.n_train, {experiment.data.n_train}."
        )
    subsets.check_length(training.batch_size, training.updates)


def _check_lists(experiment: Experiment) -> None:
    layers = len(experiment.model.channels)
    for name in ("model.channels", "model.pool_sizes", "model.strides"):
        values = get(experiment, name)
        if not values or min(values) < 1:
            raise InputError(f"{name} is {_shown(values)}: it needs at least one entry, and every entry at least 1.")
        if len(values) != layers:
            raise InputError(f"{name} has {len(values)} entries: model.channels has {layers}, and they must agree.")
    lists = {"training.learning_rates": SMALLEST, "training.weight_decays": 0.0}
    if experiment.training.penalty is not None:
        lists["training.penalty_strengths"] = 0.0
    for name, least in lists.items():
        values, largest = get(experiment, name), LARGEST_STRENGTH if "strengths" in name else LARGEST
        if not values:
            raise InputError(f"{name} is (): it needs at least one number.")
        if not all(SMALLEST <= value <= largest or value == least for value in values):
            lowest = "at least 0" if least == 0 else "above 0"
            raise InputError(
                f"{name} is {_shown(values)}: each must be {lowest}, from {SMALLEST:.3g} to {largest:.3g} in 32 bits."
            )
        if len(set(map(np.float32, values))) < len(values):
            raise InputError(f"{name} is {_shown(values)}: two are the same number in 32 bits, so leave one out.")
    lanes = math.prod(len(get(experiment, name)) for name in lists)
    if lanes > MOST_LANES:
        raise InputError(f"{' and '.join(lists)} make {lanes:,} combinations: a trial has at most {MOST_LANES:,}.")


def _check_soft_constraints(training: Training) -> None:
    """A setting of what is not asked for would have no effect."""
    lasso, penalised, switched = training.penalty == BETA_LASSO, training.penalty, training.switch_from
    for name, value, owner, wanted in (
        ("penalty_strengths", training.penalty_strengths, "penalty", penalised),
        ("penalty_threshold", training.penalty_threshold, "penalty beta_lasso", lasso),
        ("switch_at", training.switch_at, "switch_from", switched),
    ):
        if value not in (None, ()) and not wanted:
            raise InputError(f"training.{name} is {value}: it has no effect without training.{owner}.")
    if training.penalty_threshold is not None and not 0 <= training.penalty_threshold <= LARGEST:
        raise InputError(f"training.penalty_threshold is {training.penalty_threshold}: it must be at least 0.")
    if training.switch_from is not None and (
        training.switch_at is None or not 0 <= training.switch_at <= training.updates
    ):
        raise InputError(
            f"training.switch_at is {training.switch_at}: with training.switch_from it must lie between 0 and "
            f"training.updates, {training.updates}."
        )
    if len(set(training.violations)) < len(training.violations):
        raise InputError(f"training.violations is {training.violations}: it must name each constraint once.")


def get(experiment: Experiment, name: str) -> Any:
    """The value of a dotted field name, as in `model.delta`. Raises InputError with the nearest name."""
    leaves = _leaves(experiment)
    if name not in leaves:
        raise unknown_name("config field", name, leaves)
    return leaves[name][0]


def replace(experiment: Experiment, changes: dict[str, Any]) -> Experiment:
    """The experiment with some dotted fields changed. Raises InputError with the nearest name for an unknown field."""
    for name, value in changes.items():
        get(experiment, name)
        section, _, leaf = name.rpartition(".")
        if section:
            value = dataclasses.replace(getattr(experiment, section), **{leaf: value})
        experiment = dataclasses.replace(experiment, **{section or leaf: value})
    return experiment


def flat(experiment: Experiment) -> dict[str, Any]:
    """All fields by dotted name."""
    return {name: value for name, (value, _) in _leaves(experiment).items()}


def to_json(experiment: Experiment) -> dict[str, Any]:
    """Nested plain values, as stored with a run."""
    return json.loads(json.dumps(dataclasses.asdict(experiment)))


def name(experiment: Experiment) -> str:
    """The trial's name: 12 hexadecimal digits of the SHA-256 of its resolved fields.

    Fields that are empty are left out, so that a field to come, empty by default, renames no trial. So is the folder of
    archives whose checksums are verified: where they lie does not change the result.
    """
    identity = {field: value for field, value in flat(experiment).items() if value not in (None, ())}
    if experiment.data.source != "folder":
        identity.pop("data.folder", None)
    return digest(json.dumps(identity, sort_keys=True).encode())[:12]


def _leaves(experiment: Experiment) -> dict[str, tuple[Any, Any]]:
    """Value and annotated type of every field by dotted name. Raises InputError where a section is not its dataclass."""
    if not isinstance(experiment, Experiment):
        raise InputError(f"get_config() and get_sweep() must give Experiments, not {type(experiment).__name__}.")
    leaves: dict[str, tuple[Any, Any]] = {}
    for section, hint in typing.get_type_hints(Experiment).items():
        value = getattr(experiment, section)
        if not dataclasses.is_dataclass(hint):
            leaves[section] = (value, hint)
            continue
        if not isinstance(value, typing.cast(type, hint)):
            raise InputError(f"{section} is {value!r}: it must be a {typing.cast(type, hint).__name__}(...).")
        leaves |= {f"{section}.{leaf}": (getattr(value, leaf), h) for leaf, h in typing.get_type_hints(hint).items()}
    return leaves


def _type_in_words(hint: Any) -> str:
    words = {int: "a whole number", float: "a number", str: "a text", type(None): "None"}
    if typing.get_origin(hint) is tuple:
        return f"a tuple, each entry {_type_in_words(typing.get_args(hint)[0])}"
    if isinstance(hint, types.UnionType):
        return " or ".join(_type_in_words(part) for part in typing.get_args(hint))
    return words[hint]
