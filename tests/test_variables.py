"""Networks as points of the lattice: anyone's module is embedded, projected, expanded and measured, biases included."""

import itertools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_constraints import variables as lattice
from cnn_constraints.errors import InputError
from cnn_constraints.lattice import constraints, low_rank, projection
from cnn_constraints.lattice.constraints import ties
from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.lattice.order import leq
from cnn_constraints.layer import ConstrainedLayer, Conv, Dense, Local, Shared

EXACTLY = pytest.mark.usefixtures("in_64_bits")
HEIGHT, WIDTH, DELTA = 4, 5, 1
STRONGER_AND_WEAKER = [
    (stronger, weaker)
    for stronger, weaker in itertools.permutations(constraints.CONSTRAINTS, 2)
    if leq(*(ties(name, Geometry(HEIGHT, WIDTH), DELTA, 2) for name in (stronger, weaker)))
]
EVERY_PAIR = pytest.mark.parametrize(("stronger", "weaker"), STRONGER_AND_WEAKER)


def close(actual, desired) -> None:
    np.testing.assert_allclose(actual, desired, rtol=0, atol=1e-10)


def same(actual, desired) -> None:
    """Two trees of arrays."""
    assert jax.tree.structure(actual) == jax.tree.structure(desired)
    jax.tree.map(close, actual, desired)


class Net(nn.Module):
    """A network as anyone writes it: two constrained layers, one of them inside another module, and layers of Flax."""

    layer: Callable[..., nn.Module]
    features: int = 3

    @nn.compact
    def __call__(self, images):
        x = nn.tanh(self.layer(2, name="first")(images))
        x = nn.LayerNorm()(x)
        x = nn.tanh(Inner(self.layer, self.features, name="inner")(x))
        return nn.Dense(2)(x.reshape(*x.shape[:-3], -1))


class Inner(nn.Module):
    layer: Callable[..., nn.Module]
    features: int

    @nn.compact
    def __call__(self, x):
        return self.layer(self.features, strides=2)(x)


def net(constraint: str, **options) -> Net:
    """Biases as wide as those of every weaker constraint take them: one a channel, unless told otherwise."""
    takes = {"delta": DELTA, "tile": 2}
    arguments = {name: takes[name] for name in constraints.find(low_rank.bank_of(constraint)).arguments}
    if constraint in low_rank.BANKS:
        arguments["rank"] = 2

    def layer(features: int, **more) -> ConstrainedLayer:
        return ConstrainedLayer(features, constraint=constraint, **arguments, **options, **more)

    return Net(layer)


def random_variables(module: nn.Module, images: jax.Array, draw):
    """In the precision of the test, biases included."""
    with jax.enable_x64(False):  # modules create their parameters in 32 bits
        shapes = jax.eval_shape(module.init, jax.random.key(0), jax.ShapeDtypeStruct(images.shape, "float32"))
    return jax.tree.map(lambda array: 0.3 * draw.normal(*array.shape), shapes)


def images_of(draw) -> jax.Array:
    return draw.normal(2, HEIGHT, WIDTH, 2)


def require_the_same_function(module, variables, other, other_variables, images) -> None:
    close(jax.jit(module.apply)(variables, images), jax.jit(other.apply)(other_variables, images))


@EXACTLY
@EVERY_PAIR
def test_embedding_keeps_the_function_of_a_whole_network(stronger, weaker, draw):
    """With the own biases of both, one a channel in the stronger one and one a site in the weaker one."""
    first, second, images = net(stronger), net(weaker), images_of(draw)
    if constraints.find(stronger).bias_per_site and not constraints.find(weaker).bias_per_site:
        first = net(stronger, bias_per_site=False)
    variables = random_variables(first, images, draw)
    embedded = lattice.embed(variables, first, second, images)
    require_the_same_function(first, variables, second, embedded, images)
    for name in ("Dense_0", "LayerNorm_0"):
        same(embedded["params"][name], variables["params"][name])


@EXACTLY
@EVERY_PAIR
def test_projecting_undoes_an_embedding(stronger, weaker, draw):
    first, second, images = net(stronger, bias_per_site=False), net(weaker), images_of(draw)
    variables = random_variables(first, images, draw)
    embedded = lattice.embed(variables, first, second, images)
    same(lattice.project(embedded, second, first, images), variables)
    close(lattice.violation(embedded, second, first, images), 0)


@EXACTLY
@EVERY_PAIR
def test_projecting_is_idempotent_and_brings_the_violation_to_zero(stronger, weaker, draw):
    first, second, images = net(stronger, bias_per_site=False), net(weaker), images_of(draw)
    variables = random_variables(second, images, draw)
    projected = lattice.project(variables, second, first, images)
    nearest = lattice.embed(projected, first, second, images)
    same(lattice.project(nearest, second, first, images), projected)
    assert lattice.violation(variables, second, first, images) > 1e-3
    close(lattice.violation(nearest, second, first, images), 0)


def layers_at(variables, paths) -> list:
    """The parameters at some paths."""
    found = []
    for path in paths:
        tree = variables["params"]
        for name in path:
            tree = tree[name]
        found.append(tree)
    return found


@EXACTLY
@pytest.mark.parametrize("constraint", low_rank.names())
@pytest.mark.parametrize("onto", ["shared", "local", "conv", "tiled"])
def test_projection_and_violation_are_those_of_the_expanded_layers(constraint, onto, draw):
    """Whether or not the other constraint is stronger."""
    module, other, images = net(constraint), net(onto), images_of(draw)
    variables = random_variables(module, images, draw)
    expanded = lattice.expand(variables, module, images)
    projected = lattice.project(variables, module, other, images)
    layers = lattice.layers_of(other, images)
    distance = norm = 0.0
    for one, two, layer in zip(layers_at(expanded, layers), layers_at(projected, layers), layers.values(), strict=True):
        free = projection.project(one["kernel"], layer.ties)
        close(two["kernel"], free.swapaxes(0, 1).reshape(two["kernel"].shape))
        bias = one["bias"].mean(axis=(0, 1)) if layer.bias == "channel" else one["bias"]
        close(two["bias"], bias)
        norm_of_one = float(jnp.linalg.norm(one["kernel"]))
        distance += (float(projection.violation(one["kernel"], layer.ties, layer.geometry)) * norm_of_one) ** 2
        norm += norm_of_one**2
    close(lattice.violation(variables, module, other, images), np.sqrt(distance / norm))


@EXACTLY
def test_violation_of_one_layer_is_that_of_its_w(draw):
    geometry, images = Geometry(HEIGHT, WIDTH), images_of(draw)
    variables = random_variables(Dense(3), images, draw)
    absolute = lattice.expand(variables, Dense(3), images)["params"]["kernel"]
    for other, table in ((Conv(3, delta=1), ties("conv", geometry, 1)), (Shared(3), ties("shared", geometry))):
        found = lattice.violation(variables, Dense(3), other, images)
        close(found, projection.violation(absolute, table, geometry))
        assert 0 < found <= 1


@EXACTLY
def test_violation_of_weights_that_are_zero_is_zero(draw):
    images = images_of(draw)
    nothing = jax.tree.map(jnp.zeros_like, random_variables(Dense(3), images, draw))
    close(lattice.violation(nothing, Dense(3), Conv(3, delta=1), images), 0)


@EXACTLY
@pytest.mark.parametrize("constraint", low_rank.names())
@pytest.mark.parametrize("options", [{}, {"use_bias": False}, {"margin": 1, "strides": 2}], ids=str)
def test_expanded_variables_are_w_and_u_of_the_text(constraint, options, draw):
    """H[i, j, d] = U[i, j, d] + sum_{k, l, c} W[i, j, k, l, c, d] X[k, l, c]."""
    images = images_of(draw)
    module = net(constraint, **options).layer(3)
    variables = random_variables(module, images, draw)
    found = lattice.expand(variables, module, images)["params"]
    h = jnp.einsum("ijklcd,nklc->nijd", found["kernel"], images) + found["bias"]
    close(jax.jit(module.apply)(variables, images), h)
    assert found["bias"].shape == h.shape[1:]


@EXACTLY
def test_expanded_networks_keep_what_is_not_constrained(draw):
    module, images = net("conv"), images_of(draw)
    variables = random_variables(module, images, draw) | {"batch_stats": {"mean": jnp.ones(3)}}
    found = lattice.expand(variables, module, images)
    assert set(found) == {"params", "batch_stats"} and set(found["params"]) == set(variables["params"])
    for name in ("Dense_0", "LayerNorm_0"):
        same(found["params"][name], variables["params"][name])
    same(found["batch_stats"], variables["batch_stats"])


@EXACTLY
@pytest.mark.parametrize("weaker", ["local", "dense"])
def test_a_low_rank_local_network_is_a_locally_connected_and_a_dense_one(weaker, draw):
    first, second, images = net("low_rank_local"), net(weaker), images_of(draw)
    variables = random_variables(first, images, draw)
    require_the_same_function(first, variables, second, lattice.embed(variables, first, second, images), images)


@EXACTLY
@pytest.mark.parametrize("weaker", ["local", "dense"])
def test_embedding_in_two_steps_is_embedding_in_one(weaker, draw):
    images = images_of(draw)
    conv, tiled, last = net("conv"), net("tiled"), net(weaker)
    variables = random_variables(conv, images, draw)
    in_two = lattice.embed(lattice.embed(variables, conv, tiled, images), tiled, last, images)
    same(in_two, lattice.embed(variables, conv, last, images))


@EXACTLY
def test_embedding_into_a_larger_delta_keeps_the_function(draw):
    images, stride = draw.normal(2, 5, 4, 2), draw.integer(1, 3)
    for first, second in (
        (Conv(3, delta=1, strides=stride), Conv(3, delta=2, strides=stride)),
        (Local(3, delta=0, strides=stride), Local(3, delta=3, strides=stride)),
        (Conv(3, delta=2, strides=stride), Shared(3, strides=stride)),
    ):
        variables = random_variables(first, images, draw)
        embedded = lattice.embed(variables, first, second, images)
        require_the_same_function(first, variables, second, embedded, images)


@EXACTLY
def test_a_layer_without_bias_is_embedded_with_a_bias_of_zero(draw):
    images = images_of(draw)
    first, second = Conv(3, delta=1, use_bias=False), Local(3, delta=1)
    variables = random_variables(first, images, draw)
    embedded = lattice.embed(variables, first, second, images)
    assert not embedded["params"]["bias"].any()
    require_the_same_function(first, variables, second, embedded, images)


@EXACTLY
def test_one_layer_that_is_called_twice_on_images_of_one_size_is_one_layer(draw):
    class Twice(nn.Module):
        layer: Callable[[], nn.Module]

        @nn.compact
        def __call__(self, images):
            layer = self.layer()
            return layer(layer(images))

    first, second = (Twice(lambda cell=cell: cell(2, delta=1, name="mine")) for cell in (Conv, Local))
    images = images_of(draw)
    variables = random_variables(first, images, draw)
    embedded = lattice.embed(variables, first, second, images)
    require_the_same_function(first, variables, second, embedded, images)


@EXACTLY
def test_layers_of_a_module_that_is_set_up_are_found(draw):
    class SetUp(nn.Module):
        layer: Callable[[], nn.Module]

        def setup(self):
            self.stack = [self.layer(), self.layer()]

        def __call__(self, images):
            for layer in self.stack:
                images = layer(images)
            return images

    first, second = SetUp(lambda: Conv(2, delta=1)), SetUp(lambda: Dense(2))
    images = images_of(draw)
    variables = random_variables(first, images, draw)
    assert set(lattice.layers_of(first, images)) == {("stack_0",), ("stack_1",)}
    require_the_same_function(first, variables, second, lattice.embed(variables, first, second, images), images)


def test_options_of_the_call_are_handed_on(draw):
    class Trained(nn.Module):
        @nn.compact
        def __call__(self, images, *, train: bool):
            return nn.Dropout(0.5, deterministic=not train)(Conv(2, delta=1)(images))

    images = images_of(draw)
    variables = Trained().init(jax.random.key(0), images, train=False)
    assert set(lattice.layers_of(Trained(), images, train=False)) == {("Conv_0",)}
    expanded = lattice.expand(variables, Trained(), images, train=False)
    assert expanded["params"]["Conv_0"]["kernel"].shape == (HEIGHT, WIDTH, HEIGHT, WIDTH, 2, 2)


IMAGES = jnp.zeros((1, HEIGHT, WIDTH, 2))


def initial(module: nn.Module):
    return module.init(jax.random.key(0), IMAGES)


@pytest.mark.parametrize(
    ("stronger", "weaker"),
    [("dense", "conv"), ("local", "conv"), ("shared", "local"), ("local", "shared"), ("low_rank_local", "shared")],
)
def test_embedding_into_what_is_not_weaker_is_refused(stronger, weaker):
    first, second = net(stronger, bias_per_site=False), net(weaker)
    with pytest.raises(InputError, match=f"A layer of {weaker} does not allow what one of {stronger} does"):
        lattice.embed(initial(first), first, second, IMAGES)


def test_embedding_into_filter_banks_is_refused():
    first, second = net("conv"), net("low_rank_local")
    with pytest.raises(InputError, match="A layer of low_rank_local does not allow what one of conv does"):
        lattice.embed(initial(first), first, second, IMAGES)


@pytest.mark.parametrize(
    ("of_first", "of_second", "words"),
    [
        (
            {"bias_per_site": True},
            {"bias_per_site": False},
            "A bias for each site has no place .* one for each channel",
        ),
        ({}, {"use_bias": False}, "A bias for each channel has no place in a layer with none"),
    ],
)
def test_a_bias_that_has_no_place_is_refused(of_first, of_second, words):
    first, second = Conv(3, delta=1, **of_first), Local(3, delta=1, **of_second)
    with pytest.raises(InputError, match=words):
        lattice.embed(initial(first), first, second, IMAGES)


@pytest.mark.parametrize("ask", [lattice.project, lattice.violation])
def test_projecting_onto_filter_banks_is_refused(ask):
    first, second = net("local"), net("low_rank_local")
    with pytest.raises(InputError, match="low_rank_local is no linear subspace"):
        ask(initial(first), first, second, IMAGES)


BETWEEN = pytest.mark.parametrize("ask", [lattice.embed, lattice.project, lattice.violation])


@BETWEEN
@pytest.mark.parametrize(
    ("second", "what"),
    [
        (Local(4, delta=1), "out_channels, 3 and 4"),
        (Local(3, delta=1, strides=2), "geometry, Geometry.*stride=1.* and Geometry.*stride=2"),
        (Local(3, delta=1, boundary="circular"), "geometry, Geometry.*zero.* and Geometry.*circular"),
        (Local(3, delta=1, margin=1), "geometry, Geometry.*margin=0.* and Geometry.*margin=1"),
    ],
)
def test_layers_that_differ_in_more_than_constraints_are_refused(ask, second, what):
    first = Conv(3, delta=1)
    with pytest.raises(
        InputError, match=rf"The layers of the module differ in {what}.*: they may differ in constraints alone"
    ):
        ask(initial(first), first, second, IMAGES)


@BETWEEN
def test_modules_with_other_layers_are_refused(ask):
    class One(nn.Module):
        @nn.compact
        def __call__(self, images):
            return Conv(3, delta=1, name="mine")(images)

    with pytest.raises(
        InputError, match=r"Only one of the two modules has the constrained layer .*, under the same names"
    ):
        ask(initial(One()), One(), Conv(3, delta=1), IMAGES)


EVERYTHING = pytest.mark.parametrize(
    "ask",
    [
        lambda variables, module: lattice.expand(variables, module, IMAGES),
        lambda variables, module: lattice.embed(variables, module, module, IMAGES),
        lambda variables, module: lattice.project(variables, module, module, IMAGES),
        lambda variables, module: lattice.violation(variables, module, module, IMAGES),
    ],
    ids=["expand", "embed", "project", "violation"],
)


@EVERYTHING
def test_variables_of_another_module_are_refused(ask):
    module = net("conv")
    with pytest.raises(
        InputError, match=r"have no params/(first|inner/ConstrainedLayer_0)/kernel: .*as its init gives"
    ):
        ask(initial(Conv(3, delta=1)), module)
    with pytest.raises(InputError, match=r"have no params/(first|inner/ConstrainedLayer_0)/kernel"):
        ask(initial(module)["params"], module)
    with pytest.raises(InputError, match=r"have no params/kernel"):
        ask({}, Conv(3, delta=1))


@EVERYTHING
def test_a_kernel_of_another_layer_is_refused(ask):
    with pytest.raises(
        InputError,
        match=r"The kernel of the module has the shape \(3, 3, 2, 3\): for conv on the example it must be \(5, 5",
    ):
        ask(initial(Conv(3, delta=1)), Conv(3, delta=2))


@EVERYTHING
def test_a_module_without_a_constrained_layer_is_refused(ask):
    with pytest.raises(InputError, match="Dense has no ConstrainedLayer in it"):
        ask({"params": {}}, nn.Dense(3))


@EVERYTHING
def test_a_layer_that_is_called_with_images_of_two_sizes_is_refused(ask):
    class Shrinking(nn.Module):
        @nn.compact
        def __call__(self, images):
            layer = Conv(2, delta=1, name="mine")
            return layer(layer(images)[:, ::2])

    with pytest.raises(InputError, match="The layer mine is called with images of several sizes, and fits one only"):
        ask(initial(Shrinking()), Shrinking())
