"""What the file system refuses is one sentence, and costs no finished experiment."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from made_up_records import EXPERIMENTS, NAMES, assert_holds, finished, write_run

from cnn_constraints import store
from cnn_constraints.errors import InputError


def test_a_full_disk_is_one_sentence_and_loses_no_finished_experiment(folder, generator, monkeypatch):
    kept, late = finished(generator, NAMES[0]), finished(generator, NAMES[1])
    write_run(folder, [kept])

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with store.open_run(folder, EXPERIMENTS, {}) as run:
        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_bytes", full)
            with pytest.raises(InputError, match=r"No space left on device.*finished experiments are kept"):
                run.commit("group", [late])
        assert_holds(folder, [kept])
        run.commit("group", [late])
    assert_holds(folder, [kept, late])


@pytest.mark.parametrize("other", [False, True])
def test_a_full_disk_costs_checkpoints_and_no_finished_experiment_but_not_those_of_others(
    folder, generator, other, monkeypatch
):
    """A file system that has room for what counts once the checkpoints are gone."""
    found = [finished(generator, NAMES[0])]
    replace = os.replace
    checkpoint = store.Checkpoint(10, 1.0, {NAMES[1]: []}, [np.zeros(1)])

    def full(source: object, target: object) -> None:
        if any((folder / "checkpoints").iterdir()):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(str(source), str(target))

    def put(*groups: str) -> None:
        for group in groups:
            store.Checkpoints(folder).save(group, checkpoint)

    with store.open_run(folder, EXPERIMENTS, {}) as run, store.open_run(folder, EXPERIMENTS, {}) as second:
        assert run.hold("group") and second.hold("held by another")
        put("group", "orphan", *["held by another"] * other)
        (folder / "checkpoints" / "orphan-7.orbax-checkpoint-tmp").mkdir()
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", full)
            if other:
                with pytest.raises(InputError, match="No space left on device"):
                    run.commit("group", found)
                assert store.Checkpoints(folder).groups() == {"held by another"}
                return
            run.commit("group", found)
    assert_holds(folder, found)
    put("group")
    monkeypatch.setattr(os, "replace", full)
    store.open_run(folder, EXPERIMENTS, {}).close()
    assert not store.Checkpoints(folder).groups()
    assert_holds(folder, found)


@pytest.mark.parametrize("fails", ["open", "flock"])
def test_a_lock_that_cannot_be_written_is_told_apart_from_one_that_cannot_be_locked(folder, fails, monkeypatch):
    with store.open_run(folder, EXPERIMENTS, {}) as run:
        (folder / "holds" / "group").mkdir()
        if fails == "flock":
            (folder / "holds" / "group").rmdir()

            def refuse(*_: object) -> None:
                raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

            monkeypatch.setattr("fcntl.flock", refuse)
        with pytest.raises(InputError) as error:
            run.hold("group")
    assert ("can lock files" in str(error.value)) == (fails == "flock")
    assert ("cannot be written" in str(error.value)) == (fails == "open")


def test_a_group_is_held_on_a_full_disk_too(folder, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with store.open_run(folder, EXPERIMENTS, {}) as run, store.open_run(folder, EXPERIMENTS, {}) as other:
        monkeypatch.setattr(os, "write", full)
        assert run.hold("group") and not other.hold("group")
        assert other.holder("group") == "another process"
