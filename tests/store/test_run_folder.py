"""What was committed is read back, whatever happens between; several processes share a folder; nothing else is touched."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas
import pytest
from made_up_records import EXPERIMENTS, NAMES, assert_holds, contents, evaluations, finished, parts, write_run

from cnn_constraints import store
from cnn_constraints.errors import InputError
from cnn_constraints.files import atomic_write

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("violations", [(), ("conv",), ("shared", "conv", "local")], ids=str)
@pytest.mark.parametrize("missing", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("diverged", [False, True], ids=["trained", "diverged"])
def test_what_was_committed_is_read_back(folder, generator, violations, missing, diverged):
    """Every record, what is None included, and the tables say the same."""
    found = [finished(generator, name, violations, missing, diverged) for name in NAMES[:2]]
    write_run(folder, found)
    assert_holds(folder, found)
    assert store.finished(folder) == set(NAMES[:2])


def test_experiments_that_found_different_things_share_a_run(folder, generator):
    constraints = ["conv", "local", "shared", "tiled"]
    found = []
    for name in NAMES:
        violations = generator.choice(constraints, generator.integers(0, 4), replace=False).tolist()
        missing, diverged = float(generator.choice([0.0, 0.3, 1.0])), bool(generator.integers(2))
        found.append(finished(generator, name, violations, missing, diverged))
        write_run(folder, found[-1:])
    assert_holds(folder, found)


def test_a_commit_is_one_part(folder, generator):
    write_run(folder, [finished(generator, NAMES[0])])
    assert len(parts(folder)) == 1


def test_tables_do_not_depend_on_the_order_of_commits_and_on_who_was_trained_beside_whom(tmp_path, generator):
    found = {name: finished(generator, name, ("conv",) if name in NAMES[3:] else ()) for name in NAMES}
    compared = []
    for attempt in range(3):
        folder = tmp_path / str(attempt)
        order = generator.permutation(NAMES).tolist()
        while order:
            count = generator.integers(1, len(order) + 1)
            members, order = order[:count], order[count:]
            write_run(folder, [found[name] for name in members], group=str(generator.choice(["a", "b"])))
        compared.append([store.read(folder, event).to_parquet(None) for event in store.EVENTS])
    assert compared[0] == compared[1] == compared[2]


def test_a_second_attempt_adds_experiments_and_what_they_found(folder, generator):
    both = [finished(generator, name) for name in NAMES[:2]]
    for number, (experiment, found) in enumerate(zip(EXPERIMENTS, both, strict=False), start=1):
        with store.open_run(folder, [experiment], {"number": number}) as run:
            run.commit("group", [found])
    assert_holds(folder, both)
    assert set(json.loads((folder / "config.json").read_text())["experiments"]) == set(NAMES[:2])
    assert json.loads((folder / "environment.json").read_text())["attempts"] == [{"number": 1}, {"number": 2}]


def test_an_experiment_that_was_finished_twice_counts_once(folder, generator):
    both = [finished(generator, name) for name in NAMES[:2]]
    write_run(folder, both[:1])
    write_run(folder, both)
    assert len(parts(folder)) == 2
    assert_holds(folder, both)


@pytest.mark.parametrize("step", ["replace", "fsync"])
def test_a_crash_in_a_commit_loses_no_other(folder, generator, step, monkeypatch):
    kept, lost = finished(generator, NAMES[0]), finished(generator, NAMES[1])
    write_run(folder, [kept])

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    for after in range(4):
        count = itertools.count()
        real = getattr(os, step)
        crash_then = lambda *given, count=count, real=real, after=after: (crash if next(count) >= after else real)(
            *given
        )
        with store.open_run(folder, EXPERIMENTS, {}) as run, monkeypatch.context() as patch:
            patch.setattr(os, step, crash_then)
            with pytest.raises(KeyboardInterrupt):
                run.commit("group", [lost])
                raise KeyboardInterrupt
        assert store.finished(folder) in ({NAMES[0]}, {NAMES[0], NAMES[1]})
        assert_holds(folder, [kept, lost] if NAMES[1] in store.finished(folder) else [kept])
    write_run(folder, [lost])
    assert_holds(folder, [kept, lost])


@pytest.mark.parametrize("after", range(6))
def test_a_crash_while_documents_are_written_leaves_a_run_that_is_taken_up(folder, generator, after, monkeypatch):
    found = [finished(generator, NAMES[0])]
    write_run(folder, found, EXPERIMENTS[:1])
    count = itertools.count()
    replace = os.replace

    def crash_after(*given: object) -> None:
        if next(count) >= after:
            raise KeyboardInterrupt
        replace(*given)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", crash_after)
        store.open_run(folder, EXPERIMENTS, {})
        raise KeyboardInterrupt
    assert_holds(folder, found)
    write_run(folder, [finished(generator, NAMES[1])])
    assert store.finished(folder) == set(NAMES[:2])


def test_a_group_is_held_by_one_process_until_it_ends(folder, tmp_path):
    script = """
import sys, time
from pathlib import Path
from cnn_constraints import store
run = store.open_run(Path(sys.argv[1]), [], {})
print(run.hold("one"), run.hold("two"), flush=True)
time.sleep(600)
"""
    command = [sys.executable, "-c", script, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as other:
        try:
            assert other.stdout is not None and other.stdout.readline() == "True True\n"
            with store.open_run(folder, EXPERIMENTS, {}) as run:
                assert not run.hold("one") and not run.hold("two")
                assert run.holder("one").startswith(f"process {other.pid} on ")
                assert run.hold("three") and run.hold("three")
                other.kill()
                other.wait()
                assert run.hold("one")
                assert run.holder("one").startswith(f"process {os.getpid()} on ")
        finally:
            other.kill()


def test_two_runs_of_one_folder_do_not_hold_the_same_group(folder):
    with store.open_run(folder, EXPERIMENTS, {}) as one, store.open_run(folder, EXPERIMENTS, {}) as other:
        assert one.hold("group")
        assert not other.hold("group")
        one.close()
        assert other.hold("group")


def test_commits_of_several_processes_are_all_kept(folder, seed):
    store.open_run(folder, EXPERIMENTS, {}).close()
    script = """
import sys
from pathlib import Path
import numpy as np
sys.path.insert(0, "tests")
from made_up_records import EXPERIMENTS, NAMES, finished
from cnn_constraints import store
folder, number, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
with store.open_run(folder, EXPERIMENTS, {}) as run:
    for place in range(number, len(NAMES), 3):
        run.commit(str(number), [finished(np.random.default_rng([seed, place]), NAMES[place])])
"""
    processes = [
        subprocess.Popen([sys.executable, "-c", script, str(folder), str(number), str(seed)], cwd=ROOT)
        for number in range(3)
    ]
    assert [process.wait() for process in processes] == [0, 0, 0]
    found = [finished(np.random.default_rng([seed, place]), name) for place, name in enumerate(NAMES)]
    assert_holds(folder, found)


def test_what_reads_and_writes_a_run_starts_no_thread(folder):
    """One that Arrow has just started aborts a process that ends then, at times: a sweep that is finished would fail."""
    script = """
import os, sys
from pathlib import Path
import numpy as np
sys.path.insert(0, "tests")
from made_up_records import EXPERIMENTS, NAMES, finished
from cnn_constraints import store
folder, before = Path(sys.argv[1]), len(os.listdir("/proc/self/task"))
with store.open_run(folder, EXPERIMENTS, {}) as run:
    run.commit("group", [finished(np.random.default_rng(), name, ("conv",), 0.1) for name in NAMES])
assert len(store.read_finished(folder)) == len(NAMES) == len(run.finished())
for event in store.EVENTS:
    store.read(folder, event)
print(len(os.listdir("/proc/self/task")) - before)
"""
    started = subprocess.run([sys.executable, "-c", script, str(folder)], cwd=ROOT, check=True, capture_output=True)
    assert started.stdout == b"0\n"


def test_reading_writes_nothing(folder, generator):
    write_run(folder, [finished(generator, NAMES[0])])
    before = contents(folder)
    for event in store.EVENTS:
        pandas.testing.assert_frame_equal(store.read(folder, event), store.read(folder, event))
    store.finished(folder)
    assert contents(folder) == before


def test_a_group_in_the_middle_is_no_result(folder, generator):
    write_run(folder, [finished(generator, NAMES[0])])
    checkpoint = store.Checkpoint(10, 1.0, {NAMES[1]: evaluations(generator)}, [np.zeros(1)])
    store.Checkpoints(folder).save("group", checkpoint)
    assert store.finished(folder) == {NAMES[0]}


def test_a_checkpoint_goes_once_all_its_experiments_are_finished_whoever_finished_them(folder, generator):
    """Another executor, say, that has no checkpoints of its own."""
    checkpoints = store.Checkpoints(folder)
    with store.open_run(folder, EXPERIMENTS, {}) as run:
        for group in ("group", "other"):
            checkpoints.save(group, store.Checkpoint(10, 1.0, {name: [] for name in NAMES[:2]}, [np.zeros(1)]))
        for name in (NAMES[2], NAMES[0]):
            run.commit("group", [finished(generator, name)])
            assert checkpoints.groups() == {"group", "other"}
        run.commit("group", [finished(generator, NAMES[1])])
        assert checkpoints.groups() == {"other"}
        (folder / "checkpoints" / "group-30.orbax-checkpoint-tmp").mkdir()
        run.commit("group", [finished(generator, NAMES[3])])
        assert checkpoints.groups() == {"other"}


def test_a_folder_of_something_else_is_left_alone(folder):
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"holds thesis\.tex and no config\.json"):
        store.open_run(folder, EXPERIMENTS, {})
    assert contents(folder) == {"thesis.tex": b"years of work"}


@pytest.mark.parametrize("left", [["metrics"], ["config.json.0a1b2c3d.partial"], ["holds", "metrics"]], ids=str)
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


def test_an_empty_folder_becomes_a_run(folder):
    folder.mkdir()
    store.open_run(folder, EXPERIMENTS, {}).close()
    assert store.read(folder).empty


@pytest.mark.parametrize("below", ["", "sub", "sub/sub"])
def test_a_file_is_no_run_folder(folder, below):
    folder.write_text("text")
    with pytest.raises(InputError, match=str(folder)):
        store.open_run(folder / below, EXPERIMENTS, {})
    assert folder.read_text() == "text"
