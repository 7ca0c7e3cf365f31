"""What the table of a device is decided by: our own formulations inside whole training, and the entries that follow.

A question is which formulation computes the last layer of a network fastest; the layers before it are computed as the
table in `ops/choose.py` has them. So one layer tells of layers on images, and two tell of layers with many input channels.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import jax

from benchmarks import measure
from benchmarks.measure import Ceilings, Row
from benchmarks.sweep.jax_loops import ours
from benchmarks.sweep.problem import Problem, layers_of, least_work, make_problem
from benchmarks.sweep.suite import updates_of_round
from cnn_constraints.ops import choose, conv, local

UNREGISTERED = {
    "conv": {"tiles_8x8": partial(conv.tiles, rows=8, columns=8)},
    "local": {"tiles_4x4": partial(local.tiles, rows=4, columns=4)},
}
"""Formulations that are timed beside those of `choose.FORMULATIONS`."""

HOPELESS = 2.0
"""Times as long as the best: a formulation that takes longer is not timed again with another number of candidates."""

STRAYED = 0.02
"""By which losses over a round of updates differ at the most, relative to each other: rounding grows while one trains."""

PHOTOGRAPHS = 3
"""Input channels up to which a layer is taken for one on images."""

Formulations = tuple[str | None, ...]
Variant = tuple[Formulations, str]
"""Formulations of the layers, and the precision of their products."""


class Timing(NamedTuple):
    """Seconds per update and model of a network; formulations: of its layers, None for the table's choice. Of what could
    not be trained there are no numbers, but a failure.
    """

    cell: str
    layers: int
    candidates: int
    precision: str
    formulations: Formulations
    seconds_median: float | None
    seconds_min: float | None
    seconds_max: float | None
    fraction_of_ceiling: float | None
    bound: str | None
    failure: str | None = None

    @property
    def title(self) -> str:
        """The network in words."""
        return f"{self.cell}, {self.layers} layer{'s'[: self.layers - 1]}, {self.candidates} candidates"

    @property
    def name(self) -> str:
        """How it is computed, in words."""
        names = ", ".join(formulation or "table" for formulation in self.formulations)
        return names if self.precision == "float32" else f"{names}, {self.precision}"


def default_output() -> Path:
    """Where timings of this device are recorded."""
    kind = jax.devices()[0].device_kind.replace(" ", "_").replace("/", "_")
    return Path(__file__).parent / "results" / f"device_{kind}.json"


def time_formulations(
    cells: Sequence[str],
    layers: Sequence[int],
    candidates: Sequence[int],
    rounds: int,
    budget: float,
    ceilings: Ceilings,
    seed: int,
) -> Iterator[list[Timing]]:
    """The answers, question by question: the first number of candidates first, and for it alone the winners of both layers
    together and in bfloat16. Nothing more is compiled once `budget` seconds are over.
    """
    deadline, timings = time.monotonic() + budget, []
    updates = 16 if jax.default_backend() == "cpu" else updates_of_round()
    for number in candidates:
        questions = [(cell, count) for count in layers for cell in cells]
        problems = {question: make_problem(*layers_of(*question), updates, seed) for question in questions}
        ask = partial(time_networks, candidates=number, rounds=rounds, deadline=deadline, ceilings=ceilings)
        for (cell, count), problem in problems.items():
            before, last = (None,) * (count - 1), (None, *promising(cell, timings_of(timings, cell, count)))
            yield (answer := ask(problem, [((*before, formulation), "float32") for formulation in last]))
            timings += answer
        for (cell, count), problem in problems.items() if number == candidates[0] else ():
            best = tuple(winner(timings_of(timings, cell, position + 1)) for position in range(count))
            yield ask(problem, [(best, precision) for precision in ("float32", "bfloat16")])


def timings_of(timings: Sequence[Timing], cell: str, layers: int) -> list[Timing]:
    """Answers to the question which formulation computes that layer."""
    return [one for one in timings if (one.cell, one.layers) == (cell, layers) and one.seconds_median is not None]


def promising(cell: str, timings: Sequence[Timing]) -> list[str]:
    """The formulations worth timing: all that are not known to be hopeless, and none where there is only one."""
    every = choose.FORMULATIONS[cell] | UNREGISTERED.get(cell, {})
    seconds = [(one.formulations[-1], one.seconds_median or 0.0) for one in timings]
    best = min((each for _, each in seconds), default=0.0)
    known = {name for name, each in seconds if each <= HOPELESS * best}
    return [name for name in every if len(every) > 1 and (name in known or not seconds)]


def winner(timings: Sequence[Timing]) -> str | None:
    """The fastest formulation of a layer at the most candidates it was timed with; None where none was."""
    most = max((one.candidates for one in timings), default=0)
    named = [one for one in timings if one.candidates == most and one.formulations[-1]]
    return min(named, key=lambda one: one.seconds_median or 0.0).formulations[-1] if named else None


def time_networks(
    problem: Problem,
    variants: Sequence[Variant],
    candidates: int,
    rounds: int,
    deadline: float,
    ceilings: Ceilings,
) -> list[Timing]:
    """A timing, in the same rounds, for each of the variants that could be compiled before the deadline. One that fails, or
    does not come to the loss of the first, is told so.
    """
    runs: dict[Variant, Callable[[], object]] = {}
    units = 0
    failures: dict[Variant, str] = {}
    losses: dict[Variant, float] = {}
    updates, layers = len(problem.batches), problem.task.network.layers
    with mock.patch.dict(
        choose.FORMULATIONS, {cell: choose.FORMULATIONS[cell] | new for cell, new in UNREGISTERED.items()}
    ):
        for variant in variants:
            if time.monotonic() > deadline:
                break
            try:
                contender = ours(problem.computed_by(*variant), candidates)
                losses[variant] = loss = contender.train(updates)
            except Exception as error:  # whatever XLA or the device refuses: the others go on
                failures[variant] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
                continue
            expected = next(iter(losses.values()))
            if abs(loss / expected - 1) < STRAYED:
                units = updates * contender.models
                runs[variant] = partial(contender.train, updates)
            else:
                failures[variant] = (
                    f"It trains something else: its loss is {loss:.4f}, that of the first {expected:.4f}."
                )
    found = []
    seconds = measure.side_by_side(runs, rounds, warm=True)
    for variant in (one for one in variants if one in seconds or one in failures):
        formulations, precision = variant
        names = (layers[0].constraint, len(layers), candidates, precision, formulations)
        if variant in failures:
            found.append(Timing(*names, *[None] * 5, failure=failures[variant]))
        else:
            row = measure.row(("device", "", ""), seconds[variant], units, least_work(problem), ceilings)
            found.append(Timing(*names, *row[3:]))
    return found


def print_answer(timings: Sequence[Timing]) -> None:
    """As a table, and what failed as sentences below it."""
    if timed := [one for one in timings if one.failure is None]:
        measure.print_case([Row("device", one.title, one.name, *one[5:10]) for one in timed])  # type: ignore[arg-type]
    for one in (one for one in timings if one.failure is not None):
        print(f"{one.title}: {one.name} failed. {one.failure}")


def choices(timings: Sequence[Timing], backend: str) -> list[str]:
    """The entries that TABLE of `ops/choose.py` should have: for each cell the winners on images and in later layers at the
    most candidates, and how long the present choice takes.
    """
    lines = []
    for cell in dict.fromkeys(one.cell for one in timings):
        for layers, bound, words in ((1, f", largest_in_channels={PHOTOGRAPHS}", "on images"), (2, "", "later")):
            # A winner was timed again, beside itself in bfloat16: only rounds with the present choice in them count.
            first = {(*one[2:4], one.formulations): one for one in reversed(timings_of(timings, cell, layers))}
            asked = [one for one in first.values() if one.precision == "float32" and not any(one.formulations[:-1])]
            if (best := winner(asked)) is None:
                continue
            most = max(one.candidates for one in asked)
            seconds = {one.formulations[-1]: one.seconds_median or 0.0 for one in asked if one.candidates == most}
            told = f"{words}, {most} candidates: {1e6 * seconds[best]:,.1f} us"
            told += f", the present choice {seconds[None] / seconds[best]:.2f} times as long" if None in seconds else ""
            told += "" if best in choose.FORMULATIONS[cell] else "; to be registered first"
            lines.append(f'Choice(("{backend}",), "{cell}", "{best}"{bound}),  # {told}')
    return lines
