"""What a sweep came to, as plain values for programs."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas

from cnn_constraints import summaries
from cnn_constraints.sweep import Ran


def as_json(folder: Path, ran: Ran) -> dict[str, Any]:
    """What was done, and the arms of `summaries.summarise`. What is no finite number, or missing, is null."""
    arms = summaries.summarise(ran.results).to_dict("records")
    return {
        "run": str(folder),
        "experiments": len(ran.results),
        "experiments_run": ran.run,
        "experiments_already_finished": ran.already_finished,
        "experiments_diverged": sum(ran.results["test_accuracy"].isna().tolist()),
        "programs_compiled": ran.programs,
        "seconds": ran.seconds,
        "arms": [{str(name): _plain(value) for name, value in arm.items()} for arm in arms],
    }


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    missing = value is None or value is pandas.NA or (isinstance(value, float) and not math.isfinite(value))
    return None if missing else value
