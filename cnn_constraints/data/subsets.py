"""Which images an experiment sees, and in which order. Everything is drawn on the host by NumPy, from named streams."""

import itertools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32

from cnn_constraints.arrays import Split
from cnn_constraints.data.checks import TINY
from cnn_constraints.errors import InputError

SUBSET, ORDER = 1, 2
"""Names of the streams: default_rng((seed, stream, ...)). Two streams of one seed never share a number."""


MOST_POSITIONS = 2**28
"""In the order of an experiment's images: an array of so many whole numbers is made for it."""


class Subset(NamedTuple):
    """Indices into a training split, and the standardisation that its training part defines.

    mean and deviation: per channel, over the training images only; a channel that is constant has deviation 1.
    """

    train: Int32[np.ndarray, " n_train"]
    validation: Int32[np.ndarray, " n_validation"]
    mean: Float32[np.ndarray, " channels"]
    deviation: Float32[np.ndarray, " channels"]


def draw_subset(split: Split, seed: int, n_train: int, n_validation: int) -> Subset:
    """Class-balanced and nested: for one seed, a smaller training subset is the beginning of every larger one.

    Validation images come first in the seed's order, so they are the same for all n_train and never trained on.
    Raises InputError where the split holds too few images.
    """
    _require_enough(split, n_train, n_validation)
    generator = np.random.default_rng((seed, SUBSET))
    order = generator.permutation(len(split.labels))
    place_in_round = np.empty_like(order)
    place_in_round[order] = generator.permutation(len(order))
    validation = _in_rounds(order, split.labels, place_in_round)[:n_validation]
    remaining = order[~np.isin(order, validation)]
    train = _in_rounds(remaining, split.labels, place_in_round)[:n_train]
    mean, deviation = _moments(split.images, train)
    return Subset(train, validation, mean, deviation)


def check_sizes(split: Split, n_train: int, n_validation: int) -> None:
    """Raises InputError where the split holds too few images, or so few of one class that none might be left to train on:
    validation images are drawn first, and class-balanced too.
    """
    _require_enough(split, n_train, n_validation)
    sizes = np.bincount(split.labels)
    sizes = np.sort(sizes[sizes > 0])
    rounds = next(taken for taken in itertools.count() if np.minimum(sizes, taken).sum() >= n_validation)
    if sizes[0] <= rounds and n_train >= len(sizes):
        raise InputError(
            f"data.n_validation is {n_validation}: that takes up to {rounds} images of every class, and the smallest "
            f"class has {sizes[0]}, so that none would be left to train on; make it smaller, or give that class more."
        )


def draw_batches(n_train: int, batch_size: int, updates: int, seed: int) -> Int32[np.ndarray, "updates batch"]:
    """Positions in a training subset for every update: shuffled epochs end to end, cut into batches.

    A batch may straddle epochs; after any number of updates no image has been seen twice as often more than another.
    """
    # So many epochs from one generator, which takes longer to make than a few images take to shuffle.
    epochs = np.tile(np.arange(n_train), (max(1, batch_size // n_train), 1))
    generators = [np.random.default_rng((seed, ORDER, i)) for i in range(-(-updates * batch_size // epochs.size))]
    orders = [generator.permuted(epochs, axis=1).ravel() for generator in generators]
    return np.concatenate(orders)[: updates * batch_size].reshape(updates, batch_size).astype(np.int32)


def _require_enough(split: Split, n_train: int, n_validation: int) -> None:
    available = len(split.labels)
    if n_train + n_validation > available:
        raise InputError(
            f"data.n_train + data.n_validation is {n_train} + {n_validation}: the training split has {available} images."
        )


def _in_rounds(order: np.ndarray, labels: np.ndarray, place_in_round: np.ndarray) -> Int32[np.ndarray, " some"]:
    """The images of `order` in rounds: each takes one image of every class that still has one, by place."""
    shuffled = labels[order]
    by_class = np.argsort(shuffled, kind="stable")
    counts = np.bincount(shuffled)
    rounds = np.empty(len(order), np.int64)
    rounds[by_class] = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    return order[np.lexsort((place_in_round[order], rounds))].astype(np.int32)


def _moments(images: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pixels = images[np.sort(train)].astype(np.float64)
    mean, deviation = pixels.mean(axis=(0, 1, 2)), pixels.std(axis=(0, 1, 2))
    return mean.astype(np.float32), np.where(deviation >= TINY, deviation, 1).astype(np.float32)
