"""The order in which weights are stored while they are computed with, and the way from the canonical order and back.

The canonical order is that of the names of a tie table: the one that users see, and that is saved. A fast path may want
another, and then has its weights in it from the start to the end of training: nothing is reordered in between.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Int

Order = Int[np.ndarray, " weights"]
"""order[w] is the canonical name of the weight that is stored w-th."""


def by_axes(rows: Bool[np.ndarray, "row_phases a"], columns: Bool[np.ndarray, "column_phases b"]) -> Order:
    """The order by (row phase, a, column phase, b) of weights whose names count (row phase, column phase, a, b).

    rows, columns: which phases, or sites, have a weight for which offset along each axis.
    """
    (row, _), (column, _) = np.nonzero(rows), np.nonzero(columns)
    # A layer on a megapixel has half a billion weights.
    kind = np.int32 if len(row) * len(column) < 2**31 else np.int64
    row_weights, column_weights = rows.sum(axis=1, dtype=kind), columns.sum(axis=1, dtype=kind)
    first_row, first_column = (weights.cumsum(dtype=kind) - weights for weights in (row_weights, column_weights))
    a, b = (np.arange(len(s), dtype=kind) - f[s] for s, f in ((row, first_row), (column, first_column)))
    before = first_row[row, None] * kind(len(column)) + row_weights[row, None] * first_column[column]
    return (before + a[:, None] * column_weights[column] + b).ravel()


def to_storage(weights: jax.Array, order: Order | None, axis: int) -> jax.Array:
    """Weights in canonical order along an axis, in storage order."""
    return weights if order is None else reorder(weights, order, axis)


def to_canonical(weights: jax.Array, order: Order | None, axis: int) -> jax.Array:
    """Weights in storage order along an axis, in canonical order."""
    return weights if order is None else reorder(weights, np.argsort(order), axis)


def reorder(weights: jax.Array, order: Order, axis: int) -> jax.Array:
    """weights[order]. The gradient is a gather by the inverse; JAX's own would be a scatter, which runs on one thread."""

    @jax.custom_vjp
    def take(weights: jax.Array) -> jax.Array:
        return jnp.take(weights, order, axis=axis)

    take.defvjp(lambda weights: (take(weights), None), lambda _, g: (jnp.take(g, np.argsort(order), axis=axis),))
    return take(weights)
