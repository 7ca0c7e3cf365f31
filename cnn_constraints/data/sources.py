"""Where images come from: one registry of functions, each of which returns a whole dataset as arrays in memory."""

import contextlib
import os
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from cnn_constraints import errors
from cnn_constraints.arrays import Dataset, Split
from cnn_constraints.data import memory
from cnn_constraints.data.archives import load_archives
from cnn_constraints.data.checks import tell
from cnn_constraints.data.npz import load_npz
from cnn_constraints.data.tasks import TASKS
from cnn_constraints.errors import InputError
from cnn_constraints.files import as_text, digest_of_all, local_path
from cnn_constraints.settings import DATA_VARIABLE

DIGITS_TEST_PER_CLASS = 40

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")

IMAGE_FORMATS = ("PNG", "JPEG", "MPO", "GIF", "BMP", "WEBP")
"""What viewers show under these names. Other formats may have more than 8 bits, of which Pillow says nothing."""


def load(
    name: str, folder: str | Path | None = None, size: int | None = None, file: str | Path | None = None
) -> Dataset:
    """The dataset of the source `name`: images (examples, height, width, channels) and int32 labels.

    Images are uint8, 0 to 255; those of a synthetic task (`tasks.TASKS`) of side `size` are float32.

    `folder` holds the original archives of mnist, fashion_mnist or cifar10, directly or in a subfolder named after the
    source; without it they are looked for in the folder that the environment variable CNN_CONSTRAINTS_DATA names, and
    where that is not set they are downloaded. The source `folder` needs one, and `arrays` a `file`; `digits` and tasks read
    nothing.

    Raises InputError for an unknown name, for a folder or file that does not exist or is not read, and for whatever the
    source finds wrong.
    """
    if file is not None and name != "arrays":
        raise InputError(
            f"data.file is {str(file)!r}: only the data.source arrays reads a file; leave it out, or name that."
        )
    if folder is not None and name in ("digits", "arrays", *TASKS):
        raise InputError(
            f"data.folder is {str(folder)!r}: {name} reads no folder; leave it out, or name its data.source."
        )
    if name in TASKS:
        return TASKS[name].draw(size or TASKS[name].size)
    source = errors.find("data source", name, SOURCES)
    if name == "arrays":
        return source(None if file is None else Path(file))
    return source(None if folder is None else _existing(folder))


def names() -> list[str]:
    """All that `load` takes."""
    return [*SOURCES, *TASKS]


def size_of(name: str, given: int | None) -> int | None:
    """The size that the images of a task have: the given one or its own; None for other sources."""
    return TASKS[name].size if given is None and name in TASKS else given


def reduce_images(dataset: Dataset, side: int) -> Dataset:
    """Every square of side x side pixels averaged into one, rounded where intensities are whole numbers.

    Raises InputError where the squares do not fill the image.
    """
    if side == 1:
        return dataset
    height, width = dataset.train.images.shape[1:3]
    if height % side or width % side:
        raise InputError(
            f"data.reduce is {side}: it must divide the height and the width of {height} x {width} images."
        )

    def reduce_split(split: Split) -> Split:
        examples, _, _, channels = split.images.shape
        squares = split.images.reshape(examples, height // side, side, width // side, side, channels)
        with np.errstate(over="ignore"):  # what is not finite is refused by whoever checks the data set
            means = squares.mean(axis=(2, 4), dtype=np.float32)
        whole = np.issubdtype(split.images.dtype, np.integer)
        return split._replace(images=(np.rint(means) if whole else means).astype(split.images.dtype))

    return dataset._replace(train=reduce_split(dataset.train), test=reduce_split(dataset.test))


def _existing(folder: str | Path, origin: str = "") -> Path:
    path = local_path(folder)
    with errors.input_error(f"The data folder {str(folder)!r}{origin} cannot be used", "name another."):
        if not (str(folder) and path.is_dir()):
            raise InputError(f"There is no data folder {str(folder)!r}{origin}: name a folder that exists.")
    return path


def archives(name: str, folder: Path | None) -> Dataset:
    """A dataset from its original archives, in the order of the archives; see `load_archives`."""
    if folder is None and (given := os.environ.get(DATA_VARIABLE)):
        folder = _existing(given, f", which the environment variable {DATA_VARIABLE} names")
    return load_archives(name, folder)


def digits(_: Path | None) -> Dataset:
    """scikit-learn's 1,797 handwritten digits, 8 x 8 x 1; its intensities v = 0..16 become round(255 v / 16).

    Test examples are 40 of each class, evenly spaced within it: of its n examples, in scikit-learn's order, those at
    floor(n t / 40) for t = 0..39. Every writer is then in both splits. The other 1,397 examples are for training.
    """
    from sklearn.datasets import load_digits

    intensities, labels = (np.asarray(array) for array in load_digits(return_X_y=True))
    images = np.rint(intensities * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    labels = labels.astype(np.int32)
    is_test = np.zeros(len(labels), bool)
    for label in range(10):
        members = np.flatnonzero(labels == label)
        is_test[members[len(members) * np.arange(DIGITS_TEST_PER_CLASS) // DIGITS_TEST_PER_CLASS]] = True
    return Dataset(
        name="digits",
        train=Split(images[~is_test], labels[~is_test]),
        test=Split(images[is_test], labels[is_test]),
        classes=tuple(str(digit) for digit in range(10)),
    )


def image_folder(folder: Path | None) -> Dataset:
    """The images train/<class>/*.png|jpg|jpeg and test/<class>/... of one folder, sorted by class and by file name.

    Classes are the sorted names of the class folders. Images are turned as their EXIF tags say, and laid on white where
    they are transparent. They have one channel where all of them are 8-bit grayscale (Pillow's modes L and LA), and are
    turned into RGB otherwise. Other files are passed over, which is told unless they are hidden.

    Raises InputError where train/ or test/ is missing, where they have not the same two or more classes, and where a
    class is empty, an image cannot be read or has more than 8 bits, two images differ in size, or all of them do not fit
    into memory.
    """
    if folder is None:
        raise InputError(
            "The data source 'folder' needs a folder of train/<class>/ and test/<class>/: give its path as data.folder."
        )
    train, test = _image_files(folder)
    for split, other, extra in (("train", "test", train.keys() - test), ("test", "train", test.keys() - train)):
        if extra:
            raise InputError(
                f"The class {min(extra)!r} is in {str(folder / split)!r} and not in {str(folder / other)!r}: "
                f"both need the same class folders."
            )
    if len(train) == 1:
        raise InputError(f"{str(folder)!r} holds only one class, {min(train)!r}: at least two are needed.")
    first = next(iter(train.values()))[0]
    one = _pixels(first, folder)
    count = sum(len(paths) for files in (train, test) for paths in files.values())
    memory.require_memory(repr(str(folder)), (count, *one.shape), 1)
    splits = [_split(files, folder, first, one.shape) for files in (train, test)]
    if any(split.images.shape[3] == 3 for split in splits):
        splits = [split._replace(images=_in_colour(split.images)) for split in splits]
    return Dataset("folder", *splits, tuple(map(as_text, train)))


def _split(files: dict[str, list[Path]], folder: Path, first: Path, shape: tuple[int, ...]) -> Split:
    """The images of one split, in three channels if any of them is not grayscale. shape: of the first image of all."""
    labels = np.repeat(np.arange(len(files), dtype=np.int32), [len(paths) for paths in files.values()])
    images = memory.aligned_empty((len(labels), *shape), np.dtype(np.uint8))
    for number, path in enumerate(path for paths in files.values() for path in paths):
        image = _pixels(path, folder)
        if image.shape[:2] != shape[:2]:
            raise InputError(
                f"All images must have one size (height x width), and {str(first)!r} is {shape[0]} x {shape[1]} while "
                f"{str(path)!r} is {image.shape[0]} x {image.shape[1]}: resize or remove what differs."
            )
        if image.shape[2] == 3:
            images = _in_colour(images)
        images[number] = image
    return Split(images, labels)


def _in_colour(images: np.ndarray) -> np.ndarray:
    return images if images.shape[3] == 3 else images.repeat(3, axis=3)


def digest(folder: str | Path) -> str:
    """SHA-256 of the names and bytes of all images that the source `folder` would read there.

    Raises InputError where it would find no images.
    """
    root = _existing(folder)

    def content(path: Path) -> bytes:
        with _reading(path):
            return path.read_bytes()

    images = [path for files in _image_files(root) for paths in files.values() for path in paths]
    return digest_of_all((str(path.relative_to(root)), content(path)) for path in images)


def _reading(path: Path) -> contextlib.AbstractContextManager[None]:
    return errors.input_error(f"{str(path)!r} cannot be read", "mend or remove it.")


def _image_files(root: Path) -> list[dict[str, list[Path]]]:
    """For training and for testing the sorted image files of each class folder, by sorted class name. What else lies there,
    and is not hidden, is counted and told.
    """
    others: Counter[str] = Counter()
    splits = [_files_of_split(root / split, others) for split in ("train", "test")]
    if total := others.total():
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in others.most_common() if count)
        tell(f"{total:,} {'file' if total == 1 else 'files'} in {str(root)!r} passed over: {kinds}.")
    return splits


def _files_of_split(split: Path, others: Counter[str]) -> dict[str, list[Path]]:
    with _reading(split):
        if not split.is_dir():
            raise InputError(f"{str(split)!r} is missing: an image folder needs train/<class>/ and test/<class>/.")
        entries = _not_hidden(split)
        classes = [path for path in entries if path.is_dir()]
        others["in no class folder"] += len(entries) - len(classes)
    if not classes:
        raise InputError(
            f"{str(split)!r} has no class folders: put the images of each class into a folder of its name."
        )
    files = {}
    for folder in classes:
        images = files[folder.name] = []
        with _reading(folder):
            for path in _not_hidden(folder):
                if path.suffix.lower() in IMAGE_SUFFIXES:
                    images.append(path)
                elif path.is_dir():
                    others["nested"] += sum(len(found) for *_, found in os.walk(path))
                else:
                    others[path.suffix.lower() or path.name] += 1
        if not images:
            raise InputError(
                f"{str(folder)!r} holds no image: allowed are files that end in {', '.join(IMAGE_SUFFIXES)}."
            )
        # A folder, a link to nothing, or a pipe, which would be waited for.
        if strange := [path for path in images if not path.is_file()]:
            raise InputError(f"{str(strange[0])!r} is named as an image and is no file: replace or remove it.")
    return files


def _not_hidden(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _pixels(path: Path, folder: Path) -> np.ndarray:
    """One image, uint8 (height, width, channels), with one channel if it is grayscale and three if it is not, as a viewer
    shows it on a white page. folder: what it is one of.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with path.open("rb") as file, Image.open(file) as image:
            image.load()
            file.seek(0)
            header = file.read(25)
    except UnidentifiedImageError:
        raise InputError(f"{str(path)!r} is named as an image and holds none: replace or remove it.") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"The image {str(path)!r} cannot be read ({error}): replace or remove it.") from None
    if image.format not in IMAGE_FORMATS:
        raise InputError(f"The image {str(path)!r} is a {image.format} by its content: convert it to PNG or JPEG.")
    # Pillow would clip these at 255, or keep their high bytes, without a word: a PNG's header says how many bits it has.
    if image.mode.startswith(("I", "F")) or (image.format == "PNG" and header[24] > 8):
        raise InputError(
            f"The image {str(path)!r} has more than 8 bits per channel: convert it to 8-bit grayscale or RGB."
        )
    # Like viewers, who pass over tags that are damaged.
    with contextlib.suppress(Exception):
        ImageOps.exif_transpose(image, in_place=True)
    mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
    # Pillow spreads fewer than 8 bits over 0 to 255, and not the gray that is transparent.
    if image.format == "PNG" and image.mode == "L" and "transparency" in image.info:
        image.info["transparency"] *= 255 // (2 ** header[24] - 1)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if np.asarray(image)[..., 3].min() < 255:
            tell(f"{str(folder)!r} has transparent images: they are laid on white, as on a page.")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    pixels = np.asarray(image.convert(mode))
    return pixels[..., None] if mode == "L" else pixels


SOURCES: dict[str, Callable[[Path | None], Dataset]] = {
    "mnist": partial(archives, "mnist"),
    "fashion_mnist": partial(archives, "fashion_mnist"),
    "cifar10": partial(archives, "cifar10"),
    "digits": digits,
    "folder": image_folder,
    "arrays": load_npz,
}
