"""What the claims about trained networks have in common: the base network of each data set, and how results are read."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import pandas
from jaxtyping import Float

from cnn_constraints.arrays import Dataset
from cnn_constraints.experiment import Data, Experiment, Model, Training, axis, product
from cnn_constraints.plan import build_arrays, build_task
from cnn_constraints.resolve import Resolved, resolve
from cnn_constraints.training import loop
from cnn_constraints.training.loop import Images

CELLS = ("dense", "shared", "local", "conv")
READOUTS = ("flatten", "global_average")

MOMENTS = ("initial weights", "trained")
"""At which a network is looked at."""

REDUCE = {"cpu": 2, "gpu": 1}
"""On CPU images are halved, to 14 x 14 and 16 x 16: a dense layer then has a sixteenth of its weights."""


def base(images: Data, tier: str) -> Experiment:
    """Two layers of delta 2 with pooling between; three learning rates, chosen on validation images."""
    reduce = REDUCE[tier]
    return Experiment(
        data=dataclasses.replace(images, n_train=1000, n_validation=500, reduce=reduce),
        model=Model(delta=2, channels=(4, 16), pool_sizes=(4 // reduce, 1), strides=(1, 1)),
        training=Training(updates=400, evaluate_every=50, batch_size=32, learning_rates=(1e-3, 4e-3, 1.6e-2)),
    )


def by_seed(
    results: pandas.DataFrame, arm: Experiment, seeds: Sequence[int], value: str = "test_accuracy"
) -> Float[np.ndarray, " seeds"]:
    """The values of an arm in a table of results, in the order of the seeds."""
    named = [experiment.name for experiment in resolve(product(arm, axis("seed", seeds)))]
    return results.set_index("experiment")[value].loc[named].to_numpy(float)


def train_one(experiment: Resolved, dataset: Dataset, train_split: Images) -> dict[str, Any]:
    """The parameters of a network of one learning rate at each of the MOMENTS, by the ordinary loop.

    train_split: that of the data set, on the device already.
    """
    task, arrays = build_task(experiment, dataset), build_arrays(experiment, dataset)
    first = jax.tree.map(lambda candidates: candidates[0], arrays.hyperparameters)
    seen = (train_split, arrays.batches, arrays.validation, arrays.standardisation)
    trained, _ = loop.train(task, arrays.key, first, *seen, evaluate_every=len(arrays.batches))
    return dict(zip(MOMENTS, (loop.start(task, arrays.key).parameters, trained.parameters), strict=True))
