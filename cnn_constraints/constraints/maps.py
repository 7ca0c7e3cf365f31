"""Between free weights and W: `expand` writes a constrained layer as a dense one, `project` is the way back.

Both are linear. `project` is the orthogonal projection onto the constraint's subspace followed by reading its
coordinates, hence project(expand(w)) = w, and expand . project is idempotent and self-adjoint.
"""

import jax.numpy as jnp
import numpy as np
from jax.ops import segment_sum
from jaxtyping import Array, Float

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
    """weights[c, t, d] = the mean of W over all pairs named t: the nearest constrained layer in the Euclidean norm."""
    free = int(ties.max()) + 1
    channels = absolute.shape[-2:]
    names = np.where(ties < 0, free, ties).ravel()
    sums = segment_sum(absolute.reshape(-1, *channels), names, num_segments=free + 1)[:free]
    members = np.bincount(names, minlength=free + 1)[:free]
    return jnp.moveaxis(sums / members[:, None, None].astype(absolute.dtype), 1, 0)


def embed(weights: FreeWeights, stronger: Ties, weaker: Ties) -> OtherFreeWeights:
    """The weights with which the weaker constraint computes the same function.

    Raises InputError where `weaker` does not contain `stronger`: then no such weights exist in general.
    """
    if not leq(stronger, weaker):
        raise InputError("The target of an embedding must be weaker than its source: it lacks or ties what that uses.")
    names, pair_of_name = np.unique(weaker.ravel(), return_index=True)
    source = stronger.ravel()[pair_of_name[names >= 0]]
    return jnp.take(_with_zero(weights), np.where(source < 0, weights.shape[1], source), axis=1)


def _with_zero(weights: FreeWeights) -> Float[Array, "in_channels _ out_channels"]:
    """One more weight, which is zero: what pairs without a weight use."""
    return jnp.pad(weights, ((0, 0), (0, 1), (0, 0)))


def violation(absolute: AbsoluteWeights, ties: Ties, geometry: Geometry) -> Float[Array, ""]:
    """||W - P W|| / ||W||, P the projection onto the constraint: 0 where W obeys it, at most 1. 0 for W = 0."""
    distance = jnp.linalg.norm(absolute - expand(project(absolute, ties), ties, geometry))
    norm = jnp.linalg.norm(absolute)
    return jnp.where(norm > 0, distance / jnp.where(norm > 0, norm, 1), 0.0)
