"""Runs whose numbers are drawn, for tests of what is made of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cnn_constraints import config, store
from cnn_constraints.config import Experiment
from cnn_constraints.sweep import axis, product, resolve

CELLS, SIZES, SEEDS = ("dense", "shared", "local", "conv"), (100, 300, 1000), (0, 1, 2)


def ladder(seeds: Sequence[int] = SEEDS) -> list[Experiment]:
    """Four cells, two readouts, three training-set sizes."""
    base = Experiment()
    readouts = ["flatten", "global_average"]
    sizes = axis("model.constraint", CELLS), axis("model.readout", readouts), axis("data.n_train", SIZES)
    return resolve(product(base, *sizes, axis("seed", seeds)))


def delta_sweep() -> list[Experiment]:
    """conv and local with several deltas, and their two limits."""
    base = Experiment()
    within = product(base, axis("model.constraint", ["local", "conv"]), axis("model.delta", [0, 1, 2]))
    everywhere = product(base, axis("model.constraint", ["dense", "shared"]))
    return resolve(config.replace(trial, {"seed": seed}) for trial in (*within, *everywhere) for seed in SEEDS)


def write(folder: Path, trials: Sequence[Experiment], generator: np.random.Generator, looks: int = 5) -> Path:
    """A run whose errors fall with the training-set size, each with `looks` looks at the validation data."""
    with store.open_run(folder, trials, {"started": "today", "packages": {"jax": "0"}, "devices": ["cpu"]}) as run:
        rows = [row for trial in trials for row in rows_of(trial, generator, looks)]
        run.commit("group", rows)
    return folder


def rows_of(trial: Experiment, generator: np.random.Generator, looks: int) -> list[dict]:
    name, error = config.name(trial), generator.uniform(1, 3) * trial.data.n_train**-0.5
    own = {"trial": name, "lane": 1, "learning_rate": 0.01, "weight_decay": 0.0}
    measured = [
        {**own, "event": "evaluation", "lane": lane, "update": 10 * (look + 1)}
        | {f"{part}_accuracy": generator.uniform(0.5, 1) for part in ("train", "validation")}
        | {f"{part}_loss": generator.uniform(0, 2) for part in ("train", "validation")}
        for look in range(looks)
        for lane in (0, 1)
    ]
    result = {**own, "event": "result", "update": 10, "test_accuracy": 1 - error, "train_accuracy": 1.0}
    result |= {"validation_accuracy": 1 - error, "parameters": 100, "multiply_adds": 1000, "validation_loss": 0.1}
    return [*measured, result, {"event": "time", "trial": name, "seconds": generator.uniform(1, 9)}]
