"""A Ray cluster of two machines on this one, for tests that lose a part of it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


def two_machines(cache: Path) -> Iterator[Any]:
    """Two machines of two CPUs, until this is gone on with. cache: of compiled programs."""
    from ray.cluster_utils import Cluster

    quick = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 3}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNN_CONSTRAINTS_CACHE", str(cache))
        # Or Ray would leave a token in the home of whoever runs the tests.
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        machines = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "_system_config": quick})
        machines.add_node(num_cpus=2)
        yield machines
        machines.shutdown()


def tasks_on(*machines: Any) -> list[int]:
    """The processes that run a task of a sweep on these machines."""
    raylets = [machine.all_processes["raylet"][0].process.pid for machine in machines]
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # a process may end while it is looked at
            started_by = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if started_by in raylets and "ray::train" in (folder / "cmdline").read_text():
                found.append(int(folder.name))
    return found
