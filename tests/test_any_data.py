"""Whatever a user's source, intervention or file of arrays gives: what is trained on it sees it, or it is refused."""

import contextlib
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from any_input import MANY, refusal_of, require_that_training_sees
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from cnn_constraints.arrays import Dataset, Split
from cnn_constraints.data import sources
from cnn_constraints.data.datasets import build_dataset
from cnn_constraints.data.interventions import INTERVENTIONS, Intervention
from cnn_constraints.experiment import Data

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_shapes")]

SHAPE, CLASSES = (6, 4, 3), ("a", "b", "c")

DTYPES = ["u1", "i1", "u2", "i4", "i8", "u8", "f2", "f4", "f8", ">f4", ">i4", "?", "c8", "O", "U3", "M8[s]"]

EXTREMES = [0, 1, -1, 255, 256, 0.1, 1e-45, 1e-40, 1e-30, 1e-8, 1e5, 1e8, 1e19, 1e30, 3e38, 1e300, np.nan, np.inf]


def draw_dataset(seed: int) -> Dataset:
    """In order, and of no special kind."""
    generator = np.random.default_rng(seed)

    def split(examples: int) -> Split:
        images = generator.integers(0, 256, (examples, *SHAPE), np.uint8)
        return Split(images, np.arange(examples, dtype=np.int32) % len(CLASSES))

    return Dataset("own", split(generator.integers(6, 12)), split(generator.integers(1, 9)), CLASSES)


def faded(dataset: Dataset) -> Dataset:
    return dataset._replace(train=dataset.train._replace(images=dataset.train.images // 2))


def uniform(images: np.ndarray, start: float, width: float) -> np.ndarray:
    return start + width * np.random.default_rng(len(images)).random(images.shape)


def with_one(array: np.ndarray, value: float) -> np.ndarray:
    array = array.copy()
    array.flat[array.size // 2] = value
    return array


RANGES: dict[str, Callable[[np.ndarray], object]] = {
    f"{start} to {start} + {width} in {dtype}": lambda images, start=start, width=width, dtype=dtype: uniform(
        images, start, width
    ).astype(dtype)
    for start in EXTREMES
    for width in EXTREMES
    for dtype in ("f4", "f8")
}

OF_IMAGES: dict[str, Callable[[np.ndarray], object]] = {
    **{f"as {dtype}": lambda images, dtype=dtype: images.astype(dtype) for dtype in DTYPES},
    **{f"with {value}": lambda images, value=value: with_one(images.astype("f4"), value) for value in EXTREMES},
    **{f"all {value}": lambda images, value=value: np.full_like(images, value, "f4") for value in EXTREMES},
    "all 7": lambda images: np.full_like(images, 7),
    "one channel 7": lambda images: images * np.array([1, 0, 1], np.uint8) + np.array([0, 7, 0], np.uint8),
    "one channel 0.1": lambda images: images * np.array([1, 0, 1], "f4") + np.array([0, 0.1, 0], "f4"),
    "by columns": np.asfortranarray,
    "backwards": lambda images: images[::-1, ::-1],
    "of zeros in steps": lambda images: np.broadcast_to(images[:1], images.shape),
    "none": lambda images: images[:0],
    "one": lambda images: images[:1],
    "without channels": lambda images: images[..., 0],
    "of no channel": lambda images: images[..., :0],
    "of one channel": lambda images: images[..., :1],
    "of no width": lambda images: images[:, :, :0],
    "one wide": lambda images: images[:, :, :1],
    "as list": np.ndarray.tolist,
    "None": lambda images: None,
}
"""Other dtypes, ranges, shapes and layouts, and nothing of the kind."""

OF_LABELS: dict[str, Callable[[np.ndarray], object]] = {
    **{f"as {dtype}": lambda labels, dtype=dtype: labels.astype(dtype) for dtype in DTYPES},
    **{f"plus {more}": lambda labels, more=more: labels + more for more in (-1, 1, 7, 2**31 - 3, 2**40, 0.5)},
    **{f"with {value}": lambda labels, value=value: with_one(labels, value) for value in (-1, 3, 7, 2**31 - 1)},
    "none": lambda labels: labels[:0],
    "one fewer": lambda labels: labels[1:],
    "one more": lambda labels: np.append(labels, labels[:1]),
    "in a column": lambda labels: labels[:, None],
    "one hot": lambda labels: np.eye(3, dtype=np.int32)[labels],
    "all 0": np.zeros_like,
    "without 2": lambda labels: labels % 2,
    "without 0": lambda labels: np.maximum(labels, 1),
    "as list": np.ndarray.tolist,
    "None": lambda labels: None,
}

OF_CLASSES = {
    str(value): value for value in ((), ("a",), ("a", "b"), ["a", "b", "c"], "abc", ("a", "a", "b"), (1, 2, 3), None, 3)
}

FIELDS = {"images": OF_IMAGES | RANGES, "labels": OF_LABELS}

BOTH = ("train", "test")

CHANGES = st.lists(
    st.sampled_from(
        [("images", OF_IMAGES), ("images", RANGES), ("labels", OF_LABELS), ("classes", OF_CLASSES)]
    ).flatmap(
        lambda group: st.tuples(
            st.sampled_from([BOTH, BOTH[:1], BOTH[1:]]), st.just(group[0]), st.sampled_from(sorted(group[1]))
        )
    ),
    max_size=2,
)
"""Which splits, what of them, and how."""


def changed(dataset: Dataset, changes: Sequence[tuple[Sequence[str], str, str]]) -> Dataset:
    """With what stands in `changes`, as far as it can be done to what there is."""
    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
        for splits, field, change in changes:
            if field == "classes":
                dataset = dataset._replace(classes=OF_CLASSES[change])
                continue
            for name in splits:
                split = getattr(dataset, name)
                # What was made another thing by the first change may not be one that the second knows.
                with contextlib.suppress(AttributeError, TypeError, ValueError, IndexError, OverflowError):
                    array = FIELDS[field][change](getattr(split, field))
                    dataset = dataset._replace(**{name: split._replace(**{field: array})})
    return dataset


SEEDS = st.integers(0, 2**32 - 1)


def require_the_laws(data: Data) -> None:
    built: list[Dataset] = []
    if refusal_of(lambda: built.append(build_dataset(data))):
        event("is refused")
        return
    event("is accepted")
    (dataset,) = built
    assert dataset.train.images.shape[1:] == dataset.test.images.shape[1:]
    if dataset.train.images.shape[1:] == SHAPE and len(dataset.classes) <= len(CLASSES):
        require_that_training_sees(dataset)


@example(seed=0, changes=[(BOTH, "classes", "None")])
@example(seed=0, changes=[(BOTH, "images", "3e+38 to 3e+38 + 1e+19 in f4"), (BOTH, "images", "with 0")])
@example(seed=0, changes=[(BOTH, "images", "1e-40 to 1e-40 + 1e-45 in f4")])
@example(seed=0, changes=[(BOTH, "images", "0 to 0 + 1e-40 in f4"), (("test",), "images", "all 0")])
@settings(max_examples=MANY)
@given(seed=SEEDS, changes=CHANGES)
def test_any_data_set_of_a_users_source(seed, changes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sources.SOURCES, "own", lambda _: changed(draw_dataset(seed), changes))
        require_the_laws(Data(source="own"))


@example(seed=0, changes=[(BOTH, "images", "all 7")])
@settings(max_examples=MANY)
@given(seed=SEEDS, changes=CHANGES)
def test_any_data_set_of_a_users_intervention(seed, changes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sources.SOURCES, "own", lambda _: draw_dataset(seed))
        patch.setitem(INTERVENTIONS, "own", Intervention(lambda dataset, _: changed(faded(dataset), changes)))
        require_the_laws(Data(source="own", intervention="own"))


DAMAGES: dict[str, Callable[[bytes, int], bytes]] = {
    "is cut": lambda content, place: content[:place],
    "has a wrong bit": lambda content, place: content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :],
    "is empty": lambda content, place: b"",
    "is text": lambda content, place: b"images,labels\n",
    "is one array": lambda content, place: content[30 + len("images.npy") :],
}


@settings(max_examples=MANY)
@given(
    seed=SEEDS,
    changes=CHANGES,
    arrays=st.sampled_from([4, 4, 2, 2, 1, 3, 0]),
    damage=st.none() | st.none() | st.sampled_from(sorted(DAMAGES)),
    place=st.floats(0, 1, exclude_max=True),
)
def test_any_file_of_arrays(seed, changes, arrays, damage, place, tmp_path_factory):
    dataset, file = changed(draw_dataset(seed), changes), tmp_path_factory.getbasetemp() / "any.npz"
    names = ("images", "labels", "test_images", "test_labels")[:arrays]
    np.savez(file, **dict(zip(names, (*dataset.train, *dataset.test), strict=False)))
    if damage:
        content = file.read_bytes()
        file.write_bytes(DAMAGES[damage](content, int(place * len(content))))
    require_the_laws(Data(source="arrays", file=str(file)))
