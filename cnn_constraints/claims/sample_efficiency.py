"""D2L 7.1.2 and 7.1.3: where both biases agree with reality, fewer samples lead to the same error."""

import itertools

import numpy as np

from cnn_constraints.claims import Tier
from cnn_constraints.claims.claim import Claim, Criterion, Laboratory, Measurement, Picture, curves_of
from cnn_constraints.claims.networks import CELLS, deep, train_arms
from cnn_constraints.data.datasets import build_dataset
from cnn_constraints.experiment import Experiment, replace
from cnn_constraints.matching import Quantity, match_width
from cnn_constraints.plan import cost_of
from cnn_constraints.statistics import geometric_mean_interval, mean_interval, ratio_interval, samples_of_seeds
from cnn_constraints.summaries import CELL

SAMPLES: dict[str, dict[Tier, tuple[int, ...]]] = {
    "mnist": {"quick": (100, 1000), "cpu": (100, 300, 1000, 3000), "gpu": (100, 300, 1000, 3000, 10_000, 30_000)},
    "cifar10": {"cpu": (300, 1000, 3000), "gpu": (300, 1000, 3000, 10_000, 45_000)},
}
NAMES = {"mnist": "MNIST", "cifar10": "CIFAR-10"}
TARGETS = {"mnist": 0.10, "cifar10": 0.62}
"""Test errors that every cell reaches, and none at once."""

MEASURED: dict[str, dict[Tier, tuple[str, ...]]] = {
    "mnist": {"cpu": CELLS, "gpu": CELLS},
    "cifar10": {"cpu": ("dense", "local", "conv"), "gpu": CELLS},
}

COMPARED = 1000
"""Images with which dense and conv of equal cost are compared."""

NARROW = (1, 2, 2)
"""Channels of the dense network that a convolution is made as wide as to cost as much."""


def matched(dense: Experiment, quantity: Quantity) -> Experiment:
    """The convolution that costs as much as a dense network."""
    dataset = build_dataset(dense.data)
    return match_width(replace(dense, {CELL: "conv"}), dataset, quantity, getattr(cost_of(dense, dataset), quantity))


def measure(laboratory: Laboratory) -> Measurement:
    """Samples to a target error as ratios paired by seed, and conv against dense at equal cost."""
    sources = list(laboratory.images)
    sizes = {source: laboratory.of_tier(SAMPLES[source]) for source in sources}
    arms = {
        (source, cell, n): replace(deep(laboratory, source, n), {CELL: cell})
        for source in sources
        for cell, n in itertools.product(laboratory.of_tier(MEASURED[source]), sizes[source])
    }
    of_equal_cost = {}
    for source in sources:
        narrow = replace(deep(laboratory, source, COMPARED), {CELL: "dense", "model.channels": NARROW})
        of_equal_cost[source, "dense, narrow", COMPARED] = narrow
        of_equal_cost |= {(source, quantity, COMPARED): matched(narrow, quantity) for quantity in MATCHED}
    results = train_arms(laboratory, arms | of_equal_cost)
    accuracy = {arm: rows["test_accuracy"].to_numpy(float) for arm, rows in results.items()}

    def reached(source: str, cell: str) -> np.ndarray:
        """Samples to the target error, of each seed."""
        errors = np.stack([1 - accuracy[source, cell, n] for n in sizes[source]], axis=1)
        return samples_of_seeds(sizes[source], errors, TARGETS[source])

    values = {}
    for source in sources:
        fit = np.stack([100 * results[arm]["train_accuracy"].to_numpy(float) for arm in arms if arm[0] == source])
        values[FIT[source]] = mean_interval(fit.min(axis=0))
        values[OF_DENSE[source]] = geometric_mean_interval(reached(source, "dense"))
        for more, fewer in PAIRS[source]:
            values[RATIO[source, more, fewer]] = ratio_interval(reached(source, more), reached(source, fewer))
        for quantity in MATCHED:
            gain = accuracy[source, quantity, COMPARED] - accuracy[source, "dense, narrow", COMPARED]
            values[GAIN[source, quantity]] = mean_interval(100 * gain)
    points = [(NAMES[source], cell, n, 1 - accuracy[source, cell, n]) for source, cell, n in arms]
    return Measurement(values, curves_of(points, laboratory.seeds))


PAIRS = {
    "mnist": (("dense", "shared"), ("dense", "local"), ("dense", "conv"), ("local", "conv")),
    "cifar10": (("dense", "local"), ("dense", "conv")),
}
RATIO = {
    (source, more, fewer): f"samples to {TARGETS[source]:.0%} error on {name}, {more} over {fewer}"
    for source, name in NAMES.items()
    for more, fewer in PAIRS[source]
}
OF_DENSE = {source: f"samples to {TARGETS[source]:.0%} error on {name}, dense" for source, name in NAMES.items()}
"""It needs most: where it never arrives, its ratios tell nothing."""

FIT = {source: f"training accuracy on {name}, least of all cells and sizes, percent" for source, name in NAMES.items()}
MATCHED: tuple[Quantity, ...] = ("parameters", "multiply_adds")
GAIN: dict[tuple[str, Quantity], str] = {
    (source, quantity): f"accuracy on {name} of conv minus dense, {COMPARED:,} images, equal "
    f"{quantity.replace('_', '-')}, points"
    for (source, name), quantity in itertools.product(NAMES.items(), MATCHED)
}

CLAIM = Claim(
    statement="On digits each of the two constraints saves samples, and both together save more than locality alone; on "
    "photographs locality saves samples, and so do both together.",
    source="D2L 7.1.2 and 7.1.3: sample efficiency, where the biases agree with reality",
    protocol="Three layers of delta 2, pooled by 2 after two of them, of equal width (8, 16, 16 channels on MNIST; 16, 32, "
    "32 on CIFAR-10), readout flatten, 200 to 1,600 updates of 64; learning rate (CIFAR-10: 0.002) and moment "
    "chosen on 1,000 validation images; class-balanced subsets (CPU: up to 3,000 images, halved to 14 x 14 and 16 x 16), "
    "all ratios paired by seed; samples to an error by monotone interpolation. A convolution of a dense network's cost is "
    "solved for.",
    criteria=tuple(
        criterion._replace(photographs=source == "cifar10")
        for source in NAMES
        for criterion in (
            Criterion(FIT[source], low=99),
            *(Criterion(RATIO[source, *pair], low=1, published="more than 1") for pair in PAIRS[source]),
            Criterion(OF_DENSE[source], high=SAMPLES[source]["cpu"][-1]),
            *(Criterion(GAIN[source, quantity], low=0, published="conv is better") for quantity in MATCHED),
        )
    ),
    frozen="2026-11-27",
    seeds={"quick": 4, "cpu": 6, "gpu": 10},
    measure=measure,
    picture=Picture("training images", "test error"),
    data_sets=("mnist", "cifar10"),
)
