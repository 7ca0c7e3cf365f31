"""Tomasini & Wyart: where a hierarchical task is sparse, sharing saves more the deeper the hierarchy is."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Float, Int

from cnn_constraints.claims.claim import Claim, Criterion, Laboratory, Measurement, Picture, curves_of
from cnn_constraints.claims.networks import descend
from cnn_constraints.data import tasks
from cnn_constraints.functional import Layer, Parameters, initialisers, respond
from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.network import ACTIVATIONS
from cnn_constraints.statistics import Interval, mean_interval, power_law, samples_of_seeds

LEVELS, BLANKS, TARGET, TEST = 3, (0, 1, 2), 0.1, 2000
CHANNELS, UPDATES, BATCH, LEARNING_RATE = 32, 3000, 64, 1e-2

FORMULATIONS = {"conv": "patches", "local": "tiles_1x1"}
"""Three times faster here than what is fastest for images."""

EXPONENTS = {"conv": 2, "local": LEVELS}
"""Of the samples in blanks + 1, as published."""

DENSE_ENOUGH = tasks.FEATURES * tasks.PAIRS**LEVELS
"""n_c m^L, the published number of samples without blanks."""

MULTIPLES = (1, 2, 4, 8, 16)
"""Of the published numbers of samples."""


def layers(cell: str, blanks: int) -> list[Layer]:
    """A layer for each level, a patch for each of its features: the entries of a patch are channels, and delta is 0."""
    patch, depths = 2 * (blanks + 1), range(LEVELS)
    inputs = [tasks.FEATURES if depth == 0 else CHANNELS for depth in depths]
    options = {
        "bias": "site" if cell == "local" else "channel",
        "gain": ACTIVATIONS["relu"].gain,
        "formulation": FORMULATIONS[cell],
    }
    of_levels = [
        Layer(cell, Geometry(patch ** (LEVELS - 1 - depth), 1), patch * inputs[depth], CHANNELS, 0, **options)
        for depth in depths
    ]
    return [*of_levels, Layer("dense", Geometry(1, 1), CHANNELS, tasks.FEATURES)]


def logits(
    network: tuple[Layer, ...], weights: Sequence[Parameters], inputs: Float[Array, "channels sites examples"]
) -> Float[Array, "classes examples"]:
    """The answer to each example; between layers, the channels of neighbouring sites become those of a patch."""
    x, sites = inputs, lambda layer: layer.geometry.height
    for number, (layer, own) in enumerate(zip(network, weights, strict=True)):
        channels, _, examples = x.shape
        patches = x.reshape(channels, sites(layer), -1, examples).swapaxes(1, 2).reshape(-1, sites(layer), 1, examples)
        x = respond(layer, patches, [own])[:, :, 0]
        x = x if number == LEVELS else jax.nn.relu(x)
    return x[:, 0]


@partial(jax.jit, static_argnums=0)
def train(
    network: tuple[Layer, ...],
    key: Array,
    seen: tuple[Array, Array],
    batches: Int[Array, "sizes *updates"],
    unseen: tuple,
) -> Float[Array, " sizes"]:
    """The test error after an update of Adam on the mean cross-entropy of every batch; all sizes start alike."""
    start = [
        {
            name: draw(jax.random.fold_in(key, 2 * depth + n))
            for n, (name, draw) in enumerate(initialisers(layer).items())
        }
        for depth, layer in enumerate(network)
    ]

    def loss(weights: list, batch: Array) -> Float[Array, ""]:
        answers = logits(network, weights, seen[0][..., batch]).T
        return optax.softmax_cross_entropy_with_integer_labels(answers, seen[1][batch]).mean()

    def error(batches: Array) -> Float[Array, ""]:
        weights = descend(optax.adam(LEARNING_RATE), loss, start, batches)
        return (logits(network, weights, unseen[0]).argmax(axis=0) != unseen[1]).mean()

    return lax.map(error, batches)


def sizes(cell: str, blanks: int) -> list[int]:
    """Training examples: MULTIPLES of the published number that is enough."""
    return [DENSE_ENOUGH * (blanks + 1) ** EXPONENTS[cell] * multiple for multiple in MULTIPLES]


def errors(cell: str, blanks: int, seed: int) -> Float[np.ndarray, " sizes"]:
    """Test errors by training examples; a seed has the same rules whatever the blanks."""
    generator = np.random.default_rng(seed)
    rules = tasks.hierarchy_rules(generator, LEVELS)
    splits = [tasks.sparse_hierarchy(generator, rules, n, blanks) for n in (sizes(cell, blanks)[-1], TEST)]
    seen, unseen = ((jnp.asarray(inputs.transpose(1, 2, 0)), jnp.asarray(labels)) for inputs, labels in splits)
    batches = np.stack([generator.integers(n, size=(UPDATES, BATCH)) for n in sizes(cell, blanks)])
    return np.asarray(train(tuple(layers(cell, blanks)), jax.random.key(seed), seen, jnp.asarray(batches), unseen))


def measure(laboratory: Laboratory) -> Measurement:
    """How the samples to 10% error grow with the blanks, and by how much more for a local layer."""
    arms = [(cell, blanks) for cell in EXPONENTS for blanks in BLANKS]
    found = {arm: np.stack([errors(*arm, seed) for seed in laboratory.seeds]) for arm in arms}
    reached = {arm: samples_of_seeds(sizes(*arm), curves, TARGET) for arm, curves in found.items()}
    laws = {
        cell: power_law(
            [blanks + 1 for blanks in BLANKS], np.stack([reached[cell, blanks] for blanks in BLANKS], axis=1)
        )
        for cell in EXPONENTS
    }
    values = {EXPONENT[cell]: law.growth for cell, law in laws.items()}
    differences = laws["conv"].exponents - laws["local"].exponents
    known = np.isfinite(differences).all()
    values[DIFFERENCE] = mean_interval(differences) if known else Interval(np.nan, -np.inf, np.inf, len(differences))
    points = [
        (f"{blanks} blanks a feature", cell, n, of_size)
        for (cell, blanks), curves in found.items()
        for n, of_size in zip(sizes(cell, blanks), curves.T, strict=True)
    ]
    return Measurement(values, curves_of(points, laboratory.seeds))


EXPONENT = {cell: f"exponent of the samples to 10% error in blanks + 1, {cell}" for cell in EXPONENTS}
DIFFERENCE = "exponent of the samples to 10% error in blanks + 1, local minus conv"

CLAIM = Claim(
    statement="Where the features of a hierarchy stand at any of s0 + 1 places, a local network of as many layers as "
    "levels, L, needs samples that grow as (s0 + 1)^L, and a convolutional one only as (s0 + 1)^2.",
    source="Tomasini & Wyart 2024, How deep networks learn sparse and hierarchical data: the sparse random hierarchy "
    "model, arXiv 2404.10727, equations 3 and 4",
    protocol="L = 3 levels, 3 classes and features, each written as 3 of 9 pairs, every feature of a pair with s0 = 0, 1 "
    "or 2 blanks: 8 to 216 sites. Rules that correlate a feature little with what it stands for are drawn again (see "
    "tasks.hierarchy_rules). A layer a level, a patch a feature, 32 channels, rectifier; Adam, rate 0.01, 3,000 updates of "
    "64, on 1 to 16 times 81 (s0 + 1)^2 examples for conv and 81 (s0 + 1)^3 for local; error on 2,000 others.",
    criteria=(
        Criterion(EXPONENT["conv"], 1.3, 2.5, "2"),
        Criterion(EXPONENT["local"], 2.3, 3.7, "3"),
        Criterion(DIFFERENCE, low=0, published="1"),
    ),
    frozen="2026-11-27",
    seeds={"cpu": 6, "gpu": 20},
    measure=measure,
    picture=Picture("training samples", "test error", y_logarithmic=False),
)
