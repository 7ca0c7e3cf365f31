"""What was found of each claim, on disk: one JSON file a folder, added to after every claim, and the curves beside it.

claims.json           tier, entropy of the seeds, environment, a record a claim, and the records that later ones replaced
curves/<claim>.csv    one row a panel, line, x and seed
lock                  held while claims.json is read and written again
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas

from cnn_constraints.claims.claim import CURVE_COLUMNS, VERDICTS, Claim, Criterion
from cnn_constraints.environment import tell_other_settings
from cnn_constraints.errors import InputError, input_error
from cnn_constraints.files import atomic_write, foreign_entry, locked, write_json
from cnn_constraints.statistics import Interval

FORMAT = 2

CLAIMS_FILE, LOCK = "claims.json", "lock"

CONTENT = {"format", "tier", "entropy", "environment", "claims", "superseded"}
"""Of claims.json. claims: the record of each; superseded: its earlier ones, the oldest first."""

TEXTS = ("statement", "source", "protocol", "frozen")

TERMS = {*TEXTS, "seeds", "data_sets", "criteria"}
"""What a record says of a claim before it is measured. data_sets: what stands for each that the claim needs, in words."""

CRITERION = {"quantity", "published", "lowest_allowed", "highest_allowed"}
"""What the terms say of each criterion. A missing bound is None."""

ENDS = ("measured", "low", "high")
"""What a record says of each criterion's interval."""

Record = dict[str, Any]


def terms(claim: Claim, seeds: Sequence[int], data_sets: Mapping[str, str]) -> Record:
    """The TERMS of a claim as it is now, to be measured with these seeds and these images in place of its data sets."""
    criteria = [
        {
            "quantity": criterion.quantity,
            "published": criterion.published,
            "lowest_allowed": None if criterion.low == -math.inf else criterion.low,
            "highest_allowed": None if criterion.high == math.inf else criterion.high,
        }
        for criterion in claim.criteria
    ]
    texts = {name: getattr(claim, name) for name in TEXTS}
    return {**texts, "seeds": list(seeds), "data_sets": dict(data_sets), "criteria": criteria}


def judge(settled: Record, values: Mapping[str, Interval], seconds: float) -> Record:
    """A claim's terms, and what was found. One failure fails it; to hold, all its criteria must."""
    rows = [_judged(row, values[row["quantity"]]) for row in settled["criteria"]]
    verdict = min((row["verdict"] for row in rows), key=VERDICTS.index)
    return {**settled, "criteria": rows, "verdict": verdict, "seconds": seconds}


def _judged(row: Mapping[str, Any], found: Interval) -> Record:
    """A criterion's row with what was measured: "inf" and "-inf" are infinite, None is unknown."""
    low, high = (row[bound] for bound in ("lowest_allowed", "highest_allowed"))
    criterion = Criterion(row["quantity"], -math.inf if low is None else low, math.inf if high is None else high)
    numbers = [None if math.isnan(x) else x if math.isfinite(x) else str(x) for x in found[:3]]
    measured = dict(zip(ENDS, numbers, strict=True))
    return {**row, **measured, "seeds": found.seeds, "verdict": criterion.verdict(found)}


def interval_of(row: Mapping[str, Any]) -> Interval:
    """What was measured for a criterion."""
    measured, low, high = (math.nan if row[end] is None else float(row[end]) for end in ENDS)
    return Interval(measured, low, high, row["seeds"])


def _terms_of(record: Record) -> Record:
    criteria = [{key: row[key] for key in CRITERION} for row in record["criteria"]]
    return {**{key: record[key] for key in TERMS}, "criteria": criteria}


def changes(record: Record, settled: Record) -> list[str]:
    """The terms in which a record is not one of the claim as it is now, of these seeds and of these images."""
    then = _terms_of(record)
    return [key for key in settled if then[key] != settled[key]]


def open_folder(folder: Path, tier: str, entropy: int, environment: Mapping[str, Any]) -> dict[str, Record]:
    """The records that a folder holds, none if it is new. Raises InputError where it is of others, or cannot be used."""
    path = folder / CLAIMS_FILE
    with input_error(f"{folder} cannot be used", "choose another --output."):
        if not path.exists() and (other := foreign_entry(folder, (CLAIMS_FILE, LOCK))):
            raise InputError(f"{folder} holds {other} and no claims.json: choose an empty or a new --output.")
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / LOCK):
            if not path.exists():
                header = {"format": FORMAT, "tier": tier, "entropy": entropy, "environment": environment}
                write_json(path, {**header, "claims": {}, "superseded": {}})
            content = read(folder)
    if (content["tier"], content["entropy"]) != (tier, entropy):
        was = f"of tier {content['tier']} and seed {content['entropy']}, not of {tier} and {entropy}"
        raise InputError(f"{path} is {was}: choose another --output.")
    tell_other_settings(folder, content["environment"], environment)
    return content["claims"]


def write(folder: Path, name: str, record: Record, curves: pandas.DataFrame) -> None:
    """Add a claim's curves and then its record to an open folder; a record that it had is kept with those that are
    superseded. Raises InputError where the disk refuses, and where claims.json was damaged meanwhile.
    """
    path, place = folder / CLAIMS_FILE, folder / "curves" / f"{name}.csv"
    with input_error(f"{path} cannot be written", "make room and repeat."):
        place.parent.mkdir(exist_ok=True)
        with atomic_write(place) as temporary:
            curves.to_csv(temporary, index=False)
        with locked(folder / LOCK):
            content = read(folder)
            if name in content["claims"]:
                content["superseded"].setdefault(name, []).append(content["claims"][name])
            content["claims"][name] = record
            write_json(path, content)


def read(folder: Path) -> dict[str, Any]:
    """The CONTENT of a folder of claims. Raises InputError where there is none, or it is not what this version writes."""
    path = folder / CLAIMS_FILE
    if not path.is_file():
        raise InputError(f"{folder} holds no claims: `python -m experiments.claims` measures them.")
    try:
        content = json.loads(path.read_bytes())
        whole = content.keys() == CONTENT and content["format"] == FORMAT and isinstance(content["environment"], dict)
        whole = whole and all(isinstance(earlier, list) for earlier in content["superseded"].values())
        whole = whole and all(map(_is_judged, content["claims"].values()))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        whole = False
    if not whole:
        raise InputError(f"{path} is not what this version writes: restore it, or choose another folder.")
    return content


def _is_judged(record: Record) -> bool:
    """Whether this is what `judge` gives: each verdict follows from the numbers beside it."""
    rows = record["criteria"]
    texts = [*(record[name] for name in TEXTS), *(row[name] for row in rows for name in ("quantity", "published"))]
    values = {row["quantity"]: interval_of(row) for row in rows}
    return (
        all(isinstance(text, str) for text in texts)
        and all(isinstance(seed, int) for seed in (*record["seeds"], *(row["seeds"] for row in rows)))
        and isinstance(record["data_sets"], dict)
        and math.isfinite(record["seconds"])
        and record == judge(_terms_of(record), values, record["seconds"])
    )


def read_curves(folder: Path, name: str, record: Record) -> pandas.DataFrame:
    """The curves of a claim's record. Raises InputError where they are lost or damaged."""
    path = folder / "curves" / f"{name}.csv"
    try:
        # A line may be named "none"; only a y can be missing.
        curves = pandas.read_csv(path, keep_default_na=False, na_values={"y": [""]})
        curves = curves.loc[:, CURVE_COLUMNS].astype({"y": float})
        # Samples that do not suffice are infinite, and no point of a figure.
        curves["y"] = curves["y"].where(curves["y"].abs() < math.inf)
        whole = len(curves) > 0 and (curves.groupby(["panel", "line", "x"]).size() == len(record["seeds"])).all()
    except (OSError, ValueError, KeyError):
        whole = False
    if not whole:
        remedy = "restore it, or measure again into another folder."
        raise InputError(f"{path} is lost or damaged, so its figure cannot be drawn: {remedy}")
    return curves
