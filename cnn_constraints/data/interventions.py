"""What is done to images before a network sees them, to make a bias agree with reality or not."""

from collections.abc import Callable

import numpy as np

from cnn_constraints.arrays import Dataset, Split

PERMUTATION_KEY = 7012
"""Draws the one permutation of `permute_pixels`: it belongs to the task, and is the same for every seed of a trial."""


def permutation(sites: int) -> np.ndarray:
    """The order of pixels of `permute_pixels` for images of that many sites: new pixel p is old pixel permutation[p]."""
    return np.random.default_rng(PERMUTATION_KEY).permutation(sites)


def permute_pixels(dataset: Dataset) -> Dataset:
    """One fixed permutation of the pixels of every image: neighbours are no longer near, and no content is lost.

    A dense layer can undo it by permuting its weights; nothing about it is local or translation invariant any more.
    """

    def permute(split: Split) -> Split:
        examples, height, width, channels = split.images.shape
        pixels = split.images.reshape(examples, height * width, channels)
        return split._replace(images=pixels[:, permutation(height * width)].reshape(split.images.shape))

    return dataset._replace(train=permute(dataset.train), test=permute(dataset.test))


INTERVENTIONS: dict[str, Callable[[Dataset], Dataset]] = {
    "none": lambda dataset: dataset,
    "permute_pixels": permute_pixels,
}
