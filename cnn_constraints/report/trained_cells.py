"""What networks of one layer learn under each constraint, for the pictures of the idea."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas
from jaxtyping import Float

from cnn_constraints import errors
from cnn_constraints.arrays import Dataset
from cnn_constraints.data.datasets import build_dataset
from cnn_constraints.experiment import Data, Experiment, Model, Training
from cnn_constraints.network import Network, layer_name
from cnn_constraints.ops.choose import stored_ties
from cnn_constraints.plan import build_arrays, build_task, plan, to_device
from cnn_constraints.receptive_fields import ReceptiveFields, receptive_fields
from cnn_constraints.resolve import Resolved, resolve
from cnn_constraints.training import ensemble, loop, soft_constraints

STRONGER = {"dense": ("local", "conv"), "shared": ("conv",), "local": ("conv",), "conv": ()}
"""The four cells, and from which constraints the distance of each is measured."""

SOURCES = ("digits", "mnist", "fashion_mnist", "cifar10")
"""Of images small enough for a dense layer."""

SEEDS, DELTA, CHANNELS, UPDATES = range(5), 2, 8, 300

LOOKS = 10
"""How often distances are measured while training."""

Say = Callable[[str], None]


class TrainedCells(NamedTuple):
    """What networks of the four cells have learned from a source.

    layers: by cell, the network and its parameters after training, at one seed. distances: of all seeds while training, as
    `distances` gives them, with columns `cell`, `seed`, `update`.
    """

    source: str
    layers: Mapping[str, tuple[Network, Any]]
    distances: pandas.DataFrame


def train_cells(source: str, say: Say, seeds: Sequence[int] = SEEDS, updates: int = UPDATES) -> TrainedCells:
    """Train the four cells on 1,000 images of a source, one layer each; `say` is told which.

    Raises InputError for a source that is none of SOURCES, or cannot be read, before anything is trained.
    """
    check_source(source)
    arms = {cell: resolve(experiment(source, cell, seed, updates) for seed in seeds) for cell in STRONGER}
    everything = list(itertools.chain.from_iterable(arms.values()))
    dataset = build_dataset(everything[0].data)
    plan(everything, lambda _: dataset)
    layers, rows = {}, []
    for cell, arm in arms.items():
        say(f"training {cell} on {source}: {len(arm)} seeds of {updates} updates")
        network = build_task(arm[0], dataset).network
        for one, update, initial, now in trained(arm, dataset):
            for row in distances(network, one.training.violations, initial, now):
                rows.append({"cell": cell, "seed": one.seed, "update": update, **row})
            if one is arm[0]:
                layers[cell] = network, now
    return TrainedCells(source, layers, pandas.DataFrame(rows))


def check_source(source: str) -> None:
    """Raises InputError for a source that is none of SOURCES."""
    if source not in SOURCES:
        raise errors.unknown_name("source", source, SOURCES)


def experiment(source: str, cell: str, seed: int, updates: int) -> Experiment:
    """One layer of CHANNELS channels, delta DELTA."""
    return Experiment(
        data=Data(source=source, n_train=1000, n_validation=300),
        model=Model(constraint=cell, delta=DELTA, channels=(CHANNELS,), pool_sizes=(2,), strides=(1,)),
        training=Training(
            updates=updates,
            evaluate_every=max(1, updates // LOOKS),
            batch_size=64,
            learning_rates=(3e-3,),
            violations=STRONGER[cell],
        ),
        seed=seed,
    )


def trained(arm: Sequence[Resolved], dataset: Dataset) -> Iterator[tuple[Resolved, int, Any, Any]]:
    """Each experiment of an arm, side by side, at each look: updates so far, parameters before training and now."""
    task = build_task(arm[0], dataset)
    stacked = ensemble.stack([build_arrays(one, dataset) for one in arm])
    splits = to_device(dataset.train), to_device(dataset.test)
    program = ensemble.compile_program(task, stacked, *splits, arm[0].training.evaluate_every)
    initial = [loop.start(task, key).parameters for key in stacked.key]
    yield from ((one, 0, start, start) for one, start in zip(arm, initial, strict=True))
    for _, state in ensemble.train(program, stacked, *splits):
        for number, (one, start) in enumerate(zip(arm, initial, strict=True)):
            yield one, state.update, start, ensemble.current_parameters(state, number, 0)


def distances(network: Network, stronger: Sequence[str], initial: Any, now: Any) -> list[dict[str, Any]]:
    """||W - P W|| / ||W|| for the nearest layer P W under each stronger constraint, of the weights and of what training has
    added to them; rows with columns `stronger`, `of`, `distance`. No row for what is zero.
    """
    soft = soft_constraints.SoftConstraints(violations=tuple(stronger))
    now, initial = (jax.tree.map(jnp.asarray, parameters) for parameters in (now, initial))
    added = jax.tree.map(jnp.subtract, now, initial)
    return [
        {"stronger": name, "of": of, "distance": float(distance)}
        for of, parameters in (("weights", now), ("added by training", added))
        if parameters[layer_name(0)]["weights"].any()
        for name, distance in _violations(network, soft, parameters).items()
    ]


_violations = jax.jit(soft_constraints.violations, static_argnums=(0, 1))


def fields(layer: tuple[Network, Any], places: Sequence[float]) -> ReceptiveFields:
    """W[i, j, :, :] of D2L 7.1.2 for sites at these shares of the diagonal."""
    found = receptive_fields(*layer, places)
    assert found is not None, "SOURCES are small enough for a tie table"
    return found


def kernel(layer: tuple[Network, Any]) -> Float[np.ndarray, "channels rows columns"]:
    """V[a, b] of D2L (7.1.2), whole, of a layer whose weights do not depend on the site; [0, 0] stands in the middle."""
    network, parameters = layer
    shape, weights = network.layers[0], parameters[layer_name(0)]["weights"][0]
    geometry = shape.geometry
    table = stored_ties(shape.tied_by, geometry, shape.delta, shape.tile)
    outputs, inputs = np.nonzero(table >= 0)
    a = inputs // geometry.width - outputs // geometry.output_width
    b = inputs % geometry.width - outputs % geometry.output_width
    reach = max(np.abs(a).max(), np.abs(b).max())
    found = np.zeros((2 * reach + 1, 2 * reach + 1, weights.shape[-1]), weights.dtype)
    found[a + reach, b + reach] = weights[table[outputs, inputs]]
    return np.moveaxis(found, -1, 0)
