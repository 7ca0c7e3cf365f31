"""Train and test every experiment of a sweep, skip those that are finished, and report the run.

A sweep is the axes of a config file, of the flags --grid, or both: an axis of --grid takes the place of the config's axis
over its field, or is one more. Values are Python literals, names or range(n), separated by commas. Any other flag changes
the base. A run folder in the place of the config file is repeated as it is. Exit code 0: all is finished; 1: it is, and
every experiment diverged; 2: bad input, told in a sentence; 130: stopped, and the same command goes on.

Examples:
    python -m experiments.sweep configs/quickstart.py --quiet --json > outcome.json
        The four cells on 8 x 8 digits, without a download. For programs: every arm with its interval, and nothing else.
    python -m experiments.sweep configs/mnist_ladder.py --training.updates 800 --output runs/longer --dry-run
        What the ladder would train with one field changed, in a run folder of its own, and with which memory.
    python -m experiments.sweep configs/mnist_ladder.py --grid model.delta=0,1,2,3,None --grid 'seed=range(10)'
        The ladder at five deltas, and with ten seeds instead of its three.
    python -m experiments.sweep --data.source mnist --grid model.delta=1,2 --grid 'model.channels=(8,16),(16,32)'
        A sweep without a config file. A tuple in parentheses is one value.
    python -m experiments.sweep configs/quickstart.py --grid 'model.constraint,model.delta=(conv,1),(conv,2),(dense,None)'
        Two fields that change together.
"""

import contextlib
import itertools
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import tyro

from cnn_constraints.config_file import Sweep, load_config, sweep_of, try_config
from cnn_constraints.errors import InputError
from cnn_constraints.experiment import PLACES, Axis, Experiment, axis, flat, get, replace, require_sections
from cnn_constraints.files import local_path
from cnn_constraints.grid import parse_axis
from cnn_constraints.settings import import_jax, prepare_jax
from experiments.entry import entry_point, nothing_but_errors, parse_flags

if TYPE_CHECKING:
    from cnn_constraints.resolve import Resolved


@dataclass(frozen=True)
class Command:
    """What a sweep is asked for."""

    experiment: Annotated[Experiment, tyro.conf.arg(name="")]
    config: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="CONFIG|RUN")] = None
    """The config file: get_config() returns an Experiment, get_sweep(base) the axes of the sweep. Or a run folder."""
    grid: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """An axis of the sweep, field=value,value or field,field=(value,value),(value,value); may be given several times."""
    output: Path | None = None
    """The run folder; by default runs/<name of the config file>, runs/sweep without one, or the run that is repeated."""
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
    keep: tuple[Literal["weights"], ...] = ()
    """weights: keep the chosen network of each experiment too, in <run>/weights, and train again what has none there."""
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
    get_sweep: Callable[[Experiment], Iterable[Axis | Experiment]]
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
        folder = command.output or default_folder(command.config)
        if command.dry_run:
            show_plan(experiments, folder, command.json, "weights" in command.keep)
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
            keep_weights="weights" in command.keep,
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
    path = local_path(arguments[0]) if arguments and not arguments[0].startswith("-") else None
    if path and not path.is_dir():
        module = load_config(path)
        base, get_sweep = try_config(path, module.get_config), getattr(module, "get_sweep", get_sweep)
        try_config(path, lambda: require_sections(base))
    command = parse_flags(Command, arguments, __doc__, default=Command(base), prog="python -m experiments.sweep")
    if command.config != path:
        raise InputError(f"The config file or run folder comes first: python -m experiments.sweep {command.config} ...")
    given = {argument.partition("=")[0].replace("-", "_") for argument in arguments}
    return Request(command, get_sweep, [name for name in flat(base) if f"__{name}" in given])


def build_sweep(request: Request) -> "list[Resolved]":
    """The resolved experiments; says on standard error how many they are, and of what. Raises InputError for what cannot
    be.
    """
    from cnn_constraints import store
    from cnn_constraints.resolve import check, check_values, resolve

    command, get_sweep, overrides = request
    base, path, axes = command.experiment, command.config, [parse_axis(text) for text in command.grid]
    if path is None and not axes:
        raise InputError(
            "There is nothing to sweep over: name a config file or a run folder, or give an axis by --grid."
        )
    for change in itertools.chain.from_iterable(axes):
        check_values(change)
    check(base)
    if path and path.is_dir():
        moved = {name: get(base, name) for name in overrides if name in PLACES}
        if axes or len(moved) < len(overrides):
            raise InputError(
                f"{path} is a run, which is repeated as it is: leave out --grid and flags that change fields."
            )
        again = [replace(one, moved) for one in store.read_experiments(path)]
        sweep = Sweep(again, {str(path): len(again)})
    else:
        axes += [axis(name, [get(base, name)]) for name in overrides]
        sweep = sweep_of(path, get_sweep, base, axes)
    resolved = try_config(path, lambda: resolve(sweep.experiments))
    varied = " x ".join(f"{name} ({count:,})" for name, count in sweep.counts.items() if count > 1)
    repeated = len(sweep.experiments) - len(resolved)
    less = f", less {repeated:,} that repeat others" if repeated else ""
    print(f"{len(resolved):,} experiments: {varied}{less}" if varied else "1 experiment", file=sys.stderr)
    return resolved


def default_folder(config: Path | None) -> Path:
    """A run that is repeated goes on where it is."""
    return config if config and config.is_dir() else Path("runs") / (config.stem if config else "sweep")


def show_plan(experiments: "list[Resolved]", folder: Path, as_json: bool, keep_weights: bool) -> None:
    """Print what would be trained. Refuses all that the sweep itself would refuse before it trains."""
    from cnn_constraints import store
    from cnn_constraints.data.datasets import Datasets
    from cnn_constraints.plan import plan
    from cnn_constraints.report import plan as plans

    prepare_jax()
    groups, finished = plan(experiments, Datasets()), store.finished(folder, keep_weights)
    if as_json:
        print(json.dumps(plans.as_json(groups, finished, folder, keep_weights), allow_nan=False))
    else:
        plans.print_plan(groups, finished, folder, keep_weights)


if __name__ == "__main__":
    entry_point(main)()
