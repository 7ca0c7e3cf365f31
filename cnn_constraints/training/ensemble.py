"""Many lanes, one compiled program: the lanes of a trial see the same batches and share the work on them.

A program covers the updates from one look at the validation data to the next, that look, and, at the right moment, the
drawing of initial weights and the one reading of the test set. So one shape is one program, whatever a trial's seed,
training-set size, learning rates and weight decays are.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from cnn_constraints.model import logits_of_lanes
from cnn_constraints.training import run
from cnn_constraints.training.metrics import Metrics, better, measure
from cnn_constraints.training.run import Hyperparameters, Images, Lane, Standardisation, Task

Lanes = Any
"""A tuple of Lane (unrolled), or one Lane whose arrays have a leading axis of lanes (vmapped)."""


class Trial(NamedTuple):
    """What one trial is trained on. The images themselves are shared by all trials of a group."""

    key: jax.Array
    hyperparameters: Hyperparameters
    batches: Int[Array, "updates batch"]
    validation: Int[Array, " n_validation"]
    standardisation: Standardisation


class Test(NamedTuple):
    """The chosen lane, by validation alone, and its test metrics: NaN until the last segment reads the test set."""

    lane: Int[Array, ""]
    update: Int[Array, ""]
    validation: Metrics
    metrics: Metrics


class Segment(NamedTuple):
    """What happened between two looks at the validation data, for each lane."""

    update: int
    train: Metrics
    validation: Metrics
    test: Test


def lane_axis(backend: str) -> str:
    """On CPU lanes are unrolled: XLA still computes what they share once, and every product keeps the memory layout of
    a single model, which a batch axis would destroy (measured: dense 2.5 times faster, conv 1.5 times). Elsewhere one
    batched product is what keeps the machine busy.
    """
    return "unrolled" if backend == "cpu" else "vmapped"


class Program(NamedTuple):
    """What a group shares: the compiled segment, the shapes of the lanes it takes, and how a trial is cut up."""

    segment: Callable
    lanes: Lanes
    updates: int
    evaluate_every: int


def compile_program(
    task: Task,
    trial: Trial,
    train_split: Images,
    test_split: Images,
    evaluate_every: int,
    axis: str | None = None,
) -> Program:
    """The program of a group, compiled for arrays shaped like these."""
    axis = axis or lane_axis(jax.default_backend())
    lanes = jax.eval_shape(partial(_start, task, axis), trial.key, trial.hyperparameters)
    segment = jax.jit(partial(_segment, task, axis), donate_argnums=0)
    arguments = (lanes, 0, trial._replace(batches=trial.batches[:evaluate_every]), train_split, test_split)
    return Program(segment.lower(*arguments).compile(), lanes, task.updates, evaluate_every)


def train(program: Program, trial: Trial, train_split: Images, test_split: Images) -> Iterator[Segment]:
    """Run one trial with the program of its group, one segment after the other."""
    # Zeros in the shape of the lanes: the first segment replaces them by initial weights.
    lanes = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), program.lanes)
    for first in range(0, program.updates, program.evaluate_every):
        part = trial._replace(batches=trial.batches[first : first + program.evaluate_every])
        lanes, history = program.segment(lanes, first, part, train_split, test_split)
        yield Segment(first + program.evaluate_every, *jax.tree.map(np.asarray, history))


def _start(task: Task, axis: str, key: jax.Array, hyperparameters: Hyperparameters) -> Lanes:
    count = len(hyperparameters.learning_rate)
    lane = run.start(task, key)
    if axis == "unrolled":
        return (lane,) * count
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), lane)


def _over_lanes(function: Callable, axis: str, lanes: Lanes, *more: Any) -> tuple[Lanes, Any]:
    """function(lane, *more) -> (lane, metrics) for every lane; metrics come back with a leading axis of lanes."""
    if axis == "vmapped":
        return jax.vmap(function)(lanes, *more)
    results = [function(lane, *jax.tree.map(lambda leaf, i=i: leaf[i], more)) for i, lane in enumerate(lanes)]
    return tuple(lane for lane, _ in results), jax.tree.map(lambda *leaves: jnp.stack(leaves), *[m for _, m in results])


def _segment(
    task: Task,
    axis: str,
    lanes: Lanes,
    first: Int[Array, ""],
    trial: Trial,
    train_split: Images,
    test_split: Images,
) -> tuple[Lanes, tuple[Metrics, Metrics, Test]]:
    lanes = lax.cond(first == 0, lambda: _start(task, axis, trial.key, trial.hyperparameters), lambda: lanes)

    def step(lanes: Lanes, batch: Int[Array, " batch"]) -> tuple[Lanes, Metrics]:
        images, labels = run.prepare(train_split, batch, trial.standardisation)
        if axis == "unrolled":
            return _update_lanes(task, lanes, images, labels, trial.hyperparameters)
        one = lambda lane, hyperparameters: run.update(task, lane, images, labels, hyperparameters)
        return jax.vmap(one)(lanes, trial.hyperparameters)

    lanes, train_metrics = lax.scan(step, lanes, trial.batches)
    done = first + len(trial.batches)
    parameters = lanes.parameters if axis == "vmapped" else tuple(lane.parameters for lane in lanes)
    validation = _evaluate(task, axis, parameters, train_split, trial.validation, trial.standardisation)
    lanes, _ = _over_lanes(lambda lane, m: (run.keep_best(lane, done, m), 0), axis, lanes, validation)
    test = lax.cond(
        done == task.updates,
        lambda: _test(task, axis, lanes, test_split, trial.standardisation, read=True),
        lambda: _test(task, axis, lanes, test_split, trial.standardisation, read=False),
    )
    return lanes, (jax.tree.map(lambda leaf: leaf.mean(axis=0), train_metrics), validation, test)


def _update_lanes(
    task: Task,
    lanes: tuple[Lane, ...],
    images: Float[Array, "batch height width channels"],
    labels: Int[Array, " batch"],
    hyperparameters: Hyperparameters,
) -> tuple[tuple[Lane, ...], Metrics]:
    """`run.update` for every lane. No loss depends on another lane, so the gradient of their sum is that of each."""

    def objective(parameters: tuple) -> tuple[Float[Array, ""], Metrics]:
        logits = jnp.stack(logits_of_lanes(task.network, parameters, images))
        metrics = jax.tree.map(lambda leaf: leaf.mean(axis=1), jax.vmap(measure, (0, None))(logits, labels))
        return metrics.loss.sum(), metrics

    gradients, metrics = jax.grad(objective, has_aux=True)(tuple(lane.parameters for lane in lanes))
    own = [jax.tree.map(lambda leaf, i=i: leaf[i], hyperparameters) for i in range(len(lanes))]
    return tuple(run.descend(task, *lane) for lane in zip(lanes, gradients, own, strict=True)), metrics


def _evaluate(
    task: Task,
    axis: str,
    parameters: Any,
    split: Images,
    indices: Int[Array, " examples"],
    standardisation: Standardisation,
) -> Metrics:
    """Mean metrics of each lane's parameters, a chunk of images at a time."""
    chunks, counts = _in_chunks(indices)

    def chunk(carry: None, part: tuple) -> tuple[None, Metrics]:
        images, labels = run.prepare(split, part[0], standardisation)

        if axis == "unrolled":
            logits = jnp.stack(logits_of_lanes(task.network, parameters, images))
        else:
            logits: Any = jax.vmap(lambda lane: task.network.apply({"params": lane}, images))(parameters)
        metrics = jax.vmap(measure, (0, None))(logits, labels)
        return carry, jax.tree.map(lambda leaf: jnp.where(part[1], leaf, 0).sum(axis=1), metrics)

    _, sums = lax.scan(chunk, None, (chunks, counts))
    return jax.tree.map(lambda leaf: leaf.sum(axis=0) / len(indices), sums)


def _in_chunks(indices: Int[Array, " examples"]) -> tuple[Int[Array, "chunks chunk"], Bool[Array, "chunks chunk"]]:
    """Equal chunks, and which places of them hold an example: the last chunk is filled up with the first example."""
    examples = len(indices)
    chunks = -(-examples // run.EVALUATION_CHUNK)
    chunk = -(-examples // chunks)
    filler = jnp.broadcast_to(indices[:1], (chunks * chunk - examples,))
    real = jnp.arange(chunks * chunk) < examples
    return jnp.concatenate([indices, filler]).reshape(chunks, chunk), real.reshape(chunks, chunk)


def _test(
    task: Task, axis: str, lanes: Lanes, test_split: Images, standardisation: Standardisation, read: bool
) -> Test:
    best = _over_lanes(lambda lane: (lane, lane.best._replace(parameters=0)), axis, lanes)[1]
    chosen = _argbest(best.metrics)
    validation = jax.tree.map(lambda leaf: leaf[chosen], best.metrics)
    metrics = Metrics(jnp.array(jnp.nan), jnp.array(jnp.nan))
    if read:
        if axis == "unrolled":
            winner = jax.tree.map(
                lambda *leaves: lax.select_n(chosen, *leaves), *[lane.best.parameters for lane in lanes]
            )
        else:
            winner = jax.tree.map(lambda leaf: leaf[chosen], lanes.best.parameters)
        everything = jnp.arange(len(test_split.labels))
        metrics = _evaluate(task, "unrolled", (winner,), test_split, everything, standardisation)
        # A trial whose every lane diverged has chosen nothing that could be tested.
        metrics = jax.tree.map(lambda leaf: jnp.where(validation.accuracy < 0, jnp.nan, leaf[0]), metrics)
    return Test(chosen, best.update[chosen], validation, metrics)


def _argbest(metrics: Metrics) -> Int[Array, ""]:
    """The first lane that no other lane is better than."""
    beaten = better(
        jax.tree.map(lambda leaf: leaf[None, :], metrics), jax.tree.map(lambda leaf: leaf[:, None], metrics)
    )
    return jnp.argmin(beaten.any(axis=1)).astype(jnp.int32)
