"""Files are written whole or not at all, by one process at a time, into folders that are meant for them."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

PARTIAL = ".partial"
"""Ends the name of what is being written, or was when its process was killed."""

FULL = (errno.ENOSPC, errno.EDQUOT)
"""What the system says where a disk, or what a user may use of it, is full."""


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A place to write to, which takes that of `path` in the end; where writing fails, nothing of it is left.

    Once this is left the file is on the disk, and stays whatever happens to the machine. Several processes may write the
    same file at once: each has a place of its own, and the last one's file stays.
    """
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PARTIAL}")
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
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def write_with_room(write: Callable[[], object], make_room: Callable[[], bool]) -> None:
    """Write, and once more where the disk was full and `make_room` has made some."""
    try:
        write()
    except OSError as error:
        if error.errno not in FULL or not make_room():
            raise
        write()


def require_room(folder: Path, size: int) -> None:
    """Raises OSError where a folder cannot be written, or has no room for so many bytes."""
    with tempfile.TemporaryFile(dir=folder) as file:
        # Not every system can set room aside, and not on every disk.
        if hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:
                if error.errno in FULL:
                    raise


def digest(content: bytes) -> str:
    """SHA-256, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def digest_of_all(contents: Iterable[tuple[str, bytes]]) -> str:
    """SHA-256 of names and contents of files, in this order."""
    # A name need be no text.
    return digest("".join(f"{name} {digest(content)}\n" for name, content in contents).encode(errors="surrogateescape"))


def folder_digest(folder: Path) -> str:
    """SHA-256 of the names and contents of all files below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return digest_of_all((str(path.relative_to(folder)), path.read_bytes()) for path in files)


@contextlib.contextmanager
def locked(lock: Path) -> Iterator[None]:
    """Wait for other processes that hold this lock, a file of its own, and hold it. Raises OSError where that cannot be."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def foreign_entry(folder: Path, own: Container[str]) -> str | None:
    """What lies in a folder beside our own files and what was left of them half-written, if anything does."""
    entries = folder.iterdir() if folder.is_dir() else ()
    return next((path.name for path in entries if re.sub(rf"\.\w+{PARTIAL}$", "", path.name) not in own), None)


def _to_disk(path: Path) -> None:
    """See what is written to the disk: of a folder, the names of its files."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
