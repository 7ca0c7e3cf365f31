"""Rows of trials and run folders that hold them, for the tests of what reads and writes them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from cnn_constraints import config, store
from cnn_constraints.config import Experiment

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
    """All rows of a finished trial."""
    lanes = evaluations(generator, trial)
    measured = {"test_loss": float(generator.exponential()), "test_accuracy": float(generator.random())}
    result = lanes[-1] | measured | {"event": "result", "parameters": int(generator.integers(10**12)), "device": "cpu"}
    return [*lanes, result, {"event": "time", "trial": trial, "seconds": float(generator.exponential())}]


def together(*of_trials: Rows) -> Rows:
    """The rows of trials that were trained side by side, in the order in which they are measured."""
    return [row for step in zip(*of_trials, strict=True) for row in step]


def write_run(folder: Path, written: Iterable[dict], trials: Iterable[Experiment] = TRIALS, group: str = "a") -> None:
    """One attempt at a run, in which the trials of these rows are finished."""
    with store.open_run(folder, trials, {}) as run:
        run.commit(group, written)


def assert_holds(folder: Path, written: Rows) -> None:
    """The run's tables are these rows, trial after trial, beside the fields of their trials."""
    trials = dict(zip(NAMES, TRIALS, strict=True))
    for event, columns in (("result", RESULT), ("evaluation", EVALUATION), ("time", ["seconds"])):
        expected = [row for row in written if row["event"] == event]
        table = store.read(folder, event)
        assert table["trial"].tolist() == [row["trial"] for row in expected]
        assert table.columns[-len(columns) :].tolist() == columns
        for column in columns:
            assert table[column].tolist() == [row[column] for row in expected]
        for field in ("seed", "model.constraint", "model.delta", "training.updates"):
            assert table[field].tolist() == [config.get(trials[row["trial"]], field) for row in expected]
        assert [tuple(channels) for channels in table["model.channels"]] == [(8, 16)] * len(expected)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def parts(folder: Path) -> list[Path]:
    return sorted((folder / "metrics").glob("*.parquet"))


def damage(content: bytes, how: str, generator: np.random.Generator) -> bytes:
    """Truncated, altered in one byte, or longer."""
    if how == "truncated":
        return content[: generator.integers(0, len(content))]
    if how == "altered":
        place = int(generator.integers(0, len(content)))
        return content[:place] + bytes([content[place] ^ int(generator.integers(1, 256))]) + content[place + 1 :]
    return content + b"\n"
