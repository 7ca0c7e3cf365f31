"""D2L 7.1.2: from 10^12 parameters to 4 x 10^6 by translation invariance, and to a handful by locality."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from cnn_constraints.claims.claim import Claim, Criterion, Laboratory, Measurement, Picture, curves_of
from cnn_constraints.claims.networks import CELLS
from cnn_constraints.functional import Layer
from cnn_constraints.lattice import counts
from cnn_constraints.lattice.constraints import ties
from cnn_constraints.lattice.geometry import BOUNDARIES, Geometry
from cnn_constraints.layer import ConstrainedLayer
from cnn_constraints.statistics import exact

MEGAPIXEL = Geometry(1000, 1000)
SIDES = (100, 200, 400, 700, 1000)
SIZES = ((1, 1), (4, 4), (5, 7), (8, 8))
SMALL = [
    (Geometry(*size, stride, boundary), delta)
    for size, stride, boundary, delta in itertools.product(SIZES, (1, 2), BOUNDARIES, range(4))
    if delta < max(size)
]
"""Small enough to build: real arrays against the counts."""


def weights(cell: str, geometry: Geometry, delta: int | None) -> int:
    """Free weights of a cell, per pair of channels."""
    return counts.count(cell, geometry, delta).weights


def array_difference(cell: str, geometry: Geometry, delta: int) -> int:
    """How far the count is from the parameter array of a layer, or from the names that its tie table uses."""
    layer = ConstrainedLayer.of(Layer(cell, geometry, 1, 1, delta, bias=None))
    image = jax.ShapeDtypeStruct((geometry.height, geometry.width, 1), jnp.float32)
    array = jax.eval_shape(layer.init, jax.random.key(0), image)["params"]["kernel"]
    named = len(np.setdiff1d(ties(cell, geometry, delta), [-1]))
    return max(abs(number - weights(cell, geometry, delta)) for number in (array.size, named))


def measure(laboratory: Laboratory) -> Measurement:
    """Exact counts, so that every interval is a single number."""
    kernel = max(abs(weights("conv", MEGAPIXEL, delta) - (2 * delta + 1) ** 2) for delta in range(11))
    values = {
        DENSE: exact(weights("dense", MEGAPIXEL, None)),
        SHARED: exact(weights("shared", MEGAPIXEL, None) / 4e6),
        KERNEL: exact(kernel),
        LOCAL: exact(weights("local", MEGAPIXEL, 10) / weights("conv", MEGAPIXEL, 10) / 1e6),
        ARRAYS: exact(max(array_difference(cell, *case) for cell in CELLS for case in SMALL)),
    }
    points = [("delta 10", cell, side, [weights(cell, Geometry(side, side), 10)]) for cell in CELLS for side in SIDES]
    return Measurement(values, curves_of(points, [0]))


DENSE = "weights of a dense layer at 1000 x 1000"
SHARED = "weights of a shared layer at 1000 x 1000, over 4 x 10^6"
KERNEL = "weights of a conv layer, largest difference from (2 delta + 1)^2, delta 0 to 10"
LOCAL = "weights of a local layer over the number of sites times those of a conv layer, delta 10"
ARRAYS = "arrays and tie tables up to 8 x 8, largest difference from the count"

CLAIM = Claim(
    statement="Translation invariance takes a layer on a megapixel image from 10^12 weights to 4 x 10^6, locality from "
    "there to (2 delta + 1)^2.",
    source="D2L 7.1.2, 7.1.2.1 and 7.1.2.2",
    protocol="Closed forms at 1000 x 1000; every cell's parameter array and tie table at 1 x 1 to 8 x 8, strides 1 and 2, "
    "zero and circular boundary, delta 0 to 3. The text rounds: 3,996,001 to 4 x 10^6, and (2 delta + 1)^2 to 4 delta^2.",
    criteria=(
        Criterion(DENSE, 1e12, 1e12, "10^12"),
        Criterion(SHARED, 0.995, 1.005, "1"),
        Criterion(KERNEL, 0, 0),
        Criterion(LOCAL, 0.98, 1),
        Criterion(ARRAYS, 0, 0),
    ),
    frozen="2026-11-25",
    seeds={"quick": 1, "cpu": 1, "gpu": 1},
    measure=measure,
    picture=Picture("side of the image, pixels", "weights per pair of channels"),
)
