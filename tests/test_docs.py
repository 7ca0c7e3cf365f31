"""What the pages of docs/ show runs as it stands, and their site is built without a dead link."""

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quickstart_run import write_quickstart
from test_analysis import make_results

from cnn_constraints import store
from cnn_constraints.claims import registry
from cnn_constraints.claims.claim import Laboratory, judge
from cnn_constraints.config import Data, Experiment, Model, Training
from cnn_constraints.constraints import ties
from cnn_constraints.constraints.geometry import Geometry
from cnn_constraints.data import interventions, sources
from cnn_constraints.report.claims import draw_curves
from cnn_constraints.sweep import resolve

WITHOUT = importlib.util.find_spec("sphinx") is None and os.environ.get("CI") != "true"

DOCS = Path(__file__).parents[1] / "docs"
REGISTRIES = (ties.CONSTRAINTS, sources.SOURCES, interventions.INTERVENTIONS, registry.CLAIMS)


def blocks(page: str, language: str = "python") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (DOCS / page).read_text(), flags=re.DOTALL | re.MULTILINE)


@pytest.fixture
def extended() -> Iterator[None]:
    """The registries with what docs/extending.md adds, for one test."""
    before = [dict(entries) for entries in REGISTRIES]
    for block in blocks("extending.md"):
        exec(block, {})
    assert all(len(entries) == len(old) + 1 for entries, old in zip(REGISTRIES, before, strict=True))
    yield
    for entries, old in zip(REGISTRIES, before, strict=True):
        entries.clear()
        entries.update(old)


def test_the_constraint_is_a_convolution_whose_kernel_may_be_turned(extended: None) -> None:
    geometry = Geometry(5, 6)
    for delta in (0, 1, 3):
        table, conv = (ties.tie_table(name, geometry, delta) for name in ("symmetric", "conv"))
        assert ties.leq(table, conv)
        # Turned by half, the whole picture is the same.
        turned = ties.canonical(table[::-1, ::-1])
        assert np.array_equal(turned, ties.canonical(table))
    assert ties.sizes("symmetric", geometry, 1).weights == 5


def test_constraint_source_and_intervention_train_by_the_lines_of_running(
    extended: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    trial = Experiment(
        data=Data(source="stripes", intervention="fade", n_train=20, n_validation=20),
        model=Model(constraint="symmetric", delta=1, channels=(2,), pool_sizes=(2,), strides=(1,)),
        training=Training(updates=1, evaluate_every=1, batch_size=8, learning_rates=(1e-2,)),
    )
    _, run_it = blocks("running.md")
    exec(run_it, {"get_config": lambda: trial, "get_sweep": lambda base: [base]})
    (row,) = store.read("runs/mine").to_dict("records")
    assert 0 <= row["test_accuracy"] <= 1
    assert row["parameters"] == 2 * 5 + 2 + (2 * 16 + 1) * 2
    assert row["data.strength"] == 0.5


def test_the_claim_is_measured_and_judged(extended: None) -> None:
    claim = registry.CLAIMS["small_images"]
    accuracy = {"conv": 0.7, "dense": 0.8}
    train = lambda trials: make_results(resolve(trials), lambda trial: accuracy[trial.model.constraint])
    measurement = claim.measure(Laboratory("cpu", (3, 4, 5), {}, train))
    assert len(measurement.curves) == 6
    draw_curves(claim.statement, claim.picture, measurement.curves)
    (finding,) = judge(claim, measurement)
    assert np.allclose(finding.measured[:3], -10) and finding.verdict == "holds"


def test_the_sweep_of_running_is_one_over_delta() -> None:
    names: dict[str, Any] = {}
    exec(blocks("running.md")[0], names)
    trials = resolve(names["get_sweep"](names["get_config"]()))
    assert [trial.model.constraint for trial in trials[::3]] == ["conv"] * 4 + ["shared"]


def test_the_lines_of_reading_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_quickstart(tmp_path)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in blocks("reading.md"):
        exec(block, names)
    assert (tmp_path / "learning_curves.pdf").read_bytes().startswith(b"%PDF")
    assert len(names["curves"]) == len(names["seconds"]) == 36


def test_the_table_of_the_idea_is_what_it_prints(capsys: pytest.CaptureFixture) -> None:
    (block,), (said,) = blocks("idea.md"), blocks("idea.md", "text")
    exec(block, {})
    assert capsys.readouterr().out == said


@pytest.mark.skipif(WITHOUT, reason="the extra `docs` is not installed")
def test_the_site_is_built_without_a_dead_link(tmp_path: Path) -> None:
    """Sphinx warns of links to pages, headings and files that do not exist; external ones are not followed."""
    build = [sys.executable, "-m", "sphinx", "--quiet", "-W", "--keep-going", "-n", str(DOCS), str(tmp_path / "site")]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "index.html").exists()
    pages = [path.read_text() for path in (tmp_path / "site").glob("*.html")]
    assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(?:https?:)?//[^"]*"', "".join(pages))
