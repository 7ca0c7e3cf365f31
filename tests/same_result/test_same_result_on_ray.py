"""A sweep on a Ray cluster of two machines gives the table of one machine, whatever dies on the way."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray_cluster import children, two_machines, workers
from sweep_process import attempts, finish, start, tables, wait_until

# Of Ray's two-machine cluster, which starts its programs from this process, where JAX is; see ray_cluster.py.
pytestmark = pytest.mark.filterwarnings(r"ignore:os\.fork\(\) was called:RuntimeWarning")

LONG = ("--training.updates", "500")
"""Tasks of some seconds: what happens at the first step happens in the middle."""

KILLS = 2


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    yield from two_machines(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def long(place: Path) -> list[bytes]:
    """The tables of one machine."""
    finish(start(place, "long", *LONG))
    return tables(place / "long")


def drive(place: Path, run: str, cluster: Any, *flags: str) -> subprocess.Popen[str]:
    return start(place, run, "--executor", "ray", "--address", cluster.address, *flags)


def wait_for_work(cluster: Any, driver: subprocess.Popen[str]) -> None:
    """Until a worker has done its first steps."""
    wait_until(lambda: bool(workers(cluster, ".run")), driver)
    time.sleep(1)
    assert driver.poll() is None


def test_a_cluster_that_the_sweep_starts_itself(place, undisturbed):
    finish(start(place, "own", "--executor", "ray"))
    assert tables(place / "own") == undisturbed


def test_a_worker_is_killed(place, long, cluster):
    with drive(place, "worker", cluster, *LONG) as driver:
        wait_for_work(cluster, driver)
        os.kill(workers(cluster, ".run")[0], signal.SIGKILL)
        assert "lost with their worker" in finish(driver)
    assert tables(place / "worker") == long


def test_a_machine_is_lost(place, long, cluster):
    lost = cluster.add_node(num_cpus=2)
    with drive(place, "machine", cluster, *LONG) as driver:
        raylet = lost.all_processes["raylet"][0].process.pid
        wait_until(lambda: bool(children(raylet, "ray::Worker.run")), driver)
        cluster.remove_node(lost, allow_graceful=False)
        assert "lost with their worker, since its node has died" in finish(driver)
    assert tables(place / "machine") == long


def test_the_driver_is_stopped_and_killed(place, long, cluster, seed):
    generator, run = random.Random(seed), place / "driver"
    with drive(place, "driver", cluster, *LONG) as driver:
        wait_for_work(cluster, driver)
        driver.send_signal(signal.SIGTERM)
        _, told = driver.communicate(timeout=300)
    assert driver.returncode == 130
    assert told.endswith("stopped: run the same command again to go on.\n") and "Traceback" not in told
    for _ in range(KILLS):
        with drive(place, "driver", cluster, *LONG) as driver:
            before = attempts(run)
            wait_until(lambda before=before: attempts(run) > before, driver)
            time.sleep(generator.uniform(0, 4))
            driver.kill()
    # What one executor has begun another may finish.
    finish(start(place, "driver", *LONG))
    assert tables(run) == long
