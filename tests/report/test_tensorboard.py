"""TensorBoard's own reader finds in the event files what the tables say; nothing is written twice."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from made_up_records import write_random_run

from cnn_constraints import store
from cnn_constraints.errors import InputError
from cnn_constraints.experiment import Experiment, axis, product
from cnn_constraints.report.tensorboard import CURVES, EventFiles, name_of
from cnn_constraints.resolve import resolve

pytest.importorskip("tensorboardX", reason="needs the extra `tensorboard`")
accumulator, hparams = (
    pytest.importorskip(f"tensorboard.{module}", reason="needs the extra `tensorboard`")
    for module in ("backend.event_processing.event_accumulator", "plugins.hparams.plugin_data_pb2")
)

EXPERIMENTS = resolve(
    product(Experiment(), axis("model.constraint", ["shared", "low_rank_local"]), axis("seed", range(3)))
)


@pytest.fixture
def run(tmp_path: Path, seed: int) -> Path:
    write_random_run(tmp_path, EXPERIMENTS, np.random.default_rng(seed))
    EventFiles(tmp_path, EXPERIMENTS).opened()
    return tmp_path


def folder_of(run: Path, experiment: str) -> Path:
    (folder,) = (run / "tensorboard").glob(f"*-{experiment}")
    return folder


def test_event_files_say_what_the_tables_say(run):
    results, looks = store.read(run), store.read(run, "evaluation")
    assert len(list((run / "tensorboard").iterdir())) == len(results)
    for result in results.to_dict("records"):
        events = accumulator.EventAccumulator(str(folder_of(run, result["experiment"])), {"scalars": 0})
        events.Reload()
        chosen = looks.loc[(looks["experiment"] == result["experiment"]) & (looks["candidate"] == result["candidate"])]
        for name in CURVES:
            split, measure = name.split("_")
            found = events.Scalars(f"{measure}/{split}")
            assert [event.step for event in found] == chosen["update"].tolist()
            np.testing.assert_allclose([event.value for event in found], chosen[name], rtol=1e-6)
        for measure in ("accuracy", "loss"):
            (test,) = events.Scalars(f"{measure}/test")
            assert (test.step, test.value) == (result["update"], pytest.approx(result[f"test_{measure}"]))
        content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
        given = hparams.HParamsPluginData.FromString(content).session_start_info.hparams
        assert given["cell"].string_value == result["model.constraint"]
        assert given["learning_rate"].number_value == pytest.approx(result["learning_rate"])
        assert given["seed"].number_value == result["seed"]
        assert ("rank" in given) == (result["model.constraint"] == "low_rank_local")


def test_what_is_there_is_not_written_again_and_what_is_not_is(run):
    state = lambda: {path: path.stat().st_mtime_ns for path in (run / "tensorboard").rglob("*")}
    lost = folder_of(run, EXPERIMENTS[-1].name)
    shutil.rmtree(lost)
    before = state()
    for _ in range(2):
        EventFiles(run, EXPERIMENTS).opened()
        after = state()
        assert {path: time for path, time in after.items() if path in before} == before
        assert {path for path in after if path not in before} == {lost, *lost.iterdir()}


def test_who_lacks_the_extra_is_told_before_anything_is_trained(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(InputError, match="pip install"):
        EventFiles(tmp_path, EXPERIMENTS)


def test_a_name_tells_the_experiment():
    names = [name_of(experiment) for experiment in EXPERIMENTS]
    assert len(set(names)) == len(names)
    assert any(name.startswith("low_rank_local-delta2-rank2-flatten-n300-seed2-") for name in names)
