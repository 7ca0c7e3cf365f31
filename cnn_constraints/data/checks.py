"""What a data set is, whoever made it: one check of its arrays, and of what its images can teach and test."""

import functools
import logging
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64

from cnn_constraints.arrays import SMALLEST_PHOTOGRAPH, Dataset, Split
from cnn_constraints.errors import InputError

tell = functools.cache(logging.getLogger(__name__).warning)
"""Says a sentence once, however many experiments see the same images."""

LARGEST = 1e37
"""Of the numbers of images. If they deviate by more, XLA takes the inverse of that for 0, as all that is below TINY."""

TINY = np.finfo(np.float32).tiny

SHOWN = 5
"""Classes that a sentence names."""


def checked(dataset: Any, maker: str) -> Dataset:
    """The data set with images as uint8 or float32 and labels as int32. maker: what a sentence begins with.

    Raises InputError for whatever is no data set: its shapes and types, numbers that are not finite, numbers of images and
    labels that differ, labels that are not 0 to classes - 1, and a test split unlike the training split.
    """
    if not (isinstance(dataset, Dataset) and isinstance(dataset.train, Split) and isinstance(dataset.test, Split)):
        raise InputError(f"{maker} is a {type(dataset).__name__}: it must be a Dataset of two Splits.")
    if not hasattr(dataset.classes, "__len__") or len(dataset.classes) < 2:
        raise InputError(f"{maker} has the classes {dataset.classes!r}: there must be at least two.")
    classes = len(dataset.classes)
    train = checked_split(dataset.train, classes, f"{maker} has training")
    test = checked_split(dataset.test, classes, f"{maker} has test")
    if (train.images.shape[1:], train.images.dtype) != (test.images.shape[1:], test.images.dtype):
        raise InputError(
            f"{maker} has training images {_described(train.images)} and test images {_described(test.images)}: they must "
            f"be alike but for their number."
        )
    return dataset._replace(train=train, test=test)


def checked_split(split: Split, classes: int, maker: str) -> Split:
    """One split of it."""
    images, labels = (np.asarray(array) if hasattr(array, "dtype") else np.asarray(None) for array in split)
    whole = images.dtype.kind in "biu"
    if images.ndim != 4 or not images.size or not (whole or images.dtype.kind == "f"):
        raise InputError(
            f"{maker} images {_described(images)}: they must be uint8 or float, of examples x height x width x channels."
        )
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        raise InputError(
            f"{maker} labels {_described(labels)}: they must be whole numbers, one for each of the {len(images):,} images."
        )
    if wrong := [label for label in (labels.min(), labels.max()) if not 0 <= label < classes]:
        raise InputError(f"{maker} labels of {wrong[0]}: its {classes} classes are numbered 0 to {classes - 1}.")
    if wrong := [number for number in (images.min(), images.max()) if whole and not 0 <= number <= 255]:
        raise InputError(
            f"{maker} images that hold {wrong[0]}: whole numbers must be 0 to 255; give floats for others."
        )
    with np.errstate(over="ignore"):
        images = images.astype(np.uint8 if whole else np.float32, copy=False)
    # A minimum is not a number where any number is none, and takes no memory.
    if not (images.min() >= -LARGEST and images.max() <= LARGEST):
        wrong = np.count_nonzero(~(np.abs(images) <= LARGEST))
        raise InputError(
            f"{maker} images that hold {wrong:,} numbers that are not finite in 32 bits, or beyond {LARGEST:.0e} either "
            f"way: give all a smaller value."
        )
    return Split(images, labels.astype(np.int32, copy=False))


def check_images(dataset: Dataset, maker: str) -> None:
    """Tells of classes whose training images are all equal, of equal images with different labels, of a test split of equal
    images, of test images that are training images too, and of what looks like images with channels first.

    Raises InputError for a class without a training image, and where all training images are equal.
    """
    labels, classes = dataset.train.labels, len(dataset.classes)
    _, first, counts = np.unique(labels, return_index=True, return_counts=True)
    if missing := without_images(dataset):
        raise InputError(f"{maker} has no training image of {missing}: every one of its {classes} classes needs some.")
    train, test = codes = codes_of(dataset)
    require_different(dataset.train, train, maker)
    varied = np.bincount(labels, train != train[first][labels], classes)
    each = zip(dataset.classes, varied, counts, strict=True)
    if constant := [name for name, some, count in each if count > 1 and not some]:
        tell(f"{maker} has classes whose training images are all equal: {_some(constant)}.")
    of_image = np.unique(train, return_inverse=True)[1]
    lowest = np.full(len(train), classes)
    np.minimum.at(lowest, of_image, labels)
    if ambiguous := np.count_nonzero(labels != lowest[of_image]):
        tell(f"{maker} has {ambiguous:,} training images, of {len(train):,}, that stand under another label too.")
    if len(test) > 1 and (test == test[0]).all():
        tell(f"{maker} has {len(test):,} test images, and all are equal.")
    if known := codes.known:
        tell(f"{maker} has {known:,} test images, of {len(test):,}, that are among the training images too.")
    height, width, channels = dataset.train.images.shape[1:]
    if height in (1, 3) and width == channels >= SMALLEST_PHOTOGRAPH:
        tell(f"{maker} has images of {height} x {width} pixels and {channels} channels: channels must come last.")


def without_images(dataset: Dataset) -> str:
    """The classes that no training image has, in words."""
    present = set(dataset.train.labels.tolist())
    return _some([name for number, name in enumerate(dataset.classes) if number not in present])


def require_different(train: Split, codes: Int64[np.ndarray, " examples"], maker: str) -> None:
    """Raises InputError where all of these training images, of these codes, are equal."""
    if (codes == codes[0]).all() or float(train.images.max()) - float(train.images.min()) < TINY:
        raise InputError(f"{maker} has {len(codes):,} training images, and all are equal: nothing can be learned.")


class Codes(NamedTuple):
    """A number for each image of both splits, in this process: equal where images are."""

    train: Int64[np.ndarray, " examples"]
    test: Int64[np.ndarray, " test_examples"]

    @property
    def known(self) -> int:
        """Test images that are training images too."""
        return int(np.isin(self.test, self.train).sum())


def codes_of(dataset: Dataset) -> Codes:
    """By their bytes."""
    of_split = lambda split: np.fromiter((hash(image.tobytes()) for image in split.images), np.int64, len(split.images))
    return Codes(of_split(dataset.train), of_split(dataset.test))


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(map(repr, names[:SHOWN])) + more


def _described(array: np.ndarray) -> str:
    return f"of {array.dtype} and shape {array.shape}"
