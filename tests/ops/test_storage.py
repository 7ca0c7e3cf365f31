"""The order in which weights are stored is a renaming of the canonical one, and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from geometries import EVERY_CASE, EVERY_CONSTRAINT

from cnn_constraints.lattice import constraints
from cnn_constraints.ops import choose, storage


def key_of_storage(constraint: str, geometry, tile: int, p: int, q: int) -> tuple[int, ...]:
    """By what weights are stored: dense ones by input and then output; those of windows by (row phase, a, column phase, b),
    where of a locally connected layer every site is a phase of its own; tied ones canonically, by (a, b).
    """
    (a, b), (i, j) = (o[p, q] for o in constraints.offsets_of_pairs(geometry)), divmod(p, geometry.output_width)
    of = {"dense": (q, p), "shared": (a, b), "conv": (a, b), "local": (i, a, j, b)}
    return of.get(constraint, (i % tile, a, j % tile, b))


@EVERY_CASE
@EVERY_CONSTRAINT
def test_stored_ties_are_the_same_constraint_by_other_names(constraint, case):
    """The weight that is stored w-th is the one that canonically is order[w]."""
    given = (constraint, case.geometry, case.delta_of(constraint), case.tile)
    table, stored, order = case.table(constraint), choose.stored_ties(*given), choose.storage_order(*given)
    order = np.arange(table.max() + 1) if order is None else order
    np.testing.assert_array_equal(np.sort(order), np.arange(table.max() + 1))
    np.testing.assert_array_equal(np.append(order, -1)[stored], table)
    if constraint not in choose.FORMULATIONS:  # then the order of storage is the canonical one
        return
    keys = {
        key_of_storage(constraint, case.geometry, case.tile, p, q): stored[p, q] for p, q in np.argwhere(stored >= 0)
    }
    assert [keys[key] for key in sorted(keys)] == list(range(len(order)))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_reordering_is_indexing_and_its_gradient_too(axis, draw):
    """Also over lanes, there and back."""
    order, shape = draw.rng.permutation(5), np.insert([2, 3], axis, 5)
    lanes, cotangent = draw.normal(4, *shape), draw.normal(4, *shape)

    @jax.jit
    def found(lanes, cotangent):
        pairs = []
        for take in (storage.to_storage, lambda w, order, axis: jnp.take(w, order, axis=axis)):
            h, pull = jax.vjp(jax.vmap(lambda w: take(w, order, axis)), lanes)  # noqa: B023
            pairs.append((h, *pull(cotangent)))
        return pairs, jax.vmap(lambda w: storage.to_canonical(storage.to_storage(w, order, axis), order, axis))(lanes)

    (ours, expected), back = found(lanes, cotangent)
    for one, other in zip((*ours, back), (*expected, lanes), strict=True):
        np.testing.assert_array_equal(one, other)
    assert storage.to_storage(lanes, None, axis) is storage.to_canonical(lanes, None, axis) is lanes
