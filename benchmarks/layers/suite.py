"""Single layers: ours against those of Flax and PyTorch, forward and with both gradients.

Every contender takes its images and weights in the layout that it likes best.
"""

import sys
from collections.abc import Iterator, Sequence

import jax
import numpy as np

from benchmarks.layers import jax_layers
from benchmarks.layers.case import Arrays, Case, Maker, definition, draw, least_work, make_case
from benchmarks.measure import FLOAT32, OURS, Ceilings, Row, product_error, row, side_by_side, torch_device
from cnn_constraints.environment import device_memory
from cnn_constraints.errors import InputError
from cnn_constraints.ops import choose

TOLERANCE = 1e-4
"""Largest difference from the definition in 64 bits, relative to the largest value of the array, of products in 32 bits."""

PRODUCTS = 3
"""In a row at most: a transform, the product, and the transform back. Rounding is random, so each adds about its own error
to an array, relative to the array's values.
"""

LARGEST_DEFINITION = 2e9
"""Bytes of W in 64 bits up to which a case itself is compared with its definition, and not a smaller one."""

PASSES = {"forward": 1, "forward and backward": 3}


def layers(
    cells: Sequence[str], shapes: Sequence[str], deltas: Sequence[int], batch: int, formulations: bool
) -> dict[Case, dict[str, Maker]]:
    """Every case, once, and its contenders; with `formulations` each of ours is one, not the chosen one only."""
    cases = (make_case(shape, cell, delta, batch) for shape in shapes for delta in deltas for cell in cells)
    return {case: makers(case, formulations) for case in dict.fromkeys(cases)}


def makers(case: Case, formulations: bool = False) -> dict[str, Maker]:
    """The contenders of a case by name."""
    found: dict[str, Maker] = {OURS: jax_layers.ours(jax_layers.chosen(case))}
    if formulations:
        found |= {f"ours: {name}": jax_layers.ours(name) for name in choose.FORMULATIONS[case.cell]}
    found["flax"] = jax_layers.flax
    if torch_device():
        from benchmarks.layers import torch_layers

        found |= torch_layers.MAKERS[case.cell]
    return found


def megapixel(cells: Sequence[str], deltas: Sequence[int], size: int) -> dict[Case, dict[str, Maker]]:
    """The text's own example: one image of size x size, one channel in and out; ours alone, and of conv Flax's.

    A cell whose weights and their gradient do not fit into memory is left out, with a sentence that tells their bytes.
    Raises InputError with it where nothing is left.
    """
    cases = dict.fromkeys(make_case(f"{size}x{size}x1->1", cell, delta, 1) for cell in cells for delta in deltas)
    needed, available = {case: 8 * case.count.weights for case in cases}, device_memory()
    refusals = [
        f"{case.title} is not run: its {case.count.weights:,} weights and their gradient take {bytes_:,} bytes, and this "
        f"machine has {available:,}."
        for case, bytes_ in needed.items()
        if bytes_ > available
    ]
    if len(refusals) == len(cases):
        raise InputError(" ".join(refusals))
    for sentence in refusals:
        print(sentence, file=sys.stderr)
    ours = {case: {OURS: jax_layers.ours(jax_layers.chosen(case))} for case in cases if needed[case] <= available}
    return {case: own | ({"flax": jax_layers.flax} if case.cell == "conv" else {}) for case, own in ours.items()}


def measure(
    suite: str, cases: dict[Case, dict[str, Maker]], rounds: int, ceilings: Ceilings, seed: int
) -> Iterator[Row]:
    """A row a case, direction and contender. Raises RuntimeError for a contender that computes something else."""
    for case, contenders in cases.items():
        check(case, contenders, seed)
        arrays = draw(case, seed)
        ready = {name: make(case, arrays) for name, make in contenders.items()}
        for direction, passes in PASSES.items():
            runs = {name: one.forward if passes == 1 else one.both for name, one in ready.items()}
            for name, seconds in side_by_side(runs, rounds).items():
                names = (suite, f"{case.title}, {direction}", name)
                yield row(names, seconds, 1, least_work(case, passes), ceilings)


def check(case: Case, contenders: dict[str, Maker], seed: int) -> None:
    """Raises RuntimeError for a contender that is not the layer by its definition: with products in 32 bits first, then as
    they are timed. Where the definition is too large to be written out, a smaller layer of the kind is compared.
    """
    pairs = case.geometry.input_sites * case.geometry.output_sites * case.in_channels * case.out_channels
    case = case if 8 * pairs <= LARGEST_DEFINITION else case.reduced()
    arrays = draw(case, seed)
    expected = definition(case, arrays)
    with jax.default_matmul_precision("highest"):
        _check(case, contenders, arrays, expected, TOLERANCE)
    if product_error() > FLOAT32:
        _check(case, contenders, arrays, expected, max(TOLERANCE, PRODUCTS * product_error()))


def _check(case: Case, contenders: dict[str, Maker], arrays: Arrays, expected: Arrays, tolerance: float) -> None:
    for name, make in contenders.items():
        contender, wanted = make(case, arrays), make(case, expected).arrays
        for field, of_field, actual in zip(Arrays._fields, wanted, contender.both(), strict=True):
            on_host = np.asarray(actual.cpu() if hasattr(actual, "cpu") else actual)  # PyTorch's stays on its device
            error = np.abs(on_host - of_field).max() / np.abs(of_field).max()
            if not error < tolerance:
                raise RuntimeError(f"{name} on {case.title}: {field} is off by {error:.1e} of its largest value")
