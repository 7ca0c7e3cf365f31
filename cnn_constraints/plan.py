"""From experiments to what is compiled: groups that share a program, their network, its cost, and the arrays of each.

All that can be refused is refused here, before anything is trained.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from cnn_constraints.arrays import Dataset, Split
from cnn_constraints.data import subsets
from cnn_constraints.environment import device_memory
from cnn_constraints.errors import InputError
from cnn_constraints.experiment import Data, Experiment, Model
from cnn_constraints.functional import Layer
from cnn_constraints.lattice import constraints, low_rank
from cnn_constraints.lattice.counts import sizes
from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.network import ACTIVATIONS, Network
from cnn_constraints.ops import choose
from cnn_constraints.resolve import Resolved, soft_constraints
from cnn_constraints.training import soft_constraints as soft
from cnn_constraints.training.ensemble import EVALUATION_CHUNK, Arrays
from cnn_constraints.training.loop import Hyperparameters, Images, Standardisation, Task

BYTES_PER_PARAMETER = 4 * 5
"""In 32 bits: the parameter, its gradient, the two moments of Adam, and the best parameter so far."""

WINDOWS_OF_SHARED = 8
"""How many numbers a layer that sees the whole image makes of one of its inputs: its spectra, in parts and twice."""


class Cost(NamedTuple):
    """Of the whole network: parameters with biases and classifier, and multiply-adds of the definition per image."""

    parameters: int
    multiply_adds: int


class Group(NamedTuple):
    """Experiments that share a compiled program, in the order of the sweep. size: how many there were when it was
    planned.
    """

    name: str
    experiments: tuple[Resolved, ...]
    size: int
    task: Task
    cost: Cost

    @property
    def first(self) -> Resolved:
        """Whose model, and training up to the candidates, all have."""
        return self.experiments[0]

    @property
    def least_memory(self) -> int:
        """Bytes that the parameters of one experiment take while it is trained."""
        return BYTES_PER_PARAMETER * self.cost.parameters * len(self.first.candidates)

    @property
    def most_memory(self) -> int:
        """Bytes that one experiment may take in all: beside its parameters, for every candidate and image evaluated at once
        the windows that each layer copies, its output and what comes of that.
        """
        numbers = 0
        for layer in self.task.network.layers:
            geometry = layer.geometry
            windows = WINDOWS_OF_SHARED if layer.delta is None else (2 * layer.delta + 1) ** 2
            numbers += layer.in_channels * geometry.input_sites * windows
            numbers += 2 * layer.out_channels * geometry.output_sites
        images = max(self.first.training.batch_size, EVALUATION_CHUNK)
        return self.least_memory + 4 * images * numbers * len(self.first.candidates)


def plan(experiments: Iterable[Resolved], load: Callable[[Data], Dataset]) -> list[Group]:
    """Groups of experiments that differ only in what is an array to the program.

    Raises InputError for data that cannot be read or do not suffice, and for a network that does not fit its images or the
    memory.
    """
    members: dict[str, list[Resolved]] = {}
    for experiment in experiments:
        members.setdefault(experiment.group, []).append(experiment)
    groups = [_group(name, together, load) for name, together in members.items()]
    for group in groups:
        _check_memory(group)
    return groups


def _group(name: str, experiments: Sequence[Resolved], load: Callable[[Data], Dataset]) -> Group:
    for data in dict.fromkeys(experiment.data for experiment in experiments):
        subsets.check_sizes(load(data).train, data.n_train, data.n_validation)
    task = build_task(experiments[0], load(experiments[0].data))
    return Group(name, tuple(experiments), len(experiments), task, cost(task.network))


def _check_memory(group: Group) -> None:
    needed, available = group.least_memory, device_memory()
    if needed > available:
        model = group.first.model
        raise InputError(
            f"The network of {model.constraint} with channels {model.channels} has {group.cost.parameters:,} parameters: "
            f"training {len(group.first.candidates)} candidates takes at least {needed:,} bytes, and the device has "
            f"{available:,}; make model.channels, the images or the number of learning rates and weight decays smaller."
        )


def build_task(experiment: Resolved, dataset: Dataset) -> Task:
    """What is compiled. Raises InputError where the network does not fit the images, with what made them so small."""
    training, data = experiment.training, experiment.data
    image_shape = dataset.train.images.shape[1:]
    try:
        network = build_network(experiment.model, image_shape, len(dataset.classes))
    except InputError as error:
        made = [f"data.size {data.size}"] * (data.size is not None) + [f"data.reduce {data.reduce}"] * (data.reduce > 1)
        made = made if data.frame is None else [f"data.frame {data.frame}"]
        if not made:
            raise
        size = f"{image_shape[0]} x {image_shape[1]}"
        raise InputError(f"{str(error)[:-1]}; the images are {size} by {' and '.join(made)}.") from None
    asked = soft_constraints(experiment)
    soft.check(network, asked)
    return Task(network, image_shape, training.optimizer, training.schedule, training.updates, asked)


def build_network(model: Model, image_shape: tuple[int, int, int], classes: int) -> Network:
    """The network of a config for images [height, width, channels].

    delta is that of the first layer; where a later layer's image is smaller than it reaches, the layer sees all of it.
    Raises InputError where delta is larger than the image, where a tile or rank is larger than has an effect,
    where pooling and strides leave no pixel, and where a constraint needs a tie table that is too large to write.
    """
    height, width, in_channels = image_shape
    Geometry(height, width).check_delta(model.delta)
    tied = constraints.find(low_rank.bank_of(model.constraint))
    bias = {"own": "site" if tied.bias_per_site else "channel", "none": None}.get(model.bias, model.bias)
    gain = ACTIVATIONS[model.activation].gain
    layers: list[Layer] = []
    for channels, stride, pool_size in zip(model.channels, model.strides, model.pool_sizes, strict=True):
        geometry = Geometry(height, width, stride, model.boundary)
        delta = None if model.delta is None else min(model.delta, max(height, width) - 1)
        rank = low_rank.rank_of(model.constraint, model.rank)
        of_constraint = (delta, model.tile, rank)
        layer = Layer(model.constraint, geometry, in_channels, channels, *of_constraint, bias, gain, model.precision)
        if layer.tied_by not in choose.FORMULATIONS:
            constraints.require_table_fits(geometry)
        if not layers:
            _check_effect(layer)
        layers.append(layer)
        in_channels = channels
        height, width = geometry.output_height // pool_size, geometry.output_width // pool_size
        if not height or not width:
            raise InputError(
                f"model.strides {model.strides} and model.pool_sizes {model.pool_sizes} leave no pixel of an image of "
                f"{image_shape[0]} x {image_shape[1]} after layer {len(layers)}: make them smaller."
            )
    names = (model.activation, model.pooling, model.readout)
    return Network(tuple(layers), model.pool_sizes, classes, *names, stored=True)


def _check_effect(layer: Layer) -> None:
    """Of the first layer: later ones see smaller images."""
    geometry = layer.geometry
    sides = f"{geometry.output_height} x {geometry.output_width}"
    tile, largest = constraints.tile_of(layer.tied_by, layer.tile), max(geometry.output_height, geometry.output_width)
    if tile is not None and tile > largest:
        raise InputError(
            f"model.tile is {tile}: the first layer has {sides} output sites, so that more than {largest} would have no "
            f"effect."
        )
    if layer.rank is None:
        return
    bank = layer.in_channels * layer.out_channels * sizes(layer.tied_by, geometry, layer.delta).weights
    if layer.rank > (largest := low_rank.largest_rank(bank, geometry)):
        raise InputError(
            f"model.rank is {layer.rank}: the first layer has {sides} output sites and filter banks of {bank} weights, so "
            f"that more than {largest} would have no effect."
        )


def cost(network: Network) -> Cost:
    """Parameters and multiply-adds of a network, from the closed forms."""
    counted = [layer.count for layer in network.layers]
    last, pool_size = network.layers[-1], network.pool_sizes[-1]
    sites = (last.geometry.output_height // pool_size) * (last.geometry.output_width // pool_size)
    classifier = last.out_channels * (sites if network.readout == "flatten" else 1) * network.classes
    return Cost(
        sum(count.parameters for count in counted) + classifier + network.classes,
        sum(count.multiply_adds for count in counted) + classifier,
    )


def cost_of(experiment: Experiment, dataset: Dataset) -> Cost:
    """The cost of an experiment's network. Raises InputError where it does not fit the images."""
    return cost(build_network(experiment.model, dataset.train.images.shape[1:], len(dataset.classes)))


def build_arrays(experiment: Resolved, dataset: Dataset) -> Arrays:
    """The arrays of one experiment, on the host. Raises InputError where the data set holds too few images."""
    data, training = experiment.data, experiment.training
    subset = subsets.draw_subset(dataset.train, experiment.seed, data.n_train, data.n_validation)
    positions = subsets.draw_batches(data.n_train, training.batch_size, training.updates, experiment.seed)
    return Arrays(
        seed=np.asarray(experiment.seed, np.uint32),
        hyperparameters=Hyperparameters(*np.asarray(experiment.candidates, np.float32).T),
        batches=subset.train[positions],
        validation=subset.validation,
        standardisation=Standardisation(subset.mean, subset.deviation),
    )


def to_device(split: Split) -> Images:
    """A split, once, on the default device."""
    return Images(jnp.asarray(split.images), jnp.asarray(split.labels))
