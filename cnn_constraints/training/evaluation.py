"""What candidates are measured by: validation images at every look, and test images once, for the one that was chosen."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int

from cnn_constraints.training import loop
from cnn_constraints.training.candidates import Candidates, Unrolled
from cnn_constraints.training.loop import Images, Standardisation, Task
from cnn_constraints.training.metrics import Metrics, better, measure, worst


class Test(NamedTuple):
    """The chosen candidate, by validation alone, and its test metrics: NaN until the last segment reads the test set."""

    candidate: Int[Array, ""]
    update: Int[Array, ""]
    validation: Metrics
    metrics: Metrics


def evaluate(
    task: Task,
    parameters: Candidates,
    split: Images,
    indices: Int[Array, " examples"],
    standardisation: Standardisation,
) -> Metrics:
    """Mean metrics of each candidate's parameters, a chunk of images at a time."""
    chunks, counts = _in_chunks(indices)

    def chunk(carry: None, part: tuple) -> tuple[None, Metrics]:
        images, labels = loop.prepare(split, part[0], standardisation)
        metrics = jax.vmap(measure, (0, None))(parameters.logits(task.network, images), labels)
        return carry, jax.tree.map(lambda leaf: jnp.where(part[1], leaf, 0).sum(axis=1), metrics)

    _, sums = lax.scan(chunk, None, (chunks, counts))
    return jax.tree.map(lambda leaf: leaf.sum(axis=0) / len(indices), sums)


def _in_chunks(indices: Int[Array, " examples"]) -> tuple[Int[Array, "chunks chunk"], Bool[Array, "chunks chunk"]]:
    """Equal chunks, and which places of them hold an example: the last chunk is filled up with the first example."""
    examples = len(indices)
    chunks = -(-examples // loop.EVALUATION_CHUNK)
    chunk = -(-examples // chunks)
    filler = jnp.broadcast_to(indices[:1], (chunks * chunk - examples,))
    real = jnp.arange(chunks * chunk) < examples
    return jnp.concatenate([indices, filler]).reshape(chunks, chunk), real.reshape(chunks, chunk)


def test(task: Task, candidates: Candidates, test_split: Images, standardisation: Standardisation, read: bool) -> Test:
    """The candidate that is best on validation data, of those that did not diverge, and if `read` what it makes of the test
    set.
    """
    best, diverged = candidates.map(lambda one: (one.best._replace(parameters=0), one.diverged)).arrays()
    # One that diverged is not chosen, however good it was before.
    left = jax.tree.map(lambda own, none: jnp.where(diverged == loop.NEVER, own, none), best.metrics, worst())
    chosen = _argbest(left)
    validation = jax.tree.map(lambda leaf: leaf[chosen], left)
    metrics = Metrics(jnp.array(jnp.nan), jnp.array(jnp.nan))
    if read:
        winner = candidates.map(lambda one: one.best.parameters).pick(chosen)
        everything = jnp.arange(len(test_split.labels))
        metrics = evaluate(task, Unrolled((winner,)), test_split, everything, standardisation)
        # An experiment whose every candidate diverged has chosen nothing that could be tested.
        metrics = jax.tree.map(lambda leaf: jnp.where(validation.accuracy < 0, jnp.nan, leaf[0]), metrics)
    return Test(chosen, best.update[chosen], validation, metrics)


def _argbest(metrics: Metrics) -> Int[Array, ""]:
    """The first that no other is better than."""
    beaten = better(
        jax.tree.map(lambda leaf: leaf[None, :], metrics), jax.tree.map(lambda leaf: leaf[:, None], metrics)
    )
    return jnp.argmin(beaten.any(axis=1)).astype(jnp.int32)
