"""The network is layers, activations, pooling, readout and classifier, with canonical parameters or stored ones."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_constraints import network as networks
from cnn_constraints.errors import InputError
from cnn_constraints.experiment import Model
from cnn_constraints.functional import Layer, respond
from cnn_constraints.lattice import constraints, low_rank, projection
from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.lattice.order import leq
from cnn_constraints.layer import ConstrainedLayer
from cnn_constraints.network import Network, StoredLayer, canonical_network, stored_network
from cnn_constraints.ops.choose import stored_ties
from cnn_constraints.plan import build_network
from cnn_constraints.resolve import BIASES

EXACTLY = pytest.mark.usefixtures("float64")
EVERY_LAYER = pytest.mark.parametrize("constraint", low_rank.names())
UNTIED, TIED = ("dense", "local"), ("shared", "conv")


def close(actual, desired) -> None:
    np.testing.assert_allclose(actual, desired, rtol=0, atol=1e-10)


def random_parameters(module: nn.Module, images: jax.Array, draw):
    """Parameters of the module's shapes, biases included, in the precision of the test."""
    with jax.enable_x64(False):  # modules create their parameters in 32 bits
        shapes = jax.eval_shape(module.init, jax.random.key(0), jax.ShapeDtypeStruct(images.shape, "float32"))
    return jax.tree.map(lambda array: 0.3 * draw.normal(*array.shape), shapes)


def a_layer(constraint: str, geometry: Geometry, delta: int | None, in_channels: int, out_channels: int, **settings):
    """With a tile and a rank of two where these mean something."""
    bank = low_rank.bank_of(constraint)
    delta = delta if constraints.find(bank).local else None
    of_constraint = (delta, constraints.tile_of(bank, 2), low_rank.rank_of(constraint, 2))
    return Layer(constraint, geometry, in_channels, out_channels, *of_constraint, **settings)


def two_layers(
    constraint: str, geometry: Geometry, delta: int | None, in_channels: int = 1, stored: bool = True, **settings
) -> Network:
    """Without stride, margin or pooling, so that both layers see the same sites."""
    of_layers = {name: settings.pop(name) for name in ("bias", "precision", "gain") if name in settings}
    layers = tuple(
        a_layer(constraint, geometry, delta, *channels, **of_layers) for channels in ((in_channels, 2), (2, 3))
    )
    return Network(layers, (1, 1), 4, stored=stored, **settings)


@EXACTLY
def test_relu_at_its_gain_keeps_the_second_moment():
    """E[relu(sqrt(gain) z)^2] = 1 for normal z, by Gauss-Hermite quadrature (He et al. 2015, equation 10)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    relu = networks.ACTIVATIONS["relu"]
    moment = (weights * np.square(relu.apply(jnp.sqrt(relu.gain) * jnp.asarray(nodes)))).sum() / weights.sum()
    close(moment, 1)


@EXACTLY
@pytest.mark.parametrize(
    ("pooling", "peer"), {"mean": nn.avg_pool, "max": nn.max_pool}.items(), ids=list(networks.POOLINGS)
)
def test_pooling_is_that_of_flax(pooling, peer, draw):
    size = draw.integer(1, 3)
    x = draw.activations(draw.geometry(smallest=size, largest=7), 2)
    with jax.numpy_dtype_promotion("standard"):
        expected = peer(x.transpose(3, 1, 2, 0), (size, size), (size, size)).transpose(3, 1, 2, 0)
    close(networks.POOLINGS[pooling](x, size), expected)


def test_flatten_keeps_every_feature_of_every_site(draw):
    x = draw.activations(draw.geometry(), 3)
    expected = [np.ravel(x[..., n]) for n in range(x.shape[3])]
    np.testing.assert_array_equal(networks.READOUTS["flatten"](x), expected)


@EXACTLY
def test_global_average_is_the_mean_over_sites(draw):
    x = draw.activations(draw.geometry(), 3)
    close(networks.READOUTS["global_average"](x), np.asarray(x).mean(axis=(1, 2)).T)


@EXACTLY
@pytest.mark.parametrize("activation", networks.ACTIVATIONS)
def test_network_is_layers_activations_pools_readout_and_classifier(activation, draw):
    constraint = str(draw.rng.choice(low_rank.names()))
    pooling, readout = str(draw.rng.choice(list(networks.POOLINGS))), str(draw.rng.choice(list(networks.READOUTS)))
    first = draw.geometry(stride=1, smallest=4, margin=0)
    second = Geometry(first.height // 2, first.width // 2, draw.integer(1, 2), first.boundary)
    of_first, of_second = (draw.reach(geometry) for geometry in (first, second))
    biases = [(None, "site", "channel")[draw.integer(0, 2)] for _ in range(2)]
    layers = (
        a_layer(constraint, first, of_first, 2, 2, bias=biases[0]),
        a_layer(constraint, second, of_second, 2, 3, bias=biases[1]),
    )
    network = Network(layers, (2, 1), 4, activation, pooling, readout, stored=True)
    images = draw.normal(5, first.height, first.width, 2)
    parameters = random_parameters(network, images, draw)

    def by_hand(parameters, images):
        x = images.transpose(3, 1, 2, 0)
        for number, layer in enumerate(layers):
            h = respond(layer, x, [parameters[f"layer_{number}"]])
            x = networks.POOLINGS[pooling](networks.ACTIVATIONS[activation].apply(h), network.pool_sizes[number])
        classifier = parameters["classifier"]
        return networks.READOUTS[readout](x) @ classifier["kernel"] + classifier["bias"]

    logits, expected = jax.jit(lambda p, x: (network.apply(p, x), by_hand(p["params"], x)))(parameters, images)
    close(logits, expected)


@EXACTLY
@EVERY_LAYER
def test_canonical_and_stored_networks_are_inverse_and_say_the_same(constraint, draw):
    geometry = draw.geometry(stride=1, largest=5, margin=0)
    bias, delta = (None, "site", "channel")[draw.integer(0, 2)], draw.reach(geometry)
    stored, canonical = (
        two_layers(constraint, geometry, delta, 2, stored=stored, bias=bias) for stored in (True, False)
    )
    images = draw.normal(3, geometry.height, geometry.width, 2)
    parameters = random_parameters(stored, images, draw)["params"]
    of_users = canonical_network(stored, parameters)
    jax.tree.map(np.testing.assert_array_equal, stored_network(stored, of_users), dict(parameters))
    jax.tree.map(np.testing.assert_array_equal, canonical_network(stored, stored_network(stored, of_users)), of_users)
    with jax.enable_x64(False):
        shapes = jax.eval_shape(canonical.init, jax.random.key(0), jax.ShapeDtypeStruct(images.shape, "float32"))
    assert jax.tree.map(jnp.shape, shapes["params"]) == jax.tree.map(jnp.shape, of_users)
    close(jax.jit(canonical.apply)({"params": of_users}, images), jax.jit(stored.apply)({"params": parameters}, images))


@EVERY_LAYER
def test_both_kinds_of_networks_start_from_the_same_draw(constraint, draw):
    geometry = Geometry(4, 3)
    stored, canonical = (two_layers(constraint, geometry, 1, stored=stored) for stored in (True, False))
    key, images = jax.random.key(draw.integer(0, 2**31)), jnp.zeros((1, 4, 3, 1))
    of_engine, of_users = (jax.jit(network.init)(key, images)["params"] for network in (stored, canonical))
    jax.tree.map(np.testing.assert_array_equal, canonical_network(stored, of_engine), dict(of_users))


@pytest.mark.parametrize("stored", [True, False])
def test_network_initialises_each_layer_with_its_own_gain(stored, draw):
    geometry, gains = draw.geometry(stride=1, margin=0), draw.rng.uniform(0.5, 3, 2).tolist()
    layers = tuple(a_layer("dense", geometry, None, 1, 1, gain=gain) for gain in gains)
    network, found = Network(layers, (1, 1), 2, stored=stored), []

    def record(call, args, kwargs, context):
        if context.method_name == "__call__" and isinstance(context.module, ConstrainedLayer | StoredLayer):
            module = context.module
            found.append(module.layer.gain if stored else module.gain)
        return call(*args, **kwargs)

    with nn.intercept_methods(record):
        jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, geometry.height, geometry.width, 1)))
    assert found == gains


@pytest.mark.parametrize("activation", networks.ACTIVATIONS)
@pytest.mark.parametrize("bias", BIASES)
def test_a_network_of_a_config_has_the_gain_of_its_activation_and_the_bias_it_asks_for(activation, bias, draw):
    constraint = str(draw.rng.choice(low_rank.names()))
    model = Model(constraint, 1, (2, 3), (1, 1), (1, 1), activation=activation, bias=bias)
    layers = build_network(model, (5, 4, 1), 3).layers
    own = "site" if constraints.find(low_rank.bank_of(constraint)).bias_per_site else "channel"
    expected = {"own": own, "site": "site", "channel": "channel", "none": None}[bias]
    assert [(layer.gain, layer.bias) for layer in layers] == [(networks.ACTIVATIONS[activation].gain, expected)] * 2


def test_layers_draw_weights_with_keys_of_their_own(draw, monkeypatch):
    geometry = draw.geometry(stride=1, margin=0)
    network = Network((a_layer("dense", geometry, None, 1, 1),) * 2, (1, 1), 2, stored=True)
    keys = []
    monkeypatch.setattr(jax.random, "normal", lambda key, shape, dtype: keys.append(key) or jnp.ones(shape, dtype))

    @jax.jit
    def draw_keys(key):
        network.init(key, jnp.zeros((1, geometry.height, geometry.width, 1)))
        return [jax.random.key_data(key) for key in keys]

    drawn = {tuple(key.tolist()) for key in map(np.asarray, draw_keys(jax.random.key(draw.integer(0, 99))))}
    assert len(drawn) == 3, "two layers and the classifier"


@EXACTLY
@pytest.mark.parametrize("readout", networks.READOUTS)
def test_network_is_embedded_in_every_weaker_one(readout, draw):
    """A convolutional network is a fully connected one, layer by layer."""
    geometry = draw.geometry(stride=1, largest=5, margin=0)
    delta = draw.reach(geometry)
    images = draw.normal(3, geometry.height, geometry.width, 1)
    tables = {name: stored_ties(name, geometry, delta, 2) for name in constraints.CONSTRAINTS}
    of = {name: two_layers(name, geometry, delta, readout=readout, bias="channel") for name in tables}
    pairs = [(s, w) for s, w in itertools.permutations(tables, 2) if leq(tables[s], tables[w])]
    stronger, weaker = pairs[draw.integer(0, len(pairs) - 1)]
    parameters = random_parameters(of[stronger], images, draw)["params"]
    embedded = {
        name: {**own, "weights": projection.embed(own["weights"], tables[stronger], tables[weaker])}
        if name.startswith("layer")
        else own
        for name, own in parameters.items()
    }
    close(
        jax.jit(of[weaker].apply)({"params": embedded}, images),
        jax.jit(of[stronger].apply)({"params": parameters}, images),
    )


def logits_before_and_after_a_shift(constraint: str, draw) -> tuple[jax.Array, jax.Array]:
    """Of a network on a torus with random weights, without pooling, that averages over all sites."""
    geometry = draw.geometry("circular", stride=1, smallest=4)
    bias = "site" if constraints.find(constraint).bias_per_site else "channel"
    settings = {"readout": "global_average", "activation": "tanh", "bias": bias}
    network = two_layers(constraint, geometry, draw.integer(0, 2), 2, **settings)
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
        ({"precision": "float31"}, "precision 'float31'.*did you mean 'float32'"),
    ],
)
def test_misspelt_part_of_a_network_is_refused_with_the_nearest_name(settings, words):
    with pytest.raises(InputError, match=words):
        two_layers("conv", Geometry(3, 3), 1, **settings).init(jax.random.key(0), jnp.zeros((1, 3, 3, 1)))


def test_classifier_starts_at_unit_variance(seed):
    drawn = networks.lecun_normal(jax.random.key(seed), (400, 300), jnp.float32)
    # 120,000 numbers: the standard error of their variance is 0.4%.
    assert abs(400 * float(drawn.var()) - 1) < 0.03


@EXACTLY
@EVERY_LAYER
def test_joined_lanes_are_networks_by_themselves(constraint, draw):
    geometry = draw.geometry(stride=1, largest=5, margin=0)
    network = two_layers(constraint, geometry, draw.reach(geometry), 2)
    images = draw.normal(3, geometry.height, geometry.width, 2)
    lanes = [random_parameters(network, images, draw)["params"] for _ in range(3)]
    joined = jax.jit(lambda lanes, images: networks.logits_side_by_side(network, lanes, images))(lanes, images)
    alone = jax.jit(lambda lanes, images: [network.apply({"params": lane}, images) for lane in lanes])(lanes, images)
    for one, other in zip(joined, alone, strict=True):
        close(one, other)


def test_joined_lanes_keep_the_precision_of_the_network(draw):
    geometry = Geometry(6, 6)
    network = two_layers("conv", geometry, 1, precision="bfloat16")
    images = draw.normal(3, 6, 6, 1)
    lanes = [network.init(jax.random.key(seed), images)["params"] for seed in range(2)]
    for lane, logits in zip(lanes, networks.logits_side_by_side(network, lanes, images), strict=True):
        np.testing.assert_allclose(logits, network.apply({"params": lane}, images), rtol=2e-2, atol=2e-2)
        exact = two_layers("conv", geometry, 1).apply({"params": lane}, images)
        assert np.abs(np.asarray(logits) - np.asarray(exact)).max() > 1e-6
