"""Bad input is told in one sentence: what was given, what is allowed, the nearest valid name."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """A mistake in what the user gave. Its message is a whole sentence; entry points print it and exit with code 2."""


def unknown_name(kind: str, given: object, allowed: Iterable[str]) -> InputError:
    """The sentence for a name that is not in a registry, with the nearest name that is."""
    names = sorted(allowed)
    nearest = difflib.get_close_matches(str(given), names, n=1, cutoff=0.5)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else "."
    return InputError(f"Unknown {kind} {str(given)!r}: allowed are {', '.join(names)}{hint}")
