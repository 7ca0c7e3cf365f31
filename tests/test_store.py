"""What was written is read back, whatever happens between; what is damaged is named and never guessed at."""

import errno
import json
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from cnn_constraints import config, store
from cnn_constraints.config import Experiment
from cnn_constraints.errors import InputError

Rows = list[dict[str, Any]]

TRIALS = [config.resolve(config.replace(Experiment(), {"seed": seed})) for seed in range(6)]
NAMES = [config.name(trial) for trial in TRIALS]
EVALUATION = ["lane", "learning_rate", "update", "validation_loss", "validation_accuracy"]
RESULT = [*EVALUATION, "test_loss", "test_accuracy", "parameters", "device"]


def evaluations(generator: np.random.Generator, trial: str) -> Rows:
    return [
        {
            "event": "evaluation",
            "trial": trial,
            "lane": lane,
            "learning_rate": float(generator.random()),
            "update": update,
            "validation_loss": float(generator.exponential()),
            "validation_accuracy": float(generator.random()),
        }
        for update in (10, 20, 30)
        for lane in (0, 1)
    ]


def rows(generator: np.random.Generator, trial: str) -> Rows:
    """All rows of a finished trial, its result last."""
    lanes = evaluations(generator, trial)
    measured = {"test_loss": float(generator.exponential()), "test_accuracy": float(generator.random())}
    result = lanes[-1] | measured | {"event": "result", "parameters": int(generator.integers(10**12)), "device": "cpu"}
    return [*lanes, result]


def attempt(folder: Path, written: Rows, close: bool = True, group: str = "group") -> None:
    """One attempt at a run, of one group; if it is not closed, the folder is as a killed process leaves it."""
    writer = store.GroupWriter(folder, store.open_run(folder, TRIALS, {}), group)
    writer.write(written)
    if close:
        writer.close()
        return
    left = folder.with_name("left")
    shutil.copytree(folder, left)
    writer.close()
    shutil.rmtree(folder)
    left.rename(folder)


def assert_holds(folder: Path, written: Rows) -> None:
    """The run's tables are these rows, in this order, beside the fields of their trials."""
    trials = dict(zip(NAMES, TRIALS, strict=True))
    for event, columns in (("result", RESULT), ("evaluation", EVALUATION)):
        expected = [row for row in written if row["event"] == event]
        table = store.read(folder, event)
        assert table["trial"].tolist() == [row["trial"] for row in expected]
        for column in columns:
            assert table[column].tolist() == [row[column] for row in expected]
        for field in ("seed", "model.constraint", "model.delta", "training.updates"):
            assert table[field].tolist() == [config.get(trials[row["trial"]], field) for row in expected]
        assert [tuple(channels) for channels in table["model.channels"]] == [(8, 16)] * len(expected)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def metrics(folder: Path) -> set[str]:
    return {path.name for path in (folder / "metrics").iterdir()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def generator(seed: int) -> Iterator[np.random.Generator]:
    yield np.random.default_rng(seed)


@pytest.mark.parametrize("close", [True, False], ids=["closed", "open"])
def test_what_was_written_is_read_back(folder, generator, close):
    written = rows(generator, NAMES[0]) + rows(generator, NAMES[1])
    attempt(folder, written, close)
    assert_holds(folder, written)
    assert store.finished(folder) == set(NAMES[:2])


def test_rows_can_be_read_while_their_group_runs(folder, generator):
    writer = store.GroupWriter(folder, store.open_run(folder, TRIALS, {}), "group")
    written = rows(generator, NAMES[0])
    writer.write(written)
    assert_holds(folder, written)
    before = {event: store.read(folder, event) for event in store.EVENTS}
    writer.close()
    for event, table in before.items():
        pandas.testing.assert_frame_equal(store.read(folder, event), table)


def test_a_closed_group_is_one_parquet_file(folder, generator):
    attempt(folder, rows(generator, NAMES[0]))
    assert metrics(folder) == {"0001-group.parquet"}


@pytest.mark.parametrize("close", [True, False], ids=["closed", "open"])
def test_trials_that_are_not_finished_are_not_in_a_run(folder, generator, close):
    written = rows(generator, NAMES[0])
    attempt(folder, evaluations(generator, NAMES[1]) + written + evaluations(generator, NAMES[2]), close)
    assert_holds(folder, written)
    assert store.finished(folder) == {NAMES[0]}


@pytest.mark.parametrize("close", [True, False], ids=["closed", "open"])
def test_a_run_whose_first_trial_was_not_finished_is_empty(folder, generator, close):
    attempt(folder, evaluations(generator, NAMES[0]), close)
    assert store.finished(folder) == set()
    assert store.read(folder).empty and store.read(folder, "evaluation").empty


def test_a_run_without_rows_is_empty(folder):
    store.open_run(folder, TRIALS, {})
    assert store.finished(folder) == set()
    assert store.read(folder).empty and store.read(folder, "evaluation").empty


def test_a_folder_that_is_not_there_has_nothing_finished(folder):
    assert store.finished(folder) == set()
    assert not folder.exists()


def test_reading_twice_gives_the_same_and_writes_nothing(folder, generator):
    attempt(folder, rows(generator, NAMES[0]) + evaluations(generator, NAMES[1]), close=False)
    before = contents(folder)
    for event in store.EVENTS:
        pandas.testing.assert_frame_equal(store.read(folder, event), store.read(folder, event))
    store.finished(folder)
    assert contents(folder) == before


def test_an_unknown_event_is_refused(folder):
    with pytest.raises(InputError, match=r"'results'.*result, evaluation"):
        store.read(folder, "results")


def test_a_second_attempt_adds_trials_and_rows(folder, generator):
    first, second = rows(generator, NAMES[0]), rows(generator, NAMES[1])
    for number, (trial, written) in enumerate([(TRIALS[0], first), (TRIALS[1], second)], start=1):
        assert store.open_run(folder, [trial], {"number": number}) == number
        writer = store.GroupWriter(folder, number, "group")
        writer.write(written)
        writer.close()
    assert_holds(folder, first + second)
    assert set(json.loads((folder / "config.json").read_text())["trials"]) == set(NAMES[:2])
    assert json.loads((folder / "environment.json").read_text())["attempts"] == [{"number": 1}, {"number": 2}]


def test_a_trial_finished_twice_counts_once_with_its_first_result(folder, generator):
    first, again = rows(generator, NAMES[0]), rows(generator, NAMES[0])
    other = rows(generator, NAMES[1])
    attempt(folder, first)
    attempt(folder, again + other)
    assert_holds(folder, first + other)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("close", [True, False], ids=["closed", "open"])
@pytest.mark.parametrize("others", [0, 1])
def test_what_is_not_finite_is_null_in_the_file_and_nan_in_the_table(folder, generator, number, close, others):
    written = [row | {"validation_loss": number} for row in rows(generator, NAMES[0])]
    attempt(folder, written + [row for name in NAMES[1 : 1 + others] for row in rows(generator, name)], close)
    for path in (folder / "metrics").glob("*.jsonl"):
        for line in path.read_text().splitlines()[: len(written)]:
            assert json.loads(line, parse_constant=pytest.fail)["validation_loss"] is None
    for event in store.EVENTS:
        table = store.read(folder, event)
        assert table["validation_loss"].dtype == float
        assert table.loc[table["trial"] == NAMES[0], "validation_loss"].isna().all()
        assert table.loc[table["trial"] != NAMES[0], "validation_loss"].notna().all()


def test_a_killed_run_keeps_its_finished_trials_when_it_is_taken_up(folder, generator):
    kept, late = rows(generator, NAMES[0]), rows(generator, NAMES[1])
    attempt(folder, kept + evaluations(generator, NAMES[1]), close=False)
    attempt(folder, late)
    assert metrics(folder) == {"0001-group.parquet", "0002-group.parquet"}
    assert_holds(folder, kept + late)


def test_a_killed_run_without_a_result_leaves_no_file(folder, generator):
    attempt(folder, evaluations(generator, NAMES[0]), close=False)
    store.open_run(folder, TRIALS, {})
    assert metrics(folder) == set()


def test_a_torn_last_line_is_passed_over_with_a_warning(folder, generator):
    written = rows(generator, NAMES[0])
    attempt(folder, written, close=False)
    torn = json.dumps(rows(generator, NAMES[1])[-1])
    with (folder / "metrics" / "0001-group.jsonl").open("a") as file:
        file.write(torn[: generator.integers(1, len(torn) + 1)])
    with pytest.warns(UserWarning, match=r"0001-group\.jsonl.*last line"):
        assert store.finished(folder) == {NAMES[0]}
    with pytest.warns(UserWarning, match=r"0001-group\.jsonl.*last line"):
        store.open_run(folder, TRIALS, {})
    assert_holds(folder, written)


@pytest.mark.parametrize("step", ["replace", "unlink"])
def test_a_crash_while_compacting_neither_loses_nor_doubles_rows(folder, generator, step, monkeypatch):
    written = rows(generator, NAMES[0])
    writer = store.GroupWriter(folder, store.open_run(folder, TRIALS, {}), "group")
    writer.write(written)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(*{"replace": (os, "replace"), "unlink": (Path, "unlink")}[step], crash)
        writer.close()
    assert "0001-group.jsonl" in metrics(folder)
    assert_holds(folder, written)
    store.open_run(folder, TRIALS, {})
    assert metrics(folder) == {"0001-group.parquet"}
    assert_holds(folder, written)


@pytest.mark.parametrize("taken", ["jsonl", "parquet"])
def test_a_crash_while_a_description_is_written_leaves_the_old_one(folder, generator, taken, monkeypatch):
    written = rows(generator, NAMES[0])
    attempt(folder, written, close=taken == "parquet")

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", crash)
        store.open_run(folder, TRIALS[:1], {})
    assert_holds(folder, written)
    assert store.open_run(folder, TRIALS, {}) == 2


@pytest.mark.parametrize(
    "line",
    [b"{", b'{"event": "result", "tri', b"\xff\xfe\x00", b"3", b"null", b"[1, 2]", b"{}", b'{"event": "result"}'],
    ids=repr,
)
@pytest.mark.parametrize("place", [0, 3])
def test_a_damaged_line_is_refused_with_its_file_and_number(folder, generator, line, place):
    attempt(folder, rows(generator, NAMES[0]), close=False)
    path = folder / "metrics" / "0001-group.jsonl"
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([*lines[:place], line, *lines[place:], b""]))
    for act in (store.read, store.finished, lambda folder: store.open_run(folder, TRIALS, {})):
        with pytest.raises(InputError) as error:
            act(folder)
        assert f"{path}, line {place + 1}," in str(error.value)
    assert path.exists()


@pytest.mark.parametrize("length", [0, 3, 8, 0.5, 0.9, -1])
def test_a_truncated_parquet_file_is_refused_with_its_name(folder, generator, length):
    attempt(folder, rows(generator, NAMES[0]))
    path = folder / "metrics" / "0001-group.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[: length if isinstance(length, int) else int(length * len(whole))])
    for act in (store.read, store.finished):
        with pytest.raises(InputError) as error:
            act(folder)
        assert str(path) in str(error.value)


def test_a_parquet_file_of_something_else_is_refused_with_its_name(folder):
    store.open_run(folder, TRIALS, {})
    pandas.DataFrame({"event": ["result"], "trail": [NAMES[0]]}).to_parquet(folder / "metrics" / "0001-group.parquet")
    with pytest.raises(InputError, match=r"0001-group\.parquet"):
        store.read(folder)


@pytest.mark.parametrize("number", [0, 2])
def test_another_format_is_refused_with_its_number(folder, generator, number):
    attempt(folder, rows(generator, NAMES[0]))
    described = json.loads((folder / "config.json").read_text()) | {"format": number}
    (folder / "config.json").write_text(json.dumps(described))
    before = contents(folder)
    for act in (store.read, lambda folder: store.open_run(folder, TRIALS, {})):
        with pytest.raises(InputError, match=f"format {number}.*format 1"):
            act(folder)
    assert contents(folder) == before


def test_what_is_not_a_run_folder_is_not_read(folder, tmp_path):
    for place in (folder, tmp_path):
        with pytest.raises(InputError, match=r"not a run folder.*config\.json") as error:
            store.read(place)
        assert str(place) in str(error.value)


def test_a_folder_of_something_else_is_left_alone(folder):
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"holds thesis\.tex and no config\.json"):
        store.open_run(folder, TRIALS, {})
    assert contents(folder) == {"thesis.tex": b"years of work"}


@pytest.mark.parametrize("left", [["metrics"], ["config.json.partial"], ["lock", "metrics"]], ids=str)
def test_a_run_that_was_killed_before_it_had_a_config_is_taken_up(folder, left):
    for name in left:
        (folder / name).mkdir(parents=True) if name == "metrics" else folder.mkdir() or (folder / name).touch()
    assert store.open_run(folder, TRIALS, {}) == 1


def test_a_full_disk_is_one_sentence_and_loses_no_finished_trial(folder, generator, monkeypatch):
    written = rows(generator, NAMES[0])

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    number = store.open_run(folder, TRIALS, {})
    writer = store.GroupWriter(folder, number, "group")
    writer.write(written)
    with monkeypatch.context() as patch:
        patch.setattr(pandas.DataFrame, "to_parquet", full)
        with pytest.raises(InputError, match=r"No space left on device.*finished trials are kept"):
            writer.close()
    assert_holds(folder, written)
    store.open_run(folder, TRIALS, {})
    assert metrics(folder) == {"0001-group.parquet"}
    assert_holds(folder, written)


def test_an_empty_folder_becomes_a_run(folder):
    folder.mkdir()
    assert store.open_run(folder, TRIALS, {}) == 1


@pytest.mark.parametrize("below", ["", "sub", "sub/sub"])
def test_a_file_is_no_run_folder(folder, below):
    folder.write_text("text")
    with pytest.raises(InputError, match=str(folder)):
        store.open_run(folder / below, TRIALS, {})
    assert folder.read_text() == "text"


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"\xff\xfe", b"[]", b"3", b"null", b'{"format": 1}', b'{"format": 1, "trials": []}'),
        *(b'{"trials": {}}', b'{"format": "1", "trials": {}}', b'{"format": null, "trials": {}}'),
    ],
    ids=repr,
)
@pytest.mark.parametrize("act", ["read", "open_run"])
def test_a_damaged_config_is_refused_with_its_name(folder, generator, content, act):
    attempt(folder, rows(generator, NAMES[0]))
    (folder / "config.json").write_bytes(content)
    with pytest.raises(InputError) as error:
        store.read(folder) if act == "read" else store.open_run(folder, TRIALS, {})
    assert str(folder / "config.json") in str(error.value)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"{}", b'{"attempts": 3}'], ids=repr)
def test_a_damaged_environment_is_refused_with_its_name(folder, generator, content):
    written = rows(generator, NAMES[0])
    attempt(folder, written)
    (folder / "environment.json").write_bytes(content)
    with pytest.raises(InputError) as error:
        store.open_run(folder, TRIALS, {})
    assert str(folder / "environment.json") in str(error.value)
    assert_holds(folder, written)


def test_metrics_of_an_unknown_trial_are_refused_with_its_name(folder, generator):
    attempt(folder, rows(generator, NAMES[0]) + rows(generator, NAMES[1]))
    described = json.loads((folder / "config.json").read_text())
    del described["trials"][NAMES[1]]
    (folder / "config.json").write_text(json.dumps(described))
    with pytest.raises(InputError, match=rf"config\.json lacks the trial {NAMES[1]}"):
        store.read(folder)


def test_two_writers_never_share_a_file(folder):
    writer = store.GroupWriter(folder, store.open_run(folder, TRIALS, {}), "group")
    with pytest.raises(FileExistsError):
        store.GroupWriter(folder, 1, "group")
    writer.close()


def test_a_run_folder_is_held_by_one_process(folder):
    with store.claim(folder), pytest.raises(InputError, match="in use"), store.claim(folder):
        pass
    with store.claim(folder):
        pass


def test_attempts_are_numbered_past_every_file_that_is_there(folder):
    trial = config.resolve(Experiment())
    attempt = store.open_run(folder, [trial], {})
    (folder / "metrics" / "0007-group.parquet").touch()
    (folder / "environment.json").unlink()
    assert (attempt, store.open_run(folder, [trial], {})) == (1, 8)
