"""Where things are: output sites, input sites, the offsets between them, and W[i,j,k,l] <-> V[i,j,a,b].

D2L 7.1.2 writes one layer in two forms,

    H[i, j] = U[i, j] + sum_{k, l} W[i, j, k, l] X[k, l]          (absolute form)
            = U[i, j] + sum_{a, b} V[i, j, a, b] X[i + a, j + b]  (offset form, k = i + a and l = j + b)

An image is the product of two axes, and everything here is true of each axis by itself.
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Int

from cnn_constraints.arrays import AbsoluteWeights, OffsetWeights
from cnn_constraints.errors import InputError, unknown_name

BOUNDARIES = ("zero", "circular")
"""What lies beyond the image: nothing (`zero`), or the image again, as on a torus (`circular`)."""


@dataclass(frozen=True)
class Axis:
    """One axis of an image: `size` inputs, and an output centred on every `stride`-th of them."""

    size: int
    stride: int = 1
    boundary: str = "zero"

    @property
    def outputs(self) -> int:
        """How many outputs there are: ceil(size / stride)."""
        return -(-self.size // self.stride)

    def offsets(self, delta: int | None) -> range:
        """Every offset a = k - stride * i that a pair of an output i and an input k has, and |a| <= delta.

        Zero boundary and stride 1: -(size - 1) .. size - 1, the text's "both positive and negative offsets".
        Circular: the `size` residues nearest to zero.
        """
        if self.boundary == "circular":
            lowest, highest = -(self.size // 2), (self.size - 1) // 2
        else:
            lowest, highest = -self.stride * (self.outputs - 1), self.size - 1
        if delta is not None:
            lowest, highest = max(lowest, -delta), min(highest, delta)
        return range(lowest, highest + 1)

    def offset_of_pair(self) -> Int[np.ndarray, "outputs size"]:
        """The offset between output i and input k, for every pair."""
        offset = np.arange(self.size)[None, :] - self.stride * np.arange(self.outputs)[:, None]
        if self.boundary == "circular":
            half = self.size // 2
            offset = (offset + half) % self.size - half
        return offset

    def connections(self, delta: int | None) -> int:
        """How many pairs (output, input) have |offset| <= delta, without listing them.

        For a zero boundary, stride 1 and delta < size this is size * (2 delta + 1) - delta * (delta + 1).
        """
        if self.boundary == "circular":
            return self.outputs * len(self.offsets(delta))
        reach = self.size if delta is None else delta
        centres = range(0, self.size, self.stride)
        return sum(min(self.size - 1, centre + reach) - max(0, centre - reach) + 1 for centre in centres)

    def input_of_offset(
        self, delta: int | None
    ) -> tuple[Int[np.ndarray, "outputs offsets"], Bool[np.ndarray, "outputs offsets"]]:
        """The input that each output meets at each offset within delta, and whether it lies inside the image."""
        target = self.stride * np.arange(self.outputs)[:, None] + np.array(self.offsets(delta))[None, :]
        if self.boundary == "circular":
            return target % self.size, np.ones_like(target, bool)
        return np.clip(target, 0, self.size - 1), (target >= 0) & (target < self.size)

    def phases(self, delta: int | None, tile: int) -> Bool[np.ndarray, "tile offsets"]:
        """Whether some output i of the phase i mod tile meets the offset inside the image."""
        _, inside = self.input_of_offset(delta)
        outputs, offsets = np.nonzero(inside)
        met = np.zeros((tile, inside.shape[1]), bool)
        met[outputs % tile, offsets] = True
        return met


@dataclass(frozen=True)
class Geometry:
    """An image of height x width pixels, the stride of the layer that reads it, and what lies beyond its border.

    tile: output sites whose row and column agree modulo it are of one phase; only `tiled` asks for it.
    Raises InputError for a size, stride or tile below 1, or an unknown boundary.
    """

    height: int
    width: int
    stride: int = 1
    boundary: str = "zero"
    tile: int = 1

    def __post_init__(self) -> None:
        for field in ("height", "width", "stride", "tile"):
            if getattr(self, field) < 1:
                raise InputError(f"{field} is {getattr(self, field)}: it must be at least 1.")
        if self.boundary not in BOUNDARIES:
            raise unknown_name("boundary", self.boundary, BOUNDARIES)

    @property
    def rows(self) -> Axis:
        """The axis of i and k."""
        return Axis(self.height, self.stride, self.boundary)

    @property
    def columns(self) -> Axis:
        """The axis of j and l."""
        return Axis(self.width, self.stride, self.boundary)

    @property
    def output_height(self) -> int:
        """Rows of H."""
        return self.rows.outputs

    @property
    def output_width(self) -> int:
        """Columns of H."""
        return self.columns.outputs

    @property
    def largest_tile(self) -> int:
        """At which no two output sites share weights any more."""
        return max(self.output_height, self.output_width)

    @property
    def input_sites(self) -> int:
        """Pixels (k, l)."""
        return self.height * self.width

    @property
    def output_sites(self) -> int:
        """Sites (i, j)."""
        return self.output_height * self.output_width

    def check_delta(self, delta: int | None) -> None:
        """Raises InputError where delta is negative or reaches beyond the whole image."""
        largest = max(self.height, self.width) - 1
        if delta is not None and not 0 <= delta <= largest:
            raise InputError(
                f"delta is {delta}: on an image of {self.height} x {self.width} it must lie between 0 (the pixel "
                f"itself) and {largest}, or be None (all offsets)."
            )


def to_offsets(weights: AbsoluteWeights, geometry: Geometry) -> OffsetWeights:
    """V[i, j, a, b] = W[i, j, i + a, j + b], and 0 where (i + a, j + b) lies outside the image (D2L 7.1.2).

    >>> weights = jnp.ones((4, 5, 4, 5, 1, 1))
    >>> to_offsets(weights, Geometry(4, 5)).shape  # a from -3 to 3, b from -4 to 4
    (4, 5, 7, 9, 1, 1)
    """
    rows, row_inside = geometry.rows.input_of_offset(None)
    columns, column_inside = geometry.columns.input_of_offset(None)
    i, j, _, _ = np.ogrid[: geometry.output_height, : geometry.output_width, :1, :1]
    gathered = weights[i, j, rows[:, None, :, None], columns[None, :, None, :]]
    inside = row_inside[:, None, :, None] & column_inside[None, :, None, :]
    return jnp.where(inside[..., None, None], gathered, 0)


def to_absolute(weights: OffsetWeights, geometry: Geometry) -> AbsoluteWeights:
    """W[i, j, k, l] = V[i, j, k - i, l - j] (D2L 7.1.2). Entries of V that point outside the image are dropped."""
    rows = geometry.rows.offset_of_pair() - geometry.rows.offsets(None)[0]
    columns = geometry.columns.offset_of_pair() - geometry.columns.offsets(None)[0]
    i, j, _, _ = np.ogrid[: geometry.output_height, : geometry.output_width, :1, :1]
    return jnp.asarray(weights)[i, j, rows[:, None, :, None], columns[None, :, None, :]]
