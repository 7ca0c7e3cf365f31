"""What D2L 7.1 claims of layers: invariance, locality, their corners; and that a new constraint is one function."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn_constraints.functional import Layer
from cnn_constraints.lattice import constraints, counts, projection
from cnn_constraints.lattice import geometry as geometries
from cnn_constraints.lattice.constraints import Constraint
from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.lattice.order import leq, meet
from cnn_constraints.layer import ConstrainedLayer
from cnn_constraints.network import Network, StoredLayer
from cnn_constraints.ops import choose
from cnn_constraints.ops.choose import stored_ties

pytestmark = pytest.mark.usefixtures("float64")

EVERY_CONSTRAINT = pytest.mark.parametrize("constraint", constraints.CONSTRAINTS)
EVERY_BOUNDARY = pytest.mark.parametrize("boundary", geometries.BOUNDARIES)
LOCAL = [name for name, constraint in constraints.CONSTRAINTS.items() if constraint.local]
UNTIED, TIED = ("dense", "local"), ("shared", "conv")


def close(actual, desired) -> None:
    np.testing.assert_allclose(actual, desired, rtol=0, atol=1e-10)


def random_layer(constraint: str, geometry: Geometry, delta: int | None, draw, tile: int | None = None):
    """The layer's function of x and its random weights, compiled."""
    weights = draw.weights(stored_ties(constraint, geometry, delta, tile), 2, 2)
    return jax.jit(lambda x, w: choose.apply(constraint, x, w, geometry, delta, tile)), weights


def random_parameters(network: Network, images: jax.Array, draw):
    """Parameters of the network's shapes, biases included, in 64 bits."""
    with jax.enable_x64(False):  # modules create their parameters in 32 bits
        shapes = jax.eval_shape(network.init, jax.random.key(0), jax.ShapeDtypeStruct(images.shape, "float32"))
    return jax.tree.map(lambda array: 0.3 * draw.normal(*array.shape), shapes)


def distances(geometry: Geometry) -> np.ndarray:
    """max(|a|, |b|) between output and input sites, [i, j, k, l]."""
    rows, columns = (abs(axis.offset_of_pair()) for axis in (geometry.rows, geometry.columns))
    return np.maximum(rows[:, None, :, None], columns[None, :, None, :])


def reads(function, geometry: Geometry, draw) -> np.ndarray:
    """Whether output site (i, j) reads input site (k, l), by the exact zeros of the Jacobian at a random image."""
    jacobian = jax.jit(jax.jacrev(function))(draw.normal(2, geometry.height, geometry.width, 1))
    return np.any(jacobian != 0, axis=(0, 3, 4, 7))


@EVERY_BOUNDARY
@pytest.mark.parametrize("stride", [1, 2])
def test_conv_is_a_dense_layer_with_both_constraints_imposed(boundary, stride, draw):
    geometry = draw.geometry(boundary, stride)
    delta = draw.reach(geometry)
    both = meet(stored_ties("shared", geometry, None), stored_ties("local", geometry, delta))
    constrained = projection.expand(projection.project(draw.absolute(geometry, 2, 3), both), both, geometry)
    conv_weights = projection.project(constrained, stored_ties("conv", geometry, delta))
    dense_weights = projection.project(constrained, stored_ties("dense", geometry, None))
    conv, fully_connected = jax.jit(
        lambda x, v, w: (choose.apply("conv", x, v, geometry, delta), choose.apply("dense", x, w, geometry))
    )(draw.activations(geometry, 2), conv_weights, dense_weights)
    close(conv, fully_connected)


@EVERY_BOUNDARY
@pytest.mark.parametrize(("local", "corner"), [("conv", "shared"), ("local", "dense")])
def test_full_delta_computes_what_no_locality_computes(local, corner, boundary, draw):
    geometry = draw.geometry(boundary)
    everything = draw.whole(geometry)
    layer, weights = random_layer(local, geometry, everything, draw)
    other, _ = random_layer(corner, geometry, None, draw)
    same = projection.embed(weights, stored_ties(local, geometry, everything), stored_ties(corner, geometry, None))
    x = draw.activations(geometry, 2)
    close(layer(x, weights), other(x, same))


@pytest.mark.parametrize("constraint", TIED)
def test_tied_layer_commutes_with_translation_on_a_torus(constraint, draw):
    geometry = draw.geometry("circular", stride=1, smallest=4)
    layer, weights = random_layer(constraint, geometry, draw.delta(constraint, geometry), draw)
    x = draw.activations(geometry, 2)
    for shift in ((0, 1), (1, 0), (draw.integer(2, 3), draw.integer(2, 3))):
        close(layer(jnp.roll(x, shift, (1, 2)), weights), jnp.roll(layer(x, weights), shift, (1, 2)))


@pytest.mark.parametrize("constraint", TIED)
def test_strided_tied_layer_commutes_with_translation_by_its_stride(constraint, draw):
    size = 2 * draw.integer(2, 3)
    geometry = Geometry(size, size, 2, "circular")
    layer, weights = random_layer(constraint, geometry, draw.delta(constraint, geometry), draw)
    x = draw.activations(geometry, 2)
    close(layer(jnp.roll(x, 2, 1), weights), jnp.roll(layer(x, weights), 1, 1))


@pytest.mark.parametrize("constraint", TIED)
def test_tied_layer_commutes_with_translation_inside_an_image(constraint, draw):
    """With nothing but zeros beyond the border, as long as what moves stays in the image."""
    geometry = draw.geometry("zero", stride=1, smallest=4, margin=0)
    layer, weights = random_layer(constraint, geometry, draw.delta(constraint, geometry), draw)
    x = draw.activations(geometry, 2).at[:, -1].set(0).at[:, :, -1].set(0)
    before, after = layer(x, weights), layer(jnp.roll(x, (1, 1), (1, 2)), weights)
    close(after[:, 1:, 1:], before[:, :-1, :-1])


def test_tiled_layer_commutes_with_translation_by_its_tile_and_by_no_less_on_a_torus(draw):
    tile = draw.integer(2, 3)
    geometry = Geometry(2 * tile, tile * draw.integer(1, 2), 1, "circular")
    layer, weights = random_layer("tiled", geometry, draw.reach(geometry), draw, tile)
    x = draw.activations(geometry, 2)
    for shift in ((tile, 0), (0, tile), (tile, tile)):
        close(layer(jnp.roll(x, shift, (1, 2)), weights), jnp.roll(layer(x, weights), shift, (1, 2)))
    for axis in (1, 2):
        assert abs(layer(jnp.roll(x, 1, axis), weights) - jnp.roll(layer(x, weights), 1, axis)).max() > 1e-6


@pytest.mark.parametrize("constraint", UNTIED)
def test_untied_layer_does_not_commute_with_translation(constraint, draw):
    geometry = draw.geometry("circular", stride=1, smallest=4)
    layer, weights = random_layer(constraint, geometry, draw.delta(constraint, geometry), draw)
    x = draw.activations(geometry, 2)
    moved = layer(jnp.roll(x, 1, 1), weights)
    assert abs(moved - jnp.roll(layer(x, weights), 1, 1)).max() > 1e-6


@pytest.mark.parametrize("constraint", LOCAL)
@EVERY_BOUNDARY
@pytest.mark.parametrize("stride", [1, 2])
def test_local_layer_reads_exactly_what_lies_within_delta(constraint, boundary, stride, draw):
    geometry = draw.geometry(boundary, stride)
    delta = draw.reach(geometry)
    layer, weights = random_layer(constraint, geometry, delta, draw)
    np.testing.assert_array_equal(reads(lambda x: layer(x, weights), geometry, draw), distances(geometry) <= delta)


@pytest.mark.parametrize("constraint", LOCAL)
@EVERY_BOUNDARY
def test_two_local_layers_read_exactly_what_lies_within_twice_delta(constraint, boundary, draw):
    geometry = draw.geometry(boundary, stride=1, smallest=5, largest=7, margin=0)
    delta = draw.integer(0, 2)
    layer, first = random_layer(constraint, geometry, delta, draw)
    _, second = random_layer(constraint, geometry, delta, draw)
    function = lambda x: layer(jnp.tanh(0.1 * layer(x, first)), second)
    np.testing.assert_array_equal(reads(function, geometry, draw), distances(geometry) <= 2 * delta)


@pytest.mark.parametrize("constraint", UNTIED + TIED)
def test_layer_without_locality_reads_the_whole_image(constraint, draw):
    geometry = draw.geometry()
    layer, weights = random_layer(constraint, geometry, None, draw)
    assert reads(lambda x: layer(x, weights), geometry, draw).all()


def test_local_layer_of_delta_zero_is_a_map_of_its_own_for_each_pixel(draw):
    geometry = draw.geometry(stride=1, margin=0)
    x = draw.activations(geometry, 2)
    weights = draw.normal(geometry.height, geometry.width, 2, 3)
    free = weights.reshape(-1, 2, 3).swapaxes(0, 1)
    actual = jax.jit(lambda x, w: choose.apply("local", x, w, geometry, 0))(x, free)
    for i, j in np.ndindex(geometry.height, geometry.width):
        close(actual[:, i, j], weights[i, j].T @ x[:, i, j])


def test_conv_of_delta_zero_is_one_map_for_all_pixels(draw):
    geometry = draw.geometry(stride=1, margin=0)
    x, weights = draw.activations(geometry, 2), draw.normal(2, 1, 3)
    actual = jax.jit(lambda x, w: choose.apply("conv", x, w, geometry, 0))(x, weights)
    close(actual, jnp.einsum("cd,cijn->dijn", weights[:, 0], x))


def test_network_of_conv_with_delta_zero_is_one_perceptron_for_all_pixels(draw):
    """Each pixel goes through the same small network, and no pixel sees another: their order means nothing."""
    geometry = draw.geometry(stride=1, smallest=2, margin=0)
    layers = (Layer("conv", geometry, 2, 4, 0), Layer("conv", geometry, 4, 4, 0))
    network = Network(layers, (1, 1), 3, readout="global_average")
    images = draw.normal(2, geometry.height, geometry.width, 2)
    parameters = random_parameters(network, images, draw)
    own = parameters["params"]

    def perceptron(pixel):
        for name in ("layer_0", "layer_1"):
            pixel = jax.nn.relu(pixel @ own[name]["kernel"][0, 0] + own[name]["bias"])
        return pixel @ own["classifier"]["kernel"] + own["classifier"]["bias"]

    close(jax.jit(network.apply)(parameters, images), perceptron(images).mean(axis=(1, 2)))


def test_dense_layer_absorbs_a_permutation_of_pixels(draw):
    """sum_q W[p, pi(q)] X[pi(q)] = sum_q W[p, q] X[q]."""
    geometry = draw.geometry()
    x, absolute = draw.activations(geometry, 2), draw.absolute(geometry, 2, 3)
    order = draw.rng.permutation(geometry.input_sites)
    permuted_x = x.reshape(2, geometry.input_sites, -1)[:, order].reshape(x.shape)
    permuted = absolute.reshape(geometry.output_sites, geometry.input_sites, 2, 3)[:, order].reshape(absolute.shape)
    table = stored_ties("dense", geometry, None)
    layer = jax.jit(lambda x, w: choose.apply("dense", x, w, geometry))
    close(layer(permuted_x, projection.project(permuted, table)), layer(x, projection.project(absolute, table)))


@pytest.mark.parametrize("constraint", [name for name in constraints.CONSTRAINTS if name != "dense"])
def test_constrained_layer_does_not_absorb_a_permutation_of_pixels(constraint, draw):
    geometry = draw.geometry(stride=1, smallest=4, margin=0)
    table = stored_ties(constraint, geometry, 1)
    absolute = projection.expand(draw.weights(table, 1, 1), table, geometry)
    order = np.roll(np.arange(geometry.input_sites), geometry.input_sites // 2)
    order[[0, 1]] = order[[1, 0]]
    permuted = absolute.reshape(geometry.output_sites, geometry.input_sites)[:, order].reshape(absolute.shape)
    assert projection.violation(permuted, table, geometry) > 1e-3


@EVERY_CONSTRAINT
def test_gradient_descent_stays_within_the_constraint(constraint, draw):
    """The gradient of the free weights is the dense gradient, projected and multiplied by how often each is used."""
    geometry, tile = draw.geometry(), draw.tile()
    delta = draw.delta(constraint, geometry)
    table = stored_ties(constraint, geometry, delta, tile)
    layer, weights = random_layer(constraint, geometry, delta, draw, tile)
    x = draw.activations(geometry, 2)

    def loss_of_absolute(w):
        return jnp.sum(jnp.einsum("ijklcd,ckln->dijn", w, x) ** 2)

    gradient = jax.jit(jax.grad(lambda w: jnp.sum(layer(x, w) ** 2)))(weights)
    dense_gradient = jax.jit(jax.grad(loss_of_absolute))(projection.expand(weights, table, geometry))
    uses = np.bincount(table[table >= 0])[:, None]
    np.testing.assert_allclose(
        gradient, uses * np.asarray(projection.project(dense_gradient, table)), rtol=1e-9, atol=1e-9
    )


def write_mirrored(geometry: Geometry, delta: int | None) -> np.ndarray:
    """A toy: tied by (a, |b|), so that left and right are alike. Zero boundary and stride 1."""
    a, b = constraints.offsets_of_pairs(geometry)
    return np.where(constraints.near(geometry, delta), (a - a.min()) * (abs(b).max() + 1) + abs(b), -1)


@pytest.fixture
def mirrored(monkeypatch) -> str:
    """The one registry line."""
    monkeypatch.setitem(constraints.CONSTRAINTS, "mirrored", Constraint("mirrored convolution", write_mirrored))
    return "mirrored"


def test_new_constraint_counts(mirrored, draw):
    geometry = draw.geometry("zero", 1, smallest=3, margin=0)
    count = counts.count(mirrored, geometry, 1, in_channels=2, out_channels=3)
    assert (count.weights, count.bias) == (3 * 2 * 2 * 3, 3)
    assert count.multiply_adds == counts.count("conv", geometry, 1, in_channels=2, out_channels=3).multiply_adds


def test_new_constraint_takes_its_place_in_the_lattice(mirrored, draw):
    geometry = draw.geometry("zero", 1, smallest=3, margin=0)
    toy, conv = stored_ties(mirrored, geometry, 1), stored_ties("conv", geometry, 1)
    assert leq(toy, conv) and not leq(conv, toy)


def test_new_constraint_projects_and_expands(mirrored, draw):
    geometry = draw.geometry("zero", 1)
    delta = draw.reach(geometry)
    table = stored_ties(mirrored, geometry, delta)
    weights = draw.weights(table, 2, 2)
    close(projection.project(projection.expand(weights, table, geometry), table), weights)


def test_new_constraint_applies_with_its_symmetry(mirrored, draw):
    geometry = draw.geometry("zero", 1)
    layer, weights = random_layer(mirrored, geometry, draw.reach(geometry), draw)
    x = draw.activations(geometry, 2)
    close(layer(x[:, :, ::-1], weights), layer(x, weights)[:, :, ::-1])


def test_new_constraint_initialises_at_unit_variance(mirrored, draw, monkeypatch):
    geometry = draw.geometry("zero", 1)
    delta = draw.reach(geometry)
    layer = StoredLayer(Layer(mirrored, geometry, 1, 1, delta))
    monkeypatch.setattr(jax.random, "normal", lambda key, shape, dtype: jnp.ones(shape, dtype))
    with jax.enable_x64(False):
        deviation = jax.jit(layer.init)(jax.random.key(0), draw.activations(geometry, 1))["params"]["weights"]
    variance = np.append(np.square(deviation), 0)[stored_ties(mirrored, geometry, delta)].sum(axis=1)
    np.testing.assert_allclose(variance.mean(), 1, rtol=1e-5)


def test_new_constraint_trains(mirrored, draw):
    geometry = draw.geometry("zero", 1, smallest=3, margin=0)
    network = Network((Layer(mirrored, geometry, 1, 3, 1),), (1,), 2, "gelu")
    images, labels = draw.normal(4, geometry.height, geometry.width, 1), jnp.array([0, 1, 0, 1])
    parameters = random_parameters(network, images, draw)

    @jax.jit
    def loss(parameters):
        return optax.softmax_cross_entropy_with_integer_labels(network.apply(parameters, images), labels).mean()

    before, gradient = jax.jit(jax.value_and_grad(loss))(parameters)
    after = loss(jax.tree.map(lambda p, g: p - 1e-3 * g, parameters, gradient))
    assert gradient["params"]["layer_0"]["kernel"].any()
    assert after < before


@pytest.mark.usefixtures("mirrored")
def test_new_constraint_is_a_layer_of_anyones_network(draw):
    geometry = draw.geometry("zero", 1)
    layer = ConstrainedLayer(3, constraint="mirrored", delta=draw.reach(geometry), margin=geometry.margin)
    images = draw.normal(2, geometry.height, geometry.width, 2)
    parameters = random_parameters(layer, images, draw)
    apply = jax.jit(layer.apply)
    close(apply(parameters, images[:, :, ::-1]), apply(parameters, images)[:, :, ::-1])
