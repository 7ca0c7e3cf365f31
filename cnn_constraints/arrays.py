"""The names of the arrays that travel between rooms, and the records that carry them."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Float32, Int32, UInt8

Inputs = Float[Array, "in_channels height width batch"]
"""What a layer reads. The batch is the innermost axis: every shifted window is then one contiguous run."""

Outputs = Float[Array, "out_channels output_height output_width batch"]
"""What a layer gives, and the next one reads."""

FreeWeights = Float[Array, "in_channels weights out_channels"]
"""The weights a constraint leaves free; `weights` counts them per pair of channels."""

OtherFreeWeights = Float[Array, "in_channels other_weights out_channels"]
"""Free weights of the same layer under another constraint."""

FilterBanks = Float[Array, "in_channels weights bank_channels"]
"""The free weights of `rank` layers that are combined: rank * out_channels bank channels, bank by bank."""

Combining = Float[Array, "rank output_height output_width"]
"""With which weights each output site combines the banks."""

AbsoluteWeights = Float[Array, "i j k l in_channels out_channels"]
"""W of D2L 7.1.2: output site (i, j), input site (k, l)."""

OffsetWeights = Float[Array, "i j a b in_channels out_channels"]
"""V of D2L 7.1.2: output site (i, j), offset (a, b); index 0 of an offset axis is its lowest offset."""

SMALLEST_PHOTOGRAPH = 8
"""Side from which what looks like an image with channels first, or without channels, is taken for one."""


class Split(NamedTuple):
    """Images as intensities 0 to 255, or as the numbers of a synthetic task, and their labels 0 to classes - 1."""

    images: UInt8[np.ndarray, "examples height width channels"] | Float32[np.ndarray, "examples height width channels"]
    labels: Int32[np.ndarray, " examples"]


class Dataset(NamedTuple):
    """A training split, from which validation images are taken too, and a test split, read once."""

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
