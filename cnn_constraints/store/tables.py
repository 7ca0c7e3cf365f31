"""The records of a run as tables, one for each event."""

from pathlib import Path

import numpy as np
import pandas
import pyarrow
import pyarrow.compute as compute

from cnn_constraints.errors import InputError, find
from cnn_constraints.experiment import DEFAULTS, flatten
from cnn_constraints.files import as_text, local_path
from cnn_constraints.store import parts
from cnn_constraints.store.folder import read_config, read_parts
from cnn_constraints.training.records import Evaluation, Finished, Result


def read(folder: str | Path, event: str = "result") -> pandas.DataFrame:
    """What a run found as a table: "result", one row an experiment; "evaluation", one row an experiment, look and
    candidate; or "time", one row an experiment.

    Columns are the experiment's name and its config fields by dotted name, then what was measured (see `Result` and
    `Evaluation` of `training.records`): accuracies as fractions 0 to 1, losses in nats, times in seconds, and
    `violation_<constraint>`. Only finished experiments are in it, in the order of the sweep; a run that was stopped and
    went on gives the same tables, but for "time", as one that was not. Raises InputError, naming the file, where a part is
    missing, damaged, altered or of another format.
    """
    columns = find("event", event, EVENTS)
    folder = local_path(folder)
    configs = read_config(folder)["experiments"]
    found = rows(folder, list(configs))
    table = _numbers(columns(found))
    names = table.pop("experiment")
    fields = {name: DEFAULTS | flatten(configs[name]) for name in set(names)}
    for each in fields.values():
        each |= {name: as_text(value) for name, value in each.items() if isinstance(value, str)}
    described = pandas.DataFrame([fields[name] for name in names], index=table.index)
    return pandas.concat([names, described, table], axis=1)


def read_finished(folder: Path) -> list[Finished]:
    """The records of a run's finished experiments. Raises InputError as `read` does."""
    return [
        Finished(
            row["experiment"],
            Result(**row["result"] | {"violations": dict(row["result"]["violations"] or ())}),
            [Evaluation(**look | {"violations": dict(look["violations"] or ())}) for look in row["evaluations"]],
            row["seconds"],
        )
        for row in rows(folder, list(read_config(folder)["experiments"])).to_pylist()
    ]


def _results(found: pyarrow.Table) -> pyarrow.Table:
    columns = pyarrow.Table.from_struct_array(found["result"].combine_chunks())
    return columns.add_column(0, "experiment", found["experiment"])


def _evaluations(found: pyarrow.Table) -> pyarrow.Table:
    """One row for each entry of the lists of evaluations."""
    lists = found["evaluations"].combine_chunks()
    columns = pyarrow.Table.from_struct_array(lists.flatten())
    numbers = compute.call_function("list_parent_indices", [lists])
    return columns.add_column(0, "experiment", found["experiment"].take(numbers))


def _times(found: pyarrow.Table) -> pyarrow.Table:
    return found.select(["experiment", "seconds"])


EVENTS = {"result": _results, "evaluation": _evaluations, "time": _times}
"""What an experiment has rows of: its one result; what each candidate measured at each look; how long it took."""


def _numbers(table: pyarrow.Table) -> pandas.DataFrame:
    """As pandas: missing numbers are NaN, missing whole numbers <NA>, and violations columns of their own."""
    violations = table["violations"].to_pylist() if "violations" in table.column_names else []
    table = table.drop_columns(["violations"] if "violations" in table.column_names else [])
    nullable = {pyarrow.int64(): pandas.Int64Dtype()}
    # In this thread alone, as `parts.read`.
    whole = table.to_pandas(types_mapper=lambda kind: nullable.get(kind), use_threads=False)
    plain = {name: "int64" for name in whole if whole[name].dtype == "Int64" and not whole[name].isna().any()}
    of_constraints = sorted({name for row in violations for name, _ in row or ()})
    rows = [dict(row or ()) for row in violations]
    added = {f"violation_{name}": np.array([row.get(name) for row in rows], float) for name in of_constraints}
    return whole.astype(plain).assign(**added)


def rows(folder: Path, order: list[str]) -> pyarrow.Table:
    """Finished experiments in the order of the sweep. One that was finished twice counts once, if possible with weights."""
    found = pyarrow.concat_tables([parts.SCHEMA.empty_table(), *_parts(folder)])
    place = {name: number for number, name in enumerate(order)}
    names = found["experiment"].to_pylist()
    if unknown := set(names) - set(place):
        path = folder / "config.json"
        raise InputError(
            f"{path} lacks the experiment {min(unknown)}, which has metrics: repeat the sweep that it is of."
        )
    weights = [bool(name) and (folder / "weights" / name).exists() for name in found["weights"].to_pylist()]
    first = {names[row]: row for row in sorted(range(len(names)), key=lambda row: (weights[row], -row))}
    chosen = [first[name] for name in sorted(first, key=lambda name: place[name])]
    return found.take(pyarrow.array(chosen, pyarrow.int64()))


def _parts(folder: Path) -> list[pyarrow.Table]:
    # The list first: parts are written before their names are.
    listed = set(read_parts(folder))
    there = parts.present(folder)
    for lost in sorted(listed - {path.name for path in there}):
        raise InputError(f"{folder / 'metrics' / lost} is missing: {parts.REMEDY}")
    return [parts.read(path) for path in there]
