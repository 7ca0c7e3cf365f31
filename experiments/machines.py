"""Where a sweep runs, as its flags say: on this machine, as one job of several processes, or on a Ray cluster."""

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import jax
import tyro

from cnn_constraints.errors import InputError
from cnn_constraints.executors.local import CHECKPOINT_EVERY, LocalExecutor, Progress
from cnn_constraints.executors.ray import RayExecutor
from cnn_constraints.store import Checkpoints
from experiments.entry import check_devices

SECONDS_TO_LEAVE = 10
"""How long a process of a job waits at its end for one that is gone."""


@dataclass(frozen=True)
class Machines:
    """By default all devices of this machine."""

    checkpoint_every: Annotated[float, tyro.conf.arg(metavar="SECONDS")] = CHECKPOINT_EVERY
    """Seconds of training between two checkpoints of a group; 0 for one after every look at the validation data."""
    distributed: bool = False
    """This is one of several processes of one job that share its devices (`jax.distributed`): found by themselves on Slurm,
    Open MPI, TPU pods and Kubernetes, elsewhere by the three flags that follow.
    """
    coordinator: Annotated[str | None, tyro.conf.arg(metavar="HOST:PORT")] = None
    """Where the first process listens."""
    processes: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """How many processes there are."""
    process: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Which of them this is, from 0."""
    executor: Literal["local", "ray"] = "local"
    """local: the devices of this machine, or of this job; ray: the machines of a Ray cluster (pip install -e '.[ray]')."""
    address: Annotated[str | None, tyro.conf.arg(metavar="HOST:PORT")] = None
    """The Ray cluster to join, auto for the one that this machine is part of; without, one is started on this machine."""
    worker_cpus: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """What a worker of Ray takes: by default two CPUs, or one beside a GPU."""
    worker_gpus: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """By default one where the Ray cluster has any."""

    def check(self) -> None:
        """Raises InputError for flags that do not go together."""
        if not 0 <= self.checkpoint_every < math.inf:
            raise InputError(f"--checkpoint-every is {self.checkpoint_every}: it must be a number from 0 on.")
        job = {"coordinator": self.coordinator, "processes": self.processes, "process": self.process}
        ray = {"address": self.address, "worker-cpus": self.worker_cpus, "worker-gpus": self.worker_gpus}
        _check_effect(job, self.distributed, "--distributed")
        _check_effect(ray, self.executor == "ray", "--executor ray")
        if self.executor == "ray" and self.distributed:
            raise InputError("--distributed has no effect with --executor ray: leave one of the two out.")
        if self.executor == "ray" and self.checkpoint_every != CHECKPOINT_EVERY:
            raise InputError("--checkpoint-every has no effect with --executor ray, whose tasks are repeated whole.")
        known = [value is not None for value in job.values()]
        if any(known) and not all(known):
            raise InputError(
                "--coordinator, --processes and --process belong together: give all three, or none of them."
            )
        if all(known) and not 0 <= (self.process or 0) < (self.processes or 0):
            raise InputError(
                f"--process is {self.process}: of {self.processes} processes it must be one from 0 to "
                f"{(self.processes or 0) - 1}."
            )
        for name, value, least in (("worker-cpus", self.worker_cpus, 1), ("worker-gpus", self.worker_gpus, 0)):
            if value is not None and value < least:
                raise InputError(f"--{name} is {value}: it must be at least {least}.")

    def prepare(self) -> None:
        """Have JAX find its devices. Raises InputError where it finds none, and where the processes of a job do not find
        each other.
        """
        if self.executor == "ray":
            # Accelerators belong to the workers: a driver that only looks at one takes its memory.
            jax.config.update("jax_platforms", "cpu")
        if self.distributed:
            try:
                jax.distributed.initialize(
                    self.coordinator, self.processes, self.process, shutdown_timeout_seconds=SECONDS_TO_LEAVE
                )
            except (ValueError, RuntimeError) as error:
                if self.coordinator is None:
                    raise InputError(
                        "--distributed finds no job here that tells this process its place, as Slurm, Open MPI, TPU "
                        "pods and Kubernetes do: give it --coordinator, --processes and --process."
                    ) from None
                reason = str(error).splitlines()[0]
                raise InputError(f"The processes of this job do not find each other ({reason}).") from None
        check_devices()

    def make_executor(
        self, progress: Progress, checkpoints: Checkpoints | None, stop: Callable[[], bool], look: bool = False
    ) -> contextlib.AbstractContextManager[LocalExecutor | RayExecutor]:
        """To be left when all is run. look: at what first layers have learned.

        Raises InputError where there is no such Ray cluster.
        """
        if self.executor == "ray":
            return RayExecutor(progress, self.address, self.worker_cpus, self.worker_gpus, stop, look)
        return contextlib.nullcontext(LocalExecutor(progress, checkpoints, self.checkpoint_every, stop, look))


THIS_MACHINE = Machines()


def _check_effect(flags: dict[str, object], needed: bool, need: str) -> None:
    for name, value in flags.items():
        if value is not None and not needed:
            raise InputError(f"--{name} has no effect without {need}.")
