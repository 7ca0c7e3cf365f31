"""Li et al.: to share weights and average is to train, without sharing, on every translation of every image."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from cnn_constraints.claims.claim import Claim, Criterion, Laboratory, Measurement, Picture, curves_of, extreme
from cnn_constraints.claims.kernel_lattice import CELLS, SITES, cell_kernel
from cnn_constraints.data import tasks

EXAMPLES, TEST_EXAMPLES, RIDGE = 40, 200, 1e-3
ROTATIONS = (1, 3, 10, SITES)
"""Of the ring, by equal steps: subgroups of all."""

PAIRS = {"dense": "shared", "local": "conv"}


def regression(
    cell: str, ridge: float, train: Float[np.ndarray, "n sites"], targets: Float[np.ndarray, " n"], test: np.ndarray
) -> Float[np.ndarray, " test"]:
    """k(test) (K + ridge 1)^-1 y: what kernel ridge regression says of test inputs."""
    with jax.enable_x64(True):
        x, y = jnp.asarray(train), jnp.asarray(test)
        kernel, test_kernel = (np.asarray(cell_kernel(rows, x, *CELLS[cell][:2])) for rows in (x, y))
    return test_kernel @ np.linalg.solve(kernel + ridge * np.eye(len(train)), targets)


def differences(cell: str, seed: int) -> Float[np.ndarray, " rotations"]:
    """Largest difference on test inputs between the pooled kernel and `cell` trained on so many rotations of each input.

    The target's mean square is 1.
    """
    generator = np.random.default_rng(seed)
    train, test = (tasks.hypercube(generator, examples, SITES) for examples in (EXAMPLES, TEST_EXAMPLES))
    targets = tasks.local_polynomial(train, oscillating=False)
    pooled = regression(PAIRS[cell], RIDGE, train, targets, test)

    def augmented(rotations: int) -> np.ndarray:
        inputs = np.concatenate([np.roll(train, shift, axis=1) for shift in range(0, SITES, SITES // rotations)])
        return regression(cell, rotations * RIDGE, inputs, np.tile(targets, rotations), test)

    return np.array([np.abs(augmented(rotations) - pooled).max() for rotations in ROTATIONS])


def measure(laboratory: Laboratory) -> Measurement:
    """Of every seed, how far augmented and pooled regression are apart, by the number of rotations."""
    seeds = laboratory.seeds
    found = {cell: np.stack([differences(cell, seed) for seed in seeds]) for cell in PAIRS}
    values = {ALL[cell]: extreme(apart[:, -1], len(seeds)) for cell, apart in found.items()}
    values |= {NONE[cell]: extreme(apart[:, 0], len(seeds), largest=False) for cell, apart in found.items()}
    points = [
        (f"against {PAIRS[cell]}", cell, rotations, apart[:, place])
        for cell, apart in found.items()
        for place, rotations in enumerate(ROTATIONS)
    ]
    return Measurement(values, curves_of(points, seeds))


BETWEEN = "difference between {} and {} trained on {}, on test inputs"
ALL = {cell: "largest " + BETWEEN.format(pooled, cell, "all rotations") for cell, pooled in PAIRS.items()}
NONE = {cell: "largest " + BETWEEN.format(pooled, cell, "the inputs alone") for cell, pooled in PAIRS.items()}

CLAIM = Claim(
    statement="A layer that shares its weights and takes a global average learns what the same layer without sharing "
    "learns from every translation of every image: the two predict the same.",
    source="Li, Wang, Yu, Du, Hu, Salakhutdinov & Arora 2019, arXiv 1911.00809: a global average is equivalent to full "
    "translation augmentation",
    protocol=f"Kernel ridge regression with the kernels of kernel_lattice on the local invariant polynomial, {EXAMPLES} "
    f"inputs on a ring of {SITES}: shared and conv with ridge {RIDGE}, dense and local on m rotations of each input with "
    f"ridge m times that; largest difference on {TEST_EXAMPLES} test inputs; the target's mean square is 1.",
    criteria=(
        *(Criterion(quantity, high=1e-9, published="0") for quantity in ALL.values()),
        *(Criterion(quantity, low=0.1) for quantity in NONE.values()),
    ),
    frozen="2026-11-26",
    seeds={"quick": 5, "cpu": 10, "gpu": 10},
    measure=measure,
    picture=Picture("rotations of each input trained on", "largest difference between predictions"),
)
