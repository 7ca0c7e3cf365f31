"""The candidates of one experiment side by side: what differs between them is a learning rate, a weight decay, a strength.

On CPU they are unrolled: XLA still computes what they share once, and every product keeps the memory layout of a single
model, which a batch axis would destroy (measured: dense 2.5 times faster, conv 1.5 times). Elsewhere they are stacked: one
batched product is what keeps the machine busy.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from cnn_constraints.network import AnyNetwork, logits_side_by_side

T = TypeVar("T")

Images = Float[Array, "batch height width channels"]
Logits = Float[Array, "candidates batch classes"]


class Unrolled(NamedTuple):
    """Something of each candidate, in a tuple."""

    each: tuple[Any, ...]

    def map(self, function: Callable, *others: Any) -> "Unrolled":
        """function(one, *own) for every candidate. Others: candidates too, or arrays whose leading axis is theirs."""
        own = [
            other.each if isinstance(other, Unrolled) else [row(other, i) for i in range(len(self.each))]
            for other in others
        ]
        return Unrolled(tuple(function(*mine) for mine in zip(self.each, *own, strict=True)))

    def arrays(self) -> Any:
        """The same with a leading axis of candidates."""
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *self.each)

    def pick(self, index: Int[Array, ""]) -> Any:
        """That of one candidate, whose index is known on the device only."""
        return jax.tree.map(lambda *leaves: lax.select_n(index, *leaves), *self.each)

    def logits(self, network: AnyNetwork, images: Images) -> Logits:
        """What the networks say, where these are their variables."""
        return jnp.stack(logits_side_by_side(network, self.each, images))

    def on_host(self, experiment: int, candidate: int) -> Any:
        """That of one candidate of one of several experiments, whose axis comes first."""
        return row(jax.tree.map(np.asarray, self.each[candidate]), experiment)


class Stacked(NamedTuple):
    """Something of each candidate, as arrays with a leading axis of candidates. Its methods are those of Unrolled."""

    each: Any

    def map(self, function: Callable, *others: Any) -> "Stacked":
        own = [other.each if isinstance(other, Stacked) else other for other in others]
        return Stacked(jax.vmap(function)(self.each, *own))

    def arrays(self) -> Any:
        return self.each

    def pick(self, index: Int[Array, ""]) -> Any:
        return row(self.each, index)

    def logits(self, network: AnyNetwork, images: Images) -> Logits:
        say: Callable = lambda variables: network.apply(variables, images)
        return jax.vmap(say)(self.each)

    def on_host(self, experiment: int, candidate: int) -> Any:
        # Cut out where it lies: a device holds many candidates.
        return jax.tree.map(np.asarray, row(self.each, (experiment, candidate)))


Candidates = Unrolled | Stacked


def alike(one: Any, count: int, kind: type[Candidates]) -> Candidates:
    """So many candidates that are the same."""
    if kind is Unrolled:
        return Unrolled((one,) * count)
    return Stacked(jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), one))


def fastest_kind(backend: str) -> type[Candidates]:
    """Unrolled or Stacked, by what was measured."""
    return Unrolled if backend == "cpu" else Stacked


def row(arrays: T, index: Any) -> T:
    """What stands there on the leading axis, or axes, of all arrays."""
    return jax.tree.map(lambda leaf: leaf[index], arrays)
