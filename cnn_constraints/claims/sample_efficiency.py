"""D2L 7.1.2 and 7.1.3: where both biases agree with reality, fewer samples lead to the same error."""

import itertools

import numpy as np

from cnn_constraints.arrays import Dataset
from cnn_constraints.claims.claim import Claim, Criterion, Laboratory, Measurement, Picture, curves_of
from cnn_constraints.claims.networks import CELLS, READOUTS, base, train_arms
from cnn_constraints.data.datasets import build_dataset
from cnn_constraints.experiment import Experiment, replace
from cnn_constraints.matching import Quantity, match_width
from cnn_constraints.plan import cost_of
from cnn_constraints.statistics import geometric_mean_interval, mean_interval, ratio_interval, samples_of_seeds
from cnn_constraints.summaries import CELL, N_TRAIN, READOUT

SAMPLES = {"cpu": (100, 300, 1000, 3000), "gpu": (100, 300, 1000, 3000, 10_000, 30_000)}
SOURCES = {"mnist": "MNIST", "cifar10": "CIFAR-10"}
TARGETS = {"mnist": 0.10, "cifar10": 0.65}
"""Test errors that every cell reaches with the flatten readout, and none at once."""

NARROW = (1, 4)
"""Channels of the dense network on MNIST whose size a convolution is matched to."""

WIDE_CONV = "conv, dense's multiply-adds"


def matched(dense: Experiment, dataset: Dataset, quantity: Quantity) -> Experiment:
    """The convolution that costs as much as a dense network."""
    target = getattr(cost_of(dense, dataset), quantity)
    return match_width(replace(dense, {CELL: "conv"}), dataset, quantity, target)


def ladders(laboratory: Laboratory) -> dict[tuple[str, str, str], Experiment]:
    """By data set, readout and line: the four cells at equal width, and a convolution of dense's cost on CIFAR-10."""
    usual = {source: base(laboratory.images[source], laboratory.tier) for source in SOURCES}
    settings = [*(("mnist", readout) for readout in READOUTS), ("cifar10", "flatten")]
    arms = {
        (source, readout, cell): replace(usual[source], {CELL: cell, READOUT: readout})
        for (source, readout), cell in itertools.product(settings, CELLS)
    }
    dense = arms["cifar10", "flatten", "dense"]
    return arms | {("cifar10", "flatten", WIDE_CONV): matched(dense, build_dataset(dense.data), "multiply_adds")}


def measure(laboratory: Laboratory) -> Measurement:
    """Samples to a target error as ratios paired by seed, and conv against dense at equal cost."""
    sizes = SAMPLES[laboratory.tier]
    dense = replace(base(laboratory.images["mnist"], laboratory.tier), {CELL: "dense", "model.channels": NARROW})
    dataset = build_dataset(dense.data)
    of_equal_cost = {"dense": dense, **{quantity: matched(dense, dataset, quantity) for quantity in MATCHED_GAIN}}
    every_size = {(*key, n): replace(arm, {N_TRAIN: n}) for key, arm in ladders(laboratory).items() for n in sizes}
    results = train_arms(laboratory, every_size | of_equal_cost)
    accuracy = {arm: rows["test_accuracy"].to_numpy(float) for arm, rows in results.items()}

    def reached(source: str, line: str) -> np.ndarray:
        """Samples to the target error, of each seed."""
        errors = np.stack([1 - accuracy[source, "flatten", line, n] for n in sizes], axis=1)
        return samples_of_seeds(sizes, errors, TARGETS[source])

    values = {
        quantity: ratio_interval(reached(source, more), reached(source, fewer))
        for (source, more, fewer), quantity in RATIO.items()
    }
    values |= {quantity: geometric_mean_interval(reached(source, "dense")) for source, quantity in OF_DENSE.items()}
    values |= {
        quantity: mean_interval(100 * (accuracy[matched_by] - accuracy["dense"]))
        for matched_by, quantity in MATCHED_GAIN.items()
    }
    points = [
        (f"{SOURCES[source]}, {readout}", line, n, 1 - accuracy[source, readout, line, n])
        for source, readout, line, n in every_size
    ]
    return Measurement(values, curves_of(points, laboratory.seeds))


RATIO = {
    (source, more, fewer): f"samples to {TARGETS[source]:.0%} error on {SOURCES[source]}, {more} over {fewer}, flatten"
    for source, more, fewer in (
        *(("mnist", "dense", cell) for cell in ("shared", "local", "conv")),
        ("mnist", "local", "conv"),
        ("cifar10", "dense", "local"),
        ("cifar10", "dense", "conv"),
        ("cifar10", "dense", WIDE_CONV),
    )
}
OF_DENSE = {
    source: f"samples to {TARGETS[source]:.0%} error on {name}, dense, flatten" for source, name in SOURCES.items()
}
"""It needs most: where it never arrives, its ratios tell nothing."""

MATCHED: tuple[Quantity, ...] = ("parameters", "multiply_adds")
MATCHED_GAIN: dict[Quantity, str] = {
    quantity: f"accuracy on MNIST of conv minus dense, 1,000 images, equal {quantity.replace('_', '-')}, points"
    for quantity in MATCHED
}

CLAIM = Claim(
    statement="On images of digits and of things, each of the two constraints saves samples, and both together most.",
    source="D2L 7.1.2 and 7.1.3: sample efficiency, where the biases agree with reality",
    protocol="Two layers of delta 2 with pooling between, equal width; learning rate and moment chosen on 500 validation "
    "images; class-balanced subsets of 100 to 3,000 images (CPU: halved to 14 x 14 and 16 x 16), all ratios paired by "
    "seed; samples to an error by monotone interpolation. Convolutions of equal size are solved for.",
    criteria=(
        *(Criterion(quantity, low=1, published="more than 1") for quantity in RATIO.values()),
        *(Criterion(quantity, high=SAMPLES["cpu"][-1], published="reached") for quantity in OF_DENSE.values()),
        *(Criterion(quantity, low=0, published="conv is better") for quantity in MATCHED_GAIN.values()),
    ),
    frozen="2026-11-25",
    seeds={"cpu": 8, "gpu": 10},
    measure=measure,
    picture=Picture("training images", "test error"),
    data_sets=("mnist", "cifar10"),
)
