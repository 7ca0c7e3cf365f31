"""Weights, multiply-adds and bytes of one layer under every constraint, exact and in closed form (D2L 7.1.2).

Examples:
    python -m experiments.count
        The text's own ladder, for a megapixel and delta 10: 10^12 weights for dense, 3,996,001 for shared, 441 for conv.
    python -m experiments.count --height 28 --width 28 --delta 2 --out-channels 8
        The same for a layer on MNIST.
"""

from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.table import Table

from cnn_constraints.errors import InputError
from cnn_constraints.lattice import constraints, low_rank
from cnn_constraints.lattice.counts import approximation_in_text, count
from cnn_constraints.lattice.geometry import Geometry
from experiments.entry import entry_point, parse_flags

LARGEST_SIDE = 4096
"""Offsets are listed for the closed forms too."""

HEADINGS = ("constraint", "weights", "the text says", "bias", "multiply-adds", "bytes")


@dataclass(frozen=True)
class Command:
    """The layer."""

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
    boundary: Literal["zero", "circular"] = "zero"
    dtype: Literal["bfloat16", "float16", "float32", "float64"] = "float32"


def main(arguments: list[str]) -> None:
    """Print what a layer has and costs. Raises InputError for an image that is too large to count."""
    command = parse_flags(Command, arguments, __doc__, prog="python -m experiments.count")
    for name in ("height", "width"):
        if (side := getattr(command, name)) > LARGEST_SIDE:
            raise InputError(f"--{name} is {side:,}: at most {LARGEST_SIDE:,} pixels are counted.")
    geometry = Geometry(command.height, command.width, command.stride, command.boundary)
    sizes = f"delta = {command.delta}, tile = {command.tile}, rank = {command.rank}"
    table = Table(title=f"One layer on {command.height} x {command.width} pixels, {sizes}, {command.dtype}", box=None)
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading == "constraint" else "right", no_wrap=True)
    for name in low_rank.names():
        shape = (name, geometry, command.delta, command.in_channels, command.out_channels, command.dtype)
        exact = count(*shape, tile=command.tile, rank=command.rank)
        text = approximation_in_text(name, geometry, command.delta)
        numbers = (exact.weights, text, exact.bias, exact.multiply_adds, exact.bytes)
        table.add_row(name, *("" if number is None else f"{number:,}" for number in numbers))
    Console(width=max(120, Console().width)).print(table)
    print("The text counts one channel and no bias, rounds shared to 2H x 2W (4 x 10^6) and conv to 4 delta^2.")


if __name__ == "__main__":
    entry_point(main)()
