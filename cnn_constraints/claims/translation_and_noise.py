"""Ott et al.: sharing helps on images, the more so where they move, and hurts where their edges are noise."""

from cnn_constraints.claims.claim import Claim, Criterion, Laboratory, Measurement, Picture, curves_of
from cnn_constraints.claims.networks import CELLS, base, train_arms
from cnn_constraints.experiment import replace
from cnn_constraints.statistics import mean_interval
from cnn_constraints.summaries import CELL, N_TRAIN

SETTINGS = {
    "none": "images\nas they are",
    "translate": "images\nmoved",
    "edge_noise": "training edges\nnoisy",
    "full_noise": "training images\nnoisy",
}
SAMPLES = {"cpu": 3000, "gpu": 40_000}


def measure(laboratory: Laboratory) -> Measurement:
    """What sharing brings in each setting, in points of test accuracy, and how that changes, paired by seed."""
    usual = replace(base(laboratory.images["cifar10"], laboratory.tier), {N_TRAIN: SAMPLES[laboratory.tier]})
    arms = {
        (cell, name): replace(usual, {CELL: cell, "data.intervention": name}) for cell in CELLS for name in SETTINGS
    }
    accuracy = {arm: rows["test_accuracy"].to_numpy(float) for arm, rows in train_arms(laboratory, arms).items()}
    gain = {name: 100 * accuracy["conv", name] - 100 * accuracy["local", name] for name in SETTINGS}
    values = {OF_SHARING[name]: mean_interval(gain[name]) for name in SETTINGS}
    values |= {CHANGE[name]: mean_interval(gain[name] - gain["none"]) for name in CHANGE}
    points = [("", cell, SETTINGS[name], 100 * (1 - of_seeds)) for (cell, name), of_seeds in accuracy.items()]
    return Measurement(values, curves_of(points, laboratory.seeds))


COMPARED = {name: f"accuracy of conv minus local, {words}".replace("\n", " ") for name, words in SETTINGS.items()}
OF_SHARING = {name: f"{compared}, points" for name, compared in COMPARED.items()}
CHANGE = {
    name: f"{COMPARED[name]}, less the same on images as they are, points" for name in ("translate", "edge_noise")
}

CLAIM = Claim(
    statement="On photographs a convolution beats a local layer, and by more where they move; where their edges, or all of "
    "their pixels, are noise in training, sharing hurts: the local layer is better.",
    source="Ott, Linstead, LaHaye & Baldi 2020, Learning in the machine: to share or not to share?, CIFAR-10; dense and "
    "shared cells are ours",
    protocol="CIFAR-10 (CPU: halved, 3,000 training images, ordering only; GPU: 40,000), two layers of delta 2, readout "
    "flatten, learning rate and moment chosen on 500 validation images treated as the training images; noise and edges "
    "as in the paper, test images clean (moved ones moved too), a test split of its own instead of folds.",
    criteria=(
        Criterion(OF_SHARING["none"], low=0, published="+2.4"),
        Criterion(OF_SHARING["translate"], low=0, published="+4.2"),
        Criterion(CHANGE["translate"], low=0, published="+1.8"),
        Criterion(OF_SHARING["edge_noise"], high=0, published="-3.6"),
        Criterion(CHANGE["edge_noise"], high=0, published="-6.0"),
        Criterion(OF_SHARING["full_noise"], high=0, published="-6.0"),
    ),
    frozen="2026-11-25",
    seeds={"cpu": 6, "gpu": 5},
    measure=measure,
    picture=Picture("", "test error, %"),
    data_sets=("cifar10",),
)
