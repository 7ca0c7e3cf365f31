"""What is kept of a first layer is what `expand` writes for those sites."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_constraints.functional import Layer
from cnn_constraints.lattice import low_rank, projection
from cnn_constraints.network import Network
from cnn_constraints.ops.choose import stored_ties
from cnn_constraints.receptive_fields import CHANNELS, PLACES, receptive_fields


@pytest.mark.parametrize("name", low_rank.names())
def test_fields_are_rows_of_w(draw, name):
    geometry, channels = draw.geometry(smallest=3), draw.integer(1, CHANNELS + 2)
    tied_by, tile, rank = low_rank.bank_of(name), draw.tile(), low_rank.rank_of(name, None)
    delta, in_channels = draw.delta(tied_by, geometry), draw.channels()
    layer = Layer(name, geometry, in_channels, channels, delta, tile, rank)
    network = Network((layer,), (1,), 2, stored=True)
    image = draw.normal(1, geometry.height, geometry.width, in_channels)
    parameters = jax.tree.map(np.asarray, network.init(jax.random.key(draw.integer(0, 2**31)), image)["params"])
    found, table = parameters["layer_0"], stored_ties(tied_by, geometry, delta, tile)
    if rank is None:
        absolute = projection.expand(jnp.asarray(found["weights"]), table, geometry)
    else:
        found["combining"] = np.asarray(draw.normal(*found["combining"].shape), np.float32)
        absolute = projection.expand_banks(*map(jnp.asarray, (found["weights"], found["combining"])), table, geometry)
    fields = receptive_fields(network, parameters)
    for place, field in zip(PLACES, fields, strict=True):
        i, j = int(place * geometry.output_height), int(place * geometry.output_width)
        np.testing.assert_allclose(np.moveaxis(field, 0, 2), absolute[i, j, :, :, 0, :CHANNELS], rtol=1e-5, atol=1e-6)
