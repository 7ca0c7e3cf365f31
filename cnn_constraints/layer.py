"""The Flax layer: a layer under a constraint for anyone's network, images [..., height, width, channels] in and out."""

import dataclasses
import math
from collections.abc import Sequence
from numbers import Integral

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float

from cnn_constraints import errors
from cnn_constraints.arrays import SMALLEST_PHOTOGRAPH
from cnn_constraints.errors import InputError
from cnn_constraints.functional import Layer, canonical_parameters, initialisers, respond, stored_parameters
from cnn_constraints.lattice import constraints, low_rank
from cnn_constraints.lattice.geometry import Geometry

AXES = "they must be [..., height, width, channels]"


class ConstrainedLayer(nn.Module):
    """A layer under a constraint for images [..., height, width, channels], whose size it reads off its input.

    features: output channels. constraint: dense, shared, local, conv, tiled, low_rank_local or another registered one.
    delta: of local constraints, how far each output site sees, |a| <= delta and |b| <= delta; None for all offsets.
    tile, rank: of tiled and low_rank_local. strides: pixels between two output sites. margin: where the first of them
    stands; 0 is what libraries call SAME padding, delta VALID, -delta FULL. boundary: zero or circular.
    use_bias, bias_per_site: U[i, j] for each site, one u for each channel, or none; by default the constraint's own.
    gain: what the initial variance 1 / fan-in is multiplied with (2 before a rectifier). precision: float32 or bfloat16, of
    the product and of its factors. formulation: the fast way, by default the fastest known one. in_channels: where given,
    the images must have as many.

    Parameters: `kernel` (see `kernel_shape`), `bias` [height, width, features] or [features], and of low_rank_local
    `combining` [rank, height, width].

    Raises InputError for names that are not registered, for options that mean nothing to the constraint, and for images
    whose axes are not what they should be.

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

    def __post_init__(self) -> None:
        heeded = _heeded(self.constraint)
        for option in ("delta", "tile", "rank"):
            if getattr(self, option) is not None and option not in heeded:
                raise InputError(
                    f"{option} is {getattr(self, option)}: it means nothing to {self.constraint}, so leave it out."
                )
        for option in ("features", "rank", "in_channels"):
            number = getattr(self, option)
            if number is not None and not (isinstance(number, Integral) and int(number) >= 1):
                raise InputError(f"{option} is {number!r}: it must be a whole number, at least 1.")
        if not 0 < self.gain < math.inf:
            raise InputError(f"gain is {self.gain!r}: it must be a number above 0.")
        super().__post_init__()

    @classmethod
    def of(cls, layer: Layer, name: str | None = None) -> "ConstrainedLayer":
        """The module for a layer that is described already."""
        return cls(
            layer.out_channels,
            constraint=layer.constraint,
            **{option: getattr(layer, option) for option in _heeded(layer.constraint)},
            strides=layer.geometry.stride,
            margin=layer.geometry.margin,
            boundary=layer.geometry.boundary,
            use_bias=layer.bias is not None,
            bias_per_site=layer.bias == "site",
            gain=layer.gain,
            precision=layer.precision,
            formulation=layer.formulation,
            in_channels=layer.in_channels,
            name=name,
        )

    @nn.compact
    def __call__(
        self, images: Float[Array, "*batch height width channels"]
    ) -> Float[Array, "*batch output_height output_width features"]:
        layer = describe(self, images.shape)
        if self.in_channels is None and not self.has_variable("params", "kernel"):
            _require_channels_last(images.shape)
        parameters = {}
        for stored, draw in initialisers(layer).items():
            name = "kernel" if stored == "weights" else stored
            first = lambda key, name=name, of=stored, draw=draw: canonical_parameters(layer, {of: draw(key)})[name]
            if self.has_variable("params", name):
                has = jnp.shape(self.get_variable("params", name))
                if has != (needs := jax.eval_shape(first, jax.random.key(0)).shape):
                    raise InputError(
                        f"The images have the shape {images.shape}, so the {name} of {self.constraint} must have the shape "
                        f"{needs}: the layer was initialised for other images, or features, with {has}."
                    )
            parameters[name] = self.param(name, first)
        images, *arrays = promote_dtype(images, *parameters.values())
        stored = stored_parameters(layer, dict(zip(parameters, arrays, strict=True)))
        x = images.reshape(math.prod(images.shape[:-3]), *images.shape[-3:]).transpose(3, 1, 2, 0)
        h = respond(layer, x, [stored]).transpose(3, 1, 2, 0)
        return h.reshape(*images.shape[:-3], *h.shape[1:])


def describe(module: ConstrainedLayer, shape: tuple[int, ...]) -> Layer:
    """The layer of a module for images of this shape. Raises InputError where their axes are not what they should be."""
    if len(shape) < 3 or not shape[-1]:
        raise InputError(f"The images have the shape {shape}: {AXES}.")
    height, width, channels = shape[-3:]
    if module.in_channels not in (None, channels):
        raise InputError(f"The images have the shape {shape}, and in_channels is {module.in_channels}: {AXES}.")
    strides = module.strides if isinstance(module.strides, Sequence) else (module.strides, module.strides)
    if len(strides) != 2 or strides[0] != strides[1]:
        raise InputError(f"strides is {module.strides!r}: it must be a whole number, or two that are the same.")
    geometry = Geometry(height, width, strides[0], module.boundary, module.margin)
    geometry.check_delta(module.delta)
    bank = low_rank.bank_of(module.constraint)
    own = constraints.find(bank).bias_per_site if module.bias_per_site is None else module.bias_per_site
    return Layer(
        module.constraint,
        geometry,
        channels,
        module.features,
        module.delta,
        constraints.tile_of(bank, module.tile),
        low_rank.rank_of(module.constraint, module.rank),
        (("site" if own else "channel") if module.use_bias else None),
        module.gain,
        module.precision,
        module.formulation,
    )


def _heeded(constraint: str) -> tuple[str, ...]:
    """Of delta, tile and rank those that mean something to the constraint."""
    if constraint not in low_rank.names():
        raise errors.unknown_name("constraint", constraint, low_rank.names())
    arguments = constraints.find(low_rank.bank_of(constraint)).arguments
    return (*arguments, "rank") if constraint in low_rank.BANKS else arguments


def _require_channels_last(shape: tuple[int, ...]) -> None:
    """Raises InputError for what looks like images with channels first, or without an axis of channels."""
    height, width, channels = shape[-3:]
    no_axis = len(shape) == 3 and height != width
    if width == channels >= SMALLEST_PHOTOGRAPH and (height in (1, 3) or no_axis):
        raise InputError(
            f"The images have the shape {shape}, read as {height} x {width} pixels with {channels} channels: {AXES}. "
            f"If the channels come first, move them last; if there is no axis of channels, add one; if they do have "
            f"{channels}, say in_channels={channels}."
        )


class Dense(ConstrainedLayer):
    """No constraint: a weight for every pair of an output site and an input site."""

    _: dataclasses.KW_ONLY
    constraint: str = "dense"


class Shared(ConstrainedLayer):
    """Translation invariance alone: a weight for every offset, as far as the image goes."""

    _: dataclasses.KW_ONLY
    constraint: str = "shared"


class Local(ConstrainedLayer):
    """Locality alone: a weight for every pair within delta. `flax.linen.ConvLocal`, without weights that see no pixel."""

    _: dataclasses.KW_ONLY
    constraint: str = "local"
    delta: int | None = dataclasses.field()


class Conv(ConstrainedLayer):
    """Both: a weight for every offset within delta. `flax.linen.Conv` with a kernel of 2 delta + 1 and a padding of delta
    on every side: its parameters' names and shapes, and its values.

    Where Flax pads otherwise, as SAME may with a stride, the values differ. Weights that would see no
    pixel, since the image is smaller than the kernel or the stride skips their offsets, are not there.
    """

    _: dataclasses.KW_ONLY
    constraint: str = "conv"
    delta: int | None = dataclasses.field()
