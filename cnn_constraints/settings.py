"""What the environment variables of the user's machine say: where data lies, and where what is made once is kept."""

import os
import tempfile
from pathlib import Path

from cnn_constraints.errors import InputError

DATA_VARIABLE = "CNN_CONSTRAINTS_DATA"
"""Names a folder of original archives, for whoever has no network."""

CACHE_VARIABLE = "CNN_CONSTRAINTS_CACHE"
"""Names the folder of prepared data and compiled programs."""


def cache_folder() -> Path:
    """The folder that CNN_CONSTRAINTS_CACHE names; else `cnn_constraints` in $XDG_CACHE_HOME or in ~/.cache."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        # "~nobody/cache" names no folder, and is one of that very name then, as in a shell.
        return Path(os.path.expanduser(given)).absolute()
    # An empty or relative value counts as none (XDG Base Directory Specification).
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "cnn_constraints"


def make_cache_folder(folder: Path) -> None:
    """A part of the cache folder, from now on there. Raises InputError where nothing can be written into it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Only the attempt tells whether a place can be written to, and this one leaves nothing.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"The cache folder {str(folder)!r} cannot be written ({error.strerror or error}): name another folder in the "
            f"environment variable {CACHE_VARIABLE}."
        ) from error


def keep_compiled_programs() -> None:
    """Compiled programs are kept on disk, so that one is compiled once a machine and not once a process.

    Raises InputError for a cache folder that cannot be written.
    """
    import jax

    folder = cache_folder() / "compiled"
    make_cache_folder(folder)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
