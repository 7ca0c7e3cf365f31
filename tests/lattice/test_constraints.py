"""Tie tables say what the constraints of D2L 7.1.2 say, and a user's own table is one of them or refused."""

import itertools
import math

import numpy as np
import pytest

from cnn_constraints.errors import InputError
from cnn_constraints.lattice import constraints, counts
from cnn_constraints.lattice import geometry as geometries
from cnn_constraints.lattice.constraints import Constraint, ties
from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.lattice.order import equal, join, leq, meet

EVERY_CONSTRAINT = pytest.mark.parametrize("constraint", constraints.CONSTRAINTS)
EVERY_BOUNDARY = pytest.mark.parametrize("boundary", geometries.BOUNDARIES)
LOCAL = [name for name, constraint in constraints.CONSTRAINTS.items() if constraint.local]
TILE_OF = {"dense": 99, "local": 99, "shared": 1, "conv": 1}
"""Untied weights are those of tiles that no image fills."""


def offset(geometry: Geometry, output: int, pixel: int, size: int) -> int:
    """pixel - margin - stride * output; on a torus the residue nearest to zero, of two equally near ones the negative."""
    far = pixel - geometry.margin - geometry.stride * output
    laps = range(-geometry.stride, geometry.stride + 1) if geometry.boundary == "circular" else (0,)
    return min((far + lap * size for lap in laps), key=lambda a: (abs(a), a))


def table_of_the_text(tile: int, geometry: Geometry, delta: int | None) -> np.ndarray:
    """Pair by pair: missing beyond delta, and one name for each offset and place in the tile."""
    names, table = {}, []
    for i, j in np.ndindex(geometry.output_height, geometry.output_width):
        for k, l in np.ndindex(geometry.height, geometry.width):  # noqa: E741
            a, b = offset(geometry, i, k, geometry.height), offset(geometry, j, l, geometry.width)
            near = delta is None or max(abs(a), abs(b)) <= delta
            name = (i % tile, j % tile, a, b)
            table.append(names.setdefault(name, len(names)) if near else -1)
    return np.array(table).reshape(geometry.output_sites, geometry.input_sites)


@EVERY_BOUNDARY
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("constraint", ["dense", "shared", "local", "conv", "tiled"])
def test_constraints_are_those_of_the_texts(constraint, boundary, stride, draw):
    """Of D2L 7.1.2, and of Le, Ngiam et al. 2010."""
    for _ in range(3):
        geometry, tile = draw.geometry(boundary, stride), draw.tile()
        delta = draw.delta(constraint, geometry)
        expected = table_of_the_text(TILE_OF.get(constraint, tile), geometry, delta)
        assert equal(ties(constraint, geometry, delta, tile), expected)


@EVERY_CONSTRAINT
def test_names_are_numbered_without_gaps(constraint, draw):
    geometry = draw.geometry()
    table = ties(constraint, geometry, draw.delta(constraint, geometry), draw.tile())
    np.testing.assert_array_equal(np.unique(table[table >= 0]), np.arange(table.max() + 1))


@EVERY_BOUNDARY
@pytest.mark.parametrize("constraint", ["shared", "conv"])
def test_names_of_tied_weights_are_the_places_of_their_offsets_in_a_kernel(constraint, boundary, draw):
    geometry = draw.geometry(boundary)
    delta = draw.delta(constraint, geometry)
    table = ties(constraint, geometry, delta).reshape(
        geometry.output_height, geometry.output_width, geometry.height, geometry.width
    )
    rows, columns = (list(axis.offsets(delta)) for axis in (geometry.rows, geometry.columns))
    for i, j, k, l in np.argwhere(table >= 0).tolist():  # noqa: E741
        a, b = offset(geometry, i, k, geometry.height), offset(geometry, j, l, geometry.width)
        assert table[i, j, k, l] == rows.index(a) * len(columns) + columns.index(b)


@pytest.mark.parametrize("constraint", ["dense", "local"])
def test_names_of_untied_weights_count_site_by_site_and_then_offset_by_offset(constraint, draw):
    geometry = draw.geometry()
    a, b = constraints.offsets_of_pairs(geometry)
    table = ties(constraint, geometry, draw.delta(constraint, geometry))
    pairs = sorted((p, a[p, q], b[p, q], q) for p, q in np.argwhere(table >= 0).tolist())
    assert [table[p, q] for p, _, _, q in pairs] == list(range(len(pairs)))


@pytest.mark.parametrize("constraint", sorted(set(constraints.CONSTRAINTS) - set(LOCAL)))
def test_delta_means_nothing_to_a_constraint_that_is_not_local(constraint, draw):
    geometry = draw.geometry()
    np.testing.assert_array_equal(ties(constraint, geometry, draw.reach(geometry)), ties(constraint, geometry, None))


@pytest.mark.parametrize("constraint", ["dense", "shared", "local", "conv"])
def test_tile_means_nothing_to_a_constraint_that_is_not_tiled(constraint, draw):
    geometry = draw.geometry()
    delta = draw.delta(constraint, geometry)
    np.testing.assert_array_equal(ties(constraint, geometry, delta, draw.tile()), ties(constraint, geometry, delta))


@EVERY_BOUNDARY
def test_conv_is_both_constraints_imposed(boundary, draw):
    geometry = draw.geometry(boundary)
    delta = draw.reach(geometry)
    assert equal(meet(ties("shared", geometry), ties("local", geometry, delta)), ties("conv", geometry, delta))


@EVERY_BOUNDARY
@pytest.mark.parametrize(("local", "corner"), [("conv", "shared"), ("local", "dense")])
def test_full_delta_is_no_locality(local, corner, boundary, draw):
    geometry = draw.geometry(boundary)
    for everything in (draw.whole(geometry), None):
        np.testing.assert_array_equal(ties(local, geometry, everything), ties(corner, geometry))


def test_cells_are_ordered_as_a_square(draw):
    geometry = draw.geometry(smallest=2)
    delta = draw.reach(geometry)
    dense, shared, local, conv = (ties(name, geometry, delta) for name in ("dense", "shared", "local", "conv"))
    assert leq(conv, shared) and leq(conv, local) and leq(shared, dense) and leq(local, dense)


@EVERY_BOUNDARY
def test_neither_constraint_implies_the_other(boundary, draw):
    geometry = draw.geometry(boundary, stride=1, smallest=4, margin=0)
    local, shared = ties("local", geometry, draw.integer(0, 1)), ties("shared", geometry)
    assert not leq(local, shared) and not leq(shared, local)


@pytest.mark.parametrize("constraint", LOCAL)
def test_larger_delta_is_weaker(constraint, draw):
    geometry, tile = draw.geometry(smallest=2), draw.tile()
    smaller, larger = sorted((draw.reach(geometry), draw.reach(geometry)))
    assert leq(ties(constraint, geometry, smaller, tile), ties(constraint, geometry, larger, tile))


@EVERY_BOUNDARY
def test_tiled_lies_between_conv_and_local(boundary, draw):
    geometry = draw.geometry(boundary)
    delta, side = draw.reach(geometry), max(geometry.output_height, geometry.output_width)
    conv, local = ties("conv", geometry, delta), ties("local", geometry, delta)
    between = ties("tiled", geometry, delta, draw.tile())
    assert leq(conv, between) and leq(between, local)
    np.testing.assert_array_equal(ties("tiled", geometry, delta, 1), conv)
    assert equal(ties("tiled", geometry, delta, side + draw.integer(0, 3)), local)


def test_a_tiled_convolution_that_is_not_told_its_tile_has_its_own(draw):
    geometry = draw.geometry()
    delta = draw.reach(geometry)
    np.testing.assert_array_equal(
        ties("tiled", geometry, delta), ties("tiled", geometry, delta, constraints.tile_of("tiled", None))
    )


@EVERY_BOUNDARY
def test_tiles_that_divide_one_another_are_ordered(boundary, draw):
    geometry = draw.geometry(boundary)
    delta, tile = draw.reach(geometry), draw.integer(1, 3)
    assert leq(ties("tiled", geometry, delta, tile), ties("tiled", geometry, delta, tile * draw.integer(1, 3)))


@EVERY_BOUNDARY
def test_tiles_that_do_not_divide_one_another_are_not_ordered(boundary):
    two, three = (ties("tiled", Geometry(6, 6, boundary=boundary), 1, tile) for tile in (2, 3))
    assert not leq(two, three) and not leq(three, two)


@EVERY_BOUNDARY
def test_join_of_two_tiles_is_their_least_common_multiple(boundary, draw):
    geometry = draw.geometry(boundary)
    delta, first, second = draw.reach(geometry), draw.tile(), draw.tile()
    joined = join(ties("tiled", geometry, delta, first), ties("tiled", geometry, delta, second))
    assert equal(joined, ties("tiled", geometry, delta, math.lcm(first, second)))


def test_meet_of_two_tiles_is_their_greatest_common_divisor(draw):
    """On a torus of at least as many sites as both tiles have, so that steps of either lead to every site."""
    geometry = draw.geometry("circular", stride=1, smallest=6, largest=7)
    delta, first, second = draw.integer(0, 2), draw.integer(1, 3), draw.integer(1, 3)
    both = meet(ties("tiled", geometry, delta, first), ties("tiled", geometry, delta, second))
    assert equal(both, ties("tiled", geometry, delta, math.gcd(first, second)))


def test_join_of_sharing_and_locality_ties_only_what_is_far(draw):
    geometry = draw.geometry()
    local, shared = ties("local", geometry, draw.reach(geometry)), ties("shared", geometry)
    near = local >= 0
    joined = join(shared, local)
    assert len(np.unique(joined[near])) == near.sum()
    assert equal(np.where(near, -1, joined), np.where(near, -1, shared))


def test_misspelt_constraint_is_refused_with_the_nearest_name():
    with pytest.raises(InputError, match=r"'cnov'.*conv, dense, local.*did you mean 'conv'"):
        constraints.find("cnov")


@pytest.mark.parametrize("ask", [ties, counts.sizes, counts.inverse_fan_in])
@pytest.mark.parametrize("beyond", [-1, 4])
@EVERY_CONSTRAINT
def test_delta_outside_the_image_is_refused(constraint, ask, beyond):
    with pytest.raises(InputError, match=rf"delta is {beyond}\b.*4 x 3.*\b3\b"):
        ask(constraint, Geometry(4, 3), beyond)


@EVERY_CONSTRAINT
def test_table_too_large_to_write_is_refused(constraint):
    with pytest.raises(InputError, match=r"1000 x 1000.*1,000,000,000,000 entries.*268,435,456"):
        ties(constraint, Geometry(1000, 1000), 1)


GEOMETRY = Geometry(3, 4)
ALL = np.ones((12, 12), int)


@pytest.fixture
def own(monkeypatch):
    """The registry with a constraint of the user's own."""

    def register(write, **settings) -> str:
        monkeypatch.setitem(constraints.CONSTRAINTS, "mine", Constraint("my own", write, **settings))
        return "mine"

    return register


def test_names_with_gaps_are_numbered_anew_in_their_order(own, draw):
    names = draw.table(12, 12)
    gaps = np.append(np.cumsum(draw.rng.integers(1, 9, names.max() + 1)), -1)
    np.testing.assert_array_equal(ties(own(lambda geometry, delta: gaps[names]), GEOMETRY, None), names)


def test_a_table_of_any_whole_numbers_is_accepted(own, draw):
    names = draw.table(12, 12)
    for dtype in (np.int8, np.int16, np.int32, np.int64):
        table = ties(own(lambda geometry, delta, dtype=dtype: names.astype(dtype)), GEOMETRY, None)
        np.testing.assert_array_equal(table, names)


def test_a_constraint_without_delta_is_not_handed_one(own, draw):
    names = draw.table(12, 12)
    np.testing.assert_array_equal(ties(own(lambda geometry: names, arguments=()), GEOMETRY, 1), names)


def test_a_constraint_with_a_tile_is_handed_the_one_that_is_given(own, draw):
    tile, given = draw.tile(), []
    name = own(lambda geometry, tile: given.append(tile) or ALL, arguments=("tile",))
    ties(name, GEOMETRY, None, tile)
    assert given == [tile]


@pytest.mark.parametrize(
    ("table", "words"),
    {
        "another shape": (ALL[:, :11], r"mine writes an array of shape \(12, 11\): .*3 x 4 pixels.*shape \(12, 12\)"),
        "too few axes": (ALL.ravel(), r"mine writes an array of shape \(144,\)"),
        "floats": (ALL * 1.0, "mine writes an array of float64: .*whole numbers"),
        "truths": (ALL > 0, "mine writes an array of bool: .*whole numbers"),
        "a list": (ALL.tolist(), r"mine writes list: .*must be an array of whole numbers of shape \(12, 12\)"),
        "nothing": (None, "mine writes NoneType: .*must be an array"),
        "names below -1": (ALL - 3, "mine writes the name -2: names are at least 0, or -1 for none"),
    }.values(),
)
@pytest.mark.parametrize("ask", [ties, counts.sizes, counts.inverse_fan_in])
def test_what_is_no_table_of_the_geometry_is_refused(own, ask, table, words):
    with pytest.raises(InputError, match=words):
        ask(own(lambda geometry, delta: table), GEOMETRY, 1)


@pytest.mark.parametrize(
    ("write", "at"),
    [
        (lambda geometry, delta: np.where(delta == 1, ALL, -ALL), "None at 1|2 than at 1"),
        (lambda geometry, delta: np.arange(144).reshape(12, 12) // (delta or 9), "2 than at 1"),
    ],
    ids=["drops pairs", "ties more"],
)
def test_a_larger_delta_that_is_not_weaker_is_refused(own, write, at):
    with pytest.raises(InputError, match=rf"mine is not weaker at delta ({at}), on 3 x 4 pixels"):
        ties(own(write), GEOMETRY, 1)


def test_all_offsets_must_be_weaker_than_the_largest_delta(own):
    largest = own(lambda geometry, delta: ALL if delta is not None else -ALL)
    with pytest.raises(InputError, match="mine is not weaker at delta None than at 3"):
        ties(largest, GEOMETRY, 3)


def test_registered_constraints_are_weaker_with_a_larger_delta_up_to_all_offsets(draw):
    geometry, tile = draw.geometry(), draw.tile()
    deltas = [*range(max(0, -geometry.margin), draw.whole(geometry) + 1), None]
    for name in LOCAL:
        tables = [ties(name, geometry, delta, tile) for delta in deltas]
        assert all(leq(smaller, larger) for smaller, larger in itertools.pairwise(tables))


@pytest.mark.parametrize("given", [{"delta": 1.5}, {"delta": "1"}, {"tile": 0}, {"tile": 1.5}])
@pytest.mark.usefixtures("without_shapes")
def test_arguments_that_are_no_numbers_are_refused(given):
    with pytest.raises(InputError, match=f"{next(iter(given))} is"):
        ties("tiled", Geometry(4, 3), **({"delta": 1} | given))


@pytest.mark.parametrize("arguments", ["delta", ("x",), ["delta"]])
@pytest.mark.usefixtures("without_shapes")
def test_a_constraint_takes_delta_and_tile_and_nothing_else(arguments):
    with pytest.raises(InputError, match="it must be a tuple of delta and tile"):
        constraints.Constraint("mine", constraints.conv, arguments=arguments)
