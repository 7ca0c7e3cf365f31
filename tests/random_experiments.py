"""Experiments that are in order, and folders of images, for the tests of names and plans."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cnn_constraints.data.augmentation import AUGMENTATIONS
from cnn_constraints.data.interventions import INTERVENTIONS
from cnn_constraints.data.tasks import TASKS
from cnn_constraints.experiment import Data, Experiment, Model, Training, replace
from cnn_constraints.lattice import constraints
from cnn_constraints.resolve import registries
from cnn_constraints.training.soft_constraints import BETA_LASSO

IMAGES, ARRAYS_FILE = "here", "here.npz"
"""A folder and a file of images in the working directory, for `random_experiment` to draw the sources of such."""


def random_experiment(generator: np.random.Generator) -> Experiment:
    """Any experiment that is in order, its images being those of IMAGES where they are in a folder."""
    allowed = registries()

    def whole(lowest: int, highest: int) -> int:
        return int(generator.integers(lowest, highest + 1))

    def names(section: str, *leaves: str) -> dict[str, Any]:
        return {leaf: str(generator.choice(sorted(allowed[f"{section}.{leaf}"]))) for leaf in leaves}

    def side(highest: int) -> tuple[int, ...]:
        return tuple(generator.integers(1, highest + 1, layers).tolist())

    def constraint() -> Any:
        """One for all layers, or one for each."""
        each = generator.choice(sorted(allowed["model.constraint"]), layers).tolist()
        return tuple(each) if generator.random() < 0.3 else each[0]

    def delta() -> Any:
        one = lambda: None if generator.random() < 0.3 and padding == "same" else whole(0, 40)
        return tuple(one() for _ in range(layers)) if generator.random() < 0.3 else one()

    def numbers() -> tuple[float, ...]:
        return tuple((10 ** generator.uniform(-9, 9, whole(1, 3))).tolist())

    layers, evaluate_every = whole(1, 3), whole(1, 50)
    data = names("data", "source", "intervention")
    updates, source = evaluate_every * whole(1, 9), data["source"]
    bordered = names("model", "boundary", "padding")
    padding = bordered["padding"] = bordered["padding"] if bordered["boundary"] == "zero" else "same"
    augmentation: dict[str, Any] = {}
    if INTERVENTIONS[data["intervention"]].commutes:
        chosen = tuple(generator.permutation(sorted(AUGMENTATIONS))[: whole(0, 2)].tolist())
        given = tuple(generator.random(len(chosen)).tolist())
        augmentation = {"augmentation": chosen, "augmentation_strengths": ((), given)[whole(0, 1)]}
    rates, decays = numbers(), (*numbers(), 0.0)[whole(0, 1) :]
    has_strength = INTERVENTIONS[data["intervention"]].strength is not None
    soft = [
        {},
        {**names("training", "switch_from"), "switch_at": whole(0, updates)},
        {"penalty": names("training", "switch_from")["switch_from"], "penalty_strengths": (*numbers(), 0.0)},
        {"penalty": BETA_LASSO, "penalty_strengths": numbers(), "penalty_threshold": [None, 0.5][whole(0, 1)]},
        {"violations": tuple(generator.permutation(sorted(constraints.CONSTRAINTS))[: whole(1, 3)].tolist())},
    ][whole(0, 4)]
    return Experiment(
        Data(
            size=[None, whole(1, 30)][whole(0, 1)] if source in TASKS else None,
            reduce=whole(1, 4),
            frame=[None, whole(1, 40)][whole(0, 1)],
            strength=[None, generator.random()][whole(0, 1)] if has_strength else None,
            folder=IMAGES if source == "folder" else [None, IMAGES, "/some where/\u00e9"][whole(0, 2)],
            file=ARRAYS_FILE if source == "arrays" else None,
            n_train=whole(1, 999),
            n_validation=whole(1, 999),
            **augmentation,
            **data,
        ),
        Model(
            constraint=constraint(),
            delta=delta(),
            tile=[None, whole(1, 9)][whole(0, 1)],
            rank=[None, whole(1, 9)][whole(0, 1)],
            channels=side(64),
            pool_sizes=side(4),
            strides=side(4),
            hidden=[None, whole(1, 9)][whole(0, 1)],
            **names("model", "pooling", "activation", "readout", "bias", "precision", "network", "normalisation"),
            **bordered,
        ),
        Training(
            learning_rates=rates,
            weight_decays=decays,
            batch_size=whole(1, 999),
            updates=updates,
            evaluate_every=evaluate_every,
            extend_grid=whole(0, 2) if max(len(rates), len(decays)) > 1 else 0,
            **names("training", "optimizer", "schedule"),
            **soft,
        ),
        whole(0, 2**32 - 1),
    )


def write_arrays(path: Path, generator: np.random.Generator, per_class: int = 30, side: int = 8) -> None:
    """So many random gray images of each of two classes."""
    labels = generator.permutation(np.repeat([0, 1], per_class))
    np.savez(path, images=generator.integers(0, 256, (2 * per_class, side, side), np.uint8), labels=labels)


def write_images(folder: Path, generator: np.random.Generator, per_class: int = 30, side: int = 8) -> None:
    """So many random gray images of each of two classes in each split."""
    for split, label, number in itertools.product(("train", "test"), ("a", "b"), range(per_class)):
        path = folder / split / label / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (side, side), np.uint8)).save(path)


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
