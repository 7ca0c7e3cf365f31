"""Count the ladder of D2L 7.1.2: `python -m experiments.count --height 1000 --width 1000 --delta 10`."""

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from cnn_constraints.errors import InputError
from cnn_constraints.lattice import constraints, low_rank
from cnn_constraints.lattice.counts import approximation_in_text, count
from cnn_constraints.lattice.geometry import Geometry
from experiments.entry import check_flags, entry_point, parse_flags

LARGEST_SIDE = 4096
"""Offsets are listed for the closed forms too."""


@dataclass(frozen=True)
class Command:
    """Weights, multiply-adds and bytes of one layer under every constraint, exact and in closed form."""

    height: int = 1000
    """Pixels."""
    width: int = 1000
    """Pixels."""
    delta: int | None = 10
    """The radius of the local layers; None for all offsets."""
    tile: int = constraints.TILE
    """Of tiled: output sites whose row and column agree modulo this share weights."""
    rank: int = low_rank.RANK
    """Of low_rank_local: how many filter banks every output site combines."""
    in_channels: int = 1
    out_channels: int = 1
    stride: int = 1
    boundary: str = "zero"
    """zero or circular."""
    dtype: str = "float32"
    """bfloat16, float16, float32 or float64."""


EXAMPLES = {
    "python -m experiments.count": "The text's own ladder, for a megapixel and delta 10: 10^12 weights for dense, "
    "3,996,001 for shared, 441 for conv, and what each costs.",
    "python -m experiments.count --height 28 --width 28 --delta 2 --out-channels 8": "The same for a layer on MNIST.",
}


def main(arguments: list[str]) -> None:
    """Print what a layer has and costs. Raises InputError for bad flags."""
    check_flags(arguments, ["--" + name.replace("_", "-") for name in Command.__dataclass_fields__])
    command = parse_flags(Command, arguments, EXAMPLES, prog="python -m experiments.count")
    _check(command)
    geometry = Geometry(command.height, command.width, command.stride, command.boundary)
    sizes = f"delta = {command.delta}, tile = {command.tile}, rank = {command.rank}"
    table = Table(title=f"One layer on {command.height} x {command.width} pixels, {sizes}", box=None)
    columns = ("constraint", "weights", "the text says", "bias", "multiply-adds", f"{command.dtype} bytes")
    for column in columns:
        table.add_column(column, justify="left" if column == "constraint" else "right", no_wrap=True)
    for name in low_rank.names():
        known = constraints.find(low_rank.bank_of(name)) in constraints.LAWFUL
        if not known and not constraints.table_fits(geometry):
            table.add_row(name, "only by its table, which is too large to write")
            continue
        shape = (name, geometry, command.delta, command.in_channels, command.out_channels, command.dtype)
        exact = count(*shape, tile=command.tile, rank=command.rank)
        text = approximation_in_text(name, geometry, command.delta)
        table.add_row(
            name,
            f"{exact.weights:,}",
            "" if text is None else f"{text:,}",
            f"{exact.bias:,}",
            f"{exact.multiply_adds:,}",
            f"{exact.bytes:,}",
        )
    Console(width=max(120, Console().width)).print(table)
    print("The text counts one channel and no bias, rounds shared to 2H x 2W (4 x 10^6) and conv to 4 delta^2.")


def _check(command: Command) -> None:
    """Raises InputError for an image too large to count, and for a tile or rank that has no effect on it. Those that nobody
    asked for may have none.
    """
    for name in ("height", "width"):
        if (side := getattr(command, name)) > LARGEST_SIDE:
            raise InputError(f"--{name} is {side:,}: at most {LARGEST_SIDE:,} pixels are counted.")
    geometry = Geometry(command.height, command.width, command.stride, command.boundary)
    largest = max(geometry.output_height, geometry.output_width)
    if command.tile > largest and command.tile != constraints.TILE:
        raise InputError(f"--tile is {command.tile}: with {largest} output sites a side, more would have no effect.")
    bank = count("conv", geometry, command.delta, command.in_channels, command.out_channels).weights
    largest = low_rank.largest_rank(bank, geometry)
    if command.rank > largest and command.rank != low_rank.RANK:
        raise InputError(
            f"--rank is {command.rank}: with {geometry.output_sites} output sites and filter banks of {bank} weights, more "
            f"than {largest} would have no effect."
        )


if __name__ == "__main__":
    entry_point(main)()
