"""A network of the user's own is trained as any other."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_variables import widened
from small_runs import random_dataset, require_the_ordinary_loop, small_experiment

from cnn_constraints.architecture import NETWORKS, activations, cost
from cnn_constraints.errors import InputError
from cnn_constraints.experiment import replace
from cnn_constraints.matching import match_width
from cnn_constraints.network import canonical_network
from cnn_constraints.plan import build_arrays, build_task, cost_of, to_device
from cnn_constraints.resolve import resolve
from cnn_constraints.training import loop
from cnn_constraints.training.candidates import Stacked, Unrolled


class Own(nn.Module):
    """As anyone writes it, with running statistics and a layer of its own."""

    classes: int
    dropout: bool = False

    @nn.compact
    def __call__(self, images, train: bool = False):
        x = nn.BatchNorm(use_running_average=not train)(nn.Conv(3, (3, 3), use_bias=False)(images))
        x = nn.Dropout(0.5, deterministic=not train)(x) if self.dropout else x
        return nn.Dense(self.classes)(nn.relu(x).mean(axis=(1, 2)))


@pytest.fixture
def own(monkeypatch) -> str:
    """The one registry line."""
    monkeypatch.setitem(NETWORKS, "own", lambda model, image_shape, classes: Own(classes))
    return "own"


@pytest.mark.usefixtures("trained_in_64_bits")
@pytest.mark.parametrize("kind", [Unrolled, pytest.param(Stacked, marks=pytest.mark.slow)])
def test_a_network_of_ones_own_is_the_ordinary_loop_and_is_counted_by_its_shapes(kind, own, seed):
    settings = {"penalty": "beta_lasso", "penalty_strengths": (1e-4,)}
    dataset, base = random_dataset(seed), small_experiment("conv", seed, **settings)
    [experiment] = resolve([replace(base, {"model.network": own})])
    task = build_task(experiment, dataset)
    trained, candidates = require_the_ordinary_loop(experiment, dataset, kind)
    assert trained.best
    chosen = candidates[trained.best.candidate].best
    assert not np.array_equal(*(jax.tree.leaves(one.best.statistics)[0] for one in candidates))
    standardisation = widened(build_arrays(experiment, dataset).standardisation)
    images, labels = loop.prepare(to_device(dataset.test), jnp.arange(37), standardisation)
    expected = loop.measure(task.network.apply(chosen.variables, images), labels).loss.mean()
    np.testing.assert_allclose(trained.test.loss, expected, rtol=1e-10)
    counted = cost(task.network, task.image_shape)
    assert counted == (3 * 3 * 2 * 3 + 2 * 3 + 3 * 3 + 3, None)
    assert activations(task.network, task.image_shape) >= math.prod(task.image_shape) + 2 * (6 * 6 * 3 * 2 + 3)
    assert canonical_network(task.network, chosen.parameters) == chosen.parameters


def test_a_network_of_ones_own_is_matched_by_its_parameters_alone(own, seed):
    experiment, dataset = replace(small_experiment("conv", seed), {"model.network": own}), random_dataset(seed)
    parameters = cost_of(experiment, dataset).parameters
    assert match_width(experiment, dataset, "parameters", parameters).model.network == own
    with pytest.raises(InputError, match="The multiply_adds of a network of your own are not known"):
        match_width(experiment, dataset, "multiply_adds", parameters)


def test_what_a_network_of_ones_own_cannot_be_is_told(own, seed, monkeypatch):
    def refused(**training) -> str:
        with pytest.raises(InputError) as error:
            experiment = replace(small_experiment("dense", seed, **training), {"model.network": own})
            build_task(resolve([experiment])[0], random_dataset(seed))
        return str(error.value)

    assert "of the layers of a network of your own nothing is known" in refused(violations=("conv",))
    monkeypatch.setitem(NETWORKS, own, lambda model, image_shape, classes: Own(classes + 1))
    assert refused() == "model.network own gives logits of shape (1, 4): it must be (1, 3)."
    monkeypatch.setitem(NETWORKS, own, lambda model, image_shape, classes: nn.Conv(3, (9, 9, 9, 9)))
    assert refused().startswith("model.network own fails, ")
    dropped = lambda model, image_shape, classes: Own(classes, dropout=True)
    monkeypatch.setitem(NETWORKS, own, dropped)
    assert refused().startswith("model.network own fails, InvalidRngError: ")
    monkeypatch.setitem(NETWORKS, own, lambda model, image_shape, classes: 1 / 0)
    assert refused().startswith("model.network own fails, ZeroDivisionError: ")
