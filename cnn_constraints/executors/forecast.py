"""What a sweep will take, before it is run: its programs, their memory, and the time.

No formula says how long a layer takes on a machine: multiply-adds of the definition miss it by a factor of ten in either
direction, for a global convolution is computed by spectra and a dense layer is bound by memory. So the time is measured:
that of trials that are finished already, or else that of a few updates of the very program, thrown away.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import jax

from cnn_constraints import config, trials
from cnn_constraints.arrays import Dataset
from cnn_constraints.executors.checks import least_memory
from cnn_constraints.executors.local import LocalExecutor, trials_side_by_side
from cnn_constraints.sweep import Group
from cnn_constraints.training import ensemble

UPDATES = 10
"""That are timed: enough to see past one look at the validation data."""

LONG = 2.0
"""Seconds after which they are not repeated: what the first time adds is then little."""

BUDGET = 15.0
"""Seconds after which one program of each cell is timed, and the others are taken to be as fast."""

FINISHED, TIMED, OTHERS = "finished", "timed", "others"
"""Where an estimate comes from."""


class Planned(NamedTuple):
    """A group and what it takes. left: trials that are not finished. memory: bytes that the parameters of those trained
    side by side take at the least. seconds, compile_seconds: of training what is left, and of compiling the program.
    source: of this estimate.
    """

    group: Group
    left: int
    lanes: int
    side_by_side: int
    parameters: int
    multiply_adds: int
    memory: int
    seconds: float = 0.0
    compile_seconds: float = 0.0
    source: str = FINISHED

    @property
    def updates(self) -> int:
        """Of all trials, finished or not, as progress counts them."""
        return sum(trial.training.updates for trial in self.group.trials)

    @property
    def rounds(self) -> int:
        """How often trials are still trained side by side."""
        return -(-self.left // self.side_by_side)

    @property
    def work(self) -> int:
        """Multiply-adds of the definition that are still to be done, forward and backward."""
        training = self.group.trials[0].training
        return 3 * self.multiply_adds * self.lanes * self.left * training.updates * training.batch_size


def forecast(
    groups: Sequence[Group], finished: Collection[str], seconds: Mapping[str, float], executor: LocalExecutor
) -> list[Planned]:
    """What each group takes on this machine. seconds: of trials that are finished, in this run folder."""
    planned = [_sizes(group, finished, executor.dataset(group.trials[0].data)) for group in groups]
    started = time.perf_counter()
    measured: dict[str, Planned] = {}
    cells: set[str] = set()
    # The heaviest first: they decide.
    for plan in sorted(planned, key=lambda plan: plan.work, reverse=True):
        known = [seconds[name] for name in map(config.name, plan.group.trials) if name in seconds]
        if not plan.left:
            measured[plan.group.name] = plan
        elif known:
            measured[plan.group.name] = plan._replace(seconds=plan.left * sum(known) / len(known))
        elif _cell(plan) not in cells or time.perf_counter() - started < BUDGET:
            measured[plan.group.name] = _timed(plan, executor.dataset(plan.group.trials[0].data))
        if plan.group.name in measured and plan.left:
            cells.add(_cell(plan))
    return [measured.get(plan.group.name) or _like_others(plan, list(measured.values())) for plan in planned]


def _sizes(group: Group, finished: Collection[str], dataset: Dataset) -> Planned:
    first = group.trials[0]
    cost, width = trials.cost(first, dataset), trials_side_by_side(group, dataset)
    left = sum(config.name(trial) not in finished for trial in group.trials)
    memory = width * least_memory(first, dataset)
    return Planned(group, left, len(trials.lanes(first)), width, cost.parameters, cost.multiply_adds, memory)


def _timed(plan: Planned, dataset: Dataset) -> Planned:
    """Compile the group's program, but for fewer updates at a time, and time these. The state is thrown away."""
    first = plan.group.trials[0]
    updates = min(UPDATES, first.training.evaluate_every)
    stacked = ensemble.stack([trials.build_trial(first, dataset)] * plan.side_by_side)
    splits = trials.to_device(dataset.train), trials.to_device(dataset.test)
    started = time.perf_counter()
    program = ensemble.compile_program(trials.build_task(first, dataset), stacked, *splits, updates)
    compiled = time.perf_counter()
    steps = ensemble.train(program, stacked, *splits)
    seconds = _seconds_of_step(steps)
    if seconds < LONG and first.training.updates >= 2 * updates:
        seconds = _seconds_of_step(steps)
    return plan._replace(
        seconds=plan.rounds * _of_trial(plan, seconds, updates),
        compile_seconds=compiled - started,
        source=TIMED,
    )


def _seconds_of_step(steps: ensemble.Steps) -> float:
    started = time.perf_counter()
    _, state = next(steps)
    jax.block_until_ready(state.lanes)
    return time.perf_counter() - started


def _of_trial(plan: Planned, seconds: float, updates: int) -> float:
    """Seconds of a whole trial from those of a step. Looking at an image is a third of the work of training on it."""
    data, training = plan.group.trials[0].data, plan.group.trials[0].training
    looked_at = data.n_validation / 3
    share = lambda count: count * training.batch_size + looked_at
    return training.updates / training.evaluate_every * seconds * share(training.evaluate_every) / share(updates)


def _like_others(plan: Planned, measured: Sequence[Planned]) -> Planned:
    """At the pace, in multiply-adds, of those of the same cell."""
    alike = [other for other in measured if other.work and _cell(other) == _cell(plan)]
    pace = sum(other.seconds for other in alike) / sum(other.work for other in alike)
    compiling = sum(other.compile_seconds for other in alike) / len(alike)
    return plan._replace(seconds=plan.work * pace, compile_seconds=compiling, source=OTHERS)


def _cell(plan: Planned) -> str:
    return plan.group.trials[0].model.constraint
