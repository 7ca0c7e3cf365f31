"""One kind of bad input, as data: how to give it, and what the one sentence must hold."""

import _io
import errno
import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

Patch = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Entry:
    """command: without `python -m experiments.`, run in a folder that holds the small config and what `prepare` adds.
    words: of the sentence. changes: of the config's text, old and new. patch: what cannot be had for real in a test, such
    as a full disk. environment: variables. apart: in a process of its own, for what is read while Python starts. output:
    where standard output goes then. shown: what was given, where the command and the changes do not say it.
    """

    command: str
    words: str
    changes: tuple[tuple[str, str], ...] = ()
    prepare: Callable[[], object] | None = None
    patch: Patch | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    apart: bool = False
    output: str | None = None
    shown: str = ""


Entries = dict[str, Entry]
"""By what was given, in words."""


def flags(written: str, words: str, **more: Any) -> Entry:
    """Flags of the sweep of the small config."""
    return Entry(f"sweep config.py {written}", words, **more)


def arguments(command: str, words: Mapping[str, str]) -> Entries:
    """What one command is given, and the words of its sentence."""
    return {written: Entry(f"{command} {written}", words_) for written, words_ in words.items()}


def config(old: str, new: str, words: str) -> Entry:
    """The small config with a change."""
    return Entry("sweep config.py", words, changes=((old, new),))


def denied(*paths: str) -> Patch:
    """What lies at or below these paths may not be opened, listed or made; a folder may still be looked at from outside."""
    return _refusing(
        errno.EACCES,
        paths,
        (os, "stat"),
        (os, "listdir"),
        (os, "scandir"),
        (os, "mkdir"),
        (io, "open"),
        (_io, "open_code"),
    )


def unwritable(code: int, *paths: str) -> Patch:
    """Folders cannot be made at or below these paths, for a reason of the file system such as errno.ENOSPC."""
    return _refusing(code, paths, (os, "mkdir"))


def _refusing(code: int, paths: Sequence[str], *functions: tuple[Any, str]) -> Patch:
    """Simulated, since tests may run as a user to whom everything is permitted, and on a disk that is not full."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        places = [Path(path).absolute() for path in paths]

        def guard(module: Any, name: str) -> None:
            function = getattr(module, name)

            def guarded(path: Any = ".", *arguments: Any, **options: Any) -> Any:
                if isinstance(path, str | Path):
                    given = Path(path).absolute()
                    if any(place in given.parents or (name != "stat" and place == given) for place in places):
                        raise OSError(code, os.strerror(code), str(path))
                return function(path, *arguments, **options)

            monkeypatch.setattr(module, name, guarded)

        for module, name in functions:
            guard(module, name)

    return patch
