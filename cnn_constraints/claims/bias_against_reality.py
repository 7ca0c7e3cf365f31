"""D2L 7.1.3: "if those biases do not agree with reality", models might struggle, and might not even fit their data."""

import itertools

import numpy as np

from cnn_constraints.claims.claim import Claim, Criterion, Laboratory, Measurement, Picture, curves_of
from cnn_constraints.claims.networks import CELLS, READOUTS, base, train_arms
from cnn_constraints.experiment import replace
from cnn_constraints.statistics import mean_interval
from cnn_constraints.summaries import CELL, READOUT

INTERVENTIONS = {
    "none": "images\nas they are",
    "permute_pixels": "pixels\npermuted",
    "translate_test": "test images\nmoved",
    "edge_noise": "training edges\nnoisy",
    "label_positions": "labels code\nthe position",
}

BLIND = "conv, blind to places"
NO_PLACES = {READOUT: "global_average", CELL: "conv", "model.boundary": "circular", "model.pool_sizes": (1, 1)}
"""Borders and strides tell a convolution where something is (Kayhan & van Gemert 2020): on a torus and without pooling its
global average is exactly invariant.
"""


def measure(laboratory: Laboratory) -> Measurement:
    """Test and training accuracies under each intervention, in points, as differences of cells paired by seed."""
    usual = base(laboratory.images["mnist"], laboratory.tier)
    arms = {
        (cell, readout, name): replace(usual, {READOUT: readout, CELL: cell, "data.intervention": name})
        for readout, cell, name in itertools.product(READOUTS, CELLS, INTERVENTIONS)
    }
    flat, average = READOUTS
    blind = {name: replace(usual, NO_PLACES | {"data.intervention": name}) for name in ("none", "label_positions")}
    arms |= {(BLIND, average, name): arm for name, arm in blind.items()}
    results = train_arms(laboratory, arms)

    def points(cell: str, readout: str, intervention: str, value: str = "test_accuracy") -> np.ndarray:
        """Percent, one number a seed."""
        return 100 * results[cell, readout, intervention][value].to_numpy(float)

    def change(cell: str, readout: str, intervention: str, value: str = "test_accuracy") -> np.ndarray:
        """What the intervention adds."""
        return points(cell, readout, intervention, value) - points(cell, readout, "none", value)

    fit = "train_accuracy"
    found = {
        DENSE_INDIFFERENT: change("dense", flat, "permute_pixels"),
        PERMUTED: points("conv", flat, "permute_pixels") - points("dense", flat, "permute_pixels"),
        PERMUTED_COST: change("conv", flat, "permute_pixels") - change("dense", flat, "permute_pixels"),
        FIT: points("conv", average, "none", fit),
        PERMUTED_FIT: change("conv", average, "permute_pixels", fit),
        MOVED: change("conv", average, "translate_test") - change("dense", average, "translate_test"),
        MOVED_READOUT: change("conv", average, "translate_test") - change("conv", flat, "translate_test"),
        EDGES: change("local", average, "edge_noise") - change("conv", average, "edge_noise"),
        CODED: points(BLIND, average, "label_positions") - points("dense", flat, "label_positions"),
        CODED_COST: change(BLIND, average, "label_positions") - change("dense", flat, "label_positions"),
        CODED_FIT: change(BLIND, average, "label_positions", fit),
        CODED_FIT_DENSE: points("dense", flat, "label_positions", fit),
        CODED_DENSE: points("dense", flat, "label_positions"),
    }
    errors = [
        (f"readout {readout}", cell, INTERVENTIONS[name], 100 * (1 - rows["test_accuracy"]))
        for (cell, readout, name), rows in results.items()
    ]
    values = {quantity: mean_interval(of_seeds) for quantity, of_seeds in found.items()}
    return Measurement(values, curves_of(errors, laboratory.seeds))


DENSE_INDIFFERENT = "change of dense's accuracy when pixels are permuted, flatten, points"
PERMUTED = "accuracy of conv minus dense on permuted pixels, flatten, points"
PERMUTED_COST = "change when pixels are permuted, conv minus dense, flatten, points"
FIT = "training accuracy of conv on images as they are, global average, percent"
PERMUTED_FIT = "change of conv's training accuracy when pixels are permuted, global average, points"
MOVED = "change when test images are moved, conv minus dense, global average, points"
MOVED_READOUT = "change when test images are moved, conv with global average minus conv with flatten, points"
EDGES = "what noise at training edges costs conv more than local, global average, points"
CODED = f"accuracy of {BLIND}, minus dense with flatten where labels code the position, points"
CODED_COST = f"change when labels code the position, {BLIND}, minus dense with flatten, points"
CODED_FIT = f"change of training accuracy when labels code the position, {BLIND}, points"
CODED_FIT_DENSE = "training accuracy of dense where labels code the position, flatten, percent"
CODED_DENSE = "accuracy of dense where labels code the position, flatten, percent"

CLAIM = Claim(
    statement="Where the biases do not agree with reality they cost: on permuted pixels a dense layer loses nothing and "
    "beats a convolution; where the place matters (noise at the edges, labels that code it) sharing hurts, until the "
    "network cannot even fit its training data; where images move, sharing with a global average is what helps.",
    source="D2L 7.1.3, where the biases do not agree with reality models might struggle even to fit the training data; "
    "edge noise: Ott et al. 2020",
    protocol="MNIST, 1,000 training images (CPU: halved to 14 x 14), two layers of delta 2, learning rate and moment "
    "chosen on 500 validation images; one intervention at a time, all differences paired by seed. Blind to places: on a "
    "torus, without pooling, with a global average.",
    criteria=(
        Criterion(DENSE_INDIFFERENT, -2.5, 2.5, "0"),
        Criterion(PERMUTED, high=0, published="conv struggles"),
        Criterion(PERMUTED_COST, high=0, published="conv struggles"),
        Criterion(FIT, low=80),
        Criterion(PERMUTED_FIT, high=-5, published="cannot fit"),
        Criterion(MOVED, low=0, published="invariance helps"),
        Criterion(MOVED_READOUT, low=0, published="invariance helps"),
        Criterion(EDGES, low=0, published="local better by 4 (CIFAR-10, flatten)"),
        Criterion(CODED, high=0, published="conv struggles"),
        Criterion(CODED_COST, high=0, published="conv struggles"),
        Criterion(CODED_FIT, high=-5, published="cannot fit"),
        Criterion(CODED_FIT_DENSE, low=90),
        # Whoever does not know the place is right half of the time at most.
        Criterion(CODED_DENSE, low=60),
    ),
    frozen="2026-11-27",
    seeds={"cpu": 11, "gpu": 11},
    measure=measure,
    picture=Picture("", "test error, %"),
    data_sets=("mnist",),
)
