"""A file is replaced by a whole one, or stays as it was."""

import pytest

from cnn_constraints.files import atomic_write


def test_a_file_is_replaced_when_all_is_written(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text("old")
    with atomic_write(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
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


def test_a_folder_is_not_replaced(tmp_path):
    (tmp_path / "rows").mkdir()
    with pytest.raises(OSError), atomic_write(tmp_path / "rows") as temporary:
        temporary.write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]


def test_several_write_one_file_at_once(tmp_path):
    path = tmp_path / "rows.json"
    with atomic_write(path) as first, atomic_write(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]
