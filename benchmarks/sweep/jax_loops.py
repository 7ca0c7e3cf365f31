"""The training by this project's engine, and two ways to train Flax's own layers: the ordinary loop, and the fastest that
a good user of JAX would write.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.training.train_state import TrainState
from jax import lax

from benchmarks.layers.case import Case
from benchmarks.layers.jax_layers import FlaxLayer, flax_kernel
from benchmarks.sweep.problem import CLASSES, DEVIATION, LEARNING_RATE, MEAN, Contender, Problem
from cnn_constraints.arrays import Split
from cnn_constraints.network import layer_name
from cnn_constraints.plan import to_device
from cnn_constraints.training import ensemble
from cnn_constraints.training.ensemble import Arrays
from cnn_constraints.training.loop import Hyperparameters, Standardisation

EVALUATED = 64
"""Images of the validation and of the test data, which peers do not have: as few as a batch."""


def learning_rates(models: int) -> np.ndarray:
    """Of models side by side: the first has the rate of those that train alone."""
    return (LEARNING_RATE * 2.0 ** -(np.arange(models) % 8)).astype(np.float32)


OF_AN_EXPERIMENT = 4
"""Candidates that see the same batches on an accelerator, as a grid of learning rates has them."""


def ours(problem: Problem, candidates: int) -> Contender:
    """Many candidates on each device, one program from first to last update, as a sweep over seeds has them: candidates of
    one experiment on CPU; elsewhere of as many experiments as that takes, each with batches of its own.
    """
    rates = candidates if jax.default_backend() == "cpu" else min(candidates, OF_AN_EXPERIMENT)
    experiments = jax.local_device_count() * -(-candidates // rates)
    splits = to_device(problem.raw), to_device(Split(problem.raw.images[:EVALUATED], problem.raw.labels[:EVALUATED]))
    hyperparameters = Hyperparameters(jnp.asarray(learning_rates(rates)), *jnp.zeros((2, rates)))
    standardisation = Standardisation(jnp.array([MEAN]), jnp.array([DEVIATION]))
    prepared: dict[int, tuple[ensemble.Program, Arrays]] = {}

    def prepare(updates: int) -> tuple[ensemble.Program, Arrays]:
        first = Arrays(
            np.asarray(problem.seed, np.uint32),
            hyperparameters,
            problem.batches[:updates],
            np.arange(EVALUATED),
            standardisation,
        )
        # The images of a data set are as good in any order.
        own = lambda number: first._replace(batches=(first.batches + number) % len(problem.raw.labels))
        stacked = ensemble.stack([own(number) for number in range(experiments)])
        task = dataclasses.replace(problem.task, updates=updates)
        return ensemble.compile_program(task, stacked, *splits, updates), stacked

    def train(updates: int) -> float:
        if updates not in prepared:
            prepared[updates] = prepare(updates)
        (((segment, *_), _),) = ensemble.train(*prepared[updates], splits[0])
        return float(segment.train.loss[0])

    return Contender(rates * experiments, train)


class Peer(nn.Module):
    """The network as Flax's own layers write it."""

    cases: tuple[Case, ...]
    pools: tuple[int, ...]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for number, (case, pool) in enumerate(zip(self.cases, self.pools, strict=True)):
            h = nn.relu(FlaxLayer(case, use_bias=True, name=layer_name(number))(x))
            x = nn.avg_pool(h, (pool, pool), (pool, pool))
        return nn.Dense(CLASSES, name="classifier")(x.reshape(len(x), -1))


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
    start, step = _start(problem, LEARNING_RATE), jax.jit(train_step)

    def train(updates: int) -> float:
        state, losses = start, []
        for batch in problem.batches[:updates]:
            state, loss = step(state, images[batch], labels[batch])
            losses.append(loss)
        jax.block_until_ready(state.params)
        return float(np.mean([float(loss) for loss in losses]))

    return Contender(1, train)


def flax_vmap(problem: Problem, models: int) -> Contender:
    """Models side by side in one program, `jit(vmap(scan))`, that differ in their learning rates; the images are on the
    device, and all models see the same batches.

    For `shared` on a CPU it is one model: there XLA convolves with kernels as large as the image ten times as fast for one
    as for each of several.
    """
    if problem.cases[0].cell == "shared" and jax.default_backend() == "cpu":
        models = 1
    images, labels, batches = jax.device_put((problem.images, problem.raw.labels, problem.batches))
    rates = jnp.asarray(learning_rates(models))

    @jax.jit
    def program(rates: jax.Array, parameters: Any, images: jax.Array, labels: jax.Array, batches: jax.Array) -> Any:
        def train_one(rate: jax.Array) -> tuple[Any, jax.Array]:
            step = lambda state, batch: train_step(state, images[batch], labels[batch])
            state, losses = lax.scan(step, _start(problem, rate, parameters), batches)
            return state.params, losses.mean()

        return jax.vmap(train_one)(rates)

    parameters = jax.device_put(_parameters(problem))

    def train(updates: int) -> float:
        _, losses = jax.block_until_ready(program(rates, parameters, images, labels, batches[:updates]))
        return float(losses[0])

    return Contender(models, train)


def _start(problem: Problem, rate: Any, parameters: Any = None) -> TrainState:
    apply = Peer(problem.cases, problem.pools).apply
    return TrainState.create(apply_fn=apply, params=parameters or _parameters(problem), tx=optax.adam(rate))


def _parameters(problem: Problem) -> dict[str, Any]:
    """Those at the beginning, as Flax stores them."""
    found: dict[str, Any] = {}
    for number, case in enumerate(problem.cases):
        layer = problem.parameters[layer_name(number)]
        bias = layer["bias"][..., 0].transpose(1, 2, 0)
        bias = {"dense": bias.reshape(-1), "local": bias}.get(case.cell, bias[0, 0])
        found[layer_name(number)] = {"layer": {"kernel": flax_kernel(case, layer["weights"]), "bias": bias}}
    classifier, channels = problem.parameters["classifier"], problem.cases[-1].out_channels
    by_site = classifier["kernel"].reshape(channels, -1, CLASSES).transpose(1, 0, 2).reshape(-1, CLASSES)
    return {**found, "classifier": {"kernel": by_site, "bias": classifier["bias"]}}
