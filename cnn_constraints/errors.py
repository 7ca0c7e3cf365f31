"""Bad input is told in one sentence: what was given, what is allowed, the nearest valid name."""

import contextlib
import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

T = TypeVar("T")


class InputError(ValueError):
    """A mistake in what the user gave. Its message is a whole sentence; entry points print it and exit with code 2."""


@contextlib.contextmanager
def input_error(failure: str, remedy: str) -> Iterator[None]:
    """What the file system refuses becomes a sentence."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{failure} ({error.strerror or error}): {remedy}") from None


def find(kind: str, name: str, registry: Mapping[str, T]) -> T:
    """The entry of that name. Raises InputError with the nearest name where there is none."""
    if name not in registry:
        raise unknown_name(kind, name, registry)
    return registry[name]


def unknown_name(kind: str, given: object, allowed: Iterable[str]) -> InputError:
    """The sentence for a name that is not in a registry, with the nearest name that is."""
    names = sorted(allowed)
    near = nearest_name(str(given), names)
    hint = f"; did you mean {near!r}?" if near else "."
    return InputError(f"Unknown {kind} {str(given)!r}: allowed are {', '.join(names)}{hint}")


def nearest_name(given: str, allowed: Iterable[str]) -> str | None:
    """The allowed name that was probably meant, if any is near enough."""
    return next(iter(difflib.get_close_matches(given, list(allowed), n=1, cutoff=0.5)), None)
