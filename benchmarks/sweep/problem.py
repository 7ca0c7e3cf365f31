"""The training that sweeps are timed on: constrained layers, each with relu and mean pooling, a linear classifier, Adam.

Every contender starts from the same parameters, sees the same batches, and so must come to the losses of the definition.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int32

from benchmarks.layers.case import Case, least_operations, make_case
from cnn_constraints.arrays import Split
from cnn_constraints.functional import Layer
from cnn_constraints.network import Network
from cnn_constraints.training import loop
from cnn_constraints.training.loop import Hyperparameters, Task

CLASSES, LEARNING_RATE = 10, 1e-3
EXAMPLES, MEAN, DEVIATION = 1024, np.float32(127.5), np.float32(73.9)

NETWORKS = {1: (("28x28x1->8", 4),), 2: (("28x28x1->8", 2), ("14x14x8->16", 2))}
"""Each layer's shape, and the size of the pooling behind it, by the number of layers."""

DELTA, BATCH = 2, 64


class Problem(NamedTuple):
    """cases, pools: the layers, and the size of the pooling behind each. parameters: of every model at the beginning.
    batches: positions in the images, one row an update.
    """

    cases: tuple[Case, ...]
    pools: tuple[int, ...]
    task: Task
    seed: int
    parameters: dict[str, Any]
    raw: Split
    batches: Int32[np.ndarray, "updates batch"]

    @property
    def images(self) -> Float[np.ndarray, "examples height width channels"]:
        """As peers take them: standardised once, before training."""
        return (self.raw.images.astype(np.float32) - MEAN) / DEVIATION

    def computed_by(self, formulations: Sequence[str | None], precision: str = "float32") -> "Problem":
        """The same problem with a formulation for each layer; None: the table's choice."""
        network = self.task.network
        layers = tuple(
            dataclasses.replace(layer, formulation=formulation, precision=precision)
            for layer, formulation in zip(network.layers, formulations, strict=True)
        )
        return self._replace(task=dataclasses.replace(self.task, network=network.clone(layers=layers)))


class Contender(NamedTuple):
    """models: trained side by side. train: the mean loss of the first over so many updates, when all is computed."""

    models: int
    train: Callable[[int], float]


def layers_of(cell: str, layers: int) -> tuple[tuple[Case, ...], tuple[int, ...]]:
    """The layers of a network that is timed, and what pools behind each."""
    shapes, pools = zip(*NETWORKS[layers], strict=True)
    return tuple(make_case(shape, cell, DELTA, BATCH) for shape in shapes), pools


def make_problem(cases: tuple[Case, ...], pools: tuple[int, ...], updates: int, seed: int) -> Problem:
    """Random images in the shape of the first case: speed does not depend on what they show."""
    generator, first = np.random.default_rng(seed), cases[0]
    shape = (first.geometry.height, first.geometry.width, first.in_channels)
    bias = "site" if first.cell in ("dense", "local") else "channel"
    layers = tuple(
        Layer(case.cell, case.geometry, case.in_channels, case.out_channels, case.delta, bias=bias, gain=2.0)
        for case in cases
    )
    task = Task(Network(layers, pools, CLASSES, stored=True), shape, "adam", "constant", updates)
    images = generator.integers(0, 256, (EXAMPLES, *shape)).astype(np.uint8)
    labels = generator.integers(0, CLASSES, EXAMPLES).astype(np.int32)
    batches = generator.integers(0, EXAMPLES, (updates, first.batch)).astype(np.int32)
    parameters = jax.tree.map(np.asarray, loop.start(task, jax.random.key(seed)).parameters)
    return Problem(cases, pools, task, seed, parameters, Split(images, labels), batches)


def definition(problem: Problem, updates: int) -> float:
    """The loss that contenders must have: by an ordinary loop in 64 bits, every W written out by its tie table."""
    task = problem.computed_by(["expanded"] * len(problem.cases)).task
    start = loop.start(task, jax.random.key(problem.seed))
    with jax.enable_x64(True):
        widen = lambda leaf: leaf.astype(np.float64) if leaf.dtype == np.float32 else leaf
        candidate, losses = jax.tree.map(widen, start), []
        images = (problem.raw.images.astype(np.float64) - MEAN) / DEVIATION
        update = jax.jit(loop.update, static_argnums=0)
        for batch in problem.batches[:updates]:
            rates = Hyperparameters(LEARNING_RATE, 0.0, 0.0)
            candidate, metrics = update(task, candidate, images[batch], problem.raw.labels[batch], rates)
            losses.append(metrics.loss)
        return float(np.mean(losses))


def least_work(problem: Problem) -> tuple[float, float]:
    """Operations and bytes that one update of one model needs at the least.

    Operations: each layer forward, back to its weights, and but for the first back to its images. Bytes: each parameter of
    a layer is read forward, and once more, with Adam's two moments, by an update that writes all three: seven times four
    bytes. Activations and gradients need not leave the chip, and the classifier is small: neither is counted.
    """
    operations = sum((3 if number else 2) * least_operations(case) for number, case in enumerate(problem.cases))
    parameters = sum(layer.count.parameters for layer in problem.task.network.layers)
    return operations, 7 * 4 * parameters
