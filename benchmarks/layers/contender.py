"""What is timed: one layer at one size, and a contender that computes it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.layers.definition import Products
from cnn_constraints.lattice.geometry import Geometry


class Case(NamedTuple):
    """One layer at one batch size; delta None for all offsets."""

    name: str
    cell: str
    geometry: Geometry
    in_channels: int
    out_channels: int
    delta: int | None
    batch: int

    @property
    def title(self) -> str:
        """The case in words, for tables and figures."""
        reach = "all" if self.delta is None else str(self.delta)
        return f"{self.cell} {self.name}, delta {reach}, batch {self.batch}"


class Arrays(NamedTuple):
    """images [batch, height, width, c], our free weights, the gradient of the outputs [batch, height, width, d]."""

    images: np.ndarray
    weights: np.ndarray
    gradient: np.ndarray


class Contender(NamedTuple):
    """Ready to be timed: `forward` and `both` return when all is computed; `products` tells what was computed."""

    forward: Callable[[], object]
    both: Callable[[], object]
    products: Callable[[], Products]


Maker = Callable[[Case, Arrays], Contender]


def with_gradients(apply: Callable[[jax.Array, jax.Array], jax.Array]) -> Callable[..., tuple[jax.Array, ...]]:
    """(images, weights, gradient of H) to H and the gradients of images and weights."""

    def both(x: jax.Array, weights: jax.Array, gradient: jax.Array) -> tuple[jax.Array, ...]:
        h, pull_back = jax.vjp(apply, x, weights)
        return (h, *pull_back(gradient))

    return both


def jax_contender(
    apply: Callable[[jax.Array, jax.Array], jax.Array],
    x: np.ndarray,
    weights: np.ndarray,
    gradient: np.ndarray,
    common: Callable[..., Products],
) -> Contender:
    """A compiled function of images and weights; `common` turns its outputs and gradients into those of `Products`."""
    forward, both = jax.jit(apply), jax.jit(with_gradients(apply))
    arguments: Any = tuple(jnp.asarray(np.ascontiguousarray(array)) for array in (x, weights, gradient))
    return Contender(
        lambda: jax.block_until_ready(forward(*arguments[:2])),
        lambda: jax.block_until_ready(both(*arguments)),
        lambda: common(*map(np.asarray, both(*arguments))),
    )
