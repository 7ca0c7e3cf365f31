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
from run_rows import NAMES, TRIALS, assert_holds, contents, evaluations, parts, rows, together, write_run

from cnn_constraints import store
from cnn_constraints.errors import InputError
from cnn_constraints.files import replacing


def test_what_was_committed_is_read_back(folder, generator):
    first, second = rows(generator, NAMES[0]), rows(generator, NAMES[1])
    write_run(folder, together(first, second))
    assert_holds(folder, first + second)
    assert store.finished(folder) == set(NAMES[:2])


def test_a_commit_is_one_part(folder, generator):
    write_run(folder, rows(generator, NAMES[0]))
    assert len(parts(folder)) == 1


def test_tables_do_not_depend_on_the_order_of_commits_and_on_who_was_trained_beside_whom(tmp_path, generator):
    found = {name: rows(generator, name) for name in NAMES}
    for row in itertools.chain(*(found[name] for name in NAMES[3:])):
        row |= {"violation_conv": float(generator.random())} if row["event"] != "time" else {}
    compared = []
    for attempt in range(3):
        folder = tmp_path / str(attempt)
        order = generator.permutation(NAMES).tolist()
        while order:
            count = generator.integers(1, len(order) + 1)
            members, order = order[:count], order[count:]
            write_run(folder, together(*(found[name] for name in members)), group=str(generator.choice(["a", "b"])))
        compared.append([store.read(folder, event).to_parquet(None) for event in store.EVENTS])
    assert compared[0] == compared[1] == compared[2]


def test_a_second_attempt_adds_trials_and_rows(folder, generator):
    first, second = rows(generator, NAMES[0]), rows(generator, NAMES[1])
    for number, (trial, written) in enumerate([(TRIALS[0], first), (TRIALS[1], second)], start=1):
        with store.open_run(folder, [trial], {"number": number}) as run:
            run.commit("group", written)
    assert_holds(folder, first + second)
    assert set(json.loads((folder / "config.json").read_text())["trials"]) == set(NAMES[:2])
    assert json.loads((folder / "environment.json").read_text())["attempts"] == [{"number": 1}, {"number": 2}]


def test_a_trial_finished_twice_counts_once(folder, generator):
    first = rows(generator, NAMES[0])
    other = rows(generator, NAMES[1])
    write_run(folder, first)
    write_run(folder, together(first, other))
    assert len(parts(folder)) == 2
    assert_holds(folder, first + other)


@pytest.mark.parametrize("step", ["replace", "fsync"])
def test_a_crash_in_a_commit_loses_no_other(folder, generator, step, monkeypatch):
    kept, lost = rows(generator, NAMES[0]), rows(generator, NAMES[1])
    write_run(folder, kept)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    for after in range(4):
        count = itertools.count()
        real = getattr(os, step)
        crash_then = lambda *given, count=count, real=real, after=after: (crash if next(count) >= after else real)(
            *given
        )
        with store.open_run(folder, TRIALS, {}) as run, monkeypatch.context() as patch:
            patch.setattr(os, step, crash_then)
            with pytest.raises(KeyboardInterrupt):
                run.commit("group", lost)
                raise KeyboardInterrupt
        assert store.finished(folder) in ({NAMES[0]}, {NAMES[0], NAMES[1]})
        assert_holds(folder, kept + (lost if NAMES[1] in store.finished(folder) else []))
    write_run(folder, lost)
    assert_holds(folder, kept + lost)


@pytest.mark.parametrize("after", range(6))
def test_a_crash_while_documents_are_written_leaves_a_run_that_is_taken_up(folder, generator, after, monkeypatch):
    written = rows(generator, NAMES[0])
    write_run(folder, written, TRIALS[:1])
    count = itertools.count()
    replace = os.replace

    def crash_after(*given: object) -> None:
        if next(count) >= after:
            raise KeyboardInterrupt
        replace(*given)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", crash_after)
        store.open_run(folder, TRIALS, {})
        raise KeyboardInterrupt
    assert_holds(folder, written)
    write_run(folder, rows(generator, NAMES[1]))
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
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as other:
        try:
            assert other.stdout is not None and other.stdout.readline() == "True True\n"
            with store.open_run(folder, TRIALS, {}) as run:
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
    with store.open_run(folder, TRIALS, {}) as one, store.open_run(folder, TRIALS, {}) as other:
        assert one.hold("group")
        assert not other.hold("group")
        one.close()
        assert other.hold("group")


def test_commits_of_several_processes_are_all_kept(folder, generator):
    store.open_run(folder, TRIALS, {}).close()
    script = """
import sys, json
from pathlib import Path
sys.path.insert(0, "tests")
from run_rows import TRIALS
from cnn_constraints import store
with store.open_run(Path(sys.argv[1]), TRIALS, {}) as run:
    for written in json.load(sys.stdin):
        run.commit(sys.argv[2], written)
"""
    found = [rows(generator, name) for name in NAMES]
    processes = []
    for number in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(folder), str(number)],
            stdin=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps(found[number::3]))
        process.stdin.close()
        processes.append(process)
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert_holds(folder, list(itertools.chain(*found)))


def test_reading_writes_nothing(folder, generator):
    write_run(folder, rows(generator, NAMES[0]))
    before = contents(folder)
    for event in store.EVENTS:
        pandas.testing.assert_frame_equal(store.read(folder, event), store.read(folder, event))
    store.finished(folder)
    assert contents(folder) == before


def test_a_group_in_the_middle_is_no_result(folder, generator):
    write_run(folder, rows(generator, NAMES[0]))
    checkpoint = store.Checkpoint(NAMES[1:2], 10, 1.0, evaluations(generator, NAMES[1]), [np.zeros(1)])
    store.Checkpoints(folder).save("group", checkpoint)
    assert store.finished(folder) == {NAMES[0]}


def test_a_checkpoint_goes_once_all_its_trials_are_finished_whoever_finished_them(folder, generator):
    """Another executor, say, that has no checkpoints of its own."""
    checkpoints = store.Checkpoints(folder)
    with store.open_run(folder, TRIALS, {}) as run:
        for group in ("group", "other"):
            checkpoints.save(group, store.Checkpoint(NAMES[:2], 10, 1.0, [], [np.zeros(1)]))
        for name in (NAMES[2], NAMES[0]):
            run.commit("group", rows(generator, name))
            assert checkpoints.groups() == {"group", "other"}
        run.commit("group", rows(generator, NAMES[1]))
        assert checkpoints.groups() == {"other"}
        (folder / "checkpoints" / "group-30.orbax-checkpoint-tmp").mkdir()
        run.commit("group", rows(generator, NAMES[3]))
        assert checkpoints.groups() == {"other"}


def test_a_folder_of_something_else_is_left_alone(folder):
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"holds thesis\.tex and no config\.json"):
        store.open_run(folder, TRIALS, {})
    assert contents(folder) == {"thesis.tex": b"years of work"}


@pytest.mark.parametrize("left", [["metrics"], ["config.json.0a1b2c3d.partial"], ["holds", "metrics"]], ids=str)
def test_a_run_that_was_killed_before_it_had_a_config_is_taken_up(folder, left):
    folder.mkdir()
    for name in left:
        (folder / name).touch() if "." in name else (folder / name).mkdir()
    store.open_run(folder, TRIALS, {}).close()
    assert store.read(folder).empty


def test_what_another_process_draws_is_left_to_it(folder):
    with store.open_run(folder, TRIALS, {}):
        (folder / "figures").mkdir()
        with replacing(folder / "figures" / "cells.png") as drawing:
            drawing.touch()
            store.open_run(folder, TRIALS, {}).close()
        assert [path.name for path in (folder / "figures").iterdir()] == ["cells.png"]


def test_an_empty_folder_becomes_a_run(folder):
    folder.mkdir()
    store.open_run(folder, TRIALS, {}).close()
    assert store.read(folder).empty


@pytest.mark.parametrize("below", ["", "sub", "sub/sub"])
def test_a_file_is_no_run_folder(folder, below):
    folder.write_text("text")
    with pytest.raises(InputError, match=str(folder)):
        store.open_run(folder / below, TRIALS, {})
    assert folder.read_text() == "text"
