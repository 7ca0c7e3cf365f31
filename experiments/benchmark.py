"""Speed of this project beside that of Flax and, where it is installed (pip install -e '.[bench]'), PyTorch, in one run.

Every contender is first compared with the others or with the definition. Ratios count: machines are shared and noisy.

Examples:
    python -m experiments.benchmark sweep
        Updates a second of our engine beside those of an ordinary Flax loop; some minutes, a table for each cell.
    python -m experiments.benchmark layers --cells conv --shapes 28x28x1->16 --rounds 3
        One layer, forward and with gradients, in less time.
    python -m experiments.benchmark megapixel
        One layer on one image of a million pixels, the text's own example; dense is refused, with its bytes.
"""

import itertools
import secrets
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from cnn_constraints.errors import InputError
from cnn_constraints.settings import prepare_jax
from experiments.entry import entry_point, parse_flags

Cell = Literal["dense", "shared", "local", "conv"]


@dataclass(frozen=True, kw_only=True)
class Suite:
    """What all suites share."""

    cells: tuple[Cell, ...] = get_args(Cell)
    rounds: int = 7
    output: Path | None = None
    """A JSON file for the rows."""


@dataclass(frozen=True, kw_only=True)
class Layers(Suite):
    """Single layers, forward and with gradients."""

    shapes: tuple[str, ...] = ("28x28x1->16", "28x28x1->64", "32x32x3->32", "16x16x32->32")
    """Height x width x channels in and out: MNIST, for one network and for eight candidates joined, CIFAR-10, and halfway
    into a network.
    """
    deltas: tuple[int, ...] = (1, 2, 3, 5, 7)
    batch: int = 64
    """Images at once."""
    formulations: bool = False
    """Also time those of our formulations that are not chosen."""

    def measure(self, ceilings: Any, seed: int) -> Iterator[Any]:
        """The rows."""
        from benchmarks.layers import suite

        cases = suite.layers(self.cells, self.shapes, self.deltas, self.batch, self.formulations)
        return suite.measure("layers", cases, self.rounds, ceilings, seed)


@dataclass(frozen=True, kw_only=True)
class Sweep(Suite):
    """Whole training, per update and model."""

    candidates: tuple[int, ...] = (8,)
    """How many candidates our engine trains at once; the first entry is the one compared."""

    def measure(self, ceilings: Any, seed: int) -> Iterator[Any]:
        """The rows."""
        from benchmarks.sweep import suite

        return suite.measure(self.cells, self.candidates, self.rounds, ceilings, seed)


@dataclass(frozen=True, kw_only=True)
class Megapixel(Suite):
    """One layer on one large image."""

    deltas: tuple[int, ...] = (1, 5, 10)
    size: int = 1000
    """Height and width of the image."""

    def measure(self, ceilings: Any, seed: int) -> Iterator[Any]:
        """The rows."""
        from benchmarks.layers import suite

        cases = suite.megapixel(self.cells, self.deltas, self.size)
        return suite.measure("megapixel", cases, self.rounds, ceilings, seed)


def main(arguments: list[str]) -> None:
    """Run a suite, print its tables, and write rows where asked to. Raises InputError for what cannot be measured."""
    suites: Any = Layers | Sweep | Megapixel
    suite = parse_flags(suites, arguments, __doc__, prog="python -m experiments.benchmark")
    if suite.rounds < 1:
        raise InputError(f"--rounds is {suite.rounds}: it must be at least 1.")
    prepare_jax()
    from benchmarks import measure

    ceilings, seed = measure.measure_ceilings(), secrets.randbits(31)
    print(
        f"ceilings: {ceilings.operations / 1e9:.0f} GFLOP/s in float32 matrix products, {ceilings.bytes / 1e9:.0f} GB/s "
        f"of elementwise traffic; seed {seed}",
        file=sys.stderr,
    )
    measured: list[Any] = []
    for _, case in itertools.groupby(suite.measure(ceilings, seed), key=lambda row: row.case):
        measured += (finished := list(case))
        measure.print_case(finished)
        if suite.output:
            measure.write_json(measured, suite.output)


if __name__ == "__main__":
    entry_point(main)()
