"""Tied weights with a delta as large as the image: the same sum as in conv.py, over (2H - 1)(2W - 1) offsets.

A direct convolution needs as many products as the dense layer; these need fewer, or better shaped ones.
"""

import jax.numpy as jnp
import numpy as np
from scipy.fft import next_fast_len

from cnn_constraints.arrays import FreeWeights, Inputs, Outputs
from cnn_constraints.lattice.geometry import Axis, Geometry
from cnn_constraints.ops.conv import kernel_of, toeplitz_of_columns


def fourier(x: Inputs, weights: FreeWeights, geometry: Geometry, delta: int | None) -> Outputs:
    """The correlation theorem: F(H) = F(X) * conj(F(V)), on a torus large enough that nothing wraps into the image."""
    rows, columns = (_period(axis, delta) for axis in (geometry.rows, geometry.columns))
    if jnp.finfo(x.dtype).bits < 32:
        # There are no transforms of 16 bits.
        x, weights = x.astype(jnp.float32), weights.astype(jnp.float32)
    kernel = kernel_of(weights, geometry, delta)
    kernel = jnp.pad(kernel, ((0, 0), (0, rows - kernel.shape[1]), (0, columns - kernel.shape[2]), (0, 0)))
    # The first output, centred on the margin, comes first.
    lowest = tuple(axis.offsets(delta)[0] + axis.margin for axis in (geometry.rows, geometry.columns))
    kernel = jnp.roll(kernel, lowest, axis=(1, 2)).transpose(0, 3, 1, 2)
    image_spectrum = jnp.fft.rfft2(x.transpose(0, 3, 1, 2), s=(rows, columns))
    kernel_spectrum = jnp.conj(jnp.fft.rfft2(kernel))
    # One input channel needs no sum: an elementwise product fuses, an einsum would call a matrix product per frequency.
    product = image_spectrum[0][:, None] * kernel_spectrum[0] if x.shape[0] == 1 else jnp.einsum(
        "cnij,cdij->ndij", image_spectrum, kernel_spectrum
    )  # fmt: skip
    activations = jnp.fft.irfft2(product, s=(rows, columns))
    height, width = (axis.size - 2 * axis.margin for axis in (geometry.rows, geometry.columns))
    return activations[:, :, : height : geometry.stride, : width : geometry.stride].transpose(1, 2, 3, 0)


def _period(axis: Axis, delta: int | None) -> int:
    """The length of a transform in which no offset wraps from one image pixel onto another, unless the axis does."""
    if axis.boundary == "circular":
        return axis.size
    offsets = axis.offsets(delta)
    shortest = axis.size + max(-offsets[0], offsets[-1]) + max(0, -axis.margin)
    return next_fast_len(shortest, real=True) or shortest


def row_fourier(x: Inputs, weights: FreeWeights, geometry: Geometry, delta: int | None) -> Outputs:
    """The correlation theorem along rows only, its transforms written as matrix products; Toeplitz matrices along columns.

    For every row frequency f: F(H)[f] = conj(T[f]) F(X)[f]. All work is matrix products of middling size, with several
    times fewer multiply-adds than the definition, and no transform has to move the batch out of the innermost place.
    """
    in_channels, height, width, batch = x.shape
    out_channels = weights.shape[2]
    axis = geometry.rows
    period = _period(axis, delta)
    frequencies = np.arange(period // 2 + 1)
    image = _spectrum(x, frequencies, np.arange(height), period)
    kernel = _spectrum(kernel_of(weights, geometry, delta), frequencies, np.array(axis.offsets(delta)), period)
    count = len(frequencies)
    toeplitz = toeplitz_of_columns(kernel.reshape(2 * in_channels, count, *kernel.shape[3:]), geometry.columns, delta)
    toeplitz = jnp.moveaxis(toeplitz, 1, 0).reshape(count, 2 * in_channels * width, -1)
    image = image.transpose(0, 2, 1, 3, 4)
    real, imaginary = image.reshape(2, count, in_channels * width, batch)
    # conj(T) X = (Tr Xr + Ti Xi) + i (Tr Xi - Ti Xr): both parts are [Tr Ti] times a column each.
    columns = jnp.concatenate(
        [jnp.concatenate([real, imaginary], axis=2), jnp.concatenate([imaginary, -real], axis=2)], axis=1
    )
    product = jnp.einsum("fxy,fxn->fyn", toeplitz, columns).reshape(count, -1, 2, batch)
    inverse = _inverse_transform(frequencies, axis.centres, period)
    rows = jnp.einsum("ifp,fypn->iyn", inverse.astype(x.dtype), product)
    return rows.reshape(axis.outputs, geometry.output_width, out_channels, batch).transpose(2, 0, 1, 3)


def _spectrum(signal: jnp.ndarray, frequencies: np.ndarray, positions: np.ndarray, period: int) -> jnp.ndarray:
    """sum_k signal[c, k, l, n] exp(-2 pi i f k / period) as [part, c, f, l, n], part 0 real and part 1 imaginary."""
    angle = 2 * np.pi * np.outer(frequencies, positions) / period
    transform = np.stack([np.cos(angle), -np.sin(angle)]).astype(signal.dtype)
    return jnp.einsum("pfk,ckln->pcfln", transform, signal)


def _inverse_transform(frequencies: np.ndarray, positions: np.ndarray, period: int) -> np.ndarray:
    """[i, f, part]: the real signal at each position from the half spectrum; inner frequencies stand for two."""
    angle = 2 * np.pi * np.outer(positions, frequencies) / period
    twice = np.where((frequencies == 0) | (2 * frequencies == period), 1, 2)
    return np.stack([np.cos(angle) * twice, -np.sin(angle) * twice], axis=-1) / period
