"""What a sweep came to, as plain values for programs."""

from pathlib import Path
from typing import Any

from cnn_constraints import summaries
from cnn_constraints.sweep import Ran


def as_json(folder: Path, ran: Ran) -> dict[str, Any]:
    """What was done, and the arms of `summaries.summarise`. What is missing is null."""
    return {
        "run": str(folder),
        "experiments": len(ran.results),
        "experiments_run": ran.run,
        "experiments_already_finished": ran.already_finished,
        "experiments_diverged": sum(ran.results["test_accuracy"].isna().tolist()),
        "programs_compiled": ran.programs,
        "seconds": ran.seconds,
        "arms": summaries.plain_rows(summaries.summarise(ran.results)),
    }
