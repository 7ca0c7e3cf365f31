"""Run the trials of a config file and report them: `python -m experiments.sweep configs/quickstart.py`."""

import contextlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from cnn_constraints import config, store, sweep
from cnn_constraints.config import Experiment
from cnn_constraints.environment import describe_environment
from cnn_constraints.errors import InputError
from cnn_constraints.executors.local import LocalExecutor, check_before_running
from cnn_constraints.executors.progress import ProgressBar
from cnn_constraints.report.terminal import report_run
from experiments.entry import check_flags, entry_point, keep_compiled_programs, load_config, parse_flags, try_config


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


def main(arguments: list[str]) -> None:
    command, overrides = parse(arguments)
    trials = build_sweep(command, overrides)
    folder = command.output or Path("runs") / command.config.stem
    keep_compiled_programs()
    run(trials, folder, arguments)
    report_run(folder, [config.name(trial) for trial in trials])


def parse(arguments: list[str]) -> tuple[Command, list[str]]:
    """The command, and the dotted names of the config fields that its flags set. Raises InputError for bad flags."""
    if not arguments or arguments[0].startswith("-"):
        base, path = Experiment(), Path("CONFIG")
        if not {"-h", "--help"} & set(arguments):
            raise InputError("Name a config file first, as in: python -m experiments.sweep configs/quickstart.py")
    else:
        path = Path(arguments[0])
        base = try_config(path, load_config(path).get_config)
        config.check(base)
    fields = {"--" + name.replace("_", "-"): name for name in config.flat(base)}
    check_flags(arguments, [*fields, "--output"])
    given = [argument.split("=")[0].replace("_", "-") for argument in arguments]
    command = parse_flags(Command, arguments, default=Command(path, base), prog="python -m experiments.sweep")
    return command, [fields[flag] for flag in given if flag in fields]


def build_sweep(command: Command, overrides: list[str]) -> list[Experiment]:
    """The resolved trials. Raises InputError for an override of a field that the sweep varies: it would do nothing."""
    module = load_config(command.config)
    get_sweep: Callable = getattr(module, "get_sweep", lambda base: [base])
    config.check(command.experiment)
    trials = try_config(command.config, lambda: list(get_sweep(command.experiment)))
    for name in overrides:
        lost = [trial for trial in trials if config.get(trial, name) != config.get(command.experiment, name)]
        if lost:
            raise InputError(
                f"--{name} has no effect: {command.config} sweeps over {name}; change the axis in its get_sweep()."
            )
    return sweep.resolve(trials)


def run(trials: list[Experiment], folder: Path, arguments: list[str]) -> None:
    """Everything that is not finished yet. Checks all input before it writes or trains anything."""
    started = time.perf_counter()
    groups = _unfinished(trials, folder)
    with ProgressBar(groups) as progress:
        executor = LocalExecutor(progress)
        check_before_running(executor, groups)
        if groups:
            with store.claim(folder):
                groups = _unfinished(trials, folder)
                attempt = store.open_run(folder, trials, describe_environment(arguments))
                for group in groups:
                    with contextlib.closing(store.GroupWriter(folder, attempt, group.name)) as writer:
                        for rows in executor.run(group):
                            writer.write(rows)
    run_now = sum(len(group.trials) for group in groups)
    print(
        f"{run_now} trials run, {len(trials) - run_now} already finished, "
        f"{executor.programs} programs compiled, {time.perf_counter() - started:.0f} s. Results in {folder}",
        file=sys.stderr,
    )


def _unfinished(trials: list[Experiment], folder: Path) -> list[sweep.Group]:
    done = store.finished(folder)
    return sweep.plan(trial for trial in trials if config.name(trial) not in done)


if __name__ == "__main__":
    entry_point(main)()
