"""A low-rank local layer is a sum of convolutions, weighted at every site: from one convolution to any local layer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_constraints.data.sources import load
from cnn_constraints.errors import InputError
from cnn_constraints.experiment import Model
from cnn_constraints.functional import Layer
from cnn_constraints.lattice import counts, low_rank, projection
from cnn_constraints.lattice import geometry as geometries
from cnn_constraints.lattice.constraints import ties
from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.lattice.projection import to_offsets
from cnn_constraints.network import StoredLayer
from cnn_constraints.plan import build_network, cost

EXACTLY = pytest.mark.usefixtures("float64")
EVERY_BOUNDARY = pytest.mark.parametrize("boundary", geometries.BOUNDARIES)


def close(actual, desired) -> None:
    np.testing.assert_allclose(actual, desired, rtol=0, atol=1e-10)


def layer_of(geometry: Geometry, delta: int, rank: int | None, in_channels: int = 2, out_channels: int = 3, **settings):
    """Of filter banks, or a convolution where there is no rank."""
    constraint = "conv" if rank is None else "low_rank_local"
    return Layer(constraint, geometry, in_channels, out_channels, delta, rank=rank, **settings)


def draw_parameters(geometry: Geometry, delta: int, rank: int, draw, in_channels: int = 2, out_channels: int = 3):
    banks = draw.weights(ties("conv", geometry, delta), in_channels, rank * out_channels)
    combining = draw.normal(rank, geometry.output_height, geometry.output_width)
    return {"weights": banks, "combining": combining}


def expand(parameters, geometry: Geometry, delta: int) -> jax.Array:
    table = ties("conv", geometry, delta)
    return projection.expand_banks(parameters["weights"], parameters["combining"], table, geometry)


def initial_parameters(layer: Layer, seed: int):
    image = jnp.zeros((layer.in_channels, layer.geometry.height, layer.geometry.width, 1))
    return jax.jit(StoredLayer(layer).init)(jax.random.key(seed), image)["params"]


@EXACTLY
@EVERY_BOUNDARY
@pytest.mark.parametrize("stride", [1, 2])
def test_layer_computes_its_definition_and_all_its_gradients(boundary, stride, draw):
    geometry = draw.geometry(boundary, stride)
    delta, rank = draw.reach(geometry), draw.integer(1, 4)
    x, parameters = draw.activations(geometry, 2), draw_parameters(geometry, delta, rank, draw)
    gradient = draw.normal(3, geometry.output_height, geometry.output_width, x.shape[3])
    layer = StoredLayer(layer_of(geometry, delta, rank, bias=None))

    def definition(parameters, x):
        return jnp.einsum("ijklcd,ckln->dijn", expand(parameters, geometry, delta), x)

    @jax.jit
    def values_and_gradients(parameters, x, gradient):
        fast = lambda parameters, x: layer.apply({"params": parameters}, x)
        linearised = [jax.vjp(function, parameters, x) for function in (fast, definition)]
        return [(h, pullback(gradient)) for h, pullback in linearised]

    jax.tree.map(close, *values_and_gradients(parameters, x, gradient))


@EXACTLY
@EVERY_BOUNDARY
def test_expanded_weights_are_the_sum_of_the_text(boundary, draw):
    """V[i, j, a, b] = sum_r w[r, i, j] F_r[a, b], wherever (i + a, j + b) is a pixel."""
    geometry = draw.geometry(boundary, stride=1, largest=4)
    delta, rank = draw.reach(geometry), draw.integer(1, 3)
    parameters = draw_parameters(geometry, delta, rank, draw)
    table = ties("conv", geometry, delta)
    banks = [projection.expand(bank, table, geometry) for bank in jnp.split(parameters["weights"], rank, axis=2)]
    expected = sum(
        w[:, :, None, None, None, None] * bank for w, bank in zip(parameters["combining"], banks, strict=True)
    )
    close(expand(parameters, geometry, delta), expected)


@EXACTLY
def test_filters_of_all_sites_span_no_more_than_rank_dimensions(draw):
    geometry = draw.geometry("circular", stride=1, smallest=3, largest=5)
    rank, delta = draw.integer(1, 4), draw.integer(1, 2)
    absolute = expand(draw_parameters(geometry, delta, rank, draw), geometry, delta)
    filters = np.reshape(to_offsets(absolute, geometry), (geometry.output_sites, -1))
    assert np.linalg.matrix_rank(filters) == rank


@EXACTLY
@EVERY_BOUNDARY
def test_one_bank_with_equal_weights_is_a_convolution(boundary, draw):
    geometry = draw.geometry(boundary)
    delta, weight = draw.reach(geometry), float(draw.normal())
    table = ties("conv", geometry, delta)
    parameters = draw_parameters(geometry, delta, 1, draw)
    parameters["combining"] = jnp.full_like(parameters["combining"], weight)
    close(expand(parameters, geometry, delta), projection.expand(weight * parameters["weights"], table, geometry))


@EXACTLY
@EVERY_BOUNDARY
def test_as_many_banks_as_sites_are_any_local_layer(boundary, draw):
    """The bank of a site is its own filter, and no other site uses it."""
    geometry = draw.geometry(boundary, largest=4)
    delta, sites = draw.reach(geometry), geometry.output_sites
    local = ties("local", geometry, delta)
    absolute = projection.expand(draw.weights(local, 2, 3), local, geometry)
    conv = ties("conv", geometry, delta)
    banks = np.zeros((2, conv.max() + 1, sites, 3))
    by_pair = np.reshape(absolute, (*conv.shape, 2, 3))
    for p, q in np.argwhere(conv >= 0):
        banks[:, conv[p, q], p] = by_pair[p, q]
    own = np.eye(sites).reshape(sites, geometry.output_height, geometry.output_width)
    parameters = {"weights": jnp.asarray(banks.reshape(2, -1, 3 * sites)), "combining": jnp.asarray(own)}
    close(expand(parameters, geometry, delta), absolute)


@EXACTLY
@EVERY_BOUNDARY
def test_layer_reads_exactly_what_lies_within_delta(boundary, draw):
    geometry = draw.geometry(boundary)
    delta, rank = draw.reach(geometry), draw.integer(1, 3)
    absolute = expand(draw_parameters(geometry, delta, rank, draw), geometry, delta)
    rows, columns = (abs(axis.offset_of_pair()) for axis in (geometry.rows, geometry.columns))
    near = np.maximum(rows[:, None, :, None], columns[None, :, None, :]) <= delta
    np.testing.assert_array_equal(np.any(absolute != 0, axis=(4, 5)), near)


def test_layer_starts_as_a_convolution_of_the_same_scale(draw):
    """Its initial filters are the sum of rank independent ones, each divided by the root of the rank."""
    geometry, rank = draw.geometry(), draw.integer(1, 5)
    delta, seed = draw.reach(geometry), draw.integer(0, 2**31)
    layer = layer_of(geometry, delta, rank)
    parameters = initial_parameters(layer, seed)
    np.testing.assert_allclose(np.square(parameters["combining"]).sum(axis=0), 1, rtol=1e-6)
    assert len(np.unique(parameters["combining"])) == 1
    if rank == 1:
        conv = initial_parameters(layer_of(geometry, delta, None), seed)
        np.testing.assert_array_equal(parameters["weights"], conv["weights"])


def test_initial_variance_is_the_gain_on_average_over_sites(draw, monkeypatch):
    """Of the pre-activation, for independent inputs of variance 1: sum over r, c, q of w_r^2 times the variance of F_r."""
    geometry, rank, gain = draw.geometry(), draw.integer(1, 5), float(draw.rng.uniform(0.1, 10))
    delta = draw.reach(geometry)
    monkeypatch.setattr(jax.random, "normal", lambda key, shape, dtype: jnp.ones(shape, dtype))
    parameters = initial_parameters(layer_of(geometry, delta, rank, draw.channels(), 1, gain=gain), 0)
    squares = {name: jnp.square(array) for name, array in parameters.items()}
    variance = expand(squares, geometry, delta).sum(axis=(2, 3, 4, 5))
    np.testing.assert_allclose(variance.mean(), gain, rtol=1e-5)


def test_counts_are_the_banks_and_what_combines_them(draw):
    geometry, rank = draw.geometry(), draw.integer(1, 5)
    shape = (geometry, draw.reach(geometry), draw.channels(), draw.channels())
    count, one = counts.count("low_rank_local", *shape, rank=rank), counts.count("conv", *shape)
    assert count.weights == rank * (one.weights + geometry.output_sites)
    assert count.multiply_adds == rank * (one.multiply_adds + geometry.output_sites * shape[-1])
    assert count.bias == one.bias


def test_a_layer_that_is_not_told_its_rank_has_its_own(draw):
    geometry = draw.geometry()
    delta = draw.reach(geometry)
    own = counts.count("low_rank_local", geometry, delta, rank=low_rank.rank_of("low_rank_local", None))
    assert counts.count("low_rank_local", geometry, delta) == own


def test_rank_means_nothing_to_other_constraints(draw):
    geometry = draw.geometry()
    delta = draw.reach(geometry)
    assert counts.count("conv", geometry, delta, rank=3) == counts.count("conv", geometry, delta)


def test_rank_below_one_is_refused():
    with pytest.raises(InputError, match="rank is 0: it must be a whole number, at least 1"):
        counts.count("low_rank_local", Geometry(3, 3), 1, rank=0)


@pytest.mark.parametrize("constraint", low_rank.names())
@pytest.mark.parametrize("size", [None, 1, 3])
def test_cost_of_a_network_is_the_size_of_its_parameters(constraint, size):
    dataset = load("digits")
    network = build_network(Model(constraint, delta=1, tile=size, rank=size), (8, 8, 1), len(dataset.classes))
    image = jax.ShapeDtypeStruct((1, 8, 8, 1), "float32")
    parameters = jax.eval_shape(network.init, jax.random.key(0), image)["params"]
    assert cost(network).parameters == sum(leaf.size for leaf in jax.tree.leaves(parameters))
