"""The images of a config: read or drawn, made smaller, and after the intervention."""

import dataclasses

from cnn_constraints.arrays import Dataset
from cnn_constraints.data import sources
from cnn_constraints.data.interventions import intervene
from cnn_constraints.experiment import Data


def build_dataset(data: Data) -> Dataset:
    """Raises InputError for data that cannot be read."""
    dataset = sources.reduce_images(sources.load(data.source, data.folder, data.size), data.reduce)
    return intervene(dataset, data.intervention, data.strength)


def images_of(data: Data) -> Data:
    """What experiments on the same images have in common."""
    return dataclasses.replace(data, n_train=1, n_validation=1)


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
