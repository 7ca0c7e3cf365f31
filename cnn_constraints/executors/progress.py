"""What is compiling, what is running, and the time left: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from cnn_constraints.experiment import Experiment
from cnn_constraints.plan import Group
from cnn_constraints.resolve import Resolved
from cnn_constraints.training.records import Evaluation

LINE_EVERY = 10.0
"""Seconds between two plain lines."""

SHOWN = 2
"""Experiments named in a line."""


class ProgressBar:
    """Counts the updates of all experiments. A context manager; prints to standard error and nothing else.

    looked: is handed what was measured at each look.
    """

    def __init__(
        self, groups: list[Group], looked: Callable[[Resolved, Sequence[Evaluation]], None] | None = None
    ) -> None:
        self._looked = looked
        console = Console(stderr=True)
        self._is_terminal = console.is_terminal
        self._started = self._last_line = time.monotonic()
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=console, disable=not self._is_terminal)
        total = sum(one.training.updates for group in groups for one in group.experiments)
        number = self._bar.add_task("starting", total=total)
        self._task = self._bar.tasks[number]
        self._running, self._compiling = "", []

    def __enter__(self) -> "ProgressBar":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def compiling(self, group: Group) -> None:
        self._compiling.append(described := describe(group.first))
        self._print(f"compiling {described}")

    def compiled(self, group: Group) -> None:
        self._compiling.remove(describe(group.first))
        self._show()

    def running(self, experiments: Sequence[Resolved]) -> None:
        """These experiments, which are of one arm, side by side."""
        each = "; ".join(f"n = {one.data.n_train}, seed {one.seed}" for one in experiments[:SHOWN])
        more = f" and {len(experiments) - SHOWN} more" if len(experiments) > SHOWN else ""
        self._running = f"{describe(experiments[0])}: {each}{more}"
        self._print(self._running, throttled=True)

    def advanced(self, updates: int) -> None:
        self._bar.update(self._task.id, advance=updates)

    def looked(self, experiment: Resolved, looks: Sequence[Evaluation]) -> None:
        if self._looked:
            self._looked(experiment, looks)

    def extended(self, updates: int) -> None:
        self._bar.update(self._task.id, total=(self._task.total or 0) + updates)

    def _show(self) -> None:
        compiling = [f"compiling {', '.join(self._compiling)}"] * bool(self._compiling)
        self._bar.update(self._task.id, description="; ".join([self._running] * bool(self._running) + compiling))

    def _print(self, message: str, throttled: bool = False) -> None:
        self._show()
        now, done, total = time.monotonic(), self._task.completed, self._task.total or 1
        if self._is_terminal or (throttled and now - self._last_line < LINE_EVERY):
            return
        self._last_line = now
        # Programs that are still to be compiled are taken to be as long as those so far.
        left = f", about {timedelta(seconds=round((now - self._started) / done * (total - done)))} left" if done else ""
        # The line and its end at once: threads that compile tell their lines at the same moment.
        print(f"{done / total:4.0%}  {message}{left}\n", end="", file=sys.stderr, flush=True)


def describe(experiment: Experiment) -> str:
    """The arm of an experiment, in short: its constraint, sizes and readout."""
    model = experiment.model
    sizes = {"delta": model.delta, "tile": model.tile, "rank": model.rank}
    words = lambda value: ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    given = "".join(f" {name} {words(size)}" for name, size in sizes.items() if size is not None)
    return f"{words(model.constraint)}{given}, {model.readout}"
