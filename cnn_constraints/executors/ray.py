"""Trains groups on the machines of a Ray cluster: each is cut into tasks, which Ray runs, and repeats if they are lost."""

import contextlib
import functools
import itertools
import logging
import os
import signal
import socket
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax

import cnn_constraints
from cnn_constraints.arrays import Dataset
from cnn_constraints.data.datasets import images_of
from cnn_constraints.environment import versions
from cnn_constraints.errors import InputError
from cnn_constraints.executors.local import LocalExecutor, Progress, experiments_at_once
from cnn_constraints.experiment import Data
from cnn_constraints.plan import Group, by_images
from cnn_constraints.settings import cores, keep_compiled_programs, own_settings, recorded_settings
from cnn_constraints.training.records import Finished

LOSSES = 4
"""A task may be lost so many times with its worker, for machines are taken away; one that ends every worker is given up."""

LOOK_EVERY = 1.0
"""Seconds to wait for a task before what else has changed is looked at."""

REACH_SECONDS = 5.0
"""How long the head of a cluster may take to answer."""


class RaySettings(NamedTuple):
    """address: of a cluster to join, host:port, or auto for the one that this machine is part of; without, one is
    started on this machine. cpus, gpus: what a task takes; by default one GPU where the cluster has any, and otherwise two
    CPUs.
    """

    address: str | None = None
    cpus: int | None = None
    gpus: int | None = None


@dataclass(eq=False)
class RayExecutor:
    """A context manager that joins or starts a cluster, hands out tasks with their data sets, and says nothing on standard
    output meanwhile. JAX should compute on the CPU of this process: accelerators belong to the workers.

    stop: whether to stop, asked every second. keep_weights: as of LocalExecutor. Raises InputError where Ray is not
    installed, where there is no such cluster, and where no machine of it has room for a task.
    """

    progress: Progress
    load: Callable[[Data], Dataset]
    settings: RaySettings
    stop: Callable[[], bool] = lambda: False
    keep_weights: bool = False
    programs: int = field(default=0, init=False)
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack, init=False)
    _stored: dict[Data, Any] = field(default_factory=dict, init=False)

    def __enter__(self) -> "RayExecutor":
        with self._stack as stack:
            self._ray = _begin(self.settings.address, stack)
            self._head = self._ray.get_runtime_context().gcs_address
            self._cpus, self._gpus = self._share()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, groups: Iterable[Group]) -> Iterator[list[Finished]]:
        """Train and test every experiment of the groups; each is asked for when there is room for its tasks.

        Raises InputError for what a worker refuses, for a task that is lost again and again, and where the head of the
        cluster is gone; KeyboardInterrupt where it is asked to stop: tasks that are not finished then are lost.
        """
        tasks = (task for group in groups for task in self._cut(group))
        # Two devices at least: no number may depend on how many there are.
        on_cpu = {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(max(2, self._cpus))}
        # What changes numbers is the driver's everywhere.
        settings = {name.upper(): value for name, value in recorded_settings().items()}
        remote = self._ray.remote(train).options(
            num_cpus=self._cpus,
            num_gpus=self._gpus,
            max_retries=LOSSES,
            scheduling_strategy="SPREAD",
            runtime_env={"env_vars": settings if self._gpus else settings | on_cpu},
        )
        running: dict[Any, Group] = {}
        try:
            while True:
                # One more than there is room for tells a cluster that can grow that it should.
                for group, dataset in itertools.islice(tasks, max(0, self._slots() + 1 - len(running))):
                    task = remote.remote(group, dataset, versions(), self._gpus > 0, self.keep_weights)
                    running[task] = group
                    self.progress.running(group.experiments)
                if not running:
                    return
                if self.stop():
                    raise KeyboardInterrupt
                done, _ = self._ray.wait(list(running), timeout=LOOK_EVERY)
                if not done:
                    _knock(self._head, "The Ray cluster is gone", "start it, and the same command goes on.")
                for task in done:
                    yield self._found(task, running.pop(task))
        finally:
            for task in running:
                self._ray.cancel(task, force=True)

    def _found(self, task: Any, group: Group) -> list[Finished]:
        errors = self._ray.exceptions
        try:
            found, programs = self._ray.get(task)
        except errors.RayTaskError as error:
            if isinstance(error.cause, InputError):
                raise error.cause from None
            raise
        except errors.RayError as error:
            raise InputError(
                f"Experiments of group {group.name} were lost with their worker {LOSSES + 1} times, at last with "
                f"{type(error).__name__}: give a worker more CPUs, so that fewer share the memory of a machine, and repeat "
                f"the command; what is finished is kept."
            ) from None
        self.programs += programs
        self.progress.advanced(sum(one.training.updates for one in group.experiments))
        experiments = {one.name: one for one in group.experiments}
        for one in found:
            self.progress.looked(experiments[one.experiment], one.evaluations)
        return found

    def _cut(self, group: Group) -> Iterator[tuple[Group, Any]]:
        """Tasks of one data set each, of as many experiments as a worker trains side by side, if its memory allows."""
        width = experiments_at_once(group, not self._gpus, self._gpus or max(2, self._cpus), group.size)
        for together in by_images(group.experiments):
            images = images_of(together[0].data)
            if images not in self._stored:
                # Once: workers need no archives.
                self._stored[images] = self._ray.put(self.load(images))
            for first in range(0, len(together), width):
                yield group._replace(experiments=tuple(together[first : first + width])), self._stored[images]

    def _share(self) -> tuple[int, int]:
        """The CPUs and GPUs that a task takes of a machine. Raises InputError where none has them."""
        machines = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        most = {unit: int(max(machine.get(unit, 0) for machine in machines)) for unit in ("CPU", "GPU")}
        _, cpus, gpus = self.settings
        gpus = min(1, most["GPU"]) if gpus is None else gpus
        cpus = min(1 if gpus else 2, most["CPU"]) if cpus is None else cpus
        if cpus < 1 or gpus < 0:
            raise InputError(f"A worker of Ray is given {cpus} CPUs and {gpus} GPUs: it takes at least 1 and 0.")
        if not any(machine.get("CPU", 0) >= cpus and machine.get("GPU", 0) >= gpus for machine in machines):
            raise InputError(
                f"A worker takes {cpus} CPUs and {gpus} GPUs, and no machine of the Ray cluster has so many: at most "
                f"{most['CPU']} CPUs and {most['GPU']} GPUs."
            )
        return cpus, gpus

    def _slots(self) -> int:
        """How many tasks the cluster has room for."""
        whole = self._ray.cluster_resources()
        by_cpus = int(whole.get("CPU", 0) / self._cpus)
        return min(by_cpus, int(whole.get("GPU", 0) / self._gpus)) if self._gpus else by_cpus


@own_settings()
def train(
    group: Group, dataset: Dataset, driver: dict[str, str | None], on_gpu: bool, keep_weights: bool
) -> tuple[list[Finished], int]:
    """The task: what these experiments of one group and one data set found, and how many programs were compiled for it.

    Raises InputError where this machine has other versions than the driver's, or no GPU for JAX.
    """
    keep_compiled_programs()
    host, own = socket.gethostname(), versions()
    for package, version in driver.items():
        # Ours is the driver's, whatever is installed here: it has come with the task.
        if package != "cnn-constraints" and own.get(package) != version:
            raise InputError(
                f"{host} has {package} {own.get(package)} and the driver {version}: install the same on all machines."
            )
    if on_gpu and jax.default_backend() == "cpu":
        raise InputError(
            f"{host} has GPUs for Ray and none for JAX: install the extra `gpu` there, or give a worker no GPU."
        )
    data, executor = _in_worker(keep_weights)
    data.clear()
    data[images_of(group.first.data)] = dataset
    before = executor.programs
    found = [one for together in executor.run([group]) for one in together]
    return found, executor.programs - before


@functools.cache
def _in_worker(keep_weights: bool) -> tuple[dict[Data, Dataset], LocalExecutor]:
    """The data of this process, and an executor that keeps its last program: the next task is often of the same group."""
    data: dict[Data, Dataset] = {}
    return data, LocalExecutor(Silent(), lambda one: data[images_of(one)], keep_weights=keep_weights)


class Silent(Progress):
    """Tells nobody."""


def _begin(address: str | None, stack: contextlib.ExitStack) -> Any:
    """Ray, connected until the stack is left."""
    # Ray reports to its makers unless it is told not to.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ModuleNotFoundError:
        raise InputError(
            "The executor ray needs Ray: pip install -e '.[ray]', or run without --executor ray."
        ) from None
    if address not in (None, "auto"):
        _knock(address, f"There is no Ray cluster at {address}", "give host:port as `ray start --head` prints it.")
    # Of a lost worker Ray says a paragraph on standard output.
    stack.enter_context(contextlib.redirect_stdout(sys.stderr))
    here = {"address": "local", "num_cpus": cores(), "include_dashboard": False}
    # Other machines get this very package, whatever is installed there.
    there = {"address": address, "runtime_env": {"py_modules": [cnn_constraints]}}
    term = signal.getsignal(signal.SIGTERM)
    try:
        with warnings.catch_warnings():
            # JAX fears for what goes on in a copy of its process; Ray's copies at once become other programs.
            warnings.filterwarnings("ignore", r"os\.fork\(\) was called", RuntimeWarning)
            ray.init(logging_level=logging.CRITICAL, log_to_driver=False, **(there if address else here))
    except Exception as error:
        # Whatever it is, a version or a token that does not fit or a full disk, Ray's own words say it best.
        raise InputError(f"Ray cannot be used: {str(error).strip() or type(error).__name__}") from None
    finally:
        # Ray takes over SIGTERM, which a sweep understands as a request to stop; outside the main thread nobody took it.
        with contextlib.suppress(ValueError):
            signal.signal(signal.SIGTERM, term)
    stack.callback(ray.shutdown)
    return ray


def _knock(address: str, failure: str, remedy: str) -> None:
    """Raises InputError where nothing answers at host:port. Ray would wait for a minute, and then end the whole process."""
    host, _, port = address.rpartition(":")
    try:
        # The brackets of an address such as [::1] part it from the port and belong to neither.
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise InputError(f"{failure} ({error}): {remedy}") from None
