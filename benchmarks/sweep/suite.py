"""Whole training: our engine against the ordinary Flax loop and three ways to train in PyTorch, per update and model."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from benchmarks.layers.case import make_case
from benchmarks.measure import OURS, Ceilings, Row, row, side_by_side, torch_is_installed
from benchmarks.sweep.jax_loops import flax_loop, ours
from benchmarks.sweep.problem import Contender, Problem, least_work, make_problem

SHAPE, DELTA, BATCH = "28x28x1->8", 2, 64
CHECKED_UPDATES, TOLERANCE = 4, 2e-4
"""Of the mean loss over the first updates in 32 bits, relative to that of the first contender."""

UPDATES = 64
"""Of a round: enough that drawing initial weights, which a sweep does once in hundreds of updates, does not count."""


def measure(
    cells: Sequence[str], candidates: Sequence[int], rounds: int, ceilings: Ceilings, seed: int
) -> Iterator[Row]:
    """A row a cell and contender. Raises RuntimeError for a contender that trains something else than the first."""
    for cell in cells:
        problem = make_problem(make_case(SHAPE, cell, DELTA, BATCH), UPDATES, seed)
        contenders = contenders_of(problem, candidates)
        check(cell, contenders)
        runs = {name: partial(contender.train, UPDATES) for name, contender in contenders.items()}
        for name, seconds in side_by_side(runs, rounds).items():
            units = UPDATES * contenders[name].models
            yield row(("sweep", cell, name), seconds, units, least_work(problem), ceilings)


def contenders_of(problem: Problem, candidates: Sequence[int]) -> dict[str, Contender]:
    """By name, ours first."""
    contenders = {OURS: ours(problem, candidates[0])}
    contenders |= {f"ours, {count} candidates": ours(problem, count) for count in candidates[1:]}
    contenders["flax_loop"] = flax_loop(problem)
    if torch_is_installed():
        from benchmarks.sweep.torch_loops import torch_loop

        for way, models in (("eager", 1), ("compile", 1), ("vmap", 8)):
            contenders[f"torch {way}"] = torch_loop(problem, way, models)
    return contenders


def check(cell: str, contenders: Mapping[str, Contender]) -> None:
    """Raises RuntimeError where a contender's losses are not those of the first, which is written independently of it."""
    losses = {name: contender.train(CHECKED_UPDATES) for name, contender in contenders.items()}
    for name, loss in losses.items():
        if not abs(loss / losses[next(iter(losses))] - 1) < TOLERANCE:
            raise RuntimeError(f"{name} does not follow the losses of {cell}: {losses}")
