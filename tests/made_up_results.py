"""Results whose numbers are known, as tables and as run folders, for tests of what is made of them."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas

from cnn_constraints import store
from cnn_constraints.experiment import Experiment, axis, flat, product
from cnn_constraints.resolve import Resolved, resolve
from cnn_constraints.training.records import Evaluation, Finished, Result

CELLS = ("dense", "shared", "local", "conv")
ACCURACY = {"dense": 0.6, "shared": 0.7, "local": 0.8, "conv": 0.9, "tiled": 0.85}
PARAMETERS = {"dense": 1_234_567, "shared": 45_678, "local": 98_765, "conv": 1_234, "tiled": 4_321}

Accuracy = Callable[[Resolved], float | None]


def experiments_of(*axes: list[dict[str, Any]]) -> list[Resolved]:
    return resolve(product(Experiment(), *axes))


LADDER = experiments_of(
    axis("model.constraint", CELLS),
    axis("model.readout", ["flatten", "global_average"]),
    axis("data.n_train", [100, 300, 1000]),
    axis("seed", range(3)),
)
DELTA_SWEEP = experiments_of(
    axis("model.constraint", ["local", "conv"]), axis("model.delta", [0, 1, 2, None]), axis("seed", range(3))
)


def result_of(experiment: Resolved, test_accuracy: float | None) -> Result:
    """Of the first candidate; None for an experiment whose every candidate diverged."""
    found: dict[str, Any] = {
        "candidate": 0,
        "learning_rate": 0.003,
        "weight_decay": 0.0,
        "penalty_strength": 0.0,
        "update": 400,
        "train_loss": 0.1,
        "train_accuracy": 1.0,
        "validation_loss": 0.2,
        "validation_accuracy": 0.9,
        "test_loss": 0.3,
        "test_accuracy": test_accuracy,
    }
    return Result(
        **(dict.fromkeys(found) if test_accuracy is None else found),
        diverged_candidates=len(experiment.candidates) if test_accuracy is None else 0,
        violations={},
        parameters=PARAMETERS.get(experiment.model.constraint, 1),
        multiply_adds=10**6,
        device="cpu",
    )


def look_of(experiment: Resolved, update: int = 40) -> Evaluation:
    """Of the first candidate."""
    measured = {"train_loss": 2.0, "train_accuracy": 0.5, "validation_loss": 0.5, "validation_accuracy": 0.5}
    own = experiment.candidates[0]._asdict()
    return Evaluation(candidate=0, update=update, diverged_update=None, violations={}, **own, **measured)


def by_cell(experiment: Resolved) -> float | None:
    return ACCURACY.get(experiment.model.constraint, 0.5)


def make_results(experiments: Iterable[Resolved], accuracy: Accuracy = by_cell) -> pandas.DataFrame:
    """A table as `store.read` gives it. By default accuracy depends on the cell."""
    rows = []
    for experiment in experiments:
        measured = result_of(experiment, accuracy(experiment))._asdict()
        del measured["violations"]
        rows.append({"experiment": experiment.name} | flat(experiment) | measured)
    table = pandas.DataFrame(rows)
    whole = {"candidate": "Int64", "update": "Int64"}
    accuracies = [f"{split}_{measure}" for split in ("train", "validation", "test") for measure in ("loss", "accuracy")]
    chosen = ["learning_rate", "weight_decay", "penalty_strength"]
    return table.astype(whole | dict.fromkeys([*accuracies, *chosen], "float64"))


def write_run(folder: Path, experiments: list[Resolved], accuracy: Accuracy = by_cell, seconds: float = 1.5) -> None:
    """A run folder as a sweep leaves it."""
    found = [Finished(one.name, result_of(one, accuracy(one)), [look_of(one)], seconds) for one in experiments]
    with store.open_run(folder, experiments, {"command": "synthetic"}) as run:
        run.commit("group", found)


def noisy(seed: int, spread: float = 0.02, of_cell: Mapping[str, float] = ACCURACY) -> Accuracy:
    """A cell's accuracy, plus what a seed does to all cells alike, plus noise; none of them reaches 1."""
    rng = np.random.default_rng(seed)
    of_seed, noise = rng.uniform(-0.05, 0.05, 100), lambda: spread * rng.uniform(-1, 1)
    return lambda experiment: of_cell[experiment.model.constraint] + of_seed[experiment.seed] + noise()
