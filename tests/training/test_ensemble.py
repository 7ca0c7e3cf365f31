"""The ensemble engine computes what the ordinary loop computes, candidate by candidate."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_constraints.arrays import Dataset, Split
from cnn_constraints.experiment import Data, Experiment, Model, Training, replace
from cnn_constraints.lattice import low_rank
from cnn_constraints.plan import build_arrays, build_task, to_device
from cnn_constraints.resolve import Resolved, resolve
from cnn_constraints.training import ensemble, loop
from cnn_constraints.training.candidates import Candidates, Stacked, Unrolled
from cnn_constraints.training.loop import Hyperparameters
from cnn_constraints.training.metrics import Metrics, better, worst

EITHER_KIND = pytest.mark.parametrize("kind", [Unrolled, Stacked])

PROGRAMS: dict = {}
"""Compiled once a shape: that is what the engine promises, and it keeps these tests quick."""


def random_dataset(seed: int, size: int = 6, channels: int = 2, test: int = 37) -> Dataset:
    generator = np.random.default_rng(seed)

    def split(examples: int) -> Split:
        labels = np.arange(examples, dtype=np.int32) % 3
        images = generator.integers(0, 256, (examples, size, size, channels)) // 2
        images[:, :3, :3, 0] += 40 * labels[:, None, None]
        return Split(images.astype(np.uint8), labels)

    return Dataset("random", split(120), split(test), ("a", "b", "c"))


def small_experiment(constraint: str, seed: int, **training) -> Resolved:
    usual = {"batch_size": 8, "updates": 12, "evaluate_every": 4, "learning_rates": (1e-3, 1e-2)}
    (experiment,) = resolve(
        [
            Experiment(
                data=Data(n_train=24, n_validation=31),
                model=Model(constraint=constraint, delta=1, channels=(3,), pool_sizes=(2,), strides=(1,)),
                training=Training(**usual | training),
                seed=seed,
            )
        ]
    )
    return experiment


def train_ensemble(
    experiment: Resolved, dataset: Dataset, kind: type[Candidates] | None = None
) -> list[ensemble.Segment]:
    (segments,) = train_side_by_side([experiment], dataset, kind)
    return segments


def train_side_by_side(
    experiments: list[Resolved], dataset: Dataset, kind: type[Candidates] | None = None
) -> list[list[ensemble.Segment]]:
    """The segments of each experiment."""
    task = build_task(experiments[0], dataset)
    stacked = ensemble.stack([build_arrays(experiment, dataset) for experiment in experiments])
    splits = to_device(dataset.train), to_device(dataset.test)
    every = experiments[0].training.evaluate_every
    shape = (task, kind, stacked.hyperparameters.learning_rate.shape, every, loop.EVALUATION_CHUNK)
    if shape not in PROGRAMS:
        PROGRAMS[shape] = ensemble.compile_program(task, stacked, *splits, every, kind)
    looks = [segments for segments, _ in ensemble.train(PROGRAMS[shape], stacked, *splits)]
    return list(map(list, zip(*looks, strict=True)))


def train_loop(experiment: Resolved, dataset: Dataset, candidate: int) -> tuple[loop.Candidate, list[Metrics]]:
    task, arrays = build_task(experiment, dataset), build_arrays(experiment, dataset)
    hyperparameters = jax.tree.map(lambda leaf: leaf[candidate], arrays.hyperparameters)
    train, every = to_device(dataset.train), experiment.training.evaluate_every
    return loop.train(task, arrays.key, hyperparameters, train, *arrays[2:], evaluate_every=every)


@EITHER_KIND
@pytest.mark.parametrize("constraint", low_rank.names())
def test_every_candidate_is_the_ordinary_loop(constraint, kind, seed):
    dataset = random_dataset(seed)
    experiment = small_experiment(constraint, seed % 1000, learning_rates=(1e-2,), weight_decays=(0.0, 0.1))
    segments = train_ensemble(experiment, dataset, kind)
    for candidate in range(2):
        _, history = train_loop(experiment, dataset, candidate)
        losses = np.array([segment.validation.loss[candidate] for segment in segments])
        np.testing.assert_allclose(losses, [metrics.loss for metrics in history], rtol=2e-4)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_every_optimizer_and_schedule_is_the_ordinary_loop(optimizer, schedule, seed):
    dataset = random_dataset(seed)
    experiment = small_experiment(
        "conv", seed % 1000, optimizer=optimizer, schedule=schedule, learning_rates=(1e-2,), weight_decays=(0.01,)
    )
    segments = train_ensemble(experiment, dataset)
    _, history = train_loop(experiment, dataset, 0)
    losses = [float(segment.validation.loss[0]) for segment in segments]
    np.testing.assert_allclose(losses, [metrics.loss for metrics in history], rtol=2e-4)


def test_a_run_is_bit_identical_to_its_repetition(seed):
    dataset = random_dataset(seed)
    experiment = small_experiment("local", seed % 1000)
    first, second = (train_ensemble(experiment, dataset) for _ in range(2))
    for one, other in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("constraint", ["dense", "local"])
def test_no_bit_depends_on_the_devices_or_on_who_trains_beside(constraint, seed):
    dataset = random_dataset(seed)
    several = [small_experiment(constraint, seed % 1000 + i) for i in range(jax.local_device_count())]
    everywhere = train_side_by_side(several, dataset)
    pairs = [train_side_by_side(several[i : i + 2], dataset) for i in range(0, len(several), 2)]
    for many, two in zip(everywhere, itertools.chain(*pairs), strict=True):
        for one, other in zip(jax.tree.leaves(many), jax.tree.leaves(two), strict=True):
            np.testing.assert_array_equal(one, other)


@EITHER_KIND
def test_experiments_that_share_a_device_are_those_trained_alone(kind, seed, monkeypatch):
    dataset = random_dataset(seed)
    several = [small_experiment("conv", seed % 1000 + i) for i in range(3)]
    alone = [train_ensemble(experiment, dataset, kind) for experiment in several]
    (device, *_) = jax.local_devices()
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    for one, other in zip(alone, train_side_by_side(several, dataset, kind), strict=True):
        for mine, beside in zip(one, other, strict=True):
            np.testing.assert_allclose(mine.validation.loss, beside.validation.loss, rtol=2e-4)
        np.testing.assert_array_equal(one[-1].test.candidate, other[-1].test.candidate)


def test_one_program_serves_every_seed_size_and_learning_rate(seed):
    dataset = random_dataset(seed)
    splits = to_device(dataset.train), to_device(dataset.test)
    first = small_experiment("conv", 1)
    (other,) = resolve([replace(first, {"seed": 2, "data.n_train": 50, "training.learning_rates": (0.1, 0.2)})])
    task = build_task(first, dataset)
    program = ensemble.compile_program(task, ensemble.stack([build_arrays(first, dataset)]), *splits, 4)
    PROGRAMS.clear()
    shared = [part for (part,), _ in ensemble.train(program, ensemble.stack([build_arrays(other, dataset)]), *splits)]
    own = train_ensemble(other, dataset)
    for one, same in zip(jax.tree.leaves(shared), jax.tree.leaves(own), strict=True):
        np.testing.assert_array_equal(one, same)


@EITHER_KIND
def test_the_tested_network_is_the_one_that_validation_chose(kind, seed):
    dataset = random_dataset(seed)
    experiment = small_experiment("dense", seed % 1000)
    segments = train_ensemble(experiment, dataset, kind)
    test = segments[-1].test
    task, arrays = build_task(experiment, dataset), build_arrays(experiment, dataset)
    candidates = [train_loop(experiment, dataset, candidate)[0] for candidate in range(2)]
    chosen = candidates[int(test.candidate)].best
    for candidate in candidates:
        assert not candidate.best.metrics.accuracy > test.validation.accuracy + 1e-6
    images, labels = loop.prepare(to_device(dataset.test), jnp.arange(37), arrays.standardisation)
    metrics = jax.tree.map(jnp.mean, loop.evaluate(task, chosen.parameters, images, labels))
    np.testing.assert_allclose(test.metrics.loss, metrics.loss, rtol=2e-4)
    assert int(test.update) == int(chosen.update)


def test_the_test_set_is_read_only_by_the_last_segment(seed):
    segments = train_ensemble(small_experiment("conv", seed % 1000), random_dataset(seed))
    assert [bool(np.isnan(segment.test.metrics.loss)) for segment in segments] == [True, True, False]


def test_test_images_do_not_influence_training(seed):
    dataset = random_dataset(seed)
    altered = dataset._replace(test=dataset.test._replace(labels=dataset.test.labels[::-1].copy()))
    experiment = small_experiment("shared", seed % 1000)
    first, second = train_ensemble(experiment, dataset), train_ensemble(experiment, altered)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.validation.loss, other.validation.loss)
        np.testing.assert_array_equal(one.test.candidate, other.test.candidate)


def test_evaluation_does_not_depend_on_its_chunks(seed, monkeypatch):
    dataset = random_dataset(seed)
    experiment = small_experiment("conv", seed % 1000)
    whole = train_ensemble(experiment, dataset)
    monkeypatch.setattr(loop, "EVALUATION_CHUNK", 7)
    cut = train_ensemble(experiment, dataset)
    for one, other in zip(whole, cut, strict=True):
        np.testing.assert_allclose(one.validation.loss, other.validation.loss, rtol=1e-5)
    np.testing.assert_allclose(whole[-1].test.metrics.loss, cut[-1].test.metrics.loss, rtol=1e-5)


def test_a_candidate_that_diverges_leaves_its_neighbours_alone(seed):
    dataset = random_dataset(seed)
    calm = small_experiment("conv", seed % 1000, optimizer="sgd", learning_rates=(1e-3, 1e-2))
    (wild,) = resolve([replace(calm, {"training.learning_rates": (1e-3, 1e30)})])
    quiet, loud = train_ensemble(calm, dataset), train_ensemble(wild, dataset)
    assert not np.isfinite(loud[-1].validation.loss[1])
    assert int(loud[-1].test.candidate) == 0
    for segment in loud:
        assert segment.diverged[0] == loop.NEVER
    np.testing.assert_allclose(
        [segment.validation.loss[0] for segment in quiet], [segment.validation.loss[0] for segment in loud], rtol=1e-6
    )


def test_an_experiment_whose_every_candidate_diverges_is_not_tested(seed):
    wild = small_experiment("conv", seed % 1000, optimizer="sgd", learning_rates=(1e30, 2e30))
    test = train_ensemble(wild, random_dataset(seed))[-1].test
    assert np.isnan(test.metrics.accuracy) and np.isnan(test.metrics.loss)


def test_better_is_a_strict_order_that_nothing_infinite_wins():
    low, high = Metrics(jnp.array(1.0), jnp.array(0.5)), Metrics(jnp.array(0.9), jnp.array(0.5))
    assert better(high, low) and not better(low, high) and not better(low, low)
    assert better(low, worst())
    assert not better(Metrics(jnp.array(jnp.nan), jnp.array(1.0)), worst())


def test_decay_moves_weights_and_not_biases():
    experiment = small_experiment("local", 0)
    task = build_task(experiment, random_dataset(0))
    candidate = loop.start(task, jax.random.key(0))
    ones = jax.tree.map(jnp.ones_like, candidate.parameters)
    transformation = loop._optimizer(task, Hyperparameters(jnp.array(0.1), jnp.array(0.5), jnp.array(0.0)))
    changes, _ = transformation.update(jax.tree.map(jnp.zeros_like, ones), transformation.init(ones), ones)
    for path, change in jax.tree_util.tree_leaves_with_path(changes):
        expected = 0.0 if path[-1].key == "bias" else -0.05
        np.testing.assert_allclose(change, expected, atol=1e-7)


def test_tasks_are_hashable():
    experiment, dataset = small_experiment("conv", 0), random_dataset(0)
    task = build_task(experiment, dataset)
    assert hash(task) == hash(dataclasses.replace(task))
