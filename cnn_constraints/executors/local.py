"""Runs groups one after the other on all devices of this machine: trials in, rows for the store out."""

import dataclasses
import itertools
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from cnn_constraints import config, trials
from cnn_constraints.arrays import Dataset
from cnn_constraints.config import Data, Experiment
from cnn_constraints.data import subsets
from cnn_constraints.environment import device_memory
from cnn_constraints.errors import InputError
from cnn_constraints.sweep import Group
from cnn_constraints.training import ensemble
from cnn_constraints.training.run import Images

Row = dict[str, Any]

BYTES_PER_PARAMETER = 4 * 5
"""In 32 bits: the parameter, its gradient, the two moments of Adam, and the best parameter so far."""

LANES_ON_ACCELERATOR = 64
"""So many small networks at least are what should keep a GPU or TPU busy."""


@runtime_checkable
class Progress(Protocol):
    """Told what is going on; see progress.py."""

    def compiling(self, group: Group) -> None: ...

    def compiled(self, seconds: float) -> None: ...

    def running(self, trials: Sequence[Experiment]) -> None: ...

    def advanced(self, updates: int) -> None: ...


class LocalExecutor:
    """Holds what groups have in common: data sets in memory and on the device, each loaded once."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._datasets: dict[Data, Dataset] = {}
        self._on_device: dict[tuple, tuple[Images, Images]] = {}
        self.programs = 0

    def dataset(self, data: Data) -> Dataset:
        """`trials.build_dataset`, once for each data set. Raises InputError for data that cannot be read."""
        key = _data_set(data)
        if key not in self._datasets:
            self._datasets[key] = trials.build_dataset(data)
        return self._datasets[key]

    def run(self, group: Group) -> Iterator[list[Row]]:
        """Train and test every trial of the group; rows come as they are measured, each trial's result row last."""
        width = trials_side_by_side(group, self.dataset(group.trials[0].data))
        program = None
        for members in _rounds(group, width):
            data = members[0].data
            dataset = self.dataset(data)
            # A program takes so many trials: in a round with fewer, the last is trained several times over.
            padded = [*members, *members[-1:] * (width - len(members))]
            stacked = ensemble.stack([trials.build_trial(member, dataset) for member in padded])
            if program is None:
                program = self._compile(group, dataset, stacked)
            self._progress.running(members)
            started = time.perf_counter()
            for parts in ensemble.train(program, stacked, *self._splits(data, program)):
                self._progress.advanced(len(members) * program.evaluate_every)
                seconds = (time.perf_counter() - started) / len(members)
                yield [
                    row
                    for member, part in zip(members, parts, strict=False)
                    for row in _rows(member, part, dataset, seconds)
                ]

    def _splits(self, data: Data, program: ensemble.Program) -> tuple[Images, Images]:
        """One data set at a time stays on the devices: their memory is for models."""
        key = (_data_set(data), program.devices)
        if key not in self._on_device:
            dataset = self.dataset(data)
            train, test = (trials.to_device(split) for split in (dataset.train, dataset.test))
            self._on_device = {key: (ensemble.on_devices(program, train), ensemble.on_devices(program, test))}
        return self._on_device[key]

    def _compile(self, group: Group, dataset: Dataset, stacked: ensemble.Trial) -> ensemble.Program:
        self._progress.compiling(group)
        started = time.perf_counter()
        first = group.trials[0]
        # Compiling asks for shapes only.
        train, test = (jax.eval_shape(trials.to_device, split) for split in (dataset.train, dataset.test))
        task = trials.build_task(first, dataset)
        program = ensemble.compile_program(task, stacked, train, test, first.training.evaluate_every)
        self.programs += 1
        self._progress.compiled(time.perf_counter() - started)
        return program


def trials_side_by_side(group: Group, dataset: Dataset) -> int:
    """How many trials of a group are trained at once, as memory allows: one for each device of a CPU, for each
    accelerator as many as make LANES_ON_ACCELERATOR lanes.
    """
    count, devices = len(group.trials), jax.local_device_count()
    lanes = len(trials.lanes(group.trials[0]))
    fit = max(1, device_memory() // _least_memory(group.trials[0], dataset))
    if jax.default_backend() == "cpu":
        # The devices of a CPU share its memory. Rounds of even size: three devices three times for nine trials on four.
        # A lone trial has a twin: XLA rounds otherwise where there is one device only, and no number may depend on that.
        most = min(devices, fit, max(count, 2))
        return max(math.ceil(count / math.ceil(count / most)), min(most, 2))
    devices = min(devices, count)
    return devices * min(math.ceil(LANES_ON_ACCELERATOR / lanes), fit, math.ceil(count / devices))


def _rounds(group: Group, width: int) -> Iterator[list[Experiment]]:
    """The group's trials, at most `width` at a time, all on one data set."""
    for _, members in itertools.groupby(group.trials, key=lambda trial: _data_set(trial.data)):
        together = list(members)
        yield from (together[first : first + width] for first in range(0, len(together), width))


def _data_set(data: Data) -> Data:
    """What trials on the same images have in common."""
    return dataclasses.replace(data, n_train=1, n_validation=1)


def check_before_running(executor: LocalExecutor, groups: list[Group]) -> None:
    """Everything that can be refused is refused before anything is trained. Raises InputError."""
    for group in groups:
        for experiment in group.trials:
            dataset = executor.dataset(experiment.data)
            trials.build_task(experiment, dataset)
            subsets.check_sizes(dataset.train, experiment.data.n_train, experiment.data.n_validation)
            _check_memory(experiment, dataset)


def _least_memory(experiment: Experiment, dataset: Dataset) -> int:
    """Bytes that the parameters of a trial take while it is trained."""
    return BYTES_PER_PARAMETER * trials.cost(experiment, dataset).parameters * len(trials.lanes(experiment))


def _check_memory(experiment: Experiment, dataset: Dataset) -> None:
    needed, available = _least_memory(experiment, dataset), device_memory()
    if needed > available:
        model, parameters = experiment.model, trials.cost(experiment, dataset).parameters
        raise InputError(
            f"The network of {model.constraint} with channels {model.channels} has {parameters:,} parameters: "
            f"training {len(trials.lanes(experiment))} lanes takes at least {needed:,} bytes, and the device has "
            f"{available:,}; make model.channels, the images or the number of learning rates and weight decays smaller."
        )


def _rows(experiment: Experiment, part: ensemble.Segment, dataset: Dataset, seconds: float) -> list[Row]:
    """What a segment adds to the store: an evaluation row a lane, and the result row if it was the last."""
    rows = _evaluation_rows(experiment, part)
    if part.update == experiment.training.updates:
        rows.append(_result_row(experiment, part, trials.cost(experiment, dataset), seconds))
    return rows


def _evaluation_rows(experiment: Experiment, part: ensemble.Segment) -> list[Row]:
    return [
        {
            "event": "evaluation",
            "trial": config.name(experiment),
            "lane": lane,
            **hyperparameters,
            "update": part.update,
            "train_loss": float(part.train.loss[lane]),
            "train_accuracy": float(part.train.accuracy[lane]),
            "validation_loss": float(part.validation.loss[lane]),
            "validation_accuracy": float(part.validation.accuracy[lane]),
            **_violations(part, lane),
        }
        for lane, hyperparameters in enumerate(trials.lanes(experiment))
    ]


def _result_row(experiment: Experiment, part: ensemble.Segment, cost: trials.Cost, seconds: float) -> Row:
    lane, validation = int(part.test.lane), part.test.validation
    return {
        "event": "result",
        "trial": config.name(experiment),
        "lane": lane,
        **trials.lanes(experiment)[lane],
        "update": int(part.test.update),
        "train_loss": float(part.train.loss[lane]),
        "train_accuracy": float(part.train.accuracy[lane]),
        "validation_loss": float(validation.loss),
        "validation_accuracy": float(validation.accuracy) if np.isfinite(validation.loss) else math.nan,
        "test_loss": float(part.test.metrics.loss),
        "test_accuracy": float(part.test.metrics.accuracy),
        **_violations(part, lane),
        "parameters": cost.parameters,
        "multiply_adds": cost.multiply_adds,
        "seconds": seconds,
        "device": jax.devices()[0].device_kind,
    }


def _violations(part: ensemble.Segment, lane: int) -> dict[str, float]:
    return {f"violation_{name}": float(of_lanes[lane]) for name, of_lanes in part.violations.items()}
