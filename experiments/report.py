"""Tables, figures and the page of runs and of claims: `python -m experiments.report runs/quickstart`."""

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from cnn_constraints.claims.records import CLAIMS_FILE
from cnn_constraints.errors import InputError
from cnn_constraints.report.terminal import make_folder, report_claims, report_run, report_runs, save_figures
from experiments.entry import check_flags, entry_point, parse_flags

EXAMPLES = {
    "python -m experiments.report runs/quickstart": "tables, pictures, and the page runs/quickstart/report.html",
    "python -m experiments.report runs/mnist_ladder runs/mnist_permuted": "both side by side: report.html, here",
    "python -m experiments.report runs/claims-cpu-7": "the page of the claims",
    "python -m experiments.report runs/quickstart --figures paper": "PDF and PNG for a paper as well, in the folder paper",
}


@dataclass(frozen=True)
class Command:
    """Print what runs found, draw it, and write one page of it all that opens in any browser, without a network."""

    runs: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN [RUN ...]")]
    """Run folders, as written by experiments.sweep, or one folder of experiments.claims."""
    page: Path | None = None
    """The HTML file; by default report.html in the folder, or for several runs here."""
    figures: Path | None = None
    """A folder for the figures as PDF and PNG."""
    quiet: bool = False
    """Write, and print nothing."""


def main(arguments: list[str]) -> None:
    """Report runs or a folder of claims. Raises InputError for bad flags, before anything is written."""
    check_flags(arguments, ["--page", "--figures", "--quiet"])
    if not arguments:
        raise InputError("Name a run folder, as in: python -m experiments.report runs/quickstart")
    command = parse_flags(Command, arguments, EXAMPLES, prog="python -m experiments.report")
    if not command.runs:
        raise InputError("Name a run folder, as in: python -m experiments.report runs/quickstart")
    for run in command.runs:
        if command.runs.count(run) > 1:
            raise InputError(f"{run} is given twice: leave one of the two out.")
    claims = [run for run in command.runs if holds_claims(run)]
    if claims and len(command.runs) > 1:
        raise InputError(f"{claims[0]} holds claims, which have a page of their own: report it alone.")
    if claims and command.figures:
        raise InputError("--figures has no effect for claims, whose figures are in their folder already.")
    named = [run.resolve().name for run in command.runs]
    if command.figures and len(set(named)) < len(named):
        twice = next(name for name in named if named.count(name) > 1)
        raise InputError(
            f"Two run folders are named {twice}, and --figures names files by them: rename one, or report them one by one."
        )
    if command.page and command.page.is_dir():
        raise InputError(f"--page is {command.page}, a folder: name a file.")
    if command.page and not command.page.parent.is_dir():
        raise InputError(f"There is no folder {command.page.parent} for {command.page.name}: make it first.")
    if command.figures:
        make_folder("--figures", command.figures)
    with contextlib.redirect_stdout(io.StringIO()) if command.quiet else contextlib.nullcontext():
        if claims:
            report_claims(claims[0], command.page)
        elif len(command.runs) == 1:
            report_run(command.runs[0], page=command.page)
        else:
            report_runs(command.runs, command.page or Path("report.html"))
        if command.figures:
            save_figures(command.runs, command.figures)


def holds_claims(folder: Path) -> bool:
    """Whether this is a folder of experiments.claims. What cannot be looked at is told by who reads it."""
    try:
        return (folder / CLAIMS_FILE).exists()
    except OSError:
        return False


if __name__ == "__main__":
    entry_point(main)()
