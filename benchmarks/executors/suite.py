"""The same sweep three ways: trained and forgotten, kept in a run folder, and handed out by Ray.

What is compared is what each adds to the training; compiled programs are kept on disk from the first, untimed turn on.
"""

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from benchmarks.rows import Row, row
from benchmarks.timing import Ceilings, side_by_side
from cnn_constraints import config, sweep
from cnn_constraints.config import Experiment
from cnn_constraints.executors.checks import check_before_running
from cnn_constraints.executors.local import LocalExecutor
from cnn_constraints.executors.progress import ProgressBar
from experiments import sweep as command
from experiments.entry import load_config
from experiments.machines import THIS_MACHINE, Machines

CONFIG = Path("configs/quickstart.py")

DELTAS = (1, 2, 3)


def measure(rounds: int, ceilings: Ceilings) -> Iterator[Row]:
    """Rows of the suite `executors`: seconds of a sweep, without its report. Raises InputError where Ray is missing."""
    quickstart = load_config(CONFIG)
    trials = sweep.resolve(quickstart.get_sweep(quickstart.get_config()))
    groups = eight_groups(quickstart.get_config())
    kept = {
        "no run folder": lambda: forget(trials),
        "run folder": lambda: keep(trials),
        "checkpoint every second": lambda: keep(trials, Machines(checkpoint_every=1.0)),
    }
    handed_out = {
        "local": lambda: keep(groups),
        "Ray, two CPUs a worker": lambda: keep(groups, Machines(executor="ray")),
        "Ray, one CPU a worker": lambda: keep(groups, Machines(executor="ray", worker_cpus=1)),
    }
    yield from _case("quickstart, 4 groups", kept, rounds, ceilings)
    yield from _case("8 groups", handed_out, rounds, ceilings)


def eight_groups(base: Experiment) -> list[Experiment]:
    """Trials of eight programs: conv and local with three deltas, and their two limits."""
    within = sweep.product(base, sweep.axis("model.constraint", ["local", "conv"]), sweep.axis("model.delta", DELTAS))
    everywhere = sweep.product(base, sweep.axis("model.constraint", ["dense", "shared"]))
    seeds = [config.replace(trial, {"seed": seed}) for trial in (*within, *everywhere) for seed in range(4)]
    return sweep.resolve(seeds)


def forget(trials: list[Experiment]) -> None:
    """Train and test, and keep nothing."""
    groups = sweep.plan(trials)
    with ProgressBar(groups) as progress:
        executor = LocalExecutor(progress)
        check_before_running(executor.dataset, groups)
        for _ in executor.run(groups):
            pass


def keep(trials: list[Experiment], machines: Machines = THIS_MACHINE) -> None:
    """What `python -m experiments.sweep` does, but for its report."""
    with tempfile.TemporaryDirectory() as folder:
        command.run(trials, Path(folder) / "run", [], machines)


def _case(name: str, contenders: Mapping[str, Callable[[], object]], rounds: int, ceilings: Ceilings) -> Iterator[Row]:
    for contender, timing in side_by_side(contenders, rounds, math.inf).items():
        yield row("executors", name, contender, timing, 1, None, ceilings)
