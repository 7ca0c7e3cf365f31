"""The one way to write an experiment: checked against rules and registries, completed, and named by its hash."""

import itertools
import json
import math
import types
import typing
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, fields
from functools import cache, lru_cache
from operator import attrgetter
from typing import Any

import numpy as np

from cnn_constraints.data import sources
from cnn_constraints.data.interventions import INTERVENTIONS, strength_of
from cnn_constraints.data.subsets import MOST_POSITIONS
from cnn_constraints.data.tasks import MOST_BYTES, TASKS
from cnn_constraints.errors import InputError, unknown_name
from cnn_constraints.experiment import DEFAULTS, Data, Experiment, Model, Training, flat, hints
from cnn_constraints.files import digest
from cnn_constraints.functional import PRECISIONS
from cnn_constraints.lattice import constraints, low_rank
from cnn_constraints.lattice.geometry import BOUNDARIES
from cnn_constraints.network import ACTIVATIONS, POOLINGS, READOUTS
from cnn_constraints.training.loop import Hyperparameters
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

BIASES = ("own", "site", "channel", "none")
"""The constraint's own; U[i, j] for each output site and channel; one u for each channel (D2L 7.1.2.1); none."""

MOST_CANDIDATES = 1000
"""Of an experiment. All are written into one program, which takes ever longer to compile."""

SHOWN = 200
"""Characters of a value that a sentence repeats."""

HASH_DIGITS = 12


@dataclass(frozen=True)
class Resolved(Experiment):
    """An experiment written in its one way, and what follows from it.

    name: the hash of the fields that are not at their default, so that a field to come, with a default that does what was
    done before, renames nothing. A path is no part of it: archives are verified by their checksums, and other images by
    their digest. group: the hash of what experiments that share a program have in common. candidates: learning rates,
    weight decays and penalty strengths (0: no penalty), in every combination, the last fastest.
    """

    name: str = field(default="", init=False)
    group: str = field(default="", init=False)
    candidates: tuple[Hyperparameters, ...] = field(default=(), init=False)


def resolve(experiments: Iterable[Experiment]) -> list[Resolved]:
    """Each checked, written in its one way, and once.

    delta, tile and rank are missing where nothing heeds them, a constraint that sees all offsets or ties all sites is named
    so, a size or strength that is not given is the one it stands for, 1 and 1.0 are one learning rate, and images in a
    folder are known by their digest and not by its path. A delta-sweep at "all offsets" and the cell it ends in are the
    same experiment.

    Raises InputError for a value of the wrong type, out of range, or not in its registry, and where nothing is left.
    """
    digests: dict[str, str] = {}
    resolved = {}
    for experiment in experiments:
        # A copy with changes, as dataclasses.replace makes it, has no name.
        known = experiment if isinstance(experiment, Resolved) and experiment.name else None
        one = known or _resolve(experiment, digests)
        resolved.setdefault(one.name, one)
    if not resolved:
        raise InputError("The sweep is empty: there is no experiment in it.")
    return list(resolved.values())


def _resolve(experiment: Experiment, digests: dict[str, str]) -> Resolved:
    check(experiment)
    stronger = frozenset(soft_constraints(experiment).stronger)
    training, candidates = _resolve_training(experiment.training), _candidates(experiment.training)
    data = _resolve_data(experiment.data, digests)
    model = _resolve_model(experiment.model, stronger)
    resolved = Resolved(data, model, training, experiment.seed)
    values = {
        name: value for name, value in flat(resolved).items() if value != DEFAULTS[name] and name != "data.folder"
    }
    of_program = {name: value for name, value in values.items() if name not in ARRAYS} | {"candidates": len(candidates)}
    for name, value in (("name", _hash(values)), ("group", _hash(of_program)), ("candidates", candidates)):
        object.__setattr__(resolved, name, value)
    return resolved


def _hash(values: dict[str, Any]) -> str:
    return digest(json.dumps(values, sort_keys=True).encode())[:HASH_DIGITS]


@lru_cache
def _resolve_model(model: Model, stronger: frozenset[str]) -> Model:
    constraint = "conv" if (model.constraint, model.tile) == ("tiled", 1) else model.constraint
    if model.delta is None:
        constraint = {"conv": "shared", "local": "dense"}.get(constraint, constraint)
    named = {low_rank.bank_of(constraint)} | stronger
    return _changed(
        model,
        constraint=constraint,
        delta=model.delta if any(constraints.find(name).local for name in named) else None,
        tile=constraints.tile_of("tiled", model.tile) if "tiled" in named else None,
        rank=low_rank.rank_of(constraint, model.rank),
    )


@lru_cache
def _resolve_training(training: Training) -> Training:
    beta = DEFAULT_BETA if training.penalty_threshold is None else _float(training.penalty_threshold)
    return _changed(
        training,
        learning_rates=_floats(training.learning_rates),
        weight_decays=_floats(training.weight_decays),
        penalty_strengths=_floats(training.penalty_strengths),
        penalty_threshold=beta if training.penalty == BETA_LASSO else None,
    )


def _resolve_data(data: Data, digests: dict[str, str]) -> Data:
    """digests: of the folders of images that were looked at already."""
    found = None
    if data.source == "folder" and data.folder is not None:
        if data.folder not in digests:
            digests[data.folder] = sources.digest(data.folder)
        found = digests[data.folder]
        if data.digest not in (None, found):
            raise InputError(
                f"data.digest is {_shown(data.digest)}, and the images in {data.folder!r} have {found}: put back those "
                f"that it is of, or leave it out."
            )
    elif data.digest is not None:
        raise InputError(
            f"data.digest is {_shown(data.digest)}: only images in a folder, of the source folder, have one, so leave it "
            f"out."
        )
    strength = strength_of(data.intervention, data.strength)
    return _changed(
        data,
        size=sources.size_of(data.source, data.size),
        strength=None if strength is None else _float(strength),
        digest=found,
    )


def _floats(values: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(map(_float, values))


def _float(value: float) -> float:
    """Equal numbers are written alike, and so is -0.0."""
    return float(value) + 0.0


def _changed(section: Any, **values: Any) -> Any:
    return type(section)(**{f.name: values.get(f.name, getattr(section, f.name)) for f in fields(section)})


@lru_cache
def _candidates(training: Training) -> tuple[Hyperparameters, ...]:
    each = (training.learning_rates, training.weight_decays, training.penalty_strengths or (0.0,))
    return tuple(Hyperparameters(*values) for values in itertools.product(*map(_floats, each)))


ARRAYS = (
    *("seed", "data.n_train", "data.intervention", "data.strength"),
    *("training.learning_rates", "training.weight_decays", "training.penalty_strengths"),
)
"""Fields that are arrays to a program, so that experiments of one group may differ in them."""


def soft_constraints(experiment: Experiment) -> SoftConstraints:
    """What training asks of the layers beyond the constraint that they are built with."""
    training = experiment.training
    threshold, own_bias = training.penalty_threshold or 0.0, experiment.model.bias == "own"
    switch = (training.switch_from, training.switch_at or 0)
    return SoftConstraints(*switch, training.penalty, threshold, training.violations, own_bias)


def check(experiment: Experiment) -> None:
    """Raises InputError, in one sentence, for a value of the wrong type, out of range, or not in its registry."""
    _check_sections(experiment)
    _check_type("seed", experiment.seed)
    if not 0 <= experiment.seed < 2**32:
        raise InputError(f"seed is {_shown(experiment.seed)}: it must lie between 0 and {2**32 - 1}.")
    for name, allowed in registries().items():
        value = attrgetter(name)(experiment)
        # Several fields may be left empty, and some hold several names.
        for entry in value if isinstance(value, tuple) else (value,):
            if entry is not None and entry not in allowed:
                raise unknown_name(name, entry, allowed)
    _check_ranges(experiment.data, experiment.model, experiment.training)


def _check_sections(experiment: Experiment) -> None:
    """Raises InputError where a section is not its dataclass, or a value of it not of its type."""
    if not isinstance(experiment, Experiment):
        raise InputError(f"A {type(experiment).__name__} is no Experiment: configs and sweeps are made of those.")
    for name, kind in (("data", Data), ("model", Model), ("training", Training)):
        section = getattr(experiment, name)
        if not isinstance(section, kind):
            raise InputError(f"{name} is {section!r}: it must be a {kind.__name__}(...).")
        for leaf, value in vars(section).items():
            _check_type(f"{name}.{leaf}", value)


def _check_type(name: str, value: Any) -> None:
    """And that whole numbers fit the 32 bits of what they become."""
    fits, largest = _types()[name]
    if not fits(value):
        raise InputError(f"{name} is {_shown(value)}: it must be {_type_in_words(hints()[name])}.")
    entries = value if isinstance(value, tuple) else (value,)
    if name != "seed" and any(isinstance(entry, int) and abs(entry) > largest for entry in entries):
        raise InputError(f"{name} is {_shown(value)}: no number in it may exceed {largest:,.10g}.")


@cache
def _types() -> dict[str, tuple[Callable[[Any], bool], int | float]]:
    """Of each field, whether a value is of its type, and the largest number in it."""
    return {name: (_fits(hint), LARGEST if "float" in str(hint) else LARGEST_WHOLE) for name, hint in hints().items()}


def _fits(hint: Any) -> Callable[[Any], bool]:
    """A whole number is a number; a truth value is neither."""
    if isinstance(hint, types.UnionType):
        each = [_fits(part) for part in typing.get_args(hint)]
        return lambda value: any(fits(value) for fits in each)
    if typing.get_origin(hint) is tuple:
        of_entry = _fits(typing.get_args(hint)[0])
        return lambda value: isinstance(value, tuple) and all(map(of_entry, value))
    kinds = (int, float) if hint is float else (hint,)
    return lambda value: isinstance(value, kinds) and not isinstance(value, bool)


def _shown(value: object) -> str:
    """As Python writes it, but in few words."""
    try:
        written = repr(value)
    except ValueError:
        # Python refuses to write out whole numbers of thousands of digits.
        return "a number of thousands of digits"
    return written if len(written) <= SHOWN else f"{written[:SHOWN]}..."


def registries() -> dict[str, Collection[str]]:
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
        "training.switch_from": constraints.CONSTRAINTS,
        "training.penalty": [BETA_LASSO, *constraints.CONSTRAINTS],
        "training.violations": constraints.CONSTRAINTS,
    }


@lru_cache(maxsize=1024)
def _check_ranges(data: Data, model: Model, training: Training) -> None:
    positive = {
        "data.size": data.size,
        "data.n_train": data.n_train,
        "data.n_validation": data.n_validation,
        "data.reduce": data.reduce,
        "model.tile": model.tile,
        "model.rank": model.rank,
        "training.batch_size": training.batch_size,
        "training.updates": training.updates,
        "training.evaluate_every": training.evaluate_every,
    }
    for name, value in positive.items():
        if value is not None and value < 1:
            raise InputError(f"{name} is {value}: it must be at least 1.")
    having = [name for name, intervention in INTERVENTIONS.items() if intervention.strength is not None]
    if data.strength is not None and data.intervention not in having:
        raise InputError(
            f"data.strength is {data.strength}: the intervention {data.intervention!r} takes no strength; those that do "
            f"are {', '.join(having)}."
        )
    if data.size is not None and data.source not in TASKS:
        raise InputError(
            f"data.size is {data.size}: {data.source} has a size of its own; those that have none are {', '.join(TASKS)}."
        )
    if data.size is not None and (needed := TASKS[data.source].bytes(data.size)) > MOST_BYTES:
        raise InputError(
            f"data.size is {data.size}: the images of {data.source} would take {needed:,} bytes, and at most "
            f"{MOST_BYTES:,} are allowed; make it smaller."
        )
    if data.strength is not None and not 0 <= data.strength <= 1:
        raise InputError(f"data.strength is {data.strength}: it must lie between 0 and 1.")
    if model.delta is not None and model.delta < 0:
        raise InputError(f"model.delta is {model.delta}: it must be at least 0, or None for all offsets.")
    _check_lists(model, training)
    _check_soft_constraints(training)
    if training.updates % training.evaluate_every:
        raise InputError(
            f"training.updates is {training.updates}: it must be a multiple of training.evaluate_every, "
            f"{training.evaluate_every}."
        )
    if training.batch_size > data.n_train:
        raise InputError(
            f"training.batch_size is {training.batch_size}: it must not exceed data.n_train, {data.n_train}."
        )
    if training.batch_size * training.updates > MOST_POSITIONS:
        raise InputError(
            f"training.batch_size times training.updates is {training.batch_size:,} times {training.updates:,}: an "
            f"experiment may see {MOST_POSITIONS:,} images, each as often as wanted; make one of the two smaller."
        )


def _check_lists(model: Model, training: Training) -> None:
    layers = len(model.channels)
    for name in ("channels", "pool_sizes", "strides"):
        values = getattr(model, name)
        if not values or min(values) < 1:
            raise InputError(
                f"model.{name} is {_shown(values)}: it needs at least one entry, and every entry at least 1."
            )
        if len(values) != layers:
            raise InputError(
                f"model.{name} has {len(values)} entries: model.channels has {layers}, and they must agree."
            )
    lists = {"learning_rates": SMALLEST, "weight_decays": 0.0}
    if training.penalty is not None:
        lists["penalty_strengths"] = 0.0
    for name, least in lists.items():
        values, largest = getattr(training, name), LARGEST_STRENGTH if name == "penalty_strengths" else LARGEST
        if not values:
            raise InputError(f"training.{name} is (): it needs at least one number.")
        if not all(SMALLEST <= value <= largest or value == least for value in values):
            lowest = "at least 0" if least == 0 else "above 0"
            raise InputError(
                f"training.{name} is {_shown(values)}: each must be {lowest}, from {SMALLEST:.3g} to {largest:.3g} in 32 "
                f"bits."
            )
        if len(set(map(np.float32, values))) < len(values):
            raise InputError(
                f"training.{name} is {_shown(values)}: two are the same number in 32 bits, so leave one out."
            )
    candidates = math.prod(len(getattr(training, name)) for name in lists)
    if candidates > MOST_CANDIDATES:
        named = " and ".join(f"training.{name}" for name in lists)
        raise InputError(f"{named} make {candidates:,} combinations: an experiment has at most {MOST_CANDIDATES:,}.")


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


def _type_in_words(hint: Any) -> str:
    words = {int: "a whole number", float: "a number", str: "a text", type(None): "None"}
    if typing.get_origin(hint) is tuple:
        return f"a tuple, each entry {_type_in_words(typing.get_args(hint)[0])}"
    if isinstance(hint, types.UnionType):
        return " or ".join(_type_in_words(part) for part in typing.get_args(hint))
    return words[hint]
