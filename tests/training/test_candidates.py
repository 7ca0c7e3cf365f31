"""Unrolled and stacked candidates are the same candidates: whatever is asked of them, they answer alike."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_constraints.training.candidates import Stacked, Unrolled, alike, fastest_kind

COUNT = 3


def draw_tree(draw, *leading: int):
    """Arrays of several shapes in a tree, each with these axes first."""
    return {"a": draw.normal(*leading, 3), "b": {"c": draw.normal(*leading), "d": draw.normal(*leading, 2, 2)}}


def row(tree, at):
    return jax.tree.map(lambda leaf: leaf[at], tree)


def assert_same(one, other) -> None:
    assert jax.tree.map(jnp.shape, one) == jax.tree.map(jnp.shape, other)
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize("kind", [Unrolled, Stacked])
def test_candidates_are_rows_of_arrays(kind, draw):
    """Each is mapped with its own rows and with its own of other candidates, and picked by an index on the device."""
    arrays, others, rates = draw_tree(draw, COUNT), draw_tree(draw, COUNT), draw.normal(COUNT)
    of = lambda tree: Stacked(tree) if kind is Stacked else Unrolled(tuple(row(tree, i) for i in range(COUNT)))
    candidates = of(arrays)
    assert_same(candidates.arrays(), arrays)

    def function(one, other, rate):
        assert rate.shape == () and other["a"].shape == (3,)
        return jax.tree.map(lambda left, right: rate * left - right, one, other)

    mapped = candidates.map(function, of(others), rates)
    pick = jax.jit(lambda number: candidates.pick(number))
    for i in range(COUNT):
        assert_same(row(mapped.arrays(), i), function(row(arrays, i), row(others, i), rates[i]))
        assert_same(pick(jnp.array(i)), row(arrays, i))
    same = alike(row(arrays, 0), COUNT, kind)
    assert type(same) is kind
    assert_same(same.arrays(), jax.tree.map(lambda leaf: jnp.stack([leaf[0]] * COUNT), arrays))


@pytest.mark.parametrize("kind", [Unrolled, Stacked])
def test_what_is_on_the_host_is_one_candidate_of_one_experiment(kind, draw):
    """Where an axis of experiments comes first, as in the state of a program."""
    arrays = draw_tree(draw, 2, COUNT)
    each = tuple(row(arrays, (slice(None), i)) for i in range(COUNT))
    candidates = Unrolled(each) if kind is Unrolled else Stacked(arrays)
    for at in np.ndindex(2, COUNT):
        assert_same(candidates.on_host(*at), row(arrays, at))


def test_candidates_are_unrolled_on_a_cpu_and_stacked_elsewhere():
    assert [fastest_kind(backend) for backend in ("cpu", "gpu", "tpu")] == [Unrolled, Stacked, Stacked]
