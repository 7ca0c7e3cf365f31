"""All contenders of the sweep train the same network, and one that does not is refused."""

import numpy as np
import pytest

from benchmarks.sweep import suite
from benchmarks.sweep.flax_loop import FlaxLoop
from benchmarks.sweep.ours import Ours
from benchmarks.sweep.problem import follows_definition, least_work, make_problem
from benchmarks.timing import Ceilings, torch_is_installed
from cnn_constraints.lattice import counts


@pytest.fixture(scope="module", params=["dense", "shared", "local", "conv"])
def problem(request):
    return make_problem(
        request.param, channels=2, delta=1, batch=4, updates=4, seed=np.random.default_rng().integers(99)
    )


@pytest.mark.parametrize("contender", [lambda problem: Ours(problem, 2), FlaxLoop], ids=["ours", "flax_loop"])
def test_contender_follows_the_losses_of_the_definition(problem, contender):
    assert follows_definition(contender(problem), problem, updates=3)


@pytest.mark.skipif(not torch_is_installed(), reason="torch is an extra")
@pytest.mark.parametrize(("way", "models"), [("eager", 1), ("vmap", 2)])
def test_torch_follows_the_losses_of_the_definition(problem, way, models):
    from benchmarks.sweep.torch_loops import TorchLoop

    assert follows_definition(TorchLoop(problem, way, models), problem, updates=3)


def test_a_contender_that_trains_something_else_is_refused(monkeypatch):
    monkeypatch.setattr(FlaxLoop, "train", lambda self, updates: 2.0)
    monkeypatch.setattr(suite, "_contenders", lambda problem, candidates: {"impostor": FlaxLoop(problem)})
    with pytest.raises(RuntimeError, match="impostor does not follow the losses of the definition of conv"):
        list(suite.measure(["conv"], [1], 1, Ceilings(1e9, 1e9), 0))


def test_tied_weights_need_no_more_than_the_fourier_transform_does(problem):
    layer, batch = problem.network.layers[0], problem.batches.shape[1]
    products = counts.count(problem.cell, layer.geometry, layer.delta, 1, layer.out_channels).multiply_adds
    of_definition = 2 * 2 * batch * products
    assert (least_work(problem)[0] < of_definition) == (problem.cell == "shared")
