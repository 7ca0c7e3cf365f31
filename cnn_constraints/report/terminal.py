"""Reports runs and claims: tables on standard output, figures and the page into their folders."""

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pandas
from matplotlib.figure import Figure

from cnn_constraints import store
from cnn_constraints.errors import InputError
from cnn_constraints.files import replacing
from cnn_constraints.report import page as pages
from cnn_constraints.report.figures import figures_for
from cnn_constraints.report.page.claims import claims_page
from cnn_constraints.report.tables import print_tables

DOTS_PER_INCH = 150

PAGE = "report.html"

FORMATS = ("pdf", "png")
"""Of figures for papers."""


def report_run(folder: Path, trials: Iterable[str] | None = None, page: Path | None = None) -> None:
    """Print the tables of a run, write <folder>/figures/<name>.png and the page, and print their paths.

    Only the trials of these names count, if names are given. page: by default <folder>/report.html. Raises InputError where
    no trial is finished, and where the run cannot be read or a file not be written.
    """
    run = pages.read_run(folder)
    names = None if trials is None else list(trials)
    results = run.results if names is None else run.results.loc[run.results["trial"].isin(names)]
    if results.empty:
        raise InputError(f"{folder} has no finished trial yet: run `python -m experiments.sweep` first.")
    print_tables(results)
    figures = figures_for(results)
    if not figures:
        print("Every trial diverged, so there is nothing to draw: try lower learning rates.")
    for name, figure in figures.items():
        path = folder / "figures" / f"{name}.png"
        save(figure, path)
        print(path)
    if figures:
        write_page(lambda: pages.page([run], names), page or folder / PAGE)


def report_runs(folders: Sequence[Path], page: Path) -> None:
    """Print the tables of several runs, one after the other, and write one page of them side by side.

    Raises InputError as `report_run` does.
    """
    runs = [pages.read_run(folder) for folder in folders]
    for run in runs:
        print(f"{run.name}:")
        print_tables(run.results)
    write_page(lambda: pages.page(runs), page)


def report_claims(folder: Path, page: Path | None = None) -> None:
    """Write the page of a folder of claims, by default <folder>/report.html, and print its path. Raises InputError where it
    cannot be read or written.
    """
    write_page(lambda: claims_page(folder), page or folder / PAGE)


def write_page(build: Callable[[], str], path: Path) -> None:
    """Write a page whole or not at all and print its path; without the extra `report`, say how to have it."""
    if not pages.can_build():
        print(f"{pages.EXTRA}.", file=sys.stderr)
        return
    content = build()
    try:
        with replacing(path) as temporary:
            temporary.write_text(content, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}.") from None
    print(path)


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


def save(figure: Figure, path: Path) -> None:
    """Write a PNG or PDF, as its name ends, whole or not at all. Raises InputError where the file system refuses."""
    kind = path.suffix.lower().removeprefix(".")
    # Without the date the same figure has the same bytes.
    dated = {"CreationDate": None} if kind == "pdf" else {}
    try:
        path.parent.mkdir(exist_ok=True)
        with replacing(path) as temporary:
            figure.savefig(temporary, format=kind, dpi=DOTS_PER_INCH, metadata=dated)
    except FileExistsError:
        raise InputError(f"{path} cannot be written: {path.parent} is a file and must be a folder.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}.") from None
