"""The same sweep three ways: trained and forgotten, kept in a run folder, and handed out by Ray.

What is compared is what each adds to the training; compiled programs are kept on disk from the first, untimed turn on.
"""

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.table import Row, row
from benchmarks.timing import Ceilings, side_by_side
from cnn_constraints.config_file import load_config
from cnn_constraints.data.datasets import Datasets
from cnn_constraints.executors.local import LocalExecutor
from cnn_constraints.executors.progress import ProgressBar
from cnn_constraints.executors.ray import RaySettings
from cnn_constraints.experiment import Experiment, axis, product, replace
from cnn_constraints.plan import plan
from cnn_constraints.resolve import Resolved, resolve
from cnn_constraints.sweep import run

CONFIG = Path("configs/quickstart.py")

DELTAS = (1, 2, 3)


def measure(rounds: int, ceilings: Ceilings) -> Iterator[Row]:
    """Rows of the suite `executors`: seconds of a sweep, without its report. Raises InputError where Ray is missing."""
    quickstart = load_config(CONFIG)
    experiments = resolve(quickstart.get_sweep(quickstart.get_config()))
    groups = eight_groups(quickstart.get_config())
    kept = {
        "no run folder": lambda: forget(experiments),
        "run folder": lambda: keep(experiments),
        "checkpoint every second": lambda: keep(experiments, checkpoint_every=1.0),
    }
    handed_out = {
        "local": lambda: keep(groups),
        "Ray, two CPUs a worker": lambda: keep(groups, ray=RaySettings()),
        "Ray, one CPU a worker": lambda: keep(groups, ray=RaySettings(cpus=1)),
    }
    yield from _case("quickstart, 4 groups", kept, rounds, ceilings)
    yield from _case("8 groups", handed_out, rounds, ceilings)


def eight_groups(base: Experiment) -> list[Resolved]:
    """Experiments of eight programs: conv and local with three deltas, and their two limits."""
    within = product(base, axis("model.constraint", ["local", "conv"]), axis("model.delta", DELTAS))
    everywhere = product(base, axis("model.constraint", ["dense", "shared"]))
    seeds = [replace(experiment, {"seed": seed}) for experiment in (*within, *everywhere) for seed in range(4)]
    return resolve(seeds)


def forget(experiments: list[Resolved]) -> None:
    """Train and test, and keep nothing."""
    load = Datasets()
    groups = plan(experiments, load)
    with ProgressBar(groups) as progress:
        for _ in LocalExecutor(progress, load).run(groups):
            pass


def keep(experiments: list[Resolved], **options: Any) -> None:
    """What `python -m experiments.sweep` does, but for its report."""
    with tempfile.TemporaryDirectory() as folder:
        run(experiments, Path(folder) / "run", **options)


def _case(name: str, contenders: Mapping[str, Callable[[], object]], rounds: int, ceilings: Ceilings) -> Iterator[Row]:
    for contender, timing in side_by_side(contenders, rounds, math.inf).items():
        yield row("executors", name, contender, timing, 1, None, ceilings)
