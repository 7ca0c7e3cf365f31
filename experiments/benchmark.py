"""Speed of this project beside that of Flax and, where it is installed (pip install -e '.[bench]'), PyTorch, in one run, on
the device that JAX computes on.

Every contender is first compared with the definition. Ratios count: machines are shared and noisy.

Examples:
    python -m experiments.benchmark sweep
        Whole training by our engine, by ordinary Flax layers in a loop and side by side, and by PyTorch; some minutes on a
        CPU for each cell and network.
    python -m experiments.benchmark sweep --cells conv --layers 2 --candidates 1 16 64
        One network, and our engine also with more candidates side by side.
    python -m experiments.benchmark layers --cells conv --shapes 28x28x1->16 --rounds 3
        One layer, forward and with gradients, in less time.
    python -m experiments.benchmark megapixel
        One layer on one image of a million pixels, the text's own example; dense is refused, with its bytes.
    python -m experiments.benchmark device
        Our own formulations in whole training, within 8 minutes; JSON, and the entries that ops/choose.py should have.
"""

import itertools
import secrets
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from cnn_constraints.errors import InputError
from cnn_constraints.settings import own_settings, prepare_jax
from experiments.entry import entry_point, parse_flags

Cell = Literal["dense", "shared", "local", "conv"]


@dataclass(frozen=True, kw_only=True)
class Suite:
    """What all suites share."""

    cells: tuple[Cell, ...] = get_args(Cell)
    rounds: int = 7
    output: Path | None = None
    """A JSON file for the rows."""

    def check(self) -> None:
        """Raises InputError for what cannot be measured or recorded, before anything is."""
        from benchmarks import measure

        some = "name at least one"
        cells = f"name some of {', '.join(get_args(Cell))}"
        for flag, remedy in {"cells": cells, "layers": "name 1, 2 or both", "shapes": some, "deltas": some}.items():
            if not getattr(self, flag, True):
                raise InputError(f"--{flag} is empty: {remedy}.")
        for flag in ("rounds", "batch", "budget"):
            # A number that is none is not at least 1 either.
            if not (number := getattr(self, flag, 1)) >= 1:
                raise InputError(f"--{flag} is {number}: it must be at least 1.")
        if self.output:
            measure.check_writable(self.output)

    def measure(self, ceilings: Any, seed: int) -> Iterator[Any]:
        """The rows, case by case."""
        raise NotImplementedError

    def run(self, ceilings: Any, seed: int) -> None:
        """Time, print and record case by case."""
        from benchmarks import measure

        measured: list[Any] = []
        for _, case in itertools.groupby(self.measure(ceilings, seed), key=lambda row: row.case):
            measured += (finished := list(case))
            measure.print_case(finished)
            if self.output:
                measure.write_json(measured, self.output)


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
class Training(Suite):
    """What suites of whole training share."""

    layers: tuple[Literal[1, 2], ...] = (2, 1)
    """Of the networks: one layer of 8 channels, or a second of 16 behind it."""
    candidates: tuple[int, ...] | None = None
    """How many candidates our engine trains at once; the first is the one compared. None: 8 on a CPU, elsewhere 64, 1, 16
    and 256.
    """

    def check(self) -> None:
        """Raises InputError as every suite, and as `numbers`."""
        super().check()
        self.numbers()

    def numbers(self) -> tuple[int, ...]:
        """Of candidates. Raises InputError where there is none, or one that is none."""
        import jax

        default = (8,) if jax.default_backend() == "cpu" else (64, 1, 16, 256)
        numbers = default if self.candidates is None else self.candidates
        if not numbers or min(numbers) < 1:
            raise InputError(f"--candidates is {numbers}: it must be numbers, each at least 1.")
        return numbers


@dataclass(frozen=True, kw_only=True)
class Sweep(Training):
    """Whole training, per update and model."""

    def measure(self, ceilings: Any, seed: int) -> Iterator[Any]:
        """The rows."""
        from benchmarks.sweep import suite

        return suite.measure(self.cells, self.layers, self.numbers(), self.rounds, ceilings, seed)


@dataclass(frozen=True, kw_only=True)
class Device(Training):
    """Our own formulations in whole training; recorded in benchmarks/results, by the device's kind, if not by --output."""

    cells: tuple[Cell, ...] = ("conv", "local", "shared", "dense")
    rounds: int = 3
    budget: float = 420.0
    """Seconds after which nothing more is compiled."""

    def run(self, ceilings: Any, seed: int) -> None:
        """Time, print and record question by question, then print what the table should have."""
        import jax

        from benchmarks import device, measure

        timings: list[Any] = []
        questions = (self.cells, self.layers, self.numbers(), self.rounds, self.budget)
        for answer in device.time_formulations(*questions, ceilings, seed):
            timings += answer
            device.print_answer(answer)
            if self.output:
                measure.write_json(timings, self.output)
        # A recording in the repository is replaced by a whole one.
        if timings and not self.output:
            measure.write_json(timings, device.default_output())
        print(*device.choices(timings, jax.default_backend()), sep="\n")


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
    """Run a suite, print its tables, and write rows where asked to. Raises InputError for what cannot be measured, and
    KeyboardInterrupt, with words, where it is stopped: no suite goes on from where it was.
    """
    suites: Any = Layers | Sweep | Megapixel | Device
    suite = parse_flags(suites, arguments, __doc__, prog="python -m experiments.benchmark")
    try:
        with own_settings():
            prepare_jax()
            suite.check()
            from benchmarks import measure

            ceilings, seed = measure.measure_ceilings(), secrets.randbits(31)
            print(
                f"ceilings: {ceilings.operations / 1e9:.0f} GFLOP/s in float32 matrix products, "
                f"{ceilings.bytes / 1e9:.0f} GB/s of elementwise traffic; seed {seed}",
                file=sys.stderr,
            )
            suite.run(ceilings, seed)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the same command measures everything anew.") from None


if __name__ == "__main__":
    entry_point(main)()
