"""Expand embeds, project is the orthogonal way back."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exactly import close
from geometries import cases

from cnn_constraints.errors import InputError
from cnn_constraints.lattice import constraints, projection
from cnn_constraints.lattice.order import join, leq, meet

pytestmark = pytest.mark.usefixtures("float64")

CASE = cases("torus", "outside")


@pytest.fixture
def tables(case, draw) -> dict[str, np.ndarray]:
    """The registered constraints, random ties, and the bottom of the lattice, which `meet` may return."""
    sites = (case.geometry.output_sites, case.geometry.input_sites)
    random = draw.rng.integers(-1, 6, sites)
    random.flat[:6] = np.arange(6)  # as many names each time: programs are used again
    nothing = np.full(sites, -1)
    return {name: case.table(name) for name in constraints.CONSTRAINTS} | {"random": random, "nothing": nothing}


def impose(absolute, table, geometry):
    """P W."""
    return projection.expand(projection.project(absolute, table), table, geometry)


@CASE
def test_expand_writes_each_weight_at_its_pairs_and_project_takes_means(case, tables, draw):
    absolute, weights = draw.absolute(case.geometry, 2, 3), {n: draw.weights(t, 2, 3) for n, t in tables.items()}

    @jax.jit
    def found(absolute, weights):
        expanded = {n: projection.expand(weights[n], table, case.geometry) for n, table in tables.items()}
        return expanded, [{n: projection.project(w[n], tables[n]) for n in w} for w in (absolute, expanded)]

    expanded, (means, back) = jax.tree.map(np.asarray, found(dict.fromkeys(tables, absolute), weights))
    for name, table in tables.items():
        by_pair = expanded[name].reshape(*table.shape, 2, 3)
        with_zero = np.append(weights[name], np.zeros((2, 1, 3)), axis=1)
        np.testing.assert_array_equal(by_pair, np.moveaxis(with_zero[:, table], 0, 2))
        by_pair = np.asarray(absolute).reshape(*table.shape, 2, 3)
        for number in range(table.max() + 1):
            close(means[name][:, number], by_pair[table == number].mean(axis=0))
        close(back[name], weights[name])


@CASE
def test_projection_is_orthogonal_and_violation_the_sine_of_the_angle_to_the_subspace(case, tables, draw):
    """P P W = P W, and <P W, W'> = <W, P W'>."""
    first, second = draw.absolute(case.geometry, 2, 1), draw.absolute(case.geometry, 2, 1)

    @jax.jit
    def found(first, second):
        images = {name: [impose(w, table, case.geometry) for w in (first, second)] for name, table in tables.items()}
        return {
            name: [one, other, impose(one, tables[name], case.geometry)]
            + [projection.violation(w, tables[name], case.geometry) for w in (first, one, 0 * one)]
            for name, (one, other) in images.items()
        }

    for name, (one, other, twice, violation, of_image, of_zero) in found(first, second).items():
        close(twice, one)
        close(np.vdot(one, second), np.vdot(first, other))
        close(violation**2, 1 - np.vdot(one, one) / np.vdot(first, first))
        close([of_zero, 0 if name == "nothing" else of_image], 0)
        assert violation > 0.1 or name == "dense"


@CASE
def test_imposing_both_constraints_is_imposing_one_after_the_other(case, draw):
    shared, local = case.table("shared"), case.table("local")

    def in_turn(absolute):
        ways = ([meet(shared, local)], [shared, local], [local, shared])
        return [functools.reduce(lambda w, table: impose(w, table, case.geometry), way, absolute) for way in ways]

    both, *others = jax.jit(in_turn)(draw.absolute(case.geometry, 2, 2))
    for other in others:
        close(other, both)


@CASE
def test_embedding_keeps_the_function_and_is_possible_exactly_into_weaker_constraints(case, tables, draw):
    tables["weaker than random"] = join(tables["random"], tables["conv"])
    weights, pairs = {n: draw.weights(t, 2, 2) for n, t in tables.items()}, []
    for stronger, weaker in itertools.product(tables, repeat=2):
        if leq(tables[stronger], tables[weaker]):
            pairs.append((stronger, weaker))
        else:
            with pytest.raises(InputError, match="The weaker constraint does not contain the stronger one"):
                projection.classes(tables[stronger], tables[weaker])

    @jax.jit
    def embedded(weights):
        ways = [(one, projection.classes(tables[one], tables[other])) for one, other in pairs]
        return [projection.spread(weights[stronger], classes) for stronger, classes in ways]

    assert len(pairs) > len(tables)
    for (stronger, weaker), found in zip(pairs, embedded(weights), strict=True):
        by_pair = [
            np.pad(w, ((0, 0), (0, 1), (0, 0)))[:, tables[n]]
            for w, n in ((weights[stronger], stronger), (found, weaker))
        ]
        np.testing.assert_array_equal(*by_pair)


@CASE
def test_without_w_the_way_between_two_constraints_is_that_through_w(case, draw):
    """Means are `project . expand`; sums are the transpose of `spread`; the excess is half the gradient of |W - P W|^2."""
    stronger, weaker, geometry = case.table("conv"), case.table("tiled"), case.geometry
    classes = projection.classes(stronger, weaker)

    def half_squares(weights):
        absolute = projection.expand(weights, weaker, geometry)
        return 0.5 * jnp.sum((absolute - impose(absolute, stronger, geometry)) ** 2)

    @jax.jit
    def both_ways(weights, of_stronger):
        _, pull = jax.vjp(lambda w: projection.spread(w, classes), of_stronger)
        means = projection.project(projection.expand(weights, weaker, geometry), stronger)
        through = (means, pull(weights)[0], jax.grad(half_squares)(weights))
        without = (f(weights, classes) for f in (projection.class_means, projection.class_sums, projection.excess))
        return list(zip(without, through, strict=True))

    for found, expected in both_ways(draw.weights(weaker, 2, 2), draw.weights(stronger, 2, 2)):
        close(found, expected)
