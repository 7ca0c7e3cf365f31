"""The suite `executors` times one sweep several ways."""

from pathlib import Path

import pytest

from benchmarks.executors import suite
from cnn_constraints import store
from cnn_constraints.config_file import load_config
from cnn_constraints.data.datasets import Datasets
from cnn_constraints.experiment import Experiment, replace
from cnn_constraints.plan import plan
from cnn_constraints.resolve import resolve

BASE = load_config(suite.CONFIG).get_config()


def test_eight_groups_are_eight():
    assert len(plan(suite.eight_groups(BASE), Datasets())) == 8


def test_what_is_kept_is_what_is_forgotten(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Both train the experiment; one of the two keeps what it found."""
    experiments = resolve([replace(Experiment(), {"training.updates": 2, "training.evaluate_every": 1})])
    run = suite.run
    monkeypatch.setattr(suite, "run", lambda experiments, _, **options: run(experiments, tmp_path / "run", **options))
    suite.keep(experiments)
    assert list(store.read(tmp_path / "run")["experiment"]) == [experiments[0].name]
    assert "1 experiment run" in capsys.readouterr().err
    before = list(tmp_path.iterdir())
    suite.forget(experiments)
    assert list(tmp_path.iterdir()) == before
    assert "compiling conv" in capsys.readouterr().err
