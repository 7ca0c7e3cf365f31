"""The plan of a sweep as a table for people and as plain values for programs."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pandas
from rich.console import Console
from rich.table import Table

from cnn_constraints import summaries
from cnn_constraints.executors.local import side_by_side
from cnn_constraints.experiment import flat
from cnn_constraints.plan import Group
from cnn_constraints.resolve import ARRAYS
from cnn_constraints.summaries import CELL, DELTA, READOUT
from cnn_constraints.sweep import counted

WIDTH = 110
"""Characters of the table where it is not printed on a terminal."""

HEADINGS = ("experiments", "finished", "candidates", "side by side", "parameters", "least memory", "updates")


def print_plan(
    groups: Sequence[Group], finished: Collection[str], folder: Path, console: Console | None = None
) -> None:
    """A row a program, and the totals."""
    console = console or Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    telling = _telling_fields(groups)
    table = Table(
        title=f"The plan: {counted(len(groups), 'program')}, each compiled once", box=None, padding=(0, 1, 0, 0)
    )
    table.title_justify = "left"
    for name in telling:
        table.add_column("cell" if name == CELL else name.rpartition(".")[2])
    for heading in HEADINGS:
        table.add_column(heading, justify="right")
    for group in groups:
        fields, counts = flat(group.first), _counts(group, finished)
        numbers = [in_bytes(n) if name == "least_memory_bytes" else f"{n:,}" for name, n in counts.items()]
        table.add_row(*(_word(name, fields[name]) for name in telling), *numbers)
    console.print(table)
    total = [_counts(group, finished) for group in groups]
    experiments, done = (sum(one[name] for one in total) for name in ("experiments", "experiments_finished"))
    memory, updates = max(one["least_memory_bytes"] for one in total), sum(one["updates"] for one in total)
    # Not folded by hand: a terminal that is narrow does it, and a program reads one sentence a line.
    console.print(
        f"\n{counted(experiments, 'experiment')} of {counted(len(groups), 'program')} and {counted(updates, 'update')}; "
        f"finished in {folder}: {done:,}. At most {in_bytes(memory)} of parameters at once.",
        soft_wrap=True,
    )
    if done == experiments:
        console.print("Nothing is left to train.")


def as_json(groups: Sequence[Group], finished: Collection[str], folder: Path) -> dict[str, Any]:
    """The same as plain values: bytes and counts."""
    counts = [_counts(group, finished) for group in groups]
    return {
        "run": str(folder),
        "programs": len(groups),
        "experiments": sum(one["experiments"] for one in counts),
        "experiments_finished": sum(one["experiments_finished"] for one in counts),
        "groups": [
            {name: value for name, value in flat(group.first).items() if name not in ARRAYS}
            | {"multiply_adds": group.cost.multiply_adds, **one}
            for group, one in zip(groups, counts, strict=True)
        ],
    }


def _counts(group: Group, finished: Collection[str]) -> dict[str, int]:
    """In the order of HEADINGS."""
    return {
        "experiments": len(group.experiments),
        "experiments_finished": sum(experiment.name in finished for experiment in group.experiments),
        "candidates": len(group.first.candidates),
        "side_by_side": side_by_side(group),
        "parameters": group.cost.parameters,
        "least_memory_bytes": side_by_side(group) * group.least_memory,
        "updates": sum(experiment.training.updates for experiment in group.experiments),
    }


def _telling_fields(groups: Sequence[Group]) -> list[str]:
    """Cell, delta and readout, and whatever else tells two groups apart."""
    always = [CELL, DELTA, READOUT]
    table = pandas.DataFrame([flat(group.first) for group in groups], dtype=object)
    return always + summaries.telling_fields(table, always, [name for name in table.columns if name not in ARRAYS])


def _word(name: str, value: object) -> str:
    return "" if value is None and name != DELTA else summaries.in_words(value)


def in_bytes(count: int) -> str:
    """To three digits, in powers of 1,000."""
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 999.5:
            break
        size, unit = size / 1000, larger
    return f"{size:.3g} {unit}"
