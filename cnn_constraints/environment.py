"""Where a run was made: versions, device, commit. Stored with it, so that a result can be traced and repeated."""

import os
import platform
import subprocess
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from resource import RLIM_INFINITY, RLIMIT_AS, getrlimit
from typing import Any

import jax

from cnn_constraints.settings import recorded_settings

PACKAGES = (
    "cnn-constraints",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "numpy",
    "scipy",
    "pandas",
    "pyarrow",
    "tensorflow-datasets",
)


def describe_environment(arguments: list[str]) -> dict[str, Any]:
    """The command, the time (UTC), versions of Python and packages, settings of JAX that change numbers, the devices and
    the bytes that each has, which decide how many experiments are trained side by side, and the commit of this checkout.
    """
    return {
        "arguments": arguments,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "packages": versions(),
        "settings": recorded_settings(),
        "platform": platform.platform(),
        "devices": [f"{device.platform}: {device.device_kind}" for device in jax.devices()],
        "device_memory": device_memory(),
        "commit": _commit(),
    }


def tell_other_settings(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Warns where what goes on in a folder is computed under other settings than before, if those are known."""
    if "settings" in before and "settings" in now:
        for name in sorted({*before["settings"], *now["settings"]}):
            then, today = (one["settings"].get(name, "unset") for one in (before, now))
            if then != today:
                told = f"{folder} was computed with {name} {then} and goes on with {today}"
                warnings.warn(f"{told}: what is compared in it may differ by that alone.", stacklevel=2)


def versions() -> dict[str, str | None]:
    """Of Python and of the packages on which numbers depend."""
    return {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}


def device_memory() -> int:
    """Bytes that a device of this process has in all: an accelerator's own memory, or the machine's."""
    statistics = jax.local_devices()[0].memory_stats()
    if statistics and "bytes_limit" in statistics:
        return statistics["bytes_limit"]
    return machine_memory()


def machine_memory() -> int:
    """Bytes of memory that this machine has in all, or that it allows this process (`ulimit -v`)."""
    machine, (allowed, _) = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), getrlimit(RLIMIT_AS)
    return machine if allowed == RLIM_INFINITY else min(machine, allowed)


def memory_left() -> int:
    """Bytes that this process may still take: all of them, or what it has not used yet of a limit (`ulimit -v`), where the
    system says how much that is.
    """
    allowed, used = getrlimit(RLIMIT_AS)[0], Path("/proc/self/statm")
    if allowed == RLIM_INFINITY or not used.exists():
        return machine_memory()
    pages = int(used.read_text().split()[0])
    return max(0, min(machine_memory(), allowed - pages * os.sysconf("SC_PAGE_SIZE")))


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit, with "+changes" where files differ from it; None outside a git checkout."""
    try:
        git = ["git", "-C", str(Path(__file__).parent)]
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changes = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+changes" if changes.strip() else "")
