"""Experiments on a few random images, trained by the engine and by the ordinary loop; one program for each shape."""

from typing import NamedTuple

import jax
import numpy as np
from random_variables import widened

from cnn_constraints.arrays import Dataset, Split
from cnn_constraints.experiment import Data, Experiment, Model, Training
from cnn_constraints.plan import build_arrays, build_task, to_device
from cnn_constraints.resolve import Resolved, resolve
from cnn_constraints.training import ensemble, loop
from cnn_constraints.training.candidates import Candidates, Unrolled
from cnn_constraints.training.metrics import Metrics
from cnn_constraints.training.records import Evaluation, choose, evaluations_of

UPDATES, EVERY = 8, 4

PROGRAMS: dict = {}
"""Compiled once a shape: that is what the engine promises, and it keeps these tests quick."""


def random_dataset(seed: int) -> Dataset:
    """Two channels, the first of them brighter in one corner for one class than for another."""
    generator = np.random.default_rng(seed)

    def split(examples: int) -> Split:
        labels = np.arange(examples, dtype=np.int32) % 3
        images = generator.integers(0, 128, (examples, 6, 6, 2))
        images[:, :3, :3, 0] += 40 * labels[:, None, None]
        return Split(images.astype(np.uint8), labels)

    return Dataset("random", split(120), split(37), ("a", "b", "c"))


def small_experiment(
    constraint: str | tuple[str, ...], seed: int, bias: str = "own", layers: int = 1, **training
) -> Resolved:
    usual = {"batch_size": 8, "updates": UPDATES, "evaluate_every": EVERY, "learning_rates": (1e-3, 1e-2)}
    model = Model(constraint, 1, (3, 2)[:layers], (2, 1)[:layers], (1, 1)[:layers], bias=bias)
    experiment = Experiment(Data(n_train=24, n_validation=31), model, Training(**usual | training), seed % 1000)
    return resolve([experiment])[0]


class Trained(NamedTuple):
    """What happened to one experiment, the best look at it, and what the test set says of the network it had then."""

    segments: list[ensemble.Segment]
    best: Evaluation | None
    test: Metrics


def train_side_by_side(
    experiments: list[Resolved], dataset: Dataset, kind: type[Candidates] = Unrolled
) -> list[Trained]:
    task = build_task(experiments[0], dataset)
    stacked = widened(ensemble.stack([build_arrays(experiment, dataset) for experiment in experiments]))
    splits, every = (to_device(dataset.train), to_device(dataset.test)), experiments[0].training.evaluate_every
    rates = stacked.hyperparameters.learning_rate
    # Fast tests compile otherwise than slow ones.
    of_task = (task, kind, splits[0].images.dtype, jax.config.read("jax_disable_most_optimizations"))
    shape = (*of_task, rates.shape, rates.dtype, every, ensemble.EVALUATION_CHUNK, len(jax.devices()))
    if shape not in PROGRAMS:
        PROGRAMS[shape] = ensemble.compile_program(task, stacked, *splits, every, kind)
    program = PROGRAMS[shape]
    steps = list(ensemble.train(program, stacked, splits[0]))
    of_each = [[segments[number] for segments, _ in steps] for number in range(len(experiments))]
    best = [
        choose([look for segment in segments for look in evaluations_of(segment, experiment.candidates)])
        for segments, experiment in zip(of_each, experiments, strict=True)
    ]
    chosen = [one.candidate if one else 0 for one in best]
    networks = [ensemble.best_variables(steps[-1][1], *place) for place in enumerate(chosen)]
    return list(map(Trained, of_each, best, ensemble.test(program, networks, stacked.standardisation, splits[1])))


def train_alone(experiment: Resolved, dataset: Dataset, kind: type[Candidates] = Unrolled) -> Trained:
    return train_side_by_side([experiment], dataset, kind)[0]


def train_loop(experiment: Resolved, dataset: Dataset, number: int = 0, updates: int | None = None):
    """One candidate, by the ordinary loop, for so many updates: its task, itself, and its validation metrics."""
    task, arrays = build_task(experiment, dataset), widened(build_arrays(experiment, dataset))
    hyperparameters = jax.tree.map(lambda leaf: leaf[number], arrays.hyperparameters)
    data = to_device(dataset.train), arrays.batches[:updates], arrays.validation, arrays.standardisation
    every, order = experiment.training.evaluate_every, arrays.order
    return task, *loop.train(task, jax.random.key(experiment.seed), hyperparameters, *data, every, order)


def require_the_ordinary_loop(
    experiment: Resolved, dataset: Dataset, kind: type[Candidates], tolerance: float = 1e-10
) -> tuple[Trained, list[loop.Candidate]]:
    """Of the losses of every candidate, relatively. Returns what both ways led to.

    Measured over hundreds of seeds: they differ by 4e-15 in 64 bits, and by 6e-7 in 32 where SGD trains; two batches in
    each other's place, or a learning rate that is 1% off, make a difference of 1e-4.
    """
    trained, candidates = train_alone(experiment, dataset, kind), []
    for number in range(len(experiment.candidates)):
        _, candidate, history = train_loop(experiment, dataset, number)
        losses = [segment.validation.loss[number] for segment in trained.segments]
        np.testing.assert_allclose(losses, [metrics.loss for metrics in history], rtol=tolerance)
        candidates.append(candidate)
    return trained, candidates
