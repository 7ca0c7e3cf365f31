"""`python -m experiments.claims`: what it writes, how it ends, and what it refuses."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas
import pytest
from PIL import Image

from cnn_constraints.claims import claim, registry
from cnn_constraints.errors import InputError
from cnn_constraints.estimates import exact
from experiments import claims


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(claims, "prepare_jax", lambda: None)


def record(folder: Path) -> dict:
    return json.loads((folder / "claims.json").read_text())


def test_a_claim_is_measured_printed_and_kept(tmp_path, capsys):
    claims.main(["parameter_ladder", "--seed", "5", "--output", "found"])
    printed = capsys.readouterr().out
    assert "parameter_ladder: holds" in printed and "1 holds, 0 fails, 0 undecided." in printed
    found = record(tmp_path / "found")
    assert (found["tier"], found["entropy"]) == ("cpu", 5)
    assert found["claims"]["parameter_ladder"]["verdict"] == "holds"
    assert (tmp_path / "found/figures/parameter_ladder.png").read_bytes()[:4] == b"\x89PNG"
    assert len(pandas.read_csv(tmp_path / "found/curves/parameter_ladder.csv"))


def fail(monkeypatch: pytest.MonkeyPatch, value: float) -> list[int]:
    """A registered claim that needs at least 1 and gets the value; returns the seeds it was measured with."""
    seen: list[int] = []

    def measure(laboratory: claim.Laboratory) -> claim.Measurement:
        seen.extend(laboratory.seeds)
        curves = pandas.DataFrame({"panel": ["p"], "line": ["conv"], "x": [1.0], "seed": [0], "y": [1.0]})
        return claim.Measurement({"q": exact(value)}, curves)

    own, criterion = registry.CLAIMS["parameter_ladder"], claim.Criterion("q", low=1.0)
    changed = dataclasses.replace(own, criteria=(criterion,), seeds={"cpu": 2}, measure=measure)
    monkeypatch.setitem(claims.CLAIMS, "fake", changed)
    return seen


def test_a_claim_that_fails_ends_in_exit_code_1(monkeypatch):
    fail(monkeypatch, 0.5)
    with pytest.raises(SystemExit) as stopped:
        claims.main(["fake"])
    assert stopped.value.code == 1


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


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["kernel_latice"], "did you mean 'kernel_lattice'?"),
        (["fake", "--tier", "gpu"], "fake has no tier gpu: its tiers are cpu."),
        (["fake", "--seed", "-1"], "--seed is -1: it must be at least 0."),
        (["fake", "--teir", "cpu"], "Unknown flag --teir: did you mean --tier?"),
        (["sample_efficiency", "--cifar10", "nowhere"], "There is no data folder 'nowhere'"),
    ],
)
def test_bad_input_is_refused_before_anything_is_measured(arguments, sentence, monkeypatch, tmp_path):
    seen = fail(monkeypatch, 2.0)
    with pytest.raises(InputError) as refused:
        claims.main(arguments)
    assert sentence in str(refused.value)
    assert not seen and not (tmp_path / "runs").exists()


def write_images(folder: Path, generator: np.random.Generator) -> None:
    """20 images for training and 4 for test in each of two classes, 8 x 8 pixels."""
    for split, count in (("train", 20), ("test", 4)):
        for name in ("a", "b"):
            place = folder / split / name
            place.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(generator.integers(0, 256, (8, 8), dtype=np.uint8)).save(place / f"{number}.png")


def test_a_claim_may_train_through_the_engine_on_a_folder_of_images(monkeypatch, tmp_path, seed):
    from cnn_constraints.config import Experiment, replace

    write_images(tmp_path / "images", np.random.default_rng(seed))
    fail(monkeypatch, 2.0)

    def measure(laboratory: claim.Laboratory) -> claim.Measurement:
        small = {"training.updates": 2, "training.evaluate_every": 2, "data.n_train": 10, "data.n_validation": 4}
        small |= {"training.batch_size": 5, "model.channels": (2,), "model.pool_sizes": (2,), "model.strides": (1,)}
        base = replace(Experiment(data=laboratory.images["cifar10"]), small)
        results = laboratory.train([replace(base, {"seed": seed}) for seed in laboratory.seeds])
        curves = results.assign(panel="p", line="conv", x=1.0, y=results["test_loss"])
        return claim.Measurement({"q": exact(float(len(results)))}, curves[["panel", "line", "x", "seed", "y"]])

    changed = dataclasses.replace(claims.CLAIMS["fake"], measure=measure, data_sets=("cifar10",))
    monkeypatch.setitem(claims.CLAIMS, "fake", changed)
    claims.main(["fake", "--seed", "1", "--cifar10", str(tmp_path / "images")])
    assert record(tmp_path / "runs/claims-cpu-1")["claims"]["fake"]["criteria"][0]["measured"] == 2
    assert (tmp_path / "runs/claims-cpu-1/runs/fake/config.json").exists()
