"""What was found of each claim, on disk: one JSON file a folder, added to after every claim, and the curves beside it.

claims.json           tier, entropy of the seeds, environment, a record a claim, and the records that later ones replaced
curves/<claim>.csv    one row a panel, line, x and seed
lock                  held while claims.json is read and written again
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict, cast

import pandas
import typeguard
from typeguard import CollectionCheckStrategy

from cnn_constraints.claims.claim import CURVE_COLUMNS, Claim, Finding, Verdict, overall
from cnn_constraints.errors import InputError
from cnn_constraints.files import atomic_write, foreign_entry, locked, write_json

FORMAT = 2

CLAIMS_FILE = "claims.json"

LOCK = "lock"

FOLDERS = ("curves", "figures", "runs")

PAGE = "report.html"

Number = float | Literal["inf", "-inf"] | None
"""None: unknown."""

Terms = Mapping[str, Any]
"""What a record says of a claim before it is measured: a part of its entries."""


class Allowed(TypedDict):
    """A criterion; a bound that is missing is None."""

    quantity: str
    published: str
    lowest_allowed: float | None
    highest_allowed: float | None


class Row(Allowed):
    """A criterion and what was found."""

    measured: Number
    low: Number
    high: Number
    seeds: int
    verdict: Verdict


class Record(TypedDict):
    """A claim and what was found. data_sets: what stood for each data set that it needs, in words."""

    statement: str
    source: str
    protocol: str
    frozen: str
    seeds: list[int]
    data_sets: dict[str, str]
    criteria: list[Row]
    verdict: Verdict
    seconds: float


class Content(TypedDict):
    """All of claims.json. superseded: the earlier records of a claim, the oldest first."""

    format: int
    tier: str
    entropy: int
    environment: dict[str, Any]
    claims: dict[str, Record]
    superseded: dict[str, list[Record]]


def terms(claim: Claim, seeds: Sequence[int], data_sets: Mapping[str, str]) -> Terms:
    """The claim as it is now, to be measured with these seeds, and with what stands for each of its data sets."""
    return {
        "statement": claim.statement,
        "source": claim.source,
        "protocol": claim.protocol,
        "frozen": claim.frozen.isoformat(),
        "seeds": list(seeds),
        "data_sets": dict(data_sets),
        "criteria": [
            {
                "quantity": criterion.quantity,
                "published": criterion.published,
                "lowest_allowed": None if criterion.low == -math.inf else criterion.low,
                "highest_allowed": None if criterion.high == math.inf else criterion.high,
            }
            for criterion in claim.criteria
        ],
    }


def describe(settled: Terms, findings: Sequence[Finding], seconds: float) -> Record:
    """The record of a claim: its terms and what was found, in the order of its criteria."""
    rows = [
        {
            **criterion,
            "measured": _plain(finding.measured.estimate),
            "low": _plain(finding.measured.low),
            "high": _plain(finding.measured.high),
            "seeds": finding.measured.seeds,
            "verdict": finding.verdict,
        }
        for criterion, finding in zip(settled["criteria"], findings, strict=True)
    ]
    return cast(Record, {**settled, "criteria": rows, "verdict": overall(findings), "seconds": seconds})


def changes(record: Record, settled: Terms) -> list[str]:
    """The entries in which a record is not one of the claim as it is now, of these seeds and of these images."""
    criteria = [{key: row[key] for key in Allowed.__annotations__} for row in record["criteria"]]
    then = {**record, "criteria": criteria}
    return [key for key in settled if then[key] != settled[key]]


def open_folder(folder: Path, tier: str, entropy: int, environment: Mapping[str, Any]) -> dict[str, Record]:
    """The records that the folder holds already, of the same tier and seeds; a new folder holds none.

    Raises InputError where the folder holds those of others, or cannot be used.
    """
    path = folder / CLAIMS_FILE
    try:
        for part in (folder, *(folder / name for name in FOLDERS)):
            if part.exists() and not part.is_dir():
                raise InputError(f"{part} is a file and must be a folder: move it away, or choose another --output.")
        if path.exists():
            _read(path)
        elif name := foreign_entry(folder, (*FOLDERS, path.name, LOCK, PAGE)):
            raise InputError(
                f"{folder} holds {name} and no claims.json, so it is not of claims: choose an empty or a new --output."
            )
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / LOCK):
            if not path.exists():
                header = {"format": FORMAT, "tier": tier, "entropy": entropy, "environment": environment}
                write_json(path, {**header, "claims": {}, "superseded": {}})
            content = _read(path)
    except OSError as error:
        raise InputError(f"{folder} cannot be used ({error.strerror or error}): choose another --output.") from None
    if (content["tier"], content["entropy"]) != (tier, entropy):
        raise InputError(
            f"{path} is of tier {content['tier']} and seed {content['entropy']}, not of {tier} and {entropy}: choose "
            f"another --output."
        )
    return content["claims"]


def write(folder: Path, name: str, record: Record, curves: pandas.DataFrame) -> None:
    """Add a claim's record and curves to an open folder; a record that it had is kept with those that are superseded.

    Raises InputError where the disk refuses, and where claims.json was damaged meanwhile.
    """
    path, place = folder / CLAIMS_FILE, folder / "curves" / f"{name}.csv"
    try:
        place.parent.mkdir(exist_ok=True)
        with atomic_write(place) as temporary:
            curves.to_csv(temporary, index=False)
        with locked(folder / LOCK):
            content = _read(path)
            if name in content["claims"]:
                content["superseded"].setdefault(name, []).append(content["claims"][name])
            content["claims"][name] = record
            write_json(path, content)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror or error}): make room and repeat.") from None


def read(folder: Path) -> Content:
    """What a folder of claims holds. Raises InputError where there is none, or it is damaged or of another format."""
    path = folder / CLAIMS_FILE
    if not path.is_file():
        raise InputError(f"{folder} holds no claims: `python -m experiments.claims` measures them.")
    return _read(path)


def read_curves(folder: Path, name: str) -> pandas.DataFrame:
    """The curves of a claim that has a record. Raises InputError where they are lost or damaged."""
    path = folder / "curves" / f"{name}.csv"
    try:
        # A line may be named "none"; only a y can be missing.
        curves = pandas.read_csv(path, keep_default_na=False, na_values={"y": [""]})
        return curves.loc[:, CURVE_COLUMNS].astype({"y": float})
    except (OSError, ValueError, KeyError):
        raise InputError(
            f"{path} is lost or damaged, so its figure cannot be drawn: restore it, or measure again into another --output."
        ) from None


def _read(path: Path) -> Content:
    damaged = InputError(
        f"{path} is damaged: restore it, or move it away to judge its claims again from their experiments."
    )
    try:
        content = json.loads(path.read_bytes())
    except ValueError:
        raise damaged from None
    # The format first: another one may have other entries.
    if isinstance(content, dict) and isinstance(content.get("format"), int) and content["format"] != FORMAT:
        raise InputError(
            f"{path} is of format {content['format']}, and this version reads format {FORMAT}: choose another --output."
        )
    try:
        return typeguard.check_type(content, Content, collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS)
    except typeguard.TypeCheckError:
        raise damaged from None


def _plain(value: float) -> Number:
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else "inf" if value > 0 else "-inf"
