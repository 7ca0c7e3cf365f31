"""Kayhan & van Gemert: a convolution knows where something is, since it feels where the image ends."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Float

from cnn_constraints.architecture import build_network
from cnn_constraints.claims.claim import Claim, Criterion, Laboratory, Measurement, Picture, curves_of, extreme
from cnn_constraints.claims.networks import descend
from cnn_constraints.data import tasks
from cnn_constraints.experiment import Model
from cnn_constraints.network import AnyNetwork
from cnn_constraints.statistics import mean_interval
from cnn_constraints.training.loop import Images

TRAIN, TEST, BATCH, EPOCHS, LEARNING_RATE = 2000, 1000, 100, 8, 5e-3

BORDERS = {
    "valid": ("valid", "zero"),
    "same": ("same", "zero"),
    "circular": ("same", "circular"),
    "full": ("full", "zero"),
}
"""Padding and boundary of every layer, by the name that the paper gives them."""

HALVES = {"similar": 0, "dissimilar": tasks.BOXES_SIDE // 2}
"""How far test images are moved down, on a torus: by half their height a class stands where the other stood in training."""


def network(border: str) -> AnyNetwork:
    """Four convolutions without bias, so that zeros beyond the image look like the background, and a global maximum."""
    padding, boundary = BORDERS[border]
    shape = {"channels": (8, 8, 16, 16), "pool_sizes": (1,) * 4, "strides": (1, 2, 2, 2)}
    model = Model("conv", 1, **shape, readout="global_max", bias="none", padding=padding, boundary=boundary)
    return build_network(model, (tasks.BOXES_SIDE, tasks.BOXES_SIDE, tasks.BOXES_CHANNELS), 2)


@partial(jax.jit, static_argnums=0)
def train(
    network: AnyNetwork,
    key: jax.Array,
    seen: Images,
    batches: Array,
    tests: Float[Array, "halves *images"],
    labels: Array,
) -> Float[Array, " halves"]:
    """Accuracy on each half of the tests, after an update of Adam on the mean cross-entropy of every batch."""
    images, targets = map(jnp.asarray, seen)

    def loss(parameters: dict, batch: Array) -> Float[Array, ""]:
        logits: Array = network.apply(parameters, images[batch])  # type: ignore[assignment]
        return optax.softmax_cross_entropy_with_integer_labels(logits, targets[batch]).mean()

    start = network.init(key, images[:1])
    parameters = descend(optax.adam(LEARNING_RATE), loss, start, batches)
    answers: Array = lax.map(lambda test: network.apply(parameters, test), tests)  # type: ignore[arg-type]
    return (answers.argmax(axis=-1) == labels).mean(axis=-1)


def accuracies(border: str, seed: int) -> Float[np.ndarray, " halves"]:
    """Percent, on test images where each class stands as in training, and where they change places."""
    generator = np.random.default_rng(seed)
    seen, (images, labels) = (Images(*tasks.red_and_green(generator, n)) for n in (TRAIN, TEST))
    batches = np.concatenate([generator.permutation(TRAIN).reshape(-1, BATCH) for _ in range(EPOCHS)])
    tests = np.stack([np.roll(images, rows, axis=1) for rows in HALVES.values()])
    return 100 * np.asarray(train(network(border), jax.random.key(seed), seen, batches, tests, labels))


def measure(laboratory: Laboratory) -> Measurement:
    """Accuracies of the four borders on both halves, and how far apart they are where no border can be felt."""
    found = {border: np.stack([accuracies(border, seed) for seed in laboratory.seeds], axis=1) for border in BORDERS}
    values = {
        ACCURACY[border, half]: mean_interval(row)
        for border, rows in found.items()
        for half, row in zip(HALVES, rows, strict=True)
    }
    values |= {
        DIFFERENCE[border]: extreme(np.abs(np.diff(found[border], axis=0)[0]), len(laboratory.seeds))
        for border in DIFFERENCE
    }
    points = [("", half, border, row) for border, rows in found.items() for half, row in zip(HALVES, rows, strict=True)]
    return Measurement(values, curves_of(points, laboratory.seeds))


ACCURACY = {
    (border, half): f"accuracy on {half} test images, {border}, percent" for border in BORDERS for half in HALVES
}
DIFFERENCE = {
    border: f"accuracy on similar minus dissimilar test images, {border}, largest difference, points"
    for border in ("circular", "full")
}

CLAIM = Claim(
    statement="A convolution that loses the border, or meets zeros there, learns where something is in place of what it "
    "is; one that wraps around, or reaches beyond the border as far as it can, cannot tell places apart.",
    source="Kayhan & van Gemert 2020, On translation invariance in CNNs: convolutional layers can exploit absolute spatial "
    "location, arXiv 2003.07064, experiment 2",
    protocol="Red left of green in the upper half of 32 x 32 pixels, or green left of red in the lower: 2,000 images; "
    "1,000 similar test images, and the same moved down by half a height. Four convolutions of delta 1 (8, 8, 16 and 16 "
    "channels, a quarter of the paper's), strides 1, 2, 2, 2, no bias, global maximum; Adam, rate 0.005, 8 epochs in "
    "batches of 100 (paper: Adadelta, up to 50 epochs).",
    criteria=(
        Criterion(ACCURACY["valid", "similar"], low=95, published="100"),
        Criterion(ACCURACY["valid", "dissimilar"], high=20, published="0.2"),
        Criterion(ACCURACY["same", "similar"], low=95, published="99.8"),
        Criterion(ACCURACY["same", "dissimilar"], high=20, published="8.4"),
        Criterion(ACCURACY["circular", "similar"], 55, 90, published="73.7"),
        Criterion(ACCURACY["circular", "dissimilar"], 55, 90, published="73.7"),
        Criterion(ACCURACY["full", "similar"], low=75, published="89.7"),
        Criterion(ACCURACY["full", "dissimilar"], low=75, published="89.7"),
        *(Criterion(quantity, 0, 0, published="0") for quantity in DIFFERENCE.values()),
    ),
    frozen="2026-11-27",
    seeds={"cpu": 6, "gpu": 10},
    measure=measure,
    picture=Picture("border of every layer", "test accuracy, %", y_logarithmic=False),
)
