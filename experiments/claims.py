"""Measure the claims of the text and of papers, and judge them: `python -m experiments.claims --tier cpu`."""

import secrets
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import pandas
import tyro
from rich.console import Console

from cnn_constraints import config, errors, store, trials
from cnn_constraints.claims import records
from cnn_constraints.claims.claim import Laboratory, draw_seeds, judge
from cnn_constraints.claims.registry import CLAIMS
from cnn_constraints.config import Data, Experiment
from cnn_constraints.environment import describe_environment
from cnn_constraints.errors import InputError
from cnn_constraints.report.claims import WIDTH, draw_curves, print_claim, print_summary
from cnn_constraints.report.terminal import save
from cnn_constraints.sweep import resolve
from experiments import sweep
from experiments.entry import check_flags, entry_point, parse_flags, prepare_jax


@dataclass(frozen=True)
class Command:
    """Measure claims with seeds that no tuning has seen, and print for each what was claimed, measured and decided.

    Exit code 1 if a claim fails. With the --seed of a command that was stopped, finished claims are not measured again.
    """

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """The claims; all of them if none is named."""
    tier: Literal["cpu", "gpu"] = "cpu"
    """cpu: minutes on two cores; gpu: the protocols in full."""
    seed: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Draws the seeds of all claims; a new one by default."""
    cifar10: Annotated[str | None, tyro.conf.arg(metavar="FOLDER")] = None
    """A folder of images, train/<class>/*.png and test/<class>/*.png, that stands for CIFAR-10 in all claims about it."""
    output: Path | None = None
    """A folder for claims.json, figures and runs; by default runs/claims-<tier>-<seed>."""


def main(arguments: list[str]) -> None:
    check_flags(arguments, ["--tier", "--seed", "--cifar10", "--output"])
    command = parse_flags(Command, arguments, prog="python -m experiments.claims")
    names = command.names or tuple(name for name, claim in CLAIMS.items() if command.tier in claim.seeds)
    for name in names:
        if command.tier not in errors.find("claim", name, CLAIMS).seeds:
            raise InputError(f"{name} has no tier {command.tier}: its tiers are {', '.join(CLAIMS[name].seeds)}.")
    seed = secrets.randbits(30) if command.seed is None else command.seed
    if seed < 0:
        raise InputError(f"--seed is {seed}: it must be at least 0.")
    images = find_images(command.cifar10, {data_set for name in names for data_set in CLAIMS[name].data_sets})
    folder = command.output or Path("runs") / f"claims-{command.tier}-{seed}"
    prepare_jax()
    known = records.open_folder(folder, command.tier, seed, describe_environment(arguments))
    print(f"Seed {seed}: --seed {seed} goes on from here, or repeats it. Results in {folder}", file=sys.stderr)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    found = {}
    for name in names:
        found[name] = known.get(name) or measure(name, command.tier, seed, images, folder, arguments)
        print_claim(name, found[name], console)
    print_summary(found, console)
    if any(record["verdict"] == "fails" for record in found.values()):
        sys.exit(1)


def find_images(cifar10: str | None, needed: Iterable[str]) -> dict[str, Data]:
    """Where the images of each data set come from. Raises InputError where needed ones cannot be read: now, and not after
    an hour.
    """
    images = {"mnist": Data(source="mnist"), "cifar10": Data(source="cifar10")}
    if cifar10 is not None:
        images["cifar10"] = Data(source="folder", folder=cifar10)
    for data_set in sorted(needed):
        try:
            trials.build_dataset(images[data_set])
        except InputError as error:
            if data_set != "cifar10" or cifar10 is not None:
                raise
            raise InputError(f"{error} Or name a folder of its images: --cifar10 <folder>.") from None
    return images


def measure(
    name: str, tier: str, entropy: int, images: Mapping[str, Data], folder: Path, arguments: list[str]
) -> records.Record:
    """Measure and judge one claim, and write its record and picture."""
    claim = CLAIMS[name]
    seeds = draw_seeds(claim, tier, entropy)
    print(f"{name}: measuring with {len(seeds)} seeds from {seeds[0]}", file=sys.stderr)
    started = time.perf_counter()
    engine = partial(train, folder=folder / "runs" / name, arguments=arguments)
    measurement = claim.measure(Laboratory(tier, seeds, images, engine))
    record = records.describe(claim, judge(claim, measurement), seeds, time.perf_counter() - started)
    records.write(folder, name, record, measurement)
    title = f"{name}: {record['verdict']}. {len(seeds)} seeds, 95% intervals"
    save(draw_curves(title, claim.picture, measurement.curves), folder / "figures" / f"{name}.png")
    return record


def train(experiments: Iterable[Experiment], folder: Path, arguments: list[str]) -> pandas.DataFrame:
    """The table of `store.read` for these experiments, in their order, trained in a run folder of their own."""
    resolved = resolve(experiments)
    sweep.run(resolved, folder, arguments)
    return store.read(folder).set_index("trial").loc[[config.name(trial) for trial in resolved]].reset_index()


if __name__ == "__main__":
    entry_point(main)()
