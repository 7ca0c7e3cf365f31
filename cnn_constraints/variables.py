"""Networks as points of the lattice: `expand`, `embed`, `project` and `violation` for Flax variables, biases included.

Each takes variables, the modules that they are of and for, and an example of what these are called with. The modules agree
in everything but the constraints of their `ConstrainedLayer`s; whatever else they hold stays as it is.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cnn_constraints.arrays import AbsoluteWeights, FreeWeights
from cnn_constraints.errors import InputError
from cnn_constraints.functional import Layer, Parameters, kernel_shape
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
    layers = layers_of(module, *inputs, **options)
    return _replaced(variables, {p: _expand(layer, _at(variables, p, layer)) for p, layer in layers.items()})


def embed(variables: Variables, module: nn.Module, weaker: nn.Module, *inputs: Any, **options: Any) -> Variables:
    """Variables with which `weaker` computes the very function that `module` computes.

    Raises InputError where a layer of `weaker` does not allow what that of `module` does, and where the two differ in more
    than constraints.
    """
    return _between(variables, module, weaker, _embed, *inputs, **options)


def project(variables: Variables, module: nn.Module, onto: nn.Module, *inputs: Any, **options: Any) -> Variables:
    """The variables of `onto` whose layers are nearest to those of `module`: the orthogonal projection of each W, and of U.

    Raises InputError where the two differ in more than constraints.
    """
    return _between(variables, module, onto, _project, *inputs, **options)


def violation(
    variables: Variables, module: nn.Module, stronger: nn.Module, *inputs: Any, **options: Any
) -> Float[Array, ""]:
    """||W - P W|| / ||W|| of all constrained layers together, P the projection onto the layers of `stronger`: 0 to 1.

    Raises InputError where the two differ in more than constraints.
    """
    layers, others = _layers_of_both(module, stronger, *inputs, **options)
    distance = norm = jnp.zeros(())
    for path, layer in layers.items():
        _require_subspace(others[path])
        absolute = _absolute(layer, _at(variables, path, layer))
        nearest = projection.expand(projection.project(absolute, others[path].ties), others[path].ties, layer.geometry)
        distance, norm = distance + jnp.sum((absolute - nearest) ** 2), norm + jnp.sum(absolute**2)
    return jnp.sqrt(distance / jnp.where(norm > 0, norm, 1))


def _expand(layer: Layer, parameters: Parameters) -> dict[str, Array]:
    sites = (layer.geometry.output_height, layer.geometry.output_width, layer.out_channels)
    bias = parameters.get("bias", jnp.zeros(layer.out_channels))
    return {"kernel": _absolute(layer, parameters), "bias": jnp.broadcast_to(bias, sites)}


def _embed(layer: Layer, weaker: Layer, parameters: Parameters) -> dict[str, Array]:
    allowed = constraints.ties("local", layer.geometry, layer.delta) if layer.rank else layer.ties
    if weaker.rank or not leq(allowed, weaker.ties):
        raise InputError(f"A layer of {weaker.constraint} does not allow what one of {layer.constraint} does.")
    if layer.bias == "site" != weaker.bias or (layer.bias and not weaker.bias):
        raise InputError(f"A bias for each {layer.bias} has no place in a layer with {_bias_in_words(weaker)}.")
    if layer.rank:
        return _project(layer, weaker, parameters)
    free = projection.embed(_free(layer, parameters), layer.ties, weaker.ties)
    return _with_bias({"kernel": _kernel(weaker, free)}, layer, weaker, parameters)


def _project(layer: Layer, onto: Layer, parameters: Parameters) -> dict[str, Array]:
    _require_subspace(onto)
    if layer.rank is None and leq(onto.ties, layer.ties):
        free = projection.class_means(_free(layer, parameters), projection.classes(onto.ties, layer.ties))
    else:
        free = projection.project(_absolute(layer, parameters), onto.ties)
    return _with_bias({"kernel": _kernel(onto, free)}, layer, onto, parameters)


def _require_subspace(layer: Layer) -> None:
    if layer.rank:
        raise InputError(f"{layer.constraint} is no linear subspace: there is no projection onto it.")


def _with_bias(found: dict[str, Array], layer: Layer, other: Layer, parameters: Parameters) -> dict[str, Array]:
    """The nearest bias of the other layer: the mean over sites where it has one constant a channel."""
    bias = parameters.get("bias", jnp.zeros(layer.out_channels, found["kernel"].dtype))
    if other.bias == "site":
        found["bias"] = jnp.broadcast_to(
            bias, (other.geometry.output_height, other.geometry.output_width, bias.shape[-1])
        )
    elif other.bias == "channel":
        found["bias"] = bias.mean(axis=tuple(range(bias.ndim - 1)))
    return found


def _absolute(layer: Layer, parameters: Parameters) -> AbsoluteWeights:
    if layer.rank is None:
        return projection.expand(_free(layer, parameters), layer.ties, layer.geometry)
    return projection.expand_banks(_free(layer, parameters), parameters["combining"], layer.ties, layer.geometry)


def _free(layer: Layer, parameters: Parameters) -> FreeWeights:
    """[in, weights, out], or of filter banks [in, weights, rank * out]."""
    banks = parameters["kernel"].reshape(layer.rank or 1, -1, layer.in_channels, layer.out_channels)
    return banks.transpose(2, 1, 0, 3).reshape(layer.in_channels, banks.shape[1], -1)


def _kernel(layer: Layer, free: FreeWeights) -> Array:
    return free.transpose(1, 0, 2).reshape(kernel_shape(layer))


def _bias_in_words(layer: Layer) -> str:
    return f"one for each {layer.bias}" if layer.bias else "none"


def _between(
    variables: Variables, module: nn.Module, other: nn.Module, change: Callable, *inputs: Any, **options: Any
) -> Variables:
    layers, others = _layers_of_both(module, other, *inputs, **options)
    changed = {p: change(layer, others[p], _at(variables, p, layer)) for p, layer in layers.items()}
    return _replaced(variables, changed)


def _layers_of_both(
    module: nn.Module, other: nn.Module, *inputs: Any, **options: Any
) -> tuple[dict[Path, Layer], dict[Path, Layer]]:
    layers, others = (layers_of(each, *inputs, **options) for each in (module, other))
    if set(layers) != set(others):
        odd = min(set(layers) ^ set(others))
        raise InputError(
            f"Only one of the two modules has the constrained layer {_named(odd)}: both must have all, under the same "
            f"names, so give layers of different kinds a name."
        )
    for path, layer in layers.items():
        for what in ("geometry", "in_channels", "out_channels"):
            one, two = getattr(layer, what), getattr(others[path], what)
            if one != two:
                raise InputError(
                    f"The layers {_named(path)} differ in {what}, {one} and {two}: they may differ in constraints alone."
                )
    return layers, others


def _at(variables: Variables, path: Path, layer: Layer) -> Parameters:
    """The parameters of a layer. Raises InputError where they are missing or of another layer."""
    found: Any = variables
    for name in ("params", *path):
        found = found.get(name) if hasattr(found, "get") else None
    if found is None or "kernel" not in found:
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


def _replaced(variables: Variables, changed: dict[Path, dict[str, Array]]) -> Variables:
    """The variables with the parameters at some paths exchanged."""

    def walk(tree: Any, path: Path) -> Any:
        if path in changed:
            return changed[path]
        return {name: walk(one, (*path, name)) for name, one in tree.items()} if hasattr(tree, "items") else tree

    return {**variables, "params": walk(variables["params"], ())}


def _named(path: Path) -> str:
    return "/".join(path) or "of the module"
