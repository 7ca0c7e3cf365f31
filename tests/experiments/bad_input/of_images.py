"""The user's own images, and the original archives."""

import gzip
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from bad_input.entry import Entries, Entry, denied, flags
from PIL import Image
from tensorflow_datasets.core.download.checksums import compute_url_info

FOLDER = "--data.source folder --data.folder images"
TRAIN, TEST = Path("images/train"), Path("images/test")
FIRST = TRAIN / "cat/0.png"


def save(path: Path, height: int = 8, width: int = 8, kind: type = np.uint8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(str(path))).integers(0, 256, (height, width)).astype(kind)
    Image.fromarray(pixels).save(path)


def write_images(**per_class: int) -> None:
    """So many training images of each class, and two test images."""
    for name, count in per_class.items():
        for split, number in ((TRAIN, count), (TEST, 2)):
            for index in range(number):
                save(split / name / f"{index}.png")


def spoilt(change: Callable[[], object], words: str, more: str = "", **options: Any) -> Entry:
    """25 images of two classes, 8 x 8 pixels, and then a change."""

    def prepare() -> None:
        write_images(cat=25, dog=25)
        change()

    return flags(f"{FOLDER} {more}".strip(), words, prepare=prepare, **options)


def move(old: Path, new: Path) -> Callable[[], object]:
    return lambda: shutil.move(old, new)


def remove(path: Path) -> Callable[[], object]:
    return lambda: shutil.rmtree(path)


def cut() -> None:
    FIRST.write_bytes(FIRST.read_bytes()[:50])


def link(target: str) -> Callable[[], object]:
    return lambda: os.symlink(target, TRAIN / "cat/link.png")


IMAGES: Entries = {
    "no such folder": flags(FOLDER, "There is no data folder 'images'"),
    "a file for a folder": flags(FOLDER, "There is no data folder 'images'", prepare=Path("images").touch),
    "a user who is not there": flags(
        "--data.source folder --data.folder ~nobody_at_all/images", "cannot be used (there is no such user)"
    ),
    "a name too long for a folder": flags(
        f"--data.source folder --data.folder {300 * 'x'}", "File name too long", shown="a name of 300 letters"
    ),
    "an empty folder": flags(FOLDER, "'images/train' is missing", prepare=Path("images").mkdir),
    "no test images": spoilt(remove(TEST), "'images/test' is missing"),
    "folders of no class": spoilt(lambda: [remove(path)() for path in TEST.iterdir()], "has no class folders"),
    "a class missing in test": spoilt(remove(TEST / "dog"), "The class 'dog' is in 'images/train' and not in"),
    "a class missing in train": spoilt(remove(TRAIN / "dog"), "The class 'dog' is in 'images/test' and not in"),
    "one class only": flags(FOLDER, "holds only one class, 'cat'", prepare=partial(write_images, cat=40)),
    "an empty class": spoilt(
        lambda: [(split / "emu").mkdir() for split in (TRAIN, TEST)], "'images/train/emu' holds no image"
    ),
    "a class of one image": flags(
        FOLDER, "and the smallest class has 1, so that none would be left", prepare=partial(write_images, cat=50, dog=1)
    ),
    "fewer images than asked for": spoilt(lambda: None, "100 + 20: the training split has 50", "--data.n-train 100"),
    "images of different sizes": spoilt(partial(save, TEST / "dog/9.png", 9), "while 'images/test/dog/9.png' is 9 x 8"),
    "an image of 16 bits": spoilt(
        partial(save, TEST / "dog/9.png", kind=np.uint16), "has more than 8 bits per channel"
    ),
    "a text named .png": spoilt(lambda: FIRST.write_text("cat"), "0.png' is named as an image and holds none"),
    "an empty image file": spoilt(lambda: FIRST.write_bytes(b""), "0.png' is named as an image and holds none"),
    "an image cut short": spoilt(cut, "0.png' cannot be read (image file is truncated)"),
    "a folder named .png": spoilt((TRAIN / "cat/all.png").mkdir, "all.png' is named as an image and is no file"),
    "a link to no image": spoilt(link("nowhere"), "link.png' is named as an image and is no file"),
    "a link to itself": spoilt(link("link.png"), "link.png' is named as an image and is no file"),
    "a pipe for an image": spoilt(
        lambda: os.mkfifo(TRAIN / "cat/pipe.png"), "pipe.png' is named as an image and is no"
    ),
    "an image that may not be read": spoilt(
        lambda: None, "0.png' cannot be read (Permission denied)", patch=denied(str(FIRST))
    ),
    "a class that may not be listed": spoilt(
        lambda: None, "'images/train/cat' cannot be read (Permission denied)", patch=denied("images/train/cat")
    ),
    "a folder that may not be entered": spoilt(
        lambda: None, "'images/train' cannot be read (Permission denied)", patch=denied("images")
    ),
    "other images than those of the digest": spoilt(
        lambda: None,
        f"data.digest is '{64 * '0'}', and the images in 'images' have ",
        f"--data.digest {64 * '0'}",
        shown="--data.digest and 64 digits",
    ),
    "a delta larger than the user's images": spoilt(
        lambda: None, "delta is 8: on an image of 8 x 8", "--model.delta 8"
    ),
}

ARCHIVES = Path("archives/mnist")
TRAIN_IMAGES, TRAIN_LABELS, TEST_LABELS = (
    ARCHIVES / name
    for name in ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", "t10k-labels-idx1-ubyte.gz")
)
MNIST = "--data.source mnist --data.folder archives"


def write_archives() -> None:
    ARCHIVES.mkdir(parents=True)
    for name, header, size in (("images-idx3", 16, 28 * 28), ("labels-idx1", 8, 1)):
        for split, count in (("train", 3), ("t10k", 2)):
            content = gzip.compress(bytes(header + count * size), mtime=0)
            (ARCHIVES / f"{split}-{name}-ubyte.gz").write_bytes(content)


def taken_for_originals(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if tensorflow-datasets had registered the sums of those archives."""
    write_elsewhere = Path("originals")
    write_elsewhere.mkdir()
    here = Path.cwd()
    os.chdir(write_elsewhere)
    write_archives()
    stock: Any = tfds.builder_cls("mnist")
    infos = {url: compute_url_info(ARCHIVES / info.filename) for url, info in stock.url_infos.items()}
    os.chdir(here)
    shutil.rmtree(write_elsewhere)
    monkeypatch.setattr(stock, "url_infos", infos)


def archive(change: Callable[[], object], words: str, **options: Any) -> Entry:
    def prepare() -> None:
        write_archives()
        change()

    return flags(MNIST, words, prepare=prepare, **{"patch": taken_for_originals, **options})


def swap() -> None:
    TRAIN_LABELS.rename("labels")
    TEST_LABELS.rename(TRAIN_LABELS)
    Path("labels").rename(TEST_LABELS)


NOT_ORIGINAL = "' is not the original archive of 'mnist', which has"

ORIGINALS: Entries = {
    "a folder of archives that is not there": flags(MNIST, "There is no data folder 'archives'"),
    "a folder without archives": flags(
        MNIST, "needs the original archive t10k-images-idx3-ubyte.gz", prepare=Path("archives").mkdir
    ),
    "an archive missing": archive(TRAIN_LABELS.unlink, "needs the original archive train-labels-idx1-ubyte.gz"),
    "an archive that is a folder": archive(
        lambda: (TRAIN_LABELS.unlink(), TRAIN_LABELS.mkdir()), "needs the original archive train-labels-idx1-ubyte.gz"
    ),
    "an archive cut short": archive(
        lambda: TRAIN_IMAGES.write_bytes(TRAIN_IMAGES.read_bytes()[:-9]), f"{TRAIN_IMAGES}{NOT_ORIGINAL}"
    ),
    "another file under an archive's name": archive(
        lambda: TRAIN_LABELS.write_text("labels"), f"{TRAIN_LABELS}{NOT_ORIGINAL}"
    ),
    "archives that are swapped": archive(swap, f"{TEST_LABELS}{NOT_ORIGINAL}"),
    "well-formed archives of other images": archive(lambda: None, NOT_ORIGINAL, patch=None),
    "archives in a folder that is closed": archive(
        lambda: None, "cannot be read (Permission denied)", patch=denied("archives/mnist")
    ),
}
