"""The sweep that nothing happens to."""

from pathlib import Path

import pytest
from sweep_process import CONFIG, finish, start, tables

from cnn_constraints import store


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the config, in which programs are kept too, so that they are compiled once."""
    folder = tmp_path_factory.mktemp("sweeps")
    (folder / "config.py").write_text(CONFIG)
    return folder


@pytest.fixture(scope="session")
def undisturbed(place: Path) -> list[bytes]:
    finish(start(place, "undisturbed"))
    assert len(store.read(place / "undisturbed")) == 9
    return tables(place / "undisturbed")
