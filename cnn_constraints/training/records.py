"""What an experiment found, as typed records: the way from the arrays of the engine to tables and pages.

A value is None where there is none: a loss or a violation that is not finite, the test accuracy of an experiment whose
every candidate diverged, the update at which one diverged that did not.
"""

import math
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from cnn_constraints.training.ensemble import Segment, row
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
    multiply_adds: None for a network of the user's own.
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
    multiply_adds: int | None
    device: str


class Finished(NamedTuple):
    """All that an experiment found. seconds: its share of the time that those trained beside it took together.

    weights: the chosen network, as `store.weights` packs it: on the way to the run folder alone, and where they are kept.
    """

    experiment: str
    result: Result
    evaluations: list[Evaluation]
    seconds: float
    weights: bytes | None = None


def evaluations_of(segment: Segment, candidates: Sequence[Hyperparameters], before: int = 0) -> list[Evaluation]:
    """A record for each candidate, from what happened up to a look. before: how many candidates other grids had."""
    found = []
    for number, hyperparameters in enumerate(candidates):
        train, validation, diverged, violations = row(segment[1:], number)
        one = Evaluation(
            candidate=before + number,
            update=segment.update,
            diverged_update=None if diverged == NEVER else int(diverged),
            violations={name: _number(distance) for name, distance in violations.items()},
            **hyperparameters._asdict(),
            **_measured("train", train),
            **_measured("validation", validation),
        )
        found.append(one)
    return found


def choose(looks: Collection[Evaluation]) -> Evaluation | None:
    """The best moment of all candidates that did not diverge, by validation alone, as `metrics.better` has it: the first
    of those that nothing beats. None where every candidate diverged.
    """
    diverged = {look.candidate for look in looks if look.diverged_update is not None}
    left = [look for look in looks if look.candidate not in diverged]
    return min(left, key=_place, default=None)


def result_of(
    looks: Sequence[Evaluation], test: Metrics, parameters: int, multiply_adds: int | None, device: str
) -> Result:
    """From all looks at the candidates of an experiment, and what the test set says of the chosen one."""
    best, last = choose(looks), {look.candidate: look for look in looks}
    now = last[best.candidate if best else 0]
    found: dict[str, Any] = dict.fromkeys(Result._fields)
    if best:
        found |= {name: value for name, value in best._asdict().items() if name in found} | _measured("test", test)
        found |= {"train_loss": now.train_loss, "train_accuracy": now.train_accuracy}
    found |= {"diverged_candidates": sum(look.diverged_update is not None for look in last.values())}
    found |= {"violations": now.violations, "parameters": parameters, "multiply_adds": multiply_adds, "device": device}
    return Result(**found)


def _place(look: Evaluation) -> tuple[float, float, int, int]:
    assert look.validation_accuracy is not None and look.validation_loss is not None, "only what diverged lacks them"
    return (-look.validation_accuracy, look.validation_loss, look.candidate, look.update)


def _measured(split: str, metrics: Metrics) -> dict[str, Any]:
    return {f"{split}_{name}": _number(value) for name, value in metrics._asdict().items()}


def _number(value: Any) -> Number:
    plain = float(value)
    return plain if math.isfinite(plain) else None
