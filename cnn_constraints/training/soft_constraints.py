"""Constraints that act on the training of a layer and not on the layer itself, as Optax transformations.

A network may be held to a stronger constraint until some update and be free of it from then on; it may be drawn to one
by a penalty; or its weights may be thinned out. How far it is from any stronger constraint is measured.
"""

import dataclasses
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from cnn_constraints.errors import InputError
from cnn_constraints.functional import Layer
from cnn_constraints.lattice import constraints, projection
from cnn_constraints.lattice.order import Ties, leq
from cnn_constraints.network import Network, layer_name
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


def check(network: Network, soft: SoftConstraints) -> None:
    """Raises InputError for a constraint that the network's own does not contain, or whose table is too large to write."""
    if soft.stronger and any(layer.rank is not None for layer in network.layers):
        raise InputError(f"{WANTED}: low_rank_local is no tie of weights, and nothing is stronger than it.")
    for stronger in sorted(soft.stronger):
        for layer in network.layers:
            if not _is_stronger(stronger, layer):
                raise InputError(f"{WANTED}: {stronger} is not stronger than {layer.constraint}.")


def constrain(
    optimizer: optax.GradientTransformation, network: Network, soft: SoftConstraints, strength: Scalar
) -> optax.GradientTransformation:
    """The optimiser of a network under soft constraints; the penalty, times its strength, is part of the loss."""
    before, after = [], []
    if soft.penalty == BETA_LASSO:
        before.append(optax.masked(l1(strength), only_weights))
        after.append(optax.masked(threshold(soft.threshold * strength), only_weights))
    elif soft.penalty is not None:
        before.append(draw(network, soft.penalty, strength))
    if soft.switch_from is not None:
        before.append(hold(network, soft.switch_from, soft.switch_at, soft.own_bias))
    return optax.chain(*before, optimizer, *after) if before else optimizer


def l1(strength: Scalar) -> optax.GradientTransformation:
    """Adds the gradient of strength * |weights|_1."""
    return _of_each(lambda gradient, weights: gradient + strength * jnp.sign(weights))


def threshold(smallest: Scalar) -> optax.GradientTransformation:
    """Weights that an update leaves below `smallest` become 0: the last step of beta-LASSO (Neyshabur 2020, algorithm 1),
    after a step on the loss with `l1`.
    """
    return _of_each(lambda change, weights: jnp.where(jnp.abs(weights + change) < smallest, -weights, change))


def draw(network: Network, stronger: str, strength: Scalar) -> optax.GradientTransformation:
    """Adds the gradient of strength / 2 * ||W - P W||^2 of each layer, P the projection onto the stronger constraint.

    From local to conv it is the weight-sharing penalty, from dense to local a penalty on far weights.
    """

    def add(layer: Layer, gradient: Any, parameters: Any) -> Any:
        pull = projection.excess(parameters["weights"], _classes(stronger, layer))
        return gradient | {"weights": gradient["weights"] + strength * pull}

    return optax.stateless(lambda gradients, parameters: _on_layers(network, add, gradients, parameters))


def hold(network: Network, stronger: str, until: int, own_bias: bool = True) -> optax.GradientTransformation:
    """Before update `until` every weight's gradient becomes the sum over its class, and 0 where it has none.

    A network that starts under the stronger constraint is then trained as the stronger layer itself would be, by any
    optimiser that treats coordinates apart; the optimiser's state is that of the stronger layer, embedded.
    """

    def tie(layer: Layer, gradient: Any) -> Any:
        classes = _classes(stronger, layer)
        tied = gradient | {"weights": projection.spread(projection.class_sums(gradient["weights"], classes), classes)}
        if own_bias and _bias_is_tied(layer, stronger):
            total = gradient["bias"].sum(axis=(1, 2), keepdims=True)
            tied |= {"bias": jnp.broadcast_to(total, gradient["bias"].shape)}
        return tied

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        tied = _on_layers(network, tie, updates)
        # The state counts the updates that are done.
        return jax.tree.map(lambda one, other: jnp.where(state < until, one, other), tied, updates), state + 1

    return optax.GradientTransformation(lambda params: jnp.array(0), update)


def start(
    network: Network, soft: SoftConstraints, key: jax.Array, image: Float[Array, "1 height width channels"]
) -> Any:
    """Initial parameters: the network's own, or those of the constraint it is held to first, embedded."""
    if soft.switch_from is None:
        return network.init(key, image)["params"]
    stronger = soft.switch_from
    held = network.clone(layers=tuple(_under(stronger, layer, soft.own_bias) for layer in network.layers))
    parameters = held.init(key, image)["params"]

    def spread(layer: Layer, own: Any) -> Any:
        spread_ = own | {"weights": projection.spread(own["weights"], _classes(stronger, layer))}
        if soft.own_bias and _bias_is_tied(layer, stronger):
            height, width = layer.geometry.output_height, layer.geometry.output_width
            spread_ |= {"bias": jnp.broadcast_to(own["bias"], (layer.out_channels, height, width, 1))}
        return spread_

    return _on_layers(network, spread, parameters)


def _under(stronger: str, layer: Layer, own_bias: bool) -> Layer:
    """The layer under a stronger constraint, with the bias of that if it has one of its own."""
    bias = "channel" if own_bias and _bias_is_tied(layer, stronger) else layer.bias
    return dataclasses.replace(layer, constraint=stronger, bias=bias)


def violations(network: Network, soft: SoftConstraints, parameters: Any) -> dict[str, Float[Array, ""]]:
    """||W - P W|| / ||W|| over all layers together, for each constraint that is asked for: 0 to 1."""
    own = [(layer, parameters[name]["weights"]) for name, layer in _layers(network)]

    def of(stronger: str) -> Float[Array, ""]:
        distance = norm = 0.0
        for layer, weights in own:
            classes = _classes(stronger, layer)
            pairs = classes.pairs.astype(weights.dtype)[:, None]
            distance += (projection.excess(weights, classes) ** 2 / pairs).sum()
            norm += (weights**2 * pairs).sum()
        return jnp.sqrt(distance / jnp.where(norm > 0, norm, 1))

    return {stronger: of(stronger) for stronger in soft.violations}


@cache
def _is_stronger(stronger: str, layer: Layer) -> bool:
    return leq(*_tables(stronger, layer))


@cache
def _classes(stronger: str, layer: Layer) -> projection.Classes:
    """Of the weights of a layer as they are stored, for the weights of the stronger constraint as those are stored."""
    return projection.classes(*_tables(stronger, layer))


def _tables(stronger: str, layer: Layer) -> tuple[Ties, Ties]:
    one, other = (stored_ties(name, layer.geometry, layer.delta, layer.tile) for name in (stronger, layer.constraint))
    return one, other


def _bias_is_tied(layer: Layer, stronger: str) -> bool:
    """Whether the stronger constraint has one constant a channel where the layer has one a site."""
    return layer.bias == "site" and not constraints.find(stronger).bias_per_site


def _layers(network: Network) -> Iterator[tuple[str, Layer]]:
    return ((layer_name(number), layer) for number, layer in enumerate(network.layers))


def _on_layers(network: Network, change: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """The tree with change(layer, its part of the tree, and of the others) for each constrained layer."""
    return tree | {name: change(layer, *(one[name] for one in (tree, *others))) for name, layer in _layers(network)}


def _of_each(change: Callable[[Array, Array], Array]) -> optax.GradientTransformation:
    """A transformation that treats every weight by itself."""
    return optax.stateless(lambda updates, parameters: jax.tree.map(change, updates, parameters))
