"""Measure the claims of the text and of papers, and judge them: `python -m experiments.claims --tier cpu`."""

import secrets
import shlex
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import pandas
import tyro
from rich.console import Console

from cnn_constraints import errors
from cnn_constraints.claims import records
from cnn_constraints.claims.claim import Laboratory, draw_seeds, judge
from cnn_constraints.claims.records import Record, Terms
from cnn_constraints.claims.registry import CLAIMS
from cnn_constraints.data.datasets import build_dataset
from cnn_constraints.data.sources import digest
from cnn_constraints.environment import describe_environment
from cnn_constraints.errors import InputError
from cnn_constraints.experiment import Data, Experiment
from cnn_constraints.report.claims import WIDTH, draw_curves, print_claim, print_summary, title_of
from cnn_constraints.report.terminal import report_claims, save
from cnn_constraints.settings import prepare_jax
from cnn_constraints.sweep import run
from experiments.entry import check_flags, entry_point, parse_flags


@dataclass(frozen=True)
class Command:
    """Measure claims with seeds that no tuning has seen, and print for each what was claimed, measured and decided.

    Exit code 1 if a claim fails, else 2 if one cannot be measured. With the --seed of a command that was stopped, finished
    claims are not measured again.
    """

    names: Annotated[
        tyro.conf.Positional[tuple[str, ...]],
        tyro.conf.arg(help=f"The claims: {', '.join(CLAIMS)}; all of them if none is named."),
    ] = ()
    tier: Literal["cpu", "gpu"] = "cpu"
    """cpu: minutes on two cores; gpu: the protocols in full."""
    seed: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Draws the seeds of all claims; a new one by default."""
    cifar10: Annotated[str | None, tyro.conf.arg(metavar="FOLDER")] = None
    """A folder of images, train/<class>/*.png and test/<class>/*.png, that stands for CIFAR-10 in all claims about it."""
    output: Path | None = None
    """A folder for claims.json, figures and runs; by default runs/claims-<tier>-<seed>."""


EXAMPLES = {
    "python -m experiments.claims parameter_ladder reach": "Two that take a minute: what was claimed, what was measured, "
    "and whether it holds. Records and figures lie in runs/claims-cpu-<seed>.",
    "python -m experiments.claims": "All of them, in about an hour on two cores; the last table is the summary.",
    "python -m experiments.claims sample_efficiency --cifar10 photographs": "One that needs CIFAR-10, with a folder of "
    "images in its place.",
}


class Session(NamedTuple):
    """What the claims of one command share. sources: what stands for each data set, in words."""

    folder: Path
    tier: str
    entropy: int
    images: Mapping[str, Data]
    sources: Mapping[str, str]
    arguments: list[str]


def main(arguments: list[str]) -> None:
    """Measure, judge and record the claims of these names. Exit code 1 where one fails, 2 where one is not measured."""
    check_flags(arguments, ["--tier", "--seed", "--cifar10", "--output"])
    command = parse_flags(Command, arguments, EXAMPLES, prog="python -m experiments.claims")
    names = chosen_claims(command)
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
    words = {data_set: in_words(data) for data_set, data in images.items()}
    session = Session(folder, command.tier, seed, images, words, arguments)
    try:
        found, all_well = settle(names, known, session, console)
    except KeyboardInterrupt:
        again = arguments if command.seed is not None else [*arguments, "--seed", str(seed)]
        raise KeyboardInterrupt(f"python -m experiments.claims {shlex.join(again)} goes on from here.") from None
    print_summary(found, [name for name in names if name not in found], console)
    if all_well:
        report_claims(folder)
    if any(record["verdict"] == "fails" for record in found.values()):
        sys.exit(1)
    if not all_well:
        sys.exit(2)


def chosen_claims(command: Command) -> list[str]:
    """The claims to measure, each once. Raises InputError for one that does not exist or lacks the tier, and for images
    that none of them would look at.
    """
    names = list(dict.fromkeys(command.names)) or [n for n, claim in CLAIMS.items() if command.tier in claim.seeds]
    for name in names:
        if command.tier not in errors.find("claim", name, CLAIMS).seeds:
            raise InputError(f"{name} has no tier {command.tier}: its tiers are {', '.join(CLAIMS[name].seeds)}.")
    looking = [name for name, claim in CLAIMS.items() if "cifar10" in claim.data_sets]
    if command.cifar10 is not None and not set(names) & set(looking):
        raise InputError(
            f"--cifar10 has no effect: none of the claims named uses CIFAR-10; those that do are {', '.join(looking)}."
        )
    return names


def find_images(cifar10: str | None, needed: Iterable[str]) -> dict[str, Data]:
    """Where the needed images come from. Raises InputError where they cannot be read: now, and not after an hour."""
    images = {data_set: Data(source=data_set) for data_set in sorted(needed)}
    if cifar10 is not None:
        images["cifar10"] = Data(source="folder", folder=cifar10)
    for data_set, data in images.items():
        try:
            build_dataset(data)
        except InputError as error:
            if data_set != "cifar10" or cifar10 is not None:
                raise
            raise InputError(f"{error} Or name a folder of its images: --cifar10 <folder>.") from None
    return images


def in_words(data: Data) -> str:
    """Which images these are: named data sets are verified by their checksums, a folder is what lies there."""
    return data.source if data.folder is None else f"{data.folder}, SHA-256 {digest(data.folder)[:16]}"


def settle(
    names: Iterable[str], known: Mapping[str, Record], session: Session, console: Console
) -> tuple[dict[str, Record], bool]:
    """The record of each claim that could be measured, printed, kept and drawn; and whether all went well.

    What goes wrong with one claim is told, and keeps no other from being measured.
    """
    found: dict[str, Record] = {}
    all_well = True
    for name in names:
        try:
            terms = terms_of(name, session)
            record, curves = known.get(name), None
            if record is None or outdated(name, record, terms):
                record, curves = measure(name, terms, session)
            found[name] = record
            try:
                if curves is not None:
                    records.write(session.folder, name, record, curves)
            finally:
                # It is measured, whatever keeps it from the disk.
                print_claim(name, record, console)
            draw(name, record, session.folder, anew=curves is not None)
        except InputError as error:
            all_well = False
            print(f"error: {name}: {error}", file=sys.stderr)
    return found, all_well


def terms_of(name: str, session: Session) -> Terms:
    """What is settled about a claim before it is measured."""
    claim = CLAIMS[name]
    seeds = draw_seeds(claim, session.tier, session.entropy)
    return records.terms(claim, seeds, {data_set: session.sources[data_set] for data_set in claim.data_sets})


def outdated(name: str, record: Record, terms: Terms) -> bool:
    """Whether a record is of another version of the claim, or of other images; if so, that is told."""
    changed = records.changes(record, terms)
    if changed:
        print(f"{name}: measured anew, since its record differs in {', '.join(changed)}", file=sys.stderr)
    return bool(changed)


def measure(name: str, terms: Terms, session: Session) -> tuple[Record, pandas.DataFrame]:
    """Measure and judge one claim: its record, and the curves it comes from. Raises InputError where that cannot be."""
    claim, seeds = CLAIMS[name], tuple(terms["seeds"])
    print(f"{name}: measuring with seeds {', '.join(map(str, seeds))}", file=sys.stderr)
    started = time.perf_counter()
    engine = partial(train, folder=session.folder / "runs" / name, arguments=session.arguments)
    measurement = claim.measure(Laboratory(session.tier, seeds, session.images, engine))
    seconds = time.perf_counter() - started
    return records.describe(terms, judge(claim, measurement), seconds), measurement.curves


def draw(name: str, record: Record, folder: Path, anew: bool) -> None:
    """The figure of a claim from its curves on disk, where it is new or was lost."""
    path = folder / "figures" / f"{name}.png"
    if anew or not path.exists():
        curves = records.read_curves(folder, name)
        save(draw_curves(title_of(name, record), CLAIMS[name].picture, curves), path)


def train(experiments: Iterable[Experiment], folder: Path, arguments: list[str]) -> pandas.DataFrame:
    """The table of `store.read` for these experiments, in their order, trained in a run folder of their own.

    How many diverged is told: their accuracy is NaN, and what is measured with them cannot be.
    """
    results = run(experiments, folder, arguments=arguments).results
    if diverged := sum(results["test_accuracy"].isna().tolist()):
        print(
            f"{diverged} of {len(results)} experiments diverged at every learning rate: see {folder}", file=sys.stderr
        )
    return results


if __name__ == "__main__":
    entry_point(main)()
