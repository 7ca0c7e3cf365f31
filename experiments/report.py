"""Tables and figures of a run: `python -m experiments.report runs/quickstart`."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from cnn_constraints.errors import InputError
from cnn_constraints.report.terminal import report_run
from experiments.entry import check_flags, entry_point, parse_flags


@dataclass(frozen=True)
class Command:
    """Print what a run found, and draw it into its folder: figures/<name>.png."""

    run: tyro.conf.Positional[Path]
    """The run folder, as written by experiments.sweep."""


def main(arguments: list[str]) -> None:
    check_flags(arguments, [])
    if not arguments:
        raise InputError("Name a run folder, as in: python -m experiments.report runs/quickstart")
    report_run(parse_flags(Command, arguments, prog="python -m experiments.report").run)


if __name__ == "__main__":
    entry_point(main)()
