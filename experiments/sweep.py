"""Run the trials of a config file and report them: `python -m experiments.sweep configs/quickstart.py`."""

import contextlib
import dataclasses
import itertools
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import jax
import numpy as np
import tyro

from cnn_constraints import config, store, sweep
from cnn_constraints.config import Data, Experiment
from cnn_constraints.data import sources
from cnn_constraints.environment import describe_environment
from cnn_constraints.errors import InputError
from cnn_constraints.executors.checks import check_before_running
from cnn_constraints.executors.interruption import Interruption
from cnn_constraints.executors.progress import ProgressBar, Silent
from cnn_constraints.executors.work import work
from cnn_constraints.report.terminal import report_run
from cnn_constraints.training import hosts
from experiments.entry import check_flags, entry_point, load_config, parse_flags, prepare_jax, try_config
from experiments.machines import THIS_MACHINE, Machines


@dataclass(frozen=True)
class Command:
    """Train and test every trial of a config file's sweep, skip those that are finished, and report the run.

    Flags such as --data.folder or --training.updates change the base config before the sweep is built from it.
    """

    config: tyro.conf.Positional[Path]
    """The config file: get_config() returns an Experiment, get_sweep(base) the trials."""
    experiment: Annotated[Experiment, tyro.conf.arg(name="")]
    output: Path | None = None
    """The run folder; by default runs/<name of the config file>."""
    machines: Annotated[Machines, tyro.conf.arg(name="")] = THIS_MACHINE


LOST = "Another process of this job has ended or cannot be reached"

MOST_TRIALS = 100_000
"""More take longer to be planned than anyone would wait, and a mistake in an axis may make endlessly many."""

OWN_FLAGS = ["--output", *("--" + field.name.replace("_", "-") for field in dataclasses.fields(Machines))]


def main(arguments: list[str]) -> None:
    request = parse(arguments)
    trials = build_sweep(request)
    folder = request.command.output or Path("runs") / request.path.stem
    machines = request.command.machines
    machines.check()
    prepare_jax()
    machines.prepare()
    try:
        run(trials, folder, arguments, machines)
    except jax.errors.JaxRuntimeError as error:
        if hosts.alone():
            raise
        raise InputError(f"{LOST} ({str(error).splitlines()[0]}): start all of them again, and they go on.") from None
    if hosts.first():
        report_run(folder, [config.name(trial) for trial in trials])


class Request(NamedTuple):
    """What was asked for: the config file, its get_sweep(), the command, and the config fields that its flags set."""

    path: Path
    get_sweep: Callable[[Experiment], Iterable[Experiment]]
    command: Command
    overrides: list[str]


def parse(arguments: list[str]) -> Request:
    """Run the config file and read the flags, whose defaults are its values. Raises InputError for bad ones."""
    base, path, get_sweep = Experiment(), Path(), lambda base: [base]
    if arguments and not arguments[0].startswith("-"):
        path = Path(arguments[0])
        module = load_config(path)
        base, get_sweep = try_config(path, module.get_config), getattr(module, "get_sweep", get_sweep)
        try_config(path, lambda: config.check(base))
    elif not {"-h", "--help"} & set(arguments):
        raise InputError("Name a config file first, as in: python -m experiments.sweep configs/quickstart.py")
    fields = {"--" + name.replace("_", "-"): name for name in config.flat(base)}
    check_flags(arguments, [*fields, *OWN_FLAGS])
    given = [argument.split("=")[0].replace("_", "-") for argument in arguments]
    default = Command(config=tyro.MISSING, experiment=base)
    command = parse_flags(Command, arguments, default=default, prog="python -m experiments.sweep")
    return Request(path, get_sweep, command, [fields[flag] for flag in given if flag in fields])


def build_sweep(request: Request) -> list[Experiment]:
    """The resolved trials. Raises InputError for an override of a field that the sweep varies: it would do nothing."""
    base = request.command.experiment
    config.check(base)
    trials = try_config(request.path, lambda: _listed(request.get_sweep(base)))
    for name in request.overrides:
        if any(config.get(trial, name) != config.get(base, name) for trial in trials):
            raise InputError(
                f"--{name} has no effect: {request.path} sweeps over {name}; change the axis in its get_sweep()."
            )
    return try_config(request.path, lambda: sweep.resolve(trials))


def _listed(trials: object) -> list[Experiment]:
    if not isinstance(trials, Iterable):
        raise InputError(f"get_sweep() must return Experiments, not {type(trials).__name__}.")
    listed = list(itertools.islice(trials, MOST_TRIALS + 1))
    if len(listed) > MOST_TRIALS:
        raise InputError(f"get_sweep() returns more than {MOST_TRIALS:,} Experiments: split the sweep.")
    return listed


def run(trials: list[Experiment], folder: Path, arguments: list[str], machines: Machines = THIS_MACHINE) -> None:
    """Everything that is not finished yet. Checks all input before it writes or trains anything."""
    started = time.perf_counter()
    images = {data.folder: sources.digest(data.folder) for data in _own_images(trials) if data.folder}
    groups = sweep.plan(trials)
    # Hosts that do not read the run folder take it for empty, until the first says what is to be done.
    left, is_whole = hosts.on_first(lambda: _look(groups, trials, folder, images)) or (groups, False)
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(Interruption()).asked
        progress = stack.enter_context(ProgressBar(left)) if hosts.first() else Silent()
        checkpoints = store.Checkpoints(folder) if hosts.first() else None
        executor = stack.enter_context(machines.make_executor(progress, checkpoints, stop))
        check_before_running(executor.dataset, left)
        run_now = 0
        if hosts.agreed(np.array(bool(left or not is_whole))):
            opened = hosts.on_first(lambda: store.open_run(folder, trials, describe_environment(arguments), images))
            if opened:
                stack.enter_context(opened)
            run_now = work(groups, opened, executor, stop)
    if hosts.first():
        print(
            f"{_counted(run_now, 'trial')} run, {len(trials) - run_now} already finished, "
            f"{_counted(executor.programs, 'program')} compiled, {time.perf_counter() - started:.0f} s. "
            f"Results in {folder}",
            file=sys.stderr,
        )


def _look(
    groups: list[sweep.Group], trials: list[Experiment], folder: Path, images: dict[str, str]
) -> tuple[list[sweep.Group], bool]:
    """What is not finished in a run folder, and whether nothing else is lost there."""
    store.check_images(folder, images)
    return sweep.without(groups, store.finished(folder)), store.is_whole(folder, trials)


def _own_images(trials: list[Experiment]) -> set[Data]:
    return {trial.data for trial in trials if trial.data.source == "folder"}


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


if __name__ == "__main__":
    entry_point(main)()
