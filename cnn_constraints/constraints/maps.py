"""Between free weights and W: `expand` writes a constrained layer as a dense one, `project` is the way back.

Both are linear. `project` is the orthogonal projection onto the constraint's subspace followed by reading its
coordinates, hence project(expand(w)) = w, and expand . project is idempotent and self-adjoint.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.ops import segment_sum
from jaxtyping import Array, Float, Int

from cnn_constraints.arrays import AbsoluteWeights, FreeWeights, OtherFreeWeights
from cnn_constraints.constraints.geometry import Geometry
from cnn_constraints.constraints.ties import Ties, leq
from cnn_constraints.errors import InputError


def expand(weights: FreeWeights, ties: Ties, geometry: Geometry) -> AbsoluteWeights:
    """W[i, j, k, l, c, d] = weights[c, ties[(i, j), (k, l)], d], and 0 where the pair has no weight."""
    names = np.where(ties < 0, weights.shape[1], ties)
    sites = (geometry.output_height, geometry.output_width, geometry.height, geometry.width)
    matrix = jnp.take(_with_zero(weights), names.ravel(), axis=1)
    return jnp.moveaxis(matrix, 0, 1).reshape(*sites, weights.shape[0], weights.shape[2])


def project(absolute: AbsoluteWeights, ties: Ties) -> FreeWeights:
    """weights[c, t, d] = the mean of W over all pairs named t: the nearest constrained layer in the Euclidean norm.

    >>> from cnn_constraints.constraints.ties import tie_table
    >>> free = jnp.array([[[1.0], [2.0], [3.0]]])  # a kernel of three weights, from one channel to one
    >>> conv = tie_table("conv", Geometry(1, 4), delta=1)
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


def embed(weights: FreeWeights, stronger: Ties, weaker: Ties) -> OtherFreeWeights:
    """The weights with which the weaker constraint computes the same function.

    Raises InputError where `weaker` does not contain `stronger`: then no such weights exist in general.
    """
    return spread(weights, classes(stronger, weaker))


def spread(weights: FreeWeights, classes: Classes) -> OtherFreeWeights:
    """To each weight of the weaker constraint the value of its class, and 0 where it has none."""
    return jnp.take(_with_zero(weights), classes.of_weight, axis=1)


def class_sums(weights: OtherFreeWeights, classes: Classes) -> FreeWeights:
    """The transpose of `spread`: it turns a gradient by the weaker's weights into that by the stronger's."""
    sums = segment_sum(jnp.moveaxis(weights, 1, 0), classes.of_weight, num_segments=classes.count + 1)
    return jnp.moveaxis(sums[: classes.count], 0, 1)


def nearest(weights: OtherFreeWeights, classes: Classes) -> OtherFreeWeights:
    """The weights of the weaker constraint, within the stronger one, whose W is nearest: `expand . project`, without W."""
    pairs = classes.pairs.astype(weights.dtype)[:, None]
    members = np.bincount(classes.of_weight, classes.pairs, minlength=classes.count + 1)[: classes.count, None]
    return spread(class_sums(weights * pairs, classes) / jnp.asarray(members, weights.dtype), classes)


def excess(weights: OtherFreeWeights, classes: Classes) -> OtherFreeWeights:
    """What the stronger constraint does not allow: half the gradient of ||W - P W||^2, P the projection onto it."""
    pairs = classes.pairs.astype(weights.dtype)[:, None]
    return (weights - nearest(weights, classes)) * pairs


def _with_zero(weights: FreeWeights) -> Float[Array, "in_channels _ out_channels"]:
    """One more weight, which is zero: what pairs without a weight use."""
    return jnp.pad(weights, ((0, 0), (0, 1), (0, 0)))


def violation(absolute: AbsoluteWeights, ties: Ties, geometry: Geometry) -> Float[Array, ""]:
    """||W - P W|| / ||W||, P the projection onto the constraint: 0 where W obeys it, at most 1. 0 for W = 0."""
    distance = jnp.linalg.norm(absolute - expand(project(absolute, ties), ties, geometry))
    norm = jnp.linalg.norm(absolute)
    return jnp.where(norm > 0, distance / jnp.where(norm > 0, norm, 1), 0.0)
