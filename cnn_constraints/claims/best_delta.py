"""D2L 7.1.2.2: how far should a layer see? Error against delta, for tied and untied weights."""

import itertools

import numpy as np

from cnn_constraints.claims.claim import Claim, Criterion, Laboratory, Measurement, Picture, curves_of
from cnn_constraints.claims.networks import READOUTS, REDUCE, base, train_arms
from cnn_constraints.experiment import replace
from cnn_constraints.statistics import bootstrap_interval, mean_interval
from cnn_constraints.summaries import CELL, DELTA, READOUT

SIDE = 28
MIDDLE = 4
"""A delta, in pixels of the original, that is neither end."""

DELTAS = {"cpu": (0, 1, 2, 3, 4, None), "gpu": (0, 1, 2, 3, 4, 5, 7, 9, 14, None)}
LINES = {"tied weights": "conv", "untied weights": "local"}


def measure(laboratory: Laboratory) -> Measurement:
    """The delta of the least mean test error over seeds, tied and untied, and what seeing everything costs in points."""
    usual, reduce = base(laboratory.images["mnist"], laboratory.tier), REDUCE[laboratory.tier]
    everywhere = SIDE // reduce - 1
    deltas = {reduce * (everywhere if delta is None else delta): delta for delta in DELTAS[laboratory.tier]}
    arms = {
        (readout, line, x): replace(usual, {READOUT: readout, CELL: LINES[line], DELTA: delta})
        for (readout, line), (x, delta) in itertools.product(PAIRS, deltas.items())
    }
    errors = {arm: 1 - rows["test_accuracy"].to_numpy() for arm, rows in train_arms(laboratory, arms).items()}
    values = {}
    for readout, line in BEST:
        by_delta = np.stack([errors[readout, line, x] for x in deltas], axis=1)[np.argsort(laboratory.seeds)]
        least = lambda rows: float(list(deltas)[rows.mean(axis=0).argmin()])
        values[BEST[readout, line]] = bootstrap_interval(by_delta, least, np.random.default_rng(0))
        gained = by_delta[:, -1] - by_delta[:, list(deltas).index(MIDDLE)]
        values[GAIN[readout, line]] = mean_interval(100 * gained)
    points = [(f"readout {readout}", line, x, error) for (readout, line, x), error in errors.items()]
    return Measurement(values, curves_of(points, laboratory.seeds))


PAIRS = [(readout, line) for readout in READOUTS for line in LINES]
BEST = {(readout, line): f"best delta, pixels of 28 x 28, {line}, {readout}" for readout, line in PAIRS}
GAIN = {
    (readout, line): f"error at all offsets minus error at delta {MIDDLE} of 28 pixels, {line}, {readout}, points"
    for readout, line in PAIRS
}

CLAIM = Claim(
    statement="A layer does best when it sees little: the best delta is below 10, for tied weights and for untied ones.",
    source='D2L 7.1.2.2: "typically, delta < 10"',
    protocol="MNIST, 1,000 training images (CPU: halved to 14 x 14, where delta 1 is 2 pixels of the original), two "
    "layers, learning rate and moment chosen on 500 validation images; the best delta is that of the least mean "
    "test error.",
    criteria=(
        *(Criterion(quantity, high=9, published="below 10") for quantity in BEST.values()),
        *(Criterion(quantity, low=0, published="locality helps") for quantity in GAIN.values()),
    ),
    frozen="2026-11-25",
    seeds={"cpu": 8, "gpu": 10},
    measure=measure,
    picture=Picture("delta, pixels of 28 x 28", "test error", x_logarithmic=False),
    data_sets=("mnist",),
)
