"""What a layer has and costs, exactly and in closed form: a layer on 1000 x 1000 pixels is counted without any memory."""

from dataclasses import dataclass
from numbers import Integral
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from cnn_constraints.errors import InputError, unknown_name
from cnn_constraints.lattice import constraints
from cnn_constraints.lattice.geometry import Axis, Geometry
from cnn_constraints.lattice.low_rank import bank_of, rank_of
from cnn_constraints.lattice.order import Ties

BYTES = {"bfloat16": 2, "float16": 2, "float32": 4, "float64": 8}


class Sizes(NamedTuple):
    """Per pair of channels: the free weights, and the products X W that the definition sums over an image."""

    weights: int
    connections: int


def sizes(name: str, geometry: Geometry, delta: int | None = None, tile: int | None = None) -> Sizes:
    """Free weights and connections of a registered constraint; without its table, but for one of the user's own."""
    constraint = constraints.find(name)
    geometry.check_delta(delta)
    if constraint not in constraints.LAWFUL:
        ties = constraints.ties(name, geometry, delta, tile)
        return Sizes(int(ties.max()) + 1, int((ties >= 0).sum()))
    delta = delta if constraint.local else None
    axes = (geometry.rows, geometry.columns)
    connections = axes[0].connections(delta) * axes[1].connections(delta)
    if constraint.tied:
        return Sizes(len(axes[0].offsets(delta)) * len(axes[1].offsets(delta)), connections)
    if "tile" not in constraint.arguments:
        return Sizes(connections, connections)
    rows, columns = (axis.met(delta, phases_of(axis, name, tile)).sum() for axis in axes)
    return Sizes(int(rows * columns), connections)


def phases_of(axis: Axis, name: str, tile: int | None = None) -> np.ndarray:
    """Which outputs of an axis share their weights: all where weights are tied, those of a phase in a tile, else none."""
    outputs, tile = np.arange(axis.outputs), constraints.tile_of(name, tile)
    if constraints.find(name).tied:
        return np.zeros_like(outputs)
    return outputs if tile is None else outputs % tile


def inverse_fan_in(
    name: str, geometry: Geometry, delta: int | None = None, tile: int | None = None
) -> Float[np.ndarray, " weights"]:
    """For each free weight, the mean over the pairs (p, q) that use it of 1 / (number of input sites of output p).

    Weights drawn with these variances give pre-activations whose variance, averaged over output sites, is that of the
    input; where weights are not tied it is so at every single site. At a border, outputs have fewer inputs: the kernel
    size is not the fan-in (and for `shared` it is nearly four times too large).
    """
    constraint = constraints.find(name)
    geometry.check_delta(delta)
    if constraint not in constraints.LAWFUL:
        return mean_inverse_fan_in(constraints.ties(name, geometry, delta, tile))
    if not constraint.arguments and not constraint.tied:
        return np.full(geometry.input_sites * geometry.output_sites, 1 / geometry.input_sites)
    delta = delta if constraint.local else None
    row, row_met = _axis_inverse_fan_in(geometry.rows, delta, phases_of(geometry.rows, name, tile))
    column, column_met = _axis_inverse_fan_in(geometry.columns, delta, phases_of(geometry.columns, name, tile))
    met = row_met[:, None, :, None] & column_met[None, :, None, :]
    return (row[:, None, :, None] * column[None, :, None, :])[met]


def _axis_inverse_fan_in(
    axis: Axis, delta: int | None, phase: np.ndarray
) -> tuple[Float[np.ndarray, "phases offsets"], Bool[np.ndarray, "phases offsets"]]:
    """The mean inverse fan-in along one axis by phase and offset, and which of these occur."""
    _, inside = axis.input_of_offset(delta)
    inverse = np.where(inside, 1 / inside.sum(axis=1, keepdims=True), 0.0)
    sums, outputs = np.zeros((phase.max() + 1, inside.shape[1])), np.zeros((phase.max() + 1, inside.shape[1]), int)
    np.add.at(sums, phase, inverse)
    np.add.at(outputs, phase, inside)
    return sums / np.maximum(outputs, 1), outputs > 0


def mean_inverse_fan_in(ties: Ties) -> Float[np.ndarray, " weights"]:
    """The definition of `inverse_fan_in`, from a table."""
    used = ties >= 0
    inverse = np.broadcast_to(1 / np.maximum(used.sum(axis=1, keepdims=True), 1), ties.shape)
    return np.bincount(ties[used], weights=inverse[used]) / np.bincount(ties[used])


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
    tile: int | None = None,
    rank: int | None = None,
) -> Count:
    """Parameters, multiply-adds per image and bytes of one layer. `bias_per_site` None means the constraint's own bias.

    Of `low_rank_local` the filter banks are counted, and the weights and sums that combine them (see `low_rank`).
    Raises InputError for an unknown constraint, a delta the image does not have, channels, a tile or a rank below 1 or an
    unknown dtype.

    >>> megapixel = Geometry(1000, 1000)
    >>> [count(name, megapixel, 10).weights for name in ("dense", "shared", "local", "conv")]
    [1000000000000, 3996001, 436392100, 441]
    """
    tied, rank = bank_of(constraint), rank_of(constraint, rank)
    tile = constraints.tile_of(tied, tile)
    for name, number in (("in_channels", in_channels), ("out_channels", out_channels), ("rank", rank)):
        if number is not None and not (isinstance(number, Integral) and number >= 1):
            raise InputError(f"{name} is {number!r}: it must be a whole number, at least 1.")
    if dtype not in BYTES:
        raise unknown_name("dtype", dtype, BYTES)
    size = sizes(tied, geometry, delta, tile)
    per_site = constraints.find(tied).bias_per_site if bias_per_site is None else bias_per_site
    banks, combining = (1, 0) if rank is None else (rank, rank * geometry.output_sites)
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
    conv = None if delta is None else 4 * delta**2
    return {"dense": geometry.input_sites**2, "shared": 4 * geometry.input_sites, "conv": conv}.get(constraint)
