"""The time left counts updates and programs to come, and nothing that comes only once."""

import pytest

from cnn_constraints.data.datasets import Datasets
from cnn_constraints.executors import progress
from cnn_constraints.executors.progress import ProgressBar
from cnn_constraints.experiment import Experiment, replace
from cnn_constraints.plan import plan
from cnn_constraints.resolve import resolve


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_time_left_is_updates_at_their_pace_and_programs_at_theirs(clock, capfd):
    experiments = resolve(
        replace(Experiment(seed=seed), {"model.constraint": cell, "training.updates": 80})
        for cell in ("conv", "local", "dense")
        for seed in (0, 1)
    )
    groups = plan(experiments, Datasets())
    assert len(groups) == 3
    with ProgressBar(groups) as bar:
        bar.compiling(groups[0])
        assert "left" not in capfd.readouterr().err
        clock[0] += 7
        bar.compiled(7.0)
        bar.running(experiments[:1])
        clock[0] += 20
        bar.advanced(40)
        bar.running(experiments[:1])
        # 440 updates at half a second, and two programs at 7 seconds.
        assert "about 0:03:54 left" in capfd.readouterr().err


def test_an_arm_is_told_with_the_sizes_that_mean_something_to_it():
    arms = [{"model.constraint": cell, "model.tile": 3} for cell in ("conv", "tiled", "low_rank_local")]
    told = [progress.describe(one) for one in resolve(replace(Experiment(), arm) for arm in arms)]
    assert told == ["conv delta 2, flatten", "tiled delta 2 tile 3, flatten", "low_rank_local delta 2 rank 2, flatten"]
