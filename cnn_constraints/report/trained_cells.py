"""What networks of one layer learn under each constraint, for the pictures of the idea."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas
from jaxtyping import Float

from cnn_constraints import store
from cnn_constraints.arrays import Dataset
from cnn_constraints.data.datasets import Datasets
from cnn_constraints.errors import InputError
from cnn_constraints.executors.progress import describe
from cnn_constraints.experiment import Data, Experiment, Model, Training
from cnn_constraints.functional import Layer, canonical_parameters
from cnn_constraints.network import layer_name, stored_layers
from cnn_constraints.plan import Group, build_arrays, plan, to_device
from cnn_constraints.resolve import resolve
from cnn_constraints.settings import own_settings
from cnn_constraints.training import ensemble, loop
from cnn_constraints.training.soft_constraints import violations

STRONGER = {"dense": ("local", "conv"), "shared": ("conv",), "local": ("conv",), "conv": ()}
"""The four cells, and from which constraints the distance of each is measured."""

SEEDS, DELTA, CHANNELS, UPDATES = range(5), 2, 8, 300

LOOKS = 10
"""How often distances are measured while training."""

Learned = tuple[Layer, Float[np.ndarray, "... channels"]]
"""A layer and its kernel after training, of the first channel of the images: see `functional.kernel_shape`."""


class TrainedCells(NamedTuple):
    """What networks of the four cells have learned from a source.

    layers: by cell, at the first seed. distances: ||W - P W|| / ||W|| for the nearest layer P W under each stronger
    constraint, of the weights and of what training has added to them; rows with columns `cell`, `seed`, `update`,
    `stronger`, `of`, `distance`. No row for what is zero.
    """

    source: str
    layers: Mapping[str, Learned]
    distances: pandas.DataFrame


@own_settings()
def train_cells(
    source: str, say: Callable[[str], None], seeds: Sequence[int] = SEEDS, updates: int = UPDATES
) -> TrainedCells:
    """Train the four cells on 1,000 images, one layer each. Raises InputError for a source that cannot be read."""
    load, layers, rows = Datasets(), {}, []
    experiments = [experiment(source, cell, seed, updates) for cell in STRONGER for seed in seeds]
    for group in plan(resolve(experiments), load):
        cell, layer = group.first.model.constraint, group.task.network.layers[0]
        say(f"training {cell} on {source}: {group.size} seeds of {updates} updates")
        distance = jax.jit(partial(violations, group.task.network, group.task.soft))
        initial, now = [], []
        for update, now in _moments(group, load(group.first.data)):
            initial = initial or now
            for one, first, last in zip(group.experiments, initial, now, strict=True):
                added = jax.tree.map(np.subtract, last, first)
                for of, parameters in (("weights", last), ("added by training", added)):
                    if parameters[layer_name(0)]["weights"].any():
                        own = {"cell": cell, "seed": one.seed, "update": update, "of": of}
                        found = distance(parameters).items()
                        rows += [own | {"stronger": name, "distance": float(value)} for name, value in found]
        stored = jax.tree.map(jnp.asarray, now[0][layer_name(0)])
        layers[cell] = layer, np.asarray(canonical_parameters(layer, stored)["kernel"])[..., 0, :]
    return TrainedCells(source, layers, pandas.DataFrame(rows))


def layers_of_run(folder: Path) -> dict[str, Learned]:
    """The first layers of a run's own networks: of each arm, that of the most training images at the first seed. Those of
    `low_rank_local` are left out, whose sites combine several kernels. Raises InputError as `store.load`, and where no
    layer is left.
    """
    results = store.read(folder)
    results = results[results["candidate"].notna() & results["model.rank"].isna()]
    found: dict[str, Learned] = {}
    arms = [f"model.{field}" for field in ("constraint", "delta", "tile", "readout")]
    order = np.lexsort((results["seed"], -results["data.n_train"]))
    first = results.iloc[order].drop_duplicates(arms)
    for name in first["experiment"]:
        trained = store.load(folder, name)
        for layer in stored_layers(trained.network)[:1]:
            kernel = trained.variables["params"][layer_name(0)]["kernel"]
            found.setdefault(describe(trained.experiment), (layer, np.asarray(kernel)[..., 0, :]))
    if not found:
        raise InputError(f"{folder} has no network whose receptive fields could be drawn.")
    return dict(sorted(found.items()))


def _moments(group: Group, dataset: Dataset) -> Iterator[tuple[int, list[Any]]]:
    """Updates so far and the parameters of each experiment: before training, and at each look."""
    splits = to_device(dataset.train), to_device(dataset.test)
    arrays = ensemble.stack([build_arrays(one, dataset) for one in group.experiments])
    program = ensemble.compile_program(group.task, arrays, *splits, group.first.training.evaluate_every)
    keys = [jax.random.key(one.seed) for one in group.experiments]
    yield 0, [jax.tree.map(np.asarray, loop.start(group.task, key).parameters) for key in keys]
    for _, state in ensemble.train(program, arrays, splits[0]):
        yield state.update, [ensemble.current_parameters(state, number, 0) for number in range(group.size)]


def experiment(source: str, cell: str, seed: int, updates: int) -> Experiment:
    """One layer of CHANNELS channels, delta DELTA."""
    model = Model(constraint=cell, delta=DELTA, channels=(CHANNELS,), pool_sizes=(2,), strides=(1,))
    # A layer has a delta for what is measured of it, even where its own constraint heeds none.
    measured = {"evaluate_every": max(1, updates // LOOKS), "violations": STRONGER[cell]}
    training = Training(updates=updates, batch_size=64, learning_rates=(3e-3,), **measured)
    return Experiment(Data(source=source, n_train=1000, n_validation=300), model, training, seed)


def field(learned: Learned, place: float) -> Float[np.ndarray, "channels height width"]:
    """W[i, j, :, :] of D2L 7.1.2, for the site at this share of the diagonal."""
    layer, kernel = learned
    geometry = layer.geometry
    i, j = int(place * geometry.output_height), int(place * geometry.output_width)
    # The last weight is zero, and what pairs without a weight use: -1 names it.
    weights = np.pad(kernel.reshape(-1, layer.out_channels), ((0, 1), (0, 0)))
    row = weights[layer.ties[i * geometry.output_width + j]]
    return row.T.reshape(-1, geometry.height, geometry.width)
