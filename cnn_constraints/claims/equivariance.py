"""D2L 7.1.1: "respond similarly to the same patch, regardless of where it appears": whose answer moves with the image?"""

import datetime
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cnn_constraints.arrays import Dataset
from cnn_constraints.claims.claim import Claim, Criterion, Laboratory, Measurement, Picture, curves_of
from cnn_constraints.claims.networks import CELLS, base, train_one
from cnn_constraints.data.datasets import build_dataset
from cnn_constraints.experiment import replace
from cnn_constraints.functional import respond
from cnn_constraints.lattice.geometry import BOUNDARIES
from cnn_constraints.plan import build_task, to_device
from cnn_constraints.resolve import Resolved, resolve
from cnn_constraints.statistics import Interval
from cnn_constraints.training.loop import Task

IMAGES, SHIFTS, MARGIN = 64, (0, 1, 2, 3), 3
"""Images move by up to three pixels, and are black for as far at their border: nothing leaves, nothing enters."""


def network(laboratory: Laboratory, cell: str, readout: str, boundary: str, seed: int) -> Resolved:
    """One layer without pooling, whose strides would tell where an image lies."""
    changes = {
        "model.constraint": cell,
        "model.readout": readout,
        "model.boundary": boundary,
        "model.channels": (4,),
        "model.pool_sizes": (1,),
        "model.strides": (1,),
        "training.updates": 100,
        "training.learning_rates": (4e-3,),
        "seed": seed,
    }
    [resolved] = resolve([replace(base(laboratory.images["mnist"], laboratory.tier), changes)])
    return resolved


def real_images(dataset: Dataset) -> Float[np.ndarray, "images height width channels"]:
    """Test images from 0 to 1, black within MARGIN of their border."""
    images = np.zeros_like(dataset.test.images[:IMAGES], np.float32)
    inside = np.s_[:, MARGIN:-MARGIN, MARGIN:-MARGIN]
    images[inside] = dataset.test.images[:IMAGES][inside] / 255
    return images


def layer_error(task: Task, weights: Any, images: Float[np.ndarray, "..."], shift: int) -> float:
    """||L(T x) - T L(x)|| / ||L(x) - mean||, T a translation down and right, where both know the image.

    On a torus they do everywhere; in a zero boundary all but the rows and columns that T L(x) lacks.
    """
    layer = task.network.layers[0]

    def answer(x: np.ndarray) -> np.ndarray:
        return np.asarray(respond(layer, jnp.asarray(x.transpose(3, 1, 2, 0)), [weights["layer_0"]]))

    moved = answer(np.roll(images, (shift, shift), axis=(1, 2)))
    expected = np.roll(answer(images), (shift, shift), axis=(1, 2))
    known = np.s_[:, shift:, shift:] if layer.geometry.boundary == "zero" else np.s_[:]
    return float(np.linalg.norm((moved - expected)[known]) / np.linalg.norm((expected - expected.mean())[known]))


def logit_error(task: Task, weights: Any, images: Float[np.ndarray, "..."], shift: int) -> float:
    """||f(T x) - f(x)|| / ||f(x) - mean||: how far the whole network is from not caring where an image lies."""

    def respond(x: np.ndarray) -> Array:
        return task.network.apply({"params": weights}, jnp.asarray(x))  # type: ignore[return-value]

    moved, still = respond(np.roll(images, (shift, shift), axis=(1, 2))), respond(images)
    return float(jnp.linalg.norm(moved - still) / jnp.linalg.norm(still - still.mean(axis=0)))


def measure(laboratory: Laboratory) -> Measurement:
    """The largest error of what should be equivariant or invariant, and the smallest of what should not, over seeds,
    shifts and moments.
    """
    dataset = build_dataset(base(laboratory.images["mnist"], laboratory.tier).data)
    images, split, seeds = real_images(dataset), to_device(dataset.train), laboratory.seeds
    rows, of_logits = [], {arm: [] for arm in LOGITS}
    arms = [(cell, "global_average", boundary) for cell in CELLS for boundary in BOUNDARIES]
    for cell, readout, boundary in [*arms, ("conv", "flatten", "circular")]:
        for seed in seeds:
            experiment = network(laboratory, cell, readout, boundary, seed)
            task = build_task(experiment, dataset)
            for moment, weights in train_one(experiment, dataset, split).items():
                if readout == "global_average":
                    panel = f"{boundary} boundary, {moment}"
                    rows += [(panel, cell, s, seed, layer_error(task, weights, images, s)) for s in SHIFTS]
                if boundary == "circular":
                    of_logits[cell, readout].append(logit_error(task, weights, images, SHIFTS[-1]))
    curves = curves_of(rows)
    moved = curves[curves["x"] > 0]
    values = {layer_of(c): _range(moved[moved["line"] == c]["y"], len(seeds), largest=c in TIED) for c in CELLS}
    for arm, errors in of_logits.items():
        values[network_of(*arm)] = _range(errors, len(seeds), largest=arm in INVARIANT)
    # A logarithmic axis has no 0, which a shift of 0 and exact equality give.
    return Measurement(values, curves.assign(y=curves["y"].clip(lower=1e-9)))


def _range(errors: Any, seeds: int, largest: bool) -> Interval:
    """What holds of every single case: the largest error, or the smallest, and all that occur."""
    low, high = float(min(errors)), float(max(errors))
    return Interval(high if largest else low, low, high, seeds)


TIED = ("shared", "conv")
LOGITS = (*((cell, "global_average") for cell in CELLS), ("conv", "flatten"))
INVARIANT = tuple((cell, "global_average") for cell in TIED)


def layer_of(cell: str) -> str:
    """Name of the quantity: of one layer, as `layer_error` measures it."""
    which = "largest" if cell in TIED else "smallest"
    return f"{which} relative difference between answer to moved image and moved answer, layer of {cell}"


def network_of(cell: str, readout: str) -> str:
    """Name of the quantity: of a whole network, as `logit_error` measures it."""
    which = "largest" if (cell, readout) in INVARIANT else "smallest"
    return f"{which} relative change of logits when the image moves, {cell}, {readout}, circular boundary"


CLAIM = Claim(
    statement="Where weights do not depend on (i, j), the answer of a layer moves with the image, before and after "
    "training; with a global average and a circular boundary the network's answer does not change at all. Without sharing, "
    "or without the average, it does.",
    source="D2L 7.1.1 and 7.1.2.1, translation invariance",
    protocol="MNIST digits (CPU: halved), moved by 1 to 3 pixels; one layer of each cell, zero and circular boundary, with "
    "initial weights and after 100 updates on 1,000 images.",
    criteria=(
        *(Criterion(layer_of(cell), high=1e-4, published="0") for cell in TIED),
        *(Criterion(layer_of(cell), low=0.1) for cell in CELLS if cell not in TIED),
        *(Criterion(network_of(*arm), high=1e-4, published="0") for arm in INVARIANT),
        *(Criterion(network_of(*arm), low=0.1) for arm in LOGITS if arm not in INVARIANT),
    ),
    frozen=datetime.date(2026, 11, 25),
    seeds={"cpu": 5, "gpu": 5},
    measure=measure,
    picture=Picture("shift, pixels", "relative difference", x_logarithmic=False),
    data_sets=("mnist",),
)
