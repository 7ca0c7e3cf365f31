"""What all entry points share: one sentence and exit code 2 for bad input, flags, and config files."""

import contextlib
import io
import itertools
import logging
import os
import re
import signal
import sys
import textwrap
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NoReturn, TypeVar

import tyro

from cnn_constraints.config_file import load_config as load_config
from cnn_constraints.config_file import try_config as try_config
from cnn_constraints.errors import InputError, nearest_name, unknown_name
from experiments import STOPPED, stop_at_once

T = TypeVar("T")

EXAMPLE_WIDTH = 80
"""Characters: what a terminal has at least."""

METAVARS = {
    r"^\{None\}\|(.+)": r"\1, or None",
    r"\{?\[(\w+) \[\1 \.\.\.\]\]\}?": r"\1, or several",
    r"\bINT\b": "a whole number",
    r"\bFLOAT\b": "a number",
    r"\bSECONDS\b": "a number of seconds",
}
"""How tyro writes what a flag takes, and how we do."""

AGAIN_AFTER = 0.05
"""Seconds after which a Ctrl-C that was lost is repeated."""


def entry_point(main: Callable[[list[str]], None]) -> Callable[[], None]:
    """Run `main` on the command line's arguments. Bad input ends in its sentence and exit code 2, Ctrl-C in 130.

    A KeyboardInterrupt with words says in them how to go on; without, the same command does.
    """

    def run() -> None:
        logging.basicConfig(format="%(message)s", stream=sys.stderr)
        logging.getLogger("cnn_constraints").setLevel(logging.INFO)
        warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
        if signal.getsignal(signal.SIGINT) is stop_at_once:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            sys.unraisablehook = _lose_no_interrupt
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
            reason = error.strerror or error
            if error.filename is None:
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                _refuse(f"What was found cannot be written ({reason}): make room, then run the same command again.")
            _refuse(f"{os.fspath(error.filename)!r} cannot be used ({reason}): mend that, or name another place.")

    return run


def _lose_no_interrupt(lost: "sys.UnraisableHookArgs") -> None:
    """Ctrl-C in a callback of the garbage collector, or of a reference, ends nothing: it is repeated a moment later."""
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


def check_flags(arguments: Sequence[str], allowed: Sequence[str]) -> None:
    """Raises InputError for an argument that is empty, for a flag that is given twice, and, with the nearest flag, for one
    that is not allowed.
    """
    seen: set[str] = set()
    for before, argument in zip(["", *arguments], arguments, strict=False):
        flag, equals, value = argument.partition("=")
        if not argument or (flag.startswith("--") and equals and not value):
            raise InputError(f"{flag or before or 'The first argument'} is empty: give it a value, or leave it out.")
        if not flag.startswith("-") or flag == "-h" or _is_number(flag):
            continue
        flag = flag.replace("_", "-")
        if flag in seen:
            raise InputError(f"{flag} is given twice: leave one of the two out.")
        seen.add(flag)
        if flag in [*allowed, "--help"]:
            continue
        near = nearest_name(flag, allowed) if len(flag) > len("--x") else None
        raise InputError(f"Unknown flag {flag}: " + (f"did you mean {near}?" if near else "--help lists them."))


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def parse_flags(
    command: type[T], arguments: list[str], examples: Mapping[str, str] = MappingProxyType({}), **tyro_options: Any
) -> T:
    """tyro's command line, its panels of error text turned into one sentence. Raises InputError for bad values.

    examples: commands, and what comes out of each: the end of the help.
    """
    panel = io.StringIO()
    try:
        with contextlib.redirect_stderr(panel):
            # A flag that is off by default needs no second one that turns it off.
            return tyro.cli(command, args=arguments, config=(tyro.conf.FlagCreatePairsOff,), **tyro_options)
    except SystemExit as exit_:
        if not exit_.code:
            _print_examples(examples)
            raise
        raise InputError(_first_complaint(panel.getvalue(), arguments)) from None


def _print_examples(examples: Mapping[str, str]) -> None:
    for number, (command, outcome) in enumerate(examples.items()):
        print(f"{'' if number else 'examples'}\n  {command}")
        print(textwrap.fill(outcome, EXAMPLE_WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6))


def _first_complaint(panel: str, arguments: list[str]) -> str:
    """The flag a panel is about, what was given for it, and the values tyro says it takes."""
    words = " ".join(re.sub(r"[\u2500-\u257f]+", " ", panel).split())
    if surplus := re.search(r"Unrecognized options: (\S+)", words):
        return f"{surplus[1]!r} is one argument too many: --help lists what is taken."
    if missing := re.search(r"Missing value for argument '(--[\w.-]+)'", words):
        return f"{missing[1]} has no value: write it after the flag; --help says what it takes."
    if choice := re.search(r"invalid choice '(.*)' for argument '(--[\w.-]+)'. Expected one of \((.*?)\)", words):
        return str(unknown_name(choice[2], choice[1], re.findall("'(.*?)'", choice[3])))
    match = re.search(r"Argument helptext: (--[\w.-]+) (.+?) (?:\(|For full helptext|[A-Z][a-z])", words + " (")
    if match is None:
        return words.split("For full helptext")[0].removeprefix("Parsing error ").strip()
    flag = match[1]
    takes = match[2].removesuffix(",")
    for metavar, meaning in METAVARS.items():
        takes = re.sub(metavar, meaning, takes)
    given = next((i for i, argument in enumerate(arguments) if argument.split("=")[0].replace("_", "-") == flag), None)
    if given is None:
        return f"{flag} is missing: it takes {takes}."
    values = list(itertools.takewhile(lambda argument: not argument.startswith("--"), arguments[given + 1 :]))
    value = arguments[given].partition("=")[2] or " ".join(values if "several" in takes else values[:1])
    return f"{flag} is {value!r}: it takes {takes}."
