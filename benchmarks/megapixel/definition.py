"""Single entries of a layer's outputs and gradients, from the definition in 64 bits: on a large image, as many as one can
check.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.layers.contender import Arrays, Case
from benchmarks.layers.definition import overlap
from cnn_constraints.lattice.geometry import Axis

Site = int | np.ndarray


def weight_of(case: Case, output: tuple[Site, Site], pixel: tuple[Site, Site]) -> Any:
    """The place among the free weights of the one that joins an output (i, j) and a pixel (k, l) in reach of it."""
    (i, j), (k, l) = output, pixel  # noqa: E741
    rows, columns = case.geometry.rows, case.geometry.columns
    if case.cell == "dense":
        return (k * case.geometry.width + l) * case.geometry.output_sites + i * case.geometry.width + j
    if case.cell == "local":
        return _pair(rows, case.delta, i, k) * columns.connections(case.delta) + _pair(columns, case.delta, j, l)
    row_offsets, column_offsets = rows.offsets(case.delta), columns.offsets(case.delta)
    return (k - i - row_offsets[0]) * len(column_offsets) + l - j - column_offsets[0]


def _pair(axis: Axis, delta: int | None, output: Site, pixel: Site) -> Any:
    """Pairs of one axis in reach of each other, counted by output, then by pixel."""
    inside = axis.input_of_offset(delta)[1]
    before = np.concatenate([[0], inside.sum(axis=1).cumsum()])
    return before[output] + pixel - np.maximum(0, output + axis.offsets(delta)[0])


def largest_errors(
    case: Case, arrays: Arrays, actual: Sequence[np.ndarray], generator: np.random.Generator, sites: int = 8
) -> list[float]:
    """Of H, dX and dW (or H alone) at random sites, the corners and their weights, relative to the largest value there.

    arrays: images and gradient [height, width] of one image and channel, free weights of one channel pair.
    """
    height, width = case.geometry.height, case.geometry.width
    places = [(0, 0), (height - 1, width - 1), (0, width - 1)]
    places += [tuple(map(int, generator.integers((height, width)))) for _ in range(sites)]
    expected = [_entries(case, arrays, *place) for place in places]
    errors = []
    for which, array in enumerate(actual):
        wanted = np.array([entry[which] for entry in expected])
        index = [entry[3] for entry in expected] if which == 2 else [i * width + j for i, j in places]
        errors.append(float(np.abs(array.ravel()[index] - wanted).max() / np.abs(wanted).max()))
    return errors


def _entries(case: Case, arrays: Arrays, i: int, j: int) -> tuple[float, float, float, int]:
    """H[i, j]; dX[i, j]; the gradient of one weight in reach of (i, j); and the place of that weight."""
    x, weights, gradient = arrays
    geometry = case.geometry
    # Offsets are symmetric: what output (i, j) sees are also the outputs that see input (i, j).
    rows, columns = (
        np.arange(max(0, place + offsets[0]), min(axis.size, place + offsets[-1] + 1))
        for axis, place in ((geometry.rows, i), (geometry.columns, j))
        for offsets in (axis.offsets(case.delta),)
    )
    around = rows[:, None], columns[None, :]
    seen = weights[weight_of(case, (i, j), around)].astype(np.float64)
    seeing = weights[weight_of(case, around, (i, j))].astype(np.float64)
    output, pixel = np.sum(seen * x[around]), np.sum(seeing * gradient[around])
    k, l = int(rows[-1]), int(columns[0])  # noqa: E741
    place = int(weight_of(case, (i, j), (k, l)))
    if case.cell in ("dense", "local"):
        return output, pixel, float(gradient[i, j]) * float(x[k, l]), place
    out_rows, met_rows = overlap(geometry.height, k - i)
    out_columns, met_columns = overlap(geometry.width, l - j)
    met = gradient[out_rows, out_columns].astype(np.float64) * x[met_rows, met_columns]
    return output, pixel, float(np.sum(met)), place
