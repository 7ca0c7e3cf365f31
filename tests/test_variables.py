"""Networks as points of the lattice: anyone's module is embedded, projected, expanded and measured, biases included."""

import itertools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exactly import close
from geometries import options_of
from random_variables import initial_shapes, random_variables

from cnn_constraints import variables as lattice
from cnn_constraints.errors import InputError
from cnn_constraints.lattice import constraints, low_rank, projection
from cnn_constraints.lattice.constraints import ties
from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.lattice.order import leq
from cnn_constraints.layer import ConstrainedLayer, Conv, Local, Shared

EXACTLY = pytest.mark.usefixtures("in_64_bits")
SHAPE = (2, 4, 5, 2)
STRONGER_AND_WEAKER = [
    (stronger, weaker)
    for stronger, weaker in itertools.permutations(constraints.CONSTRAINTS, 2)
    if leq(*(ties(name, Geometry(4, 5), 1, 2) for name in (stronger, weaker)))
]


def same(actual, desired) -> None:
    """Two trees of arrays."""
    assert jax.tree.structure(actual) == jax.tree.structure(desired)
    jax.tree.map(close, actual, desired)


class Net(nn.Module):
    """A network as anyone writes it: two constrained layers, one of them inside another module, and layers of Flax."""

    layer: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, images):
        x = nn.LayerNorm()(nn.tanh(self.layer(2, name="first")(images)))
        x = nn.tanh(Inner(self.layer, name="inner")(x))
        return nn.Dense(2)(x.reshape(*x.shape[:-3], -1))


class Inner(nn.Module):
    layer: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x):
        return self.layer(3, strides=2)(x)


def cell(constraint: str, **options) -> Callable[..., ConstrainedLayer]:
    return lambda features, **more: ConstrainedLayer(features, **options_of(constraint), **options, **more)


def require_the_same_function(module, variables, other, other_variables, images) -> None:
    first, second = jax.jit(lambda v, w, x: (module.apply(v, x), other.apply(w, x)))(variables, other_variables, images)
    close(first, second)


@EXACTLY
@pytest.mark.parametrize(
    ("stronger", "weaker"),
    [pytest.param(*pair, marks=[pytest.mark.slow] * (number % 2)) for number, pair in enumerate(STRONGER_AND_WEAKER)],
)
def test_embedding_keeps_the_function_and_projecting_undoes_it(stronger, weaker, draw):
    first, second, images = Net(cell(stronger)), Net(cell(weaker)), draw.normal(*SHAPE)
    variables = random_variables(first, images, draw)
    embedded = lattice.embed(variables, first, second, images)
    require_the_same_function(first, variables, second, embedded, images)
    for name in ("Dense_0", "LayerNorm_0"):
        same(embedded["params"][name], variables["params"][name])
    same(lattice.project(embedded, second, first, images), variables)
    close(lattice.violation(embedded, second, first, images), 0)


@EXACTLY
@pytest.mark.parametrize(("stronger", "weaker"), STRONGER_AND_WEAKER)
def test_projecting_is_idempotent_and_brings_the_violation_to_zero(stronger, weaker, draw):
    first, second, images = cell(stronger)(3), cell(weaker)(3), draw.normal(*SHAPE)
    variables = random_variables(second, images, draw)
    projected = lattice.project(variables, second, first, images)
    nearest = lattice.embed(projected, first, second, images)
    same(lattice.project(nearest, second, first, images), projected)
    assert lattice.violation(variables, second, first, images) > 1e-3
    close(lattice.violation(nearest, second, first, images), 0)


@EXACTLY
@pytest.mark.parametrize(
    "onto", ["local", "conv", *(pytest.param(name, marks=pytest.mark.slow) for name in ("shared", "tiled"))]
)
@pytest.mark.parametrize("constraint", low_rank.names())
def test_projection_and_violation_are_those_of_w(constraint, onto, draw):
    """Whether or not the other constraint is stronger."""
    module, other, images = cell(constraint, strides=2)(3), cell(onto, strides=2)(3), draw.normal(*SHAPE)
    variables = random_variables(module, images, draw)
    expanded = lattice.expand(variables, module, images)["params"]
    found = lattice.project(variables, module, other, images)["params"]
    [layer] = lattice.layers_of(other, images).values()
    free = projection.project(expanded["kernel"], layer.ties)
    close(found["kernel"], free.swapaxes(0, 1).reshape(found["kernel"].shape))
    close(found["bias"], expanded["bias"].mean(axis=(0, 1)) if layer.bias == "channel" else expanded["bias"])
    away = lattice.violation(variables, module, other, images)
    close(away, projection.violation(expanded["kernel"], layer.ties, layer.geometry))
    assert 0 <= away <= 1
    nothing = jax.tree.map(jnp.zeros_like, variables)
    close(lattice.violation(nothing, module, other, images), 0)


@EXACTLY
def test_violation_of_a_network_is_that_of_all_its_layers_together(draw):
    module, other, images = Net(cell("dense")), Net(cell("conv")), draw.normal(*SHAPE)
    variables = random_variables(module, images, draw)
    expanded = lattice.expand(variables, module, images)["params"]
    nearest = lattice.project(variables, module, other, images)
    nearest = lattice.expand(nearest, other, images)["params"]
    kernels = [(tree["first"]["kernel"], tree["inner"]["ConstrainedLayer_0"]["kernel"]) for tree in (expanded, nearest)]
    distances, norms = zip(*((((w - p) ** 2).sum(), (w**2).sum()) for w, p in zip(*kernels, strict=True)), strict=True)
    close(lattice.violation(variables, module, other, images), np.sqrt(sum(distances) / sum(norms)))


@EXACTLY
@pytest.mark.parametrize("constraint", low_rank.names())
@pytest.mark.parametrize("options", [{}, {"use_bias": False, "margin": 1, "strides": 2}], ids=str)
def test_expanded_variables_are_w_and_u_of_the_text(constraint, options, draw):
    """H[i, j, d] = U[i, j, d] + sum_{k, l, c} W[i, j, k, l, c, d] X[k, l, c]. What else there is stays."""
    images, module = draw.normal(*SHAPE), cell(constraint, **options)(3)
    variables = random_variables(module, images, draw) | {"batch_stats": {"mean": jnp.ones(3)}}
    expanded = lattice.expand(variables, module, images)
    found = expanded["params"]
    h = jnp.einsum("ijklcd,nklc->nijd", found["kernel"], images) + found["bias"]
    close(jax.jit(module.apply)(variables, images), h)
    assert found["bias"].shape == h.shape[1:]
    same(expanded["batch_stats"], variables["batch_stats"])


MORE_FREEDOM = {
    "a larger delta": (Conv(3, delta=1, strides=2), Conv(3, delta=2, strides=2)),
    "all of the image": (Local(3, delta=0), Local(3, delta=3)),
    "no locality": (Conv(3, delta=2, strides=3), Shared(3, strides=3)),
    "a bias": (Conv(3, delta=1, use_bias=False), Local(3, delta=1)),
    "banks in local": (cell("low_rank_local")(3), cell("local")(3)),
    "banks in dense": (cell("low_rank_local")(3), cell("dense")(3)),
}


@EXACTLY
@pytest.mark.parametrize(("first", "second"), MORE_FREEDOM.values(), ids=list(MORE_FREEDOM))
def test_a_layer_is_embedded_in_one_with_more_freedom_of_any_kind(first, second, draw):
    images = draw.normal(*SHAPE)
    variables = random_variables(first, images, draw)
    embedded = lattice.embed(variables, first, second, images)
    require_the_same_function(first, variables, second, embedded, images)


class Twice(nn.Module):
    """One layer that is called twice; shrink: on images of two sizes."""

    layer: Callable[..., nn.Module]
    shrink: bool = False

    @nn.compact
    def __call__(self, images):
        layer = self.layer(2, name="mine")
        return layer(layer(images)[:, :: 2 if self.shrink else 1])


class SetUp(nn.Module):
    """As modules are written that do not say nn.compact; and with an option of the call."""

    layer: Callable[..., nn.Module]

    def setup(self):
        self.stack = [self.layer(2), self.layer(2)]

    def __call__(self, images, *, train: bool = True):
        if train:
            raise ValueError
        for layer in self.stack:
            images = layer(images)
        return images


@EXACTLY
@pytest.mark.parametrize(
    ("net", "options", "paths"),
    [(Twice, {}, {("mine",)}), (SetUp, {"train": False}, {("stack_0",), ("stack_1",)})],
)
def test_layers_are_found_wherever_they_are(net, options, paths, draw):
    first, second, images = net(cell("conv")), net(cell("local")), draw.normal(*SHAPE)
    assert set(lattice.layers_of(first, images, **options)) == paths
    variables = random_variables(first, images, draw, **options)
    embedded = lattice.embed(variables, first, second, images, **options)
    close(first.apply(variables, images, **options), second.apply(embedded, images, **options))


IMAGES = jnp.zeros(SHAPE)


def initial(module: nn.Module):
    """Zeros of the right shapes."""
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), initial_shapes(module, SHAPE))


PER_SITE = Conv(3, delta=1, bias_per_site=True)


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        *(
            (cell(stronger)(3), cell(weaker)(3), f"A layer of {weaker} does not allow what one of {stronger} does")
            for stronger, weaker in (("dense", "conv"), ("shared", "local"), ("local", "shared"))
        ),
        (cell("low_rank_local")(3), Shared(3), "A layer of shared does not allow what one of low_rank_local does"),
        (Conv(3, delta=1), cell("low_rank_local")(3), "A layer of low_rank_local does not allow what one of conv does"),
        (PER_SITE, Conv(3, delta=1), "A bias for each site has no place in a layer with one for each channel"),
        (Conv(3, delta=1), Conv(3, delta=1, use_bias=False), "A bias for each channel .* in a layer with none"),
    ],
)
def test_embedding_where_something_has_no_place_is_refused(first, second, words):
    with pytest.raises(InputError, match=words):
        lattice.embed(initial(first), first, second, IMAGES)


@pytest.mark.parametrize("ask", [lattice.project, lattice.violation])
def test_projecting_onto_filter_banks_is_refused(ask):
    first, second = Local(3, delta=1), cell("low_rank_local")(3)
    with pytest.raises(InputError, match="low_rank_local is no linear subspace"):
        ask(initial(first), first, second, IMAGES)


@pytest.mark.parametrize("ask", [lattice.embed, lattice.project, lattice.violation])
@pytest.mark.parametrize(
    ("second", "words"),
    [
        (Local(4, delta=1), "The layers of the module differ in out_channels, 3 and 4: they may differ in constraints"),
        (Local(3, delta=1, strides=2), "differ in geometry, Geometry.*stride=1.* and Geometry.*stride=2"),
        (Local(3, delta=1, boundary="circular"), "differ in geometry, Geometry.*zero.* and Geometry.*circular"),
        (Twice(cell("conv")), "Only one of the two modules has the constrained layer .*, under the same names"),
    ],
)
def test_modules_that_differ_in_more_than_constraints_are_refused(ask, second, words):
    first = Conv(3, delta=1)
    with pytest.raises(InputError, match=words):
        ask(initial(first), first, second, IMAGES)


@pytest.mark.parametrize("ask", [lattice.expand, lattice.embed, lattice.project, lattice.violation])
def test_variables_and_modules_that_do_not_belong_together_are_refused(ask):
    net, conv, shrinking = Net(cell("conv")), Conv(3, delta=1), Twice(cell("conv"), shrink=True)
    missing = r"have no params/(first|inner/ConstrainedLayer_0)/kernel: .*as its init gives"
    for variables, module, words in (
        (initial(conv), net, missing),
        (initial(net)["params"], net, missing),
        ({}, conv, "have no params/kernel"),
        (initial(conv), Conv(3, delta=2), r"The kernel of the module has the shape \(3, 3, 2, 3\): .* must be \(5, 5"),
        ({"params": {}}, nn.Dense(3), "Dense has no ConstrainedLayer in it"),
        ({}, shrinking, "The layer mine is called with images of several sizes, and fits one only"),
    ):
        with pytest.raises(InputError, match=words):
            ask(variables, module, *([] if ask is lattice.expand else [module]), IMAGES)
