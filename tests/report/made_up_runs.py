"""Runs whose numbers are drawn, for tests of what is made of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from made_up_results import look_of, result_of

from cnn_constraints import store
from cnn_constraints.experiment import Experiment, axis, product, replace
from cnn_constraints.resolve import Resolved, resolve
from cnn_constraints.training.records import Finished

CELLS, SIZES, SEEDS = ("dense", "shared", "local", "conv"), (100, 300, 1000), (0, 1, 2)


def ladder(seeds: Sequence[int] = SEEDS) -> list[Resolved]:
    """Four cells, two readouts, three training-set sizes."""
    base = Experiment()
    readouts = ["flatten", "global_average"]
    sizes = axis("model.constraint", CELLS), axis("model.readout", readouts), axis("data.n_train", SIZES)
    return resolve(product(base, *sizes, axis("seed", seeds)))


def delta_sweep() -> list[Resolved]:
    """conv and local with several deltas, and their two limits."""
    base = Experiment()
    within = product(base, axis("model.constraint", ["local", "conv"]), axis("model.delta", [0, 1, 2]))
    everywhere = product(base, axis("model.constraint", ["dense", "shared"]))
    return resolve(replace(experiment, {"seed": seed}) for experiment in (*within, *everywhere) for seed in SEEDS)


def write(folder: Path, experiments: Sequence[Resolved], generator: np.random.Generator, looks: int = 5) -> Path:
    """A run whose errors fall with the training-set size, each with `looks` looks at the validation data."""
    with store.open_run(folder, experiments, {"started": "today", "packages": {"jax": "0"}, "devices": ["cpu"]}) as run:
        run.commit("group", [found(experiment, generator, looks) for experiment in experiments])
    return folder


def found(experiment: Resolved, generator: np.random.Generator, looks: int) -> Finished:
    """The second of the first two candidates is the one that is chosen."""
    error = generator.uniform(1, 3) * experiment.data.n_train**-0.5
    evaluations = [
        look_of(experiment, 10 * (look + 1))._replace(
            **{"candidate": candidate, **experiment.candidates[candidate]._asdict()},
            **{f"{part}_accuracy": generator.uniform(0.5, 1) for part in ("train", "validation")},
            **{f"{part}_loss": generator.uniform(0, 2) for part in ("train", "validation")},
        )
        for look in range(looks)
        for candidate in (0, 1)
    ]
    measured = {"update": 10, "validation_accuracy": 1 - error, "parameters": 100, "multiply_adds": 1000}
    chosen = {"candidate": 1, **experiment.candidates[1]._asdict()}
    result = result_of(experiment, 1 - error)._replace(**chosen, **measured)
    return Finished(experiment.name, result, evaluations, generator.uniform(1, 9))
