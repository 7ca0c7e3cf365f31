"""What was found, on the disk: Parquet files that are named by their content."""

import io
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pandas

from cnn_constraints.errors import InputError, told
from cnn_constraints.files import digest, replacing, write_with_room
from cnn_constraints.store.documents import ROOM

Row = Mapping[str, Any]

DIGITS = 16
"""Of the digest that ends a part's name."""

REMEDY = "restore it, or repeat the sweep, which computes its trials again."


def write(folder: Path, group: str, rows: Iterable[Row], make_room: Callable[[], bool]) -> str:
    """Commit the rows of trials that are finished, whole or not at all, and return the name of the part.

    A number that is not finite becomes NaN. make_room: on a full disk, whether there is more now. Raises InputError where
    the file system refuses.
    """
    table = pandas.DataFrame([{key: _finite(value) for key, value in row.items()} for row in rows])
    content = table.to_parquet(None, index=False)
    path = folder / "metrics" / f"{group}-{digest(content)[:DIGITS]}.parquet"

    def commit() -> None:
        with replacing(path) as temporary:
            temporary.write_bytes(content)

    with told(f"{path} cannot be written", ROOM):
        write_with_room(commit, make_room)
    return path.name


def present(folder: Path) -> list[Path]:
    """All parts, by name."""
    return sorted((folder / "metrics").glob("*.parquet"))


def read(path: Path, remedy: str = REMEDY) -> pandas.DataFrame:
    """The rows of a part. Raises InputError where it is not what was written."""
    with told(f"{path} cannot be read", remedy):
        content = path.read_bytes()
    if digest(content)[:DIGITS] != path.stem.rpartition("-")[2]:
        raise InputError(f"{path} was damaged or altered, since its content has not the digest in its name: {remedy}")
    return pandas.read_parquet(io.BytesIO(content))


def trials(path: Path) -> frozenset[str]:
    """The trials of a part; none where it is not what was written."""
    try:
        written = path.stat()
    except OSError:
        return frozenset()
    return _trials(path, written.st_mtime_ns, written.st_size)


def damaged(folder: Path, remedy: str) -> Iterator[tuple[Path, InputError]]:
    """The parts that are not what was written, and what is wrong with them."""
    for path in present(folder):
        try:
            read(path, remedy)
        except InputError as error:
            yield path, error


@cache
def _trials(path: Path, modified: int, size: int) -> frozenset[str]:
    """As long as a file is not modified it is not read again."""
    try:
        table = read(path)
    except InputError:
        return frozenset()
    return frozenset(table.loc[table["event"] == "result", "trial"])


def _finite(value: Any) -> Any:
    unknown = value is None or (isinstance(value, float) and not math.isfinite(value))
    return math.nan if unknown else value
