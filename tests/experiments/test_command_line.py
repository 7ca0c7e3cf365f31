"""The commands: flags change what they name, and what is finished stays finished."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas
import pytest
from commands import Outcome, call, refusal, write_config
from random_experiments import write_images

from cnn_constraints import store
from cnn_constraints.executors.local import LocalExecutor
from cnn_constraints.experiment import DEFAULTS, replace
from cnn_constraints.training.records import Finished
from experiments import count, report, sweep
from experiments.entry import load_config

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.usefixtures("own_cache")

OTHER_VALUES = {
    "data.source": "mnist",
    "data.folder": "somewhere",
    "data.digest": 64 * "0",
    "data.size": 5,
    "data.reduce": 2,
    "data.intervention": "translate",
    "data.strength": 0.5,
    "data.n_train": 21,
    "data.n_validation": 21,
    "model.constraint": "local",
    "model.delta": 2,
    "model.tile": 3,
    "model.rank": 3,
    "model.channels": (3, 4),
    "model.pool_sizes": (1, 2),
    "model.strides": (2, 1),
    "model.pooling": "max",
    "model.activation": "tanh",
    "model.readout": "global_average",
    "model.bias": "none",
    "model.boundary": "circular",
    "model.precision": "bfloat16",
    "training.optimizer": "sgd",
    "training.learning_rates": (0.5, 0.25),
    "training.weight_decays": (0.125,),
    "training.schedule": "cosine",
    "training.batch_size": 5,
    "training.switch_from": "conv",
    "training.switch_at": 7,
    "training.penalty": "beta_lasso",
    "training.penalty_strengths": (0.25, 0.5),
    "training.penalty_threshold": 3.0,
    "training.violations": ("local", "conv"),
    "training.updates": 4,
    "training.evaluate_every": 2,
    "seed": 9,
}


def parquet(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run / "metrics").iterdir()}


def measured(run: Path) -> pandas.DataFrame:
    """What a run has found."""
    return store.read(run)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, empty but for config.py."""
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def first(own_cache: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """The folder in which the config was run once, and what the command said."""
    folder = tmp_path_factory.mktemp("first")
    write_config(folder)
    with contextlib.chdir(folder):
        return folder, call(sweep.main, "config.py")


@pytest.fixture
def finished(first: tuple[Path, Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, in which the config was run once."""
    shutil.copytree(first[0], tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_module_is_a_command(here):
    done = subprocess.run(
        [sys.executable, "-m", "experiments.sweep", "config.py", "--training.update", "4"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert "did you mean --training.updates?" in refusal(Outcome(done.returncode, done.stdout, done.stderr))


def test_a_config_finds_its_neighbours_from_anywhere(here):
    (here / "project" / "configs").mkdir(parents=True)
    write_config(here / "project" / "configs", name="base.py")
    (here / "project" / "configs" / "other.py").write_text("from configs.base import get_config, get_sweep")
    code = "from experiments import sweep; print(len(sweep.build_sweep(sweep.parse(['project/configs/other.py']))))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "4\n", done.stderr


@pytest.mark.parametrize("field", DEFAULTS)
def test_every_config_field_is_a_flag(here, field):
    value = OTHER_VALUES[field]
    words = [str(item) for item in (value if isinstance(value, tuple) else (value,))]
    request = sweep.parse(["config.py", "--" + field.replace("_", "-"), *words])
    base = load_config(Path("config.py")).get_config()
    assert request.command.experiment == replace(base, {field: value})
    assert request.overrides == [field]


def test_a_flag_may_be_written_as_python_writes_its_field(here):
    written = [sweep.parse(["config.py", *flag]).command for flag in (["--data.n_train", "9"], ["--data.n-train=9"])]
    assert written[0] == written[1]
    assert written[0].experiment.data.n_train == 9


def test_a_flag_changes_every_experiment_that_does_not_vary_it(here):
    experiments = sweep.build_sweep(sweep.parse(["config.py", "--training.updates", "6"]))
    assert [experiment.training.updates for experiment in experiments] == [6] * 4


def test_help_names_every_flag_and_needs_no_config(here):
    for arguments in (["--help"], ["config.py", "-h"]):
        outcome = call(sweep.main, *arguments)
        assert (outcome.code, outcome.err) == (0, "")
        assert all(f"--{name.replace('_', '-')} " in outcome.out for name in [*DEFAULTS, "output"])
    assert os.listdir(here) == ["config.py"]


def test_a_sweep_runs_every_experiment_and_reports(first):
    folder, outcome = first
    assert outcome.code == 0
    assert "4 experiments run, 0 already finished, 2 programs compiled" in outcome.err
    assert "Test accuracy" in outcome.out
    results = store.read(folder / "runs" / "config")
    assert sorted(zip(results["model.constraint"], results["seed"], strict=True)) == [
        (constraint, seed) for constraint in ("conv", "shared") for seed in (0, 1)
    ]
    evaluations = store.read(folder / "runs" / "config", "evaluation")
    assert evaluations.groupby("experiment")["update"].apply(list).tolist() == [[1, 2]] * 4


def test_a_finished_sweep_recomputes_nothing(first, finished):
    before = parquet(finished / "runs" / "config")
    outcome = call(sweep.main, "config.py")
    assert outcome.code == 0
    assert "0 experiments run, 4 already finished, 0 programs compiled" in outcome.err
    assert outcome.out == first[1].out
    assert parquet(finished / "runs" / "config") == before


def test_a_report_repeats_the_tables_of_the_sweep(first, finished):
    outcome = call(report.main, "runs/config")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == first[1].out


DAMAGES = {
    "index.json cut short": lambda run: os.truncate(run / "index.json", 50),
    "index.json missing": lambda run: (run / "index.json").unlink(),
    "a part too many": lambda run: (run / "metrics" / "more.parquet").write_text("hello"),
    "a part cut short": lambda run: os.truncate(next((run / "metrics").glob("*.parquet")), 50),
    "a part missing": lambda run: next((run / "metrics").glob("*.parquet")).unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_finished_run_that_was_damaged_is_mended_by_the_same_sweep(first, finished, damage):
    run = finished / "runs" / "config"
    damage(run)
    with pytest.warns(UserWarning, match="^runs/config/"):
        assert call(sweep.main, "config.py").code == 0
    pandas.testing.assert_frame_equal(measured(run), measured(first[0] / "runs" / "config"))
    # Where there is something to warn of, this fails.
    outcome = call(sweep.main, "config.py")
    assert outcome.code == 0 and "0 experiments run, 4 already finished" in outcome.err


def test_a_longer_sweep_runs_only_what_is_new(finished):
    before = parquet(finished / "runs" / "config")
    write_config(finished, ("[0, 1]", "[0, 1, 2]"))
    outcome = call(sweep.main, "config.py")
    assert "2 experiments run, 4 already finished, 2 programs compiled" in outcome.err
    after = parquet(finished / "runs" / "config")
    assert len(after) == 4 and before.items() <= after.items()


def test_a_stopped_sweep_goes_on_to_the_results_of_an_unstopped_one(here, first, monkeypatch):
    whole = LocalExecutor.run

    def stopped(self: LocalExecutor, groups: Iterable) -> Iterator[Finished]:
        yield next(whole(self, groups))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LocalExecutor, "run", stopped)
        outcome = call(sweep.main, "config.py")
    assert outcome.code == 130 and "stopped" in outcome.err and "Traceback" not in outcome.err
    done = len(store.finished(here / "runs" / "config"))
    assert 0 < done < 4
    assert f"{4 - done} experiments run, {done} already finished" in call(sweep.main, "config.py").err
    pandas.testing.assert_frame_equal(measured(here / "runs" / "config"), measured(first[0] / "runs" / "config"))


def test_a_run_that_lost_its_config_gets_it_back_with_all_its_results(first, finished):
    (finished / "runs" / "config" / "config.json").unlink()
    outcome = call(sweep.main, "config.py")
    assert "0 experiments run, 4 already finished" in outcome.err
    assert len(store.read(finished / "runs" / "config")) == 4
    write_config(finished, ("[0, 1]", "[0, 1, 2]"))
    assert "2 experiments run, 4 already finished" in call(sweep.main, "config.py").err
    assert len(store.read(finished / "runs" / "config")) == 6


def test_images_are_known_by_what_they_are_and_not_by_where_they_lie(here, seed):
    generator = np.random.default_rng(seed)
    write_images(here / "images", generator)
    shutil.copytree(here / "images", here / "copied" / "there")
    os.symlink("images", here / "link")
    flags = ["--data.source", "folder", "--data.folder"]
    assert "4 experiments run" in call(sweep.main, "config.py", *flags, "images").err
    before = parquet(here / "runs" / "config")
    for place in ("images/", "./images", str(here / "images"), "link", "copied/there"):
        assert "0 experiments run, 4 already finished" in call(sweep.main, "config.py", *flags, place).err
    assert parquet(here / "runs" / "config") == before

    # Other images at the same path are other experiments, beside which those before stay what they are.
    write_images(here / "images", generator)
    assert "4 experiments run, 0 already finished" in call(sweep.main, "config.py", *flags, "images").err
    assert before.items() < parquet(here / "runs" / "config").items()
    assert "0 experiments run, 4 already finished" in call(sweep.main, "config.py", *flags, "copied/there").err
    results = store.read(here / "runs" / "config")
    assert results.groupby("data.digest").size().tolist() == [4, 4]

    # Who wants those before, and no other, says so.
    digest = results["data.digest"][0]
    outcome = call(sweep.main, "config.py", *flags, "images", "--data.digest", digest)
    assert f"data.digest is '{digest}', and the images in 'images' have" in refusal(outcome)
    outcome = call(sweep.main, "config.py", *flags, "copied/there", "--data.digest", digest)
    assert "0 experiments run, 4 already finished" in outcome.err


def test_images_that_are_said_in_two_ways_are_trained_on_once(here, seed):
    write_images(here / "images", np.random.default_rng(seed))
    places = 'axis("data.folder", ["images", "./images"])'
    write_config(here, ('source="digits"', 'source="folder", folder="images"'), ('axis("seed", [0, 1])', places))
    assert "2 experiments run, 0 already finished, 2 programs" in call(sweep.main, "config.py").err


def test_another_sweep_in_the_same_folder_reports_only_its_own_experiments(finished):
    write_config(finished, ("[0, 1]", "[1]"), name="other.py")
    outcome = call(sweep.main, "other.py", "--output", "runs/config")
    assert "0 experiments run, 2 already finished" in outcome.err
    assert outcome.out != call(report.main, "runs/config").out


def test_count_prints_the_megapixel_numbers():
    outcome = call(count.main)
    assert (outcome.code, outcome.err) == (0, "")
    lines = {line.split()[0]: line.split()[1:] for line in outcome.out.splitlines() if line.strip()}
    local = sum(min(999, i + 10) - max(0, i - 10) + 1 for i in range(1000)) ** 2
    assert lines["dense"][:2] == ["1,000,000,000,000", "1,000,000,000,000"]
    assert lines["shared"][:2] == ["3,996,001", "4,000,000"]
    assert lines["local"][0] == f"{local:,}"
    assert lines["conv"][:2] == ["441", "400"]
    # By default four kernels, and two with a weight each at every site.
    assert (lines["tiled"][0], lines["low_rank_local"][0]) == ("1,764", "2,000,882")
