"""Pictures of what each constraint allows, of what networks learn under it, and of how far they see.

Examples:
    python -m experiments.pictures
        All of them, in the folder pictures, of networks trained on digits.
    python -m experiments.pictures tie_tables kernels --source mnist
        These two, of networks trained on MNIST.
    python -m experiments.pictures receptive_fields mistakes --run runs/mnist_ladder
        Of the networks that a sweep has kept (--keep weights): what they look at, and what the best of them gets wrong.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from cnn_constraints.errors import InputError
from experiments.entry import entry_point, parse_flags

Picture = Literal[
    "receptive_fields", "kernels", "tie_tables", "megapixel_ladder", "drift", "effective_receptive_field", "mistakes"
]


@dataclass(frozen=True)
class Command:
    """What to draw."""

    names: tyro.conf.Positional[tuple[Picture, ...]] = ()
    """The pictures; all of them if none is named, but mistakes, which needs a run."""
    source: Literal["digits", "mnist", "fashion_mnist", "cifar10"] = "digits"
    """Images to train on, small enough for a dense layer."""
    run: Path | None = None
    """A run folder whose sweep has kept weights: receptive_fields and mistakes are of its networks."""
    output: Path = Path("pictures")
    """A folder for the PNG files."""


def main(arguments: list[str]) -> None:
    """Draw the pictures of these names and print their paths. Raises InputError before anything is trained."""
    command = parse_flags(Command, arguments, __doc__, prog="python -m experiments.pictures")
    from cnn_constraints.settings import prepare_jax

    prepare_jax()
    from cnn_constraints.report.pictures import EXACT, LEARNED, OF_RUN, draw, of_run
    from cnn_constraints.report.terminal import make_folder, save
    from cnn_constraints.report.trained_cells import train_cells

    possible = OF_RUN if command.run else [*LEARNED, *EXACT]
    names = list(dict.fromkeys(command.names)) or possible
    if others := set(names) - set(possible):
        needed = "without --run" if command.run else "with --run alone"
        raise InputError(f"{', '.join(sorted(others))} can be drawn {needed}: choose from {', '.join(possible)}.")
    # What cannot be read of a run is refused before anything is written.
    of_runs = {name: of_run(name, command.run) for name in names} if command.run else {}
    make_folder("--output", command.output)
    say = lambda sentence: print(sentence, file=sys.stderr, flush=True)
    learned = train_cells(command.source, say) if set(names) & set(LEARNED) and not command.run else None
    for name in names:
        path = command.output / f"{name}.png"
        save(of_runs[name] if command.run else draw(name, learned), path)
        print(path)


if __name__ == "__main__":
    entry_point(main)()
