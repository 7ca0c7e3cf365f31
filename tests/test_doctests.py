"""The examples in docstrings run as they stand, in a folder with the run that README's first command leaves."""

import ast
import doctest
import importlib
from pathlib import Path
from types import ModuleType

import pytest
from test_analysis import result_row

from cnn_constraints import config, store
from cnn_constraints.config import Experiment
from cnn_constraints.sweep import resolve
from experiments.entry import load_config

REPOSITORY = Path(__file__).parents[1]
MODULES = [
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted((REPOSITORY / "cnn_constraints").rglob("*.py"))
    if ">>>" in path.read_text()
]

TEST_IMAGES = 400
CORRECT = {
    ("dense", 100): (349, 365, 368),
    ("dense", 300): (383, 385, 382),
    ("dense", 600): (392, 391, 387),
    ("shared", 100): (355, 370, 367),
    ("shared", 300): (385, 380, 383),
    ("shared", 600): (387, 390, 385),
    ("local", 100): (354, 372, 367),
    ("local", 300): (383, 382, 379),
    ("local", 600): (390, 390, 383),
    ("conv", 100): (354, 366, 372),
    ("conv", 300): (387, 382, 387),
    ("conv", 600): (391, 390, 390),
}
"""Of the test images, by cell, n_train and seed: a run of configs/quickstart.py. Training it anew takes a minute."""


def accuracy(trial: Experiment) -> float:
    return CORRECT[trial.model.constraint, trial.data.n_train][trial.seed] / TEST_IMAGES


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    quickstart = load_config(REPOSITORY / "configs" / "quickstart.py")
    trials = resolve(quickstart.get_sweep(quickstart.get_config()))
    folder = tmp_path_factory.mktemp("examples")
    with store.open_run(folder / "runs" / "quickstart", trials, {}) as run:
        run.commit("recorded", [result_row(trial, accuracy(trial)) for trial in trials])
    assert len({config.name(trial) for trial in trials}) == sum(map(len, CORRECT.values()))
    return folder


def examples_of(module: ModuleType) -> list[doctest.DocTest]:
    """Read off the source: tests run with checked signatures, and doctest takes those functions for another module's."""
    path = str(module.__file__)
    tree = ast.parse(Path(path).read_text())
    documented = [node for node in ast.walk(tree) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)]
    parser, names = doctest.DocTestParser(), {"store": store, **vars(module)}
    found = [
        parser.get_doctest(ast.get_docstring(node) or "", names, getattr(node, "name", module.__name__), path, 0)
        for node in documented
    ]
    return [test for test in found if test.examples]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    tests = examples_of(importlib.import_module(name))
    assert tests
    said: list[str] = []
    for test in tests:
        doctest.DocTestRunner(verbose=False).run(test, out=said.append)
    assert not said, "".join(said)
