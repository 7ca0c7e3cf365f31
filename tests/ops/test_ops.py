"""Every formulation of every constraint computes the definition, and the definition is the formula of the text."""

import itertools
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_constraints.errors import InputError
from cnn_constraints.lattice import constraints, counts, projection
from cnn_constraints.lattice import geometry as geometries
from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.ops import choose, dense
from cnn_constraints.ops.choose import stored_ties

pytestmark = pytest.mark.usefixtures("float64")

EVERY_CONSTRAINT = pytest.mark.parametrize("constraint", constraints.CONSTRAINTS)
EVERY_FORMULATION = pytest.mark.parametrize(
    ("constraint", "formulation"), [(name, f) for name, fast in choose.FORMULATIONS.items() for f in fast]
)
EVERY_BOUNDARY_AND_STRIDE = pytest.mark.parametrize(
    ("boundary", "stride"), list(itertools.product(geometries.BOUNDARIES, (1, 2, 3)))
)


def close(actual, desired) -> None:
    np.testing.assert_allclose(actual, desired, rtol=0, atol=1e-10)


def offset_between(geometry: Geometry, i: int, k: int, size: int) -> int:
    """k - margin - stride * i; on a torus the residue nearest to zero, of two equally near ones the negative."""
    far, laps = k - geometry.margin - geometry.stride * i, (0,)
    if geometry.boundary == "circular":
        laps = range(-geometry.stride, geometry.stride + 1)
    return min((far + lap * size for lap in laps), key=lambda a: (abs(a), a))


def layer_of_the_text(tied: bool, x: np.ndarray, geometry: Geometry, delta: int | None, out_channels: int, draw):
    """H[i, j, d] = sum_{a, b, c} V[i, j, a, b, c, d] X[i + a, j + b, c] with random V, and the W that V is."""
    in_channels, height, width, batch = x.shape
    drawn: dict[tuple, np.ndarray] = {}
    w = np.zeros((geometry.output_height, geometry.output_width, height, width, in_channels, out_channels))
    h = np.zeros((out_channels, geometry.output_height, geometry.output_width, batch))
    for i, j, k, l in np.ndindex(*w.shape[:4]):  # noqa: E741
        a, b = offset_between(geometry, i, k, height), offset_between(geometry, j, l, width)
        if delta is not None and (abs(a) > delta or abs(b) > delta):
            continue
        name = (a, b) if tied else (i, j, a, b)
        v = drawn.setdefault(name, draw.rng.standard_normal((in_channels, out_channels)))
        w[i, j, k, l] = v
        h[:, i, j] += v.T @ x[:, k, l]
    return h, jnp.asarray(w)


@EVERY_BOUNDARY_AND_STRIDE
@pytest.mark.parametrize(("constraint", "tied"), {"dense": False, "shared": True, "local": False, "conv": True}.items())
def test_cells_compute_the_formula_of_the_text(constraint, tied, boundary, stride, draw):
    geometry = draw.geometry(boundary, stride, largest=4)
    delta = draw.delta(constraint, geometry)
    x = draw.activations(geometry, 2)
    h, w = layer_of_the_text(tied, np.asarray(x), geometry, delta, 3, draw)
    table = stored_ties(constraint, geometry, delta)
    close(jax.jit(lambda x, w: dense.expanded(x, projection.project(w, table), table, geometry))(x, w), h)


@EVERY_CONSTRAINT
def test_definition_is_a_sum_over_connected_pairs(constraint, draw):
    geometry = draw.geometry(largest=4)
    table = stored_ties(constraint, geometry, draw.delta(constraint, geometry), draw.tile())
    weights, x = draw.weights(table, 2, 3), draw.activations(geometry, 2)
    pixels, free = np.asarray(x).reshape(2, geometry.input_sites, -1), np.asarray(weights)
    h = np.zeros((3, geometry.output_sites, pixels.shape[2]))
    for p, q in np.argwhere(table >= 0):
        for c, d in np.ndindex(2, 3):
            h[d, p] += free[c, table[p, q], d] * pixels[c, q]
    actual = jax.jit(lambda x, w: dense.expanded(x, w, table, geometry))(x, weights)
    close(np.reshape(actual, h.shape), h)


def require_the_definition(constraint: str, formulation: str | None, geometry: Geometry, draw) -> None:
    """Of values and both gradients, for random images and weights."""
    delta, tile = draw.delta(constraint, geometry), draw.tile()
    table = stored_ties(constraint, geometry, delta, tile)
    x = draw.activations(geometry, draw.channels())
    weights = draw.weights(table, x.shape[0], draw.channels())
    gradient = draw.normal(weights.shape[2], geometry.output_height, geometry.output_width, x.shape[3])

    def fast(x, weights):
        return choose.apply(constraint, x, weights, geometry, delta, tile, formulation)

    def definition(x, weights):
        return dense.expanded(x, weights, table, geometry)

    @jax.jit
    def values_and_gradients(x, weights, gradient):
        linearised = [jax.vjp(function, x, weights) for function in (fast, definition)]
        return [(h, *pullback(gradient)) for h, pullback in linearised]

    actual, expected = values_and_gradients(x, weights, gradient)
    jax.tree.map(close, actual, expected)


@EVERY_FORMULATION
@pytest.mark.parametrize("boundary", geometries.BOUNDARIES)
def test_formulation_computes_the_definition_and_both_its_gradients(constraint, formulation, boundary, draw):
    require_the_definition(constraint, formulation, draw.geometry(boundary, largest=7), draw)


@EVERY_FORMULATION
def test_formulation_computes_the_definition_with_a_margin(constraint, formulation, draw):
    """With sites well inside the image, or outside it."""
    margin, stride = int(draw.rng.choice([-2, -1, 1, 2])), draw.integer(1, 3)
    height, width = (max(3, 2 * margin + draw.integer(1, 4)) for _ in range(2))
    require_the_definition(constraint, formulation, Geometry(height, width, stride, margin=margin), draw)


@EVERY_FORMULATION
def test_formulation_computes_the_definition_on_a_line(constraint, formulation, draw):
    """Images one pixel high, or wide."""
    sides = [1, draw.integer(1, 7)]
    draw.rng.shuffle(sides)
    stride, boundary = draw.integer(1, 3), str(draw.rng.choice(geometries.BOUNDARIES))
    margin = draw.margin(*sides, stride) if boundary == "zero" else 0
    require_the_definition(constraint, formulation, Geometry(*sides, stride, boundary, margin), draw)


@EVERY_FORMULATION
def test_formulation_may_be_mapped_over_lanes_of_weights(constraint, formulation, draw):
    """As the ensemble does: one batch of images, many sets of weights, and their gradients."""
    geometry, tile = draw.geometry(), draw.tile()
    delta = draw.delta(constraint, geometry)
    table = stored_ties(constraint, geometry, delta, tile)
    x = draw.activations(geometry, draw.channels())
    lanes = jnp.stack([draw.weights(table, x.shape[0], 2) for _ in range(3)])

    def energy(weights, x, formulation):
        return (choose.apply(constraint, x, weights, geometry, delta, tile, formulation) ** 2).sum()

    @jax.jit
    def gradients(lanes, x):
        return [jax.vmap(jax.grad(partial(energy, x=x, formulation=f)))(lanes) for f in (formulation, "expanded")]

    np.testing.assert_allclose(*gradients(lanes, x), rtol=0, atol=1e-9)


@EVERY_FORMULATION
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_formulation_keeps_shape_and_dtype_of_the_definition(constraint, formulation, dtype, draw):
    geometry, tile = draw.geometry(), draw.tile()
    delta = draw.delta(constraint, geometry)
    x = jax.ShapeDtypeStruct((2, geometry.height, geometry.width, 3), dtype)
    weights = jax.ShapeDtypeStruct((2, counts.sizes(constraint, geometry, delta, tile).weights, 4), dtype)
    h = jax.eval_shape(lambda x, w: choose.apply(constraint, x, w, geometry, delta, tile, formulation), x, weights)
    assert (h.shape, h.dtype) == ((4, geometry.output_height, geometry.output_width, 3), dtype)


@EVERY_CONSTRAINT
def test_choice_of_formulation_changes_nothing(constraint, draw):
    geometry, tile = draw.geometry(), draw.tile()
    delta = draw.delta(constraint, geometry)
    x = draw.activations(geometry, draw.channels())
    weights = draw.weights(stored_ties(constraint, geometry, delta, tile), x.shape[0], 2)
    chosen, definition = jax.jit(
        lambda x, w: [choose.apply(constraint, x, w, geometry, delta, tile, given) for given in (None, "expanded")]
    )(x, weights)
    close(chosen, definition)


@pytest.mark.parametrize("backend", ["cpu", "gpu", "tpu", "one yet to come"])
@pytest.mark.parametrize("constraint", choose.FORMULATIONS)
def test_every_choice_exists(constraint, backend, draw):
    geometry = draw.geometry(largest=50)
    name = choose.formulation_name(
        constraint, geometry, draw.delta(constraint, geometry), draw.integer(1, 64), draw.integer(1, 64), backend
    )
    assert name in choose.FORMULATIONS[constraint]


@pytest.mark.parametrize("constraint", [name for name, one in constraints.CONSTRAINTS.items() if not one.local])
def test_delta_means_nothing_to_a_constraint_that_is_not_local(constraint, draw):
    geometry = draw.geometry(smallest=3, margin=0)
    x = draw.activations(geometry, 1)
    weights = draw.weights(stored_ties(constraint, geometry, None), 1, 2)
    with_delta, without = jax.jit(
        lambda x, w: [choose.apply(constraint, x, w, geometry, delta) for delta in (1, None)]
    )(x, weights)
    close(with_delta, without)


def draw_for_peers(boundary: str, stride: int, draw) -> tuple[Geometry, int]:
    """An image in which the whole kernel of (2 delta + 1)^2 offsets is met, as peers take for granted."""
    return draw.geometry(boundary, stride, smallest=5, largest=7, margin=0), draw.integer(0, 2)


def as_batch_last(h: jax.Array) -> jax.Array:
    """[batch, height, width, channels] to [channels, height, width, batch]."""
    return h.transpose(3, 1, 2, 0)


def padding_of_peers(boundary: str, delta: int) -> str | list[tuple[int, int]]:
    return "CIRCULAR" if boundary == "circular" else [(delta, delta)] * 2


@EVERY_BOUNDARY_AND_STRIDE
def test_conv_is_the_convolution_of_flax(boundary, stride, draw):
    geometry, delta = draw_for_peers(boundary, stride, draw)
    x = draw.activations(geometry, 2)
    side = 2 * delta + 1
    weights = draw.normal(2, side**2, 3)
    kernel = weights.reshape(2, side, side, 3).transpose(1, 2, 0, 3)
    peer = nn.Conv(3, (side, side), stride, padding_of_peers(boundary, delta), use_bias=False)
    expected = jax.jit(peer.apply)({"params": {"kernel": kernel}}, x.transpose(3, 1, 2, 0))
    close(jax.jit(lambda x, w: choose.apply("conv", x, w, geometry, delta))(x, weights), as_batch_last(expected))


def test_conv_pads_as_flax_does_to_keep_the_size(draw):
    geometry, delta = draw_for_peers("zero", 1, draw)
    x = draw.activations(geometry, 1)
    side = 2 * delta + 1
    weights = draw.normal(1, side**2, 1)
    peer = nn.Conv(1, (side, side), padding="SAME", use_bias=False)
    expected = jax.jit(peer.apply)({"params": {"kernel": weights.reshape(side, side, 1, 1)}}, x.transpose(3, 1, 2, 0))
    close(jax.jit(lambda x, w: choose.apply("conv", x, w, geometry, delta))(x, weights), as_batch_last(expected))


@EVERY_BOUNDARY_AND_STRIDE
def test_local_is_the_local_convolution_of_flax(boundary, stride, draw):
    """Flax also stores the weights that point outside the image: here zeros."""
    geometry, delta = draw_for_peers(boundary, stride, draw)
    x = draw.activations(geometry, 2)
    table = stored_ties("local", geometry, delta)
    weights = draw.weights(table, 2, 3)
    side = 2 * delta + 1
    row, column = (-delta - axis.offsets(None)[0] for axis in (geometry.rows, geometry.columns))

    @jax.jit
    def as_flax_stores_them(weights):
        offset_form = projection.to_offsets(projection.expand(weights, table, geometry), geometry)
        kernel = offset_form[:, :, row : row + side, column : column + side].transpose(0, 1, 4, 2, 3, 5)
        return kernel.reshape(geometry.output_height, geometry.output_width, -1, 3)

    peer = nn.ConvLocal(3, (side, side), stride, padding_of_peers(boundary, delta), use_bias=False)
    expected = jax.jit(peer.apply)({"params": {"kernel": as_flax_stores_them(weights)}}, x.transpose(3, 1, 2, 0))
    close(jax.jit(lambda x, w: choose.apply("local", x, w, geometry, delta))(x, weights), as_batch_last(expected))


@EVERY_BOUNDARY_AND_STRIDE
def test_conv_is_the_convolution_of_torch(boundary, stride, draw):
    torch = pytest.importorskip("torch")
    geometry, delta = draw_for_peers(boundary, stride, draw)
    x = draw.activations(geometry, 2)
    side = 2 * delta + 1
    weights = draw.normal(2, side**2, 3)
    kernel = torch.from_numpy(np.array(weights.reshape(2, side, side, 3).transpose(3, 0, 1, 2)))
    images = torch.from_numpy(np.array(x.transpose(3, 0, 1, 2)))
    mode = "circular" if boundary == "circular" else "constant"
    padded = torch.nn.functional.pad(images, (delta,) * 4, mode=mode)
    expected = torch.nn.functional.conv2d(padded, kernel, stride=stride).numpy().transpose(1, 2, 3, 0)
    close(jax.jit(lambda x, w: choose.apply("conv", x, w, geometry, delta))(x, weights), expected)


def test_dense_is_one_matrix_product(draw):
    geometry = draw.geometry()
    x = draw.activations(geometry, 2)
    weights = draw.weights(stored_ties("dense", geometry, None), 2, 3)
    matrix = np.asarray(weights).reshape(2 * geometry.input_sites, geometry.output_sites * 3)
    expected = np.reshape(x, (matrix.shape[0], -1)).T @ matrix
    actual = jax.jit(lambda x, w: choose.apply("dense", x, w, geometry))(x, weights)
    close(np.reshape(actual.transpose(3, 1, 2, 0), expected.shape), expected)


@EVERY_CONSTRAINT
def test_misspelt_formulation_is_refused_with_the_nearest_name(constraint):
    geometry = Geometry(3, 3)
    weights = jnp.zeros((1, counts.sizes(constraint, geometry, None).weights, 1))
    with pytest.raises(InputError, match=rf"formulation of {constraint} 'expandd'.*did you mean 'expanded'"):
        choose.apply(constraint, jnp.zeros((1, 3, 3, 1)), weights, geometry, formulation="expandd")


@EVERY_CONSTRAINT
def test_images_of_another_size_are_refused(constraint):
    geometry = Geometry(3, 4)
    weights = jnp.zeros((1, counts.sizes(constraint, geometry, None).weights, 1))
    with pytest.raises(InputError, match=r"\(1, 4, 3, 2\).*must be \(channels, 3, 4, batch\)"):
        choose.apply(constraint, jnp.zeros((1, 4, 3, 2)), weights, geometry)


@EVERY_CONSTRAINT
def test_weights_that_are_not_those_of_the_constraint_are_refused(constraint):
    geometry = Geometry(3, 4)
    free = counts.sizes(constraint, geometry, None).weights
    with pytest.raises(
        InputError, match=rf"\(1, {free + 1}, 2\).*{constraint}.*must be \(1, {free}, output channels\)"
    ):
        choose.apply(constraint, jnp.zeros((1, 3, 4, 2)), jnp.zeros((1, free + 1, 2)), geometry)
