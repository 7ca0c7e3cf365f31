"""Files are written whole or not at all, and known by the digest of their content."""

import contextlib
import hashlib
import json
import os
import re
import secrets
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock

from cnn_constraints.errors import InputError

PARTIAL = ".partial"
"""Ends the name of what is being written, or was when its process was killed."""


def local_path(given: str | Path) -> Path:
    """A path as a shell takes it: ~ is the user's home. Raises InputError for an address, such as gs://bucket/runs."""
    if address := re.match(r"[A-Za-z][\w+.-]+:/", str(given)):
        raise InputError(
            f"{str(given)!r} is no path of this machine, and {address[0]}/ is neither read nor written: name a "
            f"local folder or file."
        )
    # "~nobody/runs" names nobody's home, and is a folder of that very name then, as in a shell.
    return Path(os.path.expanduser(given))


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


def write_json(path: Path, content: Any) -> None:
    """Whole or not at all. Raises ValueError for a number that is not finite."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def digest(content: bytes) -> str:
    """SHA-256, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def digest_of_all(contents: Iterable[tuple[str, bytes]]) -> str:
    """SHA-256 of names and contents of files, in this order."""
    # A name need be no text.
    return digest("".join(f"{name} {digest(content)}\n" for name, content in contents).encode(errors="surrogateescape"))


def as_text(name: str) -> str:
    """The name of a file, which need be no text, for what holds text alone."""
    return name.encode(errors="backslashreplace").decode()


def locked(path: Path) -> FileLock:
    """A lock, as a context manager: all threads of a process share it, and the process loses it when it ends."""
    return FileLock(path, thread_local=False, fallback_to_soft=False)


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
