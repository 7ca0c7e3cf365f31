"""What is compiling, what is running, and the time left: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from cnn_constraints.experiment import Experiment
from cnn_constraints.plan import Group
from cnn_constraints.resolve import Resolved

LINE_EVERY = 10.0
"""Seconds between two plain lines."""

SHOWN = 2
"""Experiments named in a line."""


class ProgressBar:
    """Counts the updates of all experiments. A context manager; prints to standard error and nothing else."""

    def __init__(self, groups: list[Group]) -> None:
        self._console = Console(stderr=True)
        self._total = sum(one.training.updates for group in groups for one in group.experiments)
        self._done = 0
        self._training_seconds = 0.0
        self._programs_left = len(groups)
        self._compile_seconds: list[float] = []
        self._last_line = self._last_event = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=self._total, left="")

    def __enter__(self) -> "ProgressBar":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def compiling(self, group: Group) -> None:
        self._print(f"compiling {describe(group.first)}")

    def compiled(self, seconds: float) -> None:
        self._programs_left -= 1
        self._compile_seconds.append(seconds)
        self._last_event = time.monotonic()

    def running(self, experiments: Sequence[Resolved]) -> None:
        """These experiments, which are of one arm, side by side."""
        self._last_event = time.monotonic()
        each = "; ".join(f"n = {one.data.n_train}, seed {one.seed}" for one in experiments[:SHOWN])
        more = f" and {len(experiments) - SHOWN} more" if len(experiments) > SHOWN else ""
        self._print(f"{describe(experiments[0])}: {each}{more}", throttled=True)

    def advanced(self, updates: int) -> None:
        now = time.monotonic()
        self._training_seconds += now - self._last_event
        self._last_event = now
        self._done += updates
        self._bar.update(self._task, advance=updates, left=self._time_left())

    def _print(self, message: str, throttled: bool = False) -> None:
        self._bar.update(self._task, description=message)
        now = time.monotonic()
        if self._console.is_terminal or (throttled and now - self._last_line < LINE_EVERY):
            return
        self._last_line = now
        left = self._time_left()
        print(f"{self._done / self._total:4.0%}  {message}{left and ', '}{left}", file=sys.stderr, flush=True)

    def _time_left(self) -> str:
        """The updates to come at the pace so far, and the programs to come at the mean of those compiled."""
        if not self._done:
            return ""
        training = self._training_seconds / self._done * (self._total - self._done)
        compiling = self._programs_left * sum(self._compile_seconds) / len(self._compile_seconds)
        return f"about {timedelta(seconds=round(training + compiling))} left"


def describe(experiment: Experiment) -> str:
    """The arm of an experiment, in short: its constraint, sizes and readout."""
    model = experiment.model
    sizes = {"delta": model.delta, "tile": model.tile, "rank": model.rank}
    given = "".join(f" {name} {size}" for name, size in sizes.items() if size is not None)
    return f"{model.constraint}{given}, {model.readout}"
