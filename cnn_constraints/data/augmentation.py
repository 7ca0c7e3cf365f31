"""What is done anew to every batch of training images, inside the compiled step. Pure functions of a key and images.

It is drawn from the seed and the number of the update alone, so networks of every kind that train from one seed see the
same images. It comes before the intervention: permuted images are moved as images, and then permuted.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from cnn_constraints.data.interventions import near_edge
from cnn_constraints.errors import InputError

Images = Float[Array, "batch height width channels"]

WHITE = 255
"""Full intensity, of images that are whole numbers."""


class Augmentation(NamedTuple):
    """apply: takes a key of its own, a batch of images and the strength, 0 to 1; returns as many images of that shape.
    Intensities are 0 to 1; the numbers of a synthetic task, or of an array of floats, are as they are.
    strength: what it is when the config does not say. acts: whether it can change an image of that height and width.
    """

    apply: Callable[[Key[Array, ""], Images, float], Images]
    strength: float
    acts: Callable[[int, int, float], bool] = lambda height, width, strength: True


def augment(
    key: Key[Array, ""],
    images: Images,
    augmentations: Sequence[tuple[str, float]],
    order: Int[Array, " sites"],
) -> Images:
    """The images of a batch after these augmentations, by name and strength, one after the other.

    order: that of the pixels of these images, which are put back for it: pixel p is pixel order[p] of a picture. Raises
    InputError where one of them, a user's own, returns other arrays than images like those that it was given.
    """
    permuted = lambda images, order: images.reshape(len(images), order.size, -1)[:, order].reshape(images.shape)
    images = permuted(images, jnp.argsort(order))
    for number, (name, strength) in enumerate(augmentations):
        made = AUGMENTATIONS[name].apply(jax.random.fold_in(key, number), images, strength)
        if getattr(made, "shape", None) != images.shape or not jnp.issubdtype(made.dtype, jnp.floating):
            raise InputError(
                f"data.augmentation {name} must return images as it gets them, of {images.dtype} and shape {images.shape}."
            )
        images = made
    return permuted(images, order)


def translate(key: Key[Array, ""], images: Images, strength: float) -> Images:
    """Each image moved by whole pixels, down and right, each up to strength times the side either way. What enters is the
    nearest pixel (Ott et al. 2020).
    """
    return _moved(key, images, strength)[0]


def crop(key: Key[Array, ""], images: Images, strength: float) -> Images:
    """A window of the image's size, anywhere in the image with a margin of zeros, strength times the side (He et al. 2016:
    4 of 32 pixels).
    """
    moved, inside = _moved(key, images, strength)
    return jnp.where(inside, moved, 0)


def flip(key: Key[Array, ""], images: Images, strength: float) -> Images:
    """Left and right exchanged, in each image with probability strength."""
    mirrored = jax.random.bernoulli(key, strength, (len(images), 1, 1, 1))
    return jnp.where(mirrored, images[:, :, ::-1], images)


def noise(key: Key[Array, ""], images: Images, strength: float) -> Images:
    """Normal noise of deviation strength added to every number, and nothing cut off (the noise of Ott et al. 2020)."""
    return images + strength * jax.random.normal(key, images.shape, images.dtype)


def edge_noise(key: Key[Array, ""], images: Images, strength: float) -> Images:
    """Such noise in the pixels near an edge alone: 5 of 32 at each (the edge noise of Ott et al. 2020)."""
    return jnp.where(near_edge(*images.shape[1:3])[None, ..., None], noise(key, images, strength), images)


def _reaches(height: int, width: int, strength: float) -> bool:
    return any(_reach(side, strength) for side in (height, width))


AUGMENTATIONS: dict[str, Augmentation] = {
    "translate": Augmentation(translate, 0.2, _reaches),
    "crop": Augmentation(crop, 4 / 32, _reaches),
    "flip": Augmentation(flip, 0.5, lambda height, width, strength: width > 1),
    "noise": Augmentation(noise, 0.1),
    "edge_noise": Augmentation(edge_noise, 0.99, lambda height, width, strength: bool(near_edge(height, width).any())),
}


def _reach(side: int, strength: float) -> int:
    return round(strength * side)


def _moved(
    key: Key[Array, ""], images: Images, strength: float
) -> tuple[Images, Bool[Array, "batch height width #channels"]]:
    """Where a pixel comes from beyond the image, the nearest one, and whether it comes from inside."""
    # Indices into rows and columns, which XLA fuses with the reading of the batch: a slice for each image costs ten times
    # as much on CPU.
    examples, height, width, _ = images.shape
    sources = []
    for own, side in zip(jax.random.split(key), (height, width), strict=True):
        reach = _reach(side, strength)
        sources.append(jnp.arange(side) - jax.random.randint(own, (examples, 1), -reach, reach + 1))
    rows, columns = sources[0][:, :, None], sources[1][:, None, :]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    moved = images[jnp.arange(examples)[:, None, None], rows.clip(0, height - 1), columns.clip(0, width - 1)]
    return moved, inside[..., None]
