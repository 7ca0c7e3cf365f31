"""The plan of a sweep as a table for people and as plain values for programs."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pandas
from rich.console import Console
from rich.filesize import decimal

from cnn_constraints import summaries
from cnn_constraints.executors.local import memory_at_once, side_by_side
from cnn_constraints.experiment import flat
from cnn_constraints.plan import Group
from cnn_constraints.report.tables import TextTable, heading, print_whole, words
from cnn_constraints.resolve import ARRAYS
from cnn_constraints.summaries import CELL, DELTA, READOUT
from cnn_constraints.sweep import counted


def as_json(
    groups: Sequence[Group], finished: Collection[str], folder: Path, keep_weights: bool = False
) -> dict[str, Any]:
    """Bytes and counts, of each program and in all. keep_weights: whether they include the weights that will be kept."""
    rows = []
    for group in groups:
        config = {name: value for name, value in flat(group.first).items() if name not in ARRAYS}
        counts = {
            "experiments": len(group.experiments),
            "experiments_finished": sum(experiment.name in finished for experiment in group.experiments),
            "candidates": len(group.first.candidates),
            "side_by_side": side_by_side(group),
            "parameters": group.cost.parameters,
            "images_bytes": group.images_bytes,
            "least_memory_bytes": memory_at_once(group),
            "updates": sum(experiment.training.updates for experiment in group.experiments),
        }
        if keep_weights:
            counts["weights_bytes"] = len(group.experiments) * group.weights_bytes
        rows.append(config | {"multiply_adds": group.cost.multiply_adds} | counts)
    in_all = ["experiments", "experiments_finished"] + ["weights_bytes"] * keep_weights
    total = {name: sum(row[name] for row in rows) for name in in_all}
    return {"run": str(folder), "programs": len(rows), **total, "groups": rows}


def print_plan(groups: Sequence[Group], finished: Collection[str], folder: Path, keep_weights: bool = False) -> None:
    """A row a program, and the totals."""
    plan = as_json(groups, finished, folder, keep_weights)
    rows = pandas.DataFrame(plan["groups"], dtype=object)
    always = [CELL, DELTA, READOUT]
    telling = always + summaries.telling_fields(rows, always, summaries.config_fields(rows))
    columns = {heading(name): words(rows, name) for name in telling}
    # What is counted follows the config.
    names = list(rows)[list(rows).index("experiments") :]
    counts = {name.removeprefix("experiments_").removesuffix("_bytes").replace("_", " "): rows[name] for name in names}
    for name, numbers in counts.items():
        columns[name] = [decimal(n) if name in ("images", "least memory", "weights") else f"{n:,}" for n in numbers]
    title = f"The plan: {counted(len(rows), 'program')}, each compiled once"
    print_whole(TextTable(title, columns, right=counts), Console(highlight=False))
    print(
        f"{counted(plan['experiments'], 'experiment')} of {counted(len(rows), 'program')} and "
        f"{counted(sum(rows['updates']), 'update')}; finished in {folder}: {plan['experiments_finished']:,}. "
        f"At most {decimal(max(rows['least_memory_bytes']))} of images and parameters at once."
        + (f" Their weights take {decimal(plan['weights_bytes'])} on the disk." if keep_weights else "")
    )
    if plan["experiments_finished"] == plan["experiments"]:
        print("Nothing is left to train.")
