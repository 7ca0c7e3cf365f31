"""Untied weights within delta: H[d, i, j, n] = sum_{a, b, c} V[i, j, a, b, c, d] X[c, i + a, j + b, n].

At every site a small matrix product of its own weights with its own window. The free weights are stored without those
that would point outside the image: `unpack` puts zeros in their place, and its transpose drops them again.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cnn_constraints.arrays import Activations, FreeWeights
from cnn_constraints.constraints.geometry import Geometry, Windows
from cnn_constraints.constraints.ties import write_untied
from cnn_constraints.ops import dense


def masked(x: Activations, weights: FreeWeights, geometry: Geometry, delta: int | None) -> Activations:
    """W written out with its zeros, then the dense layer's product: the winner once most of W is not zero."""
    return dense.matrix(x, _write_out(weights, geometry, delta), geometry, None)


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _write_out(weights: FreeWeights, geometry: Geometry, delta: int | None) -> FreeWeights:
    """The weights of the dense layer that computes the same function."""
    names = write_untied(geometry, delta).T.ravel()
    # 32 bits halve what the gather reads besides the weights.
    names = np.where(names < 0, weights.shape[1], names).astype(np.int32)
    return jnp.take(weights, names, axis=1, mode="fill", fill_value=0)


def _write_out_forward(weights: FreeWeights, geometry: Geometry, delta: int | None) -> tuple[FreeWeights, None]:
    return _write_out(weights, geometry, delta), None


def _write_out_backward(geometry: Geometry, delta: int | None, _: None, gradient: FreeWeights) -> tuple[FreeWeights]:
    """Every free weight stands at one place of W: its gradient is read there. JAX's own transpose would scatter."""
    names = write_untied(geometry, delta).T.ravel()
    places = np.flatnonzero(names >= 0)
    place_of_name = places[np.argsort(names[places])].astype(np.int32)
    return (jnp.take(gradient, place_of_name, axis=1, mode="clip"),)


_write_out.defvjp(_write_out_forward, _write_out_backward)


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


def sites(x: Activations, weights: FreeWeights, geometry: Geometry, delta: int | None) -> Activations:
    """All windows at once, then one batched matrix product over the sites."""
    rows, columns = geometry.rows.windows(delta), geometry.columns.windows(delta)
    padded = _pad(x, rows, columns)
    by_row = jnp.stack([lax.slice_in_dim(padded, s, s + rows.size, axis=0) for s in rows.starts])
    windows = jnp.stack([lax.slice_in_dim(by_row, s, s + columns.size, axis=2) for s in columns.starts], axis=1)
    local = unpack(weights, geometry, delta)
    return jnp.einsum("ijstcd,ijstcn->ijdn", local, windows).transpose(2, 0, 1, 3)


def row_scan(x: Activations, weights: FreeWeights, geometry: Geometry, delta: int | None) -> Activations:
    """One output row at a time: only that row's windows exist, in the forward pass and in both gradients."""
    rows, columns = geometry.rows.windows(delta), geometry.columns.windows(delta)
    padded = _pad(x, rows, columns)
    starts = (tuple(int(s) for s in rows.starts), tuple(int(s) for s in columns.starts))
    local = unpack(weights, geometry, delta)
    return _scan_rows(padded, local, starts).transpose(2, 0, 1, 3)


def _pad(x: Activations, rows: Windows, columns: Windows) -> jnp.ndarray:
    """x as [height, width, channels, batch], wrapped round by what the windows need beyond the image."""
    x = x.transpose(1, 2, 0, 3)
    return jnp.pad(x, (rows.padding, columns.padding, (0, 0), (0, 0)), mode="wrap") if any(rows.padding + columns.padding) else x


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
