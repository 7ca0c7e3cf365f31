"""The training that sweeps are timed on: one constrained layer, relu, mean pooling, a linear classifier, Adam.

Every contender starts from the same parameters, sees the same batches, and so must come to the same losses.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int32

from benchmarks.layers.case import Case, least_operations
from cnn_constraints.arrays import Split
from cnn_constraints.functional import Layer
from cnn_constraints.network import Network
from cnn_constraints.training import loop
from cnn_constraints.training.loop import Task

CLASSES, POOL, LEARNING_RATE = 10, 4, 1e-3
EXAMPLES, MEAN, DEVIATION = 1024, np.float32(127.5), np.float32(73.9)


class Problem(NamedTuple):
    """parameters: of every model at the beginning. batches: positions in the images, one row an update."""

    case: Case
    task: Task
    key: jax.Array
    parameters: dict[str, Any]
    raw: Split
    batches: Int32[np.ndarray, "updates batch"]

    @property
    def images(self) -> Float[np.ndarray, "examples height width channels"]:
        """As peers take them: standardised once, before training."""
        return (self.raw.images.astype(np.float32) - MEAN) / DEVIATION


class Contender(NamedTuple):
    """models: trained side by side. train: the mean loss of the first over so many updates, when all is computed."""

    models: int
    train: Callable[[int], float]


def make_problem(case: Case, updates: int, seed: int) -> Problem:
    """Random images in the shape of the case: speed does not depend on what they show."""
    generator = np.random.default_rng(seed)
    shape = (case.geometry.height, case.geometry.width, case.in_channels)
    bias = "site" if case.cell in ("dense", "local") else "channel"
    layer = Layer(case.cell, case.geometry, case.in_channels, case.out_channels, case.delta, bias=bias, gain=2.0)
    task = Task(Network((layer,), (POOL,), CLASSES, stored=True), shape, "adam", "constant", updates)
    key = jax.random.key(seed)
    images = generator.integers(0, 256, (EXAMPLES, *shape)).astype(np.uint8)
    labels = generator.integers(0, CLASSES, EXAMPLES).astype(np.int32)
    batches = generator.integers(0, EXAMPLES, (updates, case.batch)).astype(np.int32)
    parameters = jax.tree.map(np.asarray, loop.start(task, key).parameters)
    return Problem(case, task, key, parameters, Split(images, labels), batches)


def least_work(problem: Problem) -> tuple[float, float]:
    """Operations and bytes that one update of one model needs at the least: two passes of the layer (the gradient of the
    images is not needed, that of the classifier is small), and Adam's three arrays read and written.
    """
    return 2 * least_operations(problem.case), 6 * 4 * problem.task.network.layers[0].count.parameters
