"""Tie tables are subspaces of all W, and form a lattice."""

import itertools

import numpy as np
import pytest

from cnn_constraints.errors import InputError
from cnn_constraints.lattice import constraints
from cnn_constraints.lattice.constraints import ties
from cnn_constraints.lattice.order import canonical, equal, join, leq, meet

EVERY_OPERATION = pytest.mark.parametrize("operation", [meet, join])


def draw_tables(draw, largest: int = 3) -> list[np.ndarray]:
    """Registered and random ties of the same sites."""
    geometry, tile = draw.geometry(largest=largest), draw.tile()
    registered = [ties(name, geometry, draw.delta(name, geometry), tile) for name in constraints.CONSTRAINTS]
    return registered + [draw.table(geometry.output_sites, geometry.input_sites) for _ in range(4)]


def subspace(table: np.ndarray) -> np.ndarray:
    """A column for each name, 1 at its pairs, and one of zeros: they span all W that the table allows."""
    names = np.arange(-1, table.max() + 1)
    return (table.reshape(-1, 1) == names) & (names >= 0)


def contains(larger: np.ndarray, smaller: np.ndarray) -> bool:
    """Inclusion of two subspaces, by ranks."""
    both = np.concatenate([subspace(larger), subspace(smaller)], axis=1)
    return int(np.linalg.matrix_rank(both)) == int(larger.max()) + 1


def all_tables_of_four_pairs() -> list[np.ndarray]:
    """All 52 ways to tie, or leave out, the pairs of 2 outputs and 2 inputs, numbered by first pair."""
    tables = []
    for names in itertools.product(range(-1, 4), repeat=4):
        used = [name for name in dict.fromkeys(names) if name >= 0]
        if used == list(range(len(used))):
            tables.append(np.reshape(names, (2, 2)))
    return tables


def test_join_with_a_stronger_constraint_changes_nothing(draw):
    geometry = draw.geometry()
    delta = draw.reach(geometry)
    conv = ties("conv", geometry, delta)
    for weaker in (ties(name, geometry, delta) for name in ("shared", "local", "dense")):
        assert equal(join(conv, weaker), weaker) and equal(meet(conv, weaker), conv)


@EVERY_OPERATION
def test_meet_and_join_are_commutative(operation, draw):
    """To the name: what comes out does not tell which table came first."""
    for first, second in itertools.combinations(draw_tables(draw), 2):
        np.testing.assert_array_equal(operation(first, second), operation(second, first))


@EVERY_OPERATION
def test_meet_and_join_are_associative(operation, draw):
    """To the name too."""
    for a, b, c in itertools.combinations(draw_tables(draw), 3):
        np.testing.assert_array_equal(operation(operation(a, b), c), operation(a, operation(b, c)))


@EVERY_OPERATION
def test_meet_and_join_are_idempotent(operation, draw):
    for table in draw_tables(draw):
        assert equal(operation(table, table), table)


@pytest.mark.parametrize(("outer", "inner"), [(meet, join), (join, meet)])
def test_meet_and_join_absorb_each_other(outer, inner, draw):
    for a, b in itertools.permutations(draw_tables(draw), 2):
        assert equal(outer(a, inner(a, b)), a)


@EVERY_OPERATION
def test_meet_and_join_are_numbered_in_the_order_of_first_pairs(operation, draw):
    for a, b in itertools.combinations(draw_tables(draw), 2):
        names = operation(a, b).ravel()
        used = list(dict.fromkeys(names[names >= 0].tolist()))
        assert used == list(range(len(used)))


@EVERY_OPERATION
def test_meet_and_join_do_not_depend_on_names(operation, draw):
    for a, b in itertools.combinations(draw_tables(draw), 2):
        np.testing.assert_array_equal(operation(renamed(a, draw), renamed(b, draw)), operation(a, b))


def test_stronger_means_meet_is_first_and_join_is_second(draw):
    for a, b in itertools.product(draw_tables(draw), repeat=2):
        for first, second in ((a, b), (meet(a, b), a), (a, join(a, b))):
            assert leq(first, second) == equal(meet(first, second), first) == equal(join(first, second), second)


def test_stronger_is_a_partial_order(draw):
    tables = draw_tables(draw, largest=2)
    tables += [meet(a, b) for a, b in itertools.combinations(tables, 2)]
    order = np.array([[leq(a, b) for b in tables] for a in tables])
    same = np.array([[np.array_equal(by_first_pair(a), by_first_pair(b)) for b in tables] for a in tables])
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


def by_first_pair(table: np.ndarray) -> tuple[int, ...]:
    """The same for every naming of one constraint, and for no two constraints."""
    numbers: dict[int, int] = {-1: -1}
    return tuple(numbers.setdefault(name, len(numbers) - 1) for name in table.ravel().tolist())


def renamed(table: np.ndarray, draw) -> np.ndarray:
    """With other names, in another order, and gaps between them."""
    return np.append(draw.rng.permutation(int(table.max()) + 1) * 3, -1)[table]


def test_equal_is_the_same_constraint_whatever_its_names(draw):
    for a, b in itertools.product(draw_tables(draw), repeat=2):
        assert equal(a, b) == (by_first_pair(a) == by_first_pair(b))
        assert equal(a, renamed(a, draw))


def test_canonical_names_have_no_gaps_and_the_order_of_those_given(draw):
    table = draw_tables(draw)[draw.integer(0, 7)]
    steps = np.cumsum(draw.rng.integers(1, 9, int(table.max()) + 1))
    np.testing.assert_array_equal(canonical(np.append(steps, -1)[table]), table)
    other = renamed(table, draw)
    numbered = canonical(other)
    assert equal(numbered, table)
    np.testing.assert_array_equal(
        np.argsort(other, axis=None, kind="stable"), np.argsort(numbered, axis=None, kind="stable")
    )
    np.testing.assert_array_equal(canonical(numbered), numbered)


@pytest.mark.usefixtures("without_shapes")
@pytest.mark.parametrize("operation", [meet, join, leq, equal])
def test_tables_of_different_sites_are_refused(operation, draw):
    outputs, inputs = draw.integer(1, 4), draw.integer(5, 8)
    first = draw.table(outputs, inputs)
    for second in (draw.table(outputs, inputs + 1), draw.table(outputs + 1, inputs), draw.table(inputs, outputs)):
        sites = rf"{outputs} outputs of {inputs} inputs and {second.shape[0]} of {second.shape[1]}: .*one geometry"
        with pytest.raises(InputError, match=f"The tables are of different sites, {sites}"):
            operation(first, second)
