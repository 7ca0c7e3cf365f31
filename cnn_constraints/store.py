"""The only code that reads or writes a run folder.

lock                      held by the process that runs it
config.json               the resolved trials of the sweep, by name
environment.json          versions, device and commit of every attempt to run it
metrics/<attempt>-<group>.jsonl     while the group runs: one line an event, one writer a file
metrics/<attempt>-<group>.parquet   when it has ended: the same rows
"""

import contextlib
import fcntl
import json
import math
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pandas

from cnn_constraints import config
from cnn_constraints.config import Experiment
from cnn_constraints.errors import InputError
from cnn_constraints.files import replacing

T = TypeVar("T")

FORMAT = 1

PARTS = ("lock", "config.json", "environment.json", "metrics", "figures")
"""All that may lie in a run folder."""

ROOM = "finished trials are kept; make room, then run the same command again."

REMEDY = "restore it, or move it away and repeat the sweep, which keeps all results and writes it anew."

EVENTS = ("result", "evaluation")
"""A trial's one result, and what each of its lanes measured at each look at the validation data."""

WHOLE_NUMBERS = ("lane", "update", "parameters", "multiply_adds")


class GroupWriter:
    """Appends rows of one group to one file of its own; every row is a whole line or nothing."""

    def __init__(self, folder: Path, attempt: int, group: str) -> None:
        self._path = folder / "metrics" / f"{attempt:04d}-{group}.jsonl"
        self._file = self._path.open("x", encoding="utf-8")

    def write(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append rows and see them to the disk. A number that is not finite is written as null."""
        with _told(f"{self._path} cannot be written", ROOM):
            for row in rows:
                self._file.write(
                    json.dumps({key: _finite(value) for key, value in row.items()}, allow_nan=False) + "\n"
                )
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """End the group: compact its rows to Parquet."""
        with _told(f"{self._path} cannot be written", ROOM):
            self._file.close()
        _compact(self._path)


@contextlib.contextmanager
def claim(folder: Path) -> Iterator[None]:
    """Hold a run folder for one process. Raises InputError where another holds it, or it cannot be made."""
    _refuse_other_folders(folder)
    with _told(f"The run folder {folder} cannot be made", "choose another."):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"{folder} is in use by another process: wait for it, or choose another.") from None
        yield


def open_run(
    folder: Path, trials: Iterable[Experiment], environment: Mapping[str, Any], images: Mapping[str, str] | None = None
) -> int:
    """Create the run folder, or add to it, and return the number of this attempt, from 1.

    images: digests of the user's own image folders, see `check_images`. Trials of earlier attempts stay. Raises
    InputError where the folder holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: a run needs a folder.")
    described = _read_config(folder) if (folder / "config.json").exists() else None
    _refuse_other_folders(folder)
    with _told(f"The run folder {folder} cannot be made", "choose another."):
        (folder / "metrics").mkdir(parents=True, exist_ok=True)
    known, known_images = (described["trials"], described.get("images", {})) if described else ({}, {})
    named = {config.name(trial): config.to_json(trial) for trial in trials}
    environment_path = folder / "environment.json"
    environments = _read_json(environment_path) if environment_path.exists() else {"attempts": []}
    attempts = _entry(environment_path, environments, "attempts", list)
    content = {"format": FORMAT, "trials": known | named, "images": known_images | dict(images or {})}
    write_json(folder / "config.json", content)
    write_json(environment_path, {"attempts": [*attempts, dict(environment)]})
    for torn in (folder / "metrics").glob("*.partial"):
        torn.unlink()
    for leftover in sorted((folder / "metrics").glob("*.jsonl")):
        _compact(leftover)
    files = [int(path.name[:4]) for path in (folder / "metrics").glob("[0-9][0-9][0-9][0-9]-*")]
    return max([len(attempts), *files]) + 1


@contextlib.contextmanager
def _told(failure: str, remedy: str) -> Iterator[None]:
    """What the file system refuses becomes a sentence."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{failure} ({error.strerror or error}): {remedy}") from None


def _refuse_other_folders(folder: Path) -> None:
    """What is not a run, and not empty, is left as it is. A run that lost its config.json, or was killed before it had
    one, is still a run.
    """
    if not folder.is_dir() or (folder / "config.json").exists():
        return
    for path in folder.iterdir():
        if path.name.removesuffix(".partial") not in PARTS:
            raise InputError(
                f"{folder} holds {path.name} and no config.json, so it is no run folder: choose an empty or a new one."
            )


def check_images(folder: Path, images: Mapping[str, str]) -> None:
    """images: the digest of each image folder that trials read, by its path. Raises InputError where the trials of this
    run were trained on other images at the same path: the names of trials do not tell them apart.
    """
    known = _read_config(folder).get("images", {}) if (folder / "config.json").exists() else {}
    for path, digest in images.items():
        if known.get(path, digest) != digest:
            raise InputError(
                f"The images in {path} are not those that {folder} was made from: put them back, or choose another "
                f"--output."
            )


def finished(folder: Path) -> set[str]:
    """The names of the trials that have a result. Raises InputError for a run that cannot be read."""
    if (folder / "config.json").exists():
        _read_config(folder)
    return set(_rows(folder)["trial"])


def read(folder: str | Path, event: str = "result") -> pandas.DataFrame:
    """The rows of a run as a table: "result", one row a trial, or "evaluation", one row a trial, lane and update.

    Columns are the trial's config fields by dotted name, then what was measured: accuracies as fractions 0 to 1, losses
    in nats, times in seconds. Only finished trials are in it. Raises InputError, naming the file, where a part is
    missing, damaged or of another format; an unfinished last line, left by a killed process, is passed over with a
    warning.
    """
    if event not in EVENTS:
        raise InputError(f"Unknown event {event!r}: allowed are {', '.join(EVENTS)}.")
    folder = Path(folder)
    described = _read_config(folder)
    rows = _rows(folder, event)
    fields = {name: _flatten(trial) for name, trial in described["trials"].items()}
    unknown = set(rows["trial"]) - set(fields)
    if unknown:
        raise InputError(f"{folder / 'config.json'} lacks the trial {min(unknown)}, which has metrics: it was altered.")
    configs = pandas.DataFrame([fields[trial] for trial in rows["trial"]], index=rows.index)
    return pandas.concat([rows[["trial"]], configs, rows.drop(columns=["trial", "event"])], axis=1)


def _rows(folder: Path, event: str = "result") -> pandas.DataFrame:
    """Rows of finished trials; where a trial was finished twice, its first result counts."""
    tables = [_read_parquet(path) for path in sorted((folder / "metrics").glob("*.parquet"))]
    tables += [_read_lines(path) for path in sorted((folder / "metrics").glob("*.jsonl"))]
    tables = [table for table in map(_one_result_each, tables) if len(table)]
    seen: set[str] = set()
    parts = []
    for table in tables:
        part = table.loc[~table["trial"].isin(list(seen))]
        seen |= set(part["trial"])
        parts.append(_columns_of(event, part.loc[part["event"] == event]))
    if not parts:
        return pandas.DataFrame({"trial": [], "event": []})
    return pandas.concat(parts, ignore_index=True)


def _columns_of(event: str, rows: pandas.DataFrame) -> pandas.DataFrame:
    """Without the columns of the other event, which shares the file, and with whole numbers whole again."""
    measured = ("train_", "validation_", "test_") if event == "result" else ("train_", "validation_")
    empty = [name for name in rows.columns[rows.isna().all()] if not name.startswith(measured)]
    whole = {
        name: "int64" for name in WHOLE_NUMBERS if name in rows.columns and not rows[[name]].isna().to_numpy().any()
    }
    return rows.astype(whole).drop(columns=empty)


def _one_result_each(table: pandas.DataFrame) -> pandas.DataFrame:
    done = table.loc[table["event"] == "result", "trial"]
    return table.loc[table["trial"].isin(list(done))]


def _compact(path: Path) -> None:
    """Turn a JSON Lines file into Parquet with the rows of its finished trials. The lines go when the table is safe."""
    table = _one_result_each(_read_lines(path))
    if len(table):
        compact = path.with_suffix(".parquet")
        with _told(f"{compact} cannot be written", ROOM), replacing(compact) as temporary:
            table.to_parquet(temporary, index=False)
    path.unlink()


def _read_lines(path: Path) -> pandas.DataFrame:
    whole, _, torn = path.read_bytes().rpartition(b"\n")
    if torn:
        warnings.warn(f"{path}: the last line is unfinished and passed over.", stacklevel=2)
    rows = [_row(path, number, line) for number, line in enumerate(whole.splitlines(), start=1)]
    return pandas.DataFrame(rows) if rows else pandas.DataFrame({"trial": [], "event": []})


def _row(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    if not isinstance(row, dict) or not isinstance(row.get("trial"), str) or not isinstance(row.get("event"), str):
        raise InputError(
            f"{path}, line {number}, is damaged: restore the file, or move it away to compute its trials again."
        )
    return {key: math.nan if value is None else value for key, value in row.items()}


def _read_parquet(path: Path) -> pandas.DataFrame:
    try:
        table = pandas.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} is damaged ({error}): restore it, or move it away to compute its trials again."
        ) from None
    if not {"trial", "event"} <= set(table.columns):
        raise InputError(f"{path} is not a table of metrics: it lacks the columns trial and event.")
    return table


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    described = _read_json(path)
    # The format first: another one may have other entries.
    if _entry(path, described, "format", int) != FORMAT:
        raise InputError(f"{folder} has format {described['format']}: this version reads format {FORMAT}.")
    if not all(isinstance(trial, dict) for trial in _entry(path, described, "trials", dict).values()):
        raise InputError(f"{path} is damaged, since a trial is not an object: {REMEDY}")
    return described


def _read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file."""
    try:
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path.parent} is not a run folder: it has no {path.name}.") from None
    except ValueError:
        raise InputError(f"{path} is damaged, since it is not JSON: {REMEDY}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} is damaged, since it does not hold an object: {REMEDY}")
    return content


def _entry(path: Path, content: Mapping[str, Any], name: str, kind: type[T]) -> T:
    value = content.get(name)
    if not isinstance(value, kind):
        raise InputError(f"{path} is damaged, since its entry {name!r} is missing or of another type: {REMEDY}")
    return value


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _flatten(trial: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in trial.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
