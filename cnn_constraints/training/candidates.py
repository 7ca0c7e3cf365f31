"""The candidates of one experiment side by side: what differs between them is a learning rate, a weight decay, a strength.

On CPU they are unrolled: XLA still computes what they share once, and every product keeps the memory layout of a single
model, which a batch axis would destroy (measured: dense 2.5 times faster, conv 1.5 times). Elsewhere they are stacked: one
batched product is what keeps the machine busy.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from cnn_constraints.network import Network, logits_side_by_side

Images = Float[Array, "batch height width channels"]
Logits = Float[Array, "candidates batch classes"]


class Unrolled(NamedTuple):
    """Something of each candidate, in a tuple."""

    each: tuple[Any, ...]

    def map(self, function: Callable, *arrays: Any) -> "Unrolled":
        """function(one, *arrays) for every candidate; of the arrays, whose leading axis is that of candidates, its own."""
        own = ([jax.tree.map(lambda leaf, i=i: leaf[i], array) for array in arrays] for i in range(len(self.each)))
        return Unrolled(tuple(function(one, *mine) for one, mine in zip(self.each, own, strict=True)))

    def pair(self, other: "Unrolled") -> "Unrolled":
        """(one, other) of every candidate."""
        return Unrolled(tuple(zip(self.each, other.each, strict=True)))

    def arrays(self) -> Any:
        """The same with a leading axis of candidates."""
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *self.each)

    def pick(self, index: Int[Array, ""]) -> Any:
        """That of one candidate, whose index is known on the device only."""
        return jax.tree.map(lambda *leaves: lax.select_n(index, *leaves), *self.each)

    def logits(self, network: Network, images: Images) -> Logits:
        """What the networks say, where these are parameters."""
        return jnp.stack(logits_side_by_side(network, self.each, images))

    def on_host(self, experiment: int, candidate: int) -> Any:
        """That of one candidate of one of several experiments, whose axis comes first."""
        return jax.tree.map(lambda leaf: leaf[experiment], self.each[candidate])


class Stacked(NamedTuple):
    """Something of each candidate, as arrays with a leading axis of candidates."""

    each: Any

    def map(self, function: Callable, *arrays: Any) -> "Stacked":
        """See Unrolled."""
        return Stacked(jax.vmap(function)(self.each, *arrays))

    def pair(self, other: "Stacked") -> "Stacked":
        """See Unrolled."""
        return Stacked((self.each, other.each))

    def arrays(self) -> Any:
        """See Unrolled."""
        return self.each

    def pick(self, index: Int[Array, ""]) -> Any:
        """See Unrolled."""
        return jax.tree.map(lambda leaf: leaf[index], self.each)

    def logits(self, network: Network, images: Images) -> Logits:
        """See Unrolled."""
        say: Callable = lambda parameters: network.apply({"params": parameters}, images)
        return jax.vmap(say)(self.each)

    def on_host(self, experiment: int, candidate: int) -> Any:
        """See Unrolled."""
        return jax.tree.map(lambda leaf: leaf[experiment, candidate], self.each)


Candidates = Unrolled | Stacked


def alike(one: Any, count: int, kind: type[Candidates]) -> Candidates:
    """So many candidates that are the same."""
    if kind is Unrolled:
        return Unrolled((one,) * count)
    return Stacked(jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), one))


def fastest_kind(backend: str) -> type[Candidates]:
    """Unrolled or Stacked, by what was measured."""
    return Unrolled if backend == "cpu" else Stacked
