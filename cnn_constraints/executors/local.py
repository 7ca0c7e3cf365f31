"""Runs groups one after the other on this machine: trials in, rows for the store out."""

import math
import time
from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from cnn_constraints import config, trials
from cnn_constraints.arrays import Dataset
from cnn_constraints.config import Data, Experiment
from cnn_constraints.data import subsets
from cnn_constraints.data.interventions import INTERVENTIONS
from cnn_constraints.data.sources import load
from cnn_constraints.environment import device_memory
from cnn_constraints.errors import InputError
from cnn_constraints.sweep import Group
from cnn_constraints.training import ensemble
from cnn_constraints.training.run import Images, Task

Row = dict[str, Any]

BYTES_PER_PARAMETER = 4 * 5
"""In 32 bits: the parameter, its gradient, the two moments of Adam, and the best parameter so far."""


@runtime_checkable
class Progress(Protocol):
    """Told what is going on; see progress.py."""

    def compiling(self, group: Group) -> None: ...

    def compiled(self, seconds: float) -> None: ...

    def running(self, trial: Experiment) -> None: ...

    def advanced(self, updates: int) -> None: ...


class LocalExecutor:
    """Holds what groups have in common: data sets in memory and on the device, each loaded once."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._datasets: dict[tuple, Dataset] = {}
        self._on_device: dict[tuple, tuple[Images, Images]] = {}
        self.programs = 0

    def dataset(self, data: Data) -> Dataset:
        """The images of a config, after its intervention. Raises InputError for data that cannot be read."""
        key = (data.source, data.folder, data.intervention)
        if key not in self._datasets:
            self._datasets[key] = INTERVENTIONS[data.intervention](load(data.source, data.folder))
        return self._datasets[key]

    def run(self, group: Group) -> Iterator[list[Row]]:
        """Train and test every trial of the group; rows come as they are measured, each trial's result row last."""
        program = None
        for experiment in group.trials:
            dataset = self.dataset(experiment.data)
            task = trials.build_task(experiment, dataset)
            trial = trials.build_trial(experiment, dataset)
            splits = self._splits(experiment.data)
            evaluate_every = experiment.training.evaluate_every
            if program is None:
                program = self._compile(group, task, trial, splits, evaluate_every)
            self._progress.running(experiment)
            started = time.perf_counter()
            for part in ensemble.train(program, trial, *splits):
                self._progress.advanced(evaluate_every)
                rows = _evaluation_rows(experiment, part)
                if part.update == task.updates:
                    rows.append(_result_row(experiment, part, trials.cost(experiment, dataset), started))
                yield rows

    def _splits(self, data: Data) -> tuple[Images, Images]:
        key = (data.source, data.folder, data.intervention)
        if key not in self._on_device:
            # One data set at a time: a device's memory is for models.
            dataset = self.dataset(data)
            self._on_device = {key: (trials.to_device(dataset.train), trials.to_device(dataset.test))}
        return self._on_device[key]

    def _compile(
        self, group: Group, task: Task, trial: ensemble.Trial, splits: tuple[Images, Images], evaluate_every: int
    ) -> ensemble.Program:
        self._progress.compiling(group)
        started = time.perf_counter()
        program = ensemble.compile_program(task, trial, *splits, evaluate_every)
        self.programs += 1
        self._progress.compiled(time.perf_counter() - started)
        return program


def check_before_running(executor: LocalExecutor, groups: list[Group]) -> None:
    """Everything that can be refused is refused before anything is trained. Raises InputError."""
    for group in groups:
        for experiment in group.trials:
            dataset = executor.dataset(experiment.data)
            trials.build_task(experiment, dataset)
            subsets.check_sizes(dataset.train, experiment.data.n_train, experiment.data.n_validation)
            _check_memory(experiment, trials.cost(experiment, dataset))


def _check_memory(experiment: Experiment, cost: trials.Cost) -> None:
    lanes = len(trials.lanes(experiment))
    needed = BYTES_PER_PARAMETER * cost.parameters * lanes
    available = device_memory()
    if needed > available:
        model = experiment.model
        raise InputError(
            f"The network of {model.constraint} with channels {model.channels} has {cost.parameters:,} parameters: "
            f"training {lanes} lanes takes at least {needed:,} bytes, and the device has {available:,}; make "
            f"model.channels, the images or the number of learning rates and weight decays smaller."
        )


def _evaluation_rows(experiment: Experiment, part: ensemble.Segment) -> list[Row]:
    return [
        {
            "event": "evaluation",
            "trial": config.name(experiment),
            "lane": lane,
            "learning_rate": learning_rate,
            "weight_decay": weight_decay,
            "update": part.update,
            "train_loss": float(part.train.loss[lane]),
            "train_accuracy": float(part.train.accuracy[lane]),
            "validation_loss": float(part.validation.loss[lane]),
            "validation_accuracy": float(part.validation.accuracy[lane]),
        }
        for lane, (learning_rate, weight_decay) in enumerate(trials.lanes(experiment))
    ]


def _result_row(experiment: Experiment, part: ensemble.Segment, cost: trials.Cost, started: float) -> Row:
    lane, validation = int(part.test.lane), part.test.validation
    learning_rate, weight_decay = trials.lanes(experiment)[lane]
    return {
        "event": "result",
        "trial": config.name(experiment),
        "lane": lane,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "update": int(part.test.update),
        "train_loss": float(part.train.loss[lane]),
        "train_accuracy": float(part.train.accuracy[lane]),
        "validation_loss": float(validation.loss),
        "validation_accuracy": float(validation.accuracy) if np.isfinite(validation.loss) else math.nan,
        "test_loss": float(part.test.metrics.loss),
        "test_accuracy": float(part.test.metrics.accuracy),
        "parameters": cost.parameters,
        "multiply_adds": cost.multiply_adds,
        "seconds": time.perf_counter() - started,
        "device": jax.devices()[0].device_kind,
    }
