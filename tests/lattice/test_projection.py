"""Expand embeds, project is the orthogonal way back."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_constraints.errors import InputError
from cnn_constraints.lattice import constraints, projection
from cnn_constraints.lattice.constraints import ties
from cnn_constraints.lattice.order import join, leq, meet

pytestmark = pytest.mark.usefixtures("float64")

RANDOM = "random ties"
EVERY_TABLE = pytest.mark.parametrize("constraint", [*constraints.CONSTRAINTS, RANDOM])


def draw_table(constraint: str, draw):
    geometry = draw.geometry()
    if constraint == RANDOM:
        return draw.table(geometry.output_sites, geometry.input_sites), geometry
    return ties(constraint, geometry, draw.delta(constraint, geometry), draw.tile()), geometry


def impose(absolute, table, geometry) -> np.ndarray:
    """P W, compiled."""
    return np.asarray(jax.jit(lambda w: projection.expand(projection.project(w, table), table, geometry))(absolute))


def close(actual, desired) -> None:
    np.testing.assert_allclose(actual, desired, rtol=0, atol=1e-10)


@EVERY_TABLE
def test_expand_writes_each_weight_at_its_pairs(constraint, draw):
    table, geometry = draw_table(constraint, draw)
    weights = draw.weights(table, 2, 3)
    matrix = np.asarray(projection.expand(weights, table, geometry)).reshape(*table.shape, 2, 3)
    with_zero = np.append(weights, np.zeros((2, 1, 3)), axis=1)
    for p, q in np.ndindex(*table.shape):
        np.testing.assert_array_equal(matrix[p, q], with_zero[:, table[p, q]])


@EVERY_TABLE
def test_project_is_the_mean_over_each_class(constraint, draw):
    table, geometry = draw_table(constraint, draw)
    absolute = draw.absolute(geometry, 2, 3)
    matrix = np.asarray(absolute).reshape(*table.shape, 2, 3)
    means = [matrix[table == name].mean(axis=0) for name in range(table.max() + 1)]
    close(projection.project(absolute, table), np.reshape(means, (-1, 2, 3)).swapaxes(0, 1))


@EVERY_TABLE
def test_project_undoes_expand(constraint, draw):
    table, geometry = draw_table(constraint, draw)
    weights = draw.weights(table, draw.channels(), draw.channels())
    close(projection.project(projection.expand(weights, table, geometry), table), weights)


@EVERY_TABLE
def test_projection_is_idempotent(constraint, draw):
    table, geometry = draw_table(constraint, draw)
    once = impose(draw.absolute(geometry, 1, 2), table, geometry)
    close(impose(jnp.asarray(once), table, geometry), once)


@EVERY_TABLE
def test_projection_is_orthogonal(constraint, draw):
    """<W - P W, P W'> = 0."""
    table, geometry = draw_table(constraint, draw)
    first, second = draw.absolute(geometry, 2, 1), draw.absolute(geometry, 2, 1)
    nearest, other = (impose(w, table, geometry) for w in (first, second))
    close(np.vdot(np.asarray(first) - nearest, other), 0)


@EVERY_TABLE
def test_projection_is_self_adjoint(constraint, draw):
    """<P W, W'> = <W, P W'>."""
    table, geometry = draw_table(constraint, draw)
    first, second = draw.absolute(geometry, 2, 1), draw.absolute(geometry, 2, 1)
    close(np.vdot(impose(first, table, geometry), second), np.vdot(first, impose(second, table, geometry)))


@EVERY_TABLE
def test_violation_is_zero_on_the_subspace(constraint, draw):
    table, geometry = draw_table(constraint, draw)
    weights = draw.weights(table, 2, 2)
    violation = jax.jit(lambda w: projection.violation(projection.expand(w, table, geometry), table, geometry))
    close([violation(weights), violation(jnp.zeros_like(weights))], 0)


@EVERY_TABLE
def test_violation_is_the_sine_of_the_angle_to_the_subspace(constraint, draw):
    table, geometry = draw_table(constraint, draw)
    absolute = draw.absolute(geometry, 2, 2)
    projected = impose(absolute, table, geometry)
    cosine_squared = np.vdot(projected, projected) / np.vdot(absolute, absolute)
    violation = float(jax.jit(lambda w: projection.violation(w, table, geometry))(absolute))
    close(violation**2, 1 - cosine_squared)
    assert 0 <= violation <= 1 + 1e-12


@pytest.mark.parametrize("constraint", [name for name in constraints.CONSTRAINTS if name != "dense"])
def test_generic_dense_weights_violate_every_constraint(constraint, draw):
    geometry = draw.geometry(stride=1, smallest=3, margin=0)
    table = ties(constraint, geometry, 0)
    assert projection.violation(draw.absolute(geometry, 1, 1), table, geometry) > 0.1


def test_imposing_both_constraints_is_imposing_one_after_the_other(draw):
    geometry = draw.geometry()
    delta = draw.reach(geometry)
    shared, local = ties("shared", geometry), ties("local", geometry, delta)
    absolute = draw.absolute(geometry, 2, 2)
    both = impose(absolute, meet(shared, local), geometry)
    for first, second in ((local, shared), (shared, local)):
        close(impose(jnp.asarray(impose(absolute, first, geometry)), second, geometry), both)


def test_embedding_is_possible_exactly_into_weaker_registered_constraints(draw):
    geometry = draw.geometry(largest=5)
    tables = [ties(name, geometry, draw.delta(name, geometry), draw.tile()) for name in [*constraints.CONSTRAINTS] * 2]
    for stronger, weaker in itertools.product(tables, repeat=2):
        weights = draw.weights(stronger, 2, 2)
        if leq(stronger, weaker):
            embedded = projection.embed(weights, stronger, weaker)
            close(projection.expand(embedded, weaker, geometry), projection.expand(weights, stronger, geometry))
        else:
            with pytest.raises(InputError, match="weaker"):
                projection.embed(weights, stronger, weaker)


def test_embedding_preserves_the_function_for_random_ties(draw):
    geometry = draw.geometry(largest=4)
    first, second = (draw.table(geometry.output_sites, geometry.input_sites) for _ in range(2))
    weaker = join(first, second)
    for stronger in (first, second):
        weights = draw.weights(stronger, 2, 2)
        embedded = projection.embed(weights, stronger, weaker)
        close(projection.expand(embedded, weaker, geometry), projection.expand(weights, stronger, geometry))


def test_constraint_that_leaves_no_weight_is_the_zero_layer(draw):
    """The bottom of the lattice, which `meet` may return."""
    geometry = draw.geometry(largest=3)
    nothing, dense = np.full((geometry.output_sites, geometry.input_sites), -1), ties("dense", geometry)
    weights = projection.project(draw.absolute(geometry, 2, 3), nothing)
    assert weights.shape == (2, 0, 3)
    assert not projection.embed(weights, nothing, dense).any()
    assert not projection.expand(weights, nothing, geometry).any()


def test_embedding_in_two_steps_is_embedding_in_one(draw):
    geometry = draw.geometry()
    conv, local, dense = (ties(name, geometry, draw.reach(geometry)) for name in ("conv", "local", "dense"))
    conv = meet(conv, local)
    weights = draw.weights(conv, 2, 2)
    in_two = projection.embed(projection.embed(weights, conv, local), local, dense)
    np.testing.assert_array_equal(in_two, projection.embed(weights, conv, dense))


def test_projecting_back_undoes_an_embedding(draw):
    geometry = draw.geometry()
    delta = draw.reach(geometry)
    conv, local = (ties(name, geometry, delta) for name in ("conv", "local"))
    weights = draw.weights(conv, 2, 2)
    absolute = projection.expand(projection.embed(weights, conv, local), local, geometry)
    close(projection.project(absolute, conv), weights)
