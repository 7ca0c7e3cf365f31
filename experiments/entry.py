"""What all commands share: flags from a dataclass, one sentence and exit code 2 for bad input, and how a command ends."""

import contextlib
import dataclasses
import io
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import tyro

from cnn_constraints.errors import InputError
from cnn_constraints.files import local_path

T = TypeVar("T")

STOPPED = 130
"""The exit code of a command that was stopped, as shells have it."""


TOLD_TO_STOP = (signal.SIGTERM, signal.SIGHUP)
"""A scheduler sends these before it kills, and a terminal that closes."""

AGAIN_AFTER = 0.05
"""Seconds after which a Ctrl-C that was lost is repeated."""


def parse_flags(command: type[T], arguments: list[str], description: str | None, **options: Any) -> T:
    """The command line of a dataclass, whose paths are local ones. description: the module's docstring, which ends in
    examples. Bad flags end in tyro's own message and exit code 2. Raises InputError as `local_path`.
    """
    # A flag that is off by default needs no second one that turns it off.
    config = (tyro.conf.FlagCreatePairsOff,)
    parsed: Any = tyro.cli(command, args=arguments, description=description, config=config, **options)
    own = {field.name: _local(getattr(parsed, field.name)) for field in dataclasses.fields(parsed)}
    return dataclasses.replace(parsed, **own)


def _local(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_local, value))
    return local_path(value) if isinstance(value, Path) else value


def entry_point(main: Callable[[list[str]], None]) -> Callable[[], None]:
    """Run `main` on the command line's arguments. Bad input ends in its sentence and exit code 2, Ctrl-C or SIGTERM in 130.

    A KeyboardInterrupt with words says in them how to go on; without, the same command does.
    """

    def run() -> None:
        logging.basicConfig(format="%(message)s", stream=sys.stderr)
        logging.getLogger("cnn_constraints").setLevel(logging.INFO)
        warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
        sys.unraisablehook = _lose_no_interrupt
        heeded = [number for number in TOLD_TO_STOP if signal.getsignal(number) == signal.SIG_DFL]
        for number in heeded:
            signal.signal(number, _interrupt)
        if isinstance(sys.stdout, io.TextIOWrapper):
            # As standard error does by itself: a file's name need be no text.
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            main(sys.argv[1:])
            sys.stdout.flush()
        except InputError as error:
            _refuse(str(error))
        except KeyboardInterrupt as stop:
            print(f"stopped: {str(stop) or 'run the same command again to go on.'}", file=sys.stderr)
            sys.exit(STOPPED)
        except BrokenPipeError:
            # The reader, `head` say, has seen enough; without this Python complains once more at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except OSError as error:
            # Disks fill up, and places are closed to a user, wherever a command uses them.
            place = "The output" if error.filename is None else repr(os.fspath(error.filename))
            _refuse(f"{place} cannot be used ({error.strerror or error}): mend that, or name another place.")
        finally:
            for number in heeded:
                signal.signal(number, signal.SIG_DFL)

    return run


def _interrupt(number: int, frame: object) -> NoReturn:
    """As Ctrl-C; what comes next ends the process at once."""
    for each in TOLD_TO_STOP:
        signal.signal(each, signal.SIG_DFL)
    raise KeyboardInterrupt


def _lose_no_interrupt(lost: "sys.UnraisableHookArgs") -> None:
    """Python forgets what is raised in a callback of its garbage collector, such as JAX's: a Ctrl-C there is repeated."""
    if issubclass(lost.exc_type, KeyboardInterrupt):
        threading.Timer(AGAIN_AFTER, os.kill, (os.getpid(), signal.SIGINT)).start()
    else:
        sys.__unraisablehook__(lost)


def _refuse(sentence: str) -> NoReturn:
    # A file's name may hold a line's end.
    print(f"error: {' '.join(sentence.splitlines())}", file=sys.stderr)
    sys.exit(2)


@contextlib.contextmanager
def nothing_but_errors() -> Iterator[None]:
    """Standard error is silent: what ends the command is told after this is left."""
    ours = logging.getLogger("cnn_constraints")
    before = ours.level
    ours.setLevel(logging.ERROR)
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
            yield
    finally:
        ours.setLevel(before)
