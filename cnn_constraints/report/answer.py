"""What a sweep says, in sentences written from its numbers: the question, and the answers."""

from collections.abc import Sequence
from typing import Any

import pandas

from cnn_constraints import summaries
from cnn_constraints.report.marks import axes, interval_in_words
from cnn_constraints.statistics import Interval
from cnn_constraints.summaries import CELL, N_TRAIN
from cnn_constraints.summaries.words import field_in_words, settings_in_words, values_in_words

MOST = 6
"""Sentences of one kind, and arms or values that one names: where there are more, they are counted."""


def answer(
    results: pandas.DataFrame,
    marks: pandas.DataFrame,
    comparisons: pandas.DataFrame,
    ratios: pandas.DataFrame | None = None,
) -> list[str]:
    """The question of a sweep; and what came out: the verdicts of `summaries.untold_comparisons`, undecided being one, and
    the arm with the fewest errors; and, of `marks.ratios`, how many images others need to be as good as the most
    constrained arm with the smallest number. marks: of `marks.describe`.
    """
    table = summaries.in_order(summaries.prepare(results))
    values = {field_in_words(name): values_in_words(name, table) for name in axes(table)}
    told = {name: ("; " if any(", " in one for one in some) else ", ").join(some) for name, some in values.items()}
    varied = [f"{name} ({told[name] if len(some) <= MOST else f'{len(some)} values'})" for name, some in values.items()]
    arms = marks.loc[marks["kind"] == "arm"]
    changed = f"What do{'es' * (len(varied) == 1)} {_listed(varied)} change"
    question = changed if varied else f"How good is {arms['arm'].iloc[0]}"
    needed = [] if ratios is None or ratios.empty else _needed(ratios)
    sentences = [*_verdicts(comparisons), *needed, *_best(arms)]
    conditions = summaries.conditions_in_words(table)
    return [f"{question} on {conditions}?", *(sentence[0].upper() + sentence[1:] for sentence in sentences)]


def headlines(comparisons: pandas.DataFrame) -> list[str]:
    """For each condition under which cells are compared, the most constrained arm against the least: the clearest verdict
    over the numbers of training images.
    """
    return [f"{where}{_headline(part)}" for where, part in _conditions(comparisons)]


def _verdicts(comparisons: pandas.DataFrame) -> list[str]:
    """The headlines, and how the other comparisons of cells, and those of other fields, came out."""
    found, conditions = [], _conditions(comparisons)
    for where, part in conditions:
        seeds = " to ".join(map(str, sorted({*part["seeds"].agg(["min", "max"])})))
        over, others = f"({seeds} seed{'s' * (seeds != '1')})", f"; {_counts(part)}" if len(part) > 1 else ""
        found.append(f"{where}{_headline(part)} {over}{others}.")
    for field, part in comparisons.groupby("field", sort=False):
        if field != CELL or not conditions:
            first, second = (_common(part, side) for side in ("first", "second"))
            against = f", {first} against {second}" if first != "others" else ""
            names = ", ".join(map(field_in_words, str(field).split(", ")))
            found.append(f"{names}{against}: {_counts(part)}.")
    return found


def _conditions(comparisons: pandas.DataFrame) -> list[tuple[str, pandas.DataFrame]]:
    """What cells are compared under, in words, and the comparisons; none where these are many."""
    cells = comparisons.loc[comparisons["field"] == CELL]
    where = [settings_in_words(equal, [name for name in equal if name != N_TRAIN]) for equal in cells["equal"]]
    found = list(cells.groupby([pandas.Series(where, cells.index, dtype=object), "first"], sort=False))
    return [(f"{told}: " if told else "", part) for (told, _), part in found] if len(found) <= MOST else []


def _headline(part: pandas.DataFrame) -> str:
    """`with 1,000 images conv beats dense by 26.7 [17.0, 36.4] points`"""
    # Arms are in order: the first that the most constrained is compared with is the least constrained.
    ends = part.loc[part["second"] == part["second"].iloc[0]]
    decided = ends.loc[(ends["seeds"] > 0) & (ends["verdict"] != "undecided")]
    row = (ends if decided.empty else decided.loc[decided["difference"].abs().sort_values().index]).iloc[-1]
    size = f"with {row[N_TRAIN]:,} images " if N_TRAIN in part else ""
    first, second, seeds = row["first"], row["second"], int(row["seeds"])
    if decided.empty:
        return f"{size}{first} against {second} is undecided" if seeds else f"{size}{first} or {second} diverged"
    sign, pair = (1, (first, second)) if row["verdict"] == "better" else (-1, (second, first))
    low, high = sorted(100 * sign * row[f"difference_{end}"] for end in ("low", "high"))
    by = interval_in_words(Interval(100 * sign * row["difference"], low, high, seeds))
    return f"{size}{' beats '.join(pair)} by {by} points"


def _counts(part: pandas.DataFrame) -> str:
    """`of 14 comparisons 12 better by 35.2 to 54.3 points, 2 undecided`"""
    counts = []
    for verdict in ("better", "worse", "undecided"):
        found = part.loc[part["verdict"] == verdict]
        ends = [f"{100 * end:.1f}" for end in found["difference"].abs().agg(["min", "max"])]
        by = "" if verdict == "undecided" else f" by {' to '.join(dict.fromkeys(ends))} points"
        counts += [f"{len(found)} {verdict}{by}"] if len(found) else []
    return f"of {len(part)} comparison{'s' * (len(part) > 1)} {', '.join(counts)}"


def _needed(ratios: pandas.DataFrame) -> list[str]:
    """Of the most constrained arm's smallest training set."""
    found = []
    for panel, part in ratios.loc[ratios["n"] == ratios["n"].min()].groupby("panel", sort=False):
        known, never = part.loc[part["ratio"].notna()], part.loc[part["ratio"].isna(), "arm"].tolist()
        clauses = [f"{arm} needs {times} times as many" for arm, times in zip(known["arm"], known["told"], strict=True)]
        if never:
            largest = f"with {part['largest'].iloc[0]:,} images"
            clauses.append(f"{_listed(never)} do{'es' * (len(never) == 1)} not get there {largest}")
        images = f"{part['against'].iloc[0]} with {part['n'].iloc[0]:,} images"
        if len(part) <= MOST:
            found.append(f"{panel}: to be as good as {images}, {_listed(clauses)}.".removeprefix(": "))
    return found if len(found) <= MOST else []


def _best(arms: pandas.DataFrame) -> list[str]:
    """Of each condition, and in it of each delta-sweep where more than the cell varies."""
    what, several = "fewest errors" if len(arms) > 1 else "test error", len(set(arms["arm"])) > len(set(arms["cell"]))
    arms = arms.loc[(arms["n"] == arms["n"].max()) & (arms["seeds"] > 0)]
    arms = arms.assign(sweep=arms["cell"].map(summaries.sweep_of) if several else "")
    found = []
    for where, of_condition in arms.groupby("panel_n", sort=False):
        best = []
        for _, of_sweep in of_condition.groupby("sweep", sort=False):
            least = of_sweep.loc[of_sweep["error"].astype(float).idxmin()]
            equal = sum(of_sweep["error"] == least["error"]) - 1
            interval = interval_in_words(Interval(*least[["error", "low", "high", "seeds"]]))
            best.append(f"{least['arm']}{f' and {equal} more' * (equal > 0)} with {interval}%")
        found.append(f"{what}{f' with {where}' if where else ''}: {_listed(best)}.")
    return found if len(found) <= MOST else []


def _common(part: pandas.DataFrame, side: str) -> str:
    """Of several arms what they have in common: a name, or a delta-sweep."""
    sweeps = {summaries.sweep_of(str(next(iter(arm.values())))) for arm in part[f"{side}_arm"]}
    return part[side].iloc[0] if len(set(part[side])) == 1 else "others" if len(sweeps) > 1 else sweeps.pop()


def _listed(words: Sequence[Any]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
