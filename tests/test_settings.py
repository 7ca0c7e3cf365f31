"""One folder keeps what is made once, and the user says where."""

from pathlib import Path

import pytest

from cnn_constraints.settings import CACHE_VARIABLE, cache_folder


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    return tmp_path


def test_the_cache_lies_at_home(home):
    assert cache_folder() == home / ".cache" / "cnn_constraints"


def test_the_machine_may_keep_caches_elsewhere(home, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "scratch"))
    assert cache_folder() == home / "scratch" / "cnn_constraints"


@pytest.mark.parametrize("value", ["", "relative/path"])
def test_a_cache_home_that_is_no_absolute_path_counts_as_none(home, monkeypatch, value):
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    assert cache_folder() == home / ".cache" / "cnn_constraints"


def test_the_variable_of_the_project_comes_first(home, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "scratch"))
    monkeypatch.setenv(CACHE_VARIABLE, "~/mine")
    assert cache_folder() == home / "mine"
    monkeypatch.setenv(CACHE_VARIABLE, "here")
    assert cache_folder() == Path("here").absolute()
