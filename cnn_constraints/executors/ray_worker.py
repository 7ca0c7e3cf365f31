"""What runs in a process of a Ray cluster: tasks of one driver, one after the other, with all that they have in common."""

import queue
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, NamedTuple

import jax

from cnn_constraints.arrays import Dataset
from cnn_constraints.environment import describe_environment
from cnn_constraints.errors import InputError
from cnn_constraints.executors.local import LocalExecutor, Progress
from cnn_constraints.plan import Group, plan
from cnn_constraints.resolve import Resolved
from cnn_constraints.settings import keep_compiled_programs
from cnn_constraints.training import ensemble
from cnn_constraints.training.ensemble import Arrays
from cnn_constraints.training.records import Finished


class Message(NamedTuple):
    """What happened in a task: a method of Progress, with the number that it takes if it takes one; or what it found."""

    what: Literal["compiling", "compiled", "running", "advanced", "finished"]
    value: Any = None


class Worker:
    """A Ray actor. It writes nothing: what it finds goes to the driver, which alone knows the run folder.
    receptive_fields: see LocalExecutor.
    """

    def __init__(self, receptive_fields: bool = False) -> None:
        self._messages: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._dataset: Dataset | None = None
        # Whatever is asked for, it is what came with the task: the driver alone reads data.
        self._executor = ExecutorInWorker(
            Messages(self._messages), lambda _: self._given(), receptive_fields=receptive_fields
        )

    def environment(self, gpus: int) -> dict[str, Any]:
        """That of this process, and its host. Asked for before any task.

        Raises InputError where JAX does not see the GPUs that it was given, and for a cache folder that cannot be written.
        """
        keep_compiled_programs()
        if gpus and jax.default_backend() == "cpu":
            raise InputError(
                f"{socket.gethostname()} has GPUs for Ray and none for JAX: install the extra `gpu` there, or give a "
                f"worker no GPU."
            )
        return {"host": socket.gethostname(), **describe_environment([])}

    def run(self, group: Group, dataset: Dataset) -> Iterator[Message]:
        """Train and test these experiments of one group and one data set. What they found comes last and all at once: a
        task that is lost has left nothing.
        """
        self._dataset = dataset
        # Ray sends what this yields, and the executor yields only results: it trains in a thread of its own.
        with ThreadPoolExecutor(1) as thread:
            found = thread.submit(self._train, group)
            found.add_done_callback(lambda _: self._messages.put(None))
            while message := self._messages.get():
                yield message
            yield Message("finished", found.result())

    def _given(self) -> Dataset:
        assert self._dataset is not None
        return self._dataset

    def _train(self, group: Group) -> list[Finished]:
        # What the driver has checked, but for the memory of the devices here.
        plan(group.experiments, lambda _: self._given())
        # Checkpoints of a task that takes long would be made, and found again by the worker that comes after, here.
        return [one for found in self._executor.run([group]) for one in found]


class ExecutorInWorker(LocalExecutor):
    """Keeps the last program: the next task is often of the same group."""

    _kept: tuple[tuple[str, int], ensemble.Program] | None = None

    def _compile(self, group: Group, dataset: Dataset, arrays: Arrays) -> ensemble.Program:
        key = group.name, len(arrays.batches)
        if self._kept is None or self._kept[0] != key:
            self._kept = None
            self._kept = key, super()._compile(group, dataset, arrays)
        return self._kept[1]


class Messages(Progress):
    """A Progress that passes on what it is told."""

    def __init__(self, messages: "queue.SimpleQueue[Message | None]") -> None:
        self._messages = messages

    def compiling(self, group: Group) -> None:
        self._messages.put(Message("compiling"))

    def compiled(self, seconds: float) -> None:
        self._messages.put(Message("compiled", seconds))

    def running(self, experiments: Sequence[Resolved]) -> None:
        self._messages.put(Message("running"))

    def advanced(self, updates: int) -> None:
        self._messages.put(Message("advanced", updates))
