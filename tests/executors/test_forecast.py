"""An estimate counts every round that is trained, and lies between those it comes from."""

from pathlib import Path

import pytest

from cnn_constraints import config, sweep
from cnn_constraints.arrays import Dataset
from cnn_constraints.config import Data, Experiment, Model, Training
from cnn_constraints.executors import forecast as module
from cnn_constraints.executors.forecast import FINISHED, OTHERS, TIMED, Planned, forecast
from cnn_constraints.executors.local import LocalExecutor
from cnn_constraints.executors.progress import Silent
from cnn_constraints.report import plan
from cnn_constraints.sweep import axis, product

BASE = Experiment(
    data=Data(source="digits", n_train=20, n_validation=20),
    model=Model(constraint="conv", delta=1, channels=(2,), pool_sizes=(2,), strides=(1,)),
    training=Training(updates=4, evaluate_every=2, batch_size=4, learning_rates=(0.01,)),
)


def plan_of(*axes: sweep.Axis) -> list[sweep.Group]:
    return sweep.plan(sweep.resolve(product(BASE, *axes)))


def test_trials_on_other_images_are_in_other_rounds(draw):
    names = ["none", "permute_pixels", "edge_noise"]
    seeds = draw.integer(1, 3)
    (group,) = plan_of(axis("data.intervention", names), axis("seed", range(seeds)))
    finished = names[draw.integer(0, 2)]
    done = {config.name(trial) for trial in group.trials if trial.data.intervention == finished}
    executor = LocalExecutor(Silent())
    ran = sum(1 for _ in executor.run(sweep.without([group], done)))
    (planned,) = forecast([group], done, {config.name(group.trials[0]): 1.0}, executor)
    assert (planned.left, planned.lanes) == (2 * seeds, 1)
    # The executor is not told how many there were: at least one round for each set of images.
    assert planned.rounds == ran >= 2


def test_what_is_not_timed_lies_between_the_heaviest_and_the_lightest(monkeypatch, draw):
    groups = plan_of(axis("model.delta", [0, 1, 2, 3, 7]))
    timed: list[int | None] = []
    fixed, pace = draw.rng.uniform(0, 1), draw.rng.uniform(0, 1e-6)

    def time(one: Planned, dataset: Dataset) -> Planned:
        timed.append(one.group.trials[0].model.delta)
        return one._replace(seconds=one.left_updates * (fixed + pace * one.load), source=TIMED)

    monkeypatch.setattr(module, "_timed", time)
    forecast(groups, (), {}, LocalExecutor(Silent()))
    assert timed == [7, 0, 3, 2, 1]
    timed.clear()
    monkeypatch.setattr(module, "BUDGET", 0.0)
    known = {config.name(groups[0].trials[0]): 4 * fixed}
    planned = forecast(groups, (), known, LocalExecutor(Silent()))
    assert timed == [7]
    assert [one.source for one in planned] == [FINISHED, OTHERS, OTHERS, OTHERS, TIMED]
    seconds = [one.seconds for one in planned]
    assert seconds == sorted(seconds)


def test_a_lone_pace_is_that_of_multiply_adds(monkeypatch):
    monkeypatch.setattr(module, "BUDGET", 0.0)
    monkeypatch.setattr(module, "_timed", lambda one, _: one._replace(seconds=10.0, source=TIMED))
    light, heavy = forecast(plan_of(axis("model.delta", [0, 2])), (), {}, LocalExecutor(Silent()))
    assert light.seconds == pytest.approx(10 * light.load / heavy.load)


def test_a_plan_tells_groups_apart_that_differ_in_validation_images():
    groups = plan_of(axis("data.n_validation", [20, 30]))
    known = {config.name(trial): 1.0 for group in groups for trial in group.trials}
    told = plan.as_json(forecast(groups, (), known, LocalExecutor(Silent())), Path("here"))
    assert [group["data.n_validation"] for group in told["groups"]] == [20, 30]
