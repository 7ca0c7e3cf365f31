"""The layers of Flax and XLA, images [batch, height, width, channels]."""

import flax.linen as nn
import jax
import numpy as np
from jax import lax

from benchmarks.layers.contender import Arrays, Case, Contender, Maker, jax_contender
from benchmarks.layers.definition import Products, kernel_of

DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def _size(case: Case) -> tuple[int, int]:
    return len(case.geometry.rows.offsets(case.delta)), len(case.geometry.columns.offsets(case.delta))


def _convolution(case: Case, arrays: Arrays) -> Contender:
    def apply(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=DIMENSIONS)

    kernel = kernel_of(case.cell, arrays.weights, case.geometry, case.delta)
    return jax_contender(apply, arrays.images, kernel, arrays.gradient, Products)


def _local(apply_local: str) -> Maker:
    def make(case: Case, arrays: Arrays) -> Contender:
        size = _size(case)
        peer = nn.ConvLocal(case.out_channels, size, padding="SAME", use_bias=False)

        def flax(x: jax.Array, kernel: jax.Array) -> jax.Array:
            return peer.apply({"params": {"kernel": kernel}}, x)  # type: ignore[return-value]

        def xla(x: jax.Array, kernel: jax.Array) -> jax.Array:
            return lax.conv_general_dilated_local(x, kernel, (1, 1), "SAME", size, dimension_numbers=DIMENSIONS)

        def common(h: np.ndarray, x: np.ndarray, kernel: np.ndarray) -> Products:
            by_channel = kernel.reshape(*kernel.shape[:2], case.in_channels, *size, case.out_channels)
            return Products(h, x, by_channel.transpose(0, 1, 3, 4, 2, 5))

        # The patches of XLA order their entries by channel first.
        kernel = kernel_of("local", arrays.weights, case.geometry, case.delta).transpose(0, 1, 4, 2, 3, 5)
        kernel = kernel.reshape(*kernel.shape[:2], -1, case.out_channels)
        return jax_contender({"flax": flax, "xla": xla}[apply_local], arrays.images, kernel, arrays.gradient, common)

    return make


def _dense(case: Case, arrays: Arrays) -> Contender:
    kernel = kernel_of("dense", arrays.weights, case.geometry, None)
    peer = nn.Dense(case.geometry.output_sites * case.out_channels, use_bias=False)

    def apply(x: jax.Array, matrix: jax.Array) -> jax.Array:
        flat = peer.apply({"params": {"kernel": matrix}}, x.reshape(len(x), -1))
        return flat.reshape(arrays.gradient.shape)  # type: ignore[union-attr]

    def common(h: np.ndarray, x: np.ndarray, matrix: np.ndarray) -> Products:
        return Products(h, x, matrix.reshape(kernel.shape))

    matrix = kernel.reshape(arrays.images[0].size, -1)
    return jax_contender(apply, arrays.images, matrix, arrays.gradient, common)


MAKERS: dict[str, dict[str, Maker]] = {
    "conv": {"lax conv": _convolution},
    "shared": {"lax conv": _convolution},
    "local": {"flax ConvLocal": _local("flax"), "lax conv local": _local("xla")},
    "dense": {"flax Dense": _dense},
}
