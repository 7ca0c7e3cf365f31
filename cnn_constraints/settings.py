"""What the user's machine says: where data lies, where what is made once is kept, and on which devices JAX computes.

What settings of JAX mean here: those of FIXED are not followed where experiments are computed, and that is told; those of
RECORDED change numbers, are kept with a run, and told where they change; no other setting changes a number. A value that
JAX refuses is a sentence.
"""

import contextlib
import functools
import importlib
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from cnn_constraints.errors import InputError
from cnn_constraints.files import local_path

FIXED = {
    "enable_x64": False,
    "debug_nans": False,
    "debug_infs": False,
    "numpy_rank_promotion": "allow",
    "numpy_dtype_promotion": "standard",
    "default_prng_impl": "threefry2x32",
    "threefry_partitionable": True,
    "disable_jit": False,
    "transfer_guard": "allow",
}
"""Settings of JAX without which an experiment is no more what its name says, a diverging candidate is an error, or Flax and
Optax fail: the names of JAX's context managers, and the values that experiments are computed with.
"""

RECORDED = ("default_matmul_precision", "random_seed_offset", "disable_most_optimizations")
"""Settings of JAX that change numbers and are the user's to choose."""

DATA_VARIABLE = "CNN_CONSTRAINTS_DATA"
"""Names a folder of original archives, for whoever has no network."""

CACHE_VARIABLE = "CNN_CONSTRAINTS_CACHE"
"""Names the folder of prepared data and compiled programs."""


def cache_folder() -> Path:
    """The folder that CNN_CONSTRAINTS_CACHE names; else `cnn_constraints` in $XDG_CACHE_HOME or in ~/.cache."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return local_path(given).absolute()
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


def import_jax() -> ModuleType:
    """JAX, in a process that may not have imported it. Raises InputError where it refuses an environment variable."""
    # On some CPUs XLA warns for every program read from the cache, in a thousand characters, that its own tuning hints are
    # no features of the machine. It reads this before JAX is imported; what really fails is raised.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        return importlib.import_module("jax")
    except ValueError as error:
        raise InputError(f"JAX refuses an environment variable ({error}): mend or unset it.") from None


@contextlib.contextmanager
def fixed_settings() -> Iterator[None]:
    """In this thread JAX computes with the FIXED settings. As a decorator too: of whatever computes experiments."""
    jax = import_jax()
    with contextlib.ExitStack() as stack:
        for name, value in FIXED.items():
            stack.enter_context(getattr(jax, name)(value))
        yield


@contextlib.contextmanager
def own_settings() -> Iterator[None]:
    """`fixed_settings`, for what users call: those that they have set otherwise are told."""
    now = {name: getattr(import_jax().config, f"jax_{name}") for name in FIXED}
    if others := [f"jax_{name}={now[name]}" for name, fixed in FIXED.items() if now[name] not in (fixed, None)]:
        tell_once(f"Experiments are computed as without {', '.join(others)}: see docs/running.md.")
    with fixed_settings():
        yield


@functools.cache
def tell_once(sentence: str) -> None:
    """A warning, of which Python would lose count."""
    warnings.warn(sentence, stacklevel=3)


def recorded_settings() -> dict[str, str]:
    """Those of RECORDED, and the flags of XLA, that are set."""
    config = import_jax().config
    found = {name: getattr(config, name, config.values.get(name)) for name in (f"jax_{each}" for each in RECORDED)}
    return {name: str(value) for name, value in (found | {"XLA_FLAGS": os.environ.get("XLA_FLAGS")}).items() if value}


def keep_compiled_programs() -> None:
    """Compiled programs are kept on disk, so that one is compiled once a machine and not once a process.

    Raises InputError as `import_jax`, and for a cache folder that cannot be written.
    """
    jax = import_jax()
    folder = cache_folder() / "compiled"
    make_cache_folder(folder)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def compile_lowered(lowered: Any, options: Mapping[str, str | bool] | None = None) -> Any:
    """What `lowered.compile` gives, a program that JAX has lowered. Damaged files are removed from the cache with all that
    are beside them: JAX names none and overwrites none, and would compile what it cannot read anew for ever.
    """
    jax = import_jax()
    folder, raised = cache_folder() / "compiled", jax.config.jax_raise_persistent_cache_errors
    if jax.config.jax_compilation_cache_dir == str(folder):
        # Of the process: who finds it raised already, by the user or another thread, is not who lowers it.
        jax.config.update("jax_raise_persistent_cache_errors", True)
        try:
            return lowered.compile(options)
        except Exception as error:  # of many types; what is not the cache's fails below once more
            tell_once(f"Compiled programs in {str(folder)!r} are compiled anew, since one is damaged ({error}).")
            shutil.rmtree(folder, ignore_errors=True)
            make_cache_folder(folder)
        finally:
            if not raised:
                jax.config.update("jax_raise_persistent_cache_errors", False)
    return lowered.compile(options)


def prepare_jax() -> None:
    """Compiled programs are kept on disk; and a CPU is as many devices as this process may use cores, unless the user has
    said how many.

    At least two, though: XLA compiles for one device otherwise than for several, and rounds otherwise. A process that has
    computed with JAX before keeps the devices that it has. Raises InputError as `keep_compiled_programs`, for a number of
    devices that is none, and where JAX finds no device to compute on.
    """
    keep_compiled_programs()
    jax = import_jax()
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        said = jax.config.values["jax_num_cpu_devices"]
        if said == 0 or said < -1:
            raise InputError(f"JAX_NUM_CPU_DEVICES is {said}: it must be at least 1, or unset.")
        with contextlib.suppress(RuntimeError):  # devices are there already
            jax.config.update("jax_num_cpu_devices", max(2, cores() if said < 0 else said))
    try:
        jax.devices()
    except (RuntimeError, AssertionError):
        named = os.environ.get("JAX_PLATFORMS", "")
        raise InputError(
            f"JAX_PLATFORMS is {named!r}, and JAX finds no device of that kind here: name one that is there, such as "
            f"cpu, or unset it."
        ) from None


def cores() -> int:
    """Those that this process may use; not every system can say which."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
