"""D2L 7.1.2.2: how far should a layer see? Error against delta at equal cost, for tied and untied weights."""

import numpy as np

from cnn_constraints.claims import Tier
from cnn_constraints.claims.claim import Claim, Criterion, Laboratory, Measurement, Picture, curves_of
from cnn_constraints.claims.networks import READOUTS, REDUCE, deep, train_arms
from cnn_constraints.data.datasets import build_dataset
from cnn_constraints.experiment import Experiment, replace
from cnn_constraints.matching import match_width
from cnn_constraints.plan import cost_of
from cnn_constraints.statistics import Interval, bootstrap_interval, exact, mean_interval
from cnn_constraints.summaries import CELL, DELTA, READOUT

SIDE, IMAGES = 28, 1000
NEAR = 4
"""A delta, in pixels of the original, that is neither end."""

DELTAS: dict[Tier, tuple[int | None, ...]] = {"cpu": (0, 1, 2, 5, None), "gpu": (0, 1, 2, 3, 4, 5, 7, 10, 14, None)}
FITS = 0.98
"""Mean training accuracy: a network below it is too small to tell how far it should see."""

LINES = {"tied weights": "conv", "untied weights": "local"}
PAIRS = [(readout, line) for readout in READOUTS for line in LINES]


def arms_of(laboratory: Laboratory) -> dict[tuple[str, str, int], Experiment]:
    """By readout, line and delta in pixels of the original: networks as wide as the multiply-adds of delta 2 allow."""
    usual, reduce = deep(laboratory, "mnist", IMAGES), REDUCE[laboratory.tier]
    dataset = build_dataset(usual.data)
    everywhere = SIDE // reduce - 1
    arms = {}
    for readout, line in PAIRS:
        arm = replace(usual, {READOUT: readout, CELL: LINES[line]})
        budget = cost_of(arm, dataset).multiply_adds
        assert budget is not None
        for delta in laboratory.of_tier(DELTAS):
            pixels = reduce * (everywhere if delta is None else delta)
            arms[readout, line, pixels] = match_width(replace(arm, {DELTA: delta}), dataset, "multiply_adds", budget)
    return arms


def measure(laboratory: Laboratory) -> Measurement:
    """The delta of the least mean test error over seeds, tied and untied, and what seeing everything costs in points."""
    arms = arms_of(laboratory)
    results = train_arms(laboratory, arms)
    errors = {arm: 1 - rows["test_accuracy"].to_numpy(float) for arm, rows in results.items()}
    fitting = [arm for arm in arms if np.mean(results[arm]["train_accuracy"].to_numpy(float)) >= FITS]
    values = {}
    for pair in PAIRS:
        deltas = [delta for *own, delta in fitting if tuple(own) == pair]
        values[FARTHEST[pair]] = exact(max(deltas, default=0))
        values[BEST[pair]] = values[GAIN[pair]] = UNKNOWN
        if len(deltas) > 1 and NEAR in deltas:
            by_delta = np.stack([errors[*pair, delta] for delta in deltas], axis=1)[np.argsort(laboratory.seeds)]
            best = lambda rows, deltas=deltas: float(deltas[rows.mean(axis=0).argmin()])
            values[BEST[pair]] = bootstrap_interval(by_delta, best, np.random.default_rng(0))
            values[GAIN[pair]] = mean_interval(100 * (errors[*pair, max(deltas)] - errors[*pair, NEAR]))
    points = [(f"readout {readout}", line, delta, error) for (readout, line, delta), error in errors.items()]
    return Measurement(values, curves_of(points, laboratory.seeds))


UNKNOWN = Interval(np.nan, -np.inf, np.inf, 0)

FARTHEST = {
    (readout, line): f"largest delta that fits, pixels of 28 x 28, {line}, {readout}" for readout, line in PAIRS
}
BEST = {(readout, line): f"best delta that fits, pixels of 28 x 28, {line}, {readout}" for readout, line in PAIRS}
GAIN = {
    (readout, line): f"error at the largest delta that fits minus error at delta {NEAR}, {line}, {readout}, points"
    for readout, line in PAIRS
}

CLAIM = Claim(
    statement="A layer does best when it sees little: the best delta is below 10, for tied weights and for untied ones.",
    source="D2L 7.1.2.2: delta is typically less than 10",
    protocol="MNIST, 1,000 training images (CPU: halved to 14 x 14, where delta 1 is 2 pixels of the original), three "
    "layers, pooled by 2 after two of them, at every delta as wide as the multiply-adds of 8, 16 and 16 channels at delta "
    "2 allow; learning rate and moment chosen on 1,000 validation images; a delta counts whose networks fit their training "
    "images (98% in the last eighth of training, on average), and the best one has the least mean test error.",
    criteria=(
        *(Criterion(quantity, low=10) for quantity in FARTHEST.values()),
        *(Criterion(quantity, high=9, published="below 10") for quantity in BEST.values()),
        *(Criterion(quantity, low=0) for quantity in GAIN.values()),
    ),
    frozen="2026-11-27",
    seeds={"cpu": 8, "gpu": 10},
    measure=measure,
    picture=Picture("delta, pixels of 28 x 28", "test error", x_logarithmic=False),
    data_sets=("mnist",),
)
