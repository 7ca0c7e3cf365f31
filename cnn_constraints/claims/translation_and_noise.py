"""Ott et al.: sharing helps on images, the more so where they move, and hurts where their edges are noise."""

from cnn_constraints.claims.claim import Claim, Criterion, Laboratory, Measurement, Picture, curves_of
from cnn_constraints.claims.networks import CELLS, deep, train_arms
from cnn_constraints.experiment import replace
from cnn_constraints.statistics import mean_interval
from cnn_constraints.summaries import CELL

SETTINGS = {
    "clean": {},
    "moved in training": {"data.augmentation": ("translate",)},
    "moved in training and test": {"data.augmentation": ("translate",), "data.intervention": "translate_test"},
    "noisy edges in training": {"data.augmentation": ("edge_noise",), "data.augmentation_strengths": (0.99,)},
    "noisy in training": {"data.augmentation": ("noise",), "data.augmentation_strengths": (0.7,)},
}
SAMPLES = {"cpu": 20_000, "gpu": 48_000}
MEASURED = {"cpu": ("local", "conv"), "gpu": CELLS}


def measure(laboratory: Laboratory) -> Measurement:
    """What sharing brings in each setting, in points of test accuracy, and how that changes, paired by seed."""
    usual = deep(laboratory, "cifar10", SAMPLES[laboratory.tier])
    usual = replace(usual, {"training.evaluate_every": usual.training.updates})
    cells = MEASURED[laboratory.tier]
    arms = {
        (cell, name): replace(usual, {CELL: cell, **changes}) for cell in cells for name, changes in SETTINGS.items()
    }
    accuracy = {arm: 100 * rows["test_accuracy"].to_numpy(float) for arm, rows in train_arms(laboratory, arms).items()}
    gain = {name: accuracy["conv", name] - accuracy["local", name] for name in SETTINGS}
    values = {OF_SHARING[name]: mean_interval(gain[name]) for name in SETTINGS}
    values |= {CHANGE[name]: mean_interval(gain[name] - gain["clean"]) for name in CHANGE}
    points = [("", cell, name.replace(" in ", "\nin "), 100 - of_seeds) for (cell, name), of_seeds in accuracy.items()]
    return Measurement(values, curves_of(points, laboratory.seeds))


COMPARED = {name: f"accuracy of conv minus local, images {name}" for name in SETTINGS}
OF_SHARING = {name: f"{compared}, points" for name, compared in COMPARED.items()}
CHANGE = {
    name: f"{COMPARED[name]}, less the same on clean ones, points"
    for name in ("moved in training", "noisy edges in training")
}

CLAIM = Claim(
    statement="On photographs a convolution beats a local layer, and by more where they move; where their edges, or all of "
    "their pixels, are noise in training, sharing hurts: the local layer is better.",
    source="Ott, Linstead, LaHaye & Baldi 2020, Learning in the machine: to share or not to share?, CIFAR-10; dense and "
    "shared cells are ours",
    protocol="CIFAR-10 (CPU: halved, 20,000 training images, 4,000 updates of 64, conv and local; GPU: 48,000, 40,000, all "
    "cells), three layers of delta 2, readout flatten, learning rate 0.002 with a cosine, judged at the end; each batch of "
    "training images anew, as in the authors' code, moved by up to 20% with the nearest pixel at the edges, or with normal "
    "noise of deviation 0.99 in the outer 5 of 32 pixels or 0.7 in all (an intensity is 0 to 1); test images clean, but "
    "for those that are moved by up to 20% with zeros at the edges; a test split of its own instead of folds.",
    criteria=(
        Criterion(OF_SHARING["clean"], low=0, published="+2.4"),
        Criterion(OF_SHARING["moved in training"], low=0, published="+4.2"),
        Criterion(OF_SHARING["moved in training and test"], low=0, published="+5.2 (moved by 25%)"),
        Criterion(CHANGE["moved in training"], low=0, published="+1.8"),
        Criterion(OF_SHARING["noisy edges in training"], high=0, published="-3.6"),
        Criterion(CHANGE["noisy edges in training"], high=0, published="-6.0"),
        Criterion(OF_SHARING["noisy in training"], high=0, published="-6.0"),
    ),
    frozen="2026-11-27",
    seeds={"cpu": 8, "gpu": 5},
    measure=measure,
    picture=Picture("", "test error, %"),
    data_sets=("cifar10",),
)
