"""Neyshabur: of what a convolution gains over a dense layer locality gives more than sharing, and sparsity finds it."""

from cnn_constraints.claims.claim import Claim, Criterion, Laboratory, Measurement, Picture, curves_of
from cnn_constraints.claims.networks import base, train_arms
from cnn_constraints.experiment import Experiment, Model, Training, replace
from cnn_constraints.statistics import mean_interval
from cnn_constraints.summaries import CELL, N_TRAIN

SAMPLES = {"cpu": (1000, 3000), "gpu": (500, 5000, 45_000)}
CHANNELS = {"cpu": 16, "gpu": 64}
UPDATES = {"cpu": 1000, "gpu": 20_000}
LASSO = "dense, beta-LASSO"


def lines_of(laboratory: Laboratory) -> dict[str, Experiment]:
    """S-CONV, S-LOCAL and S-FC: one layer that sees 9 x 9 pixels of 32 x 32 with stride 2, and a classifier."""
    tier = laboratory.tier
    data, updates = base(laboratory.images["cifar10"], tier).data, UPDATES[tier]
    usual = Experiment(
        data,
        Model("conv", 4 // data.reduce, (CHANNELS[tier],), (1,), (2,)),
        Training("sgd", (0.003, 0.01, 0.03), (0.0,), "cosine", 32, updates, updates // 10),
    )
    lasso = {"training.penalty": "beta_lasso", "training.penalty_strengths": (1e-4, 3e-4)}
    dense = replace(usual, {CELL: "dense", "training.violations": ("local",)})
    others = {cell: replace(usual, {CELL: cell}) for cell in ("local", "shared")}
    return {"conv": usual, **others, "dense": dense, LASSO: replace(dense, lasso)}


def measure(laboratory: Laboratory) -> Measurement:
    """Test accuracies at the most images, as differences paired by seed, and how far beta-LASSO leaves dense from local."""
    sizes = SAMPLES[laboratory.tier]
    arms = {(line, n): replace(one, {N_TRAIN: n}) for line, one in lines_of(laboratory).items() for n in sizes}
    results = train_arms(laboratory, arms)
    most = {line: rows for (line, n), rows in results.items() if n == sizes[-1]}
    conv, local, dense, lasso = (
        100 * most[line]["test_accuracy"].to_numpy(float) for line in ("conv", "local", "dense", LASSO)
    )
    far = [most[line]["violation_local"].to_numpy(float) ** 2 for line in (LASSO, "dense")]
    values = {
        LOCALITY: mean_interval(local - dense),
        SHARING: mean_interval(conv - local),
        MORE: mean_interval((local - dense) - (conv - local)),
        LASSO_GAIN: mean_interval(lasso - dense),
        FAR: mean_interval(far[0] - far[1]),
    }
    points = [("CIFAR-10, flatten", line, n, 1 - rows["test_accuracy"]) for (line, n), rows in results.items()]
    return Measurement(values, curves_of(points, laboratory.seeds))


LOCALITY = "accuracy of local minus dense, most images, points"
SHARING = "accuracy of conv minus local, most images, points"
MORE = "what locality gains (local minus dense) minus what sharing adds (conv minus local), most images, points"
LASSO_GAIN = "accuracy of dense with beta-LASSO minus dense, most images, points"
FAR = "share of the squared weights beyond delta, dense with beta-LASSO minus dense"

CLAIM = Claim(
    statement="From dense to conv most is gained by locality, and less by sharing; a dense layer trained with beta-LASSO "
    "gains too, and finds local connections by itself.",
    source="Neyshabur 2020, Towards learning convolutions from scratch: S-FC, S-LOCAL, S-CONV and beta-LASSO on CIFAR-10; "
    "the shared cell is ours",
    protocol="CIFAR-10 (CPU: halved, 1,000 and 3,000 images, 16 channels, 1,000 updates; GPU: 500 to 45,000, 64, 20,000), "
    "one layer that sees 9 x 9 of 32 x 32 pixels with stride 2 and a linear classifier, without the paper's second dense "
    "layer, batch normalisation and augmentation; stochastic gradient descent with a cosine schedule; learning rate, "
    "moment and the strength of beta-LASSO (beta 50) chosen on 500 validation images.",
    criteria=(
        Criterion(LOCALITY, low=0, published="local is better"),
        Criterion(SHARING, low=0, published="conv is better, by less"),
        Criterion(MORE, low=0, published="locality matters most"),
        Criterion(LASSO_GAIN, low=0, published="85.19% reached"),
        Criterion(FAR, high=0, published="local connections"),
    ),
    frozen="2026-11-25",
    seeds={"cpu": 6, "gpu": 5},
    measure=measure,
    picture=Picture("training images", "test error"),
    data_sets=("cifar10",),
)
