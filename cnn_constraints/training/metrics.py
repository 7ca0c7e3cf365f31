"""What is measured of a batch of predictions, and which of two measurements is better."""

from typing import NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int


class Metrics(NamedTuple):
    """loss: cross-entropy in nats. accuracy: fraction of right answers, 0 to 1."""

    loss: Float[Array, "*candidates"]
    accuracy: Float[Array, "*candidates"]


def measure(logits: Float[Array, "batch classes"], labels: Int[Array, " batch"]) -> Metrics:
    """Loss and accuracy of each example: average them over whatever they are wanted for."""
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return Metrics(loss, (logits.argmax(axis=-1) == labels).astype(logits.dtype))


def better(new: Metrics, old: Metrics) -> Bool[Array, "*candidates"]:
    """Higher accuracy, or the same with a lower loss. A loss that is not finite is never better."""
    higher = (new.accuracy > old.accuracy) | ((new.accuracy == old.accuracy) & (new.loss < old.loss))
    return higher & jnp.isfinite(new.loss)


def worst() -> Metrics:
    """What every real measurement is better than."""
    return Metrics(jnp.array(jnp.inf), jnp.array(-1.0))
