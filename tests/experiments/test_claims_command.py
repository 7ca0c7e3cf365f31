"""`python -m experiments.claims`: what it writes, how it ends, and what it refuses."""

import dataclasses
import json
import os
import shlex
import signal
from pathlib import Path

import numpy as np
import pandas
import pytest
from random_experiments import write_images

from cnn_constraints import store
from cnn_constraints.claims import claim
from cnn_constraints.claims.registry import CLAIMS
from cnn_constraints.errors import InputError
from cnn_constraints.experiment import Experiment, Model, Training
from cnn_constraints.statistics import exact, mean_interval
from experiments import claims
from experiments.entry import TOLD_TO_STOP, entry_point

FIRST, BROKEN, LAST = "reach", "equivariance", "kernel_lattice"
"""Names of claims in whose place others are measured here."""


def curves(seeds: tuple[int, ...]) -> pandas.DataFrame:
    return claim.curves_of([("p", "conv", 1.0, [1.0] * len(seeds))], seeds)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(claims, "prepare_jax", lambda: None)


def found(folder: str = "runs/claims-quick-3") -> dict:
    return json.loads((Path(folder) / "claims.json").read_text())


def measures(
    monkeypatch: pytest.MonkeyPatch, value: float, name: str = FIRST, trouble: BaseException | None = None
) -> list[int]:
    """A claim that needs at least 1 and gets the value, or into trouble; returns the seeds it was measured with."""
    seen: list[int] = []

    def measure(laboratory: claim.Laboratory) -> claim.Measurement:
        seen.extend(laboratory.seeds)
        if trouble:
            raise trouble
        return claim.Measurement({"q": exact(value)}, curves(laboratory.seeds))

    criteria, seeds = (claim.Criterion("q", low=1.0),), {"quick": 2, "cpu": 2, "gpu": 2}
    own = dataclasses.replace(CLAIMS["parameter_ladder"], criteria=criteria, seeds=seeds, measure=measure)
    monkeypatch.setitem(CLAIMS, name, own)
    return seen


def run(*arguments: str) -> int:
    """The exit code."""
    try:
        claims.main(list(arguments))
    except SystemExit as stopped:
        assert isinstance(stopped.code, int)
        return stopped.code
    return 0


def test_a_claim_is_measured_printed_and_kept(capsys):
    assert run("parameter_ladder", "--seed", "5", "--output", "found") == 0
    printed, content = capsys.readouterr().out, found("found")
    assert "parameter_ladder: holds" in printed and "1 holds, 0 fail, 0 undecided." in printed
    assert (content["tier"], content["entropy"]) == ("quick", 5)
    assert content["claims"]["parameter_ladder"]["verdict"] == "holds"
    assert Path("found/figures/parameter_ladder.png").read_bytes()[:4] == b"\x89PNG"
    assert len(pandas.read_csv("found/curves/parameter_ladder.csv"))


@pytest.mark.parametrize(("value", "code"), [(2.0, 2), (0.5, 1)])
def test_what_goes_wrong_with_one_claim_keeps_no_other_from_being_measured(monkeypatch, capsys, value, code):
    measures(monkeypatch, 2.0)
    measures(monkeypatch, 2.0, BROKEN, InputError("A mean needs finite values."))
    measures(monkeypatch, value, LAST)
    assert run(FIRST, BROKEN, LAST, "--seed", "3") == code
    told = capsys.readouterr()
    assert f"error: {BROKEN}: A mean needs finite values." in told.err and "1 not measured." in told.out
    assert list(found()["claims"]) == [FIRST, LAST]


@pytest.mark.parametrize("number", TOLD_TO_STOP)
def test_what_takes_a_machine_away_stops_a_command_as_ctrl_c_does(number, capsys):
    with pytest.raises(SystemExit) as stopped:
        entry_point(lambda _: os.kill(os.getpid(), number))()
    assert stopped.value.code == 130
    assert capsys.readouterr().err == "stopped: run the same command again to go on.\n"
    assert signal.getsignal(number) == signal.SIG_DFL


@pytest.mark.parametrize(
    ("arguments", "again"),
    [(["--output", "my claims"], "--output 'my claims' --seed {seed}"), (["--seed", "3"], "--seed 3")],
)
def test_a_stopped_command_says_how_it_goes_on(monkeypatch, capsys, tmp_path, arguments, again):
    seen = measures(monkeypatch, 2.0)
    measures(monkeypatch, 2.0, LAST, KeyboardInterrupt())
    monkeypatch.setattr("sys.argv", ["claims", FIRST, LAST, *arguments])
    with pytest.raises(SystemExit) as stopped:
        entry_point(claims.main)()
    assert stopped.value.code == 130
    (folder,) = [path.parent for path in tmp_path.rglob("claims.json")]
    command = f"{FIRST} {LAST} {again.format(seed=found(str(folder))['entropy'])}"
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == f"stopped: python -m experiments.claims {command} goes on from here."
    measures(monkeypatch, 2.0, LAST)
    assert run(*shlex.split(command)) == 0
    assert len(seen) == 2 and list(found(str(folder))["claims"]) == [FIRST, LAST]


def test_a_command_draws_new_seeds_unless_told_and_measures_no_claim_twice_but_a_changed_one(monkeypatch, capsys):
    seen = measures(monkeypatch, 2.0)
    for arguments in ((), (), ("--seed", "3"), ("--seed", "3")):
        run(FIRST, *arguments)
    assert len(set(seen)) == len(seen) == 6 and min(seen) >= claim.FIRST_FRESH_SEED
    assert len(list(Path("runs").iterdir())) == 3
    monkeypatch.setitem(CLAIMS, FIRST, dataclasses.replace(CLAIMS[FIRST], criteria=(claim.Criterion("q", low=3.0),)))
    assert run(FIRST, "--seed", "3") == 1
    assert f"{FIRST}: measured anew, since its record differs in criteria" in capsys.readouterr().err
    assert seen[6:] == seen[4:6] and found()["claims"][FIRST]["verdict"] == "fails"
    assert [old["verdict"] for old in found()["superseded"][FIRST]] == ["holds"]


def test_a_lost_figure_is_drawn_again_and_nothing_measured(monkeypatch, capsys):
    seen = measures(monkeypatch, 2.0)
    run(FIRST, "--seed", "3")
    figure, curves = (Path(f"runs/claims-quick-3/{place}") for place in (f"figures/{FIRST}.png", f"curves/{FIRST}.csv"))
    before = figure.read_bytes()
    figure.unlink()
    run(FIRST, "--seed", "3")
    assert figure.read_bytes() == before and len(seen) == 2
    figure.unlink()
    curves.unlink()
    assert run(FIRST, "--seed", "3") == 2
    assert f"{FIRST}.csv is lost or damaged" in capsys.readouterr().err


def test_images_that_cannot_be_read_are_told_before_anything_is_measured(monkeypatch, tmp_path):
    seen = measures(monkeypatch, 2.0)
    monkeypatch.setitem(CLAIMS, LAST, dataclasses.replace(CLAIMS[FIRST], data_sets=("cifar10",)))
    monkeypatch.setenv("CNN_CONSTRAINTS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CNN_CONSTRAINTS_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"Or name a folder of its images: --cifar10 <folder>\.$"):
        run(FIRST, LAST, "--tier", "cpu")
    with pytest.raises(InputError, match="nothing there"):
        run(FIRST, LAST, "--tier", "cpu", "--cifar10", "nothing there")
    assert not seen and not Path("runs").exists()


def test_a_tier_measures_the_claims_that_have_seeds_for_it_and_quick_no_photographs(monkeypatch):
    seen = measures(monkeypatch, 2.0)
    measures(monkeypatch, 2.0, LAST)
    for name in set(CLAIMS) - {FIRST, LAST}:
        monkeypatch.delitem(CLAIMS, name)
    monkeypatch.setitem(CLAIMS, LAST, dataclasses.replace(CLAIMS[LAST], seeds={"cpu": 2, "gpu": 2}))
    of_photographs = claim.Criterion("photographs", low=1.0, photographs=True)
    changes = {"criteria": (*CLAIMS[FIRST].criteria, of_photographs), "data_sets": ("cifar10",)}
    monkeypatch.setitem(CLAIMS, FIRST, dataclasses.replace(CLAIMS[FIRST], **changes))
    with pytest.raises(InputError, match=f"^{LAST} is not measured in the tier quick: --tier cpu or gpu.$"):
        run(FIRST, LAST)
    assert not seen and run("--seed", "3") == 0 and list(found()["claims"]) == [FIRST]
    assert [row["quantity"] for row in found()["claims"][FIRST]["criteria"]] == ["q"]


def trains(monkeypatch: pytest.MonkeyPatch, learning_rate: float) -> None:
    """A claim that trains a small network on what stands for CIFAR-10."""
    measures(monkeypatch, 2.0)

    def measure(laboratory: claim.Laboratory) -> claim.Measurement:
        data = dataclasses.replace(laboratory.images["cifar10"], n_train=10, n_validation=4)
        model = Model(channels=(2,), pool_sizes=(2,), strides=(1,))
        training = Training(updates=2, evaluate_every=2, batch_size=5, learning_rates=(learning_rate,))
        results = laboratory.train([Experiment(data, model, training, seed) for seed in laboratory.seeds])
        # A mean refuses what diverged.
        return claim.Measurement({"q": exact(mean_interval(results["test_accuracy"]).seeds)}, curves(laboratory.seeds))

    monkeypatch.setitem(CLAIMS, FIRST, dataclasses.replace(CLAIMS[FIRST], measure=measure, data_sets=("cifar10",)))


def test_a_claim_may_train_through_the_engine_on_a_folder_of_images(monkeypatch, tmp_path, capsys, seed):
    write_images(tmp_path / "images", np.random.default_rng(seed))
    trains(monkeypatch, 0.01)
    command = (FIRST, "--seed", "3", "--tier", "cpu", "--cifar10", "images")
    assert run(*command) == 0
    record = found("runs/claims-cpu-3")["claims"][FIRST]
    assert record["criteria"][0]["measured"] == 2 and record["data_sets"]["cifar10"].startswith("images, SHA-256 ")
    assert f"Images in place of cifar10: {record['data_sets']['cifar10']}." in capsys.readouterr().out
    # The same path, but other images: neither the record nor the experiments are of them.
    (tmp_path / "images/train/a/0.png").write_bytes((tmp_path / "images/train/b/0.png").read_bytes())
    assert run(*command) == 0
    assert "measured anew, since its record differs in data_sets" in capsys.readouterr().err
    assert [old["data_sets"] for old in found("runs/claims-cpu-3")["superseded"][FIRST]] == [record["data_sets"]]
    results = store.read(Path(f"runs/claims-cpu-3/runs/{FIRST}"))
    assert results.groupby("data.digest").size().tolist() == [2, 2]


def test_a_claim_whose_experiments_diverge_is_not_measured_and_says_so(monkeypatch, tmp_path, capsys, seed):
    write_images(tmp_path / "images", np.random.default_rng(seed))
    trains(monkeypatch, 1e30)
    assert run(FIRST, "--seed", "3", "--tier", "cpu", "--cifar10", "images") == 2
    told = capsys.readouterr()
    assert f"2 of 2 experiments diverged at every learning rate: see runs/claims-cpu-3/runs/{FIRST}" in told.err
    assert f"error: {FIRST}: A mean needs finite values" in told.err
