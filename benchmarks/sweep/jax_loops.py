"""The training by this project's engine, and by the ordinary Flax loop."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.training.train_state import TrainState

from benchmarks.layers.case import Case
from benchmarks.layers.jax_layers import FlaxLayer, flax_kernel
from benchmarks.sweep.problem import CLASSES, DEVIATION, LEARNING_RATE, MEAN, POOL, Contender, Problem
from cnn_constraints.arrays import Split
from cnn_constraints.plan import to_device
from cnn_constraints.training import ensemble
from cnn_constraints.training.ensemble import Arrays
from cnn_constraints.training.loop import Hyperparameters, Standardisation

EVALUATED = 64
"""Images of the validation and of the test data, which peers do not have: as few as a batch."""


def ours(problem: Problem, candidates: int) -> Contender:
    """Many candidates, one program, on the device from first to last update: an experiment for each device, as a sweep over
    seeds has them. Its candidates differ in learning rate, and the first has the peers' rate.
    """
    devices = jax.local_device_count()
    splits = to_device(problem.raw), to_device(Split(problem.raw.images[:EVALUATED], problem.raw.labels[:EVALUATED]))
    rates = LEARNING_RATE * 2.0 ** -np.arange(candidates)
    hyperparameters = Hyperparameters(jnp.asarray(rates, jnp.float32), *jnp.zeros((2, candidates)))
    standardisation = Standardisation(jnp.array([MEAN]), jnp.array([DEVIATION]))
    programs: dict[int, ensemble.Program] = {}

    def train(updates: int) -> float:
        batches = jnp.asarray(problem.batches[:updates])
        arrays = Arrays(problem.key, hyperparameters, batches, jnp.arange(EVALUATED), standardisation)
        stacked = ensemble.stack([arrays] * devices)
        if updates not in programs:
            task = dataclasses.replace(problem.task, updates=updates)
            programs[updates] = ensemble.compile_program(task, stacked, *splits, updates)
        (((segment, *_), _),) = ensemble.train(programs[updates], stacked, *splits)
        return float(segment.train.loss[0])

    return Contender(candidates * devices, train)


class Peer(nn.Module):
    """The network as Flax's own layers write it."""

    case: Case

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        h = nn.avg_pool(nn.relu(FlaxLayer(self.case, use_bias=True, name="cell")(x)), (POOL, POOL), (POOL, POOL))
        return nn.Dense(CLASSES, name="classifier")(h.reshape(len(x), -1))


@jax.jit
def train_step(state: TrainState, images: jax.Array, labels: jax.Array) -> tuple[TrainState, jax.Array]:
    """One update by Optax, and the loss before it."""

    def loss(parameters: Any) -> jax.Array:
        logits: Any = state.apply_fn({"params": parameters}, images)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    value, gradient = jax.value_and_grad(loss)(state.params)
    return state.apply_gradients(grads=gradient), value


def flax_loop(problem: Problem) -> Contender:
    """What most people write: one model, one jitted update at a time, batches cut from arrays on the host."""
    images, labels = problem.images, problem.raw.labels
    parameters, optimizer = _parameters(problem), optax.adam(LEARNING_RATE)
    start = TrainState.create(apply_fn=Peer(problem.case).apply, params=parameters, tx=optimizer)

    def train(updates: int) -> float:
        state, losses = start, []
        for batch in problem.batches[:updates]:
            state, loss = train_step(state, images[batch], labels[batch])
            losses.append(loss)
        jax.block_until_ready(state.params)
        return float(np.mean([float(loss) for loss in losses]))

    return Contender(1, train)


def _parameters(problem: Problem) -> dict[str, Any]:
    """Those at the beginning, as Flax stores them."""
    case, layer, classifier = problem.case, problem.parameters["layer_0"], problem.parameters["classifier"]
    bias = layer["bias"][..., 0].transpose(1, 2, 0)
    bias = {"dense": bias.reshape(-1), "local": bias}.get(case.cell, bias[0, 0])
    by_site = classifier["kernel"].reshape(case.out_channels, -1, CLASSES).transpose(1, 0, 2)
    return {
        "cell": {"layer": {"kernel": flax_kernel(case, layer["weights"]), "bias": bias}},
        "classifier": {"kernel": by_site.reshape(-1, CLASSES), "bias": classifier["bias"]},
    }
