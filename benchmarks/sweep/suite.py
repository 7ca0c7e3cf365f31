"""Whole training: our engine against the ordinary Flax loop and three ways to train in PyTorch, per update and model."""

import time
from collections.abc import Callable, Iterator, Sequence

from benchmarks.sweep.flax_loop import FlaxLoop
from benchmarks.sweep.ours import Ours
from benchmarks.sweep.problem import Contender, Problem, follows_definition, least_work, make_problem
from benchmarks.table import OURS, Row, row
from benchmarks.timing import Ceilings, side_by_side, torch_is_installed

CHANNELS, DELTA, BATCH = 8, 2, 64
CHECKED_UPDATES, FEWEST_UPDATES, MOST_UPDATES, ROUND_SECONDS = 4, 32, 64, 1.0
"""A round of a contender lasts about a second, but enough updates that drawing initial weights, which a sweep does once
in hundreds of updates, does not count.
"""


def measure(
    cells: Sequence[str], candidates: Sequence[int], rounds: int, ceilings: Ceilings, seed: int
) -> Iterator[Row]:
    """Rows of the suite `sweep`, a case a cell. Raises RuntimeError for a contender that trains something else."""
    for cell in cells:
        problem = make_problem(cell, CHANNELS, DELTA, BATCH, MOST_UPDATES, seed)
        contenders = _contenders(problem, candidates)
        for name, contender in contenders.items():
            if not follows_definition(contender, problem, CHECKED_UPDATES):
                raise RuntimeError(f"{name} does not follow the losses of the definition of {cell}")
        updates = {name: _updates_of_a_round(contender) for name, contender in contenders.items()}
        runs = {name: _run(contender, updates[name]) for name, contender in contenders.items()}
        for name, timing in side_by_side(runs, rounds).items():
            units = updates[name] * contenders[name].models
            yield row("sweep", cell, name, timing, units, least_work(problem), ceilings)


def _contenders(problem: Problem, candidates: Sequence[int]) -> dict[str, Contender]:
    contenders: dict[str, Contender] = {OURS: Ours(problem, candidates[0])}
    contenders |= {f"ours, {count} candidates": Ours(problem, count) for count in candidates[1:]}
    contenders["flax_loop"] = FlaxLoop(problem)
    if torch_is_installed():
        from benchmarks.sweep.torch_loops import TorchLoop

        for way, models in (("eager", 1), ("compile", 1), ("vmap", 8)):
            contenders[f"torch {way}"] = TorchLoop(problem, way, models)
    return contenders


def _updates_of_a_round(contender: Contender) -> int:
    started = time.perf_counter()
    contender.train(CHECKED_UPDATES)
    seconds = (time.perf_counter() - started) / CHECKED_UPDATES
    return max(FEWEST_UPDATES, min(MOST_UPDATES, round(ROUND_SECONDS / seconds)))


def _run(contender: Contender, updates: int) -> Callable[[], float]:
    return lambda: contender.train(updates)
