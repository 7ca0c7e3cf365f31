"""Ingrosso & Goldt: a dense layer becomes local by itself where its inputs are not Gaussian, and only there."""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.special import erf
from jaxtyping import Array, Bool, Float

from cnn_constraints.claims.claim import Claim, Criterion, Laboratory, Measurement, Picture, curves_of
from cnn_constraints.data import tasks
from cnn_constraints.statistics import geometric_mean_interval, mean_interval

SITES, UNITS, LENGTHS = 100, 8, (2.0, 6.0)
"""Of the ring; of the dense layer; and how far the two classes are correlated along the ring."""

UPDATES, BATCH, LEARNING_RATE, TEST = 20_000, 20, 0.5, 4000
GAINS, LOW, HIGH = (0.1, 0.5, 1.0, 3.0), 0.1, 3.0
INPUTS = ("saturated", "Gaussian of equal covariance")
ARMS = tuple(itertools.product(INPUTS, GAINS))


class Weights(NamedTuple):
    """Of a dense layer of UNITS in every arm; what follows it is fixed."""

    filters: Float[Array, "arms units sites"]
    biases: Float[Array, "arms units"]


class Covariances(NamedTuple):
    """roots: Cholesky factors of the fields that each arm starts from, by class. saturated: whether they are put through
    erf(gain z / sqrt(2)), times a scale that makes their variance 1.
    """

    roots: Float[Array, "arms 2 sites sites"]
    gains: Float[Array, " arms"]
    scales: Float[Array, " arms"]
    saturated: Bool[Array, " arms"]


def answers(weights: Weights, inputs: Float[Array, "arms examples sites"]) -> Float[Array, "arms examples"]:
    """The mean over units of erf((w x / sqrt(sites) + b) / sqrt(2))."""
    units = jnp.einsum("aes,aus->aeu", inputs, weights.filters) / np.sqrt(SITES) + weights.biases[:, None]
    return erf(units / np.sqrt(2)).mean(axis=-1)


def draw(key: Array, examples: int, covariances: Covariances) -> Float[Array, "arms examples sites"]:
    """As many of the first class as of the second; all arms are made of the same normal numbers."""
    normal = jax.random.normal(key, (2, examples // 2, SITES))
    fields = jnp.einsum("acst,cet->aces", covariances.roots, normal).reshape(len(ARMS), examples, SITES)
    gains, scales, saturated = (own[:, None, None] for own in covariances[1:])
    return jnp.where(saturated, scales * erf(gains * fields / np.sqrt(2)), fields)


@jax.jit
def train(key: Array, covariances: Covariances) -> tuple[Float[Array, "arms units sites"], Float[Array, " arms"]]:
    """The filters and the accuracy on fresh inputs after gradient descent on the mean squared difference from labels 1 and
    -1, fresh inputs for every update.

    All arms start at the same weights, of deviation 0.1, with biases 1 and -1. Rates are those of the paper's mean-field
    network: times UNITS for filters, and for biases over SITES too.
    """
    of_weights, of_inputs, of_test = jax.random.split(key, 3)
    filters = 0.1 * jax.random.normal(of_weights, (UNITS, SITES))
    biases = jnp.where(jnp.arange(UNITS) < UNITS // 2, 1.0, -1.0)
    start = Weights(*(jnp.broadcast_to(own, (len(ARMS), *own.shape)) for own in (filters, biases)))
    labels = lambda examples: jnp.repeat(jnp.array([1.0, -1.0]), examples // 2)

    def update(weights: Weights, key: Array) -> tuple[Weights, None]:
        inputs = draw(key, BATCH, covariances)
        loss = lambda weights: ((answers(weights, inputs) - labels(BATCH)) ** 2).mean(axis=1).sum()
        gradient, rate = jax.grad(loss)(weights), LEARNING_RATE * UNITS
        moved = (weights.filters - rate * gradient.filters, weights.biases - rate / SITES * gradient.biases)
        return Weights(*moved), None

    trained, _ = lax.scan(update, start, jax.random.split(of_inputs, UPDATES))
    right = answers(trained, draw(of_test, TEST, covariances)) * labels(TEST) > 0
    return trained.filters, right.mean(axis=1)


def participation(filters: Float[np.ndarray, "*units sites"]) -> Float[np.ndarray, "*units"]:
    """sum_i w_i^4 / (sum_i w_i^2)^2: 1 / n where n sites share alike, 3 / SITES where all are normal numbers."""
    return (filters**4).sum(axis=-1) / (filters**2).sum(axis=-1) ** 2


def covariances() -> Covariances:
    """Those of the arms."""
    fields = [tasks.ring_covariance(SITES, length) for length in LENGTHS]
    found = []
    for inputs, gain in ARMS:
        after = [tasks.saturated_covariance(own, gain) for own in fields]
        variance, saturated = after[0][0, 0], inputs == INPUTS[0]
        roots = np.linalg.cholesky(fields if saturated else np.divide(after, variance))
        found.append((roots, gain, variance**-0.5, saturated))
    roots, gains, scales, saturated = (jnp.asarray(np.array(own), jnp.float32) for own in zip(*found, strict=True))
    return Covariances(roots, gains, scales, saturated > 0)


def measure(laboratory: Laboratory) -> Measurement:
    """The largest participation ratio of a unit, for each gain, against that of a Gaussian of equal covariance."""
    of_arms = covariances()
    found = [train(jax.random.key(seed), of_arms) for seed in laboratory.seeds]
    largest = np.stack([participation(np.asarray(filters)).max(axis=-1) for filters, _ in found], axis=-1)
    accuracy = 100 * np.stack([np.asarray(right) for _, right in found], axis=-1)
    by_arm = dict(zip(ARMS, largest, strict=True))
    saturated, clone = INPUTS
    values = {
        QUOTIENT[gain]: geometric_mean_interval(by_arm[saturated, gain] / by_arm[clone, gain]) for gain in QUOTIENT
    }
    values[GROWTH] = geometric_mean_interval(by_arm[saturated, HIGH] / by_arm[saturated, LOW])
    values[ACCURACY] = mean_interval(accuracy.min(axis=0))
    return Measurement(values, curves_of([("", *arm, of_seeds) for arm, of_seeds in by_arm.items()], laboratory.seeds))


QUOTIENT = {
    gain: f"largest participation ratio of a unit over that with a Gaussian of equal covariance, gain {gain:g}"
    for gain in (LOW, HIGH)
}
GROWTH = f"largest participation ratio of a unit, gain {HIGH:g} over gain {LOW:g}"
ACCURACY = "accuracy of the arm that is least right, percent"

CLAIM = Claim(
    statement="A dense layer that learns to tell over how far its inputs are correlated ends with local filters where "
    "these have edges, and not where they are Gaussian with the very same covariance.",
    source="Ingrosso & Goldt 2022, Data-driven emergence of convolutional structure in neural networks, PNAS 119, arXiv "
    "2202.00565",
    protocol="Gaussian fields on a ring of 100 sites with covariance exp(-(d / 2)^2) or exp(-(d / 6)^2), put through "
    "erf(gain z / sqrt(2)), against Gaussian fields of the covariance that they then have. A dense layer of 8 units, erf, "
    "mean of units; filters and biases trained on the squared error, 20,000 updates of 20 fresh inputs, rate 0.5 times the "
    "number of units. Participation ratio of a filter w: sum w^4 / (sum w^2)^2.",
    criteria=(
        Criterion(QUOTIENT[HIGH], low=1.5, published="localised against oscillating"),
        Criterion(QUOTIENT[LOW], 0.8, 1.25, "no difference"),
        Criterion(GROWTH, low=1.5, published="rises with the gain"),
        Criterion(ACCURACY, low=75),
    ),
    frozen="2026-11-27",
    seeds={"quick": 3, "cpu": 8, "gpu": 20},
    measure=measure,
    picture=Picture("gain", "largest participation ratio", y_logarithmic=False),
)
