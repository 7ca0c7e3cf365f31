"""A sweep is one call, from any thread: it trains what is not finished, and gives the table of all that was asked for."""

from concurrent.futures import ThreadPoolExecutor

import pandas
import pytest

import cnn_constraints as cc
from cnn_constraints import store
from cnn_constraints.executors.local import LocalExecutor
from cnn_constraints.training.records import Evaluation, Finished

BASE = cc.Experiment(
    data=cc.Data(source="digits", n_train=30, n_validation=20),
    model=cc.Model(delta=1, channels=(2,), strides=(2,), pool_sizes=(2,)),
    training=cc.Training(updates=4, evaluate_every=2, batch_size=8, learning_rates=(0.1, 0.01)),
)


def draw_experiments(draw) -> list[cc.Experiment]:
    seeds = draw.rng.choice(1000, 2, replace=False).tolist()
    return cc.product(BASE, cc.axis("model.constraint", ["conv", "local"]), cc.axis("seed", seeds))


def test_a_call_gives_the_results_and_the_same_call_again_trains_nothing(tmp_path, draw, monkeypatch):
    experiments = draw_experiments(draw)
    first = ThreadPoolExecutor(1).submit(cc.run, experiments, tmp_path / "run").result()
    assert (first.run, first.already_finished, first.programs) == (len(experiments), 0, 2)
    fields = [(row["model.constraint"], row["seed"]) for _, row in first.results.iterrows()]
    assert fields == [(one.model.constraint, one.seed) for one in experiments]
    assert first.results["test_accuracy"].between(0, 1).all()
    pandas.testing.assert_frame_equal(first.results, store.read(tmp_path / "run"))
    monkeypatch.setattr(LocalExecutor, "run", lambda *_: pytest.fail("something was trained"))
    again = cc.run(experiments, str(tmp_path / "run"))
    assert (again.run, again.already_finished, again.programs) == (0, len(experiments), 0)
    pandas.testing.assert_frame_equal(again.results, first.results)


def test_a_call_for_more_trains_what_is_new_and_the_results_are_in_the_order_of_the_call(tmp_path, draw):
    experiments = draw_experiments(draw)
    first = cc.run(experiments[1:], tmp_path)
    whole = cc.run(experiments[::-1], tmp_path)
    assert (whole.run, whole.already_finished) == (1, len(experiments) - 1)
    of_first = whole.results.iloc[:-1].iloc[::-1].reset_index(drop=True)
    pandas.testing.assert_frame_equal(of_first, first.results)


class Witness(cc.Observer):
    """Writes down what it is told, and what was kept by then."""

    def __init__(self, folder) -> None:
        self._folder = folder
        self.opened_with: list[set[str]] = []
        self.looks: dict[str, list[Evaluation]] = {}
        self.found: dict[str, Finished] = {}

    def opened(self) -> None:
        self.opened_with.append(store.finished(self._folder))

    def looked(self, experiment, looks) -> None:
        assert experiment.name not in store.finished(self._folder) and len(looks) % len(experiment.candidates) == 0
        self.looks.setdefault(experiment.name, []).extend(looks)

    def finished(self, found) -> None:
        assert self.opened_with and {one.experiment for one in found} <= store.finished(self._folder)
        assert all(self.looks[one.experiment] == one.evaluations for one in found)
        self.found |= {one.experiment: one for one in found}


def test_an_observer_is_told_of_every_look_once_and_of_every_experiment_once_it_is_kept(tmp_path, draw):
    experiments = draw_experiments(draw)
    witness = Witness(tmp_path)
    ran = cc.run(experiments, tmp_path, observer=witness)
    assert witness.opened_with == [set()] and sorted(witness.found) == sorted(ran.results["experiment"])
    again = Witness(tmp_path)
    cc.run(experiments, tmp_path, observer=again)
    assert again.opened_with == [set(witness.found)] and not again.looks and not again.found


@pytest.mark.usefixtures("without_shapes")
def test_an_observer_that_lacks_a_method_is_refused_before_anything_is_trained(tmp_path):
    with pytest.raises(
        cc.InputError, match=r"object must have opened, looked and finished: derive it from cc\.Observer"
    ):
        cc.run(BASE, tmp_path / "run", observer=object())  # pyright: ignore[reportArgumentType]
    assert not list(tmp_path.iterdir())


def test_an_interrupt_in_the_middle_is_raised_and_the_same_call_goes_on(tmp_path, draw, monkeypatch):
    experiments = draw_experiments(draw)
    whole = cc.run(experiments, tmp_path / "undisturbed")
    stopping = iter([False] * draw.integer(0, 3))
    with monkeypatch.context() as patch:
        patch.setattr("cnn_constraints.sweep.Interruption.asked", lambda _: next(stopping, True))
        with pytest.raises(KeyboardInterrupt):
            cc.run(experiments, tmp_path / "stopped", checkpoint_every=0.0)
    witness = Witness(tmp_path / "stopped")
    went_on = cc.run(experiments, tmp_path / "stopped", observer=witness)
    assert len(witness.found) == went_on.run
    pandas.testing.assert_frame_equal(went_on.results, whole.results)
    for event in ("result", "evaluation"):
        one, other = (store.read(tmp_path / name, event) for name in ("undisturbed", "stopped"))
        pandas.testing.assert_frame_equal(one, other)


def test_a_sweep_goes_on_in_whatever_order_its_experiments_are_named(tmp_path, draw, monkeypatch):
    experiments = draw_experiments(draw)
    whole, witness = cc.run(experiments, tmp_path / "undisturbed"), Witness(tmp_path / "stopped")
    with monkeypatch.context() as patch:
        patch.setattr("cnn_constraints.sweep.Interruption.asked", lambda _: bool(witness.looks))
        with pytest.raises(KeyboardInterrupt):
            cc.run(experiments, tmp_path / "stopped", observer=witness, checkpoint_every=0.0)
    assert list((tmp_path / "stopped" / "checkpoints").glob("*.safetensors"))
    went_on = cc.run(experiments[::-1], tmp_path / "stopped")
    pandas.testing.assert_frame_equal(went_on.results.iloc[::-1].reset_index(drop=True), whole.results)
