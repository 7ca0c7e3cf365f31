"""The order in which weights are stored is a renaming of the canonical one, and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from geometries import EVERY_CASE, EVERY_CONSTRAINT

from cnn_constraints.ops import choose, storage


@EVERY_CASE
@EVERY_CONSTRAINT
def test_stored_ties_are_the_same_constraint_by_other_names(constraint, case):
    """The weight that is stored w-th is the one that canonically is order[w]."""
    given = (constraint, case.geometry, case.delta_of(constraint), case.tile)
    table, stored, order = case.table(constraint), choose.stored_ties(*given), choose.storage_order(*given)
    order = np.arange(table.max() + 1) if order is None else order
    np.testing.assert_array_equal(np.sort(order), np.arange(table.max() + 1))
    np.testing.assert_array_equal(np.append(order, -1)[stored], table)


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
