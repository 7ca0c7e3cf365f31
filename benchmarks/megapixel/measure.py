"""One layer on one large image, in a process of its own, whose peak memory is then the layer's: `python -m
benchmarks.megapixel.measure '{"cell": "conv", ...}'` prints one line of JSON.
"""

import json
import resource
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.layers.contender import Arrays, Case, with_gradients
from benchmarks.layers.suite import make_case
from benchmarks.megapixel import definition
from benchmarks.table import OURS
from benchmarks.timing import side_by_side
from cnn_constraints.lattice.counts import sizes
from cnn_constraints.ops import choose

TOLERANCE = 1e-3
"""Of an entry in 32 bits: with global kernels each is a sum of up to a million products."""


def main(request: dict[str, Any]) -> dict[str, Any]:
    """{"seconds": one a round, "peak_bytes": of the whole process}. Raises RuntimeError for wrong numbers."""
    case = make_case(request["shape"], request["cell"], request["delta"], 1)
    apply = apply_ours(case) if request["contender"] == OURS else apply_library(case)
    arrays = draw(case, request["seed"])
    both = request["direction"] == "both"
    compiled: Any = jax.jit(with_gradients(apply) if both else apply)
    arguments = arrays if both else arrays[:2]
    check(case, arrays, compiled(*arguments), request["seed"])
    timing = side_by_side({"layer": lambda: jax.block_until_ready(compiled(*arguments))}, request["rounds"])
    return {"seconds": timing["layer"].seconds, "peak_bytes": peak_bytes()}


def peak_bytes() -> int:
    """The most memory this process has held. Linux counts its parent's into `ru_maxrss`, but not into VmHWM."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return 1024 * int(status.read_text().split("VmHWM:")[1].split()[0])


def apply_ours(case: Case) -> Any:
    """Our layer, as it chooses its formulation."""
    return lambda x, weights: choose.apply(case.cell, x, weights, case.geometry, case.delta)


def apply_library(case: Case) -> Any:
    """XLA's convolution."""
    rows, columns = len(case.geometry.rows.offsets(case.delta)), len(case.geometry.columns.offsets(case.delta))

    def convolve(x: jax.Array, weights: jax.Array) -> jax.Array:
        kernel = weights.reshape(1, rows, columns, 1)
        return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("CHWN", "IHWO", "CHWN"))

    return convolve


def draw(case: Case, seed: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Uniform in -0.5 to 0.5: at half a billion weights, normal numbers take longer than the layer."""
    image = (1, case.geometry.height, case.geometry.width, 1)
    free = sizes(case.cell, case.geometry, case.delta).weights
    generator = np.random.default_rng(seed)
    shapes = (image, (1, free, 1), image)
    return tuple(jnp.asarray(generator.random(shape, np.float32) - np.float32(0.5)) for shape in shapes)  # type: ignore[return-value]


def check(case: Case, arrays: tuple[jax.Array, ...], actual: Any, seed: int) -> None:
    """Raises RuntimeError where what was computed is not what the definition gives at sites that are drawn."""
    x, weights, gradient = (np.asarray(array) for array in arrays)
    image = (case.geometry.height, case.geometry.width)
    flat = [np.asarray(array).ravel() for array in (actual if isinstance(actual, tuple) else (actual,))]
    given = Arrays(x.reshape(image), weights.ravel(), gradient.reshape(image))
    errors = definition.largest_errors(case, given, flat, np.random.default_rng(seed + 1))
    if not max(errors) < TOLERANCE:
        raise RuntimeError(f"{case.cell} with delta {case.delta} is off by {errors} of the largest values")


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
