"""Tie tables say what the constraints of D2L 7.1.2 say, and form a lattice of subspaces."""

import dataclasses
import itertools
import math

import numpy as np
import pytest

from cnn_constraints.constraints import geometry as geometries
from cnn_constraints.constraints import ties
from cnn_constraints.constraints.geometry import Geometry
from cnn_constraints.constraints.ties import canonical, join, leq, meet, tie_table
from cnn_constraints.errors import InputError

EVERY_CONSTRAINT = pytest.mark.parametrize("constraint", ties.CONSTRAINTS)
EVERY_BOUNDARY = pytest.mark.parametrize("boundary", geometries.BOUNDARIES)
TILE_OF = {"dense": 99, "local": 99, "shared": 1, "conv": 1}
"""Untied weights are those of tiles that no image fills."""


def table_of_the_text(tile: int, geometry: Geometry, delta: int | None) -> np.ndarray:
    """Pair by pair: missing beyond delta, and one name for each offset and place in the tile."""
    rows, columns = geometry.rows.offset_of_pair(), geometry.columns.offset_of_pair()
    names, table = {}, []
    for i, j in np.ndindex(geometry.output_height, geometry.output_width):
        for k, l in np.ndindex(geometry.height, geometry.width):  # noqa: E741
            a, b = rows[i, k], columns[j, l]
            near = delta is None or max(abs(a), abs(b)) <= delta
            name = (i % tile, j % tile, a, b)
            table.append(names.setdefault(name, len(names)) if near else -1)
    return np.array(table).reshape(geometry.output_sites, geometry.input_sites)


def draw_tables(draw, largest: int = 3) -> list[np.ndarray]:
    """Registered and random ties of the same sites."""
    geometry = draw.geometry(largest=largest)
    registered = [tie_table(name, geometry, draw.delta(name, geometry)) for name in ties.CONSTRAINTS]
    return registered + [draw.table(geometry.output_sites, geometry.input_sites) for _ in range(4)]


def equal(first: np.ndarray, second: np.ndarray) -> bool:
    """The same constraint, whatever its names."""
    return np.array_equal(canonical(first), canonical(second))


def subspace(table: np.ndarray) -> np.ndarray:
    """A column for each name, 1 at its pairs, and one of zeros: they span all W that the table allows."""
    names = np.arange(-1, table.max() + 1)
    return (table.reshape(-1, 1) == names) & (names >= 0)


def contains(larger: np.ndarray, smaller: np.ndarray) -> bool:
    """Inclusion of two subspaces, by ranks."""
    both = np.concatenate([subspace(larger), subspace(smaller)], axis=1)
    return int(np.linalg.matrix_rank(both)) == int(larger.max()) + 1


def all_tables_of_four_pairs() -> list[np.ndarray]:
    """All 52 ways to tie, or leave out, the pairs of 2 outputs and 2 inputs."""
    tables = (canonical(np.reshape(names, (2, 2))) for names in itertools.product(range(-1, 4), repeat=4))
    return list({table.tobytes(): table for table in tables}.values())


@EVERY_BOUNDARY
@pytest.mark.parametrize("constraint", ["dense", "shared", "local", "conv", "tiled"])
def test_constraints_are_those_of_the_texts(constraint, boundary, draw):
    """Of D2L 7.1.2, and of Le, Ngiam et al. 2010."""
    geometry = draw.geometry(boundary)
    delta = draw.delta(constraint, geometry)
    expected = table_of_the_text(TILE_OF.get(constraint, geometry.tile), geometry, delta)
    assert equal(tie_table(constraint, geometry, delta), expected)


@EVERY_CONSTRAINT
def test_names_are_numbered_without_gaps(constraint, draw):
    geometry = draw.geometry(stride=1)
    table = tie_table(constraint, geometry, draw.delta(constraint, geometry))
    np.testing.assert_array_equal(np.unique(table[table >= 0]), np.arange(table.max() + 1))


@pytest.mark.parametrize("constraint", [name for name, constraint in ties.CONSTRAINTS.items() if not constraint.local])
def test_delta_means_nothing_to_a_constraint_that_is_not_local(constraint, draw):
    geometry = draw.geometry()
    np.testing.assert_array_equal(
        tie_table(constraint, geometry, draw.reach(geometry)), tie_table(constraint, geometry, None)
    )


@EVERY_BOUNDARY
def test_conv_is_both_constraints_imposed(boundary, draw):
    geometry = draw.geometry(boundary)
    delta = draw.reach(geometry)
    both = meet(tie_table("shared", geometry), tie_table("local", geometry, delta))
    np.testing.assert_array_equal(both, canonical(tie_table("conv", geometry, delta)))


@EVERY_BOUNDARY
@pytest.mark.parametrize(("local", "corner"), [("conv", "shared"), ("local", "dense")])
def test_full_delta_is_no_locality(local, corner, boundary, draw):
    geometry = draw.geometry(boundary)
    everything = max(geometry.height, geometry.width) - 1
    assert equal(tie_table(local, geometry, everything), tie_table(corner, geometry))
    assert equal(tie_table(local, geometry, None), tie_table(corner, geometry))


def test_cells_are_ordered_as_a_square(draw):
    geometry = draw.geometry(smallest=2)
    delta = draw.reach(geometry)
    dense, shared, local, conv = (tie_table(name, geometry, delta) for name in ("dense", "shared", "local", "conv"))
    assert leq(conv, shared) and leq(conv, local) and leq(shared, dense) and leq(local, dense)


@EVERY_BOUNDARY
def test_neither_constraint_implies_the_other(boundary, draw):
    geometry = draw.geometry(boundary, stride=1, smallest=4)
    local, shared = tie_table("local", geometry, draw.integer(0, 1)), tie_table("shared", geometry)
    assert not leq(local, shared) and not leq(shared, local)


@pytest.mark.parametrize("constraint", [name for name, constraint in ties.CONSTRAINTS.items() if constraint.local])
def test_larger_delta_is_weaker(constraint, draw):
    geometry = draw.geometry(smallest=2)
    smaller, larger = sorted((draw.reach(geometry), draw.reach(geometry)))
    assert leq(tie_table(constraint, geometry, smaller), tie_table(constraint, geometry, larger))


def tiled(geometry: Geometry, tile: int, delta: int) -> np.ndarray:
    return tie_table("tiled", dataclasses.replace(geometry, tile=tile), delta)


@EVERY_BOUNDARY
def test_tiled_lies_between_conv_and_local(boundary, draw):
    geometry = draw.geometry(boundary)
    delta, side = draw.reach(geometry), max(geometry.output_height, geometry.output_width)
    conv, local = tie_table("conv", geometry, delta), tie_table("local", geometry, delta)
    between = tie_table("tiled", geometry, delta)
    assert leq(conv, between) and leq(between, local)
    np.testing.assert_array_equal(tiled(geometry, 1, delta), conv)
    np.testing.assert_array_equal(tiled(geometry, side + draw.integer(0, 3), delta), local)


@EVERY_BOUNDARY
def test_tiles_that_divide_one_another_are_ordered(boundary, draw):
    geometry = draw.geometry(boundary)
    delta, tile = draw.reach(geometry), draw.integer(1, 3)
    assert leq(tiled(geometry, tile, delta), tiled(geometry, tile * draw.integer(1, 3), delta))


@EVERY_BOUNDARY
def test_tiles_that_do_not_divide_one_another_are_not_ordered(boundary):
    two, three = (tiled(Geometry(6, 6, boundary=boundary), tile, 1) for tile in (2, 3))
    assert not leq(two, three) and not leq(three, two)


@EVERY_BOUNDARY
def test_join_of_two_tiles_is_their_least_common_multiple(boundary, draw):
    geometry = draw.geometry(boundary)
    delta, first, second = draw.reach(geometry), draw.integer(1, 4), draw.integer(1, 4)
    joined = join(tiled(geometry, first, delta), tiled(geometry, second, delta))
    assert equal(joined, tiled(geometry, math.lcm(first, second), delta))


def test_meet_of_two_tiles_is_their_greatest_common_divisor(draw):
    """On a torus of at least as many sites as both tiles have, so that steps of either lead to every site."""
    geometry = draw.geometry("circular", stride=1, smallest=6, largest=7)
    delta, first, second = draw.integer(0, 2), draw.integer(1, 3), draw.integer(1, 3)
    both = meet(tiled(geometry, first, delta), tiled(geometry, second, delta))
    assert equal(both, tiled(geometry, math.gcd(first, second), delta))


def test_join_of_sharing_and_locality_ties_only_what_is_far(draw):
    geometry = draw.geometry()
    local, shared = tie_table("local", geometry, draw.reach(geometry)), tie_table("shared", geometry)
    near = local >= 0
    joined = join(shared, local)
    assert len(np.unique(joined[near])) == near.sum()
    assert equal(np.where(near, -1, joined), np.where(near, -1, shared))


def test_join_with_a_stronger_constraint_changes_nothing(draw):
    geometry = draw.geometry()
    delta = draw.reach(geometry)
    conv = tie_table("conv", geometry, delta)
    for weaker in (tie_table(name, geometry, delta) for name in ("shared", "local", "dense")):
        assert equal(join(conv, weaker), weaker)


@pytest.mark.parametrize("operation", [meet, join])
def test_meet_and_join_are_commutative(operation, draw):
    for first, second in itertools.combinations(draw_tables(draw), 2):
        np.testing.assert_array_equal(operation(first, second), operation(second, first))


@pytest.mark.parametrize("operation", [meet, join])
def test_meet_and_join_are_associative(operation, draw):
    for a, b, c in itertools.combinations(draw_tables(draw), 3):
        np.testing.assert_array_equal(operation(operation(a, b), c), operation(a, operation(b, c)))


@pytest.mark.parametrize("operation", [meet, join])
def test_meet_and_join_are_idempotent(operation, draw):
    for table in draw_tables(draw):
        np.testing.assert_array_equal(operation(table, table), canonical(table))


@pytest.mark.parametrize(("outer", "inner"), [(meet, join), (join, meet)])
def test_meet_and_join_absorb_each_other(outer, inner, draw):
    for a, b in itertools.permutations(draw_tables(draw), 2):
        np.testing.assert_array_equal(outer(a, inner(a, b)), canonical(a))


def test_stronger_means_meet_is_first_and_join_is_second(draw):
    for a, b in itertools.product(draw_tables(draw), repeat=2):
        for first, second in ((a, b), (meet(a, b), a), (a, join(a, b))):
            assert leq(first, second) == equal(meet(first, second), first) == equal(join(first, second), second)


def test_stronger_is_a_partial_order(draw):
    tables = draw_tables(draw, largest=2)
    tables += [meet(a, b) for a, b in itertools.combinations(tables, 2)]
    order = np.array([[leq(a, b) for b in tables] for a in tables])
    same = np.array([[equal(a, b) for b in tables] for a in tables])
    assert order.diagonal().all()
    np.testing.assert_array_equal(order & order.T, same)
    assert (order | ~(order.astype(int) @ order.astype(int) > 0)).all()


def test_stronger_is_inclusion_of_subspaces(draw):
    for a, b in itertools.product(draw_tables(draw), repeat=2):
        assert leq(a, b) == contains(b, a)


def test_meet_is_the_intersection_of_subspaces(draw):
    for a, b in itertools.combinations(draw_tables(draw), 2):
        both, together = meet(a, b), np.concatenate([subspace(a), subspace(b)], axis=1)
        assert contains(a, both) and contains(b, both)
        assert both.max() + 1 == a.max() + 1 + b.max() + 1 - np.linalg.matrix_rank(together)


def test_all_ties_of_four_pairs_form_a_lattice():
    """Exhaustively: meet is the greatest lower bound and join the least upper bound in the order of subspaces."""
    tables = all_tables_of_four_pairs()
    number = {table.tobytes(): n for n, table in enumerate(tables)}
    below = np.array([[contains(larger, smaller) for larger in tables] for smaller in tables])
    assert len(tables) == 52
    for a, b in itertools.combinations_with_replacement(range(52), 2):
        lowest, highest = number[meet(tables[a], tables[b]).tobytes()], number[join(tables[a], tables[b]).tobytes()]
        np.testing.assert_array_equal(below[:, lowest], below[:, a] & below[:, b])
        np.testing.assert_array_equal(below[highest], below[a] & below[b])


def test_canonical_depends_on_the_constraint_and_not_on_its_names(draw):
    table = draw_tables(draw)[draw.integer(0, 7)]
    renamed = np.append(draw.rng.permutation(int(table.max()) + 1) * 3, -1)[table]
    np.testing.assert_array_equal(canonical(renamed), canonical(table))
    np.testing.assert_array_equal(canonical(canonical(table)), canonical(table))


@EVERY_CONSTRAINT
@EVERY_BOUNDARY
@pytest.mark.parametrize("stride", [1, 2])
def test_inverse_fan_in_in_closed_form_is_that_of_the_table(constraint, boundary, stride, draw):
    geometry = draw.geometry(boundary, stride)
    delta = draw.delta(constraint, geometry)
    table = tie_table(constraint, geometry, delta)
    fan_in = (table >= 0).sum(axis=1)
    outputs = [np.nonzero(table == name)[0] for name in range(table.max() + 1)]
    expected = [np.mean(1 / fan_in[output]) for output in outputs]
    np.testing.assert_allclose(ties.inverse_fan_in(constraint, geometry, delta), expected, rtol=1e-12)
    np.testing.assert_allclose(ties._mean_inverse_fan_in(table), expected, rtol=1e-12)


def test_misspelt_constraint_is_refused_with_the_nearest_name():
    with pytest.raises(InputError, match=r"'cnov'.*conv, dense, local.*did you mean 'conv'"):
        ties.find("cnov")


@pytest.mark.parametrize("ask", [tie_table, ties.sizes, ties.inverse_fan_in])
@pytest.mark.parametrize("beyond", [-1, 4])
@EVERY_CONSTRAINT
def test_delta_outside_the_image_is_refused(constraint, ask, beyond):
    with pytest.raises(InputError, match=rf"delta is {beyond}\b.*4 x 3.*\b3\b"):
        ask(constraint, Geometry(4, 3), beyond)


@EVERY_CONSTRAINT
def test_table_too_large_to_write_is_refused(constraint):
    with pytest.raises(InputError, match=r"1000 x 1000.*1,000,000,000,000 entries.*268,435,456"):
        tie_table(constraint, Geometry(1000, 1000), 1)
