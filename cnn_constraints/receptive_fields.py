"""What the first layer of a network looks at, small enough to be looked at: W[i, j, :, :] of D2L 7.1.2 for a few sites."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from cnn_constraints.lattice import constraints
from cnn_constraints.network import Network, layer_name
from cnn_constraints.ops.choose import stored_ties

CHANNELS = 8
"""Output channels that are kept, the first ones."""

PLACES = (0.25, 0.5, 0.75)
"""Sites on the diagonal, as shares of it: tied weights look the same at all of them, but for their place."""

ReceptiveFields = Float[np.ndarray, "sites channels height width"]
"""With which weights each site sees the first channel of the image, for each output channel."""


def receptive_fields(
    network: Network, parameters: Mapping[str, Mapping[str, np.ndarray]], places: Sequence[float] = PLACES
) -> ReceptiveFields | None:
    """Of the first layer, at these shares of its diagonal. None where its tie table is too large to be written."""
    layer, found = network.layers[0], parameters[layer_name(0)]
    geometry = layer.geometry
    if not constraints.table_fits(geometry):
        return None
    sites = [(int(geometry.output_height * place), int(geometry.output_width * place)) for place in places]
    table = stored_ties(layer.tied_by, geometry, layer.delta, layer.tile)
    # The last weight is zero, and what pairs without a weight use: -1 names it.
    weights = np.pad(found["weights"][0], ((0, 1), (0, 0)))
    fields = np.stack([weights[table[i * geometry.output_width + j]] for i, j in sites])
    if layer.rank is not None:
        combining = np.stack([found["combining"][:, i, j] for i, j in sites])
        fields = np.einsum("sprd,sr->spd", fields.reshape(*fields.shape[:2], layer.rank, -1), combining)
    return np.moveaxis(fields[..., :CHANNELS], 2, 1).reshape(len(sites), -1, geometry.height, geometry.width)
