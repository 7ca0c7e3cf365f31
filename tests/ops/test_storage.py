"""The order in which weights are stored is a renaming of the canonical one, and nothing else."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_constraints.lattice import constraints
from cnn_constraints.lattice import geometry as geometries
from cnn_constraints.lattice.constraints import ties
from cnn_constraints.lattice.counts import sizes
from cnn_constraints.lattice.order import equal
from cnn_constraints.ops import choose, storage

EVERY_CONSTRAINT = pytest.mark.parametrize("constraint", constraints.CONSTRAINTS)
EVERY_CASE = pytest.mark.parametrize(
    ("constraint", "boundary", "stride"),
    list(itertools.product(constraints.CONSTRAINTS, geometries.BOUNDARIES, (1, 2, 3))),
)


def phases(constraint: str, tile: int, output: int) -> int:
    """With which other outputs of its axis one shares weights."""
    return {"local": output, "tiled": output % tile}[constraint]


@EVERY_CASE
def test_storage_order_is_a_permutation_of_the_canonical_names(constraint, boundary, stride, draw):
    geometry, tile = draw.geometry(boundary, stride), draw.tile()
    delta = draw.delta(constraint, geometry)
    order = choose.storage_order(constraint, geometry, delta, tile)
    if order is not None:
        free = sizes(constraint, geometry, delta, tile).weights
        np.testing.assert_array_equal(np.sort(order), np.arange(free))


@EVERY_CASE
def test_stored_ties_are_the_same_constraint_by_other_names(constraint, boundary, stride, draw):
    """The weight that is stored w-th is the one that canonically is order[w]."""
    geometry, tile = draw.geometry(boundary, stride), draw.tile()
    arguments = (constraint, geometry, draw.delta(constraint, geometry), tile)
    table, stored, order = ties(*arguments), choose.stored_ties(*arguments), choose.storage_order(*arguments)
    assert equal(table, stored)
    order = np.arange(table.max() + 1) if order is None else order
    np.testing.assert_array_equal(np.append(order, -1)[stored], table)


@pytest.mark.parametrize("boundary", geometries.BOUNDARIES)
def test_dense_weights_are_stored_by_input_and_then_by_output(boundary, draw):
    geometry = draw.geometry(boundary)
    stored = choose.stored_ties("dense", geometry, None)
    np.testing.assert_array_equal(stored, np.arange(stored.size).reshape(stored.shape[::-1]).T)


@pytest.mark.parametrize(("constraint", "boundary"), list(itertools.product(["local", "tiled"], geometries.BOUNDARIES)))
def test_weights_of_windows_are_stored_by_rows_and_then_by_columns(constraint, boundary, draw):
    """By (row phase, a, column phase, b): of a locally connected layer every site is a phase of its own."""
    geometry, tile = draw.geometry(boundary), draw.tile()
    delta = draw.reach(geometry)
    stored = choose.stored_ties(constraint, geometry, delta, tile)
    a, b = constraints.offsets_of_pairs(geometry)
    places = set()
    for p, q in np.argwhere(stored >= 0).tolist():
        row, column = (phases(constraint, tile, site) for site in divmod(p, geometry.output_width))
        places.add((row, a[p, q], column, b[p, q], stored[p, q]))
    assert [place for *_, place in sorted(places)] == list(range(len(places)))


@pytest.mark.parametrize("constraint", ["shared", "conv"])
def test_tied_weights_are_stored_in_the_canonical_order(constraint, draw):
    geometry = draw.geometry()
    assert choose.storage_order(constraint, geometry, draw.delta(constraint, geometry)) is None


def test_order_by_axes_is_that_of_sorted_tuples(draw):
    """Canonical names count (row phase, column phase, a, b), stored ones (row phase, a, column phase, b)."""
    rows, columns = (draw.rng.random((draw.integer(1, 4), draw.integer(1, 4))) < 0.6 for _ in range(2))
    rows[0, 0] = columns[0, 0] = True
    pairs = [(i, a, j, b) for i, a in np.argwhere(rows).tolist() for j, b in np.argwhere(columns).tolist()]
    canonical = sorted(pairs, key=lambda place: (place[0], place[2], place[1], place[3]))
    assert storage.by_axes(rows, columns).tolist() == [canonical.index(place) for place in sorted(pairs)]


@pytest.mark.usefixtures("float64")
@EVERY_CONSTRAINT
def test_to_storage_and_to_canonical_are_inverse(constraint, draw):
    geometry, tile = draw.geometry(), draw.tile()
    arguments = (constraint, geometry, draw.delta(constraint, geometry), tile)
    order, weights = choose.storage_order(*arguments), draw.weights(ties(*arguments), 2, 3)
    for one, other in ((storage.to_storage, storage.to_canonical), (storage.to_canonical, storage.to_storage)):
        np.testing.assert_array_equal(other(one(weights, order, axis=1), order, axis=1), weights)
    moved = jnp.moveaxis(weights, 1, 2)
    np.testing.assert_array_equal(
        storage.to_storage(moved, order, axis=2), jnp.moveaxis(storage.to_storage(weights, order, axis=1), 1, 2)
    )


@pytest.mark.usefixtures("float64")
def test_gradient_of_a_reordering_is_that_of_indexing(draw):
    order, axis = draw.rng.permutation(5), draw.integer(0, 2)
    weights, cotangent = (jnp.moveaxis(draw.normal(2, 5, 3), 1, axis) for _ in range(2))
    found, pull_back = jax.vjp(lambda w: storage.reorder(w, order, axis), weights)
    expected, pull_back_indexing = jax.vjp(lambda w: jnp.take(w, order, axis=axis), weights)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(*(pull(cotangent)[0] for pull in (pull_back, pull_back_indexing)))


@pytest.mark.usefixtures("float64")
def test_a_reordering_may_be_mapped_over_lanes(draw):
    order, lanes = draw.rng.permutation(4), draw.normal(3, 2, 4, 2)
    one = lambda w: (storage.reorder(w, order, 1) ** 3).sum()
    np.testing.assert_array_equal(jax.vmap(lambda w: storage.reorder(w, order, 1))(lanes), lanes[:, :, order])
    np.testing.assert_allclose(jax.vmap(jax.grad(one))(lanes), 3 * lanes**2, rtol=1e-12)
