"""Experiments of every kind, and the images of a user, for the tests of names, plans and commands."""

import contextlib
import itertools
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from cnn_constraints.data import sources, tasks
from cnn_constraints.errors import InputError
from cnn_constraints.experiment import Experiment, replace
from cnn_constraints.resolve import check, registries

FOLDER, FILE = "images", "images.npz"
"""A folder and a file of images in the working directory; see the fixture `world`."""


def write_arrays(path: Path, generator: np.random.Generator) -> None:
    """30 random gray images of each of two classes."""
    np.savez(path, images=generator.random((60, 8, 6)), labels=generator.permutation(np.repeat([0, 1], 30)))


def write_images(
    folder: Path, generator: np.random.Generator, per_class: int = 30, shape: tuple[int, int] = (8, 8)
) -> None:
    """So many random gray images of each of two classes in each split."""
    for split, label, number in itertools.product(("train", "test"), ("a", "b"), range(per_class)):
        path = folder / split / label / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, shape, np.uint8)).save(path)


def some(values: st.SearchStrategy) -> st.SearchStrategy[tuple]:
    return st.lists(values, max_size=3).map(tuple)


SIZE = st.integers(1, 4)
RATE = st.floats(1e-6, 1.0)

NAMES = {field: st.sampled_from(sorted(names)) for field, names in registries().items()}

IN_ORDER: dict[str, st.SearchStrategy] = {
    **NAMES,
    "data.source": st.sampled_from(["digits", "digits", "folder", "arrays", *tasks.TASKS]),
    "data.folder": st.none() | st.just(FOLDER),
    "data.file": st.none() | st.just(FILE),
    "data.digest": st.none() | st.just("0" * 64) | st.builds(lambda: sources.digest(FOLDER)),
    "data.size": st.none() | st.integers(1, 12),
    "data.reduce": st.integers(1, 2),
    "data.frame": st.none() | st.integers(3, 10),
    "data.strength": st.none() | st.floats(0, 1),
    "data.augmentation": some(NAMES["data.augmentation"]),
    "data.augmentation_strengths": some(st.floats(0, 1)),
    "data.n_train": st.integers(1, 30),
    "data.n_validation": st.integers(1, 25),
    "model.constraint": NAMES["model.constraint"] | some(NAMES["model.constraint"]),
    "model.delta": st.none() | st.integers(0, 4) | some(st.none() | st.integers(0, 4)),
    "model.channels": some(SIZE),
    "model.pool_sizes": some(st.integers(1, 2)),
    "model.strides": some(st.integers(1, 2)),
    "model.tile": st.none() | SIZE,
    "model.rank": st.none() | SIZE,
    "model.hidden": st.none() | SIZE,
    "training.learning_rates": some(RATE),
    "training.weight_decays": some(st.just(0.0) | RATE),
    "training.batch_size": st.integers(1, 8),
    "training.updates": st.integers(1, 4),
    "training.evaluate_every": st.integers(1, 2),
    "training.switch_from": st.none() | NAMES["training.switch_from"],
    "training.switch_at": st.none() | st.integers(0, 3),
    "training.penalty": st.none() | NAMES["training.penalty"],
    "training.penalty_strengths": some(RATE),
    "training.penalty_threshold": st.none() | st.floats(0, 100),
    "training.violations": some(NAMES["training.violations"]),
    "training.extend_grid": st.integers(0, 2),
    "seed": st.integers(0, 2**32 - 1),
}
"""What each field may hold, if the others agree."""

DENSE = {"model.constraint": "dense"}
SWITCHED = DENSE | {"training.switch_from": "conv", "training.switch_at": 3}
LASSO = {"training.penalty": "beta_lasso", "training.penalty_strengths": (0.5,)}

PAIRS: dict[str, tuple[dict[str, Any], Any]] = {
    "data.size": ({"data.source": "quadratic_labels", "data.size": 4}, 5),
    "data.intervention": ({"data.intervention": "edge_noise", "data.strength": 0.5}, "translate"),
    "data.strength": ({"data.intervention": "translate"}, 0.5),
    "data.augmentation": ({"data.augmentation": ("flip",), "data.augmentation_strengths": (0.3,)}, ("crop",)),
    "data.augmentation_strengths": ({"data.augmentation": ("flip",)}, (0.3,)),
    "model.tile": ({"model.constraint": "tiled"}, 3),
    "model.rank": ({"model.constraint": "low_rank_local"}, 3),
    "model.network": ({"model.channels": (8, 8)}, "residual"),
    "training.switch_from": (SWITCHED, "local"),
    "training.switch_at": (SWITCHED, 4),
    "training.penalty": (DENSE | {"training.penalty": "conv", "training.penalty_strengths": (0.5,)}, "local"),
    "training.penalty_strengths": (LASSO, (0.25,)),
    "training.penalty_threshold": (LASSO, 3.0),
    "training.violations": (DENSE | {"training.violations": ("conv",)}, ("conv", "local")),
    **{
        field: ({}, value)
        for field, value in {
            "seed": 7,
            "data.source": "mnist",
            "data.reduce": 2,
            "data.frame": 16,
            "data.n_train": 200,
            "data.n_validation": 299,
            "model.constraint": ("conv", "local"),
            "model.delta": (2, 1),
            "model.channels": (8, 17),
            "model.pool_sizes": (1, 2),
            "model.strides": (1, 2),
            "model.pooling": "max",
            "model.activation": "tanh",
            "model.readout": "global_average",
            "model.bias": "none",
            "model.boundary": "circular",
            "model.precision": "bfloat16",
            "model.padding": "valid",
            "model.normalisation": "batch",
            "model.hidden": 5,
            "training.optimizer": "sgd",
            "training.learning_rates": (0.1, 0.2, 0.3),
            "training.weight_decays": (0.5,),
            "training.schedule": "cosine",
            "training.batch_size": 16,
            "training.updates": 800,
            "training.evaluate_every": 80,
            "training.extend_grid": 1,
        }.items()
    },
}
"""Of every field but the place of images: changes of the default experiment, and another value of the field, so that what
is resolved differs in that field alone.
"""


def pair(field: str) -> tuple[Experiment, Experiment]:
    changes, value = PAIRS[field]
    one = replace(Experiment(), changes)
    return one, replace(one, {field: value})


@st.composite
def experiments_in_order(draw: st.DrawFn) -> Experiment:
    """Experiments that differ from the default in any fields, each drawn where what was drawn before allows it."""
    layers = draw(st.integers(1, 3))
    of_layers = {f"model.{leaf}": (layers,) * layers for leaf in ("channels", "pool_sizes", "strides")}
    experiment = replace(Experiment(), {"data.folder": FOLDER, "data.file": FILE, **of_layers})
    for field in draw(st.permutations(sorted(PAIRS))):
        changed = replace(experiment, PAIRS[field][0] | {field: draw(IN_ORDER[field])})
        with contextlib.suppress(InputError):
            check(changed)
            experiment = changed
    return experiment
