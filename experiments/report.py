"""Tables, figures and the page of runs, or of claims: one file that opens in any browser, without a network.

Examples:
    python -m experiments.report runs/quickstart
        Tables, pictures, and the page runs/quickstart/report.html.
    python -m experiments.report runs/mnist_ladder runs/mnist_permuted
        Both side by side: report.html, here.
    python -m experiments.report runs/claims-cpu-7
        The page of the claims; with --tables markdown a row a claim, and then a row a criterion.
    python -m experiments.report runs/quickstart --figures paper
        PDF and PNG for a paper as well, in the folder paper.
    python -m experiments.report runs/quickstart --tables latex > tables.tex
        Tables for a paper, and nothing else.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from cnn_constraints.errors import InputError
from cnn_constraints.settings import import_jax
from experiments.entry import entry_point, parse_flags


@dataclass(frozen=True)
class Command:
    """What to report, and where to."""

    run: tyro.conf.Positional[Path]
    """A run folder, as written by experiments.sweep, or a folder of experiments.claims."""
    others: tyro.conf.Positional[tuple[Path, ...]] = ()
    """More run folders, side by side with it."""
    page: Path | None = None
    """The HTML file; by default report.html in the folder, or for several runs here."""
    figures: Path | None = None
    """A folder for the figures as PDF and PNG."""
    tables: Literal["csv", "markdown", "latex"] | None = None
    """Print the tables in this form, and write nothing: csv with all digits, the others as a paper shows them."""


def main(arguments: list[str]) -> None:
    """Report runs or a folder of claims. Raises InputError before anything is written."""
    command = parse_flags(Command, arguments, __doc__, prog="python -m experiments.report")
    import_jax()
    from cnn_constraints.claims.records import CLAIMS_FILE
    from cnn_constraints.report.terminal import PAGE, print_as, print_claims_as, report_claims, report_runs

    runs = list(dict.fromkeys([command.run, *command.others]))
    claims = next((run for run in runs if (run / CLAIMS_FILE).exists()), None)
    if claims and (len(runs) > 1 or command.figures):
        raise InputError(f"{claims} holds claims, with figures of their own: report it alone, without --figures.")
    if command.tables and (command.figures or command.page):
        raise InputError("--tables writes no file: leave out --page and --figures.")
    if command.figures and len({run.resolve().name for run in runs}) < len(runs):
        raise InputError("--figures names files by run folders, and two have one name: report them one by one.")
    if command.tables and claims:
        print_claims_as(command.tables, claims)
    elif command.tables:
        print_as(command.tables, runs)
    elif claims:
        report_claims(claims, command.page)
    else:
        report_runs(runs, command.page or (runs[0] if len(runs) == 1 else Path()) / PAGE, paper=command.figures)


if __name__ == "__main__":
    entry_point(main)()
