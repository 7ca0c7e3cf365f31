"""Draw the idea: `python -m experiments.pictures`."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pandas
import tyro

from cnn_constraints import errors
from cnn_constraints.report.pictures import LEARNED, PICTURES, draw
from cnn_constraints.report.terminal import make_folder, save
from cnn_constraints.report.trained_cells import SOURCES, TrainedCells, check_source, train_cells
from cnn_constraints.settings import prepare_jax
from experiments.entry import check_flags, entry_point, parse_flags

EXAMPLES = {
    "python -m experiments.pictures": "all of them, in the folder pictures, of networks trained on digits",
    "python -m experiments.pictures tie_tables kernels --source mnist": "these two, of networks trained on MNIST",
}


@dataclass(frozen=True)
class Command:
    """Pictures of what each constraint allows, of what networks learn under it, and of how far they see."""

    names: Annotated[
        tyro.conf.Positional[tuple[str, ...]],
        tyro.conf.arg(help=f"The pictures: {', '.join(PICTURES)}; all of them if none is named."),
    ] = ()
    source: Annotated[str, tyro.conf.arg(help=f"Images to train on: {', '.join(SOURCES)}.")] = "digits"
    output: Path = Path("pictures")
    """A folder for the PNG files."""


def main(arguments: list[str]) -> None:
    """Draw the pictures of these names and print their paths. Raises InputError before anything is trained."""
    check_flags(arguments, ["--source", "--output"])
    command = parse_flags(Command, arguments, EXAMPLES, prog="python -m experiments.pictures")
    names = list(dict.fromkeys(command.names)) or list(PICTURES)
    for name in names:
        errors.find("picture", name, PICTURES)
    check_source(command.source)
    make_folder("--output", command.output)
    prepare_jax()
    needed = set(names) & set(LEARNED)
    learned = train_cells(command.source, _say) if needed else TrainedCells(command.source, {}, pandas.DataFrame())
    for name in names:
        path = command.output / f"{name}.png"
        save(draw(name, learned), path)
        print(path)


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


if __name__ == "__main__":
    entry_point(main)()
