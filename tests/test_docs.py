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
from made_up_results import make_results
from quickstart_run import write_quickstart

import cnn_constraints as cc
from cnn_constraints.claims import registry
from cnn_constraints.claims.claim import Laboratory, judge
from cnn_constraints.data import interventions, sources
from cnn_constraints.experiment import Data, Experiment, Model, Training
from cnn_constraints.lattice import constraints, counts, order
from cnn_constraints.lattice.geometry import Geometry
from cnn_constraints.report.claims import draw_curves
from cnn_constraints.resolve import resolve

WITHOUT = importlib.util.find_spec("sphinx") is None and os.environ.get("CI") != "true"

DOCS = Path(__file__).parents[1] / "docs"
REGISTRIES = (constraints.CONSTRAINTS, sources.SOURCES, interventions.INTERVENTIONS, registry.CLAIMS)


def page(name: str) -> str:
    return (DOCS / name).read_text()


def blocks(name: str, language: str = "python") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page(name), flags=re.DOTALL | re.MULTILINE)


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
        table, conv = (constraints.ties(name, geometry, delta) for name in ("symmetric", "conv"))
        assert order.leq(table, conv)
        # Turned by half, the whole picture is the same.
        assert order.equal(table[::-1, ::-1], table)
    assert counts.sizes("symmetric", geometry, 1).weights == 5


def test_constraint_source_and_intervention_train_by_the_lines_of_running(
    extended: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    experiment = Experiment(
        data=Data(source="stripes", intervention="fade", n_train=20, n_validation=20),
        model=Model(constraint="symmetric", delta=1, channels=(2,), pool_sizes=(2,), strides=(1,)),
        training=Training(updates=1, evaluate_every=1, batch_size=8, learning_rates=(1e-2,)),
    )
    _, run_it = blocks("running.md")
    exec(run_it, {"get_config": lambda: experiment, "get_sweep": lambda base: [base]})
    (row,) = cc.read("runs/mine").to_dict("records")
    assert 0 <= row["test_accuracy"] <= 1
    assert row["parameters"] == 2 * 5 + 2 + (2 * 16 + 1) * 2
    assert row["data.strength"] == 0.5


def test_the_claim_is_measured_and_judged(extended: None) -> None:
    claim = registry.CLAIMS["small_images"]
    accuracy = {"conv": 0.7, "dense": 0.8}
    train = lambda experiments: make_results(
        resolve(experiments), lambda experiment: accuracy[experiment.model.constraint]
    )
    measurement = claim.measure(Laboratory("cpu", (3, 4, 5), {}, train))
    assert len(measurement.curves) == 6
    draw_curves(claim.statement, claim.picture, measurement.curves)
    (finding,) = judge(claim, measurement)
    assert np.allclose(finding.measured[:3], -10) and finding.verdict == "holds"


def test_the_sweep_of_running_is_one_over_delta() -> None:
    names: dict[str, Any] = {}
    exec(blocks("running.md")[0], names)
    experiments = resolve(names["get_sweep"](names["get_config"]()))
    assert [experiment.model.constraint for experiment in experiments[::3]] == ["conv"] * 4 + ["shared"]


def test_the_lines_of_reading_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_quickstart(tmp_path)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in blocks("reading.md"):
        exec(block, names)
    assert (tmp_path / "learning_curves.pdf").read_bytes().startswith(b"%PDF")
    assert len(names["looks"]) == len(names["seconds"]) == len(names["results"]) == 36


def test_the_table_of_the_idea_is_what_it_prints(capsys: pytest.CaptureFixture) -> None:
    (block,), (said,) = blocks("idea.md"), blocks("idea.md", "text")
    exec(block, {})
    assert capsys.readouterr().out == said


def test_columns_of_reading_are_those_that_are_read(tmp_path: Path) -> None:
    write_quickstart(tmp_path)
    named = set(re.findall(r"`([\w.*<>]+)`", "".join(re.findall(r"^\| (`.*?) \|", page("reading.md"), re.MULTILINE))))
    fields = re.compile(r"(data|model|training)\..*")
    read = {fields.sub(r"\1.*", name) for name in cc.read(tmp_path / "runs" / "quickstart")}
    assert named - {"violation_<constraint>"} == read


def test_a_network_of_ones_own_goes_from_a_convolution_to_a_local_layer_and_back(
    capsys: pytest.CaptureFixture,
) -> None:
    names: dict[str, Any] = {}
    for block in blocks("library.md"):
        exec(block, names)
    conv, local, images = (names[name] for name in ("conv", "local", "images"))
    trained, embedded, free, back = (names[name] for name in ("trained", "embedded", "free", "back"))
    np.testing.assert_allclose(local.apply(embedded, images), conv.apply(trained, images), rtol=1e-3, atol=1e-3)
    example = images[:1]
    assert cc.violation(embedded, local, conv, example) < 1e-6 < 0.01 < cc.violation(free, local, conv, example)
    assert cc.violation(back, conv, conv, example) < 1e-6
    assert cc.violation(cc.embed(back, conv, local, example), local, conv, example) < 1e-6
    assert names["accuracy"](conv, back) > 0.8
    said = [line.split("%")[0][:22].strip() for line in blocks("library.md", "text")[0].splitlines()]
    assert said == [line[:22].strip() for line in capsys.readouterr().out.splitlines() if "away from" in line]


def test_the_reference_has_every_name() -> None:
    named = re.findall(r"^\.\. (?:auto\w+|py:data):: cnn_constraints\.(\w+)$", page("reference.md"), re.MULTILINE)
    assert sorted(named) == cc.__all__


def test_every_word_is_defined_once() -> None:
    """And the words of the columns and commands are among them."""
    defined = re.findall(r"^(\w[\w ]*)\n: ", page("words.md"), re.MULTILINE)
    assert len(set(defined)) == len(defined)
    assert {
        *("sweep", "experiment", "candidate", "arm", "constraint", "cell", "delta"),
        *("tile", "rank", "margin"),
    } <= {*defined}
    assert {"run folder", "look", "update", "group"} <= {*defined}


@pytest.mark.skipif(WITHOUT, reason="the extra `docs` is not installed")
def test_the_site_is_built_without_a_dead_link(tmp_path: Path) -> None:
    """Sphinx warns of links to pages, headings and files that do not exist; external ones are not followed."""
    build = [sys.executable, "-m", "sphinx", "--quiet", "-W", "--keep-going", "-n", str(DOCS), str(tmp_path / "site")]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "index.html").exists()
    pages = [path.read_text() for path in (tmp_path / "site").glob("*.html")]
    assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(?:https?:)?//[^"]*"', "".join(pages))
