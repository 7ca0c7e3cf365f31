"""The plan of a sweep as a table for people and as plain values for programs."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas
from rich.console import Console
from rich.table import Table

from cnn_constraints import analysis, config
from cnn_constraints.analysis import CELL, DELTA, READOUT
from cnn_constraints.executors.forecast import FINISHED, OTHERS, TIMED, UPDATES, Planned
from cnn_constraints.experiment import Experiment
from cnn_constraints.sweep import ARRAYS

WIDTH = 110
"""Characters of the table where it is not printed on a terminal."""

SOURCES = {
    FINISHED: "from trials that are finished in this run folder",
    TIMED: f"from {UPDATES} updates of its program, timed on this machine and thrown away",
    OTHERS: "from those of its cell that were timed or are finished, by its multiply-adds",
}


def print_plan(planned: Sequence[Planned], folder: Path, console: Console | None = None) -> None:
    """A row a program, and the totals."""
    console = console or Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    telling = _telling_fields([plan.group.trials[0] for plan in planned])
    table = Table(
        title=f"The plan: {counted(len(planned), 'program')}, each compiled once", box=None, padding=(0, 1, 0, 0)
    )
    table.title_justify = "left"
    headings = ("trials", "finished", "lanes", "side by side", "parameters", "least memory", "updates", "time", "from")
    for name in telling:
        table.add_column(_heading(name))
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "from" else "right")
    for plan in planned:
        fields = config.flat(plan.group.trials[0])
        table.add_row(*(_word(name, fields[name]) for name in telling), *_cells(plan))
    console.print(table)
    for line in _totals(planned, folder):
        # Not folded by hand: a terminal that is narrow does it, and a program reads one sentence a line.
        console.print(line, soft_wrap=True)


def as_json(planned: Sequence[Planned], folder: Path) -> dict[str, Any]:
    """The same as plain values: bytes, seconds and counts."""
    return {
        "run": str(folder),
        "programs": len(planned),
        "trials": sum(len(plan.group.trials) for plan in planned),
        "trials_finished": sum(len(plan.group.trials) - plan.left for plan in planned),
        "seconds": _seconds(planned),
        "groups": [_group_as_json(plan) for plan in planned],
    }


def _group_as_json(plan: Planned) -> dict[str, Any]:
    fields = config.flat(plan.group.trials[0])
    return {name: value for name, value in fields.items() if name not in ARRAYS} | {
        "trials": len(plan.group.trials),
        "trials_finished": len(plan.group.trials) - plan.left,
        "lanes": plan.lanes,
        "side_by_side": plan.side_by_side,
        "parameters": plan.parameters,
        "multiply_adds": plan.multiply_adds,
        "least_memory_bytes": plan.memory,
        "updates": plan.updates,
        "training_seconds": plan.seconds,
        "compile_seconds": plan.compile_seconds,
        "seconds_from": plan.source,
    }


def _telling_fields(firsts: Sequence[Experiment]) -> list[str]:
    """Cell, delta and readout, and whatever else tells two groups apart."""
    always = [CELL, DELTA, READOUT]
    table = pandas.DataFrame([config.flat(trial) for trial in firsts], dtype=object)
    return always + analysis.telling_fields(table, always, [name for name in table.columns if name not in ARRAYS])


def _cells(plan: Planned) -> tuple[str, ...]:
    trials = len(plan.group.trials)
    counts = (trials, trials - plan.left, plan.lanes, plan.side_by_side, plan.parameters)
    source = plan.source if plan.left else ""
    return (*(f"{count:,}" for count in counts), in_bytes(plan.memory), f"{plan.updates:,}", _time(plan), source)


def _time(plan: Planned) -> str:
    return in_time(plan.seconds + plan.compile_seconds) if plan.left else "done"


def _totals(planned: Sequence[Planned], folder: Path) -> list[str]:
    trials, left = sum(len(plan.group.trials) for plan in planned), sum(plan.left for plan in planned)
    updates = sum(plan.updates for plan in planned)
    lines = [
        "",
        f"{counted(trials, 'trial')} of {counted(len(planned), 'program')} and {counted(updates, 'update')}; finished "
        f"in {folder}: {trials - left:,}. "
        f"At most {in_bytes(max(plan.memory for plan in planned))} of parameters at once.",
    ]
    if not left:
        return [*lines, "Nothing is left to train."]
    compiling = sum(plan.compile_seconds for plan in planned)
    lines.append(
        f"About {in_time(_seconds(planned))} on this machine, {in_time(compiling)} of it for compiling: less where "
        f"programs are kept from an earlier command. Times are estimates, the memory is a lower bound, and counts are "
        f"exact."
    )
    used = {plan.source for plan in planned if plan.left}
    return lines + [f"Time from {source}: {words}." for source, words in _words(used).items()]


def _words(used: set[str]) -> Mapping[str, str]:
    return {source: words for source, words in SOURCES.items() if source in used}


def _seconds(planned: Sequence[Planned]) -> float:
    return sum(plan.seconds + plan.compile_seconds for plan in planned)


def _word(name: str, value: object) -> str:
    return "" if value is None and name != DELTA else analysis.in_words(value)


def _heading(name: str) -> str:
    return "cell" if name == CELL else name.rpartition(".")[2]


def counted(number: int, noun: str) -> str:
    """1 trial, 1,200 trials."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def in_time(seconds: float) -> str:
    """0:01:23; seconds below ten with one digit."""
    return f"{seconds:.1f} s" if seconds < 10 else str(timedelta(seconds=round(seconds)))


def in_bytes(count: int) -> str:
    """To three digits, in powers of 1,000."""
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 999.5:
            break
        size, unit = size / 1000, larger
    return f"{size:.3g} {unit}"
