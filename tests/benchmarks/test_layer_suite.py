"""A benchmark compares equals: its definition is that of the project, and what computes something else is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.layers import definition, flax_layers, suite
from benchmarks.layers.contender import Arrays, Case, Contender
from benchmarks.layers.definition import Products, kernel_of
from benchmarks.layers.our_layers import ours
from benchmarks.timing import Ceilings, torch_is_installed
from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.ops import dense
from cnn_constraints.ops.choose import stored_ties

CELLS = ("dense", "shared", "local", "conv")
CEILINGS = Ceilings(1e9, 1e9)


def random_case(cell: str, draw) -> Case:
    geometry = draw.geometry("zero", stride=1, margin=0)
    delta = draw.delta(cell, geometry)
    return Case("small", cell, geometry, draw.channels(), draw.channels(), delta, draw.integer(1, 3))


@pytest.mark.parametrize("cell", CELLS)
def test_its_definition_is_the_tie_table(cell, draw, seed):
    case = random_case(cell, draw)
    arrays = suite._draw(case, seed)
    ties = stored_ties(cell, case.geometry, case.delta)
    with jax.enable_x64(True):
        x, weights, gradient = (jnp.asarray(array, jnp.float64) for array in arrays)
        h, pull_back = jax.vjp(
            lambda x, w: dense.expanded(x.transpose(3, 1, 2, 0), w, ties, case.geometry).transpose(3, 1, 2, 0),
            x,
            weights,
        )
        x_gradient, weights_gradient = pull_back(gradient)
    kernel = kernel_of(cell, arrays.weights, case.geometry, case.delta)
    actual = definition.products(cell, arrays.images, kernel, arrays.gradient, case.geometry, case.delta)
    expected = Products(h, x_gradient, kernel_of(cell, np.asarray(weights_gradient), case.geometry, case.delta))
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("cell", CELLS)
def test_every_contender_computes_it(cell, draw, seed):
    case = random_case(cell, draw)
    suite._check(case, suite._makers(case, formulations=True), seed)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("field", Products._fields)
def test_a_contender_that_computes_something_else_is_refused(cell, field, draw, seed):
    def wrong(case: Case, arrays: Arrays) -> Contender:
        right = ours(None)(case, arrays)

        def products() -> Products:
            computed = right.products()
            return computed._replace(**{field: getattr(computed, field) * 1.001})

        return right._replace(products=products)

    with pytest.raises(RuntimeError, match=f"impostor on {cell} small.*{field} is off by"):
        suite._check(random_case(cell, draw), {"ours": ours(None), "impostor": wrong}, seed)


def test_every_contender_is_timed_in_both_directions(draw, seed):
    case = random_case("conv", draw)
    rows = list(suite.measure([case], 1, CEILINGS, seed, formulations=False))
    assert len({row.case for row in rows}) == 2
    for title in {row.case for row in rows}:
        contenders = {row.contender for row in rows if row.case == title}
        assert contenders >= {"ours", *flax_layers.MAKERS["conv"]}
        assert any(name.startswith("torch") for name in contenders) == torch_is_installed()
    assert all(0 < row.seconds_min <= row.seconds_median <= row.seconds_max for row in rows)


def test_the_grid_is_all_cells_on_all_images():
    cases = suite.grid(["28x28x1->16", "16x16x32->32"], [1, 3], 64)
    assert len(cases) == len({case.title for case in cases}) == 2 * 6
    assert {(case.geometry.height, case.in_channels, case.out_channels) for case in cases} == {
        (28, 1, 16),
        (16, 32, 32),
    }
    assert {case.cell for case in cases} == set(CELLS)


def test_a_shared_layer_needs_no_more_work_than_its_products_or_its_transforms():
    small, large = (Case("", "shared", Geometry(side, side), 1, 1, None, 1) for side in (2, 1000))
    assert suite.least_work(small, "forward")[0] == 2 * (2 * 2) ** 2
    # Three transforms of 1999 x 1999 sites, and four operations a site for the products.
    sites = 1999**2
    assert suite.least_work(large, "forward")[0] == pytest.approx(sites * (3 * 2.5 * np.log2(sites) + 4))


def test_the_least_work_of_a_dense_layer_is_its_products():
    case = Case("small", "dense", Geometry(2, 3), 5, 7, None, 11)
    operations, moved = suite.least_work(case, "forward")
    assert operations == 2 * 11 * (6 * 5) * (6 * 7)
    assert moved == 4 * (11 * (6 * 5 + 6 * 7) + (6 * 5) * (6 * 7))
