"""Reports a run: its tables on standard output, its figures into its folder."""

from collections.abc import Iterable
from pathlib import Path

from matplotlib.figure import Figure

from cnn_constraints import store
from cnn_constraints.errors import InputError
from cnn_constraints.files import replacing
from cnn_constraints.report.figures import figures_for
from cnn_constraints.report.tables import print_tables

DOTS_PER_INCH = 150


def report_run(folder: Path, trials: Iterable[str] | None = None) -> None:
    """Print the tables of a run, write <folder>/figures/<name>.png and print their paths.

    Only the trials of these names count, if names are given. Raises InputError where no trial is finished, and where
    the run cannot be read or a figure not be written.
    """
    results = store.read(folder)
    if trials is not None:
        results = results.loc[results["trial"].isin(list(trials))]
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


def save(figure: Figure, path: Path) -> None:
    """Write a PNG, whole or not at all. Raises InputError where the file system refuses."""
    try:
        path.parent.mkdir(exist_ok=True)
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png", dpi=DOTS_PER_INCH)
    except FileExistsError:
        raise InputError(f"{path} cannot be written: {path.parent} is a file and must be a folder.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}.") from None
