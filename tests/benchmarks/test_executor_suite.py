"""The suite `executors` times one sweep three ways."""

from benchmarks.executors import suite
from cnn_constraints import config, store, sweep
from cnn_constraints.config import Experiment
from experiments import sweep as command
from experiments.entry import load_config

BASE = load_config(suite.CONFIG).get_config()


def test_eight_groups_are_eight():
    assert len(sweep.plan(suite.eight_groups(BASE))) == 8


def test_what_is_kept_is_what_is_forgotten(monkeypatch, tmp_path, capsys):
    (trial,) = sweep.resolve([config.replace(Experiment(), {"training.updates": 2, "training.evaluate_every": 1})])
    told = []
    run = command.run
    monkeypatch.setattr(command, "run", lambda trials, folder, *rest: told.append(run(trials, tmp_path / "run", *rest)))
    suite.keep([trial])
    suite.forget([trial])
    assert len(told) == 1 and list(store.read(tmp_path / "run")["trial"]) == [config.name(trial)]
    assert "1 trial run" in capsys.readouterr().err
