"""The commands: `python -m experiments.<name>`."""

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

STOPPED = 130
"""The exit code of a command that was stopped, as shells have it."""


def stop_at_once(number: int, frame: FrameType | None) -> NoReturn:
    """Ctrl-C while a command is imported, which takes seconds and has written nothing: an exception would be told with all
    that is being imported, or lost there.
    """
    os.write(2, b"stopped: run the same command again to go on.\n")
    os._exit(STOPPED)


# Python's word for a command that it is about to run; others who import this have their own ways to stop.
if sys.argv[0] == "-m" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, stop_at_once)

# On some CPUs XLA warns for every program read from the cache, in a thousand characters, that its own tuning hints are no
# features of the machine. It reads this before JAX is imported; what really fails is raised.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

try:
    import jax as jax
except ValueError as error:
    # JAX reads its environment variables while it is imported, before any command could look at them.
    print(f"error: JAX refuses an environment variable ({error}): mend or unset it.", file=sys.stderr)
    sys.exit(2)
