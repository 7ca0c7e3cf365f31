"""What the first layer of a trained network has learned, small enough to be looked at: W[i, j, :, :] of D2L 7.1.2 for a few
sites (i, j).
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from cnn_constraints.constraints import ties
from cnn_constraints.model import Network

CHANNELS = 8
"""Output channels that are kept, the first ones."""

PLACES = (0.25, 0.5, 0.75)
"""Sites on the diagonal, as shares of it: tied weights look the same at all of them, but for their place."""

Fields = Float[np.ndarray, "sites channels height width"]
"""With which weights each site sees the first channel of the image, for each output channel."""


def first_fields(
    network: Network, parameters: Mapping[str, Mapping[str, np.ndarray]], places: Sequence[float] = PLACES
) -> Fields | None:
    """Of the first layer, at these shares of its diagonal. None where its tie table is too large to be written."""
    layer, found = network.layers[0], parameters["layer_0"]
    geometry = layer.geometry
    if not ties.table_fits(geometry):
        return None
    sites = [(int(geometry.output_height * place), int(geometry.output_width * place)) for place in places]
    table = ties.tie_table(network.constraint, geometry, layer.delta)
    # The last weight is zero, and what pairs without a weight use: -1 names it.
    weights = np.pad(found["weights"][0], ((0, 1), (0, 0)))
    fields = np.stack([weights[table[i * geometry.output_width + j]] for i, j in sites])
    if network.rank is not None:
        combining = np.stack([found["combining"][:, i, j] for i, j in sites])
        fields = np.einsum("sprd,sr->spd", fields.reshape(*fields.shape[:2], network.rank, -1), combining)
    return np.moveaxis(fields[..., :CHANNELS], 2, 1).reshape(len(sites), -1, geometry.height, geometry.width)
