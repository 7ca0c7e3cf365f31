"""What D2L 7.1 claims of layers: invariance, locality, their corners; and that a new constraint is one function."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exactly import close
from geometries import EVERY_CONSTRAINT, cases
from random_variables import random_variables

from cnn_constraints.functional import Layer
from cnn_constraints.lattice import constraints, projection
from cnn_constraints.lattice.constraints import Constraint
from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.lattice.order import meet
from cnn_constraints.layer import ConstrainedLayer
from cnn_constraints.network import Network
from cnn_constraints.ops import choose
from cnn_constraints.ops.choose import stored_ties

pytestmark = pytest.mark.usefixtures("float64")

IMAGE = Geometry(5, 4)
CASE = cases("stride 2", "torus")


def random_layer(constraint: str, geometry: Geometry, delta: int | None, draw, tile: int | None = None):
    """The layer's function of x, with random weights."""
    weights = draw.weights(stored_ties(constraint, geometry, delta, tile), 2, 2)
    return lambda x: choose.apply(constraint, x, weights, geometry, delta, tile)


@CASE
def test_conv_is_a_dense_layer_with_both_constraints_imposed(case, draw):
    geometry, delta = case.geometry, case.delta

    @jax.jit
    def both(x, absolute):
        ties = meet(stored_ties("shared", geometry, None), stored_ties("local", geometry, delta))
        constrained = projection.expand(projection.project(absolute, ties), ties, geometry)
        read = lambda name: projection.project(constrained, stored_ties(name, geometry, delta))
        return [choose.apply(name, x, read(name), geometry, delta) for name in ("conv", "dense")]

    close(*both(draw.normal(2, geometry.height, geometry.width, 2), draw.absolute(geometry, 2, 3)))


@pytest.mark.parametrize(
    ("constraint", "steps"), [("shared", 1), ("conv", 1), ("tiled", 2), ("dense", 0), ("local", 0)]
)
@pytest.mark.parametrize("stride", [1, 2])
def test_a_layer_commutes_with_translation_on_a_torus_as_far_as_its_weights_are_tied(constraint, steps, stride, draw):
    """By every pixel where all sites share weights, by tiles where those of a tile do, and else by none."""
    geometry = Geometry(4, 8, stride, "circular")
    layer, x = jax.jit(random_layer(constraint, geometry, 1, draw, 2)), draw.normal(2, 4, 8, 2)
    h = layer(x)
    for shift in ((0, 1), (1, 0), (0, 2), (2, 2)):
        moved = layer(jnp.roll(x, tuple(stride * s for s in shift), (1, 2)))
        if steps and not any(s % steps for s in shift):
            close(moved, jnp.roll(h, shift, (1, 2)))
        else:
            assert abs(moved - jnp.roll(h, shift, (1, 2))).max() > 1e-6


@pytest.mark.parametrize("constraint", ["shared", "conv"])
def test_a_tied_layer_commutes_with_translation_inside_an_image(constraint, draw):
    """With nothing but zeros beyond the border, as long as what moves stays in the image."""
    layer = jax.jit(random_layer(constraint, IMAGE, 1, draw))
    x = draw.normal(2, 5, 4, 2).at[:, -1].set(0).at[:, :, -1].set(0)
    close(layer(jnp.roll(x, (1, 1), (1, 2)))[:, 1:, 1:], layer(x)[:, :-1, :-1])


@CASE
@EVERY_CONSTRAINT
def test_a_layer_reads_exactly_what_lies_within_delta_and_two_what_lies_within_twice(constraint, case, draw):
    """By the exact zeros of the Jacobian at a random image."""
    geometry, delta = case.geometry, case.delta_of(constraint)
    rows, columns = (abs(axis.offset_of_pair()) for axis in (geometry.rows, geometry.columns))
    distances = np.maximum(rows[:, None, :, None], columns[None, :, None, :])
    layer = random_layer(constraint, geometry, delta, draw)
    functions = {1: layer}
    if geometry.output_sites == geometry.input_sites:
        functions[2] = lambda x: layer(jnp.tanh(0.1 * layer(x)))
    x = draw.normal(2, geometry.height, geometry.width, 1)
    for layers, jacobian in jax.jit(lambda x: {n: jax.jacrev(f)(x) for n, f in functions.items()})(x).items():
        expected = distances <= (99 if delta is None else layers * delta)
        np.testing.assert_array_equal(np.any(jacobian != 0, axis=(0, 3, 4, 7)), expected)


def test_a_network_of_conv_with_delta_zero_is_one_perceptron_for_all_pixels(draw):
    """Each pixel goes through the same small network, and no pixel sees another: their order means nothing."""
    layers = (Layer("conv", IMAGE, 2, 4, 0), Layer("conv", IMAGE, 4, 4, 0))
    network, images = Network(layers, (1, 1), 3, readout="global_average"), draw.normal(2, 5, 4, 2)
    parameters = random_variables(network, images, draw)
    own, pixels = parameters["params"], images
    for name in ("layer_0", "layer_1"):
        pixels = jax.nn.relu(pixels @ own[name]["kernel"][0, 0] + own[name]["bias"])
    classes = pixels @ own["classifier"]["kernel"] + own["classifier"]["bias"]
    close(jax.jit(network.apply)(parameters, images), classes.mean(axis=(1, 2)))


@EVERY_CONSTRAINT
def test_only_a_dense_layer_absorbs_a_permutation_of_pixels(constraint, draw):
    """sum_q W[p, pi(q)] X[pi(q)] = sum_q W[p, q] X[q]: the permuted W is one that `dense` alone allows."""
    table = stored_ties(constraint, IMAGE, 1)
    absolute = projection.expand(draw.weights(table, 1, 1), table, IMAGE)
    order = np.array([1, 0, *range(2, 20)])
    permuted = absolute.reshape(20, 20)[:, order].reshape(absolute.shape)
    violation = projection.violation(permuted, table, IMAGE)
    assert violation > 1e-3 if constraint != "dense" else violation == 0
    if constraint == "dense":
        x = draw.normal(1, 5, 4, 2)
        moved = x.reshape(1, 20, 2)[:, order].reshape(x.shape)
        w, v = (projection.project(one, table) for one in (absolute, permuted))
        close(choose.apply("dense", moved, v, IMAGE), choose.apply("dense", x, w, IMAGE))


@CASE
@EVERY_CONSTRAINT
def test_gradient_descent_stays_within_the_constraint(constraint, case, draw):
    """The gradient of the free weights is the dense gradient, projected and multiplied by how often each is used."""
    geometry, delta, tile = case.geometry, case.delta_of(constraint), case.tile
    table = stored_ties(constraint, geometry, delta, tile)

    @jax.jit
    def gradients(weights, x):
        free = jax.grad(lambda w: jnp.sum(choose.apply(constraint, x, w, geometry, delta, tile) ** 2))(weights)
        absolute = projection.expand(weights, table, geometry)
        dense = jax.grad(lambda w: jnp.sum(jnp.einsum("ijklcd,ckln->dijn", w, x) ** 2))(absolute)
        return free, projection.project(dense, table)

    free, projected = gradients(draw.weights(table, 2, 2), draw.normal(2, geometry.height, geometry.width, 2))
    close(free, np.bincount(table[table >= 0])[:, None] * np.asarray(projected), 1e-9)


def write_mirrored(geometry: Geometry, delta: int | None) -> np.ndarray:
    """A toy: tied by (a, |b|), so that left and right are alike. Zero boundary and stride 1."""
    a, b = constraints.offsets_of_pairs(geometry)
    return np.where(constraints.near(geometry, delta), (a - a.min()) * (abs(b).max() + 1) + abs(b), -1)


@pytest.fixture
def mirrored(monkeypatch) -> str:
    """The one registry line."""
    monkeypatch.setitem(constraints.CONSTRAINTS, "mirrored", Constraint("mirrored convolution", write_mirrored))
    return "mirrored"


def test_a_new_constraint_is_a_layer_of_anyones_network_with_its_symmetry(mirrored, draw):
    layer, images = ConstrainedLayer(3, constraint=mirrored, delta=1), draw.normal(2, 5, 4, 2)
    parameters, apply = random_variables(layer, images, draw), jax.jit(layer.apply)
    close(apply(parameters, images[:, :, ::-1]), apply(parameters, images)[:, :, ::-1])
