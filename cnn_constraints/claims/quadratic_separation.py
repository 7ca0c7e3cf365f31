"""Li, Zhang & Arora: a task that a convolution learns from a constant number of samples, and a dense layer from D^2."""

import numpy as np

from cnn_constraints.claims.claim import Claim, Criterion, Laboratory, Measurement, Picture, curves_of
from cnn_constraints.claims.networks import train_arms
from cnn_constraints.experiment import Data, Experiment, Model, Training, replace
from cnn_constraints.statistics import geometric_mean_interval, mean_interval, power_law, samples_of_seeds
from cnn_constraints.summaries import CELL, DELTA, N_TRAIN, READOUT

SIDES = {"dense": (3, 4, 5), "local": (3, 4, 6, 8), "conv": (3, 4, 5, 6)}
CONV_SAMPLES = 256
SAMPLES = {
    "dense": (256, 512, 1024, 2048, 4096, 8192, 16384),
    "local": (64, 128, 256, 512, 1024, 2048),
    "conv": (CONV_SAMPLES,),
}
TARGET_ERROR = 0.14

EXACT_DIMENSIONS = (8, 16, 32)


def arms() -> dict[tuple[str, int, int], Experiment]:
    """By cell, side and samples: one layer on Gaussian images, the square, a linear readout."""
    dense = Experiment(
        data=Data(source="quadratic_labels", n_train=CONV_SAMPLES, n_validation=1000),
        model=Model("dense", None, (6,), (1,), (1,), activation="quadratic", readout="flatten", bias="none"),
        training=Training("sgd", (0.003, 0.01, 0.03), updates=2000, evaluate_every=200, batch_size=64),
    )
    local = replace(dense, {CELL: "local", DELTA: 0, "training.learning_rates": (0.01, 0.03, 0.1)})
    conv = replace(local, {CELL: "conv", DELTA: 1, "model.channels": (10,), READOUT: "global_average"})
    usual = {"dense": dense, "local": local, "conv": conv}
    shapes = [(cell, side, n) for cell in usual for side in SIDES[cell] for n in SAMPLES[cell]]
    return {(cell, side, n): replace(usual[cell], {"data.size": side, N_TRAIN: n}) for cell, side, n in shapes}


def exact_error(dimension: int, share: float, seed: int) -> float:
    """Relative test error of the quadratic form of least norm through share * d (d + 1) / 2 Gaussian samples.

    Quadratic forms on d inputs are a space of that many dimensions, and this learner treats all its directions alike.
    """
    generator = np.random.default_rng((seed, dimension))
    samples = max(2, round(share * dimension * (dimension + 1) / 2))
    coefficients = generator.standard_normal(dimension)
    train, test = (generator.standard_normal((n, dimension)) for n in (samples, 1000))
    targets, test_targets = train**2 @ coefficients, test**2 @ coefficients
    solution = np.linalg.lstsq((train @ train.T) ** 2, targets, rcond=1e-13)[0]
    return float(np.mean(((test @ train.T) ** 2 @ solution - test_targets) ** 2) / np.mean(test_targets**2))


def measure(laboratory: Laboratory) -> Measurement:
    """How dense's and local's samples to 14% error grow, conv's accuracy, and the threshold of the least-norm form."""
    results = train_arms(laboratory, arms())
    accuracy = {arm: rows["test_accuracy"].to_numpy() for arm, rows in results.items()}

    def reached(cell: str, side: int) -> np.ndarray:
        errors = np.stack([1 - accuracy[cell, side, n] for n in SAMPLES[cell]], axis=1)
        return samples_of_seeds(SAMPLES[cell], errors, TARGET_ERROR)

    values, points = {}, []
    for cell, quantity in EXPONENT.items():
        inputs, found = [3 * side**2 for side in SIDES[cell]], [reached(cell, side) for side in SIDES[cell]]
        values[quantity] = power_law(inputs, np.stack(found, axis=1)).growth
        # What never gets there is drawn at the most samples that were tried.
        drawn = np.minimum(found, SAMPLES[cell][-1])
        points += [("training samples to 14% error", cell, *point) for point in zip(inputs, drawn, strict=True)]
    smallest, largest = (accuracy["conv", side, CONV_SAMPLES] for side in (min(SIDES["conv"]), max(SIDES["conv"])))
    values |= {CONV_LOSS: mean_interval(100 * (smallest - largest)), CONV_ACCURACY: mean_interval(100 * largest)}
    for share, quantities in ((0.95, BELOW_THRESHOLD), (1.0, AT_THRESHOLD)):
        for dimension, quantity in quantities.items():
            errors = [exact_error(dimension, share, seed) for seed in laboratory.seeds]
            values[quantity] = geometric_mean_interval(errors)
    at_few = {arm: 1 - found for arm, found in accuracy.items() if arm[2] == CONV_SAMPLES}
    points += [
        (f"test error with {n} samples", cell, 3 * side**2, errors) for (cell, side, n), errors in at_few.items()
    ]
    return Measurement(values, curves_of(points, laboratory.seeds))


EXPONENT = {c: f"exponent of {c}'s samples to 14% error in the number of inputs" for c in ("dense", "local")}
CONV_LOSS = "accuracy of conv with 256 samples, 27 inputs minus 108 inputs, points"
CONV_ACCURACY = "accuracy of conv with 256 samples, 108 inputs, percent"
BELOW_THRESHOLD = {d: f"error of the least-norm form, 0.95 d (d + 1) / 2 samples, d = {d}" for d in EXACT_DIMENSIONS}
AT_THRESHOLD = {d: f"error of the least-norm form, d (d + 1) / 2 samples, d = {d}" for d in EXACT_DIMENSIONS}

CLAIM = Claim(
    statement="Which of two channels has the larger norm takes a dense layer samples that grow as the square of the number "
    "of inputs D, a local layer as D, and a convolution a number that does not grow; the quadratic form of least norm "
    "through the samples, which treats all directions alike, is exact from d (d + 1) / 2 samples on and not below.",
    source="Li, Zhang & Arora 2021, Why are convolutional nets more sample-efficient than fully-connected nets: theorems "
    "on orthogonally equivariant learners, figure 1; of local: Wang & Wu 2023, arXiv 2305.08404 (samples of order D)",
    protocol="Gaussian images with 3 channels, D = 27 to 108 (local: to 192); one layer, square, linear readout (local: "
    "1 x 1; conv: 3 x 3, global average); stochastic gradient descent, learning rate and moment chosen on 1,000 "
    "validation images.",
    criteria=(
        Criterion(EXPONENT["dense"], 1.8, 2.8, "2 at least"),
        Criterion(EXPONENT["local"], 0.8, 1.3, "1 at most"),
        Criterion(CONV_LOSS, -6, 6, "0"),
        Criterion(CONV_ACCURACY, low=78),
        *(Criterion(quantity, low=1e-3, published="not exact") for quantity in BELOW_THRESHOLD.values()),
        *(Criterion(quantity, high=1e-6, published="exact") for quantity in AT_THRESHOLD.values()),
    ),
    frozen="2026-11-27",
    seeds={"quick": 5, "cpu": 10, "gpu": 10},
    measure=measure,
    picture=Picture("inputs", "samples, or error"),
)
