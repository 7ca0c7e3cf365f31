"""What the engine measured becomes records in which nothing is a stand-in: what is not there is None."""

import numpy as np
import pytest

from cnn_constraints.training import evaluation
from cnn_constraints.training.ensemble import Segment
from cnn_constraints.training.loop import NEVER, Hyperparameters
from cnn_constraints.training.metrics import Metrics
from cnn_constraints.training.records import evaluations_of, result_of

NOT_THERE = (np.nan, np.inf, -np.inf)


def draw_candidates(draw) -> list[Hyperparameters]:
    return [Hyperparameters(*draw.rng.random(3).tolist()) for _ in range(draw.integer(1, 4))]


def draw_numbers(draw, *shape: int) -> np.ndarray:
    """Of which some are not there."""
    numbers = np.asarray(draw.rng.random(shape), np.float32)
    return np.where(draw.rng.random(shape) < 0.3, draw.rng.choice(NOT_THERE, shape), numbers).astype(np.float32)


def draw_metrics(draw, *shape: int) -> Metrics:
    return Metrics(draw_numbers(draw, *shape), draw_numbers(draw, *shape))


def draw_segment(draw, count: int, validation: Metrics) -> Segment:
    chosen, update = np.int32(draw.integer(0, count - 1)), np.int32(draw.integer(1, 99))
    diverged = np.where(draw.rng.random(count) < 0.5, NEVER, draw.rng.integers(0, 99, count)).astype(np.int32)
    violations = {name: draw_numbers(draw, count) for name in ("conv", "local")[: draw.integer(0, 2)]}
    test = evaluation.Test(chosen, update, validation, draw_metrics(draw))
    return Segment(99, draw_metrics(draw, count), draw_metrics(draw, count), test, diverged, violations)


def plain(number) -> float | None:
    return float(number) if np.isfinite(number) else None


def test_an_evaluation_says_of_each_candidate_what_was_measured(draw):
    candidates = draw_candidates(draw)
    segment = draw_segment(draw, len(candidates), draw_metrics(draw))
    found = evaluations_of(segment, candidates)
    assert [one.candidate for one in found] == list(range(len(candidates)))
    for number, (one, own) in enumerate(zip(found, candidates, strict=True)):
        assert Hyperparameters(one.learning_rate, one.weight_decay, one.penalty_strength) == own
        assert one.update == 99
        assert one.train_loss == plain(segment.train.loss[number])
        assert one.train_accuracy == plain(segment.train.accuracy[number])
        assert one.validation_loss == plain(segment.validation.loss[number])
        assert one.validation_accuracy == plain(segment.validation.accuracy[number])
        assert (one.diverged_update is None) == (segment.diverged[number] == NEVER)
        assert one.diverged_update in (None, segment.diverged[number])
        assert one.violations == {name: plain(each[number]) for name, each in segment.violations.items()}


@pytest.mark.parametrize("loss", [0.5, *NOT_THERE])
def test_a_result_is_that_of_the_chosen_candidate_or_nothing_where_none_was_chosen(draw, loss):
    candidates = draw_candidates(draw)
    # As the engine has it where every candidate diverged.
    validation = Metrics(np.float32(loss), np.float32(0.25 if np.isfinite(loss) else -1))
    segment = draw_segment(draw, len(candidates), validation)
    found = result_of(segment, candidates, 10, 20, "cpu")
    chosen = int(segment.test.candidate)
    expected = {
        "candidate": chosen,
        **candidates[chosen]._asdict(),
        "update": int(segment.test.update),
        "train_loss": plain(segment.train.loss[chosen]),
        "train_accuracy": plain(segment.train.accuracy[chosen]),
        "validation_loss": 0.5,
        "validation_accuracy": 0.25,
        "test_loss": plain(segment.test.metrics.loss),
        "test_accuracy": plain(segment.test.metrics.accuracy),
    }
    measured = {name: getattr(found, name) for name in expected}
    assert measured == (expected if np.isfinite(loss) else dict.fromkeys(expected))
    assert found.diverged_candidates == (segment.diverged != NEVER).sum()
    assert found.violations == {name: plain(each[chosen]) for name, each in segment.violations.items()}
    assert (found.parameters, found.multiply_adds, found.device) == (10, 20, "cpu")
