"""Constraints that act on the training of a layer and not on the layer itself, as Optax transformations.

A network may be held to a stronger constraint until some update and be free of it from then on; it may be drawn to one
by a penalty; or its weights may be thinned out. How far it is from any stronger constraint is measured. Layers that are
under a constraint as strong already stay as they are, while another layer is not.
"""

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from cnn_constraints.errors import InputError
from cnn_constraints.functional import Layer
from cnn_constraints.lattice import constraints, projection
from cnn_constraints.lattice.order import leq
from cnn_constraints.network import AnyNetwork, layer_name, on_layers, stored_layers
from cnn_constraints.ops.choose import stored_ties
from cnn_constraints.training.optimizer import Scalar, only_weights

BETA_LASSO = "beta_lasso"


class SoftConstraints(NamedTuple):
    """switch_from: what the layers obey before update `switch_at`. penalty: BETA_LASSO, or what the layers are drawn to.
    threshold: the beta of BETA_LASSO. violations: the constraints from which the distance is measured. own_bias: whether a
    layer's bias is that of its constraint, so that one held to a stronger constraint has the bias of that.
    """

    switch_from: str | None = None
    switch_at: int = 0
    penalty: str | None = None
    threshold: float = 0.0
    violations: tuple[str, ...] = ()
    own_bias: bool = True

    @property
    def stronger(self) -> set[str]:
        """The constraints that the network's own must contain."""
        named = {self.switch_from, self.penalty, *self.violations}
        return {name for name in named if name not in (None, BETA_LASSO)}


NONE = SoftConstraints()

WANTED = "training.switch_from, penalty and violations take constraints stronger than the model's"


def check(network: AnyNetwork, soft: SoftConstraints) -> None:
    """Raises InputError for a constraint that the network's own does not contain, or whose table is too large to write."""
    layers = stored_layers(network)
    if soft.stronger and not layers:
        raise InputError(f"{WANTED}: of the layers of a network of your own nothing is known, so leave them out.")
    if soft.stronger and any(layer.rank is not None for layer in layers):
        raise InputError(f"{WANTED}: low_rank_local is no tie of weights, and nothing is stronger than it.")
    for stronger in sorted(soft.stronger):
        if stronger not in [_obeyed(stronger, layer) for layer in layers]:
            raise InputError(f"{WANTED}: {stronger} is not stronger than {layers[0].constraint}.")


def constrain(
    optimizer: optax.GradientTransformation, network: AnyNetwork, soft: SoftConstraints, strength: Scalar
) -> optax.GradientTransformation:
    """The optimiser of a network under soft constraints; the penalty, times its strength, is part of the loss."""
    before, after = [], []
    if soft.penalty == BETA_LASSO:
        # Neyshabur 2020, algorithm 1: strength * |weights|_1 is part of the loss, and what a step leaves small becomes 0.
        shrink = lambda gradient, weights: gradient + strength * jnp.sign(weights)
        smallest = soft.threshold * strength
        cut = lambda change, weights: jnp.where(jnp.abs(weights + change) < smallest, -weights, change)
        for steps, change in ((before, shrink), (after, cut)):
            steps.append(optax.masked(optax.stateless(partial(jax.tree.map, change)), only_weights))
    elif soft.penalty is not None:
        before.append(draw(network, soft.penalty, strength))
    if soft.switch_from is not None:
        before.append(hold(network, soft.switch_from, soft.switch_at, soft.own_bias))
    return optax.chain(*before, optimizer, *after) if before else optimizer


def draw(network: AnyNetwork, stronger: str, strength: Scalar) -> optax.GradientTransformation:
    """Adds the gradient of strength / 2 * ||W - P W||^2 of each layer, P the projection onto the stronger constraint.

    From local to conv it is the weight-sharing penalty, from dense to local a penalty on far weights.
    """

    def add(layer: Layer, gradient: Any, parameters: Any) -> Any:
        pull = projection.excess(parameters["weights"], _classes(stronger, layer))
        return gradient | {"weights": gradient["weights"] + strength * pull}

    return optax.stateless(lambda gradients, parameters: on_layers(network, add, gradients, parameters))


def hold(network: AnyNetwork, stronger: str, until: int, own_bias: bool = True) -> optax.GradientTransformation:
    """Before update `until` every weight's gradient becomes the sum over its class, and 0 where it has none.

    A network that starts under the stronger constraint is then trained as the stronger layer itself would be, by any
    optimiser that treats coordinates apart; the optimiser's state is that of the stronger layer, embedded.
    """

    def tie(layer: Layer, gradient: Any) -> Any:
        classes = _classes(stronger, layer)
        tied = gradient | {"weights": projection.spread(projection.class_sums(gradient["weights"], classes), classes)}
        if _bias_is_tied(layer, stronger, own_bias):
            total = gradient["bias"].sum(axis=(1, 2), keepdims=True)
            if network.normalisation == "batch":
                # It takes a constant of each channel away, so that the stronger layer has none.
                total = jnp.zeros_like(total)
            tied |= {"bias": jnp.broadcast_to(total, gradient["bias"].shape)}
        return tied

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        tied = on_layers(network, tie, updates)
        # The state counts the updates that are done.
        return jax.tree.map(lambda one, other: jnp.where(state < until, one, other), tied, updates), state + 1

    return optax.GradientTransformation(lambda params: jnp.array(0), update)


def start(
    network: AnyNetwork, soft: SoftConstraints, key: jax.Array, image: Float[Array, "1 height width channels"]
) -> Any:
    """Initial variables: the network's own, or those of the constraint it is held to first, embedded."""
    if soft.switch_from is None:
        return network.init(key, image)
    stronger = soft.switch_from

    def under(layer: Layer) -> Layer:
        bias = "channel" if _bias_is_tied(layer, stronger, soft.own_bias) else layer.bias
        return dataclasses.replace(layer, constraint=_obeyed(stronger, layer), bias=bias)

    def embed(layer: Layer, own: Any) -> Any:
        embedded = own | {"weights": projection.spread(own["weights"], _classes(stronger, layer))}
        if layer.bias == "site":
            embedded |= {"bias": jnp.broadcast_to(own["bias"], (layer.out_channels, *layer.sites, 1))}
        return embedded

    held = network.clone(layers=tuple(under(layer) for layer in stored_layers(network)))
    variables = held.init(key, image)
    return {**variables, "params": on_layers(network, embed, variables["params"])}


def violations(network: AnyNetwork, soft: SoftConstraints, parameters: Any) -> dict[str, Float[Array, ""]]:
    """||W - P W|| / ||W|| over all layers together, for each constraint that is asked for: 0 to 1."""

    def of(stronger: str) -> Float[Array, ""]:
        distance = norm = 0.0
        for number, layer in enumerate(stored_layers(network)):
            weights, classes = parameters[layer_name(number)]["weights"], _classes(stronger, layer)
            pairs = classes.pairs.astype(weights.dtype)[None, :, None]
            distance += (projection.excess(weights, classes) ** 2 / pairs).sum()
            norm += (weights**2 * pairs).sum()
        return jnp.sqrt(distance / jnp.where(norm > 0, norm, 1))

    return {stronger: of(stronger) for stronger in soft.violations}


@constraints.cached
def _obeyed(stronger: str, layer: Layer) -> str:
    """What a layer that is held to a stronger constraint obeys: that, or its own where its own is stronger still.

    Raises InputError where neither contains the other.
    """
    own, other = _tables(layer.constraint, stronger, layer)
    if leq(other, own):
        return stronger
    if leq(own, other):
        return layer.constraint
    raise InputError(f"{WANTED}: {stronger} is not stronger than {layer.constraint}.")


@constraints.cached
def _classes(stronger: str, layer: Layer) -> projection.Classes:
    """Of the weights of a layer as they are stored, for those of what it obeys as those are stored."""
    return projection.classes(*_tables(_obeyed(stronger, layer), layer.constraint, layer))


def _tables(first: str, second: str, layer: Layer) -> list[constraints.Ties]:
    return [stored_ties(name, layer.geometry, layer.delta, layer.tile) for name in (first, second)]


def _bias_is_tied(layer: Layer, stronger: str, own_bias: bool) -> bool:
    """Whether what the layer obeys has one constant a channel where the layer has one a site."""
    return own_bias and layer.bias == "site" and not constraints.find(_obeyed(stronger, layer)).bias_per_site
