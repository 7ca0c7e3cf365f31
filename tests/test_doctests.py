"""The examples in docstrings run as they stand, in a folder with the run that README's first command leaves."""

import ast
import doctest
import importlib
from pathlib import Path
from types import ModuleType

import pytest
from quickstart_run import write_quickstart

from cnn_constraints import store

REPOSITORY = Path(__file__).parents[1]
MODULES = [
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted((REPOSITORY / "cnn_constraints").rglob("*.py"))
    if ">>>" in path.read_text()
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    write_quickstart(folder)
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
