"""The commands: `python -m experiments.<name>`."""

import os
import sys

# On some CPUs XLA warns for every program read from the cache, in a thousand characters, that its own tuning hints are no
# features of the machine. It reads this before JAX is imported; what really fails is raised.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

try:
    import jax as jax
except ValueError as error:
    # JAX reads its environment variables while it is imported, before any command could look at them.
    print(f"error: JAX refuses an environment variable ({error}): mend or unset it.", file=sys.stderr)
    sys.exit(2)
