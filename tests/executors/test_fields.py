"""What is kept of a first layer is what `expand` writes for those sites."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_constraints.constraints import low_rank, maps, ties
from cnn_constraints.executors.fields import CHANNELS, PLACES, first_fields
from cnn_constraints.model import LayerShape, Network


@pytest.mark.parametrize("name", low_rank.names())
def test_fields_are_rows_of_w(draw, name):
    geometry, channels = draw.geometry(smallest=3), draw.integer(1, CHANNELS + 2)
    constraint = low_rank.constraint_of(name)
    delta = draw.delta(constraint, geometry)
    layer = LayerShape(geometry, channels, delta, 1)
    network = Network(constraint, (layer,), 2, rank=low_rank.rank_of(name, None))
    image = draw.normal(1, geometry.height, geometry.width, draw.channels())
    parameters = jax.tree.map(np.asarray, network.init(jax.random.key(draw.integer(0, 2**31)), image)["params"])
    found, table = parameters["layer_0"], ties.tie_table(constraint, geometry, delta)
    if network.rank is None:
        absolute = maps.expand(jnp.asarray(found["weights"]), table, geometry)
    else:
        found["combining"] = np.asarray(draw.normal(*found["combining"].shape), np.float32)
        absolute = low_rank.expand(*map(jnp.asarray, (found["weights"], found["combining"])), table, geometry)
    fields = first_fields(network, parameters)
    for place, field in zip(PLACES, fields, strict=True):
        i, j = int(place * geometry.output_height), int(place * geometry.output_width)
        np.testing.assert_allclose(np.moveaxis(field, 0, 2), absolute[i, j, :, :, 0, :CHANNELS], rtol=1e-5, atol=1e-6)
