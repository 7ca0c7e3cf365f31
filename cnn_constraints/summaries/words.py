"""Fields, values and arms in words. A name travels as fields and values until it is told, and it is told here: in tables,
figures, sentences and on the page alike.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pandas

from cnn_constraints.summaries.table import (
    CELL,
    DELTA,
    HEEDED,
    N_TRAIN,
    READOUT,
    RUN,
    SIZES,
    is_missing,
    plain_rows,
    size_rank,
    varies,
)

NAMES = (CELL, RUN, "data.source")
"""Fields whose values stand for themselves."""


def field_in_words(name: str) -> str:
    """`training images`, `weight decays`: the last part of a dotted name."""
    return "training images" if name == N_TRAIN else name.rpartition(".")[2].replace("_", " ")


def in_words(value: Any) -> str:
    """`8, 16` for a tuple, `none` for one without an entry; `all` for a missing delta."""
    if isinstance(value, tuple):
        return ", ".join(map(in_words, value)) or "none"
    return "all" if is_missing(value) else str(value)


def value_in_words(name: str, value: Any) -> str:
    """`1,000` images, `conv, local`; `none` for what is missing, and `all` for a missing delta."""
    if name == N_TRAIN:
        return f"{value:,}"
    return "none" if name != DELTA and is_missing(value) else in_words(value)


def values_in_words(name: str, table: pandas.DataFrame) -> list[str]:
    """Sizes in their order, and other values as they come first."""
    values = [row[name] for row in plain_rows(pandas.DataFrame(table[name].drop_duplicates()))]
    ordered = sorted(values, key=size_rank) if name in (N_TRAIN, *SIZES) else values
    return [value_in_words(name, value) for value in ordered]


def setting_in_words(name: str, value: Any) -> str:
    """`conv`, `delta 2`, `no intervention`, `1,000 images`."""
    told = value_in_words(name, value)
    if name in NAMES:
        return told
    if name == N_TRAIN:
        return f"{told} images"
    return f"no {field_in_words(name)}" if told == "none" else f"{field_in_words(name)} {told}"


def settings_in_words(row: Mapping[str, Any], names: Iterable[str]) -> str:
    """`readout flatten, 1,000 images`; nothing of what means nothing where it is missing."""
    return ", ".join(setting_in_words(name, row[name]) for name in names if is_heeded(name, row[name]))


def arm_in_words(arm: Mapping[str, Any], names: Iterable[str], bare: Collection[str] = ()) -> str:
    """`conv (delta 2)`, `conv then local (delta 2, channels 8, 16)`: a name that may stand in a sentence, or in a row of
    several. bare: fields whose values, where they are names, stand for themselves.
    """
    words = []
    for name in names:
        value = arm[name]
        if name == CELL:
            words.append(value.replace(", ", " then "))
        elif name in bare and all(isinstance(one, str) for one in (value if isinstance(value, tuple) else (value,))):
            words.append(in_words(value))
        elif is_heeded(name, value):
            words.append(setting_in_words(name, value))
    head, *rest = words or [""]
    return f"{head} ({', '.join(rest)})" if rest else head


def conditions_in_words(table: pandas.DataFrame) -> str:
    """The data sets, and the other conditions where they do not vary: `digits, permute_pixels, readout flatten`."""
    words = [" and ".join(sorted(set(table["data.source"])))]
    for name, before in (("data.intervention", ""), (READOUT, "readout ")):
        words += [f"{before}{value}" for value in set(table[name]) - {"none"} if not varies(table, name)]
    return ", ".join(words)


def is_heeded(name: str, value: Any) -> bool:
    """Whether a field means anything to an experiment that has this value of it."""
    return name not in HEEDED or not (is_missing(value) or (isinstance(value, tuple) and not value))
