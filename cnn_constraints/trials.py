"""From a trial's config to what the ensemble engine takes: network, task and arrays; and what its network costs."""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from cnn_constraints import config
from cnn_constraints.arrays import Dataset, Split
from cnn_constraints.config import Data, Experiment, Model
from cnn_constraints.constraints import counts, low_rank, ties
from cnn_constraints.constraints.geometry import Geometry
from cnn_constraints.data import sources, subsets
from cnn_constraints.data.interventions import intervene
from cnn_constraints.errors import InputError
from cnn_constraints.model import LayerShape, Network
from cnn_constraints.ops import choose
from cnn_constraints.training import soft_constraints
from cnn_constraints.training.ensemble import Trial
from cnn_constraints.training.run import Hyperparameters, Images, Standardisation, Task


class Cost(NamedTuple):
    """Of the whole network: parameters with biases and classifier, and multiply-adds of the definition per image."""

    parameters: int
    multiply_adds: int


def build_dataset(data: Data) -> Dataset:
    """The images of a config: read or drawn, made smaller, and after the intervention.

    Raises InputError for data that cannot be read.
    """
    dataset = sources.reduce_images(sources.load(data.source, data.folder, data.size), data.reduce)
    return intervene(dataset, data.intervention, data.strength)


def build_task(experiment: Experiment, dataset: Dataset) -> Task:
    """What is compiled. Raises InputError where the network does not fit the images, with what made them so small."""
    training, data = experiment.training, experiment.data
    image_shape = dataset.train.images.shape[1:]
    try:
        network = build_network(experiment.model, image_shape, len(dataset.classes))
    except InputError as error:
        made = [f"data.size {data.size}"] * (data.size is not None) + [f"data.reduce {data.reduce}"] * (data.reduce > 1)
        if not made:
            raise
        size = f"{image_shape[0]} x {image_shape[1]}"
        raise InputError(f"{str(error)[:-1]}; the images are {size} by {' and '.join(made)}.") from None
    soft = config.soft_constraints(training)
    soft_constraints.check(network, soft)
    return Task(network, image_shape, training.optimizer, training.schedule, training.updates, soft)


def build_network(model: Model, image_shape: tuple[int, int, int], classes: int) -> Network:
    """The network of a config for images [height, width, channels].

    delta is that of the first layer; where a later layer's image is smaller than it reaches, the layer sees all of it.
    Raises InputError where delta is larger than the image, where a tile or rank is larger than has an effect,
    where pooling and strides leave no pixel, and where a constraint needs a tie table that is too large to write.
    """
    height, width, in_channels = image_shape
    Geometry(height, width).check_delta(model.delta)
    constraint = low_rank.constraint_of(model.constraint)
    tile = ties.tile_of(model.constraint, model.tile) or model.tile or 1
    layers = []
    for channels, stride, pool_size in zip(model.channels, model.strides, model.pool_sizes, strict=True):
        geometry = Geometry(height, width, stride, model.boundary, tile)
        delta = None if model.delta is None else min(model.delta, max(height, width) - 1)
        if constraint not in choose.FORMULATIONS:
            ties.require_table_fits(geometry)
        if not layers:
            _check_effect(model, constraint, geometry, delta, in_channels * channels)
        layers.append(LayerShape(geometry, channels, delta, pool_size))
        height, width = geometry.output_height // pool_size, geometry.output_width // pool_size
        if not height or not width:
            raise InputError(
                f"model.strides {model.strides} and model.pool_sizes {model.pool_sizes} leave no pixel of an image of "
                f"{image_shape[0]} x {image_shape[1]} after layer {len(layers)}: make them smaller."
            )
    names = (model.activation, model.pooling, model.readout, model.bias, model.precision)
    rank = low_rank.rank_of(model.constraint, model.rank)
    return Network(constraint, tuple(layers), classes, *names, rank=rank)


def _check_effect(model: Model, constraint: str, geometry: Geometry, delta: int | None, channels: int) -> None:
    """Of the first layer: later ones see smaller images. channels: pairs of one that comes in and one that goes out."""
    sides = f"{geometry.output_height} x {geometry.output_width}"
    if constraint == "tiled" and geometry.tile > (largest := geometry.largest_tile):
        raise InputError(
            f"model.tile is {geometry.tile}: the first layer has {sides} output sites, so that more than {largest} would "
            f"have no effect."
        )
    rank = low_rank.rank_of(model.constraint, model.rank)
    if rank is None:
        return
    bank = channels * ties.sizes(constraint, geometry, delta).weights
    if rank > (largest := low_rank.largest_rank(bank, geometry)):
        raise InputError(
            f"model.rank is {rank}: the first layer has {sides} output sites and filter banks of {bank} weights, so that "
            f"more than {largest} would have no effect."
        )


def cost(experiment: Experiment, dataset: Dataset) -> Cost:
    """Parameters and multiply-adds of the network of a trial, from the closed forms."""
    image_shape = dataset.train.images.shape[1:]
    network = build_network(experiment.model, image_shape, len(dataset.classes))
    parameters = multiply_adds = 0
    channels = image_shape[2]
    height = width = 0
    for layer in network.layers:
        per_site = {"site": True, "channel": False}.get(network.bias)
        shape = (network.constraint, layer.geometry, layer.delta, channels, layer.out_channels)
        layer_count = counts.count(*shape, bias_per_site=per_site, rank=network.rank)
        parameters += layer_count.weights + (layer_count.bias if network.bias != "none" else 0)
        multiply_adds += layer_count.multiply_adds
        channels = layer.out_channels
        height, width = (
            size // layer.pool_size for size in (layer.geometry.output_height, layer.geometry.output_width)
        )
    features = channels * (height * width if network.readout == "flatten" else 1)
    classifier = features * network.classes
    return Cost(parameters + classifier + network.classes, multiply_adds + classifier)


def lanes(experiment: Experiment) -> list[dict[str, float]]:
    """The hyper-parameters of each lane by name: all combinations, the last fastest. Strength 0: no penalty."""
    training = experiment.training
    values = itertools.product(training.learning_rates, training.weight_decays, training.penalty_strengths or (0.0,))
    return [dict(zip(Hyperparameters._fields, lane, strict=True)) for lane in values]


def build_trial(experiment: Experiment, dataset: Dataset) -> Trial:
    """The arrays of one trial.

    Raises InputError where the data set holds too few images.
    """
    data, training = experiment.data, experiment.training
    subset = subsets.draw_subset(dataset.train, experiment.seed, data.n_train, data.n_validation)
    positions = subsets.draw_batches(data.n_train, training.batch_size, training.updates, experiment.seed)
    return Trial(
        key=jax.random.key(experiment.seed),
        hyperparameters=Hyperparameters(
            *jnp.asarray([list(lane.values()) for lane in lanes(experiment)], jnp.float32).T
        ),
        batches=jnp.asarray(subset.train[positions]),
        validation=jnp.asarray(subset.validation),
        standardisation=Standardisation(jnp.asarray(subset.mean), jnp.asarray(subset.deviation)),
    )


def to_device(split: Split) -> Images:
    """A split, once, on the default device."""
    return Images(jnp.asarray(split.images), jnp.asarray(split.labels))
