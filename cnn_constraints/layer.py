"""The Flax layer: a layer under a constraint for anyone's network, images [..., height, width, channels] in and out."""

import dataclasses
import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float

from cnn_constraints import errors
from cnn_constraints.errors import InputError
from cnn_constraints.functional import (
    Layer,
    canonical_parameters,
    initialisers,
    kernel_shape,
    respond,
    stored_parameters,
)
from cnn_constraints.lattice import constraints, low_rank
from cnn_constraints.lattice.geometry import Geometry

SMALLEST_PHOTOGRAPH = 8
"""Side from which what looks like an image with channels first, or without channels, is taken for one."""

PADDINGS = "0 for what libraries call SAME, delta for VALID, -delta for FULL"

REFUSED = {
    "kernel_size": "say delta: the window is 2 delta + 1 pixels wide and high",
    "padding": f"say margin: {PADDINGS}",
    "kernel_init": "say gain: weights are normal with a variance of gain / fan-in",
    "bias_init": "biases start at 0",
    "dtype": "what is computed has the type of images and parameters together",
    "param_dtype": "parameters are of 32 bits",
    "mask": "no weights are left out within delta",
    "kernel_dilation": "no weights are left out within delta",
    "input_dilation": "images are taken as they are",
    "feature_group_count": "every output channel sees every input channel",
}
"""Options of `flax.linen.Conv` and what stands for them."""


class ConstrainedLayer(nn.Module):
    """A layer under a constraint for images [..., height, width, channels], whose size it reads off its input.

    features: output channels. constraint: dense, shared, local, conv, tiled, low_rank_local or another registered one.
    delta: of local constraints, how far each output site sees, |a| <= delta and |b| <= delta; None for all offsets.
    tile, rank: of tiled and low_rank_local. strides: pixels between two output sites. margin: where the first of them
    stands; 0 is what libraries call SAME padding, delta VALID, -delta FULL. boundary: zero or circular.
    use_bias, bias_per_site: U[i, j] for each site, one u for each channel, or none; by default the constraint's own.
    gain: what the initial variance 1 / fan-in is multiplied with (2 before a rectifier). precision: float32 or bfloat16, of
    the factors of the product. formulation: the fast way, by default the fastest known one. in_channels: where given, the
    images must have as many.

    Parameters: `kernel` (see `kernel_shape`), `bias` [height, width, features] or [features], and of low_rank_local
    `combining` [rank, height, width].

    Raises InputError for names that are not registered, for options that mean nothing to the constraint, and for images
    whose axes are not what they should be.

    >>> import jax
    >>> images = jnp.ones((10, 28, 28, 1))
    >>> layer = ConstrainedLayer(features=16, constraint="local", delta=2, strides=2)
    >>> layer.apply(layer.init(jax.random.key(0), images), images).shape
    (10, 14, 14, 16)
    """

    features: int
    _: dataclasses.KW_ONLY
    constraint: str
    delta: int | None = None
    tile: int | None = None
    rank: int | None = None
    strides: int | Sequence[int] = 1
    margin: int = 0
    boundary: str = "zero"
    use_bias: bool = True
    bias_per_site: bool | None = None
    gain: float = 1.0
    precision: str = "float32"
    formulation: str | None = None
    in_channels: int | None = None

    def __new__(cls, *values: Any, **options: Any) -> "ConstrainedLayer":
        """Refuses what Python would refuse with a traceback."""
        if not values and not options:
            # A copy, which gets its fields later.
            return super().__new__(cls)
        if len(values) > 1:
            raise InputError(
                f"{cls.__name__} is given {values}: only features has no name, so write delta=... and so on."
            )
        if not values and "features" not in options:
            raise InputError(f"A {cls.__name__} needs features: how many output channels it has.")
        for option in options:
            if option in REFUSED:
                raise InputError(f"{cls.__name__} has no option {option}: {REFUSED[option]}.")
            if option not in cls.__dataclass_fields__:
                raise errors.unknown_name(f"option of {cls.__name__}", option, cls.__dataclass_fields__)
        constraint = options.get("constraint", getattr(cls, "constraint", None))
        if constraint is None:
            raise InputError(f"A {cls.__name__} needs a constraint: {', '.join(low_rank.names())}.")
        if "delta" not in options and _takes(constraint, "delta"):
            raise InputError(f"A layer of {constraint} needs a delta: how many pixels each site sees on every side.")
        return super().__new__(cls)

    @classmethod
    def of(cls, layer: Layer, name: str | None = None) -> "ConstrainedLayer":
        """The module for a layer that is described already."""
        geometry, delta = layer.geometry, layer.delta if _takes(layer.constraint, "delta") else None
        return cls(
            layer.out_channels,
            constraint=layer.constraint,
            delta=delta,
            tile=layer.tile if _takes(layer.constraint, "tile") else None,
            rank=layer.rank,
            strides=geometry.stride,
            margin=geometry.margin,
            boundary=geometry.boundary,
            use_bias=layer.bias is not None,
            bias_per_site=layer.bias == "site",
            gain=layer.gain,
            precision=layer.precision,
            formulation=layer.formulation,
            in_channels=layer.in_channels,
            name=name,
        )

    def __post_init__(self) -> None:
        for option in ("delta", "tile", "rank"):
            if getattr(self, option) is not None and not _takes(self.constraint, option):
                raise InputError(
                    f"{option} is {getattr(self, option)}: it means nothing to {self.constraint}, so leave it out."
                )
        for option, least in (("features", 1), ("tile", 1), ("rank", 1), ("delta", 0), ("in_channels", 1)):
            number = getattr(self, option)
            if (number is not None or option == "features") and not (
                isinstance(number, Integral) and int(number) >= least
            ):
                raise InputError(f"{option} is {number!r}: it must be a whole number, at least {least}.")
        strides = self.strides if isinstance(self.strides, Sequence) else (self.strides, self.strides)
        if len(strides) != 2 or strides[0] != strides[1] or not isinstance(strides[0], Integral):
            raise InputError(f"strides is {self.strides!r}: it must be a whole number, or two that are the same.")
        if not isinstance(self.margin, Integral):
            raise InputError(f"margin is {self.margin!r}: it must be a whole number, {PADDINGS}.")
        if not isinstance(self.gain, Real) or not 0 < self.gain < math.inf:
            raise InputError(f"gain is {self.gain!r}: it must be a number above 0.")
        super().__post_init__()

    @nn.compact
    def __call__(
        self, images: Float[Array, "*batch height width channels"]
    ) -> Float[Array, "*batch output_height output_width features"]:
        if not hasattr(images, "shape"):
            raise InputError(f"The images are a {type(images).__name__}: they must be an array.")
        layer = describe(self, images.shape)
        self._require_parameters_for(layer, images.shape)
        parameters = {}
        for stored, draw in initialisers(layer).items():
            name = "kernel" if stored == "weights" else stored
            first = lambda key, name=name, of=stored, draw=draw: canonical_parameters(layer, {of: draw(key)})[name]
            parameters[name] = self.param(name, first)
        images, *arrays = promote_dtype(images, *parameters.values())
        stored = stored_parameters(layer, dict(zip(parameters, arrays, strict=True)))
        x = images.reshape(math.prod(images.shape[:-3]), *images.shape[-3:]).transpose(3, 1, 2, 0)
        h = respond(layer, x, [stored]).transpose(3, 1, 2, 0)
        return h.reshape(*images.shape[:-3], *h.shape[1:])

    def _require_parameters_for(self, layer: Layer, shape: tuple[int, ...]) -> None:
        """Raises InputError where the layer was initialised for other images."""
        if not self.has_variable("params", "kernel"):
            return self._require_channels_last(layer, shape)
        has, needs = jnp.shape(self.get_variable("params", "kernel")), kernel_shape(layer)
        if has[-1:] != needs[-1:]:
            raise InputError(f"features is {self.features}, and the layer was initialised with {has[-1]}.")
        if has[-2:-1] != needs[-2:-1]:
            raise InputError(
                f"The images have the shape {shape}, so {needs[-2]} channels, and the layer was initialised for "
                f"{has[-2]}: they must be [..., height, width, channels]."
            )
        sites = (layer.geometry.output_height, layer.geometry.output_width)
        bias = (*sites, layer.out_channels) if layer.bias == "site" else (layer.out_channels,)
        for name, shape_of in (("kernel", needs), ("combining", (layer.rank, *sites)), ("bias", bias)):
            if self.has_variable("params", name) and (has := jnp.shape(self.get_variable("params", name))) != shape_of:
                raise InputError(
                    f"The images have the shape {shape}, read as {shape[-3]} x {shape[-2]} pixels: the {name} of "
                    f"{self.constraint} for them has the shape {shape_of}, and the layer was initialised with {has}."
                )

    def _require_channels_last(self, layer: Layer, shape: tuple[int, ...]) -> None:
        """Raises InputError for what looks like images with channels first, or without an axis of channels."""
        height, width, channels = shape[-3:]
        square = width == channels >= SMALLEST_PHOTOGRAPH
        channels_first, no_channels = square and height in (1, 3), square and len(shape) == 3 and height != width
        if self.in_channels is None and (channels_first or no_channels):
            raise InputError(
                f"The images have the shape {shape}, read as {height} x {width} pixels with {channels} channels: they must "
                f"be [..., height, width, channels]. If the channels come first, move them last; if there is no axis of "
                f"channels, add one; if they do have {channels}, say in_channels={channels}."
            )


def describe(module: ConstrainedLayer, shape: tuple[int, ...]) -> Layer:
    """The layer of a module for images of this shape. Raises InputError where their axes are not what they should be."""
    if len(shape) < 3 or not shape[-1]:
        raise InputError(f"The images have the shape {shape}: they must be [..., height, width, channels].")
    height, width, channels = shape[-3:]
    if module.in_channels not in (None, channels):
        raise InputError(
            f"The images have the shape {shape}, so {channels} channels, and in_channels is {module.in_channels}: they "
            f"must be [..., height, width, channels]."
        )
    per_site = _per_site(module.constraint) if module.bias_per_site is None else module.bias_per_site
    stride = module.strides[0] if isinstance(module.strides, Sequence) else module.strides
    geometry = Geometry(height, width, int(stride), module.boundary, int(module.margin))
    geometry.check_delta(module.delta)
    return Layer(
        module.constraint,
        geometry,
        channels,
        module.features,
        module.delta,
        constraints.tile_of(low_rank.bank_of(module.constraint), module.tile),
        low_rank.rank_of(module.constraint, module.rank),
        (("site" if per_site else "channel") if module.use_bias else None),
        module.gain,
        module.precision,
        module.formulation,
    )


def _takes(constraint: str, option: str) -> bool:
    """Whether delta, tile or rank means something to a layer. Raises InputError for an unknown constraint."""
    if constraint not in low_rank.names():
        raise errors.unknown_name("constraint", constraint, low_rank.names())
    if option == "rank":
        return constraint in low_rank.BANKS
    return option in constraints.find(low_rank.bank_of(constraint)).arguments


def _per_site(constraint: str) -> bool:
    return constraints.find(low_rank.bank_of(constraint)).bias_per_site


class Dense(ConstrainedLayer):
    """No constraint: a weight for every pair of an output site and an input site."""

    _: dataclasses.KW_ONLY
    _: dataclasses.KW_ONLY
    constraint: str = "dense"


class Shared(ConstrainedLayer):
    """Translation invariance alone: a weight for every offset, as far as the image goes."""

    _: dataclasses.KW_ONLY
    _: dataclasses.KW_ONLY
    constraint: str = "shared"


class Local(ConstrainedLayer):
    """Locality alone: a weight for every pair within delta. `flax.linen.ConvLocal`, without weights that see no pixel."""

    _: dataclasses.KW_ONLY
    _: dataclasses.KW_ONLY
    constraint: str = "local"


class Conv(ConstrainedLayer):
    """Both: a weight for every offset within delta. `flax.linen.Conv` with a kernel of 2 delta + 1 and a padding of delta
    on every side: its parameters' names and shapes, and its values.

    Where Flax pads otherwise, as SAME may with a stride, the values differ. Weights that would see no
    pixel, since the image is smaller than the kernel or the stride skips their offsets, are not there.
    """

    _: dataclasses.KW_ONLY
    _: dataclasses.KW_ONLY
    constraint: str = "conv"
