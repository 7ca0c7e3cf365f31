"""Malach & Shalev-Shwartz: the parity of a few neighbours, which gradient descent finds with locality alone."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from cnn_constraints.claims import Tier
from cnn_constraints.claims.claim import Claim, Criterion, Laboratory, Measurement, Picture, curves_of
from cnn_constraints.claims.networks import CELLS, descend
from cnn_constraints.data import tasks
from cnn_constraints.functional import Layer
from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.network import ACTIVATIONS, Network
from cnn_constraints.statistics import mean_interval

FEWEST, MOST, DELTA, CHANNELS = 16, 128, 2, 16
SITES: dict[Tier, tuple[int, ...]] = {
    "quick": (FEWEST, MOST),
    "cpu": (FEWEST, 32, 64, MOST),
    "gpu": (FEWEST, 32, 64, MOST),
}
BITS = 2 * DELTA + 1
UPDATES, BATCH, LEARNING_RATE, TEST_EXAMPLES = 3000, 64, 3e-3, 4096


@partial(jax.jit, static_argnames=("cell", "sites"))
def accuracies(cell: str, sites: int, seeds: Int[Array, " seeds"]) -> Float[Array, " seeds"]:
    """On fresh examples, of one network for each seed, after UPDATES of Adam. Where the parity lies is drawn, too."""
    layer = Layer(cell, Geometry(sites, 1, boundary="circular"), 1, CHANNELS, DELTA, gain=ACTIVATIONS["relu"].gain)
    network = Network((layer,), (1,), 2, stored=True)
    answer: Any = network.apply

    def of_seed(seed: Array) -> Float[Array, ""]:
        place, weights, examples, test = jax.random.split(jax.random.key(seed), 4)
        first = jax.random.randint(place, (), 0, sites)

        def draw(key: Array, number: int) -> tuple[Array, Array]:
            signs = jax.random.rademacher(key, (number, sites), jnp.float32)
            return signs[:, :, None, None], (tasks.parity(signs, first, BITS) > 0).astype(jnp.int32)

        def loss(variables: Any, key: Array) -> Float[Array, ""]:
            images, labels = draw(key, BATCH)
            return optax.softmax_cross_entropy_with_integer_labels(answer(variables, images), labels).mean()

        start = network.init(weights, jnp.zeros((1, sites, 1, 1)))
        variables = descend(optax.adam(LEARNING_RATE), loss, start, jax.random.split(examples, UPDATES))
        images, labels = draw(test, TEST_EXAMPLES)
        return jnp.mean(answer(variables, images).argmax(axis=1) == labels)

    return jax.vmap(of_seed)(seeds)


def measure(laboratory: Laboratory) -> Measurement:
    """Test accuracy of the four cells by the number of sites."""
    seeds, arms = laboratory.seeds, [(cell, sites) for cell in CELLS for sites in laboratory.of_tier(SITES)]
    found = {arm: 100 * np.asarray(accuracies(*arm, jnp.array(seeds))) for arm in arms}
    values = {quantity: mean_interval(found[arm]) for arm, quantity in ACCURACY.items()}
    points = [(f"parity of {BITS} neighbours", *arm, accuracy) for arm, accuracy in found.items()]
    return Measurement(values, curves_of(points, seeds))


ACCURACY = {(c, n): f"test accuracy of {c}, {n} sites, percent" for c in CELLS for n in (FEWEST, MOST)}
PUBLISHED = {"dense": "not learned", "shared": "", "local": "learned", "conv": "learned"}

CLAIM = Claim(
    statement="With locality, gradient descent finds the few neighbours whose parity the label is; without it, where there "
    "are many places to look, fresh examples in every update leave it at chance, and sharing is no help.",
    source="Malach & Shalev-Shwartz 2021, Computational separation between convolutional and fully-connected networks, "
    "arXiv 2010.01369 (patterns of log n bits among n); the shared cell is ours",
    protocol=f"Signs on a ring of {FEWEST} to {MOST}, the product of {BITS} neighbours at a place drawn for each seed; one "
    f"layer of {CHANNELS} channels (delta {DELTA}), relu, flatten, a linear classifier; Adam with {LEARNING_RATE}, "
    f"{UPDATES:,} updates on {BATCH} fresh examples each; accuracy on {TEST_EXAMPLES:,} more.",
    criteria=(
        *(Criterion(ACCURACY[c, MOST], high=60, published=PUBLISHED[c]) for c in ("dense", "shared")),
        *(Criterion(ACCURACY[c, MOST], low=95, published=PUBLISHED[c]) for c in ("local", "conv")),
        *(Criterion(ACCURACY[c, FEWEST], low=95) for c in CELLS),
    ),
    frozen="2026-11-27",
    seeds={"quick": 3, "cpu": 10, "gpu": 20},
    measure=measure,
    picture=Picture("sites", "test accuracy, %", y_logarithmic=False),
)
