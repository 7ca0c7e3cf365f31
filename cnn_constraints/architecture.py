"""From a config to a network: the registry of networks, and what each has and costs."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from cnn_constraints import errors
from cnn_constraints.errors import InputError
from cnn_constraints.experiment import Model, per_layer
from cnn_constraints.functional import Layer
from cnn_constraints.lattice import constraints, low_rank
from cnn_constraints.lattice.counts import sizes
from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.network import ACTIVATIONS, READOUTS, AnyNetwork, Network
from cnn_constraints.ops import choose

ImageShape = tuple[int, int, int]
"""height, width, channels."""

PADDINGS = {"same": 0, "valid": 1, "full": -1}
"""By what delta is multiplied to give the margin: see `Geometry`."""

WINDOWS_OF_SHARED = 8
"""How many numbers a layer that sees the whole image makes of one of its inputs: its spectra, in parts and twice."""


MOST_TOLD = 300
"""Characters of what a user's program raises."""


def build_network(model: Model, image_shape: ImageShape, classes: int) -> AnyNetwork:
    """The network of a config for images [height, width, channels].

    Raises InputError as the functions of NETWORKS do, and for what is no network: its logits must be [batch, classes].
    """
    make = errors.find("model.network", model.network, NETWORKS)
    try:
        network = make(model, image_shape, classes)
        if isinstance(network, Network):
            return network
        found = jnp.shape(jax.eval_shape(partial(_answer, network, image_shape), jax.random.key(0)))
    except InputError:
        raise
    except Exception as error:
        # It is the user's program: whatever it raises is the user's to mend.
        told = " ".join(str(error).split())
        raise InputError(f"model.network {model.network} fails, {type(error).__name__}: {told[:MOST_TOLD]}.") from None
    if found != (1, classes):
        raise InputError(f"model.network {model.network} gives logits of shape {found}: it must be {(1, classes)}.")
    return network


def plain(model: Model, image_shape: ImageShape, classes: int) -> Network:
    """Layers one after the other.

    Where a later layer's image is smaller than delta reaches, the layer sees all of it; but not under another padding than
    "same", which counts from delta. Raises InputError where delta is larger than the image, where a tile or rank is larger
    than has an effect, where padding, pooling and strides leave no pixel, and where a constraint needs a tie table that is
    too large to write.
    """
    height, width, in_channels = image_shape
    gain, count = ACTIVATIONS[model.activation].gain, len(model.channels)
    each = (per_layer(model.constraint, count), per_layer(model.delta, count))
    layers: list[Layer] = []
    for *of_layer, channels, stride, pool_size in zip(
        *each, model.channels, model.strides, model.pool_sizes, strict=True
    ):
        constraint, delta, number = *of_layer, len(layers) + 1
        whole = Geometry(height, width)
        if model.padding == "same":
            if not layers:
                whole.check_delta(delta)
            delta = None if delta is None else min(delta, max(height, width) - 1)
        try:
            whole.check_delta(delta)
            geometry = Geometry(height, width, stride, model.boundary, PADDINGS[model.padding] * (delta or 0))
        except InputError as error:
            raise InputError(f"model.padding is {model.padding}: in layer {number} {error}") from None
        tied = constraints.find(low_rank.bank_of(constraint))
        bias = {"own": "site" if tied.bias_per_site else "channel", "none": None}.get(model.bias, model.bias)
        if bias == "channel" and model.normalisation == "batch":
            # It goes away with the mean: its gradient would be rounding, which Adam would follow.
            bias = None
        of_constraint = (delta, model.tile, low_rank.rank_of(constraint, model.rank))
        layer = Layer(constraint, geometry, in_channels, channels, *of_constraint, bias, gain, model.precision)
        if layer.tied_by not in choose.FORMULATIONS:
            constraints.require_table_fits(geometry)
        if constraint not in {one.constraint for one in layers}:
            _check_effect(layer, number)
        layers.append(layer)
        in_channels = channels
        height, width = geometry.output_height // pool_size, geometry.output_width // pool_size
        if not height or not width:
            raise InputError(
                f"model.strides {model.strides} and model.pool_sizes {model.pool_sizes} leave no pixel of an image of "
                f"{image_shape[0]} x {image_shape[1]} after layer {number}: make them smaller."
            )
    names = (model.activation, model.pooling, model.readout)
    added = {"normalisation": model.normalisation, "hidden": model.hidden}
    return Network(tuple(layers), model.pool_sizes, classes, *names, stored=True, **added)


def residual(model: Model, image_shape: ImageShape, classes: int) -> Network:
    """`plain`, with the identity around every layer that gives what it is given: as many channels and sites.

    Raises InputError as `plain` does, and where there is no such layer.
    """
    network = plain(model, image_shape, classes)
    if not any(layer.in_channels == layer.out_channels and _keeps_sites(layer) for layer in network.layers):
        raise InputError(
            f"model.network is residual: no layer of model.channels {model.channels} and model.strides {model.strides} "
            f"gives as many channels and sites as it is given, so that nothing would be added."
        )
    return network.clone(residual=True)


NETWORKS: dict[str, Callable[[Model, ImageShape, int], AnyNetwork]] = {"plain": plain, "residual": residual}
"""By the name of `model.network`: functions of a config, the shape of an image and the number of classes. A network is any
Flax module that takes images [batch, height, width, channels] and returns logits [batch, classes]. One with variables
beside its parameters, such as running statistics, is given train=True with the batches that it is trained on.
"""


def _keeps_sites(layer: Layer) -> bool:
    return layer.sites == (layer.geometry.height, layer.geometry.width)


def _check_effect(layer: Layer, number: int) -> None:
    """Of the first layer under a constraint: later ones see smaller images."""
    geometry = layer.geometry
    sides = f"{geometry.output_height} x {geometry.output_width}"
    tile, largest = constraints.tile_of(layer.tied_by, layer.tile), max(geometry.output_height, geometry.output_width)
    if tile is not None and tile > largest:
        raise InputError(
            f"model.tile is {tile}: layer {number} has {sides} output sites, so that more than {largest} would have no "
            f"effect."
        )
    if layer.rank is None:
        return
    bank = layer.in_channels * layer.out_channels * sizes(layer.tied_by, geometry, layer.delta).weights
    if layer.rank > (largest := low_rank.largest_rank(bank, geometry)):
        raise InputError(
            f"model.rank is {layer.rank}: layer {number} has {sides} output sites and filter banks of {bank} weights, so "
            f"that more than {largest} would have no effect."
        )


class Cost(NamedTuple):
    """Of the whole network: parameters with biases and classifier, and multiply-adds of the definition per image. None of
    these for a network of the user's own, whose definition is not known.
    """

    parameters: int
    multiply_adds: int | None


def cost(network: AnyNetwork, image_shape: ImageShape) -> Cost:
    """Parameters and multiply-adds of a network, from the closed forms; of a user's own the parameters, from their shapes.

    Normalisation has a gain and a bias a channel; its multiply-adds are not counted.
    """
    if not isinstance(network, Network):
        shapes: Any = jax.eval_shape(network.init, jax.random.key(0), *_images(image_shape))
        return Cost(sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes["params"])), None)
    counted, last, pool = [layer.count for layer in network.layers], network.layers[-1], network.pool_sizes[-1]
    pooled = jax.ShapeDtypeStruct((last.out_channels, *(side // pool for side in last.sites), 1), jnp.float32)
    widths = [jax.eval_shape(READOUTS[network.readout], pooled).shape[1]]
    widths += [] if network.hidden is None else [network.hidden]
    biases = [] if network.normalisation == "batch" else widths[1:]
    products = [one * other for one, other in zip(widths, [*widths[1:], network.classes], strict=True)]
    channels = [layer.out_channels for layer in network.layers] + widths[1:]
    normalised = 0 if network.normalisation == "none" else sum(channels)
    of_head = sum(products) + sum(biases) + network.classes
    parameters = sum(count.parameters for count in counted) + of_head + 2 * normalised
    return Cost(parameters, sum(count.multiply_adds for count in counted) + sum(products))


def activations(network: AnyNetwork, image_shape: ImageShape) -> int:
    """About how many numbers a network makes of an image: the windows that each layer copies, its output and what comes of
    that.
    """
    if isinstance(network, Network):
        return sum(
            layer.in_channels * layer.geometry.input_sites * _windows(layer)
            + 2 * layer.out_channels * layer.geometry.output_sites
            for layer in network.layers
        )
    seen: Any = lambda key: network.init_with_output(key, *_images(image_shape), capture_intermediates=True)[1]
    outputs = jax.eval_shape(seen, jax.random.key(0)).get("intermediates", {})
    return math.prod(image_shape) + 2 * sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(outputs))


def _answer(network: AnyNetwork, image_shape: ImageShape, key: jax.Array) -> jax.Array:
    """Logits of one image, as training asks for them."""
    logits, variables = network.init_with_output(key, *_images(image_shape))
    if moved := [name for name in variables if name != "params"]:
        return network.apply(variables, *_images(image_shape), train=True, mutable=moved)[0]
    return logits


def _windows(layer: Layer) -> int:
    return WINDOWS_OF_SHARED if layer.delta is None else (2 * layer.delta + 1) ** 2


def _images(image_shape: ImageShape) -> tuple[jax.Array]:
    return (jnp.zeros((1, *image_shape)),)
