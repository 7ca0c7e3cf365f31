"""d'Ascoli et al.: a dense network that starts as a trained convolution beats one that starts at random."""

from typing import Any

from cnn_constraints.claims import Tier
from cnn_constraints.claims.claim import Claim, Criterion, Laboratory, Measurement, Picture, curves_of
from cnn_constraints.claims.networks import base, train_arms
from cnn_constraints.experiment import Experiment, replace
from cnn_constraints.statistics import mean_interval
from cnn_constraints.summaries import CELL, N_TRAIN

SETTINGS: dict[Tier, dict[str, Any]] = {
    "cpu": {
        N_TRAIN: 3000,
        "training.optimizer": "sgd",
        "training.learning_rates": (0.003, 0.01, 0.03),
        "training.updates": 800,
        "training.evaluate_every": 100,
    },
    "gpu": {
        N_TRAIN: 10_000,
        "model.channels": (16, 64),
        "training.optimizer": "sgd_without_momentum",
        "training.learning_rates": (0.03, 0.1, 0.3),
        "training.batch_size": 250,
        "training.updates": 4000,
        "training.evaluate_every": 500,
    },
}
"""gpu: optimiser, batches and epochs of the paper's code."""

SWITCHES, MIDDLE = (0.0, 0.125, 0.25, 0.5), 0.25
"""Shares of the updates that are done before the switch."""


def arms_of(laboratory: Laboratory) -> dict[float | None, Experiment]:
    """The dense network by its switch: at 1 it is a convolution all along, None is dense all along."""
    changes = {CELL: "dense", "training.violations": ("conv",), **laboratory.of_tier(SETTINGS)}
    dense = replace(base(laboratory.images["cifar10"], laboratory.tier), changes)
    updates = dense.training.updates
    switch = lambda share: {"training.switch_from": "conv", "training.switch_at": round(share * updates)}
    return {None: dense, **{share: replace(dense, switch(share)) for share in (*SWITCHES, 1.0)}}


def measure(laboratory: Laboratory) -> Measurement:
    """Test accuracies of the arms and their distances from conv, as differences paired by seed."""
    results = train_arms(laboratory, arms_of(laboratory))
    accuracy, violation = (
        {switch: 100 * rows[column].to_numpy(float) for switch, rows in results.items()}
        for column in ("test_accuracy", "violation_conv")
    )
    values = {OVER_DENSE[share]: mean_interval(accuracy[share] - accuracy[None]) for share in SWITCHES}
    values[OVER_CONV] = mean_interval(accuracy[MIDDLE] - accuracy[1.0])
    values[NEAR] = mean_interval(violation[MIDDLE] - violation[None])
    lines = [("dense, switched from conv", share, share) for share in (*SWITCHES, 1.0)]
    lines += [("dense", share, None) for share in (SWITCHES[0], 1.0)]
    points = [("CIFAR-10, flatten", line, 100 * share, 100 - accuracy[switch]) for line, share, switch in lines]
    return Measurement(values, curves_of(points, laboratory.seeds))


OVER_DENSE = {
    share: f"accuracy of dense switched from conv after {share:.0%} of the updates minus dense, points"
    for share in SWITCHES
}
OVER_CONV = f"accuracy of dense switched from conv after {MIDDLE:.0%} of the updates minus conv, points"
NEAR = f"distance from conv, switched after {MIDDLE:.0%} minus dense from random weights, percent of the weights' norm"

CLAIM = Claim(
    statement="A dense network that starts as a convolution, trained for a while or not at all, ends better than one that "
    "starts at random, and near where it started; set free in mid-training it ends better than the convolution itself.",
    source="d'Ascoli, Sagun, Biroli & Bruna 2019, Finding the needle in the haystack with convolutions: on the benefits of "
    "architectural bias",
    protocol="CIFAR-10, two layers of delta 2, readout flatten (CPU: halved, 3,000 training images, 800 updates of 32, "
    "stochastic gradient descent with momentum 0.9; GPU: 10,000 images, 4,000 updates of 250, no momentum), learning rate "
    "and moment chosen on 500 validation images; the convolution is embedded in the dense space, with the state of its "
    "optimiser, and trained on.",
    criteria=(
        *(Criterion(quantity, low=0, published="always better") for quantity in OVER_DENSE.values()),
        Criterion(OVER_CONV, low=0, published="better at intermediate times"),
        Criterion(NEAR, high=0, published="stays near"),
    ),
    frozen="2026-11-27",
    seeds={"cpu": 12, "gpu": 5},
    measure=measure,
    picture=Picture("updates as a convolution, %", "test error, %", x_logarithmic=False, y_logarithmic=False),
    data_sets=("cifar10",),
)
