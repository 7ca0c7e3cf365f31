"""Two sides compared, seed by seed on the same images: any field, or several; and how the difference itself differs."""

import math
import operator
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from numbers import Integral
from typing import Any, NamedTuple

import pandas

from cnn_constraints import experiment
from cnn_constraints.errors import InputError, unknown_name
from cnn_constraints.lattice import constraints
from cnn_constraints.lattice.counts import count
from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.lattice.low_rank import bank_of
from cnn_constraints.statistics import CONFIDENCE, holm, mean_interval, p_value, seeds_needed, verdict
from cnn_constraints.summaries.table import (
    CELL,
    CONDITIONS,
    DELTA,
    HEEDED,
    N_TRAIN,
    READOUT,
    SIZES,
    cell_rank,
    config_fields,
    in_order,
    nullable,
    plain_rows,
    prepare,
    size_rank,
    telling_fields,
    varies,
)
from cnn_constraints.summaries.words import arm_in_words, is_heeded, value_in_words

ALL = "all"
"""A delta that is missing because every offset is allowed, and not because the cell heeds none."""

ENDS = {"shared": "conv", "dense": "local"}
"""Cells, and the cell that they are at all offsets."""

LAYER = (CELL, *SIZES)
"""What tells one layer from another."""

GRIDS = ("training.learning_rates", "training.weight_decays", "training.penalty_strengths", "training.extend_grid")
"""Where tuning has looked: what is compared is what it chose."""

UNCOMPARED = (CELL, N_TRAIN, "data.source", "data.digest", "data.file", *GRIDS)
"""Fields along which `comparisons` does not compare as it does along any other."""

SIDE = 32
"""Pixels of the image on which free weights are counted, to rank constraints."""

SIGNS = (1, -1, -1, 1)
"""Of the accuracies in a difference, and in a difference of differences."""

MEASURED = ("seeds", "diverged", "difference", "difference_low", "difference_high")

UNTOLD = ("equal", "first_arm", "second_arm")
"""Columns for what tells of comparisons: fields and values by name, of what the arms have in common, and of each arm."""

Row = Mapping[str, Any]


class Contrast(NamedTuple):
    """The fields along which experiments are compared, and those that are: one of each side, or two; then `between` names
    the fields in which the first two differ from the others.
    """

    fields: Sequence[str]
    matched: Sequence[tuple[Row, ...]]
    between: Sequence[str] = ()


def compare(results: pandas.DataFrame, fields: str | Sequence[str], first: Any, second: Any) -> pandas.DataFrame:
    """Test accuracy where a field is `first` minus that where it is `second`, paired by seed, so on the same images.

    fields: a dotted name, or several, for which `first` and `second` then hold a value each. The experiments of a pair
    agree in every other field that means something to both: the delta that dense does not have blocks nothing. Where the
    two sides have no value in common of a field of the network or of training (the widths of arms that are matched in
    size), every value of one meets every value of the other. What follows from the rest may differ: the grid of learning
    rates that a cell has of its own.

    Columns: the fields in which experiments of `results` differ and those of a pair agree; `field`, the names given;
    `first` and `second`, in words; `seeds` paired; pairs in which one `diverged`, left out of the rest; the mean
    `difference`, a fraction, with its 95% Student-t interval from `difference_low` to `difference_high`; the `p` of the
    paired t-test, and `p_adjusted` by Holm for all rows together; the `verdict` on `first`, better or worse where
    p_adjusted is below 0.05, else undecided; and `seeds_needed` where it is undecided: so many fresh seeds decide it with a
    probability of 80% if the truth is what was observed (`statistics.seeds_needed` at 5%, divided by the number of rows
    that are undecided).

    Raises InputError for an unknown field, a value that no experiment has, two sides that are the same, and where no
    experiment has a partner.

    >>> pairs = compare(store.read("runs/quickstart"), "model.constraint", "conv", "dense")
    >>> pairs[["data.intervention", "data.n_train", "verdict"]].values.tolist()[:3]
    [['none', 100, 'better'], ['none', 1000, 'undecided'], ['permute_pixels', 100, 'worse']]
    """
    table = prepare(results)
    names = _names(fields, table)
    key, rows = _key(table, names), _rows(table, names)
    matched = _pairs(*_sides(rows, names, first, second), names, key)
    if not matched:
        raise _without_partner(table, names, key)
    return _measure(table, key, [Contrast(names, matched)]).drop(columns=[*UNTOLD])


def compare_differences(
    results: pandas.DataFrame,
    difference: tuple[str | Sequence[str], Any, Any],
    between: tuple[str | Sequence[str], Any, Any],
) -> pandas.DataFrame:
    """How a difference differs: that of `difference` where the field of `between` has its first value, minus that where it
    has its second, paired by seed. Does a permutation of the pixels cost conv more than dense?

    difference, between: fields, first and second as `compare` takes them. Columns: those of `compare`, and the fields of
    `between` with both its sides, `between`, `between_first` and `between_second`; better says that the difference is the
    larger at `between_first`. Raises InputError as `compare` does.

    >>> conv_or_dense, images = ("model.constraint", "conv", "dense"), ("data.intervention", "none", "permute_pixels")
    >>> compare_differences(store.read("runs/quickstart"), conv_or_dense, images)["verdict"].tolist()
    ['better', 'better']
    """
    table = prepare(results)
    names, others = _names(difference[0], table), _names(between[0], table)
    if shared := sorted({*names} & {*others}):
        raise InputError(f"difference and between are both over {shared[0]}: each needs fields of its own.")
    key, rows = _key(table, [*names, *others]), _rows(table, [*names, *others])
    here, there = (
        _pairs(*_sides(side, names, *difference[1:]), names, key) for side in _sides(rows, others, *between[1:])
    )
    matched = _joined(here, there, [name for name in key if name not in others])
    if not matched:
        raise _without_partner(table, [*names, *others], key)
    return _measure(table, key, [Contrast(names, matched, others)]).drop(columns=[*UNTOLD])


def comparisons(results: pandas.DataFrame) -> pandas.DataFrame:
    """What a sweep compares, as a table of `compare`, without a row where there is nothing to compare.

    The cell with the fewest free weights meets every arm of every other cell. No cell of the sweep obeys a stronger
    constraint than that: what a constraint allows is a linear space, and one within another has fewer dimensions. Where a
    cell was run with several deltas, cells meet at equal delta, shared and dense as conv and local at all offsets; and each
    delta meets the smallest. For every other field that varies, but for the number of images, the data set and the grids of
    tuning, the first value in the order of the sweep meets each other one.
    """
    return untold_comparisons(results).drop(columns=[*UNTOLD])


def untold_comparisons(results: pandas.DataFrame) -> pandas.DataFrame:
    """`comparisons`, with the columns `UNTOLD`."""
    table = prepare(results)
    swept = {str(cell) for cell, rows in table.groupby(CELL) if len(set(rows[DELTA].dropna())) > 1}
    key, rows = _key(table), _rows(table, swept=swept)
    contrasts = [Contrast([CELL], _of_cells(rows, key))]
    for name in (name for name in key if name not in UNCOMPARED):
        in_sweep = rows if name in SIZES else plain_rows(table)
        values = [value for value in dict.fromkeys(row[name] for row in in_sweep) if is_heeded(name, value)]
        values = sorted(values, key=size_rank) if name in SIZES else values
        sides = [[row for row in rows if row[name] == value] for value in values]
        contrasts.append(
            Contrast([name], [pair for other in sides[1:] for pair in _pairs(sides[0], other, [name], key)])
        )
    return _measure(table, key, contrasts)


def _of_cells(rows: Sequence[Row], key: Sequence[str]) -> list[tuple[Row, ...]]:
    """The most constrained cell, paired with every arm of every other: all that tells networks and their training apart."""
    layers = dict.fromkeys(tuple(row[name] for name in LAYER) for row in rows)
    champion = min(layers, key=lambda layer: free_weights(*layer))[0]
    arms: dict[tuple, list[Row]] = defaultdict(list)
    of_arm = [*LAYER, *(name for name in key if name not in LAYER and not _always_equal(name))]
    for row in rows:
        if row[CELL] != champion:
            arms[tuple(row[name] for name in of_arm)].append(row)
    own = [row for row in rows if row[CELL] == champion]
    return [pair for arm in arms.values() for pair in _pairs(own, arm, [CELL], key)]


@cache
def free_weights(cell: str, delta: Any = None, tile: int | None = None, rank: int | None = None) -> float:
    """Of a layer from one channel to one on SIDE x SIDE pixels, or the sum of layers that differ; infinite for a cell that
    has left the registry.
    """
    total = 0.0
    for name, reach in zip(*_by_layer(tuple(cell.split(", ")), delta), strict=True):
        if bank_of(name) not in constraints.CONSTRAINTS:
            return math.inf
        within = min(int(reach), SIDE - 1) if isinstance(reach, Integral) else None
        total += count(name, Geometry(SIDE, SIDE), within, tile=tile, rank=rank).weights
    return total


def _names(fields: str | Sequence[str], table: pandas.DataFrame) -> list[str]:
    names = [fields] if isinstance(fields, str) else list(fields)
    for name in names:
        if name not in table or name not in experiment.fields():
            raise unknown_name("field to compare", name, config_fields(table))
    return names


def _key(table: pandas.DataFrame, compared: Sequence[str] = ()) -> list[str]:
    """Fields of which none follows from the others: experiments that agree in them and in the seed are the same."""
    key = list(dict.fromkeys([*compared, *(name for name in (*CONDITIONS, N_TRAIN, *LAYER) if name in table)]))
    return key + telling_fields(table, key, config_fields(table))


def _rows(
    table: pandas.DataFrame, compared: Sequence[str] = (), swept: Collection[str] | None = ()
) -> list[dict[str, Any]]:
    """The experiments, sorted, each with its `place` by condition and n_train, and its `cell` by the name that it has.
    Where a delta-sweep is compared, its end is `ALL` of it. swept: cells of which one was run; None for any.
    """
    swept = None if DELTA in compared and CELL not in compared else swept
    rows, places = plain_rows(in_order(table.sort_values("seed", kind="stable"))), {}
    for row in rows:
        row["cell"], start = row[CELL], ", ".join(ENDS.get(layer) or layer for layer in row[CELL].split(", "))
        row["place"] = places.setdefault(tuple(row[name] for name in (*CONDITIONS, N_TRAIN)), len(places))
        if row[DELTA] is None and start != row[CELL] and (swept is None or start in swept):
            row |= {CELL: start, DELTA: ALL}
        elif row[DELTA] is None and _heeds_delta(row[CELL]):
            row[DELTA] = ALL
    return sorted(rows, key=_place)


def _heeds_delta(cell: str) -> bool:
    banks = [bank_of(layer) for layer in cell.split(", ")]
    return any(constraints.CONSTRAINTS[bank].local for bank in banks if bank in constraints.CONSTRAINTS)


def _place(row: Row) -> tuple[Any, ...]:
    return row["place"], cell_rank(row[CELL]), *(size_rank(row[name]) for name in SIZES)


def _sides(rows: Sequence[Row], names: Sequence[str], first: Any, second: Any) -> tuple[list[Row], list[Row]]:
    """The rows of each side. Raises InputError for a side without any, and for sides that are the same."""
    sides = []
    for given in (first, second):
        values = [given] if len(names) == 1 else list(given)
        if len(values) != len(names):
            raise InputError(f"{given!r} is to be a value for each of {', '.join(names)}.")
        values = list(map(_as_in_results, names, values))
        # No delta is every offset, or one that is not heeded.
        is_it = lambda there, value: there == value or (value is None and there == ALL)
        sides.append([row for row in rows if all(map(is_it, (row[name] for name in names), values))])
        if not sides[-1]:
            words = lambda values: ", ".join(map(value_in_words, names, values))
            there = sorted({words([row[name] for name in names]) for row in rows})
            raise unknown_name(f"value of {', '.join(names)} in these results", words(values), there)
    if sides[0] == sides[1]:
        raise InputError(f"first and second are both {first!r}: compare two values.")
    return sides[0], sides[1]


def _pairs(
    firsts: Sequence[Row], seconds: Sequence[Row], compared: Sequence[str], key: Sequence[str]
) -> list[tuple[Row, ...]]:
    """Every first with every second of its seed that agrees with it as `compare` says."""
    held = [name for name in key if name not in compared and (_always_equal(name) or _in_common(name, firsts, seconds))]
    return _joined([(row,) for row in firsts], [(row,) for row in seconds], held)


def _joined(
    firsts: Sequence[tuple[Row, ...]], seconds: Sequence[tuple[Row, ...]], held: Sequence[str]
) -> list[tuple[Row, ...]]:
    """Every first with every second of its seed whose rows, one by one, agree with its own in the fields held."""
    partners: dict[int, list[tuple[Row, ...]]] = defaultdict(list)
    for rows in seconds:
        partners[rows[0]["seed"]].append(rows)
    return [
        (*rows, *others)
        for rows in firsts
        for others in partners[rows[0]["seed"]]
        if all(_agree(one[name], other[name], name) for one, other in zip(rows, others, strict=True) for name in held)
    ]


def _always_equal(name: str) -> bool:
    """Whether a field is held equal whatever its values are: what a cell is compared under, and the cell itself."""
    return name.startswith("data.") or name in (READOUT, CELL)


def _in_common(name: str, firsts: Iterable[Row], seconds: Iterable[Row]) -> bool:
    return any(
        _agree(one, other, name) for one in {row[name] for row in firsts} for other in {row[name] for row in seconds}
    )


def _agree(one: Any, other: Any, name: str) -> bool:
    """Whether two values are equal, or one is missing that is not heeded. A size may be one for all layers, or one each."""
    ones, others = _by_layer(one, other) if name in SIZES else ((one,), (other,))
    return len(ones) == len(others) and all(
        mine == theirs or not (is_heeded(name, mine) and is_heeded(name, theirs))
        for mine, theirs in zip(ones, others, strict=True)
    )


def _by_layer(one: Any, other: Any) -> tuple[tuple[Any, ...], ...]:
    """Each as a value a layer; a single value is that of all layers of the other."""
    ones, others = (size if isinstance(size, tuple) else (size,) for size in (one, other))
    return ones * len(others) if len(ones) == 1 else ones, others * len(ones) if len(others) == 1 else others


def _as_in_results(name: str, value: Any) -> Any:
    """Layers that are all alike have one value in results, and other cells one name, however they were given."""
    if name not in LAYER or not isinstance(value, tuple):
        return value
    return value[0] if len(set(value)) == 1 else ", ".join(value) if name == CELL else value


def _without_partner(table: pandas.DataFrame, compared: Sequence[str], key: Sequence[str]) -> InputError:
    held = [name for name in key if name not in compared and _always_equal(name) and varies(table, name)]
    return InputError(
        f"No experiment has a partner that differs in {', '.join(compared)} alone: the two must have one seed"
        f"{' and agree in ' + ', '.join(held) if held else ''}."
    )


def _measure(table: pandas.DataFrame, key: Sequence[str], contrasts: Sequence[Contrast]) -> pandas.DataFrame:
    """A row for each contrast and each combination of arms in it."""
    varied = [
        name for name in config_fields(table) if varies(table, name) and (name in key or name not in (*GRIDS, *HEEDED))
    ]
    found: list[dict[str, Any]] = []
    differences: list[list[float]] = []
    for contrast in contrasts:
        arms: dict[tuple, list[tuple[Row, ...]]] = defaultdict(list)
        for rows in contrast.matched:
            arms[tuple(row[name] for row in rows for name in key)].append(rows)
        for of_arms in sorted(arms.values(), key=lambda of_arms: _place(of_arms[0][0])):
            done = [rows for rows in of_arms if not any(row["diverged"] for row in rows)]
            accuracies = [[row["test_accuracy"] for row in rows] for rows in done]
            signs = SIGNS[: len(of_arms[0])]
            differences.append([sum(map(operator.mul, signs, each)) for each in accuracies])
            mean, low, high, seeds = mean_interval(differences[-1])
            measured = dict(zip(MEASURED, (seeds, len(of_arms) - seeds, mean, low, high), strict=True))
            found.append(_described(contrast, of_arms[0], key, varied) | measured | {"p": p_value(differences[-1])})
    columns = [name for name in key if any(name in row for row in found)]
    columns += ["field", "first", "second"]
    columns += ["between", "between_first", "between_second"] if any(contrast.between for contrast in contrasts) else []
    pairs = nullable(pandas.DataFrame(found, columns=[*columns, *UNTOLD, *MEASURED, "p"]))
    pairs = pairs.assign(p_adjusted=holm(pairs["p"].to_numpy(float)))
    verdicts = list(map(verdict, pairs["difference"], pairs["p_adjusted"]))
    undecided = [row for row, decided in enumerate(verdicts) if decided == "undecided" and len(differences[row]) > 1]
    needed = {row: seeds_needed(differences[row], (1 - CONFIDENCE) / len(undecided)) for row in undecided}
    seeds = pandas.array([needed.get(row) for row in range(len(pairs))], dtype="Int64")
    return pairs.assign(verdict=pandas.Series(verdicts, dtype=object), seeds_needed=seeds)


def _described(contrast: Contrast, rows: tuple[Row, ...], key: Sequence[str], varied: Sequence[str]) -> dict[str, Any]:
    """The fields that vary and in which the rows agree, and what they differ in, in words."""
    compared = {*contrast.fields, *contrast.between}
    compared |= {*LAYER} if compared & {*LAYER} else set()
    own = {**rows[0], CELL: rows[0]["cell"], DELTA: None if rows[0][DELTA] == ALL else rows[0][DELTA]}
    names = [name for name in key if name in varied and name not in compared]
    equal = {name: own[name] for name in names if all(row[name] == rows[0][name] for row in rows)}
    arms = _arms(contrast.fields, rows[:2], varied)
    described = {"field": ", ".join(contrast.fields)} | _told("", contrast.fields, arms)
    if contrast.between:
        others = _arms(contrast.between, (rows[0], rows[2]), varied)
        described |= {"between": ", ".join(contrast.between)} | _told("between_", contrast.between, others)
    return equal | described | dict(zip(UNTOLD, (equal, *arms), strict=True))


def _told(side: str, fields: Sequence[str], arms: Sequence[Row]) -> dict[str, str]:
    first, second = (arm_in_words(arm, arm, bare=fields) for arm in arms)
    return {f"{side}first": first, f"{side}second": second}


def _arms(fields: Sequence[str], rows: Sequence[Row], varied: Iterable[str]) -> list[dict[str, Any]]:
    """Of each of two: the layer if it is compared, the fields compared, and whatever else differs."""
    layer = LAYER if {*fields} & {*LAYER} else ()
    names = dict.fromkeys([*layer, *fields, *(name for name in varied if rows[0][name] != rows[1][name])])
    # All offsets are told of a cell that might see fewer.
    untold = [() if _heeds_delta(row["cell"]) else [name for name in layer if row[name] == ALL] for row in rows]
    return [
        {name: row["cell"] if name == CELL else row[name] for name in names if name not in hidden}
        for row, hidden in zip(rows, untold, strict=True)
    ]
