"""D2L 7.1.2 and 7.1.3: where both biases agree with reality, fewer samples lead to the same error."""

import datetime

import numpy as np

from cnn_constraints.arrays import Dataset
from cnn_constraints.claims.claim import Claim, Criterion, Laboratory, Measurement, Picture, curves_of
from cnn_constraints.claims.networks import CELLS, READOUTS, base, by_seed
from cnn_constraints.data.datasets import build_dataset
from cnn_constraints.experiment import Experiment, axis, product, replace
from cnn_constraints.matching import Quantity, match_width
from cnn_constraints.plan import cost_of
from cnn_constraints.statistics import (
    Interval,
    geometric_mean_interval,
    mean_interval,
    ratio_interval,
    samples_of_seeds,
)
from cnn_constraints.summaries import CELL, N_TRAIN, READOUT

SAMPLES = {"cpu": (100, 300, 1000, 3000), "gpu": (100, 300, 1000, 3000, 10_000, 30_000)}
SOURCES = {"mnist": "MNIST", "cifar10": "CIFAR-10"}
TARGETS = {"mnist": 0.10, "cifar10": 0.65}
"""Test errors that every cell reaches with the flatten readout, and none at once."""

NARROW = (1, 4)
"""Channels of the dense network on MNIST whose size a convolution is matched to."""

WIDE_CONV = "conv, dense's multiply-adds"

Arms = dict[tuple[str, str, str], Experiment]
"""By data set, readout and line of the picture."""


def ladders(laboratory: Laboratory) -> Arms:
    """The four cells at equal width under each readout (on CIFAR-10 flatten alone), and there a convolution that costs as
    many multiply-adds as the dense network too.
    """
    arms: Arms = {}
    for source in SOURCES:
        usual = base(laboratory.images[source], laboratory.tier)
        for readout in READOUTS if source == "mnist" else READOUTS[:1]:
            for cell in CELLS:
                arms[source, readout, cell] = replace(usual, {CELL: cell, READOUT: readout})
    dense = arms["cifar10", "flatten", "dense"]
    arms["cifar10", "flatten", WIDE_CONV] = matched(dense, build_dataset(dense.data), "multiply_adds")
    return arms


def matched(dense: Experiment, dataset: Dataset, quantity: Quantity) -> Experiment:
    """The convolution that costs as much as a dense network."""
    target = getattr(cost_of(dense, dataset), quantity)
    return match_width(replace(dense, {CELL: "conv"}), dataset, quantity, target)


def matched_arms(laboratory: Laboratory) -> dict[str, Experiment]:
    """A narrow dense network on MNIST, and convolutions with as many parameters and as many multiply-adds."""
    dense = base(laboratory.images["mnist"], laboratory.tier)
    dense = replace(dense, {CELL: "dense", "model.channels": NARROW})
    dataset = build_dataset(dense.data)
    return {"dense": dense, **{quantity: matched(dense, dataset, quantity) for quantity in MATCHED}}


def measure(laboratory: Laboratory) -> Measurement:
    """Samples to a target error as ratios paired by seed, and conv against dense at equal cost."""
    seeds, sizes = laboratory.seeds, SAMPLES[laboratory.tier]
    ladder, single = ladders(laboratory), matched_arms(laboratory)
    every_size = [product(arm, axis(N_TRAIN, sizes), axis("seed", seeds)) for arm in ladder.values()]
    one_size = [product(arm, axis("seed", seeds)) for arm in single.values()]
    results = laboratory.train([experiment for experiments_ in every_size + one_size for experiment in experiments_])
    curves = {
        key: 1 - np.stack([by_seed(results, replace(arm, {N_TRAIN: n}), seeds) for n in sizes], axis=1)
        for key, arm in ladder.items()
    }

    def ratio(source: str, more: str, fewer: str) -> Interval:
        return ratio_interval(
            *(samples_of_seeds(sizes, curves[source, "flatten", line], TARGETS[source]) for line in (more, fewer))
        )

    def samples(source: str) -> Interval:
        """Of dense, which needs most: where it never arrives, its ratios tell nothing."""
        return geometric_mean_interval(samples_of_seeds(sizes, curves[source, "flatten", "dense"], TARGETS[source]))

    accuracy = {name: by_seed(results, arm, seeds) for name, arm in single.items()}
    values = {ratio_of(*pair): ratio(*pair) for pair in RATIOS} | {
        matched_gain(quantity): mean_interval(100 * (accuracy[quantity] - accuracy["dense"])) for quantity in MATCHED
    }
    values |= {samples_of_dense(source): samples(source) for source in SOURCES}
    rows = [
        (f"{SOURCES[source]}, {readout}", line, n, seed, error)
        for (source, readout, line), of_arm in curves.items()
        for n, of_size in zip(sizes, of_arm.T, strict=True)
        for seed, error in zip(seeds, of_size, strict=True)
    ]
    return Measurement(values, curves_of(rows))


MATCHED: tuple[Quantity, ...] = ("parameters", "multiply_adds")

RATIOS = (
    *(("mnist", "dense", cell) for cell in ("shared", "local", "conv")),
    ("mnist", "local", "conv"),
    ("cifar10", "dense", "local"),
    ("cifar10", "dense", "conv"),
    ("cifar10", "dense", WIDE_CONV),
)


def ratio_of(source: str, more: str, fewer: str) -> str:
    """Name of the quantity: how many times as many samples."""
    return f"samples to {TARGETS[source]:.0%} error on {SOURCES[source]}, {more} over {fewer}, flatten"


def samples_of_dense(source: str) -> str:
    """Name of the quantity: at all, since ratios tell nothing where dense never arrives."""
    return f"samples to {TARGETS[source]:.0%} error on {SOURCES[source]}, dense, flatten"


def matched_gain(quantity: str) -> str:
    """Name of the quantity: conv against dense at equal cost."""
    return f"accuracy on MNIST of conv minus dense, 1,000 images, equal {quantity.replace('_', '-')}, points"


CLAIM = Claim(
    statement="On images of digits and of things, each of the two constraints saves samples, and both together most.",
    source="D2L 7.1.2 and 7.1.3: sample efficiency, where the biases agree with reality",
    protocol="Two layers of delta 2 with pooling between, equal width; learning rate and moment chosen on 500 validation "
    "images; class-balanced subsets of 100 to 3,000 images (CPU: halved to 14 x 14 and 16 x 16), all ratios paired by "
    "seed; samples to an error by monotone interpolation. Convolutions of equal size are solved for.",
    criteria=(
        *(Criterion(ratio_of(*pair), low=1, published="more than 1") for pair in RATIOS),
        *(Criterion(samples_of_dense(source), high=SAMPLES["cpu"][-1], published="reached") for source in SOURCES),
        *(Criterion(matched_gain(quantity), low=0, published="conv is better") for quantity in MATCHED),
    ),
    frozen=datetime.date(2026, 11, 25),
    seeds={"cpu": 8, "gpu": 10},
    measure=measure,
    picture=Picture("training images", "test error"),
    data_sets=("mnist", "cifar10"),
)
