"""The notebook runs from its first cell to its last, and what it has stored is what it says when it runs."""

import copy
import os
from pathlib import Path

import pytest

PATH = Path(__file__).parents[1] / "docs" / "notebooks" / "from_fully_connected_to_convolutions.ipynb"


def said(cell) -> list[tuple[str, str]]:
    """The kind of each output, and what is printed."""
    return [(output["output_type"], output.get("text", "")) for output in cell["outputs"]]


@pytest.mark.slow
def test_the_notebook_says_what_it_has_stored_and_warns_of_nothing(tmp_path):
    """By a kernel that finds nothing of the user's, and fails at the first error."""
    nbclient, nbformat, _ = (
        pytest.importorskip(package, reason="the extra `docs` is not installed")
        for package in ("nbclient", "nbformat", "ipykernel")
    )
    stored = nbformat.read(PATH, as_version=4)
    executed = copy.deepcopy(stored)
    environment = os.environ | {"IPYTHONDIR": str(tmp_path), "JUPYTER_RUNTIME_DIR": str(tmp_path)}
    nbclient.NotebookClient(executed, timeout=120).execute(env=environment, cwd=str(tmp_path))
    code = [(old, new) for old, new in zip(stored.cells, executed.cells, strict=True) if old["cell_type"] == "code"]
    assert [old["execution_count"] for old, _ in code] == [*range(1, len(code) + 1)]
    assert [said(old) for old, _ in code] == [said(new) for _, new in code]
    assert "stderr" not in {output.get("name") for _, new in code for output in new["outputs"]}
