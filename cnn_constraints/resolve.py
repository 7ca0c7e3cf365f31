"""The one way to write an experiment: checked against rules and registries, completed, and named by its hash."""

import dataclasses
import itertools
import json
import math
import types
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any

import numpy as np

from cnn_constraints.architecture import NETWORKS, PADDINGS
from cnn_constraints.data import npz, sources
from cnn_constraints.data.augmentation import AUGMENTATIONS
from cnn_constraints.data.interventions import INTERVENTIONS, strength_of
from cnn_constraints.data.subsets import MOST_POSITIONS
from cnn_constraints.data.tasks import MOST_BYTES, TASKS
from cnn_constraints.errors import InputError, unknown_name
from cnn_constraints.experiment import (
    DEFAULTS,
    PLACES,
    Data,
    Experiment,
    Model,
    Training,
    fields,
    flat,
    per_layer,
    require_sections,
)
from cnn_constraints.files import digest
from cnn_constraints.functional import PRECISIONS
from cnn_constraints.lattice import constraints, low_rank
from cnn_constraints.lattice.geometry import BOUNDARIES
from cnn_constraints.network import ACTIVATIONS, NORMALISATIONS, POOLINGS, READOUTS
from cnn_constraints.training.loop import Hyperparameters
from cnn_constraints.training.optimizer import OPTIMIZERS, SCHEDULES
from cnn_constraints.training.soft_constraints import BETA_LASSO, SoftConstraints

DEFAULT_BETA = 50.0
"""Of beta-LASSO, the best of Neyshabur 2020."""

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

    delta, tile and rank are missing where nothing heeds them, layers that are alike have one constraint and one delta for
    all, a constraint that sees all offsets or ties all sites is named so, a size or strength that is not given is the one
    it stands for, 1 and 1.0 are one learning rate, and images in a folder are known by their digest and not by its path. A
    delta-sweep at "all offsets" and the cell it ends in are the same experiment.

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
    values = flat(resolved)
    of_program = {name: value for name, value in values.items() if name not in ARRAYS} | {"candidates": len(candidates)}
    for name, value in (("name", name_of(values)), ("group", name_of(of_program)), ("candidates", candidates)):
        object.__setattr__(resolved, name, value)
    return resolved


def name_of(values: Mapping[str, Any]) -> str:
    """The hash of the values, by dotted name, that are not at their default; the path of data is none of them."""
    own = {name: value for name, value in values.items() if name not in PLACES and value != DEFAULTS.get(name)}
    return digest(json.dumps(own, sort_keys=True).encode())[:HASH_DIGITS]


@constraints.cached
def _resolve_model(model: Model, stronger: frozenset[str]) -> Model:
    count = len(model.channels)
    deltas = per_layer(model.delta, count)
    padding = model.padding if any(deltas) else "same"
    each = [_corner(*of_layer, model.tile) for of_layer in zip(per_layer(model.constraint, count), deltas, strict=True)]
    named = [{low_rank.bank_of(constraint)} | stronger for constraint in each]
    local = [padding != "same" or any(constraints.find(name).local for name in names) for names in named]
    heeded = [delta if heeds else None for delta, heeds in zip(deltas, local, strict=True)]
    ranks = [low_rank.rank_of(constraint, model.rank) for constraint in each]
    return dataclasses.replace(
        model,
        constraint=_one(each, tuple(each)),
        # A layer that heeds no delta has that of the others.
        delta=_one(itertools.compress(deltas, local), tuple(heeded)),
        tile=constraints.tile_of("tiled", model.tile) if "tiled" in set().union(*named) else None,
        rank=_one((rank for rank in ranks if rank is not None), None),
        # Batch normalisation takes the mean of a channel away, and a constant with it.
        bias="none" if (model.bias, model.normalisation) == ("channel", "batch") else model.bias,
        padding=padding,
    )


def _corner(constraint: str, delta: int | None, tile: int | None) -> str:
    """The name of a constraint that ties all sites, or sees all offsets, because of its tile or delta."""
    constraint = "conv" if (constraint, tile) == ("tiled", 1) else constraint
    return {"conv": "shared", "local": "dense"}.get(constraint, constraint) if delta is None else constraint


def _one(values: Iterable[Any], several: Any) -> Any:
    """The value that all are, None where there are none, and otherwise `several`."""
    different = set(values)
    return several if len(different) > 1 else next(iter(different), None)


@lru_cache
def _resolve_training(training: Training) -> Training:
    beta = DEFAULT_BETA if training.penalty_threshold is None else _float(training.penalty_threshold)
    return dataclasses.replace(
        training,
        learning_rates=_floats(training.learning_rates),
        weight_decays=_floats(training.weight_decays),
        penalty_strengths=_floats(training.penalty_strengths),
        penalty_threshold=beta if training.penalty == BETA_LASSO else None,
    )


def _resolve_data(data: Data, digests: dict[str, str]) -> Data:
    """digests: of the folders and files of images that were looked at already."""
    found, place = None, {"folder": data.folder, "arrays": data.file}.get(data.source)
    if place is not None:
        if place not in digests:
            digests[place] = npz.digest(place) if data.source == "arrays" else sources.digest(place)
        found = digests[place]
        if data.digest not in (None, found):
            raise InputError(
                f"data.digest is {_shown(data.digest)}, and the images in {place!r} have {found}: put back those that it "
                f"is of, or leave it out."
            )
    elif data.digest is not None:
        raise InputError(
            f"data.digest is {_shown(data.digest)}: only the images of the sources folder and arrays have one, so leave it "
            f"out."
        )
    strength = strength_of(data.intervention, data.strength)
    return dataclasses.replace(
        data,
        size=sources.size_of(data.source, data.size),
        strength=None if strength is None else _float(strength),
        augmentation_strengths=_floats(
            data.augmentation_strengths or tuple(AUGMENTATIONS[name].strength for name in data.augmentation)
        ),
        digest=found,
    )


def _floats(values: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(map(_float, values))


def _float(value: float) -> float:
    """Equal numbers are written alike, and so is -0.0."""
    return float(value) + 0.0


@lru_cache
def _candidates(training: Training) -> tuple[Hyperparameters, ...]:
    each = (training.learning_rates, training.weight_decays, training.penalty_strengths or (0.0,))
    return tuple(Hyperparameters(*values) for values in itertools.product(*map(_floats, each)))


ARRAYS = (
    *("seed", "data.n_train", "data.intervention", "data.strength"),
    *("training.learning_rates", "training.weight_decays", "training.penalty_strengths", "training.extend_grid"),
)
"""Fields that are arrays to a program, so that experiments of one group may differ in them."""


def soft_constraints(experiment: Experiment) -> SoftConstraints:
    """What training asks of the layers beyond the constraint that they are built with."""
    training = experiment.training
    threshold, own_bias = training.penalty_threshold or 0.0, experiment.model.bias == "own"
    switch = (training.switch_from, training.switch_at or 0)
    return SoftConstraints(*switch, training.penalty, threshold, training.violations, own_bias)


def check(experiment: Experiment) -> None:
    """Raises InputError, in one sentence, for a value of the wrong type, out of range, or not in its registry, and for
    fields that do not go together.
    """
    require_sections(experiment)
    check_values(flat(experiment))
    for sentence in _contradictions(experiment.data, experiment.model, experiment.training):
        raise InputError(sentence)


def check_values(changes: Mapping[str, Any]) -> None:
    """Raises InputError, as `check` does, for the value of a dotted field that is wrong whatever the others are."""
    names = registries()
    for name, value in changes.items():
        hint, bounds = fields()[name]
        if not _fits(hint)(value):
            raise InputError(f"{name} is {_shown(value)}: it must be {_in_words(hint)}.")
        for entry in value if isinstance(value, tuple) else (value,):
            if entry is None:
                continue
            if name in names and entry not in names[name]:
                raise unknown_name(name, entry, names[name])
            if bounds and not bounds["least"] <= entry <= bounds["most"]:
                raise InputError(
                    f"{name} is {_shown(value)}: it must lie between {bounds['least']:.10g} and {bounds['most']:.10g}."
                )


@cache
def _fits(hint: Any) -> Callable[[Any], bool]:
    """Whether a value is of a type. A whole number is a number; a truth value is neither."""
    if isinstance(hint, types.UnionType):
        each = [_fits(part) for part in typing.get_args(hint)]
        return lambda value: any(fits(value) for fits in each)
    if typing.get_origin(hint) is tuple:
        of_entry = _fits(typing.get_args(hint)[0])
        return lambda value: isinstance(value, tuple) and all(map(of_entry, value))
    kinds = (int, float) if hint is float else (hint,)
    return lambda value: isinstance(value, kinds) and not isinstance(value, bool)


def _in_words(hint: Any) -> str:
    if typing.get_origin(hint) is tuple:
        return f"a tuple, each entry {_in_words(typing.get_args(hint)[0])}"
    if isinstance(hint, types.UnionType):
        # Tuples last, since what their entries are ends the sentence.
        parts = sorted(typing.get_args(hint), key=lambda part: typing.get_origin(part) is tuple)
        return " or ".join(map(_in_words, parts))
    return {int: "a whole number", float: "a number", str: "a text", types.NoneType: "None"}[hint]


def _shown(value: object) -> str:
    """As Python writes it, but in few words."""
    try:
        written = repr(value)
    except ValueError:
        # Python refuses to write out whole numbers of thousands of digits.
        return "a number of thousands of digits"
    return written if len(written) <= SHOWN else f"{written[:SHOWN]}..."


def registries() -> dict[str, Collection[str]]:
    """The names that a field, or each entry of it, may hold, by the field's dotted name."""
    return {
        "data.source": sources.names(),
        "data.intervention": INTERVENTIONS,
        "data.augmentation": AUGMENTATIONS,
        "model.constraint": low_rank.names(),
        "model.padding": PADDINGS,
        "model.network": NETWORKS,
        "model.normalisation": NORMALISATIONS,
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


def _contradictions(data: Data, model: Model, training: Training) -> Iterator[str]:
    """A sentence for each pair of fields that do not go together: one has no effect, does not fit, or is too much."""
    if data.strength is not None and INTERVENTIONS[data.intervention].strength is None:
        having = ", ".join(name for name, one in INTERVENTIONS.items() if one.strength is not None)
        yield f"data.strength is {data.strength}: {data.intervention!r} takes no strength; those that do are {having}."
    if len(data.augmentation_strengths) not in (0, len(data.augmentation)):
        yield (
            f"data.augmentation_strengths is {_shown(data.augmentation_strengths)}: each augmentation needs one, and "
            f"data.augmentation is {data.augmentation}; leave it out for their own."
        )
    if data.augmentation and not INTERVENTIONS[data.intervention].commutes:
        commuting = ", ".join(name for name, one in INTERVENTIONS.items() if one.commutes)
        yield (
            f"data.augmentation is {data.augmentation}: images are augmented before the intervention, and what "
            f"{data.intervention!r} does is done once, before training; interventions that allow it are {commuting}."
        )
    if data.size is not None:
        if data.source not in TASKS:
            yield f"data.size is {data.size}: {data.source} has a size of its own; {', '.join(TASKS)} have none."
        elif (needed := TASKS[data.source].bytes(data.size)) > MOST_BYTES:
            yield (
                f"data.size is {data.size}: the images of {data.source} would take {needed:,} bytes, and at most "
                f"{MOST_BYTES:,} are allowed."
            )
    if not (count := len(model.channels)):
        yield "model.channels is (): it needs a number for each layer, at least one."
    for name in ("pool_sizes", "strides", "constraint", "delta"):
        if len(per_layer(values := getattr(model, name), count)) != count:
            yield f"model.{name} is {values}: model.channels is {model.channels}, and each layer needs an entry in both."
    if model.padding != "same":
        if model.boundary == "circular":
            yield f"model.padding is {model.padding}: a circular boundary has no border, so model.padding must be same."
        if None in per_layer(model.delta, 1):
            yield f"model.padding is {model.padding}: it is delta that is padded, so model.delta must not be None."
    lists = ["learning_rates", "weight_decays"] + ["penalty_strengths"] * (training.penalty is not None)
    for name in lists:
        values = getattr(training, name)
        if not values or len(set(map(np.float32, values))) < len(values):
            yield f"training.{name} is {_shown(values)}: it needs one or more numbers, all different in 32 bits."
    if training.extend_grid and all(len(getattr(training, name)) == 1 for name in lists):
        yield (
            f"training.extend_grid is {training.extend_grid}: it has no effect where {' and '.join(lists)} have one value."
        )
    if (candidates := math.prod(len(getattr(training, name)) for name in lists)) > MOST_CANDIDATES:
        named = " times ".join(f"training.{name}" for name in lists)
        yield f"{named} make {candidates:,} combinations: an experiment has at most {MOST_CANDIDATES:,}."
    for name, owner, heeded in (
        ("penalty_strengths", "penalty", training.penalty is not None),
        ("penalty_threshold", "penalty beta_lasso", training.penalty == BETA_LASSO),
        ("switch_at", "switch_from", training.switch_from is not None),
    ):
        if (value := getattr(training, name)) not in (None, ()) and not heeded:
            yield f"training.{name} is {value}: it has no effect without training.{owner}."
    if training.switch_from is not None and (training.switch_at is None or training.switch_at > training.updates):
        yield f"training.switch_at is {training.switch_at}: it must lie between 0 and training.updates, {training.updates}."
    for name, values in (("data.augmentation", data.augmentation), ("training.violations", training.violations)):
        if len(set(values)) < len(values):
            yield f"{name} is {values}: it must name each once."
    if training.updates % training.evaluate_every:
        yield (
            f"training.updates is {training.updates}: it must be a multiple of training.evaluate_every, "
            f"{training.evaluate_every}."
        )
    if training.batch_size * training.updates > MOST_POSITIONS:
        yield (
            f"training.batch_size times training.updates is {training.batch_size:,} times {training.updates:,}: an "
            f"experiment may see {MOST_POSITIONS:,} images, each as often as wanted."
        )
