"""Unrolled and stacked candidates are the same candidates: whatever is asked of them, they answer alike."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_constraints.functional import Layer
from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.network import Network
from cnn_constraints.training.candidates import Stacked, Unrolled, alike, fastest_kind


def draw_tree(draw, *leading: int):
    """Arrays of several shapes in a tree, each with these axes first."""
    return {"a": draw.normal(*leading, 3), "b": {"c": draw.normal(*leading), "d": draw.normal(*leading, 2, 2)}}


def both(draw) -> tuple[Unrolled, Stacked]:
    """The same candidates, in both ways."""
    count = draw.integer(1, 4)
    stacked = draw_tree(draw, count)
    return Unrolled(tuple(jax.tree.map(lambda leaf, i=i: leaf[i], stacked) for i in range(count))), Stacked(stacked)


def assert_same(one, other, exactly: bool = True) -> None:
    def compare(left, right) -> None:
        assert left.shape == right.shape and left.dtype == right.dtype
        np.testing.assert_allclose(left, right, rtol=0 if exactly else 1e-5, atol=0 if exactly else 1e-5)

    jax.tree.map(compare, one, other)


def test_both_hold_the_same_arrays(draw):
    unrolled, stacked = both(draw)
    assert_same(unrolled.arrays(), stacked.arrays())


def test_both_map_a_function_over_the_candidates_and_their_own_rows(draw):
    unrolled, stacked = both(draw)
    count = len(unrolled.each)
    rates, others = draw.normal(count), draw_tree(draw, count)

    def function(one, rate, other):
        assert rate.shape == () and other["a"].shape == (3,)
        return jax.tree.map(lambda left, right: rate * left - right, one, other), one["a"] * other["b"]["c"]

    mapped = unrolled.map(function, rates, others).arrays()
    assert_same(mapped, stacked.map(function, rates, others).arrays())
    of_one = lambda i: jax.tree.map(lambda leaf: leaf[i], (stacked.each, rates, others))
    each = [function(*of_one(i)) for i in range(count)]
    assert_same(mapped, jax.tree.map(lambda *leaves: jnp.stack(leaves), *each))


def test_both_pair_each_candidate_with_its_own(draw):
    unrolled, stacked = both(draw)
    difference = lambda pair: jax.tree.map(jnp.subtract, *pair)
    doubled = [
        candidates.map(lambda one: jax.tree.map(lambda leaf: 2 * leaf, one)) for candidates in (unrolled, stacked)
    ]
    one, other = (
        candidates.pair(twice).map(difference).arrays()
        for candidates, twice in zip((unrolled, stacked), doubled, strict=True)
    )
    assert_same(one, other)
    assert_same(one, jax.tree.map(jnp.negative, stacked.each))


def test_both_pick_the_candidate_of_an_index_that_only_the_device_knows(draw):
    unrolled, stacked = both(draw)
    for index in range(len(unrolled.each)):
        picked = [jax.jit(lambda number, of=of: of.pick(number))(jnp.array(index)) for of in (unrolled, stacked)]
        assert_same(*picked)
        assert_same(picked[0], unrolled.each[index])


@pytest.mark.parametrize("kind", [Unrolled, Stacked])
def test_what_is_on_the_host_is_one_candidate_of_one_experiment(kind, draw):
    """Where an axis of experiments comes first, as in the state of a program."""
    experiments, count = draw.integer(1, 3), draw.integer(1, 4)
    arrays = draw_tree(draw, experiments, count)
    each = tuple(jax.tree.map(lambda leaf, i=i: leaf[:, i], arrays) for i in range(count))
    candidates = Unrolled(each) if kind is Unrolled else Stacked(arrays)
    for experiment, candidate in np.ndindex(experiments, count):
        expected = jax.tree.map(lambda leaf, at=(experiment, candidate): leaf[at], arrays)
        assert_same(candidates.on_host(experiment, candidate), expected)


def test_both_networks_say_the_same_as_each_alone(draw, seed):
    geometry = Geometry(4, 4)
    name = str(draw.rng.choice(["dense", "shared", "local", "conv"]))
    network = Network((Layer(name, geometry, 2, 3, draw.delta(name, geometry)),), (2,), 3, stored=True)
    images = draw.normal(5, 4, 4, 2)
    keys = jax.random.split(jax.random.key(seed), draw.integer(1, 3))
    each = tuple(network.init(key, images)["params"] for key in keys)
    unrolled, stacked = Unrolled(each), Stacked(jax.tree.map(lambda *leaves: jnp.stack(leaves), *each))
    said = unrolled.logits(network, images)
    assert_same(said, stacked.logits(network, images), exactly=False)
    assert_same(said, jnp.stack([network.apply({"params": one}, images) for one in each]), exactly=False)


def test_candidates_that_start_alike_are_alike_in_both(draw):
    one, count = draw_tree(draw), draw.integer(1, 4)
    unrolled, stacked = (alike(one, count, kind) for kind in (Unrolled, Stacked))
    assert type(unrolled) is Unrolled and type(stacked) is Stacked
    assert_same(unrolled.arrays(), stacked.arrays())
    for index in range(count):
        assert_same(stacked.pick(jnp.array(index)), one)


def test_candidates_are_unrolled_on_a_cpu_and_stacked_elsewhere():
    assert [fastest_kind(backend) for backend in ("cpu", "gpu", "tpu")] == [Unrolled, Stacked, Stacked]
