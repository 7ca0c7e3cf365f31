"""Tied weights with a small delta: H[d, i, j, n] = sum_{a, b, c} V[c, a, b, d] X[c, i + a, j + b, n]  (D2L 7.1.2.2).

All formulations compute this sum; they differ in what they hand to the matrix unit. Each is exact for every delta, and
JAX derives the gradients: every step is a copy or a matrix product, whose transposes are again copies and products.
"""

import jax.numpy as jnp
from jax import lax

from cnn_constraints.arrays import FreeWeights, Inputs, Outputs
from cnn_constraints.constraints.geometry import Axis, Geometry


def kernel_of(weights: FreeWeights, geometry: Geometry, delta: int | None) -> jnp.ndarray:
    """The free weights of a tied layer as V[c, a, b, d]."""
    rows, columns = geometry.rows.offsets(delta), geometry.columns.offsets(delta)
    return weights.reshape(weights.shape[0], len(rows), len(columns), weights.shape[2])


def pad_axis(x: jnp.ndarray, axis: Axis, delta: int | None, dimension: int) -> jnp.ndarray:
    """Enough pixels on both sides that every output meets every offset inside the array."""
    offsets = axis.offsets(delta)
    last_centre = axis.stride * (axis.outputs - 1)
    widths = [(0, 0)] * x.ndim
    widths[dimension] = (-offsets[0], max(0, last_centre + offsets[-1] - (axis.size - 1)))
    return jnp.pad(x, widths, mode="wrap" if axis.boundary == "circular" else "constant")


def shifted(x: jnp.ndarray, axis: Axis, delta: int | None, dimension: int, stack_at: int) -> jnp.ndarray:
    """x[i + a] for every output i and offset a of one axis: the offsets become a new dimension at `stack_at`."""
    padded = pad_axis(x, axis, delta, dimension)
    length = axis.stride * (axis.outputs - 1) + 1
    slices = [
        lax.slice_in_dim(padded, start, start + length, axis.stride, axis=dimension)
        for start in range(len(axis.offsets(delta)))
    ]
    return jnp.stack(slices, axis=stack_at)


def patches(x: Inputs, weights: FreeWeights, geometry: Geometry, delta: int | None) -> Outputs:
    """Every window of the image as one column of a matrix, times the kernel ("im2col")."""
    in_channels, _, _, batch = x.shape
    by_column = shifted(x, geometry.columns, delta, dimension=2, stack_at=1)
    # Without the barrier XLA fuses both shifts into one gather and recomputes the first for every row.
    by_column = lax.optimization_barrier(by_column)
    windows = shifted(by_column, geometry.rows, delta, dimension=2, stack_at=1)
    matrix = windows.reshape(in_channels * weights.shape[1], -1)
    product = weights.reshape(-1, weights.shape[2]).T @ matrix
    return product.reshape(-1, geometry.output_height, geometry.output_width, batch)


def row_toeplitz(x: Inputs, weights: FreeWeights, geometry: Geometry, delta: int | None) -> Outputs:
    """The kernel written as a banded matrix over one image row, times all rows within reach.

    It multiplies by zeros outside the band, width / (2 delta + 1) times the work of `patches`, but copies
    2 delta + 1 times less data.
    """
    batch = x.shape[3]
    band = toeplitz_of_columns(kernel_of(weights, geometry, delta), geometry.columns, delta)
    rows = shifted(x, geometry.rows, delta, dimension=1, stack_at=1)
    rows = jnp.moveaxis(rows, 2, 3).reshape(-1, geometry.output_height * batch)
    product = band.reshape(rows.shape[0], -1).T @ rows
    product = product.reshape(geometry.output_width, -1, geometry.output_height, batch)
    return product.transpose(1, 2, 0, 3)


def toeplitz_of_columns(kernel: jnp.ndarray, axis: Axis, delta: int | None) -> jnp.ndarray:
    """T[c, a, l, j, d] = V[c, a, l - stride * j, d], 0 outside the kernel: V[c, a, b, d] as matrices over columns."""
    full = _extend(kernel, axis, delta)
    lowest = axis.offsets(None)[0]
    # Slices, not one gather: the transpose of a gather is a scatter, which runs on one thread.
    starts = [(-axis.stride * j - lowest) % axis.size for j in range(axis.outputs)]
    return jnp.stack([lax.slice_in_dim(full, start, start + axis.size, axis=2) for start in starts], axis=3)


def _extend(kernel: jnp.ndarray, axis: Axis, delta: int | None) -> jnp.ndarray:
    """The kernel over all offsets of its column axis; on a torus twice over, so that every rotation is a slice."""
    allowed, every = axis.offsets(delta), axis.offsets(None)
    full = jnp.pad(kernel, ((0, 0), (0, 0), (allowed[0] - every[0], every[-1] - allowed[-1]), (0, 0)))
    return full if axis.boundary == "zero" else jnp.concatenate([full, full], axis=2)


def library(x: Inputs, weights: FreeWeights, geometry: Geometry, delta: int | None) -> Outputs:
    """XLA's own convolution: the winner on GPU and TPU; on CPU it is slow inside a scan (jax-ml/jax#12868)."""
    kernel = kernel_of(weights, geometry, delta)
    padded = pad_axis(pad_axis(x, geometry.rows, delta, 1), geometry.columns, delta, 2)
    return lax.conv_general_dilated(
        padded, kernel, (geometry.stride, geometry.stride), "VALID", dimension_numbers=("CHWN", "IHWO", "CHWN")
    )
