"""What the environment variables of the user's machine say: where data lies, and where what is made once is kept."""

import os
from pathlib import Path

DATA_VARIABLE = "CNN_CONSTRAINTS_DATA"
"""Names a folder of original archives, for whoever has no network."""

CACHE_VARIABLE = "CNN_CONSTRAINTS_CACHE"
"""Names the folder of prepared data and compiled programs."""


def cache_folder() -> Path:
    """The folder that CNN_CONSTRAINTS_CACHE names; else `cnn_constraints` in $XDG_CACHE_HOME or in ~/.cache."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given).expanduser().absolute()
    # An empty or relative value counts as none (XDG Base Directory Specification).
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "cnn_constraints"
