"""The notebook runs from its first cell to its last, and what it has stored is what it says when it runs."""

import importlib.util
import os
from pathlib import Path

import pytest

if importlib.util.find_spec("nbclient") is None and os.environ.get("CI") != "true":
    pytest.skip("the extra `docs` is not installed", allow_module_level=True)

import nbformat
from nbclient import NotebookClient

PATH = Path(__file__).parents[1] / "docs" / "notebooks" / "from_fully_connected_to_convolutions.ipynb"


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> nbformat.NotebookNode:
    """A kernel that finds nothing of the user's, and fails at the first error."""
    notebook = nbformat.read(PATH, as_version=4)
    home = tmp_path_factory.mktemp("jupyter")
    environment = os.environ | {"IPYTHONDIR": str(home), "JUPYTER_RUNTIME_DIR": str(home)}
    NotebookClient(notebook, timeout=120).execute(env=environment, cwd=str(home))
    return notebook


def printed(cell: nbformat.NotebookNode) -> str:
    return "".join(output["text"] for output in cell["outputs"] if output["output_type"] == "stream")


def test_notebook_runs_and_warns_of_nothing(executed: nbformat.NotebookNode) -> None:
    names = [output.get("name") for cell in executed.cells for output in cell.get("outputs", [])]
    assert names and "stderr" not in names


def test_stored_outputs_are_those_of_its_code(executed: nbformat.NotebookNode) -> None:
    stored = nbformat.read(PATH, as_version=4)
    code = [(old, new) for old, new in zip(stored.cells, executed.cells, strict=True) if old["cell_type"] == "code"]
    assert all(old["execution_count"] == number for number, (old, _) in enumerate(code, start=1))
    assert [printed(old) for old, _ in code] == [printed(new) for _, new in code]
    kinds = lambda cell: [output["output_type"] for output in cell["outputs"]]
    assert [kinds(old) for old, _ in code] == [kinds(new) for _, new in code]
