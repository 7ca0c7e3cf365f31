"""Counts are the sizes of the arrays they count, and those of the text for a one-megapixel image."""

import time
import tracemalloc

import jax
import pytest

from cnn_constraints.constraints import counts, ties
from cnn_constraints.constraints import geometry as geometries
from cnn_constraints.constraints.geometry import Axis, Geometry
from cnn_constraints.constraints.ties import tie_table
from cnn_constraints.errors import InputError
from cnn_constraints.model import ConstrainedLayer

EVERY_CONSTRAINT = pytest.mark.parametrize("constraint", ties.CONSTRAINTS)
MEGAPIXEL = Geometry(1000, 1000)
PER_SITE = {"own": None, "site": True, "channel": False}


@EVERY_CONSTRAINT
@pytest.mark.parametrize("boundary", geometries.BOUNDARIES)
@pytest.mark.parametrize("stride", [1, 2])
def test_counts_in_closed_form_are_those_of_the_table(constraint, boundary, stride, draw):
    geometry = draw.geometry(boundary, stride, largest=8)
    delta = draw.delta(constraint, geometry)
    table = tie_table(constraint, geometry, delta)
    in_channels, out_channels = draw.channels(), draw.channels()
    count = counts.count(constraint, geometry, delta, in_channels, out_channels)
    assert count.weights == (table.max() + 1) * in_channels * out_channels
    assert count.multiply_adds == (table >= 0).sum() * in_channels * out_channels


@EVERY_CONSTRAINT
@pytest.mark.parametrize("bias", PER_SITE)
def test_counts_are_the_sizes_of_the_parameters_of_a_layer(constraint, bias, draw):
    geometry = draw.geometry()
    delta, in_channels, out_channels = draw.delta(constraint, geometry), draw.channels(), draw.channels()
    layer = ConstrainedLayer(constraint, geometry, out_channels, delta, bias)
    images = jax.ShapeDtypeStruct((in_channels, geometry.height, geometry.width, 2), "float32")
    parameters = jax.eval_shape(layer.init, jax.random.key(0), images)["params"]
    count = counts.count(constraint, geometry, delta, in_channels, out_channels, "float32", PER_SITE[bias])
    assert count.weights == parameters["weights"].size
    assert count.bias == parameters["bias"].size
    assert count.bytes == sum(array.size * array.dtype.itemsize for array in parameters.values())


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
    delta = 10 if ties.find(constraint).local else None
    assert counts.count(constraint, MEGAPIXEL, delta).weights == weights


@pytest.mark.parametrize(("constraint", "off"), {"dense": 0, "shared": 0.002, "conv": 0.1}.items())
def test_text_rounds_the_exact_count(constraint, off):
    exact = counts.count(constraint, MEGAPIXEL, 10).weights
    assert counts.approximation_in_text(constraint, MEGAPIXEL, 10) == pytest.approx(exact, rel=off, abs=0)


def test_text_gives_these_numbers():
    given = {name: counts.approximation_in_text(name, MEGAPIXEL, 10) for name in ("dense", "shared", "local", "conv")}
    assert given == {"dense": 1000**4, "shared": 2000 * 2000, "local": None, "conv": 4 * 10**2}


@pytest.mark.parametrize("constraint", [name for name, one in ties.CONSTRAINTS.items() if one.sizes is not None])
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


@pytest.mark.parametrize("channels", ["in_channels", "out_channels"])
def test_channels_below_one_are_refused(channels):
    with pytest.raises(InputError, match=f"{channels} is 0"):
        counts.count("conv", Geometry(3, 3), 1, **{channels: 0})


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
