"""A sweep from its experiments to its results: resolved, planned, trained, kept. What every command and every user
calls.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import pandas

from cnn_constraints import store
from cnn_constraints.data.datasets import Datasets
from cnn_constraints.environment import describe_environment
from cnn_constraints.errors import InputError
from cnn_constraints.executors.interruption import Interruption
from cnn_constraints.executors.local import CHECKPOINT_EVERY, LocalExecutor
from cnn_constraints.executors.progress import ProgressBar, describe
from cnn_constraints.executors.ray import RayExecutor, RaySettings
from cnn_constraints.experiment import Experiment
from cnn_constraints.files import local_path
from cnn_constraints.plan import Group, plan
from cnn_constraints.resolve import Resolved, resolve
from cnn_constraints.settings import own_settings, prepare_jax
from cnn_constraints.store import RunFolder
from cnn_constraints.training.records import Evaluation, Finished

LOOK_EVERY = 0.5
"""Seconds between two looks at whether another process has let go of a group."""


@runtime_checkable
class Observer(Protocol):
    """Told what goes on, in the thread that called `run`; whoever derives from it defines what it wants to be told."""

    def opened(self) -> None:
        """The run folder is there, with what is finished already, of which nothing else is told."""

    def looked(self, experiment: Resolved, looks: Sequence[Evaluation]) -> None:
        """What was measured at a look at the validation data, for each candidate: here once it is measured, by a Ray
        cluster once the experiment is finished. Looks up to a checkpoint come together when an experiment goes on from it.
        """

    def finished(self, found: Sequence[Finished]) -> None:
        """What these experiments found is kept; all their looks have been told."""


class Ran(NamedTuple):
    """What a run came to. results: the table of `store.read` for these experiments, in their order.

    run, already_finished: how many experiments. programs: how many were compiled. seconds: without the reading of results.
    """

    results: pandas.DataFrame
    run: int
    already_finished: int
    programs: int
    seconds: float


@own_settings()
def run(
    experiments: Iterable[Experiment] | Experiment,
    folder: str | Path,
    *,
    checkpoint_every: float = CHECKPOINT_EVERY,
    keep_weights: bool = False,
    ray: RaySettings | None = None,
    observer: Observer | None = None,
    arguments: Sequence[str] = (),
) -> Ran:
    """Train and test every experiment that is not finished in the run folder, and keep what each found.

    checkpoint_every: seconds of training between two checkpoints. keep_weights: keep the chosen network of each experiment
    too, and train those again whose weights are not there. ray: trains on a Ray cluster, and not here. observer: is told of
    each look and each result. arguments: of a command, to be kept with the versions of everything. In the main thread the
    first Ctrl-C or SIGTERM stops with a checkpoint, and the same call goes on from there.

    Raises InputError, before anything is trained or written, for what cannot be; KeyboardInterrupt where it is stopped.
    """
    started = time.perf_counter()
    if not checkpoint_every >= 0:
        raise InputError(f"checkpoint_every is {checkpoint_every}: it must be a number of seconds, at least 0.")
    if observer is not None and not isinstance(observer, Observer):
        raise InputError(
            f"The observer {type(observer).__name__} must have opened, looked and finished: derive it from cc.Observer."
        )
    if ray:
        # Accelerators belong to the workers: a driver that only looks at one takes its memory.
        jax.config.update("jax_platforms", "cpu")
    prepare_jax()
    load, folder = Datasets(), local_path(folder)
    resolved = resolve([experiments] if isinstance(experiments, Experiment) else experiments)
    groups = plan(resolved, load)
    left = without(groups, store.finished(folder, keep_weights))
    count = 0
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(Interruption()).asked
        progress = stack.enter_context(ProgressBar(left, observer.looked if observer else None))
        if ray:
            executor = stack.enter_context(RayExecutor(progress, load, ray, stop, keep_weights))
        else:
            checkpoints = store.Checkpoints(folder)
            executor = LocalExecutor(progress, load, checkpoints, checkpoint_every, stop, left, keep_weights)
            stack.callback(executor.close)
        environment = describe_environment(list(arguments))
        opened = stack.enter_context(store.open_run(folder, resolved, environment, keep_weights))
        if observer:
            observer.opened()
        for found in work(groups, opened, executor.run, stop):
            count += len(found)
            if observer:
                observer.finished(found)
    seconds = time.perf_counter() - started
    print(
        f"{counted(count, 'experiment')} run, {len(resolved) - count} already finished, "
        f"{counted(executor.programs, 'program')} compiled, {seconds:.0f} s. Results in {folder}",
        file=sys.stderr,
    )
    table = store.read(folder).set_index("experiment")
    results = table.loc[[experiment.name for experiment in resolved]].reset_index()
    return Ran(results, count, len(resolved) - count, executor.programs, seconds)


def work(
    groups: Sequence[Group],
    opened: RunFolder,
    execute: Callable[[Iterable[Group]], Iterator[list[Finished]]],
    stop: Callable[[], bool],
) -> Iterator[list[Finished]]:
    """Train what is not finished, and yield what has just been kept. Groups that other processes work on come last: one
    whose process died is taken over, with its checkpoint.

    Raises InputError where something cannot be kept, and KeyboardInterrupt where `stop` says so.
    """
    group_of = {experiment.name: group.name for group in groups for experiment in group.experiments}
    announced = False
    while left := without(groups, opened.finished()):
        worked = False
        for found in execute(_free(left, opened)):
            opened.commit(group_of[found[0].experiment], found)
            worked = True
            yield found
        if worked:
            continue
        if not announced:
            print(f"waiting for another process, which works on {describe(left[0].first)}", file=sys.stderr, flush=True)
        announced = True
        time.sleep(LOOK_EVERY)
        if stop():
            raise KeyboardInterrupt


def _free(groups: Iterable[Group], opened: RunFolder) -> Iterator[Group]:
    """The groups that this process can hold, each when it is asked for, with what is not finished of them then."""
    for group in groups:
        if without([group], opened.finished()) and opened.hold(group.name):
            yield from without([group], opened.finished())


def without(groups: Iterable[Group], finished: Collection[str]) -> list[Group]:
    """The groups without the experiments of these names, and without those that then are empty."""
    left = (
        group._replace(experiments=tuple(one for one in group.experiments if one.name not in finished))
        for group in groups
    )
    return [group for group in left if group.experiments]


def counted(number: int, noun: str) -> str:
    """1 experiment, 1,200 experiments."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
