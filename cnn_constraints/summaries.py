"""From the results of a run to what they say: means with intervals over seeds, and paired comparisons of two cells.

An arm is everything about an experiment except its seed. The seeds of an arm differ in training subset, initial weights and
order of batches, so an interval over seeds covers all three; the test images are the same for all.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pandas

from cnn_constraints.errors import InputError, unknown_name
from cnn_constraints.lattice import low_rank
from cnn_constraints.statistics import geometric_mean_interval, mean_interval, samples_of_seeds, verdict

CELL, DELTA, N_TRAIN, READOUT = "model.constraint", "model.delta", "data.n_train", "model.readout"

SIZES = (DELTA, "model.tile", "model.rank")
"""Whole numbers that are missing where they mean nothing to a cell; no delta is all offsets."""

PLACE = "data.folder"
"""A path, which tells no two experiments apart."""

SWEEPS = {"conv": "tied weights", "shared": "tied weights", "local": "untied weights", "dense": "untied weights"}
"""The delta-sweep of each cell; shared and dense are the ends of theirs, at all offsets."""

CONDITIONS = ("data.source", "data.intervention", READOUT)
"""What cells are compared under: tables and panels are split by those of these that vary."""


def prepare(results: pandas.DataFrame) -> pandas.DataFrame:
    """The table of `store.read`, ready to be grouped: the `SIZES` nullable integers. What has no test accuracy is
    `diverged`: no candidate ever had a finite validation loss.
    """
    if results.empty:
        raise InputError("The table has no row: no experiment is finished.")
    table = results.reset_index(drop=True)
    for name in SIZES:
        if name in table:
            # Through float: a column of nothing but None is of type object.
            table[name] = table[name].astype(float).astype("Int64")
    return table.assign(diverged=table["test_accuracy"].isna())


def arm_fields(table: pandas.DataFrame) -> list[str]:
    """The conditions, n_train, cell and delta, and every other config field but the seed in which experiments differ.

    Where images lie is no difference; which images the source `folder` has read is one, by their digest.
    """
    always = [*CONDITIONS, N_TRAIN, CELL, DELTA]
    return always + [name for name in config_fields(table) if name not in always and varies(table, name)]


def summarise(results: pandas.DataFrame) -> pandas.DataFrame:
    """One row an arm, of a table of `store.read` with at least one row.

    Columns: the `arm_fields`; `seeds` in the means; `diverged` experiments, which are in no mean; `parameters`; means over
    seeds of `test_accuracy`, with its 95% interval from `test_accuracy_low` to `test_accuracy_high`, and of
    `train_accuracy`, all fractions; the median `learning_rate` chosen. Sorted as by `in_order`.

    >>> arms = summarise(store.read("runs/quickstart")).query("`data.n_train` == 600")
    >>> arms[["model.constraint", "test_accuracy", "seeds"]].round(3).values.tolist()
    [['dense', 0.975, 3], ['shared', 0.968, 3], ['local', 0.969, 3], ['conv', 0.976, 3]]
    """
    table = prepare(results)
    rows = []
    for arm, experiments in groups(table, arm_fields(table)):
        done = experiments.loc[~experiments["diverged"]]
        mean, low, high, seeds = mean_interval(done["test_accuracy"])
        measured = {"seeds": seeds, "diverged": len(experiments) - seeds}
        measured |= {"parameters": experiments["parameters"].iloc[0]}
        measured |= {"test_accuracy": mean, "test_accuracy_low": low, "test_accuracy_high": high}
        measured |= {"train_accuracy": done["train_accuracy"].mean(), "learning_rate": done["learning_rate"].median()}
        rows.append(arm | measured)
    return in_order(pandas.DataFrame(rows))


def learning_curves(results: pandas.DataFrame) -> pandas.DataFrame:
    """The rows of `summarise` with the test `error`, a fraction, and its 95% interval, `error_low` to `error_high`.

    >>> curves = learning_curves(store.read("runs/quickstart"))
    >>> conv = curves[curves["model.constraint"] == "conv"]
    >>> dict(zip(conv["data.n_train"], conv["error"].round(3), strict=True))
    {100: 0.09, 300: 0.037, 600: 0.024}
    """
    arms = summarise(results)
    sources = {"error": "test_accuracy", "error_low": "test_accuracy_high", "error_high": "test_accuracy_low"}
    return arms.assign(**{name: 1 - arms[source] for name, source in sources.items()})


def samples_to_error(results: pandas.DataFrame, error: float) -> pandas.DataFrame:
    """How many training images each cell needs to reach a test error, a fraction; one row a learning curve.

    Columns: what tells the curves apart, n_train aside; `seeds`; the geometric mean over seeds of `samples`, with its 95%
    interval `samples_low` to `samples_high`, each seed's by `statistics.samples_to_error`: infinite where an error is never
    reached, the first size where it is reached at once. A seed that lacks a size, or diverged at one, is left out.

    Raises InputError for an error that is not above 0.

    >>> needed = samples_to_error(store.read("runs/quickstart"), 0.05)
    >>> dict(zip(needed["model.constraint"], needed["samples"].round(), strict=True))
    {'dense': 235.0, 'shared': 249.0, 'local': 273.0, 'conv': 203.0}
    """
    table = prepare(results)
    fields = [*CONDITIONS, CELL, DELTA]
    fields += telling_fields(table, [*fields, N_TRAIN], arm_fields(table))
    rows = []
    for curve, experiments in groups(table, fields):
        seeds = experiments.pivot(index="seed", columns=N_TRAIN, values="test_accuracy").dropna()
        needed = samples_of_seeds(list(seeds.columns), 1 - seeds.to_numpy(float), error)
        mean, low, high, count = geometric_mean_interval(needed)
        rows.append(curve | {"seeds": count, "samples": mean, "samples_low": low, "samples_high": high})
    return in_order(pandas.DataFrame(rows))


def compare(results: pandas.DataFrame, first: str, second: str) -> pandas.DataFrame:
    """Test accuracy of cell `first` minus that of cell `second`, paired by seed, so on the same training images.

    Both experiments of a pair agree in everything about the data and in the readout. In any other field they agree if both
    cells were run with several of its values, some of them in common (a sweep over delta, for conv against local); else
    every value of one meets every value of the other (conv at each delta against dense, or arms matched in size).

    Columns: the conditions, `data.n_train` and other data fields that vary; `<field>_first` and `<field>_second` for
    `model.delta` and every other field that varies; `seeds` paired; pairs in which an experiment `diverged`, left out
    of the rest; the mean `difference`, a fraction, its 95% Student-t interval `difference_low` to `difference_high`, not
    corrected for the number of comparisons; and the `verdict` on `first`. A seed that one cell lacks is left out.

    Raises InputError for a cell that has no results, and for one and the same.

    >>> pairs = compare(store.read("runs/quickstart"), "conv", "dense")
    >>> pairs[["data.n_train", "seeds", "verdict"]].values.tolist()
    [[100, 3, 'undecided'], [300, 3, 'undecided'], [600, 3, 'undecided']]
    """
    if first == second:
        raise InputError(f"first and second are both {first!r}: compare two cells.")
    table = prepare(results)
    for cell in (first, second):
        if cell not in set(table[CELL]):
            raise unknown_name("cell of this run", cell, set(table[CELL]))
    fields = [name for name in arm_fields(table) if name != CELL]
    equal = [name for name in fields if name.startswith("data.") or name == READOUT]
    other = [name for name in fields if name not in equal]
    sides = [table.loc[table[CELL] == cell, [*fields, "seed", "test_accuracy", "diverged"]] for cell in (first, second)]
    pairs = sides[0].merge(sides[1], on=[*equal, "seed"], suffixes=("_first", "_second"))
    for name in other:
        values = [set(side[name].dropna()) for side in sides]
        if min(map(len, values)) > 1 and values[0] & values[1]:
            pairs = pairs[pairs[f"{name}_first"] == pairs[f"{name}_second"]]
    keys = equal + [f"{name}_{side}" for name in other for side in ("first", "second")]
    rows = []
    for pair, group in groups(pairs, keys):
        done = group.loc[~(group["diverged_first"] | group["diverged_second"])]
        found = mean_interval(done["test_accuracy_first"] - done["test_accuracy_second"])
        rows.append([*pair.values(), found.seeds, len(group) - found.seeds, *found[:3], verdict(found)])
    measured = ["seeds", "diverged", "difference", "difference_low", "difference_high", "verdict"]
    return in_order(pandas.DataFrame(rows, columns=[*keys, *measured]))


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


def cell_rank(name: str) -> tuple[int, str]:
    """A sorting key: the place in the registry; a name that has left it comes last."""
    registry = low_rank.names()
    return (registry.index(name) if name in registry else len(registry), name)


def in_order(table: pandas.DataFrame) -> pandas.DataFrame:
    """Rows sorted by the conditions, n_train, cell and `SIZES` (all offsets last), of those that the table has. The sizes
    are nullable integers again, which they are not in a table made of rows.
    """
    sizes = [f"{name}{side}" for name in SIZES for side in ("", "_first", "_second")]
    table = table.astype({name: "Int64" for name in sizes if name in table})
    by = [name for name in (*CONDITIONS, N_TRAIN, CELL, *sizes) if name in table]
    key = lambda column: column.map(cell_rank) if column.name == CELL else column
    return table.sort_values(by, key=key, kind="stable", na_position="last", ignore_index=True)


def telling_fields(table: pandas.DataFrame, known: Sequence[str], candidates: Iterable[str]) -> list[str]:
    """The candidates that differ between rows that agree in all `known` columns: without them two rows look alike.

    A batch size that follows from n_train is none of them, and neither is a grid of learning rates that each cell has.
    """
    alike = [rows for _, rows in groups(table, known)]
    return [name for name in candidates if name not in known and any(varies(rows, name) for rows in alike)]


def plain_rows(table: pandas.DataFrame) -> list[dict[str, Any]]:
    """For JSON: what is missing is None."""
    return table.astype(object).where(table.notna(), None).to_dict("records")


def in_words(value: Any) -> str:
    """A config value in a table or legend: `8, 16` for a tuple, `all` for a missing delta."""
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return "all" if value is None or value is pandas.NA else str(value)


def conditions_in_words(table: pandas.DataFrame) -> str:
    """The data sets, and the other conditions where they do not vary: `digits, permute_pixels, readout flatten`."""
    words = [" and ".join(sorted(set(table["data.source"])))]
    for name, before in (("data.intervention", ""), (READOUT, "readout ")):
        words += [f"{before}{value}" for value in set(table[name]) - {"none"} if not varies(table, name)]
    return ", ".join(words)


def config_fields(table: pandas.DataFrame) -> list[str]:
    """Config fields by which experiments are told apart: all but the seed, and the place of their images."""
    names = [name for name in table.columns if name.startswith(("data.", "model.", "training."))]
    return [name for name in names if name != PLACE]
