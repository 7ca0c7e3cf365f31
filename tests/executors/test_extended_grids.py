"""A grid that goes on beyond its end is the grids that anyone would try one after the other; see `training.tuning`."""

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest

from cnn_constraints import store
from cnn_constraints.data.datasets import Datasets
from cnn_constraints.executors.local import LocalExecutor
from cnn_constraints.executors.progress import ProgressBar
from cnn_constraints.experiment import Data, Experiment, Model, Training, replace
from cnn_constraints.plan import Group, plan
from cnn_constraints.resolve import Resolved, resolve
from cnn_constraints.training import ensemble, tuning
from cnn_constraints.training.loop import Hyperparameters
from cnn_constraints.training.records import Evaluation, Finished, choose

LOAD, RATES = Datasets(), (1e-5, 2e-5)
BASE = Experiment(
    Data(n_train=20, n_validation=40),
    Model(delta=1, channels=(2,), pool_sizes=(2,), strides=(1,), normalisation="batch"),
    Training(updates=4, evaluate_every=2, batch_size=8, learning_rates=RATES, weight_decays=(0.0, 0.1), extend_grid=2),
)
"""Its rates are so low that the highest one is best, or any other by chance."""


def experiments(seed: int, *most: int) -> list[Resolved]:
    return resolve(replace(BASE, {"seed": seed + i, "training.extend_grid": n}) for i, n in enumerate(most))


@pytest.fixture(autouse=True, scope="module")
def one_program() -> Iterator[None]:
    """All have the same, which is compiled once."""
    compile_program, compiled = ensemble.compile_program, []

    def once(*given: object) -> ensemble.Program:
        compiled.extend([] if compiled else [compile_program(*given)])
        return compiled[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ensemble, "compile_program", once)
        yield


def group_of(members: list[Resolved]) -> Group:
    """As if three were trained side by side."""
    [group] = plan(members, LOAD)
    return group._replace(size=3)


def run(group: Group, **options) -> list[Finished]:
    executor = LocalExecutor(ProgressBar([group]), LOAD, **options)
    return [one._replace(seconds=0.0) for found in executor.run([group]) for one in found]


@pytest.fixture
def fresh(seed: int) -> int:
    return seed % 10**6


def test_an_extended_grid_is_the_union_of_grids_run_by_hand_and_the_best_of_them_is_tested(fresh):
    [experiment] = experiments(fresh, 2)
    [found] = run(group_of([experiment]), keep_weights=True)
    whole = tuning.tried(found.evaluations, 4)
    assert whole[0] == experiment.candidates
    by_hand = []
    for number, grid in enumerate(whole):
        rates, decays = (tuple(dict.fromkeys(values)) for values in list(zip(*grid, strict=True))[:2])
        changes = {"learning_rates": rates, "weight_decays": decays, "extend_grid": 0}
        alone = resolve([replace(experiment, {f"training.{name}": value for name, value in changes.items()})])
        assert alone[0].group == experiment.group and alone[0].candidates == grid
        [one] = run(group_of(alone), keep_weights=True)
        looks = [look._replace(candidate=look.candidate + 4 * number) for look in one.evaluations]
        by_hand.append((one, looks))
    assert found.evaluations == [look for _, looks in by_hand for look in looks]
    best = choose(found.evaluations)
    assert best and best.candidate == found.result.candidate
    of_best = by_hand[best.candidate // 4][0]
    assert found.result._replace(candidate=best.candidate % 4, diverged_candidates=0) == of_best.result
    # But for the experiment that the files name.
    arrays = [one.weights[8 + int.from_bytes(one.weights[:8], "little") :] for one in (found, of_best) if one.weights]
    assert arrays[0] == arrays[1]


def test_how_far_a_grid_goes_depends_on_the_experiment_alone_and_not_on_who_is_trained_beside(fresh):
    several = experiments(fresh, 2, 0, 1)
    together = run(group_of(several))
    assert together == [found for one in several for found in run(group_of([one]))]
    for one, found in zip(several, together, strict=True):
        number = len(tuning.tried(found.evaluations, 4)) - 1
        assert number <= one.training.extend_grid
        assert number == one.training.extend_grid or tuning.beyond(one.candidates, found.evaluations) is None


def test_who_is_stopped_after_every_look_finds_the_same_to_the_bit(tmp_path, fresh):
    group = group_of(several := experiments(fresh, 2, 0, 1))
    stops = iter(lambda: False, None)
    with store.open_run(tmp_path, several, {}):
        checkpoints = store.Checkpoints(tmp_path)
        executor = LocalExecutor(
            ProgressBar([group]), LOAD, checkpoints, stop=lambda: next(stops), planned=[group], keep_weights=True
        )
        whole = [one for found in executor.run([group]) for one in found]
        stops, stopped, again = itertools.cycle([False, True]), 0, []
        while not again:
            try:
                again = [one for found in executor.run([group]) for one in found]
            except KeyboardInterrupt:
                stopped += 1
    looks = max(len(one.evaluations) for one in whole) // 4
    assert stopped == looks - 1
    assert [one._replace(seconds=0.0) for one in again] == [one._replace(seconds=0.0) for one in whole]


def test_the_test_set_is_read_once_when_everything_has_been_tried(fresh, monkeypatch):
    order, train, test = [], ensemble.train, ensemble.test
    monkeypatch.setattr(ensemble, "train", lambda *given: order.append("train") or train(*given))
    monkeypatch.setattr(ensemble, "test", lambda *given: order.append("test") or test(*given))
    [found] = run(group_of(experiments(fresh, 2)))
    assert order == ["train"] * len(tuning.tried(found.evaluations, 4)) + ["test"]


def looks_at(grid: tuning.Grid, before: int, optimum: Hyperparameters) -> list[Evaluation]:
    """Of candidates that are the worse the further they are from an optimum, by ratios."""
    distance = lambda one: sum(
        abs(math.log(max(value, 1e-30) / wanted)) for value, wanted in zip(one, optimum, strict=True)
    )
    measured = {"train_loss": 0.0, "train_accuracy": 0.0, "validation_accuracy": 0.5, "diverged_update": None}
    return [
        Evaluation(before + number, *one, update=1, validation_loss=distance(one), violations={}, **measured)
        for number, one in enumerate(grid)
    ]


def test_each_grid_lies_beyond_the_end_of_all_before_until_the_best_is_inside(generator):
    """Its ratio is the first grid's; what is one value, or the 0 of a decay, has nothing beyond."""
    for _ in range(100):
        counts, ratio = generator.integers(1, 4, 2), float(generator.uniform(2, 10))
        rates, decays = ([1e-3 * ratio**k for k in range(count)] for count in counts)
        decays = [0.0] * int(generator.integers(2)) + decays
        first = tuple(Hyperparameters(rate, decay, 0.0) for rate in rates for decay in decays)
        optimum = Hyperparameters(*(10 ** generator.uniform(-9, 3, 2)).tolist(), 1.0)
        looks, grid = looks_at(first, 0, optimum), first
        while grid := tuning.beyond(first, looks):
            tried = [one for each in tuning.tried(looks, len(first)) for one in each]
            assert len(set(grid)) == len(first) and not set(grid) & set(tried)
            moved = [axis for axis in range(3) if {one[axis] for one in grid} - {one[axis] for one in tried}]
            [axis] = moved
            old, new = ({one[axis] for one in several} for several in (tried, grid))
            assert max(old) < min(new) or max(new) < min(old)
            reached = sorted([*new, max(old) if max(old) < min(new) else min(old)])
            usual = [ratio, 10.0][axis == 1 and len([decay for decay in decays if decay]) == 1]
            np.testing.assert_allclose(np.divide(reached[1:], reached[:-1]), usual, rtol=1e-6)
            looks += looks_at(grid, len(looks), optimum)
        best = choose(looks)
        assert best
        for name, values in (("learning_rate", rates), ("weight_decay", decays)):
            everywhere = sorted({getattr(look, name) for look in looks})
            inside = everywhere[0] < getattr(best, name) < everywhere[-1]
            assert inside or len(values) == 1 or getattr(best, name) == 0


def test_where_everything_diverged_lower_rates_are_tried():
    first = tuple(Hyperparameters(rate, 0.0, 0.0) for rate in (10.0, 100.0))
    looks = [look._replace(diverged_update=1) for look in looks_at(first, 0, Hyperparameters(1.0, 1.0, 1.0))]
    assert [one.learning_rate for one in tuning.beyond(first, looks) or ()] == pytest.approx([0.1, 1.0])
