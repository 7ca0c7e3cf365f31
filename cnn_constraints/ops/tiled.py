"""Weights tied within a phase: H[d, i, j, n] = sum_{a, b, c} V[i mod k, j mod k, a, b, c, d] X[c, i + a, j + b, n].

Tiled convolution (Le, Ngiam et al. 2010, "Tiled convolutional neural networks", section 3) with tiles of k x k sites.
"""

import jax.numpy as jnp
import numpy as np
from jax import lax

from cnn_constraints.arrays import FreeWeights, Inputs, Outputs
from cnn_constraints.lattice.geometry import Axis, Geometry
from cnn_constraints.ops.conv import tiled_windows
from cnn_constraints.ops.local import insert_zeros, products
from cnn_constraints.ops.storage import Order, by_axes


def order(geometry: Geometry, delta: int | None, tile: int) -> Order:
    """By the row's phase and offset, then the column's."""
    return by_axes(_met(geometry.rows, delta, tile), _met(geometry.columns, delta, tile))


def _met(axis: Axis, delta: int | None, tile: int) -> np.ndarray:
    return axis.met(delta, np.arange(axis.outputs) % tile)


def polyphase(x: Inputs, weights: FreeWeights, geometry: Geometry, delta: int | None, tile: int) -> Outputs:
    """The sites of one phase are a convolution of stride k: a matrix product of their windows with their kernel, and one
    batch of products for all phases. From `conv.patches`, at k = 1, to a product for every site.
    """
    row_tile, column_tile = (min(tile, axis.outputs) for axis in (geometry.rows, geometry.columns))
    blocks = (-(-geometry.output_height // row_tile), -(-geometry.output_width // column_tile))
    by_column = _windows_of_phases(x, geometry.columns, delta, column_tile, dimension=2, stack_at=0)
    # Without the barrier XLA fuses both steps into one gather and recomputes the first for every row.
    by_column = lax.optimization_barrier(by_column)
    windows = _windows_of_phases(by_column, geometry.rows, delta, row_tile, dimension=3, stack_at=1)
    kernels = _kernels(weights, geometry, delta, row_tile, column_tile)
    product = products(kernels, windows.reshape(*kernels.shape[:2], -1))
    product = product.reshape(row_tile, column_tile, -1, *blocks, x.shape[3]).transpose(2, 3, 0, 4, 1, 5)
    product = product.reshape(-1, blocks[0] * row_tile, blocks[1] * column_tile, x.shape[3])
    return product[:, : geometry.output_height, : geometry.output_width]


def _windows_of_phases(
    x: jnp.ndarray, axis: Axis, delta: int | None, tile: int, dimension: int, stack_at: int
) -> jnp.ndarray:
    """x[i + a] for every output i and offset a of one axis: in the place of pixels its tiles, in front of all dimensions
    the phases of i, and at `stack_at` of what is behind them the offsets.
    """
    places = tiled_windows(x, axis, delta, tile, dimension, stack_at)
    starts, offsets = range(0, axis.stride * tile, axis.stride), len(axis.offsets(delta))
    return jnp.stack([lax.slice_in_dim(places, start, start + offsets, axis=stack_at) for start in starts])


def _kernels(
    weights: FreeWeights, geometry: Geometry, delta: int | None, row_tile: int, column_tile: int
) -> jnp.ndarray:
    """The free weights as [phase, offset and input channel, d], zero where no pair of a phase has the offset."""
    rows, columns = _met(geometry.rows, delta, row_tile), _met(geometry.columns, delta, column_tile)
    free = weights.reshape(weights.shape[0], rows.sum(), columns.sum(), weights.shape[2])
    full = insert_zeros(insert_zeros(free, rows.ravel(), dimension=1), columns.ravel(), dimension=2)
    kernels = full.reshape(weights.shape[0], *rows.shape, *columns.shape, weights.shape[2]).transpose(1, 3, 2, 4, 0, 5)
    return kernels.reshape(row_tile * column_tile, -1, weights.shape[2])
