"""The layer adds bias and initial scale to its constraint; its parameters have a canonical order and a stored one."""

import copy
import functools
import pickle
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_constraints import functional
from cnn_constraints.errors import InputError
from cnn_constraints.functional import Layer, canonical_parameters, kernel_shape, stored_parameters
from cnn_constraints.lattice import constraints, counts, low_rank
from cnn_constraints.lattice import geometry as geometries
from cnn_constraints.lattice.constraints import ties
from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.layer import ConstrainedLayer, Conv, Dense, Local, Shared, describe
from cnn_constraints.network import StoredLayer
from cnn_constraints.ops import choose

EXACTLY = pytest.mark.usefixtures("float64")
EVERY_CONSTRAINT = pytest.mark.parametrize("constraint", constraints.CONSTRAINTS)
EVERY_LAYER = pytest.mark.parametrize("constraint", low_rank.names())
BIASES = ("site", "channel", None)


def close(actual, desired) -> None:
    np.testing.assert_allclose(actual, desired, rtol=0, atol=1e-10)


def initial_shapes(module: nn.Module, shape: tuple[int, ...]):
    """Of the variables for images of this shape. Nothing is computed."""
    return jax.eval_shape(module.init, jax.random.key(0), jax.ShapeDtypeStruct(shape, "float32"))


def apply_shapes(module: nn.Module, variables, shape: tuple[int, ...]):
    """Of the answers to images of this shape."""
    return jax.eval_shape(module.apply, variables, jax.ShapeDtypeStruct(shape, "float32"))


def random_parameters(module: nn.Module, images: jax.Array, draw):
    """Parameters of the module's shapes, biases included, in the precision of the test."""
    with jax.enable_x64(False):  # modules create their parameters in 32 bits
        shapes = initial_shapes(module, images.shape)
    return jax.tree.map(lambda array: 0.3 * draw.normal(*array.shape), shapes)


def draw_layer(constraint: str, draw, geometry: Geometry | None = None, **settings) -> Layer:
    """Any layer of the constraint, on few pixels."""
    geometry = geometry or draw.geometry()
    usual = {
        "in_channels": 2,
        "out_channels": 3,
        "delta": draw.delta(low_rank.bank_of(constraint), geometry),
        "tile": constraints.tile_of(low_rank.bank_of(constraint), draw.tile()),
        "rank": low_rank.rank_of(constraint, draw.integer(1, 3)),
        "bias": BIASES[draw.integer(0, 2)],
    }
    return Layer(constraint, geometry, **usual | settings)


def absolute_of(layer: Layer, canonical) -> jax.Array:
    """W[i, j, k, l, c, d], weight by weight from the canonical kernel and the tie table."""
    kernel = canonical["kernel"].reshape(layer.rank or 1, -1, layer.in_channels, layer.out_channels)
    by_pair = jnp.pad(kernel, ((0, 0), (0, 1), (0, 0), (0, 0)))[:, layer.ties]
    geometry = layer.geometry
    sites = (geometry.output_height, geometry.output_width, geometry.height, geometry.width)
    absolute = by_pair.reshape(-1, *sites, layer.in_channels, layer.out_channels)
    combining = canonical.get("combining", jnp.ones((1, *sites[:2]), kernel.dtype))
    return jnp.einsum("rij,rijklcd->ijklcd", combining, absolute)


def definition(layer: Layer, canonical, images: jax.Array) -> jax.Array:
    """H[n, i, j, d] = U[i, j, d] + sum_{k, l, c} W[i, j, k, l, c, d] X[n, k, l, c]."""
    h = jnp.einsum("ijklcd,...klc->...ijd", absolute_of(layer, canonical), images)
    return h + canonical.get("bias", 0.0)


@EXACTLY
@EVERY_LAYER
def test_layer_is_its_constraint_and_a_bias(constraint, draw):
    layer = draw_layer(constraint, draw)
    x = draw.activations(layer.geometry, 2)
    stored = random_parameters(StoredLayer(layer), x, draw)["params"]
    assert stored["weights"].shape == (
        2,
        counts.sizes(layer.tied_by, layer.geometry, layer.delta, layer.tile).weights,
        3 * (layer.rank or 1),
    )

    @jax.jit
    def both(stored, x):
        canonical = canonical_parameters(layer, stored)
        expected = definition(layer, canonical, x.transpose(3, 1, 2, 0)).transpose(3, 1, 2, 0)
        return StoredLayer(layer).apply({"params": stored}, x), expected

    close(*both(stored, x))


@pytest.mark.parametrize("bias", BIASES)
@EVERY_LAYER
def test_bias_is_one_for_each_site_or_each_channel_or_none(constraint, bias, draw):
    layer = draw_layer(constraint, draw, bias=bias)
    height, width = layer.geometry.output_height, layer.geometry.output_width
    stored = random_parameters(StoredLayer(layer), draw.activations(layer.geometry, 2), draw)["params"]
    canonical = canonical_parameters(layer, stored)
    expected = {"site": ((3, height, width, 1), (height, width, 3)), "channel": ((3, 1, 1, 1), (3,))}
    found = tuple(one["bias"].shape for one in (stored, canonical) if "bias" in one)
    assert found == expected.get(bias, ())


def test_own_bias_is_that_of_the_text():
    """U[i, j] for each site without translation invariance, u with it."""
    per_site = {name: constraints.find(name).bias_per_site for name in ("dense", "shared", "local", "conv")}
    assert per_site == {"dense": True, "shared": False, "local": True, "conv": False}


@EVERY_LAYER
@pytest.mark.parametrize("asked", [None, True, False])
def test_a_layer_has_the_bias_that_is_asked_for_or_the_own_one_of_its_constraint(constraint, asked, draw):
    options = options_of(draw_layer(constraint, draw, geometry=Geometry(3, 4), delta=1, tile=None, bias="site"))
    images = jnp.zeros((1, 3, 4, 2))
    layer = ConstrainedLayer(3, **options | {"bias_per_site": asked})
    own = constraints.find(low_rank.bank_of(constraint)).bias_per_site
    shapes = jax.eval_shape(layer.init, jax.random.key(0), images)["params"]
    assert shapes["bias"].shape == ((3, 4, 3) if (own if asked is None else asked) else (3,))
    without = ConstrainedLayer(3, **options | {"bias_per_site": asked, "use_bias": False})
    assert "bias" not in jax.eval_shape(without.init, jax.random.key(0), images)["params"]


def options_of(layer: Layer) -> dict:
    """Of the constraint alone: what a user writes, who does not describe the images."""
    arguments = constraints.find(layer.tied_by).arguments
    options = {name: getattr(layer, name) for name in arguments}
    return options | {"constraint": layer.constraint} | ({} if layer.rank is None else {"rank": layer.rank})


@EVERY_LAYER
def test_initial_bias_is_zero(constraint, draw):
    layer = draw_layer(constraint, draw, bias=BIASES[draw.integer(0, 1)])
    images = draw.activations(layer.geometry, 2)
    assert not jax.jit(lambda x: StoredLayer(layer).init(jax.random.key(0), x)["params"]["bias"])(images).any()


def initial_variance_of_each_site(constraint: str, gain: float, geometry: Geometry, draw, monkeypatch) -> np.ndarray:
    """Of the pre-activation, for independent inputs of variance 1: sum over c, q of the variance of W[p, q, c]."""
    settings = {"in_channels": draw.channels(), "out_channels": 1, "gain": gain, "bias": None}
    layer = draw_layer(constraint, draw, geometry, **settings)
    monkeypatch.setattr(jax.random, "normal", lambda key, shape, dtype: jnp.ones(shape, dtype))
    images = draw.activations(geometry, layer.in_channels)
    deviation = jax.jit(StoredLayer(layer).init)(jax.random.key(0), images)["params"]["weights"]
    variance = np.append(np.float64(deviation[..., 0]) ** 2, np.zeros((len(deviation), 1)), axis=1)
    table = choose.stored_ties(constraint, geometry, layer.delta, layer.tile)
    return variance[:, table].sum(axis=(0, 2))


@EVERY_CONSTRAINT
@pytest.mark.parametrize("boundary", geometries.BOUNDARIES)
def test_initial_variance_is_the_gain_on_average_over_sites(constraint, boundary, draw, monkeypatch):
    gain = float(draw.rng.uniform(0.1, 10))
    variance = initial_variance_of_each_site(constraint, gain, draw.geometry(boundary), draw, monkeypatch)
    np.testing.assert_allclose(variance.mean(), gain, rtol=1e-5)


@pytest.mark.parametrize(
    ("constraint", "boundary"), [("dense", "zero"), ("local", "zero"), ("shared", "circular"), ("conv", "circular")]
)
def test_initial_variance_is_the_gain_at_every_site_untied_or_on_a_torus(constraint, boundary, draw, monkeypatch):
    gain = float(draw.rng.uniform(0.1, 10))
    variance = initial_variance_of_each_site(constraint, gain, draw.geometry(boundary), draw, monkeypatch)
    np.testing.assert_allclose(variance, gain, rtol=1e-5)


def test_initial_weights_have_mean_zero_and_the_stated_variance(draw):
    constraint = str(draw.rng.choice(list(constraints.CONSTRAINTS)))
    layer = draw_layer(constraint, draw, draw.geometry(smallest=4), in_channels=10, out_channels=10, gain=2.0)
    geometry = layer.geometry
    images = jnp.zeros((10, geometry.height, geometry.width, 1))
    stored = jax.jit(StoredLayer(layer).init)(jax.random.key(draw.integer(0, 2**31)), images)["params"]
    weights = canonical_parameters(layer, stored)["kernel"].reshape(-1, 100)
    variance = 2.0 * counts.inverse_fan_in(constraint, geometry, layer.delta, layer.tile) / 10
    standard = np.asarray(weights, np.float64) / np.sqrt(variance)[:, None]
    assert abs(standard.mean()) < 6 / np.sqrt(standard.size)
    assert abs((standard**2).mean() - 1) < 6 * np.sqrt(2 / standard.size)


@EVERY_LAYER
def test_parameters_are_in_32_bits_whatever_the_precision_of_the_program(constraint, draw):
    layer = draw_layer(constraint, draw)
    geometry = layer.geometry
    with jax.enable_x64(True):
        of_engine = initial_shapes(StoredLayer(layer), (2, geometry.height, geometry.width, 1))
        of_user = initial_shapes(ConstrainedLayer.of(layer), (1, geometry.height, geometry.width, 2))
    assert {leaf.dtype for leaf in jax.tree.leaves((of_engine, of_user))} == {jnp.dtype("float32")}


def test_numbers_drawn_as_a_vector_are_those_drawn_over_axes(seed):
    key, shape = jax.random.key(seed), (2, 5, 3)
    np.testing.assert_array_equal(functional.draw_normal(key, shape), jax.random.normal(key, shape))


@pytest.mark.parametrize("constraint", choose.FORMULATIONS)
def test_bfloat16_rounds_factors_and_sums_in_float32(constraint, draw):
    geometry, delta = Geometry(20, 20), 9 if constraints.find(constraint).local else None
    ones = jnp.ones((1, 20, 20, 2))
    free = counts.sizes(constraint, geometry, delta).weights

    @functools.partial(jax.jit, static_argnums=0)
    def apply(precision: str, x, weights):
        layer = Layer(constraint, geometry, 1, weights.shape[2], delta, bias=None, precision=precision)
        return functional.respond(layer, x, [{"weights": weights}])

    counted = apply("bfloat16", ones, jnp.ones((1, free, 1)))
    # A sum kept in bfloat16 would never get beyond 256.
    connected = (ties(constraint, geometry, delta) >= 0).sum(axis=1).reshape(20, 20)
    assert connected.max() > 300
    np.testing.assert_allclose(counted[0, :, :, 0], connected, rtol=1e-2)
    x, weights = draw.normal(1, 20, 20, 2), draw.normal(1, free, 3)
    exact, rounded = (apply(name, x, weights) for name in functional.PRECISIONS)
    difference = np.abs(exact - rounded).max() / np.abs(exact).max()
    assert rounded.dtype == jnp.float32 and difference < 2e-2
    # The spectra of `fourier` are in 32 bits, of factors that were rounded.
    assert difference > 1e-4


@EXACTLY
@EVERY_LAYER
def test_canonical_and_stored_parameters_are_inverse(constraint, draw):
    for _ in range(3):
        layer = draw_layer(constraint, draw)
        geometry = layer.geometry
        stored = random_parameters(StoredLayer(layer), draw.activations(geometry, 2), draw)["params"]
        images = draw.normal(1, geometry.height, geometry.width, 2)
        canonical = random_parameters(ConstrainedLayer.of(layer), images, draw)["params"]
        for back, given in (
            (stored_parameters(layer, canonical_parameters(layer, stored)), stored),
            (canonical_parameters(layer, stored_parameters(layer, canonical)), canonical),
        ):
            assert set(back) == set(given)
            jax.tree.map(np.testing.assert_array_equal, back, dict(given))


@EXACTLY
@EVERY_LAYER
def test_kernel_is_w_by_the_names_of_the_tie_table(constraint, draw):
    """W[p, q, c, d] = kernel[ties[p, q], c, d]: of tied weights the name is the place in [a, b]."""
    layer = draw_layer(constraint, draw, bias=None)
    geometry = layer.geometry
    module = ConstrainedLayer.of(layer)
    every_pixel = jnp.eye(geometry.input_sites * 2).reshape(-1, geometry.height, geometry.width, 2)
    canonical = random_parameters(module, every_pixel, draw)
    assert canonical["params"]["kernel"].shape == kernel_shape(layer)
    # The answer to one pixel alone is the column of W that belongs to it.
    columns = jax.jit(module.apply)(canonical, every_pixel)
    found = columns.reshape(geometry.height, geometry.width, 2, geometry.output_height, geometry.output_width, 3)
    close(found.transpose(3, 4, 0, 1, 2, 5), absolute_of(layer, canonical["params"]))


@pytest.mark.parametrize("constraint", ["shared", "conv", "low_rank_local"])
def test_kernel_of_tied_weights_has_an_axis_for_each_direction(constraint, draw):
    layer = draw_layer(constraint, draw)
    rows, columns = (len(axis.offsets(layer.delta)) for axis in (layer.geometry.rows, layer.geometry.columns))
    assert kernel_shape(layer)[-4:] == (rows, columns, 2, 3)
    assert kernel_shape(layer)[:-4] == (() if layer.rank is None else (layer.rank,))


@EVERY_LAYER
def test_initial_parameters_of_users_are_those_of_the_engine(constraint, draw):
    layer = draw_layer(constraint, draw, gain=float(draw.rng.uniform(0.5, 2)))
    geometry, key = layer.geometry, jax.random.key(draw.integer(0, 2**31))
    of_user = jax.jit(ConstrainedLayer.of(layer).init)(key, jnp.zeros((1, geometry.height, geometry.width, 2)))
    of_engine = jax.jit(StoredLayer(layer).init)(key, jnp.zeros((2, geometry.height, geometry.width, 1)))
    expected = canonical_parameters(layer, of_engine["params"])
    assert set(expected) == set(of_user["params"])
    jax.tree.map(np.testing.assert_array_equal, dict(of_user["params"]), expected)


@EXACTLY
@EVERY_LAYER
@pytest.mark.parametrize("axes", [0, 1, 2, 3])
def test_layer_of_users_computes_the_definition_whatever_comes_before_the_image(constraint, axes, draw):
    layer = draw_layer(constraint, draw)
    geometry, module = layer.geometry, ConstrainedLayer.of(layer)
    images = draw.normal(*[draw.integer(1, 3) for _ in range(axes)], geometry.height, geometry.width, 2)
    variables = random_parameters(module, images, draw)
    h, expected = jax.jit(lambda v, x: (module.apply(v, x), definition(layer, v["params"], x)))(variables, images)
    assert h.shape == (*images.shape[:-3], geometry.output_height, geometry.output_width, 3)
    close(h, expected)


@EVERY_LAYER
def test_a_layer_reads_off_its_images_what_is_described(constraint, draw):
    layer = draw_layer(constraint, draw)
    shape = (4, layer.geometry.height, layer.geometry.width, 2)
    assert describe(ConstrainedLayer.of(layer), shape) == layer


@EVERY_LAYER
def test_no_images_give_no_answers(constraint, draw):
    layer = draw_layer(constraint, draw)
    geometry, module = layer.geometry, ConstrainedLayer.of(layer)
    variables = initial_shapes(module, (2, geometry.height, geometry.width, 2))
    nothing = apply_shapes(module, variables, (0, geometry.height, geometry.width, 2))
    assert nothing.shape == (0, geometry.output_height, geometry.output_width, 3)


@pytest.mark.usefixtures("without_shapes")
def test_images_of_whole_numbers_are_computed_with_as_flax_does(draw):
    images = jnp.asarray(draw.rng.integers(0, 256, (2, 5, 4, 1)), jnp.uint8)
    variables = Conv(3, delta=1).init(jax.random.key(0), images)
    expected = nn.Conv(3, (3, 3)).apply(variables, images)
    np.testing.assert_allclose(Conv(3, delta=1).apply(variables, images), expected, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize(
    ("module", "constraint"), [(Dense, "dense"), (Shared, "shared"), (Local, "local"), (Conv, "conv")]
)
def test_a_cell_by_its_own_name_is_the_layer_of_its_constraint(module, constraint, draw):
    layer = draw_layer(constraint, draw, Geometry(4, 3), delta=1)
    options = options_of(layer)
    images = draw.normal(2, 4, 3, 2)
    named = module(3, **{name: value for name, value in options.items() if name != "constraint"})
    key = jax.random.key(draw.integer(0, 2**31))
    found, expected = (jax.jit(one.init_with_output)(key, images) for one in (named, ConstrainedLayer(3, **options)))
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def middle(kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """The part with which some output site sees a pixel, where the image is smaller than the kernel."""
    delta = kernel.shape[0] // 2
    for axis, (size, outputs) in enumerate(
        ((geometry.height, geometry.output_height), (geometry.width, geometry.output_width))
    ):
        lowest, highest = max(-delta, -geometry.stride * (outputs - 1)), min(delta, size - 1)
        kernel = jax.lax.slice_in_dim(kernel, lowest + delta, highest + delta + 1, axis=axis)
    return kernel


def require_same_values_and_gradients(ours, flax, variables, images, cotangent) -> None:
    """Of two functions of variables and images."""

    @jax.jit
    def both(variables, images, cotangent):
        linearised = [jax.vjp(function, variables, images) for function in (ours, flax)]
        return [(h, *pull_back(cotangent)) for h, pull_back in linearised]

    one, other = both(variables, images, cotangent)
    jax.tree.map(close, one, other)


SIDES = {
    "odd": (5, 7),
    "even": (6, 4),
    "of a line": (1, 6),
    "of a column": (5, 1),
    "of a pixel": (1, 1),
    "small": (2, 3),
}


@EXACTLY
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("sides", SIDES.values(), ids=list(SIDES))
def test_conv_is_the_convolution_of_flax(sides, stride, draw):
    """Its variables as well, where the image is no smaller than the kernel and some site sees every part of that."""
    delta = draw.integer(0, max(sides) - 1)
    geometry, side = Geometry(*sides, stride), 2 * delta + 1
    images = draw.normal(2, *sides, 2)
    module, peer = Conv(3, delta=delta, strides=stride), nn.Conv(3, (side, side), stride, [(delta, delta)] * 2)
    variables = random_parameters(peer, images, draw)

    def ours(variables, images):
        own = variables["params"]
        return module.apply({"params": own | {"kernel": middle(own["kernel"], geometry)}}, images)

    if middle(variables["params"]["kernel"], geometry).shape == (side, side, 2, 3):
        ours = module.apply
    cotangent = draw.normal(2, geometry.output_height, geometry.output_width, 3)
    with jax.numpy_dtype_promotion("standard"):  # of Flax
        require_same_values_and_gradients(ours, peer.apply, variables, images, cotangent)


@EXACTLY
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(("words", "times"), {"VALID": 1, "full": -1}.items())
def test_conv_with_a_margin_is_a_padding_of_flax(words, times, stride, draw):
    sides, delta = (draw.integer(5, 7), draw.integer(5, 7)), draw.integer(1, 2)
    padding = "VALID" if words == "VALID" else [(2 * delta, 2 * delta)] * 2
    images = draw.normal(2, *sides, 2)
    module = Conv(3, delta=delta, strides=stride, margin=times * delta)
    peer = nn.Conv(3, (2 * delta + 1, 2 * delta + 1), stride, padding)
    variables = random_parameters(peer, images, draw)
    cotangent = draw.normal(*jax.eval_shape(module.apply, variables, images).shape)
    with jax.numpy_dtype_promotion("standard"):  # of Flax
        require_same_values_and_gradients(module.apply, peer.apply, variables, images, cotangent)


@EXACTLY
def test_conv_on_a_torus_is_the_circular_convolution_of_flax(draw):
    sides, delta, stride = (draw.integer(5, 7), draw.integer(5, 7)), draw.integer(0, 2), draw.integer(1, 3)
    images = draw.normal(2, *sides, 2)
    module = Conv(3, delta=delta, strides=stride, boundary="circular")
    peer = nn.Conv(3, (2 * delta + 1, 2 * delta + 1), stride, "CIRCULAR")
    variables = random_parameters(peer, images, draw)
    cotangent = draw.normal(*jax.eval_shape(module.apply, variables, images).shape)
    with jax.numpy_dtype_promotion("standard"):  # of Flax
        require_same_values_and_gradients(module.apply, peer.apply, variables, images, cotangent)


def places_in_conv_local(layer: Layer) -> tuple[np.ndarray, np.ndarray]:
    """For each weight of a locally connected layer in canonical order its place in the kernel of `nn.ConvLocal`, which is
    [i, j, (c, a, b), d]: as (i, j) and as (a, b) in one number each.
    """
    geometry, delta, table = layer.geometry, layer.delta, layer.ties
    pairs = np.argwhere(table >= 0)
    p, q = pairs[np.argsort(table[table >= 0])].T
    a = q // geometry.width - geometry.stride * (p // geometry.output_width)
    b = q % geometry.width - geometry.stride * (p % geometry.output_width)
    return p, (a + delta) * (2 * delta + 1) + b + delta


@EXACTLY
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_local_is_the_local_convolution_of_flax_without_weights_that_see_no_pixel(stride, draw):
    sides, delta = (draw.integer(2, 6), draw.integer(2, 6)), draw.integer(0, 1)
    layer = Layer("local", Geometry(*sides, stride), 2, 3, delta, bias="site")
    height, width = layer.geometry.output_height, layer.geometry.output_width
    images = draw.normal(2, *sides, 2)
    module = Local(3, delta=delta, strides=stride)
    peer = nn.ConvLocal(3, (2 * delta + 1, 2 * delta + 1), stride, [(delta, delta)] * 2)
    variables = random_parameters(peer, images, draw)
    site, offset = places_in_conv_local(layer)

    def ours(variables, images):
        own = variables["params"]
        by_site = own["kernel"].reshape(height * width, 2, -1, 3)
        return module.apply({"params": own | {"kernel": by_site[site, :, offset]}}, images)

    with jax.numpy_dtype_promotion("standard"):  # of Flax
        require_same_values_and_gradients(ours, peer.apply, variables, images, draw.normal(2, height, width, 3))


@EXACTLY
def test_dense_is_the_dense_layer_of_flax_on_pixels_in_a_row(draw):
    """kernel[p * inputs + q, c, d] is the weight from the feature (q, c) to the feature (p, d)."""
    sides = (draw.integer(1, 4), draw.integer(1, 4))
    sites, images = sides[0] * sides[1], draw.normal(3, *sides, 2)
    peer = nn.Dense(sites * 3)
    variables = random_parameters(peer, images.reshape(3, -1), draw)

    def ours(variables, images):
        matrix, bias = variables["params"]["kernel"], variables["params"]["bias"]
        kernel = matrix.reshape(sites, 2, sites, 3).transpose(2, 0, 1, 3).reshape(-1, 2, 3)
        return Dense(3).apply({"params": {"kernel": kernel, "bias": bias.reshape(*sides, 3)}}, images)

    def flax(variables, images):
        return peer.apply(variables, images.reshape(3, -1)).reshape(3, *sides, 3)

    require_same_values_and_gradients(ours, flax, variables, images, draw.normal(3, *sides, 3))


@pytest.mark.usefixtures("without_shapes")
@pytest.mark.parametrize(
    ("shape", "words"),
    {
        "channels first": (
            (4, 3, 32, 32),
            r"\(4, 3, 32, 32\), read as 3 x 32 pixels with 32 channels: .*move them last",
        ),
        "grey, channels first": ((4, 1, 28, 28), r"read as 1 x 28 pixels with 28 channels: .*say in_channels=28"),
        "no channels": ((10, 28, 28), r"\(10, 28, 28\), read as 10 x 28 pixels with 28 channels: .*add one"),
        "one picture": ((28, 28), r"\(28, 28\): they must be \[..., height, width, channels\]"),
    }.values(),
)
@EVERY_LAYER
def test_images_whose_axes_are_in_another_order_are_refused(constraint, shape, words, draw):
    layer = ConstrainedLayer(2, **options_of(draw_layer(constraint, draw, Geometry(9, 9), delta=1)))
    with pytest.raises(InputError, match=words):
        initial_shapes(layer, shape)


@pytest.mark.parametrize("shape", [(4, 3, 32, 32), (10, 28, 28), (2, 1, 9, 9)])
def test_a_shape_that_looks_wrong_passes_where_its_channels_are_announced(shape):
    variables = initial_shapes(Conv(2, delta=1, in_channels=shape[-1]), shape)
    assert variables["params"]["kernel"].shape[2:] == (shape[-1], 2)


@pytest.mark.parametrize(
    "shape", [(1, 32, 32, 32), (4, 3, 7, 7), (2, 32, 32, 3), (28, 28, 1), (3, 5, 6, 6), (5, 9, 9, 8)]
)
def test_an_ordinary_shape_passes(shape):
    initial_shapes(Conv(2, delta=1), shape)


def test_other_channels_than_announced_are_refused():
    with pytest.raises(InputError, match=r"\(1, 5, 5, 4\), so 4 channels, and in_channels is 3: they must be"):
        initial_shapes(Conv(2, delta=1, in_channels=3), (1, 5, 5, 4))


@EVERY_LAYER
def test_another_number_of_channels_than_at_the_start_is_refused(constraint, draw):
    layer = ConstrainedLayer(3, **options_of(draw_layer(constraint, draw, Geometry(5, 4), delta=1)))
    variables = initial_shapes(layer, (1, 5, 4, 2))
    with pytest.raises(InputError, match=r"\(7, 5, 4, 3\), so 3 channels, and the layer was initialised for 2"):
        apply_shapes(layer, variables, (7, 5, 4, 3))


@pytest.mark.parametrize("constraint", ["dense", "shared", "local", "low_rank_local"])
def test_images_of_another_size_than_at_the_start_are_refused(constraint, draw):
    layer = ConstrainedLayer(3, **options_of(draw_layer(constraint, draw, Geometry(5, 4), delta=1)))
    variables = initial_shapes(layer, (1, 5, 4, 2))
    words = (
        rf"\(1, 6, 4, 2\), read as 6 x 4 pixels: the (kernel|combining) of {constraint} for them.*was initialised with"
    )
    with pytest.raises(InputError, match=words):
        apply_shapes(layer, variables, (1, 6, 4, 2))


def test_a_bias_for_each_site_of_other_images_is_refused():
    layer = Conv(3, delta=1, bias_per_site=True)
    variables = initial_shapes(layer, (1, 5, 4, 2))
    with pytest.raises(InputError, match=r"\(1, 6, 4, 2\), read as 6 x 4 pixels: the bias of conv for them"):
        apply_shapes(layer, variables, (1, 6, 4, 2))


@EXACTLY
def test_a_convolution_takes_images_of_any_size(draw):
    first, second = (draw.normal(1, draw.integer(3, 7), draw.integer(3, 7), 2) for _ in range(2))
    variables = random_parameters(Conv(3, delta=1), first, draw)
    with jax.numpy_dtype_promotion("standard"):  # of Flax
        close(Conv(3, delta=1).apply(variables, second), nn.Conv(3, (3, 3)).apply(variables, second))


OPTIONS = [
    ({}, "A ConstrainedLayer needs a constraint: dense, shared, local, conv, tiled, low_rank_local"),
    ({"constraint": "cnov", "delta": 1}, "Unknown constraint 'cnov'.*did you mean 'conv'"),
    ({"constraint": "conv"}, "A layer of conv needs a delta: how many pixels each site sees on every side"),
    ({"constraint": "local"}, "A layer of local needs a delta"),
    ({"constraint": "low_rank_local"}, "A layer of low_rank_local needs a delta"),
    ({"constraint": "dense", "delta": 1}, "delta is 1: it means nothing to dense, so leave it out"),
    ({"constraint": "shared", "delta": 0}, "delta is 0: it means nothing to shared, so leave it out"),
    ({"constraint": "conv", "delta": 1, "tile": 2}, "tile is 2: it means nothing to conv, so leave it out"),
    ({"constraint": "conv", "delta": 1, "rank": 3}, "rank is 3: it means nothing to conv, so leave it out"),
    ({"constraint": "low_rank_local", "delta": 1, "tile": 2}, "tile is 2: it means nothing to low_rank_local"),
    ({"constraint": "conv", "dleta": 1}, "Unknown option of ConstrainedLayer 'dleta'.*did you mean 'delta'"),
    ({"constraint": "conv", "kernel_size": 3}, "has no option kernel_size: say delta: the window is 2 delta . 1"),
    ({"constraint": "conv", "padding": "SAME"}, "has no option padding: say margin: 0 .* SAME, delta for VALID"),
    ({"constraint": "conv", "kernel_dilation": 2}, "has no option kernel_dilation"),
    ({"constraint": "conv", "input_dilation": 2}, "has no option input_dilation"),
    ({"constraint": "conv", "feature_group_count": 2}, "has no option feature_group_count: every output channel"),
]


@pytest.mark.parametrize(("options", "words"), OPTIONS)
def test_options_that_mean_nothing_are_refused_when_the_layer_is_written(options, words):
    with pytest.raises(InputError, match=words):
        ConstrainedLayer(2, **options)


@pytest.mark.parametrize(("module", "constraint"), [(Dense, "dense"), (Shared, "shared")])
def test_a_named_cell_refuses_the_delta_that_means_nothing_to_it(module, constraint):
    with pytest.raises(InputError, match=f"delta is 2: it means nothing to {constraint}"):
        module(2, delta=2)


@pytest.mark.parametrize("module", [Local, Conv])
def test_a_named_cell_without_its_delta_is_refused(module):
    with pytest.raises(InputError, match=f"A layer of {module.__name__.lower()} needs a delta"):
        module(2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"strides": (1, 2)}, r"strides is \(1, 2\): it must be a whole number, or two that are the same"),
        ({"strides": 0}, "stride is 0: it must be at least 1"),
        ({"delta": 5}, "delta is 5: on an image of 5 x 4 it must lie between 0"),
        ({"margin": 2}, "margin is 2: on an image of 5 x 4"),
        ({"boundary": "circulr"}, "boundary 'circulr'.*did you mean 'circular'"),
        ({"precision": "float31"}, "precision 'float31'.*did you mean 'float32'"),
        ({"formulation": "patchs"}, "formulation of conv 'patchs'.*did you mean 'patches'"),
        ({"constraint": "tiled", "tile": 0}, "tile is 0: it must be a whole number, at least 1"),
        ({"constraint": "low_rank_local", "rank": 0}, "rank is 0: it must be a whole number, at least 1"),
        ({"features": 0}, "features is 0: it must be a whole number, at least 1"),
    ],
)
def test_options_that_do_not_fit_the_images_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        layer = ConstrainedLayer(**{"features": 2, "constraint": "conv", "delta": 1} | options)
        initial_shapes(layer, (1, 5, 4, 1))


def test_equal_strides_may_be_written_for_each_axis(draw):
    images = draw.normal(1, 5, 4, 1)
    key = jax.random.key(0)
    found, expected = (Conv(2, delta=1, strides=strides).init_with_output(key, images) for strides in ((2, 2), 2))
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@EXACTLY
@pytest.mark.parametrize("constraint", ["shared", "local", "conv"])
def test_every_formulation_of_a_layer_gives_the_same(constraint, draw):
    layer = draw_layer(constraint, draw, Geometry(4, 5), delta=1, tile=None)
    images = draw.normal(2, 4, 5, 2)
    variables = random_parameters(ConstrainedLayer.of(layer), images, draw)
    names = ["expanded", *draw.rng.choice(list(choose.FORMULATIONS[constraint]), 2, replace=False).tolist()]
    modules = [ConstrainedLayer(3, formulation=name, **options_of(layer)) for name in names]
    if layer.bias is None:
        modules = [module.clone(use_bias=False) for module in modules]
    else:
        modules = [module.clone(bias_per_site=layer.bias == "site") for module in modules]
    first, *others = jax.jit(lambda v, x: [module.apply(v, x) for module in modules])(variables, images)
    for other in others:
        close(other, first)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_a_layer_can_be_copied_and_pickled(copied):
    layer = Conv(3, delta=1, strides=2, margin=1)
    assert copied(layer) == layer


@pytest.mark.usefixtures("without_shapes")
def test_what_looks_like_channels_first_is_asked_for_at_the_start_alone(draw):
    """Later the kernel knows how many channels there are: 16 channels of 12 x 16 pixels are no mistake then."""
    images = draw.normal(2, 12, 16, 16)
    layer = Conv(3, delta=1)
    variables = layer.init(jax.random.key(0), images)
    np.testing.assert_allclose(
        layer.apply(variables, images[0]), layer.apply(variables, images)[0], rtol=1e-5, atol=1e-5
    )


@pytest.mark.usefixtures("without_shapes")
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"margin": "SAME"}, "margin is 'SAME': it must be a whole number, 0 for what libraries call SAME"),
        ({"strides": "2"}, "strides is '2': it must be a whole number, or two that are the same"),
        ({"strides": (2,)}, "strides is"),
        ({"gain": -1}, "gain is -1: it must be a number above 0"),
        ({"gain": float("nan")}, "gain is nan"),
        ({"delta": 1.5}, "delta is 1.5: it must be a whole number"),
        ({"features": None}, "features is None"),
        ({"kernel_init": None}, "say gain"),
    ],
)
def test_options_of_another_type_are_refused(options, sentence):
    with pytest.raises(InputError, match=re.escape(sentence)):
        Conv(**({"features": 3, "delta": 1} | options))


@pytest.mark.usefixtures("without_shapes")
def test_images_that_are_none_are_refused():
    for images in ([[1.0]], jnp.ones((2, 8, 8, 0))):
        with pytest.raises(InputError, match="The images"):
            Conv(3, delta=1).init(jax.random.key(0), images)
