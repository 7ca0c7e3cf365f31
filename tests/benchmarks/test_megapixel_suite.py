"""On a small image, where all entries can be written out, what is sampled on a large one is what it should be."""

import numpy as np
import pytest

from benchmarks.layers.contender import Arrays, Case
from benchmarks.layers.definition import kernel_of, products
from benchmarks.layers.suite import make_case
from benchmarks.megapixel import definition, measure, suite
from benchmarks.timing import Ceilings
from cnn_constraints.errors import InputError
from cnn_constraints.lattice import counts
from cnn_constraints.lattice.geometry import Geometry
from experiments import benchmark


def whole(cell: str, geometry: Geometry, delta: int | None, generator: np.random.Generator) -> tuple:
    """x, free weights, gradient, and from the definition H, dX and the kernel's gradient at the free weights' places."""
    free = counts.sizes(cell, geometry, delta).weights
    x, gradient = generator.normal(size=(2, geometry.height, geometry.width))
    weights = generator.normal(size=free)
    kernel = kernel_of(cell, weights[None, :, None], geometry, delta)
    h, dx, dv = products(cell, x[None, ..., None], kernel, gradient[None, ..., None], geometry, delta)
    # Numbers in the place of weights tell where each free weight went.
    places = kernel_of(cell, np.arange(1.0, free + 1)[None, :, None], geometry, delta).ravel().astype(int)
    dw = np.zeros(free)
    dw[places[places > 0] - 1] = dv.ravel()[places > 0]
    return x, weights, gradient, (h.ravel(), dx.ravel(), dw)


@pytest.mark.parametrize("cell", ["dense", "shared", "local", "conv"])
def test_sampled_entries_are_those_of_the_definition(cell, draw):
    geometry = Geometry(draw.integer(3, 7), draw.integer(3, 7))
    delta = draw.integer(1, 2) if cell in ("local", "conv") else None
    x, weights, gradient, arrays = whole(cell, geometry, delta, draw.rng)
    errors = definition.largest_errors(
        Case("", cell, geometry, 1, 1, delta, 1), Arrays(x, weights, gradient), arrays, draw.rng
    )
    assert max(errors) < 1e-12


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_wrong_array_is_noticed(which, draw):
    geometry = Geometry(5, 6)
    x, weights, gradient, arrays = whole("local", geometry, 1, draw.rng)
    wrong = tuple(array + (number == which) for number, array in enumerate(arrays))
    errors = definition.largest_errors(
        Case("", "local", geometry, 1, 1, 1, 1), Arrays(x, weights, gradient), wrong, draw.rng
    )
    assert errors[which] > 1e-3


def test_a_measurement_tells_seconds_and_peak_memory(seed):
    request = {
        "cell": "local",
        "shape": "20x20x1->1",
        "delta": 2,
        "contender": "ours",
        "direction": "both",
        "rounds": 2,
    }
    result = measure.main(request | {"seed": seed})
    assert len(result["seconds"]) == 2 and min(result["seconds"]) > 0
    assert result["peak_bytes"] > 10 * 2**20


def test_the_suite_measures_each_direction_in_a_process_of_its_own(seed):
    rows = list(suite.measure(["conv"], [1], 12, 1, Ceilings(1e9, 1e9), seed))
    assert [row.contender for row in rows] == ["ours", "lax conv"] * 2
    assert all(row.peak_bytes and row.seconds_min > 0 for row in rows)


def test_what_does_not_fit_is_refused_with_the_bytes_it_needs(seed, capsys):
    sentence = suite.refusal(make_case("1000x1000x1->1", "dense", None, 1))
    assert sentence and "1,000,000,000,000 weights" in sentence and "8,000,000,000,000 bytes" in sentence
    with pytest.raises(InputError, match="dense at 1000 x 1000 is not run"):
        list(suite.measure(["dense"], [1], 1000, 1, Ceilings(1e9, 1e9), seed))
    rows = suite.measure(["dense", "conv"], [1], 1000, 1, Ceilings(1e9, 1e9), seed)
    next(rows)
    assert sentence in capsys.readouterr().err


def test_a_delta_beyond_the_image_is_refused_by_the_command():
    with pytest.raises(InputError, match="delta is 9"):
        benchmark.main(["megapixel", "--size", "8", "--deltas", "9"])
