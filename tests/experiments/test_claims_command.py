"""`python -m experiments.claims`: what it writes, how it ends, and what it refuses."""

import dataclasses
import json
import shlex
from pathlib import Path

import numpy as np
import pandas
import pytest
from random_experiments import write_images

from cnn_constraints import store
from cnn_constraints.claims import claim, registry
from cnn_constraints.errors import InputError
from cnn_constraints.experiment import Experiment, replace
from cnn_constraints.statistics import exact, mean_interval
from experiments import claims
from experiments.entry import entry_point


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(claims, "prepare_jax", lambda: None)


def record(folder: Path) -> dict:
    return json.loads((folder / "claims.json").read_text())


def test_a_claim_is_measured_printed_and_kept(tmp_path, capsys):
    claims.main(["parameter_ladder", "--seed", "5", "--output", "found"])
    printed = capsys.readouterr().out
    assert "parameter_ladder: holds" in printed and "1 holds, 0 fail, 0 undecided." in printed
    found = record(tmp_path / "found")
    assert (found["tier"], found["entropy"]) == ("cpu", 5)
    assert found["claims"]["parameter_ladder"]["verdict"] == "holds"
    assert (tmp_path / "found/figures/parameter_ladder.png").read_bytes()[:4] == b"\x89PNG"
    assert len(pandas.read_csv(tmp_path / "found/curves/parameter_ladder.csv"))


def fail(
    monkeypatch: pytest.MonkeyPatch, value: float, name: str = "fake", trouble: BaseException | None = None
) -> list[int]:
    """A registered claim that needs at least 1 and gets the value, or into trouble; returns the seeds it was measured
    with.
    """
    seen: list[int] = []

    def measure(laboratory: claim.Laboratory) -> claim.Measurement:
        seen.extend(laboratory.seeds)
        if trouble:
            raise trouble
        curves = pandas.DataFrame({"panel": ["p"], "line": ["conv"], "x": [1.0], "seed": [0], "y": [1.0]})
        return claim.Measurement({"q": exact(value)}, curves)

    own, criterion = registry.CLAIMS["parameter_ladder"], claim.Criterion("q", low=1.0)
    changed = dataclasses.replace(own, criteria=(criterion,), seeds={"cpu": 2}, measure=measure)
    monkeypatch.setitem(claims.CLAIMS, name, changed)
    return seen


def exit_code(arguments: list[str]) -> int:
    try:
        claims.main(arguments)
    except SystemExit as stopped:
        assert isinstance(stopped.code, int)
        return stopped.code
    return 0


def test_a_claim_that_fails_ends_in_exit_code_1(monkeypatch):
    fail(monkeypatch, 0.5)
    assert exit_code(["fake"]) == 1


NOT_FINITE = InputError("A mean needs finite values.")


@pytest.mark.parametrize(("value", "code"), [(2.0, 2), (0.5, 1)])
def test_what_goes_wrong_with_one_claim_keeps_no_other_from_being_measured(monkeypatch, capsys, tmp_path, value, code):
    fail(monkeypatch, 2.0, "first")
    broken = fail(monkeypatch, 2.0, "broken", NOT_FINITE)
    last = fail(monkeypatch, value, "last")
    assert exit_code(["first", "broken", "last", "--seed", "3"]) == code
    told = capsys.readouterr()
    assert broken and last and "error: broken: A mean needs finite values." in told.err
    assert "1 not measured." in told.out
    assert list(record(tmp_path / "runs/claims-cpu-3")["claims"]) == ["first", "last"]


def test_what_was_measured_is_printed_even_where_it_cannot_be_kept(monkeypatch, capsys, tmp_path):
    fail(monkeypatch, 2.0, "first")
    fail(monkeypatch, 2.0, "last")

    def write(folder: Path, name: str, *_: object) -> None:
        raise InputError("make room and repeat.")

    monkeypatch.setattr(claims.records, "write", write)
    assert exit_code(["first", "last", "--seed", "3"]) == 2
    told = capsys.readouterr()
    assert "first: holds" in told.out and "last: holds" in told.out
    assert told.err.count("make room and repeat.") == 2


@pytest.mark.parametrize(
    ("arguments", "again"),
    [
        ([], "--seed {seed}"),
        (["--output", "my claims"], "--output 'my claims' --seed {seed}"),
        (["--seed", "3", "--output", "there"], "--seed 3 --output there"),
    ],
    ids=str,
)
def test_a_stopped_command_says_how_it_goes_on(monkeypatch, capsys, tmp_path, arguments, again):
    seen = fail(monkeypatch, 2.0, "first")
    fail(monkeypatch, 2.0, "last", KeyboardInterrupt())
    monkeypatch.setattr("sys.argv", ["claims", "first", "last", *arguments])
    with pytest.raises(SystemExit) as stopped:
        entry_point(claims.main)()
    assert stopped.value.code == 130
    (folder,) = [path.parent for path in tmp_path.rglob("claims.json")]
    command = again.format(seed=record(folder)["entropy"])
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == f"stopped: python -m experiments.claims first last {command} goes on from here."
    fail(monkeypatch, 2.0, "last")
    claims.main(shlex.split(f"first last {command}"))
    assert len(seen) == 2 and list(record(folder)["claims"]) == ["first", "last"]


def test_every_command_draws_new_seeds_unless_told(monkeypatch, tmp_path):
    seen = fail(monkeypatch, 2.0)
    claims.main(["fake"])
    claims.main(["fake"])
    assert len(set(seen)) == 4 and min(seen) >= claim.FIRST_FRESH_SEED
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_what_was_measured_with_a_seed_is_not_measured_again(monkeypatch):
    seen = fail(monkeypatch, 2.0)
    claims.main(["fake", "--seed", "3"])
    claims.main(["fake", "--seed", "3"])
    assert len(seen) == 2


def test_a_record_of_another_version_of_the_claim_is_measured_anew(monkeypatch, capsys, tmp_path):
    first = fail(monkeypatch, 2.0)
    claims.main(["fake", "--seed", "3"])
    second = fail(monkeypatch, 2.0)
    changed = dataclasses.replace(claims.CLAIMS["fake"], criteria=(claim.Criterion("q", low=3.0),))
    monkeypatch.setitem(claims.CLAIMS, "fake", changed)
    capsys.readouterr()
    assert exit_code(["fake", "--seed", "3"]) == 1
    assert "fake: measured anew, since its record differs in criteria" in capsys.readouterr().err
    assert first == second
    kept = record(tmp_path / "runs/claims-cpu-3")
    assert kept["claims"]["fake"]["verdict"] == "fails"
    assert [old["verdict"] for old in kept["superseded"]["fake"]] == ["holds"]


def test_a_lost_figure_is_drawn_again_and_nothing_measured(monkeypatch, tmp_path, capsys):
    seen = fail(monkeypatch, 2.0)
    claims.main(["fake", "--seed", "3"])
    figure = tmp_path / "runs/claims-cpu-3/figures/fake.png"
    before = figure.read_bytes()
    figure.unlink()
    claims.main(["fake", "--seed", "3"])
    assert figure.read_bytes() == before and len(seen) == 2
    figure.unlink()
    (tmp_path / "runs/claims-cpu-3/curves/fake.csv").unlink()
    assert exit_code(["fake", "--seed", "3"]) == 2
    told = capsys.readouterr()
    assert "fake.csv is lost or damaged" in told.err and told.out.count("fake: holds") == 3


def test_damaged_records_are_one_sentence(monkeypatch, capsys, tmp_path):
    fail(monkeypatch, 2.0)
    (tmp_path / "found").mkdir()
    (tmp_path / "found" / "claims.json").write_text('{"format": 2, "claims": []}')
    monkeypatch.setattr("sys.argv", ["claims", "fake", "--output", "found"])
    with pytest.raises(SystemExit) as stopped:
        entry_point(claims.main)()
    (line,) = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 2 and line.startswith("error: found/claims.json is damaged")


def test_a_tier_that_a_claim_does_not_have_is_refused_before_anything_is_measured(monkeypatch, tmp_path):
    seen = fail(monkeypatch, 2.0)
    with pytest.raises(InputError, match=r"fake has no tier gpu: its tiers are cpu\."):
        claims.main(["fake", "--tier", "gpu"])
    assert not seen and not (tmp_path / "runs").exists()


def test_help_names_every_claim(capsys):
    assert exit_code(["--help"]) == 0
    printed = "".join(capsys.readouterr().out.split())
    assert all(name in printed for name in registry.CLAIMS)


def train(monkeypatch: pytest.MonkeyPatch, learning_rate: float) -> None:
    """The claim `fake` trains a small network on what stands for CIFAR-10."""
    fail(monkeypatch, 2.0)

    def measure(laboratory: claim.Laboratory) -> claim.Measurement:
        small = {"training.updates": 2, "training.evaluate_every": 2, "data.n_train": 10, "data.n_validation": 4}
        small |= {"training.batch_size": 5, "training.learning_rates": (learning_rate,)}
        small |= {"model.channels": (2,), "model.pool_sizes": (2,), "model.strides": (1,)}
        base = replace(Experiment(data=laboratory.images["cifar10"]), small)
        results = laboratory.train([replace(base, {"seed": seed}) for seed in laboratory.seeds])
        curves = results.assign(panel="p", line="conv", x=1.0, y=results["test_loss"])
        # A mean refuses what diverged.
        accuracy = mean_interval(results["test_accuracy"])
        return claim.Measurement({"q": exact(accuracy.seeds)}, curves[["panel", "line", "x", "seed", "y"]])

    changed = dataclasses.replace(claims.CLAIMS["fake"], measure=measure, data_sets=("cifar10",))
    monkeypatch.setitem(claims.CLAIMS, "fake", changed)


def test_a_claim_may_train_through_the_engine_on_a_folder_of_images(monkeypatch, tmp_path, capsys, seed):
    write_images(tmp_path / "images", np.random.default_rng(seed))
    train(monkeypatch, 0.01)
    claims.main(["fake", "--seed", "1", "--cifar10", "images"])
    found = record(tmp_path / "runs/claims-cpu-1")["claims"]["fake"]
    assert found["criteria"][0]["measured"] == 2
    assert found["data_sets"]["cifar10"].startswith("images, SHA-256 ")
    assert f"Images in place of cifar10: {found['data_sets']['cifar10']}." in capsys.readouterr().out
    assert (tmp_path / "runs/claims-cpu-1/runs/fake/config.json").exists()
    # The same path, but other images: neither the record nor the experiments are of them.
    (tmp_path / "images/train/a/0.png").write_bytes((tmp_path / "images/train/b/0.png").read_bytes())
    claims.main(["fake", "--seed", "1", "--cifar10", "images"])
    assert "measured anew, since its record differs in data_sets" in capsys.readouterr().err
    again = record(tmp_path / "runs/claims-cpu-1")
    assert again["claims"]["fake"]["data_sets"] != found["data_sets"]
    assert [old["data_sets"] for old in again["superseded"]["fake"]] == [found["data_sets"]]
    results = store.read(tmp_path / "runs/claims-cpu-1/runs/fake")
    assert results.groupby("data.digest").size().tolist() == [2, 2]


def test_a_claim_whose_experiments_diverge_is_not_measured_and_says_so(monkeypatch, tmp_path, capsys, seed):
    write_images(tmp_path / "images", np.random.default_rng(seed))
    train(monkeypatch, 1e30)
    fail(monkeypatch, 2.0, "last")
    assert exit_code(["fake", "last", "--seed", "1", "--cifar10", "images"]) == 2
    told = capsys.readouterr()
    assert "2 of 2 experiments diverged at every learning rate: see runs/claims-cpu-1/runs/fake" in told.err
    assert "error: fake: A mean needs finite values" in told.err
    assert "last: holds" in told.out and "1 not measured." in told.out
