"""Images of one's own as arrays in an .npz file, as `numpy.savez` writes it."""

import contextlib
import hashlib
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cnn_constraints.arrays import Dataset, Split
from cnn_constraints.data.checks import checked_split
from cnn_constraints.data.memory import aligned_empty, require_memory
from cnn_constraints.errors import InputError, input_error, unknown_name
from cnn_constraints.files import local_path

NAMES = ("images", "labels", "test_images", "test_labels")

CHUNK = 2**20
"""Bytes that are read at once."""

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


def _array(file: Path, archive: zipfile.ZipFile, member: str) -> np.ndarray:
    """As NumPy reads it, in memory that is not copied once more. Raises ValueError for what is no array of numbers, and
    InputError where there is no room for it.
    """
    # A zip file carries a CRC-32 for each array, which is compared while the array is read.
    with archive.open(member) as opened:
        header = np.lib.format.read_array_header_1_0 if np.lib.format.read_magic(opened) == (1, 0) else None
        shape, by_columns, dtype = header(opened) if header else ((), False, np.dtype(object))
        if by_columns or dtype.hasobject or not shape:
            opened.seek(0)
            return np.lib.format.read_array(opened)
        require_memory(repr(str(file)), shape, dtype.itemsize)
        array = aligned_empty(shape, dtype)
        numbers = array.reshape(-1).view(np.uint8)
        place = 0
        while part := opened.read(CHUNK):
            numbers[place : place + len(part)] = np.frombuffer(part, np.uint8)
            place += len(part)
        if place < array.nbytes:
            raise EOFError
    return array


def _split(arrays: Mapping[str, np.ndarray], of_images: str, of_labels: str) -> Split:
    images = arrays[of_images]
    return Split(images[..., None] if images.ndim == 3 else images, arrays[of_labels])


def digest(file: str | Path) -> str:
    """SHA-256 of the file. Raises InputError where there is none."""
    with _reading(file), _place(file).open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


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
            archive = zipfile.ZipFile(opened)
            members = archive.namelist()
            arrays = {member.removesuffix(".npy"): _array(file, archive, member) for member in members}
        except InputError:
            raise
        except (ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
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
    test = Split(split.images[is_test], split.labels[is_test])
    # Where the images are, since they may take half of the memory.
    for place, number in enumerate(trained := np.flatnonzero(~is_test)):
        split.images[place] = split.images[number]
    return Split(split.images[: len(trained)], split.labels[trained]), test
