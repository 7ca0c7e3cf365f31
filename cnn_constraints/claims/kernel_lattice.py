"""Misiakiewicz & Mei: how many samples each cell of the lattice needs for a local, translation invariant polynomial.

A cell's kernel averages h(<window of x, window of y> / window) over pairs of windows: windows are the whole ring without
locality; a pair is one and the same place without sharing, and any two places under sharing with a global average.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cnn_constraints.claims.claim import Claim, Criterion, Laboratory, Measurement, Picture, curves_of
from cnn_constraints.claims.kernels import learning_curves, mean_over_windows
from cnn_constraints.data import tasks
from cnn_constraints.statistics import geometric_mean_interval, mean_interval, ratio_interval, samples_of_seeds

SITES, WINDOW, RIDGE, TEST_EXAMPLES, TARGET_ERROR = 30, 10, 1e-6, 1000, 0.1


class Cell(NamedTuple):
    """window: how many neighbouring sites one output sees. pool: over how many places, from its own on, it is averaged.
    predicted: samples to learn the invariant polynomial, by table 1.
    """

    window: int
    pool: int
    predicted: int
    sizes: tuple[int, ...]


CELLS = {
    "dense": Cell(SITES, 1, 27_000, (100, 300, 1000, 3000, 6000)),
    "shared": Cell(SITES, SITES, 900, (100, 200, 300, 450, 600, 1000, 1500, 2000)),
    "local": Cell(WINDOW, 1, 3000, (100, 300, 600, 1000, 1500, 2000, 3000)),
    "local, pooled over 5": Cell(WINDOW, 5, 600, (50, 100, 200, 300, 450, 600, 1000)),
    "conv": Cell(WINDOW, SITES, 100, (20, 35, 50, 75, 100, 150, 300, 500)),
}


def nonlinearity(t: Array) -> Array:
    """h(t) = 0.2 (t + t^2 + t^3 + t^4 + t^5), the kernel of one infinitely wide layer."""
    return 0.2 * t * (1 + t * (1 + t * (1 + t * (1 + t))))


@partial(jax.jit, static_argnames=("window", "pool"))
def cell_kernel(x: Float[Array, "n sites"], y: Float[Array, "m sites"], window: int, pool: int) -> Float[Array, "n m"]:
    """The mean of h over places k and shifts r of <x[k : k + window], y[k + r : k + r + window]> / window.

    Equations (CK) to (CK-GP) of the paper; a shift r < pool is weighted by (pool - |r|) / pool^2, or 1 / pool for a
    global average, in which all shifts of the ring occur alike.
    """
    sites = x.shape[1]
    whole = {shift: 1 / pool for shift in range(sites)}
    shifts = whole if pool == sites else {shift: (pool - abs(shift)) / pool**2 for shift in range(1 - pool, pool)}
    # Where the window is the whole ring, every place gives the same number.
    places = range(sites if window < sites else 1)
    overlap = lambda here, there: nonlinearity(here @ there.T / window)
    return mean_over_windows(x, y, window, places, shifts, overlap)


def errors_of(cell: Cell, seed: int) -> Float[np.ndarray, "targets sizes"]:
    """Test error on both targets against the number of samples, for one draw of inputs."""
    generator = np.random.default_rng((seed, cell.window, cell.pool))
    train = tasks.hypercube(generator, max(cell.sizes), SITES)
    test = tasks.hypercube(generator, TEST_EXAMPLES, SITES)
    # The ridge is below the rounding of 32 bits.
    with jax.enable_x64(True):
        x, y = jnp.asarray(train), jnp.asarray(test)
        kernel, test_kernel = (np.asarray(cell_kernel(rows, x, cell.window, cell.pool)) for rows in (x, y))
    targets = lambda inputs: np.stack([tasks.local_polynomial(inputs, swings) for swings in (False, True)], axis=1)
    return learning_curves(kernel, test_kernel, targets(train), targets(test), cell.sizes, RIDGE)


def measure(laboratory: Laboratory) -> Measurement:
    """Samples to 10% error of each kernel, as ratios paired by seed, and errors on the target that is not invariant."""
    errors = {name: np.stack([errors_of(cell, seed) for seed in laboratory.seeds]) for name, cell in CELLS.items()}
    reached = {name: samples_of_seeds(cell.sizes, errors[name][:, 0], TARGET_ERROR) for name, cell in CELLS.items()}
    values = {LEAST_DENSE: mean_interval(errors["dense"][:, 0, -1])}
    for (fewer, more), quantity in RATIO.items():
        values[quantity] = ratio_interval(reached[more], reached[fewer])
    for name, quantity in AGAINST_THEORY.items():
        values[quantity] = geometric_mean_interval(reached[name] / CELLS[name].predicted)
    for name, quantity in OSCILLATING.items():
        values[quantity] = mean_interval(errors[name][:, 1, -1])
    for name, quantity in INDIFFERENCE.items():
        at = CELLS[name].sizes.index(1000)
        values[quantity] = mean_interval(errors[name][:, 1, at] - errors[name][:, 0, at])
    points = [
        (panel, name, n, errors[name][:, target, place])
        for name, cell in CELLS.items()
        for target, panel in enumerate(("invariant target", "oscillating target"))
        for place, n in enumerate(cell.sizes)
    ]
    return Measurement(values, curves_of(points, laboratory.seeds))


LEAST_DENSE = "error of dense with 6,000 samples"
POOLED = "local, pooled over 5"
PAIRS = (("conv", POOLED), (POOLED, "shared"), ("shared", "local"), ("shared", "dense"), ("local", "dense"))
RATIO = {(fewer, more): f"samples to 10% error, {more} over {fewer}" for fewer, more in PAIRS}
AGAINST_THEORY = {
    name: f"samples to 10% error over the order of table 1, {name}" for name in ("conv", POOLED, "shared", "local")
}
OSCILLATING = {name: f"error of {name} on the oscillating target, most samples" for name in ("shared", "conv")}
"""Sharing does not fit it."""
INDIFFERENCE = {
    name: f"error on the oscillating minus on the invariant target, {name}, 1,000 samples"
    for name in ("dense", "local")
}
"""For what does not share one is as easy as the other."""

CLAIM = Claim(
    statement="Locality and sharing each cut the samples that a local, invariant target needs, and together most; on a "
    "target that is not invariant, sharing with a global average learns nothing.",
    source="Misiakiewicz & Mei, Learning with convolution and pooling operations in kernel methods: table 1, figure 1",
    protocol="Signs on a ring of 30, windows of 10, h(t) = 0.2 (t + ... + t^5), ridge 1e-6, no noise; test error relative "
    "to the target's mean square on 1,000 fresh inputs; samples to an error of 10% by interpolation.",
    criteria=(
        *(Criterion(quantity, low=1, published="more than 1") for quantity in RATIO.values()),
        Criterion(LEAST_DENSE, TARGET_ERROR, 0.6, "27,000 samples needed"),
        *(Criterion(q, 1 / 3, 3, f"order of {CELLS[name].predicted:,}") for name, q in AGAINST_THEORY.items()),
        *(Criterion(quantity, low=1, published="not learned") for quantity in OSCILLATING.values()),
        *(Criterion(quantity, -0.08, 0.08, "no difference") for quantity in INDIFFERENCE.values()),
    ),
    frozen="2026-11-25",
    seeds={"quick": 5, "cpu": 10, "gpu": 10},
    measure=measure,
    picture=Picture("training samples", "test error over the target's mean square"),
)
