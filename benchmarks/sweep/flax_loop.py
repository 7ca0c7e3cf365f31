"""The ordinary Flax training loop: one model, one jitted update at a time, batches cut from arrays on the host."""

from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax
from flax.training.train_state import TrainState

from benchmarks.sweep.problem import CLASSES, LEARNING_RATE, POOL, SIZE, Problem, kernel


class Peer(nn.Module):
    """The cell as Flax's own layers write it; images [batch, height, width, channels]."""

    cell: str
    channels: int
    delta: int | None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        reach = SIZE - 1 if self.delta is None else self.delta
        size = (2 * reach + 1, 2 * reach + 1)
        if self.cell == "dense":
            x = nn.Dense(SIZE * SIZE * self.channels, name="layer")(x.reshape(len(x), -1))
            x = x.reshape(-1, SIZE, SIZE, self.channels)
        elif self.cell == "local":
            x = nn.ConvLocal(self.channels, size, padding="SAME", name="layer")(x)
        else:
            x = nn.Conv(self.channels, size, padding="SAME", name="layer")(x)
        x = nn.avg_pool(nn.relu(x), (POOL, POOL), (POOL, POOL))
        return nn.Dense(CLASSES, name="classifier")(x.reshape(len(x), -1))


@jax.jit
def train_step(state: TrainState, images: jax.Array, labels: jax.Array) -> tuple[TrainState, jax.Array]:
    """One update by Optax, and the loss before it."""

    def loss(parameters: Any) -> jax.Array:
        logits: Any = state.apply_fn({"params": parameters}, images)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    value, gradient = jax.value_and_grad(loss)(state.params)
    return state.apply_gradients(grads=gradient), value


class FlaxLoop:
    """What most people write."""

    models = 1

    def __init__(self, problem: Problem) -> None:
        self._problem, self._images = problem, problem.images
        channels = problem.network.layers[0].out_channels
        peer = Peer(problem.cell, channels, problem.delta)
        self._state = TrainState.create(
            apply_fn=peer.apply, params=_parameters(problem, channels), tx=optax.adam(LEARNING_RATE)
        )

    def train(self, updates: int) -> float:
        """So many updates from the start; the mean of their losses."""
        state, losses = self._state, []
        for batch in self._problem.batches[:updates]:
            state, loss = train_step(state, self._images[batch], self._problem.labels[batch])
            losses.append(loss)
        jax.block_until_ready(state.params)
        return float(np.mean([float(loss) for loss in losses]))


def _parameters(problem: Problem, channels: int) -> dict[str, Any]:
    weights, bias = kernel(problem), problem.parameters["layer_0"]["bias"]
    if problem.cell == "dense":
        weights = weights.reshape(len(weights), -1)
    elif problem.cell == "local":
        # The patches of XLA order their entries by channel first.
        weights = weights.transpose(0, 1, 4, 2, 3, 5).reshape(SIZE, SIZE, -1, channels)
    bias = bias[..., 0].transpose(1, 2, 0)
    bias = {"dense": bias.reshape(-1), "local": bias}.get(problem.cell, bias[0, 0])
    by_site = problem.parameters["classifier"]["kernel"].reshape(channels, -1, CLASSES).transpose(1, 0, 2)
    classifier = {"kernel": by_site.reshape(-1, CLASSES), "bias": problem.parameters["classifier"]["bias"]}
    return jax.tree.map(np.asarray, {"layer": {"kernel": weights, "bias": bias}, "classifier": classifier})
