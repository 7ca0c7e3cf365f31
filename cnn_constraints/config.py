"""What one trial is: frozen dataclasses, checked against the registries, written as JSON and named by their hash."""

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import typeguard
from typeguard import CollectionCheckStrategy

from cnn_constraints.constraints import low_rank, ties
from cnn_constraints.constraints.geometry import BOUNDARIES
from cnn_constraints.data import sources
from cnn_constraints.data.interventions import INTERVENTIONS, check_strength, strength_of
from cnn_constraints.errors import InputError, unknown_name
from cnn_constraints.model import ACTIVATIONS, BIASES, POOLINGS, PRECISIONS, READOUTS
from cnn_constraints.training.optimizer import OPTIMIZERS, SCHEDULES

LARGEST = float(np.finfo(np.float32).max)
"""Training is done in 32 bits."""


@dataclass(frozen=True)
class Data:
    """The images, and which of them are seen."""

    source: str = "digits"
    """mnist, fashion_mnist, cifar10 (tensorflow-datasets), digits (no download), folder (train/<class>/*.png), or a
    synthetic task: quadratic_labels, signal_patches.
    """
    folder: str | None = None
    """Where the images of `folder` lie, or the original archives (else the variable CNN_CONSTRAINTS_DATA says where)."""
    size: int | None = None
    """Side of the images of a synthetic task, or its number of patches; None for its own."""
    reduce: int = 1
    """Side of the squares of pixels that are averaged into one, to make images smaller."""
    intervention: str = "none"
    """What is done to the images: none, permute_pixels, translate, translate_test, edge_noise, full_noise,
    label_positions or randomise_labels.
    """
    strength: float | None = None
    """Of the intervention, 0 to 1: the largest translation as a share of the side, the share of pixels that are noise or
    of labels that are random; None for its own.
    """
    n_train: int = 300
    """Training images: class-balanced, and for one seed each smaller subset lies in the larger ones."""
    n_validation: int = 300
    """Images apart from those, on which the learning rate, weight decay and stopping time are chosen."""


@dataclass(frozen=True)
class Model:
    """The network: constrained layers, readout, linear classifier."""

    constraint: str = "conv"
    """dense, shared, local, conv, tiled, low_rank_local, or any other registered constraint."""
    delta: int | None = 2
    """How far a local layer sees, |a|, |b| <= delta; None for all offsets. Layers on smaller images see all of those."""
    channels: tuple[int, ...] = (8, 16)
    """Output channels of each layer: as many layers as entries."""
    pool_sizes: tuple[int, ...] = (2, 1)
    """Side of the squares pooled after each layer; 1 for no pooling."""
    strides: tuple[int, ...] = (1, 1)
    """Distance between the output sites of each layer."""
    pooling: str = "mean"
    """mean or max."""
    activation: str = "relu"
    """relu, tanh, gelu, quadratic or identity."""
    readout: str = "flatten"
    """flatten (the classifier knows where) or global_average (it does not)."""
    bias: str = "own"
    """own (of the constraint), site (U), channel (u) or none."""
    boundary: str = "zero"
    """zero or circular: what lies beyond the image."""
    precision: str = "float32"
    """float32 or bfloat16: of the factors of the constrained layers' products (faster on GPU and TPU)."""
    tile: int | None = None
    """Of tiled: output sites whose row and column agree modulo this share weights, 1 being conv; None for its own, 2."""
    rank: int | None = None
    """Of low_rank_local: how many filter banks every output site combines; None for its own, 2."""


@dataclass(frozen=True)
class Training:
    """One lane for every pair of learning rate and weight decay; the best on validation data is tested."""

    optimizer: str = "adam"
    """adam (with decoupled weight decay) or sgd (momentum 0.9)."""
    learning_rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2)
    """Tried side by side, on the same batches and from the same initial weights."""
    weight_decays: tuple[float, ...] = (0.0,)
    """Likewise, in every combination."""
    schedule: str = "constant"
    """constant or cosine (to zero at the last update)."""
    batch_size: int = 32
    """Images an update."""
    updates: int = 400
    """Updates of a lane, the same for every training-set size."""
    evaluate_every: int = 40
    """Updates between two looks at the validation data."""


@dataclass(frozen=True)
class Experiment:
    """One trial: a seed, and everything that its result depends on."""

    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    training: Training = field(default_factory=Training)
    seed: int = 0
    """Draws the subset, the initial weights and the order of batches."""


def resolve(experiment: Experiment) -> Experiment:
    """The one way to write a trial: a constraint that ignores delta, tile or rank has none, one that sees all offsets or
    ties all sites is named so, a size or strength that is not given is the one it stands for, and 1 and 1.0 are one
    learning rate.

    Raises InputError for what `check` refuses.
    """
    check(experiment)
    model = experiment.model
    constraint = "conv" if (model.constraint, model.tile) == ("tiled", 1) else model.constraint
    if model.delta is None:
        constraint = {"conv": "shared", "local": "dense"}.get(constraint, constraint)
    delta = model.delta if ties.find(low_rank.constraint_of(constraint)).local else None
    data, training = experiment.data, experiment.training
    return replace(
        experiment,
        {
            "model.constraint": constraint,
            "model.delta": delta,
            "model.tile": ties.tile_of(constraint, model.tile),
            "model.rank": low_rank.rank_of(constraint, model.rank),
            "data.size": sources.size_of(data.source, data.size),
            "data.strength": strength_of(data.intervention, data.strength),
            "training.learning_rates": tuple(map(float, training.learning_rates)),
            "training.weight_decays": tuple(map(float, training.weight_decays)),
        },
    )


def check(experiment: Experiment) -> None:
    """Raises InputError, in one sentence, for a value of the wrong type, out of range, or not in its registry."""
    for name, (value, hint) in _leaves(experiment).items():
        if isinstance(value, bool):
            raise InputError(f"{name} is {value!r}: it must be {_type_in_words(hint)}.")
        try:
            typeguard.check_type(value, hint, collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS)
        except typeguard.TypeCheckError:
            raise InputError(f"{name} is {value!r}: it must be {_type_in_words(hint)}.") from None
    for name, allowed in _registries().items():
        value = get(experiment, name)
        if value not in allowed:
            raise unknown_name(name, value, allowed)
    _check_ranges(experiment)


def _registries() -> dict[str, Iterable[str]]:
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
        raise InputError(f"seed is {experiment.seed}: it must lie between 0 and {2**32 - 1}.")
    if experiment.model.delta is not None and experiment.model.delta < 0:
        raise InputError(f"model.delta is {experiment.model.delta}: it must be at least 0, or None for all offsets.")
    check_strength(experiment.data.intervention, experiment.data.strength)
    sources.check_size(experiment.data.source, experiment.data.size)
    _check_lists(experiment)
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


def _check_lists(experiment: Experiment) -> None:
    layers = len(experiment.model.channels)
    for name in ("model.channels", "model.pool_sizes", "model.strides"):
        values = get(experiment, name)
        if not values or min(values) < 1:
            raise InputError(f"{name} is {values}: it needs at least one entry, and every entry at least 1.")
        if len(values) != layers:
            raise InputError(f"{name} has {len(values)} entries: model.channels has {layers}, and they must agree.")
    for name, lowest in (("training.learning_rates", "above 0"), ("training.weight_decays", "at least 0")):
        values = get(experiment, name)
        allowed = all(LARGEST >= v > 0 if lowest == "above 0" else LARGEST >= v >= 0 for v in values)
        if not values or not allowed or len(set(values)) < len(values):
            raise InputError(
                f"{name} is {values}: it needs one or more different numbers, each {lowest} and at most {LARGEST:.3g}."
            )


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

    The folder of archives whose checksums are verified is left out: where they lie does not change the result. So is a
    tile or rank that means nothing: trials that were stored before there were any keep their names.
    """
    identity = flat(experiment)
    for size in ("model.tile", "model.rank"):
        if identity[size] is None:
            del identity[size]
    if experiment.data.source != "folder":
        del identity["data.folder"]
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]


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
