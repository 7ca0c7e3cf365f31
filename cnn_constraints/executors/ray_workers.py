"""The workers of a driver on a Ray cluster: hired where there is room, given tasks, heard, and replaced where lost."""

import logging
import re
from dataclasses import dataclass
from typing import Any

from cnn_constraints.environment import describe_environment
from cnn_constraints.errors import InputError
from cnn_constraints.executors.local import Progress
from cnn_constraints.executors.progress import describe
from cnn_constraints.executors.ray_cluster import Cluster
from cnn_constraints.executors.ray_worker import Message, Worker
from cnn_constraints.plan import Group
from cnn_constraints.training.records import Finished

logger = logging.getLogger(__name__)

LOSSES = 4
"""A task may be lost so many times with its worker, for machines are taken away; one that ends every worker is given up."""

LOOK_EVERY = 1.0
"""Seconds to wait for a worker to say something before what else has changed is looked at."""


@dataclass(eq=False)
class Task:
    """Experiments of one group and one data set, which lies in Ray's object store. updates: those told to Progress so
    far.
    """

    group: Group
    dataset: Any
    losses: int = 0
    updates: int = 0


@dataclass(eq=False)
class Member:
    """A worker: its actor, what it says next, whether it has started, its task, and the group whose program it has."""

    actor: Any
    says: Any
    started: bool = False
    task: Task | None = None
    group: str | None = None


class Crew:
    """cpus, gpus: what each worker has, from its start to its end: JAX never changes its devices. receptive_fields: see
    LocalExecutor.
    """

    def __init__(
        self, cluster: Cluster, progress: Progress, cpus: int, gpus: int, receptive_fields: bool = False
    ) -> None:
        self._cluster = cluster
        self._progress = progress
        self._gpus = gpus
        self._receptive_fields = receptive_fields
        # Two devices at least: no number may depend on how many there are.
        on_cpu = {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(max(2, cpus))}
        self._actor = cluster.ray.remote(Worker).options(
            num_cpus=cpus,
            num_gpus=gpus,
            # What is lost is handed out again here, to whoever has room; Ray would wait for room for the lost worker.
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy="SPREAD",
            runtime_env={"env_vars": {} if gpus else on_cpu},
        )
        self._versions = versions(describe_environment([]))
        self._members: list[Member] = []
        self._failed_starts = 0
        self._compiled: set[str] = set()
        self.waiting: list[Task] = []
        self.programs = 0

    def employ(self) -> bool:
        """Have a worker for each task, and give the waiting ones to those that have none. False where no task is left."""
        # Those for which there is no room yet tell a cluster that can grow that it should.
        for _ in range(len(self.waiting) - sum(member.task is None for member in self._members)):
            actor = self._actor.remote(self._receptive_fields)
            self._members.append(Member(actor, actor.environment.remote(self._gpus)))
        for member in [member for member in self._members if member.task is None]:
            if not self.waiting:
                # Others may use the room.
                self._dismiss(member)
            elif member.started:
                self._assign(member)
        return bool(self._members)

    def listen(self) -> list[Finished] | None:
        """Wait a moment for what a worker says, and return what it found where it said that.

        Raises InputError for what a worker refuses, and for a task that is lost again and again.
        """
        saying = {member.says: member for member in self._members}
        heard, _ = self._cluster.ray.wait(list(saying), num_returns=1, timeout=LOOK_EVERY)
        return self._hear(saying[heard[0]]) if heard else None

    def dismiss(self) -> None:
        """End all workers, whatever they do."""
        self.waiting.clear()
        for member in list(self._members):
            self._dismiss(member)

    def _assign(self, member: Member) -> None:
        """One whose program the worker has; else one of a group that nobody works on, so that few compile the same."""
        groups = {other.group for other in self._members}
        task = min(self.waiting, key=lambda task: (task.group.name != member.group, task.group.name in groups))
        self.waiting.remove(task)
        member.task, member.group = task, task.group.name
        member.says = member.actor.run.options(num_returns="streaming").remote(task.group, task.dataset)

    def _hear(self, member: Member) -> list[Finished] | None:
        errors = self._cluster.ray.exceptions
        try:
            said = self._cluster.ray.get(next(member.says) if member.task else member.says)
        except errors.RayTaskError as error:
            if isinstance(error.cause, InputError):
                raise error.cause from None
            raise
        except errors.RayError as error:
            self._cluster.require_head(error)
            return self._lose(member, error)
        if member.task is None:
            self._require_same(versions(said), said["host"])
            member.started = True
            self._failed_starts = 0
            return None
        return self._tell(member, member.task, said)

    def _tell(self, member: Member, task: Task, message: Message) -> list[Finished] | None:
        if message.what == "finished":
            member.task = None
            return message.value
        if message.what == "compiling":
            self._progress.compiling(task.group)
        elif message.what == "compiled":
            self.programs += 1
            # Progress counts programs, and the time that each adds to the whole: others go on meanwhile.
            if task.group.name not in self._compiled:
                self._progress.compiled(message.value / len(self._members))
            self._compiled.add(task.group.name)
        elif message.what == "running":
            self._progress.running(task.group.experiments)
        else:
            task.updates += message.value
            self._progress.advanced(message.value)
        return None

    def _lose(self, member: Member, error: Exception) -> None:
        """Hand out again what a worker had that is no more."""
        task, reason = member.task, reason_of(error)
        self._dismiss(member)
        if task is None:
            self._failed_starts += 1
            if self._failed_starts > LOSSES:
                raise InputError(
                    f"No worker starts on the Ray cluster, since {reason}: mend that, and repeat the command."
                )
            return
        self._progress.advanced(-task.updates)
        task.updates = 0
        task.losses += 1
        arm = f"{describe(task.group.first)} (group {task.group.name})"
        if task.losses > LOSSES:
            raise InputError(
                f"Experiments of {arm} were lost with their worker {task.losses} times, at last since {reason}: give a "
                f"worker more CPUs, so that fewer share the memory of a machine, and repeat the command; what is finished "
                f"is kept."
            )
        logger.warning("experiments of %s were lost with their worker, since %s: they start anew", arm, reason)
        self.waiting.insert(0, task)

    def _dismiss(self, member: Member) -> None:
        self._members.remove(member)
        self._cluster.kill(member.actor)

    def _require_same(self, theirs: dict[str, str | None], host: str) -> None:
        """Raises InputError where a machine has other versions than this: its numbers would be others."""
        for package, version in self._versions.items():
            if theirs[package] != version:
                raise InputError(
                    f"{host} has {package} {theirs[package]} and this machine {version}: install the same on all machines "
                    f"of a cluster."
                )


def versions(environment: dict[str, Any]) -> dict[str, str | None]:
    """Of Python and all packages but our own, which is what the driver has sent."""
    packages = {name: version for name, version in environment["packages"].items() if name != "cnn-constraints"}
    return {"Python": environment["python"], **packages}


def reason_of(error: Exception) -> str:
    """Why a worker was lost, from the paragraphs that Ray writes about it."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    if dead := re.search(r"(?:is dead|died) because (its [^.]*)", str(error)):
        return dead[1]
    return lines[-1] if "creation task" in lines[0] else lines[0].partition(". ")[0]
