"""Arrays are taken as they are, or refused in one sentence."""

import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnn_constraints.data import npz, sources
from cnn_constraints.data.datasets import build_dataset
from cnn_constraints.errors import InputError
from cnn_constraints.experiment import Data

Arrays = dict[str, Any]


@pytest.fixture(autouse=True)
def unchecked(without_shapes) -> None:
    """Shapes come as from a user."""


@pytest.fixture
def arrays(generator) -> Arrays:
    """30, 20 and 4 images of the classes, in any order, and five for testing."""
    labels = generator.permutation(np.repeat([0, 1, 2], [30, 20, 4]))
    images, test_images = (generator.integers(0, 256, (count, 6, 5), np.uint8) for count in (54, 5))
    return {"images": images, "labels": labels, "test_images": test_images, "test_labels": np.array([2, 0, 0, 1, 2])}


def load(folder: Path, arrays: Arrays):
    np.savez(folder / "mine.npz", **arrays)
    return build_dataset(Data(source="arrays", file=str(folder / "mine.npz")))


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float64])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_images_and_labels_are_those_of_the_file_with_channels_last(dtype, channels, arrays, tmp_path):
    for name in ("images", "test_images"):
        arrays[name] = np.multiply.outer(arrays[name], np.ones(channels)).astype(dtype)
    dataset = load(tmp_path, arrays)
    assert dataset.classes == ("0", "1", "2")
    for split, before in ((dataset.train, ""), (dataset.test, "test_")):
        images = arrays[f"{before}images"]
        assert split.images.dtype == (np.uint8 if dtype == np.uint8 else np.float32) and split.labels.dtype == np.int32
        np.testing.assert_array_equal(split.images, images if channels else images[..., None])
        np.testing.assert_array_equal(split.labels, arrays[f"{before}labels"])


def test_without_test_images_a_fifth_of_every_class_is_tested(arrays, tmp_path):
    everything = dict(list(arrays.items())[:2])
    dataset = load(tmp_path, everything)
    assert np.bincount(dataset.test.labels).tolist() == [6, 4, 1]
    assert np.bincount(dataset.train.labels).tolist() == [24, 16, 3]
    pairs = lambda images, labels: [(image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True)]
    before = pairs(everything["images"], everything["labels"])
    for split in (dataset.train, dataset.test):
        places = [before.index(pair) for pair in pairs(*split)]
        assert places == sorted(places)
    assert sorted(pairs(*dataset.train) + pairs(*dataset.test)) == sorted(before)
    again = load(tmp_path, everything)
    np.testing.assert_array_equal(again.test.images, dataset.test.images)


def test_a_file_is_known_by_its_content(arrays, tmp_path):
    load(tmp_path, arrays)
    before = npz.digest(tmp_path / "mine.npz")
    (tmp_path / "mine.npz").rename(tmp_path / "other.npz")
    assert npz.digest(tmp_path / "other.npz") == before
    load(tmp_path, arrays | {"labels": arrays["labels"][::-1]})
    assert npz.digest(tmp_path / "mine.npz") != before


WRONG: dict[str, Callable[[Arrays], Arrays]] = {
    "and no labels: add": lambda a: {"images": a["images"]},
    "and no test_labels: add": lambda a: {name: a[name] for name in ("images", "labels", "test_images")},
    "did you mean 'labels'?": lambda a: {"images": a["images"], "lables": a["labels"]},
    "cannot be read as arrays of numbers (ValueError)": lambda a: a | {"labels": a["labels"].astype(object)},
    "labels of 1000000000: its 3 classes": lambda a: a | {"labels": a["labels"] + 10**9},
    "has one image of class 2": lambda a: {"images": a["images"], "labels": np.append(a["labels"][:-1] % 2, 2)},
}


@pytest.mark.parametrize(("told", "change"), WRONG.items(), ids=list(WRONG))
def test_arrays_that_are_no_data_set_are_refused(told, change, arrays, tmp_path):
    with pytest.raises(
        InputError, match=f"{re.escape('mine.npz')}.*{re.escape(told)}|{re.escape(told)}.*mine.npz"
    ) as error:
        load(tmp_path, change(arrays))
    assert "\n" not in str(error.value) and str(error.value)[-1] in ".?"


def zip_of_texts() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("images.npy", "no array")
    return file.getvalue()


CONTENTS: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda content: b"",
    "text": lambda content: b"images, labels",
    "a half": lambda content: content[: len(content) // 2],
    "a bit flipped": lambda content: content[:300] + bytes([content[300] ^ 1]) + content[301:],
    "a single array": lambda content: zipfile.ZipFile(io.BytesIO(content)).read("labels.npy"),
    "texts": lambda content: zip_of_texts(),
}


@pytest.mark.parametrize("change", CONTENTS.values(), ids=CONTENTS)
def test_files_that_hold_no_arrays_are_refused(change, arrays, tmp_path):
    load(tmp_path, arrays)
    path = tmp_path / "mine.npz"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InputError, match=r"^The data file '.*mine.npz' .*\.$"):
        sources.load("arrays", file=path)


def test_a_file_is_read_for_arrays_alone_and_must_be_there(tmp_path):
    for given, told in (
        ({"name": "arrays"}, "needs an .npz file"),
        ({"name": "arrays", "file": tmp_path}, "There is no data file"),
        ({"name": "arrays", "folder": tmp_path, "file": tmp_path}, "arrays reads no folder"),
        ({"name": "digits", "file": tmp_path / "no"}, "only the data.source arrays reads a file"),
    ):
        with pytest.raises(InputError, match=told):
            sources.load(**given)
    with pytest.raises(InputError, match="There is no data file"):
        npz.digest(tmp_path / "no.npz")
