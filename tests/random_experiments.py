"""Experiments that are in order, and folders of images, for the tests of names and plans."""

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cnn_constraints.data import sources
from cnn_constraints.data.interventions import INTERVENTIONS
from cnn_constraints.data.tasks import TASKS
from cnn_constraints.experiment import Data, Experiment, Model, Training, replace
from cnn_constraints.functional import PRECISIONS
from cnn_constraints.lattice import constraints, low_rank
from cnn_constraints.lattice.geometry import BOUNDARIES
from cnn_constraints.network import ACTIVATIONS, POOLINGS, READOUTS
from cnn_constraints.resolve import BIASES
from cnn_constraints.training.optimizer import OPTIMIZERS, SCHEDULES
from cnn_constraints.training.soft_constraints import BETA_LASSO

REGISTRIES: dict[str, Iterable[str]] = {
    "data.source": sources.names(),
    "data.intervention": INTERVENTIONS,
    "model.constraint": low_rank.names(),
    "model.pooling": POOLINGS,
    "model.activation": ACTIVATIONS,
    "model.readout": READOUTS,
    "model.bias": BIASES,
    "model.boundary": BOUNDARIES,
    "model.precision": PRECISIONS,
    "training.optimizer": OPTIMIZERS,
    "training.schedule": SCHEDULES,
    "training.switch_from": constraints.CONSTRAINTS,
    "training.penalty": [BETA_LASSO, *constraints.CONSTRAINTS],
    "training.violations": constraints.CONSTRAINTS,
}

IMAGES = "here"
"""A folder of images in the working directory, if `random_experiment` is to draw the source `folder`."""


def random_experiment(generator: np.random.Generator) -> Experiment:
    """Any experiment that is in order, its images being those of IMAGES where they are in a folder."""

    def whole(lowest: int, highest: int) -> int:
        return int(generator.integers(lowest, highest + 1))

    def name(field: str) -> str:
        return str(generator.choice(sorted(REGISTRIES[field])))

    def side(highest: int) -> tuple[int, ...]:
        return tuple(generator.integers(1, highest + 1, layers).tolist())

    def numbers() -> tuple[float, ...]:
        return tuple((10 ** generator.uniform(-9, 9, whole(1, 3))).tolist())

    def soft_constraints(updates: int) -> dict[str, Any]:
        beta = [None, generator.random()][whole(0, 1)]
        return [
            {},
            {"switch_from": name("training.switch_from"), "switch_at": whole(0, updates)},
            {"penalty": name("training.switch_from"), "penalty_strengths": (*numbers(), 0.0)},
            {"penalty": BETA_LASSO, "penalty_strengths": numbers(), "penalty_threshold": beta},
            {"violations": tuple(generator.permutation(sorted(constraints.CONSTRAINTS))[: whole(1, 3)].tolist())},
        ][whole(0, 4)]

    layers, n_train, evaluate_every = whole(1, 3), whole(1, 999), whole(1, 50)
    source, intervention = name("data.source"), name("data.intervention")
    updates = evaluate_every * whole(1, 9)
    has_strength = INTERVENTIONS[intervention].strength is not None
    return Experiment(
        data=Data(
            source=source,
            size=[None, whole(1, 30)][whole(0, 1)] if source in TASKS else None,
            reduce=whole(1, 4),
            strength=[None, generator.random()][whole(0, 1)] if has_strength else None,
            folder=IMAGES if source == "folder" else [None, IMAGES, "/some where/\u00e9"][whole(0, 2)],
            intervention=intervention,
            n_train=n_train,
            n_validation=whole(1, 999),
        ),
        model=Model(
            constraint=name("model.constraint"),
            delta=None if generator.random() < 0.3 else whole(0, 40),
            tile=[None, whole(1, 9)][whole(0, 1)],
            rank=[None, whole(1, 9)][whole(0, 1)],
            channels=side(64),
            pool_sizes=side(4),
            strides=side(4),
            pooling=name("model.pooling"),
            activation=name("model.activation"),
            readout=name("model.readout"),
            bias=name("model.bias"),
            boundary=name("model.boundary"),
            precision=name("model.precision"),
        ),
        training=Training(
            optimizer=name("training.optimizer"),
            learning_rates=numbers(),
            weight_decays=(*numbers(), 0.0)[whole(0, 1) :],
            schedule=name("training.schedule"),
            batch_size=whole(1, n_train),
            updates=updates,
            evaluate_every=evaluate_every,
            **soft_constraints(updates),
        ),
        seed=whole(0, 2**32 - 1),
    )


def write_images(
    folder: Path, generator: np.random.Generator, per_class: int = 30, height: int = 8, width: int = 8
) -> None:
    """So many random gray images of each of two classes in each split."""
    for split, label, number in itertools.product(("train", "test"), ("a", "b"), range(per_class)):
        path = folder / split / label / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (height, width), np.uint8)).save(path)


PAIRS: dict[str, tuple[dict[str, Any], Any]] = {
    "seed": ({}, 7),
    "data.source": ({}, "mnist"),
    "data.size": ({"data.source": "quadratic_labels", "data.size": 4}, 5),
    "data.reduce": ({}, 2),
    "data.intervention": ({"data.intervention": "edge_noise", "data.strength": 0.5}, "translate"),
    "data.strength": ({"data.intervention": "translate"}, 0.5),
    "data.n_train": ({}, 200),
    "data.n_validation": ({}, 299),
    "model.constraint": ({}, "local"),
    "model.delta": ({}, 1),
    "model.channels": ({}, (8, 17)),
    "model.pool_sizes": ({}, (1, 2)),
    "model.strides": ({}, (1, 2)),
    "model.pooling": ({}, "max"),
    "model.activation": ({}, "tanh"),
    "model.readout": ({}, "global_average"),
    "model.bias": ({}, "none"),
    "model.boundary": ({}, "circular"),
    "model.precision": ({}, "bfloat16"),
    "model.tile": ({"model.constraint": "tiled"}, 3),
    "model.rank": ({"model.constraint": "low_rank_local"}, 3),
    "training.optimizer": ({}, "sgd"),
    "training.learning_rates": ({}, (0.1, 0.2, 0.3)),
    "training.weight_decays": ({}, (0.5,)),
    "training.schedule": ({}, "cosine"),
    "training.batch_size": ({}, 16),
    "training.updates": ({}, 800),
    "training.evaluate_every": ({}, 80),
    "training.switch_from": (
        {"model.constraint": "dense", "training.switch_from": "conv", "training.switch_at": 3},
        "local",
    ),
    "training.switch_at": (
        {"model.constraint": "dense", "training.switch_from": "conv", "training.switch_at": 3},
        4,
    ),
    "training.penalty": (
        {"model.constraint": "dense", "training.penalty": "conv", "training.penalty_strengths": (0.5,)},
        "local",
    ),
    "training.penalty_strengths": ({"training.penalty": "beta_lasso", "training.penalty_strengths": (0.5,)}, (0.25,)),
    "training.penalty_threshold": ({"training.penalty": "beta_lasso", "training.penalty_strengths": (0.5,)}, 3.0),
    "training.violations": ({"model.constraint": "dense", "training.violations": ("conv",)}, ("conv", "local")),
}
"""Of every field but the place of images: changes of the default experiment, and another value of the field, so that what
is resolved differs in that field alone.
"""


def pair(field: str) -> tuple[Experiment, Experiment]:
    changes, value = PAIRS[field]
    one = replace(Experiment(), changes)
    return one, replace(one, {field: value})
