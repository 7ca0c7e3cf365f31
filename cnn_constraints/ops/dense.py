"""Every pair of sites its own weight: H[d, (i, j), n] = sum_{c, (k, l)} W[c, (k, l), (i, j), d] X[c, (k, l), n]."""

import jax.numpy as jnp
import numpy as np

from cnn_constraints.arrays import FreeWeights, Inputs, Outputs
from cnn_constraints.lattice.constraints import pair_names
from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.lattice.order import Ties
from cnn_constraints.lattice.projection import expand
from cnn_constraints.ops.storage import Order


def order(geometry: Geometry) -> Order:
    """By input, then output: so one matrix product reads them."""
    if geometry.boundary == "zero":
        # On each site the offsets are in the order of the inputs.
        return np.arange(geometry.output_sites * geometry.input_sites).reshape(geometry.output_sites, -1).T.ravel()
    return pair_names(geometry).T.ravel()


def matrix(x: Inputs, weights: FreeWeights, geometry: Geometry, delta: int | None = None) -> Outputs:
    """One matrix product. The weights are stored in its order, so nothing is copied; delta means nothing here."""
    batch = x.shape[3]
    inputs = geometry.input_sites * x.shape[0]
    product = x.reshape(inputs, batch).T @ weights.reshape(inputs, -1)
    product = product.reshape(batch, geometry.output_height, geometry.output_width, -1)
    return product.transpose(3, 1, 2, 0)


def expanded(x: Inputs, weights: FreeWeights, ties: Ties, geometry: Geometry) -> Outputs:
    """The definition: W from its tie table, then one product. Any constraint, at the cost of the dense layer."""
    absolute = expand(weights, ties, geometry)
    return jnp.einsum("ijklcd,ckln->dijn", absolute, x)
