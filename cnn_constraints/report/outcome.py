"""What a sweep came to, as plain values for programs."""

from pathlib import Path
from typing import Any

import pandas

from cnn_constraints import store, summaries
from cnn_constraints.sweep import Ran


def as_json(folder: Path, ran: Ran) -> dict[str, Any]:
    """What was done, the arms of `summaries.summarise`, the comparisons along what the sweep varies, and what is to be said
    of the tuning, with the shares of experiments that are at an edge of it. What is missing is null.
    """
    looks = store.read(folder, "evaluation")
    edges = pandas.DataFrame([summaries.shares_at_edge(ran.results, looks)])
    return {
        "run": str(folder),
        "experiments": len(ran.results),
        "experiments_run": ran.run,
        "experiments_already_finished": ran.already_finished,
        "experiments_diverged": sum(ran.results["test_accuracy"].isna().tolist()),
        "programs_compiled": ran.programs,
        "seconds": ran.seconds,
        "arms": summaries.plain_rows(summaries.summarise(ran.results, looks)),
        "comparisons": summaries.plain_rows(summaries.comparisons(ran.results)),
        "at_edge": summaries.plain_rows(edges)[0],
        "tuning": summaries.tuning_in_words(ran.results, looks),
    }
