"""D2L 7.1.1: "respond similarly to the same patch, regardless of where it appears": whose answer moves with the image?"""

import itertools
from collections import defaultdict
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from cnn_constraints.claims.claim import Claim, Criterion, Laboratory, Measurement, Picture, curves_of, extreme
from cnn_constraints.claims.networks import CELLS, base, train_one
from cnn_constraints.data.datasets import build_dataset
from cnn_constraints.experiment import replace
from cnn_constraints.functional import respond
from cnn_constraints.lattice.geometry import BOUNDARIES
from cnn_constraints.network import Network
from cnn_constraints.plan import to_device

IMAGES, SHIFTS, MARGIN = 64, (0, 1, 2, 3), 3
"""Images move by up to three pixels, and are black for as far at their border: nothing leaves, nothing enters."""

ONE_LAYER: dict[str, Any] = {"model.channels": (4,), "model.pool_sizes": (1,), "model.strides": (1,)}
ONE_LAYER |= {"training.updates": 100, "training.learning_rates": (4e-3,)}
"""Without pooling, whose strides would tell where an image lies."""

Images = Float[np.ndarray, "images height width channels"]


def moved(images: np.ndarray, shift: int) -> np.ndarray:
    """Down and right, on a torus."""
    return np.roll(images, (shift, shift), axis=(1, 2))


def layer_error(network: Network, weights: Any, images: Images, shift: int) -> float:
    """||L(T x) - T L(x)|| / ||L(x) - mean||, T a translation down and right, where both know the image.

    On a torus they do everywhere; in a zero boundary all but the rows and columns that T L(x) lacks.
    """
    layer = network.layers[0]
    answer = lambda x: np.asarray(respond(layer, jnp.asarray(x.transpose(3, 1, 2, 0)), [weights["layer_0"]]))
    actual, expected = answer(moved(images, shift)), moved(answer(images), shift)
    known = np.s_[:, shift:, shift:] if layer.geometry.boundary == "zero" else np.s_[:]
    return float(np.linalg.norm((actual - expected)[known]) / np.linalg.norm((expected - expected.mean())[known]))


def logit_error(network: Network, weights: Any, images: Images, shift: int) -> float:
    """||f(T x) - f(x)|| / ||f(x) - mean||: how far the whole network is from not caring where an image lies."""
    answer: Any = lambda x: network.apply({"params": weights}, jnp.asarray(x))
    away, still = answer(moved(images, shift)), answer(images)
    return float(jnp.linalg.norm(away - still) / jnp.linalg.norm(still - still.mean(axis=0)))


def measure(laboratory: Laboratory) -> Measurement:
    """The largest error of what should be equivariant or invariant, and the smallest of what should not."""
    usual, seeds = base(laboratory.images["mnist"], laboratory.tier), laboratory.seeds
    dataset = build_dataset(usual.data)
    split, inside = to_device(dataset.train), np.s_[:, MARGIN:-MARGIN, MARGIN:-MARGIN]
    images = np.zeros_like(dataset.test.images[:IMAGES], np.float32)
    images[inside] = dataset.test.images[:IMAGES][inside] / 255
    of_layers: dict[tuple[str, str, int], list[float]] = defaultdict(list)
    of_logits: dict[tuple[str, str], list[float]] = defaultdict(list)
    arms = [(cell, "global_average", boundary) for cell in CELLS for boundary in BOUNDARIES]
    for (cell, readout, boundary), seed in itertools.product([*arms, ("conv", "flatten", "circular")], seeds):
        arm = {"model.constraint": cell, "model.readout": readout, "model.boundary": boundary, "seed": seed}
        network, _, parameters = train_one(replace(usual, ONE_LAYER | arm), dataset, split)
        for moment, weights in parameters.items():
            for shift in SHIFTS if readout == "global_average" else ():
                case = (f"{boundary} boundary, {moment}", cell, shift)
                of_layers[case].append(layer_error(network, weights, images, shift))
            if boundary == "circular":
                of_logits[cell, readout].append(logit_error(network, weights, images, SHIFTS[-1]))
    curves = curves_of([(*case, errors) for case, errors in of_layers.items()], seeds)
    away = curves[curves["x"] > 0]
    values = {OF_LAYER[c]: extreme(away[away["line"] == c]["y"], len(seeds), largest=c in TIED) for c in CELLS}
    values |= {OF_NETWORK[arm]: extreme(errors, len(seeds), arm in INVARIANT) for arm, errors in of_logits.items()}
    # A logarithmic axis has no 0, which a shift of 0 and exact equality give.
    return Measurement(values, curves.assign(y=curves["y"].clip(lower=1e-9)))


TIED = ("shared", "conv")
INVARIANT = tuple((cell, "global_average") for cell in TIED)
OF_LAYER = {
    cell: f"{'largest' if cell in TIED else 'smallest'} relative difference between answer to moved image and moved "
    f"answer, layer of {cell}"
    for cell in CELLS
}
OF_NETWORK = {
    (cell, readout): f"{'largest' if (cell, readout) in INVARIANT else 'smallest'} relative change of logits when the "
    f"image moves, {cell}, {readout}, circular boundary"
    for cell, readout in (*((cell, "global_average") for cell in CELLS), ("conv", "flatten"))
}

CLAIM = Claim(
    statement="Where weights do not depend on (i, j), the answer of a layer moves with the image, before and after "
    "training; with a global average and a circular boundary the network's answer does not change at all. Without sharing, "
    "or without the average, it does.",
    source="D2L 7.1.1 and 7.1.2.1, translation invariance",
    protocol="MNIST digits (CPU: halved), moved by 1 to 3 pixels; one layer of each cell, zero and circular boundary, with "
    "initial weights and after 100 updates on 1,000 images.",
    criteria=(
        *(Criterion(OF_LAYER[cell], high=1e-4, published="0") for cell in TIED),
        *(Criterion(OF_LAYER[cell], low=0.1) for cell in CELLS if cell not in TIED),
        *(Criterion(OF_NETWORK[arm], high=1e-4, published="0") for arm in INVARIANT),
        *(Criterion(OF_NETWORK[arm], low=0.1) for arm in OF_NETWORK if arm not in INVARIANT),
    ),
    frozen="2026-11-25",
    seeds={"quick": 3, "cpu": 5, "gpu": 5},
    measure=measure,
    picture=Picture("shift, pixels", "relative difference (at least 1e-9)", x_logarithmic=False),
    data_sets=("mnist",),
)
