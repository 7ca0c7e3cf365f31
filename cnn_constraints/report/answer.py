"""What a sweep says, in sentences written from its numbers: the question, and the answers."""

import itertools
from collections.abc import Sequence
from typing import Any

import pandas

from cnn_constraints import summaries
from cnn_constraints.report.page import rows
from cnn_constraints.report.page.rows import field_in_words, interval_in_words, settings_in_words
from cnn_constraints.statistics import Interval, mean_interval
from cnn_constraints.summaries import CELL, CONDITIONS, N_TRAIN, plain_rows

MOST = 6
"""Sentences of one kind, and arms or values that one names: where there are more, they are counted."""


def answer(
    results: pandas.DataFrame, comparisons: pandas.DataFrame, ratios: pandas.DataFrame | None = None
) -> list[str]:
    """The question of a sweep; and what came out: the verdicts of `summaries.comparisons`, undecided being one, with the
    largest number of images, and the arm with the fewest errors; and, of `page.rows.ratios`, how many images others need to
    be as good as the most constrained arm with the smallest number.
    """
    table = summaries.in_order(summaries.prepare(results))
    fields = rows.axes(table)
    values = {field_in_words(name): rows.values_in_words(name, table) for name in fields}
    told = {name: ("; " if any(", " in one for one in some) else ", ").join(some) for name, some in values.items()}
    varied = [f"{name} ({told[name] if len(some) <= MOST else f'{len(some)} values'})" for name, some in values.items()]
    does = (
        f"What do{'es' * (len(varied) == 1)} {_listed(varied)} change"
        if varied
        else f"How good is {_arm(table, fields)}"
    )
    question = f"{does} on {summaries.conditions_in_words(table)}?"
    needed = [] if ratios is None or ratios.empty else _needed(ratios)
    sentences = [*_verdicts(comparisons), *needed, *_best(table, fields)]
    return [question, *(sentence[0].upper() + sentence[1:] for sentence in sentences)]


def _verdicts(comparisons: pandas.DataFrame) -> list[str]:
    """A sentence for each condition under which cells are compared; for other fields, and where these are many, a count."""
    equal = [name for name in comparisons if "." in str(name) and name != N_TRAIN]
    found = []
    for field, of_field in comparisons.groupby("field", sort=False):
        conditions = list(summaries.groups(of_field, [*equal, "first"]))
        if field == CELL and len(conditions) <= MOST:
            for shared, part in conditions:
                known = plain_rows(part[equal].iloc[:1])[0] if equal else {}
                where = settings_in_words(known, [name for name in equal if known[name] is not None])
                found.append(f"{where}: {_verdict(shared['first'], part)}".removeprefix(": "))
        else:
            first, second = (_common(list(dict.fromkeys(of_field[side]))) for side in ("first", "second"))
            against = f", {first} against {second}" if first != "others" else ""
            names = ", ".join(map(field_in_words, str(field).split(", ")))
            found.append(f"{names}{against}: {_counts(of_field)}.")
    return found


def _verdict(first: str, part: pandas.DataFrame) -> str:
    """`with 1,000 images conv beats dense by 26.7 [17.0, 36.4] points (3 seeds); with fewer images, ...`"""
    sizes = part[N_TRAIN] if N_TRAIN in part else pandas.Series(0, part.index)
    largest, others = part.loc[sizes == sizes.max()], part.loc[sizes < sizes.max()]
    found: dict[str, list[str]] = {kind: [] for kind in ("better", "worse", "undecided", "diverged")}
    for row in largest.to_dict("records"):
        kind = row["verdict"] if row["seeds"] else "diverged"
        sign = -1 if kind == "worse" else 1
        low, high = sorted(100 * sign * row[f"difference_{end}"] for end in ("low", "high"))
        told = interval_in_words(Interval(100 * sign * row["difference"], low, high, row["seeds"]))
        by = f" by {told}" if kind in ("better", "worse") else ""
        found[kind].append(f"{_spoken(row['second'])}{f' beats {_spoken(first)}' if kind == 'worse' else ''}{by}")
    forms = {"better": f"{_spoken(first)} beats {{}} points", "worse": "{} points"}
    forms |= {"undecided": f"{_spoken(first)} against {{}} is undecided", "diverged": "{} diverged"}
    clauses = [forms[kind].format(_listed(arms)) for kind, arms in found.items() if 0 < len(arms) <= MOST]
    clauses += [f"{len(arms)} others: {kind}" for kind, arms in found.items() if len(arms) > MOST]
    seeds = " to ".join(map(str, sorted({*largest["seeds"].agg(["min", "max"])})))
    with_size = f"with {sizes.max():,} images " if N_TRAIN in part else ""
    fewer = f"; with fewer images, {_counts(others)}" if len(others) else ""
    return f"{with_size}{'; '.join(clauses)} ({seeds} seed{'s' * (seeds != '1')}){fewer}."


def _counts(part: pandas.DataFrame) -> str:
    """`12 better by 35.2 to 54.3 points, 2 undecided, of 14 comparisons`"""
    counts = []
    for verdict in ("better", "worse", "undecided"):
        found = part.loc[part["verdict"] == verdict]
        ends = [f"{100 * end:.1f}" for end in found["difference"].abs().agg(["min", "max"])]
        by = "" if verdict == "undecided" else f" by {' to '.join(dict.fromkeys(ends))} points"
        counts += [f"{len(found)} {verdict}{by}"] if len(found) else []
    return f"{', '.join(counts)}, of {len(part)} comparison{'s' * (len(part) > 1)}"


def _needed(ratios: pandas.DataFrame) -> list[str]:
    """Of the most constrained arm's smallest training set."""
    found = []
    for panel, part in ratios.loc[ratios["n"] == ratios["n"].min()].groupby("panel", sort=False):
        arms = {known: [_spoken(arm) for arm in some["arm"]] for known, some in part.groupby(part["ratio"].notna())}
        told = part.loc[part["ratio"].notna(), "told"].tolist()
        clauses = [f"{arm} needs {times} times as many" for arm, times in zip(arms.get(True, []), told, strict=True)]
        if False in arms:
            largest = part.loc[part["ratio"].isna(), "told"].iloc[0].removeprefix("not ")
            clauses.append(f"{_listed(arms[False])} do{'es' * (len(arms[False]) == 1)} not get there {largest}")
        images = f"{_spoken(part['against'].iloc[0])} with {part['n'].iloc[0]:,} images"
        if len(part) <= MOST:
            found.append(f"{panel}: to be as good as {images}, {_listed(clauses)}.".removeprefix(": "))
    return found if len(found) <= MOST else []


def _best(table: pandas.DataFrame, fields: list[str]) -> list[str]:
    """Of each condition, and in it of each delta-sweep where more than the cell varies."""
    conditions, own = [name for name in fields if name in CONDITIONS], rows.arm_fields(fields)
    table = table.loc[(table[N_TRAIN] == table[N_TRAIN].max()) & ~table["diverged"]]
    sweeps = (
        table[CELL].map(summaries.sweep_of)
        if any(name in fields for name in own if name != CELL)
        else table[CELL] == ""
    )
    found = []
    for _, of_condition in summaries.groups(table, conditions):
        best = []
        for _, of_sweep in of_condition.groupby(sweeps, sort=False):
            arms = [
                (mean_interval(100 * (1 - arm["test_accuracy"])), arm) for _, arm in summaries.groups(of_sweep, own)
            ]
            least, arm = min(arms, key=lambda one: one[0].estimate)
            equal = sum(one[0].estimate == least.estimate for one in arms) - 1
            best.append(f"{_arm(arm, fields)}{f' and {equal} more' * (equal > 0)} with {interval_in_words(least)}%")
        where = settings_in_words(
            plain_rows(of_condition)[0], [*conditions, *(name for name in fields if name == N_TRAIN)]
        )
        found.append(
            f"{'fewest errors' if fields else 'test error'}{f' with {where}' if where else ''}: {_listed(best)}."
        )
    return found if len(found) <= MOST else []


def _arm(table: pandas.DataFrame, fields: list[str]) -> str:
    return _spoken(settings_in_words(plain_rows(table)[0], rows.arm_fields(fields)))


def _spoken(arm: str) -> str:
    """`conv (delta 2)`, `conv then local (delta 2)`: a name with commas, within a sentence with commas."""
    parts = arm.split(", ")
    cell = list(itertools.takewhile(lambda part: " " not in part, parts))
    settings = ", ".join(parts[len(cell) :])
    return " then ".join(cell) + f" ({settings})" * bool(settings) if cell else arm


def _common(names: Sequence[str]) -> str:
    """Of several arms their delta-sweep, if they have one in common."""
    sweeps = {summaries.sweep_of(name.partition(",")[0]) for name in names}
    return _spoken(names[0]) if len(names) == 1 else "others" if len(sweeps) > 1 else sweeps.pop()


def _listed(words: Sequence[Any]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
