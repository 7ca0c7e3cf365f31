"""The layer adds bias and initial scale to its constraint; the network is layers, pooling, readout and classifier."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_constraints import model
from cnn_constraints.constraints import geometry as geometries
from cnn_constraints.constraints import maps, ties
from cnn_constraints.constraints.geometry import Geometry
from cnn_constraints.constraints.ties import leq, tie_table
from cnn_constraints.errors import InputError
from cnn_constraints.model import ConstrainedLayer, LayerShape, Network
from cnn_constraints.ops import choose

EXACTLY = pytest.mark.usefixtures("float64")
EVERY_CONSTRAINT = pytest.mark.parametrize("constraint", ties.CONSTRAINTS)
UNTIED, TIED = ("dense", "local"), ("shared", "conv")


def close(actual, desired) -> None:
    np.testing.assert_allclose(actual, desired, rtol=0, atol=1e-10)


def random_parameters(module: nn.Module, images: jax.Array, draw):
    """Parameters of the module's shapes, biases included, in the precision of the test."""
    with jax.enable_x64(False):  # modules create their parameters in 32 bits
        shapes = jax.eval_shape(module.init, jax.random.key(0), jax.ShapeDtypeStruct(images.shape, "float32"))
    return jax.tree.map(lambda array: 0.3 * draw.normal(*array.shape), shapes)


def two_layers(constraint: str, geometry: Geometry, delta: int | None, **settings) -> Network:
    """Without stride or pooling, so that both layers see the same sites."""
    delta = delta if ties.find(constraint).local else None
    return Network(constraint, (LayerShape(geometry, 2, delta, 1), LayerShape(geometry, 3, delta, 1)), 4, **settings)


@EXACTLY
@EVERY_CONSTRAINT
def test_layer_is_its_constraint_and_a_bias(constraint, draw):
    geometry = draw.geometry()
    delta = draw.delta(constraint, geometry)
    x = draw.activations(geometry, 2)
    layer = ConstrainedLayer(constraint, geometry, 3, delta)
    parameters = random_parameters(layer, x, draw)
    weights, bias = parameters["params"]["weights"], parameters["params"]["bias"]
    h, without = jax.jit(
        lambda p, x: (layer.apply(p, x), choose.apply(constraint, x, p["params"]["weights"], geometry, delta))
    )(parameters, x)
    assert weights.shape == (2, ties.sizes(constraint, geometry, delta).weights, 3)
    close(h, without + bias)


@pytest.mark.parametrize("bias", model.BIASES)
@EVERY_CONSTRAINT
def test_bias_is_one_for_each_site_or_each_channel_or_none(constraint, bias, draw):
    geometry = draw.geometry()
    layer = ConstrainedLayer(constraint, geometry, 3, draw.delta(constraint, geometry), bias)
    parameters = random_parameters(layer, draw.activations(geometry, 1), draw)["params"]
    per_site = bias == "site" or (bias == "own" and ties.find(constraint).bias_per_site)
    expected = (3, geometry.output_height, geometry.output_width, 1) if per_site else (3, 1, 1, 1)
    assert getattr(parameters.get("bias"), "shape", None) == (None if bias == "none" else expected)


def test_own_bias_is_that_of_the_text():
    """U[i, j] for each site without translation invariance, u with it."""
    per_site = {name: ties.find(name).bias_per_site for name in ("dense", "shared", "local", "conv")}
    assert per_site == {"dense": True, "shared": False, "local": True, "conv": False}


@EVERY_CONSTRAINT
def test_initial_bias_is_zero(constraint, draw):
    geometry = draw.geometry()
    layer = ConstrainedLayer(constraint, geometry, 3, draw.delta(constraint, geometry))
    images = draw.activations(geometry, 1)
    assert not jax.jit(lambda x: layer.init(jax.random.key(0), x)["params"]["bias"])(images).any()


def initial_variance_of_each_site(constraint: str, gain: float, geometry: Geometry, draw, monkeypatch) -> np.ndarray:
    """Of the pre-activation, for independent inputs of variance 1: sum over c, q of the variance of W[p, q, c]."""
    delta = draw.delta(constraint, geometry)
    layer = ConstrainedLayer(constraint, geometry, 1, delta, gain=gain)
    monkeypatch.setattr(jax.random, "normal", lambda key, shape, dtype: jnp.ones(shape, dtype))
    images = draw.activations(geometry, draw.channels())
    parameters = jax.jit(layer.init)(jax.random.key(0), images)
    deviation = parameters["params"]["weights"]
    table = tie_table(constraint, geometry, delta)
    variance = np.append(np.float64(deviation[..., 0]) ** 2, np.zeros((len(deviation), 1)), axis=1)
    return variance[:, table].sum(axis=(0, 2))


@EVERY_CONSTRAINT
@pytest.mark.parametrize("boundary", geometries.BOUNDARIES)
def test_initial_variance_is_the_gain_on_average_over_sites(constraint, boundary, draw, monkeypatch):
    gain = draw.rng.uniform(0.1, 10)
    variance = initial_variance_of_each_site(constraint, gain, draw.geometry(boundary), draw, monkeypatch)
    np.testing.assert_allclose(variance.mean(), gain, rtol=1e-5)


@pytest.mark.parametrize(
    ("constraint", "boundary"), [("dense", "zero"), ("local", "zero"), ("shared", "circular"), ("conv", "circular")]
)
def test_initial_variance_is_the_gain_at_every_site_untied_or_on_a_torus(constraint, boundary, draw, monkeypatch):
    gain = draw.rng.uniform(0.1, 10)
    variance = initial_variance_of_each_site(constraint, gain, draw.geometry(boundary), draw, monkeypatch)
    np.testing.assert_allclose(variance, gain, rtol=1e-5)


def test_initial_weights_have_mean_zero_and_the_stated_variance(draw):
    constraint = str(draw.rng.choice(list(ties.CONSTRAINTS)))
    geometry = draw.geometry(smallest=4)
    delta, channels = draw.delta(constraint, geometry), 10
    layer = ConstrainedLayer(constraint, geometry, 10, delta, gain=2.0)
    images = jnp.zeros((channels, geometry.height, geometry.width, 1))
    weights = jax.jit(layer.init)(jax.random.key(draw.integer(0, 2**31)), images)["params"]["weights"]
    variance = 2.0 * ties.inverse_fan_in(constraint, geometry, delta) / channels
    standard = np.asarray(weights, np.float64) / np.sqrt(variance)[:, None]
    assert abs(standard.mean()) < 6 / np.sqrt(standard.size)
    assert abs((standard**2).mean() - 1) < 6 * np.sqrt(2 / standard.size)


@EXACTLY
def test_relu_at_its_gain_keeps_the_second_moment():
    """E[relu(sqrt(gain) z)^2] = 1 for normal z, by Gauss-Hermite quadrature (He et al. 2015, equation 10)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    relu = model.ACTIVATIONS["relu"]
    moment = (weights * np.square(relu.apply(jnp.sqrt(relu.gain) * jnp.asarray(nodes)))).sum() / weights.sum()
    close(moment, 1)


@EXACTLY
@pytest.mark.parametrize(
    ("pooling", "peer"), {"mean": nn.avg_pool, "max": nn.max_pool}.items(), ids=list(model.POOLINGS)
)
def test_pooling_is_that_of_flax(pooling, peer, draw):
    size = draw.integer(1, 3)
    x = draw.activations(draw.geometry(smallest=size, largest=7), 2)
    with jax.numpy_dtype_promotion("standard"):
        expected = peer(x.transpose(3, 1, 2, 0), (size, size), (size, size)).transpose(3, 1, 2, 0)
    close(model.POOLINGS[pooling](x, size), expected)


def test_flatten_keeps_every_feature_of_every_site(draw):
    x = draw.activations(draw.geometry(), 3)
    expected = [np.ravel(x[..., n]) for n in range(x.shape[3])]
    np.testing.assert_array_equal(model.READOUTS["flatten"](x), expected)


@EXACTLY
def test_global_average_is_the_mean_over_sites(draw):
    x = draw.activations(draw.geometry(), 3)
    close(model.READOUTS["global_average"](x), np.asarray(x).mean(axis=(1, 2)).T)


@EXACTLY
@pytest.mark.parametrize("activation", model.ACTIVATIONS)
def test_network_is_layers_activations_pools_readout_and_classifier(activation, draw):
    constraint = str(draw.rng.choice(list(ties.CONSTRAINTS)))
    pooling, readout = str(draw.rng.choice(list(model.POOLINGS))), str(draw.rng.choice(list(model.READOUTS)))
    first = draw.geometry(stride=1, smallest=4)
    second = Geometry(first.height // 2, first.width // 2, draw.integer(1, 2), first.boundary)
    shapes = tuple(LayerShape(g, d, draw.delta(constraint, g), s) for g, d, s in ((first, 2, 2), (second, 3, 1)))
    network = Network(constraint, shapes, 4, activation, pooling, readout)
    images = draw.normal(5, first.height, first.width, 2)
    parameters = random_parameters(network, images, draw)

    def by_hand(parameters, images):
        x = images.transpose(3, 1, 2, 0)
        for number, shape in enumerate(shapes):
            own = parameters[f"layer_{number}"]
            h = choose.apply(constraint, x, own["weights"], shape.geometry, shape.delta) + own["bias"]
            x = model.POOLINGS[pooling](model.ACTIVATIONS[activation].apply(h), shape.pool_size)
        classifier = parameters["classifier"]
        return model.READOUTS[readout](x) @ classifier["kernel"] + classifier["bias"]

    logits, expected = jax.jit(lambda p, x: (network.apply(p, x), by_hand(p["params"], x)))(parameters, images)
    close(logits, expected)


@pytest.mark.parametrize("activation", model.ACTIVATIONS)
def test_network_initialises_each_layer_with_the_gain_of_its_activation(activation, draw):
    geometry = draw.geometry(stride=1)
    network = two_layers("dense", geometry, None, activation=activation)
    gains = []

    def record(call, args, kwargs, context):
        if isinstance(context.module, ConstrainedLayer) and context.method_name == "__call__":
            gains.append(context.module.gain)
        return call(*args, **kwargs)

    with nn.intercept_methods(record):
        jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, geometry.height, geometry.width, 1)))
    assert gains == [model.ACTIVATIONS[activation].gain] * 2


def test_layers_draw_weights_with_keys_of_their_own(draw, monkeypatch):
    geometry = draw.geometry(stride=1)
    network = Network("dense", (LayerShape(geometry, 1, None, 1),) * 2, 2)
    keys = []
    monkeypatch.setattr(jax.random, "normal", lambda key, shape, dtype: keys.append(key) or jnp.ones(shape, dtype))

    @jax.jit
    def draw_keys(key):
        network.init(key, jnp.zeros((1, geometry.height, geometry.width, 1)))
        return [jax.random.key_data(key) for key in keys]

    drawn = {tuple(key.tolist()) for key in map(np.asarray, draw_keys(jax.random.key(draw.integer(0, 99))))}
    assert len(drawn) == 3, "two layers and the classifier"


@EXACTLY
@pytest.mark.parametrize("readout", model.READOUTS)
def test_network_is_embedded_in_every_weaker_one(readout, draw):
    """A convolutional network is a fully connected one, layer by layer."""
    geometry = draw.geometry(stride=1, largest=5)
    delta = draw.reach(geometry)
    images = draw.normal(3, geometry.height, geometry.width, 1)
    tables = {name: tie_table(name, geometry, delta) for name in ties.CONSTRAINTS}
    networks = {name: two_layers(name, geometry, delta, readout=readout, bias="channel") for name in tables}
    pairs = [(s, w) for s, w in itertools.permutations(tables, 2) if leq(tables[s], tables[w])]
    stronger, weaker = pairs[draw.integer(0, len(pairs) - 1)]
    parameters = random_parameters(networks[stronger], images, draw)["params"]
    embedded = {
        name: {**own, "weights": maps.embed(own["weights"], tables[stronger], tables[weaker])}
        if name.startswith("layer")
        else own
        for name, own in parameters.items()
    }
    close(
        jax.jit(networks[weaker].apply)({"params": embedded}, images),
        jax.jit(networks[stronger].apply)({"params": parameters}, images),
    )


def logits_before_and_after_a_shift(constraint: str, draw) -> tuple[jax.Array, jax.Array]:
    """Of a network on a torus with random weights, without pooling, that averages over all sites."""
    geometry = draw.geometry("circular", stride=1, smallest=4)
    network = two_layers(constraint, geometry, draw.integer(0, 2), readout="global_average", activation="tanh")
    images = draw.normal(3, geometry.height, geometry.width, 2)
    parameters = random_parameters(network, images, draw)
    moved = jnp.roll(images, (draw.integer(1, geometry.height - 1), draw.integer(0, 3)), axis=(1, 2))
    logits = jax.jit(network.apply)
    return logits(parameters, images), logits(parameters, moved)


@EXACTLY
@pytest.mark.parametrize("constraint", TIED)
def test_tied_network_does_not_see_where_on_a_torus(constraint, draw):
    # Its own bias is one per channel: translation invariance is asked of U too (D2L 7.1.2.1).
    close(*logits_before_and_after_a_shift(constraint, draw))


@EXACTLY
@pytest.mark.parametrize("constraint", UNTIED)
def test_untied_network_sees_where_on_a_torus(constraint, draw):
    before, after = logits_before_and_after_a_shift(constraint, draw)
    assert abs(before - after).max() > 1e-6


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"readout": "flat"}, "readout 'flat'.*did you mean 'flatten'"),
        ({"activation": "rely"}, "activation 'rely'.*did you mean 'relu'"),
        ({"pooling": "men"}, "pooling 'men'.*did you mean 'mean'"),
        ({"bias": "chanel"}, "bias 'chanel'.*did you mean 'channel'"),
    ],
)
def test_misspelt_part_of_a_network_is_refused_with_the_nearest_name(settings, words):
    with pytest.raises(InputError, match=words):
        two_layers("conv", Geometry(3, 3), 1, **settings).init(jax.random.key(0), jnp.zeros((1, 3, 3, 1)))


@EVERY_CONSTRAINT
def test_parameters_are_in_32_bits_whatever_the_precision_of_the_program(constraint):
    layer = ConstrainedLayer(constraint, Geometry(3, 3), 2, 1)
    with jax.enable_x64(True):
        parameters = layer.init(jax.random.key(0), jnp.zeros((1, 3, 3, 1), jnp.float32))
    assert {leaf.dtype for leaf in jax.tree.leaves(parameters)} == {jnp.dtype("float32")}


def test_numbers_drawn_as_a_vector_are_those_drawn_over_axes(seed):
    key, shape = jax.random.key(seed), (2, 5, 3)
    np.testing.assert_array_equal(model.draw_normal(key, shape), jax.random.normal(key, shape))


def test_classifier_starts_at_unit_variance(seed):
    drawn = model.lecun_normal(jax.random.key(seed), (400, 300), jnp.float32)
    # 120,000 numbers: the standard error of their variance is 0.4%.
    assert abs(400 * float(drawn.var()) - 1) < 0.03


@pytest.mark.parametrize("constraint", choose.FORMULATIONS)
def test_bfloat16_rounds_factors_and_sums_in_float32(constraint, draw):
    geometry, delta = Geometry(20, 20), 9 if ties.find(constraint).local else None
    ones = jnp.ones((1, 20, 20, 2))
    free = ties.sizes(constraint, geometry, delta).weights
    apply = jax.jit(model.multiply, static_argnums=(0, 1, 4, 5))
    counted = apply("bfloat16", constraint, ones, jnp.ones((1, free, 1)), geometry, delta)
    # A sum kept in bfloat16 would never get beyond 256.
    connected = (tie_table(constraint, geometry, delta) >= 0).sum(axis=1).reshape(20, 20)
    assert connected.max() > 300
    np.testing.assert_allclose(counted[0, :, :, 0], connected, rtol=1e-2)
    x, weights = draw.normal(1, 20, 20, 2), draw.normal(1, free, 3)
    exact, rounded = (apply(name, constraint, x, weights, geometry, delta) for name in model.PRECISIONS)
    difference = np.abs(exact - rounded).max() / np.abs(exact).max()
    assert rounded.dtype == jnp.float32 and difference < 2e-2
    # The spectra of `fourier` are in 32 bits, of factors that were rounded.
    assert difference > 1e-4


def test_joined_lanes_keep_the_precision_of_the_network(draw):
    geometry = Geometry(6, 6)
    network = two_layers("conv", geometry, 1, precision="bfloat16")
    images = draw.normal(3, 6, 6, 1)
    lanes = [network.init(jax.random.key(seed), images)["params"] for seed in range(2)]
    for lane, logits in zip(lanes, model.logits_of_lanes(network, lanes, images), strict=True):
        np.testing.assert_allclose(logits, network.apply({"params": lane}, images), rtol=2e-2, atol=2e-2)
        exact = two_layers("conv", geometry, 1).apply({"params": lane}, images)
        assert np.abs(np.asarray(logits) - np.asarray(exact)).max() > 1e-6
