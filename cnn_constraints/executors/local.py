"""Runs groups one after the other on all devices of this machine, or of all machines of one job: groups in, rows for the
store out.
"""

import dataclasses
import itertools
import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np

from cnn_constraints import config, trials
from cnn_constraints.arrays import Dataset
from cnn_constraints.config import Data, Experiment
from cnn_constraints.environment import device_memory
from cnn_constraints.executors.checks import least_memory
from cnn_constraints.executors.fields import Fields, first_fields
from cnn_constraints.executors.rows import Row, rows_of
from cnn_constraints.store import Checkpoint, Checkpoints
from cnn_constraints.sweep import Group
from cnn_constraints.training import ensemble, hosts
from cnn_constraints.training.ensemble import State
from cnn_constraints.training.run import Images

LANES_ON_ACCELERATOR = 64
"""So many small networks at least are what should keep a GPU or TPU busy."""

CHECKPOINT_EVERY = 60.0
"""Seconds of training between two checkpoints."""

CHECKPOINT_SHARE = 0.01
"""At most so much of the time goes into checkpoints, however large they are."""


@runtime_checkable
class Progress(Protocol):
    """Told what is going on; see progress.py."""

    def compiling(self, group: Group) -> None:
        """The program of a group begins to be compiled."""

    def compiled(self, seconds: float) -> None:
        """It is, after so many seconds."""

    def running(self, trials: Sequence[Experiment]) -> None:
        """These trials begin to be trained side by side."""

    def advanced(self, updates: int) -> None:
        """So many updates more are done, of all trials together; fewer than 0 where some were lost."""


class Finished(NamedTuple):
    """All rows of trials of one group that were trained side by side; and by the trial's name, where an executor was asked
    to look, what the first layer has learned.
    """

    group: str
    rows: list[Row]
    fields: Mapping[str, Fields] = MappingProxyType({})


class LocalExecutor:
    """Holds what groups have in common: data sets in memory and on the device, each loaded once.

    checkpoints: where groups that take long are kept in the middle, and go on from; whoever keeps what they found deletes
    them. checkpoint_every: in seconds; 0 for after every step, whatever it costs.
    stop: whether to stop, asked before trials are trained and after every step, that is after each look at the validation
    data.
    look: whether to have a look at what the first layers have learned. In a job of several processes there is none.
    """

    def __init__(
        self,
        progress: Progress,
        checkpoints: Checkpoints | None = None,
        checkpoint_every: float = CHECKPOINT_EVERY,
        stop: Callable[[], bool] = lambda: False,
        look: bool = False,
    ) -> None:
        self._progress = progress
        self._checkpoints = checkpoints
        self._checkpoint_every = checkpoint_every
        self._stop = stop
        self._look = look and hosts.alone()
        self._datasets: dict[Data, Dataset] = {}
        self._on_device: dict[tuple, tuple[Images, Images]] = {}
        self.programs = 0

    def dataset(self, data: Data) -> Dataset:
        """`trials.build_dataset`, once for each data set. Raises InputError for data that cannot be read."""
        key = _data_set(data)
        if key not in self._datasets:
            self._datasets[key] = trials.build_dataset(data)
        return self._datasets[key]

    def run(self, groups: Iterable[Group]) -> Iterator[Finished]:
        """Train and test every trial of the groups.

        Raises KeyboardInterrupt, with a checkpoint of the group, where it is asked to stop.
        """
        for group in groups:
            width = trials_side_by_side(group, self.dataset(group.trials[0].data))
            checkpoint = self._load_checkpoint(group, width)
            program = None
            for members in rounds(group, width, checkpoint):
                self._stop_if_asked()
                dataset = self.dataset(members[0].data)
                # A program takes so many trials: in a round with fewer, the last is trained several times over.
                padded = [*members, *members[-1:] * (width - len(members))]
                stacked = ensemble.stack([trials.build_trial(member, dataset) for member in padded])
                if program is None:
                    program = self._compile(group, dataset, stacked)
                    self._stop_if_asked()
                round_ = Round(group.name, members, stacked, dataset)
                yield Finished(group.name, *self._train(round_, program, checkpoint))
                checkpoint = None

    def _stop_if_asked(self) -> None:
        if hosts.anywhere(self._stop()):
            raise KeyboardInterrupt

    def _train(
        self, round_: "Round", program: ensemble.Program, checkpoint: Checkpoint | None
    ) -> tuple[list[Row], dict[str, Fields]]:
        """What a round finds, from its checkpoint on if it has one."""
        self._progress.running(round_.members)
        rows, spent, before = self._resume(program, checkpoint)
        started = saved = time.perf_counter()
        cost, fields = 0.0, {}
        if before:
            self._progress.advanced(len(round_.members) * before.update)
        splits = self._splits(round_.members[0].data, program)
        for parts, state in ensemble.train(program, round_.stacked, *splits, before):
            self._progress.advanced(len(round_.members) * program.evaluate_every)
            now = time.perf_counter()
            seconds = spent + now - started
            each = zip(round_.members, parts, strict=False)
            share = seconds / len(round_.members)
            rows += [row for member, part in each for row in rows_of(member, part, round_.dataset, share)]
            if state.update == program.updates:
                fields = self._fields(round_, parts, state) if self._look else {}
                continue
            pause = max(self._checkpoint_every, cost / CHECKPOINT_SHARE) if self._checkpoint_every else 0.0
            due = now - saved >= pause
            stop = hosts.anywhere(self._stop())
            if hosts.agreed(np.array(due or stop)):
                self._save(round_, state, seconds, rows)
                saved = time.perf_counter()
                cost = saved - now
            if stop:
                raise KeyboardInterrupt
        return rows, fields

    def _fields(self, round_: "Round", parts: Sequence[ensemble.Segment], state: State) -> dict[str, Fields]:
        """What the first layer of each trial's chosen lane has learned."""
        network = trials.build_task(round_.members[0], round_.dataset).network
        found = {
            config.name(member): first_fields(network, ensemble.best_parameters(state, number, int(part.test.lane)))
            for number, (member, part) in enumerate(zip(round_.members, parts, strict=False))
        }
        return {name: fields for name, fields in found.items() if fields is not None}

    def _save(self, round_: "Round", state: State, seconds: float, rows: list[Row]) -> None:
        # All hosts have a part of the state, though only the first keeps it.
        arrays = hosts.gather(jax.tree.leaves(state.lanes))
        if self._checkpoints:
            names = [config.name(member) for member in round_.members]
            own = [np.array(array[: len(names)]) for array in arrays]
            self._checkpoints.save(round_.group, Checkpoint(names, state.update, seconds, rows, own))

    def _load_checkpoint(self, group: Group, width: int) -> Checkpoint | None:
        """The checkpoint of a group, if its trials are not finished and fit side by side. On hosts but the first it is
        known which trials these are, and no more.
        """
        names = [config.name(trial) for trial in group.trials]
        checkpoint = self._checkpoints.load(group.name) if self._checkpoints else None
        if checkpoint and not (set(checkpoint.members) <= set(names) and len(checkpoint.members) <= width):
            checkpoint = None
        member = [checkpoint is not None and name in checkpoint.members for name in names]
        update = checkpoint.update if checkpoint else 0
        member, update = hosts.agreed((np.array(member), np.array(update)))
        if not update:
            return None
        return checkpoint or Checkpoint(list(itertools.compress(names, member)), int(update), 0.0, [], [])

    def _resume(
        self, program: ensemble.Program, checkpoint: Checkpoint | None
    ) -> tuple[list[Row], float, State | None]:
        """Rows so far, seconds so far, and the state to go on from: of a checkpoint, or those of a start."""
        if checkpoint is None:
            return [], 0.0, None
        state = ensemble.load_state(program, checkpoint.update, checkpoint.state)
        if state is None:
            warnings.warn("A checkpoint is of another program, so its trials start anew.", stacklevel=2)
            return [], 0.0, None
        return list(checkpoint.rows), checkpoint.seconds, state

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


class Round(NamedTuple):
    """Trials of one group and data set that are trained side by side. stacked: filled up to the program's number."""

    group: str
    members: list[Experiment]
    stacked: ensemble.Trial
    dataset: Dataset


def trials_side_by_side(group: Group, dataset: Dataset) -> int:
    """How many trials of a group are trained at once, as memory allows: one for each device of a CPU, for each
    accelerator as many as make LANES_ON_ACCELERATOR lanes.

    Trials that are finished count too, so that a sweep that goes on has the programs that it had.
    """
    count, devices = group.size, jax.device_count()
    lanes = len(trials.lanes(group.trials[0]))
    fit = max(1, device_memory() // least_memory(group.trials[0], dataset))
    if not hosts.alone():
        # Every device of every host has as many.
        return devices * min(fit, 1 if jax.default_backend() == "cpu" else math.ceil(LANES_ON_ACCELERATOR / lanes))
    if jax.default_backend() == "cpu":
        # The devices of a CPU share its memory. Rounds of even size: three devices three times for nine trials on four.
        # A lone trial has a twin: XLA rounds otherwise where there is one device only, and no number may depend on that.
        most = min(devices, fit, max(count, 2))
        return max(math.ceil(count / math.ceil(count / most)), min(most, 2))
    devices = min(devices, count)
    return devices * min(math.ceil(LANES_ON_ACCELERATOR / lanes), fit, math.ceil(count / devices))


def rounds(group: Group, width: int, checkpoint: Checkpoint | None = None) -> Iterator[list[Experiment]]:
    """The group's trials, at most `width` at a time, all on one data set; those of a checkpoint first."""
    begun = [trial for trial in group.trials if checkpoint and config.name(trial) in checkpoint.members]
    if begun:
        yield begun
    rest = [trial for trial in group.trials if trial not in begun]
    for _, members in itertools.groupby(rest, key=lambda trial: _data_set(trial.data)):
        together = list(members)
        yield from (together[first : first + width] for first in range(0, len(together), width))


def _data_set(data: Data) -> Data:
    """What trials on the same images have in common."""
    return dataclasses.replace(data, n_train=1, n_validation=1)
