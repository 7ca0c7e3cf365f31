"""What a sweep will take, before it is run: its programs, their memory, and the time.

No formula says how long a layer takes on a machine: multiply-adds of the definition miss it by a factor of ten in either
direction, for a global convolution is computed by spectra and a dense layer is bound by memory. So the time is measured:
that of trials that are finished already, or else that of a few updates of the very program, thrown away.
"""

import contextlib
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax.experimental.compilation_cache import compilation_cache

from cnn_constraints import config, trials
from cnn_constraints.arrays import Dataset
from cnn_constraints.executors.checks import least_memory
from cnn_constraints.executors.local import LocalExecutor, rounds, trials_side_by_side
from cnn_constraints.sweep import Group
from cnn_constraints.training import ensemble

UPDATES = 10
"""That are timed: enough to see past one look at the validation data."""

LONG = 2.0
"""Seconds after which they are not repeated: what the first time adds is then little."""

BUDGET = 15.0
"""Seconds after which one program of each cell is timed, and the others are estimated from those."""

FINISHED, TIMED, OTHERS = "finished", "timed", "others"
"""Where an estimate comes from."""


class Planned(NamedTuple):
    """A group and what it takes. left: trials that are not finished. rounds: how often trials are still trained side by
    side. memory: bytes that the parameters of those trained side by side take at the least. seconds, compile_seconds: of
    training what is left, and of compiling the program where none is kept. source: of this estimate.
    """

    group: Group
    left: int
    rounds: int
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
    def left_updates(self) -> int:
        """Of the trials that are not finished."""
        return self.left * self.group.trials[0].training.updates

    @property
    def load(self) -> int:
        """Multiply-adds of the definition in one update, forward and backward."""
        return 3 * self.multiply_adds * self.lanes * self.group.trials[0].training.batch_size


def forecast(
    groups: Sequence[Group], finished: Collection[str], seconds: Mapping[str, float], executor: LocalExecutor
) -> list[Planned]:
    """What each group takes on this machine. seconds: of trials that are finished, in this run folder."""
    planned = [_sizes(group, finished, executor.dataset(group.trials[0].data)) for group in groups]
    started = time.perf_counter()
    measured: dict[str, Planned] = {}
    cells: set[str] = set()
    for plan in _in_order(planned):
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


def _in_order(planned: Sequence[Planned]) -> list[Planned]:
    """The heaviest of each cell first, for they decide; then the lightest, for no update takes less; then the others."""
    falling = sorted(planned, key=lambda plan: plan.left_updates * plan.load, reverse=True)
    unfinished = [plan for plan in falling if plan.left]
    heaviest = {_cell(plan): plan for plan in reversed(unfinished)}
    lightest = {_cell(plan): plan for plan in unfinished}
    ordered = [*heaviest.values(), *lightest.values(), *falling]
    return list({plan.group.name: plan for plan in ordered}.values())


def _sizes(group: Group, finished: Collection[str], dataset: Dataset) -> Planned:
    first = group.trials[0]
    cost, width = trials.cost(first, dataset), trials_side_by_side(group, dataset)
    left = group._replace(trials=tuple(trial for trial in group.trials if config.name(trial) not in finished))
    counts = len(left.trials), len(list(rounds(left, width))), len(trials.lanes(first)), width
    return Planned(group, *counts, *cost, memory=width * least_memory(first, dataset))


def _timed(plan: Planned, dataset: Dataset) -> Planned:
    """Compile the group's program, but for fewer updates at a time, and time these. Both are thrown away."""
    first = plan.group.trials[0]
    updates = min(UPDATES, first.training.evaluate_every)
    stacked = ensemble.stack([trials.build_trial(first, dataset)] * plan.side_by_side)
    splits = trials.to_device(dataset.train), trials.to_device(dataset.test)
    with _nothing_kept():
        started = time.perf_counter()
        program = ensemble.compile_program(trials.build_task(first, dataset), stacked, *splits, updates)
        compiled = time.perf_counter()
    steps = ensemble.train(program, stacked, *splits)
    seconds = _seconds_of_step(steps)
    if seconds < LONG and first.training.updates >= 2 * updates:
        seconds = _seconds_of_step(steps)
    return plan._replace(
        seconds=plan.rounds * _of_trial(plan, dataset, seconds, updates),
        compile_seconds=compiled - started,
        source=TIMED,
    )


def _seconds_of_step(steps: ensemble.Steps) -> float:
    started = time.perf_counter()
    _, state = next(steps)
    jax.block_until_ready(state.lanes)
    return time.perf_counter() - started


def _of_trial(plan: Planned, dataset: Dataset, seconds: float, updates: int) -> float:
    """Seconds of a whole trial from those of a step. Looking at an image is a third of the work of training on it; at test
    images one lane looks, once.
    """
    data, training = plan.group.trials[0].data, plan.group.trials[0].training
    timed = updates * training.batch_size + data.n_validation / 3
    looks = training.updates / training.evaluate_every
    tested = len(dataset.test.labels) / plan.lanes
    return seconds * (training.updates * training.batch_size + (looks * data.n_validation + tested) / 3) / timed


def _like_others(plan: Planned, measured: Sequence[Planned]) -> Planned:
    """Between those of the same cell that are next to it in multiply-adds of an update; beyond them, in proportion."""
    alike = [other for other in measured if other.left and _cell(other) == _cell(plan)]
    known = {0: 0.0} | {other.load: other.seconds / other.left_updates for other in alike}
    loads = sorted(known)
    within = min(plan.load, loads[-1])
    seconds = np.interp(within, loads, [known[load] for load in loads]) * plan.load / within
    compiling = sum(other.compile_seconds for other in alike) / len(alike)
    return plan._replace(seconds=float(seconds) * plan.left_updates, compile_seconds=compiling, source=OTHERS)


@contextlib.contextmanager
def _nothing_kept() -> Iterator[None]:
    """Without JAX's cache on disk. It has no use for what is thrown away, and a plan would tell another time when it is
    asked for again.
    """
    name = "jax_enable_compilation_cache"
    before = jax.config.values[name]
    try:
        jax.config.update(name, False)
        # JAX asks once whether there is a cache, until it is told to ask again.
        compilation_cache.reset_cache()
        yield
    finally:
        jax.config.update(name, before)
        compilation_cache.reset_cache()


def _cell(plan: Planned) -> str:
    return plan.group.trials[0].model.constraint
