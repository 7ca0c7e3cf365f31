"""Pellegrini & Biroli: the connections of a dense layer that survive pruning come from pixels near each other."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int
from scipy.spatial.distance import cdist

from cnn_constraints.arrays import Dataset
from cnn_constraints.claims.claim import Claim, Criterion, Laboratory, Measurement, Picture, curves_of
from cnn_constraints.claims.networks import REDUCE, descend
from cnn_constraints.data.datasets import build_dataset
from cnn_constraints.statistics import mean_interval

UNITS, ROUNDS, SHARE, FIRST, UPDATES, BATCH, LEARNING_RATE = 64, 12, 0.3, 100, 2000, 100, 0.05
"""SHARE of the weights that are left is cut after each round; every round starts from the weights after FIRST updates."""

ARMS = {"30,000 images": (30_000, False), "permuted": (30_000, True), "300 images": (300, False)}
MANY, PERMUTED, FEW = ARMS
HALFWAY = ROUNDS // 2
"""Rounds after which an eighth of the weights is left."""

Mask = Bool[Array | np.ndarray, "pixels units"]


class Weights(NamedTuple):
    """Of a dense layer and its linear classifier."""

    dense: Float[Array, "pixels units"]
    biases: Float[Array, " units"]
    readout: Float[Array, "units classes"]
    offsets: Float[Array, " classes"]


def answers(weights: Weights, mask: Mask, images: Float[Array, "examples pixels"]) -> Float[Array, "examples classes"]:
    """Logits of the network that keeps the weights of the mask."""
    return jax.nn.relu(images @ (weights.dense * mask) + weights.biases) @ weights.readout + weights.offsets


@jax.jit
def train(
    weights: Weights, mask: Mask, images: Array, labels: Array, batches: Int[Array | np.ndarray, "updates batch"]
) -> Weights:
    """Gradient descent with momentum 0.9 on the mean cross-entropy of each batch."""

    def loss(weights: Weights, batch: Array) -> Float[Array, ""]:
        logits = answers(weights, mask, images[batch])
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels[batch]).mean()

    return descend(optax.sgd(LEARNING_RATE, momentum=0.9), loss, weights, jnp.asarray(batches))


def prune(mask: Mask, weights: Float[Array | np.ndarray, "pixels units"]) -> Bool[np.ndarray, "pixels units"]:
    """The mask without that SHARE of its weights which are smallest."""
    size = np.where(mask, np.abs(weights), -1).ravel()
    kept = np.zeros(size.shape, bool)
    kept[np.argsort(size)[len(size) - round((1 - SHARE) * np.sum(mask)) :]] = True
    return kept.reshape(mask.shape)


def nearness(mask: Mask, places: Float[np.ndarray, "pixels 2"]) -> float:
    """The mean distance of two inputs of one unit, over that of two different pixels each of which is drawn as often as it
    survives anywhere: so pixels that no unit looks at, as at the border of digits, do not count as locality.
    """
    kept = np.asarray(mask, float)
    distances, inputs, survivors = cdist(places, places), kept.sum(axis=0), kept.sum(axis=1)
    within = (kept * (distances @ kept)).sum() / (inputs * (inputs - 1)).sum()
    chance = survivors @ distances @ survivors / (survivors.sum() ** 2 - (survivors**2).sum())
    return float(within / chance)


def run(dataset: Dataset, n_train: int, permuted: bool, seed: int) -> list[tuple[float, float, float]]:
    """After each round, how near surviving inputs are over chance, in the image and in the order that the network is given,
    and the accuracy on test images.
    """
    generator = np.random.default_rng(seed)
    height, width = dataset.train.images.shape[1:3]
    places = np.stack(np.divmod(np.arange(height * width), width), axis=1).astype(float)
    chosen = generator.permutation(len(dataset.train.labels))[:n_train]
    order = generator.permutation(len(places)) if permuted else np.arange(len(places))
    images, test_images = (
        np.asarray(own, np.float32).reshape(len(own), -1)[:, order]
        for own in (dataset.train.images[chosen], dataset.test.images)
    )
    seen, unseen = (jnp.asarray((own - images.mean()) / images.std()) for own in (images, test_images))
    labels = jnp.asarray(dataset.train.labels[chosen])
    batches = lambda updates: generator.integers(n_train, size=(updates, BATCH))
    of_dense, of_readout = (jax.random.fold_in(jax.random.key(seed), layer) for layer in range(2))
    dense = jax.random.normal(of_dense, (len(places), UNITS)) * np.sqrt(2 / len(places))
    readout = jax.random.normal(of_readout, (UNITS, len(dataset.classes))) / np.sqrt(UNITS)
    start = Weights(dense, jnp.zeros(UNITS), readout, jnp.zeros(len(dataset.classes)))
    mask, rounds = np.ones(dense.shape, bool), []
    start = train(start, mask, seen, labels, batches(FIRST))
    for number in range(ROUNDS + 1):
        if number:
            mask = prune(mask, trained.dense)
        trained = train(start, mask, seen, labels, batches(UPDATES))
        right = np.asarray(answers(trained, mask, unseen)).argmax(axis=1) == dataset.test.labels
        rounds.append((nearness(mask, places[order]), nearness(mask, places), float(right.mean())))
    return rounds


def measure(laboratory: Laboratory) -> Measurement:
    """How near surviving inputs are after the last round, and what the cut costs."""
    data = dataclasses.replace(laboratory.images["mnist"], reduce=REDUCE[laboratory.tier])
    dataset = build_dataset(data)
    found = {
        arm: np.array([run(dataset, *setting, seed) for seed in laboratory.seeds]) for arm, setting in ARMS.items()
    }
    near, as_given, accuracy = ({arm: rounds[..., n] for arm, rounds in found.items()} for n in range(3))
    values = {
        NEAR: near[MANY][:, -1],
        SAME: near[PERMUTED][:, -1] - near[MANY][:, -1],
        AS_GIVEN: as_given[PERMUTED][:, -1],
        FEWER: near[FEW][:, -1] - near[MANY][:, -1],
        COST: 100 * (accuracy[MANY][:, HALFWAY] - accuracy[MANY][:, 0]),
    }
    lines = near | {"permuted, as given": as_given[PERMUTED]}
    left = [100 * (1 - SHARE) ** number for number in range(ROUNDS + 1)]
    points = [
        ("", line, x, of_seeds) for line, rounds in lines.items() for x, of_seeds in zip(left, rounds.T, strict=True)
    ]
    return Measurement({name: mean_interval(own) for name, own in values.items()}, curves_of(points, laboratory.seeds))


NEAR = "distance of two surviving inputs of a unit over chance, 1.4% of the weights"
SAME = "distance of two surviving inputs over chance, 1.4% of the weights, with permuted pixels minus without"
AS_GIVEN = "distance of two surviving inputs over chance, 1.4% of the weights, in the order of the permuted pixels"
FEWER = "distance of two surviving inputs over chance, 1.4% of the weights, 300 training images minus 30,000"
COST = "accuracy with 12% of the weights minus that with all, points"

CLAIM = Claim(
    statement="Cut the smallest weights of a dense layer again and again, and what is left is local: the pixels that a "
    "unit keeps are neighbours in the image, even where the network is given them in another order, and the more so the "
    "more images it was trained on.",
    source="Pellegrini & Biroli 2022, Neural network pruning denoises the features and makes local connectivity emerge in "
    "visual tasks, ICML (first version: arXiv 2104.13343)",
    protocol="MNIST (CPU: halved to 14 x 14), 30,000 or 300 training images; a dense layer of 64 units, rectifier, linear "
    "readout; 12 rounds, each of 2,000 updates in batches of 100 (momentum 0.9, rate 0.05) from the weights after 100, the "
    "smallest 30% of the weights that are left cut after each. Chance: two pixels, each as often as it survives anywhere. "
    "The paper: ImageNet at 32 x 32, three layers of 1,024 units, 100,000 updates.",
    criteria=(
        Criterion(NEAR, high=0.8, published="local"),
        Criterion(SAME, -0.1, 0.1, "0: a dense layer knows no order"),
        Criterion(AS_GIVEN, 0.9, 1.1, "1"),
        Criterion(FEWER, low=0.1, published="improves with the training set"),
        Criterion(COST, low=-0.5, published="without harm"),
    ),
    frozen="2026-11-27",
    seeds={"quick": 4, "cpu": 10, "gpu": 10},
    measure=measure,
    picture=Picture("weights left, %", "distance of surviving inputs over chance", y_logarithmic=False),
    data_sets=("mnist",),
)
