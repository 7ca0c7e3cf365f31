"""Kernel regression: what an infinitely wide layer under a constraint learns, exactly and without an optimiser."""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float
from scipy.linalg import cholesky, solve_triangular


def mean_over_windows(
    x: Float[Array, "n sites"],
    y: Float[Array, "m sites"],
    window: int,
    places: Sequence[int],
    shifts: dict[int, float],
    kernel: Callable[[Array, Array], Array],
) -> Float[Array, "n m"]:
    """The mean over places k of the sum over shifts r, each with its weight, of kernel(x[k : k + window], y[k + r : ...]).

    Signals are rings. kernel: of windows [n, window] and [m, window], for every pair.
    """
    pairs = jnp.asarray([(place, shift) for place in places for shift in shifts])
    shares = jnp.asarray(np.tile(list(shifts.values()), len(places)) / len(places), x.dtype)

    def add(total: Array, pair: tuple[Array, Array]) -> tuple[Array, None]:
        (place, shift), share = pair
        here, there = ((start + jnp.arange(window)) % x.shape[1] for start in (place, place + shift))
        return total + share * kernel(x[:, here], y[:, there]), None

    return lax.scan(add, jnp.zeros((len(x), len(y)), x.dtype), (pairs, shares))[0]


def learning_curves(
    kernel: Float[np.ndarray, "train train"],
    test_kernel: Float[np.ndarray, "test train"],
    targets: Float[np.ndarray, "train tasks"],
    test_targets: Float[np.ndarray, "test tasks"],
    sizes: Sequence[int],
    ridge: float,
) -> Float[np.ndarray, "tasks sizes"]:
    """Test error of (K + ridge 1)^-1 y on the first n examples, for each n: mean square over that of the target.

    The subsets are nested, so one Cholesky factor serves all: its leading block is the factor of the leading block.
    """
    factor = cholesky(kernel + ridge * np.eye(len(kernel)), lower=True, check_finite=False)
    half_solved = solve_triangular(factor, targets, lower=True, check_finite=False)
    scale = np.mean(test_targets**2, axis=0)
    errors = []
    for n in sizes:
        coefficients = solve_triangular(factor[:n, :n], half_solved[:n], lower=True, trans=1, check_finite=False)
        errors.append(np.mean((test_kernel[:, :n] @ coefficients - test_targets) ** 2, axis=0) / scale)
    return np.stack(errors, axis=1)
