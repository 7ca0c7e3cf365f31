"""Tie tables are subspaces of all W, and form a lattice."""

import itertools

import numpy as np
import pytest
from geometries import Case

from cnn_constraints.errors import InputError
from cnn_constraints.lattice import constraints
from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.lattice.order import canonical, equal, join, leq, meet

CASES = {
    "image": Case(Geometry(2, 3), 1, 2),
    "torus": Case(Geometry(3, 3, 2, "circular"), 1, 3),
    "outside": Case(Geometry(2, 1, margin=-1), 1, 2),
}
EVERY_CASE = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def draw_tables(case: Case, draw) -> list[np.ndarray]:
    """Registered and random ties of the same sites."""
    registered = [case.table(name) for name in constraints.CONSTRAINTS]
    return registered + [draw.table(*registered[0].shape) for _ in range(4)]


def subspace(table: np.ndarray) -> np.ndarray:
    """A column for each name, 1 at its pairs, and one of zeros: they span all W that the table allows."""
    names = np.arange(-1, table.max() + 1)
    return (table.reshape(-1, 1) == names) & (names >= 0)


def contains(larger: np.ndarray, smaller: np.ndarray) -> bool:
    """Inclusion of two subspaces, by ranks."""
    both = np.concatenate([subspace(larger), subspace(smaller)], axis=1)
    return int(np.linalg.matrix_rank(both)) == int(larger.max()) + 1


def by_first_pair(table: np.ndarray) -> np.ndarray:
    """The same for every naming of one constraint, and for no two constraints."""
    numbers: dict[int, int] = {-1: -1}
    return np.reshape([numbers.setdefault(name, len(numbers) - 1) for name in table.ravel().tolist()], table.shape)


def renamed(table: np.ndarray, draw) -> np.ndarray:
    """With other names, in another order, and gaps between them."""
    return np.append(draw.rng.permutation(int(table.max()) + 1) * 3, -1)[table]


def test_all_ties_of_four_pairs_form_a_lattice():
    """Exhaustively: `leq` is inclusion, meet the greatest lower bound and join the least upper bound of subspaces."""
    tables = [np.reshape(names, (2, 2)) for names in itertools.product(range(-1, 4), repeat=4)]
    tables = [table for table in tables if np.array_equal(table, by_first_pair(table))]
    number = {table.tobytes(): n for n, table in enumerate(tables)}
    below = np.array([[contains(larger, smaller) for larger in tables] for smaller in tables])
    assert len(tables) == 52
    for a, b in itertools.combinations_with_replacement(range(52), 2):
        lowest, highest = number[meet(tables[a], tables[b]).tobytes()], number[join(tables[a], tables[b]).tobytes()]
        np.testing.assert_array_equal(below[:, lowest], below[:, a] & below[:, b])
        np.testing.assert_array_equal(below[highest], below[a] & below[b])
        assert (leq(tables[a], tables[b]), leq(tables[b], tables[a])) == (below[a, b], below[b, a])
        assert equal(tables[a], tables[b]) == (a == b)


@pytest.mark.parametrize("operation", [meet, join])
@EVERY_CASE
def test_meet_and_join_are_semilattices_to_the_name(operation, case, draw):
    """Commutative, associative, idempotent; numbered by first pairs, whatever the names of what they are given."""
    tables = draw_tables(case, draw)
    for a, b in itertools.combinations(tables, 2):
        found = operation(a, b)
        for same in (operation(b, a), operation(renamed(a, draw), renamed(b, draw)), by_first_pair(found)):
            np.testing.assert_array_equal(found, same)
    for a, b, c in itertools.combinations(tables, 3):
        np.testing.assert_array_equal(operation(operation(a, b), c), operation(a, operation(b, c)))
    assert all(equal(operation(table, table), table) for table in tables)


@EVERY_CASE
def test_stronger_is_inclusion_meet_is_intersection_and_join_absorbs_it(case, draw):
    for a, b in itertools.permutations(draw_tables(case, draw), 2):
        both, either, together = meet(a, b), join(a, b), np.concatenate([subspace(a), subspace(b)], axis=1)
        assert leq(a, b) == contains(b, a) == equal(both, a) == equal(either, b)
        assert contains(a, both) and contains(b, both)
        assert both.max() + 1 == a.max() + 1 + b.max() + 1 - np.linalg.matrix_rank(together)
        assert equal(join(a, both), a) and equal(meet(a, either), a)


@EVERY_CASE
def test_canonical_names_have_no_gaps_and_the_order_of_those_given(case, draw):
    for table in draw_tables(case, draw):
        other = renamed(table, draw)
        numbered = canonical(other)
        assert equal(numbered, table) and equal(other, table)
        np.testing.assert_array_equal(np.argsort(other, None, "stable"), np.argsort(numbered, None, "stable"))
        np.testing.assert_array_equal(canonical(numbered), numbered)


@pytest.mark.usefixtures("without_shapes")
@pytest.mark.parametrize("operation", [meet, join, leq, equal])
def test_what_cannot_be_compared_is_refused(operation, draw):
    sites = "The tables are of different sites, 3 outputs of 5 inputs and 5 of 3: .*one geometry"
    for second, words in ((draw.table(5, 3), sites), ("conv", "compared by their tie tables, which are arrays")):
        with pytest.raises(InputError, match=words):
            operation(draw.table(3, 5), second)
