"""Synthetic tasks whose right answer is known: inputs and labels drawn from a key, as many as wanted."""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32

from cnn_constraints.arrays import Dataset, Split


def hypercube(generator: np.random.Generator, examples: int, sites: int) -> Float[np.ndarray, "examples sites"]:
    """Signals of independent signs, -1 or 1."""
    return generator.choice([-1.0, 1.0], size=(examples, sites))


def local_polynomial(signals: Float[np.ndarray, "examples sites"], oscillating: bool) -> Float[np.ndarray, " examples"]:
    """sum_i s_i x_i x_{i+1} x_{i+2} / sqrt(sites) on a ring; s_i = 1, or (-1)^i where it oscillates.

    Misiakiewicz & Mei, section 4, f_LF and f_HF: both are local, and only the first is invariant to translation.
    """
    terms = signals * np.roll(signals, -1, axis=1) * np.roll(signals, -2, axis=1)
    signs = (-1.0) ** np.arange(signals.shape[1]) if oscillating else np.ones(signals.shape[1])
    return terms @ signs / np.sqrt(signals.shape[1])


def parity(signals: Float[Array, "examples sites"], first: Array | int, bits: int) -> Float[Array, " examples"]:
    """The product of so many neighbours on a ring of signs, from the site `first` on (Malach & Shalev-Shwartz 2021)."""
    return signals[:, (first + jnp.arange(bits)) % signals.shape[1]].prod(axis=1)


def signal_patches(
    generator: np.random.Generator, examples: int, patches: int, signal: Float[np.ndarray, " dimension"], noise: float
) -> tuple[Float[np.ndarray, "examples patches dimension"], Float[np.ndarray, " examples"]]:
    """Patches of Gaussian noise, of which one, anywhere, holds label * signal too; labels are -1 or 1.

    The dynamic signal distribution of Lahoti et al. 2024 (arXiv 2403.15707); noise is the deviation of each entry.
    """
    labels = generator.choice([-1.0, 1.0], size=examples)
    place = generator.integers(patches, size=examples)
    inputs = noise * generator.standard_normal((examples, patches, len(signal)))
    inputs[np.arange(examples), place] += labels[:, None] * signal
    return inputs, labels


BOXES_SIDE, BOXES_CHANNELS, BOX = 32, 3, 4


def red_and_green(
    generator: np.random.Generator, examples: int
) -> tuple[Float[np.ndarray, "examples 32 32 3"], Int32[np.ndarray, " examples"]]:
    """A red box left of a green one in the upper half (0), or a green one left of a red one in the lower half (1).

    Kayhan & van Gemert 2020 (arXiv 2003.07064), experiment 2: what stands where decides, and so does the half alone.
    """
    labels = np.arange(examples) % 2
    left = generator.integers(BOXES_SIDE // 2 - 6, size=examples)
    columns = np.stack([left, generator.integers(left + BOX + 1, BOXES_SIDE - BOX)])
    rows = 7 + BOXES_SIDE // 2 * labels + generator.integers(-BOX, BOX, size=(2, examples))
    images = np.zeros((examples, BOXES_SIDE, BOXES_SIDE, BOXES_CHANNELS), np.float32)
    for down, right in itertools.product(range(BOX), repeat=2):
        images[np.arange(examples), rows + down, columns + right, np.stack([labels, 1 - labels])] = 1
    return images, labels.astype(np.int32)


def quadratic_labels(
    images: Float[np.ndarray, "examples height width channels"],
) -> Int32[np.ndarray, " examples"]:
    """1 where the first channel's norm exceeds the second's, else 0 (Li, Zhang & Arora 2021, figure 1)."""
    energy = (images[..., :2] ** 2).sum(axis=(1, 2))
    return (energy[:, 0] > energy[:, 1]).astype(np.int32)


def gaussian_fields(
    generator: np.random.Generator, covariance: Float[np.ndarray, "points points"], fields: int
) -> Float[np.ndarray, "points fields"]:
    """Independent Gaussian random fields, at points with this covariance."""
    jitter = 1e-10 * np.eye(len(covariance))
    return np.linalg.cholesky(covariance + jitter) @ generator.standard_normal((len(covariance), fields))


FEATURES, PAIRS, LEAST_CORRELATION = 3, 3, 8
"""Of every level of a hierarchy: how many features there are, as how many pairs of the level below each is written, and
how much a feature at one place of a pair must tell of what the pair stands for.
"""

Rules = Int32[np.ndarray, "levels features pairs 2"]


def hierarchy_rules(generator: np.random.Generator, levels: int) -> Rules:
    """How features are written, level by level from the class on; every pair of features stands for one of them.

    Over both places of a pair, the sum of the squared differences of a feature's counts from chance is 8 at least, of 18.
    Where it is 0, as where the sum modulo 3 decides, no single feature is correlated with the class, which is what the
    paper's numbers of samples rest on. To choose is ours.
    """
    found = []
    while len(found) < levels:
        pairs = np.stack(np.divmod(generator.permutation(FEATURES**2), FEATURES), axis=1).reshape(FEATURES, PAIRS, 2)
        counts = (pairs[..., None] == np.arange(FEATURES)).sum(axis=1)
        if ((counts - PAIRS / FEATURES) ** 2).sum() >= LEAST_CORRELATION:
            found.append(pairs)
    return np.array(found, np.int32)


def sparse_hierarchy(
    generator: np.random.Generator, rules: Rules, examples: int, blanks: int
) -> tuple[Float[np.ndarray, "examples features sites"], Int32[np.ndarray, " examples"]]:
    """Classes written out level by level, each feature of a pair at a random one of blanks + 1 places, the others blank.

    What is blank is written as blanks only, so that there are (2 (blanks + 1))^levels sites; a feature is 1 in a channel of
    its own, a blank 0 in all. The sparse random hierarchy model of Tomasini & Wyart 2024 (arXiv 2404.10727), with s = 2.
    """
    labels = generator.integers(FEATURES, size=examples)
    found = labels[:, None]
    for rule in rules:
        pairs = np.where(found[..., None] < 0, -1, rule[found, generator.integers(PAIRS, size=found.shape)])
        places = generator.integers(blanks + 1, size=pairs.shape)[..., None]
        found = np.where(places == np.arange(blanks + 1), pairs[..., None], -1).reshape(examples, -1)
    return (found[:, None] == np.arange(FEATURES)[:, None]).astype(np.float32), labels.astype(np.int32)


def ring_covariance(sites: int, length: float) -> Float[np.ndarray, "sites sites"]:
    """exp(-(d / length)^2) at a distance of d sites on a ring, and 0.001 more at 0, so that it has a Cholesky factor."""
    apart = np.abs(np.subtract.outer(np.arange(sites), np.arange(sites)))
    return np.exp(-((np.minimum(apart, sites - apart) / length) ** 2)) + 1e-3 * np.eye(sites)


def saturated_covariance(covariance: Float[np.ndarray, "sites sites"], gain: float) -> Float[np.ndarray, "sites sites"]:
    """The covariance of erf(gain z / sqrt(2)) for Gaussian z of this covariance, exactly (Williams 1998)."""
    scales = np.sqrt(1 + gain**2 * np.diag(covariance))
    return 2 / np.pi * np.arcsin(gain**2 * covariance / np.outer(scales, scales))


class Task(NamedTuple):
    """A task as a data source. draw: the dataset of a size. numbers: how many an image of a size has. size: when the
    config does not say.
    """

    draw: Callable[[int], Dataset]
    numbers: Callable[[int], int]
    size: int

    def bytes(self, size: int) -> int:
        """What the images of a size take."""
        return 4 * self.numbers(size) * (TRAIN_EXAMPLES + TEST_EXAMPLES)


TASK_KEY, TRAIN_EXAMPLES, TEST_EXAMPLES = 7121, 2**17, 10_000
"""A pool so large that the subsets of two seeds have little in common."""

MOST_BYTES = 2**31
"""That the images of a task may take; drawing them takes several times as much."""

QUADRATIC_CHANNELS, SIGNAL_DIMENSION, SIGNAL_NOISE = 3, 8, 0.2


def quadratic_images(size: int) -> Dataset:
    """Gaussian images, size x size x 3, with `quadratic_labels`."""
    generator = np.random.default_rng((TASK_KEY, 0, size))

    def draw(examples: int) -> Split:
        images = generator.standard_normal((examples, size, size, QUADRATIC_CHANNELS), dtype=np.float32)
        return Split(images, quadratic_labels(images))

    return Dataset("quadratic_labels", draw(TRAIN_EXAMPLES), draw(TEST_EXAMPLES), ("second", "first"))


def signal_images(size: int) -> Dataset:
    """`signal_patches` as images of size x 1 sites with the entries of a patch as channels; one signal a size."""
    generator = np.random.default_rng((TASK_KEY, 1, size))
    signal = generator.standard_normal(SIGNAL_DIMENSION)
    signal /= np.linalg.norm(signal)

    def draw(examples: int) -> Split:
        inputs, labels = signal_patches(generator, examples, size, signal, SIGNAL_NOISE)
        return Split(inputs[:, :, None].astype(np.float32), (labels > 0).astype(np.int32))

    return Dataset("signal_patches", draw(TRAIN_EXAMPLES), draw(TEST_EXAMPLES), ("minus", "plus"))


TASKS: dict[str, Task] = {
    "quadratic_labels": Task(quadratic_images, lambda size: QUADRATIC_CHANNELS * size**2, 5),
    "signal_patches": Task(signal_images, lambda size: SIGNAL_DIMENSION * size, 16),
}
"""Tasks that are data sources: `data.source quadratic_labels`, with `data.size`."""
