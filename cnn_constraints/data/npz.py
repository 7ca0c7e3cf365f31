"""Images of one's own as arrays in an .npz file, as `numpy.savez` writes it."""

import contextlib
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cnn_constraints.arrays import Dataset, Split
from cnn_constraints.data.checks import checked_split
from cnn_constraints.data.memory import rows
from cnn_constraints.errors import InputError, input_error, unknown_name
from cnn_constraints.files import digest as digest_of
from cnn_constraints.files import local_path

NAMES = ("images", "labels", "test_images", "test_labels")

SPLIT_KEY, TEST_SHARE = 7014, 0.2
"""Where the file holds no test images, these are drawn by default_rng with this key: so many of every class."""


def load_npz(file: Path | None) -> Dataset:
    """The arrays `images` (uint8, 0 to 255, or floats), examples x height x width, or x channels, and `labels`, 0 to
    classes - 1, of a file; and `test_images` and `test_labels`, or in their place a fifth of the images of every class.

    Raises InputError where there is no such file, where it cannot be read or would need Python objects to be loaded, where
    an array is missing or unknown, and where without test images a class has a single image.
    """
    if file is None:
        raise InputError(
            "The data source 'arrays' needs an .npz file of images and labels: give its path as data.file."
        )
    arrays = _read(file)
    classes, counts = np.unique(arrays["labels"], return_counts=True)
    train = _split(arrays, *NAMES[:2])
    if set(arrays) == set(NAMES):
        test = _split(arrays, *NAMES[2:])
    else:
        train = checked_split(train, len(classes), f"{str(file)!r} has")
        if counts.min() < 2:
            raise InputError(
                f"{str(file)!r} has one image of class {classes[counts.argmin()]} and no test_images: give it two or more, "
                f"one of which is tested, or give test_images and test_labels."
            )
        train, test = _without_test(train)
    return Dataset("arrays", train, test, tuple(map(str, range(len(classes)))))


def _split(arrays: Mapping[str, np.ndarray], of_images: str, of_labels: str) -> Split:
    images = arrays[of_images]
    return Split(images[..., None] if images.ndim == 3 else images, arrays[of_labels])


def digest(file: str | Path) -> str:
    """SHA-256 of the file. Raises InputError where there is none."""
    with _reading(file):
        return digest_of(_place(file).read_bytes())


def _reading(file: str | Path) -> contextlib.AbstractContextManager[None]:
    return input_error(f"The data file {str(file)!r} cannot be read", "mend it, or name another.")


def _place(file: str | Path) -> Path:
    path = local_path(file)
    # Of a pipe there is nothing to read twice.
    if not path.is_file():
        raise InputError(f"There is no data file {str(file)!r}: name an .npz file that exists.")
    return path


def _read(file: Path) -> Mapping[str, np.ndarray]:
    with _reading(file), _place(file).open("rb") as opened:
        try:
            found = np.load(opened, allow_pickle=False)
            # A zip file carries a CRC-32 for each array, which is compared while the array is read.
            arrays = dict(found.items()) if isinstance(found, Mapping) else {"": found}
            # What is no array in an archive comes as bytes, and a file of a single array has no name for it.
            if "" in arrays or not all(isinstance(array, np.ndarray) for array in arrays.values()):
                raise ValueError
        except (ValueError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
            # Of many kinds and words: pickled objects, other files, and damaged ones.
            raise InputError(
                f"The data file {str(file)!r} cannot be read as arrays of numbers ({type(error).__name__}): make it with "
                f"numpy.savez(file, images=images, labels=labels)."
            ) from None
    for name in arrays:
        if name not in NAMES:
            raise unknown_name(f"array in {str(file)!r}", name, NAMES)
    for needed in NAMES[:2] if set(arrays) <= set(NAMES[:2]) else NAMES:
        if needed not in arrays:
            raise InputError(f"{str(file)!r} holds {', '.join(arrays) or 'nothing'}, and no {needed}: add that array.")
    return arrays


def _without_test(split: Split) -> tuple[Split, Split]:
    """For training and for testing, each in the order of the file."""
    generator, is_test = np.random.default_rng(SPLIT_KEY), np.zeros(len(split.labels), bool)
    for label in range(split.labels.max() + 1):
        members = generator.permutation(np.flatnonzero(split.labels == label))
        is_test[members[: max(1, int(TEST_SHARE * len(members)))]] = True
    train, test = (Split(rows(split.images, chosen), split.labels[chosen]) for chosen in (~is_test, is_test))
    return train, test
