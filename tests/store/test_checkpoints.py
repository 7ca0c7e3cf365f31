"""A checkpoint is what was saved, or is told and gone."""

import errno
import math
import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from made_up_records import EXPERIMENTS, NAMES, damage, evaluations

from cnn_constraints import store
from cnn_constraints.store import Checkpoint, Checkpoints


@pytest.fixture
def checkpoints(folder) -> Checkpoints:
    store.open_run(folder, EXPERIMENTS, {}).close()
    return Checkpoints(folder)


def checkpoint(generator: np.random.Generator, update: int = 20) -> Checkpoint:
    shapes = [(2, 3, 4), (2,), (2, 1)]
    state = [generator.normal(size=shape).astype(dtype) for shape in shapes for dtype in (np.float32, np.int32)]
    found = {name: evaluations(generator, ("conv",), missing=0.1) for name in NAMES[:2]}
    return Checkpoint(update, float(generator.exponential()), found, state)


def assert_same(one: Checkpoint | None, other: Checkpoint) -> None:
    assert one is not None
    assert one[:3] == other[:3]
    assert [(array.dtype, array.shape, array.tobytes()) for array in one.state] == [
        (array.dtype, array.shape, array.tobytes()) for array in other.state
    ]


def names(folder) -> set[str]:
    return set(os.listdir(folder / "checkpoints"))


def test_what_was_saved_is_loaded_bit_by_bit(checkpoints, generator):
    saved = checkpoint(generator)
    saved.state[0].flat[:3] = [math.nan, math.inf, -0.0]
    checkpoints.save("group", saved)
    assert_same(checkpoints.load("group"), saved)


def test_a_run_folder_may_be_named_from_here(checkpoints, folder, generator, monkeypatch):
    monkeypatch.chdir(folder.parent)
    here = Checkpoints(Path(folder.name))
    saved = checkpoint(generator)
    here.save("group", saved)
    monkeypatch.chdir("/")
    assert_same(checkpoints.load("group"), saved)


def test_the_last_one_counts_and_the_others_are_deleted(folder, checkpoints, generator):
    other = checkpoint(generator)
    checkpoints.save("other", other)
    for update in (20, 40, 60):
        last = checkpoint(generator, update)
        checkpoints.save("group", last)
    assert_same(checkpoints.load("group"), last)
    assert_same(checkpoints.load("other"), other)
    assert names(folder) == {"group.json", "group-60", "other.json", "other-20"}


def test_the_same_update_may_be_saved_again(checkpoints, generator):
    checkpoints.save("group", checkpoint(generator))
    again = checkpoint(generator)
    checkpoints.save("group", again)
    assert_same(checkpoints.load("group"), again)


def test_what_is_dropped_is_gone(folder, checkpoints, generator):
    checkpoints.save("group", checkpoint(generator))
    # Of a process that was killed while it wrote.
    (folder / "checkpoints" / "group.json.0a1b2c3d.partial").touch()
    checkpoints.drop("group")
    assert checkpoints.load("group") is None
    assert names(folder) == set()


def test_a_crash_before_the_document_is_written_leaves_the_one_before(folder, checkpoints, generator, monkeypatch):
    first = checkpoint(generator)
    checkpoints.save("group", first)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("cnn_constraints.store.documents.write", crash)
        checkpoints.save("group", checkpoint(generator, 40))
    assert_same(checkpoints.load("group"), first)
    checkpoints.save("group", checkpoint(generator, 60))
    assert names(folder) == {"group.json", "group-60"}


@pytest.mark.parametrize("what", ["truncated", "altered", "missing file", "missing folder", "added", "document"])
def test_a_damaged_checkpoint_is_told_by_name_and_deleted(folder, checkpoints, generator, what):
    checkpoints.save("group", checkpoint(generator))
    place = folder / "checkpoints" / "group-20"
    files = [path for path in place.rglob("*") if path.is_file() and path.stat().st_size]
    path = files[generator.integers(len(files))]
    if what in ("truncated", "altered"):
        path.write_bytes(damage(path.read_bytes(), what, generator))
    elif what == "missing file":
        path.unlink()
    elif what == "missing folder":
        shutil.rmtree(place)
    elif what == "added":
        (place / "another").write_text("text")
    else:
        document = folder / "checkpoints" / "group.json"
        document.write_text(document.read_text().replace('"update": 20', '"update": 30'))
    with pytest.warns(UserWarning, match=r"group\.json was altered" if what == "document" else "group-20"):
        assert checkpoints.load("group") is None
    assert names(folder) == set()


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("place", ["cnn_constraints.files._to_disk", "os.posix_fallocate"])
def test_a_full_disk_is_told_and_nothing_is_lost(checkpoints, generator, monkeypatch, place):
    first = checkpoint(generator)
    checkpoints.save("group", first)
    with monkeypatch.context() as patch, pytest.warns(UserWarning, match="No space left on device"):
        patch.setattr(place, full)
        checkpoints.save("group", checkpoint(generator, 40))
    assert_same(checkpoints.load("group"), first)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError(), RuntimeError("stopped")])
def test_what_fails_in_the_middle_leaves_nothing_and_is_told_once(folder, checkpoints, generator, monkeypatch, error):
    first = checkpoint(generator)
    checkpoints.save("group", first)
    before = names(folder)

    def break_off(_: object, place: Path, *__: object) -> None:
        # As Orbax does.
        half = place.with_name(place.name + ".orbax-checkpoint-tmp")
        half.mkdir()
        (half / "manifest").write_bytes(generator.bytes(100))
        raise error

    with monkeypatch.context() as patch, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        patch.setattr("orbax.checkpoint.Checkpointer.save", break_off)
        for update in (40, 60, 80):
            checkpoints.save("group", checkpoint(generator, update))
            assert names(folder) == before
    (warning,) = told
    assert str(error.args[-1] if error.args else "ValueError") in str(warning.message)
    assert_same(checkpoints.load("group"), first)
    last = checkpoint(generator, 100)
    checkpoints.save("group", last)
    assert_same(checkpoints.load("group"), last)


def test_where_there_is_no_room_orbax_is_not_asked(checkpoints, generator, monkeypatch):
    """Its threads would go on to complain of what cannot be written."""
    monkeypatch.setattr("os.posix_fallocate", full)
    monkeypatch.setattr("orbax.checkpoint.Checkpointer.save", lambda *_: pytest.fail("Orbax was asked"))
    with pytest.warns(UserWarning, match="No space left on device"):
        checkpoints.save("group", checkpoint(generator))


def test_what_a_killed_process_left_half_written_is_deleted_by_the_next(folder, checkpoints, generator):
    for name in ("group-10.orbax-checkpoint-tmp", "other-10.orbax-checkpoint-tmp"):
        (folder / "checkpoints" / name).mkdir()
    checkpoints.save("group", checkpoint(generator))
    assert names(folder) == {"group.json", "group-20", "other-10.orbax-checkpoint-tmp"}
