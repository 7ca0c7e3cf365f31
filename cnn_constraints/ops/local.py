"""Untied weights within delta: H[d, i, j, n] = sum_{a, b, c} V[i, j, a, b, c, d] X[c, i + a, j + b, n].

At every site a small matrix product of its own weights with its own window. The free weights are stored without those
that would point outside the image: `unpack` puts zeros in their place, and its transpose drops them again.
"""

from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cnn_constraints.arrays import FreeWeights, Inputs, Outputs
from cnn_constraints.constraints.geometry import Axis, Geometry, Windows
from cnn_constraints.constraints.ties import write_untied
from cnn_constraints.ops import dense


def masked(x: Inputs, weights: FreeWeights, geometry: Geometry, delta: int | None) -> Outputs:
    """W written out with its zeros, then the dense layer's product: the winner once most of W is not zero."""
    names = write_untied(geometry, delta).T.ravel()
    place_of_name = _places_by_name(names, names >= 0)
    names = np.where(names < 0, weights.shape[1], names).astype(np.int32)
    absolute = _take(weights.transpose(1, 0, 2), names, place_of_name).transpose(1, 0, 2)
    return dense.matrix(x, absolute, geometry)


def unpack(weights: FreeWeights, geometry: Geometry, delta: int | None) -> jnp.ndarray:
    """V[i, j, s, t, c, d] over the stretches of `Axis.windows`, zero where a stretch leaves delta."""
    in_channels, _, out_channels = weights.shape
    rows, columns = geometry.rows.windows(delta), geometry.columns.windows(delta)
    weights = weights.reshape(in_channels, int(rows.connected.sum()), -1, out_channels)
    weights = _insert_zeros(weights, rows.connected.ravel(), dimension=1)
    weights = _insert_zeros(weights, columns.connected.ravel(), dimension=2)
    shape = (in_channels, geometry.output_height, rows.size, geometry.output_width, columns.size, out_channels)
    return weights.reshape(shape).transpose(1, 3, 2, 4, 0, 5)


def _insert_zeros(x: jnp.ndarray, present: np.ndarray, dimension: int) -> jnp.ndarray:
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
    product = jnp.einsum("bsm,bsn->bmn", local, windows)
    product = product.reshape(*blocks, rows, columns, out_channels, batch).transpose(4, 0, 2, 1, 3, 5)
    product = product.reshape(out_channels, blocks[0] * rows, blocks[1] * columns, batch)
    return product[:, : geometry.output_height, : geometry.output_width]


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
    names = write_untied(geometry, delta)
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
    starts = axis.stride * outputs[:, :1] + offsets[0]
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
    """One output row at a time: only that row's windows exist, in the forward pass and in both gradients."""
    rows, columns = geometry.rows.windows(delta), geometry.columns.windows(delta)
    padded = _pad(x, rows, columns)
    starts = (tuple(int(s) for s in rows.starts), tuple(int(s) for s in columns.starts))
    local = unpack(weights, geometry, delta)
    return jnp.transpose(_scan_rows(padded, local, starts), (2, 0, 1, 3))


def _pad(x: Inputs, rows: Windows, columns: Windows) -> jnp.ndarray:
    """x as [height, width, channels, batch], wrapped round by what the windows need beyond the image."""
    x = x.transpose(1, 2, 0, 3)
    return jnp.pad(x, (rows.padding, columns.padding, (0, 0), (0, 0)), mode="wrap")


Starts = tuple[tuple[int, ...], tuple[int, ...]]


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _scan_rows(padded: jnp.ndarray, local: jnp.ndarray, starts: Starts) -> jnp.ndarray:
    """padded[k, l, c, n] and local[i, j, s, t, c, d] to H[i, j, d, n]."""

    def output_row(carry: None, row: tuple) -> tuple[None, jnp.ndarray]:
        start, weights = row
        windows = _row_windows(_strip(padded, start, local), starts[1], local)
        return carry, jnp.einsum("jstcd,jstcn->jdn", weights, windows)

    return lax.scan(output_row, None, (jnp.array(starts[0]), local))[1]


def _scan_rows_forward(padded: jnp.ndarray, local: jnp.ndarray, starts: Starts) -> tuple:
    return _scan_rows(padded, local, starts), (padded, local)


def _scan_rows_backward(starts: Starts, saved: tuple, gradient: jnp.ndarray) -> tuple[jnp.ndarray, jnp.ndarray]:
    """Two scans rather than one, so that XLA drops the first whole where no gradient of the image is asked for."""
    padded, local = saved
    row_starts = jnp.array(starts[0])
    strip_shape = jax.ShapeDtypeStruct(_strip(padded, 0, local).shape, padded.dtype)
    scatter = jax.linear_transpose(lambda strip: _row_windows(strip, starts[1], local), strip_shape)

    def image_row(image: jnp.ndarray, row: tuple) -> tuple[jnp.ndarray, None]:
        start, weights, row_gradient = row
        (strip,) = scatter(jnp.einsum("jstcd,jdn->jstcn", weights, row_gradient))
        return lax.dynamic_update_slice_in_dim(image, _strip(image, start, local) + strip, start, axis=0), None

    def weights_row(carry: None, row: tuple) -> tuple[None, jnp.ndarray]:
        start, row_gradient = row
        windows = _row_windows(_strip(padded, start, local), starts[1], local)
        return carry, jnp.einsum("jstcn,jdn->jstcd", windows, row_gradient)

    image, _ = lax.scan(image_row, jnp.zeros_like(padded), (row_starts, local, gradient))
    _, weights = lax.scan(weights_row, None, (row_starts, gradient))
    return image, weights


_scan_rows.defvjp(_scan_rows_forward, _scan_rows_backward)


def _strip(padded: jnp.ndarray, start: jnp.ndarray | int, local: jnp.ndarray) -> jnp.ndarray:
    return lax.dynamic_slice_in_dim(padded, start, local.shape[2], axis=0)


def _row_windows(strip: jnp.ndarray, starts: tuple[int, ...], local: jnp.ndarray) -> jnp.ndarray:
    """windows[j, s, t, c, n] of one strip of rows [s, l, c, n]."""
    width = local.shape[3]
    return jnp.stack([lax.slice_in_dim(strip, start, start + width, axis=1) for start in starts])
