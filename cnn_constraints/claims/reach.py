"""D2L 7.1.1: "deeper layers should be able to capture longer-range features": how far a unit sees, and how far it looks."""

import dataclasses
import itertools
from collections import defaultdict
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cnn_constraints.claims.claim import Claim, Criterion, Laboratory, Measurement, Picture, curves_of
from cnn_constraints.claims.networks import MOMENTS, base, train_one
from cnn_constraints.data.datasets import build_dataset
from cnn_constraints.experiment import Experiment
from cnn_constraints.functional import Layer, respond
from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.network import Network, activate_and_pool, layer_name
from cnn_constraints.plan import to_device
from cnn_constraints.statistics import exact, power_law
from cnn_constraints.training import loop

DEPTH, DELTA, IMAGES = 6, 1, 32
LOCAL, GLOBAL = ("local", "conv"), ("dense", "shared")

Field = Float[np.ndarray, "height width"]
"""Of the middle unit of a layer: something about its derivative by each pixel."""


def experiment(usual: Experiment, cell: str, seed: int) -> Experiment:
    """DEPTH layers of delta 1, without pooling; of a cell that sees everything, one."""
    depth = DEPTH if cell in LOCAL else 1
    sizes = {"channels": (8,) * depth, "pool_sizes": (1,) * depth, "strides": (1,) * depth}
    model = dataclasses.replace(usual.model, constraint=cell, delta=DELTA, **sizes)
    training = dataclasses.replace(usual.training, updates=200, learning_rates=(4e-3,))
    return dataclasses.replace(usual, model=model, training=training, seed=seed)


@partial(jax.jit, static_argnames=("network", "depth"))
def sensitivity(
    network: Network, weights: Any, images: Float[Array, "images height width channels"], depth: int
) -> Float[Array, "height width"]:
    """The mean over images and channels of the squared derivative of the middle unit of a layer by each pixel."""

    def middle(image: Array) -> Array:
        x = image.transpose(2, 0, 1)[..., None]
        for number, layer in enumerate(network.layers[:depth]):
            h = respond(layer, x, [weights[layer_name(number)]])
            x = activate_and_pool(network, number, h)
        row, column = (size // 2 for size in h.shape[1:3])
        return h[:, row, column, 0]

    derivative = jax.vmap(jax.jacrev(middle))(images)
    return (derivative**2).mean(axis=(0, 1)).sum(axis=-1)


def felt(side: int, depth: int, seeds: int) -> Field:
    """Root mean square over seeds of the derivative of the middle unit of a layer by each pixel."""
    layers = tuple(Layer("conv", Geometry(side, side), 8 if n else 1, 8, 1, gain=2.0) for n in range(depth))
    network = Network(layers, (1,) * depth, 2, stored=True)
    image = jnp.asarray(np.random.default_rng(0).standard_normal((1, side, side, 1)), jnp.float32)
    squares = []
    for seed in range(seeds):
        weights = network.init(jax.random.key(seed), image.transpose(3, 1, 2, 0))["params"]
        squares.append(np.asarray(sensitivity(network, weights, image, depth)))
    return np.sqrt(np.mean(squares, axis=0))


def support(field: Field) -> int:
    """The side of the smallest square around the middle that holds every pixel that is felt at all; 0 where none is."""
    row, column = (size // 2 for size in field.shape)
    rows, columns = np.nonzero(field)
    return int(2 * max(np.abs(rows - row).max(), np.abs(columns - column).max()) + 1) if len(rows) else 0


def radius(field: Field) -> float:
    """Root of the mean squared distance from the middle, weighted by the squared derivative (Luo et al. 2016)."""
    rows, columns = (np.arange(size) - size // 2 for size in field.shape)
    square = rows[:, None] ** 2 + columns[None, :] ** 2
    return float(np.sqrt((square * field).sum() / field.sum()))


def measure(laboratory: Laboratory) -> Measurement:
    """How far units see and how far they look, by depth, before and after training."""
    usual = base(laboratory.images["mnist"], laboratory.tier)
    dataset = build_dataset(usual.data)
    train_split, test_split = to_device(dataset.train), to_device(dataset.test)
    differences, shares = [], []
    radii: dict[tuple[str, str, int], list[float]] = defaultdict(list)
    for cell, seed in itertools.product((*LOCAL, *GLOBAL), laboratory.seeds):
        network, standardisation, parameters = train_one(experiment(usual, cell, seed), dataset, train_split)
        images, _ = loop.prepare(test_split, jnp.arange(IMAGES), standardisation)
        for moment, depth in itertools.product(parameters, range(1, len(network.layers) + 1)):
            field = np.asarray(sensitivity(network, parameters[moment], images, depth))  # type: ignore[arg-type]
            if cell in GLOBAL:
                shares.append(100 * np.mean(field > 0))
            else:
                differences.append(abs(support(field) - (2 * DELTA * depth + 1)))
                radii[moment, cell, depth].append(radius(field))
    depths = range(1, DEPTH + 1)
    values = {SUPPORT: exact(max(differences)), FELT: exact(min(shares))}
    for (cell, moment), quantity in GROWTH.items():
        of_seeds = np.stack([radii[moment, cell, depth] for depth in depths], axis=1)[np.argsort(laboratory.seeds)]
        values[quantity] = power_law(depths, of_seeds).growth
    return Measurement(values, curves_of([(*case, of_seeds) for case, of_seeds in radii.items()], laboratory.seeds))


SUPPORT = "side of the Jacobian's support, largest difference from 2 delta depth + 1, local and conv"
FELT = "pixels that a unit of the first layer feels, least share, dense and shared, percent"
GROWTH = {
    pair: "exponent of the effective radius in the depth, {}, {}".format(*pair)
    for pair in itertools.product(LOCAL, MOMENTS)
}
"""1/2 where the radius grows as the root of the depth."""

CLAIM = Claim(
    statement="A unit of layer L sees 2 delta L + 1 pixels, and looks mostly at its middle: the radius that matters grows "
    "as the root of the depth, before and after training. Without locality one layer sees everything.",
    source="D2L 7.1.1, point 3; Luo et al. 2016, Understanding the effective receptive field, section 2",
    protocol="Six layers of delta 1 on MNIST (CPU: halved), 200 updates on 1,000 images; squared derivative of the middle "
    "unit of each layer by each pixel, mean over 32 test images and all channels.",
    criteria=(
        Criterion(SUPPORT, 0, 0, "0"),
        Criterion(FELT, 100, 100, "all"),
        *(Criterion(quantity, 0.3, 0.7, "1/2") for quantity in GROWTH.values()),
    ),
    frozen="2026-11-25",
    seeds={"quick": 5, "cpu": 5, "gpu": 10},
    measure=measure,
    picture=Picture("depth, layers", "effective radius, pixels"),
    data_sets=("mnist",),
)
