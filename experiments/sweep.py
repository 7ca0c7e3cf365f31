"""Run the experiments of a config file and report them: `python -m experiments.sweep configs/quickstart.py`."""

import contextlib
import itertools
import json
import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import tyro

from cnn_constraints import store
from cnn_constraints.data.datasets import Datasets
from cnn_constraints.errors import InputError
from cnn_constraints.executors.local import CHECKPOINT_EVERY
from cnn_constraints.executors.ray import RaySettings
from cnn_constraints.experiment import Experiment, flat
from cnn_constraints.plan import plan
from cnn_constraints.report import outcome
from cnn_constraints.report import plan as plans
from cnn_constraints.report.tensorboard import EventFiles, require_library
from cnn_constraints.report.terminal import report_run
from cnn_constraints.resolve import Resolved, check, resolve
from cnn_constraints.settings import prepare_jax
from cnn_constraints.sweep import run
from experiments.entry import check_flags, entry_point, load_config, nothing_but_errors, parse_flags, try_config


@dataclass(frozen=True)
class Command:
    """Train and test every experiment of a config file's sweep, skip those that are finished, and report the run.

    Flags such as --data.folder or --training.updates change the base config before the sweep is built from it. Exit code 0:
    all is finished; 1: it is, and every experiment diverged; 2: bad input, in one sentence; 130: stopped, and the same
    command goes on.
    """

    config: tyro.conf.Positional[Path]
    """The config file: get_config() returns an Experiment, get_sweep(base) all of them."""
    experiment: Annotated[Experiment, tyro.conf.arg(name="")]
    output: Path | None = None
    """The run folder; by default runs/<name of the config file>."""
    dry_run: bool = False
    """Print what would be trained, in how many programs and with which memory, and train and keep nothing."""
    quiet: bool = False
    """Print nothing but errors, and what --json or --dry-run asks for."""
    json: bool = False
    """Print the outcome, or the plan, as one JSON object and not as tables. Progress is told on standard error."""
    tensorboard: bool = False
    """Write event files for TensorBoard into <run>/tensorboard as experiments are finished (pip install -e
    '.[tensorboard]').
    """
    checkpoint_every: Annotated[float, tyro.conf.arg(metavar="SECONDS")] = CHECKPOINT_EVERY
    """Seconds of training between two checkpoints of a group; 0 for one after every look at the validation data."""
    executor: Literal["local", "ray"] = "local"
    """local: the devices of this machine; ray: the machines of a Ray cluster (pip install -e '.[ray]')."""
    address: Annotated[str | None, tyro.conf.arg(metavar="HOST:PORT")] = None
    """The Ray cluster to join, auto for the one that this machine is part of; without, one is started on this machine."""
    worker_cpus: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """What a worker of Ray takes: by default two CPUs, or one beside a GPU."""
    worker_gpus: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """By default one where the Ray cluster has any."""

    def refuse_contradictions(self) -> None:
        """Raises InputError for flags that do not go together, and for an extra that is not installed."""
        if not 0 <= self.checkpoint_every < math.inf:
            raise InputError(f"--checkpoint-every is {self.checkpoint_every}: it must be a number from 0 on.")
        of_ray = {"address": self.address, "worker-cpus": self.worker_cpus, "worker-gpus": self.worker_gpus}
        for name, value in of_ray.items():
            if value is not None and self.executor != "ray":
                raise InputError(f"--{name} has no effect without --executor ray.")
        for name, value, least in (("worker-cpus", self.worker_cpus, 1), ("worker-gpus", self.worker_gpus, 0)):
            if value is not None and value < least:
                raise InputError(f"--{name} is {value}: it must be at least {least}.")
        if self.executor == "ray" and self.checkpoint_every != CHECKPOINT_EVERY:
            raise InputError("--checkpoint-every has no effect with --executor ray, whose tasks are repeated whole.")
        for flag, given in (("--tensorboard", self.tensorboard), ("--executor ray", self.executor == "ray")):
            if self.dry_run and given:
                raise InputError(f"{flag} has no effect with --dry-run, which plans for this machine: leave it out.")
        if self.tensorboard:
            require_library()


EXAMPLES = {
    "python -m experiments.sweep configs/quickstart.py": "The four cells on 8 x 8 digits, without a download, in a minute: "
    "a table of accuracies, a table of who beats whom, and a figure in runs/quickstart/figures.",
    "python -m experiments.sweep configs/mnist_ladder.py --dry-run": "What it would train, and with which memory.",
    "python -m experiments.sweep configs/mnist_ladder.py --training.updates 800 --output runs/longer": "The ladder with "
    "one field changed, in a run folder of its own.",
    "python -m experiments.sweep configs/quickstart.py --quiet --json > outcome.json": "For programs: every arm with "
    "its interval, and nothing else.",
    "python -m experiments.sweep configs/mnist_ladder.py --tensorboard": "And beside it: tensorboard --logdir "
    "runs/mnist_ladder/tensorboard",
}

MOST_EXPERIMENTS = 100_000
"""More take longer to be planned than anyone would wait, and a mistake in an axis may make endlessly many."""

OWN = tuple(name for name in Command.__dataclass_fields__ if name not in ("config", "experiment"))
"""Flags that are no config fields."""


def main(arguments: list[str]) -> None:
    """Run a sweep and report it, or print its plan. Raises InputError for a bad config or flag; exits as Command says."""
    request = parse(arguments)
    command = request.command
    with nothing_but_errors() if command.quiet else contextlib.nullcontext():
        experiments = build_sweep(request)
        command.refuse_contradictions()
        folder = command.output or Path("runs") / request.path.stem
        if command.dry_run:
            show_plan(experiments, folder, command.json)
            return
        ray = RaySettings(command.address, command.worker_cpus, command.worker_gpus)
        ran = run(
            experiments,
            folder,
            checkpoint_every=command.checkpoint_every,
            ray=ray if command.executor == "ray" else None,
            observer=EventFiles(folder, experiments) if command.tensorboard else None,
            arguments=arguments,
        )
        with contextlib.redirect_stdout(None) if command.quiet or command.json else contextlib.nullcontext():
            report_run(folder, [experiment.name for experiment in experiments])
        if command.json:
            print(json.dumps(outcome.as_json(folder, ran), allow_nan=False))
        if all(ran.results["test_accuracy"].isna().tolist()):
            print("every experiment diverged at every learning rate: try lower ones.", file=sys.stderr)
            sys.exit(1)


def show_plan(experiments: list[Resolved], folder: Path, as_json: bool) -> None:
    """Print what would be trained. Refuses all that the sweep itself would refuse before it trains."""
    prepare_jax()
    groups, finished = plan(experiments, Datasets()), store.finished(folder)
    if as_json:
        print(json.dumps(plans.as_json(groups, finished, folder), allow_nan=False))
    else:
        plans.print_plan(groups, finished, folder)


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
        try_config(path, lambda: check(base))
    elif not {"-h", "--help"} & set(arguments):
        raise InputError("Name a config file first, as in: python -m experiments.sweep configs/quickstart.py")
    fields = {"--" + name.replace("_", "-"): name for name in flat(base)}
    check_flags(arguments, [*fields, *("--" + name.replace("_", "-") for name in OWN)])
    given = [argument.split("=")[0].replace("_", "-") for argument in arguments]
    default = Command(config=tyro.MISSING, experiment=base)
    command = parse_flags(Command, arguments, EXAMPLES, default=default, prog="python -m experiments.sweep")
    return Request(path, get_sweep, command, [fields[flag] for flag in given if flag in fields])


def build_sweep(request: Request) -> list[Resolved]:
    """The resolved experiments. Raises InputError for an override of a field that the sweep varies: it would do nothing."""
    base = request.command.experiment
    check(base)

    def build() -> tuple[list[Experiment], list[Resolved]]:
        experiments = _listed(request.get_sweep(base))
        return experiments, resolve(experiments)

    experiments, resolved = try_config(request.path, build)
    given = flat(base)
    for name in request.overrides:
        if any(flat(experiment)[name] != given[name] for experiment in experiments):
            raise InputError(
                f"--{name} has no effect: {request.path} sweeps over {name}; change the axis in its get_sweep()."
            )
    return resolved


def _listed(experiments: object) -> list[Experiment]:
    if not isinstance(experiments, Iterable):
        raise InputError(f"get_sweep() must return Experiments, not {type(experiments).__name__}.")
    listed = list(itertools.islice(experiments, MOST_EXPERIMENTS + 1))
    if len(listed) > MOST_EXPERIMENTS:
        raise InputError(f"get_sweep() returns more than {MOST_EXPERIMENTS:,} Experiments: split the sweep.")
    return listed


if __name__ == "__main__":
    entry_point(main)()
