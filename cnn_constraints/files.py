"""Files are written whole or not at all."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A place to write to, which takes that of `path` in the end; where writing fails, nothing of it is left.

    Once this is left the file is on the disk, and stays whatever happens to the machine.
    """
    temporary = path.with_name(path.name + ".partial")
    try:
        yield temporary
        _to_disk(temporary)
        os.replace(temporary, path)
        _to_disk(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Whole or not at all. Raises ValueError for a number that is not finite."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def digest(content: bytes) -> str:
    """SHA-256, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def folder_digest(folder: Path) -> str:
    """SHA-256 of the names and contents of all files below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    listed = [f"{digest(path.read_bytes())}  {path.relative_to(folder).as_posix()}\n" for path in files]
    return digest("".join(listed).encode())


def _to_disk(path: Path) -> None:
    """See what is written to the disk: of a folder, the names of its files."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
