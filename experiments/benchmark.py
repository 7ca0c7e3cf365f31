"""Speed, side by side with others in one run: `python -m experiments.benchmark sweep`."""

import itertools
import re
import secrets
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tyro

from cnn_constraints.errors import InputError, unknown_name
from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.report.terminal import save
from cnn_constraints.settings import prepare_jax
from experiments.entry import check_flags, entry_point, parse_flags

SUITES = ("layers", "sweep", "megapixel", "executors")

DELTAS = {"layers": (1, 2, 3, 5, 7), "megapixel": (1, 5, 10)}
"""Where none are given."""

OWN_FLAGS = {
    "cells": ("layers", "sweep", "megapixel"),
    "shapes": ("layers",),
    "deltas": ("layers", "megapixel"),
    "batch": ("layers",),
    "candidates": ("sweep",),
    "size": ("megapixel",),
    "formulations": ("layers",),
}
"""Flags that not every suite looks at."""


@dataclass(frozen=True)
class Command:
    """Measure this project against Flax, XLA and, where it is installed (pip install -e '.[bench]'), PyTorch.

    Every contender is first compared with the definition in 64 bits. Ratios count: machines are shared and noisy.
    """

    suite: tyro.conf.Positional[str]
    """layers (one layer, forward and backward), sweep (whole training), megapixel (one layer, one large image) or
    executors (a whole sweep with and without a run folder, and on Ray).
    """
    cells: tuple[str, ...] = ("dense", "shared", "local", "conv")
    shapes: tuple[str, ...] = ("28x28x1->16", "28x28x1->64", "32x32x3->32", "16x16x32->32")
    """Of the suite layers, height x width x channels in and out: MNIST, for one network and for eight candidates joined,
    CIFAR-10, and halfway into a network.
    """
    deltas: tuple[int, ...] | None = None
    """Of the suites layers (by default 1 2 3 5 7) and megapixel (1 5 10)."""
    batch: int = 64
    """Images at once, in the suite layers."""
    candidates: tuple[int, ...] = (8,)
    """How many candidates our engine trains at once, in the suite sweep; the first entry is the one compared."""
    size: int = 1000
    """Height and width of the image in the suite megapixel."""
    formulations: bool = False
    """Also time those of our formulations that are not chosen."""
    rounds: int = 7
    output: Path | None = None
    """A JSON file for the rows."""
    figure: Path | None = None
    """A PNG file for the ratios."""


EXAMPLES = {
    "python -m experiments.benchmark sweep": "Updates a second of our engine beside those of an ordinary Flax loop and, "
    "if it is installed, PyTorch; some minutes, a table for each cell.",
    "python -m experiments.benchmark layers --cells conv --shapes 28x28x1->16 --rounds 3": "One layer, in less time.",
    "python -m experiments.benchmark sweep --output rows.json --figure ratios.png": "Rows and picture to be kept.",
}


def main(arguments: list[str]) -> None:
    """Run a suite, print its tables, and write rows and figure where asked to. Raises InputError for bad flags."""
    fields = [name for name in Command.__dataclass_fields__ if name != "suite"]
    check_flags(arguments, ["--" + name for name in fields])
    if not arguments or (arguments[0].startswith("--") and "--help" not in arguments):
        raise InputError(f"Name a suite first ({' or '.join(SUITES)}), as in: python -m experiments.benchmark sweep")
    command = parse_flags(Command, arguments, EXAMPLES, prog="python -m experiments.benchmark")
    _check(command)
    _check_effect(command, arguments)
    _check_cases(command)
    from benchmarks import table

    measured = []
    for _, case in itertools.groupby(_measure(command), key=lambda row: row.case):
        measured += (finished := list(case))
        table.print_case(finished)
        if command.output:
            table.write_json(measured, command.output)
    if command.figure:
        save(table.figure(measured), command.figure)


def _check(command: Command) -> None:
    if command.suite not in SUITES:
        raise unknown_name("suite", command.suite, SUITES)
    known = Command.__dataclass_fields__["cells"].default
    for name in ("cells", "shapes", "deltas", "candidates"):
        values = getattr(command, name)
        if values is not None and (not values or len(set(values)) < len(values)):
            given = " ".join(map(str, values)) or "empty"
            raise InputError(f"--{name} is {given}: it needs one or more values, each of them once.")
    for cell in command.cells:
        if cell not in known:
            raise unknown_name("cell", cell, known)
    for name, least in (("rounds", 1), ("batch", 1), ("size", 1)):
        if getattr(command, name) < least:
            raise InputError(f"--{name} is {getattr(command, name)}: it must be at least {least}.")
    for name, least in (("deltas", 0), ("candidates", 1)):
        values = getattr(command, name)
        if values is not None and min(values) < least:
            raise InputError(f"--{name} is {values}: it needs one or more whole numbers, each at least {least}.")
    for shape in command.shapes:
        if not re.fullmatch(r"[1-9]\d*x[1-9]\d*x[1-9]\d*->[1-9]\d*", shape):
            raise InputError(f"--shapes has the entry {shape!r}: write height x width x channels as in 28x28x1->16.")
    for flag, path in (("--output", command.output), ("--figure", command.figure)):
        if path:
            _check_place(flag, path)
    if command.figure and command.figure.suffix.lower() != ".png":
        raise InputError(f"--figure is {command.figure}: its name must end in .png, the one format that is drawn.")
    if command.figure and command.figure == command.output:
        raise InputError(f"--figure and --output are both {command.figure}: one would overwrite the other.")


def _check_place(flag: str, path: Path) -> None:
    """Raises InputError where no file can be written there: now, and not when all is measured."""
    if not path.parent.is_dir():
        raise InputError(f"There is no folder {path.parent} for {path.name}: make it first.")
    if path.is_dir():
        raise InputError(f"{flag} is {path}, a folder: name a file.")
    if path.exists() and not path.is_file():
        # A device, say, whose place a file would take.
        raise InputError(f"{flag} is {path}, which is there and no file: name another.")
    try:
        # Only the attempt tells whether a place can be written to, and this one leaves nothing.
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise InputError(f"{flag} is {path}, which cannot be written ({error.strerror}): choose another.") from None


def _check_effect(command: Command, arguments: list[str]) -> None:
    """Raises InputError for a flag that the suite does not look at."""
    given = {argument.partition("=")[0].replace("_", "-") for argument in arguments}
    for name, suites in OWN_FLAGS.items():
        if f"--{name}" in given and command.suite not in suites:
            raise InputError(f"--{name} has no effect in the suite {command.suite}: it is of {' and '.join(suites)}.")


def _check_cases(command: Command) -> None:
    """Raises InputError for a delta beyond an image, and for a layer whose arrays memory cannot hold."""
    from cnn_constraints.environment import device_memory

    if command.suite in ("sweep", "executors"):
        return
    # make_case of the suites reads a shape in the same way, but stands in benchmarks/, which may be missing.
    shapes = command.shapes if command.suite == "layers" else (f"{command.size}x{command.size}x1->1",)
    for shape in shapes:
        height, width, in_channels, out_channels = map(int, shape.replace("->", "x").split("x"))
        for delta in command.deltas or DELTAS[command.suite]:
            Geometry(height, width).check_delta(delta)
        needed = 4 * (command.batch if command.suite == "layers" else 1) * height * width * (in_channels + out_channels)
        if needed > device_memory():
            raise InputError(
                f"Images and answers of {shape} take {needed:,} bytes, and this machine has {device_memory():,}: make the "
                f"image, the channels or the batch smaller."
            )


def _measure(command: Command) -> Iterator:
    try:
        from benchmarks.executors import suite as executors
        from benchmarks.layers import suite as layers
        from benchmarks.megapixel import suite as megapixel
        from benchmarks.sweep import suite as sweep
        from benchmarks.timing import measure_ceilings
    except ModuleNotFoundError as error:
        raise InputError(
            f"The benchmarks need {error.name}: run them in a checkout, after pip install -e '.[bench]'."
        ) from None
    prepare_jax()
    ceilings = measure_ceilings()
    seed = secrets.randbits(31)
    print(
        f"ceilings: {ceilings.operations / 1e9:.0f} GFLOP/s in float32 matrix products, {ceilings.bytes / 1e9:.0f} GB/s "
        f"of elementwise traffic; seed {seed}",
        file=sys.stderr,
    )
    if command.suite == "sweep":
        yield from sweep.measure(command.cells, command.candidates, command.rounds, ceilings, seed)
        return
    if command.suite == "executors":
        yield from executors.measure(command.rounds, ceilings)
        return
    if command.suite == "megapixel":
        deltas = command.deltas or DELTAS["megapixel"]
        yield from megapixel.measure(command.cells, deltas, command.size, command.rounds, ceilings, seed)
        return
    grid = layers.grid(command.shapes, command.deltas or DELTAS["layers"], command.batch)
    cases = [case for case in grid if case.cell in command.cells]
    yield from layers.measure(cases, command.rounds, ceilings, seed, command.formulations)


if __name__ == "__main__":
    entry_point(main)()
