"""A file is replaced by a whole one, or stays as it was; and one folder keeps what is made once, where the user says."""

from pathlib import Path

import pytest

from cnn_constraints.errors import InputError
from cnn_constraints.files import atomic_write, local_path
from cnn_constraints.settings import CACHE_VARIABLE, cache_folder


def test_a_file_is_replaced_when_all_is_written_and_of_several_writers_the_last_one_stays(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text("old")
    with atomic_write(path) as first, atomic_write(path) as second:
        first.write_text("first")
        second.write_text("second")
        assert path.read_text() == "old"
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("failure", [OSError, KeyboardInterrupt])
def test_what_fails_leaves_the_file_as_it_was_and_nothing_beside_it(tmp_path, failure):
    path = tmp_path / "rows.json"
    path.write_text("old")
    with pytest.raises(failure), atomic_write(path) as temporary:
        temporary.write_text("ne")
        raise failure
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("ours", "xdg", "folder"),
    [
        (None, None, "home/.cache/cnn_constraints"),
        (None, "/scratch", "/scratch/cnn_constraints"),
        (None, "", "home/.cache/cnn_constraints"),
        (None, "relative/path", "home/.cache/cnn_constraints"),
        ("~/mine", "/scratch", "home/mine"),
        ("here", "/scratch", "here"),
    ],
)
def test_the_cache_lies_where_the_user_or_the_machine_says_or_at_home(ours, xdg, folder, monkeypatch):
    for variable, value in {"HOME": str(Path("home").absolute()), CACHE_VARIABLE: ours, "XDG_CACHE_HOME": xdg}.items():
        monkeypatch.delenv(variable, raising=False) if value is None else monkeypatch.setenv(variable, value)
    assert cache_folder() == Path(folder).absolute()


def test_a_path_is_taken_as_in_a_shell_and_an_address_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for given, path in {"~/runs": tmp_path / "runs", "~": tmp_path, "a:b/c": "a:b/c", "~no one/x": "~no one/x"}.items():
        assert local_path(given) == local_path(Path(given)) == Path(path)
    for address in ("gs://bucket/runs", "s3://bucket", "hdfs://host:1/x", "file:///runs", "abfs+x://y/z"):
        for given in (address, Path(address)):
            with pytest.raises(InputError, match=f"^{str(given)!r} is no path of this machine".replace("+", r"\+")):
                local_path(given)
