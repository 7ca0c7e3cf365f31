"""Single entries of a layer's outputs and gradients, from the definition in 64 bits: on a large image, as many as one can
check.
"""

import numpy as np

from cnn_constraints.constraints.geometry import Axis, Geometry


def weight_of(
    cell: str,
    geometry: Geometry,
    delta: int | None,
    i: np.ndarray,
    j: np.ndarray,
    k: np.ndarray,
    l: np.ndarray,  # noqa: E741
) -> np.ndarray:
    """The place among the free weights of the one that joins output (i, j) and input (k, l), which must lie in reach."""
    columns = len(geometry.columns.offsets(delta))
    if cell != "local":
        return (k - i - geometry.rows.offsets(delta)[0]) * columns + l - j - geometry.columns.offsets(delta)[0]
    return _pair(geometry.rows, delta, i, k) * geometry.columns.connections(delta) + _pair(
        geometry.columns, delta, j, l
    )


def _pair(axis: Axis, delta: int | None, output: np.ndarray, pixel: np.ndarray) -> np.ndarray:
    """Pairs of one axis in reach of each other, counted by output, then by pixel."""
    inside = axis.input_of_offset(delta)[1]
    before = np.concatenate([[0], inside.sum(axis=1).cumsum()])
    return before[output] + pixel - np.maximum(0, output + axis.offsets(delta)[0])


def largest_errors(
    cell: str,
    geometry: Geometry,
    delta: int | None,
    x: np.ndarray,
    weights: np.ndarray,
    gradient: np.ndarray,
    actual: tuple[np.ndarray, ...],
    generator: np.random.Generator,
    sites: int = 8,
) -> list[float]:
    """Of H, dX and dW (or H alone) at random sites, the corners and their weights, relative to the largest value there.

    x, gradient: images [height, width] of one channel. weights: free weights of one channel pair.
    """
    height, width = geometry.height, geometry.width
    places = [(0, 0), (height - 1, width - 1), (0, width - 1)]
    places += [tuple(generator.integers((height, width))) for _ in range(sites)]
    expected = [_entries(cell, geometry, delta, x, weights, gradient, *place) for place in places]
    errors = []
    for which, array in enumerate(actual):
        wanted = np.array([entry[which] for entry in expected])
        index = [entry[3] for entry in expected] if which == 2 else [i * width + j for i, j in places]
        errors.append(float(np.abs(array.ravel()[index] - wanted).max() / np.abs(wanted).max()))
    return errors


def _entries(
    cell: str,
    geometry: Geometry,
    delta: int | None,
    x: np.ndarray,
    weights: np.ndarray,
    gradient: np.ndarray,
    i: int,
    j: int,
) -> tuple[float, float, float, int]:
    """H[i, j]; dX[i, j]; the gradient of one weight in reach of (i, j); and the place of that weight."""
    # Offsets are symmetric: what output (i, j) sees are also the outputs that see input (i, j).
    rows, columns = (
        np.arange(max(0, place + axis.offsets(delta)[0]), min(axis.size, place + axis.offsets(delta)[-1] + 1))
        for axis, place in ((geometry.rows, i), (geometry.columns, j))
    )
    k, l = rows[:, None], columns[None, :]  # noqa: E741
    seen = weights[weight_of(cell, geometry, delta, np.array(i), np.array(j), k, l)].astype(np.float64)
    seeing = weights[weight_of(cell, geometry, delta, k, l, np.array(i), np.array(j))].astype(np.float64)
    output, pixel = np.sum(seen * x[k, l]), np.sum(seeing * gradient[k, l])
    a, b = rows[-1] - i, columns[0] - j
    place = int(weight_of(cell, geometry, delta, np.array(i), np.array(j), np.array(i + a), np.array(j + b)))
    if cell == "local":
        return output, pixel, float(gradient[i, j]) * float(x[i + a, j + b]), place
    height, width = geometry.height, geometry.width
    out = slice(max(0, -a), height - max(0, a)), slice(max(0, -b), width - max(0, b))
    met = slice(max(0, a), height + min(0, a)), slice(max(0, b), width + min(0, b))
    return output, pixel, float(np.sum(gradient[out].astype(np.float64) * x[met])), place
