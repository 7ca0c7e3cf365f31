"""Records of experiments and run folders that hold them, for the tests of what reads and writes them."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas

from cnn_constraints import store
from cnn_constraints.experiment import Experiment, get, replace
from cnn_constraints.resolve import Resolved, resolve
from cnn_constraints.training.records import Evaluation, Finished, Result

EXPERIMENTS = resolve(replace(Experiment(), {"seed": seed}) for seed in range(6))
NAMES = [experiment.name for experiment in EXPERIMENTS]
CANDIDATES = EXPERIMENTS[0].candidates
UPDATES = (10, 20, 30)
CHOSEN = (*("candidate", "learning_rate", "weight_decay", "penalty_strength", "update"), "train_loss", "train_accuracy")
MEASURED = (*CHOSEN, "validation_loss", "validation_accuracy", "test_loss", "test_accuracy")
"""What a result is without where every candidate diverged."""


def losses(generator: np.random.Generator, missing: float, *splits: str) -> dict[str, float | None]:
    """Losses and accuracies, of which this share is not finite."""
    drawn = {f"{split}_loss": float(generator.exponential()) for split in splits}
    drawn |= {f"{split}_accuracy": float(generator.random()) for split in splits}
    return {name: None if generator.random() < missing else value for name, value in drawn.items()}


def distances(generator: np.random.Generator, violations: Iterable[str], missing: float) -> dict[str, float | None]:
    return {name: None if generator.random() < missing else float(generator.random()) for name in violations}


def evaluations(
    generator: np.random.Generator, violations: Sequence[str] = (), missing: float = 0.0
) -> list[Evaluation]:
    return [
        Evaluation(
            candidate=number,
            update=update,
            diverged_update=int(generator.integers(update)) if generator.random() < missing else None,
            violations=distances(generator, violations, missing),
            **candidate._asdict(),
            **losses(generator, missing, "train", "validation"),
        )
        for update in UPDATES
        for number, candidate in enumerate(CANDIDATES)
    ]


def finished(
    generator: np.random.Generator,
    experiment: str,
    violations: Sequence[str] = (),
    missing: float = 0.0,
    diverged: bool = False,
) -> Finished:
    """What an experiment found. missing: the share of numbers that are not there. diverged: whether all candidates have."""
    number = int(generator.integers(len(CANDIDATES)))
    found: dict[str, Any] = {"candidate": number, **CANDIDATES[number]._asdict()}
    found |= {"update": int(generator.choice(UPDATES))} | losses(generator, missing, "train", "validation", "test")
    result = Result(
        diverged_candidates=len(CANDIDATES) if diverged else int(generator.integers(len(CANDIDATES))),
        violations=distances(generator, violations, missing),
        parameters=int(generator.integers(10**12)),
        multiply_adds=int(generator.integers(10**15)),
        device="cpu",
        **(dict.fromkeys(MEASURED) if diverged else found),
    )
    looks = evaluations(generator, violations, missing)
    return Finished(experiment, result, looks, float(generator.exponential()))


def write_run(
    folder: Path, found: Sequence[Finished], experiments: Iterable[Resolved] = EXPERIMENTS, group: str = "a"
) -> None:
    """One attempt at a run, in which these experiments are finished side by side."""
    with store.open_run(folder, experiments, {}) as run:
        run.commit(group, found)


def write_random_run(folder: Path, experiments: Sequence[Resolved], generator: np.random.Generator) -> None:
    """A run of other experiments, whose networks are all of one size."""
    found = [finished(generator, experiment.name) for experiment in experiments]
    sizes = {"parameters": 100, "multiply_adds": 1000}
    write_run(folder, [one._replace(result=one.result._replace(**sizes)) for one in found], experiments)


def assert_holds(folder: Path, found: Sequence[Finished]) -> None:
    """The run's records are these, experiment after experiment, and its tables say the same."""
    assert store.read_finished(folder) == list(found)
    records = {
        "result": [(one.experiment, one.result) for one in found],
        "evaluation": [(one.experiment, look) for one in found for look in one.evaluations],
    }
    for event, expected in records.items():
        assert_says(store.read(folder, event), expected)
    times = store.read(folder, "time")
    assert times["experiment"].tolist() == [one.experiment for one in found]
    assert times["seconds"].tolist() == [one.seconds for one in found]


def assert_says(table: pandas.DataFrame, records: Sequence[tuple[str, Any]]) -> None:
    """A row for each record of an experiment, beside the fields of that; what is None is missing."""
    names = [name for name, _ in records]
    assert table["experiment"].tolist() == names
    experiments = dict(zip(NAMES, EXPERIMENTS, strict=True))
    for field in ("seed", "model.constraint", "model.delta", "training.updates", "model.channels"):
        assert table[field].tolist() == [get(experiments[name], field) for name in names]
    columns = {
        field: [getattr(record, field) for _, record in records]
        for field in (records[0][1]._fields if records else ())
        if field != "violations"
    }
    for constraint in sorted({constraint for _, record in records for constraint in record.violations}):
        columns[f"violation_{constraint}"] = [record.violations.get(constraint) for _, record in records]
    assert table.columns[len(table.columns) - len(columns) :].tolist() == list(columns)
    for column, expected in columns.items():
        assert [None if pandas.isna(value) else value for value in table[column].tolist()] == expected
        assert pandas.api.types.is_numeric_dtype(table[column]) or column == "device"


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
