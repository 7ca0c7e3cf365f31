"""Runs groups on the machines of a Ray cluster: each is cut into tasks, which workers take one after the other."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, NamedTuple

from cnn_constraints.arrays import Dataset
from cnn_constraints.data.datasets import images_of
from cnn_constraints.errors import InputError
from cnn_constraints.executors.local import CANDIDATES_ON_ACCELERATOR, Progress
from cnn_constraints.executors.ray_cluster import Cluster
from cnn_constraints.executors.ray_workers import Crew, Task
from cnn_constraints.experiment import Data
from cnn_constraints.plan import Group
from cnn_constraints.training.records import Finished


class RaySettings(NamedTuple):
    """address: of a cluster to join, host:port, or auto for the one that this machine is part of; without, one is
    started on this machine. cpus, gpus: what a worker takes; by default one GPU where the cluster has any, and
    otherwise two CPUs.
    """

    address: str | None = None
    cpus: int | None = None
    gpus: int | None = None


class RayExecutor:
    """A driver of Ray: hands out tasks with their data sets, and repeats those that were lost with a worker or a machine.

    load: gives the data set of a config. stop: whether to stop, asked every second. receptive_fields: whether to look at
    the receptive fields of first layers.
    This process should have JAX compute on its CPU: accelerators belong to the workers, and a driver that only looks at one
    takes its memory. Raises InputError where there is no such cluster, and where no machine of it has room for a worker.
    """

    def __init__(
        self,
        progress: Progress,
        load: Callable[[Data], Dataset],
        settings: RaySettings,
        stop: Callable[[], bool] = lambda: False,
        receptive_fields: bool = False,
    ) -> None:
        for name, given, least in (("CPUs", settings.cpus, 1), ("GPUs", settings.gpus, 0)):
            if given is not None and given < least:
                raise InputError(f"A worker of Ray is given {given} {name}: it takes at least {least}.")
        self._stop = stop
        self._load = load
        self._stored: dict[Data, Any] = {}
        self._cluster = Cluster(settings.address)
        try:
            self._cpus, self._gpus = self._share(settings.cpus, settings.gpus)
            self._crew = Crew(self._cluster, progress, self._cpus, self._gpus, receptive_fields)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "RayExecutor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the workers, and the cluster if it was started here."""
        self._cluster.close()

    @property
    def programs(self) -> int:
        """How many were compiled, by all workers together."""
        return self._crew.programs

    def run(self, groups: Iterable[Group]) -> Iterator[list[Finished]]:
        """Train and test every experiment of the groups; each is asked for when there is room for its tasks.

        Raises InputError for what a worker refuses and for a task that is lost again and again, and KeyboardInterrupt where
        it is asked to stop: tasks that are not finished then are lost.
        """
        left = iter(groups)
        try:
            while self._supply(left):
                if self._stop():
                    raise KeyboardInterrupt
                if finished := self._crew.listen():
                    yield finished
        finally:
            self._crew.dismiss()

    def _share(self, cpus: int | None, gpus: int | None) -> tuple[int, int]:
        """What a worker takes of a machine. Raises InputError where none has it."""
        machines = self._cluster.machines()
        if gpus is None:
            gpus = int(any(machine.get("GPU", 0) >= 1 for machine in machines))
        if cpus is None:
            most = max(machine.get("CPU", 0) for machine in machines)
            cpus = 1 if gpus or most < 2 else 2
        if not any(_slots(machine, cpus, gpus) for machine in machines):
            each = "; ".join(_in_words(machine.get("CPU", 0), machine.get("GPU", 0)) for machine in machines)
            raise InputError(
                f"No machine of the Ray cluster has {_in_words(cpus, gpus)} for a worker: they have {each}."
            )
        return cpus, gpus

    def _supply(self, left: Iterator[Group]) -> bool:
        """Ask for groups while there is room for more tasks than wait. False where nothing is left to do."""
        self._cluster.require_head()
        slots = sum(_slots(machine, self._cpus, self._gpus) for machine in self._cluster.machines())
        while len(self._crew.waiting) < max(1, slots) and (group := next(left, None)):
            self._crew.waiting += self._cut(group)
        return self._crew.employ()

    def _cut(self, group: Group) -> Iterator[Task]:
        """Tasks of one data set each, of as many experiments as a worker trains side by side."""
        width = experiments_in_task(group, self._cpus, self._gpus)
        for _, members in itertools.groupby(group.experiments, key=lambda one: images_of(one.data)):
            together = tuple(members)
            stored = self._store(together[0].data)
            for first in range(0, len(together), width):
                yield Task(group._replace(experiments=together[first : first + width]), stored)

    def _store(self, data: Data) -> Any:
        """A data set in Ray's object store, once: workers need no archives."""
        images = images_of(data)
        if images not in self._stored:
            self._stored[images] = self._cluster.ray.put(self._load(data))
        return self._stored[images]


def experiments_in_task(group: Group, cpus: int, gpus: int) -> int:
    """As many as a worker with these trains side by side; see `local.side_by_side`, which heeds its memory too."""
    if gpus:
        devices = min(gpus, group.size)
        candidates = len(group.first.candidates)
        return devices * min(math.ceil(CANDIDATES_ON_ACCELERATOR / candidates), math.ceil(group.size / devices))
    return math.ceil(group.size / math.ceil(group.size / max(2, cpus)))


def _in_words(cpus: int | float, gpus: int | float) -> str:
    return " and ".join(
        f"{count:g} {unit}{'' if count == 1 else 's'}" for count, unit in ((cpus, "CPU"), (gpus, "GPU"))
    )


def _slots(machine: dict[str, float], cpus: int, gpus: int) -> int:
    """How many workers a machine has room for."""
    room = [machine.get("CPU", 0) / cpus, *([machine.get("GPU", 0) / gpus] if gpus else [])]
    return int(min(room))
