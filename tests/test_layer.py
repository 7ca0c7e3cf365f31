"""The layer adds bias and initial scale to its constraint; its parameters have a canonical order and a stored one."""

import dataclasses
import functools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exactly import EXACTLY, close
from geometries import options_of
from random_variables import initial_shapes, random_variables

from cnn_constraints import functional
from cnn_constraints.errors import InputError
from cnn_constraints.functional import Layer, canonical_parameters, initialisers, kernel_shape, stored_parameters
from cnn_constraints.lattice import constraints, counts, low_rank
from cnn_constraints.lattice.constraints import ties
from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.layer import ConstrainedLayer, Conv, Dense, Local, Shared, describe
from cnn_constraints.network import StoredLayer
from cnn_constraints.ops import choose

AS_A_USER = pytest.mark.usefixtures("without_shapes")

SITES_AND_BIASES = (
    (Geometry(4, 5), "site"),
    (Geometry(5, 4, 2, "zero", 1), "channel"),
    (Geometry(4, 5, 3, "circular"), None),
)
LAYERS = [
    Layer(geometry=geometry, in_channels=2, out_channels=3, bias=bias, gain=1.5, **options_of(name))
    for name in low_rank.names()
    for geometry, bias in SITES_AND_BIASES
]
EVERY_CONSTRAINT = pytest.mark.parametrize("constraint", low_rank.names())
EVERY_LAYER = pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: f"{layer.constraint}-{layer.bias}")


def same(actual, desired) -> None:
    jax.tree.map(np.testing.assert_array_equal, dict(actual), dict(desired))


def apply_shapes(module: nn.Module, variables, shape: tuple[int, ...]):
    """Of the answers to images of this shape."""
    return jax.eval_shape(module.apply, variables, jax.ShapeDtypeStruct(shape, "float32"))


def definition(layer: Layer, canonical, images: jax.Array) -> jax.Array:
    """H[n, i, j, d] = U[i, j, d] + sum_{k, l, c} W[i, j, k, l, c, d] X[n, k, l, c], W weight by weight from the canonical
    kernel and the tie table.
    """
    geometry = layer.geometry
    sites = (geometry.output_height, geometry.output_width, geometry.height, geometry.width)
    kernel = canonical["kernel"].reshape(layer.rank or 1, -1, 2, 3)
    by_pair = jnp.pad(kernel, ((0, 0), (0, 1), (0, 0), (0, 0)))[:, layer.ties].reshape(-1, *sites, 2, 3)
    combining = canonical.get("combining", jnp.ones((1, *sites[:2]), kernel.dtype))
    h = jnp.einsum("rij,rijklcd,...klc->...ijd", combining, by_pair, images)
    return h + canonical.get("bias", 0.0)


@EXACTLY
@EVERY_LAYER
def test_users_and_the_engine_compute_the_definition(layer, draw):
    """Whatever axes come before the image; and their parameters are the same in two orders."""
    geometry, module, engine = layer.geometry, ConstrainedLayer.of(layer), StoredLayer(layer)
    images = draw.normal(2, 3, geometry.height, geometry.width, 2)
    stored = random_variables(engine, images[0].transpose(3, 1, 2, 0), draw)["params"]
    canonical = canonical_parameters(layer, stored)
    same(stored_parameters(layer, canonical), stored)
    shapes = initial_shapes(module, images.shape)["params"]
    assert jax.tree.map(jnp.shape, canonical) == jax.tree.map(jnp.shape, dict(shapes))
    assert canonical["kernel"].shape == kernel_shape(layer)
    sites = (geometry.output_height, geometry.output_width)
    assert getattr(canonical.get("bias"), "shape", None) == {"site": (*sites, 3), "channel": (3,)}.get(layer.bias)

    @jax.jit
    def every_way(stored, canonical, images):
        apply = lambda x: module.apply({"params": canonical}, x)
        of_engine = engine.apply({"params": stored}, images[0].transpose(3, 1, 2, 0)).transpose(3, 1, 2, 0)
        return definition(layer, canonical, images), apply(images), apply(images[0, 1]), of_engine

    expected, *found = every_way(stored, canonical, images)
    for one, wanted in zip(found, (expected, expected[0, 1], expected[0]), strict=True):
        assert one.shape == wanted.shape
        close(one, wanted)
    assert describe(module, images.shape) == layer
    assert apply_shapes(module, {"params": shapes}, (0, *images.shape[2:])).shape == (0, *sites, 3)


@EVERY_CONSTRAINT
def test_users_and_the_engine_start_from_the_same_draw_in_32_bits(constraint, draw):
    layer = next(layer for layer in LAYERS if layer.constraint == constraint)
    key, shape = jax.random.key(draw.integer(0, 2**31)), (1, layer.geometry.height, layer.geometry.width, 2)
    with jax.enable_x64(True):
        images = jnp.zeros(shape, jnp.float32)
        of_user = jax.jit(ConstrainedLayer.of(layer).init)(key, images)["params"]
        of_engine = jax.jit(StoredLayer(layer).init)(key, images.transpose(3, 1, 2, 0))["params"]
    # Two programs: newer versions of XLA round the last bit of a product otherwise.
    close = lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-6)
    jax.tree.map(close, of_user, canonical_parameters(layer, of_engine))
    assert {leaf.dtype for leaf in jax.tree.leaves(of_user)} == {jnp.dtype("float32")}
    assert not of_user["bias"].any()


@pytest.mark.parametrize("constraint", constraints.CONSTRAINTS)
def test_initial_variance_is_the_gain_on_average_and_at_every_site_where_all_see_alike(constraint, draw, monkeypatch):
    """Of the pre-activation, for independent inputs of variance 1: sum over c, q of the variance of W[p, q, c]."""
    monkeypatch.setattr(jax.random, "normal", lambda key, shape, dtype: jnp.ones(shape, dtype))
    gain = float(draw.rng.uniform(0.1, 10))
    for layer in (dataclasses.replace(one, gain=gain) for one in LAYERS if one.constraint == constraint):
        deviation = np.asarray(initialisers(layer)["weights"](jax.random.key(0)), np.float64)[..., 0]
        table = choose.stored_ties(constraint, layer.geometry, layer.delta, layer.tile)
        variance = np.append(deviation**2, np.zeros((2, 1)), axis=1)[:, table].sum(axis=(0, 2))
        np.testing.assert_allclose(variance.mean(), gain, rtol=1e-5)
        if constraint in ("dense", "local") or layer.geometry.boundary == "circular":
            np.testing.assert_allclose(variance, gain, rtol=1e-5)


def test_numbers_drawn_as_a_vector_are_those_drawn_over_axes(seed):
    key, shape = jax.random.key(seed), (2, 5, 3)
    np.testing.assert_array_equal(functional.draw_normal(key, shape), jax.random.normal(key, shape))


@pytest.mark.parametrize(
    "constraint", [pytest.param(name, marks=[pytest.mark.slow] * (name != "conv")) for name in choose.FORMULATIONS]
)
def test_bfloat16_rounds_factors_and_sums_in_float32(constraint, draw):
    geometry, delta = Geometry(20, 20), 9 if constraints.find(constraint).local else None
    shape = (1, counts.sizes(constraint, geometry, delta).weights, 3)

    @functools.partial(jax.jit, static_argnums=0)
    def apply(precision: str, x, weights):
        layer = Layer(constraint, geometry, 1, 3, delta, bias=None, precision=precision)
        return functional.respond(layer, x, [{"weights": weights}])

    counted = apply("bfloat16", jnp.ones((1, 20, 20, 2)), jnp.ones(shape))
    # A sum kept in bfloat16 would never get beyond 256.
    connected = (ties(constraint, geometry, delta) >= 0).sum(axis=1).reshape(20, 20)
    assert connected.max() > 300
    np.testing.assert_allclose(counted[0, :, :, 0], connected, rtol=1e-2)
    x, weights = draw.normal(1, 20, 20, 2), draw.normal(*shape)
    exact, rounded = (apply(name, x, weights) for name in functional.PRECISIONS)
    difference = np.abs(exact - rounded).max() / np.abs(exact).max()
    # The spectra of `fourier` are in 32 bits, of factors that were rounded.
    assert rounded.dtype == jnp.float32 and 1e-4 < difference < 2e-2


@EVERY_CONSTRAINT
def test_a_layer_has_the_bias_that_is_asked_for_or_that_of_the_text(constraint):
    """U[i, j] for each site without translation invariance, u with it."""
    own = {"dense": "site", "local": "site"}.get(constraint, "channel")
    for asked, expected in ((None, own), (True, "site"), (False, "channel")):
        layer = ConstrainedLayer(3, bias_per_site=asked, **options_of(constraint))
        assert describe(layer, (3, 4, 2)).bias == expected
        assert describe(layer.clone(use_bias=False), (3, 4, 2)).bias is None


@pytest.mark.parametrize(("module", "name"), {Dense: "dense", Shared: "shared", Local: "local", Conv: "conv"}.items())
def test_a_cell_by_its_own_name_is_the_layer_of_its_constraint(module, name):
    options = options_of(name)
    named = module(3, **{option: value for option, value in options.items() if option != "constraint"})
    assert describe(named, (4, 3, 2)) == describe(ConstrainedLayer(3, **options), (4, 3, 2))


def require_same_values_and_gradients(ours, peer, variables, images, draw) -> None:
    """Of two functions of variables and images."""
    cotangent = draw.normal(*jax.eval_shape(peer, variables, images).shape)

    @jax.jit
    def both(variables, images, cotangent):
        linearised = [jax.vjp(function, variables, images) for function in (ours, peer)]
        return [(h, *pull_back(cotangent)) for h, pull_back in linearised]

    with jax.numpy_dtype_promotion("standard"):  # of Flax
        jax.tree.map(close, *both(variables, images, cotangent))


@EXACTLY
@pytest.mark.parametrize(
    ("delta", "geometry"),
    {
        "odd": (2, Geometry(5, 7)),
        "even": (1, Geometry(6, 4, 2)),
        "smaller than the kernel": (2, Geometry(2, 3, 3)),
        "a line": (3, Geometry(1, 6, 2)),
        "a pixel": (0, Geometry(1, 1)),
        "VALID": (2, Geometry(6, 7, 2, margin=2)),
        "FULL": (1, Geometry(5, 6, 3, margin=-1)),
        "CIRCULAR": (2, Geometry(6, 5, 2, "circular")),
    }.values(),
    ids=str,
)
def test_conv_is_the_convolution_of_flax(delta, geometry, draw):
    """Its variables as well, but for the parts of the kernel with which no site sees a pixel."""
    images = draw.normal(2, geometry.height, geometry.width, 2)
    options = {"strides": geometry.stride, "boundary": geometry.boundary, "margin": geometry.margin}
    module = Conv(3, delta=delta, **options)
    padding = "CIRCULAR" if geometry.boundary == "circular" else [(delta - geometry.margin,) * 2] * 2
    peer = nn.Conv(3, (2 * delta + 1,) * 2, geometry.stride, padding)
    rows, columns = (np.add(axis.offsets(delta), delta) for axis in (geometry.rows, geometry.columns))

    def ours(variables, images):
        kernel = variables["params"]["kernel"][rows][:, columns]
        return module.apply({"params": variables["params"] | {"kernel": kernel}}, images)

    variables = random_variables(peer, images, draw)
    whole = len(rows) == len(columns) == 2 * delta + 1
    require_same_values_and_gradients(module.apply if whole else ours, peer.apply, variables, images, draw)


@EXACTLY
@pytest.mark.parametrize("geometry", [Geometry(4, 3), Geometry(5, 4, 2), Geometry(2, 6, 3)])
def test_local_is_the_local_convolution_of_flax_without_weights_that_see_no_pixel(geometry, draw):
    """Whose kernel is [i, j, (c, a, b), d]."""
    table, stride = ties("local", geometry, 1), geometry.stride
    p, q = np.argwhere(table >= 0)[np.argsort(table[table >= 0])].T
    a = q // geometry.width - stride * (p // geometry.output_width)
    b = q % geometry.width - stride * (p % geometry.output_width)
    images, peer = draw.normal(2, geometry.height, geometry.width, 2), nn.ConvLocal(3, (3, 3), stride, [(1, 1)] * 2)

    def ours(variables, images):
        by_site = variables["params"]["kernel"].reshape(geometry.output_sites, 2, 9, 3)
        kernel = by_site[p, :, 3 * (a + 1) + b + 1]
        return Local(3, delta=1, strides=stride).apply({"params": variables["params"] | {"kernel": kernel}}, images)

    require_same_values_and_gradients(ours, peer.apply, random_variables(peer, images, draw), images, draw)


@EXACTLY
def test_dense_is_the_dense_layer_of_flax_on_pixels_in_a_row(draw):
    """kernel[p * inputs + q, c, d] is the weight from the feature (q, c) to the feature (p, d)."""
    images, peer = draw.normal(3, 4, 3, 2), nn.Dense(12 * 3)

    def ours(variables, images):
        matrix, bias = variables["params"]["kernel"], variables["params"]["bias"]
        kernel = matrix.reshape(12, 2, 12, 3).transpose(2, 0, 1, 3).reshape(-1, 2, 3)
        return Dense(3).apply({"params": {"kernel": kernel, "bias": bias.reshape(4, 3, 3)}}, images)

    flax = lambda variables, images: peer.apply(variables, images.reshape(3, -1)).reshape(3, 4, 3, 3)
    variables = random_variables(peer, images.reshape(3, -1), draw)
    require_same_values_and_gradients(ours, flax, variables, images, draw)


@AS_A_USER
def test_a_convolution_takes_images_of_any_size_and_of_whole_numbers_as_that_of_flax(draw):
    ours, peer = Conv(3, delta=1), nn.Conv(3, (3, 3))
    variables = jax.jit(ours.init)(jax.random.key(0), jnp.zeros((1, 3, 6, 1)))
    images = jnp.asarray(draw.rng.integers(0, 256, (2, 5, 4, 1)), jnp.uint8)
    found, expected = jax.jit(lambda v, x: (ours.apply(v, x), peer.apply(v, x)))(variables, images)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-2)


AXES = "they must be [..., height, width, channels]"


@AS_A_USER
@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((4, 3, 32, 32), f"(4, 3, 32, 32), read as 3 x 32 pixels with 32 channels: {AXES}. If the channels come first"),
        ((4, 1, 28, 28), "say in_channels=28"),
        ((10, 28, 28), "(10, 28, 28), read as 10 x 28 pixels with 28 channels"),
        ((28, 28), f"(28, 28): {AXES}"),
        ((2, 8, 8, 0), f"(2, 8, 8, 0): {AXES}"),
    ],
)
def test_images_whose_axes_are_in_another_order_are_refused(shape, words):
    for layer in (Dense(2), Conv(2, delta=1)):
        with pytest.raises(InputError, match=re.escape(words)):
            initial_shapes(layer, shape)


def test_ordinary_images_pass_and_odd_ones_whose_channels_are_announced_or_known():
    for shape in ((1, 32, 32, 32), (4, 3, 7, 7), (2, 32, 32, 3), (28, 28, 1), (3, 5, 6, 6), (5, 9, 9, 8)):
        initial_shapes(Conv(2, delta=1), shape)
    for shape in ((4, 3, 32, 32), (10, 28, 28), (2, 1, 9, 9)):
        initial_shapes(Conv(2, delta=1, in_channels=shape[-1]), shape)
    variables = initial_shapes(Conv(2, delta=1), (2, 12, 16, 16))
    assert apply_shapes(Conv(2, delta=1), variables, (12, 16, 16)).shape == (12, 16, 2)


@EVERY_CONSTRAINT
def test_images_that_are_not_those_of_the_start_are_refused(constraint):
    layer = ConstrainedLayer(3, bias_per_site=True, **options_of(constraint))
    variables = initial_shapes(layer, (1, 5, 4, 2))
    for other, shape in ((layer, (7, 5, 4, 3)), (layer, (1, 6, 4, 2)), (layer.clone(features=4), (1, 5, 4, 2))):
        words = rf"{re.escape(str(shape))}, so the (kernel|combining|bias) of {constraint} must .*initialised for other"
        with pytest.raises(InputError, match=words):
            apply_shapes(other, variables, shape)


@AS_A_USER
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"constraint": "cnov"}, "Unknown constraint 'cnov'.*did you mean 'conv'"),
        ({"constraint": "dense"}, "delta is 1: it means nothing to dense, so leave it out"),
        ({"constraint": "shared"}, "delta is 1: it means nothing to shared"),
        ({"tile": 2}, "tile is 2: it means nothing to conv"),
        ({"rank": 3}, "rank is 3: it means nothing to conv"),
        ({"constraint": "low_rank_local", "tile": 2}, "tile is 2: it means nothing to low_rank_local"),
        ({"constraint": "tiled", "tile": 0}, "tile is 0: it must be a whole number, at least 1"),
        ({"constraint": "low_rank_local", "rank": 0}, "rank is 0: it must be a whole number, at least 1"),
        ({"features": 0}, "features is 0: it must be a whole number, at least 1"),
        ({"strides": (1, 2)}, r"strides is \(1, 2\): it must be a whole number, or two that are the same"),
        ({"strides": 0}, "stride is 0: it must be at least 1"),
        ({"delta": 5}, "delta is 5: on an image of 5 x 4 it must lie between 0"),
        ({"delta": 1.5}, "delta is 1.5: it must be a whole number"),
        ({"margin": 2}, "margin is 2: on an image of 5 x 4"),
        ({"margin": "SAME"}, "margin is 'SAME': it must be a whole number"),
        ({"boundary": "circulr"}, "boundary 'circulr'.*did you mean 'circular'"),
        ({"precision": "float31"}, "precision 'float31'.*did you mean 'float32'"),
        ({"formulation": "patchs"}, "formulation of conv 'patchs'.*did you mean 'patches'"),
        ({"gain": float("nan")}, "gain is nan: it must be a number above 0"),
        ({"in_channels": 3}, r"\(1, 5, 4, 1\), and in_channels is 3"),
    ],
    ids=str,
)
def test_options_that_mean_nothing_or_do_not_fit_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        layer = ConstrainedLayer(**{"features": 2, "constraint": "conv", "delta": 1} | options)
        initial_shapes(layer, (1, 5, 4, 1))


def test_equal_strides_may_be_written_for_each_axis():
    pair, one = (describe(Conv(2, delta=1, strides=strides), (5, 4, 1)) for strides in ((2, 2), 2))
    assert pair == one


@pytest.mark.parametrize("cell", [Local, Conv])
def test_a_local_cell_must_be_told_its_delta(cell):
    with pytest.raises(TypeError, match="delta"):
        cell(2)
