"""Draw the idea: `python -m experiments.pictures`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pandas
import tyro

from cnn_constraints import errors
from cnn_constraints.executors.progress import Silent
from cnn_constraints.report.pictures import LEARNED, PICTURES, Learned, learn
from cnn_constraints.report.terminal import save
from experiments.entry import check_devices, check_flags, entry_point, parse_flags, prepare_jax

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
    source: str = "digits"
    """Images to train on: digits, mnist, fashion_mnist or cifar10."""
    output: Path = Path("pictures")
    """A folder for the PNG files."""


def main(arguments: list[str]) -> None:
    check_flags(arguments, ["--source", "--output"])
    command = parse_flags(Command, arguments, EXAMPLES, prog="python -m experiments.pictures")
    names = list(dict.fromkeys(command.names)) or list(PICTURES)
    for name in names:
        errors.find("picture", name, PICTURES)
    prepare_jax()
    check_devices()
    learned = learn(command.source, Silent()) if set(names) & set(LEARNED) else Learned({}, pandas.DataFrame())
    for name in names:
        path = command.output / f"{name}.png"
        save(PICTURES[name](learned), path)
        print(path)


if __name__ == "__main__":
    entry_point(main)()
