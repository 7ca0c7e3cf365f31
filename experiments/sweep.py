"""Train and test every experiment of a config file's sweep, skip those that are finished, and report the run.

Flags such as --data.folder or --training.updates change the base config before the sweep is built from it. Exit code 0:
all is finished; 1: it is, and every experiment diverged; 2: bad input, told in a sentence; 130: stopped, and the same
command goes on.

Examples:
    python -m experiments.sweep configs/quickstart.py
        The four cells on 8 x 8 digits, without a download, in a minute: a table of accuracies, a table of who beats whom,
        and a figure in runs/quickstart/figures.
    python -m experiments.sweep configs/mnist_ladder.py --dry-run
        What it would train, and with which memory.
    python -m experiments.sweep configs/mnist_ladder.py --training.updates 800 --output runs/longer
        The ladder with one field changed, in a run folder of its own.
    python -m experiments.sweep configs/quickstart.py --quiet --json > outcome.json
        For programs: every arm with its interval, and nothing else.
"""

import contextlib
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import tyro

from cnn_constraints.config_file import load_config, sweep_of, try_config
from cnn_constraints.errors import InputError
from cnn_constraints.experiment import Experiment, flat, require_sections
from cnn_constraints.settings import import_jax, prepare_jax
from experiments.entry import entry_point, nothing_but_errors, parse_flags

if TYPE_CHECKING:
    from cnn_constraints.resolve import Resolved


@dataclass(frozen=True)
class Command:
    """What a sweep is asked for."""

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
    checkpoint_every: float = 60.0
    """Seconds of training between two checkpoints of a group; 0 for one after every look at the validation data."""
    executor: Literal["local", "ray"] = "local"
    """local: the devices of this machine; ray: the machines of a Ray cluster (pip install -e '.[ray]')."""
    address: str | None = None
    """The Ray cluster to join, host:port, or auto for the one that this machine is part of; else one is started here."""
    worker_cpus: int | None = None
    """What a task of Ray takes: by default two CPUs, or one beside a GPU."""
    worker_gpus: int | None = None
    """By default one where the Ray cluster has any."""


class Request(NamedTuple):
    """What was asked for: the command, get_sweep() of its config file, and the config fields that its flags set."""

    command: Command
    get_sweep: Callable[[Experiment], Iterable[Experiment]]
    overrides: list[str]


def main(arguments: list[str]) -> None:
    """Run a sweep and report it, or print its plan. Raises InputError for a bad config; exits as the module says."""
    request = parse(arguments)
    command = request.command
    of_ray = (command.address, command.worker_cpus, command.worker_gpus)
    if command.executor == "local" and any(given is not None for given in of_ray):
        raise InputError("--address, --worker-cpus and --worker-gpus have no effect without --executor ray.")
    with nothing_but_errors() if command.quiet else contextlib.nullcontext():
        # Which devices it takes is left to what follows: the driver of a Ray cluster takes no accelerator.
        import_jax()
        experiments = build_sweep(request)
        folder = command.output or Path("runs") / command.config.stem
        if command.dry_run:
            show_plan(experiments, folder, command.json)
            return
        from cnn_constraints.executors.ray import RaySettings
        from cnn_constraints.report import outcome
        from cnn_constraints.report.terminal import report_run
        from cnn_constraints.sweep import run

        observer = None
        if command.tensorboard:
            from cnn_constraints.report.tensorboard import EventFiles

            observer = EventFiles(folder, experiments)
        ran = run(
            experiments,
            folder,
            checkpoint_every=command.checkpoint_every,
            ray=RaySettings(*of_ray) if command.executor == "ray" else None,
            observer=observer,
            arguments=arguments,
        )
        with contextlib.redirect_stdout(None) if command.quiet or command.json else contextlib.nullcontext():
            report_run(folder, [experiment.name for experiment in experiments])
        if command.json:
            print(json.dumps(outcome.as_json(folder, ran), allow_nan=False))
        if all(ran.results["test_accuracy"].isna().tolist()):
            print("every experiment diverged at every learning rate: try lower ones.", file=sys.stderr)
            sys.exit(1)


def parse(arguments: list[str]) -> Request:
    """Run the config file and read the flags, whose defaults are its values. Raises InputError for a bad config."""
    base, get_sweep = Experiment(), lambda base: [base]
    if arguments and not arguments[0].startswith("-"):
        module = load_config(Path(arguments[0]))
        base, get_sweep = try_config(Path(arguments[0]), module.get_config), getattr(module, "get_sweep", get_sweep)
        try_config(Path(arguments[0]), lambda: require_sections(base))
    default = Command(config=tyro.MISSING, experiment=base)
    command = parse_flags(Command, arguments, __doc__, default=default, prog="python -m experiments.sweep")
    given = {argument.partition("=")[0].replace("-", "_") for argument in arguments}
    return Request(command, get_sweep, [name for name in flat(base) if f"__{name}" in given])


def build_sweep(request: Request) -> "list[Resolved]":
    """The resolved experiments. Raises InputError for an override of a field that the sweep varies: it would do nothing."""
    from cnn_constraints.resolve import check, resolve

    base, path = request.command.experiment, request.command.config
    check(base)
    experiments = sweep_of(path, request.get_sweep, base)
    given = flat(base)
    for name in request.overrides:
        if any(flat(experiment)[name] != given[name] for experiment in experiments):
            raise InputError(f"--{name} has no effect: {path} sweeps over {name}; change the axis in its get_sweep().")
    return try_config(path, lambda: resolve(experiments))


def show_plan(experiments: "list[Resolved]", folder: Path, as_json: bool) -> None:
    """Print what would be trained. Refuses all that the sweep itself would refuse before it trains."""
    from cnn_constraints import store
    from cnn_constraints.data.datasets import Datasets
    from cnn_constraints.plan import plan
    from cnn_constraints.report import plan as plans

    prepare_jax()
    groups, finished = plan(experiments, Datasets()), store.finished(folder)
    if as_json:
        print(json.dumps(plans.as_json(groups, finished, folder), allow_nan=False))
    else:
        plans.print_plan(groups, finished, folder)


if __name__ == "__main__":
    entry_point(main)()
