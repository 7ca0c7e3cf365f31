"""What a benchmark reports: rows, the same as a table, as a figure and as JSON."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.timing import Ceilings, Timing
from cnn_constraints.errors import InputError
from cnn_constraints.files import atomic_write

OURS = "ours"


class Row(NamedTuple):
    """One contender at one case. fraction_of_ceiling: the least time that the machine's ceilings allow for the work of
    the case, over the median; None, with no bound, where the work was not counted. peak_bytes: of the process that
    measured this row alone, where there was one.
    """

    suite: str
    case: str
    contender: str
    seconds_median: float
    seconds_min: float
    seconds_max: float
    fraction_of_ceiling: float | None
    bound: str | None
    peak_bytes: int | None = None


def row(
    suite: str,
    case: str,
    contender: str,
    timing: Timing,
    units: int,
    work: tuple[float, float] | None,
    ceilings: Ceilings,
) -> Row:
    """Seconds per unit, of which every timed round did `units`; work: operations and bytes of one unit, if counted."""
    median, shortest, longest = (value / units for value in (timing.median, timing.shortest, timing.longest))
    least, bound = ceilings.shortest_time(*work) if work else (None, None)
    return Row(suite, case, contender, median, shortest, longest, None if least is None else least / median, bound)


def ratios(rows: Sequence[Row]) -> list[tuple[Row, float, float, float]]:
    """Each row with its median over that of the first contender of its case, and the least and the most that the spread
    allows. Above 1 the first is faster.
    """
    first = {one.case: one for one in reversed(rows)}
    return [
        (
            one,
            one.seconds_median / first[one.case].seconds_median,
            one.seconds_min / first[one.case].seconds_max,
            one.seconds_max / first[one.case].seconds_min,
        )
        for one in rows
    ]


def print_case(rows: Sequence[Row]) -> None:
    """One case as a table: milliseconds with their spread, and how many times as long as the first each takes."""
    table = Table(title=rows[0].case, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    headings = ["contender", "ms, median", "ms, range", f"over {rows[0].contender}", "range"]
    counted, memory = rows[0].bound is not None, any(one.peak_bytes for one in rows)
    for heading in [*headings, *["of the ceiling", "bound"] * counted, *["peak memory"] * memory]:
        table.add_column(heading, justify="left" if heading in ("contender", "bound") else "right", no_wrap=True)
    for one, ratio, lowest, highest in ratios(rows):
        table.add_row(
            one.contender,
            _digits(1e3 * one.seconds_median),
            f"{_digits(1e3 * one.seconds_min)} to {_digits(1e3 * one.seconds_max)}",
            f"{ratio:.2f}",
            f"{lowest:.2f} to {highest:.2f}",
            *([f"{one.fraction_of_ceiling:.0%}", one.bound] if counted else []),
            *([f"{(one.peak_bytes or 0) / 2**30:.2f} GiB"] if memory else []),
        )
    Console(highlight=False, width=max(130, Console().width)).print(table)


def write_json(rows: Sequence[Row], path: Path) -> None:
    """A list of objects, whole or not at all. Raises InputError where the file system refuses."""
    try:
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps([one._asdict() for one in rows], indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}.") from None


def figure(rows: Sequence[Row]) -> Figure:
    """A line a case: how many times as long as the first each contender takes, on a logarithmic axis."""
    cases, contenders = (
        list(dict.fromkeys(one.case for one in rows)),
        list(dict.fromkeys(one.contender for one in rows)),
    )
    drawing = Figure(figsize=(9, 1.6 + 0.3 * len(cases)), layout="constrained")
    axes = drawing.subplots()
    for place, contender in enumerate(contenders):
        points = [entry for entry in ratios(rows) if entry[0].contender == contender]
        heights = [cases.index(one.case) for one, *_ in points]
        middles = [ratio for _, ratio, _, _ in points]
        bars = [
            [ratio - lowest for _, ratio, lowest, _ in points],
            [highest - ratio for _, ratio, _, highest in points],
        ]
        axes.errorbar(
            middles, heights, xerr=bars, fmt="osD^vPX*<>"[place % 10], label=contender, capsize=2, elinewidth=1
        )
    axes.axvline(1, color="#888888", linewidth=1)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_yticks(range(len(cases)), cases)
    axes.invert_yaxis()
    axes.grid(axis="x", color="#e4e4e4")
    axes.set_xlabel(f"time over that of {rows[0].contender} (right of 1: {rows[0].contender} is faster)")
    drawing.legend(loc="outside lower center", ncols=3, frameon=False)
    return drawing


def _digits(value: float) -> str:
    """Three significant digits."""
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}" if value > 0 else "0"
