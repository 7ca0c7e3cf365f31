"""What an experiment is: frozen dataclasses, whose defaults are small and run anywhere and whose fields carry their rules;
fields by dotted name; grids.
"""

import dataclasses
import itertools
import json
import math
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from operator import attrgetter
from typing import Any

from cnn_constraints.errors import InputError, unknown_name

LARGEST_WHOLE = 2**31 - 1
"""Sizes and positions have 32 bits."""

SMALLEST, LARGEST = 2.0**-126, (2 - 2.0**-23) * 2.0**127
"""Positive numbers that training knows: it is done in 32 bits."""


LARGEST_STRENGTH = 1e12
"""Of a penalty: beyond, the square of its gradient may not fit 32 bits, and Adam would stand still."""


def within(default: Any, least: int | float, most: int | float = LARGEST_WHOLE) -> Any:
    """A field whose number, or each entry of whose tuple, must lie between these, where it has one."""
    return field(default=default, metadata={"least": least, "most": most})


@dataclass(frozen=True)
class Data:
    """The images, and which of them are seen."""

    source: str = "digits"
    """mnist, fashion_mnist, cifar10 (tensorflow-datasets), digits (no download), folder (train/<class>/*.png), arrays (an
    .npz file), or a synthetic task: quadratic_labels, signal_patches.
    """
    folder: str | None = None
    """Where the images of `folder` lie, or the original archives (else the variable CNN_CONSTRAINTS_DATA says where)."""
    file: str | None = None
    """The .npz file of `arrays`: images, labels, and test_images and test_labels if there are any."""
    digest: str | None = None
    """SHA-256 of the images of `folder` or `arrays`; None for that of the images that lie there now."""
    size: int | None = within(None, 1)
    """Side of the images of a synthetic task, or its number of patches; None for its own."""
    reduce: int = within(1, 1)
    """Side of the squares of pixels that are averaged into one, to make images smaller."""
    frame: int | None = within(None, 1)
    """Side of a larger frame of zeros, in which every image stands at a random place of its own, before the intervention;
    None for the images alone. The places are the same for all seeds.
    """
    intervention: str = "none"
    """What is done to the images: none, permute_pixels, translate, translate_test, edge_noise, full_noise,
    label_positions or randomise_labels.
    """
    strength: float | None = within(None, 0, 1)
    """Of the intervention, 0 to 1: the largest translation as a share of the side, the share of pixels that are noise or
    of labels that are random; None for its own.
    """
    augmentation: tuple[str, ...] = ()
    """What is done anew to every batch of training images, and to no others: translate, crop, flip, noise and
    edge_noise.
    """
    augmentation_strengths: tuple[float, ...] = within((), 0, 1)
    """Of each augmentation: the largest translation, or the margin of a crop, as a share of the side, the probability of a
    flip, the deviation of noise (an intensity is 0 to 1); () for their own.
    """
    n_train: int = within(300, 1)
    """Training images: class-balanced, and for one seed each smaller subset lies in the larger ones."""
    n_validation: int = within(300, 1)
    """Images apart from those, on which the learning rate, weight decay and stopping time are chosen."""


@dataclass(frozen=True)
class Model:
    """The network: constrained layers, readout, linear classifier. Of constraint and delta each layer may have its own."""

    constraint: str | tuple[str, ...] = "conv"
    """dense, shared, local, conv, tiled, low_rank_local, or any other registered constraint."""
    delta: int | tuple[int | None, ...] | None = within(2, 0)
    """How far a local layer sees, |a|, |b| <= delta; None for all offsets. Layers on smaller images see all of those."""
    channels: tuple[int, ...] = within((8, 16), 1)
    """Output channels of each layer: as many layers as entries."""
    pool_sizes: tuple[int, ...] = within((2, 1), 1)
    """Side of the squares pooled after each layer; 1 for no pooling."""
    strides: tuple[int, ...] = within((1, 1), 1)
    """Distance between the output sites of each layer."""
    pooling: str = "mean"
    """mean or max."""
    activation: str = "relu"
    """relu, tanh, gelu, quadratic or identity."""
    readout: str = "flatten"
    """flatten (the classifier knows where), global_average or global_max (it does not)."""
    bias: str = "own"
    """own (of the constraint), site (U), channel (u) or none."""
    boundary: str = "zero"
    """zero or circular: what lies beyond the image."""
    precision: str = "float32"
    """float32 or bfloat16: of the constrained layers' products and of their factors (faster on GPU and TPU)."""
    tile: int | None = within(None, 1)
    """Of tiled: output sites whose row and column agree modulo this share weights, 1 being conv; None for its own, 2."""
    rank: int | None = within(None, 1)
    """Of low_rank_local: how many filter banks every output site combines; None for its own, 2."""
    padding: str = "same"
    """same, valid or full: output sites as far as the image, delta inside of its border, or delta beyond it. The same for
    every constraint, so that arms differ in nothing else: but for same, dense needs a delta too.
    """
    network: str = "plain"
    """plain; residual: what a layer is given is added to what it gives, where both have one shape; or one of your own."""
    normalisation: str = "none"
    """none; layer: over a layer's units, image by image; batch: over sites and batch, with running statistics (momentum
    0.9) for validation and test. Before the activation, with a gain and a bias a channel; after batch, layers have none.
    """
    hidden: int | None = within(None, 1)
    """Width of a dense layer, with normalisation and activation, between readout and classifier; None for no such layer."""


@dataclass(frozen=True)
class Training:
    """A candidate for every pair of learning rate and weight decay; the best on validation data is tested."""

    optimizer: str = "adam"
    """adam (with decoupled weight decay), sgd (momentum 0.9) or sgd_without_momentum."""
    learning_rates: tuple[float, ...] = within((1e-3, 3e-3, 1e-2), SMALLEST, LARGEST)
    """Tried side by side, on the same batches and from the same initial weights."""
    weight_decays: tuple[float, ...] = within((0.0,), 0, LARGEST)
    """Likewise, in every combination."""
    schedule: str = "constant"
    """constant or cosine (half a period: the update after the last would have zero)."""
    batch_size: int = within(32, 1)
    """Images an update."""
    updates: int = within(400, 1)
    """Updates of a candidate, the same for every training-set size."""
    evaluate_every: int = within(40, 1)
    """Updates between two looks at the validation data."""
    switch_from: str | None = None
    """A constraint stronger than the model's (conv, for dense): layers start under it and obey it until `switch_at`."""
    switch_at: int | None = within(None, 0)
    """Updates after which the layers are free of `switch_from`."""
    penalty: str | None = None
    """beta_lasso, or a constraint stronger than the model's: then half the squared distance to it is added to the loss."""
    penalty_strengths: tuple[float, ...] = within((), 0, LARGEST_STRENGTH)
    """What the penalty is multiplied with, each tried as learning rates are."""
    penalty_threshold: float | None = within(None, 0, LARGEST)
    """Of beta_lasso, its beta: weights below beta times the strength become 0 at every update; None for 50."""
    violations: tuple[str, ...] = ()
    """Constraints stronger than the model's: how far the layers are from each is measured at every look."""
    extend_grid: int = within(0, 0)
    """At most so many more grids are tried, each beyond that end of those before where the best candidate stands, until it
    stands at none.
    """


@dataclass(frozen=True)
class Experiment:
    """A seed, and everything else that a result depends on."""

    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    training: Training = field(default_factory=Training)
    seed: int = within(0, 0, 2**32 - 1)
    """Draws the subset, the initial weights and the order of batches."""


def per_layer(value: Any, layers: int) -> tuple[Any, ...]:
    """An entry for each layer, of a field that may have one for all."""
    return value if isinstance(value, tuple) else (value,) * layers


@cache
def fields() -> Mapping[str, tuple[Any, Mapping[str, int | float]]]:
    """The type of every field of an experiment, and the bounds of its numbers, by dotted name."""
    found: dict[str, Any] = {}
    for own in dataclasses.fields(Experiment):
        section = typing.get_type_hints(Experiment)[own.name]
        if not dataclasses.is_dataclass(section):
            found[own.name] = section, own.metadata
            continue
        types = typing.get_type_hints(section)
        found |= {f"{own.name}.{leaf.name}": (types[leaf.name], leaf.metadata) for leaf in dataclasses.fields(section)}
    return found


def flat(experiment: Experiment) -> dict[str, Any]:
    """All fields by dotted name."""
    return {name: attrgetter(name)(experiment) for name in fields()}


DEFAULTS = flat(Experiment())

PLACES = ("data.folder", "data.file")
"""Fields that say where images lie, which tells no two experiments apart: archives are verified by their checksums, and
other images are known by their digest.
"""


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """By dotted name what `to_json` has nested, with tuples for lists."""
    found: dict[str, Any] = {}
    for name, value in nested.items():
        single = {f"{prefix}{name}": tuple(value) if isinstance(value, list) else value}
        found |= flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else single
    return found


def require_sections(experiment: object) -> None:
    """Raises InputError where this is no Experiment, or a section of it not its dataclass."""
    if not isinstance(experiment, Experiment):
        raise InputError(f"An experiment is of the type {type(experiment).__name__}: it must be an Experiment(...).")
    for name, kind in (("data", Data), ("model", Model), ("training", Training)):
        if not isinstance(section := getattr(experiment, name), kind):
            raise InputError(f"{name} is of the type {type(section).__name__}: it must be a {kind.__name__}(...).")


def get(experiment: Experiment, name: str) -> Any:
    """The value of a dotted field name, as in `model.delta`. Raises InputError with the nearest name."""
    require_field(name)
    return attrgetter(name)(experiment)


def require_field(name: str) -> None:
    """Raises InputError, with the nearest name, where no field has this dotted name."""
    if name not in fields():
        raise unknown_name("config field", name, fields())


def replace(experiment: Experiment, changes: Mapping[str, Any]) -> Experiment:
    """The experiment with some dotted fields changed. Raises InputError with the nearest name for an unknown field."""
    parts: dict[str, dict[str, Any]] = {}
    for name, value in changes.items():
        require_field(name)
        section, _, leaf = name.rpartition(".")
        parts.setdefault(section, {})[leaf] = value
    own = {f.name: getattr(experiment, f.name) for f in dataclasses.fields(Experiment)} | parts.pop("", {})
    return Experiment(**own | {name: dataclasses.replace(own[name], **leaves) for name, leaves in parts.items()})


def to_json(experiment: Experiment) -> dict[str, Any]:
    """Nested plain values, as stored with a run."""
    own = {f.name: getattr(experiment, f.name) for f in dataclasses.fields(Experiment)}
    return json.loads(json.dumps(dataclasses.asdict(Experiment(**own))))


MOST_EXPERIMENTS = 100_000
"""Of a sweep. More take longer to be planned than anyone would wait, and a mistake in an axis may make endlessly many."""

Axis = list[dict[str, Any]]
"""A list of changes to dotted fields. Axes are chained with +."""


def axis(fields: str | Sequence[str], values: Iterable[Any]) -> Axis:
    """One field taking each value; or several fields changing together (a zip), each value then being a sequence.

    Raises InputError for an unknown field, with the nearest name, and for values that do not fit, none, or too many.

    >>> axis("seed", [0, 1])
    [{'seed': 0}, {'seed': 1}]
    >>> axis(("model.constraint", "model.delta"), [("conv", 2), ("dense", None)])[1]
    {'model.constraint': 'dense', 'model.delta': None}
    """
    names = (fields,) if isinstance(fields, str) else tuple(fields)
    told = f"The axis over {', '.join(names)}"
    for name in names:
        require_field(name)
    if len(set(names)) < len(names):
        raise InputError(f"{told} names a field twice.")
    if not isinstance(values, Iterable) or isinstance(values, str):
        raise InputError(f"{told} has the values {values!r}: it needs a list of them.")
    entries = list(itertools.islice(values, MOST_EXPERIMENTS + 1))
    if not 0 < len(entries) <= MOST_EXPERIMENTS:
        number = f"more than {MOST_EXPERIMENTS:,}" if entries else "no"
        raise InputError(f"{told} has {number} values: it needs 1 to {MOST_EXPERIMENTS:,}.")
    if isinstance(fields, str):
        return [{fields: value} for value in entries]
    for entry in entries:
        if not isinstance(entry, Sequence) or isinstance(entry, str) or len(entry) != len(names):
            raise InputError(f"{told} has the entry {entry!r}: it needs {len(names)} values.")
    return [dict(zip(names, entry, strict=True)) for entry in entries]


def fields_of(axis: Axis) -> list[str]:
    """The fields that any entry of an axis changes."""
    return list(dict.fromkeys(name for change in axis for name in change))


def replace_axes(axes: Iterable[Axis], *others: Axis) -> list[Axis]:
    """Each of the others in the place of the axis over its fields; those over fields without one come first.

    Raises InputError where the others have a part only of the fields that change together in one axis.

    >>> replace_axes([axis("model.delta", [1, 2]), axis("seed", [0])], axis("seed", [5]), axis("model.tile", [3]))
    [[{'model.tile': 3}], [{'model.delta': 1}, {'model.delta': 2}], [{'seed': 5}]]
    """
    left, kept = list(others), []
    given = {name for one in others for name in fields_of(one)}
    for old in axes:
        own = set(fields_of(old))
        if own & given and not own <= given:
            together = ", ".join(fields_of(old))
            raise InputError(f"The sweep changes {together} together: give one axis over all of them, or over none.")
        kept += [one for one in left if own & set(fields_of(one))] if own & given else [old]
        left = [one for one in left if not own & set(fields_of(one))]
    return [*left, *kept]


def require_axes(axes: Sequence[Axis]) -> None:
    """Raises InputError where a field is in two axes, and for more than MOST_EXPERIMENTS combinations."""
    names = [name for one in axes for name in fields_of(one)]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{name} is given by two axes or flags: leave out one of them.")
    if (number := math.prod(map(len, axes))) > MOST_EXPERIMENTS:
        raise InputError(
            f"The axes make {number:,} experiments: at most {MOST_EXPERIMENTS:,} are run, so split the sweep."
        )


def product(base: Experiment, *axes: Axis) -> list[Experiment]:
    """Every combination of the axes' entries; the last axis changes fastest.

    Raises InputError for an unknown field, for one that is in two axes, and for too many combinations.
    """
    require_axes(axes)
    experiments = [base]
    for changes in axes:
        experiments = [replace(experiment, change) for experiment in experiments for change in changes]
    return experiments
