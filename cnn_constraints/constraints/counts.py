"""What a layer costs, exactly and in closed form: a layer on 1000 x 1000 pixels is counted without any memory."""

from dataclasses import dataclass

from cnn_constraints.constraints import ties
from cnn_constraints.constraints.geometry import Geometry
from cnn_constraints.errors import InputError, unknown_name

BYTES = {"bfloat16": 2, "float16": 2, "float32": 4, "float64": 8}


@dataclass(frozen=True)
class Count:
    """weights and bias: parameters. multiply_adds: products that the definition sums for one image. bytes: of the
    parameters at the given dtype.
    """

    weights: int
    bias: int
    multiply_adds: int
    bytes: int

    @property
    def parameters(self) -> int:
        """Weights and bias together."""
        return self.weights + self.bias


def count(
    constraint: str,
    geometry: Geometry,
    delta: int | None = None,
    in_channels: int = 1,
    out_channels: int = 1,
    dtype: str = "float32",
    bias_per_site: bool | None = None,
    rank: int | None = None,
) -> Count:
    """Parameters, multiply-adds per image and bytes of one layer. `bias_per_site` None means the constraint's own bias.

    A rank counts so many banks under the constraint, and the weights and sums that combine them (see `low_rank`).
    Raises InputError for an unknown constraint, a delta the image does not have, channels or a rank below 1 or an unknown
    dtype.

    >>> megapixel = Geometry(1000, 1000)
    >>> [count(name, megapixel, 10).weights for name in ("dense", "shared", "local", "conv")]
    [1000000000000, 3996001, 436392100, 441]
    """
    banks = 1 if rank is None else rank
    for name, number in (("in_channels", in_channels), ("out_channels", out_channels), ("rank", banks)):
        if number < 1:
            raise InputError(f"{name} is {number}: it must be at least 1.")
    if dtype not in BYTES:
        raise unknown_name("dtype", dtype, BYTES)
    size = ties.sizes(constraint, geometry, delta)
    per_site = ties.find(constraint).bias_per_site if bias_per_site is None else bias_per_site
    combining = 0 if rank is None else rank * geometry.output_sites
    weights = banks * size.weights * in_channels * out_channels + combining
    bias = (geometry.output_sites if per_site else 1) * out_channels
    return Count(
        weights=weights,
        bias=bias,
        multiply_adds=banks * size.connections * in_channels * out_channels + combining * out_channels,
        bytes=(weights + bias) * BYTES[dtype],
    )


def approximation_in_text(constraint: str, geometry: Geometry, delta: int | None) -> int | None:
    """The weight count as D2L 7.1.2 rounds it, or None where it gives none.

    dense: (height width)^2, which is exact; shared: 2 height x 2 width, for offsets in (-1000, 1000); conv: (2 delta)^2.
    """
    if constraint == "dense":
        return geometry.input_sites**2
    if constraint == "shared":
        return 4 * geometry.input_sites
    if constraint == "conv" and delta is not None:
        return 4 * delta**2
    return None
