"""What is done to images and labels before a network sees them, to make a bias agree with reality or not.

An intervention belongs to the task: it draws from a key of its own, and is the same for every seed of an experiment.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Shaped

from cnn_constraints import errors
from cnn_constraints.arrays import Dataset, Split
from cnn_constraints.data.tasks import MOST_BYTES
from cnn_constraints.errors import InputError

Images = Shaped[np.ndarray, "examples height width channels"]

INTERVENTION_KEY = 7012
"""Whatever an intervention draws comes from default_rng with this key."""

FRAME = 1
"""Name of the stream of places in a frame: an intervention that follows draws apart."""

EDGE = 5 / 32
"""Share of the side, at each edge, that edge noise covers: 5 of 32 pixels in Ott et al. 2020."""


class Intervention(NamedTuple):
    """apply: takes the data set and the strength, and returns another data set.
    strength: what it is when the config does not say; None for an intervention that has none.
    commutes: whether images that have been intervened upon may be augmented, as if they had been augmented before (what a
    translation does at the edges aside). order: of the pixels of an image, by their number, where they were permuted.
    """

    apply: Callable[[Dataset, float], Dataset]
    strength: float | None = None
    commutes: bool = False
    order: Callable[[int], Int[np.ndarray, " sites"]] = np.arange


def intervene(dataset: Dataset, name: str, strength: float | None = None) -> Dataset:
    """The data set after the intervention of that name. Raises InputError for an unknown name."""
    intervention = errors.find("intervention", name, INTERVENTIONS)
    return intervention.apply(dataset, strength_of(name, strength) or 0.0)


def strength_of(name: str, given: float | None) -> float | None:
    """The strength that an intervention has: the given one or its own, None where it has none."""
    return INTERVENTIONS[name].strength if given is None else float(given)


def place_in_frame(dataset: Dataset, side: int) -> Dataset:
    """Every image at a random place of its own, which it fits whole, in a frame of side x side zeros.

    Raises InputError for a frame into which the images do not fit or that they fill, and for one that takes too much.
    """
    height, width = dataset.train.images.shape[1:3]
    # A frame that square images fill has no effect.
    if side < (least := max(height, width) + (height == width)):
        raise InputError(
            f"data.frame is {side}: it must be at least {least}, since the images are {height} x {width}; leave it out for "
            f"the images alone."
        )
    needed = sum(split.images.nbytes for split in (dataset.train, dataset.test)) // (height * width) * side**2
    if needed > MOST_BYTES:
        raise InputError(
            f"data.frame is {side}: the images would take {needed:,} bytes, and at most {MOST_BYTES:,} are allowed."
        )

    def place(images: Images, split: str) -> Shaped[np.ndarray, "examples side side channels"]:
        examples, _, _, channels = images.shape
        frames = np.zeros((examples, side, side, channels), images.dtype)
        generator = _generator(split, FRAME)
        down, right = (generator.integers(0, side - own, examples, endpoint=True) for own in (height, width))
        rows, columns = down[:, None] + np.arange(height), right[:, None] + np.arange(width)
        frames[np.arange(examples)[:, None, None], rows[:, :, None], columns[:, None]] = images
        return frames

    return _with_images(dataset, place(dataset.train.images, "train"), place(dataset.test.images, "test"))


def permutation(sites: int) -> np.ndarray:
    """The order of pixels of `permute_pixels` for images of that many sites: new pixel p is old pixel permutation[p]."""
    return np.random.default_rng(INTERVENTION_KEY).permutation(sites)


def permute_pixels(dataset: Dataset, strength: float = 0.0) -> Dataset:
    """One fixed permutation of the pixels of every image: neighbours are no longer near, and no content is lost.

    A dense layer can undo it by permuting its weights; nothing about it is local or translation invariant any more.
    """

    def permute(images: Images) -> Images:
        examples, height, width, channels = images.shape
        pixels = images.reshape(examples, height * width, channels)
        return pixels[:, permutation(height * width)].reshape(images.shape)

    return _with_images(dataset, permute(dataset.train.images), permute(dataset.test.images))


def translate(dataset: Dataset, strength: float) -> Dataset:
    """Every image moved by a whole number of pixels of its own, down and right, each up to strength times the side either
    way; what leaves is lost, and what enters is 0 (where Ott et al. 2020 repeat the nearest pixel).
    """
    return _with_images(
        dataset, _moved(dataset.train.images, strength, "train"), _moved(dataset.test.images, strength, "test")
    )


def translate_test(dataset: Dataset, strength: float) -> Dataset:
    """Only the test images are translated: who has not learned the symmetry must have it built in."""
    return _with_images(dataset, dataset.train.images, _moved(dataset.test.images, strength, "test"))


def edge_noise(dataset: Dataset, strength: float) -> Dataset:
    """In training images, each pixel near an edge is replaced by noise (see `_noisy`) with probability strength.

    Ott et al. 2020, "edge noise": what is there depends on the place, so shared weights cannot ignore it.
    """
    near = near_edge(*dataset.train.images.shape[1:3])
    return _with_images(dataset, _noisy(dataset.train.images, strength * near), dataset.test.images)


def near_edge(height: int, width: int) -> Bool[np.ndarray, "height width"]:
    """The pixels that lie within EDGE of the side of any edge."""
    rows, columns = (np.minimum(np.arange(size), np.arange(size)[::-1]) for size in (height, width))
    return (rows < round(EDGE * height))[:, None] | (columns < round(EDGE * width))[None, :]


def full_noise(dataset: Dataset, strength: float) -> Dataset:
    """In training images, each pixel is replaced by noise (see `_noisy`) with probability strength (Ott et al. 2020)."""
    everywhere = np.ones(dataset.train.images.shape[1:3])
    return _with_images(dataset, _noisy(dataset.train.images, strength * everywhere), dataset.test.images)


def label_positions(dataset: Dataset, strength: float = 0.0) -> Dataset:
    """Half of the images, drawn at random, are rolled by half their width, and their label goes up by one (the last one
    becomes the first): the label depends on where the object is, which no translation invariant function can know. An image
    that is the same once it is rolled keeps its label.
    """

    def code(split: Split, name: str) -> Split:
        rolled = np.roll(split.images, split.images.shape[2] // 2, axis=2)
        moved = (_generator(name).random(len(split.labels)) < 0.5) & (rolled != split.images).any(axis=(1, 2, 3))
        labels = (split.labels + moved) % len(dataset.classes)
        return Split(np.where(moved[:, None, None, None], rolled, split.images), labels.astype(np.int32))

    return dataset._replace(train=code(dataset.train, "train"), test=code(dataset.test, "test"))


def randomise_labels(dataset: Dataset, strength: float) -> Dataset:
    """Training labels are redrawn, each with probability strength, whatever the image shows (Zhang et al. 2017)."""
    generator, labels = _generator("train"), dataset.train.labels
    redrawn = generator.random(len(labels)) < strength
    drawn = generator.integers(len(dataset.classes), size=len(labels), dtype=np.int32)
    return dataset._replace(train=dataset.train._replace(labels=np.where(redrawn, drawn, labels)))


INTERVENTIONS: dict[str, Intervention] = {
    "none": Intervention(lambda dataset, _: dataset, commutes=True),
    "permute_pixels": Intervention(permute_pixels, commutes=True, order=permutation),
    "translate": Intervention(translate, 0.2, commutes=True),
    "translate_test": Intervention(translate_test, 0.2, commutes=True),
    "edge_noise": Intervention(edge_noise, 0.99),
    "full_noise": Intervention(full_noise, 0.7),
    "label_positions": Intervention(label_positions),
    "randomise_labels": Intervention(randomise_labels, 1.0, commutes=True),
}


def _with_images(
    dataset: Dataset, train: Images, test: Shaped[np.ndarray, "test_examples height width channels"]
) -> Dataset:
    return dataset._replace(train=dataset.train._replace(images=train), test=dataset.test._replace(images=test))


def _generator(split: str, *stream: int) -> np.random.Generator:
    """Training and test images draw apart."""
    return np.random.default_rng((INTERVENTION_KEY, ("train", "test").index(split), *stream))


def _moved(images: Images, strength: float, split: str) -> Images:
    examples, *size, _ = images.shape
    generator, reach = _generator(split), [round(strength * side) for side in size]
    down, right = (generator.integers(-most, most + 1, examples) for most in reach)
    padded = np.pad(images, ((0, 0), *((most, most) for most in reach), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, size, axis=(1, 2))
    moved = windows[np.arange(examples), reach[0] - down, reach[1] - right]
    return np.ascontiguousarray(np.moveaxis(moved, 1, -1))


def _noisy(images: Images, probability: np.ndarray) -> Images:
    """One decision a pixel, and noise of its own for each of its channels: uniform over 0 to 255 where images are
    intensities, standard normal for the numbers of synthetic tasks.
    """
    generator = _generator("train")
    replaced = generator.random(images.shape[:3], dtype=np.float32) < probability
    if images.dtype == np.uint8:
        noise = generator.integers(0, 256, images.shape, dtype=np.uint8)
    else:
        noise = generator.standard_normal(images.shape, dtype=images.dtype.type)
    return np.where(replaced[..., None], noise, images)
