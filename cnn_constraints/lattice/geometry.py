"""Where things are: output sites, input sites, and the offsets between them.

D2L 7.1.2 writes one layer in two forms,

    H[i, j] = U[i, j] + sum_{k, l} W[i, j, k, l] X[k, l]          (absolute form)
            = U[i, j] + sum_{a, b} V[i, j, a, b] X[i + a, j + b]  (offset form, k = i + a and l = j + b)

An image is the product of two axes, and everything here is true of each axis by itself.
"""

from dataclasses import dataclass
from numbers import Integral

import numpy as np
from jaxtyping import Bool, Int

from cnn_constraints.errors import InputError, unknown_name

BOUNDARIES = ("zero", "circular")
"""What lies beyond the image: nothing (`zero`), or the image again, as on a torus (`circular`)."""


@dataclass(frozen=True)
class Axis:
    """One axis of an image of `size` pixels: outputs are centred on every `stride`-th of them, from `margin` on."""

    size: int
    stride: int = 1
    boundary: str = "zero"
    margin: int = 0

    @property
    def outputs(self) -> int:
        """How many outputs there are: ceil((size - 2 margin) / stride)."""
        return -(-(self.size - 2 * self.margin) // self.stride)

    @property
    def centres(self) -> Int[np.ndarray, " outputs"]:
        """The pixel on which each output is centred: margin + stride * i. It may lie outside the image."""
        return self.margin + self.stride * np.arange(self.outputs)

    def offsets(self, delta: int | None) -> range:
        """Every offset a = k - centre that a pair of an output and an input k has, and |a| <= delta.

        Zero boundary and stride 1: -(size - 1) .. size - 1, the text's "both positive and negative offsets".
        Circular: the `size` residues nearest to zero.
        """
        if self.boundary == "circular":
            lowest, highest = -(self.size // 2), (self.size - 1) // 2
        else:
            lowest, highest = -int(self.centres[-1]), self.size - 1 - self.margin
        if delta is not None:
            lowest, highest = max(lowest, -delta), min(highest, delta)
        return range(lowest, highest + 1)

    def offset_of_pair(self) -> Int[np.ndarray, "outputs size"]:
        """The offset between each output and each input."""
        offset = np.arange(self.size)[None, :] - self.centres[:, None]
        if self.boundary == "circular":
            half = self.size // 2
            offset = (offset + half) % self.size - half
        return offset

    def connections(self, delta: int | None) -> int:
        """How many pairs of an output and an input have |offset| <= delta, without listing them.

        For a zero boundary, stride 1, margin 0 and delta < size this is size * (2 delta + 1) - delta * (delta + 1).
        """
        if self.boundary == "circular":
            return self.outputs * len(self.offsets(delta))
        if delta is None:
            return self.outputs * self.size
        first, last = np.maximum(self.centres - delta, 0), np.minimum(self.centres + delta, self.size - 1)
        return int((last - first + 1).sum())

    def input_of_offset(
        self, delta: int | None
    ) -> tuple[Int[np.ndarray, "outputs offsets"], Bool[np.ndarray, "outputs offsets"]]:
        """The input that each output meets at each offset within delta, and whether it lies inside the image."""
        target = self.centres[:, None] + np.array(self.offsets(delta))[None, :]
        if self.boundary == "circular":
            return target % self.size, np.ones_like(target, bool)
        return np.clip(target, 0, self.size - 1), (target >= 0) & (target < self.size)

    def met(self, delta: int | None, phase: Int[np.ndarray, " outputs"]) -> Bool[np.ndarray, "phases offsets"]:
        """Whether some output of each phase meets each offset within delta inside the image."""
        _, inside = self.input_of_offset(delta)
        met = np.zeros((phase.max() + 1, inside.shape[1]), bool)
        np.logical_or.at(met, phase, inside)
        return met


@dataclass(frozen=True)
class Geometry:
    """An image of height x width pixels, what lies beyond its border, and the sites of the layer that reads it.

    Outputs are centred on every `stride`-th pixel, from `margin` on, up to as far from the other end. No constraint has a
    say in that, so that one geometry carries them all. For a layer that sees delta pixels far, margin 0 is what libraries
    call "same" padding, delta "valid" and -delta "full".

    Raises InputError for a size or stride below 1, an unknown boundary, and for margins that leave no output site or
    offsets between the image and the sites that no pair has.
    """

    height: int
    width: int
    stride: int = 1
    boundary: str = "zero"
    margin: int = 0

    def __post_init__(self) -> None:
        for field in ("height", "width", "stride", "margin"):
            value = getattr(self, field)
            if not isinstance(value, Integral):
                raise InputError(f"{field} is {value!r}: it must be a whole number.")
            if field != "margin" and value < 1:
                raise InputError(f"{field} is {value}: it must be at least 1.")
        if self.boundary not in BOUNDARIES:
            raise unknown_name("boundary", self.boundary, BOUNDARIES)
        size, shorter = f"an image of {self.height} x {self.width}", min(self.height, self.width)
        if self.margin and self.boundary == "circular":
            raise InputError(f"margin is {self.margin}: a circular boundary has no border, so it must be 0.")
        if 2 * self.margin >= shorter:
            raise InputError(f"margin is {self.margin}: on {size} it must be below {shorter / 2:g}, to leave a site.")
        if self.margin < 0 and self.stride > shorter:
            raise InputError(f"margin is {self.margin}: with stride {self.stride} on {size} it must be at least 0.")

    @property
    def rows(self) -> Axis:
        """The axis of i and k."""
        return Axis(self.height, self.stride, self.boundary, self.margin)

    @property
    def columns(self) -> Axis:
        """The axis of j and l."""
        return Axis(self.width, self.stride, self.boundary, self.margin)

    @property
    def output_height(self) -> int:
        """Rows of H."""
        return self.rows.outputs

    @property
    def output_width(self) -> int:
        """Columns of H."""
        return self.columns.outputs

    @property
    def input_sites(self) -> int:
        """Pixels (k, l)."""
        return self.height * self.width

    @property
    def output_sites(self) -> int:
        """Sites (i, j)."""
        return self.output_height * self.output_width

    def check_delta(self, delta: int | None) -> None:
        """Raises InputError where delta is negative, reaches beyond the whole image or leaves a site that sees nothing."""
        if delta is not None and not isinstance(delta, Integral):
            raise InputError(f"delta is {delta!r}: it must be a whole number, or None (all offsets).")
        least, largest = max(0, -self.margin), max(self.height, self.width) - 1 - self.margin
        if delta is not None and not least <= delta <= largest:
            itself = "the pixel itself" if least == 0 else f"so that sites at margin {self.margin} see a pixel"
            raise InputError(
                f"delta is {delta}: on an image of {self.height} x {self.width} it must lie between {least} ({itself}) "
                f"and {largest}, or be None (all offsets)."
            )
