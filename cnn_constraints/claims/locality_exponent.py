"""Favero, Cagnetta & Wyart: locality sets the exponent of the learning curve, sharing only its prefactor."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cnn_constraints.claims.claim import Claim, Criterion, Laboratory, Measurement, Picture, curves_of
from cnn_constraints.claims.kernels import learning_curves, mean_over_windows
from cnn_constraints.data import tasks
from cnn_constraints.statistics import geometric_mean_interval, mean_interval, power_law

SIZES, FIRST_FITTED, TEST_EXAMPLES, RIDGE = (64, 128, 256, 512, 1024, 2048), 2, 1000, 1e-10
TEACHERS = 16
"""Of one seed, on the same inputs: their mean error varies less."""

TEACHER_WINDOW = 2

Student = tuple[str, int]
"""dense, local or conv, and its window."""

ARMS: dict[str, tuple[int, str, tuple[Student, ...]]] = {
    "local teacher on 6 sites": (6, "local", (("local", 2), ("local", 3), ("dense", 6))),
    "local teacher on 9 sites": (9, "local", (("dense", 9),)),
    "conv teacher on 6 sites": (6, "conv", (("local", 2), ("conv", 2))),
}
"""Sites on the ring, the teacher, and its students."""


@partial(jax.jit, static_argnames=("cell", "window"))
def cell_kernel(x: Float[Array, "n sites"], y: Float[Array, "m sites"], cell: str, window: int) -> Float[Array, "n m"]:
    """The mean of exp(-|window of x - window of y| / window) over places (local) or over all pairs of places (conv).

    The Laplacian kernels K^LC and K^CN of the paper. dense: one window, the whole ring, and a scale of 1.
    """
    sites = x.shape[1]
    places, shifts = range(1 if cell == "dense" else sites), range(sites if cell == "conv" else 1)
    scale = 1 if cell == "dense" else window

    def laplacian(here: Array, there: Array) -> Array:
        # Differences and not inner products: a distance near 0 decides about this kernel.
        square = sum((here[:, step, None] - there[None, :, step]) ** 2 for step in range(window))
        return jnp.exp(-jnp.sqrt(square) / scale)

    return mean_over_windows(x, y, window, places, dict.fromkeys(shifts, 1 / len(shifts)), laplacian)


def errors_of(
    sites: int, teacher: str, students: tuple[Student, ...], seed: int
) -> Float[np.ndarray, "students sizes"]:
    """Test error of each student against the number of samples, for one draw of the inputs: the mean over teachers."""
    generator = np.random.default_rng((seed, sites, len(students)))
    inputs = generator.random((max(SIZES) + TEST_EXAMPLES, sites))
    # Kernels are nearly singular where inputs are near each other.
    with jax.enable_x64(True):
        points = jnp.asarray(inputs)
        covariance = np.asarray(cell_kernel(points, points, teacher, TEACHER_WINDOW))
        kernels = [np.asarray(cell_kernel(points, points, *student)) for student in students]
    targets = tasks.gaussian_fields(generator, covariance, TEACHERS)
    n = max(SIZES)
    curves = [learning_curves(k[:n, :n], k[n:, :n], targets[:n], targets[n:], SIZES, RIDGE) for k in kernels]
    return np.stack([errors.mean(axis=0) for errors in curves])


def measure(laboratory: Laboratory) -> Measurement:
    """Exponents of the errors of kernel regression in the samples, a power law fitted for each seed."""
    errors: dict[tuple[str, Student], Float[np.ndarray, "seeds sizes"]] = {}
    for arm, setting in ARMS.items():
        of_students = np.stack([errors_of(*setting, seed) for seed in laboratory.seeds], axis=1)
        errors |= {(arm, student): of_seeds for student, of_seeds in zip(setting[2], of_students, strict=True)}
    laws = {key: power_law(SIZES[FIRST_FITTED:], of_seeds[:, FIRST_FITTED:]) for key, of_seeds in errors.items()}
    local, wide, conv = ARMS
    narrower = laws[local, ("dense", 6)].exponents - laws[wide, ("dense", 9)].exponents
    differences = laws[conv, ("conv", 2)].exponents - laws[conv, ("local", 2)].exponents
    ratios = errors[conv, ("local", 2)][:, FIRST_FITTED:] / errors[conv, ("conv", 2)][:, FIRST_FITTED:]
    values = {
        EXPONENT_2: laws[local, ("local", 2)].exponent,
        EXPONENT_3: laws[local, ("local", 3)].exponent,
        DENSE_DECAYS: mean_interval(narrower),
        SAME_EXPONENT: mean_interval(differences),
        PREFACTOR: geometric_mean_interval(np.exp(np.log(ratios).mean(axis=1))),
    }
    points = [
        (arm, f"{cell}, window {window}", n, of_size)
        for (arm, (cell, window)), of_seeds in errors.items()
        for n, of_size in zip(SIZES, of_seeds.T, strict=True)
    ]
    return Measurement(values, curves_of(points, laboratory.seeds))


EXPONENT_2 = "exponent of local, window 2, local teacher"
EXPONENT_3 = "exponent of local, window 3, local teacher"
DENSE_DECAYS = "exponent of dense on 6 sites minus on 9 sites"
SAME_EXPONENT = "exponent of conv minus that of local, conv teacher"
PREFACTOR = "error of local over that of conv, conv teacher"

CLAIM = Claim(
    statement="With windows of s sites error falls as samples^(-1/s), however large the image; sharing leaves the exponent "
    "as it is and lowers the error by a factor.",
    source="Favero, Cagnetta & Wyart 2021, Locality defeats the curse of dimensionality in convolutional teacher-student "
    "scenarios",
    protocol="Uniform inputs on a ring, Laplacian kernels, Gaussian random teachers of window 2, 16 a seed, a ridge of "
    "1e-10; error relative to the target's mean square on 1,000 fresh inputs; slopes from 256 to 2,048 samples.",
    criteria=(
        Criterion(EXPONENT_2, 0.44, 0.56, "1/2"),
        Criterion(EXPONENT_3, 1 / 3 - 0.06, 1 / 3 + 0.06, "1/3"),
        Criterion(DENSE_DECAYS, low=0, published="more sites, smaller exponent"),
        Criterion(SAME_EXPONENT, -0.05, 0.05, "0"),
        Criterion(PREFACTOR, low=1.5, published="lower error, same exponent"),
    ),
    frozen="2026-11-25",
    seeds={"quick": 5, "cpu": 10, "gpu": 10},
    measure=measure,
    picture=Picture("training samples", "test error over the target's mean square"),
)
