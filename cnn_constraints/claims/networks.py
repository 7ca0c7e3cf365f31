"""What the claims about trained networks have in common: the base network of each data set, and how arms are trained."""

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import optax
import pandas
from jax import lax
from jaxtyping import Array

from cnn_constraints.arrays import Dataset
from cnn_constraints.claims import Tier
from cnn_constraints.claims.claim import Laboratory
from cnn_constraints.experiment import Data, Experiment, Model, Training, axis, product
from cnn_constraints.network import Network
from cnn_constraints.plan import build_arrays, build_task
from cnn_constraints.resolve import resolve
from cnn_constraints.training import loop
from cnn_constraints.training.loop import Images, Standardisation

CELLS = ("dense", "shared", "local", "conv")
READOUTS = ("flatten", "global_average")

MOMENTS = ("initial weights", "trained")
"""At which a network is looked at."""

REDUCE: dict[Tier, int] = {"quick": 2, "cpu": 2, "gpu": 1}
"""On CPU images are halved, to 14 x 14 and 16 x 16: a dense layer then has a sixteenth of its weights."""

CHANNELS = {"mnist": (8, 16, 16), "cifar10": (16, 32, 32)}
"""Of the networks that fit their training images."""

LEARNING_RATES = {"mnist": (3e-3, 1e-2), "cifar10": (2e-3,)}
"""Those that were best with tuning seeds."""

UPDATES = {100: 200, 300: 400, 1000: 800, 3000: 1600, 20_000: 4000, 50_000: 40_000}
"""For up to so many images."""

Arm = TypeVar("Arm")


def base(images: Data, tier: Tier) -> Experiment:
    """Two layers of delta 2 with pooling between; three learning rates, chosen on validation images."""
    reduce = REDUCE[tier]
    return Experiment(
        data=dataclasses.replace(images, n_train=1000, n_validation=500, reduce=reduce),
        model=Model(delta=2, channels=(4, 16), pool_sizes=(4 // reduce, 1), strides=(1, 1)),
        training=Training(updates=400, evaluate_every=50, batch_size=32, learning_rates=(1e-3, 4e-3, 1.6e-2)),
    )


def deep(laboratory: Laboratory, data_set: str, n_train: int) -> Experiment:
    """Three layers of delta 2, pooled by 2 after two of them, trained for long enough to fit their training images."""
    updates = next(updates for most, updates in UPDATES.items() if n_train <= most)
    return Experiment(
        data=dataclasses.replace(
            laboratory.images[data_set], n_train=n_train, n_validation=1000, reduce=REDUCE[laboratory.tier]
        ),
        model=Model(delta=2, channels=CHANNELS[data_set], pool_sizes=(2, 2, 1), strides=(1, 1, 1)),
        training=Training(
            updates=updates,
            evaluate_every=updates // 8,
            batch_size=64,
            learning_rates=LEARNING_RATES[data_set],
            schedule="cosine",
        ),
    )


def train_arms(laboratory: Laboratory, arms: Mapping[Arm, Experiment]) -> dict[Arm, pandas.DataFrame]:
    """Train every arm with every seed: of each the rows of the table of results, in the order of the seeds."""
    resolved = {arm: resolve(product(base, axis("seed", laboratory.seeds))) for arm, base in arms.items()}
    results = laboratory.train(itertools.chain.from_iterable(resolved.values())).set_index("experiment")
    return {arm: results.loc[[one.name for one in experiments]] for arm, experiments in resolved.items()}


def train_one(
    experiment: Experiment, dataset: Dataset, train_split: Images
) -> tuple[Network, Standardisation, dict[str, Any]]:
    """By the ordinary loop: a network of one learning rate, and its parameters at each of the MOMENTS, to look at them.

    train_split: that of the data set, on the device already.
    """
    [resolved] = resolve([experiment])
    task, arrays = build_task(resolved, dataset), build_arrays(resolved, dataset)
    first = jax.tree.map(lambda candidates: candidates[0], arrays.hyperparameters)
    seen = (train_split, arrays.batches, arrays.validation, arrays.standardisation)
    key = jax.random.key(resolved.seed)
    trained, _ = loop.train(task, key, first, *seen, evaluate_every=len(arrays.batches))
    moments = (loop.start(task, key).parameters, trained.parameters)
    assert isinstance(task.network, Network)
    return task.network, arrays.standardisation, dict(zip(MOMENTS, moments, strict=True))


def descend(
    optimizer: optax.GradientTransformation, loss: Callable[[Any, Array], Array], weights: Any, batches: Array
) -> Any:
    """The weights after an update on the loss(weights, batch) of every batch: for networks that are not the engine's."""

    def step(carry: tuple, batch: Array) -> tuple[tuple, None]:
        weights, state = carry
        changes, state = optimizer.update(jax.grad(loss)(weights, batch), state)
        return (optax.apply_updates(weights, changes), state), None

    return lax.scan(step, (weights, optimizer.init(weights)), batches)[0][0]
