"""What a process does in a run folder: it works on the groups that no other works on, and keeps what they find."""

import itertools
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from cnn_constraints import config
from cnn_constraints.executors.local import Finished
from cnn_constraints.executors.progress import describe
from cnn_constraints.store import Run
from cnn_constraints.sweep import Group, without
from cnn_constraints.training import hosts

LOOK_EVERY = 0.5
"""Seconds between two looks at whether another process has let go of a group."""


@runtime_checkable
class Executor(Protocol):
    """Groups in, the rows of finished trials out; see local.py and ray.py."""

    def run(self, groups: Iterable[Group]) -> Iterator[Finished]:
        """Train every trial of the groups, which are asked for as they are worked on."""
        ...


def work(
    groups: Sequence[Group],
    run: Run | None,
    executor: Executor,
    stop: Callable[[], bool],
    kept: Callable[[Finished], object] = lambda _: None,
) -> int:
    """Run all trials that are not finished, and return how many were. Groups that other processes work on come last: one
    whose process died is taken over, with its checkpoint.

    run: None on hosts that are not the first of their job. kept: told what has just been kept. Raises
    InputError where something cannot be kept, and KeyboardInterrupt where `stop` says so.
    """
    trials = 0
    told: set[str] = set()
    while not hosts.agreed(np.array(run is None or not without(groups, run.finished()))):
        before = trials
        for finished in executor.run(_free(groups, run)):
            if run is not None:
                run.commit(finished.group, finished.rows)
                kept(finished)
            trials += len({row["trial"] for row in finished.rows})
        if trials == before:
            _wait(groups, run, told)
            if hosts.anywhere(stop()):
                raise KeyboardInterrupt
    return trials


def _free(groups: Iterable[Group], run: Run | None) -> Iterator[Group]:
    """The groups that this process can hold, each when it is asked for, with what is not finished of them then."""
    for group in groups:
        names = [config.name(trial) for trial in group.trials]
        done = set(names)
        if run is not None and done - run.finished() and run.hold(group.name):
            done = run.finished()
        left = hosts.agreed(np.array([name not in done for name in names]))
        if left.any():
            yield group._replace(trials=tuple(itertools.compress(group.trials, left)))


def _wait(groups: Iterable[Group], run: Run | None, told: set[str]) -> None:
    """Say once who works on what is left, and wait a moment."""
    if run is not None:
        for group in without(groups, run.finished()):
            words = f"waiting for {run.holder(group.name)}, which works on {describe(group.trials[0])}"
            if words not in told:
                print(words, file=sys.stderr, flush=True)
            told.add(words)
    time.sleep(LOOK_EVERY)
