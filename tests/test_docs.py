"""What README, docs/ and docstrings show runs as it stands: code, commands, sentences, numbers and links."""

import ast
import doctest
import importlib
import itertools
import re
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock
from unittest.mock import call

import numpy as np
import pytest
from made_up_results import make_results
from quickstart_run import CONFIG, write_quickstart

import cnn_constraints as cc
from cnn_constraints import store
from cnn_constraints.claims import records, registry
from cnn_constraints.claims.claim import Laboratory
from cnn_constraints.config_file import load_config
from cnn_constraints.data import augmentation, interventions, sources
from cnn_constraints.data.datasets import Datasets
from cnn_constraints.experiment import flat
from cnn_constraints.lattice import constraints, counts, order
from cnn_constraints.plan import plan
from cnn_constraints.report.claims import as_text, draw_curves, summary_table
from cnn_constraints.report.tables import as_markdown
from cnn_constraints.resolve import resolve
from experiments.entry import parse_flags

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FILES = [path for path in sorted((ROOT / "cnn_constraints").rglob("*.py")) if ">>>" in path.read_text()]
REGISTRIES: list[Any] = [
    *(constraints.CONSTRAINTS, cc.NETWORKS, sources.SOURCES, interventions.INTERVENTIONS, augmentation.AUGMENTATIONS),
    registry.CLAIMS,
]

SMALL = cc.Experiment(
    data=cc.Data(n_train=20, n_validation=20),
    model=cc.Model(delta=1, channels=(2,), pool_sizes=(2,), strides=(1,)),
    training=cc.Training(updates=1, evaluate_every=1, batch_size=8, learning_rates=(1e-2,)),
)


def page(name: str) -> str:
    return (ROOT / name).read_text()


def blocks(name: str, language: str = "python") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page(name), flags=re.DOTALL | re.MULTILINE)


def run_blocks(name: str, number: int | None = None) -> dict[str, Any]:
    """All that a page's Python blocks define, or the first few of them."""
    names: dict[str, Any] = {}
    for block in blocks(name)[:number]:
        exec(block, names)
    return names


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """The working directory, with the run that README's first command leaves."""
    write_quickstart(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def examples_of(path: Path) -> list[doctest.DocTest]:
    """Read off the source: tests run with checked signatures, and doctest takes those functions for another module's."""
    module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
    nodes = ast.walk(ast.parse(path.read_text()))
    documented = (node for node in nodes if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef))
    texts, names = [ast.get_docstring(node) or "" for node in documented], {"store": store, **vars(module)}
    found = [doctest.DocTestParser().get_doctest(text, names, path.stem, str(path), 0) for text in texts]
    return [test for test in found if test.examples]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples_in_docstrings_run(path, here):
    tests, said = examples_of(path), []
    for test in tests:
        doctest.DocTestRunner(verbose=False).run(test, out=said.append)
    assert tests and not said, "".join(said)


def test_readme_reads_the_quickstart_has_a_sweep_and_embeds_a_convolution(here):
    names = run_blocks("README.md")
    assert len(names["results"]) == 64
    base = load_config(CONFIG).get_config()
    experiments = resolve(cc.product(base, *names["get_sweep"](base)))
    assert len({experiment.name for experiment in experiments}) == 2 * 4 * 5
    conv, local, variables, free, images = (names[name] for name in ("conv", "local", "variables", "free", "images"))
    np.testing.assert_allclose(local.apply(free, images), conv.apply(variables, images), rtol=1e-4, atol=1e-4)
    assert cc.violation(free, local, conv, images) < 1e-4


def test_readmes_table_is_that_of_the_quickstart(here):
    arms = cc.summarise(cc.read("runs/quickstart"))
    few = arms[(arms["data.n_train"] == 100) & (arms["data.intervention"] == "none")]
    half = (few["test_accuracy_high"] - few["test_accuracy_low"]) / 2
    said = re.findall(r"^ (\w+) +\w+ +100 +[\d,]+ +([\d.]+ ± [\d.]+)", page("README.md"), re.MULTILINE)
    found = zip(few["model.constraint"], 100 * few["test_accuracy"], 100 * half, strict=True)
    assert said == [(cell, f"{accuracy:.1f} ± {half:.1f}") for cell, accuracy, half in found]


def test_the_tables_of_claims_are_what_the_command_prints_of_the_records_in_docs():
    """`python -m experiments.report docs/claims --tables markdown`."""
    stored = records.read(ROOT / "docs/claims")
    found = stored["claims"]
    assert found.keys() == registry.CLAIMS.keys()
    for name, record in found.items():
        claim = registry.CLAIMS[name].of_tier(stored["tier"])
        assert records.changes(record, records.terms(claim, record["seeds"], record["data_sets"])) == []
    assert as_text("markdown", found) in page("docs/results.md")
    assert as_markdown(summary_table(found)) in page("README.md")
    count = Counter(record["verdict"] for record in found.values())
    said = f"{count['holds']} hold, {count['fails']} fail, {count['undecided']} undecided."
    assert f"{len(found)} claims of the text and of papers: {said}" in page("README.md")


@pytest.fixture
def wandb(monkeypatch) -> dict[str, mock.Mock]:
    """Stands in for Weights & Biases: its runs, by their id."""
    runs: dict[str, mock.Mock] = {}
    # As `wandb.init` has them: no other flag is known to it.
    start = lambda *, project, id, config, reinit, resume: runs.setdefault(id, mock.Mock(summary={}, config=config))
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=start))
    return runs


@pytest.fixture
def mlflow(monkeypatch) -> mock.Mock:
    """Stands in for the client of MLflow."""
    client = mock.Mock(spec_set=["create_run", "log_param", "log_metric", "set_terminated"])
    client.create_run = lambda experiment_id, *, run_name: SimpleNamespace(
        info=SimpleNamespace(run_id=f"run of {run_name}")
    )
    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(MlflowClient=lambda: client))
    return client


@pytest.fixture
def extended(wandb, mlflow):
    """What docs/extending.md defines, and for one test the registries with what it adds."""
    before = [dict(entries) for entries in REGISTRIES]
    try:
        names = run_blocks("docs/extending.md")
        assert all(len(entries) == len(old) + 1 for entries, old in zip(REGISTRIES, before, strict=True))
        yield names
    finally:
        for entries, old in zip(REGISTRIES, before, strict=True):
            entries.clear()
            entries.update(old)


def test_the_new_constraint_is_a_convolution_whose_kernel_may_be_turned(extended):
    for delta in (0, 1, 3):
        table, conv = (constraints.ties(name, cc.Geometry(5, 6), delta) for name in ("symmetric", "conv"))
        assert order.leq(table, conv) and order.equal(table[::-1, ::-1], table)  # all is the same, turned by half
    assert counts.sizes("symmetric", cc.Geometry(5, 6), 1).weights == 5


def test_new_constraint_source_intervention_and_augmentation_train_by_the_lines_of_running(
    extended, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    experiment = cc.replace(
        SMALL,
        {
            "data.source": "stripes",
            "data.intervention": "fade",
            "data.augmentation": ("brighten",),
            "model.constraint": "symmetric",
        },
    )
    _, run_it = blocks("docs/running.md")
    exec(run_it, {"get_config": lambda: experiment, "get_sweep": lambda base: []})
    row, _ = cc.read("runs/mine").to_dict("records")
    assert 0 <= row["test_accuracy"] <= 1 and row["data.strength"] == 0.5
    assert list(row["data.augmentation_strengths"]) == [0.3]
    assert row["parameters"] == 2 * 5 + 2 + (2 * 16 + 1) * 2


def test_the_new_claim_is_measured_and_judged(extended):
    claim, accuracy = registry.CLAIMS["small_images"], {"conv": 0.7, "dense": 0.8}
    train = lambda experiments: make_results(resolve(experiments), lambda one: accuracy[one.model.constraint])
    measurement = claim.measure(Laboratory("cpu", (3, 4, 5), {}, train))
    assert len(measurement.curves) == 6
    draw_curves(claim.statement, claim.picture, measurement.curves)
    (criterion,), (measured,) = claim.criteria, measurement.values.values()
    assert np.allclose(measured[:3], -10) and criterion.verdict(measured) == "holds"


def test_the_trackers_are_told_what_the_tables_say(extended, wandb, mlflow, tmp_path, seed):
    base = cc.replace(SMALL, {"training.learning_rates": (1e-2, 1e30), "training.updates": 4})
    experiments = cc.product(base, cc.axis("seed", [seed, (seed + 1) % 2**32]))
    for tracker in ("WeightsAndBiases", "MLflow"):
        cc.run(experiments, tmp_path / tracker, observer=extended[tracker]())
    results = cc.read(tmp_path / "MLflow").set_index("experiment")
    assert wandb.keys() == set(results.index) and len(wandb) == 2
    for name, own in store.read(tmp_path / "MLflow", "evaluation").groupby("experiment"):
        accuracies = [
            (f"accuracy/{row['candidate']}", row["validation_accuracy"], row["update"]) for _, row in own.iterrows()
        ]
        run, logged = f"run of {name}", [call.log({"update": update, key: value}) for key, value, update in accuracies]
        seed, tested = results.loc[name, ["seed", "test_accuracy"]]
        assert wandb[name].mock_calls == [*logged, call.finish()]
        assert wandb[name].config["seed"] == seed and wandb[name].summary["test_accuracy"] == tested
        metrics = [each for each in mlflow.log_metric.mock_calls if each.args[0] == run]
        looks = [call(run, key, value, step=update) for key, value, update in accuracies]
        assert metrics == [*looks, call(run, "test_accuracy", tested)]
        assert call(run, "seed", seed) in mlflow.log_param.mock_calls
        assert call(run) in mlflow.set_terminated.mock_calls


def test_the_sweep_of_running_is_one_over_delta_and_its_sentences_are_what_is_said():
    running = run_blocks("docs/running.md", 1)
    base = running["get_config"]()
    experiments = resolve(cc.product(base, *running["get_sweep"](base)))
    assert [experiment.model.constraint for experiment in experiments[::3]] == ["conv"] * 4 + ["shared"]
    said = []
    for change in ({"model.constraint": "cnv"}, {"data.n_train": 1400}):
        with pytest.raises(cc.InputError) as error:
            plan(resolve([cc.replace(running["get_config"](), change)]), Datasets())
        said.append(f"error: {error.value}\n")
    assert blocks("docs/running.md", "text") == ["".join(said)]


def test_the_lines_of_reading_read_and_its_table_has_the_columns(here):
    names = run_blocks("docs/reading.md")
    assert (here / "learning_curves.pdf").read_bytes().startswith(b"%PDF")
    assert len(names["looks"]) == len(names["seconds"]) == len(names["results"]) == 64
    rows = "".join(re.findall(r"^\| (`.*?) \|", page("docs/reading.md"), re.MULTILINE))
    columns = {re.sub(r"(data|model|training)\..*", r"\1.*", name) for name in names["results"]}
    assert set(re.findall(r"`([\w.*<>]+)`", rows)) - {"violation_<constraint>"} == columns


def test_the_table_of_the_idea_is_what_it_prints(capsys):
    run_blocks("docs/idea.md")
    assert [capsys.readouterr().out] == blocks("docs/idea.md", "text")


@pytest.mark.slow
def test_a_network_of_ones_own_goes_from_a_convolution_to_a_local_layer_and_back(capsys):
    names = run_blocks("docs/library.md")
    conv, local, images = (names[name] for name in ("conv", "local", "images"))
    trained, embedded, free, back = (names[name] for name in ("trained", "embedded", "free", "back"))
    np.testing.assert_allclose(local.apply(embedded, images), conv.apply(trained, images), rtol=1e-3, atol=1e-3)
    example = images[:1]
    assert cc.violation(embedded, local, conv, example) < 1e-6 < 0.01 < cc.violation(free, local, conv, example)
    assert cc.violation(back, conv, conv, example) < 1e-6
    assert cc.violation(cc.embed(back, conv, local, example), local, conv, example) < 1e-6
    assert names["accuracy"](conv, back) > 0.8
    said = [line.split("%")[0][:22].strip() for line in blocks("docs/library.md", "text")[0].splitlines()]
    assert said == [line[:22].strip() for line in capsys.readouterr().out.splitlines() if "away from" in line]


@pytest.mark.slow
def test_a_kept_convolution_is_loaded_and_freed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = run_blocks("docs/weights.md")
    wrong = names["predicted"].classes != names["dataset"].test.labels
    assert len(names["wrong"]) == wrong.sum() == names["table"].to_numpy().sum() - np.trace(names["table"])
    assert names["wrong"]["probability"].is_monotonic_decreasing and (tmp_path / "mistakes.png").exists()
    share = re.match(r"([\d.]+)% away from a convolution", capsys.readouterr().out)
    assert share and float(share[1]) > 1


def test_the_reference_has_every_name():
    directives = r"^\.\. (?:auto\w+|py:data):: cnn_constraints\.(\w+)$"
    assert sorted(re.findall(directives, page("docs/reference.md"), re.MULTILINE)) == cc.__all__


def anchors(path: Path) -> set[str]:
    """As GitHub and Sphinx write the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_links_lead_somewhere():
    for path in PAGES:
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", path.read_text()):
            there = path.parent / target if target else path
            assert there.exists(), (path, target)
            assert not anchor or anchor in anchors(there), (path, target, anchor)


def commands() -> set[tuple[str, str]]:
    """Every command that a page shows, and its arguments, with something in the place of what the reader fills in."""
    text = "\n".join(path.read_text() for path in PAGES)
    found = re.findall(r"python -m experiments\.(\w+)((?:[^`\n#&<]|<[^`\n>]*>)*)", text)
    return {(name, re.sub(r" \[.*?\]", "", re.sub(r"<[^>]*>", "7", rest)).strip()) for name, rest in found}


@pytest.mark.parametrize(("name", "arguments"), sorted(commands()))
def test_commands_are_understood(name, arguments, tmp_path, monkeypatch):
    """In a folder with the configs of this project, and with the one of docs/running.md and its run."""
    (tmp_path / "my_sweep.py").write_text(blocks("docs/running.md")[0])
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    store.open_run(tmp_path / "runs" / "my_sweep", resolve([cc.Experiment()]), {}).close()
    monkeypatch.chdir(tmp_path)
    command, given = importlib.import_module(f"experiments.{name}"), shlex.split(arguments)
    if name == "sweep":
        assert command.build_sweep(command.parse(given))
        return

    def parse_and_stop(*options: Any, **more: Any) -> None:
        parse_flags(*options, **more)
        raise InterruptedError

    monkeypatch.setattr(command, "parse_flags", parse_and_stop)
    with pytest.raises(InterruptedError):
        command.main(given)


def test_flags_are_those_of_a_command_or_fields():
    verbs = ("sweep", "report", "claims", "pictures", "count")
    own = [importlib.import_module(f"experiments.{verb}").Command.__dataclass_fields__ for verb in verbs]
    known = {"--" + name.replace("_", "-") for name in [*flat(cc.Experiment()), *itertools.chain(*own), "help"]}
    for path in PAGES:
        assert set(re.findall(r"`(--[\w.-]+)", path.read_text())) <= known, path


@pytest.mark.slow
def test_the_site_is_built_without_a_dead_link(tmp_path):
    """Sphinx warns of links to pages, headings and files that do not exist; external ones are not followed."""
    for package in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(package, reason="the extra `docs` is not installed")
    build = [sys.executable, "-m", "sphinx", "--quiet", "-W", "--keep-going", "-n", "docs", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "index.html").exists()
    pages = "".join(path.read_text() for path in tmp_path.glob("*.html"))
    assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(?:https?:)?//[^"]*"', pages)
