"""Between free weights, W and V: `expand` writes a constrained layer as a dense one, `project` is the way back.

Both are linear. `project` is the orthogonal projection onto the constraint's subspace followed by reading its
coordinates, hence project(expand(w)) = w, and expand . project is idempotent and self-adjoint.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.ops import segment_sum
from jaxtyping import Array, Float, Int

from cnn_constraints.arrays import AbsoluteWeights, Combining, FilterBanks, FreeWeights, OffsetWeights, OtherFreeWeights
from cnn_constraints.errors import InputError
from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.lattice.order import Ties, leq


def expand(weights: FreeWeights, ties: Ties, geometry: Geometry) -> AbsoluteWeights:
    """W[i, j, k, l, c, d] = weights[c, ties[(i, j), (k, l)], d], and 0 where the pair has no weight."""
    names = np.where(ties < 0, weights.shape[1], ties)
    sites = (geometry.output_height, geometry.output_width, geometry.height, geometry.width)
    matrix = jnp.take(_with_zero(weights), names.ravel(), axis=1)
    return jnp.moveaxis(matrix, 0, 1).reshape(*sites, weights.shape[0], weights.shape[2])


def project(absolute: AbsoluteWeights, ties: Ties) -> FreeWeights:
    """weights[c, t, d] = the mean of W over all pairs named t: the nearest constrained layer in the Euclidean norm.

    >>> from cnn_constraints.lattice.constraints import ties
    >>> free = jnp.array([[[1.0], [2.0], [3.0]]])  # a kernel of three weights, from one channel to one
    >>> conv = ties("conv", Geometry(1, 4), delta=1)
    >>> project(expand(free, conv, Geometry(1, 4)), conv).ravel().tolist()
    [1.0, 2.0, 3.0]
    """
    free = int(ties.max()) + 1
    channels = absolute.shape[-2:]
    names = np.where(ties < 0, free, ties).ravel()
    sums = segment_sum(absolute.reshape(-1, *channels), names, num_segments=free + 1)[:free]
    members = np.bincount(names, minlength=free + 1)[:free]
    return jnp.moveaxis(sums / members[:, None, None].astype(absolute.dtype), 1, 0)


class Classes(NamedTuple):
    """How a stronger constraint cuts up the free weights of a weaker one: it demands that those of one class are equal.

    of_weight: the class, a free weight of the stronger constraint, of each; `count` where the stronger has none.
    pairs: how many pairs of sites use each weight.
    """

    of_weight: Int[np.ndarray, " weights"]
    pairs: Int[np.ndarray, " weights"]
    count: int


def classes(stronger: Ties, weaker: Ties) -> Classes:
    """The classes of the free weights of `weaker`.

    Raises InputError where `weaker` does not contain `stronger`: then there are none in general.
    """
    if not leq(stronger, weaker):
        raise InputError("The weaker constraint does not contain the stronger one: it lacks or ties what that uses.")
    names, pair_of_name, pairs = np.unique(weaker.ravel(), return_index=True, return_counts=True)
    used, count = names >= 0, int(stronger.max()) + 1
    class_ = stronger.ravel()[pair_of_name[used]]
    return Classes(np.where(class_ < 0, count, class_), pairs[used], count)


def spread(weights: FreeWeights, classes: Classes) -> OtherFreeWeights:
    """The weights with which the weaker constraint computes the same function: to each the value of its class, and 0 where
    it has none.
    """
    return jnp.take(_with_zero(weights), classes.of_weight, axis=1)


def class_sums(weights: OtherFreeWeights, classes: Classes) -> FreeWeights:
    """The transpose of `spread`: it turns a gradient by the weaker's weights into that by the stronger's."""
    sums = segment_sum(jnp.moveaxis(weights, 1, 0), classes.of_weight, num_segments=classes.count + 1)
    return jnp.moveaxis(sums[: classes.count], 0, 1)


def class_means(weights: OtherFreeWeights, classes: Classes) -> FreeWeights:
    """The weights of the stronger constraint whose W is nearest: `project . expand`, without W."""
    pairs = classes.pairs.astype(weights.dtype)[None, :, None]
    members = np.bincount(classes.of_weight, classes.pairs, minlength=classes.count + 1)[None, : classes.count, None]
    return class_sums(weights * pairs, classes) / jnp.asarray(members, weights.dtype)


def excess(weights: OtherFreeWeights, classes: Classes) -> OtherFreeWeights:
    """What the stronger constraint does not allow: half the gradient of ||W - P W||^2, P the projection onto it."""
    pairs = classes.pairs.astype(weights.dtype)[None, :, None]
    return (weights - spread(class_means(weights, classes), classes)) * pairs


def _with_zero(weights: FreeWeights) -> Float[Array, "in_channels _ out_channels"]:
    """One more weight, which is zero: what pairs without a weight use."""
    return jnp.pad(weights, ((0, 0), (0, 1), (0, 0)))


def violation(absolute: AbsoluteWeights, ties: Ties, geometry: Geometry) -> Float[Array, ""]:
    """||W - P W|| / ||W||, P the projection onto the constraint: 0 where W obeys it, at most 1. 0 for W = 0."""
    distance = jnp.linalg.norm(absolute - expand(project(absolute, ties), ties, geometry))
    norm = jnp.linalg.norm(absolute)
    return jnp.where(norm > 0, distance / jnp.where(norm > 0, norm, 1), 0.0)


def expand_banks(banks: FilterBanks, combining: Combining, table: Ties, geometry: Geometry) -> AbsoluteWeights:
    """W[i, j, k, l, c, d] = sum_r w[r, i, j] W_r[i, j, k, l, c, d] with every bank W_r tied by the table."""
    absolute = expand(banks, table, geometry)
    absolute = absolute.reshape(*absolute.shape[:-1], len(combining), -1)
    return jnp.einsum("ijklcrd,rij->ijklcd", absolute, combining)


def to_offsets(weights: AbsoluteWeights, geometry: Geometry) -> OffsetWeights:
    """V[i, j, a, b] = W[i, j, i + a, j + b], and 0 where (i + a, j + b) lies outside the image (D2L 7.1.2).

    >>> weights = jnp.ones((4, 5, 4, 5, 1, 1))
    >>> to_offsets(weights, Geometry(4, 5)).shape  # a from -3 to 3, b from -4 to 4
    (4, 5, 7, 9, 1, 1)
    """
    rows, row_inside = geometry.rows.input_of_offset(None)
    columns, column_inside = geometry.columns.input_of_offset(None)
    i, j, _, _ = np.ogrid[: geometry.output_height, : geometry.output_width, :1, :1]
    gathered = weights[i, j, rows[:, None, :, None], columns[None, :, None, :]]
    inside = row_inside[:, None, :, None] & column_inside[None, :, None, :]
    return jnp.where(inside[..., None, None], gathered, 0)


def to_absolute(weights: OffsetWeights, geometry: Geometry) -> AbsoluteWeights:
    """W[i, j, k, l] = V[i, j, k - i, l - j] (D2L 7.1.2). Entries of V that point outside the image are dropped."""
    rows = geometry.rows.offset_of_pair() - geometry.rows.offsets(None)[0]
    columns = geometry.columns.offset_of_pair() - geometry.columns.offsets(None)[0]
    i, j, _, _ = np.ogrid[: geometry.output_height, : geometry.output_width, :1, :1]
    return jnp.asarray(weights)[i, j, rows[:, None, :, None], columns[None, :, None, :]]
