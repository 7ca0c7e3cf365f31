"""What is timed: one layer at one size, its arrays, what it computes by definition, and the least that this takes."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn_constraints.errors import InputError
from cnn_constraints.lattice import counts
from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.ops import dense
from cnn_constraints.ops.choose import stored_ties


class Case(NamedTuple):
    """One layer at one batch size; delta None for all offsets. shape: in words, as in 28x28x1->16."""

    shape: str
    cell: str
    geometry: Geometry
    in_channels: int
    out_channels: int
    delta: int | None
    batch: int

    @property
    def title(self) -> str:
        """The case in words, for tables."""
        return f"{self.cell} {self.shape}, delta {'all' if self.delta is None else self.delta}, batch {self.batch}"

    @property
    def kernel_size(self) -> tuple[int, int]:
        """Offsets by row and by column."""
        return len(self.geometry.rows.offsets(self.delta)), len(self.geometry.columns.offsets(self.delta))

    @property
    def reach(self) -> tuple[int, int]:
        """The largest of each."""
        return self.kernel_size[0] // 2, self.kernel_size[1] // 2

    @property
    def count(self) -> counts.Count:
        """Weights and multiply-adds of one image."""
        return counts.count(self.cell, self.geometry, self.delta, self.in_channels, self.out_channels)

    def reduced(self) -> "Case":
        """The same layer so small that its definition can be written out."""
        geometry = Geometry(min(32, self.geometry.height), min(32, self.geometry.width))
        delta = None if self.delta is None else min(self.delta, max(geometry.height, geometry.width) - 1)
        return Case(self.shape, self.cell, geometry, min(3, self.in_channels), min(8, self.out_channels), delta, 2)


def make_case(shape: str, cell: str, delta: int | None, batch: int) -> Case:
    """delta: heeded by local and conv alone. Raises InputError for what is no shape, and for a delta beyond the image."""
    try:
        height, width, in_channels, out_channels = map(int, shape.replace("->", "x").split("x"))
    except ValueError:
        raise InputError(f"The shape {shape!r} is none: write height x width x channels, as in 28x28x1->16.") from None
    delta = delta if cell in ("local", "conv") else None
    case = Case(shape, cell, Geometry(height, width), in_channels, out_channels, delta, batch)
    case.geometry.check_delta(delta)
    return case


class Arrays(NamedTuple):
    """images [batch, height, width, c], weights [c, weights, d], outputs [batch, height, width, d], or gradients."""

    images: np.ndarray
    weights: np.ndarray
    outputs: np.ndarray


class Contender(NamedTuple):
    """Ready to be timed: `forward` gives H, `both` the gradients of images and weights, and H; each returns when all is
    computed. arrays: those given, as the contender stores them.
    """

    forward: Callable[[], object]
    both: Callable[[], tuple]
    arrays: Arrays


Maker = Callable[[Case, Arrays], Contender]
"""From a case, its images, weights and the gradient of its outputs."""


def draw(case: Case, seed: int) -> Arrays:
    """Uniform from -0.5 to 0.5: at half a billion weights, normal numbers take longer than the layer."""
    generator = np.random.default_rng(seed)
    sites = (case.batch, case.geometry.height, case.geometry.width)
    free = counts.sizes(case.cell, case.geometry, case.delta).weights
    shapes = ((*sites, case.in_channels), (case.in_channels, free, case.out_channels), (*sites, case.out_channels))
    drawn = [generator.random(shape, np.float32) for shape in shapes]
    for array in drawn:
        array -= np.float32(0.5)
    return Arrays(*drawn)


def definition(case: Case, arrays: Arrays) -> Arrays:
    """The gradients of images and weights, and H, in 64 bits from W written out by its tie table."""
    ties = stored_ties(case.cell, case.geometry, case.delta)

    def layer(x: jax.Array, weights: jax.Array) -> jax.Array:
        return dense.expanded(x.transpose(3, 1, 2, 0), weights, ties, case.geometry).transpose(3, 1, 2, 0)

    with jax.enable_x64(True):
        x, weights, gradient = (jnp.asarray(array, jnp.float64) for array in arrays)
        h, pull_back = jax.vjp(layer, x, weights)
        return Arrays(*map(np.asarray, (*pull_back(gradient), h)))


def kernel_of(case: Case, weights: np.ndarray) -> np.ndarray:
    """V[a, b, c, d] of tied weights, V[i, j, a, b, c, d] of local ones with zeros where (i + a, j + b) lies outside, and
    W[(k, l), c, (i, j), d] of dense ones.
    """
    geometry = case.geometry
    if case.cell == "dense":
        return weights.reshape(len(weights), geometry.input_sites, geometry.output_sites, -1).transpose(1, 0, 2, 3)
    if case.cell in ("shared", "conv"):
        return weights.reshape(len(weights), *case.kernel_size, -1).transpose(1, 2, 0, 3)
    rows, columns = geometry.rows.offsets(case.delta), geometry.columns.offsets(case.delta)
    i, j, a, b = np.ix_(range(geometry.height), range(geometry.width), rows, columns)
    k, l = i + a, j + b  # noqa: E741
    inside = (k >= 0) & (k < geometry.height) & (l >= 0) & (l < geometry.width)
    pair = (i * geometry.width + j, np.where(inside, k * geometry.width + l, 0))
    names = np.where(inside, stored_ties("local", geometry, case.delta)[pair], -1)
    return np.moveaxis(np.pad(weights, ((0, 0), (0, 1), (0, 0)))[:, names], 0, -2)


def least_work(case: Case, passes: int) -> tuple[float, float]:
    """Operations and bytes of so many passes: 1 forward, 3 with both gradients."""
    sites = case.geometry.input_sites * case.in_channels + case.geometry.output_sites * case.out_channels
    return passes * least_operations(case), 4.0 * passes * (case.batch * sites + case.count.weights)


def least_operations(case: Case) -> float:
    """Those of the definition, or where weights are tied of the Fourier transform, if that needs fewer.

    2.5 n log2 n for every real transform of n padded sites, and half a spectrum of complex products, 8 each.
    """
    products = 2.0 * case.batch * case.count.multiply_adds
    if case.cell in ("dense", "local"):
        return products
    padded = (case.geometry.height + case.reach[0]) * (case.geometry.width + case.reach[1])
    pairs = case.in_channels * case.out_channels
    transforms = case.batch * (case.in_channels + case.out_channels) + pairs
    return min(products, transforms * 2.5 * padded * math.log2(padded) + 4 * padded * case.batch * pairs)
