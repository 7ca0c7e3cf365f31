"""A data set is one, whoever made it, and what was done to it did something."""

import logging
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cnn_constraints import environment
from cnn_constraints.arrays import Dataset, Split
from cnn_constraints.data import checks, memory
from cnn_constraints.data.datasets import build_dataset
from cnn_constraints.data.interventions import INTERVENTIONS, Intervention
from cnn_constraints.data.sources import SOURCES
from cnn_constraints.errors import InputError
from cnn_constraints.experiment import Data


@pytest.fixture(autouse=True)
def as_from_a_user(without_shapes) -> None:
    """Shapes are not checked, and nothing was told before."""
    checks.tell.cache_clear()


Build = Callable[..., Dataset]


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> Build:
    """The data set of a config whose source, and intervention, are a user's own."""

    def build(made: Any, intervention: Callable[[Dataset, float], Any] | str = "none", **fields: Any) -> Dataset:
        monkeypatch.setitem(SOURCES, "mine", lambda folder: made)
        if not isinstance(intervention, str):
            monkeypatch.setitem(INTERVENTIONS, "own", Intervention(intervention))
            intervention = "own"
        return build_dataset(Data(source="mine", intervention=intervention, **fields))

    return build


def random_dataset(generator: np.random.Generator, height: int = 4, width: int = 6) -> Dataset:
    def split(count: int) -> Split:
        labels = generator.permutation(np.arange(count) % 3).astype(np.int32)
        return Split(generator.integers(0, 256, (count, height, width, 2)).astype(np.uint8), labels)

    return Dataset("random", split(60), split(20), ("a", "b", "c"))


@pytest.fixture
def dataset(generator: np.random.Generator) -> Dataset:
    return random_dataset(generator)


def refusal(build: Callable[[], Any]) -> str:
    with pytest.raises(InputError) as error:
        build()
    sentence = str(error.value)
    assert "\n" not in sentence and sentence.endswith(".")
    return sentence


def with_train(dataset: Dataset, **arrays: Any) -> Dataset:
    return dataset._replace(train=dataset.train._replace(**arrays))


def with_test(dataset: Dataset, **arrays: Any) -> Dataset:
    return dataset._replace(test=dataset.test._replace(**arrays))


def one_changed(array: np.ndarray, place: int, value: Any) -> np.ndarray:
    changed = array.copy()
    changed.flat[place] = value
    return changed


FLOATS = np.linspace(0, 1, 60 * 48).reshape(60, 4, 6, 2)

WRONG: dict[str, Callable[[Dataset], Any]] = {
    "is a NoneType: it must be a Dataset": lambda d: None,
    "is a Dataset: it must be a Dataset of two Splits": lambda d: d._replace(test=tuple(d.test)),
    "has the classes ('a',): there must be at least two.": lambda d: d._replace(classes=("a",)),
    "training images of uint8 and shape (60, 48)": lambda d: with_train(d, images=d.train.images.reshape(60, 48)),
    "training images of uint8 and shape (60, 4, 6, 0)": lambda d: with_train(d, images=d.train.images[..., :0]),
    "training images of <U3 and shape": lambda d: with_train(d, images=d.train.images.astype(str)),
    "training images of object and shape ()": lambda d: with_train(d, images=d.train.images.tolist()),
    "training images that hold -1: whole numbers": lambda d: with_train(
        d, images=one_changed(d.train.images.astype(int), 9, -1)
    ),
    "training images that hold 1 numbers that are not finite": lambda d: with_train(
        d, images=one_changed(FLOATS, 700, np.nan)
    ),
    "training images that hold 2,880 numbers": lambda d: with_train(d, images=FLOATS + 1e39),
    "test images of uint8 and shape (0, 4, 6, 2)": lambda d: d._replace(test=Split(*(array[:0] for array in d.test))),
    "they must be alike but for their number": lambda d: with_test(d, images=d.test.images[:, 1:]),
    "training images of float32 and shape (60, 4, 6, 2) and test images of uint8": lambda d: with_train(
        d, images=d.train.images / np.float32(2)
    ),
    "one for each of the 60 images": lambda d: with_train(d, labels=d.train.labels[3:]),
    "one for each of the 20 images": lambda d: with_test(d, labels=d.test.labels[:, None]),
    "training labels of float64": lambda d: with_train(d, labels=d.train.labels / 1),
    "training labels of 3: its 3 classes": lambda d: with_train(d, labels=d.train.labels + 1),
    "training labels of -1: its 3 classes": lambda d: with_train(d, labels=d.train.labels - 1),
    "test labels of 7: its 3 classes": lambda d: with_test(d, labels=one_changed(d.test.labels, 11, 7)),
    "no training image of 'b': every one": lambda d: with_train(d, labels=d.train.labels // 2 * 2),
    "60 training images, and all are equal": lambda d: with_train(d, images=np.full_like(d.train.images, 7)),
}


@pytest.mark.parametrize(("told", "change"), WRONG.items(), ids=list(WRONG))
def test_what_is_no_data_set_is_refused_from_a_source_and_from_an_intervention(told, change, dataset, build):
    sentence = refusal(lambda: build(change(dataset)))
    assert sentence.startswith("The data source 'mine' ") and told in sentence
    # An intervention may leave a class out, by chance, and make images equal.
    if not told.startswith(("no training image", "60 training")):
        sentence = refusal(lambda: build(dataset, lambda before, _: change(before)))
        assert sentence.startswith("The data set after data.intervention own ") and told in sentence


@pytest.mark.parametrize("dtype", [bool, np.int8, np.int64, np.float16, np.float64])
def test_numbers_of_any_kind_that_holds_images_are_taken_with_their_values(dtype, dataset, build):
    made = dataset._replace(
        **{name: Split(split.images % 2 * dtype(1), split.labels.astype(np.uint64)) for name, split in named(dataset)}
    )
    built = build(made)
    for (_, before), (_, after) in zip(named(made), named(built), strict=True):
        assert after.images.dtype == (np.float32 if np.issubdtype(dtype, np.floating) else np.uint8)
        assert after.labels.dtype == np.int32 and after.images.ctypes.data % memory.ALIGNMENT == 0
        np.testing.assert_array_equal(after.images, before.images)
        np.testing.assert_array_equal(after.labels, before.labels)


def named(dataset: Dataset) -> list[tuple[str, Split]]:
    return [("train", dataset.train), ("test", dataset.test)]


def test_what_images_cannot_teach_or_test_is_told_once(dataset, build, caplog, draw):
    of_c = np.flatnonzero(dataset.train.labels == 2)
    dataset.train.images[of_c] = dataset.train.images[of_c[0]]
    known = draw.rng.choice(20, draw.integer(1, 20), replace=False)
    dataset.test.images[known] = dataset.train.images[draw.rng.choice(60, len(known))]
    for _ in range(2):
        build(dataset)
    assert [record.message for record in caplog.records] == [
        "The data source 'mine' has classes whose training images are all equal: 'c'.",
        f"The data source 'mine' has {len(known)} test images, of 20, that are among the training images too.",
    ]
    assert caplog.records[0].levelno == logging.WARNING


def test_what_an_intervention_or_a_reduction_takes_from_images_is_told_or_refused(dataset, build, caplog):
    split = dataset.train
    checkerboard = np.indices((4, 6)).sum(axis=0)[..., None] % 2 * 255
    either = np.where(split.labels[:, None, None, None] == 0, checkerboard, 255 - checkerboard) * np.ones(2)
    told = refusal(lambda: build(with_train(dataset, images=either.astype(np.uint8)), reduce=2))
    assert told.startswith("The data source 'mine' with data.reduce 2 has 60 training images, and all are equal")
    large = {name: each._replace(images=9e36 * np.ones((len(each.labels), 8, 8, 1))) for name, each in named(dataset)}
    assert "not finite" in refusal(lambda: build(dataset._replace(**large), reduce=8))
    caplog.clear()
    build(dataset, lambda before, _: before._replace(train=Split(*(array[split.labels > 0] for array in split))))
    build(dataset, lambda before, _: before._replace(test=split))
    alike = with_train(dataset, images=split.images[split.labels * 0 + np.arange(60) // 2])
    build(with_test(alike, images=np.zeros_like(dataset.test.images)))
    maker = "The data set after data.intervention own has"
    assert [record.message for record in caplog.records] == [
        f"{maker} no training image of 'a'.",
        f"{maker} 60 test images that are among the training images too, 0 before it.",
        f"The data source 'mine' has {ambiguous(alike.train)} training images, of 60, that stand under another label too.",
        "The data source 'mine' has 20 test images, and all are equal.",
    ]


def ambiguous(split: Split) -> int:
    """Images whose label is not the lowest that an equal image has."""
    lowest: dict[bytes, int] = {}
    for image, label in zip(split.images, split.labels, strict=True):
        lowest[image.tobytes()] = min(label, lowest.get(image.tobytes(), 99))
    return sum(label != lowest[image.tobytes()] for image, label in zip(split.images, split.labels, strict=True))


NOTHING_DONE = {
    "translate with data.strength 0.2 changes nothing in images of 2 x 2": (2, 2),
    "translate_test with data.strength 0.2 changes nothing in images of 2 x 2": (2, 2),
    "edge_noise with data.strength 0.99 changes nothing in images of 3 x 3": (3, 3),
    "permute_pixels changes nothing in images of 1 x 1: leave it out, or give it larger images.": (1, 1),
    "label_positions changes nothing in images of 5 x 1: leave it out, or give it larger images.": (5, 1),
}


@pytest.mark.parametrize(("told", "size"), NOTHING_DONE.items())
def test_an_intervention_that_cannot_do_what_it_says_on_these_images_is_refused(told, size, generator, build):
    name = re.match(r"\w+", told)[0]
    assert told in refusal(lambda: build(random_dataset(generator, *size), name))
    build(random_dataset(generator, 8, 8), name)


def test_a_strength_of_0_may_be_asked_for_and_an_own_intervention_may_work_in_place(dataset, build):
    unchanged = build(dataset, "translate", strength=0.0)
    np.testing.assert_array_equal(unchanged.train.images, dataset.train.images)
    assert "own changes nothing" in refusal(lambda: build(dataset, lambda before, _: before))

    def blacken(before: Dataset, _: float) -> Dataset:
        before.test.images[:] = 0
        return before

    assert not build(dataset, blacken).test.images.any()


def test_images_for_which_there_is_no_memory_are_refused_in_a_sentence(build, dataset, monkeypatch):
    machine = environment.machine_memory()
    for allowed, left in ((2**60, machine), (10**6, 0)):
        monkeypatch.setattr(environment, "getrlimit", lambda _, soft=allowed: (soft, soft))
        assert (environment.memory_left(), environment.machine_memory()) == (left, min(allowed, machine))
    monkeypatch.setattr(memory, "memory_left", lambda: 1000)
    memory.require_memory("mine", (10, 10, 10, 1), 1)
    sentence = refusal(lambda: memory.require_memory("mine", (11, 10, 10, 1), 1))
    assert sentence == "mine holds 11 images, which take 1,100 bytes, and there are 1,000: at most 10 of this size fit."
    impossible = lambda before, _: np.empty((2**24, 2**24))
    assert re.search(r"fit into memory \(Unable to allocate 2\.00 PiB", refusal(lambda: build(dataset, impossible)))
