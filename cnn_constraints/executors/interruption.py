"""Ctrl-C, and the signals by which a machine or a terminal is taken away, stop a sweep after its current step and not in
the middle.
"""

import os
import signal
import sys
import threading
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruption:
    """A context manager within which the first signal is a request, and the second ends the process at once. Signals that
    whoever started the process has it ignore, as `nohup` does, stay ignored.

    Python takes signals in the main thread alone: in another, nothing is asked and no signal is touched.
    """

    def __init__(self) -> None:
        self._asked = False
        self._before: dict[signal.Signals, object] = {}

    def asked(self) -> bool:
        """Whether to stop."""
        return self._asked

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is not threading.main_thread():
            return self
        heeded = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._request) for number in heeded}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]

    def _request(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
        # Nothing that is on the disk is ever half-written, so that the second may be obeyed anywhere.
        for each in self._before:
            signal.signal(each, signal.SIG_DFL)
        try:
            print("stopping after the current step; once more stops at once.", file=sys.stderr, flush=True)
        except OSError:
            _write_to_no_terminal()


def _write_to_no_terminal() -> None:
    """One that is gone would end everything that writes to it, before there is a checkpoint."""
    terminal, nowhere = os.fstat(sys.stderr.fileno()), os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        if os.path.samestat(terminal, os.fstat(stream.fileno())):
            os.dup2(nowhere, stream.fileno())
