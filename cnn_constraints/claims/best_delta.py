"""D2L 7.1.2.2: how far should a layer see? Error against delta, for tied and untied weights."""

import datetime

import numpy as np
from jaxtyping import Float, Int

from cnn_constraints.claims.claim import CURVE_COLUMNS, Claim, Criterion, Laboratory, Measurement, Picture
from cnn_constraints.claims.networks import READOUTS, REDUCE, base
from cnn_constraints.experiment import axis, product
from cnn_constraints.statistics import Interval, bootstrap_interval, mean_interval
from cnn_constraints.summaries import CELL, DELTA, READOUT, SWEEPS

SIDE = 28
MIDDLE = 4
"""A delta, in pixels of the original, that is neither end."""

DELTAS = {"cpu": (0, 1, 2, 3, 4, None), "gpu": (0, 1, 2, 3, 4, 5, 7, 9, 14, None)}
LINES = tuple(dict.fromkeys(SWEEPS.values()))


def measure(laboratory: Laboratory) -> Measurement:
    """The delta of the least mean test error over seeds, tied and untied, and what seeing everything costs in points."""
    tier = laboratory.tier
    factors = axis(READOUT, READOUTS), axis(CELL, ["conv", "local"]), axis(DELTA, DELTAS[tier])
    usual = base(laboratory.images["mnist"], tier)
    results = laboratory.train(product(usual, *factors, axis("seed", laboratory.seeds)))
    everywhere = SIDE // REDUCE[tier] - 1
    rows = results.assign(
        panel=[f"readout {name}" for name in results[READOUT]],
        line=[SWEEPS[cell] for cell in results[CELL]],
        x=REDUCE[tier] * results[DELTA].fillna(everywhere).astype(int),
        y=1 - results["test_accuracy"],
    )
    values = {}
    for readout in READOUTS:
        for line in LINES:
            mine = rows[(rows[READOUT] == readout) & (rows["line"] == line)]
            errors = mine.pivot(index="seed", columns="x", values="y")
            values[best(readout, line)] = _best_delta(errors.columns.to_numpy(), errors.to_numpy())
            values[gain(readout, line)] = mean_interval(100 * (errors[errors.columns[-1]] - errors[MIDDLE]))
    return Measurement(values, rows.loc[:, CURVE_COLUMNS])


def _best_delta(deltas: Int[np.ndarray, " deltas"], errors: Float[np.ndarray, "seeds deltas"]) -> Interval:
    """The delta of the least mean error over seeds."""
    least = lambda rows: float(deltas[rows.mean(axis=0).argmin()])
    return bootstrap_interval(errors, least, np.random.default_rng(0))


def best(readout: str, line: str) -> str:
    """Name of the quantity: the delta with the least error."""
    return f"best delta, pixels of 28 x 28, {line}, {readout}"


def gain(readout: str, line: str) -> str:
    """Name of the quantity: what a middle delta saves."""
    return f"error at all offsets minus error at delta {MIDDLE} of 28 pixels, {line}, {readout}, points"


CLAIM = Claim(
    statement="A layer does best when it sees little: the best delta is below 10, for tied weights and for untied ones.",
    source='D2L 7.1.2.2: "typically, delta < 10"',
    protocol="MNIST, 1,000 training images (CPU: halved to 14 x 14, where delta 1 is 2 pixels of the original), two "
    "layers, learning rate and moment chosen on 500 validation images; the best delta is that of the least mean "
    "test error.",
    criteria=(
        *(Criterion(best(r, line), high=9, published="below 10") for r in READOUTS for line in LINES),
        *(Criterion(gain(r, line), low=0, published="locality helps") for r in READOUTS for line in LINES),
    ),
    frozen=datetime.date(2026, 11, 25),
    seeds={"cpu": 8, "gpu": 10},
    measure=measure,
    picture=Picture("delta, pixels of 28 x 28", "test error", x_logarithmic=False),
    data_sets=("mnist",),
)
