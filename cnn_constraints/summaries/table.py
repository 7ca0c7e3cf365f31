"""The table of results: which fields tell experiments apart, and how rows are grouped and ordered."""

from collections.abc import Iterable, Iterator, Sequence
from numbers import Integral
from typing import Any

import pandas

from cnn_constraints import experiment
from cnn_constraints.errors import InputError
from cnn_constraints.experiment import PLACES
from cnn_constraints.lattice import low_rank

CELL, DELTA, N_TRAIN, READOUT = "model.constraint", "model.delta", "data.n_train", "model.readout"

SIZES = (DELTA, "model.tile", "model.rank")
"""Whole numbers, or one a layer, that are missing where they mean nothing to a cell; no delta is all offsets."""

HEEDED = (
    *SIZES,
    "data.size",
    "data.strength",
    "data.augmentation_strengths",
    "training.switch_at",
    "training.penalty_threshold",
)
"""Fields that mean nothing to an experiment where they are missing, or empty."""

RUN = "data.run"
"""The run folder, where the results of several stand side by side."""

SWEEPS = {"conv": "tied weights", "shared": "tied weights", "local": "untied weights", "dense": "untied weights"}
"""The delta-sweep of each cell; shared and dense are the ends of theirs, at all offsets."""

CONDITIONS = ("data.source", "data.intervention", READOUT)
"""What cells are compared under: tables and panels are split by those of these that vary."""


def prepare(results: pandas.DataFrame) -> pandas.DataFrame:
    """The table of `store.read`, ready to be grouped: whole numbers that may be missing are nullable integers, and layers
    that differ one name, `conv, local`. What has no test accuracy is `diverged`: no candidate ever had a finite validation
    loss. Raises InputError where there is no row, or an experiment in two, which would count as two seeds.
    """
    if results.empty:
        raise InputError("The table has no row: no experiment is finished.")
    # Of several runs side by side, each may have it.
    identity = [name for name in (RUN, "experiment") if name in results]
    if "experiment" in identity and (twice := results.duplicated(identity)).any():
        raise InputError(
            f"The experiment {next(iter(results.loc[twice, 'experiment']))} is in the table twice, and is one seed: "
            f"keep one row of each, as results.drop_duplicates('experiment') does."
        )
    table = nullable(results.reset_index(drop=True))
    if CELL in table:
        table[CELL] = [", ".join(cell) if isinstance(cell, tuple) else cell for cell in table[CELL]]
    return table.assign(diverged=table["test_accuracy"].isna())


def nullable(table: pandas.DataFrame) -> pandas.DataFrame:
    """Whole numbers that may be missing as nullable integers, which a table made of rows does not have."""
    optional = [DELTA, *(name for name, (kind, _) in experiment.fields().items() if kind == int | None)]
    found: dict[str, Any] = {}
    for name in (name for name in optional if name in table):
        values = [None if is_missing(value) else value for value in table[name]]
        of_layers = any(isinstance(value, tuple) for value in values)
        found[name] = pandas.array(values, dtype=object if of_layers else "Int64")
    return table.assign(**found)


def is_missing(value: Any) -> bool:
    """None, pandas' NA or a number that is none."""
    return value is None or value is pandas.NA or bool(value != value)


def arm_fields(table: pandas.DataFrame) -> list[str]:
    """The conditions, n_train, cell and delta, and every other config field but the seed in which experiments differ.

    Where images lie is no difference; which images the source `folder` has read is one, by their digest.
    """
    always = [*CONDITIONS, N_TRAIN, CELL, DELTA]
    return always + [name for name in config_fields(table) if name not in always and varies(table, name)]


def groups(table: pandas.DataFrame, fields: Sequence[str]) -> Iterator[tuple[dict[str, Any], pandas.DataFrame]]:
    """The values of the fields, and the rows that agree in them, in order of appearance."""
    grouped: Any = table.groupby(list(fields), dropna=False, sort=False) if fields else [((), table)]
    for values, rows in grouped:
        yield dict(zip(fields, values, strict=True)), rows


def sweep_of(cell: str) -> str:
    """The delta-sweep of a cell; one that is in none is its own."""
    return SWEEPS.get(cell, cell)


def varies(table: pandas.DataFrame, name: str) -> bool:
    """Whether a column has more than one value, missing being one."""
    return len(table[name].drop_duplicates()) > 1


def cell_rank(name: str) -> tuple[int, tuple[int, ...], str]:
    """A sorting key: the place in the registry; a name that has left it comes after all, layers that differ come last."""
    registry, layers = low_rank.names(), name.split(", ")
    places = tuple(registry.index(layer) if layer in registry else len(registry) for layer in layers)
    return len(layers), places, name


def size_rank(value: Any) -> tuple[Any, ...]:
    """A sorting key for `SIZES`: numbers, then one a layer, then all offsets."""
    if isinstance(value, tuple):
        return 1, tuple(map(size_rank, value))
    return (0, value) if isinstance(value, Integral) else (2,)


def in_order(table: pandas.DataFrame) -> pandas.DataFrame:
    """Rows sorted by the conditions, n_train, cell and `SIZES` (all offsets last), of those that the table has."""
    by = [name for name in (*CONDITIONS, N_TRAIN, CELL, *SIZES) if name in table]
    ranks: dict[Any, Any] = {CELL: cell_rank} | dict.fromkeys(SIZES, size_rank)
    key = lambda column: column.map(ranks[column.name]) if column.name in ranks else column
    return nullable(table).sort_values(by, key=key, kind="stable", ignore_index=True)


def telling_fields(table: pandas.DataFrame, known: Sequence[str], candidates: Iterable[str]) -> list[str]:
    """The candidates, one after the other, that differ between rows that agree in all `known` columns and the candidates
    found before: without them two rows look alike.

    A batch size that follows from n_train is none of them, nor a grid of learning rates that each cell has, nor the
    strengths that augmentations have of their own.
    """
    found = list(known)
    for name in candidates:
        if name not in found and varies(table, name) and any(varies(rows, name) for _, rows in groups(table, found)):
            found.append(name)
    return found[len(known) :]


def plain_rows(table: pandas.DataFrame) -> list[dict[str, Any]]:
    """For JSON: what is missing is None."""
    return table.astype(object).where(table.notna(), None).to_dict("records")


def config_fields(table: pandas.DataFrame) -> list[str]:
    """Config fields by which experiments are told apart: all but the seed, and the place of their images."""
    names = [name for name in table.columns if name.startswith(("data.", "model.", "training."))]
    return [name for name in names if name not in PLACES]
