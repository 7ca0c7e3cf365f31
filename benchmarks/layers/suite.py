"""Single layers: our choice of formulation against the layers of Flax, XLA and PyTorch, forward and with both gradients.

Every contender takes its images and weights in the layout that it likes best.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.layers import definition, flax_layers
from benchmarks.layers.contender import Arrays, Case, Maker
from benchmarks.layers.definition import Products, kernel_of
from benchmarks.layers.operations import least_operations
from benchmarks.layers.our_layers import ours
from benchmarks.table import OURS, Row, row
from benchmarks.timing import Ceilings, side_by_side, torch_is_installed
from cnn_constraints.lattice import counts
from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.ops import choose

TOLERANCE = 1e-4
"""Largest difference from the definition in 64 bits, relative to the largest value of the array."""

CHECKED_IMAGES = 2

DIRECTIONS = {"forward": ", forward", "both": ", forward and backward"}
"""What is timed, and what the title of a case says of it."""


def grid(shapes: Sequence[str], deltas: Sequence[int], batch: int) -> list[Case]:
    """Local and conv at every delta, shared and dense at all offsets, on images and channels such as 28x28x1->16."""
    cells = [(cell, delta) for delta in deltas for cell in ("local", "conv")] + [("shared", None), ("dense", None)]
    return [make_case(shape, cell, delta, batch) for shape in shapes for cell, delta in cells]


def make_case(shape: str, cell: str, delta: int | None, batch: int) -> Case:
    """shape: height x width x channels in -> out, such as 28x28x1->16."""
    height, width, in_channels, out_channels = map(int, shape.replace("->", "x").split("x"))
    return Case(shape, cell, Geometry(height, width), in_channels, out_channels, delta, batch)


def measure(cases: Sequence[Case], rounds: int, ceilings: Ceilings, seed: int, formulations: bool) -> Iterator[Row]:
    """Rows of the suite `layers`; with `formulations` every formulation of ours is a contender, not the chosen one only.

    Raises RuntimeError for a contender that computes something else.
    """
    for case in cases:
        makers = _makers(case, formulations)
        _check(case, makers, seed)
        arrays = _draw(case, seed)
        contenders = {name: maker(case, arrays) for name, maker in makers.items()}
        for direction, suffix in DIRECTIONS.items():
            runs = {name: getattr(contender, direction) for name, contender in contenders.items()}
            for name, timing in side_by_side(runs, rounds).items():
                yield row("layers", case.title + suffix, name, timing, 1, least_work(case, direction), ceilings)


def least_work(case: Case, direction: str) -> tuple[float, float]:
    """Operations and bytes of one pass, or of the three that both gradients make of it."""
    count = counts.count(case.cell, case.geometry, case.delta, case.in_channels, case.out_channels)
    sites = case.geometry.input_sites * case.in_channels + case.geometry.output_sites * case.out_channels
    passes = {"forward": 1, "both": 3}[direction]
    return passes * least_operations(case), 4.0 * passes * (case.batch * sites + count.weights)


def _draw(case: Case, seed: int) -> Arrays:
    generator = np.random.default_rng(seed)
    sites = (case.batch, case.geometry.height, case.geometry.width)
    free = counts.sizes(case.cell, case.geometry, case.delta).weights
    shapes = ((*sites, case.in_channels), (case.in_channels, free, case.out_channels), (*sites, case.out_channels))
    return Arrays(*(generator.standard_normal(shape, np.float32) for shape in shapes))


def _check(case: Case, makers: dict[str, Maker], seed: int) -> None:
    small = case._replace(batch=CHECKED_IMAGES)
    arrays = _draw(small, seed)
    kernel = kernel_of(case.cell, arrays.weights, case.geometry, case.delta)
    expected = definition.products(case.cell, arrays.images, kernel, arrays.gradient, case.geometry, case.delta)
    for name, maker in makers.items():
        for field, actual, wanted in zip(Products._fields, maker(small, arrays).products(), expected, strict=True):
            error = np.abs(actual - wanted).max() / np.abs(wanted).max()
            if not error < TOLERANCE:
                raise RuntimeError(f"{name} on {case.title}: {field} is off by {error:.1e} of its largest value")


def _makers(case: Case, formulations: bool) -> dict[str, Maker]:
    makers: dict[str, Maker] = {OURS: ours(None)}
    if formulations:
        makers |= {f"ours: {name}": ours(name) for name in choose.FORMULATIONS[case.cell]}
    makers |= flax_layers.MAKERS[case.cell]
    if torch_is_installed():
        from benchmarks.layers import torch_layers

        makers |= torch_layers.MAKERS[case.cell]
    return makers
