"""What was committed is read back, whatever happens between; what is not what was written is named, and never read."""

import errno
import itertools
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas
import pytest
from made_up_records import EXPERIMENTS, NAMES, assert_holds, contents, damage, evaluations, finished, parts, write_run

from cnn_constraints import store, sweep
from cnn_constraints.errors import InputError
from cnn_constraints.files import atomic_write
from cnn_constraints.store import Checkpoint, Checkpoints

ROOT = Path(__file__).parents[2]


def in_a_process(script: str, *arguments: object) -> "subprocess.Popen[str]":
    begin = """
import sys, time
from pathlib import Path
import numpy as np
sys.path.insert(0, "tests")
from made_up_records import EXPERIMENTS, NAMES, finished
from cnn_constraints import store
folder = Path(sys.argv[1])
"""
    command = [sys.executable, "-c", begin + script, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def make_checkpoint(generator: np.random.Generator, update: int = 20) -> Checkpoint:
    state = [generator.normal(size=shape).astype(kind) for shape in [(2, 3), (2,)] for kind in (np.float32, np.int32)]
    state[0].flat[:3] = [np.nan, np.inf, -0.0]
    found = {name: evaluations(generator, ("conv",), missing=0.1) for name in NAMES[:2]}
    return Checkpoint(update, float(generator.exponential()), found, state)


def assert_same(one: Checkpoint | None, other: Checkpoint) -> None:
    assert one is not None and one[:3] == other[:3]
    as_bytes = lambda state: [(array.dtype, array.shape, array.tobytes()) for array in state]
    assert as_bytes(one.state) == as_bytes(other.state)


@pytest.fixture
def checkpoints(folder) -> Checkpoints:
    store.open_run(folder, EXPERIMENTS, {}).close()
    return Checkpoints(folder)


def test_what_was_committed_is_read_back_by_whoever_and_in_whatever_order(tmp_path, generator):
    """Every record, what is None included; the tables say the same, and depend on no order and no company."""
    found = {}
    for name in NAMES:
        violations = generator.choice(["conv", "local", "tiled"], generator.integers(0, 4), replace=False).tolist()
        missing, diverged = float(generator.choice([0.0, 0.3, 1.0])), bool(generator.integers(2))
        found[name] = finished(generator, name, violations, missing, diverged)
    compared = []
    for attempt in range(3):
        folder, order = tmp_path / str(attempt), generator.permutation(NAMES).tolist()
        while order:
            count = generator.integers(1, len(order) + 1)
            members, order = order[:count], order[count:]
            write_run(folder, [found[name] for name in members], group=str(generator.choice(["a", "b"])))
        # One that was finished twice counts once.
        write_run(folder, [found[NAMES[0]]])
        assert_holds(folder, list(found.values()))
        assert store.finished(folder) == set(NAMES)
        compared.append([store.read(folder, event).to_parquet(None) for event in store.EVENTS])
    assert compared[0][:2] == compared[1][:2] == compared[2][:2]
    before = contents(folder)
    assert all(len(store.read(folder).groupby(name, dropna=False)) for name in store.read(folder).columns)
    assert contents(folder) == before


def test_a_second_attempt_adds_experiments_and_what_they_found(folder, generator):
    both = [finished(generator, name) for name in NAMES[:2]]
    for number, (experiment, found) in enumerate(zip(EXPERIMENTS, both, strict=False), start=1):
        with store.open_run(folder, [experiment], {"number": number}) as run:
            run.commit("group", [found])
    assert_holds(folder, both)
    assert set(store.read_config(folder)["experiments"]) == set(NAMES[:2])
    assert store.read_attempts(folder) == [{"number": 1}, {"number": 2}]


def test_a_number_that_is_missing_everywhere_is_a_number_still(folder, generator):
    """A column of nothing but NaN, which can be averaged, and not one of objects."""
    write_run(folder, [finished(generator, name, ("conv",), missing=1.0) for name in NAMES[:2]])
    for event, column in itertools.product(("result", "evaluation"), ("train_loss", "violation_conv")):
        table = store.read(folder, event)
        assert table[column].dtype == float and table[column].isna().all()


@pytest.mark.parametrize("step", ["replace", "fsync"])
@pytest.mark.parametrize("after", range(6))
def test_a_crash_at_any_step_of_opening_and_committing_loses_nothing(folder, generator, step, after, monkeypatch):
    kept, late = finished(generator, NAMES[0]), finished(generator, NAMES[1])
    write_run(folder, [kept], EXPERIMENTS[:1])
    count, real = itertools.count(), getattr(os, step)

    def crash(*given: object) -> None:
        if next(count) >= after:
            raise KeyboardInterrupt
        real(*given)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, step, crash)
        write_run(folder, [late])
        raise KeyboardInterrupt
    assert_holds(folder, [kept, late] if NAMES[1] in store.finished(folder) else [kept])
    write_run(folder, [late])
    assert_holds(folder, [kept, late])
    assert not list(folder.rglob("*.partial"))


@pytest.mark.parametrize("what", ["part", "checkpoint"])
def test_a_full_disk_is_told_loses_nothing_and_the_same_goes_on_once_there_is_room(
    folder, generator, what, monkeypatch
):
    kept, late = finished(generator, NAMES[0]), finished(generator, NAMES[1])
    write_run(folder, [kept])
    checkpoints, first, second = Checkpoints(folder), make_checkpoint(generator), make_checkpoint(generator, 40)
    checkpoints.save("group", first)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with store.open_run(folder, EXPERIMENTS, {}) as run:
        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_bytes", full)
            if what == "part":
                with pytest.raises(InputError, match=r"No space left on device.*finished experiments are kept"):
                    run.commit("group", [late])
            else:
                with pytest.warns(UserWarning, match="No space left on device") as told:
                    checkpoints.save("group", second)
                    checkpoints.save("group", second)
                assert len(told) == 1
        assert_holds(folder, [kept])
        assert_same(checkpoints.load("group"), first)
        checkpoints.save("group", second)
        assert_same(checkpoints.load("group"), second)
        run.commit("group", [late])
    assert_holds(folder, [kept, late])
    assert checkpoints.load("group") is None


@pytest.mark.parametrize("how", ["truncated", "altered", "longer", "missing", "renamed"])
def test_a_part_that_is_not_what_was_written_is_refused_by_name_and_computed_again(folder, generator, how):
    good, bad = finished(generator, NAMES[0]), finished(generator, NAMES[1])
    write_run(folder, [good])
    (whole,) = parts(folder)
    write_run(folder, [bad])
    (path,) = set(parts(folder)) - {whole}
    if how == "missing":
        path.unlink()
    elif how == "renamed":
        path = path.rename(path.with_name(f"other-{'0' * 16}.parquet"))
    else:
        path.write_bytes(damage(path.read_bytes(), how, generator))
    with pytest.raises(InputError, match="missing" if how == "renamed" else path.name):
        store.read(folder)
    assert store.finished(folder) == {NAMES[0]}
    with pytest.warns(UserWarning) as told:
        store.open_run(folder, EXPERIMENTS, {}).close()
    assert any(path.name in str(warning.message) for warning in told)
    assert path.with_name(path.name + ".damaged").exists() == (how != "missing")
    assert_holds(folder, [good])
    write_run(folder, [bad])
    assert_holds(folder, [good, bad])


@pytest.mark.parametrize("how", ["truncated", "altered", "of another type", "missing"])
def test_a_damaged_list_of_parts_is_refused_and_written_anew(folder, generator, how):
    found = [finished(generator, NAMES[0])]
    write_run(folder, found)
    path = folder / "parts.json"
    whole = path.read_bytes()
    named = parts(folder)[0].name.encode()
    damaged = {"truncated": whole[:-5], "altered": whole.replace(named, b"other"), "of another type": b'["a", 3]'}
    path.unlink() if how == "missing" else path.write_bytes(damaged[how])
    with pytest.raises(InputError, match=r"parts\.json"):
        store.read(folder)
    with pytest.warns(UserWarning, match=r"parts\.json"):
        store.open_run(folder, EXPERIMENTS, {}).close()
    assert path.read_bytes() == whole
    assert_holds(folder, found)


def alter(text: str) -> str:
    return text.replace('"n_train": 300', '"n_train": 30', 1)


@pytest.mark.parametrize("name", ["config.json", "environment.json"])
@pytest.mark.parametrize("change", [alter, lambda text: text[:-9], lambda _: "7", lambda _: "[7]", lambda _: "{}"])
def test_a_damaged_document_is_refused_by_name_and_left_as_it_is(folder, generator, name, change):
    write_run(folder, [finished(generator, NAMES[0])])
    path = folder / name
    path.write_text(changed := change(path.read_text()))
    if name == "environment.json" and change is alter:
        return
    before = contents(folder)
    with pytest.raises(InputError, match=r"config\.json|environment\.json|format None"):
        store.open_run(folder, EXPERIMENTS, {})
    assert contents(folder) == before and path.read_text() == changed
    path.unlink()
    write_run(folder, [finished(generator, NAMES[1])])
    assert store.finished(folder) == set(NAMES[:2])


def test_a_run_of_another_format_is_neither_read_nor_written(folder, generator):
    write_run(folder, [finished(generator, NAMES[0])])
    (folder / "config.json").write_text(json.dumps({"format": 3, "experiments": {}, "checksum": "0"}))
    before = contents(folder), sorted(folder.rglob("*"))
    for act in (store.read, store.finished, lambda folder: sweep.run(EXPERIMENTS, folder)):
        with pytest.raises(InputError, match=r"has format 3, and this version reads format 4: .*\.$"):
            act(folder)
    assert (contents(folder), sorted(folder.rglob("*"))) == before


def test_metrics_of_an_unknown_experiment_are_refused_with_its_name(folder, generator):
    write_run(folder, [finished(generator, NAMES[0])])
    (folder / "config.json").unlink()
    store.open_run(folder, EXPERIMENTS[1:], {}).close()
    with pytest.raises(InputError, match=rf"config\.json lacks the experiment {NAMES[0]}"):
        store.read(folder)


def test_what_is_no_run_folder_is_told_with_the_nearest_and_left_alone(folder, generator, tmp_path):
    write_run(folder, [finished(generator, NAMES[0])])
    with pytest.raises(InputError, match=rf"did you mean {folder}\?"):
        store.read(folder.with_name(folder.name + "x"))
    with pytest.raises(InputError, match=rf"{tmp_path} is not a run folder.*but {folder.name} in it"):
        store.read(tmp_path)
    with pytest.raises(InputError, match=r"'results'.*did you mean 'result'"):
        store.read(folder, "results")
    (tmp_path / "thesis.tex").write_text("years of work")
    for place, words in ((tmp_path, r"thesis\.tex|run"), (tmp_path / "thesis.tex" / "run", r"thesis\.tex")):
        with pytest.raises(InputError, match=words):
            store.open_run(place, EXPERIMENTS, {})
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("left", [[], ["metrics"], ["config.json.0a1b2c3d.partial"], ["locks", "metrics"]], ids=str)
def test_a_run_that_was_killed_before_it_had_a_config_is_taken_up(folder, left):
    folder.mkdir()
    for name in left:
        (folder / name).touch() if "." in name else (folder / name).mkdir()
    store.open_run(folder, EXPERIMENTS, {}).close()
    assert store.read(folder).empty


def test_what_another_process_draws_is_left_to_it(folder):
    with store.open_run(folder, EXPERIMENTS, {}):
        (folder / "figures").mkdir()
        with atomic_write(folder / "figures" / "cells.png") as drawing:
            drawing.touch()
            store.open_run(folder, EXPERIMENTS, {}).close()
        assert [path.name for path in (folder / "figures").iterdir()] == ["cells.png"]


def test_a_group_is_held_by_one_process_until_it_ends(folder):
    script = (
        "run = store.open_run(folder, [], {}); print(run.hold('one'), run.hold('two'), flush=True); time.sleep(600)"
    )
    with in_a_process(script, folder) as other:
        try:
            assert other.stdout is not None and other.stdout.readline() == "True True\n"
            with store.open_run(folder, EXPERIMENTS, {}) as run, store.open_run(folder, EXPERIMENTS, {}) as second:
                assert not run.hold("one") and not run.hold("two")
                assert run.hold("three") and run.hold("three") and not second.hold("three")
                other.kill()
                other.wait()
                assert run.hold("one")
                run.close()
                assert second.hold("three")
        finally:
            other.kill()


@pytest.mark.parametrize("refused", ["parquet", "metrics"])
def test_what_may_not_be_read_is_told_and_not_taken_for_damage(folder, generator, refused, monkeypatch):
    write_run(folder, [finished(generator, NAMES[0])])
    before = contents(folder)

    def refuse(function: Callable) -> Callable:
        def guarded(path: Path, *rest: object) -> object:
            if str(path).endswith(refused):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return function(path, *rest)

        return guarded

    with monkeypatch.context() as patch:
        for name in ("read_bytes", "iterdir"):
            patch.setattr(Path, name, refuse(getattr(Path, name)))
        for act in (store.read, lambda folder: store.open_run(folder, EXPERIMENTS, {})):
            with pytest.raises(InputError, match=r"cannot be read \(Permission denied\)"):
                act(folder)
    assert {name: content for name, content in contents(folder).items() if "metrics" in name} == {
        name: content for name, content in before.items() if "metrics" in name
    }


def test_a_disk_that_cannot_lock_is_told(folder, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(InputError, match=r"cannot be locked.*on a disk that can lock files"):
        store.open_run(folder, EXPERIMENTS, {})


def test_commits_of_several_processes_are_all_kept(folder, seed):
    store.open_run(folder, EXPERIMENTS, {}).close()
    script = """
number, seed = int(sys.argv[2]), int(sys.argv[3])
with store.open_run(folder, EXPERIMENTS, {}) as run:
    for place in range(number, len(NAMES), 2):
        run.commit(str(number), [finished(np.random.default_rng([seed, place]), NAMES[place])])
"""
    processes = [in_a_process(script, folder, number, seed) for number in range(2)]
    assert [process.communicate()[0] for process in processes] == ["", ""]
    assert_holds(folder, [finished(np.random.default_rng([seed, i]), name) for i, name in enumerate(NAMES)])


def test_what_reads_and_writes_a_run_starts_no_thread(folder):
    """One that Arrow has just started aborts a process that ends then, at times: a sweep that is finished would fail."""
    script = """
import os
before = len(os.listdir("/proc/self/task"))
with store.open_run(folder, EXPERIMENTS, {}) as run:
    run.commit("group", [finished(np.random.default_rng(), name, ("conv",), 0.1) for name in NAMES])
assert len(store.read_finished(folder)) == len(NAMES) == len(run.finished())
for event in store.EVENTS:
    store.read(folder, event)
print(len(os.listdir("/proc/self/task")) - before)
"""
    assert in_a_process(script, folder).communicate()[0] == "0\n"


def test_nothing_in_a_run_folder_is_unpickled(folder, generator, monkeypatch):
    write_run(folder, [finished(generator, NAMES[0])])
    Checkpoints(folder).save("group", make_checkpoint(generator))
    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, lambda *_, **__: pytest.fail("something was unpickled"))
    pandas.testing.assert_frame_equal(store.read(folder), store.read(folder))
    assert Checkpoints(folder).load("group") is not None


def test_the_last_checkpoint_of_each_group_counts_and_the_others_are_deleted(folder, checkpoints, generator):
    other = make_checkpoint(generator)
    checkpoints.save("other", other)
    for update in (20, 40, 60):
        last = make_checkpoint(generator, update)
        checkpoints.save("group", last)
    assert_same(checkpoints.load("group"), last)
    assert_same(checkpoints.load("other"), other)
    assert len(list((folder / "checkpoints").iterdir())) == 2
    # Of a process that was killed while it wrote.
    (folder / "checkpoints" / f"group-{'0' * 16}.safetensors.0a1b2c3d.partial").touch()
    checkpoints.drop("group")
    assert checkpoints.load("group") is None and len(list((folder / "checkpoints").iterdir())) == 1


def test_where_a_process_died_before_it_deleted_the_one_before_the_later_counts(checkpoints, generator, monkeypatch):
    last = make_checkpoint(generator, 40)
    checkpoints.save("group", last)
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
    checkpoints.save("group", make_checkpoint(generator, 20))
    assert_same(checkpoints.load("group"), last)


@pytest.mark.parametrize("how", ["truncated", "altered", "longer"])
def test_a_damaged_checkpoint_is_told_by_name_and_deleted(folder, checkpoints, generator, how):
    checkpoints.save("group", make_checkpoint(generator))
    (path,) = (folder / "checkpoints").iterdir()
    path.write_bytes(damage(path.read_bytes(), how, generator))
    with pytest.warns(UserWarning, match=f"{path.name} was damaged or altered: the group starts anew"):
        assert checkpoints.load("group") is None
    assert not path.exists()


def test_a_field_that_came_after_a_run_has_its_default_in_the_tables(tmp_path, generator):
    found = [finished(generator, name) for name in NAMES]
    write_run(tmp_path, found)
    before, path = store.read(tmp_path), tmp_path / "config.json"
    config = json.loads(path.read_text())
    for experiment in config["experiments"].values():
        del experiment["data"]["frame"], experiment["model"]["hidden"]
    path.write_text(json.dumps(config))
    pandas.testing.assert_frame_equal(store.read(tmp_path), before)


def test_a_path_that_is_no_text_is_in_the_tables_as_it_is_printed(tmp_path, generator):
    write_run(tmp_path, [finished(generator, NAMES[0])])
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    config["experiments"][NAMES[0]]["data"]["folder"] = "caf\udce9"
    path.write_text(json.dumps(config))
    assert store.read(tmp_path)["data.folder"].tolist() == [r"caf\udce9"]
