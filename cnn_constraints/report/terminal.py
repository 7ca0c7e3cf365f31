"""Reports runs and claims: tables on standard output, figures and the page into their folders."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pandas
from matplotlib.figure import Figure

from cnn_constraints import store, summaries
from cnn_constraints.errors import InputError
from cnn_constraints.files import atomic_write
from cnn_constraints.report import page as pages
from cnn_constraints.report.figures import figures_for
from cnn_constraints.report.page.claims import claims_page
from cnn_constraints.report.tables import print_tables

DOTS_PER_INCH = 150

PAGE = "report.html"

FORMATS = ("pdf", "png")
"""Of figures for papers."""


def report_run(folder: Path, experiments: Iterable[str] | None = None, page: Path | None = None) -> None:
    """Write <folder>/figures/<name>.png and the page of a run, then print its tables and their paths.

    Only the experiments of these names count, if names are given. page: by default <folder>/report.html. Raises
    InputError where no experiment is finished and where the run cannot be read, and, after the tables, where a file
    cannot be written.
    """
    run = pages.read_run(folder)
    names = None if experiments is None else list(experiments)
    results = run.results if names is None else run.results.loc[run.results["experiment"].isin(names)]
    if results.empty:
        raise InputError(f"{folder} has no finished experiment yet: run `python -m experiments.sweep` first.")
    # Files first: tables may be read by something that ends early, as `head` does.
    written, failure = [], None
    try:
        for path in _draw(run, results, names, page or folder / PAGE):
            written.append(path)
    except InputError as error:
        failure = error
    print_tables(results)
    for sentence in _about(run, results):
        print(sentence)
    for path in written:
        print(path)
    if failure:
        raise failure


def _draw(run: pages.Run, results: pandas.DataFrame, names: list[str] | None, page: Path) -> Iterator[Path]:
    """Write figures and page, and say where they are."""
    for name, figure in figures_for(results).items():
        path = Path(run.name) / "figures" / f"{name}.png"
        save(figure, path)
        yield path
    if write_page(lambda: pages.page([run], names), page):
        yield page


def _about(run: pages.Run, results: pandas.DataFrame) -> Iterator[str]:
    """What a reader of the tables would not see in them."""
    if unfinished := run.planned - len(run.results):
        yield f"{len(run.results)} of {run.planned} experiments are finished; {unfinished} are not, or are being trained."
    if others := len(run.results) - len(results):
        yield f"{run.name} holds {others} experiments of other settings too: `python -m experiments.report` shows all."
    if all(summaries.prepare(results)["diverged"]):
        yield "Every experiment diverged, so there is nothing to draw: try lower learning rates."


def report_runs(folders: Sequence[Path], page: Path) -> None:
    """Print the tables of several runs, one after the other, and write one page of them side by side.

    Raises InputError as `report_run` does.
    """
    runs = [pages.read_run(folder) for folder in folders]
    for run in runs:
        print(f"{run.name}:")
        print_tables(run.results)
        for sentence in _about(run, run.results):
            print(sentence)
    if write_page(lambda: pages.page(runs), page):
        print(page)


def report_claims(folder: Path, page: Path | None = None) -> None:
    """Write the page of a folder of claims, by default <folder>/report.html, and print its path. Raises InputError where it
    cannot be read or written.
    """
    page = page or folder / PAGE
    if write_page(lambda: claims_page(folder), page):
        print(page)


def write_page(build: Callable[[], str], path: Path) -> bool:
    """Write a page whole or not at all. Without the extra `report`, say how to have it, and return False."""
    if not pages.can_build():
        print(f"{pages.EXTRA}.", file=sys.stderr)
        return False
    content = build()
    try:
        with atomic_write(path) as temporary:
            temporary.write_text(content, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}.") from None
    return True


def save_figures(folders: Sequence[Path], place: Path) -> None:
    """Write the figures of runs for papers, <place>/<run>_<name>.pdf and .png, and print their paths: the same bytes each
    time. Raises InputError where there is nothing to draw, or a file cannot be written.
    """
    for folder in folders:
        results: pandas.DataFrame = store.read(folder)
        for name, figure in figures_for(results).items():
            for kind in FORMATS:
                path = place / f"{folder.resolve().name}_{name}.{kind}"
                save(figure, path)
                print(path)


def make_folder(flag: str, folder: Path) -> None:
    """Before anything is computed for it. Raises InputError where it cannot be made or written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise InputError(f"{flag} is {folder}, a file: name a folder.") from None
    except OSError as error:
        raise InputError(f"{flag} is {folder}, which cannot be made: {error.strerror or error}.") from None
    if not os.access(folder, os.W_OK):
        raise InputError(f"{flag} is {folder}, which cannot be written to: name another folder.")


def save(figure: Figure, path: Path) -> None:
    """Write a PNG or PDF, as its name ends, whole or not at all. Raises InputError where the file system refuses."""
    kind = path.suffix.lower().removeprefix(".")
    # Without the date the same figure has the same bytes.
    dated = {"CreationDate": None} if kind == "pdf" else {}
    try:
        path.parent.mkdir(exist_ok=True)
        with atomic_write(path) as temporary:
            figure.savefig(temporary, format=kind, dpi=DOTS_PER_INCH, metadata=dated)
    except FileExistsError:
        raise InputError(f"{path} cannot be written: {path.parent} is a file and must be a folder.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}.") from None
