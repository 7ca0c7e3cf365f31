"""Tied weights with a small delta: H[d, i, j, n] = sum_{a, b, c} V[c, a, b, d] X[c, i + a, j + b, n]  (D2L 7.1.2.2).

All formulations compute this sum; they differ in what they hand to the matrix unit. Each is exact for every delta, and
JAX derives the gradients: every step is a copy or a matrix product, whose transposes are again copies and products. One sum
alone says what its derivative is (`add_shifted`), for speed.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from cnn_constraints.arrays import FreeWeights, Inputs, Outputs
from cnn_constraints.lattice.geometry import Axis, Geometry


def kernel_of(weights: FreeWeights, geometry: Geometry, delta: int | None) -> jnp.ndarray:
    """The free weights of a tied layer as V[c, a, b, d]."""
    rows, columns = geometry.rows.offsets(delta), geometry.columns.offsets(delta)
    return weights.reshape(weights.shape[0], len(rows), len(columns), weights.shape[2])


def pad_axis(x: jnp.ndarray, axis: Axis, delta: int | None, dimension: int) -> jnp.ndarray:
    """Enough pixels on both sides that every output meets every offset inside the array, and none before the first."""
    offsets, last_centre = axis.offsets(delta), int(axis.centres[-1])
    first, last = axis.margin + offsets[0], last_centre + offsets[-1]
    widths = [(0, 0)] * x.ndim
    widths[dimension] = (max(0, -first), max(0, last - (axis.size - 1)))
    padded = jnp.pad(x, widths, mode="wrap" if axis.boundary == "circular" else "constant")
    # With a margin the layer may not look at the border at all.
    return lax.slice_in_dim(padded, max(0, first), None, axis=dimension) if first > 0 else padded


def patches(x: Inputs, weights: FreeWeights, geometry: Geometry, delta: int | None) -> Outputs:
    """Every window of the image as one column of a matrix, times the kernel ("im2col")."""
    return tiles(x, weights, geometry, delta, rows=1, columns=1)


def tiles(x: Inputs, weights: FreeWeights, geometry: Geometry, delta: int | None, rows: int, columns: int) -> Outputs:
    """Windows of rows x columns neighbouring outputs at once: each as one column of a matrix, times the kernel written
    once for every output of the tile.

    A window is (rows + 2 delta)(columns + 2 delta) pixels for rows * columns outputs, so it copies less than `patches`,
    and multiplies by some zeros; the product is less lopsided where there are few output channels.
    """
    in_channels, _, _, batch = x.shape
    blocks = (-(-geometry.output_height // rows), -(-geometry.output_width // columns))
    strips = tiled_windows(x, geometry.columns, delta, columns, dimension=2, stack_at=1)
    # Without the barrier XLA fuses both steps into one gather and recomputes the first for every row.
    strips = lax.optimization_barrier(strips)
    windows = tiled_windows(strips, geometry.rows, delta, rows, dimension=2, stack_at=1)
    kernel = _copies(kernel_of(weights, geometry, delta), rows, geometry.stride, dimension=1)
    kernel = _copies(kernel, columns, geometry.stride, dimension=3)
    matrix = kernel.transpose(0, 1, 3, 2, 4, 5).reshape(in_channels * windows.shape[1] * windows.shape[2], -1)
    product = matrix.T @ windows.reshape(matrix.shape[0], -1)
    product = product.reshape(rows, columns, -1, *blocks, batch).transpose(2, 3, 0, 4, 1, 5)
    product = product.reshape(-1, blocks[0] * rows, blocks[1] * columns, batch)
    return product[:, : geometry.output_height, : geometry.output_width]


def tiled_windows(
    x: jnp.ndarray, axis: Axis, delta: int | None, tile: int, dimension: int, stack_at: int, loop: bool = False
) -> jnp.ndarray:
    """The pixels that each tile of outputs of one axis sees: their places become a new dimension at `stack_at`.

    loop: one place after the other, as a new dimension 0. Then the gradient is a loop too, and XLA cannot fuse its sums
    into what computes with them, where each would be made again for every use.
    """
    blocks = -(-axis.outputs // tile)
    step, span = axis.stride * tile, axis.stride * (tile - 1) + len(axis.offsets(delta))
    padded = pad_axis(x, axis, delta, dimension)
    widths = [(0, 0)] * x.ndim
    widths[dimension] = (0, max(0, step * (blocks - 1) + span - padded.shape[dimension]))
    padded = jnp.pad(padded, widths)
    length = step * (blocks - 1) + 1
    if loop:
        take = lambda place: lax.dynamic_slice_in_dim(padded, place, length, axis=dimension)
        return lax.map(lambda place: lax.slice_in_dim(take(place), 0, None, step, axis=dimension), jnp.arange(span))
    slices = [lax.slice_in_dim(padded, place, place + length, step, axis=dimension) for place in range(span)]
    return jnp.stack(slices, axis=stack_at)


def _copies(kernel: jnp.ndarray, tile: int, stride: int, dimension: int) -> jnp.ndarray:
    """The kernel along one dimension for every output of a tile, behind it as a new one: banded, zero elsewhere."""
    copies = []
    for place in range(tile):
        widths = [(0, 0)] * kernel.ndim
        widths[dimension] = (stride * place, stride * (tile - 1 - place))
        copies.append(jnp.pad(kernel, widths))
    return jnp.stack(copies, axis=dimension + 1)


def overlap_add(x: Inputs, weights: FreeWeights, geometry: Geometry, delta: int | None, columns: int) -> Outputs:
    """Windows along columns alone, for `columns` neighbouring outputs at once; each image row, times the kernel, gives its
    share of every output row that sees it, and these are added up.

    With few output channels that is far less to write than windows along rows too, forward and backward.
    """
    in_channels, _, _, batch = x.shape
    rows = geometry.rows
    kernel = kernel_of(weights, geometry, delta)[:, ::-1]
    # The share for offset a of row k stands in row k - a, counted from the first that any row shares in.
    first = rows.margin + rows.offsets(delta)[-1]
    if rows.boundary == "circular":
        x, first = pad_axis(x, rows, delta, dimension=1), kernel.shape[1] - 1
    strips = tiled_windows(x, geometry.columns, delta, columns, dimension=2, stack_at=0, loop=True)
    kernel = _copies(kernel, columns, geometry.stride, dimension=2).transpose(1, 3, 4, 2, 0)
    shares = kernel.reshape(-1, len(strips) * in_channels) @ strips.reshape(len(strips) * in_channels, -1)
    h: Any = add_shifted(shares.reshape(*kernel.shape[:3], *strips.shape[2:]), dimension=2)
    widths = [(0, 0, 0)] * h.ndim
    widths[2] = (-first, first + geometry.stride * (rows.outputs - 1) + 1 - h.shape[2], 0)
    h = lax.pad(h, jnp.zeros((), h.dtype), widths)[:, :, :: geometry.stride]
    h = h.transpose(1, 2, 3, 0, 4).reshape(-1, rows.outputs, h.shape[3] * columns, batch)
    return h[:, :, : geometry.output_width]


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def add_shifted(shares: jnp.ndarray, dimension: int) -> jnp.ndarray:
    """The sum of shares[s], each moved by s places along a dimension of it: the adjoint of taking windows, a loop too."""
    length, shape = shares.shape[dimension + 1], list(shares.shape[1:])
    shape[dimension] += len(shares) - 1
    window = lambda x, place: lax.dynamic_slice_in_dim(x, place, length, axis=dimension)
    windows = lambda x: lax.map(partial(window, x), jnp.arange(len(shares)))
    (total,) = jax.linear_transpose(windows, jax.ShapeDtypeStruct(shape, shares.dtype))(shares)
    return total


@add_shifted.defjvp
def _add_shifted_slopes(dimension: int, primals: tuple, tangents: tuple) -> tuple[jnp.ndarray, jnp.ndarray]:
    """The same sum, written so that its transpose, which is the gradient, is a stack of slices."""
    shares = lax.split(tangents[0], [1] * len(tangents[0]))
    widths = [[(0, 0, 0)] * tangents[0].ndim for _ in shares]
    for place, width in enumerate(widths):
        width[dimension + 1] = (place, len(shares) - 1 - place, 0)
    zero = jnp.zeros((), tangents[0].dtype)
    total = sum(lax.pad(share, zero, width) for share, width in zip(shares, widths, strict=True))
    return add_shifted(*primals, dimension), jnp.squeeze(total, axis=0)


def row_toeplitz(x: Inputs, weights: FreeWeights, geometry: Geometry, delta: int | None) -> Outputs:
    """The kernel written as a banded matrix over one image row, times all rows within reach.

    It multiplies by zeros outside the band, width / (2 delta + 1) times the work of `patches`, but copies
    2 delta + 1 times less data.
    """
    batch = x.shape[3]
    band = toeplitz_of_columns(kernel_of(weights, geometry, delta), geometry.columns, delta)
    rows = tiled_windows(x, geometry.rows, delta, tile=1, dimension=1, stack_at=1)
    rows = jnp.moveaxis(rows, 2, 3).reshape(-1, geometry.output_height * batch)
    product = band.reshape(rows.shape[0], -1).T @ rows
    product = product.reshape(geometry.output_width, -1, geometry.output_height, batch)
    return product.transpose(1, 2, 0, 3)


def toeplitz_of_columns(kernel: jnp.ndarray, axis: Axis, delta: int | None) -> jnp.ndarray:
    """T[c, a, l, j, d] = V[c, a, l - centre of j, d], 0 outside the kernel: V[c, a, b, d] as matrices over columns."""
    allowed, every = axis.offsets(delta), axis.offsets(None)
    full = jnp.pad(kernel, ((0, 0), (0, 0), (allowed[0] - every[0], every[-1] - allowed[-1]), (0, 0)))
    starts = [-int(centre) - every[0] for centre in axis.centres]
    if axis.boundary == "circular":
        # Twice over, so that every rotation is a slice.
        full, starts = jnp.concatenate([full, full], axis=2), [start % axis.size for start in starts]
    # Slices, not one gather: the transpose of a gather is a scatter, which runs on one thread.
    return jnp.stack([lax.slice_in_dim(full, start, start + axis.size, axis=2) for start in starts], axis=3)


def library(x: Inputs, weights: FreeWeights, geometry: Geometry, delta: int | None) -> Outputs:
    """XLA's own convolution. On CPU it is slow inside a scan (jax-ml/jax#12868), and elsewhere where candidates have images
    of their own, which makes groups of it.
    """
    kernel = kernel_of(weights, geometry, delta)
    padded = pad_axis(pad_axis(x, geometry.rows, delta, 1), geometry.columns, delta, 2)
    product = lax.conv_general_dilated(
        padded, kernel, (geometry.stride, geometry.stride), "VALID", dimension_numbers=("CHWN", "IHWO", "CHWN")
    )
    return product[:, : geometry.output_height, : geometry.output_width]
