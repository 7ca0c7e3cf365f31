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
    place_of_name = _places_by_name(names, names >= 0)
    names = np.where(names < 0, weights.shape[1], names).astype(np.int32)
    absolute = _take(weights.transpose(1, 0, 2), names, place_of_name).transpose(1, 0, 2)
    return dense.matrix(x, absolute, geometry)


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
    tables = _tile_tables(geometry, delta, rows, columns, in_channels)
    windows = _take(x.reshape(-1, batch), tables.pixel_of_slot, tables.slots_of_pixel)
    local = _take(weights.reshape(-1, out_channels), tables.weight_of_slot, tables.slot_of_weight)
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


class Tables(NamedTuple):
    """Slots are the places of all windows, tile by tile. An index past the end stands for nothing."""

    pixel_of_slot: np.ndarray
    slots_of_pixel: np.ndarray
    weight_of_slot: np.ndarray
    slot_of_weight: np.ndarray


@lru_cache(maxsize=64)
def _tile_tables(geometry: Geometry, delta: int | None, rows: int, columns: int, in_channels: int) -> Tables:
    """Windows tile by tile, the channels of a pixel side by side; for each slot the weights of all outputs of its tile."""
    row, row_outputs = _tile_windows(geometry.rows, delta, rows)
    column, column_outputs = _tile_windows(geometry.columns, delta, columns)
    pixel = _by_tile(row * geometry.width, column)
    output = _by_tile(row_outputs * geometry.output_width, column_outputs)
    beyond = _by_tile(row_outputs >= geometry.output_height, column_outputs >= geometry.output_width)
    names = stored_names(geometry, delta)
    free = int(names.max()) + 1
    names = names[np.where(beyond, 0, output)[:, None, :], pixel[:, :, None]]
    name = np.where(beyond[:, None, :], -1, names)
    channel = np.arange(in_channels)
    pixel = (channel * geometry.input_sites + pixel[:, :, None]).ravel()
    used = np.broadcast_to((name >= 0)[:, :, None, :], (*name.shape[:2], in_channels, name.shape[2])).ravel()
    weight = (channel[:, None] * free + name[:, :, None, :]).ravel()
    weight = np.where(used, weight, in_channels * free)
    tables = (pixel, _slots_by_pixel(pixel, in_channels * geometry.input_sites), weight, _places_by_name(weight, used))
    return Tables(*(table.astype(np.int32) for table in tables))


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


def _places_by_name(names: np.ndarray, used: np.ndarray) -> np.ndarray:
    """The one place where each name stands, as the targets of `_take`: untied weights are used once."""
    places = np.flatnonzero(used)
    return places[np.argsort(names[places])][:, None].astype(np.int32)


def _slots_by_pixel(pixel_of_slot: np.ndarray, pixels: int) -> np.ndarray:
    """For each pixel the slots that hold it, filled up with an index past the end."""
    order = np.argsort(pixel_of_slot, kind="stable")
    counts = np.bincount(pixel_of_slot, minlength=pixels)
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    slots = np.full((pixels, counts.max()), len(order))
    slots[pixel_of_slot[order], rank] = order
    return slots


def _take(x: jnp.ndarray, source: np.ndarray, targets: np.ndarray) -> jnp.ndarray:
    """x[source], zero past the end. `targets` lists, for each row of x, where it went: so the gradient is a gather and a
    sum too. JAX's own would be a scatter, which runs on one thread.
    """

    @jax.custom_vjp
    def take(x: jnp.ndarray) -> jnp.ndarray:
        return jnp.take(x, source, axis=0, mode="fill", fill_value=0)

    def backward(_: None, gradient: jnp.ndarray) -> tuple[jnp.ndarray]:
        first, *others = (jnp.take(gradient, target, axis=0, mode="fill", fill_value=0) for target in targets.T)
        return (sum(others, start=first),)

    take.defvjp(lambda x: (take(x), None), backward)
    return take(x)


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
        windows = _row_windows(_strip(padded, row), geometry, delta)
        return carry, jnp.einsum("cajbd,cajbn->jdn", _row_weights(by_pair, row, geometry, delta), windows)

    return lax.scan(output_row, None, _rows(geometry.rows, delta))[1]


def _scan_rows_forward(padded: jnp.ndarray, by_pair: jnp.ndarray, geometry: Geometry, delta: int | None) -> tuple:
    return _scan_rows(padded, by_pair, geometry, delta), (padded, by_pair)


def _scan_rows_backward(
    geometry: Geometry, delta: int | None, saved: tuple, gradient: jnp.ndarray
) -> tuple[jnp.ndarray, jnp.ndarray]:
    """Two scans rather than one, so that XLA drops the first whole where no gradient of the image is asked for."""
    padded, by_pair = saved
    rows = _rows(geometry.rows, delta)
    first = jax.tree.map(lambda leaf: leaf[0], rows)
    to_strip = jax.linear_transpose(lambda strip: _row_windows(strip, geometry, delta), _strip(padded, first))
    block = _block(by_pair, first)
    to_pairs = jax.linear_transpose(lambda block: _insert_columns(block, geometry, delta), block)

    def image_row(image: jnp.ndarray, row: tuple) -> tuple[jnp.ndarray, None]:
        where, row_gradient = row
        weights = _row_weights(by_pair, where, geometry, delta)
        (strip,) = to_strip(jnp.einsum("cajbd,jdn->cajbn", weights, row_gradient))
        return lax.dynamic_update_slice_in_dim(image, _strip(image, where) + strip, where.strip, axis=0), None

    def weights_row(total: jnp.ndarray, row: tuple) -> tuple[jnp.ndarray, None]:
        where, row_gradient = row
        windows = _row_windows(_strip(padded, where), geometry, delta)
        (own,) = to_pairs(jnp.einsum("cajbn,jdn->cajbd", windows, row_gradient))
        own = jnp.where(where.used[:, None, None], own, 0)
        return lax.dynamic_update_slice_in_dim(total, _block(total, where) + own, where.weights, axis=1), None

    image, _ = lax.scan(image_row, jnp.zeros_like(padded), (rows, gradient))
    total, _ = lax.scan(weights_row, jnp.zeros_like(by_pair), (rows, gradient))
    return image, total


_scan_rows.defvjp(_scan_rows_forward, _scan_rows_backward)


def _strip(padded: jnp.ndarray, row: Row) -> jnp.ndarray:
    return lax.dynamic_slice_in_dim(padded, row.strip, row.used.shape[-1], axis=0)


def _block(by_pair: jnp.ndarray, row: Row) -> jnp.ndarray:
    return lax.dynamic_slice_in_dim(by_pair, row.weights, row.used.shape[-1], axis=1)


def _row_weights(by_pair: jnp.ndarray, row: Row, geometry: Geometry, delta: int | None) -> jnp.ndarray:
    """[c, a, j, b, d], zero where a pixel lies outside the image."""
    block = jnp.where(row.used[:, None, None], _block(by_pair, row), 0)
    return _insert_columns(block, geometry, delta)


def _insert_columns(block: jnp.ndarray, geometry: Geometry, delta: int | None) -> jnp.ndarray:
    _, inside = geometry.columns.input_of_offset(delta)
    spread = insert_zeros(block, inside.ravel(), dimension=2)
    return spread.reshape(*block.shape[:2], *inside.shape, block.shape[3])


def _row_windows(strip: jnp.ndarray, geometry: Geometry, delta: int | None) -> jnp.ndarray:
    """windows[c, a, j, b, n] of one strip of rows [a, l, c, n]."""
    axis = geometry.columns
    length = axis.stride * (axis.outputs - 1) + 1
    starts = range(len(axis.offsets(delta)))
    slices = [lax.slice_in_dim(strip, start, start + length, axis.stride, axis=1) for start in starts]
    return jnp.stack(slices, axis=2).transpose(3, 0, 1, 2, 4)
