"""Untied weights within delta: H[d, i, j, n] = sum_{a, b, c} V[i, j, a, b, c, d] X[c, i + a, j + b, n].

At every site a small matrix product of its own weights with its own window. There are no weights that would point outside
the image, so sites at the border have fewer.
"""

from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cnn_constraints.arrays import FreeWeights, Inputs, Outputs
from cnn_constraints.lattice.geometry import Axis, Geometry
from cnn_constraints.ops import dense
from cnn_constraints.ops.conv import pad_axis
from cnn_constraints.ops.storage import Order, by_axes


def order(geometry: Geometry, delta: int | None) -> Order:
    """By (i, a, j, b), the product of the two axes: so a row of outputs finds its weights in one stretch."""
    return by_axes(geometry.rows.input_of_offset(delta)[1], geometry.columns.input_of_offset(delta)[1])


def stored_names(geometry: Geometry, delta: int | None) -> np.ndarray:
    """The place in that order of the weight of each output p and input q; -1 where there is none."""
    rows, columns = _axis_names(geometry.rows, delta), _axis_names(geometry.columns, delta)
    row, column = rows[:, None, :, None], columns[None, :, None, :]
    names = np.where((row < 0) | (column < 0), -1, row * (columns.max() + 1) + column)
    return names.reshape(geometry.output_sites, geometry.input_sites)


def _axis_names(axis: Axis, delta: int | None) -> np.ndarray:
    """Connected pairs of one axis, numbered by output, then by offset."""
    inputs, inside = axis.input_of_offset(delta)
    names = np.full((axis.outputs, axis.size), -1)
    names[np.nonzero(inside)[0], inputs[inside]] = np.arange(inside.sum())
    return names


def masked(x: Inputs, weights: FreeWeights, geometry: Geometry, delta: int | None) -> Outputs:
    """W written out with its zeros, then the dense layer's product: the winner once most of W is not zero."""
    names = stored_names(geometry, delta).T.ravel()
    names = np.where(names < 0, weights.shape[1], names)
    return dense.matrix(x, _take(weights.transpose(1, 0, 2), names).transpose(1, 0, 2), geometry)


def insert_zeros(x: jnp.ndarray, present: np.ndarray, dimension: int) -> jnp.ndarray:
    """Spread x over the True places of `present`. Slices and one concatenation: a gather's transpose would scatter."""
    borders = np.flatnonzero(np.diff(present)) + 1
    pieces, taken = [], 0
    for run in np.split(present, borders):
        if run[0]:
            pieces.append(lax.slice_in_dim(x, taken, taken + len(run), axis=dimension))
            taken += len(run)
        else:
            pieces.append(jnp.zeros((*x.shape[:dimension], len(run), *x.shape[dimension + 1 :]), x.dtype))
    return jnp.concatenate(pieces, axis=dimension)


def tiles(x: Inputs, weights: FreeWeights, geometry: Geometry, delta: int | None, rows: int, columns: int) -> Outputs:
    """Tiles of rows x columns neighbouring outputs: for each a matrix product of all their weights, with zeros between,
    and the pixels that any of them sees. From a product for every site to the dense layer, as tiles grow.
    """
    in_channels, _, _, batch = x.shape
    out_channels = weights.shape[2]
    pixel_of_slot, weight_of_slot = _tile_tables(geometry, delta, rows, columns, in_channels)
    windows = _take(x.reshape(-1, batch), pixel_of_slot)
    local = _take(weights.reshape(-1, out_channels), weight_of_slot)
    blocks = (-(-geometry.output_height // rows), -(-geometry.output_width // columns))
    windows = windows.reshape(blocks[0] * blocks[1], -1, batch)
    local = local.reshape(windows.shape[0], windows.shape[1], -1)
    product = products(local, windows)
    product = product.reshape(*blocks, rows, columns, out_channels, batch).transpose(4, 0, 2, 1, 3, 5)
    product = product.reshape(out_channels, blocks[0] * rows, blocks[1] * columns, batch)
    return product[:, : geometry.output_height, : geometry.output_width]


@jax.custom_vjp
def products(local: jnp.ndarray, windows: jnp.ndarray) -> jnp.ndarray:
    """local[b, s, m] and windows[b, s, n] to [b, m, n], each of the three products in the order that is fastest on CPU."""
    # The barrier keeps the transposition, which XLA would fold into a product that is up to twice as slow.
    return jnp.einsum("bms,bsn->bmn", lax.optimization_barrier(jnp.swapaxes(local, 1, 2)), windows)


def _products_backward(
    saved: tuple[jnp.ndarray, jnp.ndarray], gradient: jnp.ndarray
) -> tuple[jnp.ndarray, jnp.ndarray]:
    local, windows = saved
    return jnp.einsum("bsn,bmn->bsm", windows, gradient), jnp.einsum("bsm,bmn->bsn", local, gradient)


products.defvjp(lambda local, windows: (products(local, windows), (local, windows)), _products_backward)


@lru_cache(maxsize=64)
def _tile_tables(
    geometry: Geometry, delta: int | None, rows: int, columns: int, in_channels: int
) -> tuple[np.ndarray, np.ndarray]:
    """Slots are the places of all windows, tile by tile, the channels of a pixel side by side: the pixel in each slot, and
    its weights for all outputs of the tile. An index past the end stands for nothing.
    """
    row, row_outputs = _tile_windows(geometry.rows, delta, rows)
    column, column_outputs = _tile_windows(geometry.columns, delta, columns)
    pixel = _by_tile(row * geometry.width, column)
    output = _by_tile(row_outputs * geometry.output_width, column_outputs)
    beyond = _by_tile(row_outputs >= geometry.output_height, column_outputs >= geometry.output_width)
    names = stored_names(geometry, delta)
    free, channel = int(names.max()) + 1, np.arange(in_channels)
    name = names[np.where(beyond, 0, output)[:, None, :], pixel[:, :, None]]
    name = np.where(beyond[:, None, :], -1, name)[:, :, None, :]
    weight = np.where(name < 0, in_channels * free, channel[:, None] * free + name)
    return (channel * geometry.input_sites + pixel[:, :, None]).ravel(), weight.ravel()


def _by_tile(row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """The sums of [tile, place] of rows and of columns as [tile of the image, place in it]."""
    return (row[:, None, :, None] + column[None, :, None, :]).reshape(len(row) * len(column), -1)


def _tile_windows(axis: Axis, delta: int | None, tile: int) -> tuple[np.ndarray, np.ndarray]:
    """For each tile of outputs of one axis, the inputs that any of them may see, each once, and those outputs."""
    outputs = np.arange(-(-axis.outputs // tile) * tile).reshape(-1, tile)
    offsets = axis.offsets(delta)
    span = min(axis.size, axis.stride * (tile - 1) + len(offsets))
    starts = axis.margin + axis.stride * outputs[:, :1] + offsets[0]
    if axis.boundary == "zero":
        starts = np.clip(starts, 0, axis.size - span)
    return (starts + np.arange(span)) % axis.size, outputs


def _take(x: jnp.ndarray, source: np.ndarray) -> jnp.ndarray:
    """x[source], zero past the end. The gradient is a gather and a sum too: JAX's own would be a scatter, which runs on
    one thread.
    """
    targets = _places(source, len(x))
    source = source.astype(np.int32)

    @jax.custom_vjp
    def take(x: jnp.ndarray) -> jnp.ndarray:
        return jnp.take(x, source, axis=0, mode="fill", fill_value=0)

    def backward(_: None, gradient: jnp.ndarray) -> tuple[jnp.ndarray]:
        first, *others = (jnp.take(gradient, target, axis=0, mode="fill", fill_value=0) for target in targets.T)
        return (sum(others, start=first),)

    take.defvjp(lambda x: (take(x), None), backward)
    return take(x)


def _places(names: np.ndarray, count: int) -> np.ndarray:
    """Where each name below `count` stands, filled up with an index past the end."""
    used = np.flatnonzero(names < count)
    used = used[np.argsort(names[used], kind="stable")]
    counts = np.bincount(names[used], minlength=count)
    rank = np.arange(len(used)) - np.repeat(np.cumsum(counts) - counts, counts)
    places = np.full((count, counts.max()), len(names), np.int32)
    places[names[used], rank] = used
    return places


def row_scan(x: Inputs, weights: FreeWeights, geometry: Geometry, delta: int | None) -> Outputs:
    """One output row at a time: only that row's windows and weights are copied, in the forward pass and in both
    gradients. So a megapixel takes little more memory than its weights.
    """
    padded = pad_axis(pad_axis(x, geometry.rows, delta, 1), geometry.columns, delta, 2).transpose(1, 2, 0, 3)
    margin = len(geometry.rows.offsets(delta))
    padded = jnp.pad(padded, ((margin, margin), (0, 0), (0, 0), (0, 0)))
    pairs = geometry.rows.connections(delta), geometry.columns.connections(delta)
    by_pair = weights.reshape(weights.shape[0], *pairs, weights.shape[2])
    rows: Any = _scan_rows(padded, by_pair, geometry, delta)
    return rows.transpose(2, 0, 1, 3)


class Row(NamedTuple):
    """Where an output row finds its weights and pixels, both stretches as long as there are offsets.

    weights: where its pairs of rows begin. strip: the row of the padded image that belongs to the first of them.
    used: which of the pairs are its own; the others are those of its neighbours.
    """

    weights: jnp.ndarray
    strip: jnp.ndarray
    used: jnp.ndarray


def _rows(axis: Axis, delta: int | None) -> Row:
    """For all outputs of the axis, the padding of `row_scan` included."""
    _, inside = axis.input_of_offset(delta)
    outputs, offsets = inside.shape
    pairs = inside.sum(axis=1)
    first = pairs.cumsum() - pairs
    # The last rows have fewer pairs than there are offsets: their stretch begins earlier, and ends with the weights.
    start = np.minimum(first, pairs.sum() - offsets)
    early = first - start
    place = np.arange(offsets) - early[:, None]
    used = (place >= 0) & (place < pairs[:, None])
    strip = offsets + axis.stride * np.arange(outputs) + inside.argmax(axis=1) - early
    return Row(*(jnp.asarray(array) for array in (start, strip, used)))


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _scan_rows(padded: jnp.ndarray, by_pair: jnp.ndarray, geometry: Geometry, delta: int | None) -> jnp.ndarray:
    """padded[k, l, c, n] and by_pair[c, (i, a), (j, b), d] to H[i, j, d, n]."""

    def output_row(carry: None, row: Row) -> tuple[None, jnp.ndarray]:
        return carry, _output_row(_strip(padded, row), _block(by_pair, row), row.used, geometry.columns, delta)

    return lax.scan(output_row, None, _rows(geometry.rows, delta))[1]


def _scan_rows_backward(
    geometry: Geometry, delta: int | None, saved: tuple[jnp.ndarray, jnp.ndarray], gradient: jnp.ndarray
) -> tuple[jnp.ndarray, jnp.ndarray]:
    """Two scans rather than one, so that XLA drops the first whole where no gradient of the image is asked for."""
    padded, by_pair = saved

    def gradients(row: Row, row_gradient: jnp.ndarray) -> tuple[jnp.ndarray, jnp.ndarray]:
        row_of = lambda strip, block: _output_row(strip, block, row.used, geometry.columns, delta)
        return jax.vjp(row_of, _strip(padded, row), _block(by_pair, row))[1](row_gradient)

    def image_row(image: jnp.ndarray, given: tuple) -> tuple[jnp.ndarray, None]:
        row, (strip, _) = given[0], gradients(*given)
        return lax.dynamic_update_slice_in_dim(image, _strip(image, row) + strip, row.strip, axis=0), None

    def weights_row(total: jnp.ndarray, given: tuple) -> tuple[jnp.ndarray, None]:
        row, (_, block) = given[0], gradients(*given)
        return lax.dynamic_update_slice_in_dim(total, _block(total, row) + block, row.weights, axis=1), None

    rows = _rows(geometry.rows, delta)
    image, _ = lax.scan(image_row, jnp.zeros_like(padded), (rows, gradient))
    total, _ = lax.scan(weights_row, jnp.zeros_like(by_pair), (rows, gradient))
    return image, total


_scan_rows.defvjp(
    lambda padded, by_pair, geometry, delta: (_scan_rows(padded, by_pair, geometry, delta), (padded, by_pair)),
    _scan_rows_backward,
)


def _strip(padded: jnp.ndarray, row: Row) -> jnp.ndarray:
    return lax.dynamic_slice_in_dim(padded, row.strip, row.used.shape[-1], axis=0)


def _block(by_pair: jnp.ndarray, row: Row) -> jnp.ndarray:
    return lax.dynamic_slice_in_dim(by_pair, row.weights, row.used.shape[-1], axis=1)


def _output_row(
    strip: jnp.ndarray, block: jnp.ndarray, used: jnp.ndarray, columns: Axis, delta: int | None
) -> jnp.ndarray:
    """H[j, d, n] from a strip of rows [a, l, c, n] and its weights [c, a, (j, b), d], of which some are of other rows."""
    _, inside = columns.input_of_offset(delta)
    weights = insert_zeros(jnp.where(used[:, None, None], block, 0), inside.ravel(), dimension=2)
    length = columns.stride * (columns.outputs - 1) + 1
    windows = jnp.stack(
        [lax.slice_in_dim(strip, b, b + length, columns.stride, axis=1) for b in range(inside.shape[1])], axis=2
    )
    weights = weights.reshape(*block.shape[:2], *inside.shape, block.shape[3])
    return jnp.einsum("cajbd,cajbn->jdn", weights, windows.transpose(3, 0, 1, 2, 4))
