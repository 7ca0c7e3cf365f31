"""`--dry-run` of a sweep: its plan, and nothing trained or written."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from cnn_constraints import store, sweep
from cnn_constraints.config import Experiment
from cnn_constraints.errors import InputError
from cnn_constraints.executors.checks import check_before_running
from cnn_constraints.executors.forecast import forecast
from cnn_constraints.executors.local import LocalExecutor
from cnn_constraints.executors.progress import Silent
from cnn_constraints.report import plan


def show_plan(trials: list[Experiment], folder: Path, images: Mapping[str, str], as_json: bool) -> None:
    """Print it. Refuses all that the sweep itself would refuse before it trains."""
    store.check_images(folder, images)
    groups, finished = sweep.plan(trials), store.finished(folder)
    executor = LocalExecutor(Silent())
    check_before_running(executor.dataset, sweep.without(groups, finished))
    print("timing a few updates of each program", file=sys.stderr)
    planned = forecast(groups, finished, seconds_of_trials(folder), executor)
    if as_json:
        print(json.dumps(plan.as_json(planned, folder), allow_nan=False))
    else:
        plan.print_plan(planned, folder)


def seconds_of_trials(folder: Path) -> dict[str, float]:
    """Of those that are finished in a run folder, by name. None of a damaged one, which a sweep mends before it goes on."""
    try:
        times = store.read(folder, "time")
    except InputError:
        return {}
    return dict(zip(times["trial"], times["seconds"], strict=True)) if len(times) else {}
