"""--dry-run trains and writes nothing, --quiet says nothing, --json is for programs, --help teaches, exit codes tell."""

import importlib
import json
import math
import os
import re
import shlex
import shutil
from pathlib import Path

import pandas
import pytest
from commands import Outcome, call, write_config

from cnn_constraints import settings, store, summaries
from experiments import sweep

pytestmark = pytest.mark.usefixtures("own_cache")

DIVERGES = ("learning_rates=(0.01,)", "learning_rates=(1e30,)")


@pytest.fixture(scope="module")
def trained(own_cache: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """A folder in which the config was run once, quietly and for a program."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_config(folder)
        return folder, call(sweep.main, "config.py", "--quiet", "--json")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path)
    return tmp_path


def test_a_dry_run_tells_the_plan_and_writes_nothing(here):
    kept = sorted(settings.cache_folder().glob("compiled/*"))
    outcome = call(sweep.main, "config.py", "--dry-run", "--json", "--quiet")
    assert (outcome.code, outcome.err) == (0, "")
    plan = json.loads(outcome.out)
    assert (plan["programs"], plan["experiments"], plan["experiments_finished"]) == (2, 4, 0)
    assert {group["model.constraint"]: group["updates"] for group in plan["groups"]} == {"shared": 4, "conv": 4}
    for group in plan["groups"]:
        assert (group["experiments"], group["experiments_finished"], group["candidates"]) == (2, 0, 1)
        assert group["least_memory_bytes"] == 4 * 5 * group["side_by_side"] * group["parameters"]
        assert not {"seed", "data.n_train", "training.learning_rates"} & group.keys()
    assert os.listdir(here) == ["config.py"]
    assert sorted(settings.cache_folder().glob("compiled/*")) == kept


def test_a_plan_counts_what_is_finished(here, trained):
    shutil.copytree(trained[0] / "runs", here / "runs")
    write_config(here, ("[0, 1]", "[0, 1, 2, 3, 4]"))
    before = sorted(here.rglob("*"))
    plan = json.loads(call(sweep.main, "config.py", "--dry-run", "--json").out)
    assert (plan["experiments"], plan["experiments_finished"]) == (10, 4)
    assert [(group["experiments"], group["experiments_finished"]) for group in plan["groups"]] == [(5, 2)] * 2
    table = call(sweep.main, "config.py", "--dry-run")
    assert "10 experiments of 2 programs" in table.out and "finished in runs/config: 4." in table.out
    assert sorted(here.rglob("*")) == before


def test_a_plan_of_a_finished_sweep_has_nothing_left(here, trained):
    shutil.copytree(trained[0] / "runs", here / "runs")
    outcome = call(sweep.main, "config.py", "--dry-run")
    assert outcome.code == 0 and "Nothing is left to train." in outcome.out


def test_what_a_program_gets_is_what_the_tables_say(trained):
    folder, outcome = trained
    assert (outcome.code, outcome.err) == (0, "")
    told = json.loads(outcome.out)
    assert (told["run"], told["experiments"], told["experiments_run"], told["experiments_diverged"]) == (
        "runs/config",
        4,
        4,
        0,
    )
    summary = summaries.summarise(store.read(folder / "runs" / "config"))
    assert [list(arm) for arm in told["arms"]] == [summary.columns.tolist()] * len(summary)
    for arm, row in zip(told["arms"], summary.to_dict("records"), strict=True):
        for name, value in row.items():
            missing = value is None or value is pandas.NA or (isinstance(value, float) and math.isnan(value))
            assert arm[str(name)] == (None if missing else value)
    assert list((folder / "runs" / "config" / "figures").glob("*.png"))


def test_a_quiet_sweep_says_nothing_but_what_is_wrong(here, trained):
    shutil.copytree(trained[0] / "runs", here / "runs")
    assert call(sweep.main, "config.py", "--quiet") == (0, "", "")
    outcome = call(sweep.main, "config.py", "--quiet", "--training.updates", "-1")
    assert (outcome.code, outcome.out) == (2, "") and outcome.err.startswith("error: ")


@pytest.mark.parametrize("flags", [[], ["--json"], ["--quiet"]])
def test_a_sweep_in_which_every_experiment_diverges_fails(here, flags):
    write_config(here, DIVERGES, ("updates=2", "updates=6"), ("evaluate_every=1", "evaluate_every=3"))
    outcome = call(sweep.main, "config.py", *flags)
    assert outcome.code == 1
    assert ("every experiment diverged" in outcome.err) == ("--quiet" not in flags)
    if "--json" in flags:
        told = json.loads(outcome.out)
        assert told["experiments_diverged"] == told["experiments"] == 4
        assert {arm["test_accuracy"] for arm in told["arms"]} == {None}


@pytest.mark.parametrize("name", ["sweep", "claims", "count", "benchmark", "pictures", "report"])
def test_help_ends_in_examples_that_are_taken(here, name, monkeypatch):
    module = importlib.import_module(f"experiments.{name}")
    text = call(module.main, "--help").out
    assert all(example in text for example in module.EXAMPLES)
    parsed = []
    for example in module.EXAMPLES:
        if match := re.fullmatch(rf"python -m experiments\.{name}( .*)?", example.partition(" >")[0]):
            parsed.append(shlex.split(match[1] or ""))
    monkeypatch.chdir(Path(__file__).parents[2])
    for arguments in parsed:
        if name == "sweep":
            assert sweep.build_sweep(sweep.parse(arguments))
        else:
            assert set(re.findall(r"--[\w-]+", " ".join(arguments))) <= set(re.findall(r"--[\w-]+", text))
