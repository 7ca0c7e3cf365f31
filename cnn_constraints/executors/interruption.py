"""Ctrl-C, and the signal by which a machine is taken away, stop a sweep after its current step and not in the middle."""

import signal
import sys
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """A context manager within which the first signal is a request, and the second ends the process at once.

    Use it in the main thread, where alone Python takes signals.
    """

    def __init__(self) -> None:
        self._asked = False
        self._before: dict[signal.Signals, object] = {}

    def asked(self) -> bool:
        """Whether to stop."""
        return self._asked

    def __enter__(self) -> "Interruption":
        self._before = {number: signal.signal(number, self._request) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]

    def _request(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
        # Nothing that is on the disk is ever half-written, so that the second may be obeyed anywhere.
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        print("stopping after the current step; once more stops at once.", file=sys.stderr, flush=True)
