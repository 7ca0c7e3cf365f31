"""The network is layers, activations, pooling, readout and classifier, with canonical parameters or stored ones."""

import dataclasses
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exactly import EXACTLY, close
from geometries import options_of
from random_variables import initial_shapes, random_variables

from cnn_constraints import network as networks
from cnn_constraints.architecture import build_network
from cnn_constraints.errors import InputError
from cnn_constraints.experiment import Model
from cnn_constraints.functional import Layer, draw_normal, respond
from cnn_constraints.lattice import constraints, low_rank
from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.network import Network, canonical_network, stored_network
from cnn_constraints.resolve import BIASES
from cnn_constraints.variables import embed

GEOMETRY = Geometry(4, 5)
SHAPE = (3, 4, 5, 2)


def a_layer(constraint: str, geometry: Geometry, in_channels: int, out_channels: int, **settings) -> Layer:
    shape = {"geometry": geometry, "in_channels": in_channels, "out_channels": out_channels}
    return Layer(**options_of(constraint), **shape, **settings)


def two_layers(constraint: str, geometry: Geometry = GEOMETRY, stored: bool = True, of_layers=None, **settings):
    """Without stride, margin or pooling, so that both layers see the same sites."""
    layers = tuple(a_layer(constraint, geometry, *channels, **(of_layers or {})) for channels in ((2, 2), (2, 3)))
    return Network(layers, (1, 1), 4, stored=stored, **settings)


@EXACTLY
def test_relu_at_its_gain_keeps_the_second_moment():
    """E[relu(sqrt(gain) z)^2] = 1 for normal z, by Gauss-Hermite quadrature (He et al. 2015, equation 10)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    relu = networks.ACTIVATIONS["relu"]
    moment = (weights * np.square(relu.apply(jnp.sqrt(relu.gain) * jnp.asarray(nodes)))).sum() / weights.sum()
    close(moment, 1)


@EXACTLY
@pytest.mark.parametrize(("pooling", "peer"), {"mean": nn.avg_pool, "max": nn.max_pool}.items())
def test_pooling_is_that_of_flax(pooling, peer, draw):
    x = draw.normal(2, 5, 7, 3)
    with jax.numpy_dtype_promotion("standard"):
        expected = peer(x.transpose(3, 1, 2, 0), (2, 2), (2, 2)).transpose(3, 1, 2, 0)
    close(networks.POOLINGS[pooling](x, 2), expected)


@EXACTLY
def test_readouts_keep_every_site_or_average_over_them(draw):
    x = draw.normal(3, 4, 5, 2)
    np.testing.assert_array_equal(networks.READOUTS["flatten"](x), [np.ravel(x[..., n]) for n in range(2)])
    close(networks.READOUTS["global_average"](x), np.asarray(x).mean(axis=(1, 2)).T)
    np.testing.assert_array_equal(networks.READOUTS["global_max"](x), np.asarray(x).max(axis=(1, 2)).T)


@EXACTLY
@pytest.mark.parametrize(
    ("activation", "constraint", "pooling", "readout"),
    [
        ("relu", "dense", "mean", "flatten"),
        ("tanh", "shared", "max", "flatten"),
        ("gelu", "local", "mean", "global_average"),
        ("quadratic", "conv", "max", "global_average"),
        ("identity", "low_rank_local", "mean", "flatten"),
    ],
)
def test_network_is_layers_activations_pools_readout_and_classifier(activation, constraint, pooling, readout, draw):
    other = str(draw.rng.choice(["conv", "dense"]))
    layers = (
        a_layer(constraint, GEOMETRY, 2, 2, bias="channel"),
        a_layer(other, Geometry(2, 2, 2), 2, 3, bias="site"),
    )
    network = Network(layers, (2, 1), 4, activation, pooling, readout, stored=True)
    images = draw.normal(*SHAPE)

    def by_hand(parameters, images):
        x = images.transpose(3, 1, 2, 0)
        for number, layer in enumerate(layers):
            h = respond(layer, x, [parameters[f"layer_{number}"]])
            x = networks.POOLINGS[pooling](networks.ACTIVATIONS[activation].apply(h), network.pool_sizes[number])
        classifier = parameters["classifier"]
        return networks.READOUTS[readout](x) @ classifier["kernel"] + classifier["bias"]

    both = jax.jit(lambda v, x: (network.apply(v, x), by_hand(v["params"], x)))
    close(*both(random_variables(network, images, draw), images))


def in_flax(model: Model, in_channels: int) -> nn.Module:
    """A network of convolutions as anyone writes it in Flax, with our names."""
    reach = {"same": 1, "valid": 0, "full": 2}[model.padding] * model.delta

    class Peer(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            def normalise(h, name):
                if model.normalisation == "batch":
                    return nn.BatchNorm(not train, momentum=0.9, name=f"normalisation_{name}")(h)
                axes = tuple(range(1, h.ndim))
                return nn.LayerNorm(reduction_axes=axes, feature_axes=-1, name=f"normalisation_{name}")(h)

            for number, channels in enumerate(model.channels):
                size = (2 * model.delta + 1,) * 2
                padded = {"padding": [(reach, reach)] * 2, "use_bias": model.normalisation != "batch"}
                h = nn.Conv(channels, size, **padded, name=f"layer_{number}")(x)
                h = normalise(h, number)
                x = nn.relu(h + x if model.network == "residual" and h.shape == x.shape else h)
            x = x.max(axis=(1, 2)) if model.readout == "global_max" else x.transpose(0, 3, 1, 2).reshape(len(x), -1)
            x = nn.relu(normalise(nn.Dense(model.hidden, model.normalisation != "batch", name="hidden")(x), "hidden"))
            return nn.Dense(3, name="classifier")(x)

    return Peer()


def with_variances(variables):
    """Statistics that are not negative."""
    return {**variables, "batch_stats": jax.tree.map(jnp.abs, variables.get("batch_stats", {}))}


@pytest.mark.usefixtures("in_64_bits")
@pytest.mark.parametrize(
    ("padding", "network", "normalisation", "readout"),
    [
        ("same", "residual", "batch", "flatten"),
        ("valid", "plain", "batch", "global_max"),
        ("full", "plain", "layer", "flatten"),
        pytest.param("same", "residual", "layer", "global_max", marks=pytest.mark.slow),
    ],
)
def test_a_network_of_convolutions_is_that_of_flax(padding, network, normalisation, readout, draw):
    """With the same variables, and running statistics that move as they do there."""
    channels = (2, 2) if network == "residual" else (3, 2)
    model = Model("conv", 1, channels, (1, 1), (1, 1), readout=readout, padding=padding, hidden=3)
    model = dataclasses.replace(model, network=network, normalisation=normalisation)
    images = draw.normal(4, 7, 6, 2)
    ours = build_network(model, images.shape[1:], 3).clone(stored=False)
    variables = with_variances(random_variables(ours, images, draw))
    for train in (True, False):
        both = [(ours, {"train": train}), (in_flax(model, 2), {"train": train})]
        said = [jax.jit(partial(one.apply, mutable=["batch_stats"], **given))(variables, images) for one, given in both]
        jax.tree.map(close, *said)


@pytest.mark.usefixtures("in_64_bits")
@pytest.mark.parametrize("constraint", low_rank.names())
def test_a_network_says_the_same_in_canonical_order_and_beside_others(constraint, draw):
    more = [{}, {"normalisation": "batch", "hidden": 3}, {"normalisation": "layer", "residual": True}]
    settings = {"of_layers": {"bias": "site"}} | more[draw.integer(0, 2)]
    network, canonical = (two_layers(constraint, stored=stored, **settings) for stored in (True, False))
    images = draw.normal(*SHAPE)
    lanes = [with_variances(random_variables(network, images, draw)) for _ in range(3)]
    of_users = canonical_network(network, lanes[0]["params"])
    jax.tree.map(np.testing.assert_array_equal, stored_network(network, of_users), dict(lanes[0]["params"]))
    shapes = initial_shapes(canonical, images.shape)["params"]
    assert jax.tree.map(jnp.shape, dict(shapes)) == jax.tree.map(jnp.shape, of_users)

    @jax.jit
    def every_way(lanes, of_users, images):
        alone = [network.apply(lane, images) for lane in lanes]
        return (
            alone,
            networks.logits_side_by_side(network, lanes, images),
            canonical.apply({**lanes[0], "params": of_users}, images),
        )

    alone, joined, by_users = every_way(lanes, of_users, images)
    jax.tree.map(close, joined, alone)
    close(by_users, alone[0])


@pytest.mark.usefixtures("in_64_bits")
def test_a_network_is_embedded_layer_by_layer_in_one_that_is_freer_in_some(draw):
    conv, mixed = (
        build_network(Model(constraint, 1, (3, 2), (2, 1), (1, 1), normalisation="batch", hidden=3), (5, 4, 2), 3)
        for constraint in ("conv", ("conv", "local"))
    )
    conv, mixed, images = conv.clone(stored=False), mixed.clone(stored=False), draw.normal(4, 5, 4, 2)
    variables = with_variances(random_variables(conv, images, draw))
    embedded = embed(variables, conv, mixed, images)
    close(jax.jit(mixed.apply)(embedded, images), jax.jit(conv.apply)(variables, images))


def test_both_kinds_of_networks_start_from_the_same_draw(seed):
    stored, canonical = (two_layers("local", stored=stored) for stored in (True, False))
    of_engine, of_users = (
        jax.jit(one.init)(jax.random.key(seed), jnp.zeros(SHAPE))["params"] for one in (stored, canonical)
    )
    close = lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-6)
    jax.tree.map(close, canonical_network(stored, of_engine), dict(of_users))


def test_a_network_of_a_config_has_the_gain_of_its_activation_and_the_bias_it_asks_for(draw):
    constraint = str(draw.rng.choice(low_rank.names()))
    own = "site" if constraints.find(low_rank.bank_of(constraint)).bias_per_site else "channel"
    for activation, (_, gain) in networks.ACTIVATIONS.items():
        for bias in BIASES:
            model = Model(constraint, 1, (2, 3), (1, 1), (1, 1), activation=activation, bias=bias)
            expected = {"own": own, "site": "site", "channel": "channel", "none": None}[bias]
            layers = build_network(model, (5, 4, 1), 3).layers
            assert [(layer.gain, layer.bias) for layer in layers] == [(gain, expected)] * 2


@EXACTLY
@pytest.mark.parametrize(("constraint", "sees"), {"shared": False, "conv": False, "dense": True, "local": True}.items())
def test_an_untied_network_alone_sees_where_on_a_torus(constraint, sees, draw):
    """Where it averages over all sites, and each has its own bias: translation invariance is asked of U too."""
    own = {"bias": "site" if sees else "channel"}
    settings = {"readout": "global_average", "activation": "tanh", "of_layers": own}
    network = two_layers(constraint, Geometry(4, 5, 1, "circular"), **settings)
    images = draw.normal(*SHAPE)
    parameters, logits = random_variables(network, images, draw), jax.jit(network.apply)
    moved = jnp.roll(images, (draw.integer(1, 3), draw.integer(1, 4)), axis=(1, 2))
    difference = abs(logits(parameters, images) - logits(parameters, moved)).max()
    assert difference > 1e-6 if sees else difference < 1e-10


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"readout": "flat"}, "readout 'flat'.*did you mean 'flatten'"),
        ({"activation": "rely"}, "activation 'rely'.*did you mean 'relu'"),
        ({"pooling": "men"}, "pooling 'men'.*did you mean 'mean'"),
        ({"normalisation": "bath"}, "normalisation 'bath'.*did you mean 'batch'"),
        ({"of_layers": {"precision": "float31"}}, "precision 'float31'.*did you mean 'float32'"),
    ],
)
def test_misspelt_part_of_a_network_is_refused_with_the_nearest_name(settings, words):
    with pytest.raises(InputError, match=words):
        initial_shapes(two_layers("conv", **settings), SHAPE)


def test_classifier_starts_at_unit_variance(seed):
    drawn = networks.lecun_normal(jax.random.key(seed), (40, 30), jnp.float32)
    np.testing.assert_allclose(np.sqrt(40) * drawn, draw_normal(jax.random.key(seed), (40, 30)), rtol=1e-5)
