"""Networks as points of the lattice: `expand`, `embed`, `project` and `violation` for Flax variables, biases included.

Each takes variables, the modules that they are of and for, and an example of what these are called with. The modules agree
in everything but the constraints of their `ConstrainedLayer`s; whatever else they hold stays as it is.
"""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float

from cnn_constraints.arrays import AbsoluteWeights
from cnn_constraints.errors import InputError
from cnn_constraints.functional import Layer, Parameters, free_weights, kernel_of, kernel_shape
from cnn_constraints.lattice import constraints, projection
from cnn_constraints.lattice.order import leq
from cnn_constraints.layer import ConstrainedLayer, describe

Variables = Any
Path = tuple[str, ...]


def layers_of(module: nn.Module, *inputs: Any, **options: Any) -> dict[Path, Layer]:
    """Every constrained layer of a module that is called with these inputs, by its path among the parameters.

    Nothing is computed. Raises InputError where there is none, and where one is called with images of several sizes.
    """
    found: dict[Path, Layer] = {}

    def note(call: Callable, arguments: Any, keywords: Any, context: Any) -> Any:
        if isinstance(context.module, ConstrainedLayer) and context.method_name == "__call__":
            path, images = context.module.path, (*arguments, *keywords.values())[0]
            layer = describe(context.module, jnp.shape(images))
            if found.setdefault(path, layer) != layer:
                raise InputError(f"The layer {_named(path)} is called with images of several sizes, and fits one only.")
        return call(*arguments, **keywords)

    with nn.intercept_methods(note):
        jax.eval_shape(lambda: module.init(jax.random.key(0), *inputs, **options))
    if not found:
        raise InputError(f"{type(module).__name__} has no ConstrainedLayer in it.")
    return found


def expand(variables: Variables, module: nn.Module, *inputs: Any, **options: Any) -> Variables:
    """The variables with every constrained layer written out: `kernel` is W[i, j, k, l, c, d] and `bias` U[i, j, d] of
    D2L 7.1.2.

    Raises InputError where a tie table is too large to write, and where variables are not those of the module.
    """
    written = {}
    for path, layer in layers_of(module, *inputs, **options).items():
        own = _at(variables, path, layer)
        bias = jnp.broadcast_to(_bias(layer, own), (*layer.sites, layer.out_channels))
        written[path] = {"kernel": _absolute(layer, own), "bias": bias}
    return _replaced(variables, written)


def embed(variables: Variables, module: nn.Module, weaker: nn.Module, *inputs: Any, **options: Any) -> Variables:
    """Variables with which `weaker` computes the very function that `module` computes.

    Raises InputError where a layer of `weaker` does not allow what that of `module` does, and where the two differ in more
    than constraints.
    """
    both = _layers_of_both(module, weaker, *inputs, **options)
    for layer, other in both.values():
        _require_weaker(layer, other)
    return _nearest(variables, both)


def project(variables: Variables, module: nn.Module, onto: nn.Module, *inputs: Any, **options: Any) -> Variables:
    """The variables of `onto` whose layers are nearest to those of `module`: the orthogonal projection of each W, and of U.

    Raises InputError where the two differ in more than constraints.
    """
    return _nearest(variables, _layers_of_both(module, onto, *inputs, **options))


def violation(
    variables: Variables, module: nn.Module, stronger: nn.Module, *inputs: Any, **options: Any
) -> Float[Array, ""]:
    """||W - P W|| / ||W|| of all constrained layers together, P the projection onto the layers of `stronger`: 0 to 1.

    Raises InputError where the two differ in more than constraints.
    """
    distance = norm = jnp.zeros(())
    for path, (layer, other) in _layers_of_both(module, stronger, *inputs, **options).items():
        _require_subspace(other)
        absolute = _absolute(layer, _at(variables, path, layer))
        allowed = projection.expand(projection.project(absolute, other.ties), other.ties, layer.geometry)
        distance, norm = distance + jnp.sum((absolute - allowed) ** 2), norm + jnp.sum(absolute**2)
    return jnp.sqrt(distance / jnp.where(norm > 0, norm, 1))


def _nearest(variables: Variables, both: dict[Path, tuple[Layer, Layer]]) -> Variables:
    """The variables of the other layers whose W and U are nearest: the same W where their constraint is weaker."""
    changed = {}
    for path, (layer, other) in both.items():
        _require_subspace(other)
        own = _at(variables, path, layer)
        if layer.rank is None and leq(layer.ties, other.ties):
            classes = projection.classes(layer.ties, other.ties)
            free = projection.spread(free_weights(layer, own["kernel"]), classes)
        elif layer.rank is None and leq(other.ties, layer.ties):
            classes = projection.classes(other.ties, layer.ties)
            free = projection.class_means(free_weights(layer, own["kernel"]), classes)
        else:
            free = projection.project(_absolute(layer, own), other.ties)
        changed[path], bias = {"kernel": kernel_of(other, free)}, _bias(layer, own)
        if other.bias == "site":
            changed[path]["bias"] = jnp.broadcast_to(bias, (*other.sites, other.out_channels))
        elif other.bias == "channel":
            changed[path]["bias"] = bias.mean(axis=tuple(range(bias.ndim - 1)))
    return _replaced(variables, changed)


def _require_weaker(layer: Layer, weaker: Layer) -> None:
    allowed = constraints.ties("local", layer.geometry, layer.delta) if layer.rank else layer.ties
    if weaker.rank or not leq(allowed, weaker.ties):
        raise InputError(f"A layer of {weaker.constraint} does not allow what one of {layer.constraint} does.")
    freedom = (None, "channel", "site")
    if freedom.index(layer.bias) > freedom.index(weaker.bias):
        room = f"one for each {weaker.bias}" if weaker.bias else "none"
        raise InputError(f"A bias for each {layer.bias} has no place in a layer with {room}.")


def _require_subspace(layer: Layer) -> None:
    if layer.rank:
        raise InputError(f"{layer.constraint} is no linear subspace: there is no projection onto it.")


def _absolute(layer: Layer, own: Parameters) -> AbsoluteWeights:
    free = free_weights(layer, own["kernel"])
    if layer.rank is None:
        return projection.expand(free, layer.ties, layer.geometry)
    return projection.expand_banks(free, own["combining"], layer.ties, layer.geometry)


def _bias(layer: Layer, own: Parameters) -> Array:
    return own.get("bias", jnp.zeros(layer.out_channels, own["kernel"].dtype))


def _layers_of_both(
    module: nn.Module, other: nn.Module, *inputs: Any, **options: Any
) -> dict[Path, tuple[Layer, Layer]]:
    layers, others = (layers_of(each, *inputs, **options) for each in (module, other))
    if odd := set(layers) ^ set(others):
        raise InputError(
            f"Only one of the two modules has the constrained layer {_named(min(odd))}: both must have all, under the "
            f"same names, so give layers of different kinds a name."
        )
    for path, layer in layers.items():
        for what in ("geometry", "in_channels", "out_channels"):
            one, two = getattr(layer, what), getattr(others[path], what)
            if one != two:
                raise InputError(
                    f"The layers {_named(path)} differ in {what}, {one} and {two}: they may differ in constraints alone."
                )
    return {path: (layer, others[path]) for path, layer in layers.items()}


def _at(variables: Variables, path: Path, layer: Layer) -> Parameters:
    """The parameters of a layer. Raises InputError where they are missing or of another layer."""
    leaves: Any = flatten_dict(variables.get("params", {}))
    found: Any = {name: leaf for (*parents, name), leaf in leaves.items() if tuple(parents) == path}
    if "kernel" not in found:
        raise InputError(
            f"The variables have no {'/'.join(('params', *path, 'kernel'))}: they must be those of the module, as its init "
            f"gives them."
        )
    if jnp.shape(found["kernel"]) != kernel_shape(layer):
        raise InputError(
            f"The kernel {_named(path)} has the shape {jnp.shape(found['kernel'])}: for {layer.constraint} on the "
            f"example it must be {kernel_shape(layer)}."
        )
    return found


def _replaced(variables: Variables, changed: Mapping[Path, Parameters]) -> Variables:
    """The variables with the parameters at some paths exchanged."""
    leaves = flatten_dict(variables["params"], keep_empty_nodes=True)
    kept = {path: leaf for path, leaf in leaves.items() if path[:-1] not in changed}
    new = {(*path, name): leaf for path, own in changed.items() for name, leaf in own.items()}
    return {**variables, "params": unflatten_dict(kept | new)}


def _named(path: Path) -> str:
    return "/".join(path) or "of the module"
