"""The layer as D2L 7.1.2 writes it, in 64 bits, and our free weights as others write them: what contenders must equal."""

from typing import NamedTuple

import numpy as np

from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.ops.choose import stored_ties


class Products(NamedTuple):
    """H and, for a given gradient of H, the gradients of images and kernel.

    outputs [batch, height, width, d], images [batch, height, width, c], kernel as `kernel_of` gives it.
    """

    outputs: np.ndarray
    images: np.ndarray
    kernel: np.ndarray


def kernel_of(cell: str, weights: np.ndarray, geometry: Geometry, delta: int | None) -> np.ndarray:
    """V[a, b, c, d] of tied weights, V[i, j, a, b, c, d] of local ones with zeros where (i + a, j + b) lies outside, and
    W[(k, l), c, (i, j), d] of dense ones.
    """
    rows, columns = geometry.rows.offsets(delta), geometry.columns.offsets(delta)
    if cell == "dense":
        by_pixel = weights.reshape(weights.shape[0], geometry.input_sites, geometry.output_sites, -1)
        return by_pixel.transpose(1, 0, 2, 3)
    if cell in ("shared", "conv"):
        return weights.reshape(weights.shape[0], len(rows), len(columns), -1).transpose(1, 2, 0, 3)
    names = stored_ties(cell, geometry, delta)
    i, j, a, b = np.ix_(range(geometry.height), range(geometry.width), rows, columns)
    k, l = i + a, j + b  # noqa: E741
    inside = (k >= 0) & (k < geometry.height) & (l >= 0) & (l < geometry.width)
    pair = (i * geometry.width + j, np.where(inside, k * geometry.width + l, 0))
    with_zero = np.pad(weights, ((0, 0), (0, 1), (0, 0)))
    return np.moveaxis(with_zero[:, np.where(inside, names[pair], -1)], 0, -2)


def products(
    cell: str, images: np.ndarray, kernel: np.ndarray, gradient: np.ndarray, geometry: Geometry, delta: int | None
) -> Products:
    """H[i, j] = sum_{a, b} V[(i, j,) a, b] X[i + a, j + b], one offset after the other, and its two gradients."""
    x, kernel, g = (array.astype(np.float64) for array in (images, kernel, gradient))
    if cell == "dense":
        matrix = kernel.reshape(-1, g[0].size)
        flat, flat_g = x.reshape(len(x), -1), g.reshape(len(g), -1)
        arrays = (flat @ matrix, flat_g @ matrix.T, flat.T @ flat_g)
        return Products(*(array.reshape(like.shape) for array, like in zip(arrays, (g, x, kernel), strict=True)))
    h, x_gradient, v_gradient = np.zeros_like(g), np.zeros_like(x), np.zeros_like(kernel)
    tied = cell != "local"
    for p, a in enumerate(geometry.rows.offsets(delta)):
        for q, b in enumerate(geometry.columns.offsets(delta)):
            i, k = overlap(geometry.height, a)
            j, l = overlap(geometry.width, b)  # noqa: E741
            v = kernel[p, q] if tied else kernel[i, j, p, q]
            window, part = x[:, k, l], g[:, i, j]
            h[:, i, j] += np.einsum("nijc,cd->nijd" if tied else "nijc,ijcd->nijd", window, v)
            x_gradient[:, k, l] += np.einsum("nijd,cd->nijc" if tied else "nijd,ijcd->nijc", part, v)
            place = (p, q) if tied else (i, j, p, q)
            v_gradient[place] = np.einsum("nijc,nijd->cd" if tied else "nijc,nijd->ijcd", window, part)
    return Products(h, x_gradient, v_gradient)


def overlap(size: int, offset: int) -> tuple[slice, slice]:
    """The outputs that meet an input at this offset, and those inputs."""
    first, last = max(0, -offset), min(size, size - offset)
    return slice(first, last), slice(first + offset, last + offset)
