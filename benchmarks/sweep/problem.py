"""The training that sweeps are timed on: one constrained layer, relu, mean pooling, a linear classifier, Adam.

Every contender starts from the same parameters, sees the same batches, and must follow the losses of the definition,
which are computed here in 64 bits by writing W out.
"""

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float, Int32

from benchmarks.layers.contender import Case
from benchmarks.layers.definition import kernel_of
from benchmarks.layers.operations import least_operations
from cnn_constraints.arrays import Split
from cnn_constraints.functional import Layer
from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.network import Network, flatten, mean_pool
from cnn_constraints.ops import dense
from cnn_constraints.ops.choose import stored_ties
from cnn_constraints.training import loop
from cnn_constraints.training.loop import Task

SIZE, CLASSES, POOL, LEARNING_RATE = 28, 10, 4, 1e-3
EXAMPLES, MEAN, DEVIATION = 1024, np.float32(127.5), np.float32(73.9)
TOLERANCE = 2e-4
"""Of a mean loss over a few updates in 32 bits, relative to the definition in 64 bits."""


class Problem(NamedTuple):
    """parameters: of every model at the beginning. batches: positions in the images, one row an update."""

    cell: str
    task: Task
    key: jax.Array
    parameters: dict[str, Any]
    raw: Split
    batches: Int32[np.ndarray, "updates batch"]

    @property
    def network(self) -> Network:
        """Of one layer and a classifier."""
        return self.task.network

    @property
    def images(self) -> Float[np.ndarray, "examples height width channels"]:
        """As peers take them: standardised once, before training."""
        return (self.raw.images.astype(np.float32) - MEAN) / DEVIATION

    @property
    def labels(self) -> Int32[np.ndarray, " examples"]:
        """Classes of the examples."""
        return self.raw.labels

    @property
    def geometry(self) -> Geometry:
        """Of the layer."""
        return self.network.layers[0].geometry

    @property
    def delta(self) -> int | None:
        """Of the layer; None for all offsets."""
        return self.network.layers[0].delta


class Contender(Protocol):
    """models: how many are trained side by side, each counted."""

    models: int

    def train(self, updates: int) -> float:
        """The mean loss of the first model over the first updates, from the beginning; returns when all is computed."""
        ...


def make_problem(cell: str, channels: int, delta: int, batch: int, updates: int, seed: int) -> Problem:
    """Random images in the shape of MNIST: speed does not depend on what they show."""
    generator = np.random.default_rng(seed)
    geometry = Geometry(SIZE, SIZE)
    local, per_site = cell in ("local", "conv"), cell in ("dense", "local")
    layer = Layer(
        cell, geometry, 1, channels, delta if local else None, bias="site" if per_site else "channel", gain=2.0
    )
    task = Task(Network((layer,), (POOL,), CLASSES, stored=True), (SIZE, SIZE, 1), "adam", "constant", updates)
    key = jax.random.key(seed)
    images = generator.integers(0, 256, (EXAMPLES, SIZE, SIZE, 1)).astype(np.uint8)
    labels = generator.integers(0, CLASSES, EXAMPLES).astype(np.int32)
    batches = generator.integers(0, EXAMPLES, (updates, batch)).astype(np.int32)
    parameters = jax.tree.map(np.asarray, loop.start(task, key).parameters)
    return Problem(cell, task, key, parameters, Split(images, labels), batches)


def loss_of_definition(problem: Problem, updates: int) -> float:
    """W from the tie table, one product, in 64 bits."""
    ties = stored_ties(problem.cell, problem.geometry, problem.delta)

    def loss(parameters: dict[str, Any], images: jax.Array, labels: jax.Array) -> jax.Array:
        layer, classifier = parameters["layer_0"], parameters["classifier"]
        h = dense.expanded(images.transpose(3, 1, 2, 0), layer["weights"], ties, problem.geometry) + layer["bias"]
        features = flatten(mean_pool(jax.nn.relu(h), POOL))
        logits = features @ classifier["kernel"] + classifier["bias"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    with jax.enable_x64(True):
        parameters = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), problem.parameters)
        optimizer = optax.adam(LEARNING_RATE)
        state, losses = optimizer.init(parameters), []
        step = jax.jit(jax.value_and_grad(loss))
        images = problem.images.astype(np.float64)
        for batch in problem.batches[:updates]:
            value, gradient = step(parameters, images[batch], problem.labels[batch])
            changes, state = optimizer.update(gradient, state)
            parameters = optax.apply_updates(parameters, changes)
            losses.append(float(value))
    return float(np.mean(losses))


def follows_definition(contender: Contender, problem: Problem, updates: int = 4) -> bool:
    """Whether the contender trains the same network: its loss is that of the definition."""
    return abs(contender.train(updates) / loss_of_definition(problem, updates) - 1) < TOLERANCE


def kernel(problem: Problem) -> np.ndarray:
    """The first layer's weights as peers write them: see `kernel_of`."""
    return kernel_of(problem.cell, problem.parameters["layer_0"]["weights"], problem.geometry, problem.delta)


def least_work(problem: Problem) -> tuple[float, float]:
    """Operations and bytes that one update of one model needs at the least: two passes of the layer (the gradient of the
    images is not needed, that of the classifier is small), and Adam's three arrays read and written.
    """
    layer = problem.network.layers[0]
    batch = problem.batches.shape[1]
    case = Case("", problem.cell, layer.geometry, 1, layer.out_channels, layer.delta, batch)
    return 2 * least_operations(case), 6 * 4 * layer.count.parameters
