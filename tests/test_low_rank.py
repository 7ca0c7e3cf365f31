"""A low-rank local layer is a sum of convolutions, weighted at every site: from one convolution to any local layer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exactly import EXACTLY, close
from geometries import CASES, cases

from cnn_constraints.functional import Layer, initialisers
from cnn_constraints.lattice import counts, low_rank, projection
from cnn_constraints.lattice.constraints import ties
from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.network import StoredLayer

CASE = cases("stride 2", "torus")


def draw_parameters(case, rank: int, draw):
    banks = draw.weights(case.table("conv"), 2, rank * 3)
    return {"weights": banks, "combining": draw.normal(rank, case.geometry.output_height, case.geometry.output_width)}


def expand(parameters, case) -> jax.Array:
    return projection.expand_banks(parameters["weights"], parameters["combining"], case.table("conv"), case.geometry)


def initial_parameters(constraint: str, case, rank: int | None, seed: int, out_channels: int = 3, gain: float = 1.0):
    layer = Layer(constraint, case.geometry, 2, out_channels, case.delta, rank=rank, gain=gain)
    return {name: initialise(jax.random.key(seed)) for name, initialise in initialisers(layer).items()}


@EXACTLY
@CASE
def test_a_layer_computes_its_definition_and_all_its_gradients(case, draw):
    geometry, rank = case.geometry, 3
    layer = StoredLayer(Layer("low_rank_local", geometry, 2, 3, case.delta, rank=rank, bias=None))

    @jax.jit
    def values_and_gradients(parameters, x, gradient):
        fast = lambda parameters, x: layer.apply({"params": parameters}, x)
        definition = lambda parameters, x: jnp.einsum("ijklcd,ckln->dijn", expand(parameters, case), x)
        linearised = [jax.vjp(function, parameters, x) for function in (fast, definition)]
        return [(h, pullback(gradient)) for h, pullback in linearised]

    x = draw.normal(2, geometry.height, geometry.width, 2)
    cotangent = draw.normal(3, geometry.output_height, geometry.output_width, 2)
    jax.tree.map(close, *values_and_gradients(draw_parameters(case, rank, draw), x, cotangent))


@EXACTLY
@CASE
def test_expanded_weights_are_the_sum_of_the_text_and_read_what_lies_within_delta(case, draw):
    """V[i, j, a, b] = sum_r w[r, i, j] F_r[a, b], wherever (i + a, j + b) is a pixel."""
    parameters, table = draw_parameters(case, 3, draw), case.table("conv")
    with_zero = np.pad(parameters["weights"], ((0, 0), (0, 1), (0, 0))).reshape(2, -1, 3, 3)
    combining = np.reshape(parameters["combining"], (3, -1))
    expected = np.einsum("cpqrd,rp->pqcd", with_zero[:, table], combining)
    found = np.reshape(jax.jit(lambda p: expand(p, case))(parameters), expected.shape)
    close(found, expected)
    np.testing.assert_array_equal(found.any(axis=(2, 3)), table >= 0)


@EXACTLY
@CASE
def test_from_one_bank_which_is_a_convolution_to_a_bank_a_site_which_is_any_local_layer(case, draw):
    """The bank of a site is its own filter, and no other site uses it."""
    geometry, sites, conv = case.geometry, case.geometry.output_sites, case.table("conv")
    parameters, weight = draw_parameters(case, 1, draw), float(draw.normal())
    parameters["combining"] = jnp.full_like(parameters["combining"], weight)
    found = jax.jit(lambda p: (expand(p, case), projection.expand(weight * p["weights"], conv, geometry)))(parameters)
    close(*found)
    local = case.table("local")
    absolute = jax.jit(lambda w: projection.expand(w, local, geometry))(draw.weights(local, 2, 3))
    banks, by_pair = np.zeros((2, conv.max() + 1, sites, 3)), np.asarray(absolute).reshape(*conv.shape, 2, 3)
    p, q = np.nonzero(conv >= 0)
    banks[:, conv[p, q], p] = by_pair[p, q].swapaxes(0, 1)
    own = np.eye(sites).reshape(sites, geometry.output_height, geometry.output_width)
    found = expand({"weights": jnp.asarray(banks.reshape(2, -1, 3 * sites)), "combining": jnp.asarray(own)}, case)
    close(found, absolute)


@pytest.mark.parametrize("rank", [1, 3])
def test_a_layer_starts_as_a_convolution_of_the_same_scale(rank, seed, monkeypatch):
    """Its initial filters are the sum of rank independent ones, each divided by the root of the rank; the variance of the
    pre-activation is the gain, on average over sites: the sum over r, c, q of w_r^2 times the variance of F_r.
    """
    case = CASES["stride 2"]
    parameters = initial_parameters("low_rank_local", case, rank, seed)
    np.testing.assert_allclose(parameters["combining"], rank**-0.5, rtol=1e-6)
    if rank == 1:
        conv = initial_parameters("conv", case, None, seed)
        np.testing.assert_array_equal(parameters["weights"], conv["weights"])
    monkeypatch.setattr(jax.random, "normal", lambda key, shape, dtype: jnp.ones(shape, dtype))
    parameters = initial_parameters("low_rank_local", case, rank, seed, out_channels=1, gain=2.5)
    variance = expand(jax.tree.map(jnp.square, parameters), case).sum(axis=(2, 3, 4, 5))
    np.testing.assert_allclose(variance.mean(), 2.5, rtol=1e-5)


def test_counts_are_the_banks_and_what_combines_them(draw):
    geometry, delta, _ = CASES["stride 2"]
    shape, sites = (geometry, delta, draw.integer(1, 3), draw.integer(1, 3)), geometry.output_sites
    one = counts.count("conv", *shape)
    for rank in (None, 1, 4):
        count, banks = counts.count("low_rank_local", *shape, rank=rank), rank or low_rank.RANK
        assert (count.weights, count.bias) == (banks * (one.weights + sites), one.bias)
        assert count.multiply_adds == banks * (one.multiply_adds + sites * shape[-1])
        assert counts.count("conv", *shape, rank=rank) == one


def test_more_banks_than_weights_or_sites_are_combinations_of_these():
    geometry = Geometry(3, 2)
    assert [low_rank.largest_rank(int(ties("conv", geometry, d).max()) + 1, geometry) for d in (0, 1)] == [1, 6]
