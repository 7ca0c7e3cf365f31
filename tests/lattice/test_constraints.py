"""Tie tables say what the constraints of D2L 7.1.2 say, and a user's own table is one of them or refused."""

import itertools
import math

import numpy as np
import pytest
from geometries import EVERY_CASE, EVERY_CONSTRAINT

from cnn_constraints.errors import InputError
from cnn_constraints.lattice import constraints, counts
from cnn_constraints.lattice.constraints import Constraint, ties
from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.lattice.order import equal, join, leq, meet

LOCAL = [name for name, constraint in constraints.CONSTRAINTS.items() if constraint.local]
TILES = {"dense": 99, "local": 99, "shared": 1, "conv": 1, "tiled": None}
"""Untied weights are those of tiles that no image fills, tied ones those of tiles of one site."""


def table_of_the_text(tile: int, geometry: Geometry, delta: int | None) -> np.ndarray:
    """Pair by pair: missing beyond delta, and one name for each place in the tile and each offset, in this order."""
    rows, columns = geometry.rows.offset_of_pair(), geometry.columns.offset_of_pair()
    sites = np.ndindex(len(rows), len(columns), geometry.height, geometry.width)
    places = [(i % tile, j % tile, rows[i, k], columns[j, m]) for i, j, k, m in sites]
    near = [delta is None or max(abs(a), abs(b)) <= delta for _, _, a, b in places]
    number = {place: n for n, place in enumerate(sorted(set(itertools.compress(places, near))))}
    names = [number[place] if close else -1 for place, close in zip(places, near, strict=True)]
    return np.reshape(names, (geometry.output_sites, geometry.input_sites))


@EVERY_CASE
@pytest.mark.parametrize("constraint", TILES)
def test_constraints_are_those_of_the_texts_to_the_name(constraint, case):
    """Of D2L 7.1.2, and of Le, Ngiam et al. 2010."""
    expected = table_of_the_text(TILES[constraint] or case.tile, case.geometry, case.delta_of(constraint))
    np.testing.assert_array_equal(case.table(constraint), expected)


@EVERY_CASE
def test_the_cells_are_a_square_of_two_constraints(case):
    """dense >= shared, local >= conv, which is both; far away the join of both ties what `shared` ties."""
    dense, shared, local, conv = (case.table(name) for name in ("dense", "shared", "local", "conv"))
    assert equal(meet(shared, local), conv)
    assert leq(conv, shared) and leq(conv, local) and leq(shared, dense) and leq(local, dense)
    assert not leq(shared, local) or (local >= 0).all()  # neither constraint implies the other
    near, joined = local >= 0, join(shared, local)
    assert len(np.unique(joined[near])) == near.sum()
    assert equal(np.where(near, -1, joined), np.where(near, -1, shared))


@EVERY_CASE
def test_a_larger_delta_is_weaker_up_to_all_offsets_which_are_no_locality(case):
    geometry = case.geometry
    deltas = [*range(max(0, -geometry.margin), max(geometry.height, geometry.width) - geometry.margin), None]
    for name in LOCAL:
        tables = [ties(name, geometry, delta, case.tile) for delta in deltas]
        assert all(leq(smaller, larger) for smaller, larger in itertools.pairwise(tables))
        np.testing.assert_array_equal(tables[-2], tables[-1])
    for local, corner in (("conv", "shared"), ("local", "dense")):
        np.testing.assert_array_equal(ties(local, geometry), ties(corner, geometry))


@EVERY_CASE
def test_tiles_lie_between_conv_and_local_and_are_ordered_as_they_divide(case):
    geometry, delta = case.geometry, case.delta
    tiled = lambda tile: ties("tiled", geometry, delta, tile)
    conv, local = case.table("conv"), case.table("local")
    np.testing.assert_array_equal(tiled(1), conv)
    np.testing.assert_array_equal(tiled(None), tiled(constraints.TILE))
    assert equal(tiled(max(geometry.output_height, geometry.output_width)), local)
    for first, second in itertools.product(range(1, 5), repeat=2):
        assert leq(tiled(first), local) and leq(tiled(first), tiled(first * second))
        assert equal(join(tiled(first), tiled(second)), tiled(math.lcm(first, second)))


def test_tiles_meet_in_their_greatest_common_divisor_where_steps_of_either_lead_everywhere():
    tiled = [ties("tiled", Geometry(6, 6, boundary="circular"), 1, tile) for tile in range(1, 7)]
    for first, second in itertools.combinations((1, 2, 3, 6), 2):
        both = meet(tiled[first - 1], tiled[second - 1])
        assert equal(both, tiled[math.gcd(first, second) - 1])
    assert not leq(tiled[1], tiled[2]) and not leq(tiled[2], tiled[1])


@pytest.mark.parametrize("ask", [ties, counts.sizes, counts.inverse_fan_in])
@EVERY_CONSTRAINT
def test_what_no_constraint_has_is_refused(constraint, ask):
    for beyond in (-1, 4):
        with pytest.raises(InputError, match=rf"delta is {beyond}\b.*4 x 3.*\b3\b"):
            ask(constraint, Geometry(4, 3), beyond)
    with pytest.raises(InputError, match=r"'cnov'.*conv, dense, local.*did you mean 'conv'"):
        ask("cnov", Geometry(4, 3))
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


@pytest.mark.parametrize("dtype", [np.int16, np.int64])
def test_names_of_ones_own_are_numbered_without_gaps_in_their_order(dtype, own, draw):
    names = draw.table(12, 12)
    gaps = np.append(np.cumsum(draw.rng.integers(1, 9, names.max() + 1)), -1).astype(dtype)
    np.testing.assert_array_equal(ties(own(lambda geometry, delta: gaps[names]), GEOMETRY, None), names)


@pytest.mark.parametrize("arguments", [(), ("delta",), ("tile",), ("delta", "tile")])
def test_a_constraint_is_handed_what_it_asks_for(arguments, own):
    handed = []
    name = own(lambda geometry, **given: handed.append(given) or ALL, arguments=arguments)
    ties(name, GEOMETRY, 1, 3)
    assert handed == [{name: value for name, value in (("delta", 1), ("tile", 3)) if name in arguments}]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (ALL[:, :11], r"mine writes an array of int64 of shape \(12, 11\): .*3 x 4 pixels.*shape \(12, 12\)"),
        (ALL * 1.0, "mine writes an array of float64 .*whole numbers"),
        (ALL > 0, "mine writes an array of bool .*whole numbers"),
        (None, "mine writes an array of object"),
        (ALL - 3, "mine writes the names -2 to -2"),
        (-ALL, "mine writes the names -1 to -1"),
    ],
)
@pytest.mark.parametrize("ask", [ties, counts.sizes, counts.inverse_fan_in])
def test_what_is_no_table_of_the_geometry_is_refused(own, ask, table, words):
    with pytest.raises(InputError, match=words):
        ask(own(lambda geometry, delta: table), GEOMETRY, 1)
