"""Reports runs and claims: tables on standard output, figures and the page into their folders."""

import importlib.util
import os
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from cnn_constraints import summaries
from cnn_constraints.claims import records
from cnn_constraints.errors import InputError, input_error
from cnn_constraints.files import atomic_write
from cnn_constraints.report import claims
from cnn_constraints.report.figures import figures_for
from cnn_constraints.report.page import build
from cnn_constraints.report.tables import FORMS, print_tables

DOTS_PER_INCH = 150

PAGE = "report.html"

REMEDY = "make room, or name another place."


def report_run(folder: Path, experiments: Collection[str] | None = None) -> None:
    """`report_runs` of one run, whose page is <folder>/report.html."""
    report_runs([folder], folder / PAGE, experiments)


def report_runs(
    folders: Sequence[Path], page: Path, experiments: Collection[str] | None = None, paper: Path | None = None
) -> None:
    """Write the page of runs side by side, and for a single one <folder>/figures/<name>.png; then print their tables and
    what was written.

    experiments: the names of those that count, if not all do. paper: a folder for the figures of all runs, as
    <run>_<name>.pdf and .png with the same bytes each time.

    Raises InputError where a run cannot be read or has no finished experiment, and, after the tables, where a file cannot
    be written.
    """
    runs = [build.read_run(folder, experiments) for folder in folders]
    if paper:
        make_folder("--figures", paper)
    # Files first: tables may be read by something that ends early, as `head` does.
    written: list[Path] = []
    try:
        for path in _write(runs, page, paper):
            written.append(path)
    finally:
        for run in runs:
            if len(runs) > 1:
                print(f"{run.name}:")
            print_tables(run.results, run.evaluations, run.comparisons)
            _tell(run)
        for path in written:
            print(path)


def print_as(form: str, folders: Sequence[Path]) -> None:
    """The tables of runs as text: csv, markdown or latex (`tables.FORMS`). Raises InputError where a run cannot be read."""
    runs = [build.read_run(folder) for folder in folders]
    print("\n".join(FORMS[form](run.results, run.evaluations, run.comparisons) for run in runs), end="")


def print_claims_as(form: str, folder: Path) -> None:
    """The tables of a folder of claims as text, from their records alone. Raises InputError where these cannot be read."""
    print(claims.as_text(form, records.read(folder)["claims"]), end="")


def report_claims(folder: Path, page: Path | None = None) -> None:
    """Write the page of a folder of claims and print its path. Raises InputError where it cannot be read or written."""

    def make() -> str:
        from cnn_constraints.report.page.claims import claims_page  # which imports every claim, and Altair

        return claims_page(folder)

    for path in _write_page(make, page or folder / PAGE):
        print(path)


def _write(runs: Sequence[build.Run], page: Path, paper: Path | None) -> Iterator[Path]:
    for run in runs if len(runs) == 1 or paper else ():
        for name, figure in figures_for(run.results, run.comparisons).items():
            places = [run.folder / "figures" / f"{name}.png"] if len(runs) == 1 else []
            places += [paper / f"{run.folder.resolve().name}_{name}.{kind}" for kind in ("pdf", "png")] if paper else []
            for path in places:
                save(figure, path)
                yield path
    yield from _write_page(lambda: build.page(runs), page)


def _write_page(make: Callable[[], str], path: Path) -> Iterator[Path]:
    """Without the extra `report` say how to have it."""
    if not all(map(importlib.util.find_spec, ("altair", "vl_convert"))):
        print("The page needs the extra `report`: pip install -e '.[report]'.", file=sys.stderr)
        return
    content = make()
    with input_error(f"{path} cannot be written", REMEDY), atomic_write(path) as temporary:
        temporary.write_text(content, encoding="utf-8")
    yield path


def _tell(run: build.Run) -> None:
    """What a reader of the tables would not see in them."""
    if unfinished := run.planned - run.finished:
        print(f"{run.finished} of {run.planned} experiments are finished; {unfinished} are not, or are being trained.")
    if others := run.finished - len(run.results):
        print(f"{run.name} holds {others} experiments of other settings too: `python -m experiments.report` shows all.")
    for sentence in summaries.tuning_in_words(run.results, run.evaluations):
        print(sentence)
    if all(summaries.prepare(run.results)["diverged"]):
        print("Every experiment diverged, so there is nothing to draw: try lower learning rates.")


def make_folder(flag: str, folder: Path) -> None:
    """Before anything is computed for it. Raises InputError where it cannot be made or written to."""
    with input_error(f"{flag} is {folder}, which cannot be made", "name another folder."):
        folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise InputError(f"{flag} is {folder}, which cannot be written to: name another folder.")


def save(figure: Figure, path: Path) -> None:
    """Write a PNG or PDF, as its name ends, whole or not at all. Raises InputError where the file system refuses."""
    kind = path.suffix.removeprefix(".")
    # Without the date the same figure has the same bytes.
    undated = {"CreationDate": None} if kind == "pdf" else {}
    with input_error(f"{path} cannot be written", REMEDY):
        path.parent.mkdir(exist_ok=True)
        with atomic_write(path) as temporary:
            figure.savefig(temporary, format=kind, dpi=DOTS_PER_INCH, metadata=undated)
