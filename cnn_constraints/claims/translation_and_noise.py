"""Ott et al.: sharing helps on images, the more so where they move, and hurts where their edges are noise."""

import datetime

import numpy as np
from jaxtyping import Float

from cnn_constraints.claims.claim import CURVE_COLUMNS, Claim, Criterion, Laboratory, Measurement, Picture
from cnn_constraints.claims.networks import CELLS, base, by_seed
from cnn_constraints.experiment import axis, product, replace
from cnn_constraints.statistics import mean_interval
from cnn_constraints.summaries import CELL

INTERVENTION = "data.intervention"
SETTINGS = {
    "none": "images\nas they are",
    "translate": "images\nmoved",
    "edge_noise": "training edges\nnoisy",
    "full_noise": "training images\nnoisy",
}
SAMPLES = {"cpu": 3000, "gpu": 40_000}


def measure(laboratory: Laboratory) -> Measurement:
    """What sharing brings in each setting, in points of test accuracy, and how that changes, paired by seed."""
    usual = replace(base(laboratory.images["cifar10"], laboratory.tier), {"data.n_train": SAMPLES[laboratory.tier]})
    factors = axis(CELL, CELLS), axis(INTERVENTION, SETTINGS), axis("seed", laboratory.seeds)
    results = laboratory.train(product(usual, *factors))

    def points(cell: str, intervention: str) -> Float[np.ndarray, " seeds"]:
        arm = replace(usual, {CELL: cell, INTERVENTION: intervention})
        return 100 * by_seed(results, arm, laboratory.seeds)

    gain = {name: points("conv", name) - points("local", name) for name in SETTINGS}
    values = {of_sharing(name): mean_interval(of_seeds) for name, of_seeds in gain.items()}
    for name in CHANGED:
        values[change(name)] = mean_interval(gain[name] - gain["none"])
    rows = results.assign(
        panel="",
        line=results[CELL],
        x=[SETTINGS[name] for name in results[INTERVENTION]],
        y=100 * (1 - results["test_accuracy"]),
    )
    return Measurement(values, rows.loc[:, CURVE_COLUMNS])


CHANGED = ("translate", "edge_noise")
"""What is compared with images as they are, too."""


def of_sharing(intervention: str) -> str:
    """The quantity: what sharing adds under an intervention."""
    return f"{_compared(intervention)}, points"


def change(intervention: str) -> str:
    """The quantity: what an intervention adds to that."""
    return f"{_compared(intervention)}, less the same on images as they are, points"


def _compared(intervention: str) -> str:
    return f"accuracy of conv minus local, {SETTINGS[intervention].replace(chr(10), ' ')}"


CLAIM = Claim(
    statement="On photographs a convolution beats a local layer, and by more where they move; where their edges, or all of "
    "their pixels, are noise in training, sharing hurts: the local layer is better.",
    source="Ott, Linstead, LaHaye & Baldi 2020, Learning in the machine: to share or not to share?, CIFAR-10; dense and "
    "shared cells are ours",
    protocol="CIFAR-10 (CPU: halved, 3,000 training images, ordering only; GPU: 40,000), two layers of delta 2, readout "
    "flatten, learning rate and moment chosen on 500 validation images treated as the training images; noise and edges "
    "as in the paper, test images clean (moved ones moved too), a test split of its own instead of folds.",
    criteria=(
        Criterion(of_sharing("none"), low=0, published="+2.4"),
        Criterion(of_sharing("translate"), low=0, published="+4.2"),
        Criterion(change("translate"), low=0, published="+1.8"),
        Criterion(of_sharing("edge_noise"), high=0, published="-3.6"),
        Criterion(change("edge_noise"), high=0, published="-6.0"),
        Criterion(of_sharing("full_noise"), high=0, published="-6.0"),
    ),
    frozen=datetime.date(2026, 11, 25),
    seeds={"cpu": 6, "gpu": 5},
    measure=measure,
    picture=Picture("", "test error, %"),
    data_sets=("cifar10",),
)
