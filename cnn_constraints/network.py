"""Networks made of constrained layers, with what follows each of them, a readout and a classifier."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeGuard

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cnn_constraints import errors
from cnn_constraints.arrays import Inputs, Outputs
from cnn_constraints.functional import (
    Layer,
    Parameters,
    canonical_parameters,
    draw_normal,
    initialisers,
    respond,
    stored_parameters,
)
from cnn_constraints.layer import ConstrainedLayer
from cnn_constraints.ops import choose


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


def global_max(x: Images) -> Float[Array, "batch channels"]:
    """The maximum over all sites: the classifier sees whether, not where."""
    return x.max(axis=1).max(axis=1).T


READOUTS: dict[str, Callable[[Images], Float[Array, "batch features"]]] = {
    "flatten": flatten,
    "global_average": global_average,
    "global_max": global_max,
}


# The gains are one a channel whatever the constraint, so that normalisation gives no site weights of its own.
NORMALISATIONS: dict[str, Callable[[bool, str], nn.Module] | None] = {
    "none": None,
    # Ba et al. 2016, equation 3: over all units of a layer, for each image.
    "layer": lambda train, name: nn.LayerNorm(reduction_axes=(0, 1, 2), feature_axes=0, name=name),
    # Ioffe & Szegedy 2015, algorithms 1 and 2: over all sites and the images of a batch, or as they were while training.
    "batch": lambda train, name: nn.BatchNorm(axis=0, momentum=0.9, use_running_average=not train, name=name),
}


def lecun_normal(key: jax.Array, shape: tuple[int, int], dtype: Any) -> jax.Array:
    """Variance 1 / fan-in, for a layer without activation (LeCun et al. 1998, section 4.6)."""
    return (draw_normal(key, shape) / math.sqrt(shape[0])).astype(dtype)


AnyNetwork = nn.Module
"""Takes images [batch, height, width, channels], returns logits [batch, classes]."""


class StoredLayer(nn.Module):
    """A layer inside the engine: images [channels, height, width, batch], parameters in storage order."""

    layer: Layer

    @nn.compact
    def __call__(self, x: Inputs) -> Outputs:
        return respond(self.layer, x, [{name: self.param(name, f) for name, f in initialisers(self.layer).items()}])


class Network(nn.Module):
    """Constrained layers, each followed by normalisation, activation and pooling; a readout; a linear classifier.

    Called with images [batch, height, width, channels], returns logits [batch, classes]. hidden: width of a dense layer,
    with normalisation and activation, before the classifier. residual: what a layer is given is added to what it gives,
    before the activation, wherever both have one shape (He et al. 2016, equation 1, with one layer a block).
    stored: whether its layers are those of the engine, whose parameters lie in storage order (see `stored_network`).
    first: what the first layer gives, after activation and pooling, where it is known already. train: whether batches are
    normalised by their own statistics, and the running ones, in the collection `batch_stats`, are moved.
    Raises InputError for a name that is not registered, and for images that are not of the first layer's geometry.
    """

    layers: tuple[Layer, ...]
    pool_sizes: tuple[int, ...]
    classes: int
    activation: str = "relu"
    pooling: str = "mean"
    readout: str = "flatten"
    stored: bool = False
    normalisation: str = "none"
    hidden: int | None = None
    residual: bool = False

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], first: Outputs | None = None, train: bool = False
    ) -> Float[Array, "batch classes"]:
        read_out = errors.find("readout", self.readout, READOUTS)
        normalisation = errors.find("normalisation", self.normalisation, NORMALISATIONS)
        normalise = lambda h, name: normalisation(train, f"normalisation_{name}")(h) if normalisation else h
        x = images.transpose(3, 1, 2, 0)
        for number, layer in enumerate(self.layers):
            if number == 0 and first is not None:
                x = first
                continue
            if self.stored:
                h = StoredLayer(layer, name=layer_name(number))(x)
            else:
                canonical: Any = ConstrainedLayer.of(layer, name=layer_name(number))(x.transpose(3, 1, 2, 0))
                h = canonical.transpose(3, 1, 2, 0)
            h = normalise(h, number)
            x = activate_and_pool(self, number, h + x if self.residual and h.shape == x.shape else h)
        features = read_out(x)
        if self.hidden is not None:
            activation = errors.find("activation", self.activation, ACTIVATIONS)
            kernel_init = lambda *given: math.sqrt(activation.gain) * lecun_normal(*given)
            use_bias = self.normalisation != "batch"
            h = nn.Dense(self.hidden, use_bias, kernel_init=kernel_init, name="hidden")(features)
            features = activation.apply(normalise(h.T[:, None, None], "hidden")[:, 0, 0].T)
        return nn.Dense(self.classes, kernel_init=lecun_normal, name="classifier")(features)


def layer_name(number: int) -> str:
    """Under which the parameters of a layer are found."""
    return f"layer_{number}"


def activate_and_pool(network: Network, number: int, h: Outputs) -> Pooled:
    """The activation and the pooling that follow a layer."""
    x = errors.find("activation", network.activation, ACTIVATIONS).apply(h)
    pool, size = errors.find("pooling", network.pooling, POOLINGS), network.pool_sizes[number]
    return pool(x, size) if size > 1 else x


def stored_layers(network: AnyNetwork) -> tuple[Layer, ...]:
    """The layers whose parameters the engine stores in an order of its own: a network of the user's own has none."""
    return network.layers if isinstance(network, Network) else ()


def on_layers(network: AnyNetwork, change: Callable[..., Any], tree: Any, *others: Any) -> dict[str, Any]:
    """The tree with change(layer, its part of the tree, and of the others) for each stored layer."""
    names = {layer_name(number): layer for number, layer in enumerate(stored_layers(network))}
    return {**tree, **{name: change(layer, *(one[name] for one in (tree, *others))) for name, layer in names.items()}}


def canonical_network(network: AnyNetwork, stored: Parameters) -> dict[str, Any]:
    """The parameters of the network as users see them and files hold them, from those of the engine."""
    return on_layers(network, canonical_parameters, stored)


def stored_network(network: AnyNetwork, canonical: Parameters) -> dict[str, Any]:
    """The inverse of `canonical_network`."""
    return on_layers(network, stored_parameters, canonical)


def logits_side_by_side(
    network: AnyNetwork, variables: Sequence[Any], images: Float[Array, "batch height width channels"]
) -> list[Float[Array, "batch classes"]]:
    """What each of several networks of one shape, given by their variables, says of the same images.

    Their first layers are computed as one, with the output channels of all, where nothing but an activation comes between;
    what it gives is cut up again.
    """
    if not _joins(network):
        return [network.apply(one, images) for one in variables]  # type: ignore[misc]
    first = [one["params"][layer_name(0)] for one in variables]
    h = activate_and_pool(network, 0, respond(network.layers[0], images.transpose(3, 1, 2, 0), first))
    parts = jnp.split(h, len(variables))
    return [network.apply(one, images, part) for one, part in zip(variables, parts, strict=True)]  # type: ignore[misc]


def _joins(network: AnyNetwork) -> TypeGuard[Network]:
    plain = isinstance(network, Network) and network.normalisation == "none" and not network.residual
    return plain and choose.joins_candidates(network.layers[0].constraint)
