"""Whatever a config says, it runs, or it is refused in one sentence before anything is trained."""

import dataclasses
import functools
import json
import typing
from collections.abc import Iterator
from typing import Any

import jax
import jaxtyping
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, event, given, settings
from hypothesis import strategies as st
from PIL import Image

from cnn_constraints.data import sources, tasks
from cnn_constraints.data.datasets import build_dataset, images_of
from cnn_constraints.data.interventions import INTERVENTIONS
from cnn_constraints.errors import InputError
from cnn_constraints.executors.local import LocalExecutor
from cnn_constraints.executors.progress import ProgressBar
from cnn_constraints.experiment import Data, Experiment, flat, replace, to_json
from cnn_constraints.functional import PRECISIONS
from cnn_constraints.lattice import constraints, low_rank
from cnn_constraints.lattice.geometry import BOUNDARIES
from cnn_constraints.network import ACTIVATIONS, POOLINGS, READOUTS
from cnn_constraints.plan import plan
from cnn_constraints.resolve import BIASES, Resolved, resolve
from cnn_constraints.settings import DATA_VARIABLE
from cnn_constraints.training.optimizer import OPTIMIZERS, SCHEDULES
from cnn_constraints.training.soft_constraints import BETA_LASSO

FRESH = settings(
    deadline=None,
    database=None,
    derandomize=False,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
"""New examples at every run, in CI too; a failure prints the line that repeats it."""

SMALL = replace(
    Experiment(),
    {
        "data.n_train": 20,
        "data.n_validation": 20,
        "data.reduce": 2,
        "model.delta": 1,
        "model.channels": (2,),
        "model.pool_sizes": (1,),
        "model.strides": (1,),
        "training.updates": 2,
        "training.evaluate_every": 1,
        "training.batch_size": 4,
        "training.learning_rates": (0.01,),
    },
)

FOLDER = "images"


@pytest.fixture(scope="module", autouse=True)
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder of images and none of archives, small tasks, and values as they come from a user."""
    here = tmp_path_factory.mktemp("world")
    generator = np.random.default_rng()
    for number in range(60):
        path = here / FOLDER / ("train", "test")[number % 2] / "ab"[number // 2 % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (8, 6), np.uint8)).save(path)
    (here / "nothing").mkdir()
    jaxtyping.config.update("jaxtyping_disable", True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        patch.setenv(DATA_VARIABLE, "nothing")
        patch.setenv("CNN_CONSTRAINTS_CACHE", str(here / "cache"))
        patch.setattr(tasks, "TRAIN_EXAMPLES", 60)
        patch.setattr(tasks, "TEST_EXAMPLES", 20)
        yield
    jaxtyping.config.update("jaxtyping_disable", False)


def names(*registries: typing.Iterable[str]) -> st.SearchStrategy[str]:
    return st.sampled_from(sorted({name for registry in registries for name in registry}))


def some(values: st.SearchStrategy) -> st.SearchStrategy[tuple]:
    return st.lists(values, max_size=3).map(tuple)


def or_none(values: st.SearchStrategy) -> st.SearchStrategy:
    return st.none() | values


STRONGER = constraints.CONSTRAINTS
SIZE = st.integers(1, 4)
RATE = st.floats(1e-6, 1.0)

IN_ORDER: dict[str, st.SearchStrategy] = {
    "data.source": st.sampled_from(["digits", "digits", "folder", *tasks.TASKS]),
    "data.folder": or_none(st.just(FOLDER)),
    "data.digest": or_none(st.just("0" * 64) | st.builds(lambda: sources.digest(FOLDER))),
    "data.size": or_none(st.integers(1, 12)),
    "data.reduce": st.integers(1, 2),
    "data.intervention": names(INTERVENTIONS),
    "data.strength": or_none(st.floats(0, 1)),
    "data.n_train": st.integers(1, 30),
    "data.n_validation": st.integers(1, 25),
    "model.constraint": names(low_rank.names()),
    "model.delta": or_none(st.integers(0, 4)),
    "model.channels": some(SIZE),
    "model.pool_sizes": some(st.integers(1, 2)),
    "model.strides": some(st.integers(1, 2)),
    "model.pooling": names(POOLINGS),
    "model.activation": names(ACTIVATIONS),
    "model.readout": names(READOUTS),
    "model.bias": names(BIASES),
    "model.boundary": names(BOUNDARIES),
    "model.precision": names(PRECISIONS),
    "model.tile": or_none(SIZE),
    "model.rank": or_none(SIZE),
    "training.optimizer": names(OPTIMIZERS),
    "training.learning_rates": some(RATE),
    "training.weight_decays": some(st.just(0.0) | RATE),
    "training.schedule": names(SCHEDULES),
    "training.batch_size": st.integers(1, 8),
    "training.updates": st.integers(1, 4),
    "training.evaluate_every": st.integers(1, 2),
    "training.switch_from": or_none(names(STRONGER)),
    "training.switch_at": or_none(st.integers(0, 3)),
    "training.penalty": or_none(names(STRONGER, [BETA_LASSO])),
    "training.penalty_strengths": some(RATE),
    "training.penalty_threshold": or_none(st.floats(0, 100)),
    "training.violations": some(names(STRONGER)),
    "seed": st.integers(0, 2**32 - 1),
}
"""What each field may hold, if the others agree."""

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


@functools.cache
def images(data: Data) -> Any:
    return build_dataset(data)


def load(data: Data) -> Any:
    return images(images_of(data))


def checked(experiment: Experiment) -> Resolved | None:
    """As it would be run; None where it is refused, in a sentence."""
    try:
        (resolved,) = resolve([experiment])
        plan([resolved], load)
    except InputError as refusal:
        sentence = str(refusal)
        assert len(sentence.splitlines()) == 1 and sentence[-1] in ".?" and len(sentence) < 1000
        return None
    return resolved


def from_json(content: dict[str, Any]) -> Experiment:
    def read(record: Any, values: dict[str, Any]) -> Any:
        sections = {
            name: hint for name, hint in typing.get_type_hints(record).items() if dataclasses.is_dataclass(hint)
        }
        plain = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        return record(**plain | {name: read(hint, values[name]) for name, hint in sections.items()})

    return read(Experiment, content)


def test_every_field_has_values_in_order():
    assert set(IN_ORDER) == set(flat(Experiment()))
    assert {"mnist", "cifar10"} < set(sources.names())


@settings(FRESH, max_examples=500)
@given(experiments(strange=True))
def test_every_config_is_in_order_or_refused_in_a_sentence(experiment):
    resolved = checked(experiment)
    event("is refused" if resolved is None else "is in order")
    if resolved is None:
        return
    restored = from_json(json.loads(json.dumps(to_json(resolved), allow_nan=False)))
    assert resolve([restored]) == [resolved]


@settings(FRESH, max_examples=8, phases=[Phase.generate])
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
        assert len(one.evaluations) == looks * len(resolved.candidates)
        accuracy, diverged = one.result.test_accuracy, one.result.diverged_candidates
        assert diverged == len(resolved.candidates) if accuracy is None else 0 <= accuracy <= 1
    jax.clear_caches()
