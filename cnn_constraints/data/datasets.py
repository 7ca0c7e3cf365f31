"""The images of a config: read or drawn, made smaller, placed in a frame, and after the intervention."""

import dataclasses

import numpy as np

from cnn_constraints.arrays import Dataset, Split
from cnn_constraints.data import checks, sources
from cnn_constraints.data.interventions import intervene, place_in_frame, strength_of
from cnn_constraints.data.memory import aligned
from cnn_constraints.environment import memory_left
from cnn_constraints.errors import InputError
from cnn_constraints.experiment import Data


def build_dataset(data: Data) -> Dataset:
    """Raises InputError for data that cannot be read, are no data set or do not fit the memory, and for an intervention
    that changes nothing.
    """
    own = data.file or data.folder if data.source in ("arrays", "folder") else None
    maker = repr(str(own)) if own else f"The data source {data.source!r}"
    try:
        return _build(data, maker)
    except MemoryError as error:
        raise InputError(
            f"{maker} holds more images than fit into memory ({error or 'none is left'}), of which {memory_left():,} bytes "
            f"are left: make them fewer or smaller."
        ) from None


def _build(data: Data, maker: str) -> Dataset:
    dataset = checks.checked(sources.load(data.source, data.folder, data.size, data.file), maker)
    if data.reduce > 1:
        maker = f"{maker} with data.reduce {data.reduce}"
        dataset = checks.checked(sources.reduce_images(dataset, data.reduce), maker)
    checks.check_images(dataset, maker)
    if data.frame is not None:
        dataset = place_in_frame(dataset, data.frame)
    if data.intervention != "none":
        dataset = _intervened(dataset, data)
    arrays = [*dataset.train, *dataset.test]
    name, classes = dataset.name, dataset.classes
    del dataset
    # One by one, so that only one of them is there twice.
    train_images, train_labels, test_images, test_labels = (aligned(arrays.pop(0)) for _ in range(4))
    return Dataset(name, Split(train_images, train_labels), Split(test_images, test_labels), classes)


def _intervened(dataset: Dataset, data: Data) -> Dataset:
    # What is done may be done in place: codes and labels are kept.
    before, labels = checks.codes_of(dataset), [split.labels.copy() for split in (dataset.train, dataset.test)]
    shape = dataset.train.images.shape[1:]
    maker = f"The data set after data.intervention {data.intervention}"
    changed = checks.checked(intervene(dataset, data.intervention, data.strength), maker)
    after = checks.codes_of(changed)
    checks.require_different(changed.train, after.train, maker)
    if missing := checks.without_images(changed):
        checks.tell(f"{maker} has no training image of {missing}.")
    if after.known > before.known:
        known = f"{after.known:,} test images that are among the training images too, {before.known:,} before it"
        checks.tell(f"{maker} has {known}.")
    arrays = zip((*before, *labels), (*after, changed.train.labels, changed.test.labels), strict=True)
    unchanged = changed.train.images.shape[1:] == shape and all(np.array_equal(*both) for both in arrays)
    # A sweep over strengths may begin at 0.
    if unchanged and data.strength != 0:
        height, width, _ = shape
        strength = strength_of(data.intervention, data.strength)
        told = "" if strength is None else f" with data.strength {strength}"
        raise InputError(
            f"data.intervention {data.intervention}{told} changes nothing in images of {height} x {width}: leave it "
            f"out, or give it larger images" + (" or a greater strength." if told else ".")
        )
    return changed


def images_of(data: Data) -> Data:
    """What experiments on the same images have in common."""
    return dataclasses.replace(data, n_train=1, n_validation=1, augmentation=(), augmentation_strengths=())


class Datasets:
    """Data sets in memory, each built once."""

    def __init__(self) -> None:
        self._known: dict[Data, Dataset] = {}

    def __call__(self, data: Data) -> Dataset:
        """The data set of a config. Raises InputError as `build_dataset`."""
        images = images_of(data)
        if images not in self._known:
            self._known[images] = build_dataset(data)
        return self._known[images]
