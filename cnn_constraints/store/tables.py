"""The rows of a run as tables."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas

from cnn_constraints.errors import InputError, find
from cnn_constraints.store import parts
from cnn_constraints.store.run import read_config, read_index

EVENTS = {
    "result": ("train_", "validation_", "test_"),
    "evaluation": ("train_", "validation_", "diverged_"),
    "time": (),
}
"""What a trial has rows of: its one result; what each of its lanes measured at each look at the validation data; how long
it took. With the beginnings of the columns that are kept even where no row has a number in them.
"""

COLUMNS = (
    *("trial", "event", "lane", "learning_rate", "weight_decay", "penalty_strength", "update"),
    *("train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "test_loss", "test_accuracy"),
    *("diverged_update", "diverged_lanes", "parameters", "multiply_adds", "seconds", "device"),
)
"""The order of what is measured; a violation of a constraint, which only some sweeps measure, comes last."""

WHOLE_NUMBERS = ("lane", "update", "parameters", "multiply_adds", "diverged_lanes")


def read(folder: str | Path, event: str = "result") -> pandas.DataFrame:
    """The rows of a run as a table: "result", one row a trial; "evaluation", one row a trial, update and lane; or "time",
    one row a trial.

    Columns are the trial's config fields by dotted name, then what was measured: accuracies as fractions 0 to 1, losses
    in nats, times in seconds. Only finished trials are in it, in the order of the sweep; a run that was stopped and went on
    gives the same tables, but for "time", as one that was not. Raises InputError, naming the file, where a part is missing,
    damaged, altered or of another format.
    """
    find("event", event, EVENTS)
    folder = Path(folder)
    described = read_config(folder)
    rows = _rows(folder, event, list(described["trials"]))
    fields = {name: _flatten(trial) for name, trial in described["trials"].items()}
    configs = pandas.DataFrame([fields[trial] for trial in rows["trial"]], index=rows.index)
    return pandas.concat([rows[["trial"]], configs, rows.drop(columns=["trial", "event"])], axis=1)


def _rows(folder: Path, event: str, order: list[str]) -> pandas.DataFrame:
    """Rows of finished trials in the order of the sweep. A trial that was finished twice counts once."""
    place = {name: number for number, name in enumerate(order)}
    tables = _tables(folder)
    unknown = {trial for table in tables for trial in table["trial"]} - set(place)
    if unknown:
        path = folder / "config.json"
        raise InputError(f"{path} lacks the trial {min(unknown)}, which has metrics: repeat the sweep that it is of.")
    seen: set[str] = set()
    new = []
    for table in tables:
        new.append(table.loc[(table["event"] == event) & ~table["trial"].isin(list(seen))])
        seen |= set(table["trial"])
    if not new:
        return pandas.DataFrame({"trial": [], "event": []})
    rows = pandas.concat(new, ignore_index=True)
    by_trial = np.argsort([place[trial] for trial in rows["trial"]], kind="stable")
    columns = sorted(rows.columns, key=lambda name: (COLUMNS.index(name) if name in COLUMNS else len(COLUMNS), name))
    return _columns_of(event, rows.iloc[by_trial].reset_index(drop=True)[columns])


def _tables(folder: Path) -> list[pandas.DataFrame]:
    # The index first: parts are written before their names are.
    listed = set(read_index(folder))
    there = parts.present(folder)
    for lost in sorted(listed - {path.name for path in there}):
        raise InputError(f"{folder / 'metrics' / lost} is missing: {parts.REMEDY}")
    return [parts.read(path) for path in there]


def _columns_of(event: str, rows: pandas.DataFrame) -> pandas.DataFrame:
    """Without the columns of other events, which share the file, and with whole numbers whole again."""
    empty = [
        name for name in rows.columns[rows.isna().all()] if not name.startswith((*EVENTS[event], "trial", "event"))
    ]
    whole = {
        name: "int64" for name in WHOLE_NUMBERS if name in rows.columns and not rows[[name]].isna().to_numpy().any()
    }
    return rows.astype(whole).drop(columns=empty)


def _flatten(trial: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in trial.items():
        # Tuples can be grouped by, lists cannot.
        single = {f"{prefix}{key}": tuple(value) if isinstance(value, list) else value}
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else single
    return flat
