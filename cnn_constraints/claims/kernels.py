"""Kernel regression: what an infinitely wide layer under a constraint learns, exactly and without an optimiser."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.linalg import cholesky, solve_triangular


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
