"""Misiakiewicz & Mei: how many samples each cell of the lattice needs for a local, translation invariant polynomial.

A cell's kernel averages h(<window of x, window of y> / window) over pairs of windows: windows are the whole ring without
locality; a pair is one and the same place without sharing, and any two places under sharing with a global average.
"""

import datetime
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
INVARIANT, OSCILLATING = "invariant target", "oscillating target"


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
        centres = jnp.asarray(train)
        kernel, test_kernel = (
            np.asarray(cell_kernel(jnp.asarray(x), centres, cell.window, cell.pool)) for x in (train, test)
        )
    targets, test_targets = (
        np.stack([tasks.local_polynomial(x, oscillating) for oscillating in (False, True)], axis=1)
        for x in (train, test)
    )
    return learning_curves(kernel, test_kernel, targets, test_targets, cell.sizes, RIDGE)


def measure(laboratory: Laboratory) -> Measurement:
    """Samples to 10% error of each kernel, as ratios paired by seed, and errors on the target that is not invariant."""
    errors = {name: np.stack([errors_of(cell, seed) for seed in laboratory.seeds]) for name, cell in CELLS.items()}
    reached = {name: samples_of_seeds(cell.sizes, errors[name][:, 0], TARGET_ERROR) for name, cell in CELLS.items()}
    values = {LEAST_DENSE: mean_interval(errors["dense"][:, 0, -1])}
    for fewer, more in ORDER:
        values[ratio_of(fewer, more)] = ratio_interval(reached[more], reached[fewer])
    for name in FINITE:
        values[against_theory(name)] = geometric_mean_interval(reached[name] / CELLS[name].predicted)
    for name in ("shared", "conv"):
        values[oscillating_error(name)] = mean_interval(errors[name][:, 1, -1])
    for name in ("dense", "local"):
        at = CELLS[name].sizes.index(1000)
        values[indifference(name)] = mean_interval(errors[name][:, 1, at] - errors[name][:, 0, at])
    rows = [
        (panel, name, n, seed, errors[name][draw, target, place])
        for name, cell in CELLS.items()
        for target, panel in enumerate((INVARIANT, OSCILLATING))
        for place, n in enumerate(cell.sizes)
        for draw, seed in enumerate(laboratory.seeds)
    ]
    return Measurement(values, curves_of(rows))


LEAST_DENSE = "error of dense with 6,000 samples"
ORDER = (
    ("conv", "local, pooled over 5"),
    ("local, pooled over 5", "shared"),
    ("shared", "local"),
    ("shared", "dense"),
    ("local", "dense"),
)
FINITE = ("conv", "local, pooled over 5", "shared", "local")


def ratio_of(fewer: str, more: str) -> str:
    """Name of the quantity: how many times as many samples."""
    return f"samples to 10% error, {more} over {fewer}"


def against_theory(name: str) -> str:
    """Name of the quantity: samples over the order that the paper's table 1 gives."""
    return f"samples to 10% error over the order of table 1, {name}"


def oscillating_error(name: str) -> str:
    """Name of the quantity: the error on a target that sharing does not fit."""
    return f"error of {name} on the oscillating target, most samples"


def indifference(name: str) -> str:
    """Name of the quantity: the oscillating target is as easy as the invariant one for what does not share."""
    return f"error on the oscillating minus on the invariant target, {name}, 1,000 samples"


CLAIM = Claim(
    statement="Locality and sharing each cut the samples that a local, invariant target needs, and together most; on a "
    "target that is not invariant, sharing with a global average learns nothing.",
    source="Misiakiewicz & Mei, Learning with convolution and pooling operations in kernel methods: table 1, figure 1",
    protocol="Signs on a ring of 30, windows of 10, h(t) = 0.2 (t + ... + t^5), ridge 1e-6, no noise; test error relative "
    "to the target's mean square on 1,000 fresh inputs; samples to an error of 10% by interpolation.",
    criteria=(
        *(Criterion(ratio_of(*pair), low=1, published="more than 1") for pair in ORDER),
        Criterion(LEAST_DENSE, TARGET_ERROR, 0.6, "27,000 samples needed"),
        *(Criterion(against_theory(n), 1 / 3, 3, f"order of {CELLS[n].predicted:,}") for n in FINITE),
        *(Criterion(oscillating_error(name), low=1, published="not learned") for name in ("shared", "conv")),
        *(Criterion(indifference(name), -0.08, 0.08, "no difference") for name in ("dense", "local")),
    ),
    frozen=datetime.date(2026, 11, 25),
    seeds={"cpu": 10, "gpu": 10},
    measure=measure,
    picture=Picture("training samples", "test error over the target's mean square"),
)
