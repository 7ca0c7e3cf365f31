"""The commands: `python -m experiments.<name>`."""

import os

# On some CPUs XLA warns for every program read from the cache, in a thousand characters, that its own tuning hints are no
# features of the machine. It reads this before JAX is imported; what really fails is raised.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
