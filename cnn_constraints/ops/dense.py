"""Every pair of sites its own weight: H[d, (i, j), n] = sum_{c, (k, l)} W[c, (k, l), (i, j), d] X[c, (k, l), n]."""

import jax.numpy as jnp

from cnn_constraints.arrays import FreeWeights, Inputs, Outputs
from cnn_constraints.constraints.geometry import Geometry
from cnn_constraints.constraints.maps import expand
from cnn_constraints.constraints.ties import Ties


def matrix(x: Inputs, weights: FreeWeights, geometry: Geometry, delta: int | None = None) -> Outputs:
    """One matrix product. The free weights already lie in its order, so nothing is copied; delta means nothing here."""
    batch = x.shape[3]
    inputs = geometry.input_sites * x.shape[0]
    product = x.reshape(inputs, batch).T @ weights.reshape(inputs, -1)
    product = product.reshape(batch, geometry.output_height, geometry.output_width, -1)
    return product.transpose(3, 1, 2, 0)


def expanded(x: Inputs, weights: FreeWeights, ties: Ties, geometry: Geometry) -> Outputs:
    """The definition: W from its tie table, then one product. Any constraint, at the cost of the dense layer."""
    absolute = expand(weights, ties, geometry)
    return jnp.einsum("ijklcd,ckln->dijn", absolute, x)
