"""This project's layers, images [channels, height, width, batch]."""

import jax
import numpy as np

from benchmarks.layers.contender import Arrays, Case, Contender, Maker, jax_contender
from benchmarks.layers.definition import Products, kernel_of
from cnn_constraints.ops import choose


def ours(formulation: str | None) -> Maker:
    """A maker of our layers: by the formulation of that name, or by the one that is chosen where it is None."""

    def make(case: Case, arrays: Arrays) -> Contender:
        def apply(x: jax.Array, weights: jax.Array) -> jax.Array:
            return choose.apply(case.cell, x, weights, case.geometry, case.delta, formulation=formulation)

        def common(h: np.ndarray, x: np.ndarray, weights: np.ndarray) -> Products:
            kernel = kernel_of(case.cell, weights, case.geometry, case.delta)
            return Products(h.transpose(3, 1, 2, 0), x.transpose(3, 1, 2, 0), kernel)

        inner = (arrays.images.transpose(3, 1, 2, 0), arrays.weights, arrays.gradient.transpose(3, 1, 2, 0))
        return jax_contender(apply, *inner, common)

    return make
