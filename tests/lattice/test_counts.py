"""Counts are the sizes of the arrays they count, and those of the text for a one-megapixel image."""

import time
import tracemalloc

import jax
import numpy as np
import pytest
from geometries import CASES, EVERY_CASE, EVERY_CONSTRAINT

from cnn_constraints.errors import InputError
from cnn_constraints.functional import Layer
from cnn_constraints.lattice import constraints, counts, low_rank
from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.network import StoredLayer

MEGAPIXEL = Geometry(1000, 1000)


@EVERY_CASE
@EVERY_CONSTRAINT
def test_closed_forms_are_those_of_the_table(constraint, case):
    table, given = case.table(constraint), (constraint, case.geometry, case.delta, case.tile)
    assert counts.sizes(*given) == (table.max() + 1, (table >= 0).sum())
    fan_in = (table >= 0).sum(axis=1)
    users = [np.nonzero(table == name)[0] for name in range(table.max() + 1)]
    for found in (counts.inverse_fan_in(*given), counts.mean_inverse_fan_in(table)):
        np.testing.assert_allclose(found, [np.mean(1 / fan_in[outputs]) for outputs in users], rtol=1e-12)


@pytest.mark.parametrize("bias", ["site", "channel", None])
@pytest.mark.parametrize("constraint", low_rank.names())
def test_counts_are_the_sizes_of_the_parameters_of_a_layer(constraint, bias, draw):
    geometry, delta, tile = CASES["stride 2"]
    rank = low_rank.rank_of(constraint, draw.integer(1, 4))
    shape = (geometry, delta, draw.integer(1, 3), draw.integer(1, 3))
    layer = Layer(constraint, geometry, *shape[2:], delta, tile, rank, bias)
    images = jax.ShapeDtypeStruct((shape[2], geometry.height, geometry.width, 2), "float32")
    parameters = jax.eval_shape(StoredLayer(layer).init, jax.random.key(0), images)["params"]
    sizes, count = {name: array.size for name, array in parameters.items()}, layer.count
    assert count.weights == sizes["weights"] + sizes.get("combining", 0)
    assert (count.bias, count.bytes) == (sizes.get("bias", 0), 4 * sum(sizes.values()))
    if bias is not None:
        assert count == counts.count(constraint, *shape, bias_per_site=bias == "site", tile=tile, rank=rank)
        for dtype, size in {"bfloat16": 2, "float16": 2, "float32": 4, "float64": 8}.items():
            other = counts.count(constraint, *shape, dtype, bias == "site", tile, rank)
            assert other.bytes == size * other.parameters == size * (other.weights + other.bias)


@EVERY_CASE
def test_tying_weights_saves_no_work_and_channels_multiply_it(case, draw):
    into, out = draw.integer(1, 3), draw.integer(1, 3)
    shape = (case.geometry, case.delta, into, out)
    count = {name: counts.count(name, *shape) for name in constraints.CONSTRAINTS}
    for tied, untied in (("shared", "dense"), ("conv", "local"), ("tiled", "local")):
        assert count[tied].multiply_adds == count[untied].multiply_adds
    for name, one in count.items():
        own = constraints.find(name).bias_per_site
        assert one.bias == out * (case.geometry.output_sites if own else 1)
        assert one.multiply_adds == into * out * (case.table(name) >= 0).sum()


@pytest.mark.parametrize(
    ("constraint", "weights", "text", "off"),
    [
        ("dense", 10**12, 1000**4, 0),
        ("shared", 1999**2, 2000 * 2000, 0.002),
        ("local", (1000 * 21 - 10 * 11) ** 2, None, None),
        ("conv", 21**2, 4 * 10**2, 0.1),
        ("tiled", 4 * 21**2, None, None),
    ],
)
def test_a_megapixel_layer_is_the_texts_and_takes_no_memory_and_no_time(constraint, weights, text, off):
    tracemalloc.start()
    started = time.process_time()
    assert counts.count(constraint, MEGAPIXEL, 10).weights == weights
    seconds, (_, peak) = time.process_time() - started, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10e6 and seconds < 5
    rounded = counts.approximation_in_text(constraint, MEGAPIXEL, 10)
    assert rounded == text and (text is None or rounded == pytest.approx(weights, rel=off, abs=0))


@pytest.mark.parametrize(
    ("constraint", "given", "words"),
    [
        ("conv", {"in_channels": 0}, "in_channels is 0: it must be a whole number, at least 1"),
        ("conv", {"out_channels": 0}, "out_channels is 0"),
        ("tiled", {"tile": 0}, "tile is 0: it must be a whole number, at least 1"),
        ("low_rank_local", {"rank": 0}, "rank is 0: it must be a whole number, at least 1"),
        ("conv", {"dtype": "float31"}, r"'float31'.*bfloat16, float16, float32, float64.*did you mean 'float32'"),
        ("dens", {}, r"'dens'.*did you mean 'dense'"),
        ("conv", {"delta": 3}, r"delta is 3\b.*3 x 3"),
    ],
)
def test_what_cannot_be_counted_is_refused(constraint, given, words):
    with pytest.raises(InputError, match=words):
        counts.count(constraint, Geometry(3, 3), **{"delta": 1} | given)
