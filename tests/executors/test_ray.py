"""A sweep on a Ray cluster of two machines gives the table of one machine, whatever dies on the way."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from ray_cluster import tasks_on, two_machines
from sweep_process import attempts, finish, start, tables, wait_until

from cnn_constraints import store
from cnn_constraints.data.datasets import Datasets
from cnn_constraints.errors import InputError
from cnn_constraints.executors import ray as ray_module
from cnn_constraints.executors.ray import RayExecutor, RaySettings, Silent
from cnn_constraints.experiment import Experiment, axis, product
from cnn_constraints.plan import Group, plan
from cnn_constraints.resolve import Resolved, resolve
from cnn_constraints.training.records import Evaluation

pytest.importorskip("ray", reason="needs the extra `ray`")

# Of Ray's two-machine cluster, which starts its programs from this process, where JAX is; see ray_cluster.py.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings(r"ignore:os\.fork\(\) was called:RuntimeWarning")]

LONG = ("--training.updates", "500")
"""Tasks of some seconds: what happens at the first step happens in the middle."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    yield from two_machines(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def long(place: Path) -> list[bytes]:
    """The tables of one machine."""
    finish(start(place, "long", *LONG))
    return tables(place / "long")


def drive(place: Path, run: str, cluster: Any, *flags: str) -> "subprocess.Popen[str]":
    return start(place, run, "--executor", "ray", "--address", cluster.address, *LONG, *flags)


def wait_for_work(driver: "subprocess.Popen[str]", *machines: Any) -> None:
    """Until a task is in the middle."""
    wait_until(lambda: bool(tasks_on(*machines)), driver)
    time.sleep(1)
    assert driver.poll() is None


def group_of(seeds: int) -> Group:
    (group,) = plan(resolve(product(Experiment(), axis("seed", range(seeds)))), Datasets())
    return group


def test_a_cluster_that_the_sweep_starts_itself(place, undisturbed):
    finish(start(place, "own", "--executor", "ray", "--keep", "weights"))
    assert tables(place / "own") == undisturbed
    assert len([store.load(place / "own", name) for name in store.finished(place / "own")]) == 9


def test_a_worker_is_killed_and_standard_output_stays_clean(place, long, cluster):
    with drive(place, "worker", cluster, "--json") as driver:
        wait_for_work(driver, *cluster.list_all_nodes())
        os.kill(tasks_on(*cluster.list_all_nodes())[0], signal.SIGKILL)
        out, told = driver.communicate(timeout=300)
    assert driver.returncode == 0, told
    assert json.loads(out)["experiments_run"] == 9
    assert tables(place / "worker") == long


def test_a_machine_is_lost(place, long, cluster):
    lost = cluster.add_node(num_cpus=2)
    with drive(place, "machine", cluster) as driver:
        wait_for_work(driver, lost)
        cluster.remove_node(lost, allow_graceful=False)
        finish(driver)
    assert tables(place / "machine") == long


def test_the_driver_is_stopped_and_killed(place, long, cluster, seed):
    generator, run, machines = random.Random(seed), place / "driver", cluster.list_all_nodes()
    with drive(place, "driver", cluster) as driver:
        wait_for_work(driver, *machines)
        driver.send_signal(signal.SIGTERM)
        _, told = driver.communicate(timeout=300)
        assert driver.returncode == 130
        assert told.endswith("stopped: run the same command again to go on.\n") and "Traceback" not in told
        # Its tasks end with it.
        until = time.monotonic() + 20
        while tasks_on(*machines):
            assert time.monotonic() < until
    with drive(place, "driver", cluster) as driver:
        wait_until(lambda: attempts(run) > 1, driver)
        time.sleep(generator.uniform(0, 4))
        driver.kill()
    # What one executor has begun another may finish.
    finish(start(place, "driver", *LONG))
    assert tables(run) == long


def test_a_head_is_lost(place, long, tmp_path):
    run = two_machines(tmp_path)
    machines = next(run)
    with drive(place, "head", machines) as driver:
        wait_for_work(driver, *machines.list_all_nodes())
        machines.remove_node(machines.head_node, allow_graceful=False)
        _, told = driver.communicate(timeout=300)
    assert driver.returncode == 2 and "error: The Ray cluster is gone " in told and "Traceback" not in told
    next(run, None)
    finish(start(place, "head", *LONG))
    assert tables(place / "head") == long


def test_what_a_task_refuses_arrives_as_its_sentence(cluster, monkeypatch):
    other = {**ray_module.versions(), "cnn-constraints": "0.0.0", "jax": "0.0.1"}
    monkeypatch.setattr(ray_module, "versions", lambda: other)
    with (
        RayExecutor(Silent(), Datasets(), RaySettings(cluster.address)) as executor,
        pytest.raises(InputError, match=r"has jax [\d.]+ and the driver 0\.0\.1: install the same"),
    ):
        list(executor.run([group_of(2)]))


def test_the_looks_of_a_task_are_told_before_it_is_finished(cluster):
    told: dict[str, list[Evaluation]] = {}

    class Witness(Silent):
        def looked(self, experiment: Resolved, looks: Sequence[Evaluation]) -> None:
            told.setdefault(experiment.name, []).extend(looks)

    with RayExecutor(Witness(), Datasets(), RaySettings(cluster.address)) as executor:
        found = [one for together in executor.run([group_of(3)]) for one in together]
    assert told == {one.experiment: one.evaluations for one in found} and len(told) == 3


@pytest.mark.parametrize(("cpus", "gpus"), [(1000, 0), (1, 1)])
def test_more_than_any_machine_has_is_refused(cluster, cpus, gpus):
    executor = RayExecutor(Silent(), Datasets(), RaySettings(cluster.address, cpus, gpus))
    with pytest.raises(InputError, match=f"takes {cpus} CPUs and {gpus} GPUs.*at most 2 CPUs and 0 GPUs"), executor:
        pytest.fail("it began")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere.invalid:6379", "nonsense", "", ":1", "localhost:99999999"])
def test_an_address_without_a_cluster_is_refused_soon(address):
    started = time.monotonic()
    with (
        pytest.raises(InputError, match="There is no Ray cluster at"),
        RayExecutor(Silent(), Datasets(), RaySettings(address)),
    ):
        pytest.fail("it began")
    assert time.monotonic() - started < 30


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(InputError, match=r"pip install -e '\.\[ray\]'"),
        RayExecutor(Silent(), Datasets(), RaySettings()),
    ):
        pytest.fail("it began")
