"""What lanes are measured by: validation images at every look, and test images once, for the lane that was chosen."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int

from cnn_constraints.model import logits_of_lanes
from cnn_constraints.training import run
from cnn_constraints.training.metrics import Metrics, better, measure, worst
from cnn_constraints.training.run import Images, Standardisation, Task

Lanes = Any
"""A tuple of Lane (unrolled), or one Lane whose arrays have a leading axis of lanes (vmapped)."""


class Test(NamedTuple):
    """The chosen lane, by validation alone, and its test metrics: NaN until the last segment reads the test set."""

    lane: Int[Array, ""]
    update: Int[Array, ""]
    validation: Metrics
    metrics: Metrics


def over_lanes(function: Callable, axis: str, lanes: Lanes, *more: Any) -> tuple[Lanes, Any]:
    """function(lane, *more) -> (lane, metrics) for every lane; metrics come back with a leading axis of lanes."""
    if axis == "vmapped":
        return jax.vmap(function)(lanes, *more)
    results = [function(lane, *jax.tree.map(lambda leaf, i=i: leaf[i], more)) for i, lane in enumerate(lanes)]
    return tuple(lane for lane, _ in results), jax.tree.map(lambda *leaves: jnp.stack(leaves), *[m for _, m in results])


def evaluate(
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


def test(task: Task, axis: str, lanes: Lanes, test_split: Images, standardisation: Standardisation, read: bool) -> Test:
    """The lane that is best on validation data, of those that did not diverge, and if `read` what it makes of the test
    set.
    """
    best, diverged = over_lanes(lambda lane: (lane, (lane.best._replace(parameters=0), lane.diverged)), axis, lanes)[1]
    # A lane that diverged is not chosen, however good it was before.
    left = jax.tree.map(lambda own, none: jnp.where(diverged == run.NEVER, own, none), best.metrics, worst())
    chosen = _argbest(left)
    validation = jax.tree.map(lambda leaf: leaf[chosen], left)
    metrics = Metrics(jnp.array(jnp.nan), jnp.array(jnp.nan))
    if read:
        if axis == "unrolled":
            winner = jax.tree.map(
                lambda *leaves: lax.select_n(chosen, *leaves), *[lane.best.parameters for lane in lanes]
            )
        else:
            winner = jax.tree.map(lambda leaf: leaf[chosen], lanes.best.parameters)
        everything = jnp.arange(len(test_split.labels))
        metrics = evaluate(task, "unrolled", (winner,), test_split, everything, standardisation)
        # A trial whose every lane diverged has chosen nothing that could be tested.
        metrics = jax.tree.map(lambda leaf: jnp.where(validation.accuracy < 0, jnp.nan, leaf[0]), metrics)
    return Test(chosen, best.update[chosen], validation, metrics)


def _argbest(metrics: Metrics) -> Int[Array, ""]:
    """The first lane that no other lane is better than."""
    beaten = better(
        jax.tree.map(lambda leaf: leaf[None, :], metrics), jax.tree.map(lambda leaf: leaf[:, None], metrics)
    )
    return jnp.argmin(beaten.any(axis=1)).astype(jnp.int32)
