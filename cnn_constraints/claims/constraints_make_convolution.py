"""D2L 7.1.2: a dense layer on which both constraints are imposed is a convolution: the same function."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.signal import correlate2d

from cnn_constraints.claims.claim import Claim, Criterion, Laboratory, Measurement, Picture, curves_of, extreme
from cnn_constraints.lattice.constraints import ties
from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.lattice.order import equal, meet
from cnn_constraints.lattice.projection import expand, project
from cnn_constraints.ops import choose

SIDES, DELTAS = (6, 8, 10), (0, 1, 2, 3)


def difference(first: np.ndarray, second: np.ndarray) -> float:
    """The largest difference, over the largest entry of the second."""
    return float(np.abs(first - second).max() / np.abs(second).max())


def differences(seed: int, side: int, delta: int) -> dict[str, float]:
    """A random dense layer, made translation invariant and then local: what is left of it, against what it should be."""
    generator = np.random.default_rng((seed, side, delta))
    geometry = Geometry(side, side)
    shared, local, conv = (ties(name, geometry, delta) for name in ("shared", "local", "conv"))
    dense = generator.standard_normal((side, side, side, side, 1, 1))
    image = generator.standard_normal((side, side))

    def impose(absolute: jax.Array, *tables: np.ndarray) -> jax.Array:
        for table in tables:
            absolute = expand(project(absolute, table), table, geometry)
        return absolute

    with jax.enable_x64(True):
        constrained = impose(jnp.asarray(dense), shared, local)
        other_order = impose(jnp.asarray(dense), local, shared)
        kernel = project(jnp.asarray(dense), conv)
        output = np.einsum("ijkl,kl->ij", np.asarray(constrained)[..., 0, 0], image)
        fast = choose.apply("conv", jnp.asarray(image)[None, :, :, None], kernel, geometry, delta)
    # SciPy's correlation is the text's sum over V[a, b] X[i + a, j + b]; its kernel is the mean of each diagonal of W.
    convolution = correlate2d(image, diagonal_means(dense[..., 0, 0], delta), mode="same")
    return {
        FUNCTION: difference(output, convolution),
        FAST: difference(np.asarray(fast)[0, :, :, 0], convolution),
        ORDER: difference(np.asarray(other_order), np.asarray(constrained)),
        MEET: float(not equal(meet(shared, local), conv)),
    }


def diagonal_means(dense: np.ndarray, delta: int) -> np.ndarray:
    """For each offset (a, b) within delta, the mean of W[i, j, i + a, j + b] over the sites (i, j) that have it."""
    offsets = range(-delta, delta + 1)
    by_row = {a: np.diagonal(dense, a, 0, 2) for a in offsets}
    return np.array([[np.diagonal(by_row[a], b, 0, 1).ravel().mean() for b in offsets] for a in offsets])


def measure(laboratory: Laboratory) -> Measurement:
    """The largest relative difference over all seeds, sides and deltas: what holds of it holds of every single case."""
    seeds = laboratory.seeds
    found = {(side, delta): [differences(seed, side, delta) for seed in seeds] for side in SIDES for delta in DELTAS}
    every = [one for of_seeds in found.values() for one in of_seeds]
    values = {name: extreme([one[name] for one in every], len(seeds)) for name in (FUNCTION, FAST, ORDER, MEET)}
    points = [
        (f"{side} x {side} pixels", quantity, delta, [max(one[quantity], 1e-18) for one in of_seeds])
        for (side, delta), of_seeds in found.items()
        for quantity in (FUNCTION, FAST, ORDER)
    ]
    return Measurement(values, curves_of(points, seeds))


FUNCTION = "constrained dense layer against SciPy's correlation, largest relative difference"
FAST = "fast convolution against SciPy's correlation, largest relative difference"
ORDER = "invariance first against locality first, largest relative difference"
MEET = "whether the meet of the two constraints' tie tables differs from conv's (0 no, 1 yes)"

CLAIM = Claim(
    statement="A dense layer made independent of (i, j), and zero beyond delta, is a convolution: the same function, in "
    "whichever order the two are imposed.",
    source="D2L 7.1.2.1 and 7.1.2.2, equations of H[i, j]",
    protocol="Random dense layers on 6 x 6 to 10 x 10 pixels, delta 0 to 3, in 64 bits; each constraint imposed by "
    "orthogonal projection; the kernel it should be, the mean of each diagonal of W, is applied by SciPy.",
    criteria=(
        Criterion(FUNCTION, high=1e-12, published="0"),
        Criterion(FAST, high=1e-12, published="0"),
        Criterion(ORDER, high=1e-12),
        Criterion(MEET, 0, 0),
    ),
    frozen="2026-11-25",
    seeds={"quick": 5, "cpu": 5, "gpu": 5},
    measure=measure,
    picture=Picture("delta", "largest relative difference (0 is drawn as 1e-18)", x_logarithmic=False),
)
