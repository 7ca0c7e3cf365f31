"""What was found, on the disk: Parquet files that are named by their content, a row a finished experiment.

A row is the record `Finished`: its name, its result, its evaluations, its seconds, and the name of the file of its weights.
Their types are those of the records.
"""

import io
import types
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from cnn_constraints.errors import InputError, input_error
from cnn_constraints.files import atomic_write, digest
from cnn_constraints.training.records import Evaluation, Finished, Result

DIGITS = 16
"""Of the digest that ends a name."""

REMEDY = "restore it, or repeat the sweep, which computes its experiments again."

ROOM = "finished experiments are kept; mend that, or make room, then run the same command again."


def _arrow_type(hint: Any) -> pyarrow.DataType:
    """Of a field of a record; every type may be null."""
    if isinstance(hint, types.UnionType):
        hint = next(part for part in typing.get_args(hint) if part is not types.NoneType)
    if typing.get_origin(hint) is dict:
        return pyarrow.map_(pyarrow.string(), pyarrow.float64())
    return {int: pyarrow.int64(), float: pyarrow.float64(), str: pyarrow.string()}[hint]


def _struct(record: type) -> pyarrow.DataType:
    hints = typing.get_type_hints(record)
    return pyarrow.struct([(name, _arrow_type(hint)) for name, hint in hints.items()])


SCHEMA = pyarrow.schema(
    [
        ("experiment", pyarrow.string()),
        ("result", _struct(Result)),
        ("evaluations", pyarrow.list_(_struct(Evaluation))),
        ("seconds", pyarrow.float64()),
        ("weights", pyarrow.string()),
    ]
)


def name_of(group: str, content: bytes, suffix: str) -> str:
    """The name of a file with this content."""
    return f"{group}-{digest(content)[:DIGITS]}{suffix}"


def whole_content(path: Path) -> bytes | None:
    """The content of a file, where it is the one that its name tells. Raises InputError where it cannot be read."""
    with input_error(f"{path} cannot be read", "mend that, then try again."):
        try:
            content = path.read_bytes()
        except (FileNotFoundError, IsADirectoryError):
            # Another process may have put it aside.
            return None
    return content if path.name == name_of(path.stem.rpartition("-")[0], content, path.suffix) else None


def write(folder: Path, group: str, found: Iterable[Finished]) -> str:
    """Commit what experiments found, whole or not at all and weights before what names them, and return the name of the
    part. Raises InputError where the file system refuses.
    """
    rows = [
        one._asdict()
        | {"result": one.result._asdict(), "evaluations": [evaluation._asdict() for evaluation in one.evaluations]}
        | {"weights": one.weights and _write(folder / "weights", one.experiment, one.weights, ".safetensors")}
        for one in found
    ]
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, SCHEMA), buffer)
    return _write(folder / "metrics", group, buffer.getvalue(), ".parquet")


def _write(folder: Path, of: str, content: bytes, suffix: str) -> str:
    path = folder / name_of(of, content, suffix)
    with input_error(f"{path} cannot be written", ROOM), atomic_write(path) as temporary:
        temporary.write_bytes(content)
    return path.name


def present(folder: Path) -> list[Path]:
    """All parts, by name. Raises InputError where their folder cannot be read."""
    place = folder / "metrics"
    with input_error(f"{place} cannot be read", "mend that, then try again."):
        return sorted(path for path in place.iterdir() if path.suffix == ".parquet") if place.is_dir() else []


def read(path: Path) -> pyarrow.Table:
    """The rows of a part. Raises InputError where it is not what was written."""
    if (content := whole_content(path)) is None:
        raise InputError(f"{path} was damaged or altered, since its content has not the digest in its name: {REMEDY}")
    return _table(content)


def experiments(path: Path, with_weights: bool = False) -> frozenset[str] | None:
    """The experiments of a part; None where it is not what was written. with_weights: without those whose weights were not
    kept or are lost, unless all candidates diverged.
    """
    content = whole_content(path)
    if content is None:
        return None
    rows = _table(content).select(["experiment", "result", "weights"]).to_pylist()
    return frozenset(row["experiment"] for row in rows if not with_weights or _has_weights(path, row))


def _has_weights(part: Path, row: dict[str, Any]) -> bool:
    if row["result"]["candidate"] is None:
        return True
    if row["weights"] is None:
        return False
    path = part.parents[1] / "weights" / row["weights"]
    return whole_content(path) is not None


def _table(content: bytes) -> pyarrow.Table:
    # In this thread alone: a process that ends soon after those of Arrow have started is aborted by them at times.
    found = pyarrow.parquet.ParquetFile(io.BytesIO(content), pre_buffer=False).read(use_threads=False)
    if "weights" not in found.column_names:
        # Before weights were kept, no part told of them.
        return found.append_column(SCHEMA.field("weights"), pyarrow.nulls(len(found), pyarrow.string()))
    return found
