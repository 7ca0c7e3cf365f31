"""Neyshabur: of what a convolution gains over a dense layer locality gives more than sharing, and sparsity finds it."""

import dataclasses

from cnn_constraints.claims import Tier
from cnn_constraints.claims.claim import Claim, Criterion, Laboratory, Measurement, Picture, curves_of
from cnn_constraints.claims.networks import REDUCE, train_arms
from cnn_constraints.experiment import Experiment, Model, Training, replace
from cnn_constraints.statistics import mean_interval
from cnn_constraints.summaries import CELL, N_TRAIN

SAMPLES: dict[Tier, tuple[int, ...]] = {"cpu": (10_000,), "gpu": (5000, 45_000)}
CHANNELS = {"cpu": 16, "gpu": 32}
UPDATES = {"cpu": 3000, "gpu": 35_000}
BATCH = {"cpu": 64, "gpu": 512}
STRENGTHS = {"cpu": (5e-5, 1e-4), "gpu": (2e-6, 1e-5)}
OTHERS = {"cpu": ("local",), "gpu": ("local", "shared")}
LASSO, NO_LASSO = "dense, beta-LASSO", "dense, no momentum"


def lines_of(laboratory: Laboratory) -> dict[str, Experiment]:
    """S-CONV, S-LOCAL and S-FC: one layer that sees 9 x 9 pixels of 32 x 32 with stride 2, a dense layer, a classifier."""
    tier = laboratory.tier
    data = dataclasses.replace(
        laboratory.images["cifar10"], n_validation=1000, reduce=REDUCE[tier], augmentation=("crop", "flip")
    )
    channels = CHANNELS[tier]
    usual = Experiment(
        data,
        Model("conv", 4 // data.reduce, (channels,), (1,), (2,), normalisation="batch", hidden=24 * channels),
        Training("sgd", (0.03, 0.1), (0.0,), "cosine", BATCH[tier], UPDATES[tier], UPDATES[tier] // 10),
    )
    dense = replace(usual, {CELL: "dense", "training.violations": ("local",)})
    plain = replace(dense, {"training.optimizer": "sgd_without_momentum", "training.learning_rates": (0.3,)})
    lasso = {"training.penalty": "beta_lasso", "training.penalty_strengths": STRENGTHS[tier]}
    others = {cell: replace(usual, {CELL: cell}) for cell in OTHERS[tier]}
    return {"conv": usual, **others, "dense": dense, NO_LASSO: plain, LASSO: replace(plain, lasso)}


def measure(laboratory: Laboratory) -> Measurement:
    """Test accuracies at the most images, as differences paired by seed, and how far beta-LASSO leaves dense from local."""
    sizes = laboratory.of_tier(SAMPLES)
    arms = {(line, n): replace(one, {N_TRAIN: n}) for line, one in lines_of(laboratory).items() for n in sizes}
    results = train_arms(laboratory, arms)
    most = {line: rows for (line, n), rows in results.items() if n == sizes[-1]}
    conv, local, dense, plain, lasso = (
        100 * most[line]["test_accuracy"].to_numpy(float) for line in ("conv", "local", "dense", NO_LASSO, LASSO)
    )
    far = [most[line]["violation_local"].to_numpy(float) ** 2 for line in (LASSO, NO_LASSO)]
    values = {
        LOCALITY: mean_interval(local - dense),
        SHARING: mean_interval(conv - local),
        TWICE: mean_interval((local - dense) - 2 * (conv - local)),
        LASSO_GAIN: mean_interval(lasso - plain),
        FAR: mean_interval(far[0] - far[1]),
    }
    points = [("CIFAR-10", line, n, 1 - rows["test_accuracy"]) for (line, n), rows in results.items()]
    return Measurement(values, curves_of(points, laboratory.seeds))


LOCALITY = "accuracy of local minus dense, points"
SHARING = "accuracy of conv minus local, points"
TWICE = "what locality gains (local minus dense) minus twice what sharing adds (conv minus local), points"
LASSO_GAIN = "accuracy of dense with beta-LASSO minus the same without, points"
FAR = "share of the squared weights beyond delta, dense with beta-LASSO minus the same without"

CLAIM = Claim(
    statement="From dense to conv most is gained by locality, and less by sharing; a dense layer trained with beta-LASSO "
    "gains too, and finds local connections by itself.",
    source="Neyshabur 2020, Towards learning convolutions from scratch, table 1: S-FC, S-LOCAL, S-CONV and beta-LASSO on "
    "CIFAR-10 after 400 epochs; the shared cell is ours",
    protocol="CIFAR-10 (CPU: halved, 10,000 images, 16 channels, 3,000 updates of 64; GPU: up to 45,000 images, 32, 35,000 "
    "of 512), one layer that sees 9 x 9 of 32 x 32 pixels with stride 2, a dense layer of 24 units a channel and a "
    "classifier, batch normalisation, crops and flips; stochastic gradient descent with momentum and a cosine schedule, "
    "with beta-LASSO (beta 50, on all weights alike) and what it is compared with without momentum; learning rate, moment "
    "and the strength of beta-LASSO chosen on 1,000 validation images.",
    criteria=(
        Criterion(LOCALITY, low=0, published="+8.75"),
        Criterion(SHARING, low=0, published="+2.62"),
        Criterion(TWICE, low=0, published="+3.51"),
        Criterion(LASSO_GAIN, low=0, published="+2.74 (beta 50 against 0)"),
        Criterion(FAR, high=0, published="local connections"),
    ),
    frozen="2026-11-27",
    seeds={"cpu": 18, "gpu": 3},
    measure=measure,
    picture=Picture("training images", "test error"),
    data_sets=("cifar10",),
)
