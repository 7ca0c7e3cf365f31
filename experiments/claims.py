"""Measure the claims of the text and of papers with seeds that no tuning has seen, and say which of them hold.

Exit code 1 where a claim fails, else 2 where one cannot be measured. With the --seed of a command that was stopped,
finished claims are not measured again.

Examples:
    python -m experiments.claims parameter_ladder reach
        Two that take a minute: what was claimed, what was measured, and whether it holds.
    python -m experiments.claims
        Those of a minute or two on two cores that need no photographs; the last table is the summary.
    python -m experiments.claims --tier cpu
        All of them, with more seeds, in two hours on two cores.
    python -m experiments.claims sample_efficiency --tier cpu --cifar10 photographs
        One that needs CIFAR-10, with a folder of images in its place.
"""

import secrets
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from cnn_constraints.claims import Name, Tier
from cnn_constraints.errors import InputError
from cnn_constraints.settings import prepare_jax
from experiments.entry import entry_point, parse_flags


@dataclass(frozen=True)
class Command:
    """What is measured."""

    names: tyro.conf.Positional[tuple[Name, ...]] = ()
    """The claims; all that the tier measures if none is named."""
    tier: Tier = "quick"
    """quick: those of a minute or two, no photographs; cpu: all, two hours on two cores; gpu: all, in full, untimed."""
    seed: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Draws the seeds of all claims; a new one by default."""
    cifar10: Annotated[str | None, tyro.conf.arg(metavar="FOLDER")] = None
    """A folder of images, train/<class>/*.png and test/<class>/*.png, that stands for CIFAR-10 in all claims about it."""
    output: Path | None = None
    """A folder for claims.json, figures and runs; by default runs/claims-<tier>-<seed>."""


def main(arguments: list[str]) -> None:
    """Measure, judge and record claims. Exit code 1 where one fails, 2 where one is not measured."""
    command = parse_flags(Command, arguments, __doc__, prog="python -m experiments.claims")
    seed = secrets.randbits(30) if command.seed is None else command.seed
    if seed < 0:
        raise InputError(f"--seed is {seed}: it must be at least 0.")
    folder = command.output or Path("runs") / f"claims-{command.tier}-{seed}"
    prepare_jax()
    from cnn_constraints.claims import records
    from cnn_constraints.claims.laboratory import Session, find_images
    from cnn_constraints.claims.registry import CLAIMS, measured_in
    from cnn_constraints.environment import describe_environment
    from cnn_constraints.report.claims import WIDTH, draw_curves, print_claim, print_summary, title_of
    from cnn_constraints.report.terminal import report_claims, save

    names = measured_in(command.tier, command.names)
    session = Session(folder, command.tier, seed, find_images(names, command.tier, command.cifar10), arguments)
    known = records.open_folder(folder, command.tier, seed, describe_environment(arguments))
    print(f"Seed {seed}: --seed {seed} goes on from here, or repeats it. Results in {folder}", file=sys.stderr)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    found, all_well = {}, True
    try:
        for name in names:
            try:
                found[name], curves = session.settle(name, known.get(name))
                # Before it is kept: it is measured, whatever keeps it from the disk.
                print_claim(name, found[name], console)
                if curves is not None:
                    records.write(folder, name, found[name], curves)
                if curves is not None or not (folder / "figures" / f"{name}.png").exists():
                    title, curves = title_of(name, found[name]), records.read_curves(folder, name, found[name])
                    save(draw_curves(title, CLAIMS[name].picture, curves), folder / "figures" / f"{name}.png")
            except InputError as error:
                # It keeps no other claim from being measured.
                all_well = False
                print(f"error: {name}: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        again = arguments if command.seed is not None else [*arguments, "--seed", str(seed)]
        raise KeyboardInterrupt(f"python -m experiments.claims {shlex.join(again)} goes on from here.") from None
    print_summary(found, [name for name in names if name not in found], console)
    if all_well:
        report_claims(folder)
    failed = any(record["verdict"] == "fails" for record in found.values())
    if failed or not all_well:
        sys.exit(1 if failed else 2)


if __name__ == "__main__":
    entry_point(main)()
