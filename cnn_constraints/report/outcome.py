"""What a sweep came to, as plain values for programs."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas

from cnn_constraints import analysis


class Done(NamedTuple):
    """What a command has done for a sweep. seconds: from its start to the last trial."""

    trials_run: int
    trials_already_finished: int
    programs_compiled: int
    seconds: float


def as_json(folder: Path, results: pandas.DataFrame, done: Done) -> dict[str, Any]:
    """What was done, and the arms of `analysis.summarise`. What is no finite number, or missing, is null."""
    arms = analysis.summarise(results).to_dict("records")
    return {
        "run": str(folder),
        "trials": len(results),
        **done._asdict(),
        "trials_diverged": sum(analysis.prepare(results)["diverged"]),
        "arms": [{str(name): _plain(value) for name, value in arm.items()} for arm in arms],
    }


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    missing = value is None or value is pandas.NA or (isinstance(value, float) and not math.isfinite(value))
    return None if missing else value
