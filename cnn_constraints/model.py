"""The Flax modules: one constrained layer, and the network made of them. The only file that knows Flax."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cnn_constraints import errors
from cnn_constraints.arrays import FreeWeights, Inputs, Outputs
from cnn_constraints.constraints import ties
from cnn_constraints.constraints.geometry import Geometry
from cnn_constraints.ops import choose
from cnn_constraints.ops.low_rank import combine


class Activation(NamedTuple):
    """gain: what a layer's initial variance is multiplied with so that the function keeps the scale of its input."""

    apply: Callable[[jax.Array], jax.Array]
    gain: float


ACTIVATIONS: dict[str, Activation] = {
    "relu": Activation(nn.relu, 2.0),  # He et al. 2015, equation 10
    "tanh": Activation(nn.tanh, 1.0),  # LeCun et al. 1998, section 4.6
    "gelu": Activation(nn.gelu, 2.0),
    "quadratic": Activation(jnp.square, 1.0),
    "identity": Activation(lambda x: x, 1.0),
}


Images = Float[Array, "channels height width batch"]
Pooled = Float[Array, "channels pooled_height pooled_width batch"]


def mean_pool(x: Images, size: int) -> Pooled:
    """The mean over squares of size x size pixels; a remainder at the lower and right border is dropped."""
    # One axis after the other: XLA on CPU reduces two axes that are not neighbours several times slower.
    return _squares(x, size).mean(axis=2).mean(axis=3)


def max_pool(x: Images, size: int) -> Pooled:
    """The maximum over squares of size x size pixels; a remainder at the lower and right border is dropped."""
    return _squares(x, size).max(axis=2).max(axis=3)


def _squares(x: Images, size: int) -> Float[Array, "channels rows size columns size batch"]:
    channels, height, width, batch = x.shape
    x = x[:, : height // size * size, : width // size * size]
    return x.reshape(channels, height // size, size, width // size, size, batch)


POOLINGS: dict[str, Callable[[Images, int], Pooled]] = {"mean": mean_pool, "max": max_pool}


def flatten(x: Images) -> Float[Array, "batch features"]:
    """Every site keeps its own features: the classifier may use where something was seen."""
    return x.reshape(-1, x.shape[-1]).T


def global_average(x: Images) -> Float[Array, "batch channels"]:
    """The mean over all sites: the classifier sees what, not where."""
    return x.mean(axis=1).mean(axis=1).T


READOUTS: dict[str, Callable[[Images], Float[Array, "batch features"]]] = {
    "flatten": flatten,
    "global_average": global_average,
}

BIASES = ("own", "site", "channel", "none")
"""The constraint's own; U[i, j] for each output site and channel; one u for each channel (D2L 7.1.2.1); none."""


PRECISIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "float32": lambda array: array,
    "bfloat16": lambda array: array.astype(jnp.bfloat16),
}
"""What images and weights of a constrained layer are rounded to before they are multiplied. The matrix unit sums products
in float32, and everything else is computed in float32.
"""


def multiply(
    precision: str,
    constraint: str,
    x: Inputs,
    weights: FreeWeights,
    geometry: Geometry,
    delta: int | None,
    formulation: str | None = None,
) -> Outputs:
    """W X of a constrained layer (see `choose.apply`), of operands in that precision."""
    rounded = errors.find("precision", precision, PRECISIONS)
    product = choose.apply(constraint, rounded(x), rounded(weights), geometry, delta, formulation)
    return product.astype(x.dtype)


class ConstrainedLayer(nn.Module):
    """H = bias + W X with W under a registered constraint (D2L 7.1.2).

    Weights are normal with variance gain * inverse fan-in (see `ties.inverse_fan_in`), divided by the input channels.
    With a rank, H[i, j] = bias + sum_r w_r[i, j] (W_r X)[i, j] (see `low_rank`), each w_r initially rank^-1/2: that keeps
    the variance, and starts a convolution's banks as a convolution (as Elsayed et al. 2020 do).
    Raises InputError for a name that is not registered, and for images that are not of the geometry.
    """

    constraint: str
    geometry: Geometry
    out_channels: int
    delta: int | None = None
    bias: str = "own"
    gain: float = 1.0
    formulation: str | None = None
    precision: str = "float32"
    rank: int | None = None

    @nn.compact
    def __call__(self, x: Inputs) -> Outputs:
        weights = self.param("weights", self._initial_weights, x.shape[0])
        layer = (self.geometry, self.delta, self.formulation)
        activations = multiply(self.precision, self.constraint, x, weights, *layer)
        sites = (self.geometry.output_height, self.geometry.output_width)
        if self.rank is not None:
            equal = nn.initializers.constant(1 / math.sqrt(self.rank))
            combining = self.param("combining", equal, (self.rank, *sites), jnp.float32)
            activations = combine(activations, combining[None])
        if self.bias not in BIASES:
            raise errors.unknown_name("bias", self.bias, BIASES)
        if self.bias == "none":
            return activations
        sites = sites if self._bias_per_site() else (1, 1)
        return activations + self.param("bias", nn.initializers.zeros, (self.out_channels, *sites, 1), jnp.float32)

    def _bias_per_site(self) -> bool:
        return self.bias == "site" or (self.bias == "own" and ties.find(self.constraint).bias_per_site)

    def _initial_weights(self, key: jax.Array, in_channels: int) -> jax.Array:
        inverse_fan_in = ties.inverse_fan_in(self.constraint, self.geometry, self.delta)
        deviation = np.sqrt(self.gain * inverse_fan_in / in_channels).astype(np.float32)
        channels = self.out_channels * (self.rank or 1)
        return draw_normal(key, (in_channels, len(deviation), channels)) * deviation[:, None]


def draw_normal(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Standard normal numbers: those of `jax.random.normal`, drawn as a vector.

    XLA on CPU takes up to ten times as long to compile the same draw over several axes.
    """
    return jax.random.normal(key, (math.prod(shape),), jnp.float32).reshape(shape)


def lecun_normal(key: jax.Array, shape: tuple[int, int], dtype: Any) -> jax.Array:
    """Variance 1 / fan-in, for a layer without activation (LeCun et al. 1998, section 4.6)."""
    return (draw_normal(key, shape) / math.sqrt(shape[0])).astype(dtype)


class LayerShape(NamedTuple):
    """What one layer of a network adds to those before it."""

    geometry: Geometry
    out_channels: int
    delta: int | None
    pool_size: int


class Network(nn.Module):
    """Constrained layers, each followed by the activation and pooling; a readout; a linear classifier.

    Called with images [batch, height, width, channels], returns logits [batch, classes]. `first`: what the first layer
    hands on, where it is known already.
    Raises InputError for a name that is not registered, and for images that are not of the first layer's geometry.
    """

    constraint: str
    layers: tuple[LayerShape, ...]
    classes: int
    activation: str = "relu"
    pooling: str = "mean"
    readout: str = "flatten"
    bias: str = "own"
    precision: str = "float32"
    rank: int | None = None

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], first: Outputs | None = None
    ) -> Float[Array, "batch classes"]:
        gain = errors.find("activation", self.activation, ACTIVATIONS).gain
        read_out = errors.find("readout", self.readout, READOUTS)
        x = images.transpose(3, 1, 2, 0)
        for number, layer in enumerate(self.layers):
            if number == 0 and first is not None:
                x = first
                continue
            constrained = ConstrainedLayer(
                self.constraint,
                layer.geometry,
                layer.out_channels,
                layer.delta,
                self.bias,
                gain,
                precision=self.precision,
                rank=self.rank,
                name=f"layer_{number}",
            )
            x = hand_on(self, layer, constrained(x))
        return nn.Dense(self.classes, kernel_init=lecun_normal, name="classifier")(read_out(x))


def hand_on(network: Network, layer: LayerShape, h: Outputs) -> Pooled:
    """The activation and the pooling that follow a layer."""
    x = errors.find("activation", network.activation, ACTIVATIONS).apply(h)
    pool = errors.find("pooling", network.pooling, POOLINGS)
    return pool(x, layer.pool_size) if layer.pool_size > 1 else x


def logits_of_lanes(
    network: Network, lanes: Sequence[Any], images: Float[Array, "batch height width channels"]
) -> list[Float[Array, "batch classes"]]:
    """What each of several networks of one shape, given by their parameters, says of the same images.

    To its images a layer of several lanes is one layer with the output channels of all: patches and spectra are made
    once, and one product multiplies them with the weights of all lanes. What it hands on is cut into lanes again.
    """
    if not choose.joins_lanes(network.constraint):
        return [network.apply({"params": lane}, images) for lane in lanes]  # type: ignore[misc]
    layer, parameters = network.layers[0], [lane["layer_0"] for lane in lanes]
    weights = jnp.concatenate([one["weights"] for one in parameters], axis=2)
    operands = (images.transpose(3, 1, 2, 0), weights)
    h = multiply(network.precision, network.constraint, *operands, layer.geometry, layer.delta)
    if network.rank is not None:
        h = combine(h, jnp.stack([one["combining"] for one in parameters]))
    if network.bias != "none":
        h = h + jnp.concatenate([one["bias"] for one in parameters])
    parts = jnp.split(hand_on(network, layer, h), len(lanes))
    return [network.apply({"params": lane}, images, part) for lane, part in zip(lanes, parts, strict=True)]  # type: ignore[misc]
