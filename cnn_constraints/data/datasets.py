"""The images of a config: read or drawn, made smaller, placed in a frame, and after the intervention."""

import dataclasses

import numpy as np

from cnn_constraints.arrays import Dataset, Split
from cnn_constraints.data import sources
from cnn_constraints.data.interventions import intervene, place_in_frame
from cnn_constraints.experiment import Data

ALIGNMENT = 64
"""Bytes that divide the address of whatever JAX does not copy."""


def build_dataset(data: Data) -> Dataset:
    """Raises InputError for data that cannot be read."""
    loaded = sources.load(data.source, data.folder, data.size, data.file)
    dataset = sources.reduce_images(loaded, data.reduce)
    if data.frame is not None:
        dataset = place_in_frame(dataset, data.frame)
    dataset = intervene(dataset, data.intervention, data.strength)
    train, test = (Split(*map(aligned, split)) for split in (dataset.train, dataset.test))
    return dataset._replace(train=train, test=test)


def aligned(array: np.ndarray) -> np.ndarray:
    """The same numbers, where every device of a CPU can read them in place: else JAX copies them once for each."""
    memory = np.empty(array.nbytes + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    copy = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def images_of(data: Data) -> Data:
    """What experiments on the same images have in common."""
    return dataclasses.replace(data, n_train=1, n_validation=1, augmentation=(), augmentation_strengths=())


class Datasets:
    """Data sets in memory, each built once."""

    def __init__(self) -> None:
        self._known: dict[Data, Dataset] = {}

    def __call__(self, data: Data) -> Dataset:
        """The data set of a config. Raises InputError for data that cannot be read."""
        images = images_of(data)
        if images not in self._known:
            self._known[images] = build_dataset(data)
        return self._known[images]
