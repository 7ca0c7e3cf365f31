"""What a trial found, as rows for the store."""

import math
from typing import Any

import jax
import numpy as np

from cnn_constraints import config, trials
from cnn_constraints.arrays import Dataset
from cnn_constraints.config import Experiment
from cnn_constraints.training.ensemble import Segment
from cnn_constraints.training.run import NEVER

Row = dict[str, Any]


def rows_of(experiment: Experiment, part: Segment, dataset: Dataset, seconds: float) -> list[Row]:
    """What a segment adds to the store: an evaluation row a lane; if it was the last, the result row and how long the trial
    took, in seconds.
    """
    rows = _evaluation_rows(experiment, part)
    if part.update == experiment.training.updates:
        rows.append(_result_row(experiment, part, trials.cost(experiment, dataset)))
        rows.append({"event": "time", "trial": config.name(experiment), "seconds": seconds})
    return rows


def _evaluation_rows(experiment: Experiment, part: Segment) -> list[Row]:
    return [
        {
            "event": "evaluation",
            "trial": config.name(experiment),
            "lane": lane,
            **hyperparameters,
            "update": part.update,
            "train_loss": float(part.train.loss[lane]),
            "train_accuracy": float(part.train.accuracy[lane]),
            "validation_loss": float(part.validation.loss[lane]),
            "validation_accuracy": float(part.validation.accuracy[lane]),
            "diverged_update": float(part.diverged[lane]) if part.diverged[lane] != NEVER else math.nan,
            **_violations(part, lane),
        }
        for lane, hyperparameters in enumerate(trials.lanes(experiment))
    ]


def _result_row(experiment: Experiment, part: Segment, cost: trials.Cost) -> Row:
    lane, validation = int(part.test.lane), part.test.validation
    return {
        "event": "result",
        "trial": config.name(experiment),
        "lane": lane,
        **trials.lanes(experiment)[lane],
        "update": int(part.test.update),
        "train_loss": float(part.train.loss[lane]),
        "train_accuracy": float(part.train.accuracy[lane]),
        "validation_loss": float(validation.loss),
        "validation_accuracy": float(validation.accuracy) if np.isfinite(validation.loss) else math.nan,
        "test_loss": float(part.test.metrics.loss),
        "test_accuracy": float(part.test.metrics.accuracy),
        "diverged_lanes": int((part.diverged != NEVER).sum()),
        **_violations(part, lane),
        "parameters": cost.parameters,
        "multiply_adds": cost.multiply_adds,
        "device": jax.devices()[0].device_kind,
    }


def _violations(part: Segment, lane: int) -> dict[str, float]:
    return {f"violation_{name}": float(of_lanes[lane]) for name, of_lanes in part.violations.items()}
