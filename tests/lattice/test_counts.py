"""Counts are the sizes of the arrays they count, and those of the text for a one-megapixel image."""

import time
import tracemalloc

import jax
import numpy as np
import pytest

from cnn_constraints.errors import InputError
from cnn_constraints.functional import Layer
from cnn_constraints.lattice import constraints, counts, low_rank
from cnn_constraints.lattice import geometry as geometries
from cnn_constraints.lattice.constraints import Constraint, ties
from cnn_constraints.lattice.geometry import Axis, Geometry
from cnn_constraints.network import StoredLayer

EVERY_CONSTRAINT = pytest.mark.parametrize("constraint", constraints.CONSTRAINTS)
MEGAPIXEL = Geometry(1000, 1000)
BIASES = pytest.mark.parametrize("bias", ["site", "channel", None])


@EVERY_CONSTRAINT
@pytest.mark.parametrize("boundary", geometries.BOUNDARIES)
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_counts_in_closed_form_are_those_of_the_table(constraint, boundary, stride, draw):
    for _ in range(3):
        geometry, tile = draw.geometry(boundary, stride, largest=8), draw.tile()
        delta = draw.delta(constraint, geometry)
        table = ties(constraint, geometry, delta, tile)
        in_channels, out_channels = draw.channels(), draw.channels()
        count = counts.count(constraint, geometry, delta, in_channels, out_channels, tile=tile)
        assert counts.sizes(constraint, geometry, delta, tile) == (table.max() + 1, (table >= 0).sum())
        assert count.weights == (table.max() + 1) * in_channels * out_channels
        assert count.multiply_adds == (table >= 0).sum() * in_channels * out_channels


@EVERY_CONSTRAINT
@pytest.mark.parametrize("boundary", geometries.BOUNDARIES)
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_inverse_fan_in_in_closed_form_is_that_of_the_table(constraint, boundary, stride, draw):
    for _ in range(3):
        geometry, tile = draw.geometry(boundary, stride), draw.tile()
        delta = draw.delta(constraint, geometry)
        table = ties(constraint, geometry, delta, tile)
        fan_in = (table >= 0).sum(axis=1)
        outputs = [np.nonzero(table == name)[0] for name in range(table.max() + 1)]
        expected = [np.mean(1 / fan_in[output]) for output in outputs]
        np.testing.assert_allclose(counts.inverse_fan_in(constraint, geometry, delta, tile), expected, rtol=1e-12)
        np.testing.assert_allclose(counts.mean_inverse_fan_in(table), expected, rtol=1e-12)


@BIASES
@pytest.mark.parametrize("constraint", low_rank.names())
def test_counts_are_the_sizes_of_the_parameters_of_a_layer(constraint, bias, draw):
    geometry, tile = draw.geometry(), draw.tile()
    delta, in_channels, out_channels = draw.delta(low_rank.bank_of(constraint), geometry), draw.channels(), 3
    rank = low_rank.rank_of(constraint, draw.integer(1, 4))
    layer = Layer(constraint, geometry, in_channels, out_channels, delta, tile, rank, bias)
    images = jax.ShapeDtypeStruct((in_channels, geometry.height, geometry.width, 2), "float32")
    parameters = jax.eval_shape(StoredLayer(layer).init, jax.random.key(0), images)["params"]
    combining = parameters["combining"].size if rank else 0
    assert layer.count.weights == parameters["weights"].size + combining
    assert layer.count.bias == (0 if bias is None else parameters["bias"].size)
    assert layer.count.bytes == sum(array.size * array.dtype.itemsize for array in parameters.values())
    if bias is not None:
        shape = (geometry, delta, in_channels, out_channels)
        assert layer.count == counts.count(constraint, *shape, bias_per_site=bias == "site", tile=tile, rank=rank)


@EVERY_CONSTRAINT
def test_own_bias_is_counted_where_none_is_asked_for(constraint, draw):
    geometry, own = draw.geometry(), constraints.find(constraint).bias_per_site
    counted = [counts.count(constraint, geometry, None, bias_per_site=per_site).bias for per_site in (None, own)]
    assert counted == [geometry.output_sites if own else 1] * 2


def test_an_own_constraint_is_counted_by_its_table(monkeypatch, draw):
    geometry = draw.geometry()
    table = draw.table(geometry.output_sites, geometry.input_sites)
    own = Constraint("my own", lambda geometry: table, arguments=())
    monkeypatch.setitem(constraints.CONSTRAINTS, "mine", own)
    assert counts.sizes("mine", geometry) == (table.max() + 1, (table >= 0).sum())
    np.testing.assert_array_equal(counts.inverse_fan_in("mine", geometry), counts.mean_inverse_fan_in(table))


@EVERY_CONSTRAINT
@pytest.mark.parametrize(("dtype", "size"), {"bfloat16": 2, "float16": 2, "float32": 4, "float64": 8}.items())
def test_bytes_are_parameters_times_the_size_of_one(constraint, dtype, size, draw):
    geometry = draw.geometry()
    count = counts.count(constraint, geometry, draw.delta(constraint, geometry), dtype=dtype)
    assert count.bytes == size * count.parameters == size * (count.weights + count.bias)


def test_connections_of_an_axis_in_closed_form(draw):
    """H (2 delta + 1) - delta (delta + 1)."""
    size = draw.integer(1, 2000)
    delta = draw.integer(0, size - 1)
    assert Axis(size).connections(delta) == size * (2 * delta + 1) - delta * (delta + 1)


@pytest.mark.parametrize(
    ("constraint", "weights"),
    {
        "dense": 10**12,
        "shared": 1999**2,
        "local": (1000 * 21 - 10 * 11) ** 2,
        "conv": 21**2,
    }.items(),
)
def test_weights_of_a_megapixel_layer_are_those_of_the_text(constraint, weights):
    delta = 10 if constraints.find(constraint).local else None
    assert counts.count(constraint, MEGAPIXEL, delta).weights == weights


@pytest.mark.parametrize(("constraint", "off"), {"dense": 0, "shared": 0.002, "conv": 0.1}.items())
def test_text_rounds_the_exact_count(constraint, off):
    exact = counts.count(constraint, MEGAPIXEL, 10).weights
    assert counts.approximation_in_text(constraint, MEGAPIXEL, 10) == pytest.approx(exact, rel=off, abs=0)


def test_text_gives_these_numbers():
    given = {name: counts.approximation_in_text(name, MEGAPIXEL, 10) for name in ("dense", "shared", "local", "conv")}
    assert given == {"dense": 1000**4, "shared": 2000 * 2000, "local": None, "conv": 4 * 10**2}


@pytest.mark.parametrize("constraint", list(constraints.CONSTRAINTS))
def test_counting_a_megapixel_layer_takes_no_memory_and_no_time(constraint):
    tracemalloc.start()
    started = time.perf_counter()
    counts.count(constraint, MEGAPIXEL, 10)
    seconds = time.perf_counter() - started
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10e6
    assert seconds < 5


@pytest.mark.parametrize(("stronger", "weaker"), [("conv", "shared"), ("conv", "local"), ("local", "dense")])
def test_stronger_constraint_has_no_more_weights(stronger, weaker, draw):
    geometry = draw.geometry()
    delta = draw.reach(geometry)
    assert counts.count(stronger, geometry, delta).weights <= counts.count(weaker, geometry, delta).weights


def test_tying_weights_saves_no_work(draw):
    geometry = draw.geometry()
    delta = draw.reach(geometry)
    for tied, untied in (("shared", "dense"), ("conv", "local")):
        first, second = (counts.count(name, geometry, delta).multiply_adds for name in (tied, untied))
        assert first == second


@pytest.mark.parametrize(
    ("constraint", "number"),
    [("conv", "in_channels"), ("conv", "out_channels"), ("tiled", "tile"), ("low_rank_local", "rank")],
)
def test_numbers_below_one_are_refused(constraint, number):
    with pytest.raises(InputError, match=f"{number} is 0: it must be a whole number, at least 1"):
        counts.count(constraint, Geometry(3, 3), 1, **{number: 0})


def test_misspelt_dtype_is_refused():
    with pytest.raises(InputError, match=r"'float31'.*bfloat16, float16, float32, float64.*did you mean 'float32'"):
        counts.count("conv", Geometry(3, 3), 1, dtype="float31")


def test_misspelt_constraint_is_refused_with_the_nearest_name():
    with pytest.raises(InputError, match=r"'dens'.*did you mean 'dense'"):
        counts.count("dens", MEGAPIXEL)


@pytest.mark.parametrize("beyond", [-1, 1000])
def test_delta_outside_the_image_is_refused(beyond):
    with pytest.raises(InputError, match=rf"delta is {beyond}\b.*1000 x 1000.*\b999\b"):
        counts.count("conv", MEGAPIXEL, beyond)
