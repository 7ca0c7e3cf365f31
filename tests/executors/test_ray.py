"""A Ray cluster finds what one machine finds, bit for bit, whatever is lost on the way; bad input ends in a sentence."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from ray_cluster import children, two_machines, workers

from cnn_constraints.data.datasets import Datasets
from cnn_constraints.errors import InputError
from cnn_constraints.executors import ray_workers
from cnn_constraints.executors.local import LocalExecutor, Progress, side_by_side
from cnn_constraints.executors.ray import RayExecutor, RaySettings, experiments_in_task
from cnn_constraints.experiment import Data, Experiment, Model, Training, axis, product, replace
from cnn_constraints.plan import Group, plan
from cnn_constraints.resolve import resolve
from cnn_constraints.training.records import Finished

# Of Ray's two-machine cluster, which starts its programs from this process, where JAX is; see ray_cluster.py.
pytestmark = pytest.mark.filterwarnings(r"ignore:os\.fork\(\) was called:RuntimeWarning")

BASE = Experiment(
    data=Data(source="digits", n_train=30, n_validation=20),
    model=Model(constraint="conv", delta=1, channels=(2,), strides=(2,), pool_sizes=(2,)),
    training=Training(updates=2, evaluate_every=1, batch_size=8, learning_rates=(0.1,), weight_decays=(0.0,)),
)

LONG = replace(BASE, {"training.updates": 400})
"""Of hundreds of steps: what happens at the first happens in the middle."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    yield from two_machines(tmp_path_factory.mktemp("cache"))


class Watch(Progress):
    """Adds up what it is told, and may do something at the first step that a worker has done."""

    def __init__(self, then: Callable[[], bool] = lambda: True) -> None:
        self.updates = 0
        self._then, self._done = then, False

    def compiling(self, group: Group) -> None: ...

    def compiled(self, seconds: float) -> None: ...

    def running(self, experiments: Sequence[Experiment]) -> None: ...

    def advanced(self, updates: int) -> None:
        self.updates += updates
        self._done = self._done or self._then()


LOAD = Datasets()


def driver(address: str | None, progress: Progress | None = None, **given: Any) -> RayExecutor:
    """Of a cluster at this address, or one of its own. given: cpus, gpus, stop."""
    settings = RaySettings(address, given.pop("cpus", None), given.pop("gpus", None))
    return RayExecutor(progress or Watch(), LOAD, settings, **given)


def experiments_of(base: Experiment, seeds: int, cells: Sequence[str] = ("conv", "local")) -> list[Experiment]:
    start = int(np.random.default_rng().integers(2**31 - seeds))
    return product(base, axis("model.constraint", cells), axis("seed", range(start, start + seeds)))


def groups_of(base: Experiment, seeds: int, cells: Sequence[str] = ("conv", "local")) -> list[Group]:
    return plan(resolve(experiments_of(base, seeds, cells)), LOAD)


def run(executor: Any, groups: list[Group]) -> list[Finished]:
    """All records but for the time that they took, in an order that does not depend on when they came."""
    found = [one._replace(seconds=0.0) for part in executor.run(iter(groups)) for one in part]
    return sorted(found, key=lambda one: one.experiment)


def locally(groups: list[Group]) -> list[Finished]:
    return run(LocalExecutor(Watch(), LOAD), groups)


def total(groups: list[Group]) -> int:
    return sum(experiment.training.updates for group in groups for experiment in group.experiments)


def test_records_are_those_of_one_machine(cluster, seed):
    generator = np.random.default_rng(seed)
    experiments = experiments_of(BASE, int(generator.integers(1, 4)), ("conv",))
    # And experiments of one group on other images.
    experiments += experiments_of(replace(BASE, {"data.intervention": "permute_pixels"}), 2, ("conv",))
    groups = plan(resolve(experiments), LOAD)
    watch = Watch()
    with driver(cluster.address, watch) as executor:
        assert run(executor, groups) == locally(groups)
        assert executor.programs >= len(groups)
    assert watch.updates == total(groups)


def test_experiments_that_end_every_worker_are_given_up_by_name(cluster, monkeypatch):
    monkeypatch.setattr(ray_workers, "LOSSES", 1)
    (group,) = groups_of(LONG, 2, ("conv",))

    def kill() -> bool:
        for pid in workers(cluster, ".run"):
            os.kill(pid, signal.SIGKILL)
        return False

    with (
        driver(cluster.address, Watch(kill)) as executor,
        pytest.raises(InputError, match=f"conv delta 1.*{group.name}.*lost with their worker 2 times"),
    ):
        run(executor, [group])


def test_what_a_worker_refuses_arrives_as_its_sentence(cluster):
    experiments = resolve(experiments_of(replace(BASE, {"data.n_train": 100_000}), 1, ("conv",)))
    with pytest.raises(InputError) as here:
        plan(experiments, LOAD)
    (unplanned,) = groups_of(BASE, 1, ("conv",))
    unplanned = unplanned._replace(experiments=tuple(experiments))
    with driver(cluster.address) as executor, pytest.raises(InputError) as there:
        run(executor, [unplanned])
    assert type(there.value) is InputError and str(there.value) == str(here.value)


def test_a_run_that_is_to_stop_leaves_no_worker(cluster):
    asked = [False]

    def ask() -> bool:
        asked[0] = True
        return True

    with driver(cluster.address, Watch(ask), stop=lambda: asked[0]) as executor:
        with pytest.raises(KeyboardInterrupt):
            run(executor, groups_of(LONG, 2))
        wait_for(lambda: not workers(cluster))


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.mark.parametrize("lost", [{"_head": "127.0.0.1:1"}, {"_here": "nowhere"}])
def test_a_cluster_that_is_gone_is_told_soon(cluster, monkeypatch, lost):
    """Ray would wait for its head for a minute, or not at all for its process here, and then end this one."""
    monkeypatch.setattr("cnn_constraints.executors.ray_cluster.GONE_SECONDS", 0)
    ((name, nowhere),) = lost.items()
    watch = Watch(lambda: monkeypatch.setattr(executor._cluster, name, nowhere) or True)
    with driver(cluster.address, watch) as executor:
        monkeypatch.setattr(executor._cluster.ray, "kill", lambda _: pytest.fail("the head was asked"))
        with pytest.raises(InputError, match=f"cluster at {cluster.address} is gone .*the same command goes on"):
            run(executor, groups_of(LONG, 2))


def test_a_cluster_of_its_own_ends_with_it(cluster):
    groups = groups_of(BASE, 1, ("conv",))
    before = children(os.getpid(), "raylet")
    with driver(None) as executor:
        assert len(children(os.getpid(), "raylet")) > len(before)
        assert run(executor, groups) == locally(groups)
        with pytest.raises(InputError, match="only one"):
            driver(cluster.address)
    wait_for(lambda: children(os.getpid(), "raylet") == before)


def test_a_machine_with_other_versions_is_refused(cluster, monkeypatch):
    here = ray_workers.describe_environment([])
    other = {**here, "packages": {**here["packages"], "jax": "0.0.1"}}
    monkeypatch.setattr(ray_workers, "describe_environment", lambda _: other)
    with (
        driver(cluster.address) as executor,
        pytest.raises(InputError, match=f"jax {here['packages']['jax']} and this machine 0.0.1"),
    ):
        run(executor, groups_of(BASE, 1))


def test_gpus_that_jax_does_not_see_are_refused(cluster):
    node = cluster.add_node(num_cpus=1, num_gpus=1)
    try:
        with driver(cluster.address) as executor, pytest.raises(InputError, match="extra `gpu`"):
            run(executor, groups_of(BASE, 1))
    finally:
        cluster.remove_node(node)


@pytest.mark.parametrize(
    ("asked", "words"), [({"cpus": 1000}, "1000 CPUs and 0 GPUs"), ({"cpus": 1, "gpus": 1}, "1 CPU and 1 GPU")]
)
def test_more_than_any_machine_has_is_refused(cluster, asked, words):
    with pytest.raises(
        InputError, match=f"No machine .* has {words} for a worker: they have 2 CPUs and 0 GPUs; 2 CPUs"
    ):
        driver(cluster.address, **asked)


@pytest.mark.parametrize("asked", [{"cpus": 0}, {"cpus": -1}, {"gpus": -1}])
def test_less_than_a_worker_needs_is_refused(asked):
    with pytest.raises(ValueError, match=f"is given {next(iter(asked.values()))} "):
        driver(None, **asked)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:1",
        "nowhere.invalid:6379",
        "nonsense",
        "ray://127.0.0.1:10001",
        "",
        ":1",
        "localhost:99999999",
        "[::1]:1",
    ],
)
def test_an_address_without_a_cluster_is_refused_soon(address):
    started = time.monotonic()
    with pytest.raises(InputError, match="Ray cluster"):
        driver(address)
    assert time.monotonic() - started < 30


def test_brackets_are_no_part_of_a_host(monkeypatch):
    asked = []
    monkeypatch.setattr("socket.create_connection", lambda place, **_: asked.append(place) or pytest.fail("too far"))
    with pytest.raises(pytest.fail.Exception):
        driver("[::1]:6379")
    assert asked == [("::1", 6379)]


def test_auto_where_there_is_no_cluster_says_how_to_start_one(monkeypatch, tmp_path):
    """As Ray looks for one: by what its processes have written into its folder."""
    monkeypatch.setattr("ray.init", lambda **_: (_ for _ in ()).throw(ConnectionError("give --address")))
    with pytest.raises(InputError, match="part of no Ray cluster: start one with `ray start --head`"):
        driver("auto")


@pytest.mark.parametrize(("set_to", "has_token"), [(None, True), (None, False), ("disabled", True), ("token", False)])
def test_a_cluster_that_wants_a_token_is_shown_that_of_the_user_unless_told_otherwise(monkeypatch, set_to, has_token):
    """As `ray start` gives a cluster the token of whoever has one, and no command looks for it."""

    def answer(command: list[str], env: dict[str, str], **_: object) -> None:
        if not (has_token and env.get("RAY_AUTH_MODE") == "token"):
            raise subprocess.CalledProcessError(1, command, stderr="ray.exceptions.AuthenticationError: no token")

    monkeypatch.setenv("RAY_AUTH_MODE", set_to or "")
    if set_to is None:
        monkeypatch.delenv("RAY_AUTH_MODE")
    monkeypatch.setattr("subprocess.run", answer)
    monkeypatch.setattr("ray.init", lambda **_: (_ for _ in ()).throw(ConnectionError("it was joined")))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        joined = set_to is None and has_token
        with pytest.raises(InputError, match="it was joined" if joined else "wants its token: have the token in"):
            driver(f"127.0.0.1:{listener.getsockname()[1]}")
    assert os.environ.get("RAY_AUTH_MODE") == ("token" if joined else set_to)


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install -e '\.\[ray\]'"):
        driver(None)


def test_a_task_is_what_a_worker_trains_side_by_side():
    for seeds in range(1, 40):
        (group,) = groups_of(BASE, seeds, ("conv",))
        # The tests have eight devices.
        assert max(2, experiments_in_task(group, cpus=8, gpus=0)) == side_by_side(group)
