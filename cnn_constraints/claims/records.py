"""What was found of each claim, on disk: one JSON file a folder, added to after every claim, and the curves beside it.

claims.json           tier, entropy of the seeds, environment, and a record a claim
curves/<claim>.csv    one row a panel, line, x and seed
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cnn_constraints import store
from cnn_constraints.claims.claim import Claim, Finding, Measurement, overall
from cnn_constraints.errors import InputError

FORMAT = 1

Record = dict[str, Any]


def describe(claim: Claim, findings: Sequence[Finding], seeds: Sequence[int], seconds: float) -> Record:
    """A claim and what was found, as plain values: a bound that is missing and an estimate that is unknown are null, an
    estimate that is infinite is the text inf or -inf.
    """
    return {
        "statement": claim.statement,
        "source": claim.source,
        "protocol": claim.protocol,
        "frozen": claim.frozen.isoformat(),
        "verdict": overall(findings),
        "seeds": list(seeds),
        "seconds": seconds,
        "criteria": [
            {
                "quantity": finding.criterion.quantity,
                "published": finding.criterion.published,
                "lowest_allowed": None if finding.criterion.low == -math.inf else finding.criterion.low,
                "highest_allowed": None if finding.criterion.high == math.inf else finding.criterion.high,
                "measured": _plain(finding.measured.estimate),
                "low": _plain(finding.measured.low),
                "high": _plain(finding.measured.high),
                "seeds": finding.measured.seeds,
                "verdict": finding.verdict,
            }
            for finding in findings
        ],
    }


def open_folder(folder: Path, tier: str, entropy: int, environment: Mapping[str, Any]) -> dict[str, Record]:
    """The records that the folder holds already, of the same tier and seeds; a new folder holds none.

    Raises InputError where the folder holds those of others, or cannot be used.
    """
    path = folder / "claims.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        content = json.loads(path.read_bytes()) if path.exists() else None
        if content is None:
            store.write_json(
                path, {"format": FORMAT, "tier": tier, "entropy": entropy, "environment": environment, "claims": {}}
            )
            return {}
        held = content["format"], content["tier"], content["entropy"]
        records = dict(content["claims"])
    except OSError as error:
        raise InputError(f"{folder} cannot be used ({error.strerror or error}): choose another --output.") from None
    except (ValueError, TypeError, KeyError):
        raise InputError(f"{path} is damaged: restore it, or choose another --output.") from None
    if held != (FORMAT, tier, entropy):
        raise InputError(
            f"{path} is of format {held[0]}, tier {held[1]} and seed {held[2]}, not of {FORMAT}, {tier} and {entropy}: "
            f"choose another --output."
        )
    return records


def write(folder: Path, name: str, record: Record, measurement: Measurement) -> None:
    """Add a claim's record and curves to an open folder. Raises InputError where the disk refuses."""
    path, curves = folder / "claims.json", folder / "curves" / f"{name}.csv"
    try:
        curves.parent.mkdir(exist_ok=True)
        measurement.curves.to_csv(curves, index=False)
        content = json.loads(path.read_bytes())
        content["claims"][name] = record
        store.write_json(path, content)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror or error}): make room and repeat.") from None


def _plain(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else str(value)
