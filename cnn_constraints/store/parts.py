"""What was found, on the disk: Parquet files that are named by their content, a row a finished experiment.

A row is the record `Finished`: its name, its result, its evaluations, its seconds. Their types are those of the records.
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
    """Commit what experiments found, whole or not at all, and return the name of the part.

    Raises InputError where the file system refuses.
    """
    rows = [
        one._asdict()
        | {"result": one.result._asdict(), "evaluations": [evaluation._asdict() for evaluation in one.evaluations]}
        for one in found
    ]
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, SCHEMA), buffer)
    path = folder / "metrics" / name_of(group, buffer.getvalue(), ".parquet")
    with input_error(f"{path} cannot be written", ROOM), atomic_write(path) as temporary:
        temporary.write_bytes(buffer.getvalue())
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


def experiments(path: Path) -> frozenset[str]:
    """The experiments of a part; none where it is not what was written, and some where it is."""
    content = whole_content(path)
    return frozenset() if content is None else frozenset(_table(content)["experiment"].to_pylist())


def _table(content: bytes) -> pyarrow.Table:
    # In this thread alone: a process that ends soon after those of Arrow have started is aborted by them at times.
    return pyarrow.parquet.ParquetFile(io.BytesIO(content), pre_buffer=False).read(use_threads=False)
