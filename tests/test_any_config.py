"""Whatever a config says, it runs, or it is refused in one sentence before anything is trained."""

import json

import jax
import pytest
from any_input import MANY, refusal_of
from hypothesis import Phase, assume, event, given, settings
from hypothesis import strategies as st
from random_experiments import IN_ORDER

from cnn_constraints.data import sources
from cnn_constraints.data.datasets import Datasets
from cnn_constraints.executors.local import LocalExecutor
from cnn_constraints.executors.progress import ProgressBar
from cnn_constraints.experiment import Data, Experiment, Model, Training, flat, flatten, replace, to_json
from cnn_constraints.plan import plan
from cnn_constraints.resolve import Resolved, resolve

pytestmark = pytest.mark.usefixtures("world")

SMALL = Experiment(
    Data(n_train=20, n_validation=20, reduce=2),
    Model(delta=1, channels=(2,), pool_sizes=(1,), strides=(1,)),
    Training(updates=2, evaluate_every=1, batch_size=4, learning_rates=(0.01,)),
)

EDGES = [-1, 0, 1, 2**31 - 1, 2**31, 2**32, 10**40, 10**4000, 1e-50, 1e38, 1e39, -0.0, "", "conv", ".", "images\n"]

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.sampled_from(EDGES),
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.lists(inner, max_size=2),
    max_leaves=3,
)
"""What a config file may hand over: of any type, and just beyond what is allowed."""


@st.composite
def experiments(draw: st.DrawFn, strange: bool) -> Experiment:
    """A small config with a few fields drawn anew: of those that may be in order, and of anything, if it may be strange."""
    fields = draw(st.lists(st.sampled_from(sorted(IN_ORDER)), max_size=6, unique=True))
    changes = {
        field: draw(IN_ORDER[field] | ANYTHING if strange and draw(st.booleans()) else IN_ORDER[field])
        for field in fields
    }
    if draw(st.booleans()):
        layers = draw(st.integers(1, 2))
        for field in ("model.channels", "model.pool_sizes", "model.strides"):
            changes[field] = tuple(draw(st.integers(1, 2)) for _ in range(layers))
    return replace(SMALL, changes)


load = Datasets()


def checked(experiment: Experiment) -> Resolved | None:
    """As it would be run; None where it is refused, in a sentence."""
    resolved: list[Resolved] = []

    def check() -> None:
        resolved.extend(resolve([experiment]))
        plan(resolved, load)

    return None if refusal_of(check) else resolved[0]


def test_every_field_has_values_in_order():
    assert set(IN_ORDER) == set(flat(Experiment()))
    assert {"mnist", "cifar10"} < set(sources.names())


@settings(max_examples=5 * MANY)
@given(experiments(strange=True))
def test_every_config_is_in_order_or_refused_in_a_sentence(experiment):
    resolved = checked(experiment)
    event("is refused" if resolved is None else "is in order")
    if resolved is None:
        return
    restored = replace(Experiment(), flatten(json.loads(json.dumps(to_json(resolved), allow_nan=False))))
    assert resolve([restored]) == [resolved]


@pytest.mark.slow
@settings(max_examples=max(1, MANY // 8), phases=[Phase.generate])
@given(experiments(strange=False), st.integers(1, 2))
def test_what_is_not_refused_runs_and_gives_one_result_an_experiment(experiment, seeds):
    resolved = checked(experiment)
    assume(resolved is not None)
    members = resolve(replace(resolved, {"seed": seed}) for seed in range(seeds))
    groups = plan(members, load)
    finished = [one for found in LocalExecutor(ProgressBar(groups), load).run(groups) for one in found]
    assert sorted(one.experiment for one in finished) == sorted(member.name for member in members)
    for one in finished:
        looks = resolved.training.updates // resolved.training.evaluate_every
        grids, rest = divmod(len(one.evaluations), looks * len(resolved.candidates))
        assert 1 <= grids <= 1 + resolved.training.extend_grid and not rest
        accuracy, diverged = one.result.test_accuracy, one.result.diverged_candidates
        assert diverged == grids * len(resolved.candidates) if accuracy is None else 0 <= accuracy <= 1
    jax.clear_caches()
