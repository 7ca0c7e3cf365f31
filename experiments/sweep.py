"""Run the trials of a config file and report them: `python -m experiments.sweep configs/quickstart.py`."""

import contextlib
import dataclasses
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import jax
import numpy as np
import pandas
import tyro

from cnn_constraints import analysis, config, store, sweep
from cnn_constraints.config import Data, Experiment
from cnn_constraints.data import sources
from cnn_constraints.environment import describe_environment
from cnn_constraints.errors import InputError
from cnn_constraints.executors.checks import check_before_running
from cnn_constraints.executors.interruption import Interruption
from cnn_constraints.executors.progress import ProgressBar, Silent
from cnn_constraints.executors.work import work
from cnn_constraints.report import outcome
from cnn_constraints.report.outcome import Done
from cnn_constraints.report.plan import counted
from cnn_constraints.report.tensorboard import EventFiles, require_library
from cnn_constraints.report.terminal import report_run
from cnn_constraints.training import hosts
from experiments.entry import (
    check_flags,
    entry_point,
    load_config,
    nothing_but_errors,
    parse_flags,
    prepare_jax,
    try_config,
)
from experiments.machines import THIS_MACHINE, Machines
from experiments.plan import show_plan


@dataclass(frozen=True)
class Command:
    """Train and test every trial of a config file's sweep, skip those that are finished, and report the run.

    Flags such as --data.folder or --training.updates change the base config before the sweep is built from it. Exit code 0:
    all is finished; 1: it is, and every trial diverged; 2: bad input, in one sentence; 130: stopped, and the same command
    goes on.
    """

    config: tyro.conf.Positional[Path]
    """The config file: get_config() returns an Experiment, get_sweep(base) the trials."""
    experiment: Annotated[Experiment, tyro.conf.arg(name="")]
    output: Path | None = None
    """The run folder; by default runs/<name of the config file>."""
    dry_run: bool = False
    """Print what would be trained, in how many programs, with which memory and for how long, and train and keep nothing."""
    quiet: bool = False
    """Print nothing but errors, and what --json or --dry-run asks for."""
    json: bool = False
    """Print the outcome, or the plan, as one JSON object and not as tables. Progress is told on standard error."""
    tensorboard: bool = False
    """Write event files for TensorBoard into <run>/tensorboard as trials are finished (pip install -e '.[tensorboard]')."""
    machines: Annotated[Machines, tyro.conf.arg(name="")] = THIS_MACHINE

    def check(self) -> None:
        """Raises InputError for flags that do not go together, and for an extra that is not installed."""
        self.machines.check()
        if self.dry_run:
            for flag, given in (
                ("--tensorboard", self.tensorboard),
                ("--distributed", self.machines.distributed),
                ("--executor ray", self.machines.executor == "ray"),
            ):
                if given:
                    raise InputError(
                        f"{flag} has no effect with --dry-run, which plans for this machine: leave it out."
                    )
        if self.tensorboard:
            require_library()


EXAMPLES = {
    "python -m experiments.sweep configs/quickstart.py": "The four cells on 8 x 8 digits, without a download, in a minute: "
    "a table of accuracies, a table of who beats whom, and a figure in runs/quickstart/figures.",
    "python -m experiments.sweep configs/mnist_ladder.py --dry-run": "What it would train, and about how long that takes.",
    "python -m experiments.sweep configs/mnist_ladder.py --training.updates 800 --output runs/longer": "The ladder with "
    "one field changed, in a run folder of its own.",
    "python -m experiments.sweep configs/quickstart.py --quiet --json > outcome.json": "For programs: every arm with "
    "its interval, and nothing else.",
    "python -m experiments.sweep configs/mnist_ladder.py --tensorboard": "And beside it: tensorboard --logdir "
    "runs/mnist_ladder/tensorboard",
}

LOST = "Another process of this job has ended or cannot be reached"

MOST_TRIALS = 100_000
"""More take longer to be planned than anyone would wait, and a mistake in an axis may make endlessly many."""

OWN = ("output", "dry_run", "quiet", "json", "tensorboard", *(field.name for field in dataclasses.fields(Machines)))
"""Flags that are no config fields."""


def main(arguments: list[str]) -> None:
    """Run a sweep and report it, or print its plan. Raises InputError for a bad config or flag; exits as Command says."""
    request = parse(arguments)
    command = request.command
    with nothing_but_errors() if command.quiet else contextlib.nullcontext():
        trials = build_sweep(request)
        folder = command.output or Path("runs") / request.path.stem
        command.check()
        prepare_jax()
        command.machines.prepare()
        if command.dry_run:
            show_plan(trials, folder, image_digests(trials), command.json)
            return
        try:
            done = run(trials, folder, arguments, command.machines, command.tensorboard)
        except jax.errors.JaxRuntimeError as error:
            if hosts.alone():
                raise
            raise InputError(
                f"{LOST} ({str(error).splitlines()[0]}): start all of them again, and they go on."
            ) from None
        if hosts.first():
            report(folder, [config.name(trial) for trial in trials], done, command)


def report(folder: Path, names: list[str], done: Done, command: Command) -> None:
    """Figures into the run folder, and what was asked for on standard output. Exit code 1 where every trial diverged."""
    with contextlib.redirect_stdout(None) if command.quiet or command.json else contextlib.nullcontext():
        report_run(folder, names)
    results = store.read(folder)
    results = results.loc[results["trial"].isin(names)]
    if command.json:
        print(json.dumps(outcome.as_json(folder, results, done), allow_nan=False))
    if all_diverged(results):
        print("every trial diverged at every learning rate: try lower ones.", file=sys.stderr)
        sys.exit(1)


def all_diverged(results: pandas.DataFrame) -> bool:
    """Whether no trial of a table of results has a finite validation loss in any lane."""
    return bool(analysis.prepare(results)["diverged"].all())


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
    check_flags(arguments, [*fields, *("--" + name.replace("_", "-") for name in OWN)])
    given = [argument.split("=")[0].replace("_", "-") for argument in arguments]
    default = Command(config=tyro.MISSING, experiment=base)
    command = parse_flags(Command, arguments, EXAMPLES, default=default, prog="python -m experiments.sweep")
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


def run(
    trials: list[Experiment],
    folder: Path,
    arguments: list[str],
    machines: Machines = THIS_MACHINE,
    tensorboard: bool = False,
) -> Done:
    """Everything that is not finished yet. Checks all input before it writes or trains anything."""
    started = time.perf_counter()
    images = image_digests(trials)
    groups = sweep.plan(trials)
    # Hosts that do not read the run folder take it for empty, until the first says what is to be done.
    left, is_whole = hosts.on_first(lambda: _look(groups, trials, folder, images)) or (groups, False)
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(Interruption()).asked
        progress = stack.enter_context(ProgressBar(left)) if hosts.first() else Silent()
        checkpoints = store.Checkpoints(folder) if hosts.first() else None
        executor = stack.enter_context(machines.make_executor(progress, checkpoints, stop, tensorboard))
        check_before_running(executor.dataset, left)
        run_now = 0
        if hosts.agreed(np.array(bool(left or not is_whole or tensorboard))):
            opened = hosts.on_first(lambda: store.open_run(folder, trials, describe_environment(arguments), images))
            if opened:
                stack.enter_context(opened)
            events = EventFiles(folder, trials) if opened and tensorboard else None
            if events:
                events.catch_up()
            run_now = work(groups, opened, executor, stop, events.write if events else lambda _: None)
    done = Done(run_now, len(trials) - run_now, executor.programs, time.perf_counter() - started)
    if hosts.first():
        print(
            f"{counted(done.trials_run, 'trial')} run, {done.trials_already_finished} already finished, "
            f"{counted(done.programs_compiled, 'program')} compiled, {done.seconds:.0f} s. Results in {folder}",
            file=sys.stderr,
        )
    return done


def _look(
    groups: list[sweep.Group], trials: list[Experiment], folder: Path, images: dict[str, str]
) -> tuple[list[sweep.Group], bool]:
    """What is not finished in a run folder, and whether nothing there is lost or damaged."""
    store.check_images(folder, images)
    return sweep.without(groups, store.finished(folder)), store.is_whole(folder, trials)


def image_digests(trials: list[Experiment]) -> dict[str, str]:
    """Of the user's own images, by their folder."""
    own: set[Data] = {trial.data for trial in trials if trial.data.source == "folder"}
    return {data.folder: sources.digest(data.folder) for data in own if data.folder}


if __name__ == "__main__":
    entry_point(main)()
