"""What was found, on the disk: Parquet files that are named by their content, a row a finished experiment.

A row is the record `Finished`: its name, its result, its evaluations, its seconds. Their types are those of the records.
"""

import io
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from cnn_constraints.errors import InputError, input_error
from cnn_constraints.files import atomic_write, digest, write_with_room
from cnn_constraints.store.documents import ROOM
from cnn_constraints.training.records import Evaluation, Finished, Result

DIGITS = 16
"""Of the digest that ends a part's name."""

REMEDY = "restore it, or repeat the sweep, which computes its experiments again."


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


def write(folder: Path, group: str, found: Iterable[Finished], make_room: Callable[[], bool]) -> str:
    """Commit what experiments found, whole or not at all, and return the name of the part.

    make_room: on a full disk, whether there is more now. Raises InputError where the file system refuses.
    """
    rows = [
        {
            "experiment": one.experiment,
            "result": one.result._asdict(),
            "evaluations": [evaluation._asdict() for evaluation in one.evaluations],
            "seconds": one.seconds,
        }
        for one in found
    ]
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, SCHEMA), buffer)
    path = folder / "metrics" / f"{group}-{digest(buffer.getvalue())[:DIGITS]}.parquet"

    def commit() -> None:
        with atomic_write(path) as temporary:
            temporary.write_bytes(buffer.getvalue())

    with input_error(f"{path} cannot be written", ROOM):
        write_with_room(commit, make_room)
    return path.name


def present(folder: Path) -> list[Path]:
    """All parts, by name."""
    return sorted((folder / "metrics").glob("*.parquet"))


def read(path: Path, remedy: str = REMEDY) -> pyarrow.Table:
    """The rows of a part. Raises InputError where it is not what was written."""
    with input_error(f"{path} cannot be read", remedy):
        content = path.read_bytes()
    if digest(content)[:DIGITS] != path.stem.rpartition("-")[2]:
        raise InputError(f"{path} was damaged or altered, since its content has not the digest in its name: {remedy}")
    # In this thread alone: a process that ends soon after those of Arrow have started is aborted by them at times.
    return pyarrow.parquet.ParquetFile(io.BytesIO(content), pre_buffer=False).read(use_threads=False)


def experiments(path: Path) -> frozenset[str]:
    """The experiments of a part; none where it is not what was written."""
    try:
        written = path.stat()
    except OSError:
        return frozenset()
    return _experiments(path, written.st_mtime_ns, written.st_size)


def damaged(folder: Path, remedy: str) -> Iterator[tuple[Path, InputError]]:
    """The parts that are not what was written, and what is wrong with them."""
    for path in present(folder):
        try:
            read(path, remedy)
        except InputError as error:
            yield path, error


@cache
def _experiments(path: Path, modified: int, size: int) -> frozenset[str]:
    """As long as a file is not modified it is not read again."""
    try:
        return frozenset(read(path)["experiment"].to_pylist())
    except InputError:
        return frozenset()
