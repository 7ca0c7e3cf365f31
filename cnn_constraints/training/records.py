"""What an experiment found, as typed records: the way from the arrays of the engine to tables and pages.

A value is None where there is none: a loss or a violation that is not finite, the test accuracy of an experiment whose
every candidate diverged, the update at which one diverged that did not.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from cnn_constraints.training.ensemble import Segment
from cnn_constraints.training.loop import NEVER, Hyperparameters
from cnn_constraints.training.metrics import Metrics

Number = float | None


class Evaluation(NamedTuple):
    """A candidate at one look at the validation data. Losses in nats, accuracies as fractions.

    train_loss, train_accuracy: means over the batches since the look before. diverged_update: after how many updates its
    loss was not finite any more. violations: how far its layers are from each constraint that is asked for, 0 to 1.
    """

    candidate: int
    learning_rate: float
    weight_decay: float
    penalty_strength: float
    update: int
    train_loss: Number
    train_accuracy: Number
    validation_loss: Number
    validation_accuracy: Number
    diverged_update: int | None
    violations: dict[str, Number]


class Result(NamedTuple):
    """The chosen candidate of an experiment at its best moment, by validation alone, and the one reading of the test set.

    All of it is None where every candidate diverged. train_loss, train_accuracy, violations: at the last look.
    """

    candidate: int | None
    learning_rate: Number
    weight_decay: Number
    penalty_strength: Number
    update: int | None
    train_loss: Number
    train_accuracy: Number
    validation_loss: Number
    validation_accuracy: Number
    test_loss: Number
    test_accuracy: Number
    diverged_candidates: int
    violations: dict[str, Number]
    parameters: int
    multiply_adds: int
    device: str


class Finished(NamedTuple):
    """All that an experiment found. seconds: its share of the time that those trained beside it took together."""

    experiment: str
    result: Result
    evaluations: list[Evaluation]
    seconds: float


def evaluations_of(segment: Segment, candidates: Sequence[Hyperparameters]) -> list[Evaluation]:
    """A record for each candidate, from what happened up to a look."""
    return [
        Evaluation(
            candidate=number,
            update=segment.update,
            diverged_update=None if segment.diverged[number] == NEVER else int(segment.diverged[number]),
            violations=_violations(segment, number),
            **hyperparameters._asdict(),
            **_measured("train", segment.train, number),
            **_measured("validation", segment.validation, number),
        )
        for number, hyperparameters in enumerate(candidates)
    ]


def result_of(
    segment: Segment, candidates: Sequence[Hyperparameters], parameters: int, multiply_adds: int, device: str
) -> Result:
    """The record of the last segment of an experiment."""
    chosen, test = int(segment.test.candidate), segment.test
    found: dict[str, Any] = {
        "candidate": chosen,
        **candidates[chosen]._asdict(),
        "update": int(test.update),
        **_measured("train", segment.train, chosen),
        **_measured("validation", test.validation),
        **_measured("test", test.metrics),
    }
    if not np.isfinite(test.validation.loss):
        found = dict.fromkeys(found)
    return Result(
        diverged_candidates=int((segment.diverged != NEVER).sum()),
        violations=_violations(segment, chosen),
        parameters=parameters,
        multiply_adds=multiply_adds,
        device=device,
        **found,
    )


def _measured(split: str, metrics: Metrics, candidate: int | None = None) -> dict[str, Any]:
    values = {"loss": metrics.loss, "accuracy": metrics.accuracy}
    own = {name: value if candidate is None else value[candidate] for name, value in values.items()}
    return {f"{split}_{name}": _number(value) for name, value in own.items()}


def _violations(segment: Segment, candidate: int) -> dict[str, Number]:
    return {name: _number(of_candidates[candidate]) for name, of_candidates in segment.violations.items()}


def _number(value: Any) -> Number:
    plain = float(value)
    return plain if math.isfinite(plain) else None
