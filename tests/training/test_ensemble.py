"""The ensemble engine computes what the ordinary loop computes, lane by lane."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_constraints import config, trials
from cnn_constraints.arrays import Dataset, Split
from cnn_constraints.config import Data, Experiment, Model, Training
from cnn_constraints.constraints import low_rank
from cnn_constraints.training import ensemble, run
from cnn_constraints.training.metrics import Metrics, better, worst
from cnn_constraints.training.run import Hyperparameters

SMALL_TRAINING = {"batch_size": 8, "updates": 12, "evaluate_every": 4, "learning_rates": (1e-3, 1e-2)}

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


def small_experiment(constraint: str, seed: int, **training) -> Experiment:
    return config.resolve(
        Experiment(
            data=Data(n_train=24, n_validation=31),
            model=Model(constraint=constraint, delta=1, channels=(3,), pool_sizes=(2,), strides=(1,)),
            training=Training(
                **{"batch_size": 8, "updates": 12, "evaluate_every": 4, "learning_rates": (1e-3, 1e-2)} | training
            ),
            seed=seed,
        )
    )


def train_ensemble(experiment: Experiment, dataset: Dataset, axis: str | None = None) -> list[ensemble.Segment]:
    (segments,) = train_side_by_side([experiment], dataset, axis)
    return segments


def train_side_by_side(
    experiments: list[Experiment], dataset: Dataset, axis: str | None = None
) -> list[list[ensemble.Segment]]:
    """The segments of each trial."""
    task = trials.build_task(experiments[0], dataset)
    stacked = ensemble.stack([trials.build_trial(experiment, dataset) for experiment in experiments])
    splits = trials.to_device(dataset.train), trials.to_device(dataset.test)
    every = experiments[0].training.evaluate_every
    shape = (task, axis, stacked.hyperparameters.learning_rate.shape, every, run.EVALUATION_CHUNK)
    if shape not in PROGRAMS:
        PROGRAMS[shape] = ensemble.compile_program(task, stacked, *splits, every, axis)
    looks = [segments for segments, _ in ensemble.train(PROGRAMS[shape], stacked, *splits)]
    return list(map(list, zip(*looks, strict=True)))


def train_loop(experiment: Experiment, dataset: Dataset, lane: int) -> tuple[run.Lane, list[Metrics]]:
    task, trial = trials.build_task(experiment, dataset), trials.build_trial(experiment, dataset)
    hyperparameters = jax.tree.map(lambda leaf: leaf[lane], trial.hyperparameters)
    train = trials.to_device(dataset.train)
    every = experiment.training.evaluate_every
    return run.train(
        task, trial.key, hyperparameters, train, trial.batches, trial.validation, trial.standardisation, every
    )


@pytest.mark.parametrize("axis", ["unrolled", "vmapped"])
@pytest.mark.parametrize("constraint", low_rank.names())
def test_every_lane_is_the_ordinary_loop(constraint, axis, seed):
    dataset = random_dataset(seed)
    experiment = small_experiment(constraint, seed % 1000, learning_rates=(1e-2,), weight_decays=(0.0, 0.1))
    segments = train_ensemble(experiment, dataset, axis)
    for lane in range(2):
        _, history = train_loop(experiment, dataset, lane)
        losses = np.array([segment.validation.loss[lane] for segment in segments])
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


@pytest.mark.parametrize("axis", ["unrolled", "vmapped"])
def test_trials_that_share_a_device_are_those_trained_alone(axis, seed, monkeypatch):
    dataset = random_dataset(seed)
    several = [small_experiment("conv", seed % 1000 + i) for i in range(3)]
    alone = [train_ensemble(experiment, dataset, axis) for experiment in several]
    (device, *_) = jax.local_devices()
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    for one, other in zip(alone, train_side_by_side(several, dataset, axis), strict=True):
        for mine, beside in zip(one, other, strict=True):
            np.testing.assert_allclose(mine.validation.loss, beside.validation.loss, rtol=2e-4)
        np.testing.assert_array_equal(one[-1].test.lane, other[-1].test.lane)


def test_one_program_serves_every_seed_size_and_learning_rate(seed):
    dataset = random_dataset(seed)
    splits = trials.to_device(dataset.train), trials.to_device(dataset.test)
    first = small_experiment("conv", 1)
    other = config.replace(first, {"seed": 2, "data.n_train": 50, "training.learning_rates": (0.1, 0.2)})
    task = trials.build_task(first, dataset)
    program = ensemble.compile_program(task, ensemble.stack([trials.build_trial(first, dataset)]), *splits, 4)
    PROGRAMS.clear()
    shared = [
        part for (part,), _ in ensemble.train(program, ensemble.stack([trials.build_trial(other, dataset)]), *splits)
    ]
    own = train_ensemble(other, dataset)
    for one, same in zip(jax.tree.leaves(shared), jax.tree.leaves(own), strict=True):
        np.testing.assert_array_equal(one, same)


@pytest.mark.parametrize("axis", ["unrolled", "vmapped"])
def test_the_tested_network_is_the_one_that_validation_chose(axis, seed):
    dataset = random_dataset(seed)
    experiment = small_experiment("dense", seed % 1000)
    segments = train_ensemble(experiment, dataset, axis)
    test = segments[-1].test
    task, trial = trials.build_task(experiment, dataset), trials.build_trial(experiment, dataset)
    lanes = [train_loop(experiment, dataset, lane)[0] for lane in range(2)]
    chosen = lanes[int(test.lane)].best
    for lane in lanes:
        assert not lane.best.metrics.accuracy > test.validation.accuracy + 1e-6
    images, labels = run.prepare(trials.to_device(dataset.test), jnp.arange(37), trial.standardisation)
    metrics = jax.tree.map(jnp.mean, run.evaluate(task, chosen.parameters, images, labels))
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
        np.testing.assert_array_equal(one.test.lane, other.test.lane)


def test_evaluation_does_not_depend_on_its_chunks(seed, monkeypatch):
    dataset = random_dataset(seed)
    experiment = small_experiment("conv", seed % 1000)
    whole = train_ensemble(experiment, dataset)
    monkeypatch.setattr(run, "EVALUATION_CHUNK", 7)
    cut = train_ensemble(experiment, dataset)
    for one, other in zip(whole, cut, strict=True):
        np.testing.assert_allclose(one.validation.loss, other.validation.loss, rtol=1e-5)
    np.testing.assert_allclose(whole[-1].test.metrics.loss, cut[-1].test.metrics.loss, rtol=1e-5)


def test_a_lane_that_diverges_leaves_its_neighbours_alone(seed):
    dataset = random_dataset(seed)
    calm = small_experiment("conv", seed % 1000, optimizer="sgd", learning_rates=(1e-3, 1e-2))
    wild = config.replace(calm, {"training.learning_rates": (1e-3, 1e30)})
    quiet, loud = train_ensemble(calm, dataset), train_ensemble(wild, dataset)
    assert not np.isfinite(loud[-1].validation.loss[1])
    assert int(loud[-1].test.lane) == 0
    for segment in loud:
        assert segment.diverged[0] == run.NEVER
    np.testing.assert_allclose(
        [segment.validation.loss[0] for segment in quiet], [segment.validation.loss[0] for segment in loud], rtol=1e-6
    )


def test_a_trial_whose_every_lane_diverges_is_not_tested(seed):
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
    task = trials.build_task(experiment, random_dataset(0))
    lane = run.start(task, jax.random.key(0))
    ones = jax.tree.map(jnp.ones_like, lane.parameters)
    transformation = run._optimizer(task, Hyperparameters(jnp.array(0.1), jnp.array(0.5), jnp.array(0.0)))
    changes, _ = transformation.update(jax.tree.map(jnp.zeros_like, ones), transformation.init(ones), ones)
    for path, change in jax.tree_util.tree_leaves_with_path(changes):
        expected = 0.0 if path[-1].key == "bias" else -0.05
        np.testing.assert_allclose(change, expected, atol=1e-7)


def test_tasks_are_hashable():
    experiment, dataset = small_experiment("conv", 0), random_dataset(0)
    task = trials.build_task(experiment, dataset)
    assert hash(task) == hash(dataclasses.replace(task))
